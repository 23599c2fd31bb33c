"""`protocol`: list, show and copy protocols; freeze one, verify a result, compare two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._console import PARTLY_DONE, console, guarded, progress_bars, say, warn
from ._options import JsonOption, SetOption, StudyOption

if TYPE_CHECKING:
    from emoclip_clinical.study.freezing import Frozen

DIFFERS = PARTLY_DONE

app = typer.Typer(
    help="Protocols: list, show, copy; lock one, check a result against its lock, compare two.",
    no_args_is_help=True,
)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A shipped protocol, or a file of yours.")
]
ProtocolOption = Annotated[
    Path | None,
    typer.Option("--protocol", metavar="FILE", help="Another file than protocol.yaml."),
]


@app.command("list")
@guarded
def list_protocols() -> None:
    """Name the shipped protocols."""
    from emoclip_clinical.study.shipped import protocol_summaries

    for name, summary in protocol_summaries():
        console.print(f"{name}  ", style="bold", end="")
        console.print(summary, highlight=False)


@app.command("show")
@guarded
def show(
    name: NameArgument,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Every key, those that it extends and defaults too.")
    ] = False,
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Print a protocol as it is written, or with all of its settings."""
    from emoclip_clinical.study.shipped import protocol_path

    if not resolved and not set_:
        typer.echo(protocol_path(name).read_text(encoding="utf-8"), nl=False)
        return
    from emoclip_clinical.study.protocol import resolved_text

    typer.echo(resolved_text(protocol_path(name), overrides=set_), nl=False)


@app.command("copy")
@guarded
def copy(
    name: NameArgument,
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="Where to; must not exist yet.")
    ] = Path("protocol.yaml"),
) -> None:
    """Copy a protocol, comments and all, to begin your own from it."""
    from emoclip_clinical.study.shipped import copy_protocol

    say(f"made {copy_protocol(name, file)}")


@app.command("schema")
@guarded
def schema(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; else it is printed.")
    ] = None,
) -> None:
    """Write the JSON Schema of protocol files, for editors."""
    from emoclip_clinical.study.protocol_schema import protocol_schema
    from emoclip_clinical.study.whole_files import write_json

    if file is None:
        typer.echo(json.dumps(protocol_schema(), indent=2, ensure_ascii=False))
        return
    write_json(file, protocol_schema())
    say(f"made {file}")
    say(f"a protocol names it in its first line: # yaml-language-server: $schema={file.name}")


@app.command("freeze")
@guarded
def freeze(
    study: StudyOption = Path(),
    protocol: ProtocolOption = None,
    with_values: Annotated[
        bool, typer.Option("--with-values", help="Hash the ratings' values too.")
    ] = False,
    osf: Annotated[
        Path | None,
        typer.Option("--osf", metavar="FILE.md", help="Write a preregistration text as well."),
    ] = None,
    timestamp_token: Annotated[
        Path | None,
        typer.Option(
            "--timestamp-token", metavar="FILE.tsr", help="An RFC 3161 response for the lock there."
        ),
    ] = None,
    timestamp_root: Annotated[
        Path | None,
        typer.Option(
            "--timestamp-root",
            metavar="FILE.pem",
            help="Root certificate of the token's authority: its signature is then checked.",
        ),
    ] = None,
    registration: Annotated[
        str | None,
        typer.Option("--registration", metavar="DOI|URL", help="Where the lock is registered."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a lock; the history keeps both.")
    ] = False,
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Lock a study's plan and inputs, before outcomes are known.

    Of the ratings only columns and rows are hashed. With --timestamp-token or --registration the
    lock that is there stays as it is, and gets its outside time stamp.
    """
    from emoclip_clinical.study import freezing

    file = None if protocol is None else study / protocol
    if timestamp_token is not None or registration is not None:
        lock_file = freezing.lock_file_of(study, protocol_file=file)
        stamp = freezing.add_stamp(
            lock_file,
            token=freezing.read_bytes(timestamp_token),
            root=freezing.read_bytes(timestamp_root),
            registration=registration,
        )
        say(f"made {stamp}")
    else:
        with progress_bars() as progress:
            frozen = freezing.freeze(
                study,
                overrides=set_,
                protocol_file=file,
                with_values=with_values,
                overwrite=overwrite,
                progress=progress,
            )
        _say_frozen(frozen)
    if osf is not None:
        freezing.write_preregistration(study, osf, protocol_file=file)
        say(f"made {osf}: fill in what stands in bold brackets")


def _say_frozen(frozen: Frozen) -> None:
    say(f"made {frozen.path}")
    say(f"its SHA-256: {frozen.sha256}")
    warn([f"not locked: {text}" for text in frozen.absent])
    if frozen.n_earlier_looks:
        warn([f"the history holds {frozen.n_earlier_looks} looks at ratings from before this lock"])
    say("register it, or have it time-stamped, before ratings are looked at; then run "
        "`protocol freeze --registration DOI` or `--timestamp-token FILE`")  # fmt: skip


@app.command("verify")
@guarded
def verify(
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A result's folder: results/<target>.")
    ],
    study: StudyOption = Path(),
    features: Annotated[
        Path | None, typer.Option("--features", help="What regress was given, if it was.")
    ] = None,
    ratings: Annotated[
        Path | None, typer.Option("--ratings", help="What regress was given, if it was.")
    ] = None,
    no_rerun: Annotated[
        bool, typer.Option("--no-rerun", help="Only settings and hashes; no rating is read.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Say what changed since a result was made and locked, and make it again to compare.

    Ends with 0 if all is the same, with 3 if anything differs. Making it again is recorded in the
    study's history.jsonl.
    """
    from emoclip_clinical.study.verify import verify_result

    with progress_bars() as progress:
        found = verify_result(
            study,
            result,
            features=features,
            ratings=ratings,
            rerun=not no_rerun,
            progress=progress,
        )
    if json_:
        record = {
            "same": found.same,
            "changes": list(found.changes),
            "numbers": None if found.numbers is None else list(found.numbers),
            "exact": found.exact,
            "notes": list(found.notes),
        }
        typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        for text in (*found.changes, *(found.numbers or ())):
            console.print(f"differs: {text}", highlight=False, soft_wrap=True)
        if found.numbers == ():
            how = "to the last digit" if found.exact else "within the tolerance of other versions"
            console.print(f"made again: predictions and metrics agree {how}")
        if found.same:
            console.print("nothing differs")
    for note in found.notes:
        say(f"note: {note}")
    if not found.same:
        raise typer.Exit(DIFFERS)


@app.command("diff")
@guarded
def diff(
    first: Annotated[
        str, typer.Argument(metavar="A", help="A protocol, a shipped one's name, a lock, a result.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Another of the same kind.")],
    json_: JsonOption = False,
) -> None:
    """Compare two protocols, locks or results: settings, inputs and figures."""
    from dataclasses import asdict

    from emoclip_clinical.study.protocol_diff import compare

    found = compare(first, second)
    if json_:
        typer.echo(json.dumps({"same": found.same, **asdict(found)}, indent=2, ensure_ascii=False))
        return
    parts = {
        "settings": found.settings,
        "inputs": found.inputs,
        "standing": found.standing,
        "versions": found.versions,
    }
    for title, texts in parts.items():
        for text in texts:
            console.print(f"{title}: {text}", highlight=False, soft_wrap=True)
    if found.figures:
        from rich.table import Table

        table = Table(title="Figures", title_justify="left")
        for heading in ("", "A", "B"):
            table.add_column(heading, overflow="fold")
        for pair in found.figures:
            table.add_row(pair.name, _shown(pair.first), _shown(pair.second))
        console.print(table)
    if found.same:
        console.print("nothing differs")


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
