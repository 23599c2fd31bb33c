from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoclip_clinical.records import InputError
from emoclip_clinical.regression.folds import (
    fold_of_subjects,
    inner_folds,
    leave_one_subject_out,
    outer_folds,
    splits,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=5, max_size=30), st.integers(2, 5), st.integers(0, 99))
def test_subjects_are_whole_and_folds_equal(visits, folds, seed):
    subjects = np.repeat(np.arange(len(visits)), visits)
    for fold in outer_folds(subjects, folds=folds, repeats=3, seed=seed):
        sizes = [len(np.unique(subjects[fold == k])) for k in range(folds)]
        assert sum(sizes) == len(visits)
        assert max(sizes) - min(sizes) <= 1
        tested = np.concatenate([test for _, test in splits(fold, subjects=subjects)])
        assert sorted(tested) == list(range(len(subjects)))


def test_streams_are_their_own():
    subjects = np.arange(20)
    many = outer_folds(subjects, folds=5, repeats=4, seed=1)
    np.testing.assert_array_equal(many[:2], outer_folds(subjects, folds=5, repeats=2, seed=1))
    assert len({tuple(f) for f in many}) == 4
    first = inner_folds(subjects[:16], folds=4, seed=1, repeat=0, fold=0)
    other = inner_folds(subjects[:16], folds=4, seed=1, repeat=0, fold=1)
    assert tuple(first) != tuple(other)


def test_every_subject_alone():
    subjects = np.array([0, 0, 1, 2, 2])
    fold = leave_one_subject_out(subjects)
    assert fold.shape == (1, 5)
    held_out = [set(subjects[test]) for _, test in splits(fold[0], subjects=subjects)]
    assert held_out == [{0}, {1}, {2}]


def test_fewer_subjects_than_folds():
    with pytest.raises(InputError, match="5 folds need at least 5 subjects, got 4"):
        fold_of_subjects(4, folds=5, rng=np.random.default_rng(0))
