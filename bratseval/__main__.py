"""Entry of the console script and of ``python -m bratseval``: signals first, then the heavy imports."""

from __future__ import annotations

import os
import signal
import sys


def _leave(number: int, _: object = None) -> None:
    """End this process and with it its workers, at once.

    So does a signal wherever no cases are under way (`Screen.progress`): there is nothing to tidy up, and
    an exception would show as a trace, or as another error where compiled code imports or builds something.
    """
    word = "interrupted" if number == signal.SIGINT else "terminated"
    try:
        os.write(2, f"{word}; the same command goes on\n".encode())
    finally:
        os._exit(128 + number)


def _dropped(what: sys.UnraisableHookArgs) -> None:
    """Leave where Python drops the exception of a signal: one that comes in a finalizer or a callback."""
    if what.exc_type is KeyboardInterrupt:
        _leave(signal.SIGINT)
    if what.exc_type is SystemExit:
        _leave(signal.SIGTERM)
    sys.__unraisablehook__(what)


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as a shell starts what runs in the background
            signal.signal(number, _leave)
    sys.unraisablehook = _dropped
    from bratseval.cli import main as command

    command()


if __name__ == "__main__":
    main()
