"""The text that stands for a value of a column: sites, categories, levels of subgroups."""

from __future__ import annotations


def label_of(value: object) -> str:
    """Return the text of a value; different values have different texts.

    Tables hold every number as a float, codes of sites too: whole ones are written as integers.

    >>> label_of(2.0), label_of(2.5), label_of(-0.0), label_of(1100001.0), label_of("Bonn")
    ('2', '2.5', '0', '1100001', 'Bonn')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else repr(float(value))
