"""Opening what a stranger submitted: a regular file, or a member of an archive, and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from bratseval.archives import Reader, open_member


class OpenFile(NamedTuple):
    """Something to read from; size is what the file system, or an archive that may lie, says."""

    size: int
    reader: Reader

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes, none at the end. Raises OSError."""
        return self.reader.read(count)

    def close(self) -> None:
        """Release it."""
        self.reader.close()


def open_file(path: Path) -> OpenFile:
    """Open a file, or a member of an archive under a path such as ``alpha.zip/masks/x.nii.gz``.

    Links are not followed and devices not read. Raises OSError.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = open(path, "rb", buffering=0, opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    except NotADirectoryError:
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive is None:
            raise
        reader, size = open_member(archive, path.relative_to(archive).as_posix())
        return OpenFile(size, reader)
    state = os.fstat(file.fileno())
    if not stat.S_ISREG(state.st_mode):
        file.close()
        raise OSError(errno.EINVAL, "this is not a regular file")
    return OpenFile(state.st_size, file)
