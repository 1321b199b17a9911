"""Loading contacts nothing that a file names, neither addresses nor chips nor accounts, unless the caller allows it."""

import json
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sb3_quantum import MlpPolicy, QuantumTD3
from sb3_quantum.backends import ibm
from sb3_quantum.backends.saved import saved_backend
from sb3_quantum.hub import load_from_hub, load_safe, save_safe
from tests.hub.loopback import OWNER, LoopbackHub
from tests.qtd3.test_save_load import OBS
from tests.qtd3.test_train import pendulum

REPO = f"{OWNER}/qtd3-Pendulum-v1"


class Trap:
    """Listens, and counts who connects; a Dask scheduler there could send anything to be unpickled."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self.server.getsockname()[1]}"
        self.connections = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    trap = Trap()

    def account(self: Any) -> Any:
        trap.connections += 1
        raise ValueError("an account was asked for")

    monkeypatch.setattr(ibm.IBMBackend, "_connect", account)
    yield trap
    trap.server.close()


def specs(trap: Trap) -> list[tuple[str, dict[str, Any], str]]:
    """Backends that reach beyond this process, and what is named in the warning."""
    return [
        ("aer", {"shots": 5, "executor": trap.address}, "executor='tcp://127"),
        ("aer", {"executor": trap.address, "noise": {"readout_error": 0.1}, "max_job_size": 2}, "executor="),
        ("ibm", {"chip": "ibm_fez", "instance": "crn:v1:somebody"}, "backend='ibm'"),
        ("ibm", {"channel": "ibm_cloud"}, "backend='ibm'"),
    ]


def test_the_trap_works(trap: Trap) -> None:
    with pytest.raises((ConnectionError, ImportError)):
        pendulum(backend="aer", backend_kwargs={"executor": trap.address})
    for _, kwargs, _ in specs(trap)[2:]:
        with pytest.raises(ValueError, match="an account was asked for"):
            pendulum(backend="ibm", backend_kwargs=kwargs)
    assert trap.connections >= 2


def write(model: QuantumTD3, folder: Path, backend: str, backend_kwargs: dict[str, Any]) -> None:
    """Both forms, with a backend that was never made."""
    save_safe(model, folder)
    config = json.loads((folder / "model.json").read_text())
    config["arguments"].update(backend=backend, backend_kwargs=backend_kwargs)
    (folder / "model.json").write_text(json.dumps(config))
    model.backend, model.backend_kwargs = backend, backend_kwargs
    model.save(folder / "qtd3-Pendulum-v1.zip")


@pytest.mark.parametrize("number", range(4))
def test_no_loading_path_connects(trap: Trap, hub: LoopbackHub, tmp_path: Path, number: int) -> None:
    backend, kwargs, named = specs(trap)[number]
    model = pendulum()
    expected = model.predict(OBS, deterministic=True)[0]
    write(model, tmp_path, backend, kwargs)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    hub.commit(REPO, files)
    hub.commit(f"{REPO}-zip", {"qtd3-Pendulum-v1-zip.zip": files["qtd3-Pendulum-v1.zip"]})
    with pytest.warns(UserWarning, match=named):
        here = load_safe(tmp_path)
    with pytest.warns(UserWarning, match=named):
        local = QuantumTD3.load(tmp_path / "qtd3-Pendulum-v1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = [here, local, load_from_hub(REPO), load_from_hub(f"{REPO}-zip", allow_pickle=True)]
    for each in loaded:
        assert each.policy.quantum_layer is not None
        used = each.policy.quantum_layer.backend
        assert used.name == ("aer" if backend == "aer" and each in (here, local) else "statevector")
        assert not used.kwargs.keys() & {"executor", "chip", "instance", "channel"}
        if used.exact:
            assert (each.predict(OBS, deterministic=True)[0] == expected).all()
    assert here.policy.quantum_layer.backend.kwargs.get("noise") == kwargs.get("noise")  # type: ignore[union-attr]
    assert trap.connections == 0
    with pytest.raises((ConnectionError, ImportError, ValueError)):
        load_safe(tmp_path, use_saved_backend=True)
    assert trap.connections > 0 or backend == "aer"


def test_a_policy_file_connects_to_nothing(trap: Trap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = pendulum().policy
    parameters = policy._get_constructor_parameters
    named = {"backend": "ibm", "backend_kwargs": {"chip": "ibm_fez"}}
    monkeypatch.setattr(policy, "_get_constructor_parameters", lambda: {**parameters(), **named})
    policy.save(str(tmp_path / "policy.pt"))
    with pytest.warns(UserWarning, match="backend='ibm'"):
        loaded = MlpPolicy.load(str(tmp_path / "policy.pt"))
    assert loaded.quantum_layer is not None and loaded.quantum_layer.backend.name == "statevector" and trap.connections == 0


@pytest.mark.parametrize(
    "name, kwargs, own, used, left_out",
    [
        ("statevector", {"shots": 1, "engine": "torch"}, False, "statevector", 0),
        ("aer", {"noise": {"depolarizing": {"r": 0.1}}, "max_shots": 5}, False, "aer", 0),
        ("aer", {"noise": {"chip": "FakeManilaV2"}}, False, "statevector", 1),
        ("aer", {"noise": {"chip": "FakeManilaV2"}}, True, "aer", 0),
        ("aer", {"noise": {"model": {}}}, False, "statevector", 1),
        ("aer", {"device": "GPU"}, False, "aer", 1),
        ("sampler", {"sampler": "aer", "max_retries": 2}, False, "sampler", 0),
        ("sampler", {"sampler": "fake", "chip": "FakeManilaV2"}, False, "statevector", 1),
        ("sampler", {"sampler": "fake", "chip": "FakeManilaV2"}, True, "sampler", 0),
        ("ibm", {"chip": "FakeManilaV2"}, False, "statevector", 1),
        ("ibm", {"chip": "FakeManilaV2"}, True, "ibm", 0),
        ("ibm", {}, True, "statevector", 1),
        ("of my own", {}, False, "statevector", 1),
    ],
)
def test_what_is_used_of_a_file(name: str, kwargs: dict[str, Any], own: bool, used: str, left_out: int) -> None:
    found, found_kwargs, dropped = saved_backend(name, kwargs, own)
    assert found == used and len(dropped) == left_out
    assert found_kwargs == (kwargs if left_out == 0 else {})
