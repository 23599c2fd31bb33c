"""Open a video, and nothing but the file itself, and find its pictures; or say why not."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import av

from emoclip_clinical.features.video_clock import times_are_in_decoding_order
from emoclip_clinical.records import InputError

# Only containers that hold their pictures themselves: playlists could make FFmpeg open other
# files or the network.
_CONTAINERS = (
    "mov,matroska,webm,avi,flv,mpegts,mpeg,mpegvideo,asf,ogg,gif,h264,hevc,m4v,mxf,dv,rm,nut,"
    "wtv,h263,ivf,swf,3gp"
)


class UnreadableVideoError(InputError):
    """A file that yields no picture; the message names the cause, never the file."""


def open_video(path: Path) -> Any:
    """Open a video with PyAV, and nothing but the file itself.

    Raises
    ------
    UnreadableVideoError
        Saying why it can not be opened.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe or a device could wait for ever.
            raise UnreadableVideoError(
                "a folder, not a video file" if path.is_dir() else "not a regular file"
            )
        if status.st_size == 0:
            raise UnreadableVideoError("the file is empty (0 bytes)")
        # FFmpeg takes what stands before a colon in a relative path for a protocol.
        return av.open(
            str(path.absolute()),
            metadata_errors="ignore",
            options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, OSError) as error:
        raise UnreadableVideoError(_open_fault(path, error)) from None


def _open_fault(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    if isinstance(error, PermissionError):
        return "the file may not be read (permission denied)"
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4096)
        if _looks_like_text(head):
            return "not a video: the file holds text"
        if head[4:8] in {b"ftyp", b"mdat", b"wide", b"free", b"skip"}:
            return (
                "the MP4/MOV file has no readable index (moov): it was cut off, or the recording "
                "was not closed"
            )
    return "not a video that FFmpeg can read, or damaged at its start"


def _looks_like_text(head: bytes) -> bool:
    # A multi-byte character may be cut at the end of what was read.
    text = head.decode("utf-8", errors="replace").rstrip("\ufffd")
    return bool(text) and all(c.isprintable() or c in "\r\n\t\f\ufeff" for c in text)


def picture_track(container: Any) -> Any:
    """Return the stream that holds a video's pictures, not a cover or a thumbnail.

    Raises
    ------
    UnreadableVideoError
        If there is none, or no decoder for it.
    """
    tracks = list(container.streams.video)
    for track in tracks:
        still = track.disposition & (
            av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        )
        if not still:
            if track.codec_context is None:
                raise UnreadableVideoError("no decoder is here for the video's codec")
            return track
    if tracks:
        raise UnreadableVideoError("no video track, only a cover picture")
    if len(container.streams.audio):
        raise UnreadableVideoError("no video track, only sound")
    raise UnreadableVideoError("no video track")


def stores_decoding_order(path: Path, container: Any) -> bool:
    """Say whether a file has times in order of decoding in place of presentation times.

    Parameters
    ----------
    path : Path
        The file.
    container : av.container.InputContainer
        The same, open; it is not read from.
    """
    if container.format.name == "asf":
        # ASF is made for presentation times, but FFmpeg is not alone in writing the other ones.
        with open_video(path) as again:
            return times_are_in_decoding_order(again, picture_track(again))
    return bool(container.format.name == "avi")
