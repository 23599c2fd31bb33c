"""Moments: each equals estimating again without the segment, by models that have not seen it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.features.repooling import open_pooled_folder
from emoclip_clinical.records import InterviewKey
from emoclip_clinical.study.protocol import open_study
from emoclip_clinical.study.regress import TargetResult, run_regress

KEYS = [InterviewKey(f"sub-{i:02d}") for i in range(15)]
KEYS += [InterviewKey("sub-20", "", run) for run in (1, 2)]
QUICK = (
    "{targets: [score], folds: 3, inner_folds: 3, repeats: 2, permutations: 0, bootstrap: 0, "
    "moments: 2, feature_columns: [mean_cosine*, sd_*], MORE}"
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, write_features: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_features(folder / "features", interviews=KEYS, n_segments=5)
    table = pd.read_parquet(folder / "features" / "interviews.parquet")
    level = table.groupby("participant_id")["mean_cosine_basic__sad"].mean()
    rng = np.random.default_rng(0)
    ratings = pd.DataFrame({"participant_id": level.index})
    ratings["score"] = 3 * level.to_numpy() + 0.3 * rng.normal(size=len(level))
    ratings.to_csv(folder / "ratings.csv", index=False)
    return folder


def run(study: Path, **more: object) -> TargetResult:
    text = ", ".join(f"{key}: {value}" for key, value in more.items())
    settings = QUICK.replace(", MORE", f", {text}" if more else "")
    (study / "protocol.yaml").write_text(f"regression: {settings}\n")
    (result,) = run_regress(open_study(study))
    return result


@pytest.fixture(scope="module")
def first(study: Path) -> tuple[TargetResult, bytes]:
    """A result, and its moments before another one takes their place."""
    result = run(study)
    return result, (result.folder / "moments.csv").read_bytes()


def estimate_by_hand(result: TargetResult, row: int, features: np.ndarray) -> float:
    """Fit ridge with scikit-learn on the training rows of each repeat; the row held out."""
    design, cv = result.estimate.design, result.estimate.cross_validation
    folds = len(cv.chosen) // len(cv.fold)
    found = []
    for repeat, fold in enumerate(cv.fold):
        train = fold != fold[row]
        alpha = cv.chosen[repeat * folds + fold[row]]["alpha"]
        scaler = StandardScaler().fit(design.X[train])
        model = Ridge(alpha=alpha).fit(scaler.transform(design.X[train]), design.y[train])
        found.append(model.predict(scaler.transform(features[np.newaxis]))[0])
    return float(np.mean(found))


def features_without(
    study: Path, names: list[str], left_out: dict[str, set[int]], columns
) -> np.ndarray:
    """Pool a visit again, the slow way."""
    folder = open_pooled_folder(study / "features")
    rows, weights = [], []
    for name in names:
        gone = left_out.get(name, set())
        segments = folder.segments(name, left_out=gone)
        pooled = folder.pool(segments.scored)
        rows.append([pooled[c] for c in columns])
        weights.append(len(segments.onset))
    by_column = np.array(rows, dtype=float).T
    there = ~np.isnan(by_column)
    return np.array(
        [
            np.average(column[t], weights=np.array(weights)[t])
            for column, t in zip(by_column, there, strict=True)
        ]
    )


def test_influence_is_the_change_of_the_held_out_estimate(
    study: Path, first: tuple[TargetResult, bytes]
) -> None:
    result, content = first
    design = result.estimate.design
    table = pd.read_csv(io.BytesIO(content), keep_default_na=False)
    assert list(table) == [
        "participant_id", "session_id", "interview", "segment", "onset", "duration",
        "face_coverage", "influence", "rank",
    ]  # fmt: skip
    assert table.groupby("interview")["rank"].apply(list).tolist() == [[1, 2]] * len(KEYS)
    for person, names in (("sub-03", ["sub-03"]), ("sub-20", ["sub-20_run-1", "sub-20_run-2"])):
        row = design.keys["participant_id"].tolist().index(person)
        whole = features_without(study, names, {}, design.feature_names)
        np.testing.assert_allclose(whole, design.X[row])
        estimate = estimate_by_hand(result, row, whole)
        predicted = result.estimate.cross_validation.predicted[:, row].mean()
        assert estimate == pytest.approx(predicted)
        for name in names:
            changes = [
                estimate
                - estimate_by_hand(
                    result, row, features_without(study, names, {name: {k}}, design.feature_names)
                )
                for k in range(5)
            ]
            order = np.argsort(-np.abs(changes))[:2]
            mine = table[table["interview"] == name]
            assert mine["segment"].tolist() == order.tolist()
            assert mine["onset"].tolist() == [2.0 * k for k in order]
            np.testing.assert_allclose(mine["influence"], np.array(changes)[order], rtol=1e-6)


def test_a_model_that_is_not_linear_has_moments_too(study: Path) -> None:
    result = run(study, model="kernel_ridge")
    assert len(pd.read_csv(result.folder / "moments.csv")) == 2 * len(KEYS)


def test_visits_that_only_the_ratings_name_and_rows_that_drop_out(
    study: Path, first: tuple[TargetResult, bytes]
) -> None:
    whole = pd.read_csv(io.BytesIO(first[1]))
    ratings = study / "ratings.csv"
    before = ratings.read_text()
    table = pd.read_csv(ratings).assign(session_id="ses-1")
    table.loc[2, "score"] = np.nan
    table.to_csv(ratings, index=False)
    try:
        result = run(study)
    finally:
        ratings.write_text(before)
    keys = result.estimate.design.keys
    made = pd.read_csv(result.folder / "moments.csv")
    assert set(made["session_id"]) == {"ses-1"}
    assert sorted(set(made["participant_id"])) == keys["participant_id"].tolist()
    lost = set(whole["participant_id"]) - set(made["participant_id"])
    assert lost == {table["participant_id"][2]}
    for _, rows in made.groupby("interview"):
        assert set(rows["participant_id"]) == {rows["interview"].iloc[0].split("_")[0]}


def test_a_second_recording_without_a_usable_segment_changes_nothing(
    study: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(study, tmp_path / "study", ignore=shutil.ignore_patterns("res*")))
    gone = "sub-20_run-2"

    def rewrite(name: str, change: Callable[[pd.DataFrame, pd.Series], pd.DataFrame]) -> None:
        path = folder / "features" / name
        schema = pq.read_schema(path)
        table = pd.read_parquet(path)
        table = change(table, table["interview"] == gone)
        pq.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False), path)

    rewrite("embeddings.parquet", lambda table, rows: table[~rows])
    rewrite("segments.parquet", lambda table, rows: table.assign(
        status=table["status"].mask(rows, "low_coverage")))  # fmt: skip
    pooled = open_pooled_folder(folder / "features").names
    rewrite("interviews.parquet", lambda table, rows: table.assign(
        n_ok=table["n_ok"].mask(rows, 0),
        **{name: table[name].mask(rows, np.nan) for name in pooled}))  # fmt: skip
    made = pd.read_csv(run(folder).folder / "moments.csv")
    assert set(made["interview"]) == {key.name for key in KEYS} - {gone}


def test_a_second_recording_of_one_segment_takes_nothing_away(study: Path, tmp_path: Path) -> None:
    """It has no standard deviation; that of the visit is the one of the other recording."""
    folder = Path(shutil.copytree(study, tmp_path / "study", ignore=shutil.ignore_patterns("res*")))
    names, short = ["sub-20_run-1", "sub-20_run-2"], "sub-20_run-2"
    marks = pd.DataFrame({"interview": short, "segment": range(1, 5), "reason": "somebody enters"})
    marks.to_csv(folder / "exclusions.csv", index=False)
    (folder / "protocol.yaml").write_text(
        f"regression: {QUICK.replace(', MORE', '')}\ndata: {{exclusions: exclusions.csv}}\n"
    )
    (result,) = run_regress(open_study(folder))
    design = result.estimate.design
    row = design.keys["participant_id"].tolist().index("sub-20")
    marked = {short: {1, 2, 3, 4}}
    whole = features_without(folder, names, marked, design.feature_names)
    np.testing.assert_allclose(whole, design.X[row])
    estimate = estimate_by_hand(result, row, whole)
    made = pd.read_csv(result.folder / "moments.csv").query("participant_id == 'sub-20'")
    assert made["interview"].tolist() == [names[0]] * 2 + [short]
    for moment in made.itertuples():
        gone = {**marked}
        gone[moment.interview] = gone.get(moment.interview, set()) | {moment.segment}
        left = [name for name in names if len(gone.get(name, ())) < 5]
        without = features_without(folder, left, gone, design.feature_names)
        change = estimate - estimate_by_hand(result, row, without)
        assert moment.influence == pytest.approx(change, rel=1e-6)


def test_the_same_study_gives_the_same_bytes_and_a_reason_takes_their_place(
    study: Path, first: tuple[TargetResult, bytes]
) -> None:
    path = run(study).folder / "moments.csv"
    assert path.read_bytes() == first[1]
    warnings = run(study, importance="false").estimate.warnings
    assert any(w.startswith("no moments: regression.importance is off") for w in warnings)
    assert not path.exists()
    (study / "protocol.yaml").write_text(f"regression: {QUICK.replace(', MORE', '')}\n")
    opened = open_study(study, overrides=["regression.moments=0"])
    (result,) = run_regress(opened)
    assert not path.exists()
    assert not any("moments" in w for w in result.estimate.warnings)
