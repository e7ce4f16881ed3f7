"""Write ``sample_data/``: synthetic references of every kind of challenge and three teams' submissions.

Here are the two large segmentation cohorts; ``sample_kinds``, ``sample_organs``, ``sample_synthesis`` and
``sample_tables`` have the others, ``sample_drawing`` the tools.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from sample_drawing import (
    TOUCHING,
    Cohort,
    Field,
    Image,
    Labels,
    Mask,
    Random,
    encode,
    is_same,
    random_source,
    redraw,
    smooth_field,
)
from sample_kinds import federation, raters, registration, uncertainty
from sample_organs import ear, liver, skin
from sample_synthesis import inpainting, missing_modality
from sample_tables import methylation, patches, patches_of_2026, ratings, recurrence
from scipy import ndimage

Point = npt.NDArray[np.int_]
SHAPE = (240, 240, 155)
NETC, SNFH, ET, RC = 1, 2, 3, 4


class Lesion(NamedTuple):
    """``size`` mm3, of which the fraction ``core`` does not enhance, in about ``edema`` mm of SNFH."""

    size: int
    core: float = 0.0
    edema: float = 0.0
    at: tuple[int, int, int] | Literal["free", "beside"] = "free"  # beside: all but touching the last one
    cavity: bool = False  # the core is a resection cavity, the rim is incomplete

    @property
    def radius(self) -> float:
        return float(np.cbrt(0.75 * self.size / np.pi))


# An ellipsoid cut off by the lower image border, without its lateral ventricles.
X, Y, Z = np.ogrid[tuple(slice(size) for size in SHAPE)]
SIDE = (np.abs(X - 120) - 9 - np.abs(Y - 120) / 6) / 6
BRAIN = ((X - 120) / 68) ** 2 + ((Y - 122) / 86) ** 2 + ((Z - 70) / 76) ** 2 < 1
BRAIN &= SIDE**2 + ((Y - 120) / 34) ** 2 + ((Z - 82) / 11) ** 2 >= 1


def around(center: Point, reach: float) -> tuple[slice, ...]:
    return tuple(slice(max(c - int(reach), 0), c + int(reach) + 1) for c in center.tolist())


def free_center(rng: Random, labels: Labels, lesion: Lesion, gap: int) -> Point:
    """A random place in the brain with no label within about ``gap`` mm of the lesion."""
    while True:
        center = (rng.random(3) * SHAPE).astype(int)
        free = not labels[around(center, lesion.radius + 1.5 * lesion.edema + gap)].any()
        if free and BRAIN[around(center, lesion.radius + 1)].all():
            return center


def lowest(values: Field, count: int, allowed: Mask) -> Mask:
    """The ``count`` allowed voxels of lowest value, or rather their largest connected piece."""
    mask = np.zeros(values.shape, dtype=bool)
    mask.flat[np.argsort(np.where(allowed, values, np.inf), axis=None, kind="stable")[:count]] = True
    pieces, found = ndimage.label(mask & allowed)
    return np.asarray(pieces == (np.bincount(pieces.ravel())[1:].argmax() + 1 if found else -1))


def paint(labels: Labels, rng: Random, center: Point, lesion: Lesion) -> None:
    """Draw a warped ellipsoid of core and rim that touches no other one's, and edema around it."""
    box = around(center, 1.8 * lesion.radius + 2.5 * lesion.edema + 5)
    view, coarse = labels[box], max(3, int(0.8 * lesion.radius))
    allowed = BRAIN[box] & ~ndimage.binary_dilation((view > 0) & (view != SNFH), TOUCHING)
    grid = np.moveaxis(np.indices(view.shape), 0, -1) + [s.start for s in box] - center
    warp = np.stack([smooth_field(rng, view.shape, coarse) for _ in range(3)], axis=-1)
    stretched = (grid + 0.2 * lesion.radius * warp) @ (np.eye(3) + 0.5 * (rng.random((3, 3)) - 0.5))
    distance = np.round(np.sqrt((stretched**2).sum(axis=-1)), 3)
    solid = lowest(distance, lesion.size, allowed)
    rim = smooth_field(rng, view.shape, coarse)
    inside = solid if lesion.core == 1 else ndimage.binary_erosion(solid, border_value=1)
    core = lowest(distance + 0.12 * lesion.radius * rim, int(lesion.core * lesion.size), inside)
    spread = ndimage.distance_transform_edt(~solid) + 0.6 * lesion.edema * smooth_field(rng, view.shape, 10)
    swollen = (np.round(spread, 3) < lesion.edema) & BRAIN[box]
    swollen = ndimage.binary_propagation(solid, mask=swollen | solid)
    view[swollen & (view == 0)] = SNFH
    view[solid & ((rim > -0.4) | (not lesion.cavity))] = ET
    view[core] = RC if lesion.cavity else NETC


def draw_reference(rng: Random, lesions: list[Lesion]) -> Labels:
    labels, center, previous = np.zeros(SHAPE, dtype=np.uint8), np.zeros(3, dtype=int), 0.0
    for lesion in lesions:
        if lesion.at == "beside":
            step = rng.random(3) - 0.5
            step *= (previous + lesion.radius + 1) / np.sqrt((step**2).sum())
            center = center + np.round(step).astype(int)
        else:
            center = free_center(rng, labels, lesion, 9) if lesion.at == "free" else np.array(lesion.at)
        paint(labels, rng, center, lesion)
        previous = lesion.radius
    return labels


def exaggerate(labels: Labels, rng: Random) -> Labels:
    """Over-segment, exchange NETC and ET in patches, add two or three blobs far from any lesion."""
    drawn = redraw(labels, rng, blur=1.5, bias=-0.7, wobble=0.15, small="grow")
    exchanged = np.array([0, ET, SNFH, NETC, RC], dtype=np.uint8)[drawn]
    drawn = np.where(smooth_field(rng, SHAPE, 8) > 0.9, exchanged, drawn)
    for blob in (Lesion(60), Lesion(300, 0.2, 2), Lesion(900, 0.3, 3))[: 2 + int(2 * rng.random())]:
        paint(drawn, rng, free_center(rng, drawn, blob, 20), blob)
    return drawn


def segmentation(kind: str, cases: list[list[Lesion]], shifted: int, missing: int, empty: int) -> Cohort:
    """References and predictions; the numbers name the cases that ``patchy`` spoils."""
    cohort = f"brats-{kind.lower()}"
    for number, lesions in enumerate(cases, start=1):
        case = f"BraTS-{kind}-{number:05d}-000"
        source = {
            role: random_source(cohort, case, role) for role in ("reference", "steady", "bold", "patchy")
        }
        labels = draw_reference(source["reference"], lesions)
        yield f"{cohort}/references/{case}-seg.nii.gz", Image(labels)
        drawn = {
            "steady": redraw(labels, source["steady"], blur=1.2, bias=0.2, wobble=0.12, small="drop"),
            "bold": exaggerate(labels, source["bold"]),
            "patchy": redraw(labels, source["patchy"], blur=0.7, bias=0.0, wobble=0.1, small="keep"),
        }
        if number == shifted:
            drawn["patchy"] = np.roll(drawn["patchy"], (9, -6, 4), axis=(0, 1, 2))
        if number == empty:
            drawn["patchy"] = np.zeros_like(labels)
        if number == missing:
            del drawn["patchy"]
        yield from ((f"{cohort}/submissions/{team}/{case}.nii.gz", Image(drawn[team])) for team in drawn)


def glioma() -> Cohort:
    foci = [Lesion(9000, 0.35, 7, (84, 140, 78)), Lesion(4000, 0.3, 5, "beside")]
    cases = [
        [Lesion(26000, 0.5, 10, (88, 105, 85))],  # a ring around a necrotic core
        [Lesion(15000, 1.0, 6, (152, 85, 80))],  # no ET
        [*foci, Lesion(45, at=(148, 90, 95)), Lesion(15, at=(140, 160, 60))],  # two satellites
        [Lesion(17000, 0.75, 7, (150, 150, 90), cavity=True), Lesion(8, at=(95, 100, 70))],
        [Lesion(7000, 0.0, 9, (105, 70, 75))],  # no NETC
        [Lesion(5000, 0.3, 5, (128, 140, 7))],  # cut off by the border at z=0
    ]
    return segmentation("GLI", cases, shifted=3, missing=5, empty=6)


def metastases() -> Cohort:
    large = [Lesion(8200, 0.45, 7), Lesion(3000, 0.4, 5), Lesion(1200, 0.3, 4), Lesion(500, 0.2, 3)]
    pair = [Lesion(1800, 0.35), Lesion(700, 0.2, 0, "beside"), Lesion(150), Lesion(45, 0, 0, "beside")]
    chain = [Lesion(400), Lesion(300, 0, 0, "beside"), Lesion(90, 0, 0, "beside")]
    cut = Lesion(1500, 0.3, 4, (112, 130, 3))
    cases = [
        large + [Lesion(size) for size in (260, 180, 110, 70, 40, 15, 7, 1)],
        [*pair, *chain, Lesion(18)],  # neighbors that merge by dilation
        [cut, Lesion(2400, 0.4, 6), Lesion(120), Lesion(30), Lesion(9)],
        [Lesion(size) for size in (130, 85, 60, 48, 30, 19, 12, 9, 5, 1)],  # ET only
        [Lesion(1600, 1.0, 5), Lesion(600, 1.0, 4), Lesion(60, 1.0)],  # no ET
        [Lesion(7000, 0.6, 9), Lesion(55), Lesion(4)],
    ]
    return segmentation("MET", cases, shifted=2, missing=4, empty=6)


COHORTS = (
    *(glioma, metastases, registration, uncertainty, raters, federation),
    *(inpainting, missing_modality, liver, ear, skin),
    *(patches, patches_of_2026, methylation, recurrence, ratings),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the sample data, or check it.")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent.parent / "sample_data")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    options = parser.parse_args()
    differing = 0
    for name, content in (file for cohort in COHORTS for file in cohort()):
        path = options.output / name
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(content))
        elif not is_same(path, content):
            differing += 1
            print(f"differs or is missing: {path}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
