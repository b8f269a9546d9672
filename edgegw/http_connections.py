"""Connections to the services that plugins ask, with a bound on what a service may send.

Twisted's HTTP client bounds neither the number of header lines of an answer nor that of interim answers before it,
and can close a connection only in good order, which a service that stalls never lets it.  treq above it asks for
compressed answers, which it unpacks without a bound, and reads every cookie, unreadable ones included.
"""
from __future__ import annotations

from http.cookiejar import CookieJar
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

__all__ = ["AnswerTooLong", "BytesProducer", "Endpoints", "NoCookies", "PlainAgent", "StaleConnection", "read_body"]

#: Bytes that an answer may have beside its body: status line, header lines, interim answers.
_HEAD: Final = 65_536
#: One byte of a body takes up to six in chunked framing (RFC 9112 §7.1).
_FRAMING: Final = 6


class AnswerTooLong(Exception):
    """A service sends more than was asked for."""


class StaleConnection(Exception):
    """A kept connection was closed before a byte of the next answer had come."""


class _Connection(ProtocolWrapper):
    """Counts what comes in answer to each request."""

    def __init__(self, factory: Any, wrapped: Any, bound: Endpoints) -> None:
        super().__init__(factory, wrapped)
        self._bound = bound
        self._received = 0
        self._used = False
        self._problem: Exception | None = None

    def writeSequence(self, data: Any) -> None:
        self._asked()
        super().writeSequence(data)

    def write(self, data: bytes) -> None:
        self._asked()
        super().write(data)

    def _asked(self) -> None:
        if self._received:
            self._used = True
            self._received = 0

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._bound.most:
            self._problem = AnswerTooLong("the answer is too long")
            self.loseConnection()
        elif self._problem is None:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        # Nothing that is still to be sent is worth waiting for a service that may never read it.
        self.disconnecting = 1
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._problem is not None:
            reason = Failure(self._problem)
        elif self._used and not self._received and reason.check(ConnectionDone, ConnectionLost):
            reason = Failure(StaleConnection("the connection, which had been kept, was closed without an answer"))
        super().connectionLost(reason)


class _Factory(WrappingFactory):
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, bound: Endpoints) -> None:
        super().__init__(wrapped)
        self._bound = bound

    def doStart(self) -> None:
        """Connections come and go without a word in the log."""

    doStop = doStart

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        return _Connection(self, self.wrappedFactory.buildProtocol(addr), self._bound)


@implementer(IStreamClientEndpoint)
class _Endpoint:
    def __init__(self, endpoint: Any, bound: Endpoints) -> None:
        self._endpoint = endpoint
        self._bound = bound

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        connected: Deferred[Any] = self._endpoint.connect(_Factory(protocolFactory, self._bound))
        return connected.addCallback(lambda connection: connection.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Where an ``Agent`` connects to: TCP for ``http``, TLS for ``https``, by name or address.

    :param policy: makes TLS settings for a host.
    :ivar most: bytes that an answer may have, its head and the framing of its body included.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS) -> None:
        self.most = _HEAD
        self._reactor = reactor
        self._policy = policy

    def allow(self, body: int) -> None:
        """Let answers have so many bytes of body, if they were allowed fewer."""
        self.most = max(self.most, _HEAD + _FRAMING * body)

    def endpointForURI(self, uri: URI) -> _Endpoint:
        """See ``IAgentEndpointFactory``."""
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host.decode("ascii"), uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self)


class NoCookies(CookieJar):
    """A jar that takes no cookie and gives none."""

    def add_cookie_header(self, request: object) -> None:
        """There is none to give."""

    def extract_cookies(self, response: object, request: object) -> None:
        """None is taken."""


class _Encoded(Exception):
    """An answer has a content encoding, which was not asked for."""


@implementer(IAgent)
class PlainAgent:
    """Asks for answers without a content encoding, whatever is asked above it, and hangs up on others."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See ``IAgent``."""
        asked = Headers() if headers is None else headers.copy()
        asked.setRawHeaders(b"accept-encoding", [b"identity"])
        response: Deferred[IResponse] = self._agent.request(method, uri, asked, bodyProducer)
        return response.addCallback(_plain)


def _plain(response: IResponse) -> IResponse:
    headers: Headers = response.headers
    encodings = headers.getRawHeaders(b"content-encoding", [])
    if all(encoding.strip().lower() == b"identity" for encoding in encodings):
        return response
    body = _Body(Deferred(), 0)
    response.deliverBody(body)
    body.abandon()
    raise _Encoded("the answer has a content encoding, which was not asked for")


# --- bodies ---------------------------------------------------------------------------------


@implementer(IBodyProducer)
class BytesProducer:
    """A request's body, written at once."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """There is nothing to pause."""

    resumeProducing = stopProducing = pauseProducing


class _Body(Protocol):
    """Gathers an answer's body, and hangs up on one that is too long."""

    def __init__(self, done: Deferred[bytes], limit: int) -> None:
        self._done: Deferred[bytes] | None = done
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self.fail(AnswerTooLong(f"the answer has more than {self._limit} bytes"))
        elif self._done is not None:
            self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        # A body that ends with the connection has no other end (RFC 9112 §6.3).
        if reason.check(ResponseDone, PotentialDataLoss):
            done.callback(b"".join(self._chunks))
        else:
            done.errback(reason)

    def fail(self, error: Exception) -> None:
        """Give up on it."""
        done, self._done = self._done, None
        self.abandon()
        if done is not None:
            done.errback(error)

    def abandon(self) -> None:
        """Read no more."""
        self._done = None
        if self.transport is not None:
            self.transport.loseConnection()


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """Read an answer's body, and hang up on one that is too long.

    :param limit: bytes that it may have.
    """
    done: Deferred[bytes] = Deferred(lambda _: body.abandon())
    body = _Body(done, limit)
    response.deliverBody(body)
    if isinstance(response.length, int) and response.length > limit:
        body.fail(AnswerTooLong(f"the answer has {response.length} bytes, more than {limit}"))
    return done
