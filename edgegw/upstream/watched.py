"""Connections of an upstream that has to know what becomes of requests: for its health, and for its clients' sessions.

Nothing of this is on the way of a request whose upstream does not want it: such a pool makes plain connections.
"""
from __future__ import annotations

from math import inf
from random import random
from time import monotonic
from typing import Any

from edgegw.balancing.sessions import Sessions
from edgegw.observe.endpoints import EndpointState
from edgegw.upstream.connection import Receiver, UpstreamConnection
from edgegw.upstream.outliers import OutlierDetector
from edgegw.wire.http1 import Field, ResponseHead
from edgegw.wire.upgrades import Handshake

__all__ = ["Watch", "WatchedConnection", "watched"]


class Watch:
    """What a pool's connections have to tell, and to whom.

    :param detector: hears how each request ends.
    :param sessions: of clients that stay with an endpoint.
    :param max_age: seconds after which a connection is closed, less up to a tenth.
    """

    __slots__ = ("_max_age", "detector", "sessions")

    def __init__(
        self, detector: OutlierDetector | None, sessions: Sessions[Any] | None, max_age: float | None
    ) -> None:
        self.detector = detector
        self.sessions = sessions
        self._max_age = max_age

    def expiry(self) -> float:
        """Give when a connection that is opened now is to be closed."""
        return inf if self._max_age is None else monotonic() + self._max_age * (1 - random() / 10)


def watched(pool: Any, receiver: Any) -> Receiver:
    """Give who is told of a response in the receiver's place, for a pool that has a :class:`Watch`."""
    watch: Watch = pool.watch
    field = None
    sessions = watch.sessions
    if sessions is not None and sessions.member(receiver) is not pool:
        field = sessions.field(pool, receiver.info.tls_version is not None)
    return _Watched(receiver, watch.detector, pool.state, field)


class WatchedConnection(UpstreamConnection):
    """Tells its pool's :class:`Watch` how each request ended, and adds what a client is to bring along."""

    pool: Any

    def connectionMade(self) -> None:
        """Called by the transport."""
        self.expires = self.pool.watch.expiry()
        super().connectionMade()

    def send_request(self, data: bytes, receiver: Any, head_only: bool, ended: bool, waits: bool) -> None:
        """See :class:`UpstreamConnection`."""
        super().send_request(data, watched(self.pool, receiver), head_only, ended, waits)

    def overdue(self) -> None:
        """See :class:`UpstreamConnection`."""
        detector = self.pool.watch.detector
        if detector is not None and self.receiver is not None:
            detector.failed(self.pool.state)
        super().overdue()


class _Watched:
    """Stands between a connection and who sent the request."""

    __slots__ = ("_detector", "_field", "_receiver", "_state")

    def __init__(
        self,
        receiver: Receiver,
        detector: OutlierDetector | None,
        state: EndpointState,
        field: tuple[bytes, bytes] | None,
    ) -> None:
        self._receiver = receiver
        self._detector = detector
        self._state = state
        self._field = field

    @property
    def handshake(self) -> Handshake | None:
        return self._receiver.handshake

    def interim_response(self, head: ResponseHead) -> None:
        self._receiver.interim_response(head)

    def response_started(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        if self._detector is not None:
            self._detector.answered(self._state, head.status)
        if self._field is not None:
            head = _with_field(head, *self._field)
        self._receiver.response_started(head, length, data, ended)

    def switched(self, head: ResponseHead, data: bytes) -> None:
        if self._detector is not None:
            self._detector.answered(self._state, head.status)
        self._receiver.switched(head if self._field is None else _with_field(head, *self._field), data)

    def response_data(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        self._receiver.response_data(data, ended, trailers)

    def response_failed(self, failure: str, detail: str, unanswered: bool) -> None:
        # That an idle connection is closed says nothing of the endpoint.
        if self._detector is not None and not unanswered:
            self._detector.failed(self._state)
        self._receiver.response_failed(failure, detail, unanswered)


def _with_field(head: ResponseHead, name: bytes, value: bytes) -> ResponseHead:
    """Give a response's head with one header more; what others keep on the head is not on this one."""
    fields = [*head.fields, (name, value, b"%b: %b\r\n" % (name, value))]
    more = ResponseHead(head.status, head.reason, head.version, fields, head.raw)
    more.length = head.length
    more.keep_alive = head.keep_alive
    more.options = head.options
    return more
