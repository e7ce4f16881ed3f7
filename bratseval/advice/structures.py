"""What the references look like: structures that are small, of many sizes, or several in a case."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from bratseval.advice.columns import COUNTS, Column, are, columns_of, ranked
from bratseval.advice.findings import Findings
from bratseval.advice.literature import PITFALLS, RELOADED, Advice
from bratseval.challenge import Challenge

# From where on sizes are worth a sentence; the papers give no numbers, these are ours.
SMALL_VOXELS = 100  # a ball 6 voxels wide, of which half a voxel all around is a Dice of 0.72
WIDE_SPREAD = 50.0  # of volumes, 90th to 10th percentile
FEWEST_FOR_SPREAD = 5
SPECK_VOXELS = 10  # components below are taken for noise of the annotation, not for lesions
MANY_LESIONS = 0.25  # share of cases with several lesions


def small_structures(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Structures so small that their metrics jump with every voxel."""
    columns, detected = ranked(challenge, *COUNTS, "distances"), ranked(challenge, "detection")
    what = "lesions" if _by_lesion(columns) else "references that are not empty"
    for region, volumes in _volumes(challenge, findings, columns):
        median = float(np.median(volumes))
        if median >= SMALL_VOXELS:
            continue
        reason = (
            f"the {len(volumes)} {what} have a median of {median:.0f} voxels, so that scores jump with every "
            "voxel: half a voxel off all around leaves a ball of that size a Dice of "
            f"{dice_half_a_voxel_off(median):.2f}"
        )
        change = "report by size" + ("" if detected else ", and rank detection as well (lesion_f1)")
        source = f"{PITFALLS}, P2.2 (small structures)"
        yield Advice("small-structures", f"region {region}", reason, source, change)


def dice_half_a_voxel_off(voxels: float) -> float:
    """Dice of a ball of this volume with one whose radius is half a voxel smaller."""
    radius = (3 * voxels / (4 * math.pi)) ** (1 / 3)
    share = max(0.0, 1 - 0.5 / radius) ** 3
    return 2 * share / (1 + share)


def size_spread(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Sizes so different that one mean hides what happens to the small ones."""
    columns = ranked(challenge, *COUNTS, "distances", "detection")
    if any(column.level in ("large", "small") for column in columns_of(challenge)):
        return
    what = "lesions" if _by_lesion(columns) else "masks"
    for region, volumes in _volumes(challenge, findings, columns):
        low, high = (float(value) for value in np.percentile(volumes, [10, 90]))
        if len(volumes) < FEWEST_FOR_SPREAD or high < WIDE_SPREAD * low:
            continue
        reason = (
            f"its {len(volumes)} {what} have {low:.0f} to {high:.0f} voxels (10th to 90th percentile): one "
            "mean over them does not tell how small ones fare"
        )
        change = "report by size: large_lesion_* and small_lesion_* with lesions.large_mm3, or --metadata"
        source = f"{PITFALLS}, P2.2 (variability of size)"
        yield Advice("size-spread", f"region {region}", reason, source, change)


def _volumes(
    challenge: Challenge, findings: Findings, columns: list[Column]
) -> Iterator[tuple[str, list[int]]]:
    """Ranked regions with the voxels of what these metrics measure: lesions that enter means, or masks."""
    if not columns:
        return
    for region, cases in findings.ranked_lesions(challenge).items():
        if _by_lesion(columns):
            rules = challenge.rules(region) if region in challenge.regions else challenge.lesions
            large = rules.average_over == "large"
            limit = (rules.large_mm3 or 0.0) if large else rules.min_reference_mm3
            volumes = [
                size
                for case, sizes in cases.items()
                for size in sizes
                if size * math.prod(findings.spacings_mm[case]) > limit
            ]
        else:
            volumes = [sum(sizes) for sizes in cases.values() if sizes]
        if volumes:
            yield region, volumes


def _by_lesion(columns: list[Column]) -> bool:
    return any(column.level == "lesion" for column in columns)


def several_lesions(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Several lesions a case that only a metric of the whole image sees."""
    columns = ranked(challenge, *COUNTS, "distances", "detection")
    if not columns or any(column.level != "image" for column in columns):
        return
    for region, cases in findings.ranked_lesions(challenge).items():
        full = [sizes for sizes in cases.values() if sizes]
        several = [sizes for sizes in full if sum(size >= SPECK_VOXELS for size in sizes) > 1]
        if len(several) < 2 or len(several) < MANY_LESIONS * len(full):
            continue
        reason = (
            f"{len(several)} of {len(full)} cases have several lesions of {SPECK_VOXELS} voxels or more, but "
            f"{are(columns)} of whole images, where a large lesion outweighs small ones"
        )
        change = "rank a lesion-wise metric as well: lesion_f1 for detection, lesion_dice for segmentation"
        source = f"{RELOADED} (problem category: instances)"
        yield Advice("several-lesions", f"region {region}", reason, source, change)
