"""Feed hostile files to the readers until the time is over; what surprises is kept in ``fuzz-findings/``.

With atheris (``pip install atheris``) the inputs follow the code's branches, else hypothesis draws them. A
finding is any error that is not a typed one, a warning, more than 2 s, much memory, a crash or a hang; the
exit code is 1 then. ``--target NAME --input FILE`` checks one file again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
FINDINGS = ROOT / "fuzz-findings"
NAMES = ("nifti", "png", "yaml", "csv", "tables", "archives")
MOST_SECONDS = 2.0
MOST_GROWTH = 256 << 20  # of the peak memory, by one input
ADDRESS_SPACE = 8 << 30  # beyond it MemoryError, before the machine suffers
HANG_SECONDS = 20.0
SHRINK_SECONDS = 30.0  # after the end, to make a finding smaller


class TooMuch(BaseException):
    """Of time or memory; no Exception, since hypothesis would repeat those to make them smaller."""


class Worker:
    """Checks inputs of one target, in a process of its own; its folder tells the parent how far it is."""

    def __init__(self, name: str, folder: Path, seconds: float, *, guided: bool) -> None:
        sys.path.insert(0, str(ROOT / "tests"))
        instrumented: Any = nullcontext()
        if guided:
            import atheris

            instrumented = atheris.instrument_imports(include=["bratseval"])
        with instrumented:
            import test_hostile_readers
        import hostile_strategies

        self.target = test_hostile_readers.TARGETS[name]
        self.sound: list[bytes] = hostile_strategies.SOUND[name]()
        self.mutated = hostile_strategies.mutated
        self.folder = folder
        self.counter = os.open(folder / "count", os.O_CREAT | os.O_WRONLY)
        self.count = 0
        self.smallest: tuple[bytes, BaseException] | None = None
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        warnings.simplefilter("error")
        for data in self.sound:  # so that imports and caches are nobody's seconds and bytes
            path = folder / self.target.name(data)
            path.write_bytes(data)
            self.target.check(path)
        self.end = time.monotonic() + seconds

    def check(self, data: bytes) -> None:
        """Check one input, or end where the time is over; raises what is a finding."""
        if time.monotonic() > self.end + (SHRINK_SECONDS if self.smallest else 0):
            self.finish()
        path = self.folder / self.target.name(data)
        path.write_bytes(data)
        (self.folder / "current").write_text(path.name)
        self.count += 1
        os.pwrite(self.counter, b"%20d" % self.count, 0)
        peak, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        try:
            self.target.check(path)
            seconds = time.monotonic() - started
            growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
            if seconds > MOST_SECONDS or growth > MOST_GROWTH:
                raise TooMuch(f"{seconds:.1f} s, and {growth / 1e6:.0f} MB more than before")
        except BaseException as error:
            if self.smallest is None or len(data) <= len(self.smallest[0]):
                self.smallest = data, error
            raise

    def finish(self) -> NoReturn:
        """Leave a finding to the parent, and end without the clean-up of the fuzzers."""
        if self.smallest:
            data, error = self.smallest
            (self.folder / "finding").write_bytes(data)
            text = "".join(traceback.format_exception(error, limit=-8))
            (self.folder / "why").write_text(text, errors="backslashreplace")
        os._exit(1 if self.smallest else 0)

    def property(self, examples: int) -> Any:
        """The check of files that are drawn and of sound ones with damaged bytes."""
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st
        from hypothesis.database import DirectoryBasedExampleDatabase

        return settings(
            max_examples=examples,
            deadline=None,
            derandomize=False,
            print_blob=False,
            database=DirectoryBasedExampleDatabase(self.folder / "examples"),
            suppress_health_check=list(HealthCheck),
        )(
            given(self.target.files() | st.sampled_from(self.sound).flatmap(self.mutated))(
                lambda d: self.check(d)
            )
        )

    def with_hypothesis(self) -> NoReturn:
        """Draw inputs, with a fresh seed every thousand."""
        from hypothesis import seed

        try:
            while True:
                seed(random.getrandbits(64))(self.property(1000))()
        except BaseException as error:
            self.smallest = self.smallest or (b"", error)  # the strategies' own fault
            self.finish()

    def with_atheris(self) -> NoReturn:
        """Inputs that follow the branches; their first byte says whether the rest is a file or draws one."""
        import atheris

        corpus = self.folder / "corpus"
        corpus.mkdir()
        for number, data in enumerate(self.sound):
            (corpus / f"file{number}").write_bytes(b"\0" + data)
            (corpus / f"drawn{number}").write_bytes(b"\1" + random.randbytes(4000))
        draw = self.property(1).hypothesis.fuzz_one_input

        def one(data: bytes) -> None:
            try:
                draw(data[1:]) if data[:1] > b"\0" else self.check(data[1:])
            except BaseException as error:
                self.smallest = self.smallest or (b"", error)
                self.finish()

        options = ["-rss_limit_mb=0", "-max_len=20000", "-verbosity=0", "-handle_segv=0", "-handle_abrt=0"]
        atheris.Setup([sys.argv[0], *options, str(corpus)], one)
        atheris.Fuzz()
        raise AssertionError("the fuzzer has no end of its own")


def fuzz(name: str, seconds: float) -> bool:
    """Fuzz one target in a process of its own, which may die or hang; whether there was a finding."""
    guided = find_spec("atheris") is not None
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        counter = folder / "count"
        started = changed = time.monotonic()
        command = [sys.executable, __file__, "--target", name, "--seconds", str(seconds), "--worker", scratch]
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as worker:
            count, hangs = "", False
            while worker.poll() is None:
                time.sleep(0.1)
                now = counter.read_text() if counter.exists() else ""
                if now != count:
                    count, changed = now, time.monotonic()
                elif time.monotonic() - changed > HANG_SECONDS:
                    hangs = True
                    worker.kill()
                    break
        spent = time.monotonic() - started
        count = counter.read_text() if counter.exists() else "0"
        found = worker.returncode != 0
        means = "atheris" if guided else "hypothesis"
        print(
            f"{name}: {int(count or 0)} inputs in {spent:.0f} s by {means}, {int(found)} findings", flush=True
        )
        if not found:
            return False
        current = folder / "current"  # absent where the process died before its first input
        last = folder / current.read_text() if current.exists() else folder / name
        if (folder / "why").exists():
            data, why = (folder / "finding").read_bytes(), (folder / "why").read_text()
        else:
            data = last.read_bytes() if last.exists() else b""
            why = "it hangs" if hangs else f"the process ended with {worker.returncode}"
            why += "\n" + (folder / "log").read_text(errors="replace")[-3000:]
    FINDINGS.mkdir(exist_ok=True)
    kept = FINDINGS / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}-{last.name}"
    kept.write_bytes(data)
    kept.with_name(f"{kept.name}.txt").write_text(why)
    print(f"{kept} ({len(data)} bytes)\n{why}", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120, help="shared by the targets")
    parser.add_argument("--target", choices=NAMES, help="all by default")
    parser.add_argument("--input", type=Path, help="check this file alone")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.input:
        if not options.target:
            parser.error("--input needs --target")
        with tempfile.TemporaryDirectory() as scratch:
            Worker(options.target, Path(scratch), 1e9, guided=False).check(options.input.read_bytes())
        return 0
    if options.worker:
        guided = find_spec("atheris") is not None
        worker = Worker(options.target, options.worker, options.seconds, guided=guided)
        worker.with_atheris() if guided else worker.with_hypothesis()
    names = (options.target,) if options.target else NAMES
    findings = [fuzz(name, options.seconds / len(names)) for name in names]
    return int(any(findings))


if __name__ == "__main__":
    sys.exit(main())
