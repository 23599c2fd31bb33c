"""How the interviews of a run ended."""

from __future__ import annotations

from dataclasses import dataclass

from emoclip_clinical.features.layout import InterviewSummary
from emoclip_clinical.features.patient import PatientChoice, patient_warning
from emoclip_clinical.features.store import PartCard
from emoclip_clinical.records import InterviewKey


@dataclass(frozen=True)
class InterviewOutcome:
    """How one interview of a run ended.

    Attributes
    ----------
    key : InterviewKey
        Which.
    status, reason : str
        See `InterviewSummary`.
    n_segments, n_ok : int
        Segments, and those with scores.
    kept : bool
        Whether it was finished by an earlier run.
    warning : str
        What the user should look at, naming the interview; else empty.
    """

    key: InterviewKey
    status: str
    reason: str
    n_segments: int
    n_ok: int
    kept: bool
    warning: str = ""


def outcome_of(card: PartCard, *, kept: bool) -> InterviewOutcome:
    """Return the outcome of an interview whose part is written.

    Parameters
    ----------
    card : PartCard
        Of the part.
    kept : bool
        Whether an earlier run wrote it.
    """
    return InterviewOutcome(
        key=card.key,
        status=card.summary.status,
        reason=card.summary.reason,
        n_segments=card.summary.n_segments,
        n_ok=card.summary.n_ok,
        kept=kept,
        warning=_warning(card.key, card.summary),
    )


def _warning(key: InterviewKey, summary: InterviewSummary) -> str:
    if summary.patient_rule is None or summary.n_people is None:
        return ""
    choice = PatientChoice(
        rule=summary.patient_rule,
        person=summary.patient_track,
        n_people=summary.n_people,
        share=summary.patient_share,
        margin=summary.patient_margin,
        confidence=summary.patient_confidence,
    )
    return patient_warning(choice, interview=key.name) or ""
