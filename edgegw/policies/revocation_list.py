"""A CRL (RFC 5280 §5), read on another thread without holding up the reactor's.

``cryptography`` holds the interpreter for as long as it reads or verifies a list, which with a million
entries stops every connection for seconds.  This hashes what was signed while others run, and has the
entries read in small steps (:mod:`edgegw.policies.revoked_entries`).

What cannot be understood is refused and never ignored: a list that is not what it seems to be would let
revoked certificates in.
"""
from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator
from datetime import datetime
from time import sleep
from typing import Final

from attrs import frozen
from cryptography import x509

from edgegw.certificate import Certificate
from edgegw.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, DERError, expect, only, read
from edgegw.distinguished_name import rfc2253
from edgegw.policies.certificate_parts import (
    AUTHORITY_KEY_IDENTIFIER,
    CRL_SIGN,
    Extension,
    authority_parts,
    read_extensions,
)
from edgegw.policies.crl_rules import crl_faults
from edgegw.policies.directory_names import CanonicalName, canonical
from edgegw.policies.distribution_points import EVERYTHING, Scope, read_scope
from edgegw.policies.revoked_entries import Revocation, read_entries, read_time
from edgegw.policies.signatures import SignatureScheme, is_signed, load_public_key, signature_scheme, to_be_signed

__all__ = ["RevocationList", "read_lists"]

_BIT_STRING: Final = 0x03
_EXTENSIONS: Final = 0xA0

_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"

_WHITE_SPACE: Final = b" \t\r\n"
#: Bytes of base64 that are decoded at a time.
_PART: Final = 262_144

_CRL_NUMBER: Final = bytes.fromhex("551d14")
_DELTA_CRL_INDICATOR: Final = bytes.fromhex("551d1b")
_ISSUING_DISTRIBUTION_POINT: Final = bytes.fromhex("551d1c")
#: Extensions that may be critical, as what they say is heeded.
_UNDERSTOOD: Final = frozenset({_CRL_NUMBER, _ISSUING_DISTRIBUTION_POINT, AUTHORITY_KEY_IDENTIFIER})

#: Issuers whose signature a list remembers to have.
_SIGNERS: Final = 16


class RevocationList:
    """One CRL.

    :ivar issuer: its issuer as RFC 2253 writes it; ``issuer_name`` is for comparison.
    :ivar next_update: ``None`` without one, which RFC 5280 does not allow.
    :ivar number: the CRL's; ``None`` without one.
    :ivar scope: the part of the issuer's certificates that it speaks of.
    :ivar revoked: by serial number.
    """

    __slots__ = (
        "_prepared", "_scheme", "_signature", "_signers", "issuer", "issuer_name", "next_update", "number", "revoked",
        "scope", "this_update",
    )  # fmt: skip

    def __init__(
        self,
        issuer: bytes,
        this_update: datetime,
        next_update: datetime | None,
        number: int | None,
        scope: Scope,
        revoked: dict[int, Revocation],
        signature: tuple[SignatureScheme, bytes, bytes],
    ) -> None:
        self.issuer = rfc2253(issuer)
        self.issuer_name: CanonicalName = canonical(issuer)
        self.this_update = this_update
        self.next_update = next_update
        self.number = number
        self.scope = scope
        self.revoked = revoked
        self._scheme, self._signature, self._prepared = signature
        self._signers: set[Certificate] = set()

    def __repr__(self) -> str:
        return f"<RevocationList of {self.issuer} since {self.this_update:%Y-%m-%dT%H:%MZ}: {len(self.revoked)}>"

    def __eq__(self, other: object) -> bool:
        """Whether it is the same list, byte for byte of what was signed."""
        return self._same == other._same if isinstance(other, RevocationList) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._prepared)

    @property
    def signed_weakly(self) -> bool:
        """Whether its signature is made with a hash that collisions can be made of."""
        return self._scheme.weak

    @property
    def signers(self) -> frozenset[Certificate]:
        """Certificates whose keys are known to have signed the list."""
        return frozenset(self._signers)

    @property
    def _same(self) -> tuple[object, ...]:
        return self._prepared, self._scheme, self._signature

    def is_stale(self, now: datetime) -> bool:
        """Whether a newer list should be there; one that does not say until when it holds always is."""
        return self.next_update is None or now > self.next_update

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Whether a certificate's key has signed the list, and may sign lists (RFC 5280 §6.3.3 (f), (g)).

        A positive answer is remembered.

        :raises DERError: the certificate is not DER.
        """
        if issuer in self._signers:
            return True
        parts = authority_parts(issuer)
        usage = parts.key_usage
        if usage is not None and not usage & CRL_SIGN:
            return False
        key = load_public_key(parts.public_key)
        if not is_signed(self._scheme, key, self._signature, self._prepared):
            return False
        if len(self._signers) >= _SIGNERS:
            self._signers.clear()
        self._signers.add(issuer)
        return True


# --- files ----------------------------------------------------------------------------------


def read_lists(data: bytes, strict: bool = False) -> tuple[RevocationList, ...]:
    """Read the CRLs of a file or an answer.

    :param data: PEM with any number of CRLs, other blocks among them, such as a CA bundle's certificates, being
        passed over; or one CRL in DER.
    :param strict: whether to refuse what breaks a rule of :func:`edgegw.policies.crl_rules.crl_faults`, or is signed
        with a weak hash.
    :raises ValueError: there is none, or one that is broken or cannot be used: an indirect or delta CRL, one with
        a critical extension that is not known.  The text says which.
    """
    if data[:1] == b"\x30" and data[1:2] >= b"\x80":
        return (_read_list(data, strict),)
    lists = tuple([_read_list(der, strict) for der in _blocks(data)])
    if not lists:
        raise ValueError("there is no CRL in it; PEM blocks X509 CRL, or one CRL in DER")
    return lists


def _blocks(data: bytes) -> Iterator[bytes]:
    """Give the DER of each PEM block with a CRL (RFC 7468 §6)."""
    at = data.find(_BEGIN)
    while at >= 0:
        start = at + len(_BEGIN)
        stop = data.find(_END, start)
        if stop < 0:
            raise ValueError("a PEM block X509 CRL has no end; the file was cut short")
        try:
            yield b"".join(_decoded(data, start, stop))
        except Base64Error as error:
            raise ValueError(f"a PEM block X509 CRL is not base64: {error}") from None
        at = data.find(_BEGIN, stop)


def _decoded(data: bytes, start: int, stop: int) -> Iterator[bytes]:
    """Decode base64 in parts, between which other threads get their turn."""
    rest = b""
    for at in range(start, stop, _PART):
        sleep(0)
        text = rest + data[at:min(at + _PART, stop)].translate(None, _WHITE_SPACE)
        whole = len(text) - len(text) % 4
        rest = text[whole:]
        yield a2b_base64(text[:whole], strict_mode=True)
    yield a2b_base64(rest, strict_mode=True)


def _read_list(der: bytes, strict: bool) -> RevocationList:
    try:
        outline = _read_outline(der)
        name = rfc2253(outline.issuer)[:200]
    except DERError as error:
        raise ValueError(f"a CRL that is broken: {error}") from None
    try:
        made = _read_contents(der, outline)
        faults = _faults(der, made) if strict else []
    except ValueError as error:
        raise ValueError(f"the CRL of {name}: {error}") from None
    if faults:
        raise ValueError(f"the CRL of {name} breaks RFC 5280: {', '.join(faults)}")
    return made


def _faults(der: bytes, made: RevocationList) -> list[str]:
    faults = crl_faults(x509.load_der_x509_crl(der))
    return [*faults, "a signature with SHA-1"] if made.signed_weakly else faults


@frozen
class _Outline:
    """The parts of a CRL that stand around its contents.

    :ivar begin: where what is signed begins; it ends at ``stop``.
    :ivar at: where ``thisUpdate`` begins.
    :ivar algorithm: the signature's, DER with its tag.
    :ivar issuer: contents of the ``Name``.
    """

    begin: int
    at: int
    stop: int
    second_version: bool
    algorithm: bytes
    signature: bytes
    issuer: bytes


def _read_outline(der: bytes) -> _Outline:
    """Take a CRL apart (RFC 5280 §5.1).

    :raises ValueError: it is none.
    """
    begin, end = expect(der, 0, len(der), SEQUENCE)
    if end != len(der):
        raise DERError("bytes after the end")
    at, stop = expect(der, begin, end, SEQUENCE)
    _, after = expect(der, stop, end, SEQUENCE)
    algorithm = der[stop:after]
    first, last = expect(der, after, end, _BIT_STRING)
    if last != end or last - first < 2 or der[first]:
        raise DERError("a signature that is no string of bytes")
    signature = der[first + 1:last]
    second_version = at < stop and der[at] == INTEGER
    if second_version:
        first, at = expect(der, at, stop, INTEGER)
        if der[first:at] != b"\x01":
            raise DERError("a version that is not 2")
    first, at = at, expect(der, at, stop, SEQUENCE)[1]
    if der[first:at] != algorithm:
        raise DERError("the signature's algorithm is not the one under the signature")
    first, at = expect(der, at, stop, SEQUENCE)
    if first == at:
        raise DERError("no issuer")
    return _Outline(begin, at, stop, second_version, algorithm, signature, der[first:at])


def _read_contents(der: bytes, outline: _Outline) -> RevocationList:
    """Read what a CRL says.

    :raises ValueError: it is broken, or something in it is not understood.
    """
    scheme = signature_scheme(outline.algorithm)
    stop = outline.stop
    tag, first, at = read(der, outline.at, stop)
    this_update = read_time(tag, der[first:at])
    next_update = None
    if at < stop and der[at] in (UTC_TIME, GENERALIZED_TIME):
        tag, first, at = read(der, at, stop)
        next_update = read_time(tag, der[first:at])
    revoked: dict[int, Revocation] = {}
    if at < stop and der[at] == SEQUENCE:
        first, at = expect(der, at, stop, SEQUENCE)
        revoked = read_entries(der, first, at)
    extensions: tuple[Extension, ...] = ()
    if at < stop:
        tag, first, at = read(der, at, stop)
        if tag != _EXTENSIONS or at != stop:
            raise DERError(f"tag {tag:#04x} after the entries")
        extensions = read_extensions(der, first, at, [])
    if extensions and not outline.second_version:
        raise DERError("extensions in a CRL of version 1")
    number, scope = _read_extensions(extensions, outline.issuer)
    prepared = to_be_signed(scheme, memoryview(der)[outline.begin:stop])
    return RevocationList(
        outline.issuer, this_update, next_update, number, scope, revoked, (scheme, outline.signature, prepared)
    )


def _read_extensions(extensions: tuple[Extension, ...], issuer: bytes) -> tuple[int | None, Scope]:
    """Give the number and the scope, and refuse what is not understood."""
    number, scope = None, EVERYTHING
    seen: set[bytes] = set()
    for one in extensions:
        if one.oid in seen:
            raise DERError("an extension that is there twice")
        seen.add(one.oid)
        if one.oid == _DELTA_CRL_INDICATOR:
            raise ValueError("it is a delta CRL, which is not supported; give the complete one")
        if one.critical and one.oid not in _UNDERSTOOD:
            raise ValueError(f"it has a critical extension that is not known: {one.oid.hex()} (its type's bytes)")
        if one.oid == _CRL_NUMBER:
            number = int.from_bytes(only(one.value, INTEGER)[:32], "big", signed=True)
        elif one.oid == _ISSUING_DISTRIBUTION_POINT:
            scope = read_scope(one.value, issuer)
    return number, scope
