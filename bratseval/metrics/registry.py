"""The table of metrics: a metric is one function, registered under the name the YAML uses.

To add a metric, write a function of one of the records below and decorate it. The record
says what the function needs; the task computes each record once and hands it to every
metric that reads it, so ``hd95``, ``nsd`` and ``assd`` share one set of distances.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

# What a metric reads: of masks; of a registration; of masks with uncertainty maps; of a probability map
# and several raters' masks; of an image and its synthesis; of a table of subjects; of a team's whole
# training; of what all cases of a team give together.
Record = Literal[
    "overlap", "agreement", "distances", "detection",
    "landmarks", "jacobian",
    "filtering",
    "raters",
    "intensity",
    "labels", "scores", "times", "ratings", "counts",
    "rounds",
    "pooled",
]  # fmt: skip
TABLE_RECORDS = ("labels", "scores", "times", "ratings", "counts")
TEAM_RECORDS = ("rounds", *TABLE_RECORDS)  # what is scored once for a team, not for every case
Level = Literal["image", "lesion", "large", "small"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One registered metric: its function and the facts that tables and rankings need.

    within_reach: a finite value stands although distances beyond their reach are given as infinite.
    """

    name: str
    function: Callable[..., float]
    reads: Record
    unit: str
    best: float | None  # None for plain facts such as a volume, which nobody ranks
    worst: float | None
    within_reach: bool = False

    @property
    def smaller_is_better(self) -> bool:
        """Direction of the metric; every best value is 0 or the top of the range."""
        return self.best == 0.0

    @property
    def parameters(self) -> frozenset[str]:
        """What the YAML may set for this metric beside what its record needs."""
        return _parameters_of(self.function)

    def check_parameters(self, column: str, given: Mapping[str, object]) -> None:
        """ValueError for a parameter that the function does not have, lacks, or wants as another type."""
        types = get_type_hints(self.function, include_extras=True)
        for name, value in given.items():
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise ValueError(f"{column}: {self.name} has no parameter {name!r} (it has {known})")
            try:
                TypeAdapter(types[name]).validate_python(value, strict=True)
            except ValidationError as error:
                raise ValueError(f"{column}: {name}: {error.errors()[0]['msg']}") from None
        for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]:
            if parameter.default is inspect.Parameter.empty and name not in given:
                raise ValueError(f"{column}: parameters must state {name} of {self.name}")

    def measure(self, record: object, given: Mapping[str, object]) -> float:
        """The metric of a record, with those of the given parameters that it has."""
        return self.function(record, **{k: v for k, v in given.items() if k in self.parameters})


@cache
def _parameters_of(function: Callable[..., float]) -> frozenset[str]:
    """Names after the record; kept, since a case with many lesions asks thousands of times."""
    return frozenset(list(inspect.signature(function).parameters)[1:])


METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    *,
    reads: Record,
    unit: str = "",
    best: float | None,
    worst: float | None,
    within_reach: bool = False,
) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register a function as the metric ``name`` and return it unchanged."""

    def register(function: Callable[..., float]) -> Callable[..., float]:
        METRICS[name] = Metric(name, function, reads, unit, best, worst, within_reach)
        return function

    return register


@cache
def metric_names() -> dict[str, tuple[Level, Metric]]:
    """Every name a challenge may use, with the level it is computed at.

    ``lesion_dice`` is ``dice`` averaged over lesions: one function, two levels. Counts of
    lesions exist for all lesions and, as ``large_lesion_tp``, for one size class.
    """
    from bratseval.metrics import (  # noqa: F401  (they fill METRICS)
        classes,
        counts,
        detection,
        federation,
        filtering,
        intensity,
        jacobian,
        landmarks,
        overlap,
        pooled,
        raters,
        ratings,
        surface,
        survival,
    )

    names: dict[str, tuple[Level, Metric]] = {}
    for name, entry in METRICS.items():
        if entry.reads == "detection":
            names[name] = ("lesion", entry)
            if name.startswith("lesion_"):
                names[f"large_{name}"] = ("large", entry)
                names[f"small_{name}"] = ("small", entry)
        else:
            names[name] = ("image", entry)
    for name, entry in METRICS.items():
        if entry.reads in ("overlap", "distances"):
            names.setdefault(f"lesion_{name}", ("lesion", entry))
    return names


def find_metric(name: str) -> tuple[Level, Metric]:
    """Level and metric behind a name; KeyError carrying a suggestion when there is none."""
    names = metric_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        raise KeyError(f"did you mean {close[0]!r}?" if close else "`bratseval metrics` lists all")
    return names[name]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ranking needs to know of a metric; best and worst are None where there is no bound."""

    smaller: bool
    best: float | None
    worst: float | None


def score_facts(name: str) -> Facts:
    """Direction and bounds of any score the contract names; KeyError carrying a suggestion otherwise."""
    if re.fullmatch(r"hit_rate_[\d.]+mm|lesion_(precision|recall)_any", name):  # columns, not metrics
        return Facts(False, 1.0, 0.0)
    _, entry = find_metric(name)
    return Facts(entry.smaller_is_better, entry.best, entry.worst)
