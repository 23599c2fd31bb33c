"""Does a face move as much, as often and as variedly as its expressivity says?"""

import numpy as np
import pytest

from emoclip_clinical.study.synthetic.actions import INDEX, N_ACTIONS
from emoclip_clinical.study.synthetic.expressions import (
    COMPOUNDS,
    EMOTIONS,
    PATTERNS,
    Expression,
    draw_apex,
    draw_expression,
)
from emoclip_clinical.study.synthetic.interviews import (
    AMPLITUDE_RANGE,
    Expressivity,
    emotion_frequencies,
    expressivity_from_latent,
    interview_actions,
)
from emoclip_clinical.study.synthetic.movement import blinks, head_motion, talk


def _mean_motion(expressivity: Expressivity, *, seconds: float = 120) -> float:
    """Mean strength of the smile, brow and nose actions, which talk and blinks do not touch."""
    columns = [INDEX[n] for n in ("lip_corner_pull", "brow_inner_raise", "nose_wrinkle",
                                  "lip_corner_depress", "brow_lower")]  # fmt: skip
    values = [
        interview_actions(
            expressivity,
            duration_seconds=seconds,
            frames_per_second=6.25,
            rng=np.random.default_rng(seed),
        )[:, columns].std(axis=0).sum()
        for seed in range(6)
    ]  # fmt: skip
    return float(np.mean(values))


def test_amplitude_and_rate_each_enlarge_the_motion():
    middle = _mean_motion(Expressivity(0.7, 10, 6))
    assert _mean_motion(Expressivity(0.3, 10, 6)) < 0.7 * middle
    assert _mean_motion(Expressivity(0.7, 3, 6)) < 0.8 * middle


@pytest.mark.parametrize("variety", [1.5, 3.0, 6.0, 9.9])
def test_frequencies_have_the_wanted_entropy(variety):
    share = emotion_frequencies(variety, rng=np.random.default_rng(0))
    assert share.sum() == pytest.approx(1)
    assert len(share) == len(EMOTIONS) - 1
    assert 2 ** -(share * np.log2(share)).sum() == pytest.approx(variety, abs=0.02)


def test_latent_zero_is_the_middle_of_each_range():
    shown = expressivity_from_latent({"amplitude": 0.0, "rate": 0.0, "variety": 0.0})
    assert shown.amplitude == pytest.approx(sum(AMPLITUDE_RANGE) / 2)
    low = expressivity_from_latent({"amplitude": -9.0, "rate": 0.0, "variety": 0.0})
    assert low.amplitude == pytest.approx(AMPLITUDE_RANGE[0])
    assert low.variety == shown.variety


def test_talk_blinks_and_head_do_not_depend_on_expressivity():
    """What is left of two interviews with the same seed and almost no expressions is the same."""
    nothing, hardly = (
        interview_actions(
            Expressivity(1e-9, rate, 2.0),
            duration_seconds=60,
            frames_per_second=6.25,
            rng=np.random.default_rng(3),
        )
        for rate in (1e-6, 1e-7)
    )
    jaw = INDEX["jaw_drop"]
    np.testing.assert_array_equal(nothing[:, jaw], hardly[:, jaw])
    assert nothing[:, jaw].max() > 0.1
    assert nothing[:, INDEX["lid_close"]].max() > 0.8


def test_course_rises_holds_and_falls():
    expression = Expression("anger", np.ones(N_ACTIONS, np.float32), 0.5, 1.0, 0.8)
    times = np.array([-1.0, 0.0, 0.25, 0.5, 1.0, 1.5, 1.9, 2.3, 5.0])
    expected = [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]
    np.testing.assert_allclose(expression.curve(times), expected, atol=1e-6)
    assert expression.seconds == pytest.approx(2.3)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_apex_varies_around_its_pattern(emotion):
    rng = np.random.default_rng(0)
    drawn = np.array([draw_apex(emotion, rng=rng) for _ in range(400)])
    for name, strength in PATTERNS[emotion].items():
        values = np.abs(drawn[:, INDEX[name]])
        scale = 1 if abs(strength) <= 1 else 10
        assert abs(values.mean() - abs(strength) * 0.92) < 0.16 * scale
        assert values.std() > 0.05 * scale


def test_compounds_show_the_actions_of_both_parts():
    rng = np.random.default_rng(0)
    for name, parts in COMPOUNDS.items():
        mean = np.mean([np.abs(draw_apex(name, rng=rng)) for _ in range(200)], axis=0)
        for part in parts:
            for action, strength in PATTERNS[part].items():
                assert mean[INDEX[action]] > 0.35 * abs(strength), (name, action)


def test_expressions_last_as_long_as_documented():
    rng = np.random.default_rng(0)
    lengths = [draw_expression("fear", rng=rng).seconds for _ in range(200)]
    assert 1.45 <= min(lengths) < max(lengths) <= 3.7


def test_blinks_come_at_their_rate():
    seconds = np.arange(0, 1200, 0.04)
    closure = blinks(seconds, rng=np.random.default_rng(0), per_minute=15)
    starts = np.sum((closure[1:] > 0.5) & (closure[:-1] <= 0.5))
    assert 15 * 20 * 0.8 < starts < 15 * 20 * 1.05
    assert closure.max() == 1


def test_talk_takes_its_share_of_the_time():
    seconds = np.arange(0, 1200, 0.04)
    jaw = talk(seconds, rng=np.random.default_rng(0), share=0.5, strength=0.3)
    assert 0.4 < np.mean(jaw > 0) < 0.6
    assert 0.2 < jaw.max() <= 0.3


def test_head_moves_slowly():
    seconds = np.arange(0, 60, 0.08)
    moves = head_motion(seconds, rng=np.random.default_rng(0))
    assert np.abs(np.diff(moves, axis=0)).max() < 3
    assert moves[:, INDEX["head_yaw_degrees"]].std() > 1
