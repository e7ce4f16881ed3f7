"""The challenge model: everything an official scorer hard-codes, as data.

``bratseval challenges schema`` prints this model as JSON Schema; ``bratseval.config`` reads YAML
into it. Its blocks are in ``bratseval.blocks``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bratseval.blocks import (
    Cohorts,
    Expected,
    Files,
    Geometry,
    Label,
    LesionRules,
    MetricSpec,
    Penalty,
    Region,
    Registration,
    SubjectTable,
    Synthesis,
    Uncertainty,
)
from bratseval.errors import Faults
from bratseval.metrics.pooled import OF_LESIONS
from bratseval.metrics.registry import TABLE_RECORDS, TEAM_RECORDS, Facts, Metric, find_metric, score_facts
from bratseval.ranking.rules import Model, Ranking, ScoreTable

# By task: the records that its metrics may read, and the further reference files without which it cannot.
_OF_MASKS = ("overlap", "agreement", "distances", "detection")
TASK_RECORDS: dict[str, tuple[str, ...]] = {
    "segmentation": (*_OF_MASKS, "pooled"),
    "registration": ("landmarks", "jacobian"),
    "uncertainty": ("filtering",),
    "multi_rater": ("raters",),
    "synthesis": ("intensity", *_OF_MASKS),
    "table": TABLE_RECORDS,
}
REFERENCE_ROLES = {"registration": ("moving",), "uncertainty": ("brain",)}
# By task and key of `files`: the roles that are read. A log of training rounds may come with any task.
_ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "registration": {
        "prediction_parts": ("jacobian", "field", "inverse_field"),
        "reference_parts": ("moving", "image", "rater"),
    },
    "uncertainty": {"reference_parts": ("brain",)},
    "synthesis": {"prediction_parts": ("segmentation",), "reference_parts": ("mask", "void", "image")},
    "table": {"team": ("table", "subject")},
}
_OF_CLASSES = ("labels", "scores", "counts")
_OF_TABLE = {"time": ("times", "counts"), "rating": ("ratings", "counts")} | dict.fromkeys(
    ("label", "score", "probabilities"), _OF_CLASSES
)  # by what is submitted: the records that there are
# Tasks that have no regions, and those that may do without.
_WITHOUT_REGIONS, _PERHAPS_WITHOUT = ("registration", "table"), ("synthesis",)


class Challenge(Model):
    """One edition of a challenge."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: int = Field(1, ge=1, description="Raised on any change that can move a score.")
    title: str
    source: list[str] = Field(min_length=1, description="Where the rules are published.")
    scorer: str = Field(description="The code and its version that defined the official numbers.")
    differences: list[str] = Field([], description="Where bratseval deliberately departs from that code.")
    task: Literal["segmentation", "registration", "uncertainty", "multi_rater", "synthesis", "table"] = Field(
        "segmentation",
        description="What a case consists of. registration: landmarks and a displacement field; uncertainty: "
        "masks with an uncertainty map per region; multi_rater: a probability map against several masks; "
        "synthesis: an image against the real one. table: a team hands in one table, a row a subject.",
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
    expected: Expected = Expected()
    registration: Registration | None = None
    uncertainty: Uncertainty | None = None
    synthesis: Synthesis | None = None
    table: SubjectTable | None = None
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
        faults = []
        for column, spec in metrics.items():
            name = spec.metric or column
            try:
                _, entry = find_metric(name)
                entry.check_parameters(column, spec.parameters)
            except KeyError as unknown:
                faults.append(f"{column}: {name!r} is not a metric; {unknown.args[0]}")
            except ValueError as wrong:
                faults.append(str(wrong))
            else:
                if spec.tolerance_mm is not None and "tolerance_mm" not in entry.parameters:
                    faults.append(f"{column}: tolerance_mm has no meaning for {name}")
        if faults:
            raise Faults(faults)
        return {
            column: spec.model_copy(update={"metric": spec.metric or column})
            for column, spec in metrics.items()
        }

    @model_validator(mode="after")
    def _names_agree(self) -> Challenge:
        faults = [
            *self._metric_faults(),
            *self._cost_faults(),
            *self._role_faults(),
            *self._region_faults(),
            *self._ranking_faults(),
            *self._lesion_faults(),
            *self._task_faults(),
            *self._patterns_fit(),
            *self._synthesis_fits(),
        ]
        if faults:
            raise Faults(faults)
        return self

    def _metric_faults(self) -> list[str]:
        """Metrics read what the task has, in regions that exist."""
        faults: list[str] = []
        for column, spec in self.metrics.items():
            entry = find_metric(spec.metric)[1]
            role = "table" if entry.reads in TABLE_RECORDS else entry.reads
            if entry.reads in TEAM_RECORDS and role not in self.files.team:
                faults.append(f"metrics.{column}: files.team has no pattern for {role}")
            if entry.reads not in (*TASK_RECORDS[self.task], "rounds"):
                faults.append(f"metrics.{column}: {entry.name} cannot be computed in a {self.task} challenge")
            faults += [
                f"metrics.{column}: {name!r} is not one of the regions {', '.join(self.regions)}"
                for name in (*spec.regions, *spec.pooled, *([spec.within] if spec.within else []))
                if name not in self.regions
            ]
            faults += [f"metrics.{column}.{fault}" for fault in _pooling_faults(self.task, spec)]
        return faults

    def _cost_faults(self) -> list[str]:
        """What a failure costs is a value that the metric can have, and none that a failure could improve."""
        costs = [
            (f"metrics.{column}.{key}", column, one)
            for column, spec in self.metrics.items()
            for key, cost in (("penalty", spec.penalty), ("missing", spec.missing))
            for one in (cost if isinstance(cost, list) else [cost])
        ]
        if isinstance(self.ranking.missing, dict):
            costs += [(f"ranking.missing.{name}", name, cost) for name, cost in self.ranking.missing.items()]
        faults = [
            (place, _wrong_cost(cost, find_metric(self.metrics[column].metric)[1], self))
            for place, column, cost in costs
            if column in self.metrics and column not in (*self.ranking.absolute, *self.ranking.directions)
        ]
        return [f"{place}: {fault}" for place, fault in faults if fault]

    def _role_faults(self) -> list[str]:
        """The further files are ones that something reads."""
        known = _ROLES.get(self.task, {})
        if self.task == "uncertainty":
            known = {**known, "prediction_parts": tuple(f"uncertainty_{name}" for name in self.regions)}
        faults: list[str] = []
        for side in ("prediction_parts", "reference_parts", "team"):
            roles = (*known.get(side, ()), *(["rounds"] if side == "team" else []))
            for role in getattr(self.files, side):
                if role in roles or (self.task == "uncertainty" and role.startswith("uncertainty_")):
                    continue  # a region that is no longer scored may keep its file
                close = difflib.get_close_matches(role, roles, n=1)
                remedy = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(roles) or 'none'}"
                faults.append(f"files.{side}.{role}: nothing in a {self.task} challenge reads it; {remedy}")
        return faults

    def _region_faults(self) -> list[str]:
        """Regions name labels and regions that exist, and are there where the task has any."""
        faults: list[str] = []
        known = [*self.labels, *(["any"] if self.task in ("uncertainty", "synthesis") else [])]
        for name, region in self.regions.items():
            faults += [
                f"regions.{name}: label {label!r} is not in labels ({', '.join(self.labels)})"
                for label in (*region.labels, *(region.needs or []))
                if label not in known
            ]
            if not region.labels and self.task in ("segmentation", "uncertainty"):
                faults.append(f"regions.{name}: no label is named")
            if region.outside and self.task != "synthesis":
                faults.append(f"regions.{name}.outside: has no meaning in a {self.task} challenge")
            if self.task == "uncertainty" and f"uncertainty_{name}" not in self.files.prediction_parts:
                faults.append(f"regions.{name}: files.prediction_parts has no uncertainty_{name}")
            faults += [
                f"regions.{name}.join_by: {other!r} is not a region"
                for other in region.join_by
                if other not in self.regions
            ]
        if self.task not in _PERHAPS_WITHOUT and bool(self.regions) == (self.task in _WITHOUT_REGIONS):
            faults.append("regions: a registration has none, nor has a table; every other task needs one")
        return faults

    def _ranking_faults(self) -> list[str]:
        """What is ranked exists."""
        faults = [
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
        return faults + self._mixed_directions()

    def _lesion_faults(self) -> list[str]:
        faults: list[str] = []
        if self.lesions.matching == "contact" and "reference" not in self.lesions.merge:
            dilations = [self.rules(name).dilation_voxels for name in self.regions]
            if any(dilations):
                faults.append("lesions: matching by contact with dilation needs merge: [reference]")
        if self.lesions.average_over == "large" and self.lesions.large_mm3 is None:
            faults.append("lesions.average_over: large needs large_mm3")
        return faults

    def _task_faults(self) -> list[str]:
        """Blocks and files belong to the task."""
        faults = [
            f"{block}: has no meaning in a {self.task} challenge"
            for block in ("registration", "uncertainty", "synthesis", "table")
            if getattr(self, block) is not None and self.task != block
        ]
        for task, roles in REFERENCE_ROLES.items():
            absent = [role for role in roles if role not in self.files.reference_parts]
            if self.task == task and absent:
                faults.append(f"files.reference_parts: a {task} challenge needs {', '.join(absent)}")
        if self.expected.grid is not None and self.task == "multi_rater":
            faults.append("expected.grid: the tasks of a multi_rater case have grids of their own")
        return faults

    def _patterns_fit(self) -> list[str]:
        """Cases come from file names, but where a team hands in one table."""
        if self.task == "table":
            needed = [("table", self.table), ("files.team.table", self.files.team.get("table"))]
            return [f"{key}: a table challenge needs it" for key, found in needed if not found] + [
                f"metrics.{column}: not of what is submitted, a {self.table.submitted}"
                for column, spec in self.metrics.items()
                if self.table and find_metric(spec.metric)[1].reads not in _OF_TABLE[self.table.submitted]
            ]
        sides = {"prediction": self.files.prediction, "reference": self.files.reference}
        faults = [f"files.{side}: no pattern is stated" for side, patterns in sides.items() if not patterns]
        return faults + [
            f"files.reference: {pattern!r} has no group (?P<case>...) for the case id"
            for pattern in self.files.reference
            if "case" not in re.compile(pattern).groupindex
        ]

    def _synthesis_fits(self) -> list[str]:
        """A synthesis has the reference files of its scale, and masks only where a region has labels."""
        if self.task != "synthesis":
            return []
        parts = self.files.reference_parts
        needed = {"void": ("mask", "void"), "outside_mask": ("mask",), "each": ()}[self.synthesis_rules.scale]
        faults = [f"files.reference_parts: the scale needs {role}" for role in needed if role not in parts]
        masked = [name for name, region in self.regions.items() if region.of_labels]
        for name, region in self.regions.items():
            if region.labels and "image" not in parts:
                faults.append(f"regions.{name}: labels need an image in files.reference_parts")
        for column, spec in self.metrics.items():
            if find_metric(spec.metric)[1].reads in _OF_MASKS:
                if "segmentation" not in self.files.prediction_parts:
                    faults.append(f"metrics.{column}: files.prediction_parts has no segmentation")
                if others := [name for name in spec.regions or self.scored_regions if name not in masked]:
                    faults.append(f"metrics.{column}: {', '.join(others)} is no region of labels")
        return faults

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
    def synthesis_rules(self) -> Synthesis:
        """How images are brought to one scale; the defaults where the challenge states nothing."""
        return self.synthesis or Synthesis()

    @property
    def regions_by_file(self) -> bool:
        """Whether the names of files say which regions a case has (QUBIQ), so that not all need occur."""
        return any("region" in re.compile(pattern).groupindex for pattern in self.files.reference)

    @property
    def case_metrics(self) -> list[str]:
        """Metrics of a case, in order."""
        return [name for name, spec in self.metrics.items() if not _of_team(spec) and not _is_pooled(spec)]

    def metrics_of(self, region: str) -> list[str]:
        """Metrics that every case has in a region, in order."""
        return [
            name
            for name in self.case_metrics
            if region in (self.metrics[name].regions or [region]) and region not in self.metrics[name].pooled
        ]

    @property
    def pooled_metrics(self) -> list[tuple[str, str]]:
        """(region, metric) of every number that a team has once, over all its cases."""
        return [
            (region, name)
            for region in self.scored_regions
            for name, spec in self.metrics.items()
            if region in spec.pooled or (_is_pooled(spec) and region in (spec.regions or [region]))
        ]

    @property
    def needs_references(self) -> bool:
        """Whether nothing can be scored without references; a log of training rounds can."""
        return self.task == "table" or not self.team_metrics

    @property
    def team_metrics(self) -> list[str]:
        """Metrics that a team has once, such as its convergence score, in order."""
        return [name for name, spec in self.metrics.items() if _of_team(spec)]

    @cached_property
    def digest(self) -> str:
        """First 8 hex digits of the SHA-256 of everything that can move a case's score."""
        text = self.model_dump_json(
            exclude_none=True,  # so that an option that one task gains does not mark all results as others'
            exclude={
                *("name", "version", "title", "source", "scorer", "differences", "expected"),
                *("ranking", "score_table"),
            },
        )
        canonical = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:8]

    def __hash__(self) -> int:
        return hash(self.digest)


def _of_team(spec: MetricSpec) -> bool:
    return find_metric(spec.metric)[1].reads in TEAM_RECORDS


def _is_pooled(spec: MetricSpec) -> bool:
    return find_metric(spec.metric)[1].reads == "pooled"


def _wrong_cost(cost: Penalty | None, entry: Metric, challenge: Challenge) -> str:
    """Why a failure must not cost this: no such value exists, or the worst measured one is worse."""
    best, worst, table, grid = entry.best, entry.worst, challenge.table, challenge.expected.grid
    if best is None or worst is None or cost is None:
        return ""
    if entry.unit == "voxels" and grid is not None and isinstance(cost, float):
        voxels = math.prod(grid.shape)  # all of which a field may fold
        return f"{cost:g} is less than the {voxels} voxels of expected.grid" if cost < voxels else ""
    if entry.name == "rating_mae" and table and table.low is not None and table.high is not None:
        largest = table.high - table.low
        small = isinstance(cost, float) and cost < largest
        return f"{cost:g} is less than the largest error of the scale, {largest:g}" if small else ""
    if entry.name.startswith("tumor_burden") or (entry.reads == "detection" and worst == math.inf):
        return ""  # the share of a prediction without a liver; and no lesions are found where nothing is
    low, high = sorted((best, worst))
    if cost == "grid_diagonal":
        if worst != math.inf:
            return f"grid_diagonal is no value from {low:g} to {high:g}"
        return "" if entry.unit == "mm" else f"grid_diagonal is a distance, and {entry.name} is none"
    if not low <= cost <= high:
        return f"{cost:g} is no value from {low:g} to {high:g}"
    if math.isinf(worst):  # no number is the worst
        return f"{cost:g} is the best value, and so no penalty" if cost == best else ""
    # The official SSIM of a missing image is 0; an image that is worse has to be made so on purpose, while a
    # correlation falls below 0 by chance.
    if cost == worst or (entry.reads == "intensity" and worst < 0 >= cost):
        return ""
    return f"{cost:g} is better than the worst value, {worst:g}, so that breaking a file could help"


def _pooling_faults(task: str, spec: MetricSpec) -> list[str]:
    """What a column asks for that no case could give."""
    entry = find_metric(spec.metric)[1]
    faults = []
    burden = entry.name.startswith("tumor_burden")
    if burden != bool(spec.within):
        faults.append("within: a tumor burden needs it, nothing else does")
    if burden and not isinstance(spec.penalty, float):
        faults.append("penalty: a tumor burden needs a number")
    if spec.pooled and entry.reads not in ("overlap", "distances") and entry.name not in OF_LESIONS:
        faults.append(f"pooled: {entry.name} is no metric of lesions that can be pooled")
    if spec.pooled and task != "segmentation":
        faults.append(f"pooled: has no meaning in a {task} challenge")
    return faults


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
    def uncomputed(self) -> list[str]:
        """Ranked metrics that no case or team has: only `rank` can rank them, from scores of elsewhere."""
        return sorted(set(self.challenge.ranking.metrics) - set(self.metrics))

    @property
    def digest(self) -> str:
        """Digest of all rules that can move a score."""
        if not self.by_cohort:
            return self.challenge.digest
        text = self.challenge.digest + "".join(f"{k}:{v.digest};" for k, v in sorted(self.by_cohort.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:8]
