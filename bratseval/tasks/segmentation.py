"""Segmentation: what the measurements of a region are worth under the challenge's rules.

`RegionPair` measures; the functions here turn its records into scores: a metric's value where there
is something to measure, else the value of the rule that applies, with a status that says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bratseval.challenge import Challenge, MetricSpec
from bratseval.metrics.registry import Metric, find_metric
from bratseval.model import LesionRow, Score
from bratseval.policy import by_rule, resolve_penalty
from bratseval.regions import LesionMatch, Prepared, RegionPair


def score_case(
    reference: Prepared, prediction: Prepared, challenge: Challenge
) -> tuple[list[Score], list[LesionRow]]:
    """Score one prediction: a Score for every scored region and metric, and a row for every lesion."""
    scores: list[Score] = []
    rows: list[LesionRow] = []
    for region in challenge.scored_regions:
        pair = RegionPair(reference, prediction, region, challenge)
        by_lesion: dict[str, dict[int, float]] = {}
        for column, spec in challenge.metrics.items():
            level, entry = find_metric(spec.metric)
            if entry.reads == "detection":
                detection = pair.detection(level)
                if detection is None:
                    scores.append(_left_out(pair, column, f"no {level} reference lesion"))
                else:
                    scores.append(_score(pair, column, spec, entry.function(detection)))
            elif level == "lesion":
                by_lesion[column] = _lesion_values(pair, spec, entry)
                scores.append(_lesion_mean(pair, column, spec, by_lesion[column]))
            else:
                scores.append(_score(pair, column, spec, _image_value(pair, spec, entry)))
        if by_lesion:
            rows += _lesion_rows(pair, by_lesion)
    return scores, rows


def _image_value(pair: RegionPair, spec: MetricSpec, entry: Metric) -> float:
    """Value of a metric of the whole masks; nan or inf where it is undefined."""
    call = _with_parameters(entry, spec)
    if entry.reads == "overlap":
        return call(pair.image_overlap())
    if entry.reads == "agreement":
        return call(pair.image_agreement())
    if spec.disjoint == "penalty" and not pair.image_overlap().tp:
        return math.nan
    return call(pair.image_distances(spec))


def _lesion_values(pair: RegionPair, spec: MetricSpec, entry: Metric) -> dict[int, float]:
    """Value of a metric for every matched reference lesion, by lesion number."""
    call = _with_parameters(entry, spec)
    if entry.reads == "overlap":
        matched = [lesion for lesion in pair.lesions if lesion.partners.size]
        return {lesion.number: call(pair.lesion_overlap(lesion)) for lesion in matched}
    return {number: call(record) for number, record in pair.lesion_distances(spec).items()}


def _lesion_mean(pair: RegionPair, column: str, spec: MetricSpec, values: dict[int, float]) -> Score:
    """Mean of a metric over the lesions that the challenge averages; see LesionRules.average_over."""
    penalty = resolve_penalty(spec.penalty, pair.grid.shape)
    averaged, spurious = _averaged(pair, values)
    if pair.rules.average_over == "large" and not averaged:
        return _left_out(pair, column, "no large reference lesion")
    count = len(averaged) + spurious
    if not count:
        missed = pair.rules.average_over == "matched" and pair.status != "empty_both"
        if missed:
            return _ruled(pair, column, penalty, "no matched lesion")
        return _ruled(pair, column, spec.empty_both, "no lesion to average")
    if penalty is None and (spurious or any(lesion.number not in values for lesion in averaged)):
        return _left_out(pair, column, "a lesion failed and the metric has no penalty")
    failed = 0.0 if penalty is None else penalty
    total = sum(values.get(lesion.number, failed) for lesion in averaged) + spurious * failed
    measured = any(lesion.number in values for lesion in averaged)
    mean = total / count
    return Score(
        pair.region,
        column,
        mean,
        mean if measured else None,
        pair.status,
        "" if measured else "no lesion was matched",
    )


def _averaged(pair: RegionPair, values: dict[int, float]) -> tuple[list[LesionMatch], int]:
    """Reference lesions that enter the mean, and how many spurious ones do."""
    if pair.rules.average_over == "matched":
        return [lesion for lesion in pair.lesions if lesion.number in values], 0
    if pair.rules.average_over == "large":
        return pair.of_size("large"), pair.spurious.size
    return pair.counted, pair.spurious.size if pair.rules.false_positives == "penalized" else 0


def _score(pair: RegionPair, column: str, spec: MetricSpec, measured: float) -> Score:
    """The measured value, or the rule's where nothing can be measured."""
    if math.isfinite(measured):
        return Score(pair.region, column, measured, measured, pair.status)
    if pair.status == "empty_both":
        return _ruled(pair, column, spec.empty_both, "both sides are empty")
    return _ruled(pair, column, resolve_penalty(spec.penalty, pair.grid.shape), "undefined, so the penalty")


def _ruled(pair: RegionPair, column: str, value: float | None, reason: str) -> Score:
    """A value by rule; none at all leaves the score out of means."""
    if value is None:
        return _left_out(pair, column, reason)
    return by_rule(pair.region, column, value, pair.status, reason)


def _left_out(pair: RegionPair, column: str, reason: str) -> Score:
    status = "empty_both" if pair.status == "empty_both" else "not_applicable"
    return by_rule(pair.region, column, None, status, reason)


def _lesion_rows(pair: RegionPair, by_lesion: dict[str, dict[int, float]]) -> list[LesionRow]:
    """A row for every reference lesion and every spurious predicted one."""
    values: dict[str, dict[int, float]] = {}
    for column, found in by_lesion.items():
        # Of several columns of one kind (two tolerances) the first is shown.
        values.setdefault(pair.challenge.metrics[column].metric, found)
    counted = {lesion.number for lesion in pair.counted}
    rows = [
        LesionRow(
            pair.region,
            lesion.number,
            "ignored" if lesion.number not in counted else "tp" if lesion.partners.size else "fn",
            lesion.voxels * pair.voxel_mm3,
            lesion.partner_voxels * pair.voxel_mm3,
            " ".join(str(int(partner)) for partner in lesion.partners),
            *(values.get(f"lesion_{kind}", {}).get(lesion.number) for kind in ("dice", "hd95", "nsd")),
        )
        for lesion in pair.lesions
    ]
    for number in pair.spurious:
        size = int(pair.prediction_lesions.sizes[number]) * pair.voxel_mm3
        rows.append(LesionRow(pair.region, int(number), "fp", 0.0, size, str(int(number)), None, None, None))
    return rows


def _with_parameters(entry: Metric, spec: MetricSpec) -> Callable[..., float]:
    """The metric function with the parameters that the challenge sets for this column."""
    chosen = {"tolerance_mm": spec.tolerance_mm, "combine": spec.combine}
    parameters = {
        name: chosen[name] for name in entry.parameters if name in chosen and chosen[name] is not None
    }
    return lambda record: entry.function(record, **parameters)
