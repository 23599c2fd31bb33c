"""The follower on scripts: where it looks, what it gives, when it asks to read again."""

from __future__ import annotations

import numpy as np
import pytest

from emoclip_clinical.features.decoding import SampledFrame
from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.following import FaceFollower, FollowingLog, whole_pictures
from emoclip_clinical.features.patient import patient_rule

COLOURS = {"ann": (200, 40, 40), "ben": (40, 60, 200), "cat": (60, 190, 60)}
HEIGHT, WIDTH = 120, 640


def face_at(left, *, size=20.0, top=40.0, score=0.9):
    return Face(float(left), top, size, size, score)


def picture(people, *, light=0):
    """Paint each person's surroundings in one colour, with a pattern on the face."""
    image = np.full((HEIGHT, WIDTH, 3), 120 + light, dtype=np.uint8)
    for name, face in people.items():
        left, top, size = round(face.left), round(face.top), round(face.width)
        around = slice(max(0, top - size // 2), top + 2 * size)
        image[around, max(0, left - size // 2) : left + 3 * size // 2] = COLOURS[name]
        image[top : top + size // 2, max(0, left) : left + size] //= 2
    return image


class Scripted:
    """Sees the people that a script holds for a time."""

    name = "scripted"

    def __init__(self, script):
        self.script = script
        self.looked = []
        self.now = 0.0

    def frames(self, seconds):
        for slot, time in enumerate(seconds):
            self.now = time
            yield SampledFrame(slot, time, picture(self.script(time)))

    def detect(self, image):
        # Held frames are looked at late: the picture itself says what is in it.
        return self.seen[image.tobytes()]

    def prepare(self, seconds):
        self.seen, self.times = {}, {}
        for time in seconds:
            people = self.script(time)
            self.seen[picture(people).tobytes()] = tuple(people.values())


class Watched(Scripted):
    """The same, with the times of the looks; every picture of the script differs."""

    def prepare(self, seconds):
        self.seen = {}
        for slot, time in enumerate(seconds):
            self.seen[slot] = (time, tuple(self.script(time).values()))

    def frames(self, seconds):
        for slot, time in enumerate(seconds):
            image = picture(self.script(time))
            image[-1, -1] = (slot // 256, slot % 256, 7)
            yield SampledFrame(slot, time, image)

    def detect(self, image):
        time, faces = self.seen[int(image[-1, -1, 0]) * 256 + int(image[-1, -1, 1])]
        self.looked.append(time)
        return faces


def follow(script, seconds, *, rule="longest", detection_fps=2.0):
    detector, log = Watched(script), FollowingLog()
    detector.prepare(seconds)
    follower = FaceFollower(detector, detection_fps=detection_fps, log=log, rule=patient_rule(rule))
    first = list(follower.follow(detector.frames(seconds)))
    if not follower.read_again:
        return first, detector, follower
    looked = list(detector.looked)
    second = list(follower.follow(detector.frames(seconds)))
    assert detector.looked == looked, "the second reading needs no detection"
    assert not follower.read_again
    return second, detector, follower


def tenths(count):
    return [round(0.1 * i, 1) for i in range(count)]


def lefts(followed):
    return [None if item.face is None else round(item.face.left, 6) for item in followed]


def test_boxes_between_detections_are_interpolated():
    seconds = tenths(14)
    followed, detector, follower = follow(lambda t: {"ann": face_at(10 * t)}, seconds)
    assert detector.looked == [0.0, 0.5, 1.0, 1.3]
    assert [item.frame.seconds for item in followed] == seconds
    # A straight movement stays as it is: steadying has no lag.
    assert lefts(followed) == [round(10 * t, 6) for t in seconds]
    log = follower.log
    assert (log.n_faces, log.tracked_share, log.n_frames_with_face) == (1, 1.0, 14)
    assert (log.choice.person, log.choice.n_people, log.choice.margin) == (1, 1, 1.0)


@pytest.mark.parametrize("detection_fps", [0.5, 0.6, 2.0])
def test_a_face_is_followed_however_rare_the_looks(detection_fps):
    followed, _, follower = follow(
        lambda t: {"ann": face_at(50)}, tenths(100), detection_fps=detection_fps
    )
    assert lefts(followed) == [50] * 100
    assert (follower.log.choice.share, follower.log.tracked_share) == (1.0, 1.0)


def test_a_box_that_trembles_is_steadied():
    rng = np.random.default_rng(0)
    tremble = {t: rng.normal(scale=1.0) for t in tenths(200)}
    followed, _, _ = follow(
        lambda t: {"ann": face_at(100 + tremble[t])}, tenths(200), detection_fps=10.0
    )
    raw = np.array([tremble[t] for t in tenths(200)])
    # Binomial weights by hand, with the ends as they are.
    expected = raw.copy()
    expected[1:-1] = 0.25 * raw[:-2] + 0.5 * raw[1:-1] + 0.25 * raw[2:]
    np.testing.assert_allclose(np.array(lefts(followed)) - 100, expected, atol=1e-5)


def test_the_frame_in_which_a_face_leaves_is_found():
    followed, detector, follower = follow(
        lambda t: {"ann": face_at(50)} if t < 0.85 else {}, tenths(21)
    )
    assert [t for t, left in zip(tenths(21), lefts(followed), strict=True) if left is not None] == [
        *tenths(9)
    ]
    assert detector.looked[:3] == [0.0, 0.5, 1.0]
    assert set(detector.looked) >= {0.6, 0.7, 0.8, 0.9}
    assert follower.log.tracked_share == 1.0
    assert {item.absence for item in followed[9:]} == {"no_face"}


def test_nothing_is_interpolated_over_a_jump_or_a_long_gap():
    jump, _, _ = follow(lambda t: {"ann": face_at(50 if t < 0.35 else 500)}, tenths(12))
    assert lefts(jump) == [50] * 4 + [500] * 8
    gap, detector, _ = follow(lambda t: {"ann": face_at(50)}, [0, 0.1, 5.0, 5.1])
    assert detector.looked == [0, 5.0, 0.1, 5.1]
    assert lefts(gap) == [50] * 4


def test_a_short_gap_does_not_end_a_track_and_is_not_filled():
    followed, _, follower = follow(
        lambda t: {} if 1.0 <= t < 1.8 else {"ann": face_at(50)}, tenths(40)
    )
    missing = [t for t, left in zip(tenths(40), lefts(followed), strict=True) if left is None]
    assert missing == [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    assert len(follower._tracker.tracks) == 1


def two(t):
    return {"ann": face_at(100, size=24), "ben": face_at(400, size=30)}


@pytest.mark.parametrize(
    ("rule", "left"),
    [("largest", 400), ("left", 100), ("right", 400), ("track:1", 100), ("track:2", 400)],
)
def test_each_rule_follows_its_person(rule, left):
    followed, _, follower = follow(two, tenths(30), rule=rule)
    assert lefts(followed) == [left] * 30
    assert follower.log.n_faces == follower.log.choice.n_people == 2


def test_the_longest_may_come_late_and_is_then_read_again():
    def script(t):
        return {"ann": face_at(100)} if t < 2 else {"ben": face_at(400)}

    detector, log = Watched(script), FollowingLog()
    detector.prepare(tenths(80))
    follower = FaceFollower(detector, detection_fps=2.0, log=log, rule=patient_rule("longest"))
    first = list(follower.follow(detector.frames(tenths(80))))
    # Ann was given out until Ben had been there for longer; then nothing more.
    assert follower.read_again
    assert {left for left in lefts(first) if left is not None} == {100}
    assert len(first) < 80
    again = list(follower.follow(detector.frames(tenths(80))))
    assert lefts(again) == [None] * 20 + [400] * 60
    assert {item.absence for item in again[:20]} == {"other_person"}
    assert not follower.read_again
    assert log.n_frames_with_face == 60


def test_one_person_needs_one_reading():
    follower = follow(lambda t: {"ann": face_at(100 + 30 * np.sin(t))}, tenths(100))[2]
    assert follower._readings == 1


def test_both_readings_give_the_same():
    def script(t):
        here = {"ann": face_at(100 + 20 * np.sin(2 * t))}
        return here | ({"ben": face_at(400)} if 3 < t < 5 else {})

    once, detector, follower = follow(script, tenths(90), rule="left")
    assert follower._readings == 1
    twice = list(follower.follow(detector.frames(tenths(90))))
    assert [(i.frame.slot, i.face, i.absence) for i in twice] == [
        (i.frame.slot, i.face, i.absence) for i in once
    ]


def test_people_who_swap_sides_at_a_cut_keep_their_names():
    def script(t):
        a, b = (100, 400) if t < 2.05 else (400, 100)
        return {"ann": face_at(a), "ben": face_at(b)}

    followed, _, follower = follow(script, tenths(50), rule="track:1")
    assert lefts(followed) == [100] * 21 + [400] * 29
    assert follower.log.choice.n_people == 2


def test_twins_are_never_mixed():
    """Two people who look the same, alone in the picture by turns, at the same place but one."""

    def script(t):
        faces = {"ann": face_at(100)}
        if t < 2.05:
            faces["ben"] = face_at(400)
        return faces

    class Twins(Watched):
        def frames(self, seconds):
            for frame in super().frames(seconds):
                people = self.script(frame.seconds)
                image = picture({name: face for name, face in people.items() if name == "ann"})
                if "ben" in people:
                    image[:, 300:] = np.roll(image, 300, axis=1)[:, 300:]
                image[-1, -1] = frame.image[-1, -1]
                yield SampledFrame(frame.slot, frame.seconds, image)

    detector, log = Twins(script), FollowingLog()
    detector.prepare(tenths(50))
    follower = FaceFollower(detector, detection_fps=2.0, log=log, rule=patient_rule("right"))
    followed = list(follower.follow(detector.frames(tenths(50))))
    if follower.read_again:
        followed = list(follower.follow(detector.frames(tenths(50))))
    # Both were in one picture: the one who stays is never taken for the one who left.
    assert {left for left in lefts(followed) if left is not None} == {400}


def test_a_face_that_covers_the_patients_leaves_the_frame_out():
    def script(t):
        ben = 400 - 100 * t if t < 3 else 100 + 100 * (t - 3)
        return {"ann": face_at(100, size=30), "ben": face_at(ben, size=30)}

    followed, _, _ = follow(script, tenths(60), rule="track:1", detection_fps=10.0)
    for item in followed:
        ben = script(item.frame.seconds)["ben"]
        shared = max(0.0, 30 - abs(ben.left - 100)) / 30
        if shared > 0.2:
            assert item.face is None
            assert item.absence == "other_person"
        elif item.frame.seconds < 2.5:
            assert item.face is not None
        if item.face is not None:
            assert abs(item.face.left - 100) < 5


def test_a_video_without_a_face():
    followed, _, follower = follow(lambda t: {}, tenths(20))
    assert {item.absence for item in followed} == {"no_face"}
    choice = follower.log.choice
    assert (choice.person, choice.n_people, choice.margin, choice.share) == (None, 0, None, None)
    assert follower.log.n_faces == 0
    assert follower.log.tracked_share is None


def test_a_single_frame():
    followed, _, follower = follow(lambda t: {"ann": face_at(50)}, [0.0])
    assert lefts(followed) == [50]
    assert follower.log.choice.person == 1


def test_a_reference_decides_by_likeness():
    detector, log = Watched(two), FollowingLog()
    detector.prepare(tenths(30))
    calls = []

    def likeness(image, face):
        calls.append(face.left)
        # Once in a while the face can not be compared.
        return None if len(calls) % 4 == 0 else (0.7 if face.left > 300 else 0.1)

    follower = FaceFollower(
        detector, detection_fps=5.0, log=log, rule=patient_rule("reference"), likeness=likeness
    )
    followed = list(follower.follow(detector.frames(tenths(30))))
    if follower.read_again:
        followed = list(follower.follow(detector.frames(tenths(30))))
    assert set(lefts(followed)) == {400}
    assert log.choice.margin == pytest.approx(0.6)
    # Comparing is dear: a few looks of each track are enough.
    assert calls.count(100.0) <= 8


def test_rare_extra_faces_do_not_count():
    log = FollowingLog(faces_per_detection={0: 10, 1: 85, 2: 4, 3: 1})
    assert log.n_faces == 2
    assert FollowingLog(faces_per_detection={1: 97, 2: 3}).n_faces == 1
    assert FollowingLog(faces_per_detection={0: 5}).n_faces == 0
    assert FollowingLog().tracked_share is None


def test_pictures_on_both_sides_of_a_cut_are_of_two_shots():
    """The same face, framed twice: what changes from one framing to the other is no movement."""

    def framed(time):
        near = 3 <= time < 6
        return {"ann": face_at(60 if near else 50, size=60.0 if near else 20.0, top=40.0)}

    def frames():
        for slot, time in enumerate(tenths(90)):
            image = picture(framed(time), light=-100 if 3 <= time < 6 else 100)
            yield SampledFrame(slot, time, image)

    class Knowing:
        name = "knowing"

        def detect(self, image):
            return (framed(3.0 if image[0, -1, 0] < 100 else 0.0)["ann"],)

    follower = FaceFollower(Knowing(), detection_fps=2.0, log=FollowingLog())
    followed = list(follower.follow(frames()))
    if follower.read_again:
        followed = list(follower.follow(frames()))
    for shots in ([item.shot for item in whole_pictures(frames())], [i.shot for i in followed]):
        thirds = [set(shots[:30]), set(shots[30:60]), set(shots[60:])]
        assert [len(third) for third in thirds] == [1, 1, 1]
        assert len(set.union(*thirds)) == 3
