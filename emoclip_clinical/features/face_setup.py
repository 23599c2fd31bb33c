"""From the settings to a follower for each interview: detector, boxes, patient, reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from emoclip_clinical.features.centerface import CenterFace, centerface_weights
from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.counted_boxes import on_the_videos_clock
from emoclip_clinical.features.crop import crop_face
from emoclip_clinical.features.faces import Face, FaceDetector
from emoclip_clinical.features.following import FaceFollower, FollowingLog, Likeness, Watch
from emoclip_clinical.features.interviews import Interview
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.patient import PatientRule, patient_rule
from emoclip_clinical.features.precomputed import FaceTable, read_face_table
from emoclip_clinical.features.uniface_detector import (
    UnifaceIdentity,
    load_uniface_detector,
    load_uniface_identity,
    uniface_detector_sha256,
)
from emoclip_clinical.features.yunet import YuNet
from emoclip_clinical.features.yunet_weights import YUNET_SHA256, fetched_yunet, weights_cache
from emoclip_clinical.file_hashes import file_sha256
from emoclip_clinical.records import InputError

_PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")
_IDENTITY_MARGIN = 0.4


@dataclass(frozen=True)
class FaceSetup:
    """How faces are found and followed; the same for all interviews of a run.

    Attributes
    ----------
    detector : FaceDetector or None
        None: boxes are read from `boxes_folder`.
    detection_fps : float
        Detections per second.
    crop_margin : float
        See `crop_face`.
    upright : bool
        See `crop_face`.
    rule : PatientRule
        For interviews that name none themselves.
    minimum_score : float
        Of boxes that are read.
    boxes_folder : Path or None
        Holds ``<interview>.csv``.
    boxes_fps : float or None
        See `read_face_table`.
    reference_folder : Path or None
        Holds ``<participant_id>.jpg`` or ``.png``, or ``<interview>.jpg`` or ``.png``.
    identity : UnifaceIdentity or None
        Compares faces with reference pictures; loaded by `prepared` where a rule needs it.
    stall_seconds : float
        See `BackgroundSampler`.
    """

    detector: FaceDetector | None
    detection_fps: float
    crop_margin: float
    upright: bool
    rule: PatientRule
    minimum_score: float
    boxes_folder: Path | None = None
    boxes_fps: float | None = None
    reference_folder: Path | None = None
    identity: UnifaceIdentity | None = None
    stall_seconds: float = 120.0

    def rule_of(self, interview: Interview) -> PatientRule:
        """Return how the patient of one interview is told: by its own rule, or the run's."""
        return patient_rule(interview.patient) if interview.patient else self.rule

    def crop(self, image: np.ndarray, face: Face) -> np.ndarray:
        """Return the square that the model sees, uint8 of shape (side, side, 3)."""
        return crop_face(image, face, margin=self.crop_margin, upright=self.upright)

    def prepared(self, interviews: Iterable[Interview], *, fetch_weights: bool) -> FaceSetup:
        """Check that every interview has what its rule needs, and load what compares faces.

        Parameters
        ----------
        interviews : iterable of Interview
            All of the run.
        fetch_weights : bool
            Whether missing weights may be fetched.

        Returns
        -------
        FaceSetup
            With `identity` where a rule is ``reference``.

        Raises
        ------
        InputError
            Listing every table of boxes and every reference picture that is not there.
        """
        wanted = list(interviews)
        faults = []
        if self.boxes_folder is not None:
            faults += [
                f"{interview.key.name}: no table of boxes {interview.key.name}.csv in boxes_folder"
                for interview in wanted
                if not self._boxes(interview).is_file()
            ]
        compared = [i for i in wanted if self.rule_of(i).name == "reference"]
        if compared and self.reference_folder is None:
            faults.append("patient 'reference' needs reference_folder, a folder of pictures")
        elif compared:
            faults += [
                f"{interview.key.name}: no picture {interview.key.participant_id}.jpg or .png in "
                "reference_folder"
                for interview in compared
                if self._picture(interview) is None
            ]
        if faults:
            raise InputError(faults)
        if not compared:
            return self
        return replace(self, identity=load_uniface_identity(fetch_weights=fetch_weights))

    def follower(
        self, interview: Interview, *, log: FollowingLog, watch: Watch | None = None
    ) -> FaceFollower:
        """Make what follows the patient of one interview.

        Parameters
        ----------
        interview : Interview
            Which.
        log : FollowingLog
            Filled while its frames are followed.
        watch : callable, optional
            See `FaceFollower`.

        Returns
        -------
        FaceFollower
            For this interview alone.

        Raises
        ------
        UnreadableVideoError
            If its boxes or its reference picture can not be used; the message names no file.
        """
        rule = self.rule_of(interview)
        return FaceFollower(
            self.detector if self.detector is not None else self._table(interview),
            detection_fps=self.detection_fps,
            log=log,
            rule=rule,
            likeness=self._likeness(interview) if rule.name == "reference" else None,
            watch=watch,
        )

    def sources(self, interview: Interview) -> Mapping[str, object]:
        """Return what, beside the video, decides one interview's rows: rule and files' hashes."""
        rule = self.rule_of(interview)
        found: dict[str, object] = {"patient": rule.text}
        if self.boxes_folder is not None:
            found["boxes_sha256"] = file_sha256(self._boxes(interview))
        if rule.name == "reference":
            picture = self._picture(interview)
            found["reference_sha256"] = None if picture is None else file_sha256(picture)
        return found

    def _boxes(self, interview: Interview) -> Path:
        if self.boxes_folder is None:
            raise AssertionError("without a detector there is a folder of boxes")
        return self.boxes_folder / f"{interview.key.name}.csv"

    def _table(self, interview: Interview) -> FaceTable:
        try:
            table = read_face_table(
                self._boxes(interview),
                minimum_score=self.minimum_score,
                frames_per_second=self.boxes_fps,
            )
        except InputError as error:
            raise UnreadableVideoError(f"its table of boxes: {'; '.join(error.faults)}") from None
        return on_the_videos_clock(table, interview.path, stall_seconds=self.stall_seconds)

    def _picture(self, interview: Interview) -> Path | None:
        if self.reference_folder is None:
            return None
        for name in (interview.key.name, interview.key.participant_id):
            for ending in _PICTURE_ENDINGS:
                path = self.reference_folder / f"{name}{ending}"
                if path.is_file():
                    return path
        return None

    def _likeness(self, interview: Interview) -> Likeness:
        identity, path = self.identity, self._picture(interview)
        if identity is None or path is None:
            raise AssertionError("prepared() comes before the first interview")
        try:
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture).convert("RGB")
            wanted = identity.embed(np.asarray(upright))
        except OSError:
            raise UnreadableVideoError("its reference picture can not be read") from None
        if wanted is None:
            raise UnreadableVideoError("no face was found in its reference picture")

        def likeness(image: np.ndarray, face: Face) -> float | None:
            found = identity.embed(crop_face(image, face, margin=_IDENTITY_MARGIN))
            return None if found is None else float(found @ wanted)

        return likeness


def load_detector(config: ExtractionConfig) -> FaceDetector | None:
    """Make the face detector that the settings name.

    Parameters
    ----------
    config : ExtractionConfig
        Settings.

    Returns
    -------
    FaceDetector or None
        None where no face is looked for: ``face`` is ``whole_frame`` or ``precomputed``.

    Raises
    ------
    InputError
        If a package or weights are missing.
    """
    if config.face != "detect":
        return None
    if config.detector == "uniface":
        return load_uniface_detector(
            minimum_score=config.minimum_face_score, fetch_weights=config.fetch_weights
        )
    if config.detector == "yunet":
        given = config.yunet_weights
        return YuNet(
            Path(given) if given is not None else fetched_yunet(weights_cache()),
            longest_side_pixels=config.detection_side_pixels,
            minimum_score=config.minimum_face_score,
        )
    return CenterFace(
        centerface_weights(),
        longest_side_pixels=config.detection_side_pixels,
        minimum_score=config.minimum_face_score,
    )


def face_setup(config: ExtractionConfig, *, detector: FaceDetector | None) -> FaceSetup | None:
    """Gather the face settings of a run.

    Parameters
    ----------
    config : ExtractionConfig
        Settings, with absolute paths (`ExtractionConfig.located`).
    detector : FaceDetector or None
        From `load_detector`.

    Returns
    -------
    FaceSetup or None
        None for ``face: whole_frame``.
    """
    if config.face == "whole_frame":
        return None
    return FaceSetup(
        detector=detector,
        detection_fps=config.detection_fps,
        crop_margin=config.crop_margin,
        upright=config.align_face,
        rule=patient_rule(config.patient),
        minimum_score=config.minimum_face_score,
        boxes_folder=Path(config.boxes_folder or "") if config.face == "precomputed" else None,
        boxes_fps=config.boxes_fps,
        reference_folder=Path(config.reference_folder) if config.reference_folder else None,
        stall_seconds=config.stall_seconds,
    )


def describe_faces(config: ExtractionConfig) -> dict[str, object]:
    """Return everything about faces that decides the content of the tables, for features.json.

    Parameters
    ----------
    config : ExtractionConfig
        Settings.

    Returns
    -------
    dict
        Names, numbers and hashes of weights; no path.
    """
    described: dict[str, object] = {"face": config.face}
    if config.face == "whole_frame":
        return described
    described |= {
        "detection_fps": config.detection_fps,
        "crop_margin": config.crop_margin,
        "align_face": config.align_face,
        "minimum_face_score": config.minimum_face_score,
    }
    if config.face == "precomputed":
        return {**described, "boxes_fps": config.boxes_fps}
    described["detector"] = config.detector
    if config.detector == "uniface":
        return {**described, "detector_sha256": uniface_detector_sha256()}
    if config.detector == "yunet":
        given = config.yunet_weights
        described["detector_sha256"] = YUNET_SHA256 if given is None else file_sha256(Path(given))
    else:
        described["detector_sha256"] = file_sha256(centerface_weights())
    described["detection_side_pixels"] = config.detection_side_pixels
    return described
