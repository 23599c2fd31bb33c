"""What the pages about serving name is what the server has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from emoclip_clinical.cli import app
from emoclip_clinical.serving.app import make_routes
from emoclip_clinical.serving.config import ServingConfig

ROOT = Path(__file__).parents[2]
SHELL = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")


def test_every_address_has_an_example(page: str) -> None:
    shown = "\n".join(SHELL.findall(page))
    described = make_routes(None).openapi()["paths"]  # type: ignore[arg-type]
    for address in set(described) - {"/healthz", "/metrics"}:
        pattern = re.escape(address).replace(r"\{job\}", r"\$job")
        assert re.search(rf'\$url{pattern}["?]', shown), address
    for address in ("/metrics", "/docs"):
        assert f"`{address}`" in page


def test_every_limit_is_explained_and_there_is_no_other(page: str) -> None:
    section = page.partition("## Limits")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(ServingConfig.model_fields)


def test_every_option_is_one_of_the_command(page: str) -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    joined = page.replace("\\\n", " ")
    used = re.findall(r"emoclip-clinical serve\b([^\n`]*)", joined)
    options = {option for line in used for option in re.findall(r"(--[\w-]+)", line)}
    assert {"--estimator", "--token-file", "--host", "--tls-key"} <= options <= known


def test_the_service_is_not_killed_before_it_has_finished(page: str) -> None:
    seconds = int(re.search(r"TimeoutStopSec=(\d+)", page)[1])  # type: ignore[index]
    assert seconds > ServingConfig().shutdown_seconds
    proxy = int(re.search(r"proxy_read_timeout (\d+)s", page)[1])  # type: ignore[index]
    assert proxy > ServingConfig().request_seconds
    size = int(re.search(r"client_max_body_size (\d+)g", page)[1])  # type: ignore[index]
    assert size * 2**30 == ServingConfig().max_video_bytes
