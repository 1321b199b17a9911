"""The manual's long tables are those of the benchmarks' results, and a page links each of them."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tables"
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    TABLES = importlib.import_module("manual_tables").TABLES
finally:
    sys.path.pop(0)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_that_of_the_results(name: str) -> None:
    """If not: python benchmarks/manual_tables.py"""
    assert (FOLDER / f"{name}.csv").read_text() == TABLES[name]()


def test_every_table_is_made_and_linked() -> None:
    pages = "\n".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {f"{name}.csv" for name in TABLES}
    assert [name for name in files if f"(tables/{name})" not in pages] == []


def test_tables_of_the_seeds_on_humanoid_are_those_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """If not: python benchmarks/humanoid_seeds.py --page docs/humanoid.md"""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    fill = importlib.import_module("humanoid_seeds").fill
    page = (ROOT / "docs" / "humanoid.md").read_text()
    assert fill(page) == page
    with pytest.raises(ValueError, match="no place for the table 'seeds'"):
        fill("no comments")
