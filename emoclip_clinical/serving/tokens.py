"""The tokens that open the server: a file of them, of which only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.tables import limit_faults

SHORTEST_TOKEN, LONGEST_TOKEN = 16, 1024
_MOST_BYTES = 2**20
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 9110, 11.2: what may follow "Bearer"
_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Tokens:
    """Who may ask.

    Attributes
    ----------
    digests : tuple of bytes
        SHA-256 of each token; the tokens themselves are not kept.
    """

    digests: tuple[bytes, ...] = field(repr=False)

    def owner(self, presented: bytes) -> str | None:
        """Return who presents a token, None where it is no token of ours.

        Parameters
        ----------
        presented : bytes
            What followed ``Bearer``.

        Returns
        -------
        str or None
            64 hexadecimal digits, a digest of the token's digest: says which token it was, and
            can open nothing.
        """
        digest = hashlib.sha256(presented).digest()
        known = False
        # Every token is compared, whichever fits: the time taken says nothing about them.
        for one in self.digests:
            known |= hmac.compare_digest(one, digest)
        return hashlib.sha256(digest).hexdigest() if known else None


def read_tokens(path: str | Path) -> Tokens:
    """Read a file of tokens, one a line; empty lines and lines that begin with ``#`` say nothing.

    Parameters
    ----------
    path : path
        A UTF-8 text that nobody but its owner may read.

    Raises
    ------
    InputError
        If the file can not be read or others may read it, and with every faulty line by its
        number, never by its content: a fault may be one letter away from a token that is in use.
    """
    path = Path(path)
    return Tokens(_digests(_lines(_content(path), name=path.name), name=path.name))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Of the open file: between asking by name and reading it could become another.
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & _OTHERS_MAY:
                raise InputError(
                    f"{path.name}: others than its owner may use this file of tokens (mode "
                    f"{stat.S_IMODE(mode):04o}); close it with: chmod 600 {path.name}"
                )
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path.name}: the tokens can not be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path.name}: a file of tokens holds at most {_MOST_BYTES} bytes")
    return content


def _lines(content: bytes, *, name: str) -> Sequence[str]:
    try:
        return content.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}, line {line}: UTF-8 text was wanted, one token a line") from None


def _digests(lines: Sequence[str], *, name: str) -> tuple[bytes, ...]:
    faults: list[str] = []
    line_of: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        token = line.strip()
        if not token or token.startswith("#"):
            continue
        fault = _fault(token)
        digest = hashlib.sha256(token.encode()).digest()
        if fault is None and digest in line_of:
            fault = f"the same token stands in line {line_of[digest]}"
        if fault is not None:
            faults.append(f"{name}, line {number}: {fault}")
        line_of.setdefault(digest, number)
    if faults:
        raise InputError(limit_faults(faults))
    if not line_of:
        raise InputError(
            f"{name}: there is no token in it; one is made by: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))'"
        )
    return tuple(line_of)


def _fault(token: str) -> str | None:
    if not _TOKEN68.fullmatch(token):
        return (
            "a token is made of letters, digits and -._~+/ (with = at its end); comments stand on "
            "lines of their own"
        )
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
        return (
            f"a token has {SHORTEST_TOKEN} to {LONGEST_TOKEN} characters, this one has {len(token)}"
        )
    return None
