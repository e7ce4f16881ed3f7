"""PNG masks of 2-D challenges, as the NIfTI image of one slice that every reader knows."""

from __future__ import annotations

import io
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 1 << 28
MAX_PIXELS = 80_000_000  # Pillow warns of more
_GRAY, _PALETTE = 0, 3
_KINDS = {1: (2, 8), 2: (512, 16)}  # by bytes of a value: NIfTI's data type and bits


def as_nifti(data: bytes) -> bytes:
    """A gray or palette PNG (of a palette, the indices) as an uncompressed NIfTI-1 image (x, y).

    x runs to the right, the spacing is 1, there is no affine. Raises ValueError with a sentence for a file
    that is damaged, of colors, or too large: the size is judged before anything is decoded, and every
    checksum is looked at, which Pillow does not do.
    """
    width, height, color = _header(data)
    if color not in (_GRAY, _PALETTE):
        raise ValueError("the PNG has colors or transparency, expected a gray image of labels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"the PNG has {width} x {height} pixels, at most {MAX_PIXELS} are read")
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.asarray(image)
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
    return bytes(header) + values.tobytes()


def _header(data: bytes) -> tuple[int, int, int]:
    """Width, height and type of color; the chunks are walked to the end. Raises ValueError."""
    place, found, name = len(SIGNATURE), None, b""
    while name != b"IEND":
        try:
            size, name = struct.unpack_from(">I4s", data, place)
            (checksum,) = struct.unpack_from(">I", data, place + 8 + size)
        except struct.error:
            raise ValueError("the PNG ends too early") from None
        if zlib.crc32(data[place + 4 : place + 8 + size]) != checksum:
            raise ValueError(f"the PNG is damaged (checksum of its chunk {name!r})")
        if name == b"IHDR" and size == 13 and found is None:
            width, height, _, color = struct.unpack_from(">2I2B", data, place + 8)
            found = int(width), int(height), int(color)
            if max(found[:2]) > 32_767:
                raise ValueError(f"the PNG has {width} x {height} pixels, at most 32767 a side are read")
        place += 12 + size
    if found is None or not (found[0] and found[1]):
        raise ValueError("the PNG has no header")
    return found
