"""Inpainting and BraSyn from arrays and from files: the definitions, and what broken input costs."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import reference_synthesis as plain
from conftest import AFFINE, Breaker, phantom, plan_cases, rewritten, save, table, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_cli import bratseval

from bratseval.config import load_challenge, load_rulebook
from bratseval.errors import Problem, UsageError
from bratseval.metrics import intensity
from bratseval.metrics.intensity import Bounds, Intensity, compare, percentile_bounds
from bratseval.metrics.registry import find_metric
from bratseval.results import collect
from bratseval.scoring import Rules, check_case, read_reference, score_case
from bratseval.tables import ScoreRow

SHAPE = (30, 28, 26)
FIRST, SECOND = "00001-000", "00002-000"
NAMES = ("ssim", "mse", "rmse", "msle", "mae", "psnr", "psnr_eps", "psnr_01", "psnr_01_eps")
PENALTY = {
    "ssim": 0,
    "psnr": -20,
    "psnr_eps": -20,
    "psnr_01": 0,
    "psnr_01_eps": 0,
    "mse": 1,
    "rmse": 1,
    "mae": 1,
}
PENALTY["msle"] = math.log(2) ** 2
SSIM, MASKS = ("ssim", "ssim_inside"), ("dice", "hd95")
IMAGE_REGIONS, MASK_REGIONS = ("whole", "healthy", "tumor"), ("WT", "TC", "ET")
Key = tuple[str, str, str, str]


def measured(record: Intensity, name: str, **parameters: object) -> float:
    return find_metric(name)[1].measure(record, parameters)


def ball(shape: tuple[int, ...], center: Iterable[float], radius: float) -> np.ndarray:
    grid = np.ogrid[tuple(slice(0, extent) for extent in shape)]
    return np.asarray(sum((axis - c) ** 2 for axis, c in zip(grid, center, strict=True)) < radius**2)


def brain(random: np.random.Generator, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A ball of smooth intensities in a background of 0, as scanners and skull stripping leave it."""
    rough = plain.ndimage.gaussian_filter(random.standard_normal(shape), 2)
    inside = ball(shape, [extent / 2 for extent in shape], min(shape) / 2.3)
    return np.where(inside, np.rint(400 + 900 * rough), 0).clip(0)


# --- the definitions ---


def regions(shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    middle = tuple(extent // 2 for extent in shape)
    corner, plane, voxel = (np.zeros(shape, bool) for _ in range(3))
    corner[:3, -2:, :4] = True
    plane[:, :, middle[2]] = True
    voxel[middle] = True
    return {
        "ball": ball(shape, middle, 3.2),
        "outside a ball": ~ball(shape, middle, 3.2),
        "corner": corner,
        "plane": plane,
        "voxel": voxel,
        "everything": np.ones(shape, bool),
    }


@pytest.mark.parametrize("shape", [(12, 11, 9), (6, 7, 13)])
@pytest.mark.parametrize("name", regions((9, 9, 9)))
def test_ssim_is_that_of_explicit_windows(name: str, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(len(name))
    target, predicted = random.random((2, *shape)) * 1.2 - 0.1
    region = regions(shape)[name]
    record = compare(target, predicted, region, Bounds(0.0, 1.0))
    images = plain.Images(*(image.clip(0, 1) * region for image in (target, predicted)), region)
    for window, axes in (("slices", plain.SLICES), ("volume", plain.VOLUME)):
        found = plain.similarity_map(images, axes, plain.by_window)
        for average, expected in (("region", found[region].mean()), ("image", found.mean())):
            value = measured(record, "ssim", window=window, average=average)
            assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cutting_out_what_is_not_0_changes_no_number(seed: int) -> None:
    """Against whole volumes, of a region that ends inside the box of the brain or outside it."""
    random = np.random.default_rng(seed)
    shape = (48, 44, 40)
    target = np.pad(brain(random, (20, 22, 18)), [(14 * (seed > 0), 14 * (seed < 1) + 14)] + [(11, 11)] * 2)
    target = target[: shape[0], : shape[1], : shape[2]]
    predicted = target + random.normal(0, 30, target.shape) * (target > 0)
    for region in (ball(target.shape, (20, 20, 20), 6), ~ball(target.shape, (20, 20, 20), 6)):
        record = compare(target, predicted, region, percentile_bounds(target), percentile_bounds(predicted))
        assert record.region.size < target.size
        images = plain.brasyn(target, predicted, region)
        for window, axes in (("slices", plain.SLICES), ("volume", plain.VOLUME)):
            for average in ("region", "image"):
                expected = plain.similarity(images, axes, average)
                found = measured(record, "ssim", window=window, average=average)
                assert found == pytest.approx(expected, abs=1e-12)
        expected = plain.differences(images)
        for name in NAMES[1:]:
            assert measured(record, name) == pytest.approx(expected[name], rel=1e-9), name
        extremes = measured(record, "psnr", dynamic_range="extremes")
        assert extremes == pytest.approx(expected["psnr_extremes"], rel=1e-9)


def test_two_plain_ways_agree() -> None:
    target, predicted = np.random.default_rng(4).random((2, 9, 8, 7))
    for axes in (plain.SLICES, plain.VOLUME):
        maps = [way(target, predicted, axes, 1e-4, 9e-4) for way in (plain.by_window, plain.by_filter)]
        assert np.allclose(*maps, rtol=0, atol=1e-12)


numbers = st.one_of(st.just(0.0), st.floats(-1e4, 1e4, width=32))


@given(hnp.arrays(np.float64, st.integers(1, 600), elements=numbers, fill=st.just(0.0)))
@settings(max_examples=150, deadline=None)
def test_percentiles_are_those_of_numpy(values: np.ndarray) -> None:
    assert percentile_bounds(values) == Bounds(*plain.limits(values))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.uint16])
def test_percentiles_of_stored_types(dtype: type) -> None:
    values = np.random.default_rng(5).integers(0, 200, (20, 20, 20)).astype(dtype)
    values[:12] = 0
    before = values.copy()
    assert percentile_bounds(values) == Bounds(*plain.limits(values))
    assert (values == before).all()


def test_a_copy_is_perfect_and_a_constant_is_measured() -> None:
    target = np.random.default_rng(6).random((15, 14, 13))
    region = regions(target.shape)["ball"]
    copy = compare(target, target, region, Bounds(0.1, 0.9))
    for window in ("slices", "volume"):
        assert measured(copy, "ssim", window=window) == pytest.approx(1.0, abs=1e-12)
    assert [measured(copy, name) for name in ("mse", "rmse", "msle", "mae")] == [0.0] * 4
    assert [measured(copy, name) for name in ("psnr", "psnr_01")] == [math.inf] * 2
    assert measured(copy, "psnr", dynamic_range="extremes") == math.inf
    assert measured(copy, "psnr_01_eps") == pytest.approx(156.5355977)  # 10 log10(1 / 2.22e-16)
    zero = compare(np.full(target.shape, 5), np.zeros(target.shape), region, Bounds(0, 5))
    assert [measured(zero, name) for name in ("mse", "rmse", "mae", "psnr", "psnr_01")] == [1, 1, 1, 0, 0]
    assert measured(zero, "msle") == pytest.approx(math.log(2) ** 2)
    # Without any contrast in the target there is no psnr but that of a copy.
    flat = compare(np.zeros(target.shape), target, region, Bounds(0, 1))
    assert measured(flat, "psnr") == measured(flat, "psnr", dynamic_range="extremes") == -math.inf


def test_two_equal_constants_are_similar() -> None:
    """torchmetrics divides 0 by 0 here."""
    nothing = np.zeros((8, 8, 8))
    record = compare(nothing, nothing, regions((8, 8, 8))["ball"], Bounds(0, 1))
    assert [measured(record, "ssim", window=window) for window in ("slices", "volume")] == [1.0, 1.0]


def test_psnr_of_the_newer_package_clips_to_the_range_of_the_target() -> None:
    target, predicted = np.array([[[0.2, 0.4, 0.6]]]), np.array([[[0.1, 0.4, 0.9]]])
    record = compare(target, predicted, np.ones((1, 1, 3), bool), Bounds(0, 1))
    error = (0.1**2 + 0.3**2) / 3
    assert measured(record, "psnr") == pytest.approx(10 * math.log10(0.6**2 / error))
    assert measured(record, "psnr", dynamic_range="extremes") == math.inf
    eps = measured(record, "psnr_eps", dynamic_range="extremes")
    assert eps == pytest.approx(10 * math.log10(0.4**2 / error))


def test_values_beyond_the_scale_cost_nothing_extra() -> None:
    random = np.random.default_rng(7)
    target, predicted = random.random((2, 14, 13, 12)) * 100
    region = regions(target.shape)["ball"]
    far = np.where(predicted > 80, 1e6, np.where(predicted < 10, -1e6, predicted))
    before, after = (compare(target, image, region, Bounds(10, 80)) for image in (predicted, far))
    for name in NAMES:
        assert measured(before, name) == measured(after, name)


def test_what_lies_outside_the_region_changes_nothing() -> None:
    random = np.random.default_rng(8)
    target, predicted = random.random((2, 14, 13, 12))
    region = regions(target.shape)["ball"]
    other = np.where(region, predicted, random.random(target.shape))
    before, after = (compare(target, image, region, Bounds(0, 1)) for image in (predicted, other))
    for name in NAMES:
        assert measured(before, name) == measured(after, name)


def test_slices_have_no_neighbors_along_x() -> None:
    target, predicted = np.random.default_rng(9).random((2, 12, 11, 10))
    region, order = np.ones(target.shape, bool), np.random.default_rng(9).permutation(12)
    before = compare(target, predicted, region, Bounds(0, 1))
    after = compare(target[order], predicted[order], region, Bounds(0, 1))
    assert measured(after, "ssim") == pytest.approx(measured(before, "ssim"), abs=1e-12)
    assert abs(measured(after, "ssim", window="volume") - measured(before, "ssim", window="volume")) > 1e-4


def test_errors_are_symmetric_and_inputs_are_left_alone() -> None:
    random = np.random.default_rng(10)
    target, predicted = random.random((2, 14, 13, 12))
    region = regions(target.shape)["ball"]
    for array in (target, predicted, region):
        array.setflags(write=False)
    one, other = (compare(*pair, region, Bounds(0, 1)) for pair in ((target, predicted), (predicted, target)))
    for name in ("ssim", "mse", "rmse", "msle", "mae", "psnr_01", "psnr_01_eps"):
        assert measured(one, name) == pytest.approx(measured(other, name), abs=1e-12)


def test_an_empty_region_has_no_number() -> None:
    nothing = compare(np.ones((4, 4, 4)), np.ones((4, 4, 4)), np.zeros((4, 4, 4), bool), Bounds(0, 1))
    assert nothing.size == 0
    for name in NAMES:
        assert math.isnan(measured(nothing, name))
    assert measured(nothing, "ssim", average="image") == 1.0


# --- from files ---


loaded = cache(load_rulebook)


class Scored:
    """What a run would write, by key."""

    def __init__(self, folders: tuple[Path, Path], challenge: str, geometry: str = "") -> None:
        submissions, references = folders
        rulebook = loaded(challenge)
        teams = {path.name: path for path in sorted(submissions.iterdir())}
        read_reference.cache_clear()
        cases, problems, _ = plan_cases(rulebook, teams, references)
        results = collect([score_case(Rules(rulebook, geometry), case) for case in cases], problems)
        keys = [(row.team, row.case, row.region, row.metric) for row in results.scores]
        assert len(set(keys)) == len(keys)
        self.rows: dict[Key, ScoreRow] = dict(zip(keys, results.scores, strict=True))
        self.problems = tuple(dict.fromkeys(results.problems))
        self.details = results.details
        self.cases, self.rulebook = cases, rulebook

    @property
    def checked(self) -> list[Problem]:
        """What the gate finds in the files."""
        return [p for case in self.cases for p in check_case(Rules(self.rulebook), case).problems]

    def named(self, *severities: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity in severities]


@pytest.fixture
def inpainting(tmp_path: Path) -> tuple[Path, Path]:
    """Two teams and two cases: (submissions, references)."""
    random = np.random.default_rng(21)
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    for case in (FIRST, SECOND):
        target = brain(random)
        healthy = ball(SHAPE, (13, 12, 11), 4)
        place = references / f"BraTS-GLI-{case}" / f"BraTS-GLI-{case}"
        save(Path(f"{place}-t1n.nii.gz"), target, dtype=np.int16)
        save(Path(f"{place}-t1n-voided.nii.gz"), target * ~healthy, dtype=np.int16)
        save(Path(f"{place}-mask-healthy.nii.gz"), healthy)
        for team, noise in (("careful", 10), ("rough", 60)):
            image = target + healthy * random.normal(0, noise, SHAPE)
            save(submissions / team / f"BraTS-GLI-{case}-t1n-inference.nii.gz", image, dtype=np.float32)
    return submissions, references


def predicted(folders: tuple[Path, Path], team: str = "careful", case: str = FIRST) -> Path:
    return folders[0] / team / f"BraTS-GLI-{case}-t1n-inference.nii.gz"


def reference(folders: tuple[Path, Path], name: str, case: str = FIRST) -> Path:
    return folders[1] / f"BraTS-GLI-{case}" / f"BraTS-GLI-{case}-{name}.nii.gz"


@pytest.mark.parametrize("year", [2023, 2024, 2025, 2026])
def test_every_number_of_an_edition(year: int, inpainting: tuple[Path, Path]) -> None:
    found = Scored(inpainting, f"brats{year}-inpainting")
    assert found.named("error", "warning") == []
    for team in ("careful", "rough"):
        for case in (FIRST, SECOND):
            names = ("t1n", "mask-healthy", "t1n-voided")
            target, mask, void = (plain.read(reference(inpainting, name, case)) for name in names)
            image = plain.read(predicted(inpainting, team, case))
            images = plain.inpainting(target, image, mask, None if year == 2023 else void)
            axes = plain.VOLUME if year == 2023 else plain.SLICES
            expected = {"ssim": plain.similarity(images, axes, "region")}
            expected |= plain.differences(images)
            rows = {key[3]: row for key, row in found.rows.items() if key[:2] == (team, case)}
            assert set(rows) == ({"ssim", "psnr", "psnr_01", "mse"} if year == 2023 else set(NAMES))
            for name, row in rows.items():
                assert row.value == row.measured == pytest.approx(expected[name], rel=1e-9), name
                assert (row.region, row.status, row.reason) == ("", "ok", "")


def test_2025_takes_names_of_digits_alone(inpainting: tuple[Path, Path]) -> None:
    before = Scored(inpainting, "brats2025-inpainting").rows
    for path in list(inpainting[0].rglob("*.nii.gz")):
        path.rename(path.with_name(path.name.replace("BraTS-GLI-", "team-").replace("-t1n-inference", "")))
    assert Scored(inpainting, "brats2025-inpainting").rows == before
    assert {row.status for row in Scored(inpainting, "brats2024-inpainting").rows.values()} == {"missing"}


def voxel(value: float) -> Breaker:
    return rewritten(lambda values: values.__setitem__((1, 2, 3), value))


def shifted(path: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 3] += 3
    rewritten(lambda values: values, affine)(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def twice(path: Path) -> None:
    shutil.copy(path, path.with_name(f"copy-{path.name}"))


def link(path: Path) -> None:
    target = path.parents[2] / "elsewhere.nii.gz"
    path.rename(target)
    path.symlink_to(target)


BROKEN: dict[str, tuple[str, str, Breaker]] = {
    "NaN": ("NII013", "invalid", voxel(np.nan)),
    "infinite": ("NII013", "invalid", voxel(np.inf)),
    "absurd": ("NII014", "invalid", rewritten(lambda v: v * 1e35, dtype=np.float64)),
    "another shape": ("GEO001", "invalid", rewritten(lambda v: v[:-1])),
    "turned": ("GEO001", "invalid", rewritten(lambda v: v.transpose(2, 1, 0))),
    "shifted": ("GEO002", "invalid", shifted),
    "4-D": ("NII006", "invalid", rewritten(lambda v: np.stack([v, v], axis=3))),
    "truncated": ("NII005", "invalid", cut),
    "two files": ("SUB002", "invalid", twice),
    "symbolic link": ("SUB005", "invalid", link),
    "no image": ("NII002", "invalid", lambda path: path.write_bytes(b"nothing")),
    "missing": ("SUB004", "missing", lambda path: path.unlink()),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_image_costs_its_case(kind: str, inpainting: tuple[Path, Path]) -> None:
    code, status, break_file = BROKEN[kind]
    before = Scored(inpainting, "brats2025-inpainting")
    break_file(predicted(inpainting))
    after = Scored(inpainting, "brats2025-inpainting")
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[:2] == ("careful", FIRST):
            assert (row.value, row.measured, row.status) == (pytest.approx(PENALTY[key[3]]), None, status)
            assert row.reason
        else:
            assert row == before.rows[key]
    (problem,) = after.named("error", "warning")
    assert (problem.code, problem.team) == (code, "careful")
    assert problem.hint
    # The gate says the same, but for what the names told already.
    assert after.checked == ([] if code in ("SUB002", "SUB004", "SUB005") else [problem])


def test_another_place_is_taken_where_only_the_shape_counts(inpainting: tuple[Path, Path]) -> None:
    before = Scored(inpainting, "brats2025-inpainting")
    shifted(predicted(inpainting))
    after = Scored(inpainting, "brats2025-inpainting", "ignore")
    assert after.rows == before.rows
    assert [problem.code for problem in after.named("warning")] == ["GEO002"]
    refused = Scored(inpainting, "brats2025-inpainting", "resample")  # images are never resampled
    assert refused.rows["careful", FIRST, "", "ssim"].status == "invalid"


UNUSABLE: dict[str, tuple[str, Breaker]] = {
    "no mask": ("mask-healthy", lambda path: path.unlink()),
    "empty mask": ("mask-healthy", rewritten(np.zeros_like, dtype=np.uint8)),
    "mask of another shape": ("mask-healthy", rewritten(lambda v: v[1:], dtype=np.uint8)),
    "broken mask": ("mask-healthy", cut),
    "no void": ("t1n-voided", lambda path: path.unlink()),
    "black void": ("t1n-voided", rewritten(np.zeros_like)),
    "void of one number": ("t1n-voided", rewritten(lambda v: v * 0 + 7)),
    "void of negative numbers": ("t1n-voided", rewritten(lambda v: -1 - v)),
    "NaN in the void": ("t1n-voided", voxel(np.nan)),
    "broken target": ("t1n", cut),
    "NaN in the target": ("t1n", voxel(np.nan)),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_reference_is_the_organizers_fault(kind: str, inpainting: tuple[Path, Path]) -> None:
    name, break_file = UNUSABLE[kind]
    before = Scored(inpainting, "brats2025-inpainting")
    break_file(reference(inpainting, name))
    after = Scored(inpainting, "brats2025-inpainting")
    for key, row in after.rows.items():
        if key[1] == FIRST:
            assert (row.value, row.measured, row.status) == (None, None, "not_applicable")
        else:
            assert row == before.rows[key]
    assert {problem.code for problem in after.named("error")} == {"SUB014"}
    if kind.startswith("no "):
        assert {problem.code for problem in after.checked} == {"SUB014"}


def test_a_reference_that_is_gone_while_its_mask_remains_is_named(inpainting: tuple[Path, Path]) -> None:
    reference(inpainting, "t1n").unlink()
    found = Scored(inpainting, "brats2024-inpainting")
    (problem,) = [one for one in found.problems if one.code == "SUB014"]
    assert (problem.severity, FIRST in problem.message) == ("error", True)
    assert FIRST not in {case.case for case in found.cases}


def test_an_image_that_is_worse_than_none_takes_the_penalty(inpainting: tuple[Path, Path]) -> None:
    """Else a team would gain by handing in nothing."""
    target = values_of(reference(inpainting, "t1n")).copy()
    healthy = values_of(reference(inpainting, "mask-healthy")) > 0
    target[healthy] = np.random.default_rng(2).choice([0, 800], healthy.sum())
    save(reference(inpainting, "t1n"), target, dtype=np.int16)
    save(predicted(inpainting), 800 - target, dtype=np.int16)  # the negative of the image
    rows = Scored(inpainting, "brats2025-inpainting").rows
    ssim = rows["careful", FIRST, "", "ssim"]
    assert ssim.measured is not None
    assert ssim.measured < 0
    assert (ssim.value, ssim.status) == (0.0, "ok")
    assert "missing" in ssim.reason
    psnr = rows["careful", FIRST, "", "psnr_01"]
    assert (psnr.value, psnr.measured, psnr.reason) == (pytest.approx(0), psnr.value, "")


def test_an_infinite_psnr_ranks_first_and_survives_merging(
    inpainting: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(inpainting[0] / "rough", inpainting[0] / "absent")
    predicted(inpainting, "absent").unlink()
    for case in (FIRST, SECOND):
        shutil.copy(reference(inpainting, "t1n", case), predicted(inpainting, "careful", case))
    names = ("--submissions", inpainting[0], "--references", inpainting[1], "--jobs", 1)
    whole = tmp_path / "whole"
    done = bratseval("run", "brats2025-inpainting", *names, "--output", whole)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert bratseval("merge", whole, "--output", tmp_path / "merged").returncode == 0
    ranked = bratseval("rank", "brats2025-inpainting", whole / "scores.csv", "-o", tmp_path / "ranked")
    assert ranked.returncode == 0, ranked.stderr
    again = bratseval("run", "brats2025-inpainting", *names, "--output", whole)  # all of it from the journal
    assert again.returncode == 0, again.stderr
    for name in ("scores.csv", "leaderboard.csv", "ranks.csv", "cases.csv", "teams.csv"):
        assert (whole / name).read_bytes() == (tmp_path / "merged" / name).read_bytes(), name
    for folder in (whole, tmp_path / "ranked"):
        assert [row["team"] for row in table(folder / "leaderboard.csv")] == ["careful", "rough", "absent"]
    rows = [row for row in table(whole / "scores.csv") if row["metric"] == "psnr"]
    perfect = {(row["value"], row["status"], row["reason"]) for row in rows if row["team"] == "careful"}
    assert perfect == {("", "ok", "infinite")}
    ranks = {row["rank"] for row in table(whole / "ranks.csv") if row["team"] == "careful"}
    assert ranks == {"1"}
    assert "inf" not in {row["psnr"] for row in table(whole / "cases.csv")}


# --- BraSyn ---


@pytest.fixture
def brasyn(tmp_path: Path) -> tuple[Path, Path]:
    """Two teams and two cases of another missing modality each: (submissions, references)."""
    random = np.random.default_rng(31)
    shape = (40, 36, 30)
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    for case, modality in ((FIRST, "t1c"), (SECOND, "t2f")):
        target, labels = brain(random, shape), phantom(random)
        place = references / f"BraTS-GLI-{case}" / f"BraTS-GLI-{case}"
        save(Path(f"{place}-{modality}.nii.gz"), target, dtype=np.int16)
        save(Path(f"{place}-seg.nii.gz"), labels)
        for team, noise in (("careful", 10), ("rough", 60)):
            image = target + (target > 0) * random.normal(0, noise, shape)
            found = np.roll(labels, 1, axis=0)
            save(submissions / team / f"BraTS-GLI-{case}-{modality}.nii.gz", image, dtype=np.float32)
            save(submissions / team / f"BraTS-GLI-{case}-seg.nii.gz", found)
    return submissions, references


def of_team(folders: tuple[Path, Path], name: str, team: str = "careful", case: str = FIRST) -> Path:
    return folders[0] / team / f"BraTS-GLI-{case}-{name}.nii.gz"


def test_every_number_of_brasyn(brasyn: tuple[Path, Path]) -> None:
    found = Scored(brasyn, "brats2023-brasyn")
    assert found.problems == ()
    wanted = {(r, m) for r in IMAGE_REGIONS for m in SSIM} | {(r, m) for r in MASK_REGIONS for m in MASKS}
    assert {key[2:] for key in found.rows} == wanted
    assert {row.status for row in found.rows.values()} == {"ok"}
    for team in ("careful", "rough"):
        for case, modality in ((FIRST, "t1c"), (SECOND, "t2f")):
            target, labels = (plain.read(reference(brasyn, name, case)) for name in (modality, "seg"))
            image = plain.read(of_team(brasyn, modality, team, case))
            tumor = labels > 0
            for region, inside in (("whole", tumor >= 0), ("tumor", tumor), ("healthy", ~tumor)):
                images = plain.brasyn(target, image, inside)
                for metric, average in (("ssim", "image"), ("ssim_inside", "region")):
                    expected = plain.similarity(images, plain.VOLUME, average)
                    value = found.rows[team, case, region, metric].value
                    assert value == pytest.approx(expected, abs=1e-12), (region, metric)
            moved = plain.read(of_team(brasyn, "seg", team, case))
            for region, values in (("WT", (1, 2, 3)), ("TC", (1, 3)), ("ET", (3,))):
                a, b = np.isin(labels, values), np.isin(moved, values)
                dice = 2 * (a & b).sum() / (a.sum() + b.sum())
                assert found.rows[team, case, region, "dice"].value == pytest.approx(dice)
                assert found.rows[team, case, region, "hd95"].value == 1.0  # moved by a voxel of 1 mm


def test_masks_are_scored_as_in_the_segmentation_challenge(brasyn: tuple[Path, Path]) -> None:
    found = Scored(brasyn, "brats2023-brasyn")
    for path in list(brasyn[0].rglob("*")):
        if path.is_file():
            kept = path.name.endswith("-seg.nii.gz")
            path.rename(path.with_name(path.name.replace("-seg", ""))) if kept else path.unlink()
    alone = Scored(brasyn, "brats2023-gli")
    for key, row in found.rows.items():
        if key[3] in MASKS:
            assert row.value == alone.rows[key].value


def assert_only_one_side_is_penalized(
    before: Scored, after: Scored, side: tuple[str, ...], status: str
) -> None:
    worst = {"ssim": 0.0, "ssim_inside": 0.0, "dice": 0.0, "hd95": 374.0}
    assert after.rows.keys() == before.rows.keys()
    for key, row in after.rows.items():
        if key[:2] == ("careful", FIRST) and key[3] in side:
            assert (row.value, row.measured, row.status) == (worst[key[3]], None, status)
            assert row.reason
        else:
            assert row == before.rows[key]


def other_modality(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("t1c", "t2w")))


def two_modalities(path: Path) -> None:
    shutil.copy(path, path.with_name(path.name.replace("t1c", "t1n")))


IMAGE: dict[str, tuple[str, str, Breaker]] = {
    **{
        kind: BROKEN[kind]
        for kind in ("NaN", "another shape", "shifted", "truncated", "two files", "missing")
    },
    "black": ("NII019", "invalid", rewritten(np.zeros_like)),
    "of another modality": ("SUB017", "invalid", other_modality),
    "of two modalities": ("SUB002", "invalid", two_modalities),
}


@pytest.mark.parametrize("kind", IMAGE)
def test_a_broken_image_costs_no_segmentation(kind: str, brasyn: tuple[Path, Path]) -> None:
    code, status, break_file = IMAGE[kind]
    before = Scored(brasyn, "brats2023-brasyn")
    break_file(of_team(brasyn, "t1c"))
    after = Scored(brasyn, "brats2023-brasyn")
    assert_only_one_side_is_penalized(before, after, SSIM, status)
    (problem,) = after.named("error", "warning")
    assert (problem.code, problem.team) == (code, "careful")
    told = kind in ("missing", "two files")
    assert [one.code for one in after.checked if one not in after.problems] == []
    assert (problem in after.checked) is not told or kind == "two files"


SEGMENTATION: dict[str, tuple[str, str, Breaker]] = {
    "another shape": ("GEO001", "invalid", rewritten(lambda v: v[:-1], dtype=np.uint8)),
    "truncated": ("NII005", "invalid", cut),
    "no labels": ("LBL002", "invalid", rewritten(lambda v: v * 0.3)),
    "two files": ("SUB002", "invalid", twice),
    "missing": ("SUB007", "missing", lambda path: path.unlink()),
}


@pytest.mark.parametrize("kind", SEGMENTATION)
def test_a_broken_segmentation_costs_no_image(kind: str, brasyn: tuple[Path, Path]) -> None:
    code, status, break_file = SEGMENTATION[kind]
    before = Scored(brasyn, "brats2023-brasyn")
    break_file(of_team(brasyn, "seg"))
    after = Scored(brasyn, "brats2023-brasyn")
    assert_only_one_side_is_penalized(before, after, MASKS, status)
    (problem,) = after.named("error", "warning")
    assert (problem.code, problem.team, problem.case) == (code, "careful", FIRST)
    assert problem.severity == ("warning" if status == "missing" else "error")
    assert problem in after.checked


def test_a_case_without_any_file_is_told_once(brasyn: tuple[Path, Path]) -> None:
    before = Scored(brasyn, "brats2023-brasyn")
    for name in ("t1c", "seg"):
        of_team(brasyn, name).unlink()
    after = Scored(brasyn, "brats2023-brasyn")
    assert_only_one_side_is_penalized(before, after, SSIM + MASKS, "missing")
    assert [problem.code for problem in after.named("error", "warning")] == ["SUB004"]


def test_of_several_reference_images_the_submitted_one_counts(brasyn: tuple[Path, Path]) -> None:
    before = Scored(brasyn, "brats2023-brasyn")
    other = brain(np.random.default_rng(1), (40, 36, 30))
    save(reference(brasyn, "t1n"), other, dtype=np.int16)
    after = Scored(brasyn, "brats2023-brasyn")
    assert after.rows == before.rows
    notes = [problem for problem in after.problems if problem.code == "SUB017"]
    assert {(note.severity, note.case) for note in notes} == {("note", FIRST)}
    save(of_team(brasyn, "t1n"), other, dtype=np.int16)
    of_team(brasyn, "t1c").unlink()
    assert Scored(brasyn, "brats2023-brasyn").rows["careful", FIRST, "whole", "ssim"].value == pytest.approx(
        1
    )


def test_a_case_without_a_tumor_has_no_number_there(brasyn: tuple[Path, Path]) -> None:
    for path in (reference(brasyn, "seg"), of_team(brasyn, "seg"), of_team(brasyn, "seg", "rough")):
        save(path, np.zeros((40, 36, 30)))
    rows = Scored(brasyn, "brats2023-brasyn").rows
    tumor = rows["careful", FIRST, "tumor", "ssim"]
    assert (tumor.value, tumor.status, tumor.reason) == (None, "not_applicable", "the region is empty")
    assert rows["careful", FIRST, "healthy", "ssim"] != rows["careful", FIRST, "whole", "ssim"]
    healthy, whole = (rows["careful", FIRST, name, "ssim"].value for name in ("healthy", "whole"))
    assert healthy == whole
    assert rows["careful", FIRST, "ET", "dice"].status == "empty_both"


@pytest.mark.parametrize("kind", ["no image", "black image", "image of another shape", "broken labels"])
def test_an_unusable_case_of_brasyn_is_the_organizers_fault(kind: str, brasyn: tuple[Path, Path]) -> None:
    image, labels = reference(brasyn, "t1c"), reference(brasyn, "seg")
    if kind == "no image":
        image.unlink()
    elif kind == "broken labels":
        cut(labels)
    else:
        rewritten(np.zeros_like if kind == "black image" else lambda v: v[1:])(image)
    after = Scored(brasyn, "brats2023-brasyn")
    assert {row.status for key, row in after.rows.items() if key[1] == FIRST} == {"not_applicable"}
    assert {problem.code for problem in after.named("error")} == {"SUB014"}


def test_the_gate_names_everything_without_references(brasyn: tuple[Path, Path]) -> None:
    voxel(np.nan)(of_team(brasyn, "t1c"))
    of_team(brasyn, "seg", case=SECOND).unlink()
    done = bratseval("validate", "brats2023-brasyn", "--predictions", brasyn[0] / "careful")
    assert done.returncode == 1
    assert "NII013" in done.stderr
    assert "SUB007" in done.stderr


# --- the configuration ---

INPAINTING = "extends: brats2025-inpainting\nname: my\n"
BRASYN = "extends: brats2023-brasyn\nname: my\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (INPAINTING + "files: {reference_parts: {void: null}}\n", "the scale needs void"),
        (INPAINTING + "files: {reference_parts: null}\n", "the scale needs mask"),
        (INPAINTING + "labels: {ET: 3}\nregions: {ET: [ET]}\n", "labels need an image"),
        (INPAINTING + "metrics: {dice: {}}\n", "files.prediction_parts has no segmentation"),
        (INPAINTING + "metrics: {ssim: {parameters: {window: cube}}}\n", "'slices' or 'volume'"),
        (INPAINTING + "synthesis: {scale: both}\n", "synthesis.scale"),
        (BRASYN + "metrics: {iou: {}}\n", "metrics.iou: whole, healthy, tumor is no region of labels"),
        (BRASYN + "regions: {WT: [tumor]}\n", "label 'tumor' is not in labels"),
        ("extends: brats2023-gli\nname: my\nsynthesis: {}\n", "has no meaning in a segmentation challenge"),
    ],
)
def test_a_wrong_configuration_is_named(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_challenge(path)
    assert any(expected in problem.message for problem in caught.value.problems), caught.value


def test_penalties_are_the_worst_that_can_be_measured() -> None:
    metrics = load_challenge("brats2025-inpainting").metrics
    for name in ("mse", "rmse", "mae", "msle", "psnr_01", "psnr_01_eps"):
        assert metrics[name].penalty == pytest.approx(find_metric(name)[1].worst)
    assert intensity.WIDTH == 11
