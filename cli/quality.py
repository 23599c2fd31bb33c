"""`quality`: how well a cohort was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded, say, warn
from ._options import JsonOption, SetOption, StudyOption

if TYPE_CHECKING:
    import pandas as pd

    from emoclip_clinical.features.quality_table import CohortQuality
    from emoclip_clinical.study.history import History

_BAR_CHARACTERS = 32


@guarded
def command(
    features: Annotated[
        Path | None, typer.Argument(help="A folder that extract wrote; else the study's.")
    ] = None,
    study: StudyOption = Path(),
    worst: Annotated[int, typer.Option("--worst", min=0, help="Interviews to list.")] = 10,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the table of all interviews here.")
    ] = None,
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Show recording quality: coverage, the worst interviews, what thresholds would leave out.

    No rating is read, so thresholds can be fixed before outcomes are seen. Weigh one, for
    example, with --set extraction.quality.minimum_face_height_pixels=64.
    """
    from emoclip_clinical.features.quality_table import cohort_quality
    from emoclip_clinical.study.history import read_history
    from emoclip_clinical.study.protocol import open_study

    opened = open_study(study, overrides=set_)
    found = cohort_quality(
        features or opened.path(opened.protocol.data.features),
        config=opened.protocol.extraction.quality,
    )
    warn([*found.warnings, *_seen_ratings(read_history(opened.folder))])
    if csv is not None:
        _write_csv(found.interviews, csv)
        say(f"table: {csv}")
    if json_:
        typer.echo(json.dumps(_summary(found, worst=worst), indent=2))
    else:
        _print(found, worst=worst)


def _seen_ratings(history: History) -> list[str]:
    if not history.looks:
        return []
    return [
        f"the ratings of this study were used {len(history.looks)} times since "
        f"{history.looks[0].get('time')}: thresholds that are changed now are changed after "
        "outcomes were seen; say so where results are told"
    ]


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    from emoclip_clinical.records import InputError

    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise InputError(f"can not write {path}: {error.strerror}") from None


def _print(found: CohortQuality, *, worst: int) -> None:
    counts = ", ".join(f"{n} {status}" for status, n in found.statuses.items() if n)
    console.print(
        f"{len(found.interviews)} interviews, {found.n_segments} segments: {counts or 'none'}",
        highlight=False,
    )
    _print_coverage(found)
    _print_thresholds(found)
    if worst and len(found.interviews):
        _print_worst(found.interviews.head(worst))


def _print_coverage(found: CohortQuality) -> None:
    from rich.table import Table

    from emoclip_clinical.features.quality_table import COVERAGE_EDGES

    if not any(found.segment_coverage):
        console.print("no face was looked for in any segment that could be read")
        return
    table = Table(title="Share of frames that show the face", title_justify="left")
    for heading in ("share", "interviews", "segments"):
        table.add_column(heading, justify="right")
    table.add_column("")
    highest = max(found.segment_coverage)
    for k, n in enumerate(found.segment_coverage):
        table.add_row(
            f"{COVERAGE_EDGES[k]:.1f} to {COVERAGE_EDGES[k + 1]:.1f}",
            str(found.interview_coverage[k]),
            str(n),
            "#" * -(-n * _BAR_CHARACTERS // highest),
        )
    console.print(table)


def _print_thresholds(found: CohortQuality) -> None:
    from rich.table import Table

    table = Table(title="Segments beyond thresholds", title_justify="left")
    table.add_column("extraction.quality")
    for heading in ("level", "beyond", "of these ok"):
        table.add_column(heading, justify="right")
    table.add_column("")
    last = ""
    for effect in found.effects:
        name = effect.threshold.setting
        table.add_row(
            name if name != last else "",
            f"{effect.level:g}",
            str(effect.n_failing),
            str(effect.n_failing_ok),
            "set" if effect.is_set else "",
        )
        last = name
    console.print(table)


def _print_worst(worst: pd.DataFrame) -> None:
    from rich.table import Table

    table = Table(title="Worst interviews", title_justify="left")
    table.add_column("interview", overflow="fold")
    table.add_column("status", overflow="fold")
    headings = {
        "minutes": [_number(s / 60, 1) for s in worst["seconds"]],
        "ok": [f"{r.n_ok}/{r.n_segments}" for r in worst.itertuples()],
        "seen": [_number(v, 2) for v in worst["face_coverage"]],
        "height": [_number(v, 0) for v in worst["FaceRectHeight"]],
        "sharp": [_number(v, 0) for v in worst["sharpness"]],
        "bright": [_number(v, 0) for v in worst["brightness"]],
    }
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in zip(worst["interview"], worst["status"], *headings.values(), strict=True):
        table.add_row(*row)
    console.print(table)


def _number(value: float, decimals: int) -> str:
    return "" if value != value or value is None else f"{value:.{decimals}f}"


def _summary(found: CohortQuality, *, worst: int) -> dict[str, object]:
    return {
        "n_interviews": len(found.interviews),
        "n_segments": found.n_segments,
        "statuses": dict(found.statuses),
        "segment_coverage": list(found.segment_coverage),
        "interview_coverage": list(found.interview_coverage),
        "thresholds": [
            {
                "setting": effect.threshold.setting,
                "level": effect.level,
                "set": effect.is_set,
                "n_beyond": effect.n_failing,
                "n_beyond_ok": effect.n_failing_ok,
            }
            for effect in found.effects
        ],
        "worst": json.loads(found.interviews.head(worst).to_json(orient="records")),
        "warnings": list(found.warnings),
    }
