"""The protocols that come with the package, and the beginning of a new study."""

from __future__ import annotations

from importlib import resources
from itertools import takewhile
from pathlib import Path

from emoclip_clinical.records import InputError
from emoclip_clinical.yaml_text import load_yaml

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


def protocol_summaries() -> tuple[tuple[str, str], ...]:
    """Return the name of each shipped protocol with the first sentence of its comment."""
    return tuple((name, _summary(shipped_protocol(name))) for name in shipped_protocols())


def copy_protocol(name: str | Path, file: Path) -> Path:
    """Copy a protocol as it is written, comments and all.

    Parameters
    ----------
    name : str or Path
        A shipped protocol's name, or a file.
    file : Path
        The copy, or a folder for a copy called protocol.yaml.

    Returns
    -------
    Path
        The copy.

    Raises
    ------
    InputError
        If there is no such protocol, the copy is there already, or the protocol extends a file
        that would not be found from there.
    """
    source = protocol_path(name)
    path = file / PROTOCOL_FILE if file.is_dir() else file
    if path.exists():
        raise InputError(f"{path} is there already; name another file")
    base = extended_file(source)
    if base is not None and not (path.parent / base).is_file():
        raise InputError(
            f"{source.name} extends {base!r}, which is not there seen from {path.parent}: copy "
            "that too, or keep the copy in the same folder"
        )
    try:
        path.write_bytes(source.read_bytes())
    except OSError as error:
        raise InputError(f"can not write {path}: {error.strerror}") from None
    return path


def extended_file(path: Path) -> str | None:
    """Return the file that a protocol extends; None where it extends none, or a shipped one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} can not be read: {error}") from None
    content = load_yaml(text, where=path.name)
    name = content.get("extends") if isinstance(content, dict) else None
    return name if isinstance(name, str) and name not in shipped_protocols() else None


def begin_study(folder: Path, *, protocol: str = "new_study") -> tuple[Path, ...]:
    """Make a study folder with a commented protocol; what is there already stays.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    protocol : str
        The shipped protocol to begin with.

    Returns
    -------
    tuple of Path
        What was made.

    Raises
    ------
    InputError
        If the folder already has a protocol, or there is none of that name.
    """
    file = folder / PROTOCOL_FILE
    if file.exists():
        raise InputError(f"{file} is there already; a study is begun once")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"a study is a folder, but {folder} is a file")
    text = shipped_protocol(protocol)
    made = [folder / name for name in ("clips", "interviews") if not (folder / name).exists()]
    for path in made:
        path.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return (file, *made)


def _summary(text: str) -> str:
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    words = " ".join(line.lstrip("# ").strip() for line in comment)
    first, stop, _ = words.partition(". ")
    return first + stop.strip()
