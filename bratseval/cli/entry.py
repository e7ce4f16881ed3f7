"""The commands in the order of `--help`, and the entry that runs them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from bratseval import __version__
from bratseval.cli import bundled, folders, scoring

app = typer.Typer(
    help="The official scores of brain-tumor image challenges, from NIfTI folders to a leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: bratseval run brats2023-gli --submissions teams/ --references refs/ --output results/",
)
challenges_app = typer.Typer(help="The bundled challenges, and checks of your own.", no_args_is_help=True)
app.add_typer(challenges_app, name="challenges")

_COMMANDS: tuple[Callable[..., None], ...] = (
    *(scoring.run, scoring.evaluate, scoring.validate),
    *(folders.merge, folders.rank),
    *(scoring.slurm, bundled.info, bundled.metrics),
)
for command in _COMMANDS:
    app.command()(command)
challenges_app.command("list")(bundled.list_challenges)
challenges_app.command()(bundled.show)
challenges_app.command()(bundled.check)
challenges_app.command("advise")(bundled.advise_challenge)
challenges_app.command()(bundled.schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"bratseval {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the app; users enter by `__main__`, which sees to signals before anything is imported."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        raw, encoding, lines = _Stdout(1, "w", closefd=False), sys.stdout.encoding, sys.stdout.line_buffering
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", None, lines)
    app()


class _Stdout(io.FileIO):
    """Standard output that ends the process, quietly as other tools, once its reader has left (`| head`)."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            os._exit(141)  # 128 + SIGPIPE; an exception would leave unwritten text for a second one at exit
