"""Time to event: whether predicted times have the order of observed ones.

Metrics: c_index; c_index_lower and c_index_upper, its bootstrap interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from bratseval.metrics.overlap import ratio
from bratseval.metrics.registry import metric

Draws = Annotated[int, Field(ge=1, le=100_000)]
Seed = Annotated[int, Field(ge=0)]
BLOCK = 2**18  # weights looked at together, which a cache holds


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


class _Level(NamedTuple):
    """Comparable pairs whose places in time differ first in one binary digit; subjects as rows of `Times`.

    later: the subjects of a 1 there, sorted by the digits before and then by prediction. first: those of a 0
    that had the event. Of the later ones with the same digits before (a slice of `later`), from below to up
    have the prediction of the first one, and those from up to end a larger one.
    """

    later: np.ndarray
    first: np.ndarray
    below: np.ndarray
    up: np.ndarray
    end: np.ndarray


def _levels(times: Times) -> list[_Level]:
    """Every comparable pair once, in as many levels as there are digits: n log n in all."""
    usable = np.flatnonzero(~np.isnan(times.predicted))  # the others lose every pair
    place, event = _places(times)[usable], times.event[usable]
    rank = np.unique(times.predicted[usable], return_inverse=True)[1]
    found = []
    for digit in range(int(place.max(initial=0)).bit_length()):
        before, is_later = place >> (digit + 1), (place >> digit) & 1 == 1
        key = before * (rank.size + 1) + rank  # one number for digits before and prediction
        order = np.argsort(key, kind="stable")
        later, first = order[is_later[order]], order[~is_later[order] & event[order]]
        sorted_keys = key[later]
        below, up = (np.searchsorted(sorted_keys, key[first], side) for side in ("left", "right"))
        end = np.searchsorted(before[later], before[first], "right")
        found.append(_Level(usable[later], usable[first], below, up, end))
    return found


def _places(times: Times) -> np.ndarray:
    """Places in time (n,) int: subject i with the event is comparable with those of larger places."""
    order = np.unique(times.observed, return_inverse=True)[1]
    return np.asarray(2 * order + ~times.event, np.int64)  # of equal times an event is earlier


def _weighted(times: Times, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Concordant and comparable pairs (draws,) where subjects count as weights (n, draws) say."""
    place, levels = _places(times), _levels(times)
    order, firsts = np.argsort(place, kind="stable"), np.flatnonzero(times.event)
    after = np.searchsorted(place[order], place[firsts], "right")
    step = max(1, BLOCK // max(1, times.observed.size))
    concordant, comparable = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for start in range(0, weights.shape[1], step):
        draws = slice(start, start + step)
        some = np.ascontiguousarray(weights[:, draws])
        summed = _sums(some[order])
        comparable[draws] = (some[firsts] * (summed[-1] - summed[after])).sum(axis=0)
        for level in levels:
            summed = _sums(some[level.later])
            agreed = summed[level.end] - (summed[level.below] + summed[level.up]) / 2  # ties count half
            concordant[draws] += (some[level.first] * agreed).sum(axis=0)
    return concordant, comparable


def _sums(weights: np.ndarray) -> np.ndarray:
    """Sums of the rows before each, (n + 1, draws)."""
    summed = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=summed[1:])
    return summed


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
