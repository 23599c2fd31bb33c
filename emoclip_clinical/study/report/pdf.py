"""An HTML page as PDF, by the Chromium that is on the machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from emoclip_clinical.records import InputError

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
SECONDS = 120


def find_browser() -> Path | None:
    """Return the first of `BROWSERS` on the path, or None."""
    found = (shutil.which(name) for name in BROWSERS)
    return next((Path(path) for path in found if path), None)


def browser() -> Path:
    """Return the browser that prints.

    Raises
    ------
    InputError
        If there is none of the Chromium family.
    """
    found = find_browser()
    if found is None:
        raise InputError(
            f"a PDF needs a browser of the Chromium family ({', '.join(BROWSERS[:3])}), and none "
            "is on the path: install one, or print the HTML from any browser"
        )
    return found


def write_pdf(page: Path, output: Path) -> None:
    """Print a page to PDF, without a network and without a profile of its own.

    The bytes hold the time of printing and the browser's version, so that two prints differ.

    Parameters
    ----------
    page : Path
        HTML.
    output : Path

    Raises
    ------
    InputError
        If there is no browser of the Chromium family, or it does not print.
    """
    program = browser()
    with tempfile.TemporaryDirectory() as profile:
        part = Path(profile) / "report.pdf"
        command = [
            str(program), "--headless", "--disable-gpu", "--no-sandbox", "--no-first-run",
            "--disable-extensions", "--disable-background-networking", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}",
            "--no-pdf-header-footer", f"--print-to-pdf={part}", page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{program.name} did not print the report in {SECONDS} seconds"
            ) from None
        if done.returncode or not part.is_file() or not part.read_bytes().startswith(b"%PDF"):
            last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise InputError(f"{program.name} did not print the report: {last}")
        whole = output.with_name(f"{output.name}.part")
        shutil.copyfile(part, whole)
        whole.replace(output)
