"""`predict`: a fitted estimator applied to new interviews."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded, say, warn
from ._options import JsonOption, SetOption, StudyOption

if TYPE_CHECKING:
    from emoclip_clinical.regression.predict import Predictions

ROWS_SHOWN = 40


@guarded
def command(
    estimator: Annotated[
        Path, typer.Option("--estimator", help="results/<target>/estimator, as regress wrote it.")
    ],
    study: StudyOption = Path(),
    features: Annotated[
        Path | None,
        typer.Option("--features", help="A features folder or table; else the study's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="A CSV file; else predictions/<target>.csv.")
    ] = None,
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Estimate ratings of new interviews, with an interval and an out-of-range flag.

    Refuses features that were made with another model, prompt set or settings.

    The level of the interval was settled by regress (regression.prediction_level, 0.9).
    """
    from emoclip_clinical.study.predict import prediction_record, run_predict
    from emoclip_clinical.study.protocol import open_study

    needs = ["features"] if features is None else []
    opened = open_study(study, overrides=set_, needs=needs)
    done = run_predict(opened, estimator=estimator, features=features, output=output)
    warn(done.predictions.warnings)
    for row in done.predictions.excluded.to_dict("records"):
        say(f"left out: {row['participant_id']} {row['session_id']}: {row['reason']}")
    if json_:
        typer.echo(json.dumps(prediction_record(done.predictions), indent=2))
    else:
        _print(done.predictions)
    say(f"predictions: {done.path}")


def _print(made: Predictions) -> None:
    from rich import box
    from rich.table import Table

    level = f"{100 * made.table['level'].iloc[0]:g} % interval"
    table = Table(title=f"Estimates of {made.target} (research use only)", title_justify="left",
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fmt: skip
    for name in ("participant", "session", "estimate", level, "range"):
        table.add_column(name, justify="left" if name in ("participant", "session") else "right")
    for row in made.table.head(ROWS_SHOWN).to_dict("records"):
        bounded = not (math.isnan(row["low"]) or math.isnan(row["high"]))
        table.add_row(
            str(row["participant_id"]),
            str(row["session_id"]),
            "none" if math.isnan(row["predicted"]) else f"{row['predicted']:.1f}",
            f"{row['low']:.1f} to {row['high']:.1f}" if bounded else "none",
            "out" if row["out_of_range"] else "in",
        )
    console.print(table)
    if len(made.table) > ROWS_SHOWN:
        console.print(f"... and {len(made.table) - ROWS_SHOWN} more in the file", highlight=False)
