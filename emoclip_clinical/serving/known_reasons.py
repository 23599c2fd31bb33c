"""What `extract` says of a recording without features, told from what a client may have put there.

An answer about a visit that can not be estimated says why. The words come from the request; only
those that this package writes itself are repeated.
"""

from __future__ import annotations

import re

from emoclip_clinical.features.quality import STATUSES

_KNOWN_STATUSES = frozenset({*STATUSES, "partial", "failed"})
_NUMBER = r"\d{1,9}(\.\d{1,6})?"
_PARTS = (
    f"it could not be opened within {_NUMBER} s: the decoder hangs",
    f"reading stopped: the decoder gave no picture for {_NUMBER} s",
    f"none of {_NUMBER} segments could be scored",
    f"damaged packets or pictures skipped: {_NUMBER}",
    f"its clock jumps by {_NUMBER} s: read up to there",
    f"its pictures end {_NUMBER} s before the duration in its header",
    f"its pictures are steady, but for {_NUMBER} s there are none",
    rf"no picture could be decoded \(damaged packets: {_NUMBER}\)",
    "no picture between start_seconds and stop_seconds on the video's own clock",
    "the video holds no picture",
    "a folder, not a video file",
    "not a regular file",
    r"the file is empty \(0 bytes\)",
    "the file does not exist",
    r"the file may not be read \(permission denied\)",
    "not a video: the file holds text",
    r"the MP4/MOV file has no readable index \(moov\): it was cut off, or the recording was not "
    "closed",
    "not a video that FFmpeg can read, or damaged at its start",
    "no decoder is here for the video's codec",
    "no video track(, only a cover picture|, only sound)?",
)
_PART = "|".join(f"({part})" for part in _PARTS)
_REASON = re.compile(f"({_PART})(; ({_PART}))*")
_LONGEST_LETTERS = 400


def known_status(value: object) -> str:
    """Return a status that `extract` may write; empty for anything else."""
    return value if isinstance(value, str) and value in _KNOWN_STATUSES else ""


def known_reason(value: object) -> str:
    """Return a reason that `extract` may write for a whole recording; empty for anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST_LETTERS:
        return ""
    return value if _REASON.fullmatch(value) else ""
