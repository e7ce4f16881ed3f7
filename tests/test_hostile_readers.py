"""Any bytes give a result or a typed error: what strangers send, field by field hostile, to every reader.

`scripts/fuzz.py` runs the same checks for longer.
"""

from __future__ import annotations

import contextlib
import gzip
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import hostile_strategies as hostile
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel import imageglobals
from PIL import Image

from bratseval.archives import ArchiveLimits, list_archive
from bratseval.challenge import Challenge
from bratseval.config import load_challenge
from bratseval.errors import BratsevalError, InputError, UsageError
from bratseval.files import open_file
from bratseval.images import LabelImage, read_labels
from bratseval.metadata import read_metadata
from bratseval.nifti import Limits, Source, read_grid, read_header
from bratseval.number_tables import read_numbers
from bratseval.score_files import read_scores
from bratseval.subject_tables import Check, read_subject_files, read_subjects
from bratseval.tables import DETAIL_COLUMNS, PROBLEM_COLUMNS, read_columns, read_rows
from bratseval.tasks.federation import read_rounds
from bratseval.volumes import read_field, read_volume

KNOWN = (1, 2, 3)
MOST_MEMORY = 64 << 20
LIMITS = ArchiveLimits(members=20, unpacked_bytes=1 << 20, ratio=100)
ANY: Any = nibabel


def outcome(read: Callable[[], Any], *errors: type[BratsevalError], hints: bool = False) -> Any:
    """What a reader gives, or None after a typed error that explains itself."""
    try:
        return read()
    except errors as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert problem.severity == "error"
        assert problem.code
        assert problem.message
        assert problem.hint or not hints
    return None


def header_of(path: Path, *, vectors: bool) -> object:
    with Source(path) as source:
        return read_header(source, Limits(), vectors=vectors)


def check_nifti(path: Path) -> None:
    """All readers of images, and nibabel beside them."""
    judge = partial(outcome, hints=True)
    for vectors in (False, True):
        judge(partial(header_of, path, vectors=vectors), InputError)
    judge(lambda: read_grid(path), InputError)
    strict = judge(lambda: read_labels(path, KNOWN, "refuse"), InputError)
    lenient = judge(lambda: read_labels(path, KNOWN, "background"), InputError)
    if strict is not None:
        assert not strict.unknown
        assert lenient is not None
    if lenient is not None:
        agrees_with_nibabel(path, lenient)
    volume = judge(lambda: read_volume(path), InputError)
    if volume is not None:
        assert volume.values.shape == volume.grid.shape
        assert np.isfinite(volume.values).all()
    field = judge(lambda: read_field(path), InputError)
    if field is not None:
        assert field[0].values.shape == (*field[0].grid.shape, 3)
        assert np.isfinite(field[0].values).all()


def agrees_with_nibabel(path: Path, image: LabelImage) -> None:
    """Shape, affine and values, where nibabel reads the file too."""
    quiet = mock.patch.object(imageglobals.logger, "disabled", True)
    with quiet, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            loaded = ANY.load(path)
            values = np.rint(loaded.get_fdata())
        except Exception:  # what it refuses is no measure
            return
    shape = (*loaded.shape, 1, 1)
    assert image.grid.shape == shape[:3]
    assert set(shape[3:]) <= {1}
    size = max(image.grid.spacing_mm)
    assert np.allclose(image.grid.affine, loaded.affine, rtol=1e-6, atol=1e-6 * size)
    whole = np.zeros(image.grid.shape, np.uint8)
    box = tuple(slice(o, o + n) for o, n in zip(image.offset, image.labels.shape, strict=True))
    whole[box] = image.labels
    values = values.reshape(image.grid.shape)
    assert np.array_equal(whole, np.where(np.isin(values, KNOWN), values, 0))
    assert sum(image.unknown.values()) == np.count_nonzero(~np.isin(values, (0, *KNOWN)))


def check_yaml(path: Path) -> None:
    """A challenge that can be written down, or a typed error."""
    challenge = outcome(lambda: load_challenge(path), UsageError)
    if challenge is not None:
        assert isinstance(challenge, Challenge)
        assert challenge.digest
        challenge.model_dump_json()


@cache
def challenges() -> tuple[Challenge, Challenge]:
    return load_challenge("brats2024-goat"), load_challenge("brats2024-gli")


def check_csv(path: Path) -> None:
    """Every reader of tables."""
    table = outcome(lambda: read_numbers(path, "XYZ", id_column="Landmark"), InputError, hints=True)
    if table is not None and not table.faults:
        assert np.isfinite([list(row.values()) for row in table.numbers]).all()
    rounds = outcome(lambda: read_rounds(path), InputError, hints=True)
    if rounds is not None:
        assert np.isfinite(rounds.seconds).all()
        assert ((rounds.scores >= 0) & (rounds.scores <= 1)).all()
    for challenge in (None, challenges()[1]):
        outcome(partial(read_scores, path, challenge), UsageError)
    for challenge in challenges():
        outcome(partial(read_metadata, challenge, path), UsageError)


def check_tables(path: Path) -> None:
    """Readers of subjects and of our own files: ids once, numbers finite and within what is checked."""
    inside = Check("outside 0 to 1", "write shares", lambda table: ((table < 0) | (table > 1)).any(axis=1))
    for ids, pattern in ((["case", "SubjectID"], ""), (["case"], r"\d{5}"), ([], "")):
        columns = [["probability", "Probability"]] if ids else []
        found = outcome(
            partial(read_subjects, path, ids, columns, id_pattern=pattern, checks=[inside] if ids else []),
            InputError,
            hints=True,
        )
        if found is not None:
            assert len(set(found.ids)) == len(found.ids) == len(found.numbers)
            assert ((found.numbers >= 0) & (found.numbers <= 1)).all()
            assert all(one.hint and one.code for one in found.problems)
    alone = read_subject_files({"a": path})
    assert len(alone.ids) + len(alone.problems) == 1
    rows = outcome(lambda: read_rows(path), UsageError)
    if rows is not None:
        assert all(list(row) == rows[0] for row in rows[1])
    for columns in (DETAIL_COLUMNS["pooled.csv"], PROBLEM_COLUMNS):
        outcome(lambda columns=columns: list(read_columns(path, columns)), UsageError)


def check_png(path: Path) -> None:
    """Labels as Pillow reads them, where it does, or a typed error."""
    strict = outcome(lambda: read_labels(path, KNOWN, "refuse"), InputError, hints=True)
    found = outcome(lambda: read_labels(path, KNOWN, "background"), InputError, hints=True)
    assert strict is None or found is not None
    outcome(lambda: read_volume(path), InputError, hints=True)
    if found is None:
        return
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=["PNG"]) as image:
        values = np.asarray(image).astype(np.int64).T[..., None]
    assert found.grid.shape == values.shape
    whole = np.zeros(found.grid.shape, np.int64)
    whole[tuple(slice(o, o + n) for o, n in zip(found.offset, found.labels.shape, strict=True))] = (
        found.labels
    )
    assert np.array_equal(whole, np.where(np.isin(values, KNOWN), values, 0))
    assert sum(found.unknown.values()) == np.count_nonzero(~np.isin(values, (0, *KNOWN)))


def check_archive(path: Path) -> None:
    """Entries below the archive, each of which is read to its end or refused."""
    for entry in outcome(lambda: list_archive(path, LIMITS), InputError, hints=True) or ():
        assert ".." not in entry.path.parts
        assert path in entry.path.parents or (entry.fault and entry.path == path)
        if entry.fault is not None:
            assert entry.fault.code
            assert entry.fault.hint
            continue
        total = 0
        with contextlib.suppress(OSError), contextlib.closing(open_file(entry.path)) as file:
            while piece := file.read(1 << 16):
                total += len(piece)
                assert total <= min(file.size, LIMITS.unpacked_bytes)


class Target(NamedTuple):
    """A kind of file: how it is checked, drawn, and named by its first bytes."""

    check: Callable[[Path], None]
    files: Callable[[], st.SearchStrategy[bytes]]
    names: tuple[tuple[bytes, str], ...]

    def name(self, data: bytes) -> str:
        """A file name that fits the content."""
        return next(name for start, name in self.names if data.startswith(start))


TARGETS = {
    "nifti": Target(check_nifti, hostile.nifti_files, ((b"\x1f\x8b", "a.nii.gz"), (b"", "a.nii"))),
    "yaml": Target(check_yaml, hostile.yaml_documents, ((b"", "a.yaml"),)),
    "csv": Target(check_csv, hostile.csv_texts, ((b"", "a.csv"),)),
    "archives": Target(
        check_archive, hostile.archives, ((b"PK", "a.zip"), (b"\x1f\x8b", "a.tar.gz"), (b"", "a.tar"))
    ),
    "png": Target(check_png, hostile.pngs, ((b"", "a.png"),)),
    "tables": Target(check_tables, partial(hostile.csv_texts, hostile.SUBJECTS), ((b"", "a.csv"),)),
}
fast = partial(settings, deadline=None, suppress_health_check=list(HealthCheck))  # tmp_path is shared


def run(target: Target, folder: Path, data: bytes) -> None:
    path = folder / target.name(data)
    path.write_bytes(data)
    target.check(path)


@pytest.mark.parametrize("target", TARGETS)
def test_sound_files_are_read(tmp_path: Path, target: str) -> None:
    for data in hostile.SOUND[target]():
        run(TARGETS[target], tmp_path, data)


@fast(max_examples=800)
@given(hostile.nifti_files())
def test_any_image_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    run(TARGETS["nifti"], tmp_path, data)


@fast(max_examples=150)
@given(hostile.nifti_headers(32767).map(lambda header: header.data), st.booleans())
def test_a_header_that_claims_terabytes_allocates_nothing(tmp_path: Path, data: bytes, packed: bool) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(data + bytes(4000)) if packed else data + bytes(4000))
    tracemalloc.start()
    try:
        check_nifti(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@fast(max_examples=250)
@given(hostile.yaml_documents())
def test_any_text_is_a_challenge_or_refused(tmp_path: Path, data: bytes) -> None:
    run(TARGETS["yaml"], tmp_path, data)


@fast(max_examples=600)
@given(hostile.csv_texts())
def test_any_table_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    run(TARGETS["csv"], tmp_path, data)


@fast(max_examples=150)
@given(hostile.csv_texts(hostile.SUBJECTS))
def test_any_table_of_subjects_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    run(TARGETS["tables"], tmp_path, data)


@fast(max_examples=200)
@given(hostile.pngs())
def test_any_png_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    run(TARGETS["png"], tmp_path, data)


@fast(max_examples=600)
@given(hostile.archives())
def test_any_archive_is_listed_or_refused(tmp_path: Path, data: bytes) -> None:
    run(TARGETS["archives"], tmp_path, data)


@fast(max_examples=500)
@given(st.sampled_from(sorted(TARGETS)), st.data())
def test_a_sound_file_with_damaged_bytes_is_read_or_refused(
    tmp_path: Path, target: str, data: st.DataObject
) -> None:
    sound = data.draw(st.sampled_from(hostile.SOUND[target]()))
    run(TARGETS[target], tmp_path, data.draw(hostile.mutated(sound)))


# What took time that grew with the square of its length.
SLOW = {
    "an id of zeros": ("csv", b"Landmark,X,Y,Z\n" + b"0" * 20_000 + b"x,1,2,3\n"),
    "unknown keys": ("yaml", b"".join(b"key%d: 1\n" % number for number in range(1000))),
    "open brackets": ("yaml", b"name: " + b"[" * 2000),
}


@pytest.mark.parametrize("kind", SLOW)
def test_no_small_file_takes_long(tmp_path: Path, kind: str) -> None:
    target, data = SLOW[kind]
    challenges()
    started = time.monotonic()
    run(TARGETS[target], tmp_path, data)
    assert time.monotonic() - started < 2
