"""A service for what asks one: HTTP/1.1 on a free port, with or without TLS, that answers as it is told.

::

    service = start_service(self, reply(b"hello"))
    got = await client.request("GET", service.url)
    self.assertEqual(service.requests[0].line, "GET / HTTP/1.1")
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from OpenSSL import SSL
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

__all__ = ["Asked", "Service", "Talk", "reply", "start_service", "until"]

reactor: Any = global_reactor


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something that the reactor brings about and that calls nobody.

    :raises AssertionError: it did not happen in ``seconds``.
    """
    deadline = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > deadline:
            raise AssertionError("it never happened")
        await deferLater(reactor, 0.002, lambda: None)


def reply(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Give a whole answer; ``content_type=`` becomes ``content-type:``."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode("latin-1") + body


@frozen
class Asked:
    """A request that came.

    :ivar headers: by lower-case name.
    """

    line: str
    headers: dict[str, str]
    body: bytes
    talk: Talk


#: Bytes to send, ``None`` for silence, or a function that is given the request and gives one of these.
Script = Any


class Talk(protocol.Protocol):
    """One connection.

    :ivar lost: why it has ended; ``None`` while it is open.
    """

    transport: Any

    def __init__(self, service: Service) -> None:
        self.service = service
        self.lost: Failure | None = None
        self._data = b""

    def connectionMade(self) -> None:
        self.transport.write(self.service.greeting)

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        while b"\r\n\r\n" in self._data:
            head, rest = self._data.split(b"\r\n\r\n", 1)
            line, *fields = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._data = rest[length:]
            self.service.asked(Asked(line, headers, rest[:length], self))

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.lost = reason


class Service(protocol.Factory):
    """The service.

    :ivar script: see :data:`Script`; may be changed at any time.
    :ivar greeting: sent on every new connection, before anything is asked.
    :ivar requests: those that came, in their order.
    :ivar talks: connections, in their order.
    """

    noisy = False

    def __init__(self, script: Script, certificate: Any = None) -> None:
        self.script = script
        self.greeting = b""
        self.requests: list[Asked] = []
        self.talks: list[Talk] = []
        if certificate is None:
            self.listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        else:
            self.listening = reactor.listenSSL(0, self, _Context(certificate), interface="127.0.0.1")
        self.port: int = self.listening.getHost().port
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}/"

    def buildProtocol(self, addr: object) -> Talk:
        talk = Talk(self)
        self.talks.append(talk)
        return talk

    def asked(self, request: Asked) -> None:
        """Answer a request."""
        self.requests.append(request)
        answer = self.script(request) if callable(self.script) else self.script
        if answer is not None:
            request.talk.transport.write(answer)

    async def request(self, number: int = 1) -> Asked:
        """Wait for the request with this number, from 1."""
        await until(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        stopped = self.listening.stopListening()
        if stopped is not None:
            await stopped
        for talk in self.talks:
            if talk.lost is None:
                talk.transport.abortConnection()
        await until(lambda: all(talk.lost is not None for talk in self.talks))


@implementer(IOpenSSLContextFactory)
class _Context:
    def __init__(self, issued: Any) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate(issued.certificate)
        self._context.use_privatekey(issued.key)

    def getContext(self) -> SSL.Context:
        return self._context


def start_service(case: TestCase, script: Script = b"", certificate: Any = None) -> Service:
    """Start a service until the test has ended.

    :param script: see :data:`Script`; empty answers 200 with an empty body.
    :param certificate: makes it speak TLS; has ``certificate`` and ``key`` as ``cryptography`` has them.
    """
    service = Service(script or reply(), certificate)
    case.addCleanup(lambda: Deferred.fromCoroutine(service.stop()))
    return service
