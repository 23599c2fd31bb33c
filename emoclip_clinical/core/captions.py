"""The two halves of a caption: what happens in the clip, and what the face does."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SENTENCE_END = re.compile(
    r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u201d\u2019)]*\s+|(?<=[\u3002\uff01\uff1f])"
)
_FACE = re.compile(
    r"\b(?:eye|eyes|eyebrow|eyebrows|brow|brows|eyelid|eyelids|lid|lids|gaze|pupils?|"
    r"mouth|lips?|teeth|tongue|jaw|chin|cheeks?|nose|nostrils?|forehead|face|facial|"
    r"frown|frowning|smile|smiling|grin|smirk|wrinkles?|dimples?)\b",
    re.IGNORECASE,
)
_PERSON = (
    r"man|woman|boy|girl|child|kid|baby|person|people|lady|gentleman|guy|student|teacher|actor|"
    r"actress|couple|men|women|boys|girls|children|he|she|they|someone|somebody"
)
_TELLS_OF_A_PERSON = re.compile(
    rf"^\W*(?:(?:he|she|they|someone|somebody)\b|"
    rf"(?:an?|one|two|three|several|some|the|this|that)\s+(?:[\w-]+\s+){{0,3}}?(?:{_PERSON})\b)"
    r"(?!['\u2019]s?\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CaptionParts:
    """A caption in two halves; either is empty where the caption lacks it.

    Attributes
    ----------
    context : str
        Who does what, and where.
    expression : str
        What the face shows.
    """

    context: str
    expression: str


def split_caption(caption: str) -> CaptionParts:
    """Part a caption into context and expression, by rules alone.

    Captions of this kind (MAFW's among them) tell of a person first and of the face last. So the
    expression is the longest run of sentences at the end that name a part of the face or what it
    does and do not have a person for their subject; what stands before is the context. A caption
    of one sentence is all expression or all context by the same rule.

    Parameters
    ----------
    caption : str
        English, one sentence or more.

    Returns
    -------
    CaptionParts
        Sentences unchanged, joined by single spaces.

    Examples
    --------
    >>> split_caption("A man talks about dinner. The open mouth and the raised lip corners.")
    CaptionParts(context='A man talks about dinner.', expression='The open mouth and the raised lip corners.')
    """  # noqa: E501
    sentences = [s.strip() for s in _SENTENCE_END.split(caption.strip()) if s and s.strip()]
    start = len(sentences)
    while start and _is_expression(sentences[start - 1]):
        start -= 1
    return CaptionParts(" ".join(sentences[:start]), " ".join(sentences[start:]))


def _is_expression(sentence: str) -> bool:
    return bool(_FACE.search(sentence)) and not _TELLS_OF_A_PERSON.match(sentence)


def matched_parts(caption: str) -> CaptionParts | None:
    """Cut both halves of a caption to the number of words of the shorter one.

    Parameters
    ----------
    caption : str
        As in `split_caption`.

    Returns
    -------
    CaptionParts or None
        The first words of each half; None where the caption lacks a half.
    """
    parts = split_caption(caption)
    context, expression = parts.context.split(), parts.expression.split()
    n_words = min(len(context), len(expression))
    if n_words == 0:
        return None
    return CaptionParts(" ".join(context[:n_words]), " ".join(expression[:n_words]))
