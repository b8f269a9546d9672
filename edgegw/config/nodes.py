"""A document as a tree that remembers where everything stands.

The dialects read this tree and not YAML, so that each finding about a value has its position.
"""
from __future__ import annotations

import json
import re
from enum import Enum
from typing import Union

from attrs import frozen

__all__ = ["Mapping", "Node", "Scalar", "ScalarType", "Sequence", "element_path", "kind", "member_path"]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_KEY = 64


class ScalarType(Enum):
    """What YAML 1.2's core schema (§10.3.2) makes of a scalar."""

    TEXT = "text"
    INTEGER = "a whole number"
    NUMBER = "a fraction"
    BOOLEAN = "true or false"
    NULL = "nothing"


@frozen
class Scalar:
    """A single value.

    :ivar text: the value as text, variables expanded.
    :ivar expanded: whether a variable was expanded in it: its type is then whatever is wanted there.
    :ivar broken: a fault was reported in its place already, and nothing more is to be said of it.
    """

    path: str
    line: int
    column: int
    text: str
    type: ScalarType = ScalarType.TEXT
    expanded: bool = False
    broken: bool = False


@frozen
class Sequence:
    """A list."""

    path: str
    line: int
    column: int
    items: tuple[Node, ...]


@frozen
class Mapping:
    """Values by key.

    :ivar keys: line and column of each key.
    :ivar values: the values, in the document's order.
    """

    path: str
    line: int
    column: int
    keys: dict[str, tuple[int, int]]
    values: dict[str, Node]

    def key(self, name: str) -> Scalar:
        """Give a key as a node of its own."""
        line, column = self.keys[name]
        return Scalar(member_path(self.path, name), line, column, name)


Node = Union[Scalar, Sequence, Mapping]


def kind(node: Node) -> str:
    """Name what a node is, for messages."""
    if isinstance(node, Scalar):
        return node.type.value
    return "a list" if isinstance(node, Sequence) else "a mapping"


def member_path(path: str, key: str) -> str:
    """Give the path of a mapping's value; odd keys are quoted and long ones cut."""
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key[:_LONGEST_KEY])}]"
    return f"{path}.{key}" if path else key


def element_path(path: str, index: int) -> str:
    """Give the path of a list's element."""
    return f"{path}[{index}]"
