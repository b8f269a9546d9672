"""A document as a tree that remembers where everything stands.

The dialects read this tree and not YAML, so that each finding about a value has its position.
"""
from __future__ import annotations

import json
import re
from collections.abc import Sequence as SequenceABC
from enum import Enum
from typing import Protocol, Union

from attrs import define

__all__ = ["KeyPlaces", "Mapping", "Node", "Scalar", "ScalarType", "Sequence", "Within", "kind", "path_of"]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONGEST_KEY = 64


class ScalarType(Enum):
    """What YAML 1.2's core schema (§10.3.2) makes of a scalar."""

    TEXT = "text"
    INTEGER = "a whole number"
    NUMBER = "a fraction"
    BOOLEAN = "true or false"
    NULL = "nothing"


# Where a node stands: a path, or where the node stands that holds it, and its key or index there.  Hardly any path is
# ever asked for, and a large document has millions.
Within = Union[str, "tuple[Within, str | int]"]


def path_of(within: Within) -> str:
    """Give the path of a place: ``listeners[0].port``."""
    steps: list[str | int] = []
    while not isinstance(within, str):
        within, step = within
        steps.append(step)
    path = within
    for step in reversed(steps):
        path = _member_path(path, step) if isinstance(step, str) else _element_path(path, step)
    return path


# Nodes are never changed once they were read, but making frozen ones would take twice as long.


@define(eq=False, weakref_slot=False)
class Scalar:
    """A single value.

    :ivar within: its path, or what it is made of.
    :ivar text: the value as text, variables expanded.
    :ivar expanded: whether a variable was expanded in it: its type is then whatever is wanted there.
    :ivar broken: a fault was reported in its place already, and nothing more is to be said of it.
    """

    within: Within
    line: int
    column: int
    text: str
    type: ScalarType = ScalarType.TEXT
    expanded: bool = False
    broken: bool = False

    @property
    def path(self) -> str:
        """Where it stands: ``listeners[0].port``."""
        return path_of(self.within)


@define(eq=False, weakref_slot=False)
class Sequence:
    """A list."""

    within: Within
    line: int
    column: int
    items: SequenceABC[Node]

    @property
    def path(self) -> str:
        """See :attr:`Scalar.path`."""
        return path_of(self.within)


class KeyPlaces(Protocol):
    """Knows where the keys of a document stand."""

    def find(self, path: str) -> tuple[int, int]:
        """Give line and column of a key by the path of its value."""


@define(eq=False, weakref_slot=False)
class Mapping:
    """Values by key.

    :ivar keys: line and column of each key, or who knows them.
    :ivar values: the values, in the document's order.
    """

    within: Within
    line: int
    column: int
    keys: dict[str, tuple[int, int]] | KeyPlaces
    values: dict[str, Node]

    @property
    def path(self) -> str:
        """See :attr:`Scalar.path`."""
        return path_of(self.within)

    def key(self, name: str) -> Scalar:
        """Give a key as a node of its own."""
        within, keys = (self.within, name), self.keys
        line, column = keys[name] if isinstance(keys, dict) else keys.find(path_of(within))
        return Scalar(within, line, column, name)


Node = Union[Scalar, Sequence, Mapping]


def kind(node: Node) -> str:
    """Name what a node is, for messages."""
    if isinstance(node, Scalar):
        return node.type.value
    return "a list" if isinstance(node, Sequence) else "a mapping"


def _member_path(path: str, key: str) -> str:
    # Odd keys are quoted and long ones cut.
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key[:_LONGEST_KEY])}]"
    return f"{path}.{key}" if path else key


def _element_path(path: str, index: int) -> str:
    return f"{path}[{index}]"
