"""What a gRPC client is told when it gets no answer of a server's: by the gateway, its filters and its policies."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from h2.errors import ErrorCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.model import (
    CORS,
    BackendRef,
    ClientRequirement,
    ExternalAuth,
    Filters,
    FixedResponse,
    HTTP2Settings,
    HTTPSettings,
    RateLimit,
    Redirect,
    RefuseWith,
    Route,
    RouteRule,
    Timeouts,
    Upstream,
)
from edgegw.proxy.grpc_errors import denial_text, grpc_error, grpc_media_type
from edgegw.wire.http1 import RequestHead
from tests.gateway import (
    BOTH,
    SERVER,
    Authority,
    answer,
    gateway,
    http_listener,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    until,
    validation,
)
from tests.grpc_peers import Calls, failure, open_channel, start_grpc_service
from tests.http2_client import HTTP2Client, connect_http2
from tests.http2_upstreams import HTTP2Request, start_http2_upstream
from tests.http_service import reply, start_service
from tests.test_tls_policies import FALLBACK, later, named, use

Code = grpc.StatusCode
GRPC = ("content-type", "application/grpc")
HEAD = (b"content-type", b"application/grpc")


def framed(data: bytes) -> bytes:
    """Give a message as it stands in a body."""
    return b"\0" + len(data).to_bytes(4, "big") + data


class ErrorTests(TestCase):
    """A rule with filters, before an upstream that speaks HTTP/2."""

    async def serve(self, upstream: Any, filters: Filters | None = None, **listener: Any) -> Calls:
        """Serve the upstream."""
        model = upstream if isinstance(upstream, Upstream) else upstream.model
        rule = RouteRule(backends=(BackendRef("app"),), filters=filters or Filters())
        self.running = await start_gateway(
            self, gateway([http_listener(**listener)], model, routes=[Route("all", rules=(rule,))])
        )
        return open_channel(self, self.running.address())

    async def raw(self) -> HTTP2Client:
        """Connect with a client that shows all."""
        return await connect_http2(self, self.running.address())

    def assert_failed(self, error: Any, code: Any, words: str = "") -> None:
        self.assertEqual(error.code(), code, error)
        self.assertIn(words, error.details())


class UpstreamTests(ErrorTests):
    """Upstreams that are not there, die, or take too long."""

    async def test_unreachable(self) -> None:
        """An upstream that cannot be reached is UNAVAILABLE."""
        upstream = start_http2_upstream(self)
        await upstream.stop()
        calls = await self.serve(upstream)
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNAVAILABLE, "not available")

    async def test_killed(self) -> None:
        """So is one that dies before its response."""
        upstream = start_http2_upstream(self, lambda request: request.talk.transport.abortConnection())
        calls = await self.serve(upstream)
        for call, sent in ((calls.unary("Echo"), b"x"), (calls.both("Both"), iter([b"x"]))):
            self.assert_failed(await failure(call, sent), Code.UNAVAILABLE, "no valid answer")

    async def test_killed_within(self) -> None:
        """And one that dies in the middle of it: what has come was heard, and the client's connection lives on."""
        upstream = start_http2_upstream(self, lambda request: start_response(request))

        def start_response(request: HTTP2Request) -> None:
            request.head(200, HEAD)
            request.data(framed(b"one"))

        calls = await self.serve(upstream)
        for end in (lambda one: one.talk.transport.abortConnection(), lambda one: one.reset()):
            for sent in ([b"x"], [b"x", b"y"]):
                call = calls.both("Both")(iter(sent), timeout=20)
                self.assertEqual(await in_thread(next, call), b"one")
                end(upstream.requests[-1])
                self.assert_failed(await failure(lambda it=call, **_: it), Code.UNAVAILABLE, "broke off")
        self.assertEqual(self.running.metrics.listener("plain").connections, 1)

    async def test_killed_within_a_message(self) -> None:
        """Half a message is none."""
        upstream = start_http2_upstream(self, None)
        calls = await self.serve(upstream)
        call = calls.unary("Echo").future(b"x", timeout=20)
        request = await upstream.request()
        request.head(200, HEAD)
        request.data(framed(b"four")[:-1])
        await until(lambda: self.running.metrics.requests("plain", "all", "app").response_bytes == 8)
        request.reset()
        error = await in_thread(call.exception)
        self.assertIn(error.code(), (Code.UNAVAILABLE, Code.INTERNAL))

    async def test_broken_off_on_the_wire(self) -> None:
        """A response that broke off ends with a status in its trailers; others than gRPC's are reset as before."""
        upstream = start_http2_upstream(self, lambda request: request.head(200))
        await self.serve(upstream)
        client = await self.raw()
        for fields in ([GRPC], [("content-type", "application/grpc-web")]):
            stream = client.ask("/", *fields, method="POST", body=b"")
            await until(lambda one=stream: client.answers[one].status)
            upstream.requests[-1].reset()
            found = await client.answer(stream)
            if fields == [GRPC]:
                self.assertEqual(found.trailers[0], ("grpc-status", "14"))
                self.assertEqual((found.ended, found.code), (True, None))
            else:
                self.assertEqual((found.trailers, found.code), ([], ErrorCodes.INTERNAL_ERROR))

    async def test_rule_time(self) -> None:
        """The rule's own time-out is UNAVAILABLE, before a response and within one; the upstream's call ends too."""
        upstream = start_http2_upstream(self, None)
        calls = await self.serve(upstream, Filters(timeouts=Timeouts(request=0.1)))
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNAVAILABLE, "took too long")
        upstream.on_head = lambda request: request.head(200, HEAD)
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNAVAILABLE, "broke off")
        await until(lambda: all(one.was_reset == ErrorCodes.CANCEL for one in upstream.requests))

    async def test_upstream_time(self) -> None:
        """So is the upstream's."""
        calls = await self.serve(start_http2_upstream(self, None, response_timeout=0.1))
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNAVAILABLE, "took too long")

    async def test_silent_conversation(self) -> None:
        """A server may be silent, and a client wait for it, as long as ``stream_idle_timeout`` says."""
        upstream = start_http2_upstream(self, None)
        calls = await self.serve(
            upstream, http=HTTPSettings(body_idle_timeout=0.05), http2=HTTP2Settings(stream_idle_timeout=0.3)
        )
        client = await self.raw()
        plain = client.ask("/", method="POST", end=False)
        patient = client.ask("/", GRPC, method="POST", end=False)
        self.assertEqual((await client.answer(plain)).status, 408)
        self.assertFalse(client.answers[patient].over)
        self.assertEqual((await client.answer(patient)).all("grpc-status"), ["2"])
        del calls


class FilterTests(ErrorTests):
    """What filters answer is a gRPC status too; what the operator wrote is left as it is."""

    def setUp(self) -> None:
        self.service = start_grpc_service(self)

    async def test_rate_limit(self) -> None:
        """Too many requests are UNAVAILABLE, and the client hears when to come again, also within its request."""
        calls = await self.serve(self.service, Filters(rate_limit=RateLimit(1, 3600, 1)))
        self.assertEqual(await in_thread(calls.unary("Echo"), b"x", timeout=20), b"x")
        for call, sent in ((calls.unary("Echo"), b"x"), (calls.collect("Collect"), iter([b"x"] * 100))):
            error = await failure(call, sent)
            self.assert_failed(error, Code.UNAVAILABLE, "too many requests")
            told = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
            self.assertGreater(int(told["retry-after"]), 3000)

    async def test_auth(self) -> None:
        """A service's refusal becomes a status, with its words and those of its headers that clients get."""
        service = start_service(self)
        calls = await self.serve(self.service, Filters(external_auth=ExternalAuth(service.url)))
        for status, code in (
            ("401 Unauthorized", Code.UNAUTHENTICATED), ("403 Forbidden", Code.PERMISSION_DENIED),
            ("302 Found", Code.UNKNOWN), ("429 Too Many Requests", Code.UNAVAILABLE), ("404 Not", Code.UNIMPLEMENTED),
        ):
            service.script = reply(
                "who are you? ü\n".encode(), status, www_authenticate="Bearer", content_type="text/html", x_own="1"
            )
            error = await failure(calls.unary("Echo"), b"x")
            self.assert_failed(error, code)
            self.assertEqual(error.details(), "who are you? ü")
            told = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
            self.assertEqual((told["www-authenticate"], told.get("x-own")), ("Bearer", None))
        for body in (b"\xff", b"", b"x" * 2000):
            service.script = reply(body, "403 Forbidden")
            self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.PERMISSION_DENIED, "not allowed")
        service.script = reply(b"", "500 Oh")
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.PERMISSION_DENIED, "not allowed")
        service.script = reply(b"")
        self.assertEqual(await in_thread(calls.unary("Echo"), b"x", timeout=20), b"x")

    async def test_auth_on_the_wire(self) -> None:
        """One section of fields that ends the stream, and no body; other clients get the service's answer as it is."""
        service = start_service(self, reply(b"<no>", "403 Forbidden", content_type="text/html", location="/in"))
        await self.serve(self.service, Filters(external_auth=ExternalAuth(service.url)))
        client = await self.raw()
        found = await client.get("/", ("content-type", "application/grpc+json"), method="POST", body=b"")
        self.assertEqual((found.status, bytes(found.body), found.ended, found.trailers), (200, b"", True, []))
        for name, value in (
            ("content-type", "application/grpc+json"), ("grpc-status", "7"), ("grpc-message", "<no>"),
            ("location", "/in"),
        ):
            self.assertEqual(found.all(name), [value])
        self.assertEqual(found.all("content-length"), [])
        found = await client.get("/", ("content-type", "application/grpc-web"), method="POST", body=b"")
        self.assertEqual((found.status, bytes(found.body)), (403, b"<no>"))
        self.assertEqual((found.all("content-type"), found.all("grpc-status")), (["text/html"], []))

    async def test_body_limit(self) -> None:
        """A request that is too large is UNKNOWN, as gRPC's table has it; so is one that grows under way."""
        calls = await self.serve(self.service, Filters(max_body=1000))
        for call, sent in (
            (calls.unary("Echo"), bytes(2000)), (calls.collect("Collect"), iter([bytes(600)] * 10)),
        ):
            self.assert_failed(await failure(call, sent), Code.UNKNOWN, "too large")
        await self.running.stop()
        upstream = start_http2_upstream(self, None)
        upstream.on_head = lambda request: request.head(200, HEAD)
        await self.serve(upstream, Filters(max_body=1000))
        client = await self.raw()
        stream = client.ask("/", GRPC, method="POST", end=False)
        await until(lambda: client.answers[stream].status)
        client.send(stream, bytes(1001))
        found = await client.answer(stream)
        self.assertEqual(dict(found.trailers)["grpc-status"], "2")
        await until(lambda: upstream.requests[0].was_reset is not None)

    async def test_cors(self) -> None:
        """Pages may read the status; a preflight is answered as ever."""
        await self.serve(self.service, Filters(cors=CORS(("https://a.example",)), rate_limit=RateLimit(1, 3600, 2)))
        client = await self.raw()
        origin = ("origin", "https://a.example")
        found = await client.get("/", origin, ("access-control-request-method", "POST"), method="OPTIONS")
        self.assertEqual((found.status, found.all("access-control-allow-origin")), (204, ["https://a.example"]))
        await client.get("/", origin, GRPC, method="POST", body=b"")
        found = await client.get("/", origin, GRPC, method="POST", body=b"")
        self.assertEqual((found.status, found.all("grpc-status")), (200, ["14"]))
        self.assertEqual(found.all("access-control-allow-origin"), ["https://a.example"])

    async def test_written(self) -> None:
        """A fixed response and a redirect are the operator's own, which the client makes of them what it can."""
        fixed = Filters(fixed_response=FixedResponse(503, (), b"closed"))
        calls = await self.serve(self.service, fixed)
        client = await self.raw()
        found = await client.get("/", GRPC, method="POST", body=b"")
        self.assertEqual((found.status, bytes(found.body), found.all("grpc-status")), (503, b"closed", []))
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNAVAILABLE)
        await self.running.stop()
        await self.serve(self.service, Filters(redirect=Redirect(hostname="b.example")))
        client = await self.raw()
        found = await client.get("/", GRPC, method="POST", body=b"")
        self.assertEqual((found.status, found.all("grpc-status")), (302, []))


class RouteTests(ErrorTests):
    """Requests that no rule takes, or whose client it does not want."""

    async def test_no_route(self) -> None:
        """No rule is UNIMPLEMENTED, as the Gateway API has it; nor is there one for another host."""
        service = start_grpc_service(self)
        routes = [Route("one", hostnames=("b.example",), rules=(RouteRule(backends=(BackendRef("app"),)),))]
        running = await start_gateway(self, gateway([http_listener()], service.model, routes=routes))
        calls = open_channel(self, running.address())
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNIMPLEMENTED, "No route")
        calls = open_channel(self, running.address(), name="b.example")
        self.assertEqual(await in_thread(calls.unary("Echo"), b"x", timeout=20), b"x")

    async def test_refused(self) -> None:
        """A client that the rule's policies do not want is denied, and one without a certificate where it takes one."""
        pki = Authority()
        service = start_grpc_service(self)
        rule = RouteRule(
            backends=(BackendRef("app"),), client=ClientRequirement.VERIFIED, policies=(use(named),)
        )
        listener = https_listener(
            [pki.issue("a.example", dns=["a.example"], usages=SERVER)],
            validation(pki, mode=FALLBACK),
        )
        running = await start_gateway(
            self, gateway([listener], service.model, routes=[Route("all", rules=(rule,))])
        )
        for issued in (pki.issue("bad", usages=BOTH), None):
            calls = open_channel(self, running.address(), pki, issued)
            error = await failure(calls.unary("Echo"), b"x")
            self.assert_failed(error, Code.PERMISSION_DENIED, "not allowed")
        calls = open_channel(self, running.address(), pki, pki.issue("good", usages=BOTH))
        self.assertEqual(await in_thread(calls.unary("Echo"), b"x", timeout=20), b"x")

    async def test_refused_with_response(self) -> None:
        """A client that the listener refuses after the handshake is denied, too, and told why where it may be."""
        pki = Authority()
        service = start_grpc_service(self)
        listener = https_listener(
            [pki.issue("a.example", dns=["a.example"], usages=SERVER)],
            validation(pki, policies=(use(later),), refuse_with=RefuseWith.RESPONSE, explain_to_client=True),
        )
        running = await start_gateway(self, gateway([listener], service.model))
        calls = open_channel(self, running.address(), pki, pki.issue("bad", usages=BOTH))
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.PERMISSION_DENIED, "reason: later")
        calls = open_channel(self, running.address(), pki, pki.issue("good", usages=BOTH))
        self.assertEqual(await in_thread(calls.unary("Echo"), b"x", timeout=20), b"x")

    async def test_plain_upstream(self) -> None:
        """An upstream that speaks HTTP/1.1 alone serves it by its trailers; its own errors stay HTTP's."""
        upstream = start_upstream(self, b"", "app")
        upstream.script = (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n"
            b"8\r\n" + framed(b"one") + b"\r\n0\r\ngrpc-status: 0\r\n\r\n"
        )
        calls = await self.serve(upstream)
        self.assertEqual(await in_thread(calls.unary("Echo"), b"x", timeout=20), b"one")
        upstream.script = answer(b"no", b"401 Unauthorized")
        self.assert_failed(await failure(calls.unary("Echo"), b"x"), Code.UNAUTHENTICATED)


class PureTests(SynchronousTestCase):
    """What is gRPC, and how a status and its words are written."""

    def test_media_types(self) -> None:
        """gRPC's own media type, with a coding and parameters; gRPC-Web and whatever else begins so are not."""
        kinds: list[tuple[bytes, bytes]] = [
            (b"application/grpc", b"application/grpc"), (b"application/GRPC+Proto", b"application/grpc+proto"),
            (b"application/grpc ; charset=x", b"application/grpc"), (b"application/grpc-web", b""),
            (b"application/grpc-web+proto", b""), (b"application/grpc-web-text", b""), (b"application/grpcx", b""),
            (b"application/json", b""), (b"", b""),
        ]
        for value, wanted in kinds:
            head = RequestHead(b"POST", b"/", 2, [(b"content-type", value, b"")], b"", 0)
            self.assertEqual(grpc_media_type(head), wanted, value)
        self.assertEqual(grpc_media_type(None), b"")

    def test_statuses(self) -> None:
        """gRPC's table of HTTP statuses; whatever it does not have is UNKNOWN."""
        table = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
        for status in range(100, 600):
            fields = dict(grpc_error(status, b"application/grpc", ""))
            self.assertEqual((fields[b":status"], int(fields[b"grpc-status"])), (b"200", table.get(status, 2)))

    @settings(max_examples=50)
    @given(st.text(max_size=30))
    def test_words(self, text: str) -> None:
        """Any words come out as they went in, and nothing of them breaks a field."""
        message = dict(grpc_error(500, b"application/grpc", "", text))[b"grpc-message"]
        self.assertTrue(all(0x20 <= byte < 0x7F for byte in message))
        if text:
            read: Callable[[bytes], str] = lambda value: unquoted(value).decode("utf-8")  # noqa: E731
            self.assertEqual(read(message), text)

    @settings(max_examples=50)
    @given(st.one_of(st.binary(max_size=40), st.integers(0, 1200).map(lambda size: b"a" * size)))
    def test_denials(self, body: bytes) -> None:
        """Short text is told, and nothing else."""
        text = denial_text(body)
        self.assertTrue(text == "" or (len(body) <= 1024 and text == body.decode("utf-8").strip()))


def unquoted(value: bytes) -> bytes:
    """Undo percent-encoding."""
    first, *others = value.split(b"%")
    return first + b"".join(bytes((int(one[:2], 16),)) + one[2:] for one in others)
