"""What a command is asked: the options that mean the same in every verb, and who is told how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bratseval.archives import ArchiveLimits


class Progress(Protocol):
    """Is told how far a command has come, and how many of the done cases are kept where it keeps any."""

    def __call__(self, done: int, total: int, what: str, kept: int | None = None, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Options:
    """Options that mean the same in every verb."""

    jobs: int = 1
    shard: tuple[int, int] = (1, 1)
    overwrite: bool = False
    metadata: Path | None = None
    fail_on: str = "error"
    geometry: str = ""
    resume: bool = True
    timeout_s: float | None = None
    memory_bytes: int | None = None
    seed: int | None = None
    institution: str = ""
    allow_incomplete: bool = False
    compare_schemes: bool = False
    archives: ArchiveLimits = field(default_factory=ArchiveLimits)
    scheduler: str = ""  # address of a Dask scheduler; empty: worker processes of this machine
    shards: int = 0  # on that scheduler; 0: by the number of cases and threads

    def seed_or(self, default: int) -> int:
        """The seed of --seed, or the given one without the option."""
        return default if self.seed is None else self.seed
