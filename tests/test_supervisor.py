"""One item's death costs that item: nothing is lost, doubled or left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import supervisor_tasks as tasks

from bratseval import cpus, supervisor
from bratseval.cpus import allowed_cpus
from bratseval.supervisor import Outcome, supervise


def outcomes(tmp_path: Path, *words: str, jobs: int = 2, **options: float) -> dict[str, Outcome[object]]:
    items = [(str(tmp_path), word) for word in words]
    found = list(supervise(tasks.fragile, items, jobs=jobs, **options))  # type: ignore[arg-type]
    assert sorted(outcome.index for outcome in found) == list(range(len(items)))
    assert multiprocessing.active_children() == []
    return {words[outcome.index]: outcome for outcome in found}


def statuses(found: dict[str, Outcome[object]]) -> dict[str, str]:
    return {word: outcome.status for word, outcome in found.items()}


def tries(tmp_path: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in tmp_path.iterdir()}


def within(seconds: float, condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def gone(pid: int) -> bool:
    """Whether a process has ended; an orphan may remain as a zombie."""
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_results_are_those_of_a_loop(jobs: int) -> None:
    found = list(supervise(tasks.square, range(20), jobs=jobs))
    assert sorted(outcome.index for outcome in found) == list(range(20))
    assert all(outcome.result == outcome.index**2 for outcome in found)
    assert {(outcome.status, outcome.detail, outcome.died) for outcome in found} == {("ok", "", "")}


def test_a_worker_goes_on_with_items_of_the_same_kind() -> None:
    """What it keeps of a kind serves the next item; only at the end two workers share a kind."""
    items = [(kind, number) for kind in "abcdef" for number in range(8)]
    found = list(supervise(tasks.by_whom, items, jobs=2, kind=lambda item: item[0]))
    assert sorted(outcome.index for outcome in found) == list(range(len(items)))
    made = {(pid, item[0]) for pid, item in (outcome.result for outcome in found if outcome.result)}
    assert len({pid for pid, _ in made}) == 2
    assert len(made) <= 6 + 1


def test_no_items_and_few_items_need_few_workers() -> None:
    assert list(supervise(tasks.square, [], jobs=2)) == []
    running = supervise(tasks.pid, [0.0, 0.1], jobs=8)
    next(running)
    assert len(multiprocessing.active_children()) <= 2
    running.close()
    with pytest.raises(ValueError, match="jobs is 0"):
        next(supervise(tasks.square, [1], jobs=0))


@pytest.mark.parametrize(
    ("death", "detail"),
    [
        ("exit", "ended with exit code 7"),
        ("kill", "killed by signal 9 (out of memory?)"),
        ("segfault", "killed by signal 11"),
        ("endless-memory", "needed more than the machine's memory"),
        ("hidden-memory", "needed more than the machine's memory"),
    ],
)
def test_a_deadly_item_is_tried_twice_and_costs_itself_only(tmp_path: Path, death: str, detail: str) -> None:
    found = outcomes(tmp_path, "a", death, "b", "c", "d")
    assert statuses(found) == {"a": "ok", "b": "ok", "c": "ok", "d": "ok", death: "crashed"}
    assert tries(tmp_path) == {"a": 1, "b": 1, "c": 1, "d": 1, death: 2}
    assert (found[death].detail, found[death].result) == (detail, None)


def test_many_deaths_lose_nothing(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "kill", "exit", "a", "segfault", "kill-once", "b", "raise", jobs=3)
    assert {word for word, status in statuses(found).items() if status == "crashed"} == {
        "kill", "exit", "segfault",
    }  # fmt: skip
    assert found["kill-once"].result == "kill-once"
    assert found["kill-once"].died == "killed by signal 9 (out of memory?)"
    assert tries(tmp_path) == {
        "kill": 2, "exit": 2, "segfault": 2, "kill-once": 2, "a": 1, "b": 1, "raise": 1,
    }  # fmt: skip


def test_the_second_try_is_alone(tmp_path: Path) -> None:
    items = [(str(tmp_path), word) for word in ("a", "deadly", "b", "c", "d")]
    found = {outcome.index: outcome for outcome in supervise(tasks.others_finished, items, jobs=3)}
    assert found[1].result == 4


def test_a_worker_may_die_in_the_middle_of_its_answer(tmp_path: Path) -> None:
    found = []
    items = [(str(tmp_path), "a"), (str(tmp_path), "die-answering")]
    for outcome in supervise(tasks.fragile, items, jobs=1):
        found.append((outcome.index, outcome.status))
        time.sleep(0.8)  # meanwhile the answer fills the pipe and the worker dies
    assert found == [(0, "ok"), (1, "ok")]  # the second try is read at once
    assert tries(tmp_path) == {"a": 1, "die-answering": 2}


def test_a_hanging_item_times_out_once(tmp_path: Path) -> None:
    started = time.monotonic()
    found = outcomes(tmp_path, "a", "hang", "b", "c", timeout_s=0.5)
    assert statuses(found) == {"a": "ok", "hang": "timeout", "b": "ok", "c": "ok"}
    assert found["hang"].detail == "exceeded 0.5 s"
    assert 0.5 <= found["hang"].seconds < 2
    assert tries(tmp_path)["hang"] == 1
    assert time.monotonic() - started < 20


def test_a_slow_caller_makes_no_item_late() -> None:
    found = []
    for outcome in supervise(tasks.pid, [0.1] * 4, jobs=2, timeout_s=0.4):
        found.append((outcome.status, 0.1 <= outcome.seconds < 0.4))
        time.sleep(0.6)
    assert found == [("ok", True)] * 4


def test_a_worker_that_does_not_start_times_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "START_UP_S", 0.0)
    found = outcomes(tmp_path, "a", jobs=1, timeout_s=0.001)
    assert found["a"].status == "timeout"
    assert "while its worker started" in found["a"].detail


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("raise", "ValueError: on purpose"),
        ("sys.exit", "SystemExit: leaving"),
        ("unpicklable", "Can't pickle"),
        ("unloadable", "invalid literal for int"),
    ],
)
def test_an_exception_is_a_fault_with_its_trace(tmp_path: Path, word: str, text: str) -> None:
    found = outcomes(tmp_path, word, "a", jobs=1)
    assert statuses(found) == {word: "fault", "a": "ok"}
    assert found[word].detail.startswith("Traceback")
    assert text in found[word].detail.replace("Can't get local object", "Can't pickle")
    assert tries(tmp_path) == {word: 1, "a": 1}


def test_items_that_cannot_be_pickled_are_faults() -> None:
    items = [1, lambda: None, tasks.Unloadable(), 4]
    found = {outcome.index: outcome for outcome in supervise(tasks.same, items, jobs=1)}
    assert [found[index].status for index in range(4)] == ["ok", "fault", "fault", "ok"]
    assert "lambda" in found[1].detail
    assert "invalid literal for int" in found[2].detail


def test_a_function_that_workers_cannot_import_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("only_in_the_parent")
    exec("def function(item): return item", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_in_the_parent", module)
    found = list(supervise(module.function, [1, 2], jobs=1))
    assert [outcome.status for outcome in found] == ["fault", "fault"]
    assert "No module named 'only_in_the_parent'" in found[1].detail


def test_memory_over_the_limit_gets_a_second_try_without_it(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "a", "memory", "b", memory_bytes=1 << 28)
    assert found["memory"].result == 1 << 29
    assert found["memory"].died == "needed more than the machine's memory"
    assert tries(tmp_path) == {"a": 1, "memory": 2, "b": 1}


def test_workers_have_one_thread_each_and_the_parent_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before, main = dict(os.environ), sys.modules["__main__"]
    (outcome,) = supervise(tasks.threads, [0], jobs=1)
    assert outcome.result is not None
    for seen in outcome.result:
        assert {seen[name] for name in supervisor.ONE_THREAD} == {"1"}
    assert dict(os.environ) == before
    assert sys.modules["__main__"] is main


def test_workers_are_recycled() -> None:
    pids = [outcome.result for outcome in supervise(tasks.pid, [0.0] * 4, jobs=1, recycle_after=2)]
    assert len(set(pids[:2])) == len(set(pids[2:])) == 1
    assert len(set(pids)) == 2


def test_stopping_early_leaves_no_worker() -> None:
    running = supervise(tasks.pid, [0.1] * 50, jobs=2)
    first = next(running).result
    workers = {process.pid for process in multiprocessing.active_children()}
    assert first in workers
    running.close()
    assert multiprocessing.active_children() == []
    assert all(pid and gone(pid) for pid in workers)


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from bratseval.supervisor import supervise
import supervisor_tasks as tasks
{body}
"""


def start_script(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    """Run a script in a process group of its own, as a terminal does."""
    tests = Path(__file__).parent
    text = SCRIPT.format(path=[str(tests.parent), str(tests)], body=body.format(folder=str(tmp_path)))
    (tmp_path / "script.py").write_text(text)
    command = [sys.executable, str(tmp_path / "script.py")]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def hanging_workers(tmp_path: Path) -> list[int]:
    assert within(10, lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    return [int(path.stem) for path in tmp_path.glob("*.pid")]


HANG = "for outcome in supervise(tasks.note_pid_and_hang, [{folder!r}] * 5, jobs=2): print(outcome)"


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    parent = start_script(tmp_path, HANG)
    workers = hanging_workers(tmp_path)
    parent.kill()
    parent.communicate()
    assert within(5, lambda: all(map(gone, workers)))


def test_ctrl_c_ends_stubborn_workers_in_time_and_in_silence(tmp_path: Path) -> None:
    body = f"try:\n    {HANG}\nexcept KeyboardInterrupt:\n    print('interrupted')"
    parent = start_script(tmp_path, body)
    workers = hanging_workers(tmp_path)
    os.killpg(parent.pid, signal.SIGINT)
    out, err = parent.communicate(timeout=5)
    assert (out, err, parent.returncode) == ("interrupted\n", "", 0)
    assert all(map(gone, workers))


# Another thread takes Ctrl-C, as one of a numeric library may, while the first worker is being born.
BORN = """
import multiprocessing.util, os, signal, threading, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
other = threading.Thread(target=time.sleep, args=(60,), daemon=True)
other.start()
spawn = multiprocessing.util.spawnv_passfds
def interrupted(*arguments):
    child = spawn(*arguments)
    if b"--multiprocessing-fork" in map(os.fsencode, arguments[1]):
        signal.pthread_kill(other.ident, {number})
        for _ in range(9):  # in which the handler runs
            time.sleep(0.01)
    return child
multiprocessing.util.spawnv_passfds = interrupted
try:
    print([o.result for o in supervise(tasks.square, [2, 3], jobs=1)])
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_the_birth_of_a_worker_leaves_no_trace(tmp_path: Path, number: int, code: int) -> None:
    script = start_script(tmp_path, BORN.replace("{number}", str(int(number))))
    assert (*script.communicate(timeout=20), script.returncode) == ("", "", code)


def test_signals_held_back_come_afterwards_and_handlers_are_restored() -> None:
    before, steps = signal.getsignal(signal.SIGINT), []
    try:
        with supervisor.undisturbed():
            signal.raise_signal(signal.SIGINT)
            steps.append("to the end")
    except KeyboardInterrupt:
        steps.append("and then interrupted")
    assert steps == ["to the end", "and then interrupted"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = start_script(tmp_path, "print([o.result for o in supervise(tasks.square, [2, 3], jobs=1)])")
    assert script.communicate(timeout=20) == ("[4, 9]\n", "")


def test_a_function_of_the_script_works_with_the_guard(tmp_path: Path) -> None:
    body = (
        "def cube(number): return number**3\n"
        "if __name__ == '__main__': print([o.result for o in supervise(cube, [2, 3], jobs=1)])"
    )
    assert start_script(tmp_path, body).communicate(timeout=20) == ("[8, 27]\n", "")


def test_allowed_cpus_follows_affinity_quota_and_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    quotas: list[int] = []
    monkeypatch.setattr(cpus, "_cgroup_cpus", lambda: quotas)
    assert allowed_cpus() == 8
    quotas += [7, 12]
    assert allowed_cpus() == 7
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "6")
    assert allowed_cpus() == 6
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert allowed_cpus() == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "64")
    assert allowed_cpus() == 7


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, [2]),
        ("0::/", {"cpu.max": "1000 100000"}, [1]),
        ("0::/", {"cpu.max": "max 100000"}, []),
        ("0::/job/step", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "max 100000"}, [4]),
        (
            "2:memory:/job\n4:cpu,cpuacct:/job",
            {"cpu/job/cpu.cfs_quota_us": "250000", "cpu/job/cpu.cfs_period_us": "100000"},
            [3],
        ),
        ("4:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
        ("0::/outside/the/container", {"cpu.max": "200000 100000"}, [2]),
        ("", {}, []),
    ],
)
def test_cgroup_quotas(tmp_path: Path, own: str, files: dict[str, str], expected: list[int]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "own").write_text(own)
    assert cpus._cgroup_cpus(tmp_path / "own", tmp_path) == expected
