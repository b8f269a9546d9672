"""A small language to describe documents in.

A shape is one description with two uses: :meth:`Shape.read` judges a node of a document and gives
its value, and :meth:`Shape.schema` gives the same rules as JSON Schema (draft 2020-12) for
editors.  Shapes of single values are in :mod:`edgegw.config.scalars`.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceABC
from difflib import get_close_matches
from typing import Any, Final, Generic, TypeVar, cast

from attrs import AttrsInstance, define, evolve, field, frozen

from edgegw.config.faults import Report, shown
from edgegw.config.nodes import Mapping, Node, Scalar, ScalarType, Sequence, kind

__all__ = [
    "INVALID",
    "REQUIRED",
    "Alternatives",
    "Entries",
    "Field",
    "Invalid",
    "Item",
    "LaterItems",
    "LaterListOf",
    "ListOf",
    "OrWord",
    "Record",
    "Schema",
    "Section",
    "Shape",
    "did_you_mean",
]

Schema = dict[str, Any]

#: A typing mistake is looked for among so many words, and so many are listed for a remedy.
_MOST_COMPARED: Final = 1000
_MOST_LISTED: Final = 12
T = TypeVar("T")
A = TypeVar("A", bound=AttrsInstance)


class Invalid:
    """What :meth:`Shape.read` gives for a node it found fault with."""


INVALID: Final = Invalid()
#: The ``default`` of a :class:`Field` that must be given.
REQUIRED: Final = object()


class Shape:
    """What may stand at one place of a document."""

    #: What is wanted, for messages: ``a mapping``, ``text``.
    wanted: str

    def read(self, node: Node, report: Report) -> Any:
        """Give the node's value, or :data:`INVALID` after reporting what is wrong with it."""
        raise NotImplementedError

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        """Give JSON Schema for it.

        :param definitions: takes schemas that are referred to by name (``$defs``).
        """
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        """Give a value as it would be written in a document, as JSON: :meth:`read` backwards."""
        return value

    def mismatch(self, node: Node, report: Report) -> Invalid:
        """Report that a node is of the wrong kind."""
        if not (isinstance(node, Scalar) and node.broken):
            empty = isinstance(node, Scalar) and node.type is ScalarType.NULL
            remedy = f"write {self.wanted}" + (", or leave the key out" if empty else "")
            report.fault(node, f"is {kind(node)}" if not empty else "has no value", remedy)
        return INVALID


def did_you_mean(word: str, words: SequenceABC[str]) -> str:
    """Give the remedy for a word that is none of ``words``."""
    close = get_close_matches(word[:64], words[:_MOST_COMPARED], 1)
    if close:
        return f"did you mean {close[0]}?"
    more = ", …" if len(words) > _MOST_LISTED else ""
    return f"use one of {', '.join(words[:_MOST_LISTED])}{more}" if words else ""


@define(eq=False, weakref_slot=False)
class Item(Generic[T]):
    """An element of a list and where it stands."""

    node: Node
    value: T


@frozen
class ListOf(Shape):
    """A list of things of one shape; read as a tuple of :class:`Item`, faulty elements left out.

    :ivar distinct: whether two elements with one value are a fault.
    """

    element: Shape
    min_items: int = 0
    max_items: int | None = None
    distinct: bool = False
    wanted: str = "a list"

    def read(self, node: Node, report: Report) -> tuple[Item[Any], ...] | Invalid:
        if not isinstance(node, Sequence):
            return self.mismatch(node, report)
        if len(node.items) < self.min_items:
            problem = "is too short" if node.items else "is an empty list"
            report.fault(node, problem, f"give {self.min_items} or more")
            return INVALID
        if self.max_items is not None and len(node.items) > self.max_items:
            report.fault(node, f"has {len(node.items)} elements", f"give {self.max_items} or fewer")
            return INVALID
        items: list[Item[Any]] = []
        seen: dict[Any, Node] = {}
        read, distinct = self.element.read, self.distinct
        for element in node.items:
            value = read(element, report)
            if value is INVALID:
                continue
            if distinct:
                first = seen.setdefault(value, element)
                if first is not element:
                    report.fault(element, f"repeats {first.path}", "keep one of the two")
                    continue
            items.append(Item(element, value))
        return tuple(items)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        schema: Schema = {"type": "array", "items": self.element.schema(definitions)}
        if self.min_items:
            schema["minItems"] = self.min_items
        if self.max_items is not None:
            schema["maxItems"] = self.max_items
        if self.distinct:
            schema["uniqueItems"] = True
        return schema

    def show(self, value: SequenceABC[Any]) -> Any:
        return [self.element.show(element) for element in value]


@define(eq=False)
class LaterItems:
    """The elements of a list, each read when it is come to, and not kept; to be gone through once."""

    node: Sequence
    element: Shape
    report: Report

    def __iter__(self) -> Iterator[Item[Any]]:
        for node in self.node.items:
            value = self.element.read(node, self.report)
            if value is not INVALID:
                yield Item(node, value)


@frozen
class LaterListOf(Shape):
    """A list so long that its elements are better read one by one; read as :class:`LaterItems`."""

    element: Shape
    wanted: str = "a list"

    def read(self, node: Node, report: Report) -> LaterItems | Invalid:
        return LaterItems(node, self.element, report) if isinstance(node, Sequence) else self.mismatch(node, report)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return ListOf(self.element).schema(definitions)


@frozen
class OrWord(Shape):
    """A word with a meaning of its own, read as ``value``, or something else.

    :ivar value: what the word stands for, usually ``None``.
    """

    word: str
    other: Shape
    value: Any = None

    @property
    def wanted(self) -> str:  # type: ignore[override]  # made of the other's
        return f"{self.other.wanted}, or {self.word}"

    def read(self, node: Node, report: Report) -> Any:
        if isinstance(node, Scalar) and node.text == self.word:
            return self.value
        if isinstance(node, Scalar) and isinstance(self.other, Record):
            return self.mismatch(node, report)
        if isinstance(node, Scalar) and get_close_matches(node.text[:64], (self.word,), 1):
            report.fault(node, f"{shown(node.text)} is not {self.wanted}", f"did you mean {self.word}?")
            return INVALID
        return self.other.read(node, report)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {"anyOf": [{"const": self.word}, self.other.schema(definitions)]}

    def show(self, value: Any) -> Any:
        return self.word if value == self.value else self.other.show(value)


# --- mappings -------------------------------------------------------------------------------


@frozen
class Field:
    """A key of a :class:`Record`.

    :ivar description: for editors; one or two sentences.
    :ivar default: :data:`REQUIRED`, ``None`` for a key whose absence has a meaning that no value of
        its own can express, or the value that is used without it.
    :ivar attribute: what the model calls it.
    :ivar missing: the remedy for a required key that is missing, where its name does not say enough.
    """

    key: str
    shape: Shape
    description: str
    default: Any = None
    attribute: str = ""
    missing: str = ""


@define(weakref_slot=False)
class Section:
    """A mapping that was read by a :class:`Record`; keys that were at fault count as not given."""

    node: Mapping
    values: dict[str, Any] = field(factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, default: Any = None) -> Any:
        """Give a key's value, or ``default`` if it was not given or is at fault."""
        return self.values.get(key, default)

    def items(self, key: str) -> tuple[Item[Any], ...]:
        """Give the elements of a list, none if it was not given or is at fault."""
        elements: tuple[Item[Any], ...] = self.values.get(key, ())
        return elements

    def at(self, key: str) -> Node:
        """Give the place of a key's value, or of the mapping where there is no such key."""
        return self.node.values.get(key, self.node)


@frozen
class Record(Shape):
    """A mapping with known keys; read as a :class:`Section`.

    :ivar name: refers to the schema by this name; empty puts it where it stands.
    :ivar check: judges what the fields cannot judge each by itself.
    :ivar rules: ``check`` in JSON Schema, as far as JSON Schema can say it.
    """

    fields: tuple[Field, ...]
    name: str = ""
    description: str = ""
    check: Callable[[Section, Report], None] | None = None
    rules: Schema = field(factory=dict)
    wanted: str = "a mapping"
    _shapes: dict[str, Shape] = field(init=False)
    _settable: dict[str, str] = field(init=False)
    _required: tuple[Field, ...] = field(init=False)

    @_shapes.default
    def _index(self) -> dict[str, Shape]:
        return {entry.key: entry.shape for entry in self.fields}

    @_settable.default
    def _set(self) -> dict[str, str]:
        return {entry.key: entry.attribute for entry in self.fields if entry.attribute}

    @_required.default
    def _demanded(self) -> tuple[Field, ...]:
        return tuple(entry for entry in self.fields if entry.default is REQUIRED)

    def read(self, node: Node, report: Report) -> Section | Invalid:
        if not isinstance(node, Mapping):
            return self.mismatch(node, report)
        shapes = self._shapes
        values: dict[str, Any] = {}
        for key, value_node in node.values.items():
            shape = shapes.get(key)
            if shape is None:
                report.fault(node.key(key), "is no known key", did_you_mean(key, list(shapes)))
                continue
            value = shape.read(value_node, report)
            if value is not INVALID:
                values[key] = value
        section = Section(node, values)
        for entry in self._required:
            if entry.key not in node.values:
                report.fault(node, f"has no {entry.key}", entry.missing or f"give {entry.key}: {entry.shape.wanted}")
        if self.check is not None:
            self.check(section, report)
        return section

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        if self.name:
            if self.name not in definitions:
                definitions[self.name] = {}  # entered first: a record may hold itself
                definitions[self.name] = self._schema(definitions)
            return {"$ref": f"#/$defs/{self.name}"}
        return self._schema(definitions)

    def _schema(self, definitions: dict[str, Schema]) -> Schema:
        properties: Schema = {}
        for entry in self.fields:
            properties[entry.key] = {**entry.shape.schema(definitions), "description": entry.description}
            if entry.default is not REQUIRED and entry.default is not None:
                properties[entry.key]["default"] = entry.shape.show(entry.default)
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if self.description:
            schema["description"] = self.description
        required = [entry.key for entry in self.fields if entry.default is REQUIRED]
        if required:
            schema["required"] = required
        return {**schema, **self.rules}

    def settings(self, section: Section | None, base: A) -> A:
        """Give a model object with what a section sets and the rest as in ``base``.

        Each field's ``attribute`` names what it sets; fields without one are left to the caller.
        """
        if section is None or self._settable.keys().isdisjoint(section.values):
            return base
        return cast(A, evolve(cast(Any, base), **self.given(section)))

    def given(self, section: Section) -> dict[str, Any]:
        """Give what a section sets, by attribute; see :meth:`settings`."""
        settable = self._settable
        return {settable[key]: _plain(value) for key, value in section.values.items() if key in settable}


def _plain(value: Any) -> Any:
    """Give a list's values without their places."""
    return tuple(item.value for item in value) if isinstance(value, tuple) else value


@frozen
class Alternatives(Shape):
    """A mapping with exactly one of several keys; read as ``(key, value)``."""

    fields: tuple[Field, ...]
    wanted: str = "a mapping with one key"

    def read(self, node: Node, report: Report) -> tuple[str, Any] | Invalid:
        keys = [entry.key for entry in self.fields]
        if not isinstance(node, Mapping):
            return self.mismatch(node, report)
        for key in node.values:
            if key not in keys:
                report.fault(node.key(key), "is no known key", did_you_mean(key, keys))
                return INVALID
        if len(node.values) != 1:
            report.fault(node, f"has {len(node.values)} keys", f"give exactly one of {', '.join(keys)}")
            return INVALID
        ((key, value_node),) = node.values.items()
        value = next(entry for entry in self.fields if entry.key == key).shape.read(value_node, report)
        return INVALID if value is INVALID else (key, value)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {
            "type": "object",
            "properties": {
                entry.key: {**entry.shape.schema(definitions), "description": entry.description}
                for entry in self.fields
            },
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        }


@frozen
class Entries(Shape):
    """A mapping with keys of the operator's choice; read as a tuple of ``(key's place, key, value)``."""

    key: Shape
    value: Shape
    min_items: int = 1
    wanted: str = "a mapping"

    def read(self, node: Node, report: Report) -> tuple[tuple[Node, Any, Any], ...] | Invalid:
        if not isinstance(node, Mapping):
            return self.mismatch(node, report)
        if len(node.values) < self.min_items:
            report.fault(node, "is an empty mapping", f"give {self.min_items} or more")
            return INVALID
        return tuple(self._entries(node, report))

    def _entries(self, node: Mapping, report: Report) -> Iterator[tuple[Node, Any, Any]]:
        for name, value_node in node.values.items():
            place = node.key(name)
            key = self.key.read(place, report)
            value = self.value.read(value_node, report)
            if key is not INVALID and value is not INVALID:
                yield place, key, value

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return {
            "type": "object",
            "propertyNames": self.key.schema(definitions),
            "additionalProperties": self.value.schema(definitions),
            "minProperties": self.min_items,
        }
