"""Functions that the supervisor's tests run in worker processes; light imports only."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path


def square(number: int) -> int:
    return number * number


def note(folder: str, name: str) -> int:
    """Append a letter to a file and return how many it holds: counts tries across processes."""
    with (Path(folder) / name).open("a") as file:
        file.write("x")
    return len((Path(folder) / name).read_text())


def fragile(item: tuple[str, str]) -> str:
    """Do what the item says: die, hang, raise, or return its word."""
    folder, word = item
    tries = note(folder, word)
    if word == "exit":
        os._exit(7)
    elif word == "kill" or (word == "kill-once" and tries == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "segfault":
        ctypes.string_at(0)
    elif word == "hang":
        time.sleep(60)
    elif word == "raise":
        raise ValueError("on purpose")
    elif word == "unpicklable":
        return lambda: None  # type: ignore[return-value]
    elif word == "memory":
        return str(len(bytearray(1 << 29)))
    return word


def threads(_: int) -> dict[str, str | None]:
    names = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    )
    return {name: os.environ.get(name) for name in names}


def pid(_: int) -> int:
    time.sleep(0.2)
    return os.getpid()
