"""Leave one class out: the clips a model is trained on when a class must stay unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.evaluation import metrics
from emoclip_clinical.core.evaluation.labels import parts_of
from emoclip_clinical.core.evaluation.predictions import Predictions


def without_class(clips: Sequence[Clip], held_out: str, *, singles: Sequence[str]) -> list[Clip]:
    """Leave out the training and validation clips of a class, and of compounds that hold it.

    Test clips all stay. Captions of what stays may still name the class.

    Parameters
    ----------
    clips : sequence of Clip
        Of all splits.
    held_out : str
        The class.
    singles : sequence of str
        Names of the single classes.

    Returns
    -------
    list of Clip
        In the same order.
    """

    def holds(clip: Clip) -> bool:
        parts = parts_of(clip.label, singles)
        # A compound may hold the class beside others that the prompt set does not know.
        return held_out in parts if parts else f"_{held_out}_" in f"_{clip.label}_"

    return [c for c in clips if c.split == "test" or not holds(c)]


def only_class(clips: Sequence[Clip], held_out: str) -> list[Clip]:
    """Take the label from clips of other classes: they are not judged, positions stay."""
    return [c if c.label == held_out else replace(c, label="") for c in clips]


def uar_per_run_as_published(gathered: Predictions) -> float:
    """Return the UAR that the official code reports: the mean over runs of each run's own UAR.

    A run has one true class, so its macro-averaged recall divides the held-out class's recall by
    the number of classes that are true or predicted in that run: it punishes the variety of the
    mistakes. It stands here to be compared with published numbers; `Predictions.uar` of the
    gathered clips is the mean recall of the held-out classes.

    Parameters
    ----------
    gathered : Predictions
        Test clips of every run; the run of a clip is its fold and its own class.

    Returns
    -------
    float
        In [0, 1].
    """
    found = []
    for fold in gathered.by_fold().values():
        for held_out in np.unique(fold.observed):
            run = fold.select(fold.observed == held_out)
            occurs = set(run.predicted.tolist()) | {int(held_out)}
            found.append(float(metrics.recalls(run.confusion)[held_out]) / len(occurs))
    return float(np.mean(found))
