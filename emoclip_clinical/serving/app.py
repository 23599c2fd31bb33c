"""The application: routes, and what faults become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from emoclip_clinical import __version__
from emoclip_clinical.records import InputError
from emoclip_clinical.serving import estimate_schemas
from emoclip_clinical.serving.access import Guard
from emoclip_clinical.serving.door import Door
from emoclip_clinical.serving.open_files import none_left
from emoclip_clinical.serving.problems import Problem, shortened
from emoclip_clinical.serving.routes import estimates, health, jobs, models, texts, videos
from emoclip_clinical.serving.schemas import SHOWN, component_schemas
from emoclip_clinical.serving.tokens import Tokens
from emoclip_clinical.serving.waiting import ClientGoneError
from emoclip_clinical.serving.watching import Answered, Watched

_ROUTERS = (
    texts.router,
    videos.router,
    estimates.router,
    jobs.router,
    models.router,
    health.router,
)
_CLIENT_GONE = 499
_FAULTS = {
    404: "there is nothing at this address; /docs says what there is",
    405: "this address does not take this method; the header Allow says which it takes",
}


def make_app(door: Door, *, tokens: Tokens | None = None, hosts: tuple[str, ...] = ()) -> ASGIApp:
    """Make the whole application.

    Parameters
    ----------
    door : Door
        Everything that routes need.
    tokens, hosts
        See `Guard`.

    Returns
    -------
    ASGI application
        Watched, guarded, with problem details for every fault.
    """
    answered = Answered(make_routes(door), standing=door.standing)
    guarded = Guard(answered, tokens=tokens, hosts=hosts)
    return Watched(guarded, metrics=door.metrics, standing=door.standing)


def make_routes(door: Door) -> FastAPI:
    """Make the application without its guard.

    Parameters
    ----------
    door : Door
        Everything that routes need; routes find it by `door_of`.
    """
    app = FastAPI(
        title="emoclip-clinical",
        version=__version__,
        description="Embeddings, zero-shot scores and estimates of interview videos. "
        "For research only; not a medical device.",
        # FastAPI's own pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            Problem: _problem,
            InputError: _input_error,
            RequestValidationError: _invalid_request,
            HTTPException: _http_error,
            ClientGoneError: _gone,
            OSError: _os_error,
            Exception: _bug,
        },
    )
    app.state.door = door
    for router in _ROUTERS:
        app.include_router(router)
    _show_schemas(app)
    return app


def _show_schemas(app: FastAPI) -> None:
    """Add the schemas of bodies that routes read by themselves."""
    described: dict[str, Any] = app.openapi()
    components = described.setdefault("components", {}).setdefault("schemas", {})
    components.update(component_schemas((*SHOWN, *videos.SHOWN, *estimate_schemas.SHOWN)))
    # FastAPI's own form of faults is never sent.
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for operation in (one for path in described["paths"].values() for one in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    # A server without tokens asks for none.
    described["security"] = [{}, {"token": []}]


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _input_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InputError)
    return Problem(422, shortened(error.faults)).response()


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return Problem(422, shortened([_fault(fault) for fault in error.errors()])).response()


def _fault(fault: Mapping[str, Any]) -> str:
    *place, name = map(str, fault["loc"])
    # A name that is not known is the client's text.
    shown = "*" if fault["type"] == "extra_forbidden" else name
    return f"{'.'.join([*place, shown])}: {fault['msg']}"


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    fault = _FAULTS.get(error.status_code, error.detail)
    return Problem(error.status_code, fault, headers=error.headers).response()


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_GONE)


async def _os_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    problem = none_left(error)
    if problem is None:
        raise error
    return problem.response()


async def _bug(request: Request, error: Exception) -> Response:
    return Problem(500, "a fault of the server: give its operator the X-Request-ID").response()
