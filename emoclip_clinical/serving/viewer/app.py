"""The viewer's addresses: a page, the cohort, timelines, pictures, marks."""

from __future__ import annotations

import json
import math
import mimetypes
import threading
from collections.abc import Awaitable, Callable
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.pictures import PictureReader
from emoclip_clinical.records import InputError
from emoclip_clinical.serving.viewer.blurring import blurred_png, squares_of
from emoclip_clinical.serving.viewer.cohort import Cohort
from emoclip_clinical.study.exclusions import Exclusion
from emoclip_clinical.study.provenance import Clock

_PAGE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "viewer.css": "text/css; charset=utf-8",
    "viewer.js": "text/javascript; charset=utf-8",
    "cohort.js": "text/javascript; charset=utf-8",
    "timeline.js": "text/javascript; charset=utf-8",
    "player.js": "text/javascript; charset=utf-8",
    "marks.js": "text/javascript; charset=utf-8",
}
_LARGEST_BODY_BYTES = 20_000


class Mark(BaseModel):
    """A request to leave out a stretch of an interview."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    onset: float
    duration: float = Field(gt=0)
    reason: str


def make_app(cohort: Cohort, *, show_faces: bool, now: Clock) -> Starlette:
    """Make the application, without any guard; see `Access`.

    Parameters
    ----------
    cohort : Cohort
        What is shown.
    show_faces : bool
        Whether the videos themselves are sent, not only blurred pictures.
    now : callable
        The clock, for marks.
    """
    return _Viewer(cohort, show_faces=show_faces, now=now).app()


class _Viewer:
    def __init__(self, cohort: Cohort, *, show_faces: bool, now: Clock) -> None:
        self._cohort = cohort
        self._show_faces = show_faces
        self._now = now
        self._pictures = _OpenVideo(cohort)

    def app(self) -> Starlette:
        one = "/api/interviews/{name}"
        routes = [
            Route("/", _page_file("index.html")),
            *(Route(f"/{name}", _page_file(name)) for name in _PAGE_FILES),
            Route("/api/cohort", self._overview),
            Route(one, self._timeline),
            Route(f"{one}/picture", self._picture),
            Route(f"{one}/marks", self._mark, methods=["POST"]),
            Route(f"{one}/marks/{{mark}}", self._take_back, methods=["DELETE"]),
        ]
        if self._show_faces:
            routes.append(Route(f"{one}/video", self._video))
        return Starlette(routes=routes, exception_handlers={InputError: _faults})

    def _name(self, request: Request) -> str:
        # A name is looked up and never becomes a path.
        name = str(request.path_params["name"])
        if name not in self._cohort.interviews.index:
            raise HTTPException(404, "there is no such interview")
        return name

    def _overview(self, request: Request) -> Response:
        return JSONResponse({**self._cohort.overview(), "show_faces": self._show_faces})

    def _timeline(self, request: Request) -> Response:
        name = self._name(request)
        found = self._cohort.timeline(name)
        start, fault = 0.0, ""
        if found["video"]:
            try:
                start = self._pictures.start_seconds(name)
            except UnreadableVideoError as error:
                fault = str(error)
        return JSONResponse({**found, "clock_start": start, "video_fault": fault})

    def _picture(self, request: Request) -> Response:
        name = self._name(request)
        if name not in self._cohort.videos:
            raise HTTPException(404, "the video of this interview is not there")
        try:
            seconds = float(request.query_params.get("seconds", ""))
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise HTTPException(422, "seconds must be a number")
        try:
            return Response(self._pictures.blurred(name, seconds), media_type="image/png")
        except UnreadableVideoError as error:
            raise HTTPException(422, str(error)) from None

    def _video(self, request: Request) -> Response:
        video = self._cohort.videos.get(self._name(request))
        if video is None or not video.path.is_file():
            raise HTTPException(404, "the video of this interview is not there")
        kind = mimetypes.guess_type(video.path.name)[0] or "application/octet-stream"
        return FileResponse(video.path, media_type=kind)

    async def _mark(self, request: Request) -> Response:
        name = self._name(request)
        try:
            mark = Mark.model_validate(await _json(request))
        except ValidationError as error:
            raise InputError(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
            ) from None
        new = Exclusion(
            interview=name,
            segment=None,
            onset=mark.onset,
            duration=mark.duration,
            reason=mark.reason.strip(),
            marked_at=self._now().isoformat(timespec="seconds"),
            estimates_shown=bool(self._cohort.estimates),
        )
        await run_in_threadpool(self._cohort.mark, new)
        return JSONResponse({"marks": self._cohort.marks_of(name)}, 201)

    def _take_back(self, request: Request) -> Response:
        name = self._name(request)
        self._cohort.take_back(name, str(request.path_params["mark"]))
        return JSONResponse({"marks": self._cohort.marks_of(name)})


class _OpenVideo:
    """The one video that is being looked at, open, so that the next picture is near."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._lock = threading.Lock()
        self._name = ""
        self._reader: PictureReader | None = None
        self._squares = 0

    def start_seconds(self, name: str) -> float:
        with self._lock:
            return self._open(name).start_seconds

    def blurred(self, name: str, seconds: float) -> bytes:
        video = self._cohort.videos[name]
        low = -math.inf if video.start_seconds is None else video.start_seconds
        high = math.inf if video.stop_seconds is None else video.stop_seconds
        with self._lock:
            image = self._open(name).at(min(max(seconds, low), high)).image
            if not self._squares:
                longer = max(image.shape[:2])
                share = self._cohort.face_share(name, longer_side_pixels=longer)
                self._squares = squares_of(share)
            return blurred_png(image, squares=self._squares)

    def _open(self, name: str) -> PictureReader:
        if self._reader is None or self._name != name:
            if self._reader is not None:
                self._reader.close()
            self._reader, self._squares = None, 0
            self._reader = PictureReader(self._cohort.videos[name].path)
            self._name = name
        return self._reader


def _page_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = resources.files(__package__).joinpath("static", name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, media_type=_PAGE_FILES[name])

    return answer


async def _json(request: Request) -> object:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY_BYTES:
            raise HTTPException(413, "too much was sent")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the request must be JSON") from None


async def _faults(request: Request, error: Exception) -> Response:
    faults = error.faults if isinstance(error, InputError) else (str(error),)
    return JSONResponse({"faults": list(faults)}, 422)
