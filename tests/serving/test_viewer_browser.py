"""The viewer in a real Chromium: it plays, moves, marks, and finds the mark again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emoclip_clinical.serving.viewer.server import ViewerServer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ALLOWED = ("http://127.0.0.1:", "data:", "blob:http://127.0.0.1:")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no Chromium on PATH ({', '.join(BROWSERS)})")
    playwright = pytest.importorskip("playwright.sync_api")
    # A sandbox of its own is refused to root, as containers have it.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, serve: Callable[..., ViewerServer]) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the viewer; at the end nothing may have gone wrong unseen."""
    problems: list[str] = []
    contexts = []

    def start(study: Path, *, width: int = 1280, **how: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda r: None if r.url.startswith(ALLOWED) else problems.append(f"asked {r.url}"),
        )
        page.goto(serve(study, **how).url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def wait(page: Any, expression: str) -> None:
    """Wait for a condition; Playwright's own way needs an eval that the page forbids."""
    end = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def until(page: Any, holds: Callable[[], bool]) -> None:
    """Wait until the page has come to show what it should."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        page.wait_for_timeout(50)


def seconds(page: Any) -> float:
    return float(page.locator("#timeline").get_attribute("aria-valuenow"))


def open_interview(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    wait(page, f"document.querySelector('#name').textContent === '{name}'")


def press_at(page: Any, share: float) -> None:
    box = page.locator("#timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] * share, box["y"] + 60)


def has_no_overflow(page: Any) -> bool:
    root = "document.documentElement"
    return bool(page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"))


def test_blurred_it_plays_moves_marks_and_finds_the_mark(study: Path, open_page: Any) -> None:
    page = open_page(study)
    wait(page, "document.title === 'little study'")
    assert "token" not in page.url
    until(page, lambda: page.locator("#rows tr").count() == 3)
    open_interview(page, "sub-01")
    wait(page, "document.querySelector('#picture').dataset.pictures >= 1")
    assert page.locator("#video").is_hidden()
    page.get_by_role("button", name="Play").click()
    wait(page, "document.querySelector('#picture').dataset.pictures >= 4")
    wait(page, "document.querySelector('#timeline').ariaValueNow > 0.4")
    page.get_by_role("button", name="Pause").click()
    press_at(page, 0.5)
    until(page, lambda: seconds(page) == pytest.approx(5, abs=0.3))
    page.keyboard.press("ArrowRight")
    until(page, lambda: seconds(page) == 6)
    page.keyboard.press("Shift+ArrowRight")
    marked = "0:06.0 to 0:10.0 (2 segments)"
    until(page, lambda: marked in page.locator("#stretch").inner_text())
    page.keyboard.press("m")
    page.keyboard.type("face covered")
    page.keyboard.press("Enter")
    page.get_by_text("0:06.0 to 0:10.0 (2 segments): face covered").wait_for()
    page.reload()
    page.get_by_text("0:06.0 to 0:10.0 (2 segments): face covered").wait_for()
    until(page, lambda: page.locator(".left-out").count() == 1)
    row = pd.read_csv(study / "exclusions.csv").iloc[0]
    assert row[["interview", "onset", "duration", "reason"]].tolist() == [
        "sub-01", 6.0, 4.0, "face covered",
    ]  # fmt: skip
    until(page, lambda: "2 of 5" in page.locator("#rows tr.present").inner_text())
    page.get_by_role("button", name="Take back").click()
    page.locator(".left-out").first.wait_for(state="detached")
    assert len(pd.read_csv(study / "exclusions.csv")) == 0


def test_with_faces_the_video_itself_plays_in_step(study: Path, open_page: Any) -> None:
    page = open_page(study, show_faces=True)
    open_interview(page, "sub-02_ses-1")
    wait(page, "document.querySelector('#video').readyState >= 2")
    page.get_by_role("button", name="Play").click()
    wait(page, "document.querySelector('#video').currentTime > 0.4")
    wait(
        page,
        "Math.abs(document.querySelector('#video').currentTime"
        " - document.querySelector('#timeline').ariaValueNow) < 0.3",
    )
    page.get_by_role("button", name="Pause").click()
    press_at(page, 0.8)
    wait(page, "Math.abs(document.querySelector('#video').currentTime - 8) < 0.4")


def test_without_its_video_the_timeline_is_there(study: Path, open_page: Any) -> None:
    page = open_page(study, width=400)
    assert has_no_overflow(page)
    open_interview(page, "sub-03")
    page.get_by_text("The video of this interview is not there").wait_for()
    until(page, page.get_by_role("button", name="Play").is_disabled)
    # Three lines, and their samples.
    until(page, lambda: page.locator("path.score").count() == 6)
    assert has_no_overflow(page)
    page.get_by_role("button", name="all interviews").click()
    page.locator("#interview").wait_for(state="hidden")


def test_moments_lead_to_their_place(study: Path, open_page: Any) -> None:
    page = open_page(study)
    open_interview(page, "sub-01")
    page.get_by_role("button", name="0:06.0 to 0:08.0").click()
    until(page, lambda: seconds(page) == 6)
    until(page, lambda: page.locator("polygon.up").count() == 1)
    until(page, lambda: page.locator("polygon.down").count() == 1)
