"""Noise models as plain data, and the form of circuits on which the noise acts."""

import json
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import combinations, permutations
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple
from warnings import warn

import numpy as np

from sb3_quantum.circuits import Circuit
from sb3_quantum.circuits.checks import meant
from sb3_quantum.circuits.wording import counted

if TYPE_CHECKING:
    from qiskit import QuantumCircuit
    from qiskit_aer.noise import NoiseModel, QuantumError

#: keys of a noise dictionary of numbers
ERRORS = ("depolarizing", "thermal_relaxation", "readout_error")
#: gates that have errors of numbers, with their number of qubits; other gates are rewritten in these
GATES = {"r": 1, "cz": 2}
#: gates with the same errors
SAME = {"r": ["r", "rx"]}
#: instructions that can have noise without rewriting the circuits
NATIVE = {*GATES, "measure", "reset", "id", "delay", "barrier"}


class Noise(NamedTuple):
    """
    A noise model, and the transpilation that it needs.

    :param model: for ``AerSimulator(noise_model=...)``, or ``None``
    :param transpile: rewrites a circuit in the gates that have the model's errors; ``None`` if circuits stay unchanged
    """

    model: "NoiseModel | None"
    transpile: "Callable[[QuantumCircuit], QuantumCircuit] | None"


def plain_noise(noise: Any) -> dict[str, Any] | None:
    """
    Check a description of noise and convert it to plain data for JSON and YAML. It is one of

    - numbers: ``depolarizing``, ``thermal_relaxation`` and ``readout_error``, each of them optional

      - ``depolarizing``: ``{"r": a, "cz": b}``, the parameter lambda of Aer's channel
        ``rho -> (1 - lambda) rho + lambda I / 2^n`` after every such gate; at most 4/3 and 16/15
      - ``thermal_relaxation``: ``{"t1": ..., "t2": ..., "r_time": ..., "cz_time": ..., "readout_time": ...,
        "excited_population": ...}``, all in seconds but the last, which is a probability: relaxation of a gate's qubits for
        the gate's time, after the depolarizing, and of every qubit before it is read. Times and population are 0 by default.
      - ``readout_error``: the probability that a bit is read wrongly, or the two of ``[p(1|0), p(0|1)]``

    - ``{"chip": name}``: the errors of a fake chip of ``qiskit_ibm_runtime.fake_provider``
    - a ``qiskit_aer.noise.NoiseModel``; it becomes ``{"model": {"basis_gates": ..., "errors": ...}}``

    :param noise: the description
    :return: the same as plain data; ``None`` for ``None``
    :raises ValueError: if it cannot be used; the message names the key, the value and what is accepted
    """
    if noise is None:
        return None
    if not isinstance(noise, Mapping):
        return _plain_model(noise)
    if "chip" in noise or "model" in noise:
        form, example = ("chip", "a name") if "chip" in noise else ("model", "a dictionary")
        if len(noise) > 1:
            others = ", ".join(repr(key) for key in noise if key != form)
            raise ValueError(f"noise: {form!r} cannot be combined with other keys, got {others} beside it")
        if not isinstance(noise[form], str if form == "chip" else Mapping):
            raise ValueError(f"noise: {form} must be {example}, got {noise[form]!r}")
        try:
            return json.loads(json.dumps(dict(noise)))
        except TypeError as error:
            raise ValueError(f"noise: model must be plain data, as in the kwargs of a backend: {error}") from error
    _check_keys("noise", noise, ERRORS, ("chip", "model"))
    plain: dict[str, Any] = {}
    if "depolarizing" in noise:
        _check_keys("noise: depolarizing", noise["depolarizing"], tuple(GATES))
        plain["depolarizing"] = {
            gate: _number(f"depolarizing of {gate}", value, 0, 4 ** GATES[gate] / (4 ** GATES[gate] - 1))
            for gate, value in noise["depolarizing"].items()
        }
    if "thermal_relaxation" in noise:
        plain["thermal_relaxation"] = _plain_relaxation(noise["thermal_relaxation"])
    if "readout_error" in noise:
        given = noise["readout_error"]
        if not isinstance(given, list | tuple):
            plain["readout_error"] = _number("readout_error", given, 0, 1)
        elif len(given) == 2:
            plain["readout_error"] = [_number("readout_error", value, 0, 1) for value in given]
        else:
            raise ValueError(f"noise: readout_error must be one probability or the two [p(1|0), p(0|1)], got {given!r}")
    return plain


def make_noise(noise: dict[str, Any] | None, ansatz: Circuit) -> Noise:
    """
    Make the noise model from plain data.

    :param noise: return value of :func:`plain_noise`
    :param ansatz: the shape of the circuits that will run
    :return: the model, and the transpilation that it needs
    :raises ValueError: if the chip is unknown or too small, or if the model's errors could never act on our circuits
    :raises ImportError: if a fake chip is asked for and qiskit-ibm-runtime is not installed
    """
    if noise is None:
        return Noise(None, None)
    if "chip" in noise:
        chip, qubits = _chip_noise(noise["chip"])
        if qubits < ansatz.n_qubits:
            raise ValueError(
                f"noise: chip={noise['chip']!r} has {counted(qubits, 'qubit')}, but the circuit has {ansatz.n_qubits}"
            )
        return chip
    if "model" in noise:
        model = _read_model(noise["model"])
        return Noise(model, _writer(model, ansatz))
    return Noise(_numbers_model(noise), _into_noisy_gates(noise, ansatz))


def _listed(names: Any) -> str:
    return ", ".join(map(repr, names))


def _check_keys(what: str, given: Any, known: tuple[str, ...], further: tuple[str, ...] = ()) -> None:
    """Refuse anything but a dictionary with at least one known key and no unknown one."""
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{what} must be a dictionary with at least one of {_listed(known)}, got {given!r}")
    for key in given:
        if key not in known:
            raise ValueError(f"{what}: {key!r} is unknown, accepted are {_listed(known + further)}{meant([key], known)}")


def _number(name: str, value: Any, low: float, high: float = math.inf, above: bool = False) -> float:
    """
    Check one number.

    :param above: whether ``low`` is exclusive
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if math.isfinite(number) and low <= number <= high and not (above and number == low):
            return number
    interval = f"in [{low:g}, {high:.6g}]" if high < math.inf else f"that is finite and {'>' if above else '>='} {low:g}"
    hint = " (YAML reads 1e-4 and 100e-6 as text: write 1.0e-4)" if isinstance(value, str) else ""
    raise ValueError(f"noise: {name} must be a number {interval}, got {value!r}{hint}")


def _plain_relaxation(given: Any) -> dict[str, float]:
    """Check the numbers of thermal relaxation."""
    times = ("r_time", "cz_time", "readout_time")
    _check_keys("noise: thermal_relaxation", given, ("t1", "t2", *times, "excited_population"))
    for name in ("t1", "t2"):
        if name not in given:
            raise ValueError(f"noise: thermal_relaxation needs {name} in seconds, got only {_listed(given)}")
    plain = {}
    for name, value in given.items():
        high = 1 if name == "excited_population" else math.inf
        plain[name] = _number(f"{name} of thermal_relaxation", value, 0, high, above=name in ("t1", "t2"))
    if plain["t2"] > 2 * plain["t1"]:
        raise ValueError(
            f"noise: t2 of thermal_relaxation must be at most 2 * t1 = {2 * plain['t1']:g} s, got {plain['t2']:g} s"
        )
    if not any(plain.get(time) for time in times):
        raise ValueError(
            f"noise: thermal_relaxation needs at least one of {_listed(times)} > 0, in seconds: it acts during them"
        )
    return plain


def _numbers_model(noise: dict[str, Any]) -> "NoiseModel":
    """Make Aer's model from numbers, with errors on the gates of our circuits."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error, thermal_relaxation_error

    model = NoiseModel(basis_gates=["r", "cz"])
    relaxation = noise.get("thermal_relaxation", {})

    def relax(time: float) -> "QuantumError":
        return thermal_relaxation_error(relaxation["t1"], relaxation["t2"], time, relaxation.get("excited_population", 0.0))

    for gate, qubits in GATES.items():
        parts = []
        if noise.get("depolarizing", {}).get(gate):
            parts.append(depolarizing_error(noise["depolarizing"][gate], qubits))
        if time := relaxation.get(f"{gate}_time"):
            parts.append(relax(time) if qubits == 1 else relax(time).tensor(relax(time)))
        if parts:
            error = parts[0] if len(parts) == 1 else parts[0].compose(parts[1])
            model.add_all_qubit_quantum_error(error, SAME.get(gate, gate))
    if time := relaxation.get("readout_time"):
        model.add_all_qubit_quantum_error(relax(time), "measure")
    if readout := noise.get("readout_error"):
        wrong_0, wrong_1 = readout if isinstance(readout, list) else (readout, readout)
        model.add_all_qubit_readout_error(ReadoutError([[1 - wrong_0, wrong_0], [wrong_1, 1 - wrong_1]]))
    return model


def _into_noisy_gates(noise: dict[str, Any], ansatz: Circuit) -> "Callable[[QuantumCircuit], QuantumCircuit] | None":
    """
    Make the transpilation for the errors of numbers, which are on rotations and CZ gates. Rotations about z are changes of
    phase, without an error, as in the cost model.
    """
    from qiskit import generate_preset_pass_manager

    relaxation = noise.get("thermal_relaxation", {})
    on_gates = any(noise.get("depolarizing", {}).values()) or any(relaxation.get(f"{gate}_time") for gate in GATES)
    written = {*NATIVE, *SAME["r"]}
    if not on_gates or written.issuperset(ansatz.template(ansatz.sample_structure()).count_ops()):
        return None
    return generate_preset_pass_manager(optimization_level=1, basis_gates=["rx", "rz", "cz"], seed_transpiler=0).run


@lru_cache(maxsize=4)
def _chip_noise(name: str) -> tuple[Noise, int]:
    """Return the noise of a fake chip, with the transpilation for it, and its number of qubits."""
    try:
        from qiskit_ibm_runtime import fake_provider
    except ImportError as error:
        raise ImportError(f'noise: chip={name!r} needs qiskit-ibm-runtime: pip install "sb3-quantum[ibm]"') from error
    from qiskit import generate_preset_pass_manager
    from qiskit.providers import BackendV2
    from qiskit_aer.noise import NoiseModel

    chips = {key: made for key, made in vars(fake_provider).items() if isinstance(made, type) and issubclass(made, BackendV2)}
    if name not in chips:
        close = get_close_matches(name, chips, n=3) or sorted(chips)[:3]
        raise ValueError(
            f"noise: chip={name!r} is unknown, accepted are the {len(chips)} chips of qiskit_ibm_runtime.fake_provider, "
            f"such as {_listed(close)}"
        )
    chip = chips[name]()
    passes = generate_preset_pass_manager(optimization_level=1, backend=chip, seed_transpiler=0)
    return Noise(NoiseModel.from_backend(chip), passes.run), chip.num_qubits


def _plain_model(model: Any) -> dict[str, Any]:
    """Convert a noise model to plain data."""
    from qiskit_aer.noise import NoiseModel, RelaxationNoisePass

    if not isinstance(model, NoiseModel):
        raise ValueError(
            f"noise must be None, a qiskit_aer.noise.NoiseModel, a dictionary with {_listed(ERRORS)}, "
            f'or {{"chip": name}}, got {model!r}'
        )
    # Relaxation during delays is the only pass that does not matter: our circuits have no delays
    passes = [made for made in getattr(model, "_custom_noise_passes", []) if not isinstance(made, RelaxationNoisePass)]
    if passes:
        raise ValueError(
            f"noise: the model has a {type(passes[0]).__name__}, which is code and cannot be saved with a model; "
            "accepted are errors that sit on gates, resets and measurements"
        )
    plain = model.to_dict(serializable=True)
    for error in plain["errors"]:
        error.pop("id", None)  # random ids are dropped: equal models must give equal data
    return {"model": {"basis_gates": sorted(model.basis_gates), **plain}}


def _read_model(plain: dict[str, Any]) -> "NoiseModel":
    """
    Read a noise model from plain data. Aer's ``NoiseModel.from_dict`` is deprecated, loses basis gates, and cannot read Kraus
    matrices from JSON.
    """
    from qiskit_aer.noise import NoiseModel, QuantumError, ReadoutError

    try:
        model = NoiseModel(basis_gates=plain["basis_gates"])
        for error in plain["errors"]:
            places = error.get("gate_qubits")
            if error["type"] == "roerror":
                readout = ReadoutError(error["probabilities"])
                for qubits in places or ():
                    model.add_readout_error(readout, qubits, warnings=False)
                if places is None:
                    model.add_all_qubit_readout_error(readout, warnings=False)
                continue
            circuits = [_read_circuit(instructions) for instructions in error["instructions"]]
            quantum = QuantumError(list(zip(circuits, error["probabilities"], strict=True)))
            for qubits in places or ():
                model.add_quantum_error(quantum, error["operations"], qubits, warnings=False)
            if places is None:
                model.add_all_qubit_quantum_error(quantum, error["operations"], warnings=False)
    except Exception as error:
        raise ValueError(f"noise: model is not a saved NoiseModel: {type(error).__name__}: {error}") from error
    return model


def _read_circuit(instructions: list[dict[str, Any]]) -> "QuantumCircuit":
    """Read the circuit of one term of an error."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import Instruction, library

    def matrix(pairs: Any) -> np.ndarray:
        numbers = np.asarray(pairs, dtype=float)
        return numbers[..., 0] + 1j * numbers[..., 1]

    circuit = QuantumCircuit(1 + max(max(instruction["qubits"]) for instruction in instructions))
    for instruction in instructions:
        name, qubits, params = instruction["name"], instruction["qubits"], instruction.get("params", [])
        operation: Instruction
        if name == "kraus":
            operation = Instruction("kraus", len(qubits), 0, [matrix(kraus) for kraus in params])
        elif name == "unitary":
            operation = library.UnitaryGate(matrix(params[0]))
        elif name == "pauli":
            operation = library.PauliGate(params[0])
        elif name == "reset":
            operation = library.Reset()
        else:
            operation = library.get_standard_gate_name_mapping()[name].base_class(*params)
        circuit.append(operation, qubits)
    return circuit


def _writer(model: "NoiseModel", ansatz: Circuit) -> "Callable[[QuantumCircuit], QuantumCircuit] | None":
    """Make the transpilation for a model without a coupling map."""
    from qiskit import generate_preset_pass_manager

    transpile, pairs = None, list(combinations(range(ansatz.n_qubits), 2))
    if set(model.noise_instructions) - NATIVE:
        transpile = generate_preset_pass_manager(
            optimization_level=1, basis_gates=sorted(model.basis_gates), seed_transpiler=0
        ).run
        pairs = list(permutations(range(ansatz.n_qubits), 2))
    sample = ansatz.template(ansatz.sample_structure())
    used = set((transpile(sample) if transpile else sample).count_ops())
    if model.noise_instructions and not used & set(model.noise_instructions):
        raise ValueError(
            f"noise: the model has errors on {_listed(sorted(model.noise_instructions))}, but the circuits are written in "
            f"{_listed(sorted(used - {'barrier'}))}, and none of them would ever act"
        )
    for gate, errors in model._local_quantum_errors.items():
        joined = {qubits for qubits in errors if len(qubits) == 2}
        missing = [pair for pair in pairs if pair not in joined]
        if joined and missing and gate in used and gate not in model._default_quantum_errors:
            warn(
                f"noise: the model has errors on {gate!r} for the qubits {sorted(joined)} only, and none for {missing[0]} and "
                'others; noise={"chip": name} writes circuits for the pairs of qubits that a chip joins',
                stacklevel=2,
            )
    return transpile
