"""The challenge model: everything an official scorer hard-codes, as data.

``bratseval challenges schema`` prints this model as JSON Schema; ``bratseval.config`` reads YAML
into it. Each option that exists because an official program has a quirk says so: the official
behavior is what the bundled configurations choose, the corrected one stands beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from bratseval.metrics.registry import TEAM_RECORDS, Facts, find_metric, score_facts
from bratseval.ranking.rules import Model, Ranking, ScoreTable

Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Label = Annotated[int, Field(ge=1, le=255)]
Value = Annotated[float, Field(allow_inf_nan=False)]
Penalty = Value | Literal["grid_diagonal"]
Side = Literal["reference", "prediction"]

# By task: the records that its metrics may read, and the further reference files without which it cannot.
TASK_RECORDS: dict[str, tuple[str, ...]] = {
    "segmentation": ("overlap", "agreement", "distances", "detection"),
    "registration": ("landmarks", "jacobian"),
    "uncertainty": ("filtering",),
    "multi_rater": ("raters",),
}
REFERENCE_ROLES = {"registration": ("moving",), "uncertainty": ("brain",)}


class Files(Model):
    """Which files belong to the challenge, and the case id in their names."""

    prediction: list[str] = Field(
        description="Regular expressions with a group 'case', tried in order on the whole file name "
        "(fullmatch). A group 'cohort' names the cohort of the case."
    )
    reference: list[str] = Field(description="The same for reference files.")
    prediction_parts: dict[str, list[str]] = Field(
        {}, description="Further files of a team for a case: role -> patterns; its task knows the roles."
    )
    reference_parts: dict[str, list[str]] = Field({}, description="The same beside the references.")
    team: dict[str, list[str]] = Field(
        {}, description="Files of a whole team: role -> patterns, without a group 'case'."
    )
    unread: list[str] = Field([], description="Names that a submission may hold although nothing reads them.")

    @field_validator("prediction", "reference")
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

    @field_validator("unread")
    @classmethod
    def _are_patterns(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            _compiled(pattern)
        return patterns


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None


class Geometry(Model):
    """How strictly a prediction must lie on the reference's grid."""

    policy: Literal["strict", "ignore", "resample"] = Field(
        "strict",
        description="strict: another spacing or affine refuses the file; ignore: only the shape counts, "
        "as in the official code of 2023-2025; resample: nearest neighbor onto the reference grid.",
    )
    spacing_from: Literal["header", "affine"] = Field(
        "header",
        description="Where the voxel spacing is read. affine: the lengths of the affine's columns, as in "
        "BraTS 2024-2025, whose code saves every region anew without the header; pixdim otherwise.",
    )
    tolerance: Positive = Field(
        0.05, description="Largest shift of a corner voxel, as a share of the smallest spacing."
    )


class LesionRules(Model):
    """From a mask to lesions, their matches and what enters the mean over lesions."""

    connectivity: Literal[6, 18, 26] = 26
    dilation_voxels: int = Field(
        0, ge=0, le=20, description="Steps of the 18-neighbor dilation used for merging and matching."
    )
    merge: list[Side] = Field(
        [], description="Sides on which lesions whose dilations touch count as one lesion."
    )
    matching: Literal["contact", "one_to_one"] = Field(
        "contact",
        description="contact: every predicted lesion that reaches into a reference lesion's dilated zone "
        "belongs to it (BraTS 2023-2025); one_to_one: pairs of largest Dice (panoptica, BraTS 2026).",
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
    join_by: list[str] = Field(
        [], description="Regions whose lesions join this region's: those touching the same one become one."
    )
    scored: bool = Field(True, description="false for a region that only joins others.")


class MetricSpec(Model):
    """One column of results: a metric, its parameters and its values by rule."""

    metric: str = Field("", description="Registered name; by default the name of the column.")
    surface: Literal["surfel", "voxel"] = Field(
        "surfel", description="Boundary definition of a distance metric: DeepMind's surfels or border voxels."
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


class Challenge(Model):
    """One edition of a challenge."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: int = Field(1, ge=1, description="Raised on any change that can move a score.")
    title: str
    source: list[str] = Field(min_length=1, description="Where the rules are published.")
    scorer: str = Field(description="The code and its version that defined the official numbers.")
    differences: list[str] = Field([], description="Where bratseval deliberately departs from that code.")
    task: Literal["segmentation", "registration", "uncertainty", "multi_rater"] = Field(
        "segmentation",
        description="What a case consists of. registration: landmarks and a displacement field; uncertainty: "
        "masks with an uncertainty map per region; multi_rater: a probability map against several masks.",
    )
    files: Files
    labels: dict[str, Label] = Field({})
    remap: dict[Label, Label] = Field({}, description="Label values rewritten on reading, e.g. {4: 3}.")
    unknown_labels: Literal["background", "refuse"] = Field(
        "refuse",
        description="Label values outside `labels`: background with a warning, as the official code of "
        "2021-2025 treats them, or the file is refused (2026).",
    )
    geometry: Geometry = Geometry()
    registration: Registration | None = None
    uncertainty: Uncertainty | None = None
    regions: dict[str, Region] = Field({})
    lesions: LesionRules = LesionRules()
    full_image: Literal["mask", "lesion_numbers"] = Field(
        "mask",
        description="What whole-image metrics are computed from. lesion_numbers is the slip of BraTS "
        "2024-2025: lesion label maps after small predictions are gone, so that sensitivity and specificity "
        "see lesion number 1 only and surfels of lesions 2, 3, ... fill their inside.",
    )
    metrics: dict[str, MetricSpec]
    cohorts: Cohorts | None = None
    ranking: Ranking = Ranking()
    score_table: ScoreTable = ScoreTable()

    @field_validator("regions", mode="before")
    @classmethod
    def _short_regions(cls, regions: object) -> object:
        """Allow `WT: [NCR, ED, ET]` for a region that is only a list of labels."""
        if not isinstance(regions, dict):
            return regions
        return {name: {"labels": body} if isinstance(body, list) else body for name, body in regions.items()}

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, metrics: dict[str, MetricSpec]) -> dict[str, MetricSpec]:
        for column, spec in metrics.items():
            name = spec.metric or column
            try:
                _, entry = find_metric(name)
            except KeyError as unknown:
                raise ValueError(f"{name!r} is not a metric; {unknown.args[0]}") from None
            if spec.tolerance_mm is not None and "tolerance_mm" not in entry.parameters:
                raise ValueError(f"{column}: tolerance_mm has no meaning for {name}")
            entry.check_parameters(column, spec.parameters)
        return {
            column: spec.model_copy(update={"metric": spec.metric or column})
            for column, spec in metrics.items()
        }

    @model_validator(mode="after")
    def _names_agree(self) -> Challenge:
        faults: list[str] = []
        reads = TASK_RECORDS[self.task]
        for column, spec in self.metrics.items():
            entry = find_metric(spec.metric or column)[1]
            if entry.reads in TEAM_RECORDS and entry.reads not in self.files.team:
                faults.append(f"metrics.{column}: files.team has no pattern for {entry.reads}")
            if entry.reads not in (*reads, *TEAM_RECORDS):
                faults.append(f"metrics.{column}: {entry.name} cannot be computed in a {self.task} challenge")
        for name, region in self.regions.items():
            known = [*self.labels, *(["any"] if self.task == "uncertainty" else [])]
            faults += [
                f"regions.{name}: label {label!r} is not in labels ({', '.join(self.labels)})"
                for label in region.labels
                if label not in known
            ]
            if not region.labels and self.task in ("segmentation", "uncertainty"):
                faults.append(f"regions.{name}: no label is named")
            if self.task == "uncertainty" and f"uncertainty_{name}" not in self.files.prediction_parts:
                faults.append(f"regions.{name}: files.prediction_parts has no uncertainty_{name}")
            faults += [
                f"regions.{name}.join_by: {other!r} is not a region"
                for other in region.join_by
                if other not in self.regions
            ]
        faults += [
            f"ranking.regions: {name!r} is not one of {', '.join(self.regions)}"
            for name in self.ranking.regions
            if name not in self.regions
        ]
        for kind, names in self.ranking.metrics_by_key().items():
            for name in names:
                try:
                    self.facts(name)
                except KeyError as unknown:
                    faults.append(f"ranking.{kind}: {name!r} is not a metric; {unknown.args[0]}")
        faults += self._mixed_directions()
        if self.lesions.matching == "contact" and "reference" not in self.lesions.merge:
            dilations = [self.rules(name).dilation_voxels for name in self.regions]
            if any(dilations):
                faults.append("lesions: matching by contact with dilation needs merge: [reference]")
        if bool(self.regions) == (self.task == "registration"):
            faults.append("regions: a registration has none, every other task needs one")
        for task, roles in REFERENCE_ROLES.items():
            absent = [role for role in roles if role not in self.files.reference_parts]
            if self.task == task and absent:
                faults.append(f"files.reference_parts: a {task} challenge needs {', '.join(absent)}")
        if self.lesions.average_over == "large" and self.lesions.large_mm3 is None:
            faults.append("lesions.average_over: large needs large_mm3")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _mixed_directions(self) -> list[str]:
        """Aggregates of metrics of both directions have no common mean."""
        before = self.ranking.plan.steps[: self.ranking.plan.steps.index("combine")]
        known = [name for name in self.ranking.metrics if name in self.metrics]
        if before == ("aggregate",) and len({self.facts(name).smaller for name in known}) > 1:
            return [
                f"ranking.steps: {', '.join(known)} need a rank before combine, small is not good for all"
            ]
        return []

    def rules(self, region: str) -> LesionRules:
        """Lesion rules of one region, with its own values filled in."""
        own = self.regions[region].lesions.model_dump(exclude_none=True)
        return self.lesions.model_copy(update=own)

    def facts(self, metric: str) -> Facts:
        """Direction and bounds of a metric: of a column, of a registered name, or as the ranking states.

        KeyError with a suggestion for an unknown name.
        """
        direction = self.ranking.directions.get(metric)
        if direction is not None:
            return Facts(direction == "smaller", None, None)
        return score_facts(self.metrics[metric].metric if metric in self.metrics else metric)

    @property
    def scored_regions(self) -> list[str]:
        """Names of the regions that have score rows, in order; one without a name where there are none."""
        return [name for name, region in self.regions.items() if region.scored] or [""]

    @property
    def registration_rules(self) -> Registration:
        """How landmarks and fields are read; the defaults where the challenge states nothing."""
        return self.registration or Registration()

    @property
    def regions_by_file(self) -> bool:
        """Whether the names of files say which regions a case has (QUBIQ), so that not all need occur."""
        return any("region" in _compiled(pattern).groupindex for pattern in self.files.reference)

    @property
    def case_metrics(self) -> list[str]:
        """Metrics of a case, in order."""
        return [name for name, spec in self.metrics.items() if not _of_team(spec)]

    @property
    def team_metrics(self) -> list[str]:
        """Metrics that a team has once, such as its convergence score, in order."""
        return [name for name, spec in self.metrics.items() if _of_team(spec)]

    @cached_property
    def digest(self) -> str:
        """First 8 hex digits of the SHA-256 of everything that can move a case's score."""
        text = self.model_dump_json(
            exclude_none=True,  # so that an option that one task gains does not mark all results as others'
            exclude={"name", "version", "title", "source", "scorer", "differences", "ranking", "score_table"},
        )
        canonical = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]

    def __hash__(self) -> int:
        return hash(self.digest)


def _of_team(spec: MetricSpec) -> bool:
    return find_metric(spec.metric)[1].reads in TEAM_RECORDS


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A challenge and, where its cases follow several challenges' rules, those by cohort."""

    challenge: Challenge
    by_cohort: Mapping[str, Challenge]

    def rules_of(self, cohort: str) -> Challenge:
        """The challenge whose rules score a case of this cohort."""
        return self.by_cohort.get(cohort, self.challenge)

    @property
    def regions(self) -> list[str]:
        """Every region that a case can have, in order."""
        challenges = (self.challenge, *self.by_cohort.values())
        return list(dict.fromkeys(name for one in challenges for name in one.scored_regions))

    @property
    def metrics(self) -> list[str]:
        """Every metric column, in order."""
        challenges = (self.challenge, *self.by_cohort.values())
        return list(dict.fromkeys(name for one in challenges for name in one.metrics))

    @property
    def digest(self) -> str:
        """Digest of all rules that can move a score."""
        if not self.by_cohort:
            return self.challenge.digest
        text = self.challenge.digest + "".join(f"{k}:{v.digest};" for k, v in sorted(self.by_cohort.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:8]
