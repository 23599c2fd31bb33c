"""What a study's protocol says of its ratings and features, read from its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from emoclip_clinical.records import FeatureTable, InputError, Ratings
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.ratings import read_ratings
from emoclip_clinical.regression.scales import Registry, load_scales
from emoclip_clinical.regression.scoring import RatingRules
from emoclip_clinical.study.left_out import left_out_segments, without_segments
from emoclip_clinical.study.protocol import Study
from emoclip_clinical.study.provenance import json_sha256, tree_sha256
from emoclip_clinical.study.target_folders import repeated_targets, target_folder


def study_scales(study: Study) -> Registry:
    """Return the shipped scales and those of the study's own files.

    Raises
    ------
    InputError
        With every fault of the files.
    """
    return load_scales([study.path(name) for name in study.protocol.data.scales])


def scale_hashes(study: Study) -> dict[str, str | None]:
    """Return the hash of the study's own scale files as an input; empty where it has none."""
    names = study.protocol.data.scales
    if not names:
        return {}
    return {"scales": json_sha256([tree_sha256(study.path(name)) for name in names])}


def result_folders(study: Study, root: Path | None = None) -> dict[str, Path]:
    """Return the folder of each target's result, by the target as it was asked for.

    Parameters
    ----------
    study : Study
    root : Path, optional
        Another results folder than the protocol's.
    """
    root = root or study.path(study.protocol.data.results)
    registry = study_scales(study)
    names = study.protocol.regression.targets
    return {name: root / target_folder(name, registry) for name in names}


def study_features(study: Study, path: Path) -> FeatureTable:
    """Read features as the protocol wants them, without the segments that it excludes.

    Raises
    ------
    InputError
        With every fault of the features, or of the exclusions; see `read_features` and
        `left_out_segments`.
    """
    config = study.protocol.regression
    left_out = left_out_segments(study, path)

    def amend(interviews: pd.DataFrame) -> pd.DataFrame:
        return without_segments(interviews, path, left_out.segments)

    table = read_features(
        path,
        columns=config.feature_columns,
        impute=config.impute,
        amend=amend if left_out.segments else None,
    )
    return replace(table, warnings=(*table.warnings, *left_out.warnings))


def study_targets(study: Study, path: Path) -> list[Ratings]:
    """Read every target of the protocol.

    Raises
    ------
    InputError
        With the faults of all of them, each once; and naming those that are the same target, or
        would be written to one folder.
    """
    config = study.protocol.regression
    registry = study_scales(study)
    rules = RatingRules(raters=config.raters, missing_items=config.missing_items)
    read: list[Ratings] = []
    faults: list[str] = []
    for target in config.targets:
        try:
            read.append(
                read_ratings(
                    path,
                    target=target,
                    where=config.where,
                    encoding=study.protocol.data.encoding,
                    registry=registry,
                    rules=rules,
                )
            )
        except InputError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    meant = [_meaning(rated) for rated in read]
    faults = faults or repeated_targets(config.targets, meant, registry)
    if faults:
        raise InputError(faults)
    return read


def _meaning(rated: Ratings) -> tuple[tuple[str, ...], bytes]:
    """Return what two spellings of one target share: the items, and the values made of them."""
    return tuple(sorted(rated.items)), rated.values.tobytes()
