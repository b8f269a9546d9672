"""Requests over HTTP/2: they go the same way as those over HTTP/1.1, and their answers come back whole."""
from __future__ import annotations

import json
import struct
from ipaddress import ip_network
from typing import Any

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Peer, Reject, Verdict, policy
from edgegw.model import (
    XFCC,
    BackendRef,
    Filters,
    FixedResponse,
    Gateway,
    HealthCheck,
    HTTP2Settings,
    HTTPSettings,
    PathMatch,
    PathMatchType,
    Redirect,
    RefuseWith,
    Route,
    RouteMatch,
    RouteRule,
    TLSSettings,
)
from tests.gateway import (
    BOTH,
    SERVER,
    Authority,
    RecordedRequest,
    RunningGateway,
    ScriptedUpstream,
    answer,
    client_context,
    files,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    run,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.http2_client import HTTP2Client, connect_http2
from tests.raw_client import connect
from tests.test_tls_policies import later, use

_deciding: list[Deferred[None]] = []
_cancelled: list[object] = []


@policy("by_path")
async def by_path(peer: Peer) -> Verdict:
    """Wait until the test says so, and refuse the paths that say no."""
    decision: Deferred[None] = Deferred(_cancelled.append)
    _deciding.append(decision)
    await decision
    assert peer.request is not None
    return Accept() if peer.request.path.startswith("/yes") else Reject("by_path", "no")


class HTTP2Tests(TestCase):
    """A listener without TLS before one upstream."""

    running: RunningGateway

    async def start(
        self, script: Any = b"", http: HTTPSettings | None = None, http2: HTTP2Settings | None = None, **options: Any
    ) -> ScriptedUpstream:
        self.upstream = start_upstream(self, script or answer(b"ok"))
        listener = http_listener(http=http or HTTPSettings(), http2=http2 or HTTP2Settings())
        await self.serve(gateway([listener], self.upstream, **options))
        return self.upstream

    async def serve(self, model: Gateway) -> None:
        self.running = await start_gateway(self, model)

    async def connect(self) -> HTTP2Client:
        return await connect_http2(self, self.running.address())

    def assert_nothing_counted(self) -> None:
        for one in self.running.metrics.routes.values():
            self.assertEqual(one.in_progress, 0)


class Requests(HTTP2Tests):
    """What upstreams get and clients get back."""

    async def test_request(self) -> None:
        """The upstream sees an HTTP/1.1 request with the client's lines; the answer has lower-case names."""
        upstream = await self.start(answer(b"hello", headers=b"X-Thing: 1\r\nConnection: x-hop\r\nX-Hop: 2\r\n"))
        client = await self.connect()
        found = await client.get("/a?b", ("x-thing", "1"), ("te", "trailers"), ("accept", "a"), ("accept", "b"))
        self.assertEqual((found.status, bytes(found.body)), (200, b"hello"))
        self.assertEqual((found.all("x-thing"), found.all("content-length")), (["1"], ["5"]))
        names = [name for name, _ in found.fields]
        for name in ("connection", "x-hop", "transfer-encoding"):
            self.assertNotIn(name, names)
        request = upstream.requests[0]
        self.assertEqual(request.line, b"GET /a?b HTTP/1.1")
        self.assertEqual((request.all(b"host"), request.all(b"te")), ([b"a.example"], [b"trailers"]))
        self.assertEqual((request.all(b"x-thing"), request.all(b"accept")), ([b"1"], [b"a", b"b"]))
        self.assertEqual(request.all(b"x-forwarded-for"), [b"127.0.0.1"])
        self.assertEqual([name for name, _ in request.headers if name.startswith(b":")], [])

    async def test_same_again(self) -> None:
        """Requests that repeat, with other paths and header lines in between, are each told as they are."""

        def script(request: RecordedRequest) -> bytes:
            return answer(request.line + b"|" + b",".join(request.all(b"x-a")))

        await self.start(script)
        client = await self.connect()
        for path, value in [("/1", "a"), ("/1", "a"), ("/2", "a"), ("/2", "b"), ("/1", "a"), ("/1", "b")]:
            found = await client.get(path, ("x-a", value))
            self.assertEqual(bytes(found.body), f"GET {path} HTTP/1.1|{value}".encode())
        self.assertEqual(len(self.upstream.talks), 1)

    async def test_same_lines_with_and_without_body(self) -> None:
        """Requests whose header lines are the same are framed each by its own body."""
        upstream = await self.start()
        client = await self.connect()
        for body in (None, b"body", None, b"body", b"body", None):
            self.assertEqual((await client.get("/", ("x-a", "1"), body=body)).status, 200)
            encodings = upstream.requests[-1].all(b"transfer-encoding")
            self.assertEqual((upstream.requests[-1].body, encodings), (body or b"", [b"chunked"] if body else []))

    async def test_body(self) -> None:
        """A body with a length keeps it; one without goes in chunks, with the trailers that may."""
        upstream = await self.start()
        client = await self.connect()
        await client.get("/", ("content-length", "5"), method="POST", body=b"hello")
        self.assertEqual((upstream.requests[0].body, upstream.requests[0].all(b"content-length")), (b"hello", [b"5"]))
        await client.get("/", method="POST", body=b"hello")
        self.assertEqual(upstream.requests[1].all(b"transfer-encoding"), [b"chunked"])
        self.assertEqual(upstream.requests[1].body, b"hello")
        stream = client.ask("/", method="POST", end=False)
        client.send(stream, b"one")
        client.send(stream, b"two")
        client.send_trailers(stream, ("x-sum", "7"), ("x-forwarded-for", "1.2.3.4"))
        self.assertEqual((await client.answer(stream)).status, 200)
        self.assertEqual(upstream.requests[2].body, b"onetwo")
        self.assertTrue(upstream.requests[2].raw.endswith(b"0\r\nx-sum: 7\r\n\r\n"))
        stream = client.ask("/", ("content-length", "0"), method="POST", end=False)
        client.send(stream, b"", end=True)
        self.assertEqual((await client.answer(stream)).status, 200)

    async def test_response_trailers(self) -> None:
        """Trailers of a response come, with a body and without."""
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%b0\r\nGrpc-Status: 0\r\nHost: x\r\n\r\n"
        upstream = await self.start(chunked % b"3\r\nabc\r\n")
        client = await self.connect()
        found = await client.get()
        self.assertEqual((bytes(found.body), found.trailers), (b"abc", [("grpc-status", "0")]))
        upstream.script = chunked % b""
        found = await client.get()
        self.assertEqual((bytes(found.body), found.trailers, found.ended), (b"", [("grpc-status", "0")], True))

    async def test_without_body(self) -> None:
        """HEAD, 204 and 304 have none, and HEAD has the length that GET would."""
        upstream = await self.start(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
        client = await self.connect()
        found = await client.get(method="HEAD")
        self.assertEqual((found.status, found.all("content-length"), found.ended), (200, ["5"], True))
        for status in (b"204 No Content", b"304 Not Modified"):
            upstream.script = b"HTTP/1.1 %b\r\n\r\n" % status
            found = await client.get()
            self.assertEqual((found.status, found.all("content-length"), found.ended), (int(status[:3]), [], True))
        found = await client.get(method="HEAD", host=None)
        self.assertIsNotNone(found.code)

    async def test_interim(self) -> None:
        """Interim responses come before the final one; 100 is what the client waits for."""
        upstream = await self.start()

        def on_data(talk: Any, data: bytes) -> None:
            if b"expect: 100-continue" in data:
                talk.transport.write(b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
            elif b"body" in data:
                talk.transport.write(answer(b"done"))

        upstream.on_data = on_data
        client = await self.connect()
        stream = client.ask("/", ("expect", "100-continue"), ("content-length", "4"), method="PUT", end=False)
        await until(lambda: client.answers[stream].interim == [103, 100])
        client.send(stream, b"body", end=True)
        self.assertEqual(bytes((await client.answer(stream)).body), b"done")

    async def test_refused_methods(self) -> None:
        """CONNECT and TRACE are not for a gateway."""
        upstream = await self.start()
        client = await self.connect()
        for method in ("CONNECT", "TRACE"):
            found = await client.get(method=method, host="a.example:443", end=method == "TRACE")
            self.assertEqual((found.status, bool(found.all("allow"))), (405, True))
        self.assertEqual((await client.get()).status, 200)
        self.assertEqual(len(upstream.requests), 1)

    async def test_authority(self) -> None:
        """:authority and Host are one; where they differ the request is malformed, and only that one."""
        upstream = await self.start()
        client = await self.connect()
        for host, fields in [(None, [("host", "b.example")]), ("B.example", [("host", "b.example")])]:
            self.assertEqual((await client.get("/", *fields, host=host)).status, 200)
        self.assertEqual([one.all(b"host") for one in upstream.requests], [[b"b.example"], [b"B.example"]])
        twice = [("host", "a"), ("host", "a")]
        for fields, host in [([("host", "c.example")], "b.example"), ([], None), (twice, None)]:
            found = await client.get("/", *fields, host=host)
            self.assertEqual(found.code, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual((await client.get()).status, 200)

    async def test_cookies(self) -> None:
        """The crumbs of a cookie are one line for the upstream (RFC 9113 §8.2.3)."""
        upstream = await self.start()
        client = await self.connect()
        await client.get("/", ("cookie", "a=1"), ("cookie", "b=2"), ("x-a", "1"), ("cookie", "c=3"))
        self.assertEqual(upstream.requests[0].all(b"cookie"), [b"a=1; b=2; c=3"])

    async def test_malformed(self) -> None:
        """What belongs to HTTP/1.1 connections, or could not stand in a request, resets the stream alone."""
        upstream = await self.start()
        client = await self.connect()
        for field in [
            ("connection", "close"), ("keep-alive", "1"), ("transfer-encoding", "chunked"), ("upgrade", "x"),
            ("proxy-connection", "x"), ("te", "gzip"), ("X-Upper", "1"), ("x-a", "1\r\nx-b: 2"), ("x a", "1"),
            (":path", "/again"), (":status", "200"), ("content-length", "x"), ("content-length", "3"),
        ]:
            found = await client.get("/", field)
            self.assertEqual(found.code, ErrorCodes.PROTOCOL_ERROR, field)
        self.assertEqual((await client.get()).status, 200)
        self.assertEqual(len(upstream.requests), 1)
        self.assert_nothing_counted()

    async def test_false_length(self) -> None:
        """A body of another length than was said never counts as whole, and its upstream connection ends."""
        upstream = await self.start()
        client = await self.connect()
        client.h2.config.validate_outbound_headers = False
        for length, body in [("9", b"short"), ("2", b"long")]:
            stream = client.ask("/", ("content-length", length), method="POST", end=False)
            await until(lambda: len(upstream.talks) and upstream.talks[-1].reason is None)
            client.send(stream, body, end=True)
            self.assertEqual((await client.answer(stream)).code, ErrorCodes.PROTOCOL_ERROR)
            await until(lambda: upstream.talks[-1].reason is not None)
        self.assertEqual(upstream.requests, [])
        self.assertEqual((await client.get()).status, 200)
        self.assert_nothing_counted()

    async def test_priority(self) -> None:
        """Priorities are read and ignored."""
        await self.start()
        client = await self.connect()
        client.h2.prioritize(1, weight=200, depends_on=0, exclusive=True)
        stream = client.ask()
        client.h2.prioritize(stream, weight=1)
        client.transport.write(b"\x00\x00\x04\x10\x00\x00\x00\x00\x00" + struct.pack(">I", stream))
        self.assertEqual((await client.answer(stream)).status, 200)
        self.assertEqual((await client.get("/", ("priority", "u=0, i"))).status, 200)

    async def test_limits(self) -> None:
        """Targets, headers and bodies past the listener's limits get their statuses, and the connection goes on."""
        upstream = await self.start(http=HTTPSettings(
            max_head_bytes=2048, max_headers=10, max_uri_bytes=64, max_body_bytes=10,
        ))
        client = await self.connect()
        self.assertEqual((await client.get("/" + "a" * 64)).status, 414)
        self.assertEqual((await client.get("/", ("x-a", "a" * 2048))).status, 431)
        self.assertEqual((await client.get("/", *[(f"x-{n}", "a") for n in range(11)])).status, 431)
        self.assertEqual((await client.get("/", ("content-length", "11"), method="POST", body=b"a" * 11)).status, 413)
        self.assertEqual((await client.get("/", method="POST", body=b"a" * 11)).status, 413)
        stream = client.ask(method="POST", end=False)
        client.send(stream, b"a" * 11)
        found = await client.answer(stream)
        self.assertEqual((found.status, found.ended), (413, True))
        client.send(stream, b"a", end=True)
        self.assertEqual((await client.get("/", method="POST", body=b"a" * 10)).status, 200)
        self.assertEqual(len(upstream.requests), 1)
        self.assert_nothing_counted()

    async def test_many_at_once(self) -> None:
        """Answers come as they are ready, not in the order of the requests."""
        held: list[RecordedRequest] = []

        def script(request: RecordedRequest) -> bytes | None:
            held.append(request)
            return None

        await self.start(script)
        client = await self.connect()
        streams = [client.ask(f"/{number}") for number in range(50)]
        await until(lambda: len(held) == 50)
        for request in reversed(held):
            request.talk.transport.write(answer(request.line))
        for number, stream in enumerate(streams):
            found = await client.answer(stream)
            self.assertEqual(bytes(found.body), f"GET /{number} HTTP/1.1".encode())
        self.assert_nothing_counted()
        counts = self.running.metrics.requests("plain", "all", "upstream")
        sent = sum(len(f"GET /{number} HTTP/1.1") for number in range(50))
        self.assertEqual((counts.responses[2], counts.response_bytes), (50, sent))

    async def test_too_many_streams(self) -> None:
        """Requests past the limit are refused so that they may be sent again."""
        await self.start(lambda request: None, http2=HTTP2Settings(max_concurrent_streams=2))
        client = await self.connect()
        client.h2.remote_settings.update({3: 100})
        client.h2.remote_settings.acknowledge()
        streams = [client.ask() for _ in range(3)]
        self.assertEqual((await client.answer(streams[2])).code, ErrorCodes.REFUSED_STREAM)

    async def test_health_check(self) -> None:
        """Probes are answered here."""
        upstream = start_upstream(self)
        listener = http_listener(health_check=HealthCheck("/up", (ip_network("127.0.0.0/8"),)))
        await self.serve(gateway([listener], upstream))
        client = await self.connect()
        self.assertEqual((await client.get("/up")).status, 200)
        self.assertEqual(upstream.requests, [])

    async def test_filters(self) -> None:
        """What a rule's filters answer, they answer here too."""
        routes = [
            Route("moved", rules=(RouteRule(filters=Filters(redirect=Redirect(hostname="b.example"))),),
                  hostnames=("moved.example",)),
            Route("fixed", rules=(RouteRule(filters=Filters(fixed_response=FixedResponse(418, (), b"teapot"))),),
                  hostnames=("fixed.example",)),
        ]
        await self.start(routes=routes)
        client = await self.connect()
        found = await client.get("/x", host="moved.example")
        _, port = self.running.address()
        self.assertEqual((found.status, found.all("location")), (302, [f"http://b.example:{port}/x"]))
        found = await client.get("/x", host="fixed.example")
        self.assertEqual((found.status, bytes(found.body)), (418, b"teapot"))


class OwnErrors(HTTP2Tests):
    """The gateway's own errors, as the client understands them."""

    async def test_no_route(self) -> None:
        """404, as text, or as JSON to who prefers that."""
        upstream = start_upstream(self)
        await self.serve(gateway([http_listener()], upstream, routes=[]))
        client = await self.connect()
        found = await client.get()
        self.assertEqual((found.status, found.all("content-type")), (404, ["text/plain; charset=utf-8"]))
        self.assertIn(b"No route", found.body)
        found = await client.get("/", ("accept", "application/json"))
        self.assertEqual(json.loads(found.body)["status"], 404)
        found = await client.get(method="HEAD")
        self.assertEqual((found.status, bytes(found.body), found.ended), (404, b"", True))

    async def test_grpc(self) -> None:
        """gRPC clients get a status of theirs in a response without a body."""
        upstream = start_upstream(self)
        await self.serve(gateway([http_listener(http=HTTPSettings(max_body_bytes=4))], upstream, routes=[]))
        client = await self.connect()
        for media_type in ("application/grpc", "application/grpc+proto"):
            found = await client.get("/a.B/C", ("content-type", media_type), method="POST", body=b"\0\0\0\0\0")
            self.assertEqual((found.status, found.all("grpc-status"), bytes(found.body)), (200, ["12"], b""))
            self.assertEqual((found.all("content-type"), found.all("content-length")), ([media_type], []))
            self.assertEqual(found.all("grpc-message"), ["No route takes this request."])
        found = await client.get("/" + "a" * 20_000, ("content-type", "application/grpc"))
        self.assertEqual(found.all("grpc-status"), ["2"])

    async def test_unavailable(self) -> None:
        """An upstream that cannot be reached is 503, or UNAVAILABLE; one that talks nonsense 502."""
        upstream = await self.start(b"nonsense\r\n\r\n")
        client = await self.connect()
        self.assertEqual((await client.get()).status, 502)
        found = await client.get("/", ("content-type", "application/grpc"), method="POST", body=b"")
        self.assertEqual((found.status, found.all("grpc-status")), (200, ["14"]))
        await upstream.stop()
        self.assertEqual((await client.get()).status, 503)
        self.assert_nothing_counted()

    async def test_broken_response(self) -> None:
        """A response that ends before its time resets its stream; others go on."""
        upstream = await self.start()

        def script(request: RecordedRequest) -> bytes:
            if request.line.startswith(b"GET /broken"):
                request.talk.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                request.talk.transport.loseConnection()
                return b""
            return answer(b"whole")

        upstream.script = script
        client = await self.connect()
        broken, whole = client.ask("/broken"), client.ask("/whole")
        found = await client.answer(broken)
        self.assertEqual((found.status, bytes(found.body), found.code), (200, b"half", ErrorCodes.INTERNAL_ERROR))
        self.assertEqual(bytes((await client.answer(whole)).body), b"whole")
        self.assertEqual(bytes((await client.get("/again")).body), b"whole")
        self.assert_nothing_counted()


class PriorKnowledge(HTTP2Tests):
    """HTTP/2 without TLS and without asking."""

    async def test_curl(self) -> None:
        """A real client speaks it; HTTP/1.1 goes on beside it."""
        upstream = await self.start()
        host, port = self.running.address()
        for option, version in [("--http2-prior-knowledge", b"2"), ("--http1.1", b"1.1")]:
            done = await run(
                "curl", "-s", option, "-w", "|%{http_version}", "-d", "@/etc/os-release", f"http://{host}:{port}/a"
            )
            self.assertEqual((done.exit, done.stdout), (0, b"ok|" + version), done.text)
        self.assertEqual(upstream.requests[0].body, upstream.requests[1].body)

    async def test_in_pieces(self) -> None:
        """The preface may come byte by byte."""
        await self.start()
        client = HTTP2Client()
        raw = await connect(self, self.running.address())
        client.h2.initiate_connection()
        for byte in client.h2.data_to_send():
            raw.transport.write(bytes((byte,)))
        client.h2.send_headers(1, [
            (":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a"),
        ], end_stream=True)
        raw.send(client.h2.data_to_send())
        await raw.heard(b"ok")

    async def test_turned_off(self) -> None:
        """Then it is a version that is not spoken."""
        await self.start(http2=HTTP2Settings(prior_knowledge=False))
        got = await in_thread(talk, self.running.address(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertTrue(got.startswith(b"HTTP/1.1 505 "), got)

    async def test_not_after_a_request(self) -> None:
        """A connection that has spoken HTTP/1.1 does not change."""
        await self.start()
        data = get().replace(b"connection: close\r\n", b"") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        got = await in_thread(talk, self.running.address(), data)
        self.assertIn(b"HTTP/1.1 505 ", got)


class OverTLS(TestCase):
    """ALPN, certificates and names."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example", "*.b.example"], usages=SERVER)
        self.client = self.pki.issue("client", uris=["spiffe://example/client"], usages=BOTH)

    async def start(self, *listeners: Any, script: Any = b"", **options: Any) -> ScriptedUpstream:
        upstream = start_upstream(self, script or answer(b"ok"))
        chosen = listeners or [https_listener([self.server], validation(self.pki), header_injection=(XFCC(),))]
        self.running = await start_gateway(self, gateway(chosen, upstream, **options))
        return upstream

    async def connect(self, server_name: str = "a.example") -> HTTP2Client:
        return await connect_http2(self, self.running.address(), self.pki, self.client, server_name)

    async def test_curl(self) -> None:
        """A client that offers h2 gets it, and its certificate's identity goes upstream."""
        upstream = await self.start()
        ca, _ = files(self, self.pki, "ca")
        certificate, key = files(self, self.client)
        _, port = self.running.address()
        for option, version in [("--http2", b"2"), ("--http1.1", b"1.1")]:
            done = await run(
                "curl", "-s", option, "--cacert", ca, "--cert", certificate, "--key", key, "-w", "|%{http_version}",
                "--connect-to", f"a.example:443:127.0.0.1:{port}", "-H", "x-forwarded-client-cert: forged",
                "https://a.example/",
            )
            self.assertEqual((done.exit, done.stdout), (0, b"ok|" + version), done.text)
        for request in upstream.requests:
            (value,) = request.all(b"x-forwarded-client-cert")
            self.assertIn(b"URI=spiffe://example/client", value)
            self.assertEqual(request.all(b"x-forwarded-proto"), [b"https"])

    async def test_alpn(self) -> None:
        """What the listener does not offer, and what the client does not, is not spoken."""
        for listed, offered, version in [
            (("http/1.1",), ("h2", "http/1.1"), "http/1.1"), (("h2", "http/1.1"), ("http/1.1",), "http/1.1"),
            ((), ("h2",), None),
        ]:
            listener = https_listener([self.server], tls=TLSSettings((), alpn=listed))
            await self.start(listener)
            context = client_context(self.pki, alpn=offered)
            got = await in_thread(talk, self.running.address(), get(), context, "a.example")
            self.assertTrue(got.startswith(b"HTTP/1.1 200 "), version)
            await self.running.stop()

    async def test_load(self) -> None:
        """nghttp and h2load, as they are: nothing fails."""
        listener = https_listener([self.server])
        await self.start(listener)
        _, port = self.running.address()
        done = await run("nghttp", "-nv", f"https://127.0.0.1:{port}/")
        self.assertIn(":status: 200", done.text)
        done = await run("h2load", "-n", "10000", "-c", "8", "-m", "32", f"https://127.0.0.1:{port}/")
        self.assertIn("10000 succeeded, 0 failed, 0 errored, 0 timeout", done.text)

    async def test_misdirected(self) -> None:
        """A connection that was let in for one name gets 421 for another listener's (RFC 9110 §15.5.20)."""
        other = self.pki.issue("other", dns=["x.b.example"], usages=SERVER)
        upstream = await self.start(
            https_listener([self.server], hostname="a.example"),
            https_listener([other], validation(self.pki), name="other", hostname="x.b.example"),
        )
        client = await connect_http2(self, self.running.address(), self.pki)
        self.assertEqual((await client.get(host="a.example")).status, 200)
        self.assertEqual((await client.get(host="x.b.example")).status, 421)
        self.assertEqual((await client.get(host="nobody.example")).status, 404)
        self.assertEqual((await client.get(host="a.example")).status, 200)
        self.assertEqual(len(upstream.requests), 2)

    async def test_refused_with_response(self) -> None:
        """Who is refused after the handshake hears it in HTTP/2, and then the connection ends."""
        upstream = await self.start(https_listener([self.server], validation(
            self.pki, policies=(use(later),), refuse_with=RefuseWith.RESPONSE, explain_to_client=True,
        )))
        client = await self.connect()
        found = await client.get()
        self.assertEqual(found.status, 403)
        self.assertIn(b"reason: ", found.body)
        await client.closed()
        self.assertEqual((client.goaways[0][0], upstream.requests), (0, []))

    async def test_waiting_policies(self) -> None:
        """Rules whose policies wait decide about many requests of a connection at once, each by itself."""
        upstream = start_upstream(self, answer(b"ok"))
        routes = [
            Route("open", rules=(RouteRule(
                (RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, "/open")),), (BackendRef("upstream"),),
            ),)),
            Route("waits", rules=(RouteRule(backends=(BackendRef("upstream"),), policies=(use(by_path),)),)),
        ]
        self.running = await start_gateway(
            self, gateway([https_listener([self.server], validation(self.pki))], upstream, routes=routes)
        )
        client = await self.connect()
        waiting = [client.ask(f"/{word}{number}") for number in range(5) for word in ("yes", "no")]
        left = client.ask("/yes")
        await until(lambda: len(_deciding) == 11)
        self.assertEqual((await client.get("/open")).status, 200)
        client.h2.reset_stream(left)
        client.flush()
        await until(lambda: len(_cancelled) == 1)
        for decision in reversed(_deciding[:10]):
            decision.callback(None)
        self.assertEqual([(await client.answer(one)).status for one in waiting], [200, 403] * 5)
        for one in self.running.metrics.routes.values():
            self.assertEqual(one.in_progress, 0)

    async def test_identity_of_rules(self) -> None:
        """Backends are chosen by rule for each request of a connection."""
        second = start_upstream(self, answer(b"second"), "second")
        upstream = start_upstream(self, answer(b"first"), "first")
        routes = [
            Route("one", rules=(RouteRule(backends=(BackendRef("first"),)),), hostnames=("a.example",)),
            Route("two", rules=(RouteRule(backends=(BackendRef("second"),)),), hostnames=("*.b.example",)),
        ]
        self.running = await start_gateway(
            self, gateway([https_listener([self.server])], upstream, second, routes=routes)
        )
        client = await connect_http2(self, self.running.address(), self.pki)
        for host, body in [("a.example", b"first"), ("x.b.example", b"second"), ("a.example", b"first")]:
            self.assertEqual(bytes((await client.get(host=host)).body), body)

