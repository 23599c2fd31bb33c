"""Certificates of a time stamp token in the order that DER wants.

Authorities that use openssl write them in the order of their files (BER lets them), which a strict
reader refuses. Neither the signature nor any hash is over this order, so it can be put right.
"""

from __future__ import annotations

from collections.abc import Iterator

_CERTIFICATES = 0xA0
_TO_SIGNED_DATA = (1, 1, 0)
"""Within TimeStampResp: its token, the token's content, and the SignedData in it."""


def ordered_certificates(response: bytes) -> bytes:
    """Return an RFC 3161 response with the certificates of its SignedData sorted.

    Parameters
    ----------
    response : bytes
        What is no such response comes back as it is.

    References
    ----------
    RFC 3161, section 2.4.2; RFC 5652, section 5.1; ITU-T X.690, section 11.6.
    """
    try:
        start, end = _inside(response, 0, len(response))
        for number in _TO_SIGNED_DATA:
            begin, stop = list(_elements(response, start, end))[number]
            start, end = _inside(response, begin, stop)
        found = [
            (begin, stop)
            for begin, stop in _elements(response, start, end)
            if response[begin] == _CERTIFICATES
        ]
        if not found:
            return response
        first, last = _inside(response, *found[0])
        each = sorted(response[b:s] for b, s in _elements(response, first, last))
    except (IndexError, ValueError):
        return response
    return response[:first] + b"".join(each) + response[last:]


def _elements(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        _, stop = _inside(data, start, end)
        yield start, stop
        start = stop


def _inside(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the content of the element at `start` begins and ends."""
    length = data[start + 1]
    content = start + 2
    if length & 0x80:
        n_bytes = length & 0x7F
        length = int.from_bytes(data[content : content + n_bytes], "big")
        content += n_bytes
    if content + length > end:
        raise ValueError("an element is longer than what holds it")
    return content, content + length
