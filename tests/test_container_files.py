"""containers/: no engine runs here, so what the image would hold and start is started as a program."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

CONTAINERS = ROOT / "containers"
MLCUBE = YAML(typ="safe").load((CONTAINERS / "mlcube" / "mlcube.yaml").read_text())
SKIN = ROOT / "sample_data" / "skin"


class Stage(NamedTuple):
    """A stage of the Dockerfile: its base, and its other instructions in order."""

    base: str
    steps: tuple[tuple[str, str], ...]

    def of(self, instruction: str) -> list[str]:
        return [value for name, value in self.steps if name == instruction]


def stages() -> dict[str, Stage]:
    """The stages by name, in order."""
    text = (CONTAINERS / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: dict[str, Stage] = {}
    name = ""
    for line in filter(None, lines.replace("\\\n", " ").splitlines()):
        instruction, _, value = line.partition(" ")
        if instruction == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\S+)", value).groups()  # type: ignore[union-attr]
            found[name] = Stage(base, ())
        else:
            found[name] = found[name]._replace(steps=(*found[name].steps, (instruction, value.strip())))
    return found


def copied(stage: Stage) -> list[tuple[str, str]]:
    """Sources in the repository and their places in the image."""
    words = [shlex.split(value) for value in stage.of("COPY")]
    return [(source, own[-1]) for own in words if not own[0].startswith("--") for source in own[:-1]]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file out of the build: the last pattern that matches it or above it."""
    parents = [path, *map(str, Path(path).parents)]
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        patterns = (pattern, pattern.removeprefix("**/"))
        matched = any(fnmatch.fnmatchcase(one, pattern) for one in parents for pattern in patterns) or (
            pattern.startswith("**/")
            and any(part == pattern.removeprefix("**/") for part in Path(path).parts)
        )
        if matched:
            out = not line.startswith("!")
    return out


def test_the_last_stage_is_the_command_and_no_compiler_stays() -> None:
    found = stages()
    assert [*found] == ["build", "runtime", "medperf", "grand-challenge", "cli"]
    assert found["cli"].of("ENTRYPOINT") == ['["bratseval"]']
    assert re.fullmatch(r"python:3\.\d+", found["build"].base)
    assert found["runtime"].base == f"{found['build'].base}-slim"
    assert all(found[name].base == "runtime" for name in ("medperf", "grand-challenge", "cli"))
    assert found["runtime"].of("COPY") == ["--from=build /opt/bratseval /opt/bratseval"]
    assert not any(found[name].of("RUN") for name in ("medperf", "grand-challenge", "cli"))
    # No later stage goes back to root.
    assert [name for name, stage in found.items() if stage.of("USER")] == ["runtime"]
    assert found["runtime"].steps[-1] == ("USER", "bratseval")
    assert 'org.opencontainers.image.licenses="Apache-2.0"' in found["runtime"].of("LABEL")[0]


def test_the_python_of_the_image_is_one_that_the_package_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert int(stages()["build"].base.removeprefix("python:3.")) >= 11


def test_what_is_copied_is_enough_to_build_and_run(tmp_path: Path) -> None:
    """The sources in the image, and nothing else, hold all that pyproject.toml names, and they run."""
    for source, target in copied(stages()["build"]):
        place = tmp_path / target / (source if target in (".", "./") else "")
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, place)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    needed = [project["project"]["readme"], *project["project"]["license-files"]]
    hatch = project["tool"]["hatch"]
    needed += [hatch["version"]["path"], *hatch["build"]["targets"]["wheel"]["packages"]]
    needed += hatch["build"]["targets"]["wheel"]["force-include"]
    assert [name for name in needed if not (tmp_path / name).exists()] == []
    command = [sys.executable, "-m", "bratseval", "challenges", "list", "--format", "json"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len([*(ROOT / "configs").glob("*.yaml")])


def test_what_is_copied_is_sent_to_the_engine_and_no_more() -> None:
    sources = [source for stage in stages().values() for source, _ in copied(stage)]
    assert [source for source in sources if ignored(source)] == []
    files = ("bratseval/cli/entry.py", "configs/lits.yaml", "containers/medperf.py")
    assert [path for path in files if ignored(path)] == []
    private = (".git/config", ".venv/bin/python", "results/scores.csv", "tests/test_cli.py")
    private += ("bratseval/__pycache__/errors.cpython-312.pyc", "sample_data/README.md")
    assert [path for path in private if not ignored(path)] == []


def test_the_image_of_the_mlcube_is_the_stage_of_its_entry() -> None:
    docker = MLCUBE["docker"]
    assert (CONTAINERS / "mlcube" / docker["build_context"]).resolve() == ROOT
    assert (ROOT / docker["build_file"]).is_file()
    stage = stages()[docker["build_args"].removeprefix("--target ")]
    assert json.loads(stage.of("ENTRYPOINT")[0]) == ["python", "/opt/medperf.py"]
    assert copied(stage) == [("containers/medperf.py", "/opt/medperf.py")]


def started(stage: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The entry of a stage, as the image starts it, with the script where the repository has it."""
    own = stages()[stage]
    places = {target: ROOT / source for source, target in copied(own)}
    python, script = json.loads(own.of("ENTRYPOINT")[0])
    assert python == "python"
    command = [sys.executable, str(places[script]), *map(str, arguments)]
    stated = dict(re.findall(r'(\w+)="([^"]*)"', " ".join(own.of("ENV"))))
    everything = {**os.environ, "BRATSEVAL_JOBS": "1", **stated, **environment}
    return subprocess.run(command, env=everything, capture_output=True, text=True, timeout=120)


def workspace(folder: Path, challenge: str = "skin-lesion") -> Path:
    """The workspace of the MLCube, with sample data in it."""
    shutil.copytree(CONTAINERS / "mlcube" / "workspace", folder)
    parameters = folder / "parameters.yaml"
    parameters.write_text(parameters.read_text().replace("brats2024-gli", challenge))
    shutil.copytree(SKIN / "submissions" / "slapdash", folder / "predictions")
    shutil.copytree(SKIN / "references", folder / "labels")
    return folder


def mlcube(task: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A task as MLCube calls it: its name, and every parameter as --name=path in the workspace."""
    parameters = MLCUBE["tasks"][task]["parameters"]
    every: dict[str, Any] = {**parameters["inputs"], **parameters["outputs"]}
    paths = {name: folder / stated["default"] for name, stated in every.items()}
    done = started("medperf", task, *(f"--{name}={path}" for name, path in paths.items()))
    (output,) = parameters["outputs"]
    return done, paths[output]


def test_the_evaluate_task_writes_results_yaml(tmp_path: Path) -> None:
    done, output = mlcube("evaluate", workspace(tmp_path / "workspace"))
    assert done.returncode == 0, done.stderr
    assert output.name == "results.yaml"
    results = YAML(typ="safe").load(output.read_text())
    assert [*results] == [
        path.name.removesuffix("_segmentation.png") for path in sorted((SKIN / "references").iterdir())
    ]
    assert "partial" not in results
    # slapdash lacks a case or hands in a broken one: it is there, with the penalty.
    assert min(case["dice_lesion"] for case in results.values()) == 0.0
    assert max(case["dice_lesion"] for case in results.values()) > 0.5
    assert {path.name for path in output.parent.iterdir()} == {
        *("parameters.yaml", "predictions", "labels", "results.yaml"),
    }


def test_the_validate_task_writes_a_report(tmp_path: Path) -> None:
    done, output = mlcube("validate", workspace(tmp_path / "workspace"))
    assert done.returncode == 1, done.stderr
    report = json.loads(output.read_text())
    assert (report["challenge"], report["valid"]) == ("skin-lesion", False)
    assert report["problems"]


def test_a_yaml_beside_the_parameters_is_the_challenge(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "workspace", "own.yaml")
    (folder / "own.yaml").write_text("extends: skin-lesion\nname: own\nmetrics: {iou: null}\n")
    done, output = mlcube("evaluate", folder)
    assert done.returncode == 0, done.stderr
    (columns,) = {tuple(case) for case in YAML(typ="safe").load(output.read_text()).values()}
    assert "iou_lesion" not in columns
    assert "dice_lesion" in columns


def test_a_wrong_option_or_challenge_ends_with_the_code_of_bratseval(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "workspace", "skin-lesions")
    done, output = mlcube("evaluate", folder)
    assert done.returncode == 2
    assert "did you mean 'skin-lesion'?" in done.stderr
    assert not output.exists()


@pytest.fixture
def phase(tmp_path: Path) -> tuple[Path, ...]:
    """Folders as grand-challenge mounts them: input, ground truth, output."""
    shutil.copytree(SKIN / "references", tmp_path / "truth")
    (tmp_path / "output").mkdir()
    return tmp_path / "input", tmp_path / "truth", tmp_path / "output"


def evaluated(phase: tuple[Path, ...], **environment: str) -> subprocess.CompletedProcess[str]:
    options = ("--input", "--ground-truth", "--output")
    words = [word for pair in zip(options, phase, strict=True) for word in pair]
    return started("grand-challenge", *words, **environment)


def test_grand_challenge_gets_metrics_of_an_unpacked_submission(phase: tuple[Path, ...]) -> None:
    shutil.copytree(SKIN / "submissions" / "slapdash", phase[0])
    done = evaluated(phase, BRATSEVAL_CHALLENGE="skin-lesion")
    assert done.returncode == 0, done.stderr  # although a file is broken: it costs its case
    assert [path.name for path in phase[2].iterdir()] == ["metrics.json"]
    metrics = json.loads((phase[2] / "metrics.json").read_text())
    assert metrics["aggregates"]["lesion"]["dice"]["cases"] == 6
    assert len(metrics["case"]) == 6


def test_grand_challenge_takes_an_archive_and_a_challenge_beside_the_ground_truth(
    phase: tuple[Path, ...],
) -> None:
    phase[0].mkdir()
    shutil.make_archive(str(phase[0] / "predictions"), "zip", SKIN / "submissions" / "close")
    (phase[1] / "challenge.yaml").write_text("extends: skin-lesion\nname: own\n")
    done = evaluated(phase)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((phase[2] / "metrics.json").read_text())
    assert metrics["signature"].startswith("bratseval|own@1|")
    assert metrics["aggregates"]["lesion"]["dice"]["mean"] > 0.9


def test_grand_challenge_says_that_outputs_of_algorithms_are_not_read(phase: tuple[Path, ...]) -> None:
    phase[0].mkdir()
    (phase[0] / "predictions.json").write_text('[{"pk": "1"}]')
    done = evaluated(phase)
    assert done.returncode == 2
    assert "MetaImage" in done.stderr
    assert [*phase[2].iterdir()] == []


def test_the_documented_commands_name_what_there_is() -> None:
    """The lines at the top of the Dockerfile: the file, the options of docker, and a command of bratseval."""
    text = (CONTAINERS / "Dockerfile").read_text()
    comment = "\n".join(line[1:] for line in text.splitlines() if line.startswith("#"))
    build, run = re.findall(r"docker (?:build|run)(?:.*\\\n)*.*", comment)
    words = shlex.split(build)
    assert (ROOT / words[words.index("-f") + 1]).is_file()
    assert words[-1] == "."
    run_words = shlex.split(run.replace("\\\n", " "))
    assert run_words[run_words.index("--network") + 1] == "none"
    places = dict(word.split(":")[:2][::-1] for word in run_words if word.startswith("$PWD"))
    command = run_words[run_words.index("bratseval") :]
    assert {command[command.index(f"--{name}") + 1] for name in ("submissions", "references", "output")} == {
        *places
    }
