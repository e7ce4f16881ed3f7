"""`bratseval slurm --submit` on a Slurm of its own: munged, slurmctld and slurmd on this machine.

`make test-slurm` runs it. Everything they need lies in a temporary folder, on free ports, and ends with it.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slurm

SAMPLE = ROOT / "sample_data" / "brats-gli"
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
CONF = """
ClusterName=bratseval
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
MpiDefault=none
JobRequeue=0
MailProg=/bin/true
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running Slurm that SLURM_CONF names; skips where it is not installed."""
    if absent := [name for name in COMMANDS if not shutil.which(name, path=PATH)]:
        pytest.skip(f"{', '.join(absent)} not installed: apt-get install munge slurmctld slurmd slurm-client")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        controller, node = one.getsockname()[1], two.getsockname()[1]
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            host=socket.gethostname().partition(".")[0],
            user=pwd.getpwuid(os.getuid()).pw_name,
            cpus=len(os.sched_getaffinity(0)),
            folder=folder,
            controller=controller,
            node=node,
        )
    )
    munge = {"key-file": key, "socket": folder / "munge.sock", "log-file": folder / "munged.log"}
    munge |= {"pid-file": folder / "munged.pid", "seed-file": folder / "munged.seed"}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        patch.setenv("PATH", PATH)
        stack.callback(end_processes_of, conf)
        stack.enter_context(
            daemon("munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in munge.items()))
        )
        until(munge["socket"].exists, folder)
        stack.enter_context(daemon("slurmctld", "-D", "-f", str(conf)))
        stack.enter_context(daemon("slurmd", "-D", "-f", str(conf)))
        until(lambda: "idle" in slurms("sinfo", "--noheader", "--format=%T", check=False), folder)
        yield folder


@contextmanager
def daemon(*command: str) -> Iterator[None]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_processes_of(conf: Path) -> None:
    """Kill what the jobs of this Slurm have left, after its daemons have ended."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            number = int(environment.parent.name)
            if number != os.getpid() and f"SLURM_CONF={conf}\0".encode() in environment.read_bytes():
                os.kill(number, signal.SIGKILL)


def until(holds: Callable[[], object], folder: Path, every: float = 0.2, seconds: float = 120) -> None:
    """Wait for it; else fail with what the daemons log."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            logs = [path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log"))]
            pytest.fail("\n".join([f"not within {seconds:g} s", *logs]))
        time.sleep(every)


def slurms(*command: str, check: bool = True) -> str:
    """Standard output of one of Slurm's commands."""
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60).stdout


def bratseval(*arguments: object, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line from the root of the repository."""
    command = [sys.executable, "-m", "bratseval", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == exit_code, done.stderr
    return done


def submitted(*arguments: object) -> tuple[str, str]:
    """Ids of the array and the merge that `bratseval slurm --submit` sends."""
    document = json.loads(bratseval("slurm", *arguments, "--submit", "--format", "json").stdout)
    return document["array_job"], document["merge_job"]


def states(job: str) -> dict[str, tuple[str, str]]:
    """State and exit code by task of an array, or of the one job under an empty name."""
    shown = slurms("scontrol", "--oneliner", "show", "job", job)
    found = {}
    for line in shown.splitlines():
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        found[fields.get("ArrayTaskId", "")] = (fields["JobState"], fields["ExitCode"])
    return found


def ended(job: str, folder: Path) -> tuple[str, str]:
    """State and exit code of a job that is not an array, once it has ended."""
    until(lambda: states(job)[""][0] not in ("PENDING", "RUNNING", "COMPLETING"), folder)
    return states(job)[""]


def csvs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def finished_cases(shard: Path) -> int:
    """How many cases the journal of a shard holds, beside its head."""
    journal = shard / "state" / "journal.jsonl"
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def running(shard: Path, folder: Path) -> tuple[int, int]:
    """Process id of a shard that is under way, and how many cases it has finished: three or more."""
    until(lambda: finished_cases(shard) >= 3, folder, every=0.01)
    return int((shard / "state" / "lock").read_text().split()[1]), finished_cases(shard)


def kept(log: str) -> list[int]:
    """Cases that each run of a task took from its journal, in the order of its log."""
    return [int(number) for number in re.findall(r"(\d+) cases kept from an earlier run", log)]


@pytest.fixture(scope="module")
def many(
    tmp_path_factory: pytest.TempPathFactory, cluster: Path
) -> tuple[Sequence[object], dict[str, bytes]]:
    """Arguments for 20 teams of 6 cases of sample_data, so that a shard takes a while; the local tables."""
    folder = tmp_path_factory.mktemp("many")
    for team in ("bold", "patchy"):
        for number in range(10):
            shutil.copytree(SAMPLE / "submissions" / team, folder / "teams" / f"{team}{number}")
    arguments = ("brats2023-gli", "-s", folder / "teams", "-r", SAMPLE / "references", "--fail-on", "never")
    bratseval("run", *arguments, "-o", folder / "local")
    return arguments, csvs(folder / "local")


def test_an_array_of_sample_data_gives_the_bytes_of_the_local_run(cluster: Path, tmp_path: Path) -> None:
    given = ("brats2023-gli", "-s", SAMPLE.relative_to(ROOT) / "submissions")
    given += ("-r", SAMPLE.relative_to(ROOT) / "references")
    bratseval("run", *given, "-o", tmp_path / "local")
    output = tmp_path / 'it\'s 50% "of" $HOME #1 é %j'
    array, merge = submitted(*given, "-o", output, "--shards", 4, "--time", 10, "--sbatch", "--nice=1")
    assert ended(merge, cluster) == ("COMPLETED", "0:0"), (output / "slurm/logs").iterdir()
    assert states(array) == {str(task): ("COMPLETED", "0:0") for task in range(1, 5)}
    assert csvs(output) == csvs(tmp_path / "local")
    logs = {path.name for path in (output / "slurm" / "logs").iterdir()}
    assert logs == {f"{merge}_merge.out", *(f"{array}_{task}.out" for task in range(1, 5))}


def test_a_task_that_is_killed_and_one_that_is_moved_go_on_after_a_requeue(
    cluster: Path, tmp_path: Path, many: tuple[Sequence[object], dict[str, bytes]]
) -> None:
    given, local = many
    output = tmp_path / "out"
    array, merge = submitted(*given, "-o", output, "--shards", 2)
    first, second = (output / "shards" / f"{index}-of-2" for index in (1, 2))
    _, finished = running(first, cluster)
    slurms("scontrol", "requeuehold", f"{array}_1")
    victim, others = running(second, cluster)
    os.kill(victim, signal.SIGKILL)
    assert not (first / "run.json").exists()  # neither had come to its end
    assert not (second / "run.json").exists()
    until(lambda: states(array)["2"] == ("FAILED", "0:9"), cluster)
    slurms("scontrol", "requeue", f"{array}_2")
    until(lambda: states(array)["1"][0] == "PENDING", cluster)
    slurms("scontrol", "release", f"{array}_1")
    assert states(merge)[""][0] == "PENDING"
    assert ended(merge, cluster) == ("COMPLETED", "0:0")
    assert set(states(array).values()) == {("COMPLETED", "0:0")}
    assert csvs(output) == local
    logs = [(output / "slurm" / "logs" / f"{array}_{task}.out").read_text() for task in (1, 2)]
    assert "terminated after" in logs[0]  # the signal reaches bratseval and no shell before it
    totals = [finished_cases(shard) for shard in (first, second)]
    for log, at_least, total in zip(logs, (finished, others), totals, strict=True):
        (taken,) = kept(log)
        assert at_least <= taken < total, log


def test_what_a_dead_task_leaves_out_is_named_and_made_good_by_the_same_command(
    cluster: Path, tmp_path: Path, many: tuple[Sequence[object], dict[str, bytes]]
) -> None:
    given, local = many
    output = tmp_path / "out"
    array, merge = submitted(*given, "-o", output, "--shards", 2)
    victim, finished = running(output / "shards" / "2-of-2", cluster)
    os.kill(victim, signal.SIGKILL)
    assert ended(merge, cluster) == ("FAILED", "4:0")
    assert states(array) == {"1": ("COMPLETED", "0:0"), "2": ("FAILED", "0:9")}
    log = (output / "slurm" / "logs" / f"{merge}_merge.out").read_text()
    assert "error[RUN002] shards 2/2 are missing" in log
    assert not (output / "leaderboard.csv").exists()

    array, merge = submitted(*given, "-o", output, "--shards", 2)
    assert ended(merge, cluster) == ("COMPLETED", "0:0")
    assert csvs(output) == local
    (taken,) = kept((output / "slurm" / "logs" / f"{array}_2.out").read_text())
    assert finished <= taken < finished_cases(output / "shards" / "2-of-2")


def test_the_printed_commands_submit_both_jobs(cluster: Path, tmp_path: Path) -> None:
    output = tmp_path / "it's $here"
    written = bratseval(
        "slurm", "brats2023-gli", "-s", SAMPLE / "submissions", "-r", SAMPLE / "references", "-o", output
    )
    merge = subprocess.run(["sh"], input=written.stdout, capture_output=True, text=True, check=True).stdout
    assert ended(merge.strip(), cluster) == ("COMPLETED", "0:0")
    assert (output / "leaderboard.csv").is_file()


def test_what_sbatch_refuses_is_said_in_its_words(cluster: Path, tmp_path: Path) -> None:
    given = ("brats2023-gli", "-s", SAMPLE / "submissions", "-r", SAMPLE / "references", "-o", tmp_path / "o")
    done = bratseval("slurm", *given, "--submit", "--partition", "nowhere", exit_code=2)
    assert "error[RUN017] sbatch did not take" in done.stderr
    assert "invalid partition specified: nowhere" in done.stderr
    assert slurms("squeue", "--noheader") == ""
