"""An HTTP/2 client that does as it is told, odd things included; it runs in the reactor."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    InformationalResponseReceived,
    PingReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import StreamClosedError
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.gateway import Address, Authority, Issued, until

__all__ = ["Answer", "HTTP2Client", "connect_http2"]

reactor: Any = global_reactor
Pairs = list[tuple[str, str]]


class Answer:
    """What has come on a stream.

    :ivar interim: the statuses of interim responses.
    :ivar code: of RST_STREAM; ``None`` without one.
    :ivar ended: whether the response is complete.
    """

    def __init__(self) -> None:
        self.fields: Pairs = []
        self.trailers: Pairs = []
        self.interim: list[int] = []
        self.body = bytearray()
        self.code: ErrorCodes | int | None = None
        self.ended = False

    @property
    def status(self) -> int:
        """The response's status; 0 before there is one."""
        return int(dict(self.fields).get(":status", "0"))

    def all(self, name: str) -> list[str]:
        """Give the values of a header."""
        return [value for found, value in self.fields if found == name]

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.ended or self.code is not None


class HTTP2Client(Protocol):
    """One connection.

    :ivar reads: gives whether the data of a stream is acknowledged.
    :ivar answers: by stream.
    :ivar goaways: error codes and last streams, as they came.
    :ivar lost: why it has ended; ``None`` while it has not.
    """

    transport: Any

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(
            True, "utf-8", validate_outbound_headers=False, normalize_outbound_headers=False,
            validate_inbound_headers=True,
        ))
        self.reads: Callable[[int], bool] = lambda stream: True
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pings = 0
        self.answers_pings = True
        self.settings = False
        self.lost: Failure | None = None
        self._later: list[IDelayedCall] = []
        self.owed: dict[int, int] = {}
        self._held = b""

    def connectionMade(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what the library has to send."""
        self.transport.write(self.h2.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        # The library takes GOAWAY for the end, after which it takes nothing: it is not told of it.
        data = self._held + data
        while len(data) >= 9 and len(data) >= (end := 9 + int.from_bytes(data[:3], "big")):
            frame, data = data[:end], data[end:]
            if frame[3] == 7:
                self.goaways.append((int.from_bytes(frame[13:17], "big"), int.from_bytes(frame[9:13], "big")))
            else:
                self._take(frame)
        self._held = data
        if self.answers_pings or not self.pings:
            self.flush()

    def _take(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            stream = getattr(event, "stream_id", 0) or 0
            answer = self.answers.setdefault(stream, Answer())
            if isinstance(event, InformationalResponseReceived):
                answer.interim.append(int(dict(event.headers)[":status"]))
            elif isinstance(event, ResponseReceived):
                answer.fields = list(event.headers)
            elif isinstance(event, DataReceived):
                answer.body += event.data
                self.owed[stream] = self.owed.get(stream, 0) + event.flow_controlled_length
                self.read(stream)
            elif isinstance(event, TrailersReceived):
                answer.trailers = list(event.headers)
            elif isinstance(event, StreamEnded):
                answer.ended = True
            elif isinstance(event, StreamReset):
                answer.code = event.error_code
            elif isinstance(event, PingReceived):
                self.pings += 1
            elif isinstance(event, RemoteSettingsChanged):
                self.settings = True

    def read(self, stream: int) -> None:
        """Acknowledge what has come on a stream, if that is read."""
        owed = self.owed.get(stream, 0)
        if owed and self.reads(stream):
            self.owed[stream] = 0
            try:
                self.h2.acknowledge_received_data(owed, stream)
            except StreamClosedError:
                self.h2.increment_flow_control_window(owed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        for call in self._later:
            if call.active():
                call.cancel()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call later, but not on a connection that is lost."""
        if self.lost is not None:
            return
        self._later = [one for one in self._later if one.active()]
        self._later.append(reactor.callLater(seconds, call))

    # --- requests ---

    def ask(
        self, path: str = "/", *fields: tuple[str, str], method: str = "GET", host: str | None = "a.example",
        end: bool = True, body: bytes | None = None,
    ) -> int:
        """Send a request; gives its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http")]
        if method != "CONNECT":
            head.append((":path", path))
        else:
            head.pop()
        if host is not None:
            head.append((":authority", host))
        self.h2.send_headers(stream, [*head, *fields], end_stream=end and body is None)
        self.answers[stream] = Answer()
        if body is not None:
            self.h2.send_data(stream, body, end_stream=end)
        self.flush()
        return stream

    def connect_to(
        self, path: str = "/", *fields: tuple[str, str], protocol: str | None = "websocket", scheme: str = "https",
        end: bool = False,
    ) -> int:
        """Send an extended CONNECT, in order unless told otherwise; gives its stream."""
        stream: int = self.h2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":scheme", scheme), (":path", path), (":authority", "a.example")]
        if protocol is not None:
            head.append((":protocol", protocol))
        if protocol == "websocket" and not any(name == "sec-websocket-version" for name, _ in fields):
            fields = (*fields, ("sec-websocket-version", "13"))
        self.h2.send_headers(stream, [*(one for one in head if one[1]), *fields], end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def reset(self, stream: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Send RST_STREAM."""
        self.h2.reset_stream(stream, code)
        self.flush()

    async def head(self, stream: int) -> Answer:
        """Wait for the head of a response."""
        await until(lambda: bool(self.answers[stream].fields) or self.answers[stream].over or self.lost is not None)
        return self.answers[stream]

    async def heard(self, stream: int, data: bytes) -> None:
        """Wait until what has come on a stream ends with something."""
        await until(lambda: self.answers[stream].body.endswith(data) or self.lost is not None)

    def send(self, stream: int, data: bytes, end: bool = False) -> None:
        """Send more of a request's body."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    def send_trailers(self, stream: int, *fields: tuple[str, str]) -> None:
        """End a request with trailers."""
        self.h2.send_headers(stream, list(fields), end_stream=True)
        self.flush()

    def upload(
        self, stream: int, left: int, piece: bytes = b"u" * 16_384, end: bool = True
    ) -> Callable[[], int]:
        """Send a body as the windows allow; gives what tells how much is left."""
        state = [left]

        def send() -> None:
            if self.lost is not None or self.answers[stream].over:
                return
            while state[0] and (room := min(self.h2.local_flow_control_window(stream), len(piece), state[0])):
                state[0] -= room
                self.h2.send_data(stream, piece[:room], end_stream=end and not state[0])
            self.flush()
            if state[0]:
                self.call_later(0.005, send)

        send()
        return lambda: state[0]

    def send_all(self, stream: int, data: bytes) -> None:
        """Send data as the windows allow."""
        at = 0

        def send() -> None:
            nonlocal at
            if self.lost is not None or self.answers[stream].over:
                return
            while at < len(data) and (room := min(self.h2.local_flow_control_window(stream), 16_384)):
                self.h2.send_data(stream, data[at : at + room])
                at += room
            self.flush()
            if at < len(data):
                self.call_later(0.002, send)

        send()

    async def answer(self, stream: int) -> Answer:
        """Wait for the end of a response."""
        await until(lambda: self.answers[stream].over or self.lost is not None)
        return self.answers[stream]

    async def get(self, path: str = "/", *fields: tuple[str, str], **options: Any) -> Answer:
        """Ask, and wait for the whole answer."""
        return await self.answer(self.ask(path, *fields, **options))

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        await until(lambda: self.lost is not None)


async def connect_http2(
    case: TestCase, address: Address, trust: Authority | None = None, certificate: Issued | None = None,
    server_name: str = "a.example",
) -> HTTP2Client:
    """Connect until the test has ended.

    :param trust: speaks TLS, and trusts this authority.
    """
    endpoint: Any = TCP4ClientEndpoint(reactor, *address)
    if trust is not None:
        own = None
        if certificate is not None:
            own = PrivateCertificate.loadPEM(certificate.key_pem + certificate.chain_pem)
        options = optionsForClientTLS(
            server_name, Certificate.loadPEM(trust.pem), own, acceptableProtocols=[b"h2", b"http/1.1"]
        )
        endpoint = wrapClientTLS(options, endpoint)
    client = await connectProtocol(endpoint, HTTP2Client())

    async def end() -> None:
        if client.lost is None:
            client.transport.abortConnection()
        await client.closed()

    case.addCleanup(lambda: Deferred.fromCoroutine(end()))
    await until(lambda: client.settings or client.lost is not None)
    return client
