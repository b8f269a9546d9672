"""A bare socket to an endpoint, for bytes that no transport is wanted for.

What is counted, and what becomes of an endpoint that cannot be reached, is as with
:meth:`edgegw.upstream.pool.EndpointPool.dial`.
"""
from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EALREADY, EINPROGRESS, EISCONN
from math import inf
from os import strerror
from time import monotonic
from typing import Any, Final

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.deadlines import Deadlines
from edgegw.upstream.pool import EndpointPool, failure_word

__all__ = ["SocketDialling"]

_KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_OPEN: Final = frozenset({0, EISCONN})
_NOT_YET: Final = frozenset({EINPROGRESS, EALREADY})


@implementer(IReadDescriptor, IWriteDescriptor)
class SocketDialling:
    """A socket that is being opened, to an endpoint without TLS.

    :param opened: called with the endpoint and the socket, which is non-blocking; the socket is the callee's then, and
        ``endpoint.closed()`` to be called at its end.
    :param failed: called with the endpoint, a word and the system's text; see ``EndpointPool.connect``.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    deadline = inf
    watched_until = inf
    _socket: socket.socket | None = None
    _address: Any = None
    _resolving: Deferred[Any] | None = None
    _later: Any = None

    def __init__(
        self,
        endpoint: EndpointPool,
        reactor: Any,
        opened: Callable[[EndpointPool, socket.socket], None],
        failed: Callable[[EndpointPool, str, str], None],
    ) -> None:
        self._endpoint = endpoint
        self._deadlines: Deadlines = endpoint.deadlines
        self._reactor = reactor
        self._opened: Callable[[EndpointPool, socket.socket], None] | None = opened
        self._failed: Callable[[EndpointPool, str, str], None] | None = failed

    def begin(self) -> socket.socket | None:
        """Give the socket where it is open at once, as it nearly always is within one machine.

        Otherwise ``opened`` or ``failed`` is called later, and not before this has returned.
        """
        endpoint = self._endpoint
        endpoint.dialling()
        address = endpoint.socket_address
        if address is None:
            self._deadlines.watch(self, monotonic() + endpoint.connect_timeout)
            self._later = self._reactor.callLater(0, self._look_up)
            return None
        if self._connect(*address):
            sock, self._socket = self._socket, None
            self._opened = self._failed = None
            endpoint.opened()
            return sock
        if self._later is None:
            self._deadlines.watch(self, monotonic() + endpoint.connect_timeout)
        return None

    def _connect(self, family: int, address: Any) -> bool:
        """Begin to connect; whether it is open."""
        try:
            self._socket = sock = socket.socket(family, _KIND)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            result = sock.connect_ex(address)
            if result == EINPROGRESS:
                result = sock.connect_ex(address)
        except OSError as problem:
            self._fail_later(error.getConnectError(problem))
            return False
        if result in _OPEN:
            return True
        if result in _NOT_YET:
            self._address = address
            self.fileno = sock.fileno
            self._reactor.addWriter(self)
        else:
            self._fail_later(error.getConnectError((result, strerror(result))))
        return False

    # --- what the reactor calls -----------------------------------------------------------------

    def logPrefix(self) -> str:
        """Name it in Twisted's log."""
        return "edgegw"

    def doRead(self) -> None:
        """Never called: only the end of connecting is waited for."""

    def doWrite(self) -> None:
        """Called by the reactor when connecting has come to an end."""
        sock = self._socket
        if sock is None:
            return
        result = sock.connect_ex(self._address)
        if result in _NOT_YET:
            return
        self._reactor.removeWriter(self)
        if result not in _OPEN:
            self._fail(error.getConnectError((result, strerror(result))))
            return
        opened = self._opened
        assert opened is not None
        endpoint = self._endpoint
        opened(endpoint, self._is_open())

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor where connecting has failed and there is nothing else to tell."""
        sock = self._socket
        if sock is None:
            return
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._fail(error.getConnectError((number, strerror(number))))
        else:
            self._fail(reason.value)

    # --- results --------------------------------------------------------------------------------

    def _is_open(self) -> socket.socket:
        sock, self._socket = self._socket, None
        assert sock is not None
        self._finish()
        self._endpoint.opened()
        return sock

    def _look_up(self) -> None:
        self._later = None
        # As Twisted's own clients do; upstreams look their names up themselves as soon as they are in use.
        self._resolving = self._reactor.resolve(self._endpoint.endpoint.host)
        self._resolving.addCallbacks(self._resolved, self._not_resolved)

    def _resolved(self, host: str) -> None:
        self._resolving = None
        if self._failed is not None and self._connect(socket.AF_INET, (host, self._endpoint.endpoint.port)):
            opened = self._opened
            assert opened is not None
            opened(self._endpoint, self._is_open())

    def _not_resolved(self, failure: Failure) -> None:
        self._resolving = None
        if self._failed is not None and not failure.check(CancelledError):
            assert failure.value is not None
            self._fail_later(failure.value)

    def _fail_later(self, problem: BaseException) -> None:
        self._later = self._reactor.callLater(0, self._fail_at_last, problem)

    def _fail_at_last(self, problem: BaseException) -> None:
        self._later = None
        self._fail(problem)

    def _fail(self, problem: BaseException | None) -> None:
        failed = self._failed
        assert failed is not None
        self._finish()
        reason = Failure(problem)
        word = failure_word(reason)
        self._endpoint.connect_failed(word)
        failed(self._endpoint, word, reason.getErrorMessage())

    def deadline_passed(self) -> None:
        """See ``Deadlines``."""
        if self._failed is not None:
            self._fail(error.TimeoutError())

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._failed is not None:
            self._finish()
            self._endpoint.given_up()

    def _finish(self) -> None:
        self._opened = self._failed = None
        if self.watched_until != inf or self.deadline != inf:
            self._deadlines.forget(self)
        resolving, self._resolving = self._resolving, None
        if resolving is not None:
            resolving.cancel()
        later, self._later = self._later, None
        if later is not None:
            later.cancel()
        sock, self._socket = self._socket, None
        if sock is not None:
            if self._address is not None:
                self._reactor.removeWriter(self)
            sock.close()
