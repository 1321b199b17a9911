"""What the filter finds before anything is published, however it is written and packed."""

import base64
import bz2
import getpass
import gzip
import io
import json
import lzma
import pickle
import tarfile
import unicodedata
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sb3_quantum.hub.plain_yaml import read_yaml
from sb3_quantum.hub.private import check_nothing_private, clean_arguments
from tests.hub.loopback import TOKEN

USER = "zoë-ü7jk"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with letters that are not ASCII."""
    monkeypatch.setenv("HOME", str(tmp_path / "home" / USER))
    monkeypatch.setenv("LOGNAME", USER)
    assert getpass.getuser() == USER
    return tmp_path / "home" / USER


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, content: bytes, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def npz(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=array)
    return buffer.getvalue()


def in_json(value: Any) -> bytes:
    """As SB3 writes what it has pickled, anywhere in its JSON."""
    return json.dumps({"a": [{"b": [1, {":serialized:": base64.b64encode(pickle.dumps(value)).decode()}]}]}).encode()


WRITTEN = {
    "as it is": lambda path: path.encode(),
    "decomposed": lambda path: unicodedata.normalize("NFD", path).encode(),
    "json": lambda path: json.dumps({"x": path}).encode(),
    "yaml": lambda path: yaml.dump({"x": path}).encode(),
    "address": lambda path: Path(path).as_uri().encode(),
    "repr": lambda path: ascii(path).encode(),
    "utf-16": lambda path: path.encode("utf-16"),
    "latin-1": lambda path: path.encode("latin-1"),
    "old pickle": lambda path: pickle.dumps(path, 0),
    "pickled path": lambda path: pickle.dumps({"folder": Path(path)}),
    "pickle in a list": lambda path: in_json([path]),
    "path in a pickle in a list": lambda path: in_json(Path(path)),
    "gzip": lambda path: gzip.compress(path.encode()),
    "bz2 in a zip": lambda path: zipped("x", bz2.compress(path.encode())),
    "xz": lambda path: lzma.compress(path.encode()),
    "tar": lambda path: tarred("x", path.encode()),
    "tar.gz": lambda path: tarred("x", path.encode(), "w:gz"),
    "npz": lambda path: npz(np.array([path.encode()])),
    "npz of objects": lambda path: npz(np.array([{"x": Path(path)}], dtype=object)),
    "zip in a zip": lambda path: zipped("y", zipped("x", path.encode())),
    "name in a zip": lambda path: zipped(f"{path[1:]}/x.txt", b""),
    "name in a tar": lambda path: tarred(path, b""),
}


@pytest.mark.parametrize("way", WRITTEN)
def test_the_home_folder_is_found(home: Path, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    for where, sound in ((str(home / "logs"), False), ("/somewhere/zoë/logs", True)):
        (folder / "file.yml").write_bytes(WRITTEN[way](where))
        if sound:
            check_nothing_private(folder)
        else:
            with pytest.raises(ValueError, match=r"not published: file.*contains the (home folder|user's name)"):
                check_nothing_private(folder)


def test_names_of_files_and_hidden_folders(home: Path, tmp_path: Path) -> None:
    for number, name in enumerate((f"home/{USER}/x.txt", f"{TOKEN}.txt", f".hidden/{TOKEN}")):
        folder = tmp_path / str(number)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("nothing")
        with pytest.raises(ValueError, match=r"not published: .*contains"):
            check_nothing_private(folder, TOKEN)
    (tmp_path / "git" / ".git").mkdir(parents=True)
    (tmp_path / "git" / ".git" / "config").write_text(str(home))
    check_nothing_private(tmp_path / "git")


def test_what_cannot_be_looked_into_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QISKIT_IBM_TOKEN", "s3cr3t-0f-ibm")
    content = b"x"
    for _ in range(10):
        content = gzip.compress(content)
    for file, why in (
        (content, "is packed more than 8 times, too deep to search"),
        (gzip.compress(b"x" * 1000)[:-20], "cannot be unpacked"),
        (zipped("x", b"y" * 100)[:-30], "cannot be unpacked"),
    ):
        (tmp_path / "file").write_bytes(file)
        with pytest.raises(ValueError, match=rf"not published: file.* {why}"):
            check_nothing_private(tmp_path)
    (tmp_path / "file").write_bytes(zipped("x", b"token=s3cr3t-0f-ibm"))
    with pytest.raises(ValueError, match="not published: file/x contains the IBM token"):
        check_nothing_private(tmp_path)


def test_yaml_of_a_stranger_runs_nothing(tmp_path: Path) -> None:
    """The zoo's files have Python's tags, which its own loader obeys."""
    mark, path = tmp_path / "mark", tmp_path / "args.yml"
    trap = f"a: /x/y\nb: !!python/object/apply:os.mkdir ['{mark}']\n"
    path.write_text(trap)
    clean_arguments(path)
    values = read_yaml(path.read_text(), "args.yml")
    assert values["a"] == "y" and values["b"] == "<object/apply:os.mkdir>" and not mark.exists()
    assert yaml.load(trap, Loader=yaml.UnsafeLoader) and mark.exists()
    for text in ("- 1", "a: [", "!!python/object/apply:collections.OrderedDict 3", "{[1]: 2}"):
        with pytest.raises(ValueError, match=r"args\.yml is not YAML as the zoo writes it"):
            read_yaml(text, "args.yml")


def test_the_zoos_own_yaml_is_read_and_cleaned(tmp_path: Path) -> None:
    arguments: OrderedDict[str, Any] = OrderedDict(
        [("/key/like/a/path", 1), ("folder", "/home/x/logs"), ("nested", {"file": "~/y", "pair": (1, "/a/b")}), ("seed", 3)]
    )
    path = tmp_path / "args.yml"
    path.write_text(yaml.dump(arguments))
    assert read_yaml(path.read_text(), "args.yml") == arguments
    clean_arguments(path)
    cleaned = yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)
    assert type(cleaned) is OrderedDict and list(cleaned) == list(arguments)
    assert cleaned == {"/key/like/a/path": 1, "folder": "logs", "nested": {"file": "y", "pair": (1, "b")}, "seed": 3}
