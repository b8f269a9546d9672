"""Plainly written YAML → :mod:`edgegw.config.nodes`, several times as fast as by way of libyaml.

Most configurations, and above all the large ones that programs write, are nothing but block mappings and lists, values
and flow collections of one line, and comments.  That is read here, line by line.  Whatever is anything else (anchors,
aliases, tags, block scalars, escapes, values of several lines, a key given twice, a fault of any kind) is not judged
here at all: there is :class:`NotPlain`, and :mod:`edgegw.config.reader` reads the text by libyaml.
"""
from __future__ import annotations

from collections.abc import Mapping as MappingABC
from typing import Final

from edgegw.config.nodes import KeyPlaces, Mapping, Node, Scalar, Sequence, Within, path_of
from edgegw.config.plain_lines import END, FoundKeys, KnownLines, Line, NotPlain, lines

__all__ = ["KnownLines", "NotPlain", "read_plain"]

#: Levels of nesting; what has more is not plain.
_MAX_DEPTH: Final = 32
#: What ends a line or is a space for YAML or for Python only.
_ODD: Final = ("\t", "\r", "\x85", "\u2028", "\u2029", "\ufeff")


def read_plain(
    text: str, environ: MappingABC[str, str] | None, above: int = 0, known: KnownLines | None = None
) -> Mapping:
    """Read a document that is a mapping.

    :param text: without characters that YAML does not allow.
    :param environ: for ``${VAR}``; see :func:`edgegw.config.variables.expand`.  ``None`` leaves it as it stands.
    :param above: how many lines of the file stand above the text.
    :param known: lines that were met in other documents, with the same ``environ``.
    :raises NotPlain: it is written in some other way than this module reads, or has faults.
    """
    if any(odd in text for odd in _ODD):
        raise NotPlain
    return _Blocks(text, environ, _KeyPlaces(text, environ, above), above, known=known).document()


class _KeyPlaces:
    """Finds the places of keys, which only faults need, by reading a text once more when one is asked for."""

    def __init__(self, text: str, environ: MappingABC[str, str] | None, above: int) -> None:
        self._text = text
        self._environ = environ
        self._above = above
        self._found: FoundKeys | None = None

    def find(self, path: str) -> tuple[int, int]:
        """See :class:`edgegw.config.nodes.KeyPlaces`."""
        if self._found is None:
            found: FoundKeys = {}
            _Blocks(self._text, self._environ, self, self._above, found).document()
            self._found = found
        return self._found[path]


class _Blocks:
    """Puts the lines of a text together.

    A line that a collection does not take ends it, and is for one of those around it; one that nobody takes is left
    over at the document's end.

    :param found: takes the places of keys.
    """

    def __init__(
        self,
        text: str,
        environ: MappingABC[str, str] | None,
        places: KeyPlaces,
        above: int,
        found: FoundKeys | None = None,
        known: KnownLines | None = None,
    ) -> None:
        self._next = lines(text, environ, above, known).__next__
        self._places = places
        self._found = found

    def document(self) -> Mapping:
        """Read all of it."""
        number, line = self._next()
        if line[0] or line[1]:
            raise NotPlain
        root, _, line = self._mapping("", number, line, 0)
        if line is not END:
            raise NotPlain
        return root

    # Every line of a large document comes by one of the two loops.

    def _mapping(self, within: Within, number: int, line: Line, depth: int) -> tuple[Mapping, int, Line]:
        """Read a mapping; gives the line behind it as well.

        :param line: the first, which may begin with the sign of a list's element.
        """
        following, places, found = self._next, self._places, self._found
        _, here, key, column, text, type_, value = line
        values: dict[str, Node] = {}
        mapping = Mapping(within, number, here + 1, places, values)
        while True:
            if key is None or key in values:
                raise NotPlain
            if found is not None:
                found[path_of((within, key))] = number, here + 1
            if type_ is not None:
                values[key] = Scalar((within, key), number, column, text, type_)
                number, line = following()
            elif value is not None:
                values[key] = value.node((within, key), number, places, found)
                number, line = following()
            else:
                values[key], number, line = self._below((within, key), here, depth)
            indent, begin, key, column, text, type_, value = line
            if indent != here or begin != here:
                return mapping, number, line

    def _below(self, within: Within, here: int, depth: int) -> tuple[Node, int, Line]:
        """Read the block collection that is the value of a key.

        :param here: the key's column.
        """
        if depth >= _MAX_DEPTH:
            raise NotPlain
        number, line = self._next()
        # A list may stand as far left as the key that it belongs to.
        if line[0] != line[1] and line[0] >= here:
            return self._sequence(within, number, line, depth + 1)
        if line[0] == line[1] > here:
            return self._mapping(within, number, line, depth + 1)
        raise NotPlain

    def _sequence(self, within: Within, number: int, line: Line, depth: int) -> tuple[Sequence, int, Line]:
        """See :meth:`_mapping`."""
        following, places, found = self._next, self._places, self._found
        here = line[0]
        items: list[Node] = []
        sequence = Sequence(within, number, here + 1, items)
        while True:
            indent, begin, key, column, text, type_, value = line
            if indent != here or begin == here:
                return sequence, number, line
            item: Node
            if key is not None:
                item, number, line = self._mapping((within, len(items)), number, line, depth + 1)
                items.append(item)
                continue
            if type_ is not None:
                item = Scalar((within, len(items)), number, column, text, type_)
            elif value is not None:
                item = value.node((within, len(items)), number, places, found)
            else:
                raise NotPlain
            items.append(item)
            number, line = following()
