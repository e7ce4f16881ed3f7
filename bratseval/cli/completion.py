"""What the Tab key offers beside options and files."""

from __future__ import annotations

import typer


def challenges(incomplete: str) -> list[str]:
    """Names of bundled challenges; where none fits, the shell offers files."""
    from bratseval.bundle import bundled_names

    return [name for name in bundled_names() if name.startswith(incomplete)]


def teams(ctx: typer.Context, incomplete: str) -> list[str]:
    """Teams of the result folder that the line names, as far as it can be read."""
    import csv
    import re
    from pathlib import Path

    # A line that ends in an option without its value is not parsed yet; its words are in args then.
    words = [ctx.params.get("results") or "", *ctx.args]
    folder = next((Path(word) for word in words if word and Path(word).is_dir()), None)
    if folder is None:
        return []
    for name in ("leaderboard.csv", "teams.csv"):  # of one team alone there is no leaderboard
        try:
            if not (folder / name).is_file():  # a pipe would wait for a writer
                continue
            with (folder / name).open(encoding="utf-8", newline="") as file:
                found = dict.fromkeys(row["team"] for row in csv.DictReader(file))
        except (OSError, ValueError, KeyError, csv.Error):
            continue
        # A stranger's name is offered where a shell takes it for one plain word, or not at all.
        return [team for team in found if team.startswith(incomplete) and re.fullmatch(r"[\w.+-]+", team)]
    return []
