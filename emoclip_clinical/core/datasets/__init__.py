"""Labelled clips of the data sets that the field uses, each in its own layout."""

from emoclip_clinical.core.datasets.clip_set import ClipSet
from emoclip_clinical.core.datasets.config import ClipSource
from emoclip_clinical.core.datasets.loading import available_folds, load_clips
from emoclip_clinical.core.datasets.validation import cut_validation

__all__ = ["ClipSet", "ClipSource", "available_folds", "cut_validation", "load_clips"]
