"""The PROXY header that begins a connection to an upstream: what is told there of the client that it is for."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.address import IPv4Address, IPv6Address

from edgegw.identity import CertificateStatus, ConnectionInfo
from edgegw.model import ProxyProtocol
from edgegw.wire.proxy_protocol import ClientTLS, Endpoints, encode_v1, encode_v2, encode_v2_local

__all__ = ["Header", "ProxiedClient", "client_header", "proxy_header"]

#: What a connection begins with: bytes, or what makes them of its socket when it is open.
Header = bytes | Callable[[Any], bytes]

#: Bytes of a common name that are told; a longer one (X.520 has 64 characters) is not: cut short it would be another.
_MAX_COMMON_NAME: Final = 256


class ProxiedClient(Protocol):
    """Whose connection it is."""

    @property
    def transport(self) -> Any:
        """The client's."""

    @property
    def info(self) -> ConnectionInfo:
        """What is known of it."""


def proxy_header(version: ProxyProtocol, client: ProxiedClient | None) -> Header:
    """Give the header.

    :param client: ``None`` for a connection that the gateway makes for itself.
    """
    if client is None:
        return _of_gateway if version is ProxyProtocol.V1 else encode_v2_local()
    return client_header(version, client)


def client_header(version: ProxyProtocol, client: ProxiedClient) -> bytes:
    """Give the header of a connection that is a client's."""
    transport = client.transport
    ends = _ends(transport)
    if version is ProxyProtocol.V1:
        return encode_v1(ends)
    info = client.info
    alpn = getattr(transport, "negotiatedProtocol", None) or b""
    return encode_v2(ends, _tls(info), info.server_name or "", alpn)


def _of_gateway(sock: Any) -> bytes:
    """Give version 1's header of a connection for nobody: its own addresses, since many refuse ``UNKNOWN`` (§2.1)."""
    try:
        return encode_v1(Endpoints(sock.getsockname()[:2], sock.getpeername()[:2]))
    except (OSError, ValueError):
        return encode_v1(None)


def _ends(transport: Any) -> Endpoints | None:
    try:
        peer, host = transport.getPeer(), transport.getHost()
    except (OSError, AttributeError):
        return None  # the client has left meanwhile, and its transport has no socket any more
    if not isinstance(peer, (IPv4Address, IPv6Address)):
        return None
    return Endpoints((peer.host, peer.port), (host.host, host.port))


def _tls(info: ConnectionInfo) -> ClientTLS | None:
    if info.tls_version is None:
        return None
    identity = info.identity
    name = "" if identity.verified is None else identity.verified.common_name
    return ClientTLS(
        info.tls_version,
        info.cipher or "",
        identity.status is not CertificateStatus.NONE,
        info.resumed,
        identity.status is CertificateStatus.VERIFIED,
        name if len(name.encode("utf-8", "backslashreplace")) <= _MAX_COMMON_NAME else "",
    )
