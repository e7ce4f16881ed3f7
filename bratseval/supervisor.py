"""Worker processes that may die: one item's death costs that item, never the run.

Stock pools lose or hang all queued work after one out-of-memory kill. Here every worker has a pipe
of its own and one item at a time; a worker that dies is replaced, its item is tried once more, alone
and without a memory limit, and then given up. Generic: nothing here knows what an item is.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")
R = TypeVar("R")
Status = Literal["ok", "crashed", "timeout", "fault"]

START_UP_S = 300.0  # on top of an item's own time: a cold network disk may hold back a worker's imports
GRACE_S = 2.0  # between the request to end and the kill
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What became of one item.

    status: ok; crashed (the worker died twice, or ran out of memory twice); timeout; fault (the
    function raised, or something could not be pickled: detail is the traceback). died: how the first worker
    that had it died, where one did.
    """

    index: int
    result: R | None
    status: Status
    detail: str
    seconds: float
    died: str = ""


def supervise(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    jobs: int,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
    recycle_after: int = 500,
    kind: Callable[[T], Hashable] = lambda item: None,
) -> Iterator[Outcome[R]]:
    """Run a picklable function over items in ``jobs`` worker processes; yield outcomes as they come.

    Items start in the given order, except that a worker which has done one goes on with those of the same
    ``kind``, and others begin another kind while there is one: so what a worker keeps of an item serves the
    next one, and is made by as few workers as can be. ``timeout_s`` limits one item, ``memory_bytes`` the
    data segment of one worker; exceeding either costs that item only. Closing the iterator ends all workers.
    Items should be small (paths, not images): sending a large one holds up the others.
    """
    if jobs < 1:
        raise ValueError(f"jobs is {jobs}, expected 1 or more")
    crew: _Crew[T, R] = _Crew(pickle.dumps(function), items, timeout_s, memory_bytes, recycle_after)
    try:
        queue: dict[Hashable, deque[int]] = {}
        for index, item in enumerate(items):
            queue.setdefault(kind(item), deque()).append(index)
        yield from crew.work(queue, jobs)
        # Alone on the machine and without the memory limit: a second death is the item's own.
        crew.memory_bytes, crew.last_try = None, True
        for index in crew.again:
            crew.stop()
            yield from crew.work({None: deque([index])}, 1)
    finally:
        crew.stop()


@dataclass(eq=False, slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    index: int | None = None  # of the item it works on
    kind: Hashable = None  # of the last item
    since: float = 0.0
    deadline: float = inf
    started: bool = False  # the function is imported
    done: int = 0


@dataclass(slots=True)
class _Crew(Generic[T, R]):
    function: bytes
    items: Sequence[T]
    timeout_s: float | None
    memory_bytes: int | None
    recycle_after: int
    last_try: bool = False
    with_main: bool = False
    again: dict[int, str] = field(default_factory=dict)  # items whose worker died, and how
    workers: list[_Worker] = field(default_factory=list)
    finished: deque[Outcome[R]] = field(default_factory=deque)

    def work(self, queue: dict[Hashable, deque[int]], jobs: int) -> Iterator[Outcome[R]]:
        while True:
            # Hand out before yielding, so that no worker waits for the caller.
            while queue and (len(self.workers) < jobs or self._idle()):
                self._send(*self._next(queue))
            while self.finished:
                yield self.finished.popleft()
            busy = [worker for worker in self.workers if worker.index is not None]
            if not busy:
                return
            soonest = min(worker.deadline for worker in busy)
            patience = None if soonest == inf else max(0.0, soonest - time.monotonic())
            wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], patience)
            for worker in busy:
                self._look_after(worker, time.monotonic() - worker.since)

    def _look_after(self, worker: _Worker, seconds: float) -> None:
        """Take the worker's message; else notice that it died; else that its time is up."""
        alive = worker.process.is_alive()  # before poll: what a dead worker said is then all there
        message = None
        try:
            message = worker.pipe.recv_bytes() if worker.pipe.poll() else None
        except (EOFError, OSError):
            alive = False
        if message is not None:
            self._hear(worker, message)
        elif not alive:
            worker.process.join(GRACE_S)  # its pipe closes a moment before its exit code is known
            self._lost(worker, _cause_of_death(worker), seconds)
        elif time.monotonic() >= worker.deadline:
            limit = f"{self.timeout_s:g} s" if worker.started else f"{seconds:.0f} s while its worker started"
            self._report(worker, None, "timeout", f"exceeded {limit}", seconds)
            self._end(worker)

    def _hear(self, worker: _Worker, message: bytes) -> None:
        try:
            kind, body, seconds = pickle.loads(message)
        except Exception:  # a stranger's pickle may fail in any way
            kind, body, seconds = "fault", traceback.format_exc(), time.monotonic() - worker.since
        if kind == "started":
            worker.started = True
            self._set_clock(worker)
        elif kind == "memory":
            self._lost(worker, "needed more than the machine's memory", seconds)
        else:
            result, detail = (body, "") if kind == "ok" else (None, body)
            self._report(worker, result, kind, detail, seconds)
            if worker.done >= self.recycle_after:
                self._end(worker)

    def _report(self, worker: _Worker, result: R | None, status: Status, detail: str, seconds: float) -> None:
        assert worker.index is not None
        died = self.again.get(worker.index, "")
        self.finished.append(Outcome(worker.index, result, status, detail, seconds, died))
        worker.index = None
        worker.done += 1

    def _lost(self, worker: _Worker, how: str, seconds: float) -> None:
        assert worker.index is not None
        if self.last_try:
            self._report(worker, None, "crashed", how, seconds)
        else:
            self.again[worker.index] = how
        self._end(worker)

    def _next(self, queue: dict[Hashable, deque[int]]) -> tuple[int, Hashable]:
        """Take the item that the worker which is to have it is best at, and its kind, off the queue."""
        worker = self._idle()
        taken = {other.kind for other in self.workers if other is not worker}
        own = worker.kind if worker and worker.kind in queue else None
        kind = own if own is not None else next((k for k in queue if k not in taken), next(iter(queue)))
        index = queue[kind].popleft()
        if not queue[kind]:
            del queue[kind]
        return index, kind

    def _idle(self) -> _Worker | None:
        return next((worker for worker in self.workers if worker.index is None), None)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.memory_bytes), daemon=True)
        with theirs, undisturbed(), _launching(self.with_main):
            process.start()
            worker = _Worker(process, ours)
            self.workers.append(worker)
        # By pipe, not as an argument: start() hangs when a child dies before it has read a large one.
        with contextlib.suppress(OSError):
            ours.send_bytes(self.function)
        return worker

    def _send(self, index: int, kind: Hashable) -> None:
        """Give an item to an idle worker, or to a new one even while it starts."""
        try:
            item = pickle.dumps(self.items[index])
        except Exception:
            self.finished.append(Outcome(index, None, "fault", traceback.format_exc(), 0.0))
            return
        self.with_main = self.with_main or b"__main__" in self.function or b"__main__" in item
        worker = self._idle() or self._start()
        worker.index, worker.kind = index, kind
        self._set_clock(worker)
        with contextlib.suppress(OSError):  # a worker that is dead is noticed at the next wait
            worker.pipe.send_bytes(item)

    def _set_clock(self, worker: _Worker) -> None:
        worker.since = time.monotonic()
        if self.timeout_s is not None:
            worker.deadline = worker.since + self.timeout_s + (0.0 if worker.started else START_UP_S)

    def _end(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.join(GRACE_S)
        worker.pipe.close()
        self.workers.remove(worker)

    def stop(self) -> None:
        """End all workers, within some seconds whatever they do."""
        for worker in self.workers:
            worker.process.terminate()
        deadline = time.monotonic() + GRACE_S
        try:
            for worker in self.workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in list(self.workers):
                self._end(worker)


def _cause_of_death(worker: _Worker) -> str:
    code = worker.process.exitcode
    early = "" if worker.started else " while its worker started"
    if code is None or code >= 0:
        return f"ended with exit code {code}{early}"
    return f"killed by signal {-code}{' (out of memory?)' if -code == signal.SIGKILL else ''}{early}"


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the end of what must happen as a whole.

    Their exceptions could leave a worker born that never hears its task, or a result kept and not counted.
    """
    with _held_back(signal.SIGINT), _held_back(signal.SIGTERM):
        yield


@contextlib.contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """Note a signal and let it act at the end.

    A mask would not do: the main thread runs the handler of a signal that any other thread takes.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) is None:
        yield  # no exception comes here
        return
    came: list[int] = []
    handler = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(number, handler)
        if came:
            signal.raise_signal(number)


@contextlib.contextmanager
def _launching(with_main: bool) -> Iterator[None]:
    """What a worker is born with: one thread in each numeric library, no Ctrl-C, no script of ours.

    Without the parent's main module a worker starts sooner, and the caller's script needs no
    ``if __name__ == "__main__"``; functions that are defined in that script do need both.
    """
    resource_tracker.ensure_running()  # here, as its start would unblock SIGINT further down
    main = sys.modules["__main__"]
    before = {name: os.environ[name] for name in ONE_THREAD if name in os.environ}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
        if not with_main:
            sys.modules["__main__"] = ModuleType("__main__")
        yield
    finally:
        sys.modules["__main__"] = main
        for name in ONE_THREAD:
            del os.environ[name]
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(pipe: Connection, memory_bytes: int | None) -> None:
    """Body of a worker: import the function, then answer items until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _end_with_parent()
    # Where memory ends, the kernel shall choose a worker and not the parent.
    with contextlib.suppress(OSError, ValueError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(1000, int(score.read_text()) + 200)))
    with contextlib.suppress(EOFError, OSError):
        load = functools.cache(functools.partial(pickle.loads, pipe.recv_bytes()))
        with contextlib.suppress(Exception):  # comes again as the fault of each item
            load()
        if memory_bytes is not None:
            with contextlib.suppress(ValueError):  # a lower limit holds already
                hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
                resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
        pipe.send_bytes(pickle.dumps(("started", None, 0.0)))
        while True:
            pipe.send_bytes(_answer(load, pipe.recv_bytes()))


def _answer(load: Callable[[], Callable[[Any], Any]], item: bytes) -> bytes:
    start = time.perf_counter()
    try:
        result = load()(pickle.loads(item))
        return pickle.dumps(("ok", result, time.perf_counter() - start), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:
        seconds = time.perf_counter() - start
        if _lacks_memory(error):
            return pickle.dumps(("memory", None, seconds))
        return pickle.dumps(("fault", traceback.format_exc(), seconds))


def _lacks_memory(error: BaseException | None) -> bool:
    """Whether memory ran out here or in a cause of this error."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        error = error.__cause__ or error.__context__
    return False


def _end_with_parent() -> None:
    """End this worker when the parent dies, even by SIGKILL and in the middle of an item."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, Linux
    except (ImportError, OSError, AttributeError):
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    if os.getppid() != parent.pid:
        os._exit(1)
