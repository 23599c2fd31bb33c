"""Read interviews on a Ray cluster whose machines share a file system."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from emoclip_clinical.features.extraction_run import (
    RunSetup,
    extraction_run,
)
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.outcomes import InterviewOutcome
from emoclip_clinical.features.scale_out import Loader
from emoclip_clinical.records import InputError, no_progress


class InterviewActor:
    """What runs in one of Ray's processes: a model, and one interview at a time.

    Parameters
    ----------
    setup : RunSetup
        What to do; its folder must be reachable from here.
    load : Loader
        Makes the model.
    interviews : sequence of Interview
        All of the run.
    device : str
        Where the model computes.
    """

    def __init__(
        self,
        setup: RunSetup,
        load: Loader,
        interviews: Sequence[Interview],
        device: str,
    ) -> None:
        self._stack = ExitStack()
        self._run = self._stack.enter_context(
            extraction_run(setup, embedders=[load(device=device)], workers=1)
        )
        self._run.prepare(interviews)

    def outcome(self, interview: Interview, overwrite: bool) -> InterviewOutcome:
        """Read one interview and write its part, or keep the part that is there."""
        return self._run.outcome(interview, overwrite=overwrite, progress=no_progress)


def ray_outcomes(
    setup: RunSetup,
    interviews: Sequence[Interview],
    *,
    load: Loader,
    workers: int,
    overwrite: bool,
) -> Iterator[InterviewOutcome]:
    """Yield an outcome for each interview, in the order in which they end.

    Joins the cluster that the environment variable RAY_ADDRESS names, or starts one on this
    machine for the time of the run.

    Parameters
    ----------
    setup : RunSetup
        What to do.
    interviews : sequence of Interview
        All of the run; their paths and the features folder must be the same on every machine.
    load : Loader
        Makes the model in each actor.
    workers : int
        Actors, each with one GPU where the cluster has any.
    overwrite : bool
        Whether interviews that are finished are made again.

    Raises
    ------
    InputError
        If Ray is not installed.
    """
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        ray.init(
            address=address,
            logging_level="error",
            log_to_driver=False,
            include_dashboard=None if address else False,
        )
    try:
        on_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        actor = ray.remote(num_cpus=1, num_gpus=1 if on_gpu else 0)(InterviewActor)
        everything = ray.put(tuple(interviews))
        actors = [
            actor.remote(setup, load, everything, "cuda" if on_gpu else "cpu")
            for _ in range(min(workers, len(interviews)))
        ]
        pool = ray.util.ActorPool(actors)
        yield from pool.map_unordered(
            lambda reader, interview: reader.outcome.remote(interview, overwrite), interviews
        )
    finally:
        if started:
            ray.shutdown()


def _ray() -> Any:
    try:
        module = importlib.import_module("ray")
        importlib.import_module("ray.util.actor_pool")
    except ImportError:
        raise InputError(
            "engine 'ray' needs the package ray: pip install 'emoclip-clinical[ray]'"
        ) from None
    return module
