"""Weights are fetched when asked for, once, and used only if they are the known ones."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from emoclip_clinical.features import face_setup
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.face_setup import describe_faces, load_detector
from emoclip_clinical.features.yunet_weights import (
    YUNET_ADDRESS,
    YUNET_SHA256,
    fetched_yunet,
    weights_cache,
)
from emoclip_clinical.records import InputError

CONTENT = b"stands for weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """Serve one file on this machine, and note what was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            self.send_response(200 if self.path == "/weights" else 404)
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/weights" else b"")

        def log_message(self, *_):
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    found.asked = []
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def address(server, path="/weights"):
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_they_are_fetched_once_and_again_where_they_were_spoilt(server, tmp_path):
    cache = tmp_path / "new" / "cache"
    for _ in range(2):
        path = fetched_yunet(cache, address=address(server), sha256=SHA256)
        assert path.read_bytes() == CONTENT
    assert server.asked == ["/weights"]
    path.write_bytes(b"spoilt")
    assert fetched_yunet(cache, address=address(server), sha256=SHA256).read_bytes() == CONTENT
    assert [entry.name for entry in cache.iterdir()] == [path.name]


def test_other_content_is_neither_used_nor_kept(server, tmp_path):
    with pytest.raises(InputError, match=f"must have the SHA-256 {'0' * 64}, got {SHA256}"):
        fetched_yunet(tmp_path, address=address(server), sha256="0" * 64)
    with pytest.raises(InputError, match="404"):
        fetched_yunet(tmp_path, address=address(server, "/absent"), sha256=SHA256)
    with pytest.raises(InputError, match="could not be fetched"):
        fetched_yunet(tmp_path, address="http://127.0.0.1:9/weights", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_only_the_setting_lets_them_be_fetched(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="or fetch_weights: true"):
        ExtractionConfig(detector="yunet")
    assert ExtractionConfig(detector="yunet", yunet_weights="own.onnx").fetch_weights is False
    asked = []
    monkeypatch.setattr(face_setup, "fetched_yunet", lambda cache: asked.append(cache) or cache)
    monkeypatch.setattr(face_setup, "YuNet", lambda path, **_: path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    own = ExtractionConfig(detector="yunet", yunet_weights="own.onnx", fetch_weights=True)
    assert str(load_detector(own)) == "own.onnx"
    assert asked == []
    fetching = ExtractionConfig(detector="yunet", fetch_weights=True)
    load_detector(fetching)
    assert asked == [weights_cache()] == [tmp_path / "emoclip-clinical"]
    assert describe_faces(fetching)["detector_sha256"] == YUNET_SHA256
    assert YUNET_ADDRESS.startswith("https://")


def test_the_known_hash_is_that_of_the_real_file(assets):
    content = (assets / "models" / "yunet_n_dynamic.onnx").read_bytes()
    assert hashlib.sha256(content).hexdigest() == YUNET_SHA256
