"""Print the README's parity table: for each edition, the largest difference from the official results.

    python scripts/parity_table.py

Needs the official results under ../shared; compares exactly what tests/test_parity.py asserts.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from test_parity import EVERY_EDITION

from bratseval.config import load_challenge


def main() -> None:
    """One Markdown row an edition."""
    print("| challenge | official code | cases | values | largest absolute difference |")
    print("|---|---|---|---|---|")
    for edition, compare in EVERY_EDITION:
        rows = list(compare(edition))
        apart = max(
            0.0 if math.isnan(ours) and math.isnan(theirs) else abs(ours - theirs)
            for *_, ours, theirs in rows
        )
        cases = len({case for case, *_ in rows})
        scorer = load_challenge(edition.name).scorer.split(",")[0]
        print(f"| `{edition.name}` | {scorer} | {cases} | {len(rows)} | {apart:.0e} |")


if __name__ == "__main__":
    main()
