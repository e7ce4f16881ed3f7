"""A checkout of the official code of BraTS 2023 (rachitsaluja/BraTS-2023-Metrics), driven from outside.

It was written for pandas 1 and numpy 1; three names that have gone since are put back. Nothing of it is here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Scores = dict[str, dict[str, float]]

NAMES = {
    "LesionWise_Score_Dice": "lesion_dice",
    "LesionWise_Score_HD95": "lesion_hd95",
    "Num_TP": "lesion_tp",
    "Num_FP": "lesion_fp",
    "Num_FN": "lesion_fn",
    "Legacy_Dice": "dice",
    "Legacy_HD95": "hd95",
    "Sensitivity": "sensitivity",
    "Specificity": "specificity",
    "GT_Complete_Volume": "reference_volume_mm3",
}


def scorer(checkout: str, challenge: str) -> Callable[[Path, Path], Scores]:
    """What scores a reference and a prediction under e.g. brats2023-gli, by our names of metrics."""
    sys.path.insert(0, checkout)
    np.Inf = np.inf  # noqa: NPY201
    pd.DataFrame.append = lambda frame, other: pd.concat([frame, other])
    replace = pd.DataFrame.replace

    def replace_numbers(frame: Any, *arguments: Any, **options: Any) -> Any:
        lists = "predicted_lesion_numbers"  # the column that pandas stumbles on here, and without infinities
        if lists not in frame:
            return replace(frame, *arguments, **options)
        return replace(frame.drop(columns=lists), *arguments, **options).join(frame[lists])

    pd.DataFrame.replace = replace_numbers
    metrics = importlib.import_module("metrics")

    def score(reference: Path, prediction: Path) -> Scores:
        module = "BraTS-" + challenge.rsplit("-")[-1].upper()
        table = metrics.get_LesionWiseResults(str(prediction), str(reference), module)
        return {
            row["Labels"]: {ours: float(row[theirs]) for theirs, ours in NAMES.items()}
            for row in table.to_dict("records")
        }

    return score
