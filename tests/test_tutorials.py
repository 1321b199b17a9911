"""The tutorials run from top to bottom, and are stored with the outputs that the manual shows."""

import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
#: in place of the cell tagged "parameters", where a tutorial trains for longer than a test should
SHORTER = {
    "td3_to_quantum_td3": "STEPS = 600",
    "quantum_layer_in_a_classifier": "STEPS = 20",
    "is_my_layer_trained": "STEPS = 250",
    "study_with_controls": "STEPS, SEEDS = 210, 2",
}

each = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> set[str]:
    """What a cell leaves: text, pictures, tables."""
    return {kind for output in cell.outputs for kind in output.get("data", {output.get("name"): None})} - {"stderr"}


@pytest.mark.slow
@each
def test_runs(path: Path, tmp_path: Path) -> None:
    """Every cell leaves what it left when the page was made; a cell that fails is an error."""
    from run_tutorials import run

    notebook, stored = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
    parameters = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", ())]
    assert len(parameters) == (path.stem in SHORTER)
    for cell in parameters:
        # The same names, so that nothing below is left without its value
        assert cell.source.partition("=")[0] == SHORTER[path.stem].partition("=")[0]
        cell.source = SHORTER[path.stem]
    run(notebook, tmp_path)
    assert [kinds(cell) for cell in code_cells(notebook)] == [kinds(cell) for cell in code_cells(stored)]


@each
def test_is_stored_as_it_was_run(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert 10 <= len(notebook.cells) <= 26
    # From top to bottom, in a fresh kernel
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert "image/png" in set().union(*map(kinds, cells))
    source = "\n".join(cell.source for cell in cells)
    assert ("import matplotlib.pyplot as plt" in source) == ("plt.style.use(STYLE)" in source)
    text = path.read_text()
    assert len(text) < 500_000 and not re.search(r"/(home|root|tmp|work|Users)/", text)


def test_every_tutorial_is_listed() -> None:
    page = (ROOT / "docs" / "tutorials" / "index.md").read_text()
    names = [path.stem for path in TUTORIALS]
    assert len(names) == 6
    assert sorted(re.findall(r"\((\w+)\.ipynb\)", page)) == names
    assert sorted(re.findall(r"^(\w+)$", page.partition("```{toctree}")[2], re.M)) == names
