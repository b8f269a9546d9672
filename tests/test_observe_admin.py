"""The admin site over real connections."""
from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import provider

from edgegw.observe.admin import AdminSite
from edgegw.observe.metrics import Metrics

reactor: Any = global_reactor


@frozen
class Answer:
    """An HTTP answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Reader(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.done.callback(self.received)


async def send(port: int, request: bytes) -> Answer:
    """Send bytes, read until the end of the connection, take the answer apart."""
    reader = _Reader()
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), reader)
    reader.transport.write(request)  # type: ignore[union-attr]  # it is connected
    head, _, body = (await reader.done).partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), headers, body)


async def fetch(port: int, path: str, method: str = "GET", extra: str = "") -> Answer:
    """Request a path and close."""
    return await send(port, f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n{extra}\r\n".encode())


class AdminSiteTests(TestCase):
    """What an operator, a load balancer and Prometheus find there."""

    def setUp(self) -> None:
        self.ready = True
        self.metrics = Metrics()
        site = AdminSite(reactor, self.metrics.registry, lambda: self.ready)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port

    async def test_metrics(self) -> None:
        """Prometheus' text format, with the numbers of this moment."""
        self.metrics.listener("web").connections_total += 5
        answer = await fetch(self.port, "/metrics")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertIn(b'edgegw_connections_total{listener="web"} 5.0\n', answer.body)

    async def test_openmetrics(self) -> None:
        """OpenMetrics to a scraper that asks for it, whatever version it writes there."""
        accept = "Accept: application/openmetrics-text;version=x9;q=0.8,text/plain;q=0.5\r\n"
        answer = await fetch(self.port, "/metrics", extra=accept)
        self.assertEqual(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.assertTrue(answer.body.endswith(b"# EOF\n"))

    async def test_query(self) -> None:
        """A query changes nothing."""
        self.assertEqual((await fetch(self.port, "/metrics?name[]=x")).status, 200)

    async def test_health(self) -> None:
        """Health does not depend on readiness."""
        self.ready = False
        answer = await fetch(self.port, "/healthz")
        self.assertEqual((answer.status, answer.body), (200, b"ok\n"))

    async def test_readiness(self) -> None:
        """200 while new connections are taken, 503 otherwise."""
        self.assertEqual((await fetch(self.port, "/readyz")).status, 200)
        self.ready = False
        self.assertEqual((await fetch(self.port, "/readyz")).status, 503)

    async def test_nothing_else(self) -> None:
        """Any other path is 404: no index, nothing below a page, no other spelling of one."""
        for path in ("/", "/metrics/", "/healthz/x", "/Metrics", "//metrics", "/%6detrics", "/../metrics"):
            answer = await fetch(self.port, path)
            self.assertEqual(answer.status, 404, path)

    async def test_methods(self) -> None:
        """Only GET and HEAD; a body that comes anyway is not kept."""
        answer = await fetch(self.port, "/metrics", "POST", "Content-Length: 300000\r\n\r\n" + "x" * 299_998)
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.headers["allow"], "get, head")
        self.assertEqual((await fetch(self.port, "/healthz", "BREW")).status, 405)

    async def test_head(self) -> None:
        """HEAD gives the length of what GET would give, and no body."""
        answer = await fetch(self.port, "/healthz", "HEAD")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, "3", b""))

    async def test_no_banner(self) -> None:
        """No answer tells a version."""
        for path in ("/metrics", "/nothing"):
            self.assertEqual((await fetch(self.port, path)).headers["server"], "edgegw")
        star = await fetch(self.port, "*", "OPTIONS")
        self.assertEqual(star.headers["server"], "edgegw")
        garbage = await send(self.port, b"\x16\x03\x01garbage\r\n\r\n")
        self.assertEqual(garbage.status, 400)
        self.assertNotIn("server", garbage.headers)

    async def test_not_logged(self) -> None:
        """Requests to the site leave no trace in the log."""
        events: list[Any] = []

        @provider(ILogObserver)
        def observer(event: LogEvent) -> None:
            events.append(event)

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await fetch(self.port, "/healthz")
        await fetch(self.port, "/healthz", "HEAD")
        self.assertEqual([event for event in events if "healthz" in repr(event)], [])
