"""`bratseval export`: what other platforms and tools are given; numbers are sums one can check by eye."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, table
from ruamel.yaml import YAML
from test_cli import bratseval

from bratseval.config import load_rulebook
from bratseval.errors import OutputError, Problem, Severity, UsageError, within
from bratseval.export.formats import FORMATS, Exported, export
from bratseval.export.names import case_names, plain_keys, team_folders
from bratseval.gate import as_synapse
from bratseval.joining import rank
from bratseval.options import Options
from bratseval.validation import Checked

RANKED = "ranking: {metrics: [dice, hd95], missing: worst, bootstrap: 0, permutations: 0}\n"
CHALLENGE = f"extends: brats2021\nname: mine\nregions: {{ET: null}}\n{RANKED}"
HEADER = "team,institution,case,region,metric,value,status,reason\n"
HOSTILE = '=HYPERLINK("x")'
FORMULA = '"\'=HYPERLINK(""x"")"'  # the same in a CSV
# Case 007: dice 0.5 and 1, hd95 2 and 4; case NA: dice 1 and nothing, hd95 4 and 0 as both sides are empty.
SMALL = [
    *("alpha,,007,TC,dice,0.5,ok,", "alpha,,007,TC,hd95,2,ok,"),
    *("alpha,,007,WT,dice,1,ok,", "alpha,,007,WT,hd95,4,ok,"),
    *("alpha,,NA,TC,dice,1,ok,", "alpha,,NA,TC,hd95,4,ok,"),
    *("alpha,,NA,WT,dice,,empty_both,both are empty", "alpha,,NA,WT,hd95,0,empty_both,"),
]
PENALIZED = [
    f"{FORMULA},,{case},{region},dice,0,missing," for case in ("007", "NA") for region in ("TC", "WT")
]
PENALIZED += [line.replace("dice,0", "hd95,374") for line in PENALIZED]


def ranked(
    folder: Path, lines: Sequence[str], challenge: str = CHALLENGE, *, allow_incomplete: bool = False
) -> Path:
    """A result folder of `rank`, from the lines of a score table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(challenge)
    (folder / "given.csv").write_text(HEADER + "\n".join(lines) + "\n")
    options = Options(allow_incomplete=allow_incomplete)
    rank(load_rulebook(folder / "mine.yaml"), [folder / "given.csv"], folder / "out", options)
    return folder / "out"


def exported(folder: Path, to: str, team: str = "") -> Any:
    """The one document of a format, read as strictly as a platform does."""
    (path,) = export(folder, to, team, None).files
    return read(path)


def read(path: Path) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in {path}")

    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text, parse_constant=refuse)
    if path.suffix == ".yaml":
        assert not re.search(r"(?i)\.(nan|inf)\b", text)
        return YAML(typ="safe").load(text)
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ranked(tmp_path_factory.mktemp("small"), [*SMALL, *PENALIZED])


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "out"))


def test_synapse_gets_flat_means(folder: Path) -> None:
    found = exported(folder, "synapse", "alpha")
    signature = json.loads((folder / "run.json").read_text())["signature"]
    assert found == {
        "submission_status": "SCORED",
        "submission_errors": "",
        "signature": signature,
        "rank": 1,
        "score": 1.0,
        "cases": 2,
        "missing_cases": 0,
        "dice_TC": (0.5 + 1) / 2,
        "dice_WT": 1.0,
        "hd95_TC": (2 + 4) / 2,
        "hd95_WT": (4 + 0) / 2,
    }
    assert all(len(value) <= 500 for value in found.values() if isinstance(value, str))
    other = exported(folder, "synapse", HOSTILE)
    assert (other["rank"], other["missing_cases"], other["dice_TC"], other["hd95_WT"]) == (2, 2, 0.0, 374.0)


def test_synapse_gets_100_annotations_at_most_and_those_of_ranked_metrics_first(folder: Path) -> None:
    """More than 100 keys are refused by AnnotationsV2Utils of Synapse-Repository-Services."""
    lines = (folder / "teams.csv").read_text().splitlines()
    more = [f"alpha,WT,metric_{number:03},2,0,1,0,1,1,1" for number in range(120)]
    (folder / "teams.csv").write_text("\n".join([lines[0], *more, *lines[1:]]) + "\n")
    done = export(folder, "synapse", "alpha", None)
    found = read(done.files[0])
    assert len(found) == 100
    assert {"rank", "signature", "dice_TC", "dice_WT", "hd95_TC", "hd95_WT", "metric_000_WT"} <= found.keys()
    assert "metric_119_WT" not in found
    (warning,) = done.problems
    assert (warning.severity, warning.code) == ("warning", "OUT006")
    assert "first: 31 means are left out (metric_089_WT, " in warning.message


def test_grand_challenge_gets_statistics_and_ranked_values(folder: Path) -> None:
    found = exported(folder, "grand-challenge", "alpha")
    # Quartiles of two values lie a quarter of the way from each.
    tc_dice = {"mean": 0.75, "median": 0.75, "q25": 0.625, "q75": 0.875, "std": 0.25 * sqrt(2)}
    tc_hd95 = {"mean": 3.0, "median": 3.0, "q25": 2.5, "q75": 3.5, "std": sqrt(2)}
    wt_hd95 = {"mean": 2.0, "median": 2.0, "q25": 1.0, "q75": 3.0, "std": 2 * sqrt(2)}
    wt_dice = {"mean": 1.0, "median": 1.0, "q25": 1.0, "q75": 1.0}  # one value has no spread
    assert set(found) == {"aggregates", "case", "complete", "signature"}
    assert found["aggregates"] == {
        "TC": {
            "dice": pytest.approx({**tc_dice, "cases": 2, "penalized": 0}),
            "hd95": pytest.approx({**tc_hd95, "cases": 2, "penalized": 0}),
        },
        "WT": {
            "dice": pytest.approx({**wt_dice, "cases": 1, "penalized": 0}),
            "hd95": pytest.approx({**wt_hd95, "cases": 2, "penalized": 0}),
        },
    }
    assert found["case"] == {
        "007": {"TC": {"dice": 0.5, "hd95": 2.0}, "WT": {"dice": 1.0, "hd95": 4.0}},
        "NA": {"TC": {"dice": 1.0, "hd95": 4.0}, "WT": {"hd95": 0.0}},
    }


def test_medperf_gets_a_mapping_that_yaml_1_1_reads_alike(folder: Path) -> None:
    (path,) = export(folder, "medperf", "alpha", None).files
    assert path.name == "results.yaml"
    assert path.read_text() == (
        "%YAML 1.1\n---\n"
        "'007':\n  dice_TC: 0.5\n  dice_WT: 1.0\n  hd95_TC: 2.0\n  hd95_WT: 4.0\n"
        "NA:\n  dice_TC: 1.0\n  hd95_TC: 4.0\n  hd95_WT: 0.0\n"
    )
    assert read(path)["007"] == {"dice_TC": 0.5, "dice_WT": 1.0, "hd95_TC": 2.0, "hd95_WT": 4.0}


def test_what_yaml_1_1_takes_for_no_text_is_quoted(tmp_path: Path) -> None:
    """MedPerf reads with PyYAML, where each of these is a number, a time, a truth, nothing or an error."""
    cases = ["no", "Yes", "007", "1_000", "12:30", "1.5", "~", "null", "<<", "=", "0x1F", "2001-01-01", "on"]
    lines = [f"a,,{case},TC,{metric},ok," for case in cases for metric in ("dice,1e-07", "hd95,1e+16")]
    (path,) = export(ranked(tmp_path, lines), "medperf", "", None).files
    text = path.read_text()
    assert [case for case in cases if f"\n'{case}':\n" not in text] == []
    assert text.count("dice_TC: 1.0e-07\n") == len(cases)  # without a dot it would be text
    assert text.count("hd95_TC: 1.0e+16\n") == len(cases)
    assert {*read(path)} == {*cases}


def test_nnunet_gets_labels_as_keys_and_no_invented_number(folder: Path) -> None:
    # BraTS 2021: TC is NCR 1 and ET 4, WT these and ED 2.
    tc, wt = "(1, 4)", "(1, 2, 4)"
    assert exported(folder, "nnunet", "alpha") == {
        "mean": {tc: {"Dice": 0.75, "hd95": 3.0}, wt: {"Dice": 1.0, "hd95": 2.0}},
        "foreground_mean": {"Dice": (0.75 + 1) / 2, "hd95": (3.0 + 2.0) / 2},
        "metric_per_case": [
            {
                "case": "007",
                "metrics": {tc: {"Dice": 0.5, "hd95": 2.0}, wt: {"Dice": 1.0, "hd95": 4.0}},
                "prediction_file": None,
                "reference_file": None,
            },
            {
                "case": "NA",
                "metrics": {tc: {"Dice": 1.0, "hd95": 4.0}, wt: {"hd95": 0.0}},
                "prediction_file": None,
                "reference_file": None,
            },
        ],
    }


def test_a_foreground_mean_needs_every_label(tmp_path: Path) -> None:
    lines = ["a,,1,TC,dice,0.5,ok,", "a,,1,WT,dice,,empty_both,", "a,,1,TC,hd95,1,ok,", "a,,1,WT,hd95,3,ok,"]
    assert exported(ranked(tmp_path, lines), "nnunet")["foreground_mean"] == {"hd95": 2.0}


def test_regions_of_the_same_labels_are_told(tmp_path: Path) -> None:
    challenge = f"{CHALLENGE}".replace("ET: null", "ET: null, core: [ET, NCR]")
    lines = [f"a,,1,{region},dice,0.5,ok," for region in ("TC", "WT", "core")]
    done = export(ranked(tmp_path, lines, challenge), "nnunet", "", None)
    assert [(p.severity, p.code) for p in done.problems] == [("warning", "OUT006")]
    assert "core has the labels of another" in done.problems[0].message


def test_challenger_gets_a_file_for_each_direction(folder: Path) -> None:
    done = export(folder, "challenger", "", None)
    larger, smaller = (path.read_text() for path in done.files)
    assert [path.name for path in done.files] == ["larger_is_better.csv", "smaller_is_better.csv"]
    assert smaller.splitlines()[:3] == [
        "task,algorithm,case,value,institution,region,metric,status,reason",
        f"TC_hd95,{FORMULA},007,374,,TC,hd95,missing,",
        f"WT_hd95,{FORMULA},007,374,,WT,hd95,missing,",
    ]
    assert larger.splitlines()[-2:] == [
        "TC_dice,alpha,NA,1,,TC,dice,ok,",
        "WT_dice,alpha,NA,,,WT,dice,empty_both,both are empty",
    ]
    notes = [problem.message for problem in done.problems]
    assert [problem.severity for problem in done.problems] == ["note", "note"]
    assert 'read.csv("larger_is_better.csv"' in notes[0]
    assert "smallBetter = FALSE" in notes[0]
    assert 'read.csv("smaller_is_better.csv"' in notes[1]
    assert "smallBetter = TRUE" in notes[1]


def test_challenger_ranks_absolute_values_by_their_size(tmp_path: Path) -> None:
    metrics = "metrics: {relative_volume_difference: {}}\n"
    absolute = RANKED.replace("[dice, hd95]", "[relative_volume_difference]").replace(
        "missing", "absolute: [relative_volume_difference], missing"
    )
    challenge = f"extends: brats2021\nname: mine\n{metrics}{absolute}"
    lines = [
        f"{team},,1,WT,relative_volume_difference,{value},ok," for team, value in (("a", -0.5), ("b", 0.1))
    ]
    out = ranked(tmp_path, lines, challenge)
    (path,) = export(out, "challenger", "", None).files
    assert path.name == "smaller_is_better.csv"
    assert [row["value"] for row in read(path)] == ["0.5", "0.1"]
    assert board_after_export(out, tmp_path) == board(out)


def board(folder: Path) -> list[tuple[str, str, str]]:
    return [(row["rank"], row["team"], row["score"]) for row in table(folder / "leaderboard.csv")]


def board_after_export(folder: Path, place: Path) -> list[tuple[str, str, str]]:
    """The leaderboard of `rank` on what challengeR is given."""
    from bratseval.config import recorded_rulebook

    rulebook = recorded_rulebook(json.loads((folder / "run.json").read_text()))
    files = export(folder, "challenger", "", place / "long").files
    rank(rulebook, files, place / "again", Options())
    return board(place / "again")


HOSTILE_TEAMS = [
    *("<script>alert(1)</script>", HOSTILE, "../x", "a\\b", "x" * 500, "CON", "Alpha", "alpha", "NA", "007"),
    *("", "..", 'a"&b', "tab\\there", "ärzte"),
]


def test_folders_of_hostile_teams_are_plain_and_their_own() -> None:
    folders = team_folders(HOSTILE_TEAMS)
    assert folders["NA"] == "NA"
    assert folders["007"] == "007"
    assert len({name.lower() for name in folders.values()}) == len(HOSTILE_TEAMS)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,70}", name) for name in folders.values())
    # 8 digits of SHA-256, as `printf ../x | sha256sum` prints them.
    assert folders["../x"] == "x-d6b96a97"
    assert folders["CON"] != "CON"


@pytest.mark.parametrize("to", FORMATS)
def test_hostile_names_stay_text_within_the_folder(to: str, tmp_path: Path) -> None:
    teams = ["<script>alert(1)</script>", "'" + HOSTILE, "../x", "tab\\there", "x" * 500]
    quoted = ['"' + team.replace('"', '""') + '"' for team in teams]
    case = '"\'-<b>&""ä,😀"'
    lines = [f"{team},,{case},WT,{metric},0.5,ok," for team in quoted for metric in ("dice", "hd95")]
    out = ranked(tmp_path, lines)
    before = {path for path in tmp_path.rglob("*") if "export" not in path.parts}
    done = export(out, to, "", None)
    assert {path for path in tmp_path.rglob("*") if "export" not in path.parts} == before
    written = {path for path in (out / "export").rglob("*") if path.is_file()}
    assert written == set(done.files)
    assert all(path.resolve().is_relative_to(out / "export" / to) for path in done.files)
    documents = [read(path) for path in done.files]
    if to == "challenger":
        assert {row["case"] for row in documents[0]} == {"'-<b>&\"ä,😀"}
        assert {row["algorithm"] for row in documents[0]} == {*teams}
    else:
        assert len(documents) == len(teams)
    if to == "grand-challenge":
        assert [*documents[0]["case"]] == ['-<b>&"ä,😀']  # unchanged in JSON
    if to == "medperf":
        assert [*documents[0]] == ['-<b>&"ä,😀']


def test_one_document_may_be_named(folder: Path, tmp_path: Path) -> None:
    done = export(folder, "synapse", "alpha", tmp_path / "new" / "alpha.json")
    assert [*done.files] == [tmp_path / "new" / "alpha.json"]
    (tmp_path / "folder.json").mkdir()
    done = export(folder, "synapse", "alpha", tmp_path / "folder.json")
    assert [*done.files] == [tmp_path / "folder.json" / "results.json"]
    with pytest.raises(UsageError, match="one file, and there are 2 documents"):
        export(folder, "synapse", "", tmp_path / "both.json")
    assert not (tmp_path / "both.json").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_bytes_again_and_nothing_beside_them(to: str, folder: Path) -> None:
    def contents(done: Exported) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in done.files}

    first = contents(export(folder, to, "", None))
    assert contents(export(folder, to, "", None)) == first
    assert {path for path in (folder / "export").rglob("*") if path.is_file()} == set(first)


CRASHED = [line.replace(",ok,", ",crashed,") if ",NA,TC" in line else line for line in SMALL]


def test_an_incomplete_folder_is_not_scored(tmp_path: Path) -> None:
    out = ranked(tmp_path, CRASHED)
    assert exported(out, "synapse") == {"submission_status": "NOT_SCORED", "submission_errors": ""}
    assert exported(out, "medperf")["partial"] is True
    assert exported(out, "grand-challenge")["complete"] is False
    for to in FORMATS:
        done = export(out, to, "", None)
        assert not done.complete
        assert "OUT006" in {problem.code for problem in done.problems if problem.severity == "warning"}


def test_an_incomplete_folder_that_was_ranked_all_the_same_is_scored(tmp_path: Path) -> None:
    out = ranked(tmp_path, CRASHED, allow_incomplete=True)
    assert exported(out, "synapse")["submission_status"] == "SCORED"
    assert exported(out, "medperf")["partial"] is True


def test_a_team_without_any_value_is_not_scored(tmp_path: Path) -> None:
    empty = [re.sub(r"(dice|hd95),[\d.]*,\w+,", r"\1,,empty_both,", line) for line in SMALL]
    out = ranked(tmp_path, [*PENALIZED, *empty])
    assert exported(out, "synapse", "alpha")["submission_status"] == "NOT_SCORED"
    assert exported(out, "grand-challenge", "alpha")["aggregates"]["TC"]["dice"] == {
        "cases": 0,
        "penalized": 0,
    }
    assert exported(out, "medperf", "alpha") == {"007": {}, "NA": {}}
    assert exported(out, "nnunet", "alpha")["mean"] == {"(1, 2, 4)": {}, "(1, 4)": {}}


def test_a_team_whose_rows_are_all_missing_is_not_forgotten(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    run["expected"]["late"] = ["007"]
    run["complete"] = False
    (folder / "run.json").write_text(json.dumps(run))
    assert exported(folder, "synapse", "late")["submission_status"] == "NOT_SCORED"
    assert exported(folder, "medperf", "late") == {"partial": True}
    assert len(export(folder, "grand-challenge", "", None).files) == 3


def test_an_infinite_value_is_left_out(tmp_path: Path) -> None:
    lines = ["a,,1,WT,dice,0.5,ok,", "a,,1,WT,hd95,inf,ok,", "a,,2,WT,dice,1,ok,", "a,,2,WT,hd95,3,ok,"]
    out = ranked(tmp_path, lines)
    assert exported(out, "medperf")["1"] == {"dice_WT": 0.5}
    assert "hd95_WT" not in exported(out, "synapse")
    assert board_after_export(out, tmp_path) == board(out)


def test_problems_of_a_team_fit_an_annotation(folder: Path) -> None:
    header = "severity,code,team,case,file,message,hint\n"
    rows = [f"error,GEO001,alpha,{case},,{'m' * 150},\n" for case in range(5)]
    (folder / "problems.csv").write_text(header + "error,RUN009,,,,not of a team,\n" + "".join(rows))
    line = "error[GEO001] " + "m" * 150  # 164 characters: the third would end at 494, before a note of 10
    assert exported(folder, "synapse", "alpha")["submission_errors"] == f"{line}\n{line}\n(+3 more)"


def test_lines_are_cut_at_a_whole_one() -> None:
    assert within([], 10) == ""
    assert within(["a" * 10], 10) == "a" * 10
    assert within(["a" * 11], 10) == "(+1 more)"
    assert within(["aaaa", "bbbbb"], 10) == "aaaa\nbbbbb"
    assert within(["aaaa", "b" * 10], 14) == "aaaa\n(+1 more)"  # 14 characters
    assert within(["aaaa", "b" * 10], 13) == "(+2 more)"
    assert within(["a", "b", "c" * 20, "d"], 20) == "a\nb\n(+2 more)"
    assert within(["a"] * 300, 500) == "\n".join(["a"] * 245) + "\n(+55 more)"  # 2 * 245 - 1 + 11 = 500


def test_cases_that_two_institutions_name_alike_stay_apart(tmp_path: Path) -> None:
    lines = [f"a,{site},1,WT,dice,{value},ok," for site, value in (("x", 0.25), ("y", 0.75))]
    lines += ["a,x,2,WT,dice,1,ok,"]
    out = ranked(tmp_path, lines)
    assert exported(out, "medperf") == {
        "2": {"dice_WT": 1.0},
        "x/1": {"dice_WT": 0.25},
        "y/1": {"dice_WT": 0.75},
    }
    assert [one["case"] for one in exported(out, "nnunet")["metric_per_case"]] == ["x/1", "2", "y/1"]
    assert board_after_export(out, tmp_path) == board(out)


def test_names_that_a_format_needs_are_not_given_to_cases() -> None:
    cases = [("", ""), ("", "all"), ("", "partial"), ("x", "1"), ("y", "1"), ("", "x/1")]
    assert case_names(cases, taken=("partial",)) == {
        ("", ""): "all_",
        ("", "all"): "all",
        ("", "partial"): "partial_",
        ("x", "1"): "x/1_",
        ("y", "1"): "y/1",
        ("", "x/1"): "x/1",
    }


def test_keys_need_no_quotes_and_stay_apart() -> None:
    assert plain_keys(["nsd_0.5mm", "", "WT", "2nd"]) == {
        "nsd_0.5mm": "nsd_0_5mm",
        "": "all",
        "WT": "WT",
        "2nd": "_2nd",
    }
    names = ["a b", "a.b", "a_b", "ä", "", "all", "score", "y" * 100]
    keys = plain_keys(names, taken=("score",))
    assert keys == plain_keys(names[::-1], taken=("score",))
    assert keys["a_b"] == "a_b"
    assert keys["all"] == "all"
    assert len({*keys.values(), "score"}) == len(names) + 1
    assert all(re.fullmatch(r"[A-Za-z_]\w{0,70}", key, re.ASCII) for key in keys.values())


@pytest.mark.parametrize(
    ("to", "team", "message", "hint"),
    [
        ("synapes", "", "the format 'synapes' is unknown", "synapse, grand-challenge"),
        ("synapse", "alpah", "has no team 'alpah'", "did you mean 'alpha'?"),
    ],
)
def test_what_is_not_there_is_named(to: str, team: str, message: str, hint: str, folder: Path) -> None:
    with pytest.raises(UsageError) as refused:
        export(folder, to, team, None)
    assert message in refused.value.problems[0].message
    assert hint in refused.value.problems[0].hint


def test_a_place_that_cannot_be_written_is_named(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        export(folder, "synapse", "", folder / "file" / "below")


def test_the_command_says_what_it_wrote(folder: Path, tmp_path: Path) -> None:
    done = bratseval("export", folder, "--to", "challenger", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == [
        str(folder / "export" / "challenger" / name)
        for name in ("larger_is_better.csv", "smaller_is_better.csv")
    ]
    assert (document["complete"], document["exit_code"]) == (True, 0)
    assert "smallBetter = TRUE" in " ".join(done.stderr.split())
    assert done.stderr.splitlines()[-1].startswith("complete: 2 teams as 2 files for challenger; written to ")
    incomplete = ranked(tmp_path / "incomplete", CRASHED)
    done = bratseval("export", incomplete, "--to", "medperf")
    assert done.returncode == 4
    assert "warning[OUT006]" in done.stderr
    assert (incomplete / "export" / "medperf" / "results.yaml").is_file()


KINDS = {
    "skin-lesion": "skin",
    "brats2024-path": "path",
    "brats-reg-2022": "brats-reg",
    "fets2021-task1": "fets",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs of some kinds of sample data."""
    found = {}
    for challenge, kind in KINDS.items():
        folder = tmp_path_factory.mktemp("runs")
        draws = "ranking: {bootstrap: 10, permutations: 10}"  # which are not exported
        (folder / "own.yaml").write_text(f"extends: {challenge}\nname: own\n{draws}\n")
        found[challenge] = folder / challenge
        sample = ROOT / "sample_data" / kind
        places = ("--submissions", sample / "submissions", "--references", sample / "references")
        quick = ("--fail-on", "never", "--no-report", "--jobs", 1)
        done = bratseval("run", folder / "own.yaml", *places, "--output", found[challenge], *quick)
        assert done.returncode == 0, done.stderr
    return found


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("challenge", KINDS)
def test_every_kind_of_challenge(challenge: str, to: str, runs: dict[str, Path], tmp_path: Path) -> None:
    out = runs[challenge]
    if to == "nnunet" and challenge in ("brats2024-path", "brats-reg-2022"):
        with pytest.raises(UsageError, match="scores no region of labels"):
            export(out, to, "", tmp_path)
        assert not [*tmp_path.iterdir()]
        return
    documents = [read(path) for path in export(out, to, "", tmp_path).files]
    assert all(documents)
    if to != "challenger":
        assert len(documents) == 3
    means = {
        (row["team"], row["region"], row["metric"]): float(row["mean"])
        for row in table(out / "teams.csv")
        if row["mean"]
    }
    team, region, metric = max(means)
    if to == "synapse":
        assert documents[-1][f"{metric}_{region}" if region else metric] == means[max(means)]
        assert {one["submission_status"] for one in documents} == {"SCORED"}
    if to == "grand-challenge":
        assert (
            documents[-1]["aggregates"][region or "all"][metric.replace(".", "_")]["mean"]
            == means[max(means)]
        )
    if to == "medperf":
        cases = {row["case"] for row in table(out / "scores.csv") if row["team"] == team}
        assert {*documents[-1]} == {case or "all" for case in cases}


@pytest.mark.parametrize("challenge", KINDS)
def test_rank_reads_the_same_ranking_back(challenge: str, runs: dict[str, Path], tmp_path: Path) -> None:
    assert board_after_export(runs[challenge], tmp_path) == board(runs[challenge])


def test_nnunet_names_the_files_of_a_case(runs: dict[str, Path], tmp_path: Path) -> None:
    (path,) = export(runs["skin-lesion"], "nnunet", "close", tmp_path).files
    first = read(path)["metric_per_case"][0]
    assert first["reference_file"] == "ISIC_0012001_segmentation.png"
    assert (ROOT / "sample_data/skin/submissions/close" / first["prediction_file"]).is_file()
    assert set(first["metrics"]) == {"1"}
    assert {"Dice", "IoU"} <= set(first["metrics"]["1"])


def test_a_submission_of_which_nothing_can_be_used_is_invalid(tmp_path: Path) -> None:
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    done = bratseval(
        *("evaluate", "skin-lesion", "-p", tmp_path / "broken.zip", "-o", tmp_path / "out"),
        *("-r", ROOT / "sample_data" / "skin" / "references", "--no-report"),
    )
    assert done.returncode == 1
    found = exported(tmp_path / "out", "synapse")
    assert found["submission_status"] == "INVALID"
    assert re.match(r"error\[ARC\d+\] ", found["submission_errors"])
    assert set(found) == {"submission_status", "submission_errors"}


def test_validate_that_stops_says_nothing_of_the_submission(tmp_path: Path) -> None:
    sample = ROOT / "sample_data" / "skin"
    places = ("-r", sample / "references", "--format", "synapse")
    done = bratseval("validate", "skin-lesion", "-p", tmp_path / "absent", *places)
    assert done.returncode == 2
    assert json.loads(done.stdout)["submission_status"] == "NOT_SCORED"


@pytest.mark.parametrize(
    ("severity", "exit_code", "status"),
    [
        ("warning", 0, "VALIDATED"),
        ("warning", 1, "INVALID"),
        ("error", 1, "INVALID"),
        ("error", 0, "INVALID"),  # --fail-on never
        ("error", 3, "NOT_SCORED"),
        ("error", 4, "NOT_SCORED"),
    ],
)
def test_a_fault_of_others_makes_no_submission_invalid(
    severity: Severity, exit_code: int, status: str
) -> None:
    problem = Problem(severity, "LBL001", "label 4")
    checked = Checked("lits", "a", ("1",), (problem,), ("error",), exit_code)
    assert json.loads(as_synapse(checked)) == {
        "submission_status": status,
        "submission_errors": f"{severity}[LBL001] label 4",
    }
