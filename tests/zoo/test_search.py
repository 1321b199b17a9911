"""Hyperparameter search through the zoo."""

import json
from pathlib import Path

import gymnasium as gym
import optuna
import pytest
import torch as th

from sb3_quantum import QuantumTD3
from sb3_quantum.layers import RMSEncoding
from sb3_quantum.zoo.search import convert_qtd3_params, sample_qtd3_params
from tests.zoo.test_zoo import zoo


def study(n_trials: int) -> optuna.Study:
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    sample = sample_qtd3_params
    made.optimize(lambda trial: float(sample(trial, 1, 1, {})["gamma"]), n_trials=n_trials)
    return made


def test_every_sample_is_a_model_and_can_be_made_again_from_the_study() -> None:
    """The trial's stored parameters, converted, are the settings that it ran with (`--trial-id`)."""
    made = study(25)
    encodings = set()
    for trial in made.trials:
        ran = sample_qtd3_params(optuna.trial.FixedTrial(trial.params), 1, 1, {})
        stored = convert_qtd3_params(json.loads(json.dumps(trial.params)))
        assert stored.pop("noise_type") == "normal" and stored.pop("noise_std") == ran["action_noise"]
        assert stored == {name: value for name, value in ran.items() if name != "action_noise"}
        model = QuantumTD3("MlpPolicy", gym.make("Pendulum-v1"), **ran, buffer_size=10)
        assert model.batch_size == trial.user_attrs["batch_size"] and model.gradient_steps >= 1
        encoding = model.actor.encoding
        encodings.add(type(encoding))
        if isinstance(encoding, RMSEncoding):
            assert (encoding.angle_scale, encoding.index_scale) == (trial.params["angle_scale"], trial.params["index_scale"])
        assert model.policy.quantum_layer is not None
        first = model.policy.quantum_layer.qtdnn.net[0]
        assert isinstance(first, th.nn.Linear) and first.out_features == 2 ** trial.params["qtdnn_width_pow"]
    assert len(encodings) == 2


@pytest.mark.parametrize("storage", ["study.log"])
def test_optimize_and_train_the_best_trial(tmp_path: Path, storage: str) -> None:
    """-optimize, with the study in a file, and a training with what it found."""
    zoo(
        tmp_path, "rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1", "-n", "160", "-optimize", "--n-trials", "2",
        "--sampler", "random", "--pruner", "none", "--n-evaluations", "1", "--eval-episodes", "1", "--no-optim-plots",
        "--storage", storage, "--study-name", "qtd3", "-params", "learning_starts:100",
    )  # fmt: skip
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / storage))
    made = optuna.load_study(storage=optuna.storages.JournalStorage(backend), study_name="qtd3")
    assert [trial.state.name for trial in made.trials] == ["COMPLETE", "COMPLETE"]
    printed = zoo(
        tmp_path, "rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1", "-n", "120", "--eval-freq", "-1",
        "--storage", storage, "--study-name", "qtd3", "--trial-id", "1", "-params", "learning_starts:100",
    )  # fmt: skip
    assert f"{made.trials[1].params['learning_rate']}" in printed
