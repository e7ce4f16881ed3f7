"""What `validate` says to machines: JSON to mail, annotations of GitHub and Synapse, JUnit XML."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import asdict
from xml.etree import ElementTree

from bratseval.errors import Problem, as_sentences, counted, harmless, within
from bratseval.validation import Checked

LONGEST = 500  # characters of a summary: what Synapse takes for an annotation
SHOWN = 20  # annotations of a code
_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def verdict(checked: Checked) -> str:
    """One sentence."""
    counts = checked.counts
    state = {3: "references unusable", 4: "incomplete"}.get(checked.exit_code, "invalid")
    state = "valid" if checked.valid else state
    numbers = ", ".join(
        counted(counts[f"{kind}s"], kind) for kind in ("error", "warning", "note") if counts[f"{kind}s"]
    )
    return f"{state}: team {checked.team}, {counted(counts['cases'], 'case')}, {numbers or 'no problem'}"


def summary(checked: Checked, longest: int = LONGEST) -> str:
    """The verdict and as many problems as fit, cut at a whole message."""
    return within([harmless(verdict(checked))[: longest - 20], *as_sentences(checked.problems)], longest)


def as_json(checked: Checked) -> str:
    """One document with a summary short enough to mail beside the full list."""
    document = {
        "challenge": checked.challenge,
        "team": checked.team,
        "valid": checked.valid,
        "exit_code": checked.exit_code,
        "summary": summary(checked),
        "counts": dict(checked.counts),
        "cases": list(checked.cases),
        "problems": [asdict(problem) for problem in checked.problems],
    }
    return json.dumps(document, sort_keys=True, allow_nan=False)


def as_github(checked: Checked) -> str:
    """Workflow commands that GitHub shows beside the files."""
    lines = []
    for code in dict.fromkeys(problem.code for problem in checked.problems):
        group = [problem for problem in checked.problems if problem.code == code]
        lines += [annotation(problem) for problem in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"::notice title={code}::{len(group) - SHOWN} more problems {code}")
    return "\n".join([*lines, _escaped(verdict(checked))])


def annotation(problem: Problem) -> str:
    """A problem as a workflow command."""
    title = ", ".join(filter(None, [problem.code, problem.case and f"case {problem.case}"]))
    place = f"file={_property(problem.file)}," if problem.file else ""
    text = problem.message + (f"\nhint: {problem.hint}" if problem.hint else "")
    return f"::{_LEVELS[problem.severity]} {place}title={_property(title)}::{_escaped(text)}"


def _escaped(text: str) -> str:
    shown = "\n".join(harmless(line) for line in text.split("\n"))
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def as_markdown(checked: Checked) -> str:
    """The summary of a job: the verdict and a table of the first problems."""
    lines = [f"### bratseval validate {checked.challenge}", "", _cell(verdict(checked)), ""]
    if checked.problems:
        lines += ["| | code | case | what | remedy |", "|---|---|---|---|---|"]
    for p in checked.problems[:100]:
        lines.append("| " + " | ".join(map(_cell, (p.severity, p.code, p.case, p.message, p.hint))) + " |")
    if len(checked.problems) > 100:
        lines.append(f"\n{len(checked.problems) - 100} more problems")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that Markdown and HTML take for nothing else."""
    return "".join(f"\\{letter}" if letter in string.punctuation else letter for letter in harmless(text))


def as_junit(checked: Checked) -> str:
    """JUnit XML: a suite for the team, a test for each case and one for the submission as a whole."""
    by_case: dict[str, list[Problem]] = {"": [], **{case: [] for case in checked.cases}}
    for problem in checked.problems:
        by_case.setdefault(problem.case, []).append(problem)
    suite = ElementTree.Element("testsuite", name=harmless(checked.team))
    failed = 0
    for case, problems in by_case.items():
        test = ElementTree.SubElement(
            suite, "testcase", classname=harmless(checked.team), name=harmless(case) or "(submission)"
        )
        if faults := [problem for problem in problems if problem.severity in checked.failing]:
            failed += 1
            first = {"type": faults[0].code, "message": harmless(faults[0].message)}
            ElementTree.SubElement(test, "failure", first).text = _listed(faults)
        if others := [problem for problem in problems if problem.severity not in checked.failing]:
            ElementTree.SubElement(test, "system-out").text = _listed(others)
    suite.attrib |= {"tests": str(len(by_case)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", name=f"bratseval validate {checked.challenge}")
    root.append(suite)
    ElementTree.indent(root)
    # ASCII with references, whatever the encoding of stdout is.
    return ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True).decode("ascii")


def as_synapse(checked: Checked) -> str:
    """Annotations of a submission: VALIDATED, INVALID or, where that could not be found out, NOT_SCORED."""
    done = checked.exit_code in (0, 1)
    document = {
        "submission_status": ("VALIDATED" if checked.valid else "INVALID") if done else "NOT_SCORED",
        "submission_errors": within(as_sentences(checked.problems), LONGEST),
    }
    return json.dumps(document, sort_keys=True)


def stopped(format: str, problems: Sequence[Problem]) -> str:
    """What goes to stdout where a command stopped before it checked anything."""
    if format == "github":
        return "\n".join(map(annotation, problems))
    return FORMATS[format](Checked("", "", (), tuple(problems), ("error", "warning"), 2))


def _listed(problems: Sequence[Problem]) -> str:
    return "\n".join(
        harmless(f"{p.severity}[{p.code}] {p.message}") + (f"\n  hint: {harmless(p.hint)}" if p.hint else "")
        for p in problems
    )


FORMATS = {"json": as_json, "github": as_github, "junit": as_junit, "synapse": as_synapse}
