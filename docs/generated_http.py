"""The page of the reference about HTTP, from the server's own description and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NOTE = "<!-- Written by docs/generated_http.py from the code; not edited by hand. -->\n"

HEAD = """# HTTP

What `emoclip-clinical serve` answers. The same stands in the server's own `/openapi.json`, and to
read at `/docs`. [How to serve](../how-to/serve.md) has an example of each.

## For all requests

- With `--token-file`, everything but `/healthz` and `/readyz` wants a header
  `Authorization: Bearer <token>`.
- A table is answered as `Accept` wishes: `application/json` (the default: a list `rows`, null for
  what is not defined), `application/vnd.apache.arrow.stream` (an uncompressed IPC stream; what
  stands beside `rows` in JSON is the JSON text `about` in the schema's metadata), or, where there
  are embeddings, `application/x-npy` (float32, a row for each embedding that there is). Anything
  else is 406.
- Bodies are taken as they are: a `Content-Encoding` is refused with 415.
- Columns are those of [`segments.parquet`](files.md) and of `predict`. No row about a video names a
  person.
- Every answer has `X-Request-ID`, which the log has, too, and `Cache-Control: no-store`.
"""

STATUSES = {
    200: "The answer.",
    202: "A video is still being read: the job, with its address in `Location`.",
    204: "Done; there is nothing to say.",
    400: "The body is malformed, or ended too early.",
    401: "No token, or a wrong one.",
    403: "A page in a browser asks, which is not the server's own.",
    404: "No such address, prompt set, target or job; also a job of another token.",
    405: "The address is there, the method is not.",
    406: "The answer can not be had in what `Accept` names; the faults list what there is.",
    408: "The upload stalled or crawled.",
    409: "The job has no result yet.",
    413: "Too many bytes, texts, rows, or seconds of video.",
    414: "The address is longer than 8192 bytes.",
    415: "The body's type is none of those named, or it is compressed.",
    421: "Without tokens: the request names another host than this machine.",
    422: "The content can not be used: every fault is listed.",
    429: "The queues are full, or too many ask at once: come back after `Retry-After` seconds.",
    431: "Too many headers, or too long ones.",
    500: "A fault of the server; its operator finds it under `X-Request-ID`.",
    503: "The server is ending: `Retry-After`.",
    504: "It took longer than the limit.",
    507: "No room is left for the upload.",
}
"""What each status means; `write_http` fails where the server may answer with another."""

ANYWHERE = frozenset({401, 403, 405, 414, 421, 431, 500, 503})


def write_http(path: Path) -> None:
    """Write every address with its parameters, bodies and answers; the schemas; the limits."""
    from emoclip_clinical.serving.app import make_routes
    from emoclip_clinical.serving.config import ServingConfig

    # A description needs no model.
    described = make_routes(None).openapi()  # type: ignore[arg-type]
    lines = [NOTE, HEAD]
    for address, operations in described["paths"].items():
        for method, operation in operations.items():
            lines += [f"## {method.upper()} {address}\n", *_operation(operation)]
    lines += ["## Statuses\n", *_statuses(described)]
    lines += ["## Schemas\n", "Of JSON bodies and answers.\n"]
    for name, schema in sorted(described["components"]["schemas"].items()):
        lines += [f"### {name}\n", _sentence(schema.get("description", "")), "", *_fields(schema)]
    lines += ["## Limits\n", "Each is set by `--limit KEY=VALUE`.\n"]
    lines += ["| key | default | what it is |", "|---|---|---|"]
    for name, field in ServingConfig.model_fields.items():
        lines.append(f"| `{name}` | `{field.default}` | {_sentence(field.description or '')} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"**{operation['summary']}.** {operation.get('description', '')}\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in the | type | default | what it is |"
        yield "|---|---|---|---|---|"
        for entry in parameters:
            schema = entry["schema"]
            default = f"`{schema['default']}`" if schema.get("default") is not None else ""
            about = _sentence(entry.get("description") or schema.get("description", ""))
            kind = _kind(schema).removesuffix(" or null")
            yield f"| `{entry['name']}` | {entry['in']} | {kind} | {default} | {about} |"
        yield ""
    if body := operation.get("requestBody"):
        yield "Body:\n"
        yield from _contents(body["content"])
        yield ""
    for status, answer in operation["responses"].items():
        if int(status) < 300:
            about = answer["description"]
            fits = "." if about == "Successful Response" else f": {_lowered(about)}."
            yield f"Answer {status}{fits}\n"
            yield from _contents(answer.get("content", {}))
            yield ""
    others = sorted(int(s) for s in operation["responses"] if int(s) >= 300)
    own = [f"[{s}](#statuses)" for s in others if s not in ANYWHERE]
    if own:
        yield f"Else {', '.join(own)}, or one of those that any request may get.\n"


def _contents(content: Mapping[str, Any]) -> Iterator[str]:
    for media_type, entry in content.items():
        schema = entry.get("schema", {})
        parts = ", ".join(
            f"`{name}` ({_kind(part) or 'JSON'})"
            for name, part in schema.get("properties", {}).items()
        )
        said = f"parts {parts}" if parts else _kind(schema)
        yield f"- `{media_type}`{': ' + said if said else ''}"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return what a value is, short."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if options := schema.get("anyOf"):
        kinds = [_kind(option) for option in options]
        return " or ".join(kind for kind in kinds if kind)
    if choices := schema.get("enum"):
        return " or ".join(f"`{choice}`" for choice in choices)
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {})) or 'values'}"
    if schema.get("format") == "binary":
        return "bytes"
    names = {"string": "text", "boolean": "true or false", "object": "object"}
    if isinstance(kind, list):
        return " or ".join(names.get(one, one) for one in kind)
    return names.get(str(kind), str(kind or ""))


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    required = set(schema.get("required", ()))
    yield "| field | type | what it is |"
    yield "|---|---|---|"
    for name, field in schema.get("properties", {}).items():
        kind = _kind(field) if name in required else f"{_kind(field)}; may be left out"
        yield f"| `{name}` | {kind} | {_sentence(field.get('description', ''))} |"
    more = schema.get("additionalProperties")
    if more:
        yield f"| others | {_kind(more) if isinstance(more, dict) else 'any'} | |"
    yield ""


def _statuses(described: Mapping[str, Any]) -> Iterator[str]:
    operations = [o for entry in described["paths"].values() for o in entry.values()]
    found = {int(status) for operation in operations for status in operation["responses"]}
    unknown = found - set(STATUSES)
    if unknown:
        raise ValueError(f"STATUSES does not say what these are: {sorted(unknown)}")
    yield "Every refusal is `application/problem+json` (RFC 9457) with a list `faults`; it repeats"
    yield "nothing of what was sent. Those marked with * may answer any request.\n"
    yield "| status | meaning |"
    yield "|---|---|"
    for status in sorted(found | ANYWHERE):
        yield f"| {status}{'*' if status in ANYWHERE else ''} | {STATUSES[status]} |"
    yield ""


def _sentence(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
