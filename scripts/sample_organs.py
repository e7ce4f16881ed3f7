"""Small samples of segmentation outside the brain's tumors: liver, ear, skin.

Every function yields the files of one folder of ``sample_data/``: three teams, of which one does well, one
less so, and one hands in what an evaluator must notice. Which fault is where: ``sample_data/README.md``.
"""

from __future__ import annotations

import numpy as np
from sample_drawing import (
    Cohort,
    Image,
    Labels,
    Mask,
    Picture,
    Place,
    Random,
    distance_from,
    random_source,
    redraw,
    smooth_field,
    stepped,
)
from scipy import ndimage

GRID = (48, 48, 40)
WEB_PAGE = "<!DOCTYPE html><html><title>404 Not Found</title><body>Not Found</body></html>\n"


def blob(rng: Random, center: Place, radius: float, stretch: tuple[float, float, float]) -> Mask:
    """A warped ellipsoid on the common grid."""
    distance = distance_from(center, GRID, stretch) + 0.1 * radius * smooth_field(rng, GRID, 8)
    return np.round(distance, 3) < radius


def another_hand(mask: Mask, rng: Random, blur: float, bias: float, wobble: float, small: str) -> Mask:
    """``redraw`` for a mask."""
    return redraw(mask.astype(np.uint8), rng, blur, bias, wobble, small) > 0


# Liver and its lesions -------------------------------------------------------------------------------

LIVER, LESION = 1, 2
LIVER_SPACING = (1.5, 1.5, 2.0)
# Places (voxels from the middle) and radii (voxels) of the lesions in a case.
LESIONS: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    ((-6, -2, 2, 4.5), (8, 3, -4, 3.2)),
    ((0, 0, 0, 7.0),),
    ((-9, 0, 4, 1.3), (-3, 5, -3, 1.6), (4, -4, 2, 1.1), (9, 3, 5, 2.2), (0, 0, -7, 0.8), (6, 5, 0, 3.0)),
    ((-13, 0, 0, 4.0), (5, 2, 3, 2.5)),  # the first one sticks out of the liver
    (),
    ((-2, -4, -3, 3.2), (4.8, -4, -3, 3.0), (0, 6, 5, 2.6)),  # the first two all but touch
)


def liver() -> Cohort:
    """liver: six cases for LiTS and the Medical Segmentation Decathlon, which share labels and names."""
    middle = np.array(GRID) / 2
    for number, lesions in enumerate(LESIONS):
        name = f"test-segmentation-{number}"
        rng = random_source("liver", name, "reference")
        organ = blob(rng, middle + 2 * rng.random(3) - 1, 14, (1.15, 0.95, 0.9))
        spots = np.zeros(GRID, dtype=bool)
        for *place, radius in lesions:
            spots |= blob(rng, middle + place, radius, (1.0, 1.1, 0.9))
        yield f"liver/references/{name}.nii.gz", Image(_stacked(organ, spots), spacing=LIVER_SPACING)
        for team in ("keen", "cautious", "hurried"):
            if team == "hurried" and number == 1:
                continue  # missing
            drawn = _liver_of(team, number, name, organ, spots)
            yield f"liver/submissions/{team}/{name}.nii.gz", Image(drawn, spacing=LIVER_SPACING)


def _stacked(organ: Mask, spots: Mask) -> Labels:
    """Labels of both; a lesion may stick out of the organ."""
    return np.where(spots, LESION, organ * LIVER).astype(np.uint8)


def _liver_of(team: str, number: int, name: str, organ: Mask, spots: Mask) -> Labels:
    """The prediction of one case: organ and lesions, each by a hand of its own."""
    rng = random_source("liver", name, team)
    hands = {
        "keen": ((1.2, 0.0, 0.25), (0.8, 0.0, 0.12, "keep")),
        "cautious": ((0.8, 0.0, 0.12), (1.0, 0.18, 0.12, "drop")),
        "hurried": ((1.2, 0.0, 0.3), (1.0, 0.0, 0.2, "keep")),
    }
    outline, marks = hands[team]
    drawn = _stacked(another_hand(organ, rng, *outline, "keep"), another_hand(spots, rng, *marks))
    if team == "keen" and number == 1:
        drawn[24:26][drawn[24:26] == LESION] = LIVER  # one lesion in two pieces
    if team == "keen" and number in (0, 4):
        drawn[blob(rng, np.array(GRID) / 2 + (2, 7, 3), 2.5, (1, 1, 1))] = LESION  # where there is none
    if team == "hurried" and number == 3:
        return drawn[:, :, 2:-2]  # another grid
    if team == "hurried" and number == 5:
        drawn[2:5, 2:5, 2:5] = 3  # no such label
    return drawn


# Vestibular schwannoma and cochlea -------------------------------------------------------------------

SCHWANNOMA, COCHLEA = 1, 2
EAR_SPACING = (0.5, 0.5, 1.0)


def ear() -> Cohort:
    """crossmoda: four cases; ``deaf`` draws the best tumors and loses half of the cochleae."""
    for number, radius in enumerate((9.0, 5.0, 7.0, 3.5), start=1):
        name = f"crossmoda2021_ldn_{210 + number}_Label"
        rng = random_source("crossmoda", name, "reference")
        tumor = blob(rng, (28 + 2 * rng.random(), 24, 20 + 2 * rng.random()), radius, (1.3, 1.0, 0.7))
        cochlea = blob(rng, (9 + 2 * rng.random(), 20 + 2 * rng.random(), 20), 3.6, (1.0, 1.2, 0.7))
        yield f"crossmoda/references/{name}.nii.gz", _ear_image(tumor, cochlea)
        for team, wobble, seen in (
            ("thorough", 0.25, True),
            ("deaf", 0.12, number in (1, 4)),
            ("clumsy", 0.2, True),
        ):
            own = random_source("crossmoda", name, team)
            drawn = another_hand(tumor, own, 1.0, 0.0, wobble, "keep")
            inner = another_hand(cochlea, own, 0.8, 0.0, wobble, "keep") & seen
            image = _ear_image(drawn, inner)
            if team == "clumsy" and number == 2:
                continue  # missing
            if team == "clumsy" and number == 4:  # probabilities instead of labels
                soft = stepped(ndimage.gaussian_filter(drawn * 1.0, 1), 1 / 8)
                image = Image(soft, spacing=EAR_SPACING)
            broken = team == "clumsy" and number == 3
            yield f"crossmoda/submissions/{team}/{name}.nii.gz", WEB_PAGE if broken else image


def _ear_image(tumor: Mask, cochlea: Mask) -> Image:
    labels = np.where(cochlea, COCHLEA, tumor * SCHWANNOMA).astype(np.uint8)
    return Image(labels, spacing=EAR_SPACING)


# Skin lesions ----------------------------------------------------------------------------------------

PIXELS = (96, 80)  # width, height


def skin() -> Cohort:
    """skin: masks as PNG; ``generous`` writes NIfTI and draws too wide, ``slapdash`` any kind of PNG."""
    for number, radius in enumerate((26.0, 14.0, 20.0, 9.0, 30.0, 17.0), start=1):
        case = f"ISIC_{12000 + number:07d}"
        rng = random_source("skin", case, "reference")
        middle = [size / 2 + 8 * rng.random() - 4 for size in PIXELS]
        depth = distance_from(middle, PIXELS, (1.2, 0.9)) / radius + 0.12 * smooth_field(rng, PIXELS, 12)
        yield f"skin/references/{case}_segmentation.png", _picture(np.round(depth, 3) < 1)
        for team, reach, wobble in (("close", 1.0, 0.07), ("generous", 1.2, 0.06), ("slapdash", 1.0, 0.05)):
            seen = depth + wobble * smooth_field(random_source("skin", case, team), PIXELS, 10)
            mask = np.round(seen, 3) < reach
            name = f"skin/submissions/{team}/{case}"
            if team == "generous":
                plain = Image(mask[:, :, None].astype(np.uint8), is_plain=True)
                yield f"{name}_segmentation.nii.gz", plain
            elif team == "close":
                yield f"{name}_segmentation.png", _picture(mask)
            elif number != 2:  # missing
                yield f"{name}.png", _slapdash(number, mask)


def _picture(mask: Mask, white: int = 255) -> Picture:
    """A mask (x, y) as rows of pixels."""
    return Picture(np.ascontiguousarray((mask.T * white).astype(np.uint8)))


def _slapdash(number: int, mask: Mask) -> Picture:
    """One file of ``slapdash``: in colors, lying on its side, black on white, or 0 and 1."""
    if number == 3:
        return Picture(np.repeat(_picture(mask).pixels[:, :, None], 3, axis=2))
    if number == 4:
        return _picture(mask.T)
    return _picture(~mask) if number == 5 else _picture(mask, white=1)
