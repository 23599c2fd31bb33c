"""Are the p values, intervals and confound gains of `regress` what they say? By simulation.

Four parts, each cohort a row of a CSV that is only appended to, so that a killed run goes on where
it stopped::

    OMP_NUM_THREADS=1 python benchmarks/calibration.py type1 --jobs 2
    OMP_NUM_THREADS=1 python benchmarks/calibration.py coverage --jobs 2
    OMP_NUM_THREADS=1 python benchmarks/calibration.py confounds --jobs 2
    python benchmarks/calibration.py summary

``type1``: ratings that have nothing to do with the features, every cross-validation scheme, n = 40
and 90; how often is p at most 0.05? ``coverage``: a planted effect; how often does the 95 %
interval hold the mean r, on 100,000 new subjects, of models trained on n (K - 1) / K subjects?
``confounds``: ratings that follow only age, or only face coverage; how often is the confound found,
and does the interval of the gain from video hold 0?
"""

from __future__ import annotations

import argparse
import csv
import json
import typing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from emoclip_clinical.records import CrossValidation, FeatureTable, Ratings
from emoclip_clinical.regression.analysis import estimate
from emoclip_clinical.regression.comparison import gain
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.confounds import analyse_confounds
from emoclip_clinical.regression.crossing import Pipeline
from emoclip_clinical.regression.design import Design, join
from emoclip_clinical.regression.fold_interval import fold_interval
from emoclip_clinical.regression.folds import inner_folds, outer_folds, sees_ratings
from emoclip_clinical.regression.inference import exchange, permutation_p, permuted_ratings
from emoclip_clinical.regression.models.base import Rows
from emoclip_clinical.regression.models.catalogue import make_model
from emoclip_clinical.regression.quality import analyse_quality
from emoclip_clinical.regression.resampling import (
    percentile_interval,
    subject_counts,
    subject_interval,
)
from emoclip_clinical.regression.ridge import coefficients, decompose, tune
from emoclip_clinical.regression.subject_sums import (
    by_repeat,
    over_repeats_of,
    pearson,
    subject_sums,
)

FEATURES, SITES, SECOND_VISITS = 20, 4, 0.25
NOISE = 1.0
SIZES = (40, 90)
SCHEMES = typing.get_args(RegressionConfig.model_fields["cv"].annotation)
POPULATION, MODELS = 100_000, 300
TOGETHER = 20
Row = dict[str, object]


@dataclass(frozen=True)
class Task:
    part: str
    scheme: str
    n: int
    cohort: int
    settings: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.part, self.scheme, str(self.n), str(self.cohort)


def generator(task: Task) -> np.random.Generator:
    parts = ("type1", "coverage", "age", "coverage_only")
    number = parts.index(task.scheme if task.part == "confounds" else task.part)
    return np.random.default_rng(np.random.SeedSequence(7, spawn_key=(number, task.n, task.cohort)))


def design_of(X: np.ndarray, y: np.ndarray, subject: np.ndarray, more: pd.DataFrame) -> Design:
    session = np.concatenate([np.arange(k) for k in np.bincount(subject)])
    keys = pd.DataFrame(
        {
            "participant_id": [f"sub-{s:05d}" for s in subject],
            "session_id": [f"ses-{k + 1}" for k in session],
        },
        dtype=object,
    )
    nobody = pd.DataFrame(columns=["participant_id", "session_id", "reason"], dtype=object)
    names = [f"f{k}" for k in range(X.shape[1])]
    ratings = Ratings("score", ("score",), keys, y, None, None, nobody, more)
    return join(FeatureTable(keys, pd.DataFrame(X, columns=names), nobody), ratings)


def features_of(n: int, rng: np.random.Generator) -> np.ndarray:
    """Three shared directions and noise: features correlate as emotion scores do."""
    shared = rng.standard_normal((n, 3))[:, np.arange(FEATURES) % 3]
    return 0.7 * shared + np.sqrt(0.51) * rng.standard_normal((n, FEATURES))


def ratings_of(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ratings that follow the first features; population r of the best estimate near 0.55."""
    return 20 + X[:, :3].sum(axis=1) * 2.0 + 6.0 * NOISE * rng.standard_normal(len(X))


def cohort(n: int, rng: np.random.Generator, *, planted: bool, visits: bool) -> Design:
    count = np.ones(n, dtype=int)
    count[: round(SECOND_VISITS * n) if visits else 0] = 2
    subject = np.repeat(np.arange(n), count)
    own, level = rng.standard_normal(len(subject)), rng.standard_normal(n)[subject]
    X = features_of(len(subject), rng)
    if visits:
        # Both visits of a person look alike, as their ratings do.
        X = np.sqrt(0.5) * (X + features_of(n, rng)[subject])
    y = ratings_of(X, rng) if planted else 20 + 5 * np.sqrt(0.6) * level + 5 * np.sqrt(0.4) * own
    site = [f"site{s % SITES}" for s in rng.permutation(n)[subject]]
    return design_of(X, y, subject, pd.DataFrame({"site": site}))


def config_of(task: Task, **settings: object) -> RegressionConfig:
    return RegressionConfig(cv=task.scheme, repeats=3, **(settings | json.loads(task.settings)))


def type1(task: Task) -> Row:
    rng = generator(task)
    design = cohort(task.n, rng, planted=False, visits=True)
    config, seed = config_of(task, permutations=199, bootstrap=0), int(rng.integers(2**31))
    if sees_ratings(config.cv):
        return stopped_type1(design, config, seed)
    made = estimate(design, config=config, seed=seed)
    return {"p": made.p_permutation, "r": made.metrics.pearson_pooled}


def stopped_type1(design: Design, config: RegressionConfig, seed: int) -> Row:
    """The same test, for folds that are drawn again for each permutation, which takes long.

    It ends as soon as p can only be above 0.05; p is then the least that it can be.
    """
    nothing = np.empty((len(design.y), 0))
    rows = Rows(design.X, nothing, design.subjects, design.weights, None)
    pipeline = Pipeline(make_model(config.model, config=config), rows, config, seed, None)
    exchangeable = exchange(design.subjects, design.keys["session_id"].tolist())
    permuted = permuted_ratings(design.y, exchange=exchangeable, n=config.permutations, seed=seed)
    observed, null, at_least = pipeline.pooled_r(design.y), np.empty(0), 1
    for start in range(0, config.permutations, TOGETHER):
        vectors = np.ascontiguousarray(permuted.T[start : start + TOGETHER])
        null = np.append(null, pipeline.pooled_rs(vectors))
        at_least = round(permutation_p(observed, null) * (len(null) + 1))
        if at_least > 0.05 * (config.permutations + 1):
            break
    return {"p": at_least / (config.permutations + 1), "r": observed}


def coverage(task: Task) -> Row:
    rng = generator(task)
    design = cohort(task.n, rng, planted=True, visits=False)
    config, seed = config_of(task, permutations=0, bootstrap=1000), int(rng.integers(2**31))
    cv = estimate(design, config=config, seed=seed).cross_validation
    folds = int(cv.fold[0].max()) + 1
    return {
        "r": float(np.mean([np.corrcoef(cv.observed, p)[0, 1] for p in cv.predicted])),
        "population": population_r(round(task.n * (folds - 1) / folds)),
        **intervals(cv, seed),
    }


def intervals(cv: CrossValidation, seed: int) -> Row:
    """The default interval and those that might replace it."""
    sums = subject_sums(cv)
    counts = subject_counts(sums.n_subjects, resamples=1000, seed=seed)
    statistic = over_repeats_of(pearson, sums)
    each = by_repeat(pearson, sums, counts)
    of_repeats = each[np.arange(len(counts)) % len(each), np.arange(len(counts))]
    found = {
        "bca": subject_interval(statistic, counts=counts, confidence=0.95),
        "percentile": percentile_interval(each.mean(axis=0), confidence=0.95),
        "repeats": percentile_interval(of_repeats, confidence=0.95),
        "folds": fold_interval(cv, confidence=0.95),
    }
    # Fisher's z with the bootstrap's standard error.
    z = np.arctanh(np.clip(each.mean(axis=0), -0.999999, 0.999999))
    centre, half = np.arctanh(statistic(np.ones((1, sums.n_subjects)))[0]), 1.959964 * z.std(ddof=1)
    row: Row = {"fisher_low": np.tanh(centre - half), "fisher_high": np.tanh(centre + half)}
    for name, interval in found.items():
        row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


@cache
def population_r(n_training: int) -> float:
    """Mean r on new subjects of models trained on this many."""
    rng = np.random.default_rng(np.random.SeedSequence(11, spawn_key=(n_training,)))
    alphas = RegressionConfig().alphas
    weights = np.empty((FEATURES, MODELS))
    for model in range(MODELS):
        X = features_of(n_training, rng)
        y, w, subjects = ratings_of(X, rng), np.ones(n_training), np.arange(n_training)
        inner = inner_folds(subjects, folds=5, seed=model, repeat=0, fold=0)
        best = tune(
            X, y[:, np.newaxis], weight=w, subjects=subjects, inner_fold=inner, alphas=alphas
        )[0]
        training = decompose(X, weight=w)
        weights[:, model] = coefficients(training, y, alpha=alphas[best]) / training.scale
    X = features_of(POPULATION, rng)
    y = ratings_of(X, rng)
    predicted = X @ weights
    predicted -= predicted.mean(axis=0)
    r = (y - y.mean()) @ predicted / (POPULATION * y.std() * predicted.std(axis=0))
    return float(r.mean())


def confounds(task: Task) -> Row:
    rng = generator(task)
    n = task.n
    age, lost = rng.standard_normal((2, n))
    X = features_of(n, rng) + np.outer(age, rng.uniform(-1, 1, FEATURES))
    X += np.outer(lost, rng.uniform(-1, 1, FEATURES))
    cause = age if task.scheme == "age" else lost
    y = np.round(20 + 4 * cause + 4 * rng.standard_normal(n))
    design = design_of(X, y, np.arange(n), pd.DataFrame({"age": np.round(45 + 12 * age)}))
    settings = json.loads(task.settings)
    config = RegressionConfig(
        **({"repeats": 10, "permutations": 199, "bootstrap": 1000} | settings)
    )
    seed = int(rng.integers(2**31))
    fold = outer_folds(design.subjects, folds=config.folds, repeats=config.repeats, seed=seed)
    quality = design.keys.assign(face_coverage=0.8 - 0.05 * lost)
    if task.scheme == "age":
        made = analyse_confounds(design, names=["age"], fold=fold, config=config, seed=seed)
    else:
        made = analyse_quality(design, quality=quality, fold=fold, config=config, seed=seed)
    counts = subject_counts(n, resamples=1000, seed=seed)
    video = gain(made.confounds_only, made.video, metric="r", counts=counts, confidence=0.95)
    return {
        "confound_p": made.confounds_p,
        "confound_low": made.confounds_interval.low,
        "gain": made.gain.value,
        "gain_low": made.gain.interval.low,
        "gain_high": made.gain.interval.high,
        "conditional_low": made.gain.conditional.low,
        "conditional_high": made.gain.conditional.high,
        "gain_p": made.gain_p,
        "video_less_confound": video.value,
    }


PARTS: dict[str, Callable[[Task], Row]] = {
    "type1": type1,
    "coverage": coverage,
    "confounds": confounds,
}
COHORTS = {"type1": 2000, "coverage": 1000, "confounds": 200}


def run(task: Task) -> tuple[Task, Row]:
    return task, PARTS[task.part](task)


def tasks(part: str, options: argparse.Namespace) -> Iterator[Task]:
    schemes = ("age", "coverage_only") if part == "confounds" else options.schemes
    sizes = (60,) if part == "confounds" and options.sizes == SIZES else options.sizes
    for number in range(options.cohorts or COHORTS[part]):
        for scheme in schemes:
            for n in sizes:
                yield Task(part, scheme, n, number, options.settings)


def path_of(folder: Path, part: str) -> Path:
    return folder / f"calibration_{part}.csv"


def done_in(path: Path) -> set[tuple[str, ...]]:
    """Rows that are whole; a torn last line is cut off."""
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    with path.open(encoding="utf-8", newline="") as file:
        return {(r["part"], r["scheme"], r["n"], r["cohort"]) for r in csv.DictReader(file)}


def simulate(part: str, options: argparse.Namespace) -> None:
    path = path_of(options.folder, part)
    done = done_in(path)
    waiting = [task for task in tasks(part, options) if task.key not in done]
    print(f"{part}: {len(done)} cohorts done, {len(waiting)} to go")
    with (
        ProcessPoolExecutor(options.jobs) as pool,
        path.open("a", encoding="utf-8", newline="") as file,
    ):
        remaining = iter(waiting)
        # In batches, so that thousands of results do not wait in memory.
        for batch in iter(lambda: list(islice(remaining, 50 * options.jobs)), []):
            for task, row in pool.map(run, batch, chunksize=5):
                whole = {"part": task.part, "scheme": task.scheme, "n": task.n,
                         "cohort": task.cohort, **row}  # fmt: skip
                writer = csv.DictWriter(file, fieldnames=list(whole), lineterminator="\n")
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(whole)
            file.flush()


def summary(options: argparse.Namespace) -> None:
    for part, show in (
        ("type1", _show_type1), ("coverage", _show_coverage), ("confounds", _show_confounds),
    ):  # fmt: skip
        path = path_of(options.folder, part)
        if path.exists():
            print(f"\n{part}")
            for (scheme, n), rows in pd.read_csv(path).groupby(["scheme", "n"]):
                print(f"{scheme:24}{n:5}{len(rows):7} cohorts  {show(rows)}")


def _share(inside: pd.Series) -> str:
    share = inside.mean()
    error = 1.96 * np.sqrt(share * (1 - share) / len(inside))
    return f"{share:.1%} ± {error:.1%}"


def _show_type1(rows: pd.DataFrame) -> str:
    undefined = int(rows["p"].isna().sum())
    return f"p <= 0.05 in {_share(rows['p'] <= 0.05)}; p not defined in {undefined}"


def _show_coverage(rows: pd.DataFrame) -> str:
    found = []
    for name in ("bca", "percentile", "repeats", "fisher", "folds"):
        low, high = rows[f"{name}_low"], rows[f"{name}_high"]
        known = low.notna()
        if not known.any():
            found.append(f"{name} none")
            continue
        inside = ((low <= rows["population"]) & (rows["population"] <= high))[known]
        found.append(f"{name} {_share(inside)} (width {(high - low).mean():.2f})")
    centre = f"population r {rows['population'].iloc[0]:.3f}, mean r {rows['r'].mean():.3f}"
    return f"{centre}; " + "; ".join(found)


def _show_confounds(rows: pd.DataFrame) -> str:
    inside = (rows["gain_low"] <= 0) & (rows["gain_high"] >= 0)
    models_kept = (rows["conditional_low"] <= 0) & (rows["conditional_high"] >= 0)
    return (
        f"confound found in {_share(rows['confound_p'] <= 0.05)}; gain's interval holds 0 in "
        f"{_share(inside)} (conditional on the models {_share(models_kept)}); "
        f"gain p <= 0.05 in {_share(rows['gain_p'] <= 0.05)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*PARTS, "summary"])
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cohorts", type=int, help="of each scheme and size")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--schemes", nargs="+", choices=SCHEMES, default=SCHEMES)
    parser.add_argument(
        "--settings",
        default="{}",
        help='more regression settings as JSON; the cohorts have a column "site" of four sites',
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.part == "summary":
        summary(options)
    else:
        simulate(options.part, options)
        summary(options)


if __name__ == "__main__":
    main()
