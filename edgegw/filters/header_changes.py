"""Changes to header lines (Gateway API ``HTTPHeaderFilter``)."""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgegw.model import HeaderModifier

__all__ = ["Field", "HeaderChange", "changed_block", "field"]

#: A header line: lower-case name, value, the line with its CRLF.
Field = tuple[bytes, bytes, bytes]

#: What stands between values of one header; a comma everywhere else, and nothing joins Set-Cookie (RFC 9110 §5.3).
_SEPARATORS = {b"cookie": b"; "}
_ALONE = frozenset({b"set-cookie"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAMING = frozenset({
    "connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade",
})
_FIELD = re.compile(rb"(([^:]++):[ \t]*+([^\r]*+)\r\n)")


def field(name: bytes, value: bytes) -> Field:
    """Make a header line."""
    return name, value, b"%b: %b\r\n" % (name, value)


class HeaderChange:
    """One modifier, or several one after the other, ready to be applied.

    :ivar gone: names that a peer can say nothing under, in a trailer either.
    :raises ValueError: from the constructor, for a name that frames messages, or a name or value that cannot stand in
        a header line.  Which names tell who is calling is for whoever configures them to know.
    """

    __slots__ = ("_steps", "gone")

    def __init__(self, *modifiers: HeaderModifier) -> None:
        for one in modifiers:
            _check(one)
        self._steps = [
            (
                frozenset(
                    name.encode("ascii") for name in (*(name for name, _ in one.set), *one.remove)
                ),
                [field(name.encode("ascii"), value.encode("latin-1")) for name, value in one.set],
                [(name.encode("ascii"), value.encode("latin-1")) for name, value in one.add],
            )
            for one in modifiers
        ]
        self.gone = frozenset(name for replaced, _, _ in self._steps for name in replaced)

    def apply(self, fields: Iterable[Field]) -> list[Field]:
        """Give the lines as they are to be."""
        lines = list(fields)
        for replaced, given, added in self._steps:
            if replaced:
                lines = [line for line in lines if line[0] not in replaced]
                lines += given
            for name, value in added:
                _add(lines, name, value)
        return lines

    def trailers(self, fields: Sequence[Field]) -> list[Field]:
        """Give the trailers that may follow: none that is set or taken out above."""
        return [one for one in fields if one[0] not in self.gone]


def _check(modifier: HeaderModifier) -> None:
    for name, value in (*modifier.set, *modifier.add, *((name, "") for name in modifier.remove)):
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name in _FRAMING:
            raise ValueError(f"the header {name!r} cannot be changed to {value!r}")


def _add(lines: list[Field], name: bytes, value: bytes) -> None:
    if name not in _ALONE:
        for place in range(len(lines) - 1, -1, -1):
            if lines[place][0] == name:
                before = lines[place][1]
                joined = before + _SEPARATORS.get(name, b",") + value if before else value
                lines[place] = field(name, joined)
                return
    lines.append(field(name, value))


def changed_block(block: bytes, change: HeaderChange) -> bytes:
    """Apply a change to header lines that stand in one piece, with the empty line that ends them.

    :param block: lines that have matched the grammar, or were written by the gateway.
    """
    fields = [(name.lower(), value.rstrip(b" \t"), line) for line, name, value in _FIELD.findall(block)]
    return b"".join(line for _, _, line in change.apply(fields)) + b"\r\n"
