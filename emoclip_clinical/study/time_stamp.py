"""Time stamps of a lock from outside: an RFC 3161 token, or a registration that the user names.

A stamp stands in a file of its own beside the lock, so that adding one changes no byte of what was
stamped. Nothing is fetched: a token is checked against the lock, and against a root certificate
where the user gives one; a registration is only noted as the user's word.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from emoclip_clinical.records import InputError
from emoclip_clinical.study.token_order import ordered_certificates

SHA256_OID = "2.16.840.1.101.3.4.2.1"
GRANTED = (0, 1)
_REGISTRATION = re.compile(
    r"(https://(dx\.)?doi\.org/)?10\.\d{4,9}/\S+|https://(osf\.io|aspredicted\.org|"
    r"(www\.)?clinicaltrials\.gov|[a-z0-9.-]*osf\.io)/\S+|https://\S+\.\S+/\S+",
    flags=re.IGNORECASE,
)


@dataclass(frozen=True)
class TimeStamp:
    """When something outside this folder knew a lock.

    Attributes
    ----------
    kind : str
        `rfc3161` or `registration`.
    time : datetime
        The token's own; of a registration, when it was noted here.
    statement : str
        What is known of it, and what is not.
    """

    kind: str
    time: datetime
    statement: str


def stamp_file(lock_file: Path) -> Path:
    """Return where the stamp of a lock stands."""
    return lock_file.with_name(lock_file.name + ".stamp.json")


def token_record(
    token: bytes, *, lock_sha256: str, root: bytes | None = None
) -> Mapping[str, object]:
    """Check an RFC 3161 response against a lock.

    Parameters
    ----------
    token : bytes
        A time stamp response in DER, as `openssl ts` and time stamp authorities write it (.tsr).
    lock_sha256 : str
        Of the lock file's bytes.
    root : bytes, optional
        The authority's root certificate in PEM: the signature is then checked.

    Returns
    -------
    mapping
        Content of the stamp file.

    Raises
    ------
    InputError
        If it is no response, was refused, is of something else than the lock, or has no valid
        signature of that authority.

    References
    ----------
    RFC 3161, Internet X.509 Public Key Infrastructure Time-Stamp Protocol.
    """
    time = _checked_time(token, lock_sha256=lock_sha256, root=root)
    record: dict[str, object] = {
        "kind": "rfc3161",
        "lock_sha256": lock_sha256,
        "time": time.isoformat(),
        "token": base64.b64encode(token).decode(),
    }
    if root is not None:
        record["root"] = root.decode("ascii", errors="replace")
    return record


def registration_record(reference: str, *, lock_sha256: str, now: datetime) -> Mapping[str, object]:
    """Note that the user has registered the lock.

    Raises
    ------
    InputError
        If the reference is neither a DOI nor an https address.
    """
    if not _REGISTRATION.fullmatch(reference.strip()):
        raise InputError(
            "--registration takes a DOI (10.17605/OSF.IO/ABCDE) or the https address of a "
            f"registration, got {reference!r}"
        )
    return {
        "kind": "registration",
        "lock_sha256": lock_sha256,
        "time": now.isoformat(timespec="seconds"),
        "reference": reference.strip(),
    }


def read_stamp(lock_file: Path, *, lock_sha256: str) -> TimeStamp | None:
    """Read the stamp of a lock, and check it again.

    Returns
    -------
    TimeStamp or None
        None where there is none.

    Raises
    ------
    InputError
        If it is damaged, or is of another lock.
    """
    path = stamp_file(lock_file)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["lock_sha256"] != lock_sha256:
            raise InputError(f"{path.name} is of another lock, or the lock was changed after it")
        if record["kind"] == "registration":
            return _registration(record)
        token = base64.b64decode(record["token"], validate=True)
        root = record["root"].encode() if "root" in record else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name} is damaged: {error}") from None
    time = _checked_time(token, lock_sha256=lock_sha256, root=root)
    checked = (
        "its signature is that of the authority whose root certificate was given"
        if root is not None
        else "its signature was not checked here: no root certificate was given"
    )
    return TimeStamp(
        "rfc3161", time, f"RFC 3161 time stamp of {time:%Y-%m-%d %H:%M} UTC; {checked}"
    )


def _registration(record: Mapping[str, Any]) -> TimeStamp:
    time = datetime.fromisoformat(record["time"])
    return TimeStamp(
        "registration",
        time,
        f"registration {record['reference']}, noted here on {time:%Y-%m-%d}; declared by the "
        "user and not checked here",
    )


def _checked_time(token: bytes, *, lock_sha256: str, root: bytes | None) -> datetime:
    from rfc3161_client import decode_timestamp_response

    try:
        response = decode_timestamp_response(ordered_certificates(token))
    except ValueError:
        raise InputError(
            "the time stamp token is no RFC 3161 response in DER (a .tsr file, as "
            "`openssl ts -reply` writes it)"
        ) from None
    if response.status not in GRANTED:
        raise InputError(f"the time stamp was refused by its authority (status {response.status})")
    imprint = response.tst_info.message_imprint
    algorithm = imprint.hash_algorithm.dotted_string
    if algorithm != SHA256_OID:
        raise InputError(f"the time stamp must be of a SHA-256 hash, got the hash {algorithm}")
    if imprint.message.hex() != lock_sha256:
        raise InputError(
            f"the time stamp is of something else than this lock: of {imprint.message.hex()}, the "
            f"lock's SHA-256 is {lock_sha256}"
        )
    if root is not None:
        _check_signature(token, lock_sha256=lock_sha256, root=root)
    return response.tst_info.gen_time


def _check_signature(token: bytes, *, lock_sha256: str, root: bytes) -> None:
    from cryptography import x509
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    try:
        certificates = x509.load_pem_x509_certificates(root)
    except ValueError:
        raise InputError("the root certificate must be PEM text") from None
    response = decode_timestamp_response(ordered_certificates(token))
    builder = VerifierBuilder()
    for certificate in certificates:
        builder = builder.add_root_certificate(certificate)
    # An authority that leaves its certificate out of the token has it in the file beside the root.
    if not response.signed_data.certificates:
        builder = builder.tsa_certificate(certificates[0])
    try:
        builder.build().verify(response, bytes.fromhex(lock_sha256))
    except (VerificationError, ValueError) as error:
        raise InputError(f"the time stamp's signature does not hold: {error}") from None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a lock file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
