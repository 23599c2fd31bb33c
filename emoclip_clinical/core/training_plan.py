"""Everything random in an epoch, drawn before it begins: order, frames, texts, views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoclip_clinical.core.frame_vectors import PLAIN
from emoclip_clinical.core.model import derived_seed
from emoclip_clinical.core.training_texts import ClipTexts

STAGES = ("frames", "clips")


@dataclass(frozen=True)
class Draw:
    """What is seen of some clips, and what is said of them.

    Attributes
    ----------
    rows : int ndarray of shape (n,)
        Positions of clips.
    places : float ndarray of shape (n,)
        In [0, 1): which frame of the middle window stage `frames` takes.
    texts : int ndarray of shape (n,)
        Positions of texts.
    meanings : int ndarray of shape (n,)
        Equal where texts are one another's positives.
    views : int ndarray of shape (n,)
        Which augmented view, or the seed of a fresh one; `PLAIN` for none.
    """

    rows: np.ndarray
    places: np.ndarray
    texts: np.ndarray
    meanings: np.ndarray
    views: np.ndarray

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.rows)

    def part(self, which: slice) -> Draw:
        """Return the draw of some of the clips."""
        return Draw(
            self.rows[which],
            self.places[which],
            self.texts[which],
            self.meanings[which],
            self.views[which],
        )


def training_batches(
    texts: ClipTexts,
    *,
    n_clips: int,
    batch_clips: int,
    seed: int,
    stage: str,
    epoch: int,
    n_views: int | None,
) -> list[Draw]:
    """Draw an epoch over the first `n_clips` clips, in batches of one size.

    Fewer clips than a batch at the end of the order are left out; each epoch has another order.
    All follows from the arguments, so a resumed training repeats it.

    Parameters
    ----------
    texts : ClipTexts
        What may be said of the clips.
    n_clips, batch_clips : int
        Clips to learn from, and in a batch.
    seed, stage, epoch : int, str, int
        Of the training; the epoch counts from 0.
    n_views : int or None
        Views to choose from; 0 for plain clips only, None for a fresh augmentation each time.
    """
    number = STAGES.index(stage)
    rng = np.random.default_rng(derived_seed(seed, 1, number, epoch))
    size = min(batch_clips, n_clips)
    n_seen = n_clips // size * size
    rows = rng.permutation(n_clips)[:n_seen]
    places = rng.random(n_seen)
    # Of their own streams, so that captions and augmentation leave the order as it is.
    said = texts.draw(rows, np.random.default_rng(derived_seed(seed, 3, number, epoch)))
    varied = np.random.default_rng(derived_seed(seed, 4, number, epoch))
    if n_views == 0:
        views = np.full(n_seen, PLAIN)
    else:
        views = varied.integers(0, 2**31 if n_views is None else n_views, size=n_seen)
    whole = Draw(rows, places, said, texts.meanings[said], views)
    return [whole.part(slice(i, i + size)) for i in range(0, n_seen, size)]


def judged_batches(
    texts: ClipTexts | None, *, rows: np.ndarray, batch_clips: int, seed: int
) -> list[Draw]:
    """Draw clips that are judged and not learned from, in about equal batches, each clip once.

    Parameters
    ----------
    texts : ClipTexts or None
        What may be said of the clips; None where only classes are compared with them.
    rows : int ndarray of shape (n,)
        Positions of the clips.
    batch_clips : int
        Size to come near to, for a loss that compares with the training's.
    seed : int
        Of the training; the draw is the same after every epoch.
    """
    if len(rows) == 0:
        return []
    rng = np.random.default_rng(derived_seed(seed, 2))
    order = rows[rng.permutation(len(rows))]
    places = rng.random(len(rows))
    said = meanings = np.zeros(len(rows), dtype=np.int64)
    if texts is not None:
        said = texts.draw(order, np.random.default_rng(derived_seed(seed, 5)))
        meanings = texts.meanings[said]
    whole = Draw(order, places, said, meanings, np.full(len(rows), PLAIN))
    n_batches = max(1, round(len(rows) / batch_clips))
    parts = np.array_split(np.arange(len(rows)), n_batches)
    return [whole.part(slice(int(part[0]), int(part[-1]) + 1)) for part in parts]
