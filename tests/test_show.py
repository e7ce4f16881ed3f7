"""`bratseval show` and pictures of many cases: from a result folder to its files, wherever they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, phantom, save
from typer.testing import CliRunner, Result

from bratseval.archives import ArchiveLimits
from bratseval.cli import app
from bratseval.config import load_rulebook, recorded_rulebook
from bratseval.errors import UsageError
from bratseval.joining import merge
from bratseval.options import Options
from bratseval.pictures.finding import image_of, read_records, records_of
from bratseval.pictures.model import Picture
from bratseval.pictures.showing import Wish, show, usual_path
from bratseval.pictures.worst import Undrawn, draw_all
from bratseval.pipeline import evaluate, run
from bratseval.results import as_read, read_folder, read_run
from bratseval.sources import Source, joined, read_sources

SAMPLES = ROOT / "sample_data"
TEAMS = ("exact", "shifted")


def quiet(*_: object) -> None:
    """A progress that says nothing."""


def scored(challenge: str, submissions: Path, references: Path, output: Path) -> Path:
    """Results of a bundled challenge; draws and permutations, which no picture shows, are left out."""
    rules = output.with_suffix(".yaml")
    rules.write_text(f"extends: {challenge}\nname: {challenge}\nranking: {{bootstrap: 0, permutations: 0}}\n")
    run(load_rulebook(str(rules)), submissions, references, output, Options(jobs=1), quiet)
    return output


def bratseval(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Results of a challenge on a folder of sample_data, scored once."""
    root, done = tmp_path_factory.mktemp("samples"), dict[str, Path]()

    def results(challenge: str, folder: str) -> Path:
        if challenge not in done:
            where = SAMPLES / folder
            done[challenge] = scored(challenge, where / "submissions", where / "references", root / challenge)
        return done[challenge]

    return results


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with references, two teams and results of two cases; one of them is missing."""
    root = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(3)
    for number in (1, 2):
        labels = phantom(random)
        save(root / "refs" / f"BraTS-GLI-0000{number}-000-seg.nii.gz", labels)
        save(root / "teams" / "exact" / f"BraTS-GLI-0000{number}-000.nii.gz", labels)
        if number == 1:
            save(root / "teams" / "shifted" / "BraTS-GLI-00001-000.nii.gz", np.roll(labels, 2, axis=0))
    scored("brats2023-gli", root / "teams", root / "refs", root / "out")
    return root


# ---------------------------------------------------------------- every kind of challenge

CASES = [
    ("brats2024-gli", "brats-gli", "bold", "00001-000", "ET: the largest spurious lesion", 3),
    ("qu-brats-2020", "qu-brats", "sloppy", "BraTS20_Validation_002", "The curves count only voxels", 3),
    ("qubiq-2021", "qubiq", "graded", "kidney-case01", "kidney-task01: share of the raters", 1),
    ("qubiq-2021", "qubiq", "careless", "kidney-case03", "task01.nii.gz: the value 100 lies outside", 1),
    ("brats-reg-2022", "brats-reg", "loose", "BraTSReg_002", "errors of 7 landmarks after registration", 0),
    ("landmark-hit-rate", "brats-reg", "loose", "BraTSReg_003", "errors of 8 landmarks before", 0),
    ("brats2023-inpainting", "inpainting", "faithful", "00001-000", "planes with the largest difference", 2),
    ("brats2023-inpainting", "inpainting", "torn", "00002-000", "No synthetic image is drawn: BraTS", 2),
    ("brats2023-brasyn", "brasyn", "careless", "00001-000", "ET: the largest part that is not in", 3),
    ("lits", "liver", "hurried", "3", "the shape is (48, 48, 36)", 3),
    ("skin-lesion", "skin", "slapdash", "ISIC_0012001", "lesion: the largest part that is not in", 1),
]


@pytest.mark.parametrize(("challenge", "folder", "team", "case", "said", "planes"), CASES)
def test_every_kind_of_challenge_has_its_picture(
    sample: Callable[[str, str], Path],
    challenge: str,
    folder: str,
    team: str,
    case: str,
    said: str,
    planes: int,
) -> None:
    results = sample(challenge, folder)
    done = bratseval("show", results, "--team", team, "--case", case, "--format", "json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert said in shown["caption"]
    assert len(shown["planes"]) == planes
    path = results / "pictures" / f"{team}--{case}.png"
    assert shown["path"] == str(path)
    png = path.read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) < 150_000
    assert int.from_bytes(png[16:20], "big") == 1200
    numbers = {(one["region"], one["metric"]): one["value"] for one in shown["numbers"]}
    ranked = recorded_rulebook(read_run(results)).challenge.ranking.metrics
    assert {metric for _, metric in numbers} <= set(ranked)
    assert numbers
    assert str(SAMPLES) not in json.dumps({**shown, "path": "", "numbers": []})
    assert done.stderr.strip().splitlines()[-1].endswith(f"picture written to {path}")


def test_a_name_is_no_formula(sample: Callable[[str, str], Path], tmp_path: Path) -> None:
    """A curve in a folder from someone else, with a name that mathematics would stumble over."""
    folder = shutil.copytree(sample("qu-brats-2020", "qu-brats"), tmp_path / "out")
    curves = folder / "curves.csv"
    curves.write_text(curves.read_text().replace(",dice,", ",$\\frac{x$,"))
    picture = show(folder, "sloppy", "BraTS20_Validation_002", Wish(), ArchiveLimits())
    assert "The curves count only voxels" in picture.caption


def test_a_region_of_images_and_one_of_masks_are_drawn_each_in_its_way(
    sample: Callable[[str, str], Path],
) -> None:
    results = sample("brats2023-brasyn", "brasyn")
    limits = ArchiveLimits()
    healthy = show(results, "pretty", "00002-000", Wish(region="healthy"), limits)
    assert healthy.caption.startswith("healthy, t2f: the planes with the largest difference")
    tumor = show(results, "pretty", "00002-000", Wish(region="WT"), limits)
    assert tumor.caption.startswith("WT: the largest part that")
    assert healthy.png != tumor.png


def test_the_lesion_that_is_shown_is_the_worst_of_lesions_csv(sample: Callable[[str, str], Path]) -> None:
    from conftest import table

    results = sample("brats2024-gli", "brats-gli")
    rows = [
        row for row in table(results / "lesions.csv") if (row["team"], row["case"]) == ("bold", "00001-000")
    ]
    failed = [row for row in rows if row["region"] == "ET" and row["kind"] in ("fp", "fn")]
    largest = max(float(row["predicted_volume_mm3"]) + float(row["reference_volume_mm3"]) for row in failed)
    counts = {
        kind: sum(row["kind"] == kind for row in rows if row["region"] == "ET") for kind in ("tp", "fp", "fn")
    }
    picture = show(results, "bold", "00001-000", Wish(), ArchiveLimits())
    assert f"the largest spurious lesion, {largest:.3g} mm³" in picture.lesion
    assert f"{counts['tp']} found (TP), {counts['fp']} spurious (FP), {counts['fn']} missed" in picture.lesion


def test_a_table_has_no_picture_and_a_sentence_says_what_to_look_at(
    sample: Callable[[str, str], Path],
) -> None:
    results = sample("brats2021-mgmt", "mgmt")
    done = bratseval("show", results, "--team", "modest", "--case", "00002")
    assert done.exit_code == 2
    assert "brats2021-mgmt scores a table of subjects, which has no picture" in done.stderr
    assert "problems.csv" in done.stderr
    drawn = draw_all(results, recorded_rulebook(read_run(results)), [("modest", "00002")], options=Options())
    assert "has no picture" in str(drawn["modest", "00002"])


# ---------------------------------------------------------------- where files are


def test_a_run_notes_where_its_files_are_and_no_table_does(small: Path) -> None:
    (source,) = read_sources(small / "out")
    assert source == Source(small / "refs", {team: small / "teams" / team for team in TEAMS})
    for path in small.glob("out/*.csv"):
        if path.name != "problems.csv":  # which names files as they were given
            assert str(small) not in path.read_text(), path


def test_files_that_have_moved_are_named_by_options(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "there")
    place = tmp_path / "there"
    shutil.move(place / "refs", place / "answers")
    (place / "out" / "state" / "sources.json").unlink()
    command = ("show", place / "out", "--team", "shifted", "--case", "00001-000", "-o", place / "one.png")
    done = bratseval(*command)
    assert done.exit_code == 2
    assert "the results do not say where the files are (there is no state/sources.json)" in done.stderr
    assert "hint: give --references and --predictions, where the files are now" in done.stderr
    done = bratseval(*command, "--predictions", place / "teams" / "shifted")
    assert "the results do not say where the references are" in done.stderr
    done = bratseval(*command, "-r", place / "refs", "-p", place / "teams" / "shifted")
    assert f"the reference folder {place / 'refs'} does not exist" in done.stderr
    done = bratseval(*command, "-r", place / "answers", "-p", place / "teams" / "other")
    assert "other, what team shifted handed in, is not there" in done.stderr
    done = bratseval(*command, "-r", place / "answers", "-p", place / "teams" / "shifted")
    assert done.exit_code == 0, done.stderr
    here = show(small / "out", "shifted", "00001-000", Wish(), ArchiveLimits())
    assert (place / "one.png").read_bytes() == here.png  # wherever the files are
    archive = shutil.make_archive(str(place / "team"), "zip", place / "teams" / "shifted")
    done = bratseval(*command, "-r", place / "answers", "-p", archive)
    assert (place / "one.png").read_bytes() == here.png


def test_merging_keeps_the_places_of_all_parts(small: Path, tmp_path: Path) -> None:
    rulebook = load_rulebook("brats2023-gli")
    for team in TEAMS:
        evaluate(rulebook, small / "teams" / team, "", small / "refs", tmp_path / team, Options(), quiet)
    merge(rulebook, [tmp_path / team for team in TEAMS], tmp_path / "all", Options())
    assert read_sources(tmp_path / "all") == read_sources(small / "out")
    picture = show(tmp_path / "all", "shifted", "00001-000", Wish(), ArchiveLimits())
    assert picture == show(small / "out", "shifted", "00001-000", Wish(), ArchiveLimits())


@pytest.mark.parametrize(
    ("challenge", "folder"), [("qu-brats-2020", "qu-brats"), ("brats-reg-2022", "brats-reg")]
)
def test_results_at_hand_say_what_their_tables_say(
    challenge: str, folder: str, sample: Callable[[str, str], Path]
) -> None:
    results = sample(challenge, folder)
    at_hand = read_folder(results)
    pairs = [*dict.fromkeys(zip(at_hand.scores.team.texts(), at_hand.scores.case.texts(), strict=True))]
    read = read_records(results, pairs)
    assert records_of(as_read(at_hand), pairs) == read
    assert len(read) == len(pairs)
    assert any(record.details for record in read.values())
    assert any(record.problems for record in read.values())
    assert all(record.inputs for record in read.values())


def test_sites_with_references_of_their_own_stay_apart() -> None:
    one = Source(Path("/a/refs"), {"x": Path("/a/x")})
    shard = Source(Path("/a/refs"), {"y": Path("/a/y")})
    other = Source(Path("/b/refs"), {"x": Path("/b/x")})
    assert joined([one, shard, other, one]) == (
        Source(Path("/a/refs"), {"x": Path("/a/x"), "y": Path("/a/y")}),
        other,
    )


def test_a_broken_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for text in ("", "[]", '{"sources": 3}', '{"sources": [{"references": 3}]}', "\x00\xff"):
        (tmp_path / "state" / "sources.json").write_text(text)
        assert read_sources(tmp_path) == ()


@pytest.mark.parametrize(
    ("team", "case", "said", "hint"),
    [
        ("exactt", "00001-000", "has no scores of team exactt", "did you mean 'exact'?"),
        ("exact", "00001-00", "has no scores of case 00001-00 of team exact", "did you mean '00001-000'?"),
        ("exact", "", "has no scores of case  of team exact", "known: 00001-000, 00002-000"),
        ("?", "?", "has no scores of team ?", "known: exact, shifted"),
    ],
)
def test_unknown_names_are_a_sentence(small: Path, team: str, case: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        show(small / "out", team, case, Wish(), ArchiveLimits())
    (problem,) = error.value.problems
    assert said in problem.message
    assert problem.hint == hint


def test_a_folder_without_results_is_a_sentence(tmp_path: Path) -> None:
    done = bratseval("show", tmp_path, "--team", "a", "--case", "b")
    assert done.exit_code == 2
    assert "run.json is not the record of a run" in done.stderr


def test_an_output_that_cannot_be_written_is_exit_code_5(small: Path) -> None:
    done = bratseval(
        *("show", small / "out", "--team", "exact", "--case", "00001-000"),
        *("-o", small / "out" / "run.json" / "x.png"),
    )
    assert done.exit_code == 5
    assert "OUT001" in done.stderr


# ---------------------------------------------------------------- names of files


def test_names_of_pictures_stay_in_their_folder_and_apart() -> None:
    folder = Path("out")
    names = [
        *(("team", "00001-000"), ("../../etc", "x"), ("a", "b--c"), ("a--b", "c"), ("a-", "b"), ("a", "-b")),
        *(("x" * 500, "y"), ("x" * 501, "y"), ("", "b"), ("腫", "b"), ("瘍", "b"), (".", "..")),
        *(("<script>alert(1)</script>", '=HYPERLINK("x")'), ("a/b", "c"), ("a-b", "c")),
    ]
    paths = [usual_path(folder, *pair) for pair in names]
    assert paths[0] == folder / "pictures" / "team--00001-000.png"
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert path.parent == folder / "pictures"
        assert len(path.name) < 150
        assert not path.name.startswith((".", "-"))
        assert path.name.isascii()


def test_a_link_in_the_way_of_a_picture_is_not_followed(small: Path, tmp_path: Path) -> None:
    """A folder from someone else may hold a link where the unfinished file goes."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".x.png.part").symlink_to(tmp_path / "precious")
    done = bratseval(
        "show", small / "out", "--team", "exact", "--case", "00001-000", "-o", tmp_path / "x.png"
    )
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "precious").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious", "x.png"]


# ---------------------------------------------------------------- images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    shape = (40, 36, 30)
    for name in ("BraTS-GLI-00001-000-t1c", "BraTS-GLI-00001-000-t2f", "BraTS-GLI-100001-000-t1c"):
        save(
            tmp_path / "images" / name.rpartition("-")[0] / f"{name}.nii.gz",
            np.full(shape, 7),
            dtype=np.int16,
        )
    save(tmp_path / "images" / "BraTS-GLI-00001-000-seg.nii.gz", np.zeros(shape))
    return tmp_path / "images"


def test_the_image_of_a_case_is_found_by_its_id_as_a_whole_word(
    small: Path, images: Path, tmp_path: Path
) -> None:
    command = ("show", small / "out", "--team", "shifted", "--case", "00001-000", "-o", tmp_path / "x.png")
    done = bratseval(*command, "--image", images)
    assert done.exit_code == 2
    assert "2 images in" in done.stderr
    assert "BraTS-GLI-00001-000-t1c.nii.gz, BraTS-GLI-00001-000-t2f.nii.gz" in done.stderr
    assert "--modality" in done.stderr
    done = bratseval(*command, "--image", images, "--modality", "T1C")
    assert done.exit_code == 0, done.stderr
    on_image = (tmp_path / "x.png").read_bytes()
    assert bratseval(*command).exit_code == 0
    assert (tmp_path / "x.png").read_bytes() != on_image
    done = bratseval(*command, "--image", images, "--modality", "t9")
    assert "has 't9' in its name" in done.stderr
    done = bratseval(*command, "--image", images / "nowhere")
    assert "does not exist" in done.stderr


def test_an_image_that_is_a_photograph(sample: Callable[[str, str], Path], tmp_path: Path) -> None:
    from PIL import Image

    results = sample("skin-lesion", "skin")
    reference = next((SAMPLES / "skin" / "references").glob("*0012001*"))
    with Image.open(reference) as mask:
        size = mask.size
    Image.new("RGB", size, (200, 120, 90)).save(tmp_path / "ISIC_0012001.jpg")
    plain = show(results, "slapdash", "ISIC_0012001", Wish(), ArchiveLimits())
    photograph = show(results, "slapdash", "ISIC_0012001", Wish(image=tmp_path), ArchiveLimits())
    assert photograph.png != plain.png
    Image.new("RGB", (5, 5)).save(tmp_path / "ISIC_0012001.jpg")
    with pytest.raises(UsageError, match="the image has 5 x 5 pixels"):
        show(results, "slapdash", "ISIC_0012001", Wish(image=tmp_path), ArchiveLimits())
    (tmp_path / "ISIC_0012001.jpg").write_bytes(b"\xff\xd8\xff torn")
    with pytest.raises(UsageError, match="is damaged"):
        show(results, "slapdash", "ISIC_0012001", Wish(image=tmp_path), ArchiveLimits())


def test_references_are_no_images(small: Path) -> None:
    from bratseval.pictures.finding import CaseFiles, find_cases

    rulebook = load_rulebook("brats2023-gli")
    pair = ("exact", "00001-000")
    found = find_cases(rulebook, [pair], read_sources(small / "out"), ArchiveLimits(), "")[pair]
    assert isinstance(found, CaseFiles)
    with pytest.raises(UsageError, match="no image in"):
        image_of(small / "refs", found.case, found.challenge)


# ---------------------------------------------------------------- many pictures


WANTED = [("shifted", "00001-000"), ("shifted", "00002-000"), ("exact", "00001-000"), ("nobody", "x")]


def test_many_pictures_are_the_same_for_any_number_of_workers(small: Path, images: Path) -> None:
    rulebook = recorded_rulebook(read_run(small / "out"))
    told: list[tuple[int, int, str]] = []

    def progress(done: int, total: int, what: str, kept: int | None = None, /) -> None:
        told.append((done, total, what))

    one = draw_all(small / "out", rulebook, WANTED, options=Options(jobs=1), images=images, progress=progress)
    two = draw_all(small / "out", rulebook, WANTED, options=Options(jobs=2), images=images)
    assert one == two
    assert list(one) == WANTED
    assert told[-1][:2] == (3, 3)
    pictures = [picture for picture in one.values() if isinstance(picture, Picture)]
    assert len(pictures) == 3
    assert pictures[0].caption.endswith("(give --modality)") or "On gray: " in pictures[0].caption
    assert one["nobody", "x"] == Undrawn("there are no scores of team nobody, case x")
    assert all(str(images) not in picture.caption for picture in pictures)


def test_a_picture_that_takes_too_long_costs_itself(small: Path) -> None:
    rulebook = recorded_rulebook(read_run(small / "out"))
    drawn = draw_all(small / "out", rulebook, WANTED[:1], options=Options(timeout_s=1e-6))
    assert drawn == {WANTED[0]: Undrawn("the picture could not be drawn: it took too long")}


def test_files_that_are_gone_are_a_sentence_for_each(small: Path) -> None:
    rulebook = recorded_rulebook(read_run(small / "out"))
    gone = [Source(Path("/nowhere/refs"), {"shifted": Path("/nowhere/shifted")})]
    drawn = draw_all(small / "out", rulebook, WANTED[:2], options=Options(), sources=gone)
    assert all("refs does not exist" in str(sentence) for sentence in drawn.values())
    assert "/nowhere" not in str(drawn)


# ---------------------------------------------------------------- files that changed since they were scored

CHANGED = "Not as it was scored, so that the numbers are of other files: "


def test_a_picture_of_other_files_than_those_scored_says_so(small: Path, tmp_path: Path) -> None:
    root = shutil.copytree(small, tmp_path / "moved")
    wish = Wish(root / "refs", root / "teams" / "exact")

    def caption() -> str:
        return show(root / "out", "exact", "00001-000", wish, ArchiveLimits()).caption

    assert CHANGED not in caption()
    prediction = root / "teams" / "exact" / "BraTS-GLI-00001-000.nii.gz"
    shutil.copy(root / "teams" / "shifted" / prediction.name, prediction)
    assert f"{CHANGED}prediction {prediction.name}." in caption()
    prediction.unlink()
    assert f"{CHANGED}prediction {prediction.name}." in caption()
    (root / "out" / "inputs.csv").unlink()  # nothing is known of a folder that `rank` wrote
    assert CHANGED not in caption()


def test_a_missing_prediction_is_as_it_was_scored(small: Path) -> None:
    assert CHANGED not in show(small / "out", "shifted", "00002-000", Wish(), ArchiveLimits()).caption
