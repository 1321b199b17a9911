"""Exact, batched simulation of the circuit: differentiable torch on any device, compiled kernels on the CPU."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch as th

from sb3_quantum.backends import graph, kernel, program_graph
from sb3_quantum.backends.base import Array, Backend
from sb3_quantum.backends.graph import GROUP, kron
from sb3_quantum.circuits import Circuit, PaperCircuit
from sb3_quantum.circuits.tracing import computable, full_precision, in_graph, vjp

#: complex numbers that the torch path holds at once, about 64 MB for a chunk of a batch in single precision
CHUNK = 2**23
#: basis states that are worth a thread of their own in the compiled path, about a quarter of a millisecond
THREAD_STATES = 2**13


def _memory_bytes() -> int:
    """Physical memory of this machine in bytes (16 GiB where the system does not say)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


def _outer(vectors: list[th.Tensor]) -> th.Tensor:
    """
    Kronecker product of column vectors, the first one the most significant.

    :param vectors: each ``(batch, n_layers, size, 1)``
    :return: ``(batch, n_layers, product of the sizes)``
    """
    product = vectors[0].squeeze(-1)
    for vector in vectors[1:]:
        product = (product.unsqueeze(-1) * vector.mT).flatten(2)
    return product


@lru_cache(maxsize=4)
def _workers(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads that last; ``process`` because a forked child must not wait for those of its parent."""
    return ThreadPoolExecutor(threads)


def _in_threads(kernel: Callable[..., Any], n_qubits: int, *arrays: np.ndarray) -> bool:
    """
    Call a compiled kernel, which releases the interpreter's lock, on as many threads as torch uses, each with its share of the
    rows.

    :param kernel: what to call: with circuit inputs, ``n_qubits`` and the other arrays
    :param n_qubits: qubits of the circuit
    :param arrays: with one row per circuit, circuit inputs first
    :return: whether the kernel's answers are all true
    """
    batch = len(arrays[0])
    threads = min(th.get_num_threads(), batch, (batch << n_qubits) // THREAD_STATES)
    if threads <= 1:
        return kernel(arrays[0], n_qubits, *arrays[1:])
    shares = [slice(batch * i // threads, batch * (i + 1) // threads) for i in range(threads)]
    own, *others = [[array[share] for array in arrays] for share in shares]
    handed = [_workers(os.getpid(), threads - 1).submit(kernel, part[0], n_qubits, *part[1:]) for part in others]
    answers = [kernel(own[0], n_qubits, *own[1:])]
    return all(answers + [other.result() for other in handed])


def _array(tensor: th.Tensor) -> np.ndarray:
    """What a kernel can read."""
    return np.ascontiguousarray(tensor.detach().numpy() if tensor.requires_grad else tensor.numpy())


class _Compiled(th.autograd.Function):
    """Probabilities of all basis states by the compiled kernels."""

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

    What the circuit's structure gives away free: ``RGate(theta, phi) = RZ(phi) RX(theta) RZ(-phi)``, and on all qubits
    together ``RX(theta) = D K D`` with a diagonal ``D = diag((-i)^ones)`` and a *real* Kronecker product ``K`` of
    ``[[cos, sin], [sin, -cos]](theta / 2)``. So between two layers every diagonal (RZ, CZ, D) merges into one product of
    phases, and a layer is that product and a few batched real matrix products with factors of at most five qubits each. The
    first layer acts on the state 0 and is written down as a product state; the last layer's phases and CZ cannot change a
    measurement in Z and are left out.

    Two engines do so, to within 1e-5 of each other: ``"compiled"`` kernels on the CPU in single precision, which hold one
    circuit at a time on each of torch's threads, 16 bytes per basis state (17 MB for 20 qubits); and ``"torch"`` for any
    device and precision, which cuts large batches into chunks of about 64 MB a statevector. The bits that a seed gives can
    differ between them where a random number falls within rounding of a boundary; ``get_state()["engine"]`` says which one ran
    last.

    :param ansatz: the circuit's shape
    :param shots: unused (expected bits are exact); accepted so that specs can be swapped
    :param seed: seed of the generator that bitstrings are drawn from
    :param engine: ``"auto"`` takes compiled kernels where they can be used, ``"torch"`` never does
    :param limits: see :class:`~sb3_quantum.backends.Backend`
    :raises ValueError: if ``engine`` is unknown, or if one statevector and its workspace do not fit into this machine's memory
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
        engine: Literal["auto", "torch"] = "auto",
        **limits: Any,
    ):
        super().__init__(ansatz, shots, seed, **limits)
        if engine not in ("auto", "torch"):
            raise ValueError(f"engine={engine!r} is unknown, accepted are 'auto' and 'torch'")
        self.engine = engine
        self._ran = "none"
        # Two copies of the state in single precision, probabilities, their float64 running sum, and a table of 1 byte per
        # qubit
        needed, available = 2**ansatz.n_qubits * (16 + 4 + 8 + ansatz.n_qubits), _memory_bytes()
        if needed > available:
            raise ValueError(
                f"n_qubits={ansatz.n_qubits} needs {needed / 2**30:,.0f} GiB for one statevector and its workspace, but this "
                f"machine has {available / 2**30:,.0f} GiB of memory; use fewer qubits or another backend"
            )
        # The bits of every basis state, (n_qubits, 2**n_qubits), qubit m in row m; made on the inputs' device when needed
        self._table = th.zeros(0)

    def _bit_table(self, device: th.device) -> th.Tensor:
        table = self._table
        if len(table) == 0 or table.device != device or in_graph(table):
            states = th.arange(2**self.ansatz.n_qubits, device=device)
            table = th.stack([((states >> m) & 1).to(th.int8) for m in range(self.ansatz.n_qubits)])
            # What a graph made belongs to the graph
            self._table = self._table if in_graph(table) else table
        return table

    def statevector(self, inputs: th.Tensor) -> th.Tensor:
        """
        Final states, up to a phase of each qubit that is 1, which neither a measurement in Z nor entanglement sees.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, in single or double precision
        :return: complex amplitudes ``(batch, 2**n_qubits)``, little-endian as in Qiskit; differentiable in the angles
        """
        if not isinstance(self.ansatz, PaperCircuit):
            return self._amplitudes(inputs)
        return self._amplitudes(inputs) * self._signs(self.ansatz.gates(inputs)[2][:, -1:], inputs.device)[:, 0]

    def _signs(self, index: th.Tensor, device: th.device) -> th.Tensor:
        """What CZ gates between the qubits ``index``, ``(batch, layers, n_cz, 2)``, multiply basis states with."""
        table = self._bit_table(device)
        signs = th.ones(*index.shape[:2], table.shape[1], dtype=th.int8, device=device)
        for pair in index.unbind(2):
            qubit_i, qubit_j = pair.unbind(-1)
            both = table[qubit_i] * table[qubit_j] * (qubit_i != qubit_j).to(th.int8).unsqueeze(-1)
            signs = signs * (1 - 2 * both)
        return signs

    def _amplitudes(self, inputs: th.Tensor) -> th.Tensor:
        """As :meth:`statevector`, without the paper's last layer of CZ gates."""
        if not isinstance(self.ansatz, PaperCircuit):
            real, imag = program_graph.amplitudes(self.ansatz, inputs).unbind(1)
            return th.complex(real, imag)
        n_qubits, n_layers, batch = self.ansatz.n_qubits, self.ansatz.n_layers, len(inputs)
        theta, phi, index = self.ansatz.gates(inputs)
        cos, sin = th.cos(theta / 2), th.sin(theta / 2)
        # Groups of qubits, the most significant first, as the axes of a statevector are ordered
        groups = [slice(start, start + GROUP) for start in reversed(range(0, n_qubits, GROUP))]

        # First layer: a product of cos |0> - i sin |1>, whose phases are merged into those that follow
        state = _outer([kron(th.stack([cos, sin], dim=-1)[:, :1, group, :, None]) for group in groups])
        state = th.complex(state, th.zeros_like(state)).squeeze(1)
        if n_layers == 1:
            return state

        rotations = th.stack([cos, sin, sin, -cos], dim=-1).unflatten(-1, (2, 2))
        factors = [kron(rotations[:, 1:, group]) for group in groups]
        # RZ(phi) of one layer, RZ(-phi) of the next, and D of both: (-i)^2 = -1 for every qubit that is 1
        turns = phi[:, :-1] - phi[:, 1:] + math.pi
        phases = th.stack([th.ones_like(turns, dtype=state.dtype), th.polar(th.ones_like(turns), turns)], dim=-1)
        diagonal = _outer([kron(phases[:, :, group, :, None]) for group in groups])
        diagonal = diagonal * self._signs(index[:, :-1], inputs.device)

        for layer in range(n_layers - 1):
            state = state * diagonal[:, layer]
            amplitudes = th.view_as_real(state)
            for factor in factors:
                # A group's qubits are the leading axis while they are rotated, and then the last one: a full turn restores the
                # order
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

    def _compiled(self, inputs: th.Tensor) -> bool:
        """Whether the compiled kernels take these inputs."""
        compiled = (
            self.engine == "auto"
            and isinstance(self.ansatz, PaperCircuit)
            and self.ansatz.n_cz == 1
            and inputs.is_cpu
            and inputs.dtype == th.float32
            and not in_graph(inputs)
        )
        self._ran = "compiled" if compiled else "torch"
        return compiled

    def probabilities(self, inputs: th.Tensor) -> th.Tensor:
        """
        Probabilities of all basis states.

        :param inputs: circuit inputs, ``(batch, n_inputs)``
        :return: ``(batch, 2**n_qubits)``, little-endian as in Qiskit; differentiable in the angles, any number of times
        """
        if self._compiled(inputs):
            return _Compiled.apply(inputs, self.ansatz)
        return th.view_as_real(self._amplitudes(inputs)).square().sum(-1)

    def _recorded(self, inputs: th.Tensor) -> th.Tensor:
        inputs = computable("circuit inputs", inputs)
        self.ansatz.check_shape(inputs)
        with full_precision(inputs):
            if isinstance(self.ansatz, PaperCircuit):
                return graph.expected_bits(self.ansatz, inputs)
            return program_graph.expected_bits(self.ansatz, inputs)

    def _measures(self, inputs: th.Tensor) -> bool:
        """Whether one compiled kernel does it all, the check of the values included: where no graph is asked for."""
        return self._compiled(inputs) and not (inputs.requires_grad and th.is_grad_enabled())

    def _check(self, inputs: th.Tensor) -> None:
        # Whether the values are finite is asked by _run, which may leave it to the kernel
        self.ansatz.check_shape(inputs)

    def _run(self, inputs: th.Tensor, shots: int, generator: np.random.Generator) -> tuple[Array, Array]:
        measures = self._measures(inputs)
        if not measures:
            self.ansatz.check(inputs)
        # One uniform number per shot, drawn for the whole batch at once: chunks do not change what is sampled
        uniforms = generator.random((len(inputs), shots)) if shots else np.empty((len(inputs), 0))
        if measures:
            bits = np.empty((*uniforms.shape, self.ansatz.n_qubits), np.float32)
            expected = np.empty((len(inputs), self.ansatz.n_qubits), np.float32)
            if not _in_threads(kernel.measure, self.ansatz.n_qubits, _array(inputs), uniforms, bits, expected):
                self.ansatz.check_finite(inputs)
            return bits, expected
        return self._run_torch(inputs, th.as_tensor(uniforms).to(inputs.device))

    def _run_torch(self, inputs: th.Tensor, uniforms: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """What :meth:`_run` says, chunk by chunk, with a graph if the inputs want one."""
        if len(inputs) == 0:
            # No rows, but a graph to those in front
            return inputs.new_zeros(*uniforms.shape, self.ansatz.n_qubits), inputs[:, : self.ansatz.n_qubits].clone()
        table = self._bit_table(inputs.device)
        rows = max(CHUNK >> self.ansatz.n_qubits, 1)
        bits, expected = [], []
        for chunk, uniform in zip(inputs.split(rows), uniforms.split(rows), strict=True):
            probabilities = self.probabilities(chunk)
            expected.append(probabilities @ table.T.to(inputs.dtype))
            if uniform.shape[1] > 0:
                cumulative = probabilities.detach().double().cumsum(1)
                # Scaled by the sum, which rounding keeps from being exactly 1
                state = th.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
                state.clamp_(max=cumulative.shape[1] - 1)
                bits.append(table.T[state].to(inputs.dtype))
        all_bits = th.cat(bits) if bits else inputs.new_zeros(*uniforms.shape, self.ansatz.n_qubits)
        return all_bits, th.cat(expected).clamp(0, 1)
