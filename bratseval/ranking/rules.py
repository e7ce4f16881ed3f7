"""The ranking block of a challenge: every choice that can move a place, as data.

A scheme is an order of small steps and their usual settings; `SCHEMES` is the whole list. To add
one, add a row: the steps themselves are in `bratseval.ranking.steps` and `significance`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bratseval.ranking.steps import Ties

Step = Literal["rank", "aggregate", "test", "combine"]
Statistic = Literal["mean", "median", "std"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Scheme:
    """A composition of steps.

    rank: teams are ranked within each case, or, after the cases are gone, in each column (a ranked
    region x metric). aggregate: over cases. test: share of the other teams that a team beats.
    combine: over columns. The team with the best result of the last step wins.

    missing_after: all counts every present team before the missing ones (pandas' "bottom", FeTS);
    largest_rank is challengeR's rule, which differs when the last present teams tie: the next rank after
    theirs.
    """

    steps: tuple[Step, ...]
    ties: Ties
    says: str
    combine: str = "mean"
    final_ties: Ties | None = "min"  # None: as `ties`
    per_institution: bool = False
    spread: bool = False
    count_wins: bool = False
    cohort_weight: float = 1.0
    missing_after: Literal["all", "largest_rank"] = "all"  # where the missing values of a case rank
    single_column_is_aggregate: bool = False
    test: Literal["permutation", "wilcoxon"] = "permutation"


_MEAN_FIRST = "aggregated over cases for every region and metric, ranked there, and the ranks joined"
_CASE_FIRST = "ranked for every case, region and metric; the ranks joined within the case, then over cases"
_TESTED = "in every region and metric a team scores with the teams that it beats significantly"

SCHEMES: dict[str, Scheme] = {
    "aggregate_then_rank": Scheme(
        ("aggregate", "rank", "combine"),
        "min",
        _MEAN_FIRST,
        final_ties=None,
        single_column_is_aggregate=True,
        test="wilcoxon",
    ),
    "rank_then_aggregate": Scheme(
        ("rank", "aggregate", "rank", "combine"),
        "min",
        "ranked for every case; the ranks aggregated over cases for every region and metric, ranked again "
        "there, and those ranks joined",
        final_ties=None,
        missing_after="largest_rank",
        single_column_is_aggregate=True,
        test="wilcoxon",
    ),
    "test_then_rank": Scheme(
        ("test", "rank", "combine"),
        "min",
        f"{_TESTED}: their share is ranked, and the ranks joined",
        final_ties=None,
        single_column_is_aggregate=True,
        test="wilcoxon",
    ),
    "brats": Scheme(("rank", "combine", "aggregate"), "average", _CASE_FIRST),
    "brats_mean": Scheme(("aggregate", "rank", "combine"), "average", _MEAN_FIRST),
    "fets_task1": Scheme(
        ("rank", "combine", "aggregate"),
        "average",
        f"{_CASE_FIRST}; a metric of the whole team (the convergence score) is ranked once, enters every "
        "case and weighs three times as much",
        cohort_weight=3.0,
    ),
    "fets_task2": Scheme(
        ("rank", "aggregate", "rank", "combine"),
        "min",
        "within each institution ranked for every case, the ranks aggregated over cases for every region and "
        "metric, ranked again and joined; then the mean over institutions, each weighing the same",
        per_institution=True,
        test="wilcoxon",
    ),
    "msd": Scheme(
        ("test", "rank", "combine"),
        "min",
        f"{_TESTED}: their number is ranked, and the ranks joined",
        count_wins=True,
        single_column_is_aggregate=True,
        test="wilcoxon",
    ),
    "lits": Scheme(
        ("aggregate", "rank", "combine"),
        "dense",
        _MEAN_FIRST,
        combine="sum",
        single_column_is_aggregate=True,
    ),
    "crossmoda": Scheme(("rank", "combine", "aggregate"), "average", _CASE_FIRST),
    "qubiq": Scheme(("aggregate", "rank", "combine"), "average", _MEAN_FIRST),
    "mean_and_spread": Scheme(
        ("aggregate", "rank", "combine"),
        "average",
        "aggregate and spread over cases of every region and metric are each ranked, and the ranks joined",
        spread=True,
    ),
}


class Model(BaseModel):
    """Frozen, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TieBreaker(Model):
    """What separates teams of equal score: a metric that need not be ranked itself."""

    metric: str
    statistic: Statistic = Field(
        "mean", description="Over all cases and ranked regions; of std the smaller is always better."
    )


class Ranking(Model):
    """How scores become places."""

    scheme: str = Field(
        "brats",
        description="Order of the steps. "
        + " ".join(f"{name}: teams are {scheme.says}." for name, scheme in SCHEMES.items()),
        json_schema_extra={"enum": list(SCHEMES)},
    )
    steps: list[Step] = Field(
        [],
        description="An order of steps of your own, of rank, aggregate or test, and combine; without rank "
        "before combine the aggregates themselves are joined (QUBIQ 2020), which needs one direction.",
    )
    metrics: list[str] = []
    regions: list[str] = Field([], description="Ranked regions; by default all scored ones.")
    directions: dict[str, Literal["smaller", "larger"]] = Field(
        {}, description="Which value is better, for a metric of another tool that bratseval does not know."
    )
    aggregate: str = Field(
        "mean", description="Over cases: mean, median, a quantile such as q25, sum or geometric_mean."
    )
    combine: Literal["mean", "sum", "median", "geometric_mean"] | None = Field(
        None, description="How ranks of several regions and metrics are joined; by default the scheme's."
    )
    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        {}, description="Weight of a metric where ranks are joined; 1 by default (fets_task1: 3 for a "
        "metric of the whole team).",
    )  # fmt: skip
    absolute: list[str] = Field([], description="Metrics ranked by their absolute value, smallest best.")
    ties: Ties | None = Field(None, description="Rank of equal values; by default the scheme's.")
    final_ties: Ties | None = Field(None, description="Place of equal scores; by default the scheme's.")
    missing: dict[str, Finite] | Literal["worst", "drop", "rank_zero"] = Field(
        "worst",
        description="What an empty score counts in the ranking: a number per metric, filled in before "
        "anything is ranked; worst: last within its case, and where values are aggregated the metric's "
        "worst value; drop: left out, with a warning that counts the cases (a team with nothing left in a "
        "region and metric is last there). rank_zero is the slip of the official FeTS task 1 code, where a "
        "missing score ranks before the best one.",
    )
    per: Literal["all", "institution"] | None = Field(
        None,
        description="institution: ranked within each institution first, then the mean over institutions.",
    )
    institutions: list[str] = Field(
        [],
        description="Institutions whose scores `rank` expects; one that sent none is an error (exit 4). "
        "Where ranking is per institution, those of --metadata are expected too.",
    )
    spread: Literal["variance", "std", "gini"] = Field(
        "variance", description="Spread over cases that mean_and_spread ranks, smallest best."
    )
    tie_breakers: list[str | TieBreaker] = Field(
        [], description="Metrics that separate equal scores, in this order; ranked nowhere else."
    )
    baselines: list[str] = Field([], description="Teams that are listed without a place and rank nobody.")
    test: Literal["permutation", "wilcoxon"] | None = Field(
        None,
        description="Test of significance.csv; by default permutation, and wilcoxon for the schemes of "
        "challengeR, MSD and FeTS task 2 when one region and metric is ranked.",
    )
    alpha: float = Field(0.05, gt=0, lt=1)
    adjust: Literal["none", "holm", "fdr"] | None = Field(
        None,
        description="Correction over all ordered pairs of teams. By default holm in significance.csv and "
        "none inside test_then_rank and msd.",
    )
    permutations: int = Field(100_000, ge=0, le=10_000_000, description="0 leaves the permutation test out.")
    permutation_ranks: Literal["all", "pair"] = Field(
        "all", description="Ranks that are swapped: among all teams, or among the two teams alone."
    )
    bootstrap: int = Field(1000, ge=0, le=1_000_000, description="Draws; 0 leaves stability.csv out.")
    bootstrap_within: Literal["all", "institution"] = Field(
        "all", description="institution: cases are drawn within each institution, whose number stays."
    )
    seed: int = Field(1, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _scheme_fills_in(cls, block: Any) -> Any:
        """What the block leaves open is the scheme's, so that a resolved configuration says it."""
        scheme = SCHEMES.get(str(block.get("scheme", "brats"))) if isinstance(block, dict) else None
        if scheme is None:
            return block
        ties = block.get("ties") or scheme.ties
        usual = {
            "ties": ties,
            "final_ties": scheme.final_ties or ties,
            "combine": scheme.combine,
            "per": "institution" if scheme.per_institution else "all",
        }
        return {**block, **{key: value for key, value in usual.items() if block.get(key) is None}}

    @field_validator("scheme")
    @classmethod
    def _known_scheme(cls, scheme: str) -> str:
        if scheme not in SCHEMES:
            raise ValueError(f"not one of {', '.join(SCHEMES)}")
        return scheme

    @field_validator("aggregate")
    @classmethod
    def _known_aggregate(cls, how: str) -> str:
        quantile = re.fullmatch(r"q(\d+(?:\.\d+)?)", how)
        if how in ("mean", "median", "sum", "geometric_mean") or (quantile and float(quantile[1]) <= 100):
            return how
        raise ValueError("expected mean, median, sum, geometric_mean or a quantile such as q25")

    @field_validator("steps")
    @classmethod
    def _steps_lead_to_a_score(cls, steps: list[Step]) -> list[Step]:
        once = steps.count("combine") == 1 == steps.count("aggregate") + steps.count("test")
        if steps and (not once or steps[0] == "combine" or "test" in steps[1:]):
            raise ValueError("expected rank, aggregate or test first, one of the last two once, combine once")
        return steps

    @property
    def plan(self) -> Scheme:
        """The scheme with what the block sets itself."""
        scheme = SCHEMES[self.scheme]
        return replace(
            scheme,
            steps=tuple(self.steps) or scheme.steps,
            ties=self.ties or scheme.ties,
            final_ties=self.final_ties,
            combine=self.combine or scheme.combine,
            per_institution=self.per == "institution",
            test=self.test or scheme.test,
        )

    @property
    def breakers(self) -> list[TieBreaker]:
        """Tie breakers, the short form unfolded."""
        return [TieBreaker(metric=one) if isinstance(one, str) else one for one in self.tie_breakers]

    def metrics_by_key(self) -> dict[str, list[str]]:
        """Every metric that the block names, by the key that names it."""
        return {
            "metrics": self.metrics,
            "weights": list(self.weights),
            "absolute": self.absolute,
            "missing": list(self.missing) if isinstance(self.missing, dict) else [],
            "tie_breakers": [breaker.metric for breaker in self.breakers],
        }


class WideColumn(Model):
    """What a column of a wide score table holds."""

    metric: str
    region: str = ""


class ScoreTable(Model):
    """How `rank` reads the score table of another tool; the defaults fit bratseval's and challengeR's."""

    team: str = Field("", description="Column of the team; by default team, algorithm, alg_name or method.")
    case: str = Field("", description="Column of the case; by default case, case_id, subject or image.")
    institution: str = Field("", description="Column of the institution; by default institution or site.")
    region: str = Field("", description="Column of the region in a long table; by default region or task.")
    metric: str = Field(
        "", description="Column of the metric in a long table; by default metric, else the one ranked metric."
    )
    value: str = Field("", description="Column of the value in a long table; by default value or score.")
    wide: dict[str, WideColumn] = Field(
        {}, description="Column -> metric and region of a wide table; columns named <metric>_<region> as in "
        "cases.csv need no entry.",
    )  # fmt: skip
