"""Follow one face through a video with a few detections a second.

Which face: the one that overlaps the last choice, unless another is more than twice as large;
without a last choice, the largest. Frames between two detections get a box between the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from emoclip_clinical.features.decoding import SampledFrame
from emoclip_clinical.features.faces import Face, FaceDetector, between, overlap

_SMALLEST_OVERLAP = 0.2
_TAKEOVER_AREA_RATIO = 2.0
_RARE_SHARE = 0.05


@dataclass
class FollowingLog:
    """What the detector saw in one video.

    Attributes
    ----------
    faces_per_detection : dict of int to int
        How many detections saw so many faces at once.
    n_chosen : int
        Detections in which a face was chosen.
    n_continued : int
        Those in which it overlapped the face that was chosen in the detection before.
    n_frames_with_face : int
        Sampled frames that were given a face.
    """

    faces_per_detection: dict[int, int] = field(default_factory=dict)
    n_chosen: int = 0
    n_continued: int = 0
    n_frames_with_face: int = 0

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
    """A sampled picture and the face in it, if there is one."""

    frame: SampledFrame
    face: Face | None


@dataclass(frozen=True)
class _Detection:
    seconds: float
    face: Face | None
    continued: bool


class FaceFollower:
    """Find one person's face in a stream of frames.

    Parameters
    ----------
    detector : FaceDetector
        Finds faces in single pictures.
    detection_fps : float
        Detections per second of video; frames in between wait for the next one.
    log : FollowingLog
        Filled while the frames are followed.
    """

    def __init__(self, detector: FaceDetector, *, detection_fps: float, log: FollowingLog) -> None:
        self.log = log
        self._detector = detector
        self._interval_seconds = 1.0 / detection_fps

    def follow(self, frames: Iterable[SampledFrame]) -> Iterator[FollowedFrame]:
        """Yield every frame, in order, with its face.

        Parameters
        ----------
        frames : iterable of SampledFrame
            In order of time.

        Yields
        ------
        FollowedFrame
            A frame far from both its neighbouring detections (twice the usual interval), or
            nearer to one without a face, has none.
        """
        for followed in self._followed(frames):
            self.log.n_frames_with_face += followed.face is not None
            yield followed

    def _followed(self, frames: Iterable[SampledFrame]) -> Iterator[FollowedFrame]:
        last: _Detection | None = None
        waiting: list[SampledFrame] = []
        for frame in frames:
            # A hair's breadth, so that equal spacings are not missed by rounding.
            if last is not None and frame.seconds - last.seconds < self._interval_seconds - 1e-6:
                waiting.append(frame)
                continue
            found = self._detect(frame, last)
            yield from self._place(waiting, last, found)
            yield FollowedFrame(frame, found.face)
            waiting, last = [], found
        if waiting:
            found = self._detect(waiting[-1], last)
            yield from self._place(waiting[:-1], last, found)
            yield FollowedFrame(waiting[-1], found.face)

    def _detect(self, frame: SampledFrame, last: _Detection | None) -> _Detection:
        faces = self._detector.detect(frame.image)
        counts = self.log.faces_per_detection
        counts[len(faces)] = counts.get(len(faces), 0) + 1
        face, continued = choose_face(faces, previous=None if last is None else last.face)
        self.log.n_chosen += face is not None
        self.log.n_continued += continued
        return _Detection(frame.seconds, face, continued)

    def _place(
        self, waiting: list[SampledFrame], last: _Detection | None, found: _Detection
    ) -> Iterator[FollowedFrame]:
        for frame in waiting:
            if last is None:
                raise AssertionError("the first frame is always looked at")
            yield FollowedFrame(frame, self._face_at(frame.seconds, last, found))

    def _face_at(self, seconds: float, last: _Detection, found: _Detection) -> Face | None:
        gap = found.seconds - last.seconds
        joined = found.continued and gap <= 2 * self._interval_seconds
        if joined and last.face is not None and found.face is not None:
            return between(last.face, found.face, share=(seconds - last.seconds) / gap)
        before, after = seconds - last.seconds, found.seconds - seconds
        if min(before, after) > self._interval_seconds:
            return None
        return last.face if before <= after else found.face


def choose_face(faces: tuple[Face, ...], *, previous: Face | None) -> tuple[Face | None, bool]:
    """Choose the face to follow.

    Parameters
    ----------
    faces : tuple of Face
        Those in the picture.
    previous : Face or None
        The last choice.

    Returns
    -------
    face : Face or None
        The choice.
    continued : bool
        Whether it overlaps `previous`.
    """
    if not faces:
        return None, False
    largest = max(faces, key=lambda face: face.area)
    if previous is None:
        return largest, False
    nearest = max(faces, key=lambda face: overlap(face, previous))
    if overlap(nearest, previous) < _SMALLEST_OVERLAP:
        return largest, False
    if largest.area > _TAKEOVER_AREA_RATIO * nearest.area:
        return largest, overlap(largest, previous) >= _SMALLEST_OVERLAP
    return nearest, True
