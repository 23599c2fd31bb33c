"""The leak guard: hashes that find a participant in any spelling, and say what they do not know."""

from __future__ import annotations

import hashlib
import json
import time

import pytest

from emoclip_clinical.people import PeopleHashes, hash_people, known_people
from emoclip_clinical.records import InputError


def test_a_hash_is_scrypt_of_the_bare_identifier() -> None:
    made = hash_people(["sub-014"], salt="abc")
    salt = hashlib.sha256(b"training_people abc").digest()[:16]
    assert made.salt == salt.hex()
    expected = hashlib.scrypt(b"014", salt=salt, n=1024, r=8, p=1, dklen=16)
    assert made.hashes == (expected.hex(),)


@pytest.mark.parametrize("group", ["014", "sub-014", " Sub-014 ", "\uff10\uff11\uff14"])
@pytest.mark.parametrize("participant", ["014", "sub-014"])
def test_a_person_is_found_in_any_spelling(group: str, participant: str) -> None:
    card = hash_people([group, "p2"], salt="x").as_card()
    found = known_people(["sub-001", participant, participant], card)
    assert found.participants == (participant,)
    assert found.coverage == "complete"


def test_others_are_not_found() -> None:
    card = hash_people(["train-person-0001", "14", "s014", "crema_d-1001"], salt="x").as_card()
    assert known_people(["014", "sub-1001", "sub-0001", "sub-4"], card).participants == ()


def test_what_is_not_known_is_said() -> None:
    none = hash_people(["", ""], salt="x")
    some = hash_people(["a", "", "a"], salt="x")
    assert (none.coverage, some.coverage) == ("unknown", "partial")
    assert (some.n_clips, some.n_clips_without_person, len(some.hashes)) == (3, 1, 1)
    assert known_people(["a"], none.as_card()).coverage == "unknown"
    assert known_people(["a"], some.as_card()).participants == ("a",)
    assert known_people(["a"], None).coverage == "unknown"
    # A model that saw no clip at all has seen nobody.
    assert known_people(["a"], hash_people([], salt="x").as_card()).coverage == "complete"


def test_the_card_names_nobody_and_repeats_itself() -> None:
    people = [f"sub-{i:03d}" for i in range(20)]
    card = hash_people(people, salt="x").as_card()
    assert card == hash_people(reversed(people), salt="x").as_card()
    assert json.loads(json.dumps(card)) == card
    assert "sub-" not in json.dumps(card)
    other = hash_people(people, salt="y")
    assert not set(card["hashes"]) & set(other.hashes)


def test_500_people_are_checked_in_seconds() -> None:
    card = hash_people([f"clip-person-{i}" for i in range(3)], salt="x").as_card()
    start = time.process_time()
    known_people([f"sub-{i:03d}" for i in range(500)], card)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "change",
    [
        {"salt": "no hexadecimal"},
        {"hashes": None},
        {"scrypt_n": 2**30},
        {"scrypt_n": 1000},
        {"n_clips": "many"},
    ],
)
def test_a_card_that_was_changed_is_refused(change: dict[str, object]) -> None:
    card = {**hash_people(["a"], salt="x").as_card(), **change}
    with pytest.raises(InputError, match="the card was changed"):
        known_people(["a"], card)


def test_the_record_is_what_the_card_holds() -> None:
    made = hash_people(["a", ""], salt="x")
    card = made.as_card()
    assert PeopleHashes(**{**card, "hashes": tuple(card["hashes"])}) == made
