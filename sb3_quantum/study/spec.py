"""What a study consists of."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from sb3_quantum.circuits.checks import unknown_names

#: what a training can be ended by
UNITS = ("steps", "updates", "cpu_minutes")
#: what can be changed in a trained agent before it is evaluated again
ABLATIONS = ("shuffled", "zeros", "mean_field", "fresh_angles")


class StudyError(ValueError):
    """A study's file, or what was asked of it, cannot be used. The message is one sentence that names the place."""


@dataclass(frozen=True)
class Environment:
    """
    Where all arms learn.

    :param id: as ``gymnasium.make`` takes it
    :param kwargs: keyword arguments of the environment
    :param packages: modules to import first, which register environments
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """
    How an agent is evaluated, at the end and in between.

    :param episodes: at the end
    :param first_seed: the i-th of them starts from ``env.reset(seed=first_seed + i)``
    :param deterministic: whether to act deterministically; ``None``: as the training acts, on one sampled bitstring if it does
    :param ablations: of :data:`ABLATIONS`, each evaluated with as many episodes; of arms without a circuit only those that
        have a meaning there
    :param fidelity: whether the qtDNN's gradient is compared with the circuit's on the states that were met
    :param points: evaluations over the training, the last one at its end
    :param point_episodes: episodes of each
    :param point_first_seed: reset seed of their first
    """

    episodes: int = 100
    first_seed: int = 10_000
    deterministic: bool | None = None
    ablations: tuple[str, ...] = ()
    fidelity: bool = False
    points: int = 20
    point_episodes: int = 5
    point_first_seed: int = 20_000


@dataclass(frozen=True)
class Budget:
    """
    How long every training is.

    :param unit: of :data:`UNITS`; CPU minutes are those of one thread, without evaluations
    :param amount: how much of it
    """

    unit: str
    amount: float


@dataclass(frozen=True)
class Arm:
    """
    What is compared.

    :param name: with its variant's before a dash, if there are variants
    :param variant: empty if there are none
    :param settings: see :mod:`sb3_quantum.study.settings`
    :param budget: of each of its trainings
    :param seeds: of its trainings
    :param note: what it is, for the report
    """

    name: str
    variant: str
    settings: dict[str, Any]
    budget: Budget
    seeds: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """
    A question that is asked before anything runs.

    :param tested: an arm's name
    :param against: another one's
    :param margin: differences of returns below this one count as none; without it, arms can only be told apart or not
    :param claim: what somebody claimed
    """

    tested: str
    against: str
    margin: float | None = None
    claim: str = ""


@dataclass(frozen=True)
class Study:
    """
    A study.

    :param name: of letters, digits and underscores
    :param question: what it is for
    :param environment: where all arms learn
    :param evaluation: how all agents are evaluated
    :param arms: in the order of the file
    :param comparisons: asked of their final returns
    :param thresholds: returns; how long it takes to reach them is reported
    :param text: the file
    """

    name: str
    question: str
    environment: Environment
    evaluation: Evaluation
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    thresholds: tuple[float, ...]
    text: str = field(repr=False, compare=False)

    @cached_property
    def hash(self) -> str:
        """Of everything but the file's comments and its form."""
        return hash_of({key: value for key, value in asdict(self).items() if key != "text"})

    def arm(self, name: str) -> Arm:
        """
        :param name: of an arm
        :return: the arm
        :raises StudyError: if there is none
        """
        by_name = {arm.name: arm for arm in self.arms}
        message = unknown_names([name], by_name, {})
        if message:
            raise StudyError(f"{self.name}: arm {message}")
        return by_name[name]

    def cells(self) -> list[tuple[Arm, int]]:
        """
        :return: arm and seed of every cell, all arms' first seeds first: an index says the same on every machine
        """
        rounds = range(max(len(arm.seeds) for arm in self.arms))
        return [(arm, arm.seeds[i]) for i in rounds for arm in self.arms if i < len(arm.seeds)]


def hash_of(data: Any) -> str:
    """
    :param data: plain data
    :return: 16 hexadecimal digits
    """
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
