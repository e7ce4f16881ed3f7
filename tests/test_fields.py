"""Displacement fields: determinants of maps that are known, points that they move, and their files."""

from __future__ import annotations

import gzip
import struct
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import AFFINE
from hypothesis import given, settings
from hypothesis import strategies as st

from bratseval.errors import InputError
from bratseval.fields import FLIP, displacement_at, in_world, jacobian_determinant, to_world
from bratseval.volumes import read_field

SHAPE = (6, 5, 19)  # more planes than are computed at a time
INSIDE = (slice(1, -1), slice(1, -1), slice(1, -1))
FEW = settings(deadline=None, max_examples=40)


def rotation(seed: int) -> np.ndarray:
    """A random (3, 3) rotation."""
    basis, triangle = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    basis = basis * np.sign(np.diag(triangle))
    return basis * np.sign(np.linalg.det(basis))


def affine_of(axes: np.ndarray, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = origin
    return affine


def places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """World coordinates of every voxel, (x, y, z, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def linear_field(
    matrix: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int] = SHAPE, center: float = 3.0
) -> np.ndarray:
    """u(x) = (A - I)(x - center), the displacement of the map by the matrix A."""
    return (places(shape, affine) - center) @ (matrix - np.eye(3)).T


AFFINES = {
    "identity": np.eye(4),
    "anisotropic": affine_of(np.diag([0.5, 1.25, 3.0]), (7.0, -3.0, 2.0)),
    "flipped": affine_of(np.diag([-1.0, -1.0, 1.0]), (0.0, 239.0, 0.0)),
    "one axis flipped": affine_of(np.diag([1.0, -2.0, 1.0])),
    "axes exchanged": affine_of(np.array([[0, 0, 2.0], [0.5, 0, 0], [0, 1.0, 0]])),
    "rotated": affine_of(rotation(1) @ np.diag([0.5, 1.25, 3.0]), (5.0, 6.0, 7.0)),
    "rotated and mirrored": affine_of(rotation(2) @ np.diag([-0.8, 1.0, 2.0])),
    "sheared": affine_of(np.array([[1.0, 0.3, 0], [0, 1.0, 0.2], [0, 0, 1.5]])),
}
MATRICES = {
    "identity": (np.eye(3), 1.0),
    "scaling": (np.diag([1.1, 0.8, 1.5]), 1.1 * 0.8 * 1.5),
    "rotation": (rotation(3), 1.0),
    "mirror": (np.diag([-1.0, 1.0, 1.0]), -1.0),
    "collapse": (np.diag([0.0, 1.0, 1.0]), 0.0),
    "shear": (np.array([[1.0, 0.7, 0.2], [0, 1.0, -0.4], [0, 0, 1.0]]), 1.0),
    # Along the first row: 1.2 x (0.9 x 1.1 + 0.05 x 0.3) - 0.1 x (0.2 x 1.1 + 0.05 x 0.4).
    "full": (np.array([[1.2, 0.1, 0.0], [0.2, 0.9, -0.05], [0.4, 0.3, 1.1]]), 1.206 - 0.024),
}


@pytest.mark.parametrize("name", AFFINES)
def test_a_translation_keeps_volumes(name: str) -> None:
    field = np.broadcast_to([3.0, -40.0, 0.25], (*SHAPE, 3))
    assert np.array_equal(jacobian_determinant(field, AFFINES[name]), np.ones(SHAPE))


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_linear_map_has_the_determinant_of_its_matrix(matrix: str, name: str) -> None:
    linear, expected = MATRICES[matrix]
    found = jacobian_determinant(linear_field(linear, AFFINES[name]), AFFINES[name])
    assert found.shape == SHAPE
    assert found[INSIDE] == pytest.approx(expected, abs=1e-9)


def test_three_voxels_by_hand() -> None:
    """u = 0, 1, 4 mm at x = 0, 2, 4 mm; outside lies the last voxel again.

    Differences over 4 mm: 1 - 0, 4 - 0, 4 - 1.
    """
    field = np.zeros((3, 1, 1, 3))
    field[:, 0, 0, 0] = [0, 1, 4]
    found = jacobian_determinant(field, np.diag([2.0, 5.0, 7.0, 1.0]))
    assert found.ravel().tolist() == [1 + 1 / 4, 1 + 4 / 4, 1 + 3 / 4]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_border_has_half_the_slope_on_every_axis(axis: int) -> None:
    stretch = np.eye(3)
    stretch[axis, axis] = 1.5
    found = jacobian_determinant(linear_field(stretch, np.eye(4)), np.eye(4))
    found = np.moveaxis(found, axis, 0)
    assert found[1:-1] == pytest.approx(1.5)
    assert found[[0, -1]] == pytest.approx(1.25)


def test_a_corner_has_half_of_every_slope() -> None:
    found = jacobian_determinant(linear_field(np.diag([1.2, 1.4, 1.6]), np.eye(4)), np.eye(4))
    assert found[0, 0, 0] == pytest.approx(1.1 * 1.2 * 1.3)
    assert found[0, 2, -1] == pytest.approx(1.1 * 1.4 * 1.3)


def test_an_axis_of_one_voxel_has_no_slope() -> None:
    field = np.random.default_rng(4).standard_normal((5, 1, 1, 3))
    found = jacobian_determinant(field, np.eye(4)).ravel()
    # Only x has differences: det = 1 + du_x/dx.
    assert found[1:-1] == pytest.approx(1 + (field[2:, 0, 0, 0] - field[:-2, 0, 0, 0]) / 2)
    assert jacobian_determinant(field[:1], np.eye(4)).tolist() == [[[1.0]]]


def test_folding_is_seen() -> None:
    """Two voxels that exchange their places: x -> 3 - x in the middle of a line."""
    field = np.zeros((4, 1, 1, 3))
    field[1:3, 0, 0, 0] = [1, -1]
    # Differences: (1 - 0) / 2, (-1 - 0) / 2, (0 - 1) / 2, (0 + 1) / 2.
    assert jacobian_determinant(field, np.eye(4)).ravel().tolist() == [1.5, 0.5, 0.5, 1.5]
    field *= 3
    assert jacobian_determinant(field, np.eye(4)).ravel().tolist() == [2.5, -0.5, -0.5, 2.5]


def by_loop(field: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The same voxel by voxel, with numpy's determinant and a padded copy."""
    padded = np.pad(field, [(1, 1)] * 3 + [(0, 0)], mode="edge")
    found = np.empty(field.shape[:3])
    for x, y, z in product(*map(range, field.shape[:3])):
        here = np.array([x, y, z]) + 1
        slopes = np.empty((3, 3))
        for axis in range(3):
            step = np.eye(3, dtype=int)[axis]
            slopes[:, axis] = (padded[tuple(here + step)] - padded[tuple(here - step)]) / 2
        found[x, y, z] = np.linalg.det(np.eye(3) + slopes @ np.linalg.inv(affine[:3, :3]))
    return found


@pytest.mark.parametrize("name", AFFINES)
def test_random_fields_agree_with_a_plain_loop(name: str) -> None:
    field = np.random.default_rng(8).standard_normal((*SHAPE, 3))
    found = jacobian_determinant(field, AFFINES[name])
    assert found == pytest.approx(by_loop(field, AFFINES[name]), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.25, 3.0)])
def test_random_fields_agree_with_simpleitk(spacing: tuple[float, float, float]) -> None:
    itk = pytest.importorskip("SimpleITK")
    field = np.random.default_rng(9).standard_normal((*SHAPE, 3))
    image = itk.GetImageFromArray(field.transpose(2, 1, 0, 3), isVector=True)
    image.SetSpacing(spacing)
    expected = itk.GetArrayFromImage(itk.DisplacementFieldJacobianDeterminant(image)).transpose(2, 1, 0)
    found = jacobian_determinant(field, np.diag([*spacing, 1.0]))
    # ITK holds the spacing's weights in single precision.
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@FEW
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(AFFINES)))
def test_flipping_the_world_with_the_components_changes_nothing(seed: int, name: str) -> None:
    field = np.random.default_rng(seed).standard_normal((*SHAPE, 3))
    ras = AFFINES[name]
    lps = in_world(ras, "lps")
    flipped = to_world(field, ras, components="ras", unit="mm", world="lps")
    assert np.array_equal(flipped, field * [-1, -1, 1])
    expected = jacobian_determinant(field, ras)
    assert jacobian_determinant(flipped, lps) == pytest.approx(expected, abs=1e-9)


def test_flipping_only_one_of_them_changes_the_determinant() -> None:
    ras = AFFINES["anisotropic"]
    field = linear_field(np.diag([1.2, 0.9, 1.1]), ras)
    flipped = to_world(field, ras, components="ras", unit="mm", world="lps")
    right, wrong = 1.2 * 0.9 * 1.1, 0.8 * 1.1 * 1.1  # slopes of x and y with the other sign
    assert jacobian_determinant(field, ras)[INSIDE] == pytest.approx(right)
    assert jacobian_determinant(flipped, ras)[INSIDE] == pytest.approx(wrong)
    assert jacobian_determinant(field, in_world(ras, "lps"))[INSIDE] == pytest.approx(wrong)


@FEW
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2]))
def test_storing_an_axis_backwards_changes_only_the_order(seed: int, axis: int) -> None:
    """The same vectors at the same places, voxels counted from the other end."""
    field = np.random.default_rng(seed).standard_normal((*SHAPE, 3))
    affine = AFFINES["rotated"]
    backwards = affine.copy()
    backwards[:3, axis] *= -1
    backwards[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
    found = jacobian_determinant(np.flip(field, axis), backwards)
    assert np.flip(found, axis) == pytest.approx(jacobian_determinant(field, affine), abs=1e-9)


@FEW
@given(st.integers(0, 2**32 - 1))
def test_turning_the_world_changes_nothing(seed: int) -> None:
    """Vectors and places turned alike."""
    random = np.random.default_rng(seed)
    field, turn = random.standard_normal((*SHAPE, 3)), rotation(seed)
    affine = AFFINES["anisotropic"]
    turned = affine_of(turn @ affine[:3, :3])
    found = jacobian_determinant(field @ turn.T, turned)
    assert found == pytest.approx(jacobian_determinant(field, affine), abs=1e-9)


@pytest.mark.parametrize("world", ["lps", "ras"])
@pytest.mark.parametrize("name", AFFINES)
def test_a_step_of_voxels_is_that_many_millimeters_along_the_axes(name: str, world: str) -> None:
    affine = AFFINES[name]
    steps = np.random.default_rng(6).standard_normal((*SHAPE, 3))
    found = to_world(steps, affine, components="ras", unit="voxels", world=world)  # type: ignore[arg-type]
    # The step from a voxel, in world coordinates, is the difference of two places.
    origin = places(SHAPE, in_world(affine, world))  # type: ignore[arg-type]
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    ends = (index + steps) @ in_world(affine, world)[:3, :3].T + in_world(affine, world)[:3, 3]  # type: ignore[arg-type]
    assert found == pytest.approx(ends - origin, abs=1e-9)
    # In voxels the determinant is that of the steps by index, whatever the affine.
    expected = jacobian_determinant(steps, np.eye(4))
    assert jacobian_determinant(found, in_world(affine, world)) == pytest.approx(expected, abs=1e-9)  # type: ignore[arg-type]


def test_voxels_and_millimeters_by_hand() -> None:
    """Voxels of 2 x 3 x 4 mm, the first axis pointing left: a step of 1, 1, 1 is -2, 3, 4 mm in RAS."""
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    step = np.ones((1, 1, 1, 3))
    for world, expected in (("ras", [-2, 3, 4]), ("lps", [2, -3, 4])):
        moved = to_world(step, affine, components="ras", unit="voxels", world=world)  # type: ignore[arg-type]
        assert moved.ravel().tolist() == expected
    same = to_world(step, affine, components="lps", unit="mm", world="lps")
    assert same.ravel().tolist() == [1, 1, 1]


def test_flip_is_its_own_inverse() -> None:
    assert np.array_equal(FLIP @ FLIP, np.eye(4))
    assert in_world(AFFINE, "lps")[:3, 3].tolist() == [0, -239, 0]  # BraTS: index = Y + 239
    assert np.array_equal(in_world(AFFINE, "lps")[:3, :3], np.eye(3))


@FEW
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(AFFINES)))
def test_interpolation_is_exact_for_linear_fields(seed: int, name: str) -> None:
    random = np.random.default_rng(seed)
    affine, matrix = AFFINES[name], random.standard_normal((3, 3))
    index = random.uniform(0, 1, (20, 3)) * (np.array(SHAPE) - 1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    found = displacement_at(linear_field(matrix, affine), affine, points)
    assert found == pytest.approx((points - 3.0) @ (matrix - np.eye(3)).T, abs=1e-8)


def test_interpolation_at_voxels_and_between_them() -> None:
    field = np.random.default_rng(2).standard_normal((3, 3, 3, 3))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    points = np.array([[0.0, 0, 0], [4, 4, 4], [2, 4, 0], [1, 0, 0], [4, 3, 4]])
    found = displacement_at(field, affine, points)
    assert found[:3] == pytest.approx(np.array([field[0, 0, 0], field[2, 2, 2], field[1, 2, 0]]))
    assert found[3] == pytest.approx((field[0, 0, 0] + field[1, 0, 0]) / 2)
    assert found[4] == pytest.approx((field[2, 1, 2] + field[2, 2, 2]) / 2)


@pytest.mark.parametrize("name", AFFINES)
def test_outside_the_voxel_centers_a_field_is_unknown(name: str) -> None:
    affine = AFFINES[name]
    last = np.array(SHAPE) - 1.0
    index = np.array([[-0.01, 2, 2], [2, last[1] + 0.01, 2], [2, 2, last[2] + 1], [2, 2, 2], last])
    points = index @ affine[:3, :3].T + affine[:3, 3]
    found = displacement_at(np.ones((*SHAPE, 3)), affine, points)
    assert np.isnan(found).all(axis=1).tolist() == [True, True, True, False, False]
    assert found[3:] == pytest.approx(1.0)


def test_interpolation_on_an_axis_of_one_voxel_and_without_points() -> None:
    field = np.arange(6.0).reshape(2, 1, 1, 3)
    found = displacement_at(field, np.eye(4), np.array([[0.5, 0, 0], [0.5, 0.5, 0]]))
    assert found[0].tolist() == [1.5, 2.5, 3.5]
    assert np.isnan(found[1]).all()
    assert displacement_at(field, np.eye(4), np.zeros((0, 3))).shape == (0, 3)


# Fields from files.

VECTORS = np.random.default_rng(12).standard_normal((4, 5, 6, 3)).astype(np.float32)


def write(
    path: Path, data: np.ndarray, *, intent: int = 0, affine: np.ndarray = AFFINE, big_endian: bool = False
) -> Path:
    header = nibabel.Nifti1Header(endianness=">" if big_endian else "<")
    header.set_data_dtype(data.dtype.newbyteorder(">") if big_endian else data.dtype)
    image = nibabel.Nifti1Image(data, affine, header)
    image.header["intent_code"] = intent
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("name", ["field.nii", "field.nii.gz"])
@pytest.mark.parametrize(
    ("shape", "intent", "components"),
    [
        ((4, 5, 6, 3), 0, "ras"),
        ((4, 5, 6, 3), 1007, "lps"),
        ((4, 5, 6, 1, 3), 1007, "lps"),
        ((4, 5, 6, 1, 3), 0, "lps"),
        ((4, 5, 6, 1, 3), 1006, "lps"),  # "displacement vector" of some writers
    ],
)
def test_fields_that_are_read(
    shape: tuple[int, ...], intent: int, components: str, name: str, big_endian: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / name, VECTORS.reshape(shape), intent=intent, big_endian=big_endian)
    assert path.suffix == ".gz" or path.read_bytes()[:4] == struct.pack(">i" if big_endian else "<i", 348)
    volume, axes = read_field(path)
    assert np.array_equal(volume.values, VECTORS)
    assert np.array_equal(volume.grid.affine, AFFINE)
    assert axes == components
    assert not volume.notes


def test_what_simpleitk_writes_is_read_as_it_means_it(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(VECTORS.transpose(2, 1, 0, 3), isVector=True)
    image.SetOrigin((1.0, -239.0, 2.0))
    image.SetSpacing((1.0, 2.0, 3.0))
    itk.WriteImage(image, str(tmp_path / "field.nii.gz"))
    volume, axes = read_field(tmp_path / "field.nii.gz")
    assert axes == "lps"
    assert np.array_equal(volume.values, VECTORS)
    found = in_world(volume.grid.affine, "lps")
    assert found == pytest.approx(np.array([[1, 0, 0, 1], [0, 2, 0, -239], [0, 0, 3, 2], [0, 0, 0, 1]]))


def test_scaled_fields_are_unscaled(tmp_path: Path) -> None:
    """Whole numbers in steps of 0.25 mm, from -10 mm on."""
    path = write(tmp_path / "field.nii", np.arange(24, dtype=np.int16).reshape(2, 2, 2, 3))
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 0.25, -10.0)
    path.write_bytes(bytes(content))
    volume, _ = read_field(path)
    assert np.array_equal(volume.values, np.arange(24).reshape(2, 2, 2, 3) * 0.25 - 10)


def with_one(value: float) -> np.ndarray:
    vectors = VECTORS.copy()
    vectors[1, 2, 3, 1] = value
    return vectors


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (np.zeros((4, 5, 6, 4), np.float32), "NII006", "4 components"),
        (np.zeros((4, 5, 6, 2), np.float32), "NII006", "2 components"),
        (np.zeros((4, 5, 6, 1, 4), np.float32), "NII006", "4 components"),
        (np.zeros((4, 5, 6), np.float32), "NII006", "3-D"),
        (np.zeros((3, 5, 6), np.float32), "NII006", "3-D"),
        (np.zeros((3, 5), np.float32), "NII006", "2-D"),
        (np.zeros((4, 5, 6, 2, 3), np.float32), "NII006", "5-D (4, 5, 6, 2, 3)"),
        (np.zeros((4, 5, 6, 3, 3), np.float32), "NII006", "5-D"),
        (with_one(np.nan), "NII013", "NaN"),
        (with_one(np.inf), "NII013", "infinite"),
        (with_one(-np.inf), "NII013", "infinite"),
        (np.zeros((4, 5, 6, 3), np.complex64), "NII004", "not a plain number type"),
    ],
)
def test_fields_that_are_refused(data: np.ndarray, code: str, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "field.nii.gz", data)
    with pytest.raises(InputError) as caught:
        read_field(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.file) == (code, str(path))
    assert words in problem.message
    assert str(path) in problem.message
    assert problem.hint


@pytest.mark.parametrize("kept", [0, 3, 300, 348, 352, 1000, 352 + 4 * VECTORS.size - 1])
@pytest.mark.parametrize("name", ["field.nii", "field.nii.gz"])
def test_truncated_fields_are_refused(name: str, kept: int, tmp_path: Path) -> None:
    path = write(tmp_path / "whole.nii", VECTORS)
    cut = path.read_bytes()[:kept]
    assert len(cut) == kept
    broken = tmp_path / name
    broken.write_bytes(gzip.compress(cut) if name.endswith(".gz") else cut)
    with pytest.raises(InputError) as caught:
        read_field(broken)
    assert {problem.code for problem in caught.value.problems} <= {"NII002", "NII005"}
    assert str(broken) in str(caught.value)


def test_a_damaged_stream_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "field.nii.gz", VECTORS)
    whole = path.read_bytes()
    for broken in (whole[:-40], whole[:-4], whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"field\.nii\.gz"):
            read_field(path)
