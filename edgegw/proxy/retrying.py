"""A request that may be sent again, and whose tries have a time limit each."""
from __future__ import annotations

from math import inf
from random import uniform
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from edgegw.model import Retry
from edgegw.proxy.exchange import IDEMPOTENT, Downstream, Exchange
from edgegw.proxy.plugin_backend import PluginCall, PluginUpstream
from edgegw.proxy.site import Backend
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.pool import EndpointPool
from edgegw.upstream.upstream import UpstreamPool
from edgegw.wire.http1 import ResponseHead

__all__ = ["RetryingExchange", "Tries"]

_log = Logger(namespace="edgegw.proxy")


class Tries:
    """What a rule says of tries, ready for the data path.

    :param retry: ``None`` for one try alone.
    :param seconds: for each try, from its beginning to the end of its response; 0 for no limit.
    :param own_time: whether the rule's time limits stand in place of the upstream's ``response_timeout``.
    """

    __slots__ = ("attempts", "codes", "max_body", "methods", "own_time", "reactor", "retry", "seconds")

    def __init__(self, reactor: Any, retry: Retry | None, seconds: float, own_time: bool) -> None:
        self.reactor = reactor
        self.own_time = own_time
        self.retry = retry
        self.seconds = seconds
        self.attempts = 0 if retry is None else retry.attempts
        self.codes = frozenset() if retry is None else retry.codes
        self.max_body = 0 if retry is None else retry.max_body
        named = None if retry is None or retry.methods is None else retry.methods
        self.methods = IDEMPOTENT if named is None else frozenset(name.encode("ascii") for name in named)

    def pause(self, number: int) -> float:
        """Give the seconds to wait before the retry of this number, from 1."""
        retry = self.retry
        assert retry is not None
        # At least the backoff, and no two gateways in step.
        most = min(retry.max_backoff, retry.backoff * 2.0 ** min(number, 30))
        return uniform(retry.backoff, max(most, retry.backoff))


class RetryingExchange(Exchange):
    """An exchange that makes further tries as a rule says.

    A connection that could not be made has sent nothing: whatever the method is, another try does no harm.  After
    a byte of the request was sent its method must say so, and the whole of its body must have been kept.
    """

    __slots__ = ("_done_tries", "_expects", "_kept", "_pause", "_rule", "_timer", "_touched")

    def __init__(
        self, client: Downstream, backend: Backend, method: bytes, line: bytes, host: bytes, lines: bytes, rule: Tries
    ) -> None:
        super().__init__(client, backend, method, line, host, lines)
        self._rule = rule
        self._done_tries = 0
        self._touched = False
        # What must not be sent twice need not be kept.
        self._kept: bytearray | None = bytearray() if method in rule.methods else None
        self._expects = False
        self._timer: IDelayedCall | None = None
        self._pause: IDelayedCall | None = None

    # --- towards the upstream ---------------------------------------------------------------

    def start(self, body: bytes, ended: bool, waits: bool) -> None:
        """See :meth:`Exchange.start`."""
        self._keep(body)
        self._expects = waits
        self._watch()
        super().start(body, ended, waits)

    def body(self, data: bytes, ended: bool) -> None:
        """See :meth:`Exchange.body`."""
        self._keep(data)
        super().body(data, ended)

    def _keep(self, data: bytes) -> None:
        kept = self._kept
        if kept is None:
            return
        if len(kept) + len(data) > self._rule.max_body:
            self._kept = None
        else:
            kept += data

    def _connect(self, pool: EndpointPool | PluginUpstream) -> None:
        self._pool = pool
        super()._connect(pool)

    def _send(self, pool: EndpointPool | PluginUpstream, connection: UpstreamConnection | PluginCall) -> None:
        self._touched = True
        if self._rule.own_time:
            connection.allow(inf)
        super()._send(pool, connection)

    # --- from the upstream ------------------------------------------------------------------

    def response_started(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Receiver``."""
        if head.status in self._rule.codes and self._may_retry():
            connection = self._leave()
            if connection is not None and not ended:
                connection.abandon()
            self._retry(f"status {head.status}")
            return
        super().response_started(head, length, data, ended)

    def response_failed(self, failure: str, detail: str, unanswered: bool) -> None:
        """See ``Receiver``."""
        rule = self._rule
        # Where the rule has further tries, one upon a kept connection counts as any other: an upstream that ends
        # each of them must not get more than are allowed.
        super().response_failed(failure, detail, unanswered and not (rule.attempts and self._method in rule.methods))

    # --- tries ------------------------------------------------------------------------------

    def _watch(self) -> None:
        seconds = self._rule.seconds
        if seconds:
            self._timer = self._rule.reactor.callLater(seconds, self._too_long)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _too_long(self) -> None:
        """A try has taken too long, wherever it stands."""
        self._timer = None
        upstream = self._backend.upstream
        upstream.metrics.response_failures["timeout"] += 1
        detail = f"no whole response within {self._rule.seconds:g} s"
        _log.warn("upstream {upstream}: timeout: {detail}", upstream=upstream.model.name, detail=detail)
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        begun = bool(self.status)
        connection = self._connection
        if begun:
            self._finish()
        else:
            self._leave()
        if connection is not None:
            self._leave_to_itself(connection, not begun)
        if begun:
            self._client.cut()
        else:
            self._give_up(504, detail)

    def _status_of(self, failure: str) -> int:
        # A connection that ended each time has brought no bad answer: the upstream is not there for now.
        return 503 if self._done_tries and failure in ("closed", "reset") else super()._status_of(failure)

    def _give_up(self, status: int, detail: str) -> None:
        if self._may_retry():
            self._leave()
            self._retry(detail)
        else:
            super()._give_up(status, detail)

    def _may_retry(self) -> bool:
        if self.status or self._done_tries >= self._rule.attempts:
            return False
        if self._touched and (self._method not in self._rule.methods or self._kept is None):
            return False
        # The last question: what may be sent again is counted.
        upstream = self._backend.upstream
        return not isinstance(upstream, UpstreamPool) or upstream.may_retry()

    def _leave(self) -> UpstreamConnection | PluginCall | None:
        """End a try; give the connection that it was on."""
        self._stop_timer()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.allow(None)
            transport = connection.transport
            if not self._ended and transport.producer is not None:
                transport.unregisterProducer()
        return connection

    def _retry(self, detail: str) -> None:
        """Send it again, a little later."""
        self._done_tries += 1
        upstream = self._backend.upstream
        upstream.metrics.retries += 1
        _log.info(
            "upstream {upstream}: try {number} after: {detail}",
            upstream=upstream.model.name, number=self._done_tries + 1, detail=detail,
        )
        if self._touched:
            assert self._kept is not None
            self._held = bytes(self._kept)
            self._waits = self._expects and not self._held
        if not self._ended:
            self._paused = True
            self._client.pause_body()
        self._pause = self._rule.reactor.callLater(self._rule.pause(self._done_tries), self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._touched = self._body_sent = False
        self._tried = ()
        self._watch()
        pool = self._another()
        if pool is None:
            self._give_up(503, "the upstream has no endpoint")
            return
        self._go_to(pool)

    def _another(self) -> EndpointPool | PluginUpstream | None:
        """Give the endpoint of the next try, another one than that of the last where there is one."""
        upstream, last = self._backend.upstream, self._pool
        if isinstance(upstream, UpstreamPool) and isinstance(last, EndpointPool):
            other = upstream.another_endpoint(self, (last,))
            if other is not None:
                return other
        return upstream.next_endpoint(self)

    # --- ends -------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._stop_timer()
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()
        self._kept = None
        if self._connection is not None:
            self._connection.allow(None)
        super()._finish()
