"""Opening what a stranger submitted: a regular file, or a member of an archive, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from bratseval.archives import Reader, open_member, open_regular


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
        file = open_regular(path)
    except NotADirectoryError:
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive is None:
            raise
        reader, size = open_member(archive, path.relative_to(archive).as_posix())
        return OpenFile(size, reader)
    return OpenFile(os.fstat(file.fileno()).st_size, file)
