"""By what a list knows an identity, and how that is written in a list and found in a certificate.

What is written in a list and what stands in a certificate are brought into one form before they are compared, so
that a hash with colons, a host name in capitals or a serial number with a leading zero is found all the same.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final

from attrs import frozen

from edgegw.api import Certificate, normalise_fingerprint
from edgegw.names import canonical_name
from edgegw.policies.details import shown
from edgegw.policies.packed_table import KEY_BYTES
from edgegw.policies.rfc4514 import MAX_NAME, comparable, parse_name, read_name
from edgegw.policies.serial import normalise_serial

__all__ = ["KEYS", "MOST_NAMES", "IdentityKey"]

#: Names of one certificate that are looked for on a list; certificates with thousands of names exist.
MOST_NAMES: Final = 100


def _one(certificate: Certificate) -> int:
    return 1


@frozen
class IdentityKey:
    """A fact by which identities are listed.

    :ivar columns: what the columns of a list are called that have it.
    :ivar words: what it is, in messages.
    :ivar listed: makes the digest of what a list has in these columns, none of it empty.  Raises ``ValueError``.
    :ivar found: gives what a certificate has, as text for messages; at most :data:`MOST_NAMES` of it.
    :ivar count: gives how many of them it has, with those that ``found`` leaves out.
    :ivar digest: makes the digest of one of these.
    :ivar claimed: whether an issuer must vouch for it: a certificate whose chain is not good can say anything.
    """

    columns: tuple[str, ...]
    words: str
    listed: Callable[[Sequence[str]], bytes]
    found: Callable[[Certificate], Sequence[str]]
    digest: Callable[[str], bytes]
    claimed: bool = True
    count: Callable[[Certificate], int] = _one

    def overlooked(self, certificate: Certificate, found: Sequence[str]) -> str:
        """Say why a certificate may have a fact on the list that was not looked up; empty if it has none."""
        count = self.count(certificate)
        if count > MOST_NAMES:
            return f"the certificate has {count} names of this kind, of which {MOST_NAMES} are looked up"
        if any(len(one) > MAX_NAME for one in found):
            return f"the {self.words} has more than {MAX_NAME} characters"
        if not found and certificate.parse_error is not None:
            return f"the certificate cannot be read: {shown(certificate.parse_error)}"
        return ""


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _key(
    name: str,
    words: str,
    written: Callable[[str], str],
    found: Callable[[Certificate], Sequence[str]],
    count: Callable[[Certificate], int] = _one,
) -> IdentityKey:
    return IdentityKey((name,), words, lambda values: _digest(written(values[0])), found, _digest, count=count)


# --- in one form ------------------------------------------------------------------------------


def _written_hash(text: str) -> bytes:
    if len(text) == 2 * KEY_BYTES:
        # The usual spelling, without a regular expression for each of a million.
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            digest = b""
        if len(digest) == KEY_BYTES:
            return digest
    return bytes.fromhex(normalise_fingerprint(text))


def _dns(name: str) -> str | None:
    wildcard = "*." if name.startswith("*.") else ""
    canonical = canonical_name(name.removeprefix("*."))
    return None if canonical is None else wildcard + canonical


def _written_dns(text: str) -> str:
    name = _dns(text)
    if name is None:
        raise ValueError(f"{shown(text)!r} is no DNS name (international ones are written as xn--...)")
    return name


def _email(address: str) -> str | None:
    # The local part may tell capitals apart, the domain does not (RFC 5280 §7.5).
    local, _, domain = address.rpartition("@")
    canonical = canonical_name(domain)
    return f"{local}@{canonical}" if local and canonical is not None and local.isascii() else None


def _written_email(text: str) -> str:
    address = _email(text)
    if address is None:
        raise ValueError(f"{shown(text)!r} is no mail address")
    return address


def _written_uri(text: str) -> str:
    if ":" not in text or not text.isascii() or " " in text:
        raise ValueError(f"{shown(text)!r} is no URI")
    return text


def _written_spiffe_id(text: str) -> str:
    domain, slash, path = text.removeprefix("spiffe://").partition("/")
    if not text.startswith("spiffe://") or not slash or not path or domain != domain.lower():
        raise ValueError(f"{shown(text)!r} is no workload's SPIFFE ID such as spiffe://example.org/service")
    return _written_uri(text)


def _written_name(text: str) -> str:
    name = parse_name(text)
    if not name:
        raise ValueError(f"{shown(text)!r} is an empty name")
    return repr(comparable(name))


def _some(*names: str | None) -> tuple[str, ...]:
    return tuple(name for name in names if name)


def _issuer_serial(values: Sequence[str]) -> bytes:
    issuer, serial = values
    return _digest(f"{_written_name(issuer)}\n{normalise_serial(serial)}")


def _issuer_serial_digest(text: str) -> bytes:
    issuer, _, serial = text.rpartition(" ")
    return _digest(f"{read_name(issuer).comparable!r}\n{serial}")


# --- the facts --------------------------------------------------------------------------------

#: By the word that a configuration has for each.
KEYS: Mapping[str, IdentityKey] = {
    "sha256": IdentityKey(
        ("sha256",), "hash", lambda values: _written_hash(values[0]),
        lambda certificate: (certificate.sha256,), bytes.fromhex, claimed=False,
    ),
    "spiffe_id": _key(
        "spiffe_id", "SPIFFE ID", _written_spiffe_id, lambda certificate: _some(certificate.spiffe_id)
    ),
    "uri": _key(
        "uri", "URI", _written_uri, lambda certificate: certificate.uris[:MOST_NAMES],
        lambda certificate: len(certificate.uris),
    ),
    "dns": _key(
        "dns", "DNS name", _written_dns, lambda certificate: _some(*map(_dns, certificate.dns_names[:MOST_NAMES])),
        lambda certificate: len(certificate.dns_names),
    ),
    "email": _key(
        "email", "mail address", _written_email,
        lambda certificate: _some(*map(_email, certificate.emails[:MOST_NAMES])),
        lambda certificate: len(certificate.emails),
    ),
    "common_name": _key(
        "common_name", "common name", lambda text: text, lambda certificate: _some(certificate.common_name)
    ),
    "subject": IdentityKey(
        ("subject",), "subject", lambda values: _digest(_written_name(values[0])),
        lambda certificate: _some(certificate.subject), lambda text: _digest(repr(read_name(text).comparable)),
    ),
    "serial": _key("serial", "serial number", normalise_serial, lambda certificate: _some(certificate.serial)),
    "issuer_serial": IdentityKey(
        ("issuer", "serial"), "issuer and serial number", _issuer_serial,
        lambda certificate: _some(
            certificate.issuer and certificate.serial and f"{certificate.issuer} {certificate.serial}"
        ),
        _issuer_serial_digest,
    ),
}  # fmt: skip
