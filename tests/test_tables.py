"""Tables from folders to a leaderboard: hostile and odd ones cost what is stated, and nothing else.

Two teams, six subjects with ids like 00001. The sound team is right everywhere; the other one hands in what a
test makes of the same table. A subject that is lost loses all its comparisons, so every number is a count.
"""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import table
from test_validate import Done, command

from bratseval.config import load_challenge
from bratseval.errors import printable

IDS = [f"{number:05d}" for number in range(1, 7)]
CLASSES = (0, 1, 0, 1, 0, 1)
SURE = (0.1, 0.9, 0.2, 0.8, 0.3, 0.7)  # of class 1
HEADER = "BraTS21ID,MGMT_value"


def csv_text(header: str, *columns: Sequence[object]) -> str:
    return "".join(f"{line}\n" for line in [header, *(",".join(map(str, row)) for row in zip(*columns))])  # noqa: B905


SOUND = csv_text(HEADER, IDS, SURE)
ANSWERS = csv_text(HEADER, IDS, CLASSES)


def with_line(number: int, text: str, sound: str = SOUND) -> str:
    """The sound table with another line (the header is 1), or one more."""
    lines = sound.splitlines()
    lines[number - 1 : number] = [text]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Outcome:
    """What `run` and `validate` leave behind."""

    run: Done
    validated: Done
    scores: Mapping[tuple[str, str], dict[str, str]]
    problems: list[dict[str, str]]
    leaderboard: list[dict[str, str]]

    def codes(self, team: str = "other") -> dict[str, str]:
        """Severity by code."""
        return {row["code"]: row["severity"] for row in self.problems if row["team"] == team}

    def said(self, code: str) -> dict[str, str]:
        """The one problem of a code."""
        (problem,) = [row for row in self.problems if row["code"] == code]
        return problem

    def value(self, metric: str, team: str = "other") -> float | None:
        text = self.scores[team, metric]["value"]
        return float(text) if text else None


@dataclass
class Place:
    """A folder with the answers and the submissions of a sound team and another."""

    root: Path
    challenge: str | Path = "brats2021-mgmt"

    @property
    def references(self) -> Path:
        return self.root / "answers.csv"

    @property
    def other(self) -> Path:
        return self.root / "teams" / "other"

    def write(self, answers: str, sound: str, other: str | bytes) -> None:
        for path in (self.root / "teams" / "sound", self.other):
            path.mkdir(parents=True)
        self.references.write_bytes(answers.encode())
        (self.root / "teams" / "sound" / "results.csv").write_bytes(sound.encode())
        data = other.encode() if isinstance(other, str) else other
        (self.other / "results.csv").write_bytes(data)

    def outcome(self) -> Outcome:
        """Every metric of every team has its row, and validate says of the team what run says."""
        out = self.root / "out"
        sides = ("--references", self.references)
        done = command("run", self.challenge, "-s", self.root / "teams", *sides, "-o", out)
        rows = table(out / "scores.csv")
        metrics = list(load_challenge(self.challenge).metrics)
        assert [(row["team"], row["metric"]) for row in rows] == [
            (team, metric) for team in ("other", "sound") for metric in metrics
        ]
        problems = [dict(row) for row in table(out / "problems.csv")]
        said = ("severity", "code", "file", "message", "hint")
        checked = command(
            "validate", self.challenge, "-p", self.other, *sides, "--format", "json", "--team", "other"
        )
        of_team = [[row[key] for key in said] for row in problems if row["team"] == "other"]
        assert [[printable(row[key]) for key in said] for row in checked.problems] == of_team
        assert checked.returncode == done.returncode == (1 if "error" in [row[0] for row in of_team] else 0)
        board = out / "leaderboard.csv"
        scores = {(row["team"], row["metric"]): dict(row) for row in rows}
        return Outcome(done, checked, scores, problems, [dict(row) for row in table(board)])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def submitted(place: Place, other: str | bytes) -> Outcome:
    """The outcome of the MGMT challenge; whatever the other team does, the sound one has its numbers."""
    place.write(ANSWERS, SOUND, other)
    return judged(place)


def judged(place: Place) -> Outcome:
    found = place.outcome()
    sound = {metric: row for (team, metric), row in found.scores.items() if team == "sound"}
    assert {row["status"] for row in sound.values()} == {"ok"}
    assert [sound[metric]["value"] for metric in ("auroc", "accuracy", "subjects")] == ["1", "1", "6"]
    assert not found.codes("sound")
    assert [row["team"] for row in found.leaderboard if row["rank"] == "1"][-1] == "sound"
    return found


def assert_lost(found: Outcome, lost: Sequence[int]) -> None:
    """Subjects without a usable row, by place from 0: all their comparisons are lost."""
    kept = [CLASSES[i] for i in range(6) if i not in lost]
    assert found.value("auroc") == pytest.approx(kept.count(0) * kept.count(1) / 9)
    assert found.value("accuracy") == pytest.approx(len(kept) / 6)
    squares = sum((SURE[i] - CLASSES[i]) ** 2 * 2 for i in range(6) if i not in lost)
    assert found.value("brier") == pytest.approx((squares + 2 * len(lost)) / 6)
    assert (found.value("subjects"), found.value("missing_subjects")) == (6, len(lost))
    assert {found.scores["other", metric]["status"] for metric in ("auroc", "brier", "subjects")} == {"ok"}
    board = {row["team"]: row for row in found.leaderboard}
    assert (board["other"]["missing_cases"], board["sound"]["missing_cases"]) == (str(len(lost)), "0")
    if lost:
        listed = ", ".join(IDS[i] for i in lost)
        expected = f"{len(lost)} of 6 subjects have no usable row ({listed}); penalized"
        assert found.said("SUB004")["message"] == expected


def assert_refused(found: Outcome, status: str = "invalid") -> None:
    """The whole table: the penalty of every metric."""
    for metric, spec in load_challenge("brats2021-mgmt").metrics.items():
        row = found.scores["other", metric]
        assert (found.value(metric), row["measured"], row["status"]) == (spec.penalty, "", status), metric
        assert row["reason"]
    board = {row["team"]: row for row in found.leaderboard}
    assert (board["other"]["rank"], board["other"]["missing_cases"]) == ("2", "6")


# What is accepted in silence.

REVERSED = "\n".join([SOUND.splitlines()[0], *reversed(SOUND.splitlines()[1:])])
ACCEPTED = {
    "as it is": SOUND,
    "byte order mark": "\ufeff" + SOUND,
    "CRLF": SOUND.replace("\n", "\r\n"),
    "CR, as on old Macs": SOUND.replace("\n", "\r"),
    "no newline at the end": SOUND.rstrip("\n"),
    "blank lines": SOUND.replace("\n", "\n\n") + ",\n \n",
    "rows in another order": REVERSED,
    "columns in another order": csv_text("MGMT_value,BraTS21ID", SURE, IDS),
    "further columns": csv_text(f"{HEADER},note,age", IDS, SURE, ["none"] * 6, [""] * 6),
    "a further column twice": csv_text(f"note,{HEADER},note", "abcdef", IDS, SURE, "abcdef"),
    "spaces": SOUND.replace(",", " ,  "),
    "everything in quotes": "".join(f'"{line}"\n' for line in SOUND.replace(",", '","').splitlines()),
    "a newline in a further column": csv_text(f"{HEADER},note", IDS, SURE, ['"a\n,b"'] * 6),
    "a formula in a further column": csv_text(
        f"{HEADER},note", IDS, SURE, ["=1+1", "@x", "+a", "-b", "", "|"]
    ),
    "other ways to write numbers": csv_text(HEADER, IDS, ["1e-1", "+.9", "2.E-1", "0.80", "3E-01", "00.7"]),
}


@pytest.mark.parametrize("other", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_in_silence(place: Place, other: str) -> None:
    found = submitted(place, other)
    assert found.problems == []
    assert_lost(found, [])
    for (team, metric), row in found.scores.items():
        assert row["value"] == found.scores["sound", metric]["value"], (team, metric)


def test_negative_zero_is_zero(place: Place) -> None:
    found = submitted(place, csv_text(HEADER, IDS, ["-0.0", "1.0", "0", "1", "-0", "1e0"]))
    assert not found.problems
    assert (found.value("auroc"), found.value("brier")) == (1, 0)


# What costs the whole table.

REFUSED = {
    "a column is missing": (csv_text("BraTS21ID", IDS), "no column MGMT_value (found BraTS21ID)"),
    "another name": (SOUND.replace("MGMT_value", "p"), "no column MGMT_value (found BraTS21ID, p)"),
    "a name in another case": (SOUND.replace("BraTS21ID", "brats21id"), "no column BraTS21ID"),
    "semicolons": (
        SOUND.replace(",", ";"), "no column BraTS21ID, no column MGMT_value (found BraTS21ID;MGMT_value)",
    ),
    "tabs": (SOUND.replace(",", "\t"), "no column BraTS21ID"),
    "no header": (SOUND.partition("\n")[2], "no column BraTS21ID, no column MGMT_value (found 00001, 0.1)"),
    "a column twice": (
        csv_text(f"{HEADER},MGMT_value", IDS, SURE, SURE), "the column MGMT_value occurs twice",
    ),
    "the id twice": (csv_text(f"BraTS21ID,{HEADER}", IDS, IDS, SURE), "the column BraTS21ID occurs twice"),
    "nothing": ("", "the file is empty, a header was expected"),
    "blanks alone": (" \n,,\n\n", "the file is empty, a header was expected"),
    "UTF-16": (SOUND.encode("utf-16"), "cannot be read as CSV"),
    "Latin-1": (SOUND.encode() + b"\xe9,0.5\n", "cannot be read as CSV"),
    "rubbish": (bytes(range(256)) * 4, "cannot be read as CSV"),
    "compressed": (gzip.compress(SOUND.encode(), mtime=0), "cannot be read as CSV"),
    "an open quote": (SOUND.replace("00002", '"00002'), "cannot be read as CSV"),
    "a quote within a cell": (SOUND.replace("00002", '"00"002'), "cannot be read as CSV"),
    "a very long cell": (SOUND.replace("00002", "2" * 200_000), "cannot be read as CSV (field larger than"),
    "a web page": ("<html><body>404</body></html>\n", "no column BraTS21ID"),
}  # fmt: skip


@pytest.mark.parametrize(("other", "says"), REFUSED.values(), ids=REFUSED)
def test_the_whole_table_is_refused(place: Place, other: str | bytes, says: str) -> None:
    found = submitted(place, other)
    assert found.codes() == {"CSV011": "error"}
    path = place.other / "results.csv"
    problem = found.said("CSV011")
    assert problem["message"].startswith(f"{path}: {says}")
    assert problem["file"] == str(path)
    assert problem["hint"]
    assert_refused(found)


def test_semicolons_have_a_hint_of_their_own(place: Place) -> None:
    found = submitted(place, SOUND.replace(",", ";"))
    assert "not by semicolons" in found.said("CSV011")["hint"]


# What costs subjects. Lines: the header is 1, subject 00001 is in line 2.

NUMBER = "1 row without a number ('{0}' in line 2); refused"
RANGE = "1 row with a number outside 0 to 1 ({0} in line 2); refused"
SPOILED = {
    "nan": ("NaN", "CSV016", NUMBER),
    "infinity": ("inf", "CSV016", NUMBER),
    "minus infinity": ("-Infinity", "CSV016", NUMBER),
    "beyond any float": ("1e400", "CSV016", NUMBER),
    "grouped digits": ("1_000", "CSV016", NUMBER),
    "hexadecimal": ("0x1", "CSV016", NUMBER),
    "text": ("unknown", "CSV016", NUMBER),
    "an empty cell": ("", "CSV016", NUMBER),
    "percent": ("10%", "CSV016", NUMBER),
    "a formula": ("=1/10", "CSV016", NUMBER),
    "a truth": ("True", "CSV016", NUMBER),
    "Arabic digits": ("\u0660.\u0661", "CSV016", NUMBER),
    "full-width digits": ("\uff10.\uff11", "CSV016", NUMBER),
    "above the range": ("1.5", "CSV016", RANGE),
    "below the range": ("-0.25", "CSV016", RANGE),
    "huge": ("1e+11", "CSV016", RANGE),
    "a decimal comma": ("0,1", "CSV002", "1 row without the header's 2 cells (3 in line 2); refused"),
    "a quoted decimal comma": ('"0,1"', "CSV016", NUMBER.format("0,1")),
}


@pytest.mark.parametrize(("cell", "code", "says"), SPOILED.values(), ids=SPOILED)
def test_a_spoiled_cell_costs_its_subject(place: Place, cell: str, code: str, says: str) -> None:
    found = submitted(place, with_line(2, f"00001,{cell}"))
    assert found.codes() == {code: "error", "SUB004": "warning"}
    path = place.other / "results.csv"
    problem = found.said(code)
    assert problem["message"] == f"{path}:2: {says.format(cell)}"
    assert (problem["file"], bool(problem["hint"])) == (str(path), True)
    assert_lost(found, [0])


def test_many_spoiled_cells_are_one_problem(place: Place) -> None:
    found = submitted(place, csv_text(HEADER, IDS, ["?", 0.9, "?", "?", 0.3, "-"]))
    path = place.other / "results.csv"
    expected = "4 rows without a number ('?' in line 2, '?' in line 4, '?' in line 5, '-' in line 7); refused"
    assert found.said("CSV016")["message"] == f"{path}:2: {expected}"
    assert_lost(found, [0, 2, 3, 5])


def test_every_kind_of_fault_is_told_at_once(place: Place) -> None:
    rows = ["00001,x", "00002,0.9,1", ",0.5", "00003,2", "00004,0.8", "00004,0.8", "00005,0.3", "9,0.5"]
    found = submitted(place, "\n".join([HEADER, *rows]))
    path = place.other / "results.csv"
    listed = {row["message"] for row in found.problems}
    assert listed == {
        f"{path}:2: 1 row without a number ('x' in line 2); refused",
        f"{path}:3: 1 row without the header's 2 cells (3 in line 3); refused",
        f"{path}:4: 1 row without an id like the reference has ('' in line 4); refused",
        f"{path}:5: 1 row with a number outside 0 to 1 (2 in line 5); refused",
        f"{path}:7: 1 row of a subject that another row names (00004 in line 6 and in line 7); refused",
        f"{path}: 1 subject is not expected (9); not scored",
        "5 of 6 subjects have no usable row (00001, 00002, 00003, 00004, 00006); penalized",
    }
    assert_lost(found, [0, 1, 2, 3, 5])


OTHER_SUBJECTS = {
    "a missing subject": (SOUND.replace("00001,0.1\n", ""), {"SUB004": "warning"}, [0]),
    "missing subjects": ("\n".join(SOUND.splitlines()[:3]), {"SUB004": "warning"}, [2, 3, 4, 5]),
    "an unknown subject": (SOUND + "00007,0.5\n", {"SUB006": "warning"}, []),
    "an id without zeros": (
        SOUND.replace("00001", "1"),
        {"SUB004": "warning", "SUB006": "warning"},
        [0],
    ),
    "a formula for an id": (
        SOUND.replace("00001", "=1+1"),
        {"SUB004": "warning", "SUB006": "warning"},
        [0],
    ),
    "a newline in an id": (
        SOUND.replace("00001", '"00\n001"'),
        {"SUB004": "warning", "SUB006": "warning"},
        [0],
    ),
    "an id twice, alike": (SOUND + "00001,0.1\n", {"SUB004": "warning", "CSV004": "error"}, [0]),
    "an id twice, first spoiled": (
        SOUND.replace("00001,0.1", "00001,x") + "00001,0.1\n",
        {"SUB004": "warning", "CSV004": "error", "CSV016": "error"},
        [0],
    ),
    "an unknown id twice": (SOUND + "7,0.1\n7,0.2\n", {"CSV004": "error"}, []),
}


@pytest.mark.parametrize(("other", "codes", "lost"), OTHER_SUBJECTS.values(), ids=OTHER_SUBJECTS)
def test_other_subjects(place: Place, other: str, codes: dict[str, str], lost: list[int]) -> None:
    found = submitted(place, other)
    assert found.codes() == codes
    assert_lost(found, lost)
    if "SUB006" in codes:
        assert found.said("SUB006")["hint"] == "the references have ids like 00001"


def test_an_id_that_is_a_formula_stays_text_in_every_table(place: Place) -> None:
    """It stands within sentences only, which begin with a path or a count."""
    submitted(place, SOUND.replace("00001", "=HYPERLINK(1)") + "@a,0.5\n")
    for path in (place.root / "out").glob("*.csv"):
        for line in path.read_text().splitlines():
            assert not [cell for cell in line.split(",") if cell[:1] in ("=", "@", "+")], path


NOTHING = {
    "a header alone": (HEADER + "\n", {"SUB011": "error"}),
    "ids of other subjects": (SOUND.replace("0000", ""), {"SUB011": "error", "SUB006": "warning"}),
    "no number anywhere": (csv_text(HEADER, IDS, "abcdef"), {"SUB011": "error", "CSV016": "error"}),
    "every row twice": (SOUND + SOUND.partition("\n")[2], {"SUB011": "error", "CSV004": "error"}),
}


@pytest.mark.parametrize(("other", "codes"), NOTHING.values(), ids=NOTHING)
def test_a_table_without_any_usable_row(place: Place, other: str, codes: dict[str, str]) -> None:
    found = submitted(place, other)
    assert found.codes() == codes
    path = place.other / "results.csv"
    expected = f"{path}: none of the 6 expected subjects has a usable row"
    assert found.said("SUB011")["message"] == expected
    assert found.scores["other", "auroc"]["reason"] == expected
    assert_refused(found)


def test_constant_numbers_are_a_warning(place: Place) -> None:
    found = submitted(place, csv_text(HEADER, IDS, [0.5] * 6))
    assert found.codes() == {"CSV017": "warning"}
    expected = "all submitted numbers are the same (0.5), so they tell no subject from another"
    assert found.said("CSV017")["message"] == f"{place.other / 'results.csv'}: {expected}"
    assert (found.value("auroc"), found.value("accuracy"), found.value("brier")) == (0.5, 0.5, 0.5)


# What is handed in.


def test_a_team_without_any_file(place: Place) -> None:
    place.write(ANSWERS, SOUND, "")
    (place.other / "results.csv").unlink()
    out = place.root / "out"
    done = command("run", "brats2021-mgmt", "-s", place.root / "teams", "-r", place.references, "-o", out)
    assert done.returncode == 0
    rows = {(row["team"], row["metric"]): row for row in table(out / "scores.csv")}
    assert {rows[key]["status"] for key in rows if key[0] == "other"} == {"missing"}
    assert (rows["other", "auroc"]["value"], rows["sound", "auroc"]["value"]) == ("0", "1")
    (problem,) = table(out / "problems.csv")
    assert (problem["severity"], problem["code"], problem["team"]) == ("warning", "SUB007", "other")
    checked = command("validate", "brats2021-mgmt", "-p", place.other, "-r", place.references)
    assert checked.returncode == 1
    assert "SUB011" in checked.stderr


def test_two_tables_of_a_team_are_both_refused(place: Place) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    shutil.copy(place.other / "results.csv", place.other / "again.csv")
    found = judged(place)
    assert found.codes() == {"SUB002": "error"}
    assert "again.csv and" in found.said("SUB002")["message"]
    assert_refused(found)


def test_a_link_is_not_followed(place: Place) -> None:
    place.write(ANSWERS, SOUND, "")
    (place.other / "results.csv").unlink()
    (place.other / "results.csv").symlink_to(place.references)
    found = judged(place)
    assert found.codes() == {"SUB005": "error"}
    assert_refused(found)


def test_what_is_no_table_is_not_read(place: Place) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    (place.other / "notes.txt").write_text("none")
    (place.other / ".DS_Store").write_text("none")
    found = judged(place)
    assert found.codes() == {"SUB003": "warning"}
    assert_lost(found, [])


def test_a_table_in_an_archive(place: Place) -> None:
    place.write(ANSWERS, SOUND, "")
    shutil.rmtree(place.other)
    with zipfile.ZipFile(place.root / "teams" / "other.zip", "w") as archive:
        archive.writestr("x/y.csv", with_line(2, "00001,x"))
    out = place.root / "out"
    done = command("run", "brats2021-mgmt", "-s", place.root / "teams", "-r", place.references, "-o", out)
    assert done.returncode == 1
    told = [row["message"] for row in table(out / "problems.csv") if row["code"] == "CSV016"]
    assert told == [
        f"{place.root}/teams/other.zip/x/y.csv:2: 1 row without a number ('x' in line 2); refused"
    ]


# Labels, probabilities, times, ratings.

PATH_IDS = [f"val_{letter}" for letter in "abcdef"]
PATH_CLASSES = (0, 1, 2, 9, 4, 5)


def path_table(labels: Sequence[object], ids: Sequence[str] = PATH_IDS, target: str = "Prediction") -> str:
    return csv_text(f"SubjectID,{target}", ids, labels)


LABELS = {
    "a class too far": ("10", "1 row with a label that is no class from 0 to 9 (10 in line 2); refused"),
    "negative": ("-1", "1 row with a label that is no class from 0 to 9 (-1 in line 2); refused"),
    "no whole number": ("1.5", "1 row with a label that is no class from 0 to 9 (1.5 in line 2); refused"),
    "nearly one": ("0.9999", "1 row with a label that is no class from 0 to 9 (0.9999 in line 2); refused"),
    "a name": ("tumor", "1 row without a number ('tumor' in line 2); refused"),
    "a probability": ("nan", "1 row without a number ('nan' in line 2); refused"),
}


@pytest.mark.parametrize(("label", "says"), LABELS.values(), ids=LABELS)
def test_labels(place: Place, label: str, says: str) -> None:
    place.challenge = "brats2026-path"
    sound = path_table(PATH_CLASSES)
    place.write(path_table(PATH_CLASSES, target="Target"), sound, path_table([label, *PATH_CLASSES[1:]]))
    found = place.outcome()
    assert found.codes() == {"CSV016": "error", "SUB004": "warning"}
    assert found.said("CSV016")["message"] == f"{place.other / 'results.csv'}:2: {says}"
    assert found.value("accuracy") == pytest.approx(5 / 6)
    # Seven labels are named, five of them rightly; that of the lost subject is one of its own.
    assert found.value("f1") == found.value("sensitivity") == pytest.approx(5 / 7)
    assert found.value("specificity") == 1
    assert found.value("auroc") == pytest.approx((5 + 0.5) / 6)
    sound_values = [found.value(metric, "sound") for metric in ("accuracy", "mcc", "f1", "auroc")]
    assert sound_values == [1, 1, 1, 1]


def test_labels_written_as_decimals_and_ids_within_paths(place: Place) -> None:
    place.challenge = "brats2026-path"
    sound = path_table([f"{label}.0" for label in PATH_CLASSES], [f"tiles/{own}.png" for own in PATH_IDS])
    place.write(path_table(PATH_CLASSES, target="GT").replace("SubjectID", "Name"), sound, sound)
    found = place.outcome()
    assert not found.problems
    assert found.value("accuracy") == found.value("mcc") == 1


def test_two_paths_of_one_id_are_both_refused(place: Place) -> None:
    place.challenge = "brats2026-path"
    sound = path_table(PATH_CLASSES)
    place.write(
        path_table(PATH_CLASSES, target="Target"), sound, sound + "elsewhere/val_a.png,0\nslide_7,1\n"
    )
    found = place.outcome()
    assert found.codes() == {"CSV003": "error", "CSV004": "error", "SUB004": "warning"}
    assert "(val_a in line 2 and in line 8)" in found.said("CSV004")["message"]
    assert r"1 row without an id like val_\w+ ('slide_7' in line 9)" in found.said("CSV003")["message"]
    assert found.value("accuracy") == pytest.approx(5 / 6)


def variant(place: Place, extends: str, **blocks: object) -> Path:
    """A bundled challenge with other blocks (JSON is YAML)."""
    path = place.root / "variant.yaml"
    path.write_text(json.dumps({"extends": extends, "name": "variant", **blocks}))
    return path


PROBABILITIES = {
    "outside": ("1.2,-0.2,0", "1 row with a probability outside 0 to 1 (1.2 -0.2 0 in line 2); refused"),
    "percent": ("70,20,10", "1 row with a probability outside 0 to 1 (70 20 10 in line 2); refused"),
    "no sum of one": (
        "0.5,0.4,0", "1 row whose probabilities do not add up to 1 (0.5 0.4 0 in line 2); refused",
    ),
    "no number": ("1,0,", "1 row without a number ('' in line 2); refused"),
}  # fmt: skip


def of_probabilities(place: Place, first: str) -> Outcome:
    names = ["p0", "p1", "p2"]
    place.challenge = variant(
        place,
        "brats2021-mgmt",
        table={"submitted": "probabilities", "classes": 3, "prediction": names, "low": None, "high": None},
        metrics={
            **dict.fromkeys(("auroc_lower", "auroc_upper", "average_precision")),
            "auroc": {"parameters": {"average": "macro"}, "penalty": 0},
        },
    )
    classes = (0, 1, 2, 0, 1, 2)
    rows = [",".join(str(float(k == own)) for k in range(3)) for own in classes]
    header = f"BraTS21ID,{','.join(names)}"
    place.write(
        csv_text(HEADER, IDS, classes), csv_text(header, IDS, rows), csv_text(header, IDS, [first, *rows[1:]])
    )
    return place.outcome()


@pytest.mark.parametrize(("cells", "says"), PROBABILITIES.values(), ids=PROBABILITIES)
def test_probabilities(place: Place, cells: str, says: str) -> None:
    found = of_probabilities(place, cells)
    assert found.codes() == {"CSV016": "error", "SUB004": "warning"}
    assert found.said("CSV016")["message"] == f"{place.other / 'results.csv'}:2: {says}"
    assert (found.value("accuracy"), found.value("brier")) == pytest.approx((5 / 6, 2 / 6))
    # Of class 0 it is half of the pairs; of the others it is one of four negatives, above all positives.
    assert found.value("auroc") == pytest.approx((4 / 8 + 6 / 8 + 6 / 8) / 3)
    assert found.value("auroc", "sound") == 1


def test_probabilities_that_are_rounded(place: Place) -> None:
    found = of_probabilities(place, "0.333,0.333,0.333")
    assert not found.problems
    assert found.value("accuracy") == 1  # of equal ones the first


TIME_HEADER = "case_id,prediction"
TIMES = (1, 2, 3, 4, 5, 6)
EVENTS = (1, 0, 1, 0, 1, 1)  # 5 + 3 + 1 pairs can be compared


def of_times(place: Place, times: Sequence[object], **more: str) -> Outcome:
    place.challenge = "time-to-event"
    answers = more.get("answers", csv_text("case_id,event,follow_up_years", IDS, EVENTS, TIMES))
    place.write(answers, csv_text(TIME_HEADER, IDS, TIMES), csv_text(TIME_HEADER, IDS, times))
    return place.outcome()


def test_a_lost_time_loses_its_pairs(place: Place) -> None:
    found = of_times(place, ["x", 2, 3, 4, 5, 6])
    assert found.codes() == {"CSV016": "error", "SUB004": "warning"}
    assert found.value("c_index") == pytest.approx(4 / 9)
    assert found.value("c_index", "sound") == 1


def test_any_time_may_be_predicted(place: Place) -> None:
    found = of_times(place, [-3, -2.5, -1, 0, 1e9, 1e11])
    assert not found.problems
    assert found.value("c_index") == 1


def test_constant_times(place: Place) -> None:
    found = of_times(place, [4] * 6)
    assert found.codes() == {"CSV017": "warning"}
    assert [found.value(f"c_index{end}") for end in ("", "_lower", "_upper")] == [0.5] * 3


def test_files_of_single_subjects(place: Place) -> None:
    texts = ["1", "x", "[3]", '{"time": 4}', "5.0\n", "\ufeff6"]
    place.challenge = "time-to-event"
    sound = csv_text(TIME_HEADER, IDS, TIMES)
    place.write(csv_text("case_id,event,follow_up_years", IDS, EVENTS, TIMES), sound, "")
    (place.other / "results.csv").unlink()
    for own, text in zip(IDS, texts, strict=True):
        (place.other / f"{own}.json").write_text(text, encoding="utf-8")
    found = place.outcome()
    assert found.codes() == {"CSV016": "error", "SUB004": "warning"}
    problem = found.said("CSV016")
    assert problem["file"] == str(place.other / "00002.json")
    assert "3 files without a bare number ('x' in 00002.json" in problem["message"]
    assert found.value("c_index") == pytest.approx(3 / 9)  # 1 < 5, 1 < 6, 5 < 6


def test_a_table_and_files_of_single_subjects(place: Place) -> None:
    place.challenge = "time-to-event"
    sound = csv_text(TIME_HEADER, IDS, TIMES)
    place.write(csv_text("case_id,event,follow_up_years", IDS, EVENTS, TIMES), sound, sound)
    (place.other / "00001.json").write_text("1")
    found = place.outcome()
    assert found.codes() == {"SUB002": "error"}
    assert found.value("c_index") == 0
    assert found.scores["other", "c_index"]["status"] == "invalid"


def of_ratings(place: Place, ratings: Sequence[object]) -> Outcome:
    place.challenge = "quality-estimation"
    header = "case,rating"
    place.write(
        csv_text(header, IDS, (0, 1, 2, 4, 5, 6)),
        csv_text(header, IDS, (0, 1, 2, 4, 5, 6)),
        csv_text(header, IDS, ratings),
    )
    return place.outcome()


def test_a_lost_rating_costs_the_most_that_it_could(place: Place) -> None:
    found = of_ratings(place, [7, 1, 2, 4, 5, 6])
    assert found.codes() == {"CSV016": "error", "SUB004": "warning"}
    assert "1 row with a number outside 0 to 6 (7 in line 2)" in found.said("CSV016")["message"]
    assert found.value("mae") == 1  # 0 counts as 6
    # Its five pairs of fifteen have the wrong order.
    assert found.value("kendall") == pytest.approx((10 - 5) / 15)
    # So its rank is 6 where it should be 1, and those of the others are one less: 17.5 less 1 + ... + 5.
    assert found.value("spearman") == pytest.approx((17.5 - 15) / 17.5)
    # Squares of the answers add up to 28. A 6 takes 3 x 6 from the products, and a 0 spreads most.
    assert found.value("pearson") == pytest.approx((28 - 3 * 6) / 28)
    sound = [found.value(metric, "sound") for metric in ("mae", "pearson", "spearman", "kendall")]
    assert sound == pytest.approx([0, 1, 1, 1])


def test_constant_ratings_have_no_correlation(place: Place) -> None:
    found = of_ratings(place, [3] * 6)
    assert found.codes() == {"CSV017": "warning"}
    for metric in ("pearson", "spearman", "kendall"):
        row = found.scores["other", metric]
        assert (row["value"], row["measured"], row["status"]) == ("-1", "", "invalid"), metric
        assert row["reason"] == "undefined for what was submitted"
    assert found.value("mae") == pytest.approx((3 + 2 + 1 + 1 + 2 + 3) / 6)


# Answers that are unusable: exit 3, and no team has a value.

TIME_ANSWERS = "case_id,event,follow_up_years"
UNUSABLE = {
    "no such column": ("brats2021-mgmt", csv_text("BraTS21ID,label", IDS, CLASSES), "no column MGMT_value"),
    "a class that is none": ("brats2021-mgmt", with_line(3, "00002,2", ANSWERS), ":3: 1 row with a label"),
    "no number": ("brats2021-mgmt", with_line(3, "00002,yes", ANSWERS), ":3: 1 row without a number"),
    "a subject twice": ("brats2021-mgmt", ANSWERS + "00001,0\n", ":8: 1 row of a subject that another row"),
    "no subject": ("brats2021-mgmt", HEADER + "\n", " names no subject"),
    "an event that is neither": (
        "time-to-event",
        csv_text(TIME_ANSWERS, IDS, (1, 0, 2, 0, 1, 1), TIMES),
        ":4: 1 row whose event is neither 0 nor 1 (3 2 in line 4)",
    ),
    "a negative time": (
        "time-to-event",
        csv_text(TIME_ANSWERS, IDS, EVENTS, (1, 2, 3, -4, 5, 6)),
        ":5: 1 row with a time below 0",
    ),
    "a rating beyond the scale": (
        "quality-estimation",
        csv_text("case,rating", IDS, (0, 1, 2, 4, 5, 9)),
        ":7: 1 row with a number outside 0 to 6",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("challenge", "answers", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_answers(place: Place, challenge: str, answers: str, says: str) -> None:
    place.write(answers, SOUND, SOUND)
    out = place.root / "out"
    done = command("run", challenge, "-s", place.root / "teams", "-r", place.references, "-o", out)
    assert done.returncode == 3
    problems = {row["code"]: row for row in table(out / "problems.csv")}
    assert {*problems} == {"SUB014", "CFG006"}  # and nothing can be ranked
    problem = problems["SUB014"]
    assert (problem["severity"], problem["team"]) == ("error", "")
    assert says in problem["message"]
    rows = table(out / "scores.csv")
    assert {(row["value"], row["status"]) for row in rows} == {("", "not_applicable")}
    assert [row["metric"] for row in rows] == [*load_challenge(challenge).metrics] * 2


UNDEFINED = {
    "one class only": ("brats2021-mgmt", csv_text(HEADER, IDS, [1] * 6), "auroc", "one class only"),
    "all censored": (
        "time-to-event",
        csv_text(TIME_ANSWERS, IDS, [0] * 6, TIMES),
        "c_index",
        "no pair of them can be compared: all censored, or too few",
    ),
    "all events at once": (
        "time-to-event",
        csv_text(TIME_ANSWERS, IDS, [1] * 6, [2] * 6),
        "c_index",
        "no pair of them can be compared: all censored, or too few",
    ),
    "all rated alike": (
        "quality-estimation",
        csv_text("case,rating", IDS, [3] * 6),
        "pearson",
        "all rated alike",
    ),
}


@pytest.mark.parametrize(("challenge", "answers", "metric", "why"), UNDEFINED.values(), ids=UNDEFINED)
def test_answers_that_leave_a_metric_undefined(
    place: Place, challenge: str, answers: str, metric: str, why: str
) -> None:
    column = {"brats2021-mgmt": HEADER, "time-to-event": TIME_HEADER, "quality-estimation": "case,rating"}
    sound = csv_text(column[challenge], IDS, SURE)
    place.write(answers, sound, sound)
    out = place.root / "out"
    done = command("run", challenge, "-s", place.root / "teams", "-r", place.references, "-o", out)
    assert done.returncode == 3
    problems = table(out / "problems.csv")
    assert {row["code"] for row in problems} <= {"SUB014", "CSV017", "CFG006"}
    assert f"{place.references}: {metric} is undefined for these subjects ({why})" in {
        row["message"] for row in problems
    }
    rows = {(row["team"], row["metric"]): row for row in table(out / "scores.csv")}
    assert len(rows) == 2 * len(load_challenge(challenge).metrics)
    for team in ("sound", "other"):
        assert (rows[team, metric]["value"], rows[team, metric]["status"]) == ("", "not_applicable")
        assert rows[team, "subjects"]["value"] == "6"


# What validate is given in place of answers.

CASE_LISTS = {
    "answers.csv": ANSWERS,
    "cases.csv": "case\n" + "\n".join(IDS),
    "cases.txt": "\n".join(IDS),
}


@pytest.mark.parametrize(("name", "text"), CASE_LISTS.items(), ids=CASE_LISTS)
def test_a_list_of_subjects_is_enough_to_validate(place: Place, name: str, text: str) -> None:
    place.write(ANSWERS, SOUND, "\n".join(SOUND.splitlines()[:-1]))
    (place.root / name).write_text(text)
    for path, code in ((place.root / "teams" / "sound", []), (place.other, ["SUB004"])):
        done = command(
            "validate", "brats2021-mgmt", "-p", path, "--cases", place.root / name, "--format", "json"
        )
        assert (done.returncode, done.codes) == (0, code)


def test_validate_without_answers_says_what_it_cannot_see(place: Place) -> None:
    place.write(ANSWERS, SOUND, with_line(2, "00001,7"))
    done = command("validate", "brats2021-mgmt", "-p", place.other, "--format", "json")
    assert (done.returncode, done.codes) == (1, ["CSV016", "SUB015"])


@pytest.mark.parametrize("text", [HEADER + "\n", ANSWERS + "00001,0\n"], ids=["empty", "a subject twice"])
def test_validate_against_unusable_answers(place: Place, text: str) -> None:
    place.write(text, SOUND, SOUND)
    done = command(
        "validate", "brats2021-mgmt", "-p", place.other, "-r", place.references, "--format", "json"
    )
    assert (done.returncode, done.codes) == (3, ["SUB014"])


def test_validate_counts_subjects(place: Place) -> None:
    place.write(ANSWERS, SOUND, with_line(2, "00001,7"))
    with_answers = command("validate", "brats2021-mgmt", "-p", place.other, "-r", place.references)
    assert with_answers.verdict == "invalid: team other, 6 cases, 1 error, 1 warning"
    alone = command("validate", "brats2021-mgmt", "-p", place.other, "--format", "json")
    assert json.loads(alone.stdout)["counts"]["cases"] == 5  # with a usable row


def test_the_yaml_may_name_the_subjects(place: Place) -> None:
    place.write(ANSWERS, SOUND, "\n".join(SOUND.splitlines()[:-1]))
    path = variant(place, "brats2021-mgmt", expected={"cases": IDS})
    for team, codes in ((place.root / "teams" / "sound", []), (place.other, ["SUB004"])):
        done = command("validate", path, "-p", team, "--format", "json")
        assert (done.returncode, done.codes) == (0, codes)
        assert json.loads(done.stdout)["counts"]["cases"] == 6


def test_metadata_has_no_effect_and_says_so(place: Place) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    columns = place.root / "metadata.csv"
    columns.write_text(csv_text("case,site", IDS, "aabbcc"))
    sides = ("-p", place.other, "-r", place.references, "--metadata", columns, "--format", "json")
    done = command("validate", "brats2021-mgmt", *sides)
    assert (done.returncode, done.codes) == (0, ["SUB018"])
    assert "--metadata has no effect" in done.problems[0]["message"]


NAMES = {
    "answers.txt": "is not named like the reference table of brats2021-mgmt",
    "answers.csv.gz": "is not named like the reference table of brats2021-mgmt",
    "ANSWERS.CSV": "is not named like the reference table of brats2021-mgmt, but for small and capital "
    "letters",
}


@pytest.mark.parametrize(("name", "says"), NAMES.items())
def test_a_reference_table_of_another_name(place: Place, name: str, says: str) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    path = place.references.rename(place.root / name)
    done = command("validate", "brats2021-mgmt", "-p", place.other, "-r", path, "--format", "json")
    assert (done.returncode, done.codes) == (3, ["SUB011"])
    assert done.problems[0]["message"] == f"{path} {says}"
    assert done.problems[0]["hint"] == "give a CSV file named like NAME.csv, or the folder that holds it"


def test_two_reference_tables(place: Place) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    folder = place.root / "answers"
    folder.mkdir()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text(ANSWERS)
    done = command("validate", "brats2021-mgmt", "-p", place.other, "-r", folder, "--format", "json")
    assert (done.returncode, done.codes) == (3, ["SUB002"])
    (problem,) = done.problems
    listed = f"{folder / 'a.csv'} and {folder / 'b.csv'}"
    assert problem["message"] == f"2 files claim the one table of references: {listed}"
    assert problem["hint"] == f"keep one file, or give it itself: --references {folder / 'a.csv'}"


SUBMITTED_NAMES = {
    "RESULTS.CSV": ("SUB003", "is not read: capital letters where small ones are read, or the reverse"),
    "results.csv.gz": ("ARC001", "is a single compressed file, not what a team hands in"),
}


@pytest.mark.parametrize(("name", "expected"), SUBMITTED_NAMES.items())
def test_a_submitted_table_of_another_name(place: Place, name: str, expected: tuple[str, str]) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    path = (place.other / "results.csv").rename(place.other / name)
    done = command("validate", "brats2021-mgmt", "-p", path, "-r", place.references, "--format", "json")
    code, says = expected
    assert done.returncode == 1
    assert f"{path} {says}" in {one["message"] for one in done.problems if one["code"] == code}


# Configurations with mistakes.

WRONG = {
    "unknown key": ({"table": {"clases": 3}}, "clases"),
    "unknown kind": ({"table": {"submitted": "logits"}}, "submitted"),
    "no id": ({"table": {"id": []}}, "id"),
    "an event that is no time's": ({"table": {"event": "event"}}, "event: times need it, nothing else does"),
    "a time without its event": (
        {"table": {"submitted": "time"}, "metrics": {"c_index": {}}},
        "event: times need it",
    ),
    "a score of three classes": ({"table": {"classes": 3}}, "classes: a score tells two classes apart"),
    "one class": ({"table": {"classes": 1}}, "classes"),
    "too few columns": (
        {"table": {"submitted": "probabilities", "classes": 3}},
        "prediction: 1 columns for 3 classes",
    ),
    "a rating without a scale": (
        {"table": {"submitted": "rating", "low": None}},
        "low, high: a rating needs them",
    ),
    "no regular expression": ({"table": {"id_pattern": "("}}, "is not a regular expression"),
    "a metric of something else": ({"metrics": {"c_index": {}}}, "metrics.c_index: not of what is submitted"),
    "a metric of images": ({"metrics": {"dice": {}}}, "dice cannot be computed in a table challenge"),
    "an unknown average": ({"metrics": {"f1": {"parameters": {"average": "mean"}}}}, "average"),
    "no pattern for the table": ({"files": {"team": {"table": None}}}, "files.team"),
    "no such block": ({"table": None}, "table: a table challenge needs it"),
    "another task": ({"task": "registration"}, "has no meaning in a registration challenge"),
}


@pytest.mark.parametrize(("blocks", "says"), WRONG.values(), ids=WRONG)
def test_mistakes_in_the_configuration(place: Place, blocks: dict[str, object], says: str) -> None:
    place.write(ANSWERS, SOUND, SOUND)
    path = variant(place, "brats2021-mgmt", **blocks)
    out = place.root / "out"
    done = command("evaluate", path, "-p", place.other, "-r", place.references, "-o", out)
    assert done.returncode == 2, done.stderr
    assert "error[CFG" in done.stderr
    assert says in " ".join(done.stderr.split())
    assert not out.exists()


def test_institutions_keep_their_tables_and_send_their_scores(place: Place) -> None:
    """Each scores its own subjects; the mean over institutions is ranked, subjects are counted together."""
    sound = with_line(7, "00006,0.1")  # at site b the area falls from 1 to 0: its two subjects change places
    place.write(ANSWERS, sound, with_line(2, "00001,x"))
    sites = {"site a": [1, 2, 3, 4], "site b": [5, 6]}
    lines = ANSWERS.splitlines()
    for site, numbers in sites.items():
        answers = place.root / f"{site}.csv"
        answers.write_text("\n".join([lines[0], *(lines[number] for number in numbers)]) + "\n")
        sides = ("-s", place.root / "teams", "-r", answers, "-o", place.root / site)
        command("run", place.challenge, *sides, "--institution", site, "-q")
    folders = [place.root / site for site in sites]
    for verb, arguments in {"merge": folders, "rank": [place.challenge, *folders]}.items():
        done = command(verb, *arguments, "-o", place.root / verb, "--fail-on", "never")
        assert done.returncode == 0, done.stderr
        rows = {row["team"]: row for row in table(place.root / verb / "leaderboard.csv")}
        # The subject that the other team lacks loses both comparisons of its site.
        assert float(rows["sound"]["score"]) == (1 + 0) / 2
        assert float(rows["other"]["score"]) == (2 / 4 + 1) / 2
        assert [(rows[team]["cases"], rows[team]["missing_cases"]) for team in ("sound", "other")] == [
            ("6", "0"),
            ("6", "1"),
        ]


def test_missing_patches_of_2025_cost_what_wrong_ones_cost(place: Place) -> None:
    """Class k is submitted as k + 1 where it is wrong, so that leaving those rows out changes nothing."""
    place.challenge = "brats2025-path"
    ids = [f"BraTSPath_{number}.png" for number in range(12)]
    classes = [number % 6 for number in range(12)]
    wrong = [1 if number == 0 else one for number, one in enumerate(classes)]
    answers = csv_text("SubjectID,Target", ids, classes)
    place.write(answers, csv_text("SubjectID,Prediction", ids, wrong), "")
    (place.other / "results.csv").write_text(csv_text("SubjectID,Prediction", ids[1:], classes[1:]))
    found = place.outcome()
    for metric in ("accuracy", "mcc", "f1", "sensitivity", "specificity", "auroc"):
        assert found.value(metric) == found.value(metric, "sound") < 1, metric
    assert found.value("missing_subjects") == 1
