"""Only circuits, and the engines and priors made for one of them, know the layout of a circuit's inputs."""

import ast
from pathlib import Path
from typing import TypeGuard

import sb3_quantum

ROOT = Path(sb3_quantum.__file__).parent
#: what a module must read to know a layout
LAYOUT = {"layer_width", "n_cz", "gates", "PaperCircuit", "BrickworkCircuit", "QiskitCircuit"}
#: packages and modules that may; the cost command is about the paper's count of circuits
ALLOWED = (
    "circuits/",
    "priors/",
    "backends/kernel.py",
    "backends/graph.py",
    "backends/fused",
    "backends/split",
    "backends/statevector.py",
    "cost.py",
)
#: what speaks of the paper's circuit as the family that backends run by default
NAMED = {("backends/base.py", "PaperCircuit")}


def test_no_other_module_knows_a_layout() -> None:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        if module.startswith(ALLOWED):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
            if name in LAYOUT and (module, name) not in NAMED and not _is_program(node):
                found.append(f"{module}:{getattr(node, 'lineno', 0)} {name}")
    assert found == []


def test_no_other_module_wraps_angles() -> None:
    """Angles are wrapped by their circuit, which knows their periods; engines wrap those of their own gates."""
    found = []
    for folder in (ROOT, ROOT.parent / "benchmarks", ROOT.parent / "examples"):
        for path in sorted(folder.rglob("*.py")):
            module = path.relative_to(folder).as_posix()
            if not (folder == ROOT and module.startswith(ALLOWED)):
                found += [f"{module}:{node.lineno}" for node in ast.walk(ast.parse(path.read_text())) if _wraps(node)]
    assert found == []


def _wraps(node: ast.AST) -> TypeGuard[ast.expr]:
    """Remainder of a division by something with pi in it, or its form with ``arctan2``."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        inside = "sin(" if name in ("arctan2", "atan2") else "pi" if name in ("remainder", "fmod", "mod") else None
        return inside is not None and any(inside in ast.unparse(part) for part in node.args)
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and "pi" in ast.unparse(node.right).split(".")


def _is_program(node: ast.AST) -> bool:
    """``program.gates`` is the plain data that every circuit has."""
    return isinstance(node, ast.Attribute) and node.attr == "gates" and "program" in ast.dump(node.value)


def test_the_check_finds_what_it_looks_for() -> None:
    names = {
        node.attr for node in ast.walk(ast.parse((ROOT / "backends/graph.py").read_text())) if isinstance(node, ast.Attribute)
    }
    assert {"layer_width", "n_cz"} <= names
    for code in ("th.remainder(x + np.pi, 2 * np.pi)", "np.arctan2(np.sin(x), np.cos(x))", "math.fmod(x, math.pi)"):
        assert _wraps(ast.parse(code, mode="eval").body)
    assert not _wraps(ast.parse("np.remainder(x, n_qubits)", mode="eval").body)
