"""What every command prints by, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bratseval.cli.options import one_of

if TYPE_CHECKING:
    from bratseval.finishing import Ended
    from bratseval.options import Options


@contextmanager
def screen_of(given: Mapping[str, Any], formats: tuple[str, ...] = ("text", "json")) -> Iterator[Any]:
    """Everything a command prints, and the one place where errors become sentences and exit codes."""
    one_of("--format", given.get("format", "text"), formats)
    from bratseval.errors import BratsevalError
    from bratseval.screen import Screen

    screen = Screen(
        *(given.get("format", "text"), given.get("quiet", False), given.get("no_color", False)),
        scores="shard" in given,
    )
    trace = given.get("verbose", 0) > 1
    try:
        yield screen
    except BratsevalError as error:
        if trace:
            screen.trace()
        screen.failed(error)
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.BadParameter, typer.Abort):
        raise
    except KeyboardInterrupt:
        screen.stopped("interrupted")
        raise typer.Exit(130) from None
    except SystemExit:
        screen.stopped("terminated")
        raise typer.Exit(143) from None
    except Exception as fault:
        if trace:
            screen.trace()
        screen.verdict(f"a fault of bratseval: {type(fault).__name__}: {fault} (-vv shows the trace)")
        raise typer.Exit(70) from None


def with_report(ended: Ended, output: Path, options: Options, given: Mapping[str, Any]) -> Ended:
    """What a command did, once report.html is beside its tables; one shard of several gets none."""
    if not given["report"] or ended.run["shard"][1] != 1:
        return ended
    from bratseval.reporting import with_report

    return with_report(ended, output, options, given["images"], given["pictures"])


def columns() -> int:
    """Width of text on stdout: the terminal's, within what is readable."""
    import shutil

    return min(max(shutil.get_terminal_size((80, 24)).columns, 40), 110)


def hanging(text: str, indent: str) -> str:
    """Text whose further lines are indented on a terminal; one line elsewhere, for grep and the like."""
    import sys
    import textwrap

    if not sys.stdout.isatty():
        return text
    return textwrap.fill(text, columns(), subsequent_indent=indent, break_on_hyphens=False)


def print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False))
