"""What the metrics of tables mean, in loops over subjects and pairs: slow, plain, and nothing of ours.

Classes and labels are whole numbers from 0; None is a subject without a usable prediction, which is always
wrong and loses every comparison. None as a result is undefined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product

Number = float | None
Average = str


def quotient(a: float, b: float) -> Number:
    return a / b if b else None


def beats(high: Number, low: Number) -> float:
    """How far a positive subject's score lies above a negative one's: 1, 0.5 for a tie, 0."""
    if high is None or low is None:
        return 0.0
    return 1.0 if high > low else 0.5 if high == low else 0.0


def sides(
    reference: Sequence[int], scores: Sequence[Number], k: int = 1
) -> tuple[list[Number], list[Number]]:
    """Scores of the subjects of class k, and of the others."""
    pairs = list(zip(reference, scores, strict=True))
    return [s for own, s in pairs if own == k], [s for own, s in pairs if own != k]


def auroc(reference: Sequence[int], scores: Sequence[Number], k: int = 1) -> Number:
    """Share of pairs of a subject of class k and another one in which the first has the larger score."""
    positive, negative = sides(reference, scores, k)
    return quotient(sum(beats(p, q) for p in positive for q in negative), len(positive) * len(negative))


def averaged_auroc(reference: Sequence[int], scores: Sequence[Sequence[Number]], average: Average) -> Number:
    """Each class against the rest; scores[class][subject]. A class without subjects counts 0."""
    if len(set(reference)) < 2:
        return None
    areas = [auroc(reference, own, k) or 0.0 for k, own in enumerate(scores)]
    if average == "macro":
        return sum(areas) / len(areas)
    return sum(area * reference.count(k) for k, area in enumerate(areas)) / len(reference)


def delong_error(reference: Sequence[int], scores: Sequence[Number]) -> Number:
    """Standard error of the area: from the variance of every subject's share of pairs that it wins."""
    positive, negative = sides(reference, scores)
    if min(len(positive), len(negative)) < 2:
        return None
    of_positive = [sum(beats(p, q) for q in negative) / len(negative) for p in positive]
    of_negative = [sum(beats(p, q) for p in positive) / len(positive) for q in negative]
    return math.sqrt(sum(variance(shares) / len(shares) for shares in (of_positive, of_negative)))


def variance(values: Sequence[float]) -> float:
    """With n - 1."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def average_precision(reference: Sequence[int], scores: Sequence[Number]) -> Number:
    """Sum over thresholds of the gain in recall times the precision there.

    Without a score a subject of class 1 is never found, and another one always.
    """
    placed = [
        (-math.inf if own == 1 else math.inf) if score is None else score
        for own, score in zip(reference, scores, strict=True)
    ]
    total, area, before = list(reference).count(1), 0.0, 0.0
    if not total:
        return None
    for threshold in sorted(set(placed) - {-math.inf}, reverse=True):
        called = [own for own, score in zip(reference, placed, strict=True) if score >= threshold]
        recall, precision = called.count(1) / total, called.count(1) / len(called)
        area += (recall - before) * precision
        before = recall
    return area


def brier(reference: Sequence[int], probabilities: Sequence[Sequence[Number]]) -> Number:
    """probabilities[class][subject]; a subject without any costs 2."""
    total = 0.0
    for subject, own in enumerate(reference):
        of_subject = [of_class[subject] for of_class in probabilities]
        if None in of_subject:
            total += 2
        else:
            total += sum(((p or 0.0) - (k == own)) ** 2 for k, p in enumerate(of_subject))
    return quotient(total, len(reference))


def c_index(times: Sequence[float], events: Sequence[bool], predicted: Sequence[Number]) -> Number:
    """Harrell's: over all pairs in which one subject is known to have had the event before the other."""
    concordant = comparable = 0.0
    for i in range(len(times)):
        for j in range(len(times)):
            if not events[i] or i == j:
                continue
            if times[i] < times[j] or (times[i] == times[j] and not events[j]):
                comparable += 1
                concordant += beats(predicted[j], predicted[i])
    return quotient(concordant, comparable)


def rates(
    reference: Sequence[int],
    labels: Sequence[int],
    classes: int,
    average: Average,
    part: Callable[..., tuple[int, int]],
) -> Number:
    """A share of counts of every class (tp, fp, fn, tn -> numerator, denominator), averaged."""
    parts = {}
    for k in range(classes):
        pairs = [(own == k, label == k) for own, label in zip(reference, labels, strict=True)]
        kinds = ((True, True), (False, True), (True, False), (False, False))
        parts[k] = part(*(pairs.count(kind) for kind in kinds))
    shares = {k: quotient(*parts[k]) or 0.0 for k in parts}
    if average == "micro":
        return quotient(sum(n for n, _ in parts.values()), sum(d for _, d in parts.values()))
    if average == "binary":
        return shares[1]
    if average == "macro":
        named = {*reference, *labels}
        return sum(shares[k] for k in named) / len(named)
    return sum(shares[own] for own in reference) / len(reference)


RATES: dict[str, Callable[..., tuple[int, int]]] = {
    "f1": lambda tp, fp, fn, tn: (2 * tp, 2 * tp + fp + fn),
    "class_sensitivity": lambda tp, fp, fn, tn: (tp, tp + fn),
    "class_precision": lambda tp, fp, fn, tn: (tp, tp + fp),
    "class_specificity": lambda tp, fp, fn, tn: (tn, tn + fp),
}


def r_k(reference: Sequence[int], labels: Sequence[int]) -> float:
    """Gorodkin 2004: correlation of two sides written as indicators of classes; 0 where one is constant."""
    classes = {*reference, *labels}

    def covariance(a: Sequence[int], b: Sequence[int]) -> float:
        total = 0.0
        for k in classes:
            mean_a, mean_b = a.count(k) / len(a), b.count(k) / len(b)
            total += sum(((x == k) - mean_a) * ((y == k) - mean_b) for x, y in zip(a, b, strict=True))
        return total

    a, b = list(reference), list(labels)
    if len(set(a)) < 2 or len(set(b)) < 2:
        return 0.0
    return covariance(a, b) / math.sqrt(covariance(a, a) * covariance(b, b))


def pearson(a: Sequence[float], b: Sequence[float]) -> Number:
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    mean_a, mean_b = math.fsum(a) / len(a), math.fsum(b) / len(b)
    products = math.fsum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    squares = [math.fsum((x - m) ** 2 for x in side) for side, m in ((a, mean_a), (b, mean_b))]
    return products / math.sqrt(squares[0] * squares[1])


def spearman(a: Sequence[float], b: Sequence[float]) -> Number:
    """Of ranks: how many are smaller, and half of those that are equal."""
    ranked = [[sum((x < own) + (x == own) / 2 for x in side) for own in side] for side in (a, b)]
    return pearson(*ranked)


def kendall(a: Sequence[float], b: Sequence[float]) -> Number:
    """tau-b: pairs of one order less those of the other, corrected for ties on either side."""
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None
    signs = [
        ((a[i] > a[j]) - (a[i] < a[j]), (b[i] > b[j]) - (b[i] < b[j]))
        for i, j in combinations(range(len(a)), 2)
    ]
    untied = [sum(pair[side] != 0 for pair in signs) for side in (0, 1)]
    return sum(x * y for x, y in signs) / math.sqrt(untied[0] * untied[1])


def mae(a: Sequence[float], b: Sequence[float]) -> Number:
    return quotient(math.fsum(abs(x - y) for x, y in zip(a, b, strict=True)), len(a))


def lost_pairs(a: Sequence[float], b: Sequence[Number]) -> list[tuple[int, int, int]]:
    """Of every two subjects: their places, and the order of b, which is that of a turned round where a
    rating of theirs is missing."""
    sign = [[(x > y) - (x < y) for y in a] for x in a]
    found = []
    for i, j in combinations(range(len(a)), 2):
        p, q = b[i], b[j]
        found.append((i, j, -sign[i][j] if p is None or q is None else (p > q) - (p < q)))
    return found


def squares(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((x - mean) ** 2 for x in values)


def unlike(values: Sequence[float]) -> float:
    return float(sum(x != y for x, y in combinations(values, 2)))


def least(numerator: float, of_a: float, of_b: Sequence[float]) -> Number:
    """Over the largest spread of b, or where it is negative over the least."""
    spread = of_a * (max(of_b) if numerator > 0 else min(of_b))
    return max(-1.0, numerator / math.sqrt(spread)) if spread else None


def least_correlation(name: str, a: Sequence[float], b: Sequence[Number], low: float, high: float) -> Number:
    """pearson, spearman or kendall where ratings of b are missing: the worst numerator, the worst spread."""
    known = [y for y in b if y is not None]
    if len(set(a)) < 2 or len(set(known)) < 2:
        return None
    pairs = lost_pairs(a, b)
    apart = [1e9 + i if y is None else y for i, y in enumerate(b)]  # missing ones are equal to nothing
    if name == "kendall":
        numerator = sum(((a[i] > a[j]) - (a[i] < a[j])) * sign for i, j, sign in pairs)
        return least(numerator, unlike(a), [unlike(known), unlike(apart)])
    if name == "spearman":
        ranks = [sum((x < own) + (x == own) / 2 for x in a) for own in a]
        numerator = sum((ranks[i] - ranks[j]) * sign / 2 for i, j, sign in pairs)
        spreads = [squares([sum((x < own) + (x == own) / 2 for x in side) for own in side])
                   for side in (known, apart)]  # fmt: skip
        return least(numerator, squares(ranks), spreads)
    mean = math.fsum(a) / len(a)
    numerator = math.fsum(
        min((x - mean) * end for end in (low, high)) if y is None else (x - mean) * y
        for x, y in zip(a, b, strict=True)
    )
    filled = product(*((low, high) if y is None else (y,) for y in b))
    return least(numerator, squares(a), [squares(known), *map(squares, filled)])
