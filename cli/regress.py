"""`regress`: cross-validated estimation of rated targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from ._console import console, guarded, progress_bars, say, warn
from ._options import JsonOption, SeedOption, StudyOption, given

if TYPE_CHECKING:
    from emoclip_clinical.study.regress import TargetResult


class Shown(TyperCommand):
    """The command as its help shows it: with the defaults of the settings behind its options."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        # Only here, since no other command's help waits for the settings to be loaded.
        from emoclip_clinical.regression.config import RegressionConfig

        for option in self.params:
            field = RegressionConfig.model_fields.get(option.name or "")
            if field is None or not isinstance(option, TyperOption):
                continue
            if isinstance(field.default, str) or type(field.default) is int:
                option.show_default = str(field.default)
        super().format_help(ctx, formatter)


@guarded
def command(
    target: Annotated[
        list[str],
        typer.Option("--target", help="A scale's name, a sum (N1+N3), a column. Repeatable."),
    ] = [],  # noqa: B006
    study: StudyOption = Path(),
    where: Annotated[
        list[str],
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only these visits. Repeatable."),
    ] = [],  # noqa: B006
    features: Annotated[
        Path | None,
        typer.Option("--features", help="A features folder, or any table keyed by participant."),
    ] = None,
    ratings: Annotated[
        Path | None, typer.Option("--ratings", help="A table, or a BIDS phenotype folder.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of results; else the study's.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Lose an earlier result that kept to its lock."),
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="ridge, kernel_ridge, gaussian_process, elastic_net, pls, svr, random_forest, "
            "gradient_boosting, ordinal; of segments: mlp_probe, attention_pooling.",
        ),
    ] = None,
    compare: Annotated[
        list[str],
        typer.Option("--compare", metavar="MODEL", help="Run beside, same folds. Repeatable."),
    ] = [],  # noqa: B006
    cv: Annotated[
        str | None,
        typer.Option(
            "--cv",
            help="repeated_kfold, balanced_kfold, leave_one_subject_out, "
            "rebalanced_leave_one_subject_out, leave_one_site_out.",
        ),
    ] = None,
    site: Annotated[str | None, typer.Option("--site", help="Rating column with the site.")] = None,
    confounds: Annotated[
        str | None,
        typer.Option("--confounds", metavar="NAMES", help="Rating columns: age,sex. Compared."),
    ] = None,
    remove_confounds: Annotated[
        bool, typer.Option("--remove-confounds", help="From the features, inside each fold.")
    ] = False,
    folds: Annotated[int | None, typer.Option("--folds", help="Outer folds, in subjects.")] = None,
    repeats: Annotated[int | None, typer.Option("--repeats", help="New random folds.")] = None,
    permutations: Annotated[
        int | None, typer.Option("--permutations", help="Of the test; 0 leaves it out.")
    ] = None,
    bootstrap: Annotated[
        int | None,
        typer.Option(
            "--bootstrap",
            help="Of the intervals of pooled r, errors and differences; 0 leaves them out. The "
            "headline interval, of r within folds, needs none.",
        ),
    ] = None,
    seed: SeedOption = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set",
            help="Override a key of the protocol: section.key=value; of several raters "
            "(regression.raters=mean, first or repeated), missing items "
            "(regression.missing_items=complete or prorate), missing features "
            "(regression.impute=none or median), and all others. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Estimate ratings from features, with subjects never on both sides of a split.

    Writes predictions, folds, metrics and a report for each target; but no exploratory result
    over one that kept to its lock.

    The protocol decides what options leave open; defaults in brackets are those without one.
    """
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.regress import run_regress

    opened = open_study(
        study,
        overrides=set_,
        settings=given(
            regression__targets=target,
            regression__where=_conditions(where),
            regression__model=model,
            regression__compare=compare,
            regression__cv=cv,
            regression__site=site,
            regression__confounds=_names(confounds),
            regression__remove_confounds=remove_confounds or None,
            regression__folds=folds,
            regression__repeats=repeats,
            regression__permutations=permutations,
            regression__bootstrap=bootstrap,
            seed=seed,
        ),
        needs=[key for key, path in (("features", features), ("ratings", ratings)) if path is None],
    )
    with progress_bars() as progress:
        results = run_regress(
            opened,
            features=features,
            ratings=ratings,
            output=output,
            overwrite=overwrite,
            progress=progress,
        )
    show(results, as_json=json_)


def show(results: Sequence[TargetResult], *, as_json: bool) -> None:
    """Print results as a table, or as JSON."""
    for result in results:
        more = (*result.estimate.warnings, *result.supplement.warnings)
        warn([f"{result.name}: {text}" for text in more])
    if as_json:
        typer.echo(json.dumps({r.name: read_metrics(r.folder) for r in results}, indent=2))
    else:
        _print(results)
    for result in results:
        say(f"{result.name}: {result.standing.statement}")
    for result in results:
        say(f"report: {result.folder / 'report.html'}")


def read_metrics(folder: Path) -> dict[str, object]:
    """Return what ``metrics.json`` of a result says."""
    content: dict[str, object] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return content


def _print(results: Sequence[TargetResult]) -> None:
    from rich import box
    from rich.table import Table

    from emoclip_clinical.regression.change import difference_unit, unit_of

    # "mean" is the MAE of a model that knows nothing but the training subjects' mean rating.
    table = Table(title="Out-of-fold estimates", title_justify="left", box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))  # fmt: skip
    for name in ("target", "n", "r", f"{_level(results)} interval", "pooled", "p", "MAE", "mean",
                 "skill"):  # fmt: skip
        table.add_column(name, justify="left" if name == "target" else "right",
                         no_wrap=name != "target", overflow="fold")  # fmt: skip
    for result in results:
        found = result.estimate
        metrics = found.metrics
        table.add_row(
            result.name,
            str(found.design.n_subjects),
            number_text(found.headline_r),
            interval_text(found.interval.low, found.interval.high),
            number_text(metrics.pearson_pooled),
            p_text(found.p_permutation),
            number_text(metrics.mae),
            number_text(metrics.baseline_mae),
            number_text(metrics.skill),
        )
    console.print(table)
    say(which_r({result.estimate.interval_of for result in results}))
    units = {difference_unit(unit_of(r.estimate.design.target)) for r in results}
    say(
        f"MAE in {' or '.join(sorted(units, reverse=True))}; mean: the same of a model that gives "
        "everyone the mean rating."
    )


def which_r(kinds: set[str]) -> str:
    """Say what r, its interval and p are of."""
    if kinds == {"fold_mean"}:
        return (
            "r and its interval: within folds, what a newly trained model may reach. "
            "pooled: over all folds together; lies lower, and is what p tests."
        )
    if kinds == {"pooled"}:
        return "r: over all folds together, and what p tests; its interval is too narrow."
    return (
        "r and its interval: within folds where there are folds of five or more subjects, over all "
        "folds together elsewhere. pooled: over all folds together; what p tests."
    )


def _level(results: Sequence[TargetResult]) -> str:
    return f"{100 * results[0].estimate.config.confidence:g} %"


def number_text(value: float | None) -> str:
    """Show a figure with two decimals, or say that there is none."""
    return "none" if value is None else f"{value:.2f}"


def interval_text(low: float | None, high: float | None) -> str:
    """Show an interval, or say that there is none."""
    return "none" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def p_text(p: float | None) -> str:
    """Show a p value with three decimals, or say that there is none."""
    return "none" if p is None else f"{p:.3f}"


def _conditions(texts: Sequence[str]) -> dict[str, str] | None:
    from emoclip_clinical.records import InputError

    faults = [f"--where takes column=value, got {t!r}" for t in texts if "=" not in t]
    if faults:
        raise InputError(faults)
    pairs = (text.split("=", 1) for text in texts)
    return {name.strip(): value.strip() for name, value in pairs} or None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
