"""Time of a whole permutation test: shared decompositions against a plain scikit-learn loop.

The plain loop is timed over a part (one outer fold for a few rating vectors) and extrapolated;
its predictions are compared with ours on that part. Run it from the repository's root::

    OMP_NUM_THREADS=1 python benchmarks/regression_speed.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import sklearn
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from emoclip_clinical.records import FeatureTable, Ratings
from emoclip_clinical.regression.analysis import Estimate, estimate
from emoclip_clinical.regression.config import RegressionConfig
from emoclip_clinical.regression.design import Design, join
from emoclip_clinical.regression.folds import inner_folds, outer_folds


def cohort(*, subjects: int, features: int, seed: int) -> Design:
    rng = np.random.default_rng(seed)
    keys = pd.DataFrame({"participant_id": [f"sub-{i:04d}" for i in range(subjects)]}, dtype=object)
    keys["session_id"] = ""
    nobody = pd.DataFrame(columns=["participant_id", "session_id", "reason"], dtype=object)
    names = [f"f{k}" for k in range(features)]
    table = pd.DataFrame(rng.normal(size=(subjects, features)), columns=names)
    y = np.round(20 + 5 * rng.normal(size=subjects))
    ratings = Ratings(
        "score", ("score",), keys, y, None, None, nobody, pd.DataFrame(index=keys.index)
    )
    return join(FeatureTable(keys, table, nobody), ratings)


def plain_fold(design: Design, config: RegressionConfig, *, seed: int) -> tuple[float, np.ndarray]:
    """Time scikit-learn's grid search on the first outer fold; return its predictions too."""
    fold = outer_folds(design.subjects, folds=config.folds, repeats=1, seed=seed)[0]
    train = fold != 0
    inner = inner_folds(
        design.subjects[train], folds=config.inner_folds, seed=seed, repeat=0, fold=0
    )
    cv = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in range(inner.max() + 1)]
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(mean_squared_error, greater_is_better=False)
        steps = [
            ("scale", StandardScaler().set_fit_request(sample_weight=True)),
            ("ridge", Ridge().set_fit_request(sample_weight=True)),
        ]
        search = GridSearchCV(
            Pipeline(steps),
            {"ridge__alpha": list(config.alphas)},
            cv=cv,
            scoring=scorer.set_score_request(sample_weight=True),
        )
        start = time.perf_counter()
        search.fit(design.X[train], design.y[train], sample_weight=design.weights[train])
        predicted = search.predict(design.X[~train])
        return time.perf_counter() - start, predicted


def timed(design: Design, config: RegressionConfig, *, seed: int) -> tuple[float, Estimate]:
    start = time.perf_counter()
    made = estimate(design, config=config, seed=seed)
    return time.perf_counter() - start, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=120)
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    design = cohort(subjects=options.subjects, features=options.features, seed=options.seed)
    config = RegressionConfig(permutations=options.permutations)
    seconds, made = timed(design, config, seed=options.seed)
    plain = [plain_fold(design, config, seed=options.seed) for _ in range(3)]
    one_fold = float(np.median([t for t, _ in plain]))
    fits = config.folds * config.repeats * (config.permutations + 1)
    test = made.cross_validation.fold[0] == 0
    difference = np.abs(made.cross_validation.predicted[0, test] - plain[0][1]).max()
    print(
        f"{options.subjects} subjects x {options.features} features, {len(config.alphas)} alphas, "
        f"{config.folds} folds x {config.repeats} repeats, {config.inner_folds} inner folds, "
        f"{config.permutations} permutations, {config.bootstrap} bootstrap resamples"
    )
    print(f"{'':34}{'seconds':>12}")
    print(f"{'shared decompositions, measured':34}{seconds:12.1f}")
    print(f"{'scikit-learn, one search, measured':34}{one_fold:12.3f}")
    print(f"{'scikit-learn, all, extrapolated':34}{one_fold * fits:12.0f}")
    print(
        f"ratio {one_fold * fits / seconds:.0f}; largest difference of predictions {difference:.1e}"
    )


if __name__ == "__main__":
    main()
