"""The report in a real browser: nothing overflows, nothing is fetched, everything can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emoclip_clinical.study.regress import TargetResult
from emoclip_clinical.study.report.pdf import find_browser

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
TEXT_CONTRAST, PICTURE_CONTRAST = 4.5, 3.0  # WCAG 2.2, level AA

LOW_CONTRAST = """
([textLimit, pictureLimit]) => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return light(c);
    }
    return 1;
  };
  const bad = [];
  let texts = 0, marks = 0;
  for (const e of document.querySelectorAll('body *')) {
    const style = getComputedStyle(e), svg = e.closest('svg');
    if (!svg && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) {
      texts += 1;
      const found = ratio(light(parse(style.color)), ground(e));
      if (found < textLimit) bad.push([e.tagName, e.textContent.slice(0, 40), found]);
    }
    if (svg && ['path', 'use', 'rect'].includes(e.tagName) && !e.closest('defs')) {
      const inText = e.closest('[id*="text_"]'), grid = /var\\(--line\\)/.test(e.outerHTML);
      for (const paint of [style.fill, style.stroke]) {
        if (grid || paint === 'none' || style.opacity < 1) continue;
        marks += 1;
        const found = ratio(light(parse(paint)), ground(svg.parentElement));
        const limit = inText && paint === style.fill ? textLimit : pictureLimit;
        if (found < limit) bad.push([e.tagName, paint, e.closest('g')?.id, found]);
      }
    }
  }
  return {bad: bad.slice(0, 10), texts, marks};
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = find_browser()
    if program is None:
        pytest.skip("no browser of the Chromium family on the path")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


class Opened:
    """A page, with what it said and asked for."""

    def __init__(self, browser: Any, path: Path, *, width: int, scheme: str = "light") -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_load_state("networkidle")

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *details: object) -> None:
        self.context.close()


@pytest.fixture(scope="module")
def pages(two_targets: tuple[TargetResult, ...], recorded: Path) -> tuple[Path, ...]:
    reports = [result.folder / "report.html" for result in two_targets]
    return (*reports, reports[0].parent.parent / "index.html", recorded / "report.html")


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overflows_complains_or_is_fetched(
    browser: Any, pages: tuple[Path, ...], width: int
) -> None:
    for path in pages:
        with Opened(browser, path, width=width) as opened:
            measure = "[document.documentElement.scrollWidth, innerWidth]"
            wide, window = opened.page.evaluate(measure)
            assert wide <= window == width, path
            assert opened.said == []
            assert opened.asked == [path.as_uri()]
            assert opened.page.title() != "taken"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_pictures_stand_out(browser: Any, pages: tuple[Path, ...], scheme: str) -> None:
    with Opened(browser, pages[-1], width=1280, scheme=scheme) as opened:
        found = opened.page.evaluate(LOW_CONTRAST, [TEXT_CONTRAST, PICTURE_CONTRAST])
        assert found["bad"] == []
        assert found["texts"] > 300
        assert found["marks"] > 300
        ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
        assert (bright > 200) if scheme == "light" else (bright < 60)


def test_every_picture_and_table_has_a_name(browser: Any, pages: tuple[Path, ...]) -> None:
    for path in (pages[0], pages[-1]):
        with Opened(browser, path, width=1280) as opened:
            pictures = opened.page.locator("svg, img")
            named = opened.page.get_by_role("img", name=re.compile(r".{20,}"))
            assert pictures.count() == named.count() > 5
            regions = opened.page.get_by_role("region", name=re.compile("."), include_hidden=True)
            assert regions.count() >= opened.page.locator("table").count()
            for role in ("banner", "navigation", "main", "contentinfo"):
                assert opened.page.get_by_role(role).count() == 1


def test_the_keyboard_reaches_the_content(browser: Any, pages: tuple[Path, ...]) -> None:
    with Opened(browser, pages[0], width=400) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        skip = page.locator(":focus")
        assert skip.inner_text() == "Skip to the content"
        assert skip.bounding_box()["y"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        page.locator("nav a", has_text="Result").first.focus()
        page.keyboard.press("Enter")
        assert page.url.endswith("#result")


def test_print_is_black_on_white_and_whole(browser: Any, pages: tuple[Path, ...]) -> None:
    with Opened(browser, pages[0], width=794, scheme="dark") as opened:
        opened.page.emulate_media(media="print")
        style = opened.page.evaluate(
            "(s => [s.color, s.backgroundColor, document.documentElement.scrollWidth])"
            "(getComputedStyle(document.body))"
        )
        assert style[:2] == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
        assert style[2] <= 794
