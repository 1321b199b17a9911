"""Filter before uploads: no tokens, home folders or user names in paths leave this machine."""

import base64
import binascii
import bz2
import getpass
import gzip
import io
import json
import lzma
import os
import pickletools
import re
import tarfile
import unicodedata
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sb3_quantum.common.durable import replacing
from sb3_quantum.hub.plain_yaml import replace_texts

#: pattern of the Hub's tokens
_TOKEN = re.compile(rb"hf_[A-Za-z0-9]{20,}")
#: folders that huggingface_hub does not upload
_NOT_UPLOADED = {".git", ".cache"}
#: limit of nested packing
_MAX_DEPTH = 8
#: first bytes of compressed files, and their unpackers
_COMPRESSED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress
}  # fmt: skip


def clean_arguments(path: Path) -> None:
    """
    Remove paths and addresses from a run's command line in the zoo's ``args.yml``; other values stay.

    :param path: the file, changed in place; nothing in it is executed
    """

    def clean(value: str) -> str:
        if "://" in value:
            return ""
        return Path(value).name if Path(value).is_absolute() or value.startswith("~") else value

    text = replace_texts(path.read_text(encoding="utf-8"), clean)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_nothing_private(folder: Path, token: str | None = None) -> None:
    """
    Search everything about to be published: names of files, contents of archives and compressed files, and pickles, also those
    in SB3's JSON.

    :param folder: the folder to publish
    :param token: the token in use
    :raises ValueError: if a token, something like a token, the home folder or a path with the user's name is found, or a file
        cannot be unpacked
    """
    forbidden = [(what, _spellings(text)) for what, text in _forbidden(token) if text]
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or _NOT_UPLOADED & set(relative.parts):
            continue
        for name, content in _contents(relative.as_posix(), path.read_bytes()):
            # A path may be the name of a file in an archive
            lower = content.lower() + b"\n/" + name.lower().encode("utf-8", "surrogateescape")
            found = [what for what, spellings in forbidden if any(spelling in lower for spelling in spellings)]
            if _TOKEN.search(content) or _TOKEN.search(name.encode("utf-8", "surrogateescape")):
                found.append("something like an access token")
            if found:
                raise ValueError(f"not published: {name} contains {' and '.join(dict.fromkeys(found))}")


def _forbidden(token: str | None) -> Iterator[tuple[str, str | None]]:
    """Return the forbidden texts, and their descriptions."""
    user, home = _user(), Path.home()
    yield "the access token", token
    yield "the IBM token", os.environ.get("QISKIT_IBM_TOKEN")
    for folder in dict.fromkeys((home, home.resolve())):
        # A home folder of "/" would match everywhere
        yield "the home folder", str(folder) if len(folder.parts) > 1 else None
    for parent in ("/home/", "/Users/", "\\Users\\"):
        yield "the user's name", f"{parent}{user}" if user else None


def _user() -> str | None:
    """Return the user's name, if there is one: in a container it may be a number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _spellings(text: str) -> set[bytes]:
    """
    Return the spellings of a text in files, in lower case: composed or decomposed letters, encodings, escapes of JSON and
    addresses.
    """
    found = set()
    for form in ("NFC", "NFD"):
        plain = unicodedata.normalize(form, text)
        escaped = {plain, plain.replace("\\", "\\\\"), json.dumps(plain)[1:-1], json.dumps(plain)[1:-1].replace("/", "\\/")}
        escaped |= {plain.encode("unicode_escape").decode(), urllib.parse.quote(plain), urllib.parse.quote(plain, safe="")}
        # Pickles of protocol 0 write \xe9 literally, and \u20ac as here
        found |= {each.encode("utf-8", "surrogateescape") for each in escaped}
        found |= {plain.encode(encoding, "surrogatepass") for encoding in ("utf-16-le", "utf-16-be")}
        found.add(plain.encode("raw_unicode_escape"))
    return {each.lower() for each in found}


def _contents(name: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield a file and its packed contents: members of archives, and pickles in SB3's JSON."""
    yield name, content
    if depth > _MAX_DEPTH:
        raise ValueError(f"not published: {name} is packed more than {_MAX_DEPTH} times, too deep to search")
    try:
        for member, unpacked in _members(name, content):
            yield from _contents(member, unpacked, depth + 1)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"not published: {name} cannot be unpacked, and may hold anything ({error})") from error
    yield from ((name, text) for text in _further_readings(name, content))


def _members(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the members of an archive or a compressed file."""
    for start, unpack in _COMPRESSED.items():
        if content.startswith(start):
            yield name.rsplit(".", 1)[0] if "." in name else f"{name}/unpacked", unpack(content)
    if content[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                yield f"{name}/{member.name}/{member.linkname}".rstrip("/"), b"" if file is None else file.read()
    # An archive may follow a program
    if content.startswith(b"PK\x03\x04") or zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield f"{name} (comment)", archive.comment
            for entry in archive.infolist():
                yield f"{name}/{entry.filename}", archive.read(entry)
    elif content[:1] in (b"{", b"["):
        try:
            data = json.loads(content)
        except (ValueError, RecursionError):
            return
        for pickled in _serialized(data):
            try:
                yield name, base64.b64decode(pickled)
            except (binascii.Error, ValueError):
                continue


def _further_readings(name: str, content: bytes) -> Iterator[bytes]:
    """Yield other readings of a file: paths that a pickle stores in parts, and paths that a YAML file breaks into lines."""
    # An array of objects is a pickle after a header
    start = 10 + int.from_bytes(content[8:10], "little") if content.startswith(b"\x93NUMPY") else 0
    if content[start : start + 1] == b"\x80":
        texts: list[str] = []
        # It may be anything that starts like a pickle
        with suppress(Exception):
            texts.extend(argument for _, argument, _ in pickletools.genops(content[start:]) if isinstance(argument, str))
        yield "/".join(texts).replace("//", "/").encode("utf-8", "surrogatepass")
    if name.endswith((".yml", ".yaml", ".md")):
        yield re.sub(rb"\\\n\s*\\?", b"", content)
        yield re.sub(rb"\n\s*", b" ", content)


def _serialized(data: Any) -> Iterator[str]:
    """Yield the pickles in SB3's JSON."""
    if isinstance(data, dict):
        if isinstance(data.get(":serialized:"), str):
            yield data[":serialized:"]
        for value in data.values():
            yield from _serialized(value)
    elif isinstance(data, list):
        for value in data:
            yield from _serialized(value)
