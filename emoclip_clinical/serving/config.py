"""Settings of the server: where it listens, and what it lets through."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emoclip_clinical.records import InputError

MIB = 2**20


class ServingConfig(BaseModel):
    """Limits of one server; each keeps one client from taking what belongs to all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_batch_frames: int = Field(
        default=32, ge=1, le=1024, description="Pictures that the image tower gets at once."
    )
    max_batch_texts: int = Field(
        default=64, ge=1, le=4096, description="Texts that the text tower gets at once."
    )
    max_delay_seconds: float = Field(
        default=0.005,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How long the first of a batch waits for company while the encoder is free.",
    )
    max_waiting_frames: int = Field(
        default=4096, ge=1, description="Pictures that may wait; more are answered with 429."
    )
    max_waiting_texts: int = Field(
        default=4096, ge=1, description="Texts that may wait; more are answered with 429."
    )
    request_seconds: float = Field(
        default=120, gt=0, allow_inf_nan=False, description="After this a request gets 504."
    )
    upload_stall_seconds: float = Field(
        default=30,
        gt=0,
        allow_inf_nan=False,
        description="An upload that sends nothing for so long gets 408; a connection without a "
        "request's head, or whose answer is not read, is cut.",
    )
    max_json_bytes: int = Field(default=4 * MIB, ge=1024, description="Largest JSON body.")
    max_frames_bytes: int = Field(
        default=128 * MIB, ge=1024, description="Largest npy or Arrow body."
    )
    max_video_bytes: int = Field(default=4096 * MIB, ge=1024, description="Largest video.")
    max_video_seconds: float = Field(
        default=7200, gt=0, allow_inf_nan=False, description="Longest video, on its own clock."
    )
    max_uploads: int = Field(
        default=128,
        ge=1,
        description="Videos and forms that are received at once; with tokens, half of them of one "
        "token. More get 429.",
    )
    max_small_uploads: int = Field(
        default=128, ge=1, description="As max_uploads, for JSON, npy and Arrow bodies."
    )
    min_upload_bytes_per_second: int = Field(
        default=16_384,
        ge=1,
        description="A body that comes more slowly, on the whole and after upload_stall_seconds, "
        "gets 408.",
    )
    max_texts: int = Field(
        default=1024,
        ge=1,
        description="Texts of one request; of prompts, sentences of classes and parts of "
        "compounds together.",
    )
    max_rows: int = Field(
        default=10_000, ge=1, description="Rows of one request's features or embeddings."
    )
    max_estimates: int = Field(
        default=32,
        ge=1,
        description="Requests with features that wait for their estimates or get them; more are "
        "answered with 429.",
    )
    max_scores: int = Field(
        default=2**20,
        ge=1024,
        description="Score columns of an answer times its clips or segments.",
    )
    max_text_characters: int = Field(
        default=2000,
        ge=1,
        description="Longest text; a tower's context ends long before, and finding the tokens of "
        "an endless word takes long.",
    )
    decoders: int = Field(default=2, ge=1, le=64, description="Videos that are read at once.")
    decoder_mib: int = Field(
        default=2048,
        ge=256,
        description="Memory of the process reading a video, on top of its libraries, MiB.",
    )
    decoder_seconds: float = Field(
        default=3600,
        gt=0,
        allow_inf_nan=False,
        description="Time that reading one video may take; the process is killed after it.",
    )
    wait_seconds: float = Field(
        default=30,
        ge=0,
        allow_inf_nan=False,
        description="How long a request for a video waits for its result before it is answered "
        "with 202 and a job; a request may ask for less.",
    )
    max_jobs: int = Field(
        default=64, ge=1, description="Jobs that wait, run or hold a result; more get 429."
    )
    max_jobs_of_one: int = Field(
        default=32, ge=1, description="Jobs of one token; more get 429, others go on."
    )
    result_seconds: float = Field(
        default=3600, gt=0, allow_inf_nan=False, description="A result is deleted after this."
    )
    shutdown_seconds: float = Field(
        default=600,
        ge=0,
        allow_inf_nan=False,
        description="How long the server goes on after SIGTERM to finish what it has accepted, "
        "and to hand out the results of jobs.",
    )


def parse_limits(pairs: Sequence[str]) -> ServingConfig:
    """Read limits given as text.

    Parameters
    ----------
    pairs : sequence of str
        ``key=value``, with keys of `ServingConfig`.

    Raises
    ------
    InputError
        Listing every fault.
    """
    given: dict[str, str] = {}
    faults = []
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            faults.append(f"a limit must be KEY=VALUE, got {pair!r}")
        elif key in given:
            faults.append(f"limit {key!r} is given twice")
        elif key not in ServingConfig.model_fields:
            known = ", ".join(ServingConfig.model_fields)
            faults.append(f"there is no limit {key!r}; there are {known}")
        else:
            given[key] = value
    try:
        config = ServingConfig.model_validate(given)
    except ValidationError as error:
        faults += [
            f"limit {'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()
        ]
    if faults:
        raise InputError(faults)
    return config
