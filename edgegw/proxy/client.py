"""A client's connection, whatever it speaks: how fast it takes what is sent to it, and how it ends."""
from __future__ import annotations

from math import inf
from time import monotonic
from typing import Any

from twisted.internet import protocol

from edgegw.proxy.exchange import Exchange
from edgegw.proxy.filtering import FilteredRequest
from edgegw.proxy.gate import RequestGate
from edgegw.proxy.pace import couple
from edgegw.proxy.site import Site

__all__ = ["ClientConnection"]


class ClientConnection(protocol.Protocol):
    """What :class:`edgegw.proxy.connection.HTTPConnection` stands on.

    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    transport: Any
    deadline = inf
    watched_until = inf
    _gate: RequestGate

    def __init__(self, site: Site) -> None:
        self._site = site
        self._listener_site = site
        self._exchange: Exchange | FilteredRequest | None = None
        self._sent = 0
        self._taken = 0

    @property
    def handshake_id(self) -> str:
        """See :class:`~edgegw.proxy.gate.Gated`."""
        return str(self.transport.handshake_id)

    # --- the client's pace ------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        size = len(data)
        self._sent += size
        self._listener_site.metrics.bytes_sent += size
        self.transport.write(data)

    def _watch_client(self) -> None:
        """Make the client's pace the upstream's, once it falls behind."""
        transport = self.transport
        if not transport.unsent or self._exchange is None:
            return
        upstream = self._exchange.connection
        if transport.producer is None and upstream is not None:
            couple(upstream, transport)
        if self.deadline == inf:
            self._watch_progress()

    def _watch_progress(self) -> None:
        """Give the client time to take some of what is queued for it; :meth:`_check_progress` looks then."""
        self._taken = self._sent - self.transport.unsent
        self._site.deadlines.watch(self, monotonic() + self._site.http.write_timeout)

    def _check_progress(self) -> None:
        """Give up a client that has taken nothing of what is queued for it."""
        unsent = self.transport.unsent
        if not unsent:
            return
        if self._sent - unsent == self._taken:
            self._abandon()
            self.cut()
        else:
            self._watch_progress()

    def deadline_passed(self) -> None:
        """See ``Deadlines``: the base only waits for the client to take something."""
        self._check_progress()

    # --- ends -------------------------------------------------------------------------------

    def move(self, site: Site) -> None:
        """Go on with a newer configuration's site for the same listener; its deadline stays."""
        self._gate = self._gate.moved(site)
        deadline = self.deadline
        self._site.deadlines.forget(self)
        self._site = self._listener_site = site
        site.deadlines.watch(self, deadline)

    def _abandon(self, status: int = 0) -> None:
        """End the exchange that is under way, if there is one; see :meth:`Exchange.abandon`."""
        exchange = self._exchange
        if exchange is not None:
            self._exchange = None
            exchange.abandon(status)

    def _finish(self, unread: bool) -> None:
        """Close once everything is sent.

        :param unread: whether the client may still be sending, so that closing at once would lose the answer.
        """
        transport = self.transport
        if unread:
            transport.lose_connection_lingering()
        else:
            transport.finish()
        if transport.connected and transport.unsent:
            self._watch_progress()

    def cut(self) -> None:
        """See ``Downstream``."""
        self._exchange = None
        self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Only we close our side."""
