"""A corpus of broken submissions: every way in which a team's folder or archive may be wrong, or merely odd.

`KINDS` holds one entry a kind. All of them concern case 00002-000 of three; the other two cases are sound
unless the submission as a whole is unusable. What must come of a kind is that of conventions.md, section 6.
Everything is the same on every machine, small on disk (bombs too) and never run.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from conftest import AFFINE

CASES = ("00001-000", "00002-000", "00003-000")
BROKEN = CASES[1]
FILE = f"BraTS-GLI-{BROKEN}.nii.gz"
REFERENCE = f"../../refs/BraTS-GLI-{BROKEN}-seg.nii.gz"  # from within a team's folder
EVIL = "/tmp/bratseval-corpus-evil"  # what malicious kinds would make; nothing may
GIB = 1 << 30

Sound = Mapping[str, bytes]
Build = Callable[[Path, Sound], None]
Change = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to be broken.

    build : makes the submission of one team at a path, given the sound predictions (name -> .nii.gz).
    codes : what the team's errors and warnings are, no more and no less; "A|B" where either will do.
    status : of case 00002-000; others: of the two other cases. ending: of an archive, "" for a folder.
    skip : why this machine cannot build it.
    """

    build: Build
    codes: frozenset[str]
    status: str = "invalid"
    others: str = "ok"
    ending: str = ""
    skip: str = ""


def refused(build: Build, *codes: str, ending: str = "", skip: str = "") -> Kind:
    """The file is refused, the other two are scored."""
    return Kind(build, frozenset(codes), ending=ending, skip=skip)


def accepted(build: Build, *codes: str, ending: str = "", status: str = "ok", skip: str = "") -> Kind:
    """The file is scored, with warnings or without."""
    return Kind(build, frozenset(codes), status, ending=ending, skip=skip)


def missing(build: Build, *codes: str, ending: str = "", skip: str = "") -> Kind:
    """No file is found for the case."""
    return Kind(build, frozenset({*codes, "SUB004"}), "missing", ending=ending, skip=skip)


def unusable(build: Build, code: str, ending: str) -> Kind:
    """The submission as a whole is refused."""
    return Kind(build, frozenset({code}), "invalid", "invalid", ending)


# ---- folders ----------------------------------------------------------------------------------------------


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        target = folder / name
        os.makedirs(target.parent, exist_ok=True)
        target.write_bytes(data)


def without(sound: Sound) -> dict[str, bytes]:
    """The predictions of the two other cases."""
    return {name: data for name, data in sound.items() if name != FILE}


def layout(files: Callable[[Sound], Mapping[str, bytes]]) -> Build:
    """A folder of files made from the sound ones."""
    return lambda path, sound: write(path, files(sound))


def packed(change: Change) -> Build:
    """The bytes of the .nii.gz changed."""
    return layout(lambda sound: {**sound, FILE: change(sound[FILE])})


def raw(change: Change) -> Build:
    """The bytes of the NIfTI file within the .nii.gz changed."""
    return packed(lambda data: squeezed(change(gzip.decompress(data))))


def squeezed(data: bytes) -> bytes:
    """gzip without the time of day."""
    return gzip.compress(data, mtime=0)


def put(data: bytes, place: int, new: bytes) -> bytes:
    """Bytes with some overwritten; a negative place counts from the end."""
    place %= len(data)
    return data[:place] + new + data[place + len(new) :]


def flipped(data: bytes) -> bytes:
    """gzip data with the first flipped bit after the middle that changes what they say; not each one does."""
    for place in range(len(data) // 2, len(data)):
        changed = put(data, place, bytes([data[place] ^ 16]))
        try:
            gzip.decompress(changed)
        except (OSError, EOFError, zlib.error):
            return changed
    raise AssertionError("no bit of the file matters")


def patch(*changes: tuple[int, str, Any]) -> Build:
    """Fields of the NIfTI-1 header overwritten: (offset, struct format, value)."""

    def change(data: bytes) -> bytes:
        for place, form, value in changes:
            data = put(data, place, struct.pack(f"<{form}", value))
        return data

    return raw(change)


def dims(*extents: int) -> Build:
    """The dimensions that the header claims, dim[0] first."""
    return patch(*((40 + 2 * index, "h", extent) for index, extent in enumerate(extents)))


def without_sform(*changes: tuple[int, str, Any]) -> Build:
    """A file whose qform alone counts, with fields overwritten."""
    return patch((254, "h", 0), *changes)


def datatype(code: int, bits: int) -> Build:
    """Another data type, with as many bytes as it asks for."""
    head = struct.pack("<2h", code, bits)
    return raw(lambda data: put(data[:352], 70, head) + data[352:] * (max(bits, 8) // 8))


def labels_in(data: bytes) -> np.ndarray:
    """The labels of a .nii.gz."""
    return np.asarray(nibabel.Nifti1Image.from_bytes(gzip.decompress(data)).dataobj)


def image(
    labels: np.ndarray, affine: np.ndarray | None = AFFINE, dtype: Any = np.uint8, form: Any = None
) -> bytes:
    """A NIfTI file of labels."""
    made = (form or nibabel.Nifti1Image)(labels.astype(dtype), affine, dtype=dtype)
    if affine is not None:
        made.set_qform(affine, code=1)
        made.set_sform(affine, code=1)
    return bytes(made.to_bytes())


def volume(change: Callable[[np.ndarray], np.ndarray] = np.asarray, **options: Any) -> Build:
    """The labels changed, or saved in another way (affine, dtype or form)."""
    return packed(lambda data: squeezed(image(change(labels_in(data)), **options)))


def voxel(value: float, dtype: Any) -> Build:
    """One voxel of the background with another value."""

    def change(labels: np.ndarray) -> np.ndarray:
        changed = labels.astype(dtype)
        changed[-1, -1, -1] = value
        return changed

    return volume(change, dtype=dtype)


def placed(row: int, column: int, value: float) -> np.ndarray:
    """The usual affine with one other number."""
    affine = AFFINE.copy()
    affine[row, column] = value
    return affine


def rotated(degrees: float) -> np.ndarray:
    """The usual affine, turned about z."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    return np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE


def many_values(labels: np.ndarray) -> np.ndarray:
    """What an image looks like: every voxel has a value of its own."""
    return np.arange(labels.size).reshape(labels.shape) % 2000


def nifti2(*extents: int) -> Build:
    """The header of a NIfTI-2 file that claims these dimensions."""

    def change(data: bytes) -> bytes:
        whole = image(labels_in(squeezed(data)), form=nibabel.Nifti2Image)
        return put(whole, 16, struct.pack(f"<{len(extents)}q", *extents))

    return raw(change)


def big_endian(form: Any) -> Build:
    """The same file in the other byte order."""

    def change(data: bytes) -> bytes:
        labels = labels_in(squeezed(data))
        made = form(labels.astype(">i2"), AFFINE, form.header_class(endianness=">"), dtype=">i2")
        return bytes(made.to_bytes())

    return raw(change)


def deflated_zeros(size: int) -> bytes:
    """Blocks of a deflate stream that give zeros, from one that is made once and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)) * (size >> 24)


def deflated(head: bytes, zeros: int) -> bytes:
    """A whole deflate stream of some bytes and very many zeros."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH) + deflated_zeros(zeros) + b"\x03\0"


def gzip_bomb(head: bytes, zeros: int) -> bytes:
    """A gzip file of some bytes and very many zeros. Its CRC is not right: nobody should get that far."""
    size = (len(head) + zeros) % (1 << 32)
    return b"\x1f\x8b\x08\0\0\0\0\0\x02\xff" + deflated(head, zeros) + struct.pack("<2L", 0, size)


def image_bomb(data: bytes) -> bytes:
    """An image of a gibibyte in a megabyte; it claims a little more, no more than its file could hold."""
    extents = struct.pack("<4h", 3, 1100, 1000, 1000)
    return gzip_bomb(put(gzip.decompress(data)[:352], 40, extents), GIB)


def named(*names: str, keep: bool = False) -> Build:
    """The prediction under other names; keep: also under its own."""
    return layout(lambda sound: (dict(sound) if keep else without(sound)) | dict.fromkeys(names, sound[FILE]))


def beside(name: str, data: bytes = b"text\n", *, instead: bool = False) -> Build:
    """A further file; instead: in place of the prediction."""
    return layout(lambda sound: {**(without(sound) if instead else sound), name: data})


def special(make: Callable[[Path], object], name: str = FILE, *, keep: bool = False) -> Build:
    """Something that is no file under a name, in place of the prediction; keep: beside it."""

    def build(path: Path, sound: Sound) -> None:
        write(path, sound if keep else without(sound))
        make(path / name)

    return build


def linked(target: str, name: str = FILE, *, keep: bool = False) -> Build:
    """A symbolic link in place of the prediction, or beside it."""
    return special(lambda path: path.symlink_to(target), name, keep=keep)


def closed(path: Path, sound: Sound) -> None:
    """A file without the right to read it."""
    write(path, sound)
    (path / FILE).chmod(0)


def sparse(size: int) -> Build:
    """An image that is not compressed, followed by a hole: large, but nothing on disk."""

    def build(path: Path, sound: Sound) -> None:
        write(path, sound | {FILE: gzip.decompress(sound[FILE])})
        os.truncate(path / FILE, size)

    return build


def object_array() -> bytes:
    """A .npy that only unpickling could read."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


HTML = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"
PICKLE = f"cos\nmkdir\n(S'{EVIL}'\ntR.".encode()  # os.mkdir when loaded
COMMAND = "=cmd|' /C calc'!A0"
NOISE = np.random.default_rng(1).bytes(20_000)
NOT_ROOT = "root reads every file" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
LINUX = "" if sys.platform == "linux" else "needs Linux"

STREAMS = {
    "gzip-cut-in-the-middle": refused(packed(lambda data: data[: len(data) // 2]), "NII005"),
    "gzip-cut-in-its-trailer": refused(packed(lambda data: data[:-4]), "NII005"),
    "gzip-cut-after-its-header": refused(packed(lambda data: data[:10]), "NII005"),
    "gzip-wrong-crc": refused(packed(lambda data: put(data, -8, bytes([data[-8] ^ 1]))), "NII005"),
    "gzip-wrong-size": refused(packed(lambda data: put(data, -4, bytes([data[-4] ^ 1]))), "NII005"),
    "gzip-bit-flip": refused(packed(flipped), "NII005"),
    "gzip-zeroed-stretch": refused(packed(lambda data: put(data, len(data) // 2, bytes(32))), "NII005"),
    "gzip-unknown-method": refused(packed(lambda data: put(data, 2, b"\x07")), "NII005"),
    "gzip-second-member-cut": refused(packed(lambda data: data + squeezed(bytes(1000))[:-9]), "NII005"),
    "gzip-of-gzip": refused(packed(squeezed), "NII002"),
    "gzip-of-text": refused(packed(lambda data: squeezed(b"hello" * 200)), "NII002"),
    "gzip-of-nothing": refused(packed(lambda data: squeezed(b"")), "NII002"),
    "gzip-bomb": refused(packed(image_bomb), "GEO001|NII005"),  # its shape alone may tell
    "gzip-bomb-behind-the-image": refused(
        packed(lambda data: gzip_bomb(gzip.decompress(data), GIB)), "NII009"
    ),
    "gzip-several-members": accepted(
        packed(lambda data: squeezed(gzip.decompress(data)[:999]) + squeezed(gzip.decompress(data)[999:]))
    ),
    "gzip-empty-members-between": accepted(packed(lambda data: squeezed(b"") * 3 + data + squeezed(b"") * 3)),
    "gzip-thousands-of-members": accepted(packed(lambda data: squeezed(b"") * 5000 + data)),
    "gzip-zeros-behind": accepted(packed(lambda data: data + bytes(1000))),
    "gzip-garbage-behind": accepted(packed(lambda data: data + NOISE), "NII009"),
    "gzip-name-and-comment": accepted(
        packed(
            lambda data: (
                put(squeezed(gzip.decompress(data))[:10], 3, b"\x18")
                + b"\x1b[31m.nii\0comment\0"
                + squeezed(gzip.decompress(data))[10:]
            )
        )
    ),
    "short-payload": refused(raw(lambda data: data[:-100]), "NII005"),
    "extra-bytes": accepted(raw(lambda data: data + bytes(36)), "NII009"),
    "extra-megabytes": refused(raw(lambda data: data + bytes(2 << 20)), "NII009"),
    "empty-file": refused(packed(lambda data: b""), "NII002"),
    "one-byte": refused(packed(lambda data: b"\x1f"), "NII002"),
    "two-bytes": refused(packed(lambda data: b"\x1f\x8b"), "NII005"),
    "half-a-header": refused(raw(lambda data: data[:200]), "NII005"),
    "header-only": refused(raw(lambda data: data[:348]), "NII005"),
    "no-voxels": refused(raw(lambda data: data[:352]), "NII005"),
    "not-compressed": accepted(packed(gzip.decompress), "NII010"),
    "not-compressed-and-short": refused(packed(lambda data: gzip.decompress(data)[:-1]), "NII005"),
    "html-page": refused(packed(lambda data: HTML), "NII002"),
    "noise": refused(packed(lambda data: NOISE), "NII002"),
    "bzip2": refused(packed(lambda data: bz2.compress(gzip.decompress(data))), "NII002"),
    "xz": refused(packed(lambda data: lzma.compress(gzip.decompress(data))), "NII002"),
    "git-lfs-pointer": refused(
        packed(lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), "NII002"
    ),
    "pickle-in-the-name-of-an-image": refused(packed(lambda data: PICKLE), "NII002"),
    "a-hole-behind-the-image": refused(sparse(GIB >> 2), "NII009"),
}

HEADERS = {
    "dim-negative": refused(dims(3, 40, -36, 30), "NII003"),
    "dim-zero": refused(dims(3, 40, 36, 0), "NII003"),
    "dims-huge": refused(dims(3, 32767, 32767, 32767), "NII003"),
    "dim-count-zero": refused(dims(0), "NII003"),
    "dim-count-eight": refused(dims(8), "NII003"),
    "dim-count-negative": refused(dims(-1), "NII003"),
    "dims-overflow-32-bits": refused(dims(3, 32767, 32767, 4), "NII003"),
    "dims-overflow-64-bits": refused(nifti2(3, 2**32, 2**32, 1), "NII003"),
    "dims-terabytes": refused(
        patch((42, "h", 32767), (44, "h", 32767), (46, "h", 128), (70, "h", 64)), "NII003"
    ),
    "dims-gigabytes": refused(
        patch((42, "h", 1290), (44, "h", 1290), (46, "h", 1290), (70, "h", 64)), "NII005"
    ),
    "nifti2-dims-huge": refused(nifti2(3, 2**40, 2**40, 2**40), "NII003"),
    "nifti2-dim-negative": refused(nifti2(3, -(2**63), 36, 30), "NII003"),
    "nifti2-dim-count-huge": refused(nifti2(2**62), "NII003"),
    "vox-offset-nan": refused(patch((108, "f", np.nan)), "NII003"),
    "vox-offset-infinite": refused(patch((108, "f", np.inf)), "NII003"),
    "vox-offset-negative": refused(patch((108, "f", -352)), "NII003"),
    "vox-offset-absurd": refused(patch((108, "f", 1e30)), "NII003"),
    "vox-offset-zero": refused(patch((108, "f", 0)), "NII003"),
    "vox-offset-in-the-header": refused(patch((108, "f", 100)), "NII003"),
    "vox-offset-fraction": refused(patch((108, "f", 352.5)), "NII003"),
    "vox-offset-behind-the-end": refused(patch((108, "f", 1 << 22)), "NII005"),
    "vox-offset-with-an-extension": accepted(
        raw(lambda data: put(data[:352], 108, struct.pack("<f", 384)) + bytes(32) + data[352:])
    ),
    "pixdim-nan": refused(patch((80, "f", np.nan)), "NII007"),
    "pixdim-zero": refused(patch((84, "f", 0)), "NII007"),
    "pixdim-infinite": refused(patch((88, "f", np.inf)), "NII007"),
    "pixdim-absurd": refused(patch((80, "f", 1e30)), "NII007"),
    "pixdim-tiny": refused(patch((80, "f", 1e-30)), "NII007"),
    "pixdim-negative": accepted(patch((80, "f", -1))),
    "qfac-nan": accepted(patch((76, "f", np.nan))),
    "slope-nan": accepted(patch((112, "f", np.nan)), "NII012"),
    "slope-infinite": accepted(patch((112, "f", np.inf)), "NII012"),
    "intercept-nan": accepted(patch((116, "f", np.nan)), "NII012"),
    "affine-nan": refused(patch((280, "f", np.nan)), "NII008"),
    "affine-infinite": refused(patch((292, "f", -np.inf)), "NII008"),
    "affine-singular": refused(patch((280, "f", 0)), "NII008"),
    "affine-all-zeros": refused(patch(*((280 + 4 * index, "f", 0) for index in range(12))), "NII008"),
    "affine-absurd": refused(patch((292, "f", 3e38)), "GEO002", "GEO005"),
    "quaternion-absurd": refused(without_sform((256, "f", 5)), "NII008"),
    "quaternion-nan": refused(without_sform((264, "f", np.nan)), "NII008"),
    "quaternion-offset-nan": refused(without_sform((268, "f", np.nan)), "NII008"),
    "qform-alone": accepted(without_sform()),
    "qform-elsewhere": accepted(patch((268, "f", 50)), "GEO005"),
    "qform-absurd-beside-a-sform": accepted(patch((256, "f", 5)), "GEO005"),
    "datatype-rgb": refused(datatype(128, 24), "NII004"),
    "datatype-rgba": refused(datatype(2304, 32), "NII004"),
    "datatype-complex": refused(datatype(32, 64), "NII004"),
    "datatype-complex-256": refused(datatype(2048, 256), "NII004"),
    "datatype-float128": refused(datatype(1536, 128), "NII004"),
    "datatype-bit": refused(datatype(1, 1), "NII004"),
    "datatype-unknown": refused(datatype(0, 8), "NII004"),
    "datatype-made-up": refused(datatype(-32768, 8), "NII004"),
    "magic-wrong": refused(patch((344, "4s", b"nope")), "NII002"),
    "magic-of-a-pair": refused(patch((344, "4s", b"ni1\0")), "NII002"),
    "analyze": refused(patch((344, "4s", bytes(4))), "NII002"),
    "header-length-absurd": refused(patch((0, "i", -1)), "NII002"),
    "header-of-ones": refused(raw(lambda data: put(data, 4, b"\xff" * 340)), "NII003"),
    "header-of-zeros": refused(raw(lambda data: put(data, 4, bytes(340))), "NII003"),
    "four-dimensions": refused(volume(lambda labels: np.stack([labels, labels], 3)), "NII006"),
    "one-volume-of-four-dimensions": accepted(volume(lambda labels: labels[..., None])),
    "seven-dimensions": accepted(volume(lambda labels: labels[..., None, None, None, None])),
    "two-dimensions": refused(volume(lambda labels: labels[:, :, 0]), "GEO001"),
    "big-endian": accepted(big_endian(nibabel.Nifti1Image)),
    "nifti2": accepted(volume(form=nibabel.Nifti2Image)),
    "nifti2-big-endian": accepted(big_endian(nibabel.Nifti2Image)),
}

VOXELS = {
    "label-nan": refused(voxel(np.nan, np.float32), "LBL003"),
    "label-infinite": refused(voxel(-np.inf, np.float64), "LBL003"),
    "label-half": refused(voxel(0.5, np.float32), "LBL002"),
    "label-beyond-every-integer": accepted(voxel(1e300, np.float64), "LBL001"),
    "label-negative": accepted(voxel(-253, np.int64), "LBL001"),
    "label-huge": accepted(voxel(2**63 - 1, np.int64), "LBL001"),
    "label-huge-unsigned": accepted(voxel(2**64 - 1, np.uint64), "LBL001"),
    "label-that-a-cast-makes-sound": accepted(voxel(256 + 3, np.int16), "LBL001"),
    "labels-4-for-3": accepted(voxel(4, np.uint8), "LBL001"),
    "labels-nearly-whole": accepted(volume(lambda labels: labels + 1e-4, dtype=np.float32)),
    "labels-scaled": accepted(
        raw(lambda data: put(put(data, 112, struct.pack("<f", 0.5)), 352, bytes(2 * n for n in data[352:])))
    ),
    "slope-absurd": refused(patch((112, "f", 1e30)), "NII003|NII012"),
    "probabilities": refused(volume(lambda labels: labels / 3, dtype=np.float32), "LBL002"),
    "an-image-not-a-mask": refused(volume(many_values, dtype=np.int16), "LBL004"),
    "empty-mask": accepted(volume(np.zeros_like), status="empty_prediction"),
    "other-shape": refused(volume(lambda labels: labels[:-1]), "GEO001"),
    "axes-in-another-order": refused(volume(lambda labels: labels.transpose(2, 1, 0)), "GEO001"),
    "other-spacing": refused(volume(affine=placed(2, 2, 2)), "GEO003"),
    "flipped": refused(volume(affine=placed(0, 0, 1)), "GEO002"),
    "shifted": refused(volume(affine=placed(1, 3, 0)), "GEO002"),
    "shifted-a-little": accepted(volume(affine=placed(0, 3, 0.02))),
    "rotated": refused(volume(affine=rotated(10)), "GEO002"),
    "sheared": refused(volume(affine=placed(0, 1, 0.3)), "GEO002|GEO003", "GEO005"),
    "no-affine": refused(volume(affine=None), "GEO004"),
}

DIGITS = str.maketrans("0123456789", "".join(map(chr, range(0xFF10, 0xFF1A))))  # full-width ones
ARABIC = str.maketrans("0123456789", "".join(map(chr, range(0x660, 0x66A))))

NAMES = {
    "link-to-a-file": refused(linked("BraTS-GLI-00001-000.nii.gz"), "SUB005"),
    "link-to-the-reference": refused(linked(REFERENCE), "SUB005"),
    "link-to-passwd": refused(linked("/etc/passwd"), "SUB005"),
    "link-to-a-device": refused(linked("/dev/zero"), "SUB005"),
    "link-to-nothing": refused(linked("nowhere"), "SUB005"),
    "link-to-itself": refused(linked(FILE), "SUB005"),
    "link-to-a-folder": missing(linked("../sound", "more"), "SUB005"),
    "link-to-a-folder-named-like-a-file": refused(linked("../sound"), "SUB005"),
    "link-to-the-folder-around-it": accepted(linked(".", "again", keep=True), "SUB005"),
    "hard-link": accepted(special(lambda path: os.link(path.with_name(FILE), path), "._", keep=True)),
    "fifo": refused(special(os.mkfifo), "NII001"),
    "fifo-of-another-name": accepted(special(os.mkfifo, "pipe", keep=True), "SUB003"),
    "socket": refused(special(lambda path: os.mknod(path, 0o140600)), "NII001", skip=LINUX),
    "unreadable-file": refused(closed, "NII001", skip=NOT_ROOT),
    "folder-named-like-a-file": missing(special(Path.mkdir)),
    "folder-named-like-a-file-around-it": accepted(named(f"{FILE}/{FILE}")),
    "nii-beside-nii-gz": refused(
        layout(lambda sound: {**sound, FILE[:-3]: gzip.decompress(sound[FILE])}), "SUB002"
    ),
    "nii-alone": accepted(layout(lambda sound: {**without(sound), FILE[:-3]: gzip.decompress(sound[FILE])})),
    "nii-that-is-compressed": accepted(named(FILE[:-3])),
    "twice-in-two-folders": refused(named(f"a/{FILE}", f"b/{FILE}"), "SUB002"),
    "twice-with-another-prefix": refused(named(f"other-{BROKEN}.nii.gz", keep=True), "SUB002"),
    "twice-by-letter-case": refused(
        named(FILE.swapcase().replace(".NII.GZ", ".nii.gz"), keep=True), "SUB002"
    ),
    "ending-in-capitals": missing(named(FILE.replace(".nii.gz", ".NII.GZ")), "SUB003"),
    "name-of-the-reference": missing(named(f"BraTS-GLI-{BROKEN}-seg.nii.gz"), "SUB003"),
    "name-with-a-blank-behind": missing(named(f"{FILE} "), "SUB003"),
    "name-with-one-digit-less": missing(named("BraTS-GLI-0002-000.nii.gz"), "SUB003"),
    "name-of-the-id-alone": accepted(named(f"{BROKEN}.nii.gz")),
    "name-of-255-letters": accepted(named(f"{'x' * 237}_{BROKEN}.nii.gz")),
    "name-with-full-width-digits": missing(named(FILE.translate(DIGITS)), "SUB003|SUB006"),
    "name-with-arabic-digits": missing(named(FILE.translate(ARABIC)), "SUB003|SUB006"),
    "name-with-other-digits-beside": accepted(
        named(FILE.translate(DIGITS), keep=True), "SUB002|SUB003|SUB006"
    ),
    "name-in-decomposed-letters": accepted(named(f"e\u0301quipe-{BROKEN}.nii.gz")),
    "name-with-a-line-end": missing(named(f"BraTS-GLI-{BROKEN}.nii.gz\n"), "SUB003"),
    "name-with-a-line-end-in-it": missing(named(f"forged\nerror[X] case-{BROKEN}.nii.gz"), "SUB003"),
    "name-with-an-escape": accepted(named(f"\x1b[31m-{BROKEN}.nii.gz")),
    "names-with-control-characters": accepted(beside("\x1b[2J\r\x07\x08\x7f\x9b.txt"), "SUB003"),
    "name-with-a-tab": accepted(beside("a\tb.txt"), "SUB003"),
    "name-that-turns-the-text": accepted(beside("\u202etxt.exe"), "SUB003"),
    "name-with-markup": accepted(beside("[bold red]<b>&amp;[link=x].txt"), "SUB003"),
    "name-with-quotes-and-commas": accepted(beside("a\",'b'\",;.txt"), "SUB003"),
    "name-of-a-formula": accepted(named(f"{COMMAND}-{BROKEN}.nii.gz")),
    "name-of-a-formula-beside": accepted(beside(f"{COMMAND}.txt"), "SUB003"),
    "name-of-wrong-utf-8": accepted(named(os.fsdecode(b"\xff\xfe-") + f"{BROKEN}.nii.gz"), skip=LINUX),
    "name-of-wrong-utf-8-beside": accepted(beside(os.fsdecode(b"\xc3\x28\xff.txt")), "SUB003", skip=LINUX),
    "hidden-file": missing(named(f".{FILE}"), "SUB003"),
    "hidden-folder": missing(named(f".cache/{FILE}"), "SUB003"),
    "apple-double": accepted(beside(f"._{FILE}", b"\0\5\x16\7")),
    "apple-folder": accepted(beside(f"__MACOSX/._{FILE}", b"\0\5\x16\7")),
    "apple-folder-with-an-image": accepted(named(f"__MACOSX/{FILE}", keep=True)),
    "files-of-a-desktop": accepted(
        layout(lambda sound: {**sound, ".DS_Store": b"", "Thumbs.db": b"", f"~{FILE}": b"", ".idea/x": b""})
    ),
    "folders-60-levels": accepted(named("d/" * 60 + FILE)),
    "folders-300-levels": missing(named("d/" * 300 + FILE), "SUB003"),
    "one-folder-around-everything": accepted(
        layout(lambda sound: {f"predictions/{name}": data for name, data in sound.items()})
    ),
    "pickle": missing(beside(f"BraTS-GLI-{BROKEN}.pkl", PICKLE, instead=True), "SUB003"),
    "npy-of-objects": missing(beside(f"BraTS-GLI-{BROKEN}.npy", object_array(), instead=True), "SUB003"),
    "torch-file": missing(beside(f"BraTS-GLI-{BROKEN}.pt", PICKLE, instead=True), "SUB003"),
    "python-beside": accepted(
        beside("sitecustomize.py", f"import os; os.mkdir({EVIL!r})".encode()), "SUB003"
    ),
    "hdr-img-pair": missing(
        layout(
            lambda sound: {
                **without(sound),
                f"BraTS-GLI-{BROKEN}.hdr": put(gzip.decompress(sound[FILE])[:348], 344, b"ni1\0"),
                f"BraTS-GLI-{BROKEN}.img": gzip.decompress(sound[FILE])[352:],
            }
        ),
        "SUB003",
    ),
    "missing-case": missing(layout(without)),
    "extra-case": accepted(named("BraTS-GLI-00009-000.nii.gz", keep=True), "SUB006"),
    "other-case-instead": missing(named("BraTS-GLI-00009-000.nii.gz"), "SUB006"),
    "empty-folder": replace(missing(layout(lambda sound: {})), others="missing"),
    "empty-folder-within": replace(
        missing(lambda path, sound: (path / "predictions").mkdir(parents=True)), others="missing"
    ),
    "archive-in-the-folder": accepted(beside("more.zip", b"PK\5\6" + bytes(18)), "SUB003"),
    "archive-of-the-case-in-the-folder": missing(
        layout(lambda sound: {**without(sound), f"{FILE}.zip": zip_of([Member(FILE, sound[FILE])])}), "SUB003"
    ),
}


# ---- zip --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a zip, and what its headers say of it, true or not.

    stream : the packed data, where they are not the data packed by the method. size, crc: claims.
    """

    name: str | bytes
    data: bytes = b""
    method: int = zipfile.ZIP_DEFLATED
    flags: int = 0
    mode: int = 0o100644
    stream: bytes | None = None
    size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None


def zip_of(members: Iterable[Member]) -> bytes:
    """A zip file, written by hand since zipfile is too honest."""
    body, directory = bytearray(), bytearray()
    members = list(members)
    for member in members:
        stream = member.stream
        if stream is None:
            stream = zlib.compress(member.data, wbits=-15) if member.method == 8 else member.data
        name = member.name.encode() if isinstance(member.name, str) else member.name
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        size = len(member.data) if member.size is None else member.size
        facts = (20, member.flags, member.method, 0, 0x21, crc, len(stream), size)
        local = name if member.local_name is None else member.local_name
        directory += struct.pack("<4s6H3L", b"PK\1\2", 3 << 8 | 20, *facts)
        directory += struct.pack("<5H2L", len(name), 0, 0, 0, 0, member.mode << 16, len(body)) + name
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *facts, len(local), 0) + local + stream
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[len(members)] * 2, len(directory), len(body), 0)
    return bytes(body + directory + end)


def members_of(files: Mapping[str, bytes], prefix: str = "") -> list[Member]:
    """Sound members."""
    return [Member(prefix + name, data) for name, data in files.items()]


def unreadable(path: Path, sound: Sound) -> None:
    """A zip without the right to read it."""
    zip_changed(bytes)(path, sound)
    path.chmod(0)


def archive(make: Callable[[Sound], bytes]) -> Build:
    """A file made from the sound predictions."""

    def build(path: Path, sound: Sound) -> None:
        path.write_bytes(make(sound))

    return build


def zip_with(*members: Callable[[bytes], Member]) -> Build:
    """A zip of the two other cases and of members made from the sound prediction."""
    return archive(
        lambda sound: zip_of([*members_of(without(sound)), *(one(sound[FILE]) for one in members)])
    )


def zip_beside(*members: Member) -> Build:
    """A zip of all three cases and further members."""
    return archive(lambda sound: zip_of([*members_of(sound), *members]))


def zip_named(*names: str | bytes, **options: Any) -> Build:
    """A zip of the prediction under other names."""
    return zip_with(*(lambda data, name=name: Member(name, data, **options) for name in names))


def zip_changed(change: Change) -> Build:
    """The bytes of a sound zip changed."""
    return archive(lambda sound: change(zip_of(members_of(sound))))


def by_zipfile(**options: Any) -> Build:
    """A zip as zipfile writes it: other methods, zip64, a stream that cannot seek."""

    def make(sound: Sound) -> bytes:
        buffer = io.BytesIO()
        method = options.get("method", zipfile.ZIP_DEFLATED)
        with zipfile.ZipFile(Unseekable(buffer) if options.get("stream") else buffer, "w") as made:
            for name, data in sound.items():
                info = zipfile.ZipInfo(name)
                info.compress_type = method if name == FILE else zipfile.ZIP_DEFLATED
                with made.open(info, "w", force_zip64=options.get("zip64", False)) as member:
                    member.write(data)
        return buffer.getvalue()

    return archive(make)


class Unseekable(io.RawIOBase):
    """Makes zipfile write sizes and CRC behind the data, as programs do that zip into a pipe."""

    def __init__(self, file: io.BytesIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


def zip64_end(data: bytes) -> bytes:
    """A zip whose zip64 record claims 2^60 members."""
    place = data.rindex(b"PK\5\6")
    size, start = struct.unpack_from("<2L", data, place + 12)
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**60, 2**60, size << 40, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, place, 1)
    return (
        data[:place]
        + record
        + locator
        + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)
    )


def many(count: int) -> Iterable[str]:
    """Names of very many members."""
    return (f"{index:05}.txt" for index in range(count))


FULL_PATH = f"{EVIL}/{FILE}"
LINK = 0o120777

ZIPS = {
    "zip-sound": accepted(zip_changed(bytes)),
    "zip-stored": accepted(archive(lambda sound: zip_of(replace(m, method=0) for m in members_of(sound)))),
    "zip-in-a-folder": accepted(archive(lambda sound: zip_of(members_of(sound, "team/")))),
    "zip-in-two-folders": accepted(archive(lambda sound: zip_of(members_of(sound, "team/masks/")))),
    "zip-in-60-folders": accepted(archive(lambda sound: zip_of(members_of(sound, "d/" * 60)))),
    "zip-with-dot-slash": accepted(archive(lambda sound: zip_of(members_of(sound, "./")))),
    "zip-with-folders": accepted(
        archive(lambda sound: zip_of([Member("team/", mode=0o40755, method=0), *members_of(sound, "team/")]))
    ),
    "zip-with-a-comment": accepted(zip_changed(lambda data: data[:-2] + b"\5\0hello")),
    "zip-through-a-pipe": accepted(by_zipfile(stream=True)),
    "zip64": accepted(by_zipfile(zip64=True)),
    "zip-of-a-mac": accepted(zip_beside(Member(f"__MACOSX/._{FILE}", b"\0\5\x16\7"), Member(".DS_Store"))),
    "zip-of-windows": accepted(archive(lambda sound: zip_of(replace(m, mode=0) for m in members_of(sound)))),
    "zip-without-the-case": missing(archive(lambda sound: zip_of(members_of(without(sound))))),
    "zip-of-nothing": replace(missing(archive(lambda sound: zip_of([]))), others="missing"),
    "zip-with-an-extra-case": accepted(zip_beside(Member("BraTS-GLI-00009-000.nii.gz", b"x")), "SUB006"),
    "zip-with-a-stray": accepted(zip_beside(Member("notes.txt", b"hello")), "SUB003"),
    "zip-in-a-zip": accepted(zip_beside(Member("more.zip", zip_of([Member(FILE, b"x")]))), "SUB003"),
    "zip-hidden-member": missing(zip_named(f".{FILE}"), "SUB003"),
    "zip-folder-named-like-a-file": missing(zip_named(f"{FILE}/")),
    "zip-up-and-out": refused(zip_named(f"../../evil/{FILE}"), "ARC002"),
    "zip-up-within": refused(zip_named(f"a/../../evil/../{FILE}"), "ARC002"),
    "zip-absolute-path": refused(zip_named(FULL_PATH), "ARC002"),
    "zip-drive-letter": refused(zip_named(f"C:\\{FILE}"), "ARC002"),
    "zip-drive-letter-and-slash": refused(zip_named(f"C:/{FILE}"), "ARC002"),
    "zip-backslashes": refused(zip_named(f"team\\masks\\{FILE}"), "ARC002"),
    "zip-share": refused(zip_named(f"\\\\server\\share\\{FILE}"), "ARC002"),
    "zip-nul-in-a-name": refused(zip_named(f"a\0b/{FILE}"), "ARC002"),
    "zip-name-too-long": refused(zip_named(f"{'d/' * 520}{FILE}"), "ARC002"),
    "zip-name-of-60000": refused(zip_named(f"{'x' * 60_000}/{FILE}"), "ARC002"),
    "zip-evil-beside": accepted(zip_beside(Member("../evil.sh", b"#!/bin/sh\n")), "ARC002"),
    "zip-name-of-nothing": accepted(zip_beside(Member("", b"x")), "ARC002|SUB003"),
    "zip-name-of-a-dot": accepted(zip_beside(Member(".", b"x")), "ARC002|SUB003"),
    "zip-name-of-a-formula": accepted(zip_beside(Member(f"{COMMAND}.txt")), "SUB003"),
    "zip-name-with-control-characters": accepted(zip_beside(Member("\x1b[2J\r\n\x7f.txt")), "SUB003"),
    "zip-name-of-cp437": accepted(zip_with(lambda data: Member(b"\xff\x81-" + FILE[10:].encode(), data))),
    "zip-name-of-wrong-utf-8": unusable(zip_beside(Member(b"\xff\xfe.txt", flags=0x800)), "ARC001", ".zip"),
    "zip-twice": refused(zip_named(FILE, FILE), "SUB002"),
    "zip-twice-in-two-folders": refused(zip_named(f"a/{FILE}", f"b/{FILE}"), "SUB002"),
    "zip-twice-by-dot-slash": refused(zip_named(FILE, f"./{FILE}"), "SUB002"),
    "zip-link": refused(zip_with(lambda data: Member(FILE, REFERENCE.encode(), mode=LINK)), "ARC003"),
    "zip-link-to-passwd": refused(zip_with(lambda data: Member(FILE, b"/etc/passwd", mode=LINK)), "ARC003"),
    "zip-fifo": refused(zip_named(FILE, mode=0o10644), "ARC003"),
    "zip-device": refused(zip_named(FILE, mode=0o20666), "ARC003"),
    "zip-bzip2": refused(by_zipfile(method=zipfile.ZIP_BZIP2), "ARC006"),
    "zip-lzma": refused(by_zipfile(method=zipfile.ZIP_LZMA), "ARC006"),
    "zip-zstandard": refused(zip_named(FILE, method=93), "ARC006"),
    "zip-unknown-method": refused(zip_named(FILE, method=9999), "ARC006"),
    "zip-encrypted": unusable(zip_named(FILE, flags=1), "ARC005", ".zip"),
    "zip-encrypted-by-aes": unusable(zip_named(FILE, flags=1, method=99), "ARC005", ".zip"),
    "zip-member-of-wrong-crc": refused(zip_named(FILE, crc=1), "NII001|NII005"),
    "zip-member-with-a-bit-flip": refused(
        zip_with(
            lambda data: Member(
                FILE, data, stream=put(zlib.compress(data, wbits=-15), len(data) // 2, b"\0\0\0")
            )
        ),
        "NII001|NII005",
    ),
    "zip-member-cut": refused(
        zip_with(lambda data: Member(FILE, data, stream=zlib.compress(data, wbits=-15)[:-50])),
        "NII001|NII005",
    ),
    "zip-member-claims-less": refused(zip_named(FILE, size=100), "NII001|NII005"),
    "zip-member-claims-more": refused(zip_named(FILE, size=100_000), "NII001|NII005"),
    "zip-member-of-a-broken-image": refused(zip_with(lambda data: Member(FILE, data[:-9])), "NII005"),
    "zip-member-of-another-name": refused(zip_named(FILE, local_name=b"x" * len(FILE)), "NII001|ARC001"),
    "zip-member-of-a-gzip-bomb": refused(
        zip_with(lambda data: Member(FILE, image_bomb(data))), "GEO001|NII005"
    ),
    "zip-bomb": unusable(
        zip_with(
            lambda data: Member(
                FILE, method=8, stream=deflated(gzip.decompress(data), 2 * GIB), size=43_552 + 2 * GIB
            )
        ),
        "ARC004",
        ".zip",
    ),
    "zip-claims-gigabytes": unusable(zip_named(FILE, size=2**32 - 2), "ARC004", ".zip"),
    "zip-of-20001-members": unusable(
        archive(
            lambda sound: zip_of([*members_of(sound), *(Member(name, method=0) for name in many(20_001))])
        ),
        "ARC004",
        ".zip",
    ),
    "zip-cut": unusable(zip_changed(lambda data: data[: len(data) // 2]), "ARC001", ".zip"),
    "zip-without-its-end": unusable(zip_changed(lambda data: data[:-22]), "ARC001", ".zip"),
    "zip-directory-damaged": unusable(
        zip_changed(lambda data: put(data, data.rindex(b"PK\1\2"), b"XXXX")), "ARC001", ".zip"
    ),
    "zip-directory-elsewhere": unusable(
        zip_changed(lambda data: put(data, -6, b"\xff\xff\xff\x7f")), "ARC001|NII001", ".zip"
    ),
    "zip64-of-2-to-60-members": unusable(zip_changed(zip64_end), "ARC001", ".zip"),
    "zip-of-noise": unusable(archive(lambda sound: NOISE), "ARC001", ".zip"),
    "zip-of-0-bytes": unusable(archive(lambda sound: b""), "ARC001", ".zip"),
    "zip-of-2-bytes": unusable(archive(lambda sound: b"PK"), "ARC001", ".zip"),
    "zip-of-html": unusable(archive(lambda sound: HTML), "ARC001", ".zip"),
    "image-named-zip": unusable(archive(lambda sound: sound[FILE]), "ARC001", ".zip"),
    "zip-unreadable": replace(unusable(unreadable, "ARC001", ".zip"), skip=NOT_ROOT),
    "zip-in-capitals": accepted(zip_changed(bytes), ending=".ZIP"),
    "zip-named-tar-gz": accepted(zip_changed(bytes), ending=".tar.gz"),
}


# ---- tar --------------------------------------------------------------------------------------------------


def entry(
    name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", pax: Any = None
) -> bytes:
    """A member of a tar: header and data."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.pax_headers = len(data), kind, link, pax or {}
    form = tarfile.GNU_FORMAT if pax is None else tarfile.PAX_FORMAT
    return info.tobuf(form, "utf-8", "surrogateescape") + padded(data)


def padded(data: bytes) -> bytes:
    """Data filled up to whole blocks."""
    return data + bytes(-len(data) % 512)


def claiming(member: bytes, size: int) -> bytes:
    """A member whose header claims another size, with the right checksum."""
    return summed(put(member, 124, tarfile.itn(size, 12, tarfile.GNU_FORMAT)))


def summed(member: bytes) -> bytes:
    """A member whose header has the right checksum."""
    total = sum(member[:148]) + 8 * 32 + sum(member[156:512])
    return put(member, 148, f"{total:06o}\0 ".encode())


def tar_of(files: Mapping[str, bytes], *entries: bytes, prefix: str = "") -> bytes:
    """A tar of files and of entries made by hand."""
    whole = b"".join([*(entry(prefix + name, data) for name, data in files.items()), *entries])
    return whole + bytes(1024)


def tar_with(make: Callable[[bytes], bytes], zipped: bool = False) -> Build:
    """A tar of the two other cases and of what is made from the sound prediction."""

    def whole(sound: Sound) -> bytes:
        # In front, so that whatever follows a bad member must still be found.
        made = make(sound[FILE]) + tar_of(without(sound))
        return squeezed(made) if zipped else made

    return archive(whole)


def tar_named(*names: str) -> Build:
    """A tar of the prediction under other names."""
    return tar_with(lambda data: b"".join(entry(name, data) for name in names))


def tar_beside(*entries: bytes) -> Build:
    """A tar of all three cases and further entries."""
    return archive(lambda sound: tar_of(sound, *entries))


def tar_special(kind: bytes, link: str = "") -> Build:
    """A tar with something that is no file in place of the prediction."""
    return tar_with(lambda data: entry(FILE, kind=kind, link=link))


def tar_changed(change: Change, zipped: bool = False) -> Build:
    """The bytes of a sound tar, or .tar.gz, changed."""
    return archive(lambda sound: change(squeezed(tar_of(sound)) if zipped else tar_of(sound)))


def tar_bomb(sound: Sound) -> bytes:
    """A .tar.gz of 2 GiB in 2 MB."""
    return gzip_bomb(tar_of(without(sound))[:-1024] + claiming(entry(FILE), 2 * GIB), 2 * GIB)


def records(count: int) -> bytes:
    """An extended header of very many short records."""
    data = b"6 a=b\n" * count
    return claiming(entry("pax", kind=tarfile.XHDTYPE), len(data)) + padded(data)


SPARSE = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": FILE,
    "GNU.sparse.realsize": "9",
}

TARS = {
    "tar-sound": accepted(tar_changed(bytes), ending=".tar"),
    "tar-of-pax": accepted(tar_with(lambda data: entry(FILE, data, pax={"comment": "x"})), ending=".tar"),
    "tar-in-a-folder": accepted(archive(lambda sound: tar_of(sound, prefix="team/")), ending=".tar"),
    "tar-in-two-folders": accepted(archive(lambda sound: tar_of(sound, prefix="team/masks/")), ending=".tar"),
    "tar-with-dot-slash": accepted(
        archive(lambda sound: entry("./", kind=tarfile.DIRTYPE) + tar_of(sound, prefix="./")), ending=".tar"
    ),
    "tar-gz-sound": accepted(tar_changed(bytes, zipped=True), ending=".tar.gz"),
    "tgz-sound": accepted(tar_changed(bytes, zipped=True), ending=".tgz"),
    "tar-gz-in-a-folder": accepted(
        archive(lambda sound: squeezed(tar_of(sound, prefix="team/"))), ending=".tar.gz"
    ),
    "tgz-with-dot-slash": accepted(
        archive(lambda sound: squeezed(tar_of(sound, prefix="./"))), ending=".tgz"
    ),
    "tar-gz-of-several-members": accepted(
        tar_changed(lambda data: squeezed(data[:999]) + squeezed(data[999:])), ending=".tar.gz"
    ),
    "tar-named-zip": accepted(tar_changed(bytes), ending=".zip"),
    "tar-named-tar-gz": accepted(tar_changed(bytes), ending=".tar.gz"),
    "tar-gz-named-tar": accepted(tar_changed(bytes, zipped=True), ending=".tar"),
    "tar-with-a-long-name": accepted(tar_named(f"{'d/' * 60}{FILE}"), ending=".tar"),
    "tar-of-a-mac": accepted(tar_beside(entry(f"._{FILE}", b"\0\5\x16\7")), ending=".tar"),
    "tar-with-a-stray": accepted(tar_beside(entry("notes.txt", b"hello")), "SUB003", ending=".tar"),
    "tar-in-a-tar": accepted(tar_beside(entry("more.tar.gz", squeezed(tar_of({})))), "SUB003", ending=".tar"),
    "tar-hidden-member": missing(tar_named(f".{FILE}"), "SUB003", ending=".tar"),
    "tar-of-nothing": replace(missing(archive(lambda sound: bytes(10_240)), ending=".tar"), others="missing"),
    "tar-gz-of-nothing": replace(
        missing(archive(lambda sound: squeezed(bytes(10_240))), ending=".tar.gz"), others="missing"
    ),
    "tar-up-and-out": refused(tar_named(f"../../evil/{FILE}"), "ARC002", ending=".tar"),
    "tar-absolute-path": refused(tar_named(FULL_PATH), "ARC002", ending=".tar"),
    "tar-drive-letter": refused(tar_named(f"C:\\{FILE}"), "ARC002", ending=".tar"),
    "tar-backslashes": refused(tar_named(f"team\\{FILE}"), "ARC002", ending=".tar"),
    "tar-nul-in-a-name": refused(
        tar_with(lambda data: entry("x", data, pax={"path": f"a\0b/{FILE}"})), "ARC002", ending=".tar"
    ),
    "tar-name-too-long": refused(tar_named(f"{'d/' * 520}{FILE}"), "ARC002", ending=".tar"),
    "tar-pax-path-up-and-out": refused(
        tar_with(lambda data: entry("harmless", data, pax={"path": f"../evil/{FILE}"})),
        "ARC002",
        ending=".tar",
    ),
    "tar-name-of-nothing": accepted(tar_beside(entry("", b"x")), "ARC002|SUB003", ending=".tar"),
    "tar-name-of-a-slash": accepted(tar_beside(entry("/", b"x")), "ARC002", ending=".tar"),
    "tar-name-of-a-formula": accepted(tar_beside(entry(f"{COMMAND}.txt")), "SUB003", ending=".tar"),
    "tar-name-with-control-characters": accepted(
        tar_beside(entry("\x1b[2J\r\n\x7f.txt")), "SUB003", ending=".tar"
    ),
    "tar-name-of-wrong-utf-8": accepted(
        tar_named(os.fsdecode(b"\xff\xfe-") + f"{BROKEN}.nii.gz"), ending=".tar", skip=LINUX
    ),
    "tar-twice": refused(tar_named(FILE, FILE), "SUB002", ending=".tar"),
    "tar-link": refused(tar_special(tarfile.SYMTYPE, REFERENCE), "ARC003", ending=".tar"),
    "tar-link-to-passwd": refused(tar_special(tarfile.SYMTYPE, "/etc/passwd"), "ARC003", ending=".tar"),
    "tar-hard-link": refused(
        tar_special(tarfile.LNKTYPE, "BraTS-GLI-00001-000.nii.gz"), "ARC003", ending=".tar"
    ),
    "tar-hard-link-to-passwd": refused(tar_special(tarfile.LNKTYPE, "/etc/passwd"), "ARC003", ending=".tar"),
    "tar-link-and-file-through-it": refused(
        tar_with(lambda data: entry("way", kind=tarfile.SYMTYPE, link=EVIL) + entry(f"way/../{FILE}", data)),
        "ARC002",
        "ARC003",
        ending=".tar",
    ),
    "tar-character-device": refused(tar_special(tarfile.CHRTYPE), "ARC003", ending=".tar"),
    "tar-block-device": refused(tar_special(tarfile.BLKTYPE), "ARC003", ending=".tar"),
    "tar-fifo": refused(tar_special(tarfile.FIFOTYPE), "ARC003", ending=".tar"),
    "tar-sparse": refused(tar_special(tarfile.GNUTYPE_SPARSE), "ARC003", ending=".tar"),
    "tar-sparse-of-pax": refused(
        tar_with(lambda data: entry(f"GNUSparseFile.0/{FILE}", b"0\n", pax=SPARSE)), "ARC003", ending=".tar"
    ),
    "tar-member-of-a-broken-image": refused(
        tar_with(lambda data: entry(FILE, data[:-9])), "NII005", ending=".tar"
    ),
    "tar-gz-link": refused(
        tar_with(lambda data: entry(FILE, kind=tarfile.SYMTYPE, link=REFERENCE), zipped=True),
        "ARC003",
        ending=".tar.gz",
    ),
    "tar-gz-up-and-out": refused(
        tar_with(lambda data: entry(f"../evil/{FILE}", data), zipped=True), "ARC002", ending=".tar.gz"
    ),
    "tar-gz-bomb": unusable(archive(tar_bomb), "ARC004", ".tar.gz"),
    "tar-gz-bomb-of-zeros-behind": unusable(
        archive(lambda sound: gzip_bomb(tar_of(sound), GIB)), "ARC004", ".tar.gz"
    ),
    "tar-gz-of-20001-members": unusable(
        archive(lambda sound: squeezed(tar_of(dict.fromkeys(many(20_001), b"")))), "ARC004", ".tar.gz"
    ),
    "tar-cut-in-data": unusable(
        tar_changed(lambda data: data[: data.rindex(b"BraTS-GLI-00003") + 600]), "ARC001", ".tar"
    ),
    "tar-cut-in-a-header": unusable(
        tar_changed(lambda data: data[: data.rindex(b"BraTS-GLI-00003") + 100]), "ARC001", ".tar"
    ),
    "tar-header-damaged": unusable(
        tar_changed(lambda data: put(data, data.rindex(b"BraTS-GLI-00003"), b"X")), "ARC001", ".tar"
    ),
    "tar-claims-terabytes": unusable(
        tar_with(lambda data: claiming(entry(FILE, data), 2**42)), "ARC001|ARC004", ".tar"
    ),
    "tar-negative-size": unusable(tar_with(lambda data: claiming(entry(FILE, data), -512)), "ARC001", ".tar"),
    "tar-very-negative-size": unusable(
        tar_with(lambda data: claiming(entry(FILE, data), -(2**60))), "ARC001", ".tar"
    ),
    "tar-size-of-letters": unusable(
        tar_with(lambda data: summed(put(entry(FILE, data), 124, b"not a number"))), "ARC001", ".tar"
    ),
    "tar-pax-negative-size": unusable(
        tar_with(lambda data: entry(FILE, data, pax={"size": "-512"})), "ARC001", ".tar"
    ),
    "tar-pax-of-8-gib": unusable(
        tar_with(lambda data: claiming(entry("pax", kind=tarfile.XHDTYPE), 8 * GIB)), "ARC001", ".tar"
    ),
    "tar-pax-damaged": unusable(
        tar_with(lambda data: entry("pax", b"999 path=x\n", tarfile.XHDTYPE) + entry(FILE, data)),
        "ARC001",
        ".tar",
    ),
    "tar-pax-record-of-no-length": unusable(
        tar_with(lambda data: entry("pax", b"0 a=b\n", tarfile.XHDTYPE) + entry(FILE, data)), "ARC001", ".tar"
    ),
    "tar-pax-of-many-records": accepted(
        tar_with(lambda data: records(20_000) + entry(FILE, data)), ending=".tar"
    ),
    "tar-long-name-of-8-gib": unusable(
        tar_with(lambda data: claiming(entry("long", kind=tarfile.GNUTYPE_LONGNAME), 8 * GIB)),
        "ARC001",
        ".tar",
    ),
    "tar-of-0-bytes": unusable(archive(lambda sound: b""), "ARC001", ".tar"),
    "tar-of-text": unusable(archive(lambda sound: b"hello\n" * 300), "ARC001", ".tar"),
    "tar-of-noise": unusable(archive(lambda sound: NOISE), "ARC001", ".tar"),
    "tar-gz-cut": unusable(
        tar_changed(lambda data: data[: len(data) // 2], zipped=True), "ARC001", ".tar.gz"
    ),
    "tar-gz-cut-in-its-trailer": unusable(
        tar_changed(lambda data: data[:-3], zipped=True), "ARC001", ".tar.gz"
    ),
    "tar-gz-wrong-crc": unusable(
        tar_changed(lambda data: put(data, -8, bytes([data[-8] ^ 1])), zipped=True), "ARC001", ".tar.gz"
    ),
    "tar-gz-bit-flip": unusable(tar_changed(flipped, zipped=True), "ARC001", ".tgz"),
    "tar-gz-of-noise": unusable(archive(lambda sound: NOISE), "ARC001", ".tar.gz"),
    "tar-gz-of-text": unusable(archive(lambda sound: squeezed(b"hello\n" * 300)), "ARC001", ".tgz"),
    "tar-gz-of-gzip": unusable(tar_changed(squeezed, zipped=True), "ARC001", ".tar.gz"),
    "image-named-tar-gz": unusable(archive(lambda sound: sound[FILE]), "ARC001", ".tar.gz"),
    "tar-bz2-named-tar-gz": unusable(tar_changed(bz2.compress), "ARC001", ".tar.gz"),
    "tar-xz": unusable(tar_changed(lzma.compress), "ARC001", ".tar.xz"),
    "tar-bz2": unusable(tar_changed(bz2.compress), "ARC001", ".tar.bz2"),
    "seven-zip": unusable(archive(lambda sound: b"7z\xbc\xaf\x27\x1c\0\4" + NOISE), "ARC001", ".7z"),
    "rar": unusable(archive(lambda sound: b"Rar!\x1a\7\1\0" + NOISE), "ARC001", ".rar"),
}

KINDS: dict[str, Kind] = {
    **STREAMS,
    **HEADERS,
    **VOXELS,
    **NAMES,
    **{name: replace(kind, ending=kind.ending or ".zip") for name, kind in ZIPS.items()},
    **TARS,
}

# These hang or take hours where they are mishandled: each is run alone, under a limit of time.
SLOW: dict[str, Kind] = {
    "a-hole-of-a-terabyte-behind-the-image": refused(sparse(1 << 40), "NII009"),
    "fifo-named-zip": unusable(lambda path, sound: os.mkfifo(path), "ARC001", ".zip"),
    # One such header costs little to read, unless reading it takes the square of its length.
    "tar-gz-of-long-extended-headers": accepted(
        archive(lambda sound: squeezed(records(150_000) * 12 + tar_of(sound))), ending=".tar.gz"
    ),
}
