"""The admin site over real connections."""
from __future__ import annotations

import json
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

from edgegw.observe.admin import MAX_HANDSHAKES, AdminSite, explanation
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.reason_explanations import EXPLANATIONS
from edgegw.verdict import Explanation, Reason
from tests.test_observe_handshakes import ACCEPTED, NOBODY, REFUSED

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


class HandshakesTests(TestCase):
    """The pages of the handshake record."""

    def setUp(self) -> None:
        self.record = HandshakeRecord()
        self.port = self.listen(self.record)

    def listen(self, *arguments: Any) -> int:
        """Serve a site; gives its port."""
        site = AdminSite(reactor, Metrics().registry, lambda: True, *arguments)
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def ask(self, path: str) -> dict[str, Any]:
        """Get a page that is JSON."""
        answer = await fetch(self.port, path)
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"), answer.body)
        document: dict[str, Any] = json.loads(answer.body)
        return document

    async def test_several(self) -> None:
        """The last ones, where to go on, and what their reasons mean."""
        accepted, refused = ACCEPTED.add(self.record), REFUSED.add(self.record)
        document = await self.ask("/handshakes")
        self.assertEqual([entry["id"] for entry in document["handshakes"]], [accepted, refused])
        meant = EXPLANATIONS[Reason.SUBJECT_ALT_NAME]
        told = {"sentence": meant.sentence, "cause": meant.cause, "remedy": meant.remedy}
        self.assertEqual(document["explanations"], {"subject_alt_name": told})
        later = NOBODY.add(self.record)
        document = await self.ask(f"/handshakes?since={document['next']}")
        self.assertEqual([entry["id"] for entry in document["handshakes"]], [later])

    async def test_none(self) -> None:
        """An empty record is no error."""
        document = await self.ask("/handshakes")
        self.assertEqual((document["handshakes"], document["explanations"]), ([], {}))

    async def test_query(self) -> None:
        """Each parameter of the query chooses."""
        given = {name: one.add(self.record) for name, one in
                 (("accepted", ACCEPTED), ("refused", REFUSED), ("failed", NOBODY))}
        for query, expected in (
            ("refused=1", ["refused", "failed"]),
            ("refused=0&limit=2", ["refused", "failed"]),
            ("reason=not_tls", ["failed"]),
            ("listener=web", ["accepted", "refused", "failed"]),
            ("listener=w%C3%A9b", []),
            ("peer=192.0.2.7&limit=1", ["failed"]),
            (f"since={given['accepted']}&limit=1", ["refused"]),
            ("since=0&limit=1", ["accepted"]),
        ):
            document = await self.ask(f"/handshakes?{query}")
            self.assertEqual([entry["id"] for entry in document["handshakes"]], [given[name] for name in expected])

    async def test_bounded(self) -> None:
        """No answer has more than the most."""
        for _ in range(MAX_HANDSHAKES + 20):
            ACCEPTED.add(self.record)
        self.assertEqual(len((await self.ask("/handshakes"))["handshakes"]), MAX_HANDSHAKES)
        first = await self.ask("/handshakes?since=0")
        second = await self.ask(f"/handshakes?since={first['next']}")
        self.assertEqual([len(page["handshakes"]) for page in (first, second)], [MAX_HANDSHAKES, 20])

    async def test_query_that_is_none(self) -> None:
        """What cannot be understood is 400, with a line that says what."""
        for query in ("limit=0", f"limit={MAX_HANDSHAKES + 1}", "limit=x", "limit=%C2%B2", "limit=" + "9" * 5000,
                      "refused=yes", "refused", "reason=No", "since=x", "since=", "colour=red", "limit=1&limit=2",
                      "listener=%ff", "%1b[2J=1"):  # fmt: skip
            answer = await fetch(self.port, f"/handshakes?{query}")
            self.assertEqual((query, answer.status), (query, 400))
            self.assertEqual(answer.headers["content-type"], "text/plain; charset=utf-8")
            self.assertEqual((answer.body.count(b"\n"), answer.body.endswith(b"\n")), (1, True), answer.body)
            self.assertTrue(len(answer.body) < 300 and answer.body.strip().decode().isprintable(), answer.body)

    async def test_one(self) -> None:
        """One handshake by its id, with what its reason means; 404 for one that is not there."""
        accepted, refused = ACCEPTED.add(self.record), REFUSED.add(self.record)
        entry = await self.ask(f"/handshakes/{refused}")
        self.assertEqual((entry["id"], entry["reason"]), (refused, "subject_alt_name"))
        self.assertEqual(entry["explanation"]["sentence"], EXPLANATIONS[Reason.SUBJECT_ALT_NAME].sentence)
        self.assertIsNone((await self.ask(f"/handshakes/{accepted}"))["explanation"])
        for other in ("", "x", f"{accepted}/", f"%{accepted}", "../metrics", "%ff"):
            self.assertEqual((await fetch(self.port, f"/handshakes/{other}")).status, 404, other)

    async def test_plugins_reason(self) -> None:
        """A plugin's reason is explained by whoever knows plugins, and is none the worse where nobody does."""
        REFUSED.__class__(reason="no_badge").add(self.record)
        self.assertEqual((await self.ask("/handshakes"))["explanations"], {"no_badge": None})
        own = Explanation("It wears no badge.", remedy="Give it one.")
        self.port = self.listen(self.record, lambda code: own if code == "no_badge" else explanation(code))
        told = {"sentence": "It wears no badge.", "cause": "", "remedy": "Give it one."}
        self.assertEqual((await self.ask("/handshakes"))["explanations"], {"no_badge": told})

    async def test_head_and_methods(self) -> None:
        """HEAD tells the length, nothing else than GET and HEAD is answered, and nothing is cached."""
        ACCEPTED.add(self.record)
        whole = await fetch(self.port, "/handshakes")
        head = await fetch(self.port, "/handshakes", "HEAD")
        self.assertEqual((head.headers["content-length"], head.body), (str(len(whole.body)), b""))
        self.assertEqual(head.headers["cache-control"], "no-store")
        for path in ("/handshakes", "/handshakes/x"):
            self.assertEqual((await fetch(self.port, path, "DELETE")).status, 405)

    async def test_no_record(self) -> None:
        """A site without a record has no such page."""
        self.port = self.listen()
        for path in ("/handshakes", "/handshakes/x"):
            self.assertEqual((await fetch(self.port, path)).status, 404)
