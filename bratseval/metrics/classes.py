"""Classification: how labels and scores of subjects agree with their classes.

Conventions: the reference comes first; classes are 0 to classes - 1. A subject without a usable prediction
holds a label beyond them, which is always wrong, and nan as its score, which loses every comparison. What
is undefined is nan. Metrics of labels: accuracy, mcc, f1, class_sensitivity, class_specificity,
class_precision; of scores: auroc, auroc_lower, auroc_upper, average_precision, class_brier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bratseval.metrics.overlap import ratio
from bratseval.metrics.registry import metric

Average = Literal["micro", "macro", "weighted", "binary"]
Confidence = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True)
class Labels:
    """The class (n,) and the submitted label (n,) of every subject, and the number of classes."""

    reference: np.ndarray
    prediction: np.ndarray
    classes: int

    @cached_property
    def confusion(self) -> np.ndarray:
        """(k, k) subjects by class and label; k counts the label of missing predictions where it occurs."""
        k = max(self.classes, *(int(side.max(initial=0)) + 1 for side in (self.reference, self.prediction)))
        return np.bincount(self.reference * k + self.prediction, minlength=k * k).reshape(k, k)


@dataclass(frozen=True)
class Scores:
    """The class (n,) of every subject and its scores (n, classes), larger for what is held more likely."""

    reference: np.ndarray
    scores: np.ndarray

    @cached_property
    def delong(self) -> tuple[float, float]:
        """Area of class 1 and its standard error, nan where one class has less than two subjects.

        DeLong et al. 1988, doi:10.2307/2531595, by midranks (Sun and Xu 2014).
        """
        positive = self.reference == 1
        values = _placed(positive, self.scores[:, 1])
        n, m = int(positive.sum()), int((~positive).sum())
        if min(n, m) < 2:
            return float("nan"), float("nan")
        ranks = _midranks(values)
        of_positive = (ranks[positive] - _midranks(values[positive])) / m
        of_negative = 1 - (ranks[~positive] - _midranks(values[~positive])) / n
        variance = of_positive.var(ddof=1) / n + of_negative.var(ddof=1) / m
        return float(of_positive.mean()), math.sqrt(variance)


def _averaged(labels: Labels, parts: tuple[np.ndarray, np.ndarray], average: Average) -> float:
    """A share of every class, joined: parts are its numerators and denominators (k,).

    0/0 counts 0. macro leaves out classes that neither side names; a label that only predictions have (that
    of missing ones) stays in. weighted: by the number of subjects of the class. binary: class 1 alone.
    """
    numerators, denominators = (np.asarray(part, np.float64) for part in parts)
    if average == "micro":
        return ratio(float(numerators.sum()), float(denominators.sum()))
    shares = np.divide(numerators, denominators, out=np.zeros(len(numerators)), where=denominators > 0)
    if average == "binary":
        return float(shares[1])
    of_class, labeled = labels.confusion.sum(axis=1), labels.confusion.sum(axis=0)
    weights = of_class if average == "weighted" else (of_class + labeled > 0)
    return ratio(float(shares @ weights), float(weights.sum()))


@metric("accuracy", reads="labels", best=1.0, worst=0.0)
def accuracy(labels: Labels) -> float:
    """Share of subjects with the right label, 0 to 1 (torchmetrics accuracy with average micro)."""
    return ratio(float(np.trace(labels.confusion)), float(labels.confusion.sum()))


@metric("f1", reads="labels", best=1.0, worst=0.0)
def f1(labels: Labels, average: Average = "macro") -> float:
    """Harmonic mean of precision and sensitivity, 2TP/(2TP+FP+FN) of every class, averaged, 0 to 1."""
    right = np.diag(labels.confusion)
    both = labels.confusion.sum(axis=0) + labels.confusion.sum(axis=1)
    return _averaged(labels, (2 * right, both), average)


@metric("class_sensitivity", reads="labels", best=1.0, worst=0.0)
def class_sensitivity(labels: Labels, average: Average = "macro") -> float:
    """Sensitivity (recall), TP/(TP+FN) of every class, averaged, 0 to 1."""
    return _averaged(labels, (np.diag(labels.confusion), labels.confusion.sum(axis=1)), average)


@metric("class_precision", reads="labels", best=1.0, worst=0.0)
def class_precision(labels: Labels, average: Average = "macro") -> float:
    """Precision, TP/(TP+FP) of every class, averaged, 0 to 1."""
    return _averaged(labels, (np.diag(labels.confusion), labels.confusion.sum(axis=0)), average)


@metric("class_specificity", reads="labels", best=1.0, worst=0.0)
def class_specificity(labels: Labels, average: Average = "macro") -> float:
    """Specificity, TN/(TN+FP) of every class, averaged, 0 to 1."""
    others = labels.confusion.sum() - labels.confusion.sum(axis=1)
    wrong = labels.confusion.sum(axis=0) - np.diag(labels.confusion)
    return _averaged(labels, (others - wrong, others), average)


@metric("mcc", reads="labels", best=1.0, worst=-1.0)
def mcc(labels: Labels) -> float:
    """Matthews correlation coefficient, for several classes Gorodkin's R_K, -1 to 1.

    0 where one side names one class alone. Two classes have torchmetrics' special cases: 1 where all labels
    are right, -1 where all are wrong, and otherwise its limit for an empty row or column.
    """
    table = labels.confusion.astype(np.float64)
    of_class, labeled = table.sum(axis=1), table.sum(axis=0)
    total, right = float(table.sum()), float(np.trace(table))
    binary = table.shape == (2, 2)
    if binary and right in (0.0, total):
        return 1.0 if right else -1.0
    spread = (total**2 - float(labeled @ labeled)) * (total**2 - float(of_class @ of_class))
    if spread == 0:
        return _one_sided_mcc(table) if binary else 0.0
    return (right * total - float(of_class @ labeled)) / math.sqrt(spread)


def _one_sided_mcc(table: np.ndarray) -> float:
    """torchmetrics 1.1.2, matthews_corrcoef.py: a small number stands for the empty row or column."""
    (tn, fp), (fn, tp) = table.tolist()
    small = float(np.finfo(np.float32).eps)
    agree = tp + tn if not (tp and tn) else 0.0
    differ = fp + fn if not (fp and fn) else 0.0
    spread = (tp + fp + small) * (tp + fn + small) * (tn + fp + small) * (tn + fn + small)
    return math.sqrt(small) * (agree - differ) / math.sqrt(spread)


def _placed(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores (n,) where a missing one is behind all others, whichever the class."""
    return np.where(np.isnan(scores), np.where(positive, -np.inf, np.inf), scores)


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks (n,) from 1; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def _area(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve, ties counting half; nan where one class is absent (Mann-Whitney)."""
    n = int(positive.sum())
    pairs = n * (positive.size - n)
    ranks = _midranks(_placed(positive, scores))[positive].sum()
    return ratio(float(ranks) - n * (n + 1) / 2, pairs)


@metric("auroc", reads="scores", best=1.0, worst=0.0)
def auroc(scores: Scores, average: Literal["macro", "weighted", "binary"] = "binary") -> float:
    """Area under the ROC curve, 0 to 1; ties count half; nan where only one class occurs.

    binary: of class 1. Several classes: each against the rest, and the mean of all (macro) or by the number
    of subjects of the class (weighted). A class without subjects counts 0 there, as in torchmetrics 1.1.2.
    Labels are scores of 0 and 1, so that a class has (sensitivity + specificity) / 2; BraTS-Path's official
    code passes them through a 32-bit softmax whose rounding moves its number by up to 0.03, by machine.
    """
    reference = scores.reference
    if average == "binary":
        return _area(reference == 1, scores.scores[:, 1])
    classes = range(scores.scores.shape[1])
    count = np.bincount(reference, minlength=len(classes))[: len(classes)]
    if np.count_nonzero(count) < 2:
        return float("nan")
    areas = np.array([_area(reference == k, scores.scores[:, k]) if count[k] else 0.0 for k in classes])
    return float(areas.mean() if average == "macro" else areas @ count / count.sum())


@metric("auroc_lower", reads="scores", best=1.0, worst=0.0)
def auroc_lower(scores: Scores, confidence: Confidence = 0.95) -> float:
    """Lower end of DeLong's confidence interval of the area under the ROC curve, at least 0."""
    area, error = scores.delong
    return float(np.maximum(0.0, area - _normal(confidence) * error))


@metric("auroc_upper", reads="scores", best=1.0, worst=0.0)
def auroc_upper(scores: Scores, confidence: Confidence = 0.95) -> float:
    """Upper end of DeLong's confidence interval of the area under the ROC curve, at most 1."""
    area, error = scores.delong
    return float(np.minimum(1.0, area + _normal(confidence) * error))


def _normal(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches."""
    from statistics import NormalDist

    return NormalDist().inv_cdf((1 + confidence) / 2)


@metric("average_precision", reads="scores", best=1.0, worst=0.0)
def average_precision(scores: Scores) -> float:
    """Area under the precision-recall curve of class 1 as a sum of steps, 0 to 1; nan without such a subject.

    As scikit-learn's average_precision_score: no interpolation, equal scores enter together. Of subjects
    without a score those of class 1 are never found, the others come before all.
    """
    positive = scores.reference == 1
    if not positive.any():
        return float("nan")
    values = _placed(positive, scores.scores[:, 1])
    levels, place = np.unique(-values, return_inverse=True)
    found = np.cumsum(np.bincount(place, weights=positive & np.isfinite(values), minlength=len(levels)))
    reached = np.cumsum(np.bincount(place, minlength=len(levels)))
    return float(np.diff(found, prepend=0.0) @ (found / reached) / positive.sum())


@metric("class_brier", reads="scores", best=0.0, worst=2.0)
def class_brier(scores: Scores) -> float:
    """Mean squared distance of the probabilities of all classes from the class, 0 to 2 (Brier 1950).

    A subject without probabilities counts 2. Half of it is the binary form of two classes.
    """
    truth = np.eye(scores.scores.shape[1])[scores.reference]
    squares = ((scores.scores - truth) ** 2).sum(axis=1)
    return float(np.where(np.isnan(squares), 2.0, squares).mean()) if squares.size else float("nan")
