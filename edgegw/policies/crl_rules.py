"""What RFC 5280 §5 demands of a certificate revocation list, and neither OpenSSL nor ``cryptography`` insists on."""
from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgegw.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, DERError, elements, expect, only, read
from edgegw.policies.certificate_parts import AUTHORITY_KEY_IDENTIFIER, Extension, read_extensions, whole_number
from edgegw.policies.profile_rules import time_fault

__all__ = ["MOST_CRL_FAULTS", "crl_faults"]

#: No more faults than this are looked for in one list.
MOST_CRL_FAULTS = 8

_EXTENSIONS = 0xA0
_CRL_NUMBER = bytes.fromhex("551d14")
_DELTA_CRL_INDICATOR = bytes.fromhex("551d1b")
_ISSUING_DISTRIBUTION_POINT = bytes.fromhex("551d1c")
_FRESHEST_CRL = bytes.fromhex("551d2e")
_CERTIFICATE_ISSUER = bytes.fromhex("551d1d")

#: Whether each known extension must be critical (§5.2).
_CRITICAL = {
    AUTHORITY_KEY_IDENTIFIER: ("authorityKeyIdentifier", False),
    _CRL_NUMBER: ("cRLNumber", False),
    _DELTA_CRL_INDICATOR: ("deltaCRLIndicator", True),
    _ISSUING_DISTRIBUTION_POINT: ("issuingDistributionPoint", True),
    _FRESHEST_CRL: ("freshestCRL", False),
}


def crl_faults(crl: x509.CertificateRevocationList) -> list[str]:
    """Say what is wrong with a CRL; empty for one that keeps to RFC 5280.

    Every entry is looked at: a list with a million takes seconds, so that it is not for the reactor's
    thread.  Neither the signature nor the time is judged.

    :returns: a few words for each fault, :data:`MOST_CRL_FAULTS` at most.
    """
    found: list[str] = []
    try:
        for fault in _faults(crl.public_bytes(Encoding.DER)):
            found.append(fault)
            if len(found) == MOST_CRL_FAULTS:
                break
    except DERError as error:
        found.append(f"it cannot be read: {error}")
    return found


def _faults(der: bytes) -> Iterator[str]:
    start, end = expect(der, 0, len(der), SEQUENCE)
    at, stop = expect(der, start, end, SEQUENCE)
    version = 1
    if at < stop and der[at] == INTEGER:
        first, at = expect(der, at, stop, INTEGER)
        version = whole_number(der[first:at]) + 1
    if version != 2:
        yield f"it is of version {version}, where version 2 is wanted"
    # ``cryptography`` has made sure that the algorithm beside the signature is the same.
    _, at = expect(der, at, stop, SEQUENCE)
    first, at = expect(der, at, stop, SEQUENCE)
    if first == at:
        yield "an empty issuer"

    rest = list(elements(der, at, stop))
    times: list[tuple[int, bytes]] = []
    while rest and rest[0][0] in (UTC_TIME, GENERALIZED_TIME) and len(times) < 2:
        tag, first, last = rest.pop(0)
        times.append((tag, der[first:last]))
    for what, time in zip(("thisUpdate", "nextUpdate"), times, strict=False):
        fault = time_fault(*time)
        if fault is not None:
            yield f"{fault}, as {what}"
    if len(times) < 2:
        yield "no nextUpdate"
    if rest and rest[0][0] == SEQUENCE:
        _, first, last = rest.pop(0)
        yield from _entry_faults(der, first, last, version)
    extensions: tuple[Extension, ...] = ()
    if rest and rest[0][0] == _EXTENSIONS:
        _, first, last = rest.pop(0)
        unusual: list[str] = []
        extensions = read_extensions(der, first, last, unusual)
        yield from unusual
    if rest:
        yield f"tag {rest[0][0]:#04x} in the place of extensions"
    yield from _extension_faults(extensions)


def _extension_faults(extensions: tuple[Extension, ...]) -> Iterator[str]:
    found = {one.oid: one for one in extensions}
    if len(found) != len(extensions):
        yield "an extension twice"
    for one in extensions:
        name, critical = _CRITICAL.get(one.oid, ("", False))
        if one.critical != critical:
            if name:
                yield f"{name} is {'critical' if one.critical else 'not critical'}"
            else:
                yield "a critical extension that is not known"
    number = found.get(_CRL_NUMBER)
    if number is None:
        yield "no cRLNumber"
    else:
        try:
            whole_number(only(number.value, INTEGER))
        except DERError as error:
            yield f"a cRLNumber that is none: {error}"
    identifier = found.get(AUTHORITY_KEY_IDENTIFIER)
    if identifier is None:
        yield "no authorityKeyIdentifier"
    elif not any(tag == 0x80 for tag, _, _ in elements(only(identifier.value, SEQUENCE))):
        yield "an authorityKeyIdentifier without keyIdentifier"


def _entry_faults(der: bytes, start: int, stop: int, version: int) -> Iterator[str]:
    if start == stop:
        yield "an empty list of revoked certificates"
    # In an indirect CRL an entry names its issuer where it is another than the entry's before it.
    issuer = b""
    seen: set[tuple[bytes, bytes]] = set()
    for tag, at, end in elements(der, start, stop):
        if tag != SEQUENCE:
            raise DERError("a revoked certificate that is no sequence")
        first, at = expect(der, at, end, INTEGER)
        serial = der[first:at]
        if not 1 <= len(serial) <= 20 or serial[0] & 0x80 or serial == b"\0":
            yield f"a serial number that is not positive, or longer than 20 bytes: {serial[:24].hex()}"
        kind, first, at = read(der, at, end)
        fault = time_fault(kind, der[first:at])
        if fault is not None:
            yield f"{fault}, as revocationDate of {serial[:24].hex()}"
        if at != end:
            if version != 2:
                yield "an entry with extensions, which version 1 has not"
            unusual: list[str] = []
            for one in read_extensions(der, at, end, unusual):
                if one.critical != (one.oid == _CERTIFICATE_ISSUER):
                    how = "is" if one.critical else "is not"
                    yield f"an entry's extension that {how} critical: {serial[:24].hex()}"
                if one.oid == _CERTIFICATE_ISSUER:
                    issuer = one.value
            yield from unusual
        if (issuer, serial) in seen:
            yield f"a serial number twice: {serial[:24].hex()}"
        seen.add((issuer, serial))
