"""Cases and ranking: how far the places of teams can be trusted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from bratseval.advice.columns import columns_of, listed
from bratseval.advice.findings import Findings
from bratseval.advice.literature import DEPENDENT, RANKINGS, TOOLKIT, UNEQUAL, Advice
from bratseval.challenge import Challenge

FEW_CASES = 30  # ours, as the papers give no number
BOTH = f"{TOOLKIT}; {RANKINGS}"


def few_cases(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """So few cases that places are mostly luck."""
    count = len(findings.cases)
    if 0 < count < FEW_CASES:
        reason = (
            f"there are {count}: scores and ranks have wide intervals, and others may have another winner"
        )
        change = "add cases, or leave close places undecided: see stability.csv and the tiers, if any"
        yield Advice("few-cases", "cases", reason, BOTH, change)


def dependent_cases(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Several cases of one patient, which bootstrap and tests take for independent ones."""
    of_patient: dict[str, list[str]] = defaultdict(list)
    for case, patient in findings.patients.items():
        of_patient[patient].append(case)
    if shared := [cases for cases in of_patient.values() if len(cases) > 1]:
        reason = (
            f"{sum(map(len, shared))} of {len(findings.cases)} cases share their patient with another "
            f"({listed(shared[0], 3)}); means, bootstrap and tests take each as independent, so "
            "intervals and p-values are too small"
        )
        change = "keep one case a patient, or average by patient and give that table to `bratseval rank`"
        yield Advice("dependent-cases", "cases", reason, DEPENDENT, change)


def unequal_institutions(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """A mean over cases that one institution decides."""
    counts = Counter(findings.institutions.values()).most_common()
    if challenge.ranking.plan.per_institution or len(counts) < 2:
        return
    (largest, most), (smallest, least) = counts[0], counts[-1]
    if most >= UNEQUAL * least:
        reason = (
            f"{len(counts)} institutions have {least} ({smallest}) to {most} cases ({largest}), and every "
            "case weighs the same, so that a mean speaks for the largest"
        )
        change = "`ranking: {per: institution, bootstrap_within: institution}`, or read each leaderboard"
        yield Advice("unequal-institutions", "ranking.per", reason, DEPENDENT, change)


def no_stability(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Places without their doubt."""
    ranking = challenge.ranking
    if not ranking.bootstrap:
        reason = "without bootstrap nothing tells whether other cases would have the same winner"
        yield Advice("no-stability", "ranking.bootstrap", reason, BOTH, "`bootstrap: 1000`")
    if not ranking.permutations and ranking.test != "wilcoxon":
        reason = "without permutations no test tells teams apart, and close scores look like different places"
        change = "`permutations: 100000`, or `test: wilcoxon`"
        yield Advice("no-tests", "ranking.permutations", reason, TOOLKIT, change)


def one_number_a_team(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Teams that are scored once over all subjects, so that there is nothing to draw from."""
    intervals = any(column.entry.name.endswith("_lower") for column in columns_of(challenge))
    if challenge.task == "table" and not intervals:
        reason = "a team has one number over all subjects, so that places get neither bootstrap nor tests"
        change = "leave close places undecided, or report intervals (auroc_lower, c_index_lower and the like)"
        yield Advice("no-stability", "ranking", reason, TOOLKIT, change)
