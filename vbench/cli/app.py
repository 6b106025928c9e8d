"""The `vbench` command: one file a command beside this one, imported when it is used."""

import sys
from typing import Annotated

import typer

import vbench
from vbench.cli import (
    audit,
    bench,
    claims,
    compare,
    console,
    data,
    demo,
    doctor,
    models,
    profile,
    report,
    show,
    sweep,
    train,
)
from vbench.cli import eval as evaluating
from vbench.core.errors import VbenchError

INTERRUPTED = 130

app = typer.Typer(
    name="vbench",
    help="Benchmark and profile video models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    models.models,
    show.show,
    profile.profile,
    sweep.sweep,
    report.report,
    audit.audit,
    bench.bench,
    train.train,
    claims.claims,
    compare.compare,
    doctor.doctor,
    demo.demo,
):
    app.command()(command)
app.command("eval")(evaluating.eval_)
app.add_typer(data.data)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.text(vbench.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Benchmark and profile video models."""


def main() -> None:
    """Run the command line; an expected failure ends in its own exit code, without a traceback."""
    sys.path.insert(0, "")  # the user's own models, as package.module:callable
    try:
        app()
    except VbenchError as failure:
        console.error(str(failure), failure.hint)
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
