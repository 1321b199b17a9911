"""The plug into the unmodified rl_zoo3, each case in an interpreter of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

from sb3_quantum.zoo import hook
from sb3_quantum.zoo.register import REGISTRARS


def run(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter, outside of any checkout, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=sysconfig.get_paths()["stdlib"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() + done.stderr.strip()


FINDERS = "[type(f).__name__ for f in sys.meta_path if type(f).__module__ == 'sb3_quantum.zoo.hook']"


def test_autoload_is_a_real_file_in_site_packages() -> None:
    """Otherwise a moved or broken checkout could break ``import torch``, also in editable installs."""
    file = Path(run("import sb3_quantum_autoload\nprint(sb3_quantum_autoload.__file__)"))
    assert file.parent == Path(sysconfig.get_paths()["purelib"]) and not file.is_symlink()


@pytest.mark.parametrize("first", ["import rl_zoo3", "import torch, rl_zoo3", "import rl_zoo3.exp_manager"])
def test_importing_rl_zoo3_is_enough(first: str) -> None:
    printed = run(
        f"import sys\n{first}\n"
        "import rl_zoo3.utils, rl_zoo3.train\n"
        "from sb3_quantum import QuantumTD3\n"
        "assert rl_zoo3.ALGOS is rl_zoo3.utils.ALGOS and rl_zoo3.ALGOS['qtd3'] is QuantumTD3\n"
        "assert hasattr(rl_zoo3.exp_manager.ExperimentManager.__init__, '_sb3_quantum')\n"
        "assert type(rl_zoo3.utils).__name__ == 'module'\n"
        f"print(len(rl_zoo3.ALGOS), {FINDERS})"
    )
    assert printed.endswith("13 []"), "12 of the zoo's own, and the hook has gone away"


def test_finding_a_spec_does_not_use_the_hook_up() -> None:
    run(
        "import importlib.util, torch\n"
        "importlib.util.find_spec('rl_zoo3.exp_manager')\n"
        "import rl_zoo3.exp_manager\n"
        "assert 'qtd3' in rl_zoo3.ALGOS\n"
        "assert hasattr(rl_zoo3.exp_manager.ExperimentManager.__init__, '_sb3_quantum')"
    )


def test_importing_torch_imports_nothing_heavy() -> None:
    run(
        "import sys, torch\n"
        "heavy = {'stable_baselines3', 'rl_zoo3', 'qiskit', 'numba', 'gymnasium', 'sb3_quantum.qtd3'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        f"assert {FINDERS} == ['_Finder']"
    )


@pytest.mark.parametrize("variable", ["SB3_QUANTUM_ZOO_HOOK", "TORCH_DEVICE_BACKEND_AUTOLOAD"])
def test_switched_off_and_registered_by_hand(variable: str) -> None:
    run(
        "import rl_zoo3.exp_manager\n"
        "assert 'qtd3' not in rl_zoo3.ALGOS\n"
        "from sb3_quantum.zoo import register\n"
        "register(); register()\n"
        "assert 'qtd3' in rl_zoo3.ALGOS and 'qtd3' not in ('td3', 'sac')\n"
        "assert hasattr(rl_zoo3.exp_manager.ExperimentManager.__init__, '_sb3_quantum')\n"
        "assert not hasattr(rl_zoo3.exp_manager.ExperimentManager.__init__.__wrapped__, '_sb3_quantum')",
        **{variable: "0"},
    )


def test_a_broken_checkout_breaks_nothing(tmp_path: Path) -> None:
    """A sb3_quantum that cannot be imported: torch and rl_zoo3 go on without qtd3."""
    (tmp_path / "sb3_quantum").mkdir()
    (tmp_path / "sb3_quantum" / "__init__.py").write_text("raise RuntimeError('broken')")
    run("import torch, rl_zoo3\nassert 'td3' in rl_zoo3.ALGOS and 'qtd3' not in rl_zoo3.ALGOS", PYTHONPATH=str(tmp_path))


ROOT = Path(__file__).parents[2]
EXIT = "raise SystemExit('goodbye')"


def start(folder: Path, **environment: str) -> str:
    """Start Python with nothing but a site-packages folder, whose torch is empty, and say whether the hook is there."""
    code = f"import site, sys; site.addsitedir({str(folder)!r}); import torch; print('torch', {FINDERS})"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.startswith("torch "), done.stdout + done.stderr
    return done.stdout.strip().removeprefix("torch ")


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """The two files, without the package."""
    for name in ("sb3_quantum_autoload.py", "sb3_quantum_autoload.pth"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "torch.py").touch()
    return tmp_path


def test_the_hook_comes_with_torch(site_packages: Path) -> None:
    there = {"PYTHONPATH": str(ROOT)}
    assert start(site_packages, **there) == "['_Finder']"
    for variable in ("SB3_QUANTUM_ZOO_HOOK", "TORCH_DEVICE_BACKEND_AUTOLOAD"):
        assert start(site_packages, **there, **{variable: "0"}) == "[]"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sb3_quantum_autoload.py", None),
        ("sb3_quantum_autoload.py", ""),
        ("sb3_quantum_autoload.py", "def wait("),
        ("sb3_quantum_autoload.py", EXIT),
        ("sb3_quantum_autoload.py", f"def wait():\n    {EXIT}"),
        ("sb3_quantum_autoload.pth", None),
        ("sb3_quantum_autoload.pth", "import sys; exec('try:"),
        ("sb3_quantum/__init__.py", EXIT),
        ("sb3_quantum/zoo/hook.py", EXIT),
        ("sb3_quantum/zoo/hook.py", f"def install():\n    {EXIT}"),
        ("sb3_quantum/zoo/hook.py", "def install():\n    raise RuntimeError('broken')"),
        ("sb3_quantum-0.1.0.dist-info/RECORD", ""),
    ],
)
def test_half_removed_is_no_obstacle_to_torch(site_packages: Path, name: str, content: str | None) -> None:
    file = site_packages / name
    if content is None:
        file.unlink()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    assert start(site_packages) == "[]"


def test_a_registration_that_exits_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(module: ModuleType) -> None:
        raise SystemExit("goodbye")

    module = ModuleType("rl_zoo3.utils")
    monkeypatch.setitem(REGISTRARS, "rl_zoo3.utils", (leave,))
    with pytest.warns(UserWarning, match=r"could not register qtd3 with rl_zoo3\.utils: SystemExit"):
        hook._register(module)


def test_a_failed_registration_is_a_warning() -> None:
    printed = run(
        "import sys, warnings\n"
        "sys.modules['sb3_quantum.qtd3'] = None\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import rl_zoo3\n"
        "assert 'td3' in rl_zoo3.ALGOS and 'qtd3' not in rl_zoo3.ALGOS\n"
        "print([str(w.message) for w in caught if 'sb3-quantum' in str(w.message)])"
    )
    assert "sb3-quantum could not register qtd3 with rl_zoo3.utils" in printed


def test_one_step_of_a_registration_does_not_need_another() -> None:
    printed = run(
        "import sys, warnings\n"
        "sys.modules['sb3_quantum.zoo.repairs'] = sys.modules['sb3_quantum.zoo.checks'] = None\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import rl_zoo3.exp_manager\n"
        "assert 'qtd3' in rl_zoo3.ALGOS\n"
        "assert hasattr(rl_zoo3.exp_manager.ExperimentManager.__init__, '_sb3_quantum')\n"
        "print([str(w.message) for w in caught if 'sb3-quantum' in str(w.message)])"
    )
    # Two repairs of what it finds on the Hub and in a folder
    assert printed.count("could not register qtd3 with rl_zoo3.utils") == 2
    assert printed.count("could not register qtd3 with rl_zoo3.exp_manager") == 1


def test_missing_rl_zoo3_names_the_extra() -> None:
    printed = run(
        "import sys\n"
        "sys.modules['rl_zoo3'] = None\n"
        "from sb3_quantum.zoo import register\n"
        "try:\n    register()\nexcept ImportError as error:\n    print(error)"
    )
    assert 'pip install "sb3-quantum[zoo]"' in printed


def test_the_package_imports_without_optional_packages() -> None:
    run(
        "import sys\n"
        "for name in ('rl_zoo3', 'qiskit_aer', 'matplotlib', 'sb3_contrib'): sys.modules[name] = None\n"
        "import sb3_quantum\n"
        "for name in sb3_quantum.__all__: getattr(sb3_quantum, name)"
    )
