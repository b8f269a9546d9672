"""An accepted connection until it is known whose it is: its ClientHello is looked at, and what decides is waited for.

The ClientHello is peeked at and stays in the socket: OpenSSL reads it from there, or another transport does that the
socket is given to.  Polling is level-triggered, so what has been seen must not wake anybody again.
"""
from __future__ import annotations

import select
import socket
from collections.abc import Callable
from errno import EAGAIN, EWOULDBLOCK
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.tcp import Server, Why
from edgegw.tls.owner import Found, Judge, Router, TLSOwner
from edgegw.verdict import Reason, Reject
from edgegw.wire.client_hello import BadClientHello, ClientHello, NotTLS, parse_client_hello
from edgegw.wire.fingerprints import Fingerprints, fingerprints
from edgegw.wire.plain_http import ANSWER, looks_like_http

__all__ = [
    "ALERT_DECODE_ERROR", "ALERT_HANDSHAKE_FAILURE", "ALERT_INTERNAL_ERROR", "ALERT_UNRECOGNIZED_NAME", "HANDSHAKE",
    "HELLO", "JUDGING", "MAX_CLIENT_HELLO", "OPEN", "HelloServer",
]  # fmt: skip

HELLO: Final = 0
HANDSHAKE: Final = 1
JUDGING: Final = 2
OPEN: Final = 3

#: Seconds between two looks at an incomplete ClientHello where the kernel cannot wait for more of it.
LOOK_AGAIN: Final = 0.05
#: A ClientHello, over however many records, is no longer than this (OpenSSL's own bound is larger).
MAX_CLIENT_HELLO: Final = 16_384

# Alert records as they stand on the wire before any key is agreed (RFC 8446 §6).
ALERT_HANDSHAKE_FAILURE: Final = bytes.fromhex("15030300020228")
ALERT_DECODE_ERROR: Final = bytes.fromhex("15030300020232")
ALERT_INTERNAL_ERROR: Final = bytes.fromhex("15030300020250")
ALERT_UNRECOGNIZED_NAME: Final = bytes.fromhex("15030300020270")

_log = Logger("edgegw.tls")
_LOST = main.CONNECTION_LOST


class HelloServer(Server):
    """The server's end of one TLS connection, before TLS; :class:`edgegw.tls.transport.TLSServer` goes on.

    :ivar judge: the listener that the client's name led to; ``None`` before that is known.
    :ivar server_name: SNI in canonical form, once the ClientHello was looked at; where the name makes no difference
        OpenSSL alone knows it.
    :ivar hello: what the client said first, where it was looked at, until its TLS begins.
    :ivar fingerprints: of the ClientHello, where the owner wants them.
    :ivar state: ``HELLO``, ``HANDSHAKE``, ``JUDGING`` or ``OPEN``.
    :ivar routed: whether the port's router has chosen the judge, whatever the listeners' host names say.
    """

    owner: TLSOwner
    tls: SSL.Connection | None = None
    judge: Judge | None = None
    server_name: str | None = None
    hello: ClientHello | None = None
    fingerprints: Fingerprints | None = None
    state = HELLO
    routed = False
    _decision: Deferred[Any] | None = None
    _found: SSL.Context | Reject | None = None
    _later: IDelayedCall | None = None
    _refused = False
    _low_water_mark = 1

    def begin(self, context: Found, judge: Judge) -> Why:
        """Begin with TLS, as a listener decides; see ``TLSServer``."""
        raise NotImplementedError

    # --- looking ------------------------------------------------------------------------------

    def _look_at_hello(self) -> Why:
        """Choose the listener, by the ClientHello where what it says makes a difference."""
        if self._found is not None:
            return self.begin(self._found, self.judge)  # type: ignore[arg-type]  # it was asked
        choice = self.owner.only
        if choice is None:
            try:
                peeked = self.socket.recv(MAX_CLIENT_HELLO + 1, socket.MSG_PEEK)
            except OSError as error:
                return None if error.errno in (EAGAIN, EWOULDBLOCK) else self._gone()
            if not peeked:
                return self._gone()
            try:
                hello = parse_client_hello(peeked, MAX_CLIENT_HELLO)
                if hello is not None and self.owner.fingerprints:
                    self.fingerprints = fingerprints(hello.message)
            except NotTLS as error:
                return self._not_tls(peeked, str(error))
            except BadClientHello as error:
                return self.refuse(Reason.BAD_CLIENT_HELLO, str(error), ALERT_DECODE_ERROR)
            if hello is None:
                return self._wait_for_more(len(peeked))
            self._set_low_water_mark(1)
            self.hello = hello
            self.server_name = hello.server_name
            router = self.owner.router
            if router is not None:
                return self._ask(router, hello, len(peeked))
            return self.owner.lead(self)  # type: ignore[arg-type]  # it is one
        return self.begin(*choice)

    def _not_tls(self, peeked: bytes, problem: str) -> Why:
        if self.owner.plain is not None:
            self._set_low_water_mark(1)
            return self.owner.plain(self)  # type: ignore[arg-type]  # it is one
        is_http = looks_like_http(peeked)
        if is_http is None:
            return self._wait_for_more(len(peeked))
        if is_http:
            return self.refuse(Reason.PLAIN_HTTP, f"a {peeked.split(b' ')[0].decode('ascii')} request", ANSWER)
        return self.refuse(Reason.NOT_TLS, problem)

    def _ask(self, router: Router, hello: ClientHello, seen: int) -> Why:
        """Have the port's router decide; the time for the handshake goes on."""
        way = router.route(hello, str(self.hostname))
        if not isinstance(way, Deferred):
            return router.follow(self, way)  # type: ignore[arg-type]  # it is one
        self._wait_for(way, lambda way: router.follow(self, way))  # type: ignore[arg-type]  # it is one
        return None if self._decision is None else self._wait_for_more(seen)

    def _wait_for_more(self, seen: int) -> Why:
        """Wait, without spinning on what has been peeked at: polling is level-triggered."""
        if seen >= self._low_water_mark:
            self._set_low_water_mark(seen + 1)
            return None
        # Woken by something else than enough bytes; or a Unix socket, which does not heed the mark.
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        if poll.poll(0):
            return self._gone()
        self.stopReading()
        self._later = self.reactor.callLater(LOOK_AGAIN, self._look_again)
        return None

    def _look_again(self) -> None:
        self._later = None
        if self.connected and self.state == HELLO and not self._refused:
            self.startReading()

    def _look_no_more(self) -> None:
        later, self._later = self._later, None
        if later is not None:
            later.cancel()

    def _set_low_water_mark(self, size: int) -> None:
        if size != self._low_water_mark:
            self._low_water_mark = size
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def _gone(self) -> Why:
        detail = "before a ClientHello"
        if self._decision is not None:
            detail = "while the router was deciding" if self.judge is None else "while its certificate was asked for"
        self._refuse(Reason.CLIENT_CLOSED, detail)
        return _LOST

    def give_away(self) -> socket.socket:
        """Give the socket to another transport, before anything was read from it; this one is at its end.

        The reactor may still call it, until it is called for the other by :func:`edgegw.tcp.hand_over`.
        """
        self._set_low_water_mark(1)
        self._look_no_more()
        self.owner.deadlines.forget(self)
        self.connected, self.disconnected, self._refused = 0, 1, True
        return self.socket  # type: ignore[no-any-return]  # Twisted's

    # --- waiting for whoever decides ------------------------------------------------------------

    def _wait_for(self, decision: Deferred[Any], go_on: Callable[[Any], Why]) -> None:
        """Let policies, a router or a source of certificates decide."""
        self._decision = decision
        decision.addErrback(self._decision_failed)
        decision.addCallback(self._decided, go_on)

    def _look_whether_it_left(self) -> Why:
        """Read nothing while something is decided, but notice an end."""
        try:
            peeked = self.socket.recv(MAX_CLIENT_HELLO + 1 if self.state == HELLO else 1, socket.MSG_PEEK)
        except OSError as error:
            return None if error.errno in (EAGAIN, EWOULDBLOCK) else _LOST
        if self.state == HELLO and peeked:
            return self._wait_for_more(len(peeked))
        if not peeked:
            return _LOST
        self.stopReading()
        return None

    def _decision_failed(self, failure: Failure) -> Reject:
        if not failure.check(CancelledError):
            _log.failure("policies deciding about {transport!r}", failure, transport=self)
        return Reject(Reason.INTERNAL_ERROR, "the gateway failed to judge it")

    def _decided(self, verdict: Any, go_on: Callable[[Any], Why]) -> None:
        self._decision = None
        if not self.connected or self._refused or self._aborting:
            return  # it is at its end, which has cancelled the decision or will
        self._look_no_more()
        self._set_low_water_mark(1)
        self.startReading()
        try:
            why = go_on(verdict)
        except Exception:
            _log.failure("beginning with {transport!r}", transport=self)
            why = _LOST
        if why is not None:
            self.connectionLost(Failure(why))

    # --- refusing -----------------------------------------------------------------------------

    def refuse(self, reason: str, detail: str, alert: bytes = b"") -> Why:
        """End the connection before it was open; an alert that OpenSSL wrote is already on its way.

        :param alert: an alert record, or an answer, to send in the clear, OpenSSL having sent nothing.
        """
        self._refuse(reason, detail)
        if alert:
            try:
                self.socket.send(alert)
            except OSError:
                return _LOST
        elif self.tls is None:
            return _LOST
        self._set_low_water_mark(1)
        return self._begin_linger()

    def _refuse(self, reason: str, detail: str) -> None:
        if self.state != OPEN and not self._refused:
            self._refused = True
            self.owner.refused(self, reason, detail)  # type: ignore[arg-type]  # it is one

    def deadline_passed(self) -> None:
        """End a handshake that takes too long, or a peer that never closes; see ``Deadlines``."""
        if self.connected:
            self._refuse(Reason.HANDSHAKE_TIMEOUT, "")
        super().deadline_passed()
