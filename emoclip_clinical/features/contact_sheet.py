"""One picture an interview for a human to sign off: who was seen, and who is the patient.

Faces are made unrecognisable unless asked for otherwise: each is averaged to a few coarse squares,
whole pictures even more coarsely, since they may hold faces that no detector found. Hair and
clothes keep their colours, which is enough to tell people apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emoclip_clinical.features.config import ExtractionConfig
from emoclip_clinical.features.face_scan import (
    PICTURE_PIXELS,
    PICTURES_SHOWN,
    SCENE_PIXELS,
    FacePicture,
    FaceScan,
    ScenePicture,
    scan_faces,
)
from emoclip_clinical.features.face_setup import FaceSetup, face_setup, load_detector
from emoclip_clinical.features.interviews import Interview, find_interviews
from emoclip_clinical.features.opening import UnreadableVideoError
from emoclip_clinical.features.patient import patient_warning
from emoclip_clinical.features.people import Person
from emoclip_clinical.features.unforeseen import unforeseen_reason
from emoclip_clinical.features.writing import replacing, writing_to
from emoclip_clinical.records import InputError, InterviewKey, Progress, no_progress

PERSONS_SHOWN = 12

_FACE_SQUARES = 9
_SCENE_SQUARES = 28
_SQUARES_ACROSS_FACE = 6
_GAP, _LABEL_PIXELS, _CAPTION_PIXELS, _HEADER_PIXELS = 12, 190, 20, 62
_FRAME_PIXELS = 4
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 30, 30), (120, 120, 120)
_PATIENT, _OTHER = (20, 130, 70), (176, 96, 16)
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class SheetOutcome:
    """What became of one interview's contact sheet.

    Attributes
    ----------
    key : InterviewKey
        Which interview.
    path : Path or None
        The picture; None where the video could not be read.
    scan : FaceScan or None
        What was seen.
    reason : str
        Why there is no sheet; else empty.
    warning : str
        What the user should look at; else empty.
    """

    key: InterviewKey
    path: Path | None
    scan: FaceScan | None
    reason: str = ""
    warning: str = ""


def write_contact_sheets(
    paths: Iterable[str | Path],
    *,
    config: ExtractionConfig,
    sample_fps: float,
    output: Path,
    show_faces: bool = False,
    progress: Progress = no_progress,
) -> tuple[SheetOutcome, ...]:
    """Write ``<interview>.png`` for each interview.

    Parameters
    ----------
    paths : iterable of str or Path
        See `find_interviews`.
    config : ExtractionConfig
        Its face settings hold.
    sample_fps : float
        Frames sampled per second; with extraction's own, people have the same numbers as there.
    output : Path
        Folder of the pictures.
    show_faces : bool, default False
        Whether faces can be recognised on the sheets.
    progress : Progress
        Called as ``progress("faces", done, total)`` after each interview.

    Returns
    -------
    tuple of SheetOutcome
        In order of the interviews' keys.

    Raises
    ------
    InputError
        If paths or settings can not be used, or `output` can not be written.
    """
    interviews = find_interviews(paths)
    setup = face_setup(config, detector=load_detector(config))
    if setup is None:
        raise InputError(
            "face is 'whole_frame': no face is looked for, so there is no one to show; set face "
            "to 'detect' or 'precomputed'"
        )
    setup = setup.prepared(interviews, fetch_weights=config.fetch_weights)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can not write to {output}: {error.strerror}") from None
    outcomes = []
    for interview in interviews:
        outcomes.append(
            _outcome(
                interview,
                setup,
                sample_fps=sample_fps,
                stall_seconds=config.stall_seconds,
                output=output,
                show_faces=show_faces,
            )
        )
        progress("faces", len(outcomes), len(interviews))
    return tuple(outcomes)


def draw_contact_sheet(scan: FaceScan, *, title: str, show_faces: bool = False) -> Image.Image:
    """Draw one interview's people.

    Parameters
    ----------
    scan : FaceScan
        Who was seen.
    title : str
        The interview's name.
    show_faces : bool, default False
        Whether faces can be recognised.

    Returns
    -------
    PIL.Image.Image
        RGB: a strip of whole pictures with numbered boxes, then a row for each of at most 12
        people, the longest on screen; the patient's row is framed and says so.
    """
    persons = sorted(
        sorted(scan.persons, key=lambda person: -person.visible_seconds)[:PERSONS_SHOWN],
        key=lambda person: person.number,
    )
    scene_height = max((scene.image.shape[0] for scene in scan.scenes), default=0)
    scene_width = max((scene.image.shape[1] for scene in scan.scenes), default=SCENE_PIXELS)
    columns = max(1, min(3, len(scan.scenes)))
    lines = -(-len(scan.scenes) // columns)
    row_pixels = PICTURE_PIXELS + _CAPTION_PIXELS + 2 * _GAP
    strip_pixels = lines * (scene_height + _CAPTION_PIXELS + _GAP)
    width = max(
        _LABEL_PIXELS + PICTURES_SHOWN * (PICTURE_PIXELS + _GAP) + 2 * _GAP,
        columns * (scene_width + _GAP) + _GAP,
    )
    height = _HEADER_PIXELS + strip_pixels + max(1, len(persons)) * row_pixels + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, fill=_INK, font=_font(20))
    draw.text((_GAP, _GAP + 26), _headline(scan), fill=_FAINT, font=_font(13))
    for k, scene in enumerate(scan.scenes):
        left = _GAP + (k % columns) * (scene_width + _GAP)
        top = _HEADER_PIXELS + (k // columns) * (scene_height + _CAPTION_PIXELS + _GAP)
        _draw_scene(sheet, scene, scan, left=left, top=top, show_faces=show_faces)
    top = _HEADER_PIXELS + strip_pixels
    if not persons:
        draw.text((_GAP, top + _GAP), "no face was found", fill=_INK, font=_font(15))
    for k, person in enumerate(persons):
        _draw_person(sheet, person, scan, top=top + k * row_pixels, show_faces=show_faces)
    return sheet


def unrecognisable(image: np.ndarray, *, squares: int) -> np.ndarray:
    """Average a picture to coarse squares.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)
        RGB.
    squares : int
        Along the longer side.

    Returns
    -------
    ndarray of uint8, of the same shape
        It holds no more than the average colour of each square.
    """
    height, width = image.shape[:2]
    share = squares / max(height, width)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    coarse = Image.fromarray(image).resize(size, Image.Resampling.BOX)
    return np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))


def _outcome(
    interview: Interview,
    setup: FaceSetup,
    *,
    sample_fps: float,
    stall_seconds: float,
    output: Path,
    show_faces: bool,
) -> SheetOutcome:
    name = interview.key.name
    try:
        scan = scan_faces(
            interview, setup=setup, sample_fps=sample_fps, stall_seconds=stall_seconds
        )
    except UnreadableVideoError as error:
        return SheetOutcome(interview.key, None, None, reason=str(error))
    except InputError:
        raise
    except Exception as error:
        return SheetOutcome(interview.key, None, None, reason=unforeseen_reason(error))
    path = output / f"{name}.png"
    sheet = draw_contact_sheet(scan, title=name, show_faces=show_faces)
    with writing_to(output), replacing(output, [path.name]) as (target,):
        sheet.save(target, format="PNG")
    warnings = [patient_warning(scan.choice, interview=name) or ""]
    if scan.given_up:
        warnings.append(f"{name}: {scan.given_up}; the sheet shows what came before")
    warning = "; ".join(text for text in warnings if text)
    return SheetOutcome(interview.key, path, scan, warning=warning)


def _headline(scan: FaceScan) -> str:
    choice = scan.choice
    parts = [f"people found: {choice.n_people}", f"patient: {choice.rule}"]
    if choice.person is None:
        parts.append("no one fits")
    else:
        parts.append(f"taken: person {choice.person}")
    if choice.margin is not None:
        parts.append(f"lead over the next {100 * choice.margin:.0f} %")
    if choice.confidence is not None:
        parts.append(f"surely known {100 * choice.confidence:.0f} % of the time")
    if scan.doubtful_seconds > 0:
        parts.append(f"left out as uncertain {_clock(scan.doubtful_seconds)}")
    return "  ·  ".join(parts)


def _draw_scene(
    sheet: Image.Image,
    scene: ScenePicture,
    scan: FaceScan,
    *,
    left: int,
    top: int,
    show_faces: bool,
) -> None:
    height, width = scene.image.shape[:2]
    shown = scene.image
    if not show_faces:
        shown = unrecognisable(scene.image, squares=_scene_squares(scene, scan.scenes))
    sheet.paste(Image.fromarray(shown), (left, top))
    draw = ImageDraw.Draw(sheet)
    numbers = {track: person.number for person in scan.persons for track in person.tracks}
    for track, (x, y, wide, tall) in scene.boxes:
        corner = (left + max(0.0, x) * width, top + max(0.0, y) * height)
        end = (left + min(1.0, x + wide) * width, top + min(1.0, y + tall) * height)
        if end[0] <= corner[0] or end[1] <= corner[1]:
            continue
        colour = _PATIENT if track in scan.choice.tracks else _OTHER
        draw.rectangle((*corner, *end), outline=colour, width=2)
        label = str(numbers.get(track, "?"))
        draw.rectangle((corner[0], corner[1], corner[0] + 16, corner[1] + 18), fill=colour)
        draw.text((corner[0] + 4, corner[1] + 1), label, fill=_PAPER, font=_font(13))
    draw.text((left, top + height + 3), _clock(scene.seconds), fill=_FAINT, font=_font(12))


def _scene_squares(scene: ScenePicture, scenes: Sequence[ScenePicture]) -> int:
    """Return how many squares leave at most six along any face.

    A face that was missed beside others is most likely no larger than the largest that was found
    in any picture; where none was found it may fill the picture.
    """
    if not scene.boxes:
        return _SQUARES_ACROSS_FACE
    sides = []
    for each in scenes:
        height, width = each.image.shape[:2]
        sides += [
            max(wide * width, tall * height) / max(height, width)
            for _, (_, _, wide, tall) in each.boxes
        ]
    return max(1, min(_SCENE_SQUARES, int(_SQUARES_ACROSS_FACE / max(sides))))


def _draw_person(
    sheet: Image.Image, person: Person, scan: FaceScan, *, top: int, show_faces: bool
) -> None:
    draw = ImageDraw.Draw(sheet)
    is_patient = person.number == scan.choice.person
    whole = scan.tracked_seconds
    share = f" ({100 * person.visible_seconds / whole:.0f} %)" if whole else ""
    if is_patient:
        draw.rectangle(
            (2, top + 2, sheet.width - 3, top + PICTURE_PIXELS + _CAPTION_PIXELS + 2 * _GAP - 4),
            outline=_PATIENT,
            width=_FRAME_PIXELS,
        )
    labels = [
        (f"person {person.number}", 18, _INK),
        (f"PATIENT, track:{person.number}" if is_patient else f"track:{person.number}", 14,
         _PATIENT if is_patient else _OTHER),
        (f"on screen {_clock(person.visible_seconds)}{share}", 12, _FAINT),
        (f"height {100 * person.height_share:.0f} % of the picture", 12, _FAINT),
        (f"tracks: {len(person.tracks)}", 12, _FAINT),
    ]  # fmt: skip
    line = top + _GAP
    for text, size, colour in labels:
        draw.text((_GAP, line), text, fill=colour, font=_font(size))
        line += size + 8
    for k, picture in enumerate(scan.pictures.get(person.number, ())):
        left = _LABEL_PIXELS + k * (PICTURE_PIXELS + _GAP)
        _draw_face(sheet, picture, left=left, top=top + _GAP, show_faces=show_faces)


def _draw_face(
    sheet: Image.Image, picture: FacePicture, *, left: int, top: int, show_faces: bool
) -> None:
    shown = picture.image if show_faces else unrecognisable(picture.image, squares=_FACE_SQUARES)
    sheet.paste(Image.fromarray(shown), (left, top))
    ImageDraw.Draw(sheet).text(
        (left, top + PICTURE_PIXELS + 3), _clock(picture.seconds), fill=_FAINT, font=_font(12)
    )


def _font(size: int) -> _Font:
    return ImageFont.load_default(size=size)


def _clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds with a tenth."""
    sign = "-" if seconds < 0 else ""
    tenths = round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{rest / 10:04.1f}"
    return f"{sign}{hours}:{text}" if hours else f"{sign}{text}"
