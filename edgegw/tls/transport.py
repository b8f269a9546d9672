"""A Twisted TCP transport whose socket OpenSSL reads and writes itself.

It is Twisted's accepted connection with reading, writing and closing replaced, so producers,
buffers, half-close and addresses work as everywhere; any protocol runs on it.  The protocol is
made when the handshake is done: clients that never finish one cost no more than the handshake.

A connection goes through ``HELLO`` (see :mod:`edgegw.tls.hello`: the ClientHello is looked at, where names matter, and
the port's router asked, where there is one: it may take the connection past TLS, on another transport), ``HANDSHAKE``,
``JUDGING`` where policies wait for something, and ``OPEN``.  After a refusal it lingers (see
:class:`edgegw.tcp.Server`), so that the alert arrives.
"""
from __future__ import annotations

import socket
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import INegotiated, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.tcp import Why
from edgegw.tls import openssl
from edgegw.tls.ending import TLSEnding
from edgegw.tls.failure import reason_for_error
from edgegw.tls.hello import (
    ALERT_HANDSHAKE_FAILURE,
    ALERT_INTERNAL_ERROR,
    ALERT_UNRECOGNIZED_NAME,
    HANDSHAKE,
    HELLO,
    JUDGING,
    MAX_CLIENT_HELLO,
    OPEN,
    HelloServer,
)
from edgegw.tls.owner import Found, Judge, TLSOwner
from edgegw.tls.verification import Hearing
from edgegw.verdict import Reason, Reject
from edgegw.wire.plain_http import ANSWER, ends_like_http

__all__ = ["Judge", "TLSOwner", "TLSServer"]

#: Seconds in which a client that takes nothing must make room for the close_notify.
CLOSE_SECONDS: Final = 10.0
#: Reasons that OpenSSL's first look at the bytes may give.
_NO_TLS: Final = frozenset({Reason.NOT_TLS, Reason.PLAIN_HTTP})
_log = Logger("edgegw.tls")
_DONE = main.CONNECTION_DONE
_LOST = main.CONNECTION_LOST


@implementer(ISSLTransport, INegotiated)
class TLSServer(TLSEnding, HelloServer):
    """The server's end of one TLS connection.

    :ivar hearing: what is asked about the client's certificate, where anything is.
    :ivar info: what is known of the connection once it is open.
    :ivar when_open: called with it once its protocol has begun.
    """

    hearing: Hearing | None = None
    info: ConnectionInfo | None = None
    when_open: tuple[Callable[[TLSServer], None], ...] = ()
    _paused = False
    _peer_end_closed = False

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

    def begin(self, context: Found, judge: Judge) -> Why:
        """Begin with TLS, as a listener decides.

        :param context: that the name leads to there.
        """
        self.judge = judge
        if not isinstance(context, SSL.Context):
            if isinstance(context, Deferred):
                self._wait_for(context, self._keep)
                return None
            refusal = context or Reject(Reason.UNRECOGNIZED_NAME, str(self.server_name))
            unknown = refusal.code == Reason.UNRECOGNIZED_NAME
            return self.refuse(
                refusal.code, refusal.detail, ALERT_UNRECOGNIZED_NAME if unknown else ALERT_INTERNAL_ERROR
            )
        reason = self.judge.may_begin(self)
        if reason is not None:
            alert = ALERT_HANDSHAKE_FAILURE if reason is Reason.NO_TRUST_ANCHOR else b""
            return self.refuse(reason, "", alert)
        self.state = HANDSHAKE
        self.hello = None
        self.hearing = self.judge.begin(self, context)
        return self._handshake()

    def _keep(self, found: SSL.Context | Reject) -> Why:
        """Go on with a context when the ClientHello, which is still there, is next come to.

        Many clients may have waited for one certificate: all at once they would hold up everybody else.
        """
        self._found = found
        return None

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
        return self.state != OPEN or super()._close_notify()

    def _postLoseConnection(self) -> Why:
        if not self._close_notify():
            # Without it the client would take a response that ends with the connection for a truncated one.
            if self.deadline == inf:
                self.owner.deadlines.watch(self, monotonic() + CLOSE_SECONDS)
            self.startWriting()
            return None
        return super()._postLoseConnection()

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
