"""What one listener serves: its routes, header rules and limits, ready for the data path."""
from __future__ import annotations

from typing import TYPE_CHECKING

from edgegw.balancing.shares import Shares
from edgegw.deadlines import Deadlines
from edgegw.headers.request import RequestHeaders
from edgegw.headers.response import ResponseHeaders
from edgegw.match.routes import RouteTable
from edgegw.model import AmbiguousPaths, Listener
from edgegw.observe.metrics import ListenerMetrics, RequestMetrics
from edgegw.proxy.access import RuleAccess
from edgegw.proxy.http2_limits import codec_limits
from edgegw.proxy.plugin_backend import PluginUpstream
from edgegw.proxy.upgrade_rules import NO_UPGRADES, UpgradeRules
from edgegw.tls.listener import from_sources
from edgegw.upstream.upstream import UpstreamPool
from edgegw.wire.http1 import RequestHead

if TYPE_CHECKING:
    from edgegw.proxy.rule_filters import RuleFilters
    from edgegw.tls.profile import PortProfile

__all__ = ["Backend", "Site", "Target"]


class Backend:
    """A share of a rule's requests."""

    __slots__ = ("credit", "metrics", "upstream", "weight")

    def __init__(self, upstream: UpstreamPool | PluginUpstream, weight: int, metrics: RequestMetrics) -> None:
        self.upstream = upstream
        self.weight = weight
        self.metrics = metrics
        self.credit = 0


class Target(Shares[Backend]):
    """What stands behind a rule; each request's backend is chosen by weight.

    :param own: counts the requests that the gateway answers itself.
    :ivar filters: what is done with requests and responses; ``None`` does nothing.
    :ivar access: what the rule demands of the client; ``None`` demands nothing.
    :ivar upgrades: which other protocols requests may ask for.
    """

    __slots__ = ("access", "filters", "own", "upgrades")

    def __init__(
        self,
        backends: list[Backend],
        own: RequestMetrics,
        access: RuleAccess | None = None,
        filters: RuleFilters | None = None,
        upgrades: UpgradeRules = NO_UPGRADES,
    ) -> None:
        super().__init__(backends)
        self.upgrades = upgrades
        self.access = access
        self.filters = filters
        self.own = own


class Site:
    """Everything that a listener's connections need, made once for a generation.

    :ivar profile: the port's listeners, among which a request's host may lead to another one.
    :ivar http2_limits: what clients may do on one HTTP/2 connection.
    :ivar refuses_ambiguous_paths: whether paths that could be read as others are refused.
    :ivar explains: whether clients that are refused are told the reason code.
    :ivar retired: set when a newer configuration serves the port.
    :ivar last_head: the request head that came last on any of its connections: what a head says is the same
        for whoever sends the same bytes, and programs of one kind do.
    """

    def __init__(
        self,
        listener: Listener,
        routes: RouteTable[Target],
        request_headers: RequestHeaders,
        response_headers: ResponseHeaders,
        metrics: ListenerMetrics,
        own: RequestMetrics,
        deadlines: Deadlines,
        restricted: bool = False,
        upgrades: bool = False,
    ) -> None:
        """
        :param restricted: whether any rule demands something of the client.
        :param upgrades: whether any rule lets another protocol through.
        """
        ambiguous = listener.http.ambiguous_paths
        self.refuses_ambiguous_paths = restricted if ambiguous is None else ambiguous is AmbiguousPaths.REFUSE
        self.listener = listener
        self.http = listener.http
        self.http2_limits = codec_limits(listener, upgrades)
        self.preserve_host = listener.forwarding.preserve_host
        self.routes = routes
        self.request_headers = request_headers
        self.response_headers = response_headers
        self.metrics = metrics
        self.own = own
        self.deadlines = deadlines
        self.profile: PortProfile | None = None
        self.retired = False
        self.last_head: RequestHead | None = None
        health_check = listener.health_check
        self._health_path = b"" if health_check is None else health_check.path.encode("ascii")
        validation = None if listener.tls is None else listener.tls.client_validation
        self.explains = validation is not None and validation.explain_to_client

    def answers_probes(self, peer: str) -> bool:
        """Whether health checks from an address are answered by the gateway itself."""
        health_check = self.listener.health_check
        return health_check is not None and from_sources(health_check, peer)

    def is_health_check(self, head: RequestHead) -> bool:
        """Whether a request asks for nothing but health."""
        return head.method in (b"GET", b"HEAD") and head.target.partition(b"?")[0] == self._health_path
