"""Reading YAML that a person wrote."""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from emoclip_clinical.records import InputError


def load_yaml(text: str, *, where: str, keep_comments: bool = False) -> Any:
    """Return what a YAML 1.2 document holds.

    Parameters
    ----------
    text : str
        The document.
    where : str
        What messages call it.
    keep_comments : bool
        Return mappings and lists that know their lines and comments (ruamel's ``rt``).

    Raises
    ------
    InputError
        If it is not YAML, holds a value that does not exist (``2024-02-30``), or nests too deep.
    """
    try:
        return YAML(typ="rt" if keep_comments else "safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark, problem = error.problem_mark, error.problem or "unreadable"
        line = "" if mark is None else f", line {mark.line + 1}"
        raise InputError(f"{where}{line}: not YAML: {problem.splitlines()[0]}") from None
    except RecursionError:
        raise InputError(f"{where}: not YAML that can be read: it nests too deep") from None
    except (YAMLError, ValueError, TypeError, OverflowError) as error:
        # The last three come from values, such as the 30th of February.
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{where}: not YAML: {problem}") from None
