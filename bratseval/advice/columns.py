"""The metrics of a challenge: what each is, which are ranked, and how a sentence names them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from bratseval.blocks import MetricSpec
from bratseval.challenge import Challenge
from bratseval.metrics.registry import Level, Metric, find_metric

COUNTS = ("overlap", "agreement")  # records of metrics that count voxels
MICRO = "micro"  # as a kind of metric: any share over all classes together


class Column(NamedTuple):
    """A metric of the challenge: its column, what the YAML says of it, and what it is."""

    name: str
    spec: MetricSpec
    level: Level
    entry: Metric

    @property
    def kind(self) -> str:
        """The metric as its family knows it."""
        return MICRO if self.spec.parameters.get("average") == MICRO else self.entry.name

    @property
    def priced(self) -> bool:
        """Whether a missing prediction costs something."""
        return self.spec.penalty is not None or self.spec.missing is not None


def columns_of(challenge: Challenge) -> list[Column]:
    """All metrics, ranked or not."""
    return [Column(name, spec, *find_metric(spec.metric)) for name, spec in challenge.metrics.items()]


def ranked(challenge: Challenge, *reads: str) -> list[Column]:
    """Ranked columns, of these records only where any are named."""
    columns = {column.name: column for column in columns_of(challenge)}
    chosen = [columns[name] for name in challenge.ranking.metrics if name in columns]
    return [column for column in chosen if not reads or column.entry.reads in reads]


def named(columns: Collection[Column]) -> str:
    """Their names in a sentence."""
    return listed([column.name for column in columns])


def are(columns: Collection[Column]) -> str:
    """Their names as the subject of a sentence."""
    return f"{named(columns)} {'are' if len(columns) > 1 else 'is'}"


def keys(columns: Iterable[Column], key: str) -> str:
    """Where the YAML states this of them."""
    return ", ".join(f"metrics.{column.name}.{key}" for column in columns)


def listed(words: Sequence[str], most: int = 6) -> str:
    """Words of a sentence: a, b and c."""
    shown = [*words[:most], f"{len(words) - most} more"] if len(words) > most else list(words)
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""
