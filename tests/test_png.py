"""PNG masks: what is read, what is refused before it costs anything, and 2-D challenges end to end."""

from __future__ import annotations

import io
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_validate import command

from bratseval import png
from bratseval.config import load_challenge
from bratseval.errors import InputError
from bratseval.images import LabelImage, read_labels

END = 352  # of the header before the pixels
INTERLACED = 1
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width: int, height: int, bits: int = 8, color: int = GRAY, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, color, 0, 0, interlace))


def image(lines: list[bytes], start: bytes, between: bytes = b"") -> bytes:
    """A PNG of unfiltered lines."""
    data = zlib.compress(b"".join(b"\0" + line for line in lines))
    return png.SIGNATURE + start + between + chunk(b"IDAT", data) + chunk(b"IEND")


LINES = [bytes([0, 1, 255, 7]), bytes([9, 0, 0, 1])]
SOUND = image(LINES, header(4, 2))
COLORS = chunk(b"PLTE", bytes(range(48)))


def pixels(data: bytes) -> list[list[int]]:
    """The values of the NIfTI image, line by line."""
    nifti = png.as_nifti(data)
    width, height = struct.unpack_from("<2h", nifti, 42)
    (bits,) = struct.unpack_from("<h", nifti, 72)
    whole = np.frombuffer(nifti, f"<u{bits // 8}", width * height, END)
    return whole.reshape(height, width).tolist()


# By bits and color: a line and its values; grays of 2 and 4 bits are stretched, as all programs do.
KINDS = {
    "gray 1": (1, GRAY, bytes([0b10110000]), [1, 0, 1, 1]),
    "gray 2": (2, GRAY, bytes([0b00011011]), [0, 85, 170, 255]),
    "gray 4": (4, GRAY, bytes([0x01, 0xEF]), [0, 17, 238, 255]),
    "gray 8": (8, GRAY, bytes([0, 1, 254, 255]), [0, 1, 254, 255]),
    "gray 16": (16, GRAY, struct.pack(">4H", 0, 1, 300, 65535), [0, 1, 300, 65535]),
    "palette 1": (1, PALETTE, bytes([0b10110000]), [1, 0, 1, 1]),
    "palette 2": (2, PALETTE, bytes([0b00011011]), [0, 1, 2, 3]),
    "palette 4": (4, PALETTE, bytes([0x01, 0xEF]), [0, 1, 14, 15]),
    "palette 8": (8, PALETTE, bytes([0, 1, 2, 15]), [0, 1, 2, 15]),
}


@pytest.mark.parametrize(("bits", "color", "line", "values"), KINDS.values(), ids=KINDS)
def test_every_kind_that_is_read(bits: int, color: int, line: bytes, values: list[int]) -> None:
    between = COLORS if color == PALETTE else b""
    data = image([line, line[::-1] if bits == 8 else line], header(4, 2, bits, color), between)
    assert pixels(data) == [values, values[::-1] if bits == 8 else values]
    assert pixels(data) == [*map(list, np.asarray(Image.open(io.BytesIO(data))).astype(int).tolist())]


@pytest.mark.parametrize("mode", ["L", "1", "P", "I;16"])
def test_what_another_program_writes(mode: str) -> None:
    values = np.random.default_rng(3).integers(0, 2, (9, 13)).astype(np.uint16 if "16" in mode else np.uint8)
    drawn = Image.fromarray(values * (255 if mode == "1" else 1)).convert(mode)
    file = io.BytesIO()
    drawn.save(file, "PNG", optimize=True)
    assert pixels(file.getvalue()) == values.tolist()


def test_an_interlaced_image() -> None:
    """Adam7 of 4 x 2 pixels: passes 1, 4, 6 and 7 have pixels."""
    passes = [bytes([0]), bytes([255]), bytes([1, 7]), bytes([9, 0, 0, 1])]
    data = image(passes, header(4, 2, interlace=INTERLACED))
    assert pixels(data) == [list(line) for line in LINES]


def test_of_an_animation_the_first_image() -> None:
    control = chunk(b"acTL", struct.pack(">2I", 2, 0))
    frame = struct.pack(">4I2H2B", 4, 2, 0, 0, 1, 1, 0, 0)
    first = chunk(b"fcTL", struct.pack(">I", 0) + frame)
    data = bytearray(image(LINES, header(4, 2), control + first))
    more = zlib.compress(b"\0\5\5\5\5" * 2)
    second = chunk(b"fcTL", struct.pack(">I", 1) + frame) + chunk(b"fdAT", struct.pack(">I", 2) + more)
    data[-12:-12] = second
    assert pixels(bytes(data)) == [list(line) for line in LINES]


def read(folder: Path, data: bytes, name: str = "mask.png") -> LabelImage:
    path = folder / name
    path.write_bytes(data)
    return read_labels(path, range(1, 256), "background")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("png")


def refusal(folder: Path, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, data)
    (problem,) = caught.value.problems
    assert problem.code == "NII018"
    assert problem.file == str(folder / "mask.png")
    return problem.message.removeprefix(f"{folder / 'mask.png'}: ")


OF_COLORS = "the PNG has colors or transparency, expected a gray image of labels"
REFUSED = {
    "RGB": (image([bytes(12)] * 2, header(4, 2, 8, RGB)), OF_COLORS),
    "RGBA": (image([bytes(16)] * 2, header(4, 2, 8, RGBA)), OF_COLORS),
    "gray with alpha": (image([bytes(8)] * 2, header(4, 2, 8, GRAY_ALPHA)), OF_COLORS),
    "no such color": (image(LINES, header(4, 2, 8, 1)), OF_COLORS),
    "no such depth": (image(LINES, header(4, 2, 3)), "the PNG is damaged (its header cannot be)"),
    "a palette of 16 bits": (
        image([bytes(8)] * 2, header(4, 2, 16, PALETTE), COLORS),
        "the PNG is damaged (its header cannot be)",
    ),
    "no pixels": (image([], header(0, 2)), "the PNG is damaged (its header cannot be)"),
    "no data": (
        png.SIGNATURE + header(4, 2) + chunk(b"IEND"),
        "the PNG is damaged (0 bytes of pixels, expected 10)",
    ),
    "no header": (image(LINES, b""), "the PNG is damaged (it does not begin with its one header)"),
    "two headers": (
        image(LINES, header(4, 2), header(8, 4)),
        "the PNG is damaged (it does not begin with its one header)",
    ),
    "a second header that is huge": (
        image(LINES, header(4, 2), header(30_000, 30_000)),
        "the PNG is damaged (it does not begin with its one header)",
    ),
    "a header of another size": (
        image(LINES, chunk(b"IHDR", bytes(12))),
        "the PNG is damaged (it does not begin with its one header)",
    ),
    "a line too few": (
        image(LINES[:1], header(4, 2)),
        "the PNG is damaged (5 bytes of pixels, expected 10)",
    ),
    "a pixel too few": (
        image([*LINES[:1], LINES[1][:3]], header(4, 2)),
        "the PNG is damaged (9 bytes of pixels, expected 10)",
    ),
    "interlaced, a pass too few": (
        image([b"\0", b"\0", b"\0\0"], header(4, 2, interlace=INTERLACED)),
        "the PNG is damaged (7 bytes of pixels, expected 12)",
    ),
    "no such filter": (
        png.SIGNATURE + header(4, 2) + chunk(b"IDAT", zlib.compress(b"\x09\0\0\0\0" * 2)) + chunk(b"IEND"),
        "the PNG is damaged (unrecognized data stream",
    ),
    "no deflate": (
        png.SIGNATURE + header(4, 2) + chunk(b"IDAT", b"nothing") + chunk(b"IEND"),
        "the PNG is damaged (Error -3 while decompressing data",
    ),
    "another method": (
        image(LINES, chunk(b"IHDR", struct.pack(">2I5B", 4, 2, 8, 0, 7, 0, 0))),
        "the PNG is damaged (its header cannot be)",
    ),
    "the signature alone": (png.SIGNATURE, "the PNG ends too early"),
    "a wrong checksum": (
        SOUND[:29] + b"rong" + SOUND[33:], "the PNG is damaged (checksum of its chunk b'IHDR')",
    ),
    "too wide": (
        image(LINES, header(40_000, 2)), "the PNG has 40000 x 2 pixels, at most 32767 a side are read",
    ),
    "the largest": (image(LINES, header(2**32 - 1, 2**32 - 1)), "the PNG has 4294967295 x 4294967295"),
    "too many pixels": (image(LINES, header(32_767, 32_767)), "the PNG has 32767 x 32767 pixels, at most"),
    "a text that unpacks to much": (
        image(LINES, header(4, 2), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 23)))),
        "the PNG is damaged (Decompressed data too large",
    ),
    "too many chunks": (
        image(LINES, header(4, 2), chunk(b"abCd") * 100_000), "the PNG has more than 100000 chunks",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(folder: Path, data: bytes, says: str) -> None:
    said = refusal(folder, data)
    assert said.startswith(says)
    assert " at 0x" not in said  # the same sentence every time


@pytest.mark.parametrize("size", [(32_767, 32_767), (2**31 - 1, 2**31 - 1), (8_000, 9_999), (30_000, 1)])
def test_nothing_is_allocated_for_what_a_header_claims(size: tuple[int, int]) -> None:
    data = image([], header(*size))  # without any line
    Image.init()
    tracemalloc.start()
    with pytest.raises(ValueError, match="the PNG"):
        png.as_nifti(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_bytes_after_the_end(folder: Path) -> None:
    whole = read(folder, SOUND)
    assert not whole.notes
    more = read(folder, SOUND + b"rest")
    assert more.labels.tolist() == whole.labels.tolist()
    assert [(note.severity, note.code) for note in more.notes] == [("warning", "NII009")]
    assert "4 bytes after the image are ignored" in more.notes[0].message


def test_every_truncation_is_refused(folder: Path) -> None:
    for length in range(len(SOUND)):
        with pytest.raises(InputError) as caught:
            read(folder, SOUND[:length])
        (problem,) = caught.value.problems
        assert problem.code == ("NII018" if length >= len(png.SIGNATURE) else "NII002")


def test_every_flipped_bit_is_refused() -> None:
    """Checksums see all of them; of a changed signature no PNG is left."""
    for place in range(len(png.SIGNATURE) * 8, len(SOUND) * 8):
        broken = bytearray(SOUND)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="the PNG"):
            png.as_nifti(bytes(broken))


CHUNKS = st.tuples(
    st.sampled_from(
        [b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"zTXt", b"iTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT"]
    )
    | st.sampled_from([b"IDAT", b"pHYs", b"cHRM", b"sRGB", b"eXIf", b"tEXt", b"ABCD", b"\xff\0\1\2"]),
    st.binary(max_size=30),
).map(lambda both: chunk(*both))


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 3)),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.sampled_from([GRAY, PALETTE]),
    st.lists(CHUNKS, max_size=3).map(b"".join),
    st.binary(max_size=40) | st.just(bytes(100)),
    st.integers(0, 1),
)
def test_any_chunks_give_an_image_or_a_sentence(
    size: tuple[int, int], bits: int, color: int, between: bytes, lines: bytes, interlace: int
) -> None:
    """With right checksums, so that they reach the decoder."""
    data = png.SIGNATURE + header(*size, bits, color, interlace) + between
    data += chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND")
    nifti = None
    with suppress(ValueError):
        nifti = png.as_nifti(data)
    if nifti is not None:
        assert struct.unpack_from("<2h", nifti, 42) == size
        (stored,) = struct.unpack_from("<h", nifti, 72)
        assert len(nifti) == END + size[0] * size[1] * stored // 8


# Whole challenges of 2-D masks.

SHAPE = (6, 5)  # x, y


def mask(x: int, y: int, value: int = 255) -> np.ndarray:
    """A box of 3 x 2 pixels with its corner at (x, y)."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[x : x + 3, y : y + 2] = value
    return labels


def as_png(labels: np.ndarray) -> bytes:
    return image([line.tobytes() for line in labels.T], header(*labels.shape))


def as_nifti(labels: np.ndarray, third_spacing: float = 0.0) -> bytes:
    """A 2-D image as some programs write it: no spacing along the axis that it does not have."""
    made = nibabel.Nifti1Image(labels, None)
    assert made.header["dim"][0] == 2
    made.header["pixdim"][3:] = third_spacing
    return made.to_bytes()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


METRICS = ("dice", "iou", "thresholded_iou", "accuracy", "sensitivity", "specificity")
EXACT = dict.fromkeys(METRICS, 1.0)
# Moved by one along x: of 6 pixels 4 are common; of 24 others 2 are wrong.
MOVED = {
    "dice": 8 / 12,
    "iou": 4 / 8,
    "thresholded_iou": 0.0,
    "accuracy": 26 / 30,
    "sensitivity": 4 / 6,
    "specificity": 22 / 24,
}


@pytest.fixture
def skin(tmp_path: Path) -> Path:
    """References of two cases, one of them NIfTI."""
    write(tmp_path / "references" / "ISIC_0001_segmentation.png", as_png(mask(1, 1)))
    write(tmp_path / "references" / "ISIC_0002_Segmentation.nii", as_nifti(mask(2, 3, 1)))
    return tmp_path


def run(root: Path) -> tuple[int, dict[tuple[str, str, str], dict[str, str]], list[dict[str, str]]]:
    out = root / "out"
    done = command("run", "skin-lesion", "-s", root / "teams", "-r", root / "references", "-o", out)
    scores = {(row["team"], row["case"], row["metric"]): dict(row) for row in table(out / "scores.csv")}
    return done.returncode, scores, [dict(row) for row in table(out / "problems.csv")]


def test_skin_lesions_from_folders_and_archives(skin: Path) -> None:
    """PNG and NIfTI mixed on either side, 0 and 255 or 0 and 1, palette or not."""
    palette = image([line.tobytes() for line in mask(1, 1, 1).T], header(*SHAPE, 8, PALETTE), COLORS)
    teams = skin / "teams"
    write(teams / "folder" / "ISIC_0001.png", palette)
    write(teams / "folder" / "ISIC_0002.png", as_png(mask(2, 3)))
    with zipfile.ZipFile(teams / "zipped.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/ISIC_0001_segmentation.png", as_png(mask(1, 1, 1)))
        archive.writestr("a/ISIC_0002.nii", as_nifti(mask(2, 3), 1.0))
    with tarfile.open(teams / "moved.tar.gz", "w:gz") as archive:
        for name, data in (("ISIC_0001.nii", as_nifti(mask(2, 1))), ("ISIC_0002.png", as_png(mask(1, 3)))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    code, scores, problems = run(skin)
    assert (code, problems) == (0, [])
    assert len(scores) == 3 * 2 * len(METRICS)
    for (team, case, metric), row in scores.items():
        expected = (MOVED if team == "moved" else EXACT)[metric]
        assert float(row["value"]) == pytest.approx(expected), (team, case, metric)
        assert (row["region"], row["status"]) == ("lesion", "ok")
    board = table(skin / "out" / "leaderboard.csv")
    assert [(row["team"], row["rank"]) for row in board] == [("folder", "1"), ("zipped", "1"), ("moved", "3")]


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "truncated": (lambda: as_png(mask(1, 1))[:-5], "NII018"),
    "colors": (lambda: image([bytes(18)] * 5, header(6, 5, 8, RGB)), "NII018"),
    "no PNG at all": (lambda: b"\xff\xd8\xff\xe0 a JPEG", "NII002"),
    "empty": (lambda: b"", "NII002"),
    "another shape": (lambda: as_png(mask(1, 1)[:5]), "GEO001"),
    "turned": (lambda: as_png(mask(1, 1).T), "GEO001"),
    "another label": (lambda: as_png(mask(1, 1, 2)), "LBL001"),
    "stretched grays": (lambda: image([b"\x01\x10\x00"] * 5, header(6, 5, 4)), "LBL001"),
}


@pytest.mark.parametrize(("make", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_mask_costs_its_case(skin: Path, make: Callable[[], bytes], code: str) -> None:
    teams = skin / "teams"
    for team in ("sound", "broken"):
        write(teams / team / "ISIC_0001.png", as_png(mask(1, 1)))
        write(teams / team / "ISIC_0002.png", as_png(mask(2, 3)))
    write(teams / "broken" / "ISIC_0001.png", make())
    exit_code, scores, problems = run(skin)
    assert exit_code == 1
    (problem,) = problems
    assert (problem["severity"], problem["code"], problem["team"]) == ("error", code, "broken")
    assert problem["case"] == "ISIC_0001"
    assert len(scores) == 2 * 2 * len(METRICS)
    specs = load_challenge("skin-lesion").metrics
    for (team, case, metric), row in scores.items():
        lost = (team, case) == ("broken", "ISIC_0001")
        assert float(row["value"]) == (0 if lost else 1), (team, case, metric)
        assert row["status"] == ("invalid" if lost else "ok")
        assert (specs[metric].penalty if specs[metric].missing is None else specs[metric].missing) == 0


def test_an_empty_mask_is_measured(skin: Path) -> None:
    write(skin / "teams" / "empty" / "ISIC_0001.png", as_png(mask(1, 1, 0)))
    write(skin / "teams" / "empty" / "ISIC_0002.png", as_png(mask(2, 3)))
    code, scores, problems = run(skin)
    assert (code, problems) == (0, [])
    values = {m: float(row["value"]) for (_, case, m), row in scores.items() if case == "ISIC_0001"}
    assert values == dict.fromkeys(METRICS, 0.0) | {"accuracy": 24 / 30, "specificity": 1.0}


def test_a_mask_as_png_beside_the_same_as_nifti_refuses_both(skin: Path) -> None:
    write(skin / "teams" / "twice" / "ISIC_0001.png", as_png(mask(1, 1)))
    write(skin / "teams" / "twice" / "ISIC_0001.nii", as_nifti(mask(1, 1)))
    write(skin / "teams" / "twice" / "ISIC_0002.png", as_png(mask(2, 3)))
    code, scores, problems = run(skin)
    assert (code, [row["code"] for row in problems]) == (1, ["SUB002"])
    assert {row["status"] for (_, case, _), row in scores.items() if case == "ISIC_0001"} == {"invalid"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xd8\xff\xe0" + bytes(400), "is named .png but is a JPEG, which blurs labels"),
        (bytes(400), "is named .png but is none"),
    ],
)
def test_a_file_that_is_only_named_png(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_labels(path, {1}, "refuse")
    (problem,) = caught.value.problems
    assert says in problem.message
    assert problem.hint == "save a gray PNG of labels"
