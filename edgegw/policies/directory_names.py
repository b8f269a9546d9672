"""Distinguished names compared and judged as RFC 5280 wants it.

:mod:`edgegw.distinguished_name` writes a name for people and forgives what its issuer did wrong.  Here a
string is held to its type, and two names are equal where their attributes are, whatever string types and
spaces they are written with (RFC 5280 §7.1, simplified as OpenSSL does it: ASCII letters without regard to
case, runs of spaces as one, outer spaces not at all).
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from edgegw.der import OID, SEQUENCE, SET, DERError, elements, expect, read

__all__ = ["EMAIL_ADDRESS", "Attribute", "CanonicalName", "attributes", "canonical"]

#: ``emailAddress`` (PKCS #9), which name constraints on mail addresses hold for (RFC 5280 §4.2.1.10).
EMAIL_ADDRESS = bytes.fromhex("2a864886f70d010901")

#: A name for comparison: for each RDN the set of its types and values.
CanonicalName = tuple[frozenset[tuple[bytes, bytes]], ...]

_UTF8_STRING = 0x0C
_NUMERIC_STRING = 0x12
_PRINTABLE_STRING = 0x13
_T61_STRING = 0x14
_IA5_STRING = 0x16
_VISIBLE_STRING = 0x1A
_UNIVERSAL_STRING = 0x1C
_BMP_STRING = 0x1E

_NAMES = {
    _UTF8_STRING: "UTF8String",
    _NUMERIC_STRING: "NumericString",
    _PRINTABLE_STRING: "PrintableString",
    _T61_STRING: "TeletexString",
    _IA5_STRING: "IA5String",
    _VISIBLE_STRING: "VisibleString",
    _UNIVERSAL_STRING: "UniversalString",
    _BMP_STRING: "BMPString",
}
_CODECS = {
    _UTF8_STRING: "utf-8",
    _NUMERIC_STRING: "ascii",
    _PRINTABLE_STRING: "ascii",
    # Nobody implements its escapes; Latin-1 is what everybody reads.
    _T61_STRING: "latin-1",
    _IA5_STRING: "ascii",
    _VISIBLE_STRING: "ascii",
    _UNIVERSAL_STRING: "utf-32-be",
    _BMP_STRING: "utf-16-be",
}
#: Types that hold fewer characters than their codec can read (X.680 §41).
_ALPHABETS = {
    _NUMERIC_STRING: re.compile(r"[0-9 ]*"),
    _PRINTABLE_STRING: re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*"),
    _VISIBLE_STRING: re.compile(r"[ -~]*"),
    _BMP_STRING: re.compile(r"[\u0000-\ud7ff\ue000-\uffff]*"),
}
#: Attributes of one name; real ones have a dozen.
_MOST_ATTRIBUTES = 512
_SPACES = re.compile(r" +")
_LOWER = {code: code + 32 for code in range(0x41, 0x5B)}


class Attribute(NamedTuple):
    """One type and value of a name.

    :ivar oid: the type, contents of its object identifier.
    :ivar tag: the value's; ``value`` is its contents.
    :ivar rdn: which RDN it stands in, from 0.
    """

    oid: bytes
    tag: int
    value: bytes
    rdn: int

    @property
    def type_name(self) -> str:
        """What the value's type is called; its tag where it is no string's."""
        return _NAMES.get(self.tag, f"tag {self.tag:#04x}")

    def text(self, strict: bool = True) -> str | None:
        """Give the value as text; ``None`` if its type is no string.

        :param strict: whether every character must be one that its type has.
        :raises DERError: the bytes are not what the type says.
        """
        codec = _CODECS.get(self.tag)
        if codec is None:
            return None
        try:
            text = self.value.decode("latin-1" if codec == "ascii" and not strict else codec)
        except UnicodeDecodeError:
            raise DERError(f"a {self.type_name} whose bytes are none") from None
        alphabet = _ALPHABETS.get(self.tag)
        if strict and alphabet is not None and not alphabet.fullmatch(text):
            raise DERError(f"a {self.type_name} with characters that it cannot have")
        return text


def attributes(name: bytes) -> Iterator[Attribute]:
    """Give the attributes of a name, the most general first.

    :param name: contents of a ``Name``, without its own tag and length.
    :raises DERError: it is none, or has more than 512, when the iteration comes to the fault.
    """
    count = 0
    for rdn, (tag, start, stop) in enumerate(elements(name)):
        if tag != SET or start == stop:
            raise DERError("a relative distinguished name that is no set")
        for inner, first, last in elements(name, start, stop):
            if inner != SEQUENCE:
                raise DERError("an attribute that is no sequence")
            oid, at = expect(name, first, last, OID)
            kind, begin, end = read(name, at, last)
            if end != last or oid == at:
                raise DERError("an attribute that is not a type and a value")
            count += 1
            if count > _MOST_ATTRIBUTES:
                raise DERError(f"a name of more than {_MOST_ATTRIBUTES} attributes")
            yield Attribute(name[oid:at], kind, name[begin:end], rdn)


def canonical(name: bytes) -> CanonicalName:
    """Give a name as something that is equal for equal names.

    :param name: contents of a ``Name``, without its own tag and length.
    :raises DERError: it is none, or a string in it is not of its type.
    """
    rdns: list[set[tuple[bytes, bytes]]] = []
    for attribute in attributes(name):
        if attribute.rdn == len(rdns):
            rdns.append(set())
        text = attribute.text(strict=False)
        if text is None:
            value = bytes([attribute.tag]) + attribute.value
        else:
            # No string type has the tag 0.
            value = b"\0" + _SPACES.sub(" ", text.strip(" ")).translate(_LOWER).encode("utf-8", "surrogatepass")
        rdns[attribute.rdn].add((attribute.oid, value))
    return tuple(frozenset(rdn) for rdn in rdns)
