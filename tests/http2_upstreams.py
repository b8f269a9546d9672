"""An upstream that speaks HTTP/2 by the ``h2`` library, on the tests' own reactor, and does as it is told.

::

    upstream = start_http2_upstream(self, lambda request: request.answer(b"hello"))
    running = await start_gateway(self, gateway([http_listener()], upstream.model))
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import NeverIndexedHeaderTuple
from OpenSSL import SSL
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from edgegw.model import Endpoint, HTTPVersion, Upstream
from tests.gateway import until

__all__ = ["HTTP2Request", "HTTP2Talk", "HTTP2Upstream", "start_http2_upstream"]

reactor: Any = global_reactor
Pair = tuple[bytes, bytes]


class HTTP2Request:
    """A request.

    :ivar fields: the pseudo-headers too, in their order.
    :ivar never_indexed: the names of those that came as never-indexed literals.
    :ivar body: what has come of it.
    :ivar trailers: once they have come.
    :ivar ended: whether all of it has come.
    :ivar was_reset: the code of RST_STREAM, or ``None``.
    """

    def __init__(self, talk: HTTP2Talk, stream: int, fields: list[Any]) -> None:
        self.talk = talk
        self.stream = stream
        self.fields: list[Pair] = [(bytes(name), bytes(value)) for name, value in fields]
        self.never_indexed = {bytes(one[0]) for one in fields if isinstance(one, NeverIndexedHeaderTuple)}
        self.body = bytearray()
        self.trailers: list[Pair] = []
        self.ended = False
        self.was_reset: int | None = None
        self._unsent = bytearray()
        self._end: list[Pair] | None = None

    def all(self, name: bytes) -> list[bytes]:
        """Give the values of a field."""
        return [value for found, value in self.fields if found == name]

    def head(self, status: int = 200, *fields: Pair, ended: bool = False) -> None:
        """Send a head."""
        self.talk.h2.send_headers(self.stream, [(b":status", b"%d" % status), *fields], end_stream=ended)
        self.talk.flush()

    def data(self, data: bytes, ended: bool = False, trailers: list[Pair] | None = None) -> None:
        """Send data as the windows open; ``trailers`` end it too."""
        self._unsent += data
        if ended or trailers is not None:
            self._end = trailers or []
        self.pump()

    def pump(self) -> None:
        """Send what there is room for."""
        h2 = self.talk.h2
        while self._unsent:
            size = min(h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size, len(self._unsent))
            if size <= 0:
                break
            h2.send_data(self.stream, bytes(self._unsent[:size]))
            del self._unsent[:size]
        if not self._unsent and self._end is not None:
            trailers, self._end = self._end, None
            if trailers:
                h2.send_headers(self.stream, trailers, end_stream=True)
            else:
                h2.end_stream(self.stream)
        self.talk.flush()

    def answer(self, body: bytes = b"", status: int = 200, *fields: Pair) -> None:
        """Send a whole response."""
        self.head(status, (b"content-length", b"%d" % len(body)), *fields, ended=not body)
        if body:
            self.data(body, True)

    def reset(self, code: int = ErrorCodes.INTERNAL_ERROR) -> None:
        """Send RST_STREAM."""
        self.talk.h2.reset_stream(self.stream, code)
        self.talk.flush()


class HTTP2Talk(protocol.Protocol):
    """One connection.

    :ivar requests: by stream.
    """

    transport: Any

    def __init__(self, upstream: HTTP2Upstream) -> None:
        self.upstream = upstream
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.requests: dict[int, HTTP2Request] = {}
        self.reason: Failure | None = None
        self.goaways: list[int] = []
        self.pings = 0

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.upstream.talks.append(self)
        if self.upstream.settings:
            self.h2.local_settings = Settings(False, self.upstream.settings)
        self.h2.initiate_connection()
        if not self.upstream.silent:
            self.flush()

    def flush(self) -> None:
        """Write what the library has to say."""
        self.transport.write(self.h2.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        if self.upstream.silent:
            return
        try:
            found = self.h2.receive_data(data)
        except ProtocolError:
            self.upstream.faults += 1
            self.flush()
            self.transport.loseConnection()
            return
        for event in found:
            self._take(event)
        self.flush()

    def _take(self, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            request = HTTP2Request(self, event.stream_id, event.headers)
            self.requests[event.stream_id] = request
            self.upstream.requests.append(request)
            if self.upstream.on_head is not None:
                self.upstream.on_head(request)
        elif isinstance(event, events.DataReceived):
            request = self.requests[event.stream_id]
            request.body += event.data
            if self.upstream.reads:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.TrailersReceived):
            self.requests[event.stream_id].trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, events.StreamEnded):
            request = self.requests[event.stream_id]
            request.ended = True
            if request.was_reset is None and self.upstream.script is not None:
                self.upstream.script(request)
        elif isinstance(event, events.StreamReset):
            self.requests[event.stream_id].was_reset = event.error_code
        elif isinstance(event, events.WindowUpdated):
            for request in list(self.requests.values()):
                if request.was_reset is None and request._unsent:
                    request.pump()
        elif isinstance(event, events.ConnectionTerminated):
            self.goaways.append(event.error_code)
        elif isinstance(event, events.PingReceived):
            self.pings += 1

    def go_away(self, last: int | None = None, code: int = 0) -> None:
        """Send GOAWAY past what the library would allow afterwards: later requests on the connection are ignored."""
        highest = self.h2.highest_inbound_stream_id if last is None else last
        self.transport.write(b"\0\0\x08\x07\0\0\0\0\0" + highest.to_bytes(4, "big") + code.to_bytes(4, "big"))

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.reason = reason


@implementer(IOpenSSLContextFactory)
class _Context:
    """Gives Twisted a context."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


class HTTP2Upstream(protocol.Factory):
    """An HTTP/2 server on a free port.

    :ivar script: called with each request when all of it has come.
    :ivar on_head: called with each request's head.
    :ivar settings: what it announces.
    :ivar reads: whether bodies are acknowledged.
    :ivar silent: whether it says and hears nothing.
    :ivar faults: what the library has found wrong with the gateway.
    """

    noisy = False

    def __init__(
        self,
        script: Callable[[HTTP2Request], None] | None,
        settings: dict[SettingCodes, int] | None = None,
        context: SSL.Context | None = None,
        **options: Any,
    ) -> None:
        self.script = script
        self.on_head: Callable[[HTTP2Request], None] | None = None
        self.settings = settings or {}
        self.reads = True
        self.silent = False
        self.faults = 0
        self.requests: list[HTTP2Request] = []
        self.talks: list[HTTP2Talk] = []
        if context is None:
            self.listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        else:
            self.listening = reactor.listenSSL(0, self, _Context(context), interface="127.0.0.1")
        port = self.listening.getHost().port
        options.setdefault("http_version", HTTPVersion.HTTP_2)
        self.model = Upstream("app", (Endpoint("127.0.0.1", port),), **options)

    def buildProtocol(self, addr: object) -> HTTP2Talk:
        return HTTP2Talk(self)

    async def request(self, number: int = 1) -> HTTP2Request:
        """Wait for the request with this number, from 1."""
        await until(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        stopped = self.listening.stopListening()
        if stopped is not None:
            await stopped
        for one in self.talks:
            if one.reason is None:
                one.transport.abortConnection()
        await until(lambda: all(one.reason is not None for one in self.talks))


def start_http2_upstream(
    case: TestCase, script: Callable[[HTTP2Request], None] | None = lambda request: request.answer(), **options: Any
) -> HTTP2Upstream:
    """Start an upstream until the test has ended; ``options`` are of :class:`HTTP2Upstream` or the model's."""
    upstream = HTTP2Upstream(script, **options)
    case.addCleanup(lambda: Deferred.fromCoroutine(upstream.stop()))
    return upstream
