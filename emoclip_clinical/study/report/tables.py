"""The tables of a report as CSV, with the numbers in full."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

from emoclip_clinical.study.report.document import Cell, Chance, Number, Span, Table, shown


def csv_text(table: Table) -> str:
    """Return a table as CSV: numbers unrounded, an interval as two columns, none as empty.

    Parameters
    ----------
    table : Table

    Returns
    -------
    str
    """
    spans = [any(isinstance(row[k], Span) for row in table.rows) for k in range(len(table.head))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_head(table, spans))
    for row in table.rows:
        cells = zip(row, spans, strict=True)
        writer.writerow([value for cell, is_span in cells for value in _values(cell, is_span)])
    return buffer.getvalue()


def _head(table: Table, spans: list[bool]) -> list[str]:
    names: list[str] = []
    before = ("", *table.head)
    for (last, name), is_span in zip(pairwise(before), spans, strict=True):
        names += [f"{last} low", f"{last} high"] if is_span else [name]
    return names


def _values(cell: Cell, is_span: bool) -> list[object]:
    if isinstance(cell, Span):
        return ["" if v is None else v for v in (cell.low, cell.high)]
    if isinstance(cell, Number | Chance):
        return ["" if cell.value is None else cell.value]
    return ["", ""] if is_span else [cell if isinstance(cell, int) else shown(cell)]
