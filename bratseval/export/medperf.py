"""MedPerf: `results.yaml`, a mapping of cases to metrics, as its metrics containers write it."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from bratseval.export.finished import TeamResults, case_values
from bratseval.tables import column_name

PARTIAL = "partial"


def document(results: TeamResults) -> str:
    """Case -> `<metric>_<region>` -> value, and `partial: true` where cases remain to be scored.

    Numbers that the team has once are under `all`.
    """
    content: dict[str, Any] = {PARTIAL: True} if not results.complete else {}
    for case, values in sorted(case_values(results.scores, (PARTIAL,), of_team=True).items()):
        columns = {column_name(region, metric): value for (region, metric), value in values.items()}
        content[case] = dict(sorted(columns.items()))
    yaml = YAML(pure=True)
    yaml.version = (1, 1)  # as MedPerf reads it: no, 007, 12:30 and 1e-7 need quotes or a dot there
    yaml.width = 10_000
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()
