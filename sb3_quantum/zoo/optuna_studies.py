"""Existing studies of ``rl_zoo3.train -optimize``: other search spaces, and trials of dead processes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from sb3_quantum.circuits.wording import counted
from sb3_quantum.zoo.search import sample_qtd3_params

#: user attribute of a study for the process of a trial, followed by the trial's number. rl_zoo3 prints the best trial's own
#: attributes
PROCESS = "process"


class _Given(int):
    """A number that is true even if it is 0, which rl_zoo3 would treat as missing."""

    def __bool__(self) -> bool:
        return True


class _Stored:
    """Stand-in for a trial that returns the values of a stored one, if their distributions are the same."""

    def __init__(self, trial: FrozenTrial):
        self.trial = trial
        self.params: dict[str, Any] = {}

    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        stored = self.trial.distributions.get(name)
        if stored is None:
            raise ValueError(f"{name} was not in it")
        if stored != distribution:
            raise ValueError(f"{name} was {stored} and is {distribution}")
        self.params[name] = self.trial.params[name]
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> Any:
        return self._suggest(name, FloatDistribution(low, high, log, step))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> Any:
        return self._suggest(name, IntDistribution(low, high, log, step))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._suggest(name, CategoricalDistribution(choices))

    def set_user_attr(self, key: str, value: Any) -> None:
        pass


def check_trial(trial: FrozenTrial) -> None:
    """
    Refuse a trial of another search space than qtd3's.

    :param trial: the trial
    :raises ValueError: if it is from another; the message names a parameter that differs
    """
    stored = _Stored(trial)
    try:
        sample_qtd3_params(cast(optuna.Trial, stored), 1, 1, {})
        difference = None
    except ValueError as error:
        difference = str(error)
    left = [name for name in trial.params if name not in stored.params]
    # A running trial may still be sampling
    if difference is not None and (left or trial.state != TrialState.RUNNING):
        raise ValueError(f"trial {trial.number} is from another search space than qtd3's: {difference}")
    if left:
        raise ValueError(f"trial {trial.number} is from another search space than qtd3's: {left[0]} is not in it any more")


def _open(storage: str, name: str) -> optuna.Study | None:
    """Open an existing study."""
    where: Any = storage
    if storage.endswith(".log"):
        # Opening a journal creates the file
        if not Path(storage).is_file():
            return None
        where = JournalStorage(JournalFileBackend(storage))
    try:
        return optuna.load_study(study_name=name, storage=where)
    except KeyError:
        return None


def check_study(manager: Any) -> None:
    """
    Refuse to continue a study of another search space, before a trial is added to it.

    :param manager: rl_zoo3's experiment manager
    :raises ValueError: if it is from another; the message names a parameter that differs
    """
    study = _open(manager.storage, manager.study_name) if manager.storage and manager.study_name else None
    if study is None:
        return
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)):
        try:
            check_trial(trial)
        except ValueError as error:
            name = manager.study_name
            raise ValueError(f"The study {name!r} cannot be continued, use another --study-name: {error}") from None


def check_trial_id(manager: Any) -> None:
    """
    Refuse a ``--trial-id`` that is not a trial of qtd3's search space.

    :param manager: rl_zoo3's experiment manager
    :raises ValueError: if there is no such study or trial, or it is from another search space
    """
    number, storage, name = manager.trial_id, manager.storage, manager.study_name
    if number is None:
        return
    if not (storage and name):
        raise ValueError("--trial-id needs --storage and --study-name")
    study = _open(storage, name)
    if study is None:
        raise ValueError(f"There is no study {name!r} in {storage}")
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise ValueError(f"--trial-id {number}: the study {name!r} has {counted(len(trials), 'trial')}, counted from 0")
    check_trial(trials[number])
    manager.trial_id = _Given(number)


def _process(pid: int) -> str | None:
    """
    Identify a process on any machine by boot and namespace, id and start time. ``None`` if there is no such process, or the
    system cannot tell.
    """
    proc = Path("/proc")
    try:
        boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(proc / "self/ns/pid")
        state, *fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else f"{boot} {namespace} {pid} {fields[18]}"


def sign_trial(trial: optuna.Trial) -> None:
    """
    Record which process runs a trial, where the system can tell (Linux).

    :param trial: the trial that starts
    """
    process = _process(os.getpid())
    if process is not None:
        trial.study.set_user_attr(f"{PROCESS} {trial.number}", process)


def fail_abandoned(study: optuna.Study) -> None:
    """
    Mark trials as failed whose process was killed. Trials that seem to run count for ``--max-total-trials``, so the study
    would miss its total.

    :param study: the study; trials of other machines are not changed
    """
    ours = _process(os.getpid())
    if ours is None:
        return
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    signatures = study.user_attrs if running else {}
    for trial in running:
        # Trials of an older version have the attribute themselves
        signature = signatures.get(f"{PROCESS} {trial.number}", trial.user_attrs.get(PROCESS, "- - 0 -"))
        boot, namespace, pid, _ = signature.split(" ")
        if ours.split(" ")[:2] == [boot, namespace] and _process(int(pid)) != signature:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            print(f"Trial {trial.number} belongs to a process that is gone; it is marked as failed and will be replaced")


def fail_abandoned_of(manager: Any) -> None:
    """
    Call :func:`fail_abandoned` for the study that rl_zoo3 is about to continue.

    :param manager: rl_zoo3's experiment manager
    """
    study = _open(manager.storage, manager.study_name) if manager.storage and manager.study_name else None
    if study is not None:
        fail_abandoned(study)
