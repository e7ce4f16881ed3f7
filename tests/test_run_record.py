"""run.json of a result folder that somebody edited, cut off or took from elsewhere: a sentence, no fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bratseval.config import recorded_rulebook
from bratseval.errors import UsageError
from bratseval.results import read_run
from bratseval.sources import read_sources

RECORD: dict[str, Any] = {
    "challenge": "brats2023-gli",
    "command": "run",
    "complete": True,
    "config": "1f3b1cbd",
    "configuration": {"regions": {}, "metrics": {}},
    "counts": {"teams": 2, "cases": 3, "rows": 6, "problems": 0},
    "expected": {"alpha": ["1"]},
    "institutions": [],
    "ranking": {
        "rule": "brats: ...",
        "bootstrap": {"draws": 10},
        "leave_one_out": {"case": {"changes_winner": [], "changes_podium_share": 0}},
        "significance": {"test": "permutation", "alpha": 0.05, "adjust": "holm"},
    },
    "seed": 1,
    "shard": [1, 1],
    "signature": "bratseval|...",
    "version": "0.1.0",
}


def test_a_record_without_later_keys_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    assert read_run(tmp_path) == RECORD


@pytest.mark.parametrize("key", [*RECORD])
def test_a_record_that_lacks_a_key_is_named_with_it(key: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({name: RECORD[name] for name in RECORD if name != key}))
    with pytest.raises(UsageError, match=rf"run.json is not the record of a run \({key}: ") as caught:
        read_run(tmp_path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("counts",), []),
        (("counts", "teams"), "two"),
        (("complete",), 1),
        (("cohort_configurations",), None),
        (("expected", "alpha"), 5),
        (("order",), 3),
        (("shard",), [1]),
        (("ranking", "bootstrap"), {}),
        (("ranking", "leave_one_out", "case"), {}),
        (("ranking", "significance", "alpha"), "x"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(at: tuple[str, ...], value: object, tmp_path: Path) -> None:
    record = json.loads(json.dumps(RECORD))
    block = record
    for key in at[:-1]:
        block = block[key]
    block[at[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=rf"\({'.'.join(at)}"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, '{"a": '])
def test_what_is_no_record_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json is not the record of a run"):
        read_run(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sources.json").write_text(text)
    assert read_sources(tmp_path) == ()


def test_rules_that_are_no_rules_are_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"the configuration in run\.json cannot be read"):
        recorded_rulebook({**RECORD, "configuration": {"regions": 3, "metrics": {}}})
