"""Plain and slow ranking schemes, written from the specification alone: an oracle for the tests.

A table maps (team, institution, case, region, metric) to a value; None is a missing value, infinity is a
value. An empty case marks a cohort metric: one value per team. Every scheme returns a score per team: small
is good for ranks, large for shares of teams beaten, an aggregate goes with its metric. None is no score.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from scipy import stats

Value = float | None
Key = tuple[str, str, str, str, str]
Table = dict[Key, Value]
Case = tuple[str, str]  # institution, case
Target = tuple[str, str]  # region, metric
Scores = dict[str, Value]
Column = dict[Case, Scores]  # the values of one region and metric
Scored = tuple[Scores, bool]  # scores, and whether small is good
Missing = Mapping[str, float] | Literal["worst", "drop"]
Ties = Literal["min", "average", "max", "dense"]
Adjust = Literal["none", "holm", "fdr"]
Worst = Literal["last", "after"]
Inside = Literal["rank_then_aggregate", "aggregate_then_rank", "test_then_rank"]

TOLERANCE = 1e-12  # two permutation statistics this close count as equal

# The metrics of the contract that cannot leave 0..1 and where large is good: their worst value is 0.
BOUNDED = {
    *("dice", "iou", "nsd", "sensitivity", "specificity", "precision", "volume_similarity", "global_dice"),
    *("lesion_dice", "lesion_nsd", "lesion_precision", "lesion_recall", "lesion_recall_any", "lesion_f1"),
    *("panoptic_quality", "robustness", "hit_rate_auc", "dice_auc", "qu_score", "averaged_dice"),
    *("accuracy", "auroc", "f1", "c_index", "convergence_score"),
}


# Ranks


def rounded(value: float) -> float:
    """The value to 12 significant digits."""
    return float(f"{value:.11e}")


def places(scores: Mapping[str, Value], smaller_is_better: bool, ties: str) -> dict[str, float]:
    """The rank of every team, 1 = best; teams without a score are tied last, behind infinity too."""

    def key(value: Value) -> tuple[bool, float]:
        if value is None:
            return True, 0.0
        return False, rounded(value) if smaller_is_better else -rounded(value)

    keys = {team: key(value) for team, value in scores.items()}
    return {team: _place(mine, list(keys.values()), ties) for team, mine in keys.items()}


def _place(mine: tuple[bool, float], everyone: list[tuple[bool, float]], ties: str) -> float:
    """The rank of one sort key among all of them, its own included."""
    better = sum(other < mine for other in everyone)
    equal = sum(other == mine for other in everyone)
    if ties == "min":
        return float(better + 1)
    if ties == "max":
        return float(better + equal)
    if ties == "average":
        return better + (equal + 1) / 2
    if ties == "dense":
        return float(len({other for other in everyone if other < mine}) + 1)
    raise ValueError(f"unknown tie rule: {ties}")


def places_after(scores: Scores, smaller_is_better: bool, ties: str) -> dict[str, float]:
    """As `places`, but the missing ones rank as challengeR has it: right after the largest rank present.

    It differs where several teams share the last rank present: 1, 2, 2, missing is 3 and not 4 (ties min).
    """
    ranks = places({t: v for t, v in scores.items() if v is not None}, smaller_is_better, ties)
    absent: Scores = {team: None for team in scores if team not in ranks}
    largest = max(ranks.values(), default=0.0)
    return ranks | {team: largest + rank for team, rank in places(absent, True, ties).items()}


def _ranks(scores: Scores, smaller_is_better: bool, missing: Missing, ties: str) -> Scores:
    """Ranks in which a missing score is last or, under `drop`, takes no part."""
    taking_part = scores if missing != "drop" else {t: v for t, v in scores.items() if v is not None}
    ranks = places(taking_part, smaller_is_better, ties)
    return {team: ranks.get(team) for team in scores}


def _column_ranks(scores: Scores, smaller_is_better: bool, ties: str) -> Scores:
    """Ranks of aggregates; a team with nothing in a region and metric is last there, even under `drop`."""
    return dict(places(scores, smaller_is_better, ties))


# The grid


def teams_of(table: Table) -> list[str]:
    """Every team of the table."""
    return sorted({key[0] for key in table})


def cases_of(table: Table) -> list[Case]:
    """Every (institution, case), the cohort aside."""
    return sorted({(key[1], key[2]) for key in table if key[2]})


def completed(table: Table) -> Table:
    """The table with an explicit missing value for every absent row."""
    full: Table = {}
    for cohort in (False, True):
        rows = [key for key in table if (key[2] == "") == cohort]
        cases = {key[1:3] for key in rows}
        targets = {key[3:5] for key in rows}
        for team, case, target in itertools.product(teams_of(table), sorted(cases), sorted(targets)):
            value = table.get((team, *case, *target))
            full[(team, *case, *target)] = None if value is None or math.isnan(value) else value
    return full


def _columns(table: Table) -> dict[Target, Column]:
    """The table by region and metric, then case, then team."""
    columns: dict[Target, Column] = {}
    for (team, institution, case, region, metric), value in table.items():
        column = columns.setdefault((region, metric), {})
        column.setdefault((institution, case), {})[team] = value
    return columns


def _values(column: Column, team: str) -> list[Value]:
    """The values of one team in the order of the cases."""
    return [column[case][team] for case in sorted(column)]


# Missing values


def _filled(table: Table, missing: Missing) -> Table:
    """The completed table, missing values replaced by the number of their metric where numbers are given."""
    table = completed(table)
    if isinstance(missing, str):
        return table
    return {key: missing[key[4]] if value is None else value for key, value in table.items()}


def _filled_with_worst(table: Table, smaller: set[str], missing: Missing) -> Table:
    """As `_filled`, and under `worst` the worst value of its region and metric for every missing one."""
    table = _filled(table, missing)
    if missing != "worst":
        return table
    worst = {target: _worst_value(column, target[1], smaller) for target, column in _columns(table).items()}
    return {key: worst[key[3], key[4]] if value is None else value for key, value in table.items()}


def _worst_value(column: Column, metric: str, smaller: set[str]) -> Value:
    """0 for a metric bounded by 0..1 where large is good, otherwise the worst value present, if any."""
    name = metric.removeprefix("large_").removeprefix("small_")
    bounded = name in BOUNDED or name.startswith(("nsd_", "lesion_nsd_", "hit_rate_"))
    if bounded and metric not in smaller:
        return 0.0
    present = _present(value for row in column.values() for value in row.values())
    if not present:
        return None
    return max(present) if metric in smaller else min(present)


# Aggregates


def _present(values: Iterable[Value]) -> list[float]:
    return [value for value in values if value is not None]


def aggregated(values: Iterable[Value], aggregate: str) -> Value:
    """Mean, median or quantile (`q25`, linear, R's type 7) of the values present."""
    present = sorted(_present(values))
    if not present:
        return None
    if aggregate == "mean":
        return math.fsum(present) / len(present)
    share = 0.5 if aggregate == "median" else float(aggregate.removeprefix("q")) / 100
    position = rounded((len(present) - 1) * share)
    low, high = present[math.floor(position)], present[math.ceil(position)]
    weight = position - math.floor(position)
    return low if low == high else (1 - weight) * low + weight * high


def _weighted_mean(pairs: Iterable[tuple[Value, float]]) -> Value:
    """The mean of the values present, each with its weight."""
    present = [(value, weight) for value, weight in pairs if value is not None]
    total = math.fsum(weight for _, weight in present)
    return math.fsum(value * weight for value, weight in present) / total if total else None


def _means(parts: Sequence[Scores], teams: Iterable[str]) -> Scores:
    """The mean of every team over several sets of scores."""
    return {team: aggregated((part[team] for part in parts), "mean") for team in teams}


def _combined(parts: Sequence[Scored], teams: Iterable[str], missing: Missing, ties: str) -> Scores:
    """The scores themselves of one region-metric, the mean of the ranks of several."""
    if len(parts) == 1:
        return parts[0][0]
    return _means([_column_ranks(scores, small, ties) for scores, small in parts], teams)


# Aggregate, rank or test one region and metric


def _aggregate_column(column: Column, teams: list[str], aggregate: str) -> Scores:
    return {team: aggregated(_values(column, team), aggregate) for team in teams}


def _rank_column(column: Column, small: bool, missing: Missing, ties: str, worst: str = "last") -> Column:
    """The ranks within every case; `worst` says how missing values rank under `missing: worst`."""
    if missing == "worst" and worst == "after":
        return {case: dict(places_after(row, small, ties)) for case, row in column.items()}
    return {case: _ranks(row, small, missing, ties) for case, row in column.items()}


def wilcoxon_p(better: Sequence[Value], worse: Sequence[Value], smaller_is_better: bool) -> float:
    """One-sided p of the paired signed-rank test (normal approximation) that the first team is better."""
    pairs = [(a, b) for a, b in zip(better, worse, strict=True) if a is not None and b is not None]
    pairs = [(a, b) for a, b in pairs if not (math.isinf(a) and a == b)]
    gains = [b - a if smaller_is_better else a - b for a, b in pairs]
    gains = [gain for gain in gains if gain != 0]
    if not gains:
        return 1.0
    sizes = [abs(gain) for gain in gains]
    n = len(sizes)
    ranks = [sum(s < size for s in sizes) + (sum(s == size for s in sizes) + 1) / 2 for size in sizes]
    statistic = math.fsum(rank for rank, gain in zip(ranks, gains, strict=True) if gain > 0)
    tied = [sizes.count(size) for size in set(sizes)]
    variance = n * (n + 1) * (2 * n + 1) / 24 - math.fsum(t**3 - t for t in tied) / 48
    z = (statistic - n * (n + 1) / 4 - 0.5) / math.sqrt(variance)
    return float(stats.norm.sf(z))


def adjusted(p_values: Sequence[float], adjust: str) -> list[float]:
    """The p-values adjusted by Holm or by Benjamini-Hochberg (`fdr`), in the order given."""
    m = len(p_values)
    order = sorted(range(m), key=lambda i: p_values[i])
    ordered = [p_values[i] for i in order]
    if adjust == "none":
        return list(p_values)
    if adjust == "holm":
        result = [max(min(1.0, (m - j) * ordered[j]) for j in range(i + 1)) for i in range(m)]
    elif adjust == "fdr":
        result = [min(min(1.0, m / (j + 1) * ordered[j]) for j in range(i, m)) for i in range(m)]
    else:
        raise ValueError(f"unknown adjustment: {adjust}")
    return [result[order.index(i)] for i in range(m)]


def pairwise_p(column: Column, teams: list[str], small: bool) -> dict[tuple[str, str], float]:
    """The p-value of every ordered pair of teams."""
    pairs = itertools.permutations(teams, 2)
    return {(a, b): wilcoxon_p(_values(column, a), _values(column, b), small) for a, b in pairs}


def _test_column(column: Column, teams: list[str], small: bool, alpha: float, adjust: str) -> Scores:
    """The share of the other teams that each team beats."""
    p_values = pairwise_p(column, teams, small)
    decisions = [p <= alpha for p in adjusted(list(p_values.values()), adjust)]
    wins = dict.fromkeys(teams, 0)
    for (team, _), won in zip(p_values, decisions, strict=True):
        wins[team] += won
    return {team: wins[team] / max(1, len(teams) - 1) for team in teams}


# Schemes


def aggregate_then_rank(
    table: Table, smaller: set[str], missing: Missing, ties: Ties, aggregate: str = "mean"
) -> Scores:
    """One region-metric: the aggregate over the cases; several: the mean of the ranks of the aggregates."""
    teams, filled = teams_of(table), _filled_with_worst(table, smaller, missing)
    parts: list[Scored] = [
        (_aggregate_column(column, teams, aggregate), metric in smaller)
        for (_, metric), column in _columns(filled).items()
    ]
    return _combined(parts, teams, missing, ties)


def rank_then_aggregate(
    table: Table,
    smaller: set[str],
    missing: Missing,
    ties: Ties,
    aggregate: str = "mean",
    worst: Worst = "after",
) -> Scores:
    """One region-metric: the aggregate of the ranks within the cases; several: the mean of their ranks."""
    teams, parts = teams_of(table), list[Scored]()
    for (_, metric), column in _columns(_filled(table, missing)).items():
        ranks = _rank_column(column, metric in smaller, missing, ties, worst)
        parts.append((_aggregate_column(ranks, teams, aggregate), True))
    return _combined(parts, teams, missing, ties)


def test_then_rank(
    table: Table, smaller: set[str], missing: Missing, ties: Ties, alpha: float, adjust: Adjust
) -> Scores:
    """One region-metric: the share of the others beaten (large is good); several: the mean of the ranks."""
    teams, filled = teams_of(table), _filled_with_worst(table, smaller, missing)
    parts: list[Scored] = [
        (_test_column(column, teams, metric in smaller, alpha, adjust), False)
        for (_, metric), column in _columns(filled).items()
    ]
    return _combined(parts, teams, missing, ties)


test_then_rank.__test__ = False  # type: ignore[attr-defined] # pytest: not a test, whatever its name


def brats_case_ranks(
    table: Table, smaller: set[str], missing: Missing, ties: Ties, weights: Mapping[str, float] | None = None
) -> Column:
    """The cumulative rank of every team in every case: the weighted mean over regions and metrics."""
    weights = weights or {}
    in_case: dict[Case, list[tuple[Scores, float]]] = {case: [] for case in cases_of(table)}
    of_cohort: list[tuple[Scores, float]] = []
    for (_, metric), column in _columns(_filled(table, missing)).items():
        for case, ranks in _rank_column(column, metric in smaller, missing, ties).items():
            in_case.get(case, of_cohort).append((ranks, weights.get(metric, 1.0)))
    return {
        case: {
            team: _weighted_mean((ranks[team], weight) for ranks, weight in [*parts, *of_cohort])
            for team in teams_of(table)
        }
        for case, parts in (in_case or {("", ""): []}).items()
    }


def brats(
    table: Table, smaller: set[str], missing: Missing, ties: Ties, weights: Mapping[str, float] | None = None
) -> Scores:
    """The mean over the cases of the cumulative ranks; FeTS task 1 gives its cohort metric the weight 3."""
    return _aggregate_column(
        brats_case_ranks(table, smaller, missing, ties, weights), teams_of(table), "mean"
    )


def brats_mean(table: Table, smaller: set[str], missing: Missing, ties: Ties) -> Scores:
    """The mean over the cases per region and metric, ranked; the mean of these ranks."""
    teams, parts = teams_of(table), list[Scores]()
    for (_, metric), column in _columns(_filled_with_worst(table, smaller, missing)).items():
        parts.append(_column_ranks(_aggregate_column(column, teams, "mean"), metric in smaller, ties))
    return _means(parts, teams)


def fets_task2(
    table: Table,
    smaller: set[str],
    missing: Missing,
    ties: Ties,
    inside: Inside = "rank_then_aggregate",
    aggregate: str = "mean",
    alpha: float = 0.05,
    adjust: Adjust = "none",
) -> Scores:
    """Ranks per institution and region-metric, mean in the institution, mean over the institutions."""
    filled = _filled(table, missing)
    if inside != "rank_then_aggregate":
        filled = _filled_with_worst(table, smaller, missing)
    teams, parts = teams_of(table), list[Scores]()
    for institution in sorted({institution for institution, _ in cases_of(table)}):
        ranks: list[Scores] = []
        for (_, metric), column in _columns(_institution_rows(filled, institution)).items():
            small = metric in smaller
            if inside == "test_then_rank":
                scored: Scored = (_test_column(column, teams, small, alpha, adjust), False)
            elif inside == "aggregate_then_rank":
                scored = (_aggregate_column(column, teams, aggregate), small)
            else:
                of_cases = _rank_column(column, small, missing, ties)
                scored = (_aggregate_column(of_cases, teams, aggregate), True)
            ranks.append(_column_ranks(*scored, ties))
        parts.append(_means(ranks, teams))
    return _means(parts, teams)


def _institution_rows(table: Table, institution: str) -> Table:
    """The rows of the cases of one institution, no cohort metrics."""
    return {key: value for key, value in table.items() if key[1] == institution and key[2]}


# Permutations, bootstrap, agreement


def permutation_exact(
    table: Table,
    smaller: set[str],
    missing: Missing,
    ties: Ties,
    team: str,
    other: str,
    weights: Mapping[str, float] | None = None,
) -> float:
    """The share of all swaps, the identity included, in which `team` leads `other` by as much as observed.

    The cumulative ranks of `brats` (of all teams, computed once) are swapped; cases where either has none are
    left out.
    """
    rows = brats_case_ranks(table, smaller, missing, ties, weights).values()
    pairs = [(row[team], row[other]) for row in rows]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if not differences:
        return 1.0
    observed = math.fsum(differences) / len(differences)
    hits = 0
    for signs in itertools.product((1, -1), repeat=len(differences)):
        swapped = math.fsum(s * d for s, d in zip(signs, differences, strict=True)) / len(differences)
        hits += swapped <= observed + TOLERANCE
    return hits / 2 ** len(differences)


def permutation_exact_of_means(
    table: Table, smaller: set[str], missing: Missing, ties: Ties, team: str, other: str
) -> float:
    """As `permutation_exact`, but the two teams swap their rows of a case and `brats_mean` is rerun."""
    full = completed(table)
    cases = cases_of(full)

    def difference(swapped: set[Case]) -> float:
        scores = brats_mean(_with_swaps(full, swapped, team, other), smaller, missing, ties)
        first, second = scores[team], scores[other]
        return math.nan if first is None or second is None else first - second

    observed = difference(set())
    choices = itertools.product((False, True), repeat=len(cases))
    statistics = [difference(set(itertools.compress(cases, choice))) for choice in choices]
    return sum(statistic <= observed + TOLERANCE for statistic in statistics) / len(statistics)


def _with_swaps(table: Table, cases: set[Case], team: str, other: str) -> Table:
    """The completed table with the values of two teams exchanged in some cases."""
    partner = {team: other, other: team}
    return {
        key: table[(partner.get(key[0], key[0]), *key[1:])] if key[1:3] in cases else value
        for key, value in table.items()
    }


def bootstrap_scores(
    table: Table, draws: Sequence[Sequence[Case]], score_function: Callable[[Table], Scores]
) -> list[Scores]:
    """The scheme rerun on every draw of cases; a case drawn twice becomes two cases, cohort metrics stay."""
    full = completed(table)
    return [score_function(_drawn(full, draw)) for draw in draws]


def _drawn(table: Table, draw: Sequence[Case]) -> Table:
    """The cohort rows and, under a name of its own, the rows of every case drawn."""
    result = {key: value for key, value in table.items() if not key[2]}
    for number, drawn in enumerate(draw):
        for (team, institution, case, region, metric), value in table.items():
            if case and (institution, case) == drawn:
                result[(team, institution, f"{case}#{number}", region, metric)] = value
    return result


def kendall_tau_b(ranks_a: Mapping[str, float], ranks_b: Mapping[str, float]) -> float:
    """Kendall's tau-b of two rankings of the same teams; NaN if one of them ties all teams."""

    def sign(ranks: Mapping[str, float], pair: tuple[str, str]) -> int:
        return (ranks[pair[0]] > ranks[pair[1]]) - (ranks[pair[0]] < ranks[pair[1]])

    pairs = list(itertools.combinations(sorted(ranks_a), 2))
    signs = [(sign(ranks_a, pair), sign(ranks_b, pair)) for pair in pairs]
    untied_a, untied_b = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    if not untied_a or not untied_b:
        return math.nan
    return sum(a * b for a, b in signs) / math.sqrt(untied_a * untied_b)
