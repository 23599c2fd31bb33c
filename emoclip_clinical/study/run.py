"""All steps that a protocol names, in order, leaving out what is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emoclip_clinical.file_hashes import FileHashes
from emoclip_clinical.records import InputError, Progress, no_progress
from emoclip_clinical.study.graph import (
    Decision,
    StepEnd,
    StepRecords,
    chosen_steps,
    plan_steps,
    run_steps,
)
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import Clock, utc_now
from emoclip_clinical.study.run_log import RunLog, default_log
from emoclip_clinical.study.steps import Made, Setting, step_files, study_steps

if TYPE_CHECKING:
    from emoclip_clinical.core.training import Trained
    from emoclip_clinical.features.extract import ExtractionResult
    from emoclip_clinical.study.evaluate import Evaluated
    from emoclip_clinical.study.regress import TargetResult


@dataclass(frozen=True)
class StudyRun:
    """What `run_study` did; None for a step already done with the same inputs, or not asked for.

    Attributes
    ----------
    ends : tuple of StepEnd
        How each step ended, in order.
    trained : Trained or None
    evaluated : Evaluated or None
    extracted : ExtractionResult or None
    results : tuple of TargetResult or None
    """

    ends: tuple[StepEnd, ...]
    trained: Trained | None
    evaluated: Evaluated | None
    extracted: ExtractionResult | None
    results: tuple[TargetResult, ...] | None

    def raise_failures(self) -> None:
        """Raise what stopped steps: a bug if there is one, else the faults of all of them.

        Raises
        ------
        InputError
            With the faults of every step that failed for its input.
        """
        errors = [end.error for end in self.ends if end.error is not None]
        faults: list[str] = []
        for error in errors:
            if not isinstance(error, InputError):
                raise error
            faults += [fault for fault in error.faults if fault not in faults]
        if faults:
            raise InputError(faults)


def run_study(
    study: Study,
    *,
    first: str | None = None,
    only: str | None = None,
    device: str = "auto",
    log: Path | None = None,
    now: Clock = utc_now,
    progress: Progress = no_progress,
    listen: Callable[[StepEnd | Decision], None] = lambda _: None,
) -> StudyRun:
    """Run the steps of a protocol in order, leaving out what is done with the same inputs.

    A step that fails leaves the results of the others as they are, and those that do not read
    its outputs still run.

    Parameters
    ----------
    study : Study
    first : str, optional
        A step to begin with; it runs even if nothing has changed, those before it do not run.
    only : str, optional
        The one step to run, even if nothing has changed.
    device : str
        `auto`, `cpu` or `cuda[:k]`.
    log : Path, optional
        A file that lines are added to; ``.emoclip/logs/run-<time>.log`` by default.
    now : callable
        The clock.
    progress : callable
        See the steps.
    listen : callable
        Told each decision to run, before, and each end, after.

    Returns
    -------
    StudyRun
        Failures are in `ends`; `StudyRun.raise_failures` raises them.

    Raises
    ------
    InputError
        If a step is named that the protocol does not have, or the log can not be written.
    """
    setting = Setting(study, _hashes(study), device, now, progress, Made())
    steps = chosen_steps(study_steps(setting), first=first, only=only)

    with RunLog(log or default_log(study.folder, now=now), now=now) as lines:

        def heard(what: StepEnd | Decision) -> None:
            lines.note(what)
            # Before a step too, which may ask for the same hashes.
            setting.hashes.save()
            listen(what)

        ends = run_steps(steps, records=_records(setting), forced=first or only, listen=heard)
    made = setting.made
    return StudyRun(ends, made.trained, made.evaluated, made.extracted, made.results)


def plan_study(
    study: Study, *, first: str | None = None, only: str | None = None
) -> tuple[Decision, ...]:
    """Say which steps `run_study` would run, and why; nothing is computed or changed.

    Raises
    ------
    InputError
        If a step is named that the protocol does not have, or an input can not be read.
    """
    setting = Setting(study, _hashes(study))
    steps = chosen_steps(study_steps(setting), first=first, only=only)
    decisions = plan_steps(steps, records=_records(setting), forced=first or only)
    setting.hashes.save()
    return decisions


def needed_files(
    study: Study, *, first: str | None = None, only: str | None = None
) -> tuple[str, ...]:
    """Return the keys of `data` whose files the chosen steps need from the start.

    Raises
    ------
    InputError
        If a step is named that the protocol does not have.
    """
    steps = study_steps(Setting(study, _hashes(study)))
    names = [step.name for step in chosen_steps(steps, first=first, only=only)]
    return tuple(dict.fromkeys(key for name in names for key in step_files(study, name)))


def _hashes(study: Study) -> FileHashes:
    return FileHashes(study.hash_memory)


def _records(setting: Setting) -> StepRecords:
    study = setting.study
    # Two protocols of one folder have steps of their own.
    return StepRecords(study.caches / "steps" / study.variant, hashes=setting.hashes)
