"""Segmentation: one predicted label map against one reference label map.

The reference is prepared once (`prepare`) and serves every team. For each region the lesions of
both sides meet in one contingency table; from it and from the boundary distances come all
metrics, of the whole image and of each lesion. Values by rule (penalties, empty masks) are the
challenge's; this module only decides which rule applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bratseval.challenge import Challenge, LesionRules, MetricSpec, Side
from bratseval.images import Grid, LabelImage
from bratseval.lesions import (
    Contingency,
    Lesions,
    find_lesions,
    join_across_tissues,
    match_by_contact,
    match_one_to_one,
    remove_small,
    tabulate,
)
from bratseval.metrics.detection import Detection
from bratseval.metrics.overlap import Overlap
from bratseval.metrics.registry import Level, Metric, find_metric
from bratseval.metrics.surface import Distances
from bratseval.model import LesionRow, Score
from bratseval.policy import by_rule, resolve_penalty
from bratseval.surfaces import (
    Boundary,
    Definition,
    Nearest,
    Spacing,
    find_boundary,
    image_distances,
    lesion_distances,
    measure,
)


@dataclass
class Prepared:
    """One side of a case: its lesions by region, and their boundaries as they are asked for.

    whole holds what whole-image metrics see: the mask before small predictions are deleted.
    """

    grid: Grid
    regions: dict[str, Lesions]
    whole: dict[str, Lesions]
    _boundaries: dict[tuple[int, Definition], Boundary] = field(default_factory=dict)

    def boundary(self, lesions: Lesions, definition: Definition) -> Boundary:
        """Boundary of a region's lesions, computed at the first call."""
        key = (id(lesions), definition)
        if key not in self._boundaries:
            self._boundaries[key] = find_boundary(lesions, definition)
        return self._boundaries[key]


def prepare(image: LabelImage, challenge: Challenge, side: Side) -> Prepared:
    """Split a label image into the lesions of every region, by the challenge's rules."""
    crop = np.ascontiguousarray(image.labels)
    voxel_mm3 = math.prod(image.grid.spacing_mm)
    found: dict[str, Lesions] = {}
    whole: dict[str, Lesions] = {}
    for name, region in challenge.regions.items():
        rules = challenge.rules(name)
        values = [challenge.labels[label] for label in region.labels]
        mask, corner = _crop(np.logical_or.reduce([crop == value for value in values]), image.offset)
        lesions = find_lesions(
            mask,
            corner,
            image.grid.shape,
            connectivity=rules.connectivity,
            dilation_voxels=rules.dilation_voxels,
            merge=side in rules.merge,
            zone=side == "reference" and rules.matching == "contact",
        )
        whole[name] = lesions
        if side == "prediction" and rules.min_prediction:
            unit = voxel_mm3 if rules.min_prediction_unit == "mm3" else 1.0
            lesions = remove_small(lesions, rules.min_prediction / unit)
        found[name] = lesions
    partners = {name: region.join_by for name, region in challenge.regions.items() if region.join_by}
    joined = join_across_tissues(found, partners, challenge.lesions.joining_pairs)
    return Prepared(image.grid, joined, joined if challenge.full_image == "lesion_numbers" else whole)


def _crop(mask: np.ndarray, offset: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Bounding box of a mask and its place on the grid; an empty box for an empty mask."""
    # Two passes over the volume, not three: y and z are read off the shadow.
    shadow = np.asarray(mask.any(axis=0))
    used = [np.flatnonzero(line) for line in (mask.any(axis=(1, 2)), shadow.any(axis=1), shadow.any(axis=0))]
    window = tuple(slice(int(line[0]), int(line[-1]) + 1) if line.size else slice(0, 0) for line in used)
    corner = (
        offset[0] + window[0].start,
        offset[1] + window[1].start,
        offset[2] + window[2].start,
    )
    return mask[window], corner


def score_case(
    reference: Prepared, prediction: Prepared, challenge: Challenge
) -> tuple[list[Score], list[LesionRow]]:
    """Score one prediction: a Score for every scored region and metric, and a row for every lesion."""
    scores: list[Score] = []
    lesions: list[LesionRow] = []
    for region in challenge.scored_regions:
        pair = RegionPair(reference, prediction, region, challenge)
        scores += [pair.score(column, spec) for column, spec in challenge.metrics.items()]
        lesions += pair.lesion_rows()
    return scores, lesions


@dataclass(frozen=True, slots=True)
class _LesionMatch:
    """One reference lesion: its size and that of its matched predicted lesions, in voxels."""

    number: int
    voxels: int
    partners: np.ndarray
    partner_voxels: int
    shared_voxels: int

    @property
    def dice(self) -> float:
        return 2 * self.shared_voxels / (self.voxels + self.partner_voxels)


class RegionPair:
    """Reference and prediction of one region, measured once and read by every metric."""

    def __init__(self, reference: Prepared, prediction: Prepared, region: str, challenge: Challenge) -> None:
        self.reference, self.prediction = reference, prediction
        self.region, self.challenge = region, challenge
        self.rules: LesionRules = challenge.rules(region)
        # Spacing comes from the prediction's header in the official code; geometry checks have
        # already made sure that it is the reference's.
        self.grid = prediction.grid
        self.voxel_mm3 = math.prod(self.grid.spacing_mm)
        self.reference_lesions = reference.regions[region]
        self.prediction_lesions = prediction.regions[region]
        self.contingency: Contingency = tabulate(self.reference_lesions, self.prediction_lesions)
        self.reference_whole, self.prediction_whole = reference.whole[region], prediction.whole[region]
        same = self.prediction_whole is self.prediction_lesions
        self.image_contingency = (
            self.contingency if same else tabulate(self.reference_whole, self.prediction_whole)
        )
        self._nearest: dict[tuple[int, int, Spacing], tuple[Nearest, Nearest]] = {}
        self._by_lesion: dict[tuple[Definition, Spacing], dict[int, Distances]] = {}
        self._values: dict[str, dict[int, float]] = {}
        self._match()

    def _match(self) -> None:
        if self.rules.matching == "contact":
            self.matches = match_by_contact(self.contingency)
        else:
            self.matches = match_one_to_one(
                self.contingency, self.reference_lesions, self.prediction_lesions, self.rules.minimum_dice
            )
        self.lesions = []
        for number in self.reference_lesions.numbers:
            partners = np.flatnonzero(self.matches[number])
            self.lesions.append(
                _LesionMatch(
                    int(number),
                    int(self.reference_lesions.sizes[number]),
                    partners,
                    int(self.prediction_lesions.sizes[partners].sum()),
                    int(self.contingency.overlap[number, partners].sum()),
                )
            )
        predicted = self.prediction_lesions.numbers
        self.spurious = predicted[~self.matches[:, predicted].any(axis=0)]
        limit = self.rules.min_reference_mm3
        self.counted = [lesion for lesion in self.lesions if lesion.voxels * self.voxel_mm3 > limit]

    @property
    def status(self) -> str:
        """Which side is empty, in the words of the contract."""
        has_reference = bool(self.reference_lesions.numbers.size)
        has_prediction = bool(self.prediction_lesions.numbers.size)
        if has_reference and has_prediction:
            return "ok"
        if has_reference:
            return "empty_prediction"
        return "empty_reference" if has_prediction else "empty_both"

    def score(self, column: str, spec: MetricSpec) -> Score:
        """One score of this region: measured where there is something to measure, else by rule."""
        level, entry = find_metric(spec.metric)
        penalty = resolve_penalty(spec.penalty, self.grid.shape)
        reason = ""
        if entry.reads == "detection":
            detection = self._detection(level)
            measured = None if detection is None else entry.function(detection)
            if detection is None:
                reason = f"no {level} reference lesion"
                return by_rule(self.region, column, None, self._unscored_status(), reason)
        elif level == "lesion":
            mean = self._lesion_mean(column, spec, entry, penalty)
            if isinstance(mean, str):
                return by_rule(self.region, column, None, self._unscored_status(), mean)
            measured = mean
            if not self.counted and self.status != "empty_both" and math.isnan(mean):
                reason = "no lesion to average"
        else:
            measured = self._image_value(spec, entry)
        return self._apply_rules(column, spec, measured, penalty, reason)

    def _unscored_status(self) -> str:
        return "empty_both" if self.status == "empty_both" else "not_applicable"

    def _apply_rules(
        self, column: str, spec: MetricSpec, measured: float | None, penalty: float | None, reason: str
    ) -> Score:
        if measured is not None and math.isfinite(measured):
            return Score(self.region, column, measured, measured, self.status, reason)
        nothing_there = self.status == "empty_both" or reason == "no lesion to average"
        value = spec.empty_both if nothing_there else penalty
        if value is None:
            return by_rule(self.region, column, None, self._unscored_status(), reason or "undefined")
        return by_rule(self.region, column, value, self.status, reason or "by rule")

    # What the metrics read -------------------------------------------------------------------

    def _overlap(self) -> Overlap:
        both = int(self.image_contingency.overlap[1:, 1:].sum())
        reference = int(self.reference_whole.sizes.sum())
        prediction = int(self.prediction_whole.sizes.sum())
        neither = math.prod(self.grid.shape) - reference - prediction + both
        return Overlap(both, prediction - both, reference - both, neither, self.voxel_mm3)

    def _agreement(self) -> Overlap:
        """Voxel counts for sensitivity and specificity; see Challenge.full_image for the slip."""
        if self.challenge.full_image == "mask":
            return self._overlap()
        reference, prediction = self.reference_lesions.sizes, self.prediction_lesions.sizes
        first_reference = int(reference[1]) if reference.size > 1 else 0
        first_prediction = int(prediction[1]) if prediction.size > 1 else 0
        both = int(self.contingency.overlap[1, 1]) if first_reference and first_prediction else 0
        sums = [int(sizes @ np.arange(sizes.size)) for sizes in (reference, prediction)]
        neither = math.prod(self.grid.shape) - first_reference - first_prediction + both
        return Overlap(both, sums[1] - both, sums[0] - both, neither, self.voxel_mm3)

    def _spacing(self, spec: MetricSpec) -> Spacing:
        if spec.spacing == "voxels":
            return (1.0, 1.0, 1.0)
        spacing = self.grid.spacing_mm
        return spacing if spec.spacing == "mm" else (spacing[2], spacing[1], spacing[0])

    def _measured(
        self, reference: Lesions, prediction: Lesions, definition: Definition, spacing: Spacing
    ) -> tuple[Boundary, Boundary, tuple[Nearest, Nearest]]:
        """Boundaries of both sides and the distances between them, once per definition and spacing."""
        boundaries = (
            self.reference.boundary(reference, definition),
            self.prediction.boundary(prediction, definition),
        )
        key = (id(boundaries[0]), id(boundaries[1]), spacing)
        if key not in self._nearest:
            self._nearest[key] = measure(*boundaries, spacing)
        return *boundaries, self._nearest[key]

    def _image_value(self, spec: MetricSpec, entry: Metric) -> float:
        call = _with_parameters(entry, spec)
        if entry.reads == "overlap":
            return call(self._overlap())
        if entry.reads == "agreement":
            return call(self._agreement())
        if spec.disjoint == "penalty" and not self.image_contingency.overlap[1:, 1:].any():
            return math.nan
        definition: Definition = spec.surface
        if definition == "surfel" and self.challenge.full_image == "lesion_numbers":
            definition = "numbered_surfel"
        spacing = self._spacing(spec)
        measured = self._measured(self.reference_whole, self.prediction_whole, definition, spacing)
        return call(image_distances(*measured, spacing))

    def _lesion_values(self, column: str, spec: MetricSpec, entry: Metric) -> dict[int, float]:
        """Value of a metric for every matched reference lesion, by lesion number."""
        if column not in self._values:
            call = _with_parameters(entry, spec)
            if entry.reads == "overlap":
                self._values[column] = {
                    lesion.number: call(self._lesion_overlap(lesion))
                    for lesion in self.lesions
                    if lesion.partners.size
                }
            else:
                by_lesion = self._distances_by_lesion(spec.surface, self._spacing(spec))
                self._values[column] = {number: call(record) for number, record in by_lesion.items()}
        return self._values[column]

    def _distances_by_lesion(self, definition: Definition, spacing: Spacing) -> dict[int, Distances]:
        key = (definition, spacing)
        if key not in self._by_lesion:
            measured = self._measured(self.reference_lesions, self.prediction_lesions, definition, spacing)
            self._by_lesion[key] = lesion_distances(*measured, self.matches, spacing)
        return self._by_lesion[key]

    def _lesion_overlap(self, lesion: _LesionMatch) -> Overlap:
        both = lesion.shared_voxels
        only_prediction, only_reference = lesion.partner_voxels - both, lesion.voxels - both
        neither = math.prod(self.grid.shape) - both - only_prediction - only_reference
        return Overlap(both, only_prediction, only_reference, neither, self.voxel_mm3)

    # Means and counts over lesions -----------------------------------------------------------

    def _lesion_mean(
        self, column: str, spec: MetricSpec, entry: Metric, penalty: float | None
    ) -> float | str:
        """Mean over lesions; nan where there is none to average, a reason where it does not apply."""
        values = self._lesion_values(column, spec, entry)
        failed = math.nan if penalty is None else penalty
        spurious = self.spurious.size
        if self.rules.average_over == "matched":
            matched = [values[lesion.number] for lesion in self.lesions if lesion.number in values]
            if matched or self.status == "empty_both":
                return float(np.mean(matched)) if matched else math.nan
            return failed
        if self.rules.average_over == "large":
            averaged = self._of_size("large")
            if not averaged:
                return "no large reference lesion"
        else:
            averaged = self.counted
            spurious = spurious if self.rules.false_positives == "penalized" else 0
        count = len(averaged) + spurious
        if not count:
            return math.nan
        total = sum(values.get(lesion.number, failed) for lesion in averaged) + spurious * failed
        return total / count

    def _of_size(self, level: Level) -> list[_LesionMatch]:
        limit = self.rules.large_mm3 or 0.0
        return [
            lesion
            for lesion in self.lesions
            if (lesion.voxels * self.voxel_mm3 >= limit) == (level == "large")
        ]

    def _detection(self, level: Level) -> Detection | None:
        """Counts over the counted lesions, or over one size class (None if it has no lesion)."""
        if level == "lesion":
            lesions, least_dice = self.counted, -1.0
        else:
            lesions, least_dice = self._of_size(level), self.rules.detection_dice
            if not lesions:
                return None
        found = [lesion for lesion in lesions if lesion.partners.size and lesion.dice >= least_dice]
        return Detection(
            len(found), self.spurious.size, len(lesions) - len(found), sum(lesion.dice for lesion in found)
        )

    def lesion_rows(self) -> list[LesionRow]:
        """A row for every reference lesion and every spurious predicted one."""
        columns: dict[str, tuple[str, MetricSpec]] = {}
        for wanted in ("dice", "hd95", "nsd"):
            for column, spec in self.challenge.metrics.items():
                if spec.metric == f"lesion_{wanted}":
                    columns.setdefault(wanted, (column, spec))
        if not columns:
            return []
        values = {
            wanted: self._lesion_values(column, spec, find_metric(spec.metric)[1])
            for wanted, (column, spec) in columns.items()
        }
        counted = {lesion.number for lesion in self.counted}
        rows = []
        for lesion in self.lesions:
            kind = "ignored" if lesion.number not in counted else "tp" if lesion.partners.size else "fn"
            rows.append(
                LesionRow(
                    self.region,
                    lesion.number,
                    kind,
                    lesion.voxels * self.voxel_mm3,
                    lesion.partner_voxels * self.voxel_mm3,
                    " ".join(str(int(partner)) for partner in lesion.partners),
                    *(values.get(wanted, {}).get(lesion.number) for wanted in ("dice", "hd95", "nsd")),
                )
            )
        for number in self.spurious:
            size = int(self.prediction_lesions.sizes[number]) * self.voxel_mm3
            rows.append(
                LesionRow(self.region, int(number), "fp", 0.0, size, str(int(number)), None, None, None)
            )
        return rows


def _with_parameters(entry: Metric, spec: MetricSpec) -> Callable[..., float]:
    """The metric function with the parameters that the challenge sets for this column."""
    chosen = {"tolerance_mm": spec.tolerance_mm, "combine": spec.combine}
    parameters = {
        name: chosen[name] for name in entry.parameters if name in chosen and chosen[name] is not None
    }
    return lambda record: entry.function(record, **parameters)
