"""The protocol: every setting of a study, checked as a whole; and the study that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml.comments import CommentedMap

from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.estimators.config import SegmentModelConfig
from emoclip_clinical.core.evaluation.config import ClipsFrom, EvaluationConfig
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.study.protocol_faults import missing_files, schema_faults
from emoclip_clinical.study.protocol_reading import (
    ProtocolText,
    override_text,
    read_protocol_text,
    with_all_settings,
    yaml_text,
)
from emoclip_clinical.study.shipped import PROTOCOL_FILE

__all__ = [
    "PROTOCOL_FILE",
    "DataConfig",
    "Protocol",
    "ReportConfig",
    "Study",
    "check_protocol",
    "open_study",
    "resolved_text",
]


class DataConfig(BaseModel):
    """Where a study's files lie, relative to its folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clips: ClipsFrom = Field(
        "clips.csv", description="What train reads: a manifest, or a data set in its own layout"
    )
    interviews: str = Field("interviews", description="A folder of videos, or an interviews.csv")
    ratings: str = Field("ratings.csv", description="A table, or a BIDS phenotype folder")
    encoding: str | None = Field(None, description="Of text tables; none: UTF-8")
    scales: tuple[str, ...] = Field((), description="YAML files of scales beside the shipped ones")
    features: str = Field("features", description="What extract writes and regress reads")
    exclusions: str | None = Field(
        None, description="A CSV of segments to leave out, each with its reason; none: all count"
    )
    results: str = Field("results", description="What regress writes")


class ReportConfig(BaseModel):
    """How a result is shown; moves no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[Literal["html", "md", "pdf"], ...] = Field(
        ("html",), min_length=1, description="Files of the report; pdf needs a Chromium"
    )
    notes: tuple[str, ...] = Field((), description="Sentences of yours, shown below the result")


class Protocol(BaseModel):
    """A study's settings; every key has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(1, ge=1, le=1, description="Of this format")
    name: str = Field("study", min_length=1, description="Of the study, in words of yours")
    seed: int = Field(0, ge=0, lt=2**32, description="Of everything random in the study")
    data: DataConfig = Field(DataConfig(), description="Where files lie")
    model: ModelConfig = Field(ModelConfig(), description="Architecture of the model")
    training: TrainingConfig = Field(TrainingConfig(), description="What `train` does")
    extraction: ExtractionConfig = Field(ExtractionConfig(), description="What `extract` does")
    regression: RegressionConfig = Field(RegressionConfig(), description="What `regress` does")
    segment_models: SegmentModelConfig = Field(
        SegmentModelConfig(), description="Of the models mlp_probe and attention_pooling"
    )
    report: ReportConfig = Field(ReportConfig(), description="How a result is shown")
    evaluation: EvaluationConfig | None = Field(
        None, description="What the model is judged on; none: run does not judge it"
    )


CACHES = ".emoclip"


@dataclass(frozen=True)
class Study:
    """A study's folder and its settings.

    Attributes
    ----------
    folder : Path
        All of the protocol's paths are relative to it.
    protocol : Protocol
        The settings, overrides applied.
    variant : str
        Name of the protocol's file where it is not the study's protocol.yaml; else empty.
    """

    folder: Path
    protocol: Protocol
    variant: str = ""

    def path(self, relative: str) -> Path:
        """Return a path of the protocol, from the study's folder."""
        return self.folder / relative

    @property
    def lock_file(self) -> Path:
        """Where `protocol freeze` writes the lock of this protocol."""
        return self.folder / f"{self.variant or 'protocol'}.lock"

    @property
    def caches(self) -> Path:
        """The folder of what may be deleted at any time and is then made again."""
        return self.folder / CACHES

    @property
    def hash_memory(self) -> Path:
        """Where hashes of files are remembered, see `FileHashes`."""
        return self.caches / "hashes.json"

    @property
    def models(self) -> Path:
        """The folder of models."""
        return self.folder / "models"

    @property
    def model_folder(self) -> Path:
        """The model that the protocol names, or the only one that there is.

        Raises
        ------
        InputError
            If there is no model, or several of which none is the protocol's.
        """
        named = self.models / self.protocol.model.name
        if (named / "model.json").is_file():
            return named
        found = sorted(p.parent for p in self.models.glob("*/model.json"))
        if len(found) == 1:
            return found[0]
        raise InputError(
            f"no model in {self.models}: make one with `emoclip-clinical train`, or name one with "
            "--model"
            if not found
            else f"model.name must be one of {', '.join(p.name for p in found)} (they are in "
            f"{self.models}), got {self.protocol.model.name!r}"
        )


def open_study(
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    needs: Iterable[str] = (),
    protocol_file: Path | None = None,
) -> Study:
    """Read a study's protocol, or take the defaults where it has none.

    Parameters
    ----------
    folder : Path
        The study.
    overrides : sequence of str
        `section.key=value`, the value in YAML; typed by the same schema as the file.
    settings : mapping, optional
        The same with values that need no reading, as options of a command give them; they come
        last.
    needs : iterable of str
        Keys of `data` whose files must exist.
    protocol_file : Path, optional
        Another file than the folder's protocol.yaml.

    Returns
    -------
    Study

    Raises
    ------
    InputError
        Listing every fault of the file and of the overrides, and every needed file that is not
        there, each with its line where it has one.
    """
    if not folder.is_dir():
        raise InputError(f"no such study folder: {folder}")
    path = protocol_file or folder / PROTOCOL_FILE
    has_file = path.is_file() or protocol_file is not None
    text = read_protocol_text(path) if has_file else ProtocolText(CommentedMap(), {})
    text, faults = override_text(text, overrides, settings or {})
    protocol, found = check_protocol(text)
    defaults = {name: field.default for name, field in DataConfig.model_fields.items()}
    faults += [*found, *missing_files(text, folder, needs=needs, defaults=defaults)]
    if faults or protocol is None:
        raise InputError(faults)
    return Study(folder, protocol, "" if path.name == PROTOCOL_FILE else path.stem)


def resolved_text(path: Path, *, overrides: Sequence[str] = ()) -> str:
    """Return a protocol as YAML with every key, and the comments that its files have.

    Raises
    ------
    InputError
        Listing every fault of the files and of the overrides.
    """
    text, faults = override_text(read_protocol_text(path), overrides, {})
    protocol, found = check_protocol(text)
    if protocol is None or faults:
        raise InputError([*faults, *found])
    return yaml_text(with_all_settings(text.content, protocol.model_dump(mode="json")))


def check_protocol(text: ProtocolText) -> tuple[Protocol | None, list[str]]:
    """Return the settings that a text says, or all of its faults with their lines."""
    try:
        return Protocol.model_validate(text.plain), []
    except ValidationError as error:
        return None, schema_faults(error, text, Protocol)
