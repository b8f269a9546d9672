"""Whether an upstream's certificate is for the upstream that was meant (RFC 9525, Gateway API ``BackendTLSPolicy``)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, DNSPattern

from edgegw.certificate import Certificate, printable
from edgegw.model import SubjectAltName, SubjectAltNameType

__all__ = ["IsFor", "is_ip_address", "name_check", "names_shown"]

#: Says whether a certificate is for what was meant.
IsFor = Callable[[Certificate], bool]

_MAX_SHOWN = 200


def is_ip_address(name: str) -> bool:
    """Whether a name is an IP address, which no SNI can be (RFC 6066 §3)."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def name_check(hostname: str, alternatives: Sequence[SubjectAltName]) -> tuple[IsFor, str]:
    """Give what judges certificates, and what it wants, in words.

    :param hostname: a DNS name or an IP address.
    :param alternatives: one of which must be in the certificate; any makes ``hostname`` of no account.
    """
    if alternatives:
        checks = tuple(map(_alternative_check, alternatives))
        wanted = " or ".join(f"{one.type.value}:{one.value}" for one in alternatives)
        return lambda leaf: any(check(leaf) for check in checks), wanted
    return _host_check(hostname), hostname


def names_shown(leaf: Certificate) -> str:
    """Give a certificate's names for a message: printable ASCII, bounded."""
    names = [
        *(f"dns:{name}" for name in leaf.dns_names),
        *(f"uri:{name}" for name in leaf.uris),
        *(f"ip:{name}" for name in leaf.ip_addresses),
    ]
    text = printable(", ".join(names).encode("utf-8", "backslashreplace"))
    return (text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...") or "no name"


def _alternative_check(alternative: SubjectAltName) -> IsFor:
    value = alternative.value
    if alternative.type is SubjectAltNameType.URI:
        return lambda leaf: value in leaf.uris
    if value.startswith("*."):
        return lambda leaf: value in [name.lower() for name in leaf.dns_names]
    return _host_check(value)


def _host_check(hostname: str) -> IsFor:
    if is_ip_address(hostname):
        address = str(ip_address(hostname))
        return lambda leaf: address in leaf.ip_addresses
    wanted = DNS_ID(hostname)
    return lambda leaf: any(_covers(name, wanted) for name in leaf.dns_names)


def _covers(name: str, wanted: DNS_ID) -> bool:
    try:
        # One by one: a name that service-identity takes for none, such as *.internal, is no reason against the others.
        return wanted.verify(DNSPattern.from_bytes(name.encode("ascii")))
    except (CertificateError, ValueError):
        return False
