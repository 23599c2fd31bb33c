"""`demo`: the whole road on a synthetic cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import console, guarded, progress_bars, say, warn
from ._options import JsonOption, SetOption

if TYPE_CHECKING:
    from emoclip_clinical.study.demo import Demo


@guarded
def command(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the study is made.")
    ] = Path("demo-study"),
    seed: Annotated[int, typer.Option("--seed", help="Of the cohort and of the study.")] = 0,
    effect: Annotated[
        float,
        typer.Option(
            "--effect", min=0, max=1, help="How much of the trait shows in the face; 0: nothing."
        ),
    ] = 1.0,
    small: Annotated[
        bool,
        typer.Option(
            "--small",
            help="In miniature, half a minute: for trying commands; figures mean nothing.",
        ),
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that draw the videos.")
    ] = 2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demo in DIR.")
    ] = False,
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Draw a cohort with planted ratings, then train, extract, regress and report.

    Needs no network, no GPU and no data; takes a few minutes on two cores. Whatever it finds,
    it ends with exit code 0.
    """
    from emoclip_clinical.study.demo import SMALL, run_demo
    from emoclip_clinical.study.synthetic import SyntheticConfig

    with progress_bars() as progress:
        demo = run_demo(
            directory,
            config=SyntheticConfig(seed=seed, effect=effect, **(SMALL if small else {})),
            protocol="demo_small" if small else "demo",
            overrides=tuple(set_),
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    for result in demo.results:
        more = (*result.estimate.warnings, *result.supplement.warnings)
        warn([f"{result.name}: {text}" for text in more])
    if json_:
        typer.echo(json.dumps(_summary(demo), indent=2))
        return
    _print(demo, effect=effect)


def _print(demo: Demo, *, effect: float) -> None:
    from rich import box
    from rich.table import Table

    from .regress import interval_text, number_text, p_text, which_r

    judged = demo.zero_shot
    table = Table(title="What the demo found, and what was planted", title_justify="left",
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fmt: skip
    for name in ("", "found", "95 % interval", "pooled", "p", "planted"):
        table.add_column(name, no_wrap=name != "planted")
    table.add_row(
        "zero-shot UAR, new people",
        number_text(judged.uar),
        interval_text(*demo.uar_interval),
        "",
        "",
        f"chance {judged.chance:.2f}",
    )
    planted = _planted(demo, effect)
    for result in demo.results:
        found = result.estimate
        table.add_row(
            f"r, {result.name}",
            number_text(found.headline_r),
            interval_text(found.interval.low, found.interval.high),
            number_text(found.metrics.pearson_pooled),
            p_text(found.p_permutation),
            planted.get(result.name, ""),
        )
    console.print(table)
    say(which_r({result.estimate.interval_of for result in demo.results}))
    n = demo.results[0].estimate.design
    say(
        f"{len(judged.observed)} clips of {len(set(judged.groups))} people judged; "
        f"{len(n.y)} interviews of {n.n_subjects} subjects; "
        + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in demo.seconds.items())
    )
    for result in demo.results:
        say(f"report: {result.folder / 'report.html'}")
    say("Synthetic faces and ratings: this shows that the road works, and nothing about patients.")


def _planted(demo: Demo, effect: float) -> dict[str, str]:
    r = demo.written.cohort.calibration.population_r
    seen = f"trait and rating r {r:.2f}" if effect else "trait not in the face: r 0"
    return {"negative_symptoms": seen, "P1": "r 0 (control)"}


def _summary(demo: Demo) -> dict[str, object]:
    from .regress import read_metrics

    low, high = demo.uar_interval
    return {
        "zero_shot": {
            "uar": demo.zero_shot.uar,
            "ci_low": low,
            "ci_high": high,
            "chance": demo.zero_shot.chance,
        },
        "population_r": demo.written.cohort.calibration.population_r,
        "results": {r.name: read_metrics(r.folder) for r in demo.results},
        "seconds": dict(demo.seconds),
    }
