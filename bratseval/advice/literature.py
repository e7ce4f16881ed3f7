"""One piece of advice, the papers that it cites, and a threshold that they leave open."""

from __future__ import annotations

from dataclasses import dataclass

RELOADED = "Maier-Hein et al. 2024, Metrics Reloaded, doi:10.1038/s41592-023-02151-z"
BOUNDARIES = f"{RELOADED}, Table 1 (boundaries)"

PITFALLS = "Reinke et al. 2024, doi:10.1038/s41592-023-02150-0"  # of metrics, companion of Metrics Reloaded
IMBALANCE = f"{PITFALLS}, P2.3 (class imbalance)"
IMPERFECT = f"{PITFALLS}, P2.3 (imperfect reference)"
EMPTY = f"{PITFALLS}, P2.4 (empty reference or prediction)"
DEPENDENT = f"{PITFALLS}, P3 (non-independent cases)"

RANKINGS = "Maier-Hein et al. 2018, doi:10.1038/s41467-018-07619-7"
MISSING = f"{RANKINGS} (missing data)"
TOOLKIT = "Wiesenfarth et al. 2021, doi:10.1038/s41598-021-82017-6"
TOLERANCE = "Nikolov et al. 2021, doi:10.2196/26151"

UNEQUAL = 3.0  # largest to smallest institution, most to least frequent class; ours, the papers give none


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to consider.

    topic : stable word. where : key of the YAML, region or cases. reason and change : a sentence each.
    """

    topic: str
    where: str
    reason: str
    source: str
    change: str
