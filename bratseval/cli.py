"""The command line: parse, call one function, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bratseval import __version__

if TYPE_CHECKING:
    from bratseval.pipeline import Options

app = typer.Typer(
    help="The official scores of brain-tumor image challenges, from NIfTI folders to a leaderboard.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: bratseval run brats2023-gli --submissions teams/ --references refs/ --output results/",
)
challenges_app = typer.Typer(help="The bundled challenges, and checks of your own.", no_args_is_help=True)
app.add_typer(challenges_app, name="challenges")

ChallengeArgument = Annotated[
    str, typer.Argument(metavar="CHALLENGE", help="Bundled name or path of a YAML file.")
]
References = Annotated[
    Path, typer.Option("-r", "--references", metavar="DIR", help="Folder of reference files.")
]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")]
Jobs = Annotated[
    int,
    typer.Option(
        "-j", "--jobs", min=0, envvar="BRATSEVAL_JOBS", help="Worker processes; 0 = all allowed CPUs."
    ),
]
Shard = Annotated[str, typer.Option(metavar="I/N", help="Score only this deterministic slice of the cases.")]
Overwrite = Annotated[bool, typer.Option(help="Replace results of another configuration.")]
Metadata = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV",
        help="Columns case, institution, the cohort where the challenge has cohorts, and any others: the "
        "leaderboard is repeated for each of their values.",
    ),
]
FailOn = Annotated[
    str, typer.Option(metavar="error|warning|never", help="Problems from which the exit code is 1.")
]
Geometry = Annotated[
    str,
    typer.Option(
        metavar="strict|ignore|resample", help="Another grid than the reference's; default: the YAML's."
    ),
]
Institution = Annotated[str, typer.Option(metavar="NAME", help="Institution of all cases.")]
Timeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Time limit of one case.")]
Memory = Annotated[float | None, typer.Option(metavar="GB", help="Memory limit of one worker.")]
AllowIncomplete = Annotated[
    bool,
    typer.Option("--allow-incomplete", help="Rank although cases crashed; they take the penalty."),
]
CompareSchemes = Annotated[
    bool,
    typer.Option("--compare-schemes", help="Rank under other accepted schemes too: would another team win?"),
]
Seed = Annotated[int | None, typer.Option(help="Seed of random draws; default: the YAML's.")]
Format = Annotated[
    str, typer.Option("--format", metavar="text|json", help="json prints one document to stdout.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only problems and the verdict.")]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, help="More detail; -vv shows traces.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text (NO_COLOR does the same).")]


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


@app.command()
def run(
    challenge: ChallengeArgument,
    submissions: Annotated[
        Path, typer.Option("-s", "--submissions", metavar="DIR", help="One folder a team below this folder.")
    ],
    references: References,
    output: Output,
    institution: Institution = "",
    jobs: Jobs = 0,
    shard: Shard = "1/1",
    overwrite: Overwrite = False,
    metadata: Metadata = None,
    fail_on: FailOn = "error",
    geometry: Geometry = "",
    timeout: Timeout = None,
    memory: Memory = None,
    seed: Seed = None,
    allow_incomplete: AllowIncomplete = False,
    compare_schemes: CompareSchemes = False,
    format: Format = "text",
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
) -> None:
    """Score every team's folder, rank the teams and write the leaderboard: the whole job."""
    with _screen(format, quiet, verbose, no_color) as screen:
        from bratseval import pipeline
        from bratseval.config import load_rulebook

        options = _options(
            *(jobs, shard, overwrite, metadata, fail_on, geometry, timeout, memory, seed),
            institution=institution,
            allow_incomplete=allow_incomplete,
            compare_schemes=compare_schemes,
        )
        rulebook = load_rulebook(challenge)
        with screen.progress() as progress:
            ended = pipeline.run(rulebook, submissions, references, output, options, progress)
        screen.ended(ended, output)


@app.command()
def evaluate(
    challenge: ChallengeArgument,
    predictions: Annotated[
        Path,
        typer.Option("-p", "--predictions", metavar="DIR|CSV", help="The team's files, or its one CSV file."),
    ],
    output: Output,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r", "--references", metavar="DIR", help="Folder of reference files; not for a team's log alone."
        ),
    ] = None,
    team: Annotated[str, typer.Option(help="Name of the team; default: the folder's name.")] = "",
    institution: Institution = "",
    jobs: Jobs = 0,
    shard: Shard = "1/1",
    overwrite: Overwrite = False,
    metadata: Metadata = None,
    fail_on: FailOn = "error",
    geometry: Geometry = "",
    timeout: Timeout = None,
    memory: Memory = None,
    seed: Seed = None,
    format: Format = "text",
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
) -> None:
    """Score one team's folder; writes the same tables without those that compare teams."""
    with _screen(format, quiet, verbose, no_color) as screen:
        from bratseval import pipeline
        from bratseval.config import load_rulebook

        options = _options(
            *(jobs, shard, overwrite, metadata, fail_on, geometry, timeout, memory, seed),
            institution=institution,
        )
        rulebook = load_rulebook(challenge)
        name = team or predictions.resolve().name
        with screen.progress() as progress:
            ended = pipeline.evaluate(rulebook, predictions, name, references, output, options, progress)
        screen.ended(ended, output)


@app.command()
def merge(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS_DIR...", help="Result folders to join.")],
    output: Output,
    challenge: Annotated[str, typer.Option(help="Challenge; default: the one in the first folder.")] = "",
    overwrite: Overwrite = False,
    metadata: Metadata = None,
    fail_on: FailOn = "error",
    seed: Seed = None,
    allow_incomplete: AllowIncomplete = False,
    compare_schemes: CompareSchemes = False,
    format: Format = "text",
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
) -> None:
    """Join the result folders of shards or institutions; names what is missing."""
    with _screen(format, quiet, verbose, no_color) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook
        from bratseval.results import read_run

        rulebook = load_rulebook(challenge or read_run(results[0])["challenge"])
        options = _options(
            *(1, "1/1", overwrite, metadata, fail_on),
            seed=seed,
            allow_incomplete=allow_incomplete,
            compare_schemes=compare_schemes,
        )
        screen.ended(joining.merge(rulebook, results, output, options), output)


@app.command()
def rank(
    challenge: ChallengeArgument,
    scores: Annotated[
        list[Path], typer.Argument(metavar="RESULTS_DIR|SCORES.csv...", help="Result folders or CSV files.")
    ],
    output: Output,
    overwrite: Overwrite = False,
    metadata: Metadata = None,
    fail_on: FailOn = "error",
    seed: Seed = None,
    allow_incomplete: AllowIncomplete = False,
    compare_schemes: CompareSchemes = False,
    format: Format = "text",
    quiet: Quiet = False,
    verbose: Verbose = 0,
    no_color: NoColor = False,
) -> None:
    """Rank scores without any image: the federated path."""
    with _screen(format, quiet, verbose, no_color) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook

        rulebook = load_rulebook(challenge)
        options = _options(
            *(1, "1/1", overwrite, metadata, fail_on),
            seed=seed,
            allow_incomplete=allow_incomplete,
            compare_schemes=compare_schemes,
        )
        screen.ended(joining.rank(rulebook, scores, output, options), output)


@app.command()
def info() -> None:
    """Versions, allowed CPUs and where the bundled configurations are."""
    import platform
    from importlib.metadata import version

    from bratseval.config import bundled_folder, bundled_names
    from bratseval.cpus import allowed_cpus

    print(f"bratseval {__version__} on Python {platform.python_version()}, {platform.platform()}")
    print(f"allowed CPUs: {allowed_cpus()}")
    print(f"bundled challenges: {len(bundled_names())} in {bundled_folder()}")
    for package in (
        "numpy",
        "scipy",
        "connected-components-3d",
        "isal",
        "pydantic",
        "ruamel.yaml",
        "nibabel",
    ):
        print(f"{package} {version(package)}")


@challenges_app.command("list")
def list_challenges(format: Format = "text") -> None:
    """Name and title of every bundled challenge."""
    from bratseval.config import bundled_names, load_challenge

    loaded = [load_challenge(name) for name in bundled_names()]
    if format == "json":
        _print_json([{"name": one.name, "title": one.title, "scorer": one.scorer} for one in loaded])
    else:
        width = max(len(one.name) for one in loaded)
        for one in loaded:
            print(f"{one.name:{width}}  {one.title}")


@challenges_app.command()
def show(challenge: ChallengeArgument, format: Format = "text") -> None:
    """The resolved configuration: everything that `extends:` brings in, with all defaults."""
    with _screen(format, False, 0, True):
        from ruamel.yaml import YAML

        from bratseval.config import load_challenge

        resolved = load_challenge(challenge).model_dump(mode="json")
        if format == "json":
            _print_json(resolved)
        else:
            yaml = YAML()
            yaml.width = 110
            yaml.dump(resolved, sys.stdout)


@challenges_app.command()
def check(
    file: Annotated[str, typer.Argument(metavar="FILE.yaml", help="A YAML file, or a bundled name.")],
    format: Format = "text",
    no_color: NoColor = False,
) -> None:
    """Check a configuration: every mistake with line, field, what was found and what is allowed."""
    with _screen(format, False, 0, no_color) as screen:
        from bratseval.config import load_rulebook

        rulebook = load_rulebook(file)
        screen.verdict(f"{rulebook.challenge.name} is a valid challenge (config {rulebook.digest})")
        if format == "json":
            _print_json({"name": rulebook.challenge.name, "config": rulebook.digest, "valid": True})


@challenges_app.command()
def schema() -> None:
    """The JSON Schema of a challenge file, for editors."""
    from bratseval.config import editor_schema

    _print_json(editor_schema())


def _print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False))


def _options(
    jobs: int,
    shard: str,
    overwrite: bool,
    metadata: Path | None,
    fail_on: str,
    geometry: str = "",
    timeout: float | None = None,
    memory: float | None = None,
    seed: int | None = None,
    institution: str = "",
    allow_incomplete: bool = False,
    compare_schemes: bool = False,
) -> Options:
    """Check the options whose values typer does not check."""
    from bratseval.cpus import allowed_cpus
    from bratseval.pipeline import Options

    index, _, count = shard.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count) <= 1000):
        raise typer.BadParameter(f"--shard {shard}: expected I/N with 1 <= I <= N <= 1000")
    if memory is not None and memory < 0.5:
        raise typer.BadParameter(f"--memory {memory:g}: a worker needs at least 0.5 GB")
    _one_of("--fail-on", fail_on, ("error", "warning", "never"))
    _one_of("--geometry", geometry, ("strict", "ignore", "resample", ""))
    return Options(
        jobs or allowed_cpus(),
        (int(index), int(count)),
        overwrite,
        metadata,
        fail_on,
        geometry,
        timeout,
        None if memory is None else int(memory * 1e9),
        seed,
        institution,
        allow_incomplete,
        compare_schemes,
    )


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{option} {value}: expected one of {', '.join(filter(None, allowed))}")


@contextmanager
def _screen(format: str, quiet: bool, verbose: int, no_color: bool) -> Iterator[Any]:
    """Everything a command prints, and the one place where errors become sentences and exit codes."""
    _one_of("--format", format, ("text", "json"))
    from bratseval.errors import BratsevalError
    from bratseval.screen import Screen

    screen = Screen(format, quiet, no_color)
    try:
        yield screen
    except BratsevalError as error:
        if verbose > 1:
            screen.trace()
        screen.failed(error)
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.BadParameter, typer.Abort):
        raise
    except KeyboardInterrupt:
        screen.verdict("interrupted; the same command starts again")
        raise typer.Exit(130) from None
    except Exception as fault:
        if verbose > 1:
            screen.trace()
        screen.verdict(f"a fault of bratseval: {type(fault).__name__}: {fault} (-vv shows the trace)")
        raise typer.Exit(70) from None


def main() -> None:
    """Entry point of the console script."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    app()
