"""The options that mean the same in every command, and the checks of their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from bratseval.cli import completion

if TYPE_CHECKING:
    from bratseval.options import Options

ChallengeArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHALLENGE",
        help="Bundled name or path of a YAML file.",
        autocompletion=completion.challenges,
    ),
]
Submissions = Annotated[
    Path,
    typer.Option("-s", "--submissions", metavar="DIR", help="One folder or archive a team in this folder."),
]
References = Annotated[
    Path,
    typer.Option(
        "-r",
        "--references",
        metavar="DIR|CSV",
        help="Folder of reference files, or the one table of answers.",
    ),
]
Predictions = Annotated[
    Path,
    typer.Option(
        "-p",
        "--predictions",
        metavar="DIR|ARCHIVE|CSV",
        help="The team's files: a folder, a .zip, .tar or .tar.gz, or its one CSV file.",
    ),
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")]
Team = Annotated[str, typer.Option(help="Name of the team; default: the name of folder or archive.")]
Format = Annotated[
    str, typer.Option("--format", metavar="text|json", help="json prints one document to stdout.")
]
NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text (NO_COLOR does the same).")]

# Options that mean the same in every verb, with their defaults: a command names those that it takes.
OPTIONS: dict[str, tuple[Any, Any]] = {
    "institution": (Annotated[str, typer.Option(metavar="NAME", help="Institution of all cases.")], ""),
    "jobs": (
        Annotated[
            int,
            typer.Option(
                "-j", "--jobs", min=0, envvar="BRATSEVAL_JOBS", help="Worker processes; 0 = all allowed CPUs."
            ),
        ],
        0,
    ),
    "shard": (
        Annotated[str, typer.Option(metavar="I/N", help="Score only this deterministic slice of the cases.")],
        "1/1",
    ),
    "scheduler": (
        Annotated[
            str,
            typer.Option(
                metavar="tcp://HOST:PORT",
                envvar="BRATSEVAL_SCHEDULER",
                help="Score on the workers of a running Dask scheduler, not on this machine.",
            ),
        ],
        "",
    ),
    "shards": (
        Annotated[
            int,
            typer.Option(
                min=0,
                max=1000,
                metavar="N",
                help="Tasks on --scheduler, the same slices as --shard I/N; 0: by cases and workers.",
            ),
        ],
        0,
    ),
    "resume": (
        Annotated[
            bool,
            typer.Option(
                "--resume/--no-resume", help="Keep finished cases of an earlier run into the same folder."
            ),
        ],
        True,
    ),
    "overwrite": (Annotated[bool, typer.Option(help="Replace results of another configuration.")], False),
    "metadata": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="CSV",
                help="Columns case, institution, the cohort where the challenge has cohorts, and any others: "
                "the leaderboard is repeated for each of their values.",
            ),
        ],
        None,
    ),
    "fail_on": (
        Annotated[
            str, typer.Option(metavar="error|warning|never", help="Problems from which the exit code is 1.")
        ],
        "error",
    ),
    "geometry": (
        Annotated[
            str,
            typer.Option(
                metavar="strict|ignore|resample",
                help="Another grid than the reference's; default: the YAML's.",
            ),
        ],
        "",
    ),
    "timeout": (
        Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Time limit of one case; 0 = none.")],
        3600.0,
    ),
    "memory": (
        Annotated[float | None, typer.Option(metavar="GB", help="Memory limit of one worker.")],
        None,
    ),
    "max_members": (
        Annotated[int, typer.Option(min=1, help="Files that an archive may hold.")],
        20_000,
    ),
    "max_unpacked": (
        Annotated[float, typer.Option(min=0, metavar="GB", help="Size that an archive may unpack to.")],
        100.0,
    ),
    "max_ratio": (
        Annotated[
            float, typer.Option(min=1, help="Bytes that a byte of an archive may unpack to, beyond 1 GiB.")
        ],
        1000.0,
    ),
    "seed": (Annotated[int | None, typer.Option(help="Seed of random draws; default: the YAML's.")], None),
    "allow_incomplete": (
        Annotated[
            bool,
            typer.Option("--allow-incomplete", help="Rank although cases crashed; they take the penalty."),
        ],
        False,
    ),
    "compare_schemes": (
        Annotated[
            bool,
            typer.Option(
                "--compare-schemes", help="Rank under other accepted schemes too: would another team win?"
            ),
        ],
        False,
    ),
    "report": (
        Annotated[
            bool,
            typer.Option("--report/--no-report", envvar="BRATSEVAL_REPORT", help="Write report.html too."),
        ],
        True,
    ),
    "images": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="DIR",
                exists=True,
                file_okay=False,
                help="Images, each named with its case, for the pictures in the report.",
            ),
        ],
        None,
    ),
    "pictures": (
        Annotated[
            int,
            typer.Option(min=0, max=10, help="Worst cases of each team that the report shows as pictures."),
        ],
        1,
    ),
    "format": (Format, "text"),
    "quiet": (
        Annotated[bool, typer.Option("-q", "--quiet", help="Print only problems and the verdict.")],
        False,
    ),
    "verbose": (
        Annotated[int, typer.Option("-v", "--verbose", count=True, help="More detail; -vv shows traces.")],
        0,
    ),
    "no_color": (NoColor, False),
}
READING = ("jobs", "timeout", "memory", "geometry", "max_members", "max_unpacked", "max_ratio", "metadata")
ELSEWHERE = ("scheduler", "shards")
SCORING = ("institution", "shard", "resume", "overwrite", "seed")
REPORT = ("report", "images", "pictures")
RANKING = ("allow_incomplete", "compare_schemes")
SCREEN = ("fail_on", "quiet", "verbose", "no_color")


def taking(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command that ends in ``**given`` the named options of OPTIONS."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        further = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=OPTIONS[name][1], annotation=OPTIONS[name][0]
            )
            for name in names
        ]
        function.__annotations__ |= {name: OPTIONS[name][0] for name in names}
        function.__signature__ = inspect.Signature([*own, *further])  # type: ignore[attr-defined]
        return function

    return add


def options_of(given: Mapping[str, Any]) -> Options:
    """Check the options whose values typer does not check."""
    from bratseval.archives import ArchiveLimits
    from bratseval.cpus import allowed_cpus
    from bratseval.options import Options

    def value(name: str) -> Any:
        return given.get(name, OPTIONS[name][1])

    index, _, count = value("shard").partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= 1000):
        raise typer.BadParameter(f"--shard {value('shard')}: expected I/N with 1 <= I <= N <= 1000")
    if value("shards") and not value("scheduler"):
        raise typer.BadParameter("--shards needs --scheduler; --shard I/N scores one of N shards here")
    if value("scheduler") and int(count) > 1:
        raise typer.BadParameter("--shard and --scheduler: a Dask run has all shards; --shards says how many")
    memory = value("memory")
    if memory is not None and memory < 0.5:
        raise typer.BadParameter(f"--memory {memory:g}: a worker needs at least 0.5 GB")
    one_of("--fail-on", value("fail_on"), ("error", "warning", "never"))
    one_of("--geometry", value("geometry"), ("strict", "ignore", "resample", ""))
    return Options(
        jobs=value("jobs") or allowed_cpus(),
        shard=(int(index), int(count)),
        timeout_s=value("timeout") or None,
        memory_bytes=None if memory is None else int(memory * 1e9),
        archives=ArchiveLimits(value("max_members"), int(value("max_unpacked") * 1e9), value("max_ratio")),
        **{name: value(name) for name in ("resume", "overwrite", "metadata", "fail_on", "geometry")},
        **{name: value(name) for name in ("seed", "institution", "scheduler", "shards", *RANKING)},
    )


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{option} {value}: expected one of {', '.join(filter(None, allowed))}")
