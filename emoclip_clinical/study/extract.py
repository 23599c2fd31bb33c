"""The step `extract`: a study's interviews, with its model, prompt sets and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclip_clinical.records import Progress, no_progress
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.withdrawal_record import refuse_withdrawn

if TYPE_CHECKING:
    from emoclip_clinical.features.extract import ExtractionResult
    from emoclip_clinical.features.scale_out import ScaleOut


def run_extract(
    study: Study,
    paths: Sequence[Path],
    *,
    model_folder: Path | None = None,
    output: Path | None = None,
    prompts: Sequence[str] = (),
    device: str = "auto",
    overwrite: bool = False,
    scale: ScaleOut | None = None,
    progress: Progress = no_progress,
) -> ExtractionResult:
    """Extract interviews with a model of the study.

    Parameters
    ----------
    study : Study
        Its extraction settings hold.
    paths : sequence of Path
        Folders, videos or interview tables.
    model_folder : Path, optional
        Another model than the protocol's.
    output : Path, optional
        Another features folder than the protocol's.
    prompts : sequence of str
        Names or files of prompt sets, instead of the protocol's; files from the present folder.
    device : str
        `auto`, `cpu` or `cuda[:k]`.
    overwrite : bool
        Make finished interviews again.
    scale : ScaleOut, optional
        How the work is shared; `auto` takes all GPUs of this machine.
    progress : callable
        Called after each interview, and within long ones.

    Raises
    ------
    InputError
        See `load_model`, `load_prompt_sets` and `extract`.
    """
    from emoclip_clinical.core.embedder import load_model
    from emoclip_clinical.core.model import further_devices
    from emoclip_clinical.features.extract import extract
    from emoclip_clinical.features.interviews import find_interviews
    from emoclip_clinical.features.prompt_sets import load_prompt_sets
    from emoclip_clinical.features.scale_out import ScaleOut

    config = study.protocol.extraction.located(study.folder)
    interviews = find_interviews(paths)  # before a model is loaded, which takes longer
    refuse_withdrawn(study.folder, [i.key.participant_id for i in interviews], where="interviews")
    if prompts:
        prompt_sets = load_prompt_sets(tuple(prompts))
    else:
        prompt_sets = load_prompt_sets(config.prompts, folder=study.folder)
    load = partial(load_model, model_folder or study.model_folder)
    return extract(
        paths,
        embedder=load(device=device),
        config=config,
        prompt_sets=prompt_sets,
        output=output or study.path(study.protocol.data.features),
        overwrite=overwrite,
        scale=replace(
            scale or ScaleOut(),
            load=load,
            devices=further_devices() if device == "auto" else (),
        ),
        hash_memory=study.hash_memory,
        progress=progress,
    )
