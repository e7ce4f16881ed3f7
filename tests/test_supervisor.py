"""One item's death costs that item: nothing is lost, doubled or left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from supervisor_tasks import fragile, pid, square, threads

from bratseval import supervisor
from bratseval.supervisor import Outcome, allowed_cpus, supervise


def outcomes(tmp_path: Path, *words: str, jobs: int = 2, **options: float) -> dict[str, Outcome[str]]:
    items = [(str(tmp_path), word) for word in words]
    found = list(supervise(fragile, items, jobs=jobs, **options))  # type: ignore[arg-type]
    assert sorted(outcome.index for outcome in found) == list(range(len(items)))
    return {words[outcome.index]: outcome for outcome in found}


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_results_are_those_of_a_loop(jobs: int) -> None:
    found = {outcome.index: outcome.result for outcome in supervise(square, range(20), jobs=jobs)}
    assert found == {number: number * number for number in range(20)}


@pytest.mark.parametrize("death", ["exit", "kill", "segfault"])
def test_a_deadly_item_is_tried_twice_and_costs_itself_only(tmp_path: Path, death: str) -> None:
    found = outcomes(tmp_path, "a", death, "b", "c", "d")
    assert {word: outcome.status for word, outcome in found.items()} == {
        "a": "ok", "b": "ok", "c": "ok", "d": "ok", death: "crashed",
    }  # fmt: skip
    assert (tmp_path / death).read_text() == "xx"
    assert all((tmp_path / word).read_text() == "x" for word in "abcd")
    expected = {
        "exit": "ended with exit code 7",
        "kill": "killed by signal 9",
        "segfault": "killed by signal 11",
    }
    assert expected[death] in found[death].detail


def test_an_item_that_dies_once_is_saved_by_the_second_try(tmp_path: Path) -> None:
    assert outcomes(tmp_path, "a", "kill-once", "b")["kill-once"].result == "kill-once"


def test_a_hanging_item_times_out(tmp_path: Path) -> None:
    started = time.monotonic()
    found = outcomes(tmp_path, "a", "hang", "b", timeout_s=0.5)
    assert found["hang"].status == "timeout"
    assert {found["a"].status, found["b"].status} == {"ok"}
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("word", "text"), [("raise", "ValueError: on purpose"), ("unpicklable", "pickle")])
def test_an_exception_is_a_fault_with_its_trace(tmp_path: Path, word: str, text: str) -> None:
    found = outcomes(tmp_path, word, "a", jobs=1)
    assert found[word].status == "fault"
    assert text in found[word].detail
    assert found["a"].status == "ok"


def test_memory_over_the_limit_gets_a_second_try_without_it(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "a", "memory", memory_bytes=1 << 28)
    assert found["memory"].result == str(1 << 29)
    assert (tmp_path / "memory").read_text() == "xx"


def test_workers_have_one_thread_each_and_the_parent_is_unchanged() -> None:
    before = dict(os.environ)
    (outcome,) = supervise(threads, [0], jobs=1)
    assert outcome.result is not None
    assert set(outcome.result.values()) == {"1"}
    assert dict(os.environ) == before


def test_workers_are_recycled() -> None:
    pids = [outcome.result for outcome in supervise(pid, range(4), jobs=1, recycle_after=2)]
    assert len(set(pids)) == 2


def test_stopping_early_leaves_no_worker() -> None:
    running = supervise(pid, range(50), jobs=2)
    first = next(running).result
    running.close()
    assert first is not None
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from bratseval.supervisor import supervise\n"
        "from supervisor_tasks import pid\n"
        "if __name__ == '__main__':\n"
        "    for outcome in supervise(pid, range(500), jobs=1): print(outcome.result, flush=True)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    command = [
        sys.executable,
        str(tmp_path / "parent.py"),
        str(Path(__file__).parents[1]),
        str(Path(__file__).parent),
    ]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}/status").exists() and time.monotonic() < deadline:
        if "Z (zombie)" in Path(f"/proc/{worker}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()


def test_allowed_cpus_follows_slurm_and_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(supervisor, "_cgroup_cpus", lambda: None)
    assert allowed_cpus() == 8
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert allowed_cpus() == 6
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert allowed_cpus() == 3


@pytest.mark.parametrize(
    ("text", "expected"), [("150000 100000", 2), ("max 100000", None), ("100000 100000", 1)]
)
def test_cgroup_quota_is_rounded_up(tmp_path: Path, text: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert supervisor._cgroup_cpus(tmp_path) == expected
