"""`power`: how many subjects a study needs, by Riley's criteria and by simulation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded, progress_bars, warn
from ._options import JsonOption

if TYPE_CHECKING:
    from emoclip_clinical.regression.power import SampleSize
    from emoclip_clinical.study.power import SimulatedPower


@guarded
def command(
    predictors: Annotated[
        int, typer.Option("--predictors", help="Candidate predictor parameters (features).")
    ] = 10,
    r_squared: Annotated[
        float,
        typer.Option(
            "--r-squared",
            help="R² expected of the model; 0.16 is r = 0.4. Below 0.64 with --subjects.",
        ),
    ] = 0.16,
    mean: Annotated[
        float | None, typer.Option("--mean", help="Mean rating expected, scale points.")
    ] = None,
    sd: Annotated[
        float | None, typer.Option("--sd", help="SD of the ratings expected, scale points.")
    ] = None,
    subjects: Annotated[
        list[int],
        typer.Option("--subjects", help="Simulate cohorts of this size. Repeatable."),
    ] = [],  # noqa: B006
    simulations: Annotated[int, typer.Option("--simulations", help="Cohorts of each size.")] = 200,
    permutations: Annotated[
        int, typer.Option("--permutations", help="Of each cohort's test.")
    ] = 99,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulation.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Say how many subjects a study needs.

    Riley's criteria ask when a model can be developed at all; with --subjects, cohorts with a
    planted correlation of the root of --r-squared are simulated, to say how often the test finds
    it. Their ratings follow the trait that the face shows with r = 0.8, so that no R² of 0.64 or
    more can be planted.
    """
    from emoclip_clinical.study.power import plan

    with progress_bars() as progress:
        size, simulated = plan(
            predictors=predictors,
            r_squared=r_squared,
            mean=mean,
            sd=sd,
            subjects=subjects,
            simulations=simulations,
            permutations=permutations,
            seed=seed,
            progress=progress,
        )
    warn((*size.warnings, *(() if simulated is None else simulated.warnings)))
    if json_:
        typer.echo(json.dumps(_record(size, simulated), indent=2, ensure_ascii=False))
    else:
        _print(size, simulated, of=f"{predictors} predictors, R² {r_squared:g}")


def _record(size: SampleSize, simulated: SimulatedPower | None) -> dict[str, object]:
    from dataclasses import asdict

    return {"riley": asdict(size), "simulation": None if simulated is None else asdict(simulated)}


def _print(size: SampleSize, simulated: SimulatedPower | None, *, of: str) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=f"Subjects to develop a model of {of} (Riley et al. 2019)",
                  title_justify="left", box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))  # fmt: skip
    table.add_column("criterion")
    table.add_column("subjects", justify="right")
    table.add_column("so that")
    for criterion in size.criteria:
        asked = "not known" if criterion.subjects is None else str(criterion.subjects)
        table.add_row(criterion.name, asked, criterion.why)
    left = " and ".join(c.name for c in size.criteria if c.subjects is None)
    but = f" but {left}" if left else ""
    table.add_row(f"all{but}", str(size.subjects), f"every criterion{but} holds")
    console.print(table)
    if simulated is None:
        return
    table = Table(title="Simulated cohorts", title_justify="left", box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))  # fmt: skip
    for name in ("subjects", "power", "95 % interval", "mean r", "r in 95 % of cohorts"):
        table.add_column(name, justify="right")
    for point in simulated.points:
        table.add_row(
            str(point.subjects),
            f"{point.power:.2f}",
            f"{point.power_low:.2f} to {point.power_high:.2f}",
            f"{point.mean_r:.2f}",
            f"{point.r_low:.2f} to {point.r_high:.2f}",
        )
    console.print(table)
