"""Pieces of Markdown that all generated pages are made of, and the hand-written facts beside the registry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


_BAR = re.compile(r"((?:`[^`]*`|[^`|])*)\|")


@cache
def facts(name: str) -> dict[str, Any]:
    """The mapping in docs/<name>.yml."""
    return YAML(typ="safe").load((DOCS / f"{name}.yml").read_text(encoding="utf-8"))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a bar inside a cell stays text (one in code already is)."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = (" ".join(_BAR.sub(r"\1\\|", str(cell)).split()) for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def formula(latex: str) -> str:
    """A formula on a line of its own; GitHub shows the same fence."""
    return f"```math\n{latex}\n```\n"


def source(text: str) -> str:
    """A source, its address a link under the words before it."""
    words, _, address = text.rpartition(", https://")
    return f"[{words}](https://{address})" if words else text


def prose(docstring: str) -> str:
    """A docstring as Markdown: double backticks become single ones, signs of Markdown and HTML stay text."""
    parts = re.split(r"(``.*?``|`[^`]*`)", docstring)
    for index, part in enumerate(parts):
        if part.startswith("`"):
            parts[index] = "`" + part.strip("`") + "`"
        else:
            parts[index] = re.sub(r"([<>*_\[\]])", r"\\\1", part)
    return "".join(parts)


def number(value: float | None) -> str:
    """A number as short as it reads well; a dash where there is none."""
    if value is None or value != value:
        return "–"
    return "∞" if value == float("inf") else f"{value:.4g}"


def cost(value: object) -> str:
    """What an empty or failed side costs, as a challenge states it."""
    if value is None:
        return "empty"
    if isinstance(value, list):
        return "the largest of " + ", ".join(map(cost, value))
    return "grid diagonal" if value == "grid_diagonal" else f"{value:g}"


def code(text: object) -> str:
    """Inline code; a dash where there is nothing."""
    shown = str(text)
    fence = "``" if "`" in shown else "`"
    return f"{fence}{shown}{fence}" if shown else "–"
