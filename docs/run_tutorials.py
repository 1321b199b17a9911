"""
Run the tutorials and store what they print and draw: ``make tutorials``.

    python docs/run_tutorials.py                                      # all of them
    python docs/run_tutorials.py docs/tutorials/your_own_circuit.ipynb
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parent / "tutorials"


def run(notebook: Any, folder: Path) -> None:
    """
    Run all cells in a kernel of their own; the notebook holds their outputs then.

    :param notebook: as ``nbformat`` reads it
    :param folder: the working directory
    :raises nbclient.exceptions.CellExecutionError: if a cell fails
    """
    resources = {"metadata": {"path": str(folder)}}
    # Times of execution would be another difference in every commit
    NotebookClient(notebook, timeout=600, kernel_name="python3", record_timing=False, resources=resources).execute()
    # So would the version of the Python that ran it
    notebook.metadata["language_info"] = {"name": "python"}


def main() -> None:
    """The command."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(TUTORIALS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, Path(folder))
        nbformat.write(notebook, path)
        print(path)


if __name__ == "__main__":
    main()
