"""NIfTI files from strangers: the header judged before anything is allocated, the stream bounded.

The stream is read to its end marker in pieces of a megabyte, and CRC and length are checked. Broken
files give an InputError. What the voxels mean is the business of `images` (labels) and `volumes` (numbers).
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from bratseval import png
from bratseval.errors import InputError, Problem
from bratseval.files import OpenFile, open_file

fast_zlib: Any = zlib
with contextlib.suppress(ImportError):  # absent on some platforms: slower there, same bytes
    from isal import isal_zlib as fast_zlib

PIECE = 1 << 20
MOST_EXTRA = 1 << 20  # bytes after the image that are tolerated, with a warning
MOST_SCALE = 1e12  # and least, of what stored values are multiplied by
EXPANSION = 1100  # deflate cannot make more bytes out of one
_GZIP = b"\x1f\x8b"
_KINDS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a header may claim before the file is refused."""

    max_voxels: int = 2**31
    max_bytes: int = 2**34


@dataclass(frozen=True, slots=True)
class Grid:
    """Voxel grid of an image.

    shape : (x, y, z) voxels. spacing_mm : pixdim, as nibabel's get_zooms(). affine : (4, 4) float64,
    voxel to world in mm (RAS): sform, else qform, else nibabel's default. has_affine : False when
    the header carries neither sform nor qform.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: np.ndarray
    has_affine: bool


class Header(NamedTuple):
    """What a reader needs to know of a file; components: numbers in every voxel, 1 for a plain image."""

    grid: Grid
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    components: int = 1
    is_itk_vector: bool = False  # 5-D or intent 1007, whose components follow ITK's axes


def read_grid(path: Path, limits: Limits | None = None) -> Grid:
    """The grid of an image, from its header alone. Raises InputError."""
    with Source(path) as source:
        return read_header(source, limits or Limits()).grid


def read_header(source: Source, limits: Limits, *, vectors: bool = False) -> Header:
    """Parse and judge a NIfTI-1 or NIfTI-2 header of either byte order, and skip to the voxels.

    vectors: a field is expected, (x, y, z, n) or (x, y, z, 1, n), instead of a plain image.
    """
    data = source.read(4)
    kinds = ((order, size) for order in "<>" for size in (348, 540))
    order, size = next(((o, s) for o, s in kinds if data == struct.pack(f"{o}i", s)), ("", 0))
    if not size and source.path.name.lower().endswith(".png"):
        what = "is a JPEG, which blurs labels" if data.startswith(b"\xff\xd8\xff") else "is none"
        raise source.refusal("NII002", f"the file is named .png but {what}", "save a gray PNG of labels")
    if not size:
        raise source.refusal("NII002", "this is not a NIfTI file", "save as .nii.gz")
    data += source.read(size - 4)
    if len(data) != size:
        raise source.refusal("NII005", "the file ends within its header", "write the file again")

    def take(place: int, form: str) -> tuple[Any, ...]:
        return struct.unpack_from(order + form, data, place)

    if size == 348:
        dim, (kind,), pixdim = take(40, "8h"), take(70, "h"), take(76, "8f")
        (start, slope, intercept), codes = take(108, "3f"), take(252, "2h")
        quaternion, rows, magic = take(256, "6f"), take(280, "12f"), data[344:347]
    else:
        dim, (kind,), pixdim = take(16, "8q"), take(12, "h"), take(104, "8d")
        (start, slope, intercept), codes = take(168, "q2d"), take(344, "2i")
        quaternion, rows, magic = take(352, "6d"), take(400, "12d"), data[4:7]
    if magic not in (b"n+1", b"n+2"):
        message = f"the magic {magic!r} is not that of a single-file NIfTI"
        raise source.refusal("NII002", message, "save as .nii.gz")
    shape, components = _shape(source, dim, limits, vectors)
    if kind not in _KINDS:
        message = f"the data type {kind} is not a plain number type"
        raise source.refusal("NII004", message, "save plain numbers, such as uint8 or float32")
    dtype = np.dtype(order + _KINDS[kind])
    if not size <= start <= 1 << 24 or start != int(start):
        raise source.refusal("NII003", f"vox_offset is {start}, expected {size + 4}", "write the file again")
    claimed = dtype.itemsize * components * shape[0] * shape[1] * shape[2]
    if claimed > limits.max_bytes:
        message = f"the header claims {claimed} bytes, at most {limits.max_bytes} are read"
        raise source.refusal("NII003", message, "save plain numbers, such as uint8 or float32")
    source.expect(int(start) + claimed)
    slope, intercept = _scaling(source, slope, intercept)
    grid = _grid(source, shape, pixdim, codes, quaternion, rows, dim[0])
    source.read(int(start) - size)  # header extensions
    intent = take(68, "h") if size == 348 else take(504, "i")
    itk = dim[0] == 5 or intent == (1007,)
    return Header(grid, dtype, slope, intercept, components, itk)


def _shape(
    source: Source, dim: tuple[int, ...], limits: Limits, vectors: bool
) -> tuple[tuple[int, int, int], int]:
    """The three spatial extents and the number of components."""
    if not 1 <= dim[0] <= 7 or any(extent < 1 for extent in dim[1 : dim[0] + 1]):
        raise source.refusal("NII003", f"the dimensions {dim} are impossible", "write the file again")
    extents = [*dim[1 : dim[0] + 1], 1, 1][: max(3, dim[0])]
    components = 1
    if vectors:
        tail = [extent for extent in extents[3:] if extent != 1]
        if len(tail) != 1:
            message = f"the image is {dim[0]}-D {tuple(extents)}, expected one vector in every voxel"
            raise source.refusal("NII006", message, "save a field as (x, y, z, 3) or (x, y, z, 1, 3)")
        components, extents = tail[0], extents[:3]
    if any(extent != 1 for extent in extents[3:]):
        message = f"the image is {dim[0]}-D {tuple(extents)}, expected 3-D"
        raise source.refusal("NII006", message, "save one 3-D volume")
    if len(extents) > 3:
        source.note("note", "NII011", f"the {dim[0]}-D image with single trailing axes is read as 3-D")
    nx, ny, nz = extents[:3]
    if nx * ny * nz * components > limits.max_voxels:
        message = f"the header claims {nx * ny * nz} voxels, at most {limits.max_voxels} are read"
        raise source.refusal("NII003", message, "check the dimensions")
    return (nx, ny, nz), components


def _scaling(source: Source, slope: float, intercept: float) -> tuple[float, float]:
    if slope == 0:
        return 1.0, 0.0
    if not np.isfinite(slope) or not np.isfinite(intercept):
        source.note("warning", "NII012", f"scl_slope {slope} and scl_inter {intercept} are ignored")
        return 1.0, 0.0
    if not (1 / MOST_SCALE <= abs(slope) <= MOST_SCALE and abs(intercept) <= MOST_SCALE):
        message = f"scl_slope {slope:g} and scl_inter {intercept:g} are absurd"
        raise source.refusal("NII003", message, "write the file again, without a scaling")
    return float(slope), float(intercept)


def scaled(values: np.ndarray, header: Header) -> np.ndarray:
    """Stored values as the header scales them, in 64 bits; as they are where it does not."""
    if header.slope == 1.0 and header.intercept == 0.0:
        return values
    with np.errstate(over="ignore", invalid="ignore"):  # readers refuse what is not finite
        return values.astype(np.float64) * header.slope + header.intercept


def _grid(
    source: Source,
    shape: tuple[int, int, int],
    pixdim: tuple[float, ...],
    codes: tuple[int, ...],
    quaternion: tuple[float, ...],
    rows: tuple[float, ...],
    axes: int,
) -> Grid:
    """Spacing and affine, chosen as nibabel chooses; qform code, then sform code in ``codes``."""
    codes = tuple(code if code in range(6) else 0 for code in codes)  # others are none
    # Of axes that an image does not have, some writers leave 0.
    x_mm, y_mm, z_mm = (abs(float(pixdim[i])) or (0.0 if i <= axes else 1.0) for i in (1, 2, 3))
    spacing = (x_mm, y_mm, z_mm)
    if not all(1e-4 <= value <= 1e4 for value in spacing):
        raise source.refusal(
            "NII007", f"the voxel spacing {_text(spacing)} mm is impossible", "repair pixdim"
        )
    by_sform = np.vstack([np.array(rows, float).reshape(3, 4), [0, 0, 0, 1]]) if codes[1] > 0 else None
    by_qform = _qform(quaternion, spacing, pixdim[0]) if codes[0] > 0 else None
    if by_qform is None and codes[0] > 0:
        message = f"the qform quaternion {_text(quaternion[:3])} is no rotation"
        if by_sform is None:
            raise source.refusal("NII008", message, "repair qform")
        source.note("warning", "GEO005", f"{message}; sform counts")
    affine = by_qform if by_sform is None else by_sform
    if affine is None:
        scale = np.array([-spacing[0], *(spacing[i] if i < axes else 1.0 for i in (1, 2))])
        affine = np.diag([*scale, 1.0])
        affine[:3, 3] = -(np.array(shape) - 1) / 2 * scale
    with np.errstate(all="ignore"):  # nan fails the comparison too
        size = abs(np.linalg.det(affine[:3, :3]))
    if not np.isfinite(affine).all() or not size >= 1e-6 * spacing[0] * spacing[1] * spacing[2]:
        raise source.refusal("NII008", "the affine is singular or not finite", "repair sform and qform")
    if by_sform is not None and by_qform is not None:
        shift = corner_shift(shape, by_sform, by_qform)
        if not shift <= 0.05 * min(spacing):
            source.note("warning", "GEO005", f"sform and qform differ by {shift:.3g} mm; sform counts")
    affine.setflags(write=False)
    return Grid(shape, spacing, affine, max(codes) > 0)


def _qform(quaternion: tuple[float, ...], spacing: tuple[float, ...], factor: float) -> np.ndarray | None:
    """Affine of the quaternion (b, c, d) and offset (x, y, z), as the NIfTI standard defines it.

    None where the quaternion is no rotation.
    """
    b, c, d = quaternion[:3]
    rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-5:
        return None
    a = max(rest, 0.0) ** 0.5
    affine = np.eye(4)
    affine[:3, :3] = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    affine[:3, :3] *= [spacing[0], spacing[1], spacing[2] * (-1.0 if factor == -1 else 1.0)]
    affine[:3, 3] = quaternion[3:]
    return affine


def corner_shift(shape: tuple[int, int, int], first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance in mm between the places that two affines give to a corner voxel."""
    corners = np.array([[*corner, 1] for corner in product(*((0, extent - 1) for extent in shape))], float)
    with np.errstate(all="ignore"):  # an absurd affine is inf or nan mm off
        return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def geometry_problems(reference: Grid, prediction: Grid, tolerance: float = 0.05) -> list[Problem]:
    """What makes a prediction's grid another one than the reference's: the first difference, or none.

    tolerance : share of the smallest spacing by which any corner voxel may be off.
    """

    def problem(code: str, message: str, hint: str) -> Problem:
        return Problem("error", code, message, hint)

    if prediction.shape != reference.shape:
        message = f"the shape is {prediction.shape}, the reference has {reference.shape}"
        return [problem("GEO001", message, "predict on the grid of the input image")]
    if np.abs(np.array(prediction.spacing_mm) / reference.spacing_mm - 1).max() > 1e-3:
        spacings = [_text(grid.spacing_mm) for grid in (prediction, reference)]
        message = f"the spacing is {spacings[0]} mm, the reference has {spacings[1]} mm"
        return [problem("GEO003", message, "save with the header of the input image")]
    keep = "save with the affine of the input image; Nifti1Image(data, None) drops it"
    if not prediction.has_affine and reference.has_affine:
        message = "the file has neither sform nor qform, so its place is unknown"
        return [problem("GEO004", message, keep)]
    if not reference.has_affine:  # nobody knows its place, such as that of a PNG
        return []
    shift = corner_shift(reference.shape, reference.affine, prediction.affine)
    if not shift <= tolerance * min(reference.spacing_mm):
        places = [_text(grid.affine[:3, 3]) for grid in (prediction, reference)]
        same_axes = np.allclose(prediction.affine[:3, :3], reference.affine[:3, :3], rtol=0, atol=1e-6)
        what = f"origin is {places[0]}, reference has {places[1]}"
        if not same_axes:
            what = "axes are flipped, rotated or scaled against the reference's"
        return [problem("GEO002", f"{what}: corner voxels are up to {shift:.3g} mm off", keep)]
    return []


def _text(values: Any) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in values) + ")"


class Source:
    """Bytes of a file, decompressed where it is gzip; refuses what is not a regular file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[Problem] = []
        self._unpacker: Any = None
        self._ended = False  # nothing of what follows is the image's
        try:
            self._file = open_file(path)
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            self._tail = self._raw()
        except InputError:
            self._file.close()
            raise
        if self._tail.startswith(png.SIGNATURE):
            self._from_png()
        elif self._tail.startswith(_GZIP):
            self._unpacker = fast_zlib.decompressobj(wbits=31)
        elif path.name.endswith(".gz"):
            self.note("warning", "NII010", "the file is named .gz but is not compressed")

    def _from_png(self) -> None:
        """Go on with the NIfTI image that a PNG stands for."""
        data = bytearray(self._tail)
        while len(data) <= png.MAX_BYTES and (piece := self._raw()):
            data += piece
        self._file.close()
        if len(data) > png.MAX_BYTES:
            raise self.refusal("NII018", f"the PNG has more than {png.MAX_BYTES} bytes", "save labels")
        try:
            image = png.as_nifti(bytes(data))
        except ValueError as error:
            raise self.refusal("NII018", str(error), "save a gray PNG of labels") from None
        self._file, self._tail = OpenFile(len(image), io.BytesIO(image)), b""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def refusal(self, code: str, message: str, hint: str) -> InputError:
        """The error that refuses this file."""
        return InputError(Problem("error", code, f"{self.path}: {message}", hint, file=str(self.path)))

    def note(self, severity: Literal["warning", "note"], code: str, message: str) -> None:
        """Remember something that does not refuse the file."""
        self.notes.append(Problem(severity, code, f"{self.path}: {message}", file=str(self.path)))

    def _unreadable(self, error: OSError) -> InputError:
        return self.refusal("NII001", f"the file cannot be read ({error.strerror})", "submit the file itself")

    def expect(self, size: int) -> None:
        """Refuse a file that cannot hold the bytes its header claims."""
        held = self._file.size
        if size > held * (1 if self._unpacker is None else EXPANSION):
            message = f"the header claims {size} bytes, the file of {held} bytes cannot hold them"
            raise self.refusal("NII005", message, "write the file again")

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer only at the end."""
        pieces: list[bytes] = []
        while count > 0:
            piece = self._next(count)
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Read to the end marker, so that CRC and length are checked; extra bytes are a warning."""
        extra = len(self.read(MOST_EXTRA))
        if extra == MOST_EXTRA:
            message = f"more than {MOST_EXTRA} bytes follow the image"
            raise self.refusal("NII009", message, "write the file again")
        if extra:
            self.note("warning", "NII009", f"{extra} bytes after the image are ignored")

    def _raw(self) -> bytes:
        try:
            return self._file.read(PIECE)
        except OSError as error:
            raise self._unreadable(error) from None

    def _next(self, count: int) -> bytes:
        """Some of the next bytes; empty at the end."""
        while self._unpacker is not None:
            if self._unpacker.eof and not self._next_member():
                return b""
            data = self._tail or self._raw()
            try:
                out: bytes = self._unpacker.decompress(data, count)
            except MemoryError:  # ours or the worker's limit, not the file's fault
                raise
            except Exception as error:  # zlib.error or isal's own: a stranger's bytes may raise either
                message = f"the compressed data are damaged ({error})"
                raise self.refusal("NII005", message, "write the file again") from None
            self._tail = self._unpacker.unconsumed_tail
            if out:
                return out
            if not data and not self._unpacker.eof:
                raise self.refusal("NII005", "the compressed data end too early", "write the file again")
        data = self._tail or (b"" if self._ended else self._raw())
        self._tail = data[count:]
        return data[:count]

    def _next_member(self) -> bool:
        """Go on to the next gzip member, if one follows the end marker."""
        rest: bytes = self._unpacker.unused_data
        while len(rest) < 2 and (more := self._raw()):
            rest += more
        if rest.startswith(_GZIP):
            self._unpacker, self._tail = fast_zlib.decompressobj(wbits=31), rest
            return True
        if rest.strip(b"\0"):
            self.note("warning", "NII009", "bytes after the end of the compressed data are ignored")
        self._unpacker, self._tail, self._ended = None, b"", True
        return False
