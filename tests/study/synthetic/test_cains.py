"""What is planted in the CAINS, and that nothing else moves when it is asked for."""

import numpy as np
import pytest
from scipy import stats

from emoclip_clinical.study.synthetic.cains import (
    CAINS_ITEMS,
    CAINS_THRESHOLDS,
    LOADING,
    TRAIT_SHARES,
    draw_cains,
)
from emoclip_clinical.study.synthetic.cohort import draw_cohort
from emoclip_clinical.study.synthetic.config import SyntheticConfig
from emoclip_clinical.study.synthetic.tables import rating_table, truth_table

SMALL = SyntheticConfig(n_subjects=40, second_visit_share=1, n_population=2000)


def test_expression_follows_the_trait_and_pleasure_does_not():
    rng = np.random.default_rng(1)
    n = 100_000
    trait, heard = rng.standard_normal((2, n))
    items = draw_cains(trait, heard, rng=rng)
    assert items.shape == (n, 13)
    assert set(np.unique(items)) == {0, 1, 2, 3, 4}
    # A sum of indicators of a normal latent: covariance with the trait is a sum of densities.
    p = stats.norm.sf(CAINS_THRESHOLDS)
    joint = np.minimum.outer(p, p) - np.outer(p, p)
    for number, item in enumerate(CAINS_ITEMS):
        share = TRAIT_SHARES.get(item, 0.0)
        wanted = LOADING * share * stats.norm.pdf(CAINS_THRESHOLDS).sum() / np.sqrt(joint.sum())
        found = stats.pearsonr(trait, items[:, number]).statistic
        assert found == pytest.approx(wanted, abs=0.01), item
    pleasure = np.corrcoef(items[:, :9].T)
    assert pleasure[~np.eye(9, dtype=bool)].min() > 0.5


def test_asking_for_it_moves_nothing_else():
    plain = draw_cohort(SMALL)
    both = draw_cohort(SMALL.model_copy(update={"with_cains": True}))
    table = rating_table(both)
    assert [c for c in table if c in CAINS_ITEMS] == list(CAINS_ITEMS)
    assert rating_table(plain).equals(table.drop(columns=list(CAINS_ITEMS)))
    assert truth_table(plain, effect=1.0).equals(truth_table(both, effect=1.0))


def test_a_mean_change_moves_second_visits_alone():
    plain = draw_cohort(SMALL)
    moved = draw_cohort(SMALL.model_copy(update={"mean_change": -1.5}))
    for before, after in zip(plain.visits, moved.visits, strict=True):
        shift = -1.5 if before.key.session_id == "ses-2" else 0.0
        assert after.trait == pytest.approx(before.trait + shift)
    second = [v.negative_symptoms for v in moved.visits if v.key.session_id == "ses-2"]
    first = [v.negative_symptoms for v in moved.visits if v.key.session_id == "ses-1"]
    assert np.mean(second) < np.mean(first) - 3
