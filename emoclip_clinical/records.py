"""The nouns that travel between the layers, and the error for bad input.

Everything here is plain data: frozen, checked when it is made, and free of torch, of video
and of files. Identifiers follow BIDS: ``participant_id`` is ``sub-<label>``, ``session_id`` is
``ses-<label>`` or the empty string where a study has no sessions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

# Loading pandas takes longer than all the rest of `emoclip-clinical --help`.
if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

KEY_COLUMNS = ("participant_id", "session_id")

Progress = Callable[[str, int, int], None]
"""``progress(task, done, total)``: called by long work after each finished unit."""


def no_progress(task: str, done: int, total: int) -> None:
    """Ignore progress; the default of every long function."""


class InputError(ValueError):
    """What a user gave can not be used: says what was wanted, what came, and where.

    Parameters
    ----------
    faults : str or iterable of str
        One message, or every fault that was found; all are shown.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


def participant_label(text: str) -> str:
    """Return the BIDS form ``sub-<label>`` of a participant's identifier.

    >>> participant_label("014"), participant_label("sub-014")
    ('sub-014', 'sub-014')
    """
    return _entity(text, prefix="sub-", what="participant_id")


def session_label(text: str) -> str:
    """Return the BIDS form ``ses-<label>`` of a session's identifier; empty stays empty."""
    return _entity(text, prefix="ses-", what="session_id") if text.strip() else ""


def _entity(text: str, *, prefix: str, what: str) -> str:
    label = text.strip().removeprefix(prefix)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", label):
        raise InputError(
            f"{what} must be letters, digits, '.', '+' and '-' (with or without '{prefix}'), "
            f"got {text!r}"
        )
    return prefix + label


@dataclass(frozen=True, order=True)
class InterviewKey:
    """One recorded interview: whose, at which visit, which recording of that visit.

    Attributes
    ----------
    participant_id : str
        ``sub-<label>``.
    session_id : str
        ``ses-<label>``, or empty where the study has one visit.
    run : int
        Number of the recording within the visit; 0 where there is only one.
    """

    participant_id: str
    session_id: str = ""
    run: int = 0

    @property
    def name(self) -> str:
        """``sub-…[_ses-…][_run-<k>]``, the only name under which an interview is ever shown."""
        run = f"run-{self.run}" if self.run else ""
        return "_".join(part for part in (self.participant_id, self.session_id, run) if part)


@dataclass(frozen=True)
class PromptSet:
    """Texts that stand for classes when a clip is scored without training on those classes.

    Attributes
    ----------
    name : str
        Short name, part of the score columns (``emotion_<name>__<class>``).
    classes : mapping of str to tuple of str
        Single classes, each with one or more sentences; their text embeddings are averaged.
    compounds : mapping of str to tuple of str
        Compound classes, each with the names of its components, whose text embeddings are
        averaged (EmoCLIP, arXiv 2310.16640).
    language, author, date : str
        Who wrote the sentences (a person or a language model), when, in which language.
    """

    name: str
    classes: Mapping[str, tuple[str, ...]]
    compounds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    language: str = "en"
    author: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        faults = [
            f"prompt set {self.name!r}: names must be lower-case letters, digits and '_', got {n!r}"
            for n in (self.name, *self.classes, *self.compounds)
            if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", n)
        ]
        if len(self.classes) < 2:
            faults.append(f"prompt set {self.name!r}: at least two classes are needed")
        for name, sentences in self.classes.items():
            if not sentences or any(not s.strip() for s in sentences):
                faults.append(f"prompt set {self.name!r}: class {name!r} has an empty sentence")
        faults += self._same_sentences()
        for name, parts in self.compounds.items():
            repeated = sorted({part for part in parts if parts.count(part) > 1})
            if repeated:
                faults.append(
                    f"prompt set {self.name!r}: compound {name!r} must name each class once, got "
                    f"{', '.join(map(repr, repeated))} more than once"
                )
            if name in self.classes:
                faults.append(f"prompt set {self.name!r}: {name!r} is both a class and a compound")
            unknown = [p for p in parts if p not in self.classes]
            if unknown or len(parts) < 2:
                faults.append(
                    f"prompt set {self.name!r}: compound {name!r} must name two or more of its "
                    f"classes, got {list(parts)}"
                )
        if faults:
            raise InputError(faults)

    def _same_sentences(self) -> list[str]:
        """Name classes with one sentence in common: scores could not tell them apart there."""
        return [
            f"prompt set {self.name!r}: the classes {', '.join(map(repr, names[:5]))}"
            f"{f' and {len(names) - 5} more' if len(names) > 5 else ''} have one "
            f"sentence, {sentence!r}; each class needs its own"
            for sentence, names in shared_sentences(self.classes).items()
        ]


def shared_sentences(classes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the sentences that several classes have, whatever their case and spaces.

    Parameters
    ----------
    classes : mapping of str to sequence of str
        The sentences of each class.

    Returns
    -------
    dict of str to list of str
        Names of two or more classes by the sentence that they have in common.
    """
    places: dict[str, list[str]] = {}
    for name, sentences in classes.items():
        for sentence in dict.fromkeys(" ".join(text.split()).casefold() for text in sentences):
            places.setdefault(sentence, []).append(name)
    return {sentence: names for sentence, names in places.items() if sentence and len(names) > 1}


@dataclass(frozen=True)
class FeatureTable:
    """What is known of each visit: one row a visit, one column a feature.

    Attributes
    ----------
    keys : DataFrame of shape (n_visits, 2)
        ``participant_id`` and ``session_id``; no pair stands twice.
    values : DataFrame of shape (n_visits, n_features)
        Numbers; NaN where a value is missing.
    excluded : DataFrame
        ``participant_id, session_id, reason``: visits that exist but have no usable features.
    source : mapping
        What made the features (model hash, prompt sets, settings), for provenance.
    warnings : tuple of str
        What the user should know about how the table was read.
    """

    keys: pd.DataFrame
    values: pd.DataFrame
    excluded: pd.DataFrame
    source: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentBags:
    """The segments of each visit, visits one after the other.

    Attributes
    ----------
    values : ndarray of shape (n_segments, n_dimensions)
        Embeddings, float32; no NaN.
    starts : ndarray of int, shape (n_visits + 1,)
        Visit k has the rows from ``starts[k]`` up to ``starts[k + 1]``, at least one.
    """

    values: np.ndarray
    starts: np.ndarray

    @property
    def n_visits(self) -> int:
        """Number of visits."""
        return len(self.starts) - 1

    @property
    def visit(self) -> np.ndarray:
        """Visit of each segment, of shape (n_segments,)."""
        return self.starts[1:].searchsorted(range(len(self.values)), side="right")

    def take(self, visits: np.ndarray) -> SegmentBags:
        """Return the bags of some visits, in the given order.

        Parameters
        ----------
        visits : ndarray of int, shape (n_chosen,)
        """
        sizes = (self.starts[1:] - self.starts[:-1])[visits]
        ends = sizes.cumsum()
        starts = self.starts[:1].repeat(len(visits) + 1)
        starts[1:] = ends
        # Within a visit rows count up from its first one.
        rows = (self.starts[visits] - (ends - sizes)).repeat(sizes) + range(int(sizes.sum()))
        return SegmentBags(self.values[rows], starts)


@dataclass(frozen=True)
class Ratings:
    """One rated target: one row a visit, in scale points.

    Attributes
    ----------
    target : str
        Qualified name (``panss.negative_symptoms``) or the column's own name.
    items : tuple of str
        Columns whose sum the target is.
    keys : DataFrame of shape (n_visits, 2)
        ``participant_id`` and ``session_id``; no pair stands twice unless `rater_ids` is given.
    values : ndarray of shape (n_visits,)
        Scale points, never NaN; who lacks a rating stands in `excluded`.
    minimum, maximum : float or None
        The scale's range, where the target belongs to a known scale.
    excluded : DataFrame
        ``participant_id, session_id, reason``.
    covariates : DataFrame of shape (n_visits, n_covariates)
        Every column of the file beside the keys, as read; the target's items are among them.
    warnings : tuple of str
        What the user should know about how the ratings were read.
    prorated : ndarray of bool, shape (n_visits,), or None
        Whether missing items of the row were replaced by the mean of its others; None stands for
        no row.
    rater_ids : tuple of str, length n_visits, or None
        Who rated each row, where the raters of a visit are kept as repeated measures.
    per_rater : DataFrame or None
        ``participant_id, session_id, rater_id, value``: each rater's own score of each visit,
        whatever became of them in `values`; None where no rater is named, and for changes.
    several_raters : bool
        Whether any visit was rated by several.
    """

    target: str
    items: tuple[str, ...]
    keys: pd.DataFrame
    values: np.ndarray
    minimum: float | None
    maximum: float | None
    excluded: pd.DataFrame
    covariates: pd.DataFrame
    warnings: tuple[str, ...] = ()
    prorated: np.ndarray | None = None
    rater_ids: tuple[str, ...] | None = None
    per_rater: pd.DataFrame | None = None
    several_raters: bool = False


@dataclass(frozen=True)
class CrossValidation:
    """Every out-of-fold prediction of one target.

    Correlations, errors and intervals are derived from this record and never stored instead.

    Attributes
    ----------
    target : str
        Name of the rated target.
    keys : DataFrame of shape (n_visits, 2)
        ``participant_id`` and ``session_id`` of each row.
    observed : ndarray of shape (n_visits,)
        Ratings in scale points.
    predicted : ndarray of shape (n_repeats, n_visits)
        Out-of-fold predictions in scale points.
    baseline : ndarray of shape (n_repeats, n_visits)
        Weighted mean rating of the training subjects of the row's fold.
    fold : ndarray of int, shape (n_repeats, n_visits)
        The fold in which a row was held out, from 0.
    weight : ndarray of shape (n_visits,)
        1 / number of visits of the row's subject.
    chosen : tuple of dict
        For each repeat and fold, in that order: the hyper-parameters that inner tuning chose.
    dropped : ndarray of int, shape (n_repeats, n_folds), or None
        Number of the subject (in the order of ``participant_id``) that each fold leaves out of
        training beside the held-out ones; None where the scheme leaves out nobody.
    """

    target: str
    keys: pd.DataFrame
    observed: np.ndarray
    predicted: np.ndarray
    baseline: np.ndarray
    fold: np.ndarray
    weight: np.ndarray
    chosen: tuple[Mapping[str, float], ...]
    dropped: np.ndarray | None = None
