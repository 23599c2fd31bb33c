"""What a target's name means: a score of a scale, an item, a sum written out, or a column."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.likeness import columns_like
from emoclip_clinical.regression.scales import Registry, Scale, scales

_CHANGE = re.compile(r"percent_change\((.*)\)")


@dataclass(frozen=True)
class Target:
    """What is to be estimated: a score of columns of a ratings table.

    Attributes
    ----------
    name : str
        Qualified name (``panss.negative_symptoms``, ``panss.N1``) or the column's own name;
        ``percent_change(<name>)`` for the change since a subject's first visit.
    items : tuple of str
        Codes of the items that count; one for an item or a plain column.
    scale : Scale or None
        The scale that all items belong to; None for a plain column, and for items of several.
    score : {'sum', 'mean'}
        Whether the items are added or averaged.
    minus : tuple of str
        Those of `items` that are subtracted.
    is_change : bool
        Whether it is the per cent change since a subject's first visit.
    columns : tuple of str
        Columns of the table that hold the items, in their order.
    item_scales : tuple of Scale or None
        The scale of each item where they have not one in common; else empty.
    """

    name: str
    items: tuple[str, ...]
    scale: Scale | None = None
    score: Literal["sum", "mean"] = "sum"
    minus: tuple[str, ...] = ()
    is_change: bool = False
    columns: tuple[str, ...] = ()
    item_scales: tuple[Scale | None, ...] = ()

    @property
    def scales(self) -> tuple[Scale | None, ...]:
        """The scale of each item, in their order; None for a plain column."""
        return self.item_scales or (self.scale,) * len(self.items)

    @property
    def minimum(self) -> float | None:
        """Lowest possible value; None where an item has no known scale, and for a change."""
        return self._bound(lowest=True)

    @property
    def maximum(self) -> float | None:
        """Highest possible value; None as for `minimum`, but a change is at most 100."""
        return 100.0 if self.is_change else self._bound(lowest=False)

    @property
    def floor(self) -> float | None:
        """The score of someone without any symptom: k times the lowest item value for k items.

        None where no scale is known, and for a difference of scores, which has no floor.
        """
        if self.scale is None or self.minus:
            return None
        return float(self.scale.item_minimum * (len(self.items) if self.score == "sum" else 1))

    @property
    def visible_items(self) -> tuple[str, ...]:
        """Items that a face can show, at least partly; a plain column is none."""
        return tuple(
            item
            for item, scale in zip(self.items, self.scales, strict=True)
            if scale is not None and scale.item(item).face != "not_visible"
        )

    def _bound(self, *, lowest: bool) -> float | None:
        if self.is_change:
            return None
        total = 0
        for item, scale in zip(self.items, self.scales, strict=True):
            if scale is None:
                return None
            low, high = scale.item_minimum, scale.item_maximum
            added, subtracted = (low, high) if lowest else (high, low)
            total += -subtracted if item in self.minus else added
        return float(total / len(self.items) if self.score == "mean" else total)


def target_names(registry: Registry | None = None) -> tuple[str, ...]:
    """Return every qualified name of the registry, scores before items within a scale."""
    return tuple(t.name for t in _targets(registry))


def short_name(name: str, registry: Registry | None = None) -> str:
    """Return the shortest spelling of a target's name, the same for all of its spellings.

    Parameters
    ----------
    name : str
        As for `resolve_target`; what is no name of the registry stays as it is.
    registry : mapping of str to Scale, optional
        The known scales; the shipped ones by default.

    Returns
    -------
    str
        Without its scale where no other scale has the name, in the registry's capitals.

    Examples
    --------
    >>> short_name("panss.negative_symptoms"), short_name("n1+N3"), short_name("bnss.total")
    ('negative_symptoms', 'N1+N3', 'bnss.total')
    """
    changing = _CHANGE.fullmatch(name.strip())
    if changing:
        return f"percent_change({short_name(changing.group(1), registry)})"
    targets = _targets(registry)
    return "+".join(_short_part(part.strip(), targets) for part in name.split("+"))


def _short_part(name: str, targets: Sequence[Target]) -> str:
    wanted = name.casefold()
    alike = [t for t in targets if _bare(t).casefold() == wanted.rpartition(".")[2]]
    meant = [t for t in alike if t.name.casefold() == wanted]
    if not meant and "." not in name:
        meant = [t for t in alike if _is_short(t)] or alike
    if len(meant) != 1:
        return name
    (target,) = meant
    return _bare(target) if len(alike) == 1 or _is_short(target) else target.name


def _bare(target: Target) -> str:
    return target.name.partition(".")[2]


def resolve_target(
    name: str,
    columns: Iterable[str],
    *,
    registry: Registry | None = None,
    qualified: Mapping[str, str] | None = None,
    ambiguous: Mapping[str, Sequence[str]] | None = None,
) -> Target:
    """Return what a target's name means in a table with these columns.

    Upper and lower case of item codes are told apart only where the table has both: what is written
    as in the registry is the item then, and the other spelling is refused as a target.

    Parameters
    ----------
    name : str
        A name of the registry (``panss.negative_symptoms``, ``marder_negative``, ``N1``), a sum
        of items or columns (``N1+N3+N6``), any column, or ``percent_change(...)`` of one of them
        that belongs to a scale.
    columns : iterable of str
        Columns of the ratings table that may be a target (keys left out).
    registry : mapping of str to Scale, optional
        The known scales; the shipped ones by default.
    qualified : mapping of str to str, optional
        Own name of each of the columns that bears its file's name (``panss.N1``).
    ambiguous : mapping of str to sequence of str, optional
        Names that several files fill otherwise, with the qualified names to choose from.

    Raises
    ------
    InputError
        For an unknown name (with near ones), a bare name that several scales or files share,
        derived columns in a sum, or columns that the target needs and the table lacks.
    """
    table = _Columns(list(columns), qualified or {}, ambiguous or {})
    return _resolve(name.strip(), table, registry)


@dataclass(frozen=True)
class _Columns:
    names: Sequence[str]
    qualified: Mapping[str, str]
    ambiguous: Mapping[str, Sequence[str]]

    def places(self, item: str) -> Sequence[str]:
        """Columns that may be an item, since several files have it; none where it is certain."""
        alike = _alike(item, list(self.ambiguous))
        return self.ambiguous[alike[0]] if alike else ()


def _resolve(name: str, table: _Columns, registry: Registry | None) -> Target:
    if name in table.ambiguous:
        choices = ", ".join(table.ambiguous[name])
        raise InputError(f"target {name!r} stands in several files: write one of {choices}")
    changing = _CHANGE.fullmatch(name)
    if changing and name not in table.names:
        return _change(_resolve(changing.group(1).strip(), table, registry))
    if "+" in name and name not in table.names:
        target = _sum_of([part.strip() for part in name.split("+")], table, registry)
    else:
        target = _single(name, table, registry)
    return _located(target, table)


def _targets(registry: Registry | None) -> list[Target]:
    found: list[Target] = []
    for scale in (registry or scales()).values():
        for s in scale.sums:
            qualified = f"{scale.name}.{s.name}"
            found.append(Target(qualified, (*s.items, *s.minus), scale, s.score, s.minus))
        found += [Target(f"{scale.name}.{code}", (code,), scale) for code in scale.codes]
    return found


def _single(name: str, table: _Columns, registry: Registry | None) -> Target:
    columns, targets = table.names, _targets(registry)
    if name in table.qualified:
        return _of_file(name, table.qualified[name], targets)
    wanted = name.casefold()
    qualified = [t for t in targets if t.name.casefold() == wanted]
    if qualified:
        return qualified[0]
    bare = [t for t in targets if _bare(t).casefold() == wanted]
    fixed = [t for t in bare if _is_short(t)]
    if fixed:
        return fixed[0]
    scores = [t for t in bare if len(t.items) > 1]
    if scores and name in columns:
        # A table's own column may be anything; only the user knows which of the two is meant.
        fitting = [t for t in scores if not _lacking(t, columns)]
        if not fitting:
            return Target(name, (name,))
        raise InputError(
            f"target {name!r} may mean the column or {', '.join(t.name for t in fitting)}: write "
            "the qualified name, or rename the column"
        )
    other = [t for t in bare if t.items[0] != name and t.items[0] in columns]
    if other and name in columns:
        raise InputError(
            f"target {name!r} may mean the column or {other[0].name}, which stands in column "
            f"{other[0].items[0]!r}: write that, or rename column {name!r}"
        )
    if len(bare) > 1:
        raise InputError(
            f"target {name!r} may mean {', '.join(t.name for t in bare)}: write one of them"
        )
    if bare:
        return bare[0]
    if name in columns:
        return Target(name, (name,))
    raise InputError(f"target {name!r} is unknown{_near(name, columns, targets)}")


def _of_file(name: str, own: str, targets: Sequence[Target]) -> Target:
    """Return what a column is that bears its file's name: an item where only one has its name."""
    items = [t for t in targets if len(t.items) == 1 and t.items[0].casefold() == own.casefold()]
    of_scale = [t for t in items if t.name.casefold() == name.casefold()]
    if of_scale or len(items) == 1:
        item = (of_scale or items)[0]
        return replace(item, name=item.name if of_scale else name, columns=(name,))
    return Target(name, (name,))


def _is_short(target: Target) -> bool:
    scale, name = target.scale, _bare(target)
    return scale is not None and any(s.short and s.name == name for s in scale.sums)


def _sum_of(parts: list[str], table: _Columns, registry: Registry | None) -> Target:
    spelled = "+".join(parts)
    targets = [_single(part, table, registry) for part in parts if part]
    named = [(t.columns or t.items)[0].casefold() for t in targets]
    if len(targets) < len(parts) or len(set(named)) < len(named):
        raise InputError(f"target {spelled!r}: each item may stand once, and none be empty")
    sums = [t.name for t in targets if len(t.items) > 1]
    if sums:
        raise InputError(f"target {spelled!r}: only items can be added, got {sums[0]}")
    items = tuple(t.items[0] for t in targets)
    derived = _derived(registry)
    repeating = [t.name for t in targets if t.scale is None and t.name.casefold() in derived]
    if repeating:
        raise InputError(
            f"target {spelled!r}: {', '.join(repeating)} is derived from items and is not added"
        )
    scale = targets[0].scale
    chosen = tuple(t.columns[0] if t.columns else "" for t in targets)
    if scale is None or any(t.scale is not scale for t in targets):
        of = tuple(t.scale for t in targets)
        return Target("+".join(items), items, columns=chosen, item_scales=of)
    name = (
        f"{scale.name}.{'+'.join(items)}" if not any(chosen) else "+".join(t.name for t in targets)
    )
    return Target(name, items, scale, columns=chosen)


def _derived(registry: Registry | None) -> set[str]:
    return {d.casefold() for scale in (registry or scales()).values() for d in scale.derived}


def _change(target: Target) -> Target:
    if target.floor is None:
        why = "it subtracts items" if target.minus else "it belongs to no scale"
        raise InputError(
            f"target percent_change({target.name}): a change in per cent needs the score of "
            f"someone without symptoms, and {target.name} has none ({why})"
        )
    return replace(target, name=f"percent_change({target.name})", is_change=True)


def _located(target: Target, table: _Columns) -> Target:
    """Find the items' columns, and refuse the target where one is missing or not certain."""
    faults: list[str] = []
    found: list[str] = []
    chosen = target.columns or ("",) * len(target.items)
    for item, scale, column in zip(target.items, target.scales, chosen, strict=True):
        alike = [column] if column else _alike(item, table.names)
        places = () if column else table.places(item)
        if places:
            more = "" if len(target.items) == 1 else ", or give one file alone as the ratings"
            faults.append(
                f"target {target.name}: column {item!r} stands in several files: write one of "
                f"{', '.join(places)}{more}"
            )
        elif not alike:
            faults.append(
                f"target {target.name}: column {item!r} is missing from the ratings"
                f"{_resembling(item, scale, table.names)}"
            )
        elif len(alike) > 1:
            faults.append(f"target {target.name}: {' and '.join(alike)} may both be item {item}")
        found += alike[:1]
    if faults:
        raise InputError(faults)
    return replace(target, columns=tuple(found))


def _lacking(target: Target, columns: Sequence[str]) -> list[str]:
    return [item for item in target.items if not _alike(item, columns)]


def _alike(item: str, columns: Sequence[str]) -> list[str]:
    if item in columns:
        return [item]
    return [c for c in columns if c.casefold() == item.casefold()]


def _resembling(item: str, scale: Scale | None, columns: Sequence[str]) -> str:
    like = [] if scale is None else columns_like(item, scale, columns)
    return f"; {' and '.join(map(repr, like))} may be it: rename it to {item!r}" if like else ""


def _near(name: str, columns: Sequence[str], targets: Sequence[Target]) -> str:
    bare = [_bare(t) for t in targets]
    known = [*bare, *(t.name for t in targets), *columns]
    by_fold = {k.casefold(): k for k in reversed(known)}
    near = [by_fold[k] for k in difflib.get_close_matches(name.casefold(), by_fold, n=4)]
    if near:
        return f"; near names: {', '.join(near)}"
    return f"; known are {', '.join(known[:4])} ... and the numeric columns of the ratings"
