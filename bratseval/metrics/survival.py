"""Time to event: whether predicted times have the order of observed ones.

Metrics: c_index; c_index_lower and c_index_upper, its bootstrap interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field

from bratseval.metrics.overlap import ratio
from bratseval.metrics.registry import metric

Draws = Annotated[int, Field(ge=1, le=100_000)]
Seed = Annotated[int, Field(ge=0)]
BLOCK = 2**21  # pairs looked at together


@dataclass(frozen=True)
class Times:
    """Of every subject (n,): the time of observation, whether the event was observed then or the subject
    censored, and the predicted time in any unit (larger is later; nan: none that is usable)."""

    observed: np.ndarray
    event: np.ndarray
    predicted: np.ndarray

    @cached_property
    def _bootstrapped(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def bootstrap(self, draws: int, seed: int) -> np.ndarray:
        """Concordance index of every draw of the subjects that has a comparable pair, computed once."""
        key = (draws, seed)
        if key not in self._bootstrapped:
            n = self.observed.size
            drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
            concordant, comparable = _weighted(self, drawn.T.astype(np.float64))
            defined = comparable > 0
            self._bootstrapped[key] = concordant[defined] / comparable[defined]
        return self._bootstrapped[key]


def _weighted(times: Times, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concordant and comparable pairs (draws,) where subjects count as weights (n, draws) say.

    The rows of a block are those whose event comes first.
    """
    concordant = np.zeros(weights.shape[1])
    comparable = np.zeros(weights.shape[1])
    firsts = np.flatnonzero(times.event)
    step = max(1, BLOCK // max(1, times.observed.size))
    for start in range(0, firsts.size, step):
        rows = firsts[start : start + step, None]
        time, own = times.observed[rows], times.predicted[rows]
        pairs = (time < times.observed) | ((time == times.observed) & ~times.event)
        agreement = np.where(own < times.predicted, 1.0, np.where(own == times.predicted, 0.5, 0.0))
        of_rows = weights[rows[:, 0]]
        comparable += (of_rows * (pairs.astype(np.float64) @ weights)).sum(axis=0)
        concordant += (of_rows * ((agreement * pairs) @ weights)).sum(axis=0)
    return concordant, comparable


@metric("c_index", reads="times", best=1.0, worst=0.0)
def c_index(times: Times) -> float:
    """Harrell's concordance index: share of comparable pairs in the right order, 0 to 1, ties counting half.

    A pair is comparable where the subject with the shorter time had the event; of equal times, an event
    counts as earlier than a censoring, and two events are not comparable. A subject without a prediction
    loses every pair. nan without a comparable pair. As lifelines' concordance_index and, for risks,
    scikit-survival's concordance_index_censored (Harrell et al. 1982).
    """
    concordant, comparable = _weighted(times, np.ones((times.observed.size, 1)))
    return ratio(float(concordant[0]), float(comparable[0]))


@metric("c_index_lower", reads="times", best=1.0, worst=0.0)
def c_index_lower(times: Times, draws: Draws = 1000, seed: Seed = 1) -> float:
    """2.5th percentile of the concordance index over bootstrap draws of the subjects."""
    return _percentile(times, 2.5, draws, seed)


@metric("c_index_upper", reads="times", best=1.0, worst=0.0)
def c_index_upper(times: Times, draws: Draws = 1000, seed: Seed = 1) -> float:
    """97.5th percentile of the concordance index over bootstrap draws of the subjects."""
    return _percentile(times, 97.5, draws, seed)


def _percentile(times: Times, q: float, draws: int, seed: int) -> float:
    """Percentile over draws; nan where there is none."""
    drawn = times.bootstrap(draws, seed) if times.observed.size else np.empty(0)
    return float(np.percentile(drawn, q)) if drawn.size else float("nan")
