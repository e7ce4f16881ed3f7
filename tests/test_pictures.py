"""What a picture shows: planes, outlines, colors, the choice of the worst lesion; and odd cases."""

from __future__ import annotations

import io
import struct
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from conftest import AFFINE, cube, phantom, plan_cases, save
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from bratseval.challenge import Rulebook
from bratseval.config import load_rulebook
from bratseval.errors import UsageError
from bratseval.model import Case, Score
from bratseval.nifti import Grid
from bratseval.pictures import page, panels
from bratseval.pictures.choice import (
    LesionFacts,
    bounds,
    by_badness,
    component_with,
    heaviest_planes,
    largest_component,
    worst_lesion,
)
from bratseval.pictures.drawers import number_text, table_of
from bratseval.pictures.drawing import draw
from bratseval.pictures.model import CaseRecord, Picture
from bratseval.pictures.planes import (
    PLANES,
    SIDES,
    Boxed,
    center_mm,
    colored,
    crop_mm,
    frame_of,
    gray_levels,
    outline,
    plane_of,
    size_mm,
    thinned,
    visible_planes,
    window_around,
)
from bratseval.scoring import Rules, score_case, with_geometry

GLI = load_rulebook("brats2023-gli")
OBLIQUE = np.array([[0.9, -0.3, 0.1, 5], [0.3, 0.9, -0.2, 7], [0.0, 0.2, 1.0, -3], [0, 0, 0, 1.0]])


def grid(
    affine: np.ndarray = AFFINE, shape: tuple[int, int, int] = (5, 6, 7), *, placed: bool = True
) -> Grid:
    x, y, z = (float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0))
    return Grid(shape, (x, y, z), affine, placed)


def boxed(values: np.ndarray) -> Boxed:
    return Boxed(values, (0, 0, 0), (values.shape[0], values.shape[1], values.shape[2]))


# ---------------------------------------------------------------- outlines


def test_the_outline_of_a_voxel_is_its_border() -> None:
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True  # row 1, column 2
    (square,) = outline(mask)
    assert square.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2], [2, 1]]


def test_straight_borders_have_no_corners_between_voxels_and_holes_run_the_other_way() -> None:
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    outer, inner = sorted(outline(mask), key=lambda polygon: polygon[:, 0].min())
    assert outer.tolist() == [[0, 0], [3, 0], [3, 3], [0, 3], [0, 0]]
    assert sorted(inner.tolist()[:-1]) == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert signed_area(outer) == 9
    assert signed_area(inner) == -1


def test_voxels_that_touch_at_a_corner_have_borders_of_their_own() -> None:
    polygons = outline(np.array([[True, False], [False, True]]))
    assert sorted(signed_area(polygon) for polygon in polygons) == [1, 1]
    assert outline(np.zeros((2, 2), bool)) == []


def signed_area(polygon: np.ndarray) -> float:
    """Twice-around formula; positive for a polygon that runs clockwise where y points down."""
    (x, y), (ahead_x, ahead_y) = polygon[:-1].T, polygon[1:].T
    return float((x * ahead_y - ahead_x * y).sum() / 2)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_enclose_exactly_the_voxels_of_the_mask(mask: np.ndarray) -> None:
    polygons = outline(mask)
    assert sum(map(signed_area, polygons)) == mask.sum()
    length = sum(np.abs(np.diff(polygon, axis=0)).sum() for polygon in polygons)
    padded = np.pad(mask, 1).astype(int)
    assert length == sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in (0, 1))


# ---------------------------------------------------------------- planes


def axis_aligned() -> list[np.ndarray]:
    """All affines whose axes lie along the world's, in any order and direction, of unequal spacing."""
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.zeros((4, 4))
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            affine[world, axis] = sign * (axis + 1.0)
        affine[3, 3] = 1
        found.append(affine)
    return found


@pytest.mark.parametrize("affine", axis_aligned(), ids=lambda a: "".join(nibabel.aff2axcodes(a)))
def test_planes_are_those_of_the_closest_canonical_image(affine: np.ndarray) -> None:
    """nibabel turns the image to RAS; on the picture right is left, and front and top are up."""
    values = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    any_nibabel: Any = nibabel
    turned = any_nibabel.as_closest_canonical(any_nibabel.Nifti1Image(values.astype(np.int32), affine))
    canonical = np.asarray(turned.dataobj)
    frame = frame_of(grid(affine))
    assert frame.shape == canonical.shape
    assert frame.spacing_mm == pytest.approx(turned.header.get_zooms())
    for axis, name in enumerate(PLANES):
        own = frame.axes[axis]
        index = 2
        there = values.shape[own] - 1 - index if frame.flipped[axis] else index
        expected = np.take(canonical, there, axis=axis)[::-1, ::-1].T
        assert plane_of(boxed(values), frame, name, index).tolist() == expected.tolist()


def test_letters_of_an_lps_image_stand_where_the_patient_is() -> None:
    """AFFINE is that of BraTS: x runs to the left, y to the front (of a flipped file), z to the top."""
    frame = frame_of(grid())
    assert (frame.axes, frame.flipped) == ((0, 1, 2), (True, True, False))
    top_left = {"axial": "x and y are smallest", "coronal": "x is smallest, z largest"}
    values = np.zeros((5, 6, 7))
    values[0, 0, 3] = 1
    assert plane_of(boxed(values), frame, "axial", 3)[0, 0] == 1, top_left["axial"]  # right, front
    values = np.zeros((5, 6, 7))
    values[0, 2, 6] = 1
    assert plane_of(boxed(values), frame, "coronal", 2)[0, 0] == 1, top_left["coronal"]
    assert SIDES["axial"] == ("R", "L", "A", "P")


def test_a_photograph_keeps_its_left_and_its_top() -> None:
    frame = frame_of(grid(np.eye(4), (4, 3, 1), placed=False))
    values = np.arange(12).reshape(4, 3, 1)
    assert visible_planes(frame) == ["axial"]
    assert plane_of(boxed(values), frame, "axial", 0).tolist() == values[:, :, 0].T.tolist()


@pytest.mark.parametrize("affine", axis_aligned()[::5])
def test_a_box_lies_where_its_plane_shows_it(affine: np.ndarray) -> None:
    frame = frame_of(grid(affine))
    part = Boxed(np.ones((2, 1, 3), bool), (1, 4, 2), (5, 6, 7))
    box = ((1, 3), (4, 5), (2, 5))
    for name in PLANES:
        axis = frame.axes[PLANES.index(name)]
        plane = plane_of(part, frame, name, box[axis][0])
        rows, columns = np.nonzero(plane)
        width, height = size_mm(frame, name)
        center = (
            (columns.min() + columns.max() + 1) / 2 * width / plane.shape[1],
            (rows.min() + rows.max() + 1) / 2 * height / plane.shape[0],
        )
        assert center_mm(frame, name, box) == pytest.approx(center)
        assert not plane_of(part, frame, name, 0).any() or box[axis][0] == 0


def test_oblique_axes_are_named_by_the_nearest() -> None:
    assert frame_of(grid(OBLIQUE)).axes == (0, 1, 2)
    assert frame_of(grid(OBLIQUE)).flipped == (False, False, False)


def test_a_window_stays_in_the_plane_and_a_smaller_plane_lies_in_its_middle() -> None:
    inside = window_around((2, 50), (20, 20), (100, 100))
    assert (inside.left, inside.right, inside.top, inside.bottom) == (0, 20, 40, 60)
    around = window_around((2, 5), (20, 20), (10, 100))
    assert (around.left, around.right, around.top, around.bottom) == (-5, 15, 0, 20)


def test_the_crop_leaves_room_and_thick_slices_do_not_blow_it_up() -> None:
    frame = frame_of(grid(np.diag([0.5, 0.5, 6, 1]), (200, 200, 30)))
    box = ((10, 70), (10, 20), (3, 5))  # 30 mm, 5 mm, 12 mm
    assert crop_mm(box, box, frame, (0.5, 0.5, 6.0)) == pytest.approx(48)
    speck = ((10, 11), (10, 11), (3, 4))
    assert crop_mm(speck, speck, frame, (0.5, 0.5, 6.0)) == 20
    assert crop_mm(speck, ((0, 200), (0, 200), (0, 30)), frame, (0.5, 0.5, 6.0)) == pytest.approx(126)


def test_a_plane_of_more_pixels_than_a_panel_is_thinned() -> None:
    assert thinned(np.zeros((1025, 40))).shape == (342, 40)
    assert thinned(np.zeros((512, 512))).shape == (512, 512)


def test_gray_levels_leave_the_background_black() -> None:
    values = np.zeros((10, 10, 10))
    values[2:8, 2:8, 2:8] = np.linspace(100, 200, 216).reshape(6, 6, 6)
    low, high = gray_levels(values)
    assert low == 0
    assert 200 < high < 240
    low, high = gray_levels(np.where(values > 0, values - 150, -1024))
    assert -50 <= low < -40  # of a CT the air does not count
    assert gray_levels(np.zeros((3, 3, 3))) == (0.0, 1.0)


def test_colors_lie_on_their_voxels_and_let_the_anatomy_through() -> None:
    gray = np.array([[0.0, 1.0], [0.5, 0.5]])
    marked = np.array([[True, False], [False, True]])
    picture = colored(gray, [(marked, (0.0, 1.0, 0.0))], 0.5)
    assert picture[0, 0].tolist() == [0, 128, 0]
    assert picture[0, 1].tolist() == [255, 255, 255]
    assert picture[1, 1].tolist() == [64, 191, 64]
    assert picture[1, 0].tolist() == [128, 128, 128]


def test_true_and_false_voxels_have_the_colors_of_okabe_and_ito_in_the_drawing() -> None:
    """Reference in columns 1 and 2, prediction in 2 and 3 of a 5 x 5 image: in the middle of voxels."""
    reference, prediction = (np.zeros((5, 5, 1), bool) for _ in range(2))
    reference[1:3, 2], prediction[2:4, 2] = True, True
    frame = frame_of(grid(np.eye(4), (5, 5, 1), placed=False))
    shown = panels.Shown(frame, (2, 2, 0), ((0, 5), (0, 5), (0, 1)), (1.0, 1.0, 1.0))
    sides = panels.Sides(reference, prediction, (0, 0, 0), (5, 5, 1))
    whole = panels.side_panels(shown, sides, None, [])[-1]  # the overview: without hatches and outlines
    pixels = drawn_alone(whole)
    flat = np.full(3, panels.FLAT)

    def expected(color: tuple[float, float, float]) -> np.ndarray:
        return 255 * (0.25 * flat + 0.75 * np.array(color))

    assert pixels[250, 150] == pytest.approx(expected(panels.BLUE), abs=1)  # missed
    assert pixels[250, 250] == pytest.approx(expected(panels.GREEN), abs=1)
    assert pixels[250, 350] == pytest.approx(expected(panels.VERMILLION), abs=1)
    assert pixels[150, 250] == pytest.approx(255 * flat, abs=1)


def test_errors_are_told_apart_without_colors() -> None:
    """Both kinds are hatched in black, each in its own way, and agreement is not."""
    share = {}
    for name, ours, theirs in (("tp", 1, 1), ("fp", 0, 1), ("fn", 1, 0)):
        shape = (5, 5, 1)
        reference, prediction = np.zeros(shape, bool), np.zeros(shape, bool)
        reference[1:4, 1:4], prediction[1:4, 1:4] = bool(ours), bool(theirs)
        frame = frame_of(grid(np.eye(4), shape, placed=False))
        shown = panels.Shown(frame, (2, 2, 0), ((0, 5), (0, 5), (0, 1)), (1.0, 1.0, 1.0))
        sides = panels.Sides(reference, prediction, (0, 0, 0), shape)
        pixels = drawn_alone(panels.side_panels(shown, sides, None, [])[0])[120:380, 120:380]
        share[name] = float((pixels.max(axis=2) < 40).mean())
    assert share["tp"] == 0
    assert 0.03 < share["fp"] < 0.5
    assert 0.03 < share["fn"] < 0.5


def drawn_alone(panel: page.Panel) -> np.ndarray:
    """A panel on 500 x 500 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    panel.draw(axes)
    # whatever window the page would give
    axes.set_xlim(0, 5)
    axes.set_ylim(5, 0)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


# ---------------------------------------------------------------- choice


def test_the_worst_lesion_is_the_largest_that_was_missed_or_is_spurious() -> None:
    found = LesionFacts("found", 1, 900, 0.1)
    missed, spurious = LesionFacts("missed", 2, 50), LesionFacts("spurious", 1, 60)
    assert worst_lesion([found, missed, spurious]) == spurious
    assert worst_lesion([found, missed, spurious._replace(voxels=50)]) == missed
    better = found._replace(number=3, dice=0.2)
    assert worst_lesion([better, found]) == found
    assert worst_lesion([]) is None


def test_the_largest_connected_error_and_what_it_belongs_to() -> None:
    one = (
        cube((9, 9, 9), (slice(0, 2), slice(0, 2), slice(0, 2)), (slice(4, 6), slice(4, 6), slice(4, 8))) > 0
    )
    other = cube((9, 9, 9), (slice(0, 3), slice(6, 9), slice(0, 1))) > 0
    found = largest_component(other, one)
    assert found is not None
    which, part = found
    assert (which, part.sum()) == (1, 16)
    assert bounds(part) == ((4, 6), (4, 6), (4, 8))
    assert component_with(one | other, part).sum() == 16
    assert largest_component(np.zeros((2, 2, 2), bool)) is None


def test_planes_go_through_most_of_the_lesion_and_through_its_middle() -> None:
    mask = cube((9, 9, 9), (slice(1, 4), slice(2, 3), slice(3, 8))) > 0
    mask[7, 2, 3] = True
    assert heaviest_planes(mask) == (2, 2, 3)
    through = cube((9, 9, 9), (slice(3, 5), slice(2, 3), slice(0, 9))) > 0
    assert heaviest_planes(mask, through) == (3, 2, 3)
    assert heaviest_planes(mask, np.zeros_like(through)) == (2, 2, 3)


def test_the_worst_region_is_that_of_the_ranked_metrics() -> None:
    challenge = GLI.challenge

    def scores(**of: tuple[float | None, float | None]) -> list[Score]:
        pairs = [
            (r, m, v)
            for r, both in of.items()
            for m, v in zip(("lesion_dice", "lesion_hd95"), both, strict=True)
        ]
        return [Score(region, metric, value, value, "ok") for region, metric, value in pairs]

    assert by_badness(challenge, scores(WT=(0.9, 3), TC=(0.5, 90), ET=(0.7, 4)))[0] == "TC"
    assert by_badness(challenge, scores(WT=(0.9, 3), TC=(0.9, 3), ET=(0.9, 3))) == ["WT", "TC", "ET"]
    assert by_badness(challenge, scores(WT=(None, None), TC=(1, 0), ET=(1, 0)))[-1] == "WT"


# ---------------------------------------------------------------- text


def test_text_of_strangers_is_text() -> None:
    assert page.plain("$\\frac{1}{2}$ <b>&amp;") == "$\\frac{1}{2}$ <b>&amp;"
    assert page.plain("a\x1b[31m\u202eb") == "a\\x1b[31m\\u202eb"
    assert page.plain("腫瘍") == "\\u816b\\u760d"  # the font has no such letters
    assert page.plain("Müller ≥ 3 mm³") == "Müller ≥ 3 mm³"


def test_long_text_is_wrapped_and_the_middle_of_what_is_longer_left_out() -> None:
    name = "W" * 250 + "i" * 250
    for lines in (1, 2):
        fitted = page.fitted(name, 600, 20, lines=lines)
        assert len(fitted) == lines
        assert all(page.measured(line, 20) <= 600 for line in fitted)
        assert fitted[0].startswith("WWW")
        assert fitted[-1].endswith("iii")
        assert "..." in "".join(fitted)
    assert page.fitted("a few words that need two lines here", 200, 20, lines=2) == [
        "a few words that",
        "need two lines here",
    ]
    assert page.fitted("", 100, 20) == []


def test_numbers_have_three_digits_that_count() -> None:
    texts = {0.9554: "0.955", 373.13: "373", 0.0: "0", 12345.6: "12346", 1.5e-7: "1.5e-07", 1.0: "1"}
    assert {value: number_text(value) for value in texts} == texts
    assert number_text(None) == "-"


def test_what_a_rule_gave_has_a_star_and_a_footnote() -> None:
    scores = [
        Score("WT", "lesion_dice", 0.5, 0.5, "ok"),
        Score("TC", "lesion_dice", 0.0, None, "empty_prediction", "no lesion was matched"),
    ]
    columns, rows, notes = table_of(scores, GLI.challenge)
    assert columns == ["WT", "TC"]
    assert rows == [("lesion_dice", ["0.5", "0*"])]
    assert notes == ["* empty prediction in TC: no lesion was matched"]


# ---------------------------------------------------------------- whole pictures


def pictured(
    tmp_path: Path,
    reference: np.ndarray,
    prediction: np.ndarray | None,
    affine: np.ndarray = AFFINE,
    *,
    other: np.ndarray | None = None,
    team: str = "team",
    rulebook: Rulebook = GLI,
    geometry: str = "",
    **more: Any,
) -> Picture:
    """Save, score and draw one case; other: the affine of the prediction."""
    save(tmp_path / "r" / "BraTS-GLI-00001-000-seg.nii.gz", reference, affine)
    (tmp_path / "p").mkdir(exist_ok=True)
    if prediction is not None:
        save(tmp_path / "p" / "BraTS-GLI-00001-000.nii.gz", prediction, affine if other is None else other)
    (case,) = plan_cases(rulebook, {team: tmp_path / "p"}, tmp_path / "r")[0]
    result = score_case(Rules(rulebook, geometry), case)
    record = CaseRecord(result.scores, result.problems)
    return draw(with_geometry(rulebook.challenge, geometry), case, record, **more)


def pixels_of(picture: Picture) -> np.ndarray:
    with Image.open(io.BytesIO(picture.png)) as image:
        return np.asarray(image.convert("RGB"))


def share_of(picture: Picture, color: tuple[float, float, float]) -> float:
    """Share of pixels of a color over flat gray, as in panels."""
    wanted = 255 * ((1 - panels.OPACITY) * panels.FLAT + panels.OPACITY * np.array(color))
    return float((np.abs(pixels_of(picture)[100:440] - wanted).max(axis=2) < 6).mean())


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return phantom(np.random.default_rng(7))


def test_a_missed_lesion_is_shown_and_said(tmp_path: Path, labels: np.ndarray) -> None:
    without = labels.copy()
    without[30:] = 0  # the small lesion
    picture = pictured(tmp_path, labels, without)
    assert picture.lesion.startswith("the largest missed lesion, 80 mm³")
    assert "1 found (TP), 0 spurious (FP), 1 missed (FN)" in picture.lesion
    assert picture.planes == {"sagittal": 34, "coronal": 32, "axial": 5}  # through the middle of its box
    assert share_of(picture, panels.BLUE) > 0.005
    assert share_of(picture, panels.VERMILLION) == 0
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.width == 1200
        assert image.height < 700
    assert len(picture.png) < 150_000


def test_a_spurious_lesion_is_shown_and_said(tmp_path: Path, labels: np.ndarray) -> None:
    reference = labels.copy()
    reference[30:] = 0
    picture = pictured(tmp_path, reference, labels)
    assert picture.lesion.startswith("the largest spurious lesion, 80 mm³")
    assert share_of(picture, panels.VERMILLION) > 0.005
    assert share_of(picture, panels.BLUE) == 0


def test_a_found_lesion_is_that_of_the_smallest_dice(tmp_path: Path, labels: np.ndarray) -> None:
    moved = labels.copy()
    moved[30:] = np.roll(labels[30:], 2, axis=1)  # half of the small lesion, on a box of 4 x 4 x 5
    picture = pictured(tmp_path, labels, moved)
    assert picture.lesion.startswith("the found lesion of the smallest Dice, 0.500, 80 mm³")


def test_the_same_files_give_the_same_bytes_without_a_date(tmp_path: Path, labels: np.ndarray) -> None:
    first, second = (pictured(tmp_path, labels, np.roll(labels, 1, axis=0)) for _ in range(2))
    assert first == second
    assert {kind for kind, _ in chunks(first.png)} == {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


def chunks(png: bytes) -> list[tuple[bytes, int]]:
    place, found = 8, []
    while place < len(png):
        size, kind = struct.unpack_from(">I4s", png, place)
        found.append((kind, size))
        place += size + 12
    return found


ODD = {
    "one slice": ((slice(None), slice(None), slice(5, 6)), AFFINE),
    "a slab of one sagittal plane": ((slice(33, 34), slice(None), slice(None)), AFFINE),
    "one voxel": ((slice(33, 34), slice(31, 32), slice(5, 6)), AFFINE),
    "oblique": ((slice(None),) * 3, OBLIQUE),
    "flipped": ((slice(None),) * 3, np.diag([1.0, -1, -1, 1])),
    "turned": ((slice(None),) * 3, np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])),
    "thick slices": ((slice(None),) * 3, np.diag([0.5, 0.5, 6, 1])),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_grids_have_pictures(tmp_path: Path, labels: np.ndarray, name: str) -> None:
    part, affine = ODD[name]
    picture = pictured(tmp_path, labels[part], np.roll(labels, 1, axis=1)[part], affine)
    assert picture.region in ("WT", "TC", "ET")
    assert share_of(picture, panels.GREEN) > 0 or 1 in labels[part].shape


@pytest.mark.parametrize("sides", ["neither", "only the reference", "only the prediction", "no error"])
def test_empty_masks_have_pictures(tmp_path: Path, labels: np.ndarray, sides: str) -> None:
    nothing = np.zeros_like(labels)
    reference = nothing if sides in ("neither", "only the prediction") else labels
    prediction = nothing if sides in ("neither", "only the reference") else labels
    picture = pictured(tmp_path, reference, prediction)
    said = {
        "neither": "nothing is marked on either side",
        "only the reference": "the largest missed lesion",
        "only the prediction": "the largest spurious lesion",
        "no error": "the found lesion of the smallest Dice, 1.000",
    }
    assert picture.lesion.startswith(said[sides])


def test_without_a_prediction_the_reference_is_drawn_with_the_reason(
    tmp_path: Path, labels: np.ndarray
) -> None:
    picture = pictured(tmp_path, labels, None)
    assert "No prediction is drawn: no prediction was submitted." in picture.caption
    assert share_of(picture, panels.BLUE) > 0.005
    broken = tmp_path / "p" / "BraTS-GLI-00001-000.nii.gz"
    broken.write_bytes(b"no image")
    picture = pictured(tmp_path, labels, None)
    assert "BraTS-GLI-00001-000.nii.gz: this is not a NIfTI file" in picture.caption
    assert str(tmp_path) not in picture.caption + picture.alt + picture.title


def test_a_prediction_elsewhere_is_drawn_as_it_was_scored(tmp_path: Path, labels: np.ndarray) -> None:
    """Shifted by four voxels, as its affine says: the same place when resampled, another if ignored."""
    shift = AFFINE.copy()
    shift[0, 3] += 4  # x runs to the left: four voxels back
    moved = np.roll(labels, 4, axis=0)
    strict = pictured(tmp_path, labels, moved, other=shift)
    assert "corner voxels are up to 4 mm off" in strict.caption
    resampled = pictured(tmp_path, labels, moved, other=shift, geometry="resample")
    assert "smallest Dice, 1.000" in resampled.lesion
    ignored = pictured(tmp_path, labels, moved, other=shift, geometry="ignore")
    assert "smallest Dice, 1.000" not in ignored.lesion
    assert "No prediction" not in ignored.caption


def test_many_grays_leave_the_colors_as_they_are(tmp_path: Path, labels: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(500, 60, labels.shape)
    image = save(tmp_path / "t1c.nii.gz", noise, dtype=np.float32)
    legend = pixels_of(pictured(tmp_path, labels, np.roll(labels, 1, axis=0), image=image))[450:, 860:]
    for color in (panels.GREEN, panels.VERMILLION, panels.BLUE):
        off = np.abs(legend - 255 * np.array(color)).max(axis=2)
        assert (off < 16).mean() > 0.002


def test_a_region_may_be_chosen_and_an_unknown_one_is_an_error(tmp_path: Path, labels: np.ndarray) -> None:
    assert pictured(tmp_path, labels, labels, region="TC").region == "TC"
    with pytest.raises(UsageError, match="XX is no region") as error:
        pictured(tmp_path, labels, labels, region="XX")
    assert error.value.problems[0].hint == "--region is one of WT, TC, ET"


def test_anatomy_is_drawn_below_the_masks(tmp_path: Path, labels: np.ndarray) -> None:
    ramp = np.broadcast_to(np.linspace(100, 900, labels.shape[0])[:, None, None], labels.shape)
    image = save(tmp_path / "t1c.nii.gz", ramp, dtype=np.float32)
    picture = pictured(tmp_path, labels, labels, image=image)
    gray = pixels_of(picture)[110:430, 310:600]  # the coronal plane: from left to right
    middle = np.median(gray.reshape(-1, gray.shape[1], 3)[10:40].mean(axis=2), axis=0)
    assert middle[250] > middle[30] + 20
    small = save(tmp_path / "small.nii.gz", ramp[:9], dtype=np.float32)
    with pytest.raises(UsageError, match=r"^small.nii.gz: the shape is \(9, 36, 30\)"):
        pictured(tmp_path, labels, labels, image=small)


HOSTILE = [
    '<script>alert(1)</script> =HYPERLINK("x") $\\frac{1}{0}$ &"\'`',
    "a\x1b[31m\u202e\nb 腫瘍 الورم",
    "W" * 500,
]


@pytest.mark.parametrize("team", HOSTILE, ids=lambda name: ascii(name)[:12])
def test_hostile_names_are_text(tmp_path: Path, labels: np.ndarray, team: str) -> None:
    """pytest turns every warning (of a missing letter, too) into an error."""
    picture = pictured(tmp_path, labels, np.roll(labels, 1, axis=0), team=team)
    assert picture.title.isprintable()
    assert picture.alt.isprintable()
    assert len(picture.title) < 200
    assert pixels_of(picture).shape[1] == 1200


def test_rows_of_other_cohorts_are_none_of_the_case(tmp_path: Path, labels: np.ndarray) -> None:
    save(tmp_path / "r" / "BraTS-GLI-00001-000-seg.nii.gz", labels)
    save(tmp_path / "p" / "BraTS-GLI-00001-000.nii.gz", labels)
    (case,) = plan_cases(GLI, {"team": tmp_path / "p"}, tmp_path / "r")[0]
    own = Score("WT", "lesion_dice", 1.0, 1.0, "ok")
    other = Score("GTV", "lesion_dice", None, None, "not_applicable", "not scored in cohort GLI")
    picture = draw(GLI.challenge, case, CaseRecord((own, other)))
    assert picture.numbers == (own,)
    assert "GTV" not in picture.alt + picture.caption


def test_the_marked_region_is_shown_however_many_there_are() -> None:
    names = [f"a region of a long name {number}" for number in range(12)]
    numbers = page.Numbers(names, [("dice", ["0.123"] * 12)], names[9])
    shown = [at for at, _, _ in page._columns(numbers, 700)]
    assert 9 in shown
    assert shown[:2] == [0, 1]
    assert len(shown) < 12
    assert len(page._columns(numbers, 5000)) == 12


def test_a_team_that_crashed_is_not_read_again(tmp_path: Path, labels: np.ndarray) -> None:
    save(tmp_path / "r" / "BraTS-GLI-00001-000-seg.nii.gz", labels)
    save(tmp_path / "p" / "BraTS-GLI-00001-000.nii.gz", labels)
    (case,) = plan_cases(GLI, {"team": tmp_path / "p"}, tmp_path / "r")[0]
    assert isinstance(case, Case)
    lost = "case 00001-000 could not be finished: its worker process died (killed by signal 9)"
    record = CaseRecord((Score("WT", "lesion_dice", 0.0, None, "crashed", lost),))
    assert f"No prediction is drawn: {lost}." in draw(GLI.challenge, case, record).caption
