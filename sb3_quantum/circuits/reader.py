"""Translate a Qiskit circuit to a program: its gates in terms of those that engines and priors support."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sb3_quantum.circuits.program import HADAMARD, N_ANGLES, Gate, Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit.circuit import Instruction

#: one-qubit gates without parameters
_FIXED = ("h", "x", "y", "z", "s", "sdg", "t", "tdg", "sx", "sxdg", "id")
#: gates into which other gates are rewritten
_BASIS = (*_FIXED, "r", "rx", "ry", "rz", "p", "u", "cx", "cz", "rzz")


class Reading(NamedTuple):
    """
    Contents of a Qiskit circuit.

    :param circuit: the circuit in the gates of the basis
    :param program: its gates
    :param terms: gate angles as sums of the parameters, see :attr:`Circuit.angle_terms`
    :param offsets: added to these sums, in radians
    :param expressions: Qiskit's expression of every gate angle, numbers where there is no parameter
    :param names: names of the parameters
    """

    circuit: "QuantumCircuit"
    program: Program
    terms: tuple[tuple[tuple[int, float], ...] | None, ...]
    offsets: tuple[float, ...]
    expressions: tuple[Any, ...]
    names: tuple[str, ...]

    def functions(self) -> list[tuple[int, Callable[..., Any]]]:
        """
        Return, for every gate angle that is not a sum, its place and a function of all parameters (tensors) that computes it.
        """
        import sympy
        import torch as th

        symbols = [sympy.Symbol(name, real=True) for name in self.names]
        found = []
        for place, terms in enumerate(self.terms):
            if terms is None:
                expression = self.expressions[place].sympify()
                by_name = {symbol.name: symbol for symbol in expression.free_symbols}
                same = expression.subs({by_name[s.name]: s for s in symbols if s.name in by_name})
                found.append((place, sympy.lambdify(symbols, same, modules=[{"Abs": th.abs}, th])))
        return found


def read_gates(circuit: "QuantumCircuit", names: Sequence[str]) -> Reading:
    """
    Rewrite a circuit in the gates of a program.

    :param circuit: any circuit of gates with a matrix, measured at its end or not
    :param names: names of its parameters, in the order of the columns
    :return: the contents
    :raises ValueError: if it contains anything else, or a parameter is used in no gate; the message names it
    """
    from qiskit import transpile
    from qiskit.exceptions import QiskitError

    bare = circuit.remove_final_measurements(inplace=False)
    assert bare is not None
    if bare.num_qubits == 0:
        raise ValueError("the circuit has no qubits")
    _check_operations(bare)
    try:
        basic = transpile(with_standard_gates(bare), basis_gates=list(_BASIS), optimization_level=0)
    except QiskitError as error:
        raise ValueError(f"the circuit has a gate without a known matrix: {error.message}") from error
    gates: list[Gate] = []
    expressions: list[Any] = []

    def rotation(name: str, qubits: Sequence[int], *angles: Any) -> None:
        first = len(expressions)
        expressions.extend(angles)
        gates.append(Gate(name, tuple(qubits), tuple(range(first, first + len(angles)))))

    for instruction in basic.data:
        operation = instruction.operation
        name, qubits = operation.name, [basic.find_bit(qubit).index for qubit in instruction.qubits]
        if name in _FIXED:
            gates.append(Gate("fixed", tuple(qubits), fixed=HADAMARD if name == "h" else _quaternion(operation.to_matrix())))
        elif name == "cz":
            gates.append(Gate("cz", tuple(qubits)))
        elif name == "cx":
            turned = Gate("fixed", (qubits[1],), fixed=HADAMARD)
            gates += [turned, Gate("cz", tuple(qubits)), turned]
        elif name == "p":
            rotation("rz", qubits, *operation.params)
        elif name == "u":
            theta, phi, lam = operation.params
            for kind, angle in (("rz", lam), ("ry", theta), ("rz", phi)):
                rotation(kind, qubits, angle)
        elif name in N_ANGLES:
            rotation(name, qubits, *operation.params)
        elif name != "barrier":
            raise ValueError(f"the circuit has the gate {name!r}, which has no matrix")
    terms, offsets = zip(*(_linear(expression, names) for expression in expressions), strict=True) if expressions else ((), ())
    used = {parameter.name for expression in expressions for parameter in getattr(expression, "parameters", ())}
    idle = [name for name in names if name not in used]
    if idle:
        raise ValueError(f"the parameter {idle[0]!r} is used in no gate")
    program = Program(bare.num_qubits, tuple(gates), len(expressions))
    return Reading(basic, program, terms, offsets, tuple(expressions), tuple(names))


def _check_operations(circuit: "QuantumCircuit") -> None:
    """Refuse operations that are not gates."""
    for instruction in circuit.data:
        name = instruction.operation.name
        if (
            name in ("measure", "reset", "initialize", "delay")
            or instruction.clbits
            or _is_control_flow(instruction.operation)
        ):
            raise ValueError(
                f"the circuit has a {name!r} inside; accepted are gates that have a matrix, and measurements at the end"
            )


def _linear(expression: Any, names: Sequence[str]) -> tuple[tuple[tuple[int, float], ...] | None, float]:
    """
    Return the factors of the parameters in an expression, and its constant; ``None`` for the factors if it is not such a sum.
    """
    parameters = getattr(expression, "parameters", ())
    if not parameters:
        return (), _finite(expression, expression)
    factors = []
    for parameter in parameters:
        try:
            factor = expression.gradient(parameter)
        except RuntimeError:  # a function without a derivative in Qiskit
            return _other(expression)
        if getattr(factor, "parameters", ()):
            return _other(expression)
        factors.append((names.index(parameter.name), _finite(factor, expression)))
    rest = expression.bind({parameter: 0.0 for parameter in parameters})
    return tuple(sorted(factors)), _finite(rest, expression)


def _other(expression: Any) -> tuple[None, float]:
    """Return what :func:`_linear` returns for an expression that is not a sum, unless it has complex numbers."""
    import sympy

    form = expression.sympify()
    if isinstance(form, sympy.Basic) and form.has(sympy.I):  # Qiskit has no form of 2 ** a
        raise ValueError(f"the circuit has the angle {expression}, which is not real")
    return None, 0.0


def _finite(number: Any, expression: Any) -> float:
    """Check that the number of an angle is real and finite; 1e400 in a text is not."""
    value = complex(number)
    if abs(value.imag) > 1e-12 * abs(value.real):
        raise ValueError(f"the circuit has the angle {expression}, which is not real")
    if not math.isfinite(value.real):
        raise ValueError(f"the circuit has the angle {expression}, which is not finite")
    return value.real


def _is_control_flow(operation: "Instruction") -> bool:
    from qiskit.circuit import ControlFlowOp

    return isinstance(operation, ControlFlowOp)


def with_standard_gates(circuit: "QuantumCircuit") -> "QuantumCircuit":
    """
    Expand definitions, with which OpenQASM writes some of Qiskit's gates. A gate with the name of a standard gate is replaced
    by that if they are equal; all others are replaced by their definitions.

    :param circuit: any circuit of gates
    :return: the circuit in standard gates, and gates without a definition
    """
    from qiskit.circuit.library import get_standard_gate_name_mapping
    from qiskit.quantum_info import Operator

    standard = get_standard_gate_name_mapping()
    same: dict[str, bool] = {}
    found = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation = instruction.operation
        known = standard.get(operation.name)
        if operation.definition is None or (known is not None and isinstance(operation, known.base_class)):
            found.append(instruction)
            continue
        if known is None:
            found.compose(with_standard_gates(operation.definition), instruction.qubits, inplace=True)
            continue
        key = operation.name
        if key not in same:
            # Analytic functions of their angles that agree at a generic point agree everywhere, except by malice
            theirs = operation.definition
            values = {parameter: 0.7345 + 1.618 * place for place, parameter in enumerate(theirs.parameters)}
            numbers = [
                float(p.bind(values, allow_unknown_parameters=True)) if hasattr(p, "bind") else p for p in operation.params
            ]
            try:
                same[key] = Operator(theirs.assign_parameters(values)).equiv(Operator(known.base_class(*numbers)))
            except Exception:  # the number of angles or qubits differs
                same[key] = False
        if same[key]:
            found.append(known.base_class(*operation.params), instruction.qubits)
        else:
            found.compose(with_standard_gates(operation.definition), instruction.qubits, inplace=True)
    return found


def _number(angle: Any, values: dict[Any, float]) -> Any:
    """Evaluate an angle with its parameters bound."""
    return float(angle.bind(values, allow_unknown_parameters=True)) if hasattr(angle, "bind") else angle


def _quaternion(matrix: np.ndarray) -> tuple[float, float, float, float]:
    """Return ``(a, b, c, d)`` of a one-qubit unitary ``a - i (b X + c Y + d Z)``, up to a phase."""
    special = np.asarray(matrix) / np.sqrt(complex(np.linalg.det(matrix)))
    a, d = special[0, 0].real, -special[0, 0].imag
    b, c = -special[1, 0].imag, special[1, 0].real
    norm = math.sqrt(a * a + b * b + c * c + d * d)
    return (float(a / norm), float(b / norm), float(c / norm), float(d / norm))
