"""Challenge files: every bundled one loads, and a wrong one is answered with place, field and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT

from bratseval.config import (
    PARITY_STATES,
    bundled_folder,
    bundled_names,
    editor_schema,
    load_challenge,
    load_rulebook,
    parity,
)
from bratseval.errors import UsageError

# The bundled names of the contract.
NAMES = {
    *("brats2021", "brats2021-mgmt"),
    *(f"brats2023-{name}" for name in ("gli", "ssa", "men", "ped", "met", "inpainting", "brasyn")),
    *(f"brats2024-{name}" for name in ("gli", "men-rt", "ssa", "ped", "met", "goat", "path", "inpainting")),
    *(f"brats2025-{name}" for name in ("gli", "men", "men-rt", "ssa", "ped", "met", "goat", "path")),
    *(f"brats2026-{name}" for name in ("gli", "men", "men-rt", "met", "ped", "goat", "path", "inpainting")),
    *("brats2025-inpainting", "brats-reg-2022", "landmark-hit-rate", "landmark-rtre"),
    *("fets2021-task1", "fets2022-task1", "fets2022-task2", "fets2024", "qu-brats-2020", "qubiq-2021"),
    *(f"msd-{name}" for name in ("brain", "heart", "liver", "hippocampus", "prostate", "lung")),
    *("msd-pancreas", "msd-hepatic-vessel", "msd-spleen", "msd-colon", "lits", "crossmoda-2021"),
    *("time-to-event", "quality-estimation", "skin-lesion", "generic-segmentation"),
}


def test_the_challenges_of_the_contract_are_bundled() -> None:
    assert set(bundled_names()) == NAMES


def test_every_bundled_challenge_says_what_its_numbers_were_compared_with() -> None:
    compared = parity()
    assert set(compared) == NAMES
    for name, facts in compared.items():
        assert facts["parity"] in PARITY_STATES, name
        assert facts["against"], name
        assert (ROOT / facts["test"]).is_file(), name


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_challenges_say_what_defined_them(name: str) -> None:
    rulebook = load_rulebook(name)
    challenge = rulebook.challenge
    assert challenge.name == name
    assert challenge.source
    assert challenge.scorer
    assert challenge.ranking.metrics
    for column, spec in challenge.metrics.items():
        # A file that cannot be scored must cost something wherever a wrong file would.
        if column in challenge.ranking.metrics:
            assert spec.missing is not None or spec.penalty is not None, column


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("brats2023-gli", 374),
        ("brats2024-gli", 337),
        ("brats2025-met", "grid_diagonal"),
        ("brats2025-men-rt", "grid_diagonal"),
        ("brats2024-met", 374),
        ("brats2026-met", 373),
    ],
)
def test_penalties_that_differ_between_editions(name: str, penalty: object) -> None:
    assert load_challenge(name).metrics["lesion_hd95"].penalty == penalty


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_challenge(path)
    assert caught.value.exit_code == 2
    return [f"{problem.message} | {problem.hint}" for problem in caught.value.problems]


BASE = "extends: brats2023-gli\nname: my\n"
HIT = "extends: landmark-hit-rate\nname: my\n"
STARS = "extends: quality-estimation\nname: my\n"
WARP = "extends: brats-reg-2022\nname: my\n"
GRID = "expected: {grid: {shape: [10, 10, 10], affine: [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}}\n"
PAINT = "extends: brats2025-inpainting\nname: my\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BASE + "lesion: {}\n", "my.yaml:3:1: lesion: unknown key; did you mean 'lesions'?"),
        (BASE + "lesions:\n  dilation: 3\n", "my.yaml:4:3: lesions.dilation: unknown key"),
        (
            BASE + "lesions: {connectivity: 8}\n",
            "lesions.connectivity: Input should be 6, 18 or 26 (found 8)",
        ),
        (BASE + "metrics: {lesion_dcie: {}}\n", "'lesion_dcie' is not a metric; did you mean 'lesion_dice'?"),
        (BASE + "regions: {WT: [NCR, XX]}\n", "regions.WT: label 'XX' is not in labels (NCR, ED, ET)"),
        (
            BASE + "ranking: {metrics: [hd59]}\n",
            "ranking.metrics: 'hd59' is not a metric; did you mean 'hd95'",
        ),
        (
            BASE + "ranking: {metrics: [dice, hd95], steps: [aggregate, combine]}\n",
            "need a rank before combine",
        ),
        (BASE + "ranking: {scheme: elo}\n", "ranking.scheme: not one of aggregate_then_rank"),
        (BASE + "ranking: {aggregate: q101}\n", "or a quantile such as q25 (found 'q101')"),
        (
            BASE + "ranking: {missing: {dcie: 0}}\n",
            "ranking.missing: 'dcie' is not a metric; did you mean",
        ),
        (BASE + "ranking: {tie_breakers: [tme]}\n", "ranking.tie_breakers: 'tme' is not a metric"),
        (BASE + "ranking: {weights: {dice: 0}}\n", "Input should be greater than 0 (found 0)"),
        (BASE + "files: {prediction: ['no group'], reference: []}\n", "has no group (?P<case>...)"),
        (BASE + "files: {prediction: ['(?P<case>'], reference: []}\n", "is not a regular expression"),
        (BASE + "labels: {ET: 300}\n", "labels.ET: Input should be less than or equal to 255 (found 300)"),
        (BASE + "metrics: {dice: {penalty: .inf}}\n", "metrics.dice.penalty"),
        (BASE + "metrics: {dice: {tolerance_mm: 1}}\n", "tolerance_mm has no meaning for dice"),
        (
            BASE + "metrics: {dice: {parameters: {radius: 1}}}\n",
            "dice: dice has no parameter 'radius' (it has none)",
        ),
        (HIT + "metrics: {near: {metric: hit_rate}}\n", "near: parameters must state radius_mm of hit_rate"),
        (
            HIT + "metrics: {near: {metric: hit_rate, parameters: {radius: 1}}}\n",
            "near: hit_rate has no parameter 'radius' (it has center, radius_mm)",
        ),
        (
            HIT + "metrics: {near: {metric: hit_rate, parameters: {radius_mm: far}}}\n",
            "near: radius_mm: Input should be a valid number",
        ),
        (
            HIT + "metrics: {near: {metric: hit_rate, parameters: {radius_mm: 1, center: mean}}}\n",
            "near: center: Input should be 'reference' or 'raters'",
        ),
        (BASE + "metrics: {mee: {}}\n", "metrics.mee: mee cannot be computed in a segmentation challenge"),
        (BASE + "metrics: {convergence_score: {}}\n", "files.team has no pattern for rounds"),
        (BASE + "uncertainty: {points: 10}\n", "uncertainty: has no meaning in a segmentation challenge"),
        (BASE + "regions: {WT: [any]}\n", "regions.WT: label 'any' is not in labels"),
        (BASE + "regions: {WT: {}}\n", "regions.WT: no label is named"),
        (BASE + "task: registration\n", "a registration challenge needs moving"),
        (HIT + "regions: {WT: {}}\n", "regions: a registration has none"),
        (HIT + "files: {unread: ['(']}\n", "is not a regular expression"),
        (HIT + "files: {team: {rounds: ['(?P<case>x)']}}\n", "but the file is of the whole team"),
        (HIT + "files: {reference_parts: {moving: ['x']}}\n", "has no group (?P<case>...)"),
        (
            "extends: qu-brats-2020\nname: my\nregions: {ED: [ED]}\n",
            "regions.ED: files.prediction_parts has no uncertainty_ED",
        ),
        # Keys of blocks that may be absent, and of the items of a list.
        (STARS + "table: {prediktion: [a]}\n", "table.prediktion: unknown key; did you mean 'prediction'?"),
        (
            PAINT + "synthesis: {scal: void}\n",
            "synthesis.scal: unknown key; did you mean 'scale'? | allowed:",
        ),
        (BASE + "expected: {grid: {shap: [1, 1, 1]}}\n", "shap: unknown key; did you mean 'shape'?"),
        (BASE + "ranking: {tie_breakers: [{metrik: dice}]}\n", "metrik: unknown key; did you mean 'metric'?"),
        (
            PAINT + "files:\n  reference_parts:\n    msk: ['(?P<case>x)']\n",
            "my.yaml:5:5: files.reference_parts.msk: nothing in a synthesis challenge reads it; "
            "did you mean 'mask'?",
        ),
        (STARS + "files: {team: {tabel: ['x']}}\n", "did you mean 'table'?"),
        (
            BASE + "files: {prediction_parts: {field: ['(?P<case>x)']}}\n",
            "files.prediction_parts.field: nothing in a segmentation challenge reads it; known: none",
        ),
        # What a failure costs.
        (
            BASE + "metrics:\n  dice: {penalty: 0.2}\n",
            "my.yaml:4:10: metrics.dice.penalty: 0.2 is better than the worst value, 0, so that",
        ),
        (
            BASE + "metrics: {dice: {missing: 0.5}}\n",
            "metrics.dice.missing: 0.5 is better than the worst value",
        ),
        (BASE + "metrics: {dice: {penalty: -1}}\n", "metrics.dice.penalty: -1 is no value from 0 to 1"),
        (BASE + "metrics: {dice: {penalty: grid_diagonal}}\n", "grid_diagonal is no value from 0 to 1"),
        (BASE + "metrics: {hd95: {penalty: 0}}\n", "metrics.hd95.penalty: 0 is the best value"),
        (
            BASE + "metrics: {hd95: {missing: [374, -1]}}\n",
            "metrics.hd95.missing: -1 is no value from 0 to inf",
        ),
        (BASE + "ranking: {missing: {lesion_dice: 1}}\n", "ranking.missing.lesion_dice: 1 is better than"),
        (
            "extends: brats2021-mgmt\nname: my\nmetrics: {auroc: {penalty: 2}}\n",
            "metrics.auroc.penalty: 2 is no value from 0 to 1",
        ),
        (STARS + "metrics: {kendall: {penalty: 0.5}}\n", "0.5 is better than the worst value, -1"),
        (STARS + "metrics: {kendall: {penalty: 0}}\n", "0 is better than the worst value, -1"),
        (
            WARP + "metrics: {jacobian_negative: {penalty: grid_diagonal}}\n",
            "grid_diagonal is a distance, and",
        ),
        (
            WARP + "metrics: {jacobian_nonpositive: {penalty: 999}}\n" + GRID,
            "metrics.jacobian_nonpositive.penalty: 999 is less than the 1000 voxels of expected.grid",
        ),
        (
            STARS + "table: {high: 10}\n",
            "metrics.mae.penalty: 6 is less than the largest error of the scale, 10 | {path} extends this",
        ),
        (BASE + "name: twice\n", "my.yaml:3: not valid YAML: found duplicate key"),
        (BASE + "title: [\n", "not valid YAML"),
        (BASE + "title: !!python/object/apply:os.system ['true']\n", "is not allowed"),
        (
            "extends: brats2032-gli\nname: my\n",
            "'brats2032-gli' is neither a bundled challenge nor a YAML file | did you mean 'brats20",
        ),
        ("extends: my.yaml\nname: my\n", "extends goes round in a circle"),
        ("- a\n- list\n", "a challenge is a mapping"),
        ("name: my\n", "this key is required"),
        (BASE + "x" * 1_000_001, "more than the 1000000 of a configuration"),
        (BASE + "title: " + "[" * 50 + "]" * 50 + "\n", "nested too deeply"),
    ],
)
def test_a_wrong_file_is_answered_with_place_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path, text)
    found = problems(path)
    assert any(expected.replace("{path}", str(path)) in line for line in found), found


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = BASE + "lesions: {connectivity: 8, dilation_voxels: -1}\nranking: {ties: maybe}\n"
    assert len(problems(write(tmp_path, text))) == 3


def test_mistakes_that_need_the_whole_file_have_places_of_their_own(tmp_path: Path) -> None:
    text = BASE + "metrics:\n  nsd_0.5mm: {metric: mee}\n  sdn: {metric: ssim}\nregions:\n  WT: [XX]\n"
    text += "ranking:\n  metrics: [hd59]\n"
    found = {line.partition("my.yaml")[2].partition(" ")[0] for line in problems(write(tmp_path, text))}
    assert found == {":4:3:", ":5:3:", ":7:3:", ":9:3:"}


def test_all_metrics_that_are_none_are_told_at_once(tmp_path: Path) -> None:
    text = BASE + "metrics:\n  dcie: {}\n  hd59: {}\n  dice: {parameters: {radius: 1}}\n"
    found = problems(write(tmp_path, text))
    assert sorted(line.partition("my.yaml")[2].split(" | ")[0] for line in found) == [
        ":4:3: metrics.dcie: 'dcie' is not a metric; did you mean 'dice'?",
        ":5:3: metrics.hd59: 'hd59' is not a metric; did you mean 'hd95'?",
        ":6:3: metrics.dice: dice has no parameter 'radius' (it has none)",
    ]


def test_only_an_image_may_cost_the_likeness_of_nothing(tmp_path: Path) -> None:
    """As the official SSIM of a missing image is 0. A team with a correlation below 0 would gain by 0."""
    text = PAINT + "metrics: {ssim: {penalty: 0}}\nranking: {missing: {ssim: 0}}\n"
    assert load_challenge(write(tmp_path, text)).metrics["ssim"].penalty == 0
    for name in ("pearson", "spearman", "kendall"):
        text = STARS + f"metrics: {{{name}: {{penalty: 0}}}}\nranking: {{missing: {{{name}: 0}}}}\n"
        assert len(problems(write(tmp_path, text))) == 2
    text = STARS + "table: {high: 10}\nmetrics: {mae: {penalty: 10}}\nranking: {missing: {mae: 11}}\n"
    assert load_challenge(write(tmp_path, text)).metrics["mae"].penalty == 10


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("aliases" in line for line in problems(write(tmp_path, "\n".join(lines))))


def test_extends_names_only_what_differs(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "metrics: {lesion_hd95: {penalty: 400}, sensitivity: null}\n")
    mine, base = load_challenge(path), load_challenge("brats2023-gli")
    assert mine.metrics["lesion_hd95"].penalty == 400
    assert mine.metrics["lesion_hd95"].empty_both == base.metrics["lesion_hd95"].empty_both
    assert "sensitivity" not in mine.metrics
    assert mine.digest != base.digest


def test_the_digest_changes_with_a_score_and_not_with_a_comment(tmp_path: Path) -> None:
    base = load_challenge("brats2023-gli")
    assert load_challenge(write(tmp_path, BASE + "# a comment\ntitle: other\n")).digest == base.digest
    assert load_challenge(write(tmp_path, BASE + "lesions: {min_reference_mm3: 51}\n")).digest != base.digest


def test_the_editor_schema_knows_every_key() -> None:
    schema = editor_schema()
    assert {"extends", "lesions", "regions", "metrics", "ranking"} <= set(schema["properties"])
    stored = json.loads((bundled_folder() / "challenge.schema.json").read_text())
    assert stored == schema, "run `make schema`"


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_files_name_the_schema_for_editors(name: str) -> None:
    first = (bundled_folder() / f"{name}.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=challenge.schema.json"
