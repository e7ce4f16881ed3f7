"""The documentation does not rot: no page lacks what it must say, and the commands of the tutorials run.

The site itself is built by `make docs` and looked at by `make test-docs` (integration/test_docs_site.py), too
heavy for `make test`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, SHARED

sys.path.insert(0, str(ROOT / "scripts"))

import docs_challenges
import docs_examples
import docs_metrics
import docs_rankings
import docs_reference
from docs_text import facts

from bratseval.cli.examples import EXAMPLES
from bratseval.config import bundled_names, parity
from bratseval.metric_table import metric_row
from bratseval.metrics.registry import METRICS, metric_names
from bratseval.ranking.rules import SCHEMES

DOCS = ROOT / "docs"
PROGRAMS = str(Path(sys.executable).parent)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {
        **docs_metrics.metric_pages(),
        **docs_rankings.ranking_pages(),
        **docs_challenges.challenge_pages(),
        **docs_reference.reference_pages(),
    }


# What every page must say


def test_every_metric_has_a_page_with_formula_and_source(pages: dict[str, str]) -> None:
    metric_names()
    assert set(facts("metrics")) == set(METRICS)
    for name in METRICS:
        page = pages[f"metrics/{name}.md"]
        assert re.search(r"```math\n.{5,}\n```", page), name
        assert re.search(r"## Source\n\n- .{6,}", page), name
        for part in ("best, worst", "direction", "unit", "## Edge cases", f"img/{name}.svg"):
            assert part in page, (name, part)
        for parameter in metric_row(name).parameters:
            assert f"`{parameter.key}`" in page, (name, parameter)


def test_every_ranking_has_a_page_with_formula_and_source(pages: dict[str, str]) -> None:
    assert set(facts("rankings")) == set(SCHEMES)
    for name in SCHEMES:
        page = pages[f"rankings/{name}.md"]
        assert re.search(r"```math\n.{5,}\n```", page), name
        assert re.search(r"## Source\n\n- .{6,}", page), name
        assert SCHEMES[name].says in page
        for part in ("The leaderboard", "unit", "range", "## Edge cases", f"img/{name}.svg"):
            assert part in page, (name, part)


def test_the_worked_example_shows_that_the_order_of_steps_decides() -> None:
    """Ranks by hand: fast is first in both metrics of five cases of six, last in the sixth."""
    case_first = docs_rankings.example_of("brats").scores
    assert case_first == pytest.approx({"fast": (5 + 3) / 6, "solid": (10 + 1) / 6, "last": (15 + 2) / 6})
    mean_first = docs_rankings.example_of("brats_mean").scores
    assert mean_first == {"solid": 1, "last": 2, "fast": 3}  # mean Dice 0.813, 0.898, 0.830; mean HD95 alike


def test_the_examples_of_metrics_are_what_the_pages_say() -> None:
    overlap = docs_examples.overlap()
    assert docs_examples.value_of("dice") == 2 * overlap.tp / (2 * overlap.tp + overlap.fp + overlap.fn)
    assert docs_examples.value_of("lesion_f1") == 2 * 3 / (2 * 3 + 1 + 2)
    found = {lesion.kind for lesion in docs_examples.lesions()}
    counts = [sum(one.kind == kind for one in docs_examples.lesions()) for kind in ("fn", "fp")]
    assert found == {"tp", "fn", "fp"}
    assert counts == [docs_examples.value_of("lesion_fn"), docs_examples.value_of("lesion_fp")]


def test_every_challenge_has_a_page(pages: dict[str, str]) -> None:
    for one in docs_challenges.challenges():
        page = pages[f"challenges/{one.name}.md"]
        for part in ("## Metrics and penalties", "## Ranking", "## Files", "## Parity", "## Source"):
            assert part in page, (one.name, part)
        for word in (*one.regions, *one.metrics, *one.differences, *one.source, one.scorer):
            assert word in page, (one.name, word)
        assert parity()[one.name]["against"] in page
    assert {f"challenges/{name}.md" for name in bundled_names()} <= set(pages)


def test_every_problem_code_has_a_meaning_and_an_example() -> None:
    entries = docs_reference.problem_entries()
    assert set(entries) == docs_reference.codes_in_sources()  # none of a code that is gone
    lacking = [code for code, entry in entries.items() if not (entry.means and entry.examples)]
    assert lacking == []
    assert {code[:3] for code in entries} == set(docs_reference.SERIES)


def test_every_key_and_option_is_described(pages: dict[str, str]) -> None:
    keys = set(re.findall(r"^\| `(\w+)` \|", pages["challenge-file.md"], flags=re.M))
    assert {"extends", "dilation_voxels", "empty_both", "permutations", "missing_label"} <= keys
    undescribed = re.findall(r"^\| `.* \| – \|$", pages["challenge-file.md"], flags=re.M)
    assert undescribed == []
    for name, command, context in docs_reference.commands():
        assert re.search(rf"^##+ {name}$", pages["commands.md"], flags=re.M), name
        for parameter in command.get_params(context):
            assert parameter.opts[-1] in pages["commands.md"] or parameter.param_type_name == "argument"
            assert getattr(parameter, "help", ""), (name, parameter.name)
    assert "BRATSEVAL_JOBS" in pages["commands.md"]


def test_links_between_pages_lead_somewhere(pages: dict[str, str]) -> None:
    """MkDocs says so too, in strict mode, but only when the site is built."""
    written = {str(path.relative_to(DOCS)): path.read_text() for path in DOCS.rglob("*.md")}
    known = {**written, **pages}
    for path, text in known.items():
        for target in re.findall(r"\]\(([^)#\s]+\.md)", text):
            found = os.path.normpath(os.path.join(os.path.dirname(path), target))
            assert found in known, (path, target)
    listed = (ROOT / "mkdocs.yml").read_text()
    assert [path for path in written if path not in listed] == []


@pytest.mark.golden
@pytest.mark.skipif(not (SHARED / "golden" / "segmentation").is_dir(), reason="no official results here")
def test_the_figures_of_parity_are_those_that_the_tests_see() -> None:
    """Two editions are compared again; of the others the counts must be there."""
    from parity_table import EVERY_EDITION, OTHERS, figures_of

    kept = docs_challenges.parity_figures()
    assert set(kept) == {edition.name for edition, _ in EVERY_EDITION} | {one.challenge for one in OTHERS}
    for edition, compare in EVERY_EDITION:
        if edition.name in ("brats2024-gli", "brats2024-men-rt"):
            measured = figures_of(edition, compare)
            assert (measured.cases, measured.values) == (
                kept[edition.name]["cases"],
                kept[edition.name]["values"],
            )
            assert float(measured.difference) == pytest.approx(
                float(kept[edition.name]["difference"]), abs=1e-12
            )


# Help


@pytest.mark.parametrize("name", ["", *sorted(EXAMPLES)])
def test_examples_of_the_help_fit_and_parse(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option that an example names is one of its command."""
    (tmp_path / "t1c").mkdir()  # a folder of images must be there
    monkeypatch.chdir(tmp_path)
    known = {full.removeprefix("bratseval").strip(): (c, x) for full, c, x in docs_reference.commands()}
    assert set(known) == set(EXAMPLES)  # no command without an example
    for line in EXAMPLES[name]:
        assert len(line) <= 76  # two columns of indentation, and no wrap at 80
        words = shlex.split(line.partition(" > ")[0])
        of = max((full for full in known if f"{line} ".startswith(f"bratseval {full} ")), key=len, default="")
        command, _ = known[of]
        rest = words[1 + len(of.split()) :]
        assert command.make_context(of, rest, resilient_parsing=False) is not None


def test_help_ends_in_its_examples() -> None:
    shown = bratseval("challenges", "check", "--help").stdout
    assert shown.rstrip().endswith("Examples:\n    bratseval challenges check my.yaml")


def completed(*words: str) -> list[str]:
    line = {"_BRATSEVAL_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["bratseval", *words])}
    done = subprocess.run(
        [f"{PROGRAMS}/bratseval"],
        env={**os.environ, **line, "COMP_CWORD": str(len(words))},
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


def test_the_tab_key_completes_challenges_and_teams(tmp_path: Path) -> None:
    assert completed("run", "brats2024-g") == ["brats2024-gli", "brats2024-goat"]
    (tmp_path / "leaderboard.csv").write_text('rank,team\n1,alpha\n2,"`reboot`"\n3,also-ran\n4,beta\n')
    assert completed("show", str(tmp_path), "--team", "al") == ["alpha", "also-ran"]
    assert "`reboot`" not in completed("export", str(tmp_path), "--team", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_there(shell: str) -> None:
    done = bratseval(_BRATSEVAL_COMPLETE=f"source_{shell}")
    assert done.returncode == 0
    assert "_BRATSEVAL_COMPLETE" in done.stdout


# The commands of the tutorials


@dataclass(frozen=True)
class Block:
    """A fenced block after its marker, such as `<!-- runs: exit 1 -->`."""

    marker: str
    argument: str
    text: str


def blocks(path: Path) -> Iterator[Block]:
    """The marked blocks of a page, in order. Markers are comments, which no reader sees."""
    pattern = r"<!-- (runs|prints|file|python)(?:: ([\w ./-]+))? -->\n```\w+\n(.*?)^```$"
    for found in re.finditer(pattern, path.read_text(), flags=re.M | re.S):
        yield Block(found[1], found[2] or "", found[3])


def bratseval(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [f"{PROGRAMS}/bratseval", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


RUNNABLE = sorted(path.name for path in DOCS.glob("*.md") if "<!-- runs" in path.read_text())


def test_the_tutorials_are_among_the_pages_that_run() -> None:
    assert {"tutorial-organizer.md", "tutorial-participant.md", "ci.md", "write-a-challenge.md"} <= set(
        RUNNABLE
    )
    for name in RUNNABLE:  # a marker that the pattern does not take would be skipped in silence
        path = DOCS / name
        assert len(list(blocks(path))) == len(
            re.findall(r"<!-- (?:runs|prints|file|python)\b", path.read_text())
        )


@pytest.mark.parametrize("page", [name for name in RUNNABLE if "<!-- runs -->" in (DOCS / name).read_text()])
def test_the_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    """The blocks that take a second or two, without drawing the report."""
    run_blocks(DOCS / page, tmp_path, slow=False)


@pytest.mark.docs
@pytest.mark.parametrize("page", RUNNABLE)
def test_all_commands_of_a_page_run(page: str, tmp_path: Path) -> None:
    run_blocks(DOCS / page, tmp_path, slow=True)


def run_blocks(page: Path, folder: Path, *, slow: bool) -> None:
    """Blocks of a page in one folder, one after another, as a reader would; what they print is there."""
    (folder / "sample_data").symlink_to(ROOT / "sample_data")
    path = os.pathsep.join([PROGRAMS, os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "BRATSEVAL_REPORT": str(slow), "BRATSEVAL_JOBS": "1"}
    printed = None
    for block in blocks(page):
        if block.marker == "file":
            (folder / block.argument).write_text(block.text)
        elif block.argument == "slow" and not slow:
            printed = None
        elif block.marker == "runs":
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-c", block.text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            printed = done.stdout + done.stderr
            expected = int(block.argument.removeprefix("exit ")) if block.argument.startswith("exit") else 0
            assert done.returncode == expected, (block.text, printed)
        elif block.marker == "prints" and printed is not None:
            for line in block.text.splitlines():
                assert re.search(re.escape(line).replace("…", ".*"), printed), (line, printed)


@pytest.mark.parametrize("block", [one.text for one in blocks(DOCS / "python.md")])
def test_the_python_examples_hold(block: str) -> None:
    assert "assert" in block
    exec(compile(block, "python.md", "exec"), {})
