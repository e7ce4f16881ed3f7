"""The report in a real browser: it opens fast, clicks and sorts work, nothing is asked of a network.

`make test-browser` runs this; it needs Debian's chromium (or BRATSEVAL_CHROMIUM) and playwright from PyPI.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from bratseval.tables import DETAIL_COLUMNS

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (make test-browser)")

CHROMIUM = os.environ.get("BRATSEVAL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
TEAMS, CASES = 30, 500
HOSTILE = ("<script>alert(1)</script>", '=HYPERLINK("x")')
MOST_SECONDS, MOST_BYTES = 2.0, 15_000_000


def bratseval(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bratseval", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    folder = ROOT / "sample_data" / "brats-gli"
    bratseval(
        *("run", "brats2024-gli", "-s", folder / "submissions", "-r", folder / "references", "-o", out),
        *("--compare-schemes", "--report"),
    )
    return out / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 teams and 500 cases in all 60 columns of a challenge, two teams and two cases with hostile names."""
    root = tmp_path_factory.mktemp("large")
    write_scores(root / "scores.csv")
    write_strata(root / "metadata.csv")
    bratseval(
        *("rank", "brats2024-gli", root / "scores.csv", "--metadata", root / "metadata.csv"),
        *("-o", root / "out", "--compare-schemes", "--report"),
    )
    write_lesions(root / "out" / "lesions.csv")
    bratseval("report", root / "out")
    return root / "out" / "report.html"


TINY = """
extends: brats2023-gli
name: tiny
ranking: {metrics: [hd95], regions: [WT], missing: drop, bootstrap: 0, permutations: 0}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three teams and cases: a value is infinite, a team has none, and a name begins with a space."""
    root = tmp_path_factory.mktemp("tiny")
    (root / "tiny.yaml").write_text(TINY)
    lines = ["team,case,region,metric,value,status,reason"]
    for team, values in {"a": ("1", "5", "3"), "b": ("2", "", "4"), "c": ("",) * 3}.items():
        for case, value in zip((" one", "two", "three"), values, strict=True):
            reason = "infinite" if (team, case) == ("b", "two") else ""
            lines.append(f"{team},{case},WT,hd95,{value},ok,{reason}")
    (root / "scores.csv").write_text("\n".join(lines) + "\n")
    bratseval("rank", root / "tiny.yaml", root / "scores.csv", "-o", root / "out", "--report")
    return root / "out" / "report.html"


def names() -> tuple[Sequence[str], Sequence[str]]:
    """Teams and cases, the first two of each with hostile names."""
    teams = [*HOSTILE, *(f"team {number:02d} of a university" for number in range(2, TEAMS))]
    return teams, [*HOSTILE, *(f"{number:05d}-000" for number in range(2, CASES))]


def escaped(name: str) -> str:
    return f"'{name}" if name.startswith("=") else name


def write_scores(path: Path) -> None:
    from bratseval.config import load_challenge

    draw = np.random.default_rng(5)
    teams, cases = names()
    quality, difficulty = draw.uniform(0.5, 0.95, TEAMS), draw.normal(0, 0.08, CASES)
    challenge = load_challenge("brats2024-gli")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["team", "institution", "case", "region", "metric", "value"])
        for i, team in enumerate(teams):
            for k, case in enumerate(cases):
                dice = np.clip(quality[i] + difficulty[k] + draw.normal(0, 0.1, 6), 0, 1)
                far = np.where(dice < 0.35, 337, draw.gamma(2, 3 * (1.1 - dice) + 0.1))
                for region, share, distance in zip(challenge.regions, dice, far, strict=True):
                    for metric in challenge.metrics:
                        value = (
                            distance if "hd95" in metric else round(9 * share) if "mm3" in metric else share
                        )
                        writer.writerow([escaped(team), "", escaped(case), region, metric, f"{value:.6g}"])


def write_strata(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "site"])
        writer.writerows([escaped(case), f"<b>{k % 5}</b>"] for k, case in enumerate(names()[1]))


def write_lesions(path: Path) -> None:
    draw = np.random.default_rng(6)
    teams, cases = names()
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["team", "case", *DETAIL_COLUMNS["lesions.csv"]])
        for team in teams:
            for case in cases:
                for region in ("WT", "TC", "ET"):
                    kind = ("tp", "fn", "fp")[int(draw.integers(3))]
                    volume = 0 if kind == "fp" else int(10 ** draw.uniform(0.5, 5))
                    writer.writerow(
                        [escaped(team), escaped(case), region, 1, kind, volume, volume, "", "", "", ""]
                    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or BRATSEVAL_CHROMIUM=path")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield started
        started.close()


@pytest.fixture
def complaints() -> list[str]:
    """Everything that a page must not do; empty at the end of a test."""
    return []


@pytest.fixture
def page(browser: Any, complaints: list[str]) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(f"console: {message.type} {message.text}"))
    opened.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    opened.on(
        "request",
        lambda request: (
            None if request.url.startswith(("file:", "data:")) else complaints.append(f"asks {request.url}")
        ),
    )
    yield opened
    context.close()
    assert complaints == []


def opened(page: Any, path: Path) -> float:
    """Seconds until the page is loaded and its first frame can be painted, as the browser measured them."""
    page.goto(path.as_uri())
    return page.evaluate(
        "() => new Promise((done) => "
        "requestAnimationFrame(() => setTimeout(() => done(performance.now() / 1000))))"
    )


def scrolled(page: Any) -> None:
    """Scroll through all of it, so that every figure is drawn."""
    page.evaluate(
        "async () => { for (let y = 0; y < document.body.scrollHeight; y += 500) {"
        " scrollTo(0, y); await new Promise((done) => setTimeout(done, 20)); } }"
    )


@pytest.mark.parametrize("which", ["sample", "large"])
def test_it_opens_fast_and_small(which: str, request: pytest.FixtureRequest, page: Any) -> None:
    path = request.getfixturevalue(which)
    assert path.stat().st_size < MOST_BYTES
    seconds = min(opened(page, path) for _ in range(3))
    print(f"{which}: {seconds:.2f} s, {path.stat().st_size / 1e6:.1f} MB")
    assert seconds < MOST_SECONDS
    scrolled(page)
    drawn = page.evaluate("() => [...document.images].map((image) => image.naturalWidth)")
    assert len(drawn) == (3 if which == "sample" else 0)
    assert all(width > 300 for width in drawn)


def column(page: Any, number: int) -> list[str]:
    return page.locator(f"#leaderboard tbody tr > *:nth-child({number})").all_inner_texts()


def test_the_leaderboard_sorts_and_filters(large: Path, page: Any) -> None:
    opened(page, large)
    ranks = column(page, 1)
    assert [*map(float, ranks)] == sorted(map(float, ranks))
    page.click("#leaderboard thead th:nth-child(2) button")
    assert [one.strip() for one in column(page, 2)] == sorted(names()[0], key=str.casefold)
    page.click("#leaderboard thead th:nth-child(7) button")
    upward = [*map(float, column(page, 7))]
    assert upward == sorted(upward)
    page.click("#leaderboard thead th:nth-child(7) button")
    assert [*map(float, column(page, 7))] == sorted(upward, reverse=True)
    assert page.get_attribute("#leaderboard thead th:nth-child(7)", "aria-sort") == "descending"
    page.fill("#leaderboard .filter input", "script alert")
    visible = page.locator("#leaderboard tbody tr:visible")
    assert visible.count() == 1
    assert HOSTILE[0] in visible.inner_text()
    assert page.inner_text("#leaderboard .filter span") == f"1 of {TEAMS} rows"


def test_every_dot_can_be_read_by_mouse_and_by_keyboard(large: Path, page: Any) -> None:
    opened(page, large)
    canvas = page.locator("details.column canvas").first
    page.locator("details.column .plot").first.scroll_into_view_if_needed()
    canvas.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    tip = page.inner_text("#tip")
    third = sorted(names()[1])[2]
    assert third in tip
    assert "lesion_dice_WT: 0." in tip
    assert page.input_value("#finder input") == third
    page.keyboard.press("Escape")
    assert page.input_value("#finder input") == ""
    box = canvas.bounding_box()
    readings = set()
    for step in range(60):
        page.mouse.move(box["x"] + box["width"] * (0.4 + 0.01 * step), box["y"] + 13)
        if page.is_visible("#tip"):
            readings.add(page.inner_text("#tip"))
    assert len(readings) > 10


def test_a_case_is_found_by_its_name_and_marked_in_the_tables(sample: Path, page: Any) -> None:
    opened(page, sample)
    page.fill("#finder input", "00004-000")
    page.dispatch_event("#finder input", "change")
    marked = page.locator("tr.marked")
    assert marked.count() >= 2
    assert all("00004-000" in text for text in marked.all_inner_texts())


def test_values_open_as_a_table_and_metrics_can_be_chosen(large: Path, page: Any) -> None:
    opened(page, large)
    page.locator("details.values summary").first.click()
    rows = page.locator("details.values").first.locator("tbody tr")
    assert rows.count() == 500
    page.locator("details.values").first.locator("input").fill("00007-000")
    assert rows.count() == TEAMS
    page.fill("#only", "HD95_et")
    shown = page.locator("details[data-column]:visible")
    assert [shown.nth(at).get_attribute("data-column") for at in range(shown.count())] == [
        *("lesion_hd95_ET", "hd95_ET"),
    ]


def test_the_podium_plot_follows_its_metric(sample: Path, page: Any) -> None:
    opened(page, sample)
    page.locator("#podium-plot").scroll_into_view_if_needed()
    page.select_option("#podium-column", label="lesion_hd95_ET")
    label = page.get_attribute("#podium-canvas", "aria-label")
    assert label.startswith("Podium plot of lesion_hd95_ET: ")
    assert label.endswith(" of 6 cases")


def test_infinite_and_empty_values(tiny: Path, page: Any) -> None:
    """An infinite number sorts as the largest; a team without any number leaves the others their podium."""
    opened(page, tiny)
    scrolled(page)
    assert page.get_attribute("#podium-canvas", "aria-label").endswith(": a is first in 3 of 3 cases")
    table = page.locator("table.sortable", has=page.locator("caption", has_text="worst cases of each team"))
    head = table.locator("thead th button", has_text="hd95 WT")
    cells = table.locator("tbody tr td:last-child")
    head.click()
    assert cells.all_inner_texts() == ["1", "2", "3", "4", "5", "∞"]
    head.click()
    assert cells.all_inner_texts() == ["∞", "5", "4", "3", "2", "1"]
    page.fill("#finder input", " one")
    page.dispatch_event("#finder input", "change")
    assert page.locator("tr.marked").count() == 3


def test_light_and_dark_and_print(sample: Path, page: Any) -> None:
    opened(page, sample)

    def background() -> str:
        return page.evaluate("() => getComputedStyle(document.body).backgroundColor")

    assert background() == "rgb(255, 255, 255)"
    page.click("#theme")
    assert background() == "rgb(18, 22, 27)"
    page.emulate_media(media="print")
    assert background() == "rgb(255, 255, 255)"
    assert not page.is_visible("nav")
    assert page.locator("details.column:not([open])").count() > 10
    assert page.locator("details.column:not([open]) >> visible=true").count() == 0  # empty boxes on paper
    page.set_viewport_size({"width": 700, "height": 900})  # an A4 page
    names = page.locator(".board tbody th > span")
    assert {names.nth(at).evaluate("(one) => one.getClientRects().length") for at in range(3)} == {1}
    heights = {names.nth(at).evaluate("(one) => one.offsetHeight") for at in range(3)}
    assert max(heights) < 20, heights  # each name on one line
    page.emulate_media(media="screen", color_scheme="dark")
    page.reload()
    assert background() == "rgb(18, 22, 27)"


def test_a_figure_that_was_closed_meanwhile_has_the_colors_of_the_page(sample: Path, page: Any) -> None:
    opened(page, sample)
    figure = page.locator("details.column[open]").first
    figure.scroll_into_view_if_needed()
    canvas = figure.locator("canvas").first
    light = canvas.evaluate("(one) => one.toDataURL()")
    summary = figure.locator("summary").first
    summary.click()
    page.click("#theme")
    page.locator("details.column[data-column]").first.locator("summary").first.click()
    page.wait_for_timeout(100)
    dark = page.locator("details.column canvas").first.evaluate("(one) => one.toDataURL()")
    assert dark != light
    page.evaluate("() => dispatchEvent(new Event('resize'))")
    page.wait_for_timeout(400)
    assert page.locator("details.column canvas").first.evaluate("(one) => one.toDataURL()") == dark


def test_it_fits_a_phone(large: Path, page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    opened(page, large)
    scrolled(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_it_can_be_read_without_its_script(sample: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(sample.as_uri())
    assert plain.locator("#leaderboard tbody tr").count() == 3
    assert plain.locator("svg .box").count() >= 12
    assert not plain.is_visible("#finder")
    context.close()
