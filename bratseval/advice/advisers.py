"""All advisers in their order, and their advice as notes of the screen or as text."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from bratseval.advice import choice, classes, cohort, distances, failures, structures
from bratseval.advice.findings import NOTHING, Findings
from bratseval.advice.literature import Advice
from bratseval.challenge import Challenge
from bratseval.errors import Problem, harmless

ADVISERS: tuple[Callable[[Challenge, Findings], Iterable[Advice]], ...] = (
    choice.overlap_only,
    choice.boundary_only,
    choice.hausdorff_maximum,
    choice.true_negatives,
    choice.counted_twice,
    distances.tolerance_unstated,
    distances.tolerance_below_voxel,
    distances.spacing_ignored,
    structures.small_structures,
    structures.size_spread,
    structures.several_lesions,
    failures.empty_references,
    failures.empty_left_out,
    failures.free_failures,
    failures.no_penalty,
    failures.missing_dropped,
    classes.prevalence,
    classes.hard_labels,
    classes.rare_class,
    classes.calibration,
    cohort.few_cases,
    cohort.dependent_cases,
    cohort.unequal_institutions,
    cohort.no_stability,
    cohort.one_number_a_team,
)


def advise(challenge: Challenge, findings: Findings = NOTHING) -> list[Advice]:
    """All advice for a challenge and what its references show, in a fixed order."""
    return [piece for adviser in ADVISERS for piece in adviser(challenge, findings)]


def as_notes(advice: Iterable[Advice]) -> list[Problem]:
    """Advice as notes of the screen: the topic in the place of a code, the source by its authors alone."""
    return [
        Problem("note", one.topic, f"{one.where}: {one.reason} ({one.source.partition(',')[0]})", one.change)
        for one in advice
    ]


def as_text(challenge: Challenge, findings: Findings, advice: Sequence[Advice], width: int = 80) -> str:
    """Advice by topic; what several pieces share, their remedy and source, is written once."""
    seen = f"{len(findings.cases)} cases seen" if findings.cases else "no references seen"
    count = f"{len(advice)} piece{'s' * (len(advice) > 1)} of advice" if advice else "no advice"
    lines = [f"{challenge.name}: {count}, {seen}"]
    for topic in dict.fromkeys(one.topic for one in advice):
        lines += ["", topic]
        alike: dict[tuple[str, str], list[str]] = defaultdict(list)
        for one in advice:
            if one.topic == topic:
                alike[one.change, one.source].append(f"{one.where}: {one.reason}")
        for (change, source), reasons in alike.items():
            for sentence in (*reasons, f"-> {change}", f"[{source}]"):
                lines += textwrap.wrap(
                    f"  {harmless(sentence)}", width, subsequent_indent="    ", break_on_hyphens=False
                )
    return "\n".join(lines)
