"""The CI examples of the README do what they say: their own commands, on a good and a broken submission."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

README = ROOT / "README.md"
HEADING = "## Validate in CI"
SAMPLE = ROOT / "sample_data" / "brats-gli"
BROKEN, MISSING = "00002-000", "00004-000"


class Job(NamedTuple):
    """What a CI system runs: commands that install, scripts that go on after a failure or not, its files."""

    installs: tuple[str, ...]
    scripts: tuple[tuple[str, bool], ...]
    variables: Mapping[str, str]
    report: str
    strict: tuple[str, ...]  # options of bash, as the system calls it


class Ran(NamedTuple):
    """What a job left behind."""

    failed: bool
    log: str
    summary: str
    report: Path


def documents() -> list[Any]:
    """The YAML blocks of the section, parsed."""
    text = README.read_text()
    if HEADING not in text:
        pytest.skip(f"README.md has no section {HEADING!r} yet")
    section = text.partition(f"{HEADING}\n")[2]
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    return [
        YAML(typ="safe").load(block) for block in re.findall(r"^```yaml\n(.*?)^```", section, re.M | re.S)
    ]


def github() -> Job:
    (workflow,) = [document for document in documents() if "jobs" in document]
    (job,) = workflow["jobs"].values()
    runs = [(step["run"], step.get("if") == "always()") for step in job["steps"] if "run" in step]
    (upload,) = [s for s in job["steps"] if s.get("uses", "").startswith("actions/upload-artifact@")]
    assert upload["if"] == "always()"  # a report is wanted most where the job failed
    return _job(runs, {**workflow.get("env", {}), **job.get("env", {})}, upload["with"]["path"], ["-e"])


def gitlab() -> Job:
    (jobs,) = [document for document in documents() if "jobs" not in document]
    (job,) = [job for job in jobs.values() if "script" in job]
    artifacts = job["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"]["junit"] in artifacts["paths"]
    runs = [(line, False) for line in job["script"]]
    return _job(runs, job["variables"], artifacts["reports"]["junit"], ["-e", "-o", "pipefail"])


def _job(runs: Sequence[tuple[str, bool]], variables: Mapping[str, str], report: str, bash: list[str]) -> Job:
    calls = tuple((text, always) for text, always in runs if re.search(r"^bratseval ", text, re.MULTILINE))
    others = tuple(text for text, _ in runs if (text, _) not in calls)
    assert calls
    return Job(others, calls, variables, report, tuple(bash))


JOBS = {"github": github, "gitlab": gitlab}


def run(job: Job, folder: Path) -> Ran:
    """Run the scripts of a job as its CI system would: after a failure only those that always run."""
    summary = folder.parent / "summary.md"
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, **job.variables, "PATH": programs, "CI": "true"}
    environment["GITHUB_STEP_SUMMARY"] = str(summary)
    failed, log = False, ""
    for script, always in job.scripts:
        if failed and not always:
            continue
        command = ["bash", "--noprofile", "--norc", *job.strict, "-c", script]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        failed |= done.returncode != 0
        assert done.returncode in (0, 1), done.stderr
        log += done.stdout + done.stderr
    return Ran(failed, log, summary.read_text() if summary.exists() else "", folder / job.report)


def repository(folder: Path, *, broken: bool) -> Path:
    """What the examples expect beside them: `submission/` and `cases.csv`."""
    shutil.copytree(SAMPLE / "submissions" / "steady", folder / "submission")
    cases = [re.findall(r"\d{5}-\d{3}", path.name)[0] for path in sorted((SAMPLE / "references").iterdir())]
    (folder / "cases.csv").write_text("case,institution\n" + "".join(f"{case},a\n" for case in cases))
    if broken:
        path = folder / "submission" / f"BraTS-GLI-{BROKEN}.nii.gz"
        path.write_bytes(path.read_bytes()[:-20])
        (folder / "submission" / f"BraTS-GLI-{MISSING}.nii.gz").unlink()
    return folder


@pytest.mark.parametrize("system", JOBS)
def test_the_examples_install_what_is_on_no_index(system: str) -> None:
    job = JOBS[system]()
    (install,) = job.installs
    assert re.fullmatch(r'(?:python -m )?pip install "\$BRATSEVAL"', install)
    assert re.fullmatch(r"git\+https://[\w./-]+/bratseval(?:\.git)?@[\w.-]+", job.variables["BRATSEVAL"])
    for script, _ in job.scripts:
        assert "--fail-on warning" in script  # a missing case fails, as the text says


@pytest.mark.parametrize("system", JOBS)
def test_a_good_submission_passes(system: str, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    ran = run(JOBS[system](), repository(tmp_path / "repository", broken=False))
    assert not ran.failed, ran.log
    assert "valid: team submission, 6 cases, 1 note" in ran.log
    suite = ElementTree.parse(ran.report).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("7", "0")  # the cases, and names as a whole
    assert "::error" not in ran.log
    assert "::warning" not in ran.log


@pytest.mark.parametrize("system", JOBS)
def test_a_broken_submission_fails_and_is_reported(system: str, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    ran = run(JOBS[system](), repository(tmp_path / "repository", broken=True))
    assert ran.failed
    suite = ElementTree.parse(ran.report).getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("7", "2")
    failures = {
        test.attrib["name"]: fault.attrib["type"] for test in suite for fault in test.findall("failure")
    }
    assert failures == {"(submission)": "SUB004", BROKEN: "NII005"}
    assert f"error[NII005] team submission, case {BROKEN}: " in ran.log
    if system == "github":
        place = f"file=submission/BraTS-GLI-{BROKEN}.nii.gz,title=NII005%2C case {BROKEN}"
        assert f"\n::error {place}::" in f"\n{ran.log}"
        assert "\n::warning title=SUB004::1 of 6 cases missing (00004-000); penalized%0Ahint: " in ran.log
        assert ran.summary.startswith("### bratseval validate brats2024-gli\n")
        assert "| error | NII005 | 00002\\-000 |" in ran.summary  # punctuation is escaped
