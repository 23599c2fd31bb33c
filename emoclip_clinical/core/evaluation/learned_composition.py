"""A composition that is learned: a small network over the set of a compound's components.

The network is a Deep Set (Zaheer et al. 2017, arXiv 1703.06114): the components' vectors go
through one layer each, are averaged, and a second layer says how far the compound lies from the
normalised mean. The second layer starts at zero, so training starts at the paper's mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclip_clinical.core.evaluation.class_texts import ClassTexts
from emoclip_clinical.core.evaluation.composition import mean_vectors
from emoclip_clinical.core.evaluation.config import ComposerConfig
from emoclip_clinical.records import InputError


class SetComposer(nn.Module):
    """From the vectors of a set of components to the vector of their compound.

    Parameters
    ----------
    width : int
        Of the vectors.
    hidden : int
        Of the layer between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inward = nn.Linear(width, hidden)
        self.outward = nn.Linear(hidden, width)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, vectors: Tensor, held: Tensor) -> Tensor:
        """Compose classes.

        Parameters
        ----------
        vectors : Tensor of shape (n_singles, d)
            L2-normalised.
        held : Tensor of shape (n_classes, n_singles)
            1 where a class holds a single class, else 0.

        Returns
        -------
        Tensor of shape (n_classes, d)
            L2-normalised; that of a class with one component is the component's own.
        """
        share = held / held.sum(dim=1, keepdim=True)
        mean = functional.normalize(share @ vectors, dim=-1)
        shift = self.outward(share @ functional.gelu(self.inward(vectors)))
        several = (held.sum(dim=1, keepdim=True) > 1).to(vectors.dtype)
        return functional.normalize(mean + several * shift, dim=-1)


class Learned:
    """Class vectors by composers that never saw a clip of the combination they compose.

    The combinations are parted at random into folds; those of a fold are composed by a network
    that was trained on the training clips of all single classes and of the other folds'
    combinations. So every compound is judged as an unseen one.

    Parameters
    ----------
    clips : float32 ndarray of shape (n, d)
        Embeddings of training clips, L2-normalised.
    parts : sequence of tuple of str
        The single classes of each training clip's label.
    temperature : float
        The model's own; divides the cosines in the loss.
    config : ComposerConfig
        The network and its training.
    seed : int
        Of folds and initial weights.
    """

    def __init__(
        self,
        clips: np.ndarray,
        parts: Sequence[tuple[str, ...]],
        *,
        temperature: float,
        config: ComposerConfig,
        seed: int,
    ) -> None:
        self._clips = clips
        self._parts = parts
        self._temperature = temperature
        self._config = config
        self._seed = seed

    def scores(self, clips: np.ndarray, texts: ClassTexts) -> np.ndarray:
        """Return cosines, see `Composition.scores`."""
        out: np.ndarray = clips @ self.vectors(texts).T
        return out

    def vectors(self, texts: ClassTexts) -> np.ndarray:
        """Return the vector of each class, shape (n_classes, d), each combination held out.

        Raises
        ------
        InputError
            If the training clips hold fewer than two combinations to learn from.
        """
        vectors = mean_vectors(texts).astype(np.float32)
        seen = {frozenset(p) for p in self._parts if len(p) > 1}
        if len(seen) < 2:
            raise InputError(
                "composition learned needs training clips of two or more combinations, "
                f"got {len(seen)}"
            )
        compounds = list(texts.compounds.items())
        order = np.random.default_rng(self._seed).permutation(len(compounds))
        n_folds = min(self._config.combination_folds, len(compounds))
        first = len(texts.singles)
        for fold in np.array_split(order, n_folds):
            composer = self._fit(texts, unseen={frozenset(compounds[i][1]) for i in fold})
            with torch.no_grad():
                composed = composer(_tensor(texts.vectors), _tensor(texts.membership)).numpy()
            vectors[first + fold] = composed[first + fold]
        return vectors

    def _fit(self, texts: ClassTexts, *, unseen: set[frozenset[str]]) -> SetComposer:
        """Train a composer on all clips but those of the unseen combinations."""
        held_in = sorted({tuple(sorted(p)) for p in self._parts if frozenset(p) not in unseen})
        place = {frozenset(parts): i for i, parts in enumerate(held_in)}
        rows = [i for i, p in enumerate(self._parts) if frozenset(p) in place]
        target = torch.tensor([place[frozenset(self._parts[i])] for i in rows])
        clips, vectors = _tensor(self._clips[rows]), _tensor(texts.vectors)
        held = _tensor([[s in parts for s in texts.singles] for parts in held_in])
        # Each class counts alike, as in the UAR by which compositions are compared.
        weight = 1.0 / torch.bincount(target, minlength=len(held_in)).clamp(min=1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            composer = SetComposer(vectors.shape[1], self._config.width)
        optimiser = torch.optim.AdamW(
            composer.parameters(),
            lr=self._config.learning_rate,
            weight_decay=self._config.weight_decay,
        )
        for _ in range(self._config.epochs):
            logits = clips @ composer(vectors, held).T / self._temperature
            loss = functional.cross_entropy(logits, target, weight=weight.float())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        return composer


def _tensor(values: object) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
