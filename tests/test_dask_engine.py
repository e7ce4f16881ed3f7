"""A shard in a process of its own, and the choice of the engine; `make test-dask` runs the rest on Dask."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import supervisor_tasks as tasks
from test_cli import bratseval
from test_supervisor import gone, within

from bratseval import shard_process
from bratseval.dask_engine import shard_count
from bratseval.errors import UsageError
from bratseval.model import Case
from bratseval.options import Options
from bratseval.pipeline import in_shard, shard_of, supervised
from bratseval.shard_process import Request, Sealed, is_seen, run_shard, this_program
from bratseval.supervisor import Outcome


def request(function: Callable[[Any], object], items: Sequence[object], **more: Any) -> Request:
    return Request(pickle.dumps(function), tuple(map(pickle.dumps, items)), **more)


def messages(asked: Request | bytes) -> list[tuple[str, Any]]:
    _, code, answer = run_shard(asked if isinstance(asked, bytes) else asked.as_bytes())
    assert code == 0
    return [pickle.loads(message) for message in answer]


def test_a_shard_honors_limits_and_a_deadly_item_costs_itself_only(tmp_path: Path) -> None:
    words = ("a", "kill", "hang", "raise", "memory", "b")
    items = [(str(tmp_path), word) for word in words]
    told = messages(request(tasks.fragile, items, timeout_s=3, memory_bytes=1 << 28))
    outcomes = {words[outcome.index]: outcome for kind, outcome in told if kind == "outcome"}
    assert len(told) == len(outcomes) == 6
    assert {word: (outcome.status, outcome.result) for word, outcome in outcomes.items()} == {
        "a": ("ok", "a"),
        "kill": ("crashed", None),
        "hang": ("timeout", None),
        "raise": ("fault", None),
        "memory": ("ok", 1 << 29),  # at its second try, without the limit
        "b": ("ok", "b"),
    }
    assert outcomes["kill"].detail == "killed by signal 9 (out of memory?)"
    assert "ValueError: on purpose" in outcomes["raise"].detail
    assert len((tmp_path / "kill").read_text()) == 2


def test_relative_paths_start_where_the_command_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "refs").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    asked = request(tasks.note, [], files=("refs", str(tmp_path))).as_bytes()
    cwd = request(tasks.listing, ["."], files=("refs",)).as_bytes()
    monkeypatch.chdir(tmp_path)  # as the worker stands elsewhere
    assert messages(asked) == []
    ((kind, outcome),) = messages(cwd)
    assert (kind, outcome.result) == ("outcome", ["refs"])


def test_files_that_a_worker_does_not_see_are_named_and_nothing_is_done(tmp_path: Path) -> None:
    (tmp_path / "seen").touch()
    (tmp_path / "teams.zip").touch()
    files = ("gone", "seen", "teams.zip/mask.nii.gz", "/nowhere/else")
    asked = request(tasks.note, [], files=tuple(str(tmp_path / file) for file in files))
    assert messages(asked) == [("unseen", [str(tmp_path / "gone"), "/nowhere/else"])]
    assert [is_seen(str(tmp_path / file)) for file in files] == [False, True, True, False]


def test_another_program_does_nothing_and_says_what_it_is() -> None:
    for changed in range(3):
        program = [*this_program()]
        program[changed] = "other"
        # What another version sends, this one may not be able to read.
        asked = pickle.dumps((tuple(program), "/", "a body of another version"))
        assert messages(asked) == [("stranger", this_program())]


def test_nothing_is_read_before_it_is_needed() -> None:
    # A function that cannot be imported is the fault of each item, as in a local run, not of the process.
    wrong = pickle.dumps(tasks.square).replace(b"square", b"absent")
    told = messages(Request(wrong, (pickle.dumps(2),)))
    assert [(kind, outcome.status) for kind, outcome in told] == [("outcome", "fault")]
    assert pickle.loads(pickle.dumps(Sealed(pickle.dumps(7)))) == 7


def test_a_process_that_cannot_start_or_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ((kind, trace),) = messages(request(tasks.square, [2], timeout_s="soon"))
    assert kind == "fault"
    assert "TypeError" in trace
    monkeypatch.setattr(shard_process, "START", "raise SystemExit(3)")
    assert run_shard(request(tasks.square, [2]).as_bytes())[1:] == (3, [])


def test_what_a_case_prints_or_reads_does_not_disturb_the_answer() -> None:
    ((_, outcome),) = messages(request(tasks.chatty, [2]))
    assert outcome.result == 2
    ((_, outcome),) = messages(request(tasks.standard_input, [2]))
    assert outcome.result == os.devnull  # not the socket to the Dask worker


SCRIPT = """
import pickle, sys
sys.path[:0] = {path!r}
import supervisor_tasks as tasks
from bratseval.shard_process import Request, run_shard
run_shard(Request(pickle.dumps(tasks.note_pid_and_hang), (pickle.dumps({folder!r}),)).as_bytes())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_shard_ends_with_its_dask_worker(tmp_path: Path, number: int) -> None:
    tests = Path(__file__).parent
    text = SCRIPT.format(path=[str(tests.parent), str(tests)], folder=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", text], start_new_session=True)
    assert within(20, lambda: list(tmp_path.glob("*.pid")))
    worker = int(next(tmp_path.glob("*.pid")).stem)
    shard = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    assert shard != parent.pid
    os.kill(parent.pid, number)
    parent.wait()
    assert within(5, lambda: gone(worker) and gone(shard))


def test_shards_of_a_dask_run_are_those_of_the_command_line() -> None:
    cases = [Case(f"team {team}", f"{number:05}", None, None) for team in range(5) for number in range(40)]
    for count in (1, 3, 40):
        assert all(in_shard(case, (shard_of(case, count) + 1, count)) for case in cases)
        assert {shard_of(case, count) for case in cases} == set(range(count))
    assert shard_of(Case("alpha", "00001-000", None, None), 1000) == 12  # the same on every machine, for good


@pytest.mark.parametrize(
    ("items", "threads", "shards"),
    [
        (1, 2, 1),
        (18, 2, 5),  # four cases each, as a shard starts two processes
        (18, 64, 18),  # no thread without a case
        (1000, 8, 50),  # at most 20 cases each
        (100, 8, 25),
        (200, 8, 32),
        (30_000, 500, 1000),
        (18, 0, 8),  # workers that are still to come
    ],
)
def test_tasks_are_small_enough_to_be_lost_and_large_enough_to_be_worth_it(
    items: int, threads: int, shards: int
) -> None:
    assert shard_count(items, threads) == shards


def test_the_scheduler_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [Case("alpha", "1", None, None)]
    (outcome,) = supervised(tasks.same, cases, Options())
    assert outcome.result == cases[0]
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="--scheduler needs Dask, which is not installed") as caught:
        next(supervised(tasks.same, cases, Options(scheduler="tcp://localhost:8786")))
    (problem,) = caught.value.problems
    assert (problem.code, caught.value.exit_code) == ("RUN012", 2)
    assert "pip install 'bratseval[dask]'" in problem.hint
    nothing: list[Outcome[object]] = list(
        supervised(tasks.same, [], Options(scheduler="tcp://localhost:8786"))
    )
    assert nothing == []


def test_the_command_says_what_is_missing_or_contradicts_itself(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text("import sys; sys.modules['distributed'] = None")
    submissions, references = challenge_folders
    words = ("run", "brats2023-gli", "-s", submissions, "-r", references, "-o", tmp_path / "out")
    path = str(tmp_path / "hook")
    done = bratseval(*words, PYTHONPATH=path, BRATSEVAL_SCHEDULER="tcp://localhost:8786")
    assert done.returncode == 2
    assert "error[RUN012] --scheduler needs Dask, which is not installed" in done.stderr
    assert "Traceback" not in done.stderr
    done = bratseval(*words, "--shards", 4)
    assert (done.returncode, "--shards needs --scheduler" in done.stderr) == (2, True)
    done = bratseval(*words, "--shard", "1/4", "--scheduler", "tcp://localhost:8786")
    assert (done.returncode, "a Dask run has all shards" in done.stderr) == (2, True)
