"""Commands on result folders: merge, rank."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bratseval.cli.options import RANKING, SCREEN, ChallengeArgument, Output, options_of, taking
from bratseval.cli.terminal import screen_of


@taking("overwrite", "metadata", "seed", *RANKING, "format", *SCREEN)
def merge(
    results: Annotated[list[Path], typer.Argument(metavar="RESULTS_DIR...", help="Result folders to join.")],
    output: Output,
    challenge: Annotated[str, typer.Option(help="Challenge; default: the one in the first folder.")] = "",
    **given: Any,
) -> None:
    """Join the result folders of shards or institutions; names what is missing."""
    with screen_of(given) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook
        from bratseval.results import read_run

        rulebook = load_rulebook(challenge or read_run(results[0])["challenge"])
        screen.ended(joining.merge(rulebook, results, output, options_of(given)), output)


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
    with screen_of(given) as screen:
        from bratseval import joining
        from bratseval.config import load_rulebook

        rulebook = load_rulebook(challenge)
        screen.ended(joining.rank(rulebook, scores, output, options_of(given)), output)
