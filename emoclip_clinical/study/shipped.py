"""The protocols that come with the package, and the beginning of a new study."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from emoclip_clinical.records import InputError

PROTOCOL_FILE = "protocol.yaml"


def shipped_protocols() -> tuple[str, ...]:
    """Return the names of the shipped protocols, sorted."""
    entries = resources.files("emoclip_clinical.protocols").iterdir()
    names = (Path(entry.name) for entry in entries)
    return tuple(sorted(name.stem for name in names if name.suffix == ".yaml"))


def shipped_protocol(name: str) -> str:
    """Return the text of a shipped protocol.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    return protocol_path(name).read_text(encoding="utf-8")


def protocol_path(name: str | Path) -> Path:
    """Return the file of a protocol: a shipped one by its name, or one's own by its path.

    Raises
    ------
    InputError
        If there is neither.
    """
    file = Path(str(resources.files("emoclip_clinical.protocols"))) / f"{name}.yaml"
    if str(name) in shipped_protocols():
        return file
    if Path(name).is_file():
        return Path(name)
    raise InputError(
        f"no file and no shipped protocol is called {str(name)!r}; shipped are "
        f"{', '.join(shipped_protocols())}"
    )


def begin_study(folder: Path) -> tuple[Path, ...]:
    """Make a study folder with a commented protocol; what is there already stays.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.

    Returns
    -------
    tuple of Path
        What was made.

    Raises
    ------
    InputError
        If the folder already has a protocol.
    """
    protocol = folder / PROTOCOL_FILE
    if protocol.exists():
        raise InputError(f"{protocol} is there already; a study is begun once")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"a study is a folder, but {folder} is a file")
    made = [folder / name for name in ("clips", "interviews") if not (folder / name).exists()]
    for path in made:
        path.mkdir(parents=True)
    protocol.write_text(shipped_protocol("new_study"), encoding="utf-8")
    return (protocol, *made)
