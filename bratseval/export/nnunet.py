"""nnU-Net: `summary.json` of its evaluation, by label or tuple of labels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from bratseval.challenge import Rulebook
from bratseval.errors import Problem, UsageError
from bratseval.export.finished import Finished, TeamResults, as_json, case_values
from bratseval.export.names import case_names

_NAMES = {"dice": "Dice", "iou": "IoU"}  # what nnU-Net calls them; its counts of voxels are not known here


def document(results: TeamResults) -> str:
    """`metric_per_case`, `mean` and `foreground_mean`; what is not known is left out, never 0.

    Other metrics than Dice and IoU keep their names. A foreground mean is over all labels that have the
    metric, and is left out where one of them has no value.
    """
    keys = label_keys(results.rulebook)
    mean: dict[str, dict[str, float]] = {key: {} for key in keys.values()}
    of_metric: dict[str, list[float | None]] = {}
    for one in results.statistics:
        if one.region in keys:
            name, number = _NAMES.get(one.metric, one.metric), one.numbers.get("mean")
            of_metric.setdefault(name, []).append(number)
            if number is not None:
                mean[keys[one.region]][name] = number
    foreground = {
        name: sum(known) / len(known)
        for name, numbers in of_metric.items()
        if len(known := [number for number in numbers if number is not None]) == len(numbers)
    }
    return as_json({"metric_per_case": _cases(results, keys), "mean": mean, "foreground_mean": foreground})


def _cases(results: TeamResults, keys: dict[str, str]) -> list[dict[str, Any]]:
    rows = results.scores.take(results.scores.case.where(bool))
    names = case_names(zip(rows.institution.texts(), rows.case.texts(), strict=True))
    values = case_values(results.scores)
    listed = []
    for (_, case), name in sorted(names.items()):
        metrics: dict[str, dict[str, float]] = {key: {} for key in keys.values()}
        for (region, metric), value in values[name].items():
            if region in keys:
                metrics[keys[region]][_NAMES.get(metric, metric)] = value
        files = {f"{role}_file": results.files.get((case, role)) for role in ("reference", "prediction")}
        listed.append({"case": name, "metrics": metrics, **files})
    return listed


def label_keys(rulebook: Rulebook) -> dict[str, str]:
    """Region -> the key that nnU-Net reads: a label such as `3`, or a tuple such as `(1, 2, 3)`.

    Of several regions of the same labels one is kept.
    """
    keys: dict[str, str] = {}
    for region, key in _all_keys(rulebook).items():
        if key not in keys.values():
            keys[region] = key
    return keys


def _all_keys(rulebook: Rulebook) -> dict[str, str]:
    keys: dict[str, str] = {}
    for challenge in (rulebook.challenge, *rulebook.by_cohort.values()):
        for name, region in challenge.regions.items():
            if region.labels and all(label in challenge.labels for label in region.labels):
                labels = sorted({challenge.labels[label] for label in region.labels})
                text = ", ".join(map(str, labels))
                keys.setdefault(name, text if len(labels) == 1 else f"({text})")
    return keys


def remarks(finished: Finished, names: Collection[str]) -> list[Problem]:
    """A warning of regions that the format cannot hold. Raises UsageError where it holds none."""
    every, kept = _all_keys(finished.rulebook), label_keys(finished.rulebook)
    name = finished.rulebook.challenge.name
    if not kept:
        message = f"nnU-Net's summary is by label, and {name} scores no region of labels"
        raise UsageError(Problem("error", "RUN019", message, "use another --to"))
    lost = [region for region in finished.rulebook.regions if region not in kept]
    if not lost:
        return []
    why = ", ".join(f"{one} has the labels of another" if one in every else f"{one} has none" for one in lost)
    return [Problem("warning", "OUT006", f"nnU-Net's summary is by label, and leaves regions out: {why}")]
