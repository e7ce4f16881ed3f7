"""Nothing finished is lost: kills, torn journals, changed inputs, locks, signals and full disks."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, phantom, plan_cases, save, table
from hypothesis import given, settings
from hypothesis import strategies as st
from small_challenge import EVERY, TEAMS, YAML, write_challenge

from bratseval import pipeline, scoring
from bratseval.config import load_rulebook
from bratseval.errors import OutputError, Problem
from bratseval.inputs import inputs_of
from bratseval.model import Case, CaseResult, InputFile, Part, Score
from bratseval.options import Options
from bratseval.pipeline import score_all
from bratseval.screen import Screen
from bratseval.state import Journal, Kept, locked, paths_of, unchanged
from bratseval.supervisor import Outcome, Status

KILLS = int(os.environ.get("BRATSEVAL_KILLS", "10"))
# A line for every case whose scoring has ended, and whatever else a test wants of a worker.
HOOK = """
import importlib.abc, os, signal, sys, time
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT"] and "--multiprocessing-fork" not in sys.orig_argv:
            os.kill(os.getpid(), int(os.environ["NUMBER"]))
if os.environ.get("INTERRUPT"):
    sys.meta_path.insert(0, Interrupting())
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
        write_challenge(root)
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
    left = {path.name for path in (folder.out / "state").iterdir()}
    assert left == {"journal.jsonl", "lock", "sources.json"}


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
    process = folder.start(SLOW=1)  # longer than another takes to start
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


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose sitecustomize acts in every Python."""
    folder = tmp_path_factory.mktemp("hook")
    (folder / "sitecustomize.py").write_text(HOOK)
    return folder


def entries() -> dict[str, list[str]]:
    """How users start the program: as a module, and by the script that pip makes of pyproject.toml."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["bratseval"].partition(":")
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    return {"module": ["-m", "bratseval"], "script": ["-c", script]}


@pytest.mark.parametrize(("number", "ending"), [(2, (130, "interrupted")), (15, (143, "terminated"))])
@pytest.mark.parametrize("place", ["typer", "bratseval.screen", "pydantic"])
@pytest.mark.parametrize("entry", ["module", "script"])
def test_a_signal_at_the_start_ends_in_one_sentence(
    hook: Path, entry: str, place: str, number: int, ending: tuple[int, str]
) -> None:
    path = f"{hook}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, *entries()[entry], "challenges", "show", "brats2021"],
        env={**os.environ, "PYTHONPATH": path, "INTERRUPT": place, "NUMBER": str(number)},
        capture_output=True,
        text=True,
    )
    code, word = ending
    assert (done.returncode, done.stderr) == (code, f"{word}; the same command goes on\n")


DYING = """
import os, signal
from bratseval import __main__, cli
from bratseval.screen import Screen
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
def command():
    with Screen("text", quiet=True, no_color=True).progress():
        Dying()
    print("went on")
cli.main = command
__main__.main()
"""


def test_ctrl_c_in_a_finalizer_ends_a_command_all_the_same() -> None:
    """Where an exception is raised there, Python prints it and goes on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", DYING], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted; the same command goes on\n"


Stopping = Callable[..., tuple[list[str], str]]


@pytest.fixture
def stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stopping:
    """Score cases that end as told until one stops the command; the cases on disk, and the verdict."""
    cases = [Case("a", str(number), None, None) for number in range(4)]

    def stop(statuses: Sequence[Status], at_sync: int, error: Callable[[], None]) -> tuple[list[str], str]:
        screen, journal = Screen("text", quiet=True, no_color=True), Journal(tmp_path, "config")
        outcomes = [
            Outcome(index, CaseResult(cases[index], ()) if status == "ok" else None, status, "", 0.0)
            for index, status in enumerate(statuses)
        ]
        sync, done = os.fsync, count(1)

        def fsync(handle: int) -> None:
            sync(handle)
            if next(done) == at_sync:
                error()

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(pipeline, "supervised", lambda *_: outcomes)
        try:
            with screen.progress() as progress:
                score_all(load_rulebook("brats2021"), cases, Options(), progress, journal, [])
        except KeyboardInterrupt:
            screen.stopped("interrupted")
        except OutputError as full:
            screen.failed(full)
        journal.close()
        again = Journal(tmp_path, "config")
        again.close()
        return [case for _, case in again.kept], capsys.readouterr().err.splitlines()[-1]

    return stop


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_verdict_counts_what_is_kept(stopping: Stopping) -> None:
    """A case whose record is just on disk is kept; one that crashed or timed out is tried again."""
    goes_on = "; the same command goes on"
    assert stopping(["ok", "ok", "ok"], 2, interrupt) == (
        ["0", "1"],
        f"interrupted after 2 of 4 cases, which are kept{goes_on}",
    )


def test_the_verdict_counts_no_case_that_timed_out_or_crashed(stopping: Stopping) -> None:
    kept, verdict = stopping(["timeout", "ok", "crashed", "ok"], 2, interrupt)
    assert kept == ["1", "3"]
    assert verdict == "interrupted after 4 of 4 cases, 2 of which are kept; the same command goes on"


def test_the_verdict_of_a_full_disk_counts_what_is_kept(stopping: Stopping) -> None:
    assert stopping(["ok", "ok", "ok"], 3, fill_the_disk)[1] == (
        "stopped: 1 problem after 2 of 4 cases, which are kept"
    )


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
    assert ("nothing was scored" in errors) is (not kept)
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


def test_a_file_that_changes_while_it_is_scored_differs_at_the_next_run(
    challenge_folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest that is kept must not be of bytes that were never scored."""
    submissions, references = challenge_folders
    rulebook = load_rulebook("brats2023-gli")
    case = plan_cases(rulebook, {"exact": submissions / "exact"}, references)[0][0]
    before = inputs_of(case)

    def swapped(_: object, case: Case, __: object) -> CaseResult:
        assert case.prediction is not None
        case.prediction.write_bytes(b"other")
        return CaseResult(case, ())

    monkeypatch.setattr(scoring, "_result", swapped)
    assert scoring.score_case(scoring.Rules(rulebook), case).inputs == before


def test_kept_problems_name_references_where_they_are() -> None:
    part = Part("mask", Path("refs", "1-mask"))
    case = Case("a", "1", Path("refs", "1"), Path("subs", "1"), reference_parts=(part,))
    warned = CaseResult(case, (), (Problem("warning", "GEO007", "refs/1 is strange"),))
    kept = Kept("rules", paths_of(case), warned)
    assert unchanged(kept, case, "rules", ())
    moved = replace(part, path=Path("moved", "1-mask"))
    for other in (replace(case, reference=Path("moved", "1")), replace(case, reference_parts=(moved,))):
        assert not unchanged(kept, other, "rules", ())
        assert unchanged(replace(kept, result=replace(warned, problems=())), other, "rules", ())


@pytest.mark.parametrize("locks", [True, False])
def test_who_is_refused_leaves_the_name_of_who_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """Also on a file system without locks, where nothing else keeps the next one out."""
    if not locks:
        monkeypatch.setattr(fcntl, "flock", lambda *_: fill_the_disk())
    with locked(tmp_path):
        for _ in range(2):
            with pytest.raises(OutputError, match=rf"\(process {os.getpid()} on "), locked(tmp_path):
                pass


@pytest.mark.parametrize("output", ["x" * 300, f"{'x' * 300}/out"])
def test_an_output_that_no_disk_can_hold_is_refused(tmp_path: Path, output: str) -> None:
    with pytest.raises(OutputError, match="cannot be written"), locked(tmp_path / output):
        pass


def test_a_torn_journal_on_a_full_disk_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Journal(tmp_path, "config").close()
    torn = (tmp_path / "journal.jsonl").read_bytes() + b"torn"
    (tmp_path / "journal.jsonl").write_bytes(torn)
    monkeypatch.setattr(os, "fsync", lambda _: fill_the_disk())
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path, "config")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"journal.jsonl": torn}


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
