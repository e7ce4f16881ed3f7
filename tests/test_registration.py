"""Registration from folders to a leaderboard: hostile and odd files cost what is stated, and nothing else.

Two teams and two cases on a small grid whose world is that of BraTS (index = Y + 239). Every number is a
sum by eye: predicted landmarks lie off by some millimeters along X, moving ones by (3, 0, 4), 5 mm.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, plan_cases, save, table
from test_cli import bratseval

from bratseval.challenge import Rulebook
from bratseval.config import load_rulebook
from bratseval.errors import Problem, ReferenceDataError
from bratseval.leaderboard import rank_teams
from bratseval.model import CaseResult, Score
from bratseval.results import collect
from bratseval.scoring import Rules, score_case

SHAPE = (24, 26, 20)  # X from 0 to 23, Y from -239 to -214, Z from 0 to 19
VOXELS = 24 * 26 * 20
TEAMS, CASES = ("good", "poor"), ("BraTSReg_001", "BraTSReg_002")
BASELINE = {
    "1": (17, -230, 2),
    "2": (16, -225, 3),
    "3": (15, -220, 1),
    "4": (17, -228, 0),
    "5": (12, -222, 2),
}
COUNTS = {"BraTSReg_001": 5, "BraTSReg_002": 4}
SHIFT = (3, 0, 4)
OFF = {"good": (0, 0.5, 1, 1.5, 5), "poor": (4, 4, 4, 6, 6)}  # mm along X

LANDMARK_PENALTIES = {
    "mee": 374.0,
    "robustness": 0.0,
    "mean_euclidean_error": 374.0,
    "max_euclidean_error": 374.0,
    "tre_std": None,
    "initial_mee": None,
    "mae_axis": 374.0,
}
JACOBIAN_PENALTIES = {
    "jacobian_nonpositive": 8928000.0,
    "jacobian_nonpositive_percent": 100.0,
    "jacobian_negative": 8928000.0,
    "jacobian_min": None,
    "jacobian_max": None,
    "jacobian_std": None,
    "jacobian_p0.5": None,
    "jacobian_p99": None,
    "jacobian_p99.5": None,
    "sdlogj": None,
}
METRICS = [*LANDMARK_PENALTIES, *JACOBIAN_PENALTIES]
PLACE = "good", "BraTSReg_001"  # of what the tests break
CSV, DETJ, FIELD = (f"BraTSReg_001{end}" for end in (".csv", "_detj.nii.gz", "_df_b2f.nii.gz"))

Points = Mapping[str, tuple[float, ...]]


def csv_text(points: Points, header: str = "Landmark,X,Y,Z") -> str:
    return "".join(line + "\n" for line in [header, *(f"{n},{x},{y},{z}" for n, (x, y, z) in points.items())])


def predicted(team: str, case: str) -> dict[str, tuple[float, ...]]:
    off = zip(list(BASELINE)[: COUNTS[case]], OFF[team], strict=False)
    return {name: (BASELINE[name][0] + by, *map(float, BASELINE[name][1:])) for name, by in off}


def displacement() -> np.ndarray:
    """From a baseline point to its follow-up: (2, 0.1 (Y + 226), 4), so that volumes grow by 1.1."""
    field = np.zeros((*SHAPE, 3))
    field[..., 0], field[..., 2] = 2, 4
    field[..., 1] = 0.1 * (np.arange(SHAPE[1])[:, None] - 239 + 226)
    return field


def determinants(team: str) -> np.ndarray:
    """good: of its field, with half the slope at the border of Y; poor: 3 voxels of -0.5 and one of 0."""
    values = np.ones(SHAPE)
    if team == "good":
        values[:] = 1.1
        values[:, [0, -1]] = 1.05
    else:
        values[3:6, 7, 8] = -0.5
        values[3, 3, 3] = 0
    return values


def save_field(path: Path, field: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """As ITK writes it: (x, y, z, 1, 3), intent 1007."""
    image = nibabel.Nifti1Image(field.astype(np.float32)[:, :, :, None], affine)
    image.header["intent_code"] = 1007
    nibabel.save(image, path)
    return path


@dataclass(frozen=True)
class Folders:
    submissions: Path
    references: Path

    def path(self, name: str, team: str = PLACE[0]) -> Path:
        return self.submissions / team / name

    def reference(self, name: str, case: str = CASES[0]) -> Path:
        return self.references / case / f"{case}{name}"


def make_references(root: Path, *, images: bool = True) -> None:
    for case in CASES:
        own = {name: BASELINE[name] for name in list(BASELINE)[: COUNTS[case]]}
        moving = {n: tuple(a + b for a, b in zip(p, SHIFT, strict=True)) for n, p in own.items()}
        (root / case).mkdir(parents=True)
        (root / case / f"{case}_00_0000_landmarks.csv").write_text(csv_text(own))
        (root / case / f"{case}_01_0106_landmarks.csv").write_text(csv_text(moving))
        if images:
            save(root / case / f"{case}_00_0000_t1ce.nii.gz", np.zeros(SHAPE))


def make_submissions(root: Path) -> None:
    for team in TEAMS:
        (root / team).mkdir(parents=True)
        for case in CASES:
            (root / team / f"{case}.csv").write_text(csv_text(predicted(team, case)))
            save(root / team / f"{case}_detj.nii.gz", determinants(team), dtype=np.float64)
            if team == "good":
                save_field(root / team / f"{case}_df_b2f.nii.gz", displacement())


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Nothing writes here."""
    root = tmp_path_factory.mktemp("registration")
    make_submissions(root / "submissions")
    make_references(root / "references")
    return Folders(root / "submissions", root / "references")


@pytest.fixture
def folders(pristine: Folders, tmp_path: Path) -> Folders:
    """A copy of the submissions to break, beside the references themselves."""
    shutil.copytree(pristine.submissions, tmp_path / "submissions")
    return Folders(tmp_path / "submissions", pristine.references)


@pytest.fixture
def own_references(folders: Folders, tmp_path: Path) -> Folders:
    """Both sides copied."""
    shutil.copytree(folders.references, tmp_path / "references")
    return Folders(folders.submissions, tmp_path / "references")


@dataclass(frozen=True)
class Outcome:
    """Scores by team, case and metric; problems of names and cases, each once."""

    scores: Mapping[tuple[str, str, str], Score]
    problems: tuple[Problem, ...]
    results: tuple[CaseResult, ...]
    rulebook: Rulebook

    def of(self, severity: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == severity]

    def value(self, metric: str, team: str = PLACE[0], case: str = PLACE[1]) -> float | None:
        return self.scores[team, case, metric].value

    def board(self) -> dict[str, tuple[float, float]]:
        """Rank and score by team."""
        ranked = rank_teams(collect(self.results, []).scores, self.rulebook.challenge)
        return {str(row[1]): (float(row[0] or 0), float(row[2] or 0)) for row in ranked.rows}


def evaluate(folders: Folders, challenge: str | Path = "brats-reg-2022", geometry: str = "") -> Outcome:
    """Plan and score in this process; every case of every team has every metric once, in order."""
    rulebook = load_rulebook(challenge)
    teams = {path.name: path for path in sorted(folders.submissions.iterdir())}
    cases, problems, _ = plan_cases(rulebook, teams, folders.references)
    results = [score_case(Rules(rulebook, geometry), case) for case in cases]
    assert [(r.case.team, r.case.case) for r in results] == [(team, case) for team in teams for case in CASES]
    for result in results:
        assert [score.metric for score in result.scores] == list(rulebook.challenge.metrics)
        assert {score.region for score in result.scores} == {""}
        assert all(
            score.status == "ok" or (score.measured is None and score.reason) for score in result.scores
        )
    found = {*problems, *(problem for result in results for problem in result.problems)}
    ordered = sorted(found, key=lambda problem: (problem.code, problem.message))
    scores = {(r.case.team, r.case.case, score.metric): score for r in results for score in r.scores}
    return Outcome(scores, tuple(ordered), tuple(results), rulebook)


@pytest.fixture(scope="module")
def undisturbed(pristine: Folders) -> Outcome:
    return evaluate(pristine)


def assert_penalized(
    found: Outcome, undisturbed: Outcome, expected: Mapping[str, float | None], status: str = "invalid"
) -> None:
    """Exactly these metrics of the broken place have their penalty; all other scores are as before."""
    for key, before in undisturbed.scores.items():
        after = found.scores[key]
        if key[:2] == PLACE and key[2] in expected:
            assert (after.value, after.measured, after.status) == (expected[key[2]], None, status), key
            assert after.reason
        else:
            assert after == before, key


def variant(tmp_path: Path, **registration: object) -> Path:
    """brats-reg-2022 with other reading rules."""
    lines = ["extends: brats-reg-2022", "name: variant", "registration:"]
    path = tmp_path / "variant.yaml"
    path.write_text(
        "\n".join([*lines, *(f"  {name}: {value}" for name, value in registration.items())]) + "\n"
    )
    return path


# Undisturbed.


def test_the_numbers_of_whole_submissions(undisturbed: Outcome) -> None:
    assert undisturbed.problems == ()
    by_hand = {
        ("good", "BraTSReg_001"): {
            "mee": 1,
            "robustness": 4 / 5,  # the fifth is off by 5 mm as before
            "mean_euclidean_error": (0.5 + 1 + 1.5 + 5) / 5,
            "max_euclidean_error": 5,
            "tre_std": np.sqrt((1.6**2 + 1.1**2 + 0.6**2 + 0.1**2 + 3.4**2) / 5),
            "mae_axis": 1 / 3,
        },
        ("good", "BraTSReg_002"): {"mee": 0.75, "robustness": 1, "max_euclidean_error": 1.5},
        ("poor", "BraTSReg_001"): {
            "mee": 4,
            "robustness": 3 / 5,
            "mean_euclidean_error": 24 / 5,
            "jacobian_nonpositive": 4,
            "jacobian_negative": 3,
            "jacobian_nonpositive_percent": 400 / VOXELS,
            "jacobian_min": -0.5,
            "jacobian_max": 1,
            "jacobian_p0.5": 1,
        },
        ("poor", "BraTSReg_002"): {"mee": 4, "robustness": 3 / 4},
    }
    of_field = {
        "jacobian_nonpositive": 0,
        "jacobian_min": 1.05,
        "jacobian_max": 1.1,
        # Two of 26 planes are 0.05 lower: the deviation of a share p is 0.05 sqrt(p (1 - p)).
        "jacobian_std": 0.05 * np.sqrt((2 / 26) * (24 / 26)),
        "jacobian_p0.5": 1.05,
        "jacobian_p99": 1.1,
        "sdlogj": np.log(4.1 / 4.05) * np.sqrt((2 / 26) * (24 / 26)),
    }
    for team, case in by_hand:
        expected = by_hand[team, case] | {"initial_mee": 5} | (of_field if team == "good" else {})
        for metric, value in expected.items():
            assert undisturbed.value(metric, team, case) == pytest.approx(value, abs=1e-9), (team, metric)
    assert {score.status for score in undisturbed.scores.values()} == {"ok"}
    assert undisturbed.board() == {"good": (1, 1), "poor": (2, 2)}


def test_landmarks_of_a_case_are_listed(undisturbed: Outcome) -> None:
    rows = {(r.case.team, r.case.case): r.details["landmarks.csv"] for r in undisturbed.results}
    assert rows[PLACE] == (("1", 5, 0, 1), ("2", 5, 0.5, 1), ("3", 5, 1, 1), ("4", 5, 1.5, 1), ("5", 5, 5, 0))
    assert [row[2] for row in rows["poor", "BraTSReg_002"]] == [4, 4, 4, 6]


# CSV files that are refused. Every fault: code and words that its message must hold.

GOOD = predicted(*PLACE)
LINES = csv_text(GOOD).splitlines()


def with_line(number: int, text: str) -> str:
    """The CSV with another line, counted from 1."""
    lines = list(LINES)
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


def moved(name: str, point: tuple[float, float, float]) -> str:
    return csv_text({**GOOD, name: point})


def exchanged(first: int, second: int) -> dict[str, tuple[float, ...]]:
    """Contents of two columns exchanged under the same header."""
    order = [0, 1, 2]
    order[first], order[second] = second, first
    return {name: tuple(point[axis] for axis in order) for name, point in GOOD.items()}


REFUSED_CSV: dict[str, tuple[str | bytes, list[tuple[str, ...]]]] = {
    "missing id": (with_line(6, ""), [("landmark 5 is missing",)]),
    "two missing ids": (csv_text({n: GOOD[n] for n in "145"}), [("landmark 2, 3 is missing",)]),
    "extra id": (csv_text({**GOOD, "6": (1, -230, 1)}), [("landmark 6", "not one of the case's 5")]),
    "other id": (with_line(6, "five,17,-222,2"), [("landmark five",), ("landmark 5 is missing",)]),
    "one number spelled twice": (csv_text({**GOOD, "5.0": GOOD["5"]}), [(":7:", "'5'", "repeats line 6")]),
    "duplicate id": (with_line(6, "4,17,-222,2"), [(":6:", "'4'", "repeats line 5")]),
    "same row twice": ("\n".join([*LINES, LINES[-1]]), [(":7:", "'5'", "repeats line 6")]),
    "empty id": (with_line(6, ",17,-222,2"), [(":6:", "Landmark", "empty")]),
    "text": (with_line(3, "2,sixteen,-225,3"), [(":3:", "X is 'sixteen'")]),
    "nan": (with_line(3, "2,nan,-225,3"), [(":3:", "X is 'nan'")]),
    "NaN in Z": (with_line(3, "2,16,-225,NaN"), [(":3:", "Z is 'NaN'")]),
    "inf": (with_line(4, "3,15,-inf,1"), [(":4:", "Y is '-inf'")]),
    "overflow": (with_line(4, "3,1e999,-220,1"), [(":4:", "X is '1e999'")]),
    "empty cell": (with_line(5, "4,,-228,0"), [(":5:", "X is ''")]),
    "blank cell": (with_line(5, "4,17,-228, "), [(":5:", "Z is ' '")]),
    "hexadecimal": (with_line(5, "4,0x11,-228,0"), [(":5:", "X is '0x11'")]),
    "underscore": (with_line(5, "4,1_7,-228,0"), [(":5:", "X is '1_7'")]),
    "1_000": (with_line(5, "4,1_000,-228,0"), [(":5:", "X is '1_000'")]),
    "digits of another script": (with_line(5, "4,١٧,-228,0"), [(":5:", "X is '١٧'")]),
    "unit": (with_line(5, "4,17mm,-228,0"), [(":5:", "X is '17mm'")]),
    "too few cells": (with_line(2, "1,17,-230"), [(":2:", "3 cells", "4")]),
    "too many cells": (with_line(2, "1,17,-230,2,9"), [(":2:", "5 cells", "4")]),
    "semicolons": (csv_text(GOOD).replace(",", ";"), [("no column Landmark, X, Y, Z",)]),
    "decimal commas": (
        "Landmark;X;Y;Z\n"
        + "".join(f"{n};{p[0]};{p[1]};{p[2]}\n".replace(".", ",") for n, p in GOOD.items()),
        [("no column Landmark, X, Y, Z",)],
    ),
    "one decimal comma": (with_line(4, "3,16,5,-220,1"), [(":4:", "5 cells", "4")]),
    "quoted decimal comma": (with_line(4, '3,"16,5",-220,1'), [(":4:", "X is '16,5'")]),
    "missing column": (
        "Landmark,X,Y\n" + "".join(f"{n},{p[0]},{p[1]}\n" for n, p in GOOD.items()),
        [("no column Z",)],
    ),
    "no id column": (
        "X,Y,Z\n" + "".join(f"{p[0]},{p[1]},{p[2]}\n" for p in GOOD.values()),
        [("no column Landmark",)],
    ),
    "extra column": ("\n".join(line + ",1" for line in LINES).replace("Z,1", "Z,weight"), [("'weight'",)]),
    "index of pandas": (
        "\n".join(f"{i}," + line for i, line in enumerate(LINES)).replace("0,L", ",L"),
        [("''",)],
    ),
    "column twice": ("\n".join(line + ",1" for line in LINES).replace("Z,1", "Z,Z"), [("twice",)]),
    "other names": (csv_text(GOOD).replace("X,Y,Z", "x,y,z"), [("no column X, Y, Z",), ("unknown column",)]),
    "no header": ("\n".join(LINES[1:]), [("no column Landmark, X, Y, Z",)]),
    "X and Y exchanged": (
        csv_text(exchanged(0, 1)),
        [(f"landmark {name} ", "outside", f"{axis} is") for name in GOOD for axis in "XY"],
    ),
    "Y counted from 0": (
        csv_text({name: (x, y + 239, z) for name, (x, y, z) in GOOD.items()}),
        [(f"landmark {name} ", "outside", "Y is") for name in GOOD],
    ),
    "beyond X": (moved("3", (23.6, -220, 1)), [("landmark 3 ", "X is 23.6")]),
    "beyond Y": (moved("3", (15, -213.4, 1)), [("landmark 3 ", "Y is -213.4")]),
    "before Z": (moved("3", (15, -220, -0.6)), [("landmark 3 ", "Z is -0.6")]),
    "far away": (moved("3", (1e300, -220, 1)), [(":4:", "X is '1e+300'")]),
    "empty file": ("", [("empty",)]),
    "blank lines alone": ("\n\n\n", [("empty",)]),
    "header alone": ("Landmark,X,Y,Z\n", [("landmark 1, 2, 3, 4, 5 is missing",)]),
    "binary": (bytes(range(256)) * 8, [("cannot be read as CSV",)]),
    "gzip": (gzip.compress(csv_text(GOOD).encode()), [("cannot be read as CSV",)]),
    "UTF-16": (csv_text(GOOD).encode("utf-16"), [("cannot be read as CSV",)]),
    "zeros": (b"\0" * 4096, [("no column Landmark, X, Y, Z",)]),
    "open quote": ('Landmark,X,Y,Z\n1,"17,-230,2\n', [("cannot be read as CSV",)]),
    "huge": (csv_text(GOOD).encode() + b"#" * 20_000_001, [("more than 20000000 bytes",)]),
    "several faults in the rows": (
        "Landmark,X,Y,Z\n1,a,-230,b\n1,17,-230,2\n2,16\n3,inf,-220,1\n",
        [
            (":2:", "X is 'a'"),
            (":2:", "Z is 'b'"),
            (":3:", "repeats line 2"),
            (":4:", "2 cells"),
            (":5:", "inf"),
        ],
    ),
    "several faults of the ids and places": (
        csv_text({"1": (17, 230, 2), "2": (16, -225, 3), "4": (17, -228, 90), "9": (1, -220, 1)}),
        [
            ("landmark 9 ", "not one of"),
            ("landmark 3, 5 is missing",),
            ("landmark 1 ", "Y is 230"),
            ("landmark 4 ", "Z is 90"),
        ],
    ),
    "faults of the numbers and of the ids": (
        csv_text({"1": (17, 230, 2), "2": (16, -225, 3)}) + "3,x,-220,1\n",
        [(":4:", "X is 'x'"), ("landmark 4, 5 is missing",), ("landmark 1 ", "Y is 230")],
    ),
}


@pytest.mark.parametrize("kind", REFUSED_CSV)
def test_a_refused_table_costs_its_landmark_scores(kind: str, folders: Folders, undisturbed: Outcome) -> None:
    content, faults = REFUSED_CSV[kind]
    path = folders.path(CSV)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = evaluate(folders)
    assert_penalized(found, undisturbed, LANDMARK_PENALTIES)
    assert {(p.severity, p.code, p.team, p.case, p.file) for p in found.problems} == {
        ("error", "CSV011", *PLACE, str(path))
    }
    assert all(problem.message.startswith(str(path)) and problem.hint for problem in found.problems)
    # Every fault is one problem, and no problem is without its fault.
    told = [problem.message.removeprefix(str(path)) for problem in found.problems]
    for words in faults:
        assert [text for text in told if all(word in text for word in words)], (words, told)
    assert len(told) == len(faults), told


@pytest.mark.parametrize("kind", ["semicolons", "decimal commas"])
def test_the_hint_knows_semicolons(kind: str, folders: Folders) -> None:
    folders.path(CSV).write_text(str(REFUSED_CSV[kind][0]))
    assert any("semicolons" in problem.hint for problem in evaluate(folders).problems)


def test_many_faults_are_cut_with_a_count(folders: Folders) -> None:
    folders.path(CSV).write_text("Landmark,X,Y,Z\n" + "".join(f"{i},x,y,z\n" for i in range(100)))
    told = evaluate(folders).problems
    assert len(told) == 21
    # 3 a row, and one for the ids that the case does not have; 20 are shown.
    assert sum("281 more faults" in problem.message for problem in told) == 1


def test_outside_is_told_by_the_stated_volume_without_an_image(folders: Folders, tmp_path: Path) -> None:
    """Then 240 x 240 x 155 holds: what is beyond the small grid is inside, X -0.6 is not."""
    make_references(tmp_path / "bare", images=False)
    bare = Folders(folders.submissions, tmp_path / "bare")
    folders.path(CSV).write_text(moved("3", (15, -213.4, 1)))
    assert evaluate(bare).problems == ()
    for point, words in (
        ((-0.6, -220, 1), "X is -0.6"),
        ((15, 0.6, 1), "Y is 0.6"),
        ((15, -220, 154.6), "154.6"),
    ):
        folders.path(CSV).write_text(moved("3", point))
        (problem,) = evaluate(bare).problems
        assert problem.code == "CSV011"
        assert words in problem.message
    for point in ((-0.5, -239.5, -0.5), (239.5, 0.5, 154.5)):
        folders.path(CSV).write_text(moved("3", point))
        assert not [p for p in evaluate(bare).problems if p.severity == "error"]


# CSV files that are accepted, with the same numbers.

ACCEPTED_CSV: dict[str, str | bytes] = {
    "BOM": b"\xef\xbb\xbf" + csv_text(GOOD).encode(),
    "CRLF": csv_text(GOOD).replace("\n", "\r\n"),
    "BOM and CRLF": b"\xef\xbb\xbf" + csv_text(GOOD).replace("\n", "\r\n").encode(),
    "CR": csv_text(GOOD).replace("\n", "\r"),
    "no last line end": csv_text(GOOD).rstrip("\n"),
    "blank lines": csv_text(GOOD).replace("\n", "\n\n"),
    "spaces": csv_text(GOOD).replace(",", " , "),
    "quotes": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in LINES),
    "exponents": csv_text(GOOD).replace("17,-230.0,2.0", "1.7e1,-2.3E+2,+2"),
    "shuffled rows": csv_text({name: GOOD[name] for name in "42531"}),
    "ids as decimals": csv_text({f"{name}.0": point for name, point in GOOD.items()}),
    "ids with zeros": csv_text({f"00{name}": point for name, point in GOOD.items()}),
    "other order of columns": "Z,Landmark,Y,X\n"
    + "".join(f"{z},{name},{y},{x}\n" for name, (x, y, z) in GOOD.items()),
}


@pytest.mark.parametrize("kind", ACCEPTED_CSV)
def test_an_odd_table_gives_the_same_numbers(kind: str, folders: Folders, undisturbed: Outcome) -> None:
    content = ACCEPTED_CSV[kind]
    folders.path(CSV).write_bytes(content.encode() if isinstance(content, str) else content)
    found = evaluate(folders)
    assert found.scores == undisturbed.scores
    assert found.problems == ()
    assert found.results[0].case.case == PLACE[1]
    assert found.results[0].details == undisturbed.results[0].details


def test_half_a_voxel_outside_is_inside(folders: Folders) -> None:
    folders.path(CSV).write_text(csv_text({**GOOD, "1": (23.5, -239.5, 19.5), "2": (-0.5, -213.5, -0.5)}))
    found = evaluate(folders)
    assert found.of("error") == []
    assert found.scores[(*PLACE, "mee")].status == "ok"


def test_exchanged_columns_that_stay_inside_are_warned_of(folders: Folders, undisturbed: Outcome) -> None:
    """X and Z exchanged: off by more than 10 mm, and nearly right the other way round."""
    points = exchanged(0, 2)
    folders.path(CSV).write_text(csv_text(points))
    found = evaluate(folders)
    (warning,) = [problem for problem in found.problems if problem.code == "CSV015"]
    assert (warning.severity, warning.team, warning.case) == ("warning", *PLACE)
    assert CSV in warning.message
    assert "X and Z exchanged" in warning.message
    errors = [np.linalg.norm(np.subtract(points[name], BASELINE[name])) for name in points]
    assert found.value("mee") == pytest.approx(np.median(errors))
    others = {key: score for key, score in found.scores.items() if key[:2] != PLACE}
    assert others == {key: score for key, score in undisturbed.scores.items() if key[:2] != PLACE}


# A missing landmark under the other policies.


def test_a_missing_landmark_counts_as_not_moved(folders: Folders, tmp_path: Path) -> None:
    """Without the third (1 mm): 0, 0.5, 5 (as before registration), 1.5, 5."""
    folders.path(FIELD).unlink()
    folders.path(CSV).write_text(csv_text({name: GOOD[name] for name in "1245"}))
    found = evaluate(folders, variant(tmp_path, missing_landmark="initial"))
    (problem,) = found.problems
    assert (problem.severity, problem.code) == ("warning", "CSV012")
    assert CSV in problem.message
    assert "landmark 3 is missing; counted as not moved" in problem.message
    assert found.value("mee") == 1.5
    assert found.value("robustness") == 3 / 5
    assert found.value("mean_euclidean_error") == pytest.approx(12 / 5)
    rows = {(r.case.team, r.case.case): r.details["landmarks.csv"] for r in found.results}[PLACE]
    assert [row[0] for row in rows] == list("12345")
    assert rows[2] == ("3", 5, 5, 0)


def test_a_missing_landmark_is_left_out(folders: Folders, tmp_path: Path) -> None:
    folders.path(FIELD).unlink()
    folders.path(CSV).write_text(csv_text({name: GOOD[name] for name in "1245"}))
    found = evaluate(folders, variant(tmp_path, missing_landmark="exclude"))
    (problem,) = found.problems
    assert (problem.severity, problem.code) == ("warning", "CSV012")
    assert "landmark 3 is missing; counted as if the case had none of them" in problem.message
    assert found.value("mee") == (0.5 + 1.5) / 2
    assert found.value("robustness") == 3 / 4
    rows = {(r.case.team, r.case.case): r.details["landmarks.csv"] for r in found.results}[PLACE]
    assert [row[0] for row in rows] == ["1", "2", "4", "5"]  # the error beside its landmark
    assert [row[2] for row in rows] == [0, 0.5, 1.5, 5]


def test_a_point_that_was_not_submitted_is_not_held_against_the_field(
    folders: Folders, tmp_path: Path
) -> None:
    """The field takes both submitted points to within 1 mm; the three others are filled in."""
    folders.path(CSV).write_text(csv_text({name: GOOD[name] for name in "24"}))
    found = evaluate(folders, variant(tmp_path, missing_landmark="initial"))
    assert [problem.code for problem in found.problems] == ["CSV012"]


@pytest.mark.parametrize("policy", ["initial", "exclude"])
def test_a_table_of_no_landmark_is_no_gain(policy: str, folders: Folders, tmp_path: Path) -> None:
    folders.path(FIELD).unlink()
    folders.path(CSV).write_text("Landmark,X,Y,Z\n")
    found = evaluate(folders, variant(tmp_path, missing_landmark=policy))
    assert {problem.code for problem in found.problems} == {"CSV012" if policy == "initial" else "CSV011"}
    if policy == "initial":
        assert (found.value("mee"), found.value("robustness")) == (5, 0)
        assert found.value("mee") == found.value("initial_mee")
    assert found.scores[(*PLACE, "jacobian_nonpositive")].status == "ok"
    assert found.board()["good"] > (1, 1)  # it led both cases, and no longer leads this one


# Files that are missing, of another kind, or twice.


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.rename(path.parent.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent.parent / "elsewhere")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_second(path: Path) -> None:
    """The same id twice: .nii beside .nii.gz, or in a folder below."""
    if path.name.endswith(".gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    else:
        (path.parent / "again").mkdir()
        shutil.copy(path, path.parent / "again")


@pytest.mark.parametrize(
    ("kind", "breaker", "severity", "code", "status"),
    [
        ("missing", Path.unlink, "warning", "SUB004", "missing"),
        ("a folder", make_folder, "warning", "SUB004", "missing"),
        ("a link", make_link, "error", "SUB005", "invalid"),
        ("twice", make_second, "error", "SUB002", "invalid"),
        ("a fifo", make_fifo, "error", "CSV011", "invalid"),
    ],
)
def test_without_a_usable_table_the_landmarks_are_lost(
    kind: str,
    breaker: Callable[[Path], None],
    severity: str,
    code: str,
    status: str,
    folders: Folders,
    undisturbed: Outcome,
) -> None:
    """Determinants that lie there are scored all the same."""
    breaker(folders.path(CSV))
    found = evaluate(folders)
    assert_penalized(found, undisturbed, LANDMARK_PENALTIES, status)
    (problem,) = found.problems
    assert (problem.severity, problem.code, problem.team) == (severity, code, "good")
    assert (PLACE[1] if code == "SUB004" else CSV) in problem.message


@pytest.mark.parametrize("name", [DETJ, FIELD])
@pytest.mark.parametrize(
    ("kind", "breaker", "code"),
    [
        ("a link", make_link, "SUB005"),
        ("twice", make_second, "SUB002"),
        ("a fifo", make_fifo, "NII001"),
    ],
)
def test_images_that_must_not_be_read(
    kind: str, breaker: Callable[[Path], None], code: str, name: str, folders: Folders, undisturbed: Outcome
) -> None:
    """Refused determinants are not computed from the field instead; without the field nothing is lost."""
    breaker(folders.path(name))
    found = evaluate(folders)
    assert_penalized(found, undisturbed, JACOBIAN_PENALTIES if name == DETJ else {})
    (problem,) = found.problems
    assert (problem.severity, problem.code, problem.team, problem.case) == ("error", code, *PLACE)
    assert name.removesuffix(".gz") in problem.message
    assert problem.file


def test_without_determinants_and_field_the_smoothness_is_missing(
    folders: Folders, undisturbed: Outcome
) -> None:
    folders.path(DETJ).unlink()
    folders.path(FIELD).unlink()
    found = evaluate(folders)
    assert_penalized(found, undisturbed, JACOBIAN_PENALTIES, "missing")
    (problem,) = found.problems
    assert (problem.severity, problem.code, problem.team, problem.case) == ("warning", "SUB007", *PLACE)


def test_the_field_stands_in_for_missing_determinants(folders: Folders, undisturbed: Outcome) -> None:
    folders.path(DETJ).unlink()
    found = evaluate(folders)
    assert found.problems == ()
    for key, before in undisturbed.scores.items():
        assert found.scores[key].status == "ok"
        assert found.scores[key].value == pytest.approx(before.value, abs=1e-5), key  # the field is float32


def test_an_inverse_field_alone_gives_no_determinants(folders: Folders, undisturbed: Outcome) -> None:
    """It is another map; its own determinants are not those asked for."""
    folders.path(DETJ).unlink()
    folders.path(FIELD).unlink()
    inverse = np.broadcast_to([-2.0, 0.0, -4.0], (*SHAPE, 3))
    save_field(folders.path("BraTSReg_001_df_f2b.nii.gz"), inverse)
    found = evaluate(folders)
    assert_penalized(found, undisturbed, JACOBIAN_PENALTIES, "missing")
    assert [problem.code for problem in found.problems] == ["SUB007"]


# Images of determinants.


def wrong_detj(
    values: np.ndarray, affine: np.ndarray = AFFINE, dtype: object = np.float64
) -> Callable[[Path], None]:
    return lambda path: (save(path, values, affine, dtype), None)[1]


def one_of(value: float) -> np.ndarray:
    values = determinants("good")
    values[5, 6, 7] = value
    return values


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def shifted(by: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[2, 3] += by
    return affine


REFUSED_DETJ: dict[str, tuple[str, Callable[[Path], None]]] = {
    "other shape": ("GEO001", wrong_detj(np.ones((24, 26, 19)))),
    "axes exchanged": ("GEO001", wrong_detj(np.ones((20, 26, 24)))),
    "other place": ("GEO002", wrong_detj(determinants("good"), shifted(5))),
    "flipped": ("GEO002", wrong_detj(determinants("good"), AFFINE * [[-1], [1], [1], [1]])),
    "other spacing": ("GEO003", wrong_detj(determinants("good"), AFFINE @ np.diag([1, 1, 2, 1]))),
    "NaN": ("NII013", wrong_detj(one_of(np.nan))),
    "infinite": ("NII013", wrong_detj(one_of(np.inf))),
    "truncated": ("NII005", cut),
    "empty": ("NII002", lambda path: (path.write_bytes(b""), None)[1]),
    "garbage": ("NII002", lambda path: (path.write_bytes(gzip.compress(b"garbage" * 99)), None)[1]),
    "vectors": ("NII006", lambda path: (save_field(path, displacement()), None)[1]),
    "complex": ("NII004", wrong_detj(determinants("good"), dtype=np.complex64)),
}


@pytest.mark.parametrize("kind", REFUSED_DETJ)
def test_refused_determinants_cost_the_smoothness_alone(
    kind: str, folders: Folders, undisturbed: Outcome
) -> None:
    """Even though the field is there: a broken file is not replaced by a better one."""
    code, breaker = REFUSED_DETJ[kind]
    path = folders.path(DETJ)
    breaker(path)
    found = evaluate(folders)
    assert_penalized(found, undisturbed, JACOBIAN_PENALTIES)
    assert [(p.severity, p.code, p.team, p.case, p.file) for p in found.problems] == [
        ("error", code, *PLACE, str(path))
    ]
    assert str(path) in found.problems[0].message
    assert "label" not in found.problems[0].hint  # these are no labels


def test_elsewhere_is_scored_where_geometry_is_ignored(folders: Folders) -> None:
    wrong_detj(determinants("good"), shifted(5))(folders.path(DETJ))
    found = evaluate(folders, geometry="ignore")
    assert found.scores[(*PLACE, "jacobian_max")].value == pytest.approx(1.1)
    (problem,) = found.problems
    assert (problem.severity, problem.code) == ("warning", "GEO002")
    assert DETJ in problem.message


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        (np.zeros(SHAPE), "NII015", "every determinant is 0"),
        (np.full(SHAPE, 2.5), "NII015", "every determinant is 2.5"),
        (np.log(determinants("good")) - 0.09, "NII015", "as logarithms would"),
        (determinants("good") + 0.1, "GEO006", "100% of the determinants"),
    ],
)
def test_odd_determinants_are_scored_with_a_warning(
    values: np.ndarray, code: str, words: str, folders: Folders, undisturbed: Outcome
) -> None:
    save(folders.path(DETJ), values, dtype=np.float64)
    found = evaluate(folders)
    (problem,) = found.problems
    assert (problem.severity, problem.code, problem.team, problem.case) == ("warning", code, *PLACE)
    assert DETJ in problem.message
    assert words in problem.message
    assert found.value("jacobian_nonpositive") == (values <= 0).sum()
    assert found.value("jacobian_min") == pytest.approx(values.min())
    assert all(
        found.scores[key] == s
        for key, s in undisturbed.scores.items()
        if "jacobian" not in key[2] and key[2] != "sdlogj"
    )


def test_a_map_that_moves_nothing_is_no_oddity(folders: Folders) -> None:
    """Determinants of 1 everywhere are those of a translation."""
    save(folders.path("BraTSReg_001_detj.nii.gz", "poor"), np.ones(SHAPE))
    assert evaluate(folders).problems == ()


# Fields.


def field_breaker(field: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], None]:
    return lambda path: (save_field(path, field, affine), None)[1]


def with_vector(value: float) -> np.ndarray:
    field = displacement()
    field[1, 2, 3, 1] = value
    return field


REFUSED_FIELD: dict[str, tuple[str, Callable[[Path], None]]] = {
    "other shape": ("GEO001", field_breaker(displacement()[:-1])),
    "other place": ("GEO002", field_breaker(displacement(), shifted(5))),
    "four components": ("NII006", field_breaker(np.zeros((*SHAPE, 4)))),
    "no vectors": ("NII006", wrong_detj(determinants("good"))),
    "NaN": ("NII013", field_breaker(with_vector(np.nan))),
    "truncated": ("NII005", cut),
}


@pytest.mark.parametrize("kind", REFUSED_FIELD)
@pytest.mark.parametrize("with_determinants", [True, False])
def test_a_refused_field_costs_only_what_comes_from_it(
    kind: str, with_determinants: bool, folders: Folders, undisturbed: Outcome
) -> None:
    code, breaker = REFUSED_FIELD[kind]
    path = folders.path(FIELD)
    breaker(path)
    if not with_determinants:
        folders.path(DETJ).unlink()
    found = evaluate(folders)
    assert_penalized(found, undisturbed, {} if with_determinants else JACOBIAN_PENALTIES)
    assert [(p.severity, p.code, p.team, p.case, p.file) for p in found.problems] == [
        ("error", code, *PLACE, str(path))
    ]
    assert str(path) in found.problems[0].message
    assert "label" not in found.problems[0].hint


def test_a_refused_inverse_field_costs_nothing(folders: Folders, undisturbed: Outcome) -> None:
    path = save_field(folders.path("BraTSReg_001_df_f2b.nii.gz"), with_vector(np.inf))
    found = evaluate(folders)
    assert found.scores == undisturbed.scores
    assert [(p.severity, p.code, p.file) for p in found.problems] == [("error", "NII013", str(path))]


def test_every_broken_file_of_a_case_is_told(folders: Folders, undisturbed: Outcome) -> None:
    """Table, determinants and both fields, all at once."""
    inverse = folders.path("BraTSReg_001_df_f2b.nii.gz")
    save_field(inverse, displacement()[:-1])
    folders.path(CSV).write_text("")
    folders.path(FIELD).write_bytes(b"")
    cut(folders.path(DETJ))
    found = evaluate(folders)
    assert_penalized(found, undisturbed, LANDMARK_PENALTIES | JACOBIAN_PENALTIES)
    assert {(p.code, p.file) for p in found.of("error")} == {
        ("CSV011", str(folders.path(CSV))),
        ("NII005", str(folders.path(DETJ))),
        ("NII002", str(folders.path(FIELD))),
        ("GEO001", str(inverse)),
    }


WRONG_FIELDS = {
    "RAS components": displacement() * [-1, -1, 1],
    "components in the order of Z, Y, X": displacement()[..., ::-1],
    "the other direction": -displacement(),
    "ten times": displacement() * 10,
}


@pytest.mark.parametrize("kind", WRONG_FIELDS)
def test_a_field_that_contradicts_the_points_is_warned_of(
    kind: str, folders: Folders, undisturbed: Outcome
) -> None:
    save_field(folders.path(FIELD), WRONG_FIELDS[kind])
    found = evaluate(folders)
    assert found.scores == undisturbed.scores  # the submitted points and determinants count
    assert {(p.severity, p.code, p.team, p.case) for p in found.problems} == {("warning", "GEO006", *PLACE)}
    (problem,) = [p for p in found.problems if "takes the landmarks" in p.message]
    assert "expected at most 1" in problem.message


def test_the_warning_of_a_contradiction_names_the_file(folders: Folders) -> None:
    save_field(folders.path(FIELD), WRONG_FIELDS["the other direction"])
    folders.path(DETJ).unlink()
    (problem,) = evaluate(folders).problems
    assert problem.code == "GEO006"
    assert problem.file == str(folders.path(FIELD))
    assert FIELD in problem.message


def test_a_field_that_holds_no_landmark_is_told_with_its_file(folders: Folders, tmp_path: Path) -> None:
    make_references(tmp_path / "bare", images=False)
    path = save_field(folders.path(FIELD), displacement(), shifted(500))
    found = evaluate(Folders(folders.submissions, tmp_path / "bare"))
    (problem,) = found.problems
    assert (problem.severity, problem.code) == ("note", "GEO007")
    assert problem.file == str(path)
    assert FIELD in problem.message


def test_components_as_the_challenge_states_them(folders: Folders, tmp_path: Path) -> None:
    """The same field with RAS components: right by a plain 4-D image, or where the YAML says ras."""
    ras = (displacement() * [-1, -1, 1]).astype(np.float32)
    save(folders.path(FIELD), ras, dtype=np.float32)  # 4-D, no intent
    assert evaluate(folders).problems == ()
    save_field(folders.path(FIELD), ras)
    save_field(folders.path(FIELD.replace("001", "002")), ras)
    assert {p.code for p in evaluate(folders).problems} == {"GEO006"}
    assert evaluate(folders, variant(tmp_path, components="ras")).problems == ()


def test_a_field_in_voxels(folders: Folders, tmp_path: Path) -> None:
    """Along the image's own axes, which are those of LPS here at 1 mm: the same numbers."""
    found = evaluate(folders, variant(tmp_path, unit="voxels"))
    assert found.problems == ()


def test_both_fields_are_held_against_the_points(folders: Folders) -> None:
    """The inverse takes (x + 3, y, z + 4) back to about x + 1."""
    save_field(folders.path("BraTSReg_001_df_f2b.nii.gz"), np.broadcast_to([-2.0, 0, -4.0], (*SHAPE, 3)))
    assert evaluate(folders).problems == ()
    save_field(folders.path("BraTSReg_001_df_f2b.nii.gz"), np.broadcast_to([2.0, 0, 4.0], (*SHAPE, 3)))
    (problem,) = evaluate(folders).problems
    assert (problem.severity, problem.code) == ("warning", "GEO006")
    assert "BraTSReg_001_df_f2b.nii.gz: the field takes" in problem.message


def test_a_field_beyond_all_numbers_is_not_smooth(folders: Folders) -> None:
    """Vectors whose determinants overflow to nan: no voxel of it may pass for one that does not fold."""
    folders.path(DETJ).unlink()
    field = displacement() + 1e200 * np.random.default_rng(1).standard_normal((*SHAPE, 3))
    save(folders.path(FIELD), field[:, :, :, None], dtype=np.float64)
    found = evaluate(folders)
    assert found.value("jacobian_nonpositive") == JACOBIAN_PENALTIES["jacobian_nonpositive"]
    assert found.scores[(*PLACE, "jacobian_nonpositive")].status == "invalid"


def test_determinants_beyond_all_numbers_have_a_value_or_the_penalty(folders: Folders) -> None:
    save(folders.path(DETJ), one_of(-1e300), dtype=np.float64)
    found = evaluate(folders)
    assert found.value("jacobian_nonpositive") in (1, JACOBIAN_PENALTIES["jacobian_nonpositive"])


def test_determinants_on_another_grid_than_the_field_are_refused(folders: Folders, tmp_path: Path) -> None:
    """Without a reference image nobody knows which of both is wrong; an error has its penalty."""
    make_references(tmp_path / "bare", images=False)
    save(folders.path(DETJ), np.ones((3, 3, 3)))
    found = evaluate(Folders(folders.submissions, tmp_path / "bare"))
    assert [(p.severity, p.code, p.file) for p in found.of("error")] == [
        ("error", "GEO001", str(folders.path(DETJ)))
    ]
    assert found.scores[(*PLACE, "jacobian_nonpositive")].status == "invalid"
    assert found.value("jacobian_nonpositive") == JACOBIAN_PENALTIES["jacobian_nonpositive"]


# Names.


def test_registered_images_are_no_strays(folders: Folders, undisturbed: Outcome) -> None:
    for modality in ("t1ce", "t1", "t2", "flair"):
        save(folders.path(f"BraTSReg_001_{modality}_f2b.nii.gz"), np.zeros(SHAPE))
    found = evaluate(folders)
    assert found.problems == ()
    assert found.scores == undisturbed.scores


@pytest.mark.parametrize(
    "name", ["BraTSReg_001_jacobian.nii.gz", "BraTSReg_001_t3_f2b.nii.gz", "BraTSReg_1.csv"]
)
def test_other_names_are_strays(name: str, folders: Folders, undisturbed: Outcome) -> None:
    path = folders.path(name)
    path.write_bytes(b"")
    found = evaluate(folders)
    assert found.scores == undisturbed.scores
    assert [(p.severity, p.code, p.file) for p in found.problems] == [("warning", "SUB003", str(path))]


def test_a_case_that_nobody_expects(folders: Folders, undisturbed: Outcome) -> None:
    path = folders.path("BraTSReg_003.csv")
    path.write_text(csv_text(GOOD))
    found = evaluate(folders)
    assert found.scores == undisturbed.scores
    assert [(p.severity, p.code, p.file) for p in found.problems] == [("warning", "SUB006", str(path))]


# References.


def test_files_of_the_organizer_that_are_no_landmarks(own_references: Folders, undisturbed: Outcome) -> None:
    """More columns, another order of rows and CRLF are fine there."""
    for name in ("_00_0000_landmarks.csv", "_01_0106_landmarks.csv"):
        path = own_references.reference(name)
        header, *rows = path.read_text().splitlines()
        path.write_text("\r\n".join([f"{header},note", *(f"{row},sure" for row in reversed(rows))]))
    found = evaluate(own_references)
    assert found.scores == undisturbed.scores
    assert found.results[0].details == undisturbed.results[0].details  # landmarks in the order of their ids
    assert found.problems == ()


BROKEN_REFERENCES: dict[str, tuple[str, str | bytes | None, str]] = {
    "no moving landmarks": ("_01_0106_landmarks.csv", None, "moving landmarks"),
    "other ids": ("_01_0106_landmarks.csv", csv_text(dict.fromkeys("12346", (1, -230, 1))), "5, 6"),
    "one landmark less": ("_01_0106_landmarks.csv", csv_text(dict.fromkeys("1234", (1, -230, 1))), "5"),
    "no number": ("_01_0106_landmarks.csv", csv_text({"1": (1, -230, 1)}).replace("-230", "?"), "'?'"),
    "no number in the baseline": ("_00_0000_landmarks.csv", "Landmark,X,Y,Z\n1,1,x,1\n", "'x'"),
    "a duplicate id": ("_00_0000_landmarks.csv", "Landmark,X,Y,Z\n1,1,1,1\n1,1,1,1\n", "repeats line 2"),
    "no landmark": ("_00_0000_landmarks.csv", "Landmark,X,Y,Z\n", "no landmark"),
    "no columns": ("_00_0000_landmarks.csv", "a,b\n1,2\n", "no column Landmark, X, Y, Z"),
    "an empty file": ("_00_0000_landmarks.csv", "", "empty"),
    "a broken image": ("_00_0000_t1ce.nii.gz", b"no image", "not a NIfTI"),
}


@pytest.mark.parametrize("kind", BROKEN_REFERENCES)
def test_a_broken_reference_is_nobodys_gain(kind: str, own_references: Folders, undisturbed: Outcome) -> None:
    name, content, words = BROKEN_REFERENCES[kind]
    path = own_references.reference(name)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    found = evaluate(own_references)
    for key, before in undisturbed.scores.items():
        if key[1] == CASES[0]:
            assert (found.scores[key].value, found.scores[key].status) == (None, "not_applicable")
        else:
            assert found.scores[key] == before
    assert {(p.severity, p.code, p.case) for p in found.problems} == {("error", "SUB014", CASES[0])}
    assert any(words in problem.message and CASES[0] in problem.message for problem in found.problems)
    assert all(problem.file for problem in found.problems)
    board = found.board()
    assert board["good"][0] == 1
    assert board["poor"][0] == 2


def test_two_follow_ups_of_a_case_stop_the_run(own_references: Folders) -> None:
    path = own_references.reference("_01_0106_landmarks.csv")
    shutil.copy(path, path.with_name(path.name.replace("0106", "0200")))
    with pytest.raises(ReferenceDataError, match="2 files claim moving of case BraTSReg_001") as caught:
        evaluate(own_references)
    assert caught.value.exit_code == 3


# Ranking: breaking or withholding is never a gain.


def empty(path: Path) -> None:
    path.write_bytes(b"")


def first_landmarks(path: Path) -> None:
    """Only the landmarks that are right."""
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:2]))


WITHHOLDING: dict[str, tuple[str, Callable[[Path], None]]] = {
    f"{what} of {name}": (name, breaker)
    for name, breakers in {
        "{case}.csv": {
            "nothing": Path.unlink,
            "zero bytes": empty,
            "the best": first_landmarks,
            "link": make_link,
        },
        "{case}_detj.nii.gz": {"nothing": Path.unlink, "zero bytes": empty, "a part": cut},
        "{case}_df_b2f.nii.gz": {"nothing": Path.unlink, "zero bytes": empty, "a part": cut},
    }.items()
    for what, breaker in breakers.items()
}


@pytest.mark.parametrize("kind", WITHHOLDING)
@pytest.mark.parametrize("challenge", ["brats-reg-2022", "landmark-hit-rate", "landmark-rtre"])
def test_no_place_is_gained_by_breaking_files(challenge: str, kind: str, tmp_path: Path) -> None:
    """Against a twin (decided by tie-breakers), a better and a worse team; in one case and in all."""
    name, breaker = WITHHOLDING[kind]
    make_references(tmp_path / "references")
    make_submissions(tmp_path / "submissions")
    submissions = tmp_path / "submissions"
    for team, model in (("subject", "poor"), ("worst", "poor")):
        shutil.copytree(submissions / model, submissions / team)
    for case in CASES:
        for team in ("poor", "subject"):
            if "detj" not in name:  # else it would stand in for the determinants
                save_field(submissions / team / f"{case}_df_b2f.nii.gz", displacement())
        far = {n: (x, y, 19.0) for n, (x, y, z) in predicted("poor", case).items()}
        (submissions / "worst" / f"{case}.csv").write_text(csv_text(far))
    folders = Folders(submissions, tmp_path / "references")
    before = evaluate(folders, challenge)
    places = before.board()
    assert places["good"][0] < places["subject"][0] == places["poor"][0] < places["worst"][0]
    for case in CASES:
        breaker(submissions / "subject" / name.format(case=case))
        after = evaluate(folders, challenge)
        now = after.board()
        assert now["subject"][0] >= places["subject"][0]
        assert now["subject"][0] >= now["poor"][0]  # never before its twin
        assert now["subject"][1] >= places["subject"][1]  # a mean rank
        for key, score in after.scores.items():
            if key[0] != "subject":
                assert score == before.scores[key]
        places = now


def test_withheld_determinants_lose_a_tie(folders: Folders) -> None:
    """Equal in points; the twin with 4 folded voxels is before the one that hides them."""
    shutil.copytree(folders.submissions / "poor", folders.submissions / "twin")
    board = evaluate(folders).board()
    assert board["poor"] == board["twin"]
    folders.path("BraTSReg_001_detj.nii.gz", "twin").unlink()
    board = evaluate(folders).board()
    assert board["poor"][1] == board["twin"][1]
    assert board["poor"][0] < board["twin"][0]


# The other two challenges.


def test_hit_rates(folders: Folders) -> None:
    found = evaluate(folders, "landmark-hit-rate")
    expected = {
        ("good", "hit_rate_1mm"): 3 / 5,
        ("good", "hit_rate_2mm"): 4 / 5,
        ("good", "hit_rate_5mm"): 1,
        ("good", "hit_rate_auc"): (10 + 9.5 + 9 + 8.5 + 5) / 5 / 10,
        ("poor", "hit_rate_5mm"): 3 / 5,
        ("poor", "hit_rate_auc"): (6 * 3 + 4 * 2) / 5 / 10,
    }
    for (team, metric), value in expected.items():
        assert found.value(metric, team) == pytest.approx(value), (team, metric)
    for metric in ("hit_rate_raters_auc", "hit_rate_2spread", "hit_rate_spread_auc"):
        assert found.scores[(*PLACE, metric)].status == "not_applicable"
    assert found.board() == {"good": (1, 1), "poor": (2, 2)}  # mean ranks


def test_hit_rates_by_raters(own_references: Folders) -> None:
    """Two raters 1 mm to either side along Z: a spread of 1 mm, distances sqrt(e^2 + 1) to both."""
    for rater, by in (("1", 1), ("2", -1)):
        points = {name: (x, y, z + by) for name, (x, y, z) in BASELINE.items()}
        own_references.reference(f"_00_0000_landmarks_rater{rater}.csv").write_text(csv_text(points))
    found = evaluate(own_references, "landmark-hit-rate")
    assert found.value("hit_rate_2spread") == 4 / 5
    # Errors of 0, 0.5, 1, 1.5 and 5 spreads, out of 5.
    assert found.value("hit_rate_spread_auc") == pytest.approx((5 + 4.5 + 4 + 3.5 + 0) / 5 / 5)
    distances = np.sqrt(np.square(OFF["good"]) + 1)
    assert found.value("hit_rate_raters_auc") == pytest.approx((10 - distances).mean() / 10)
    other = found.scores["good", CASES[1], "hit_rate_2spread"]
    assert other.status == "not_applicable"  # nobody rated that case


def test_a_rater_of_other_landmarks_is_the_organizers_fault(own_references: Folders) -> None:
    path = own_references.reference("_00_0000_landmarks_rater1.csv")
    path.write_text(csv_text({name: BASELINE[name] for name in "1234"}))
    found = evaluate(own_references, "landmark-hit-rate")
    assert {(p.code, p.file) for p in found.of("error")} == {("SUB014", str(path))}
    assert found.scores[(*PLACE, "mee")].status == "not_applicable"


def test_relative_errors(folders: Folders, tmp_path: Path) -> None:
    """Of the image's diagonal, sqrt(24^2 + 26^2 + 20^2) mm; without an image that of 240 x 240 x 155."""
    found = evaluate(folders, "landmark-rtre")
    diagonal = np.sqrt(576 + 676 + 400)
    assert found.value("relative_tre") == pytest.approx(1 / diagonal)
    assert found.value("mean_relative_tre") == pytest.approx(1.6 / diagonal)
    assert found.value("max_relative_tre") == pytest.approx(5 / diagonal)
    make_references(tmp_path / "bare", images=False)
    found = evaluate(Folders(folders.submissions, tmp_path / "bare"), "landmark-rtre")
    assert found.value("relative_tre") == pytest.approx(1 / np.sqrt(2 * 240**2 + 155**2))


@pytest.mark.parametrize(
    "column",
    [
        "hit_rate_auc: {parameters: {largest_radius_mm: 0}}",
        "hit_rate_auc: {parameters: {area: trapezoid, step_mm: 0}}",
        "hit_rate_spread_auc: {metric: hit_rate_by_spread_auc, parameters: {most_times: 0}}",
        "jacobian_p101: {metric: jacobian_percentile, parameters: {percent: 101}}",
    ],
)
def test_impossible_parameters_are_a_fault_of_the_configuration(column: str, tmp_path: Path) -> None:
    """Exit code 2 from `challenges check`, not a fault of every case later on."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: brats-reg-2022\nname: mine\nmetrics:\n  {column}\n")
    done = bratseval("challenges", "check", path)
    assert done.returncode == 2, done.stderr
    assert "CFG" in done.stderr


# The command itself.


def run(folders: Folders, output: Path, *more: object) -> object:
    return bratseval(
        *("run", "brats-reg-2022", "-s", folders.submissions, "-r", folders.references, "-o", output), *more
    )


def test_the_command_writes_and_names_everything(own_references: Folders, tmp_path: Path) -> None:
    """A refused table, a hidden image of determinants and a broken reference in one run."""
    own_references.path(CSV).write_text(with_line(3, "2,nan,-225,3"))
    own_references.path("BraTSReg_001_detj.nii.gz", "poor").unlink()
    own_references.reference("_01_0106_landmarks.csv", CASES[1]).unlink()
    done = run(own_references, tmp_path / "out", "--jobs", 2)
    assert done.returncode == 3, done.stderr  # type: ignore[attr-defined]
    rows = table(tmp_path / "out" / "scores.csv")
    assert [(r["team"], r["case"], r["metric"]) for r in rows] == [
        (team, case, metric) for team in TEAMS for case in CASES for metric in METRICS
    ]
    found = {(row["team"], row["case"], row["metric"]): row for row in rows}
    assert (found[(*PLACE, "mee")]["value"], found[(*PLACE, "mee")]["status"]) == ("374", "invalid")
    assert found["poor", CASES[0], "jacobian_nonpositive"]["status"] == "missing"
    assert {row["status"] for row in rows if row["case"] == CASES[1]} == {"not_applicable"}
    codes = {problem["code"] for problem in table(tmp_path / "out" / "problems.csv")}
    assert codes == {"CSV011", "SUB007", "SUB014"}
    assert {row["case"] for row in table(tmp_path / "out" / "landmarks.csv")} == {CASES[0]}
    assert "Traceback" not in done.stderr  # type: ignore[attr-defined]
    for code in codes:
        assert f"[{code}]" in done.stderr  # type: ignore[attr-defined]


def test_names_and_contents_that_would_steer_a_terminal_are_escaped(folders: Folders, tmp_path: Path) -> None:
    folders.path(CSV).write_bytes(b"Landmark,X\x1b[31m,Y\x00,Z\n1,1,1,1\n")
    done = run(folders, tmp_path / "out")
    assert done.returncode == 1  # type: ignore[attr-defined]
    for text in (done.stderr, (tmp_path / "out" / "problems.csv").read_text()):  # type: ignore[attr-defined]
        assert "\x1b" not in text
        assert "\x00" not in text
        assert "CSV011" in text


def test_the_same_bytes_for_any_jobs_and_shards(folders: Folders, tmp_path: Path) -> None:
    folders.path(CSV, "poor").write_text("Landmark,X,Y,Z\n")  # something refused among them
    assert run(folders, tmp_path / "one", "--jobs", 1).returncode == 1  # type: ignore[attr-defined]
    run(folders, tmp_path / "two", "--jobs", 2)
    shards = [tmp_path / f"shard{index}" for index in (1, 2, 3)]
    for index, shard in enumerate(shards, start=1):
        run(folders, shard, "--shard", f"{index}/3", "--jobs", 1)
    merged = bratseval("merge", shards[1], shards[2], shards[0], "-o", tmp_path / "merged")
    assert merged.returncode == 1, merged.stderr
    for name in ("scores", "landmarks", "leaderboard", "cases", "teams", "problems", "inputs", "ranks"):
        texts = {(tmp_path / folder / f"{name}.csv").read_bytes() for folder in ("one", "two", "merged")}
        assert len(texts) == 1, name
    assert len((tmp_path / "one" / "landmarks.csv").read_text().splitlines()) == 1 + 5 + 4 + 4
    assert len({row["team"] for row in table(tmp_path / "one" / "leaderboard.csv")}) == 2
