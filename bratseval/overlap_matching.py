"""Matching by largest overlap (LiTS): lesions of both sides are joined, then pairs are kept by their IoU.

Everything is read off the contingency table, so no volume is visited again. Arrays of lesion numbers are
ascending; number 0 is background. Source: detect_lesions of PatrickChrist/lits-challenge-scoring 090307d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Union = Literal["official_slip", "right"]


@dataclass(frozen=True, slots=True)
class Group:
    """Reference lesions that count as one, and the predicted lesions joined to find them."""

    references: np.ndarray
    predictions: np.ndarray


def join_by_overlap(overlap: np.ndarray) -> list[Group]:
    """Groups of lesions, in the order of their first predicted lesion.

    overlap : (reference numbers, prediction numbers) voxels shared by each pair of lesions.

    A reference lesion joins the predicted lesion that shares most voxels with it, and those that join the
    same one are merged; then every predicted lesion goes to the (merged) reference lesion with which it
    shares most voxels, and those that go to the same one are merged. The smaller number wins a tie.
    """
    predictions = np.flatnonzero(overlap.any(axis=0))
    if not predictions.size:
        return []
    met = np.flatnonzero(overlap.any(axis=1))
    _, first, joined = np.unique(overlap[met].argmax(axis=1), return_index=True, return_inverse=True)
    leader = met[first][joined]  # of every met reference lesion: the smallest number that it is merged with
    merged = np.zeros_like(overlap)
    np.add.at(merged, leader, overlap[met])
    owner = merged[:, predictions].argmax(axis=0)
    owners, order = np.unique(owner, return_index=True)
    return [
        Group(met[leader == number], predictions[owner == number]) for number in owners[np.argsort(order)]
    ]


def detect(
    groups: list[Group],
    overlap: np.ndarray,
    reference_sizes: np.ndarray,
    prediction_sizes: np.ndarray,
    *,
    detection_iou: float,
    union: Union,
) -> tuple[list[Group], int]:
    """Groups whose IoU exceeds a limit, and how many lesions count as detected.

    reference_sizes, prediction_sizes : voxels of each lesion, by number; detection_iou : 0 to 1, itself too
    little.

    The count follows the official arithmetic: it starts with the number of groups, and a group that fails
    costs as many as it has reference lesions, so it may fall below 0. The union of official_slip looks for
    the group's predicted lesions under their own smallest number where the map already holds numbers of
    reference lesions: it joins to the group's reference lesions the predicted ones of whichever group,
    unless that one has failed before, has that number as its smallest reference lesion. right takes the
    group's own.
    """
    kept = {int(group.references[0]): group for group in groups}
    count = len(groups)
    for group in groups:
        references = group.references
        found = kept.get(int(group.predictions[0])) if union == "official_slip" else group
        voxels = int(reference_sizes[references].sum())
        if found is not None:
            voxels += int(prediction_sizes[found.predictions].sum())
            voxels -= int(overlap[np.ix_(references, found.predictions)].sum())
        if int(overlap[np.ix_(references, group.predictions)].sum()) / voxels <= detection_iou:
            del kept[int(references[0])]
            count -= references.size
    return list(kept.values()), count
