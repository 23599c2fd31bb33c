"""`serve`: what it refuses before anything is loaded."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emoclip_clinical.cli import app


def refused(*options: str) -> str:
    result = CliRunner().invoke(app, ["serve", *options])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def test_it_needs_a_model(tmp_path: Path) -> None:
    said = refused("--study", str(tmp_path))
    assert "no model in" in said
    assert "--model" in said


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    said = refused("--model", str(tmp_path / "nothing"), "--port", "0")
    assert "model.safetensors and model.json" in said


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"port {port} of 127.0.0.1 can not be used" in refused(
            "--model", str(tmp_path), "--port", port
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_another_host_than_loopback_needs_tokens(tmp_path: Path, host: str) -> None:
    said = refused("--model", str(tmp_path), "--host", host)
    assert f"host {host} is reached from other machines and needs --token-file" in said


def test_every_wrong_limit_is_listed(tmp_path: Path) -> None:
    said = refused(
        "--model", str(tmp_path), *("--limit", "nothing=1"), *("--limit", "max_texts=0"),
        *("--limit", "wait_seconds=inf"), *("--limit", "decoders"),
        *("--limit", "max_jobs=1"), *("--limit", "max_jobs=2"),
    )  # fmt: skip
    assert "there is no limit 'nothing'; there are max_batch_frames" in said
    assert "limit max_texts: Input should be greater than or equal to 1, got '0'" in said
    assert "limit wait_seconds: Input should be a finite number" in said
    assert "a limit must be KEY=VALUE, got 'decoders'" in said
    assert "limit 'max_jobs' is given twice" in said


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    said = refused("--model", str(tmp_path), "--tls-key", str(tmp_path / "key.pem"))
    assert "--tls-certificate and --tls-key are wanted together" in said


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).write_text("nothing")
    said = refused(
        "--model", str(tmp_path), "--tls-certificate", str(tmp_path / "certificate.pem"),
        "--tls-key", str(tmp_path / "key.pem"),
    )  # fmt: skip
    assert "can not be used" in said


def test_a_wrong_key_of_the_protocol(tmp_path: Path) -> None:
    assert "sample_fps" in refused("--model", str(tmp_path), "--set", "extraction.sample_fps=-1")
