"""Reading a result's folder and writing its report: the same bytes, whole files, every fault."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.regress import TargetResult
from emoclip_clinical.study.report import (
    check_formats,
    figures,
    read_result,
    write_report,
    write_report_tables,
    write_reports,
)
from emoclip_clinical.study.report.document import chance, listed, number, span
from emoclip_clinical.study.report.pdf import find_browser


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_regress_wrote_is_written_again_to_the_byte(
    two_targets: tuple[TargetResult, ...], tmp_path: Path
) -> None:
    root = two_targets[0].folder.parent
    again = Path(shutil.copytree(root, tmp_path / "results"))
    for path in (*again.glob("*/report.html"), *again.glob("*/tables/*"), again / "index.html"):
        path.unlink()
    written = write_reports(again)
    assert [p.relative_to(again).as_posix() for p in written] == [
        "N1/report.html", "negative_symptoms/report.html", "index.html",
    ]  # fmt: skip
    assert content(again) == content(root)


def test_the_index_leads_to_every_target(two_targets: tuple[TargetResult, ...]) -> None:
    page = (two_targets[0].folder.parent / "index.html").read_text(encoding="utf-8")
    for result in two_targets:
        record = json.loads((result.folder / "metrics.json").read_text())
        assert f'<a href="{result.name}/report.html">{record["target"]}</a>' in page
        assert f">{number(record['pearson_r']['pooled'])}</td>" in page
        assert f">{chance(record['p_adjusted'])}</td>" in page
    assert page.count("<h2") == 1


def test_tables_hold_the_numbers_in_full(recorded: Path) -> None:
    record = json.loads((recorded / "metrics.json").read_text())
    table = pd.read_csv(recorded / "tables" / "result.csv")
    table = table.set_index("measure")
    assert table.loc["MAE", "value"] == record["mae"]
    assert table.loc["MAE", "value low"] == record["intervals"]["mae"]["low"]
    assert table.loc["Pearson r within folds", "value high"] == record["pearson_r"]["ci_high"]
    groups = pd.read_csv(recorded / "tables" / "subgroups.csv")
    shown = [g for g in record["subgroups"] if g["n_subjects"] is not None]
    kept = groups[groups["MAE"] != "not shown"]
    assert kept["bias high"].tolist() == [g["bias_interval"]["high"] for g in shown]
    for path in (recorded / "tables").glob("*.csv"):
        rows = list(csv.reader(path.open(encoding="utf-8", newline="")))
        assert len({len(row) for row in rows}) == 1
        assert len(set(rows[0])) == len(rows[0])


@pytest.mark.usefixtures("no_pictures")
def test_a_table_that_is_shown_no_more_goes_and_others_stay(copied: Path, tmp_path: Path) -> None:
    assert (copied / "tables" / "moments.csv").is_file()
    (copied / "moments.csv").unlink()
    write_report(copied)
    assert not (copied / "tables" / "moments.csv").exists()
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.csv").write_text("a\n")
    written = write_report_tables(copied, own)
    assert (own / "mine.csv").read_text() == "a\n"
    assert {p.name for p in own.iterdir()} == {"mine.csv", *(p.name for p in written)}


@pytest.mark.usefixtures("no_pictures")
def test_markdown_says_the_same(copied: Path) -> None:
    (path,) = write_report(copied, formats=("md",))
    text = path.read_text(encoding="utf-8")
    record = json.loads((copied / "metrics.json").read_text())
    assert text.startswith("# Positive and Negative Syndrome Scale: negative scale\n")
    interval = record["intervals"]["mae"]
    assert f"| MAE | {number(record['mae'])} | {span(interval['low'], interval['high'])} |" in text
    assert "\\<script\\>" in text
    assert not re.search(r"(?<!\\)<script", text)
    lines = text.splitlines()
    ids = {line[7:-6] for line in lines if line.startswith('<a id="')}
    assert {"result", "tripod"} <= ids
    for k, line in enumerate(lines):
        if line.startswith("| ---"):
            assert lines[k - 1].count(" | ") == line.count(" | ")


def test_every_fault_of_a_folder_is_told_at_once(copied: Path) -> None:
    (copied / "folds.csv").unlink()
    (copied / "predictions.csv").write_text("participant_id,observed\na,1\n")
    (copied / "provenance.json").write_text("{")
    with pytest.raises(InputError) as caught:
        read_result(copied)
    told = "\n".join(caught.value.faults)
    assert "folds.csv is missing" in told
    assert "predictions.csv has no column session_id, repeat, fold, predicted" in told
    assert "provenance.json is not JSON" in told
    assert "run regress again" in told
    with pytest.raises(InputError, match="no such result folder"):
        read_result(copied / "nowhere")


def test_results_of_an_older_version_are_refused_by_name(copied: Path) -> None:
    path = copied / "metrics.json"
    record = json.loads(path.read_text())
    del record["audit"], record["flow"]
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"metrics.json has no flow, audit"):
        read_result(copied)


def test_uneven_repeats_are_refused(copied: Path) -> None:
    path = copied / "predictions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="every visit once in each repeat"):
        read_result(copied)


def test_ids_stay_text_and_visits_are_means_over_repeats(copied: Path) -> None:
    path = copied / "predictions.csv"
    path.write_text(path.read_text().replace("sub-000", "NA").replace("sub-001", "007"))
    visits = read_result(copied).visits
    assert {"NA", "007"} <= set(visits["participant_id"])
    raw = pd.read_csv(path, keep_default_na=False, dtype={"participant_id": str})
    by_hand = raw.groupby(["participant_id", "session_id"])["predicted"].agg(["mean", "min", "max"])
    ours = visits.set_index(["participant_id", "session_id"])
    for name, aggregate in (("predicted", "mean"), ("low", "min"), ("high", "max")):
        expected = by_hand[aggregate].reindex(ours.index)
        pd.testing.assert_series_equal(ours[name], expected, check_names=False)
    assert ours.groupby(level=0)["weight"].sum().to_numpy() == pytest.approx(1)


@pytest.mark.usefixtures("no_pictures")
def test_a_pdf_without_a_browser_says_what_is_missing(
    copied: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Path]
) -> None:
    monkeypatch.setenv("PATH", str(copied))
    for call in (
        lambda: check_formats(("html", "pdf")),
        lambda: write_report(copied, formats=("pdf",)),
    ):
        with pytest.raises(InputError, match="PDF needs a browser of the Chromium family"):
            call()
    check_formats(("html", "md"))
    assert not (copied / "report.pdf").exists()
    assert not list(copied.glob(".*"))


@pytest.mark.usefixtures("no_pictures")
def test_a_browser_that_fails_is_quoted(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = copied / "chromium"
    fake.write_text("#!/bin/sh\necho it broke >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{copied}:/bin:/usr/bin")
    with pytest.raises(InputError, match="did not print the report: it broke"):
        write_report(copied, formats=("pdf",))


@pytest.mark.skipif(find_browser() is None, reason="no browser of the Chromium family on the path")
@pytest.mark.usefixtures("no_pictures")
def test_a_pdf_is_printed_beside_the_page(change: Callable[..., Path]) -> None:
    folder = change("provenance.json", protocol__report={"formats": ["pdf"], "notes": []})
    written = write_report(folder)
    assert [p.name for p in written] == ["report.html", "report.pdf"]
    printed = (folder / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 4


def test_one_output_for_several_results_is_refused(
    two_targets: tuple[TargetResult, ...], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="holds 2: N1, negative_symptoms"):
        write_reports(two_targets[0].folder.parent, output=tmp_path)
    (written,) = write_reports(two_targets[0].folder, output=tmp_path / "elsewhere")
    assert written.read_bytes() == (two_targets[0].folder / "report.html").read_bytes()


def test_numbers_are_shown_plainly() -> None:
    assert number(-0.001) == "0.00"
    assert number(-0.5) == "\N{MINUS SIGN}0.50"
    assert number(None) == "not defined"
    assert span(None, 1.0) == "none"
    assert [chance(p) for p in (0.0, 0.0004, 0.0005, 0.04)] == [
        "below 0.001", "below 0.001", number(0.0005, 3), "0.040",
    ]  # fmt: skip
    assert [listed(n) for n in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip


@pytest.mark.parametrize("step", [0.0, 1e-18, 2.0**-55, 1e-12])
@pytest.mark.parametrize("r", [0.0, -0.25, 0.3])
def test_a_null_that_is_constant_but_for_rounding_is_drawn(
    copied: Path, r: float, step: float
) -> None:
    path = copied / "permutation_null.csv"
    table = pd.read_csv(path)
    table["pearson_r"] = r + step * (np.arange(len(table)) % 3)
    table.to_csv(path, index=False)
    picture = figures._null(read_result(copied))
    assert picture is not None
    assert picture.svg.startswith("<svg")
