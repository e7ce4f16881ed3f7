"""report.html: its numbers by hand, its text against hostile names, and that it asks nobody for anything."""

from __future__ import annotations

import base64
import csv
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, table
from small_challenge import write_challenge

from bratseval import joining
from bratseval.config import load_rulebook
from bratseval.detail_table import DetailTable
from bratseval.errors import UsageError, printable
from bratseval.options import Options
from bratseval.report import page
from bratseval.report.charts import Scale, box, percent, scale_of, short
from bratseval.report.contents import Contents, Table, gather
from bratseval.report.details import curve_means, detections
from bratseval.report.figures import detection, intervals, kendall, podium, significance
from bratseval.reporting import write_report
from bratseval.results import Results
from bratseval.score_table import ScoreTable
from bratseval.tables import ScoreRow

HOSTILE = (
    "<script>alert(1)</script>",
    '=HYPERLINK("x")',
    "</script><b>",
    "a&amp;b",
    "'\"`${1}{{7*7}}",
    "x" * 500,
)
VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """Elements with their attributes and the text in them; refuses what is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data.strip())

    def named(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def bratseval(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bratseval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def embedded(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="points">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def floats(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report and pictures."""
    root = tmp_path_factory.mktemp("report")
    write_challenge(root)
    (root / "subs" / "two" / "X-00002-000.nii.gz").unlink()
    done = bratseval(
        *("run", root / "small.yaml", "-s", root / "subs", "-r", root / "refs", "-o", root / "out"),
        *("--report", "--pictures", 2, "--compare-schemes", "-j", 1),
    )
    assert done.returncode == 0, done.stderr
    return root / "out"


@pytest.fixture(scope="module")
def text(results: Path) -> str:
    return (results / "report.html").read_text("utf-8")


def test_the_page_is_whole_and_every_figure_says_how_to_read_it(text: str) -> None:
    whole = Page(text)
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) > 10
    assert all(re.search(r"<figcaption>\s*\S", figure) for figure in figures)
    pictures = whole.named("svg") + whole.named("img") + whole.named("canvas")
    assert all(one.get("aria-label") or one.get("alt") for one in pictures)
    assert sum(one.get("src", "").startswith("data:image/png") for one in whole.named("img")) == 6
    ids = [attributes["id"] for _, attributes in whole.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {
        "leaderboard",
        "intervals",
        "blobs",
        "podium",
        "kendall",
        "significance",
        "schemes",
        "agreement",
    }
    assert wanted | {"lesions-1", "false-1", "cases", "problems", "method"} <= set(ids)


def test_the_page_asks_nobody_for_anything(text: str) -> None:
    whole = Page(text)
    for tag, attributes in whole.elements:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    policy = next(one["content"] for one in whole.named("meta") if "http-equiv" in one)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"@import|url\(", text.partition("</style>")[0])


def test_a_report_of_the_folder_is_the_report_of_the_run(results: Path, tmp_path: Path, text: str) -> None:
    done = bratseval("report", results, "-o", tmp_path / "again.html", "-j", 2, "--pictures", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"report written to {tmp_path / 'again.html'}"
    assert (tmp_path / "again.html").read_text("utf-8") == text


def test_every_number_of_the_scores_is_in_the_page(results: Path, text: str) -> None:
    points = embedded(text)
    columns = {one["name"]: floats(one["values"]) for one in points["columns"]}
    cases = points["cases"]
    checked = 0
    for row in table(results / "scores.csv"):
        at = points["teams"].index(row["team"]) * len(cases) + cases.index(row["case"])
        found = columns[f"{row['metric']}_{row['region']}"][at]
        assert found == np.float32(row["value"]) if row["value"] else np.isnan(found)
        checked += 1
    assert checked == 3 * 6 * len(columns)


def test_names_show_as_text_everywhere(results: Path, tmp_path: Path) -> None:
    """Names of teams, cases and institutions, in tables, titles and embedded numbers."""
    rows = table(results / "scores.csv")
    teams = dict(zip(sorted({row["team"] for row in rows}), HOSTILE, strict=False))
    cases = dict(zip(sorted({row["case"] for row in rows}), HOSTILE, strict=True))
    source = tmp_path / "scores.csv"
    with source.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["team", "institution", "case", "region", "metric", "value"])
        for row in rows:
            case = cases[row["case"]]
            named = ["'" + name if name.startswith("=") else name for name in (teams[row["team"]], case)]
            writer.writerow([named[0], "<i>site</i>", named[1], row["region"], row["metric"], row["value"]])
    out = tmp_path / "out"
    done = bratseval("rank", results.parent / "small.yaml", source, "-o", out, "--report")
    assert done.returncode == 0, done.stderr
    text = (out / "report.html").read_text("utf-8")
    whole = Page(text)
    assert len(whole.named("script")) == 2  # the numbers and ours
    assert not {"b", "i"} & {tag for tag, _ in whole.elements if tag in ("i",)}
    for name in HOSTILE:
        assert any(name in one for one in whole.texts), name
    assert set(embedded(text)["teams"]) == set(teams.values())
    assert embedded(text)["cases"] == [f"<i>site</i> / {name}" for name in sorted(HOSTILE)]


@pytest.mark.parametrize(
    ("challenge", "sample", "expected"),
    [
        ("qu-brats-2020", "qu-brats", "curve-1"),
        ("brats2021-mgmt", "mgmt", "metrics"),
        ("fets2022-task2", "fets", "stratum-1"),
    ],
)
def test_other_kinds_of_challenges(challenge: str, sample: str, expected: str, tmp_path: Path) -> None:
    folder = ROOT / "sample_data" / sample
    metadata = ["--metadata", folder / "partitioning.csv"] if sample == "fets" else []
    done = bratseval(
        *("run", challenge, "-s", folder / "submissions", "-r", folder / "references", "-o", tmp_path),
        *("--report", "--pictures", 0, "--fail-on", "never", "-j", 1, *metadata),
    )
    assert done.returncode == 0, done.stderr
    whole = Page((tmp_path / "report.html").read_text("utf-8"))
    assert expected in [attributes.get("id") for _, attributes in whole.elements]


def test_evaluate_reports_one_team_without_a_ranking(results: Path, tmp_path: Path) -> None:
    root = results.parent
    done = bratseval(
        *("evaluate", root / "small.yaml", "-p", root / "subs" / "one", "-r", root / "refs", "-o", tmp_path),
        *("--report", "--pictures", 0, "-j", 1),
    )
    assert done.returncode == 0, done.stderr
    whole = Page((tmp_path / "report.html").read_text("utf-8"))
    ids = [attributes.get("id") for _, attributes in whole.elements]
    assert {"metrics", "scores"} <= set(ids)
    assert not {"leaderboard", "trust", "podium"} & set(ids)


def test_no_report_is_left_of_an_earlier_run(results: Path, tmp_path: Path) -> None:
    root = results.parent
    shutil.copytree(results, tmp_path / "out")
    done = bratseval(
        *("run", root / "small.yaml", "-s", root / "subs", "-r", root / "refs", "-o", tmp_path / "out"),
        *("--no-report", "-j", 1),
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_folder_that_is_no_result_is_refused(tmp_path: Path) -> None:
    done = bratseval("report", tmp_path)
    assert done.returncode == 2
    assert "run.json is not the record of a run" in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_columns_without_room_keep_their_boxes(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bratseval.config import recorded_rulebook
    from bratseval.results import read_folder, read_run

    monkeypatch.setattr(page, "MOST_NUMBERS", 40)
    record = read_run(results)
    contents = gather(results, read_folder(results), record, recorded_rulebook(record))
    text = page.render(contents, [])
    assert [one["name"] for one in embedded(text)["columns"]] == ["lesion_dice_WT", "dice_WT"]
    assert text.count("are too many for this page; scores.csv has them") == len(contents.columns) - 2
    assert text.count('class="box"') + text.count('class="middle"') >= 2 * len(contents.columns)


def test_scales_and_their_ticks() -> None:
    assert [(tick.at, tick.text) for tick in Scale(0, 1).ticks()] == [
        *((0, "0"), (20, "0.2"), (40, "0.4"), (60, "0.6"), (80, "0.8"), (100, "1")),
    ]
    bounded = scale_of(np.array([0.4, np.nan, 0.6]), 1.0, 0.0)
    assert (bounded.low, bounded.high, bounded.bent) == (0, 1, False)
    skewed = scale_of(np.array([1.0, 1, 2, 2, 2, 2, 2, 374]))
    assert skewed.bent
    assert [tick.text for tick in skewed.ticks()] == ["0", "1", "3", "10", "30", "100", "300"]
    assert skewed.at(374) == 100
    assert skewed.at(np.inf) == 100
    alike = scale_of(np.array([2.0, 2.0]))
    assert 0 <= alike.at(2.0) <= 100


def test_a_box_is_tukeys() -> None:
    bars, dots = box(0, np.array([1.0, 2, 3, 4, 100, np.nan]), Scale(0, 100))
    places = {bar.kind: (bar.start, bar.end) for bar in bars}
    # Quartiles 2 and 4, so whiskers reach to 4 + 1.5 * 2 = 7 at most: the last value below is 4.
    assert places == {"whisker": (1, 4), "box": (2, 4), "middle": (3, 3)}
    assert [dot.at for dot in dots] == [(1 + 2 + 3 + 4 + 100) / 5]


@pytest.mark.parametrize(
    ("share", "expected"), [(0, "0%"), (0.005, "<1%"), (0.25, "25%"), (0.999, ">99%"), (1, "100%")]
)
def test_shares_that_are_not_none_never_look_so(share: float, expected: str) -> None:
    assert percent(share) == expected


def test_short_numbers() -> None:
    assert [short(x) for x in (1.0, 0.123456, 1e7, np.nan, np.inf, None)] == [
        *("1", "0.1235", "1e+07", "–", "∞", "–"),
    ]


def lesions(*rows: Sequence[object]) -> DetailTable:
    details = DetailTable()
    for team, case, *row in rows:
        details.add(team, case, [(row[0], 1, row[1], row[2], 5.0, None, None, None, None)])
    return details


def test_lesions_are_counted_by_size() -> None:
    details = lesions(
        ("a", "1", "WT", "tp", 9.9), ("a", "1", "WT", "fn", 9.0), ("a", "1", "WT", "tp", 10.0),
        ("a", "2", "WT", "fp", 0), ("a", "2", "WT", "fp", 0), ("a", "2", "WT", "ignored", 3.0),
        ("b", "1", "ET", "tp", 40000.0),
    )  # fmt: skip
    # Team a has a file of case 3 too, in which there is no lesion, and b one of case 1 alone.
    usable = np.array([[1, 1, 1], [1, 0, 0]], bool)
    found = detections(details, ["a", "b"], ["ET", "TC", "WT"], ["1", "2", "3"], usable)
    assert found is not None
    assert found.regions == ["ET", "WT"]
    assert found.total[0, 1, :2].tolist() == [2, 1]
    assert found.hit[0, 1, :2].tolist() == [1, 1]
    assert found.false.tolist() == [[0, 2], [0, 0]]
    assert found.total[1, 0, -1] == 1
    assert found.cases.tolist() == [3, 1]
    spurious = detection(found, ["a", "b"])[1][3]
    assert spurious.notes == [short(2 / 3), "0"]
    assert detections(DetailTable(), ["a"], ["WT"], ["1"], usable[:1, :1]) is None
    with pytest.raises(UsageError, match="no number"):
        detections(lesions(("a", "1", "WT", "tp", "x")), ["a"], ["WT"], ["1"], usable[:1, :1])


def test_curves_do_not_depend_on_who_came_first() -> None:
    details, again = DetailTable(), DetailTable()
    numbers = [0.1, 0.2, 0.3, 1e-17, 0.7]
    cases = [
        ("a", str(case), [(f"R{case}", "dice", 0.0, 0.5), ("WT", "dice", 0.0, one)])
        for case, one in enumerate(numbers)
    ]
    for table_, order in ((details, cases), (again, cases[::-1])):
        for one in order:
            table_.add(*one)
    first, second = curve_means(details, ["a"]).shown, curve_means(again, ["a"]).shown
    assert [(one.name, one.means.tolist()) for one in first] == [
        (one.name, one.means.tolist()) for one in second
    ]


def test_curves_are_means_over_the_cases_that_have_the_point() -> None:
    details = DetailTable()
    details.add("a", "1", [("WT", "dice", 0.0, 0.2), ("WT", "dice", 50.0, 0.6)])
    details.add("a", "2", [("WT", "dice", 0.0, 0.4), ("WT", "dice", 50.0, None)])
    (curve,) = curve_means(details, ["a"]).shown
    assert curve.at == [0, 50]
    assert curve.means.tolist() == [[pytest.approx((0.2 + 0.4) / 2), 0.6]]


def test_podium_places_by_hand(results: Path) -> None:
    """Team one hands in the references themselves: it is first in every case, alone."""
    from bratseval.config import recorded_rulebook
    from bratseval.results import read_folder, read_run

    record = read_run(results)
    contents = gather(results, read_folder(results), record, recorded_rulebook(record))
    chart = podium(contents)
    assert chart is not None
    assert chart.rows[0] == "one"
    assert chart.notes[0] == "100%"
    lengths = [round(bar.end - bar.start, 3) for bar in chart.bars if bar.row == 1]
    # Team two moved by one voxel, three by two; two lacks one case of six.
    assert lengths == [0, pytest.approx(100 * 5 / 6, abs=0.01), pytest.approx(100 / 6, abs=0.01)]


def test_the_hardest_and_worst_cases(results: Path) -> None:
    from bratseval.config import recorded_rulebook
    from bratseval.results import read_folder, read_run

    record = read_run(results)
    contents = gather(results, read_folder(results), record, recorded_rulebook(record))
    scores: dict[str, dict[str, float]] = {}
    for row in table(results / "scores.csv"):
        if row["metric"] == "lesion_dice":
            scores.setdefault(row["case"], {})[row["team"]] = float(row["value"])
    medians = {case: float(np.median([*own.values()])) for case, own in scores.items()}
    assert contents.hardest[0].case == min(medians, key=lambda case: medians[case])
    worst = [one for one in contents.worst if one.team == "two"]
    assert len(worst) == 5
    assert "00002-000" not in [one.case for one in worst]  # which has no file
    known = {case: own["two"] for case, own in scores.items() if case != "00002-000"}
    assert worst[0].case == min(known, key=lambda case: known[case])


# --- small tables by hand ----------------------------------------------------------------------

Rows = Sequence[tuple[str, str, float | None]]  # team, case, value


def contents_of(folder: Path, rows: Rows, ranking: str = "", metric: str = "dice") -> Contents:
    """What the report shows of a metric in the region WT; an empty value is a case without a file."""
    yaml = (
        "extends: brats2023-gli\nname: tiny\n"
        "metrics: {rvd: {metric: relative_volume_difference, penalty: 1}}\n"
        f"ranking: {{metrics: [{metric}], regions: [WT]{ranking}}}\n"
    )
    (folder / "tiny.yaml").write_text(yaml)
    scores = ScoreTable.of(
        ScoreRow(team, "", case, "WT", metric, value, None, "ok" if value is not None else "missing", "")
        for team, case, value in rows
    )
    record = {
        "version": "0", "challenge": "tiny", "config": "0", "complete": True, "signature": "s",
        "counts": {"teams": 1, "cases": 1, "rows": 1}, "ranking": {"rule": "r"},
    }  # fmt: skip
    rulebook = load_rulebook(str(folder / "tiny.yaml"))
    return gather(folder, Results(scores, {}, [], []), record, rulebook)


def test_a_team_without_a_value_takes_no_place(tmp_path: Path) -> None:
    """Of three teams one has no number in case 1: it is not third there."""
    rows = [
        ("a", "1", 0.9),
        ("b", "1", 0.8),
        ("c", "1", None),
        ("a", "2", 0.9),
        ("b", "2", 0.8),
        ("c", "2", 0.7),
    ]
    chart = podium(contents_of(tmp_path, rows))
    assert chart is not None
    thirds = {chart.rows[bar.row]: bar.end - bar.start for bar in chart.bars if bar.kind == "place3"}
    assert thirds == {"a": 0, "b": 0, "c": 50}


def test_a_metric_that_is_ranked_without_its_sign(tmp_path: Path) -> None:
    """-0.1 beats 0.2, and the worst case is the one farthest from 0."""
    rows = [("a", "1", -0.1), ("b", "1", 0.2), ("a", "2", -0.3), ("b", "2", 0.4)]
    contents = contents_of(tmp_path, rows, ", absolute: [rvd]", "rvd")
    chart = podium(contents)
    assert chart is not None
    assert dict(zip(chart.rows, chart.notes, strict=True)) == {"a": "100%", "b": "0%"}
    assert [(one.case, one.values) for one in contents.hardest] == [
        ("2", [pytest.approx(0.05)]),
        ("1", [pytest.approx(0.05)]),
    ]
    assert [one.case for one in contents.worst] == ["2", "1", "2", "1"]
    assert "closer to 0 is better" in page.render(contents, [])


def test_scores_of_a_run_and_those_that_are_read_give_one_page(tmp_path: Path) -> None:
    """Names with control characters and no Unicode, in any order of arrival."""
    names = ("\x01b", "a", "\udc80", "~", "\\x00")
    rows = [(team, case, None if team == case else 0.5) for team in names for case in names]
    run = page.render(contents_of(tmp_path, rows), [])
    again = page.render(contents_of(tmp_path, rows[::-1]), [])
    shown = [(printable(team), printable(case), value) for team, case, value in rows]
    assert run == again
    assert run == page.render(contents_of(tmp_path, sorted(shown, key=lambda row: row[:2])), [])


@pytest.mark.parametrize(
    "values",
    [
        [None], [None, None], [math.inf], [-math.inf, math.inf], [math.inf, 1.0], [0.0, 1e-295],
        [1e308, -1e308], [1e300], [2.05], [1e16, 1e16 + 2], [0.3, 0.3], [-1e-9, 1e12],
    ],
)  # fmt: skip
def test_a_page_of_any_numbers(values: list[float | None], tmp_path: Path) -> None:
    """Every mark lies on its axis, and no number that JSON lacks is in the page."""
    rows = [(team, str(case), value) for team in ("a", "b") for case, value in enumerate(values)]
    contents = contents_of(tmp_path, rows, metric="hd95")
    text = page.render(contents, [])
    Page(text)
    assert not re.search(r'="-?(nan|inf)', text.replace('data-value="', ""))
    assert "NaN" not in json.dumps(embedded(text))
    assert "Infinity" not in json.dumps(embedded(text))
    places = [float(place) for place in re.findall(r' (?:x|cx|x1|x2)="([^"]*)%"', text)]
    assert all(0 <= place <= 100 for place in places)


def test_the_histogram_of_taus_by_hand(tmp_path: Path) -> None:
    """Of 8 draws one has tau 0.8, on the edge of two bins, and one exactly the lowest tau."""
    contents = contents_of(tmp_path, [("a", "1", 0.5)])
    counts = {"kendall_counts": [[0.6, 1], [0.8, 1], [1.0, 6]], "kendall_mean": 0.9}
    bootstrap = {**counts, "kendall_q025": 0.6, "kendall_q975": 1.0}
    chart = kendall(replace(contents, record={"ranking": {"bootstrap": bootstrap}}))
    assert chart is not None
    assert (chart.rows[0], chart.rows[-1]) == ("0.60 to 0.65", "0.95 to 1.00")
    filled = {row: note for row, note in zip(chart.rows, chart.notes, strict=True) if note != "0%"}
    assert filled == {"0.60 to 0.65": "12%", "0.80 to 0.85": "12%", "0.95 to 1.00": "75%"}
    assert [(bar.start, bar.end) for bar in chart.bars if bar.end] == [(0, 16.667), (0, 16.667), (0, 100)]
    assert [tick.text for tick in chart.ticks] == ["0%", "20%", "40%", "60%"]


def test_no_bin_of_taus_begins_at_minus_zero(tmp_path: Path) -> None:
    """From -0.4 by 0.2: the sums of binary fractions miss zero by a little."""
    contents = contents_of(tmp_path, [("a", "1", 0.5)])
    bootstrap = {"kendall_counts": [[-1 / 3, 1], [1.0, 1]], "kendall_mean": 0, "kendall_q025": -1}
    chart = kendall(replace(contents, record={"ranking": {"bootstrap": {**bootstrap, "kendall_q975": 1}}}))
    assert chart is not None
    assert [row for row in chart.rows if "0.00" in row] == ["-0.20 to 0.00", "0.00 to 0.20"]


def test_the_significance_map_is_row_against_column(tmp_path: Path) -> None:
    """Only a beats b: the star is in the row of a; c is not ranked and has no row."""
    contents = contents_of(tmp_path, [(team, "1", 0.5) for team in "abc"])
    columns = ["team", "other", "p", "p_adjusted", "significant"]
    rows = [
        {"team": one, "other": other, "p_adjusted": "0.01" if (one, other) == ("a", "b") else "1",
         "significant": str(int((one, other) == ("a", "b")))}
        for one in "ab" for other in "ab" if one != other
    ]  # fmt: skip
    matrix = significance(replace(contents, tables={"significance.csv": Table(columns, rows)}))
    assert matrix is not None
    assert [[square.text for square in row] for row in matrix.squares] == [["", "★ 0.01"], ["1.0", ""]]
    assert [square.kind for row in matrix.squares for square in row] == ["self", "sure", "", "self"]


def test_an_interval_of_ranks_has_no_digits_of_its_arithmetic(tmp_path: Path) -> None:
    contents = contents_of(tmp_path, [(team, "1", 0.5) for team in "ab"])
    ends = {"rank": "1", "rank_q025": "1", "rank_q975": "71.02499999999998"}
    table = Table(["team", *ends], [{"team": team, **ends} for team in "ab"])
    chart = intervals(replace(contents, tables={"stability.csv": table}))
    assert chart is not None
    assert chart.notes == ["1 [1–71.02]"] * 2


def test_a_case_that_two_institutions_have_is_not_drawn_for_the_other(tmp_path: Path) -> None:
    """A picture is found by team and case alone."""
    lines = [f"{team},{site},1,WT,dice,0.5" for team in "ab" for site in ("s1", "s2")]
    (tmp_path / "scores.csv").write_text("\n".join(["team,institution,case,region,metric,value", *lines, ""]))
    yaml = "extends: brats2023-gli\nname: tiny\nranking: {metrics: [dice], regions: [WT], bootstrap: 0}\n"
    (tmp_path / "tiny.yaml").write_text(yaml)
    rulebook = load_rulebook(str(tmp_path / "tiny.yaml"))
    joining.rank(rulebook, [tmp_path / "scores.csv"], tmp_path / "out", Options(jobs=1))
    text = write_report(tmp_path / "out", Options(jobs=1)).path.read_text("utf-8")
    assert text.count("2 institutions have a case of this name.") == 2
    assert "do not say where the files are" not in text


def test_nothing_scored_is_a_page_too(tmp_path: Path) -> None:
    text = page.render(contents_of(tmp_path, []), [])
    Page(text)
    assert embedded(text)["columns"] == []


def test_ticks_are_where_they_say() -> None:
    """Of an axis of one value, of one without a round number, and of a very short one."""
    (alone,) = Scale(2.05, 2.05).ticks()
    assert (alone.at, alone.text) == (50, "2.05")
    near = Scale(1000.01, 1000.05).ticks()
    assert len({tick.text for tick in near}) == len(near)
    assert all(tick.at == Scale(1000.01, 1000.05).at(float(tick.text)) for tick in near)
    for scale in (Scale(0.3, 0.95), Scale(-7, 11), Scale(0.21, 0.24)):
        assert all(abs(tick.at - scale.at(float(tick.text))) < 1e-6 for tick in scale.ticks())


def test_infinite_values_are_in_the_box() -> None:
    """Half of them are infinite: so are the median and the upper quartile."""
    bars, dots = box(0, np.array([1.0, 1.0, np.inf, np.inf, np.nan]), Scale(0, 10))
    assert [(bar.kind, bar.start, bar.end) for bar in bars] == [
        *(("whisker", 10, 100), ("box", 10, 100), ("middle", 100, 100)),
    ]
    assert "median ∞" in bars[1].title
    assert [dot.title for dot in dots] == ["mean ∞"]


@pytest.fixture(autouse=True)
def _nothing_beside(results: Path) -> Iterator[None]:
    before = sorted(path.name for path in results.iterdir())
    yield
    assert sorted(path.name for path in results.iterdir()) == before
