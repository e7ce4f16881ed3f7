"""Small samples of registration, uncertainty, several raters and federated training.

Every function yields the files of one folder of ``sample_data/``: three teams, of which one does well, one
less so, and one hands in what an evaluator must notice. Which fault is where: ``sample_data/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sample_drawing import (
    Cohort,
    Field,
    Image,
    Labels,
    Mask,
    Place,
    Random,
    distance_from,
    random_source,
    redraw,
    smooth_field,
    stepped,
)
from scipy import ndimage

REGISTRATION_GRID = (48, 48, 40)
TUMOR_GRID = (64, 64, 48)
WEEK_S = 604_800
NCR, ED, ET = 1, 2, 4


# Registration ----------------------------------------------------------------------------------------


def bump(center: Place, radius: float) -> Field:
    """1 at a point, smoothly 0 from ``radius`` mm on."""
    return np.clip(1 - (distance_from(center, REGISTRATION_GRID) / radius) ** 2, 0, None) ** 2


def smooth_shift(rng: Random, inside: Field, size: float) -> Field:
    """A displacement of about ``size`` mm that fades with ``inside``, (x, y, z, 3)."""
    parts = [smooth_field(rng, REGISTRATION_GRID, 16) for _ in range(3)]
    return size * inside[..., None] * np.stack(parts, axis=-1)


def shift_at(field: Field, points: Field) -> Field:
    """Trilinear vectors of a field at voxel positions (..., 3)."""
    places = np.moveaxis(points, -1, 0)
    parts = [ndimage.map_coordinates(field[..., axis], places, order=1, mode="nearest") for axis in range(3)]
    return np.stack(parts, axis=-1)


def carried_back(field: Field, moved: Field) -> Field:
    """The points that ``field`` takes to ``moved``: p + field(p) = moved, by repeated substitution."""
    points = moved
    for _ in range(25):
        points = moved - shift_at(field, points)
    return points


def inverse(field: Field) -> Field:
    """The displacement that undoes ``field``, on the same grid."""
    grid = np.moveaxis(np.indices(REGISTRATION_GRID, dtype=float), 0, -1)
    return carried_back(field, grid) - grid


def determinants(field: Field) -> Field:
    """det(I + du/dx) in every voxel; the fields here are 0 at the border, where definitions differ."""
    slopes = [[np.gradient(field[..., part], axis=axis) for axis in range(3)] for part in range(3)]
    (a, b, c), (d, e, f), (g, h, i) = (
        [slopes[part][axis] + (part == axis) for axis in range(3)] for part in range(3)
    )
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def landmark_table(positions: Iterable[Place]) -> str:
    """Voxel positions as a landmark file: ITK's world coordinates, in which y runs from -(ny - 1) to 0."""
    rows = ["Landmark,X,Y,Z"]
    for number, (x, y, z) in enumerate(positions, start=1):
        rows.append(f"{number},{x:.3f},{y - (REGISTRATION_GRID[1] - 1):.3f},{z:.3f}")
    return "\n".join(rows) + "\n"


def registration() -> Cohort:
    """brats-reg: the brain around a tumor moves between two scans; teams undo it more or less."""
    cohort = "brats-reg"
    for number, days in enumerate((106, 187, 64, 312), start=1):
        case = f"BraTSReg_{number:03d}"
        rng = random_source(cohort, case, "reference")
        center = np.array([24, 24, 20]) + np.round(4 * rng.random(3) - 2)
        inside = bump(center, 17)
        true = smooth_shift(rng, inside, 4.5)
        fixed = np.round(center + 18 * rng.random((5 + number, 3)) - 9, 1)
        moving = np.round(fixed + shift_at(true, fixed), 1)
        folder = f"{cohort}/references/{case}"
        yield f"{folder}/{case}_00_0000_landmarks.csv", landmark_table(fixed)
        yield f"{folder}/{case}_01_{days:04d}_landmarks.csv", landmark_table(moving)
        for rater in (1, 2, 3):
            marked = np.round(fixed + 2 * rng.random(fixed.shape) - 1, 1)
            yield f"{folder}/{case}_00_0000_landmarks_rater{rater}.csv", landmark_table(marked)
        yield f"{folder}/{case}_00_0000_t1ce.nii.gz", Image(_brain_of(center))
        yield from _registered(case, number, center, true, moving)


def _brain_of(center: Field) -> np.ndarray:
    head = (distance_from((23.5, 23.5, 19.5), REGISTRATION_GRID, (1.0, 1.1, 0.85)) < 20).astype(np.int16)
    return head * (400 + 300 * (distance_from(center, REGISTRATION_GRID) < 6)).astype(np.int16)


def _registered(case: str, number: int, center: Field, true: Field, moving: Field) -> Cohort:
    """Three teams' files of one case; ``loose`` spoils cases 2, 3 and 4."""
    inside = bump(center, 17)
    for team, share, noise in (("elastic", 0.9, 0.25), ("stiff", 0.4, 1.2), ("loose", 0.7, 0.9)):
        source = random_source("brats-reg", case, team)
        field = share * true + smooth_shift(source, inside, noise)
        if team == "loose" and number == 2:  # folds where no landmark is
            field[..., 0] += 9 * bump(np.add(center, (0, 0, -13)), 5)
        field = stepped(field, 0.125).astype(float)
        points = carried_back(field, moving)
        kept = points[:-1] if team == "loose" and number == 3 else points
        name = f"brats-reg/submissions/{team}/{case}"
        yield f"{name}.csv", landmark_table(kept)
        if team == "elastic":
            yield f"{name}_df_b2f.nii.gz", Image(field.astype(np.float32), is_field=True)
        elif team == "loose" and number == 4:  # vectors of NIfTI's axes in a file of ITK's
            flipped = (field * [-1, -1, 1] + 0.0).astype(np.float32)
            yield f"{name}_df_b2f.nii.gz", Image(flipped, is_field=True)
        else:
            yield f"{name}_detj.nii.gz", Image(stepped(determinants(field), 1 / 64))
        if team == "stiff":
            back = stepped(inverse(field), 0.125)
            yield f"{name}_df_f2b.nii.gz", Image(back, is_field=True)


# Uncertainty -----------------------------------------------------------------------------------------


def tumor(rng: Random, shape: tuple[int, int, int], radius: float, core: float) -> Labels:
    """A warped ellipsoid of edema around enhancing tumor around a necrotic core of ``core`` x its radius."""
    center = [size / 2 + 8 * rng.random() - 4 for size in shape]
    stretch = (0.8 + 0.4 * rng.random(3)).tolist()
    distance = np.round(
        distance_from(center, shape, stretch) + 0.12 * radius * smooth_field(rng, shape, 8), 3
    )
    labels = np.zeros(shape, dtype=np.uint8)
    for label, limit in ((ED, 1.6 * radius), (ET, radius), (NCR, core * radius)):
        labels[(distance < limit) & (limit > 0)] = label
    return labels


def brain_image(labels: Labels) -> np.ndarray:
    """A T1 in three grays, 0 outside the brain."""
    shape = labels.shape
    brain = distance_from([(size - 1) / 2 for size in shape], shape, [size / 64 for size in shape]) < 30
    return np.where(brain | (labels > 0), 500 - 100 * (labels == ED) - 200 * (labels == NCR), 0).astype(
        np.int16
    )


def claimed_doubt(team: str, rng: Random, truth: Mask, marked: Mask) -> Field:
    """Uncertainty 0 to 100: high at the errors and low on the rest of the border, none, or a wide band."""
    if team == "certain":
        return np.zeros(marked.shape)
    if team == "sloppy":
        return 100 * border(marked, 6)
    near = ndimage.gaussian_filter((truth != marked) * 1.0, 0.45)
    noise = 4 * smooth_field(rng, marked.shape, 6) * near
    return np.clip(110 * near + 8 * border(marked, 2) + noise, 0, 100)


def border(marked: Mask, width: float) -> Field:
    """1 on the border of a mask, falling to 0 at ``width`` voxels on either side."""
    if not marked.any():
        return np.zeros(marked.shape)
    edge = ndimage.binary_dilation(marked) & ~ndimage.binary_erosion(marked)
    return np.clip(1 - ndimage.distance_transform_edt(~edge) / width, 0, 1)


REGIONS = {"whole": (NCR, ED, ET), "core": (NCR, ET), "enhance": (ET,)}


def uncertainty() -> Cohort:
    """qu-brats: the same kind of segmentation, and three ways to say how sure one is of it."""
    cohort = "qu-brats"
    for number, (radius, core) in enumerate(((8, 0.5), (7, 0.0), (9, 0.7), (6.5, 0.4)), start=1):
        case = f"BraTS20_Validation_{number:03d}"
        labels = tumor(random_source(cohort, case, "reference"), TUMOR_GRID, radius, core)
        yield f"{cohort}/references/{case}_seg.nii.gz", Image(labels)
        yield f"{cohort}/references/{case}_t1.nii.gz", Image(brain_image(labels))
        for team, wobble in (("candid", 0.38), ("certain", 0.26), ("sloppy", 0.38)):
            rng = random_source(cohort, case, team)
            drawn = redraw(labels, rng, blur=1.4, bias=0.0, wobble=wobble, small="keep")
            name = f"{cohort}/submissions/{team}/{case}"
            yield f"{name}.nii.gz", Image(drawn)
            for region, members in REGIONS.items():
                if team == "sloppy" and (number, region) == (3, "enhance"):
                    continue  # missing
                truth, marked = (np.isin(side, members) for side in (labels, drawn))
                doubt = claimed_doubt(team, rng, truth, marked)
                if team == "sloppy" and number == 2:  # on a scale from 0 to 1
                    yield f"{name}_unc_{region}.nii.gz", Image(stepped(doubt / 100, 1 / 16))
                else:
                    yield f"{name}_unc_{region}.nii.gz", Image(stepped(doubt, 5, np.uint8))


# Several raters --------------------------------------------------------------------------------------


def raters() -> Cohort:
    """qubiq: masks of several raters, and maps of how many of them would mark a pixel."""
    for dataset, shape, cases, tasks, count in (
        ("prostate", (64, 64), 3, 2, 6),
        ("kidney", (64, 64), 3, 1, 3),
        ("pancreas", (32, 32, 16), 2, 1, 2),
    ):
        for number in range(1, cases + 1):
            for task in range(1, tasks + 1):
                yield from _rated(dataset, shape, f"case{number:02d}", f"task{task:02d}", count)


def _rated(dataset: str, shape: tuple[int, ...], case: str, task: str, count: int) -> Cohort:
    """One task of one case: an outline about which raters differ; its inner part is a second task's."""
    rng = random_source("qubiq", dataset, case, task)
    radius = min(shape) / (3.0 if task == "task01" else 6.0)
    middle = [size / 2 + size / 16 * (2 * rng.random() - 1) for size in shape]
    stretch = (0.85 + 0.3 * rng.random(len(shape))).tolist()
    outline = distance_from(middle, shape, stretch) + 0.08 * radius * smooth_field(rng, shape, 10)
    for rater in range(1, count + 1):
        own = random_source("qubiq", dataset, case, task, f"rater {rater}")
        reach = radius * (0.9 + 0.2 * own.random())
        moved = outline + 0.06 * radius * smooth_field(own, shape, 7)
        mask = (np.round(moved, 3) < reach).astype(np.uint8)
        yield f"qubiq/references/{dataset}/{case}/{task}_seg{rater:02d}.nii.gz", Image(mask)
    for team in ("graded", "binary", "careless"):
        if team == "careless" and (dataset, case, task) == ("prostate", "case02", "task02"):
            continue  # missing
        own = random_source("qubiq", dataset, case, task, team)
        width, drift = {"graded": (0.3, 0.02), "binary": (0.02, 0.02), "careless": (1.2, 0.1)}[team]
        seen = outline + drift * radius * smooth_field(own, shape, 7)
        chance = stepped(np.clip(0.5 - (seen - radius) / (width * radius), 0, 1), 1 / 32)
        if team == "binary":
            chance = np.round(chance).astype(np.uint8)
        if team == "careless" and (dataset, case) == ("kidney", "case03"):
            chance = chance * np.float32(100)  # percent
        yield f"qubiq/submissions/{team}/{dataset}/{case}/{task}.nii.gz", Image(chance)


# Federated training ----------------------------------------------------------------------------------


def federation() -> Cohort:
    """fets: six cases of three institutions, and the log of a training from every team."""
    institutions = (1, 1, 1, 2, 2, 3)
    cases = [f"FeTS2022_{number:05d}" for number in range(1, len(institutions) + 1)]
    listed = [f"{case},institution_{site}\n" for case, site in zip(cases, institutions, strict=True)]
    yield "fets/partitioning.csv", "case,institution\n" + "".join(listed)
    for number, (case, site) in enumerate(zip(cases, institutions, strict=True), start=1):
        rng = random_source("fets", case, "reference")
        labels = tumor(rng, TUMOR_GRID, 6 + 3 * rng.random(), (0.5, 0.6, 0.0, 0.4, 0.7, 0.5)[number - 1])
        yield f"fets/references/{case}_final_seg.nii.gz", Image(labels)
        home = site == 1
        hands = {
            "thorough": (0.22, 0.0),
            "swift": (0.2, 0.0),
            "homebound": (0.15, 0.0) if home else (0.3, 0.3),
        }
        for team, (wobble, bias) in hands.items():
            if team == "homebound" and number == 5:
                continue  # missing
            own = random_source("fets", case, team)
            drawn = redraw(labels, own, blur=1.5, bias=bias, wobble=wobble, small="keep")
            yield f"fets/submissions/{team}/{case}.nii.gz", Image(drawn)
    yield from _logs()


def _logs() -> Cohort:
    """Few slow rounds; more fast ones than a week holds; the table that the official code writes."""
    yield "fets/submissions/thorough/rounds.csv", _own_log(rounds=6, seconds=93_000, best=0.86, pace=1.0)
    yield "fets/submissions/swift/rounds.csv", _own_log(rounds=150, seconds=4_200, best=0.82, pace=0.25)
    yield "fets/submissions/homebound/rounds.csv", _official_log(rounds=24, seconds=22_000, best=0.7)


def _scores(rng: Random, rounds: int, best: float, pace: float) -> list[float]:
    """Validation scores that rise towards ``best``, not always."""
    return [
        round(best * (1 - 1 / (1.5 + pace * step)) + 0.02 * rng.random() - 0.01, 4)
        for step in range(1, rounds + 1)
    ]


def _own_log(rounds: int, seconds: int, best: float, pace: float) -> str:
    rng = random_source("fets", "rounds", f"{rounds} of {seconds} s")
    times = [seconds + int(seconds / 10 * (rng.random() - 0.5)) for _ in range(rounds)]
    listed = zip(times, _scores(rng, rounds, best, pace), strict=True)
    rows = [f"{number},{time},{score}\n" for number, (time, score) in enumerate(listed, start=1)]
    return "round,round_time_s,round_score\n" + "".join(rows)


def _official_log(rounds: int, seconds: int, best: float) -> str:
    """Seconds since the start instead of a round's own, Dice by region, the convergence score so far."""
    rng = random_source("fets", "rounds", "official")
    rows = ["round,time,convergence_score,binary_dice_wt,binary_dice_et,binary_dice_tc\n"]
    clock, area, top = 0, 0.0, 0.0
    for number, score in enumerate(_scores(rng, rounds, best, 0.4)):
        took = seconds + int(seconds / 10 * (rng.random() - 0.5))
        dice = [round(score + offset, 4) for offset in (0.06, -0.04, -0.02)]
        top = max(top, sum(dice) / 3)
        clock, area = clock + took, area + top * took
        reached = (area + (WEEK_S - clock) * top) / WEEK_S
        rows.append(",".join(map(str, (number, clock, round(reached, 6), *dice))) + "\n")
    return "".join(rows)
