"""Distinguished names written as RFC 4514 has them, read and compared.

Two names are the same if they have the same relative names in the same order, each with the same attributes in any
order (RFC 5280 §7.1).  Values of attributes that are known by name are compared as OpenSSL compares a certificate's
issuer with its issuer's subject: the case of ASCII letters does not count, nor do outer spaces, and inner ones count
once.  Everything else does, characters beyond ASCII one by one, and every bit of attributes that are not known.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import NamedTuple

from edgegw.distinguished_name import ATTRIBUTE_NAMES
from edgegw.policies.details import shown
from edgegw.policies.object_identifiers import oid_bytes
from edgegw.policies.string_values import string_value
from edgegw.policies.text_matchers import fold

__all__ = [
    "MAX_NAME",
    "Attribute",
    "Name",
    "WrittenName",
    "attribute_type",
    "comparable",
    "comparable_value",
    "is_folded",
    "parse_name",
    "read_name",
]

#: Other names of attribute types that people write, in lower case, beside those that the gateway writes.
_ALIASES = {
    "commonname": "2.5.4.3",
    "surname": "2.5.4.4",
    "countryname": "2.5.4.6",
    "localityname": "2.5.4.7",
    "stateorprovincename": "2.5.4.8",
    "streetaddress": "2.5.4.9",
    "organizationname": "2.5.4.10",
    "organizationalunitname": "2.5.4.11",
    "givenname": "2.5.4.42",
    "organizationidentifier": "2.5.4.97",
    "userid": "0.9.2342.19200300.100.1.1",
    "domaincomponent": "0.9.2342.19200300.100.1.25",
    "e": "1.2.840.113549.1.9.1",
    "jurisdictionlocalityname": "1.3.6.1.4.1.311.60.2.1.1",
    "jurisdictionstateorprovincename": "1.3.6.1.4.1.311.60.2.1.2",
    "jurisdictioncountryname": "1.3.6.1.4.1.311.60.2.1.3",
}
_TYPES = {**{name.lower(): oid for oid, name in ATTRIBUTE_NAMES.items()}, **_ALIASES}
_FOLDED = frozenset(_TYPES.values())

_TYPE = re.compile(r" *(?:[Oo][Ii][Dd]\.)?([0-9]+(?:\.[0-9]+)+|[A-Za-z][A-Za-z0-9-]*) *= *")
_HEXADECIMAL = re.compile(r"#((?:[0-9A-Fa-f]{2})+) *")
_QUOTED = re.compile(r'"((?:[^"\\\x00]++|\\.)*+)" *')
_STRING = re.compile(r"(?:[^,+;\"<>\\\x00]++|\\(?:[ \"#+,;<=>\\]|[0-9A-Fa-f]{2}))*+")
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2}|.)", re.DOTALL)
_SPACES = re.compile(r"  +")

_EXAMPLE = "write it as RFC 4514 does, the most specific part first: CN=client,O=Acme,C=US"
#: Characters of a certificate's name that is remembered, parsed.
_LONGEST_REMEMBERED = 2048
#: Characters of a certificate's name that policies compare: real ones have some hundreds, and in a certificate of
#: 100 KB there is room for names that take a tenth of a second to be taken apart.
MAX_NAME = 8192


class Attribute(NamedTuple):
    """One type and value.

    :ivar oid: the type, with dots.
    :ivar value: text, or the DER of a value that is none.
    """

    oid: str
    value: str | bytes


#: Relative names, the most specific first, each with one attribute or more.
Name = tuple[tuple[Attribute, ...], ...]


class WrittenName(NamedTuple):
    """A certificate's name.

    :ivar comparable: the name as :func:`comparable` gives it.
    """

    name: Name
    comparable: Hashable


def attribute_type(text: str) -> str:
    """Give the object identifier of an attribute type, written by its name in any case or as numbers with dots.

    :raises ValueError: it is not known and no object identifier.
    """
    known = _TYPES.get(text.lower())
    if known is not None:
        return known
    try:
        oid_bytes(text)
    except ValueError:
        raise ValueError(
            f"{shown(text)!r} is no attribute type that is known here; write CN, O, OU, C or the like, or its OID"
        ) from None
    return text


def is_folded(oid: str) -> bool:
    """Whether values of a type are compared without regard to case and outer or repeated spaces."""
    return oid in _FOLDED


def comparable_value(text: str) -> str:
    """Give a value in the form in which values of known types are compared."""
    text = fold(text).strip(" ")
    return _SPACES.sub(" ", text) if "  " in text else text


def comparable(name: Name) -> Hashable:
    """Give a name in the form in which names are compared: equal for the same ones."""
    return tuple(tuple(sorted(map(_comparable_attribute, relative))) for relative in name)


def _comparable_attribute(attribute: Attribute) -> tuple[str, bool, str]:
    oid, value = attribute
    if isinstance(value, bytes):
        return oid, True, value.hex()
    return oid, False, comparable_value(value) if oid in _FOLDED else value


def read_name(text: str) -> WrittenName:
    """Read a name that the gateway has written, such as ``certificate.subject``.

    Nothing that is in a certificate makes it raise; the 512 last asked for are remembered, long ones never.  Whoever
    asks in a handshake refuses names of more than :data:`MAX_NAME` characters before.
    """
    return _written_name(text) if len(text) > _LONGEST_REMEMBERED else _remembered_name(text)


def parse_name(text: str) -> Name:
    """Read a name (RFC 4514 §3); empty text is a name without parts.

    Spaces around ``,``, ``+`` and ``=`` and values in quotes are taken, too, as RFC 2253 and ``openssl`` have them.

    :raises ValueError: it is none.
    """
    return _parse(text, attribute_type)


def _written_name(text: str) -> WrittenName:
    name = _parse(text, _written_type)
    return WrittenName(name, comparable(name))


_remembered_name = lru_cache(maxsize=512)(_written_name)


def _written_type(text: str) -> str:
    # A number that the gateway has written is one, however long.
    return _TYPES.get(text.lower(), text)


def _parse(text: str, type_of: Callable[[str], str]) -> Name:
    if not text.strip(" "):
        return ()
    if text.startswith("/"):
        raise ValueError(f"{shown(text)!r} begins with a slash, as names of old OpenSSL do; {_EXAMPLE}")
    relatives: list[tuple[Attribute, ...]] = []
    attributes: list[Attribute] = []
    at = 0
    while True:
        found = _TYPE.match(text, at)
        if found is None:
            raise ValueError(f"{shown(text)!r} has no type and = at {shown(text[at:], 20)!r}; {_EXAMPLE}")
        value, at = _value(text, found.end())
        attributes.append(Attribute(type_of(found[1]), value))
        separator = text[at:at + 1]
        at += 1
        if separator == "+":
            continue
        relatives.append(tuple(attributes))
        if not separator:
            return tuple(relatives)
        if separator != ",":
            raise ValueError(f"{shown(text)!r} has a {separator!r} that must be escaped; write a backslash before it")
        attributes = []


def _value(text: str, at: int) -> tuple[str | bytes, int]:
    """Read a value; give it, and where what follows it begins."""
    first = text[at:at + 1]
    if first == "#":
        hexadecimal = _HEXADECIMAL.match(text, at)
        if hexadecimal is None or text[hexadecimal.end():hexadecimal.end() + 1] not in ("", ",", "+"):
            raise ValueError(f"{shown(text)!r} has a value that is no hexadecimal after #; write \\# for the character")
        der = bytes.fromhex(hexadecimal[1])
        plain = string_value(der)
        return der if plain is None else plain, hexadecimal.end()
    if first == '"':
        quoted = _QUOTED.match(text, at)
        if quoted is None:
            raise ValueError(f"{shown(text)!r} has a quotation that does not end; write a quote after it")
        return _unescaped(quoted[1]), quoted.end()
    string = _STRING.match(text, at)
    assert string is not None, "it matches nothing at all, too"
    raw = string[0].rstrip(" ")
    if (len(raw) - len(raw.rstrip("\\"))) % 2:
        # An odd number of backslashes: the last one was before a space.
        raw += " "
    return _unescaped(raw), string.end()


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return _ESCAPE.sub(_byte, text.encode("utf-8")).decode("utf-8")
    except UnicodeError:
        raise ValueError(
            f"{shown(text)!r} has escaped bytes that are not UTF-8; escape every byte of a character"
        ) from None


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode("ascii")) if len(escape[1]) == 2 else escape[1]
