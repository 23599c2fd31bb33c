"""An interval of r that counts the spread over training sets, from the correlations within folds.

The bootstrap of subjects keeps the fitted models, and the pooled r that it is centred on lies too
low where there is little to find. The mean of Fisher's z over folds hardly does, and the
correction of Nadeau & Bengio (2003) allows for training sets that overlap. Measured in
``benchmarks/calibration.py``.
"""

from __future__ import annotations

import numpy as np

from emoclip_clinical.records import CrossValidation
from emoclip_clinical.regression.comparison import corrected_t
from emoclip_clinical.regression.metrics import CONSTANT, fold_correlations
from emoclip_clinical.regression.resampling import Interval, no_interval
from emoclip_clinical.regression.subject_sums import subject_numbers

MINIMUM_TEST_SUBJECTS = 5
"""Smaller folds than this give no r that Fisher's z could average."""


def fold_interval(cv: CrossValidation, *, confidence: float) -> Interval:
    """Return the interval of the mean r within folds, for new subjects and a new training set.

    The corrected t interval of Fisher's z over all folds and repeats: the variance of their mean
    is taken for (1/J + n_test/n_train) s², s² the variance of the J values.

    Parameters
    ----------
    confidence : float
        Level, in (0, 1).

    Returns
    -------
    Interval
        ``method`` is ``corrected t``; none where folds have fewer than `MINIMUM_TEST_SUBJECTS`
        subjects, or r is not defined in all of them.
    """
    subjects = subject_numbers(cv)
    n_subjects = int(subjects.max()) + 1
    sizes = [
        len(np.unique(subjects[numbers == number]))
        for numbers in cv.fold
        for number in range(int(numbers.max()) + 1)
    ]
    if min(sizes) < MINIMUM_TEST_SUBJECTS or len(sizes) < 2:
        return no_interval(
            f"folds of {MINIMUM_TEST_SUBJECTS} subjects or more are needed, "
            f"the smallest has {min(sizes)}"
        )
    found = [r for row in fold_correlations(cv) for r in row]
    known = [r for r in found if r is not None and abs(r) < 1 - CONSTANT]
    if len(known) < len(found):
        return no_interval(
            f"r within folds is not defined in {len(found) - len(known)} of {len(found)} folds"
        )
    ratio = float(np.mean([size / (n_subjects - size) for size in sizes]))
    made = corrected_t(np.arctanh(np.array(known)), test_to_training=ratio, confidence=confidence)
    return Interval(float(np.tanh(made.low)), float(np.tanh(made.high)), "corrected t")
