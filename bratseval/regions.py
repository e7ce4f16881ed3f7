"""One region of one case: lesions of both sides, their matches, and everything metrics read.

The reference is prepared once (`prepare`) and serves every team. The lesions of both sides meet in
one contingency table; from it and from the boundary distances come all records. What is measured
here depends on the challenge's rules, what it is worth is decided in `tasks.segmentation`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from bratseval.blocks import LesionRules, MetricSpec, Side
from bratseval.challenge import Challenge
from bratseval.images import LabelImage
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
from bratseval.metrics.overlap import Overlap, dice
from bratseval.metrics.registry import Level
from bratseval.metrics.surface import Distances
from bratseval.nifti import Grid
from bratseval.overlap_matching import Group, detect, join_by_overlap
from bratseval.surfaces import (
    Boundary,
    Definition,
    Nearest,
    Spacing,
    find_boundary,
    group_distances,
    image_distances,
    lesion_distances,
    measure,
    measure_far,
)

# Of a case's side, kept for its other regions and for the next team; what is larger is made anew.
KEPT_BYTES = 2**24  # of lesions
KEPT_POINTS = 300_000  # of boundaries, whose trees take some 70 bytes a point


@dataclass
class Prepared:
    """One side of a case: its labels, and the lesions of a region when they are asked for.

    labels : (x, y, z) uint8 in C order, the box of the non-background voxels, at ``offset`` of the grid.
    """

    grid: Grid
    labels: np.ndarray
    offset: tuple[int, int, int]
    challenge: Challenge
    side: Side
    _tissues: dict[str, tuple[Lesions, Lesions]] = field(default_factory=dict)
    _regions: dict[str, tuple[Lesions, Lesions]] = field(default_factory=dict)
    _boundaries: dict[tuple[str, bool, Definition], Boundary] = field(default_factory=dict)

    def region(self, name: str) -> tuple[Lesions, Lesions]:
        """The lesions of a region, and what whole-image metrics see of it.

        That is the mask before small predictions are deleted, or the lesions; see Challenge.full_image.
        """
        if name in self._regions:
            return self._regions[name]
        whole, lesions = self._tissue(name)
        if partners := self.challenge.regions[name].join_by:
            tissues = {name: lesions, **{other: self._tissue(other)[1] for other in partners}}
            pairs = self.challenge.lesions.joining_pairs
            lesions = join_across_tissues(tissues, {name: partners}, pairs)[name]
        found = (lesions, lesions if self.challenge.full_image == "lesion_numbers" else whole)
        self._keep(self._regions, name, found)
        return found

    def _tissue(self, name: str) -> tuple[Lesions, Lesions]:
        """Components of a region's mask, and those of them that are not too small; nothing is joined."""
        if name in self._tissues:
            return self._tissues[name]
        region, rules = self.challenge.regions[name], self.challenge.rules(name)
        predicted = self.side == "prediction"
        labels = region.labels
        if predicted and region.needs and not self._mask(region.needs).any():
            labels = []
        mask, corner = _crop(self._mask(labels), self.offset)
        given = [mask]
        del mask  # a whole volume perhaps, which find_lesions gives up once it has its own
        whole = find_lesions(
            given.pop(),
            corner,
            self.grid.shape,
            connectivity=rules.connectivity,
            dilation_voxels=rules.dilation_voxels,
            merge=self.side in rules.merge,
            zone=not predicted and rules.matching == "contact",
        )
        large = whole
        if predicted and rules.min_prediction:
            x_mm, y_mm, z_mm = (np.float32(value) for value in self.grid.spacing_mm)
            voxel_mm3 = float(x_mm * y_mm * z_mm)  # in 32 bits, as officially the zooms of the header
            unit = voxel_mm3 if rules.min_prediction_unit == "mm3" else 1.0
            large = remove_small(whole, rules.min_prediction / unit)
        self._keep(self._tissues, name, (whole, large))
        return whole, large

    def _mask(self, labels: Sequence[str]) -> np.ndarray:
        """Where one of the labels is, (x, y, z) bool."""
        mask = np.zeros(self.labels.shape, bool)
        for label in labels:
            mask |= self.labels == self.challenge.labels[label]
        return mask

    def _keep(
        self, kept: dict[str, tuple[Lesions, Lesions]], name: str, found: tuple[Lesions, Lesions]
    ) -> None:
        """Keep lesions as long as all that are kept are small."""
        pairs = (*self._tissues.values(), *self._regions.values(), found)
        arrays = {id(a): a for pair in pairs for one in pair for a in (one.labels, one.zone) if a is not None}
        if sum(array.nbytes for array in arrays.values()) <= KEPT_BYTES:
            kept[name] = found

    def boundary(self, region: str, lesions: Lesions, definition: Definition, *, whole: bool) -> Boundary:
        """Boundary of the lesions of a region, kept as long as all that are kept have few points.

        whole : these are what whole-image metrics see, and not the lesions themselves.
        """
        key = (region, whole, definition)
        if key in self._boundaries:
            return self._boundaries[key]
        found = find_boundary(lesions, definition)
        points = sum(len(kept.points) for kept in (*self._boundaries.values(), found))
        if self.side == "reference" and points <= KEPT_POINTS:  # a prediction's are asked for once
            self._boundaries[key] = found
        return found


def prepare(image: LabelImage, challenge: Challenge, side: Side) -> Prepared:
    """One side of a case under the challenge's rules."""
    return Prepared(image.grid, np.ascontiguousarray(image.labels), image.offset, challenge, side)


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


@dataclass(frozen=True, slots=True)
class LesionMatch:
    """One reference lesion: its size and that of its matched predicted lesions, in voxels."""

    number: int
    voxels: int
    partners: np.ndarray
    partner_voxels: int
    shared_voxels: int

    @property
    def dice(self) -> float:
        """Dice of the lesion and its matches."""
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
        self.reference_lesions, self.reference_whole = reference.region(region)
        self.prediction_lesions, self.prediction_whole = prediction.region(region)
        self.contingency: Contingency = tabulate(self.reference_lesions, self.prediction_lesions)
        same = self.prediction_whole is self.prediction_lesions
        self.image_contingency = (
            self.contingency if same else tabulate(self.reference_whole, self.prediction_whole)
        )
        self._boundaries: dict[tuple[int, Definition], Boundary] = {}
        self._nearest: dict[tuple[int, int, Spacing, bool], tuple[Nearest, Nearest]] = {}
        self._of_image: dict[tuple[Definition, Spacing, bool], Distances] = {}
        self._by_lesion: dict[tuple[Definition, Spacing, bool], dict[int, Distances]] = {}
        self._by_group: dict[tuple[float | None, Definition, Spacing], list[Distances]] = {}
        self._match()

    def _match(self) -> None:
        if self.rules.matching == "contact":
            self.matches = match_by_contact(self.contingency)
        elif self.rules.matching == "largest_overlap":
            self.groups = join_by_overlap(self.contingency.overlap)
            self.matches = np.zeros(self.contingency.overlap.shape, bool)
            for group in self._detected(None)[0]:
                self.matches[np.ix_(group.references, group.predictions)] = True
        else:
            self.matches = match_one_to_one(
                self.contingency, self.reference_lesions, self.prediction_lesions, self.rules.minimum_dice
            )
        numbers = self.reference_lesions.numbers
        matched = self.matches[numbers]
        of_lesion, partners = np.nonzero(matched)
        ends = np.searchsorted(of_lesion, np.arange(numbers.size + 1)).tolist()
        self.lesions = [
            LesionMatch(*facts)
            for facts in zip(
                numbers.tolist(),
                self.reference_lesions.sizes[numbers].tolist(),
                [partners[begin:end] for begin, end in pairwise(ends)],
                (matched @ self.prediction_lesions.sizes).tolist(),
                np.where(matched, self.contingency.overlap[numbers], 0).sum(axis=1).tolist(),
                strict=True,
            )
        ]
        predicted = self.prediction_lesions.numbers
        self.spurious = predicted[~self.matches[:, predicted].any(axis=0)]
        limit = self.rules.min_reference_mm3
        self.counted = [lesion for lesion in self.lesions if lesion.voxels * self.voxel_mm3 > limit]

    def _detected(self, iou: float | None) -> tuple[list[Group], int]:
        """Pairs of largest overlap above an IoU, by default the challenge's, and how many count."""
        limit = self.rules.detection_iou if iou is None else iou
        assert limit is not None  # the model asks for it where lesions are matched by largest overlap
        return detect(
            self.groups,
            self.contingency.overlap,
            self.reference_lesions.sizes,
            self.prediction_lesions.sizes,
            detection_iou=limit,
            union=self.rules.union or "right",
        )

    def detected(self, iou: float | None) -> list[Group]:
        """Reference lesions that were found, each with its predicted ones.

        Officially none where the count of largest_overlap is not positive, although some may be.
        """
        if self.rules.matching != "largest_overlap":
            return [
                Group(np.array([lesion.number]), lesion.partners)
                for lesion in self.lesions
                if lesion.partners.size
            ]
        groups, count = self._detected(iou)
        return groups if count > 0 else []

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

    def image_overlap(self) -> Overlap:
        """Voxel counts of the whole masks on the whole grid."""
        both = int(self.image_contingency.overlap[1:, 1:].sum())
        reference = int(self.reference_whole.sizes.sum())
        prediction = int(self.prediction_whole.sizes.sum())
        neither = math.prod(self.grid.shape) - reference - prediction + both
        return Overlap(both, prediction - both, reference - both, neither, self.voxel_mm3)

    def image_agreement(self) -> Overlap:
        """Voxel counts for sensitivity and specificity; see Challenge.full_image for the slip."""
        if self.challenge.full_image == "mask":
            return self.image_overlap()
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

    def _boundary(self, side: Prepared, lesions: Lesions, definition: Definition) -> Boundary:
        """Boundary of one side, which is held as long as its id is a key of what is measured."""
        key = (id(lesions), definition)
        if key not in self._boundaries:
            whole = lesions is not self.reference_lesions and lesions is not self.prediction_lesions
            self._boundaries[key] = side.boundary(self.region, lesions, definition, whole=whole)
        return self._boundaries[key]

    def _measured(
        self, reference: Lesions, prediction: Lesions, definition: Definition, spacing: Spacing, far: bool
    ) -> tuple[Boundary, Boundary, tuple[Nearest, Nearest]]:
        """Boundaries of both sides and the distances between them, once per definition and spacing."""
        boundaries = (
            self._boundary(self.reference, reference, definition),
            self._boundary(self.prediction, prediction, definition),
        )
        key = (id(boundaries[0]), id(boundaries[1]), spacing)
        if (*key, False) not in self._nearest:
            self._nearest[*key, False] = measure(*boundaries, spacing)
        if (*key, far) not in self._nearest:
            self._nearest[*key, far] = measure_far(self._nearest[*key, False], *boundaries, spacing)
        return *boundaries, self._nearest[*key, far]

    def image_distances(self, spec: MetricSpec, *, far: bool = True) -> Distances:
        """Distances between the boundaries of the whole masks; far: also beyond what is near."""
        definition: Definition = spec.surface
        if definition == "surfel" and self.challenge.full_image == "lesion_numbers":
            definition = "numbered_surfel"
        spacing = self._spacing(spec)
        key = (definition, spacing, far)
        if key not in self._of_image:
            measured = self._measured(self.reference_whole, self.prediction_whole, definition, spacing, far)
            self._of_image[key] = image_distances(*measured, spacing, far=far)
        return self._of_image[key]

    def lesion_distances(self, spec: MetricSpec, *, far: bool = True) -> dict[int, Distances]:
        """Distances of every matched reference lesion, by lesion number; far: also beyond what is near."""
        definition: Definition = spec.surface
        spacing = self._spacing(spec)
        key = (definition, spacing, far)
        if key not in self._by_lesion:
            lesions = (self.reference_lesions, self.prediction_lesions)
            measured = self._measured(*lesions, definition, spacing, far)
            self._by_lesion[key] = lesion_distances(*measured, self.matches, spacing, far=far)
        return self._by_lesion[key]

    def group_distances(self, spec: MetricSpec) -> list[Distances]:
        """Distances of every detected group, in their order."""
        spacing = self._spacing(spec)
        key = (spec.detection_iou, spec.surface, spacing)
        if key not in self._by_group:
            groups = [(group.references, group.predictions) for group in self.detected(spec.detection_iou)]
            lesions = (self.reference_lesions, self.prediction_lesions)
            self._by_group[key] = (
                group_distances(*self._measured(*lesions, spec.surface, spacing, True), groups, spacing)
                if groups
                else []
            )
        return self._by_group[key]

    def lesion_overlap(self, lesion: LesionMatch) -> Overlap:
        """Voxel counts of one reference lesion and the union of its matches."""
        return self._overlap(lesion.voxels, lesion.partner_voxels, lesion.shared_voxels)

    def group_overlap(self, group: Group) -> Overlap:
        """Voxel counts of the reference lesions of a group and its predicted ones."""
        return self._overlap(
            int(self.reference_lesions.sizes[group.references].sum()),
            int(self.prediction_lesions.sizes[group.predictions].sum()),
            int(self.contingency.overlap[np.ix_(group.references, group.predictions)].sum()),
        )

    def _overlap(self, reference: int, prediction: int, both: int) -> Overlap:
        neither = math.prod(self.grid.shape) - reference - prediction + both
        return Overlap(both, prediction - both, reference - both, neither, self.voxel_mm3)

    def of_size(self, level: Level) -> list[LesionMatch]:
        """Reference lesions of one size class, large or small."""
        limit = self.rules.large_mm3 or 0.0
        return [
            lesion
            for lesion in self.lesions
            if (lesion.voxels * self.voxel_mm3 >= limit) == (level == "large")
        ]

    def detection(self, level: Level, iou: float | None = None) -> Detection | None:
        """Counts over the counted lesions, or over one size class (None if it has no lesion).

        iou : above which a pair of largest_overlap is found, by default the challenge's. There the counts
        are official: every lesion of a joined one that is not the first counts as missed or spurious.
        """
        if self.rules.matching == "largest_overlap" and level == "lesion":
            groups, count = self._detected(iou)
            there = (self.reference_lesions.numbers.size, self.prediction_lesions.numbers.size)
            matched = sum(dice(self.group_overlap(group)) for group in groups)
            return Detection(count, there[1] - count, there[0] - count, matched)
        if level == "lesion":
            lesions, least_dice = self.counted, -1.0
        else:
            lesions, least_dice = self.of_size(level), self.rules.detection_dice
            if not lesions:
                return None
        found = [lesion for lesion in lesions if lesion.partners.size and lesion.dice >= least_dice]
        return Detection(
            len(found), self.spurious.size, len(lesions) - len(found), sum(lesion.dice for lesion in found)
        )
