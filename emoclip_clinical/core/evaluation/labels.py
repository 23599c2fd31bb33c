"""Labels of clips as classes: single ones, and compounds whose components are joined by `_`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def parts_of(label: str, singles: Sequence[str]) -> tuple[str, ...] | None:
    """Return the single classes of a label, in the order of `singles`.

    A label that is itself a single class stays one, whatever underscores it holds.

    Parameters
    ----------
    label : str
        `fear` or `fear_sadness`, in any order of the components.
    singles : sequence of str
        Names of the single classes.

    Returns
    -------
    tuple of str, or None
        None where the label can not be read as classes of `singles`.

    Examples
    --------
    >>> parts_of("sadness_fear", ["fear", "mild_joy", "sadness"])
    ('fear', 'sadness')
    >>> parts_of("mild_joy", ["fear", "mild_joy", "sadness"])
    ('mild_joy',)
    """
    if label in singles:
        return (label,)
    found: set[str] = set()
    words = label.split("_")
    while words:
        # The longest name that fits comes first, for classes that hold an underscore themselves.
        for length in range(len(words), 0, -1):
            if "_".join(words[:length]) in singles:
                found.add("_".join(words[:length]))
                words = words[length:]
                break
        else:
            return None
    return tuple(s for s in singles if s in found) or None


def compound_classes(
    labels: Iterable[str], singles: Sequence[str], *, named: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return every combination among labels, with its components.

    Parameters
    ----------
    labels : iterable of str
        What clips are labelled with; single and unknown labels are passed over.
    singles : sequence of str
        Names of the single classes.
    named : mapping of str to tuple of str
        Names that are wanted for combinations; others are called by their components, in the
        order of `singles`, joined by `_`.

    Returns
    -------
    dict of str to tuple of str
        Sorted by number of components, then by the order of `singles`.
    """
    names = {frozenset(parts): name for name, parts in named.items()}
    found = {parts for label in labels if (parts := parts_of(label, singles)) and len(parts) > 1}
    place = {single: i for i, single in enumerate(singles)}
    ordered = sorted(found, key=lambda parts: (len(parts), [place[p] for p in parts]))
    return {names.get(frozenset(parts), "_".join(parts)): parts for parts in ordered}
