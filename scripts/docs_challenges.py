"""One page a bundled challenge from its resolved configuration; the table of parity; the differences."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from typing import Any

from docs_metrics import challenges
from docs_text import DOCS, code, cost, table

from bratseval.challenge import Challenge
from bratseval.config import PARITY_STATES, load_rulebook, parity
from bratseval.metrics.registry import find_metric
from bratseval.ranking.rules import SCHEMES

FAMILIES = {
    "BraTS segmentation": r"brats20\d\d(-(gli|ssa|men|men-rt|met|ped|goat))?",
    "BraTS, other tasks": r"brats20\d\d-.*|qu-brats-2020",
    "Federated tumor segmentation": r"fets.*",
    "Registration": r"brats-reg-2022|landmark-.*",
    "Other challenges": r".*",
}


def challenge_pages() -> dict[str, str]:
    """Path in the site -> Markdown: a page a bundled challenge, their list, parity and differences."""
    return {
        "challenges/index.md": _index(),
        "parity.md": _parity(),
        "differences.md": _differences(),
    } | {f"challenges/{one.name}.md": _page(one) for one in challenges()}


def sections() -> dict[str, list[str]]:
    """Names of the challenges by family, for the navigation."""
    return {family: [c.name for c in challenges() if family_of(c.name) == family] for family in FAMILIES}


def family_of(name: str) -> str:
    """The first family whose pattern fits."""
    return next(family for family, pattern in FAMILIES.items() if re.fullmatch(pattern, name))


def parity_figures() -> dict[str, dict[str, str]]:
    """What scripts/parity_table.py measured, by challenge: cases, values, difference."""
    with (DOCS / "parity_figures.csv").open(encoding="utf-8", newline="") as file:
        return {row["challenge"]: row for row in csv.DictReader(file)}


def _index() -> str:
    compared = parity()
    parts = [
        "# Bundled challenges\n",
        f"{len(challenges())} challenges, each a YAML file. `bratseval challenges list` prints them, "
        "`bratseval challenges show NAME` every rule of one. Another one is [written in a few "
        "lines](../write-a-challenge.md).\n",
    ]
    for family in FAMILIES:
        of_it = [one for one in challenges() if family_of(one.name) == family]
        parts.append(f"## {family}\n")
        rows = [
            (f"[`{c.name}`]({c.name}.md)", c.title, f"[`{(s := c.ranking.scheme)}`](../rankings/{s}.md)",
             compared[c.name]["parity"]) for c in of_it
        ]  # fmt: skip
        parts.append(table(("challenge", "what it is", "ranking", "parity"), rows))
    parts.append("".join(f"- {state}: {meaning}\n" for state, meaning in PARITY_STATES.items()))
    return "\n".join(parts)


def _page(one: Challenge) -> str:
    rulebook = load_rulebook(one.name)
    compared = parity()[one.name]
    sources = "".join(f"- [{s}]({s})\n" if s.startswith("http") else f"- {s}\n" for s in one.source)
    parts = [f"# {one.name}\n", f"{one.title}.\n"]
    facts = {
        "task": code(one.task),
        "official code": one.scorer,
        "version": str(one.version),
        "configuration": code(rulebook.digest),
    }
    parts += ["| | |\n|---|---|", *(f"| **{key}** | {value} |" for key, value in facts.items()), ""]
    references = "gold.csv" if one.task == "table" else "refs/"
    run = f"bratseval run {one.name} -s teams/ -r {references} -o results/"
    parts += [f"```bash\n{run}\n```\n"]
    if one.cohorts:
        rows = [(code(k), f"[{v}]({v}.md)") for k, v in one.cohorts.challenges.items()]
        parts += ["## Cohorts\n", "Every case is scored by the rules of its cohort's challenge.\n"]
        parts += [table(("cohort", "rules of"), rows)]
        parts.append(
            f"The cohort is in columns `{one.cohorts.case_column}` and `{one.cohorts.cohort_column}` of "
            f"`--metadata`; a case without one is taken for `{one.cohorts.default}`, with a warning.\n"
        )
    if one.labels:
        parts += ["## Labels\n", table(("label", "value"), ((k, v) for k, v in one.labels.items()))]
        if one.remap:
            parts.append(
                "Rewritten on reading: " + ", ".join(f"{a} to {b}" for a, b in one.remap.items()) + ".\n"
            )
        unknown = {"background": "count as background, with a warning", "refuse": "refuse the file"}
        parts.append(f"Other values {unknown[one.unknown_labels]}.\n")
    if one.regions:
        parts += ["## Regions\n", _regions(one)]
    parts += ["## Metrics and penalties\n", _metrics(one)]
    if _has_lesions(one):
        parts += ["## Lesions\n", _lesions(one)]
    parts += ["## Ranking\n", ranking_sentence(one) + "\n"]
    parts += ["## Files\n", _files(one)]
    parts += ["## Differences from the official program\n", _list(one.differences) or "None that is known.\n"]
    parts += ["## Parity\n", _compared(one, compared)]
    parts += ["## Source\n", sources]
    return "\n".join(parts)


def _list(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _regions(one: Challenge) -> str:
    rows = []
    for name, region in one.regions.items():
        what = "voxels without " if region.outside else ""
        labels = what + (
            ", ".join("any label" if label == "any" else label for label in region.labels) or "a file"
        )
        further = []
        if not region.scored:
            further.append("not scored")
        if region.join_by:
            further.append("lesions joined by " + ", ".join(region.join_by))
        if region.needs:
            further.append("needs " + ", ".join(region.needs))
        rules = one.rules(name)
        size = f"{rules.dilation_voxels}, > {rules.min_reference_mm3:g} mm³" if _has_lesions(one) else "–"
        rows.append((name, labels, size, "; ".join(further) or "–"))
    return table(("region", "labels", "lesions: dilation, size", "further"), rows)


def _has_lesions(one: Challenge) -> bool:
    return any(find_metric(spec.metric)[0] != "image" for spec in one.metrics.values())


def _metrics(one: Challenge) -> str:
    rows = []
    for column, spec in one.metrics.items():
        entry = find_metric(spec.metric)[1]
        where = ", ".join(spec.regions) or ("all" if one.regions else "–")
        if spec.pooled:
            where += " (pooled: " + ", ".join(spec.pooled) + ")"
        missing = spec.penalty if spec.missing is None else spec.missing
        costs = (cost(spec.empty_both), cost(spec.penalty), cost(missing))
        name = f"[`{column}`](../metrics/{entry.name}.md)"
        rows.append((name, where, *costs, _settings(spec.model_dump(exclude_defaults=True))))
    header = ("metric", "regions", "both empty", "failure", "missing file", "settings")
    return table(header, rows)


def _settings(given: Mapping[str, Any]) -> str:
    shown = ("surface", "spacing", "combine", "tolerance_mm", "disjoint", "within", "detection_iou")
    words = [f"{key}: {given[key]}" for key in shown if key in given]
    parameters = given.get("parameters", {})
    words += [f"{key}: {value}" for key, value in parameters.items()]
    return code(", ".join(words)) if words else "–"


def _lesions(one: Challenge) -> str:
    rules = one.lesions.model_dump(exclude_none=True)
    text = {key: ", ".join(value) if isinstance(value, list) else value for key, value in rules.items()}
    rows = [(f"[`lesions.{key}`](../challenge-file.md#lesions)", code(value)) for key, value in text.items()]
    return table(("rule", "value"), rows)


def ranking_sentence(one: Challenge) -> str:
    """The ranking block in words."""
    spec = one.ranking
    words = [
        f"Scheme [`{spec.scheme}`](../rankings/{spec.scheme}.md): teams are {SCHEMES[spec.scheme].says}."
    ]
    if spec.steps:
        words = [f"Steps of its own: {' → '.join(spec.steps)}."]
    ranked = ", ".join(code(name) for name in spec.metrics) or "none: nothing is ranked"
    regions = ", ".join(spec.regions or [n for n, r in one.regions.items() if r.scored])
    words.append(f"Ranked: {ranked}{f' in {regions}' if regions else ''}.")
    if "aggregate" in spec.plan.steps:
        words.append(f"Over cases: {spec.aggregate}.")
    words.append(f"Equal values: {spec.ties}. Ranks are joined by their {spec.combine}.")
    if spec.weights:
        words.append("Weights: " + ", ".join(f"{k} {v:g}" for k, v in spec.weights.items()) + ".")
    if spec.absolute:
        words.append("By absolute value: " + ", ".join(map(code, spec.absolute)) + ".")
    if isinstance(spec.missing, dict):
        costs = ", ".join(f"{code(k)} {v:g}" for k, v in spec.missing.items())
        words.append(f"A missing score counts {costs}.")
    else:
        meaning = {
            "worst": "counts as the worst",
            "drop": "is left out, with a warning",
            "rank_zero": "ranks first",
        }
        words.append(f"A missing score {meaning[spec.missing]}.")
    if spec.tie_breakers:
        words.append("Equal scores are separated by " + ", ".join(b.metric for b in spec.breakers) + ".")
    if spec.per == "institution":
        words.append("Ranked within each institution first.")
    return " ".join(words)


def _files(one: Challenge) -> str:
    rows = [("prediction", pattern) for pattern in one.files.prediction]
    rows += [("reference", pattern) for pattern in one.files.reference]
    for side, roles in (("prediction", one.files.prediction_parts), ("reference", one.files.reference_parts)):
        rows += [(f"{side}, {role}", pattern) for role, patterns in roles.items() for pattern in patterns]
    rows += [(f"team, {role}", pattern) for role, patterns in one.files.team.items() for pattern in patterns]
    parts = [
        table(("file", "name (regular expression)"), ((role, code(pattern)) for role, pattern in rows)),
        "The group `case` is the id of the case.\n" if any("(?P<case>" in p for _, p in rows) else "",
    ]
    if one.table:
        columns = (
            ("id", one.table.id),
            ("prediction", one.table.prediction),
            ("reference", one.table.target),
        )
        parts.append(table(("column", "names"), ((k, ", ".join(map(code, v))) for k, v in columns)))
    policy = {
        "strict": "must lie on the reference's grid: shape, spacing and affine",
        "ignore": "must have the reference's shape; spacing and affine are not compared",
        "resample": "is brought to the reference's grid, nearest neighbor",
    }
    if one.task not in ("table",):
        parts.append(f"A prediction {policy[one.geometry.policy]} (`--geometry` changes it).\n")
    return "\n".join(parts)


def _compared(one: Challenge, compared: Mapping[str, str]) -> str:
    lines = [
        f"{compared['parity']}: {PARITY_STATES[compared['parity']]}. Compared with {compared['against']}"
    ]
    figures = parity_figures().get(one.name)
    if figures:
        amount = (
            f"{figures['values']} values of {figures['cases']} cases"
            if figures["cases"]
            else figures["values"]
        )
        lines.append(f"; largest difference {figures['difference']} ({amount})")
    return "".join(lines) + f". Test: `{compared['test']}`. [All of them](../parity.md).\n"


def _parity() -> str:
    compared, figures = parity(), parity_figures()
    rows = []
    for one in challenges():
        own, figure = compared[one.name], figures.get(one.name)
        amount = (
            (figure["cases"], figure["values"], figure["difference"])
            if figure
            else ("–", "–", "see the test")
        )
        rows.append(
            (
                f"[{one.name}](challenges/{one.name}.md)",
                own["parity"],
                own["against"],
                *amount,
                code(own["test"]),
            )
        )
    return "\n".join(
        [
            "# Parity\n",
            "What the numbers of every bundled challenge were compared with, and the largest absolute "
            "difference that the tests saw. Every column counts: lesion-wise and whole-image metrics, "
            "sensitivity, specificity and counts of lesions. The tests allow 1e-6; nothing is rounded or "
            "loosened to meet it.\n",
            "".join(f"- {state}: {meaning}\n" for state, meaning in PARITY_STATES.items()),
            table(("challenge", "parity", "compared with", "cases", "values", "difference", "test"), rows),
            "Figures: `scripts/parity_table.py --csv`, kept in `docs/parity_figures.csv`; "
            "`tests/test_docs.py` computes some of them again. Differences of 5e-9 come from a guard of "
            "1e-8 in the denominator of the official NSD, those of 3e-8 from 32-bit arithmetic in CaPTk and "
            "GaNDLF. `tests/test_properties.py` goes on with random volumes at four voxel sizes, against a "
            "plain, slow implementation that is itself held to the official results.\n",
        ]
    )


def _differences() -> str:
    """The hand-written page, and the differences that the configurations state, by official program."""
    by_text: dict[tuple[str, ...], list[str]] = {}
    for one in challenges():
        if one.differences:
            by_text.setdefault((one.scorer, *one.differences), []).append(one.name)
    parts = [(DOCS / "differences.md").read_text(encoding="utf-8")]
    parts.append("## Where bratseval departs on purpose\n")
    parts.append("From the `differences` of the configurations, by official program:\n")
    for (scorer, *lines), names in sorted(by_text.items()):
        links = ", ".join(f"[{name}](challenges/{name}.md)" for name in names)
        parts.append(f"**{scorer}**: {links}\n")
        parts.append(_list(lines))
    return "\n".join(parts)
