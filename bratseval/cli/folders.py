"""Commands on result folders: merge, rank, report, show, export."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bratseval.cli import completion
from bratseval.cli.options import (
    RANKING,
    REPORT,
    SCREEN,
    ChallengeArgument,
    Output,
    one_of,
    options_of,
    taking,
)
from bratseval.cli.terminal import print_json, screen_of, with_report

MovedReferences = Annotated[
    Path | None,
    typer.Option("-r", "--references", metavar="DIR", help="The references, where they have moved."),
]


@taking("overwrite", "metadata", "seed", *RANKING, *REPORT, "format", *SCREEN)
def merge(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS_DIR...", help="Result folders to join.")],
    output: Output,
    challenge: Annotated[str, typer.Option(help="Challenge; default: the one in the first folder.")] = "",
    **given: Any,
) -> None:
    """Join the result folders of shards or institutions; names what is missing."""
    with screen_of(given) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook, recorded_rulebook
        from bratseval.results import read_run

        options = options_of(given)
        rulebook = load_rulebook(challenge) if challenge else recorded_rulebook(read_run(results[0]))
        ended = joining.merge(rulebook, results, output, options)
        ended = with_report(ended, output, options, given)
        screen.ended(ended, output)


@taking("overwrite", "metadata", "seed", *RANKING, *REPORT, "format", *SCREEN)
def rank(
    challenge: ChallengeArgument,
    scores: Annotated[
        list[Path], typer.Argument(metavar="RESULTS_DIR|SCORES.csv...", help="Result folders or CSV files.")
    ],
    output: Output,
    **given: Any,
) -> None:
    """Rank scores without any image: the federated path."""
    with screen_of(given) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook

        options = options_of(given)
        ended = joining.rank(load_rulebook(challenge), scores, output, options)
        ended = with_report(ended, output, options, given)
        screen.ended(ended, output)


@taking("jobs", "timeout", "memory", "images", "pictures", *SCREEN)
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS_DIR", help="A finished result folder.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="Default: RESULTS_DIR/report.html."),
    ] = None,
    references: MovedReferences = None,
    submissions: Annotated[
        Path | None,
        typer.Option(
            "-s",
            "--submissions",
            metavar="DIR",
            help="All teams' folders and archives, where they have moved.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            *("-p", "--predictions"),
            metavar="DIR|ARCHIVE",
            help="Of results of one team, its files, where they have moved.",
        ),
    ] = None,
    **given: Any,
) -> None:
    """Draw the report of a result folder anew: a page with tables, figures and pictures, for any browser."""
    with screen_of(given) as screen:
        from bratseval.reporting import Places, write_report

        places = Places(references, submissions, predictions)
        with screen.progress("drawn") as progress:
            written = write_report(
                *(results, options_of(given), output, given["images"], given["pictures"]),
                progress=progress,
                places=places,
            )
        screen.problems(written.problems)
        screen.verdict(f"report written to {written.path}")


@taking("max_members", "max_unpacked", "max_ratio", "format", "quiet", "verbose", "no_color")
def show(
    results: Annotated[Path, typer.Argument(metavar="RESULTS_DIR", help="A finished result folder.")],
    team: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The team, as the tables name it.", autocompletion=completion.teams
        ),
    ],
    case: Annotated[str, typer.Option(metavar="ID", help="The case, as the tables name it.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.png",
            help="Default: pictures/TEAM--CASE.png in the result folder.",
        ),
    ] = None,
    region: Annotated[
        str, typer.Option(metavar="NAME", help="The region to show; default: the one that scored worst.")
    ] = "",
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR", help="Anatomy to draw on; of a folder the file that is named with the case."
        ),
    ] = None,
    modality: Annotated[
        str, typer.Option(metavar="TEXT", help="What the name of the image must hold, such as t1c.")
    ] = "",
    references: MovedReferences = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "-p", "--predictions", metavar="DIR|ARCHIVE", help="The team's files, where they have moved."
        ),
    ] = None,
    **given: Any,
) -> None:
    """Draw why a case scored as it did: its worst lesion, reference against prediction, with the numbers."""
    with screen_of(given) as screen:
        from bratseval.errors import printable
        from bratseval.pictures import showing
        from bratseval.state import write_whole

        wish = showing.Wish(references, predictions, image, modality, region)
        picture = showing.show(results, team, case, wish, options_of(given).archives)
        path = output or showing.usual_path(results, printable(team), printable(case))
        write_whole(path, picture.png)
        if given["format"] == "json":
            words = {"title": picture.title, "alt": picture.alt, "caption": picture.caption}
            what = {"region": picture.region, "lesion": picture.lesion, "planes": dict(picture.planes)}
            numbers = [asdict(score) for score in picture.numbers]
            print_json({"path": str(path), "team": team, "case": case, **what, **words, "numbers": numbers})
        screen.verdict(f"{picture.caption.partition('. ')[0].rstrip('.')}; picture written to {path}")


@taking("format", *SCREEN)
def export(
    results: Annotated[Path, typer.Argument(metavar="RESULTS_DIR", help="A finished result folder.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="synapse|grand-challenge|medperf|nnunet|challenger", help="The format."),
    ],
    team: Annotated[
        str,
        typer.Option(metavar="NAME", help="Only this team; default: all.", autocompletion=completion.teams),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR|FILE",
            help="Folder, or the file where there is one; default: RESULTS_DIR/export/FORMAT.",
        ),
    ] = None,
    **given: Any,
) -> None:
    """Write results as other platforms and tools read them; a document a team, challengeR one a direction."""
    with screen_of(given) as screen:
        from bratseval.errors import counted
        from bratseval.export import formats
        from bratseval.finishing import exit_code_of

        one_of("--fail-on", given["fail_on"], ("error", "warning", "never"))
        done = formats.export(results, to, team, output)
        screen.problems(done.problems)
        exit_code = exit_code_of(done.problems, done.complete, given["fail_on"])
        if given["format"] == "json":
            listed = [asdict(problem) for problem in done.problems]
            facts = {"to": to, "complete": done.complete, "exit_code": exit_code, "problems": listed}
            print_json({**facts, "files": [str(path) for path in done.files]})
        state = "complete" if done.complete else "incomplete"
        screen.verdict(
            f"{state}: {counted(done.teams, 'team')} as {counted(len(done.files), 'file')} for {to}; "
            f"written to {done.place}"
        )
        if exit_code:
            raise typer.Exit(exit_code)
