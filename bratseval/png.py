"""PNG masks of 2-D challenges, as the NIfTI image of one slice that every reader knows."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 28
MAX_PIXELS = 80_000_000  # Pillow warns of more
MAX_CHUNKS = 100_000  # as many as the largest file has of the usual size
_PIECE = 1 << 20
_GRAY, _PALETTE = 0, 3
# First column and line, and steps, of the passes: whole images, and Adam7.
_PASSES = (
    ((0, 0, 1, 1),),
    ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_KINDS = {1: (2, 8), 2: (512, 16)}  # by bytes of a value: NIfTI's data type and bits


def as_nifti(data: bytes) -> bytes:
    """A gray or palette PNG (of a palette, the indices) as an uncompressed NIfTI-1 image (x, y).

    x runs to the right, the spacing is 1, there is no affine. Grays of 2 and 4 bits are stretched to 0 to
    255, as every program reads them; 1 bit is 0 and 1. Of an animation the first image counts; bytes after
    the end are handed on. Raises ValueError with a sentence for a file that is damaged, of colors, or too
    large: the size is judged before anything is decoded, and every checksum is looked at, which Pillow does
    not do.
    """
    width, height, color, end = _header(data)
    if color not in (_GRAY, _PALETTE):
        raise ValueError("the PNG has colors or transparency, expected a gray image of labels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"the PNG has {width} x {height} pixels, at most {MAX_PIXELS} are read")
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of what is wrong with an animation
            Image.open(io.BytesIO(data[:end]), formats=["PNG"]) as image,
        ):
            pixels = np.asarray(image)
    except UnidentifiedImageError:  # whose sentence has an address of memory
        raise ValueError("the PNG is damaged (its header cannot be)") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise ValueError(f"the PNG is damaged ({error})") from None
    kind = "<u1" if pixels.dtype.itemsize == 1 else "<u2"
    values = pixels.astype(kind)
    code, bits = _KINDS[values.dtype.itemsize]
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 2, width, height, 1, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<2f", header, 108, 352.0, 1.0)
    header[344:348] = b"n+1\0"
    return bytes(header) + values.tobytes() + data[end:]


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, type of color and the place of the end; all chunks are walked. Raises ValueError."""
    place, name, chunks = len(SIGNATURE), b"", 0
    width = height = bits = color = interlace = 0
    packed: list[memoryview] = []
    while name != b"IEND":
        try:
            size, name = struct.unpack_from(">I4s", data, place)
            (checksum,) = struct.unpack_from(">I", data, place + 8 + size)
        except struct.error:
            raise ValueError("the PNG ends too early") from None
        if zlib.crc32(data[place + 4 : place + 8 + size]) != checksum:
            raise ValueError(f"the PNG is damaged (checksum of its chunk {name!r})")
        chunks += 1
        if chunks > MAX_CHUNKS:
            raise ValueError(f"the PNG has more than {MAX_CHUNKS} chunks")
        if (name == b"IHDR") != (chunks == 1) or (name == b"IHDR" and size != 13):
            raise ValueError("the PNG is damaged (it does not begin with its one header)")
        if name == b"IHDR":
            width, height, bits, color, *methods, interlace = struct.unpack_from(">2I5B", data, place + 8)
            if any(methods) or interlace > 1 or bits not in (1, 2, 4, 8, 16) or not (width and height):
                raise ValueError("the PNG is damaged (its header cannot be)")
            if max(width, height) > 32_767:
                raise ValueError(f"the PNG has {width} x {height} pixels, at most 32767 a side are read")
        elif name == b"IDAT":
            packed.append(memoryview(data)[place + 8 : place + 8 + size])
        place += 12 + size
    if color in (_GRAY, _PALETTE) and width * height <= MAX_PIXELS:  # else it is refused for that
        _check_length(packed, sum(_pass_bytes(width, height, bits, interlace)))
    return width, height, color, place


def _pass_bytes(width: int, height: int, bits: int, interlace: int) -> Iterator[int]:
    """Bytes of every pass of an image with one number a pixel: a filter and the pixels of each line."""
    for x, y, step_x, step_y in _PASSES[interlace]:
        columns, lines = -((x - width) // step_x), -((y - height) // step_y)
        if columns > 0 and lines > 0:
            yield lines * (1 + (columns * bits + 7) // 8)


def _check_length(packed: Iterable[memoryview], expected: int) -> None:
    """Pillow fills lines that the data lack with 0. Raises ValueError."""
    unpacker, found = zlib.decompressobj(), 0
    try:
        for piece in packed:
            rest = bytes(piece)
            while rest and found < expected and not unpacker.eof:
                found += len(unpacker.decompress(rest, _PIECE))
                rest = unpacker.unconsumed_tail
    except zlib.error as error:
        raise ValueError(f"the PNG is damaged ({error})") from None
    if found < expected:
        raise ValueError(f"the PNG is damaged ({found} bytes of pixels, expected {expected})")
