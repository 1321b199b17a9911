"""What is shipped, and what is public."""

import importlib
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import sb3_quantum

ROOT = Path(__file__).parent.parent


def test_wheel_carries_everything(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skipped = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "logs")
    shutil.copytree(ROOT, source, ignore=skipped)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("sb3_quantum-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = next(archive.read(name).decode() for name in names if name.endswith("METADATA"))
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "sb3_quantum").rglob("*.py")}
    assert modules <= names and len(modules) > 20
    data = {"sb3_quantum/hyperparams/qtd3.yml", "sb3_quantum/hyperparams/qtd3-paper.yml", "sb3_quantum/py.typed"}
    data |= {str(path.relative_to(ROOT)) for path in (ROOT / "sb3_quantum" / "study" / "files").glob("*.yml")}
    assert data | {"sb3_quantum_autoload.py", "sb3_quantum_autoload.pth"} <= names
    assert not {name for name in names if name.startswith(("tests", "benchmarks", "examples", "docs"))}
    # A package index shows README away from the repository: no link may be relative, and the files behind them are there
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    ours = [link for link in links if link.startswith("https://github.com/sb3-quantum/sb3-quantum/")]
    assert all(link.startswith("https://") for link in links) and len(ours) > 20
    files = [match[1] for link in ours if (match := re.search(r"/(?:blob|raw)/main/([^#]+)", link))]
    assert len(files) > 20 and all((ROOT / file).is_file() for file in files)
    # torch fails to import where an entry point's module is gone
    assert not any(name.endswith("entry_points.txt") for name in names)


def modules() -> list[str]:
    found = pkgutil.walk_packages(sb3_quantum.__path__, "sb3_quantum.")
    return [module.name for module in found if not module.name.endswith((".train", ".enjoy"))]


def test_public_names_are_documented() -> None:
    """Every public class, function, method and property that is defined here has a docstring."""
    missing = []
    for name in modules():
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            members = [(attribute, value)]
            if inspect.isclass(value):
                members += [(f"{attribute}.{key}", member) for key, member in vars(value).items() if not key.startswith("_")]
            for label, member in members:
                if isinstance(member, property) or inspect.isroutine(member) or inspect.isclass(member):
                    # Methods of SB3 and torch that are overridden inherit their documentation
                    if not inspect.getdoc(member) and not _inherits(value, label):
                        missing.append(f"{name}.{label}")
    assert missing == []


def _inherits(owner: object, label: str) -> bool:
    _, _, method = label.partition(".")
    return bool(method) and inspect.isclass(owner) and any(hasattr(base, method) for base in owner.__mro__[1:])


def test_public_names_are_exported_once() -> None:
    for name in sb3_quantum.__all__:
        assert getattr(sb3_quantum, name) is not None
        assert sb3_quantum.__all__.count(name) == 1
    try:
        sb3_quantum.QuantumSAC
    except AttributeError as error:
        assert "QuantumSAC" in str(error)
    else:
        raise AssertionError("an unknown name must be an AttributeError")


def test_importing_the_algorithm_imports_nothing_that_it_can_do_without() -> None:
    """Checks, chips, pictures, publishing and the zoo cost their import time when they are used."""
    unused = (
        "dask distributed huggingface_hub matplotlib onnx pandas pennylane qiskit qiskit_aer qiskit_ibm_runtime rl_zoo3 "
        "safetensors scipy.stats seaborn wandb"
    )
    code = (
        "import sys\n"
        "from sb3_quantum import PAPER, FidelityCallback, MlpPolicy, QuantumLayer, QuantumTD3\n"
        "from sb3_quantum import check_backend, check_block, check_circuit\n"
        f"print([name for name in {unused.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
