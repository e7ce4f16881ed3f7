"""A run as jobs of Slurm: an array of shards and the merge that depends on it, as two shell scripts.

A shard is `bratseval run --shard I/N` into a folder of its own; it keeps every finished case in its journal
and so goes on after a requeue. No shard speaks to another or to Slurm, so any other scheduler can run them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bratseval import __version__
from bratseval.cases import find_references
from bratseval.challenge import Rulebook
from bratseval.errors import Problem, UsageError
from bratseval.options import Options
from bratseval.pipeline import MAX_SHARDS, plan, teams_of
from bratseval.results import check_output
from bratseval.state import FOLDER, check_journal, locked, not_writable, write_part

CASES_PER_SHARD = 100  # some ten seconds to some minutes of one CPU, beside two seconds to start
# Without these the two jobs are not what they are.
_OURS = ("array", "dependency", "wrap", "parsable", "test-only")


@dataclass(frozen=True, slots=True)
class Job:
    """What the two scripts do.

    challenge, output and the paths among the options are as the user named them from ``folder``, so that
    messages name files as those of a run there do. run and merge: options of the two commands, each one
    word, beside those of shard and output. directives: further lines after #SBATCH, in Slurm's syntax.
    """

    challenge: str
    folder: str
    output: str
    shards: int
    cpus: int = 1
    run: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    python: str = sys.executable

    @property
    def place(self) -> Path:
        """The absolute folder of the scripts."""
        return Path(self.folder, self.output, "slurm")

    @property
    def array_script(self) -> Path:
        """Where the script of the shards is."""
        return self.place / "shards.sh"

    @property
    def merge_script(self) -> Path:
        """Where the script of the merge is."""
        return self.place / "merge.sh"


def directives(
    mem: str = "", time: str = "", partition: str = "", account: str = "", others: Sequence[str] = ()
) -> tuple[str, ...]:
    """Lines after #SBATCH. Raises UsageError (RUN018) for what would not be one line, or replace our own."""
    named = {"mem": mem, "time": time, "partition": partition, "account": account}
    faults = [
        f"--{name} {value!r} has more than one line" for name, value in named.items() if not _one_line(value)
    ]
    for other in others:
        if not (_one_line(other) and re.match(r"\s*-", other)):
            faults.append(f"--sbatch {other!r} is no option of sbatch in one line, such as '--qos=low'")
        elif _is_ours(other):
            faults.append(f"--sbatch {other!r} is set by bratseval")
    if faults:
        hint = "name an option of sbatch as in an #SBATCH line; `man sbatch` lists them"
        raise UsageError([Problem("error", "RUN018", fault, hint) for fault in faults])
    return (*(f"--{name}={shlex.quote(value)}" for name, value in named.items() if value), *others)


def _is_ours(option: str) -> bool:
    """Whether sbatch would take an option for one of ours, which it does for the beginning of a name too."""
    name = re.match(r"\s*--([\w-]+)", option)
    return any(own.startswith(name[1]) for own in _OURS) if name else bool(re.match(r"\s*-[ad]", option))


def _one_line(text: str) -> bool:
    return text.splitlines() in ([], [text]) and "\0" not in text


def count_cases(
    rulebook: Rulebook, submissions: Path, references: Path, output: Path, options: Options
) -> tuple[int, int]:
    """How many teams there are, and how many cases of theirs; raises what a run would raise at its start."""
    teams, _ = teams_of(rulebook, submissions, output)
    for what, folder in (("submissions", submissions), ("references", references)):
        if output.resolve().is_relative_to(folder.resolve()):  # each shard would find the files of the others
            message = f"the output {output} lies inside the {what} {folder}"
            raise UsageError(Problem("error", "OUT005", message, "choose another --output"))
    cases, _, _ = plan(rulebook, teams, find_references(rulebook.challenge, references), options)
    return len(teams), len(cases)


def number_of_shards(cases: int, wanted: int | None = None) -> int:
    """The wanted number, by default one shard per 100 cases, at most 1000.

    cases: of all teams. Raises UsageError (RUN018) where there are fewer cases than wanted shards.
    """
    if wanted is None:
        return max(1, min(MAX_SHARDS, -(-cases // CASES_PER_SHARD)))
    if wanted > max(1, cases):
        message = f"--shards {wanted} is more than the {cases} cases of all teams"
        hint = f"give at most {cases}; without the option it is {number_of_shards(cases)}"
        raise UsageError(Problem("error", "RUN018", message, hint))
    return wanted


def shards_text(job: Job) -> str:
    """The script that scores shard $SLURM_ARRAY_TASK_ID, or the one whose number it is given."""
    options = [
        *map(shlex.quote, job.run),
        f"--jobs={job.cpus}",
        "--fail-on=never",  # a task that a submission's faults fail would look broken; the merge names them
        f'--shard="$shard/{job.shards}"',
        '--output="$folder"',
    ]
    array = (f"--array=1-{job.shards}", f"--cpus-per-task={job.cpus}")
    return f"""{_head(job, "bratseval", "%A_%a.out", array)}
# Scores one of {job.shards} shards; finished cases are kept, so it may end and start again at any moment.
# Without Slurm: bash shards.sh I
shard=${{1:-${{SLURM_ARRAY_TASK_ID:?submit this by sbatch, or name a shard: 1 to {job.shards}}}}}
cd -- {shlex.quote(job.folder)} || exit 5
unset "${{!BRATSEVAL_@}}" # what it does stands here alone
folder={_shard_folder(job)}
rm -f -- "$folder/run.json" # until the end: a merge must not take an earlier result for this one
exec {_bratseval(job)} run {" ".join(options)} -- {shlex.quote(job.challenge)}
"""


def merge_text(job: Job) -> str:
    """The script that joins the finished shards; the command names those that are missing (exit code 4)."""
    options = [f"--challenge={job.challenge}", f"--output={job.output}", *job.merge]
    return f"""{_head(job, "bratseval-merge", "%j_merge.out")}
# Joins what has finished of {job.shards} shards into the results, and names what is missing.
cd -- {shlex.quote(job.folder)} || exit 5
unset "${{!BRATSEVAL_@}}"
finished=()
for ((shard = 1; shard <= {job.shards}; shard++)); do
  folder={_shard_folder(job)}
  if [[ -f $folder/run.json ]]; then finished+=("$folder"); fi
done
if [[ ${{#finished[@]}} == 0 ]]; then
  echo "incomplete: none of the {job.shards} shards has finished; their logs say why, submit them again" >&2
  exit 4
fi
exec {_bratseval(job)} merge {shlex.join(options)} -- "${{finished[@]}}"
"""


def _head(job: Job, name: str, log: str, own: Sequence[str] = ()) -> str:
    logs = str(job.place / "logs" / "_")[:-1].replace("%", "%%")
    lines = (
        f"--job-name={name}",
        *own,
        "--requeue",
        "--open-mode=append",
        f"--output={shlex.quote(logs + log)}",
        *job.directives,
    )
    return "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), f"# bratseval {__version__}"])


def _bratseval(job: Job) -> str:
    return f"{shlex.quote(job.python)} -P -m bratseval"  # -P: no module of the current folder


def _shard_folder(job: Job) -> str:
    """N is part of the name: shards of another division are other folders."""
    return f'{shlex.quote(os.path.join(job.output, "shards"))}/"$shard"-of-{job.shards}'


def write(job: Job, digest: str, overwrite: bool) -> None:
    """Write both scripts and make the folder of the logs.

    Raises OutputError where the folder cannot be written, is in use or holds another configuration.
    """
    output = Path(job.folder, job.output)
    if "\n" in str(output) or "\\" in str(output):
        message = f"the output {output} has a backslash or a line break in its path"
        hint = "choose another --output; Slurm cannot write its logs there"
        raise UsageError(Problem("error", "RUN018", message, hint))
    with locked(output):
        check_output(output, digest, overwrite)
        for shard in () if overwrite else output.glob(f"shards/*-of-{job.shards}"):
            check_journal(shard / FOLDER, digest)
        texts = {job.array_script: shards_text(job), job.merge_script: merge_text(job)}
        path = job.place / "logs"
        try:
            path.mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                part = path.with_suffix(".part")
                write_part(part, (os.fsencode(text),))
                os.replace(part, path)
        except OSError as error:
            raise not_writable(path, error) from None


def commands(job: Job) -> str:
    """What submits both scripts, as lines for a shell."""
    array, merge = (shlex.quote(str(path)) for path in (job.array_script, job.merge_script))
    finished = f"{shlex.quote(str(job.place.parent / 'shards'))}/*-of-{job.shards}/run.json"
    return (
        f"array=$(sbatch --parsable {array}) &&\n"
        f"rm -f -- {finished} &&\n"  # all run anew: none is finished before; a refused array changes nothing
        f'sbatch --parsable --dependency=afterany:"${{array%%;*}}" {merge}\n'
    )


def submit(job: Job) -> tuple[str, str]:
    """Send both jobs by sbatch; returns their ids. Raises UsageError (RUN017) with what sbatch says.

    Once the array is accepted, no shard counts as finished any more, as all run again; finished cases are
    kept. Where it is refused, everything is as before.
    """
    held = [
        (path, path.with_name("run.json.before"))
        for path in Path(job.folder, job.output).glob(f"shards/*-of-{job.shards}/run.json")
    ]
    try:
        for path, aside in held:
            os.replace(path, aside)
        array = _sbatch([str(job.array_script)])
    except OSError as error:
        _restore(held)
        raise not_writable(Path(job.folder, job.output), error) from None
    except BaseException:  # of a signal, too
        _restore(held)
        raise
    for _, aside in held:
        aside.unlink(missing_ok=True)
    later = [f"--dependency=afterany:{array}", str(job.merge_script)]
    try:
        return array, _sbatch(later)
    except UsageError as error:
        again = f"job {array} scores the shards; submit the merge yourself: sbatch {shlex.join(later)}"
        raise UsageError([Problem("error", "RUN017", one.message, again) for one in error.problems]) from None


def _restore(held: Sequence[tuple[Path, Path]]) -> None:
    for path, aside in held:
        if aside.exists():
            os.replace(aside, path)


def _sbatch(arguments: Sequence[str]) -> str:
    """Id of the submitted job, without the name of its cluster."""
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        message = f"sbatch, Slurm's command, cannot be run here ({error.strerror})"
        hint = "run this on a login node of the cluster, or leave out --submit and submit the scripts there"
        raise UsageError(Problem("error", "RUN017", message, hint)) from None
    said = done.stderr.decode(errors="replace").strip()
    number = done.stdout.decode(errors="replace").strip().partition(";")[0]
    if done.returncode or not number:
        message = f"sbatch did not take {arguments[-1]}: {' '.join(said.split()) or 'it says nothing'}"
        hint = "change the option it names, or try again when the cluster answers"
        raise UsageError(Problem("error", "RUN017", message, hint))
    return number
