"""`validate` is a gate: it finds what `run` finds, all of it at once, and says so to people and machines.

Most tests call the command line in this process, cases one after the other, since starting workers takes a
second; those at the end start it as a user does.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, ROOT, phantom, save, table
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_broken_submissions import ACCEPTED, REFUSED

from bratseval import gate, pipeline, validation
from bratseval.cli import app
from bratseval.errors import Problem, printable
from bratseval.supervisor import Outcome
from bratseval.validation import Checked

SAMPLES = {
    "brats2024-gli": "brats-gli",
    "brats2026-met": "brats-met",
    "brats-reg-2022": "brats-reg",
    "qu-brats-2020": "qu-brats",
    "qubiq-2021": "qubiq",
    "fets2022-task1": "fets",
}
# The ways in which a verdict begins.
VERDICTS = ("valid: ", "invalid: ", "incomplete: ", "references unusable: ", "stopped: ", "complete: ")

Workers = Callable[[Callable[[Any], Any], Sequence[Any], Any], Iterator[Outcome[Any]]]


def in_turn(function: Callable[[Any], Any], cases: Sequence[Any], options: object) -> Iterator[Outcome[Any]]:
    """What worker processes do, in this one."""
    for index, case in enumerate(cases):
        yield Outcome(index, function(case), "ok", "", 0.0)


class Done(NamedTuple):
    """What a command left behind; unlike CompletedProcess the streams are text that was UTF-8."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def verdict(self) -> str:
        return self.stderr.rstrip("\n").rpartition("\n")[2]

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document, end = json.JSONDecoder().raw_decode(self.stdout)
        assert self.stdout[end:] == "\n"
        return document

    @property
    def problems(self) -> list[dict[str, str]]:
        return self.document["problems"]

    @property
    def codes(self) -> list[str]:
        return [problem["code"] for problem in self.problems]


def command(*arguments: object, workers: Workers = in_turn, summary: Path | None = None) -> Done:
    """Run the command line here, on streams as strict as those of a pipe."""
    streams = [
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, newline="")
        for errors in ("strict", "backslashreplace")
    ]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        patch.setattr(validation, "supervised", workers)
        patch.setattr(pipeline, "supervised", workers)
        patch.setenv("COLUMNS", "100")
        patch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        if summary is not None:
            patch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        with pytest.raises(SystemExit) as stop:
            app([str(argument) for argument in arguments])
    texts = []
    for stream in streams:
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    code = stop.value.code or 0
    assert isinstance(code, int)
    return Done(code, *texts)


def validate(challenge: object, predictions: Path, *more: object, **how: Any) -> Done:
    """`bratseval validate`; its last word must be the verdict."""
    done = command("validate", challenge, "-p", predictions, *more, **how)
    assert done.verdict.startswith(VERDICTS), done.stderr
    return done


def checked(challenge: object, predictions: Path, *more: object, **how: Any) -> Done:
    """The same with --format json."""
    return validate(challenge, predictions, *more, "--format", "json", **how)


def told(problems: Iterable[dict[str, str]], root: Path) -> Counter[tuple[str, ...]]:
    """Severity, code, case and file of errors and warnings; paths from the submission on."""
    found = []
    for problem in problems:
        file = problem["file"]
        inside = os.path.relpath(file, root) if file else ""
        found.append((problem["severity"], problem["code"], problem["case"], inside))
    return Counter(one for one in found if one[0] != "note")


def copied(challenge: str, team: str, folder: Path) -> tuple[Path, Path]:
    """A copy of a team's submission to break, and the references."""
    sample = ROOT / "sample_data" / SAMPLES[challenge]
    shutil.copytree(sample / "submissions" / team, folder / team)
    return folder / team, sample / "references"


def scorable(references: Path, folder: Path) -> Path:
    """References that take little time to score: a single one where they are whole brains."""
    few = sorted(references.glob("*_00002_*")) + sorted(references.glob("*-00002-*"))
    if not few:
        return references
    (folder / "few").mkdir()
    for path in few:
        shutil.copy(path, folder / "few")
    return folder / "few"


# --- the same judgment as run ---------------------------------------------------------------------------


@pytest.mark.parametrize("challenge", SAMPLES)
def test_validate_says_of_every_team_what_run_says(challenge: str, tmp_path: Path) -> None:
    sample = ROOT / "sample_data" / SAMPLES[challenge]
    submissions, references = sample / "submissions", sample / "references"
    ran = command("run", challenge, "-s", submissions, "-r", references, "-o", tmp_path / "out")
    listed = table(tmp_path / "out" / "problems.csv")
    codes = []
    for team in sorted(submissions.iterdir()):
        of_team = [problem for problem in listed if problem["team"] == team.name]
        done = checked(challenge, team, "-r", references)
        assert told(done.problems, team) == told(of_team, team), team.name
        found = {problem["severity"] for problem in of_team}
        assert done.returncode == int("error" in found)
        assert done.document["exit_code"] == done.returncode
        assert done.document["valid"] is (done.returncode == 0)
        strict = validate(challenge, team, "-r", references, "--fail-on", "warning")
        assert strict.returncode == int(not found.isdisjoint({"error", "warning"}))
        assert validate(challenge, team, "-r", references, "--fail-on", "never").returncode == 0
        codes.append(done.returncode)
    assert ran.returncode == max(codes)


def every_breakage(folder: Path) -> tuple[Path, Path]:
    """A team with a case for every way in which a label file can be odd or broken: (team, references)."""
    team, references = folder / "team", folder / "references"
    random = np.random.default_rng(3)
    for number, (_, break_file) in enumerate([*REFUSED.values(), *ACCEPTED.values()]):
        labels = phantom(random)
        save(references / f"BraTS-GLI-{number:05d}-000-seg.nii.gz", labels)
        path = save(team / f"{number}" / f"BraTS-GLI-{number:05d}-000.nii.gz", labels)
        break_file(path, labels)
    # The breaker of this kind writes a second file under the id of its own tests.
    for other in team.rglob("other-00002-000.nii"):
        other.rename(other.with_name(f"other-{int(other.parent.name):05d}-000.nii"))
    return team, references


def test_validate_and_evaluate_agree_on_every_way_to_break_a_label_file(tmp_path: Path) -> None:
    team, references = every_breakage(tmp_path)
    done = checked("brats2023-gli", team, "-r", references)
    command("evaluate", "brats2023-gli", "-p", team, "-r", references, "-o", tmp_path / "out")
    listed = table(tmp_path / "out" / "problems.csv")
    assert told(done.problems, team) == told(listed, team)
    errors = {p["case"]: p["code"] for p in done.problems if p["severity"] == "error"}
    assert errors == {f"{n:05d}-000": code for n, (code, _) in enumerate(REFUSED.values())}
    assert done.returncode == 1


def image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    loaded = nibabel.load(path)
    return np.asarray(loaded.dataobj).copy(), loaded.affine


def shift(path: Path) -> None:
    values, affine = image(path)
    affine[0, 3] += 30
    save(path, values, affine, values.dtype)


def mislabel(path: Path) -> None:
    values, affine = image(path)
    values[2, 2, 2] = 77
    save(path, values, affine, values.dtype)


def exceed(path: Path) -> None:
    """A value beyond the scale of any map."""
    values, affine = image(path)
    values = values.astype(np.float32)
    values[1, 1] = 1777
    save(path, values, affine, np.float32)


def crop(path: Path) -> None:
    values, affine = image(path)
    save(path, values[:-1], affine, values.dtype)


def cut(path: Path) -> None:
    """Leave a whole header, and not all of the voxels."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])


def unpack(path: Path) -> None:
    path.write_bytes(gzip.decompress(path.read_bytes()))


def double(path: Path) -> None:
    shutil.copy(path, path.with_name(path.name.removesuffix(".gz")))


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def spoil(path: Path) -> None:
    """No number is one any more."""
    path.write_text(re.sub(r"\d\.", "x.", path.read_text()))


def twin(path: Path) -> None:
    """A further log of the same team."""
    shutil.copy(path, path.with_name("my_rounds.csv"))


def nest(path: Path) -> None:
    """A second file of the same name."""
    (path.parent / "again").mkdir()
    shutil.copy(path, path.parent / "again" / path.name)


def further_case(path: Path) -> None:
    shutil.copytree(path.parent, path.parent.with_name("case09"))


def further_task(path: Path) -> None:
    shutil.copy(path, path.with_name("task09.nii.gz"))


# By challenge and team: files, and what to do to each of them.
QU, QUBIQ = ("qu-brats-2020", "candid"), ("qubiq-2021", "graded")
REG, FETS = ("brats-reg-2022", "elastic"), ("fets2022-task1", "swift")
Breaker = Callable[[Path], object]
BREAKAGES: list[tuple[tuple[str, str], str, Sequence[Breaker]]] = [
    *((QU, "BraTS20_Validation_002.nii.gz", [one]) for one in (Path.unlink, cut, crop, shift, mislabel)),
    *((QU, "BraTS20_Validation_002.nii.gz", [one]) for one in (double, link, unpack)),
    *((QU, "BraTS20_Validation_002_unc_core.nii.gz", [one]) for one in (Path.unlink, cut, crop, shift)),
    *((QU, "BraTS20_Validation_002_unc_core.nii.gz", [one]) for one in (exceed, double, link, unpack)),
    (QU, "BraTS20_Validation_002_unc_*", [Path.unlink]),
    (QU, "BraTS20_Validation_002*", [Path.unlink]),
    *((QUBIQ, "kidney/case01/task01.nii.gz", [one]) for one in (Path.unlink, cut, crop, exceed, double)),
    *((QUBIQ, "prostate/case01/task02.nii.gz", [one]) for one in (Path.unlink, link, unpack)),
    *((QUBIQ, "kidney/case01/task01.nii.gz", [one]) for one in (further_case, further_task)),
    *((REG, "BraTSReg_002.csv", [one]) for one in (Path.unlink, spoil, nest, link, Path.touch)),
    *((REG, "BraTSReg_002_df_b2f.nii.gz", [one]) for one in (Path.unlink, cut, double, unpack)),
    (REG, "BraTSReg_002*", [Path.unlink]),
    *((FETS, "rounds.csv", [one]) for one in (Path.unlink, spoil, twin, link)),
    *((FETS, "FeTS2022_00002.nii.gz", [one]) for one in (Path.unlink, cut, mislabel, shift)),
]


@pytest.mark.parametrize(
    ("kind", "files", "breakers"),
    BREAKAGES,
    ids=[f"{k[0]}-{f}-{'-'.join(b.__name__ for b in bs)}" for k, f, bs in BREAKAGES],
)
def test_validate_and_evaluate_agree_on_a_broken_file(
    kind: tuple[str, str], files: str, breakers: Sequence[Breaker], tmp_path: Path
) -> None:
    challenge, name = kind
    team, references = copied(challenge, name, tmp_path)
    paths = sorted(team.glob(files))
    assert paths
    for path in paths:
        for breaker in breakers:
            breaker(path)
    references = scorable(references, tmp_path)
    done = checked(challenge, team, "-r", references)
    ran = command("evaluate", challenge, "-p", team, "-r", references, "-o", tmp_path / "out")
    assert told(done.problems, team) == told(table(tmp_path / "out" / "problems.csv"), team)
    assert done.returncode == ran.returncode


@pytest.mark.parametrize("policy", ["strict", "ignore", "resample"])
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (("brats2026-met", "steady"), "BraTS-MET-00002-000.nii.gz"),
        (QU, "BraTS20_Validation_002.nii.gz"),
        (QU, "BraTS20_Validation_003_unc_core.nii.gz"),
        (QUBIQ, "prostate/case01/task02.nii.gz"),
        (REG, "BraTSReg_002_df_b2f.nii.gz"),
    ],
    ids=["labels", "segmentation", "uncertainty", "raters", "field"],
)
def test_validate_and_evaluate_agree_under_every_policy_of_place(
    kind: tuple[str, str], file: str, policy: str, tmp_path: Path
) -> None:
    team, references = copied(*kind, tmp_path)
    references = scorable(references, tmp_path)
    codes = []
    for breaker in (shift, crop):
        breaker(team / file)
        done = checked(kind[0], team, "-r", references, "--geometry", policy)
        out = tmp_path / breaker.__name__
        ran = command("evaluate", kind[0], "-p", team, "-r", references, "-o", out, "--geometry", policy)
        assert told(done.problems, team) == told(table(out / "problems.csv"), team)
        assert done.returncode == ran.returncode
        codes.append(done.returncode)
    # Images of numbers are never resampled, and another shape is never ignored.
    resampled = policy == "resample" and kind[0] == "brats2026-met"
    assert codes == ([0, 0] if resampled else [int(policy != "ignore"), 1])


@pytest.mark.parametrize(("kind", "files"), [(QU, "BraTS20_Validation_002"), (REG, "BraTSReg_002")])
def test_parts_are_checked_although_the_main_file_is_broken(
    kind: tuple[str, str], files: str, tmp_path: Path
) -> None:
    """`run` need not read the rest of a case that takes the penalty; a participant wants to know at once."""
    team, references = copied(*kind, tmp_path)
    parts = sorted(team.glob(f"{files}_*"))
    for path in parts:
        cut(path)
    main = next(path for path in team.glob(f"{files}.*"))
    (spoil if main.suffix == ".csv" else cut)(main)
    found = told(checked(kind[0], team, "-r", references).problems, team)
    for path in (main, *parts):
        assert any(key[0] == "error" and key[3] == path.name for key in found), path.name


# --- everything at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "file", "breakers", "expected"),
    [
        (("brats2026-met", "steady"), "BraTS-MET-00002-000.nii.gz", (shift, mislabel), {"GEO002", "LBL001"}),
        (("brats2024-gli", "steady"), "BraTS-GLI-00002-000.nii.gz", (shift, mislabel), {"GEO002", "LBL001"}),
        (("brats2026-met", "steady"), "BraTS-MET-00002-000.nii.gz", (shift, unpack), {"GEO002", "NII010"}),
        (FETS, "FeTS2022_00002.nii.gz", (shift, mislabel), {"GEO002", "LBL001"}),
        (QU, "BraTS20_Validation_002.nii.gz", (shift, mislabel), {"GEO002", "LBL001"}),
        (QU, "BraTS20_Validation_002_unc_core.nii.gz", (shift, exceed), {"GEO002", "NII014"}),
    ],
    ids=["refused", "background", "not-gzip", "fets", "segmentation", "uncertainty"],
)
def test_the_faults_of_place_and_of_values_come_together(
    kind: tuple[str, str], file: str, breakers: Sequence[Breaker], expected: set[str], tmp_path: Path
) -> None:
    team, references = copied(*kind, tmp_path)
    for breaker in breakers:
        breaker(team / file)
    done = checked(kind[0], team, "-r", references)
    assert {p["code"] for p in done.problems if p["file"].endswith(file)} == expected
    assert done.returncode == 1


def test_ten_broken_files_are_ten_problems(tmp_path: Path) -> None:
    team, references = tmp_path / "team", tmp_path / "references"
    labels = phantom(np.random.default_rng(1))
    for number in range(11):
        save(references / f"X-{number:05d}-000-seg.nii.gz", labels)
        path = save(team / f"X-{number:05d}-000.nii.gz", labels)
        if number:
            (cut, crop, shift)[number % 3](path)
    done = checked("brats2023-gli", team, "-r", references)
    codes = {f"{n:05d}-000": ("NII005", "GEO001", "GEO002")[n % 3] for n in range(1, 11)}
    assert {p["case"]: p["code"] for p in done.problems} == codes
    assert len(done.problems) == 10
    assert done.document["counts"] == {"cases": 11, "errors": 10, "warnings": 0, "notes": 0}
    for case, code in codes.items():  # and people see all of them too
        assert f"error[{code}] team team, case {case}: " in done.stderr
    assert done.verdict == "invalid: team team, 11 cases, 10 errors"


# --- where no references are given ----------------------------------------------------------------------

GLI = ("00001-000", "00002-000", "00003-000")
CASE_LISTS = {
    "column": ("cases.csv", "case\n{0}\n{1}\n{2}\n"),
    "further columns": ("cases.csv", "institution,case,age\na,{0},70\n,{1},\n'=b,{2},1\n"),
    "byte order mark": ("cases.csv", "\ufeffcase,age\n{0},1\n{1},2\n{2},3\n"),
    "CRLF": ("cases.csv", "case,age\r\n{0},1\r\n{1},2\r\n{2},3\r\n"),
    "both": ("CASES.CSV", "\ufeffage,case\r\n1,{0}\r\n2,{1}\r\n3,{2}\r\n"),
    "text": ("cases.txt", "{0}\n{1}\n{2}\n"),
    "text with everything": ("cases", "\ufeff\r\n  {0}\r\n\r\n{1}\t\r\n{2}"),
    "file names in a table": ("cases.csv", "case\nBraTS-GLI-{0}.nii.gz\nBraTS-GLI-{1}\n{2}.nii\n"),
    "file names in a text": ("list.txt", "BraTS-GLI-{0}.nii.gz\nBraTS-GLI-{1}\n{2}.nii.gz\n"),
}


@pytest.mark.parametrize("kind", CASE_LISTS)
def test_a_list_names_the_expected_cases(
    kind: str, challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    name, text = CASE_LISTS[kind]
    (tmp_path / name).write_bytes(text.format(*GLI).encode())
    team = challenge_folders[0] / "exact"
    done = checked("brats2023-gli", team, "--cases", tmp_path / name)
    assert done.document["cases"] == list(GLI)
    assert (done.returncode, done.codes) == (0, ["SUB016"])  # of the grid nothing is known
    (team / "BraTS-GLI-00002-000.nii.gz").rename(team / "BraTS-GLI-00009-000.nii.gz")
    done = checked("brats2023-gli", team, "--cases", tmp_path / name)
    assert done.returncode == 0
    assert done.codes == ["SUB004", "SUB006", "SUB016"]
    assert "1 of 3 cases missing (00002-000)" in done.problems[0]["message"]
    assert done.problems[1]["case"] == "00009-000"
    assert done.problems[1]["hint"].startswith("did you mean ")
    assert validate("brats2023-gli", team, "--cases", tmp_path / name, "--fail-on", "warning").returncode == 1


def test_ids_of_a_list_may_hold_spaces(tmp_path: Path) -> None:
    """An id a line is an id a line."""
    challenge = extended(tmp_path, r"files: {prediction: ['(?P<case>[\w ]+)\.nii\.gz']}")
    save(tmp_path / "team" / "patient 7.nii.gz", phantom(np.random.default_rng(1)))
    (tmp_path / "cases.txt").write_text("patient 7\n")
    done = checked(challenge, tmp_path / "team", "--cases", tmp_path / "cases.txt")
    assert (done.returncode, done.codes) == (0, ["SUB016"])


def test_a_list_of_cases_that_come_in_folders(tmp_path: Path) -> None:
    """The file names of QUBIQ are paths, and a case of it is the folder with its data set."""
    team, _ = copied(*QUBIQ, tmp_path)
    cases = sorted({"-".join(path.relative_to(team).parts[:2]) for path in team.rglob("*.nii.gz")})
    (tmp_path / "cases.txt").write_text("\n".join(cases))
    assert checked(QUBIQ[0], team, "--cases", tmp_path / "cases.txt").codes == []
    (tmp_path / "files.txt").write_text(
        "\n".join(case.replace("-", "/") + "/task01.nii.gz" for case in cases)
    )
    assert checked(QUBIQ[0], team, "--cases", tmp_path / "files.txt").document["cases"] == cases


def test_a_list_of_cases_whose_names_state_the_cohort(tmp_path: Path) -> None:
    """GoAT's table of cases; what each of them is scored as needs no warning."""
    labels = phantom(np.random.default_rng(1))
    for case in ("GLI-00001-000", "MET-00001-000"):
        save(tmp_path / "team" / f"BraTS-{case}.nii.gz", labels)
    cases = tmp_path / "cases.csv"
    cases.write_text("NewID,Cohort\nBraTS-GLI-00001-000,BraTS-GLI\nBraTS-MET-00001-000,BraTS-MET\n")
    done = checked("brats2024-goat", tmp_path / "team", "--cases", cases, "--metadata", cases)
    assert done.document["cases"] == ["GLI-00001-000", "MET-00001-000"]
    assert done.codes == ["SUB016"]
    assert checked("brats2024-goat", tmp_path / "team", "--cases", cases).codes == ["SUB016"]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("absent.csv", None, "CSV001"),
        ("absent.txt", None, "CSV001"),
        ("no_column.csv", b"id,age\n00001-000,3\n", "CSV003"),
        ("ragged.csv", b"case,age\n00001-000\n", "CSV002"),
        ("empty.csv", b"", "CSV001"),
        ("header.csv", b"case\n", "SUB011"),
        ("empty.txt", b" \n\n", "SUB011"),
        ("empty_cell.csv", b"case,age\n00001-000,3\n,4\n", "CSV004"),
        ("twice.csv", b"case\n00001-000\n00002-000\n00001-000\n", "CSV004"),
        ("twice.txt", b"00001-000\nBraTS-GLI-00001-000.nii.gz\n", "CSV004"),
        ("latin.csv", b"case\n\xfc\n", "CSV001"),
        ("latin.txt", b"00001-000\n\xfc\n", "CSV001"),
    ],
)
def test_an_unusable_list_is_the_organizers_business(
    name: str, content: bytes | None, code: str, challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = checked("brats2023-gli", challenge_folders[0] / "exact", "--cases", tmp_path / name)
    assert (done.returncode, done.codes) == (3, [code])
    assert name in done.problems[0]["message"]
    assert done.document["exit_code"] == 3


def extended(folder: Path, text: str, base: str = "brats2023-gli") -> Path:
    """A challenge file that states more than the one it extends."""
    path = folder / "mine.yaml"
    path.write_text(f"extends: {base}\nname: mine\n{text}\n")
    return path


GRID = "shape: [40, 36, 30], spacing_mm: [1, 1, 1], affine: [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0]]"


@pytest.fixture
def stated(tmp_path: Path) -> Path:
    """A challenge file that states the cases and the grid of `challenge_folders`."""
    return extended(tmp_path, f"expected:\n  cases: [{', '.join(GLI)}]\n  grid: {{{GRID}}}")


def moved(row: int, column: int, value: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("code", "affine", "crop"),
    [
        ("GEO001", AFFINE, 1),
        ("GEO003", moved(2, 2, 2.0), 0),
        ("GEO002", moved(1, 3, 0.0), 0),
        ("GEO002", moved(0, 0, 1.0), 0),
    ],
)
def test_the_yaml_states_the_grid(
    code: str, affine: np.ndarray, crop: int, stated: Path, challenge_folders: tuple[Path, Path]
) -> None:
    team = challenge_folders[0] / "exact"
    done = checked(stated, team)
    assert (done.returncode, done.problems) == (0, [])
    assert done.document["cases"] == list(GLI)
    path = team / "BraTS-GLI-00002-000.nii.gz"
    values, _ = image(path)
    save(path, values[: len(values) - crop], affine)
    done = checked(stated, team)
    assert (done.returncode, done.codes) == (1, [code])
    assert done.problems[0]["case"] == "00002-000"


def test_the_yaml_states_the_cases(
    stated: Path, challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    team = submissions / "exact"
    (team / "BraTS-GLI-00003-000.nii.gz").rename(team / "BraTS-GLI-00009-000.nii.gz")
    done = checked(stated, team)
    assert (done.returncode, done.codes) == (0, ["SUB004", "SUB006"])
    assert "1 of 3 cases missing (00003-000)" in done.problems[0]["message"]
    assert done.problems[1]["case"] == "00009-000"
    # What the command line names counts more than what the YAML states.
    (tmp_path / "cases.txt").write_text("00001-000\n00002-000\n00009-000\n")
    assert checked(stated, team, "--cases", tmp_path / "cases.txt").problems == []
    wrong = extended(tmp_path, "expected: {cases: [a], grid: {%s}}" % GRID.replace("40", "41"))  # noqa: UP031
    assert checked(wrong, submissions / "shifted", "-r", references).problems == []


def test_a_case_that_the_yaml_names_twice(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    challenge = extended(tmp_path, "expected: {cases: [00001-000, 00002-000, 00001-000]}")
    done = checked(challenge, challenge_folders[0] / "exact")
    assert (done.returncode, done.codes) == (3, ["CSV004"])


def test_a_stated_grid_holds_for_every_file_of_a_case(tmp_path: Path) -> None:
    team, references = copied(*QU, tmp_path)
    values, affine = image(next(references.glob("*_seg.nii.gz")))
    grid = f"shape: {list(values.shape)}, affine: {affine[:3].tolist()}"
    challenge = extended(tmp_path, f"expected: {{grid: {{{grid}}}}}", "qu-brats-2020")
    assert checked(challenge, team).codes == ["SUB015"]
    shift(team / "BraTS20_Validation_002_unc_core.nii.gz")
    crop(team / "BraTS20_Validation_003.nii.gz")
    errors = [p for p in checked(challenge, team).problems if p["severity"] == "error"]
    assert [(p["code"], p["case"]) for p in errors] == [
        ("GEO001", "BraTS20_Validation_003"),
        ("GEO002", "BraTS20_Validation_002"),
    ]


def test_a_stated_grid_is_not_ignored_for_maps_of_raters(tmp_path: Path) -> None:
    grid = "shape: [7, 7, 7], affine: [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]"
    challenge = extended(tmp_path, f"expected: {{grid: {{{grid}}}}}", "qubiq-2021")
    team, _ = copied(*QUBIQ, tmp_path)
    done = command("validate", challenge, "-p", team, "--format", "json")
    # Either the maps are held to it, or it is refused as what this kind of challenge cannot state.
    assert "GEO001" in done.codes or done.returncode == 2


@pytest.mark.parametrize("challenge", SAMPLES)
def test_where_nothing_is_stated_the_submitted_cases_are_checked(challenge: str, tmp_path: Path) -> None:
    sample = ROOT / "sample_data" / SAMPLES[challenge]
    for team in sorted((sample / "submissions").iterdir()):
        done = checked(challenge, team)
        assert ("warning", "SUB015") in [(p["severity"], p["code"]) for p in done.problems]
        unplaced = [p["severity"] for p in done.problems if p["code"] == "SUB016"]
        assert unplaced == ([] if challenge == "qubiq-2021" else ["note"])
        full = checked(challenge, team, "-r", sample / "references").document
        assert set(done.document["cases"]) <= set(full["cases"])
        own = [p for p in done.problems if p["code"] not in ("SUB015", "SUB016")]
        assert told(own, team) <= told(full["problems"], team)


def test_an_empty_folder_is_no_submission(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = checked("brats2023-gli", tmp_path / "empty")
    assert (done.returncode, done.codes) == (1, ["SUB011", "SUB015", "SUB016"])
    assert done.verdict == "invalid: team empty, 0 cases, 1 error, 1 warning, 1 note"
    done = checked("brats2023-gli", tmp_path / "empty", "-r", challenge_folders[1], "--fail-on", "warning")
    assert (done.returncode, done.codes) == (1, ["SUB011", "SUB004"])
    assert "3 of 3 cases missing" in done.problems[1]["message"]
    (tmp_path / "cases.txt").write_text("00001-000\n")
    done = checked(
        "brats2023-gli", tmp_path / "empty", "--cases", tmp_path / "cases.txt", "--fail-on", "warning"
    )
    assert (done.returncode, done.codes) == (1, ["SUB011", "SUB004", "SUB016"])


def test_the_log_of_a_training_alone(tmp_path: Path) -> None:
    log = ROOT / "sample_data" / "fets" / "submissions" / "swift" / "rounds.csv"
    done = checked("fets2022-task1", log)
    assert (done.returncode, set(done.codes)) == (0, {"SUB015", "SUB016"})
    shutil.copy(log, tmp_path / "rounds.csv")
    spoil(tmp_path / "rounds.csv")
    done = checked("fets2022-task1", tmp_path / "rounds.csv")
    assert done.returncode == 1
    assert {p["code"] for p in done.problems if p["severity"] == "error"} == {"CSV011"}


def test_exit_codes_of_wrong_commands(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    submissions, references = challenge_folders
    team = submissions / "exact"
    (tmp_path / "cases.txt").write_text("00001-000\n")
    (tmp_path / "file.dat").write_text("")
    both = ("-r", references, "--cases", tmp_path / "cases.txt")
    done = checked("brats2023-gli", team, *both)
    assert (done.returncode, done.codes) == (2, ["SUB010"])
    assert checked("brats2032-gli", team).returncode == 2
    for absent in (tmp_path / "nowhere", tmp_path / "nowhere.zip", tmp_path / "file.dat"):
        done = checked("brats2023-gli", absent)
        assert (done.returncode, done.codes) == (2, ["SUB012"])
    done = checked("brats2023-gli", team, "-r", tmp_path / "nowhere")
    assert (done.returncode, done.codes) == (3, ["SUB010"])
    (tmp_path / "empty").mkdir()
    done = checked("brats2023-gli", team, "-r", tmp_path / "empty")
    assert (done.returncode, done.codes) == (3, ["SUB011"])
    for wrong in (("--fail-on", "note"), ("--format", "xml"), ("--geometry", "loose"), ("--what",)):
        assert command("validate", "brats2023-gli", "-p", team, *wrong).returncode == 2


@pytest.mark.parametrize("fail_on", ["error", "never"])
def test_a_broken_reference_is_the_organizers_business(
    fail_on: str, challenge_folders: tuple[Path, Path]
) -> None:
    submissions, references = challenge_folders
    (references / "BraTS-GLI-00002-000-seg.nii.gz").write_bytes(b"nothing")
    (submissions / "exact" / "BraTS-GLI-00001-000.nii.gz").write_bytes(b"")
    done = checked("brats2023-gli", submissions / "exact", "-r", references, "--fail-on", fail_on)
    assert (done.returncode, done.codes) == (3, ["NII002", "SUB014"])
    assert done.problems[1]["case"] == "00002-000"
    assert done.verdict == "references unusable: team exact, 3 cases, 2 errors"


@pytest.mark.parametrize(
    ("status", "code", "problem"),
    [("crashed", 4, "RUN001"), ("timeout", 4, "RUN001"), ("fault", 70, "RUN003")],
)
def test_a_case_that_a_worker_did_not_finish(
    status: Any, code: int, problem: str, challenge_folders: tuple[Path, Path]
) -> None:
    def workers(function: Callable[[Any], Any], cases: Sequence[Any], _: object) -> Iterator[Outcome[Any]]:
        yield Outcome(1, None, status, "killed by signal 9", 1.0)
        for index in (0, 2):
            yield Outcome(index, function(cases[index]), "ok", "", 0.0)

    submissions, references = challenge_folders
    done = checked("brats2023-gli", submissions / "exact", "-r", references, workers=workers)
    assert (done.returncode, done.codes) == (code, [problem])
    assert done.problems[0]["case"] == "00002-000"
    assert done.document["valid"] is False
    assert not done.verdict.startswith("valid")


# --- archives -------------------------------------------------------------------------------------------


def packed(folder: Path, suffix: str, to: Path) -> Path:
    """The folder as an archive, with itself as the enclosing folder."""
    archive = to / f"{folder.name}{suffix}"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in files:
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz" if suffix == ".tar.gz" else "w") as file:
            for path in files:
                file.add(path, path.relative_to(folder))
    return archive


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize(
    ("challenge", "name"),
    [*zip(SAMPLES, ("patchy", "bold", "loose", "sloppy", "careless", "homebound"), strict=True)],
)
def test_an_archive_is_judged_like_its_folder(challenge: str, name: str, suffix: str, tmp_path: Path) -> None:
    team, references = copied(challenge, name, tmp_path / "folders")
    cut(min(team.rglob("*.nii.gz")))
    (team / "notes.txt").write_text("hello")
    archive = packed(team, suffix, tmp_path)
    judged = []
    for path in (team, archive):
        document = checked(challenge, path, "-r", references).document
        document["problems"] = [
            {key: text.replace(str(path), "HERE") for key, text in problem.items()}
            for problem in document["problems"]
        ]
        del document["summary"]  # how much of it fits depends on the length of the paths
        judged.append(document)
    assert judged[0] == judged[1]
    assert {"NII005", "SUB003"} <= {problem["code"] for problem in judged[0]["problems"]}


@pytest.mark.parametrize("challenge", SAMPLES)
def test_a_damaged_archive_is_one_problem(challenge: str, tmp_path: Path) -> None:
    """A participant reads one sentence about the archive, not one more for each file that is not in it."""
    sample = ROOT / "sample_data" / SAMPLES[challenge]
    team = min((sample / "submissions").iterdir())
    archive = packed(team, ".zip", tmp_path)
    archive.write_bytes(archive.read_bytes()[:-200])
    done = checked(challenge, archive, "-r", sample / "references")
    ran = command("evaluate", challenge, "-p", archive, "-r", sample / "references", "-o", tmp_path / "out")
    listed = table(tmp_path / "out" / "problems.csv")
    assert told(done.problems, archive) == told(listed, archive)
    assert (done.returncode, ran.returncode) == (1, 1)
    assert [p["code"] for p in done.problems if p["severity"] == "error"] == ["ARC001"]


# --- what is not read -----------------------------------------------------------------------------------


def garble(path: Path) -> None:
    """Nonsense instead of the last voxels."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4].ljust(len(data), b"\xff"))


@pytest.mark.parametrize(
    ("challenge", "breaker"),
    [("brats2024-gli", cut), ("qu-brats-2020", cut), ("qubiq-2021", cut), ("brats2026-met", garble)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_only_headers_of_references_are_read(challenge: str, breaker: Breaker, tmp_path: Path) -> None:
    sample = ROOT / "sample_data" / SAMPLES[challenge]
    shutil.copytree(sample / "references", tmp_path / "references")
    team = min((sample / "submissions").iterdir())
    before = checked(challenge, team, "-r", tmp_path / "references")
    for path in (tmp_path / "references").rglob("*.nii.gz"):
        breaker(path)
    assert checked(challenge, team, "-r", tmp_path / "references") == before
    assert before.returncode == 0


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (("brats2024-gli", "steady"), "BraTS-GLI-00002-000.nii.gz"),
        (("brats2026-met", "steady"), "BraTS-MET-00002-000.nii.gz"),
        (FETS, "FeTS2022_00002.nii.gz"),
        (QU, "BraTS20_Validation_002.nii.gz"),
        (QU, "BraTS20_Validation_002_unc_core.nii.gz"),
        (QUBIQ, "kidney/case01/task01.nii.gz"),
    ],
    ids=["gli", "met", "fets", "segmentation", "uncertainty", "raters"],
)
def test_no_voxel_of_an_image_of_another_shape_is_read(
    kind: tuple[str, str], file: str, tmp_path: Path
) -> None:
    team, references = copied(*kind, tmp_path)
    crop(team / file)
    cut(team / file)
    done = checked(kind[0], team, "-r", references)
    assert [p["code"] for p in done.problems if p["severity"] == "error"] == ["GEO001"]


# --- what machines read ---------------------------------------------------------------------------------

characters = st.text(st.characters(), max_size=250)  # lone surrogates too
ids = st.text(st.characters(), max_size=20).filter(lambda case: case != "(submission)")  # it has its own test
problems = st.builds(
    Problem,
    st.sampled_from(["error", "warning", "note"]),
    st.from_regex(r"[A-Z]{3}[0-9]{3}", fullmatch=True),
    characters,
    characters,
    st.just("team"),
    ids,
    characters,
)
submissions_checked = st.builds(
    Checked,
    st.just("brats2024-gli"),
    st.text(st.characters(), min_size=1, max_size=20),
    st.lists(ids.filter(bool), max_size=5, unique=True).map(tuple),
    st.lists(problems, max_size=30).map(tuple),
    st.sampled_from([("error",), ("error", "warning"), ()]),
    st.sampled_from([0, 1, 3, 4, 70]),
)


@settings(deadline=None)
@given(submissions_checked)
def test_a_summary_is_short_and_cut_at_a_whole_message(result: Checked) -> None:
    text = gate.summary(result)
    assert len(text) <= 500
    first, *shown = text.split("\n")
    assert first == printable(gate.verdict(result))
    whole = [printable(f"{p.severity}[{p.code}] {p.message}") for p in result.problems]
    if len(shown) == len(whole) and shown == whole:
        return
    *shown, more = shown
    assert shown == whole[: len(shown)]
    assert more == f"(+{len(whole) - len(shown)} more)"
    longer = "\n".join([first, *whole[: len(shown) + 1]])
    if left := len(whole) - len(shown) - 1:
        longer += f"\n(+{left} more)"
    assert len(longer) > 500  # one more would not have fitted


@given(st.text(st.characters(), max_size=700), st.integers(0, 40))
def test_a_summary_is_short_whatever_the_team_is_called(team: str, count: int) -> None:
    found = tuple(Problem("error", "NII005", "x" * (7 * n)) for n in range(count))
    assert len(gate.summary(Checked("c", team, (), found, ("error",), 1))) <= 500


class Command(NamedTuple):
    """A workflow command as the GitHub runner takes it from a log."""

    name: str
    properties: dict[str, str]
    text: str


COMMANDS = {
    *("error", "warning", "notice", "debug", "group", "endgroup", "echo", "stop-commands"),
    *("add-mask", "add-matcher", "remove-matcher", "add-path", "set-env", "set-output", "save-state"),
}


def commands(log: str) -> list[Command]:
    """`::name key=value,...::text` where a line begins, and the older `##[name]text` anywhere in a line."""
    found = []
    for line in re.split(r"\r\n|\r|\n", log):
        begun = re.match(r"\s*::(.*?)::(.*)", line)
        older = re.search(r"##\[([^\]]*)\](.*)", line)
        for match in filter(None, (begun, older)):
            name, _, properties = match[1].partition(" ")
            if name in COMMANDS:
                pairs = [pair.split("=", 1) for pair in properties.split(",") if "=" in pair]
                named = {key: plain(plain(value, "%3A", ":"), "%2C", ",") for key, value in pairs}
                found.append(
                    Command(
                        name, {key: unescaped(value) for key, value in named.items()}, unescaped(match[2])
                    )
                )
                break
    return found


def plain(text: str, escape: str, letter: str) -> str:
    return text.replace(escape, letter)


def unescaped(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


@settings(deadline=None)
@given(submissions_checked)
def test_github_gets_every_problem_as_it_is(result: Checked) -> None:
    found = commands(gate.as_github(result))
    few = {code for code, count in Counter(p.code for p in result.problems).items() if count <= gate.SHOWN}
    assert len(few) == len({p.code for p in result.problems})  # so every problem is shown
    levels = {"error": "error", "warning": "warning", "note": "notice"}
    assert len(found) == len(result.problems)
    rest = list(found)
    for problem in result.problems:
        text = problem.message + (f"\nhint: {problem.hint}" if problem.hint else "")
        wanted = Command(
            levels[problem.severity],
            {
                **({"file": lines(problem.file)} if problem.file else {}),
                "title": lines(", ".join([problem.code] + [f"case {problem.case}"] * bool(problem.case))),
            },
            lines(text),
        )
        assert wanted in rest
        rest.remove(wanted)


def lines(text: str) -> str:
    """Text as a log shows it: line feeds are kept, other control characters escaped."""
    return "\n".join(map(printable, text.split("\n")))


@settings(deadline=None)
@given(submissions_checked)
def test_json_and_junit_and_markdown_hold_whatever_is_in_a_name(result: Checked) -> None:
    document = json.loads(gate.as_json(result))
    assert document["team"] == result.team
    assert [Problem(**problem) for problem in document["problems"]] == list(result.problems)
    check_junit(gate.as_junit(result).encode(), result)
    check_markdown(gate.as_markdown(result), result)


# Of Jenkins' junit-10.xsd: what an element may hold, the attributes it must and those it may have. GitLab
# reads classname, name, failure and system-out of these.
JUNIT: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testcase", "properties", "system-out", "system-err"},
        {"name", "tests", "failures", "errors"},
        {"skipped", "time", "timestamp", "hostname", "id", "package", "file", "log", "url", "group"},
    ),
    "testcase": (
        {"failure", "error", "skipped", "system-out", "system-err"},
        {"name"},
        {"classname", "time", "group"},
    ),
    "failure": (set(), set(), {"type", "message"}),
    "system-out": (set(), set(), set()),
}


def check_junit(data: bytes, result: Checked) -> None:
    root = ElementTree.fromstring(data)
    assert root.tag == "testsuites"
    for element in root.iter():
        children, required, allowed = JUNIT[element.tag]
        assert {child.tag for child in element} <= children
        assert required <= set(element.attrib) <= required | allowed
    (suite,) = root
    tests = {test.attrib["name"]: test for test in suite}
    assert len(tests) == len(suite)  # GitLab drops a second test of the same name
    assert {test.attrib["classname"] for test in suite} == {printable(result.team)}
    cases = {*result.cases, *(p.case for p in result.problems)} - {""}
    assert set(tests) == {"(submission)", *map(printable, cases)}
    failed = 0
    for case in ("", *cases):
        own = [problem for problem in result.problems if problem.case == case]
        faults = [problem for problem in own if problem.severity in result.failing]
        test = tests[printable(case) or "(submission)"]
        failures = test.findall("failure")
        assert len(failures) == bool(faults)
        failed += bool(faults)
        if faults:
            assert failures[0].attrib["type"] == faults[0].code
        others = [problem for problem in own if problem not in faults]
        assert len(test.findall("system-out")) == bool(others)
        for tag, shown in (("failure", faults), ("system-out", others)):
            for problem in shown:
                assert f"[{problem.code}] {printable(problem.message)}" in (test.findtext(tag) or "")
    counts = [suite.attrib[key] for key in ("tests", "failures", "errors", "skipped")]
    assert counts == [str(len(tests)), str(failed), "0", "0"]


class Cells(HTMLParser):
    """The texts of the cells of a table, and every tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "td":
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


def check_markdown(text: str, result: Checked) -> None:
    """As a Markdown program sees it: one row a problem, no tag that is not the table's, texts as they are."""
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    page = Cells()
    page.feed(rendered)
    assert page.tags <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}, rendered
    expected = [(p.severity, p.code, p.case, p.message, p.hint) for p in result.problems[:100]]
    wanted = [printable(cell).strip() for row in expected for cell in row]
    assert [cell.strip() for cell in page.cells] == wanted


HOSTILE = (
    *("a%0Ab%25", "x\n::error::y", "::error file=a,line=1::z", "return\r::stop-commands::t", "##x", "a#[b]"),
    *("a<b>&amp;]]>c", "<img src=x onerror=f()>", "pipe|`code`|", "*em*_em_[l](u)\\", "comma,colon:"),
    *("tab\tbell\x07esc\x1b[31m", "\u2028line\u202eorder", "=1+1", "$(id);'\""),
)
BYTES = (b"bad\xff", b"\xed\xa0\x80half", b"ok\xc3\xa4")  # no UTF-8, half a surrogate pair, UTF-8


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """A challenge that takes any name, a submission of files with hostile ones, and those names."""
    challenge = extended(tmp_path, r"files: {prediction: ['(?P<case>(?s:.+))\.nii\.gz']}")
    names = [*HOSTILE, *map(os.fsdecode, BYTES)]
    team = tmp_path / "team|`<i>"
    team.mkdir()
    for name in names:
        (team / f"{name}.nii.gz").write_bytes(b"")
    (team / "::error::<b>stray|\n.txt").write_text("")
    return challenge, team, names


def test_hostile_names_in_json(hostile: tuple[Path, Path, list[str]]) -> None:
    challenge, team, names = hostile
    done = checked(challenge, team)
    assert done.returncode == 1
    assert sorted(done.document["cases"]) == sorted(names)
    files = [p["file"] for p in done.problems if p["code"] == "NII002"]
    assert sorted(files) == sorted(str(team / f"{name}.nii.gz") for name in names)
    assert done.stdout.isascii()
    assert done.stdout.count("\n") == 1


def test_hostile_names_on_github(hostile: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    challenge, team, names = hostile
    summary = tmp_path / "summary.md"
    summary.write_text("before\n\n")
    done = validate(challenge, team, "--format", "github", summary=summary)
    found = commands(done.stdout)
    assert Counter(one.name for one in found) == {"error": len(names), "warning": 2, "notice": 1}
    files = sorted(lines(str(team / f"{name}.nii.gz")) for name in names)
    assert sorted(one.properties["file"] for one in found if one.name == "error") == files
    assert commands(done.stderr) == []
    text = summary.read_text()
    assert text.startswith("before\n\n### ")
    reported = [Problem(**problem) for problem in checked(challenge, team).problems]
    check_markdown(text.removeprefix("before\n\n"), result_of(reported, team.name))
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == len(reported) + 1


def test_a_name_cannot_command_the_runner_of_github(tmp_path: Path) -> None:
    """The runner still obeys `##[command]` anywhere in a line, such as one that silences all annotations."""
    challenge = extended(tmp_path, r"files: {prediction: ['(?P<case>(?s:.+))\.nii\.gz']}")
    team = tmp_path / "team"
    team.mkdir()
    (team / "##[stop-commands]x.nii.gz").write_bytes(b"")
    (team / "##[add-mask]e.txt").write_bytes(b"")
    done = validate(challenge, team, "--format", "github", "--team", "##[add-mask]a")
    assert {one.name for one in commands(done.stdout)} == {"error", "warning", "notice"}
    assert commands(done.stderr) == []


def test_a_name_is_not_struck_through(tmp_path: Path) -> None:
    """As GitHub's Markdown has it: two tildes, or one."""
    result = result_of([Problem("error", "NII002", "~~a~~.nii.gz", case="~~a~~")], "~~t~~")
    check_markdown(gate.as_markdown(result), result)


def test_hostile_names_in_junit(hostile: tuple[Path, Path, list[str]]) -> None:
    challenge, team, _ = hostile
    done = validate(challenge, team, "--format", "junit")
    reported = [Problem(**problem) for problem in checked(challenge, team).problems]
    check_junit(done.stdout.encode(), result_of(reported, team.name))


def result_of(reported: Sequence[Problem], team: str) -> Checked:
    """What was checked, as the problems of the JSON document tell."""
    return Checked("mine", team, (), tuple(reported), ("error",), 1)


def test_a_case_called_submission_is_another_test(tmp_path: Path) -> None:
    result = Checked(
        "c", "t", ("submission",), (Problem("error", "NII005", "m", case="submission"),), ("error",), 1
    )
    names = [test.attrib["name"] for test in ElementTree.fromstring(gate.as_junit(result)).iter("testcase")]
    assert len(names) == len(set(names)) == 2


@pytest.mark.parametrize("fail_on", ["error", "warning", "never"])
def test_junit_fails_where_the_command_does(fail_on: str) -> None:
    for challenge, team in (
        ("brats2024-gli", "patchy"),
        ("brats-reg-2022", "loose"),
        ("qubiq-2021", "careless"),
    ):
        sample = ROOT / "sample_data" / SAMPLES[challenge]
        arguments = (sample / "submissions" / team, "-r", sample / "references", "--fail-on", fail_on)
        done = validate(challenge, *arguments, "--format", "junit")
        document = checked(challenge, *arguments).document
        failing = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[fail_on]
        found = tuple(Problem(**problem) for problem in document["problems"])
        result = Checked(challenge, team, tuple(document["cases"]), found, failing, document["exit_code"])
        check_junit(done.stdout.encode(), result)
        failures = int(next(ElementTree.fromstring(done.stdout).iter("testsuite")).attrib["failures"])
        assert (failures > 0) is (done.returncode == 1)
        names = [test.attrib["name"] for test in ElementTree.fromstring(done.stdout).iter("testcase")]
        assert names == ["(submission)", *document["cases"]]


def test_every_format_says_why_nothing_was_checked(
    tmp_path: Path, challenge_folders: tuple[Path, Path]
) -> None:
    """A CI system that collects a report finds one that fails, not an empty file."""
    arguments = (challenge_folders[0] / "exact", "-r", tmp_path / "nowhere")
    annotated = validate("brats2023-gli", *arguments, "--format", "github")
    assert [(one.name, one.properties) for one in commands(annotated.stdout)] == [
        ("error", {"title": "SUB010"})
    ]
    done = checked("brats2023-gli", *arguments)
    assert done.document["exit_code"] == done.returncode == 3
    junit = validate("brats2023-gli", *arguments, "--format", "junit")
    assert junit.returncode == 3
    suites = ElementTree.fromstring(junit.stdout)
    assert len([*suites.iter("failure"), *suites.iter("error")]) == 1


def test_many_problems_of_a_code_do_not_flood_github(tmp_path: Path) -> None:
    team = tmp_path / "team"
    team.mkdir()
    for number in range(gate.SHOWN + 5):
        (team / f"{number:05d}-000.nii.gz").write_bytes(b"")
    done = validate("brats2023-gli", team, "--format", "github", summary=tmp_path / "summary.md")
    found = Counter((one.name, one.properties["title"].partition(",")[0]) for one in commands(done.stdout))
    assert found == {
        ("error", "NII002"): gate.SHOWN,
        ("notice", "NII002"): 1,
        ("warning", "SUB015"): 1,
        ("notice", "SUB016"): 1,
    }
    assert len(checked("brats2023-gli", team).problems) == gate.SHOWN + 7
    result = result_of([Problem("error", "NII002", f"m{n}") for n in range(130)], "t")
    assert "\n30 more problems\n" in gate.as_markdown(result)


def test_a_job_summary_that_cannot_be_written_is_no_fault_of_bratseval(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """As in a container that has the variable of its host but not the file."""
    arguments = (challenge_folders[0] / "exact", "-r", challenge_folders[1])
    done = command(
        "validate", "brats2023-gli", "-p", *arguments, "--format", "github", summary=tmp_path / "not" / "here"
    )
    assert done.returncode in (0, 5), done.stderr


def test_text_leaves_stdout_to_others_and_quiet_keeps_problems(challenge_folders: tuple[Path, Path]) -> None:
    submissions, references = challenge_folders
    shift(submissions / "exact" / "BraTS-GLI-00002-000.nii.gz")
    done = validate("brats2023-gli", submissions / "exact", "-r", references, "--quiet")
    assert done.stdout == ""
    assert done.stderr.startswith("error[GEO002] team exact, case 00002-000: ")
    assert "\n  hint: " in done.stderr
    assert done.verdict == "invalid: team exact, 3 cases, 1 error"
    named = validate("brats2023-gli", submissions / "shifted", "-r", references, "--team", "other name")
    assert named.verdict == "valid: team other name, 3 cases, no problem"


# --- as a user starts it --------------------------------------------------------------------------------


def started(*arguments: object, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A process of its own, with workers."""
    environment = {key: value for key, value in os.environ.items() if key != "GITHUB_STEP_SUMMARY"} | more
    command = [sys.executable, "-m", "bratseval", "validate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, cwd=ROOT, timeout=60)


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    team, references = every_breakage(tmp_path)
    arguments = ("brats2023-gli", "-p", team, "-r", references, "--format", "json")
    before = sorted(tmp_path.rglob("*"))
    one, two = (started(*arguments, "--jobs", jobs) for jobs in (1, 2))
    assert sorted(tmp_path.rglob("*")) == before  # a check writes nothing
    assert (one.returncode, two.returncode) == (1, 1)
    assert one.stdout == two.stdout
    assert one.stdout.decode() == checked("brats2023-gli", team, "-r", references).stdout
    assert two.stderr.decode().splitlines()[-1].startswith("invalid: team team, 26 cases, 15 errors")


def test_a_report_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    """It says so in its first line; a shell's redirection writes the bytes that the locale asks for."""
    team = tmp_path / "münchen"
    team.mkdir()
    (team / "00001-000.nii.gz").write_bytes(b"")
    done = started("brats2023-gli", "-p", team, "--format", "junit", PYTHONIOENCODING="latin-1")
    assert done.returncode == 1
    (suite,) = ElementTree.fromstring(done.stdout)
    assert suite.attrib["name"] == "münchen"


WATCH = """
import sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("pandas", "SimpleITK", "matplotlib"):
            with open({path!r}, "a") as file:
                print(name, file=file)
            raise ImportError(name)
sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("what", ["help", "landmarks"])
def test_heavy_libraries_are_not_even_looked_for(what: str, tmp_path: Path) -> None:
    """Neither by the command nor by its workers."""
    (tmp_path / "sitecustomize.py").write_text(WATCH.format(path=str(tmp_path / "asked")))
    sample = ROOT / "sample_data" / "brats-reg"
    landmarks = ("brats-reg-2022", "-p", sample / "submissions" / "elastic", "-r", sample / "references")
    places = f"{tmp_path}{os.pathsep}{ROOT}"
    done = started(*({"help": ("--help",), "landmarks": landmarks}[what]), PYTHONPATH=places)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "asked").exists()
    # The watch does see what is imported.
    subprocess.run(
        [sys.executable, "-c", "import matplotlib"],
        env={**os.environ, "PYTHONPATH": places},
        stderr=subprocess.DEVNULL,
    )
    assert (tmp_path / "asked").read_text() == "matplotlib\n"


def test_one_image_is_no_submission(tmp_path: Path) -> None:
    path = tmp_path / "BraTS-GLI-00001-000.nii.gz"
    path.write_bytes(b"\x1f\x8b")
    done = validate("brats2023-gli", path, "--format", "json")
    (problem,) = [one for one in done.problems if one["code"] == "ARC001"]
    assert problem["message"] == f"{path} is a single compressed file, not what a team hands in"
    assert problem["hint"] == "give the folder that holds it, or an archive"
