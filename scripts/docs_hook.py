"""What MkDocs calls: generated pages and pictures join those of docs/, and formulas become MathML.

See https://www.mkdocs.org/user-guide/configuration/#hooks; named in mkdocs.yml.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import docs_challenges
import docs_metrics
import docs_pictures
import docs_rankings
import docs_reference
import docs_text
from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

from bratseval.metric_table import metric_rows
from bratseval.ranking.rules import SCHEMES


def pages() -> dict[str, str]:
    """All generated pages: path -> Markdown."""
    return {
        **docs_metrics.metric_pages(),
        **docs_rankings.ranking_pages(),
        **docs_challenges.challenge_pages(),
        **docs_reference.reference_pages(),
    }


def pictures() -> dict[str, str]:
    """All pictures: path -> SVG."""
    drawn = {f"metrics/img/{row.name}.svg": docs_pictures.metric_picture(row.name) for row in metric_rows()}
    for name, scheme in SCHEMES.items():
        scores = docs_rankings.example_of(name).scores
        drawn[f"rankings/img/{name}.svg"] = docs_pictures.scheme_picture(scheme.steps, scores)
    return drawn


def samples() -> dict[str, bytes]:
    """What the commands of the tutorials make of the sample data: a report, and the picture of a case."""
    data = docs_text.ROOT / "sample_data" / "brats-met"
    given = ["-r", str(data / "references"), "--quiet", "--fail-on", "never", "--report"]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _bratseval(
            "run", "brats2026-met", "-s", str(data / "submissions"), *given, "-o", str(place / "results")
        )
        case = ["--team", "patchy", "--case", "00002-000", "-o", str(place / "worst.png")]
        _bratseval("show", str(place / "results"), *case)
        files = {
            "sample/report.html": place / "results" / "report.html",
            "sample/worst.png": place / "worst.png",
        }
        return {name: path.read_bytes() for name, path in files.items()}


def math_font() -> dict[str, bytes]:
    """A font with the tables that MathML needs for large brackets; many systems have none."""
    font = resources.files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"
    return {"assets/fonts/STIXTwoMath-Regular.ttf": font.read_bytes()}


def _bratseval(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "bratseval", *words], check=True, capture_output=True)


def on_config(config: Any) -> Any:
    """Fill the placeholders of the navigation."""
    filled = {
        "<metrics>": _sections("metrics", docs_metrics.sections()),
        "<rankings>": ["rankings/index.md", *(f"rankings/{name}.md" for name in SCHEMES)],
        "<challenges>": _sections("challenges", docs_challenges.sections()),
    }
    config.nav = [
        {
            title: filled.get(inside, inside) if isinstance(inside, str) else inside
            for title, inside in entry.items()
        }
        for entry in config.nav
    ]
    return config


def _sections(folder: str, sections: dict[str, list[str]]) -> list[Any]:
    groups = [{title: [f"{folder}/{name}.md" for name in names]} for title, names in sections.items()]
    return [f"{folder}/index.md", *groups]


def on_files(files: Files, config: Any) -> Files:
    """Add what is generated."""
    for path, content in {**pages(), **pictures(), **samples(), **math_font()}.items():
        if (old := files.get_file_from_path(path)) is not None:
            files.remove(old)
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Formulas in ```math fences, as GitHub has them, become MathML, which needs no script."""
    return re.sub(r"^```math\n(.*?)\n```$", lambda found: mathml(found[1]), markdown, flags=re.M | re.S)


_BAR = ('<mo stretchy="false">&#x0007C;', '<mo stretchy="false" lspace="0" rspace="0">&#x0007C;')


def mathml(latex: str) -> str:
    """A formula on a line of its own; a bar is a bracket here, not an operator with space around it."""
    formula = convert(latex, display="block").replace(*_BAR)
    return f'<div class="formula">{formula}</div>'
