"""Archives from strangers (.zip, .tar, .tar.gz): what may be read of them, and one member at a time.

Nothing is ever unpacked to disk. A path such as ``teams/alpha.zip/masks/x.nii.gz`` names a member, for
messages and for `files.open_file`; only members whose name and type are harmless are opened. Sizes are
bounded while the stream is read, whatever headers claim.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from bratseval.errors import InputError, Problem

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
OTHER_SUFFIXES = (
    ".7z",
    ".rar",
    ".tar.bz2",
    ".tbz2",
    ".tar.xz",
    ".txz",
    ".tar.zst",
    ".gz",
    ".bz2",
    ".xz",
    ".zst",
)
MOST_LEVELS = 100  # of folders
FREE_BYTES = 1 << 30  # below this no ratio is suspicious: empty masks shrink a thousandfold
_PIECE = 1 << 16
_BLOCK = 512
_MOST_HEADER = 1 << 20  # bytes of an extended tar header
_MOST_HEADERS = 1 << 26  # of all of them
_MOST_NAME = 1024
_BYTES_A_MEMBER = 512  # of a zip's directory, on average
_REGULAR = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_NO_FILE = ("ARC003", "is a link or a device; it is not read", "store the file itself")
_WITHOUT_DATA = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
    tarfile.DIRTYPE,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold: members, unpacked bytes, and unpacked bytes for each of its own."""

    members: int = 20_000
    unpacked_bytes: int = 100 * 10**9
    ratio: float = 1000.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a submission; fault says why it must not be read."""

    path: Path
    fault: Problem | None = None


class Reader(Protocol):
    """What a file or a member is read by; both raise OSError."""

    def read(self, count: int, /) -> bytes:
        """At most ``count`` bytes, none at the end."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


def open_regular(path: Path, *, follow: bool = False) -> io.BufferedReader:
    """Open a regular file; devices are not read, and links not followed unless asked for. Raises OSError."""
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    flags = os.O_RDONLY | (0 if follow else getattr(os, "O_NOFOLLOW", 0)) | getattr(os, "O_NONBLOCK", 0)
    file = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "this is not a regular file")
    return file


def list_archive(path: Path, limits: ArchiveLimits | None = None) -> list[Entry]:
    """Every file in an archive, in its order, those that must not be read with their fault.

    A .tar.gz is read through once, so that its CRC is checked. Raises InputError where the archive as a
    whole cannot be used: ARC001 damaged, ARC004 beyond a limit, ARC005 encrypted.
    """
    limits = limits or ArchiveLimits()
    entries = []
    unpacked = 0
    with _refusing(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        for count, member in enumerate(_members(file, size, limits), start=1):
            unpacked += max(0, member.size)
            if count > limits.members:
                raise _too_much(path, f"more than {limits.members} members", "--max-members")
            _bound(path, unpacked, size, limits)
            if not member.is_folder or member.fault:
                entries.append(_entry(path, member))
    return entries


def open_member(archive: Path, name: str) -> tuple[Reader, int]:
    """A stream of one member, and the size that the archive claims for it. Raises OSError."""
    file = open_regular(archive)
    try:
        if _is_zip(file):
            return _zip_member(file, name)
        state = os.fstat(file.fileno())
        index = _tar_index(archive, state.st_size, state.st_mtime_ns)
        offset, size = index.places[name]
        stream = _contents(file, index.checkpoints)
        stream.seek(offset)
        return _Member(stream, size, (file,)), size
    except Exception as error:
        file.close()
        if isinstance(error, MemoryError):
            raise
        raise OSError(errno.EIO, f"the archive is damaged: {error}") from None


class _Listed(NamedTuple):
    """A member as its archive describes it; fault: code, sentence and remedy."""

    name: str
    size: int
    is_folder: bool
    fault: tuple[str, str, str] | None = None
    offset: int = 0


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever a stranger's bytes make the readers raise into an InputError."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        message = f"{path} cannot be read as an archive ({str(error) or type(error).__name__})"
        hint = "make the .zip, .tar or .tar.gz again and upload it whole"
        raise InputError(Problem("error", "ARC001", message, hint, file=str(path))) from None


def _too_much(path: Path, what: str, option: str) -> InputError:
    hint = f"submit the files of the challenge alone; the organizer can raise the limit with {option}"
    return InputError(Problem("error", "ARC004", f"{path} holds {what}", hint, file=str(path)))


def _bound(path: Path, unpacked: int, size: int, limits: ArchiveLimits) -> None:
    """Refuse an archive that unpacks to more than is allowed."""
    if unpacked > limits.unpacked_bytes:
        raise _too_much(path, f"more than {limits.unpacked_bytes} bytes unpacked", "--max-unpacked")
    if unpacked > max(FREE_BYTES, limits.ratio * size):
        what = f"more than {limits.ratio:g} bytes for each of its own ({size} bytes)"
        raise _too_much(path, what, "--max-ratio")


def _entry(path: Path, member: _Listed) -> Entry:
    fault = _fault_of_name(member.name) or member.fault
    if fault is None:
        return Entry(path / member.name)
    code, what, hint = fault
    base = member.name.replace("\\", "/").replace("\0", "").rstrip("/").rpartition("/")[2][-255:]
    below = path / base if base not in ("", ".", "..") else path
    message = f"{path}: the member {member.name[:200]!r} {what}"
    return Entry(below, Problem("error", code, message, hint, file=str(path)))


def _fault_of_name(name: str) -> tuple[str, str, str] | None:
    """Why a member's name must not become a path."""
    parts = name.split("/")
    if not name.strip("./"):
        what = "has no name"
    elif "\0" in name:
        what = "has a NUL in its name"
    elif "\\" in name:
        what = "has a backslash in its name"
    elif name.startswith("/") or re.match("[A-Za-z]:", name):
        what = "has an absolute path"
    elif ".." in parts:
        what = "points out of the archive"
    elif len(name) > _MOST_NAME or len(parts) > MOST_LEVELS or any(len(part) > 255 for part in parts):
        what = "has a name that is too long or too deep"
    else:
        return None
    return "ARC002", f"{what}; it is not read", "store the files under plain relative names"


def _is_zip(file: Any) -> bool:
    return _starts_with(file, b"PK")


def _is_gzip(file: Any) -> bool:
    return _starts_with(file, b"\x1f\x8b")


def _starts_with(file: Any, magic: bytes) -> bool:
    file.seek(0)
    found: bytes = file.read(len(magic))
    file.seek(0)
    return found == magic


def _members(file: Any, size: int, limits: ArchiveLimits) -> Iterator[_Listed]:
    """The members of any archive; its content says of what kind it is."""
    if _is_zip(file):
        yield from _zip_members(file, limits)
        return
    if not _is_gzip(file):
        yield from _tar_members(file)
        return
    stream = _Gunzipped(file, [], lambda unpacked: _bound(Path(file.name), unpacked, size, limits))
    yield from _tar_members(stream)
    while stream.read(_PIECE):  # to the end marker, which holds the CRC
        pass


class _Capped:
    """A file that refuses to hand out more at once than a directory can need."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self.seekable = file.seekable

    def read(self, count: int = -1) -> bytes:
        data: bytes = self._file.read(min(count, self._most + 1) if count >= 0 else self._most + 1)
        if len(data) > self._most:
            what = "a directory larger than its members need"
            raise _too_much(Path(self._file.name), what, "--max-members")
        return data


def _zip_members(file: Any, limits: ArchiveLimits) -> Iterator[_Listed]:
    with zipfile.ZipFile(_Capped(file, 1 << 17 | limits.members * _BYTES_A_MEMBER)) as archive:
        members = archive.infolist()
    for info in members:
        kind = stat.S_IFMT(info.external_attr >> 16)
        fault = None
        if info.flag_bits & 0x2041:
            message = f"{file.name} is encrypted ({info.filename[:200]!r})"
            hint = "zip it without a password"
            raise InputError(Problem("error", "ARC005", message, hint, file=str(file.name)))
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            fault = _NO_FILE
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            fault = "ARC006", f"is compressed by method {info.compress_type}", "zip it with deflate"
        yield _Listed(info.orig_filename, info.file_size, info.orig_filename.endswith("/"), fault)


def _zip_member(file: Any, name: str) -> tuple[Reader, int]:
    # Sizes were judged when the archive was listed; its directory is as large now as it was then.
    archive = zipfile.ZipFile(file)
    info = next(info for info in archive.infolist() if _normal(info.orig_filename) == name)
    return _Member(archive.open(info), info.file_size, (archive, file)), info.file_size


def _normal(name: str) -> str:
    """The name as a path has it: ./a//b is a/b."""
    return PurePosixPath(name).as_posix()


def _tar_members(stream: Any) -> Iterator[_Listed]:
    """Members of a tar stream, read forward only; the stream is left at the end of the last one.

    Own reading of the blocks, since tarfile believes the size of extended headers and takes a damaged
    header in the middle for the end.
    """
    further: dict[str, str] = {}
    position = headers = 0

    def take(count: int) -> bytes:
        nonlocal position
        data: bytes = stream.read(count)
        position += len(data)
        if len(data) != count:
            raise EOFError("it ends too early")
        return data

    while True:
        block = stream.read(_BLOCK)
        position += len(block)
        if block.count(0) == len(block):  # also at the very end, where some programs write no zeros
            if position == 0:
                raise EOFError("it is empty")
            return
        if len(block) != _BLOCK:
            raise EOFError("it ends too early")
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type == tarfile.GNUTYPE_SPARSE:
            more = block[482]
            while more:
                more = take(_BLOCK)[504]
        size = int(further.get("size", info.size))
        if size < 0:
            raise ValueError("a member has a negative size")
        if info.type in (b"x", b"X", b"g", b"L", b"K"):
            headers += size
            if size > _MOST_HEADER or headers > _MOST_HEADERS:
                raise ValueError("its headers are too large")
            data = take(size + -size % _BLOCK)[:size]
            if info.type in (b"x", b"X"):
                further |= _pax_records(data)
            elif info.type == b"L":
                further["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            continue
        fault = None
        if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in further):
            fault = "ARC003", "is a sparse file; it is not read", "store the file itself"
        elif info.type not in (*_REGULAR, tarfile.DIRTYPE):
            fault = _NO_FILE
        name = further.get("path", info.name)
        folder = info.type == tarfile.DIRTYPE or (info.type == tarfile.AREGTYPE and name.endswith("/"))
        length = 0 if info.type in _WITHOUT_DATA else size
        yield _Listed(name, length, folder, fault, position)
        further = {}
        position += length + -length % _BLOCK
        stream.seek(position - 1 if length else position)
        if length and len(stream.read(1)) != 1:
            raise EOFError("it ends too early")


def _pax_records(data: bytes) -> dict[str, str]:
    """Key -> value of an extended header: `<length> <key>=<value>\\n`, again and again."""
    records = {}
    start = 0
    while start < len(data) and data[start]:
        space = data.index(b" ", start, start + 20)
        end = start + int(data[start:space])
        if not space < end <= len(data):
            raise ValueError("an extended header is damaged")
        key, _, value = data[space + 1 : end].rstrip(b"\n").partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        start = end
    return records


@dataclass(frozen=True, slots=True)
class _TarIndex:
    """Offset and size of the members of a tar by name, and where a compressed one can be entered."""

    places: dict[str, tuple[int, int]]
    checkpoints: list[_Checkpoint]


@cache
def _tar_index(path: Path, size: int, modified: int) -> _TarIndex:
    """Read the headers of an archive once in a process; size and time of the file tell it from another."""
    checkpoints: list[_Checkpoint] = []
    with open_regular(path) as file:
        members = _tar_members(_contents(file, checkpoints))
        places = {_normal(m.name): (m.offset, m.size) for m in members if m.fault is None}
    return _TarIndex(places, checkpoints)


def _contents(file: Any, checkpoints: list[_Checkpoint]) -> Any:
    """The tar in a file, which may be compressed."""
    return _Gunzipped(file, checkpoints) if _is_gzip(file) else file


class _Checkpoint(NamedTuple):
    """The state of an unpacker: how far it had come in its output and in the file, and unused input."""

    position: int
    place: int
    unpacker: Any
    rest: bytes


class _Gunzipped:
    """A gzip file as a stream of what it holds, which can be entered again at places it has passed.

    So reading all members of a .tar.gz in any order unpacks it a few times, not once for each member.
    """

    MOST_CHECKPOINTS = 32

    def __init__(self, file: Any, checkpoints: list[_Checkpoint], watch: Any = None) -> None:
        self._file, self._checkpoints, self._watch = file, checkpoints, watch
        file.seek(0)
        self._enter(_Checkpoint(0, 0, zlib.decompressobj(wbits=31), b""))
        if not checkpoints:
            checkpoints.append(self._checkpoint())

    def read(self, count: int) -> bytes:
        """The next bytes, fewer only at the end."""
        pieces = []
        while count > 0 and (piece := self._next(min(count, 1 << 20))):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def seek(self, position: int) -> None:
        """Go to a place of the output, from the last checkpoint before it where that is shorter."""
        nearest = max((c for c in self._checkpoints if c.position <= position), key=lambda c: c.position)
        if position < self._position or nearest.position > self._position:
            self._enter(nearest)
        while self._position < position and self._next(min(position - self._position, 1 << 20)):
            pass

    def _enter(self, at: _Checkpoint) -> None:
        self._position, self._unpacker, self._rest = at.position, at.unpacker.copy(), at.rest
        self._file.seek(at.place)

    def _checkpoint(self) -> _Checkpoint:
        return _Checkpoint(self._position, self._file.tell(), self._unpacker.copy(), self._rest)

    def _next(self, count: int) -> bytes:
        while True:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data or self._file.read(_PIECE)
                while len(rest) == 1 and (more := self._file.read(_PIECE)):
                    rest += more
                if not rest.startswith(b"\x1f\x8b"):
                    return b""  # what follows the end is padding
                self._unpacker, self._rest = zlib.decompressobj(wbits=31), rest
            data = self._rest or self._file.read(_PIECE)
            if not data:
                raise EOFError("the compressed data end too early")
            out: bytes = self._unpacker.decompress(data, count)
            self._rest = self._unpacker.unconsumed_tail
            if out:
                self._position += len(out)
                if self._watch is not None:
                    self._watch(self._position)
                self._remember()
                return out

    def _remember(self) -> None:
        """Keep a checkpoint now and then: evenly over the file, twice as far apart when there are many."""
        kept = self._checkpoints
        step = max(1 << 22, kept[1].position - kept[0].position if len(kept) > 1 else 0)
        if self._position >= kept[-1].position + step and not self._unpacker.eof:
            kept.append(self._checkpoint())
            if len(kept) > self.MOST_CHECKPOINTS:
                del kept[1::2]


class _Member:
    """The bytes of a member, never more than its archive claims."""

    def __init__(self, stream: Any, size: int, to_close: tuple[io.IOBase | zipfile.ZipFile, ...]) -> None:
        self._stream, self._left, self._to_close = stream, size, to_close

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes, none at the end. Raises OSError where the archive is damaged."""
        try:
            data: bytes = self._stream.read(min(count, self._left))
        except (MemoryError, OSError):
            raise
        except Exception as error:  # zipfile and zlib raise many kinds
            raise OSError(errno.EIO, f"the archive is damaged: {error}") from None
        if self._left and not data:
            raise OSError(errno.EIO, "the archive is damaged: it ends too early")
        self._left -= len(data)
        return data

    def close(self) -> None:
        """Close the archive."""
        for one in self._to_close:
            one.close()
