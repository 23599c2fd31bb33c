"""Contact sheets of a study's interviews, sampled as its model samples them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.withdrawal_record import refuse_withdrawn

if TYPE_CHECKING:
    from emoclip_clinical.features.contact_sheet import SheetOutcome


def run_faces(
    study: Study,
    paths: Sequence[Path],
    *,
    output: Path | None = None,
    show_faces: bool = False,
    progress: Progress = no_progress,
) -> tuple[SheetOutcome, ...]:
    """Write one contact sheet an interview.

    Parameters
    ----------
    study : Study
        Its extraction settings hold, so that people have the numbers that ``track:<k>`` means.
    paths : sequence of Path
        Folders, videos or interview tables; the study's own interviews where there is none.
    output : Path, optional
        Folder of the pictures; ``faces`` in the study by default.
    show_faces : bool
        Whether faces can be recognised on them.
    progress : callable
        Called after each interview.

    Returns
    -------
    tuple of SheetOutcome
        One an interview.

    Raises
    ------
    InputError
        See `write_contact_sheets`.
    """
    from emoclip_clinical.features.contact_sheet import write_contact_sheets
    from emoclip_clinical.features.interviews import find_interviews

    paths = paths or [study.path(study.protocol.data.interviews)]
    people = [i.key.participant_id for i in find_interviews(paths)]
    refuse_withdrawn(study.folder, people, where="interviews")
    return write_contact_sheets(
        paths,
        config=study.protocol.extraction.located(study.folder),
        sample_fps=study.protocol.extraction.sample_fps or _model_rate(study),
        output=output or study.folder / "faces",
        show_faces=show_faces,
        progress=progress,
    )


def _model_rate(study: Study) -> float:
    """Return the trained model's sampling rate; before there is one, the protocol's."""
    from emoclip_clinical.core.checkpoint import read_card

    try:
        card = read_card(study.model_folder)
    except InputError:
        return study.protocol.model.sample_fps
    return float(card["architecture"]["sample_fps"])
