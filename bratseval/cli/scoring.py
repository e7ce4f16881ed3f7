"""Commands that read images: run, evaluate, validate, and run as jobs of Slurm."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bratseval.cli.options import (
    ELSEWHERE,
    OPTIONS,
    RANKING,
    READING,
    REPORT,
    SCORING,
    SCREEN,
    ChallengeArgument,
    Output,
    Predictions,
    References,
    Submissions,
    Team,
    options_of,
    taking,
)
from bratseval.cli.terminal import print_json, screen_of, with_report


@taking(*READING, *ELSEWHERE, *SCORING, *RANKING, *REPORT, "format", *SCREEN)
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
    with screen_of(given) as screen:
        from bratseval import pipeline
        from bratseval.config import load_rulebook

        options = options_of(given)
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
            ended = with_report(ended, output, options, given)
        screen.ended(ended, output)


@taking(*READING, *ELSEWHERE, *SCORING, *REPORT, "format", *SCREEN)
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
    with screen_of(given) as screen:
        from bratseval import pipeline
        from bratseval.config import load_rulebook

        options = options_of(given)
        rulebook = load_rulebook(challenge)
        with screen.progress() as progress:
            ended = pipeline.evaluate(rulebook, predictions, team, references, output, options, progress)
            ended = with_report(ended, output, options, given)
        screen.ended(ended, output)


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
            metavar="text|json|github|junit|synapse",
            help="What goes to stdout: nothing, one JSON document, GitHub annotations, JUnit XML, or the "
            "status that Synapse takes as annotations.",
        ),
    ] = "text",
    **given: Any,
) -> None:
    """Check a submission without scoring it: names, geometry, labels and ranges, every problem at once."""
    with screen_of({**given, "format": format}, ("text", "json", "github", "junit", "synapse")) as screen:
        from bratseval import validation
        from bratseval.config import load_rulebook

        options = options_of(given)
        rulebook = load_rulebook(challenge)
        with screen.progress("checked") as progress:
            checked = validation.validate(rulebook, predictions, team, references, cases, options, progress)
        screen.validated(checked)


@taking(
    *(name for name in READING if name != "jobs"),
    *(name for name in SCORING if name not in ("shard", "resume")),  # every shard is one that resumes
    *RANKING,
    *REPORT,
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
    with screen_of(given) as screen:
        from bratseval import slurm as jobs
        from bratseval.config import load_rulebook
        from bratseval.errors import counted

        options = options_of({**given, "jobs": cpus})
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
            _changed(given, ("metadata", "overwrite", "seed", *RANKING, *REPORT, "fail_on")),
            lines,
        )
        jobs.write(job, rulebook.digest, options.overwrite)
        array, merging = jobs.submit(job) if submit else (None, None)
        if given["format"] == "json":
            facts = {"teams": teams, "cases": cases, "shards": job.shards, "output": str(output)}
            scripts = {"array_script": str(job.array_script), "merge_script": str(job.merge_script)}
            print_json({**facts, **scripts, "array_job": array, "merge_job": merging})
        elif not submit:
            print(jobs.commands(job), end="")
        done = f"submitted: jobs {array} and, after it, {merging}" if submit else "written"
        rule = "" if shards else f", one per {jobs.CASES_PER_SHARD} cases"
        screen.verdict(
            f"{done}: {counted(teams, 'team')}, {counted(cases, 'case')} of theirs in "
            f"{counted(job.shards, 'shard')}{rule}; scripts and logs in {job.place}"
        )


def _changed(given: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """The named options that were given and are not at their defaults, as words of a command line."""
    words = []
    for name in names:
        if (value := given.get(name, OPTIONS[name][1])) != OPTIONS[name][1]:
            flag = f"--{name.replace('_', '-')}"
            switch = {True: flag, False: f"--no-{flag.removeprefix('--')}"}
            words.append(switch[value] if isinstance(value, bool) else f"{flag}={value}")
    return tuple(words)
