"""How many files may be open, and what they leave to connections."""

from __future__ import annotations

import asyncio
import errno
import logging
import subprocess
import sys

import pytest

from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.open_files import shared_out
from emoclip_clinical.serving.server import _BesideRequests

RAISE = """
import resource
from emoclip_clinical.serving.config import ServingConfig
from emoclip_clinical.serving.open_files import raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
found = raise_open_files(ServingConfig())
print(*resource.getrlimit(resource.RLIMIT_NOFILE), found.most_connections, len(found.warnings))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        # 2 files for each of 256 bodies, 1 for each of 64 jobs, 4 for each of 2 readers, and 128.
        (256, 3000, "3000 3000 2048 0"),
        (3000, 3000, "3000 3000 2048 0"),
        (256, 1024, f"1024 1024 {1024 - 512 - 64 - 8 - 128} 1"),
        (256, 512, "512 512 16 1"),
    ],
)
def test_as_many_files_as_are_allowed_are_shared_out(soft: int, hard: int, expected: str) -> None:
    code = RAISE.format(soft=soft, hard=hard)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == expected


def test_few_connections_are_told_with_the_number_that_is_wanted() -> None:
    config = ServingConfig(max_uploads=8, max_small_uploads=8, max_jobs=4, decoders=1)
    found = shared_out(1000, config)
    needed = 2 * 16 + 4 + 4 + 128
    assert found.most_connections == 1000 - needed
    assert f"must be {2048 + needed}" in found.warnings[0]
    assert shared_out(2048 + needed, config).warnings == ()


def test_connections_that_can_not_be_taken_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.new_event_loop()
    beside = _BesideRequests()
    full = OSError(errno.EMFILE, "Too many open files")
    for _ in range(1000):
        beside.tell(loop, {"message": "accept", "exception": full, "socket": object()})
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    beside.tell(loop, {"message": "x", "exception": KeyError("secret")})
    assert caplog.records[-1].getMessage() == "a bug: beside every request"
    loop.close()
