"""What holds for a port as a whole, before it is known which of its listeners a client is for."""
from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from attrs import frozen

__all__ = ["PortSettings", "ProxyHeaderMode", "ProxyHeaders", "UnmatchedName"]


class UnmatchedName(Enum):
    """What becomes of a TLS client whose name no listener of the port takes, and of one that names none."""

    CLOSE = "close"
    UNRECOGNIZED_NAME = "unrecognized_name"
    DEFAULT_CERTIFICATE = "default_certificate"


class ProxyHeaderMode(Enum):
    """Whether connections must begin with a PROXY header."""

    REQUIRED = "required"
    OPTIONAL = "optional"


@frozen
class ProxyHeaders:
    """From whom PROXY headers are taken: the addresses in them are believed.

    :ivar trusted: the proxies' own addresses.
    :ivar unix: whether whoever connects to the Unix socket is trusted.
    :ivar mode: ``REQUIRED`` takes connections from trusted proxies alone, each with a header; ``OPTIONAL`` also those
        of others, which are not searched for one, and those of trusted proxies without one.
    :ivar timeout: seconds for the whole header, from accepting the connection.
    :ivar max_bytes: of a header of version 2.
    """

    trusted: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False
    mode: ProxyHeaderMode = ProxyHeaderMode.REQUIRED
    timeout: float = 5.0
    max_bytes: int = 4096


@frozen
class PortSettings:
    """Settings of addresses and ports.

    :ivar bindings: as :class:`~edgegw.model.Listener` has them; each is in one of a gateway's settings at most.
    :ivar unmatched_name: ``None`` closes where a listener of the port passes TLS through, and shows the first
        listener's default certificate elsewhere.
    :ivar proxy_protocol: ``None`` looks for no PROXY header.
    :ivar plaintext_listener: the name of a listener of the port with the protocol HTTP or TCP, which gets the
        connections that do not begin with TLS; ``None`` refuses them.
    """

    bindings: tuple[tuple[str | None, int], ...]
    unmatched_name: UnmatchedName | None = None
    proxy_protocol: ProxyHeaders | None = None
    plaintext_listener: str | None = None
