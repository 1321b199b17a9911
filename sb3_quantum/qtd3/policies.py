"""The policy: actor, critics, their targets, and the quantum layer that both actors share."""

from typing import Any, TypeVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.common.utils import get_device
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from sb3_quantum.backends import Backend
from sb3_quantum.backends.randomness import Stream
from sb3_quantum.backends.saved import asked_backend
from sb3_quantum.circuits import Circuit, make_circuit
from sb3_quantum.common.finite import check_observations
from sb3_quantum.common.normalization import ObservationNormalizer
from sb3_quantum.layers import Block, QuantumLayer, check_block_kwargs
from sb3_quantum.qtd3.arguments import ELSEWHERE_IN_POLICY, POLICY, checked
from sb3_quantum.qtd3.averaging import WeightAverage, copy_of, is_alike
from sb3_quantum.qtd3.critics import CRITICS, Critic, check_critic
from sb3_quantum.qtd3.features import split_arch
from sb3_quantum.qtd3.networks import QuantumActor
from sb3_quantum.qtd3.precision import explain_precision
from sb3_quantum.qtd3.shared_block import make_shared_block
from sb3_quantum.qtd3.walking import modules_of

#: arguments of the policy that are the actor's too
ACTOR_ARGUMENTS = (
    "n_links",
    "block",
    "block_kwargs",
    "encoding",
    "encoding_kwargs",
    "output_normalization",
    "surrogate_readout",
)

SelfPolicy = TypeVar("SelfPolicy", bound="QuantumTD3Policy")


class QuantumTD3Policy(TD3Policy):
    """
    Policy class for QuantumTD3: hybrid actor, critics, their targets, and one quantum layer.

    :param observation_space: observation space
    :param action_space: action space
    :param lr_schedule: learning rate schedule
    :param net_arch: ``dict(pi=[a, b], qf=[c, d])``, a: PreDNN, b: PostDNN, c: critics before and d: after the action enters;
        longer lists are split in the middle; a flat list stands for both. The paper's networks, ``[256, 256]``, by default
    :param activation_fn: activation function
    :param features_extractor_class: features extractor to use
    :param features_extractor_kwargs: keyword arguments of the features extractor
    :param normalize_images: whether to divide images by 255
    :param optimizer_class: optimizer of actor and critics, and of the qtDNN unless that has its own
    :param optimizer_kwargs: its keyword arguments, without the learning rate; the fused implementation of Adam by default
    :param n_critics: number of critics
    :param share_features_extractor: whether actor and critics share the features extractor
    :param n_qubits: qubits of the circuit (M), 10 by default
    :param n_layers: layers of the circuit (L), 10 by default
    :param n_links: classical links from the PreDNN directly to the PostDNN
    :param block: the module between the actor's networks: ``"pqc"``, the paper's block swap ``"fc"``, ``"rbg"``, ``"zeros"``,
        ``"mean_field"``, ``"bernoulli"``; or your own :class:`~sb3_quantum.layers.Block`, a class or an instance
    :param block_kwargs: keyword arguments of the block
    :param encoding: encoding of the PreDNN's outputs into circuit inputs: ``"rms"`` or ``"raw"`` (the paper)
    :param encoding_kwargs: keyword arguments of the encoding
    :param pre_arch: widths of the PreDNN's hidden layers, overrides ``net_arch``
    :param post_arch: widths of the PostDNN's hidden layers, overrides ``net_arch``
    :param critic_arch: widths of the critics' hidden layers, overrides ``net_arch``; the action enters in the middle
    :param critic_layer_norm: whether to apply layer normalization to the critics' hidden layers (not in the paper); only for
        ``critic="twin"``
    :param critic: kind of the critics: ``"twin"`` (the paper), ``"crossq"`` (batch renormalization, no target networks) or
        ``"categorical"`` (the same, learning a histogram)
    :param critic_kwargs: further keyword arguments of the critics
    :param qtdnn_arch: widths of the qtDNN's hidden layers
    :param qtdnn_features: the qtDNN's features: ``"periodic"`` or ``"raw"`` (the paper)
    :param qtdnn_prior: the qtDNN's prior knowledge: ``"mean_field"``, ``"pair_correlations"``, ``"none"`` (the paper), or
        ``"auto"``: the mean field for the paper's circuit, pair correlations where more gates join qubits
    :param qtdnn_optimizer_class: optimizer of the qtDNN, ``optimizer_class`` by default
    :param qtdnn_optimizer_kwargs: its keyword arguments, without the learning rate
    :param readout: readout of the acting policy: ``"sample"`` (the paper), ``"majority"`` or ``"mean"``
    :param eval_readout: readout of ``predict(deterministic=True)``
    :param normalize_observations: whether to normalize observations by their running mean and variance; switch it off if a
        ``VecNormalize`` around the environment does
    :param actor_average_tau: step of an exponential moving average of the actor's weights (Polyak averaging), with which
        ``predict`` acts; if ``None``, it acts with the actor's own weights
    :param output_normalization: whether to normalize the actor's outputs before tanh, against saturation (arXiv 1910.02208)
    :param surrogate_readout: what updates see in place of the circuit's outputs: the surrogate's expected bits, ``"mean"``
        (the paper); or bits drawn from them, ``"sample"``, for a policy that acts on one sampled bitstring
    :param circuit: family of the circuit, a key of :data:`~sb3_quantum.circuits.CIRCUITS`, or an instance
    :param circuit_kwargs: keyword arguments of the family, such as ``n_cz``
    :param backend: backend of the circuits, a name or an instance; the algorithm's argument overrides it
    :param backend_kwargs: keyword arguments of the backend
    :param gradient: how the quantum layer is differentiated; the algorithm's argument overrides it
    :raises ValueError: if an argument is not one of those accepted
    """

    actor: QuantumActor  # type: ignore[assignment]
    actor_target: QuantumActor  # type: ignore[assignment]
    #: the actor's weights averaged over its updates; ``None`` unless asked for
    actor_average: QuantumActor | None
    averaging: WeightAverage | None
    critic: Critic
    critic_target: Critic

    @checked(POLICY, ELSEWHERE_IN_POLICY)
    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        n_critics: int = 2,
        share_features_extractor: bool = False,
        n_qubits: int | None = None,
        n_layers: int | None = None,
        n_links: int = 10,
        block: str | type[Block] | Block = "pqc",
        block_kwargs: dict[str, Any] | None = None,
        encoding: str = "rms",
        encoding_kwargs: dict[str, Any] | None = None,
        pre_arch: list[int] | None = None,
        post_arch: list[int] | None = None,
        critic_arch: list[int] | None = None,
        critic_layer_norm: bool = False,
        critic: str = "twin",
        critic_kwargs: dict[str, Any] | None = None,
        qtdnn_arch: list[int] | None = None,
        qtdnn_features: str = "periodic",
        qtdnn_prior: str = "auto",
        qtdnn_optimizer_class: type[th.optim.Optimizer] | None = None,
        qtdnn_optimizer_kwargs: dict[str, Any] | None = None,
        readout: str = "sample",
        eval_readout: str = "mean",
        normalize_observations: bool = True,
        actor_average_tau: float | None = None,
        output_normalization: bool = False,
        surrogate_readout: str = "mean",
        circuit: str | Circuit = "paper",
        circuit_kwargs: dict[str, Any] | None = None,
        backend: str | Backend = "statevector",
        backend_kwargs: dict[str, Any] | None = None,
        gradient: str = "qtdnn",
    ):
        check_critic(critic, critic_kwargs, critic_layer_norm)
        check_block_kwargs(block, block_kwargs)
        # nn.Module is not initialized yet, so plain values only
        self.quantum_kwargs: dict[str, Any] = dict(
            n_qubits=n_qubits,
            n_layers=n_layers,
            n_links=n_links,
            block=block,
            block_kwargs=block_kwargs,
            encoding=encoding,
            encoding_kwargs=encoding_kwargs,
            pre_arch=pre_arch,
            post_arch=post_arch,
            critic_arch=critic_arch,
            critic_layer_norm=critic_layer_norm,
            critic=critic,
            critic_kwargs=critic_kwargs,
            qtdnn_arch=[128] if qtdnn_arch is None else qtdnn_arch,
            qtdnn_features=qtdnn_features,
            qtdnn_prior=qtdnn_prior,
            qtdnn_optimizer_class=qtdnn_optimizer_class,
            qtdnn_optimizer_kwargs=qtdnn_optimizer_kwargs,
            normalize_observations=normalize_observations,
            actor_average_tau=actor_average_tau,
            output_normalization=output_normalization,
            surrogate_readout=surrogate_readout,
            circuit=circuit,
            circuit_kwargs=circuit_kwargs,
        )
        self.readout = readout
        self.eval_readout = eval_readout
        self.initial_backend = dict(backend=backend, backend_kwargs=backend_kwargs, gradient=gradient)
        if optimizer_kwargs is None and optimizer_class is th.optim.Adam:
            optimizer_kwargs = dict(fused=True)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            [256, 256] if net_arch is None else net_arch,
            activation_fn,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images,
            optimizer_class,
            optimizer_kwargs,
            n_critics,
            share_features_extractor,
        )
        self._plain_modules: list[nn.Module] | None = None
        self.seed_predictions(int(th.randint(2**62, ())))

    def seed_predictions(self, seed: int) -> None:
        """
        Restart the generator of stochastic predictions, which is not the training's.

        :param seed: the seed
        """
        self._predict_stream = Stream(seed)

    def seed_circuits(self, seed: int) -> None:
        """
        Restart the generators of the circuit's bits, or of the bits of the block in its place.

        :param seed: the seed
        """
        self.seed_predictions(seed)
        self.block.seed(seed)

    @property
    def block(self) -> Block:
        """The block between the networks of the actor that learns."""
        return self.actor.block

    @property
    def block_path(self) -> str:
        """Path of the block as an attribute of the policy."""
        return self.block.shared_as or "actor.block"

    def _build(self, lr_schedule: Schedule) -> None:
        kwargs = self.quantum_kwargs
        self.ansatz = make_circuit(kwargs["circuit"], kwargs["n_qubits"], kwargs["n_layers"], kwargs["circuit_kwargs"])
        self.normalizer = ObservationNormalizer(self.observation_space) if kwargs["normalize_observations"] else None
        self.quantum_layer: QuantumLayer | None = None
        shared = make_shared_block(self, lr_schedule)
        if shared is not None:
            setattr(self, str(shared.shared_as), shared)
        pre_arch, post_arch = split_arch(self.actor_kwargs.pop("net_arch"))  # type: ignore[arg-type]
        critic_arch = self.critic_kwargs.pop("net_arch")
        self.actor_kwargs.update(
            pre_arch=pre_arch if kwargs["pre_arch"] is None else kwargs["pre_arch"],
            post_arch=post_arch if kwargs["post_arch"] is None else kwargs["post_arch"],
            ansatz=self.ansatz,
            quantum_layer=shared,
            normalizer=self.normalizer,
            readout=self.readout,
            **{key: kwargs[key] for key in ACTOR_ARGUMENTS},
        )
        self.critic_kwargs.update(
            critic_arch=critic_arch if kwargs["critic_arch"] is None else kwargs["critic_arch"],
            normalizer=self.normalizer,
            **({"layer_norm": True} if kwargs["critic_layer_norm"] else {}),
            **(kwargs["critic_kwargs"] or {}),
        )
        super()._build(lr_schedule)
        if not self.critic.has_target:
            del self.critic_target
            self.critic = self.critic
        self.actor_average, self.averaging = None, None
        if kwargs["actor_average_tau"] is not None:
            self.actor_average, self.averaging = copy_of(self.actor), WeightAverage(kwargs["actor_average_tau"])

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        # If the user replaces a shared module, no network may keep the old one
        if name == "critic" and "critic_target" not in self._modules and not value.has_target:
            # The critic is its own target, without registration as a submodule: the state_dict must contain it once
            object.__setattr__(self, "critic_target", value)
        elif name == "normalizer":
            for network in ("actor", "actor_target", "actor_average", "critic", "critic_target"):
                if network in self._modules:
                    getattr(self, network).share_normalizer(value)
        elif isinstance(value, Block) and value.shared_as == name:
            for actor in self._actors():
                actor.share_block(value)
        elif name == "readout" and "_modules" in self.__dict__:
            for actor in self._actors():
                actor.block.readout = value

    def _actors(self) -> list[QuantumActor]:
        """List the actors that exist so far."""
        return [getattr(self, name) for name in ("actor", "actor_target", "actor_average") if name in self._modules]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        data.update(self.quantum_kwargs, readout=self.readout, eval_readout=self.eval_readout)
        backend = self.block.backend
        if backend is not None:
            gradient = getattr(self.block, "gradient", self.initial_backend["gradient"])
            data.update(backend=backend.name, backend_kwargs=backend.kwargs, gradient=gradient)
        return data

    @classmethod
    def load(cls: type[SelfPolicy], path: str, device: th.device | str = "auto") -> SelfPolicy:
        """
        Load policy from path. As for a model file, nothing outside this machine is contacted.

        :param path: path to the file
        :param device: device on which the policy should be loaded
        :return: the policy
        """
        saved = th.load(path, map_location=get_device(device), weights_only=False)
        data = dict(saved["data"])
        named = {name: data.pop(name) for name in ("backend", "backend_kwargs") if name in data}
        policy = cls(**data, **{**named, **asked_backend(path, named, {})})
        policy.load_state_dict(saved["state_dict"])
        return policy.to(get_device(device))

    def set_training_mode(self, mode: bool) -> None:
        """
        Put actor and critics into training or evaluation mode, faster than ``nn.Module.train``, which SB3 calls twice per
        step. The targets and the average are always in evaluation mode.

        :param mode: whether it is training mode
        """
        actor, critic = self.actor, self.critic
        modules = modules_of(actor, critic)
        if modules != self._plain_modules:
            # The modules changed: this is the first call, or the user edited them
            plain = all(type(module).train is nn.Module.train for module in modules)
            self._plain_modules = modules if plain else None
        average = self.actor_average
        if mode or average is not None:
            targets = [self.actor_target, self.critic_target] if critic.has_target else [self.actor_target]
            if average is not None:
                targets.append(average)
            for module in modules_of(*targets):
                if module.training:
                    for target in targets:
                        target.set_training_mode(False)
                    break
        if self._plain_modules is None:
            super().set_training_mode(mode)
            return
        for module in modules:
            module.__dict__["training"] = mode
        self.__dict__["training"] = mode

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> QuantumActor:  # type: ignore[override]
        return QuantumActor(**self._update_features_extractor(self.actor_kwargs, features_extractor)).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Critic:
        critic_class = CRITICS[self.quantum_kwargs["critic"]]
        return critic_class(**self._update_features_extractor(self.critic_kwargs, features_extractor)).to(self.device)

    @property
    def deployed_actor(self) -> QuantumActor:
        """The actor that ``predict`` uses: the average once it contains an update, otherwise the actor itself."""
        if self.actor_average is None or self.averaging is None or self.averaging.n_averaged == 0:
            return self.actor
        return self.actor_average

    def update_average(self) -> None:
        """Add the actor's weights to their average, if there is one. An actor of another structure starts a new average."""
        if self.actor_average is None or self.averaging is None:
            return
        if not is_alike(self.actor, self.actor_average):
            self.actor_average, self.averaging.n_averaged = copy_of(self.actor), 0
        self.averaging.update(self.actor, self.actor_average)

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        # Otherwise a clipped infinity would pass as an observation, and a NaN would become an action
        if not isinstance(observation, tuple):  # for which SB3 has a message
            check_observations("observation", observation, per_env=False)
        try:
            return super().predict(observation, *args, **kwargs)
        except (RuntimeError, TypeError) as error:
            explain_precision(self, error)
            raise

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        actor = self.deployed_actor
        if not deterministic:
            return actor(observation, self.readout, self._predict_stream.generator)
        block = actor.block
        if not block.draws(self.eval_readout):
            return actor(observation, self.eval_readout)
        if not block.reproducible:
            # A seed means nothing on a chip, and every row would queue as a job of its own
            return actor(observation, self.eval_readout, np.random.default_rng(0))
        # Every row starts from the same seed, so that equal observations give equal actions at any place in a batch
        if isinstance(observation, dict):
            rows: list[PyTorchObs] = [
                {key: value[i : i + 1] for key, value in observation.items()}
                for i in range(len(next(iter(observation.values()))))
            ]
        else:
            rows = list(observation.split(1))
        return th.cat([actor(row, self.eval_readout, np.random.default_rng(0)) for row in rows])


MlpPolicy = QuantumTD3Policy


class CnnPolicy(QuantumTD3Policy):
    """
    :class:`QuantumTD3Policy` for images.

    :param args: see :class:`QuantumTD3Policy`
    :param features_extractor_class: features extractor to use, ``NatureCNN`` by default
    :param kwargs: see :class:`QuantumTD3Policy`
    """

    def __init__(self, *args: Any, features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN, **kwargs: Any):
        kwargs["features_extractor_class"] = features_extractor_class
        super().__init__(*args, **kwargs)


class MultiInputPolicy(QuantumTD3Policy):
    """
    :class:`QuantumTD3Policy` for dictionary observations.

    :param args: see :class:`QuantumTD3Policy`
    :param features_extractor_class: features extractor to use, ``CombinedExtractor`` by default
    :param kwargs: see :class:`QuantumTD3Policy`
    """

    def __init__(self, *args: Any, features_extractor_class: type[BaseFeaturesExtractor] = CombinedExtractor, **kwargs: Any):
        kwargs["features_extractor_class"] = features_extractor_class
        super().__init__(*args, **kwargs)
