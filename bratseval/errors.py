"""A problem that a person must hear about, and the exceptions that carry problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong, where, and what to do about it.

    ``code`` is stable (CFG config, SUB submission, NII file, GEO geometry, LBL labels,
    CSV tables, RUN execution, OUT output, PIC pictures); ``message`` is one sentence with the found
    and the expected value; ``hint`` says what to do.
    """

    severity: Severity
    code: str
    message: str
    hint: str = ""
    team: str = ""
    case: str = ""
    file: str = ""


SEVERITIES = ("error", "warning", "note")  # the worst first


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each problem once, the worst first, in the order that is the same for any order of arrival."""
    return sorted(
        dict.fromkeys(problems),
        key=lambda p: (SEVERITIES.index(p.severity), p.code, p.team, p.case, p.file, p.message, p.hint),
    )


def printable(text: str) -> str:
    """Escape control characters, so that a stranger's name cannot steer a terminal or break a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def harmless(text: str) -> str:
    """Printable text that the log of a GitHub job takes for no command of its runner either."""
    return printable(text).replace("##[", "# #[")


def counted(number: int, noun: str) -> str:
    """A number before its noun: 1 case, 2 cases."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def as_sentences(problems: Iterable[Problem]) -> list[str]:
    """A line for each problem: severity, code, message."""
    return [harmless(f"{p.severity}[{p.code}] {p.message}") for p in problems]


def within(lines: Sequence[str], longest: int) -> str:
    """As many lines as fit into so many characters, cut at a whole line; `(+12 more)` counts the others."""
    if len(whole := "\n".join(lines)) <= longest:
        return whole
    for shown in range(min(len(lines) - 1, longest), 0, -1):
        text = "\n".join([*lines[:shown], f"(+{len(lines) - shown} more)"])
        if len(text) <= longest:
            return text
    return f"(+{len(lines)} more)"


class BratsevalError(Exception):
    """Stops the command (or, raised while a file is read, the case) with its problems."""

    exit_code = 70

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        # The arguments reach Exception so that the error survives pickling between processes.
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "; ".join(problem.message for problem in self.problems)


class UsageError(BratsevalError):
    """A wrong option or configuration: the caller must change the command or the YAML."""

    exit_code = 2


class ReferenceDataError(BratsevalError):
    """References or case list cannot be used: the organizer must act."""

    exit_code = 3


class StoppedError(BratsevalError):
    """The machines that score are gone: finished cases are kept, the operator starts the command again."""

    exit_code = 4


class OutputError(BratsevalError):
    """The output folder cannot be written, or belongs to another configuration."""

    exit_code = 5


class InputError(BratsevalError):
    """One input file cannot be used; its case takes the penalty and the run goes on."""

    exit_code = 1


class Faults(ValueError):
    """Mistakes in a block of a challenge file, each a sentence after its field: `metrics.dice: ...`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(faults))
