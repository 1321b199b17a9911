"""
SB3's own tests with ``QuantumTD3`` in TD3's place, from the source distribution of the installed version. It is looked for in
the environment's ``share`` folder and fetched once if there is a package index; without it, they are skipped.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest
import stable_baselines3

ROOT = Path(__file__).parents[2]
FOLDER = Path(sys.prefix) / "share" / f"stable-baselines3-{stable_baselines3.__version__}-tests"
#: modules that use TD3, in two halves that take equally long; not test_identity, which is in tests/qtd3/test_train.py
MODULES = {
    "training": ["cnn", "deterministic", "her", "run", "spaces", "train_eval_mode"],
    "saving": [
        "buffers", "callbacks", "custom_policy", "dict_env", "n_step_replay", "predict", "save_load",
        "tensorboard", "vec_normalize",
    ],
}  # fmt: skip
#: tests that pass: fewer mean that some were not found
N_TESTS = {"training": 20, "saving": 28}


def fetch() -> None:
    """Put the tests of the installed version where they are looked for."""
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as temporary:
        wanted = f"stable-baselines3=={stable_baselines3.__version__}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        options = ["--retries", "0", "--timeout", "10", "--no-binary", "stable-baselines3", "--dest", temporary]
        subprocess.run([*command, *options, wanted], check=True, capture_output=True, timeout=60)
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if member.name.split("/")[1:2] == ["tests"]]
            tar.extractall(temporary, members=members, filter="data")
        (tests,) = Path(temporary).glob("*/tests")
        try:
            tests.rename(FOLDER)
        except OSError:  # another process was faster
            assert FOLDER.is_dir()


@pytest.mark.parametrize("half", MODULES)
def test_with_td3_replaced(half: str, tmp_path: Path) -> None:
    if not FOLDER.is_dir():
        try:
            fetch()
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            pytest.skip(f"the source distribution of stable-baselines3 {stable_baselines3.__version__} cannot be had: {error}")
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "tests.sb3_suite.plugin", "-p", "no:cacheprovider",
            "--import-mode=importlib", "--rootdir", str(FOLDER), "-m", "not expensive",
            *(str(FOLDER / f"test_{name}.py") for name in MODULES[half]),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(done.stdout.split(" passed")[0].split()[-1])
    assert passed >= N_TESTS[half], done.stdout
