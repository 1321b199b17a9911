"""Data classes of a study."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from sb3_quantum.circuits.checks import unknown_names

#: units of a training's budget
UNITS = ("steps", "updates", "cpu_minutes")
#: ablations of a trained agent
ABLATIONS = ("shuffled", "zeros", "mean_field", "fresh_angles")


class StudyError(ValueError):
    """Error of a study's file or of a request. The message is one sentence that names the place."""


@dataclass(frozen=True)
class Environment:
    """
    Where arms learn.

    :param id: id for ``gymnasium.make``
    :param kwargs: keyword arguments of the environment
    :param packages: modules to import first, which register environments
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """
    Evaluation of an agent, at the end and during training.

    :param episodes: episodes at the end
    :param first_seed: reset seed of the first episode; the i-th starts from ``env.reset(seed=first_seed + i)``
    :param deterministic: whether to act deterministically; ``None`` is as in training, on one sampled bitstring if it acts on
        one
    :param ablations: names from :data:`ABLATIONS`, each evaluated with as many episodes; arms without a circuit have only
        those that apply
    :param fidelity: whether to compare the qtDNN's gradient with the circuit's on the visited states
    :param points: number of evaluations during training, the last one at its end
    :param point_episodes: episodes of each of these
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
    Length of every training.

    :param unit: one of :data:`UNITS`; CPU minutes are those of one thread, without evaluations
    :param amount: number of units
    """

    unit: str
    amount: float


@dataclass(frozen=True)
class Arm:
    """
    An arm of a study: an algorithm with its settings, trained with every seed.

    :param name: its name, after its variant's and a dash if there are variants
    :param variant: its variant's name; empty without variants
    :param settings: see :mod:`sb3_quantum.study.settings`
    :param budget: budget of each of its trainings
    :param seeds: seeds of its trainings
    :param note: description for the report
    :param environment: its variant's; ``None`` is the study's
    """

    name: str
    variant: str
    settings: dict[str, Any]
    budget: Budget
    seeds: tuple[int, ...]
    note: str = ""
    environment: Environment | None = None


@dataclass(frozen=True)
class Comparison:
    """
    A comparison of two arms, stated before anything runs.

    :param tested: an arm's name
    :param against: another one's
    :param margin: differences of returns below it count as none; without it, a verdict cannot be that arms are equal
    :param claim: the claim that it tests
    """

    tested: str
    against: str
    margin: float | None = None
    claim: str = ""


@dataclass(frozen=True)
class Study:
    """
    A study: its arms, seeds, budget, evaluation and comparisons.

    :param name: a name of letters, digits and underscores
    :param question: its question
    :param environment: where arms learn whose variant has no environment of its own
    :param evaluation: settings of the evaluation of all agents
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
        """Hash of everything except the file's comments and layout."""
        everything = {key: value for key, value in asdict(self).items() if key != "text"}
        # Folders of earlier versions name files after this hash: what is not given does not change it
        for arm in everything["arms"]:
            if arm["environment"] is None:
                del arm["environment"]
        return hash_of(everything)

    def environment_of(self, arm: Arm) -> Environment:
        """
        Return the environment of an arm.

        :param arm: one of the arms
        :return: its variant's environment, or the study's
        """
        return arm.environment or self.environment

    def arm(self, name: str) -> Arm:
        """
        Find an arm by its name.

        :param name: name of an arm
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
        List the cells, all arms' first seeds first, so that an index means the same cell on every machine.

        :return: arm and seed of every cell
        """
        rounds = range(max(len(arm.seeds) for arm in self.arms))
        return [(arm, arm.seeds[i]) for i in rounds for arm in self.arms if i < len(arm.seeds)]


def hash_of(data: Any) -> str:
    """
    Hash plain data.

    :param data: plain data
    :return: 16 hexadecimal digits
    """
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
