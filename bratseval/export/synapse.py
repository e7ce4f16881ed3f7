"""Synapse: `results.json`, the annotations of a submission. Flat, finite numbers and short strings."""

from __future__ import annotations

from typing import Any

from bratseval.errors import as_sentences, within
from bratseval.export.finished import TeamResults, as_json
from bratseval.export.names import plain_keys
from bratseval.leaderboard import case_count, missing_counts, subject_counts
from bratseval.tables import column_name

LONGEST = 500  # characters of an annotation


def document(results: TeamResults) -> str:
    """Status, problems and the mean of every metric and region under `<metric>_<region>`."""
    status = status_of(results)
    fixed: dict[str, Any] = {
        "submission_status": status,
        "submission_errors": within(as_sentences(results.problems), LONGEST),
    }
    if status == "SCORED":
        fixed |= {**(results.standing or {}), **_counts(results)}
        if len(results.signature) <= LONGEST:
            fixed["signature"] = results.signature
        means = {
            column_name(one.region, one.metric): one.numbers["mean"]
            for one in results.statistics
            if "mean" in one.numbers
        }
        keys = plain_keys(means, taken=(*fixed, "rank", "score"))
        fixed |= {keys[name]: mean for name, mean in means.items()}
    return as_json(fixed)


def status_of(results: TeamResults) -> str:
    """SCORED, NOT_SCORED or INVALID.

    INVALID: its problems are errors and no file of it could be used. NOT_SCORED: there is no score, or
    cases remain to be scored and nobody has ranked the team all the same (--allow-incomplete).
    """
    broken = results.scores.status.where(("invalid", "missing").__contains__).all()
    if broken and any(problem.severity == "error" for problem in results.problems):
        return "INVALID"
    scored = any("mean" in one.numbers for one in results.statistics)
    return "SCORED" if scored and (results.complete or results.standing is not None) else "NOT_SCORED"


def _counts(results: TeamResults) -> dict[str, int]:
    """Expected cases, or subjects of a table, and those that the penalty was paid for."""
    cases = case_count(results.scores)
    if cases:
        return {"cases": cases, "missing_cases": sum(missing_counts(results.scores).values())}
    subjects, missing = subject_counts(results.scores)
    return {"cases": subjects, "missing_cases": sum(missing.values())}
