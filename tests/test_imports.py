"""Imports run one way: cli -> pipeline -> (challenge, cases, tasks, ranking, results) -> metrics, arrays."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT

# Who may import what of ours; modules that are not listed as keys import nothing of ours.
ALLOWED = {
    "errors": set(),
    "fields": set(),
    "surfel_table": set(),
    "metrics.registry": {
        *("metrics.detection", "metrics.overlap", "metrics.surface"),
        *("metrics.federation", "metrics.filtering", "metrics.jacobian", "metrics.landmarks"),
        *("metrics.raters", "metrics.classes", "metrics.counts", "metrics.ratings", "metrics.survival"),
        *("metrics.intensity", "metrics.pooled"),
    },
    "metrics.classes": {"metrics.overlap", "metrics.registry"},
    "metrics.counts": {"metrics.registry"},
    "metrics.ratings": {"metrics.registry"},
    "metrics.survival": {"metrics.overlap", "metrics.registry"},
    "metrics.intensity": {"metrics.registry"},
    "metrics.pooled": {"metrics.detection", "metrics.overlap", "metrics.registry"},
    "metrics.federation": {"metrics.registry"},
    "metrics.filtering": {"metrics.registry"},
    "metrics.jacobian": {"metrics.registry"},
    "metrics.landmarks": {"metrics.registry"},
    "metrics.raters": {"metrics.registry"},
    "metrics.overlap": {"metrics.registry"},
    "metrics.detection": {"metrics.overlap", "metrics.registry"},
    "metrics.surface": {"metrics.registry"},
    "ranking.steps": set(),
    "ranking.rules": {"ranking.steps"},
    "ranking.significance": set(),
    "ranking.stability": set(),
    "ranking.schemes": {"ranking.rules", "ranking.significance", "ranking.steps"},
    "model": {"errors"},
    "archives": {"errors"},
    "files": {"archives"},
    "png": set(),
    "nifti": {"errors", "files", "png"},
    "images": {"errors", "nifti"},
    "volumes": {"errors", "nifti"},
    "number_tables": {"errors", "files"},
    "subject_tables": {"errors", "files", "number_tables"},
    "inputs": {"errors", "files", "model"},
    "validation": {
        *("cases", "challenge", "errors", "finishing", "metadata", "options", "pipeline"),
        *("scoring", "supervisor"),
    },
    "planning": {
        *("cases", "challenge", "cpus", "errors", "finishing", "model", "options", "pipeline"),
        *("results", "scoring", "state", "supervisor"),
    },
    "gate": {"errors", "validation"},
    "lesions": set(),
    "overlap_matching": set(),
    "surfaces": {"lesions", "metrics.surface", "surfel_table"},
    "blocks": {"errors", "ranking.rules"},
    "challenge": {"blocks", "errors", "metrics.pooled", "metrics.registry", "ranking.rules"},
    "bundle": set(),
    "config": {"bundle", "challenge", "errors"},
    "policy": {"blocks", "challenge", "errors", "model"},
    "pooling": {
        *("challenge", "metrics.pooled", "metrics.registry", "model", "policy", "score_table", "tables"),
    },
    "resample": {"images", "nifti"},
    "cases": {"archives", "blocks", "challenge", "errors", "inputs", "model"},
    "tables": {"archives", "errors", "model"},
    "score_table": {"tables"},
    "detail_table": {"errors", "model", "tables"},
    "score_text": {"model", "score_table", "tables"},
    "metadata": {"challenge", "errors", "tables"},
    "signature": {"challenge"},
    "supervisor": set(),
    "shard_process": {"state", "supervisor"},
    "dask_engine": {"errors", "shard_process", "supervisor"},
    "cpus": set(),
    "score_files": {"challenge", "errors", "ranking.rules", "score_table", "tables"},
    "score_grid": {"challenge", "errors", "ranking.schemes", "score_table"},
    "leaderboard": {
        *("challenge", "errors", "ranking.rules", "ranking.schemes", "ranking.steps"),
        *("model", "score_grid", "score_table", "tables"),
    },
    "pairwise": {
        *("ranking.rules", "ranking.schemes", "ranking.significance", "ranking.steps"),
        *("model", "score_grid", "tables"),
    },
    "robustness": {
        *(
            "leaderboard",
            "ranking.rules",
            "ranking.stability",
            "ranking.steps",
            "score_grid",
            "tables",
        ),
    },
    "strata": {
        *("errors", "leaderboard", "ranking.rules", "ranking.steps", "score_grid", "tables"),
        *("model", "score_table"),
    },
    "doubt": {
        *("challenge", "errors", "leaderboard", "pairwise", "ranking.rules", "ranking.significance"),
        *("ranking.stability", "robustness", "tables", "text_tables"),
    },
    "state": {"archives", "errors", "model"},
    "sources": {"archives", "errors", "state"},
    "results": {
        *("challenge", "errors", "model", "score_files", "score_table", "score_text", "state", "tables"),
        *("archives", "detail_table"),
    },
    "regions": {
        *("blocks", "challenge", "images", "lesions", "nifti", "overlap_matching", "surfaces"),
        *("metrics.detection", "metrics.overlap", "metrics.registry", "metrics.surface"),
    },
    "tasks.measuring": {"challenge", "errors", "metrics.registry", "model", "policy"},
    "tasks.placing": {"blocks", "challenge", "errors", "images", "model", "nifti", "volumes"},
    "tasks.segmentation": {
        *("blocks", "challenge", "errors", "images", "inputs", "metrics.registry", "model", "policy"),
        *("metrics.overlap", "metrics.pooled", "nifti", "regions", "resample", "tasks.placing"),
    },
    "tasks.marking": {"challenge", "images", "nifti"},
    "tasks.deformation": {
        *("challenge", "errors", "fields", "inputs", "metrics.jacobian", "model", "nifti"),
        *("tasks.measuring", "tasks.placing", "volumes"),
    },
    "tasks.registration": {
        *("blocks", "challenge", "errors", "fields", "inputs", "metrics.landmarks", "model", "nifti"),
        *("number_tables", "policy", "tasks.deformation", "tasks.measuring"),
        "tasks.placing",
    },
    "tasks.uncertainty": {
        *("blocks", "challenge", "errors", "images", "inputs", "metrics.filtering", "model", "nifti"),
        *("tasks.marking", "tasks.measuring", "tasks.placing", "volumes"),
    },
    "tasks.multi_rater": {
        *("blocks", "challenge", "errors", "inputs", "metrics.raters", "model", "nifti", "policy"),
        *("tasks.measuring", "tasks.placing", "volumes"),
    },
    "tasks.federation": {
        *("challenge", "errors", "inputs", "metrics.federation", "model", "number_tables"),
        "tasks.measuring",
    },
    "tasks.table": {
        *("blocks", "challenge", "errors", "inputs", "metrics.classes", "metrics.counts", "metrics.ratings"),
        *("metrics.registry", "metrics.survival", "model", "policy", "subject_tables"),
    },
    "tasks.synthesis": {
        *("blocks", "challenge", "errors", "inputs", "metrics.intensity", "metrics.registry", "model"),
        *("nifti", "policy", "tasks", "tasks.marking", "tasks.measuring", "tasks.placing", "volumes"),
    },
    "scoring": {"challenge", "errors", "inputs", "model", "policy", "tasks"},
    "options": {"archives"},
    "finishing": {
        *("challenge", "detail_table", "doubt", "errors", "leaderboard", "metadata", "options"),
        *("pooling", "results", "score_table", "signature", "strata"),
    },
    "pipeline": {
        *("cases", "challenge", "dask_engine", "errors", "finishing", "inputs", "metadata"),
        *("model", "options", "policy", "results", "scoring", "sources", "state", "supervisor"),
    },
    "advice.literature": set(),
    "advice.findings": {
        *("cases", "challenge", "errors", "images", "inputs", "lesions", "metadata", "subject_tables"),
        "tasks.marking",
    },
    "advice.columns": {"blocks", "challenge", "metrics.registry"},
    "advice.choice": {"advice.columns", "advice.findings", "advice.literature", "challenge"},
    "advice.distances": {"advice.columns", "advice.findings", "advice.literature", "challenge"},
    "advice.structures": {"advice.columns", "advice.findings", "advice.literature", "challenge"},
    "advice.failures": {
        *("advice.columns", "advice.findings", "advice.literature", "challenge"),
        *("metrics.detection", "metrics.overlap", "metrics.surface"),
    },
    "advice.classes": {"advice.columns", "advice.findings", "advice.literature", "challenge"},
    "advice.cohort": {"advice.columns", "advice.findings", "advice.literature", "challenge"},
    "advice.advisers": {
        *("advice.choice", "advice.classes", "advice.cohort", "advice.distances", "advice.failures"),
        *("advice.findings", "advice.literature", "advice.structures", "challenge", "errors"),
    },
    "metric_table": {"blocks", "challenge", "errors", "metrics.registry"},
    "joining": {
        *("challenge", "detail_table", "errors", "finishing", "metadata", "options", "pipeline"),
        *("pooling", "results", "score_files", "score_table", "sources", "state", "tables"),
    },
    "slurm": {"cases", "challenge", "errors", "options", "pipeline", "results", "state"},
    "text_tables": {"errors"},
    "progress": {"errors"},
    "screen": {
        *("errors", "finishing", "gate", "leaderboard", "options", "planning", "progress"),
        *("slurm", "tables", "text_tables", "validation"),
    },
    "starter": {"blocks", "challenge", "config", "errors", "ranking.rules", "ranking.steps", "state"},
    "export.names": set(),
    "export.finished": {
        *("challenge", "config", "errors", "export.names", "results", "score_files", "score_table", "tables"),
    },
    "export.synapse": {"errors", "export.finished", "export.names", "leaderboard", "tables"},
    "export.grand_challenge": {"export.finished", "export.names"},
    "export.medperf": {"export.finished", "tables"},
    "export.nnunet": {"challenge", "errors", "export.finished", "export.names"},
    "export.challenger": {
        *("challenge", "errors", "export.finished", "export.names", "model", "score_table", "tables"),
    },
    "export.formats": {
        *("errors", "export.finished", "export.names", "state"),
        *("export.challenger", "export.grand_challenge", "export.medperf", "export.nnunet", "export.synapse"),
    },
    "cli.examples": set(),
    "cli.completion": {"bundle"},
    "pictures.model": {"errors", "model"},
    "pictures.planes": {"nifti"},
    "pictures.choice": {"challenge", "metrics.registry", "model"},
    "pictures.page": {"errors"},
    "pictures.panels": {"nifti", "pictures.page", "pictures.planes"},
    "pictures.drawers": {
        *("challenge", "errors", "model", "nifti", "volumes"),
        *("pictures.choice", "pictures.model", "pictures.page", "pictures.panels"),
    },
    "pictures.masks": {
        *("challenge", "errors", "inputs", "lesions", "metrics.registry", "nifti", "regions", "volumes"),
        *("pictures.choice", "pictures.drawers", "pictures.page", "pictures.panels", "pictures.planes"),
        *("tasks", "tasks.marking"),
    },
    "pictures.images": {
        *("errors", "inputs", "metrics.registry", "tasks", "pictures.choice", "pictures.drawers"),
        *("pictures.masks", "pictures.page", "pictures.panels", "pictures.planes"),
    },
    "pictures.maps": {
        *("errors", "inputs", "nifti", "tasks", "pictures.choice", "pictures.drawers"),
        *("pictures.page", "pictures.panels", "pictures.planes"),
    },
    "pictures.points": {
        *("errors", "inputs", "tasks", "pictures.drawers", "pictures.page"),
        *("pictures.panels", "pictures.planes"),
    },
    "pictures.drawing": {
        *("challenge", "errors", "inputs", "model", "pictures.drawers", "pictures.images", "pictures.maps"),
        *("pictures.masks", "pictures.model", "pictures.page", "pictures.points"),
    },
    "pictures.finding": {
        *("archives", "cases", "challenge", "detail_table", "errors", "metadata", "model"),
        *("pictures.model", "results", "scoring", "sources", "tables"),
    },
    "pictures.showing": {
        *("archives", "config", "errors", "results", "sources"),
        *("pictures.drawing", "pictures.finding", "pictures.model"),
    },
    "pictures.worst": {
        *("challenge", "errors", "model", "options", "pictures.drawing", "pictures.finding"),
        *("pictures.model", "results", "sources", "supervisor"),
    },
    "report.charts": set(),
    "report.contents": {"challenge", "errors", "metrics.registry", "results", "score_table", "tables"},
    "report.details": {"detail_table", "errors", "tables"},
    "report.figures": {
        *("metrics.registry", "ranking.steps", "report.charts", "report.contents"),
        "report.details",
    },
    "report.page": {"errors", "report.charts", "report.contents", "report.details", "report.figures"},
    "reporting": {
        *("cases", "challenge", "config", "errors", "finishing", "options", "pictures.drawing"),
        *("pictures.model", "pictures.worst", "report.contents", "report.page", "results"),
        *("sources", "state"),
    },
    "cli.options": {"archives", "cli.completion", "cpus", "options"},
    "cli.terminal": {"cli.options", "errors", "finishing", "options", "reporting", "screen"},
    "cli.scoring": {
        *("cli.options", "cli.terminal", "config", "errors", "pipeline", "planning", "slurm", "validation"),
    },
    "cli.folders": {
        *("cli.completion", "cli.options", "cli.terminal", "config", "errors", "export.formats"),
        *("finishing", "joining", "pictures.showing", "reporting", "results", "state"),
    },
    "cli.bundled": {
        *("advice.advisers", "advice.findings", "cli.options", "cli.terminal", "config", "cpus"),
        *("metric_table", "starter"),
    },
    "cli.entry": {"cli.bundled", "cli.examples", "cli.folders", "cli.scoring"},
    "__main__": {"cli.main"},
}
MODULES = sorted(
    ".".join(path.relative_to(ROOT / "bratseval").with_suffix("").parts)
    for path in (ROOT / "bratseval").rglob("*.py")
    if path.name != "__init__.py"
)


def imported(module: str) -> set[str]:
    tree = ast.parse((ROOT / "bratseval" / (module.replace(".", "/") + ".py")).read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bratseval"):
            base = node.module.removeprefix("bratseval").lstrip(".")
            whole = base in MODULES
            found |= (
                {base} if whole or base == "tasks" else {f"{base}.{a.name}".lstrip(".") for a in node.names}
            )
    return {name for name in found if name != "__version__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_it_may(module: str) -> None:
    assert imported(module) <= ALLOWED[module]
