"""Who is calling: the identity behind a connection, and its facts by the names that templates use."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from attrs import frozen

from edgegw.certificate import Certificate, certificate, normalise_fingerprint, printable
from edgegw.proxied import ProxyFacts

__all__ = [
    "FACTS",
    "Certificate",
    "CertificateStatus",
    "ConnectionInfo",
    "Identity",
    "certificate",
    "fact",
    "normalise_fingerprint",
]


class CertificateStatus(str, Enum):
    """What became of the request for a client certificate."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    NONE = "none"


@frozen
class Identity:
    """Who is at the other end of a connection, as far as TLS can tell.

    :ivar status: ``UNVERIFIED`` certificates are claims: nothing may be decided by them.
    :ivar certificate: the client's own certificate; ``None`` exactly where ``status`` is ``NONE``.
    :ivar chain: what the client sent above its own certificate, in its order; empty on resumed
        connections and wherever nothing of the listener asks for it.
    :ivar verified_chain: the chain as it was verified, the client's own certificate first and the anchor last;
        ``None`` where no policy of a rule asks for it, and where nothing was verified.
    """

    status: CertificateStatus = CertificateStatus.NONE
    certificate: Certificate | None = None
    chain: tuple[Certificate, ...] = ()
    verified_chain: tuple[Certificate, ...] | None = None

    @property
    def verified(self) -> Certificate | None:
        """The client's certificate if it was verified; upstreams are told of no other."""
        return self.certificate if self.status is CertificateStatus.VERIFIED else None

    @property
    def known_chain(self) -> tuple[Certificate, ...] | None:
        """The verified chain, empty where nothing was verified; ``None`` where it was not kept."""
        return self.verified_chain if self.status is CertificateStatus.VERIFIED else ()


_NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})


class ConnectionInfo(NamedTuple):
    """What is known of a connection when its handshake is done, or when it was accepted without TLS.

    A tuple, because one is made in every handshake, and that takes a third of the time of a frozen class's.

    :ivar peer: the client's IP address as text without a port; ``"unix:"`` for a Unix socket.
    :ivar local_port: the port it was accepted on; 0 for a Unix socket.
    :ivar server_name: SNI in canonical form, or ``None``.
    :ivar server_uris: the URI SANs of the certificate that the gateway showed.
    :ivar tls_version: ``"TLSv1.2"``, ``"TLSv1.3"`` or ``None`` without TLS.
    :ivar cipher: IANA or OpenSSL name as OpenSSL gives it; ``None`` without TLS.
    :ivar group: the key exchange group; ``None`` without TLS or where OpenSSL does not say.
    :ivar resumed: whether the handshake resumed an earlier session.
    :ivar attributes: what the policies that accepted the client said of it.
    :ivar ja3: the ClientHello's fingerprint, 32 hexadecimal digits; ``None`` where the port takes none.
    :ivar ja4: likewise, such as ``t13d1516h2_8daaf6152771_e5627efa2ab1``.
    :ivar proxied: what a proxy in front said in a PROXY header; ``None`` without one.  ``peer`` and ``peer_port`` are
        then the client's, as the proxy told them.
    """

    listener: str
    identity: Identity
    peer: str
    peer_port: int = 0
    local_port: int = 0
    server_name: str | None = None
    server_uris: tuple[str, ...] = ()
    tls_version: str | None = None
    cipher: str | None = None
    group: str | None = None
    resumed: bool = False
    attributes: Mapping[str, str] = _NO_ATTRIBUTES
    ja3: str | None = None
    ja4: str | None = None
    proxied: ProxyFacts | None = None


# --- facts by name --------------------------------------------------------------------------


def _kept(name: str) -> str:
    """Keep a distinguished name's escaped last space from falling off the end of a header."""
    return f"{name[:-1]}20" if name.endswith("\\ ") else name


def _joined(names: tuple[str, ...]) -> str:
    # Unescaped, one name with a comma in it would pass for two (Envoy lets it).
    return ",".join([name.replace(",", "%2C") for name in names])


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_CERTIFICATE_FACTS: Mapping[str, Callable[[Certificate], str]] = {
    "subject": lambda cert: _kept(cert.subject),
    "issuer": lambda cert: _kept(cert.issuer),
    "common_name": lambda cert: printable(cert.common_name.encode("utf-8", "backslashreplace")),
    "serial": lambda cert: cert.serial,
    "sha256": lambda cert: cert.sha256,
    "sha256_colons": lambda cert: cert.sha256_colons,
    "uris": lambda cert: _joined(cert.uris),
    "dns_names": lambda cert: _joined(cert.dns_names),
    "emails": lambda cert: _joined(cert.emails),
    "ip_addresses": lambda cert: _joined(cert.ip_addresses),
    "spiffe_id": lambda cert: cert.spiffe_id or "",
    "not_before": lambda cert: _moment(cert.not_before),
    "not_after": lambda cert: _moment(cert.not_after),
    "url_encoded_pem": lambda cert: cert.url_encoded_pem,
}

_CONNECTION_FACTS: Mapping[str, Callable[[ConnectionInfo], str]] = {
    "status": lambda info: info.identity.status.value,
    "listener": lambda info: printable(info.listener.encode("utf-8", "backslashreplace")),
    "peer": lambda info: info.peer,
    "server_name": lambda info: info.server_name or "",
    "tls_version": lambda info: info.tls_version or "",
    "cipher": lambda info: info.cipher or "",
    "group": lambda info: info.group or "",
    "resumed": lambda info: "true" if info.resumed else "false",
    "ja3": lambda info: info.ja3 or "",
    "ja4": lambda info: info.ja4 or "",
}

#: What templates may name; :func:`fact` says how each is written.
FACTS: tuple[str, ...] = (*_CERTIFICATE_FACTS, *_CONNECTION_FACTS)


def fact(info: ConnectionInfo, name: str) -> str:
    """Give a fact as text that is safe in a header: printable ASCII without outer spaces.

    Facts of the certificate are empty unless it was verified, and where it has none.

    * ``subject``, ``issuer``: RFC 2253, its last space, if it has one, as ``\\20``.
    * ``common_name``: control characters, everything beyond ASCII, backslashes and outer spaces as
      ``\\XX`` for each byte of the UTF-8.
    * ``uris``, ``dns_names``, ``emails``, ``ip_addresses``: joined with ``,``; a comma inside one of
      them as ``%2C``.
    * ``not_before``, ``not_after``: ``2045-01-01T00:00:00.000Z``.
    * ``ja3``, ``ja4``: empty without TLS, and where nothing of the port asks for them.
    * ``status``: ``verified``, ``unverified`` or ``none``; ``resumed``: ``true`` or ``false``.

    :param name: one of :data:`FACTS`.
    :raises KeyError: it is none of them.
    """
    of_certificate = _CERTIFICATE_FACTS.get(name)
    if of_certificate is None:
        return _CONNECTION_FACTS[name](info)
    verified = info.identity.verified
    return "" if verified is None else of_certificate(verified)
