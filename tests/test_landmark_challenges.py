"""Landmark challenges that are not BraTS-Reg: two dimensions, several raters, other columns and diagonals."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import plan_cases

from bratseval.config import load_rulebook
from bratseval.errors import Problem
from bratseval.model import Score
from bratseval.scoring import Rules, score_case
from bratseval.signature import signature

# As ANHIR: 2-D points of histology slides, pixels as unit, an error as a share of the stated diagonal.
SLIDES = r"""
extends: landmark-rtre
name: slides
files:
  prediction: ['(?P<case>slide\d+)\.csv']
  prediction_parts: {jacobian: null, field: null, inverse_field: null}
  reference: ['(?P<case>slide\d+)_target\.csv']
  reference_parts: {moving: ['(?P<case>slide\d+)_source\.csv'], image: null, rater: null}
registration: {id_column: Point, coordinates: [X, Y], volume: null, diagonal_mm: 5000}
"""


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def score(challenge: str | Path, folder: Path) -> tuple[dict[str, Score], list[Problem]]:
    rulebook = load_rulebook(challenge)
    cases, problems, _ = plan_cases(rulebook, {"team": folder / "team"}, folder / "references")
    (result,) = (score_case(Rules(rulebook), case) for case in cases)
    return {one.metric: one for one in result.scores}, [*problems, *result.problems]


def test_points_of_a_slide_have_two_coordinates(tmp_path: Path) -> None:
    challenge = write(tmp_path / "slides.yaml", SLIDES)
    write(tmp_path / "references" / "slide1_target.csv", "Point,X,Y", "a,0,0", "b,100,0", "c,0,100")
    write(tmp_path / "references" / "slide1_source.csv", "Point,X,Y", "a,50,0", "b,150,0", "c,50,100")
    write(tmp_path / "team" / "slide1.csv", "Point,Y,X", "c,110,0", "b,4,103", "a,0,20")
    found, problems = score(challenge, tmp_path)
    assert problems == []
    assert found["mee"].value == 10  # of 20, 5 and 10
    assert found["relative_tre"].value == pytest.approx(10 / 5000)
    assert found["mean_relative_tre"].value == pytest.approx((20 + 5 + 10) / 3 / 5000)
    assert found["max_relative_tre"].value == pytest.approx(20 / 5000)
    assert found["robustness"].value == 1


def rated(folder: Path) -> None:
    """Two landmarks: the raters mark the first 3 mm to either side of the reference, the second alike."""
    references = folder / "references"
    write(references / "p1_reference_landmarks.csv", "Landmark,X,Y,Z", "1,10,-20,30", "2,40,-50,60")
    write(references / "p1_moving_landmarks.csv", "Landmark,X,Y,Z", "1,19,-20,30", "2,49,-50,60")
    write(references / "p1_reference_landmarks_rater1.csv", "Landmark,X,Y,Z", "1,13,-20,30", "2,40,-50,60")
    write(references / "p1_reference_landmarks_rater2.csv", "Landmark,X,Y,Z", "1,7,-20,30", "2,40,-50,60")
    write(folder / "team" / "p1.csv", "Landmark,X,Y,Z", "1,15,-20,30", "2,41,-50,60")


def test_zones_come_from_the_raters(tmp_path: Path) -> None:
    rated(tmp_path)
    found, problems = score("landmark-hit-rate", tmp_path)
    assert problems == []
    # Errors of 5 and 1 mm; spreads of 3 and 0 mm.
    assert [found[f"hit_rate_{radius}mm"].value for radius in (1, 2, 5)] == [1 / 2, 1 / 2, 1]
    assert found["hit_rate_auc"].value == pytest.approx((5 + 9) / 2 / 10)
    assert found["hit_rate_2spread"].value == 1 / 2  # 5 <= 2 x 3, and 1 > 2 x 0
    assert found["hit_rate_spread_auc"].value == pytest.approx((5 - 5 / 3 + 0) / 2 / 5)
    # Against each rater: 2 and 8 mm, 1 and 1 mm.
    assert found["hit_rate_raters_auc"].value == pytest.approx((8 + 2 + 9 + 9) / 4 / 10)


def test_without_raters_their_zones_do_not_apply(tmp_path: Path) -> None:
    rated(tmp_path)
    for path in (tmp_path / "references").glob("*rater*"):
        path.unlink()
    found, problems = score("landmark-hit-rate", tmp_path)
    assert problems == []
    for name in ("hit_rate_raters_auc", "hit_rate_2spread", "hit_rate_spread_auc"):
        assert (found[name].value, found[name].status) == (None, "not_applicable")
    assert found["hit_rate_auc"].value == pytest.approx((5 + 9) / 2 / 10)


def test_a_rater_with_other_landmarks_is_the_organizers_problem(tmp_path: Path) -> None:
    rated(tmp_path)
    write(tmp_path / "references" / "p1_reference_landmarks_rater2.csv", "Landmark,X,Y,Z", "1,7,-20,30")
    found, problems = score("landmark-hit-rate", tmp_path)
    assert [problem.code for problem in problems] == ["SUB014"]
    assert "rater2.csv: its landmarks are not those of the reference (not in both: 2)" in problems[0].message
    assert {one.status for one in found.values()} == {"not_applicable"}


def test_the_range_of_radii_is_printed_with_every_score() -> None:
    line = signature(load_rulebook("landmark-hit-rate"), 4)
    assert "|registration|hit_rate_auc:largest_radius_mm=10,area=exact|cases:4|" in line


def test_the_diagonal_is_that_of_the_stated_volume() -> None:
    rules = load_rulebook("landmark-rtre").challenge.registration_rules
    extents = [high - low for low, high in rules.volume.values()]
    assert math.hypot(*extents) == math.hypot(240, 240, 155)
