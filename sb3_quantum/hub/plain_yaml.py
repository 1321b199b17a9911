"""
Read the zoo's YAML files without executing them. They contain Python tags (for ordered dictionaries), and the zoo's loader
calls any function that a tag names; the files of a run may come from the Hub.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """Loader that makes ordered dictionaries and tuples; anything else with a Python tag stays a text that says so."""


def _ordered(loader: _PlainLoader, node: yaml.SequenceNode) -> OrderedDict[Any, Any]:
    (pairs,) = loader.construct_sequence(node, deep=True)
    return OrderedDict(pairs)


def _tuple(loader: _PlainLoader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


def _named(loader: _PlainLoader, suffix: str, node: yaml.Node) -> str:
    return f"<{suffix}>"


_PREFIX = "tag:yaml.org,2002:python/"
_PlainLoader.add_constructor(f"{_PREFIX}object/apply:collections.OrderedDict", _ordered)
_PlainLoader.add_constructor(f"{_PREFIX}tuple", _tuple)
_PlainLoader.add_multi_constructor(_PREFIX, _named)


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """
    Read a YAML file of the zoo.

    :param text: its text
    :param name: its name, for the message
    :return: a dictionary of plain data
    :raises ValueError: if it is anything else
    """
    try:
        value = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{name} is not YAML as the zoo writes it: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not YAML as the zoo writes it: it holds {type(value).__name__}, not a dictionary")
    return value


def replace_texts(text: str, change: Callable[[str], str]) -> str:
    """
    Change texts in a YAML file. Keys and tags stay unchanged, and no objects are made.

    :param text: the file's text
    :param change: maps a value to its replacement
    :return: the file's new text
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    level = [root] if root is not None else []
    # A pair of an ordered dictionary is a list of two, of which the first is a key
    keys = set()
    while level:
        node = level.pop()
        if isinstance(node, yaml.MappingNode):
            level += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            if node.tag.endswith("OrderedDict") and node.value:
                keys |= {id(pair.value[0]) for pair in node.value[0].value if pair.value}
            level += node.value
        elif node.tag == "tag:yaml.org,2002:str" and id(node) not in keys:
            node.value = change(node.value)
    return yaml.serialize(root, allow_unicode=True)
