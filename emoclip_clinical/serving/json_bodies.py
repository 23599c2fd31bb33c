"""JSON bodies: read within limits, checked against a schema, with every fault listed."""

from __future__ import annotations

from contextlib import aclosing
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from emoclip_clinical.serving.bodies import body_of, media_type
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.problems import Problem, shortened

Content = TypeVar("Content", bound=BaseModel)

_MOST_FAULTS = 10_000


async def read_json(request: Request, model: type[Content], *, config: ServingConfig) -> Content:
    """Read a JSON body.

    Parameters
    ----------
    request : Request
        Its body is read.
    model : class
        The schema.
    config : ServingConfig
        How large it may be, how slow, and how many there may be at once.

    Raises
    ------
    Problem
        400 for what is no JSON, 408, 413, 415, 422 with every fault, and 429.
    """
    content = bytearray()
    async with body_of(request, config=config) as body:
        if media_type(request) != "application/json":
            raise Problem(415, "the body must be application/json")
        body.limit(config.max_json_bytes)
        async with aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                content += chunk
    return parse_json(bytes(content), model)


def parse_json(content: bytes, model: type[Content]) -> Content:
    """Check JSON text against a schema.

    Raises
    ------
    Problem
        400 for what is no JSON, and 422 with every fault; without any of the text's content.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        if error.error_count() > _MOST_FAULTS:
            # To list them takes seconds, and more memory than the text a hundred times.
            raise Problem(422, f"the body has {error.error_count()} faults") from None
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if any(fault["type"] == "json_invalid" for fault in found):
            raise Problem(400, "the body is not valid JSON") from None
        names = _field_names(model.model_json_schema())
        faults = [f"{_place(fault['loc'], names)}: {_message(fault)}" for fault in found]
        raise Problem(422, shortened(faults)) from None


def _message(fault: object) -> str:
    assert isinstance(fault, dict)
    # What a validator of ours raised says all by itself.
    return str(fault["msg"]).removeprefix("Value error, ")


def _place(location: tuple[int | str, ...], names: frozenset[str]) -> str:
    parts = (str(p) if isinstance(p, int) or p in names else "*" for p in location)
    return ".".join(parts) or "the body"


def _field_names(schema: object) -> frozenset[str]:
    """Return the names of all fields: what else stands in a fault's place is the client's text."""
    names: set[str] = set()
    if isinstance(schema, dict):
        fields = schema.get("properties")
        names.update(fields if isinstance(fields, dict) else ())
        for entry in schema.values():
            names |= _field_names(entry)
    elif isinstance(schema, list):
        for entry in schema:
            names |= _field_names(entry)
    return frozenset(names)
