"""
Extend ``rl_zoo3.push_to_hub`` for qtd3 models: the form without pickle, a drawing of the circuit, and a fuller model card.
Paths and addresses of this machine are removed.

Two of the functions that it calls are wrapped: the one that evaluates, which receives the model and the folder, and the one
that completes the card, which is the last before the upload.
"""

import functools
import json
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

#: reset seed of the first episode of the evaluation
FIRST_SEED = 10_000


def publish_more(utils: ModuleType) -> None:
    """
    Wrap the functions that ``rl_zoo3.push_to_hub`` will import.

    :param utils: the module ``rl_zoo3.utils``, which has imported huggingface_sb3
    """
    import huggingface_hub.repocard as repocard

    push_to_hub = sys.modules["huggingface_sb3.push_to_hub"]
    evaluate_agent, metadata_save = push_to_hub._evaluate_agent, repocard.metadata_save
    if hasattr(evaluate_agent, "_sb3_quantum"):
        return
    cards: dict[Path, Callable[[str], str]] = {}

    @functools.wraps(evaluate_agent)
    def evaluate(model: Any, env: VecEnv, n_episodes: int, deterministic: bool, folder: Path) -> tuple[float, float]:
        from sb3_quantum.qtd3 import QuantumTD3

        if not isinstance(model, QuantumTD3):
            return evaluate_agent(model, env, n_episodes, deterministic, folder)
        mean, std, cards[Path(folder)] = _describe(model, env, n_episodes, deterministic, Path(folder))
        return mean, std

    @functools.wraps(metadata_save)
    def save(path: str | Path, data: dict[str, Any]) -> None:
        folder = Path(path).parent
        if folder not in cards:
            metadata_save(path, data)
            return
        from huggingface_hub import get_token

        from sb3_quantum.hub.private import check_nothing_private

        # The zoo's card exists by now and names the repository
        organization = re.findall(r"-orga (\S+)", Path(path).read_text())[0]
        Path(path).write_text(cards.pop(folder)(f"{organization}/{folder.name}"))
        check_nothing_private(folder, get_token())

    evaluate._sb3_quantum = True  # type: ignore[attr-defined]
    setattr(push_to_hub, "_evaluate_agent", evaluate)  # noqa: B010
    setattr(repocard, "metadata_save", save)  # noqa: B010


def _describe(
    model: Any, env: VecEnv, n_episodes: int, deterministic: bool, folder: Path
) -> tuple[float, float, Callable[[str], str]]:
    """Evaluate, write our files and clean the zoo's; the card is written when the repository is known."""
    from sb3_quantum.hub import save_safe
    from sb3_quantum.hub.model_card import DIAGRAM, VIDEO, draw, model_card
    from sb3_quantum.hub.plain_yaml import read_yaml
    from sb3_quantum.hub.private import clean_arguments
    from sb3_quantum.hub.report import evaluate
    from sb3_quantum.hub.safe_files import CONFIG

    # Of an older model, if there is one
    (folder / VIDEO).unlink(missing_ok=True)
    hyperparameters, arguments = (
        read_yaml((folder / name).read_text(encoding="utf-8"), name) for name in ("config.yml", "args.yml")
    )
    # The script loaded the model with its own seed
    model.seed = arguments["seed"]
    report = evaluate(model, env, n_episodes, FIRST_SEED, deterministic)
    (folder / "results.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n")
    safe = True
    try:
        save_safe(model, folder)
    except ValueError as error:
        # The existing files are an older model's and would be loaded instead
        if (folder / CONFIG).is_file():
            raise
        warnings.warn(f"published as a pickle only: {error}", stacklevel=3)
        safe = False
    for archive in folder.glob("*.zip"):
        unpacked = archive.with_suffix("")
        if unpacked.is_dir():
            model.save(archive, exclude=["tensorboard_log"])
            zipfile.ZipFile(archive).extractall(unpacked)
    clean_arguments(folder / "args.yml")
    diagram = draw(model, folder / DIAGRAM)
    env_kwargs = read_yaml((folder / "env_kwargs.yml").read_text(encoding="utf-8"), "env_kwargs.yml")
    env_kwargs.pop("render_mode", None)

    def card(repo_id: str) -> str:
        video = (folder / VIDEO).is_file()
        return model_card(
            model, report, env.get_attr("spec")[0].id, repo_id, env_kwargs, hyperparameters,
            from_zoo=True, diagram=diagram, video=video, safe=safe,
        )  # fmt: skip

    return report.mean, report.std, card
