"""The commands as a user runs them: files, exit codes, streams, and the same bytes whatever the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, phantom, save, table

from bratseval.model import Case
from bratseval.pipeline import in_shard

TABLES = ("scores", "cases", "lesions", "teams", "leaderboard", "ranks", "problems", "inputs")


def bratseval(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = {**os.environ, "COLUMNS": "100", **more}
    command = [sys.executable, "-m", "bratseval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)


def run(folders: tuple[Path, Path], output: Path, *more: object) -> subprocess.CompletedProcess[str]:
    submissions, references = folders
    return bratseval(
        "run",
        "brats2023-gli",
        "--submissions",
        submissions,
        "--references",
        references,
        "--output",
        output,
        *more,
    )


def test_run_ranks_the_exact_team_first(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(challenge_folders, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # results go to files, the human view to stderr
    assert "exact" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("complete: 2 teams, 3 cases")
    board = table(tmp_path / "out" / "leaderboard.csv")
    assert [row["team"] for row in board] == ["exact", "shifted"]
    assert (board[0]["rank"], board[0]["score"], board[0]["lesion_dice_WT"]) == ("1", "1", "1")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["complete"] is True
    assert record["signature"] in done.stderr.replace("\n", "")


def test_the_same_bytes_for_any_jobs_shards_and_order_of_merging(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run(challenge_folders, tmp_path / "one", "--jobs", 1)
    run(challenge_folders, tmp_path / "two", "--jobs", 2)
    shards = [tmp_path / f"shard{i}" for i in (1, 2, 3)]
    for index, shard in enumerate(shards, start=1):
        assert run(challenge_folders, shard, "--shard", f"{index}/3").returncode == 0
    merged = bratseval("merge", *reversed(shards), "--output", tmp_path / "merged")
    assert merged.returncode == 0, merged.stderr
    for name in TABLES:
        texts = {(tmp_path / folder / f"{name}.csv").read_bytes() for folder in ("one", "two", "merged")}
        assert len(texts) == 1, name


def test_merge_takes_the_seed_and_refuses_bad_metadata_before_it_writes(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run(challenge_folders, tmp_path / "whole")
    for seed in ((), ("--seed", 7)):
        bratseval("merge", tmp_path / "whole", "--output", tmp_path / f"m{len(seed)}", *seed)
    seeds = [json.loads((tmp_path / name / "run.json").read_text())["seed"] for name in ("m0", "m2")]
    assert seeds == [1, 7]
    (tmp_path / "bad.csv").write_text("id\n1\n")
    out = tmp_path / "bad"
    done = bratseval("merge", tmp_path / "whole", "-o", out, "--metadata", tmp_path / "bad.csv")
    assert done.returncode == 2
    assert "error[CSV003]" in done.stderr
    assert not list(out.glob("*"))


def test_a_missing_shard_leaves_a_merge_incomplete_although_it_would_hold_no_case(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for path in [*challenge_folders[0].rglob("*0000[23]*"), *challenge_folders[1].glob("*0000[23]*")]:
        path.unlink()
    shutil.rmtree(challenge_folders[0] / "shifted")
    mine = in_shard(Case("exact", "00001-000", None, None), (1, 2))
    run(challenge_folders, tmp_path / "one", "--shard", "1/2" if mine else "2/2")
    partial = bratseval("merge", tmp_path / "one", "-o", tmp_path / "merged")
    assert partial.returncode == 4, partial.stderr
    assert f"error[RUN002] shards {'2/2' if mine else '1/2'} are missing" in partial.stderr
    assert json.loads((tmp_path / "merged" / "run.json").read_text())["complete"] is False


def test_merge_names_what_is_missing_and_what_comes_twice(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for index in (1, 2):
        run(challenge_folders, tmp_path / f"s{index}", "--shard", f"{index}/2")
    partial = bratseval("merge", tmp_path / "s1", "--output", tmp_path / "partial")
    assert partial.returncode == 4
    assert "shards 2/2 are missing" in partial.stderr
    assert not (tmp_path / "partial" / "leaderboard.csv").exists()
    twice = bratseval("merge", tmp_path / "s1", tmp_path / "s1", "--output", tmp_path / "twice")
    assert twice.returncode == 2
    assert "repeats" in twice.stderr


def test_evaluate_writes_one_team_and_rank_joins_them(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    run(challenge_folders, tmp_path / "run")
    for team in ("exact", "shifted"):
        done = bratseval(
            "evaluate", "brats2023-gli", "-p", submissions / team, "-r", references, "-o", tmp_path / team
        )
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / team / "leaderboard.csv").exists()
    ranked = bratseval(
        "rank", "brats2023-gli", tmp_path / "exact", tmp_path / "shifted", "-o", tmp_path / "rank"
    )
    assert ranked.returncode == 0, ranked.stderr
    for name in ("leaderboard", "ranks", "scores"):
        one, other = (tmp_path / folder / f"{name}.csv" for folder in ("run", "rank"))
        assert one.read_bytes() == other.read_bytes(), name


def test_rank_reads_any_table_with_the_five_columns(tmp_path: Path) -> None:
    lines = ["team,case,region,metric,value"]
    for case in ("a", "b"):
        for region in ("WT", "TC", "ET"):
            lines += [f"007,{case},{region},lesion_dice,0.9", f"NA,{case},{region},lesion_dice,0.8"]
            lines += [f"007,{case},{region},lesion_hd95,3", f"NA,{case},{region},lesion_hd95,2"]
    scores = tmp_path / "any.csv"
    scores.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    done = bratseval("rank", "brats2023-gli", scores, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    board = table(tmp_path / "out" / "leaderboard.csv")
    assert [(row["rank"], row["team"], row["score"]) for row in board] == [
        ("1", "007", "1.5"),
        ("1", "NA", "1.5"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team,case,value\na,1,2\n", "has no column region, metric"),
        ("team,case,region,metric,value\na,1,WT,dice,x\n", "scores.csv:2: 'x' is not a number"),
        ("team,case,region,metric,value\na,1,WT,dice,0,5\n", "scores.csv:2: 6 cells, the header has 5"),
        ("team,case,region,metric,value\na,1,WT,dice,1\na,1,WT,dice,1\n", "scores.csv:3: repeats line 2"),
        ("", "is empty"),
    ],
)
def test_rank_refuses_a_broken_table(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "scores.csv").write_text(text)
    done = bratseval("rank", "brats2023-gli", tmp_path / "scores.csv", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert expected in done.stderr.replace("\n", " ").replace("  ", " ")


def test_format_json_prints_one_document(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(challenge_folders, tmp_path / "out", "--format", "json")
    document = json.loads(done.stdout)
    assert document["leaderboard"][0]["team"] == "exact"
    assert document["exit_code"] == 0


def test_exit_codes(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    submissions, references = challenge_folders
    assert (
        bratseval(
            "run", "brats2032-gli", "-s", submissions, "-r", references, "-o", tmp_path / "o"
        ).returncode
        == 2
    )
    assert bratseval("run", "brats2023-gli", "--wrong").returncode == 2
    assert run((submissions, tmp_path / "nowhere"), tmp_path / "o").returncode == 3
    assert run((tmp_path / "nowhere", references), tmp_path / "o").returncode == 2
    assert run(challenge_folders, tmp_path / "o", "--shard", "3/2").returncode == 2
    (tmp_path / "file").write_text("")
    assert run(challenge_folders, tmp_path / "file").returncode == 5


def test_only_commands_that_score_say_that_nothing_was_scored(tmp_path: Path) -> None:
    done = bratseval("export", tmp_path, "--to", "synapse")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == "stopped: 1 problem"
    done = bratseval("run", "brats2023-gli", "-s", tmp_path, "-r", tmp_path, "-o", tmp_path / "o")
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].endswith(", nothing was scored")


def test_a_folder_of_images_that_is_not_there_is_known_before_the_run(tmp_path: Path) -> None:
    arguments = ("brats2023-gli", "-s", tmp_path, "-r", tmp_path, "-o", tmp_path / "o")
    done = bratseval("run", *arguments, "--images", tmp_path / "t1c")
    assert (done.returncode, "t1c' does not exist" in done.stderr) == (2, True)
    assert [*tmp_path.iterdir()] == []


def test_results_of_another_configuration_are_not_overwritten(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    run(challenge_folders, tmp_path / "out")
    arguments = ("run", "brats2023-met", "-s", submissions, "-r", references, "-o", tmp_path / "out")
    assert bratseval(*arguments).returncode == 5
    assert bratseval(*arguments, "--overwrite").returncode == 0


def test_a_memory_limit_that_no_worker_could_keep_is_refused(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = run(challenge_folders, tmp_path / "out", "--memory", "0.1")
    assert done.returncode == 2
    assert "at least 0.5 GB" in done.stderr
    assert run(challenge_folders, tmp_path / "out", "--memory", "0.5").returncode == 0


def test_a_case_over_its_time_limit_is_named_and_nothing_is_ranked(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    path = challenge_folders[0] / "exact" / "BraTS-GLI-00002-000.nii.gz"
    slow = "import time, bratseval.tasks.segmentation as s; f = s._read; "
    slow += f"s._read = lambda p, *a: time.sleep(99) if str(p) == {str(path)!r} else f(p, *a)"
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(slow)
    submissions, references = challenge_folders
    done = bratseval(
        *("run", "brats2023-gli", "-s", submissions, "-r", references, "-o", tmp_path / "out"),
        *("--timeout", "1", "--jobs", "1"),
        PYTHONPATH=f"{tmp_path / 'hook'}:{ROOT}",
    )
    assert done.returncode == 4, done.stderr
    assert "it took too long (exceeded 1 s)" in done.stderr.replace("\n", " ")
    rows = table(tmp_path / "out" / "scores.csv")
    late = {(row["team"], row["case"]) for row in rows if row["status"] == "timeout"}
    assert late == {("exact", "00002-000")}
    assert not (tmp_path / "out" / "leaderboard.csv").exists()
    ranked = bratseval("rank", "brats2023-gli", tmp_path / "out", "-o", tmp_path / "ranked")
    assert ranked.returncode == 4
    assert not (tmp_path / "ranked" / "leaderboard.csv").exists()
    bratseval("rank", "brats2023-gli", tmp_path / "out", "-o", tmp_path / "ranked", "--allow-incomplete")
    missing = {row["team"]: row["missing_cases"] for row in table(tmp_path / "ranked" / "leaderboard.csv")}
    assert missing == {"exact": "1", "shifted": "0"}


def test_an_interrupted_run_says_so_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    submissions, references = tmp_path / "submissions", tmp_path / "references"
    labels = phantom(np.random.default_rng(1))
    for number in range(300):
        save(references / f"X-{number:05d}-000-seg.nii.gz", labels)
        save(submissions / "a" / f"X-{number:05d}-000.nii.gz", labels)
    command = [sys.executable, "-m", "bratseval", "run", "brats2023-gli", "-s", str(submissions)]
    command += ["-r", str(references), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert not list((tmp_path / "out").glob("*.csv"))


def test_challenges_show_and_check_and_schema(tmp_path: Path) -> None:
    assert "brats2026-met" in bratseval("challenges", "list").stdout
    shown = bratseval("challenges", "show", "brats2024-ssa").stdout
    assert "full_image: lesion_numbers" in shown
    json.loads(bratseval("challenges", "schema").stdout)
    (tmp_path / "my.yaml").write_text(shown.replace("name: brats2024-ssa", "name: mine"))
    checked = bratseval("challenges", "check", tmp_path / "my.yaml")
    assert checked.returncode == 0, checked.stderr
    (tmp_path / "my.yaml").write_text("extends: brats2023-gli\nname: my\nlesion: 3\n")
    broken = bratseval("challenges", "check", tmp_path / "my.yaml")
    assert broken.returncode == 2
    assert "my.yaml:3:1: lesion: unknown key" in broken.stderr.replace("\n", "")


@pytest.mark.parametrize("command", ["challenges list", "challenges show brats2023-gli", "metrics dice"])
def test_a_reader_that_leaves_early_ends_the_command_quietly(command: str) -> None:
    """As in `bratseval metrics | head -0`: no trace, and the exit code that SIGPIPE gives."""
    started = subprocess.Popen(
        [sys.executable, "-m", "bratseval", *command.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert started.stdout is not None
    started.stdout.close()
    assert started.communicate(timeout=120)[1] == ""
    assert started.returncode == 128 + signal.SIGPIPE


def test_a_new_challenge_is_a_yaml_file(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    submissions, references = challenge_folders
    (tmp_path / "mine.yaml").write_text(
        "extends: brats2023-gli\nname: mine\nregions: {TC: null, WT: null}\nmetrics: {assd: {penalty: 300}}\n"
    )
    done = bratseval(
        "run", tmp_path / "mine.yaml", "-s", submissions, "-r", references, "-o", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    rows = table(tmp_path / "out" / "scores.csv")
    assert {row["region"] for row in rows} == {"ET"}
    assert (
        float(next(row["value"] for row in rows if row["metric"] == "assd" and row["team"] == "shifted")) > 0
    )


def test_the_wheel_finds_its_configurations(tmp_path: Path) -> None:
    """The package without the checkout around it, as after a plain pip install."""
    shutil.copytree(ROOT / "bratseval", tmp_path / "bratseval", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", tmp_path / "bratseval" / "configs")
    command = [sys.executable, "-c", "from bratseval.config import bundled_folder; print(bundled_folder())"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    assert found.strip() == str(tmp_path / "bratseval" / "configs")


def test_help_does_not_import_the_heavy_libraries() -> None:
    code = (
        "import sys; from bratseval import cli; "
        "sys.exit(any(m in sys.modules for m in ('numpy', 'scipy', 'pandas', 'SimpleITK', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_check_warns_of_what_run_refuses(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "extends: brats2023-gli\nname: my\nranking: {metrics: [lesion_dice, assd], missing: worst}\n"
    )
    done = bratseval("challenges", "check", path)
    assert done.returncode == 0
    assert "warning[CFG008] my ranks assd but does not compute it" in done.stderr
    assert "is a valid challenge" in done.stderr
