"""One shard of a Dask run, in a process of its own on the machine of a Dask worker.

A Dask worker is a daemonic process, which may have no children of multiprocessing, and its tasks are
threads, which nothing can stop. So its task `run_shard` starts a plain process that supervises the cases as
a local run does, with their deadlines and memory limit, and that ends with the Dask worker however that ends.
Only built-in types travel before both sides know that they run the same program.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from bratseval import __version__
from bratseval.state import code_digest
from bratseval.supervisor import GRACE_S, supervise

POLL_S = 1.0  # between two looks at whether a task is still wanted
# With the import path of the Dask worker, and without the folder that it happens to stand in.
START = "import sys; sys.path[:] = sys.argv[1:]; from bratseval.shard_process import main; main()"

Program = tuple[str, str, str]
Message = tuple[str, Any]


def this_program() -> Program:
    """Version of bratseval, digest of its code, version of Python: what decides the bytes of a result."""
    return __version__, code_digest(), f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Request:
    """A shard as it travels. function and items are pickled; files are paths that its machine must see."""

    function: bytes
    items: tuple[bytes, ...]
    files: tuple[str, ...] = ()
    timeout_s: float | None = None
    memory_bytes: int | None = None

    def as_bytes(self) -> bytes:
        """With the program that must run it and the folder from which its relative paths start."""
        parts = (self.function, self.items, self.files, self.timeout_s, self.memory_bytes)
        return pickle.dumps((this_program(), os.getcwd(), parts))


def run_shard(request: bytes) -> tuple[str, int, list[bytes]]:
    """The task that a Dask worker runs: host, exit code of the shard's process, and its pickled messages.

    A message is ("outcome", Outcome) with the index of the item in the shard; or, in place of all outcomes,
    ("stranger", Program) where another program runs here, ("unseen", paths) where files are not to be seen,
    ("fault", trace). The process is killed as soon as the task is canceled.
    """
    canceled = _cancellation()
    ours, theirs = multiprocessing.Pipe()
    messages: list[bytes] = []
    with ours:
        with theirs:
            path = (folder or os.getcwd() for folder in sys.path)
            command = [sys.executable, "-P", "-c", START, *path]
            process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)
        try:
            with suppress(EOFError, OSError):  # it has ended
                ours.send_bytes(request)
                while not canceled():
                    if ours.poll(POLL_S):
                        messages.append(ours.recv_bytes())
            with suppress(subprocess.TimeoutExpired):
                process.wait(0 if canceled() else GRACE_S)
        finally:
            process.kill()
            process.wait()
    return socket.gethostname(), process.returncode, messages


def _cancellation() -> Callable[[], bool]:
    """Whether nobody waits any longer for the task of this thread; Dask itself lets such a task run on."""
    if "distributed" not in sys.modules:
        return lambda: False
    from distributed import get_worker

    try:
        worker = get_worker()
        key = worker.get_current_task()
    except ValueError:  # no task of Dask
        return lambda: False

    def canceled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return canceled


def main() -> None:
    """Body of the process: read the request from the socket that is standard input, answer, end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the Dask worker decides
    pipe = Connection(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # so that no worker inherits the socket and keeps it open
    os.close(nothing)
    request = pipe.recv_bytes()
    threading.Thread(target=_end_with_other_side, args=(pipe,), daemon=True).start()
    with suppress(OSError):
        for message in _messages(request):
            pipe.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def _end_with_other_side(pipe: Connection) -> None:
    """End this process, and with it its workers, when the Dask worker has closed the socket or died."""
    with suppress(EOFError, OSError):
        pipe.recv_bytes()
    os._exit(1)


def _messages(request: bytes) -> Iterator[Message]:
    expected, folder, parts = pickle.loads(request)
    if this_program() != expected:
        yield "stranger", this_program()
        return
    function, items, files, timeout_s, memory_bytes = parts
    with suppress(OSError):  # then relative paths are among the unseen
        os.chdir(folder)
    if unseen := [file for file in files if not is_seen(os.path.join(folder, file))]:
        yield "unseen", unseen
        return
    try:
        whole = cast(Callable[[Any], Any], Sealed(function))
        sealed: Sequence[Any] = [Sealed(item) for item in items]
        for outcome in supervise(whole, sealed, jobs=1, timeout_s=timeout_s, memory_bytes=memory_bytes):
            yield "outcome", outcome
    except Exception:
        yield "fault", traceback.format_exc()


@dataclass(frozen=True, slots=True)
class Sealed:
    """Something pickled that is read only where it is needed: its pickle is the thing itself."""

    pickled: bytes

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self.pickled,)


def is_seen(file: str) -> bool:
    """Whether this process can read a file, or the archive of which it is a member."""
    try:
        os.stat(file)
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return os.access(file, os.R_OK)
