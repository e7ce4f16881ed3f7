"""The first lines of a challenge file: what an organizer changes first, as the extended challenge has it."""

from __future__ import annotations

import io
import os
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML

from bratseval.blocks import Geometry
from bratseval.challenge import Challenge
from bratseval.config import bundled_names, find_file, load_challenge
from bratseval.errors import OutputError, Problem, printable
from bratseval.ranking.rules import SCHEMES
from bratseval.ranking.steps import Ties
from bratseval.state import write_whole

SHOWN = 6  # metrics


def write_starter(file: Path, extends: str, overwrite: bool) -> Challenge:
    """Write a new challenge file that extends a bundled one, or another file; returns what it resolves to.

    Raises UsageError where there is nothing to extend, OutputError where the file is there already.
    """
    text = starter(file, extends)
    if file.exists() and not overwrite:
        message = f"{file} is there already"
        raise OutputError(Problem("error", "OUT007", message, "choose another name, or --overwrite"))
    write_whole(file, text)
    return load_challenge(file)


def _name(file: Path) -> str:
    name = re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._")
    return name or "my-challenge"


def starter(file: Path, extends: str) -> str:
    """Text of a challenge file. The keys that stand in comments say what holds without them."""
    base = load_challenge(extends)
    name = _name(file)
    if extends not in bundled_names():
        extends = os.path.relpath(find_file(extends, Path.cwd()), file.parent)
    return "\n".join(
        [
            "# yaml-language-server: $schema=challenge.schema.json",
            "# For completion in an editor: bratseval challenges schema > challenge.schema.json",
            "#",
            f"# Name only what differs from {base.name}. Its values stand behind a #, which is taken away to",
            "# change one. Mappings merge key by key, a list is replaced, null removes a key.",
            f"# All keys and values: bratseval challenges show {base.name}",
            f"# Every mistake:       bratseval challenges check {printable(file.name)}",
            f"extends: {_flow(extends)}",
            f"name: {_flow(name)}",
            f"title: {_flow(name)}",
            "version: 1   # raise it on any change that can move a score",
            "source: [https://example.org/the-rules-of-this-challenge]",
            "",
            "# Regular expressions for the whole name of a file; (?P<case>...) is the id of its case.",
            *_files(base),
            *_masks(base),
            "# What both sides empty count, and what a missing, broken or one-sidedly empty file costs.",
            "# All metrics: bratseval metrics",
            "#metrics:",
            *(f"#  {_flow(column)}: {_flow(spec)}" for column, spec in _metrics(base)),
            "",
            *_ranking(base),
            "",
            "# What `bratseval validate` expects where no references are given.",
            "#expected: {cases: []}",
            "",
        ]
    )


def _files(base: Challenge) -> list[str]:
    lines = ["#files:"]
    for key, stated in base.files.model_dump(exclude_defaults=True).items():
        if isinstance(stated, list):
            lines.append(f"#  {key}: {_patterns(stated)}")
        else:
            lines.append(f"#  {key}:")
            lines += [f"#    {_flow(role)}: {_patterns(patterns)}" for role, patterns in stated.items()]
    return [*lines, ""]


def _patterns(patterns: Iterable[str]) -> str:
    """In single quotes, where YAML leaves backslashes alone."""
    return "[" + ", ".join("'" + pattern.replace("'", "''") + "'" for pattern in patterns) + "]"


def _masks(base: Challenge) -> list[str]:
    """Labels, regions and grids, where the challenge has any."""
    lines = []
    if base.labels:
        lines.append(f"#labels: {_flow(dict(base.labels))}   # name: value in the files, 1 to 255")
        lines.append(f"#unknown_labels: {base.unknown_labels}   # {_choice(Challenge, 'unknown_labels')}")
    if base.regions:
        lines.append("#regions:")
        for name, region in base.regions.items():
            stated = region.model_dump(exclude_defaults=True)
            lines.append(
                f"#  {_flow(name)}: {_flow(stated['labels'] if [*stated] == ['labels'] else stated)}"
            )
    if base.task != "table":
        lines.append(f"#geometry: {{policy: {base.geometry.policy}}}   # {_choice(Geometry, 'policy')}")
    return [*lines, ""] if lines else []


def _metrics(base: Challenge) -> list[tuple[str, dict[str, Any]]]:
    """The ranked metrics, or the first ones, and what is stated of them."""
    names = [name for name in base.ranking.metrics if name in base.metrics] or [*base.metrics]
    found = []
    for name in names[:SHOWN]:
        stated = base.metrics[name].model_dump(exclude_defaults=True)
        if stated.get("metric") == name:
            del stated["metric"]
        found.append((name, stated))
    return found


def _ranking(base: Challenge) -> list[str]:
    spec = base.ranking
    lines = [
        ("scheme", spec.scheme, "one of the above"),
        ("metrics", spec.metrics, ""),
        ("regions", spec.regions, "none named: all that are scored"),
        ("aggregate", spec.aggregate, "over cases: mean, median, a quantile such as q25, ..."),
        ("ties", spec.ties, _listed(get_args(Ties))),
        ("missing", spec.missing, "an empty score: a number per metric, worst or drop"),
        ("bootstrap", spec.bootstrap, "draws of cases behind stability.csv"),
        ("seed", spec.seed, ""),
    ]
    return [
        *textwrap.wrap(
            f"How teams are ranked. Schemes: {', '.join(SCHEMES)}.",
            width=100,
            initial_indent="# ",
            subsequent_indent="# ",
        ),
        "#ranking:",
        *(f"#  {key}: {_flow(value)}" + (f"   # {said}" if said else "") for key, value, said in lines),
    ]


def _choice(model: Any, field: str) -> str:
    return _listed(get_args(model.model_fields[field].annotation))


def _listed(values: Iterable[str]) -> str:
    return " | ".join(values)


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = True
    yaml.width = 100_000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue().removesuffix("...\n").strip()
