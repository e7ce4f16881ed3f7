"""The shards of a run as tasks on a Dask scheduler that is running already (extra ``dask``).

An engine beside `supervisor.supervise`: the same outcomes, from other machines. Cases travel as paths and
come back as rows, so the machines share a file system and nothing else. A task is one shard; a worker that is
lost costs its shard another try elsewhere, and a shard that fails for good is tried case by case, each alone.
"""

from __future__ import annotations

import logging
import pickle
import queue
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Generic, TypeVar

from bratseval import __version__
from bratseval.errors import Problem, StoppedError, UsageError
from bratseval.shard_process import Program, Request, is_seen, this_program
from bratseval.supervisor import Outcome, Status, undisturbed

T = TypeVar("T")
R = TypeVar("R")

CONNECT_S = 10.0
WITHOUT_WORKERS_S = 600.0  # as long as a queue may take to start the first or the next one
POLL_S = 5.0
RETRIES = 2  # of a task whose worker cannot start a process; for workers that die the scheduler has a number
MOST_SHARDS = 1000
SHARDS_A_THREAD = 4  # so that the last shards keep all threads busy
FEWEST_ITEMS = 4
MOST_ITEMS = 20  # of a shard: what a lost worker costs at most
UNKNOWN_THREADS = 8  # where a scheduler starts its workers only when there are tasks
# As text: a worker dies of a function that it cannot import, or whose code is another Python's.
TASK = "__import__('importlib').import_module('bratseval.shard_process').run_shard(request)"
SAME_EVERYWHERE = (
    f"install bratseval {__version__} with `pip install 'bratseval[dask]'` here and on every worker"
)


def distribute(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    scheduler: str,
    shard_of: Callable[[T, int], int],
    files_of: Callable[[T], Iterable[str]],
    shards: int = 0,
    timeout_s: float | None = None,
    memory_bytes: int | None = None,
) -> Iterator[Outcome[R]]:
    """Run a picklable function over items on a Dask cluster; yield outcomes as their shards come back.

    shard_of gives the shard of an item among a number of them, from 0; without ``shards`` their number
    follows from the items and the threads of the cluster. files_of names what a worker must be able to read.
    Limits hold as in `supervise`. Closing the iterator cancels all tasks. Raises UsageError where Dask is
    not installed (RUN012), the scheduler does not answer (RUN013), a worker runs another program (RUN014)
    or does not see a file that is here (RUN015); StoppedError where the scheduler or all workers are lost
    (RUN016).
    """
    if not items:
        return
    with _connected(scheduler) as (client, threads):
        count = shards or shard_count(len(items), threads)
        batches: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            batches.setdefault(shard_of(item, count), []).append(index)
        limits = (timeout_s, memory_bytes)
        run: _Run[T, R] = _Run(client, scheduler, pickle.dumps(function), items, files_of, limits)
        for _, batch in sorted(batches.items()):
            run.submit(batch)
        yield from run.outcomes()
        # One at a time, so that a case that brings down its machine takes no other one with it.
        run.last_try = True
        for index in sorted(run.again):
            run.submit([index])
            yield from run.outcomes()


def shard_count(items: int, threads: int) -> int:
    """Shards for a number of items on a cluster with a number of threads, 0 where that is not known yet.

    A shard starts two processes, which is worth it for some items, or where a thread would have none.
    """
    threads = threads or UNKNOWN_THREADS
    worthwhile = min(SHARDS_A_THREAD * threads, ceil(items / FEWEST_ITEMS))
    return min(MOST_SHARDS, items, max(ceil(items / MOST_ITEMS), worthwhile, threads))


@contextmanager
def _connected(scheduler: str) -> Iterator[tuple[Any, int]]:
    """A client of the scheduler, and the threads of its workers; leaving cancels what was submitted."""
    try:
        with undisturbed():  # the exception of a signal may leave an import as another one
            from distributed import Client
            from distributed.comm import resolve_address
    except ImportError as error:
        message = f"--scheduler needs Dask, which is not installed ({error})"
        raise UsageError(Problem("error", "RUN012", message, SAME_EVERYWHERE)) from None
    for name in ("distributed", "distributed.client"):  # what it logs of losses is told here as sentences
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        resolve_address(scheduler)  # a client with an impossible address would not close
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False, name="bratseval")
        threads = sum(client.nthreads().values())
    except (OSError, ValueError, TypeError) as error:
        message = f"no Dask scheduler answers at {scheduler} ({type(error).__name__}: {_last_line(error)})"
        hint = "check --scheduler, for example tcp://host:8786, and that it runs; finished cases are kept"
        raise UsageError(Problem("error", "RUN013", message, hint)) from None
    try:
        yield client, threads
    finally:
        with undisturbed(), suppress(Exception):  # whatever ended the run is what counts
            client.close(timeout=CONNECT_S)


@dataclass(slots=True)
class _Run(Generic[T, R]):
    client: Any
    scheduler: str
    function: bytes
    items: Sequence[T]
    files_of: Callable[[T], Iterable[str]]
    limits: tuple[float | None, int | None]
    last_try: bool = False
    again: list[int] = field(default_factory=list)  # items of shards that failed for good
    batches: dict[Any, list[int]] = field(default_factory=dict)  # under way, by future
    done: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def submit(self, batch: list[int], *, look: bool = True) -> None:
        """Send a shard off. look: its worker makes sure first that it sees the files."""
        files = dict.fromkeys(file for index in batch for file in self.files_of(self.items[index]))
        items = tuple(pickle.dumps(self.items[index]) for index in batch)
        request = Request(self.function, items, tuple(files) if look else (), *self.limits)
        given = {"request": request.as_bytes()}
        key = f"bratseval-{uuid.uuid4().hex}"  # the same shard of another command is another task
        try:
            future = self.client.submit(eval, TASK, given, key=key, retries=RETRIES)
        except Exception:  # of many kinds, by what was lost
            raise self._lost() from None
        self.batches[future] = batch
        future.add_done_callback(self.done.put)

    def outcomes(self) -> Iterator[Outcome[R]]:
        """What comes back until nothing is under way."""
        while self.batches:
            future = self._next()
            try:
                answer = future.result(timeout=POLL_S)
            except CancelledError:  # of its own accord: nobody else does that
                raise self._lost() from None
            except Exception as error:
                if isinstance(error, TimeoutError) and future.status != "error":
                    # Its worker has died since, and another one makes it again.
                    future.add_done_callback(self.done.put)
                else:
                    yield from self._failed(self.batches.pop(future), error)
            else:
                yield from self._answered(self.batches.pop(future), *answer)

    def _next(self) -> Any:
        """The next future that is done. Raises StoppedError where there is nobody left to do it."""
        alone_since = None
        while True:
            with suppress(queue.Empty):
                return self.done.get(timeout=POLL_S)
            try:
                workers = len(self.client.nthreads())
            except Exception:
                raise self._lost() from None
            now = time.monotonic()
            alone_since = None if workers else alone_since or now
            if alone_since and now - alone_since >= WITHOUT_WORKERS_S:
                message = (
                    f"the Dask scheduler {self.scheduler} has had no worker for {WITHOUT_WORKERS_S:.0f} s"
                )
                hint = "start workers; the same command goes on"
                raise StoppedError(Problem("error", "RUN016", message, hint))

    def _lost(self) -> StoppedError:
        message = f"the Dask scheduler {self.scheduler} was lost, or has dropped the tasks of this run"
        return StoppedError(Problem("error", "RUN016", message, "once it runs, the same command goes on"))

    def _answered(
        self, batch: list[int], host: str, code: int, messages: list[bytes]
    ) -> Iterator[Outcome[R]]:
        left = dict(enumerate(batch))
        for kind, body in map(pickle.loads, messages):
            if kind == "outcome":
                yield replace(body, index=left.pop(body.index))
            elif kind == "unseen":
                self._look_here(host, body)
                self.submit(batch, look=False)
                return
            elif kind == "stranger":
                raise _unfit(f"the Dask worker on {host} runs {_program(body)}")
            else:
                yield from self._given_up(list(left.values()), "fault", body)
                return
        how = f"its process on {host} ended with exit code {code}"
        yield from self._given_up(list(left.values()), "crashed", how)

    def _look_here(self, host: str, unseen: Sequence[str]) -> None:
        """A file that is not here either is a matter for scoring. Raises UsageError (RUN015)."""
        if seen := [file for file in unseen if is_seen(file)]:
            message = f"the Dask worker on {host} cannot read {seen[0]}"
            message += f" and {len(seen) - 1} more files of its shard" if seen[1:] else ""
            hint = "mount the same folders at the same paths on every worker, readable for its user"
            raise UsageError(Problem("error", "RUN015", message, hint, file=seen[0]))

    def _failed(self, batch: list[int], error: BaseException) -> Iterator[Outcome[R]]:
        from distributed import KilledWorker

        if isinstance(error, ImportError):
            raise _unfit(f"a Dask worker cannot run bratseval ({_last_line(error)})")
        how = f"{type(error).__name__}: {_last_line(error)}"
        if isinstance(error, KilledWorker):
            last = error.last_worker.address
            how = f"its Dask worker died each time, tries: {error.allowed_failures + 1}, the last at {last}"
        yield from self._given_up(batch, "crashed", how)

    def _given_up(self, batch: Sequence[int], status: Status, how: str) -> Iterator[Outcome[R]]:
        """Items to try again alone, or their end."""
        if not self.last_try:
            self.again += batch
            return
        for index in batch:
            yield Outcome(index, None, status, how, 0.0)


def _unfit(what: str) -> UsageError:
    message = f"{what}; here runs {_program(this_program())}"
    return UsageError(Problem("error", "RUN014", message, SAME_EVERYWHERE))


def _program(program: Program) -> str:
    version, code, python = program
    return f"bratseval {version} (code {code[:8]}) on Python {python}"


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[-1]
