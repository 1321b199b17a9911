"""Studies from the command line: in processes, through Ctrl-C and kills, and their last message."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sb3_quantum.study import StudyError, __main__, read_study
from sb3_quantum.study import runner as runner_module
from sb3_quantum.study.cell import folder_of, read_cell
from sb3_quantum.study.file import shipped
from sb3_quantum.study.folder import find
from sb3_quantum.study.progress import Progress, duration
from sb3_quantum.study.runner import run_locally, selected
from sb3_quantum.zoo.runs import Lock
from tests.study.helpers import SMALL, fake_cells, small


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int | str:
    """Run the command and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["study", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    return caught.value.code  # type: ignore[return-value]


def wait_for(condition: object, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture()
def endless(tmp_path: Path) -> Path:
    """A file of a study that takes longer than any test."""
    path = tmp_path / "endless.yml"
    path.write_text(SMALL.replace("steps: 60", "steps: 100000").replace("pqc: {}", "pqc: {policy_kwargs: {block: fc}}"))
    return path


def heed_ctrl_c() -> None:
    """Tests in a background job of a shell inherit that Ctrl-C is ignored; the command's user is at a terminal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*words: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "sb3_quantum.study", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(line, **pipes, text=True, start_new_session=True, preexec_fn=heed_ctrl_c)


@pytest.mark.slow
def test_ctrl_c_leaves_cells_that_go_on(endless: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", endless, "--out", out, "--seeds", 1, "--arms", "pqc")
    folder = folder_of(out, "pqc", 1)
    try:
        wait_for(lambda: (folder / "progress.json").exists())
        os.kill(process.pid, signal.SIGINT)
        printed = process.communicate(timeout=90)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130 and "the same command continues" in printed and "running: pqc 1" in printed
    assert len(list(folder.glob("checkpoint-*[0-9]"))) == 1 and read_cell(folder).status == "running"
    found = find(read_study(endless), out)
    assert len(found.cells) == 1 and not found.damaged
    # Nobody holds it any more
    Lock(folder).release()


def test_a_study_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """One cell fails in a process of its own, the others are there already; the second time there is nothing to do."""
    study, out = small(seeds="2"), tmp_path / "out"
    fake_cells(study, out, {"pqc": [-100.0, -110.0]})
    (out / "zeros").mkdir()
    (out / "zeros" / "0").write_text("in the way of a cell")
    with pytest.raises(OSError):
        run_locally(study, out, selected(study, ["zeros"], [0]), 1)
    (out / "zeros" / "0").unlink()
    fake_cells(study, out, {"zeros": [-300.0, -290.0]})
    capfd.readouterr()
    assert run_locally(study, out, selected(study, None, None), 2) == 0
    assert capfd.readouterr().out == "4 of 4 cells\n"


def test_a_failed_cell_is_an_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process that ends without a word, and one that says why."""
    monkeypatch.setattr(
        runner_module, "command", lambda form, out, index, *_: [sys.executable, "-c", f"print('gone {index}'); exit({index})"]
    )
    assert run_locally(small(), tmp_path, selected(small(), None, [0]), 2) == 1
    printed = capfd.readouterr().out
    assert "cell pqc seed 0 failed: gone 0" in printed and "cell zeros seed 0 failed: gone 1" in printed
    assert "2 of 2 cells; 2 failed" in printed


def test_one_cell_of_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "small.yml", tmp_path / "out"
    path.write_text(SMALL)
    assert command(monkeypatch, "run", path, "--out", out, "--cell", 3) == 0
    assert capsys.readouterr().out == "zeros seed 1 is complete\n" and read_cell(out / "zeros" / "1").status == "complete"
    assert command(monkeypatch, "run", path, "--out", out, "--cell", 4) == "error: --cell must be between 0 and 3, got 4"
    path.write_text(SMALL.replace("steps: 60", "steps: 61"))
    assert "cell zeros seed 1 is void: budget.amount was 60 and is 61" in str(
        command(monkeypatch, "run", path, "--out", out, "--cell", 3)
    )
    assert "void" in str(command(monkeypatch, "run", path, "--out", out))
    assert command(monkeypatch, "list", path, "--out", out) == 0
    assert "zeros seed 1 is void" in capsys.readouterr().out
    # Other cells run beside it, and it is put aside only if it is asked for
    assert command(monkeypatch, "run", path, "--out", out, "--cell", 0, "--renew") == 0
    assert "zeros seed 1 (budget" in capsys.readouterr().out and read_cell(out / "zeros" / "1").status == "complete"
    assert command(monkeypatch, "run", path, "--out", out, "--arms", "pqc") == 0
    assert command(monkeypatch, "run", path, "--out", out, "--cell", 3, "--renew") == 0
    assert "zeros seed 1 is void and now" in capsys.readouterr().out and (out / "zeros" / "1.void-1").is_dir()


def test_words_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "small.yml"
    path.write_text(SMALL.replace("pqc: {}", "pqc: {gama: 1}"))
    for words, message in [
        (("run", path, "--arms", "pcq"), "arm 'pcq' is unknown, did you mean 'pqc'?"),
        (("run", path, "--seeds", 9), "seed 9 is not one of the study's seeds, which are 0, 1"),
        (("run", path, "--out", tmp_path / "out"), "'gama' is unknown, did you mean 'gamma'?"),
        (("run", "smal"), "study 'smal' is unknown"),
        (("report", path, "--out", tmp_path / "no"), "does not exist: no cell of small has been run"),
        (("report", path, "--out", tmp_path), "has no complete cell of small"),
        (("report", path, "--cells", path), "is not a packed study"),
    ]:
        assert message in str(command(monkeypatch, *words)), words
    for words in (("run", path, "--workers", 0), ("run", path, "--checkpoint-minutes", -1), ("plan", path, "--workers", "x")):
        assert command(monkeypatch, *words) == 2
    capsys.readouterr()


def test_studies_are_listed_and_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, "list") == 0
    assert all(name in capsys.readouterr().out for name in ["quick"]) and len(shipped()) >= 4
    assert command(monkeypatch, "show", "quick") == 0
    assert capsys.readouterr().out == shipped()["quick"].read_text()


def test_the_time_that_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(tmp_path, [], [("pqc", 0), ("pqc", 1), ("zeros", 0)], workers=2)
    assert progress.minutes_left() is None
    for key in (("pqc", 0), ("pqc", 1)):
        progress.begin(key)
    folder_of(tmp_path, "pqc", 0).mkdir(parents=True)
    (folder_of(tmp_path, "pqc", 0) / "progress.json").write_text('{"done": 0.5}')
    progress.running[("pqc", 0)] = (time.monotonic() - 600, 0.0)
    # A cell takes 20 minutes: half of one, one, and one that nothing is known of, two at a time
    assert progress.minutes_left() == pytest.approx(2.5 * 20 / 2, rel=0.01)
    progress.show()
    assert "0 of 3 cells; running: pqc 0 50%, pqc 1 0%; about 25 min left" in capsys.readouterr().out
    progress.end(("pqc", 0), None)
    assert "1 of 3 cells; 1 failed" in capsys.readouterr().out
    assert [duration(minutes) for minutes in (0.5, 45, 120)] == ["30 s", "45 min", "2.0 h"]


def test_cells_that_are_asked_for() -> None:
    study = small(seeds="3")
    assert len(selected(study, None, None)) == 6
    assert [(arm.name, seed) for arm, seed in selected(study, ["zeros"], [2, 0])] == [("zeros", 0), ("zeros", 2)]
    with pytest.raises(StudyError, match="arm 'x' is unknown"):
        selected(study, ["x"], None)


def test_the_study_of_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """From its beginning to its end, in this process."""
    study = read_study("quick")
    for number, (_, seed) in enumerate(study.cells()):
        if seed == 0:
            assert command(monkeypatch, "run", "quick", "--out", tmp_path, "--cell", number) == 0
    assert command(monkeypatch, "report", "quick", "--out", tmp_path) == 0
    text = (tmp_path / "report" / "README.md").read_text()
    assert "3 of 9 cells are complete" in text and "zeros has 1 of at least 2 complete cells" in text
    assert "| arm | as trained | shuffled | zeros | mean_field | fresh_angles | information |" in text
    capsys.readouterr()
