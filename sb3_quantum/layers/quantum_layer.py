"""The quantum layer: the circuit forward, the qtDNN backward."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch as th
from torch import nn

from sb3_quantum.backends import BACKEND_ARGUMENTS, Backend, Measurement, make_backend
from sb3_quantum.circuits import Circuit, make_circuit
from sb3_quantum.circuits.checks import check_int, check_number, names_checked
from sb3_quantum.circuits.tracing import computable, full_precision, in_graph, is_transformed
from sb3_quantum.layers.blocks.base import Block, BlockStep, Pairs
from sb3_quantum.layers.encoding import circuit_weights, with_weights
from sb3_quantum.layers.extra_state import is_perturbed, pack_state, seed_of, unpack_state
from sb3_quantum.layers.fitting import bce_backward
from sb3_quantum.layers.gradients import FITTED_GRADIENTS, check_gradient, differentiable_bits, with_noisy_gradient
from sb3_quantum.layers.optimizers import follow, make_optimizer
from sb3_quantum.layers.qtdnn import QtDNN
from sb3_quantum.layers.readout import check_readout, read
from sb3_quantum.layers.rows import as_rows
from sb3_quantum.priors import Prior

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


class QuantumLayer(Block):
    """
    A parametrized quantum circuit as a layer of any torch model (the QL of the paper), with the qtDNN as its derivative.

    ``layer(inputs)`` runs the circuit and returns bits; ``backward`` multiplies the incoming gradient by the Jacobian of the
    qtDNN at the same inputs. :meth:`surrogate` is the paper's other form, with the qtDNN in the forward pass too. Only
    :meth:`fit_surrogate` changes the qtDNN: call it regularly, or the gradient means nothing.

    The paper's circuit has no trainable weights. If a circuit has some (``circuit.n_weights``), they are the layer's parameter
    ``weights``, and inputs without them, ``(batch, n_data)``, are completed.

    ``state_dict`` contains the qtDNN and, as extra state, the circuit, the backend's generator and its counters.

    :param n_qubits: qubits of the circuit (M), 10 by default
    :param n_layers: layers of the circuit (L), 10 by default
    :param backend: name of a backend, or an instance
    :param backend_kwargs: keyword arguments of the backend
    :param readout: what :meth:`forward` returns: ``"sample"`` (the paper), ``"majority"`` or ``"mean"``
    :param gradient: ``"qtdnn"`` (the paper), or a reference without a qtDNN: ``"exact"``, ``"parameter_shift"``, ``"spsa"``,
        which run circuits in :meth:`surrogate` and in ``backward``; or a control: ``"noise"`` of the norm of the qtDNN's
        gradient, or no gradient at all (``"frozen"``). See :mod:`sb3_quantum.layers.gradients`
    :param qtdnn_arch: widths of the qtDNN's hidden layers
    :param qtdnn_features: ``"periodic"`` or ``"raw"``, see :class:`~sb3_quantum.layers.qtdnn.QtDNN`
    :param qtdnn_prior: ``"auto"``, ``"mean_field"``, ``"pair_correlations"`` or ``"none"``, see
        :func:`~sb3_quantum.priors.suited_prior`
    :param qtdnn_learning_rate: learning rate of the qtDNN's optimizer
    :param activation_fn: activation function of the qtDNN
    :param optimizer_class: the qtDNN's optimizer
    :param optimizer_kwargs: its keyword arguments, without the learning rate
    :param circuit: family of the circuit, a key of :data:`~sb3_quantum.circuits.CIRCUITS`, or an instance
    :param circuit_kwargs: keyword arguments of the family, such as ``n_cz``
    :param own_weights: whether the circuit's weights are parameters of this layer; if not, the inputs must include them
    :param seed: seed of the backend's generator; drawn from torch's global generator by default, so that ``torch.manual_seed``
        controls it
    :raises ValueError: if an argument is not one of those accepted
    :raises TypeError: if there is no such argument
    """

    name = "pqc"
    summary = "a parametrized quantum circuit"
    shared_as = "quantum_layer"
    records = True
    of_policy = True
    surrogate_is_probability = True

    backend: Backend
    optimizer: th.optim.Optimizer

    @names_checked({name: "it belongs into backend_kwargs" for name in BACKEND_ARGUMENTS if name != "seed"})
    def __init__(
        self,
        n_qubits: int | None = None,
        n_layers: int | None = None,
        backend: str | Backend = "statevector",
        backend_kwargs: dict[str, Any] | None = None,
        readout: str = "sample",
        gradient: str = "qtdnn",
        qtdnn_arch: Sequence[int] = (128,),
        qtdnn_features: str = "periodic",
        qtdnn_prior: str = "auto",
        qtdnn_learning_rate: float = 3e-3,
        activation_fn: type[nn.Module] = nn.LeakyReLU,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        seed: int | None = None,
        circuit: str | Circuit = "paper",
        circuit_kwargs: dict[str, Any] | None = None,
        own_weights: bool = True,
    ):
        super().__init__(make_circuit(circuit, n_qubits, n_layers, circuit_kwargs))
        self.weights = circuit_weights(self.ansatz) if own_weights else None
        self.readout = check_readout("readout", readout)
        self.backend = make_backend(backend, self.ansatz, backend_kwargs)
        self.gradient = check_gradient(gradient, self.backend)
        if not isinstance(backend, Backend):
            self.backend.seed(int(th.randint(2**62, ())) if seed is None else check_int("seed", seed, least=0))
        self.qtdnn = QtDNN(self.ansatz, qtdnn_arch, qtdnn_features, activation_fn, qtdnn_prior)
        learning_rate = check_number("qtdnn_learning_rate", qtdnn_learning_rate, least=0)
        self.optimizer = make_optimizer(optimizer_class, self.qtdnn.parameters(), learning_rate, optimizer_kwargs)

    @classmethod
    def for_policy(cls, ansatz: Circuit, settings: Mapping[str, Any], **kwargs: Any) -> "QuantumLayer":
        return cls(circuit=ansatz, own_weights=False, **settings)

    @property
    def claim(self) -> str:
        if self.gradient in FITTED_GRADIENTS:
            return {"qtdnn": "fitted", "noise": "biased", "frozen": "none"}[self.gradient]
        if self.gradient == "spsa":
            return "biased"
        return "exact" if self.backend.exact else "unbiased_linear"

    @property
    def fitted(self) -> bool:
        return self.gradient in FITTED_GRADIENTS

    @property
    def reproducible(self) -> bool:
        return self.backend.reproducible

    def draws(self, readout: str) -> bool:
        return readout == "sample" or not self.backend.exact

    def forward(
        self, inputs: th.Tensor, readout: str | None = None, generator: np.random.Generator | None = None
    ) -> th.Tensor:
        """
        Run the circuits. The gradient with respect to the inputs is the one that ``gradient`` names, the qtDNN's by default.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, or with any other leading dimensions, none included
        :param readout: overrides the layer's own
        :param generator: source of randomness; the backend's own generator by default
        :return: ``(batch, n_qubits)``, zeros and ones, or expected bits for ``"mean"``; leading dimensions are the inputs'
        :raises ValueError: if the inputs have another shape, or are not finite
        """
        readout = self.readout if readout is None else check_readout("readout", readout)
        inputs, leading = as_rows(inputs, self.n_inputs, self.ansatz.n_data)
        inputs = self._completed(inputs)
        outputs = read(self.measure(inputs, readout == "sample", generator), readout)
        if (th.is_grad_enabled() and inputs.requires_grad) or (in_graph(inputs) and is_transformed()):
            surrogate = self.surrogate(inputs)
            # Adds exactly zero, and the surrogate's gradient
            outputs = outputs + (surrogate - surrogate.detach())
        return outputs if leading is None else outputs.reshape(*leading, self.n_outputs)

    def _completed(self, inputs: th.Tensor) -> th.Tensor:
        """Append the circuit's own weights, unless the inputs include them."""
        if self.weights is None or not isinstance(inputs, th.Tensor) or inputs.shape[-1:] != (self.ansatz.n_data,):
            return inputs
        return with_weights(inputs, self.weights)

    def surrogate(self, inputs: th.Tensor) -> th.Tensor:
        """
        Evaluate the qtDNN in place of the circuit: differentiable in the inputs, with its parameters frozen.

        If ``gradient`` needs no qtDNN, these are the circuit's own expected bits with that gradient.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, or with any other leading dimensions
        :return: expected bits as the qtDNN sees them, ``(batch, n_qubits)``, in (0, 1); leading dimensions are the inputs'
        """
        inputs, leading = as_rows(inputs, self.n_inputs, self.ansatz.n_data)
        whole = computable("circuit inputs", self._completed(inputs))
        self.ansatz.check_shape(whole)
        with full_precision(whole):
            if self.gradient not in FITTED_GRADIENTS:
                bits = differentiable_bits(self.backend, whole, self.gradient)
            else:
                if self.gradient == "frozen":
                    whole = whole.detach()
                elif self.gradient == "noise":
                    whole = with_noisy_gradient(whole)
                bits = th.sigmoid(self.qtdnn(whole))
        bits = bits if bits.dtype == inputs.dtype else bits.to(inputs.dtype)
        return bits if leading is None else bits.reshape(*leading, self.n_outputs)

    def act(self, inputs: th.Tensor, readout: str, record_bits: bool = False, probe_std: float = 0.0) -> BlockStep:
        """
        Run every circuit once, and keep its inputs and outputs.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param readout: readout of the outputs
        :param record_bits: whether the sampled bits are recorded, or the expected bits
        :param probe_std: standard deviation of the Gaussian probe on the circuit's angles, in radians; one more circuit a row
            if positive
        :return: outputs and circuit pairs
        """
        batch = len(inputs)
        probe_inputs = probe_outputs = None
        if probe_std > 0:
            angles, indices = self.ansatz.split(inputs)
            noise = self.backend.generator.normal(scale=probe_std, size=tuple(angles.shape))
            probe_inputs = self.ansatz.join(angles + th.as_tensor(noise).to(angles), indices)
        both = inputs if probe_inputs is None else th.cat([inputs, probe_inputs])
        measurement = self.measure(both, draw=record_bits or readout == "sample")
        recorded = read(measurement, "sample" if record_bits else "mean")
        if probe_inputs is not None:
            probe_outputs = recorded[batch:]
        return BlockStep(read(measurement, readout)[:batch], Pairs(inputs, recorded[:batch], probe_inputs, probe_outputs))

    def run(self, inputs: th.Tensor, readout: str, generator: np.random.Generator | None = None) -> th.Tensor:
        return read(self.measure(inputs, readout == "sample", generator, evaluation=True), readout)

    def measure(
        self,
        inputs: th.Tensor,
        draw: bool = True,
        generator: np.random.Generator | None = None,
        evaluation: bool = False,
    ) -> Measurement:
        """
        Run the circuits without a gradient, see :meth:`Backend.measure <sb3_quantum.backends.Backend.measure>`.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :param draw: whether to draw a bitstring
        :param generator: source of randomness; the backend's own generator by default
        :param evaluation: count circuits and shots as evaluation
        :return: bits and expected bits
        """
        return self.backend.measure(self._completed(inputs), draw, generator, evaluation)

    def fit(self, inputs: th.Tensor, targets: th.Tensor, gradient_steps: int = 1, batch_size: int | None = None) -> th.Tensor:
        return self.fit_surrogate(inputs, targets, gradient_steps, batch_size)

    def fitted_logits(self, inputs: th.Tensor) -> th.Tensor:
        return self.qtdnn(inputs)

    def reference_prior(self) -> Prior:
        # Without a prior, the circuit's default one: it shows what a run without it gives up
        return self.qtdnn.prior if self.qtdnn.prior.n_logits else super().reference_prior()

    def fit_surrogate(
        self,
        inputs: th.Tensor,
        targets: th.Tensor | None = None,
        gradient_steps: int = 1,
        batch_size: int | None = None,
    ) -> th.Tensor:
        """
        Fit the qtDNN to recorded (circuit input, circuit output) pairs by binary cross-entropy (step B1 of Algorithm 1).

        :param inputs: circuit inputs, ``(rows, n_inputs)``, or with any other leading dimensions
        :param targets: the circuits' outputs, bits or expected bits, ``(rows, n_qubits)``, or with the inputs' leading
            dimensions; if ``None``, the circuits are run now
        :param gradient_steps: tiny-batches to draw, N_qt in the paper
        :param batch_size: rows of a tiny-batch, drawn with replacement; all rows, in order, by default
        :return: the mean loss over the tiny-batches, in nats per qubit, without gradient
        :raises ValueError: if inputs and targets do not match or are empty, or ``gradient_steps`` or ``batch_size`` is not an
            integer >= 1
        """
        for name, value in (("gradient_steps", gradient_steps), ("batch_size", batch_size)):
            if value is not None and not (isinstance(value, Integral) and value >= 1):
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}")
        inputs, leading = as_rows(inputs, self.n_inputs, self.ansatz.n_data)
        inputs = computable("inputs", self._completed(inputs)).detach()
        self.ansatz.check_shape(inputs)
        if len(inputs) == 0:
            raise ValueError(f"inputs must have at least one row to fit the qtDNN to, got the shape {tuple(inputs.shape)}")
        if targets is None:
            targets = self.measure(inputs, draw=False).expected_bits
        given = tuple(targets.shape)
        targets, of_targets = as_rows(targets, self.n_outputs)
        if targets.shape != (len(inputs), self.n_outputs) or of_targets not in (None, leading):
            raise ValueError(f"targets must have the shape {(len(inputs), self.n_outputs)}, got {given}")
        with full_precision(inputs):
            return self._fit(inputs, targets.detach(), gradient_steps, batch_size)

    def _fit(self, inputs: th.Tensor, targets: th.Tensor, gradient_steps: int, batch_size: int | None) -> th.Tensor:
        parameters = self.qtdnn.net_parameters()
        follow(self.optimizer, parameters)
        losses = []
        # Gather all rows, and everything that stays the same, at once: many tiny operations take longer than a few small ones
        if batch_size is not None:
            rows = th.randint(len(inputs), (gradient_steps * batch_size,), device=inputs.device)
            inputs, targets = inputs[rows], targets[rows]
        with th.no_grad():
            features, offset = self.qtdnn.network_inputs(inputs)  # (rows, n_features), (rows, n_qubits)
            features, offset = features.to(parameters[0]), None if offset is None else offset.to(parameters[0])
        targets = targets.to(parameters[0])
        try:
            for step in range(gradient_steps):
                tiny = slice(None) if batch_size is None else slice(step * batch_size, (step + 1) * batch_size)
                known = None if offset is None else offset[tiny]
                losses.append(bce_backward(self.qtdnn.net, features[tiny], targets[tiny], known))
                self.optimizer.step()
        finally:
            self.optimizer.zero_grad()
        return losses[0] if len(losses) == 1 else th.stack(losses).mean()

    def seed(self, seed: int | None) -> None:
        """
        Restart the backend's generator.

        :param seed: the seed; fresh entropy if ``None``
        """
        self.backend.seed(seed)

    def usage(self) -> dict[str, float]:
        """
        Return the backend's statistics and counters.

        :return: numbers by name; those of evaluations start with ``eval_``
        """
        counted = (("", self.backend.usage), ("eval_", self.backend.eval_usage))
        counters = {f"{prefix}{name}": value for prefix, usage in counted for name, value in asdict(usage).items()}
        return {**self.backend.statistics, **counters}

    def set_backend(self, backend: str | Backend, backend_kwargs: dict[str, Any] | None = None) -> None:
        """
        Run the circuits on another backend from now on; generator and counters continue.

        :param backend: name of a backend, or an instance
        :param backend_kwargs: keyword arguments of the backend
        :raises ValueError: if the backend is unknown or does not fit the circuit
        """
        state = self.backend.get_state()
        new = make_backend(backend, self.ansatz, backend_kwargs)
        check_gradient(self.gradient, new)
        self.backend = new
        self.backend.set_state(state)

    def to_qiskit(self, inputs: "th.Tensor | np.ndarray", measure: bool = True) -> "QuantumCircuit":
        """
        Return the circuit that is run for these inputs.

        :param inputs: ``(n_inputs,)`` or ``(1, n_inputs)``
        :param measure: whether to append ``measure_all()``
        :return: a Qiskit circuit
        """
        row = th.as_tensor(inputs)
        return self.ansatz.to_qiskit(self._completed(row.reshape(-1, row.shape[-1])), measure)

    def get_extra_state(self) -> th.Tensor:
        """
        Return what ``state_dict`` saves beside the qtDNN: the circuit, the backend's name, generator and counters.

        :return: JSON as a tensor, see :func:`~sb3_quantum.layers.extra_state.pack_state`
        """
        state = {
            **self.ansatz.spec,
            "backend": self.backend.name,
            "state": self.backend.get_state(),
        }
        return pack_state(state)

    def set_extra_state(self, state: th.Tensor) -> None:
        """
        Restore what :meth:`get_extra_state` returned; the layer keeps its backend.

        A state with noise in it, or a mean of several, seeds the generator and leaves the counters unchanged.

        :param state: the state
        :raises RuntimeError: if it belongs to another circuit, as torch does for parameters of another shape
        """
        if is_perturbed(state):
            self.backend.seed(seed_of(state))
            return
        loaded = unpack_state(state)
        # Version 0.1.0 knew the paper's circuit only
        short = {name: loaded[name] for name in ("n_qubits", "n_layers") if name in loaded}
        saved = make_circuit(loaded.get("circuit", "paper"), **short, circuit_kwargs=loaded.get("circuit_kwargs"))
        if saved != self.ansatz:
            raise RuntimeError(
                f"the saved quantum layer has the circuit {saved}, but this one has {self.ansatz}; parameters can be loaded "
                f"only into the same circuit"
            )
        self.backend.set_state(loaded["state"])

    def extra_repr(self) -> str:
        return f"{self.ansatz}, backend={self.backend.name!r}, readout={self.readout!r}"
