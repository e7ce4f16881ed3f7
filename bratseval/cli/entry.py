"""The commands in the order of `--help`, and the entry that runs them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from bratseval import __version__
from bratseval.cli import bundled, folders, scoring
from bratseval.cli.examples import epilog

# Boxes and colors of typer's help and usage errors only where a person looks; elsewhere the last line of an
# error is the sentence that says it.
_BOXES: Literal["rich"] | None = (
    "rich" if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else None
)

app = typer.Typer(
    rich_markup_mode=_BOXES,
    help="The official scores of brain-tumor image challenges, from NIfTI folders to a leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=epilog("", _BOXES is not None),
)
challenges_app = typer.Typer(
    rich_markup_mode=_BOXES,
    help="The bundled challenges, and checks of your own.",
    no_args_is_help=True,
    epilog=epilog("challenges", _BOXES is not None),
)
app.add_typer(challenges_app, name="challenges")

_COMMANDS: tuple[Callable[..., None], ...] = (
    *(scoring.run, scoring.evaluate, scoring.validate),
    *(folders.merge, folders.rank, folders.report, folders.show, folders.export),
    *(scoring.slurm, bundled.info, bundled.metrics),
)
_OF_CHALLENGES: dict[str, Callable[..., None]] = {
    "list": bundled.list_challenges,
    "show": bundled.show,
    "check": bundled.check,
    "init": bundled.init,
    "advise": bundled.advise_challenge,
    "schema": bundled.schema,
}
for command in _COMMANDS:
    app.command(epilog=epilog(command.__name__, _BOXES is not None))(command)
for name, command in _OF_CHALLENGES.items():
    challenges_app.command(name, epilog=epilog(f"challenges {name}", _BOXES is not None))(command)


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
