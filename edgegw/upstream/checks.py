"""Asking endpoints whether they work (active health checks)."""
from __future__ import annotations

from math import inf
from random import uniform
from time import monotonic
from typing import Any, Final, Protocol

from twisted.internet import protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.deadlines import Deadlines
from edgegw.model import ActiveHealthCheck, Upstream
from edgegw.observe.endpoints import EndpointState
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.pool import EndpointPool, failure_word
from edgegw.wire.http1 import Field, ResponseHead

__all__ = ["HealthChecks"]

_log = Logger("edgegw.upstream")
#: By how much the time between two checks varies, so that gateways and endpoints do not keep step.
_JITTER: Final = 0.1
#: Seconds between two looks: what is due within them is looked at together.
_SHORTEST_WAIT: Final = 0.01


class Checked(Protocol):
    """Whose endpoints are checked."""

    model: Upstream
    metrics: UpstreamMetrics
    endpoints: tuple[EndpointPool, ...]


class HealthChecks:
    """Checks every endpoint that an upstream has, from :meth:`start` to :meth:`stop`.

    One timer serves all of them: it looks which are due.  The first check of an endpoint begins within a second.
    """

    def __init__(self, reactor: Any, upstream: Checked, check: ActiveHealthCheck) -> None:
        self._reactor = reactor
        self._upstream = upstream
        self._check = check
        self._due: dict[EndpointPool, float] = {}
        self._running: dict[EndpointPool, _Probe] = {}
        self._timer: Any = None
        self._started = False
        self.deadlines = Deadlines(reactor, min(0.25, max(check.timeout / 8, 0.01)))

    def start(self) -> None:
        """Begin."""
        self._started = True
        self.look()

    def stop(self) -> None:
        """Check no more."""
        self._started = False
        self._stop_timer()
        running, self._running = self._running, {}
        for probe in running.values():
            probe.stop()
        self.deadlines.stop()

    def look(self) -> None:
        """Check those that are due, and come back when the next one is; to be called when endpoints come or go."""
        if not self._started:
            return
        self._stop_timer()
        now = monotonic()
        interval = self._check.interval
        due: dict[EndpointPool, float] = {}
        for endpoint in self._upstream.endpoints:
            # Not all of them in one turn.
            at = self._due.get(endpoint) or now + uniform(0.0, min(interval / 2, 1.0))
            if at <= now:
                at = now + interval * uniform(1 - _JITTER, 1 + _JITTER)
                if endpoint not in self._running:
                    probe = self._running[endpoint] = _Probe(self, endpoint, self._check)
                    probe.start()
            due[endpoint] = at
        self._due = due
        if due:
            self._timer = self._reactor.callLater(max(min(due.values()) - now, _SHORTEST_WAIT), self.look)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def ended(self, endpoint: EndpointPool, problem: str) -> None:
        """A check is over.

        :param problem: why it was a bad one; empty where it was a good one.
        """
        if self._running.pop(endpoint, None) is None:
            return
        self._judge(endpoint.state, problem)

    def _judge(self, state: EndpointState, problem: str) -> None:
        check = self._check
        self._upstream.metrics.checks["failure" if problem else "success"] += 1
        state.last_check = problem or "ok"
        if problem:
            state.checks_passed = 0
            state.checks_failed += 1
            if not state.failing and state.checks_failed >= check.unhealthy_threshold:
                state.failing = True
                self._changed("fails its health checks: {problem}", state, problem)
        else:
            state.checks_failed = 0
            state.checks_passed += 1
            if state.failing and state.checks_passed >= check.healthy_threshold:
                state.failing = False
                state.usable_since = monotonic()
                self._changed("passes its health checks again", state)

    def _changed(self, what: str, state: EndpointState, problem: str = "") -> None:
        self._upstream.metrics.state.version += 1
        _log.warn(
            f"upstream {{upstream}}: {{endpoint}} {what}",
            upstream=self._upstream.model.name, endpoint=state.address, problem=problem,
        )


class _Probe(protocol.ClientFactory):
    """One check of one endpoint, on a connection of its own.

    It is the pool of that connection, and who is told of the response.
    """

    noisy = False
    handshake = None
    watch = None
    deadline = inf
    watched_until = inf

    def __init__(self, checks: HealthChecks, endpoint: EndpointPool, check: ActiveHealthCheck) -> None:
        self.deadlines = checks.deadlines
        self.metrics = UpstreamMetrics()
        self.response_timeout = self.idle_timeout = self.connect_timeout = check.timeout
        self._checks: HealthChecks | None = checks
        self._endpoint = endpoint
        self._check = check
        self._connector: Any = None
        self._connection: UpstreamConnection | None = None

    def start(self) -> None:
        self.deadlines.watch(self, monotonic() + self._check.timeout)
        self._connector = self._endpoint.dial_uncounted(self, self._check.timeout)

    def stop(self) -> None:
        self._checks = None
        self.deadlines.forget(self)
        if self._connection is not None:
            self._connection.abandon()
        elif self._connector is not None:
            self._connector.disconnect()

    def _end(self, problem: str) -> None:
        checks, self._checks = self._checks, None
        self.deadlines.forget(self)
        if checks is not None:
            checks.ended(self._endpoint, problem)

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        self._end("timeout")
        self.stop()

    # --- opening ----------------------------------------------------------------------------

    def buildProtocol(self, addr: object) -> protocol.Protocol | None:
        return self._endpoint.build_connection(self._opened, self._not_opened, self)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self._not_opened(reason)

    def _not_opened(self, reason: Failure) -> None:
        self._connector = None
        self._end(failure_word(reason))

    def _opened(self, connection: UpstreamConnection) -> None:
        check = self._check
        if self._checks is None:
            connection.abandon()
            return
        self._connection = connection
        if check.path is None:
            self._end("")
            connection.close()
            return
        host = check.host.encode("ascii") if check.host is not None else self._endpoint.host_header
        request = b"%b %b HTTP/1.1\r\nhost: %b\r\nuser-agent: edgegw\r\naccept: */*\r\nconnection: close\r\n\r\n" % (
            check.method.encode("ascii"), check.path.encode("ascii"), host,
        )
        connection.send_request(request, self, check.method == "HEAD", True, False)

    # --- the connection's pool ----------------------------------------------------------------

    def put_back(self, connection: UpstreamConnection) -> None:
        connection.close()

    def forget(self, connection: UpstreamConnection) -> None:
        pass  # none is kept

    def lost(self, connection: UpstreamConnection) -> None:
        self._connection = None

    # --- the response -------------------------------------------------------------------------

    def interim_response(self, head: ResponseHead) -> None:
        pass  # another one follows

    def response_started(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        good = any(first <= head.status <= last for first, last in self._check.statuses)
        self._end("" if good else f"status {head.status}")
        if not ended and self._connection is not None:
            self._connection.abandon()

    def switched(self, head: ResponseHead, data: bytes) -> None:
        pass  # no other protocol is asked for

    def response_data(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        pass  # the head has told all

    def response_failed(self, failure: str, detail: str, unanswered: bool) -> None:
        self._end(failure)
