"""Engine for GPUs: from circuit inputs to bits, expected bits and gradients, see :mod:`.fused_kernel`. It needs Triton."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch as th

from sb3_quantum.backends import fused_kernel
from sb3_quantum.circuits import Circuit, fused
from sb3_quantum.circuits.program import KINDS, Gate
from sb3_quantum.circuits.tracing import vjp

#: up to this number of qubits, both parts of an amplitude are fetched at once, from 8 bytes of shared memory each
PACKED_QUBITS = 12
#: programs that share the rows of a batch: more than any GPU runs at once
PROGRAMS = 2**13
#: gates and inputs read at once
BLOCK = 128
#: gates of all programs, which take 16 bytes of the GPU's memory each
SCRATCH = 2**22
_DIAGONAL = ("rz", "cz", "rzz")
_IDENTITY = Gate("fixed", (0,), fixed=(1.0, 0.0, 0.0, 0.0))


def constants_of(kernel: str, n_qubits: int) -> tuple[int, dict[str, Any]]:
    """
    Choose the compile-time constants of a kernel.

    :param kernel: ``"measure"`` or ``"gradient"``, which holds two states
    :param n_qubits: qubits of the circuit
    :return: warps, so that a thread holds as many amplitudes as its registers have room for, and constants
    """
    warps = 2**n_qubits // (256 if kernel == "measure" else 128)
    return min(max(warps, 2), 32), dict(SIZE=2**n_qubits, BLOCK=BLOCK, PACKED=n_qubits <= PACKED_QUBITS)


class FusedEngine:
    """
    Run circuits of up to :data:`~sb3_quantum.circuits.fused.MOST_QUBITS` qubits in single precision on the device of their
    inputs, each batch in one launch.

    :param circuit: the circuit
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit, program = circuit, circuit.program
        self._direct = circuit.gate_columns is not None
        columns, n_angles = circuit.gate_columns, program.n_angles
        choices = circuit.index_columns
        if columns is None:  # what :meth:`_read` puts together
            columns, choices = np.arange(n_angles), n_angles + np.arange(2 * program.n_choices)
        choices = choices.reshape(-1, 2)
        # Gates after the last gate that is not diagonal do not change a measurement in Z
        turning = [place for place, gate in enumerate(program.gates) if gate.name not in _DIAGONAL]
        gates = program.gates[: max(turning, default=-1) + 1] or (_IDENTITY,)
        self._n_gates = len(gates)
        self._planar = all(gate.name not in ("rz", "fixed") for gate in gates)
        self._table = np.full((self._n_gates, fused_kernel.FIELDS), -1, np.int32)
        for row, gate in zip(self._table, gates, strict=True):
            row[0] = KINDS.index(gate.name)
            row[1 : 1 + len(gate.qubits)] = gate.qubits
            row[3 : 3 + len(gate.angles)] = columns[list(gate.angles)]
            if gate.choice is not None:
                row[5:7] = choices[gate.choice]
        self._fixed = np.array([gate.fixed or (0.0, 0.0, 0.0, 0.0) for gate in gates], np.float32)
        self._most_programs = max(1, min(PROGRAMS, SCRATCH // self._n_gates))
        self._on = lru_cache(self._place)

    def _read(self, inputs: th.Tensor) -> th.Tensor:
        """
        Return what the table's columns refer to: the inputs, or the gates' angles followed by the qubits that rows choose.
        """
        if self._direct:
            return inputs.contiguous()
        wrapped = self.circuit.wrap(inputs)
        angles = self.circuit.gate_angles(wrapped).to(inputs.dtype)
        if self.circuit.program.n_choices == 0:
            return angles.contiguous()
        return th.cat([angles, self.circuit.choices(wrapped).flatten(1).to(angles)], dim=1)

    def _place(self, device: th.device) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """Put the table, the fixed gates and the flag for inputs that are not finite on a device."""
        table, fixed = th.from_numpy(self._table).to(device), th.from_numpy(self._fixed).to(device)
        return table, fixed, th.zeros(1, dtype=th.int32, device=device)

    def _launch(self, name: str, programs: int, *arguments: Any, **constants: Any) -> None:
        warps, sizes = constants_of(name, self.circuit.n_qubits)
        kernel = getattr(fused_kernel, name)
        fused.launch(kernel, programs, *arguments, PLANAR=self._planar, num_warps=warps, **sizes, **constants)

    def measure(self, inputs: th.Tensor, uniforms: np.ndarray | None = None) -> tuple[th.Tensor, th.Tensor]:
        """
        Measure circuits.

        :param inputs: circuit inputs, ``(batch, n_inputs)``, float32
        :param uniforms: random numbers in [0, 1), ``(batch, shots)``, float64; without them no bits are drawn
        :return: bits ``(batch, shots, n_qubits)`` and probabilities of reading 1, ``(batch, n_qubits)``, on the inputs' device
        :raises ValueError: if an input is NaN or infinite
        """
        values = self._read(inputs)
        (rows, width), n_qubits = values.shape, self.circuit.n_qubits
        shots = 0 if uniforms is None else uniforms.shape[1]
        programs = min(rows, self._most_programs)
        table, fixed, flag = self._on(values.device)
        scratch = values.new_empty(programs, self._n_gates, 4)
        bits, expected = values.new_empty(rows, shots, n_qubits), values.new_empty(rows, n_qubits)
        drawn = scratch if uniforms is None else th.from_numpy(uniforms).to(values.device)
        arrays = (values, table, fixed, scratch, drawn, bits, expected, flag)
        numbers = (rows, programs, width, self._n_gates, n_qubits, shots)
        constants = dict(QUBITS=fused.power_of_2(n_qubits), DRAWN=shots > 0)
        self._launch("measure", programs, *arrays, *numbers, **constants)
        if flag.item():
            flag.zero_()
            self.circuit.check_finite(inputs)
            raise ValueError("the angles of the circuit's gates must be finite, but these inputs make some that are not")
        return bits, expected

    def expected_bits(self, inputs: th.Tensor, witness: Callable[[th.Tensor], th.Tensor]) -> th.Tensor:
        """
        Compute expected bits, differentiable by autograd.

        :param inputs: as in :meth:`measure`
        :param witness: the same function in torch's operations, for further derivatives
        :return: ``(batch, n_qubits)``
        """
        return _FusedBits.apply(inputs, self, witness)

    def gradient(self, inputs: th.Tensor, weights: th.Tensor) -> th.Tensor:
        """
        Compute the gradient of ``(weights * expected_bits).sum()`` with respect to the inputs.

        :param inputs: as in :meth:`measure`, finite
        :param weights: ``(batch, n_qubits)``, float32
        :return: ``(batch, n_inputs)``; zero where rows choose qubits
        """
        with th.set_grad_enabled(not self._direct):
            leaf = inputs.detach().requires_grad_(not self._direct)
            values = self._read(leaf)
        rows, width = values.shape
        programs, n_qubits = min(rows, self._most_programs), self.circuit.n_qubits
        scratch, out = values.new_empty(programs, self._n_gates, 4), th.zeros_like(values)
        table, fixed, flag = self._on(values.device)
        arrays = (values.detach(), table, fixed, scratch, weights.contiguous(), out, flag)
        numbers = (rows, programs, width, self._n_gates, n_qubits)
        self._launch("gradient", programs, *arrays, *numbers)
        if self._direct:
            return out
        # From the gates' angles to the circuit's inputs
        (slopes,) = th.autograd.grad(values, leaf, out, allow_unused=True)
        return th.zeros_like(inputs) if slopes is None else slopes


class _FusedBits(th.autograd.Function):
    """Autograd function of expected bits and their adjoint gradient, one launch each."""

    @staticmethod
    def forward(ctx: Any, inputs: th.Tensor, engine: FusedEngine, witness: Callable[[th.Tensor], th.Tensor]) -> th.Tensor:
        ctx.save_for_backward(inputs)
        ctx.engine, ctx.witness = engine, witness
        return engine.measure(inputs)[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None, None]:
        (inputs,) = ctx.saved_tensors
        if th.is_grad_enabled():  # create_graph
            return vjp(ctx.witness, inputs, grad_outputs[0]), None, None
        return ctx.engine.gradient(inputs, grad_outputs[0]), None, None
