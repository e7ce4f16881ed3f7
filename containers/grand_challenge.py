"""Entry of the grand-challenge container: scores what was uploaded, writes /output/metrics.json.

For a phase to which participants upload predictions: /input holds them, unpacked or as one archive or CSV.
The references are the ground truth of the method, at /opt/ml/input/data/ground_truth; the challenge is
challenge.yaml beside them, or the bundled one that BRATSEVAL_CHALLENGE names. A file that is missing or
broken costs its penalty, and the phase fails only where nothing could be scored.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ONE_FILE = (".zip", ".tar", ".tar.gz", ".tgz", ".csv")
UNREADABLE = (
    "/input/predictions.json lists outputs of algorithms, which are MetaImage files; bratseval scores NIfTI. "
    "Use a phase to which predictions are uploaded."
)


def main() -> int:
    """Score the submission; the exit code is bratseval's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, default=Path("/input"))
    parser.add_argument("--ground-truth", type=Path, default=Path("/opt/ml/input/data/ground_truth"))
    parser.add_argument("--output", type=Path, default=Path("/output"))
    given = parser.parse_args()
    if (given.input / "predictions.json").is_file():
        print(UNREADABLE, file=sys.stderr)
        return 2
    own = given.ground_truth / "challenge.yaml"
    challenge = str(own) if own.is_file() else os.environ["BRATSEVAL_CHALLENGE"]
    sides = [f"--predictions={submitted(given.input)}", f"--references={given.ground_truth}"]
    with tempfile.TemporaryDirectory() as results:
        code = bratseval(
            "evaluate",
            challenge,
            *sides,
            "--team=submission",
            "--fail-on=never",
            "--no-report",
            f"--output={results}",
        )
        if code:
            return code
        return bratseval(
            "export", results, "--to=grand-challenge", f"--output={given.output / 'metrics.json'}"
        )


def submitted(folder: Path) -> Path:
    """The one archive or table in the folder, or the folder."""
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return files[0] if len(files) == 1 and files[0].name.lower().endswith(ONE_FILE) else folder


def bratseval(*arguments: str) -> int:
    """Exit code of the command."""
    return subprocess.run([sys.executable, "-m", "bratseval", *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main())
