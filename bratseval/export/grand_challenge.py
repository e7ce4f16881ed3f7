"""grand-challenge: `metrics.json`, whose numbers a leaderboard names as `aggregates.WT.dice.mean`."""

from __future__ import annotations

from typing import Any

from bratseval.export.finished import TeamResults, as_json, case_values
from bratseval.export.names import plain_keys


def document(results: TeamResults) -> str:
    """Statistics of every metric, and the ranked metrics of every case, which keeps the file small.

    Keys of regions and metrics are letters, digits and _; a score of no region is under `all`.
    """
    rows = results.statistics
    regions = plain_keys([*results.scores.region.used, *(one.region for one in rows)])
    metrics = plain_keys([*results.scores.metric.used, *(one.metric for one in rows)])
    aggregates: dict[str, dict[str, Any]] = {}
    for one in rows:
        of_region = aggregates.setdefault(regions[one.region], {})
        counts = {"cases": one.cases, "penalized": one.penalized}
        of_region[metrics[one.metric]] = {**one.numbers, **counts}
    ranked = results.rulebook.challenge.ranking.metrics or [*metrics]
    cases: dict[str, dict[str, dict[str, float]]] = {}
    for case, values in case_values(results.scores).items():
        cases[case] = {}
        for (region, metric), value in values.items():
            if metric in ranked:
                cases[case].setdefault(regions[region], {})[metrics[metric]] = value
    facts = {"complete": results.complete, "signature": results.signature}
    return as_json({"aggregates": aggregates, "case": cases, **facts})
