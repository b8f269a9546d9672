"""Where requests are sent: endpoints, and how connections to them are made and kept."""
from __future__ import annotations

from enum import Enum

from attrs import Factory, frozen

from edgegw.model.routing import BackendUse
from edgegw.model.upstream_tls import ProxyProtocol, UpstreamTLS

__all__ = [
    "ActiveHealthCheck",
    "Balancing",
    "BalancingPolicy",
    "CookieLifetime",
    "Endpoint",
    "EndpointKind",
    "HashKey",
    "HTTPVersion",
    "HashSource",
    "OutlierDetection",
    "Resolution",
    "RetryBudget",
    "SameSite",
    "SessionPersistence",
    "SessionType",
    "Upstream",
    "UpstreamLimits",
]


class EndpointKind(Enum):
    """What an endpoint's host is."""

    HOST = "host"
    SRV = "srv"
    UNIX = "unix"


class HTTPVersion(Enum):
    """What is spoken with an upstream.

    ``AUTO`` lets ALPN decide between HTTP/2 and HTTP/1.1, which takes TLS.  Without it the gateway begins with HTTP/2
    by prior knowledge (RFC 9113 §3.3), with TLS it asks for nothing else.
    """

    HTTP_1_1 = "1.1"
    HTTP_2 = "2"
    AUTO = "auto"


@frozen
class Endpoint:
    """What requests are sent to.

    :ivar host: an IP address, a host name, all of whose addresses are endpoints then, the name of SRV records
        (RFC 2782), or the path of a Unix socket.
    :ivar port: 0 where the kind has none.
    :ivar weight: its share of the requests, beside the others' of its priority; each address of a name has it.
    :ivar priority: the lowest one is used while enough of it is healthy, then the next.
    """

    host: str
    port: int
    weight: int = 1
    priority: int = 0
    kind: EndpointKind = EndpointKind.HOST

    def __str__(self) -> str:
        if self.kind is not EndpointKind.HOST:
            return f"{self.kind.value}:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- balancing ------------------------------------------------------------------------------


class BalancingPolicy(Enum):
    """How an endpoint is chosen among those of a priority."""

    ROUND_ROBIN = "round_robin"
    LEAST_REQUEST = "least_request"
    RANDOM = "random"
    CONSISTENT_HASH = "consistent_hash"


class HashSource(Enum):
    """What a consistent hash is made of."""

    HEADER = "header"
    COOKIE = "cookie"
    IDENTITY = "identity"
    ADDRESS = "address"


@frozen
class HashKey:
    """What a consistent hash is made of, where a request has it.

    :ivar name: of the header (lower-case) or the cookie, or one of :data:`edgegw.identity.FACTS`; empty for the
        client's address.
    """

    source: HashSource
    name: str = ""


@frozen
class Balancing:
    """:ivar hash_on: for ``CONSISTENT_HASH``: the first that a request has counts."""

    policy: BalancingPolicy = BalancingPolicy.ROUND_ROBIN
    hash_on: tuple[HashKey, ...] = ()


class SessionType(Enum):
    """What a client brings its session along in (Gateway API ``SessionPersistenceType``)."""

    COOKIE = "Cookie"
    HEADER = "Header"


class CookieLifetime(Enum):
    """How long a client keeps the cookie (Gateway API ``CookieLifetimeType``)."""

    SESSION = "Session"
    PERMANENT = "Permanent"


class SameSite(Enum):
    """Which other sites' requests have the cookie with them."""

    LAX = "Lax"
    STRICT = "Strict"
    NONE = "None"


@frozen
class SessionPersistence:
    """Let a client stay with the endpoint that answered it first (Gateway API ``SessionPersistence``).

    :ivar session_name: of the cookie or the header.
    :ivar absolute_timeout: seconds after which a session begins anew; ``None`` for none, which ``PERMANENT`` needs.
    :ivar secret: what the tokens are made with, for several processes to understand each other's; ``None`` makes one
        that lasts as long as the process.
    """

    type: SessionType = SessionType.COOKIE
    session_name: str = "edgegw-session"
    absolute_timeout: float | None = None
    lifetime: CookieLifetime = CookieLifetime.SESSION
    path: str = "/"
    same_site: SameSite = SameSite.LAX
    secret: str | None = None


# --- names, health, limits --------------------------------------------------------------------


@frozen
class Resolution:
    """How names are looked up again.

    :ivar servers: IP addresses and ports to ask; none for those of ``/etc/resolv.conf``, with ``/etc/hosts`` before.
    :ivar min_interval: seconds between two look-ups at least, however short an answer lives.
    :ivar max_interval: seconds at most, however long it lives; that long is waited after a failure too, at most.
    """

    servers: tuple[Endpoint, ...] = ()
    min_interval: float = 1.0
    max_interval: float = 300.0


@frozen
class ActiveHealthCheck:
    """Ask each endpoint again and again whether it works.

    :ivar path: what is asked for by HTTP; ``None`` only opens a connection.
    :ivar host: the Host; ``None`` is the endpoint's.
    :ivar statuses: which answers are good, each from the first to the last.
    :ivar interval: seconds between two checks, give or take a tenth.
    :ivar timeout: seconds for one.
    :ivar unhealthy_threshold: bad ones in a row that take an endpoint out; so good ones for ``healthy_threshold``.
    """

    path: str | None = "/"
    host: str | None = None
    method: str = "GET"
    statuses: tuple[tuple[int, int], ...] = ((200, 299),)
    interval: float = 10.0
    timeout: float = 2.0
    unhealthy_threshold: int = 3
    healthy_threshold: int = 2


@frozen
class OutlierDetection:
    """Take endpoints out for a while that fail requests (Envoy ``outlier_detection``).

    :ivar consecutive_5xx: responses with 5xx, and none at all, in a row; ``None`` does not look at them.  So for the
        other two.
    :ivar consecutive_gateway_errors: 502, 503 and 504, and none at all.
    :ivar consecutive_connect_failures: connections that could not be opened.
    :ivar base_ejection_time: seconds, times how often it happened lately.
    :ivar max_ejection_time: seconds at most.
    :ivar max_ejected: percent of the endpoints that may be out at a time; the last one that is left never is.
    """

    consecutive_5xx: int | None = 5
    consecutive_gateway_errors: int | None = 5
    consecutive_connect_failures: int | None = 3
    base_ejection_time: float = 30.0
    max_ejection_time: float = 300.0
    max_ejected: int = 50


@frozen
class UpstreamLimits:
    """What an upstream is burdened with at most; past it requests get 503 at once.  ``None`` is unlimited.

    :ivar max_connections: open at a time, to all endpoints; beyond them requests wait.
    :ivar max_pending: requests that wait so at a time.
    :ivar max_requests: requests that it has not answered, those that wait among them.
    :ivar max_requests_per_connection: after them a connection is closed.
    :ivar max_connection_age: seconds after which a connection is closed when its response is complete, less up to a
        tenth.
    :ivar max_concurrent_streams: requests at a time on one HTTP/2 connection; fewer where the upstream says so.
    """

    max_connections: int | None = None
    max_pending: int = 1024
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_connection_age: float | None = None
    max_concurrent_streams: int = 100


@frozen
class RetryBudget:
    """How much may be sent again (Gateway API ``RetryBudget``).

    :ivar percent: of the requests of ``interval`` seconds.
    :ivar min_retries: in an interval that are always allowed.
    """

    percent: int = 20
    interval: float = 10.0
    min_retries: int = 10


@frozen
class Upstream:
    """Where requests are sent: endpoints that serve the same thing, or a backend in their place.

    :ivar backend: answers by itself; there are no endpoints then.
    :ivar http_version: what is spoken with it.
    :ivar response_timeout: seconds for the response's head after the request was sent; past it 504.
    :ivar idle_timeout: seconds without a byte of a response's body, and without progress of a
        request's towards the upstream; past it the exchange is cut.
    :ivar keep_alive_timeout: seconds that an unused connection is kept.
    :ivar max_idle: unused connections kept to one endpoint.
    :ivar panic_threshold: percent of a priority's endpoints; where fewer can be used, and others cannot take
        their requests, all of them are used whatever is known of them.
    :ivar slow_start: seconds in which an endpoint that is new, or healthy again, gets to its whole share.
    :ivar tls: ``None`` speaks without TLS.
    :ivar proxy_protocol: begin each connection with whom it is for; such a connection serves one client only.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    idle_timeout: float = 60.0
    keep_alive_timeout: float = 60.0
    max_idle: int = 128
    backend: BackendUse | None = None
    balancing: Balancing = Factory(Balancing)
    session_persistence: SessionPersistence | None = None
    resolution: Resolution = Factory(Resolution)
    health_check: ActiveHealthCheck | None = None
    outlier_detection: OutlierDetection | None = None
    panic_threshold: int = 0
    slow_start: float | None = None
    limits: UpstreamLimits = Factory(UpstreamLimits)
    retry_budget: RetryBudget | None = None
    tls: UpstreamTLS | None = None
    proxy_protocol: ProxyProtocol | None = None
    http_version: HTTPVersion = HTTPVersion.HTTP_1_1
