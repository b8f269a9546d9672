"""Plainly written YAML → :mod:`edgegw.config.nodes`, several times as fast as by way of libyaml.

Most configurations, and above all the large ones that programs write, are nothing but block mappings and lists, values
and flow collections of one line, and comments.  That is read here, line by line.  Whatever is anything else (anchors,
aliases, tags, block scalars, escapes, values of several lines, a key given twice, a fault of any kind) is not judged
here at all: there is :class:`NotPlain`, and :mod:`edgegw.config.reader` reads the text by libyaml.
"""
from __future__ import annotations

import re
from collections.abc import Mapping as MappingABC
from sys import intern
from typing import Any, Final

from edgegw.config.core_schema import UNTYPED, core_type
from edgegw.config.nodes import KeyPlaces, Mapping, Node, Scalar, ScalarType, Sequence, Within, path_of
from edgegw.config.variables import VariableError, expand

__all__ = ["NotPlain", "read_plain"]

#: Levels of nesting; what has more is not plain.
_MAX_DEPTH: Final = 32

#: Every repetition is possessive: no text makes an expression look twice.
_KEY: Final = r"[A-Za-z_][A-Za-z0-9_.\-]{0,99}+"
#: A value without quotes in which no sign can mean anything else, in a block and in a flow collection.
_PLAIN: Final = r"[A-Za-z0-9_./$](?:[^\s:#]|:(?=[^\s])|#| ++(?=[^\s:#]))*+"
_PLAIN_IN_FLOW: Final = r"[A-Za-z0-9_./](?:[^\s:#,\[\]{}]|:(?=[^\s,\[\]{}])|#| ++(?=[^\s:#,\[\]{}]))*+"
_QUOTED: Final = r"\"([^\"\\\n]*+)\"|'([^'\n]*+)'"
_END: Final = r" *+(?:(?<= )#[^\n]*+)?+\n"

#: Lines that say nothing, and then one that does: indentation, signs of list elements, a key, and a value without
#: quotes or in them, or the beginning of a flow collection.
_LINE: Final = re.compile(
    rf"(?: *+(?:#[^\n]*+)?+\n)*+( *+)((?:- ++(?=[^\s#]))*+)(?:({_KEY}):(?: ++(?=[^\s#])|(?=[ \n])))?+"
    rf"(?:(?:({_PLAIN})|{_QUOTED}|){_END}|([\[{{])|\Z)"
)
_FLOW_KEY: Final = re.compile(rf" *+({_KEY}): ++")
_FLOW_VALUE: Final = re.compile(rf" *+(?:({_PLAIN_IN_FLOW})|{_QUOTED}|([\[{{]))")
_FLOW_NEXT: Final = re.compile(r" *+([,\]}])")
_FLOW_END: Final = re.compile(_END)
#: What ends a line or is a space for YAML or for Python only.
_ODD: Final = ("\t", "\r", "\x85", "\u2028", "\u2029", "\ufeff")
#: Stands for the values of a list.
_NO_MAPPING: Final[Any] = {}


class NotPlain(Exception):
    """The text is something that :func:`read_plain` does not read."""


def read_plain(text: str, environ: MappingABC[str, str]) -> Mapping:
    """Read a document that is a mapping.

    :param text: without characters that YAML does not allow.
    :param environ: for ``${VAR}``; see :func:`edgegw.config.variables.expand`.
    :raises NotPlain: it is written in some other way than this module reads, or has faults.
    """
    if any(odd in text for odd in _ODD):
        raise NotPlain
    if not text.endswith("\n"):
        text += "\n"
    return _Lines(text, environ, _KeyPlaces(text, environ)).read()


class _KeyPlaces:
    """Finds the places of keys, which only faults need, by reading a text once more when the first one is asked for."""

    def __init__(self, text: str, environ: MappingABC[str, str]) -> None:
        self._text = text
        self._environ = environ
        self._found: dict[str, tuple[int, int]] | None = None

    def find(self, path: str) -> tuple[int, int]:
        """See :class:`edgegw.config.nodes.KeyPlaces`."""
        if self._found is None:
            found: dict[str, tuple[int, int]] = {}
            _Lines(self._text, self._environ, self, found).read()
            self._found = found
        return self._found[path]


class _Lines:
    """Reads one text, which ends with a line.

    :param found: takes the places of keys by the paths of their values.
    """

    def __init__(
        self,
        text: str,
        environ: MappingABC[str, str],
        places: KeyPlaces,
        found: dict[str, tuple[int, int]] | None = None,
    ) -> None:
        self._text = text
        self._environ = environ
        self._places = places
        self._found = found

    def read(self) -> Mapping:
        """Read all of it.

        Every line of a large document comes by here: the block collection that a line belongs to is in local
        variables, and those that it stands in are on a stack.
        """
        text, match_line, scalar = self._text, _LINE.match, self._scalar
        places, found_keys = self._places, self._found
        values: Any
        items: list[Node]
        within: Within
        # Each block: its column, what its members stand in, the values of a mapping, the elements of a list.
        stack: list[tuple[int, Within, Any, list[Node]]] = []
        here, within, values, items = 0, "", {}, []
        root = values
        first = 0
        # The key whose value the next line must begin, if there is one.
        waiting: str | None = None
        position, line = 0, 0
        while True:
            found = match_line(text, position)
            if found is None:
                raise NotPlain
            indent, signs, key, plain, double, single, opening = found.groups()
            start = found.start(1)
            line += 1
            if start != position:
                line += text.count("\n", position, start)
            position = found.end()
            column = len(indent)
            if not first:
                first = line
            if waiting is not None:
                # A list may stand as far left as the key that it belongs to.
                if column < here or (column == here and not signs) or (key is None and not signs):
                    raise NotPlain
                stack.append((here, within, values, items))
                if len(stack) > _MAX_DEPTH:
                    raise NotPlain
                within = within, waiting
                here = column
                if signs:
                    items = []
                    values[waiting] = Sequence(within, line, column + 1, items)
                    values = _NO_MAPPING
                else:
                    outer, values = values, {}
                    outer[waiting] = Mapping(within, line, column + 1, places, values)
                waiting = None
            elif column != here or signs or values is _NO_MAPPING:
                if position == start:
                    break
                while here > column:
                    here, within, values, items = stack.pop()
                if values is _NO_MAPPING and not signs and here == column:
                    here, within, values, items = stack.pop()
                if here != column or (values is _NO_MAPPING) is not bool(signs):
                    raise NotPlain
            if signs:
                step: str | int = len(items)
                width = 2
                while signs[width : width + 1] == " ":
                    width += 1
                if len(signs) > width:
                    raise NotPlain
                column += width
                if key is not None:
                    stack.append((here, within, values, items))
                    within = within, step
                    here = column
                    values = {}
                    items.append(Mapping(within, line, column + 1, places, values))
                    step = key
            elif key is None:
                if position != start:
                    raise NotPlain
                break
            elif key in values:
                raise NotPlain
            else:
                step = key
            if found_keys is not None and key is not None:
                found_keys[path_of((within, key))] = line, column + 1
            node: Node
            if plain is not None:
                column = found.start(4) - start + 1
                if plain[0] in UNTYPED and "$" not in plain:
                    # Programs write the same texts again and again.
                    node = Scalar((within, step), line, column, intern(plain))
                else:
                    node = scalar((within, step), line, column, plain, True)
            elif opening is not None:
                node, position = self._flow((within, step), line, start, position, 0)
                end = _FLOW_END.match(text, position)
                if end is None:
                    raise NotPlain
                position = end.end()
            elif double is not None:
                node = scalar((within, step), line, found.start(5) - start, double, False)
            elif single is not None:
                node = scalar((within, step), line, found.start(6) - start, single, False)
            elif key is not None:
                waiting = key
                continue
            else:
                raise NotPlain
            if key is None:
                items.append(node)
            else:
                values[key] = node
        if not root:
            raise NotPlain
        return Mapping("", first, 1, places, root)

    def _flow(self, within: Within, line: int, start: int, position: int, depth: int) -> tuple[Node, int]:
        """Read a flow collection; gives where it has ended.

        :param start: of the line.
        :param position: behind the collection's first bracket.
        """
        if depth > _MAX_DEPTH:
            raise NotPlain
        text = self._text
        is_list = text[position - 1] == "["
        column = position - start
        items: list[Node] = []
        values: dict[str, Node] = {}
        collection: Any = (
            Sequence(within, line, column, items) if is_list else Mapping(within, line, column, self._places, values)
        )
        closing = "]" if is_list else "}"
        following = _FLOW_NEXT.match(text, position)
        if following is not None and following[1] == closing:
            return collection, following.end()
        while True:
            step: str | int = len(items)
            if not is_list:
                named = _FLOW_KEY.match(text, position)
                if named is None:
                    raise NotPlain
                step = named[1]
                if step in values:
                    raise NotPlain
                if self._found is not None:
                    self._found[path_of((within, step))] = line, named.start(1) - start + 1
                position = named.end()
            found = _FLOW_VALUE.match(text, position)
            if found is None:
                raise NotPlain
            plain, double, single, opening = found.groups()
            position = found.end()
            node: Node
            if plain is not None:
                column = found.start(1) - start + 1
                if plain[0] in UNTYPED and "$" not in plain:
                    node = Scalar((within, step), line, column, intern(plain))
                else:
                    node = self._scalar((within, step), line, column, plain, True)
            elif opening is not None:
                node, position = self._flow((within, step), line, start, position, depth + 1)
            elif double is not None:
                node = self._scalar((within, step), line, found.start(2) - start, double, False)
            else:
                node = self._scalar((within, step), line, found.start(3) - start, single, False)
            if is_list:
                items.append(node)
            else:
                values[step] = node  # type: ignore[index]  # a mapping's steps are its keys
            following = _FLOW_NEXT.match(text, position)
            if following is None:
                raise NotPlain
            position = following.end()
            if following[1] == closing:
                return collection, position
            if following[1] != ",":
                raise NotPlain

    def _scalar(self, within: Within, line: int, column: int, text: str, plain: bool) -> Scalar:
        if "${" in text:
            try:
                return Scalar(within, line, column, expand(text, self._environ), ScalarType.TEXT, True)
            except VariableError:
                raise NotPlain from None
        return Scalar(within, line, column, text, core_type(text) if plain else ScalarType.TEXT)
