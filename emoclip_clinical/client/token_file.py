"""Reading the token that a client presents."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from emoclip_clinical.records import InputError

_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO


def read_token(path: str | Path) -> str:
    """Read a file with one token.

    Parameters
    ----------
    path : path
        UTF-8 text; empty lines and lines that begin with ``#`` say nothing.

    Raises
    ------
    InputError
        If it can not be read, others may read it, or it has no token or several.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = [line.strip() for line in file]
    except OSError as error:
        raise InputError(f"{path.name}: the token can not be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name}: UTF-8 text was wanted, with one token") from None
    if os.name == "posix" and mode & _OTHERS_MAY:
        raise InputError(
            f"{path.name}: others than its owner may use this token (mode "
            f"{stat.S_IMODE(mode):04o}); close it with: chmod 600 {path.name}"
        )
    tokens = [line for line in lines if line and not line.startswith("#")]
    if len(tokens) != 1:
        raise InputError(f"{path.name}: one token was wanted, got {len(tokens)}")
    return tokens[0]
