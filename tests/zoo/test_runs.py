"""When two runs count as the same, and two processes that want the same run."""

import os
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stable_baselines3.common.noise import NormalActionNoise
from torch import nn

from sb3_quantum.zoo.runs import Lock, RunLockedError, differences, identity, matching, read_settings, runs, write_settings

ARGS: dict[str, Any] = {
    "algo": "qtd3", "env": "Pendulum-v1", "seed": 3, "env_kwargs": None, "trained_agent": "", "gym_packages": [],
    "n_timesteps": 100, "device": "auto", "num_threads": -1, "verbose": 1, "eval_freq": 25_000, "log_folder": "logs",
    "vec_env": "dummy", "conf_file": None, "progress": False, "tensorboard_log": "", "hyperparams": None, "save_freq": -1,
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "policy": "MlpPolicy",
    "n_timesteps": 1000,
    "gamma": 0.98,
    "train_freq": (1, "step"),
    "learning_rate": "lin_1e-3",
    "policy_kwargs": "dict(n_qubits=3, net_arch=[16, 16], activation_fn=nn.ReLU)",
    "backend_kwargs": {"shots": 10, "max_shots": 1000},
    "normalize": {"norm_obs": True},
}


@pytest.mark.parametrize(
    "settings, args",
    [
        ({"n_timesteps": 5000}, {"n_timesteps": 200}),
        ({}, {"device": "cpu", "num_threads": 2, "verbose": 0, "eval_freq": 100, "log_folder": "elsewhere", "progress": True}),
        ({}, {"vec_env": "subproc", "tensorboard_log": "tb", "conf_file": "mine.yml", "save_freq": 100, "hyperparams": {}}),
        ({"train_freq": [1, "step"]}, {"env_kwargs": {}}),
        ({"policy_kwargs": "dict( n_qubits = 3,net_arch=[16,16],activation_fn=nn.ReLU )"}, {}),
        ({"policy_kwargs": "{'n_qubits': 3, 'net_arch': (16, 16), 'activation_fn': nn.ReLU}"}, {}),
        ({"backend_kwargs": {"shots": 10, "max_shots": 9999, "executor": "tcp://10.0.0.1:8786"}}, {}),
        # What rl_zoo3 writes into the dictionary before version 0.1.0 saved it
        ({"normalize": {"norm_obs": True, "gamma": 0.98}}, {}),
        ({"backend_kwargs": {"max_shots": 9999, "shots": np.int64(10).item()}}, {}),
        ({"replay_buffer_kwargs": {"storage": "memmap"}}, {}),
    ],
)
def test_the_same_run(settings: dict[str, Any], args: dict[str, Any]) -> None:
    """Its length, its folder and how it is watched do not distinguish a run."""
    assert not differences(identity(SETTINGS, ARGS), identity({**SETTINGS, **settings}, {**ARGS, **args}))


@pytest.mark.parametrize(
    "settings, args, sentence",
    [
        ({}, {"seed": 4}, "seed is 3 there and 4 here"),
        ({}, {"env_kwargs": {"g": 5.0}}, "env_kwargs.g is not given there and 5.0 here"),
        ({"env_kwargs": {"g": 5.0}}, {"env_kwargs": {"g": 7.0}}, "env_kwargs.g is not given there and 5.0 here"),
        ({}, {"trained_agent": "mine.zip"}, "trained_agent is not given there and 'mine.zip' here"),
        ({}, {"gym_packages": ["mine"]}, "gym_packages is not given there and ['mine'] here"),
        ({"gamma": 0.9}, {}, "gamma is 0.98 there and 0.9 here"),
        ({"n_envs": 2}, {}, "n_envs is not given there and 2 here"),
        (
            {"policy_kwargs": "dict(n_qubits=4, net_arch=[16, 16], activation_fn=nn.ReLU)"},
            {},
            "policy_kwargs.n_qubits is 3 there",
        ),
        (
            {"policy_kwargs": "dict(n_qubits=3, net_arch=[16, 16], activation_fn=nn.Tanh)"},
            {},
            "policy_kwargs.activation_fn is",
        ),
        ({"backend_kwargs": {"shots": 20}}, {}, "backend_kwargs.shots is 10 there and 20 here"),
        ({"learning_rate": "lin_1e-4"}, {}, "learning_rate is 'lin_1e-3' there and 'lin_1e-4' here"),
        ({"normalize": False}, {}, "normalize is not given there and False here"),
        ({"env_wrapper": "gymnasium.wrappers.RescaleAction"}, {}, "env_wrapper is not given there"),
        ({"callback": "mine.Callback"}, {}, "callback is not given there"),
    ],
)
def test_another_run(settings: dict[str, Any], args: dict[str, Any], sentence: str) -> None:
    theirs, ours = identity(SETTINGS, ARGS), identity({**SETTINGS, **settings}, {**ARGS, **args})
    assert any(difference.startswith(sentence) for difference in differences(theirs, ours))
    assert differences(ours, theirs)


def test_settings_are_read_without_making_objects(tmp_path: Path) -> None:
    """Objects in a file compare with objects in memory, and a file from elsewhere runs nothing."""
    settings = OrderedDict(SETTINGS, action_noise=NormalActionNoise(np.zeros(1), np.ones(1)), policy_kwargs={"a": nn.ReLU})
    write_settings(tmp_path, settings, OrderedDict(ARGS), "python -m rl_zoo3.train")
    read = read_settings(tmp_path / "config.yml")
    assert not differences(identity(read, read_settings(tmp_path / "args.yml")), identity(settings, ARGS))
    assert not differences(identity(settings, ARGS), identity(yaml.unsafe_load((tmp_path / "config.yml").read_text()), ARGS))
    assert "ReLU" in str(read["policy_kwargs"]) and (tmp_path / "command.txt").read_text() == "python -m rl_zoo3.train"

    trap = f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'trapped'}']\n"
    (tmp_path / "config.yml").write_text(trap)
    read_settings(tmp_path / "config.yml")
    assert not (tmp_path / "trapped").exists()
    for text in ("", "- 1\n", "a: [1\n", "a: &b {c: *b}\n? [d]\n: 1", "\x00"):
        (tmp_path / "config.yml").write_text(text)
        with pytest.raises(ValueError, match=r"config\.yml is damaged"):
            read_settings(tmp_path / "config.yml")


def test_runs_of_a_folder(tmp_path: Path) -> None:
    """Newest first, with and without --uuid; other environments, files and copies are none."""
    uuid = "0b7ad0ea-4d0c-4d7f-8cf1-4c9a3e8b0c11"
    names = ["Pendulum-v1_2", "Pendulum-v1_10", f"Pendulum-v1_11_{uuid}"]
    for name in [*names, "Pendulum-v1_x", "Pendulum-v1_3_copy", "Pendulum-v10_4", "APendulum-v1_12"]:
        (tmp_path / name).mkdir()
    (tmp_path / "Pendulum-v1_20").write_text("")
    assert [run.name for run in runs(tmp_path, "Pendulum-v1")] == names[::-1]

    write_settings(tmp_path / names[0] / "Pendulum-v1", SETTINGS, ARGS, "")
    write_settings(tmp_path / names[1] / "Pendulum-v1", SETTINGS, {**ARGS, "seed": 1}, "")
    (tmp_path / names[1] / "Pendulum-v1" / "config.yml").write_text("[")
    found = list(matching(runs(tmp_path, "Pendulum-v1"), "Pendulum-v1", identity(SETTINGS, ARGS)))
    assert found[0][1] == "has no config.yml" and "config.yml is damaged" in str(found[1][1]) and found[2][1] is None


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from sb3_quantum.zoo.runs import Lock\n"
    code += "lock = Lock(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    with pytest.raises(RunLockedError, match=f"{tmp_path} is being trained by process {holder.pid}; wait for it"):
        Lock(tmp_path)
    holder.kill()
    holder.wait()
    lock = Lock(tmp_path)
    with pytest.raises(RunLockedError, match=str(os.getpid())):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()
