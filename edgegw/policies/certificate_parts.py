"""A certificate taken apart down to what rules about it need: raw names, criticality, encodings.

:mod:`edgegw.certificate` has facts for people and headers, and ``cryptography`` has values.  Neither says
whether an extension was marked critical where it must not be, which bytes stand in a name, or that the
two signature algorithms differ.  This reads them with :mod:`edgegw.der`, the values of extensions only
when they are asked for.
"""
from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import islice
from typing import Final

from attrs import frozen
from cryptography import x509

from edgegw.certificate import MAX_CACHED_BYTES, Certificate
from edgegw.der import BOOLEAN, INTEGER, OCTET_STRING, OID, SEQUENCE, DERError, elements, expect, only, read
from edgegw.policies.directory_names import Attribute, CanonicalName, attributes, canonical

__all__ = [
    "AUTHORITY_KEY_IDENTIFIER",
    "BASIC_CONSTRAINTS",
    "CRL_SIGN",
    "KEY_CERT_SIGN",
    "KEY_USAGE",
    "MOST_NAMES",
    "NAME_CONSTRAINTS",
    "SUBJECT_ALT_NAME",
    "SUBJECT_KEY_IDENTIFIER",
    "AuthorityKeyIdentifier",
    "BasicConstraints",
    "CertificateParts",
    "Extension",
    "authority_parts",
    "certificate_parts",
    "read_extensions",
    "whole_number",
    "x509_extensions",
]

BIT_STRING = 0x03

SUBJECT_KEY_IDENTIFIER = bytes.fromhex("551d0e")
KEY_USAGE = bytes.fromhex("551d0f")
SUBJECT_ALT_NAME = bytes.fromhex("551d11")
BASIC_CONSTRAINTS = bytes.fromhex("551d13")
NAME_CONSTRAINTS = bytes.fromhex("551d1e")
AUTHORITY_KEY_IDENTIFIER = bytes.fromhex("551d23")

#: Bits of ``keyUsage`` as :attr:`CertificateParts.key_usage` has them (RFC 5280 §4.2.1.3).
KEY_CERT_SIGN = 0x0400
CRL_SIGN = 0x0200

#: More alternative names than this are not judged one by one; certificates of 100 KB have room for 20,000.
MOST_NAMES: Final = 2048
#: Extensions of one certificate or CRL; real ones have a dozen.
_MOST_EXTENSIONS: Final = 256
#: Bytes of an extension that ``cryptography`` may make objects of: it takes a millisecond for each kilobyte.
_LONGEST_EXTENSION: Final = 16_384

_VERSION = 0xA0
_ISSUER_UNIQUE_ID = 0x81
_SUBJECT_UNIQUE_ID = 0x82
_EXTENSIONS = 0xA3


@frozen
class Extension:
    """One extension; ``oid`` is the contents of its object identifier, ``value`` of its octet string."""

    oid: bytes
    critical: bool
    value: bytes


@frozen
class BasicConstraints:
    """RFC 5280 §4.2.1.9; ``path_length`` is ``None`` without a ``pathLenConstraint``."""

    ca: bool
    path_length: int | None


@frozen
class AuthorityKeyIdentifier:
    """RFC 5280 §4.2.1.1; ``issuer`` and ``serial`` say whether the other two fields are there."""

    key_identifier: bytes | None
    issuer: bool
    serial: bool


@frozen(eq=False, slots=False)
class CertificateParts:
    """Where the parts of a certificate are (RFC 5280 §4.1), undecoded but for the small ones.

    The properties that read an extension are ``None`` without it, and raise :class:`~edgegw.der.DERError`
    for one that is not what it should be.

    :ivar version: 1, 2 or 3.
    :ivar serial: contents of the ``INTEGER``.
    :ivar inner_algorithm: the ``AlgorithmIdentifier`` under the signature, with its tag; so is
        ``outer_algorithm``, which stands beside it.
    :ivar issuer: contents of the ``Name``, without its own tag and length; so is ``subject``.
    :ivar not_before: tag and contents of the ``Time``; so is ``not_after``.
    :ivar public_key: the ``SubjectPublicKeyInfo`` with its tag.
    :ivar unique_ids: whether there is an issuer's or subject's unique identifier.
    :ivar unusual: encodings that can be read but are not DER, in words.
    """

    version: int
    serial: bytes
    inner_algorithm: bytes
    outer_algorithm: bytes
    issuer: bytes
    not_before: tuple[int, bytes]
    not_after: tuple[int, bytes]
    subject: bytes
    public_key: bytes
    unique_ids: bool
    extensions: tuple[Extension, ...]
    unusual: tuple[str, ...]

    def extension(self, oid: bytes) -> Extension | None:
        """Give the first extension with this object identifier."""
        for one in self.extensions:
            if one.oid == oid:
                return one
        return None

    @cached_property
    def basic_constraints(self) -> BasicConstraints | None:
        """``basicConstraints``."""
        value = self._value(BASIC_CONSTRAINTS)
        if value is None:
            return None
        body = only(value, SEQUENCE)
        ca, at, path_length = False, 0, None
        if at < len(body) and body[at] == BOOLEAN:
            start, at = expect(body, at, len(body), BOOLEAN)
            ca = _truth(body[start:at])
        if at < len(body):
            start, at = expect(body, at, len(body), INTEGER)
            path_length = whole_number(body[start:at])
        if at != len(body):
            raise DERError("bytes after the end")
        return BasicConstraints(ca, path_length)

    @cached_property
    def ca(self) -> bool:
        """Whether ``basicConstraints`` says that it is a CA's."""
        return self.basic_constraints is not None and self.basic_constraints.ca

    @cached_property
    def key_usage(self) -> int | None:
        """The bits of ``keyUsage``: 16, ``digitalSignature`` the highest."""
        value = self._value(KEY_USAGE)
        if value is None:
            return None
        bits = only(value, BIT_STRING)
        if not 1 <= len(bits) <= 3 or bits[0] > 7 or (len(bits) == 1 and bits[0]):
            raise DERError("a key usage that is no string of nine bits")
        return int.from_bytes(bits[1:].ljust(2, b"\0"), "big") & ~((1 << bits[0] + 8 * (3 - len(bits))) - 1)

    @cached_property
    def subject_key_identifier(self) -> bytes | None:
        """``subjectKeyIdentifier``."""
        value = self._value(SUBJECT_KEY_IDENTIFIER)
        return None if value is None else only(value, OCTET_STRING)

    @cached_property
    def authority_key_identifier(self) -> AuthorityKeyIdentifier | None:
        """``authorityKeyIdentifier``."""
        value = self._value(AUTHORITY_KEY_IDENTIFIER)
        if value is None:
            return None
        body = only(value, SEQUENCE)
        found: dict[int, bytes] = {}
        for tag, start, stop in elements(body):
            if tag not in (0x80, 0xA1, 0x82) or tag in found:
                raise DERError("an authority key identifier with something else in it")
            found[tag] = body[start:stop]
        return AuthorityKeyIdentifier(found.get(0x80), 0xA1 in found, 0x82 in found)

    @cached_property
    def alternative_names(self) -> tuple[tuple[int, bytes], ...] | None:
        """``subjectAltName``: tag and contents of each name, in its order; :data:`MOST_NAMES` and one more at most."""
        value = self._value(SUBJECT_ALT_NAME)
        if value is None:
            return None
        body = only(value, SEQUENCE)
        return tuple((tag, body[start:stop]) for tag, start, stop in islice(elements(body), MOST_NAMES + 1))

    @cached_property
    def subject_name(self) -> CanonicalName:
        """The subject for comparison."""
        return canonical(self.subject)

    @cached_property
    def issuer_name(self) -> CanonicalName:
        """The issuer for comparison."""
        return canonical(self.issuer)

    @cached_property
    def subject_attributes(self) -> tuple[Attribute, ...]:
        """The attributes of the subject."""
        return tuple(attributes(self.subject))

    @cached_property
    def issuer_attributes(self) -> tuple[Attribute, ...]:
        """The attributes of the issuer."""
        return tuple(attributes(self.issuer))

    @cached_property
    def self_issued(self) -> bool:
        """Whether subject and issuer are the same name (RFC 5280 §3.2)."""
        return self.subject == self.issuer or self.subject_name == self.issuer_name

    def _value(self, oid: bytes) -> bytes | None:
        found = self.extension(oid)
        return None if found is None else found.value


def _truth(contents: bytes) -> bool:
    if len(contents) != 1:
        raise DERError("a boolean that is none")
    return contents[0] != 0


def whole_number(contents: bytes) -> int:
    """Give the value of an ``INTEGER`` that is not negative.

    :raises DERError: it is negative, empty, or longer than 20 bytes.
    """
    if not 1 <= len(contents) <= 20 or contents[0] & 0x80:
        raise DERError("a number that is negative, empty or too long")
    return int.from_bytes(contents, "big")


def _padded(contents: bytes) -> bool:
    """Whether an integer has a first byte that says nothing (X.690 §8.3.2)."""
    return len(contents) > 1 and contents[0] in (0, 0xFF) and (contents[0] ^ contents[1]) & 0x80 == 0


def read_extensions(data: bytes, start: int, stop: int, unusual: list[str]) -> tuple[Extension, ...]:
    """Read an ``Extensions``, of a certificate, a CRL or its entry.

    :param start: where the sequence begins; it must end at ``stop``.
    :param unusual: gets what can be read but is not DER.
    :raises DERError: it is none, or has more than 256.
    """
    first, end = expect(data, start, stop, SEQUENCE)
    if end != stop:
        raise DERError("bytes after the extensions")
    if first == end:
        unusual.append("an empty list of extensions")
    found: list[Extension] = []
    for tag, at, last in elements(data, first, end):
        if len(found) == _MOST_EXTENSIONS:
            raise DERError(f"more than {_MOST_EXTENSIONS} extensions")
        found.append(_extension(data, tag, at, last, unusual))
    return tuple(found)


def _extension(data: bytes, tag: int, start: int, stop: int, unusual: list[str]) -> Extension:
    if tag != SEQUENCE:
        raise DERError("an extension that is no sequence")
    first, at = expect(data, start, stop, OID)
    oid = data[first:at]
    critical = False
    if at < stop and data[at] == BOOLEAN:
        first, at = expect(data, at, stop, BOOLEAN)
        critical = _truth(data[first:at])
        if data[at - 1] != 0xFF:
            unusual.append("a critical that is FALSE and written out, or TRUE and not FF")
    first, at = expect(data, at, stop, OCTET_STRING)
    if at != stop or not oid:
        raise DERError("an extension that is not a type, criticality and a value")
    return Extension(oid, critical, data[first:at])


def certificate_parts(der: bytes) -> CertificateParts:
    """Take a certificate apart.

    :raises DERError: it is not a certificate in DER; but some encodings that are not DER's are only noted
        in ``unusual``.
    """
    unusual: list[str] = []
    start, end = expect(der, 0, len(der), SEQUENCE)
    if end != len(der):
        raise DERError("bytes after the end")
    start, stop = expect(der, start, end, SEQUENCE)
    _, at = expect(der, stop, end, SEQUENCE)
    outer_algorithm = der[stop:at]
    if expect(der, at, end, BIT_STRING)[1] != end:
        raise DERError("bytes after the signature")

    version, at = 1, start
    if at < stop and der[at] == _VERSION:
        _, inner, at = read(der, at, stop)
        first, last = expect(der, inner, at, INTEGER)
        if last != at or last - first != 1 or der[first] > 2:
            raise DERError("a version that is none of 1, 2 and 3")
        version = der[first] + 1
        if version == 1:
            unusual.append("version 1 written out")
    first, at = expect(der, at, stop, INTEGER)
    serial = der[first:at]
    if not serial:
        raise DERError("an empty serial number")
    if _padded(serial):
        unusual.append("a serial number in more bytes than it needs")
    begin = at
    _, at = expect(der, at, stop, SEQUENCE)
    inner_algorithm = der[begin:at]
    first, at = expect(der, at, stop, SEQUENCE)
    issuer = der[first:at]
    first, at = expect(der, at, stop, SEQUENCE)
    validity = [(tag, der[one:other]) for tag, one, other in elements(der, first, at)]
    if len(validity) != 2:
        raise DERError("a validity that is not two times")
    first, at = expect(der, at, stop, SEQUENCE)
    subject = der[first:at]
    begin = at
    _, at = expect(der, at, stop, SEQUENCE)
    public_key = der[begin:at]

    extensions: tuple[Extension, ...] = ()
    before, unique_ids = 0, False
    for tag, first, last in elements(der, at, stop):
        if tag <= before or tag not in (_ISSUER_UNIQUE_ID, _SUBJECT_UNIQUE_ID, _EXTENSIONS):
            raise DERError(f"tag {tag:#04x} after the public key")
        before = tag
        if tag == _EXTENSIONS:
            extensions = read_extensions(der, first, last, unusual)
        else:
            unique_ids = True
    return CertificateParts(
        version, serial, inner_algorithm, outer_algorithm, issuer, validity[0], validity[1], subject, public_key,
        unique_ids, extensions, tuple(unusual),
    )  # fmt: skip


_cached = lru_cache(maxsize=256)(certificate_parts)


def authority_parts(certificate: Certificate) -> CertificateParts:
    """Take a CA's certificate apart, remembering the last 256 of those that are not long.

    :raises DERError: as :func:`certificate_parts` does.
    """
    return certificate_parts(certificate.der) if len(certificate.der) > MAX_CACHED_BYTES else _cached(certificate.der)


def x509_extensions(certificate: Certificate) -> x509.Extensions:
    """Give the extensions as ``cryptography`` reads them.

    :raises DERError: it does not take them, or one has more than 16 KiB.
    """
    for extension in certificate_parts(certificate.der).extensions:
        if len(extension.value) > _LONGEST_EXTENSION:
            raise DERError(f"an extension of {len(extension.value)} bytes, where {_LONGEST_EXTENSION} are read")
    try:
        return certificate.x509.extensions
    except Exception as error:
        # ValueError for most, and others for versions and kinds of names that it does not know.
        raise DERError(str(error)) from error
