"""`view`: what it refuses, what it prints, and that it serves until it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from emoclip_clinical.cli import app
from emoclip_clinical.records import InterviewKey


def test_it_asks_for_extract_first(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["view", str(tmp_path), "--no-browser"])
    assert result.exit_code == 2
    assert "run extract first" in " ".join(result.output.split())


def test_a_port_in_use_is_told(tmp_path: Path, write_features: Callable[..., Path]) -> None:
    write_features(tmp_path / "features", interviews=[InterviewKey("sub-01")])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(app, ["view", str(tmp_path), "--port", port, "--no-browser"])
    assert result.exit_code == 2
    assert f"port {port} can not be used" in result.output


def test_it_serves_its_address_until_interrupted(
    tmp_path: Path, write_features: Callable[..., Path]
) -> None:
    write_features(tmp_path / "features", interviews=[InterviewKey("sub-01")])
    command = [sys.executable, "-m", "emoclip_clinical", "view", str(tmp_path), "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        told = ""
        for line in process.stderr:
            told += line
            if "Ctrl-C" in line:
                break
        url = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", told).group()
        try:
            urllib.request.urlopen(url.split("?")[0], timeout=10)
            status = 200
        except urllib.error.HTTPError as error:
            status = error.code
        assert status == 401
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=20) == 0, rest
    assert "the viewer has ended" in rest
    assert "Traceback" not in rest
    assert "no video is shown: " in told
