"""Files that are nearly sound: headers, streams, documents, tables and archives with a few things wrong.

Most fields stay sound: a file that is wrong everywhere is refused by the first check and tests no other.
"""

from __future__ import annotations

import copy
import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

Draw = st.DrawFn
LARGEST = {"b": 127, "h": 2**15 - 1, "i": 2**31 - 1, "q": 2**63 - 1}
# Field -> place and form in NIfTI-1 and in NIfTI-2.
FIELDS: dict[str, tuple[tuple[int, str], tuple[int, str]]] = {
    "sizeof_hdr": ((0, "1i"), (0, "1i")),
    "dim": ((40, "8h"), (16, "8q")),
    "intent": ((68, "1h"), (504, "1i")),
    "datatype": ((70, "1h"), (12, "1h")),
    "bitpix": ((72, "1h"), (14, "1h")),
    "pixdim": ((76, "8f"), (104, "8d")),
    "vox_offset": ((108, "1f"), (168, "1q")),
    "scaling": ((112, "2f"), (176, "2d")),
    "codes": ((252, "2h"), (344, "2i")),
    "quaternion": ((256, "6f"), (352, "6d")),
    "rows": ((280, "12f"), (400, "12d")),
    "magic": ((344, "4s"), (4, "8s")),
}
KINDS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
MAGIC = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}
OTHER_MAGIC = [b"ni1\0", b"ni2\0\r\n\x1a\n", b"n+1\0", b"n+2\0", b"n+3\0", b"", b"\0+1\0", b"n+2\0\n\n\x1a\n"]
SPACINGS = [1.0, 0.5, 2.75, 0.48828125]
ROTATIONS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (0.5, 0.5, 0.5), (-0.1, 0.2, 0.3)]
EXTENSIONS = [
    *[b"\0\0\0\0"] * 9,
    *(b"", b"\1\0\0\0"),
    *(struct.pack("<4b2i", 1, 0, 0, 0, size, 4) + b"comment " for size in (16, 0, -1, 7, 32, 2**31 - 1)),
]


class Header(NamedTuple):
    """All bytes before the voxels, and the voxels that the sound fields promise."""

    data: bytes
    dtype: np.dtype[Any]
    voxels: int


def numbers(letter: str) -> st.SearchStrategy[Any]:
    """Hostile numbers of a type of `struct`."""
    if letter in "fd":
        special = st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, -1.0, 1e-5, 1e5, 1e19, 3e38])
        return special | st.floats(width=32 if letter == "f" else 64)
    most = LARGEST[letter]
    edges = {
        most,
        -most - 1,
        *(sign * min(most, n) for sign in (1, -1) for n in (0, 1, 8, 255, 30_000, 2**40)),
    }
    return st.sampled_from(sorted(edges)) | st.integers(0, 9) | st.integers(-most - 1, most)


@st.composite
def nifti_headers(draw: Draw, largest: int = 6) -> Header:
    """NIfTI-1 and NIfTI-2 of both byte orders; up to three fields are hostile."""
    version, order = draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from("<>"))
    extents = draw(st.lists(st.integers(max(1, largest - 5), largest), min_size=1, max_size=3))
    if len(extents) == 3:
        extents += draw(st.sampled_from([[], [], [], [1], [1, 1], [3], [1, 3]]))
    kind = draw(st.sampled_from(sorted(KINDS)))
    dtype = np.dtype(order + KINDS[kind])
    spacing = [draw(st.sampled_from(SPACINGS)) for _ in range(3)]
    extension = draw(st.sampled_from(EXTENSIONS))
    size = {1: 348, 2: 540}[version]
    start = size + len(extension) + -(size + len(extension)) % 16
    scale = np.diag([*spacing, 0])[:3] * draw(st.sampled_from([1.0, -1.0]))
    values: dict[str, Sequence[Any]] = {
        "sizeof_hdr": [size],
        "dim": [len(extents), *extents, *[1] * (7 - len(extents))],
        "intent": [draw(st.sampled_from([0, 0, 1007]))],
        "datatype": [kind],
        "bitpix": [dtype.itemsize * 8],
        "pixdim": [draw(st.sampled_from([1.0, -1.0])), *spacing, *[1.0] * 4],
        "vox_offset": [start],
        "scaling": draw(st.sampled_from([(1, 0), (1, 0), (0, 0), (2, 0), (0.5, 0), (1, -2), (np.nan, 0)])),
        "codes": draw(st.sampled_from([(0, 0), (1, 0), (0, 1), (1, 1), (1, 4)])),
        "quaternion": [*draw(st.sampled_from(ROTATIONS)), 10.0, -20.0, 0.5],
        "rows": [*scale[0, :3], -90, *scale[1, :3], 126, *scale[2, :3], -72],
        "magic": [MAGIC[version]],
    }
    for name in draw(st.sets(st.sampled_from(sorted(values)), max_size=3)):
        form = FIELDS[name][version - 1][1]
        changed = list(values[name])
        if name == "magic":
            changed = [draw(st.sampled_from(OTHER_MAGIC) | st.binary(max_size=8))]
        else:
            for place in draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=3)):
                changed[place] = draw(numbers(form[-1]))
        values[name] = changed
    return Header(
        (packed_header(version, order, values) + extension).ljust(start, b"\0"), dtype, int(np.prod(extents))
    )


def packed_header(version: int, order: str, values: dict[str, Sequence[Any]]) -> bytes:
    """The bytes of a header with these fields, all others zero."""
    header = bytearray({1: 348, 2: 540}[version])
    for name, value in values.items():
        place, form = FIELDS[name][version - 1]
        struct.pack_into(order + form, header, place, *value)
    return bytes(header)


@st.composite
def nifti_files(draw: Draw) -> bytes:
    """A header and voxels that are right, few, many or random; plain or compressed, and often damaged."""
    header = draw(nifti_headers())
    size = header.voxels * header.dtype.itemsize
    voxels = draw(
        st.sampled_from(["labels", "labels", "labels", "near", "random", "short", "long", "endless"])
    )
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    labels = random.integers(-6, 4, header.voxels).clip(0)
    if voxels == "near" and header.dtype.kind == "f":
        labels = labels + random.choice([0, 0, 1e-4, -9e-4, 0.3, np.nan], header.voxels)
    payload = random.bytes(size) if voxels == "random" else labels.astype(header.dtype).tobytes()
    if voxels == "short":
        payload = payload[: draw(st.integers(0, size - 1))]
    payload += bytes({"long": draw(st.integers(1, 700)), "endless": 2 << 20}.get(voxels, 0))
    content = header.data + payload
    way = draw(st.sampled_from(["plain", "plain", "gzip", "gzip", "gzip", "members"]))
    if way == "gzip":
        content = gzip.compress(content, 1, mtime=0)
    elif way == "members":
        cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=4)))
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        parts[1:1] = [b""] * draw(st.sampled_from([0, 0, 1, 300]))
        content = b"".join(gzip.compress(part, 1, mtime=0) for part in parts)
        content += draw(st.sampled_from([b"", bytes(9), b"\x1f", b"\x1f\x8b", b"junk"]))
    damage = draw(st.sampled_from(["none", "none", "none", "cut", "bytes"]))
    if damage == "cut":
        return content[: draw(st.integers(0, len(content)))]
    return draw(mutated(content)) if damage == "bytes" else content


@st.composite
def mutated(draw: Draw, data: bytes, most: int = 4) -> bytes:
    """The bytes with flips, cuts, insertions and repeats; mostly near the start, where headers are."""
    for _ in range(draw(st.integers(1, most))):
        end = len(data)
        place = draw(st.integers(0, min(end, 420)) | st.integers(0, end))
        action = draw(st.sampled_from(["flip", "set", "insert", "drop", "repeat", "cut"]))
        if action == "flip":
            data = (
                data[:place]
                + bytes(b ^ 1 << draw(st.integers(0, 7)) for b in data[place : place + 1])
                + (data[place + 1 :])
            )
        elif action in ("set", "insert"):
            new = draw(st.binary(min_size=1, max_size=8))
            data = data[:place] + new + data[place + (len(new) if action == "set" else 0) :]
        elif action == "cut":
            data = data[:place] if draw(st.booleans()) else data[place:]
        else:
            length = draw(st.integers(1, 64))
            data = (
                data[: place + (length if action == "repeat" else 0)]
                + (data[place + (0 if action == "repeat" else length) :])
            )
    return data


# A challenge as the texts of its values; hostile ones take the place of any of them.
Node = dict[str, Any] | list[Any] | str
CHALLENGE: dict[str, Node] = {
    "name": "tiny",
    "title": "Tiny",
    "version": "1",
    "source": ["https://example.org"],
    "scorer": "none",
    "task": "segmentation",
    "files": {
        "prediction": ["'(?P<case>[0-9]+)[.]nii'"],
        "reference": ["'(?P<case>[0-9]+)-seg[.]nii'"],
        "unread": ["'.*[.]txt'"],
    },
    "labels": {"A": "1", "B": "2"},
    "remap": {"4": "2"},
    "unknown_labels": "refuse",
    "geometry": {"policy": "strict", "tolerance": "0.05"},
    "regions": {"WT": ["A", "B"], "A": {"labels": ["A"], "lesions": {"dilation_voxels": "1"}}},
    "lesions": {"dilation_voxels": "1", "merge": ["reference"], "min_reference_mm3": "20"},
    "metrics": {"dice": {"empty_both": "1", "penalty": "0"}, "hd95": {"penalty": "grid_diagonal"}},
    "ranking": {"metrics": ["dice"], "regions": ["WT"], "missing": {"dice": "0"}},
    "score_table": {"team": "team", "wide": {"d": {"metric": "dice", "region": "WT"}}},
}
EXTENDING: dict[str, Node] = {"extends": "brats2024-gli", "name": "mine", "lesions": {"large_mm3": "5"}}
VALUES = [
    *("", "~", "null", "true", "yes", "0", "-1", "1.5", "1e400", "-.inf", ".nan", "'nan'", "9" * 30),
    *("9" * 5000, "0x", "0xffffffffffffffffffff", "0o9", "0b_", "1_0", "_1", "1e", "+.e", "190:20:30"),
    *("2024-13-45", ".", "2001-12-14t21:59:43.10-05:00", "2024-02-29", "=", "<<", "-", "''", "' '", "'/'"),
    *("'../x'", "a/b", "/dev/null", "!!int ''", "!!int x", "!!float x", "!!bool x", "!!null x"),
    *("!!binary x", "!!timestamp x", "!!set {a, b}", "!!omap [a: 1]", "!!omap {a: 1}", "!!pairs [a: 1]"),
    *("!!python/object/apply:os.system [x]", "!x y", "! y", "!!str 5", "!!map []", "!!seq {}"),
    *("!<tag:x> 1", "!!merge x", "!!value x", "!!set [a]", "!e!x y", "&a x", "*a", "&a [*a]", "&a {x: *a}"),
    *("*missing", "{<<: *a}", "{<<: {labels: 1}}", "{<<: [{x: 1}, {y: 2}]}", "{<<: 1}"),
    *("&a {x: 1, <<: *a}", "{a: 1, a: 2}", "{? [a]: 1}", "{1: 2}", "{null: 1}", "{1.5: 2}", "{true: 1}"),
    *("{[a]: b}", "{{a: b}: c}", "[[]]", "[[], {}]", "'[[a](?P<case>x)'", "'(?P<case>a{99999999999})'"),
    *("'(?P<case>'", "'(?P<case>(?i)x)'", "'(?P<case>" + "(" * 2000 + ")" * 2000 + ")'"),
    *("'(?P<case>x)(?P<case>y)'", "'('", "'[a--b]'", "'(?P<case>(a+)+)'", "'\\p'", '"\\ud800"', '"\\0"'),
    *('"\\U00110000"', '"\\x"', "|\n x", ">-\n\n x\n", "'a\n\n b'", "[" * 40 + "]" * 40, "[" * 500),
    *("{a: " * 30 + "1" + "}" * 30, "{a: " * 2000, "x" * 5000, "# c", "@x", "`x", "%x", "hd95"),
    *("lesion_dice", "A", "brats2021", "tiny", "registration", "uncertainty", "multi_rater"),
    *("test_then_rank",),
]  # fmt: skip
KEYS = [
    *("<<", "~", "1", "1.5", "true", "''", "' '", "*a", "&a k", "!!str k", "!x k", "? [a]", "2020-01-01"),
    *("'a.b'", "registration", "uncertainty", "cohorts", "missing", "parameters", "tolerance_mm"),
    *("x" * 200, "'[x]'", "extends", "any", "steps", "scheme", "directions", "tie_breakers", "join_by"),
    *("metric", "prediction_parts", "team"),
]  # fmt: skip
LINES = [
    *("<<: {title: x}", "<<: *a", "name: again", "? [x]\n: y", "? {a: b}\n: c", "\tx: y", "- x", "x"),
    *("---", "...", "a: &a {name: x}\n<<: *a", "%TAG ! x:", "? a", ": b"),
    *("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]",),
    "\n".join(
        f"k{i}: &l{i} [{', '.join(f'*l{i - 1}' for _ in range(9)) if i else 'x'}]" for i in range(9)
    ),
]  # fmt: skip
STARTS = [
    "",
    "",
    "",
    "---\n",
    "%YAML 1.1\n---\n",
    "%YAML 1.2\n---\n",
    "%YAML 9.9\n---\n",
    "# x\n",
    "\ufeff",
    "\n\n",
]
YAML_ALPHABET = "{}[],:&*!|>'\"%@`#?-+ \n\tab019.~<=_\\\0\x7f\x85\u2028é😀"


def _places(node: Node, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container with a key or index in it."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        found.append((node, key))
        _places(value, found)
    return found


def _flow(node: Node) -> str:
    """A node as one line of YAML."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in node.items()) + "}"
    return "[" + ", ".join(map(_flow, node)) + "]" if isinstance(node, list) else node


@st.composite
def yaml_documents(draw: Draw) -> bytes:
    """A challenge with hostile values, keys and lines, in some encoding."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from([CHALLENGE, CHALLENGE, EXTENDING])))
    value = st.sampled_from(VALUES) | st.sampled_from(VALUES) | st.text(YAML_ALPHABET, max_size=12)
    for _ in range(draw(st.integers(0, 3))):
        places = _places(document, [])
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "replace", "delete", "key", "wrap"]))
        if action == "delete":
            del container[key]
        elif action == "wrap":
            container[key] = draw(st.sampled_from([[container[key]], {"x": container[key]}]))
        elif action == "key" and isinstance(container, dict):
            container[draw(st.sampled_from(KEYS))] = draw(value)
        else:
            container[key] = draw(value)
    lines = [f"{key}: {_flow(value)}" for key, value in document.items()]
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        new = st.sampled_from(LINES) | st.sampled_from(lines or ["x"]) | st.text(YAML_ALPHABET, max_size=20)
        lines.insert(draw(st.integers(0, len(lines))), draw(new))
    text = (
        draw(st.sampled_from(STARTS))
        + "\n".join(lines)
        + draw(st.sampled_from(["\n", "", "\n...\nx", "\n---\na: 1"]))
    )
    return draw(_encoded(text))


@st.composite
def _encoded(draw: Draw, text: str) -> bytes:
    """Mostly UTF-8; sometimes another encoding, other line ends or damaged bytes."""
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "utf-32-be", "latin-1", "utf-7"]))
    data = text.encode(encoding, "replace")
    if draw(st.sampled_from([False, False, False, True])):
        data = draw(mutated(data))
    return data


TABLES: list[list[list[str]]] = [
    [["Landmark", "X", "Y", "Z"], ["1", "10.5", "-20", "3e1"], ["2", "0", "1", "2"], ["3", "4", "5", "6"]],
    [["round", "round_time_s", "round_score"], ["0", "10", "0.5"], ["1", "12.5", "0.6"], ["2", "9", "0.7"]],
    [
        ["round", "time", "binary_dice_wt", "binary_dice_et", "binary_dice_tc"],
        ["0", "10", "0.5", "0.4", "0.6"],
        ["1", "22", "0.6", "0.5", "0.7"],
    ],
    [
        ["team", "case", "region", "metric", "value"],
        ["alpha", "1", "WT", "dice", "0.9"],
        ["beta", "1", "WT", "dice", ""],
        ["alpha", "2", "ET", "lesion_hd95", "12"],
    ],
    [
        ["team", "institution", "case", "region", "metric", "value", "measured", "status", "reason"],
        ["alpha", "", "1", "WT", "dice", "0", "0.1", "ok", ""],
        ["beta", "h", "1", "WT", "hd95", "", "", "invalid", "infinite"],
    ],
    [["algorithm", "subject", "dice_WT", "lesion_dice_ET"], ["a", "1", "0.9", "0.8"], ["b", "1", "0", "NA"]],
    [["NewID", "Cohort", "institution"], ["BraTS-GLI-00001-000", "BraTS-GLI", "h"], ["00002-000", "SSA", ""]],
]  # fmt: skip
SUBJECTS: list[list[list[str]]] = [
    [["case", "probability"], ["00001", "0.5"], ["00002", "1"], ["00003", "0"], ["BraTS-00004-000", "1e-3"]],
    [["SubjectID", "Probability", "note"], ["7", "0.25", "=1+1"], ["8", "0.75", ""]],
    [["00001"], ["00002"], ["a b"]],
    [["3.25"]],
    [["team", "case", "region", "metric", "sum", "count"], ["a", "1", "lesion", "dice", "0.5", "2"]],
    [
        ["severity", "code", "team", "case", "file", "message", "hint"],
        ["error", "NII001", "'=a", "", "", "m", ""],
    ],
]
CELLS = [
    *("", " ", "nan", "NaN", "inf", "-inf", "1e400", "-1e400", "1e-400", "1e12", "1_000", "0x1p3", "1,5"),
    *("1;5", "+1", "٣", "²", "１", "0001", "1.0", "00.", "-0", "0" * 30, "9" * 30, "9" * 5000),
    *("0" * 3000 + "x", "x" * 140_000, '"', '""', '"x', 'x"y"', '"a\nb"', "\0", "a\0b", "\ufeff", "=1+1"),
    *("'=1", "@x", "\t", "é", "😀", "\u2028", "\x85", "TRUE", "NA", "None", "1e", ".", "-", "e5", "１e5"),
    *("infinity", "1 2", "a,b", "a;b", "../x", "alpha", "1", "0.5"),
]  # fmt: skip


@st.composite
def csv_texts(draw: Draw, tables: Sequence[list[list[str]]] = TABLES) -> bytes:
    """One of the tables that are read, with hostile cells, rows, separators and encodings."""
    rows = copy.deepcopy(draw(st.sampled_from(tables)))
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.sampled_from(rows))
        action = draw(st.sampled_from(["cell", "cell", "cell", "more", "less", "repeat", "drop", "blank"]))
        if action == "cell" and row:
            cell = st.sampled_from(CELLS) | st.sampled_from(rows[0] or ["x"]) | st.text(max_size=6)
            row[draw(st.integers(0, len(row) - 1))] = draw(cell)
        elif action == "more":
            row.append(draw(st.sampled_from(CELLS)))
        elif action == "less" and row:
            row.pop()
        elif action == "repeat":
            rows.append(list(row))
        elif action == "blank":
            rows.insert(draw(st.integers(0, len(rows))), [draw(st.sampled_from(["", " ", "\0"]))])
        elif len(rows) > 1:
            rows.remove(row)
    comma = draw(st.sampled_from([",", ",", ",", ",", ", ", ";", "\t", "|"]))
    line_end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n", "\r\r\n", "\u2028"]))
    quote = draw(st.sampled_from(["", "", "", '"']))
    text = line_end.join(comma.join(f"{quote}{cell}{quote}" for cell in row) for row in rows)
    text = draw(st.sampled_from(["", "", "", "\ufeff", "\n", "sep=,\n"])) + text
    return draw(_encoded(text + draw(st.sampled_from([line_end, line_end, "", '"']))))


def png_of(
    width: int,
    height: int,
    bits: int,
    color: int,
    interlace: int,
    lines: bytes,
    before: Sequence[tuple[bytes, bytes]] = (),
    pieces: int = 1,
    end: Sequence[tuple[bytes, bytes]] = ((b"IEND", b""),),
) -> bytes:
    """A PNG of packed lines, which begin with their filter; further chunks before them and at the end."""
    header = struct.pack(">2I5B", width, height, bits, color, 0, 0, interlace)
    packed = zlib.compress(lines)
    step = -(-len(packed) // pieces)
    data = [(b"IDAT", packed[start : start + step]) for start in range(0, len(packed), step)]
    chunks = [(b"IHDR", header), *before, *data, *end]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


CHUNKS = [
    *(
        (b"PLTE", bytes(range(12))),
        (b"PLTE", bytes(768)),
        (b"PLTE", b"12"),
        (b"tRNS", b"\0\1"),
        (b"tRNS", b""),
    ),
    *((b"acTL", struct.pack(">2I", 2, 0)), (b"acTL", b""), (b"fcTL", bytes(26)), (b"fdAT", bytes(9))),
    *(
        (b"tEXt", b"key\0value"),
        (b"zTXt", b"k\0\0" + zlib.compress(bytes(10_000))),
        (b"iTXt", b"k\0\1\0\0\0x"),
    ),
    *((b"IHDR", bytes(13)), (b"IEND", b""), (b"IEND", b"more"), (b"gAMA", bytes(4)), (b"iCCP", b"x\0\0yz")),
    *(
        (b"pHYs", bytes(9)),
        (b"sBIT", b"\1"),
        (b"eXIf", b"MM\0*"),
        (b"cHRM", b"1"),
        (b"\0\0\0\0", b""),
        (b"nope", b""),
    ),
]


@st.composite
def pngs(draw: Draw) -> bytes:
    """Masks of which size, depth, kind, lines or chunks may be odd; now and then damaged bytes, or more."""
    size = st.sampled_from([*[1, 2, 3, 5, 8, 9, 16] * 12, 0, 300, 32_767, 32_768, 2**31, 2**32 - 1])
    width, height = draw(size), draw(size)
    bits = draw(st.sampled_from([*[1, 2, 4, 8, 8, 16] * 8, 0, 3, 255]))
    color = draw(st.sampled_from([*[0, 0, 3] * 8, 2, 4, 6, 1, 7]))
    interlace = draw(st.sampled_from([*[0, 0, 0, 1] * 8, 2]))
    small = width <= 300 and height <= 300
    count = height * (1 + (width * bits + 7) // 8) if small else 100
    fill = draw(st.sampled_from([b"\0", b"\0", b"\1\2", b"\4\xff", b"\5"]))
    lines = (fill * (count // len(fill) + 1))[: max(0, count + draw(st.sampled_from([*[0, 50] * 8, -1])))]
    before = draw(st.just([]) | st.just([]) | st.lists(st.sampled_from(CHUNKS), max_size=2))
    if color == 3 and draw(st.sampled_from([*[True] * 9, False])):
        before = [(b"PLTE", bytes(768)), *before]
    end = [*draw(st.just([]) | st.lists(st.sampled_from(CHUNKS), max_size=1)), (b"IEND", b"")]
    data = png_of(width, height, bits, color, interlace, lines, before, draw(st.integers(1, 3)), end)
    data += draw(st.sampled_from([b"", b"", b"", b"more", bytes(1000)]))
    return draw(mutated(data, 2)) if draw(st.sampled_from([False, False, True])) else data


NAMES = [
    *("a.nii.gz", "a.nii.gz", "b.nii", "folder/c.nii.gz", "folder/", "A.NII.GZ", "e\u0301.nii"),
    *("\u00e9.nii", "a//b.nii", "../x.nii", "folder/../../x", "/etc/passwd", "C:\\x.nii", "c:x"),
    *("\\\\host\\x", "a\\b", "a\0b", "", ".", "./a.nii.gz", "..", "./", "/", "//", "folder/."),
    *("a.nii.gz/b", "con", "nul.nii", "a:b", "x" * 300, "d/" * 200 + "x", "\u202egz.iin", "inner.zip"),
    *("__MACOSX/._a.nii", ".hidden", " ", "a ", "-rf", "a\nb", "\x1b[31m", "folder/c.nii.gz/"),
    *("\U0001f600",),
]  # fmt: skip
CONTENTS = [
    b"",
    b"x",
    b"label" * 200,
    bytes(20_000),
    gzip.compress(bytes(500), mtime=0),
    bytes(range(256)) * 3,
]
# Where the numbers of a zip's headers are, after their signature.
ZIP_FIELDS = {
    b"PK\1\2": (6, 8, 10, 16, 20, 24, 28, 30, 32, 34, 38, 42),
    b"PK\3\4": (6, 8, 14, 18, 22, 26, 28),
    b"PK\5\6": (4, 6, 8, 10, 12, 16, 20),
}
MODES = [0, 0, 0, 0o100644, 0o120777, 0o040755, 0o060600, 0o010600, 0o140600]
TAR_TYPES = [*[tarfile.REGTYPE] * 4, *(bytes([kind]) for kind in b"\0" + b"1234567LKSxgXVMZ")]
TAR_SIZES = [0, 1, 511, 513, 2**33, 2**62, -1, -512, 10**6]
PAX = [
    *(b"path=../x", b"path=/x", b"path=", b"size=-1", b"size=99999999999999", b"size=x", b"size=1.5"),
    *(b"linkpath=/x", b"GNU.sparse.major=1", b"GNU.sparse.map=0,9", b"mtime=nan", b"x", b"=", b"path=a\0b"),
    *(b"path=\xff", b"hdrcharset=BINARY"),
]  # fmt: skip


@st.composite
def archives(draw: Draw) -> bytes:
    """.zip, .tar and .tar.gz with hostile names, types, sizes and checksums, and often damaged."""
    data = draw(draw(st.sampled_from([_zips(), _tars()])))
    if not data.startswith(b"PK") and draw(st.booleans()):
        data = gzip.compress(data, 1, mtime=0)
        if draw(st.sampled_from([False, False, True])):
            data = data[:-8] + draw(st.binary(min_size=0, max_size=9))
    return draw(mutated(data)) if draw(st.sampled_from([False, False, True])) else data


@st.composite
def _zips(draw: Draw) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for _ in range(draw(st.integers(0, 4))):
            info = zipfile.ZipInfo()
            info.filename = draw(st.sampled_from(NAMES))
            info.compress_type = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
            info.external_attr = draw(st.sampled_from(MODES)) << 16
            info.extra = draw(
                st.sampled_from([b"", b"", b"\1\0\x08\0" + b"\xff" * 8, b"\x75\x70\2\0xy", b"\1"])
            )
            archive.writestr(info, draw(st.sampled_from(CONTENTS)))
        archive.comment = draw(st.sampled_from([b"", b"", b"PK\5\6" + bytes(18)]))
    data = bytearray(buffer.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        sign = draw(st.sampled_from(sorted(ZIP_FIELDS)))
        found = [i for i in range(len(data)) if data.startswith(sign, i)]
        if found:
            place = draw(st.sampled_from(found)) + draw(st.sampled_from(ZIP_FIELDS[sign]))
            struct.pack_into(
                "<H", data, place, draw(st.sampled_from([0, 1, 8, 12, 99, 0x2041, 0x7FFF, 0xFFFF]))
            )
    return draw(st.sampled_from([b"", b"", b"MZ prefix"])) + bytes(data)


@st.composite
def _tars(draw: Draw) -> bytes:
    pieces: list[bytes] = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.sampled_from([False, False, True])):
            records = b"".join(_pax(draw(st.sampled_from(PAX))) for _ in range(draw(st.integers(1, 2))))
            if draw(st.sampled_from([False, False, True])):
                records = draw(mutated(records, 1))
            pieces.append(_tar_member("pax", b"x", records, len(records)))
        content = draw(st.sampled_from(CONTENTS))
        kind = draw(st.sampled_from(TAR_TYPES))
        size = (
            draw(st.sampled_from(TAR_SIZES)) if draw(st.sampled_from([False] * 4 + [True])) else len(content)
        )
        pieces.append(_tar_member(draw(st.sampled_from(NAMES)), kind, content, size))
    return b"".join(pieces) + bytes(draw(st.sampled_from([1024, 1024, 10_240, 512, 100, 0])))


def _pax(record: bytes) -> bytes:
    length = len(record) + 2
    while length != len(str(length)) + 2 + len(record):
        length = len(str(length)) + 2 + len(record)
    return b"%d %s\n" % (length, record)


def _tar_member(name: str, kind: bytes, content: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "../x" if kind in b"12" else ""
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "replace") + content + bytes(-len(content) % 512)


def sound_niftis() -> list[bytes]:
    """Sound files of both versions, plain and compressed; where a fuzzer starts."""
    found = []
    for version, order, kind in ((1, "<", 2), (1, ">", 16), (2, "<", 512), (2, ">", 64)):
        dtype = np.dtype(order + KINDS[kind])
        size = {1: 352, 2: 544}[version]
        values: dict[str, Sequence[Any]] = {
            "sizeof_hdr": [size - 4],
            "dim": [3, 4, 3, 3, 1, 1, 1, 1],
            "datatype": [kind],
            "bitpix": [dtype.itemsize * 8],
            "pixdim": [1.0] * 8,
            "vox_offset": [size],
            "scaling": [1.0, 0.0],
            "codes": [1, 1],
            "quaternion": [0.0] * 6,
            "rows": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
            "magic": [MAGIC[version]],
        }
        content = (
            packed_header(version, order, values) + bytes(4) + (np.arange(36) % 4).astype(dtype).tobytes()
        )
        found += [content, gzip.compress(content, mtime=0)]
    return found


def sound_documents() -> list[bytes]:
    """Challenges that load."""
    return [
        "\n".join(f"{key}: {_flow(value)}" for key, value in document.items()).encode()
        for document in (CHALLENGE, EXTENDING)
    ]


def sound_tables() -> list[bytes]:
    """Tables that are read."""
    return ["\n".join(map(",".join, rows)).encode() for rows in TABLES]


def sound_subjects() -> list[bytes]:
    """Tables and texts of subjects that are read."""
    return ["\n".join(map(",".join, rows)).encode() for rows in SUBJECTS]


def sound_pngs() -> list[bytes]:
    """Masks of every depth, one of a palette, one in passes, one in pieces."""
    return [
        *(png_of(5, 3, bits, 0, 0, bytes(100)) for bits in (1, 2, 4, 8, 16)),
        png_of(5, 3, 8, 3, 0, bytes(100), before=[(b"PLTE", bytes(range(30)))]),
        png_of(9, 9, 8, 0, 1, bytes(300)),
        png_of(5, 3, 8, 0, 0, bytes(18), pieces=3),
    ]


def sound_archives() -> list[bytes]:
    """A .zip, a .tar and a .tar.gz of two members."""
    members = {"folder/a.nii.gz": CONTENTS[4], "b.nii": CONTENTS[2]}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    tar = b"".join(_tar_member(n, tarfile.REGTYPE, c, len(c)) for n, c in members.items()) + bytes(1024)
    return [buffer.getvalue(), tar, gzip.compress(tar, mtime=0)]


SOUND: dict[str, Callable[[], list[bytes]]] = {
    "nifti": sound_niftis, "yaml": sound_documents, "csv": sound_tables, "archives": sound_archives,
    "png": sound_pngs, "tables": sound_subjects,
}  # fmt: skip
