"""Records of pictures: what one is made from, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bratseval.errors import Problem
from bratseval.model import Score


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """What the tables of a result folder hold of a case of a team.

    details : by table (`curves.csv`, `landmarks.csv`, ...), its rows as text, without team and case.
    problems : of the case, and those of the team that name no case.
    inputs : role, name, bytes and digest of the files that were scored, as inputs.csv has them.
    """

    scores: tuple[Score, ...]
    problems: tuple[Problem, ...] = ()
    details: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    inputs: frozenset[tuple[str, ...]] = frozenset()


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with the words that belong to it; title, alt and caption are plain text, not HTML.

    region, lesion : what is shown. planes : by name (`axial`), the index of the shown voxel plane along the
    axis of the file. numbers : the case's scores, as the table below the picture has them. on_gray : why it
    lies on gray although there was to be anatomy.
    """

    png: bytes
    title: str
    alt: str
    caption: str
    region: str = ""
    lesion: str = ""
    planes: Mapping[str, int] = field(default_factory=dict)
    numbers: tuple[Score, ...] = ()
    on_gray: str = ""
