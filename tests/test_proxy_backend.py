"""Upstreams written in Python: what a backend is asked, what becomes of its answers, and of backends that fail."""
from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from edgegw.api import BackendRequest, BackendResponse, RequestTooLarge, backend
from edgegw.identity import CertificateStatus
from edgegw.model import (
    XFCC,
    BackendRef,
    BackendUse,
    Forwarding,
    HTTPSettings,
    Route,
    RouteRule,
    Upstream,
)
from edgegw.testing import FakeEnvironment
from tests.gateway import (
    SERVER,
    Authority,
    RunningGateway,
    answer,
    client_context,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.raw_client import Client, Response, connect

reactor: Any = global_reactor
GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST /up HTTP/1.1\r\nhost: a.example\r\n"
Answer = Callable[[BackendRequest], Any]


def upstream(function: Answer, **options: Any) -> Upstream:
    """Make an upstream of a function."""

    def asked(request: BackendRequest) -> Any:
        """Ask the test's function."""
        return function(request)

    kind = backend("made")(asked)
    environment = FakeEnvironment()
    return Upstream("plugin", (), backend=BackendUse(kind, kind.build(None, environment), environment), **options)


class BackendCase(TestCase):
    """A plain listener before an upstream that is a function."""

    def setUp(self) -> None:
        self.logged: list[str] = []

        def observe(event: dict[str, Any]) -> None:
            if str(event.get("log_format")).startswith("the backend"):
                self.logged.append(f"{event['what']}: {event['text']}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    async def start(self, function: Answer, http: HTTPSettings | None = None, **options: Any) -> RunningGateway:
        """Serve."""
        listener = http_listener(http=http or HTTPSettings())
        self.running = await start_gateway(self, gateway([listener], upstream(function, **options)))
        return self.running

    async def connect(self) -> Client:
        """Connect to it."""
        return await connect(self, self.running.address())

    async def ask(self, data: bytes = GET, head_only: bool = False) -> Response:
        """Give the answer to one request."""
        client = await self.connect()
        client.send(data)
        return await client.response(head_only)

    def failures(self) -> dict[str, int]:
        """What is counted as failed, but for zeros."""
        found = self.running.metrics.upstream("plugin").response_failures
        return {word: number for word, number in found.items() if number}

    async def quiet(self) -> None:
        """See that nothing is counted as open any more."""
        await until(lambda: not any(one.in_progress for one in self.running.metrics.routes.values()))


class RequestTests(BackendCase):
    """What a backend is asked."""

    async def test_what_it_is_told(self) -> None:
        """It gets what any upstream would get: the target as it was sent, and sanitised headers."""
        asked: list[BackendRequest] = []

        async def remember(request: BackendRequest) -> BackendResponse:
            asked.append(request)
            return BackendResponse(body=await request.read())

        await self.start(remember)
        response = await self.ask(
            b"PUT /a%20b/../c?x=1&y=?z HTTP/1.1\r\nhost: A.Example:80\r\nX-One: 1\r\nx-two: a\r\nX-Two: \xe9\r\n"
            b"connection: close, x-hop\r\nx-hop: secret\r\nx-forwarded-client-cert: Subject=\"CN=admin\"\r\n"
            b"content-length: 4\r\n\r\nbody"
        )
        self.assertEqual((response.status, response.body), (200, b"body"))
        (request,) = asked
        self.assertEqual((request.method, request.target), ("PUT", "/a%20b/../c?x=1&y=?z"))
        self.assertEqual((request.path, request.query, request.host), ("/a%20b/../c", "x=1&y=?z", "A.Example:80"))
        self.assertEqual((request.header("X-ONE"), request.header("x-two")), ("1", None))
        self.assertEqual(request.values("X-Two"), ["a", "é"])
        names = {name for name, _ in request.headers}
        self.assertEqual(
            names, {"x-one", "x-two", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"}
        )
        self.assertEqual((request.content_length, request.connection.peer), (4, "127.0.0.1"))
        self.assertEqual(request.identity.status, CertificateStatus.NONE)

    async def test_identity(self) -> None:
        """Behind client certificates it sees who is calling, as facts and as the headers that upstreams get."""
        asked: list[BackendRequest] = []

        async def remember(request: BackendRequest) -> BackendResponse:
            asked.append(request)
            return BackendResponse()

        pki = Authority()
        listener = https_listener(
            [pki.issue("gateway", dns=["a.example"], usages=SERVER)], validation(pki), header_injection=(XFCC(),)
        )
        running = await start_gateway(self, gateway([listener], upstream(remember)))
        client = client_context(pki, pki.issue("client", uris=["spiffe://example.com/c"]))
        forged = get("/", "a.example", "x-forwarded-client-cert: Subject=admin")
        received = await in_thread(talk, running.address(), forged, client, "a.example")
        self.assertIn(b"200 OK", received)
        (request,) = asked
        verified = request.identity.verified
        assert verified is not None
        self.assertEqual((verified.common_name, request.connection.listener), ("client", "edge"))
        told = request.header("x-forwarded-client-cert") or ""
        self.assertIn('Subject="CN=client"', told)
        self.assertNotIn("admin", told)

    async def test_host_of_its_own(self) -> None:
        """Where the client's host is not kept the upstream's name stands for the endpoint's."""
        hosts = []

        async def remember(request: BackendRequest) -> BackendResponse:
            hosts.append(request.host)
            return BackendResponse()

        listener = http_listener(forwarding=Forwarding(preserve_host=False))
        self.running = await start_gateway(self, gateway([listener], upstream(remember)))
        self.assertEqual((await self.ask()).status, 200)
        self.assertEqual(hosts, ["plugin"])

    async def test_chunked(self) -> None:
        """A body in chunks comes without them, and its length is not known before its end."""
        lengths = []

        async def echo(request: BackendRequest) -> BackendResponse:
            lengths.append(request.content_length)
            return BackendResponse(body=await request.read())

        await self.start(echo)
        chunks = b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nx-trailer: 1\r\n\r\n"
        response = await self.ask(POST + b"transfer-encoding: chunked\r\n\r\n" + chunks)
        self.assertEqual((response.body, lengths), (b"hello world", [None]))

    async def test_no_body(self) -> None:
        """A request without a body has an empty one."""

        async def count(request: BackendRequest) -> BackendResponse:
            return BackendResponse(body=b"%d %d" % (len(await request.read()), request.content_length or 0))

        await self.start(count)
        self.assertEqual((await self.ask()).body, b"0 0")

    async def test_pieces(self) -> None:
        """A backend may take a body piece by piece while it comes, and answer meanwhile."""
        heard: list[bytes] = []

        async def upper(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                async for piece in request:
                    heard.append(piece)
                    yield piece.upper()

            return BackendResponse(body=pieces())

        await self.start(upper)
        client = await self.connect()
        client.send(POST + b"content-length: 9\r\n\r\none")
        await until(lambda: heard)
        client.send(b"two")
        await until(lambda: len(heard) == 2)
        self.assertIn(b"ONE", client.received)
        client.send(b"end")
        response = await client.response()
        self.assertEqual((response.body, b"".join(heard)), (b"ONETWOEND", b"onetwoend"))

    async def test_continue(self) -> None:
        """A client that waits to be asked for its body is asked when the backend reads, and not before."""
        reads: list[Deferred[None]] = []

        async def ask(request: BackendRequest) -> BackendResponse:
            if request.path == "/no":
                return BackendResponse(403)
            reads.append(Deferred())
            await reads[0]
            return BackendResponse(body=await request.read())

        await self.start(ask)
        client = await self.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        await until(lambda: reads)
        self.assertEqual(client.received, b"")
        reads[0].callback(None)
        await client.heard(b"100 Continue")
        self.assertEqual((await client.response()).status, 100)
        client.send(b"body")
        self.assertEqual((await client.response()).body, b"body")
        refused = await self.ask(
            b"POST /no HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
        )
        self.assertEqual(refused.status, 403)

    async def test_upload_pace(self) -> None:
        """A backend that does not read stops its client; little of the body lies in the gateway meanwhile."""
        go_on: Deferred[None] = Deferred()
        sizes: list[int] = []

        async def slow(request: BackendRequest) -> BackendResponse:
            await go_on
            async for piece in request:
                sizes.append(len(piece))
            return BackendResponse()

        await self.start(slow)
        client = await self.connect()
        size = 16 << 20
        client.send(POST + b"content-length: %d\r\n\r\n" % size)
        client.transport.write(b"x" * size)
        last = -1
        while last != client.transport._tempDataLen + len(client.transport.dataBuffer) - client.transport.offset:
            last = client.transport._tempDataLen + len(client.transport.dataBuffer) - client.transport.offset
            await deferLater(reactor, 0.1)
            for exchange in self.exchanges():
                if exchange.connection is not None:
                    self.assertLessEqual(exchange.connection.transport.unsent, 65_536 + 262_144)
        self.assertGreater(last, 0)
        go_on.callback(None)
        self.assertEqual((await client.response()).status, 200)
        self.assertEqual(sum(sizes), size)

    def exchanges(self) -> list[Any]:
        """Those that are under way."""
        return [
            one.protocol._exchange
            for profile in self.running.generation._profiles.values()
            for one in profile.transports
            if one.protocol._exchange is not None
        ]

    async def test_too_large(self) -> None:
        """A body that is longer than the backend takes is answered with 413, known length or not."""

        async def little(request: BackendRequest) -> BackendResponse:
            return BackendResponse(body=await request.read(4))

        await self.start(little)
        self.assertEqual((await self.ask(POST + b"content-length: 4\r\n\r\nbody")).body, b"body")
        self.assertEqual((await self.ask(POST + b"content-length: 5\r\n\r\nbodyx")).status, 413)
        chunked = POST + b"transfer-encoding: chunked\r\n\r\n6\r\nbodyxx\r\n"
        self.assertEqual((await self.ask(chunked)).status, 413)
        self.assertEqual((self.logged, self.failures()), ([], {}))

    async def test_caught(self) -> None:
        """A backend may see to it itself that a body is too long."""

        async def polite(request: BackendRequest) -> BackendResponse:
            try:
                await request.read(1)
            except RequestTooLarge:
                return BackendResponse(200, body=b"that is much")
            return BackendResponse()

        await self.start(polite)
        self.assertEqual((await self.ask(POST + b"content-length: 4\r\n\r\nbody")).body, b"that is much")

    async def test_not_read(self) -> None:
        """A body that is not read does not hold up the answer; the connection closes where it has not all come."""
        await self.start(lambda request: BackendResponse(body=b"no need"))
        client = await self.connect()
        client.send(POST + b"content-length: 4\r\n\r\nbody" + GET)
        for _ in range(2):
            self.assertEqual((await client.response()).body, b"no need")
        client.send(POST + b"content-length: 1000000\r\n\r\nbody")
        response = await client.response()
        self.assertEqual((response.body, response.all("connection")), (b"no need", ["close"]))
        await client.closed()

    async def test_read_when_it_is_over(self) -> None:
        """A body cannot be read when its request has been answered, nor by two at a time."""
        problems: list[str] = []
        kept: list[BackendRequest] = []

        async def keep(request: BackendRequest) -> BackendResponse:
            kept.append(request)
            waiting = Deferred.fromCoroutine(request.read())
            waiting.addErrback(lambda failure: problems.append(str(failure.value)))
            try:
                await request.read()
            except RuntimeError as error:
                problems.append(str(error))
            return BackendResponse()

        await self.start(keep)
        response = await self.ask(POST + b"content-length: 10\r\n\r\n")
        self.assertEqual(response.status, 200)
        try:
            await kept[0].read()
        except RuntimeError as error:
            problems.append(str(error))
        self.assertEqual(len(problems), 3)
        self.assertIn("twice", problems[0])
        self.assertTrue(all("is over" in text for text in problems[1:]))


class ResponseTests(BackendCase):
    """What becomes of its answers."""

    async def test_status_and_headers(self) -> None:
        """Status, reason, headers and body are the backend's; date and framing the gateway's."""
        headers = [
            ("X-One", "1"), ("set-cookie", "a=1"), ("Set-Cookie", "b=2"), ("x-latin", " é "), ("x-empty", ""),
            ("Content-Length", "99"), ("transfer-encoding", "chunked"), ("Connection", "close, x-one"),
            ("keep-alive", "x"), ("upgrade", "h2c"), ("trailer", "x-y"),
        ]
        await self.start(lambda request: BackendResponse(201, headers, b"made"))
        client = await self.connect()
        for _ in range(2):
            client.send(GET)
            await client.heard(b"made")
            self.assertTrue(client.received.startswith(b"HTTP/1.1 201 Created\r\nX-One: 1\r\n"), client.received)
            response = await client.response()
            self.assertEqual(response.body, b"made")
            self.assertEqual(response.all("set-cookie"), ["a=1", "b=2"])
            self.assertEqual((response.all("x-latin"), response.all("x-empty")), (["é"], [""]))
            self.assertEqual(response.all("content-length"), ["4"])
            self.assertEqual(len(response.all("date")), 1)
            for name in ("transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"):
                self.assertEqual((name, response.all(name)), (name, []))

    async def test_unknown_status(self) -> None:
        """A status without a name has no reason; one of http.HTTPStatus is taken."""
        now: list[Any] = [599]
        await self.start(lambda request: BackendResponse(now[0]))
        self.assertEqual((await self.ask()).status, 599)
        now[0] = HTTPStatus.NOT_FOUND
        self.assertEqual((await self.ask()).status, 404)

    async def test_plain_function(self) -> None:
        """A backend need not be async, and may give bytes of any sort."""
        bodies: list[Any] = [b"a", bytearray(b"a"), memoryview(b"a")]
        await self.start(lambda request: BackendResponse(body=bodies.pop()))
        for _ in range(3):
            self.assertEqual((await self.ask()).body, b"a")

    async def test_pipelined(self) -> None:
        """Requests that come at once are answered in their order, whether the backend waits or not."""
        waits: list[Deferred[None]] = []

        async def sometimes(request: BackendRequest) -> BackendResponse:
            if request.path.startswith("/wait"):
                waits.append(Deferred())
                await waits[-1]
            return BackendResponse(body=request.path.encode())

        await self.start(sometimes)
        client = await self.connect()
        paths = [b"/1", b"/2", b"/wait3", b"/4", b"/5", *(b"/%d" % number for number in range(100))]
        client.send(b"".join(GET.replace(b"GET /", b"GET " + path) for path in paths))
        await until(lambda: waits)
        waits[0].callback(None)
        for path in paths:
            self.assertEqual((await client.response()).body, path)

    async def test_streamed(self) -> None:
        """A body in pieces goes out as they come: in chunks, by its length, or to the end for HTTP/1.0."""
        go_on: list[Deferred[None]] = []

        async def two(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                yield b"first"
                yield b""
                go_on.append(Deferred())
                await go_on[-1]
                yield b"second"

            length = 11 if request.path == "/known" else None
            return BackendResponse(headers={"x-path": request.path}, body=pieces(), length=length)

        await self.start(two)
        for number, (line, framing) in enumerate((
            (b"GET / HTTP/1.1", "transfer-encoding"), (b"GET /known HTTP/1.1", "content-length"),
            (b"GET / HTTP/1.0", ""),
        ), 1):
            client = await self.connect()
            client.send(GET.replace(b"GET / HTTP/1.1", line))
            await client.heard(b"first")
            await until(lambda number=number: len(go_on) == number)  # type: ignore[misc]  # bound now
            go_on[-1].callback(None)
            if framing:
                response = await client.response()
                self.assertEqual(response.body, b"firstsecond")
                self.assertEqual(len(response.all(framing)), 1)
                self.assertIsNone(client.reason)
            else:
                self.assertTrue((await client.closed()).endswith(b"\r\n\r\nfirstsecond"))
        await self.quiet()
        (metrics,) = (one for key, one in self.running.metrics.routes.items() if key[2])
        self.assertEqual((metrics.responses[2], metrics.response_bytes), (3, 33))

    async def test_without_body(self) -> None:
        """HEAD, 204 and 304 get no body, whatever the backend gives; its generator is ended."""
        ended: list[bool] = []

        async def bodies(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                try:
                    yield b"never"
                finally:
                    ended.append(True)

            status = int(request.query or 200)
            if request.path == "/bytes":
                return BackendResponse(status, body=b"never")
            if request.path == "/length":
                return BackendResponse(status, body=b"", length=7)
            if request.path == "/none":
                return BackendResponse(status)
            return BackendResponse(status, body=pieces())

        await self.start(bodies)
        client = await self.connect()
        for method, path, head_only, lengths in (
            (b"HEAD", b"/bytes", True, ["5"]), (b"HEAD", b"/length", True, ["7"]), (b"HEAD", b"/none", True, []),
            (b"HEAD", b"/stream", True, []), (b"GET", b"/bytes?204", False, []), (b"GET", b"/bytes?304", False, []),
            (b"GET", b"/stream?204", False, []), (b"GET", b"/stream?304", False, []), (b"GET", b"/none", False, ["0"]),
            (b"HEAD", b"/none?304", True, []),
        ):
            client.send(GET.replace(b"GET /", method + b" " + path))
            response = await client.response(head_only)
            got = (method, path, response.all("content-length"), response.body)
            self.assertEqual(got, (method, path, lengths, b""))
        self.assertEqual(client.received, b"")
        self.assertEqual((await self.ask(GET.replace(b"GET /", b"GET /length"))).status, 502)

    async def test_download_pace(self) -> None:
        """A client that reads slowly slows the backend down; little of the body lies in the gateway."""
        given = [0]

        async def much(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(1000):
                    given[0] += 1
                    yield b"x" * 32_768

            return BackendResponse(body=pieces())

        await self.start(much)
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(GET)
        last = -1
        while last != given[0]:
            last = given[0]
            await deferLater(reactor, 0.2)
        self.assertLess(given[0], 500)
        for profile in self.running.generation._profiles.values():
            for one in profile.transports:
                self.assertLessEqual(one.unsent, 65_536 + 2 * 32_768)
        tail = bytearray()
        size = [0]

        def count(data: bytes) -> None:
            size[0] += data.count(b"x")
            tail[:] = (tail + data)[-7:]

        client.dataReceived = count  # type: ignore[method-assign]  # keeping all of it takes long
        client.transport.resumeProducing()
        await until(lambda: tail == b"\r\n0\r\n\r\n", 60)
        self.assertEqual(size[0] - 1000 * 32_768, 0)

    async def test_others_have_their_turn(self) -> None:
        """A backend that gives pieces without ever waiting does not hold up the others' requests."""
        stop: list[bool] = []

        async def endless(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                while not stop:
                    yield b"x"

            return BackendResponse(body=pieces() if request.path == "/endless" else b"quick")

        await self.start(endless)
        client = await self.connect()
        client.send(GET.replace(b"GET /", b"GET /endless"))
        await client.heard(b"1\r\nx\r\n")
        self.assertEqual((await self.ask()).body, b"quick")
        stop.append(True)
        self.assertGreater(len((await client.response()).body), 0)

    async def test_beside_other_upstreams(self) -> None:
        """A rule may share its requests between a backend and an ordinary upstream."""
        other = start_upstream(self, answer(b"other"))
        rule = RouteRule(backends=(BackendRef("plugin"), BackendRef("upstream")))
        model = gateway(
            [http_listener()], upstream(lambda request: BackendResponse(body=b"plugin")), other,
            routes=[Route("all", rules=(rule,))],
        )
        self.running = await start_gateway(self, model)
        bodies = [(await self.ask()).body for _ in range(4)]
        self.assertEqual(sorted(bodies), [b"other", b"other", b"plugin", b"plugin"])


class FailureTests(BackendCase):
    """Backends that fail."""

    async def test_nasty_answers(self) -> None:
        """Whatever is no usable response is answered with 502, logged with what it was, and counted; others go on."""

        def explode(request: BackendRequest) -> Any:
            raise RuntimeError("boom")

        def leave(request: BackendRequest) -> Any:
            raise SystemExit(3)

        async def explode_later(request: BackendRequest) -> Any:
            await deferLater(reactor, 0)
            raise RuntimeError("boom later")

        async def give_up(request: BackendRequest) -> Any:
            raise CancelledError

        class Unspeakable(Exception):
            def __str__(self) -> str:
                raise ValueError("no words")

        def speechless(request: BackendRequest) -> Any:
            raise Unspeakable

        def response(*arguments: Any, **named: Any) -> Answer:
            return lambda request: BackendResponse(*arguments, **named)

        cases: list[tuple[Answer, str]] = [
            (explode, "RuntimeError: boom"),
            (leave, "SystemExit: 3"),
            (explode_later, "RuntimeError: boom later"),
            (give_up, "CancelledError"),
            (speechless, "Unspeakable"),
            (lambda request: None, "a NoneType, which is no BackendResponse"),
            (lambda request: b"ok", "a bytes, which is no BackendResponse"),
            (lambda request: BackendResponse, "a type, which is no BackendResponse"),
            (response("200"), "is no status"),
            (response(True), "is no status"),
            (response(199), "is no status"),
            (response(101), "is no status"),
            (response(600), "is no status"),
            (response(200.0), "is no status"),
            (response(headers="x: y"), "neither a mapping nor pairs"),
            (response(headers=7), "neither a mapping nor pairs"),
            (response(headers=["x: y"]), "is no pair"),
            (response(headers=[("x", "y", "z")]), "is no pair"),
            (response(headers={"x": 1}), "is no pair"),
            (response(headers={b"x": b"y"}), "is no pair"),
            (response(headers={"x y": "1"}), "cannot be a header's name"),
            (response(headers={"": "1"}), "cannot be a header's name"),
            (response(headers={"x": "1\r\nset-cookie: evil=1"}), "characters that no header may have"),
            (response(headers={"x": "1\x00"}), "characters that no header may have"),
            (response(headers={"x": "€"}), "characters that no header may have"),
            (response(headers={"content-length": "1\n2"}), "characters that no header may have"),
            (response(headers={"x": "y" * 70_000}), "the head has more than"),
            (response(headers=[("x", "y")] * 300), "the head has more than"),
            (response(body="text"), "the body is a str"),
            (response(body=None), "the body is a NoneType"),
            (response(body=[b"x"]), "the body is a list"),
            (response(body=b"x", length=2), "a length of 2"),
            (response(length="1"), "is no length"),
            (response(length=-1), "is no length"),
        ]
        now: list[Answer] = []
        await self.start(lambda request: now[0](request))
        for number, (function, words) in enumerate(cases, 1):
            now[:] = [function]
            got = await self.ask()
            self.assertEqual((words, got.status), (words, 502))
            self.assertNotIn(b"boom", got.body)
            self.assertEqual((words, len(self.logged)), (words, number))
            self.assertIn(words, self.logged[-1])
            self.assertEqual(self.failures(), {"bad_response": number})
        now[:] = [lambda request: BackendResponse(body=b"well")]
        self.assertEqual((await self.ask()).body, b"well")
        await self.quiet()

    async def test_nasty_bodies(self) -> None:
        """Where a body fails the client sees that it is not whole, and the failure is logged."""

        async def explode() -> AsyncIterator[Any]:
            yield b"begun"
            raise RuntimeError("boom")

        async def text() -> AsyncIterator[Any]:
            yield b"begun"
            yield "text"

        async def long() -> AsyncIterator[Any]:
            yield b"begun"
            yield b"x" * 10

        async def short() -> AsyncIterator[Any]:
            yield b"begun"

        class Odd:
            def __aiter__(self) -> Any:
                raise RuntimeError("odd")

        cases: list[tuple[Any, int | None, str, bool]] = [
            (explode, None, "RuntimeError: boom", True),
            (explode, 11, "RuntimeError: boom", True),
            (text, None, "gave a str", True),
            (long, 11, "longer than its length", True),
            (short, 11, "ended 6 bytes before", True),
            (Odd, None, "RuntimeError: odd", False),
        ]
        now: list[Any] = []
        await self.start(lambda request: BackendResponse(body=now[0][0](), length=now[0][1]))
        for number, case in enumerate(cases, 1):
            now[:] = [case]
            client = await self.connect()
            client.send(GET)
            received = await client.closed() if case[3] else b""
            if case[3]:
                self.assertTrue(b"begun" in received or not client.ended_cleanly, received)
                self.assertFalse(received.endswith(b"0\r\n\r\n"))
                self.assertFalse(client.ended_cleanly)
            else:
                self.assertEqual((await client.response()).status, 502)
            self.assertEqual((case[2], len(self.logged)), (case[2], number))
            self.assertIn(case[2], self.logged[-1])
        await self.quiet()

    async def test_exact_length(self) -> None:
        """A body is complete with its length, whether its generator has ended or not; that is then ended."""
        ended: list[bool] = []

        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"four"
                yield b"more"
            finally:
                ended.append(True)

        await self.start(lambda request: BackendResponse(body=pieces(), length=4))
        client = await self.connect()
        for number in (1, 2):
            client.send(GET)
            self.assertEqual((await client.response()).body, b"four")
            self.assertEqual(len(ended), number)
        await self.quiet()

    async def test_zero_length(self) -> None:
        """A body in pieces that is said to be empty is not asked for one."""

        async def pieces() -> AsyncIterator[bytes]:
            raise AssertionError("asked")
            yield b""

        await self.start(lambda request: BackendResponse(body=pieces(), length=0))
        self.assertEqual((await self.ask()).all("content-length"), ["0"])

    async def test_no_answer_in_time(self) -> None:
        """A backend that does not answer in time is cancelled, and the client gets 504."""
        cancelled: list[bool] = []

        async def never(request: BackendRequest) -> Any:
            try:
                await Deferred()
            except CancelledError:
                cancelled.append(True)
                raise

        await self.start(never, response_timeout=0.3)
        self.assertEqual((await self.ask()).status, 504)
        self.assertEqual((cancelled, self.failures(), self.logged), ([True], {"timeout": 1}, []))
        await self.quiet()

    async def test_it_does_not_heed_being_cancelled(self) -> None:
        """What a backend says after its time is over is not heard; that it fails then is logged."""
        late: list[Deferred[Any]] = []
        closed: list[bool] = []

        async def stubborn(request: BackendRequest) -> Any:
            late.append(Deferred())
            try:
                await Deferred()
            except CancelledError:
                return await late[-1]

        async def pieces() -> AsyncIterator[bytes]:
            yield b"late"

        class Body:
            def __aiter__(self) -> Any:
                return pieces()

            async def aclose(self) -> None:
                closed.append(True)

        await self.start(stubborn, response_timeout=0.3)
        for said in (BackendResponse(body=b"late"), BackendResponse(body=Body()), None):
            client = await self.connect()
            client.send(GET)
            self.assertEqual((await client.response()).status, 504)
            late[-1].callback(said)
            self.assertEqual(client.received, b"")
        self.assertEqual(closed, [True])
        self.assertEqual(len(self.logged), 1)
        self.assertIn("after its request was over", self.logged[0])

    async def test_a_body_that_stops(self) -> None:
        """A body that gives nothing for too long is cut, and its generator ended."""
        ended: list[bool] = []

        async def stops(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                try:
                    yield b"begun"
                    await Deferred()
                finally:
                    ended.append(True)

            return BackendResponse(body=pieces())

        await self.start(stops, idle_timeout=0.3)
        client = await self.connect()
        client.send(GET)
        self.assertIn(b"begun", await client.closed())
        self.assertFalse(client.ended_cleanly)
        self.assertEqual((ended, self.failures(), self.logged), ([True], {"timeout": 1}, []))
        await self.quiet()

    async def test_the_clients_time_is_not_the_backends(self) -> None:
        """A backend that waits for a slow client's body has its own time when the body is there."""

        async def read(request: BackendRequest) -> BackendResponse:
            return BackendResponse(body=await request.read())

        await self.start(read, response_timeout=0.3)
        client = await self.connect()
        client.send(POST + b"content-length: 8\r\n\r\n")
        for _ in range(4):
            await deferLater(reactor, 0.3)
            client.send(b"xx")
        self.assertEqual((await client.response()).body, b"xxxxxxxx")

    async def test_a_backend_that_reads_too_slowly(self) -> None:
        """A backend that stops reading has no more time than one that does not answer."""

        async def stops(request: BackendRequest) -> Any:
            async for _ in request:
                await Deferred()

        await self.start(stops, response_timeout=0.3)
        client = await self.connect()
        client.send(POST + b"content-length: 100000\r\n\r\nxx")
        self.assertEqual((await client.response()).status, 504)
        await client.closed()

    async def test_the_client_stops_sending(self) -> None:
        """A client that does not send its body on is told so, and the backend cancelled."""
        cancelled: list[bool] = []

        async def read(request: BackendRequest) -> Any:
            try:
                await request.read()
            except CancelledError:
                cancelled.append(True)
                raise

        await self.start(read, HTTPSettings(body_idle_timeout=0.3))
        self.assertEqual((await self.ask(POST + b"content-length: 8\r\n\r\nxx")).status, 408)
        self.assertEqual((cancelled, self.logged), ([True], []))
        await self.quiet()

    async def test_the_client_leaves(self) -> None:
        """A backend is cancelled when its client leaves: before it answers, in its body, while it is paused, or while
        it waits for the client's body."""
        began: list[str] = []
        ended: list[str] = []

        async def wait(request: BackendRequest) -> BackendResponse:
            async def pieces() -> AsyncIterator[bytes]:
                try:
                    while True:
                        yield b"x" * 65_536
                        if request.path == "/body":
                            began.append(request.path)
                            await Deferred()
                        elif len(began) < 3:
                            began.append(request.path)
                finally:
                    ended.append(request.path)

            if request.path in ("/body", "/paused"):
                return BackendResponse(body=pieces())
            began.append(request.path)
            try:
                if request.path == "/up":
                    await request.read()
                await Deferred()
            finally:
                ended.append(request.path)
            raise AssertionError

        await self.start(wait)
        for path in (b"/none", b"/body", b"/paused"):
            client = await self.connect()
            if path == b"/paused":
                client.transport.pauseProducing()
            client.send(GET.replace(b"GET /", b"GET " + path))
            await until(lambda path=path: path.decode() in began)  # type: ignore[misc]  # bound now
            if path == b"/paused":
                await deferLater(reactor, 0.2)
            client.transport.abortConnection()
            await until(lambda path=path: path.decode() in ended)  # type: ignore[misc]  # bound now
        client = await self.connect()
        client.send(POST + b"content-length: 8\r\n\r\nxx")
        await until(lambda: "/up" in began)
        client.transport.abortConnection()
        await until(lambda: "/up" in ended)
        self.assertEqual(self.logged, [])
        await self.quiet()

    async def test_its_end_fails(self) -> None:
        """A generator that fails when it is ended is logged; nothing else comes of it."""

        async def bad_end() -> AsyncIterator[bytes]:
            try:
                yield b"four"
                yield b"more"
            finally:
                raise RuntimeError("at the end")

        await self.start(lambda request: BackendResponse(body=bad_end(), length=4))
        self.assertEqual((await self.ask()).body, b"four")
        self.assertEqual(len(self.logged), 1)
        self.assertIn("at its end", self.logged[0])

    async def test_reload(self) -> None:
        """A request that a backend of the old configuration has begun is finished by it."""
        waits: list[Deferred[None]] = []

        async def old(request: BackendRequest) -> BackendResponse:
            waits.append(Deferred())
            await waits[-1]
            return BackendResponse(body=b"old")

        await self.start(old)
        client = await self.connect()
        client.send(GET)
        await until(lambda: waits)
        before = self.running.generation
        self.running.reload(gateway([http_listener()], upstream(lambda request: BackendResponse(body=b"new"))))
        self.assertEqual((await self.ask()).body, b"new")
        waits[0].callback(None)
        response = await client.response()
        self.assertEqual((response.body, response.all("connection")), (b"old", ["close"]))
        await before.when_idle()
