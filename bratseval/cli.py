"""The command line: parse, call one function, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import inspect
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

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
@taking(*READING, *ELSEWHERE, *SCORING, *RANKING, "format", *SCREEN)
def run(
    challenge: ChallengeArgument,
    submissions: Submissions,
    references: References,
    output: Output,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Time a few cases, say what the run would take, and write nothing."),
    ] = False,
    **given: Any,
) -> None:
    """Score every team's folder or archive, rank the teams and write the leaderboard: the whole job."""
    with _screen(given) as screen:
        from bratseval import pipeline
        from bratseval.config import load_rulebook

        options = _options(given)
        if dry_run and options.scheduler:
            raise typer.BadParameter("--dry-run times cases on this machine; leave out --scheduler")
        rulebook = load_rulebook(challenge)
        if dry_run:
            from bratseval.planning import forecast

            with screen.progress("timed") as progress:
                planned = forecast(rulebook, submissions, references, output, options, progress)
            screen.forecast(planned)
            return
        with screen.progress() as progress:
            ended = pipeline.run(rulebook, submissions, references, output, options, progress)
        screen.ended(ended, output)


@app.command()
@taking(*READING, *ELSEWHERE, *SCORING, "format", *SCREEN)
def evaluate(
    challenge: ChallengeArgument,
    predictions: Predictions,
    output: Output,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r",
            "--references",
            metavar="DIR|CSV",
            help="Folder of reference files, or the one table of answers; not for a team's log alone.",
        ),
    ] = None,
    team: Team = "",
    **given: Any,
) -> None:
    """Score one team's files; writes the same tables without those that compare teams."""
    with _screen(given) as screen:
        from bratseval import pipeline
        from bratseval.config import load_rulebook

        options = _options(given)
        rulebook = load_rulebook(challenge)
        with screen.progress() as progress:
            ended = pipeline.evaluate(rulebook, predictions, team, references, output, options, progress)
        screen.ended(ended, output)


@app.command()
@taking(*READING, *ELSEWHERE, *SCREEN)
def validate(
    challenge: ChallengeArgument,
    predictions: Predictions,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r", "--references", metavar="DIR|CSV", help="References: expected cases and their grids."
        ),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Expected cases: a CSV with a column case, or an id a line."),
    ] = None,
    team: Team = "",
    format: Annotated[
        str,
        typer.Option(
            metavar="text|json|github|junit",
            help="What goes to stdout: nothing, one JSON document, GitHub annotations, JUnit XML.",
        ),
    ] = "text",
    **given: Any,
) -> None:
    """Check a submission without scoring it: names, geometry, labels and ranges, every problem at once."""
    with _screen({**given, "format": format}, ("text", "json", "github", "junit")) as screen:
        from bratseval import validation
        from bratseval.config import load_rulebook

        options = _options(given)
        rulebook = load_rulebook(challenge)
        with screen.progress("checked") as progress:
            checked = validation.validate(rulebook, predictions, team, references, cases, options, progress)
        screen.validated(checked)


@app.command()
@taking("overwrite", "metadata", "seed", *RANKING, "format", *SCREEN)
def merge(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS_DIR...", help="Result folders to join.")],
    output: Output,
    challenge: Annotated[str, typer.Option(help="Challenge; default: the one in the first folder.")] = "",
    **given: Any,
) -> None:
    """Join the result folders of shards or institutions; names what is missing."""
    with _screen(given) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook
        from bratseval.results import read_run

        rulebook = load_rulebook(challenge or read_run(results[0])["challenge"])
        screen.ended(joining.merge(rulebook, results, output, _options(given)), output)


@app.command()
@taking("overwrite", "metadata", "seed", *RANKING, "format", *SCREEN)
def rank(
    challenge: ChallengeArgument,
    scores: Annotated[
        list[Path], typer.Argument(metavar="RESULTS_DIR|SCORES.csv...", help="Result folders or CSV files.")
    ],
    output: Output,
    **given: Any,
) -> None:
    """Rank scores without any image: the federated path."""
    with _screen(given) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook

        rulebook = load_rulebook(challenge)
        screen.ended(joining.rank(rulebook, scores, output, _options(given)), output)


@app.command()
@taking(
    *(name for name in READING if name != "jobs"),
    *(name for name in SCORING if name not in ("shard", "resume")),  # every shard is one that resumes
    *RANKING,
    "format",
    *SCREEN,
)
def slurm(
    challenge: ChallengeArgument,
    submissions: Submissions,
    references: References,
    output: Output,
    shards: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Tasks of the array; default: one per 100 cases of all teams."),
    ] = None,
    cpus: Annotated[
        int, typer.Option("-j", "--jobs", "--cpus", min=1, help="CPUs, and so workers, of each task.")
    ] = 1,
    mem: Annotated[str, typer.Option(metavar="SIZE", help="Memory of each job, as sbatch takes it.")] = "",
    time: Annotated[
        str, typer.Option(metavar="TIME", help="Time limit of each job, as sbatch takes it.")
    ] = "",
    partition: Annotated[str, typer.Option(metavar="NAME", help="Partition of the jobs.")] = "",
    account: Annotated[str, typer.Option(metavar="NAME", help="Account that the jobs are charged to.")] = "",
    sbatch: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help="Another option of sbatch, such as '--qos=low'; repeatable."),
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Send both jobs; else print how to.")] = False,
    **given: Any,
) -> None:
    """Write `run` as jobs of Slurm: an array of shards, which go on after a requeue, and the merge."""
    with _screen(given) as screen:
        from bratseval import slurm as jobs
        from bratseval.config import load_rulebook

        options = _options({**given, "jobs": cpus})
        lines = jobs.directives(mem, time, partition, account, sbatch or ())
        rulebook = load_rulebook(challenge)
        teams, cases = jobs.count_cases(rulebook, submissions, references, output, options)
        places = [f"--submissions={submissions}", f"--references={references}"]
        job = jobs.Job(
            challenge,
            os.getcwd(),
            str(output),
            jobs.number_of_shards(cases, shards),
            cpus,
            (*places, *_changed(given, (*READING, *SCORING))),
            _changed(given, ("metadata", "overwrite", "seed", *RANKING, "fail_on")),
            lines,
        )
        jobs.write(job, rulebook.digest, options.overwrite, anew=submit)
        array, merging = jobs.submit(job) if submit else (None, None)
        if given["format"] == "json":
            facts = {"teams": teams, "cases": cases, "shards": job.shards, "output": str(output)}
            scripts = {"array_script": str(job.array_script), "merge_script": str(job.merge_script)}
            _print_json({**facts, **scripts, "array_job": array, "merge_job": merging})
        elif not submit:
            print(jobs.commands(job), end="")
        done = f"submitted: jobs {array} and, after it, {merging}" if submit else "written"
        screen.verdict(
            f"{done}: {teams} teams, {cases} cases of theirs in {job.shards} shards; "
            f"scripts and logs in {job.place}"
        )


def _changed(given: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """The named options that were given and are not at their defaults, as words of a command line."""
    words = []
    for name in names:
        if (value := given.get(name, OPTIONS[name][1])) != OPTIONS[name][1]:
            flag = f"--{name.replace('_', '-')}"
            words.append(flag if value is True else f"{flag}={value}")
    return tuple(words)


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
        "pillow",
    ):
        print(f"{package} {version(package)}")


@app.command()
def metrics(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One metric, with all that is known.")] = "",
    format: Format = "text",
) -> None:
    """Every metric: what it reads, its range, direction, parameters and definition."""
    with _screen({"format": format, "no_color": True}):
        from dataclasses import asdict

        from bratseval.config import bundled_names, load_challenge
        from bratseval.metric_table import as_page, as_table, metric_row, metric_rows, users

        if not name:
            rows = metric_rows()
            if format == "json":
                _print_json([asdict(row) for row in rows])
            else:
                print(as_table(rows, _columns()))
            return
        row = metric_row(name)
        used = users(row, [load_challenge(one) for one in bundled_names()])
        if format == "json":
            _print_json({**asdict(row), "used_by": used})
        else:
            print(as_page(row, used, _columns()))


@challenges_app.command("list")
def list_challenges(format: Format = "text") -> None:
    """Every bundled challenge, and what its numbers were compared with."""
    from bratseval.config import PARITY_STATES, bundled_names, load_challenge, parity

    compared = parity()
    loaded = [load_challenge(name) for name in bundled_names()]
    if format == "json":
        facts = [{"name": one.name, "title": one.title, "scorer": one.scorer} for one in loaded]
        _print_json([one | compared[one["name"]] for one in facts])
        return
    width = max(len(one.name) for one in loaded)
    for one in loaded:
        print(f"{one.name:{width}}  {compared[one.name]['parity']:10}  {one.title}")
    print(*(f"{state}: {meaning}" for state, meaning in PARITY_STATES.items()), sep="\n")


@challenges_app.command()
def show(challenge: ChallengeArgument, format: Format = "text") -> None:
    """The resolved configuration: everything that `extends:` brings in, with all defaults."""
    with _screen({"format": format, "no_color": True}):
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
    with _screen({"format": format, "no_color": no_color}) as screen:
        from dataclasses import asdict

        from bratseval.advice.advisers import advise, as_notes
        from bratseval.config import load_rulebook, uncomputed

        rulebook = load_rulebook(file)
        advice = advise(rulebook.challenge)
        screen.problems([*uncomputed(rulebook), *as_notes(advice)])
        screen.verdict(f"{rulebook.challenge.name} is a valid challenge (config {rulebook.digest})")
        if format == "json":
            facts = {"name": rulebook.challenge.name, "config": rulebook.digest, "valid": True}
            _print_json({**facts, "advice": [asdict(one) for one in advice]})


@challenges_app.command("advise")
def advise_challenge(
    challenge: ChallengeArgument,
    references: Annotated[
        Path | None,
        typer.Option(
            "-r", "--references", metavar="DIR", help="References, whose sizes and cases are looked at too."
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Columns case and institution, or patient where ids do not say it."),
    ] = None,
    format: Format = "text",
    no_color: NoColor = False,
) -> None:
    """What the literature on metrics and rankings warns of in a challenge and its references."""
    with _screen({"format": format, "no_color": no_color}):
        from dataclasses import asdict

        from bratseval.advice.advisers import advise, as_text
        from bratseval.advice.findings import survey
        from bratseval.config import load_rulebook

        rulebook = load_rulebook(challenge)
        findings = survey(rulebook, references, metadata)
        advice = advise(rulebook.challenge, findings)
        if format == "json":
            facts = {"name": rulebook.challenge.name, "config": rulebook.digest}
            _print_json({**facts, "cases": len(findings.cases), "advice": [asdict(one) for one in advice]})
        else:
            print(as_text(rulebook.challenge, findings, advice, _columns()))


@challenges_app.command()
def schema() -> None:
    """The JSON Schema of a challenge file, for editors."""
    from bratseval.config import editor_schema

    _print_json(editor_schema())


def _columns() -> int:
    """Width of text on stdout: the terminal's, within what is readable."""
    import shutil

    return min(max(shutil.get_terminal_size((80, 24)).columns, 40), 110)


def _print_json(document: Any) -> None:
    import json

    print(json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False))


def _options(given: Mapping[str, Any]) -> Options:
    """Check the options whose values typer does not check."""
    from bratseval.archives import ArchiveLimits
    from bratseval.cpus import allowed_cpus
    from bratseval.pipeline import Options

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
    _one_of("--fail-on", value("fail_on"), ("error", "warning", "never"))
    _one_of("--geometry", value("geometry"), ("strict", "ignore", "resample", ""))
    return Options(
        jobs=value("jobs") or allowed_cpus(),
        shard=(int(index), int(count)),
        timeout_s=value("timeout") or None,
        memory_bytes=None if memory is None else int(memory * 1e9),
        archives=ArchiveLimits(value("max_members"), int(value("max_unpacked") * 1e9), value("max_ratio")),
        **{name: value(name) for name in ("resume", "overwrite", "metadata", "fail_on", "geometry")},
        **{name: value(name) for name in ("seed", "institution", "scheduler", "shards", *RANKING)},
    )


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{option} {value}: expected one of {', '.join(filter(None, allowed))}")


@contextmanager
def _screen(given: Mapping[str, Any], formats: tuple[str, ...] = ("text", "json")) -> Iterator[Any]:
    """Everything a command prints, and the one place where errors become sentences and exit codes."""
    _one_of("--format", given.get("format", "text"), formats)
    from bratseval.errors import BratsevalError
    from bratseval.screen import Screen

    screen = Screen(given.get("format", "text"), given.get("quiet", False), given.get("no_color", False))
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
