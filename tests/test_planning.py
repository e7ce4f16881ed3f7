"""A dry run: what it says, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT
from test_cli import run

from bratseval import pipeline
from bratseval.config import load_rulebook
from bratseval.errors import UsageError
from bratseval.model import Case
from bratseval.options import Options
from bratseval.planning import SHARD_S, Forecast, _samples, forecast
from bratseval.slurm import count_cases


def silent(done: int, total: int, what: str, kept: int | None = None, /) -> None:
    pass


def planned(folders: tuple[Path, Path], output: Path, options: Options) -> Forecast:
    return forecast(load_rulebook("brats2023-gli"), *folders, output, options, silent)


def test_a_dry_run_times_cases_and_writes_nothing(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = run(challenge_folders, tmp_path / "out", "--dry-run", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    found = json.loads(done.stdout)
    assert (found["teams"], found["cases"], found["finished"]) == (2, 6, 0)
    assert found["rows"] == 6 * 30  # three regions, ten metrics
    assert 0 < found["next_s"] <= found["cpu_s"] < 6 * (found["first_s"] + found["next_s"])
    assert 3e7 < found["worker_bytes"] < 4e8
    assert found["shards"] == 1
    assert done.stderr.strip().splitlines()[-1].startswith("dry run: 6 cases remain")


def test_finished_cases_are_not_counted_again(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert run(challenge_folders, tmp_path / "out", "--shard", "1/2").returncode == 0
    one, both = (
        planned(challenge_folders, tmp_path / "out", Options(shard=shard)) for shard in ((1, 2), (1, 1))
    )
    assert one.cases == one.finished == both.finished > 0
    assert (one.timed, one.cpu_s, one.wall_s) == (0, 0.0, 0.0)
    assert both.cases == 6
    assert both.cpu_s > 0
    assert planned(challenge_folders, tmp_path / "out", Options(resume=False)).finished == 0


def test_what_stops_a_run_stops_a_dry_run(challenge_folders: tuple[Path, Path], tmp_path: Path) -> None:
    submissions, references = challenge_folders
    inside = run(challenge_folders, submissions / "exact" / "out", "--dry-run")
    assert inside.returncode == 2
    assert "OUT005" in inside.stderr
    elsewhere = run(challenge_folders, tmp_path / "out", "--dry-run", "--scheduler", "tcp://localhost:1")
    assert (elsewhere.returncode, "leave out --scheduler" in elsewhere.stderr) == (2, True)
    for path in references.iterdir():
        path.unlink()
    assert run(challenge_folders, tmp_path / "out", "--dry-run").returncode == 3


def test_what_is_ranked_but_not_computed_stops_a_dry_run_and_a_run_of_jobs(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text("extends: brats2023-gli\nname: own\nranking: {metrics: [nsd]}\n")
    rulebook, output = load_rulebook(str(tmp_path / "own.yaml")), tmp_path / "out"
    for plan in (
        lambda: forecast(rulebook, *challenge_folders, output, Options(), silent),
        lambda: count_cases(rulebook, *challenge_folders, output, Options()),
    ):
        with pytest.raises(UsageError) as caught:
            plan()
        assert [problem.code for problem in caught.value.problems] == ["CFG008"]


def test_a_worker_that_a_memory_limit_kills_gets_a_word(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    plenty, tight = (
        planned(challenge_folders, tmp_path / "out", Options(memory_bytes=limit))
        for limit in (1 << 31, 1 << 25)
    )
    assert plenty.problems == ()
    assert {(problem.severity, problem.code) for problem in tight.problems} == {("warning", "RUN020")}
    assert "its worker died under --memory 0.0336 (needed more than" in tight.problems[0].message
    assert tight.timed == plenty.timed
    assert tight.exit_code == 0


def test_a_missing_file_is_a_problem_and_takes_no_time(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for path in (challenge_folders[0] / "shifted").iterdir():
        path.unlink()
    found = planned(challenge_folders, tmp_path / "out", Options())
    assert found.next_s is None  # of no case there are two files
    assert {problem.code for problem in found.problems} == {"SUB004"}


def test_a_broken_reference_is_told_and_its_time_is_not_counted(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for path in sorted(challenge_folders[1].iterdir())[:2]:
        path.write_bytes(path.read_bytes()[:99])
    found = planned(challenge_folders, tmp_path / "out", Options())
    assert "SUB014" in {problem.code for problem in found.problems}
    assert found.exit_code == 3
    assert found.timed == 2  # of the whole one, for two teams


def test_cases_of_all_sizes_are_timed(tmp_path: Path) -> None:
    """The largest first, whose time is not counted, then one of each fifth, each for two teams."""
    cases = []
    for size in range(1, 101):
        path = tmp_path / f"{size:03}"
        path.write_bytes(bytes(size))
        cases += [Case(team, path.name, path, path) for team in ("a", "b", "c")]
    samples = _samples(cases)
    assert [own[0].case for own in samples] == ["100", "011", "031", "051", "071", "091"]
    assert all([one.team for one in own] == ["a", "b"] for own in samples)
    assert _samples([]) == []
    assert _samples([Case("a", "lost", tmp_path / "001", None)]) == []


@pytest.mark.parametrize(("cpu_s", "shards"), [(0.0, 1), (SHARD_S, 1), (40 * SHARD_S, 40), (1e9, 1000)])
def test_shards_take_some_minutes_each(
    challenge_folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cpu_s: float,
    shards: int,
) -> None:
    from bratseval import planning

    times = planning._Times(first=[cpu_s / 2000], further=[cpu_s / 2000])
    monkeypatch.setattr(planning, "_measure", lambda *_: times)
    monkeypatch.setattr(
        planning, "plan", lambda *_: ([Case("a", str(i), None, tmp_path) for i in range(2000)], [], None)
    )
    assert planned(challenge_folders, tmp_path / "out", Options()).shards == shards


def test_rows_that_a_team_has_once_are_estimated_too(tmp_path: Path) -> None:
    """LiTS forms numbers over all cases of a team; one shard cannot."""
    folders = [ROOT / "sample_data" / "liver" / name for name in ("submissions", "references")]
    rulebook = load_rulebook("lits")
    once = len(rulebook.challenge.pooled_metrics)
    assert once
    whole, half = (
        forecast(rulebook, *folders, tmp_path / "out", Options(shard=shard), silent)
        for shard in ((1, 1), (1, 2))
    )
    scores = pipeline.run(rulebook, *folders, tmp_path / "out", Options(jobs=1), silent).run["counts"]["rows"]
    assert whole.rows == scores
    assert half.rows == round((scores - 3 * once) * half.cases / whole.cases)
