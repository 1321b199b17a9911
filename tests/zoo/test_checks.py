"""A misspelt hyperparameter raises an error that names the intended one, before anything is created."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import rl_zoo3
import yaml
from rl_zoo3.exp_manager import ExperimentManager
from torch import nn

from sb3_quantum import MlpPolicy, QuantumTD3
from sb3_quantum.zoo import hyperparams_path
from sb3_quantum.zoo.checks import OPTIONS, ZOO_KEYS, check_hyperparams, check_kwargs, parameters
from tests.zoo.helpers import SMALL, quick_zoo

TRAIN = ("rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1")


def test_a_misspelt_yaml(tmp_path: Path) -> None:
    """In the keyword arguments of the policy, which a YAML file holds as a string."""
    (tmp_path / "mine.yml").write_text(
        'Pendulum-v1:\n  policy: MlpPolicy\n  n_timesteps: 200\n  policy_kwargs: "dict(n_qubit=3, activation_fn=nn.ReLU)"\n'
    )
    printed = quick_zoo(tmp_path, *TRAIN, "-conf", "mine.yml", expect=1)
    assert printed.strip().endswith("ValueError: policy_kwargs of qtd3: 'n_qubit' is unknown, did you mean 'n_qubits'?")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yml"], "no run was begun"


def test_a_misspelt_param_of_a_search(tmp_path: Path) -> None:
    printed = quick_zoo(
        tmp_path, *TRAIN, "-optimize", "--storage", "study.log", "--study-name", "mine",
        "-params", "learning_start:100", SMALL, expect=1,
    )  # fmt: skip
    assert printed.strip().endswith("hyperparameters of qtd3: 'learning_start' is unknown, did you mean 'learning_starts'?")
    assert not list(tmp_path.iterdir()), "neither a run nor a study was begun"


def test_a_misspelt_param_of_a_run_that_can_be_continued(tmp_path: Path) -> None:
    printed = quick_zoo(
        tmp_path, "sb3_quantum.train", *TRAIN[1:], "--resume", "-params", "backend_kwargs:dict(shot=5)", expect=1
    )  # fmt: skip
    assert printed.strip().endswith("backend_kwargs of qtd3: 'shot' is unknown, did you mean 'shots'?")
    assert not list(tmp_path.iterdir())


def test_an_unknown_environment(tmp_path: Path) -> None:
    """The zoo's own check."""
    printed = quick_zoo(tmp_path, *TRAIN[:-1], "Pendulm-v1", expect=1)
    assert printed.strip().endswith("ValueError: Pendulm-v1 not found in gym registry, you maybe meant Pendulum-v1?")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "hyperparams, message",
    [
        (dict(learning_rte=1), "hyperparameters of qtd3: 'learning_rte' is unknown, did you mean 'learning_rate'?"),
        (dict(n_timestep=1), "'n_timestep' is unknown, did you mean 'n_timesteps'?"),
        (dict(n_qubits=3), "'n_qubits' is unknown, it belongs into policy_kwargs"),
        (dict(seed=3), "'seed' is unknown, it is the option --seed"),
        (dict(tensorboard_log="runs"), "it is the option --tensorboard-log"),
        (dict(qwertz=1, gama=1), "'gama' is unknown, did you mean 'gamma'?; 'qwertz' is unknown, accepted are action_noise, "),
        (dict(noise_type=None), "noise_type and noise_std must be given together"),
        (dict(noise_type="normal"), "noise_type and noise_std must be given together"),
        (dict(noise_std=0.1), "noise_type and noise_std must be given together"),
        (dict(_init_setup_model=False), "'_init_setup_model' is unknown"),
    ],
)
def test_unknown_hyperparams(hyperparams: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_hyperparams(dict(policy="MlpPolicy", n_timesteps=100, **hyperparams))


class WiderPolicy(MlpPolicy):
    def __init__(self, *args: Any, width: int = 3, **kwargs: Any):
        super().__init__(*args, **kwargs)


class OpenPolicy:
    def __init__(self, **anything: Any):
        pass


@pytest.mark.parametrize(
    "hyperparams, message",
    [
        (dict(policy_kwargs=dict(net_arc=[3])), "policy_kwargs of qtd3: 'net_arc' is unknown, did you mean 'net_arch'?"),
        (dict(policy_kwargs=dict(gamma=0.9)), "'gamma' is unknown, it belongs beside policy_kwargs"),
        (dict(policy_kwargs=dict(backend="aer")), "'backend' is unknown, it belongs beside policy_kwargs"),
        (dict(policy_kwargs=dict(lr_schedule=1)), "'lr_schedule' is unknown"),
        (dict(policy="CnnPolicy", policy_kwargs=dict(n_layer=3)), "'n_layer' is unknown, did you mean 'n_layers'?"),
        (dict(policy=WiderPolicy, policy_kwargs=dict(widt=3)), "'widt' is unknown, did you mean 'width'?"),
        (dict(policy="MlpPolcy"), "policy of qtd3: 'MlpPolcy' is unknown, did you mean 'MlpPolicy'?"),
        (dict(backend_kwargs=dict(engin="torch")), "backend_kwargs of qtd3: 'engin' is unknown, did you mean 'engine'?"),
        (dict(backend="ibm", backend_kwargs=dict(chp="ibm_fez")), "'chp' is unknown, did you mean 'chip'?"),
        (dict(backend="aer", backend_kwargs=dict(max_shot=3)), "'max_shot' is unknown, did you mean 'max_shots'?"),
        (dict(backend_kwargs=dict(ansatz=3)), "'ansatz' is unknown"),
    ],
)
def test_unknown_kwargs(hyperparams: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_kwargs({"policy": "MlpPolicy", **hyperparams})


def test_what_is_known_passes() -> None:
    """Everything that QuantumTD3, its policies and its backends take; the YAML files; and what nobody here can know."""
    algorithm = parameters(QuantumTD3)
    assert algorithm is not None and set(OPTIONS) < set(algorithm)
    known = dict.fromkeys([*algorithm, *ZOO_KEYS], 1)
    for name in OPTIONS:
        del known[name]
    check_hyperparams(known)
    names = parameters(MlpPolicy)
    assert names is not None and {"n_qubits", "readout", "n_critics"} < set(names)
    check_kwargs(dict(policy=WiderPolicy, policy_kwargs=dict(width=3, n_qubits=3, activation_fn=nn.ReLU)))
    check_kwargs(dict(policy=OpenPolicy, policy_kwargs=dict(whatever=3)))
    check_kwargs(dict(policy="MultiInputPolicy", policy_kwargs=None, backend="unknown", backend_kwargs=dict(whatever=3)))
    for backend in ("aer", "sampler", "ibm"):
        check_kwargs(dict(policy="MlpPolicy", backend=backend, backend_kwargs=dict(shots=3, max_circuits=4)))
    for file in ("qtd3", "qtd3-paper"):
        for hyperparams in yaml.safe_load(hyperparams_path(file).read_text()).values():
            check_hyperparams(hyperparams)
            check_kwargs({**hyperparams, "policy_kwargs": eval(hyperparams.get("policy_kwargs", "{}"))})


def test_the_zoos_own_keys_are_all_known() -> None:
    """Those that its source reads, and those of its TD3's file. Fails when rl_zoo3 has a new one."""
    source = inspect.getsource(ExperimentManager)
    read = set(re.findall(r'(?<![_\w])hyperparams(?:\[|\.get\()"(\w+)"', source)) - {"action_noise", "policy"}
    read |= set(re.findall(r'get_\w+\(hyperparams, "(\w+)"\)', source)) | {"env_wrapper", "callback"}
    known = parameters(QuantumTD3)
    assert known is not None and read - set(known) == set(ZOO_KEYS)
    theirs = yaml.safe_load((Path(rl_zoo3.__file__).parent / "hyperparams" / "td3.yml").read_text())
    for hyperparams in theirs.values():
        check_hyperparams(hyperparams)
