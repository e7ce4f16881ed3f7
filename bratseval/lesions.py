"""Masks to lesions: components, merging by dilation, joining across tissues, matching.

A lesion is a number in a label map. All arrays are crops (x, y, z) in C order with at least one
voxel of background on every side; ``offset`` places them on the grid of the case. Lesion numbers
follow the raster order of the official code (last axis fastest), because some editions' scores
depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np

Offset = tuple[int, int, int]

_ONE, _LAST = np.uint64(1), np.uint64(63)


@dataclass(frozen=True, slots=True)
class Lesions:
    """The lesions of one region on one side (reference or prediction).

    labels : (x, y, z) unsigned int; 0 is background. Numbers may have gaps: a lesion that was
        removed as too small leaves its number unused, as in the official code.
    offset : grid index of labels[0, 0, 0]; may be negative, since the margin may leave the grid.
    sizes : (highest number + 1,) voxels of each lesion; sizes[0] is 0.
    zone : like labels, or None; every lesion dilated, that is where its matches are sought.
    """

    labels: np.ndarray
    offset: Offset
    sizes: np.ndarray
    zone: np.ndarray | None

    @property
    def numbers(self) -> np.ndarray:
        """Numbers of the lesions that exist, ascending."""
        return np.flatnonzero(self.sizes)


def dilate(mask: np.ndarray, iterations: int) -> np.ndarray:
    """Dilate a uint8 0/1 mask by the 18-neighbor element, `iterations` times, in voxels.

    The element (a 3x3x3 cube without its corners) is the union of three squares, hence a few
    shifted ORs, of 64 voxels at a time. The result has the shape of the mask; nothing enters from
    outside it.
    """
    if not iterations or not mask.size:
        return mask
    words = _pack(mask)
    for _ in range(iterations):
        along_x, along_y = _dilate_axis(words, 0), _dilate_axis(words, 1)
        words = _dilate_axis(along_x, 1) | _dilate_along_words(along_x | along_y)
    return _unpack(words, mask.shape[2])


def _pack(mask: np.ndarray) -> np.ndarray:
    """Masks to words: voxel z of a line is bit z % 64 of word z // 64; unused bits are 0."""
    lines = np.packbits(mask, axis=2, bitorder="little")
    words = np.zeros((*lines.shape[:2], -(-lines.shape[2] // 8)), "<u8")
    words.view(np.uint8)[:, :, : lines.shape[2]] = lines
    return words


def _unpack(words: np.ndarray, depth: int) -> np.ndarray:
    """Words to a uint8 0/1 mask with this many voxels along z."""
    return np.unpackbits(words.view(np.uint8), axis=2, count=depth, bitorder="little")


def _dilate_axis(words: np.ndarray, axis: int) -> np.ndarray:
    grown = words.copy()
    low, high = [slice(None)] * 3, [slice(None)] * 3
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    grown[tuple(high)] |= words[tuple(low)]
    grown[tuple(low)] |= words[tuple(high)]
    return grown


def _dilate_along_words(words: np.ndarray) -> np.ndarray:
    """The same along z. What grows past the last voxel could only come back to where a line already is."""
    grown = words | (words << _ONE) | (words >> _ONE)
    flat, per_line = words.ravel(), words.shape[2]
    if per_line > 1:
        for part, carry in ((slice(1, None), flat[:-1] >> _LAST), (slice(None, -1), flat[1:] << _LAST)):
            carry[per_line - 1 :: per_line] = 0  # not from one line to the next
            grown.ravel()[part] |= carry
    return grown


def find_lesions(
    mask: np.ndarray,
    offset: Offset,
    grid_shape: tuple[int, int, int],
    *,
    connectivity: int,
    dilation_voxels: int,
    merge: bool,
    zone: bool,
) -> Lesions:
    """Label the lesions of a bool mask (a crop of the grid at ``offset``).

    With ``merge``, lesions whose dilations touch are one: a voxel takes the number of the
    component of the dilated mask that holds it, so each zone is exactly one such component.
    """
    margin = dilation_voxels + 1 if merge or zone else 1
    padded = np.zeros([extent + 2 * margin for extent in mask.shape], np.uint8)
    padded[tuple(slice(margin, margin + extent) for extent in mask.shape)] = mask
    del mask
    corner = (offset[0] - margin, offset[1] - margin, offset[2] - margin)
    dilated_labels = None
    if (merge or zone) and dilation_voxels:
        dilated = dilate(padded, dilation_voxels)
        _clear_outside(dilated, corner, grid_shape)
        dilated_labels = _components(dilated, connectivity)
    if merge and dilated_labels is not None:
        labels = dilated_labels * padded
    else:
        labels = _components(padded, connectivity)
    sizes = np.bincount(labels.ravel()[np.flatnonzero(padded.view(bool))], minlength=1)
    zones = (labels if dilated_labels is None else dilated_labels) if zone else None
    return Lesions(labels, corner, sizes, zones)


def _components(mask: np.ndarray, connectivity: int) -> np.ndarray:
    """Label the components of a uint8 0/1 mask, numbered in raster order, in the smallest type."""
    labels, count = cc3d.connected_components(  # type: ignore[call-overload]
        mask, connectivity=connectivity, binary_image=True, return_N=True
    )
    return labels.astype(np.min_scalar_type(count), copy=False)


def _clear_outside(mask: np.ndarray, corner: Offset, grid_shape: tuple[int, int, int]) -> None:
    """Zero what lies outside the grid: it would change the raster order of the numbers."""
    for axis in range(3):
        view = np.moveaxis(mask, axis, 0)
        view[: max(0, -corner[axis])] = 0
        view[max(0, grid_shape[axis] - corner[axis]) :] = 0


def remove_small(lesions: Lesions, limit_voxels: float) -> Lesions:
    """Delete lesions of at most ``limit_voxels`` voxels; the others keep their numbers."""
    small = (lesions.sizes <= limit_voxels) & (lesions.sizes > 0)
    return renumber(lesions, np.where(small, 0, np.arange(lesions.sizes.size))) if small.any() else lesions


def renumber(lesions: Lesions, numbers: np.ndarray) -> Lesions:
    """Give lesion k the number ``numbers[k]`` (0 deletes it); equal numbers become one lesion."""
    if np.array_equal(numbers, np.arange(lesions.sizes.size)):
        return lesions
    table = numbers.astype(np.min_scalar_type(numbers.max()))

    def changed(labels: np.ndarray) -> np.ndarray:
        used = np.flatnonzero(labels > 0)
        new = np.zeros(labels.shape, table.dtype)
        new.ravel()[used] = table[labels.ravel()[used]]
        return new

    sizes = np.zeros(int(numbers.max()) + 1, np.int64)
    np.add.at(sizes, numbers, lesions.sizes)
    sizes[0] = 0
    zone = None if lesions.zone is None else changed(lesions.zone)
    return replace(lesions, labels=changed(lesions.labels), sizes=sizes, zone=zone)


def touching_pairs(first: Lesions, second: Lesions) -> list[tuple[int, int]]:
    """Pairs (lesion of first, lesion of second) that are 18-neighbors of each other, sorted."""
    voxels = np.flatnonzero(first.labels > 0)
    positions = np.stack(np.unravel_index(voxels, first.labels.shape), axis=1)
    positions += np.subtract(first.offset, second.offset)
    inside = np.all((positions >= 1) & (positions < np.array(second.labels.shape) - 1), axis=1)
    numbers = first.labels.ravel()[voxels[inside]].astype(np.int64)
    strides = np.array(second.labels.strides) // second.labels.itemsize
    keys = positions[inside] @ strides
    flat = second.labels.ravel()
    pairs: set[tuple[int, int]] = set()
    for step in np.argwhere(np.ones((3, 3, 3), bool)) - 1:
        if 0 < np.abs(step).sum() < 3:
            neighbors = flat[keys + step @ strides]
            met = np.flatnonzero(neighbors)
            codes = np.unique(numbers[met] * second.sizes.size + neighbors[met])
            pairs |= {(int(code // second.sizes.size), int(code % second.sizes.size)) for code in codes}
    return sorted(pairs)


def join_across_tissues(
    tissues: Mapping[str, Lesions], partners: Mapping[str, Sequence[str]], minimum_pairs: int
) -> dict[str, Lesions]:
    """Join lesions of one tissue that touch the same lesion of another (BraTS 2024 and 2025).

    For every tissue in ``partners`` and each partner in turn: lesions whose first (smallest)
    touching partner lesion is the same become one, under a new number after the existing ones.
    A partner counts only when there are at least ``minimum_pairs`` touching pairs (officially
    two, which looks like a slip). Partners are always the tissues as given. The joined tissues
    are renumbered 1..n.
    """
    joined = dict(tissues)
    for name, others in partners.items():
        current = tissues[name]
        for other in others:
            pairs = touching_pairs(current, tissues[other])
            if len(pairs) < minimum_pairs:
                continue
            numbers = np.arange(current.sizes.size)
            first_partner: dict[int, int] = {}
            new_number: dict[int, int] = {}
            highest = int(current.numbers.max())
            for lesion, partner in pairs:
                new_number.setdefault(partner, highest + 1 + len(new_number))
                first_partner.setdefault(lesion, partner)
            for lesion, partner in first_partner.items():
                numbers[lesion] = new_number[partner]
            current = renumber(current, numbers)
        compact = np.zeros(current.sizes.size, np.int64)
        compact[current.numbers] = np.arange(1, current.numbers.size + 1)
        joined[name] = renumber(current, compact)
    return joined


@dataclass(frozen=True, slots=True)
class Contingency:
    """How the lesions of reference and prediction meet, in voxels.

    overlap : (reference numbers, prediction numbers) voxels shared by each pair of lesions.
    contact : same shape, bool; the predicted lesion has a voxel in the reference lesion's zone.
    """

    overlap: np.ndarray
    contact: np.ndarray


def tabulate(reference: Lesions, prediction: Lesions) -> Contingency:
    """One contingency table over the voxels that the two crops share."""
    shape = (reference.sizes.size, prediction.sizes.size)
    reference_window, prediction_window = shared_windows(reference, prediction)
    predicted = np.ascontiguousarray(prediction.labels[prediction_window])
    voxels = np.flatnonzero(predicted > 0)
    numbers = predicted.ravel()[voxels].astype(np.int64)

    def count(labels: np.ndarray) -> np.ndarray:
        met = np.ascontiguousarray(labels[reference_window]).ravel()[voxels].astype(np.int64)
        codes = met * shape[1] + numbers
        if shape[0] * shape[1] < 4_000_000:
            table = np.bincount(codes, minlength=shape[0] * shape[1]).reshape(shape)
        else:  # thousands of specks on both sides: count only the pairs that occur
            table = np.zeros(shape, np.int32)
            pairs, counts = np.unique(codes, return_counts=True)
            table.ravel()[pairs] = counts
        table[0] = 0
        return table

    overlap = count(reference.labels)
    contact = overlap if reference.zone is None else count(reference.zone)
    return Contingency(overlap, contact > 0)


def shared_windows(first: Lesions, second: Lesions) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the part of the grid that both crops cover, for each of the two crops."""
    windows: tuple[list[slice], list[slice]] = ([], [])
    for axis in range(3):
        start = max(first.offset[axis], second.offset[axis])
        stop = min(
            first.offset[axis] + first.labels.shape[axis], second.offset[axis] + second.labels.shape[axis]
        )
        for window, side in zip(windows, (first, second), strict=True):
            window.append(slice(start - side.offset[axis], max(start, stop) - side.offset[axis]))
    return tuple(windows[0]), tuple(windows[1])


def match_by_contact(contingency: Contingency) -> np.ndarray:
    """Many-to-many matches: a predicted lesion belongs to every reference lesion it reaches."""
    return contingency.contact


def match_one_to_one(
    contingency: Contingency, reference: Lesions, prediction: Lesions, minimum_dice: float
) -> np.ndarray:
    """One-to-one matches that maximize the summed Dice, (reference, prediction) bool.

    panoptica's MaxBipartiteMatching: cost 1 - Dice for pairs with Dice of at least
    ``minimum_dice``, a little over 1 otherwise; pairs of cost below 1 are matches. Where several
    assignments are equally good, the order of the lesions decides: there, raster order with x fastest,
    since panoptica reads the axes reversed (z, y, x).
    """
    from scipy.optimize import linear_sum_assignment

    matches = np.zeros(contingency.overlap.shape, bool)
    rows, columns = _x_fastest(reference), _x_fastest(prediction)
    if not rows.size or not columns.size:
        return matches
    totals = reference.sizes[rows][:, None] + prediction.sizes[columns][None, :]
    dice = 2.0 * contingency.overlap[np.ix_(rows, columns)] / totals
    cost = np.where(dice >= minimum_dice, 1.0 - dice, 1.0 + minimum_dice)
    row, column = linear_sum_assignment(cost)
    chosen = cost[row, column] < 1.0
    matches[rows[row[chosen]], columns[column[chosen]]] = True
    return matches


def _x_fastest(lesions: Lesions) -> np.ndarray:
    """Numbers of the lesions in the order of their first voxels, x running fastest."""
    if lesions.numbers.size < 2:
        return lesions.numbers
    nx, ny, _ = lesions.labels.shape
    voxels = np.flatnonzero(lesions.labels > 0)  # much faster on bool than on numbers
    x, y, z = np.unravel_index(voxels, lesions.labels.shape)
    first = np.full(lesions.sizes.size, lesions.labels.size)
    np.minimum.at(first, lesions.labels.ravel()[voxels], (z * ny + y) * nx + x)
    return lesions.numbers[np.argsort(first[lesions.numbers])]
