"""The page itself: what a report shows, drawn by the templates in assets/ into one text without links."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bratseval.errors import in_order, printable
from bratseval.report import figures
from bratseval.report.charts import percent, short
from bratseval.report.contents import ABSENT, Column, Contents, Difficult, Table, usable
from bratseval.report.details import Curves, curve_means, detections, one_in

MOST_NUMBERS = 1_200_000  # of all columns that go into the page, 5.4 bytes each
MOST_PROBLEMS = 500  # listed in the page


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of a case, as the page embeds it, or the sentence why there is none."""

    team: str
    case: str
    alt: str = ""
    caption: str = ""
    source: str = ""
    why_not: str = ""


def render(contents: Contents, pictures: Sequence[Shown]) -> str:
    """The whole page as text. The same contents give the same bytes."""
    script, style = (
        files(__package__).joinpath("assets", name).read_text("utf-8") for name in ("report.js", "report.css")
    )
    embedded = _embedded(contents.columns)
    details = contents.results.details
    regions = list(dict.fromkeys(column.region for column in contents.columns))
    found = None
    if "lesions.csv" in details:
        cases = [case for _, case in contents.cases]
        found = detections(details["lesions.csv"], contents.teams, regions, cases, usable(contents))
    drawn = curve_means(details["curves.csv"], contents.teams) if "curves.csv" in details else Curves(())
    problems = in_order(contents.results.problems)
    return (
        _environment()
        .get_template("report.html")
        .render(
            contents=contents,
            record=contents.record,
            script=Markup(script),
            style=Markup(style),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            points=_points(contents, embedded),
            distributions=[
                (column, figures.distribution(contents, column, embedded.get(at, -1)))
                for at, column in enumerate(contents.columns)
            ],
            ranking={
                name: getattr(figures, name)(contents)
                for name in ("intervals", "blobs", "podium", "kendall", "significance", "schemes")
            },
            means=_ranked_statistics(contents),
            intervals=any(column.metric.endswith("_lower") for column in contents.columns),
            podium_columns=[
                embedded[at]
                for at, column in enumerate(contents.columns)
                if at in embedded and column.compares
            ],
            detections=found,
            detection=figures.detection(found, contents.teams) if found else [],
            curves_every=one_in(details["curves.csv"]) if drawn.shown else 1,
            curves_left_out=drawn.left_out,
            curves=figures.curves(drawn.shown, contents.teams),
            strata=figures.strata(contents),
            hardest=_listed(contents.hardest, contents.columns, ("case",)),
            worst=_listed(contents.worst, contents.columns, ("team", "case")),
            most_in_matrix=figures.MOST_IN_MATRIX,
            pictures=pictures,
            problems=problems[:MOST_PROBLEMS],
            problem_count=len(problems),
        )
    )


def _ranked_statistics(contents: Contents) -> list[Mapping[str, str]]:
    """Rows of teams.csv of what the challenge ranks."""
    ranked = {(column.region, column.metric) for column in contents.columns if column.ranked}
    table = contents.tables.get("teams.csv")
    return [row for row in table.rows if (row["region"], row["metric"]) in ranked] if table else []


def _listed(found: Sequence[Difficult], columns: Sequence[Column], keys: Sequence[str]) -> Table:
    """Difficult cases as a table: their names, mean place, and a number a ranked column."""
    names = [column.name for column in columns if column.compares]
    rows = []
    for one in found:
        case = " / ".join(filter(None, (one.institution, one.case)))
        numbers = dict(zip(names, map(str, one.values), strict=True))
        rows.append({"team": one.team, "case": case, "mean place": str(one.place), **numbers})
    return Table((*keys, "mean place", *names), rows)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bratseval.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=short, percent=percent, printable=printable, number=_number_or_text)
    return environment


def _number_or_text(text: str) -> str:
    """A cell of a table as it is shown: numbers rounded."""
    try:
        return short(float(text))
    except ValueError:
        return text


def _embedded(columns: Sequence[Column]) -> dict[int, int]:
    """Columns whose single numbers go into the page, by place: the first ones, as far as there is room."""
    chosen: dict[int, int] = {}
    room = MOST_NUMBERS
    for at, column in enumerate(columns):
        if column.of_cases and column.values.size <= room:
            chosen[at] = len(chosen)
            room -= column.values.size
    return chosen


def _points(contents: Contents, embedded: Mapping[int, int]) -> dict[str, Any]:
    """Every single number, for the script that draws dots: little-endian float32, base64."""
    columns = []
    for at in embedded:
        column = contents.columns[at]
        scale = figures.scale_of_column(column)
        plain = column.status == (contents.statuses.index("ok") if "ok" in contents.statuses else ABSENT)
        columns.append(
            {
                "name": column.name,
                "low": scale.low,
                "high": scale.high,
                "bent": scale.bent,
                "smaller": column.smaller,
                "absolute": column.absolute,
                "values": _base64(_floats(column.values)),
                "status": "" if plain.all() else _base64(column.status),
            }
        )
    return {
        "teams": list(contents.teams),
        "cases": [" / ".join(filter(None, case)) for case in contents.cases],
        "statuses": list(contents.statuses),
        "columns": columns,
    }


def _floats(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond 3e38 a number shows as infinite
        return values.astype("<f4")


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
