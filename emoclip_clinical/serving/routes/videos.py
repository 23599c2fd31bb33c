"""Videos and frames to vectors and scores."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from emoclip_clinical.features.scores import PromptVectors
from emoclip_clinical.serving.answers import ARROW, JSON, NPY, Answer, check_accept, respond
from emoclip_clinical.serving.door import Door, door_of
from emoclip_clinical.serving.forms import FORM
from emoclip_clinical.serving.job_answers import JobDescription, answered
from emoclip_clinical.serving.jobs import SecondsDone
from emoclip_clinical.serving.json_bodies import parse_json
from emoclip_clinical.serving.npy import read_frames
from emoclip_clinical.serving.problems import Problem
from emoclip_clinical.serving.query_keys import each_key_once
from emoclip_clinical.serving.schemas import (
    BINARY,
    problems,
    reference,
    request_body,
    table_answer,
)
from emoclip_clinical.serving.uploads import OCTETS, Kind, Upload, receive
from emoclip_clinical.serving.video_answers import (
    about_video,
    embedding_table,
    score_table,
    segment_embeddings,
    segment_scores,
)
from emoclip_clinical.serving.video_requests import (
    EmbeddingQuery,
    InlinePrompts,
    ScoresQuery,
    VideoQuery,
)
from emoclip_clinical.serving.waiting import unless_gone

router = APIRouter(dependencies=[Depends(each_key_once)])

SHOWN: tuple[type[BaseModel], ...] = (JobDescription, InlinePrompts)
"""Schemas that routes point to by name."""

_KINDS: frozenset[Kind] = frozenset({"video", "frames"})
_PARTS: dict[str, Any] = {
    "video": {**BINARY, "description": "A video file."},
    "frames": {**BINARY, "description": "An npy file; either this or the video."},
}
JOB: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "The video is still being read: a job, at the address in Location",
        "content": {JSON: {"schema": reference(JobDescription)}},
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}
_STATUSES = (400, 404, 406, 408, 413, 415, 422, 429, 504, 507)


def _body(parts: dict[str, Any]) -> dict[str, Any]:
    """Describe the bodies that may be sent."""
    form = {"type": "object", "properties": parts, "additionalProperties": False}
    return request_body({NPY: BINARY, "video/*": BINARY, OCTETS: BINARY, FORM: form})


@router.post(
    "/v1/embeddings/video",
    summary="Embed frames or a video",
    openapi_extra=_body(_PARTS),
    responses={
        200: table_answer("A row for each clip, frame or segment", npy=True),
        **JOB,
        **problems(*_STATUSES),
    },
    response_class=Response,
)
async def embed_video(request: Request, query: Annotated[EmbeddingQuery, Query()]) -> Response:
    """Embed clips, frames, or the segments of a video.

    Frames are an npy file, uint8 of shape (t, height, width, 3) or, for several clips,
    (n, t, height, width, 3), RGB, sampled at the model's rate. Clips are L2-normalised, frames
    are not. A video is cut into segments; one without enough face has no embedding.
    """
    door = door_of(request)
    check_accept(request, forms=(JSON, ARROW, NPY))
    wait_seconds = query.wait_seconds(door.config)
    extraction = query.extraction(door.extraction, reader=door.reader)
    upload = await receive(request, config=door.config, kinds=_KINDS)
    if upload.kind == "frames":
        with upload.file:
            vectors = await _frame_vectors(request, door, upload, query)
        return await respond(request, Answer(embedding_table(vectors), {"model": door.model.about}))

    async def work(told: SecondsDone) -> Answer:
        reading = await door.reader.read(
            upload.file, extraction=extraction, prompts=(), progress=told
        )
        about = about_video(reading, extraction=extraction, grid=door.reader.check(extraction))
        return Answer(segment_embeddings(reading), {"model": door.model.about, **about})

    if query.unit == "frame":
        upload.close()
        raise Problem(422, "query.unit 'frame' is for frames; a video has segments")
    return await answered(request, door.jobs, work, wait_seconds=wait_seconds, release=upload.close)


@router.post(
    "/v1/scores",
    summary="Score frames or a video against prompts",
    openapi_extra=_body(_PARTS | {"prompts": reference(InlinePrompts)}),
    responses={
        200: table_answer("A row for each clip or segment"),
        **JOB,
        **problems(*_STATUSES),
    },
    response_class=Response,
)
async def score_video(request: Request, query: Annotated[ScoresQuery, Query()]) -> Response:
    """Score clips, or the segments of a video, against the classes of prompt sets.

    Bodies are as those of `/v1/embeddings/video`; a form may hold prompts of its own. There is a
    cosine for each class, and a share of the softmax over the classes of each set.
    """
    door = door_of(request)
    door.model.require_text_tower()
    check_accept(request, forms=(JSON, ARROW))
    wait_seconds = query.wait_seconds(door.config)
    extraction = query.extraction(door.extraction, reader=door.reader)
    named = None if query.prompts is None else await door.prompts.vectors(query.prompts)
    upload = await receive(request, config=door.config, kinds=_KINDS, fields=frozenset({"prompts"}))
    try:
        prompts = await _prompts(request, door, upload, named)
    except BaseException:
        upload.close()
        raise
    about = {"model": door.model.about, "temperature": door.model.temperature}
    if upload.kind == "frames":
        with upload.file:
            vectors = await _frame_vectors(request, door, upload, query)
        table = score_table(vectors, prompts, temperature=door.model.temperature)
        return await respond(request, Answer(table, about))

    async def work(told: SecondsDone) -> Answer:
        reading = await door.reader.read(
            upload.file, extraction=extraction, prompts=prompts, progress=told
        )
        more = about_video(reading, extraction=extraction, grid=door.reader.check(extraction))
        return Answer(segment_scores(reading), {**about, **more})

    return await answered(request, door.jobs, work, wait_seconds=wait_seconds, release=upload.close)


async def _prompts(
    request: Request,
    door: Door,
    upload: Upload,
    named: tuple[PromptVectors, ...] | None,
) -> tuple[PromptVectors, ...]:
    """Return the vectors of the prompts that a request brings or names, or of the server's own."""
    text = upload.fields.get("prompts")
    if text is None:
        return await door.prompts.own_vectors() if named is None else named
    if named is not None:
        raise Problem(422, "prompts are given twice: by name in the query, and in the form")
    inline = parse_json(text, InlinePrompts).prompt_set(most_texts=door.config.max_texts)
    return await unless_gone(request, door.model.encode_prompts(inline))


async def _frame_vectors(
    request: Request, door: Door, upload: Upload, query: VideoQuery
) -> np.ndarray:
    """Return a vector for each clip, or each frame, of an npy file."""
    if query.settings:
        raise Problem(
            422,
            [
                f"query.{name} is for videos; frames are taken as they are"
                for name in query.settings
            ],
        )
    by_frame = isinstance(query, EmbeddingQuery) and query.unit == "frame"
    longest = None if by_frame else door.model.embedder.longest_clip_frames
    frames = read_frames(upload.file, longest_clip_frames=longest)
    if by_frame and frames.ndim == 5:
        raise Problem(422, "query.unit 'frame' takes one clip, of 4 dimensions")
    if by_frame:
        return await unless_gone(request, door.model.encode_frames(frames))
    n_frames = math.prod(frames.shape[:-3])
    if n_frames > door.config.max_waiting_frames:
        # Said before there is a list: a million clips of one pixel are a small upload.
        raise Problem(
            413,
            f"a request may hold at most {door.config.max_waiting_frames} pictures, got {n_frames}",
        )
    clips = list(frames) if frames.ndim == 5 else [frames]
    return await unless_gone(request, door.model.encode_clips(clips))
