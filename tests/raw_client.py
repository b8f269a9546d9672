"""A client that says exactly what it is told, on the test's own reactor, and tells exactly what it hears.

::

    client = await connect(self, running.address())
    client.send(b"GET / HTTP/1.1\\r\\nhost: a.example\\r\\n\\r\\n")
    response = await client.response()
"""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from edgegw.wire.chunked import ChunkedDecoder
from edgegw.wire.http1 import CHUNKED, Field, ResponseHead, parse_response_head

from .gateway import Address, until

__all__ = ["Client", "Response", "connect", "read_response"]

reactor: Any = global_reactor


@frozen
class Response:
    """What a client understands of an answer.

    :ivar complete: whether its framing says that this was all.
    """

    status: int
    fields: list[Field]
    body: bytes
    trailers: list[Field]
    complete: bool

    def all(self, name: str) -> list[str]:
        """Give the values of a header, by its lower-case name."""
        return [value.decode("latin-1") for found, value, _ in self.fields if found == name.encode()]


def read_response(data: bytes, head_only: bool = False, closed: bool = False) -> tuple[Response, bytes] | None:
    """Read one response, and what comes behind it; ``None`` if even its head is not complete.

    :param head_only: it answers HEAD.
    :param closed: whether nothing more will come, which ends a body without a length.
    """
    head: ResponseHead | None = parse_response_head(data, 1 << 20, 1000)
    if head is None:
        return None
    rest = data[len(head.raw) :]
    if head_only or head.status < 200 or head.status in (204, 304):
        return Response(head.status, head.fields, b"", [], True), rest
    if head.length == CHUNKED:
        decoder = ChunkedDecoder()
        body = decoder.feed(rest) if rest else b""
        return Response(head.status, head.fields, body, decoder.trailers, decoder.done), decoder.rest
    if head.length < 0:
        return Response(head.status, head.fields, rest, [], closed), b""
    body, rest = rest[: head.length], rest[head.length :]
    return Response(head.status, head.fields, body, [], len(body) == head.length), rest


class Client(Protocol):
    """One connection.

    :ivar received: every byte that is not taken by :meth:`response` yet.
    :ivar reason: why the connection has ended; ``None`` while it has not.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.total = 0
        self.reason: Failure | None = None
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Called by the transport."""
        self.total += len(data)
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called by the transport."""
        self.reason = reason

    @property
    def ended_cleanly(self) -> bool:
        """Whether the other side closed in order, not by a reset."""
        return self.reason is not None and self.reason.check(ConnectionDone) is not None

    def send(self, data: bytes) -> None:
        """Send, without waiting for anything."""
        self.transport.write(data)

    async def response(self, head_only: bool = False) -> Response:
        """Wait for the next complete response.

        :raises AssertionError: the connection ended before that, or it takes too long.
        """
        found: list[tuple[Response, bytes]] = []

        def complete() -> bool:
            closed = self.reason is not None
            read = read_response(self.received, head_only, closed)
            if read is not None and read[0].complete:
                found.append(read)
                return True
            if closed:
                raise AssertionError(f"the connection ended ({self.reason}) after {self.received!r}")
            return False

        await until(complete)
        response, self.received = found[0]
        return response

    async def closed(self) -> bytes:
        """Wait for the connection's end and give what came before it."""
        await until(lambda: self.reason is not None)
        return self.received

    async def heard(self, data: bytes) -> None:
        """Wait until ``data`` has come."""
        await until(lambda: data in self.received or self.reason is not None)
        assert data in self.received, self.received


async def connect(case: TestCase, address: Address) -> Client:
    """Connect; the connection is cut when the test has ended."""
    client: Client = await connectProtocol(TCP4ClientEndpoint(reactor, *address), Client())
    client.transport.setTcpNoDelay(True)

    async def end() -> None:
        if client.reason is None:
            client.transport.abortConnection()
        await until(lambda: client.reason is not None)

    case.addCleanup(lambda: Deferred.fromCoroutine(end()))
    return client
