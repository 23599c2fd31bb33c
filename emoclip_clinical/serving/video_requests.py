"""What a request about a video may say: how it is read, how long its client waits, its prompts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.patient import patient_rule
from emoclip_clinical.records import InputError, PromptSet, shared_sentences
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.isolation.reader import VideoReader
from emoclip_clinical.serving.problems import Problem, shortened

_NAME = r"^[a-z0-9]+(_[a-z0-9]+)*$"


def _known_rule(text: str) -> str:
    try:
        return patient_rule(text).text
    except InputError:
        raise ValueError("patient must be longest, largest, left, right or track:<k>") from None


class WaitQuery(BaseModel):
    """How long a client waits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    wait: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Seconds to wait for a video's result before the answer is 202 and a job; as "
        "long as the server allows at most, and where it is left out.",
    )

    def wait_seconds(self, config: ServingConfig) -> float:
        """Return how long to wait, at most as long as the server allows."""
        return config.wait_seconds if self.wait is None else min(self.wait, config.wait_seconds)


class VideoQuery(WaitQuery):
    """How a video is read; what is left out is as the server was started with."""

    face: Literal["detect", "whole_frame"] | None = Field(
        default=None, description="Encode the face that is found, or the whole picture."
    )
    patient: Annotated[str, AfterValidator(_known_rule)] | None = Field(
        default=None,
        description="Who of several people is read: longest, largest, left, right or track:<k>.",
    )
    sample_fps: float | None = Field(
        default=None, gt=0, le=120, allow_inf_nan=False, description="Frames a second."
    )
    window_seconds: float | None = Field(
        default=None, gt=0, le=3600, allow_inf_nan=False, description="Length of a segment."
    )
    stride_seconds: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="From the start of a segment to the next.",
    )

    def extraction(self, base: ExtractionConfig, *, reader: VideoReader) -> ExtractionConfig:
        """Return how a video is read.

        Parameters
        ----------
        base : ExtractionConfig
            What the server was started with.
        reader : VideoReader
            Checks it.

        Raises
        ------
        InputError
            Listing every fault.
        """
        try:
            made = ExtractionConfig.model_validate({**base.model_dump(), **self.settings})
        except ValidationError as error:
            # Each value was checked by itself: this is about how they go together.
            raise InputError(
                [fault["msg"].removeprefix("Value error, ") for fault in error.errors()]
            ) from None
        reader.check(made)
        return made

    @property
    def settings(self) -> dict[str, Any]:
        """What the request says of how a video is read."""
        return self.model_dump(include=set(VideoQuery.model_fields) - {"wait"}, exclude_none=True)


class EmbeddingQuery(VideoQuery):
    """What `/v1/embeddings/video` may be asked."""

    unit: Literal["clip", "frame"] = Field(
        default="clip",
        description="Of frames sent as npy: a vector for each clip, or for each frame.",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """What the request says of how a video is read."""
        return {name: value for name, value in super().settings.items() if name != "unit"}


class ScoresQuery(VideoQuery):
    """What `/v1/scores` may be asked."""

    prompts: str | None = Field(
        default=None,
        description="Name of a prompt set that the server knows (`GET /v1/models`); those that "
        "it was started with where no other prompts are given.",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """What the request says of how a video is read."""
        return {name: value for name, value in super().settings.items() if name != "prompts"}


_Name = Annotated[str, Field(pattern=_NAME, max_length=64)]
_Sentence = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]


class InlinePrompts(BaseModel):
    """Classes that a client brings itself; the keys of a prompt file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name = Field(description="Becomes a part of the columns' names.")
    classes: dict[_Name, Annotated[list[_Sentence], Field(min_length=1)]] = Field(
        min_length=2, description="Classes, each with one or more sentences."
    )
    compounds: dict[_Name, Annotated[list[_Name], Field(min_length=2)]] = Field(
        default={},
        description="Compound classes, each with two or more of the classes. All parts of all "
        "compounds count as texts, together with the sentences of the classes.",
    )
    language: str = Field(default="en", max_length=64)
    author: str = Field(default="", max_length=256)
    date: str = Field(default="", max_length=64)

    @model_validator(mode="after")
    def _sound(self) -> InlinePrompts:
        if self.classes.keys() & self.compounds.keys():
            raise ValueError("a name is both a class and a compound")
        if any(part not in self.classes for parts in self.compounds.values() for part in parts):
            raise ValueError("a compound names a class that there is not")
        return self

    def prompt_set(self, *, most_texts: int) -> PromptSet:
        """Return them as a prompt set.

        Raises
        ------
        Problem
            413 for too many sentences and parts of compounds, 422 for classes and compounds that
            make no prompt set.
        """
        n_texts = sum(map(len, self.classes.values()))
        n_parts = sum(map(len, self.compounds.values()))
        if n_texts + n_parts > most_texts:
            raise Problem(
                413,
                f"prompts may have at most {most_texts} sentences and parts of compounds together, "
                f"got {n_texts} and {n_parts}",
            )
        if faults := self._faults():
            raise Problem(422, shortened(faults))
        return PromptSet(
            self.name,
            classes={name: tuple(texts) for name, texts in self.classes.items()},
            compounds={name: tuple(parts) for name, parts in self.compounds.items()},
        )

    def _faults(self) -> list[str]:
        """Say what `PromptSet` would refuse, by places: it would name classes and sentences."""
        place = {name: i for i, name in enumerate(self.classes)}
        empty = [
            f"class {place[name]} (from 0) has an empty sentence"
            for name, texts in self.classes.items()
            if not all(map(str.strip, texts))
        ]
        shared = [
            f"classes {place[first]} and {place[second]} (from 0) have a sentence in common; each "
            "class needs its own"
            for first, second, *_ in shared_sentences(self.classes).values()
        ]
        repeated = [
            f"compound {i} (from 0) names a class more than once"
            for i, parts in enumerate(self.compounds.values())
            if len(set(parts)) < len(parts)
        ]
        return [*empty, *shared, *repeated]


def check_number_of_strings(content: bytes, *, most_texts: int) -> None:
    """Refuse JSON with more strings than any `InlinePrompts` of so many texts can have.

    To read megabytes of names takes seconds, in which nobody else is answered.

    Parameters
    ----------
    content : bytes
        JSON text, or what is sent as such.
    most_texts : int
        Sentences and parts of compounds together.

    Raises
    ------
    Problem
        413.
    """
    # Every class has a sentence and every compound two parts, so that there are no more names
    # than texts. What looks like an escaped quote may be none: there are at least so many quotes.
    n_quotes = content.count(b'"') - content.count(b'\\"')
    if n_quotes > 2 * (2 * most_texts + 2 * len(InlinePrompts.model_fields)):
        raise Problem(
            413,
            f"prompts may have at most {most_texts} sentences and parts of compounds together, "
            "got many more",
        )
