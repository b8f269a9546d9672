"""The lines of plainly written YAML, each looked at by itself: :mod:`edgegw.config.plain_yaml` puts them together.

Programs write the same lines again and again (``matches:``, ``- upstream: app``).  A line is taken apart when it is met
for the first time, and not again as long as it is remembered.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as MappingABC
from sys import intern
from typing import Any, Final, Union

from attrs import define

from edgegw.config.core_schema import UNTYPED, core_type
from edgegw.config.nodes import KeyPlaces, Mapping, Node, Scalar, ScalarType, Sequence, Within, path_of
from edgegw.config.variables import VariableError, expand

__all__ = ["END", "FoundKeys", "KnownLines", "Line", "NotPlain", "lines"]

#: Levels of nesting of flow collections; what has more is not plain.
_MAX_DEPTH: Final = 32
#: Lines that are remembered, and how many characters of a text are split into lines at a time.
_MOST_REMEMBERED: Final = 4096
_SPLIT: Final = 65_536

#: Every repetition is possessive: no text makes an expression look twice.
_KEY: Final = r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}+"
#: A value without quotes in which no sign can mean anything else, in a block and in a flow collection.
_PLAIN: Final = r"[A-Za-z0-9_./$](?:[^\s:#]|:(?=[^\s])|#| ++(?=[^\s:#]))*+"
_PLAIN_IN_FLOW: Final = r"[A-Za-z0-9_./](?:[^\s:#,\[\]{}]|:(?=[^\s,\[\]{}])|#| ++(?=[^\s:#,\[\]{}]))*+"
_QUOTED: Final = r"\"([^\"\\\n]*+)\"|'([^'\n]*+)'"
_END: Final = r" *+(?:(?<= )#[^\n]*+)?+"

#: Indentation, the sign of a list's element, a key, and a value without quotes or in them, or the beginning of a flow
#: collection.
_LINE: Final = re.compile(
    rf"( *+)(?:- ++(?=[^\s#]))?+()(?:({_KEY}):(?: ++(?=[^\s#])|(?= |\Z)))?+"
    rf"(?:(?:({_PLAIN})|{_QUOTED}|){_END}\Z|([\[{{]))"
)
_NOTHING: Final = re.compile(r" *+(?:#[^\n]*+)?+\Z")
#: In a flow collection: a key, a value or the beginning of another collection, and what follows a value.
_FLOW_VALUE: Final = re.compile(rf" *+(?:({_KEY}): ++)?+(?:({_PLAIN_IN_FLOW})|{_QUOTED}|([\[{{])) *+([,\]}}]?)")
_FLOW_NEXT: Final = re.compile(r" *+([,\]}])")
_FLOW_END: Final = re.compile(_END + r"\Z")

#: Where a line begins, where it goes on behind the sign of a list's element (the same without one), and its key.  Then
#: the column, text and type of a value that is taken as it stands, or any other value, or neither.  Columns count from
#: 0, but those of values from 1.
Line = tuple[int, int, Union[str, None], int, str, Union[ScalarType, None], Union["_Value", None]]
#: Lines by how they are written.
KnownLines = dict[str, Line]
#: Takes the places of keys by the paths of their values.
FoundKeys = dict[str, tuple[int, int]]

#: Comes after the last line.
END: Final[Line] = (-1, -1, None, 0, "", None, None)
# A member of an enumeration by its class costs several times as much as a global.
_TEXT: Final = ScalarType.TEXT
#: A line that says nothing.
_EMPTY: Final[Any] = ()


class NotPlain(Exception):
    """The text is something that is not read here."""


def lines(
    text: str, environ: MappingABC[str, str] | None, above: int = 0, known: KnownLines | None = None
) -> Iterator[tuple[int, Line]]:
    """Give the lines that say something with their numbers, and :data:`END` for ever.

    :param environ: for ``${VAR}``; see :func:`edgegw.config.variables.expand`.  ``None`` leaves it as it stands.
    :param above: how many lines of the file stand above the text.
    :param known: lines that were met in other texts, with the same ``environ``.
    :raises NotPlain: there is one that could mean anything else.
    """
    known = {} if known is None else known
    number, start = above, 0
    while start <= len(text):
        end = text.find("\n", start + _SPLIT)
        end = len(text) if end < 0 else end
        for source in text[start:end].split("\n"):
            number += 1
            line = known.get(source)
            if line is None:
                line = _line(source, environ)
                if len(known) >= _MOST_REMEMBERED:
                    known.clear()
                known[source] = line
            if line:
                yield number, line
        start = end + 1
    while True:
        yield number, END


def _line(source: str, environ: MappingABC[str, str] | None) -> Line:
    found = _LINE.match(source)
    if found is None:
        return _nothing(source)
    indent, _, key, plain, double, single, opening = found.groups()
    start, begin = len(indent), found.start(2)
    if key is not None:
        key = intern(key)
    if plain is not None and plain[0] in UNTYPED and "$" not in plain:
        return start, begin, key, found.start(4) + 1, intern(plain), _TEXT, None
    value: _Value | None = None
    if plain is not None:
        value = _scalar(plain, found.start(4) + 1, environ, True)
    elif opening is not None:
        value, position = _flow(source, found.end(), environ, 0)
        if not _FLOW_END.match(source, position):
            raise NotPlain
    elif double is not None:
        value = _scalar(double, found.start(5), environ, False)
    elif single is not None:
        value = _scalar(single, found.start(6), environ, False)
    elif key is None:
        return _nothing(source)
    if isinstance(value, _Scalar) and not value.expanded:
        return start, begin, key, value.column, value.text, value.type, None
    return start, begin, key, 0, "", None, value


def _nothing(source: str) -> Line:
    if _NOTHING.match(source):
        return _EMPTY  # type: ignore[no-any-return]  # stands for a line that says nothing
    raise NotPlain


# --- values ---------------------------------------------------------------------------------


@define(eq=False)
class _Scalar:
    """A value, wherever its line stands."""

    column: int
    text: str
    type: ScalarType
    expanded: bool = False

    def node(self, within: Within, number: int, places: KeyPlaces, found: FoundKeys | None) -> Node:
        """Make a node of it for one line.

        :param within: see :class:`edgegw.config.nodes.Scalar`.
        :param number: the line's.
        :param found: takes the places of its keys.
        """
        return Scalar(within, number, self.column, self.text, self.type, self.expanded)


@define(eq=False)
class _Sequence:
    """A list in brackets."""

    column: int
    items: list[_Value]

    def node(self, within: Within, number: int, places: KeyPlaces, found: FoundKeys | None) -> Node:
        """See :meth:`_Scalar.node`."""
        items = [item.node((within, index), number, places, found) for index, item in enumerate(self.items)]
        return Sequence(within, number, self.column, items)


@define(eq=False)
class _Mapping:
    """A mapping in braces: values, and the columns of their keys."""

    column: int
    values: dict[str, _Value]
    columns: dict[str, int]

    def node(self, within: Within, number: int, places: KeyPlaces, found: FoundKeys | None) -> Node:
        """See :meth:`_Scalar.node`."""
        if found is not None:
            found.update((path_of((within, key)), (number, column)) for key, column in self.columns.items())
        values = {key: value.node((within, key), number, places, found) for key, value in self.values.items()}
        return Mapping(within, number, self.column, places, values)


_Value = Union[_Scalar, _Sequence, _Mapping]


def _scalar(text: str, column: int, environ: MappingABC[str, str] | None, plain: bool) -> _Scalar:
    if environ is not None and "${" in text:
        try:
            return _Scalar(column, expand(text, environ), ScalarType.TEXT, True)
        except VariableError:
            raise NotPlain from None
    # Programs write the same texts again and again.
    type_ = ScalarType.TEXT if not plain or text[0] in UNTYPED else core_type(text)
    return _Scalar(column, intern(text), type_)


def _flow(source: str, position: int, environ: MappingABC[str, str] | None, depth: int) -> tuple[_Value, int]:
    """Read a flow collection; gives where it has ended.

    :param position: behind the collection's first bracket.
    """
    if depth > _MAX_DEPTH:
        raise NotPlain
    is_list, column = source[position - 1] == "[", position
    closing = "]" if is_list else "}"
    items: list[_Value] = []
    values: dict[str, _Value] = {}
    columns: dict[str, int] = {}
    collection: _Value = _Sequence(column, items) if is_list else _Mapping(column, values, columns)
    following = _FLOW_NEXT.match(source, position)
    if following is not None and following[1] == closing:
        return collection, following.end()
    while True:
        found = _FLOW_VALUE.match(source, position)
        if found is None:
            raise NotPlain
        key, plain, double, single, opening, sign = found.groups()
        if (key is None) is not is_list or key in values:
            raise NotPlain
        position = found.end()
        value: _Value
        if plain is not None:
            value = _scalar(plain, found.start(2) + 1, environ, True)
        elif opening is not None:
            value, position = _flow(source, found.start(5) + 1, environ, depth + 1)
            following = _FLOW_NEXT.match(source, position)
            if following is None:
                raise NotPlain
            position, sign = following.end(), following[1]
        elif double is not None:
            value = _scalar(double, found.start(3), environ, False)
        else:
            value = _scalar(single, found.start(4), environ, False)
        if is_list:
            items.append(value)
        else:
            key = intern(key)
            values[key] = value
            columns[key] = found.start(1) + 1
        if sign == closing:
            return collection, position
        if sign != ",":
            raise NotPlain
