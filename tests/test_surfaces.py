"""Boundaries and distances against direct computation on whole volumes."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import cube
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bratseval.lesions import Lesions, find_lesions
from bratseval.metrics.surface import Distances, assd, hd95, hd100, nsd
from bratseval.surfaces import (
    find_boundary,
    image_distances,
    lesion_distances,
    measure,
    measure_far,
)
from bratseval.surfel_table import NORMALS, surfel_areas

GRID = (24, 20, 16)
SPACINGS = [(1.0, 1.0, 1.0), (0.5, 0.5, 1.0), (1.0, 1.0, 3.0), (0.859375, 0.859375, 1.5)]


def lesions(mask: np.ndarray) -> Lesions:
    return find_lesions(
        mask.astype(bool), (0, 0, 0), GRID, connectivity=26, dilation_voxels=0, merge=False, zone=False
    )


def distances(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], definition: str
) -> Distances:
    boundaries = [find_boundary(lesions(mask), definition) for mask in (reference, prediction)]
    between = measure_far(measure(*boundaries, spacing), *boundaries, spacing)
    return image_distances(*boundaries, between, spacing)


def directed_by_transform(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]
) -> np.ndarray:
    """Distances from border voxels to border voxels by a full distance transform."""
    cross = ndimage.generate_binary_structure(3, 1)
    border = [mask ^ ndimage.binary_erosion(mask, cross) for mask in (reference, prediction)]
    return ndimage.distance_transform_edt(~border[1], sampling=spacing)[border[0]]


def blobs(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return ndimage.gaussian_filter(random.random(GRID), 1.5) > 0.53


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SPACINGS))
def test_voxel_distances_are_those_of_a_distance_transform(seed: int, spacing: tuple[float, ...]) -> None:
    reference, prediction = blobs(seed), blobs(seed + 1)
    if not reference.any() or not prediction.any():
        return
    found = distances(reference, prediction, spacing, "voxel")
    expected = directed_by_transform(reference, prediction, spacing)
    assert np.allclose(np.sort(found.reference), np.sort(expected), rtol=0, atol=1e-12)
    expected = directed_by_transform(prediction, reference, spacing)
    assert np.allclose(np.sort(found.prediction), np.sort(expected), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SPACINGS))
def test_lesion_distances_are_those_of_the_lesion_alone(seed: int, spacing: tuple[float, ...]) -> None:
    """The shortcut through the whole image gives what each lesion gives when nothing else is there."""
    reference, prediction = lesions(blobs(seed)), lesions(blobs(seed + 1))
    matches = np.random.default_rng(seed).random((reference.sizes.size, prediction.sizes.size)) < 0.4
    matches[0], matches[:, 0] = False, False
    matches[:, prediction.sizes == 0] = False
    boundaries = (find_boundary(reference, "surfel"), find_boundary(prediction, "surfel"))
    if not len(boundaries[0].points) or not len(boundaries[1].points):
        return
    within = measure(*boundaries, spacing)
    between = measure_far(within, *boundaries, spacing)
    found = lesion_distances(*boundaries, between, matches, spacing)
    close = lesion_distances(*boundaries, within, matches, spacing, far=False)
    for number, record in found.items():
        alone = distances(
            _only(reference, [number]), _only(prediction, np.flatnonzero(matches[number])), spacing, "surfel"
        )
        assert hd95(record) == hd95(alone)
        assert hd95(close[number]) in (hd95(alone), np.inf)
        assert close[number].reach < np.inf
        assert np.isfinite(nsd(close[number], close[number].reach))
        assert nsd(close[number], close[number].reach) == pytest.approx(
            nsd(alone, close[number].reach), abs=1e-12
        )
        assert nsd(close[number], 1.01 * close[number].reach) == np.inf
        assert np.allclose(np.sort(record.prediction), np.sort(alone.prediction), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_near_distances_are_those_of_all_points_within_reach(spacing: tuple[float, ...]) -> None:
    """Also where a small mask ends far before the other: its box is no border."""
    large = cube(GRID, (slice(2, 21), slice(3, 18), slice(2, 13)))
    small = cube(GRID, (slice(8, 15), slice(6, 14), slice(5, 10)))
    for shift in ((0, 0, 0), (-5, 2, 1), (3, -2, -2), (6, 4, 3)):
        boundaries = [
            find_boundary(lesions(mask), "surfel") for mask in (large, np.roll(small, shift, (0, 1, 2)))
        ]
        within = measure(*boundaries, spacing)
        for known, full in zip(within, measure_far(within, *boundaries, spacing), strict=True):
            reached = full.distance <= 3 * min(spacing)
            assert reached.any()
            assert np.array_equal(known.distance[reached], full.distance[reached])
            assert np.isinf(known.distance[~reached]).all()


def _only(found: Lesions, numbers: object) -> np.ndarray:
    mask = np.zeros(GRID, bool)
    where = np.argwhere(np.isin(found.labels, numbers) & (found.labels > 0)) + found.offset
    mask[tuple(where.T)] = True
    return mask


def test_surfel_table_is_symmetric_and_complete() -> None:
    """A code and its complement describe the same surface; only full and empty have none."""
    areas = surfel_areas((1.0, 1.0, 1.0))
    assert np.allclose(areas, areas[::-1], atol=1e-12)
    assert np.flatnonzero(areas == 0).tolist() == [0, 255]
    assert NORMALS.shape == (256, 4, 3)


def test_area_of_a_flat_wall_is_exact() -> None:
    """Code 15 (four voxels on one side of x) is a unit square: 1 x 2 x 3 mm spacing gives 2 x 3 mm^2."""
    assert surfel_areas((1.0, 2.0, 3.0))[15] == pytest.approx(6.0)


def test_shift_of_a_block_by_two_voxels() -> None:
    reference = cube(GRID, (slice(5, 10), slice(5, 10), slice(5, 10)))
    found = distances(reference, np.roll(reference, 2, axis=0), (1.0, 1.0, 1.0), "surfel")
    assert hd95(found) == 2.0
    assert hd100(found) == 2.0
    assert hd95(distances(reference, np.roll(reference, 2, axis=0), (0.5, 1.0, 1.0), "surfel")) == 1.0


def test_one_voxel_moved_by_one() -> None:
    reference = cube(GRID, (slice(5, 6), slice(5, 6), slice(5, 6)))
    found = distances(reference, np.roll(reference, 1, axis=2), (1.0, 1.0, 3.0), "voxel")
    assert (hd95(found, "pooled"), assd(found), nsd(found, 3.0), nsd(found, 2.9)) == (3.0, 3.0, 1.0, 0.0)


def test_undefined_cases() -> None:
    block = cube(GRID, (slice(5, 6), slice(5, 6), slice(5, 6)))
    nothing = np.zeros(GRID)
    one_empty = distances(block, nothing, (1.0, 1.0, 1.0), "surfel")
    assert (hd95(one_empty), hd100(one_empty), assd(one_empty), nsd(one_empty)) == (
        np.inf,
        np.inf,
        np.inf,
        0.0,
    )
    both_empty = distances(nothing, nothing, (1.0, 1.0, 1.0), "voxel")
    assert np.isnan([hd95(both_empty), hd100(both_empty), assd(both_empty), nsd(both_empty)]).all()


def test_official_slip_numbered_surfels_fill_the_second_lesion() -> None:
    """Inside lesion 2 every corner has code 255 * 2 mod 256 = 254, not 255: it counts as boundary."""
    two = lesions(cube(GRID, (slice(2, 7),) * 3, (slice(10, 15), slice(2, 7), slice(2, 7))))
    plain, numbered = (find_boundary(two, name) for name in ("surfel", "numbered_surfel"))
    corners = 6**3 - 4**3  # of a 5-voxel cube: 6^3 corners, 4^3 of them inside
    assert np.bincount(plain.lesion).tolist() == [0, corners, corners]
    inside = np.bincount(numbered.lesion).tolist()
    assert inside[1] == corners
    assert inside[2] > corners


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1e3) | st.integers(0, 9).map(float), min_size=1, max_size=60),
    st.lists(st.floats(0, 1e3) | st.integers(0, 9).map(float), min_size=1, max_size=60),
)
def test_pooled_hd95_is_the_percentile_of_numpy(first: list[float], second: list[float]) -> None:
    found = hd95(Distances(np.array(first), np.array(second)), combine="pooled")
    assert found == np.percentile(np.array([*first, *second]), 95)


@pytest.mark.parametrize("seed", range(12))
def test_the_tail_gives_the_percentile_of_all_points(seed: int) -> None:
    """Of many points only the far ones are sorted: the same as summing all in the official order."""
    random = np.random.default_rng(seed)
    size = int(random.integers(1001, 5000))
    steps = np.sqrt(random.integers(0, 30, size))
    lengths = [
        steps,
        np.where(random.random(size) < 0.8, 0, steps),
        np.zeros(size),
        random.exponential(2, size),
    ]
    areas = [np.full(size, 0.25), random.choice([0.25, 0.5, 0.2165], size), random.random(size) + 0.1]
    for distance in lengths:
        for area in areas:
            order = np.lexsort((area, distance))
            cumulative = np.cumsum(area[order]) / np.sum(area[order])
            expected = distance[order][min(int(np.searchsorted(cumulative, 0.95)), size - 1)]
            assert hd95(Distances(distance, np.zeros(1), area, np.ones(1))) == expected
