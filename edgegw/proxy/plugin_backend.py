"""An upstream that is written in Python: what an exchange sends to a connection goes to a backend plugin instead.

To an :class:`~edgegw.proxy.exchange.Exchange` a :class:`PluginUpstream` looks like an upstream with one endpoint, and
each :class:`PluginCall` like a connection to it: it gets the request as it would stand on the wire and gives the
response as :class:`~edgegw.upstream.connection.Receiver` wants it.  So a backend's requests go through the same
header rules, time limits and counters as all others, and none of them costs the others anything.
"""
from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Callable
from math import inf
from time import monotonic
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.backend import BackendRequest, BackendResponse, RequestTooLarge, header_fields
from edgegw.deadlines import Deadlines
from edgegw.identity import ConnectionInfo
from edgegw.model import Upstream
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.proxy.answers import phrase
from edgegw.proxy.backend_body import WaitingBody
from edgegw.upstream.connection import Receiver
from edgegw.wire.chunked import ChunkedDecoder
from edgegw.wire.http1 import UNTIL_CLOSE, HTTPFault, RequestHead, ResponseHead, parse_request_head

__all__ = ["PluginCall", "PluginUpstream"]

#: The gateway has written the head itself: what it let through is not judged again.
_ANY_SIZE: Final = 1 << 30
#: What tells of this hop's framing, and of the name that is told by itself.
_NOT_TOLD: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
#: Bytes and pieces of a body after which other connections have their turn, however fast a client takes them.
BYTES_PER_TURN: Final = 262_144
PIECES_PER_TURN: Final = 64
_TOO_LARGE: Final = BackendResponse(
    413, {"content-type": "text/plain; charset=utf-8"}, b"The request's body is too large.\n"
)

_log = Logger(namespace="edgegw.backend")


class Caller(Receiver, Protocol):
    """Who sends a request; :class:`edgegw.proxy.exchange.Exchange`."""

    @property
    def info(self) -> ConnectionInfo:
        """What is known of the client's connection."""


class PluginUpstream:
    """An upstream with a backend in place of endpoints.

    :ivar model: the upstream's settings.
    :ivar host_header: what stands for the endpoint's name where the client's Host is not kept.
    """

    def __init__(
        self,
        reactor: Any,
        upstream: Upstream,
        metrics: UpstreamMetrics,
        deadlines: Deadlines,
        count_error: Callable[[str, str], None],
    ) -> None:
        """:param count_error: called with the name of the kind and ``"answer"`` whenever it fails."""
        use = upstream.backend
        assert use is not None
        self.model = upstream
        self.metrics = metrics
        self.deadlines = deadlines
        self.reactor = reactor
        self.count_error = count_error
        self.host_header = upstream.name.encode("ascii")
        self.kind: str = use.kind.name
        self.answer = use.backend.answer

    def next_endpoint(self, request: object) -> PluginUpstream:
        """Give itself: there is nothing to choose from."""
        return self

    def another_endpoint(self, request: object, tried: object) -> None:
        """There is no other."""

    def may_retry(self) -> bool:
        """Whether a request may be sent again: there is no budget."""
        return True

    def take(self) -> PluginCall:
        """Give what carries one request."""
        return PluginCall(self)

    def describe(self) -> dict[str, Any]:
        """Tell an operator what answers."""
        return {"name": self.model.name, "backend": self.kind}

    def start(self) -> None:
        """There is nothing to look after."""

    def close(self) -> None:
        """Nothing is kept between requests."""


class PluginCall:
    """One request to a backend, and its response.

    It is the producer of its response's body: who is sent it may pause it.

    :ivar transport: takes the request's body.
    :ivar deadline: see :class:`edgegw.deadlines.Deadlines`.
    """

    __slots__ = (
        "_abandoned", "_body_taken", "_decoder", "_ended", "_head_only", "_paused", "_receiver", "_response_timeout",
        "_resume", "_since_turn", "_streaming", "_task", "_upstream", "_waits", "deadline", "transport",
        "watched_until",
    )

    def __init__(self, upstream: PluginUpstream) -> None:
        self._upstream = upstream
        self.transport = WaitingBody(self._body_wanted)
        self.deadline = inf
        self.watched_until = inf
        self._receiver: Caller | None = None
        self._decoder: ChunkedDecoder | None = None
        self._head_only = False
        self._ended = False
        self._waits = False
        self._streaming = False
        self._paused = False
        self._resume: Deferred[None] | None = None
        self._body_taken = 0
        self._abandoned = False
        self._since_turn = [0, 0]
        self._task: Deferred[None] | None = None
        self._response_timeout = upstream.model.response_timeout

    def allow(self, seconds: float | None) -> None:
        """See :meth:`edgegw.upstream.connection.UpstreamConnection.allow`."""
        self._response_timeout = self._upstream.model.response_timeout if seconds is None else seconds

    # --- the request ------------------------------------------------------------------------

    def send_request(self, data: bytes, receiver: Caller, head_only: bool, ended: bool, waits: bool) -> None:
        """See :meth:`edgegw.upstream.connection.UpstreamConnection.send_request`; the answer may come within it.

        :param data: the head, and what there is of the body, as they would go on the wire.
        """
        self._receiver = receiver
        self._head_only = head_only
        self._waits = waits
        try:
            head = parse_request_head(data, _ANY_SIZE, _ANY_SIZE, _ANY_SIZE)
            if head is None:
                raise HTTPFault(400, "no end of the head")
        except HTTPFault as fault:
            self._fail("bad_response", f"the request cannot be told: {fault.detail}")
            return
        if head.length < 0:
            self._decoder = ChunkedDecoder()
        self._watch(self._response_timeout)
        self.send_body(data[head.size :], ended)
        task = Deferred.fromCoroutine(self._run(self._request(head, receiver.info)))
        task.addErrback(self._gone_wrong)
        self._task = task
        if self._abandoned:
            task.cancel()

    def _request(self, head: RequestHead, info: ConnectionInfo) -> BackendRequest:
        headers = [
            (name.decode("ascii"), value.decode("latin-1")) for name, value, _ in head.fields if name not in _NOT_TOLD
        ]
        return BackendRequest(
            head.method.decode("ascii"), head.target.decode("ascii"), host=head.host.decode("latin-1"), headers=headers,
            connection=info, body=self.transport, content_length=None if head.length < 0 else head.length,
        )

    def send_body(self, data: bytes, ended: bool) -> None:
        """Take more of the body, as it would go on the wire."""
        if self._receiver is None:
            return
        self.transport.write(data if self._decoder is None or not data else self._decoder.feed(data))
        if ended and not self._ended:
            self._ended = True
            if not self._streaming:
                # The time for the response begins when the backend can have the whole request.
                self._watch(self._response_timeout)
            self.transport.end()

    def _body_wanted(self) -> None:
        """The backend waits for the body: so may the client, for the word to send it (RFC 9110 §10.1.1)."""
        if self._waits and self._receiver is not None:
            self._waits = False
            self._receiver.interim_response(ResponseHead(100, b"Continue", 1, [], b""))

    # --- the response -----------------------------------------------------------------------

    async def _run(self, request: BackendRequest) -> None:
        try:
            answer = self._upstream.answer(request)
            response = await answer if hasattr(answer, "__await__") else answer
            head = self._head_of(response)
        except RequestTooLarge:
            response, head = _TOO_LARGE, self._head_of(_TOO_LARGE)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failed(error)
            return
        body: Any = response.body
        without = self._head_only or head.status in (204, 304)
        try:
            if without or response.length == 0 or not hasattr(body, "__aiter__"):
                payload = b"" if without or hasattr(body, "__aiter__") else bytes(body)
                receiver = self._over()
                if receiver is not None:
                    receiver.response_started(head, len(payload), payload, True)
            else:
                await self._send(head, body, response.length)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failed(error)
        finally:
            # A generator may hold a file or a connection, wherever it stands.
            close = getattr(body, "aclose", None)
            if close is not None:
                await close()

    def _head_of(self, response: Any) -> ResponseHead:
        """Give the head of a response.

        :raises ValueError: it is none that can be sent.
        """
        if not isinstance(response, BackendResponse):
            raise ValueError(f"it returned a {type(response).__name__}, which is no BackendResponse")
        status: Any = response.status
        body: Any = response.body
        length: Any = response.length
        if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
            raise ValueError(f"{repr(status)[:100]} is no status from 200 to 599")
        whole = isinstance(body, (bytes, bytearray, memoryview))
        if not whole and not hasattr(body, "__aiter__"):
            raise ValueError(f"the body is a {type(body).__name__}: neither bytes nor an async iterator of them")
        if length is not None and (type(length) is not int or length < 0):
            raise ValueError(f"{repr(length)[:100]} is no length of a body")
        size = len(bytes(body)) if whole else 0
        # In answer to HEAD an empty body with a length tells of the one that GET would get.
        if whole and length is not None and length != size and (size or not self._head_only):
            raise ValueError(f"a length of {length} was given with a body of {size} bytes")
        head = ResponseHead(int(status), phrase(int(status)), 1, header_fields(response.headers), b"")
        if self._head_only and status not in (204, 304):
            head.length = length if length is not None else size or UNTIL_CLOSE
        return head

    async def _send(self, head: ResponseHead, body: Any, length: int | None) -> None:
        """Send a body as it comes, no faster than the client takes it.

        :raises Exception: the body failed, or is not what it should be.
        """
        pieces: AsyncIterator[bytes] = body.__aiter__()
        receiver = self._receiver
        if receiver is None:
            return
        self._streaming = True
        self._watch(self._upstream.model.idle_timeout)
        receiver.response_started(head, UNTIL_CLOSE if length is None else length, b"", False)
        left = length
        while self._receiver is receiver:
            try:
                piece = await pieces.__anext__()
            except StopAsyncIteration:
                if left:
                    raise ValueError(f"the body ended {left} bytes before its length") from None
                self._end(b"")
                return
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                raise ValueError(f"the body gave a {type(piece).__name__}, which is no bytes")
            piece = bytes(piece)
            if left is not None:
                left -= len(piece)
                if left < 0:
                    raise ValueError(f"the body is longer than its length of {length} bytes")
                if not left:
                    self._end(piece)
                    return
            if piece and self._receiver is receiver:
                if not self._paused:
                    self._watch(self._upstream.model.idle_timeout)
                receiver.response_data(piece, False, [])
            await self._pace(len(piece))

    async def _pace(self, size: int) -> None:
        """Wait for the client where it is behind, and let others have their turn where it is not."""
        since = self._since_turn
        since[0] += size
        since[1] += 1
        if self._paused:
            self._resume = Deferred()
            await self._resume
        elif since[0] >= BYTES_PER_TURN or since[1] >= PIECES_PER_TURN:
            timer: Any = None
            turn: Deferred[None] = Deferred(lambda _: timer.cancel())
            timer = self._upstream.reactor.callLater(0, turn.callback, None)
            await turn
        else:
            return
        since[:] = 0, 0

    def _end(self, last: bytes) -> None:
        receiver = self._over()
        if receiver is not None:
            receiver.response_data(last, True, [])

    # --- ends -------------------------------------------------------------------------------

    def _over(self) -> Caller | None:
        """Nothing more is told of this request; gives whom to tell the last of it."""
        receiver, self._receiver = self._receiver, None
        self.transport.close()
        self._upstream.deadlines.forget(self)
        return receiver

    def _failed(self, error: BaseException) -> None:
        if self._receiver is None:
            # It was cancelled, or what came too late is wrong as well.
            if not isinstance(error, CancelledError):
                self._log_failure("failed after its request was over", error)
            return
        self._log_failure("failed", error)
        self._fail("bad_response", f"{self._upstream.kind}: {type(error).__name__}: {_bounded(error)}")

    def _log_failure(self, what: str, error: BaseException) -> None:
        self._upstream.count_error(self._upstream.kind, "answer")
        _log.error(
            "the backend {backend} of the upstream {upstream} {what}: {text}",
            backend=self._upstream.kind, upstream=self._upstream.model.name, what=what,
            text="".join(traceback.format_exception(error)),
        )

    def _gone_wrong(self, failure: Failure) -> None:
        """What came from closing its body, or is a fault of this module."""
        error = failure.value
        assert error is not None
        if self._receiver is not None:
            self._failed(error)
        elif not isinstance(error, CancelledError):
            self._log_failure("failed at its end", error)

    def _fail(self, word: str, detail: str) -> None:
        receiver = self._over()
        if receiver is not None:
            self._upstream.metrics.response_failures[word] += 1
            receiver.response_failed(word, detail, False)

    def abandon(self) -> None:
        """Nobody waits for the rest of this exchange any more."""
        self._receiver = None
        self._cancel()
        self._over()

    def _cancel(self) -> None:
        self._abandoned = True
        if self._task is not None:
            self._task.cancel()

    # --- time and pace ----------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        self._upstream.deadlines.watch(self, monotonic() + seconds)

    def deadline_passed(self) -> None:
        """See ``Deadlines``: the backend took too long, unless it is the client that it waits for."""
        model = self._upstream.model
        taken = self.transport.taken
        if self.transport.waited_for or (not self._ended and taken != self._body_taken):
            self._body_taken = taken
            self._watch(model.idle_timeout if self._streaming else self._response_timeout)
            return
        detail = "the response stopped" if self._streaming else "no response in time"
        self._fail("timeout", f"{self._upstream.kind}: {detail}")
        self._cancel()

    def pauseProducing(self) -> None:
        """The client takes no more for now; that is its time, not the backend's."""
        if self._receiver is not None:
            self._paused = True
            self.deadline = inf

    def resumeProducing(self) -> None:
        """The client takes more."""
        self._paused = False
        if self._receiver is not None:
            self._watch(self._upstream.model.idle_timeout)
        resume, self._resume = self._resume, None
        if resume is not None:
            resume.callback(None)

    def stopProducing(self) -> None:
        """The client is gone; whoever sent the request abandons it."""


def _bounded(error: BaseException) -> str:
    try:
        return str(error)[:200]
    except Exception:
        return ""
