"""openapi.json as a page to read: no script, and nothing fetched from anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
pre { background: #f4f4f4; padding: 0.7rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.8rem 0.25rem 0;
         border-bottom: 1px solid #e5e5e5; }
.method { text-transform: uppercase; font-weight: 600; color: #0a5; margin-right: 0.4rem; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818; } pre { background: #242424; }
  h2, th, td { border-color: #444; } a { color: #8bf; }
}
"""


def openapi_page(description: Mapping[str, Any]) -> str:
    """Return an HTML page of everything in an OpenAPI description.

    Parameters
    ----------
    description : mapping
        OpenAPI 3.1.

    Returns
    -------
    str
        A whole page.
    """
    info = description["info"]
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))}</p>",
        "<p>For programs: <a href=/openapi.json>openapi.json</a></p>",
    ]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            parts.extend(_operation(path, method, operation))
    parts.append("<h2>Schemas</h2>")
    for name, schema in description.get("components", {}).get("schemas", {}).items():
        parts.append(f"<h3 id='{escape(name)}'>{escape(name)}</h3>{_code(schema)}")
    return "\n".join([*parts, "</body></html>"])


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><span class=method>{escape(method)}</span><code>{escape(path)}</code></h2>"
    yield f"<p><b>{escape(operation.get('summary', ''))}.</b> "
    yield f"{escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>Parameter<th>In<th>What</tr>"
        for entry in parameters:
            about = entry.get("description") or entry["schema"].get("description", "")
            yield (
                f"<tr><td><code>{escape(entry['name'])}</code><td>{escape(entry['in'])}"
                f"<td>{escape(about)} {_schema(entry['schema'])}</tr>"
            )
        yield "</table>"
    if body := operation.get("requestBody"):
        yield f"<p>Body:</p>{_content(body['content'])}"
    yield "<table><tr><th>Status<th>Answer</tr>"
    for status, answer in operation.get("responses", {}).items():
        yield (
            f"<tr><td>{escape(str(status))}<td>{escape(answer.get('description', ''))}"
            f"{_content(answer.get('content', {}))}</tr>"
        )
    yield "</table>"


def _content(content: Mapping[str, Any]) -> str:
    entries = (
        f"<li><code>{escape(kind)}</code> {_schema(entry.get('schema', {}))}"
        for kind, entry in content.items()
    )
    return f"<ul>{''.join(entries)}</ul>" if content else ""


def _schema(schema: Mapping[str, Any]) -> str:
    if target := schema.get("$ref"):
        name = escape(target.rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    shown = {key: value for key, value in schema.items() if key not in {"title", "description"}}
    return f"<code>{escape(json.dumps(shown))}</code>" if shown else ""


def _code(schema: Mapping[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
