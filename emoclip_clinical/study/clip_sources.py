"""The labelled clips that a protocol names: a manifest, or a data set in a layout of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emoclip_clinical.core.datasets.config import ClipSource

if TYPE_CHECKING:
    from emoclip_clinical.core.datasets import ClipSet
    from emoclip_clinical.study.protocol import Study


def load_study_clips(study: Study, source: str | ClipSource, *, fold: int | None = None) -> ClipSet:
    """Read the clips of a source.

    Parameters
    ----------
    study : Study
        Paths of the source are relative to its folder.
    source : str or ClipSource
        A manifest's path, or a data set.
    fold : int, optional
        Of a data set with folds, instead of its own setting.

    Returns
    -------
    ClipSet

    Raises
    ------
    InputError
        See `load_clips`.
    """
    from emoclip_clinical.core.datasets import load_clips

    return load_clips(clip_source(source), folder=study.folder, fold=fold)


def study_folds(study: Study, source: str | ClipSource) -> tuple[int, ...]:
    """Return the folds of a source that are on the disk; none where it has no folds."""
    from emoclip_clinical.core.datasets import available_folds

    return available_folds(clip_source(source), folder=study.folder)


def clip_source(source: str | ClipSource) -> ClipSource:
    """Return a source as a data set; the path of a manifest is one of layout `manifest`."""
    if isinstance(source, ClipSource):
        return source
    path = Path(source)
    return ClipSource(layout="manifest", root=str(path.parent), annotations=path.name)
