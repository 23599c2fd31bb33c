"""The page that leads to the reports of several targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from emoclip_clinical.records import InputError
from emoclip_clinical.study.report.document import Cell, Chance, Number, Section, Span, Table
from emoclip_clinical.study.report.folder import METRICS_FILE, ResultFolder, read_result
from emoclip_clinical.study.report.origins import standing_words
from emoclip_clinical.study.report.page import environment
from emoclip_clinical.study.report.sentences import (
    NOTICE,
    difference_unit,
    headline_r,
    percent,
)


def result_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders below `root` that hold a result, by name."""
    return tuple(sorted(p.parent for p in root.glob(f"*/{METRICS_FILE}")))


def render_index(results: Mapping[str, ResultFolder]) -> str:
    """Render the table of several targets, those of one run together.

    Parameters
    ----------
    results : mapping of str to ResultFolder
        By name of the folder, which lies beside the page.
    """
    families: dict[tuple[str, str], dict[str, ResultFolder]] = {}
    for name, result in results.items():
        origin = result.provenance
        run = (str(origin["started"]), json.dumps(origin["protocol"], sort_keys=True))
        families.setdefault(run, {})[name] = result
    sections = tuple(
        _family(number, families[run], is_only=len(families) == 1)
        for number, run in enumerate(sorted(families), 1)
    )
    links = {str(r.metrics["target"]): f"{quote(n)}/report.html" for n, r in results.items()}
    return environment().get_template("index.html.j2").render(
        sections=sections, links=links, notice=NOTICE
    )  # fmt: skip


def _family(number: int, results: Mapping[str, ResultFolder], *, is_only: bool) -> Section:
    first = next(iter(results.values()))
    level = percent(first.metrics["settings"]["confidence"])
    rows = tuple(_row(result) for result in results.values())
    head = ("target", "participants", "visits", "r", f"{level} interval", "r pooled", "p",
            "p adjusted", "MAE", "skill", "standing")  # fmt: skip
    units = " or ".join(sorted({difference_unit(r.metrics) for r in results.values()})[::-1])
    started = str(first.provenance["started"])[:16].replace("T", " ")
    title = "Targets" if is_only else f"Run of {started}"
    text = (
        f"Analysed {started} (UTC). r and its interval are within folds where they can "
        "be; p is one-sided, of the pooled r, and adjusted over the targets of its protocol. MAE "
        f"is in {units}."
    )
    return Section(f"run-{number}", title, (text,), tables=(Table("targets", head, rows),))


def _row(result: ResultFolder) -> tuple[Cell, ...]:
    record = result.metrics
    r = record["pearson_r"]
    return (
        str(record["target"]),
        int(record["n_subjects"]),
        int(record["n_interviews"]),
        Number(headline_r(record)),
        Span(r["ci_low"], r["ci_high"]),
        Number(r["pooled"]),
        Chance(r["p_permutation"]),
        Chance(record["p_adjusted"]),
        Number(record["mae"]),
        Number(record["skill"]),
        standing_words(result.provenance),
    )


def readable_results(root: Path) -> dict[str, ResultFolder]:
    """Return the results below a folder by name; what an older version left there is passed over.

    Parameters
    ----------
    root : Path
    """
    found = {}
    for folder in result_folders(root):
        try:
            found[folder.name] = read_result(folder)
        except InputError:
            continue
    return found
