"""The Embedder: a trained model, ready to turn pictures, clips and texts into vectors."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emoclip_clinical.core.checkpoint import Checkpoint, load_checkpoint
from emoclip_clinical.core.image_tower import ImageTower
from emoclip_clinical.core.model import resolve_device
from emoclip_clinical.core.preprocessing import Resize, prepare
from emoclip_clinical.core.threads import usable_cores
from emoclip_clinical.records import InputError, PromptSet

ATTENTION_FLOATS = 2**26
"""Queries, keys and values of one pass through the temporal part: 256 MiB in float32."""


def load_model(folder: str | Path, *, device: str = "auto", precision: str = "float32") -> Embedder:
    """Read a model folder for use.

    Parameters
    ----------
    folder : path
        A folder with `model.safetensors` and `model.json`.
    device : str
        `auto` (a GPU where there is one), `cpu` or `cuda[:k]`.
    precision : str
        Of the image tower: `float32`; `bfloat16`, which is about twice as fast on hardware that
        has it and turns embeddings by less than 1e-2 rad; or `int8`, for a CPU: nearly twice as
        fast in one thread (it takes no more of them), and to be checked against float32 on
        pictures of one's own, as `extract` does.

    Returns
    -------
    Embedder

    Raises
    ------
    InputError
        If the folder is not a sound model folder, the device or precision is not there, or the
        image tower can not compute in it.

    Examples
    --------
    >>> model = load_model("models/demo", device="cpu")  # doctest: +SKIP
    >>> model.encode_clips(clips) @ model.encode_text(["a smile"]).T  # doctest: +SKIP
    """
    return Embedder(load_checkpoint(Path(folder)), device=device, precision=precision)


class Embedder:
    """Embeddings and zero-shot scores of a trained model; it never learns.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    device, precision : str
        As in `load_model`.
    batch_frames : int
        Frames that go through the image tower at once, and texts through the text tower.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "float32",
        batch_frames: int = 64,
    ) -> None:
        if batch_frames < 1:
            raise InputError(f"batch_frames must be at least 1, got {batch_frames}")
        self.device = resolve_device(device)
        self.config = checkpoint.config
        self.card = checkpoint.card
        self.model_hash = checkpoint.model_hash
        self._preprocessing = checkpoint.built.preprocessing
        self._tokenizer = checkpoint.built.tokenizer
        self._model = checkpoint.built.model.to(self.device).eval()
        self._image_tower = ImageTower(
            self._model,
            preprocessing=self._preprocessing,
            device=self.device,
            precision=precision,
            batch_frames=batch_frames,
        )
        self._batch_frames = batch_frames

    def variant(self, *, precision: str, compiled: bool = False) -> Embedder:
        """Return the same model with an image tower that computes in another way.

        Parameters
        ----------
        precision : str
            `float32`, `bfloat16` or `int8`; where it is the present one, the weights are shared.
        compiled : bool
            Whether torch.compile translates the image tower, which takes from seconds to
            minutes when it is first used and moves vectors by rounding.

        Returns
        -------
        Embedder
            With the other parts shared.

        Raises
        ------
        InputError
            If the device does not have the precision, the tower can not compute in it, or the
            model was loaded in another one than float32, which holds what others need.
        """
        tower = self._image_tower.variant(precision=precision, compiled=compiled)
        if tower is self._image_tower:
            return self
        twin = copy.copy(self)
        twin._image_tower = tower
        return twin

    @property
    def precision(self) -> str:
        """What the image tower computes with."""
        return self._image_tower.precision

    @property
    def has_fast_bfloat16(self) -> bool:
        """Whether the device computes bfloat16 products in hardware."""
        if self.device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        # Older versions of torch can not tell.
        found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))

    @property
    def videos_at_once(self) -> int:
        """Videos that must be read at the same time so that the device has no time off."""
        return usable_cores() if self.device.type == "cuda" else 1

    @property
    def batches_at_once(self) -> int:
        """Batches that keep the device busy, where each thread computes alone."""
        # The second one is copied while a GPU computes the first.
        return 2 if self.device.type == "cuda" else usable_cores()

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
    def longest_clip_frames(self) -> int | None:
        """Most sampled frames that one clip may have; None where there is no bound."""
        temporal = self.config.temporal
        return temporal.positions - 1 if temporal.kind == "transformer" else None

    @property
    def temperature(self) -> float:
        """Temperature of a softmax over cosines: 1 / the trained factor on the cosines."""
        return math.exp(-float(self._model.log_scale.detach()))

    @property
    def has_text_tower(self) -> bool:
        """Whether `encode_text` and `score` can be asked."""
        return self._model.has_text_tower

    @property
    def resize(self) -> Resize:
        """How `prepare` makes a square of a picture."""
        return self._preprocessing.resize

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Make a square, uint8 (3, s, s), of one RGB frame, uint8 (height, width, 3)."""
        return prepare(
            frame,
            image_size_pixels=self.image_size_pixels,
            resize=self._preprocessing.resize,
        )

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

        Raises
        ------
        InputError
            For another type or shape.
        """
        side = self.image_size_pixels
        if frames.dtype != np.uint8 or frames.shape[1:] != (3, side, side):
            raise InputError(
                f"prepared frames must be uint8 of shape (n, 3, {side}, {side}), "
                f"got {frames.dtype} of shape {frames.shape}"
            )
        return self._image_tower.encode(frames)

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
        step = self._sequences_at_once(frame_vectors.shape[1])
        with torch.inference_mode():
            for start in range(0, len(frame_vectors), step):
                part = slice(start, start + step)
                out[part] = _numpy(
                    self._model.encode_sequences(
                        torch.from_numpy(np.ascontiguousarray(frame_vectors[part])).to(self.device),
                        torch.from_numpy(np.ascontiguousarray(valid[part])).to(self.device),
                    )
                )
        return out

    def _sequences_at_once(self, n_frames: int) -> int:
        """Return how many sequences keep queries, keys and values within `ATTENTION_FLOATS`."""
        temporal = self.config.temporal
        if temporal.kind != "transformer":
            return self._batch_frames
        floats = 3 * temporal.heads * temporal.head_width * (n_frames + 1)
        return max(1, min(self._batch_frames, ATTENTION_FLOATS // floats))

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
        return self._encode_pictures([frames])

    def _encode_pictures(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Encode the frames of all clips one after another, in batches filled across clips."""
        side, size = self.image_size_pixels, self._batch_frames
        n = sum(len(clip) for clip in clips)
        out = np.empty((n, self.embedding_width), dtype=np.float32)
        batch = np.empty((min(size, n), 3, side, side), dtype=np.uint8)
        for i, frame in enumerate(frame for clip in clips for frame in clip):
            batch[i % size] = self.prepare(frame)
            if i % size == size - 1 or i == n - 1:
                start = i - i % size
                out[start : i + 1] = self.encode_prepared(batch[: i + 1 - start])
        return out

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
            Listing every clip of another type or shape, without a frame, or with more frames
            than the model has positions for.
        """
        if len(clips) == 0:
            return np.empty((0, self.embedding_width), dtype=np.float32)
        self.check_clips(clips)
        lengths = [len(clip) for clip in clips]
        vectors = np.split(self._encode_pictures(clips), np.cumsum(lengths)[:-1])
        out = np.empty((len(clips), self.embedding_width), dtype=np.float32)
        for start in range(0, len(clips), self._batch_frames):
            part = slice(start, start + self._batch_frames)
            out[part] = self.encode_sequences(*pad_sequences(vectors[part]))
        return out

    def check_clips(self, clips: Sequence[np.ndarray]) -> None:
        """Refuse what `encode_clips` can not embed.

        Raises
        ------
        InputError
            Listing every clip; see `encode_clips`.
        """
        longest = self.longest_clip_frames
        faults = []
        for i, clip in enumerate(clips):
            if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3:
                faults.append(
                    f"clip {i}: it must be uint8 of shape (n_frames, height, width, 3), "
                    f"got {clip.dtype} of shape {clip.shape}"
                )
            elif 0 in clip.shape:
                faults.append(f"clip {i}: it needs at least one frame, got shape {clip.shape}")
            elif longest is not None and len(clip) > longest:
                faults.append(
                    f"clip {i}: it may have at most {longest} sampled frames, got {len(clip)}"
                )
        if faults:
            raise InputError(faults)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts.

        Parameters
        ----------
        texts : sequence of str
            What is longer than the text tower's context is cut off.

        Returns
        -------
        float32 ndarray of shape (n, d)
            L2-normalised.

        Raises
        ------
        InputError
            If the model has no text tower, or `texts` is no list of strings.
        """
        self._require_text_tower()
        if isinstance(texts, str):
            raise InputError(f"texts must be a list of strings, got the string {texts!r}")
        if wrong := [i for i, text in enumerate(texts) if not isinstance(text, str)]:
            raise InputError(
                f"texts must be strings, got {type(texts[wrong[0]]).__name__} at position "
                f"{wrong[0]}"
            )
        out = np.empty((len(texts), self.embedding_width), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), self._batch_frames):
                part = slice(start, start + self._batch_frames)
                tokens = self._tokenizer(texts[part]).to(self.device)
                out[part] = _numpy(self._model.encode_text(tokens))
        return out

    def _require_text_tower(self) -> None:
        if not self.has_text_tower:
            raise InputError(
                f"model {self.config.name!r} has no text tower ({self._why_no_text()}): it embeds "
                "clips, but neither embeds texts nor scores clips against them"
            )

    def _why_no_text(self) -> str:
        imported = self.card.get("imported")
        if not imported:
            return "it was built with tower.text: false"
        return (
            "the imported checkpoint held none; "
            "import-checkpoint --add-text-tower openai adds OpenAI's"
        )

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
        return combine_prompts(
            prompts,
            {name: self.encode_text(sentences) for name, sentences in prompts.classes.items()},
        )

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

        Raises
        ------
        InputError
            If the model has no text tower, or as in `encode_clips` and `encode_text`.
        """
        self._require_text_tower()
        if isinstance(prompts, PromptSet):
            texts = np.concatenate(self.encode_prompts(prompts))
        else:
            texts = self.encode_text(prompts)
        cosines: np.ndarray = np.clip(self.encode_clips(clips) @ texts.T, -1.0, 1.0)
        return cosines


def combine_prompts(
    prompts: PromptSet, sentences: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Make the vectors of classes and compounds of those of their sentences.

    Parameters
    ----------
    prompts : PromptSet
        Classes, and compounds with components.
    sentences : mapping of str to ndarray of shape (n_sentences, d)
        Text embeddings of each class.

    Returns
    -------
    classes, compounds : float32 ndarray of shape (n_classes, d), (n_compounds, d)
        See `Embedder.encode_prompts`.
    """
    classes = {name: _direction(sentences[name]) for name in prompts.classes}
    compounds = [
        _direction(np.stack([classes[part] for part in parts]))
        for parts in prompts.compounds.values()
    ]
    stacked = np.stack(list(classes.values()))
    return stacked, np.stack(compounds) if compounds else np.empty_like(stacked[:0])


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
