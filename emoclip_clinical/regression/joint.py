"""Targets that one network learns together: each target's design with the ratings of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from emoclip_clinical.regression.design import Design

ALONE_WARNING = (
    "segment_models.joint: there is no other target to learn with, so the target is learnt alone"
)


def learnt_together(designs: Sequence[Design]) -> list[Design]:
    """Return the designs, each with the other targets' ratings of its own rows.

    Parameters
    ----------
    designs : sequence of Design
        Of different targets.

    Returns
    -------
    list of Design
        With `others`; a single one gets a warning instead.
    """
    if len(designs) < 2:
        return [replace(d, warnings=(*d.warnings, ALONE_WARNING)) for d in designs]
    rated = [pd.Series(d.y, index=_rows(d)) for d in designs]
    return [
        replace(
            design,
            others=pd.DataFrame(
                {
                    other.target: ratings.reindex(_rows(design)).to_numpy()
                    for other, ratings in zip(designs, rated, strict=True)
                    if other is not design
                }
            ),
        )
        for design in designs
    ]


def _rows(design: Design) -> pd.MultiIndex:
    """Name each row: a visit, or one rater's of a visit."""
    raters = design.rater_ids or ("",) * len(design.y)
    return pd.MultiIndex.from_frame(design.keys.assign(rater=raters))
