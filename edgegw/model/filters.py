"""What a rule, or one backend of it, does with a request and its response (Gateway API ``HTTPRouteFilter``)."""
from __future__ import annotations

from enum import Enum

from attrs import frozen

__all__ = [
    "CORS",
    "NO_FILTERS",
    "Compression",
    "Encoding",
    "ExternalAuth",
    "Filters",
    "FixedResponse",
    "HeaderModifier",
    "Mirror",
    "OnFailure",
    "PathModifier",
    "PathModifierType",
    "RateLimit",
    "RateLimitKey",
    "Redirect",
    "Retry",
    "Rewrite",
    "Timeouts",
]


# --- headers and places -----------------------------------------------------------------------


@frozen
class HeaderModifier:
    """Changes to header lines; every name is in lower case and stands in one of the three.

    :ivar set: in place of what is there.
    :ivar add: beside what is there, behind a comma.
    :ivar remove: taken out.
    """

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


class PathModifierType(Enum):
    """How a path is replaced (Gateway API ``HTTPPathModifier``)."""

    REPLACE_FULL_PATH = "ReplaceFullPath"
    REPLACE_PREFIX_MATCH = "ReplacePrefixMatch"


@frozen
class PathModifier:
    """Another path, or another beginning of it in place of the prefix that the rule matches."""

    type: PathModifierType
    value: str


@frozen
class Redirect:
    """An answer that sends the client elsewhere; what is not given stays as in the request.

    :ivar scheme: ``http`` or ``https``.
    :ivar port: ``None`` is the scheme's own where a scheme is given, else the listener's.
    :ivar status: 301, 302, 303, 307 or 308.
    """

    scheme: str | None = None
    hostname: str | None = None
    port: int | None = None
    path: PathModifier | None = None
    status: int = 302


@frozen
class Rewrite:
    """What the upstream is asked for in place of what the client has asked for.

    :ivar hostname: in ``Host``.
    :ivar port: behind the name in ``Host``; ``None`` is none where there is a ``hostname``, else the client's.
    """

    hostname: str | None = None
    port: int | None = None
    path: PathModifier | None = None


@frozen
class FixedResponse:
    """An answer that is always the same.

    :ivar headers: names in lower case and values.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


# --- time, number and size --------------------------------------------------------------------


@frozen
class Timeouts:
    """Seconds that a request may take; past them 504, or the response is cut.

    :ivar request: from the request's head to the end of the response, every try included; 0 for no limit.
    :ivar backend_request: of each try, from its sending to the end of its response; 0 for no limit.
    """

    request: float = 0.0
    backend_request: float = 0.0


@frozen
class Retry:
    """When a request is sent again.

    :ivar codes: statuses of a response in whose place another try is made.
    :ivar attempts: further tries after the first.
    :ivar backoff: seconds at least before a further try; they double at each.
    :ivar max_backoff: seconds at most.
    :ivar methods: of requests that may be sent again though an upstream may have acted upon them; ``None`` for those
        that are idempotent (RFC 9110 §9.2.2).
    :ivar max_body: bytes of a request's body that are kept to be sent again.
    """

    codes: frozenset[int] = frozenset()
    attempts: int = 1
    backoff: float = 0.025
    max_backoff: float = 1.0
    methods: frozenset[str] | None = None
    max_body: int = 65_536


class RateLimitKey(Enum):
    """Whose requests are counted together."""

    RULE = "rule"
    ADDRESS = "address"
    IDENTITY = "identity"


@frozen
class RateLimit:
    """How many requests a rule takes; past that 429.

    :ivar requests: in ``seconds``, over a long time.
    :ivar burst: at once.
    :ivar max_entries: clients that are counted each for itself.
    """

    requests: int
    seconds: float
    burst: int
    per: RateLimitKey = RateLimitKey.RULE
    max_entries: int = 100_000


# --- others that are asked or told ------------------------------------------------------------


@frozen
class CORS:
    """Which pages of other origins may use responses (Fetch standard).

    :ivar allow_origins: ``scheme://host[:port]`` with ``*`` for the beginning of the host, or ``*``.
    :ivar allow_methods: beside GET, HEAD and POST; or ``*``.
    :ivar allow_headers: of requests; or ``*``.
    :ivar expose_headers: of responses; or ``*``.
    :ivar max_age: seconds that a browser may keep the answer.
    """

    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: float = 5.0


@frozen
class Mirror:
    """An upstream that gets copies of requests, whose responses nobody sees.

    :ivar numerator: of so many requests in ``denominator``.
    """

    upstream: str
    numerator: int = 100
    denominator: int = 100


class OnFailure(Enum):
    """What becomes of a request that a service cannot decide about."""

    REFUSE = "refuse"
    ALLOW = "allow"


@frozen
class ExternalAuth:
    """An HTTP service that decides about each request: 200 lets it pass.

    :ivar append_path: ask for the client's path and query behind the URL's path.
    :ivar request_headers: of the client's, that the service is told.
    :ivar facts: headers for the service, with their templates.
    :ivar upstream_headers: of the service's answer, that the upstream gets where it allows.
    :ivar client_headers: of the service's answer, that the client gets where it does not.
    :ivar status: what the client gets where there is no decision.
    :ivar ca_certificates: PEM that an ``https`` service's chain ends in; ``None`` for the system's.
    :ivar concurrency: requests to the service at a time; more wait.
    """

    url: str
    timeout: float = 2.0
    request_headers: tuple[str, ...] = ("authorization", "cookie")
    facts: tuple[tuple[str, str], ...] = (
        ("x-client-status", "{status}"),
        ("x-client-subject", "{subject}"),
        ("x-client-uris", "{uris}"),
        ("x-client-sha256", "{sha256}"),
    )
    upstream_headers: tuple[str, ...] = ()
    client_headers: tuple[str, ...] = ("content-type", "location", "set-cookie", "www-authenticate")
    on_failure: OnFailure = OnFailure.REFUSE
    status: int = 403
    ca_certificates: bytes | None = None
    concurrency: int = 64
    append_path: bool = False


class Encoding(Enum):
    """Content codings (RFC 1952, RFC 7932, RFC 8878)."""

    GZIP = "gzip"
    BROTLI = "br"
    ZSTD = "zstd"


@frozen
class Compression:
    """Which responses are compressed.

    :ivar encodings: the gateway's order, where a client likes several as much.
    :ivar content_types: media types without parameters.
    :ivar min_length: bytes; shorter bodies are left as they are.
    :ivar with_credentials: also responses with ``Set-Cookie`` and to requests with ``Authorization`` or ``Cookie``,
        whose size then tells of what is in them (BREACH).
    """

    encodings: tuple[Encoding, ...] = (Encoding.ZSTD, Encoding.BROTLI, Encoding.GZIP)
    content_types: tuple[str, ...] = (
        "text/html", "text/css", "text/plain", "text/javascript", "text/xml", "text/csv", "application/javascript",
        "application/json", "application/problem+json", "application/xml", "application/wasm", "image/svg+xml",
    )
    min_length: int = 1024
    with_credentials: bool = False


# --- the whole --------------------------------------------------------------------------------


@frozen
class Filters:
    """All of it; ``None`` and empty where nothing is done.

    A backend has ``request_headers``, ``response_headers``, ``redirect``, ``rewrite``, ``cors`` and ``mirrors`` only.
    Its headers and mirrors come after those of its rule; the others stand in place of the rule's.

    :ivar max_body: bytes of a request's body, in place of the listener's limit; past it 413.
    """

    request_headers: HeaderModifier | None = None
    response_headers: HeaderModifier | None = None
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    fixed_response: FixedResponse | None = None
    timeouts: Timeouts | None = None
    max_body: int | None = None
    retry: Retry | None = None
    rate_limit: RateLimit | None = None
    cors: CORS | None = None
    mirrors: tuple[Mirror, ...] = ()
    external_auth: ExternalAuth | None = None
    compression: Compression | None = None


NO_FILTERS = Filters()
