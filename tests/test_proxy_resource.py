"""The proxy as a resource of twisted.web, beside twisted.web's own."""
from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.proxy import ReverseProxyResource
from twisted.web.resource import Resource
from twisted.web.server import Site

from edgegw.model import AmbiguousPaths, BackendUse, Forwarding, Upstream
from edgegw.proxy.resource import ReverseProxy, StreamingRequest
from edgegw.proxy.resource_path import Unmappable, path_below
from edgegw.testing import FakeEnvironment
from tests.gateway import (
    SERVER,
    Authority,
    RecordedRequest,
    ScriptedUpstream,
    answer,
    client_context,
    get,
    in_thread,
    start_upstream,
    talk,
    until,
)
from tests.raw_client import Client, Response, connect, read_response
from tests.test_guide import free_ports
from tests.test_kinds_backend import Config, greet

reactor: Any = global_reactor


class PathTests(SynchronousTestCase):
    """What lies behind a resource."""

    def test_paths(self) -> None:
        """The rest is as the client sent it, wherever the resource hangs."""
        for path, remaining, below in (
            (b"/", [b""], b"/"), (b"/a", [b"a"], b"/a"), (b"/api", [], b""), (b"/api/", [b""], b"/"),
            (b"/api/a%20b/%2F", [b"a b", b"/"], b"/a%20b/%2F"), (b"/x/a", [b"b c"], b"/b%20c"),
            (b"/a", [b"very", b"long"], b"/very/long"),
        ):
            self.assertEqual(path_below(path, remaining), below, path)
        for path in (b"*", b"http://a/b", b""):
            self.assertRaises(Unmappable, path_below, path, [])

    @given(st.lists(st.binary(min_size=1, max_size=4), max_size=3), st.lists(st.binary(max_size=4), max_size=3))
    def test_anything(self, before: list[bytes], behind: list[bytes]) -> None:
        """Whatever the names are, what comes out has no slash that a name brought in."""
        found = path_below(b"/" + b"/".join(before), behind)
        self.assertTrue(not found if not behind else found.startswith(b"/"))
        self.assertEqual(found.count(b"/"), len(behind))


class ProxyCase(TestCase):
    """A site with a proxy in it."""

    def proxy(self, *upstreams: ScriptedUpstream, **options: Any) -> ReverseProxy:
        """Make a proxy to some upstreams."""
        endpoints = [str(endpoint) for one in upstreams for endpoint in one.model.endpoints]
        made = ReverseProxy(reactor, endpoints, **options)
        self.addCleanup(made.close)
        return made

    def serve(self, resource: Resource, plain: bool = False, context: Any = None) -> tuple[str, int]:
        """Serve a resource as ``api`` and as the root's ``deep/er``; gives where."""
        root = Resource()
        deep = Resource()
        root.putChild(b"api", resource)
        root.putChild(b"deep", deep)
        root.putChild(b"other", _Other())
        deep.putChild(b"er", resource)
        site = Site(root) if plain else Site(root, requestFactory=StreamingRequest)
        if context is None:
            port = reactor.listenTCP(0, site, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, site, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return "127.0.0.1", port.getHost().port

    async def ask(self, address: tuple[str, int], *lines: str, body: bytes = b"") -> Response:
        """Give the answer to one request, on a connection of its own."""
        client = await connect(self, address)
        head = [f"{lines[0]} HTTP/1.1", "host: a.example", *lines[1:]]
        client.send("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        return await client.response(lines[0].startswith("HEAD"))


class _Other(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        """Tell how long the body was."""
        return b"%d %b" % (len(request.content.read()), b"/".join(request.prepath + request.postpath))


class RequestTests(ProxyCase):
    """What the upstream gets."""

    async def test_targets(self) -> None:
        """The path below the resource goes behind the proxy's own, with its query, byte by byte."""
        upstream = start_upstream(self, answer(b"ok"))
        address = self.serve(self.proxy(upstream, path=b"/v1/"))
        for asked, sent in (
            ("/api", "/v1"), ("/api/", "/v1/"), ("/api/a%20b/c?x=%31&y=/", "/v1/a%20b/c?x=%31&y=/"),
            ("/deep/er/a?", "/v1/a?"), ("/api?x", "/v1?x"),
        ):
            self.assertEqual((await self.ask(address, f"GET {asked}")).body, b"ok")
            self.assertEqual(upstream.requests[-1].line, f"GET {sent} HTTP/1.1".encode())
        for asked in ("/api/../secret", "/api/%2e%2e/secret", "/api//x", "/api/a%2fb", "/api/a\\b"):
            self.assertEqual((await self.ask(address, f"GET {asked}")).status, 400, asked)
        self.assertEqual(len(upstream.requests), 5)
        address = self.serve(self.proxy(upstream, ambiguous_paths=AmbiguousPaths.PASS))
        await self.ask(address, "GET /api/a%2fb")
        self.assertEqual(upstream.requests[-1].line, b"GET /a%2fb HTTP/1.1")

    async def test_at_the_root(self) -> None:
        """A proxy may be a whole site."""
        upstream = start_upstream(self, answer(b"ok"))
        port = reactor.listenTCP(0, Site(self.proxy(upstream)), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = "127.0.0.1", port.getHost().port
        for path in ("/", "/a/b/?c"):
            await self.ask(address, f"GET {path}")
            self.assertEqual(upstream.requests[-1].line, f"GET {path} HTTP/1.1".encode())
        self.assertEqual((await self.ask(address, "GET http://a.example/x")).status, 400)

    async def test_headers(self) -> None:
        """Headers of the hop stay behind, identity headers of clients too; what tells the way is added."""
        upstream = start_upstream(self, answer(b"ok"))
        address = self.serve(self.proxy(upstream))
        await self.ask(
            address, "GET /api", "x-a: 1", "X-A: 2", "connection: x-hop, close", "x-hop: 1", "keep-alive: 5",
            "te: gzip",
            'x-forwarded-client-cert: Subject="CN=admin"', "x_forwarded_client_cert: x", "x-forwarded-for: 9.9.9.9",
            "upgrade: h2c",
        )  # fmt: skip
        (request,) = upstream.requests
        self.assertEqual((request.all(b"x-a"), request.all(b"x-forwarded-for")), ([b"1", b"2"], [b"127.0.0.1"]))
        self.assertEqual((request.all(b"host"), request.all(b"x-forwarded-proto")), ([b"a.example"], [b"http"]))
        self.assertEqual(len(request.all(b"x-request-id")), 1)
        names = {name for name, _ in request.headers}
        self.assertFalse(names & {
            b"connection", b"x-hop", b"keep-alive", b"te", b"x-forwarded-client-cert", b"x_forwarded_client_cert",
            b"upgrade",
        })  # fmt: skip
        address = self.serve(self.proxy(upstream, forwarding=Forwarding(preserve_host=False, via="edge")))
        await self.ask(address, "GET /api")
        self.assertEqual(upstream.requests[-1].all(b"host"), [str(upstream.model.endpoints[0]).encode()])
        self.assertEqual(upstream.requests[-1].all(b"via"), [b"1.1 edge"])

    async def test_what_must_not_go_on(self) -> None:
        """What twisted.web lets through and no upstream should see is refused."""
        upstream = start_upstream(self, answer(b"ok"))
        address = self.serve(self.proxy(upstream))
        for lines in (("host: b",), ("x: a\x01b",), ("x: a\x7fb",)):
            self.assertEqual((await self.ask(address, "GET /api", *lines)).status, 400, lines)
        client = await connect(self, address)
        for host in (b"", b"host: \r\n", b"host: a b\r\n", b"host: a/b\r\n", b"host: a@b\r\n"):
            client.send(b"GET /api HTTP/1.1\r\n%b\r\n" % host)
            self.assertEqual((await client.response()).status, 400, host)
        refusing = "connection: x-a", "content-length: 3"
        self.assertEqual((await self.ask(address, "POST /api", "host: b", *refusing, body=b"abc")).status, 400)
        self.assertEqual(upstream.requests, [])

    async def test_bodies(self) -> None:
        """A body goes on in the framing it came in; a small one with its head."""
        upstream = start_upstream(self, lambda request: answer(request.body))
        for plain in (False, True):
            address = self.serve(self.proxy(upstream), plain)
            found = await self.ask(address, "POST /api", "content-length: 5", body=b"hello")
            self.assertEqual((found.body, upstream.requests[-1].all(b"content-length")), (b"hello", [b"5"]))
            found = await self.ask(
                address, "POST /api", "transfer-encoding: chunked", body=b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
            )
            self.assertEqual(found.body, b"abcde")
            framing = [b"chunked"] if not plain else []
            self.assertEqual(upstream.requests[-1].all(b"transfer-encoding"), framing)
            self.assertEqual((await self.ask(address, "POST /api", "content-length: 0")).body, b"")
            large = os.urandom(1 << 21)
            found = await self.ask(address, "PUT /api", f"content-length: {len(large)}", body=large)
            self.assertEqual(found.body, large)
            found = await self.ask(address, "POST /api", "content-length: 2", "expect: 100-continue", body=b"ab")
            self.assertEqual(found.status, 100)

    async def test_other_resources(self) -> None:
        """Resources beside the proxy get their requests as always."""
        address = self.serve(self.proxy(start_upstream(self, answer(b""))))
        found = await self.ask(address, "POST /other/a%20b", "content-length: 300000", body=bytes(300_000))
        self.assertEqual(found.body, b"300000 other/a b")
        self.assertEqual((await self.ask(address, "POST /nowhere", "content-length: 2", body=b"ab")).status, 404)


class ResponseTests(ProxyCase):
    """What the client gets."""

    async def test_responses(self) -> None:
        """Status, reason, headers and body arrive; what belongs to the hop does not."""
        headers = b"set-cookie: a\r\nset-cookie: b\r\nkeep-alive: 1\r\nserver: x\r\n"
        upstream = start_upstream(self, answer(b"body", b"418 Short And Stout", headers))
        address = self.serve(self.proxy(upstream))
        client = await connect(self, address)
        client.send(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.heard(b"body")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 418 Short And Stout\r\n"))
        found = await client.response()
        self.assertEqual((found.all("set-cookie"), found.all("server")), (["a", "b"], ["x"]))
        self.assertEqual((found.all("keep-alive"), found.all("content-length")), ([], ["4"]))
        self.assertEqual((len(found.all("date")), found.all("content-type")), (1, []))

    async def test_framing(self) -> None:
        """Every framing of an upstream comes out as one that the client understands."""
        script: dict[bytes, bytes] = {
            b"/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
            b"/304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: \"x\"\r\n\r\n",
            b"/interim": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        }

        def say(request: RecordedRequest) -> bytes | None:
            path = request.line.split(b" ")[1]
            if path == b"/close":
                request.talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
                request.talk.transport.loseConnection()
                return None
            if request.line.startswith(b"HEAD"):
                return b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"
            return script[path]

        address = self.serve(self.proxy(start_upstream(self, say)))
        client = await connect(self, address)
        for path, status, body in (
            ("chunked", 200, b"abc"), ("204", 204, b""), ("304", 304, b""), ("interim", 200, b"ok"),
            ("close", 200, b"until the end"),
        ):
            client.send(f"GET /api/{path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            found = await client.response()
            self.assertEqual((found.status, found.body), (status, body), path)
        client.send(b"HEAD /api/x HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertEqual((await client.response(True)).all("content-length"), ["12"])
        old = await connect(self, address)
        old.send(b"GET /api/chunked HTTP/1.0\r\n\r\n")
        self.assertTrue((await old.closed()).endswith(b"\r\n\r\nabc"))

    async def test_failures(self) -> None:
        """No upstream is 503, a bad one 502, a slow one 504; a response that breaks off is cut."""
        address = self.serve(ReverseProxy(reactor, [f"127.0.0.1:{free_ports(1)[0]}"]))
        self.assertEqual((await self.ask(address, "GET /api")).status, 503)
        self.assertEqual((await self.ask(address, "POST /api", "content-length: 3", body=b"abc")).status, 503)
        address = self.serve(self.proxy(start_upstream(self, b"nonsense\r\n\r\n")))
        found = await self.ask(address, "GET /api")
        self.assertEqual((found.status, found.body), (502, b"502 Bad Gateway\n"))
        silent = start_upstream(self, lambda request: None)
        slow = ReverseProxy(reactor, Upstream("slow", silent.model.endpoints, response_timeout=0.3))
        self.addCleanup(slow.close)
        self.assertEqual((await self.ask(self.serve(slow), "GET /api")).status, 504)

        def break_off(request: RecordedRequest) -> None:
            request.talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc")
            request.talk.transport.loseConnection()

        client = await connect(self, self.serve(self.proxy(start_upstream(self, break_off))))
        client.send(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n")
        await client.closed()
        self.assertNotIn(bytes(97), client.received)

    async def test_endpoints_in_turn(self) -> None:
        """Endpoints take turns, and one that cannot be reached is passed over."""
        first, second = start_upstream(self, answer(b"1")), start_upstream(self, answer(b"2"))
        address = self.serve(self.proxy(first, second))
        self.assertEqual([(await self.ask(address, "GET /api")).body for _ in range(4)], [b"1", b"2", b"1", b"2"])
        endpoints = [f"127.0.0.1:{free_ports(1)[0]}", str(first.model.endpoints[0])]
        proxy = ReverseProxy(reactor, endpoints)
        self.addCleanup(proxy.close)
        address = self.serve(proxy)
        self.assertEqual([(await self.ask(address, "GET /api")).body for _ in range(3)], [b"1"] * 3)

    async def test_a_name(self) -> None:
        """An endpoint may be named."""
        upstream = start_upstream(self, answer(b"ok"))
        proxy = ReverseProxy(reactor, [f"localhost:{upstream.port}"])
        self.addCleanup(proxy.close)
        self.assertEqual((await self.ask(self.serve(proxy), "GET /api")).body, b"ok")

    async def test_plugin(self) -> None:
        """An upstream's model may have a backend in place of endpoints."""
        environment = FakeEnvironment()
        use = BackendUse(greet, greet.build(Config("hi "), environment), environment)
        proxy = ReverseProxy(reactor, Upstream("polite", (), backend=use))
        self.addCleanup(proxy.close)
        address = self.serve(proxy)
        self.assertEqual((await self.ask(address, "POST /api", "content-length: 2", body=b"yo")).body, b"hi yo")

    def test_mistakes(self) -> None:
        """What cannot be a proxy is refused where it is made."""
        for endpoints, part in (
            (["nowhere"], "is not a host and a port; write"), ([], "no endpoint"), (["a:0"], "port 0"),
        ):
            self.assertRaisesRegex(ValueError, part, ReverseProxy, reactor, endpoints)
        self.assertRaisesRegex(ValueError, "does not begin with /", ReverseProxy, reactor, ["a:1"], b"v1")


class StreamingTests(ProxyCase):
    """Bodies in both directions, and connections that are kept."""

    async def test_upload_as_it_comes(self) -> None:
        """What has come of a body goes on before the rest is there; twisted.web's own proxy waits for all of it."""
        received = bytearray()
        upstream = start_upstream(self)
        upstream.on_data = lambda talk, data: received.extend(data)
        for streams in (True, False):
            received.clear()
            endpoint = upstream.model.endpoints[0]
            other = ReverseProxyResource(endpoint.host, endpoint.port, b"")
            address = self.serve(self.proxy(upstream) if streams else other)
            client = await connect(self, address)
            client.send(b"POST /api HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf ")
            if streams:
                await until(lambda: received.endswith(b"half "))
            else:
                self.assertEqual((await self.ask(address, "POST /other", "content-length: 0")).body, b"0 other")
                self.assertEqual(received, b"")
            client.send(b"whole")
            await until(lambda: received.endswith(b"half whole"))
            client.transport.abortConnection()
            await until(lambda client=client: client.reason is not None)
            if not streams:
                # It keeps the upstream's connection for nobody.
                upstream.talks[-1].transport.abortConnection()
            await until(lambda: all(one.reason is not None for one in upstream.talks))
        self.flushLoggedErrors(RuntimeError)

    async def test_slow_upstream(self) -> None:
        """A client sends no faster than the upstream reads, and the proxy keeps no more than a little of it."""
        upstream = start_upstream(self)
        upstream.on_connect = lambda talk: talk.transport.pauseProducing()
        proxy = self.proxy(upstream)
        address = self.serve(proxy)
        client = await connect(self, address)
        size = 64 << 20
        client.send(b"POST /api HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % size)
        sent = await self.push(client, size)
        self.assertLess(sent, 40 << 20)
        upstream.on_data = lambda talk, data: None
        upstream.talks[0].transport.resumeProducing()
        await self.push(client, size - sent)
        counts = proxy.metrics.requests("", "", "proxy")
        await until(lambda: counts.request_bytes == size)

    async def push(self, client: Client, size: int) -> int:
        """Send until the client's own transport has not taken anything for a while; gives how much was taken."""
        left = size
        piece = bytes(1 << 16)
        idle = 0
        while left and idle < 100:
            before = left
            if not client.transport.dataBuffer and not client.transport._tempDataBuffer:
                client.send(piece[:left])
                left -= min(len(piece), left)
            idle = 0 if left != before else idle + 1
            await until(lambda: True)
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.002, turn.callback, None)
            await turn
        return size - left

    async def test_slow_client(self) -> None:
        """An upstream sends no faster than the client reads; twisted.web's own proxy keeps all of it in memory."""
        for better in (True, False):
            sent: list[int] = []

            def pour(request: RecordedRequest, sent: list[int] = sent) -> None:
                transport = request.talk.transport
                transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))

                def more() -> None:
                    if transport.connected and len(sent) < 1024:
                        if not transport.dataBuffer and not transport._tempDataBuffer:
                            sent.append(1 << 16)
                            transport.write(bytes(1 << 16))
                        reactor.callLater(0, more)

                more()

            upstream = start_upstream(self, pour)
            endpoint = upstream.model.endpoints[0]
            other = ReverseProxyResource(endpoint.host, endpoint.port, b"")
            client = await connect(self, self.serve(self.proxy(upstream) if better else other))
            got: list[int] = []
            # What has come is only counted: to keep so much would take longer than to send it.
            client.dataReceived = lambda data, got=got: got.append(len(data))  # type: ignore[method-assign]
            client.transport.pauseProducing()
            client.send(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n")
            if better:
                await until(lambda sent=sent: len(sent) > 10)
                before = -1
                while before != len(sent):
                    before = len(sent)
                    turn: Deferred[None] = Deferred()
                    reactor.callLater(0.1, turn.callback, None)
                    await turn
                self.assertLess(sum(sent), 40 << 20)
                client.transport.resumeProducing()
                await until(lambda got=got: sum(got) > 64 << 20)
            else:
                await until(lambda sent=sent: sum(sent) == 64 << 20)
            client.transport.abortConnection()
            await until(lambda client=client: client.reason is not None)
            for one in upstream.talks:
                one.transport.abortConnection()
            await until(lambda upstream=upstream: all(one.reason is not None for one in upstream.talks))
        self.flushLoggedErrors(RuntimeError)

    async def test_clients_that_do_not_read(self) -> None:
        """Who takes nothing for too long is cut off, with its upstream's connection."""

        def pour(request: RecordedRequest) -> None:
            request.talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
            request.talk.transport.write(bytes(64 << 20))

        upstream = start_upstream(self, pour)
        proxy = self.proxy(upstream, write_timeout=0.3)
        client = await connect(self, self.serve(proxy))
        client.transport.pauseProducing()
        client.send(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: upstream.talks and upstream.talks[0].reason is not None)
        await until(lambda: not proxy.metrics.requests("", "", "proxy").in_progress)

    async def test_connections_are_kept(self) -> None:
        """Many requests go over one connection to the upstream; twisted.web's own proxy makes one for each."""
        upstream = start_upstream(self, answer(b"ok"))
        endpoint = upstream.model.endpoints[0]
        for better in (True, False):
            upstream.talks.clear()
            other = ReverseProxyResource(endpoint.host, endpoint.port, b"")
            client = await connect(self, self.serve(self.proxy(upstream) if better else other))
            for _ in range(5):
                client.send(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n")
                self.assertEqual((await client.response()).body, b"ok")
            self.assertEqual(len(upstream.talks), 1 if better else 5)
        self.flushLoggedErrors()

    async def test_pipelining(self) -> None:
        """Requests that come at once are answered in their order, bodies among them."""
        upstream = start_upstream(self, lambda request: answer(request.line + request.body))
        client = await connect(self, self.serve(self.proxy(upstream)))
        client.send(b"".join(
            b"POST /api/%d HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n%d" % (number, number) for number in range(9)
        ))
        for number in range(9):
            self.assertEqual((await client.response()).body, b"POST /%d HTTP/1.1%d" % (number, number))

    async def test_answers_before_the_end(self) -> None:
        """A response may be complete before the request; what is left of the body is no next request."""

        def refuse(talk: Any, data: bytes) -> None:
            if data.startswith(b"POST"):
                talk.transport.write(b"HTTP/1.1 413 No\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n")
            else:
                talk.transport.write(answer(b"fine"))

        upstream = start_upstream(self)
        upstream.on_data = refuse
        client = await connect(self, self.serve(self.proxy(upstream)))
        hidden = b"GET /api/smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        client.send(b"POST /api HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (5 + len(hidden)))
        found = await client.response()
        self.assertEqual((found.status, found.body), (413, b"no"))
        client.send(b"abcde" + hidden)
        client.send(b"GET /api/next HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertEqual((await client.response()).body, b"fine")
        self.assertNotIn(b"smuggled", b"".join(bytes(talk.received) for talk in upstream.talks))
        # A request that goes nowhere is no different.
        client.send(b"POST /api/../x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
        self.assertEqual((await client.response()).status, 400)
        client.send(b"abcdeGET /api/next HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertEqual((await client.response()).body, b"fine")
        # Nobody is told to go on when the answer is there.
        client.send(b"POST /api/../x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        found = await client.response()
        self.assertEqual((found.status, len(found.all("date"))), (400, 1))
        client.send(b"abcdeGET /api/next HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertEqual((await client.response()).status, 200)
        # And who goes on and on is let go.
        client.send(b"POST /api HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n")
        self.assertEqual((await client.response()).status, 413)
        while client.reason is None:
            client.send(bytes(65_536))
            await until(lambda: client.reason is not None or not client.transport.dataBuffer)
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn

    async def test_client_leaves(self) -> None:
        """Wherever a client leaves, the upstream's connection is let go, and nothing is left under way."""
        upstream = start_upstream(self, lambda request: b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        proxy = self.proxy(upstream)
        address = self.serve(proxy)
        for data, heard in (
            (b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n", b"abc"),
            (b"POST /api HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc", b""),
        ):
            talks = len(upstream.talks)
            client = await connect(self, address)
            client.send(data)
            await client.heard(heard)
            await until(lambda talks=talks: len(upstream.talks) > talks and upstream.talks[-1].received)
            client.transport.abortConnection()
            await until(lambda: all(one.reason is not None for one in upstream.talks))
        await until(lambda: not proxy.metrics.requests("", "", "proxy").in_progress)

    async def test_close(self) -> None:
        """A closed proxy finishes what it has begun, and is gone then."""
        waiting: list[RecordedRequest] = []
        upstream = start_upstream(self, lambda request: waiting.append(request))
        proxy = self.proxy(upstream)
        client = await connect(self, self.serve(proxy))
        client.send(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: waiting)
        closed = proxy.close()
        self.assertNoResult(closed)
        waiting[0].talk.transport.write(answer(b"late"))
        self.assertEqual((await client.response()).body, b"late")
        await closed
        self.assertEqual(proxy.metrics.upstream("proxy").connections, 0)


class TLSTests(ProxyCase):
    """Behind TLS of Twisted's own."""

    async def test_over_tls(self) -> None:
        """Requests come over ``listenSSL`` too, and the upstream is told so."""
        pki = Authority()
        server = pki.issue("a.example", dns=["a.example"], usages=SERVER)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(server.certificate)
        context.use_privatekey(server.key)

        class Factory(ssl.ContextFactory):
            def getContext(self) -> SSL.Context:
                return context

        upstream = start_upstream(self, lambda request: answer(request.body))
        address = self.serve(self.proxy(upstream), context=Factory())
        body = os.urandom(1 << 20)
        request = get("/api", "a.example", f"content-length: {len(body)}").replace(b"GET", b"PUT")
        got = await in_thread(talk, address, request + body, client_context(pki), "a.example")
        found = read_response(got)
        assert found is not None
        self.assertEqual(found[0].body, body)
        self.assertEqual(upstream.requests[0].all(b"x-forwarded-proto"), [b"https"])
