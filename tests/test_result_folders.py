"""Result folders that changed, moved or cannot be written: a sentence and an exit code, never a trace."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_challenge import write_challenge
from typer.testing import CliRunner, Result

from bratseval.cli import app
from bratseval.detail_table import DetailTable
from bratseval.errors import UsageError
from bratseval.pictures.worst import _named
from bratseval.report.details import MOST_CURVES, curve_means
from bratseval.results import write_folder
from bratseval.state import not_writable
from bratseval.tables import read_lines


def bratseval(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folders") / "a place"
    write_challenge(root)
    done = bratseval(
        *("run", root / "small.yaml", "-s", root / "subs", "-r", root / "refs", "-o", root / "out"),
        *("--no-report", "-j", 1),
    )
    assert done.exit_code == 0, done.stderr
    return root


@pytest.fixture
def out(scored: Path, tmp_path: Path) -> Path:
    return shutil.copytree(scored / "out", tmp_path / "out")


def test_a_report_that_cannot_be_written_leaves_the_leaderboard_and_exit_code_5(
    out: Path, tmp_path: Path
) -> None:
    target = tmp_path / "joined"
    (target / "report.html" / "in the way").mkdir(parents=True)
    os.rename(target / "report.html", tmp_path / "aside")
    assert bratseval("merge", out, "-o", target, "--no-report").exit_code == 0
    before = json.loads((target / "run.json").read_text())["exit_code"]
    # A folder that appears while the report is drawn: what stood there before is removed with the tables.
    import bratseval.reporting as reporting

    whole = reporting.render

    def render(*arguments: object) -> str:
        os.rename(tmp_path / "aside", target / "report.html")
        return whole(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reporting, "render", render)
        done = bratseval("merge", out, "-o", target, "--report", "--pictures", 0, "--format", "json")
    assert (before, done.exit_code) == (0, 5), done.stderr
    assert done.stderr.count("error[OUT001]") == 1
    assert f"bratseval report {target} makes it later" in done.stderr
    assert "mean lesion_dice" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"written to {target} without report.html")
    assert json.loads(done.stdout)["exit_code"] == 5
    assert (target / "leaderboard.csv").is_file()


def test_missing_pictures_are_told_and_options_find_them(out: Path, scored: Path, tmp_path: Path) -> None:
    def moved(**sources: object) -> None:
        (out / "state" / "sources.json").write_text(json.dumps(sources))

    (out / "state" / "sources.json").unlink()
    done = bratseval("report", out, "-j", 1)
    assert done.exit_code == 0
    assert "note[PIC006]" in done.stderr
    assert "3 of the 3 worst cases to be drawn have no picture in the report" in done.stderr
    assert "there is no state/sources.json" in done.stderr
    assert "--references and --submissions" in done.stderr
    assert "PIC006" not in bratseval("report", out, "-j", 1, "--pictures", 0).stderr
    moved(sources=3)
    assert "state/sources.json cannot be read" in bratseval("report", out, "-j", 1).stderr
    places = ("-r", scored / "refs", "-s", scored / "subs")
    (tmp_path / "none").mkdir()
    done = bratseval("report", out, "-j", 1, *places, "--images", tmp_path / "none")
    assert "3 of 3 pictures in the report lie on gray: no image in none has" in done.stderr
    done = bratseval("report", out, "-j", 1, *places)
    assert (done.exit_code, "PIC006" in done.stderr) == (0, False), done.stderr
    assert (out / "report.html").read_text().count('src="data:image/png') == 3
    done = bratseval("report", out, "-p", scored / "subs" / "one")
    assert done.exit_code == 2
    assert "--predictions is what one team handed in" in done.stderr


def test_an_unusable_reference_is_the_organizers(out: Path, scored: Path, tmp_path: Path) -> None:
    references = shutil.copytree(scored / "refs", tmp_path / "refs")
    (tmp_path / "a secret.nii.gz").write_bytes(b"no image")
    (references / "X-00001-000-seg.nii.gz").unlink()
    (references / "X-00001-000-seg.nii.gz").symlink_to(tmp_path / "a secret.nii.gz")
    done = bratseval("show", out, "--team", "one", "--case", "00001-000", "-r", references)
    assert done.exit_code == 3
    assert "error[PIC003]" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("name", ["inputs.csv", "scores.csv", "problems.csv", "run.json"])
@pytest.mark.parametrize("what", ["fifo", "device", "huge"])
def test_only_regular_files_are_read(out: Path, name: str, what: str) -> None:
    (out / name).unlink()
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(out / name),
        "device": lambda: (out / name).symlink_to("/dev/zero"),
        "huge": lambda: ((out / name).touch(), os.truncate(out / name, 1 << 33)),
    }
    make[what]()
    done = bratseval("report", out, "--pictures", 0)
    assert done.exit_code == 2
    assert "error[CSV00" in done.stderr
    if what == "huge":
        return
    assert "this is not a regular file" in done.stderr
    for command in (("merge", out, "-o", out.parent / "m"), ("export", out, "--to", "synapse")):
        assert bratseval(*command).exit_code == 2 or name == "problems.csv"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("leaderboard.csv", "rank,", "place,"),
        ("leaderboard.csv", "\n1,", "\nx,"),
        ("leaderboard.csv", "one", "nobody"),
        ("rank_frequencies.csv", "one", "nobody"),
        ("rank_frequencies.csv", "team,rank,share\n", "team,rank,share\none,1,-1\n"),
        ("rank_frequencies.csv", "team,rank,share\n", "team,rank,share\none,1,x\n"),
        ("significance.csv", "p_adjusted", "p"),
        ("stability.csv", "rank_q025", "low"),
        ("stability.csv", "\none,", "\none,x"),
        ("teams.csv", "penalized", "lost"),
    ],
)
def test_a_changed_table_is_a_sentence(out: Path, name: str, old: str, new: str) -> None:
    text = (out / name).read_text()
    assert old in text
    (out / name).write_text(text.replace(old, new))
    done = bratseval("report", out, "--pictures", 0)
    assert done.exit_code == 2, done.stderr
    assert name in done.stderr
    if name in ("teams.csv", "leaderboard.csv") and new != "nobody":
        assert bratseval("export", out, "--to", "grand-challenge").exit_code == 2


def test_a_table_without_its_teams_is_a_sentence(out: Path) -> None:
    (out / "leaderboard.csv").write_text((out / "leaderboard.csv").read_text().splitlines()[0] + "\n")
    done = bratseval("report", out, "--pictures", 0)
    assert (done.exit_code, "names no team" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "bootstrap",
    [
        ...,
        None,
        [],
        {"draws": 10, "kendall_counts": [[1, 10]]},
        {"draws": 10, "kendall_counts": [["x"]]},
        {
            "draws": 10,
            "kendall_mean": 1,
            "kendall_q025": 1,
            "kendall_q975": 1,
            "kendall_counts": [[-1e300, 1]],
        },
    ],
)
def test_a_record_without_its_bootstrap_is_a_sentence(out: Path, bootstrap: object) -> None:
    record = json.loads((out / "run.json").read_text())
    if bootstrap is ...:
        del record["ranking"]["bootstrap"]
    else:
        record["ranking"]["bootstrap"] = bootstrap
    (out / "run.json").write_text(json.dumps(record))
    done = bratseval("report", out, "--pictures", 0)
    assert done.exit_code == 2, done.stderr
    assert "bootstrap" in done.stderr


def test_the_hint_fits_the_cause(tmp_path: Path) -> None:
    def hint(number: int) -> str:
        return not_writable(tmp_path / "x", OSError(number, os.strerror(number))).problems[0].hint

    assert "bytes are free" in hint(errno.ENOSPC)
    assert "bytes" not in hint(errno.EACCES) + hint(errno.EISDIR)
    assert "make it writable" in hint(errno.EROFS)


def test_a_link_in_the_way_of_a_table_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out" / "state").mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    for name in ("scores.csv", "run.json"):
        (tmp_path / "out" / "state" / f"{name}.part").symlink_to(tmp_path / "mine")
    write_folder(tmp_path / "out", {"scores.csv": "a\n"}, {})
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "out" / "scores.csv").read_text() == "a\n"
    assert not (tmp_path / "out" / "scores.csv").is_symlink()


def test_curves_that_are_left_out_are_counted() -> None:
    table = DetailTable()
    table.add("a", "1", [(f"r{one:02}", "c", 0.5, 1.0) for one in range(MOST_CURVES + 3)])
    curves = curve_means(table, ["a"])
    assert (len(curves.shown), curves.left_out) == (MOST_CURVES, 3)


def test_folders_with_blanks_are_not_named() -> None:
    message = "/data of us/my refs/x.nii.gz is damaged, /other/y.nii.gz too"
    assert _named(message, [Path("/data of us/my refs/x.nii.gz")]) == "x.nii.gz is damaged, y.nii.gz too"
    assert _named("/a b/refs does not exist", [Path("/a b/refs")]) == "refs does not exist"


def test_an_endless_line_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n")
    os.truncate(path, 1 << 34)
    with pytest.raises(UsageError, match="field larger"):
        [*read_lines(path)]


def test_long_names_are_shortened_in_sentences_on_the_ranking(tmp_path: Path) -> None:
    teams = ["short", "x" * 250]
    lines = [
        f"{team},{case},WT,dice,{0.5 + place / 10}" for place, team in enumerate(teams) for case in "abc"
    ]
    (tmp_path / "scores.csv").write_text("\n".join(["team,case,region,metric,value", *lines, ""]))
    yaml = "extends: brats2023-gli\nname: tiny\nranking: {metrics: [dice], regions: [WT], bootstrap: 9}\n"
    (tmp_path / "tiny.yaml").write_text(yaml.replace("9}", "9, permutations: 9}"))
    done = bratseval(
        *("rank", tmp_path / "tiny.yaml", tmp_path / "scores.csv", "-o", tmp_path / "out", "--no-report")
    )
    assert done.exit_code == 0, done.stderr
    assert "9 bootstrap draws" in done.stderr
    assert "x" * 61 not in done.stderr
