"""A small language to describe Kubernetes objects in, as a CustomResourceDefinition does.

A shape judges a node of a manifest and gives its value as JSON, with the defaults that an API server would fill in.
It differs from :mod:`edgegw.config.shapes` as the two APIs differ: ``null`` is the same as leaving a field out, and
what comes out is the object as an API server would give it back.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final, Protocol

from attrs import Factory, field, frozen

from edgegw.config.faults import Place
from edgegw.config.nodes import Mapping as MappingNode
from edgegw.config.nodes import Node, Scalar, ScalarType, Sequence, kind
from edgegw.config.shapes import did_you_mean

__all__ = [
    "INVALID",
    "REQUIRED",
    "Faults",
    "ListOf",
    "MapOf",
    "Prop",
    "Rule",
    "Shape",
    "Struct",
    "absent",
    "at",
    "given",
    "pairs",
]

#: What :meth:`Shape.read` gives for a node that it found fault with.
INVALID: Final[Any] = object()
#: The ``default`` of a :class:`Prop` that must be given.
REQUIRED: Final[Any] = object()


class Faults(Protocol):
    """Takes what is found in an object."""

    def fault(self, place: Place, problem: str, remedy: str = "") -> None:
        """Note something that an API server would refuse."""

    def warn(self, place: Place, problem: str, remedy: str = "") -> None:
        """Note something that is hardly as it was meant."""


#: Judges a value that has been read, and the node that it was read from (CEL's ``x-kubernetes-validations``).  Parts
#: that are at fault are missing in the value: see :func:`given` and :func:`pairs`.
Rule = Callable[[Any, Any, Faults], None]


class Shape:
    """What may stand at one place of an object."""

    #: What is wanted, for messages: ``a mapping``, ``text``.
    wanted: str

    def read(self, node: Node, report: Faults) -> Any:
        """Give the node's value, or :data:`INVALID` after reporting what is wrong with it."""
        raise NotImplementedError

    def mismatch(self, node: Node, report: Faults) -> Any:
        """Report that a node is of the wrong kind."""
        if isinstance(node, Scalar) and node.broken:
            return INVALID
        if isinstance(node, Scalar) and node.type is ScalarType.NULL:
            report.fault(node, "has no value", f"write {self.wanted}")
        else:
            report.fault(node, f"is {kind(node)}", f"write {self.wanted}")
        return INVALID


# --- rules --------------------------------------------------------------------------------------


def absent(node: Node) -> bool:
    """Whether a value counts as not given."""
    return isinstance(node, Scalar) and node.type is ScalarType.NULL and not node.broken


def given(node: Node, key: str) -> bool:
    """Whether a field is written, at fault or not."""
    value = node.values.get(key) if isinstance(node, MappingNode) else None
    return value is not None and not absent(value)


def at(node: Node, *path: str | int) -> Node:
    """Give the place of a part, or of the nearest one above it."""
    for step in path:
        found: Node | None = None
        if isinstance(node, MappingNode) and isinstance(step, str):
            found = node.values.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            found = node.items[step]
        if found is None:
            break
        node = found
    return node


def pairs(value: list[Any] | None, node: Node | None) -> list[tuple[Any, Any]]:
    """Give a list's elements with their nodes, without those that are at fault."""
    if value is None or not isinstance(node, Sequence):
        return []
    return [(element, place) for element, place in zip(value, node.items, strict=True) if element is not INVALID]


# --- collections --------------------------------------------------------------------------------


@frozen
class ListOf(Shape):
    """A list of things of one shape.  Faulty elements are :data:`INVALID` in what the rules are shown.

    :ivar keys: fields that no two elements may have the same of (``x-kubernetes-list-map-keys``).
    :ivar distinct: whether no two elements may be the same (``x-kubernetes-list-type: set``).
    """

    element: Shape
    min_items: int = 0
    max_items: int | None = None
    keys: tuple[str, ...] = ()
    distinct: bool = False
    rules: tuple[Rule, ...] = ()
    wanted: str = "a list"

    def read(self, node: Node, report: Faults) -> Any:
        if not isinstance(node, Sequence):
            return self.mismatch(node, report)
        read = self.element.read
        values = [read(item, report) for item in node.items]
        if len(values) < self.min_items:
            problem = f"has {len(values)} elements" if values else "is an empty list"
            report.fault(node, problem, f"give {self.min_items} or more")
            return INVALID
        if self.max_items is not None and len(values) > self.max_items:
            report.fault(node, f"has {len(values)} elements", f"give {self.max_items} or fewer")
            return INVALID
        self._repeated(values, node, report)
        for rule in self.rules:
            rule(values, node, report)
        return values

    def _repeated(self, values: list[Any], node: Sequence, report: Faults) -> None:
        if not self.keys and not self.distinct:
            return
        seen: dict[Any, int] = {}
        for index, value in enumerate(values):
            if value is INVALID:
                continue
            mark = tuple(value.get(key) for key in self.keys) if self.keys else value
            if self.keys and all(part is None for part in mark):
                continue
            first = seen.setdefault(mark, index)
            if first != index:
                what = ", ".join(self.keys)
                place = at(node.items[index], *self.keys[:1])
                shared = f" has the {what} of" if self.keys else " is the same as"
                report.fault(place, f"element {index}{shared} element {first}", "keep one of the two, or change one")


@frozen
class MapOf(Shape):
    """A mapping with keys of the author's choice."""

    key: Shape
    value: Shape
    max_items: int | None = None
    rules: tuple[Rule, ...] = ()
    wanted: str = "a mapping"

    def read(self, node: Node, report: Faults) -> Any:
        if not isinstance(node, MappingNode):
            return self.mismatch(node, report)
        if self.max_items is not None and len(node.values) > self.max_items:
            report.fault(node, f"has {len(node.values)} entries", f"give {self.max_items} or fewer")
            return INVALID
        values: dict[str, Any] = {}
        for key, value_node in node.values.items():
            if self.key.read(node.key(key), report) is INVALID or absent(value_node):
                continue
            value = self.value.read(value_node, report)
            if value is not INVALID:
                values[key] = value
        for rule in self.rules:
            rule(values, node, report)
        return values


@frozen
class Prop:
    """A field of a :class:`Struct`.

    :ivar default: :data:`REQUIRED`, ``None`` for a field that is simply not there, or what an API server fills in.
    :ivar unused: why it has no effect here; writing it is worth a warning.
    """

    shape: Shape
    default: Any = None
    unused: str = ""


@frozen
class Struct(Shape):
    """A mapping with known fields.

    :ivar rules: judge what the fields cannot judge each by itself.
    :ivar moved: fields of other versions of the API, and what to write instead.
    """

    fields: Mapping[str, Prop]
    rules: tuple[Rule, ...] = ()
    moved: Mapping[str, str] = Factory(dict)
    wanted: str = "a mapping"
    _required: tuple[str, ...] = field(init=False)
    _defaults: tuple[tuple[str, Any], ...] = field(init=False)

    @_required.default
    def _demanded(self) -> tuple[str, ...]:
        return tuple(key for key, prop in self.fields.items() if prop.default is REQUIRED)

    @_defaults.default
    def _filled_in(self) -> tuple[tuple[str, Any], ...]:
        return tuple(
            (key, prop.default) for key, prop in self.fields.items() if prop.default not in (None, REQUIRED)
        )

    def read(self, node: Node, report: Faults) -> Any:
        if not isinstance(node, MappingNode):
            return self.mismatch(node, report)
        fields = self.fields
        values: dict[str, Any] = {}
        for key, value_node in node.values.items():
            prop = fields.get(key)
            if prop is None:
                self._unknown(key, node, report)
                continue
            if absent(value_node):
                continue
            if prop.unused:
                report.warn(node.key(key), f"has no effect: {prop.unused}")
            value = prop.shape.read(value_node, report)
            if value is not INVALID:
                values[key] = value
        for key in self._required:
            if not given(node, key):
                report.fault(node, f"has no {key}", f"give {key}: {fields[key].shape.wanted}")
        for key, default in self._defaults:
            if not given(node, key):
                values[key] = deepcopy(default)
        for rule in self.rules:
            rule(values, node, report)
        return values

    def _unknown(self, key: str, node: MappingNode, report: Faults) -> None:
        place = node.key(key)
        if key == "<<":
            report.fault(place, "merge keys are not read", "write the values out")
        elif key in self.moved:
            report.fault(place, "is no field of this version", self.moved[key])
        else:
            report.fault(place, "is no known field", did_you_mean(key, list(self.fields)))
