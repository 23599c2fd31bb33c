"""Refusing to estimate participants whose faces the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emoclip_clinical.people import KnownPeople, known_people
from emoclip_clinical.records import FeatureTable, InputError
from emoclip_clinical.regression.design import Design
from emoclip_clinical.tables import limit_faults

CARD_PART = "training_people"


def check_people(designs: Sequence[Design], *, features: FeatureTable) -> KnownPeople | None:
    """Compare the participants of an analysis with the people of the model's training clips.

    Parameters
    ----------
    designs : sequence of Design
        Their visits are looked at; who is not selected does no harm.
    features : FeatureTable
        Its `source` carries `training_people` of the model's card.

    Returns
    -------
    KnownPeople or None
        None for features that no model of ours made.

    Raises
    ------
    InputError
        Naming every participant who was among them.
    """
    if not features.source:
        return None
    part = features.source.get(CARD_PART)
    if part is not None and not isinstance(part, Mapping):
        raise InputError(f"features.json: {CARD_PART} must be a mapping, got {part!r}")
    participants = {str(p) for design in designs for p in design.keys["participant_id"]}
    known = known_people(participants, part)
    if known.participants:
        raise InputError(
            limit_faults(
                [
                    f"participant {p!r} is among the people of the model's training clips (by "
                    "`group`), so no cross-validation of them is fair: train without these clips, "
                    "or leave the participant out of the analysis"
                    for p in known.participants
                ]
            )
        )
    return known


def people_warnings(known: KnownPeople | None) -> tuple[str, ...]:
    """Return what the reader of a result should know: nothing where all people are known."""
    if known is None or known.coverage == "complete":
        return ()
    named = known.n_clips - known.n_clips_without_person
    how = (
        f"for {known.n_clips_without_person} of {known.n_clips} clips, which name no `group` "
        f"(the other {named} are of nobody in this analysis)"
        if known.coverage == "partial"
        else "(its card names no `group` of any clip)"
    )
    return (
        f"people in the model's training clips: unknown {how}; if participants are among them, "
        "the estimates are too good",
    )


def without_hashes(source: Mapping[str, object], known: KnownPeople | None) -> dict[str, object]:
    """Return what made the features, for a result: the people as numbers, not as hashes."""
    if known is None:
        return dict(source)
    people = {
        "known": known.coverage,
        "n_people": known.n_people,
        "n_clips": known.n_clips,
        "n_clips_without_person": known.n_clips_without_person,
    }
    return {**source, CARD_PART: people}
