"""`serve`: embeddings, scores and estimates over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._console import guarded, say, warn
from ._options import DeviceOption, SetOption, StudyOption


@guarded
def command(
    model: Annotated[
        Path | None, typer.Option("--model", help="A model folder; else the study's.")
    ] = None,
    estimator: Annotated[
        list[Path],
        typer.Option(
            "--estimator", help="results/<target>/estimator, as regress wrote it. Repeatable."
        ),
    ] = [],  # noqa: B006
    host: Annotated[
        str, typer.Option("--host", help="Another than loopback needs --token-file.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")
    ] = 8765,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Tokens, one a line; every request must show one."),
    ] = None,
    study: StudyOption = Path(),
    prompts: Annotated[
        list[str],
        typer.Option("--prompts", help="A prompt set: a file, or a shipped name. Repeatable."),
    ] = [],  # noqa: B006
    device: DeviceOption = "auto",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="float32, bfloat16, int8 (on a CPU), or auto: as the study's protocol says, else "
            "as the estimators' features were made, else float32.",
        ),
    ] = "auto",
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="A PEM file; goes with --tls-key.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="A PEM file without a password.")
    ] = None,
    limit: Annotated[
        list[str],
        typer.Option(
            "--limit",
            help="A limit, such as max_video_seconds=3600; an unknown key lists all. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Answer requests for embeddings, scores and estimates over HTTP, until it is asked to end.

    Videos are read as the study's protocol says, by its defaults outside a study. Requests can be
    read about at /docs. SIGTERM or Ctrl-C finishes what was accepted; a second one ends at once.
    """
    from emoclip_clinical.features.prompt_sets import load_prompt_sets, shipped_prompt_sets
    from emoclip_clinical.serving.config import parse_limits
    from emoclip_clinical.serving.plan import Address, ServerPlan, checked_tokens
    from emoclip_clinical.study.protocol import open_study

    config = parse_limits(limit)
    address = Address(host, port, token_file, tls_certificate, tls_key)
    checked_tokens(address)  # before torch is loaded, which takes longer
    opened = open_study(study, overrides=set_)
    extraction = opened.protocol.extraction.located(opened.folder)
    if prompts:
        own = load_prompt_sets(tuple(prompts))
    else:
        own = load_prompt_sets(extraction.prompts, folder=opened.folder)
    plan = ServerPlan(
        address=address,
        model_folder=model or opened.model_folder,
        estimators=tuple(estimator),
        extraction=extraction,
        own_prompts=own,
        other_prompts=load_prompt_sets(shipped_prompt_sets()),
        config=config,
        device=device,
        precision=precision,
    )
    from emoclip_clinical.serving.server import serve

    serve(plan, say=say, warn=warn)
