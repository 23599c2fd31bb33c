"""What a forked process does: read one file, send what was found, end."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.reading import read_interview
from emoclip_clinical.features.reading_settings import reading_settings
from emoclip_clinical.features.segments import Grid
from emoclip_clinical.records import InputError, InterviewKey
from emoclip_clinical.serving.isolation import limits
from emoclip_clinical.serving.isolation.messages import Channel, ChannelClosedError, Message
from emoclip_clinical.serving.isolation.orders import (
    MOST_JSON_BYTES,
    MOST_RESULT_BYTES,
    MOST_SEGMENTS,
    MOST_TABLE_BYTES,
    MOST_TEXT_BYTES,
    VideoOrder,
    limits_of,
)
from emoclip_clinical.serving.isolation.plain_tables import described, pack_table, plain_table
from emoclip_clinical.serving.isolation.remote import RemoteLane, RemoteModel

UPLOAD = InterviewKey("sub-upload")
"""The name of every uploaded video; its own never comes here."""
_PROGRESS_SECONDS = 0.25


class TooLargeError(Exception):
    """What the file holds is more than the server takes."""


def main(*, file: int, channel: int) -> None:
    """Do what the channel orders, with the file that a descriptor stands for.

    Parameters
    ----------
    file, channel : int
        Descriptors.
    """
    line = Channel(
        socket.socket(fileno=channel),
        most_json_bytes=MOST_JSON_BYTES,
        most_payload_bytes=MOST_RESULT_BYTES,
    )
    try:
        order = line.receive()
        limits.apply(limits_of(order))
        _TASKS[order.kind](order, line, Path(f"/proc/self/fd/{file}"))
    except ChannelClosedError:
        # Nobody wants to know any more.
        return
    except BaseException as error:
        line.send("fault", explained(error))


def explained(error: BaseException) -> dict[str, object]:
    """Say what went wrong; of a bug where, but not its message, which may quote the file.

    Parameters
    ----------
    error : BaseException
        What ended the reading.

    Returns
    -------
    dict
        See `sessions.ReaderFault`.
    """
    if isinstance(error, InputError):
        return {"reason": "input", "faults": list(error.faults)}
    if isinstance(error, TooLargeError):
        return {"reason": "too_large", "faults": [str(error)]}
    # torch and ONNX Runtime tell of it by a RuntimeError.
    if isinstance(error, MemoryError) or "alloc" in str(error).lower():
        return {"reason": "memory", "faults": []}
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    return {"reason": "bug", "faults": [type(error).__name__, *where]}


def _read_video(message: Message, channel: Channel, path: Path) -> None:
    order = VideoOrder.unpacked(message)
    reading = read_interview(
        Interview(UPLOAD, path),
        embedder=RemoteModel(order.model, channel=channel),
        settings=reading_settings(order.extraction, grid=order.grid, prompts=order.prompts),
        lane=RemoteLane(
            channel, batch_frames=order.batch_frames, width=order.model.embedding_width
        ),
        seconds_done=_Watch(channel, most_seconds=order.most_seconds, grid=order.grid),
    )
    segments, first = pack_table(reading.segments)
    embeddings, second = pack_table(reading.embeddings)
    fields = {
        "summary": asdict(reading.summary),
        "read_again": reading.read_again,
        "segments": described(reading.segments, segments),
        "embeddings": described(reading.embeddings, embeddings),
    }
    channel.send("result", fields, *first, *second)


class _Watch:
    """Tells how far a video is, and refuses one that is too long, by its header or by its clock."""

    def __init__(self, channel: Channel, *, most_seconds: float, grid: Grid) -> None:
        self._channel = channel
        self._most_seconds = most_seconds
        self._stride_seconds = grid.stride_seconds
        self._told = -_PROGRESS_SECONDS

    def __call__(self, done: float, total: float) -> None:
        """Look after each sampled frame."""
        seconds = max(done, total)
        if seconds > self._most_seconds:
            raise TooLargeError(
                f"the video is longer than {self._most_seconds:g} s, by its "
                f"{'header' if total > self._most_seconds else 'own clock'}"
            )
        if seconds > self._stride_seconds * MOST_SEGMENTS:
            raise TooLargeError(
                f"the video has more than {MOST_SEGMENTS} segments: ask for a longer stride_seconds"
            )
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS:
            self._told = now
            self._channel.send("progress", {"done": max(0.0, done), "total": max(0.0, total)})


def _read_table(message: Message, channel: Channel, path: Path) -> None:
    most_rows = message.whole("most_rows", least=1, most=MOST_TABLE_BYTES)
    try:
        table = _unpacked(path, most_rows=most_rows)
    except (MemoryError, TooLargeError):
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise InputError("the body is not a sound Arrow stream") from None
    plain = plain_table(table)
    # Every value has a byte that says whether it is there.
    if plain.nbytes + plain.num_rows * plain.num_columns > MOST_TABLE_BYTES:
        raise _too_many_bytes()
    if sum(c.nbytes for c in plain.columns if pa.types.is_string(c.type)) > MOST_TEXT_BYTES:
        raise TooLargeError(f"the text of the table takes more than {MOST_TEXT_BYTES // 2**20} MiB")
    columns, parts = pack_table(plain)
    channel.send(
        "table", {"table": described(plain, columns), "metadata": _metadata(table)}, *parts
    )


def _unpacked(path: Path, *, most_rows: int) -> pa.Table:
    """Read a stream batch by batch, and no further than it may go."""
    options = pa.ipc.IpcReadOptions(use_threads=False)
    batches: list[pa.RecordBatch] = []
    n_rows = n_bytes = 0
    with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source, options=options) as stream:
        for batch in stream:
            n_rows += batch.num_rows
            n_bytes += batch.nbytes
            if n_rows > most_rows:
                raise TooLargeError(f"at most {most_rows} rows were wanted, got more")
            if n_bytes > MOST_TABLE_BYTES:
                raise _too_many_bytes()
            if batch.num_rows:
                batch.validate(full=True)
                batches.append(batch)
        return pa.Table.from_batches(batches, schema=stream.schema)


def _too_many_bytes() -> TooLargeError:
    return TooLargeError(f"the table takes more than {MOST_TABLE_BYTES // 2**20} MiB")


def _metadata(table: pa.Table) -> dict[str, str]:
    pairs = dict(table.schema.metadata or {})
    try:
        return {key.decode(): value.decode() for key, value in pairs.items()}
    except UnicodeDecodeError:
        raise InputError("the metadata of the Arrow stream's schema must be UTF-8") from None


_TASKS: dict[str, Callable[[Message, Channel, Path], None]] = {
    "video": _read_video,
    "table": _read_table,
}
