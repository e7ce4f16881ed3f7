"""QU-BraTS and QUBIQ from files: what is odd is named, what is broken costs its region and no other."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import reference_uncertainty as plain
from conftest import AFFINE, Breaker, plan_cases, rewritten, save, table, values_of
from test_cli import bratseval

from bratseval.config import load_rulebook
from bratseval.detail_table import DetailTable
from bratseval.errors import Problem, ReferenceDataError, UsageError
from bratseval.results import Results, collect
from bratseval.scoring import Rules, read_reference, score_case
from bratseval.tables import ScoreRow

ANY: Any = nibabel
SHAPE = (14, 12, 10)
REGIONS = ("WT", "TC", "ET")
METRICS = ("dice_auc", "ftp_ratio_auc", "ftn_ratio_auc", "qu_score")
PENALTY = {"dice_auc": 0.0, "ftp_ratio_auc": 1.0, "ftn_ratio_auc": 1.0, "qu_score": 0.0}
FIRST, SECOND = "BraTS20_Validation_001", "BraTS20_Validation_002"
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Scored:
    """What a run would write, by key, with the curves of a case and region."""

    rows: dict[Key, ScoreRow]
    problems: tuple[Problem, ...]
    results: Results

    def of(self, team: str, case: str, region: str) -> dict[str, ScoreRow]:
        return {key[3]: row for key, row in self.rows.items() if key[:3] == (team, case, region)}

    def curves(self, team: str, case: str, region: str) -> list[tuple[object, ...]]:
        table = self.results.details.get("curves.csv", DetailTable())
        rows = [row for row in table.rows() if row[:3] == [team, case, region]]
        return [(*row[:4], float(row[4]), float(row[5])) for row in rows]

    def named(self, *severities: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity in severities]


def scored(folders: tuple[Path, Path], challenge: str = "qu-brats-2020", geometry: str = "") -> Scored:
    """Plan and score as the pipeline does, in this process."""
    submissions, references = folders
    rulebook = load_rulebook(challenge)
    teams = {path.name: path for path in sorted(submissions.iterdir())}
    read_reference.cache_clear()
    cases, problems, _ = plan_cases(rulebook, teams, references)
    results = collect([score_case(Rules(rulebook, geometry), case) for case in cases], problems)
    rows: dict[Key, ScoreRow] = {}
    for row in results.scores:
        key = (row.team, row.case, row.region, row.metric)
        assert key not in rows
        rows[key] = row
    return Scored(rows, tuple(dict.fromkeys(results.problems)), results)


def brats(team: Path, case: str, random: np.random.Generator, truth: np.ndarray) -> None:
    """A segmentation that is a little off, and maps of whole numbers."""
    found = np.roll(truth, 1, axis=0)
    found[2, 2, 2] = 4
    save(team / f"{case}.nii.gz", found)
    for name in plain.MAPS.values():
        save(team / f"{case}_unc_{name}.nii.gz", random.integers(0, 101, SHAPE))


def tumor() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:11, 3:9, 2:8] = 2
    labels[5:9, 4:8, 3:6] = 1
    labels[6:8, 5:7, 4:6] = 4
    return labels


@pytest.fixture
def qu(tmp_path: Path) -> tuple[Path, Path]:
    """Two teams and two cases of QU-BraTS: (submissions, references)."""
    random = np.random.default_rng(11)
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    for case in (FIRST, SECOND):
        save(references / f"{case}_seg.nii.gz", tumor())
        brain = random.integers(1, 500, SHAPE)
        brain[:2] = brain[:, :2] = 0
        save(references / f"{case}_t1.nii.gz", brain, dtype=np.int16)
        for team in ("steady", "other"):
            brats(submissions / team, case, random, tumor())
    return submissions, references


def by_plain(folders: tuple[Path, Path], team: str, case: str) -> dict[str, dict[str, float]]:
    """Expected values of a case, from its files."""
    submissions, references = folders
    folder = submissions / team
    maps = {region: folder / f"{case}_unc_{name}.nii.gz" for region, name in plain.MAPS.items()}
    brain = references / f"{case}_t1.nii.gz"
    return plain.score_qu_brats(references / f"{case}_seg.nii.gz", folder / f"{case}.nii.gz", maps, brain)


def voxel(value: float) -> Breaker:
    return rewritten(lambda values: values.__setitem__((3, 3, 3), value))


def moved(row: int, column: int, value: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[row, column] = value
    return affine


def same(values: np.ndarray) -> np.ndarray:
    return values


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(bytes(content))


def link(path: Path) -> None:
    root = next(folder for folder in path.parents if folder.name in ("submissions", "references")).parent
    target = root / f"elsewhere-{path.parent.name}-{path.name}"
    path.rename(target)
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def twice(path: Path) -> None:
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))


def colored(path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, kind), AFFINE), path)


def without_affine(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(values_of(path), None), path)


# Code, status, what is done to the map of TC.
BROKEN: dict[str, tuple[str, str, Breaker]] = {
    "above 100": ("NII014", "invalid", voxel(100.5)),
    "far above 100": ("NII014", "invalid", rewritten(lambda v: v * 2.55, dtype=np.uint8)),
    "below 0": ("NII014", "invalid", voxel(-0.5)),
    "NaN": ("NII013", "invalid", voxel(np.nan)),
    "infinite": ("NII013", "invalid", voxel(np.inf)),
    "minus infinite": ("NII013", "invalid", voxel(-np.inf)),
    "another shape": ("GEO001", "invalid", rewritten(lambda v: v[:-1])),
    "turned": ("GEO001", "invalid", rewritten(lambda v: v.transpose(2, 1, 0))),
    "shifted": ("GEO002", "invalid", rewritten(same, moved(0, 3, 3.0))),
    "flipped": ("GEO002", "invalid", rewritten(same, moved(0, 0, 1.0))),
    "another spacing": ("GEO003", "invalid", rewritten(same, moved(2, 2, 2.0))),
    "no affine": ("GEO004", "invalid", without_affine),
    "two files": ("SUB002", "invalid", twice),
    "truncated": ("NII005", "invalid", cut),
    "wrong CRC": ("NII005", "invalid", damage),
    "symbolic link": ("SUB005", "invalid", link),
    "FIFO": ("NII001", "invalid", pipe),
    "4-D": ("NII006", "invalid", rewritten(lambda v: np.stack([v, v], axis=3))),
    "colored": ("NII004", "invalid", colored),
    "no image": ("NII002", "invalid", lambda path: path.write_bytes(gzip.compress(b"hello" * 200))),
    "empty file": ("NII002", "invalid", lambda path: path.write_bytes(b"")),
    "missing": ("SUB007", "missing", lambda path: path.unlink()),
}  # fmt: skip


def everything(teams: Iterable[str]) -> set[Key]:
    return {(t, c, r, m) for t in teams for c in (FIRST, SECOND) for r in REGIONS for m in METRICS}


def assert_only_this_region_is_penalized(
    before: Scored, after: Scored, team: str, case: str, region: str, status: str
) -> None:
    """Everywhere else the very same rows and curves; here the penalty, said to be one."""
    assert after.rows.keys() == before.rows.keys()
    hit = after.of(team, case, region)
    assert {metric: row.value for metric, row in hit.items()} == PENALTY
    assert {(row.status, row.measured) for row in hit.values()} == {(status, None)}
    assert all(row.reason for row in hit.values())
    assert after.curves(team, case, region) == []
    for key, row in after.rows.items():
        if key[:3] != (team, case, region):
            assert row == before.rows[key], key
    for one in {key[:3] for key in after.rows} - {(team, case, region)}:
        assert after.curves(*one) == before.curves(*one) != []


def test_every_number_is_that_of_the_plain_implementation(qu: tuple[Path, Path]) -> None:
    found = scored(qu)
    assert found.rows.keys() == everything(["steady", "other"])
    assert found.problems == ()
    for team in ("steady", "other"):
        for case in (FIRST, SECOND):
            for region, expected in by_plain(qu, team, case).items():
                rows = found.of(team, case, region)
                assert {m: row.value for m, row in rows.items()} == pytest.approx(expected, abs=1e-6)
                assert {m: row.measured for m, row in rows.items()} == {m: r.value for m, r in rows.items()}
                assert {row.status for row in rows.values()} == {"ok"}
                assert len(found.curves(team, case, region)) == 3 * 41


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_map_costs_its_own_region(kind: str, qu: tuple[Path, Path]) -> None:
    code, status, break_file = BROKEN[kind]
    before = scored(qu)
    path = qu[0] / "steady" / f"{FIRST}_unc_core.nii.gz"
    break_file(path)
    after = scored(qu)
    assert_only_this_region_is_penalized(before, after, "steady", FIRST, "TC", status)
    (problem,) = after.named("error", "warning")
    assert (problem.code, problem.team, problem.case) == (code, "steady", FIRST)
    assert problem.severity == ("warning" if status == "missing" else "error")
    assert problem.hint
    if status == "missing":
        assert "TC" in problem.message
        assert "_unc_core" in problem.hint
    else:
        assert path.name in problem.message
        assert Path(problem.file).name.startswith(path.name.removesuffix(".gz"))
        assert {row.reason for row in after.of("steady", FIRST, "TC").values()} == {problem.message}


@pytest.mark.parametrize("region", REGIONS)
def test_any_region_may_be_the_broken_one(region: str, qu: tuple[Path, Path]) -> None:
    before = scored(qu)
    cut(qu[0] / "other" / f"{SECOND}_unc_{plain.MAPS[region]}.nii.gz")
    assert_only_this_region_is_penalized(before, scored(qu), "other", SECOND, region, "invalid")


def test_all_maps_missing(qu: tuple[Path, Path]) -> None:
    before = scored(qu)
    for path in (qu[0] / "steady").glob("*_unc_*"):
        path.unlink()
    after = scored(qu)
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[0] == "steady":
            assert (row.value, row.measured, row.status) == (PENALTY[key[3]], None, "missing")
        else:
            assert row == before.rows[key]
    problems = after.named("error", "warning")
    assert [problem.code for problem in problems] == ["SUB007"] * 6  # cases x regions
    assert {problem.severity for problem in problems} == {"warning"}


def as_type(kind: str) -> Breaker:
    def write(path: Path) -> None:
        values = values_of(path)
        order = ">" if kind[0] == ">" else "<"
        header: Any = nibabel.Nifti1Header(endianness=order)
        header.set_data_dtype(np.dtype(kind))
        image = nibabel.Nifti1Image(values.astype(kind), AFFINE, header)
        image.set_sform(AFFINE, code=1)
        nibabel.save(image, path)

    return write


def scaled(path: Path) -> None:
    """Twice the value with a slope of one half."""
    values = values_of(path)
    save(path, values.astype(np.int16) * 2, dtype=np.int16)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:120] = np.array([0.5, 0], "<f4").tobytes()
    path.write_bytes(gzip.compress(content))


SAME: dict[str, tuple[str, Breaker]] = {
    "float32": ("", as_type("<f4")),
    "float64": ("", as_type("<f8")),
    "int16": ("", as_type("<i2")),
    "big-endian int16": ("", as_type(">i2")),
    "big-endian float32": ("", as_type(">f4")),
    "scaled": ("", scaled),
    "trailing axis": ("NII011", rewritten(lambda v: v[..., None])),
    "extra bytes": ("NII009", lambda path: path.write_bytes(path.read_bytes() + b"tail" * 9)),
    "not compressed": ("NII010", lambda path: path.write_bytes(gzip.decompress(path.read_bytes()))),
    "tiny shift": ("", rewritten(same, moved(0, 3, 0.02))),
    "rounding": ("", rewritten(lambda v: np.where(v == 100, 100.0005, v))),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_map_in_another_form_gives_the_same_numbers(kind: str, qu: tuple[Path, Path]) -> None:
    code, change = SAME[kind]
    before = scored(qu)
    path = qu[0] / "steady" / f"{FIRST}_unc_core.nii.gz"
    change(path)
    after = scored(qu)
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if kind == "rounding" and key[:3] == ("steady", FIRST, "TC"):
            assert row.value == pytest.approx(before.rows[key].value, abs=0.01)  # filtered at 100 too
            assert row.status == "ok"
        else:
            assert row == before.rows[key]
    assert [(problem.code, problem.file) for problem in after.problems] == (
        [(code, str(path))] if code else []
    )


def test_a_map_of_0_to_1_is_scored_and_warned_about(qu: tuple[Path, Path]) -> None:
    path = qu[0] / "steady" / f"{FIRST}_unc_core.nii.gz"
    rewritten(lambda values: values / 100)(path)
    after = scored(qu)
    (problem,) = after.problems
    assert (problem.severity, problem.code, problem.team, problem.case) == (
        "warning",
        "NII017",
        "steady",
        FIRST,
    )
    assert path.name in problem.message
    rows = after.of("steady", FIRST, "TC")
    assert {row.status for row in rows.values()} == {"ok"}
    expected = by_plain(qu, "steady", FIRST)["TC"]
    assert {metric: row.value for metric, row in rows.items()} == pytest.approx(expected, abs=1e-6)
    rewritten(lambda values: values * 0)(path)  # no doubt at all is not suspicious
    assert scored(qu).problems == ()


def test_geometry_ignore_scores_a_shifted_map_and_says_so(qu: tuple[Path, Path]) -> None:
    before = scored(qu)
    path = qu[0] / "steady" / f"{FIRST}_unc_core.nii.gz"
    rewritten(same, moved(0, 3, 3.0), np.uint8)(path)
    after = scored(qu, geometry="ignore")
    assert after.rows == before.rows
    (problem,) = after.problems
    assert (problem.severity, problem.code, problem.file) == ("warning", "GEO002", str(path))
    rewritten(lambda values: values[:-1])(path)
    assert {row.status for row in scored(qu, geometry="ignore").of("steady", FIRST, "TC").values()} == {
        "invalid"
    }


SEGMENTATION: dict[str, tuple[str, str, Breaker]] = {
    "missing": ("SUB004", "missing", lambda path: path.unlink()),
    "probabilities": ("LBL002", "invalid", rewritten(lambda v: v / 5)),
    "NaN": ("LBL003", "invalid", voxel(np.nan)),
    "another shape": ("GEO001", "invalid", rewritten(lambda v: v[:-1])),
    "shifted": ("GEO002", "invalid", rewritten(same, moved(0, 3, 3.0))),
    "truncated": ("NII005", "invalid", cut),
    "symbolic link": ("SUB005", "invalid", link),
    "two files": ("SUB002", "invalid", twice),
    "4-D": ("NII006", "invalid", rewritten(lambda v: np.stack([v, v], axis=3))),
}


@pytest.mark.parametrize("kind", SEGMENTATION)
def test_a_broken_segmentation_costs_its_case(kind: str, qu: tuple[Path, Path]) -> None:
    code, status, break_file = SEGMENTATION[kind]
    before = scored(qu)
    path = qu[0] / "steady" / f"{FIRST}.nii.gz"
    break_file(path)
    after = scored(qu)
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[:2] == ("steady", FIRST):
            assert (row.value, row.measured, row.status) == (PENALTY[key[3]], None, status)
            assert row.reason
        else:
            assert row == before.rows[key]
    (problem,) = after.named("error", "warning")
    assert (problem.code, problem.team) == (code, "steady")
    assert (path.name if status == "invalid" else FIRST) in problem.message


def test_unknown_labels_count_in_wt_and_are_named(qu: tuple[Path, Path]) -> None:
    path = qu[0] / "steady" / f"{FIRST}.nii.gz"
    labels = values_of(path).copy()
    labels[12, 3:6, 3] = 3
    labels[12, 7, 7] = 7
    save(path, labels)
    after = scored(qu)
    (problem,) = after.problems
    assert (problem.severity, problem.code, problem.team, problem.case, problem.file) == (
        *("warning", "LBL001", "steady", FIRST),
        str(path),
    )
    assert "3 (3 voxels)" in problem.message
    assert "7 (1 voxels)" in problem.message
    assert "WT" in problem.hint
    for region, expected in by_plain(qu, "steady", FIRST).items():
        rows = after.of("steady", FIRST, region)
        assert {metric: row.value for metric, row in rows.items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("label", [-3, -253, 300, 260, 1000])
def test_labels_that_no_byte_holds_count_as_the_script_counts_them(label: int, qu: tuple[Path, Path]) -> None:
    """Above 0 is whole tumor, whatever its number; nothing wraps to a label by a cast."""
    path = qu[0] / "steady" / f"{FIRST}.nii.gz"
    labels = values_of(path).astype(np.int16)
    labels[12, 3:9, 3] = label
    save(path, labels, dtype=np.int16)
    after = scored(qu)
    (problem,) = after.problems
    assert (problem.severity, problem.code) == ("warning", "LBL001")
    assert f"{label if label < 0 else '255 or more'} (6 voxels" in problem.message
    for region, expected in by_plain(qu, "steady", FIRST).items():
        rows = after.of("steady", FIRST, region)
        assert {metric: row.value for metric, row in rows.items()} == pytest.approx(expected, abs=1e-6)


def test_unknown_labels_of_the_reference_are_named_too(qu: tuple[Path, Path]) -> None:
    """They move every team's scores: 3 counts in WT, a negative one nowhere."""
    path = qu[1] / f"{FIRST}_seg.nii.gz"
    labels = values_of(path).astype(np.int16)
    labels[12, 3:6, 3] = 3
    labels[12, 7, 7] = -4
    save(path, labels, dtype=np.int16)
    after = scored(qu)
    for region, expected in by_plain(qu, "steady", FIRST).items():
        rows = after.of("steady", FIRST, region)
        assert {metric: row.value for metric, row in rows.items()} == pytest.approx(expected, abs=1e-6)
    named = [problem for problem in after.problems if problem.file == str(path)]
    assert [(problem.severity, problem.code) for problem in named] == [("warning", "LBL001")]


def scored_or_refused(folders: tuple[Path, Path], yaml: Path) -> Scored | str:
    try:
        return scored(folders, str(yaml))
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize("option", ["remap: {3: 4}", "unknown_labels: refuse"])
def test_options_for_labels_hold_here_or_the_yaml_is_refused(
    option: str, qu: tuple[Path, Path], tmp_path: Path
) -> None:
    """What a challenge states is never ignored in silence."""
    before = scored(qu)
    path = qu[0] / "steady" / f"{FIRST}.nii.gz"
    labels = values_of(path)
    save(path, np.where(labels == 4, 3, labels))
    yaml = tmp_path / "mine.yaml"
    yaml.write_text(f"extends: qu-brats-2020\nname: mine\ntitle: Mine\n{option}\n")
    after = scored_or_refused(qu, yaml)
    if isinstance(after, str):
        assert option.partition(":")[0] in after
    elif option.startswith("remap"):
        assert after.rows == before.rows
    else:
        assert {row.status for row in after.of("steady", FIRST, "WT").values()} == {"invalid"}


def test_empty_sides_are_measured_and_named(qu: tuple[Path, Path]) -> None:
    """As officially: nothing on either side is 1 without doubt, nothing predicted 2/3."""
    labels = tumor()
    labels[labels == 4] = 1
    save(qu[1] / f"{FIRST}_seg.nii.gz", labels)
    for team, predicted in (("steady", labels), ("other", np.zeros(SHAPE))):
        save(qu[0] / team / f"{FIRST}.nii.gz", predicted)
        for name in plain.MAPS.values():
            save(qu[0] / team / f"{FIRST}_unc_{name}.nii.gz", np.zeros(SHAPE))
    found = scored(qu)
    for team, region, status, score in (
        ("steady", "ET", "empty_both", 1.0),
        ("steady", "TC", "ok", 1.0),
        ("other", "ET", "empty_both", 1.0),
        ("other", "TC", "empty_prediction", 2 / 3),
    ):
        row = found.rows[team, FIRST, region, "qu_score"]
        assert (row.status, row.value) == (status, pytest.approx(score, abs=1e-9))
    labels[5, 5, 5] = 4
    save(qu[0] / "other" / f"{FIRST}.nii.gz", labels)
    assert scored(qu).rows["other", FIRST, "ET", "qu_score"].status == "empty_reference"


def test_negative_voxels_of_the_brain_image_are_outside_with_a_warning(qu: tuple[Path, Path]) -> None:
    path = qu[1] / f"{FIRST}_t1.nii.gz"
    before = scored(qu)
    values = values_of(path).copy()
    values[values == 0] = -7  # what was outside
    save(path, values, dtype=np.int16)
    after = scored(qu)
    assert after.rows == before.rows
    (problem,) = after.problems
    assert (problem.severity, problem.code, problem.case, problem.file) == (
        *("warning", "NII016", FIRST),
        str(path),
    )
    assert "-7" in problem.message


def nothing(path: Path) -> None:
    path.unlink()


BRAIN: dict[str, tuple[Breaker, str]] = {
    "missing": (nothing, "_seg.nii.gz"),
    "another shape": (rewritten(lambda v: v[:-1]), "_t1.nii.gz"),
    "NaN": (voxel(np.nan), "_t1.nii.gz"),
    "truncated": (cut, "_t1.nii.gz"),
}


@pytest.mark.parametrize("kind", BRAIN)
def test_an_unusable_brain_is_the_organizers_to_repair(kind: str, qu: tuple[Path, Path]) -> None:
    break_file, named = BRAIN[kind]
    before = scored(qu)
    break_file(qu[1] / f"{FIRST}_t1.nii.gz")
    after = scored(qu)
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[1] == FIRST:
            assert (row.value, row.measured, row.status) == (None, None, "not_applicable")
        else:
            assert row == before.rows[key]
    problems = after.named("error", "warning")
    assert {(problem.code, problem.case) for problem in problems} == {("SUB014", FIRST)}
    assert all(f"{FIRST}{named}" in problem.message for problem in problems)


def test_any_of_the_three_names_of_the_brain_but_one_file(qu: tuple[Path, Path]) -> None:
    before = scored(qu)
    path = qu[1] / f"{FIRST}_t1.nii.gz"
    path.rename(path.with_name(f"{FIRST}_mask.nii.gz"))
    assert scored(qu).rows == before.rows
    shutil.copy(path.with_name(f"{FIRST}_mask.nii.gz"), path)
    with pytest.raises(ReferenceDataError) as error:
        scored(qu)
    assert [problem.code for problem in error.value.problems] == ["SUB002"]
    assert path.name in str(error.value)
    assert f"{FIRST}_mask" in str(error.value)


@pytest.mark.parametrize("name", ["seg", "t1"])
def test_links_in_the_organizers_own_folder_are_followed(name: str, qu: tuple[Path, Path]) -> None:
    """As for a segmentation challenge: data sets kept by datalad or git-annex are all links."""
    before = scored(qu)
    link(qu[1] / f"{FIRST}_{name}.nii.gz")
    assert scored(qu).rows == before.rows


def test_other_images_of_the_case_are_not_read(qu: tuple[Path, Path]) -> None:
    before = scored(qu)
    for name in ("t1ce", "t2", "flair"):
        (qu[1] / f"{FIRST}_{name}.nii.gz").write_bytes(b"no image at all")
    after = scored(qu)
    assert after.rows == before.rows
    assert [(problem.severity, problem.code) for problem in after.problems] == [("note", "SUB003")]


def test_maps_of_no_expected_case_and_strange_names_are_told(qu: tuple[Path, Path]) -> None:
    before = scored(qu)
    folder = qu[0] / "steady"
    shutil.copy(folder / f"{FIRST}_unc_core.nii.gz", folder / f"{FIRST}_unc_cor.nii.gz")
    shutil.copy(folder / f"{FIRST}_unc_core.nii.gz", folder / "BraTS20_Validation_009_unc_core.nii.gz")
    after = scored(qu)
    assert after.rows == before.rows
    assert sorted((problem.severity, problem.code) for problem in after.problems) == [
        ("warning", "SUB003"),
        ("warning", "SUB006"),
    ]
    assert any(f"{FIRST}_unc_core.nii.gz" in problem.hint for problem in after.problems)


def run(
    folders: tuple[Path, Path], out: Path, *more: object, challenge: str = "qu-brats-2020"
) -> tuple[int, str]:
    done = bratseval("run", challenge, "-s", folders[0], "-r", folders[1], "-o", out, *more)
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join(done.stderr.split())


def same_bytes(folders: tuple[Path, Path], out: Path, challenge: str, names: tuple[str, ...]) -> None:
    """One worker, two, and two shards joined write the same tables."""
    assert run(folders, out / "one", "--jobs", 1, "--fail-on", "never", challenge=challenge)[0] == 0
    assert run(folders, out / "two", "--jobs", 2, "--fail-on", "never", challenge=challenge)[0] == 0
    shards = [out / f"shard{i}" for i in (1, 2)]
    for i, shard in enumerate(shards, start=1):
        options = ("--shard", f"{i}/2", "--fail-on", "never")
        assert run(folders, shard, *options, challenge=challenge)[0] == 0
    merged = bratseval("merge", *reversed(shards), "-o", out / "merged", "--fail-on", "never")
    assert merged.returncode == 0, merged.stderr
    for name in names:
        texts = [(out / folder / name).read_bytes() for folder in ("one", "two", "merged")]
        assert texts[0] == texts[1] == texts[2], name
        assert len(texts[0].splitlines()) > 1


def test_the_same_bytes_for_any_jobs_and_shards_although_files_are_broken(
    qu: tuple[Path, Path], tmp_path: Path
) -> None:
    cut(qu[0] / "steady" / f"{FIRST}_unc_core.nii.gz")
    (qu[0] / "other" / f"{SECOND}_unc_whole.nii.gz").unlink()
    link(qu[0] / "other" / f"{FIRST}_unc_enhance.nii.gz")
    names = ("scores.csv", "curves.csv", "leaderboard.csv", "problems.csv", "inputs.csv", "cases.csv")
    same_bytes(qu, tmp_path / "out", "qu-brats-2020", names)
    rows = table(tmp_path / "out" / "one" / "scores.csv")
    keys = [(row["team"], row["case"], row["region"], row["metric"]) for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == everything(["steady", "other"])
    curves = table(tmp_path / "out" / "one" / "curves.csv")
    assert len(curves) == (12 - 3) * 3 * 41


def test_the_command_line_names_what_is_broken_and_ends_with_its_code(
    qu: tuple[Path, Path], tmp_path: Path
) -> None:
    (qu[0] / "steady" / f"{FIRST}_unc_core.nii.gz").unlink()
    code, text = run(qu, tmp_path / "a")
    assert code == 0  # a warning
    assert "warning[SUB007] team steady, case BraTS20_Validation_001" in text
    voxel(np.nan)(qu[0] / "steady" / f"{FIRST}_unc_whole.nii.gz")
    code, text = run(qu, tmp_path / "b")
    assert code == 1
    assert "error[NII013] team steady, case BraTS20_Validation_001" in text
    (qu[1] / f"{SECOND}_t1.nii.gz").unlink()
    code, text = run(qu, tmp_path / "c")
    assert code == 3
    assert "error[SUB014]" in text
    assert "no image beside it tells where the brain is" in text
    rows = table(tmp_path / "c" / "scores.csv")
    assert {row["status"] for row in rows if row["case"] == SECOND} == {"not_applicable"}
    assert len(rows) == 2 * 2 * 3 * 4


def test_withholding_or_breaking_maps_never_ranks_better(qu: tuple[Path, Path], tmp_path: Path) -> None:
    """The honest team is as bad as can be: a false tumor, all of the true voxels in doubt."""
    shutil.rmtree(qu[0] / "other")
    steady = qu[0] / "steady"
    for case in (FIRST, SECOND):
        save(steady / f"{case}.nii.gz", np.where(tumor() == 0, 4, 0))
        for name in plain.MAPS.values():
            save(steady / f"{case}_unc_{name}.nii.gz", np.full(SHAPE, 100))
    steady.rename(qu[0] / "bad")
    breakers: dict[str, Breaker] = {"cut": cut, "withheld": nothing, "link": link, "nan": voxel(np.nan)}
    for team, break_file in breakers.items():
        shutil.copytree(qu[0] / "bad", qu[0] / team)
        break_file(qu[0] / team / f"{FIRST}_unc_core.nii.gz")
    shutil.copytree(qu[0] / "bad", qu[0] / "without-maps")
    for path in (qu[0] / "without-maps").glob("*_unc_*"):
        path.unlink()
    shutil.copytree(qu[0] / "bad", qu[0] / "without-labels")
    for case in (FIRST, SECOND):
        (qu[0] / "without-labels" / f"{case}.nii.gz").unlink()
    code, text = run(qu, tmp_path / "out", "--fail-on", "never")
    assert code == 0, text
    board = {row["team"]: row for row in table(tmp_path / "out" / "leaderboard.csv")}
    assert board.keys() == {"bad", "without-maps", "without-labels", *breakers}
    assert board["bad"]["rank"] == "1"
    assert all(int(row["rank"]) > 1 for team, row in board.items() if team != "bad")
    for region in REGIONS:
        best = float(board["bad"][f"qu_score_{region}"])
        assert all(float(row[f"qu_score_{region}"]) <= best for row in board.values())


# QUBIQ

TASKS = {"averaged_dice": 0.0, "ece": 1.0, "ged2": 2.0, "brier": 1.0, "variance_correlation": -1.0}
QUBIQ_SHAPE = (16, 12)


def raters(
    folder: Path, task: str, random: np.random.Generator, count: int = 3, more: tuple[int, ...] = ()
) -> None:
    for rater in range(1, count + 1):
        mask = np.zeros((*QUBIQ_SHAPE, *more))
        mask[2 + random.integers(0, 3) : 10, 3 : 8 + random.integers(0, 3)] = 1
        save(folder / f"{task}_seg{rater:02}.nii.gz", mask)


def guess(path: Path, random: np.random.Generator, more: tuple[int, ...] = ()) -> None:
    values = random.random((*QUBIQ_SHAPE, *more)) * 0.3
    values[3:10, 3:9] += 0.7
    save(path, values, dtype=np.float32)


@pytest.fixture
def qubiq(tmp_path: Path) -> tuple[Path, Path]:
    """Two teams, two cases of two tasks: (submissions, references)."""
    random = np.random.default_rng(5)
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    for case in ("case01", "case02"):
        for task in ("task01", "task02"):
            raters(references / case, task, random, 3 if task == "task01" else 5)
            for team in ("one", "two"):
                guess(submissions / team / case / f"{task}.nii.gz", random)
    return submissions, references


def naive(folders: tuple[Path, Path], team: str, case: str, task: str) -> dict[str, float]:
    files = sorted((folders[1] / case).glob(f"{task}_seg*"))
    masks = [(ANY.load(path).get_fdata() > 0).ravel().tolist() for path in files]
    probability = ANY.load(folders[0] / team / case / f"{task}.nii.gz").get_fdata().ravel().tolist()
    metrics = (plain.averaged_dice, plain.ece, plain.ged2, plain.brier, plain.rater_variance)
    found = {metric.__name__: metric(masks, probability) for metric in metrics}
    return found | {"variance_correlation": plain.variance_correlation(masks, probability)}


def test_every_number_of_qubiq_is_that_of_the_naive_loops(qubiq: tuple[Path, Path]) -> None:
    found = scored(qubiq, "qubiq-2021")
    assert found.problems == ()
    assert len(found.rows) == 2 * 2 * 2 * 6
    for team in ("one", "two"):
        for case in ("case01", "case02"):
            for task in ("task01", "task02"):
                rows = found.of(team, case, task)
                expected = naive(qubiq, team, case, task)
                assert {m: row.value for m, row in rows.items()} == pytest.approx(expected, abs=1e-6)
                assert {row.status for row in rows.values()} == {"ok"}


QUBIQ_BROKEN: dict[str, tuple[str, str, Breaker]] = {
    "above 1": ("NII014", "invalid", rewritten(lambda v: v.__setitem__((3, 3), 1.01))),
    "percent": ("NII014", "invalid", rewritten(lambda v: v * 100)),
    "below 0": ("NII014", "invalid", rewritten(lambda v: v.__setitem__((3, 3), -0.01))),
    "NaN": ("NII013", "invalid", rewritten(lambda v: v.__setitem__((3, 3), np.nan))),
    "another shape": ("GEO001", "invalid", rewritten(lambda v: v.T)),
    "missing": ("SUB007", "missing", nothing),
    "truncated": ("NII005", "invalid", cut),
    "two files": ("SUB002", "invalid", twice),
    "symbolic link": ("SUB005", "invalid", link),
    "FIFO": ("NII001", "invalid", pipe),
    "4-D": ("NII006", "invalid", rewritten(lambda v: np.stack([v] * 4, -1).reshape(*QUBIQ_SHAPE, 2, 2))),
    "volume": ("GEO001", "invalid", rewritten(lambda v: np.stack([v, v], -1))),
}


@pytest.mark.parametrize("task", ["task01", "task02"])
@pytest.mark.parametrize("kind", QUBIQ_BROKEN)
def test_a_broken_map_of_qubiq_costs_its_own_task(kind: str, task: str, qubiq: tuple[Path, Path]) -> None:
    code, status, break_file = QUBIQ_BROKEN[kind]
    before = scored(qubiq, "qubiq-2021")
    path = qubiq[0] / "one" / "case01" / f"{task}.nii.gz"
    break_file(path)
    after = scored(qubiq, "qubiq-2021")
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[:3] != ("one", "case01", task):
            assert row == before.rows[key], key
            continue
        assert (row.status, row.measured) == (status, None)
        assert row.value == TASKS.get(key[3])  # rater_variance has no penalty: nobody ranks it
        assert row.reason
    (problem,) = after.named("error", "warning")
    assert (problem.code, problem.team, problem.case) == (code, "one", "case01")
    assert task in problem.message
    assert problem.severity == ("warning" if status == "missing" else "error")


def test_a_slice_has_no_place(qubiq: tuple[Path, Path]) -> None:
    """Slices are often saved without an affine: scored as before, with a warning."""
    before = scored(qubiq, "qubiq-2021")
    path = qubiq[0] / "one" / "case01" / "task01.nii.gz"
    rewritten(same, moved(0, 3, 3.0))(path)
    after = scored(qubiq, "qubiq-2021")
    assert after.rows == before.rows
    assert [(p.severity, p.code, p.file) for p in after.problems] == [("warning", "GEO002", str(path))]


def test_a_case_of_qubiq_without_any_file(qubiq: tuple[Path, Path]) -> None:
    before = scored(qubiq, "qubiq-2021")
    shutil.rmtree(qubiq[0] / "one" / "case01")
    after = scored(qubiq, "qubiq-2021")
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[:2] == ("one", "case01"):
            assert (row.value, row.status) == (TASKS.get(key[3]), "missing")
        else:
            assert row == before.rows[key]
    assert [problem.code for problem in after.problems] == ["SUB004"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_masks_as_maps_are_accepted_in_any_type(dtype: type, qubiq: tuple[Path, Path]) -> None:
    path = qubiq[0] / "one" / "case01" / "task01.nii.gz"
    rewritten(lambda values: (values > 0.5).astype(float), dtype=dtype)(path)
    after = scored(qubiq, "qubiq-2021")
    assert after.problems == ()
    rows = after.of("one", "case01", "task01")
    expected = naive(qubiq, "one", "case01", "task01")
    assert expected["variance_correlation"] == 0  # p(1-p) is 0 everywhere
    assert {m: row.value for m, row in rows.items()} == pytest.approx(expected, abs=1e-6)
    assert {row.status for row in rows.values()} == {"ok"}


def test_raters_that_agree_leave_no_correlation_to_measure(qubiq: tuple[Path, Path]) -> None:
    for path in (qubiq[1] / "case01").glob("task01_seg*"):
        save(path, np.pad(np.ones((6, 4)), ((4, 6), (4, 4))))
    rows = scored(qubiq, "qubiq-2021").of("one", "case01", "task01")
    undefined = rows.pop("variance_correlation")
    assert (undefined.value, undefined.status) == (None, "not_applicable")
    assert undefined.reason
    assert {row.status for row in rows.values()} == {"ok"}
    assert rows["rater_variance"].value == 0


def test_masks_of_raters_may_hold_any_positive_number(qubiq: tuple[Path, Path]) -> None:
    before = scored(qubiq, "qubiq-2021")
    rewritten(lambda values: values * 255, dtype=np.uint8)(qubiq[1] / "case01" / "task01_seg02.nii.gz")
    assert scored(qubiq, "qubiq-2021").rows == before.rows


@pytest.mark.parametrize("kind", ["another shape", "truncated", "NaN", "negative"])
def test_a_broken_rater_is_the_organizers_to_repair(kind: str, qubiq: tuple[Path, Path]) -> None:
    breakers: dict[str, Breaker] = {
        "another shape": rewritten(lambda v: v[:-1]),
        "truncated": cut,
        "NaN": rewritten(lambda v: v.__setitem__((3, 3), np.nan)),
        "negative": rewritten(lambda v: v.__setitem__((3, 3), -1)),
    }
    before = scored(qubiq, "qubiq-2021")
    path = qubiq[1] / "case01" / "task01_seg02.nii.gz"
    breakers[kind](path)
    after = scored(qubiq, "qubiq-2021")
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[1] == "case01":
            assert (row.value, row.status) == (None, "not_applicable")
        else:
            assert row == before.rows[key]
    problems = after.named("error", "warning")
    assert {(problem.code, problem.case) for problem in problems} == {("SUB014", "case01")}
    assert all("task01_seg02" in problem.message for problem in problems)


@pytest.mark.parametrize("name", ["case01/task01_seg01", "case01/task01_seg02"])
def test_links_to_masks_of_raters_are_followed(name: str, qubiq: tuple[Path, Path]) -> None:
    before = scored(qubiq, "qubiq-2021")
    link(qubiq[1] / f"{name}.nii.gz")
    assert scored(qubiq, "qubiq-2021").rows == before.rows


def test_two_files_of_a_rater_are_refused(qubiq: tuple[Path, Path]) -> None:
    twice(qubiq[1] / "case01" / "task01_seg02.nii.gz")
    with pytest.raises(ReferenceDataError, match="task01_seg02") as error:
        scored(qubiq, "qubiq-2021")
    assert [problem.code for problem in error.value.problems] == ["SUB002"]


@pytest.mark.parametrize("split", ["", "training", "Validation"])
def test_folders_of_data_sets_go_into_the_names(split: str, tmp_path: Path) -> None:
    """Also below folders of splits, on the organizer's side alone, and of tasks that are volumes."""
    random = np.random.default_rng(2)
    folders = submissions, references = tmp_path / "submissions", tmp_path / "references"
    tasks = {"prostate": ["task01", "task02"], "brain-growth": ["task01"], "pancreas": ["task01"]}
    for dataset, names in tasks.items():
        more = (4,) if dataset == "pancreas" else ()
        for task in names:
            raters(references / dataset / split / "case01", task, random, more=more)
            guess(submissions / "one" / dataset / "case01" / f"{task}.nii.gz", random, more)
            guess(submissions / "two" / "all" / dataset / "case01" / f"{task}.nii.gz", random, more)
    found = scored(folders, "qubiq-2021")
    assert found.problems == ()
    expected = {
        (team, f"{dataset}-case01", f"{dataset}-{task}")
        for team in ("one", "two")
        for dataset, names in tasks.items()
        for task in names
    }
    assert {key[:3] for key in found.rows} == expected
    assert len(found.rows) == len(expected) * 6
    assert {row.status for row in found.rows.values()} == {"ok"}
    paths = (
        references / "pancreas" / split / "case01",
        submissions / "two" / "all" / "pancreas" / "case01" / "task01.nii.gz",
    )
    masks = [ANY.load(path).get_fdata().ravel() > 0 for path in sorted(paths[0].glob("*"))]
    probability = ANY.load(paths[1]).get_fdata().ravel().tolist()
    row = found.rows["two", "pancreas-case01", "pancreas-task01", "averaged_dice"]
    assert row.value == pytest.approx(plain.averaged_dice(masks, probability), abs=1e-9)


def test_a_task_that_the_challenge_does_not_have_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    folders = submissions, references = tmp_path / "submissions", tmp_path / "references"
    for case, tasks in (("prostate/case01", ["task01", "task09"]), ("prostate/case02", ["task01"])):
        for task in tasks:
            raters(references / case, task, random)
            guess(submissions / "one" / case / f"{task}.nii.gz", random)
    found = scored(folders, "qubiq-2021")
    (problem,) = found.named("error", "warning")
    assert (problem.code, problem.case) == ("SUB014", "prostate-case01")
    assert "prostate-task09" in problem.message
    status = {key[1:3]: row.status for key, row in found.rows.items()}
    assert status == {
        ("prostate-case01", "prostate-task01"): "not_applicable",
        ("prostate-case02", "prostate-task01"): "ok",
    }
    code, text = run(folders, tmp_path / "out", challenge="qubiq-2021")
    assert code == 3
    assert "prostate-task09" in text


def test_a_map_of_a_task_that_the_case_does_not_have_is_told(qubiq: tuple[Path, Path]) -> None:
    before = scored(qubiq, "qubiq-2021")
    path = qubiq[0] / "one" / "case01" / "task03.nii.gz"
    shutil.copy(path.with_name("task01.nii.gz"), path)
    after = scored(qubiq, "qubiq-2021")
    assert after.rows == before.rows
    (problem,) = after.problems
    assert problem.severity == "warning"
    assert "task03" in problem.message


def test_a_case_with_unknown_tasks_alone_is_named_and_not_called_a_missing_shard(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    folders = submissions, references = tmp_path / "submissions", tmp_path / "references"
    for case, task in (("kidney/case01", "task01"), ("kidney/case02", "task09")):
        raters(references / case, task, random)
        guess(submissions / "one" / case / f"{task}.nii.gz", random)
    code, text = run(folders, tmp_path / "out", challenge="qubiq-2021")
    assert code == 3
    assert "kidney-task09" in text
    assert "shard" not in text


def test_the_same_bytes_of_qubiq_and_no_gain_by_withholding(qubiq: tuple[Path, Path], tmp_path: Path) -> None:
    """Honest and bad: certain of what is not there."""
    for case in ("case01", "case02"):
        for task in ("task01", "task02"):
            path = qubiq[0] / "one" / case / f"{task}.nii.gz"
            save(path, np.ones(QUBIQ_SHAPE), dtype=np.float32)
            bad = np.zeros(QUBIQ_SHAPE)
            bad[0, 0] = 1
            save(qubiq[0] / "two" / case / f"{task}.nii.gz", bad, dtype=np.float32)
    for team, break_file in (("cut", cut), ("withheld", nothing), ("link", link)):
        shutil.copytree(qubiq[0] / "two", qubiq[0] / team)
        break_file(qubiq[0] / team / "case01" / "task01.nii.gz")
    same_bytes(qubiq, tmp_path / "out", "qubiq-2021", ("scores.csv", "leaderboard.csv", "problems.csv"))
    board = {row["team"]: row for row in table(tmp_path / "out" / "one" / "leaderboard.csv")}
    assert board.keys() == {"one", "two", "cut", "withheld", "link"}
    assert board["one"]["rank"] == "1"
    for team in ("cut", "withheld", "link"):
        assert int(board[team]["rank"]) >= int(board["two"]["rank"])
        for task in ("task01", "task02"):
            column = f"averaged_dice_{task}"
            assert float(board[team][column]) <= float(board["two"][column])
    rows = table(tmp_path / "out" / "one" / "scores.csv")
    assert len({(r["team"], r["case"], r["region"], r["metric"]) for r in rows}) == len(rows) == 5 * 2 * 2 * 6
