"""Names of strangers as file names and as keys that need no quotes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable

LONGEST = 60  # characters of a key or a folder's name
WHOLE = "all"  # where a score is of no region, or of no case
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def plain_keys(names: Iterable[str], taken: Collection[str] = ()) -> dict[str, str]:
    """A key of letters, digits and _ for every name, as JSON paths and Synapse take it.

    The same for any order of the names. A key that several names would have, that is in ``taken`` or too
    long ends in 8 digits of the name's hash. The empty name is ``all``.
    """
    names = set(names)
    keys = {name: re.sub(r"\W", "_", name, flags=re.ASCII) or WHOLE for name in names}
    keys = {name: f"_{key}" if key[0].isdigit() else key for name, key in keys.items()}
    shared = Counter(keys.values())
    return {
        name: f"{key[:LONGEST]}_{_digest(name)}"
        if key in taken or len(key) > LONGEST or (shared[key] > 1 and key != name)
        else key
        for name, key in keys.items()
    }


def team_folders(teams: Iterable[str]) -> dict[str, str]:
    """A folder's name for every team; one that is not the team's own name ends in 8 digits of its hash.

    Teams that a file system without upper case would mix up get such an ending, too.
    """
    teams = list(teams)
    alike = Counter(team.casefold() for team in teams)
    folders = {}
    for team in teams:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", team).strip(".-")[:LONGEST].rstrip(".-")
        own = slug == team != "" and not _RESERVED.fullmatch(team) and alike[team.casefold()] == 1
        folders[team] = slug if own else f"{slug or 'team'}-{_digest(team)}"
    return folders


def case_names(cases: Iterable[tuple[str, str]], taken: Collection[str] = ()) -> dict[tuple[str, str], str]:
    """A name of its own for every (institution, case) of a team: the id of the case wherever it can be.

    A case that several institutions have is ``institution/case``; what is of no case is ``all``.
    """
    cases = sorted(set(cases))
    usual = {one: one[1] or WHOLE for one in cases}
    shared = Counter(case for _, case in cases)
    usual |= {one: f"{one[0]}/{usual[one]}" for one in cases if shared[one[1]] > 1}
    names: dict[tuple[str, str], str] = {}
    used = {*taken}
    for one in sorted(cases, key=lambda one: (usual[one] != one[1], one)):  # those with their own id first
        name = usual[one]
        while name in used:
            name += "_"
        names[one] = name
        used.add(name)
    return names
