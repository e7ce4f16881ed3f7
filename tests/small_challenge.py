"""A challenge of three teams and six small cases, for tests that stop, kill and move its scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import phantom, save

TEAMS, CASES = ("one", "two", "three"), 6
EVERY = sorted(f"{team} 0000{number}-000" for team in TEAMS for number in range(1, CASES + 1))
YAML = """
extends: brats2023-gli
name: small
regions: {TC: null, ET: null}
metrics: {lesion_hd95: null, hd95: null}
ranking:
  {metrics: [lesion_dice], missing: {lesion_dice: 0, lesion_hd95: null}, bootstrap: 10, permutations: 10}
"""


def write_challenge(root: Path) -> None:
    """Write small.yaml, refs/ and subs/ into a folder."""
    draw = np.random.default_rng(3)
    for number in range(1, CASES + 1):
        labels = phantom(draw)
        save(root / "refs" / f"X-0000{number}-000-seg.nii.gz", labels)
        for shift, team in enumerate(TEAMS):
            save(root / "subs" / team / f"X-0000{number}-000.nii.gz", np.roll(labels, shift, axis=0))
    (root / "small.yaml").write_text(YAML)
