"""Names of many tensors in few lines; no torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable


def compact_names(names: Iterable[str]) -> list[str]:
    """Fold names that differ in numbers alone into one, with how many they are.

    Parameters
    ----------
    names : iterable of str
        Of tensors, as in a state dict.

    Returns
    -------
    list of str
        In the order in which each form first occurs.

    Examples
    --------
    >>> compact_names(["a.0.weight", "a.1.weight", "b"])
    ['a.*.weight (2)', 'b']
    """
    counts: dict[str, int] = {}
    for name in names:
        form = re.sub(r"\.\d+(?=\.)", ".*", name)
        counts[form] = counts.get(form, 0) + 1
    return [f"{form} ({n})" if n > 1 else form for form, n in counts.items()]
