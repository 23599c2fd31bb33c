"""Outside time stamps: tokens that openssl makes, over this lock and over others."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from emoclip_clinical.records import InputError
from emoclip_clinical.study.freezing import add_stamp, freeze
from tests.study.locked_study import build, standing_of, write_ratings

CONFIG = """\
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class Authority:
    """A time stamp authority with a root of its own, by openssl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "serial").write_text("01")
        (folder / "config").write_text(CONFIG.format(folder=folder))
        (folder / "extensions").write_text("extendedKeyUsage = critical,timeStamping\n"
                                           "keyUsage = critical,digitalSignature\n")  # fmt: skip
        new = ("req", "-newkey", "rsa:2048", "-nodes")
        self.run(*new, "-x509", "-days", "30", "-subj", "/CN=Root", "-keyout", "root.key",
                 "-out", "root.pem")  # fmt: skip
        self.run(*new, "-subj", "/CN=Authority", "-keyout", "key.pem", "-out", "request.pem")
        self.run("x509", "-req", "-in", "request.pem", "-CA", "root.pem", "-CAkey", "root.key",
                 "-CAcreateserial", "-days", "30", "-extfile", "extensions",
                 "-out", "signer.pem")  # fmt: skip

    @property
    def root(self) -> bytes:
        """Its root certificate."""
        return (self.folder / "root.pem").read_bytes()

    def stamp(self, path: Path, *, digest: str = "sha256") -> bytes:
        """Return a response for a file."""
        self.run("ts", "-query", "-data", str(path), f"-{digest}", "-cert", "-out", "query")
        self.run("ts", "-reply", "-queryfile", "query", "-config", "config", "-signer",
                 "signer.pem", "-inkey", "key.pem", "-chain", "root.pem",
                 "-out", "reply")  # fmt: skip
        return (self.folder / "reply").read_bytes()

    def run(self, *command: str) -> None:
        subprocess.run(["openssl", *command], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority; the tests skip where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl, which makes the tokens, is not here")
    return Authority(tmp_path_factory.mktemp("tsa") / "authority")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A frozen study with ratings."""
    build(tmp_path)
    freeze(tmp_path)
    write_ratings(tmp_path)
    return tmp_path


def test_a_token_over_the_lock_makes_it_confirmatory(study: Path, authority: Authority) -> None:
    lock = study / "protocol.lock"
    later = datetime.now(UTC) + timedelta(hours=1)
    assert standing_of(study, now=later).kind == "matches_lock"
    add_stamp(lock, token=authority.stamp(lock))
    standing = standing_of(study, now=later)
    assert standing.kind == "confirmatory"
    today = datetime.now(UTC)
    assert f"RFC 3161 time stamp of {today:%Y-%m-%d}" in standing.statement
    assert "signature was not checked here" in standing.statement
    add_stamp(lock, token=authority.stamp(lock), root=authority.root)
    assert "whose root certificate was given" in standing_of(study, now=later).statement
    # A first look before the stamp can not be confirmed by it.
    early = standing_of(study, now=datetime(2020, 1, 1, tzinfo=UTC))
    assert early.kind == "matches_lock"


def test_tokens_that_prove_nothing_are_refused(
    study: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lock = study / "protocol.lock"
    with pytest.raises(InputError, match="of something else than this lock"):
        add_stamp(lock, token=authority.stamp(study / "protocol.yaml"))
    with pytest.raises(InputError, match="must be of a SHA-256 hash"):
        add_stamp(lock, token=authority.stamp(lock, digest="sha512"))
    with pytest.raises(InputError, match="is no RFC 3161 response"):
        add_stamp(lock, token=b"0\x82nothing")
    other = Authority(tmp_path_factory.mktemp("tsa") / "other")
    with pytest.raises(InputError, match="signature does not hold"):
        add_stamp(lock, token=authority.stamp(lock), root=other.root)
    with pytest.raises(InputError, match="must be PEM"):
        add_stamp(lock, token=authority.stamp(lock), root=b"nothing")
    assert not (study / "protocol.lock.stamp.json").exists()


def test_a_stamp_is_checked_again_at_each_result(study: Path, authority: Authority) -> None:
    lock = study / "protocol.lock"
    token = authority.stamp(lock)
    path = add_stamp(lock, token=token)
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "token": "AAAA"}))
    standing = standing_of(study)
    assert standing.kind == "exploratory"
    assert "no RFC 3161 response" in standing.statement
    # One byte of the lock, and the stamp is of another one.
    path.write_text(json.dumps(record))
    lock.write_bytes(lock.read_bytes() + b"\n")
    assert standing_of(study).kind == "exploratory"
