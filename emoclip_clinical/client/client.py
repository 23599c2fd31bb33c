"""The Client: what an `Embedder` does, done by a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeVar

import httpx2
import numpy as np
import pandas as pd
import pyarrow as pa

from emoclip_clinical.client import results
from emoclip_clinical.client.batches import (
    at_once,
    clip_batches,
    frame_batches,
    places,
    text_batches,
)
from emoclip_clinical.client.bodies import (
    ARROW,
    NPY,
    Body,
    arrow_body,
    form_body,
    json_body,
    npy_body,
    prompts_body,
    video_body,
)
from emoclip_clinical.client.connection import ClientConfig, Connection
from emoclip_clinical.client.jobs import finished
from emoclip_clinical.client.results import Estimates, Models
from emoclip_clinical.client.token_file import read_token
from emoclip_clinical.records import InputError, Progress, PromptSet, no_progress

_T = TypeVar("_T")

# A short video is answered at once; of a longer one the progress is seen soon.
_WAIT = {"wait": "2"}


class Client:
    """Embeddings, scores and estimates of a server of ``emoclip-clinical serve``.

    Several threads may use one client. It writes no log, sends no file's name, and takes no proxy
    and no password from the environment.

    Parameters
    ----------
    url : str
        ``http://127.0.0.1:8765``, or ``https://...`` for a server on another machine.
    token : str, optional
        Where the server wants one.
    allow_plain_http : bool
        Whether to send to another machine over ``http://``, where everybody on the way can read.
    ca_file : path, optional
        Certificates to trust in place of the public ones, PEM.
    config : ClientConfig
        Time-outs, patience, requests at once.
    transport : httpx2.BaseTransport, optional
        What carries the requests, where it is not to be the network as it is.

    Raises
    ------
    InputError
        If the address or the token can not be used.

    Notes
    -----
    Every method raises `ServerError` where the server refuses or something else answers in its
    place, `ConnectionError` where it can not be reached, and `TimeoutError` where it falls silent.
    While it is full, a request is sent again for `ClientConfig.patience_seconds`.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8765") as client:  # doctest: +SKIP
    ...     client.encode_clips(clips) @ client.encode_text(["a smile"]).T
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        allow_plain_http: bool = False,
        ca_file: str | Path | None = None,
        config: ClientConfig = ClientConfig(),  # noqa: B008 (frozen)
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._config = config
        self._connection = Connection(
            url,
            token=token,
            allow_plain_http=allow_plain_http,
            ca_file=ca_file,
            config=config,
            transport=transport,
        )

    @classmethod
    def from_token_file(
        cls,
        url: str,
        token_file: str | Path,
        *,
        allow_plain_http: bool = False,
        ca_file: str | Path | None = None,
        config: ClientConfig = ClientConfig(),  # noqa: B008 (frozen)
        transport: httpx2.BaseTransport | None = None,
    ) -> Client:
        """Return a client with the token of a file.

        Parameters
        ----------
        url : str
        token_file : path
            One token on a line; empty lines and lines that begin with ``#`` say nothing. Nobody
            but its owner may read it.
        allow_plain_http, ca_file, config, transport
            As in `Client`.

        Raises
        ------
        InputError
            If the file can not be read, others may read it, or it has another number of tokens.
        """
        return cls(
            url,
            token=read_token(token_file),
            allow_plain_http=allow_plain_http,
            ca_file=ca_file,
            config=config,
            transport=transport,
        )

    def __enter__(self) -> Client:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def models(self) -> Models:
        """Say what the server has loaded.

        Returns
        -------
        Models
        """
        return results.models(self._connection.ask("GET", "/v1/models").json())

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
            If `texts` is no list of strings.
        """

        def encoded(part: list[str]) -> np.ndarray:
            return self._vectors("text", json_body({"texts": part}))

        return self._stacked(encoded, text_batches(texts))

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

        Raises
        ------
        InputError
            For another type or shape.
        """

        def encoded(part: np.ndarray) -> np.ndarray:
            return self._vectors("video", npy_body(part), {"unit": "frame"})

        return self._stacked(encoded, frame_batches(frames))

    def encode_clips(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips, each with its own number of frames.

        Parameters
        ----------
        clips : sequence of uint8 ndarray of shape (t_i, height_i, width_i, 3)
            RGB frames, sampled at the model's `sample_fps`.

        Returns
        -------
        float32 ndarray of shape (n, d)
            L2-normalised.

        Raises
        ------
        InputError
            Listing every clip of another type or shape, or without a frame.
        """
        batches = clip_batches(clips)

        def encoded(rows: list[int]) -> np.ndarray:
            return self._vectors("video", _clips_body(clips, rows))

        found: np.ndarray = self._stacked(encoded, batches)[places(batches)]
        return found

    def score_clips(
        self, clips: Sequence[np.ndarray], prompts: str | PromptSet | None = None
    ) -> pd.DataFrame:
        """Score clips against the classes of a prompt set.

        Parameters
        ----------
        clips : sequence of uint8 ndarray of shape (t_i, height_i, width_i, 3)
            As in `encode_clips`; at least one.
        prompts : str or PromptSet, optional
            The name of a set that the server has loaded, or a set of one's own; by default those
            that the server was started with.

        Returns
        -------
        DataFrame
            A row a clip: ``emotion_<set>__<class>`` in [0, 1], which sum to 1 over the classes of
            a set, and ``cosine_<set>__<class>`` in [-1, 1]. ``attrs`` names the model.

        Raises
        ------
        InputError
            As in `encode_clips`, and without any clip.
        """
        batches = clip_batches(clips)
        if not batches:
            raise InputError("at least one clip is needed")

        def scored(rows: list[int]) -> pa.Table:
            params, body = _with_prompts("frames", _clips_body(clips, rows), prompts)
            return results.arrow_table(
                self._connection.ask("POST", "/v1/scores", params=params, body=body, accept=ARROW)
            )

        parts = at_once(scored, batches, n_threads=self._config.requests_at_once)
        whole = pa.concat_tables(parts)
        return results.frame(whole.take(pa.array(places(batches))))

    def embed_video(
        self,
        path: str | Path,
        *,
        face: Literal["detect", "whole_frame"] | None = None,
        patient: str | None = None,
        sample_fps: float | None = None,
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        progress: Progress = no_progress,
    ) -> pd.DataFrame:
        """Embed the segments of a video, as ``extract`` cuts them.

        Parameters
        ----------
        path : path
            The video; it is read while it is sent.
        face, patient, sample_fps, window_seconds, stride_seconds : optional
            Keys of the protocol's `extraction`; by default as the server was started.
        progress : callable
            Tasks ``upload`` (bytes) and ``video`` (seconds).

        Returns
        -------
        DataFrame
            A row a segment, with the columns of ``segments.parquet`` that are no scores, and
            ``embedding``: a float32 ndarray of shape (d,), None where `status` is not ``ok``.

        Raises
        ------
        InputError
            If there is no such file.
        """
        given = {
            "face": face,
            "patient": patient,
            "sample_fps": sample_fps,
            "window_seconds": window_seconds,
            "stride_seconds": stride_seconds,
        }
        params = {name: str(value) for name, value in given.items() if value is not None}
        body = video_body(path, progress=progress)
        return results.frame(self._video("/v1/embeddings/video", params, body, progress))

    def score_video(
        self,
        path: str | Path,
        prompts: str | PromptSet | None = None,
        *,
        face: Literal["detect", "whole_frame"] | None = None,
        patient: str | None = None,
        progress: Progress = no_progress,
    ) -> pd.DataFrame:
        """Score the segments of a video against the classes of a prompt set.

        Parameters
        ----------
        path : path
            The video.
        prompts : str or PromptSet, optional
            As in `score_clips`.
        face, patient : optional
            As in `embed_video`.
        progress : callable
            As in `embed_video`.

        Returns
        -------
        DataFrame
            A row a segment, with the columns of ``segments.parquet``; scores are NaN where
            `status` is not ``ok``.
        """
        given = {"face": face, "patient": patient}
        chosen = {name: value for name, value in given.items() if value is not None}
        params, body = _with_prompts("video", video_body(path, progress=progress), prompts)
        return results.frame(self._video("/v1/scores", chosen | params, body, progress))

    def estimate_features(
        self,
        features: pd.DataFrame,
        *,
        source: Mapping[str, object] | None = None,
        target: str | None = None,
    ) -> Estimates:
        """Estimate ratings from features, as ``predict`` does.

        Parameters
        ----------
        features : DataFrame
            ``participant_id[, session_id]`` and the estimator's columns, a row a visit; or what
            ``interviews.parquet`` or, for an estimator of mean embeddings,
            ``embeddings.parquet`` holds.
        source : mapping, optional
            The content of ``features.json``, for features of ``extract``; its list of inputs is
            not sent. None: a table of unknown origin.
        target : str, optional
            Which estimator, where the server has several.

        Returns
        -------
        Estimates

        Raises
        ------
        InputError
            For what is no table or has a column twice, and for a `source` that JSON can not say.
        """
        told = None if source is None else {k: v for k, v in source.items() if k != "inputs"}
        response = self._connection.ask(
            "POST",
            "/v1/estimates",
            params=_target(target),
            body=arrow_body(features, source=told),
            accept=ARROW,
        )
        return results.estimates(results.arrow_table(response))

    def estimate_video(
        self, path: str | Path, *, target: str | None = None, progress: Progress = no_progress
    ) -> Estimates:
        """Estimate the rating of one video.

        Parameters
        ----------
        path : path
            The video.
        target : str, optional
            As in `estimate_features`.
        progress : callable
            As in `embed_video`.

        Returns
        -------
        Estimates
            With one row, or with the reason why there is none.
        """
        body = video_body(path, progress=progress)
        return results.estimates(self._video("/v1/estimates", _target(target), body, progress))

    def _vectors(
        self, kind: str, body: Body, params: Mapping[str, str] | None = None
    ) -> np.ndarray:
        path = f"/v1/embeddings/{kind}"
        return results.vectors(
            self._connection.ask("POST", path, params=params, body=body, accept=NPY)
        )

    def _video(
        self, path: str, params: Mapping[str, str], body: Body, progress: Progress
    ) -> pa.Table:
        first = self._connection.ask(
            "POST", path, params={**_WAIT, **params}, body=body, accept=ARROW
        )
        return results.arrow_table(
            finished(self._connection, first, accept=ARROW, progress=progress)
        )

    def _stacked(self, ask: Callable[[_T], np.ndarray], items: Sequence[_T]) -> np.ndarray:
        if not items:
            return np.empty((0, self.models().model.embedding_width), dtype=np.float32)
        return np.concatenate(at_once(ask, items, n_threads=self._config.requests_at_once))


def _clips_body(clips: Sequence[np.ndarray], rows: Sequence[int]) -> Body:
    return npy_body(np.stack([clips[row] for row in rows]))


def _with_prompts(
    name: str, body: Body, prompts: str | PromptSet | None
) -> tuple[dict[str, str], Body]:
    if isinstance(prompts, PromptSet):
        return {}, form_body({name: body, "prompts": prompts_body(prompts)})
    return ({} if prompts is None else {"prompts": prompts}), body


def _target(target: str | None) -> dict[str, str]:
    return {} if target is None else {"target": target}
