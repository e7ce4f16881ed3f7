"""The blocks of a challenge file: everything an official scorer hard-codes, as data.

Each option that exists because an official program has a quirk says so: the official behavior is what
the bundled configurations choose, the corrected one stands beside it.
"""

from __future__ import annotations

import re
import warnings
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bratseval.errors import Faults
from bratseval.ranking.rules import Model

Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Label = Annotated[int, Field(ge=1, le=255)]
Value = Annotated[float, Field(allow_inf_nan=False)]
Penalty = Value | Literal["grid_diagonal"]
Extent = Annotated[int, Field(ge=1, le=32767)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Row = tuple[Value, Value, Value, Value]
Side = Literal["reference", "prediction"]


class Files(Model):
    """Which files belong to the challenge, and the case id in their names."""

    prediction: list[str] = Field(
        [],
        description="Regular expressions with a group 'case', tried in order on the whole file name "
        "(fullmatch). A group 'cohort' names the cohort of the case. None where a team hands in one table.",
    )
    reference: list[str] = Field(
        [],
        description="The same for reference files; without a group 'case' where one table holds all cases.",
    )
    prediction_parts: dict[str, list[str]] = Field(
        {}, description="Further files of a team for a case: role -> patterns; its task knows the roles."
    )
    reference_parts: dict[str, list[str]] = Field({}, description="The same beside the references.")
    team: dict[str, list[str]] = Field(
        {}, description="Files of a whole team: role -> patterns, without a group 'case'."
    )
    unread: list[str] = Field([], description="Names that a submission may hold although nothing reads them.")

    @field_validator("prediction")
    @classmethod
    def _patterns_have_a_case(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            if "case" not in _compiled(pattern).groupindex:
                raise ValueError(f"{pattern!r} has no group (?P<case>...) for the case id")
        return patterns

    @field_validator("prediction_parts", "reference_parts")
    @classmethod
    def _parts_have_a_case(cls, roles: dict[str, list[str]]) -> dict[str, list[str]]:
        for patterns in roles.values():
            cls._patterns_have_a_case(patterns)
        return roles

    @field_validator("team")
    @classmethod
    def _team_files_have_none(cls, roles: dict[str, list[str]]) -> dict[str, list[str]]:
        for pattern in (one for patterns in roles.values() for one in patterns):
            if "case" in _compiled(pattern).groupindex:
                raise ValueError(f"{pattern!r} has a group 'case', but the file is of the whole team")
        return roles

    @field_validator("unread", "reference")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            _compiled(pattern)
        return patterns


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings(action="ignore"):
            return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


class Geometry(Model):
    """How strictly a prediction must lie on the reference's grid."""

    policy: Literal["strict", "ignore", "resample"] = Field(
        "strict",
        description="strict: another spacing or affine refuses the file; ignore: only the shape counts, "
        "as in the official code of 2023-2025; resample: nearest neighbor onto the reference grid.",
    )
    spacing_from: Literal["header", "decimal", "affine"] = Field(
        "header",
        description="Where the voxel spacing is read. header: pixdim; decimal: the decimal that pixdim's 32 "
        "bits stand for, 0.8 and not 0.80000001, so that five voxels of it are within 4 mm; affine: the "
        "lengths of the affine's columns, as in BraTS 2024-2025, whose code saves every region anew without "
        "the header.",
    )
    tolerance: Positive = Field(
        0.05, description="Largest shift of a corner voxel, as a share of the smallest spacing."
    )


class StatedGrid(Model):
    """The voxel grid of every case."""

    shape: tuple[Extent, Extent, Extent]
    spacing_mm: tuple[Length, Length, Length] = (1.0, 1.0, 1.0)
    affine: tuple[Row, Row, Row] = Field(description="Voxel to world in mm (RAS): the first three rows.")

    @field_validator("affine")
    @classmethod
    def _is_no_fold(cls, affine: tuple[Row, Row, Row]) -> tuple[Row, Row, Row]:
        (a, b, c, _), (d, e, f, _), (g, h, i, _) = affine
        if abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) < 1e-9:
            raise ValueError("the affine is singular")
        return affine


class Expected(Model):
    """What a submission is held to where no references are given: `bratseval validate`."""

    cases: list[str] = Field([], description="Ids of all cases, or of all subjects of a table.")
    grid: StatedGrid | None = None


class LesionRules(Model):
    """From a mask to lesions, their matches and what enters the mean over lesions."""

    connectivity: Literal[6, 18, 26] = 26
    dilation_voxels: int = Field(
        0, ge=0, le=20, description="Steps of the 18-neighbor dilation used for merging and matching."
    )
    merge: list[Side] = Field(
        [], description="Sides on which lesions whose dilations touch count as one lesion."
    )
    matching: Literal["contact", "one_to_one", "largest_overlap"] = Field(
        "contact",
        description="contact: every predicted lesion that reaches into a reference lesion's dilated zone "
        "belongs to it (BraTS 2023-2025); one_to_one: pairs of largest Dice (panoptica, BraTS 2026); "
        "largest_overlap: lesions of each side that share most voxels with the same one of the other are "
        "joined, and pairs are kept by their IoU (LiTS).",
    )
    detection_iou: Share | None = Field(
        None, description="IoU above which a pair of largest_overlap counts as detected; it needs one."
    )
    union: Literal["official_slip", "right"] | None = Field(
        None,
        description="Union in the IoU of largest_overlap. official_slip: the predicted lesions are looked up "
        "under a number of their own among numbers of the reference, so that those of another pair enter "
        "(LiTS); right: those of the pair, the corrected value and the default.",
    )
    minimum_dice: Positive = Field(1e-6, description="Smallest Dice of a one_to_one pair.")
    min_reference_mm3: Positive = Field(
        0.0, description="Reference lesions of at most this volume are ignored: neither averaged nor counted."
    )
    min_prediction: Positive = Field(
        0.0, description="Predicted lesions of at most this size are deleted before anything is scored."
    )
    min_prediction_unit: Literal["voxels", "mm3"] = Field(
        "voxels", description="Official for all but MEN-RT: voxels, although the reference limit is in mm3."
    )
    average_over: Literal["counted", "matched", "large"] = Field(
        "counted",
        description="What the lesion-wise mean runs over. counted: reference lesions above the limit, and "
        "false positives; matched: only matched lesions, so missed and spurious ones cost nothing "
        "(panoptica); large: reference lesions of at least large_mm3 and all false positives, "
        "not_applicable without a large lesion (BraTS 2026 MET).",
    )
    false_positives: Literal["penalized", "free"] = Field(
        "penalized",
        description="Whether a spurious lesion enters the mean with the penalty. free is the slip of MEN-RT.",
    )
    large_mm3: Positive | None = Field(None, description="Volume from which a lesion is large.")
    detection_dice: Positive = Field(
        0.0, description="Dice from which a large or small lesion counts as found in large_/small_lesion_*."
    )
    joining_pairs: int = Field(
        2,
        ge=1,
        description="Touching pairs needed before lesions are joined across tissues. Officially 2, so that a "
        "single touching pair is ignored; 1 is the corrected value.",
    )

    @model_validator(mode="after")
    def _says_what_is_detected(self) -> LesionRules:
        if self.matching == "largest_overlap" and self.detection_iou is None:
            raise Faults(["matching: largest_overlap needs detection_iou"])
        return self


class RegionRules(Model):
    """Lesion rules that differ for one region; what is not given follows the challenge."""

    dilation_voxels: int | None = Field(None, ge=0, le=20)
    min_reference_mm3: Positive | None = None
    min_prediction: Positive | None = None


class Region(Model):
    """A region that is scored: a set of labels."""

    labels: list[str] = Field(
        [], description="Names of labels; `any` stands for every positive label (QU-BraTS counts label 3 in "
        "WT). None where the regions are separate files (QUBIQ).",
    )  # fmt: skip
    lesions: RegionRules = RegionRules()
    outside: bool = Field(
        False, description="The voxels that have none of the labels (BraSyn's healthy region)."
    )
    join_by: list[str] = Field(
        [], description="Regions whose lesions join this region's: those touching the same one become one."
    )
    scored: bool = Field(True, description="false for a region that only joins others.")
    needs: list[str] | None = Field(
        None,
        description="Labels of which a prediction must have one, else it has nothing of the region (LiTS: no "
        "liver where only lesions are labeled).",
    )

    @property
    def of_labels(self) -> bool:
        """Whether a segmentation tells what belongs to it: the voxels of labels that have names."""
        return bool(self.labels) and not self.outside and "any" not in self.labels


class MetricSpec(Model):
    """One column of results: a metric, its parameters and its values by rule."""

    metric: str = Field("", description="Registered name; by default the name of the column.")
    regions: list[str] = Field([], description="Regions in which it is computed; by default all.")
    pooled: list[str] = Field(
        [],
        description="Regions in which it is one number a team, over what all its cases give, not one a case "
        "(LiTS: the mean over all detected lesions).",
    )
    within: str | None = Field(
        None,
        description="Region of which this one is a share (tumor burden); the penalty is the share of a "
        "prediction without it.",
    )
    detection_iou: Share | None = Field(
        None, description="IoU above which a lesion counts as detected; by default that of `lesions`."
    )
    surface: Literal["surfel", "voxel", "voxel18"] = Field(
        "surfel",
        description="Boundary definition of a distance metric. surfel: DeepMind's; voxel: voxels with a "
        "6-neighbor outside; voxel18: with an 18-neighbor outside (LiTS).",
    )
    spacing: Literal["mm", "voxels", "reversed"] = Field(
        "mm",
        description="Unit of distances. voxels: spacing ignored (CaPTk; panoptica's whole image); reversed: "
        "x and z spacing swapped, the slip of panoptica with SimpleITK (BraTS 2026).",
    )
    combine: Literal["directed", "pooled"] = Field(
        "directed", description="Two directions apart (maximum or mean of both) or all distances together."
    )
    tolerance_mm: Positive | Literal["smallest_spacing"] | None = None
    parameters: dict[str, int | float | str] = Field(
        {}, description="Further parameters of the metric's function, such as {radius_mm: 5} of hit_rate."
    )
    disjoint: Literal["measured", "penalty"] = Field(
        "measured",
        description="penalty: masks without a common voxel count as a failure of this metric although their "
        "distance could be measured (panoptica's whole-image metrics).",
    )
    empty_both: Value | None = Field(
        None, description="Value where there is nothing to measure on either side; none = left out of means."
    )
    penalty: Penalty | None = Field(
        None,
        description="Value of a failure: one side empty, lesion missed or spurious. "
        "grid_diagonal: sqrt(nx^2+ny^2+nz^2) of the grid in voxels.",
    )
    missing: Penalty | list[Penalty] | None = Field(
        None,
        description="Value of a case whose prediction is missing or refused; a list means its largest. "
        "By default the penalty.",
    )


class Cohorts(Model):
    """A challenge whose cases follow the rules of several others (GoAT)."""

    challenges: dict[str, str] = Field(description="Cohort name -> challenge whose rules score its cases.")
    default: str = Field(description="Cohort of a case that no table or file name assigns (with a warning).")
    case_column: str = "NewID"
    cohort_column: str = "Cohort"


class Registration(Model):
    """How landmark files and displacement fields of a registration challenge are read."""

    id_column: str = "Landmark"
    coordinates: list[str] = Field(
        ["X", "Y", "Z"], min_length=2, max_length=3, description="Columns of the coordinates, in mm."
    )
    volume: dict[str, tuple[Value, Value]] = Field(
        {}, description="Smallest and largest coordinate inside the image, by column; a predicted landmark "
        "outside refuses the file. Where the reference image is given, its own extent counts.",
    )  # fmt: skip
    diagonal_mm: Positive | None = Field(
        None, description="Diagonal of the image for relative errors; by default the reference image's, "
        "else the volume's.",
    )  # fmt: skip
    missing_landmark: Literal["error", "initial", "exclude"] = Field(
        "error",
        description="A landmark without a prediction. error: the file is refused; initial: it counts as not "
        "moved; exclude: left out, with a warning (a team gains by omitting hard ones).",
    )
    world: Literal["lps", "ras"] = Field(
        "lps", description="World axes of the landmark coordinates: ITK's (BraTS-Reg) or NIfTI's."
    )
    components: Literal["lps", "ras", "by_intent"] = Field(
        "by_intent",
        description="Axes of the field's vectors. by_intent: lps for an ITK vector image (intent 1007 or "
        "5-D), ras for a plain 4-D one.",
    )
    unit: Literal["mm", "voxels"] = Field(
        "mm", description="Unit of the field's vectors; voxels are steps along the image's own axes."
    )
    agreement_mm: Positive = Field(
        1.0, description="Median distance of submitted landmarks from those the submitted field gives, above "
        "which the two disagree (a warning).",
    )  # fmt: skip


class Uncertainty(Model):
    """How masks are filtered by uncertainty maps."""

    points: int = Field(
        40, ge=1, le=10_000, description="Steps between the thresholds 0 and 100; both ends are thresholds."
    )


class Synthesis(Model):
    """How images are brought to one scale before a synthesis is compared with the real image."""

    scale: Literal["void", "outside_mask", "each"] = Field(
        "void",
        description="Which voxels give the 0.5 and 99.5 percentiles that become 0 and 1. void: those of the "
        "voided image (inpainting since 2024); outside_mask: of the reference with the mask set to 0 (2023); "
        "each: every image by its own (BraSyn).",
    )


class SubjectTable(Model):
    """How the tables of a challenge are read in which a team hands in one row a subject."""

    id: list[str] = Field(min_length=1, description="Names that the id column may have.")
    id_pattern: str = Field("", description="Regular expression whose first match in an id is the id.")
    target: list[str] = Field(min_length=1, description="Names that the reference's column may have.")
    event: str = Field("", description="Reference column that is 1 where the event was observed (time).")
    prediction: list[str] = Field(
        min_length=1, description="Names that the submitted column may have; probabilities: one a class."
    )
    submitted: Literal["label", "score", "probabilities", "time", "rating"] = Field(
        description="What is submitted. label: a class number; score: a number that is larger for class 1; "
        "probabilities: one of each class; time: larger is later; rating: a number within low to high."
    )
    classes: int = Field(2, ge=2, le=1000, description="Number of classes, from 0.")
    low: Value | None = Field(None, description="Smallest number that may be submitted.")
    high: Value | None = Field(None, description="Largest.")
    missing_label: Annotated[int, Field(ge=0, le=1000)] | Literal["next_class"] | None = Field(
        None,
        description="Label of a subject without a usable prediction; by default one beyond the classes. It "
        "is a class of its own, which is always wrong and lowers unweighted averages (BraTS-Path 2026: 10). "
        "next_class: the class after its own, so that it is a false positive there, as a wrong label is.",
    )
    missing_rows: Literal["penalized", "dropped"] = Field(
        "penalized",
        description="dropped: subjects without a row are left out, as officially where no penalty label is "
        "stated; a team then gains by leaving out what it finds hard.",
    )

    @field_validator("id_pattern")
    @classmethod
    def _is_pattern(cls, pattern: str) -> str:
        _compiled(pattern)
        return pattern

    @model_validator(mode="after")
    def _fits(self) -> SubjectTable:
        faults = []
        if (self.submitted == "time") != bool(self.event):
            faults.append("event: times need it, nothing else does")
        if self.submitted == "probabilities" and len(self.prediction) != self.classes:
            faults.append(f"prediction: {len(self.prediction)} columns for {self.classes} classes")
        if self.submitted == "score" and self.classes != 2:
            faults.append("classes: a score tells two classes apart")
        if isinstance(self.missing_label, int) and self.missing_label < self.classes:
            faults.append(
                f"missing_label: {self.missing_label} is a class, so that missing rows could be right"
            )
        if self.submitted == "rating" and (self.low is None or self.high is None):
            faults.append("low, high: a rating needs them, since a missing one costs the worst of them")
        if faults:
            raise Faults(faults)
        return self
