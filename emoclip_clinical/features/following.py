"""Follow the patient's face through a video with a few detections a second.

Who the patient is can only be known at the end: the face that is longest on screen may be yet to
come. A video is therefore read with the best guess so far. Where the guess held to the end, which
it does with one person, that was all. As soon as it does not hold, nothing more is given out, the
rest is only looked through, and `FaceFollower.read_again` asks for a second reading, which needs
no detection. Memory holds the pictures of about two detection intervals and a few numbers for
each look.

Faces are looked for `detection_fps` times a second, on both sides of a scene cut, and in every
sampled picture between two looks that do not agree, so that a box is only ever put between two
looks that see the same face in nearly the same place. Where a face turns out, seconds later, to
have faded into another's, what was given out of it is void too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from emoclip_clinical.features.appearance import Appearance, appearance, difference
from emoclip_clinical.features.cuts import CutDetector
from emoclip_clinical.features.decoding import SampledFrame
from emoclip_clinical.features.faces import Face, FaceDetector, overlap
from emoclip_clinical.features.looks import REACH, Look, face_at, patient_place
from emoclip_clinical.features.patient import PatientChoice, PatientRule, choose_patient
from emoclip_clinical.features.people import People, find_people
from emoclip_clinical.features.precomputed import FaceTable
from emoclip_clinical.features.tracking import LARGEST_DIFFERENCE, LONGEST_GAP_SECONDS, Tracker

Absence = Literal["", "no_face", "other_person"]
"""Why a picture shows no face of the patient: no face at all, or none that is surely theirs."""

Likeness = Callable[[np.ndarray, Face], float | None]
"""Cosine of a face in a picture to the reference picture; None where it can not be measured."""

Watch = Callable[[SampledFrame, Look], None]
"""Called with every picture in which faces were looked for."""

_SAME_PLACE_OVERLAP = 0.3
_LONGEST_INTERVALS = 1.6
_RARE_SHARE = 0.05
_LIKENESS_LOOKS = 5
_GUESS_EVERY_LOOKS = 20


@dataclass
class FollowingLog:
    """What was seen in one video; complete when the last picture was given out.

    Attributes
    ----------
    faces_per_detection : dict of int to int
        How many detections saw so many faces at once.
    n_chosen : int
        Detections that saw the patient.
    n_continued : int
        Those that carried on the track of the one before.
    n_frames_with_face : int
        Sampled frames that were given the patient's face.
    choice : PatientChoice or None
        Who was taken for the patient.
    """

    faces_per_detection: dict[int, int] = field(default_factory=dict)
    n_chosen: int = 0
    n_continued: int = 0
    n_frames_with_face: int = 0
    choice: PatientChoice | None = None

    @property
    def n_faces(self) -> int:
        """Most faces seen at once, leaving out numbers seen in under 1 detection of 20."""
        total = sum(self.faces_per_detection.values())
        at_least = 0
        for count in sorted(self.faces_per_detection, reverse=True):
            at_least += self.faces_per_detection[count]
            if at_least >= _RARE_SHARE * total:
                return count
        return 0

    @property
    def tracked_share(self) -> float | None:
        """Share of choices, after the first, that carried on the one before; None without any."""
        if self.n_chosen == 0:
            return None
        return 1.0 if self.n_chosen == 1 else self.n_continued / (self.n_chosen - 1)


@dataclass(frozen=True)
class FollowedFrame:
    """A sampled picture and the patient's face in it, if it is there.

    Attributes
    ----------
    frame : SampledFrame
        The picture.
    face : Face or None
        The patient's.
    absence : str
        Why there is none, see `Absence`; empty where there is one, or where none is looked for.
    shot : int
        Pictures with different numbers are parted by a cut, or by a gap in which the face was
        lost: what moves from one to the other is not the face.
    """

    frame: SampledFrame
    face: Face | None
    absence: Absence = ""
    shot: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    face: Face
    look: Appearance


def _same(first: _Found, second: _Found) -> bool:
    return (
        overlap(first.face, second.face) >= _SAME_PLACE_OVERLAP
        and difference(first.look, second.look) <= LARGEST_DIFFERENCE
    )


def whole_pictures(frames: Iterable[SampledFrame]) -> Iterator[FollowedFrame]:
    """Yield every frame where no face is looked for, with the number of its shot."""
    cuts, shot = CutDetector(), 0
    for frame in frames:
        shot += cuts.is_cut(frame.image)
        yield FollowedFrame(frame, None, shot=shot)


class FaceFollower:
    """Find one person's face in a video.

    Parameters
    ----------
    detector : FaceDetector or FaceTable
        Finds faces in single pictures, or knows them already.
    detection_fps : float
        Detections per second of video; frames in between wait for the next one.
    log : FollowingLog
        Filled while the frames are followed.
    rule : PatientRule
        Who the patient is.
    likeness : callable, optional
        For the rule ``reference``.
    watch : callable, optional
        Sees every look while it is made.
    """

    def __init__(
        self,
        detector: FaceDetector | FaceTable,
        *,
        detection_fps: float,
        log: FollowingLog,
        rule: PatientRule | None = None,
        likeness: Likeness | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.log = log
        self.looks: list[Look] = []
        self._last_found: tuple[_Found, ...] = ()
        self._detector = detector
        self._interval_seconds = 1.0 / detection_fps
        self._rule = rule or PatientRule("longest")
        self._likeness = likeness
        self._watch = watch
        self._cosines: dict[int, dict[int, float]] = {}
        self._tracker = Tracker(
            longest_gap_seconds=max(
                LONGEST_GAP_SECONDS, _LONGEST_INTERVALS * self._interval_seconds
            )
        )
        self._tracks: frozenset[int] = frozenset()
        self._guessed_from = (0, 0)
        self._given: list[int | None] = []
        self._lost = False
        self._readings = 0

    @property
    def read_again(self) -> bool:
        """Whether what was given out is void, and the same frames must be followed once more."""
        return self._lost

    @property
    def people(self) -> People:
        """Everyone who was seen so far."""
        return find_people(self._tracker.tracks, tracked_seconds=self._tracker.tracked_seconds)

    def follow(self, frames: Iterable[SampledFrame]) -> Iterator[FollowedFrame]:
        """Yield every frame, in order, with the patient's face.

        When it ends with `read_again` true, what it yielded is to be thrown away and `follow`
        called once more with the same frames from the start; it then yields all of them.

        Parameters
        ----------
        frames : iterable of SampledFrame
            In order of time.

        Yields
        ------
        FollowedFrame
            Without a face where the patient is not seen for sure, see `Absence`.
        """
        self._readings += 1
        self.log.n_frames_with_face = 0
        followed = self._first_reading(frames) if self._readings == 1 else self._again(frames)
        for item in followed:
            self.log.n_frames_with_face += item.face is not None
            yield item

    def scan(self, frames: Iterable[SampledFrame]) -> PatientChoice:
        """Look through a video for its people and give out no frame.

        Parameters
        ----------
        frames : iterable of SampledFrame
            In order of time.

        Returns
        -------
        PatientChoice
            As `follow` would make it.
        """
        self._readings += 1
        held: deque[SampledFrame] = deque()
        for _ in self._looking(frames, held):
            held.clear()
        self._finish_tracks()
        return self._decide()

    def _first_reading(self, frames: Iterable[SampledFrame]) -> Iterator[FollowedFrame]:
        held: deque[SampledFrame] = deque()
        for _ in self._looking(frames, held):
            self._guess()
            if self._lost:
                held.clear()
            elif len(self.looks) > REACH:
                yield from self._released(held, until=len(self.looks) - 1 - REACH)
        self._finish_tracks()
        self._decide()
        if not self._lost:
            yield from self._released(held, until=len(self.looks) - 1)

    def _again(self, frames: Iterable[SampledFrame]) -> Iterator[FollowedFrame]:
        self._lost = False
        index = 0
        for frame in frames:
            index = self._index(frame.seconds, start=index)
            yield self._followed(frame, index)

    def _looking(self, frames: Iterable[SampledFrame], held: deque[SampledFrame]) -> Iterator[None]:
        """Look for faces where it is due; hold every frame, and stop after each new look."""
        cuts = CutDetector()
        waiting: list[SampledFrame] = []
        cut = False
        for frame in frames:
            cut = cuts.is_cut(frame.image)
            if cut and waiting:
                yield from self._look(waiting)
                waiting = []
            waiting.append(frame)
            held.append(frame)
            # A hair's breadth, so that equal spacings are not missed by rounding.
            due = self.looks and (
                frame.seconds - self.looks[-1].seconds >= self._interval_seconds - 1e-6
            )
            if due or cut or not self.looks:
                yield from self._look(waiting, cut=cut)
                waiting = []
        if waiting:
            yield from self._look(waiting)

    def _look(self, waiting: Sequence[SampledFrame], *, cut: bool = False) -> Iterator[None]:
        """Look at the last of the waiting frames, and at all where it does not fit."""
        found = self._find(waiting[-1])
        if len(waiting) > 1 and not self._fits(found, waiting[-1].seconds):
            for frame in waiting[:-1]:
                self._add(frame, self._find(frame), cut=False)
                yield
        self._add(waiting[-1], found, cut=cut)
        yield

    def _find(self, frame: SampledFrame) -> tuple[_Found, ...]:
        if isinstance(self._detector, FaceTable):
            faces = self._detector.at(frame.seconds)
        else:
            faces = self._detector.detect(frame.image)
        return tuple(_Found(face, appearance(frame.image, face)) for face in faces)

    def _fits(self, found: Sequence[_Found], seconds: float) -> bool:
        """Tell whether the same faces are where they were in the last look."""
        if seconds - self.looks[-1].seconds > _LONGEST_INTERVALS * self._interval_seconds:
            return False
        if len(found) != len(self._last_found):
            return False
        near = [[_same(a, b) for b in self._last_found] for a in found]
        columns = [list(column) for column in zip(*near, strict=True)]
        return all(sum(line) == 1 for line in [*near, *columns])

    def _add(self, frame: SampledFrame, found: tuple[_Found, ...], *, cut: bool) -> None:
        faces = tuple(item.face for item in found)
        tracks = self._tracker.add(
            faces,
            [item.look for item in found],
            seconds=frame.seconds,
            picture_size=(frame.image.shape[0], frame.image.shape[1]),
            cut=cut,
        )
        self._last_found = found
        look = Look(frame.seconds, faces, tracks)
        self.looks.append(look)
        if self._watch is not None:
            self._watch(frame, look)
        counts = self.log.faces_per_detection
        counts[len(faces)] = counts.get(len(faces), 0) + 1
        if self._likeness is not None:
            self._compare(frame, look, self._likeness)
        self._correct()

    def _compare(self, frame: SampledFrame, look: Look, likeness: Likeness) -> None:
        index = len(self.looks) - 1
        for face, number in zip(look.faces, look.tracks, strict=True):
            known = self._cosines.setdefault(number, {})
            # Comparing costs far more than following; a few looks settle who a track is.
            if len(known) < _LIKENESS_LOOKS:
                cosine = likeness(frame.image, face)
                known |= {} if cosine is None else {index: cosine}

    def _correct(self) -> None:
        """Take over what the tracker has found out about earlier looks."""
        corrections = self._tracker.corrections()
        for correction in corrections:
            look = self.looks[correction.index]
            numbers = tuple(
                correction.new if number == correction.old else number for number in look.tracks
            )
            self.looks[correction.index] = replace(look, tracks=numbers)
            cosine = self._cosines.get(correction.old, {}).pop(correction.index, None)
            if cosine is not None:
                self._cosines.setdefault(correction.new, {})[correction.index] = cosine
        if corrections:
            self._check_given()

    def _finish_tracks(self) -> None:
        self._tracker.finish()
        self._correct()

    def _choice(self) -> PatientChoice:
        similarities = {
            number: float(np.mean(list(values.values())))
            for number, values in self._cosines.items()
            if values
        }
        return choose_patient(self.people, rule=self._rule, similarities=similarities)

    def _guess(self) -> None:
        """Bring the guess up to date; give up where what was given out would be another's."""
        tracks = self._tracker.tracks
        # A second look makes a track fit to found a person.
        known = len(tracks), sum(track.n_looks > 1 for track in tracks)
        regular = len(tracks) > 1 and len(self.looks) % _GUESS_EVERY_LOOKS == 0
        if not self._lost and (known != self._guessed_from or regular):
            self._guessed_from = known
            self._take(self._choice().tracks)

    def _take(self, tracks: frozenset[int]) -> None:
        if tracks != self._tracks:
            self._tracks = tracks
            self._check_given()

    def _check_given(self) -> None:
        """Give up where a face that was given out is not the patient's, or one was left out."""
        self._lost = self._lost or any(
            self._track(k) != given for k, given in enumerate(self._given)
        )

    def _decide(self) -> PatientChoice:
        choice = self._choice()
        self.log.choice = choice
        self._take(choice.tracks)
        self._tracks = choice.tracks
        seen = [track for track in map(self._track, range(len(self.looks))) if track is not None]
        self.log.n_chosen = len(seen)
        self.log.n_continued = sum(a == b for a, b in pairwise(seen))
        return choice

    def _track(self, index: int) -> int | None:
        look = self.looks[index]
        place = patient_place(look, self._tracks)
        return None if place is None else look.tracks[place]

    def _released(self, held: deque[SampledFrame], *, until: int) -> Iterator[FollowedFrame]:
        """Give out the frames up to a look, all of whose neighbours are known."""
        while len(self._given) <= until:
            self._given.append(self._track(len(self._given)))
        index = max(0, until - 1)
        while held and held[0].seconds <= self.looks[until].seconds:
            frame = held.popleft()
            index = self._index(frame.seconds, start=0 if index > until else index)
            yield self._followed(frame, index)

    def _index(self, seconds: float, *, start: int) -> int:
        """Return the last look at or before a moment."""
        index = start
        while index and self.looks[index].seconds > seconds:
            index -= 1
        while index + 1 < len(self.looks) and self.looks[index + 1].seconds <= seconds:
            index += 1
        return index

    def _followed(self, frame: SampledFrame, index: int) -> FollowedFrame:
        face = face_at(self.looks, index, frame.seconds, tracks=self._tracks)
        track = self._track(index)
        if face is not None and track is not None:
            return FollowedFrame(frame, face, shot=track)
        around = self.looks[index : index + 2]
        return FollowedFrame(
            frame, None, "other_person" if any(look.faces for look in around) else "no_face"
        )
