"""The server as a process: what it accepted it finishes, and what it leaves behind is nothing."""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from emoclip_clinical.core.embedder import Embedder
from tests.serving.load import Load, embedded, figure
from tests.serving.processes import ServerProcess, server_process

pytestmark = pytest.mark.slow

N_CLIENTS = 48


def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def texts_of(client: int) -> list[str]:
    return [f"text {i} of client {client}" for i in range(15)]


def ask(server: ServerProcess, client: int) -> httpx2.Response:
    body = {"texts": texts_of(client)}
    return httpx2.post(f"{server.url}/v1/embeddings/text", json=body, timeout=120)


def under_load(
    server: ServerProcess, clients: ThreadPoolExecutor, texts_of: Callable[[int], list[str]]
) -> Load:
    load = Load(server.url, clients, n_clients=N_CLIENTS, texts_of=texts_of)
    until(lambda: load.n_running() >= N_CLIENTS // 2)
    return load


def assert_nothing_left(server: ServerProcess, children: list, scratch: Path) -> None:
    assert not any(child.is_running() for child in children)
    # torch makes empty folders for its caches.
    assert [path for path in scratch.rglob("*") if not path.is_dir()] == []
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as port_again:
        port_again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port_again.bind((host, int(port)))


def test_sigterm_under_load_finishes_everything_that_was_accepted(
    model_folder: Path, embedder: Embedder, tmp_path: Path
) -> None:
    # One text at a time and no hurry, so that the signal comes while nearly all wait.
    limits = ("--limit", "max_batch_texts=1", "--limit", "max_delay_seconds=0.05")
    with (
        server_process(model_folder, *limits, scratch=tmp_path) as server,
        ThreadPoolExecutor(N_CLIENTS) as clients,
    ):
        children = server.descendants
        assert children, "the fork server is a process"
        load = under_load(server, clients, texts_of)
        load.when_open(server.ask_to_end)
        until(lambda: httpx2.get(f"{server.url}/readyz", timeout=60).status_code == 503)
        refused = ask(server, 0)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert httpx2.get(f"{server.url}/healthz", timeout=60).status_code == 200
        load.assert_kept(embedder)
        assert server.exit_code() == 0
    assert_nothing_left(server, children, tmp_path)
    assert "Traceback" not in "".join(server.said)
    assert "client 1" not in "".join(server.said)


def test_a_second_signal_ends_it_at_once(model_folder: Path, tmp_path: Path) -> None:
    # Work for far longer than the signals are apart.
    n_texts = 200
    limits = [f"--limit=max_waiting_texts={N_CLIENTS * n_texts}", "--limit=max_batch_texts=1"]
    with (
        server_process(model_folder, *limits, scratch=tmp_path) as server,
        ThreadPoolExecutor(N_CLIENTS) as clients,
    ):
        children = server.descendants
        load = under_load(server, clients, lambda client: ["a text"] * n_texts)
        load.when_open(server.ask_to_end)
        until(lambda: httpx2.get(f"{server.url}/readyz", timeout=60).status_code == 503)
        server.ask_to_end()
        assert server.exit_code(seconds=60) == 130
        assert load.n_lost() > 0
    said = "".join(server.said)
    assert "what was not answered is lost" in said
    assert "kept" not in said
    assert_nothing_left(server, children, tmp_path)


def test_idle_connections_keep_nobody_out(model_folder: Path, tmp_path: Path) -> None:
    body = io.BytesIO()
    np.save(body, np.zeros((1, 8, 8, 3), dtype=np.uint8))
    frames = {"content": body.getvalue(), "headers": {"Content-Type": "application/x-npy"}}
    # 156 files are for work, which leaves 244 connections.
    limits = ("--limit", "max_uploads=4", "--limit", "max_small_uploads=4", "--limit", "max_jobs=4")
    with (
        server_process(model_folder, *limits, scratch=tmp_path, most_files=400) as server,
        ExitStack() as held,
    ):
        host, port = server.url.removeprefix("http://").split(":")
        for _ in range(450):
            held.enter_context(socket.create_connection((host, int(port)), timeout=30))
        for _ in range(3):
            assert httpx2.get(f"{server.url}/healthz", timeout=30).status_code == 200
            address = f"{server.url}/v1/embeddings/video"
            assert httpx2.post(address, timeout=30, **frames).status_code == 200
        server.ask_to_end()
        assert server.exit_code() == 0
    assert "at most 244 connections" in "".join(server.said)
    assert not [line for line in server.said if "ERROR" in line]


def ask_for_leave(url: str, kind: str, n_bytes: int) -> tuple[bytes, float]:
    """Return how the answer to a head alone begins, and after how many seconds it came."""
    host, port = url.removeprefix("http://").split(":")
    head = (
        "POST /v1/embeddings/video HTTP/1.1", "Host: localhost", f"Content-Type: {kind}",
        f"Content-Length: {n_bytes}", "Expect: 100-continue", "", "",
    )  # fmt: skip
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join(head).encode())
        began = time.monotonic()
        return connection.recv(12), time.monotonic() - began


def test_who_asks_for_leave_is_not_told_to_send_what_is_refused(
    model_folder: Path, tmp_path: Path
) -> None:
    limits = ("--limit", "max_video_bytes=100000", "--limit", "max_frames_bytes=100000")
    with server_process(model_folder, *limits, scratch=tmp_path) as server:
        for kind, n_bytes, first in (
            ("video/mp4", 10**7, b"HTTP/1.1 413"),
            ("text/html", 10, b"HTTP/1.1 415"),
            ("video/mp4", 10, b"HTTP/1.1 100"),
        ):
            # What is refused without leave is read on for a second; the machine may be busy.
            answers = [ask_for_leave(server.url, kind, n_bytes) for _ in range(3)]
            assert {answer for answer, _ in answers} == {first}
            assert min(seconds for _, seconds in answers) < 0.9


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


def test_it_speaks_tls_and_asks_for_tokens(
    model_folder: Path, embedder: Embedder, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-that-is-long-enough\n")
    tokens.chmod(0o600)
    options = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with server_process(
        model_folder, *options, "--token-file", str(tokens), scratch=tmp_path
    ) as server:
        assert server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx2.Client(base_url=server.url, verify=trusted, timeout=60) as client:
            assert client.get("/v1/models").status_code == 401
            assert client.get("/healthz").status_code == 200
            client.headers["Authorization"] = "Bearer a-token-that-is-long-enough"
            response = client.post("/v1/embeddings/text", json={"texts": ["a smile"]})
        np.testing.assert_allclose(
            embedded(response), embedder.encode_text(["a smile"]), rtol=0, atol=1e-6
        )
        server.ask_to_end()
        assert server.exit_code() == 0


def test_frames_of_many_clients_at_once_each_get_their_own(
    model_folder: Path, embedder: Embedder, tmp_path: Path
) -> None:
    def frames_of(client: int) -> np.ndarray:
        n = 1 + client % 7
        return np.random.default_rng(client).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)

    with server_process(model_folder, scratch=tmp_path) as server:

        def ask_for_frames(client: int) -> np.ndarray:
            body = io.BytesIO()
            np.save(body, frames_of(client))
            response = httpx2.post(
                f"{server.url}/v1/embeddings/video?unit=frame",
                content=body.getvalue(),
                headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"},
                timeout=60,
            )
            assert response.status_code == 200, response.text
            return np.load(io.BytesIO(response.content))

        with ThreadPoolExecutor(32) as clients:
            answers = list(clients.map(ask_for_frames, range(300)))
        sizes = figure(server.url, 'emoclip_batch_items_sum{kind="pictures"}')
        batches = figure(server.url, 'emoclip_batch_items_count{kind="pictures"}')
    for client, answer in enumerate(answers):
        expected = embedder.encode_frames(frames_of(client))
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)
    # Requests were encoded together.
    assert sizes / batches > 4
