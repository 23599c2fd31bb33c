"""Columns of the ratings that an analysis needs beside the target: sites and confounds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.config import SITE, RegressionConfig, site_columns
from emoclip_clinical.regression.confounds import complete_rows
from emoclip_clinical.regression.design import Design
from emoclip_clinical.regression.encoding import EncodedCovariates, encode_covariates
from emoclip_clinical.regression.flow import MISSING_CONFOUND, flow_table
from emoclip_clinical.regression.folds import blind_folds
from emoclip_clinical.regression.labels import label_of
from emoclip_clinical.regression.missing_codes import code_warning, far_codes
from emoclip_clinical.regression.nested_ridge import subset
from emoclip_clinical.regression.subgroups import level_fault


def sites_of(design: Design, config: RegressionConfig) -> tuple[str, ...] | None:
    """Return the site of each visit; None where the analysis knows no sites.

    Raises
    ------
    InputError
        If the column is not there, or a visit has no value in it.
    """
    name = config.site or (SITE if leaves_sites_out(config) else None)
    if name is None:
        return None
    if name not in design.covariates:
        raise InputError(f"site: {_absent(name, design.covariates)}")
    column = design.covariates[name]
    missing = int(column.isna().sum())
    if missing:
        raise InputError(f"site: {missing} of {len(column)} visits have no value in {name!r}")
    return tuple(map(label_of, column.tolist()))


def check_subgroups(design: Design, config: RegressionConfig) -> None:
    """Refuse subgroups that can not be made, before the long work.

    Raises
    ------
    InputError
        With every name that is no column, or is a category with too many different values.
    """
    columns = [str(c) for c in design.covariates.columns]
    faults = [
        f"subgroups: {_absent(name, design.covariates)}"
        if name not in columns
        else level_fault(design.covariates[name], name=name, is_category=is_site(name, config))
        for name in config.subgroups
    ]
    if any(faults):
        raise InputError(fault for fault in faults if fault)


def with_confounds(design: Design, config: RegressionConfig) -> tuple[Design, np.ndarray]:
    """Return the visits that have every confound to be removed, and these as numbers.

    Returns
    -------
    Design
        The same rows where nothing is to be removed; a warning names confounds that seem to hold
        codes of missing values.
    ndarray of shape (n_visits, n_confounds)
        No columns where nothing is to be removed.

    Raises
    ------
    InputError
        With every fault of the columns.
    """
    none = np.empty((len(design.y), 0))
    if not config.confounds:
        return design, none
    shared = [n for n in config.confounds if _places(n, design.covariates)]
    if shared:
        raise InputError([f"confound {n!r}: {_absent(n, design.covariates)}" for n in shared])
    # Also where they are only compared: a mistake in a name is told before the long work.
    encoded = encoded_confounds(design, config)
    told = covariate_code_warnings(design, config, names=config.confounds)
    design = replace(design, warnings=(*design.warnings, *told))
    if not config.remove_confounds:
        return design, none
    rows = encoded.complete
    return (design if rows.all() else _without(design, rows)), encoded.values[rows]


def check_confounds(
    design: Design, config: RegressionConfig, *, seed: int, sites: tuple[str, ...] | None
) -> None:
    """Refuse confounds that too few visits have to be compared with the video.

    Raises
    ------
    InputError
        See `complete_rows`.
    """
    if config.confounds:
        fold = blind_folds(design.subjects, config=config, seed=seed, y=design.y, sites=sites)
        complete_rows(design, encoded_confounds(design, config), fold=fold, config=config)


def encoded_confounds(design: Design, config: RegressionConfig) -> EncodedCovariates:
    """Return the confounds of the config as numbers.

    Raises
    ------
    InputError
        With every fault of the columns, and for sites where each is left out once.
    """
    left_out = [name for name in config.confounds if is_left_out(name, config)]
    if left_out:
        raise InputError(
            f"{left_out[0]!r} can not be a confound with leave_one_site_out: of the site that is "
            "left out no training visit tells anything"
        )
    return encode_covariates(
        design.covariates,
        names=config.confounds,
        forbidden=(*design.items, design.target),
        categories=site_columns(config),
    )


def covariate_code_warnings(
    design: Design, config: RegressionConfig, *, names: Iterable[str]
) -> list[str]:
    """Name the covariates that seem to hold codes of missing values.

    Parameters
    ----------
    design : Design
    config : RegressionConfig
        Says which columns hold sites: their numbers are categories.
    names : iterable of str
        Columns of the design's covariates; text is passed over.
    """
    warnings = []
    for name in names:
        column = design.covariates[name]
        if not pd.api.types.is_numeric_dtype(column):
            continue
        values = column.to_numpy(dtype=np.float64)
        far = far_codes(values)
        if far.any():
            place = "1 visit" if far.sum() == 1 else f"{far.sum()} visits"
            taken_as = "site" if is_site(name, config) else "number"
            warnings.append(code_warning(name, values, far, place=place, taken_as=taken_as))
    return warnings


def leaves_sites_out(config: RegressionConfig) -> bool:
    """Say whether each site is left out once."""
    return config.cv == "leave_one_site_out"


def is_left_out(name: str, config: RegressionConfig) -> bool:
    """Say whether a column holds the sites of which each is left out once."""
    return leaves_sites_out(config) and is_site(name, config)


def is_site(name: str, config: RegressionConfig) -> bool:
    """Say whether a column holds sites, in any case; see `site_columns`."""
    return name.casefold() in map(str.casefold, site_columns(config))


def _absent(name: str, covariates: pd.DataFrame) -> str:
    """Say why a name is no column: several files have it, or none."""
    places = _places(name, covariates)
    if places:
        return f"{name!r} stands in several files: write {' or '.join(places)}"
    near = difflib.get_close_matches(name, [str(c) for c in covariates.columns], n=4)
    return f"there is no rating column {name!r}" + (
        f"; near names: {', '.join(near)}" if near else ""
    )


def _places(name: str, covariates: pd.DataFrame) -> list[str]:
    """Return the columns ``<file>.<name>`` of a name that is no column by itself."""
    columns = [str(c) for c in covariates.columns]
    return [] if name in columns else [c for c in columns if c.endswith(f".{name}")]


def _without(design: Design, rows: np.ndarray) -> Design:
    """Keep some visits, the others excluded for lack of a confound."""
    kept, lost = subset(design, rows), design.keys[~rows].drop_duplicates()
    gone = lost.assign(stage=MISSING_CONFOUND, reason="a confound to be removed is missing")
    excluded = pd.concat([design.excluded, gone], ignore_index=True)
    ids = design.rater_ids
    return replace(
        kept,
        excluded=excluded,
        flow=flow_table(kept.keys, excluded),
        prorated=None if design.prorated is None else design.prorated[rows],
        rater_ids=None if ids is None else tuple(ids[i] for i in np.flatnonzero(rows)),
        warnings=(
            *design.warnings,
            f"{len(lost)} visits without a value in every confound are left out",
        ),
    )
