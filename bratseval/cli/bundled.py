"""Commands about what is bundled: challenges, metrics, info."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bratseval import __version__
from bratseval.cli.options import ChallengeArgument, Format, NoColor
from bratseval.cli.terminal import columns, hanging, print_json, screen_of


def list_challenges(format: Format = "text") -> None:
    """Every bundled challenge, and what its numbers were compared with."""
    from bratseval.config import PARITY_STATES, bundled_names, load_challenge, parity

    compared = parity()
    loaded = [load_challenge(name) for name in bundled_names()]
    if format == "json":
        facts = [{"name": one.name, "title": one.title, "scorer": one.scorer} for one in loaded]
        print_json([one | compared[one["name"]] for one in facts])
        return
    width = max(len(one.name) for one in loaded)
    for one in loaded:
        start = f"{one.name:{width}}  {compared[one.name]['parity']:10}  "
        print(hanging(start + one.title, " " * min(len(start), columns() // 2)))
    for state, meaning in PARITY_STATES.items():
        print(hanging(f"{state}: {meaning}", "  "))


def show(challenge: ChallengeArgument, format: Format = "text") -> None:
    """The resolved configuration: everything that `extends:` brings in, with all defaults."""
    with screen_of({"format": format, "no_color": True}):
        from ruamel.yaml import YAML

        from bratseval.config import load_challenge

        resolved = load_challenge(challenge).model_dump(mode="json")
        if format == "json":
            print_json(resolved)
        else:
            yaml = YAML()
            yaml.width = columns()
            yaml.dump(resolved, sys.stdout)


def check(
    file: Annotated[str, typer.Argument(metavar="FILE.yaml", help="A YAML file, or a bundled name.")],
    format: Format = "text",
    no_color: NoColor = False,
) -> None:
    """Check a configuration: every mistake with line, field, what was found and what is allowed."""
    with screen_of({"format": format, "no_color": no_color}) as screen:
        from dataclasses import asdict

        from bratseval.advice.advisers import advise, as_notes
        from bratseval.config import load_rulebook, uncomputed

        rulebook = load_rulebook(file)
        advice = advise(rulebook.challenge)
        screen.problems([*uncomputed(rulebook), *as_notes(advice)])
        screen.verdict(f"{rulebook.challenge.name} is a valid challenge (config {rulebook.digest})")
        if format == "json":
            facts = {"name": rulebook.challenge.name, "config": rulebook.digest, "valid": True}
            print_json({**facts, "advice": [asdict(one) for one in advice]})


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The file to write.")],
    extends: Annotated[
        str, typer.Option(metavar="NAME", help="What it extends: a bundled name, or a file.")
    ] = "generic-segmentation",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    format: Format = "text",
    no_color: NoColor = False,
) -> None:
    """Write a challenge file to begin with: what is changed first, with the values that are allowed."""
    with screen_of({"format": format, "no_color": no_color}) as screen:
        from bratseval.starter import write_starter

        challenge = write_starter(file, extends, overwrite)
        if format == "json":
            print_json({"name": challenge.name, "extends": extends, "file": str(file)})
        screen.verdict(f"{challenge.name} extends {extends}; written to {file}")


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
    with screen_of({"format": format, "no_color": no_color}):
        from dataclasses import asdict

        from bratseval.advice.advisers import advise, as_text
        from bratseval.advice.findings import survey
        from bratseval.config import load_rulebook

        rulebook = load_rulebook(challenge)
        findings = survey(rulebook, references, metadata)
        advice = advise(rulebook.challenge, findings)
        if format == "json":
            facts = {"name": rulebook.challenge.name, "config": rulebook.digest}
            print_json({**facts, "cases": len(findings.cases), "advice": [asdict(one) for one in advice]})
        else:
            print(as_text(rulebook.challenge, findings, advice, columns()))


def schema() -> None:
    """The JSON Schema of a challenge file, for editors."""
    from bratseval.config import editor_schema

    print_json(editor_schema())


def metrics(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One metric, with all that is known.")] = "",
    format: Format = "text",
) -> None:
    """Every metric: what it reads, its range, direction, parameters and definition."""
    with screen_of({"format": format, "no_color": True}):
        from dataclasses import asdict

        from bratseval.config import bundled_names, load_challenge
        from bratseval.metric_table import as_page, as_table, metric_row, metric_rows, users

        if not name:
            rows = metric_rows()
            if format == "json":
                print_json([asdict(row) for row in rows])
            else:
                print(as_table(rows, columns()))
            return
        row = metric_row(name)
        used = users(row, [load_challenge(one) for one in bundled_names()])
        if format == "json":
            print_json({**asdict(row), "used_by": used})
        else:
            print(as_page(row, used, columns()))


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
        "matplotlib",
    ):
        print(f"{package} {version(package)}")
