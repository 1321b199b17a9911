import sys
from itertools import pairwise

import numpy as np
import pytest
import torch as th
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sb3_quantum.circuits import BrickworkCircuit, Circuit, PaperCircuit
from sb3_quantum.plots import circuit_figure
from sb3_quantum.plots.circuit import _part, _rows

#: theta and phi of every qubit, then the CZ's qubits, per layer; the second layer has no CZ
ANGLES = th.tensor([0.1234, -1.5, 2.0, 0.5, 0, 1, 7.0, 0.004, -3.0, 1.25, 1, 1, 0.3, 0.4, 0.6, 0.7, 1, 0])


def test_the_rows_are_the_circuit_that_is_run() -> None:
    rows = _rows(PaperCircuit(2, 3).to_qiskit(ANGLES, measure=False, layers=True), 2)
    gates = [[(gate.operation.name, gate.operation.params) for gate in row.data] for row in rows]
    line = ("barrier", [])
    # 7 radians are 7 - 2 pi
    assert gates == [
        [("r", [0.12, -1.5]), ("r", [2.0, 0.5]), ("cz", []), line, ("r", [0.72, 0.0]), ("r", [-3.0, 1.25]), line],
        [("r", [0.3, 0.4]), ("r", [0.6, 0.7]), ("cz", []), line],
    ]
    labels = [gate.operation.label for row in rows for gate in row.data if gate.operation.name == "barrier"]
    assert labels == ["1", "2", "3"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (10, 10)])
def test_every_angle_is_legible(shape: tuple[int, int]) -> None:
    """Every box has its text, no text leaves the figure, and no two boxes' texts meet."""
    ansatz = PaperCircuit(*shape)
    inputs = 2 * th.randn(ansatz.n_inputs, generator=th.Generator().manual_seed(0))
    figure = circuit_figure(ansatz, inputs, "A title of some length, as it stands above a circuit in TensorBoard")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for axes in figure.axes for text in axes.texts]
    angles = [text for text in texts if "," in text.get_text()]
    assert len(angles) == ansatz.n_qubits * ansatz.n_layers
    sizes = {round(text.get_fontsize(), 3) for text in angles}
    assert len(sizes) == 1 and 10 <= sizes.pop() <= 11
    width, height = canvas.get_width_height()
    for text in [*texts, *figure.texts]:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text
    boxes = sorted((text.get_window_extent(renderer) for text in angles), key=lambda box: (round(box.y0), box.x0))
    for left, right in pairwise(boxes):
        assert round(left.y0) != round(right.y0) or left.x1 < right.x0


def test_a_short_row_has_the_same_fonts() -> None:
    figure = circuit_figure(PaperCircuit(2, 3), ANGLES, layers_per_row=2)
    first, second = ({round(text.get_fontsize(), 3) for text in axes.texts} for axes in figure.axes)
    assert first == second


@pytest.mark.parametrize("n_qubits", [127, 156])
def test_of_a_wide_circuit_the_joined_qubits_are_drawn(n_qubits: int) -> None:
    """Under their own names, with their own angles; the caption says that others are left out."""
    circuit = PaperCircuit(n_qubits, 2)
    angles = th.arange(4.0 * n_qubits).fmod(3).reshape(1, -1)
    inputs = circuit.join(angles, th.tensor([[5.0, n_qubits - 1.0, 17.0, 17.0]]))
    part = _part(circuit.to_qiskit(inputs, measure=False, layers=True))
    assert [register.name for register in part.qregs] == ["q5", f"q{n_qubits - 1}"]
    assert part.count_ops() == {"r": 4, "barrier": 2, "cz": 1}
    turns = [gate.operation.params for gate in part.data if gate.operation.name == "r"]
    wanted = circuit.wrap_angles(angles).reshape(2, n_qubits, 2)[:, [5, n_qubits - 1]].reshape(4, 2)
    assert np.allclose(turns, wanted, atol=1e-6)
    figure = circuit_figure(circuit, inputs, "Wide")
    assert f"Drawn are 2 of {n_qubits} qubits" in figure.texts[0].get_text() and figure.get_figheight() < 5
    # Without a gate of two qubits, and with too many of them
    assert _part(PaperCircuit(n_qubits, 1, 0).to_qiskit(angles[:, : 2 * n_qubits], measure=False)).num_qubits == 24
    ring = BrickworkCircuit(n_qubits, 1)
    assert _part(ring.to_qiskit(th.zeros(1, ring.n_inputs), measure=False)).num_qubits == 24


def test_the_caption_names_the_gates_that_there_are() -> None:
    circuits: tuple[tuple[Circuit, bool], ...] = ((BrickworkCircuit(3, 2), True), (PaperCircuit(3, 2, 0), False))
    for circuit, named in circuits:
        said = circuit_figure(circuit, np.zeros(circuit.n_inputs)).texts[0].get_text()
        assert ("CZ in orange" in said) is named and "Angles in radians" in said


def test_no_figure_is_left_open() -> None:
    circuit_figure(PaperCircuit(2, 3), ANGLES)
    assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from qiskit.utils import optionals

    with monkeypatch.context() as patch:
        patch.setattr(optionals.HAS_PYLATEX, "_bool", False)
        with pytest.raises(ImportError, match=r"pylatexenc: pip install \"sb3-quantum\[plots\]\""):
            circuit_figure(PaperCircuit(2, 3), ANGLES)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"matplotlib: pip install \"sb3-quantum\[plots\]\""):
        circuit_figure(PaperCircuit(2, 3), ANGLES)
