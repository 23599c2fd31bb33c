"""The protocol file: every setting of a study, checked as a whole, each fault with its line."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from emoclip_clinical.core.config import ModelConfig
from emoclip_clinical.core.estimators.config import SegmentModelConfig
from emoclip_clinical.core.evaluation.config import ClipsFrom, EvaluationConfig
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import RegressionConfig

PROTOCOL_FILE = "protocol.yaml"
OVERRIDDEN = 0
"""Stands for the line of a key that the command line has set."""


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
    name: str = Field("study", min_length=1)
    seed: int = Field(0, ge=0, lt=2**32, description="Of everything random in the study")
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    extraction: ExtractionConfig = ExtractionConfig()
    regression: RegressionConfig = RegressionConfig()
    segment_models: SegmentModelConfig = SegmentModelConfig()
    report: ReportConfig = ReportConfig()
    evaluation: EvaluationConfig | None = Field(
        None, description="What the model is judged on; none: run does not judge it"
    )


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
    raw = _read_yaml(path) if path.is_file() or protocol_file else CommentedMap()
    lines = _lines(raw)
    faults = _apply(raw, [*map(_override, overrides), *(settings or {}).items()], lines)
    protocol: Protocol | None = None
    try:
        protocol = Protocol.model_validate(_plain(raw))
    except ValidationError as error:
        faults += [_fault(e, path.name, lines) for e in error.errors()]
    faults += _missing_files(folder, raw, needs, path.name, lines)
    if faults or protocol is None:
        raise InputError(faults)
    return Study(folder, protocol, "" if path.name == PROTOCOL_FILE else path.stem)


def _read_yaml(path: Path) -> CommentedMap:
    try:
        raw = YAML(typ="rt").load(io.StringIO(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError as error:
        raise InputError(f"no such protocol: {path}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} must be UTF-8, got byte 0x{error.object[error.start]:02x} "
                         f"at position {error.start}") from error  # fmt: skip
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{path.name}, line {line}: not YAML: {error.problem}") from error
    except YAMLError as error:
        raise InputError(f"{path.name} is not YAML: {error}") from error
    if raw is None:
        return CommentedMap()
    if not isinstance(raw, CommentedMap):
        raise InputError(f"{path.name} must be a mapping of sections, got {type(raw).__name__}")
    return raw


def _lines(node: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Return the line, from 1, on which each key path stands."""
    lines: dict[tuple[str, ...], int] = {}
    if isinstance(node, CommentedMap):
        for key, value in node.items():
            lines[(*path, str(key))] = node.lc.key(key)[0] + 1
            lines |= _lines(value, (*path, str(key)))
    elif isinstance(node, CommentedSeq):
        for i, value in enumerate(node):
            lines[(*path, str(i))] = node.lc.item(i)[0] + 1
            lines |= _lines(value, (*path, str(i)))
    return lines


def _override(text: str) -> tuple[str, object]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set takes section.key=value, got {text!r}")
    try:
        return key.strip(), YAML(typ="safe").load(value)
    except YAMLError as error:
        raise InputError(f"--set {key.strip()}: the value is not YAML: {value!r}") from error


def _apply(
    raw: CommentedMap, items: Iterable[tuple[str, object]], lines: dict[tuple[str, ...], int]
) -> list[str]:
    """Set keys of the file's content in place; what they set stands on no line of the file."""
    faults = []
    for dotted, value in items:
        *sections, last = dotted.split(".")
        node: Any = raw
        for section in sections:
            node = node.setdefault(section, CommentedMap())
            if not isinstance(node, dict):
                faults.append(f"{dotted}: {section} is not a section, it can not be set inside")
                break
        else:
            node[last] = value
            lines[(*sections, last)] = OVERRIDDEN
    return faults


def _plain(node: object) -> Any:
    if isinstance(node, dict):
        return {str(k): _plain(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_plain(v) for v in node]
    return node


def _fault(error: Any, file: str, lines: Mapping[tuple[str, ...], int]) -> str:
    path = _as_written(tuple(str(part) for part in error["loc"]))
    place = _place(path, file, lines)
    key = ".".join(path) or "the protocol"
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key {key}{_suggestion(path)}"
    got = "" if isinstance(error["input"], dict) else f", got {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place}: {key} {message}{got}"


def _as_written(path: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out what pydantic calls the forms of a setting that may be text or a section."""
    for place in (("data", "clips"), ("evaluation", "data")):
        if path[:2] == place and path[2:3] in (("manifest",), ("source",)):
            return path[:2] + path[3:]
    return path


def _place(path: tuple[str, ...], file: str, lines: Mapping[tuple[str, ...], int]) -> str:
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length], OVERRIDDEN)
        if line != OVERRIDDEN:
            return f"{file}, line {line}"
        if path[:length] in lines:
            break
    return "--set"


def _suggestion(path: tuple[str, ...]) -> str:
    import difflib

    model: type[BaseModel] | None = Protocol
    for part in path[:-1]:
        if model is None:
            return ""
        known_field = model.model_fields.get(part)
        model = _section(known_field.annotation) if known_field else None
    if model is None:
        return ""
    close = difflib.get_close_matches(path[-1], list(model.model_fields), n=1)
    known = ", ".join(model.model_fields)
    return f"; did you mean {close[0]}?" if close else f"; known here: {known}"


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a setting is or may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        found = (_section(part) for part in get_args(annotation))
        return next((section for section in found if section), None)
    return None


def _missing_files(
    folder: Path,
    raw: CommentedMap,
    needs: Iterable[str],
    file: str,
    lines: Mapping[tuple[str, ...], int],
) -> list[str]:
    data = raw.get("data")
    named = data if isinstance(data, dict) else {}
    faults = []
    for key in needs:
        value = named.get(key, DataConfig.model_fields[key].default)
        if isinstance(value, str) and not (folder / value).exists():
            line = lines.get(("data", key), OVERRIDDEN)
            where = "" if line == OVERRIDDEN else f"{file}, line {line}: "
            faults.append(f"{where}data.{key}: no such file or folder: {folder / value}")
    return faults
