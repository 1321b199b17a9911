"""Hyperparameter search through the zoo."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import optuna
import pytest
import torch as th
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from sb3_quantum import QuantumTD3
from sb3_quantum.layers import RMSEncoding
from sb3_quantum.zoo.optuna_studies import _process, check_trial, check_trial_id, fail_abandoned, sign_trial
from sb3_quantum.zoo.search import convert_qtd3_params, sample_qtd3_params
from tests.zoo.helpers import begin_zoo, quick_zoo


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


OPTIMIZE = (
    "rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1", "-n", "160", "-optimize", "--sampler", "random",
    "--pruner", "none", "--n-evaluations", "1", "--eval-episodes", "1", "--no-optim-plots", "--study-name", "qtd3",
    "-params", "learning_starts:100",
)  # fmt: skip


def stored_study(folder: Path, storage: str = "study.log") -> optuna.Study | None:
    backend = JournalFileBackend(str(folder / storage))
    try:
        return optuna.load_study(storage=JournalStorage(backend), study_name="qtd3")
    except KeyError:
        return None


def stored(folder: Path, storage: str = "study.log") -> list[FrozenTrial]:
    found = stored_study(folder, storage)
    return [] if found is None else found.trials


def test_optimize_and_train_a_trial(tmp_path: Path) -> None:
    """-optimize, with the study in a file, and a training with what it found; the zoo takes trial 0 for none."""
    printed = quick_zoo(tmp_path, *OPTIMIZE, "--n-trials", "2", "--storage", "study.log")
    assert "User Attributes" in printed and "    process" not in printed
    trials = stored(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    printed = quick_zoo(
        tmp_path, "rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1", "-n", "120", "--eval-freq", "-1",
        "--storage", "study.log", "--study-name", "qtd3", "--trial-id", "0", "-params", "learning_starts:100",
    )  # fmt: skip
    assert f"{trials[0].params['learning_rate']}" in printed


ENDLESS = 10**6


def begin(folder: Path, total: int) -> ForkProcess:
    """A process that searches until the study has so many trials."""
    return begin_zoo(folder, *OPTIMIZE, "--max-total-trials", str(total), "--storage", "study.log")


def stop_in_a_trial(process: ForkProcess, folder: Path, finished: int) -> list[FrozenTrial]:
    """Stop a process in the middle of a trial, after it has finished so many; the trials as they are then."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert process.is_alive() and process.pid is not None
        # What a stopped process has not finished, it does not finish while we look
        os.kill(process.pid, signal.SIGSTOP)
        study_now = stored_study(folder)
        signatures = {} if study_now is None else study_now.user_attrs
        trials = [] if study_now is None else study_now.trials
        own = [t for t in trials if signatures.get(f"process {t.number}", "- - 0 -").split()[2] == str(process.pid)]
        states = [trial.state for trial in own]
        if states.count(TrialState.COMPLETE) >= finished and TrialState.RUNNING in states:
            return trials
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.1)
    raise AssertionError("the process never was in a trial")


def kill(process: ForkProcess) -> None:
    process.kill()
    process.join()


def finish(process: ForkProcess) -> int | None:
    """Let a process go on to its end; its exit status."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join(600)
    return process.exitcode


def test_a_killed_process_loses_its_trial_and_no_other(tmp_path: Path) -> None:
    """
    Two processes on one study, one of them killed: the other finishes it. A study whose only process was killed is finished by
    the same command.

    A process that is to be killed searches without end, so that it cannot be done before it is found in a trial.
    """
    processes = [begin(tmp_path, ENDLESS)]
    try:
        before = stop_in_a_trial(processes[0], tmp_path, finished=1)
        done = [trial for trial in before if trial.state == TrialState.COMPLETE]
        total = len(done) + 3
        processes.append(begin(tmp_path, total))
        both = stop_in_a_trial(processes[1], tmp_path, finished=0)
        assert [trial.state for trial in both].count(TrialState.RUNNING) == 2
        kill(processes[0])
        assert finish(processes[1]) == 0
        after = stored(tmp_path)
        for trial in done:
            assert (after[trial.number].value, after[trial.number].params) == (trial.value, trial.params)
        assert Counter(trial.state.name for trial in after) == {"COMPLETE": total, "FAIL": 1}

        processes.append(begin(tmp_path, ENDLESS))
        alone = stop_in_a_trial(processes[2], tmp_path, finished=0)
        kill(processes[2])
        total = [trial.state for trial in alone].count(TrialState.COMPLETE) + 1
        assert Counter(trial.state.name for trial in stored(tmp_path)) == {"COMPLETE": total - 1, "FAIL": 1, "RUNNING": 1}
        processes.append(begin(tmp_path, total))
        assert finish(processes[3]) == 0
        assert Counter(trial.state.name for trial in stored(tmp_path)) == {"COMPLETE": total, "FAIL": 2}
    finally:
        for process in processes:
            kill(process)


def test_whose_trials_are_abandoned() -> None:
    """Only those of processes that this machine can know to be gone."""
    made = study(1)
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    signatures = [_process(os.getpid()), _process(gone.pid)]
    assert all(signatures) and signatures[0] != signatures[1]
    gone.kill()
    # Gone, though its parent has not asked yet
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    boot, namespace, *rest = str(signatures[1]).split(" ")
    elsewhere = [" ".join(["another", namespace, *rest]), " ".join([boot, "another", *rest])]
    for signature in [*signatures, *elsewhere, None]:
        trial = made.ask()
        if signature is not None:
            trial.set_user_attr("process", signature)
    fail_abandoned(made)
    assert [trial.state.name for trial in made.trials[1:]] == ["RUNNING", "FAIL", "RUNNING", "RUNNING", "RUNNING"]
    gone.wait()
    # The same number, another process
    reused = made.ask()
    reused.set_user_attr("process", " ".join([boot, namespace, str(os.getpid()), "1"]))
    fail_abandoned(made)
    assert made.trials[-1].state.name == "FAIL"


def test_the_best_trial_names_no_process() -> None:
    """rl_zoo3 prints the best trial's attributes and writes them into its table; who ran it is the study's."""
    made = study(1)
    trial = made.ask()
    sign_trial(trial)
    assert "process" not in " ".join(made.trials[-1].user_attrs)
    assert _process(os.getpid()) in made.user_attrs.values()
    fail_abandoned(made)
    assert made.trials[-1].state.name == "RUNNING"
    # Another process's by now
    boot, namespace, *_ = str(_process(os.getpid())).split(" ")
    (key,) = (key for key, value in made.user_attrs.items() if value == _process(os.getpid()))
    made.set_user_attr(key, f"{boot} {namespace} {os.getpid()} 1")
    fail_abandoned(made)
    assert made.trials[-1].state.name == "FAIL"


def changed(name: str, distribution: BaseDistribution | None) -> FrozenTrial:
    """A finished trial of a space in which one parameter was another, or was not there."""
    (trial,) = study(1).trials
    distributions, params = dict(trial.distributions), dict(trial.params)
    if distribution is None:
        del distributions[name], params[name]
    else:
        distributions[name] = distribution
        params.setdefault(name, 3)
    return optuna.trial.create_trial(value=1.0, params=params, distributions=distributions)


@pytest.mark.parametrize(
    "name, distribution, message",
    [
        (
            "batch_size_pow",
            IntDistribution(2, 11),
            "batch_size_pow was IntDistribution(high=11, log=False, low=2, step=1) and is",
        ),
        ("tau", FloatDistribution(0.001, 0.08), "tau was FloatDistribution(high=0.08, log=False"),
        ("readout", CategoricalDistribution(["sample", "mean", "majority"]), "readout was CategoricalDistribution"),
        ("tau", None, "tau was not in it"),
        ("probe_std", None, "probe_std was not in it"),
        ("n_layers", IntDistribution(1, 10), "n_layers is not in it any more"),
    ],
)
def test_trials_of_another_space(name: str, distribution: BaseDistribution | None, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"from another search space than qtd3's: {message}")):
        check_trial(changed(name, distribution))


def test_trials_of_this_space() -> None:
    """Of both encodings, and one that another process has only begun to sample."""
    made = study(10)
    assert {trial.params["encoding"] for trial in made.trials} == {"rms", "raw"}
    running = made.ask()
    for trial in made.trials:
        check_trial(trial)
    running.suggest_float("one_minus_gamma", 0.0001, 0.03, log=True)
    check_trial(made.trials[-1])
    running.suggest_float("unknown", 0, 1)
    with pytest.raises(ValueError, match="another search space"):
        check_trial(made.trials[-1])


def test_a_study_of_another_space_is_not_continued(tmp_path: Path) -> None:
    """Nor is a trial of it trained."""
    storage = "sqlite:///study.db"
    made = optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="qtd3", direction="maximize")
    made.add_trial(changed("batch_size_pow", IntDistribution(2, 11)))
    printed = quick_zoo(tmp_path, *OPTIMIZE, "--n-trials", "1", "--storage", storage, expect=1)
    message = "trial 0 is from another search space than qtd3's: batch_size_pow was IntDistribution(high=11, log=False, low=2"
    assert f"ValueError: The study 'qtd3' cannot be continued, use another --study-name: {message}" in printed
    again = optuna.load_study(storage=made._storage, study_name="qtd3")
    assert len(again.trials) == 1 and not again.user_attrs
    printed = quick_zoo(
        tmp_path, "rl_zoo3.train", "--algo", "qtd3", "--env", "Pendulum-v1",
        "--storage", storage, "--study-name", "qtd3", "--trial-id", "0", expect=1,
    )  # fmt: skip
    assert f"ValueError: {message}" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"], "no run was begun"


@pytest.mark.parametrize(
    "number, name, storage, message",
    [
        (3, "qtd3", "study.log", "--trial-id 3: the study 'qtd3' has 3 trials, counted from 0"),
        (-1, "qtd3", "study.log", "--trial-id -1: the study 'qtd3' has 3 trials, counted from 0"),
        (1, "other", "study.log", "There is no study 'other' in"),
        (1, "qtd3", "other.log", "There is no study 'qtd3' in"),
        (0, None, "study.log", "--trial-id needs --storage and --study-name"),
        (0, "qtd3", None, "--trial-id needs --storage and --study-name"),
    ],
)
def test_trial_ids(tmp_path: Path, number: int, name: str | None, storage: str | None, message: str) -> None:
    made = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log"))), study_name="qtd3")
    made.add_trials(study(3).trials)
    manager = SimpleNamespace(trial_id=number, study_name=name, storage=storage and str(tmp_path / storage))
    with pytest.raises(ValueError, match=re.escape(message)):
        check_trial_id(manager)
    assert [path.name for path in tmp_path.iterdir()] == ["study.log"], "asking makes no file"
    for good in range(3):
        manager = SimpleNamespace(trial_id=good, study_name="qtd3", storage=str(tmp_path / "study.log"))
        check_trial_id(manager)
        assert bool(manager.trial_id) and made.trials[manager.trial_id].number == good
