"""`report`: write the report of a result again, as HTML, Markdown or PDF."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, say


class ReportFormat(StrEnum):
    """What a report can be written as."""

    html = "html"
    md = "md"
    pdf = "pdf"


@guarded
def command(
    result: Annotated[
        Path, typer.Argument(help="A result (results/TARGET), or the folder of several.")
    ] = Path("results"),
    format_: Annotated[
        list[ReportFormat],
        typer.Option("--format", help="Repeatable; else what the result's protocol names."),
    ] = [],  # noqa: B006
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder to write to; else the result's own.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option("--tables", metavar="DIR", help="Write only the tables, as CSV, to here."),
    ] = None,
) -> None:
    """Write the report of a result from its files alone.

    Nothing is computed again, and no rating is read. PDF needs a Chromium on this machine.
    """
    from emoclip_clinical.study.report import write_report_tables, write_reports

    if tables is not None:
        written = write_report_tables(result, tables)
    else:
        written = write_reports(
            result, formats=[form.value for form in format_] or None, output=output
        )
    for path in written:
        say(f"written: {path}")
