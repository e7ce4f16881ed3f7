"""Values that nobody measured: empty references, missed and spurious lesions, missing predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bratseval.advice.columns import COUNTS, Column, keys, listed, named, ranked
from bratseval.advice.findings import Findings
from bratseval.advice.literature import EMPTY, MISSING, RELOADED, Advice
from bratseval.challenge import Challenge
from bratseval.metrics.detection import Detection
from bratseval.metrics.overlap import Overlap
from bratseval.metrics.surface import Distances

# By record: what a metric reads where reference and prediction are empty, and where the reference alone is.
_NONE, _SOME = np.zeros(0), np.ones(1)
EMPTY_RECORDS: Mapping[str, tuple[Any, Any]] = {
    "overlap": (Overlap(0, 0, 0, 1), Overlap(0, 1, 0, 1)),
    "agreement": (Overlap(0, 0, 0, 1), Overlap(0, 1, 0, 1)),
    "distances": (Distances(_NONE, _NONE), Distances(_NONE, _SOME)),
    "detection": (Detection(0, 0, 0), Detection(0, 1, 0)),
}
# By key and choice of lesions: what it does to the means.
FREE_FAILURES = {
    ("average_over", "matched"): "only matched lesions count, so that missed and spurious ones are free",
    ("false_positives", "free"): "spurious lesions cost nothing, so that guessing is free",
}
# By key and choice: what it does to what a team did not deliver.
LEFT_OUT = {
    ("ranking.missing", "drop"): "an empty score is left out of the ranking",
    ("ranking.missing", "rank_zero"): "an empty score ranks before the best one",
    ("table.missing_rows", "dropped"): "a subject without a row is left out",
    ("registration.missing_landmark", "exclude"): "a landmark without a prediction is left out",
}


def empty_references(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Regions that are empty in some references, and what such a case is worth."""
    found, alarms = _empty_regions(challenge, findings), _false_alarms(challenge)
    if found and alarms:
        values = [f"{one.name} {_value(one.spec.empty_both)} or {_value(alarm)}" for one, alarm in alarms]
        reason = (
            f"some references are empty: {listed(found, 12)} cases; there a rule gives the score, of a right "
            f"empty prediction or a false alarm: {listed(values)}"
        )
        change = "tell participants the rule, and report these cases apart: false alarms by team"
        yield Advice("empty-references", "regions", reason, EMPTY, change)


def empty_left_out(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Metrics without a value for a right empty prediction; of no effect where no reference is empty."""
    silent = [column for column, _ in _false_alarms(challenge) if column.spec.empty_both is None]
    if silent and (_empty_regions(challenge, findings) or not findings.lesion_voxels):
        reason = (
            "a case that is empty on both sides is left out of means, while a false alarm there is counted: "
            "the means of two teams may run over different cases"
        )
        change = "state empty_both: the best value, if a right empty prediction is to count"
        yield Advice("empty-left-out", keys(silent, "empty_both"), reason, EMPTY, change)


def _empty_regions(challenge: Challenge, findings: Findings) -> list[str]:
    """The regions that are empty somewhere, with their counts."""
    return [
        f"{region} in {sum(not sizes for sizes in cases.values())} of {len(cases)}"
        for region, cases in findings.ranked_lesions(challenge).items()
        if not all(cases.values())
    ]


def _false_alarms(challenge: Challenge) -> list[tuple[Column, object]]:
    """Ranked metrics that cannot be measured on two empty masks, with their value of a false alarm."""
    alarms: list[tuple[Column, object]] = []
    lesions = challenge.lesions
    for column in ranked(challenge, *EMPTY_RECORDS):
        spec, of_lesions = column.spec, column.level == "lesion" and column.entry.reads != "detection"
        both, alone = (
            column.entry.measure(record, spec.parameters) for record in EMPTY_RECORDS[column.entry.reads]
        )
        if spec.pooled or not math.isnan(both):
            continue  # of all cases together, or measured even there
        if of_lesions and lesions.average_over == "large":
            continue  # left out, whatever is predicted
        if of_lesions and lesions.average_over == "counted" and lesions.false_positives == "free":
            alarms.append((column, spec.empty_both))
        else:
            alarms.append((column, alone if math.isfinite(alone) and not of_lesions else spec.penalty))
    return alarms


def _value(score: object) -> str:
    if score is None:
        return "left out"
    return f"{score:g}" if isinstance(score, (int, float)) else str(score)


def free_failures(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Lesion-wise means that some failures do not enter, unless a detection metric is ranked beside them."""
    means = [column for column in ranked(challenge, *COUNTS, "distances") if column.level == "lesion"]
    if not means or ranked(challenge, "detection"):
        return
    for (key, choice), says in FREE_FAILURES.items():
        if getattr(challenge.lesions, key) == choice:
            change = "rank a detection metric as well (lesion_f1), or choose `counted` and `penalized`"
            source = f"{RELOADED} (instances: detection and segmentation)"
            yield Advice("free-failures", f"lesions.{key}", f"{says} in {named(means)}", source, change)


def no_penalty(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Ranked metrics for which a missing prediction costs nothing."""
    rule = challenge.ranking.missing
    stated = rule if isinstance(rule, dict) else {}
    free = [column for column in ranked(challenge) if not column.priced and column.name not in stated]
    if free and rule != "worst":
        reason = "a missing or refused prediction has no value, so that leaving out a hard case can pay"
        change = "state a penalty (or missing) for the metric, or `ranking: {missing: worst}`"
        yield Advice("no-penalty", keys(free, "penalty"), reason, MISSING, change)


def missing_dropped(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Rules that leave out what a team did not deliver."""
    priced = all(column.priced for column in ranked(challenge))
    for (key, choice), says in LEFT_OUT.items():
        block, _, name = key.partition(".")
        if getattr(getattr(challenge, block), name, None) != choice:
            continue
        pays = "so that a team can gain by leaving out what is hard"
        if block == "ranking" and priced:
            pays = "which can pay in a table of another tool (files that are scored here keep their penalty)"
        change = "give what is missing a price: a number or `worst` in the ranking, the penalty elsewhere"
        yield Advice("missing-dropped", key, f"`{choice}`: {says}, {pays}", MISSING, change)
