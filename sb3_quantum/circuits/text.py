"""OpenQASM 3 text, which may come from a stranger: its circuit's size is measured before the circuit is built."""

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from sb3_quantum.circuits.checks import shown
from sb3_quantum.circuits.wording import counted

if TYPE_CHECKING:
    from openqasm3 import ast
    from qiskit import QuantumCircuit

#: most gates of a circuit, with definitions, modifiers and registers expanded
MOST_GATES = 100_000
#: most qubits and bits of a circuit, characters of its text, nested definitions
MOST_QUBITS, MOST_CHARACTERS, MOST_LEVELS = 9_999, 2_000_000, 100
#: most controls of a gate, and qubits of a gate that Qiskit makes from its matrix, such as a power
MOST_CONTROLS, MOST_POWER_QUBITS = 16, 6
#: gates of the standard library that count as several when they are controlled
_HEAVY = {"cswap": 5, "cu": 2, "cp": 2, "cphase": 2, "crx": 2, "cry": 2, "crz": 2}


def read_text(text: str) -> "QuantumCircuit":
    """
    Do what :func:`read_with_inputs` does.

    :param text: OpenQASM 3
    :return: the circuit
    :raises ValueError: as there
    """
    return read_with_inputs(text)[0]


def read_with_inputs(text: str) -> "tuple[QuantumCircuit, list[str]]":
    """
    Read OpenQASM 3 text, in time and memory bounded by its length, whatever it asks for.

    :param text: OpenQASM 3
    :return: the circuit, and its parameters' names in the order of their declarations
    :raises ValueError: if Qiskit cannot read it, or if it would be too large; the message says how large
    :raises ImportError: if ``qiskit-qasm3-import`` is not installed
    """
    try:
        import openqasm3

        from sb3_quantum.circuits.converter import convert
    except ImportError as error:
        raise ImportError("reading OpenQASM 3 needs qiskit-qasm3-import: pip install qiskit-qasm3-import") from error
    if not text.strip():
        raise ValueError("circuit must be OpenQASM 3 text, got empty text")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"circuit must have at most {MOST_CHARACTERS:,} characters of text, got {len(text):,}")
    try:
        program = openqasm3.parse(text)
    except Exception as error:  # the parser raises many kinds
        raise ValueError(f"circuit is not OpenQASM 3 text that Qiskit can read: {_reason(text, error)}") from error
    _Extent().take(program.statements)
    declared = [part.identifier.name for part in program.statements if isinstance(part, openqasm3.ast.IODeclaration)]
    try:
        return convert(program), declared
    except Exception as error:  # of the converter and of Qiskit's gates
        raise ValueError(f"circuit is not OpenQASM 3 text that Qiskit can read: {_reason(text, error)}") from error


def _reason(text: str, error: Exception) -> str:
    """Say what is wrong with a text. The parser's own error is often empty, and names the place in what caused it."""
    if re.match(r"(\s|//.*\n)*OPENQASM\s+2", text):
        return "it is OpenQASM 2, pass qiskit.qasm2.loads(text)"
    if text.strip().endswith((".qasm", ".qasm3")):
        return f"it looks like a path, pass Path({shown(text)}).read_text()"
    cause: Any = error.__cause__ or error
    token = getattr(next(iter(cause.args), None), "offendingToken", None) or getattr(cause, "offendingToken", None)
    return str(error) or (f"line {token.line}, at {shown(token.text)}" if token else type(error).__name__)


class _Size(NamedTuple):
    """Size of a defined gate: its gates, nested definitions, and whether it needs a matrix."""

    gates: int
    levels: int = 0
    by_matrix: bool = False


class _Extent:
    """Measure a program with everything expanded; exceeding a limit raises at once."""

    def __init__(self) -> None:
        self.defined: dict[str, _Size] = {}
        self.registers: dict[str, int] = {}
        self.qubits = 0
        self.gates = 0

    def take(self, statements: "Iterable[ast.QASMNode]") -> None:
        """Count statements, also those inside blocks."""
        from openqasm3 import ast

        for statement in statements:
            if isinstance(statement, ast.QuantumGateDefinition):
                self._define(statement)
            elif isinstance(statement, ast.QubitDeclaration):
                self._declare(statement.qubit.name, statement.size)
            elif isinstance(statement, ast.ClassicalDeclaration) and isinstance(statement.type, ast.BitType):
                self._declare(statement.identifier.name, statement.type.size)
            elif isinstance(statement, ast.AliasStatement):
                self.registers[statement.target.name] = self._width(statement.value)
            elif isinstance(statement, ast.QuantumGate | ast.QuantumPhase):
                self._add(self._call(statement).gates)
            elif isinstance(statement, ast.QuantumStatement | ast.QuantumMeasurementStatement):
                self._add(self._width(statement))
            for block in _blocks(statement):
                self.take(block)

    def _add(self, gates: int) -> None:
        self.gates += gates
        if self.gates > MOST_GATES:
            raise ValueError(
                f"the circuit has {self.gates:,} gates or more when definitions, modifiers and registers are written out, "
                f"at most {MOST_GATES:,} are accepted"
            )

    def _declare(self, name: str, size: "ast.Expression | None") -> None:
        number = 1 if size is None else getattr(size, "value", None)
        self.qubits += number if isinstance(number, int) else MOST_QUBITS + 1
        if self.qubits > MOST_QUBITS:
            raise ValueError(
                f"the register {name!r} has the size {_shown(size)!r}, accepted are numbers, "
                f"up to {MOST_QUBITS} for all registers together"
            )
        self.registers[name] = self.qubits if number is None else number

    def _define(self, gate: "ast.QuantumGateDefinition") -> None:
        from openqasm3 import ast

        parts = [self._call(step) for step in gate.body if isinstance(step, ast.QuantumGate | ast.QuantumPhase)]
        gates, levels = sum(part.gates for part in parts), 1 + max((part.levels for part in parts), default=0)
        if levels > MOST_LEVELS:
            raise ValueError(
                f"the gate {gate.name.name!r} nests {counted(levels, 'definition')}, at most {MOST_LEVELS} are accepted"
            )
        self.defined[gate.name.name] = _Size(max(1, gates), levels, any(part.by_matrix for part in parts))

    def _call(self, call: "ast.QuantumGate | ast.QuantumPhase") -> _Size:
        """Count a gate of a statement: with its modifiers, on all qubits of its registers."""
        from openqasm3 import ast

        name = call.name.name if isinstance(call, ast.QuantumGate) else "gphase"
        gates, levels, by_matrix = self.defined.get(name, _Size(_HEAVY.get(name, 1)))
        controls, power, factor = 0, False, 1
        for kind, several in itertools.groupby(call.modifiers, lambda modifier: modifier.modifier):
            before = controls
            for modifier in several if kind in (ast.GateModifierName.ctrl, ast.GateModifierName.negctrl) else ():
                number = 1 if modifier.argument is None else getattr(modifier.argument, "value", None)
                if not isinstance(number, int) or controls + number > MOST_CONTROLS:
                    many = f"{controls} + {_shown(modifier.argument)}" if controls else _shown(modifier.argument)
                    raise ValueError(f"the gate {name!r} has {many} controls, accepted are numbers up to {MOST_CONTROLS}")
                controls += number
            power = power or kind is ast.GateModifierName.pow
            # Measured: at most 30 gates for each square of a number of controls; those of the other kind control all of them
            factor *= 1 + 30 * (controls - before) ** 2
        by_matrix = by_matrix or power
        if by_matrix and (power or controls):
            if len(call.qubits) > MOST_POWER_QUBITS:
                raise ValueError(
                    f"the gate {name!r} with a power acts on {len(call.qubits)} qubits, "
                    f"at most {MOST_POWER_QUBITS} are accepted"
                )
            gates, factor = gates + 4 * 4 ** len(call.qubits), 1
        gates *= factor * (1 + len(call.modifiers))
        return _Size(gates * max((self._width(qubit) for qubit in call.qubits), default=1), levels, by_matrix)

    def _width(self, node: Any) -> int:
        """Bound the qubits and bits of all registers that a node names."""
        from openqasm3 import ast

        if isinstance(node, ast.Identifier):
            if node.name.startswith("$") and int(node.name[1:]) > MOST_QUBITS:
                raise ValueError(f"the circuit names the qubit {node.name}, accepted are those up to ${MOST_QUBITS}")
            return self.registers.get(node.name, 1)
        if isinstance(node, ast.IndexedIdentifier) and _is_one(node.indices):
            return 1
        return max(1, sum(self._width(part) for part in _parts(node)))


def _is_one(indices: "list[Any]") -> bool:
    """Tell whether indices name one qubit: ``q[3]``, not ``q[0:3]`` or ``q[{0, 3}]``."""
    from openqasm3 import ast

    return all(isinstance(index, list) and all(isinstance(place, ast.IntegerLiteral) for place in index) for index in indices)


def _parts(node: Any) -> "Iterator[Any]":
    """Yield the child nodes of a node of the syntax tree."""
    from openqasm3 import ast

    for value in vars(node).values():
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, ast.QASMNode):
                yield part


def _blocks(statement: Any) -> "Iterator[list[Any]]":
    """Return the statements inside a statement; those of definitions are counted where they are called."""
    from openqasm3 import ast

    if not isinstance(statement, ast.QuantumGateDefinition):
        for name in ("block", "if_block", "else_block", "body", "statements"):
            block = getattr(statement, name, None)
            if isinstance(block, list):
                yield block


def _shown(expression: "ast.Expression | None") -> str:
    """Format an expression as it stands in the text."""
    from openqasm3.printer import dumps

    return "1" if expression is None else dumps(expression)[:20]
