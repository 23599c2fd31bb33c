"""`train`: EmoCLIP on captioned clips."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, is_a_helper, progress_bars, say, warn
from ._options import DeviceOption, SeedOption, SetOption, StudyOption, given


@guarded
def command(
    study: StudyOption = Path(),
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Clips: path, caption[, label][, group][, split]."),
    ] = None,
    model_name: Annotated[
        str | None, typer.Option("--model-name", help="Folder under models/.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=0, help="Of the temporal part; 0 writes an untrained model."),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option("--pretrained", help="Towers: openai, none, or a file of weights."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted training.")
    ] = False,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Train a model on captioned clips and write models/NAME.

    On several GPUs: torchrun --nproc-per-node N -m emoclip_clinical train ...
    """
    from emoclip_clinical.core.names import compact_names
    from emoclip_clinical.study.protocol import open_study
    from emoclip_clinical.study.train import run_train

    untrained = epochs == 0
    opened = open_study(
        study,
        overrides=set_,
        settings=given(
            data__clips=os.path.relpath(data, study) if data else None,
            model__name=model_name,
            model__tower__pretrained=pretrained,
            training__epochs=epochs,
            training__frame_epochs=0 if untrained else None,
            seed=seed,
        ),
        needs=() if untrained else ("clips",),
    )
    with progress_bars() as progress:
        trained = run_train(opened, device=device, resume=resume, progress=progress)
    if is_a_helper():
        return
    for split, labels in trained.histogram.items():
        counts = ", ".join(f"{label or 'no label'} {n:,}" for label, n in labels.items())
        say(f"clips {split or 'without a split'}: {counts}")
    warn(trained.warnings)
    if trained.epochs:
        last = trained.epochs[-1]
        validation = (
            "" if last.validation_loss is None else f", validation {last.validation_loss:.3f}"
        )
        say(
            f"trained on {trained.n_training} clips: loss {last.training_loss:.3f}{validation}; "
            f"{len(trained.trained_tensors)} tensors could change, {trained.n_trained_values:,} "
            "values (each is listed in model.json):"
        )
        for line in compact_names(trained.trained_tensors):
            say(f"  {line}")
        chosen = trained.selected
        if chosen.rule != "last":
            stopped = ", stopped early" if chosen.stopped_early else ""
            say(f"weights of epoch {chosen.epoch}, chosen by {chosen.rule} = {chosen.value:.4f}"
                f"{stopped}")  # fmt: skip
    else:
        say("no training was asked for: the weights are as they were built")
    say(f"model: {trained.folder}")
