"""Clients for policies to judge, each with a real certificate, in one line."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from attrs import Factory, define
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgegw.certificate import Certificate
from edgegw.identity import CertificateStatus, ConnectionInfo, Identity
from edgegw.names import canonical_name
from edgegw.peer import Peer, RequestFacts
from edgegw.proxied import ProxyFacts
from edgegw.testing.certificates import Authority, Issued

__all__ = ["AnyCertificate", "Request", "anonymous_peer", "default_authority", "peer", "utc"]

#: What is taken for a certificate: ``bytes`` are its DER.
AnyCertificate = Issued | Certificate | x509.Certificate | bytes


@define
class Request:
    """A request for policies of a route's rule to judge: :class:`edgegw.peer.RequestFacts`.

    :ivar path: as it is sent, without the query.
    :ivar host: canonical; ``None`` where none is named.
    :ivar headers: one value for each name of any case.  One that is ``None`` was sent more than once.
    """

    method: str = "GET"
    path: str = "/"
    host: str | None = "a.example"
    headers: Mapping[str, str | None] = Factory(dict)

    def header(self, name: str) -> str | None:
        """Give a header's value; ``None`` if it was not sent, or more than once."""
        return next((value for known, value in self.headers.items() if known.lower() == name.lower()), None)


@cache
def default_authority() -> Authority:
    """Give the authority of the certificates that :func:`peer` issues: the same one each time."""
    return Authority("default test root")


def _facts(certificate: AnyCertificate) -> Certificate:
    if isinstance(certificate, Certificate):
        return certificate
    if isinstance(certificate, bytes):
        return Certificate(certificate)
    given = certificate.certificate if isinstance(certificate, Issued) else certificate
    return Certificate(given.public_bytes(Encoding.DER))


def utc(moment: datetime | None) -> datetime:
    """Give a time as policies are told it; the present for ``None``.

    :raises ValueError: it has no time zone, and would be whatever the machine's is.
    """
    if moment is None:
        return datetime.now(UTC)
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: give it tzinfo=UTC")
    return moment.astimezone(UTC)


def peer(
    certificate: AnyCertificate | None = None,
    *,
    dns: Iterable[str] = (),
    uris: Iterable[str] = (),
    emails: Iterable[str] = (),
    ips: Iterable[str] = (),
    common_name: str | None = "client",
    address: str = "192.0.2.7",
    port: int = 40000,
    listener: str = "edge",
    server_name: str | None = None,
    tls_version: str | None = "TLSv1.3",
    cipher: str | None = "TLS_AES_128_GCM_SHA256",
    group: str | None = "X25519MLKEM768",
    resumed: bool = False,
    verified: bool = True,
    chain: Sequence[AnyCertificate] | None = None,
    attributes: Mapping[str, str] | None = None,
    now: datetime | None = None,
    request: RequestFacts | None = None,
    ja3: str | None = None,
    ja4: str | None = None,
    proxied: ProxyFacts | None = None,
    **options: Any,
) -> Peer:
    """Make a client with a certificate.

    ::

        peer(dns=["billing.corp.example"])
        peer(Authority().issue_expired(dns=["old.example"]), address="2001:db8::1")

    :param certificate: one that is there already; without it one is issued with the common name, the subject
        alternative names and, as ``options``, whatever else :meth:`edgegw.testing.Authority.issue` takes.
    :param address: the client's IP address, ``"unix:"`` for a Unix socket; ``port`` is its port.
    :param server_name: what the client asked for (SNI).
    :param verified: whether its chain was good; false is a listener with ``AllowInsecureFallback``.
    :param chain: the chain that was verified, the client's own certificate first, the trust anchor last.  Without
        it, it is made of what an :class:`~edgegw.testing.Issued` knows of its issuers, and of the certificate alone
        otherwise.
    :param attributes: what policies have said of the client before.
    :param now: the time to judge by, aware, of any time zone: policies are told it in UTC; the present without it.
    :param request: the request at a route's rule, such as ``Request("GET", "/admin")``; ``None`` is the connection.
    :param ja3: the fingerprint of its ClientHello, as for ``ja4``; ``None`` where none was taken.
    :param proxied: what a proxy in front has said in a PROXY header.
    :raises TypeError: names for a certificate that is there already.
    :raises ValueError: ``now`` has no time zone.
    """
    if certificate is None:
        certificate = default_authority().issue(common_name, dns=dns, uris=uris, emails=emails, ips=ips, **options)
    elif options or any(tuple(names) for names in (dns, uris, emails, ips)):
        raise TypeError("a certificate that is given has its names already")
    leaf = _facts(certificate)
    sent: tuple[Certificate, ...] = ()
    if isinstance(certificate, Issued):
        sent = tuple(_facts(one) for one in certificate.chain)
    if chain is None:
        root = certificate.root if isinstance(certificate, Issued) else None
        whole = (leaf, *sent) if root is None else (leaf, *sent, _facts(root))
    else:
        whole = tuple(_facts(one) for one in chain)
    status = CertificateStatus.VERIFIED if verified else CertificateStatus.UNVERIFIED
    identity = Identity(status, leaf, sent)
    return Peer(
        _connection(
            identity, address, port, listener, server_name, tls_version, cipher, group, resumed, attributes,
            ja3, ja4, proxied,
        ),
        utc(now),
        whole if verified else (),
        attributes,
        request,
    )


def anonymous_peer(
    *,
    address: str = "192.0.2.7",
    port: int = 40000,
    listener: str = "edge",
    server_name: str | None = None,
    tls_version: str | None = "TLSv1.3",
    cipher: str | None = "TLS_AES_128_GCM_SHA256",
    group: str | None = "X25519MLKEM768",
    resumed: bool = False,
    attributes: Mapping[str, str] | None = None,
    now: datetime | None = None,
    request: RequestFacts | None = None,
    ja3: str | None = None,
    ja4: str | None = None,
    proxied: ProxyFacts | None = None,
) -> Peer:
    """Make a client that sent no certificate; the arguments are those of :func:`peer`."""
    return Peer(
        _connection(
            Identity(), address, port, listener, server_name, tls_version, cipher, group, resumed, attributes,
            ja3, ja4, proxied,
        ),
        utc(now),
        (),
        attributes,
        request,
    )


def _connection(
    identity: Identity,
    address: str,
    port: int,
    listener: str,
    server_name: str | None,
    tls_version: str | None,
    cipher: str | None,
    group: str | None,
    resumed: bool,
    attributes: Mapping[str, str] | None,
    ja3: str | None,
    ja4: str | None,
    proxied: ProxyFacts | None,
) -> ConnectionInfo:
    return ConnectionInfo(
        listener=listener,
        identity=identity,
        peer=address,
        peer_port=port,
        local_port=443,
        server_name=None if server_name is None else canonical_name(server_name),
        tls_version=tls_version,
        cipher=cipher,
        group=group,
        resumed=resumed,
        attributes=dict(attributes or {}),
        ja3=ja3,
        ja4=ja4,
        proxied=proxied,
    )
