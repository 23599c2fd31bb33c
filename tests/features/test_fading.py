"""One face that turns into another without a cut, on looks and pictures made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from emoclip_clinical.features.appearance import Appearance, appearance, difference
from emoclip_clinical.features.decoding import SampledFrame
from emoclip_clinical.features.faces import Face
from emoclip_clinical.features.following import FaceFollower, FollowingLog
from emoclip_clinical.features.patient import patient_rule
from emoclip_clinical.features.people import find_people
from emoclip_clinical.features.tracking import Tracker

FACE = Face(100.0, 60.0, 60.0, 80.0, 0.9)
PICTURE = (240, 320)


def person(seed):
    """Return a picture with hair, a face with its own light and dark, and clothes."""
    rng = np.random.default_rng(seed)
    image = np.full((*PICTURE, 3), 100, dtype=np.uint8)
    image[20:64, 80:180] = rng.integers(0, 256, size=3)
    coarse = rng.integers(40, 216, size=(8, 6, 1)) + rng.integers(-40, 40, size=3)
    image[60:140, 100:160] = np.kron(coarse, np.ones((10, 10, 1))).clip(0, 255)
    image[145:230, 60:200] = rng.integers(0, 256, size=3)
    # One even colour would be another bin of a histogram at the least change.
    return (image + rng.normal(scale=25, size=image.shape)).clip(0, 255).astype(np.uint8)


def faded(first, second, weight):
    return ((1 - weight) * first + weight * second).astype(np.uint8)


class OnePlace:
    """A detector that sees one face, always in the same place."""

    name = "one place"

    def detect(self, image):
        return (FACE,)


def followed(pictures, *, rule="longest", fps=5.0):
    frames = [SampledFrame(slot, slot / fps, image) for slot, image in enumerate(pictures)]
    follower = FaceFollower(
        OnePlace(), detection_fps=2.0, log=FollowingLog(), rule=patient_rule(rule)
    )
    found = list(follower.follow(frames))
    if follower.read_again:
        found = list(follower.follow(frames))
    return [item.face is not None for item in found], follower


@pytest.mark.parametrize("fade_frames", [2, 3, 5, 10, 15])
@pytest.mark.parametrize("rule", ["track:1", "track:2"])
def test_no_one_is_followed_through_a_fade(fade_frames, rule):
    ann, ben = person(1), person(2)
    weights = np.clip((np.arange(70) - 30) / fade_frames, 0, 1)
    seen, follower = followed([faded(ann, ben, w) for w in weights], rule=rule)
    assert follower.log.choice.n_people == 2
    own = weights if rule == "track:1" else 1 - weights
    assert not any(face for face, other in zip(seen, own, strict=True) if other > 0.35)
    # All but the second before the fade, or after it, is still theirs.
    alone = seen[:25] if rule == "track:1" else seen[30 + fade_frames + 5 :]
    assert all(alone)


def test_a_fade_that_the_video_ends_with_is_nobodys():
    ann, ben = person(1), person(2)
    weights = np.clip((np.arange(38) - 30) / 10, 0, 1)
    seen, follower = followed([faded(ann, ben, w) for w in weights])
    assert all(seen[:25])
    assert not any(seen[34:])
    assert follower.log.choice.confidence < 1


def test_a_lamp_and_a_hand_end_no_track():
    ann = person(1)
    darker = [np.clip(ann * (1 - 0.27 * w), 0, 255).astype(np.uint8) for w in (0.3, 0.6, 1.0)]
    assert difference(appearance(ann, FACE), appearance(darker[-1], FACE)) > 0.3
    hidden = ann.copy()
    hidden[110:140, 100:160] = ann[60:140, 100:160].mean(axis=(0, 1))
    lamp = [ann] * 30 + darker + [darker[-1]] * 30 + darker[::-1] + [ann] * 30
    pictures = lamp + [hidden] * 15 + [ann] * 20
    seen, follower = followed(pictures)
    assert all(seen)
    assert len(follower._tracker.tracks) == 1


def test_earlier_looks_are_corrected():
    rng = np.random.default_rng(0)
    ann, ben = (appearance(person(seed), FACE) for seed in (1, 2))
    between = [appearance(faded(person(1), person(2), w), FACE) for w in (0.3, 0.5, 0.7)]

    def trembling(look):
        parts = (part + 0.01 * rng.normal(size=part.shape) for part in look.parts)
        return Appearance(tuple(part / np.linalg.norm(part) for part in parts))

    # One look a half second: who is there is written down by hand.
    script = [ann] * 12 + between + [ben] * 14
    tracker, numbers = Tracker(), []
    for index, look in enumerate(script):
        other = Face(250.0, 60.0, 40.0, 50.0, 0.9)
        faces = [FACE, other] if index >= 16 else [FACE]
        looks = [trembling(look), trembling(ann)][: len(faces)]
        numbers.append(
            list(tracker.add(faces, looks, seconds=0.5 * index, picture_size=PICTURE, cut=False))
        )
        for correction in tracker.corrections():
            where = numbers[correction.index]
            where[where.index(correction.old)] = correction.new
    tracker.finish()
    assert tracker.corrections() == ()
    first, middle, last = numbers[0][0], numbers[13][0], numbers[28][0]
    assert [row[0] for row in numbers] == [first] * 12 + [middle] * 3 + [last] * 14
    assert len({first, middle, last}) == 3
    by_number = {track.number: track for track in tracker.tracks}
    assert [by_number[n].n_looks for n in (first, middle, last)] == [12, 3, 14]
    assert [by_number[n].visible_seconds for n in (first, middle, last)] == [5.5, 1.0, 6.5]
    assert [by_number[n].nobody for n in (first, middle, last)] == [False, True, False]
    # Only the one who came last was seen beside the other person.
    beside = numbers[28][1]
    assert [by_number[n].met for n in (first, middle, last)] == [set(), set(), {beside}]
    assert by_number[beside].met == {last}
    # So the other person may be Ann, who was gone by then, and looks like her.
    persons = find_people(tracker.tracks).persons
    assert sorted(person.tracks for person in persons) == sorted([(first, beside), (last,)])
