"""A real Dask scheduler and real workers, as processes of their own, of which some are lost.

`make test-dask` runs it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from small_challenge import EVERY, TEAMS, write_challenge

pytestmark = [
    pytest.mark.dask,
    pytest.mark.skipif(
        find_spec("distributed") is None, reason="Dask is not installed: pip install 'bratseval[dask]'"
    ),
]

# In the processes that score: a line for every case that was scored, and what a test wants to go wrong.
HOOK = """
import os, signal, sys, time
if os.environ.get("WITHOUT_BRATSEVAL"):
    sys.modules["bratseval"] = None
elif os.environ.get("SCORED") and "--multiprocessing-fork" in sys.orig_argv:
    import bratseval.scoring as scoring
    original = scoring.score_case
    def score_case(rules, case):
        time.sleep(float(os.environ.get("SLOW", "0")))
        if os.environ.get("POISON") == f"{case.team} {case.case}":
            with open(f"/proc/{os.getppid()}/stat") as file:
                dask_worker = int(file.read().rpartition(")")[2].split()[1])
            os.kill(dask_worker, signal.SIGKILL)
            time.sleep(60)
        result = original(rules, case)
        log = os.open(os.environ["SCORED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{case.team} {case.case}\\n".encode())
        os.close(log)
        return result
    score_case.__module__, score_case.__qualname__ = "bratseval.scoring", "score_case"
    scoring.score_case = score_case
"""


def within(seconds: float, condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def descendants(pid: int) -> set[int]:
    """All processes below one, by the parents that they have now."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def scores(pid: int) -> bool:
    """Whether a process is one that scores cases."""
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Cluster:
    """A Dask scheduler and its workers, as processes with logs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes, self.workers = folder, [], []
        folder.mkdir()
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        self.scored = folder / "scored.log"

    def environment(self, given: Mapping[str, object], root: Path = ROOT) -> dict[str, str]:
        path = f"{self.folder / 'hook'}{os.pathsep}{root}"
        further = {key: str(value) for key, value in given.items()}
        return {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1", **further}

    def _start(self, name: str, environment: dict[str, str], *words: object) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *map(str, words)],
                cwd=self.folder,  # not where the command stands
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def scheduler(self, **environment: object) -> subprocess.Popen[bytes]:
        """Start a scheduler on a free port; `address` says where."""
        file = self.folder / f"scheduler-{len(self.processes)}.json"
        words = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
        name, module = f"scheduler-{len(self.processes)}", "distributed.cli.dask_scheduler"
        process = self._start(name, self.environment(environment), module, *words)
        assert within(60, lambda: file.exists() and file.read_text().endswith("}")), self.logs()
        self.address = json.loads(file.read_text())["address"]
        return process

    def worker(self, *options: str, root: Path = ROOT, **environment: object) -> subprocess.Popen[bytes]:
        """Start a worker of one thread, and wait until it has registered."""
        name = f"worker-{len(self.processes)}"
        given = self.environment({"SCORED": self.scored, **environment}, root)
        words = ("--nthreads", 1, "--no-dashboard", "--local-directory", self.folder / name, *options)
        process = self._start(name, given, "distributed.cli.dask_worker", self.address, *words)
        log = self.folder / f"{name}.log"
        assert within(60, lambda: b"Registered to" in log.read_bytes()), self.logs()
        self.workers.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def computed(self) -> list[str]:
        """Cases that were scored since the last call, sorted."""
        lines = self.scored.read_text().splitlines() if self.scored.exists() else []
        self.scored.unlink(missing_ok=True)
        return sorted(lines)

    def has_scored(self, count: int) -> bool:
        return self.scored.exists() and len(self.scored.read_text().splitlines()) >= count

    def close(self) -> None:
        for process in reversed(self.processes):  # the scheduler last
            for pid in [process.pid, *descendants(process.pid)]:
                with_signal(pid, signal.SIGKILL)
            process.wait(10)


def with_signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster")
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a small challenge; one of its files is a link to nowhere, which no machine can read."""
    write_challenge(tmp_path)
    broken = tmp_path / "subs" / TEAMS[2] / "X-00006-000.nii.gz"
    broken.unlink()
    broken.symlink_to("nowhere")
    return tmp_path


SMALL = ("run", "small.yaml", "-s", "subs", "-r", "refs", "-o")


def start(words: Sequence[object], folder: Path, *fds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bratseval", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=fds,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    errors = process.communicate(timeout=200)[1]
    print(errors)
    return process.returncode, errors


def contents(folder: Path) -> dict[str, bytes]:
    """Every final file, run.json without the time that the run took."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    lines = files["run.json"].splitlines()
    return files | {"run.json": b"\n".join(line for line in lines if b'"wall_seconds"' not in line)}


def kept(output: Path) -> int:
    """Cases in a journal that has not been torn."""
    return len((output / "state" / "journal.jsonl").read_text().splitlines()) - 1


def test_a_worker_killed_mid_run_costs_no_byte_and_nothing_is_recomputed(
    cluster: Cluster, tmp_path: Path
) -> None:
    words = ("run", "brats2024-gli", "-s", "sample_data/brats-gli/submissions")
    words += ("-r", "sample_data/brats-gli/references", "-o")
    assert ended(start((*words, tmp_path / "local"), ROOT))[0] == 0
    cluster.scheduler()
    victim, other = cluster.worker("--no-nanny", SLOW=0.3), cluster.worker("--no-nanny", SLOW=0.3)
    running = start((*words, tmp_path / "dask", "--scheduler", cluster.address, "--shards", 4), ROOT)
    assert within(100, lambda: cluster.has_scored(3) and any(map(scores, descendants(victim.pid))))
    orphans = descendants(victim.pid)
    victim.kill()
    assert within(5, lambda: all(map(is_gone, orphans)))  # nobody scores on for a worker that is dead
    code, errors = ended(running)
    print(f"killed worker {victim.pid} with its processes {sorted(orphans)}")
    assert (code, other.poll()) == (0, None), cluster.logs()
    assert "complete: 3 teams, 6 cases" in errors
    assert contents(tmp_path / "dask") == contents(tmp_path / "local")
    tries = Counter(cluster.computed())
    assert len(tries) == 18
    assert set(tries.values()) <= {1, 2}  # what the killed worker had done of its shard

    code, errors = ended(start((*words, tmp_path / "dask", "--scheduler", cluster.address), ROOT))
    assert (code, cluster.computed()) == (0, [])
    assert "18 cases kept from an earlier run" in errors
    assert contents(tmp_path / "dask") == contents(tmp_path / "local")


def test_one_team_is_scored_and_checked_as_on_this_machine(cluster: Cluster, small: Path) -> None:
    cluster.scheduler()
    cluster.worker("--no-nanny")
    there = ("--scheduler", cluster.address)
    words = ("evaluate", "small.yaml", "-p", "subs/three", "-r", "refs", "-o")
    assert ended(start((*words, "local"), small))[0] == ended(start((*words, "out", *there), small))[0] == 1
    assert contents(small / "out") == contents(small / "local")
    assert set(cluster.computed()) == {case for case in EVERY if case.startswith("three")}
    words = ("validate", "small.yaml", "-p", "subs/three", "-r", "refs")
    assert ended(start((*words, *there), small)) == (1, ended(start(words, small))[1])


def test_a_lost_scheduler_stops_the_run_and_the_same_command_goes_on(cluster: Cluster, small: Path) -> None:
    assert ended(start((*SMALL, "local"), small))[0] == 1  # the link to nowhere
    scheduler = cluster.scheduler()
    cluster.worker("--no-nanny", SLOW=0.5)
    running = start((*SMALL, "out", "--scheduler", cluster.address, "--shards", 9), small)
    assert within(
        100, lambda: (small / "out" / "state" / "journal.jsonl").exists() and kept(small / "out") >= 2
    )
    scheduler.kill()
    code, errors = ended(running)
    assert code == 4
    assert f"error[RUN016] the Dask scheduler {cluster.address} was lost" in errors
    done = kept(small / "out")
    assert f"after {done} of 18 cases, which are kept" in errors
    assert not (small / "out" / "scores.csv").exists()
    assert within(60, lambda: cluster.workers[0].poll() is not None)  # Dask's own: it has no scheduler
    cluster.computed()

    cluster.scheduler()
    cluster.worker("--no-nanny")
    code, errors = ended(start((*SMALL, "out", "--scheduler", cluster.address), small))
    assert code == 1
    assert len(cluster.computed()) == 18 - done
    assert contents(small / "out") == contents(small / "local")


def test_a_case_that_kills_dask_workers_costs_itself_only(cluster: Cluster, small: Path) -> None:
    cluster.scheduler(DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0)
    cluster.worker("--nanny", POISON="two 00003-000")
    words = (*SMALL, "out", "--scheduler", cluster.address, "--shards", 3)
    code, errors = ended(start(words, small))
    assert code == 4, cluster.logs()
    assert "team two, case 00003-000: case 00003-000 could not be finished: its worker process died" in errors
    assert errors.count("could not be finished") == 1
    assert "its Dask worker died each time, tries: 1, the last at tcp://127.0.0.1:" in errors
    assert set(cluster.computed()) == {*EVERY} - {"two 00003-000"}

    cluster.workers[0].terminate()  # with its nanny
    cluster.worker("--no-nanny")
    assert ended(start(words, small))[0] == 1
    assert cluster.computed() == ["two 00003-000"]
    assert ended(start((*SMALL, "local"), small))[0] == 1
    assert contents(small / "out") == contents(small / "local")


def test_a_scheduler_that_cannot_be_used_is_named(cluster: Cluster, small: Path) -> None:
    for address, why in (
        ("tcp://127.0.0.1:1", "Timed out trying to connect"),
        ("127.0.0.1", "missing port number"),
        ("slurm://127.0.0.1:1", "unknown address scheme"),
    ):
        code, errors = ended(start((*SMALL, "out", "--scheduler", address), small))
        assert code == 2
        assert f"error[RUN013] no Dask scheduler answers at {address}" in errors
        assert why in errors
        assert "Traceback" not in errors
    cluster.scheduler()
    soon = "from bratseval import cli, dask_engine; dask_engine.WITHOUT_WORKERS_S = 1; cli.main()"
    words = [sys.executable, "-c", soon, *SMALL, "out", "--scheduler", cluster.address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=small, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 4
    assert f"error[RUN016] the Dask scheduler {cluster.address} has had no worker for 1 s" in done.stderr


def test_an_interrupted_command_withdraws_its_tasks(cluster: Cluster, small: Path) -> None:
    cluster.scheduler()
    worker = cluster.worker("--no-nanny", SLOW=1)
    running = start((*SMALL, "out", "--scheduler", cluster.address, "--shards", 2), small)
    assert within(100, lambda: cluster.has_scored(1))
    assert any(map(scores, descendants(worker.pid)))
    running.send_signal(signal.SIGINT)
    code, errors = ended(running)
    assert code == 130
    assert "interrupted after 0 of 18 cases" in errors  # whole shards come back
    assert within(10, lambda: not any(map(scores, descendants(worker.pid))))
    assert worker.poll() is None


def test_workers_that_cannot_give_the_same_bytes_are_refused(cluster: Cluster, small: Path) -> None:
    def refused(*words: object, fds: Sequence[int] = ()) -> str:
        code, errors = ended(start((*words, "--scheduler", cluster.address), small, *fds))
        assert code == 2, cluster.logs()
        assert cluster.computed() == []
        return errors

    cluster.scheduler()
    worker = cluster.worker("--no-nanny")
    folder = os.open(small, os.O_RDONLY)
    high = fcntl.fcntl(folder, fcntl.F_DUPFD, 500)
    hidden = f"/proc/self/fd/{high}/subs"  # which no other process sees
    errors = refused("run", "small.yaml", "-s", hidden, "-r", "refs", "-o", "out", fds=[high])
    os.close(folder)
    os.close(high)
    assert "error[RUN015] the Dask worker on" in errors
    assert f"cannot read {hidden}/" in errors
    worker.kill()

    other = small / "other"
    shutil.copytree(ROOT / "bratseval", other / "bratseval", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "bratseval" / "scoring.py").open("a") as file:
        file.write("# another version\n")
    worker = cluster.worker("--no-nanny", root=other)
    errors = refused(*SMALL, "out")
    assert "error[RUN014] the Dask worker on" in errors
    assert errors.count("(code ") == 2
    worker.kill()

    cluster.worker("--no-nanny", WITHOUT_BRATSEVAL=1)
    errors = refused(*SMALL, "out")
    assert "error[RUN014] a Dask worker cannot run bratseval" in errors
    assert "pip install 'bratseval[dask]'" in errors
