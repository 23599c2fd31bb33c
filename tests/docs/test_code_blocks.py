"""Every block of code in the documentation is run, page by page, as its reader would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S
)
RUN = {"sh", "python"}


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    code: str
    mark: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, m.start("code")), m["language"], m["code"], m["mark"] or "")
        for m in FENCE.finditer(text)
    ]


def script(page: Path) -> str:
    """One shell script a page, so that a `cd` holds for the blocks that follow."""
    # What a page leaves running would keep its output open, and the test waiting.
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for block in blocks(page):
        if block.mark.startswith("not run: "):
            continue
        if block.mark.startswith("file: "):
            lines.append(f"cat > {block.mark[6:]} <<'END-OF-BLOCK'\n{block.code}END-OF-BLOCK")
        elif block.language in RUN:
            lines.append(f"echo '--- {page.name}, line {block.line}' >&2")
            of_python = f"python - <<'END-OF-BLOCK'\n{block.code}END-OF-BLOCK"
            lines.append(of_python if block.language == "python" else block.code)
    return "\n".join(lines)


RUNNING = [page for page in PAGES if any(b.language in RUN for b in blocks(page))]


def test_a_block_is_left_out_only_for_hardware_or_extras() -> None:
    reasons = {b.mark for page in PAGES for b in blocks(page) if b.mark.startswith("not run")}
    assert reasons <= {
        "not run: needs the extra ray",
        "not run: needs Docker",
        "not run: needs R",
        "not run: needs several GPUs",
        "not run: needs a token from outside",
        "not run: serves until it is stopped",
        "not run: takes hours",
    }


@pytest.mark.parametrize("page", [ROOT / "docs" / "tutorial.md", ROOT / "README.md"])
def test_no_reader_is_led_to_a_look_before_there_is_a_lock(page: Path) -> None:
    calls = [line.split("#")[0].split() for b in blocks(page) for line in b.code.splitlines()]
    checks = [words for words in calls if words[:2] == ["emoclip-clinical", "validate"]]
    assert checks
    assert all("--without-values" in words for words in checks)


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "demo"
    ran = subprocess.run(
        [warm.commands() / "emoclip-clinical", "demo", "--small", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_its_blocks_run(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = script(page)
    if re.search(r"\bcurl\b", text) and shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    begins = "<!-- begins in: small demo -->" in page.read_text(encoding="utf-8")
    folder = tmp_path / "here"
    if begins:
        shutil.copytree(request.getfixturevalue("small_demo"), folder)
    else:
        folder.mkdir()
    folders = [warm.commands(), Path(sys.executable).parent, os.environ["PATH"]]
    path = os.pathsep.join(map(str, folders))
    ran = subprocess.run(
        ["bash", "-c", text], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert ran.returncode == 0, f"{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html",
         str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "html" / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "--permutations" in page
