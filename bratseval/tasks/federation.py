"""What a whole team is scored for: the convergence of its federated training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem
from bratseval.inputs import submitted
from bratseval.metrics.federation import Rounds
from bratseval.model import Case, CaseResult, Reference
from bratseval.number_tables import header_of, read_numbers, refusal
from bratseval.tasks.measuring import measure

# The mean of these is the round's score where the log has no column for it (official table of FeTS task 1).
DICE_COLUMNS = ("binary_dice_wt", "binary_dice_et", "binary_dice_tc")


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Nothing: a training is its own measure."""
    return Reference(None)


def expect(case: Case, challenge: Challenge) -> None:
    """Nothing, likewise."""


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score the log of training rounds; its area is the convergence score. Raises InputError."""
    rounds = read_rounds(submitted(case))
    return CaseResult(case, tuple(measure(challenge, "", challenge.team_metrics, rounds)))


def check(expected: None, case: Case, challenge: Challenge) -> list[Problem]:
    """Nothing where the log can be read. Raises InputError with every fault."""
    read_rounds(submitted(case))
    return []


def read_rounds(path: Path) -> Rounds:
    """Read the log of a training: columns round, round_time_s and round_score, in any order of rows.

    The official table's columns serve too: time (simulated seconds since the start) and the three
    binary_dice columns, whose mean is the round's score. Raises InputError with every fault.
    """
    header = header_of(path)
    official = "round_score" not in header and not set(DICE_COLUMNS).isdisjoint(header)
    scores = list(DICE_COLUMNS) if official else ["round_score"]
    clock = "time" if "time" in header and "round_time_s" not in header else "round_time_s"
    table = read_numbers(path, [clock, *scores], id_column="round", strict=False)
    faults = list(table.faults)
    faults += [
        (f":{line}: round {name!r} is not a whole number", "number the rounds from 0")
        for line, name in zip(table.lines, table.ids, strict=True)
        if not (name.isdecimal() and len(name) < 10)
    ]
    if not table.ids:
        faults.append((": no round", "write one row a round"))
    if faults:
        raise refusal(path, faults)
    order = sorted(range(len(table.ids)), key=lambda row: int(table.ids[row]))
    numbers = [table.numbers[row] for row in order]
    stated = np.array([row[clock] for row in numbers])
    seconds = np.diff(stated, prepend=0.0) if clock == "time" else stated
    values = np.array([np.mean([row[name] for name in scores]) for row in numbers])
    first = int(table.ids[order[0]])
    lost = [str(first + k) for k, row in enumerate(order) if int(table.ids[row]) != first + k]
    if lost or first > 1:
        faults.append((f": round {lost[0] if lost else 0} is missing", "write every round, from 0 or 1"))
    faults += [
        (f":{table.lines[row]}: round {table.ids[row]} takes {seconds[k]:g} s", "a round takes time")
        for k, row in enumerate(order)
        if seconds[k] <= 0
    ]
    faults += [
        (f":{table.lines[row]}: the score {values[k]:g} lies outside 0 to 1", "write the mean Dice")
        for k, row in enumerate(order)
        if not 0 <= values[k] <= 1
    ]
    if faults:
        raise refusal(path, faults)
    return Rounds(seconds, values)
