"""The documentation holds what the code says: generated parts are fresh, links lead somewhere, CI runs the README."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
assert spec is not None and spec.loader is not None
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_generated_parts_are_fresh(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == generate.filled(text), "run: python docs/generate.py"


def test_every_generated_part_stands_on_a_page() -> None:
    everything = "".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in generate.PARTS if f"<!-- {name} -->" not in everything] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert [one for one in targets if "://" not in one and not (page.parent / one).exists()] == []


def test_ci_runs_the_readme_s_test_line() -> None:
    line = "pip install uv && uv run pytest"
    assert line in (ROOT / "README.md").read_text("utf-8")
    assert line in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_page_is_reached_from_the_first() -> None:
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([^)#]+)", (docs / "README.md").read_text("utf-8")))
    pages = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} - {"README.md"}
    assert pages - linked == set()


def test_every_module_stands_on_the_map() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    package = ROOT / "musicgen_bridge"
    modules = {path.stem for path in package.glob("*.py")}
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert {name for name in modules | rooms if f"`{name}`" not in text} == set()
