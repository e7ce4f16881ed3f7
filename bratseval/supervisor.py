"""Worker processes that may die: one item's death costs that item, never the run.

Stock pools lose or hang all queued work after one out-of-memory kill. Here every worker has a pipe
of its own and one item at a time; a worker that dies is replaced, its item is tried once more, alone
and without a memory limit, and then given up. Generic: nothing here knows what an item is.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
START_UP_S = 60.0  # a worker that has not imported its libraries by then counts as hanging
GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What became of one item.

    status: ok; crashed (the worker died twice, or ran out of memory twice); timeout; fault (the
    function raised: detail is the traceback).
    """

    index: int
    result: R | None
    status: Literal["ok", "crashed", "timeout", "fault"]
    detail: str
    seconds: float


@dataclass(eq=False, slots=True)
class _Worker:
    process: Any
    pipe: Connection
    item: int | None = None
    sent: float = 0.0
    deadline: float = float("inf")
    done: int = 0
    ready: bool = False


def allowed_cpus() -> int:
    """CPUs this process may use: affinity, cgroup quota and Slurm's allocation, whichever is least."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    quota = _cgroup_cpus()
    if quota is not None:
        limits.append(quota)
    slurm = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    if slurm.isdigit():
        limits.append(int(slurm))
    return max(1, min(limits))


def _cgroup_cpus(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Whole CPUs of the cgroup's quota, rounded up; None without a quota."""
    with contextlib.suppress(OSError, ValueError):
        granted, period_text = (root / "cpu.max").read_text().split()
        return None if granted == "max" else -(-int(granted) // int(period_text))
    with contextlib.suppress(OSError, ValueError):
        quota = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period = int((root / "cpu/cpu.cfs_period_us").read_text())
        return None if quota <= 0 else -(-quota // period)
    return None


def supervise(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    jobs: int,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
    recycle_after: int = 500,
) -> Iterator[Outcome[R]]:
    """Run a picklable function over items in ``jobs`` worker processes; yield outcomes as they come.

    Items start in the given order. ``timeout_s`` limits one item, ``memory_bytes`` the data segment
    of one worker; exceeding either costs that item only.
    """
    crew = _Crew(function, items, timeout_s, memory_bytes)
    try:
        yield from crew.work(min(jobs, len(items)), recycle_after)
    finally:
        crew.stop()


@dataclass(slots=True)
class _Crew(Generic[T, R]):
    function: Callable[[T], R]
    items: Sequence[T]
    timeout_s: float | None
    memory_bytes: int | None
    workers: list[_Worker] = field(default_factory=list)
    again: dict[int, str] = field(default_factory=dict)  # items whose worker died, and how

    def work(self, jobs: int, recycle_after: int) -> Iterator[Outcome[R]]:
        queue = deque(range(len(self.items)))
        for _ in range(jobs):
            self._start(self.memory_bytes)
        while queue or any(worker.item is not None for worker in self.workers):
            for worker in list(self.workers):
                if worker.item is None and queue:
                    if worker.done >= recycle_after or not worker.process.is_alive():
                        self._end(worker)
                        worker = self._start(self.memory_bytes)
                    self._send(worker, queue.popleft())
            yield from self._collect()
            while len(self.workers) < min(jobs, len(queue)):
                self._start(self.memory_bytes)
        for index in sorted(self.again):
            # Alone on the machine and without the memory limit: a second death is the item's own.
            self.stop()
            self._send(self._start(None), index)
            while self.workers and self.workers[0].item is not None:
                yield from self._collect(last_try=True)

    def _collect(self, last_try: bool = False) -> Iterator[Outcome[R]]:
        """Wait for the next message, death or deadline, and turn it into outcomes."""
        busy = [worker for worker in self.workers if worker.item is not None]
        if not busy:
            return
        soonest = min(worker.deadline for worker in busy)
        patience = None if soonest == float("inf") else max(0.0, soonest - time.monotonic())
        ready = wait([worker.pipe for worker in busy], patience)
        for worker in busy:
            index = worker.item
            assert index is not None
            seconds = time.monotonic() - worker.sent
            if worker.pipe in ready:
                try:
                    kind, body = pickle.loads(worker.pipe.recv_bytes())
                except (EOFError, OSError, pickle.UnpicklingError):
                    yield from self._died(worker, index, last_try, seconds)
                    continue
                if kind == "ready":
                    worker.ready = True
                    self._set_deadline(worker)
                    continue
                worker.item, worker.deadline = None, float("inf")
                worker.done += 1
                if kind == "memory":
                    limit = f"{(self.memory_bytes or 0) / 1e9:.1f} GB" if not last_try else "the machine's"
                    yield from self._retry(index, f"needed more than {limit} memory", last_try, seconds)
                    if not last_try:
                        self._end(worker)
                elif kind == "ok":
                    yield Outcome(index, body, "ok", "", seconds)
                else:
                    yield Outcome(index, None, "fault", body, seconds)
            elif time.monotonic() >= worker.deadline:
                self._end(worker)
                yield Outcome(index, None, "timeout", f"exceeded {self.timeout_s:g} s", seconds)

    def _died(self, worker: _Worker, index: int, last_try: bool, seconds: float) -> Iterator[Outcome[R]]:
        worker.process.join(GRACE_S)
        code = worker.process.exitcode
        self._end(worker)
        if code is not None and code < 0:
            memory = " (out of memory?)" if code == -signal.SIGKILL else ""
            how = f"killed by signal {-code}{memory}"
        else:
            how = f"ended with exit code {code}"
        yield from self._retry(index, how, last_try, seconds)

    def _retry(self, index: int, how: str, last_try: bool, seconds: float) -> Iterator[Outcome[R]]:
        if last_try:
            yield Outcome(index, None, "crashed", how, seconds)
        else:
            self.again[index] = how

    def _start(self, memory_bytes: int | None) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self.function, memory_bytes, os.getpid()), daemon=True
        )
        with _one_thread_each():
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self.workers.append(worker)
        return worker

    def _send(self, worker: _Worker, index: int) -> None:
        worker.item = index
        self._set_deadline(worker)
        # A worker that is already dead is noticed at the next wait.
        with contextlib.suppress(OSError):
            worker.pipe.send(self.items[index])

    def _set_deadline(self, worker: _Worker) -> None:
        """The clock of an item starts when its worker is ready for it."""
        worker.sent = time.monotonic()
        if self.timeout_s is not None:
            worker.deadline = worker.sent + (self.timeout_s if worker.ready else START_UP_S)

    def _end(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.terminate()
        worker.process.join(GRACE_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        self.workers.remove(worker)

    def stop(self) -> None:
        """End all workers at once."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in list(self.workers):
            self._end(worker)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Children started here find one thread in every numeric library's environment variable."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _serve(pipe: Connection, function: Callable[[Any], Any], memory_bytes: int | None, parent: int) -> None:
    """Body of a worker: answer items until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    _die_with_parent(parent)
    if memory_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    with contextlib.suppress(OSError):
        pipe.send_bytes(pickle.dumps(("ready", None)))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            message = pickle.dumps(("ok", function(item)), pickle.HIGHEST_PROTOCOL)
        except MemoryError:
            message = pickle.dumps(("memory", ""))
        except Exception:
            message = pickle.dumps(("fault", traceback.format_exc()))
        try:
            pipe.send_bytes(message)
        except OSError:
            return


def _die_with_parent(parent: int) -> None:
    """Ask Linux to end this worker when the parent dies, even by SIGKILL."""
    with contextlib.suppress(Exception):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)
