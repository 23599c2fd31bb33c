"""`view`: a local page with the cohort, its timelines and its videos."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, say, warn
from ._options import SetOption, StudyOption


@guarded
def command(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="The study's folder; else --study.")
    ] = None,
    study: StudyOption = Path(),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 0,
    show_faces: Annotated[
        bool,
        typer.Option("--show-faces", help="Show the videos as they are, with sound; else blurred."),
    ] = False,
    hide_estimates: Annotated[
        bool,
        typer.Option(
            "--hide-estimates", help="Show no estimates, so that marks can not follow them."
        ),
    ] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page at once.")
    ] = True,
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Look at interviews beside their timelines, and mark segments to leave out.

    The page is for this machine alone, and its address opens it once. Marks are written to the file
    that data.exclusions names, else to exclusions.csv, and count only once the protocol names it.
    """
    import webbrowser

    from emoclip_clinical.serving.viewer.cohort import open_cohort
    from emoclip_clinical.serving.viewer.server import ViewerServer
    from emoclip_clinical.study.protocol import open_study

    opened = open_study(folder or study, overrides=set_)
    cohort = open_cohort(opened, hide_estimates=hide_estimates)
    warn(cohort.warnings)
    server = ViewerServer(cohort, port=port, show_faces=show_faces)
    say(f"open this address, which works once: {server.url}")
    say("end with Ctrl-C")
    if browser:
        webbrowser.open(server.url)
    # Ctrl-C comes back as an exception, unless this was started with the interrupt ignored.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    say("the viewer has ended")
