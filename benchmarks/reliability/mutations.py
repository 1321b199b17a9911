"""
Load damaged and forged pickle-free files: bytes, values, keys and tensors are changed at random.

What is wanted: the documented exception or a model with finite actions, in bounded time and memory. Half of the files have
no checksum, as a forger would leave it out, so that what is behind it is tried too.
"""

import json
import multiprocessing
import random
import shutil
import struct
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from safetensors.torch import load_file, save_file
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import VecNormalize

from benchmarks.reliability.outcome import Outcome
from sb3_quantum import QuantumTD3
from sb3_quantum.hub import ModelFileError, load_safe, save_safe
from sb3_quantum.hub.safe_files import CONFIG, WEIGHTS

#: a load may take so many CPU seconds, and all loads together may let the process grow by so many MB
MAX_SECONDS, MAX_MB = 2.0, 300
#: what stands in place of a value
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 10**9, 10**18, -(10**18), 2**63, 10**30, 0.5, -0.5, 1e-300, 1e308,
    float("nan"), float("inf"),
    "", "x", "lin_x", "lin_nan", "statevector", "aer", "ibm", "\ud800", "a" * 5000, [], [1], [[]], [None] * 1000, {}, {"a": 1},
    {"$class": "os.system"}, {"$class": "torch.optim.LBFGS"}, {"$class": "torch.nn.MultiheadAttention"}, {"$float": "nan"},
    {"$float": 3}, {"$tuple": 5}, {"$dict": [[1]]}, {"$int": "0x" + "f" * 400}, {"$linear_schedule": [1, 0, 0]},
    {"$array": {"dtype": "float64", "shape": [10**9], "data": ""}}, {"$action_noise": {"kind": "normal"}},
    {"space": "Box", "shape": [10**9], "dtype": "float32", "low": 0, "high": 1},
    {"space": "Discrete", "n": 10**12, "start": 0},
    {"space": "MultiBinary", "n": [10**6, 10**6]}, {"space": "Dict", "spaces": []},
)  # fmt: skip


class Result(NamedTuple):
    """The result of loading one file."""

    kind: str
    verdict: str
    seconds: float
    failure: str | None


class DictEnv(gym.Env):
    """Observations of three kinds, their keys not in alphabetical order."""

    observation_space = spaces.Dict(
        vel=spaces.Box(-9, 9, (2,), np.float32),
        ang=spaces.Box(-9, 9, (2,), np.float64),
        gear=spaces.Discrete(3, dtype=np.int32),
    )
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), -float(np.square(action).sum()), False, False, {}


def make_models(folder: Path) -> list[Path]:
    """
    :param folder: target folder
    :return: folders of two small models: a circuit with ``VecNormalize``, and dictionaries with several kinds of observations
    """
    small: dict[str, Any] = dict(n_qubits=2, n_layers=2, n_links=2, qtdnn_arch=[8], net_arch=[8, 8])
    usual: dict[str, Any] = dict(learning_starts=5, batch_size=4, buffer_size=100, seed=0)
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(1), np.full(1, 0.1))
    env = VecNormalize(make_vec_env("Pendulum-v1"))
    normalized = QuantumTD3("MlpPolicy", env, action_noise=noise, policy_kwargs=small, **usual)
    dictionary = QuantumTD3("MultiInputPolicy", DictEnv(), learning_rate="lin_1e-3", policy_kwargs=small, **usual)
    folders = []
    for number, model in enumerate((normalized, dictionary)):
        save_safe(model.learn(10), folder / f"model_{number}")
        folders.append(folder / f"model_{number}")
    return folders


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value in a JSON file."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inside for place in ((*path, key), *_places(item, (*path, key)))]


def change_bytes(folder: Path, rng: random.Random) -> str:
    """Flip, cut, insert or clear bytes in one of the files, or lie about the header's length."""
    path = folder / rng.choice((CONFIG, WEIGHTS))
    content = bytearray(path.read_bytes())
    # The beginning of the tensors' file is its header
    place = rng.randrange(len(content) if rng.random() < 0.5 else min(len(content), 4000))
    kind = rng.choice(("flip", "cut", "insert", "clear", "grow", "length", "empty"))
    if kind == "flip":
        for _ in range(rng.choice((1, 1, 20))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[place : place + rng.choice((1, 8, 10**9))]
    elif kind == "insert":
        content[place:place] = rng.randbytes(rng.choice((1, 8, 1000)))
    elif kind == "clear":
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    elif kind == "grow":
        content += rng.randbytes(rng.choice((1, 4096)))
    elif kind == "length" and path.name == WEIGHTS:
        content[:8] = struct.pack("<Q", rng.choice((0, 1, 10**6, 10**15, 2**64 - 1)))
    else:
        content.clear()
    path.write_bytes(content)
    return f"{kind} in {path.name}"


def change_values(folder: Path, rng: random.Random) -> str:
    """Replace, drop, rename or double something in the JSON file, or nest it without end."""
    text = (folder / CONFIG).read_text()
    config = json.loads(text)
    *parents, key = rng.choice(_places(config))
    target = config
    for parent in parents:
        target = target[parent]
    kind = rng.choice(("replace",) * 6 + ("drop", "rename", "double", "nest", "swap"))
    if kind == "replace":
        target[key] = rng.choice(ODD)
    elif kind == "drop":
        del target[key]
    elif kind == "rename" and isinstance(target, dict):
        target[rng.choice(("", "x", f"{key}_", "__class__", "$class"))] = target.pop(key)
    elif kind == "swap":
        other = rng.choice(list(target) if isinstance(target, dict) else range(len(target)))
        target[key], target[other] = target[other], target[key]
    text = json.dumps(config)
    if kind == "double" and isinstance(target, dict):
        text = text.replace(f"{json.dumps(key)}:", f'{json.dumps(key)}: {rng.choice((0, 1, "[]"))}, {json.dumps(key)}:', 1)
    elif kind == "nest":
        depth = rng.choice((100, 100_000))
        text = f'{text[:-1]}, "deep": {"[" * depth}{"]" * depth}}}'
    (folder / CONFIG).write_text(text)
    return f"{kind} {'.'.join(map(str, (*parents, key)))} in {CONFIG}"


def change_tensors(folder: Path, rng: random.Random) -> str:
    """Drop, rename, reshape or retype a tensor, or put numbers into it that no training leaves."""
    tensors = load_file(folder / WEIGHTS)
    name = rng.choice(sorted(tensors))
    tensor = tensors.pop(name).clone()
    kind = rng.choice(
        ("drop", "rename", "reshape", "retype", "not finite", "negative", "huge", "longer", "flatten", "extra", "text")
    )
    if kind == "rename":
        tensors[rng.choice((f"{name}x", "x", "policy.", name.replace(":", ".")))] = tensor
    elif kind == "reshape":
        tensors[name] = tensor.reshape(1, *tensor.shape)
    elif kind == "retype":
        tensors[name] = tensor.to(rng.choice((th.float16, th.float64, th.int64, th.bool, th.bfloat16)))
    elif kind in ("not finite", "negative", "huge") and tensor.numel() > 0:
        value = {"negative": -1.0, "huge": 1e30}.get(kind, rng.choice((float("nan"), float("inf"), -float("inf"))))
        if tensor.is_floating_point():
            tensor.view(-1)[rng.randrange(tensor.numel())] = value
        else:
            tensor.view(-1)[rng.randrange(tensor.numel())] = rng.randrange(256)
        tensors[name] = tensor
    elif kind == "longer":
        tensors[name] = th.cat([tensor.reshape(-1), tensor.reshape(-1)])
    elif kind == "flatten":
        tensors[name] = tensor.reshape(-1)
    elif kind == "extra":
        tensors.update(
            {name: tensor, rng.choice(("policy.x", "x", "actor.optimizer:99:step", "vec_normalize:x:mean")): th.zeros(3)}
        )
    elif kind == "text":
        tensors[name] = th.tensor(list(b'{"n_qubits": 2, "n_layers": 2, "state": 3}'), dtype=th.uint8)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return f"{kind} {name}"


CHANGES = (change_bytes, change_values, change_values, change_tensors)


def try_one(models: list[Path], folder: Path, seed: int) -> Result:
    """
    :param models: folders of sound models
    :param folder: target folder of the changed copy
    :param seed: seed of the change
    :return: what came of it
    """
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(rng.choice(models), folder)
    if rng.random() < 0.5:
        config = json.loads((folder / CONFIG).read_text())
        del config["sha256"]
        (folder / CONFIG).write_text(json.dumps(config))
    change = rng.choice(CHANGES)
    what = f"seed {seed}: {change(folder, rng)}"
    start, verdict, failure = time.process_time(), "refused", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = load_safe(folder, device="cpu")
            observation = model.observation_space.sample()
            action, _ = model.predict(observation, deterministic=True)
        verdict = "loaded"
        if not np.isfinite(action).all():
            failure = f"{what}: loaded, and acts {action}"
    except (ModelFileError, FileNotFoundError):
        pass
    except BaseException as error:
        failure = f"{what}: {type(error).__name__}: {str(error)[:200]}"
    seconds = time.process_time() - start
    if failure is None and seconds > MAX_SECONDS:
        failure = f"{what}: {seconds:.1f} CPU seconds"
    return Result(change.__name__, verdict, seconds, failure)


def try_many(models: list[Path], folder: Path, seeds: range) -> tuple[list[Result], float]:
    """
    :param models: folders of sound models
    :param folder: target folder of the changed copies, one after another
    :param seeds: seeds of the changes
    :return: what came of them, and by how many MB this process grew at most
    """
    th.set_num_threads(1)
    for model in models:
        # What is loaded once and stays, such as compiled kernels, is not a file's doing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = load_safe(model, device="cpu")
        loaded.predict(loaded.observation_space.sample(), deterministic=True)
    # The peak is forgotten: that of making the models, or of the process that started this one
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_mb()
    results = [try_one(models, folder, seed) for seed in seeds]
    return results, _peak_mb() - before


def _peak_mb() -> float:
    """Most memory that this process has had, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def run(quick: bool, folder: Path) -> Outcome:
    """
    :param quick: 60 files in this process, or 2,000 in two others
    :param folder: folder for the files
    :return: one failure per file that was neither refused as documented nor loaded soundly, or took too long
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = make_models(folder)
        if quick:
            parts = [try_many(models, folder / "changed", range(60))]
        else:
            # Not forked: torch's threads do not survive that
            with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
                shares = [pool.submit(try_many, models, folder / f"changed_{i}", range(i, 2000, 2)) for i in range(2)]
                parts = [share.result() for share in shares]
    results = [result for part, _ in parts for result in part]
    grown = max(megabytes for _, megabytes in parts)
    failures = [result.failure for result in results if result.failure is not None]
    if grown > MAX_MB:
        failures.append(f"a process grew by {grown:.0f} MB")
    seconds = sorted(result.seconds for result in results)
    figures: dict[str, Any] = {
        "refused": sum(result.verdict == "refused" for result in results),
        "loaded": sum(result.verdict == "loaded" for result in results),
        "grown_mb": round(grown, 1),
        "median_cpu_seconds": round(seconds[len(seconds) // 2], 3),
        "max_cpu_seconds": round(seconds[-1], 3),
    }
    return Outcome(len(results), failures, figures)
