"""Entry of the MedPerf container: a task of mlcube/mlcube.yaml as calls of bratseval.

python medperf.py evaluate --predictions DIR --labels DIR --parameters_file FILE --output_path results.yaml
python medperf.py validate --predictions DIR --labels DIR --parameters_file FILE --output_path report.json

Exit code: that of bratseval. Incomplete results (4) are written too, with `partial: true`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

WRITTEN = (0, 1, 4)  # exit codes of bratseval after which there are results
PATHS = ("predictions", "labels", "parameters_file", "output_path")


def main() -> int:
    """Run one task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("evaluate", "validate"))
    for name in PATHS:
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    parameters = YAML(typ="safe").load(given.parameters_file.read_text(encoding="utf-8"))
    # A YAML beside the parameters, or the name of a bundled challenge.
    beside = given.parameters_file.parent / parameters["challenge"]
    challenge = str(beside) if beside.is_file() else parameters["challenge"]
    inputs = [challenge, f"--predictions={given.predictions}", f"--references={given.labels}"]
    options = words(parameters.get(given.task) or {})
    if given.task == "validate":
        with given.output_path.open("w", encoding="utf-8") as report:
            return bratseval("validate", *inputs, "--format=json", *options, stdout=report)
    with tempfile.TemporaryDirectory() as results:
        code = bratseval("evaluate", *inputs, "--no-report", f"--output={results}", *options)
        if code not in WRITTEN:
            return code
        return bratseval("export", results, "--to=medperf", f"--output={given.output_path}") or code


def words(options: dict[str, Any]) -> list[str]:
    """Options of the command line: `fail_on: never` is --fail-on=never, `allow_incomplete: true` a flag."""
    flags = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    return [
        flag if value is True else f"{flag}={value}" for flag, value in flags.items() if value is not False
    ]


def bratseval(*arguments: str, **where: Any) -> int:
    """Exit code of the command."""
    return subprocess.run([sys.executable, "-m", "bratseval", *arguments], **where).returncode


if __name__ == "__main__":
    sys.exit(main())
