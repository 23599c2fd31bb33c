"""The Embedder: a trained model, ready to turn pictures, clips and texts into vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emoclip_clinical.core.checkpoint import Checkpoint, load_checkpoint
from emoclip_clinical.core.model import resolve_device
from emoclip_clinical.core.preprocessing import normalise, prepare
from emoclip_clinical.records import InputError, PromptSet


def load_model(folder: str | Path, *, device: str = "auto") -> Embedder:
    """Read a model folder for use.

    Parameters
    ----------
    folder : path
        A folder with `model.safetensors` and `model.json`.
    device : str
        `auto` (a GPU where there is one), `cpu` or `cuda[:k]`.

    Returns
    -------
    Embedder

    Raises
    ------
    InputError
        If the folder is not a sound model folder, or the device is not there.
    """
    return Embedder(load_checkpoint(Path(folder)), device=device)


class Embedder:
    """Embeddings and zero-shot scores of a trained model; it never learns.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    device : str
        As in `load_model`.
    batch_frames : int
        Frames that go through the image tower at once.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", batch_frames: int = 64
    ) -> None:
        self.device = resolve_device(device)
        self.config = checkpoint.config
        self.card = checkpoint.card
        self.model_hash = checkpoint.model_hash
        self._preprocessing = checkpoint.built.preprocessing
        self._tokenizer = checkpoint.built.tokenizer
        self._model = checkpoint.built.model.to(self.device).eval()
        self._batch_frames = batch_frames

    @property
    def embedding_width(self) -> int:
        """Width d of every vector."""
        return self._model.width

    @property
    def image_size_pixels(self) -> int:
        """Side of the square picture that the image tower takes."""
        return self._preprocessing.image_size_pixels

    @property
    def sample_fps(self) -> float:
        """Frames a second at which the model saw its training clips."""
        return self.config.sample_fps

    @property
    def frames_per_clip(self) -> int:
        """Longest clip of its training, in sampled frames."""
        return self.config.frames_per_clip

    @property
    def temperature(self) -> float:
        """Temperature of a softmax over cosines: 1 / the trained factor on the cosines."""
        return math.exp(-float(self._model.log_scale.detach()))

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Resize and crop one RGB frame, uint8 (height, width, 3), to uint8 (3, s, s)."""
        return prepare(frame, image_size_pixels=self.image_size_pixels)

    def encode_prepared(self, frames: np.ndarray) -> np.ndarray:
        """Encode prepared frames.

        Parameters
        ----------
        frames : uint8 ndarray of shape (n, 3, s, s)
            What `prepare` returned.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Frame vectors, not normalised.
        """
        side = self.image_size_pixels
        if frames.dtype != np.uint8 or frames.shape[1:] != (3, side, side):
            raise InputError(
                f"prepared frames must be uint8 of shape (n, 3, {side}, {side}), "
                f"got {frames.dtype} of shape {frames.shape}"
            )
        out = np.empty((len(frames), self.embedding_width), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(frames), self._batch_frames):
                batch = torch.from_numpy(frames[start : start + self._batch_frames])
                pictures = normalise(batch.to(self.device), self._preprocessing)
                out[start : start + len(batch)] = _numpy(self._model.encode_frames(pictures))
        return out

    def encode_sequences(self, frame_vectors: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Embed sequences of frame vectors.

        Parameters
        ----------
        frame_vectors : float32 ndarray of shape (n, t, d)
            From `encode_frames` or `encode_prepared`.
        valid : bool ndarray of shape (n, t)
            False at padding and at missing frames; at least one True a row.

        Returns
        -------
        float32 ndarray of shape (n, d)
            L2-normalised.
        """
        out = np.empty((len(frame_vectors), self.embedding_width), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(frame_vectors), self._batch_frames):
                part = slice(start, start + self._batch_frames)
                out[part] = _numpy(
                    self._model.encode_sequences(
                        torch.from_numpy(np.ascontiguousarray(frame_vectors[part])).to(self.device),
                        torch.from_numpy(np.ascontiguousarray(valid[part])).to(self.device),
                    )
                )
        return out

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """Encode pictures.

        Parameters
        ----------
        frames : uint8 ndarray of shape (n, height, width, 3)
            RGB.

        Returns
        -------
        float32 ndarray of shape (n, d)
            Frame vectors, not normalised.
        """
        if frames.ndim != 4:
            raise InputError(f"frames must have shape (n, height, width, 3), got {frames.shape}")
        side = self.image_size_pixels
        prepared = np.empty((len(frames), 3, side, side), dtype=np.uint8)
        for i, frame in enumerate(frames):
            prepared[i] = self.prepare(frame)
        return self.encode_prepared(prepared)

    def encode_clips(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips, each with its own number of frames.

        Parameters
        ----------
        clips : sequence of uint8 ndarray of shape (t_i, height_i, width_i, 3)
            RGB frames, sampled at `sample_fps`.

        Returns
        -------
        float32 ndarray of shape (n, d)
            L2-normalised.

        Raises
        ------
        InputError
            If a clip has no frame or more than the model has positions for.
        """
        if not clips:
            return np.empty((0, self.embedding_width), dtype=np.float32)
        if empty := [i for i, clip in enumerate(clips) if len(clip) == 0]:
            raise InputError(f"every clip needs at least one frame, got none in clips {empty}")
        vectors = [self.encode_frames(clip) for clip in clips]
        frames, valid = pad_sequences(vectors)
        return self.encode_sequences(frames, valid)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as float32 of shape (n, d), L2-normalised."""
        if isinstance(texts, str):
            raise InputError(f"texts must be a list of strings, got the string {texts!r}")
        if not len(texts):
            return np.empty((0, self.embedding_width), dtype=np.float32)
        with torch.inference_mode():
            return _numpy(self._model.encode_text(self._tokenizer(list(texts)).to(self.device)))

    def encode_prompts(self, prompts: PromptSet) -> tuple[np.ndarray, np.ndarray]:
        """Embed the classes of a prompt set.

        Parameters
        ----------
        prompts : PromptSet
            Classes with sentences, compounds with components.

        Returns
        -------
        classes : float32 ndarray of shape (n_classes, d)
            Normalised mean of each class's sentence embeddings.
        compounds : float32 ndarray of shape (n_compounds, d)
            Normalised mean of each compound's class embeddings (arXiv 2310.16640).
        """
        classes = {
            name: _direction(self.encode_text(sentences))
            for name, sentences in prompts.classes.items()
        }
        compounds = [
            _direction(np.stack([classes[part] for part in parts]))
            for parts in prompts.compounds.values()
        ]
        empty = np.empty((0, self.embedding_width), dtype=np.float32)
        return np.stack(list(classes.values())), np.stack(compounds) if compounds else empty

    def score(self, clips: Sequence[np.ndarray], prompts: PromptSet | Sequence[str]) -> np.ndarray:
        """Cosine similarity between clips and texts.

        Parameters
        ----------
        clips : sequence of uint8 ndarray of shape (t_i, height_i, width_i, 3)
            As in `encode_clips`.
        prompts : PromptSet or sequence of str
            Classes (their compounds follow them), or plain texts.

        Returns
        -------
        float32 ndarray of shape (n_clips, n_prompts)
            In [-1, 1].
        """
        if isinstance(prompts, PromptSet):
            texts = np.concatenate(self.encode_prompts(prompts))
        else:
            texts = self.encode_text(prompts)
        cosines: np.ndarray = np.clip(self.encode_clips(clips) @ texts.T, -1.0, 1.0)
        return cosines


def pad_sequences(vectors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stack sequences (t_i, d) as frames (n, t, d) with a mask (n, t) of what is real."""
    longest = max(len(v) for v in vectors)
    frames = np.zeros((len(vectors), longest, vectors[0].shape[1]), dtype=np.float32)
    valid = np.zeros((len(vectors), longest), dtype=bool)
    for i, vector in enumerate(vectors):
        frames[i, : len(vector)] = vector
        valid[i, : len(vector)] = True
    return frames, valid


def _direction(vectors: np.ndarray) -> np.ndarray:
    mean = vectors.mean(axis=0)
    direction: np.ndarray = (mean / np.linalg.norm(mean)).astype(np.float32)
    return direction


def _numpy(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.float().cpu().numpy()
    return array
