"""Messages count in the singular, too: 1 cell, not 1 cells."""

import ast
import re
from pathlib import Path

import pytest

import sb3_quantum
from sb3_quantum.circuits.wording import counted

PACKAGE = Path(sb3_quantum.__file__).parent
#: what messages count
NOUNS = (
    "agents|arguments|arms|attempts|bitstrings|cells|circuits|comparisons|definitions|environments|episodes|frames|gates|inputs|jobs|"
    "layers|minutes|outputs|pairs|qubits|results|rotations|rows|runs|seconds|seeds|shots|states|steps|transitions|trials|"
    "updates|weights|workers"
)
#: number and noun where the number is never 1, or the word is a verb
NEVER_ONE = {
    "n seeds", "seeds[1] seeds", "n_comparisons comparisons", "more seeds", "_STEPS steps", "self.gates gates",
    "len(call.qubits) qubits", "rows rows", "WHOLE_QUBITS qubits", "n_qubits qubits", "ansatz.n_qubits qubits",
    "self.program.n_qubits qubits", "backend.ansatz.n_qubits qubits", "layer.ansatz.n_qubits qubits", "ansatz.n_inputs inputs",
    "qtdnn circuits", "len(inputs) circuits", "self.name runs", "model.gradient runs", "model.probe_std runs",
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ((1, "cell"), "1 cell"),
        ((0, "cell"), "0 cells"),
        ((2_000, "cell"), "2,000 cells"),
        ((1, "cell is", "cells are"), "1 cell is"),
        ((3, "index", "indices"), "3 indices"),
    ],
)
def test_counted(given: tuple[int, str], text: str) -> None:
    assert counted(*given) == text


def test_every_message_of_the_package_counts_so() -> None:
    found: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for value, after in zip(node.values, node.values[1:], strict=False) if isinstance(node, ast.JoinedStr) else ():
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    noun = re.match(rf" ({NOUNS})\b", str(after.value))
                    if noun and not re.search(r"\.\d[fg]", ast.unparse(value.format_spec) if value.format_spec else ""):
                        found[f"{ast.unparse(value.value)} {noun[1]}"] = f"{path.relative_to(PACKAGE)}:{value.lineno}"
    assert not {text: place for text, place in found.items() if text not in NEVER_ONE}
