"""How an upstream is written in the native document."""
from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from edgegw.config.document_balancing import BALANCING, SESSION_PERSISTENCE
from edgegw.config.document_health import HEALTH_CHECK, OUTLIER_DETECTION, PERCENT
from edgegw.config.document_terms import COUNT, NAME, setting
from edgegw.config.document_upstream_tls import PROXY_PROTOCOL, UPSTREAM_TLS
from edgegw.config.endpoints import SERVER, parse_upstream_endpoint
from edgegw.config.faults import Report
from edgegw.config.nodes import Node, Scalar
from edgegw.config.policies import PLUGIN
from edgegw.config.routing import check_upstream
from edgegw.config.scalars import Choice, Duration, Integer, Parsed
from edgegw.config.shapes import INVALID, REQUIRED, Field, Invalid, ListOf, OrWord, Record, Schema, Section, Shape
from edgegw.model import Endpoint, HTTPVersion, Resolution, RetryBudget, Upstream, UpstreamLimits

__all__ = ["LIMITS", "RESOLUTION", "RETRY_BUDGET", "UPSTREAM"]

_ADDRESS: Final = Parsed(
    "an address and a port such as 127.0.0.1:8000",
    parse_upstream_endpoint,
    {"pattern": r"^((\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}|srv:[^\s:/\[\]]+|unix:/.+)$"},
)
_endpoint = Endpoint("", 0)
_ENDPOINT: Final = Record(
    (
        Field("address", _ADDRESS, "What stands for the endpoint where nothing else is said of it.", REQUIRED),
        setting(_endpoint, "weight", Integer(1, 1000), "Its share of the requests, beside those of its priority."),
        setting(_endpoint, "priority", Integer(0, 100), "The lowest is used while enough of it is healthy."),
    ),
    name="endpoint",
    description="One address of an upstream, or a name of several.",
)


class _EndpointShape(Shape):
    """An endpoint as text, or with more said of it."""

    wanted = _ADDRESS.wanted

    def read(self, node: Node, report: Report) -> Endpoint | Invalid:
        """See ``Shape``."""
        if isinstance(node, Scalar):
            return _ADDRESS.read(node, report)  # type: ignore[no-any-return]  # a parser's result is Any
        section = _ENDPOINT.read(node, report)
        if not isinstance(section, Section) or "address" not in section:
            return INVALID
        endpoint: Endpoint = section.get("address")
        return evolve(
            endpoint, weight=section.get("weight", endpoint.weight), priority=section.get("priority", endpoint.priority)
        )

    def schema(self, definitions: dict[str, Schema]) -> Schema:
        """See ``Shape``."""
        return {"anyOf": [_ADDRESS.schema(definitions), _ENDPOINT.schema(definitions)]}

    def show(self, value: Any) -> Any:
        """See ``Shape``."""
        return str(value)


_limits = UpstreamLimits()
_UNLIMITED: Final = OrWord("unlimited", COUNT)
LIMITS: Final = Record(
    (
        setting(_limits, "max_connections", _UNLIMITED, "Connections at a time; beyond them requests wait."),
        setting(_limits, "max_pending", Integer(0, 1_000_000), "Requests that wait for a connection; past it 503."),
        setting(_limits, "max_requests", _UNLIMITED, "Requests that are not answered yet; past it 503."),
        setting(_limits, "max_requests_per_connection", _UNLIMITED, "After them a connection is closed."),
        setting(
            _limits, "max_concurrent_streams", Integer(1, 1000),
            "Requests at a time on one HTTP/2 connection; fewer where the upstream says so.",
        ),
        setting(
            _limits, "max_connection_age", OrWord("unlimited", Duration()),
            "After it a connection is closed when no request is on it, up to a tenth earlier.",
        ),
    ),
    name="upstream_limits",
    description="What an upstream is burdened with at most.",
)

_resolution = Resolution()
RESOLUTION: Final = Record(
    (
        setting(
            _resolution, "servers", ListOf(SERVER, 1, distinct=True),
            "DNS servers to ask. Default: those of /etc/resolv.conf, with /etc/hosts before.",
        ),
        setting(_resolution, "min_interval", Duration(minimum=0.05), "Between two look-ups of a name at least."),
        setting(_resolution, "max_interval", Duration(minimum=0.05), "Between two look-ups of a name at most."),
    ),
    name="resolution",
    description="How the names of endpoints are looked up again.",
)

_budget = RetryBudget()
RETRY_BUDGET: Final = Record(
    (
        setting(_budget, "percent", PERCENT, "Of the requests of an interval that may be sent again."),
        setting(_budget, "interval", Duration(minimum=1.0, maximum=3600.0), "What is counted together."),
        setting(_budget, "min_retries", Integer(0, 1_000_000), "In an interval that are always allowed."),
    ),
    name="retry_budget",
)

_upstream = Upstream("", ())
UPSTREAM: Final = Record(
    (
        Field("name", NAME, "A unique name, for routes, logs and metrics.", REQUIRED),
        Field(
            "endpoints",
            ListOf(_EndpointShape(), distinct=True),
            "Addresses that serve the same thing: host:port, unix:/path, or srv:name for SRV records.  Empty: 503.",
        ),
        Field("backend", PLUGIN("backend"), "Code that answers, in place of endpoints."),
        setting(
            _upstream, "http_version", Choice(HTTPVersion),
            "What is spoken with it; 2 without TLS is prior knowledge (h2c), auto is what ALPN chooses.",
        ),
        setting(_upstream, "connect_timeout", Duration(), "For a connection; past it the next endpoint, then 503."),
        setting(_upstream, "response_timeout", Duration(), "For the head of a response; past it 504."),
        setting(_upstream, "idle_timeout", Duration(), "Without a byte of a body, either way."),
        setting(_upstream, "keep_alive_timeout", Duration(), "How long an unused connection is kept."),
        setting(_upstream, "max_idle", Integer(0, 1_000_000), "Unused connections kept to one endpoint."),
        Field("balancing", BALANCING, "How an endpoint is chosen. Default: in turn."),
        Field("session_persistence", SESSION_PERSISTENCE, "Let clients stay with an endpoint. Default: no."),
        Field("resolution", RESOLUTION, "How names of endpoints are looked up again."),
        Field("health_check", HEALTH_CHECK, "Ask each endpoint whether it works. Default: no."),
        Field("outlier_detection", OUTLIER_DETECTION, "Leave endpoints out for a while that fail. Default: no."),
        setting(
            _upstream, "panic_threshold", PERCENT,
            "Where less of a priority's endpoints can be used, use all of them. Default: never.",
        ),
        setting(
            _upstream, "slow_start", Duration(maximum=3600.0),
            "In which an endpoint that is new or healthy again gets to its whole share. Default: at once.",
        ),
        Field("limits", LIMITS, "What it is burdened with at most."),
        Field("retry_budget", RETRY_BUDGET, "How much may be sent again. Default: what the rules allow."),
        Field("tls", UPSTREAM_TLS, "Speak TLS with it.  Default: without."),
        PROXY_PROTOCOL,
    ),
    name="upstream",
    description="Where requests are sent.",
    check=check_upstream,
    rules={"oneOf": [{"required": ["endpoints"]}, {"required": ["backend"]}]},
)
