"""An upstream: which endpoints there are, which of them can be used, and which one a request gets."""
from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any, Final

from twisted.logger import Logger

from edgegw.balancing.balancer import Balancer
from edgegw.balancing.members import Request
from edgegw.balancing.sessions import Sessions
from edgegw.deadlines import Deadlines
from edgegw.model import Endpoint, EndpointKind, HTTPVersion, Upstream
from edgegw.observe.endpoints import EndpointState, FoundAddress
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.checks import HealthChecks
from edgegw.upstream.description import describe_upstream
from edgegw.upstream.http2_fields import RequestFields
from edgegw.upstream.http2_pool import HTTP2Pool
from edgegw.upstream.outliers import OutlierDetector
from edgegw.upstream.pool import EndpointPool
from edgegw.upstream.resolving import Resolving, is_name
from edgegw.upstream.retries import RetryAllowance
from edgegw.upstream.tls_context import make_client_context
from edgegw.upstream.waiting import WaitingLine
from edgegw.upstream.watched import Watch

__all__ = ["UpstreamPool"]

#: What sessions are sealed with where the configuration has no secret; lasts as long as the process.
_PROCESS_SECRET: Final = secrets.token_bytes(32)
#: What an endpoint has of its share when it starts slowly, and in how many steps it gets to all of it.
_FIRST_PART: Final = 0.1
_STEPS: Final = 10
#: Seconds between two lines of log about requests that were refused.
_LOG_SECONDS: Final = 10.0

_log = Logger("edgegw.upstream")


class UpstreamPool:
    """One upstream of a configuration.

    A single endpoint of which nothing is to be known costs one comparison.  Otherwise what can be decided before a
    request comes is decided when something changes: an endpoint fails, comes back, is found by a name or lost.

    :ivar model: the upstream's settings.
    :ivar endpoints: those that there are now.
    :raises ContextError: OpenSSL does not take a setting of its TLS, or a certificate.
    """

    def __init__(self, reactor: Any, upstream: Upstream, metrics: UpstreamMetrics, deadlines: Deadlines) -> None:
        self.model = upstream
        self.metrics = metrics
        self._reactor = reactor
        self._deadlines = deadlines
        version = upstream.http_version
        self._context = None if upstream.tls is None else make_client_context(upstream.tls, version)
        #: For upgrades, where the upstream speaks HTTP/2 and takes none over that.
        self._http1_context = None
        if upstream.tls is not None and version is HTTPVersion.AUTO:
            self._http1_context = make_client_context(upstream.tls)
        #: How requests are told; ``None`` where no endpoint speaks HTTP/2.
        self._fields = None
        if version is not HTTPVersion.HTTP_1_1:
            self._fields = RequestFields(b"http" if upstream.tls is None else b"https")
        self._logged: dict[str, float] = {}
        self._allowance = None if upstream.retry_budget is None else RetryAllowance(upstream.retry_budget, metrics)
        limits = upstream.limits
        self._limited = limits.max_connections is not None or limits.max_requests is not None
        self._line = None
        if limits.max_connections is not None:
            self._line = WaitingLine(
                reactor, deadlines, metrics, self._has_room, self._make_room, upstream.connect_timeout
            )
        self._sessions: Sessions[EndpointPool] | None = None
        persistence = upstream.session_persistence
        if persistence is not None:
            secret = _PROCESS_SECRET if persistence.secret is None else persistence.secret.encode("utf-8")
            self._sessions = Sessions(persistence, upstream.name, secret, time.time)
        detector = None
        if upstream.outlier_detection is not None:
            detector = OutlierDetector(upstream.name, upstream.outlier_detection, metrics.state, self._states)
        self._watch = None
        if detector is not None or self._sessions is not None or limits.max_connection_age is not None:
            self._watch = Watch(detector, self._sessions, limits.max_connection_age)
        self._judged = (
            self._limited or self._sessions is not None or upstream.health_check is not None
        )
        metrics.state.use(upstream.endpoints)
        self._closed = False
        self._found: dict[Endpoint, list[EndpointPool]] = {}
        for origin in upstream.endpoints:
            found = metrics.state.resolved.get(origin)
            if found is None and origin.kind is not EndpointKind.SRV:
                # Until it was looked up a name is left to the system when a connection is opened.
                found = (FoundAddress(origin, origin.host),)
            self._found[origin] = [self._pool(origin, address) for address in found or ()]
        self.endpoints: tuple[EndpointPool, ...] = ()
        self._use_found()
        named = any(is_name(origin) for origin in upstream.endpoints)
        self._resolving = Resolving(reactor, self) if named else None
        check = upstream.health_check
        self._checks = None if check is None else HealthChecks(reactor, self, check)

    def _pool(self, origin: Endpoint, found: FoundAddress) -> EndpointPool:
        # Of a name that is looked up for the first time nothing is new.
        since = monotonic() if any(_is_address(pool) for pool in self._found.get(origin, ())) else -inf
        arguments = (
            self._reactor, self.model, found.endpoint, self.metrics, self._deadlines, origin, found.name, since,
            self._context,
        )
        if self._fields is None:
            pool = EndpointPool(*arguments)
        else:
            pool = HTTP2Pool(*arguments, fields=self._fields, http1_context=self._http1_context)
        pool.use(self._watch, self._line)
        return pool

    def never_index(self, names: frozenset[bytes]) -> None:
        """Let no table of HPACK have the headers with these names, which tell who a client is."""
        if self._fields is not None:
            self._fields.never_index(names)

    def _states(self) -> list[EndpointState]:
        return [endpoint.state for endpoint in self.endpoints]

    # --- endpoints --------------------------------------------------------------------------

    @property
    def origins(self) -> Mapping[Endpoint, Sequence[EndpointPool]]:
        """What was found for each endpoint of the configuration."""
        return self._found

    def use_addresses(self, origin: Endpoint, found: Sequence[FoundAddress]) -> None:
        """Take over what an endpoint of the configuration stands for now; those that stay keep their connections.

        :param found: each address once.
        """
        # The name is asked for and verified: one address by another name has other connections.
        before = {(str(pool.endpoint), pool.name): pool for pool in self._found[origin]}
        wanted = {(str(one.endpoint), one.name): one for one in found}
        if [(pool.endpoint, pool.name) for pool in before.values()] == [(one.endpoint, one.name) for one in found]:
            return
        pools = []
        for key, one in wanted.items():
            pool = before.get(key) or self._pool(origin, one)
            pool.use_weight(one.endpoint)
            pools.append(pool)
        self._found[origin] = pools
        self._use_found()
        if self._checks is not None:
            self._checks.look()
        for key, pool in before.items():
            if key not in wanted:
                pool.close()

    def _use_found(self) -> None:
        for pools in self._found.values():
            for pool in pools:
                pool.rivals = [one for one in pools if _are_rivals(one, pool)] if len(pools) > 1 else ()
        # A name and an address, or two names, may come to the same.
        different: dict[Endpoint, EndpointPool] = {}
        for pool in (pool for pools in self._found.values() for pool in pools):
            different.setdefault(pool.endpoint, pool)
        self.endpoints = tuple(different.values())
        self._now = monotonic()
        model = self.model
        self._balancer = Balancer(
            model.balancing, self.endpoints, self._is_usable, model.panic_threshold / 100
        )
        if self._sessions is not None:
            self._sessions.use_members(list(self.endpoints))
        self._refresh()
        self._only = self.endpoints[0] if len(self.endpoints) == 1 and not self._judged else None

    def _is_usable(self, endpoint: EndpointPool) -> bool:
        state, now = endpoint.state, self._now
        return state.is_usable(now) or (
            # Outrun by one that cannot be used itself by now.
            state.works(now) and not any(rival.state.is_usable(now) for rival in endpoint.rivals)
        )

    def _refresh(self) -> None:
        """Look again which endpoints can be used, and at their shares; note when that is to be done again."""
        now = self._now = monotonic()
        self._seen = self.metrics.state.version
        again = inf
        window = self.model.slow_start
        for endpoint in self.endpoints:
            state = endpoint.state
            if state.outrun_until > now:
                again = min(again, state.outrun_until)
            if state.ejected_until > now:
                again = min(again, state.ejected_until)
            elif 0 < state.ejected_until > state.usable_since:
                state.usable_since = state.ejected_until
            endpoint.share = float(endpoint.weight)
            if window is not None and now < state.usable_since + window:
                step = int((now - state.usable_since) / window * _STEPS)
                endpoint.share *= _FIRST_PART + (1 - _FIRST_PART) * step / _STEPS
                again = min(again, state.usable_since + window * (step + 1) / _STEPS)
        self._again = again
        self._balancer.refresh()

    # --- choosing ---------------------------------------------------------------------------

    def next_endpoint(self, request: Request) -> EndpointPool | None:
        """Give the endpoint for a request; ``None`` where there is none that may be used."""
        only = self._only
        return only if only is not None else self._choose(request)

    def _choose(self, request: Request) -> EndpointPool | None:
        if self._limited:
            limit = self._limit()
            if limit:
                self._refused(limit)
                return None
        if self._seen != self.metrics.state.version or monotonic() >= self._again:
            self._refresh()
        endpoint = None
        if self._sessions is not None:
            endpoint = self._sessions.member(request)
            if endpoint is not None and not (self._is_usable(endpoint) or self._balancer.may_use(endpoint)):
                endpoint = None
        if endpoint is None:
            endpoint = self._balancer.pick(request)
            if endpoint is None:
                self._refused("no_endpoint")
                return None
        endpoint.state.pick()
        return endpoint

    def another_endpoint(self, request: Request, tried: Collection[EndpointPool]) -> EndpointPool | None:
        """Give another endpoint for a request, which those before came to nothing with; ``None`` where all were tried.

        Every other one that may be used is given once, whoever else has turns.
        """
        if self._seen != self.metrics.state.version or monotonic() >= self._again:
            self._refresh()
        endpoint = self._balancer.pick(request, tried)
        if endpoint is not None:
            endpoint.state.pick()
        return endpoint

    def uses(self, endpoint: EndpointPool) -> bool:
        """Whether an endpoint is among those that requests are sent to now."""
        if self._seen != self.metrics.state.version or monotonic() >= self._again:
            self._refresh()
        return self._balancer.may_use(endpoint)

    # --- limits -----------------------------------------------------------------------------

    def _has_room(self) -> bool:
        most = self.model.limits.max_connections
        metrics = self.metrics
        return most is None or metrics.connections + metrics.connecting < most

    def _make_room(self) -> bool:
        if self._has_room():
            return True
        kept = max(self.endpoints, key=lambda endpoint: endpoint.idle, default=None)
        if kept is None or not kept.idle:
            return False
        kept.drop_idle()
        return True

    def _limit(self) -> str:
        """Give which limit a request is past, or nothing."""
        limits, metrics = self.model.limits, self.metrics
        if limits.max_requests is not None:
            in_flight = metrics.connections - metrics.idle + metrics.connecting + metrics.waiting + metrics.sharing
            if in_flight >= limits.max_requests:
                return "max_requests"
        if limits.max_connections is None or metrics.waiting < limits.max_pending or metrics.idle or self._has_room():
            return ""
        if any(endpoint.has_place for endpoint in self.endpoints):
            return ""
        return "max_pending"

    def _refused(self, why: str) -> None:
        self.metrics.limited[why] += 1
        now = monotonic()
        if now >= self._logged.get(why, 0.0):
            self._logged[why] = now + _LOG_SECONDS
            _log.warn(
                "upstream {upstream}: requests are refused with 503: {why}; {count} so far",
                upstream=self.model.name, why=why, count=self.metrics.limited[why],
            )

    def may_retry(self) -> bool:
        """Whether a request may be sent again, within the upstream's budget; the retry is counted if so."""
        return self._allowance is None or self._allowance.take()

    def describe(self) -> dict[str, Any]:
        """Tell an operator how it is."""
        return describe_upstream(self)

    # --- beginning and end ------------------------------------------------------------------

    def start(self) -> None:
        """The configuration is in use: look names up, and ask endpoints how they are."""
        if self.model.health_check is None:
            # Nobody would ever find out that they work again.
            for state in self._states():
                state.failing = False
            self.metrics.state.version += 1
        if self._resolving is not None:
            self._resolving.start()
        if self._checks is not None:
            self._checks.start()

    def close(self) -> None:
        """Close unused connections now and the others when they come back; look for nothing any more."""
        if self._resolving is not None:
            self._resolving.stop()
        if self._checks is not None:
            self._checks.stop()
        for pools in self._found.values():
            for pool in pools:
                pool.close()
        if not self._closed:
            self._closed = True
            self.metrics.state.leave(self.model.endpoints)


def _is_address(pool: EndpointPool) -> bool:
    """Whether an endpoint's address is known, so that nothing has to be looked up to connect to it."""
    return not is_name(pool.endpoint)


def _are_rivals(one: EndpointPool, other: EndpointPool) -> bool:
    """Whether two are the same by addresses of different families."""
    different = (":" in one.endpoint.host) != (":" in other.endpoint.host)
    return different and (one.name, one.endpoint.port) == (other.name, other.endpoint.port)
