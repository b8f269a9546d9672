"""Other names among a certificate's alternative names (RFC 5280 §4.2.1.6): a type, and a value of that type."""
from __future__ import annotations

from attrs import frozen

from edgegw.api import Certificate
from edgegw.der import OID, SEQUENCE, DERError, elements, expect, only
from edgegw.distinguished_name import dotted
from edgegw.policies.details import shown
from edgegw.policies.encoded_parts import encoded_parts, remembered
from edgegw.policies.string_values import string_value

__all__ = ["MOST_NAMES", "OtherName", "other_names"]

#: Alternative names of one kind that are compared with what is wanted; real certificates have a few.
MOST_NAMES = 1024

_SUBJECT_ALT_NAME = bytes.fromhex("551d11")
_OTHER_NAME = 0xA0
_VALUE = 0xA0


@frozen
class OtherName:
    """A name of a type that somebody has made up.

    :ivar oid: the type: contents of the object identifier's DER.
    :ivar value: a whole element in DER.
    :ivar text: of a value that is a string; ``None`` for any other and for an empty one.
    """

    oid: bytes
    value: bytes
    text: str | None

    def __str__(self) -> str:
        try:
            kind = dotted(self.oid)
        except DERError:
            kind = self.oid.hex()[:100]
        return f"{kind} {self.value[:100].hex() if self.text is None else shown(self.text)}"


@remembered
def other_names(certificate: Certificate) -> tuple[OtherName, ...]:
    """Give a certificate's other names, in its order.

    Those whose text has a NUL in it have no text: nobody writes one, but for those who want it to end there.

    :raises DERError: the certificate or its alternative names are malformed, or there are more than
        :data:`MOST_NAMES`.
    """
    extension = encoded_parts(certificate).extension(_SUBJECT_ALT_NAME)
    if extension is None:
        return ()
    names = only(extension, SEQUENCE)
    found: list[OtherName] = []
    for tag, start, stop in elements(names):
        if tag != _OTHER_NAME:
            continue
        if len(found) == MOST_NAMES:
            raise DERError(f"more than {MOST_NAMES} other names")
        first, last = expect(names, start, stop, OID)
        begin, end = expect(names, last, stop, _VALUE)
        value = names[begin:end]
        if end != stop or len(list(elements(value))) != 1:
            raise DERError("an other name that is not a type and a value")
        text = string_value(value)
        found.append(OtherName(names[first:last], value, text if text and "\x00" not in text else None))
    return tuple(found)
