"""
The simulators that ``simulators.py`` compares, each in several forms. A form takes circuit inputs and returns one bitstring
per circuit. It imports its peer only when it is created.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch as th

from sb3_quantum.backends import StatevectorBackend
from sb3_quantum.circuits import PaperCircuit

Pattern = list[tuple[int, int]]
N_LAYERS = 10


def make_inputs(
    n_qubits: int, batch: int, n_layers: int = N_LAYERS, shared: bool = False
) -> tuple[PaperCircuit, list[Pattern], th.Tensor]:
    """
    :param n_qubits: number of qubits of the circuits
    :param batch: number of circuits
    :param n_layers: number of layers of the circuits
    :param shared: whether all of them have the CZ gates of the first one; otherwise each has its own
    :return: their shape, the CZ pattern of each, and their inputs with uniformly random angles
    """
    ansatz, generator = PaperCircuit(n_qubits, n_layers), th.Generator().manual_seed(0)
    angles = math.pi * (2 * th.rand(batch, ansatz.n_angles, generator=generator) - 1)
    pairs = th.stack([th.randperm(n_qubits, generator=generator)[:2] for _ in range(batch * n_layers)])
    pairs = pairs.reshape(batch, n_layers, 2)
    if shared:
        pairs = pairs[:1].expand(batch, -1, -1)
    patterns = [[(int(i), int(j)) for i, j in row] for row in pairs]
    return ansatz, patterns, ansatz.join(angles, pairs.flatten(1)).float()


class Form:
    """
    One way to use one simulator.

    :param ansatz: the circuit's shape
    :param patterns: the qubits of each layer's CZ, for every circuit of the batch
    """

    engine: ClassVar[str]
    form: ClassVar[str]
    package: ClassVar[str]
    #: qubit 0 is the most significant one in a number that stands for a basis state
    big_endian: ClassVar[bool] = False
    #: amplitudes of a batch up to which it takes part: one that holds all basis states would need minutes
    most: ClassVar[float] = 2**20
    #: needs all circuits of a batch to have the same CZ gates
    shared_only: ClassVar[bool] = False

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        self.ansatz, self.patterns, self.n_qubits = ansatz, patterns, ansatz.n_qubits
        self.generator = np.random.default_rng(0)
        places = np.arange(self.n_qubits)
        self.places = places[::-1] if self.big_endian else places

    @classmethod
    def takes(cls, n_qubits: int, batch: int) -> bool:
        """Tell whether the form takes part at a size."""
        return batch * 2.0**n_qubits <= cls.most

    def build(self, inputs: th.Tensor) -> Any:
        """Prepare what can be made from the inputs before any circuit runs."""
        raise NotImplementedError

    def run(self, built: Any) -> Any:
        """Sample one bitstring per circuit, ``(batch, n_qubits)``."""
        raise NotImplementedError

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        """Compute the probabilities of all basis states, ``(batch, 2**n_qubits)``."""
        raise NotImplementedError

    def bits(self, states: Any) -> np.ndarray:
        """Convert numbers of basis states to bits."""
        if self.n_qubits > 62:  # Python's integers
            return np.array([[state >> int(place) & 1 for place in self.places] for state in states])
        return np.asarray(states)[..., None] >> self.places & 1

    def angles(self, inputs: th.Tensor) -> tuple[list[Any], list[Any]]:
        """Return theta and phi as nested lists: circuits, layers, qubits."""
        layers = inputs.reshape(len(inputs), self.ansatz.n_layers, -1)[..., : 2 * self.n_qubits]
        return layers[..., ::2].tolist(), layers[..., 1::2].tolist()


class Full(Form):
    """Our engine of version 0.1.0, which stores all basis states."""

    engine, form, package = "full", 'StatevectorBackend(engine="full").sample', "sb3_quantum"
    kind: ClassVar[str] = "full"
    most: ClassVar[float] = 2**24

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        self.backend = StatevectorBackend(ansatz, seed=0, engine=self.kind)  # type: ignore[arg-type]

    def build(self, inputs: th.Tensor) -> th.Tensor:
        return inputs

    def run(self, built: th.Tensor) -> th.Tensor:
        return self.backend.sample(built)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        return self.backend.probabilities(inputs).numpy()


class Ours(Full):
    engine, form, kind, most = "ours", "StatevectorBackend.sample", "auto", math.inf


class AerCircuits(Form):
    engine, form, package = "aer", "list of circuits", "qiskit_aer"
    options: ClassVar[dict[str, Any]] = {}
    method: ClassVar[str] = "statevector"

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        from qiskit_aer import AerSimulator

        # Gate fusion and parallel experiments were tried and cost more than they bring at these sizes
        self.simulator = AerSimulator(method=self.method, precision="single", fusion_enable=False, **self.options)

    def build(self, inputs: th.Tensor) -> tuple[Any, Any]:
        return [self.ansatz.to_qiskit(row) for row in inputs], None

    def run(self, built: tuple[Any, Any]) -> np.ndarray:
        result = self.simulator.run(built[0], parameter_binds=built[1], shots=1, memory=True).result()
        return self.bits([int(experiment.data.memory[0], 16) for experiment in result.results])

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        circuits, binds = self.build(inputs)
        circuits = [circuit.remove_final_measurements(inplace=False) for circuit in circuits]
        for circuit in circuits:
            circuit.save_probabilities()
        result = self.simulator.run(circuits, parameter_binds=binds, shots=1).result()
        return np.array([experiment.data.probabilities for experiment in result.results])


class AerBinds(AerCircuits):
    form, options, shared_only = "parameter binds at run time", {"runtime_parameter_bind_enable": True}, True

    def build(self, inputs: th.Tensor) -> tuple[Any, Any]:
        template = self.ansatz.template(tuple(self.patterns[0]))
        columns = self.ansatz.split(inputs)[0].T.tolist()
        return [template], [dict(zip(template.parameters, columns, strict=True))]


class AerStateForm(Form):
    engine, form, package = "aer_state", "AerState, gate by gate", "qiskit_aer"

    def build(self, inputs: th.Tensor) -> Any:
        return list(zip(self.patterns, *self.angles(inputs), strict=True))

    def state(self, pattern: Pattern, theta: Any, phi: Any) -> Any:
        """One circuit, run."""
        from qiskit_aer.quantum_info.states.aer_state import AerState

        state = AerState(method="statevector")
        state.allocate_qubits(self.n_qubits)
        state.initialize()
        for (i, j), thetas, phis in zip(pattern, theta, phi, strict=True):
            for qubit in range(self.n_qubits):
                state.apply_u(qubit, thetas[qubit], phis[qubit] - math.pi / 2, math.pi / 2 - phis[qubit])
            if i != j:
                state.apply_mcz([i], j)
        state.flush()
        return state

    def run(self, built: Any) -> np.ndarray:
        states = []
        for circuit in built:
            state = self.state(*circuit)
            (sampled,) = state.sample_counts(list(range(self.n_qubits)), 1)
            states.append(sampled)
            state.move_to_ndarray()  # it refuses to be closed before
            state.close()
        return self.bits(states)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        return np.abs([self.state(*circuit).move_to_ndarray() for circuit in self.build(inputs)]) ** 2


class Qulacs(Form):
    engine, form, package = "qulacs", "QuantumCircuit", "qulacs"
    block = 0

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        from qulacs import QuantumState

        self.state = QuantumState(self.n_qubits)

    def build(self, inputs: th.Tensor) -> Any:
        from qulacs import QuantumCircuit
        from qulacs.circuit import QuantumCircuitOptimizer

        circuits = []
        for pattern, theta, phi in zip(self.patterns, *self.angles(inputs), strict=True):
            circuit = QuantumCircuit(self.n_qubits)
            for (i, j), thetas, phis in zip(pattern, theta, phi, strict=True):
                for qubit in range(self.n_qubits):
                    circuit.add_U3_gate(qubit, thetas[qubit], phis[qubit] - math.pi / 2, math.pi / 2 - phis[qubit])
                if i != j:
                    circuit.add_CZ_gate(i, j)
            if self.block:
                QuantumCircuitOptimizer().optimize(circuit, self.block)
            circuits.append(circuit)
        return circuits

    def run(self, built: Any) -> np.ndarray:
        states = []
        for circuit in built:
            self.state.set_zero_state()
            circuit.update_quantum_state(self.state)
            states.append(self.state.sampling(1)[0])
        return self.bits(states)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        rows = []
        for circuit in self.build(inputs):
            self.run([circuit])
            rows.append(np.abs(self.state.get_vector()) ** 2)
        return np.array(rows)


class QulacsMerged(Qulacs):
    form, block = "QuantumCircuit, gates merged to two qubits", 2


class Lightning(Form):
    engine, form, package = "lightning", "device.execute of tapes", "pennylane_lightning"
    big_endian = True

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        import pennylane as qml

        self.qml, self.wires = qml, list(range(self.n_qubits))
        self.device = qml.device("lightning.qubit", wires=self.n_qubits, c_dtype=np.complex64)

    def gates(self, pattern: Pattern, theta: Any, phi: Any) -> list[Any]:
        """Apply the gates of one circuit, or of several if angles are arrays."""
        gates = []
        for (i, j), thetas, phis in zip(pattern, theta, phi, strict=True):
            for qubit in self.wires:
                gates.append(self.qml.Rot(math.pi / 2 - phis[qubit], thetas[qubit], phis[qubit] - math.pi / 2, wires=qubit))
            if i != j:
                gates.append(self.qml.CZ((i, j)))
        return gates

    def tapes(self, inputs: th.Tensor, measured: Any, shots: int | None) -> list[Any]:
        return [
            self.qml.tape.QuantumScript(self.gates(*circuit), [measured], shots=shots)
            for circuit in zip(self.patterns, *self.angles(inputs), strict=True)
        ]

    def build(self, inputs: th.Tensor) -> Any:
        return self.tapes(inputs, self.qml.sample(wires=self.wires), 1)

    def run(self, built: Any) -> np.ndarray:
        return np.array(self.device.execute(built)).reshape(-1, self.n_qubits)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        return np.array(self.device.execute(self.tapes(inputs, self.qml.probs(wires=self.wires), None)))


class LightningQNode(Lightning):
    form, shared_only = "QNode over a batch of parameters", True

    def build(self, inputs: th.Tensor) -> Any:
        layers = inputs.reshape(len(inputs), self.ansatz.n_layers, -1)[..., : 2 * self.n_qubits].permute(1, 2, 0).double()
        return layers[:, ::2].numpy(), layers[:, 1::2].numpy()

    def node(self, built: Any, measured: Any, shots: int | None) -> np.ndarray:
        def circuit(theta: Any, phi: Any) -> Any:
            self.gates(self.patterns[0], theta, phi)
            return self.qml.apply(measured)

        node = self.qml.set_shots(shots)(self.qml.QNode(circuit, self.device, diff_method=None))
        return np.asarray(node(*built))

    def run(self, built: Any) -> np.ndarray:
        return self.node(built, self.qml.sample(wires=self.wires), 1).reshape(-1, self.n_qubits)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        return self.node(self.build(inputs), self.qml.probs(wires=self.wires), None)


class LightningBindings(Form):
    engine, form, package = "lightning_bindings", "StateVectorC64, gate by gate", "pennylane_lightning"
    big_endian = True

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        from pennylane_lightning import lightning_qubit_ops

        self.state = lightning_qubit_ops.StateVectorC64(self.n_qubits)
        self.measurements = lightning_qubit_ops.MeasurementsC64(self.state)

    def build(self, inputs: th.Tensor) -> Any:
        return list(zip(self.patterns, *self.angles(inputs), strict=True))

    def evolve(self, pattern: Pattern, theta: Any, phi: Any) -> None:
        """Run one circuit."""
        self.state.resetStateVector()
        rotate, cz, wires, quarter = self.state.Rot, self.state.CZ, [[q] for q in range(self.n_qubits)], math.pi / 2
        for (i, j), thetas, phis in zip(pattern, theta, phi, strict=True):
            for wire, angle, axis in zip(wires, thetas, phis, strict=True):
                rotate(wire, False, [quarter - axis, angle, axis - quarter])
            if i != j:
                cz([i, j], False, [])

    def run(self, built: Any) -> np.ndarray:
        rows = []
        for circuit in built:
            self.evolve(*circuit)
            if self.n_qubits < 12:
                rows.append(self.measurements.generate_samples(self.n_qubits, 1)[0])
            else:  # its sampling takes longer than numpy does here
                cumulative = np.cumsum(self.measurements.probs(list(range(self.n_qubits))))
                rows.append(self.bits(np.searchsorted(cumulative, self.generator.random() * cumulative[-1], "right")))
        return np.array(rows)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        rows = []
        for circuit in self.build(inputs):
            self.evolve(*circuit)
            rows.append(self.measurements.probs(list(range(self.n_qubits))))
        return np.array(rows)


class TensorCircuit(Form):
    engine, form, package = "tensorcircuit", "jax, jit and vmap, rotations in pairs", "tensorcircuit"
    big_endian, group, most = True, 2, 2**18

    def __init__(self, ansatz: PaperCircuit, patterns: list[Pattern]):
        super().__init__(ansatz, patterns)
        import jax
        import tensorcircuit

        self.jax, self.tc = jax, tensorcircuit
        tensorcircuit.set_backend("jax")
        tensorcircuit.set_dtype("complex64")
        table = np.arange(2**self.n_qubits) >> np.arange(self.n_qubits)[::-1, None] & 1
        self.table = jax.numpy.asarray(table, dtype=np.float32)
        # Compiled once for a shape; the compilation is never timed
        self.sample = jax.jit(
            jax.vmap(lambda row, u: self.circuit(row).sample(batch=1, allow_state=True, format="sample_bin", status=u))
        )
        self.states = jax.jit(jax.vmap(lambda row: self.circuit(row).state()))

    def circuit(self, row: Any) -> Any:
        """Build one circuit, to be traced."""
        jnp = self.jax.numpy
        layers = row.reshape(self.ansatz.n_layers, -1)
        half, turn = layers[:, : 2 * self.n_qubits : 2] / 2, jnp.exp(1j * layers[:, 1 : 2 * self.n_qubits : 2])
        index = layers[:, -2:].astype(int)
        cos, sin = jnp.cos(half) + 0j, -1j * jnp.sin(half)
        rotations = jnp.stack([cos, sin / turn, sin * turn, cos], -1).reshape(*half.shape, 2, 2)
        circuit = self.tc.Circuit(self.n_qubits)
        for layer in range(self.ansatz.n_layers):
            for start in range(0, self.n_qubits, self.group):
                qubits = range(start, min(start + self.group, self.n_qubits))
                matrix = rotations[layer, start]
                for qubit in qubits[1:]:
                    matrix = jnp.kron(matrix, rotations[layer, qubit])
                circuit.any(*qubits, unitary=matrix)
            circuit = self.entangle(circuit, layer, index[layer])
        return circuit

    def entangle(self, circuit: Any, layer: int, index: Any) -> Any:
        """Apply the CZ of a layer. One compiled program serves all of them: it looks up which amplitudes change their sign."""
        if layer == self.ansatz.n_layers - 1:
            return circuit
        both = self.table[index[0]] * self.table[index[1]]
        return self.tc.Circuit(self.n_qubits, inputs=circuit.state() * (1 - 2 * both))

    def build(self, inputs: th.Tensor) -> Any:
        return self.jax.numpy.asarray(inputs.numpy())

    def run(self, built: Any) -> np.ndarray:
        uniforms = self.generator.random((len(built), 1), np.float32)
        return np.asarray(self.sample(built, uniforms)).reshape(-1, self.n_qubits)

    def probabilities(self, inputs: th.Tensor) -> np.ndarray:
        return np.abs(np.asarray(self.states(self.build(inputs)))) ** 2


class TensorCircuitGates(TensorCircuit):
    form, group = "jax, jit and vmap, gate by gate", 1


class TensorCircuitFixed(TensorCircuit):
    form, shared_only = "jax, jit and vmap, rotations in pairs, CZ gates compiled in", True

    def entangle(self, circuit: Any, layer: int, index: Any) -> Any:
        i, j = self.patterns[0][layer]
        if i != j:
            circuit.cz(i, j)
        return circuit


FORMS: list[type[Form]] = [
    Ours,
    Full,
    AerCircuits,
    AerBinds,
    AerStateForm,
    Lightning,
    LightningQNode,
    LightningBindings,
    Qulacs,
    QulacsMerged,
    TensorCircuit,
    TensorCircuitGates,
    TensorCircuitFixed,
]
