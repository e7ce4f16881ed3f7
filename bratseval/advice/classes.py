"""Classification: prevalence, labels in the place of scores, and probabilities taken at their word."""

from __future__ import annotations

from collections.abc import Iterator

from bratseval.advice.columns import MICRO, are, columns_of, named, ranked
from bratseval.advice.findings import Findings
from bratseval.advice.literature import IMBALANCE, PITFALLS, RELOADED, UNEQUAL, Advice
from bratseval.challenge import Challenge

RARE = 0.1  # share of class 1; ours, as the papers give no number
CALIBRATED = frozenset(("class_brier", "brier", "ece"))


def prevalence(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Shares of right labels where one class is frequent."""
    shares = [column for column in ranked(challenge, "labels") if column.kind in ("accuracy", MICRO)]
    counts = sorted(findings.classes.values())
    if shares and len(counts) > 1 and counts[-1] >= UNEQUAL * counts[0]:
        reason = (
            f"classes have {counts[0]} to {counts[-1]} subjects that count alike in {named(shares)}: "
            f"always to answer the most frequent class gives {counts[-1] / sum(counts):.0%}"
        )
        change = "rank what weighs classes alike (macro class_sensitivity, mcc), and give the prevalence"
        yield Advice("prevalence", "ranking.metrics", reason, IMBALANCE, change)


def hard_labels(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Curves over thresholds of what has none."""
    curves = [column for column in columns_of(challenge) if column.entry.reads == "scores"]
    if curves and challenge.table is not None and challenge.table.submitted == "label":
        where = ", ".join(f"metrics.{column.name}" for column in curves)
        reason = (
            f"{are(curves)} computed from labels: a curve of a single point, which says no more than "
            "sensitivity and specificity"
        )
        change = "ask for scores (table.submitted), or rank class_sensitivity and class_specificity"
        yield Advice("hard-labels", where, reason, f"{PITFALLS}, P2.4 (no predicted scores)", change)


def rare_class(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """AUROC of a class that is rare."""
    names = [column.entry.name for column in ranked(challenge)]
    curves = any(column.entry.name.startswith("auroc") for column in ranked(challenge, "scores"))
    share = findings.classes.get(1, 0) / max(1, sum(findings.classes.values()))
    two_classes = challenge.table is not None and challenge.table.classes == 2
    if two_classes and curves and "average_precision" not in names and 0 < share < RARE:
        reason = (
            f"class 1 is {share:.1%} of the subjects: the area under the ROC curve can be high although most "
            "of those that are called positive are not"
        )
        change = "rank average_precision (the precision-recall curve) as well"
        yield Advice("rare-class", "ranking.metrics", reason, IMBALANCE, change)


def calibration(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Probabilities that nothing takes at their word."""
    checked = any(column.entry.name in CALIBRATED for column in columns_of(challenge))
    if not checked and _takes_probabilities(challenge):
        name = "ece or brier" if challenge.task == "multi_rater" else "class_brier"
        reason = "probabilities are submitted, but no metric checks whether they are calibrated"
        source = f"{RELOADED}, Table 1 (confidence awareness)"
        yield Advice("calibration", "metrics", reason, source, f"add {name}, at least as an unranked column")


def _takes_probabilities(challenge: Challenge) -> bool:
    table = challenge.table
    if table is None:
        return challenge.task == "multi_rater"
    unit = table.submitted == "score" and (table.low, table.high) == (0, 1)
    return unit or table.submitted == "probabilities"
