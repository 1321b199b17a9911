"""The cumulant expansion on a GPU, see :mod:`.cumulants_kernel`. It needs Triton."""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch as th

from sb3_quantum.circuits import fused
from sb3_quantum.circuits.tracing import vjp
from sb3_quantum.priors import cumulants_kernel

if TYPE_CHECKING:
    from sb3_quantum.priors.cumulants import CumulantExpansion

#: programs that share the rows of a batch, and memory of all of them in bytes
PROGRAMS, SCRATCH = 2**12, 2**29
_PLACED: WeakKeyDictionary["CumulantExpansion", dict[th.device, tuple[th.Tensor, th.Tensor]]] = WeakKeyDictionary()


class FusedExpansion(th.autograd.Function):
    """Autograd function of the expectation values of Z: one launch forward, one backward."""

    @staticmethod
    def forward(ctx: Any, angles: th.Tensor, choices: th.Tensor, expansion: "CumulantExpansion") -> th.Tensor:
        angles, choices = angles.contiguous(), choices.clamp(0, expansion.n_qubits - 1).contiguous()
        out = angles.new_empty(len(angles), expansion.n_qubits)
        _launch(cumulants_kernel.values, expansion, angles, choices, out)
        ctx.expansion = expansion
        ctx.save_for_backward(angles, choices)
        return out

    @staticmethod
    def backward(ctx: Any, *grad_outputs: th.Tensor) -> tuple[th.Tensor, None, None]:
        angles, choices = ctx.saved_tensors
        if th.is_grad_enabled():  # create_graph
            return vjp(lambda leaf: ctx.expansion.in_torch(leaf, choices), angles, grad_outputs[0]), None, None
        out = th.zeros_like(angles)
        _launch(cumulants_kernel.gradient, ctx.expansion, angles, choices, grad_outputs[0].contiguous(), out)
        return out, None, None


def tables(expansion: "CumulantExpansion") -> tuple[np.ndarray, np.ndarray]:
    """
    List an expansion's gates for the kernels.

    :param expansion: the expansion
    :return: ``(n_gates, cumulants_kernel.FIELDS)``, int32, and the rotations of fixed gates, ``(n_gates, 4, 4)``, float32
    """
    gates = np.stack(expansion.arrays[:5], axis=1).astype(np.int32).reshape(-1, cumulants_kernel.FIELDS)
    turns = np.zeros((len(gates), 4, 4), np.float32)
    turns[:, :3, :3] = expansion.fixed
    return gates, turns


def _placed(expansion: "CumulantExpansion", device: th.device) -> tuple[th.Tensor, th.Tensor]:
    """Put the tables on a device. They are not kept on the expansion, which may be copied, pickled and moved."""
    known = _PLACED.setdefault(expansion, {})
    if device not in known:
        table, turns = (th.from_numpy(array).to(device) for array in tables(expansion))
        known[device] = table, turns
    return known[device]


def _launch(kernel: Any, expansion: "CumulantExpansion", angles: th.Tensor, choices: th.Tensor, *others: th.Tensor) -> None:
    n_qubits, n_gates = expansion.n_qubits, len(expansion.gates)
    n_meetings = sum(gate.name in ("cz", "rzz") for gate in expansion.gates)
    width = 4 * fused.power_of_2(n_qubits)
    # Vectors and covariances, twice for a gradient, and their values before every two-qubit gate
    pairs = width if expansion.order > 1 else 0
    own = 4 * n_qubits * (1 + pairs)
    own = 2 * own + 8 * n_meetings * (1 + pairs) if kernel is cumulants_kernel.gradient else own
    programs = max(1, min(len(angles), PROGRAMS, SCRATCH // (4 * own)))
    scratch = angles.new_empty(programs, own)
    sizes = (len(angles), programs, own, angles.shape[1], choices.shape[1], n_gates, n_qubits)
    constants = dict(WIDTH=width, PAIRS=expansion.order > 1, num_warps=1 if width <= 64 else 4)
    fused.launch(
        kernel,
        programs if len(angles) else 0,
        angles,
        choices,
        *_placed(expansion, angles.device),
        scratch,
        *others,
        *sizes,
        **constants
    )
