"""Columns that look like an item of a scale and are spelled otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from emoclip_clinical.regression.scales import Scale


def columns_like(item: str, scale: Scale, columns: Iterable[str]) -> list[str]:
    """Return the columns that are an item's code but for punctuation and the scale's name.

    Parameters
    ----------
    item : str
        Code of the item.
    scale : Scale
    columns : iterable of str

    Returns
    -------
    list of str
        ``CGI-S`` for item ``CGI_S``, ``PANSS_N01`` for item ``N1`` of the PANSS.
    """
    wanted = _spellings(item, scale)
    return [column for column in columns if _plain(column) in wanted]


def items_like(column: str, registry: Mapping[str, Scale]) -> list[tuple[Scale, str]]:
    """Return the items, with their scales, that a column is but for punctuation and scale's name.

    Parameters
    ----------
    column : str
    registry : mapping of str to Scale
    """
    plain = _plain(column)
    return [
        (scale, code)
        for scale in registry.values()
        for code in scale.codes
        if plain in _spellings(code, scale)
    ]


def _spellings(item: str, scale: Scale) -> set[str]:
    code = _plain(item)
    return {code, _plain(scale.name) + code, _plain(scale.family or "") + code}


def _plain(name: str) -> str:
    letters = re.sub(r"[^0-9a-z]", "", name.casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", letters)
