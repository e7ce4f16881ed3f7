"""Federated learning: how fast a training converges. Metric: convergence_score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Rounds:
    """A training round by round: seconds (n,), the simulated time that each took; scores (n,), the
    validation score after it (the mean Dice of the regions)."""

    seconds: np.ndarray
    scores: np.ndarray


@metric("convergence_score", reads="rounds", best=1.0, worst=0.0)
def convergence_score(rounds: Rounds, horizon_s: Annotated[float, Field(gt=0)] = 604_800.0) -> float:
    """Area under the best score so far against simulated time, up to a horizon (a week), divided by it.

    The best score starts at 0. The last best score is carried to the horizon. Training stops with the
    first round that ends after it: that round's score counts, its time beyond the horizon does not, and
    later rounds are not read. 0 to 1 for scores of 0 to 1; nan without a round.
    Source: FeTS-AI/Challenge 1c12265, Task_1/fets_challenge/experiment.py.
    """
    if not rounds.seconds.size:
        return float("nan")
    ends = np.cumsum(rounds.seconds)
    last = int(np.searchsorted(ends, horizon_s, side="right"))
    seconds, scores = rounds.seconds[: last + 1], rounds.scores[: last + 1]
    best = np.maximum.accumulate(np.maximum(scores, 0.0))
    area = float(best @ seconds) + (horizon_s - float(seconds.sum())) * float(best[-1])
    return area / horizon_s
