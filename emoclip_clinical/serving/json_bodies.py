"""JSON bodies: read within limits, checked against a schema, with every fault listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from emoclip_clinical.serving.bodies import body_of, media_type
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.problems import Problem, shortened

Content = TypeVar("Content", bound=BaseModel)
Place = tuple[int | str, ...]

_MOST_FAULTS = 10_000
_MOST_DIGITS = 400
"""No number that is finite has more before its point."""


class _Doubled(dict[str, object]):
    """An object that has a key twice."""


def unchecked(content: object) -> None:
    """Check nothing."""


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
    return parse_json(await receive_json(request, config=config), model)


async def receive_json(request: Request, *, config: ServingConfig) -> bytes:
    """Receive a JSON body that another thread is to read; see `read_json`.

    Raises
    ------
    Problem
        408, 413, 415 and 429.
    """
    content = bytearray()
    async with body_of(request, config=config) as body:
        if media_type(request) != "application/json":
            raise Problem(415, "the body must be application/json")
        body.limit(config.max_json_bytes)
        async with aclosing(body.chunks()) as chunks:
            async for chunk in chunks:
                content += chunk
    return bytes(content)


def parse_json(
    content: bytes, model: type[Content], *, check: Callable[[object], None] = unchecked
) -> Content:
    """Check JSON text against a schema.

    Parameters
    ----------
    content : bytes
        UTF-8.
    model : class
        The schema.
    check : callable
        Looks at what the text holds before that is held against the schema, which takes longer
        than all the rest.

    Raises
    ------
    Problem
        400 for what is no JSON, and 422 with every fault; without any of the text's content.
    """
    twice: list[_Doubled] = []

    def made(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.append(found := _Doubled(found))
        return found

    try:
        value = json.loads(content.decode(), object_pairs_hook=made, parse_int=_whole)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not valid JSON") from None
    check(value)
    names = _field_names(model.model_json_schema())
    if twice:
        raise Problem(422, shortened(_doubled(value, n_all=len(twice), names=names)))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        if error.error_count() > _MOST_FAULTS:
            # To list them takes seconds, and more memory than the text a hundred times.
            raise Problem(422, f"the body has {error.error_count()} faults") from None
        found = error.errors(include_url=False, include_context=False, include_input=False)
        faults = [f"{_place(fault['loc'], names)}: {_message(fault)}" for fault in found]
        raise Problem(422, shortened(faults)) from None


def _whole(text: str) -> float:
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


def _doubled(value: object, *, n_all: int, names: frozenset[str]) -> list[str]:
    """Say which objects have a key twice; by their places near the top, where rows are."""
    near: list[tuple[Place, object]] = [((), value), *_entries((), value)]
    near += [entry for place, part in near[1:] for entry in _entries(place, part)]
    places = [_place(place, names) for place, part in near if isinstance(part, _Doubled)]
    faults = [f"{place}: a key stands twice" for place in places]
    deeper = n_all - len(places)
    return [*faults, *([f"the body: a key stands twice in {deeper} places"] if deeper else [])]


def _entries(place: Place, value: object) -> list[tuple[Place, object]]:
    if isinstance(value, dict):
        return [((*place, key), entry) for key, entry in value.items()]
    return [((*place, i), e) for i, e in enumerate(value)] if isinstance(value, list) else []


def _message(fault: object) -> str:
    assert isinstance(fault, dict)
    # What a validator of ours raised says all by itself.
    return str(fault["msg"]).removeprefix("Value error, ")


def _place(location: Place, names: frozenset[str]) -> str:
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
