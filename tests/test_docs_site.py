"""The docs as a site: built without a warning, complete, and with nothing in it that is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType

import pytest

import musicgen_bridge
from musicgen_bridge import client, errors, request

pytest.importorskip("mkdocs", reason="the docs group is not installed")

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FROM_ELSEWHERE = r'<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)="(?:https?:)?//[^"]*"'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; --strict makes each warning an error, such as a link or a name that leads nowhere."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def built(site: Path, page: Path) -> str:
    """Return what the site makes of a page."""
    name = page.relative_to(ROOT / "docs").with_suffix("")
    return (site / (name.parent if name.name == "README" else name) / "index.html").read_text("utf-8")


def own_dataclasses(module: ModuleType) -> set[str]:
    return {name for name, each in vars(module).items() if is_dataclass(each) and each.__module__ == module.__name__}


def test_every_table_is_one_on_the_site(site: Path) -> None:
    """A table or a list right below a line of text is one for GitHub and none here."""
    for page in PAGES:
        written = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        tables = len(re.findall(r"^\|[-| :]*---[-| :]*$", written, re.MULTILINE))
        html = built(site, page)
        assert html.count("<table>") >= tables, page.name
        assert re.findall(r"<p>[^<]*\n- .*|<p>\|.*", html) == [], page.name


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    assert [
        found for page in site.rglob("*.html") for found in re.findall(FROM_ELSEWHERE, page.read_text("utf-8"))
    ] == []


def test_every_public_name_has_its_entry(site: Path) -> None:
    pages = "".join(page.read_text("utf-8") for page in (site / "api").rglob("*.html"))
    entries = {name.rsplit(".", 1)[-1] for name in re.findall(r'<h2 id="musicgen_bridge\.([\w.]+)"', pages)}
    public = {*musicgen_bridge.__all__} - {"__version__"}
    public |= {each.__name__ for each in errors.BY_CODE.values()} | {errors.BridgeError.__name__}
    public |= {"Part", "TempoMap", "Signature"}.union(*map(own_dataclasses, (client, request)))
    assert public - entries == set()
