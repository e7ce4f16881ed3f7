"""Print the README's parity table: for each edition, the largest difference from the official results.

    python scripts/parity_table.py                                  # Markdown, as in the README
    python scripts/parity_table.py --csv > docs/parity_figures.csv  # for the documentation

Needs the official results under ../shared; compares exactly what tests/test_parity.py asserts.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from test_parity import EVERY_EDITION

from bratseval.config import load_challenge


class Figures(NamedTuple):
    """What was compared, and the largest absolute difference."""

    challenge: str
    cases: str
    values: str
    difference: str


# Measured by the golden tests that configs/parity.csv names for these challenges; they compare other tables.
OTHERS = (
    Figures("qu-brats-2020", "5", "areas and curves at 40 and 100 thresholds", "4e-09"),
    Figures("brats-reg-2022", "6", "errors, robustness and determinants", "0e+00"),
    Figures("landmark-hit-rate", "6", "rates and areas", "0e+00"),
    Figures("qubiq-2021", "2", "all metrics", "3e-17"),
    Figures("fets2021-task1", "1", "convergence score after each of 111 rounds", "6e-16"),
    Figures("fets2022-task1", "1", "convergence score after each of 111 rounds", "6e-16"),
    *(
        Figures(
            f"brats{year}-inpainting", "4", "nine metrics", "8e-08 (relative; official values are 32-bit)"
        )
        for year in (2024, 2025, 2026)
    ),
    Figures("brats2023-brasyn", "2", "SSIM", "4e-06 (official sums are 32-bit)"),
    Figures("brats2023-inpainting", "4", "SSIM in three dimensions", "1e-12"),
    *(
        Figures(f"brats{year}-path", "6", "six metrics", "3e-08 (official values are 32-bit)")
        for year in (2024, 2025, 2026)
    ),
    Figures("brats2021-mgmt", "4", "AUROC", "1e-16"),
    Figures("time-to-event", "4", "concordance index", "1e-16"),
    Figures("lits", "3 sets", "all 21 numbers", "5e-11 (printed with 10 digits)"),
    *(
        Figures(f"msd-{organ}", "5", "Dice and NSD", "3e-12")
        for organ in (
            *("brain", "heart", "liver", "hippocampus", "prostate"),
            *("lung", "pancreas", "hepatic-vessel", "spleen", "colon"),
        )
    ),
    Figures("generic-segmentation", "5", "Dice, HD95 and NSD", "3e-12"),
    Figures("crossmoda-2021", "5", "Dice and ASSD", "2e-08 (32-bit spacing)"),
)


def figures_of(edition: Any, compare: Callable[[Any], Iterator[Any]]) -> Figures:
    """Compare one edition with its official results."""
    rows = list(compare(edition))
    apart = max(
        0.0 if math.isnan(ours) and math.isnan(theirs) else abs(ours - theirs) for *_, ours, theirs in rows
    )
    return Figures(edition.name, str(len({case for case, *_ in rows})), str(len(rows)), f"{apart:.0e}")


def main() -> None:
    """One row an edition."""
    measured = [figures_of(edition, compare) for edition, compare in EVERY_EDITION]
    if "--csv" in sys.argv[1:]:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerows([Figures._fields, *sorted((*measured, *OTHERS))])
        return
    print("| challenge | official code | cases | values | largest absolute difference |")
    print("|---|---|---|---|---|")
    for one in measured:
        scorer = load_challenge(one.challenge).scorer.split(",")[0]
        print(f"| `{one.challenge}` | {scorer} | {one.cases} | {one.values} | {one.difference} |")


if __name__ == "__main__":
    main()
