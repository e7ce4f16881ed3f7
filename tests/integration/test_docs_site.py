"""The built documentation: complete, without any outside request, and working from disk in Chromium.

`make test-docs` installs what it needs in a folder of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT

pytestmark = pytest.mark.docs
CHROMIUM = os.environ.get("BRATSEVAL_CHROMIUM") or shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=8000"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--dump-dom"),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a page loads by itself, where it links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given[key] or "" for key in ("id", "name") if given.get(key)}
        if tag in ("script", "img", "iframe", "source", "object", "embed") and given.get("src"):
            self.loads.append(given["src"] or "")
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given.get("href") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= 170
    for page in pages:
        for address in Loaded(page.read_text()).loads:
            assert not urlsplit(address).netloc, (page, address)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//", sheet.read_text()), sheet


def test_every_link_and_picture_is_there(site: Path) -> None:
    ids = {page: Loaded(page.read_text()) for page in site.rglob("*.html")}
    for page, loaded in ids.items():
        if page.name == "404.html":  # its links begin at the root of a server
            continue
        for address in (*loaded.loads, *loaded.links):
            parts = urlsplit(address)
            if parts.scheme or not parts.path + parts.fragment:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), (page, address)
            if parts.fragment and target in ids and not parts.fragment.startswith("__"):
                assert unquote(parts.fragment) in ids[target].ids, (page, address)


def test_formulas_are_mathml(site: Path) -> None:
    for folder in ("metrics", "rankings"):
        for page in (site / folder).glob("*.html"):
            if page.name != "index.html":
                text = page.read_text()
                assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in text, page
                assert "\\frac" not in text, page


def opened(page: str, profile: Path) -> tuple[str, str]:
    """What a page becomes in Chromium, and what the browser logs; every name resolves to nothing."""
    assert CHROMIUM
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize(
    "page",
    ["index.html", "metrics/hd95.html", "challenges/brats2024-gli.html", "commands.html", "python.html"],
)
def test_pages_open_from_disk_without_an_error(site: Path, tmp_path: Path, page: str) -> None:
    text, console = opened(f"file://{site / page}", tmp_path)
    assert "<h1" in text
    assert console == ""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_search_works_from_disk(site: Path, tmp_path: Path) -> None:
    text, console = opened(f"file://{site}/index.html?q=hausdorff", tmp_path)
    assert console == ""
    found = re.search(r'class="md-search-result__meta">\s*(\d+) matching', text)
    assert found
    assert int(found[1]) >= 2
