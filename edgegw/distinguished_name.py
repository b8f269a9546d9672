"""Distinguished names as text: RFC 2253 exactly as Envoy and ``openssl -nameopt RFC2253`` write it.

The text is printable ASCII whatever the name holds: control characters and everything beyond
ASCII come out as ``\\XX``, one for each byte of their UTF-8.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from edgegw.der import OID, SEQUENCE, SET, DERError, elements, expect, read

__all__ = ["common_name", "dotted", "rfc2253", "string_text"]

#: What attribute types are called.  A type that is not here is written as its dotted number and its
#: value in hexadecimal, since nobody can say how to read it (RFC 2253 §2.4).
ATTRIBUTE_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.14": "searchGuide",
    "2.5.4.15": "businessCategory",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.18": "postOfficeBox",
    "2.5.4.19": "physicalDeliveryOfficeName",
    "2.5.4.20": "telephoneNumber",
    "2.5.4.21": "telexNumber",
    "2.5.4.26": "registeredAddress",
    "2.5.4.31": "member",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.47": "enhancedSearchGuide",
    "2.5.4.49": "distinguishedName",
    "2.5.4.51": "houseIdentifier",
    "2.5.4.54": "dmdName",
    "2.5.4.65": "pseudonym",
    "2.5.4.72": "role",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.3": "mail",
    "0.9.2342.19200300.100.1.4": "info",
    "0.9.2342.19200300.100.1.5": "favouriteDrink",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.43": "friendlyCountryName",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
}

#: String types by tag.  T61String is read as Latin-1, as everybody does.
_CODECS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "latin-1",  # NumericString
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_BMP_STRING = 0x1E

_COMMON_NAME = bytes.fromhex("550403")

#: Real ones have a dozen; decimal digits of a huge one would cost the square of its length.
_MAX_OID_BYTES = 64

_PLAIN = re.compile(r"(?![# ])[ !#-*\-./0-:=?@A-\[\]-~]*(?<! )")
_ESCAPED = tuple(
    f"\\{chr(byte)}" if chr(byte) in ',+"\\<>;' else chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:02X}"
    for byte in range(256)
)


def rfc2253(name: bytes) -> str:
    """Write a name in RFC 2253's order, the most specific part first, without spaces between parts.

    A value of a type that has no text, or whose bytes are not of its type, is written as ``#`` and
    the hexadecimal of its DER.

    :param name: contents of a ``Name``, without its own tag and length.
    :raises DERError: it is none.
    """
    parts: list[str] = []
    for attribute in _attributes(name):
        # Attributes of one RDN come out reversed, too, as they do from OpenSSL.
        if parts:
            parts.append("+" if attribute.joined else ",")
        kind = dotted(attribute.oid)
        known = ATTRIBUTE_NAMES.get(kind)
        text = None if known is None else string_text(attribute.tag, attribute.value)
        parts.append(f"#{attribute.der.hex().upper()}" if text is None else _escape(text))
        parts.append(f"{known or kind}=")
    return "".join(reversed(parts))


def common_name(name: bytes) -> str:
    """Give the text of the most specific common name, unescaped; empty if there is none that is text.

    :param name: contents of a ``Name``, without its own tag and length.
    :raises DERError: it is none.
    """
    found = ""
    for attribute in _attributes(name):
        if attribute.oid == _COMMON_NAME:
            found = string_text(attribute.tag, attribute.value) or ""
    return found


class _Attribute(NamedTuple):
    """One type and value.

    :ivar tag: the value's; ``value`` is its contents, ``der`` the whole of it.
    :ivar joined: whether it stands in one RDN with the attribute before it.
    """

    oid: bytes
    tag: int
    value: bytes
    der: bytes
    joined: bool


def string_text(tag: int, contents: bytes) -> str | None:
    """Give the text of an ASN.1 string of whatever type (X.680 §41); ``None`` if it is none or not what its type says.

    :param contents: without tag and length.
    """
    codec = _CODECS.get(tag)
    if codec is None:
        return None
    try:
        text = contents.decode(codec)
    except UnicodeDecodeError:
        return None
    # A BMPString has no surrogates: Python would read pairs of them as UTF-16.
    return None if tag == _BMP_STRING and 2 * len(text) != len(contents) else text


def _attributes(name: bytes) -> Iterator[_Attribute]:
    for tag, start, stop in elements(name):
        if tag != SET or start == stop:
            raise DERError("a relative distinguished name that is no set")
        joined = False
        for inner, first, last in elements(name, start, stop):
            if inner != SEQUENCE:
                raise DERError("an attribute that is no sequence")
            oid, at = expect(name, first, last, OID)
            if not 0 < at - oid <= _MAX_OID_BYTES:
                raise DERError("an attribute type that is empty or too long")
            kind, begin, end = read(name, at, last)
            if end != last:
                raise DERError("an attribute that is not a type and a value")
            yield _Attribute(name[oid:at], kind, name[begin:end], name[at:end], joined)
            joined = True


def _escape(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = "".join([_ESCAPED[byte] for byte in text.encode("utf-8")])
    if text.startswith(("#", " ")):
        escaped = "\\" + escaped
    if text.endswith(" ") and len(text) > 1:
        escaped = escaped[:-1] + "\\ "
    return escaped


# Clients choose the identifiers in their certificates: the cache is bounded.
@lru_cache(maxsize=256)
def dotted(oid: bytes) -> str:
    """Give an object identifier as numbers with dots between: ``2.5.4.3``.

    :param oid: the contents of its DER.
    :raises DERError: it is none, or longer than 64 bytes.
    """
    if not 0 < len(oid) <= _MAX_OID_BYTES or oid[-1] & 0x80:
        raise DERError("an object identifier that is empty, cut short or too long")
    arcs: list[int] = []
    value = 0
    for byte in oid:
        if value == 0 and byte == 0x80:
            raise DERError("an object identifier in more bytes than it needs")
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))
