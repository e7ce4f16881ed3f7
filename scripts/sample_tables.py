"""Small samples of the challenges in which a team hands in one row a subject.

Every function yields the files of one folder of ``sample_data/``: a team that does well, one that does less
so, and one whose table has what an evaluator must notice. Which fault is where: ``sample_data/README.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from sample_drawing import Cohort, Field, Random, random_source

Answers = npt.NDArray[np.int_]
Row = tuple[object, ...]


def table(header: str, rows: Iterable[Sequence[object]]) -> str:
    """A CSV file."""
    return "".join(f"{line}\n" for line in (header, *(",".join(map(str, row)) for row in rows)))


def bell(rng: Random, count: int) -> Field:
    """Noise of unit deviation, nearly normal: sums of twelve uniform numbers."""
    return np.round(rng.random((count, 12)).sum(axis=1) - 6, 6)


def without(rows: Sequence[Row], dropped: Iterable[int]) -> list[Row]:
    """All rows but those at these places."""
    gone = set(dropped)
    return [row for place, row in enumerate(rows) if place not in gone]


def replaced(rows: Sequence[Row], place: int, *values: object) -> list[Row]:
    """The rows, with other cells behind the id at one place."""
    return [*rows[:place], (rows[place][0], *values), *rows[place + 1 :]]


# Classes of histopathology patches -------------------------------------------------------------------


def drawn_classes(rng: Random, count: int, shares: Sequence[float]) -> Answers:
    """A class for every patch, as frequent as ``shares`` say."""
    return np.searchsorted(np.cumsum(shares)[:-1], rng.random(count), side="right")


def named(rng: Random, truth: Answers, classes: int, right: float) -> Answers:
    """The share ``right`` of all classes is found, of the others the next one or the one after is named."""
    step = 1 + (rng.random(len(truth)) < 0.3)
    return np.where(rng.random(len(truth)) < right, truth, (truth + step) % classes)


def patches() -> Cohort:
    """path: six classes, as in 2024 and 2025; ``lazy`` and ``trained`` are CSV files, ``hasty`` a folder."""
    ids = [f"BraTSPath_Val_{number:05d}.png" for number in range(1, 181)]
    truth = drawn_classes(random_source("path", "reference"), len(ids), (0.34, 0.22, 0.16, 0.12, 0.1, 0.06))
    yield "path/references/gold.csv", table("SubjectID,Target", zip(ids, truth, strict=True))
    found = {
        team: list(zip(ids, named(random_source("path", team), truth, 6, right).tolist(), strict=True))
        for team, right in (("trained", 0.86), ("hasty", 0.94))
    }
    yield "path/submissions/trained.csv", table("SubjectID,Prediction", found["trained"])
    yield "path/submissions/lazy.csv", table("SubjectID,Prediction", ((own, 0) for own in ids))
    rows: list[Row] = [(f"patches/validation/{own}", label) for own, label in found["hasty"]]
    rows = replaced(replaced(rows, 20, 6), 77, "stroma")  # classes are 0 to 5
    rows = without(rows, range(100, 125))
    rows += [rows[3], (rows[8][0], 5), ("patches/validation/BraTSPath_Val_09999.png", 2)]
    yield "path/submissions/hasty/predictions.csv", table("SubjectID,Prediction", rows)


def patches_of_2026() -> Cohort:
    """path-2026: ten classes; ``offset`` counts them from 1, ``nameless`` calls the column Class."""
    ids = [f"val_{number:05d}" for number in range(1, 181)]
    shares = (0.2, 0.16, 0.13, 0.12, 0.1, 0.08, 0.07, 0.06, 0.05, 0.03)
    truth = drawn_classes(random_source("path-2026", "reference"), len(ids), shares)
    yield "path-2026/references/gold.csv", table("Name,GT", zip(ids, truth, strict=True))
    for team, right in (("trained", 0.8), ("offset", 0.95), ("nameless", 0.9)):
        labels = named(random_source("path-2026", team), truth, 10, right) + (team == "offset")
        file = f"{team}.csv" if team == "nameless" else f"{team}/predictions.csv"
        header = "SubjectID,Class" if team == "nameless" else "SubjectID,Prediction"
        yield f"path-2026/submissions/{file}", table(header, zip(ids, labels, strict=True))


# MGMT promoter methylation ---------------------------------------------------------------------------


def methylation() -> Cohort:
    """mgmt: a probability a patient; ``careless`` is the sharpest where its rows can be used."""
    ids = [f"{number:05d}" for number in range(3, 363, 3)]
    source = random_source("mgmt", "reference")
    truth = (source.random(len(ids)) < 0.53).astype(int)
    yield "mgmt/references/labels.csv", table("BraTS21ID,MGMT_value", zip(ids, truth, strict=True))
    rows: dict[str, list[Row]] = {}
    for team, signal in (("modest", 1.0), ("careless", 1.2)):
        evidence = signal * (truth - 0.5) + bell(random_source("mgmt", team), len(ids))
        chances = np.round(np.clip(0.5 + 0.18 * evidence, 0.01, 0.99), 3)
        rows[team] = list(zip(ids, chances.tolist(), strict=True))
    yield "mgmt/submissions/modest/submission.csv", table("BraTS21ID,MGMT_value", rows["modest"])
    constant = table("BraTS21ID,MGMT_value", ((own, 0.5) for own in ids))
    yield "mgmt/submissions/constant/submission.csv", constant
    spoiled = rows["careless"]
    for place in (11, 12, 13, 14):
        spoiled = replaced(spoiled, place, f"{100 * float(str(spoiled[place][1])):g}")  # percent
    spoiled = without(replaced(spoiled, 40, "nan"), (70, 71, 72))
    spoiled.append(spoiled[0])
    yield "mgmt/submissions/careless/submission.csv", table("BraTS21ID,MGMT_value", spoiled)


# Time to an event ------------------------------------------------------------------------------------


def recurrence() -> Cohort:
    """time-to-event: years to a recurrence, two in three patients leave before it.

    ``prompt`` writes a table and ``wordy`` a JSON file a patient; ``contrary`` submits a risk.
    """
    folder, count = "time-to-event", 60
    ids = [f"case_{number:04d}" for number in range(1, count + 1)]
    rng = random_source(folder, "reference")
    severity = bell(rng, count)
    recurs = np.round(np.clip(7 - 2.5 * severity, 0.3, None), 2)
    leaves = np.round(1 + 8 * rng.random(count), 2)
    answers = zip(ids, (recurs <= leaves).astype(int), np.minimum(recurs, leaves), strict=True)
    yield f"{folder}/references/follow_up.csv", table("case_id,event,follow_up_years", answers)
    noise = {team: bell(random_source(folder, team), count) for team in ("prompt", "wordy", "contrary")}
    years = np.round(np.clip(6 - 2 * severity + 2.2 * noise["prompt"], 0.1, None), 1)
    yield (
        f"{folder}/submissions/prompt/predictions.csv",
        table("case_id,prediction", zip(ids, years, strict=True)),
    )
    years = np.round(np.clip(6 - 2 * severity + 1.6 * noise["wordy"], 0.1, None), 2)
    for number, (own, time) in enumerate(zip(ids, years.tolist(), strict=True), start=1):
        if number in (7, 19, 38):
            continue  # missing
        text = f'{{"overall_survival_years": {time}}}' if number in (24, 25, 26, 27, 28) else f"{time}"
        yield f"{folder}/submissions/wordy/{own}.json", f"{text}\n"
    risk = np.round(severity + 0.8 * noise["contrary"], 3)
    rows: list[Row] = list(zip(ids, risk.tolist(), strict=True))
    rows.append(("case_0061", 0.5))
    yield f"{folder}/submissions/contrary/predictions.csv", table("case_id,prediction", rows)


# Ratings of segmentations ----------------------------------------------------------------------------


def ratings() -> Cohort:
    """quality: stars from 0 to 6 for a segmentation, as an expert gave them and as a network guesses."""
    ids = [f"exam{number:03d}-{method}" for number in range(1, 21) for method in ("a", "b", "c", "d")]
    rng = random_source("quality", "reference")
    stars = np.round(np.clip(4 + 1.3 * bell(rng, len(ids)), 0, 6))
    yield "quality/references/expert.csv", table("case,rating", zip(ids, stars.astype(int), strict=True))
    rows: dict[str, list[Row]] = {}
    for team, bias, spread in (("discerning", 0.0, 0.7), ("kindly", 0.8, 0.5)):
        guess = stars + bias + spread * bell(random_source("quality", team), len(ids))
        rows[team] = list(zip(ids, np.round(np.clip(guess, 0, 6), 2).tolist(), strict=True))
    yield "quality/submissions/discerning/ratings.csv", table("case,rating", rows["discerning"])
    yield "quality/submissions/flat/ratings.csv", table("case,rating", ((own, 4) for own in ids))
    spoiled = replaced(replaced(rows["kindly"], 5, 7), 30, 4, 5)  # beyond the scale, and a decimal comma
    spoiled = replaced(spoiled, 55, "good")
    spoiled = without(spoiled, (60, 61))
    spoiled.append(spoiled[10])
    yield "quality/submissions/kindly/ratings.csv", table("case,rating", spoiled)
