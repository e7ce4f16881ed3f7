"""Whatever is wrong with a file ends in a named problem and the penalty; all other cases are scored."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, phantom, save, table
from test_cli import bratseval, run

CASE = "00002-000"
FILE = f"BraTS-GLI-{CASE}.nii.gz"

Breaker = Callable[[Path, np.ndarray], object]


def affine(**changes: object) -> np.ndarray:
    changed = AFFINE.copy()
    for key, value in changes.items():
        changed[int(key[1]), int(key[2])] = value
    return changed


def labels_of(values: object, dtype: object) -> Breaker:
    def write(path: Path, labels: np.ndarray) -> None:
        changed = labels.astype(np.float64)
        changed[20, 20, 20] = values
        save(path, changed, dtype=dtype)

    return write


def truncate(path: Path, labels: np.ndarray) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip_crc(path: Path, labels: np.ndarray) -> None:
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data))


def without_affine(path: Path, labels: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(labels, None), path)


def short_payload(path: Path, labels: np.ndarray) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))


def link(path: Path, labels: np.ndarray) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


REFUSED: dict[str, tuple[str, Breaker]] = {
    "other shape": ("GEO001", lambda path, labels: save(path, labels[:-1])),
    "other origin": ("GEO002", lambda path, labels: save(path, labels, affine(a13=0.0))),
    "flipped": ("GEO002", lambda path, labels: save(path, labels, affine(a00=1.0))),
    "other spacing": ("GEO003", lambda path, labels: save(path, labels, affine(a22=2.0))),
    "no affine": ("GEO004", without_affine),
    "truncated": ("NII005", truncate),
    "wrong CRC": ("NII005", flip_crc),
    "short payload": ("NII005", short_payload),
    "not NIfTI": ("NII002", lambda path, labels: path.write_bytes(gzip.compress(b"hello" * 200))),
    "empty file": ("NII002", lambda path, labels: path.write_bytes(b"")),
    "4-D": ("NII006", lambda path, labels: save(path, np.stack([labels, labels], axis=3))),
    "NaN label": ("LBL003", labels_of(np.nan, np.float32)),
    "half label": ("LBL002", labels_of(1.5, np.float32)),
    "symbolic link": ("SUB005", link),
    "two files": ("SUB002", lambda path, labels: save(path.with_name(f"other-{CASE}.nii"), labels)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_file_takes_the_penalty_and_the_rest_is_scored(
    kind: str, challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    code, break_file = REFUSED[kind]
    path = challenge_folders[0] / "exact" / FILE
    break_file(path, np.asarray(nibabel.load(path).dataobj))
    done = run(challenge_folders, tmp_path / "out", "--jobs", 1)
    assert done.returncode == 1, done.stderr
    rows = [row for row in table(tmp_path / "out" / "scores.csv") if row["team"] == "exact"]
    assert len(rows) == 3 * 3 * 10  # cases x regions x metrics: no row is dropped
    broken = {(row["metric"], row["value"], row["status"]) for row in rows if row["case"] == CASE}
    assert ("lesion_dice", "0", "invalid") in broken
    assert ("lesion_hd95", "374", "invalid") in broken
    assert {status for _, _, status in broken} == {"invalid"}
    assert {row["value"] for row in rows if row["case"] != CASE and row["metric"] == "lesion_dice"} == {"1"}
    errors = [p for p in table(tmp_path / "out" / "problems.csv") if p["severity"] == "error"]
    assert [(p["code"], p["team"], p["case"]) for p in errors] == [(code, "exact", CASE)]
    assert errors[0]["hint"]
    assert f"error[{code}] team exact, case {CASE}" in done.stderr


ACCEPTED: dict[str, tuple[str, Breaker]] = {
    "singleton axis": ("NII011", lambda path, labels: save(path, labels[..., None])),
    "float labels": ("", lambda path, labels: save(path, labels, dtype=np.float32)),
    "float64 labels": ("", lambda path, labels: save(path, labels, dtype=np.float64)),
    "int64 labels": ("", lambda path, labels: save(path, labels, dtype=np.int16)),
    "nearly whole": ("", lambda path, labels: save(path, labels + 1e-4, dtype=np.float32)),
    "tiny shift": ("", lambda path, labels: save(path, labels, affine(a03=0.02))),
    "unknown label": ("LBL001", labels_of(9, np.uint8)),
    "negative label": ("LBL001", labels_of(-253, np.int16)),
    "label beyond uint8": ("LBL001", labels_of(256 + 3, np.int32)),
    "not compressed": ("NII010", lambda path, labels: path.write_bytes(gzip.decompress(path.read_bytes()))),
    "extra bytes": ("NII009", lambda path, labels: path.write_bytes(path.read_bytes() + b"tail" * 9)),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_an_odd_file_is_scored_and_the_oddity_is_named(
    kind: str, challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    code, break_file = ACCEPTED[kind]
    path = challenge_folders[0] / "exact" / FILE
    break_file(path, np.asarray(nibabel.load(path).dataobj))
    done = run(challenge_folders, tmp_path / "out", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    rows = [r for r in table(tmp_path / "out" / "scores.csv") if r["team"] == "exact" and r["case"] == CASE]
    assert {row["status"] for row in rows} == {"ok"}
    dice = [float(row["value"]) for row in rows if row["metric"] == "dice"]
    # The one voxel with a strange label is background, never another label by a cast.
    assert min(dice) > 0.999
    assert (min(dice) == 1.0) is (code != "LBL001")
    assert [p["code"] for p in table(tmp_path / "out" / "problems.csv")] == ([code] if code else [])


def test_2026_refuses_unknown_labels(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    submissions, references = challenge_folders
    path = submissions / "exact" / FILE
    labels_of(9, np.uint8)(path, np.asarray(nibabel.load(path).dataobj))
    done = bratseval("run", "brats2026-gli", "-s", submissions, "-r", references, "-o", tmp_path / "out")
    assert done.returncode == 1
    rows = [r for r in table(tmp_path / "out" / "scores.csv") if r["team"] == "exact" and r["case"] == CASE]
    assert {row["status"] for row in rows} == {"invalid"}
    assert {row["value"] for row in rows if row["metric"] == "hd95"} == {"373"}


def test_a_missing_prediction_is_penalized_and_an_extra_file_named(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = challenge_folders[0] / "exact"
    (folder / FILE).rename(folder / "BraTS-GLI-00009-000.nii.gz")
    (folder / "notes.txt").write_text("hello")
    (folder / ".DS_Store").write_text("")
    done = run(challenge_folders, tmp_path / "out")
    assert done.returncode == 0  # missing cases are warnings; --fail-on warning makes them an error
    rows = [r for r in table(tmp_path / "out" / "scores.csv") if r["team"] == "exact" and r["case"] == CASE]
    assert {row["status"] for row in rows} == {"missing"}
    codes = {problem["code"] for problem in table(tmp_path / "out" / "problems.csv")}
    assert codes == {"SUB003", "SUB004", "SUB006"}
    assert run(challenge_folders, tmp_path / "out", "--fail-on", "warning").returncode == 1
    missing = {row["team"]: row["missing_cases"] for row in table(tmp_path / "out" / "leaderboard.csv")}
    assert missing == {"exact": "1", "shifted": "0"}


@pytest.mark.parametrize(
    "name", ["brats2023-gli", "brats2024-gli", "brats2025-met", "brats2026-met", "brats2026-gli"]
)
def test_breaking_a_file_never_helps(name: str, tmp_path: Path) -> None:
    """A team whose every prediction is far off does not rise by breaking or withholding its files."""
    random = np.random.default_rng(3)
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    for number in range(1, 4):
        labels = phantom(random)
        if number == 3:
            labels[labels == 3] = 0  # enhancing tumor empty on both sides
        save(references / f"X-0000{number}-000-seg.nii.gz", labels)
        bad = np.zeros_like(labels)
        bad[0:3, 0:3, 0:3] = 2
        save(submissions / "bad" / f"X-0000{number}-000.nii.gz", bad)
        (submissions / "absent").mkdir(parents=True, exist_ok=True)
        broken = submissions / "broken" / f"X-0000{number}-000.nii.gz"
        save(broken, bad)
        broken.write_bytes(broken.read_bytes()[:-30])
    out = tmp_path / "out"
    done = bratseval("run", name, "-s", submissions, "-r", references, "-o", out, "--fail-on", "never")
    assert done.returncode == 0, done.stderr
    board = {row["team"]: row for row in table(out / "leaderboard.csv")}
    assert float(board["bad"]["score"]) <= min(float(board[team]["score"]) for team in ("absent", "broken"))
    for column in board["bad"]:
        if column.startswith("lesion_dice"):
            assert float(board["absent"][column] or 0) <= float(board["bad"][column] or 1)


def test_empty_masks_follow_the_rule_and_say_so(tmp_path: Path) -> None:
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    full = phantom(np.random.default_rng(5))
    empty = np.zeros_like(full)
    for case, (reference, prediction) in enumerate([(full, empty), (empty, full), (empty, empty)], start=1):
        save(references / f"X-0000{case}-000-seg.nii.gz", reference)
        save(submissions / "team" / f"X-0000{case}-000.nii.gz", prediction)
    expected = {
        "brats2023-gli": [("0", "374"), ("0", "374"), ("1", "0")],
        "brats2024-gli": [("0", "337"), ("0", "337"), ("1", "0")],
        "brats2026-gli": [("0", "373"), ("0", "373"), ("", "")],
    }
    for name, values in expected.items():
        out = tmp_path / name
        done = bratseval("run", name, "-s", submissions, "-r", references, "-o", out)
        assert done.returncode == 0, done.stderr
        rows = {(r["case"], r["metric"]): r for r in table(out / "scores.csv") if r["region"] == "WT"}
        for case, (dice, hd95) in enumerate(values, start=1):
            found = [rows[f"0000{case}-000", metric] for metric in ("lesion_dice", "lesion_hd95")]
            assert [row["value"] for row in found] == [dice, hd95], (name, case)
            status = ("empty_prediction", "empty_reference", "empty_both")[case - 1]
            assert {row["status"] for row in found} == {status}
            assert {row["measured"] for row in found} == {""}  # by rule: nothing was measured
            assert all(row["reason"] for row in found)


def test_a_broken_reference_is_the_organizers_to_repair(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    truncate(challenge_folders[1] / f"BraTS-GLI-{CASE}-seg.nii.gz", np.zeros(0))
    done = run(challenge_folders, tmp_path / "out")
    assert done.returncode == 3
    assert "the organizer must repair the reference" in done.stderr
    rows = [row for row in table(tmp_path / "out" / "scores.csv") if row["case"] == CASE]
    assert {(row["value"], row["status"]) for row in rows} == {("", "not_applicable")}


def test_without_any_usable_reference_the_scores_are_written_and_nothing_is_ranked(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    out = tmp_path / "out"
    done = bratseval("run", "generic-segmentation", "-s", submissions, "-r", references, "-o", out)
    assert done.returncode == 3  # labels 2 and 3 are not the foreground of this challenge
    assert "no ranked metric has a value" in done.stderr
    assert {row["status"] for row in table(out / "scores.csv")} == {"not_applicable"}
    assert not (out / "leaderboard.csv").exists()


def test_geometry_ignore_and_resample(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    submissions, _references = challenge_folders
    path = submissions / "exact" / FILE
    labels = np.asarray(nibabel.load(path).dataobj)
    moved = AFFINE.copy()
    moved[0, 3] -= 3  # x points left: the same place lies 3 voxels earlier
    save(path, np.roll(labels, -3, axis=0), moved)
    for policy, expected in (("ignore", False), ("resample", True)):
        out = tmp_path / policy
        assert run(challenge_folders, out, "--geometry", policy).returncode == 0
        dice = [
            row["value"]
            for row in table(out / "scores.csv")
            if (row["team"], row["case"], row["metric"]) == ("exact", CASE, "dice")
        ]
        assert (set(dice) == {"1"}) is expected, policy
        assert "GEO002" in {problem["code"] for problem in table(out / "problems.csv")}


def test_2024_reads_the_spacing_from_the_affine(tmp_path: Path) -> None:
    """pixdim says 1 x 1 x 2 mm, the affine 1 x 1 x 1: two voxels of z are 2 mm in 2024 and 4 mm in 2023."""
    reference = np.zeros((20, 20, 20), np.uint8)
    reference[5:12, 5:12, 5:12] = 3
    folders = (tmp_path / "submissions", tmp_path / "references")
    names = (folders[0] / "t" / "X-00001-000.nii", folders[1] / "X-00001-000-seg.nii")
    for path, labels in zip(names, (np.roll(reference, 2, axis=2), reference), strict=True):
        content = bytearray(save(path, labels).read_bytes())
        content[88:92] = struct.pack("<f", 2.0)
        path.write_bytes(bytes(content))
    found = {}
    for name in ("brats2023-gli", "brats2024-gli"):
        arguments = ("-s", folders[0], "-r", folders[1], "-o", tmp_path / name)
        assert bratseval("run", name, *arguments).returncode == 0
        rows = {(row["region"], row["metric"]): row["value"] for row in table(tmp_path / name / "scores.csv")}
        found[name] = (rows["ET", "lesion_hd95"], rows["ET", "reference_volume_mm3"])
    assert found == {"brats2023-gli": ("4", "686"), "brats2024-gli": ("2", "343")}


def test_text_that_a_spreadsheet_would_run_is_neutralized(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, _ = challenge_folders
    (submissions / "exact").rename(submissions / "=1+1")
    run(challenge_folders, tmp_path / "out")
    assert "\n1,'=1+1," in (tmp_path / "out" / "leaderboard.csv").read_text()
    assert table(tmp_path / "out" / "leaderboard.csv")[0]["team"] == "=1+1"


def test_a_fifo_does_not_hang(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    path = challenge_folders[0] / "exact" / FILE
    path.unlink()
    os.mkfifo(path)
    done = run(challenge_folders, tmp_path / "out")
    assert done.returncode == 1
    assert "not a regular file" in done.stderr.replace("\n", " ")


def test_cohorts_come_from_the_mapping_file_or_the_name_or_the_stated_default(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    speck = np.zeros((40, 36, 30), np.uint8)
    speck[2:4, 2:4, 2] = 3  # 4 mm^3: above the limit of MET (2), below that of GLI (50)
    save(references / "BraTS-GoAT-00007-seg.nii.gz", speck)
    for team in ("exact", "shifted"):
        save(submissions / team / "BraTS-GoAT-00007.nii.gz", np.zeros_like(speck))
    mapping = tmp_path / "mapping.csv"
    mapping.write_text("NewID,Cohort\nBraTS-GoAT-00007,MET\n")
    found = {}
    for name, more in (("default", ()), ("mapped", ("--metadata", mapping))):
        out = tmp_path / name
        done = bratseval("run", "brats2024-goat", "-s", submissions, "-r", references, "-o", out, *more)
        assert done.returncode == 0, done.stderr
        assert ("no cohort is stated for 1 cases (00007)" in done.stderr) is (name == "default")
        rows = {
            (r["team"], r["case"], r["region"], r["metric"]): r["value"] for r in table(out / "scores.csv")
        }
        found[name] = rows["exact", "00007", "ET", "lesion_dice"]
    assert found == {"default": "1", "mapped": "0"}
    mapping.write_text("NewID,Cohort\nBraTS-GoAT-00007,XYZ\n")
    arguments = ("-s", submissions, "-r", references, "-o", tmp_path / "x", "--metadata", mapping)
    done = bratseval("run", "brats2024-goat", *arguments)
    assert done.returncode == 2
    assert "unknown cohort 'XYZ'" in done.stderr.replace("\n", " ")
