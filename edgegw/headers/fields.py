"""Headers made of facts by templates: ``x-client: {spiffe_id}``, ``x-team: {attribute:team}``."""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from attrs import field, frozen
from zope.interface import implementer

from edgegw.certificate import printable
from edgegw.identity import FACTS, ConnectionInfo, fact
from edgegw.interfaces import IHeaderInjector
from edgegw.model import FieldHeaders

from .value import header_value

__all__ = ["FieldsInjector", "Template", "attribute", "parse_template"]

#: What a fact's name begins with that is an attribute which policies gave; the rest is the attribute's name.
_ATTRIBUTE = "attribute:"
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[^{}]+|[{}]")
_LITERAL = re.compile(r"[ -~]*")


@frozen
class Template:
    """A template, read.

    :ivar pieces: ``(is a fact, its name or text that stands for itself)``, in order.
    """

    pieces: tuple[tuple[bool, str], ...]

    def fill(self, info: ConnectionInfo) -> str:
        """Put the facts in; empty if there are facts in it and all of them are."""
        values = [_fact(info, text) if is_fact else text for is_fact, text in self.pieces]
        found = [value for (is_fact, _), value in zip(self.pieces, values, strict=True) if is_fact]
        if found and not any(found):
            return ""
        # Facts have no outer spaces: what is taken off was text of the template beside an empty one.
        return "".join(values).strip(" ")


def attribute(info: ConnectionInfo, name: str) -> str:
    """Give what policies said of the client under a name as text that is safe in a header, as facts are.

    Control characters, everything beyond ASCII, backslashes and outer spaces are ``\\XX`` for each byte of the UTF-8.
    Empty if no policy said anything.
    """
    value = info.attributes.get(name)
    return "" if value is None else printable(value.encode("utf-8", "backslashreplace"))


def _fact(info: ConnectionInfo, name: str) -> str:
    return attribute(info, name.removeprefix(_ATTRIBUTE)) if name.startswith(_ATTRIBUTE) else fact(info, name)


def parse_template(text: str) -> Template:
    """Read a template: ``{fact}`` stands for a fact, ``{{`` and ``}}`` for braces.

    ``{attribute:team}`` stands for the attribute ``team``, as :func:`attribute` writes it; names of attributes have
    letters, digits, ``_``, ``.`` and ``-``.

    :raises ValueError: a fact that there is not, a lone brace, an empty template, or text in it that
        is not printable ASCII or has spaces around it.
    """
    if not text or text != text.strip(" "):
        raise ValueError(f"template {text!r} is empty or has spaces around it")
    pieces: list[tuple[bool, str]] = []
    for match in _PIECE.finditer(text):
        piece, name = match[0], match[1]
        if name is not None:
            is_attribute = name.startswith(_ATTRIBUTE) and _ATTRIBUTE_NAME.fullmatch(name, len(_ATTRIBUTE)) is not None
            if name not in FACTS and not is_attribute:
                raise ValueError(f"template {text!r}: there is no fact {name!r}; there are {', '.join(FACTS)}")
            pieces.append((True, name))
        elif piece in ("{", "}"):
            raise ValueError(f"template {text!r}: a lone {piece}; a brace that stands for itself is doubled")
        elif not _LITERAL.fullmatch(piece):
            raise ValueError(f"template {text!r}: only printable ASCII may stand in a header")
        else:
            pieces.append((False, piece[0] if piece in ("{{", "}}") else piece))
    return Template(tuple(pieces))


@implementer(IHeaderInjector)
@frozen
class FieldsInjector:
    """Sends the headers of its templates, in their order.

    A header whose template has facts in it, all of them empty, is not sent at all.  Facts of a
    certificate are empty unless it was verified; :func:`edgegw.identity.fact` says how each is written, and
    :func:`attribute` how what policies said is.

    :raises ValueError: from the constructor, for a template that :func:`parse_template` refuses.
    """

    settings: FieldHeaders
    owned: frozenset[bytes] = field(init=False)
    owned_responses: frozenset[bytes] = field(init=False, default=frozenset())
    needs_chain: bool = field(init=False, default=False)
    per_request: bool = field(init=False, default=False)
    _templates: tuple[tuple[bytes, Template], ...] = field(init=False)

    @owned.default
    def _owned(self) -> frozenset[bytes]:
        return frozenset(name.encode("ascii") for name, _ in self.settings.headers)

    @_templates.default
    def _parsed(self) -> tuple[tuple[bytes, Template], ...]:
        return tuple((name.encode("ascii"), parse_template(text)) for name, text in self.settings.headers)

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the headers that have a value.

        :raises ValueTooLargeError: see :class:`edgegw.headers.value.ValueTooLargeError`.
        """
        filled = [(name, template.fill(connection)) for name, template in self._templates]
        return [(name, header_value(name, value)) for name, value in filled if value]
