"""The command line: one file a command, each a thin layer over one library function."""

from __future__ import annotations

import typer

from . import (
    demo,
    doctor,
    evaluate,
    extract,
    faces,
    import_checkpoint,
    init,
    power,
    predict,
    prompts,
    protocol,
    quality,
    regress,
    report,
    run,
    scales,
    serve,
    train,
    validate,
    view,
    withdraw,
)

app = typer.Typer(
    name="emoclip-clinical",
    help="From interview videos and a table of ratings to an honest estimate of symptoms. "
    "For research only; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.command)
app.command("init")(init.command)
app.command("validate")(validate.command)
app.command("doctor")(doctor.command)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("extract")(extract.command)
app.command("faces")(faces.command)
app.command("quality")(quality.command)
app.command("view")(view.command)
app.command("regress", cls=regress.Shown)(regress.command)
app.command("report")(report.command)
app.command("predict")(predict.command)
app.command("run")(run.command)
app.add_typer(protocol.app, name="protocol")
app.command("withdraw")(withdraw.command)
app.command("prompts")(prompts.command)
app.command("scales")(scales.command)
app.command("power")(power.command)
app.command("serve")(serve.command)
app.command("import-checkpoint")(import_checkpoint.command)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Show the version and end."),
) -> None:
    """Take the options that stand before a command."""
    if version:
        from emoclip_clinical import __version__

        typer.echo(f"emoclip-clinical {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


main.__doc__ = app.info.help
