"""From the numbers of a report to its charts: one function a figure, None where there is nothing to show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from bratseval.metrics.registry import find_metric
from bratseval.ranking.steps import rank
from bratseval.report.charts import (
    Bar,
    Chart,
    Dot,
    Line,
    LineChart,
    Matrix,
    Scale,
    Square,
    Tick,
    box,
    listed,
    percent,
    quantile,
    rank_scale,
    scale_of,
    short,
)
from bratseval.report.contents import Column, Contents, Table, lost_codes
from bratseval.report.details import CurveMeans, Detections

MOST_BINS = 10  # of a histogram
MOST_LINES = 8  # that differ in color, dash and marker
MOST_IN_MATRIX = 60  # teams of a significance map
MOST_WITH_NUMBERS = 15  # teams of a map whose p-values are written in it
BLOB = 12.0  # radius in pixels of the blob of a rank that a team has in every draw


def _table(contents: Contents, name: str) -> Table | None:
    """A table of the folder that has a row."""
    table = contents.tables.get(name)
    return table if table and table.rows else None


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _alt(what: str, names: Iterable[str], notes: Iterable[str]) -> str:
    """The sentence of a chart for who does not see it: what each row shows."""
    return f"{what}: " + listed((f"{name} {note}" for name, note in zip(names, notes, strict=True)))


def _by_team(table: Table) -> dict[str, Mapping[str, str]]:
    return {row["team"]: row for row in table.rows}


def intervals(contents: Contents) -> Chart | None:
    """Rank of every team with the interval that holds it in 95 % of the bootstrap draws."""
    table = _table(contents, "stability.csv")
    if table is None:
        return None
    rows = _by_team(table)
    teams = [team for team in contents.teams if team in rows]
    scale, ticks = rank_scale(len(teams))
    bars, dots, notes = [], [], []
    for at, team in enumerate(teams):
        row = {name: _number(cell) for name, cell in rows[team].items() if name != "team"}
        low, high = row["rank_q025"], row["rank_q975"]
        notes.append(f"{short(row['rank'])} [{short(low)}–{short(high)}]")
        bars.append(
            Bar(
                at,
                scale.at(low),
                scale.at(high),
                "interval",
                f"95% of the draws: {short(low)} to {short(high)}",
            )
        )
        if "leave_one_case_out_min" in row:
            ends = row["leave_one_case_out_min"], row["leave_one_case_out_max"]
            says = f"without any one case: {short(ends[0])} to {short(ends[1])}"
            bars.append(Bar(at, scale.at(ends[0]), scale.at(ends[1]), "range", says))
        dots.append(Dot(at, scale.at(row["rank"]), "mark", f"{team}: rank {short(row['rank'])}", 5.0))
    alt = _alt("Rank and 95% interval", teams, notes)
    return Chart(teams, ticks, bars, dots, "rank", alt, notes)


def blobs(contents: Contents) -> Chart | None:
    """How often a team has each rank in the bootstrap draws: the area of a blob is its share."""
    table, stable = _table(contents, "rank_frequencies.csv"), _table(contents, "stability.csv")
    if table is None or stable is None:
        return None
    medians = _by_team(stable)
    teams = [team for team in contents.teams if team in medians]
    place = {team: at for at, team in enumerate(teams)}
    scale, ticks = rank_scale(len(teams))
    dots = [
        Dot(
            place[row["team"]],
            scale.at(_number(row["rank"])),
            "blob",
            f"{row['team']}: rank {row['rank']} in {percent(_number(row['share']))} of the draws",
            round(BLOB * math.sqrt(_number(row["share"])), 2),
        )
        for row in table.rows
    ]
    for team, at in place.items():
        median = _number(medians[team]["median_rank"])
        dots.append(Dot(at, scale.at(median), "cross", f"{team}: median rank {short(median)}"))
    often: dict[str, tuple[float, str]] = {}
    for row in table.rows:
        often[row["team"]] = max(often.get(row["team"], (0.0, "")), (_number(row["share"]), row["rank"]))
    notes = [f"{percent(often[team][0])} at {often[team][1]}" for team in teams]
    alt = _alt("Most frequent rank", teams, notes)
    return Chart(teams, ticks, [], dots, "rank in the bootstrap draws", alt, notes)


def podium(contents: Contents) -> Chart | None:
    """Share of the cases and ranked columns in which a team is first, second and third."""
    ranked = [column for column in contents.columns if column.compares]
    teams = contents.teams
    if not ranked or len(teams) < 2:
        return None
    counts = np.zeros((len(teams), 3))
    total = 0
    for column in ranked:
        known = ~np.isnan(column.values).all(axis=0)
        costs = column.costs[:, known]
        places = np.where(np.isnan(costs), np.inf, rank(costs, "min"))
        counts += np.stack([(places == place).sum(axis=1) for place in (1, 2, 3)], axis=1)
        total += int(known.sum())
    shares = counts / max(total, 1)
    scale = Scale(0, 100)
    bars = []
    for at, own in enumerate(shares):
        start = 0.0
        for place, share in enumerate(own.tolist(), start=1):
            says = f"{teams[at]}: place {place} in {percent(share)}"
            bars.append(Bar(at, round(start, 3), round(start + 100 * share, 3), f"place{place}", says))
            start += 100 * share
    ticks = [Tick(scale.at(at), f"{at}%") for at in (0, 25, 50, 75, 100)]
    first = [percent(share) for share in shares[:, 0].tolist()]
    alt = _alt("Share of first places over cases and ranked metrics", teams, first)
    return Chart(teams, ticks, bars, [], "share of cases × ranked metrics", alt, first)


def distribution(contents: Contents, column: Column, points: int) -> Chart:
    """Box plot over cases of every team; points is the place of the column in the embedded numbers."""
    scale = scale_of_column(column)
    lost = lost_codes(contents.statuses)
    bars = _ends(contents, column, scale)
    dots: list[Dot] = []
    notes = []
    for at, values in enumerate(column.values):
        own_bars, own_dots = box(at, values, scale) if column.of_cases else ([], [])
        bars += own_bars
        dots += own_dots
        if points < 0 and not own_bars:
            dots += [
                Dot(at, scale.at(value), "mark", short(value)) for value in values.tolist() if value == value
            ]
        known = values[~np.isnan(values)]
        count = int(np.isin(column.status[at], lost).sum())
        if column.of_cases:
            note = short(quantile(np.sort(known), 0.5)) if known.size else "–"
            notes.append(note + (f" ({count} lost)" if count else ""))
        else:
            ends = (known.min(), known.max()) if known.size else (math.nan,)
            notes.append(" to ".join(dict.fromkeys(map(short, ends))))  # of several institutions
    what = "median" if column.of_cases else "value"
    of_teams = (f"{team} {note}" for team, note in zip(contents.teams, notes, strict=True))
    alt = f"{column.name}, {what} of {listed(of_teams)}"
    label = f"{column.metric} {column.region}".strip() + (f" ({column.unit})" if column.unit else "")
    better = f", {column.better} is better" if column.better else ""
    bent = ", logarithmic beyond 1" if scale.bent else ""
    return Chart(contents.teams, scale.ticks(), bars, dots, label + better + bent, alt, notes, points)


def _ends(contents: Contents, column: Column, scale: Scale) -> list[Bar]:
    """The interval of a number over all cases, where two further columns hold its ends."""
    ends = [
        [
            one
            for one in contents.columns
            if (one.region, one.metric) == (column.region, f"{column.metric}_{end}")
        ]
        for end in ("lower", "upper")
    ]
    if column.of_cases or not all(ends):
        return []
    low, high = (one[0].values.tolist() for one in ends)  # (teams, sites)
    return [
        Bar(at, scale.at(one), scale.at(other), "interval", f"interval {short(one)} to {short(other)}")
        for at, sides in enumerate(zip(low, high, strict=True))
        for one, other in zip(*sides, strict=True)
        if one == one and other == other
    ]


def scale_of_column(column: Column) -> Scale:
    """The axis on which all teams' values of a column are drawn."""
    try:
        entry = find_metric(column.metric)[1]
        return scale_of(column.values, entry.best, entry.worst)
    except KeyError:
        return scale_of(column.values)


def significance(contents: Contents) -> Matrix | None:
    """Which team is better than which: adjusted p-values of the whole ranking, rows against columns."""
    table = _table(contents, "significance.csv")
    if table is None:
        return None
    cells = {(row["team"], row["other"]): row for row in table.rows}
    teams = [team for team in contents.teams if any((team, other) in cells for other in contents.teams)]
    teams = teams[:MOST_IN_MATRIX]

    crowded = len(teams) > MOST_WITH_NUMBERS

    def square(one: str, other: str) -> Square:
        row = cells.get((one, other))
        if row is None:
            return Square("", kind="self")
        p = _number(row["p_adjusted"])
        sure = row["significant"] == "1"
        verdict = "significant" if sure else "not significant"
        says = f"{one} better than {other}: adjusted p {short(p)}, {verdict}"
        text = "" if crowded else "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.1f}"
        return Square(f"★ {text}" if sure else text, 0.75 if sure else 0.0, says, "sure" if sure else "")

    squares = [[square(one, other) for other in teams] for one in teams]
    return _numbered("is better than →", teams, squares)


def _numbered(corner: str, names: Sequence[str], squares: Sequence[Sequence[Square]]) -> Matrix:
    """A matrix of the same names down and across: across, their numbers, which take little room."""
    numbers = [str(number) for number in range(1, len(names) + 1)]
    rows = [f"{number}\u2002{name}" for number, name in zip(numbers, names, strict=True)]
    return Matrix(corner, rows, numbers, squares)


def kendall(contents: Contents) -> Chart | None:
    """How often the bootstrap rankings agree so much with the ranking of all cases."""
    bootstrap = contents.record["ranking"].get("bootstrap", {})
    counts = bootstrap.get("kendall_counts")
    if not counts:
        return None
    taus, draws = (np.array(column, float) for column in zip(*counts, strict=True))
    width = next(one for one in (0.01, 0.02, 0.05, 0.1, 0.2) if 1 - taus.min() <= MOST_BINS * one + 1e-9)
    lowest = 1 - width * max(math.ceil((1 - taus.min()) / width - 1e-9), 1)
    edges = np.linspace(lowest, 1, round((1 - lowest) / width) + 1)
    shares = np.histogram(taus, edges.round(9), weights=draws)[0] / draws.sum()
    ends = (edges.round(9) + 0.0).tolist()  # no -0.00
    names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(ends)]
    scale = Scale(0, 100 * float(shares.max()))
    bars = [
        Bar(at, 0, scale.at(100 * share), "bin", f"tau {names[at]}: {percent(share)} of the draws")
        for at, share in enumerate(shares.tolist())
    ]
    ticks = [Tick(tick.at, f"{tick.text}%") for tick in scale.ticks()]
    alt = (
        f"Kendall's tau between bootstrap and full ranking: mean {short(bootstrap['kendall_mean'])}, "
        f"95% of the draws from {short(bootstrap['kendall_q025'])} to {short(bootstrap['kendall_q975'])}"
    )
    return Chart(
        names, ticks, bars, [], "share of the draws", alt, [percent(share) for share in shares.tolist()]
    )


def schemes(contents: Contents) -> tuple[Chart, Matrix] | None:
    """Rank of every team under other accepted schemes, and how far these agree."""
    table, agreement = _table(contents, "schemes.csv"), _table(contents, "agreement.csv")
    if table is None or agreement is None:
        return None
    names = list(dict.fromkeys(row["scheme"] for row in table.rows))
    rank_of = {(row["scheme"], row["team"]): _number(row["rank"]) for row in table.rows}
    teams = [team for team in contents.teams if any((name, team) in rank_of for name in names)]
    scale, ticks = rank_scale(len(teams))
    bars, dots, notes = [], [], []
    for at, team in enumerate(teams):
        ranks = {name: rank_of[name, team] for name in names if (name, team) in rank_of}
        low, high = min(ranks.values()), max(ranks.values())
        bars.append(
            Bar(at, scale.at(low), scale.at(high), "interval", f"{team}: ranks {short(low)} to {short(high)}")
        )
        for place in sorted(set(ranks.values())):
            under = [name for name, own in ranks.items() if own == place]
            kind = "mark" if names[0] in under else "other"
            dots.append(
                Dot(at, scale.at(place), kind, f"{team}: rank {short(place)} under {', '.join(under)}", 5.0)
            )
        notes.append(f"{short(low)}–{short(high)}" if low < high else short(low))
    alt = _alt("Ranks over all schemes", teams, notes)
    tau = {frozenset((row["scheme"], row["other"])): row for row in agreement.rows}

    def square(one: str, other: str) -> Square:
        row = tau.get(frozenset((one, other)))
        if row is None:
            return Square("", kind="self")
        value = _number(row["kendall"])
        same = row["same_winner"] == "1"
        says = f"{one} and {other}: Kendall's tau {short(value)}, {'same' if same else 'another'} winner"
        text = short(round(value, 2)) if value == value else "–"
        return Square(text if same else f"{text} ≠", max(value, 0.0) * 0.7 if value == value else 0.0, says)

    squares = [[square(one, other) for other in names] for one in names]
    return Chart(teams, ticks, bars, dots, "rank", alt, notes), _numbered("scheme", names, squares)


def detection(found: Detections, teams: Sequence[str]) -> list[tuple[str, LineChart, Matrix, Chart]]:
    """For every region: sensitivity by the volume of the reference lesion, and false lesions a case."""
    return [_of_region(found, at, region, teams) for at, region in enumerate(found.regions)]


def _of_region(
    found: Detections, at: int, region: str, teams: Sequence[str]
) -> tuple[str, LineChart, Matrix, Chart]:
    hit, total = found.hit[:, at], found.total[:, at]  # (teams, bins)
    used = np.flatnonzero(total.sum(axis=0)).tolist()
    names = [found.bins[k] for k in used]
    with np.errstate(invalid="ignore"):
        shares = hit / total
    across = [Tick(100 * (k + 0.5) / max(len(used), 1), name) for k, name in enumerate(names)]

    def point(i: int, k: int) -> tuple[float, float, str] | None:
        share = float(shares[i, used[k]])
        if math.isnan(share):
            return None
        says = f"{teams[i]}, {names[k]}: {int(hit[i, used[k]])} of {int(total[i, used[k]])} found"
        return across[k].at, round(100 * (1 - share), 3), says

    lines = [Line(team, [point(i, k) for k in range(len(used))]) for i, team in enumerate(teams[:MOST_LINES])]
    overall = [
        percent(float(h / t)) if t else "–" for h, t in zip(hit.sum(axis=1), total.sum(axis=1), strict=True)
    ]
    alt = _alt(f"Share of found {region} lesions of any size", teams, overall)
    up = [Tick(100 * (1 - share), percent(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    chart = LineChart(lines, across, up, "volume of the reference lesion", "found", alt)
    squares = [
        [
            Square(
                percent(share) if share == share else "–",
                0.75 * share if share == share else 0.0,
                f"{teams[i]}: {int(hit[i, k])} of {int(total[i, k])} found",
            )
            for k, share in ((k, float(shares[i, k])) for k in used)
        ]
        for i in range(len(teams))
    ]
    most = [int(total[:, k].max()) for k in used]
    heads = [f"{name} ({count})" for name, count in zip(names, most, strict=True)]
    matrix = Matrix("found, by volume", teams, heads, squares)
    false = np.full(len(teams), np.nan)
    np.divide(found.false[:, at], found.cases, out=false, where=found.cases > 0)
    scale = Scale(0, float(np.nanmax([*false, 1.0])))
    marks = [
        Bar(i, 0, scale.at(one), "bin", f"{teams[i]}: {short(one)} a case")
        for i, one in enumerate(false.tolist())
        if one == one
    ]
    notes = [short(one) for one in false.tolist()]
    says = _alt(f"False {region} lesions a case", teams, notes)
    return region, chart, matrix, Chart(teams, scale.ticks(), marks, [], "false lesions a case", says, notes)


def curves(found: Sequence[CurveMeans], teams: Sequence[str]) -> list[tuple[str, LineChart]]:
    """Mean curves over cases, a chart for each curve and region."""
    charts = []
    for one in found:
        across, up = (scale_of(np.array(values), *ends) for values, ends in ((one.at, ()), (one.means, ())))
        lines = []
        for team, means in list(zip(teams, one.means.tolist(), strict=True))[:MOST_LINES]:
            points = [
                (across.at(x), 100 - up.at(y), f"{team}, {short(x)}: {short(y)}") if y == y else None
                for x, y in zip(one.at, means, strict=True)
            ]
            lines.append(Line(team, points))
        ends = [short(mean) for mean in one.means[:, -1].tolist()]
        alt = _alt(f"{one.name}, mean over cases, at its right end", teams, ends)
        y_ticks = [Tick(100 - tick.at, tick.text) for tick in up.ticks()]
        charts.append((one.name, LineChart(lines, across.ticks(), y_ticks, one.axis, one.curve, alt)))
    return charts


def strata(contents: Contents) -> list[tuple[str, Chart, Table]]:
    """For every column of the metadata: the score of each team in each of its strata."""
    table = _table(contents, "strata.csv")
    if table is None:
        return []
    found = []
    for column in dict.fromkeys(row["column"] for row in table.rows):
        rows = [row for row in table.rows if row["column"] == column]
        numbers = np.array([_number(row["score"]) for row in rows])
        if np.isnan(numbers).all():
            continue
        scale = scale_of(numbers)
        place = {team: at for at, team in enumerate(contents.teams)}
        dots = [
            Dot(
                place[row["team"]],
                scale.at(number),
                "other",
                f"{row['team']}, {row['value']}: {short(number)}",
                5.0,
            )
            for row, number in zip(rows, numbers.tolist(), strict=True)
            if row["team"] in place and number == number
        ]
        bars, notes = [], []
        for team, at in place.items():
            own = [n for row, n in zip(rows, numbers.tolist(), strict=True) if row["team"] == team and n == n]
            if own:
                bars.append(Bar(at, scale.at(min(own)), scale.at(max(own)), "interval"))
            notes.append(f"{short(min(own))}–{short(max(own))}" if own else "–")
        alt = _alt(f"Score over strata of {column}", place, notes)
        shown = Table([name for name in table.columns if name != "column"], rows)
        found.append((column, Chart(contents.teams, scale.ticks(), bars, dots, "score", alt, notes), shown))
    return found
