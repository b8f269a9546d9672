"""A gateway as a whole, its listeners and how they tell upstreams who calls."""
from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Union

from attrs import Factory, frozen

from edgegw.model.http2 import HTTP2Settings
from edgegw.model.limits import ConnectionLimits
from edgegw.model.policies import PolicyRule
from edgegw.model.ports import PortSettings
from edgegw.model.routes import Route
from edgegw.model.routing import SNIRouterUse
from edgegw.model.tls import TLSSettings
from edgegw.model.tunnels import TCPRoute, TLSRoute
from edgegw.model.upstreams import Upstream

__all__ = [
    "Admin",
    "AmbiguousPaths",
    "ClientCertificateField",
    "FieldHeaders",
    "Forwarding",
    "Gateway",
    "HTTPSettings",
    "HeaderInjection",
    "HealthCheck",
    "InjectorUse",
    "Listener",
    "Logging",
    "PEMHeader",
    "Protocol",
    "TLSMode",
    "UnderscoreAction",
    "XFCC",
    "XFCCDetail",
    "XFCCMode",
]


class Protocol(Enum):
    """What a listener speaks (Gateway API ``ProtocolType``)."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    #: TLS whose bytes inside, or outside, go to an upstream as they are.
    TLS = "TLS"
    TCP = "TCP"


class TLSMode(Enum):
    """Where TLS ends (Gateway API ``TLSModeType``)."""

    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


# --- header injection -----------------------------------------------------------------------


class XFCCMode(Enum):
    """What happens to ``x-forwarded-client-cert`` (Envoy ``ForwardClientCertDetails``)."""

    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward_only"
    APPEND_FORWARD = "append_forward"
    SANITIZE_SET = "sanitize_set"
    ALWAYS_FORWARD_ONLY = "always_forward_only"


class XFCCDetail(Enum):
    """An element of ``x-forwarded-client-cert`` that is sent when asked for; Hash and By always are."""

    SUBJECT = "subject"
    CERT = "cert"
    CHAIN = "chain"
    URI = "uri"
    DNS = "dns"


@frozen
class XFCC:
    """Tell upstreams the caller in ``x-forwarded-client-cert``, as Envoy does."""

    mode: XFCCMode = XFCCMode.SANITIZE_SET
    details: frozenset[XFCCDetail] = frozenset({XFCCDetail.SUBJECT, XFCCDetail.URI, XFCCDetail.DNS})


@frozen
class ClientCertificateField:
    """Tell upstreams the caller in ``Client-Cert`` and, with ``chain``, ``Client-Cert-Chain`` (RFC 9440)."""

    chain: bool = False


@frozen
class PEMHeader:
    """Tell upstreams the caller's certificate as URL-encoded PEM, as nginx's ``$ssl_client_escaped_cert``.

    :ivar header: the header's name, lower-case.
    """

    header: str


@frozen
class FieldHeaders:
    """Headers made of identity facts by templates.

    :ivar headers: ``(lower-case name, template)``; a template is text with ``{fact}`` in it,
        where ``fact`` is one of :data:`edgegw.identity.FACTS`, or ``attribute:`` and the name of an attribute
        that policies give.
    """

    headers: tuple[tuple[str, str], ...]


@frozen
class InjectorUse:
    """A plugin that tells upstreams the caller, with its options, in one place of a configuration.

    :ivar kind: provides :class:`edgegw.interfaces.IHeaderInjectorKind`.
    :ivar injector: what the kind has built of its options; provides :class:`edgegw.interfaces.IHeaderInjector`.
    :ivar environment: what it was built with; provides :class:`edgegw.interfaces.IEnvironment`.
    """

    kind: Any
    injector: Any
    environment: Any = None


HeaderInjection = Union[XFCC, ClientCertificateField, PEMHeader, FieldHeaders, InjectorUse]


# --- listeners ------------------------------------------------------------------------------


class AmbiguousPaths(Enum):
    """What becomes of a request whose path an upstream may read as another one than the rules were matched with."""

    PASS = "pass"
    REFUSE = "refuse"


class UnderscoreAction(Enum):
    """What becomes of a request header whose name has an underscore: many upstreams read ``X_A`` as ``X-A``."""

    DROP = "drop"
    REFUSE = "refuse"


@frozen
class HTTPSettings:
    """Limits and time-outs of HTTP on a listener.

    :ivar max_head_bytes: request line and headers together; past it 431.
    :ivar max_headers: header lines; past it 431.
    :ivar max_uri_bytes: the request target; past it 414.
    :ivar max_body_bytes: past it 413; ``None`` is unlimited.
    :ivar head_timeout: seconds for a whole request head, from its first byte; past it 408.
    :ivar body_idle_timeout: seconds without a byte of a request's body; past it 408.
    :ivar keep_alive_timeout: seconds between requests; past it the connection closes.
    :ivar write_timeout: seconds in which a client that takes nothing of a response is given up.
    :ivar max_requests: requests on one connection; ``None`` is unlimited.
    :ivar upgrades: protocols that requests may ask for in place of HTTP, such as ``websocket``, on rules that do not
        say; requests for other protocols go on without that.
    :ivar upgrade_idle_timeout: seconds without a byte of such a protocol, either way, on rules that do not say.
    :ivar ambiguous_paths: ``None`` refuses them with 400 where any rule demands something of the client.
    """

    max_head_bytes: int = 65_536
    max_headers: int = 100
    max_uri_bytes: int = 16_384
    max_body_bytes: int | None = None
    head_timeout: float = 15.0
    body_idle_timeout: float = 60.0
    keep_alive_timeout: float = 60.0
    write_timeout: float = 60.0
    max_requests: int | None = None
    upgrades: tuple[str, ...] = ("websocket",)
    upgrade_idle_timeout: float = 300.0
    ambiguous_paths: AmbiguousPaths | None = None


@frozen
class Forwarding:
    """Which headers tell upstreams of the way a request came, and whom to believe about it.

    :ivar trusted_proxies: peers whose ``x-forwarded-*`` and ``x-request-id`` are believed and
        added to; everyone else's are replaced.
    :ivar via: the pseudonym to put into ``Via`` (RFC 9110 §7.6.3); ``None`` sends none.
    """

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    via: str | None = None
    underscores: UnderscoreAction = UnderscoreAction.DROP
    preserve_host: bool = True


@frozen
class HealthCheck:
    """A path that a listener answers by itself with 200, for load balancers' probes.

    On a listener that demands certificates, clients at ``sources`` come in without one, and get nothing but
    this answer.

    :ivar sources: whose requests are answered so; everyone else's are treated as any other.
    """

    path: str
    sources: tuple[IPv4Network | IPv6Network, ...]


@frozen
class Listener:
    """One name on one port.

    :ivar address: an IP address, ``None`` for all of IPv4 and IPv6, or ``unix:`` and a path.
    :ivar port: TCP port; 0 lets the system choose (tests), and stands for ``unix:`` listeners.
    :ivar hostname: exact or ``*.`` and a suffix, canonical; ``None`` takes every name.
    :ivar mode: ``PASSTHROUGH`` goes with the protocol TLS, and with no ``tls``.
    :ivar application_protocols: takes only clients that offer one of these by ALPN (RFC 7301); empty takes all.
        Envoy's ``filter_chain_match.application_protocols``.
    :ivar policies: to be passed beside those of the client validation, which they come after.
    """

    name: str
    port: int
    protocol: Protocol = Protocol.HTTPS
    address: str | None = None
    hostname: str | None = None
    tls: TLSSettings | None = None
    header_injection: tuple[HeaderInjection, ...] = ()
    limits: ConnectionLimits = Factory(ConnectionLimits)
    http: HTTPSettings = Factory(HTTPSettings)
    forwarding: Forwarding = Factory(Forwarding)
    policies: tuple[PolicyRule, ...] | None = None
    health_check: HealthCheck | None = None
    http2: HTTP2Settings = Factory(HTTP2Settings)
    mode: TLSMode = TLSMode.TERMINATE
    application_protocols: tuple[str, ...] = ()


# --- the whole ------------------------------------------------------------------------------


@frozen
class Admin:
    """Where metrics and health are served."""

    address: str = "127.0.0.1"
    port: int = 9901


@frozen
class Logging:
    """:ivar format: ``"text"`` or ``"json"``; :ivar level: ``debug``, ``info``, ``warn`` or ``error``."""

    format: str = "text"
    level: str = "info"


@frozen
class Gateway:
    """Everything that one process serves.

    :ivar drain_timeout: seconds that what is in flight has to finish after SIGTERM.
    :ivar handshake_record: how many handshakes are remembered.
    :ivar sni_routers: one at most for each address and port.
    :ivar ports: one at most for each address and port.
    """

    listeners: tuple[Listener, ...]
    routes: tuple[Route, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    admin: Admin | None = Factory(Admin)
    logging: Logging = Factory(Logging)
    drain_timeout: float = 30.0
    handshake_record: int = 10_000
    sni_routers: tuple[SNIRouterUse, ...] = ()
    ports: tuple[PortSettings, ...] = ()
    tls_routes: tuple[TLSRoute, ...] = ()
    tcp_routes: tuple[TCPRoute, ...] = ()
