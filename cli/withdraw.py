"""`withdraw`: a participant's withdrawal of consent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import PARTLY_DONE, guarded, say, warn
from ._options import JsonOption, SetOption, StudyOption

if TYPE_CHECKING:
    from emoclip_clinical.study.withdrawal import Withdrawal
    from emoclip_clinical.study.withdrawal_plan import Fate, Traces

LEFT_ALONE = "yours, and left alone"
FATES: dict[Fate, str] = {
    "file": "to be removed",
    "rows": "rows of them to be removed",
    "by hand": LEFT_ALONE,
}
"""What --sources makes of the user's own files."""


@guarded
def command(
    participant: Annotated[str, typer.Argument(help="As in participant_id.")],
    study: StudyOption = Path(),
    sources: Annotated[
        bool,
        typer.Option(
            "--sources",
            help="Also remove what you brought: their recordings, files that bear the identifier, "
            "and their rows of text tables in the study's folder.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and change nothing.")
    ] = False,
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Remove a participant from features, results, predictions, pictures and caches.

    Results with the participant in them are removed whole, since their numbers are no longer
    good. Models and estimators that learned from them are listed. What stays is a line in
    withdrawals.jsonl, with a salted hash in place of the name.
    """
    import secrets

    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.withdrawal import plan_withdrawal, withdraw

    opened = open_study(study, overrides=set_)
    planned = plan_withdrawal(opened, participant, sources=sources)
    _show_plan(planned, study, sources=sources)
    if dry_run:
        _end(planned, study, as_json=json_, sources=sources, done=False)
        return
    if not yes and not _agrees():
        from emoclip_clinical.records import InputError

        raise InputError("nothing was removed; say --yes to do it without being asked")
    done = withdraw(opened, participant, salt=secrets.token_hex(16), sources=sources)
    _end(done, study, as_json=json_, sources=sources, done=True)
    if done.remaining:
        raise typer.Exit(PARTLY_DONE)


def _agrees() -> bool:
    return sys.stdin.isatty() and typer.confirm("Remove all this? It can not be undone.", err=True)


def _show_plan(planned: Withdrawal, study: Path, *, sources: bool) -> None:
    for role, n in planned.traces.counts().items():
        say(f"to be removed: {role}: {n}")
    say("to be removed: all caches (.emoclip)")
    for fate, what in FATES.items():
        what_becomes = what if sources else LEFT_ALONE
        for role, files in planned.traces.source_files(study, fate).items():
            say(f"{what_becomes}: {role}: {len(files)}: {', '.join(files)}")


def _end(withdrawal: Withdrawal, study: Path, *, as_json: bool, sources: bool, done: bool) -> None:
    learners = withdrawal.learners
    for name in learners.models:
        warn([f"model {name} was trained on clips of them: train it again without these"])
    for name in learners.unknown_models:
        warn([f"model {name} does not say whom it was trained on (no `group` for all its clips)"])
    for name in learners.estimators:
        warn([f"estimator {name} was fitted to them; copies of it elsewhere must be removed"])
    for name in learners.unknown_estimators:
        warn([f"estimator {name} can not be read or compared with the features: it may be fitted "
              "to them"])  # fmt: skip
    if withdrawal.has_lock:
        warn(["protocol.lock was made with them: it no longer matches this study"])
    if done:
        _warn_of_rest(withdrawal, study, sources=sources)
        say("done: run `regress` again for results without them; copies outside this folder and "
            "backups are not touched")  # fmt: skip
    if as_json:
        record = {
            "removed" if done else "to_remove": withdrawal.traces.counts(),
            "sources": withdrawal.traces.source_counts(),
            "source_files": _own_files(withdrawal.traces, study),
            "remaining": withdrawal.remaining,
            "remaining_files": _own_files(withdrawal.left, study),
            "models": list(learners.models),
            "unknown_models": list(learners.unknown_models),
            "estimators": list(learners.estimators),
            "unknown_estimators": list(learners.unknown_estimators),
        }
        typer.echo(json.dumps(record))


def _warn_of_rest(withdrawal: Withdrawal, study: Path, *, sources: bool) -> None:
    for role, n in withdrawal.left.counts().items():
        warn([f"still there: {role}: {n}"])
    for fate in FATES:
        way = "" if sources or fate == "by hand" else ", or with --sources"
        for role, files in withdrawal.left.source_files(study, fate).items():
            named = ", ".join(files)
            warn([f"still there: {role}: {len(files)}: {named}; remove them yourself{way}"])


def _own_files(traces: Traces, study: Path) -> list[str]:
    found = (traces.source_files(study, fate).values() for fate in FATES)
    return sorted(name for by_role in found for files in by_role for name in files)
