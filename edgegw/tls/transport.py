"""A Twisted TCP transport whose socket OpenSSL reads and writes itself.

It is Twisted's accepted connection with reading, writing and closing replaced, so producers,
buffers, half-close and addresses work as everywhere; any protocol runs on it.  The protocol is
made when the handshake is done: clients that never finish one cost no more than the handshake.

A connection goes through ``HELLO`` (the ClientHello is looked at, where names matter, and the port's router asked,
where there is one: it may take the connection past TLS, on another transport), ``HANDSHAKE``,
``JUDGING`` where policies wait for something, and ``OPEN``.  After a refusal it lingers (see
:class:`edgegw.tcp.Server`), so that the alert arrives.
"""
from __future__ import annotations

import select
import socket
from collections.abc import Callable
from errno import EAGAIN, EWOULDBLOCK
from math import inf
from time import monotonic
from typing import Any, Final

from OpenSSL import SSL, crypto
from twisted.internet import main
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, INegotiated, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.tcp import Server, Why
from edgegw.tls import openssl
from edgegw.tls.failure import reason_for_error
from edgegw.tls.owner import Judge, Router, TLSOwner
from edgegw.tls.verification import Hearing
from edgegw.verdict import Reason, Reject
from edgegw.wire.client_hello import BadClientHello, ClientHello, NotTLS, parse_client_hello
from edgegw.wire.fingerprints import Fingerprints, fingerprints
from edgegw.wire.plain_http import ANSWER, ends_like_http, looks_like_http

__all__ = ["Judge", "TLSOwner", "TLSServer"]

HELLO: Final = 0
HANDSHAKE: Final = 1
JUDGING: Final = 2
OPEN: Final = 3

#: Seconds between two looks at an incomplete ClientHello where the kernel cannot wait for more of it.
LOOK_AGAIN: Final = 0.05
#: Seconds in which a client that takes nothing must make room for the close_notify.
CLOSE_SECONDS: Final = 10.0
#: A ClientHello, over however many records, is no longer than this (OpenSSL's own bound is larger).
MAX_CLIENT_HELLO: Final = 16_384

# Alert records as they stand on the wire before any key is agreed (RFC 8446 §6).
ALERT_HANDSHAKE_FAILURE: Final = bytes.fromhex("15030300020228")
ALERT_DECODE_ERROR: Final = bytes.fromhex("15030300020232")
ALERT_INTERNAL_ERROR: Final = bytes.fromhex("15030300020250")
ALERT_UNRECOGNIZED_NAME: Final = bytes.fromhex("15030300020270")

#: Reasons that OpenSSL's first look at the bytes may give.
_NO_TLS: Final = frozenset({Reason.NOT_TLS, Reason.PLAIN_HTTP})
_log = Logger("edgegw.tls")
_DONE = main.CONNECTION_DONE
_LOST = main.CONNECTION_LOST


@implementer(ISSLTransport, INegotiated)
class TLSServer(Server):
    """The server's end of one TLS connection.

    :ivar judge: the listener that the client's name led to; ``None`` before that is known.
    :ivar server_name: SNI in canonical form, once the ClientHello was looked at; where the name makes no difference
        OpenSSL alone knows it.
    :ivar hello: what the client said first, where it was looked at, until its TLS begins.
    :ivar fingerprints: of the ClientHello, where the owner wants them.
    :ivar state: ``HELLO``, ``HANDSHAKE``, ``JUDGING`` or ``OPEN``.
    :ivar hearing: what is asked about the client's certificate, where anything is.
    :ivar info: what is known of the connection once it is open.
    :ivar routed: whether the port's router has chosen the judge, whatever the listeners' host names say.
    :ivar when_open: called with it once its protocol has begun.
    """

    owner: TLSOwner
    tls: SSL.Connection | None = None
    judge: Judge | None = None
    server_name: str | None = None
    hello: ClientHello | None = None
    fingerprints: Fingerprints | None = None
    state = HELLO
    hearing: Hearing | None = None
    info: ConnectionInfo | None = None
    routed = False
    when_open: tuple[Callable[[TLSServer], None], ...] = ()
    _decision: Deferred[Any] | None = None
    _later: IDelayedCall | None = None
    _refused = False
    _paused = False
    _own_end_closed = False
    _peer_end_closed = False
    _low_water_mark = 1

    # --- reading ----------------------------------------------------------------------------

    def doRead(self) -> Why:  # type: ignore[override]  # Twisted swaps it when a connection is aborted
        """Called by the reactor when the socket is readable."""
        if self.lingering:
            return self._linger()
        if self.state == OPEN:
            try:
                data = openssl.read(self.tls)  # type: ignore[arg-type]  # OPEN means there is one
            except openssl.Closed as closed:
                return self._peer_closed(closed)
            if data is not openssl.WANT:
                self.protocol.dataReceived(data)
            return None
        if self._decision is not None:
            return self._look_whether_it_left()
        if not self.owner.take_turn(self):
            return None
        return self._look_at_hello() if self.state == HELLO else self._handshake()

    def _peer_closed(self, closed: openssl.Closed) -> Why:
        if closed.data:
            self.protocol.dataReceived(closed.data)
            if not self.connected or self.lingering:
                return None
        if not closed.clean:
            return _LOST
        self._peer_end_closed = True
        return _DONE

    def _look_at_hello(self) -> Why:
        """Choose the listener, by the ClientHello where what it says makes a difference."""
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
            return self.owner.lead(self)
        return self.begin(*choice)

    def _not_tls(self, peeked: bytes, problem: str) -> Why:
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
            return router.follow(self, way)
        self._wait_for(way, lambda way: router.follow(self, way))
        return None if self._decision is None else self._wait_for_more(seen)

    def begin(self, context: SSL.Context | None, judge: Judge) -> Why:
        """Begin with TLS, as a listener decides.

        :param context: ``None`` refuses the name.
        """
        self.judge = judge
        if context is None:
            return self.refuse(Reason.UNRECOGNIZED_NAME, str(self.server_name), ALERT_UNRECOGNIZED_NAME)
        reason = self.judge.may_begin(self)
        if reason is not None:
            alert = ALERT_HANDSHAKE_FAILURE if reason is Reason.NO_TRUST_ANCHOR else b""
            return self.refuse(reason, "", alert)
        self.state = HANDSHAKE
        self.hello = None
        self.hearing = self.judge.begin(self, context)
        return self._handshake()

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
        detail = "before a ClientHello" if self._decision is None else "while the router was deciding"
        self._refuse(Reason.CLIENT_CLOSED, detail)
        return _LOST

    def give_away(self) -> socket.socket:
        """Give the socket to another transport, before anything was read from it; this one is at its end."""
        self._set_low_water_mark(1)
        self._look_no_more()
        self.owner.deadlines.forget(self)
        self.stopReading()
        self.connected, self.disconnected, self._refused = 0, 1, True
        return self.socket  # type: ignore[no-any-return]  # Twisted's

    def _handshake(self) -> Why:
        tls, judge, hearing = self.tls, self.judge, self.hearing
        assert tls is not None and judge is not None
        try:
            wanted = openssl.do_handshake(tls, None if hearing is None else hearing.asked)
        except Exception as error:
            # Not SSL.Error alone: what a callback raises comes out here too, and refuses.
            refusal = None if hearing is None else hearing.refusal
            refused = reason_for_error(error, openssl.verify_result(tls), refusal)
            if refused.code in _NO_TLS and (refused.code == Reason.PLAIN_HTTP or self._rest_is_http()):
                return self.refuse(Reason.PLAIN_HTTP, refused.detail, ANSWER)
            return self.refuse(refused.code, refused.detail)
        if wanted is not None:
            if wanted is openssl.WANT_WRITE:
                self.startWriting()
            return None
        try:
            verdict = judge.judge(self)
        except Exception:
            _log.failure("judging {transport!r}", transport=self)
            verdict = Reject(Reason.INTERNAL_ERROR, "the gateway failed to judge it")
        if isinstance(verdict, Deferred):
            # Policies have time limits of their own.
            self.state = JUDGING
            self.deadline = inf
            self._wait_for(verdict, self._go_on_with)
            return None
        return self._go_on_with(verdict)

    def _rest_is_http(self) -> bool:
        # OpenSSL knows some methods, and HTTP/2's preface is none of them.  It has taken the first five bytes.
        try:
            return ends_like_http(self.socket.recv(MAX_CLIENT_HELLO, socket.MSG_PEEK))
        except OSError:
            return False

    def _wait_for(self, decision: Deferred[Any], go_on: Callable[[Any], Why]) -> None:
        """Let policies or a router decide."""
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

    def _go_on_with(self, verdict: Any) -> Why:
        """Begin with the protocol that was decided for, or refuse."""
        self.state = HANDSHAKE
        if isinstance(verdict, Reject):
            return self.refuse(verdict.code, verdict.detail)
        self.state = OPEN
        self.deadline = inf
        self.hearing = None
        self.protocol = verdict
        verdict.makeConnection(self)
        for call in self.when_open:
            call(self)
        # The first request often comes with the client's last flight.
        return None if self._paused or self.disconnecting or not self.connected else self.doRead()

    def pauseProducing(self) -> None:
        """Read no more until :meth:`resumeProducing`."""
        self._paused = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Read on."""
        self._paused = False
        super().resumeProducing()

    # --- refusing ---------------------------------------------------------------------------

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
            self.owner.refused(self, reason, detail)

    def deadline_passed(self) -> None:
        """End a handshake that takes too long, or a peer that never closes; see ``Deadlines``."""
        if self.connected:
            self._refuse(Reason.HANDSHAKE_TIMEOUT, "")
        super().deadline_passed()

    # --- writing ----------------------------------------------------------------------------

    def doWrite(self) -> Why:  # type: ignore[override]  # Twisted swaps it when a connection is aborted
        """Called by the reactor when the socket is writable."""
        if self.state == HANDSHAKE and not self.lingering:
            self.stopWriting()
            return self._handshake()
        return super().doWrite()  # type: ignore[no-any-return]  # Twisted's

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Encrypt and send what the socket takes."""
        if not data:
            return 0
        if self.state != OPEN:
            return _LOST
        try:
            return openssl.write(self.tls, data)  # type: ignore[arg-type]  # OPEN means there is one
        except openssl.Closed:
            return _LOST

    # --- closing ----------------------------------------------------------------------------

    def _close_notify(self) -> bool:
        """Say that no more is coming; whether the socket took it or there is nobody to tell."""
        if self._own_end_closed or self.tls is None or self.state != OPEN:
            return True
        try:
            self.tls.shutdown()
        except SSL.WantWriteError:
            return False
        except SSL.Error:
            pass  # the peer is gone
        self._own_end_closed = True
        return True

    def _postLoseConnection(self) -> Why:
        if not self._close_notify():
            # Without it the client would take a response that ends with the connection for a truncated one.
            if self.deadline == inf:
                self.owner.deadlines.watch(self, monotonic() + CLOSE_SECONDS)
            self.startWriting()
            return None
        return super()._postLoseConnection()

    def _closeWriteConnection(self) -> None:
        if not self._close_notify():
            self._writeDisconnected = False
            self.startWriting()
            return
        super()._closeWriteConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Free everything, tell the protocol and the owner."""
        if reason.check(ConnectionAborted):
            self._refuse(Reason.DRAINING, "the gateway cut it")
        else:
            self._refuse(Reason.CLIENT_CLOSED, "during the handshake")
        self._look_no_more()
        decision, self._decision = self._decision, None
        if decision is not None:
            decision.cancel()
        if self._peer_end_closed and not reason.check(ConnectionAborted):
            self._close_notify()
        self.tls = None
        self.hearing = None
        super().connectionLost(reason)

    # --- what TLS knows ---------------------------------------------------------------------

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol that ALPN chose, or ``None``."""
        return (self.tls.get_alpn_proto_negotiated() or None) if self.tls is not None else None

    def getPeerCertificate(self) -> crypto.X509 | None:
        """The client's certificate, verified or not; ``None`` without one."""
        return self.tls.get_peer_certificate() if self.tls is not None else None
