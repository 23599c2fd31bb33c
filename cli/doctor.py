"""`doctor`: what this machine has."""

from __future__ import annotations

import typer

from ._console import console, guarded


@guarded
def command() -> None:
    """Say what this machine has: torch, GPU, decoders, face network, weights."""
    from rich.table import Table
    from rich.text import Text

    from emoclip_clinical.study.machine import examine_machine

    findings = examine_machine()
    table = Table()
    for name in ("part", "status", "detail"):
        table.add_column(name)
    styles = {"ok": "green", "absent": "yellow", "broken": "red"}
    for finding in findings:
        table.add_row(
            finding.name, Text(finding.status, style=styles[finding.status]), finding.detail
        )
    console.print(table)
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(1)
