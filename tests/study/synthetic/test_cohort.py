"""Is planted what is said to be planted, and nothing else?"""

import numpy as np
import pytest
from scipy import stats

from emoclip_clinical.records import InputError
from emoclip_clinical.study.synthetic.cohort import (
    FACETS,
    draw_cohort,
    draw_expressivity,
    repeated_normals,
)
from emoclip_clinical.study.synthetic.config import SyntheticConfig
from emoclip_clinical.study.synthetic.ratings import (
    LOADINGS,
    THRESHOLDS,
    calibrate,
    draw_negative_items,
    draw_other_items,
)
from emoclip_clinical.study.synthetic.seeds import Stream, generator


@pytest.fixture(scope="module")
def calibration():
    return calibrate(rating_correlation=0.8, n_population=100_000, seed=0)


@pytest.fixture(scope="module")
def cohort():
    return draw_cohort(SyntheticConfig(n_population=20_000))


def test_population_r_is_as_wanted_on_an_independent_draw(calibration):
    """The items are drawn here anew, one visit and one threshold at a time where it matters."""
    rng = np.random.default_rng(987)
    n = 200_000
    trait, heard = rng.standard_normal((2, n))
    share = calibration.trait_share
    total = np.zeros(n)
    for loading in LOADINGS:
        common = share * trait + np.sqrt(1 - share**2) * heard
        latent = loading * common + np.sqrt(1 - loading**2) * rng.standard_normal(n)
        total += 1 + sum((latent >= threshold).astype(int) for threshold in THRESHOLDS)
    assert stats.pearsonr(trait, total).statistic == pytest.approx(0.8, abs=0.005)
    assert calibration.population_r == pytest.approx(0.8, abs=0.005)


def test_population_r_agrees_with_its_formula(calibration):
    """Of the sum of correlated ordinal scores, by the bivariate normal distribution."""
    share = calibration.trait_share
    # An ordinal score is 1 + a sum of indicators, so covariances are sums over thresholds.
    with_trait = (LOADINGS * share * stats.norm.pdf(THRESHOLDS).sum()).sum()
    p = stats.norm.sf(THRESHOLDS)
    variance = 0.0
    for i, one in enumerate(LOADINGS):
        for j, other in enumerate(LOADINGS):
            rho = 1.0 if i == j else one * other
            variance += sum(_joint(a, b, rho) - pa * pb
                            for a, pa in zip(THRESHOLDS, p, strict=True)
                            for b, pb in zip(THRESHOLDS, p, strict=True))  # fmt: skip
    assert calibration.population_r == pytest.approx(with_trait / np.sqrt(variance), abs=0.004)


def _joint(a: float, b: float, rho: float) -> float:
    if rho == 1.0:
        return float(stats.norm.sf(max(a, b)))
    covariance = [[1.0, rho], [rho, 1.0]]
    return float(stats.multivariate_normal(mean=[0, 0], cov=covariance).cdf([-a, -b]))


def test_other_items_know_nothing_of_the_trait(calibration):
    rng = np.random.default_rng(5)
    n = 40_000
    trait, heard = rng.standard_normal((2, n))
    negative = draw_negative_items(trait, heard, trait_share=calibration.trait_share, rng=rng)
    others = draw_other_items(n, rng=rng)
    r = [np.corrcoef(trait, others[:, k])[0, 1] for k in range(others.shape[1])]
    assert np.abs(r).max() < 4 / np.sqrt(n)
    assert np.corrcoef(trait, negative.sum(axis=1))[0, 1] > 0.75
    between = np.corrcoef(others.T)[np.triu_indices(others.shape[1], 1)]
    assert 0.15 < between.min() < between.max() < 0.3
    for items in (negative, others):
        assert items.min() == 1
        assert items.max() == 7


def test_a_correlation_out_of_reach_is_refused():
    with pytest.raises(InputError, match="below"):
        calibrate(rating_correlation=0.99, n_population=2000, seed=0)


def test_expressivity_falls_with_the_trait_by_the_wanted_amount():
    config = SyntheticConfig()
    rng = np.random.default_rng(1)
    trait = rng.standard_normal(50_000)
    latent = draw_expressivity(trait, config=config, rng=rng)
    for column in range(3):
        r = np.corrcoef(trait, latent[:, column])[0, 1]
        assert r == pytest.approx(-config.face_correlation, abs=0.01)
        assert latent[:, column].std() == pytest.approx(1, abs=0.02)


def test_without_effect_nothing_visible_depends_on_the_trait():
    rng = np.random.default_rng(1)
    trait = rng.standard_normal(50_000)
    latent = draw_expressivity(trait, config=SyntheticConfig(effect=0.0), rng=rng)
    for column in range(3):
        assert abs(np.corrcoef(trait, latent[:, column])[0, 1]) < 4 / np.sqrt(len(trait))
        assert latent[:, column].std() == pytest.approx(1, abs=0.02)


def test_effect_changes_the_face_and_nothing_else():
    with_effect, without = (
        draw_cohort(SyntheticConfig(n_population=5000, effect=effect)).visits
        for effect in (1.0, 0.0)
    )
    assert [v.items for v in with_effect] == [v.items for v in without]
    assert [v.trait for v in with_effect] == [v.trait for v in without]
    assert [v.expressivity for v in with_effect] != [v.expressivity for v in without]


def test_visits_of_one_subject_are_as_stable_as_said():
    rng = np.random.default_rng(2)
    pairs = np.array([repeated_normals(2, stability=0.6, rng=rng) for _ in range(20_000)])
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(0.6, abs=0.02)
    assert pairs.std(axis=0) == pytest.approx([1, 1], abs=0.03)


def test_cohort_has_its_subjects_visits_and_ranges(cohort):
    config = SyntheticConfig()
    subjects = {visit.subject for visit in cohort.visits}
    assert len(subjects) == config.n_subjects >= 40
    assert len(cohort.visits) - len(subjects) == round(0.2 * config.n_subjects)
    assert [visit.number for visit in cohort.visits] == list(range(len(cohort.visits)))
    keys = [visit.key for visit in cohort.visits]
    assert keys == sorted(set(keys))
    for visit in cohort.visits:
        assert len(visit.items) == 30
        assert set(visit.items.values()) <= set(range(1, 8))
        assert 7 <= visit.negative_symptoms <= 49
        assert 18 <= visit.age_years <= 65
        assert set(visit.expressivity) == set(FACETS)
    first, second = (
        [v.trait for v in cohort.visits if v.key.session_id == session]
        for session in ("ses-1", "ses-2")
    )
    assert len(first) > len(second) > 0
    assert not set(first) & set(second)


def test_covariates_are_independent_of_the_trait():
    config = SyntheticConfig(n_subjects=1500, second_visit_share=0.0, n_population=2000)
    visits = draw_cohort(config).visits
    trait = [visit.trait for visit in visits]
    limit = 4 / np.sqrt(len(visits))
    for values in (
        [visit.age_years for visit in visits],
        [visit.sex == "male" for visit in visits],
        [visit.site == "site1" for visit in visits],
        [visit.items["P1"] for visit in visits],
    ):
        assert abs(np.corrcoef(trait, values)[0, 1]) < limit
    assert visits[0].key.session_id == ""


def test_same_seed_same_cohort_other_seed_another():
    config = SyntheticConfig(n_population=5000)
    assert draw_cohort(config) == draw_cohort(config)
    assert draw_cohort(config) != draw_cohort(config.model_copy(update={"seed": 1}))


def test_streams_of_random_numbers_are_distinct():
    drawn = {
        float(generator(0, stream, number).random()) for stream in Stream for number in range(50)
    }
    assert len(drawn) == len(Stream) * 50
