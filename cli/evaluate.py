"""`evaluate`: a model against labelled clips."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import console, guarded, progress_bars, say, warn
from ._options import DeviceOption, JsonOption, SeedOption, SetOption, StudyOption, given

if TYPE_CHECKING:
    from emoclip_clinical.study.evaluate import Evaluated


@guarded
def command(
    study: StudyOption = Path(),
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="A protocol file, or the name of a shipped one."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="A model folder; else the study's.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled clips: path, caption, label[, group][, split]."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="zero_shot, supervised, leave_one_class_out, compound or out_of_vocabulary.",
        ),
    ] = None,
    prompts: Annotated[
        list[str], typer.Option("--prompts", help="A prompt set: a file, or a shipped name.")
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of results; else the study's.")
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    set_: SetOption = [],  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Judge a model on labelled clips that it was not trained on.

    Without an evaluation section in the protocol: zero-shot, on the test clips of clips.csv.
    """
    from emoclip_clinical.study.evaluate import run_evaluate
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.shipped import protocol_path

    settings = given(
        evaluation__data=os.path.relpath(data, study) if data else None,
        evaluation__task=task,
        seed=seed,
    )
    if (data or task) and not any(key.startswith("evaluation.published") for key in set_):
        settings["evaluation.published"] = None  # what was published is of other clips or tasks
    opened = open_study(
        study,
        overrides=set_,
        settings=settings,
        protocol_file=protocol_path(protocol) if protocol else None,
    )
    with progress_bars() as progress:
        found = run_evaluate(
            opened,
            model_folder=model,
            prompts=prompts,
            output=output,
            device=device,
            progress=progress,
        )
    show(found, as_json=json_)


def show(found: Evaluated, *, as_json: bool) -> None:
    """Print an evaluation as a table, or as JSON."""
    from emoclip_clinical.core.evaluation.result import metrics_record

    warn(found.evaluation.warnings)
    record: Any = metrics_record(found.evaluation)
    if as_json:
        typer.echo(json.dumps(record, indent=2))
    else:
        _print(record)
    say(f"evaluation: {found.folder}")


def _print(record: Any) -> None:
    from rich import box
    from rich.table import Table

    task = record["task"].replace("_", " ")
    table = Table(title=f"{task.capitalize()}, per cent", title_justify="left",
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fmt: skip
    for name in ("", "ours", "95 % interval", "chance", "published"):
        justify: Any = "right" if name else "left"
        table.add_column(name, justify=justify, no_wrap=bool(name), overflow="fold")
    share = 100 * record["bootstrap"]["confidence"]
    table.columns[2].header = f"{share:g} % interval"
    first, *others = record["variants"]
    _add_variant(table, first, record["published"])
    for name, recall in first["recalls"].items():
        table.add_row(f"  recall, {name.replace('_', ' ')}", percent(recall))
    for variant in others:
        table.add_section()
        _add_variant(table, variant, None)
    console.print(table)
    if others:
        say("recalls of the other variants stand in metrics.json")
    for difference in record["differences"]:
        say(
            f"{difference['variant']} - {difference['reference']}: UAR "
            f"{percent(difference['uar'])} ({interval(difference)})"
        )
    if record["published"]:
        say(f"published: {record['published']['source']}")


def _add_variant(table: Any, variant: Any, published: Any) -> None:
    from rich.text import Text

    people = f" of {variant['n_people']} people" if variant["n_people"] else ""
    folds = f", {len(variant['folds'])} folds pooled" if len(variant["folds"]) > 1 else ""
    title = Text(str(variant["variant"]), style="bold")
    title.append(f": {variant['n_clips']} clips{people}{folds}", style="not bold")
    table.add_row(title)
    names = {"uar": "UAR", "war": "WAR", "macro_f1": "macro F1", "macro_auc": "macro AUC",
             "component_auc": "component AUC"}  # fmt: skip
    for key, figure in variant["pooled"].items():
        theirs = (published or {}).get(key)
        table.add_row(
            f"  {names[key]}",
            percent(figure["value"]),
            interval(figure),
            percent(variant["chance"]) if key == "uar" else "",
            "" if theirs is None else f"{theirs:.2f}",
        )
    if len(variant["folds"]) > 1:
        mean = variant["fold_mean"]
        table.add_row(
            "  UAR, WAR: mean of folds", f"{percent(mean['uar'])}, {percent(mean['war'])}"
        )
        for fold in variant["folds"]:
            figures = f"{percent(fold['uar'])}, {percent(fold['war'])}"
            table.add_row(f"    fold {fold['fold']}", figures)
    for name, value in _extra(variant):
        table.add_row(f"  {name}", percent(value["value"]), interval(value))


def _extra(variant: Any) -> list[tuple[str, Any]]:
    """Return the figures that belong to one task alone."""
    extra = []
    if "detection" in variant:
        found = variant["detection"]
        extra = [
            ("AUROC, known from unknown", found["auroc"]),
            ("known clips kept", {"value": found["known_kept"]}),
            ("unknown clips found", {"value": found["unknown_found"]}),
        ]
    if "uar_per_run_as_published" in variant:
        extra.append(
            ("UAR per run, official code's way", {"value": variant["uar_per_run_as_published"]})
        )
    return extra


def percent(value: float | None) -> str:
    """Show a share as a percentage with two decimals, or say that it is not defined."""
    return "undefined" if value is None else f"{100 * value:.2f}"


def interval(figure: Any) -> str:
    """Show the interval of a figure, or nothing where it has none."""
    if figure.get("ci_low") is None:
        return ""
    return f"{percent(figure['ci_low'])} to {percent(figure['ci_high'])}"
