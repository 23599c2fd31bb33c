"""Rules, margins and warnings by hand; people from tracks."""

from __future__ import annotations

import numpy as np
import pytest

from emoclip_clinical.features.appearance import Appearance, appearance, difference
from emoclip_clinical.features.cuts import CutDetector, block_levels, scene_change
from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.patient import (
    PatientRule,
    choose_patient,
    patient_rule,
    patient_warning,
)
from emoclip_clinical.features.people import People, Person, find_people
from emoclip_clinical.features.tracking import Tracker
from emoclip_clinical.records import InputError

ANN = Person(1, (0, 3), visible_seconds=60.0, height_share=0.30, centre_share=0.25)
BEN = Person(2, (1,), visible_seconds=45.0, height_share=0.40, centre_share=0.80)
CAT = Person(3, (4,), visible_seconds=3.0, height_share=0.90, centre_share=0.05)
EVERYONE = People((ANN, BEN, CAT), {2: 12.0}, tracked_seconds=80.0)


@pytest.mark.parametrize("text", ["largest", "longest", "left", "right", "track:12", "reference"])
def test_rules_read_and_write(text):
    assert patient_rule(f" {text} ").text == text


@pytest.mark.parametrize("text", ["", "track", "track:0", "track:x", "biggest", "Left", "track:-1"])
def test_other_rules_are_refused(text):
    with pytest.raises(InputError, match="largest, longest, left, right, track:<k>"):
        patient_rule(text)


@pytest.mark.parametrize(
    ("rule", "person", "margin"),
    [
        ("longest", 1, 1 - 45 / 60),
        # Cat is nearest to the camera, and to the left, but hardly there.
        ("largest", 2, 1 - 0.30 / 0.40),
        ("left", 1, 0.80 - 0.25),
        ("right", 2, 0.80 - 0.25),
        ("track:3", 3, None),
    ],
)
def test_choices_and_margins_by_hand(rule, person, margin):
    choice = choose_patient(EVERYONE, rule=patient_rule(rule))
    own = {1: 60.0, 2: 45.0, 3: 3.0}[person]
    assert (choice.person, choice.n_people, choice.rule) == (person, 3, rule)
    assert choice.margin == (None if margin is None else pytest.approx(margin))
    assert choice.share == pytest.approx(own / 80)
    assert choice.confidence == pytest.approx(own / (own + 12))


def test_who_is_always_in_view_has_all_of_the_time():
    """Beside someone who comes and goes: by hand, two looks a second for ten seconds."""
    ann, ben = Face(0, 0, 50, 50, 0.9), Face(200, 0, 50, 50, 0.9)
    image = np.random.default_rng(0).integers(0, 256, size=(100, 300, 3), dtype=np.uint8)
    tracker, look = Tracker(), appearance(image, ann)
    for index in range(21):
        faces = [ann, ben] if index >= 10 else [ann]
        tracker.add(
            faces, [look] * len(faces), seconds=index / 2, picture_size=(100, 300), cut=False
        )
    tracker.finish()
    assert tracker.tracked_seconds == 10.0
    people = find_people(tracker.tracks, tracked_seconds=tracker.tracked_seconds)
    shares = {
        rule: choose_patient(people, rule=patient_rule(rule)).share for rule in ("left", "right")
    }
    assert shares == {"left": 1.0, "right": 0.5}


def test_near_ties_in_time_are_settled_by_size_and_said():
    near = People((ANN, Person(2, (1,), 57.0, 0.4, 0.8)))
    choice = choose_patient(near, rule=PatientRule("longest"))
    assert choice.person == 2
    assert choice.margin == 0.0
    warning = patient_warning(choice, interview="sub-07")
    assert warning.startswith("sub-07:")
    assert "track:<k>" in warning
    assert "2 people" in warning


@pytest.mark.parametrize(("rule", "told"), [("left", True), ("right", True), ("longest", False)])
def test_the_left_one_of_one_may_be_anybody(rule, told):
    choice = choose_patient(People((ANN,)), rule=PatientRule(rule))
    assert (choice.person, choice.margin) == (1, 1.0)
    warning = patient_warning(choice, interview="sub-07") or ""
    assert ("only 1 person was found" in warning) == told


def test_no_one_fits():
    for people, rule in ((People(()), "longest"), (EVERYONE, "track:4"), (EVERYONE, "reference")):
        choice = choose_patient(people, rule=patient_rule(rule), similarities={0: 0.1, 1: 0.2})
        assert (choice.person, choice.margin, choice.share) == (None, None, None)
        assert choice.tracks == frozenset()
    assert "no one fits patient 'reference'" in patient_warning(choice, interview="sub-01")
    nobody = choose_patient(People(()), rule=PatientRule("left"))
    assert patient_warning(nobody, interview="sub-01") is None


def test_a_reference_takes_the_most_alike_with_the_lead_over_everyone():
    likeness = {0: 0.55, 3: 0.62, 1: 0.2, 4: -0.1}
    choice = choose_patient(EVERYONE, rule=PatientRule("reference"), similarities=likeness)
    assert choice.person == 1
    assert choice.margin == pytest.approx(0.62 - 0.2)


def test_one_clear_person_gives_no_warning_and_much_uncertainty_does():
    alone = choose_patient(People((ANN,), tracked_seconds=60.0), rule=PatientRule("longest"))
    assert (alone.margin, alone.confidence, alone.share) == (1.0, 1.0, 1.0)
    assert patient_warning(alone, interview="sub-01") is None
    unsure = choose_patient(People((ANN,), {5: 30.0}), rule=PatientRule("longest"))
    assert "33 %" in patient_warning(unsure, interview="sub-01")


def painted(colour, *, left=40, top=40, size=40, seed=0):
    rng = np.random.default_rng(seed)
    image = np.full((200, 300, 3), 128, dtype=np.uint8)
    image[:, left - 40 : left + size + 40] = colour
    image[top : top + size // 2, left : left + size] //= 2
    noise = rng.normal(scale=4, size=image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), Face(left, top, size, size, 0.9)


RED, BLUE, RUST = (190, 50, 40), (40, 60, 190), (190, 60, 44)


def test_difference_is_a_mean_of_hellinger_distances_and_one_minus_correlation():
    first, second = appearance(*painted(RED)), appearance(*painted(BLUE))
    by_hand = []
    for k, (a, b) in enumerate(zip(first.parts, second.parts, strict=True)):
        assert np.linalg.norm(a) == pytest.approx(1)
        # Roots of shares: sum over bins of (sqrt p - sqrt q)^2 / 2, then the root.
        by_hand.append(((a - b) ** 2).sum() / 2 if k == 6 else (((a - b) ** 2).sum() / 2) ** 0.5)
    assert difference(first, second) == pytest.approx(np.mean(by_hand))
    assert difference(first, first) == pytest.approx(0, abs=1e-7)
    assert difference(first, Appearance((None,) * 7)) == 1.0


def test_other_colours_differ_more_than_other_places_and_noise():
    here, moved = appearance(*painted(RED)), appearance(*painted(RED, left=150, top=60, seed=1))
    assert difference(here, moved) < 0.1 < 0.4 < difference(here, appearance(*painted(BLUE)))


def test_zones_outside_the_picture_are_left_out():
    image, _ = painted(RED)
    parts = appearance(image, Face(40, 150, 40, 48, 0.9)).parts
    assert [part is None for part in parts] == [False] * 4 + [True] * 2 + [False]


def track(tracker, shown, seconds, *, cut=False):
    looks = [appearance(image, face) for image, face in shown]
    faces = [face for _, face in shown]
    return tracker.add(faces, looks, seconds=seconds, picture_size=(200, 300), cut=cut)


def test_tracks_go_on_over_short_gaps_and_end_at_cuts_and_long_ones():
    tracker = Tracker()
    red = painted(RED)
    assert track(tracker, [red], 0.0) == (0,)
    assert track(tracker, [], 0.5) == ()
    assert track(tracker, [red], 1.0) == (0,)
    assert track(tracker, [red], 1.5, cut=True) == (1,)
    assert track(tracker, [red], 4.0) == (2,)
    assert track(tracker, [painted(BLUE)], 4.5) == (3,)
    assert [t.visible_seconds for t in tracker.tracks] == [0.0, 0.0, 0.0, 0.0]
    assert track(tracker, [painted(BLUE)], 5.0) == (3,)
    assert tracker.tracks[3].visible_seconds == 0.5


def test_two_who_move_keep_their_tracks():
    tracker = Tracker()
    track(tracker, [painted(RED, left=60), painted(RED, left=140)], 0.0)
    assert track(tracker, [painted(RED, left=170), painted(RED, left=90)], 0.5) == (1, 0)
    assert tracker.tracks[0].met == {1}


def test_look_alikes_who_meet_in_one_place_are_not_told_apart_by_guessing():
    tracker = Tracker()
    track(tracker, [painted(RED, left=60), painted(RED, left=90)], 0.0)
    # One is gone, the other stands in between: it may be either.
    assert track(tracker, [painted(RED, left=75)], 0.5) == (2,)


def test_people_are_grouped_by_looks_but_never_against_having_met():
    tracker = Tracker()
    for k in range(3):
        track(tracker, [painted(RED), painted(BLUE, left=200)], 0.5 * k)
    for k in range(3, 6):
        track(tracker, [painted(BLUE, seed=2), painted(RED, left=200)], 0.5 * k, cut=k == 3)
    people = find_people(tracker.tracks)
    assert [person.tracks for person in people.persons] == [(0, 3), (1, 2)]
    assert [person.visible_seconds for person in people.persons] == [2.0, 2.0]
    assert people.persons[0].centre_share == pytest.approx((60 / 300 + 220 / 300) / 2)
    twins = Tracker()
    for k in range(3):
        track(twins, [painted(RED), painted(RED, left=200)], 0.5 * k)
    assert len(find_people(twins.tracks).persons) == 2


def test_who_looks_like_two_people_is_left_in_doubt():
    tracker = Tracker()
    for k in range(4):
        track(tracker, [painted(RED), painted(RUST, left=200)], 0.5 * k)
    for k in range(4, 7):
        track(tracker, [painted((190, 55, 42), left=120)], 0.5 * k, cut=k == 4)
    people = find_people(tracker.tracks)
    assert len(people.persons) == 2
    assert people.doubtful_seconds == {2: 1.0}


def test_a_single_look_is_no_person_unless_there_is_nothing_else():
    tracker = Tracker()
    track(tracker, [painted(BLUE, left=200)], 0.0)
    assert len(find_people(tracker.tracks).persons) == 1
    for k in range(1, 4):
        track(tracker, [painted(RED)], 0.5 * k)
    people = find_people(tracker.tracks)
    assert [person.tracks for person in people.persons] == [(1,)]
    assert people.doubtful_seconds == {0: 0.0}


def test_scene_change_against_a_slow_loop():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, size=(2, 96, 96, 3), dtype=np.uint8)
    second[:48] //= 4
    levels = []
    for image in (first, second):
        rows = []
        for top in range(0, 96, 24):
            for left in range(0, 96, 24):
                block = image[top : top + 24, left : left + 24].reshape(-1, 3)
                luma = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b in block.tolist()]
                rows.append(np.histogram(luma, bins=16, range=(0, 256))[0] / 576)
        levels.append(np.array(rows))
        np.testing.assert_allclose(block_levels(image), levels[-1])
    by_hand = np.mean(
        [np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2) for p, q in zip(*levels, strict=True)]
    )
    assert scene_change(*levels) == pytest.approx(by_hand)


def test_cuts_on_real_videos(assets):
    """Nothing within a shot is a cut, a change of video always is."""
    from emoclip_clinical.features.decoding import VideoSampler

    shots = []
    for name in ("sadtalker_WDA_KatieHill_000.mp4", "carphone_pristine.mp4"):
        with VideoSampler(assets / "videos" / name, sample_fps=5.0) as frames:
            shots.append([np.resize(f.image[:144, :176], (144, 176, 3)) for f in frames])
    detector = CutDetector()
    found = [detector.is_cut(image) for shot in shots for image in shot]
    assert [k for k, cut in enumerate(found) if cut] == [len(shots[0])]
    assert CutDetector().is_cut(shots[0][0]) is False
    assert detector.is_cut(shots[0][0][:100]) is True
