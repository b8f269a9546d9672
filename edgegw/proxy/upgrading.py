"""Requests for another protocol: which are let through, what carries them, and what is left when the upstream agrees.

The upstream's side knows nothing of how the client speaks.  Whoever has a client that asks makes an :class:`Upgrade` of
it and gets, once the upstream has agreed, a :class:`SwitchedUpstream`, whose bytes
:class:`edgegw.proxy.upgraded_tunnel.UpgradedTunnel` exchanges with a transport: that of a whole connection, or anything
that writes, pauses and ends as one does.
"""
from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from attrs import frozen
from twisted.logger import Logger

from edgegw.proxy.exchange import Downstream, Exchange
from edgegw.proxy.plugin_backend import PluginCall, PluginUpstream
from edgegw.proxy.retrying import RetryingExchange, Tries
from edgegw.proxy.site import Backend
from edgegw.proxy.upgrade_rules import UpgradeRules
from edgegw.upstream.connection import UpstreamConnection
from edgegw.upstream.http2_connect import ConnectRequest
from edgegw.upstream.http2_pool import HTTP2Pool
from edgegw.upstream.http2_stream import RequestStream
from edgegw.upstream.pool import EndpointPool
from edgegw.wire.http1 import RequestHead, ResponseHead
from edgegw.wire.upgrades import Handshake

__all__ = ["SwitchedUpstream", "Upgrade", "upgrade_of"]

_log = Logger("edgegw.proxy")


@frozen
class SwitchedUpstream:
    """An upstream's connection on which another protocol is spoken now.

    :ivar upgrade: that was asked for.
    :ivar data: what of the protocol came with the 101.
    :ivar backend: that it belongs to; its metrics count the bytes that are exchanged.
    :ivar over: to be called once, when both ends are gone.
    """

    upgrade: Upgrade
    connection: UpstreamConnection | ConnectRequest
    data: bytes
    backend: Backend
    over: Callable[[], None]


#: What is told of an upstream that has agreed: its 101, and what to exchange bytes with.
Switched = Callable[[ResponseHead, SwitchedUpstream], None]


@frozen
class Upgrade:
    """A request for a protocol that is let through.

    :ivar idle_timeout: seconds without a byte of the protocol that either end sends or takes.
    :ivar switched: called in place of the client's ``respond`` where the upstream agrees; otherwise there is a
        response like any other.
    :ivar bound: whether a response of success is for the client the beginning of the protocol: one of the upstream
        that is not is a fault of the upstream's.
    """

    handshake: Handshake
    idle_timeout: float
    switched: Switched
    bound: bool = False

    def exchange(
        self, client: Downstream, backend: Backend, method: bytes, line: bytes, host: bytes, lines: bytes,
        tries: Tries | None = None,
    ) -> Exchange:
        """Give what carries it; see :class:`~edgegw.proxy.exchange.Exchange`.

        A backend plugin gets a request like any other, of which it answers what it likes (RFC 9110 §7.8).
        """
        request = (client, backend, method, line, host)
        if isinstance(backend.upstream, PluginUpstream):
            return Exchange(*request, lines) if tries is None else RetryingExchange(*request, lines, tries)
        lines = self.handshake.lines + lines
        exchange: UpgradingExchange | RetryingUpgradingExchange
        if tries is None:
            exchange = UpgradingExchange(*request, lines)
        else:
            exchange = RetryingUpgradingExchange(*request, lines, tries)
        exchange.handshake = self.handshake
        exchange.upgrade = self
        return exchange


def upgrade_of(
    head: RequestHead, rules: UpgradeRules, switched: Switched, bound: bool = False
) -> Upgrade | None:
    """Read what a request whose ``Connection`` names ``upgrade`` asks for; ``None`` if the rules do not let it through.

    :param switched: see :class:`Upgrade`, as for ``bound``.
    :raises HandshakeFault: see :func:`~edgegw.wire.upgrades.read_handshake`.
    """
    handshake = rules.handshake(head)
    return None if handshake is None else Upgrade(handshake, rules.idle_timeout, switched, bound)


class _Upgrading(Exchange):
    """Mixed into exchanges: how the upstream is asked, and what becomes of a 101."""

    __slots__ = ()
    upgrade: Upgrade
    handshake: Handshake

    def _send(self, pool: EndpointPool | PluginUpstream, connection: UpstreamConnection | PluginCall) -> None:
        if not isinstance(connection, RequestStream):
            super()._send(pool, connection)
            return
        # Extended CONNECT has no place for another method.
        if connection.connection.codec.peer_extended_connect and self._method == b"GET":
            request = ConnectRequest(connection, self.handshake)
            super()._send(pool, request)  # type: ignore[arg-type]  # it looks like a connection
            return
        self._connecting = None
        assert isinstance(pool, HTTP2Pool)
        other = pool.over_http1()
        connection.abandon()
        if other is None:
            detail = "the upstream takes no extended CONNECT (RFC 8441)"
            _log.warn("upstream {upstream}: {detail}", upstream=self._backend.upstream.model.name, detail=detail)
            self._give_up(502, detail)
        else:
            self._tried = {*self._tried, pool}
            self._go_to(other)

    def response_started(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """See ``Receiver``."""
        if not self.upgrade.bound or head.status >= 300:
            super().response_started(head, length, data, ended)
            return
        connection = self._connection
        self._backend.upstream.metrics.response_failures["bad_response"] += 1
        self.response_failed("bad_response", f"status {head.status} in place of the other protocol", False)
        if connection is not None and not ended:
            connection.abandon()

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Receiver``."""
        connection, self._connection = self._connection, None
        assert isinstance(connection, UpstreamConnection | ConnectRequest)
        self.status = head.status
        # Nothing is slow about a conversation that lasts for hours.
        self.metrics.done(head.status, monotonic() - self._started)
        upgrade = self.upgrade
        upgrade.switched(head, SwitchedUpstream(upgrade, connection, data, self._backend, self._over))

    def _over(self) -> None:
        self.metrics.in_progress -= 1


class UpgradingExchange(_Upgrading):
    """An exchange that may end with another protocol."""

    __slots__ = ("handshake", "upgrade")


class RetryingUpgradingExchange(_Upgrading, RetryingExchange):
    """The same, where a rule says how it is tried; what it says of time ends with the handshake."""

    __slots__ = ("handshake", "upgrade")

    def switched(self, head: ResponseHead, data: bytes) -> None:
        """See ``Receiver``."""
        self._stop_timer()
        super().switched(head, data)
