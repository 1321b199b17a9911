"""Nothing that belongs to a person leaves this machine: tokens, home folders, user names in paths."""

import base64
import getpass
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

#: what the Hub's tokens look like
_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}")


def clean_arguments(path: Path) -> None:
    """
    Take paths and addresses out of the command line that the zoo keeps of a run (``args.yml``); its other values stay.

    :param path: the file, written by this machine's zoo; it is changed in place
    """
    # Its own file, with Python's tags for ordered dictionaries: read as the zoo itself reads it
    arguments = yaml.load(path.read_text(), Loader=yaml.UnsafeLoader)
    for key, value in arguments.items():
        if isinstance(value, str) and ("://" in value or Path(value).is_absolute() or value.startswith("~")):
            arguments[key] = "" if "://" in value else Path(value).name
    path.write_text(yaml.dump(arguments))


def check_nothing_private(folder: Path, token: str | None = None) -> None:
    """
    Look through everything that is about to be published, into zip files and their pickles too.

    :param folder: all of it is looked at, except hidden folders
    :param token: the token in use
    :raises ValueError: if the token, something like one, the home folder or a path with the user's name is found
    """
    user, home = _user(), Path.home()
    forbidden = [
        ("the access token", token),
        # A home folder of "/" would be found everywhere
        ("the home folder", str(home) if len(home.parts) > 1 else None),
        *[("the user's name", f"{parent}{user}") for parent in ("/home/", "/Users/", "\\Users\\") if user],
    ]
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts[:-1]):
            continue
        for name, content in _contents(path.relative_to(folder).as_posix(), path.read_bytes()):
            found = [what for what, text in forbidden if text and text.encode() in content]
            if _TOKEN.search(content):
                found.append("something like an access token")
            if found:
                raise ValueError(f"not published: {name} contains {' and '.join(dict.fromkeys(found))}")


def _user() -> str | None:
    """The user's name, if the user has one: in a container it may be a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _contents(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """A file and what is packed in it: members of archives, and pickles in the JSON of SB3's."""
    yield name, content
    if content[:4] == b"PK\x03\x04":
        archive = zipfile.ZipFile(io.BytesIO(content))
        for member in archive.namelist():
            yield from _contents(f"{name}/{member}", archive.read(member))
    elif name.endswith("/data") or name.endswith(".json"):
        try:
            data = json.loads(content)
        except ValueError:
            return
        for pickled in _serialized(data):
            yield name, base64.b64decode(pickled)


def _serialized(data: Any) -> Iterator[str]:
    """Pickles in SB3's JSON."""
    if isinstance(data, dict):
        if isinstance(data.get(":serialized:"), str):
            yield data[":serialized:"]
        for value in data.values():
            yield from _serialized(value)
