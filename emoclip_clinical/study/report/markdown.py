"""A report as Markdown: the same sentences and tables, the pictures by what they show."""

from __future__ import annotations

import re

from emoclip_clinical.study.report.document import Cell, Document, Links, Section, Table, shown

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def markdown(page: Document) -> str:
    """Return a report as Markdown with tables in the form of GitHub.

    Parameters
    ----------
    page : Document

    Returns
    -------
    str
    """
    parts = [
        f"# {_plain(page.title)}",
        _plain(page.sentence),
        *map(_plain, page.limits),
        *([_plain(page.scale)] if page.scale else []),
        f"Standing: {_plain(page.standing)}",
        *map(_plain, page.notes),
        f"**{_plain(page.notice)}**",
        *(part for section in page.sections for part in _section(section)),
        f"**{_plain(page.notice)}**",
    ]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    return [
        f'<a id="{section.key}"></a>\n\n## {_plain(section.title)}',
        *map(_plain, section.text),
        *(
            f"**{_plain(p.title)}.** {_plain(p.alt)}" if p.title else _plain(p.alt)
            for p in section.pictures
        ),
        *map(_table, section.tables),
        *(["\n".join(f"- {_plain(point)}" for point in section.points)] if section.points else []),
        *([_code(section.code)] if section.code else []),
    ]


def _table(table: Table) -> str:
    lines = [
        _row([_plain(name) for name in table.head]),
        _row(["---:" if is_number else "---" for is_number in table.numeric]),
        *(_row([_cell(cell) for cell in row]) for row in table.rows),
    ]
    return (f"{_plain(table.caption)}\n\n" if table.caption else "") + "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    if isinstance(cell, Links):
        return ", ".join(f"[{_plain(title)}](#{key})" for title, key in cell.places)
    return _plain(shown(cell))


def _plain(text: str) -> str:
    """Return text that stands for itself in Markdown, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}json\n{text}\n{fence}"
