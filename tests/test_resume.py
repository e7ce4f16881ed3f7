"""Nothing finished is lost: kills, torn journals, changed inputs, locks, signals and full disks."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, phantom, save, table
from hypothesis import given, settings
from hypothesis import strategies as st

from bratseval.errors import Problem
from bratseval.model import Case, CaseResult, InputFile, Score
from bratseval.state import Journal

KILLS = int(os.environ.get("BRATSEVAL_KILLS", "10"))
TEAMS, CASES = ("one", "two", "three"), 6
YAML = """
extends: brats2023-gli
name: small
regions: {TC: null, ET: null}
metrics: {lesion_hd95: null, hd95: null}
ranking:
  {metrics: [lesion_dice], missing: {lesion_dice: 0, lesion_hd95: null}, bootstrap: 10, permutations: 10}
"""
# A line for every case whose scoring has ended, and whatever else a test wants of a worker.
HOOK = """
import os, signal, sys, time
if os.environ.get("SCORED"):
    import bratseval.scoring as scoring
    original = scoring.score_case
    def score_case(rules, case):
        time.sleep(float(os.environ.get("SLOW", "0")))
        victim, once = os.environ.get("VICTIM"), os.environ.get("ONCE")
        if victim == f"{case.team} {case.case}" and not (once and os.path.exists(once)):
            if once: open(once, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(rules, case)
        log = os.open(os.environ["SCORED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{case.team} {case.case}\\n".encode())
        os.close(log)
        return result
    score_case.__module__, score_case.__qualname__ = "bratseval.scoring", "score_case"
    scoring.score_case = score_case
"""


class Folder:
    """A challenge in a folder of its own, and the log of the cases that were computed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scored = root / "scored.log"
        self.out = root / "out"
        draw = np.random.default_rng(3)
        for number in range(1, CASES + 1):
            labels = phantom(draw)
            save(root / "refs" / f"X-0000{number}-000-seg.nii.gz", labels)
            for shift, team in enumerate(TEAMS):
                path = root / "subs" / team / f"X-0000{number}-000.nii.gz"
                save(path, np.roll(labels, shift, axis=0))
        (root / "small.yaml").write_text(YAML)
        (root / "hook").mkdir()
        (root / "hook" / "sitecustomize.py").write_text(HOOK)

    def command(self, *more: object) -> list[str]:
        words = ["run", "small.yaml", "-s", "subs", "-r", "refs", "-o", "out", "--jobs", "2", *more]
        return [sys.executable, "-m", "bratseval", *map(str, words)]

    def environment(self, given: Mapping[str, object]) -> dict[str, str]:
        path = f"{self.root / 'hook'}{os.pathsep}{ROOT}"
        further = {key: str(value) for key, value in given.items()}
        return {**os.environ, "PYTHONPATH": path, "SCORED": str(self.scored), "NO_COLOR": "1", **further}

    def start(self, *more: object, **environment: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*more),
            cwd=self.root,
            env=self.environment(environment),
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *more: object, **environment: object) -> tuple[int, str]:
        process = self.start(*more, **environment)
        errors = process.communicate(timeout=100)[1]
        return process.returncode, errors

    def computed(self) -> list[str]:
        """Cases computed since the last call, in order."""
        lines = self.scored.read_text().splitlines() if self.scored.exists() else []
        self.scored.unlink(missing_ok=True)
        return sorted(lines)

    def kept(self) -> set[str]:
        """Cases whose record is whole in the journal."""
        import json
        from hashlib import sha256

        found = set()
        path = self.out / "state" / "journal.jsonl"
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
            checksum, _, body = line.rstrip(b"\n").partition(b" ")
            if line.endswith(b"\n") and sha256(body).hexdigest()[:16].encode() == checksum:
                record = json.loads(body)
                if "team" in record:
                    found.add(f"{record['team']} {record['case']}")
        return found


EVERY = sorted(f"{team} 0000{number}-000" for team in TEAMS for number in range(1, CASES + 1))


def contents(folder: Path) -> dict[str, bytes]:
    """Every final file, run.json without the time that the run took."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    lines = files["run.json"].splitlines()
    return files | {"run.json": b"\n".join(line for line in lines if b'"wall_seconds"' not in line)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """Final files of a run that nothing disturbs, and its seconds."""
    folder = Folder(tmp_path_factory.mktemp("undisturbed"))
    started = time.monotonic()
    code, errors = folder.run()
    assert code == 0, errors
    assert folder.computed() == EVERY
    return contents(folder.out), time.monotonic() - started


def test_kills_at_random_moments_cost_nothing_that_was_finished(
    folder: Folder, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    expected, seconds = undisturbed
    draw = random.Random(5)
    kept: set[str] = set()
    kills = 0
    while kills < KILLS:
        process = folder.start(SLOW=0.02)
        try:
            process.communicate(timeout=draw.uniform(0, 1.3 * seconds))
            finished = process.returncode == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            finished = False
        computed = folder.computed()
        assert not kept & set(computed), "a case that was in the journal was computed again"
        assert len(computed) == len(set(computed))
        kept = folder.kept()
        if finished:
            assert contents(folder.out) == expected
            assert kept == set(EVERY)
            for path in [*(folder.out / "state").iterdir(), *folder.out.glob("*.csv")][
                :: draw.choice([1, 2])
            ]:
                path.unlink()  # begin anew, with some of what a killed run leaves
            kept = folder.kept()
    code, errors = folder.run()
    assert code == 0, errors
    assert not kept & set(folder.computed())
    assert contents(folder.out) == expected
    assert {path.name for path in (folder.out / "state").iterdir()} == {"journal.jsonl", "lock"}


def test_a_damaged_journal_costs_its_damaged_records_only(
    folder: Folder, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    assert folder.run()[0] == 0
    folder.computed()
    journal = folder.out / "state" / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    middle = len(lines[0]) + len(lines[1]) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    damages = [(whole[:-1], 1), (whole[: -len(lines[-1]) // 2], 1), (flipped, 1), (whole + b"0 {}\nx", 0)]
    damages += [(b"", len(EVERY)), (lines[0], len(EVERY)), (lines[0][3:] + b"".join(lines[1:]), len(EVERY))]
    for content, lost in damages:
        journal.write_bytes(content)
        code, errors = folder.run()
        assert code == 0, errors
        assert len(folder.computed()) == lost, content[:50]
        assert contents(folder.out) == undisturbed[0]


def test_what_changed_is_computed_again_and_named(folder: Folder, tmp_path: Path) -> None:
    assert folder.run()[0] == 0
    folder.computed()
    labels = phantom(np.random.default_rng(9))
    save(folder.root / "subs" / "two" / "X-00003-000.nii.gz", labels)
    save(folder.root / "refs" / "X-00004-000-seg.nii.gz", labels)
    (folder.root / "subs" / "one" / "X-00005-000.nii.gz").unlink()
    code, errors = folder.run()
    assert code == 0, errors
    changed = sorted(["two 00003-000", "one 00005-000", *(f"{team} 00004-000" for team in TEAMS)])
    assert folder.computed() == changed
    assert "note[RUN011] 5 cases changed" in errors
    assert "two/00003-000" in errors
    assert "13 cases kept from an earlier run" in errors.replace("\n", " ")
    (tmp_path / "cases.csv").write_text("case,institution\n00001-000,site\n")
    assert folder.run("--metadata", "cases.csv")[0] == 0
    assert folder.computed() == []  # an institution moves no score
    assert {row["institution"] for row in table(folder.out / "scores.csv")} == {"", "site"}
    resumed = contents(folder.out)
    assert folder.run("--metadata", "cases.csv", "--no-resume")[0] == 0
    assert folder.computed() == EVERY
    assert contents(folder.out) == resumed
    assert folder.run("--geometry", "strict")[0] == 0
    assert folder.computed() == EVERY


def test_another_configuration_needs_another_folder(folder: Folder) -> None:
    process = folder.start(SLOW=0.1)
    while len(folder.kept()) < 2:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not (folder.out / "run.json").exists()
    (folder.root / "small.yaml").write_text(YAML + "lesions: {dilation_voxels: 1}\n")
    code, errors = folder.run()
    assert code == 5
    assert "OUT003" in errors
    folder.computed()
    assert folder.run("--overwrite")[0] == 0
    assert folder.computed() == EVERY


def test_a_folder_in_use_is_refused_and_a_dead_lock_is_none(
    folder: Folder, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    process = folder.start(SLOW=0.2)
    while len(folder.kept()) < 1:
        time.sleep(0.05)
    code, errors = folder.run()
    assert code == 5
    assert f"in use by another run (process {process.pid} on " in errors.replace("\n", " ")
    scores = folder.root / "any.csv"
    scores.write_text("team,case,region,metric,value\na,1,WT,lesion_dice,1\n")
    rank = [sys.executable, "-m", "bratseval", "rank", "small.yaml", "any.csv", "-o", "out"]
    assert subprocess.run(rank, cwd=folder.root, env=folder.environment({})).returncode == 5
    process.kill()
    process.communicate()
    code, errors = folder.run()
    assert code == 0, errors
    assert contents(folder.out) == undisturbed[0]


@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "interrupted"), (15, 143, "terminated")])
def test_a_signal_stops_within_five_seconds_and_says_how_to_go_on(
    folder: Folder, undisturbed: tuple[dict[str, bytes], float], number: int, code: int, word: str
) -> None:
    process = folder.start(SLOW=0.5)
    while len(folder.kept()) < 2:
        time.sleep(0.05)
    process.send_signal(number)
    started = time.monotonic()
    errors = process.communicate(timeout=20)[1]
    assert time.monotonic() - started < 5
    assert process.returncode == code, errors
    last = errors.strip().splitlines()[-1]
    kept = folder.kept()
    assert last.startswith(f"{word} after {len(kept)} of 18 cases, which are kept; the same command goes on")
    assert "Traceback" not in errors
    folder.computed()
    assert folder.run()[0] == 0
    assert len(folder.computed()) == len(EVERY) - len(kept)
    assert contents(folder.out) == undisturbed[0]


@pytest.mark.parametrize("kilobytes", [2, 8])
def test_a_full_disk_ends_in_a_sentence_and_nothing_half_written(
    folder: Folder, undisturbed: tuple[dict[str, bytes], float], kilobytes: int
) -> None:
    """A limit on the size of files stands for the full disk: small for the journal, larger for a table."""
    limit = kilobytes * 1024
    process = subprocess.Popen(
        folder.command(),
        cwd=folder.root,
        env=folder.environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 5, errors
    assert "error[OUT001]" in errors
    assert "bytes are needed" in errors.replace("\n", " ")
    assert "the same command goes on" in errors.replace("\n", " ")
    assert {path.name for path in folder.out.iterdir()} == {"state"}
    assert {path.name for path in (folder.out / "state").iterdir()} == {"journal.jsonl", "lock"}
    kept = folder.kept()
    folder.computed()
    assert folder.run()[0] == 0
    assert len(folder.computed()) == len(EVERY) - len(kept)
    assert contents(folder.out) == undisturbed[0]


def test_tables_that_do_not_fit_leave_the_earlier_ones(folder: Folder) -> None:
    assert folder.run()[0] == 0
    before = contents(folder.out)
    (folder.root / "cases.csv").write_text("case,institution\n00001-000,site\n")
    process = subprocess.run(
        folder.command("--metadata", "cases.csv"),
        cwd=folder.root,
        env=folder.environment({"PYTHONDONTWRITEBYTECODE": "1"}),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )
    assert process.returncode == 5, process.stderr
    assert contents(folder.out) == before


def test_a_killed_worker_costs_a_retry_and_a_deadly_case_itself(
    folder: Folder, undisturbed: tuple[dict[str, bytes], float]
) -> None:
    victim = "two 00002-000"
    code, errors = folder.run(VICTIM=victim, ONCE=folder.root / "once")
    assert code == 0, errors
    assert contents(folder.out) == undisturbed[0]
    folder.computed()
    code, errors = folder.run("--no-resume", VICTIM=victim)
    assert code == 4, errors
    assert folder.kept() == set(EVERY) - {victim}
    rows = table(folder.out / "scores.csv")
    assert {r["status"] for r in rows if f"{r['team']} {r['case']}" == victim} == {"crashed"}
    folder.computed()
    assert folder.run()[0] == 0
    assert folder.computed() == [victim]
    assert contents(folder.out) == undisturbed[0]


TEXT = st.text(st.characters(), max_size=8)
CELLS = st.one_of(TEXT, st.integers(-9, 9), st.floats(allow_nan=False, allow_infinity=False), st.none())
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False))
RESULTS = st.builds(
    CaseResult,
    st.builds(Case, TEXT, TEXT, st.none(), st.none()),
    st.lists(st.builds(Score, TEXT, TEXT, NUMBERS, NUMBERS, TEXT, TEXT), max_size=3).map(tuple),
    st.lists(st.builds(Problem, st.just("error"), TEXT, TEXT), max_size=2).map(tuple),
    st.lists(st.builds(InputFile, TEXT, TEXT, st.integers(0, 99), TEXT), max_size=2).map(tuple),
    st.dictionaries(
        TEXT, st.lists(st.lists(CELLS, max_size=3).map(tuple), max_size=2).map(tuple), max_size=2
    ),
)


@given(st.lists(RESULTS, max_size=5, unique_by=lambda r: (r.case.team, r.case.case)), st.data())
@settings(max_examples=40, deadline=None)
def test_the_journal_gives_back_what_it_was_given(results: list[CaseResult], data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        journal = Journal(Path(name), "digest")
        for result in results:
            journal.append("rules", result)
        journal.close()
        path = Path(name, "journal.jsonl")
        content = path.read_bytes()

        def read(content: bytes) -> list[CaseResult]:
            path.write_bytes(content)
            again = Journal(Path(name), "digest")
            again.close()
            return [kept.result for kept in again.kept.values()]

        assert read(content) == results
        cut = data.draw(st.integers(0, len(content)))
        prefix = read(content[:cut])
        assert prefix == results[: len(prefix)]
        place = data.draw(
            st.integers(content.index(b"\n") + 1, max(content.index(b"\n") + 1, len(content) - 1))
        )
        if place < len(content):
            flipped = content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]
            left = read(flipped)
            assert len(left) >= len(results) - 2  # a newline that is gone joins two records
            assert all(result in results for result in left)
