"""JSON bodies: read within limits, checked against a schema, with every fault listed."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.problems import Problem, shortened

Content = TypeVar("Content", bound=BaseModel)


def media_type(request: Request) -> str:
    """Return the type of a request's body, in lower case and without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, model: type[Content], *, config: ServingConfig) -> Content:
    """Read a JSON body.

    Parameters
    ----------
    request : Request
        Its body is read.
    model : class
        The schema.
    config : ServingConfig
        How large it may be, and how slow.

    Raises
    ------
    Problem
        400 for what is no JSON, 408, 413, 415, and 422 with every fault.
    """
    if media_type(request) != "application/json":
        raise Problem(415, "the body must be application/json")
    refuse_content_encoding(request)
    return parse_json(await _body(request, config=config), model)


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
        found = error.errors(include_url=False, include_context=False, include_input=False)
        if any(fault["type"] == "json_invalid" for fault in found):
            raise Problem(400, "the body is not valid JSON") from None
        names = _field_names(model.model_json_schema())
        faults = [f"{_place(fault['loc'], names)}: {_message(fault)}" for fault in found]
        raise Problem(422, shortened(faults)) from None


def refuse_content_encoding(request: Request) -> None:
    """Refuse a packed body, whose size says nothing.

    Raises
    ------
    Problem
        415.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "the body must not have a Content-Encoding")


async def _body(request: Request, *, config: ServingConfig) -> bytes:
    too_large = Problem(413, f"a JSON body may have at most {config.max_json_bytes} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > config.max_json_bytes:
        raise too_large
    content = bytearray()
    chunks = request.stream()
    try:
        while True:
            async with asyncio.timeout(config.upload_stall_seconds):
                content += await anext(chunks)
            if len(content) > config.max_json_bytes:
                raise too_large
    except StopAsyncIteration:
        return bytes(content)
    except TimeoutError:
        raise Problem(
            408, f"nothing of the body came for {config.upload_stall_seconds:g} s"
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the body ended too early") from None


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
