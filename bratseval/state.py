"""``state/`` of a result folder: the lock of the run that writes there, and the journal of finished cases.

A journal line is a checksum and a JSON record, appended and flushed to disk as soon as a case is scored.
So a run that is killed at any moment loses the cases that were being scored and nothing else: what is torn
or does not match its checksum is left out, and the case is scored again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from bratseval.archives import open_regular
from bratseval.errors import OutputError, Problem
from bratseval.model import Case, CaseResult, InputFile, Score

FOLDER = "state"
JOURNAL = "journal.jsonl"
# What a lock says of the process that holds it.
_HOLDER = re.compile(
    r"process (?P<process>\d+) on (?P<host>\S+)(?: in Slurm job (?P<job>\d+) restart (?P<restart>\d+))?"
)
# Why a file cannot be written: no room, or something else in its place.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.EINVAL)
T = TypeVar("T")


@contextmanager
def locked(output: Path) -> Iterator[Path]:
    """Hold a result folder for one command; yields its ``state`` folder, emptied of half-written files.

    The lock ends with its process, however that ends. Raises OutputError (OUT001, OUT002, OUT004).
    """
    state = output / FOLDER
    try:
        if output.exists() and not output.is_dir():
            raise OutputError(
                Problem("error", "OUT002", f"{output} is not a folder", "choose another --output")
            )
        state.mkdir(parents=True, exist_ok=True)
        handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise not_writable(state, error) from None
    try:
        _take(handle, state)
        try:
            for left in state.glob("*.part"):
                _remove(left)
            yield state
        finally:
            with suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _take(handle: int, state: Path) -> None:
    import fcntl

    holder = os.pread(handle, 1000, 0).decode(errors="replace")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks leaves only what the holder wrote.
        unsupported = error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
        if not (unsupported and _is_over(holder)):
            message = f"{state.parent} is in use by another run ({holder or 'that has just begun'})"
            hint = f"wait for it, or choose another --output; if it is over, delete {state / 'lock'}"
            raise OutputError(Problem("error", "OUT004", message, hint, file=str(state))) from None
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, _this_process().encode(), 0)
    except OSError as error:
        raise not_writable(state / "lock", error) from None


def _this_process() -> str:
    """What a lock says of its holder; a requeued job of Slurm keeps its id, and the restarts are counted."""
    job, restart = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT") or "0"
    in_job = f" in Slurm job {job} restart {restart}" if job.isdecimal() and restart.isdecimal() else ""
    return f"process {os.getpid()} on {socket.gethostname()}{in_job}"


def _is_over(holder: str) -> bool:
    """Whether the process that wrote the lock runs no more; one of another host may.

    Slurm starts a job anew, perhaps on another host, only once its earlier start has ended.
    """
    theirs, ours = (_HOLDER.fullmatch(text) for text in (holder, _this_process()))
    if not theirs or not ours:
        return not holder
    if theirs["job"] and theirs["job"] == ours["job"] and int(theirs["restart"]) < int(ours["restart"]):
        return True
    if theirs["host"] != ours["host"]:
        return False
    try:
        os.kill(int(theirs["process"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return False


def flush_folder(folder: Path) -> None:
    """Make the names in a folder last, beside the contents of its files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove a half-written file of an earlier command."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise not_writable(path, error) from None


def not_writable(path: Path, error: OSError, needed: int = 0) -> OutputError:
    """The error of a place that cannot be written; of a full disk with the bytes that are needed and free."""
    message = f"{path} cannot be written ({error.strerror or error})"
    if error.errno in _FULL:
        folder = next((parent for parent in path.parents if os.path.isdir(parent)), Path("/"))
        message += f"; {needed} bytes are needed" if needed else ""
        free = shutil.disk_usage(folder).free
        hint = f"{free} bytes are free; choose another --output or make room, the same command goes on"
    elif error.errno in _IN_THE_WAY:
        hint = "choose another --output, or move away what is there"
    else:
        hint = "choose another --output, or make it writable; the same command goes on"
    return OutputError(Problem("error", "OUT001", message, hint, file=str(path)))


def write_part(part: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that is to replace another one, and flush it to disk. Raises OSError."""
    part.unlink(missing_ok=True)  # in a folder from someone else it may be a link to anywhere
    with part.open("xb") as file:
        for data in pieces:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all; what is no Unicode in a text is escaped. Raises OutputError."""
    part = path.with_name(f".{path.name}.part")
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_part(part, (data,))
        os.replace(part, path)
        flush_folder(path.parent)
    except OSError as error:
        if part.is_file():
            part.unlink(missing_ok=True)
        raise not_writable(path, error, len(data)) from None


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished case of an earlier run, the rules it was made under and the files as it names them."""

    rules: str
    paths: tuple[str, ...]
    result: CaseResult


class Journal:
    """The finished cases of a result folder, by team and case; new ones are appended."""

    def __init__(self, state: Path, config: str, *, keep: bool = True, overwrite: bool = False) -> None:
        """Read what is there and open it for more. keep: False begins anew.

        Raises OutputError where the cases were scored under another configuration (OUT003).
        """
        self.path = state / JOURNAL
        self.kept: dict[tuple[str, str], Kept] = {}
        header = {"config": config, "code": code_digest()}
        written = self._read()
        first, *lines = (written.splitlines(keepends=True) if keep else []) or [b""]
        found = _record(first) or {}
        if lines and found.get("config", config) != config and not overwrite:
            raise _other_configuration(self.path, found["config"], config)
        good = {("", "", "header"): _line(header)}  # by case: a later line replaces an earlier one
        for line in lines if found == header else ():
            if record := _record(line):
                self.kept[record["team"], record["case"]] = _kept(record)
                good[record["team"], record["case"], ""] = line
        content = b"".join(good.values())
        try:
            if content != written:
                part = self.path.with_suffix(".part")
                write_part(part, (content,))
                os.replace(part, self.path)
                flush_folder(state)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            with suppress(OSError):
                self.path.with_suffix(".part").unlink()
            raise not_writable(self.path, error, len(content)) from None

    def _read(self) -> bytes:
        try:
            with open_regular(self.path, follow=True) as file:
                return file.read()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise not_writable(self.path, error) from None

    def append(self, rules: str, result: CaseResult) -> None:
        """Keep a finished case. Raises OutputError where the disk is full."""
        data = _line(
            {
                "team": result.case.team,
                "case": result.case.case,
                "rules": rules,
                "inputs": [_values(one) for one in result.inputs],
                "paths": paths_of(result.case),
                "scores": [_values(one) for one in result.scores],
                "problems": [_values(one) for one in result.problems],
                "details": result.details,
            }
        )
        try:
            written = os.write(self._file, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            raise not_writable(self.path, error, len(data)) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def check_journal(state: Path, config: str) -> None:
    """Refuse a journal of another configuration, as opening it would (OUT003); only looked at."""
    try:
        with open_regular(state / JOURNAL, follow=True) as file:
            found = (_record(file.readline()) or {}).get("config", config)
    except OSError:
        return
    if found != config:
        raise _other_configuration(state / JOURNAL, found, config)


def _other_configuration(journal: Path, found: str, config: str) -> OutputError:
    folder = journal.parent.parent
    message = f"{folder} holds cases scored under configuration {found}, this one is {config}"
    hint = "choose another --output, or --overwrite"
    return OutputError(Problem("error", "OUT003", message, hint, file=str(journal)))


def finished_cases(state: Path, config: str) -> set[tuple[str, str]]:
    """Team and case of what a journal holds for this configuration and program; only looked at."""
    try:
        with open_regular(state / JOURNAL, follow=True) as file:
            first, *lines = file.read().splitlines(keepends=True) or [b""]
    except OSError:
        return set()
    if _record(first) != {"config": config, "code": code_digest()}:
        return set()
    return {(record["team"], record["case"]) for line in lines if (record := _record(line))}


def rules_of(config: str, geometry: str, case: Case) -> str:
    """What a case is scored under beside its files: configuration, options, faults of their names."""
    refused = [_values(problem) for problem in case.refused]
    parts = [
        [part.role, part.region, part.rater, [_values(problem) for problem in part.refused]]
        for part in (*case.reference_parts, *case.prediction_parts)
    ]
    text = json.dumps([config, geometry, case.cohort, refused, parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def paths_of(case: Case) -> tuple[str, ...]:
    """The files as their messages name them."""
    parts = (*case.reference_parts, *case.prediction_parts)
    return tuple(str(path) for path in (case.reference, case.prediction, *(p.path for p in parts)) if path)


@cache
def code_digest() -> str:
    """Digest of this program: another version may measure otherwise."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _values(record: object) -> list[Any]:
    return [getattr(record, field.name) for field in fields(record)]  # type: ignore[arg-type]


def _line(record: Mapping[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()
    return _checksum(body) + b" " + body + b"\n"


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line, None where it is torn or changed."""
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or _checksum(body) != checksum:
        return None
    record: dict[str, Any] = json.loads(body)
    return record


def _kept(record: Mapping[str, Any]) -> Kept:
    def rows(kind: type[T], name: str) -> tuple[T, ...]:
        return tuple(kind(*values) for values in record[name])

    details = {table: tuple(tuple(row) for row in lines) for table, lines in record["details"].items()}
    case = Case(record["team"], record["case"], None, None)
    scores, problems, inputs = rows(Score, "scores"), rows(Problem, "problems"), rows(InputFile, "inputs")
    result = CaseResult(case, scores, problems, inputs, details)
    return Kept(record["rules"], tuple(record["paths"]), result)


def unchanged(kept: Kept, case: Case, rules: str, inputs: Sequence[InputFile]) -> bool:
    """Whether a kept result is what scoring the case now would give."""
    same = kept.rules == rules and kept.result.inputs == tuple(inputs)
    # Sentences name files, so a folder that has moved changes them.
    return same and (not kept.result.problems or kept.paths == paths_of(case))
