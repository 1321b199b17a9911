"""Faults of rl_zoo3's commands that this package repairs. If a test of ``without_us`` fails, upstream has repaired it."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import huggingface_hub
import huggingface_sb3
import pytest
import yaml
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RemoteEntryNotFoundError
from huggingface_sb3 import EnvironmentName
from requests.exceptions import HTTPError

from sb3_quantum.zoo import register
from sb3_quantum.zoo.repairs import repair_latest, repair_metadata, repair_missing_file
from tests.zoo.helpers import quick_zoo, zoo


def test_push_to_hub_cannot_be_imported_without_us(tmp_path: Path) -> None:
    printed = zoo(tmp_path, "rl_zoo3.push_to_hub", "--help", expect=1, SB3_QUANTUM_ZOO_HOOK="0")
    assert "cannot import name 'generate_metadata'" in printed


def test_push_to_hub_is_mended(tmp_path: Path) -> None:
    """By the command, and for other algorithms."""
    assert "td3,ars" in quick_zoo(tmp_path, "rl_zoo3.push_to_hub", "--help")
    register()
    from rl_zoo3.push_to_hub import generate_model_card, save_model_card

    for algo, name in (("qtd3", "QuantumTD3"), ("td3", "TD3")):
        card, metadata = generate_model_card(algo, name, "someone", "Pendulum-v1", -150.0, 20.0, {}, {})
        assert isinstance(metadata, dict)
        save_model_card(tmp_path, card, metadata)
        _, front, text = (tmp_path / "README.md").read_text().split("---\n", 2)
        (entry,) = yaml.safe_load(front)["model-index"]
        assert entry["name"] == name and entry["results"][0]["metrics"][0]["value"] == "-150.00 +/- 20.00"
        assert f"--algo {algo}" in text


def test_load_from_hub_expects_another_error_without_us() -> None:
    assert not issubclass(RemoteEntryNotFoundError, HTTPError)


class Hub:
    """In place of ``hf_hub_download``: files of a folder. What is not there is answered for, or not."""

    def __init__(self, folder: Path, error: Exception):
        self.folder = folder
        self.error = error

    def __call__(self, repo_id: str, filename: str, **kwargs: str) -> str:
        path = self.folder / filename
        if not path.exists():
            raise self.error
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A model without VecNormalize."""
    folder = tmp_path / "hub"
    folder.mkdir()
    for name in ("qtd3-Pendulum-v1.zip", "config.yml", "args.yml", "env_kwargs.yml"):
        (folder / name).write_text(name)
    # An empty archive
    (folder / "train_eval_metrics.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    response = SimpleNamespace(headers={}, request=None)
    made = Hub(folder, RemoteEntryNotFoundError("404, no such file", response=response))  # type: ignore[arg-type]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made)
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    register()
    return made


def download(folder: Path) -> Path:
    from rl_zoo3.load_from_hub import download_from_hub

    download_from_hub("qtd3", EnvironmentName("Pendulum-v1"), 0, str(folder / "logs"), "someone")
    return folder / "logs" / "qtd3" / "Pendulum-v1_1"


def test_load_from_hub_is_mended(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model without VecNormalize is loaded; with it, the file is there."""
    run = download(tmp_path)
    assert "No normalization file" in capsys.readouterr().out
    assert (run / "Pendulum-v1.zip").read_text() == "qtd3-Pendulum-v1.zip"
    assert {path.name for path in (run / "Pendulum-v1").iterdir()} == {"args.yml", "config.yml", "env_kwargs.yml"}
    (hub.folder / "vec_normalize.pkl").write_text("statistics")
    download(tmp_path)
    assert (run.with_name("Pendulum-v1_2") / "Pendulum-v1" / "vecnormalize.pkl").read_text() == "statistics"


def test_the_error_is_still_the_hubs(hub: Hub) -> None:
    with pytest.raises(EntryNotFoundError, match="no such file") as caught:
        huggingface_sb3.load_from_hub("someone/qtd3-Pendulum-v1", "vec_normalize.pkl")
    assert isinstance(caught.value, HTTPError) and caught.value.response is hub.error.response  # type: ignore[attr-defined]


def test_a_hub_that_does_not_answer_is_not_a_missing_file(hub: Hub, tmp_path: Path) -> None:
    """Else a model would be loaded without its statistics."""
    hub.error = LocalEntryNotFoundError("no connection")
    with pytest.raises(LocalEntryNotFoundError) as caught:
        download(tmp_path)
    assert not isinstance(caught.value, HTTPError) and not (tmp_path / "logs").exists()


def test_what_works_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mended = ModuleType("push_to_hub")
    for name in ("generate_metadata", "_generate_metadata"):
        setattr(mended, name, dict)
    repair_metadata(mended)
    assert mended.generate_metadata is dict
    empty = ModuleType("push_to_hub")
    repair_metadata(empty)
    assert not hasattr(empty, "generate_metadata")

    class Mended(HTTPError):
        pass

    package = ModuleType("huggingface_sb3")
    setattr(package, "load_from_hub", print)  # noqa: B010
    errors = sys.modules["huggingface_hub.errors"]
    with monkeypatch.context() as patch:
        patch.setattr(errors, "RemoteEntryNotFoundError", Mended)
        repair_missing_file(package)
        assert package.load_from_hub is print
    repair_missing_file(package)
    once = package.load_from_hub
    repair_missing_file(package)
    assert once is not print and package.load_from_hub is once


def runs_of(folder: Path, *names: str) -> None:
    """Folders of runs; those with a star have a final and a best model."""
    for name in names:
        run = folder / "qtd3" / name.rstrip("*")
        run.mkdir(parents=True)
        if name.endswith("*"):
            (run / "Pendulum-v1.zip").touch()
            (run / "best_model.zip").touch()


@pytest.mark.parametrize("best", [False, True])
def test_latest_run_with_a_model_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str], best: bool) -> None:
    """As ``-optimize`` and killed trainings leave folders without one; other environments' runs are not looked at."""
    from rl_zoo3 import utils

    repaired = ModuleType("utils")
    original = getattr(utils.get_model_path, "__wrapped__", utils.get_model_path)
    repaired.get_model_path = original  # type: ignore[attr-defined]
    repair_latest(repaired)
    find, folder = repaired.get_model_path, str(tmp_path)  # type: ignore[attr-defined]
    runs_of(tmp_path, "Pendulum-v1_1*", "Pendulum-v1_9*", "Pendulum-v1_10", "Pendulum-v1_11", "Other-v1_12*")
    name = EnvironmentName("Pendulum-v1")
    with pytest.raises(ValueError, match="No model found for qtd3"):
        original(0, folder, "qtd3", name, load_best=best)
    _, path, run = find(0, folder, "qtd3", name, load_best=best)
    assert Path(run).name == "Pendulum-v1_9" and Path(path).name == ("best_model.zip" if best else "Pendulum-v1.zip")
    assert "the newest that has one is id=9" in capsys.readouterr().out
    # A run that is asked for by its number is that run
    with pytest.raises(ValueError, match="No model found"):
        find(11, folder, "qtd3", name)
    assert Path(find(1, folder, "qtd3", name)[2]).name == "Pendulum-v1_1"
    # There is nothing else to take
    with pytest.raises(ValueError, match="No checkpoint found"):
        find(0, folder, "qtd3", name, load_last_checkpoint=True)
    runs_of(tmp_path, "Pendulum-v1_13*")
    assert Path(find(0, folder, "qtd3", name)[2]).name == "Pendulum-v1_13"
