"""Bodies that no well-meaning client sends, and a client that goes on as if nothing were."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import httpx2
import numpy as np
import pyarrow as pa

from emoclip_clinical.core.embedder import Embedder

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
NPY = "application/x-npy"
OCTETS = "application/octet-stream"
FORM = "multipart/form-data; boundary=edge"


def npy(frames: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, frames)
    return file.getvalue()


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The head of an npy file of pictures, without them."""
    file = io.BytesIO()
    head = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    return file.getvalue()


def form(name: str, content: bytes, *, file_name: str = "a.mp4") -> bytes:
    head = (
        f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'
    )
    return head.encode() + content + b"\r\n--edge--\r\n"


def picture_bomb(*, side_pixels: int = 16_000) -> bytes:
    """A PNG of a few megabytes, which a decoder makes 768 MB of."""
    row = b"\0" * (1 + 3 * side_pixels)
    packer = zlib.compressobj(1)
    pixels = b"".join([*(packer.compress(row) for _ in range(side_pixels)), packer.flush()])

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", side_pixels, side_pixels, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def film_with_bomb(path: Path, *, bomb: bytes) -> bytes:
    """A video whose first pictures are small, and whose last is a bomb."""
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "rgb24"
        small = np.zeros((64, 64, 3), dtype=np.uint8)
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(small, format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                container.mux(packet)
        last = av.Packet(bomb)
        last.stream, last.is_keyframe, last.time_base = stream, True, stream.time_base
        last.pts = last.dts = round(10 / stream.time_base)
        container.mux(last)
    return path.read_bytes()


def arrow_bomb(*, n_rows: int = 2**29) -> bytes:
    """A stream of a few kilobytes that unpacks to four gigabytes of zeros."""
    zeros = pa.array(np.zeros(2**20), type=pa.float64())
    batch = pa.record_batch({"text": zeros})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        for _ in range(n_rows // 2**20):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def arrow(table: pa.Table, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    written_as = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, table.schema, options=written_as) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def film(path: Path, *, seconds: float, fps: int = 10, seed: int = 0) -> bytes:
    """Changing noise, small."""
    rng = np.random.default_rng(seed)
    return _video(
        path,
        (rng.integers(0, 256, (64, 96, 3), dtype=np.uint8) for _ in range(round(seconds * fps))),
        seconds_per_frame=1 / fps,
    )


def black_film(path: Path, *, seconds: float, with_length: bool = True) -> bytes:
    """A black picture every ten seconds, with its length in the header or not."""
    black = np.zeros((64, 64, 3), dtype=np.uint8)
    options = {} if with_length else {"live": "1"}
    n_frames = round(seconds / 10)
    return _video(path, (black for _ in range(n_frames)), seconds_per_frame=10, options=options)


def _video(
    path: Path,
    frames: Iterator[np.ndarray],
    *,
    seconds_per_frame: float,
    options: dict[str, str] | None = None,
) -> bytes:
    with av.open(str(path), "w", format="matroska", container_options=options or {}) as container:
        stream = container.add_stream("mjpeg", rate=1000)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuvj420p"
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture[:64, :64], format="rgb24")
            frame.pts = round(number * seconds_per_frame * 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def raw(url: str, content: bytes) -> socket.socket:
    """Send bytes as they are, and leave the connection open."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(content)
    return connection


def head(method: str, target: str, *, token: str, **fields: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *lines, "", ""]
    ).encode()


def status_of(connection: socket.socket) -> int:
    """Read an answer's first line."""
    with connection, connection.makefile("rb") as answer:
        return int(answer.readline().split()[1])


@contextmanager
def steady_client(url: str, *, token: str, embedder: Embedder) -> Iterator[list[str]]:
    """Ask for texts and frames all the time; every answer that is wrong goes into the list."""
    wrong: list[str] = []
    n_right = 0
    stop = threading.Event()
    texts = ["a happy person", "somebody who is sad"]
    frames = np.random.default_rng(3).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    expected = {JSON: embedder.encode_text(texts), NPY: embedder.encode_frames(frames)}

    def ask(client: httpx2.Client, kind: str) -> np.ndarray:
        if kind == JSON:
            found = client.post("/v1/embeddings/text", json={"texts": texts})
        else:
            target = "/v1/embeddings/video?unit=frame"
            found = client.post(target, content=npy(frames), headers={"Content-Type": NPY})
        return np.array([row["embedding"] for row in found.raise_for_status().json()["rows"]])

    def work() -> None:
        nonlocal n_right
        headers = {"Authorization": f"Bearer {token}"}
        with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
            while not (stop.is_set() and (n_right or wrong)):
                for kind, vectors in expected.items():
                    try:
                        np.testing.assert_allclose(ask(client, kind), vectors, rtol=0, atol=1e-6)
                        n_right += 1
                    except Exception as error:  # whatever it is: it is not the right answer
                        wrong.append(f"{kind}: {error!r}")
                        stop.wait()
                stop.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()
    assert wrong or n_right >= 2


def until(condition: Callable[[], bool], *, seconds: float = 60, what: str = "") -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)
