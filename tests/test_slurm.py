"""The scripts of `bratseval slurm`, run by bash as a scheduler would; the real Slurm is in integration/."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bratseval.cli import app
from bratseval.errors import OutputError, UsageError
from bratseval.slurm import Job, directives, merge_text, number_of_shards, shards_text, submit, write
from bratseval.state import Journal, locked

HOSTILE = 'it\'s "a" $HOME `x` #1 %j é; exit'
YAML = "extends: brats2023-gli\nname: own\nranking: {bootstrap: 10, permutations: 10}\n"


def slurm(*arguments: object) -> Any:
    """`bratseval slurm` in this process."""
    return CliRunner().invoke(app, ["slurm", *map(str, arguments)])


def shell(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script from another folder, as a scheduler does."""
    command = ["bash", str(script), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment["BRATSEVAL_SCHEDULER"] = "tcp://nowhere.invalid:1"  # what a job inherits must not steer it
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, timeout=120)


def last(stderr: str) -> str:
    return stderr.strip().splitlines()[-1]


def csvs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


@pytest.fixture
def hostile(challenge_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of a bad name, with `teams of all`, `refs`, the challenge `-own.yaml` and a trap."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    submissions, references = challenge_folders
    (submissions / "shifted" / "BraTS-GLI-00002-000.nii.gz").write_bytes(b"broken")
    (submissions / "shifted" / "BraTS-GLI-00003-000.nii.gz").unlink()
    submissions.rename(folder / "teams of all")
    references.rename(folder / "refs")
    (folder / "-own.yaml").write_text(YAML)
    (folder / "numpy.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(folder)
    return folder


def test_the_scripts_name_a_missing_shard_and_once_all_have_run_give_the_bytes_of_the_local_run(
    hostile: Path,
) -> None:
    options = ("--submissions", "teams of all", "--references", "refs")
    done = slurm(*options, "--output", "-out %A", "--shards", 2, "--", "-own.yaml")
    assert (done.exit_code, last(done.stderr)[:51]) == (
        0,
        "written: 2 teams, 6 cases of theirs in 2 shards; sc",
    )
    scripts = hostile / "-out %A" / "slurm"
    shards, merge = scripts / "shards.sh", scripts / "merge.sh"
    assert sorted(path.name for path in scripts.iterdir()) == ["logs", "merge.sh", "shards.sh"]

    none = shell(merge)
    assert none.returncode == 4
    assert last(none.stderr).startswith("incomplete: none of the 2 shards has finished")

    first = shell(shards, 1)
    assert first.returncode == 0, first.stderr
    (hostile / "-out %A" / "shards" / "2-of-2" / "state").mkdir(parents=True)  # a task that died early
    partial = shell(merge)
    assert partial.returncode == 4
    assert "error[RUN002] shards 2/2 are missing" in partial.stderr
    assert not (hostile / "-out %A" / "leaderboard.csv").exists()

    for shard in (1, 2):  # the whole array again
        again = shell(shards, shard)
        assert again.returncode == 0, again.stderr  # although a submission has faults
        assert ("cases kept from an earlier run" in again.stderr) is (shard == 1)
    merged = shell(merge)
    assert merged.returncode == 1, merged.stderr  # the broken file is for the participant to mend
    assert last(merged.stderr).startswith("complete: 2 teams, 3 cases")

    command = [sys.executable, "-P", "-m", "bratseval", "run", *options, "--output=local", "--", "-own.yaml"]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 1
    local = csvs(hostile / "local")
    assert {"scores.csv", "leaderboard.csv", "problems.csv", "inputs.csv", "lesions.csv"} < set(local)
    assert csvs(hostile / "-out %A") == local


def test_a_shard_that_ends_early_does_not_count_with_what_it_wrote_before(tmp_path: Path) -> None:
    job = Job("brats2023-gli", str(tmp_path), "out", 2, python="/bin/false")
    write(job, "digest", False)
    marks = [tmp_path / "out" / "shards" / name / "run.json" for name in ("1-of-2", "2-of-2", "1-of-3")]
    for mark in marks:
        mark.parent.mkdir(parents=True)
        mark.write_text("{}")
    assert shell(job.array_script, 2).returncode == 1
    assert [mark.exists() for mark in marks] == [True, False, True]
    write(job, "digest", False)
    assert [mark.exists() for mark in marks] == [True, False, True]


@pytest.mark.parametrize("taken", [True, False])
def test_shards_count_as_finished_until_the_array_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """As sbatch answers on a cluster: the id of the job, or a reason."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\n" + ("echo 42\n" if taken else "echo invalid partition >&2; exit 1\n"))
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    job = Job("brats2023-gli", str(tmp_path), "out", 2)
    write(job, "digest", False)
    marks = [tmp_path / "out" / "shards" / name / "run.json" for name in ("1-of-2", "2-of-2", "1-of-3")]
    for mark in marks:
        mark.parent.mkdir(parents=True)
        mark.write_text(mark.parent.name)
    if taken:
        assert submit(job) == ("42", "42")
        assert [mark.exists() for mark in marks] == [False, False, True]
    else:
        with pytest.raises(UsageError, match="invalid partition"):
            submit(job)
        assert [mark.read_text() for mark in marks] == ["1-of-2", "2-of-2", "1-of-3"]
    assert not list(tmp_path.rglob("*.before"))


def test_without_a_number_the_script_says_what_it_needs(tmp_path: Path) -> None:
    job = Job("brats2023-gli", str(tmp_path), "out", 7)
    write(job, "digest", False)
    done = shell(job.array_script)
    assert done.returncode != 0
    assert "name a shard: 1 to 7" in done.stderr


def test_options_reach_the_command_that_takes_them(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    (tmp_path / "cases.csv").write_text("case,site\n00001-000,a\n")
    done = slurm(
        *("brats2023-gli", "-s", submissions, "-r", references, "-o", tmp_path / "o", "--shards", 3),
        *("--cpus", 4, "--mem", "6G", "--time", "1-0", "--partition", "long", "--account", "brats lab"),
        *("--sbatch", "--qos=low", "--sbatch=-C 'big|fast'", "--timeout", 60, "--memory", 1.5, "--seed", 5),
        *("--geometry", "ignore", "--max-members", 9, "--institution", "site a", "--overwrite"),
        *("--metadata", tmp_path / "cases.csv", "--allow-incomplete", "--fail-on", "warning"),
    )
    assert done.exit_code == 0, done.output
    shards, merge = ((tmp_path / "o" / "slurm" / name).read_text() for name in ("shards.sh", "merge.sh"))
    both = ["--mem=6G", "--time=1-0", "--partition=long", "--account='brats lab'", "--qos=low"]
    both += ["-C 'big|fast'", "--requeue", "--open-mode=append"]
    for line in both:
        assert f"\n#SBATCH {line}\n" in shards
        assert f"\n#SBATCH {line}\n" in merge
    for line in ("--array=1-3", "--cpus-per-task=4"):
        assert f"\n#SBATCH {line}\n" in shards
        assert f"#SBATCH {line}\n" not in merge
    run, join = (shlex.split(text.splitlines()[-1])[1:] for text in (shards, merge))
    python = [sys.executable, "-P", "-m", "bratseval"]
    metadata = f"--metadata={tmp_path / 'cases.csv'}"
    assert run[:5] == [*python, "run"]
    assert set(run[5:-2]) == {
        *(f"--submissions={submissions}", f"--references={references}", metadata, "--overwrite", "--seed=5"),
        *("--timeout=60.0", "--memory=1.5", "--geometry=ignore", "--max-members=9", "--institution=site a"),
        *("--jobs=4", "--fail-on=never", "--shard=$shard/3", "--output=$folder"),
    }
    assert run[-2:] == ["--", "brats2023-gli"]
    assert join[:5] == [*python, "merge"]
    assert set(join[5:-2]) == {
        *("--challenge=brats2023-gli", f"--output={tmp_path / 'o'}", metadata, "--overwrite", "--seed=5"),
        *("--allow-incomplete", "--fail-on=warning", "--no-report"),  # the last as conftest.py sets it
    }
    assert join[-2:] == ["--", "${finished[@]}"]


def test_both_scripts_are_valid_shell_and_the_same_each_time(tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE
    folder.mkdir()
    words = (f"--submissions={HOSTILE}", "--institution=two\nlines")
    job = Job(HOSTILE, str(folder), HOSTILE, 1000, 8, words, words, ("--qos=low",))
    write(job, "digest", False)
    written = [job.array_script.read_bytes(), job.merge_script.read_bytes()]
    assert written == [shards_text(job).encode(), merge_text(job).encode()]
    write(job, "digest", False)
    assert written == [job.array_script.read_bytes(), job.merge_script.read_bytes()]
    for script in (job.array_script, job.merge_script):
        assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""
        if shellcheck := shutil.which("shellcheck"):
            assert (
                subprocess.run([shellcheck, "--severity=warning", script], capture_output=True).stdout == b""
            )


def test_it_prints_the_commands_that_submit_or_one_document(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    output = tmp_path / "a b"
    arguments = ("brats2023-gli", "-s", submissions, "-r", references, "-o", output)
    scripts = output / "slurm"
    assert slurm(*arguments).stdout == (
        f"array=$(sbatch --parsable '{scripts / 'shards.sh'}') &&\n"
        f"rm -f -- '{output / 'shards'}'/*-of-1/run.json &&\n"
        f"sbatch --parsable --dependency=afterany:\"${{array%%;*}}\" '{scripts / 'merge.sh'}'\n"
    )
    document = json.loads(slurm(*arguments, "--format", "json").stdout)
    assert (document.pop("teams"), document.pop("cases"), document.pop("shards")) == (2, 6, 1)
    assert document == {
        "output": str(output),
        "array_script": str(scripts / "shards.sh"),
        "merge_script": str(scripts / "merge.sh"),
        "array_job": None,
        "merge_job": None,
    }


def test_where_sbatch_is_not_installed_one_sentence_says_what_to_do(
    challenge_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions, references = challenge_folders
    monkeypatch.setenv("PATH", str(tmp_path))
    done = slurm("brats2023-gli", "-s", submissions, "-r", references, "-o", tmp_path / "o", "--submit")
    assert done.exit_code == 2
    assert "error[RUN017] sbatch, Slurm's command, cannot be run here (No such file" in done.stderr
    assert "login node" in done.stderr
    assert (tmp_path / "o" / "slurm" / "merge.sh").is_file()


@pytest.mark.parametrize(
    ("more", "exit_code", "said"),
    [
        (("--shards", 7), 2, "error[RUN018] --shards 7 is more than the 6 cases of all teams"),
        (("--shards", 1001), 2, "--shards"),
        (
            ("--mem", "1G\n#SBATCH --array=1-9"),
            2,
            "error[RUN018] --mem '1G\\n#SBATCH --array=1-9' has more than",
        ),
        (("--sbatch", "qos=low"), 2, "error[RUN018] --sbatch 'qos=low' is no option of sbatch in one line"),
        (("--sbatch", "--array=1-9%2"), 2, "error[RUN018] --sbatch '--array=1-9%2' is set by bratseval"),
        (("--sbatch", "--arra=1-9"), 2, "error[RUN018] --sbatch '--arra=1-9' is set by bratseval"),
        (("--sbatch=-a 1-9",), 2, "error[RUN018] --sbatch '-a 1-9' is set by bratseval"),
        (("--sbatch=-d afterok:1",), 2, "is set by bratseval"),
        (("-r", "nowhere"), 3, "error[SUB010] the reference folder nowhere does not exist"),
        (("-s", "nowhere"), 2, "error[SUB012] the submissions folder nowhere does not exist"),
        (("-o", "back\\slash"), 2, "error[RUN018] the output"),
        (("-o", "submissions"), 2, "error[OUT005] the output submissions lies inside the submissions"),
        (("-o", "submissions/o"), 2, "error[OUT005] the output submissions/o lies inside the submissions"),
        (("-o", "submissions/exact/o"), 2, "error[OUT005] the output submissions/exact/o lies inside"),
        (("-o", "references/o"), 2, "error[OUT005] the output references/o lies inside the references"),
        (("--geometry", "no"), 2, "--geometry no: expected one of"),
        (("--fail-on", "no"), 2, "--fail-on no: expected one of"),
    ],
)
def test_what_could_not_run_is_said_at_once(
    more: tuple[object, ...],
    exit_code: int,
    said: str,
    challenge_folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = slurm("brats2023-gli", "-s", "submissions", "-r", "references", "-o", "o", *more)
    assert (done.exit_code, said in " ".join(done.stderr.split())) == (exit_code, True), done.stderr
    assert not list(tmp_path.rglob("*.sh"))


def test_a_folder_in_use_or_of_another_configuration_is_refused(
    challenge_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    submissions, references = challenge_folders
    arguments = ("brats2023-gli", "-s", submissions, "-r", references, "-o", tmp_path / "o")
    with locked(tmp_path / "o"):
        done = slurm(*arguments)
    assert (done.exit_code, "error[OUT004]" in done.stderr) == (5, True)
    (tmp_path / "o" / "run.json").write_text('{"config": "other"}')
    done = slurm(*arguments)
    assert (done.exit_code, "error[OUT003]" in done.stderr) == (5, True)
    assert slurm(*arguments, "--overwrite").exit_code == 0
    (tmp_path / "o" / "run.json").unlink()
    with locked(tmp_path / "o" / "shards" / "1-of-1") as state:
        Journal(state, "other").close()  # what a shard has begun
    done = slurm(*arguments)
    assert (done.exit_code, "shards/1-of-1 holds cases scored under" in done.stderr) == (5, True)
    assert slurm(*arguments, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("cases", "shards"), [(0, 1), (1, 1), (100, 1), (101, 2), (100_000, 1000), (100_001, 1000)]
)
def test_the_number_of_shards_follows_the_cases(cases: int, shards: int) -> None:
    assert number_of_shards(cases) == shards


def test_every_fault_of_the_directives_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        directives("1\n", "2\r", others=("", "--wrap=x", "--qos=low", "--arraycount"))
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        ("process 1 on elsewhere in Slurm job 7 restart 0", True),
        ("process 1 on elsewhere in Slurm job 7 restart 9", True),
        ("process 1 on elsewhere in Slurm job 7 restart 10", False),  # this very start
        ("process 1 on elsewhere in Slurm job 7 restart 11", False),
        ("process 1 on elsewhere in Slurm job 70 restart 0", False),
        ("process 1 on elsewhere", False),
        ("process 1 on elsewhere in Slurm job 7 restart", False),  # torn
        (f"process 1 on {socket.gethostname()} in Slurm job 8 restart 0", False),
        (f"process {2**22 + 1} on {socket.gethostname()} in Slurm job 8 restart 0", True),  # no such process
    ],
)
def test_a_requeued_job_takes_its_own_lock_over_where_the_file_system_has_no_locks(
    holder: str, free: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "10")
    lock = tmp_path / "state" / "lock"
    lock.parent.mkdir()
    lock.write_text(holder)
    if free:
        with locked(tmp_path):
            mine = f"process {os.getpid()} on {socket.gethostname()} in Slurm job 7 restart 10"
            assert lock.read_text() == mine
        return
    with pytest.raises(OutputError, match="is in use by another run"), locked(tmp_path):
        pass
