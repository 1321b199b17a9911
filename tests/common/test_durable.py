from pathlib import Path

import pytest

from sb3_quantum.common.durable import replacing, replacing_folder


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "model.zip"
    path.write_text("old")
    path.chmod(0o640)
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_complete_or_not_there(tmp_path: Path):
    target = tmp_path / "checkpoint-5"
    with pytest.raises(RuntimeError), replacing_folder(target) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert not target.exists()
    with replacing_folder(target) as partial:
        (partial / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"] and list(tmp_path.iterdir()) == [target]
