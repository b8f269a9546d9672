"""The parts of a certificate that are no facts of :class:`edgegw.certificate.Certificate`, still encoded.

Read here and not by ``cryptography``, because that gives up on the whole certificate, or on all of its
extensions, for one encoding that OpenSSL takes.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from attrs import frozen

from edgegw.certificate import MAX_CACHED_BYTES, Certificate
from edgegw.der import BOOLEAN, INTEGER, OCTET_STRING, OID, SEQUENCE, DERError, elements, expect, read

__all__ = ["EncodedParts", "encoded_parts", "remembered"]

T = TypeVar("T")

_VERSION = 0xA0
_EXTENSIONS = 0xA3


@frozen
class EncodedParts:
    """Parts of a certificate (RFC 5280 §4.1).

    :ivar public_key: the ``SubjectPublicKeyInfo``, a whole element in DER.
    :ivar signature_algorithm: contents of the ``AlgorithmIdentifier`` with which its issuer signed it.
    :ivar after_key: what stands after the public key, the extensions among it.
    """

    public_key: bytes
    signature_algorithm: bytes
    after_key: bytes

    def extension(self, oid: bytes) -> bytes | None:
        """Give the DER inside an extension; ``None`` if there is none of this type.

        :param oid: contents of its object identifier.
        :raises DERError: the extensions are malformed, or two of them are of this type.
        """
        data = self.after_key
        found = None
        for kind, start, stop in elements(data):
            if kind != _EXTENSIONS:
                continue
            start, end = expect(data, start, stop, SEQUENCE)
            if end != stop:
                raise DERError("bytes after the extensions")
            for tag, at, last in elements(data, start, end):
                if tag != SEQUENCE:
                    raise DERError("an extension that is no sequence")
                first, at = expect(data, at, last, OID)
                if data[first:at] == oid:
                    if found is not None:
                        raise DERError("two extensions of one type")
                    found = _value(data, at, last)
        return found


def _value(data: bytes, at: int, last: int) -> bytes:
    if at < last and data[at] == BOOLEAN:
        at = read(data, at, last)[2]
    start, stop = expect(data, at, last, OCTET_STRING)
    if stop != last:
        raise DERError("bytes after an extension")
    return data[start:stop]


def remembered(compute: Callable[[Certificate], T]) -> Callable[[Certificate], T]:
    """Make a function of a certificate that remembers what it gave for the 512 last asked about.

    Certificates of more than 16 KiB are never remembered, nor is what ``compute`` raises.
    """
    remember = lru_cache(maxsize=512)(compute)

    def give(certificate: Certificate) -> T:
        return compute(certificate) if len(certificate.der) > MAX_CACHED_BYTES else remember(certificate)

    return give


@remembered
def encoded_parts(certificate: Certificate) -> EncodedParts:
    """Take a certificate apart.

    :raises DERError: it is no certificate in DER.
    """
    der = certificate.der
    start, end = expect(der, 0, len(der), SEQUENCE)
    if end != len(der):
        raise DERError("bytes after the end")
    at, stop = expect(der, start, end, SEQUENCE)
    # What was signed names the algorithm, too; OpenSSL makes sure that both are the same.
    first, last = expect(der, stop, end, SEQUENCE)
    if at < stop and der[at] == _VERSION:
        at = read(der, at, stop)[2]
    at = expect(der, at, stop, INTEGER)[1]
    for _ in ("signature algorithm", "issuer", "validity", "subject"):
        at = expect(der, at, stop, SEQUENCE)[1]
    begin, at = at, expect(der, at, stop, SEQUENCE)[1]
    return EncodedParts(der[begin:at], der[first:last], der[at:stop])
