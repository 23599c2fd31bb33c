"""What this machine has: decoders, face network, torch, GPU, weights."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes
    ----------
    name : str
        What.
    status : str
        `ok`, `absent` (the toolkit works without it) or `broken` (a command will fail).
    detail : str
        Version, or what is wrong.
    """

    name: str
    status: str
    detail: str


def examine_machine() -> tuple[Finding, ...]:
    """Look at everything that the commands rely on; nothing is fetched.

    Returns
    -------
    tuple of Finding
        In the order in which a study needs them.
    """
    checks: tuple[tuple[str, Callable[[], tuple[str, str]]], ...] = (
        ("python", lambda: ("ok", f"{platform.python_version()}, {os.cpu_count()} CPUs")),
        ("torch", _torch),
        ("GPU", _gpu),
        ("open_clip", _open_clip),
        ("PyAV", _pyav),
        ("decord", _decord),
        ("face network", _face_network),
        ("OpenAI weights", _openai_weights),
        ("known answers", _known_answers),
    )
    findings = []
    for name, check in checks:
        try:
            status, detail = check()
        except Exception as error:
            # Whatever goes wrong in a foreign library is just what this command is to report.
            status, detail = "broken", f"{type(error).__name__}: {error}"
        findings.append(Finding(name, status, detail))
    return tuple(findings)


def _torch() -> tuple[str, str]:
    import torch

    return "ok", f"{torch.__version__}, {torch.get_num_threads()} threads"


def _gpu() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "absent", "everything runs on the CPU"
    properties = torch.cuda.get_device_properties(0)
    return "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _open_clip() -> tuple[str, str]:
    import open_clip

    return "ok", f"{open_clip.__version__}, {len(open_clip.list_models())} architectures"


def _pyav() -> tuple[str, str]:
    import av

    wanted = ("h264", "hevc", "vp9", "av1", "mpeg4", "flv", "gif")
    missing = [name for name in wanted if name not in av.codecs_available]
    if missing:
        return "absent", f"{av.__version__}, no decoder for {', '.join(missing)}"
    return "ok", f"{av.__version__}, decodes {', '.join(wanted)}"


def _decord() -> tuple[str, str]:
    from emoclip_clinical.core.clip_decoder import decord

    return "ok", str(decord.__version__)


def _face_network() -> tuple[str, str]:
    import onnxruntime

    from emoclip_clinical.features.centerface import centerface_weights

    centerface_weights()
    return "ok", f"centerface, by onnxruntime {onnxruntime.__version__}"


def _openai_weights() -> tuple[str, str]:
    from emoclip_clinical.core.hub import cached_weights
    from emoclip_clinical.core.known_answers import TOWER

    if cached_weights(TOWER.name, TOWER.pretrained) is None:
        return "absent", "`train` fetches them once; or use --pretrained none, or a file"
    return "ok", f"{TOWER.name}, in the hub's cache"


def _known_answers() -> tuple[str, str]:
    from emoclip_clinical.core.known_answers import check_cached_weights

    answers = check_cached_weights()
    if answers is None:
        return "absent", "they check OpenAI's weights, which are not on this machine"
    text = ", ".join(f"{a.what} within {a.largest_error:.1e}" for a in answers)
    if wrong := [a for a in answers if not a.holds]:
        text = ", ".join(
            f"{a.what} off by {a.largest_error:.1e} (at most {a.tolerance:.0e})" for a in wrong
        )
        return "broken", f"the weights are not OpenAI's ViT-B/32, or are misread: {text}"
    return "ok", text
