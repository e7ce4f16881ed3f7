"""Tables, from their CSV files to scores: equal to plain loops over pairs, and what holds for every table."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import reference_tables as plain
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bratseval.blocks import Files, MetricSpec, SubjectTable
from bratseval.challenge import Challenge
from bratseval.errors import InputError
from bratseval.metrics import survival
from bratseval.metrics.ratings import Ratings
from bratseval.metrics.registry import find_metric
from bratseval.metrics.survival import Times
from bratseval.model import Case, Part, Score
from bratseval.policy import expected_scores, unscored
from bratseval.tasks import table

Cells = Sequence[object] | None  # what is submitted of a subject; None: no row
QUICK = settings(max_examples=50, deadline=None)
AVERAGES = ("micro", "macro", "weighted", "binary")
LOW, HIGH = 0, 6


def spec(metric: str, **parameters: Any) -> MetricSpec:
    """A metric whose penalty is its worst value; of ratings the largest error that the scale allows."""
    worst = find_metric(metric)[1].worst
    penalty = float(HIGH - LOW) if worst == math.inf else worst
    return MetricSpec(metric=metric, parameters=parameters, penalty=penalty)


OF_LABELS = {f"{name}_{average}": spec(name, average=average) for name in plain.RATES for average in AVERAGES}
OF_LABELS |= {name: spec(name) for name in ("accuracy", "mcc", "subjects", "missing_subjects")}
OF_LABELS |= {f"auroc_{average}": spec("auroc", average=average) for average in ("macro", "weighted")}
OF_SCORES = {
    name: spec(name)
    for name in (
        *("auroc", "auroc_lower", "auroc_upper", "average_precision", "class_brier", "accuracy"),
        *("subjects", "missing_subjects"),
    )
}
OF_PROBABILITIES = {f"auroc_{average}": spec("auroc", average=average) for average in ("macro", "weighted")}
OF_PROBABILITIES |= {name: spec(name) for name in ("class_brier", "accuracy")}
OF_TIMES = {"c_index": spec("c_index")} | {
    f"c_index_{end}": spec(f"c_index_{end}", draws=20, seed=3) for end in ("lower", "upper")
}
CORRELATIONS = ("pearson", "spearman", "kendall")
OF_RATINGS = {name: spec(name) for name in ("rating_mae", *CORRELATIONS)}


METRICS = {
    "label": OF_LABELS,
    "score": OF_SCORES,
    "probabilities": OF_PROBABILITIES,
    "time": OF_TIMES,
    "rating": OF_RATINGS,
}


@cache
def challenge(submitted: str, classes: int = 2, seed: int = 3) -> Challenge:
    """A challenge with every metric of what is submitted."""
    rules: dict[str, object] = {"submitted": submitted, "id": ["id"], "target": ["target"]}
    rules |= {"classes": classes, "prediction": ["value"]}
    rules |= {"event": "event"} if submitted == "time" else {}
    rules |= {"prediction": [f"p{k}" for k in range(classes)]} if submitted == "probabilities" else {}
    rules |= {"low": LOW, "high": HIGH} if submitted == "rating" else {}
    metrics = {
        column: spec(one.metric, **{**one.parameters, "seed": seed}) if "seed" in one.parameters else one
        for column, one in METRICS[submitted].items()
    }
    return Challenge(
        name="any",
        title="any",
        source=["none"],
        scorer="none",
        task="table",
        files=Files(team={"table": [r".+\.csv"]}, reference=[r".+\.csv"]),
        table=SubjectTable.model_validate(rules),
        metrics=metrics,
    )


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def scored(
    folder: Path,
    rules: Challenge,
    answers: Sequence[Sequence[object]],
    submitted: Sequence[Cells],
    shuffle: int | None = None,
) -> Mapping[str, Score]:
    """Scores by metric of what is submitted, both sides written to files, their rows in any order."""
    of_table = rules.table
    assert of_table is not None
    of_reference = [[f"s{i}", *cells] for i, cells in enumerate(answers)]
    of_team = [[f"s{i}", *cells] for i, cells in enumerate(submitted) if cells is not None]
    if shuffle is not None:
        random.Random(shuffle).shuffle(of_reference)
        random.Random(shuffle + 1).shuffle(of_team)
    answers_at, prediction = folder / "reference.csv", folder / "prediction.csv"
    event = [of_table.event] if of_table.event else []
    columns = of_table.prediction if of_table.submitted == "probabilities" else ["value"]
    write(answers_at, ["id", "target", *event], of_reference)
    write(prediction, ["id", *columns], of_team)
    case = Case("team", "", answers_at, prediction, prediction_parts=(Part("table", prediction),))
    reference = table.read_reference(case, rules)
    try:
        scores = table.score(reference, case, rules).scores
    except InputError as error:
        scores = unscored(rules, expected_scores(rules, case), error)
    assert [score.metric for score in scores] == list(rules.metrics)
    return {score.metric: score for score in scores}


def values(found: Mapping[str, Score]) -> dict[str, float | None]:
    """What was measured; None where it is undefined."""
    return {metric: score.measured for metric, score in found.items()}


def near(value: float | None) -> object:
    return None if value is None else pytest.approx(value, abs=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


# Few different values, so that there are ties; and any, so that there are none.
SHARES = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.floats(0, 1, allow_subnormal=False))
RATINGS = st.one_of(st.integers(LOW, HIGH).map(float), st.sampled_from([0.5, 2.5, 5.5]))
TIMES = st.one_of(st.integers(0, 4).map(float), st.floats(0, 30))
PREDICTED = st.one_of(st.integers(-2, 3).map(float), st.floats(-10, 10))


def optional(strategy: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    return st.one_of(st.none(), strategy, strategy, strategy)


def pairs(
    left: st.SearchStrategy[Any], right: st.SearchStrategy[Any], least: int = 1
) -> st.SearchStrategy[list[tuple[Any, Any]]]:
    """Answers and what is submitted, of at least one subject."""
    listed = st.lists(st.tuples(left, right), min_size=least, max_size=9)
    return listed.filter(lambda subjects: any(own is not None for _, own in subjects))


@st.composite
def labeled(draw: st.DrawFn) -> tuple[int, list[tuple[int, int | None]]]:
    classes = draw(st.integers(2, 4))
    own = st.integers(0, classes - 1)
    return classes, draw(pairs(own, st.one_of(st.none(), own, own, own)))


# Equal to the plain implementation.


@QUICK
@given(labeled())
def test_metrics_of_labels(folder: Path, drawn: tuple[int, list[tuple[int, int | None]]]) -> None:
    classes, subjects = drawn
    reference = [own for own, _ in subjects]
    labels = [classes if label is None else label for _, label in subjects]  # one beyond the classes
    rules = challenge("label", classes)
    submitted = [None if label is None else [label] for _, label in subjects]
    found = values(scored(folder, rules, [[own] for own in reference], submitted))
    right = sum(own == label for own, label in zip(reference, labels, strict=True))
    assert found["accuracy"] == near(right / len(reference))
    assert found["subjects"] == len(reference)
    assert found["missing_subjects"] == labels.count(classes)
    # Two classes without a missing label have torchmetrics' special cases, see below.
    if (
        classes > 2
        or classes in labels
        or (0 < right < len(labels) and len({*labels}) == 2 == len({*reference}))
    ):
        assert found["mcc"] == near(plain.r_k(reference, labels))
    beyond = classes + (classes in labels)
    for name, part in plain.RATES.items():
        for average in AVERAGES:
            if average == "micro" and name == "class_specificity":
                continue  # has all classes, also those that nobody names
            expected = plain.rates(reference, labels, beyond, average, part)
            assert found[f"{name}_{average}"] == near(expected), (name, average)
    one_hot = [[float(label == k) for label in labels] for k in range(classes)]
    for average in ("macro", "weighted"):
        assert found[f"auroc_{average}"] == near(plain.averaged_auroc(reference, one_hot, average))


@QUICK
@given(pairs(st.integers(0, 1), optional(SHARES)))
@example([(1, None), (0, None), (1, 0.0), (0, 1.0)])
@example([(1, 0.5), (0, 0.5), (1, 0.5), (0, 0.5)])
def test_metrics_of_scores(folder: Path, subjects: list[tuple[int, float | None]]) -> None:
    reference, numbers = [own for own, _ in subjects], [number for _, number in subjects]
    submitted = [None if number is None else [number] for number in numbers]
    found = values(scored(folder, challenge("score"), [[own] for own in reference], submitted))
    area, error = plain.auroc(reference, numbers), plain.delong_error(reference, numbers)
    assert found["auroc"] == near(area)
    assert found["average_precision"] == near(plain.average_precision(reference, numbers))
    both = [[None if number is None else 1 - number for number in numbers], numbers]
    assert found["class_brier"] == near(plain.brier(reference, both))
    right = sum(number is not None and (number >= 0.5) == own for own, number in subjects)
    assert found["accuracy"] == near(right / len(subjects))
    if area is None or error is None:
        assert found["auroc_lower"] is found["auroc_upper"] is None
    else:
        reach = NormalDist().inv_cdf(0.975) * error
        lower, upper = found["auroc_lower"], found["auroc_upper"]
        assert (lower, upper) == (near(max(0.0, area - reach)), near(min(1.0, area + reach)))
        assert lower is not None
        assert upper is not None
        assert lower <= area + 1e-12
        assert area - 1e-12 <= upper


@st.composite
def probable(draw: st.DrawFn) -> list[tuple[int, list[float] | None]]:
    """Class and probabilities of three classes, whole percents that add up to one."""
    cuts = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted)
    shares = cuts.map(lambda two: [two[0] / 100, (two[1] - two[0]) / 100, (100 - two[1]) / 100])
    return draw(pairs(st.integers(0, 2), st.one_of(st.none(), shares, shares)))


@QUICK
@given(probable())
def test_metrics_of_probabilities(folder: Path, subjects: list[tuple[int, list[float] | None]]) -> None:
    rules = challenge("probabilities", 3)
    reference = [own for own, _ in subjects]
    found = values(scored(folder, rules, [[own] for own in reference], [cells for _, cells in subjects]))
    by_class = [[None if cells is None else cells[k] for _, cells in subjects] for k in range(3)]
    for average in ("macro", "weighted"):
        assert found[f"auroc_{average}"] == near(plain.averaged_auroc(reference, by_class, average))
    assert found["class_brier"] == near(plain.brier(reference, by_class))
    right = sum(cells is not None and cells.index(max(cells)) == own for own, cells in subjects)
    assert found["accuracy"] == near(right / len(subjects))


@QUICK
@given(pairs(st.tuples(TIMES, st.booleans()), optional(PREDICTED)))
@example([((1.0, True), None), ((1.0, False), None), ((2.0, True), 0.0)])
def test_c_index(folder: Path, subjects: list[tuple[tuple[float, bool], float | None]]) -> None:
    answers = [own for own, _ in subjects]
    predicted = [number for _, number in subjects]
    found = values(
        scored(
            folder,
            challenge("time"),
            [[time, int(event)] for time, event in answers],
            [None if number is None else [number] for number in predicted],
        )
    )
    times, events = [time for time, _ in answers], [event for _, event in answers]
    expected = plain.c_index(times, events, predicted)
    assert found["c_index"] == near(expected)
    if expected is None:
        assert {*found.values()} == {None}
    lower, upper = found["c_index_lower"], found["c_index_upper"]
    assert (lower is None) == (upper is None)
    assert lower is None or upper is None or 0 <= lower <= upper <= 1


@QUICK
@given(
    st.lists(
        st.tuples(
            TIMES, st.booleans(), optional(PREDICTED), st.lists(st.integers(0, 3), min_size=3, max_size=3)
        ),
        max_size=8,
    )
)
def test_pairs_of_subjects_that_are_drawn_several_times(
    subjects: list[tuple[float, bool, float | None, list[int]]],
) -> None:
    """As many rows each as a draw has of it."""
    weights = np.array([often for *_, often in subjects], float).reshape(-1, 3)
    times = Times(
        np.array([time for time, *_ in subjects]),
        np.array([event for _, event, *_ in subjects], bool),
        np.array([math.nan if own is None else own for _, _, own, _ in subjects], float),
    )
    concordant, comparable = survival._weighted(times, weights)
    for draw in range(3):
        rows = [own for own in subjects for _ in range(own[3][draw])]
        expected = plain.c_index(*([row[k] for row in rows] for k in range(3)))  # type: ignore[misc]
        assert (expected is None) == (comparable[draw] == 0)
        assert expected is None or concordant[draw] / comparable[draw] == near(expected)


@QUICK
@given(pairs(RATINGS, optional(RATINGS)))
def test_metrics_of_ratings(folder: Path, subjects: list[tuple[float, float | None]]) -> None:
    reference = [own for own, _ in subjects]
    predicted = [number for _, number in subjects]
    # A missing rating is as far off as the scale allows.
    rated = [
        (LOW if own - LOW > HIGH - own else HIGH) if number is None else number for own, number in subjects
    ]
    submitted = [None if number is None else [number] for _, number in subjects]
    found = values(scored(folder, challenge("rating"), [[own] for own in reference], submitted))
    assert found["rating_mae"] == near(plain.mae(reference, rated))
    for name in CORRELATIONS:
        assert found[name] == near(plain.least_correlation(name, reference, predicted, LOW, HIGH)), name
        if None not in predicted:
            assert found[name] == near(getattr(plain, name)(reference, rated)), name


@QUICK
@given(st.lists(st.tuples(RATINGS, RATINGS), min_size=3, max_size=7), st.sets(st.integers(0, 6), max_size=2))
@example([(0.0, 0.0), (1.0, 1.0), (2.5, 0.0)], {2})  # at the far end, which is 6, it would gain
def test_no_rating_in_a_missing_row_gives_less(subjects: list[tuple[float, float]], lost: set[int]) -> None:
    reference, predicted = np.array(subjects).T
    places = sorted({i % len(subjects) for i in lost})

    def of(name: str, fill: Sequence[float]) -> float:
        """Of the ratings with those in the missing places; -1, the penalty, where it is undefined."""
        rated = predicted.copy()
        rated[places] = fill
        value = find_metric(name)[1].measure(Ratings(reference, rated, LOW, HIGH), {})
        return -1.0 if math.isnan(value) else value

    for name in CORRELATIONS:
        least = of(name, [math.nan] * len(places))
        fills = product((LOW, 0.7, 2.5, 4, 5.3, HIGH), repeat=len(places))
        assert least <= min(of(name, fill) for fill in fills) + 1e-12, name


# torchmetrics' special cases of two classes, from its text: the rows are the reference.
@pytest.mark.parametrize(
    ("reference", "labels", "expected"),
    [
        ([0, 1, 1], [0, 1, 1], 1.0),
        ([1, 1], [1, 1], 1.0),  # one class only, all right
        ([0, 1], [1, 0], -1.0),
        ([0, 0], [1, 1], -1.0),
        # One side is constant: (right - wrong) over the root of the sums that are not empty. No other program
        # says so, and 0 would be the usual answer.
        ([0, 1, 1], [1, 1, 1], (2 - 1) / math.sqrt(3 * 2 * 1)),
        ([0, 0, 1], [0, 0, 0], (2 - 1) / math.sqrt(3 * 2 * 1)),
        ([1, 1, 1], [0, 0, 1], (1 - 2) / math.sqrt(3 * 2 * 1)),
    ],
)
def test_mcc_of_two_classes(folder: Path, reference: list[int], labels: list[int], expected: float) -> None:
    rules = challenge("label")
    found = values(scored(folder, rules, [[own] for own in reference], [[label] for label in labels]))
    assert found["mcc"] == pytest.approx(expected, abs=1e-5)


# What holds for every table.

ANY = st.one_of(
    st.tuples(
        st.just("label"),
        pairs(st.tuples(st.integers(0, 3)), st.one_of(st.none(), st.tuples(st.integers(0, 3)))),
    ),
    st.tuples(st.just("score"), pairs(st.tuples(st.integers(0, 1)), st.one_of(st.none(), st.tuples(SHARES)))),
    st.tuples(
        st.just("time"),
        pairs(st.tuples(TIMES, st.integers(0, 1)), st.one_of(st.none(), st.tuples(PREDICTED))),
    ),
    st.tuples(st.just("rating"), pairs(st.tuples(RATINGS), st.one_of(st.none(), st.tuples(RATINGS)))),
)


@QUICK
@given(ANY, st.integers(0, 999))
def test_the_order_of_rows_is_nothing(folder: Path, drawn: tuple[str, list[Any]], seed: int) -> None:
    """Not on either side, to the last bit."""
    submitted, subjects = drawn
    rules = challenge(submitted, 4 if submitted == "label" else 2)
    sides = [own for own, _ in subjects], [cells for _, cells in subjects]
    assert scored(folder, rules, *sides) == scored(folder, rules, *sides, shuffle=seed)


COARSE = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.7, 1.0])


@QUICK
@given(pairs(st.integers(0, 1), optional(COARSE)))
def test_only_the_order_of_scores_counts(folder: Path, subjects: list[tuple[int, float | None]]) -> None:
    rules, ranks = challenge("score"), ("auroc", "auroc_lower", "auroc_upper", "average_precision")
    answers = [[own] for own, _ in subjects]
    whole, bent = (
        values(scored(folder, rules, answers, [None if n is None else [f(n)] for _, n in subjects]))
        for f in (lambda n: n, lambda n: 0.3 + n**3 / 2)
    )
    assert [whole[name] for name in ranks] == [bent[name] for name in ranks]


@QUICK
@given(pairs(st.tuples(TIMES, st.booleans()), optional(COARSE)))
def test_only_the_order_of_times_counts(
    folder: Path, subjects: list[tuple[tuple[float, bool], float | None]]
) -> None:
    rules = challenge("time")
    answers = [[time, int(event)] for (time, event), _ in subjects]
    whole, bent = (
        values(scored(folder, rules, answers, [None if n is None else [f(n)] for _, n in subjects]))
        for f in (lambda n: n, lambda n: math.exp(9 * n) - 40)
    )
    assert whole == bent


@QUICK
@given(pairs(st.integers(0, 1), SHARES))
def test_the_other_class_has_the_rest_of_the_area(folder: Path, subjects: list[tuple[int, float]]) -> None:
    rules, submitted = challenge("score"), [[number] for _, number in subjects]
    one, other = (
        values(scored(folder, rules, [[abs(flip - own)] for own, _ in subjects], submitted))["auroc"]
        for flip in (0, 1)
    )
    assert one == (None if other is None else pytest.approx(1 - other, abs=1e-12))


def test_the_bootstrap_depends_on_its_seed_alone(folder: Path) -> None:
    answers = [[i % 7 + i / 100, i % 3 > 0] for i in range(30)]
    sides = [[time, int(event)] for time, event in answers], [[i * 7 % 11] for i in range(30)]
    found = {
        seed: [scored(folder, challenge("time", seed=seed), *sides) for _ in range(2)] for seed in range(1, 4)
    }
    assert all(first == second for first, second in found.values())
    assert len({first["c_index_lower"].value for first, _ in found.values()}) == 3
    assert len({first["c_index"].value for first, _ in found.values()}) == 1


# Breaking a file must never help.

# Metrics that a subject without a usable row cannot improve, whatever else is submitted, and their better
# end. Not among them, since a missing label takes a false positive from a class: mcc, specificity, precision,
# f1 and sensitivity of a class, auroc of labels; nor the ends of DeLong's interval.
PROMISED = {
    "label": {
        "accuracy": 1,
        "f1_micro": 1,
        "class_sensitivity_micro": 1,
        "class_sensitivity_weighted": 1,
    },
    "score": {"auroc": 1, "average_precision": 1, "accuracy": 1, "class_brier": -1},
    "time": {"c_index": 1, "c_index_lower": 1, "c_index_upper": 1},
    "rating": {"rating_mae": -1} | dict.fromkeys(CORRELATIONS, 1),
}


def not_better(
    folder: Path, rules: Challenge, answers: Sequence[Any], submitted: Sequence[Cells], broken: int
) -> None:
    rules_of = rules.table
    assert rules_of is not None
    before = scored(folder, rules, answers, submitted)
    without = [None if i == broken else cells for i, cells in enumerate(submitted)]
    after = scored(folder, rules, answers, without)
    for metric, sign in PROMISED[rules_of.submitted].items():
        old, new = before[metric].value, after[metric].value
        if old is not None:  # else the answers leave it undefined
            assert new is not None, metric
            assert sign * new <= sign * old + 1e-12, (metric, old, new)


@QUICK
@given(ANY, st.integers(0, 8))
def test_a_broken_row_never_helps(folder: Path, drawn: tuple[str, list[Any]], broken: int) -> None:
    submitted, subjects = drawn
    rules = challenge(submitted, 4 if submitted == "label" else 2)
    sides = [own for own, _ in subjects], [cells for _, cells in subjects]
    not_better(folder, rules, *sides, broken % len(subjects))


@QUICK
@given(ANY, st.integers(0, 8))
def test_a_spoiled_row_costs_what_a_missing_one_costs(
    folder: Path, drawn: tuple[str, list[Any]], broken: int
) -> None:
    submitted, subjects = drawn
    rules = challenge(submitted, 4 if submitted == "label" else 2)
    answers, broken = [own for own, _ in subjects], broken % len(subjects)
    missing, spoiled = (
        scored(folder, rules, answers, [row if i == broken else own for i, (_, own) in enumerate(subjects)])
        for row in (None, ["?"])
    )
    assert [score.value for score in missing.values()] == [score.value for score in spoiled.values()]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_broken_label_never_helps_in_any_small_table(folder: Path, n: int) -> None:
    for reference, labels in product(product(range(2), repeat=n), repeat=2):
        not_better(folder, challenge("label"), [[own] for own in reference], [[one] for one in labels], 0)
