"""A plugin's options class as the shape of a document.

Rules, faults and JSON Schema come from the types and :func:`edgegw.kinds.option.option` of an attrs class,
so that a plugin's options are judged, and explained in an editor, as every other key is.
"""
from __future__ import annotations

from collections.abc import Mapping as MappingABC
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from edgegw.config.document_terms import FILE
from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping, Node, Scalar
from edgegw.config.scalars import Boolean, Choice, Duration, Integer, Number, Size, Text, Words
from edgegw.config.shapes import (
    INVALID,
    REQUIRED,
    Entries,
    Field,
    Invalid,
    Item,
    ListOf,
    Record,
    Schema,
    Section,
    Shape,
)
from edgegw.kinds import option

__all__ = ["Options", "no_options", "options_of", "report_raised"]

_LARGEST: Final = 2**63 - 1
_LONGEST: Final = 366 * 24 * 3600.0
_SIMPLE: Final = (str, int, float, bool)


@frozen
class _File(Shape):
    """A path, read as absolute."""

    directory: str
    wanted: str = "the path of a file"

    def read(self, node: Node, report: Report) -> Any:
        path = FILE.read(node, report)
        return path if isinstance(path, Invalid) else str(Path(self.directory) / path)

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        return FILE.schema(definitions)


@frozen(eq=False)
class Options(Shape):
    """A mapping that an instance of an options class is made of; read as that instance.

    :ivar shorthand: the option that a value alone, in place of the mapping, stands for; the class names it as
        ``shorthand: ClassVar[str]``.
    :raises TypeError: from :func:`options_of`, for a field whose type has no shape.
    """

    config_type: type[Any]
    record: Record
    shorthand: str = ""
    wanted: str = "a mapping with the plugin's options"

    def read(self, node: Node, report: Report) -> Any:
        if self.shorthand and isinstance(node, Scalar):
            position = (node.line, node.column)
            node = Mapping(node.path, *position, {self.shorthand: position}, {self.shorthand: node})
        before = report.faults
        section = self.record.read(node, report)
        if not isinstance(section, Section):
            return INVALID
        values = {field.key: self._value(field, section) for field in self.record.fields if field.key in section}
        self._judge(section, values, report)
        if report.faults > before:
            # Also where a list is only shorter than it was meant to be.
            return INVALID
        return self._make(section, values, report)

    @staticmethod
    def _value(field: Field, section: Section) -> Any:
        value = section.get(field.key)
        return {} if value == () and isinstance(field.shape, Entries) else _plain(value)

    def _judge(self, section: Section, values: dict[str, Any], report: Report) -> None:
        """Have each field's own conversion and checks judge its value, where the value stands."""
        for attribute in attrs.fields(self.config_type):
            key = attribute.alias
            if key not in values:
                continue
            try:
                value = attribute.converter(values[key]) if attribute.converter is not None else values[key]
                if attribute.validator is not None:
                    attribute.validator(None, attribute, value)
            except Exception as error:
                report_raised(report, section.at(key), error)

    def _make(self, section: Section, values: dict[str, Any], report: Report) -> Any:
        try:
            return self.config_type(**values)
        except Exception as error:
            report_raised(report, section.node, error)
            return INVALID

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        schema = self.record.schema(definitions)
        if not self.shorthand:
            return schema
        alone = next(field.shape for field in self.record.fields if field.key == self.shorthand)
        return {"anyOf": [alone.schema(definitions), schema]}


def report_raised(report: Report, node: Node, error: BaseException) -> None:
    """Report what a plugin's own code said of a value: ``what is wrong; what would be right``."""
    told = isinstance(error, (ValueError, OSError))
    text = str(error) if told else f"{type(error).__name__}: {error}"
    problem, _, remedy = text.partition("; ")
    report.fault(node, problem or "is not usable", remedy)


def _plain(value: Any) -> Any:
    """Give a value without the places of its parts."""
    if isinstance(value, tuple):
        if value and isinstance(value[0], Item):
            return tuple(_plain(item.value) for item in value)
        if value and isinstance(value[0], tuple):
            return {key: _plain(part) for _, key, part in value}
    return value


@lru_cache(maxsize=1024)
def options_of(config_type: type[Any], directory: str = "") -> Options:
    """Give the shape of an options class.

    :param directory: what relative paths in it start from.
    :raises TypeError: it is no attrs class, or a field's type has no shape; the text names both.
    """
    if not attrs.has(config_type):
        raise TypeError(f"{config_type!r} is no attrs class")
    hints = get_type_hints(config_type)
    fields = tuple(
        _field(attribute, hints.get(attribute.name, attribute.type), config_type, directory)
        for attribute in attrs.fields(config_type)
        if attribute.init
    )
    return Options(config_type, Record(fields), getattr(config_type, "shorthand", ""))


def _field(attribute: Any, hint: Any, config_type: type[Any], directory: str) -> Field:
    where = f"{config_type.__name__}.{attribute.alias}"
    shape = _shape(hint, attribute.metadata, where, directory)
    default = attribute.default
    if default is attrs.NOTHING:
        default = REQUIRED
    elif isinstance(default, tuple):
        default = default if all(isinstance(one, _SIMPLE) for one in default) and default else None
        default = None if default is None else tuple(default)
    elif not isinstance(default, (*_SIMPLE, Enum)):
        default = None
    return Field(attribute.alias, shape, attribute.metadata.get("doc", ""), default, attribute.name)


def _shape(hint: Any, metadata: MappingABC[str, Any], where: str, directory: str) -> Shape:
    """Give the shape of a type.

    :raises TypeError: it has none.
    """
    lowest, highest = metadata.get("minimum"), metadata.get("maximum")
    if hint is option.Duration:
        longest = _LONGEST if highest is None else float(highest)
        return Duration(zero=not lowest, maximum=longest, minimum=float(lowest or 0.0))
    if hint is option.Size:
        return Size(int(lowest or 0), _LARGEST if highest is None else int(highest))
    if hint is option.FilePath:
        return _File(directory)
    if hint is str:
        return Text()
    if hint is bool:
        return Boolean()
    if hint is int:
        return Integer(-_LARGEST if lowest is None else int(lowest), _LARGEST if highest is None else int(highest))
    if hint is float:
        return Number(lowest, highest)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal and all(isinstance(word, str) for word in arguments):
        return Words(arguments)
    if origin in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments:
        (wanted,) = (one for one in arguments if one is not NoneType)
        return _shape(wanted, metadata, where, directory)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return ListOf(_shape(arguments[0], {}, where, directory), metadata.get("min_items", 0))
    if origin in (dict, MappingABC) and arguments[0] is str:
        return Entries(Text(), _shape(arguments[1], {}, where, directory), metadata.get("min_items", 0))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Choice(hint)
    if isinstance(hint, type) and attrs.has(hint):
        return options_of(hint, directory)
    raise TypeError(
        f"{where} has the type {hint!r}, which no configuration can give: use str, int, float, bool, an Enum, Literal, "
        "an attrs class, tuple[T, ...], Mapping[str, T], T | None, Duration, Size or FilePath"
    )


def no_options(node: Node, report: Report) -> bool:
    """Report a plugin's options where it takes none; whether there are none."""
    if isinstance(node, Mapping) and not node.values:
        return True
    report.fault(node, "takes no options", "write the name alone")
    return False
