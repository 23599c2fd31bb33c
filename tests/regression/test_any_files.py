"""Whatever stands in the files: an InputError that says why, or numbers without a silent NaN."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import join
from emoclip_clinical.regression.features import read_features
from emoclip_clinical.regression.ratings import read_ratings, validate_ratings
from emoclip_clinical.regression.scoring import RatingRules

HUNDRED = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TARGETS = (
    "negative_symptoms",
    "N1",
    "N1+N2",
    "mood",
    "percent_change(panss.N1)",
    "marder_negative",
)

cells = st.one_of(
    st.integers(-2, 9).map(str),
    st.floats(width=16).map(repr),
    st.floats().map(repr),
    st.sampled_from(["", "n/a", "NaN", "inf", "-inf", "1e400", "1,5", "x", " 3 ", "3.0", "é", '"']),
    st.text(max_size=4),
)
names = st.one_of(
    st.sampled_from(["a", "b", "c", "d", "sub-a", "007", "7"]), st.text(max_size=3), st.just("")
)
sessions = st.sampled_from(["1", "2", "ses-1", "baseline", "", "n/a", "a b"])
columns = st.lists(
    st.sampled_from([*(f"N{k}" for k in range(1, 8)), "n1", "G7", "G16", "mood", "", "age"]),
    max_size=11,
    unique=True,
)


@st.composite
def tables(draw, value=cells, extra=("session_id", "rater_id")):
    """Text of a table: keys that are mostly there, other columns, ragged rows now and then."""
    keys = ["participant_id"] * draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
    keys += [name for name in extra if draw(st.booleans())]
    header = keys + draw(columns)
    delimiter = draw(st.sampled_from([",", ";", "\t"]))
    lines = [delimiter.join(header)]
    for _ in range(draw(st.integers(0, 14))):
        row = [
            draw(names if name == "participant_id" else sessions if name == "session_id" else value)
            for name in header
        ]
        if draw(st.integers(0, 40)) == 0:
            row = row[: draw(st.integers(0, len(row)))]
        lines.append(delimiter.join(row))
    text = draw(st.sampled_from(["", "\ufeff"])) + draw(st.sampled_from(["\n", "\r\n"])).join(lines)
    return text.encode("utf-8", "surrogatepass")


DIRT = ["", "n/a", "9", "0", "2.5", "x", "inf", "nan", "1,5", '"', "1e400", "é", "1e160"]
LARGEST_EXPONENTS = (0, 0, 3, 49, 310)
"""Powers of ten, up or down, that spread a tidy table's numbers; the last can not be read."""

ITEMS = tuple(f"N{k}" for k in range(1, 8))


@st.composite
def nearly_tidy(draw, numbers=(*ITEMS, "mood", "age"), least=1, most=16):
    """Text of a table as people make them: mostly in order, with a share of dirty cells."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dirt = draw(st.sampled_from([0.0, 0.0, 0.01, 0.1]))
    wide = draw(st.sampled_from(LARGEST_EXPONENTS))
    n_visits, n_raters = draw(st.sampled_from([0, 1, 2])), draw(st.sampled_from([0, 1, 2]))
    chosen = draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    chosen += [name for name in numbers if name not in chosen and draw(st.booleans())]
    keys = ["participant_id"] + ["session_id"] * bool(n_visits) + ["rater_id"] * bool(n_raters)
    lines = [",".join([*keys, *chosen])]
    for subject in range(draw(st.integers(least, most))):
        for visit in range(max(n_visits, 1)):
            for rater in range(max(n_raters, 1)):
                named = [str(subject), f"ses-{visit}", f"r{rater}"]
                row = [n for n, has in zip(named, (1, n_visits, n_raters), strict=True) if has]
                row += [
                    f"{v}e{rng.integers(-wide, wide + 1)}" if wide and name not in ITEMS else str(v)
                    for name, v in zip(chosen, rng.integers(1, 8, len(chosen)), strict=True)
                ]
                dirty = rng.random(len(row)) < dirt
                lines.append(
                    ",".join(
                        str(rng.choice(DIRT)) if d else cell
                        for cell, d in zip(row, dirty, strict=True)
                    )
                )
    return "\n".join(lines).encode()


FEW = RegressionConfig(folds=2, inner_folds=2, repeats=2, permutations=3, bootstrap=100)
FEATURES = ("f1", "f2", "f3", "N1", "smile", "n2")


def check_messages(error):
    assert error.faults
    assert all(fault.strip() for fault in error.faults)


def clean(values):
    return bool(np.isfinite(np.asarray(values, dtype=float)).all())


@HUNDRED
@given(
    content=st.one_of(nearly_tidy(), nearly_tidy(), tables(), st.binary(max_size=60)),
    target=st.sampled_from(TARGETS),
    raters=st.sampled_from(["mean", "first", "repeated"]),
    missing=st.sampled_from(["complete", "prorate"]),
    suffix=st.sampled_from(["csv", "csv", "csv", "csv", "tsv", "xlsx", "parquet"]),
)
def test_any_ratings_file(content, target, raters, missing, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"ratings.{suffix}"
        path.write_bytes(content)
        assert all(isinstance(fault, str) for fault in validate_ratings(path))
        try:
            ratings = read_ratings(
                path, target=target, rules=RatingRules(raters=raters, missing_items=missing)
            )
        except InputError as error:
            check_messages(error)
            return
    event("read")
    assert clean(ratings.values)
    assert len(ratings.keys) == len(ratings.values) == len(ratings.covariates) > 0
    assert raters == "repeated" or not ratings.keys.duplicated().any()
    assert (ratings.excluded["reason"] != "").all()
    if ratings.minimum is not None:
        assert (ratings.values >= ratings.minimum).all()
        assert (ratings.values <= ratings.maximum).all()


@HUNDRED
@given(
    content=st.one_of(nearly_tidy(FEATURES), tables(extra=("session_id",))),
    impute=st.sampled_from(["none", "median"]),
)
def test_any_feature_table(content, impute):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.csv"
        path.write_bytes(content)
        try:
            features = read_features(path, impute=impute)
        except InputError as error:
            check_messages(error)
            return
    event("read")
    assert len(features.keys) == len(features.values) > 0
    assert impute == "median" or clean(features.values)
    assert not features.values.isna().all(axis=1).any()
    assert not np.isinf(features.values.to_numpy()).any()


@HUNDRED
@given(
    left=nearly_tidy(("f1", "f2", "f3", "smile"), least=6, most=26),
    right=nearly_tidy(("N1", "mood", "age"), least=6, most=26),
    target=st.sampled_from(["N1", "mood"]),
    model=st.sampled_from(["ridge", "ridge", "kernel_ridge", "svr"]),
)
def test_any_pair_of_them(left, right, target, model):
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "features.csv", Path(folder) / "ratings.csv"
        one.write_bytes(left)
        other.write_bytes(right)
        try:
            design = join(read_features(one), read_ratings(other, target=target))
        except InputError as error:
            check_messages(error)
            return
    event("read")
    assert clean(design.X)
    assert clean(design.y)
    assert clean(design.weights)
    check_estimate(design, FEW.model_copy(update={"model": model}))
    shares = np.bincount(design.subjects, weights=design.weights)
    np.testing.assert_allclose(shares, 1)


def check_estimate(design, config):
    try:
        found = estimate(design, config=config, seed=0)
    except InputError as error:
        check_messages(error)
        return
    event("estimated")
    assert clean(found.cross_validation.predicted)
    assert clean(found.cross_validation.baseline)
    numbers = [v for v in asdict(found.metrics).values() if v is not None]
    assert clean(numbers)
    assert found.p_permutation is None or 0 < found.p_permutation <= 1
