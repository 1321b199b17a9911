"""Run one cell from its start or its checkpoint to its end."""

import datetime
import importlib.metadata
import json
import platform
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed

from sb3_quantum import QuantumTD3, __version__
from sb3_quantum.backends import BackendError
from sb3_quantum.common.durable import replacing, write_text
from sb3_quantum.study.agents import evaluate, evaluate_point
from sb3_quantum.study.cell import (
    EVALUATION,
    Cell,
    DamagedCellError,
    begin,
    finish,
    folder_of,
    put_aside,
    read_cell,
    update,
)
from sb3_quantum.study.clock import Clock, Stop, Stopped
from sb3_quantum.study.models import load_model, make_model, maker, steps_to_learn
from sb3_quantum.study.spec import Arm, Study, StudyError
from sb3_quantum.zoo import continuation
from sb3_quantum.zoo.checkpoints import checkpoints, damaged_files, restore_generators
from sb3_quantum.zoo.runs import Lock, RunLockedError

#: files of a finished training
MODEL, STATISTICS = "model.zip", "vecnormalize.pkl"
#: distributions whose versions are recorded
DISTRIBUTIONS = ("gymnasium", "mujoco", "numba", "numpy", "qiskit", "sb3-contrib", "stable_baselines3", "torch")
#: seconds that a cell waits for a lock that its former process, on another worker, is about to release
PATIENCE = 60.0


def run_cell(study: Study, arm: Arm, seed: int, out: Path, stop: Stop, checkpoint_seconds: float = 600.0) -> Cell:
    """
    Train and evaluate a cell, from its start or its checkpoint. A failure is recorded in the cell.

    :param study: the study
    :param arm: one of its arms
    :param seed: seed of the cell
    :param out: the study's folder
    :param stop: whether to stop
    :param checkpoint_seconds: between two checkpoints
    :return: the cell, ``complete``, ``budget`` or ``failed``
    :raises Stopped: if it was asked to stop; its progress is on the disk
    :raises StudyError: if the cell is void, or another process is training it
    """
    folder = folder_of(out, arm.name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder, stop)
    try:
        cell = open_cell(study, arm, seed, folder)
        if cell.status in ("complete", "budget"):
            return cell
        th.set_num_threads(1)
        began = time.monotonic()
        update(cell, status="running", error=None, pieces=cell.manifest.get("pieces", 0) + 1, versions=versions())
        try:
            _train_and_evaluate(study, arm, cell, stop, checkpoint_seconds)
        except (KeyboardInterrupt, Stopped):
            raise Stopped(f"{cell.label} was stopped") from None
        except Exception as error:
            write_text(folder / "error.txt", traceback.format_exc())
            sentence = " ".join(f"{type(error).__name__}: {error}".split())
            update(cell, status="failed", error=sentence)
        finally:
            # Over all pieces, with evaluations and checkpoints
            minutes = cell.manifest.get("wall_minutes", 0.0) + (time.monotonic() - began) / 60
            update(cell, wall_minutes=round(minutes, 3))
        return cell
    finally:
        lock.release()


def open_cell(study: Study, arm: Arm, seed: int, folder: Path) -> Cell:
    """
    Open a cell from the disk, or start a new one. A damaged cell is put aside.

    :param study: the study
    :param arm: one of its arms
    :param seed: seed of the cell
    :param folder: folder of the cell, locked
    :return: the cell
    :raises StudyError: if it was started with other settings
    """
    try:
        cell = read_cell(folder)
    except FileNotFoundError:
        return begin(folder, study, arm, seed)
    except DamagedCellError as error:
        aside = put_aside(folder, "damaged")
        print(f"{error}. The cell was moved to {aside} and starts again", flush=True)
        return begin(folder, study, arm, seed)
    changes = cell.changes(study)
    if changes:
        raise StudyError(f"cell {cell.label} is void: {'; '.join(changes[:3])}; --renew puts it aside and starts it again")
    return cell


def _locked(folder: Path, stop: Stop) -> Lock:
    """Lock the cell. The training of a killed worker will soon notice it and write a checkpoint."""
    end = time.monotonic() + (PATIENCE if stop.has_parent else 0)
    while True:
        try:
            return Lock(folder)
        except RunLockedError as error:
            if time.monotonic() > end:
                raise StudyError(str(error).partition(";")[0]) from error
            time.sleep(1)


def _train_and_evaluate(study: Study, arm: Arm, cell: Cell, stop: Stop, checkpoint_seconds: float) -> None:
    assert cell.folder is not None
    statistics = cell.folder / STATISTICS
    make_env = maker(study.environment_of(arm))
    if cell.manifest.get("trained"):
        model = load_model(
            arm, study.environment_of(arm), cell.seed, cell.folder / MODEL, statistics if statistics.exists() else None
        )
    else:
        clock = Clock(
            cell.folder,
            arm.budget,
            study.evaluation,
            lambda model: evaluate_point(model, make_env, study.evaluation),
            stop,
            checkpoint_seconds,
        )
        model = _trained(study, arm, cell, clock)
        clock.note("evaluating")
    if cell.manifest.get("interruption"):
        # It has fewer steps than asked for, so it is not compared
        finish(cell, "budget")
        return
    try:
        found = evaluate(model, make_env, study.evaluation, cell.seed)
    except BackendError as error:
        finish(cell, "budget", interruption=f"the evaluation was ended: {error}")
        return
    write_text(cell.folder / EVALUATION, json.dumps(found) + "\n")
    finish(cell, "complete", ended=datetime.date.today().isoformat())
    # The cell as it is now, for the caller
    now = read_cell(cell.folder)
    cell.curve, cell.evaluation = now.curve, now.evaluation


def _trained(study: Study, arm: Arm, cell: Cell, clock: Clock) -> OffPolicyAlgorithm:
    """Run the training, or the rest of it."""
    assert cell.folder is not None
    model, resumed = _begun(study, arm, cell, clock)
    total = steps_to_learn(arm)
    try:
        # The number of steps or the callback ends it
        if clock.done < 1 and model.num_timesteps < total:
            model.learn(total - model.num_timesteps * resumed, clock, log_interval=10**9, reset_num_timesteps=not resumed)
    except Stopped:
        clock.end()
        if isinstance(model, QuantumTD3):
            model.interruption = None
        clock.write_checkpoint()
        raise
    interruption = getattr(model, "interruption", None)
    if interruption is None:
        try:
            clock.add_point()
        except BackendError as error:
            interruption = f"the last evaluation was ended: {error}"
    with replacing(cell.folder / MODEL) as partial:
        model.save(partial)
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        with replacing(cell.folder / STATISTICS) as partial:
            normalizer.save(str(partial))
    update(
        cell,
        trained=True,
        interruption=interruption,
        steps=model.num_timesteps,
        updates=model._n_updates,
        cpu_minutes=round(clock.minutes, 4),
        usage=_usage(model),
    )
    return model


def _begun(study: Study, arm: Arm, cell: Cell, clock: Clock) -> tuple[OffPolicyAlgorithm, bool]:
    """Make the model, or load it from the newest readable checkpoint."""
    assert cell.folder is not None
    for checkpoint in checkpoints(cell.folder):
        damaged = damaged_files(checkpoint)
        needed = [name for name in damaged if not name.startswith("replay_buffer")]
        if needed:
            print(f"{damaged[needed[0]]}; {cell.label} starts again", flush=True)
            continue
        statistics = checkpoint / "normalizer" / "vecnormalize.pkl"
        model = load_model(
            arm, study.environment_of(arm), cell.seed, checkpoint / MODEL, statistics if statistics.exists() else None
        )
        clock.init_callback(model)
        noted = clock.go_on(checkpoint)
        try:
            model.load_replay_buffer(checkpoint / "replay_buffer.pkl")
        # A damaged pickle may raise anything
        except Exception as error:
            print(f"{checkpoint / 'replay_buffer.pkl'} cannot be read ({error}); transitions are collected again", flush=True)
        restore_generators(checkpoint)
        clock.ends = continuation.begin_episodes(model, noted["random_actions"], noted["ends"])
        missing = continuation.missing_transitions(model, steps_to_learn(arm))
        if missing > 0:
            continuation.refill(model, missing)
        return model, True
    set_random_seed(cell.seed)
    model = make_model(arm, study.environment_of(arm), cell.seed)
    clock.init_callback(model)
    return model, False


def _usage(model: OffPolicyAlgorithm) -> dict[str, Any]:
    """Return the backend's usage in training."""
    backend = model.policy.block.backend if isinstance(model, QuantumTD3) else None
    return {} if backend is None else asdict(backend.usage)


def versions() -> dict[str, str]:
    """
    Return the versions of the software that determines a cell's results.

    :return: versions by distribution
    """
    found = {"sb3_quantum": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
