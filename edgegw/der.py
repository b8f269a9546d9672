"""DER (X.690) read strictly, as far as the facts of a certificate need it.

Only what TLS has let in is read here, so this module answers one question: what does the
certificate say?  It reads names whatever their string type and leaves extensions that nobody asks
for alone, where a parser of everything gives up on a certificate for an ``&`` in a
``PrintableString`` or for a broken key usage beside good names.  It is stricter than OpenSSL about
the encoding itself (definite, shortest lengths; nothing left over), and what it refuses has no
facts at all.
"""
from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

__all__ = ["CertificateFields", "DERError", "certificate_fields", "elements", "only", "read"]

BOOLEAN = 0x01
INTEGER = 0x02
OCTET_STRING = 0x04
OID = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

_VERSION = 0xA0
_UNIQUE_IDS = (0x81, 0x82)
_EXTENSIONS = 0xA3
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")


class DERError(ValueError):
    """Bytes that are not the DER that was expected."""


@frozen
class CertificateFields:
    """Where the parts of a certificate are (RFC 5280 §4.1), undecoded.

    :ivar issuer: contents of the ``Name``, without its own tag and length; so is ``subject``.
    :ivar not_before: tag and contents of the ``Time``; so is ``not_after``.
    :ivar subject_alt_name: contents of the ``GeneralNames``; ``None`` without the extension.
    """

    serial: int
    issuer: bytes
    not_before: tuple[int, bytes]
    not_after: tuple[int, bytes]
    subject: bytes
    subject_alt_name: bytes | None


def read(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """Give the tag of the element at ``at`` and where its contents start and stop.

    :raises DERError: no complete element lies before ``end``, its tag has more than one byte, or its
        length is indefinite or longer than it had to be.
    """
    if at + 2 > end:
        raise DERError("an element is cut short")
    tag = data[at]
    if tag & 0x1F == 0x1F:
        raise DERError("a tag of more than one byte")
    length = data[at + 1]
    start = at + 2
    if length >= 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or start + size > end:
            raise DERError("a length that DER does not allow")
        length = int.from_bytes(data[start:start + size], "big")
        if length < 0x80 or length >> 8 * (size - 1) == 0:
            raise DERError("a length in more bytes than it needs")
        start += size
    stop = start + length
    if stop > end:
        raise DERError("an element is cut short")
    return tag, start, stop


def elements(data: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Give ``(tag, start, stop)`` of each element between ``start`` and ``stop``.

    :raises DERError: as :func:`read` does, when the iteration comes to the fault.
    """
    end = len(data) if stop is None else stop
    at = start
    while at < end:
        element = read(data, at, end)
        yield element
        at = element[2]


def expect(data: bytes, at: int, end: int, tag: int) -> tuple[int, int]:
    """Give where the contents of the element at ``at`` start and stop.

    :raises DERError: as :func:`read` does, or the element has another tag.
    """
    found, start, stop = read(data, at, end)
    if found != tag:
        raise DERError(f"tag {found:#04x} in the place of {tag:#04x}")
    return start, stop


def only(data: bytes, tag: int) -> bytes:
    """Give the contents of the one element that ``data`` is.

    :raises DERError: as :func:`expect` does, or something follows the element.
    """
    start, stop = expect(data, 0, len(data), tag)
    if stop != len(data):
        raise DERError("bytes after the end")
    return data[start:stop]


def certificate_fields(der: bytes) -> CertificateFields:
    """Take a certificate apart.

    :raises DERError: it is not a certificate in DER, or has two subject alternative names extensions.
    """
    start, end = expect(der, 0, len(der), SEQUENCE)
    if end != len(der):
        raise DERError("bytes after the end")
    at, end = expect(der, start, end, SEQUENCE)
    if at < end and der[at] == _VERSION:
        at = read(der, at, end)[2]
    start, at = expect(der, at, end, INTEGER)
    if start == at:
        raise DERError("an empty serial number")
    serial = int.from_bytes(der[start:at], "big", signed=True)
    _, at = expect(der, at, end, SEQUENCE)  # signature algorithm
    start, at = expect(der, at, end, SEQUENCE)
    issuer = der[start:at]
    start, at = expect(der, at, end, SEQUENCE)
    validity = [(tag, der[first:last]) for tag, first, last in elements(der, start, at)]
    if len(validity) != 2:
        raise DERError("a validity that is not two times")
    start, at = expect(der, at, end, SEQUENCE)
    subject = der[start:at]
    _, at = expect(der, at, end, SEQUENCE)  # subject public key info
    alternatives = None
    for tag, start, stop in elements(der, at, end):
        if tag == _EXTENSIONS:
            alternatives = _subject_alt_name(der, start, stop)
        elif tag not in _UNIQUE_IDS:
            raise DERError(f"tag {tag:#04x} after the public key")
    return CertificateFields(serial, issuer, validity[0], validity[1], subject, alternatives)


def _subject_alt_name(der: bytes, start: int, stop: int) -> bytes | None:
    found = None
    start, end = expect(der, start, stop, SEQUENCE)
    if end != stop:
        raise DERError("bytes after the extensions")
    for tag, at, last in elements(der, start, end):
        if tag != SEQUENCE:
            raise DERError("an extension that is no sequence")
        first, at = expect(der, at, last, OID)
        if der[first:at] != _SUBJECT_ALT_NAME:
            continue
        if found is not None:
            raise DERError("two subject alternative names extensions")
        if at < last and der[at] == BOOLEAN:
            at = read(der, at, last)[2]
        first, at = expect(der, at, last, OCTET_STRING)
        if at != last:
            raise DERError("bytes after an extension")
        found = only(der[first:at], SEQUENCE)
    return found
