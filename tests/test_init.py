"""`bratseval challenges init`: the file it writes is valid, also uncommented, and scores sample data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT, table
from test_cli import bratseval

from bratseval.config import bundled_names, load_challenge
from bratseval.errors import OutputError, UsageError
from bratseval.starter import write_starter


def uncommented(text: str) -> str:
    """The file with every key that stands in a comment."""
    return re.sub(r"(?m)^#(?! \S|$)", "", text)


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_challenge_can_be_extended(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    challenge = write_starter(path, name, overwrite=False)
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=")
    assert (challenge.name, challenge.source) == (
        "mine",
        ["https://example.org/the-rules-of-this-challenge"],
    )
    base = load_challenge(name)
    assert challenge.digest == base.digest
    # What stands in comments is what holds: taking all # away changes nothing.
    path.write_text(uncommented(text))
    assert uncommented(text).count("\n#") < text.count("\n#")
    whole = load_challenge(path)
    assert whole.digest == base.digest
    assert whole.ranking == base.ranking


def test_the_keys_that_are_changed_first_are_there(tmp_path: Path) -> None:
    write_starter(tmp_path / "mine.yaml", "brats2021", overwrite=False)
    lines = (tmp_path / "mine.yaml").read_text().splitlines()
    for line in (
        "extends: brats2021",
        "#labels: {NCR: 1, ED: 2, ET: 4}   # name: value in the files, 1 to 255",
        "#unknown_labels: background   # background | refuse",
        "#  TC: [NCR, ET]",
        "#geometry: {policy: strict}   # strict | ignore | resample",
        "#  dice: {empty_both: 1.0, penalty: 0.0}",
        "#  scheme: brats   # one of the above",
        "#  ties: average   # min | average | max | dense",
        r"#  reference: ['(?P<case>BraTS\w+_\d{3,5})_seg\.nii(?:\.gz)?', "
        r"'(?:.*[-_])?(?P<case>\d{5}-\d{3})-seg\.nii(?:\.gz)?']",
    ):
        assert line in lines
    assert max(map(len, lines)) <= 160


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Challenge 2026.yaml", "my-challenge-2026"), ("007.yaml", "007"), ("Ä.yaml", "my-challenge")],
)
def test_the_name_comes_from_the_file(file: str, name: str, tmp_path: Path) -> None:
    assert write_starter(tmp_path / file, "lits", overwrite=False).name == name


def test_a_line_break_in_the_name_of_the_file_breaks_no_line(tmp_path: Path) -> None:
    path = tmp_path / "x\nlabels: {evil: 3}\n.yaml"
    assert write_starter(path, "lits", overwrite=False).labels == {"liver": 1, "lesion": 2}


def test_a_file_of_another_folder_is_extended_by_its_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "base" / "it's.yaml").write_text("extends: lits\nname: base\n")
    monkeypatch.chdir(tmp_path)
    write_starter(Path("new/mine.yaml"), "base/it's.yaml", overwrite=False)
    assert "\nextends: ../base/it's.yaml\n" in Path("new/mine.yaml").read_text()
    monkeypatch.chdir("/")
    assert load_challenge(tmp_path / "new" / "mine.yaml").labels == {"liver": 1, "lesion": 2}


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("precious")
    with pytest.raises(OutputError, match="is there already"):
        write_starter(path, "lits", overwrite=False)
    assert path.read_text() == "precious"
    with pytest.raises(UsageError, match="neither a bundled challenge nor a YAML file"):
        write_starter(path, "litz", overwrite=True)
    assert path.read_text() == "precious"
    write_starter(path, "lits", overwrite=True)
    assert "extends: lits" in path.read_text()
    assert [one.name for one in tmp_path.iterdir()] == ["mine.yaml"]


def test_from_nothing_to_a_leaderboard(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    done = bratseval("challenges", "init", path, "--extends", "skin-lesion", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"name": "mine", "extends": "skin-lesion", "file": str(path)}
    assert done.stderr == f"mine extends skin-lesion; written to {path}\n"
    assert bratseval("challenges", "init", path).returncode == 5
    done = bratseval("challenges", "check", path)
    assert done.returncode == 0, done.stderr
    sample = ROOT / "sample_data" / "skin"
    places = ("--submissions", sample / "submissions", "--references", sample / "references", "--jobs", 1)
    done = bratseval("run", path, *places, "--output", tmp_path / "out", "--fail-on", "never", "--no-report")
    assert done.returncode == 0, done.stderr
    assert table(tmp_path / "out" / "leaderboard.csv")[0]["team"] == "close"
