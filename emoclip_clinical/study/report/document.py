"""What a report is made of, whatever it is written as: sections of sentences, tables, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

MINUS = "\N{MINUS SIGN}"
NOT_DEFINED = "not defined"


@dataclass(frozen=True)
class Number:
    """A number, shown rounded.

    Attributes
    ----------
    value : float or None
        None is shown as a word.
    digits : int
        Decimals.
    unit : str
        Shown behind it.
    """

    value: float | None
    digits: int = 2
    unit: str = ""

    @property
    def text(self) -> str:
        """The number as a reader sees it."""
        return number(self.value, self.digits) + (self.unit if self.value is not None else "")


@dataclass(frozen=True)
class Chance:
    """A p value."""

    value: float | None

    @property
    def text(self) -> str:
        """The p value as a reader sees it; a small one is shown as a bound, never as 0."""
        return chance(self.value)


@dataclass(frozen=True)
class Span:
    """An interval, shown as two rounded numbers; None for an end is shown as a word."""

    low: float | None
    high: float | None
    digits: int = 2

    @property
    def text(self) -> str:
        """The interval as a reader sees it."""
        return span(self.low, self.high, self.digits)


@dataclass(frozen=True)
class Links:
    """Titles of sections, each leading to its section.

    Attributes
    ----------
    places : tuple of (str, str)
        Title and key of each section.
    """

    places: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The titles alone."""
        return "; ".join(title for title, _ in self.places)


Cell: TypeAlias = str | int | Number | Chance | Span | Links


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    key : str
        Name of its CSV file.
    head : tuple of str
    rows : tuple of tuple of Cell
        The first cell of a row is its name.
    caption : str
    """

    key: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers."""
        columns = range(len(self.head))
        return tuple(
            any(isinstance(row[k], int | Number | Chance | Span) for row in self.rows)
            for k in columns
        )


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes
    ----------
    title, caption : str
    svg : str
        A complete element, with its own accessible name, in the colours of the page.
    alt : str
        That name.
    """

    title: str
    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes
    ----------
    key : str
        Its id in the page.
    title : str
    text : tuple of str
        Paragraphs before the rest.
    pictures : tuple of Picture
    tables : tuple of Table
    points : tuple of str
        A list.
    code : str
        Text that is shown as it is, folded.
    to_paste : bool
        Whether the paragraphs are meant for a manuscript.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[str, ...] = ()
    code: str = ""
    to_paste: bool = False


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes
    ----------
    target : str
        Name of the rated target.
    title : str
        The same as a clinician knows it.
    sentence : str
        The result in one sentence.
    limits : tuple of str
        What it does not mean.
    scale : str
        What is rated, and what of it a face can show.
    standing : str
        Whether the analysis was fixed beforehand, in a few words; empty where nobody knows.
    notes : tuple of str
        Sentences of the study's own.
    notice : str
    sections : tuple of Section
    """

    target: str
    title: str
    sentence: str
    limits: tuple[str, ...]
    scale: str
    standing: str
    notes: tuple[str, ...]
    notice: str
    sections: tuple[Section, ...] = field(default=())

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table, in the order of the sections."""
        return tuple(table for section in self.sections for table in section.tables)


def number(value: float | None, digits: int = 2) -> str:
    """Show a number, or say that it is not defined."""
    if value is None:
        return NOT_DEFINED
    # Adding 0 turns a rounded -0 into 0.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def chance(p: float | None) -> str:
    """Show a p value with three decimals, or that it is smaller than that."""
    return "below 0.001" if p is not None and p < 0.0005 else number(p, 3)


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    >>> listed(["age"]), listed(["age", "sex", "site"])
    ('age', 'age, sex and site')
    """
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def p_phrase(p: float) -> str:
    """Say a p value inside a sentence.

    >>> p_phrase(0.04), p_phrase(0.0001)
    ('p = 0.040', 'p below 0.001')
    """
    shown = chance(p)
    return f"p {shown}" if shown.startswith("below") else f"p = {shown}"


def capitalised(text: str) -> str:
    """Begin a sentence with a capital letter; the rest stays."""
    return text[:1].upper() + text[1:]


def span(low: float | None, high: float | None, digits: int = 2) -> str:
    """Show an interval, or say that there is none."""
    if low is None or high is None:
        return "none"
    return f"{number(low, digits)} to {number(high, digits)}"


def shown(cell: Cell) -> str:
    """Return a cell as a reader sees it."""
    return cell if isinstance(cell, str) else str(cell) if isinstance(cell, int) else cell.text
