"""File names: an example of every pattern is matched by it."""

from __future__ import annotations

import re

import pytest

from bratseval.config import bundled_names, load_challenge
from bratseval.inputs import example_name


@pytest.mark.parametrize("name", bundled_names())
def test_an_example_of_every_pattern_is_matched_by_it(name: str) -> None:
    files = load_challenge(name).files
    roles = [*files.prediction_parts.values(), *files.reference_parts.values(), *files.team.values()]
    for pattern in [*files.prediction, *files.reference, *(one for patterns in roles for one in patterns)]:
        example = example_name(pattern)
        assert re.fullmatch(pattern, example), (pattern, example)
        assert not set(example) & set("\\()[]?*+|<>"), example


def test_an_example_may_be_of_a_case() -> None:
    pattern = r"(?P<case>BraTS\w+?_\d{3,5})_unc_whole\.nii(?:\.gz)?"
    assert example_name(pattern) == "BraTSNAME_000_unc_whole.nii.gz"
    assert example_name(pattern, "BraTS20_001") == "BraTS20_001_unc_whole.nii.gz"
    assert example_name(r"(?P<case>\w+)[-_]seg\.nii") == "NAME-seg.nii"
