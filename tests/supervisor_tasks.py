"""Functions that the supervisor's tests run in worker processes; light imports only."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

THREADS_AT_IMPORT = {name: value for name, value in os.environ.items() if name.endswith("_THREADS")}


class Unloadable:
    """Pickles well and cannot be read back."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("not a number",)


def square(number: int) -> int:
    return number * number


def same(item: object) -> object:
    return item


def by_whom(item: object) -> tuple[int, object]:
    """Which process did the item."""
    time.sleep(0.02)  # so that no worker does all before the next one has started
    return os.getpid(), item


def note(folder: str, name: str) -> int:
    """Append a letter to a file and return how many it holds: counts tries across processes."""
    with (Path(folder) / name).open("a") as file:
        file.write("x")
    return len((Path(folder) / name).read_text())


def fragile(item: tuple[str, str]) -> object:
    """Do what the item says: die, hang, raise, or return its word."""
    folder, word = item
    tries = note(folder, word)
    if word == "exit":
        os._exit(7)
    elif word == "kill" or (word == "kill-once" and tries == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "segfault":
        ctypes.string_at(0)
    elif word == "die-answering":
        threading.Timer(0.5, os._exit, [3]).start()
        return bytes(1 << 24)
    elif word == "hang":
        time.sleep(60)
    elif word == "raise":
        raise ValueError("on purpose")
    elif word == "sys.exit":
        sys.exit("leaving")
    elif word == "unpicklable":
        return lambda: None
    elif word == "unloadable":
        return Unloadable()
    elif word == "memory":
        return len(bytearray(1 << 29))
    elif word == "endless-memory":
        bytearray(1 << 62)
    elif word == "hidden-memory":
        try:
            bytearray(1 << 62)
        except MemoryError:
            raise ValueError("cannot read") from None
    return word


def others_finished(item: tuple[str, str]) -> int:
    """Kill the worker at the first try; at the second, count the other items that have ended."""
    folder, word = item
    if word == "deadly":
        if note(folder, "tries") == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(list(Path(folder).glob("ended-*")))
    time.sleep(0.2)
    return note(folder, f"ended-{word}")


def threads(_: int) -> tuple[dict[str, str], dict[str, str]]:
    return THREADS_AT_IMPORT, dict(os.environ)


def pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def note_pid_and_hang(folder: str) -> None:
    """Ignore what can be ignored, so that only a kill ends it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(60)


def listing(folder: str) -> list[str]:
    return sorted(os.listdir(folder))


def chatty(number: int) -> int:
    """Print as a library may, through Python and past it."""
    print("printed")
    os.write(1, b"written\n")
    return number


def standard_input(_: object) -> str:
    return os.readlink("/proc/self/fd/0")
