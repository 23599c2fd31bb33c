"""Writing the report of a result into its folder, or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from emoclip_clinical.records import InputError
from emoclip_clinical.study.report.document import Document
from emoclip_clinical.study.report.folder import ResultFolder, read_result
from emoclip_clinical.study.report.index import readable_results, render_index
from emoclip_clinical.study.report.markdown import markdown
from emoclip_clinical.study.report.page import document, html
from emoclip_clinical.study.report.pdf import browser, write_pdf
from emoclip_clinical.study.report.tables import csv_text

Format = Literal["html", "md", "pdf"]
FORMATS: tuple[Format, ...] = ("html", "md", "pdf")
TABLES_FOLDER, INDEX_FILE = "tables", "index.html"


def write_report(
    folder: Path, *, formats: Sequence[Format] | None = None, output: Path | None = None
) -> tuple[Path, ...]:
    """Write the report of a result's folder, and its tables as CSV.

    Parameters
    ----------
    folder : Path
        ``results/<target>``.
    formats : sequence of str, optional
        ``html``, ``md``, ``pdf``; without it those of the protocol that made the result.
    output : Path, optional
        Where to write; without it the result's folder.

    Returns
    -------
    tuple of Path
        The reports, in the order of `formats`.

    Raises
    ------
    InputError
        If the folder holds no whole result, or a PDF is wanted and can not be printed; what was
        written before stays.
    """
    result = read_result(folder)
    page = document(result)
    tables = write_tables(page, (output or folder) / TABLES_FOLDER)
    if output is None:
        # A table that is shown no more may name somebody who is no more in the result.
        for old in set((folder / TABLES_FOLDER).glob("*.csv")) - set(tables):
            old.unlink()
    forms = formats or protocol_formats(result)
    return tuple(_write_form(page, output or folder, form) for form in forms)


def check_formats(formats: Sequence[Format]) -> None:
    """Refuse forms of the report that this machine can not write, before anything is computed.

    Raises
    ------
    InputError
        For ``pdf`` where there is no browser that prints it.
    """
    if "pdf" in formats:
        browser()


def protocol_formats(result: ResultFolder) -> tuple[Format, ...]:
    """Return HTML, and the other forms of the report that the protocol of a result names."""
    protocol = result.provenance["protocol"]
    named = protocol.get("report", {}).get("formats") if isinstance(protocol, Mapping) else None
    return ("html", *(f for f in FORMATS if f != "html" and f in (named or ())))


def _write_form(page: Document, folder: Path, form: Format) -> Path:
    path = folder / f"report.{form}"
    if form == "md":
        _write_whole(path, markdown(page))
    elif form == "html":
        _write_whole(path, html(page))
    else:
        shown = folder / f".report.{os.getpid()}.html"
        try:
            _write_whole(shown, html(page))
            write_pdf(shown, path)
        finally:
            shown.unlink(missing_ok=True)
    return path


def write_tables(page: Document, folder: Path) -> tuple[Path, ...]:
    """Write every table of a report as CSV.

    Parameters
    ----------
    page : Document
    folder : Path
        Made where it is missing.

    Returns
    -------
    tuple of Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {folder / f"{table.key}.csv": table for table in page.tables}
    for path, table in tables.items():
        _write_whole(path, csv_text(table))
    return tuple(tables)


def write_index(root: Path) -> Path | None:
    """Write ``index.html`` beside the results of several targets; none for a single one.

    Parameters
    ----------
    root : Path
        The folder of results.
    """
    found = readable_results(root)
    path = root / INDEX_FILE
    if len(found) < 2:
        path.unlink(missing_ok=True)
        return None
    _write_whole(path, render_index(found))
    return path


def write_reports(
    folder: Path, *, formats: Sequence[Format] | None = None, output: Path | None = None
) -> tuple[Path, ...]:
    """Write the report of a result, or of every result in a folder of results and their index.

    Parameters
    ----------
    folder : Path
        ``results/<target>`` or ``results``.
    formats, output
        See `write_report`; several results get a folder each below `output`.

    Raises
    ------
    InputError
        If there is no result.
    """
    several = [] if (folder / "metrics.json").is_file() else sorted(readable_results(folder))
    if not several:
        return write_report(folder, formats=formats, output=output)
    if output is not None:
        raise InputError(
            f"--output is for one result, and {folder} holds {len(several)}: "
            f"{', '.join(several)}; name one of them"
        )
    written = [p for name in several for p in write_report(folder / name, formats=formats)]
    index = write_index(folder)
    return (*written, *([index] if index else []))


def write_report_tables(folder: Path, output: Path) -> tuple[Path, ...]:
    """Write the tables of a result's report as CSV to a folder of the user's.

    Parameters
    ----------
    folder : Path
        ``results/<target>``.
    output : Path

    Raises
    ------
    InputError
        If the folder holds no whole result.
    """
    return write_tables(document(read_result(folder)), output)


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
