"""Whether a model has seen a study's participants: salted hashes of the people in its training.

A model that was trained on clips of a participant knows the face before any cross-validation
begins, so no split of the participants makes its estimate fair. The names of the people must not
travel with a model, though, so its card holds salted hashes of them.

Identifiers are short and few: who holds a card can try them all, and no hash prevents that. The
salt makes tables that were computed for another model useless, and scrypt makes each guess cost
milliseconds and a mebibyte, on any machine: enough that a name is not read off in passing, and
little enough that a study of 500 people is checked in seconds. A card is not an anonymous file.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from emoclip_clinical.records import InputError

SCRYPT_N = 2**10
SCRYPT_R = 8
HASH_BYTES = 16
_MOST_MEMORY_BYTES = 2**28
_MOST_WORK = 2**20
"""Largest n * r that a card may ask for; one that asks for more is not ours."""

Coverage = Literal["complete", "partial", "unknown"]


@dataclass(frozen=True)
class PeopleHashes:
    """The people in a model's training clips, by hash.

    Attributes
    ----------
    salt : str
        Hexadecimal.
    scrypt_n, scrypt_r : int
        Cost of a hash (RFC 7914, p = 1): 128 * n * r bytes of memory.
    hashes : tuple of str
        Hexadecimal, one a person, sorted, so that their order tells nothing.
    n_clips : int
        Clips that training looked at.
    n_clips_without_person : int
        Those of them that name nobody.
    """

    salt: str
    scrypt_n: int
    scrypt_r: int
    hashes: tuple[str, ...]
    n_clips: int
    n_clips_without_person: int

    @property
    def coverage(self) -> Coverage:
        """Say whether the people of all clips are known, of some, or of none."""
        if self.n_clips_without_person == 0:
            return "complete"
        return "partial" if self.hashes else "unknown"

    def as_card(self) -> dict[str, Any]:
        """Return the part `training_people` of a model's card, ready for JSON."""
        return {
            "salt": self.salt,
            "scrypt_n": self.scrypt_n,
            "scrypt_r": self.scrypt_r,
            "hashes": list(self.hashes),
            "n_clips": self.n_clips,
            "n_clips_without_person": self.n_clips_without_person,
        }


@dataclass(frozen=True)
class KnownPeople:
    """What a model's card says of a study's participants.

    Attributes
    ----------
    participants : tuple of str
        Those who are among the people of the training clips, sorted.
    coverage : str
        `complete`: who is not named here was not seen; `partial`: some training clips name no
        person; `unknown`: none does, or the card says nothing.
    n_people : int
        People that the card knows.
    n_clips, n_clips_without_person : int
        Training clips, and those that name nobody; 0 where the card says nothing.
    """

    participants: tuple[str, ...]
    coverage: Coverage
    n_people: int = 0
    n_clips: int = 0
    n_clips_without_person: int = 0


def hash_people(names: Iterable[str], *, salt: str) -> PeopleHashes:
    """Hash the people of training clips.

    Parameters
    ----------
    names : iterable of str
        The person of each clip that training looked at, in any spelling and order; empty where
        unknown.
    salt : str
        Anything that differs from model to model and not from run to run: the digest of the
        clips.

    Returns
    -------
    PeopleHashes
    """
    people = Counter(_spelling(name) for name in names)
    n_clips, nameless = people.total(), people.pop("", 0)
    # Of its own derivation, so that the card does not have to hold what the salt was made from.
    own_salt = hashlib.sha256(f"training_people {salt}".encode()).hexdigest()[: 2 * HASH_BYTES]
    hashes = sorted(_hash(p, own_salt, SCRYPT_N, SCRYPT_R) for p in people)
    return PeopleHashes(own_salt, SCRYPT_N, SCRYPT_R, tuple(hashes), n_clips, nameless)


def known_people(participants: Iterable[str], card_part: Mapping[str, Any] | None) -> KnownPeople:
    """Find the participants whom a model was trained on.

    Parameters
    ----------
    participants : iterable of str
        Identifiers, with or without `sub-`; upper and lower case are one.
    card_part : mapping or None
        `training_people` of the model's card; None where it has none.

    Returns
    -------
    KnownPeople
        Participants as they were given.

    Raises
    ------
    InputError
        If the card's part is not what `PeopleHashes.as_card` writes.
    """
    if card_part is None:
        return KnownPeople((), "unknown")
    card = _read(card_part)
    hashes = frozenset(card.hashes)
    distinct = sorted(set(participants)) if hashes else []
    found = (
        p
        for p in distinct
        if _hash(_spelling(p), card.salt, card.scrypt_n, card.scrypt_r) in hashes
    )
    return KnownPeople(
        participants=tuple(found),
        coverage=card.coverage,
        n_people=len(hashes),
        n_clips=card.n_clips,
        n_clips_without_person=card.n_clips_without_person,
    )


def _read(card_part: Mapping[str, Any]) -> PeopleHashes:
    try:
        card = PeopleHashes(
            salt=str(card_part["salt"]),
            scrypt_n=int(card_part["scrypt_n"]),
            scrypt_r=int(card_part["scrypt_r"]),
            hashes=tuple(map(str, card_part["hashes"])),
            n_clips=int(card_part["n_clips"]),
            n_clips_without_person=int(card_part["n_clips_without_person"]),
        )
        bytes.fromhex(card.salt)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "training_people of the model must hold salt, scrypt_n, scrypt_r, hashes, n_clips and "
            f"n_clips_without_person, got {sorted(card_part)}: the card was changed"
        ) from error
    n, r = card.scrypt_n, card.scrypt_r
    if n < 2 or n & (n - 1) or r < 1 or n * r > _MOST_WORK:
        raise InputError(
            "training_people of the model asks for a hash of cost "
            f"scrypt_n = {n}, scrypt_r = {r}; a power of two and at most n * r = {_MOST_WORK} "
            "are wanted: the card was changed"
        )
    return card


def _spelling(name: str) -> str:
    """Return one spelling of a person's identifier: `sub-014`, `014` and ` SUB-014` are one."""
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return plain.removeprefix("sub-")


def _hash(person: str, salt: str, n: int, r: int) -> str:
    return hashlib.scrypt(
        person.encode(),
        salt=bytes.fromhex(salt),
        n=n,
        r=r,
        p=1,
        maxmem=_MOST_MEMORY_BYTES,
        dklen=HASH_BYTES,
    ).hex()
