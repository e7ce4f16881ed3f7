"""What the registry knows of its metrics, as rows and as text: all derived, nothing listed by hand."""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bratseval.blocks import MetricSpec
from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.metrics.registry import TEAM_RECORDS, Metric, Record, find_metric, metric_names

ONCE_A_TEAM = (*TEAM_RECORDS, "pooled")


@dataclass(frozen=True, slots=True)
class Parameter:
    """What the YAML may set: its key, the default (None where it must be stated) and the choices, if few."""

    name: str
    key: str
    default: int | float | str | None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A registered metric.

    names : level -> name in a challenge. best and worst are None where there is no finite bound, direction is
    empty for a plain fact that nobody ranks. undefined : what the docstring says of nan. definition : its
    first sentence.
    """

    name: str
    reads: str
    names: Mapping[str, str]
    unit: str
    best: float | None
    worst: float | None
    direction: Literal["larger", "smaller", ""]
    bounded: bool
    parameters: tuple[Parameter, ...]
    undefined: str
    definition: str
    documentation: str = field(repr=False)


def metric_rows() -> list[MetricRow]:
    """All registered metrics, by what they read and by name: no order of imports shows."""
    names: dict[str, dict[str, str]] = {}
    entries: dict[str, Metric] = {}
    for name, (level, entry) in metric_names().items():
        entries[entry.name] = entry
        names.setdefault(entry.name, {})["team" if entry.reads in ONCE_A_TEAM else level] = name
    records = get_args(Record)
    ordered = sorted(entries.values(), key=lambda entry: (records.index(entry.reads), entry.name))
    return [_row(entry, names[entry.name]) for entry in ordered]


def metric_row(name: str) -> MetricRow:
    """The metric behind any name that a challenge may use. Raises UsageError with a suggestion."""
    try:
        _, entry = find_metric(name)
    except KeyError as unknown:
        raise UsageError(
            Problem("error", "CFG009", f"{name[:200]!r} is not a metric", unknown.args[0])
        ) from None
    return next(row for row in metric_rows() if row.name == entry.name)


def users(row: MetricRow, challenges: Sequence[Challenge]) -> dict[str, list[str]]:
    """Name of a level -> the challenges that compute the metric at it, as far as there are any."""
    found = {
        name: [one.name for one in challenges if any(spec.metric == name for spec in one.metrics.values())]
        for name in row.names.values()
    }
    return {name: of_name for name, of_name in found.items() if of_name}


def _row(entry: Metric, names: Mapping[str, str]) -> MetricRow:
    documentation = inspect.getdoc(entry.function) or ""
    best, worst = _finite(entry.best), _finite(entry.worst)
    fact = entry.best is None and entry.worst is None
    return MetricRow(
        entry.name,
        entry.reads,
        dict(names),
        entry.unit,
        best,
        worst,
        "" if fact else "smaller" if entry.smaller_is_better else "larger",
        best is not None and worst is not None,
        _parameters(entry.function),
        undefined_when(documentation),
        first_sentence(documentation),
        documentation,
    )


def _finite(bound: float | None) -> float | None:
    return bound if bound is not None and math.isfinite(bound) else None


def _parameters(function: Callable[..., float]) -> tuple[Parameter, ...]:
    """Parameters after the record; those that every metric block has are keys of their own there."""
    hints = get_type_hints(function)
    return tuple(
        Parameter(
            name,
            name if name in MetricSpec.model_fields else f"parameters.{name}",
            None if one.default is inspect.Parameter.empty else one.default,
            tuple(str(choice) for choice in _choices(hints[name])),
        )
        for name, one in list(inspect.signature(function).parameters.items())[1:]
    )


def _choices(hint: Any) -> tuple[Any, ...]:
    """Words that a parameter may be, also beside a number."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(choice for part in get_args(hint) for choice in _choices(part))


def first_sentence(documentation: str) -> str:
    """Up to the first full stop before a new sentence."""
    paragraph = " ".join(documentation.partition("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z`])", paragraph)[0]


def undefined_when(documentation: str) -> str:
    """The clauses that say when the value is nan, in their own words."""
    clauses = re.split(r";\s|(?<!et al)[.](?=\s|$)", " ".join(documentation.split()))
    return "; ".join(clause.strip() for clause in clauses if re.search(r"\bnan\b", clause))


def as_table(rows: Sequence[MetricRow], width: int = 80) -> str:
    """A line of properties and the definition of every metric, by what it reads."""
    lines = []
    for reads in dict.fromkeys(row.reads for row in rows):
        lines += ["", f"reads {reads}"]
        for row in rows:
            if row.reads == reads:
                facts, names = _summary(row)
                line = f"  {row.name:28} {facts:26} {names}".rstrip()
                apart = [
                    f"  {row.name}",
                    *_wrapped(facts, width, "      "),
                    *_wrapped(names, width, "      "),
                ]
                lines += [line] if len(line) <= width else apart
                lines += _wrapped(row.definition, width, "      ")
    return "\n".join(lines[1:])


def as_page(row: MetricRow, used: Mapping[str, Sequence[str]], width: int = 80) -> str:
    """Everything about one metric."""
    facts = {
        "reads": row.reads,
        "names": ", ".join(f"{name} ({level})" for level, name in row.names.items()),
        "unit": row.unit or "none",
        "best": _bound(row.best, row),
        "worst": _bound(row.worst, row),
        "better": row.direction or "neither: a fact, not ranked",
        "undefined": row.undefined or "not stated",
    }
    lines = [row.name, ""]
    for key, value in facts.items():
        lines += _wrapped(f"{key:11}{value}", width, "", " " * 11)
    for parameter in row.parameters:
        default = "must be stated" if parameter.default is None else f"default {parameter.default}"
        others = [choice for choice in parameter.choices if choice != parameter.default]
        text = f"{'parameter':11}{parameter.key}: {', or '.join([default, *others])}"
        lines += _wrapped(text, width, "", " " * 11)
    for name, challenges in used.items():
        lines += _wrapped(f"{'used by':11}as {name}: {', '.join(challenges)}", width, "", " " * 11)
    for paragraph in row.documentation.split("\n\n"):
        own = paragraph.splitlines()
        listed = any(line.startswith(" ") for line in own)
        lines += ["", *(own if listed else _wrapped(" ".join(own), width, ""))]
    return "\n".join(lines)


def _summary(row: MetricRow) -> tuple[str, str]:
    """Range and unit, and levels."""
    ends = [
        f"no {end}" if at is None else f"{end} {at:g}"
        for end, at in (("best", row.best), ("worst", row.worst))
    ]
    span = ", ".join(ends) if row.direction else "a fact"
    return (f"{span}; {row.unit}" if row.unit else span), ", ".join(row.names)


def _bound(value: float | None, row: MetricRow) -> str:
    return f"{value:g}" if value is not None else "unbounded" if row.direction else "none"


def _wrapped(text: str, width: int, start: str, rest: str | None = None) -> list[str]:
    following = start if rest is None else rest
    return textwrap.wrap(
        text, width, initial_indent=start, subsequent_indent=following, break_on_hyphens=False
    )
