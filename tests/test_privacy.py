"""Nothing is told to anyone: libraries that would are stopped before they are loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnxruntime_sets_up_no_telemetry(tmp_path: Path) -> None:
    # Its telemetry begins with a session file among the temporary files.
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    code = "import emoclip_clinical.features.centerface"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**environment, "TMPDIR": str(tmp_path)}
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
