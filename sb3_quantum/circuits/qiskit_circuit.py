"""Any circuit of Qiskit, or OpenQASM 3 text, as a family of circuits."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch as th

from sb3_quantum.circuits.base import Circuit, Column
from sb3_quantum.circuits.checks import names_checked
from sb3_quantum.circuits.program import Program
from sb3_quantum.circuits.reader import Reading, read_gates, with_standard_gates
from sb3_quantum.circuits.shift_rule import common_periods
from sb3_quantum.circuits.text import read_text, read_with_inputs
from sb3_quantum.circuits.wording import counted

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter


@dataclass(frozen=True, init=False, repr=False)
class QiskitCircuit(Circuit):
    """
    Any circuit of Qiskit or OpenQASM 3, with inputs and trained weights.

    Its parameters are ``inputs``, which encode the observation (or are the inputs of a
    :class:`~sb3_quantum.layers.QuantumLayer`), and ``weights``, which are trained.

    Every gate with a matrix is accepted. A parameter may occur in several gates and in any expression that Qiskit supports.
    Measurements at the end are dropped, because all qubits are measured in Z.

    Its description is OpenQASM 3 text, :attr:`qasm`, also in YAML and in model files.

    :param circuit: the circuit, or OpenQASM 3 text
    :param inputs: parameters in the order of the inputs: a ``ParameterVector``, a parameter, or a sequence of parameters or
        names; the name ``"x"`` stands for ``x`` or all of ``x[0]``, ``x[1]``, ...; by default all parameters that are not
        weights, as ``circuit.parameters`` orders them, or in the order in which text declares them
    :param weights: the same for trained weights; none by default
    :raises ValueError: if there is no input, if a parameter is unknown, listed twice, in no gate or in neither list, or if
        there is a measurement or reset inside, or a gate without a matrix; the message names it
    :raises ImportError: if text is given and ``qiskit-qasm3-import`` is not installed
    """

    qasm: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]

    family: ClassVar[str] = "qiskit"
    n_layers: ClassVar[int] = 1  # type: ignore[misc]

    @names_checked({})
    def __init__(
        self,
        circuit: "QuantumCircuit | str",
        inputs: "Sequence[Parameter | str] | str | None" = None,
        weights: "Sequence[Parameter | str] | str | None" = None,
    ):
        from qiskit import QuantumCircuit

        given, declared = circuit, ()  # type: QuantumCircuit | str, Sequence[str]
        if isinstance(circuit, str):
            circuit, declared = read_with_inputs(circuit)
        if not isinstance(circuit, QuantumCircuit):
            raise ValueError(f"circuit must be a Qiskit QuantumCircuit or OpenQASM 3 text, got {type(circuit).__name__}")
        trained = _chosen(circuit, "weights", () if weights is None else weights)
        if inputs is None:
            read = [parameter for parameter in circuit.parameters if parameter not in trained]
            # Qiskit would sort x_10 before x_2, which it takes for names without numbers
            read.sort(key=lambda parameter: declared.index(parameter.name) if declared else 0)
        else:
            read = _chosen(circuit, "inputs", inputs)
        _check_parameters(circuit, read, trained)
        names = [_plain_name(parameter.name) for parameter in (*read, *trained)]
        bare = circuit.remove_final_measurements(inplace=False)
        assert bare is not None
        unchanged = len(bare.data) == len(circuit.data) and all(p.name in names for p in circuit.parameters)
        if isinstance(given, str) and unchanged:
            # Text stays unchanged, so that a file is written as it was read
            read_gates(circuit, names)  # which refuses what is none
            text, again = given, circuit
        else:
            text, names, again = _written(circuit, [*read, *trained], names)
        object.__setattr__(self, "qasm", text)
        object.__setattr__(self, "inputs", tuple(names[: len(read)]))
        object.__setattr__(self, "weights", tuple(names[len(read) :]))
        self.__dict__["_circuit"] = with_standard_gates(again)

    def __repr__(self) -> str:
        parts = [(self.n_qubits, "qubit"), (len(self.program.gates), "gate"), (len(self.inputs), "input")]
        parts += [(len(self.weights), "weight")] if self.weights else []
        return f"QiskitCircuit({', '.join(counted(*part) for part in parts)})"

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"circuit": self.qasm, "inputs": list(self.inputs), "weights": list(self.weights)}

    @cached_property
    def _circuit(self) -> "QuantumCircuit":
        """The circuit of the text, so that it is the same before and after a file."""
        return with_standard_gates(read_text(self.qasm))

    @cached_property
    def _reading(self) -> Reading:
        return read_gates(self._circuit, [*self.inputs, *self.weights])

    @cached_property
    def n_qubits(self) -> int:  # type: ignore[override]
        """Qubits of the circuit."""
        return self._circuit.num_qubits

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        columns = []
        names = [*self.inputs, *self.weights]
        periods = common_periods(self.program, self.angle_terms, len(names))
        for place, (name, period) in enumerate(zip(names, periods, strict=True)):
            trained = place >= len(self.inputs)
            columns.append(Column("angle", period, f"the {'weight' if trained else 'input'} {name!r}", trained))
        return tuple(columns)

    @property
    def program(self) -> Program:
        return self._reading.program

    @property
    def angle_terms(self) -> tuple[tuple[tuple[int, float], ...] | None, ...]:
        return self._reading.terms

    @cached_property
    def gate_columns(self) -> np.ndarray | None:
        reading = self._reading
        if any(reading.offsets) or any(terms is None or [f for _, f in terms] != [1.0] for terms in reading.terms):
            return None
        return np.array([terms[0][0] for terms in reading.terms if terms], dtype=np.int64)

    def gate_angles(self, inputs: th.Tensor) -> th.Tensor:
        matrix, offset, others = self._map
        angles = inputs @ matrix.to(inputs).T + offset.to(inputs)
        if others:
            columns = list(angles.unbind(1))
            for place, function in others:
                value = function(*inputs.unbind(1))
                columns[place] = th.as_tensor(value).to(inputs).expand(len(inputs))
            angles = th.stack(columns, dim=1)
        return angles

    @cached_property
    def _map(self) -> tuple[th.Tensor, th.Tensor, list[tuple[int, Callable[..., Any]]]]:
        """Matrix and offset of gate angles that are sums, and functions, with their places, of the others."""
        reading = self._reading
        matrix = np.zeros((reading.program.n_angles, len(self.inputs) + len(self.weights)))
        for place, terms in enumerate(reading.terms):
            for column, factor in terms or ():
                matrix[place, column] += factor
        return th.as_tensor(matrix), th.as_tensor(np.array(reading.offsets)), reading.functions()

    def write(self, angles: Sequence[Any], structure: Any, measure: bool = True, layers: bool = False) -> "QuantumCircuit":
        names = [*self.inputs, *self.weights]
        circuit = self._circuit.assign_parameters(dict(zip(names, angles, strict=True)))
        if measure:
            circuit.measure_all()
        return circuit


def _chosen(circuit: "QuantumCircuit", what: str, names: Any) -> "list[Parameter]":
    """List the circuit's parameters that an argument names."""
    from qiskit.circuit import Parameter

    known = {parameter.name: parameter for parameter in circuit.parameters}
    if isinstance(names, Parameter):
        names = [names]
    if isinstance(names, str):
        several = [name for name in known if re.fullmatch(rf"_?{re.escape(names)}(\[\d+\]|_\d+_?)", name)]
        if names not in known and not several:
            raise ValueError(f"{what}={names!r} is not a parameter of the circuit, which has {_listed(known)}")
        return [known[names]] if names in known else [known[name] for name in sorted(several, key=_number)]
    if not isinstance(names, Iterable):
        raise ValueError(f"{what} must be a ParameterVector, parameters, or names, got {names!r}")
    found = []
    for item in names:
        name = item if isinstance(item, str) else getattr(item, "name", None)
        if name not in known:
            raise ValueError(
                f"{what}: {name or item!r} is not a parameter of a gate of the circuit, which has {_listed(known)}"
            )
        found.append(known[name])
    return found


def _number(name: str) -> int:
    return int(re.findall(r"\d+", name)[-1])


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names)) or "none"


def _check_parameters(circuit: "QuantumCircuit", inputs: "list[Parameter]", weights: "list[Parameter]") -> None:
    """Check that every parameter is listed once, and that at least one is an input."""
    names = [parameter.name for parameter in (*inputs, *weights)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"the parameters {_listed(twice)} are listed twice, in inputs={_listed(names[: len(inputs)])} and weights"
        )
    left = [parameter.name for parameter in circuit.parameters if parameter.name not in names]
    if left:
        raise ValueError(f"the parameters {_listed(left)} are neither inputs nor weights")
    if not inputs:
        raise ValueError("inputs must name at least one parameter of the circuit, got none")
    _check_names(names, [_plain_name(name) for name in names])


def _check_names(names: list[str], plain: list[str]) -> None:
    """Check that no two parameters have the same name in OpenQASM."""
    same = sorted({name for name in plain if plain.count(name) > 1})
    if same:
        raise ValueError(f"two parameters would both be called {same[0]!r} in OpenQASM: rename one of {_listed(names)}")


def _declared_in_order(text: str, names: list[str]) -> str:
    """Put the declarations of parameters into our order; Qiskit's is by name, with x_10 before x_2."""
    order = iter(names)
    return re.sub(r"^(input float\[64\] )\w+;$", lambda found: f"{found[1]}{next(order)};", text, flags=re.MULTILINE)


def _plain_name(name: str, accepted: re.RegexFlag = re.UNICODE) -> str:
    """Return a name that is valid in OpenQASM: ``x[0]`` becomes ``x_0``, as in Qiskit's exporter."""
    plain = re.sub(r"\W+", "_", name, flags=accepted).strip("_") or (name if accepted is re.UNICODE else "one")
    return f"angle_{plain}" if plain[0].isdigit() else plain


def _written(
    circuit: "QuantumCircuit", parameters: "list[Parameter]", names: list[str]
) -> "tuple[str, list[str], QuantumCircuit]":
    """
    Return the text, the parameters' names in it (OpenQASM has a gate x, and the number pi), and the circuit that it describes.
    """
    from qiskit import qasm3
    from qiskit.circuit import Parameter

    reason: Exception | str = f"it has no form of the names {_listed(p.name for p in parameters)}"
    # OpenQASM accepts some letters of other alphabets, so these are replaced last
    for accepted in (re.UNICODE, re.ASCII, re.ASCII):
        plain = circuit.assign_parameters({old: Parameter(new) for old, new in zip(parameters, names, strict=True)})
        reading = read_gates(plain, names)  # which refuses what is none
        there: set[str] = set()
        # Definitions of gates may contain what OpenQASM cannot express; then the circuit is written without them
        for form in (plain.remove_final_measurements(inplace=False), reading.circuit):
            try:
                text = qasm3.dumps(form)
                again = read_text(text)
            except (qasm3.QASM3ExporterError, TypeError, ValueError) as error:  # TypeError: (1j * a) ** 2
                reason = error
                continue
            there = {parameter.name for parameter in again.parameters}
            if there.issuperset(names):
                return _declared_in_order(text, names), names, again
            break
        again_named = (f"{_plain_name(parameter.name, accepted)}_angle" for parameter in parameters)
        names = [old if old in there else new for old, new in zip(names, again_named, strict=True)]
        _check_names([parameter.name for parameter in parameters], names)
    raise ValueError(f"the circuit cannot be written as OpenQASM 3: {reason}")
