"""Single pictures of a video at given times, for a person who moves along it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import av

from emoclip_clinical.features.decoding import SampledFrame
from emoclip_clinical.features.opening import UnreadableVideoError, open_video, picture_track
from emoclip_clinical.features.upright import upright_rgb

_LAST_STAMP = 2**62
_NEAR_SECONDS = 4.0
"""A time that lies this little ahead is reached by decoding on, not by a jump."""


class PictureReader:
    """Gives the picture that is on screen at a time; fast where times rise.

    Parameters
    ----------
    path : Path
        The video file.

    Attributes
    ----------
    start_seconds : float
        Where the container's clock begins, which players show as 0.

    Raises
    ------
    UnreadableVideoError
        If it is no video.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._container = open_video(path)
        try:
            self._stream = picture_track(self._container)
        except UnreadableVideoError:
            self._container.close()
            raise
        self._stream.codec_context.thread_count = 1
        self.start_seconds = float((self._container.start_time or 0) / av.time_base)
        self._frames: Iterator[tuple[float, Any]] = iter(())
        self._shown: tuple[float, Any] | None = None
        self._next: tuple[float, Any] | None = None

    def __enter__(self) -> PictureReader:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file, when no picture is being read."""
        with self._lock:
            self._container.close()

    def at(self, seconds: float) -> SampledFrame:
        """Return the picture that is on screen at a time; before the first one, the first.

        Parameters
        ----------
        seconds : float
            On the video's own clock.

        Raises
        ------
        UnreadableVideoError
            If there is no picture that can be decoded.
        """
        with self._lock:
            shown = self._shown
            if shown is None or not shown[0] <= seconds < shown[0] + _NEAR_SECONDS:
                self._jump(seconds)
            while self._next is not None and (self._shown is None or self._next[0] <= seconds):
                self._shown, self._next = self._next, next(self._frames, None)
            if self._shown is None:
                raise UnreadableVideoError("no picture could be decoded")
            found, frame = self._shown
            try:
                image = upright_rgb(frame, self._stream)
            except av.error.FFmpegError:
                raise UnreadableVideoError("the picture is damaged") from None
            return SampledFrame(slot=0, seconds=found, image=image)

    def _jump(self, seconds: float) -> None:
        ticks = int(min(seconds / self._stream.time_base, _LAST_STAMP))
        stamp = max(ticks, self._stream.start_time or 0)
        try:
            self._container.seek(stamp, stream=self._stream, backward=True)
        except av.error.FFmpegError:
            # A file that can not jump is read from its beginning.
            self._container.seek(0)
        self._frames = self._decoded()
        self._shown, self._next = None, next(self._frames, None)

    def _decoded(self) -> Iterator[tuple[float, Any]]:
        last = -float("inf")
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, LookupError):
                # PyAV raises IndexError for a track that turns up late in a damaged file.
                continue
            for frame in frames:
                if frame.time is not None and frame.time > last:
                    last = frame.time
                    yield last, frame
            if packet is None:
                return
