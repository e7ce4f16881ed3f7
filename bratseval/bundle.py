"""Which challenges are bundled: cheap to ask, so that completion in a shell need not load anything."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def bundled_folder() -> Path:
    """Folder of the bundled configurations: beside the package in a wheel, above it in a checkout."""
    package = Path(__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def bundled_names() -> list[str]:
    """Names of the bundled challenges, sorted."""
    return sorted(path.stem for path in bundled_folder().glob("*.yaml"))
