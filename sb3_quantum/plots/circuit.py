"""Drawings of circuits."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import torch as th

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.plots.figure import WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from qiskit import QuantumCircuit

#: inches per column and per qubit of Qiskit's drawing
_INCHES = 0.66
#: fonts, in points, that fit the boxes at that size
_FONTS = {"fontsize": 14.5, "subfontsize": 11.3}
_STYLE = {
    **_FONTS,
    "barrierfacecolor": "#EEEEEE",
    "displaycolor": {"r": ("#DCE9F5", "#000000"), "cz": ("#D55E00", "#D55E00")},
}
#: caption of the drawing, with a clause about its CZ gates if there are any
_CAPTION = "Angles in radians{}; all qubits are measured"
#: maximum number of qubits in a drawing; more would fill many pages
MAX_QUBITS = 24
#: letters of the title and the caption in an inch, at 11 points
_LETTERS = 12.5


@keywords_checked({})
def circuit_figure(ansatz: Circuit, inputs: "th.Tensor | np.ndarray", title: str = "", layers_per_row: int = 5) -> "Figure":
    """
    Draw one circuit with Qiskit's drawer: a box for every rotation, with its angles in radians to two decimals, and a line for
    every CZ. A numbered line ends each layer. The measurement of all qubits is left out. If there are more than 24 qubits,
    only those that gates join are drawn, at most the lowest 24; the caption says how many are left out.

    :param ansatz: the circuit
    :param inputs: circuit inputs, ``(n_inputs,)`` or ``(1, n_inputs)``
    :param title: above the circuit
    :param layers_per_row: layers in a row of the drawing
    :return: the figure
    :raises ImportError: if matplotlib or pylatexenc is missing
    """
    from qiskit.exceptions import MissingOptionalLibraryError
    from qiskit.visualization import circuit_drawer

    # About the final width, because lines are scaled by the width; a layer has four columns
    figure = new_figure(_INCHES * (4 * min(layers_per_row, ansatz.n_layers) + 1), 1)
    # Each row is a separate drawing: Qiskit would break within a layer
    whole = ansatz.to_qiskit(inputs, measure=False, layers=True)
    caption = _CAPTION.format("; CZ in orange" if "cz" in whole.count_ops() else "")
    drawn = whole if ansatz.n_qubits <= MAX_QUBITS else _part(whole)
    if drawn is not whole:
        caption = f"Drawn are {drawn.num_qubits} of {ansatz.n_qubits} qubits, those that gates join. {caption}"
    rows = []
    for row, circuit in enumerate(_rows(drawn, layers_per_row)):
        axes = figure.add_axes((0, 0, 1, 1), label=str(row))
        try:
            circuit_drawer(circuit, output="mpl", ax=axes, fold=-1, style=_STYLE)
        except MissingOptionalLibraryError as error:
            raise ImportError('drawing circuits needs pylatexenc: pip install "sb3-quantum[plots]"') from error
        rows.append(axes)
    # Qiskit scales its fonts to the figure's width; here every column has the same width, in every row
    widths = [_INCHES * float(np.ptp(axes.get_xlim())) for axes in rows]
    heights = [_INCHES * float(np.ptp(axes.get_ylim())) for axes in rows]
    width = max(*widths, WIDTH)
    head = "\n".join(textwrap.fill(text, int(_LETTERS * width)) for text in (title, caption) if text)
    head_height = 0.2 + 0.23 * len(head.splitlines())
    height = sum(heights) + head_height
    top = height - head_height
    for axes, row_width, row_height in zip(rows, widths, heights, strict=True):
        for text in axes.texts:
            text.set_fontsize(float(text.get_fontsize()) * row_width / figure.get_figwidth())
        top -= row_height
        axes.set_position((0, top / height, row_width / width, row_height / height))
    figure.set_size_inches(width, height)
    figure.text(0.15 / width, 1 - 0.15 / height, head, va="top", fontsize=11, linespacing=1.4)
    return figure


def _part(circuit: "QuantumCircuit") -> "QuantumCircuit":
    """
    Return the circuit on some qubits: those of two-qubit gates, or the lowest ones if there are none. Gates on other qubits
    are left out.
    """
    from qiskit.circuit import QuantumCircuit, QuantumRegister

    joined = {
        circuit.find_bit(qubit).index
        for instruction in circuit.data
        if len(instruction.qubits) == 2 and instruction.operation.name != "barrier"
        for qubit in instruction.qubits
    }
    kept = sorted(joined or range(circuit.num_qubits))[:MAX_QUBITS]
    # One register per qubit, named like the qubits of the whole circuit in Qiskit
    part = QuantumCircuit(*(QuantumRegister(1, f"q{number}") for number in kept))
    places = {circuit.qubits[number]: part.qubits[at] for at, number in enumerate(kept)}
    for instruction in circuit.data:
        operation, qubits = instruction.operation, [places[qubit] for qubit in instruction.qubits if qubit in places]
        if operation.name == "barrier":
            part.barrier(label=operation.label)
        elif len(qubits) == len(instruction.qubits):
            part.append(operation, qubits)
    return part


def _rows(circuit: "QuantumCircuit", layers_per_row: int) -> list["QuantumCircuit"]:
    """
    Cut the circuit into rows of layers, with rounded angles. A numbered line after every layer keeps the gates of the next
    layer from sliding to the left.
    """
    rows = [circuit.copy_empty_like()]
    layers = 0
    for instruction in circuit.data:
        if layers == layers_per_row:
            rows.append(circuit.copy_empty_like())
            layers = 0
        operation = instruction.operation
        layers += operation.name == "barrier"
        if operation.params and all(isinstance(angle, float) for angle in operation.params):
            operation = operation.base_class(*(round(angle, 2) for angle in operation.params))
        rows[-1].append(operation, instruction.qubits)
    return rows
