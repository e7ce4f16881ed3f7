"""The reader: equal to nibabel on sound files, one typed error on every other."""

from __future__ import annotations

import gzip
import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bratseval.errors import InputError
from bratseval.images import LabelImage, read_labels
from bratseval.nifti import Grid, Limits, geometry_problems, read_grid

SHAPE = (13, 11, 9)


def labels(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    volume = random.integers(0, 4, SHAPE)
    volume[:3] = 0
    volume[:, :, 7:] = 0
    return volume.astype(np.uint8)


def whole(image: LabelImage) -> np.ndarray:
    """The full volume rebuilt from the crop."""
    volume = np.zeros(image.grid.shape, np.uint8)
    window = tuple(slice(o, o + n) for o, n in zip(image.offset, image.labels.shape, strict=True))
    volume[window] = image.labels
    return volume


def read(path: Path, unknown: str = "refuse") -> LabelImage:
    return read_labels(path, (1, 2, 3), unknown)  # type: ignore[arg-type]


def code(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        read_labels(path, (1, 2, 3), "refuse", **options)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    assert problem.hint
    return problem.code


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_sound_files_are_read_as_nibabel_reads_them(
    tmp_path: Path, ending: str, order: str, dtype: str, kind: type
) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(order + dtype))
    image = kind(labels().astype(np.dtype(order + dtype)), AFFINE, header)
    path = tmp_path / f"a{ending}"
    nibabel.save(image, path)
    found = read(path)
    assert np.array_equal(whole(found), labels())
    assert found.offset == (3, 0, 0)
    assert found.labels.shape == (10, 11, 7)
    assert not found.notes


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_affine_and_spacing_are_nibabels(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * random.uniform(0.4, 3, 3)
    affine[:3, 3] = random.normal(size=3) * 50
    image = nibabel.Nifti1Image(labels(), affine)
    which = int(random.integers(3))
    image.set_sform(affine if which != 1 else None, code=int(which != 1))
    image.set_qform(affine if which != 0 else None, code=int(which != 0))
    nibabel.save(image, tmp_path / "a.nii")
    expected, found = nibabel.load(tmp_path / "a.nii"), read(tmp_path / "a.nii").grid
    assert np.allclose(found.affine, expected.affine, rtol=0, atol=1e-5)
    assert found.spacing_mm == tuple(float(zoom) for zoom in expected.header.get_zooms())


def test_without_sform_and_qform_the_affine_is_nibabels_default(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(labels(), None), tmp_path / "a.nii")
    grid = read_grid(tmp_path / "a.nii")
    assert not grid.has_affine
    assert np.allclose(grid.affine, nibabel.load(tmp_path / "a.nii").affine)


def test_scaling_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image((labels() + 5).astype(np.int16), AFFINE)
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    patch(path, 112, struct.pack("<2f", 1.0, -5.0))
    assert np.array_equal(whole(read(path)), labels())


@pytest.mark.parametrize("slope", [np.nan, np.inf])
def test_scaling_that_is_no_number_is_ignored_with_a_warning(tmp_path: Path, slope: float) -> None:
    path = save(tmp_path / "a.nii", labels())
    patch(path, 112, struct.pack("<2f", slope, 0.0))
    found = read(path)
    assert np.array_equal(whole(found), labels())
    assert [note.code for note in found.notes] == ["NII012"]


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    data = save(tmp_path / "a.nii", labels()).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(data[:500]) + gzip.compress(data[500:]) + bytes(64))
    found = read(path)
    assert np.array_equal(whole(found), labels())
    assert not found.notes  # zeros after the end marker are padding


def test_unknown_labels_become_background_and_are_counted(tmp_path: Path) -> None:
    volume = labels().astype(np.int32)
    volume[5, 5, 5], volume[6, 5, 5], volume[7, 5, 5] = -1, 256 + 2, 7
    found = read(save(tmp_path / "a.nii.gz", volume, dtype=np.int32), "background")
    assert found.unknown == {-1: 1, 258: 1, 7: 1}
    expected = labels()
    expected[5:8, 5, 5] = 0
    assert np.array_equal(whole(found), expected)


def test_an_empty_image(tmp_path: Path) -> None:
    found = read(save(tmp_path / "a.nii.gz", np.zeros(SHAPE)))
    assert found.labels.size == 0
    assert found.grid.shape == SHAPE


def test_two_dimensions_are_one_slice(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(labels()[:, :, 4], AFFINE), tmp_path / "a.nii.gz")
    assert np.array_equal(whole(read(tmp_path / "a.nii.gz"))[:, :, 0], labels()[:, :, 4])


def patch(path: Path, place: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[place : place + len(data)] = data
    path.write_bytes(bytes(content))


def patched(place: int, form: str, *values: float) -> Callable[[Path], object]:
    return lambda path: patch(path, place, struct.pack(form, *values))


def resized(change: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:change])


UNPACKED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "negative dimension": ("NII003", patched(40, "<4h", 3, -13, 11, 9)),
    "zero dimension": ("NII003", patched(40, "<4h", 3, 0, 11, 9)),
    "dim[0] = 0": ("NII003", patched(40, "<h", 0)),
    "dim[0] = 8": ("NII002", patched(0, "<i", 8)),
    "overflowing product": ("NII003", patched(40, "<4h", 3, 32767, 32767, 32767)),
    "more voxels than bytes": ("NII005", patched(40, "<4h", 3, 500, 500, 500)),
    "a fourth axis": ("NII006", patched(40, "<5h", 4, 13, 11, 3, 3)),
    "RGB": ("NII004", patched(70, "<h", 128)),
    "complex": ("NII004", patched(70, "<h", 32)),
    "bits": ("NII004", patched(70, "<h", 1)),
    "float128": ("NII004", patched(70, "<h", 1536)),
    "no datatype": ("NII004", patched(70, "<h", 0)),
    "vox_offset inf": ("NII003", patched(108, "<f", np.inf)),
    "vox_offset nan": ("NII003", patched(108, "<f", np.nan)),
    "vox_offset negative": ("NII003", patched(108, "<f", -352)),
    "vox_offset huge": ("NII003", patched(108, "<f", 1e30)),
    "vox_offset beyond the file": ("NII005", patched(108, "<f", 50000)),
    "pixdim nan": ("NII007", patched(80, "<f", np.nan)),
    "pixdim zero": ("NII007", patched(84, "<f", 0)),
    "pixdim huge": ("NII007", patched(88, "<f", 1e20)),
    "two-file magic": ("NII002", patched(344, "<4s", b"ni1\0")),
    "singular sform": ("NII008", patched(280, "<12f", *[0.0] * 12)),
    "sform nan": ("NII008", patched(280, "<f", np.nan)),
    "qform no rotation": ("NII008", patched(252, "<2h3f", 1, 0, 3, 3, 3)),
    "cut in the header": ("NII005", resized(300)),
    "cut in the voxels": ("NII005", resized(-1)),
    "three bytes": ("NII002", resized(3)),
    "no bytes": ("NII002", resized(0)),
}


@pytest.mark.parametrize("kind", UNPACKED)
@pytest.mark.parametrize("packed", [False, True])
def test_impossible_headers_are_refused(tmp_path: Path, kind: str, packed: bool) -> None:
    expected, damage = UNPACKED[kind]
    path = save(tmp_path / "a.nii", labels())
    damage(path)
    if packed:
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "a.nii.gz"
    assert code(path) in (expected, "NII003" if packed and expected == "NII005" else expected)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "cut at the end": lambda data: data[:-1],
    "cut before the trailer": lambda data: data[:-8],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "only the magic": lambda data: data[:2],
    "CRC": lambda data: data[:-8] + bytes([data[-8] ^ 1]) + data[-7:],
    "length": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "a bit of the payload": lambda data: data[:200] + bytes([data[200] ^ 4]) + data[201:],
    "a second member cut": lambda data: data + data[:40],
}


@pytest.mark.parametrize("kind", PACKED)
def test_damaged_compression_is_refused(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "a.nii.gz", labels())
    path.write_bytes(PACKED[kind](path.read_bytes()))
    assert code(path) == "NII005"


def test_a_terabyte_is_refused_from_the_header_at_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", labels())
    patch(path, 40, struct.pack("<4h", 3, 30000, 30000, 1000))
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    started = time.monotonic()
    assert {code(path), code(packed)} == {"NII003"}
    assert code(path, limits=Limits(max_voxels=2**62, max_bytes=2**62)) == "NII005"
    assert code(packed, limits=Limits(max_voxels=2**62, max_bytes=2**62)) == "NII005"
    assert time.monotonic() - started < 1


def test_an_image_that_goes_on_for_ever_is_not_read_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(save(tmp_path / "a.nii", labels()).read_bytes() + bytes(1 << 26)))
    assert code(path) == "NII009"


def test_special_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(save(tmp_path / "a.nii.gz", labels()))
    (tmp_path / "folder.nii.gz").mkdir()
    for name in ("fifo", "link", "folder", "absent"):
        assert code(tmp_path / f"{name}.nii.gz") == "NII001"


def test_values_that_are_no_labels(tmp_path: Path) -> None:
    volume = labels().astype(float)
    for value, expected in ((np.nan, "LBL003"), (np.inf, "LBL003"), (1.5, "LBL002"), (9, "LBL001")):
        volume[5, 5, 5] = value
        assert code(save(tmp_path / "a.nii.gz", volume, dtype=np.float64)) == expected
    random = np.random.default_rng(0).integers(1000, 30000, SHAPE)
    path = save(tmp_path / "b.nii.gz", random, dtype=np.int32)
    with pytest.raises(InputError, match="different values are not labels") as caught:
        read(path, "background")
    assert caught.value.problems[0].code == "LBL004"


def test_refusal_names_the_values_and_what_is_allowed(tmp_path: Path) -> None:
    volume = labels()
    volume[5, 5, 5:7] = 4
    with pytest.raises(InputError, match=r"label 4 \(2 voxels\) is not in \{0, 1, 2, 3\}"):
        read(save(tmp_path / "a.nii.gz", volume))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_give_an_image_or_a_typed_error(tmp_path: Path, data: st.DataObject) -> None:
    packed = data.draw(st.booleans())
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    content = bytearray(save(tmp_path / "sound.nii", labels()).read_bytes())
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6)):
        content[place] = byte
    result = bytes(content)
    if packed:
        result = gzip.compress(result, mtime=0)
        places = st.tuples(st.integers(0, len(result) - 1), st.integers(0, 255))
        for place, byte in data.draw(st.lists(places, max_size=3)):
            result = result[:place] + bytes([byte]) + result[place + 1 :]
    path.write_bytes(result[: data.draw(st.integers(0, len(result)))] if data.draw(st.booleans()) else result)
    try:
        found = read_labels(path, (1, 2, 3), data.draw(st.sampled_from(["background", "refuse"])))
    except InputError as error:
        explained = all(problem.message and problem.code for problem in error.problems)
    else:
        explained = set(np.unique(found.labels)) <= {0, 1, 2, 3}
    assert explained


def grid(affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = (240, 240, 155)) -> Grid:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Grid(shape, (float(spacing[0]), float(spacing[1]), float(spacing[2])), affine, True)


def moved(**changes: float) -> np.ndarray:
    affine = AFFINE.copy()
    for key, value in changes.items():
        affine[int(key[1]), int(key[2])] = value
    return affine


def rotated(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ AFFINE


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (AFFINE, []),
        (moved(a03=0.025), []),  # what honest rewriting of a header costs
        (moved(a03=0.06), ["GEO002"]),
        (moved(a03=-1.0), ["GEO002"]),
        (moved(a13=0.0), ["GEO002"]),
        (moved(a00=1.0), ["GEO002"]),
        (rotated(0.001), []),
        (rotated(0.1), ["GEO002"]),
        (moved(a22=1.5), ["GEO003"]),
    ],
)
def test_grids_are_compared_by_the_largest_corner_shift(affine: np.ndarray, expected: list[str]) -> None:
    assert [problem.code for problem in geometry_problems(grid(), grid(affine))] == expected


def test_an_absurd_affine_is_no_place() -> None:
    """Corners at infinity on both sides of zero: their distance is nan, which is not below the tolerance."""
    absurd = np.eye(4)
    absurd[0, :3] = 1e308, -1e308, 1e308
    assert [problem.code for problem in geometry_problems(grid(), replace(grid(), affine=absurd))] == [
        "GEO002"
    ]


def test_shape_and_lost_affine() -> None:
    assert [p.code for p in geometry_problems(grid(), grid(shape=(240, 240, 154)))] == ["GEO001"]
    lost = Grid((240, 240, 155), (1.0, 1.0, 1.0), AFFINE, False)
    assert [p.code for p in geometry_problems(grid(), lost)] == ["GEO004"]


def test_a_sheared_grid_is_allowed_when_it_is_the_references() -> None:
    sheared = grid(moved(a01=0.3))
    assert geometry_problems(sheared, sheared) == []


def test_sform_and_qform_that_differ_are_named(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(labels(), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(moved(a03=4.0), 1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    found = read(tmp_path / "a.nii.gz")
    assert [note.code for note in found.notes] == ["GEO005"]
    assert np.allclose(found.grid.affine, AFFINE)
