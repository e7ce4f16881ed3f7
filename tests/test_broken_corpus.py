"""Every kind of broken submission is one team of one run: each gets its status, its codes and its rows."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from broken_submissions import BROKEN, CASES, EVIL, KINDS, SLOW, Kind
from conftest import ROOT, phantom, save, table
from test_cli import bratseval, run

STATUSES = {
    *("ok", "missing", "invalid", "empty_both", "empty_reference", "empty_prediction"),
    *("not_applicable", "crashed", "timeout"),
}
REGIONS = ("WT", "TC", "ET")
METRICS = (
    *("lesion_dice", "lesion_hd95", "dice", "hd95", "sensitivity", "specificity"),
    *("lesion_tp", "lesion_fp", "lesion_fn", "reference_volume_mm3"),
)
PENALTIES = {"lesion_dice": "0", "lesion_hd95": "374"}
MOST_HASHED = 1 << 26  # larger files are nearly all hole

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What came of the run over all kinds.

    before, after: every path below the folder of the test but the output, with its kind and content.
    """

    folder: Path
    done: subprocess.CompletedProcess[str]
    rows: Mapping[str, list[Row]]
    problems: Mapping[str, list[Row]]
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def out(self) -> Path:
        """The result folder."""
        return self.folder / "out"


def by_team(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of a table by team."""
    teams: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        teams[row["team"]].append(row)
    return teams


def listing(folder: Path) -> dict[str, str]:
    """Every path below a folder but its output, and what it is."""
    found = {}
    for root, folders, names in os.walk(folder):
        if Path(root) == folder and "out" in folders:
            folders.remove("out")
        for name in folders + names:
            path = Path(root, name)
            state = path.lstat()
            content = str(state.st_size) if stat.S_ISREG(state.st_mode) else ""
            if path.is_symlink():
                content = os.readlink(path)
            elif content and state.st_size < MOST_HASHED and os.access(path, os.R_OK):
                content += hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = f"{stat.filemode(state.st_mode)} {content}"
    return found


def challenge(folder: Path, kinds: Mapping[str, Kind]) -> None:
    """Three cases, a sound team, which is also there alone, and a team for each kind."""
    random = np.random.default_rng(7)
    sound = {}
    for case in CASES:
        labels = phantom(random)
        save(folder / "refs" / f"BraTS-GLI-{case}-seg.nii.gz", labels)
        path = save(folder / "subs" / "sound" / f"BraTS-GLI-{case}.nii.gz", labels)
        save(folder / "alone" / "sound" / path.name, labels)
        sound[path.name] = path.read_bytes()
    for name, kind in kinds.items():
        if not kind.skip:
            kind.build(folder / "subs" / (name + kind.ending), sound)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """One challenge in which every kind is a team, run once."""
    folder = tmp_path_factory.mktemp("corpus")
    challenge(folder, KINDS)
    # Ranked by one column, because tests of each pair of some 340 teams take longer than all the rest.
    rules = folder / "rules.yaml"
    rules.write_text("extends: brats2023-gli\nname: c\nranking: {metrics: [lesion_dice], regions: [WT]}\n")
    before = listing(folder)
    arguments = ("-s", folder / "subs", "-r", folder / "refs", "-o", folder / "out", "--jobs", 2)
    done = bratseval("run", rules, *arguments)
    after = listing(folder)
    tables = (folder / "out" / "scores.csv", folder / "out" / "problems.csv")
    rows, problems = (by_team(table(path)) if path.exists() else {} for path in tables)
    return Corpus(folder, done, rows, problems, before, after)


def check(kind: Kind, rows: Iterable[Row], problems: Sequence[Row]) -> None:
    """The rows and problems of a team are those of its kind."""
    rows = list(rows)
    told = [(row["severity"], row["code"], row["case"], row["message"]) for row in problems]
    keys = [(row["case"], row["region"], row["metric"]) for row in rows]
    assert sorted(keys) == sorted(product(CASES, REGIONS, METRICS)), told
    statuses = {case: {row["status"] for row in rows if row["case"] == case} for case in CASES}
    assert statuses == {case: {kind.status if case == BROKEN else kind.others} for case in CASES}, told
    codes = {row["code"] for row in problems if row["severity"] in ("error", "warning")}
    allowed = [set(either.split("|")) for either in kind.codes]
    assert codes <= set().union(*allowed), told
    assert all(codes & either for either in allowed), told
    assert all(row["hint"] or Path(row["file"]).name in row["message"] for row in problems), told
    for row in rows:
        if row["status"] in ("invalid", "missing") and row["metric"] in PENALTIES:
            assert (row["value"], row["measured"]) == (PENALTIES[row["metric"]], ""), row
            assert row["reason"], row
        elif row["status"] == "ok" and row["metric"] == "lesion_dice":
            assert row["value"] == "1", row


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_its_status_its_codes_and_all_its_rows(name: str, corpus: Corpus) -> None:
    if KINDS[name].skip:
        pytest.skip(KINDS[name].skip)
    assert corpus.rows, corpus.done.stderr[-2000:]
    check(KINDS[name], corpus.rows.get(name, []), corpus.problems.get(name, []))


@pytest.mark.parametrize("name", SLOW)
def test_what_is_endless_is_not_read_to_its_end(name: str, tmp_path: Path) -> None:
    challenge(tmp_path, {name: SLOW[name]})
    command = [sys.executable, "-m", "bratseval", "run", "brats2023-gli", "--jobs", "1", "--timeout", "10"]
    for option, folder in (("-s", "subs"), ("-r", "refs"), ("-o", "out")):
        command += [option, str(tmp_path / folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=25)
    assert done.returncode == (0 if SLOW[name].status == "ok" else 1), done.stderr
    rows, problems = (by_team(table(tmp_path / "out" / f"{file}.csv")) for file in ("scores", "problems"))
    check(SLOW[name], rows[name], problems[name])


def test_the_run_ends_well(corpus: Corpus) -> None:
    assert corpus.done.returncode == 1, corpus.done.stderr[-2000:]
    assert "Traceback" not in corpus.done.stderr
    assert "Warning" not in corpus.done.stderr  # of Python or numpy
    assert corpus.done.stdout == ""
    assert corpus.done.stderr.splitlines()[-1].startswith("complete: ")
    assert {row["status"] for rows in corpus.rows.values() for row in rows} <= STATUSES
    built = {name for name, kind in KINDS.items() if not kind.skip}
    assert set(corpus.rows) == built | {"sound"}


def test_broken_teams_cost_a_sound_one_nothing(corpus: Corpus) -> None:
    assert {row["value"] for row in corpus.rows["sound"] if row["metric"] == "lesion_dice"} == {"1"}
    assert "sound" not in corpus.problems
    done = run((corpus.folder / "alone", corpus.folder / "refs"), corpus.out / "alone")
    assert done.returncode == 0, done.stderr
    for name in ("scores.csv", "cases.csv", "lesions.csv", "teams.csv"):
        assert by_team(table(corpus.out / name))["sound"] == table(corpus.out / "alone" / name), name


def test_nothing_is_written_but_the_results(corpus: Corpus) -> None:
    assert corpus.after == corpus.before
    assert not Path(EVIL).exists()
    places = (corpus.folder, corpus.folder.parent, corpus.folder.parent.parent, Path.cwd())
    assert [path for place in places for path in place.glob("*evil*")] == []
    assert {path.suffix for path in corpus.out.iterdir() if path.is_file()} == {".csv", ".json"}


def test_what_is_written_and_shown_is_printable(corpus: Corpus) -> None:
    for path in corpus.out.glob("*.csv"):
        text = path.read_text(encoding="utf-8")  # and so no half of a surrogate pair
        assert {c for c in text if not c.isprintable()} == {"\n"}, path.name
        assert text.count("\n") == len(table(path)) + 1, path.name  # no line end within a cell
        assert not any(cell.startswith(("=", "+", "@")) for cell in text.replace("\n", ",").split(",")), path
    assert {c for c in corpus.done.stderr if not c.isprintable()} == {"\n"}
