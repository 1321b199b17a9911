"""Upload models to the Hugging Face Hub, and load them from it."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.type_aliases import GymEnv

from sb3_quantum.circuits.checks import keywords_checked
from sb3_quantum.circuits.wording import counted
from sb3_quantum.common import trained_with_vec_normalize
from sb3_quantum.common.quiet import quiet
from sb3_quantum.hub.safe_files import CONFIG, WEIGHTS, check_class, load_safe, save_safe
from sb3_quantum.layers import can_be_simulated
from sb3_quantum.qtd3 import QuantumTD3
from sb3_quantum.qtd3.arguments import unknown_to_load

try:
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
except ImportError as error:
    raise ImportError('the Hub needs huggingface_hub: pip install "sb3-quantum[hub]"') from error


class HubError(RuntimeError):
    """An error between this machine and the Hub. The message says what went wrong; nothing was published."""


@keywords_checked({})
def push_to_hub(
    model: QuantumTD3,
    repo_id: str,
    env_id: str,
    env_kwargs: dict[str, Any] | None = None,
    n_eval_episodes: int = 20,
    first_seed: int = 10_000,
    video_length: int = 1000,
    commit_message: str = "Model, evaluation and model card",
    private: bool = False,
    token: str | None = None,
) -> str:
    """
    Evaluate a model, write its card, film it, and publish everything in one commit: the model as safetensors and JSON, SB3's
    zip, ``README.md``, ``results.json``, a drawing of the circuit (with the extra ``plots``) and ``replay.mp4``.

    It prints what it does, and finally the address.

    The evaluated model is the one that :func:`load_from_hub` will load: read back from its files, on the exact simulator, or
    on the model's own simulator if its circuit joins too many qubits for that. The model itself, its counters and its
    environment stay unchanged.

    :param model: the model
    :param repo_id: ``"owner/name"``; created if it does not exist, otherwise overwritten
    :param env_id: id of the environment to evaluate on
    :param env_kwargs: keyword arguments for ``gymnasium.make``
    :param n_eval_episodes: episodes of the evaluation
    :param first_seed: reset seed of the first episode, increased by 1 for each further one
    :param video_length: length of the video in steps; 0 for no video
    :param commit_message: message of the commit
    :param private: whether a new repository is private
    :param token: access token; that of ``hf auth login`` or the environment variable ``HF_TOKEN`` by default
    :return: the address of the commit
    :raises HubError: if the Hub cannot be reached or refuses; nothing is published then
    :raises ValueError: if the model cannot be saved without pickle, or something private would be published
    :raises TypeError: if the model is of another algorithm
    :raises gymnasium.error.Error: if there is no such environment
    """
    check_class(model)
    token = token or get_token()
    if token is None:
        raise HubError("no access token: log in with `hf auth login`, set HF_TOKEN, or pass token=")
    if repo_id.count("/") != 1:
        raise HubError(f"repo_id must be 'owner/name', got {repo_id!r}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _prepare(folder, model, repo_id, env_id, env_kwargs or {}, n_eval_episodes, first_seed, video_length, token)
        api = HfApi(token=token)
        with _explained(f"{repo_id} was not published"):
            api.create_repo(repo_id, private=private, exist_ok=True)
            # Pictures of an older model are removed
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=commit_message, delete_patterns=["*.mp4", "*.png"]
            )
    print(f"Published: {commit}", flush=True)
    return str(commit)


def _prepare(
    folder: Path,
    model: QuantumTD3,
    repo_id: str,
    env_id: str,
    env_kwargs: dict[str, Any],
    n_eval_episodes: int,
    first_seed: int,
    video_length: int,
    token: str,
) -> None:
    """Write all files to publish."""
    from sb3_quantum.hub.model_card import DIAGRAM, VIDEO, draw, model_card
    from sb3_quantum.hub.private import check_nothing_private
    from sb3_quantum.hub.report import evaluate, film

    if trained_with_vec_normalize(model) and model.get_vec_normalize_env() is None:
        raise ValueError(
            "this model was trained with VecNormalize, and would be published without its statistics: load it with "
            "env=VecNormalize.load(path, env)"
        )
    save_safe(model, folder)
    # The folder of this machine's logs is private
    model.save(folder / f"{repo_id.split('/')[1]}.zip", exclude=["tensorboard_log"])
    env = make_vec_env(env_id, env_kwargs={**env_kwargs, **({"render_mode": "rgb_array"} if video_length else {})})
    published = load_safe(folder, env=env, buffer_size=1, use_saved_backend=True, **_simulator(model))
    normalized = published.get_env()
    assert normalized is not None
    print(f"Evaluating {counted(n_eval_episodes, 'episode')} of {env_id} ...", flush=True)
    report = evaluate(published, normalized, n_eval_episodes, first_seed)
    print(f"Mean return {report.mean:.2f} +/- {report.std:.2f}", flush=True)
    if video_length:
        print(f"Filming {counted(video_length, 'step')} ...", flush=True)
        with quiet():
            film(published, normalized, folder / VIDEO, video_length, first_seed)
    diagram = draw(published, folder / DIAGRAM)
    normalized.close()
    (folder / "results.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    hyperparameters = json.loads((folder / CONFIG).read_text())["arguments"]
    card = model_card(model, report, env_id, repo_id, env_kwargs, hyperparameters, diagram=diagram, video=bool(video_length))
    (folder / "README.md").write_text(card)
    check_nothing_private(folder, token)


def _simulator(model: QuantumTD3) -> dict[str, Any]:
    """Choose the simulator for the evaluation: the exact one, or the model's own if too many qubits are joined for that."""
    backend = model.policy.block.backend
    if backend is None:
        return {"backend": "statevector"}
    # The network chooses which qubits are joined; it is asked for one arbitrary observation
    space = deepcopy(model.observation_space)
    space.seed(0)
    observations, _ = model.policy.obs_to_tensor(space.sample())
    with th.no_grad():
        inputs, _ = model.policy.deployed_actor.encode(observations)
    if can_be_simulated(backend.ansatz, inputs):
        return {"backend": "statevector"}
    if backend.name not in ("aer", "sampler"):
        raise ValueError(
            f"{backend.ansatz.n_qubits} qubits, joined as here, cannot be evaluated on the exact simulator, and on "
            f"{backend.name!r} the evaluation could cost money: choose a simulator first, such as "
            'model.set_backend("aer", {"method": "matrix_product_state"})'
        )
    return {}


def load_from_hub(
    repo_id: str,
    env: GymEnv | None = None,
    device: th.device | str = "auto",
    revision: str | None = None,
    token: str | None = None,
    allow_pickle: bool = False,
    filename: str | None = None,
    **kwargs: Any,
) -> QuantumTD3:
    """
    Load a model from the Hub. Its safetensors and JSON are preferred; nothing in them is executed, and nothing that they name
    is contacted (see :func:`load_safe`).

    Whatever machine the model was trained on, it loads onto the exact simulator unless ``backend`` names another one: a file
    from the network must not spend money on a chip.

    :param repo_id: ``"owner/name"``
    :param env: the environment to run the model on, as for :func:`load_safe`
    :param device: device of the networks
    :param revision: branch, tag or commit; the newest by default
    :param token: access token, for private repositories
    :param allow_pickle: whether SB3's zip may be loaded if there is no other form; a zip executes its author's code
    :param filename: name of that zip, the repository's name by default
    :param kwargs: arguments of the constructor to change
    :return: the model
    :raises HubError: if there is no such repository, no model in it, only a pickle, or the Hub cannot be reached
    :raises ModelFileError: if the files are damaged, or not a model of this algorithm; it is a ``ValueError``
    :raises ValueError: if ``env`` has other spaces than the model, or a zip is of another algorithm
    :raises TypeError: if there is no such argument
    """
    if message := unknown_to_load(QuantumTD3, load_from_hub, kwargs):
        raise TypeError(f"load_from_hub: {message}")
    kwargs.setdefault("backend", "statevector")
    api, config = HfApi(token=token), None
    # The repository exists: RemoteEntryNotFoundError has no other cause
    with _explained(f"{repo_id} was not loaded"), suppress(RemoteEntryNotFoundError):
        config = Path(api.hf_hub_download(repo_id, CONFIG, revision=revision))
        # From the same commit, after which the cache names its folder
        api.hf_hub_download(repo_id, WEIGHTS, revision=config.parent.name)
    if config is not None:
        return load_safe(config.parent, env, device, **kwargs)
    if not allow_pickle:
        raise HubError(
            f"{repo_id} was not loaded: it has no {CONFIG} and {WEIGHTS}. If there is a zip of SB3, that is a pickle, "
            "which can run its author's code: pass allow_pickle=True if you trust the author"
        )
    with _explained(f"{repo_id} was not loaded"):
        path = api.hf_hub_download(repo_id, filename or f"{repo_id.split('/')[-1]}.zip", revision=revision)
    return QuantumTD3.load(path, env=env, device=device, **kwargs)


@contextmanager
def _explained(outcome: str) -> Iterator[None]:
    """Raise an error of the Hub in terms of the user."""
    try:
        yield
    except RevisionNotFoundError as error:
        raise HubError(f"{outcome}: there is no such revision") from error
    except LocalEntryNotFoundError as error:
        raise HubError(
            f"{outcome}: the Hub ({constants.ENDPOINT}) cannot be reached, and there is no copy on this machine"
        ) from error
    except RemoteEntryNotFoundError as error:
        raise HubError(f"{outcome}: there is no model in it") from error
    except RepositoryNotFoundError as error:
        raise HubError(f"{outcome}: there is no such repository, or the token has no access to it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        meaning = {
            401: "the access token is not valid",
            403: "the access token may not write there; the name may be somebody else's",
            409: "the name is taken",
        }
        raise HubError(f"{outcome}: {meaning.get(status, 'the Hub failed')} (HTTP {status}: {error})") from error
    except HFValidationError as error:
        raise HubError(f"{outcome}: {error}") from error
    except (HTTPError, ConnectionError) as error:
        raise HubError(f"{outcome}: the Hub ({constants.ENDPOINT}) cannot be reached ({error})") from error
