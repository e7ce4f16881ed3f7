"""Examples at the end of every command's --help; each fits 80 columns and runs (tests/test_docs.py)."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "bratseval run brats2023-gli -s teams/ -r refs/ -o results/",
        "bratseval evaluate brats2023-gli -p my_predictions/ -r refs/ -o mine/",
        "bratseval challenges list",
    ),
    "run": (
        "bratseval run brats2023-gli -s teams/ -r refs/ -o results/",
        "bratseval run brats2023-gli -s teams/ -r refs/ -o results/ --dry-run",
        "bratseval run my.yaml -s teams/ -r refs/ -o part3/ --shard 3/8",
    ),
    "evaluate": (
        "bratseval evaluate brats2023-gli -p my_predictions/ -r refs/ -o mine/",
        "bratseval evaluate brats2026-path -p team_a.csv -r gold.csv -o team_a/",
        "bratseval evaluate brats2021 -p a.zip -r refs/ -o a/ --institution site_1",
    ),
    "validate": (
        "bratseval validate brats2023-gli -p my_predictions/ -r refs/",
        "bratseval validate brats2023-gli -p team.zip --cases cases.csv",
        "bratseval validate my.yaml -p team/ -r refs/ --format junit > checked.xml",
    ),
    "merge": (
        "bratseval merge part1/ part2/ part3/ -o results/",
        "bratseval merge site_a/ site_b/ -o results/ --metadata cases.csv",
    ),
    "rank": (
        "bratseval rank brats2023-gli results/ -o ranked/",
        "bratseval rank fets2022-task2 site_a/ site_b/scores.csv -o joined/",
        "bratseval rank my.yaml scores.csv -o ranked/ --compare-schemes",
    ),
    "report": (
        "bratseval report results/",
        "bratseval report results/ --images t1c/ -o leaderboard.html",
    ),
    "show": (
        "bratseval show results/ --team team_a --case 00002-000",
        "bratseval show results/ --team team_a --case 00002-000 -o worst.png",
    ),
    "export": (
        "bratseval export results/ --to synapse",
        "bratseval export results/ --to nnunet --team team_a -o summary.json",
    ),
    "slurm": (
        "bratseval slurm brats2023-gli -s teams/ -r refs/ -o results/",
        "bratseval slurm my.yaml -s teams/ -r refs/ -o out/ --mem 8G --submit",
    ),
    "info": ("bratseval info",),
    "metrics": (
        "bratseval metrics",
        "bratseval metrics hd95",
        "bratseval metrics nsd --format json",
    ),
    "challenges": (
        "bratseval challenges list",
        "bratseval challenges init my.yaml",
        "bratseval challenges check my.yaml",
    ),
    "challenges list": (
        "bratseval challenges list",
        "bratseval challenges list --format json",
    ),
    "challenges show": (
        "bratseval challenges show brats2024-gli",
        "bratseval challenges show my.yaml --format json",
    ),
    "challenges check": ("bratseval challenges check my.yaml",),
    "challenges init": (
        "bratseval challenges init my.yaml",
        "bratseval challenges init my.yaml --extends brats2023-gli",
    ),
    "challenges advise": (
        "bratseval challenges advise brats2024-met",
        "bratseval challenges advise my.yaml -r refs/ --metadata cases.csv",
    ),
    "challenges schema": ("bratseval challenges schema > challenge.schema.json",),
}


def epilog(command: str, boxes: bool) -> str:
    """The examples of a command as the end of its help; in rich's boxes every paragraph is a line."""
    lines = EXAMPLES.get(command, ())
    if not lines:
        return ""
    return (
        "\n\n".join(("Examples:", *lines))
        if boxes
        else "\n".join(("\b", "Examples:", *(f"  {one}" for one in lines)))
    )
