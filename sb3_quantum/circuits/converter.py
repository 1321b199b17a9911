"""
Convert a syntax tree of OpenQASM 3 to Qiskit, with the powers and functions of angles that Qiskit writes but cannot read.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from openqasm3 import ast
from qiskit import QuantumCircuit
from qiskit_qasm3_import import ConversionError, types
from qiskit_qasm3_import.converter import ConvertVisitor
from qiskit_qasm3_import.expression import ValueResolver

from sb3_quantum.circuits.wording import counted

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow}
#: functions of a number, and the methods of Qiskit's expressions, by the names of OpenQASM and of Qiskit's exporter
_FUNCTIONS: dict[str, tuple[Callable[[float], float], str]] = {
    "sin": (math.sin, "sin"),
    "cos": (math.cos, "cos"),
    "tan": (math.tan, "tan"),
    "arcsin": (math.asin, "arcsin"),
    "asin": (math.asin, "arcsin"),
    "arccos": (math.acos, "arccos"),
    "acos": (math.acos, "arccos"),
    "arctan": (math.atan, "arctan"),
    "atan": (math.atan, "arctan"),
    "exp": (math.exp, "exp"),
    "log": (math.log, "log"),
    "abs": (abs, "abs"),
    "sign": (lambda number: float((number > 0) - (number < 0)), "sign"),
    "conj": (float, "conjugate"),
}
_NUMBERS = (types.Int, types.Uint, types.Float, types.Angle)


def convert(program: ast.Program) -> QuantumCircuit:
    """
    Convert a program to a Qiskit circuit.

    :param program: the syntax tree, whose size was checked
    :return: the circuit
    :raises Exception: of many kinds, if Qiskit cannot read it
    """
    return _Converter().convert(program).circuit


class _Converter(ConvertVisitor):
    """Importer that resolves expressions with the class below."""

    def _resolve_generic(self, node: ast.Expression, context: Any, strict: bool) -> tuple[Any, Any]:
        return _Resolver(context, strict).resolve(node)


class _Resolver(ValueResolver):
    """Resolver that accepts any function of parameters as an angle, also in definitions of gates."""

    def __init__(self, context: Any, strict: bool = True):
        super().__init__(context, strict)
        self._found: dict[int, tuple[Any, Any]] = {}

    def visit(self, node: ast.QASMNode, context: None = None) -> tuple[Any, Any]:
        # Once per node: for an operator that the importer refuses, it asks for the operands again
        if id(node) not in self._found:
            self._found[id(node)] = super().visit(node)
        return self._found[id(node)]

    def visit_BinaryExpression(self, node: ast.BinaryExpression) -> tuple[Any, Any]:
        if node.op.name != "**":
            value, kind = super().visit_BinaryExpression(node)
            if not isinstance(kind, types.Error):
                return value, kind
        (left, left_kind), (right, right_kind) = self.visit(node.lhs), self.visit(node.rhs)
        if self._strict or not isinstance(left_kind, _NUMBERS) or not isinstance(right_kind, _NUMBERS):
            return None, types.Error()
        # Integers may be huge: 9 ** 9 ** 9
        left = float(left) if isinstance(left, int) else left
        right = float(right) if isinstance(right, int) else right
        kind = types.Float(left_kind.const and right_kind.const)
        if node.op.name == "**" and isinstance(left, float) and left > 0 and hasattr(right, "parameters"):
            exponent: Any = math.log(left) * right  # Qiskit has no form of 2 ** a that sympy accepts
            return exponent.exp(), kind
        return _real(_OPERATIONS[node.op.name](left, right)), kind

    def visit_FunctionCall(self, node: ast.FunctionCall) -> tuple[Any, Any]:
        name = node.name.name
        if name not in _FUNCTIONS or len(node.arguments) != 1:
            raise ConversionError(f"angles cannot contain the function {name!r} of {counted(len(node.arguments), 'argument')}")
        value, kind = self.visit(node.arguments[0])
        if not isinstance(kind, _NUMBERS):
            return None, types.Error()
        of_number, method = _FUNCTIONS[name]
        found = getattr(value, method)() if hasattr(value, "parameters") else of_number(value)
        return _real(found), types.Float(kind.const)


def _real(value: Any) -> Any:
    """Refuse complex numbers, such as the root of a negative number, as angles."""
    if isinstance(value, complex):
        raise ConversionError(f"angles must be real, got the complex number {value}")
    return value
