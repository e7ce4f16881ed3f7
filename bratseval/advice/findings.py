"""What references and the table of cases show: every reference is read once, one after the other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bratseval.cases import Found, find_references
from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import InputError, Problem, ReferenceDataError
from bratseval.images import LabelImage, read_labels, remap_labels
from bratseval.inputs import unusable_reference
from bratseval.lesions import find_lesions
from bratseval.metadata import Metadata, read_case_list, read_metadata
from bratseval.subject_tables import read_subjects
from bratseval.tasks.marking import mask_of, read_any_labels

LABEL_TASKS = ("segmentation", "uncertainty")  # tasks whose reference is one label image a case
PATIENT_COLUMNS = ("patient", "patient_id", "subject", "subject_id")
SCAN_OF_PATIENT = re.compile(r"(?P<patient>(?:.*[-_])?\d{3,})[-_]\d{1,3}")  # BraTS: 00012-001

Sizes = tuple[int, ...]  # voxels of each lesion of a region, none where it is empty
Spacing = tuple[float, float, float]  # mm, (x, y, z)


@dataclass(frozen=True, slots=True)
class Findings:
    """What the references and the table of cases show; empty where nothing was given.

    cases : ids, for a table those of its subjects. lesion_voxels : region -> case -> sizes; a lesion is what
    the challenge's rules take for one. spacings_mm : by case. patients, institutions : case -> name.
    classes : class -> subjects of a table.
    """

    cases: tuple[str, ...] = ()
    lesion_voxels: Mapping[str, Mapping[str, Sizes]] = field(default_factory=dict)
    spacings_mm: Mapping[str, Spacing] = field(default_factory=dict)
    patients: Mapping[str, str] = field(default_factory=dict)
    institutions: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[int, int] = field(default_factory=dict)

    def ranked_lesions(self, challenge: Challenge) -> dict[str, Mapping[str, Sizes]]:
        """lesion_voxels of the ranked regions."""
        ranked = challenge.ranking.regions or self.lesion_voxels
        return {region: cases for region, cases in self.lesion_voxels.items() if region in ranked}


NOTHING = Findings()


def survey(rulebook: Rulebook, references: Path | None, metadata: Path | None) -> Findings:
    """Read what is given.

    Raises ReferenceDataError with all references that cannot be read, UsageError for a table that cannot.
    """
    challenge = rulebook.challenge
    table = Metadata() if metadata is None else read_metadata(challenge, metadata)
    if references is not None:
        findings = _read_references(rulebook, find_references(challenge, references), table)
    else:
        listed = [] if metadata is None else read_case_list(challenge, metadata)
        findings = Findings(tuple(sorted(listed)))
    cases = findings.cases
    column = next((table.columns[name] for name in PATIENT_COLUMNS if name in table.columns), {})
    return replace(
        findings,
        patients={case: column.get(case) or patient_in(case) for case in cases},
        institutions={case: table.institutions[case] for case in cases if table.institutions.get(case)},
    )


def patient_in(case: str) -> str:
    """The patient in a case id such as 00012-001, else the id."""
    named = SCAN_OF_PATIENT.fullmatch(case)
    return named["patient"] if named else case


def _read_references(rulebook: Rulebook, found: Found, table: Metadata) -> Findings:
    if rulebook.challenge.task == "table":
        return _read_answers(rulebook.challenge, found)
    if rulebook.challenge.task in LABEL_TASKS:
        return _read_masks(rulebook, found, table)
    return Findings(tuple(sorted(found.files)))


def _read_answers(challenge: Challenge, found: Found) -> Findings:
    """Ids and classes of a table of subjects."""
    rules, path = challenge.table, found.files[""]
    assert rules is not None  # the model asks for it in a table challenge
    assert path is not None  # a folder was read, not a list
    try:
        read = read_subjects(path, rules.id, [rules.target], id_pattern=rules.id_pattern)
        if read.problems:
            raise InputError(read.problems)
    except InputError as error:
        raise ReferenceDataError(error.problems) from None
    named = rules.submitted in ("label", "score", "probabilities")
    classes = Counter(int(answer) for answer in read.numbers[:, 0]) if named else {}
    return Findings(tuple(sorted(read.ids)), classes=dict(sorted(classes.items())))


def _read_masks(rulebook: Rulebook, found: Found, table: Metadata) -> Findings:
    """Sizes of all lesions of all label images."""
    lesion_voxels: dict[str, dict[str, Sizes]] = defaultdict(dict)
    spacings: dict[str, Spacing] = {}
    problems: list[Problem] = []
    for case, path in sorted(found.files.items()):
        assert path is not None  # a folder was read, not a list
        rules = rulebook.rules_of(table.cohorts.get(case) or found.cohorts.get(case, ""))
        try:
            image = _read_image(path, rules)
        except InputError as error:
            problems += unusable_reference(error, case)
            continue
        spacings[case] = image.grid.spacing_mm
        for region, sizes in _lesion_sizes(image, rules).items():
            lesion_voxels[region][case] = sizes
    if problems:
        raise ReferenceDataError(problems)
    return Findings(tuple(sorted(found.files)), dict(lesion_voxels), spacings)


def _read_image(path: Path, challenge: Challenge) -> LabelImage:
    if challenge.task == "uncertainty":  # where every positive label counts
        return read_any_labels(path, challenge)
    known = {*challenge.labels.values(), *challenge.remap}
    return remap_labels(read_labels(path, known, challenge.unknown_labels), challenge.remap)


def _lesion_sizes(image: LabelImage, challenge: Challenge) -> dict[str, Sizes]:
    """Sizes in every scored region, before any lesion is ignored as too small."""
    sizes: dict[str, Sizes] = {}
    for name, region in challenge.regions.items():
        if not region.scored or region.outside or not region.labels:
            continue
        rules = challenge.rules(name)
        lesions = find_lesions(
            np.ascontiguousarray(mask_of(image.labels, name, challenge)),
            image.offset,
            image.grid.shape,
            connectivity=rules.connectivity,
            dilation_voxels=rules.dilation_voxels,
            merge="reference" in rules.merge,
            zone=False,
        )
        sizes[name] = tuple(lesions.sizes[lesions.numbers].tolist())
    return sizes
