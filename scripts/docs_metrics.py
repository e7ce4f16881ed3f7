"""One page a registered metric, from the registry, its docstring and docs/metrics.yml."""

from __future__ import annotations

from functools import cache

import docs_examples as examples
from docs_text import code, cost, facts, formula, number, prose, source, table

from bratseval.challenge import Challenge
from bratseval.config import bundled_names, load_challenge
from bratseval.metric_table import MetricRow, metric_rows

LEVELS = {
    "image": "the whole image, a number a case and region",
    "lesion": "lesions: the mean over them, or their number",
    "large": "lesions from `lesions.large_mm3` on",
    "small": "lesions below `lesions.large_mm3`",
    "team": "the whole team, one number",
}
READS = {
    "overlap": "Overlap of two masks",
    "agreement": "Overlap on the whole grid",
    "distances": "Distances of two boundaries",
    "detection": "Detection of lesions",
    "landmarks": "Landmarks of a registration",
    "jacobian": "Smoothness of a registration",
    "filtering": "Uncertainty maps (QU-BraTS)",
    "raters": "A probability map against several raters (QUBIQ)",
    "intensity": "A synthetic image against the real one",
    "labels": "Labels of subjects",
    "scores": "Scores of subjects",
    "times": "Times to an event",
    "ratings": "Ratings",
    "counts": "Counts of subjects",
    "rounds": "Rounds of a federated training",
    "pooled": "All cases of a team together",
}
SHOWN = {
    "overlap": "Reference (solid) and prediction (dashed), 1 mm voxels.",
    "agreement": "Reference (solid) and prediction (dashed) on a grid of 60 x 40 voxels.",
    "distances": "Left: both boundaries, and from every fifth point of each the way to the nearest point "
    "of the other. Right: the distances of all points; those of voxels, each of the same area.",
    "detection": "Reference lesions are filled, predicted ones dashed.",
    "landmarks": "Left: nine landmarks before the registration, where they belong, and where the "
    "registration puts them. Right: the share of landmarks within an error.",
    "jacobian": "Left: the warped grid. Right: the determinants of all its voxels, on a logarithmic axis.",
    "filtering": "What is left of a prediction as its most uncertain voxels are filtered out.",
    "raters": "A map of probabilities in gray, and the outlines of three raters.",
    "intensity": "One plane of a volume; the region is inside the orange outline.",
    "labels": "Thirty subjects by class and submitted label.",
    "scores": "Forty subjects by score, and the curve over all thresholds.",
    "times": "Eight subjects; a filled circle is an event, an open one a censoring.",
    "ratings": "Twelve subjects, one without a rating.",
    "counts": "Subjects with and without a prediction.",
    "rounds": "Nine rounds; the area under the best score so far, up to a week.",
    "pooled": "Five cases, which are joined before anything is divided.",
}


@cache
def challenges() -> tuple[Challenge, ...]:
    """All bundled challenges, by name."""
    return tuple(load_challenge(name) for name in bundled_names())


def metric_pages() -> dict[str, str]:
    """Path in the site -> Markdown: a page for every registered metric, and their list."""
    rows = metric_rows()
    return {"metrics/index.md": _index(rows)} | {f"metrics/{row.name}.md": _page(row) for row in rows}


def sections() -> dict[str, list[str]]:
    """Names of the metrics by what they read, for the navigation."""
    rows = metric_rows()
    found = {title: [row.name for row in rows if row.reads == reads] for reads, title in READS.items()}
    return {title: names for title, names in found.items() if names}


def _index(rows: list[MetricRow]) -> str:
    parts = [
        "# Metrics\n",
        f"All {len(rows)} metrics, by what they read. A name at another level is the same function: "
        "`lesion_dice` is `dice` averaged over lesions. `bratseval metrics NAME` prints the facts of "
        "one.\n",
    ]
    for reads, title in READS.items():
        of_kind = [row for row in rows if row.reads == reads]
        if of_kind:
            parts.append(f"## {title}\n")
            parts.append(
                table(
                    ("metric", "what it is", "best", "worst", "unit"),
                    (
                        (f"[`{r.name}`]({r.name}.md)", prose(r.definition), *_ends(r), r.unit or "–")
                        for r in of_kind
                    ),
                )
            )
    return "\n".join(parts)


def _page(row: MetricRow) -> str:
    """Definition, formula, facts, picture, edge cases, parameters, use, source."""
    own = facts("metrics").get(row.name, {})
    parts = [f"# {row.name}\n", prose(row.definition) + "\n"]
    if "formula" in own:
        parts.append(formula(own["formula"]))
    if "where" in own:
        parts.append(own["where"] + "\n")
    parts += ["| | |\n|---|---|", *_facts(row), ""]
    value = examples.value_of(row.name)
    given = "".join(f", {key} = {value:g}" for key, value in examples.GIVEN.get(row.name, {}).items())
    caption = (
        f"{SHOWN[row.reads]} Here `{row.name}` = {number(value)}{f' {row.unit}' if row.unit else ''}{given}."
    )
    parts += [
        "## Example\n",
        f"![{caption.replace('`', '')}](img/{row.name}.svg){{ .picture }}\n",
        caption + "\n",
    ]
    if details := [text for text in (prose(_rest(row)), own.get("note", "")) if text]:
        parts += ["## Details\n", *(f"{text}\n" for text in details)]
    parts += ["## Edge cases\n", _edges(row)]
    if row.parameters:
        parts += ["## Parameters\n", _parameters(row)]
    parts += ["## In the bundled challenges\n", _users(row)]
    parts += ["## Source\n", "".join(f"- {source(one)}\n" for one in own.get("source", ()))]
    return "\n".join(parts)


def _rest(row: MetricRow) -> str:
    """The docstring after its first sentence."""
    words = " ".join(row.documentation.partition("\n\n")[0].split())
    first = words.removeprefix(row.definition).strip()
    return "\n\n".join(filter(None, (first, row.documentation.partition("\n\n")[2].strip())))


def _ends(row: MetricRow) -> tuple[str, str]:
    """Best and worst value in words."""
    if not row.direction:
        return "a fact", "–"
    best, worst = ("unbounded" if end is None else f"{end:g}" for end in (row.best, row.worst))
    return best, worst


def _facts(row: MetricRow) -> list[str]:
    best, worst = _ends(row)
    names = "; ".join(f"{code(name)} for {LEVELS[level]}" for level, name in row.names.items())
    better = {"larger": "larger is better", "smaller": "smaller is better", "": "neither: a fact, not ranked"}
    lines = {
        "best, worst": f"{best}, {worst}" if row.direction else "no bound",
        "direction": better[row.direction],
        "unit": row.unit or "none",
        "names": names,
        "reads": READS[row.reads].lower(),
    }
    return [f"| **{key}** | {value} |" for key, value in lines.items()]


def _edges(row: MetricRow) -> str:
    """What the function gives, from calling it, and what the challenges make of it."""
    parts = []
    if values := examples.empty_values(row.name):
        shown = {"nan": "undefined", "inf": "infinite"}
        cells = {side: shown.get(str(value), number(value)) for side, value in values.items()}
        parts.append(
            table(
                ("both empty", "reference empty", "prediction empty"),
                [(cells["both"], cells["reference"], cells["prediction"])],
            )
        )
        parts.append(
            "This is what the function itself gives. Where it is undefined or infinite, the challenge "
            "states the value: `empty_both`, or `penalty` where one side is empty.\n"
        )
    elif row.undefined:
        parts.append(f"In its own words: {prose(row.undefined)}. The challenge states what that costs.\n")
    parts.append(
        "A file that is missing, cannot be read or lies on another grid is never left out: it takes the "
        "value below, and where that is empty the ranking's rule for missing values.\n"
        if "team" not in row.names
        else "A subject without a usable row is penalized on its own, as the text above says; a table that "
        "cannot be read takes the penalty of every metric.\n"
    )
    return "\n".join(parts)


def _users(row: MetricRow) -> str:
    """The values by rule of the bundled challenges, those with the same rules in one row."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for one in challenges():
        for spec in one.metrics.values():
            if spec.metric in row.names.values():
                missing = spec.penalty if spec.missing is None else spec.missing
                costs = (cost(spec.empty_both), cost(spec.penalty), cost(missing))
                found.setdefault((spec.metric, *costs), []).append(one.name)
    if not found:
        return "No bundled challenge computes it; your own may name it.\n"
    header = ("as", "both empty", "one side empty, or a failure", "file missing or refused", "challenges")
    rows = [
        (code(name), *costs, ", ".join(f"[{one}](../challenges/{one}.md)" for one in dict.fromkeys(users)))
        for (name, *costs), users in sorted(found.items())
    ]
    return table(header, rows)


def _parameters(row: MetricRow) -> str:
    rows = []
    for one in row.parameters:
        choices = ", ".join(code(choice) for choice in one.choices if choice != str(one.default))
        default = "must be stated" if one.default is None else code(one.default)
        rows.append((code(one.key), default, choices or "–"))
    return table(("key in the metric's block", "default", "other choices"), rows)
