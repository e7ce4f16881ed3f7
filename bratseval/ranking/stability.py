"""How far a ranking depends on its cases: bootstrap, leave one out, agreement.

A draw is a vector of how often each case counts; the schemes take many draws at once.
"""

from __future__ import annotations

import numpy as np


def bootstrap_counts(institutions: np.ndarray, draws: int, seed: int, *, within: bool) -> np.ndarray:
    """Cases drawn with replacement, as counts (draws, cases).

    institutions : (cases,) int. within : draw inside each institution, whose size then stays.
    """
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,)))
    groups = institutions if within else np.zeros(len(institutions), np.int64)
    counts = np.zeros((draws, len(institutions)), np.int64)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        counts[:, members] = random.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=draws
        )
    return counts


def leave_one_out_counts(groups: np.ndarray, part: slice = slice(None)) -> np.ndarray:
    """Counts (groups, cases) that leave out one group of cases each; groups : (cases,) int from 0.

    part : only those of a slice of the groups.
    """
    return (np.arange(groups.max() + 1)[part, None] != groups[None]).astype(np.int64)


def first_places(places: np.ndarray) -> np.ndarray:
    """Who stands first, alone or tied: (teams, ...) bool."""
    return np.asarray(places == places.min(axis=0))


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of rankings along the first axis: (teams, ...) -> (...); nan without any order.

    Kendall 1945, as R's cor(method="kendall").
    """
    a, b = np.triu_indices(len(first), 1)
    x, y = np.sign(first[a] - first[b]), np.sign(second[a] - second[b])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(axis=0) / np.sqrt((x != 0).sum(axis=0) * (y != 0).sum(axis=0)))
