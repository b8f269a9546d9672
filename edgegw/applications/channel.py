"""One request of a client's as twisted.web has requests, and its response as a backend gives responses.

:class:`RequestChannel` stands where the ``HTTPChannel`` of a connection would.  What the resource writes waits here
until the client takes it; a producer is paused meanwhile.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.server import Request, Site

from edgegw.backend import BackendRequest, BackendResponse, RequestTooLarge
from edgegw.identity import ConnectionInfo

__all__ = ["CutOff", "RequestChannel", "RequestTransport", "connection_info"]

#: Bytes that wait beyond which a producer is paused.
HIGH_WATER: Final = 65_536
#: Bytes that are given at once.
LARGEST_PIECE: Final = 262_144
_WITHOUT_BODY: Final = (204, 304)
_log = Logger(namespace="edgegw.applications")


class CutOff(Exception):
    """A resource gave its request up before the response was whole."""


def connection_info(request: Any) -> ConnectionInfo | None:
    """Give what is known of the client that sent a twisted.web request, its verified identity among it.

    Works for requests that a ``resource`` backend runs, and for those of a ``Site`` behind
    :class:`edgegw.endpoints.EdgeServerEndpoint`; ``None`` for all others.

    ::

        certificate = connection_info(request).identity.verified
    """
    info = getattr(getattr(request, "transport", None), "info", None)
    return info if isinstance(info, ConnectionInfo) else None


class RequestTransport:
    """What is at ``request.transport``.

    :ivar info: what is known of the client's connection.
    """

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info

    def getPeer(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """Give the client's address."""
        info = self.info
        if info.peer.startswith("unix:"):
            return UNIXAddress(None)
        kind = IPv6Address if ":" in info.peer else IPv4Address
        return kind("TCP", info.peer, info.peer_port)

    def getHost(self) -> IPv4Address:
        """Give the port that the client came to; the address is not known here."""
        return IPv4Address("TCP", "0.0.0.0", self.info.local_port)


class RequestChannel:
    """Carries one request to a resource and its response back.

    :param site: what finds the resource.
    :param room: called with whether the response may be written on, whenever that changes.
    :ivar transport: see :class:`RequestTransport`.
    """

    #: What twisted.web's requests log through; the gateway has counted the request.
    factory = None

    def __init__(
        self, site: Site, request: BackendRequest, room: Callable[[bool], None] | None = None
    ) -> None:
        self.site = site
        self.transport = RequestTransport(request.connection)
        self._asked = request
        self._room = room
        self._full = False
        self._request: Request | None = None
        self._code = 0
        self._headers: list[tuple[str, str]] = []
        self._length: int | None = None
        self._pieces: deque[bytes] = deque()
        self._queued = 0
        self._producer: Any = None
        self._pulled = False
        self._finished = False
        self._lost = False
        self._waiting: Deferred[None] | None = None

    # --- the request ------------------------------------------------------------------------

    async def answer(self, max_body: int, prepare: Callable[[Request], None] | None = None) -> BackendResponse:
        """Have the resource answer the request.

        :param max_body: bytes that its body may have.
        :param prepare: called with the request before it is rendered.
        :raises RequestTooLarge: it has more.
        :raises CutOff: the resource closed the connection in place of an answer.
        """
        request = self._request = Request(self)
        try:
            await self._read_body(request, max_body)
            if prepare is not None:
                prepare(request)
            asked = self._asked
            request.requestReceived(asked.method.encode("ascii"), asked.target.encode("ascii"), b"HTTP/1.1")
            while not self._code and not self._lost:
                await self._more()
            return self._response()
        except BaseException:
            self.abandon()
            raise

    async def _read_body(self, request: Request, max_body: int) -> None:
        asked = self._asked
        if asked.content_length is not None and asked.content_length > max_body:
            raise RequestTooLarge(f"a body of {asked.content_length} bytes, and {max_body} are taken")
        headers = request.requestHeaders
        if asked.host:
            headers.addRawHeader(b"host", asked.host.encode("latin-1"))
        for name, value in asked.headers:
            headers.addRawHeader(name.encode("ascii"), value.encode("latin-1"))
        request.parseCookies()
        request.gotLength(asked.content_length)
        size = 0
        async for piece in asked:
            size += len(piece)
            if size > max_body:
                raise RequestTooLarge(f"a body of more than {max_body} bytes")
            request.handleContentChunk(piece)
        if size or asked.content_length is None:
            headers.setRawHeaders(b"content-length", [b"%d" % size])

    def getPeer(self) -> Any:
        """Called by the request."""
        return self.transport.getPeer()

    def getHost(self) -> Any:
        """Called by the request."""
        return self.transport.getHost()

    def isSecure(self) -> bool:
        """Called by the request: whether the client speaks TLS."""
        return self.transport.info.tls_version is not None

    # --- the response -----------------------------------------------------------------------

    def _response(self) -> BackendResponse:
        if self._lost:
            raise CutOff("the resource closed the connection")
        length = None if self._code in _WITHOUT_BODY else self._length
        if not self._finished:
            return BackendResponse(self._code, self._headers, _Body(self), length)
        body = b"".join(self._pieces)
        self._pieces.clear()
        return BackendResponse(self._code, self._headers, body, length)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Called by the request."""
        assert self._request is not None
        # The gateway frames the response by itself.
        self._request.chunked = 0
        for name, values in headers.getAllRawHeaders():
            lower = name.lower()
            if lower == b"content-length" and len(values) == 1 and values[0].isdigit():
                self._length = int(values[0])
            self._headers += [(lower.decode("ascii"), value.decode("latin-1")) for value in values]
        self._code = int(code)
        self._wake()

    def write(self, data: bytes) -> None:
        """Called by the request, with a part of the body."""
        if self._lost or not data:
            return
        self._pieces.append(data)
        self._queued += len(data)
        if self._queued > HIGH_WATER and not self._full:
            self._full = True
            if self._room is not None:
                self._room(False)
            if self._producer is not None and not self._pulled:
                self._producer.pauseProducing()
        self._wake()

    def writeSequence(self, data: list[bytes]) -> None:
        """Called by the request."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Called by the request."""
        self._producer = producer
        self._pulled = not streaming
        if self._pulled:
            self._wake()
        elif self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Called by the request."""
        self._producer = None

    def requestDone(self, request: Request) -> None:
        """Called by the request, when it is finished."""
        self._finished = True
        self._wake()

    def loseConnection(self) -> None:
        """Called by the request, to close the connection without an end of the response."""
        if not self._finished:
            self._end()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Called by the request where a form in its body cannot be read."""
        self._code = 400
        self._finished = True
        self._wake()

    # --- pace and ends ----------------------------------------------------------------------

    async def _more(self) -> None:
        """Wait for something of the response."""
        if self._producer is not None and self._pulled:
            before = len(self._pieces), self._code
            self._producer.resumeProducing()
            if (len(self._pieces), self._code) != before or self._finished or self._lost:
                return
        self._waiting = Deferred()
        await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def piece(self) -> bytes:
        """Give the next part of the body; empty at its end.

        :raises CutOff: there will be no end.
        """
        while not self._pieces:
            if self._lost:
                raise CutOff("the resource closed the connection before the end of its response")
            if self._finished:
                return b""
            await self._more()
        taken = [self._pieces.popleft()]
        size = len(taken[0])
        while self._pieces and size + len(self._pieces[0]) <= LARGEST_PIECE:
            taken.append(self._pieces.popleft())
            size += len(taken[-1])
        self._queued -= size
        if self._full and not self._pieces:
            self._full = False
            if self._room is not None:
                self._room(True)
            if self._producer is not None and not self._pulled:
                self._producer.resumeProducing()
        return b"".join(taken)

    def abandon(self) -> None:
        """Nobody waits for the response any more."""
        if not self._finished:
            self._end()

    def _end(self) -> None:
        """Tell the resource that the connection is gone."""
        if self._lost:
            return
        self._lost = True
        self._pieces.clear()
        request, producer = self._request, self._producer
        self._request = self._producer = None
        try:
            if producer is not None:
                producer.stopProducing()
            if request is not None:
                request.producer = None
                request.connectionLost(Failure(ConnectionLost("the client's request is over")))
        except Exception:
            _log.failure("a resource does not take that its request is over")
        if self._room is not None:
            self._room(True)
        self._wake()


class _Body:
    """The body of a response that is not whole yet."""

    def __init__(self, channel: RequestChannel) -> None:
        self._channel = channel

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._channel.piece()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Nobody wants the rest of it."""
        self._channel.abandon()
