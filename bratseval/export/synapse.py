"""Synapse: `results.json`, the annotations of a submission. Flat, finite numbers and short strings."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bratseval.errors import Problem, as_sentences, within
from bratseval.export.finished import Finished, TeamResults, as_json
from bratseval.export.names import plain_keys
from bratseval.leaderboard import case_count, missing_counts, subject_counts
from bratseval.tables import column_name

LONGEST = 500  # characters of an annotation
MOST = 100  # annotations of a submission; Synapse refuses all of them where there are more


def document(results: TeamResults) -> str:
    """Status, problems and the mean of every metric and region under `<metric>_<region>`.

    Where these are too many for Synapse, the means of ranked metrics are kept before others.
    """
    return as_json(_annotations(results)[0])


def remarks(finished: Finished, names: Collection[str]) -> list[Problem]:
    """A warning of the means that are left out."""
    lost = max((_annotations(one)[1] for one in finished.teams), key=len, default=[])
    if not lost:
        return []
    message = (
        f"Synapse takes {MOST} annotations a submission, those of ranked metrics first: {len(lost)} means "
        f"are left out ({', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''})"
    )
    return [Problem("warning", "OUT006", message, "teams.csv and --to grand-challenge have all")]


def _annotations(results: TeamResults) -> tuple[dict[str, Any], list[str]]:
    """The annotations, and the names of the means that find no room."""
    lost: list[str] = []
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
        ranked = results.rulebook.challenge.ranking.metrics
        of_ranked = {
            column_name(one.region, one.metric) for one in results.statistics if one.metric in ranked
        }
        kept = sorted(means, key=lambda name: name not in of_ranked)  # stable: else as they come
        lost = kept[MOST - len(fixed) :]
        fixed |= {keys[name]: means[name] for name in kept[: MOST - len(fixed)]}
    return fixed, lost


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
