"""Monitor files of continued runs read as if nothing had happened."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_quantum.circuits.wording import counted
from sb3_quantum.plots.runs import load_run
from sb3_quantum.zoo.monitors import go_on, monitor_file, positions, rewind
from tests.envs import CountingEnv


def environments(folder: Path, going_on: bool = False) -> DummyVecEnv:
    """Two environments with episodes of 7 steps, and a wrapper around their monitors."""
    from gymnasium.wrappers import ClipAction

    kwargs: dict[str, Any] = {"override_existing": not going_on}
    env = make_vec_env(
        CountingEnv, 2, monitor_dir=str(folder), monitor_kwargs=kwargs, wrapper_class=ClipAction, vec_env_cls=DummyVecEnv
    )
    env.reset()
    return env  # type: ignore[return-value]


def walk(env: DummyVecEnv, steps: int) -> None:
    for _ in range(steps):
        env.step(np.full((2, 2), 0.5, dtype=np.float32))


def test_a_file_goes_on_where_the_checkpoint_is(tmp_path: Path) -> None:
    """Killed 9 steps after a checkpoint at step 10, and killed again before the next one."""
    env = environments(tmp_path)
    walk(env, 10)
    noted = positions(env, tmp_path)
    walk(env, 9)
    env.close()
    for _ in range(2):
        seconds = rewind(tmp_path, "Counting-v0", 2, 20, noted, ())
        env = environments(tmp_path, going_on=True)
        go_on(env, seconds)
        walk(env, 9)
        noted_later = positions(env, tmp_path)
        env.close()
    results = load_results(str(tmp_path))
    assert results["l"].tolist() == [7, 7, 3, 3, 7, 7] and results["t"].is_monotonic_increasing
    assert results["cut"].notna().tolist() == [False, False, True, True, False, False]
    assert np.allclose(results["r"], -0.5 * results["l"]) and results["t"].min() > 0
    assert [(position["rows"], position["l"]) for position in noted_later] == [(3, 2), (3, 2)]
    # At the next seam lengths add up to all the steps
    rewind(tmp_path, "Counting-v0", 2, 38, noted_later, ())
    assert load_results(str(tmp_path))["l"].sum() == 38
    # Ours draw no return for what was cut
    episodes = load_run(tmp_path).episodes
    assert episodes is not None and episodes.steps.tolist() == [14, 14, 34, 34] and (episodes.values == -3.5).all()


@pytest.mark.parametrize(
    "content, problem, kept",
    [
        (None, "is missing", []),
        ("", "has no header", []),
        ("\x00\x00\x00", "has no header", []),
        ('#{"t_start": 5}\nr,l,t\n-1.0,7,2.5\n-1.0,7', "has damaged rows", [7]),
        ('#{"t_start": 5}\nr,l,t\n-1.0,7,2.5\n\x00\x00\n-1.0,6,3.5\n', "has damaged rows", [7, 6]),
        (f'#{{"t_start": 5}}\nr,l,t\n-1.0,7,2.5\n-1.0,{"6" * 200_000},3.5\n', "has damaged rows", [7]),  # more than csv reads
        ('#{"t_start": 5}\nr,l,t\n-1.0,7,2.5\n', "ends before the checkpoint", [7]),
    ],
)
def test_what_can_be_read_is_kept(tmp_path: Path, content: str | None, problem: str, kept: list[int]) -> None:
    noted = [{"rows": 3, "t": 9.0, "r": -2.0, "l": 4}]
    if content is not None:
        monitor_file(tmp_path, 0).write_text(content)
    with pytest.warns(UserWarning, match=rf"0\.monitor\.csv {problem}: {counted(len(kept), 'episode')}"):
        assert rewind(tmp_path, "Counting-v0", 1, 25, noted, ("is_success",)) == [9.0]
    results = load_results(str(tmp_path))
    assert results["l"].tolist() == [*kept, 4] and results["r"].iloc[-1] == -2.0
    assert ("is_success" in results) == (not kept), "the columns of a file that can be read are its own"


def test_checkpoints_of_0_1_0(tmp_path: Path) -> None:
    """They do not know where the files were; episodes are counted."""
    monitor_file(tmp_path, 0).write_text('#{"t_start": 5}\nr,l,t\n-1.0,7,2.5\n-1.0,7,3.5\n-1.0,7,4.5\n')
    assert rewind(tmp_path, "Counting-v0", 1, 20, [], ()) == [3.5]
    assert load_results(str(tmp_path))["l"].tolist() == [7, 7]
