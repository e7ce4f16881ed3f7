"""Images of numbers: values as nibabel reads them, bounds, and bytes that were damaged on the way."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bratseval.errors import InputError, Problem
from bratseval.volumes import Volume, read_field, read_volume

KINDS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]
ANY: Any = nibabel


def numbers(shape: tuple[int, ...], kind: str, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind[0] == "f":
        return (random.random(shape) * 100).astype(kind)
    return random.integers(0, 101, shape).astype(kind)


def write(
    path: Path, values: np.ndarray, scaling: tuple[float, float] | None = None, version: int = 1
) -> Path:
    """Write stored values in their own byte order, with scl_slope and scl_inter as given."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    kinds = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}
    header: Any = kinds[version](endianness=order)
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_sform(AFFINE, code=1)
    header.set_qform(AFFINE, code=1)
    header["magic"] = {1: b"n+1", 2: b"n+2\x00\r\n\x1a\n"}[version]
    header["vox_offset"] = start = {1: 352, 2: 544}[version]
    header["scl_slope"], header["scl_inter"] = scaling or (1, 0)
    content = header.binaryblock.ljust(start, b"\0") + values.tobytes(order="F")
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def refusal(path: Path, **options: Any) -> tuple[str, str]:
    """Code and message of the one problem that refuses a file, which names it."""
    with pytest.raises(InputError) as error:
        read_volume(path, **options)
    (problem,) = error.value.problems
    assert problem.severity == "error"
    assert problem.file == str(path)
    assert path.name in problem.message
    assert problem.hint
    return problem.code, problem.message


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_values_are_those_of_nibabel(tmp_path: Path, name: str, kind: str, order: str, version: int) -> None:
    path = write(tmp_path / name, numbers((5, 4, 3), order + kind), version=version)
    volume = read_volume(path)
    expected = ANY.load(path).get_fdata()
    assert volume.values.shape == volume.grid.shape == (5, 4, 3)
    assert np.array_equal(volume.values.astype(np.float64), expected)
    assert volume.values.dtype == np.dtype(order + kind)  # nothing is blown up to float64
    assert volume.values.flags.f_contiguous
    assert np.array_equal(volume.grid.affine, ANY.load(path).affine)
    assert volume.notes == ()


@pytest.mark.parametrize("scaling", [(0.5, 0.0), (1.0, -3.0), (0.1, 0.2), (-2.0, 100.0), (1 / 255, 0)])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", KINDS)
def test_scaled_values_are_those_of_nibabel(
    tmp_path: Path, kind: str, order: str, scaling: tuple[float, float]
) -> None:
    path = write(tmp_path / "a.nii", numbers((5, 4, 3), order + kind), scaling)
    values = read_volume(path).values
    assert values.dtype == np.float64
    assert np.array_equal(values, ANY.load(path).get_fdata())


@pytest.mark.parametrize(
    ("scaling", "code"),
    [((0.0, 5.0), ""), ((np.nan, 0.0), "NII012"), ((np.inf, 0.0), "NII012"), ((2.0, np.nan), "NII012")],
)
def test_a_scale_that_is_none_is_ignored(tmp_path: Path, scaling: tuple[float, float], code: str) -> None:
    stored = numbers((5, 4, 3), "i2")
    volume = read_volume(write(tmp_path / "a.nii", stored, scaling))
    assert np.array_equal(volume.values, stored)
    assert [note.code for note in volume.notes] == ([code] if code else [])


def test_many_slabs(tmp_path: Path) -> None:
    """Larger than the megabyte that is read at a time, with a last slab that is smaller."""
    stored = numbers((200, 150, 23), "f4")
    path = write(tmp_path / "a.nii.gz", stored)
    assert np.array_equal(read_volume(path).values, stored)
    mask = read_volume(path, convert=lambda values: values > 50)
    assert mask.values.dtype == bool
    assert np.array_equal(mask.values, stored > 50)


def test_a_slice_is_a_volume_of_one_plane(tmp_path: Path) -> None:
    for shape in ((6, 5), (6, 5, 1), (6, 5, 1, 1)):
        stored = numbers(shape, "f4")
        volume = read_volume(write(tmp_path / "a.nii", stored))
        assert volume.grid.shape == (6, 5, 1)
        assert np.array_equal(volume.values[:, :, 0], stored.reshape(6, 5))


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 3, 1, 2), (4, 3, 2, 1, 3)])
def test_more_than_one_volume_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    code, message = refusal(write(tmp_path / "a.nii", numbers(shape, "u1")))
    assert code == "NII006"
    assert str(shape) in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
def test_what_is_no_number_is_refused(tmp_path: Path, kind: str, value: float) -> None:
    stored = numbers((60, 70, 80), kind)
    stored[-1, -1, -1] = value  # in the last slab
    code, message = refusal(write(tmp_path / "a.nii", stored))
    assert code == "NII013"
    assert "NaN or infinite" in message


@pytest.mark.parametrize(
    ("value", "found"), [(100.5, "100.5"), (101.0, "101"), (-0.5, "-0.5"), (255.0, "255")]
)
def test_a_value_out_of_range_is_refused_and_told(tmp_path: Path, value: float, found: str) -> None:
    stored = numbers((5, 4, 3), "f4")
    stored[1, 1, 1] = value
    code, message = refusal(write(tmp_path / "a.nii", stored), low=0, high=100)
    assert code == "NII014"
    assert f"the value {found} lies outside 0 to 100" in message


def test_the_ends_of_the_range_are_inside(tmp_path: Path) -> None:
    stored = np.array([0, 100, 50, 1], "f4").reshape(2, 2, 1)
    assert np.array_equal(read_volume(write(tmp_path / "a.nii", stored), low=0, high=100).values, stored)
    scaled = write(tmp_path / "b.nii", np.array([0, 255], "u1").reshape(2, 1, 1), (1 / 255, 0))
    assert read_volume(scaled, low=-1e-6, high=1 + 1e-6).values.max() == pytest.approx(1, abs=1e-6)


def test_another_shape_is_refused_before_the_voxels_are_read(tmp_path: Path) -> None:
    reference = read_volume(save(tmp_path / "r.nii", numbers((5, 4, 3), "u1"))).grid
    path = write(tmp_path / "a.nii.gz", numbers((5, 4, 4), "u1"))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-60]))
    assert refusal(path)[0] == "NII005"  # were it read
    code, message = refusal(path, onto=reference)
    assert code == "GEO001"
    assert "(5, 4, 4)" in message
    assert "(5, 4, 3)" in message


def header_of(dim: tuple[int, ...], code: int = 16, bits: int = 32) -> bytearray:
    header = bytearray(nibabel.Nifti1Header(endianness="<").binaryblock.ljust(352, b"\0"))
    struct.pack_into("<8h", header, 40, *dim)
    struct.pack_into("<2h", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[344:348] = b"n+1\0"
    return header


@pytest.mark.parametrize(
    ("dim", "code"),
    [
        ((3, 32767, 32767, 32767, 1, 1, 1, 1), "NII003"),  # 140 terabytes
        ((3, 1290, 1290, 1290, 1, 1, 1, 1), "NII003"),  # 8 GB
        ((3, 800, 800, 800, 1, 1, 1, 1), "NII005"),  # within the limits, but not in so small a file
        ((3, 0, 4, 4, 1, 1, 1, 1), "NII003"),
        ((3, -5, 4, 4, 1, 1, 1, 1), "NII003"),
        ((0, 4, 4, 4, 1, 1, 1, 1), "NII003"),
        ((9, 4, 4, 4, 1, 1, 1, 1), "NII003"),
        ((7, 4, 4, 4, 32767, 32767, 32767, 32767), "NII006"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_impossible_size_is_refused_before_any_allocation(
    tmp_path: Path, dim: tuple[int, ...], code: str, packed: bool
) -> None:
    content = bytes(header_of(dim)) + bytes(1000)
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        assert refusal(path)[0] == code
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_nifti_2_header_may_claim_even_more(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", numbers((5, 4, 3), "f4"), version=2)
    content = bytearray(path.read_bytes())
    struct.pack_into("<4q", content, 16, 3, 2**40, 2**40, 2**40)
    path.write_bytes(content)
    assert refusal(path)[0] == "NII003"


@pytest.mark.parametrize("code", [1, 32, 128, 1536, 1792, 2304, 0, 77])
def test_other_kinds_of_numbers_are_refused(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(header_of((3, 4, 4, 4, 1, 1, 1, 1), code)) + bytes(5000))
    assert refusal(path)[0] == "NII004"


def test_extra_bytes_are_a_warning_up_to_a_limit(tmp_path: Path) -> None:
    stored = numbers((5, 4, 3), "f4")
    for name in ("a.nii", "a.nii.gz"):
        path = write(tmp_path / name, stored)
        content = path.read_bytes() if name == "a.nii" else gzip.decompress(path.read_bytes())
        for size, refused in ((7, False), (2 << 20, True)):
            longer = content + b"x" * size
            path.write_bytes(longer if name == "a.nii" else gzip.compress(longer))
            if refused:
                assert refusal(path)[0] == "NII009"
            else:
                volume = read_volume(path)
                assert [(note.severity, note.code) for note in volume.notes] == [("warning", "NII009")]
                assert np.array_equal(volume.values, stored)


def test_damage_of_the_compressed_stream(tmp_path: Path) -> None:
    stored = numbers((20, 20, 20), "f4")
    path = write(tmp_path / "a.nii.gz", stored)
    whole = path.read_bytes()
    for broken in (
        whole[:-1],
        whole[:-9],
        whole[: len(whole) // 2],
        whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],  # CRC
        whole[:-1] + bytes([whole[-1] ^ 1]),  # length
        gzip.compress(gzip.decompress(whole)[:-5]),
        gzip.compress(gzip.decompress(whole)[:300]),
    ):
        path.write_bytes(broken)
        assert refusal(path)[0] == "NII005"
    path.write_bytes(gzip.decompress(whole)[:-5])
    assert refusal(path)[0] == "NII005"


def test_two_gzip_members_are_one_stream(tmp_path: Path) -> None:
    stored = numbers((5, 4, 3), "f4")
    path = write(tmp_path / "a.nii.gz", stored)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))
    assert np.array_equal(read_volume(path).values, stored)


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b", b"hello", bytes(400), gzip.compress(b"", mtime=0), b"\x5c\x01\0\0"]
)
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    assert refusal(path)[0] in ("NII002", "NII005")


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.nii").mkdir()
    assert refusal(tmp_path / "folder.nii")[0] == "NII001"
    assert refusal(tmp_path / "absent.nii")[0] == "NII001"
    (tmp_path / "link.nii").symlink_to(write(tmp_path / "a.nii", numbers((5, 4, 3), "u1")))
    assert refusal(tmp_path / "link.nii")[0] == "NII001"


def test_numbers_that_scaling_makes_infinite_are_refused(tmp_path: Path) -> None:
    stored = np.full((2, 2, 1), 1e300, "f8")
    assert refusal(write(tmp_path / "a.nii", stored, (1e10, 0)))[0] == "NII013"


def test_numbers_that_only_32_bits_could_not_hold_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", np.full((2, 2, 1), 3e38, "f4"), (10.0, 0))
    assert np.array_equal(read_volume(path).values, ANY.load(path).get_fdata())


BASES = [
    ("f4", None, 1), ("i2", (0.5, 1.0), 1), ("f8", None, 2), (">f4", (2.0, 0.0), 1), ("u1", None, 2)
]  # fmt: skip


def field_alone(path: Path) -> Volume:
    return read_field(path)[0]


def attempt(read: Callable[[Path], Volume], path: Path) -> tuple[Volume | None, tuple[Problem, ...]]:
    try:
        volume = read(path)
    except InputError as error:
        return None, error.problems
    return volume, volume.notes


@settings(max_examples=500, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(BASES), st.booleans(), st.data())
def test_any_bytes_give_an_image_or_one_typed_error(
    tmp_path: Path, base: tuple[str, tuple[float, float] | None, int], packed: bool, data: st.DataObject
) -> None:
    kind, scaling, version = base
    path = write(tmp_path / "a.nii", numbers((4, 3, 3), kind), scaling, version)
    content = bytearray(path.read_bytes())
    inner = data.draw(st.booleans()) or not packed  # damage below or above the compression
    if packed and not inner:
        content = bytearray(gzip.compress(content))
    # Most of the meaning lies in the first bytes.
    scale = {1: st.integers(112, 119), 2: st.integers(176, 191)}[version]
    places = st.integers(0, min(len(content), 420) - 1) | st.integers(0, len(content) - 1) | scale
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(places)
        new = data.draw(st.binary(min_size=1, max_size=4))
        content[place : place + len(new)] = new
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    path = tmp_path / ("b.nii.gz" if packed else "b.nii")
    path.write_bytes(gzip.compress(content) if packed and inner else content)
    for read in (read_volume, partial(read_volume, low=0, high=100), field_alone):
        volume, problems = attempt(read, path)
        assert {problem.file for problem in problems} <= {str(path)}
        if volume is None:
            assert problems[0].severity == "error"
            continue
        assert volume.values.shape[:3] == volume.grid.shape
        assert np.isfinite(volume.values).all()
        assert np.isfinite(volume.grid.affine).all()
