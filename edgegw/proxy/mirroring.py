"""Copies of requests for upstreams whose responses nobody sees.

A copy never holds up the request that it is one of: a mirror that does not keep up with it loses it.
"""
from __future__ import annotations

from random import randrange
from typing import Any, Final

from edgegw.identity import ConnectionInfo
from edgegw.model import Mirror
from edgegw.observe.metrics import MirrorMetrics, RequestMetrics
from edgegw.proxy.exchange import Exchange
from edgegw.proxy.plugin_backend import PluginUpstream
from edgegw.proxy.site import Backend
from edgegw.upstream.upstream import UpstreamPool
from edgegw.wire.http1 import Field, ResponseHead

__all__ = ["Copy", "MirrorTarget"]

#: Bytes of a request's body that a mirror may be behind.
MAX_BEHIND: Final = 1_048_576
#: Bytes of a response that are read so that its connection can be used again.
MAX_RESPONSE: Final = 1_048_576
#: Copies at a time.
MAX_COPIES: Final = 256


class MirrorTarget:
    """A mirror of one rule, or of one backend of it.

    :ivar copies: those that are under way.
    """

    def __init__(self, mirror: Mirror, upstream: UpstreamPool | PluginUpstream, metrics: MirrorMetrics) -> None:
        self._numerator = mirror.numerator
        self._denominator = mirror.denominator
        # Not the counters that are shown: a copy is no request of a client's.
        self._backend = Backend(upstream, 1, RequestMetrics())
        self.metrics = metrics
        self.copies: dict[Copy, None] = {}

    def copy(
        self, info: ConnectionInfo, transport: Any, method: bytes, line: bytes, host: bytes, lines: bytes
    ) -> Copy | None:
        """Make a copy of a request; ``None`` where this one gets none.

        :param transport: the client's.
        """
        if self._numerator < self._denominator and randrange(self._denominator) >= self._numerator:
            return None
        if len(self.copies) >= MAX_COPIES:
            self.metrics.dropped += 1
            return None
        copy = Copy(self, info, transport)
        copy.exchange = Exchange(copy, self._backend, method, line, host, lines)
        self.copies[copy] = None
        return copy

    def close(self) -> None:
        """Give up every copy."""
        for copy in tuple(self.copies):
            copy.abandon()


class Copy:
    """One copy, and the client's side of its exchange: it takes everything and says nothing.

    :ivar exchange: carries it; ``None`` when it is over.
    """

    __slots__ = ("_behind", "_paused", "_read", "_target", "exchange", "info", "transport")

    def __init__(self, target: MirrorTarget, info: ConnectionInfo, transport: Any) -> None:
        self._target = target
        self.info = info
        self.transport = transport
        self.exchange: Exchange | None = None
        self._paused = False
        self._behind = 0
        self._read = 0

    # --- the request ------------------------------------------------------------------------

    def start(self, body: bytes, ended: bool, waits: bool) -> None:
        """See :meth:`Exchange.start`."""
        exchange = self.exchange
        if exchange is not None:
            self._behind = len(body)
            exchange.start(body, ended, waits)

    def body(self, data: bytes, ended: bool) -> None:
        """See :meth:`Exchange.body`."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._paused:
            self._behind += len(data)
            if self._behind > MAX_BEHIND:
                self.abandon()
                return
        exchange.body(data, ended)

    def pause_body(self) -> None:
        """See ``Downstream``: the mirror is behind; the client does not wait for it."""
        self._paused = True

    def resume_body(self) -> None:
        """See ``Downstream``."""
        self._paused = False
        self._behind = 0

    # --- the response -----------------------------------------------------------------------

    def interim(self, head: ResponseHead) -> None:
        """See ``Downstream``."""

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Downstream``."""
        self._take(len(data), ended)

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """See ``Downstream``."""
        self._take(len(data), ended)

    def _take(self, size: int, ended: bool) -> None:
        self._read += size
        if ended or self._read > MAX_RESPONSE:
            self._target.metrics.answered += 1
            exchange = self._over()
            if exchange is not None and not ended:
                exchange.abandon(0)

    def answer(self, status: int) -> None:
        """See ``Downstream``: the mirror could not be reached, or gave no answer."""
        self._target.metrics.failed += 1
        self._over()

    def cut(self) -> None:
        """See ``Downstream``."""
        self.answer(502)

    # --- ends -------------------------------------------------------------------------------

    def _over(self) -> Exchange | None:
        exchange, self.exchange = self.exchange, None
        self._target.copies.pop(self, None)
        return exchange

    def abandon(self) -> None:
        """Give it up: it is behind, or its request has no end."""
        exchange = self._over()
        if exchange is not None:
            self._target.metrics.dropped += 1
            exchange.abandon(0)
