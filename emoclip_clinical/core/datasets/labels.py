"""From what a file calls a class to the class: numbers and names, neither trusted blindly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from emoclip_clinical.core.datasets.conventions import class_name, known_labels
from emoclip_clinical.tables import limit_faults


def numbered_labels(
    numbers: Sequence[tuple[str, str]], *, order: tuple[str, ...], first: int, file: str
) -> tuple[list[str | None], list[str]]:
    """Turn the numbers of one file into classes.

    Parameters
    ----------
    numbers : sequence of (str, str)
        As written, with their place.
    order : tuple of str
        Classes in the order of their numbers.
    first : int
        Number of the first class: 0 in the peers' lists, 1 in DFEW's own files.
    file : str
        The file's name, for messages.

    Returns
    -------
    labels : list of str or None
        None where a number can not be a class.
    faults : list of str
        One for the file if it counts from another number, one for each row out of range.
    """
    last = first + len(order) - 1
    labels: list[str | None] = []
    faults = []
    found = set()
    for text, where in numbers:
        value = int(text) if re.fullmatch(r"-?\d+", text) else None
        if value is None or not first <= value <= last:
            faults.append(
                f"label must be an integer from {first} to {last}, got {text!r} ({where})"
            )
        labels.append(
            order[value - first] if value is not None and first <= value <= last else None
        )
        if value is not None:
            found.add(value)
    return labels, [*_shift_faults(found, first, last, file), *limit_faults(faults)]


def _shift_faults(found: set[int], first: int, last: int, file: str) -> list[str]:
    """Say so when a whole file counts from one more or one less than it should."""
    if not found:
        return []
    low, high = min(found), max(found)
    for other in (first - 1, first + 1):
        shifted = (low, high) == (other, last + other - first) if other > first else low == other
        if shifted and high <= last + other - first:
            return [
                f"the labels of {file} run from {low} to {high}, wanted {first} to {last}: it "
                f"seems to count from {other}, not from {first}"
            ]
    return []


def named_label(
    text: str, *, order: tuple[str, ...], where: str, kind: str = "single"
) -> tuple[str | None, str]:
    """Turn a written label into a class, or into a compound of classes joined by `_`.

    Parameters
    ----------
    text : str
        `anger`, `Happy`, `fear_sadness`.
    order : tuple of str
        The classes there are.
    where : str
        For the message.
    kind : str
        `single` refuses compounds.

    Returns
    -------
    label : str or None
        Parts of a compound in the order of the classes, so that each has one spelling.
    fault : str
        Empty where there is a label.
    """
    known = known_labels(order)
    parts = [known.get(class_name(p)) for p in text.split("_")]
    if None in parts or not text.strip():
        return None, f"label must be one of {', '.join(order)}, got {text!r} ({where})"
    if len(set(parts)) < len(parts):
        return None, f"a class stands twice in label {text!r} ({where})"
    if kind == "single" and len(parts) > 1:
        return None, f"a single class is wanted, got {text!r} ({where}); kind: multiple reads those"
    return "_".join(sorted((p for p in parts if p), key=order.index)), ""


def label_parts(label: str, order: Sequence[str]) -> list[str]:
    """Return the classes that a label names: itself where `order` has it, else its parts."""
    return [label] if label in order else label.split("_")
