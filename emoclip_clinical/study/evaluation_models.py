"""The models of an evaluation: the study's own, or one trained for a fold or without a class."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclip_clinical.core.clips import Clip
from emoclip_clinical.core.embedder import Embedder, load_model
from emoclip_clinical.core.evaluation.clip_embeddings import ClipEmbeddings
from emoclip_clinical.core.training_config import TrainingConfig
from emoclip_clinical.records import Progress, PromptSet
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.train import is_model_trained, train_model

OWN_MODEL = "model"
"""What the study's own model is called among those of an evaluation."""


@dataclass(frozen=True)
class Judged:
    """A model that is judged, with the embeddings it has made so far.

    Attributes
    ----------
    embedder : Embedder
    embeddings : ClipEmbeddings
    """

    embedder: Embedder
    embeddings: ClipEmbeddings


class JudgedModels:
    """Loads models, trains those that are missing, and remembers what was used.

    Parameters
    ----------
    study : Study
        Its model and training settings and its seed hold.
    model_folder : Path, optional
        Another model than the study's own.
    views : int
        Windows of a clip whose embeddings are averaged.
    device : str
        `auto`, `cpu` or `cuda[:k]`.
    progress : callable
        Of trainings.
    """

    def __init__(
        self,
        study: Study,
        *,
        model_folder: Path | None,
        views: int,
        device: str,
        progress: Progress,
    ) -> None:
        self._study = study
        self._model_folder = model_folder
        self._views = views
        self._device = device
        self._progress = progress
        self._own: Judged | None = None
        self.hashes: dict[str, str] = {}
        self.weights: dict[str, str] = {}

    def own(self) -> Judged:
        """Return the study's model, loaded once."""
        if self._own is None:
            folder = self._model_folder or self._study.model_folder
            self._own = self._load(folder, name=OWN_MODEL)
        return self._own

    @property
    def own_card(self) -> Mapping[str, Any] | None:
        """The model.json of the study's own model; None where it was not asked for."""
        return self._own.embedder.card if self._own else None

    def trained(
        self,
        clips: Sequence[Clip],
        *,
        name: str,
        training: TrainingConfig,
        prompts: PromptSet | None,
    ) -> Judged:
        """Return a model that learned from these clips; trained unless it is there already.

        Parameters
        ----------
        clips : sequence of Clip
            As for `train`; test clips are not opened.
        name : str
            What tells it from the study's other models; its folder is
            ``models/<model name>-<name>``.
        training : TrainingConfig
            How it is trained.
        prompts : PromptSet or None
            Class descriptions, where it is trained on them.
        """
        model = self._study.protocol.model
        part = re.sub(r"[^A-Za-z0-9]+", "-", name)
        model = model.model_copy(update={"name": f"{model.name}-{part}"})
        if not is_model_trained(
            self._study, clips, model=model, training=training, prompts=prompts
        ):
            train_model(
                self._study,
                clips,
                model=model,
                training=training,
                prompts=prompts,
                device=self._device,
                resume="if_it_fits",
                progress=self._progress,
            )
        return self._load(self._study.models / model.name, name=name)

    def _load(self, folder: Path, *, name: str) -> Judged:
        embedder = load_model(folder, device=self._device)
        self.hashes[name] = embedder.model_hash
        self.weights[name] = str(embedder.card["weights_sha256"])
        return Judged(embedder, ClipEmbeddings(embedder, views=self._views))
