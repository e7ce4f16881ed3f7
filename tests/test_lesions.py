"""Lesions on volumes small enough to check by eye."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import cube
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from bratseval.lesions import (
    Lesions,
    dilate,
    find_lesions,
    join_across_tissues,
    match_one_to_one,
    remove_small,
    tabulate,
    touching_pairs,
)

GRID = (20, 20, 20)


def lesions(
    mask: np.ndarray, *, dilation: int = 0, merge: bool = False, zone: bool = False, connectivity: int = 26
) -> Lesions:
    return find_lesions(
        mask.astype(bool),
        (0, 0, 0),
        GRID,
        connectivity=connectivity,
        dilation_voxels=dilation,
        merge=merge,
        zone=zone,
    )


def two_blocks(gap: int) -> np.ndarray:
    """Two blocks of 8 voxels with `gap` background voxels between them along x."""
    return cube(
        GRID,
        (slice(2, 4), slice(5, 7), slice(5, 7)),
        (slice(4 + gap, 6 + gap), slice(5, 7), slice(5, 7)),
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_dilate_is_scipys_18_neighbor_dilation(seed: int, iterations: int) -> None:
    mask = np.random.default_rng(seed).random((9, 8, 7)) < 0.02
    element = ndimage.generate_binary_structure(3, 2)
    expected = ndimage.binary_dilation(mask, element, iterations=iterations)
    assert np.array_equal(dilate(mask.astype(np.uint8), iterations), expected)


@pytest.mark.parametrize(
    ("dilation", "gap", "count"),
    # k steps on each side bridge a gap of 2k voxels: the dilated blocks then touch face to face.
    [(0, 1, 2), (1, 2, 1), (1, 3, 2), (3, 6, 1), (3, 7, 2)],
)
def test_lesions_whose_dilations_touch_are_one(dilation: int, gap: int, count: int) -> None:
    assert lesions(two_blocks(gap), dilation=dilation, merge=True).numbers.size == count


def test_connectivity() -> None:
    corner = cube(GRID, (slice(2, 4),) * 3, (slice(4, 6),) * 3)
    edge = cube(GRID, (slice(2, 4),) * 3, (slice(4, 6), slice(4, 6), slice(2, 4)))
    assert [lesions(corner, connectivity=c).numbers.size for c in (6, 18, 26)] == [2, 2, 1]
    assert [lesions(edge, connectivity=c).numbers.size for c in (6, 18, 26)] == [2, 1, 1]


def test_sizes_do_not_count_the_dilation() -> None:
    assert lesions(two_blocks(2), dilation=1, merge=True).sizes.tolist() == [0, 16]


def test_numbers_follow_the_raster_with_z_fastest() -> None:
    mask = cube(GRID, (slice(1, 2), slice(9, 10), slice(1, 2)), (slice(1, 2), slice(2, 3), slice(9, 10)))
    found = lesions(mask)
    at = np.argwhere(found.labels == 1)[0] + found.offset
    assert at.tolist() == [1, 2, 9]  # y = 2 comes before y = 9, whatever z is


def test_removed_lesions_leave_their_number_unused() -> None:
    mask = cube(GRID, (slice(1, 2),) * 3, (slice(5, 8),) * 3)
    kept = remove_small(lesions(mask), 1)
    assert kept.numbers.tolist() == [2]
    assert kept.sizes.tolist() == [0, 0, 27]


def test_zone_reaches_as_far_as_the_dilation() -> None:
    reference = lesions(cube(GRID, (slice(5, 7),) * 3), dilation=3, merge=True, zone=True)
    for x, reached in ((9, True), (10, False)):
        prediction = lesions(cube(GRID, (slice(x, x + 2), slice(5, 7), slice(5, 7))))
        table = tabulate(reference, prediction)
        assert bool(table.contact[1, 1]) is reached
        assert table.overlap[1, 1] == 0


def test_contingency_of_crops_at_different_places() -> None:
    reference = find_lesions(
        np.ones((4, 4, 4), bool), (3, 3, 3), GRID, connectivity=26, dilation_voxels=0, merge=False, zone=False
    )
    prediction = find_lesions(
        np.ones((4, 4, 4), bool), (5, 4, 3), GRID, connectivity=26, dilation_voxels=0, merge=False, zone=False
    )
    assert tabulate(reference, prediction).overlap[1, 1] == 2 * 3 * 4


def test_one_to_one_takes_the_pairs_of_largest_dice() -> None:
    reference = lesions(cube(GRID, (slice(2, 12), slice(5, 7), slice(5, 7))))
    fragments = lesions(
        cube(GRID, (slice(2, 5), slice(5, 7), slice(5, 7)), (slice(6, 12), slice(5, 7), slice(5, 7)))
    )
    matches = match_one_to_one(tabulate(reference, fragments), reference, fragments, 1e-6)
    assert matches[1].tolist() == [False, False, True]


def tissues() -> dict[str, Lesions]:
    """Two enhancing lesions that both touch one necrotic lesion; merged by dilation 0, so apart."""
    enhancing = cube(GRID, (slice(2, 4), slice(5, 7), slice(5, 7)), (slice(7, 9), slice(5, 7), slice(5, 7)))
    necrotic = cube(GRID, (slice(4, 7), slice(5, 7), slice(5, 7)))
    return {"ET": lesions(enhancing, dilation=1, zone=False), "NETC": lesions(necrotic)}


def test_touching_pairs() -> None:
    given_tissues = tissues()
    assert touching_pairs(given_tissues["ET"], given_tissues["NETC"]) == [(1, 1), (2, 1)]
    assert touching_pairs(given_tissues["NETC"], given_tissues["ET"]) == [(1, 1), (1, 2)]


def test_lesions_that_touch_the_same_partner_become_one() -> None:
    joined = join_across_tissues(tissues(), {"ET": ["NETC"]}, 2)
    assert joined["ET"].sizes.tolist() == [0, 16]


def test_a_single_touching_pair_joins_nothing() -> None:
    """One pair joins nothing either way: a lesion alone stays the same lesion."""
    pair = {
        "ET": lesions(cube(GRID, (slice(2, 4),) * 3)),
        "NETC": lesions(cube(GRID, (slice(4, 6), slice(2, 4), slice(2, 4)))),
    }
    for minimum in (1, 2):
        assert join_across_tissues(pair, {"ET": ["NETC"]}, minimum)["ET"].sizes.tolist() == [0, 8]


def test_an_empty_mask_has_no_lesions() -> None:
    nothing = lesions(np.zeros((0, 0, 0)), dilation=3, merge=True, zone=True)
    assert nothing.numbers.size == 0
    assert tabulate(nothing, nothing).overlap.shape == (1, 1)
