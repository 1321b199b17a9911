"""Exact, batched simulation: differentiable torch on any device, compiled kernels on the CPU, a Triton kernel on GPUs."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch as th

from sb3_quantum.backends import graph, kernel, program_graph, split_graph
from sb3_quantum.backends.base import Array, Backend
from sb3_quantum.backends.graph import GROUP, WHOLE_QUBITS, kron, outer
from sb3_quantum.backends.split_engine import SplitEngine
from sb3_quantum.backends.threads import in_shares, memory_bytes
from sb3_quantum.circuits import Circuit, PaperCircuit
from sb3_quantum.circuits.checks import meant
from sb3_quantum.circuits.fused import has_room
from sb3_quantum.circuits.tracing import computable, full_precision, in_graph, vjp

if TYPE_CHECKING:
    from sb3_quantum.backends.fused_engine import FusedEngine

#: complex numbers in memory at once in the torch path, about 64 MB for a chunk of a batch in single precision
CHUNK = 2**23
#: basis states that justify another thread in the compiled path, about a quarter of a millisecond
THREAD_STATES = 2**13
#: up to this number of qubits, torch computes double precision, without compiling anything
DOUBLE_QUBITS = 14
Engine = Literal["auto", "split", "full", "torch", "triton"]


def _in_threads(kernel: Callable[..., Any], n_qubits: int, *arrays: np.ndarray) -> bool:
    """
    Call a kernel of the full engine on as many threads as torch uses, each with its share of the rows.

    :param kernel: the kernel, called with circuit inputs, ``n_qubits`` and the other arrays
    :param n_qubits: qubits of the circuit
    :param arrays: arrays with one row per circuit, circuit inputs first
    :return: whether all calls returned true
    """
    batch = len(arrays[0])
    threads = min(th.get_num_threads(), batch, (batch << n_qubits) // THREAD_STATES)

    def run(share: slice) -> bool:
        first, *others = (array[share] for array in arrays)
        return kernel(first, n_qubits, *others)

    return all(in_shares(run, batch, threads))


def _array(tensor: th.Tensor) -> np.ndarray:
    """Return the tensor as an array for a kernel."""
    array = tensor.detach().numpy() if tensor.requires_grad else tensor.numpy()
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


class _Split(th.autograd.Function):
    """Autograd function of expected bits by the split engine."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, backend: "StatevectorBackend") -> th.Tensor:
        ctx.save_for_backward(inputs)
        ctx.backend = backend
        return th.from_numpy(backend._split_measure(inputs, None)[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None]:
        (inputs,) = ctx.saved_tensors
        if th.is_grad_enabled():  # create_graph
            witness = StatevectorBackend(ctx.backend.ansatz, engine="torch")
            return vjp(witness.expected_bits, inputs, grad_outputs[0]), None
        return ctx.backend._split_gradient(inputs, grad_outputs[0]), None


class _Full(th.autograd.Function):
    """Autograd function of the probabilities of all basis states by the full engine."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, ansatz: PaperCircuit) -> th.Tensor:
        ctx.save_for_backward(inputs)
        ctx.ansatz = ansatz
        out = th.empty(len(inputs), 2**ansatz.n_qubits)
        _in_threads(kernel.probabilities, ansatz.n_qubits, _array(inputs), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None]:
        (inputs,) = ctx.saved_tensors
        if th.is_grad_enabled():  # create_graph
            witness = StatevectorBackend(ctx.ansatz, engine="torch")
            return vjp(witness.probabilities, inputs, grad_outputs[0]), None
        gradient = th.empty_like(inputs, memory_format=th.contiguous_format)
        _in_threads(kernel.gradient, ctx.ansatz.n_qubits, _array(inputs), _array(grad_outputs[0]), gradient.numpy())
        return gradient, None


class StatevectorBackend(Backend):
    """
    The exact simulator. It runs on the device of its inputs, in their precision, and autograd passes through
    :meth:`expected_bits` to the angles (the CZ indices are discrete and get zero).

    The engines exploit the circuit's structure: ``RGate(theta, phi) = RZ(phi) RX(theta) RZ(-phi)``, and on all qubits together
    ``RX(theta) = D K D`` with a diagonal ``D = diag((-i)^ones)`` and a *real* Kronecker product ``K`` of ``[[cos, sin], [sin,
    -cos]](theta / 2)``. So between two layers every diagonal (RZ, CZ, D) merges into one product of phases, and a layer is
    that product and a few batched real matrix products with factors of at most five qubits each. The first layer acts on the
    state 0, so it is a product state. The last layer's phases and CZ cannot change a measurement in Z and are left out.

    Four engines agree to within 1e-5:

    * ``"split"``, compiled for the CPU, runs any program of gates one circuit at a time on each of torch's threads. Qubits
      that no two-qubit gate has joined are separate blocks, so a circuit's cost follows from its largest block, not from its
      width: 127 qubits add only a few hundred rotations.
    * ``"torch"`` holds all basis states of up to 16 qubits, on any device and in any precision, and cuts large batches into
      chunks of about 64 MB a statevector. Wider circuits it splits too, see :mod:`~sb3_quantum.backends.split_graph`.
    * ``"triton"``, for GPUs, runs any program of gates of up to 14 qubits in single precision, each batch in one launch, see
      :mod:`~sb3_quantum.backends.fused_kernel`. Beyond that torch steps in.
    * ``"full"``, compiled for the CPU in single precision and the paper's circuit, holds all basis states, 16 bytes each. It
      serves for comparison, and for :meth:`probabilities`.

    ``get_state()["engine"]`` names the one that ran last. The bits of a seed can differ between engines where a random number
    is within rounding error of a boundary, and beyond 16 qubits.

    :param ansatz: the circuit
    :param shots: unused, because expected bits are exact; accepted so that specs can be swapped
    :param seed: seed of the generator of bitstrings
    :param engine: the engine; ``"auto"`` is ``"split"`` on the CPU (in double precision from 15 qubits on), ``"triton"`` on a
        GPU, and otherwise ``"torch"``, which also replaces an engine that cannot be used
    :param limits: see :class:`~sb3_quantum.backends.Backend`
    :raises ValueError: if ``engine`` is unknown or cannot run this circuit; later, before any allocation, if a block (or a
        statevector, in an engine that does not split) does not fit into this machine's memory
    """

    name = "statevector"
    circuits = (Circuit,)
    exact = True
    differentiable = True

    def __init__(
        self,
        ansatz: Circuit,
        shots: int = 1,
        seed: int | None = None,
        engine: Engine = "auto",
        **limits: Any,
    ):
        super().__init__(ansatz, shots, seed, **limits)
        if engine not in get_args(Engine):
            accepted = ", ".join(map(repr, get_args(Engine)))
            raise ValueError(f"engine={engine!r} is unknown, accepted are {accepted}{meant([engine], get_args(Engine))}")
        if engine == "full" and not self._is_papers:
            raise ValueError(f"engine='full' runs the paper's circuit with n_cz=1, got {ansatz}; use 'auto'")
        self.engine = engine
        self._ran = "none"
        self._n_inputs = ansatz.n_inputs
        # Bits of every basis state, (n_qubits, 2**n_qubits), qubit m in row m; made on the inputs' device when needed
        self._table = th.zeros(0)

    @property
    def _is_papers(self) -> bool:
        return isinstance(self.ansatz, PaperCircuit) and self.ansatz.n_cz == 1

    @cached_property
    def _split(self) -> SplitEngine:
        circuit = self.ansatz
        if circuit.gate_columns is not None:
            return SplitEngine(circuit.program, circuit.gate_columns, circuit.index_columns)
        return SplitEngine(circuit.program)

    @cached_property
    def _fused(self) -> "FusedEngine":
        from sb3_quantum.backends.fused_engine import FusedEngine  # which needs Triton

        return FusedEngine(self.ansatz)

    def _check_memory(self) -> None:
        """
        Raise a ValueError if all basis states do not fit into memory.
        """
        n_qubits = self.ansatz.n_qubits
        # Two copies of the state in single precision, probabilities, their float64 running sum, and a table of 1 byte per
        # qubit
        needed, available = 2**n_qubits * (16 + 4 + 8 + n_qubits), memory_bytes()
        if needed > available:
            raise ValueError(
                f"n_qubits={n_qubits} needs {needed / 2**30:,.0f} GiB for one statevector and its workspace, but this machine "
                f"has {available / 2**30:,.0f} GiB of memory; use fewer qubits, engine='auto' or another backend"
            )

    def _bit_table(self, device: th.device) -> th.Tensor:
        self._check_memory()
        table = self._table
        if len(table) == 0 or table.device != device or in_graph(table):
            states = th.arange(2**self.ansatz.n_qubits, device=device)
            table = th.stack([((states >> m) & 1).to(th.int8) for m in range(self.ansatz.n_qubits)])
            # Tensors made in a graph belong to the graph
            self._table = self._table if in_graph(table) else table
        return table

    def statevector(self, inputs: th.Tensor) -> th.Tensor:
        """
        Compute final states, up to a phase of each qubit that is 1, which neither a measurement in Z nor entanglement sees.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
        :return: complex amplitudes ``(batch, 2**n_qubits)``, little-endian as in Qiskit; differentiable in the angles
        """
        if not isinstance(self.ansatz, PaperCircuit):
            return self._amplitudes(inputs)
        return self._amplitudes(inputs) * self._signs(self.ansatz.gates(inputs)[2][:, -1:], inputs.device)[:, 0]

    def _signs(self, index: th.Tensor, device: th.device) -> th.Tensor:
        """Compute the signs of CZ gates between the qubits ``index``, ``(batch, layers, n_cz, 2)``."""
        table = self._bit_table(device)
        signs = th.ones(*index.shape[:2], table.shape[1], dtype=th.int8, device=device)
        for pair in index.unbind(2):
            qubit_i, qubit_j = pair.unbind(-1)
            both = table[qubit_i] * table[qubit_j] * (qubit_i != qubit_j).to(th.int8).unsqueeze(-1)
            signs = signs * (1 - 2 * both)
        return signs

    def _amplitudes(self, inputs: th.Tensor) -> th.Tensor:
        """Compute what :meth:`statevector` does, without the paper's last layer of CZ gates."""
        self._check_memory()
        if not isinstance(self.ansatz, PaperCircuit):
            real, imag = program_graph.amplitudes(self.ansatz, inputs).unbind(1)
            return th.complex(real, imag)
        n_qubits, n_layers, batch = self.ansatz.n_qubits, self.ansatz.n_layers, len(inputs)
        theta, phi, index = self.ansatz.gates(inputs)
        cos, sin = th.cos(theta / 2), th.sin(theta / 2)
        # Groups of qubits, the most significant first, as the axes of a statevector are ordered
        groups = [slice(start, start + GROUP) for start in reversed(range(0, n_qubits, GROUP))]

        # First layer: a product of cos |0> - i sin |1>, whose phases are merged into those that follow
        state = outer([kron(th.stack([cos, sin], dim=-1)[:, :1, group, :, None]) for group in groups])
        state = th.complex(state, th.zeros_like(state)).squeeze(1)
        if n_layers == 1:
            return state

        rotations = th.stack([cos, sin, sin, -cos], dim=-1).unflatten(-1, (2, 2))
        factors = [kron(rotations[:, 1:, group]) for group in groups]
        # RZ(phi) of one layer, RZ(-phi) of the next, and D of both: (-i)^2 = -1 for every qubit that is 1
        turns = phi[:, :-1] - phi[:, 1:] + math.pi
        phases = th.stack([th.ones_like(turns, dtype=state.dtype), th.polar(th.ones_like(turns), turns)], dim=-1)
        diagonal = outer([kron(phases[:, :, group, :, None]) for group in groups])
        diagonal = diagonal * self._signs(index[:, :-1], inputs.device)

        for layer in range(n_layers - 1):
            state = state * diagonal[:, layer]
            amplitudes = th.view_as_real(state)
            for factor in factors:
                # A group's qubits are the leading axis while they are rotated, and then the last one; a full cycle restores
                # the order
                matrix = factor[:, layer]
                size = matrix.shape[-1]
                rotated = th.bmm(matrix, amplitudes.reshape(batch, size, 2 * 2**n_qubits // size))
                amplitudes = rotated.reshape(batch, size, 2**n_qubits // size, 2).transpose(1, 2)
            state = th.view_as_complex(amplitudes.reshape(batch, 2**n_qubits, 2))
        return state

    @property
    def kwargs(self) -> dict[str, Any]:
        return {**super().kwargs, **({} if self.engine == "auto" else {"engine": self.engine})}

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "engine": self._ran}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._ran = state.get("engine", "none")

    def _choose(self, inputs: th.Tensor) -> str:
        """Choose the engine for these inputs."""
        engine = self.engine
        if engine != "torch":
            if not inputs.is_cpu or in_graph(inputs) or engine == "triton":
                fused = engine in ("auto", "triton") and has_room(inputs, self.ansatz.n_qubits, named=engine == "triton")
                engine = "triton" if fused else "torch"
            elif engine == "full":
                engine = "full" if inputs.dtype == th.float32 else "torch"
            elif engine == "auto" and inputs.dtype == th.float64 and self.ansatz.n_qubits <= DOUBLE_QUBITS:
                engine = "torch"
            else:
                engine = "split"
        self._ran = engine
        return engine

    def probabilities(self, inputs: th.Tensor) -> th.Tensor:
        """
        Probabilities of all basis states.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: ``(batch, 2**n_qubits)``, little-endian as in Qiskit; differentiable in the angles, any number of times
        """
        self._check_memory()
        on_cpu = self.engine != "torch" and inputs.is_cpu and inputs.dtype == th.float32 and not in_graph(inputs)
        if on_cpu and self._is_papers:
            return _Full.apply(inputs, self.ansatz)
        return th.view_as_real(self._amplitudes(inputs)).square().sum(-1)

    def _recorded(self, inputs: th.Tensor) -> th.Tensor:
        inputs = computable("circuit inputs", inputs)
        self.ansatz.check_shape(inputs)
        with full_precision(inputs):
            if isinstance(self.ansatz, PaperCircuit):
                return graph.expected_bits(self.ansatz, inputs)
            if self.ansatz.n_qubits > WHOLE_QUBITS and self.ansatz.program.n_choices == 0:
                return split_graph.expected_bits(self.ansatz, inputs)
            self._check_memory()
            return program_graph.expected_bits(self.ansatz, inputs)

    def _check(self, inputs: th.Tensor) -> None:
        # _run checks that the values are finite, or leaves it to the kernel
        shape = inputs.shape
        if len(shape) != 2 or shape[1] != self._n_inputs:
            self.ansatz.check_shape(inputs)

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[Array, Array]:
        engine = self._choose(inputs)
        wants_graph = inputs.requires_grad and th.is_grad_enabled()
        # One uniform number per shot, drawn for the whole batch at once, so that chunks do not change the samples
        rows = inputs.shape[0]
        uniforms = generator.random((rows, shots)) if shots else None
        if engine == "split":
            if wants_graph and shots == 0:
                return np.empty((rows, 0, self.ansatz.n_qubits)), _Split.apply(inputs, self)
            return self._split_measure(inputs, uniforms)
        if engine == "triton":
            if wants_graph and shots == 0:
                witness = StatevectorBackend(self.ansatz, engine="torch").expected_bits
                return np.empty((rows, 0, self.ansatz.n_qubits)), self._fused.expected_bits(inputs, witness)
            return self._fused.measure(inputs, uniforms)
        if uniforms is None:
            uniforms = np.empty((rows, 0))
        if engine == "full" and not wants_graph:
            bits = np.empty((*uniforms.shape, self.ansatz.n_qubits), np.float32)
            expected = np.empty((rows, self.ansatz.n_qubits), np.float32)
            self._check_memory()
            if not _in_threads(kernel.measure, self.ansatz.n_qubits, _array(inputs), uniforms, bits, expected):
                self.ansatz.check_finite(inputs)
            return bits, expected
        self.ansatz.check(inputs)
        return self._run_torch(inputs, uniforms)

    def _split_measure(self, inputs: th.Tensor, uniforms: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Measure with the split engine."""
        measured = self._split.measure(*self._gates(inputs), uniforms)
        if measured is None:
            self.ansatz.check_finite(inputs)
            raise ValueError("the angles of the circuit's gates must be finite, but these inputs make some that are not")
        return measured

    def _split_gradient(self, inputs: th.Tensor, weights: th.Tensor) -> th.Tensor:
        """Compute the gradient of ``(weights * expected_bits).sum()`` with respect to the inputs."""
        gradient = th.from_numpy(self._split.gradient(*self._gates(inputs), _array(weights)))
        if self.ansatz.gate_columns is not None:
            return gradient
        # From the gates' angles to the circuit's inputs
        with th.enable_grad():
            leaf = inputs.detach().requires_grad_(True)
            (slopes,) = th.autograd.grad(self.ansatz.gate_angles(leaf), leaf, gradient, allow_unused=True)
        return th.zeros_like(inputs) if slopes is None else slopes

    def _gates(self, inputs: th.Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """
        Return the array from which the split engine reads angles, and the qubits that rows choose unless it reads them there
        too.
        """
        circuit = self.ansatz
        if circuit.gate_columns is not None:
            return _array(inputs), None
        wrapped = circuit.wrap(inputs.detach())
        chosen = circuit.choices(wrapped).numpy() if circuit.program.n_choices else None
        return _array(circuit.gate_angles(wrapped).to(inputs.dtype)), chosen

    def _run_torch(self, inputs: th.Tensor, uniforms: np.ndarray) -> tuple[th.Tensor, th.Tensor]:
        """Do the work of :meth:`_run` chunk by chunk, with a graph if the inputs require a gradient."""
        if len(inputs) == 0:
            # No rows, but a graph to the inputs
            return inputs.new_zeros(*uniforms.shape, self.ansatz.n_qubits), inputs[:, : self.ansatz.n_qubits].clone()
        if self.ansatz.n_qubits > WHOLE_QUBITS:
            return split_graph.measure(self.ansatz, inputs, uniforms)
        table = self._bit_table(inputs.device)
        rows = max(CHUNK >> self.ansatz.n_qubits, 1)
        bits, expected = [], []
        drawn = th.as_tensor(uniforms).to(inputs.device)
        for chunk, uniform in zip(inputs.split(rows), drawn.split(rows), strict=True):
            probabilities = self.probabilities(chunk)
            expected.append(probabilities @ table.T.to(inputs.dtype))
            if uniform.shape[1] > 0:
                cumulative = probabilities.detach().double().cumsum(1)
                # Scaled by the sum, which rounding errors keep from being exactly 1
                state = th.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
                state.clamp_(max=cumulative.shape[1] - 1)
                bits.append(table.T[state].to(inputs.dtype))
        all_bits = th.cat(bits) if bits else inputs.new_zeros(*uniforms.shape, self.ansatz.n_qubits)
        return all_bits, th.cat(expected).clamp(0, 1)
