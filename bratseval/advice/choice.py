"""Which metrics are ranked: a property that none of them sees, or that several count twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bratseval.advice.columns import COUNTS, MICRO, Column, are, columns_of, named, ranked
from bratseval.advice.findings import Findings
from bratseval.advice.literature import BOUNDARIES, IMBALANCE, IMPERFECT, PITFALLS, Advice
from bratseval.challenge import Challenge

# Metrics that answer one question, so that ranking two of them counts it twice -> why.
FAMILIES = {
    "dice iou thresholded_iou voe": "one is a function of the other",
    "hd95 hd100 assd rmsd": "all are distances between the same two boundaries",
    "nsd": "it is one metric at several tolerances",
    "volume_similarity relative_volume_difference rvd": "both compare the two volumes",
    "lesion_f1 panoptic_quality": "one contains the other",
    f"accuracy {MICRO}": "over all classes together each follows from the share of right labels",
    "auroc auroc_lower auroc_upper": "all describe the same ROC curve",
    "c_index c_index_lower c_index_upper": "all describe the same order of subjects",
    "pearson spearman kendall": "all are correlations",
    "mse rmse psnr psnr_eps psnr_01 psnr_01_eps": "in one image each follows from the other",
    "mee mean_euclidean_error max_euclidean_error mae_axis relative_tre": "all are errors of landmarks",
    "hit_rate hit_rate_auc hit_rate_by_spread hit_rate_by_spread_auc": "all count landmarks in a radius",
    "qu_score dice_auc ftp_ratio_auc ftn_ratio_auc": "the score is the mean of the others",
}


def overlap_only(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Overlap without a boundary metric."""
    overlap = ranked(challenge, *COUNTS)
    if not overlap or ranked(challenge, "distances"):
        return
    level = "lesion" if any(column.level == "lesion" for column in overlap) else "image"
    name = "lesion_nsd" if level == "lesion" else "nsd"
    computed = [column for column in columns_of(challenge) if column.entry.reads == "distances"]
    if fitting := [column for column in computed if column.level == level] or computed:
        name = max(fitting, key=_tolerance_mm).name
    reason = f"{are(overlap)} ranked without a boundary metric: nothing tells how far a boundary is off"
    change = f"if boundaries matter, rank a boundary metric as well, such as {name}"
    yield Advice("overlap-only", "ranking.metrics", reason, BOUNDARIES, change)


def _tolerance_mm(column: Column) -> float:
    """The stated tolerance; 0 for a metric without one, or one that adapts."""
    stated = column.spec.tolerance_mm
    return float(stated) if isinstance(stated, (int, float)) else 0.0


def boundary_only(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """A boundary metric without overlap."""
    distances = ranked(challenge, "distances")
    if distances and not ranked(challenge, *COUNTS, "detection"):
        reason = f"{are(distances)} ranked without an overlap metric: nothing tells how much was found"
        change = "rank an overlap metric as well, such as dice; boundary metrics are its complement"
        yield Advice("boundary-only", "ranking.metrics", reason, BOUNDARIES, change)


def hausdorff_maximum(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """The plain Hausdorff distance, which one voxel decides."""
    for name in [column.name for column in ranked(challenge) if column.entry.name == "hd100"]:
        reason = f"{name} is the largest distance, so that a single stray voxel of either side decides it"
        change = f"rank {name.replace('hd100', 'hd95')}, or nsd with a tolerance"
        yield Advice("hausdorff-maximum", f"metrics.{name}", reason, IMPERFECT, change)


def true_negatives(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Metrics of masks that the background decides."""
    decided = [one for one in ranked(challenge) if one.entry.name in ("specificity", "pixel_accuracy")]
    if decided:
        reason = f"{are(decided)} decided by true negatives, that is by the background: every team is near 1"
        change = "rank precision or dice, which leave the background out"
        yield Advice("true-negatives", "ranking.metrics", reason, IMBALANCE, change)


def counted_twice(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Several ranked metrics of one family, unless their weights make up for it."""
    for family, why in FAMILIES.items():
        by_level: dict[str, list[Column]] = defaultdict(list)
        for column in ranked(challenge):
            if column.kind in family.split():
                by_level[column.level].append(column)
        for same in by_level.values():
            if len(same) < 2 or sum(challenge.ranking.weights.get(column.name, 1.0) for column in same) <= 1:
                continue
            reason = f"{named(same)} count one property {len(same)} times in the ranking: {why}"
            change = "rank one of them, or give them ranking.weights that sum to 1, and report the others"
            source = f"{PITFALLS}, P3 (related metrics)"
            yield Advice("counted-twice", "ranking.metrics", reason, source, change)
