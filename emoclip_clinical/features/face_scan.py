"""Look through one interview for its people, and keep a few pictures of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from PIL import Image

from emoclip_clinical.features.background import BackgroundSampler
from emoclip_clinical.features.crop import crop_face
from emoclip_clinical.features.decoding import SampledFrame, VideoSampler
from emoclip_clinical.features.face_setup import FaceSetup
from emoclip_clinical.features.following import FollowingLog
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.looks import Look
from emoclip_clinical.features.patient import PatientChoice
from emoclip_clinical.features.people import Person

PICTURE_PIXELS = 112
SCENE_PIXELS = 300
PICTURES_SHOWN = 6

_Item = TypeVar("_Item")

_MARGIN = 0.4
_KEPT = 2 * PICTURES_SHOWN
_KEPT_PER_TRACK = 4


@dataclass(frozen=True)
class FacePicture:
    """One face at one moment.

    Attributes
    ----------
    seconds : float
        On the video's own clock.
    image : ndarray of uint8, shape (112, 112, 3)
        RGB, not blurred.
    """

    seconds: float
    image: np.ndarray


@dataclass(frozen=True)
class ScenePicture:
    """One whole picture and who is in it.

    Attributes
    ----------
    seconds : float
        On the video's own clock.
    image : ndarray of uint8, shape (height, width, 3)
        RGB, reduced to 300 pixels, not blurred.
    boxes : tuple of (int, tuple of four floats)
        For each face the number of its track, and left, top, width, height as shares of the
        picture's width and height.
    """

    seconds: float
    image: np.ndarray
    boxes: tuple[tuple[int, tuple[float, float, float, float]], ...]


@dataclass(frozen=True)
class FaceScan:
    """Who is in one interview.

    Attributes
    ----------
    choice : PatientChoice
        Who is taken for the patient.
    persons : tuple of Person
        Everyone, in order of appearance.
    doubtful_seconds : float
        Time on screen of tracks that are no one's for sure.
    tracked_seconds : float
        Time in which any face was tracked.
    pictures : dict of int to tuple of FacePicture
        A few for each person, by number, in order of time.
    scenes : tuple of ScenePicture
        A few, spread over the interview.
    given_up : str
        Why the rest of the interview was not looked through; else empty.
    """

    choice: PatientChoice
    persons: tuple[Person, ...]
    doubtful_seconds: float
    tracked_seconds: float
    pictures: dict[int, tuple[FacePicture, ...]]
    scenes: tuple[ScenePicture, ...]
    given_up: str = ""


def scan_faces(
    interview: Interview, *, setup: FaceSetup, sample_fps: float, stall_seconds: float
) -> FaceScan:
    """Look through an interview as extraction does, without a model.

    Parameters
    ----------
    interview : Interview
        Which.
    setup : FaceSetup
        The face settings of the run.
    sample_fps : float
        Frames sampled per second; with extraction's own, people have the same numbers as there.
    stall_seconds : float
        See `BackgroundSampler`.

    Returns
    -------
    FaceScan
        What was seen.

    Raises
    ------
    UnreadableVideoError
        If the video, its boxes or its reference picture can not be used.
    """
    album = _Album()
    follower = setup.follower(interview, log=FollowingLog(), watch=album.add)
    sampler = VideoSampler(
        interview.path,
        sample_fps=sample_fps,
        start_seconds=interview.start_seconds,
        stop_seconds=interview.stop_seconds,
    )
    with BackgroundSampler(sampler, stall_seconds=stall_seconds) as frames:
        choice = follower.scan(frames)
    people = follower.people
    return FaceScan(
        choice=choice,
        persons=people.persons,
        doubtful_seconds=sum(people.doubtful_seconds.values()),
        tracked_seconds=people.tracked_seconds,
        pictures={
            person.number: album.pictures_of(person, follower.looks) for person in people.persons
        },
        scenes=album.scenes_of(follower.looks),
        given_up=frames.log.notes[-1] if frames.stalled else "",
    )


@dataclass
class _Album:
    """Pictures on the way; their number stays bounded for each track and for the whole.

    They are kept by the number of the look and the place of the face in it: whose a face is may
    be corrected later.
    """

    _scenes: list[tuple[int, ScenePicture]] = field(default_factory=list)
    _faces: dict[int, list[tuple[int, int, FacePicture]]] = field(default_factory=dict)
    _seen: dict[int, int] = field(default_factory=dict)
    _step: int = 1
    _n_looks: int = 0

    def add(self, frame: SampledFrame, look: Look) -> None:
        if self._n_looks % self._step == 0:
            self._scenes.append((self._n_looks, _scene(frame, look)))
            if len(self._scenes) > _KEPT:
                self._scenes = self._scenes[::2]
                self._step *= 2
        for place, (face, track) in enumerate(zip(look.faces, look.tracks, strict=True)):
            seen = self._seen[track] = self._seen.get(track, 0) + 1
            # At the 1st, 2nd, 4th, 8th, … look: spread over the track, whatever its length.
            if seen & (seen - 1) == 0:
                square = crop_face(frame.image, face, margin=_MARGIN)
                picture = FacePicture(frame.seconds, _resized(square, PICTURE_PIXELS))
                kept = self._faces.setdefault(track, [])
                kept.append((self._n_looks, place, picture))
                del kept[:-_KEPT_PER_TRACK]
        self._n_looks += 1

    def pictures_of(self, person: Person, looks: Sequence[Look]) -> tuple[FacePicture, ...]:
        """Return a person's pictures, spread over all their tracks."""
        found = [
            picture
            for kept in self._faces.values()
            for index, place, picture in kept
            if looks[index].tracks[place] in person.tracks
        ]
        return tuple(_spread(sorted(found, key=lambda picture: picture.seconds)))

    def scenes_of(self, looks: Sequence[Look]) -> tuple[ScenePicture, ...]:
        """Return a few whole pictures, their faces with the numbers of their tracks."""
        return tuple(
            replace(
                scene,
                boxes=tuple(
                    (track, box)
                    for track, (_, box) in zip(looks[index].tracks, scene.boxes, strict=True)
                ),
            )
            for index, scene in _spread(self._scenes)
        )


def _scene(frame: SampledFrame, look: Look) -> ScenePicture:
    height, width = frame.image.shape[:2]
    boxes = tuple(
        (track, (face.left / width, face.top / height, face.width / width, face.height / height))
        for face, track in zip(look.faces, look.tracks, strict=True)
    )
    return ScenePicture(frame.seconds, _resized(frame.image, SCENE_PIXELS), boxes)


def _resized(image: np.ndarray, longest_side_pixels: int) -> np.ndarray:
    height, width = image.shape[:2]
    share = longest_side_pixels / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _spread(items: list[_Item]) -> list[_Item]:
    if len(items) <= PICTURES_SHOWN:
        return items
    places = np.linspace(0, len(items) - 1, PICTURES_SHOWN).round().astype(int)
    return [items[place] for place in places]
