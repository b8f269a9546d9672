"""WebSocket to upstreams that speak HTTP/2, by extended CONNECT (RFC 8441), whatever the client speaks."""
from __future__ import annotations

from typing import Any

from attrs import evolve
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from edgegw.model import (
    BackendRef,
    Filters,
    HTTPVersion,
    OutlierDetection,
    Retry,
    Route,
    RouteRule,
    SessionPersistence,
    Timeouts,
    Upstream,
    UpstreamLimits,
)
from edgegw.observe.metrics import RequestMetrics, UpstreamMetrics
from edgegw.upstream.http2_connect import ConnectRequest
from edgegw.upstream.http2_pool import HTTP2Pool
from edgegw.upstream.upstream import UpstreamPool

from .gateway import (
    SERVER,
    Authority,
    RunningGateway,
    gateway,
    http_listener,
    start_gateway,
    until,
)
from .http2_client import HTTP2Client, connect_http2
from .http2_upstreams import HTTP2Request, HTTP2Upstream, start_http2_upstream
from .raw_client import Client, Response, connect
from .test_extended_connect import agreed
from .test_upgrades import asked
from .test_wire_upgrades import ACCEPT
from .tls_upstreams import secured, server_context, start_tls_upstream

ALLOWED = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"


def agree(request: HTTP2Request) -> None:
    """Answer an extended CONNECT with 200, and leave other requests alone."""
    if request.all(b":protocol"):
        request.head(200, (b"sec-websocket-protocol", b"chat"))


def answer_others(request: HTTP2Request) -> None:
    """Answer what is no extended CONNECT."""
    if not request.all(b":protocol"):
        request.answer(b"ok")


class UpstreamCase(TestCase):
    """One gateway in front of one upstream, and a client of either version."""

    upstream: HTTP2Upstream
    running: RunningGateway
    client: Client
    http2: HTTP2Client

    async def start(self, on_head: Any = agree, rule: RouteRule | None = None, **options: Any) -> None:
        options.setdefault("settings", ALLOWED)
        self.upstream = start_http2_upstream(self, answer_others, **options)
        self.upstream.on_head = on_head
        await self.serve(self.upstream.model, rule)

    async def serve(self, model: Upstream, rule: RouteRule | None = None) -> None:
        rule = evolve(rule or RouteRule(), backends=(BackendRef(model.name),))
        routes = [Route("all", rules=(rule,))]
        self.running = await start_gateway(self, gateway([http_listener()], model, routes=routes))
        self.client = await connect(self, self.running.address())
        self.http2 = await connect_http2(self, self.running.address())

    async def head(self, client: Client | None = None) -> Response:
        """Give the head of a 101, and leave what follows."""
        client = client or self.client
        await until(lambda: b"\r\n\r\n" in client.received or client.reason is not None)
        head, _, rest = client.received.partition(b"\r\n\r\n")
        client.received = head + b"\r\n\r\n"
        response = await client.response()
        client.received = rest
        return response

    async def upgraded(self, *lines: bytes) -> HTTP2Request:
        """Have a client of HTTP/1.1 get what it asks for; gives the upstream's end."""
        before = len(self.upstream.requests)
        self.client.send(asked(*lines))
        self.assertEqual((await self.head()).status, 101)
        return self.upstream.requests[before]

    async def connected(self) -> tuple[int, HTTP2Request]:
        """The same for a client of HTTP/2; gives its stream too."""
        before = len(self.upstream.requests)
        stream = self.http2.connect_to("/chat")
        self.assertEqual((await self.http2.head(stream)).status, 200)
        return stream, self.upstream.requests[before]

    @property
    def metrics(self) -> UpstreamMetrics:
        return self.running.metrics.upstream(self.name)

    @property
    def counts(self) -> RequestMetrics:
        return self.running.metrics.requests("plain", "all", self.name)

    @property
    def name(self) -> str:
        return next(iter(self.running.generation.gateway.upstreams)).name

    async def gone(self) -> None:
        """Nothing is left of any tunnel, and the upstream's connection is kept."""
        await until(lambda: not self.counts.in_progress and self.metrics.idle == self.metrics.connections == 1)
        self.assertEqual((self.metrics.sharing, self.upstream.faults), (0, 0))


class TunnelTests(UpstreamCase):
    """Once the upstream has agreed."""

    async def test_http1_client(self) -> None:
        """The upstream is asked as RFC 8441 has it; the client gets the 101 that answers its key."""
        await self.start()
        self.client.send(asked(b"sec-websocket-protocol: chat", b"x-a: b"))
        await self.client.heard(b"HTTP/1.1 101 Switching Protocols\r\n")
        response = await self.head()
        self.assertEqual(
            [response.status, *(response.all(name) for name in ("upgrade", "connection", "sec-websocket-accept",
                                                               "sec-websocket-protocol"))],
            [101, ["websocket"], ["upgrade"], [ACCEPT.decode()], ["chat"]],
        )
        request = self.upstream.requests[0]
        self.assertEqual(
            [request.all(name) for name in (b":method", b":protocol", b":scheme", b":path", b":authority", b"x-a",
                                            b"sec-websocket-version", b"sec-websocket-key", b"connection")],
            [[b"CONNECT"], [b"websocket"], [b"http"], [b"/chat"], [b"a.example"], [b"b"], [b"13"], [], []],
        )
        self.client.send(b"ping")
        await until(lambda: bytes(request.body) == b"ping")
        request.data(b"pong")
        await self.client.heard(b"pong")
        self.assertFalse(request.ended)
        counts = self.counts
        self.assertEqual((counts.in_progress, counts.request_bytes, counts.response_bytes), (1, 4, 4))
        self.assertEqual(counts.responses[1], 1)
        self.client.transport.loseConnection()
        await until(lambda: request.was_reset is not None or request.ended)
        request.data(b"", True)
        await self.gone()

    async def test_http2_client(self) -> None:
        """From HTTP/2 to HTTP/2; other requests share both connections."""
        await self.start()
        stream, request = await self.connected()
        self.assertEqual(self.http2.answers[stream].all("sec-websocket-protocol"), ["chat"])
        self.assertEqual(
            [request.all(name) for name in (b":method", b":protocol", b"sec-websocket-key")],
            [[b"CONNECT"], [b"websocket"], []],
        )
        self.http2.send(stream, b"ping")
        await until(lambda: bytes(request.body) == b"ping")
        request.data(b"pong")
        await self.http2.heard(stream, b"pong")
        self.assertEqual(bytes((await self.http2.get()).body), b"ok")
        self.assertEqual(len(self.upstream.talks), 1)
        self.http2.send(stream, b"", end=True)
        await until(lambda: request.ended)
        request.data(b"bye", True)
        found = await self.http2.answer(stream)
        self.assertEqual((bytes(found.body), found.ended, found.code), (b"pongbye", True, None))
        await self.gone()
        self.assertIsNone(request.was_reset)

    async def test_with_the_heads(self) -> None:
        """What comes behind the heads, on either side, is not lost."""

        def eager(request: HTTP2Request) -> None:
            agree(request)
            request.data(b"first of the upstream")

        await self.start(eager)
        self.client.send(asked() + b"first of the client")
        self.assertEqual((await self.head()).status, 101)
        await self.client.heard(b"first of the upstream")
        await until(lambda: self.upstream.requests[0].body == b"first of the client")

    async def test_large(self) -> None:
        """Much, both ways at a time, arrives whole."""
        await self.start()
        request = await self.upgraded()
        data = bytes(range(256)) * 12_000
        self.client.send(data)
        request.data(data)
        await until(lambda: len(request.body) == self.client.total - self.overhead == len(data))
        self.assertEqual((bytes(request.body), self.client.received), (data, data))

    @property
    def overhead(self) -> int:
        return self.client.total - len(self.client.received)

    async def test_slow_upstream(self) -> None:
        """A client is made as slow as an upstream that opens no window; another stream goes on."""
        await self.start()
        request = await self.upgraded()
        self.upstream.reads = False
        data = b"x" * 20_000_000
        self.client.send(data)
        stream = self.far()
        await until(lambda: stream.transport.producerPaused)
        self.assertLess(stream.transport.unsent, 65_536 + 2 * 262_144)
        self.assertEqual(len(request.body), 65_535)
        # The connection's window is shut, too: that of an upstream is for all of its streams.
        request.talk.h2.increment_flow_control_window(1 << 24)
        request.talk.flush()
        self.upstream.reads = True
        other, second = await self.connected()
        self.http2.send(other, b"by the way")
        await until(lambda: bytes(second.body) == b"by the way")
        request.talk.h2.increment_flow_control_window(1 << 26, request.stream)
        request.talk.flush()
        await until(lambda: len(request.body) == len(data))

    async def test_slow_client(self) -> None:
        """An upstream is made as slow as a client that does not read; others go on."""
        await self.start()
        request = await self.upgraded()
        self.client.transport.pauseProducing()
        request.data(b"x" * 20_000_000)
        stream = self.far()
        await until(lambda: stream._paused and request.talk.h2.local_flow_control_window(request.stream) == 0)
        other, second = await self.connected()
        second.data(b"by the way")
        await self.http2.heard(other, b"by the way")
        self.client.transport.resumeProducing()
        await until(lambda: len(self.client.received) == 20_000_000)

    def far(self) -> ConnectRequest:
        """Give the gateway's end of the only stream to the upstream."""
        (upstream,) = self.running.generation._sites.upstreams.values()
        assert isinstance(upstream, UpstreamPool)
        (pool,) = upstream.endpoints
        assert isinstance(pool, HTTP2Pool)
        (stream,) = pool._shared[0].streams.values()
        assert isinstance(stream, ConnectRequest)
        return stream

    async def test_half_close(self) -> None:
        """A client of HTTP/1.1 that sends no more still hears the rest."""
        await self.start()
        request = await self.upgraded()
        self.client.send(b"all of it")
        self.client.transport.loseWriteConnection()
        await until(lambda: request.ended)
        self.assertEqual(bytes(request.body), b"all of it")
        request.data(b"heard", True)
        self.assertEqual(await self.client.closed(), b"heard")
        self.assertTrue(self.client.ended_cleanly)
        await self.gone()

    async def test_upstream_ends(self) -> None:
        """The upstream's END_STREAM comes behind its last bytes."""
        await self.start()
        request = await self.upgraded()
        request.data(b"last words", True)
        self.assertEqual(await self.client.closed(), b"last words")
        self.assertTrue(self.client.ended_cleanly)
        await self.gone()

    async def test_resets(self) -> None:
        """An end that is reset resets the other; the connection to the upstream goes on."""
        await self.start()
        request = await self.upgraded()
        request.reset(ErrorCodes.CANCEL)
        await self.client.closed()
        self.assertFalse(self.client.ended_cleanly)
        await self.gone()
        stream, request = await self.connected()
        request.reset(ErrorCodes.INTERNAL_ERROR)
        self.assertEqual((await self.http2.answer(stream)).code, ErrorCodes.CANCEL)
        await self.gone()
        stream, request = await self.connected()
        self.http2.reset(stream)
        await until(lambda: request.was_reset == ErrorCodes.CANCEL)
        await self.gone()

    async def test_client_lost(self) -> None:
        """A client of HTTP/1.1 that resets its connection."""
        await self.start()
        request = await self.upgraded()
        self.client.transport.abortConnection()
        await until(lambda: request.was_reset == ErrorCodes.CANCEL)
        await self.gone()

    async def test_upstream_lost(self) -> None:
        """With the upstream's connection all of its tunnels end."""
        await self.start()
        await self.upgraded()
        stream, request = await self.connected()
        request.talk.transport.abortConnection()
        await self.client.closed()
        self.assertEqual((await self.http2.answer(stream)).code, ErrorCodes.CANCEL)
        await until(lambda: not self.metrics.connections and not self.counts.in_progress)

    async def test_trailers(self) -> None:
        """On a tunnel there is only data."""
        await self.start()
        stream, request = await self.connected()
        request.data(b"", trailers=[(b"x-a", b"b")])
        self.assertEqual((await self.http2.answer(stream)).code, ErrorCodes.CANCEL)
        await self.gone()

    async def test_goaway(self) -> None:
        """An upstream that goes away keeps the tunnels that it has; the next one is on another connection."""
        await self.start()
        stream, request = await self.connected()
        request.talk.go_away()
        # It may have been sent on the one that goes away, and is sent again then.
        await self.connected()
        self.assertIsNot(self.upstream.requests[-1].talk, request.talk)
        request.data(b"still here")
        await self.http2.heard(stream, b"still here")
        self.http2.reset(stream)
        await until(lambda: request.talk.reason is not None)

    async def test_silence(self) -> None:
        """Silence ends it, and nothing else does."""
        await self.start(rule=RouteRule(upgrade_idle_timeout=0.5), response_timeout=0.2, idle_timeout=0.2)
        seconds = self.running.generation._reactor.seconds
        before = seconds()
        request = await self.upgraded()
        await self.client.closed()
        self.assertGreater(seconds() - before, 0.4)
        self.assertTrue(self.client.ended_cleanly)
        await until(lambda: request.ended)
        await self.gone()

    async def test_reload(self) -> None:
        """A reload leaves it alone; what is left when draining is over is cut."""
        await self.start()
        request = await self.upgraded()
        before = self.running.generation
        self.running.reload(before.gateway)
        self.client.send(b"still here")
        await until(lambda: bytes(request.body) == b"still here")
        before.abort()
        await self.client.closed()
        await until(lambda: request.talk.reason is not None)

    async def test_limits(self) -> None:
        """A tunnel is a request under way."""
        await self.start(limits=UpstreamLimits(max_requests=1, max_pending=0))
        stream, request = await self.connected()
        self.assertEqual((await self.http2.get()).status, 503)
        self.http2.reset(stream)
        await until(lambda: request.was_reset is not None)
        self.assertEqual((await self.http2.get()).status, 200)

    async def test_sessions_and_health(self) -> None:
        """A 200 is a good answer, and takes the session's cookie along."""
        await self.start(
            session_persistence=SessionPersistence(session_name="sticky"),
            outlier_detection=OutlierDetection(consecutive_5xx=1),
        )
        self.client.send(asked())
        self.assertRegex((await self.head()).all("set-cookie")[0], "^sticky=")


class RefusalTests(UpstreamCase):
    """What does not become a tunnel."""

    async def test_not_offered(self) -> None:
        """An upstream that does not take extended CONNECT hears of no upgrade, least of all as another request."""
        await self.start(settings={})
        self.client.send(asked())
        self.assertEqual((await self.client.response()).status, 502)
        self.assertEqual((await self.http2.answer(self.http2.connect_to())).status, 502)
        self.assertEqual(self.upstream.requests, [])
        self.assertEqual((self.metrics.connections, self.metrics.idle, self.counts.in_progress), (1, 1, 0))
        self.assertEqual((await self.http2.get()).status, 200)

    async def test_other_methods(self) -> None:
        """Extended CONNECT cannot tell of POST."""
        await self.start(rule=RouteRule(upgrades=("SPDY/3.1",)))
        upgrade = b"%b / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\n\r\n"
        self.client.send(upgrade % b"POST")
        self.assertEqual((await self.client.response()).status, 502)
        self.assertEqual(self.upstream.requests, [])
        client = await connect(self, self.running.address())
        client.send(upgrade % b"GET")
        self.assertEqual((await self.head(client)).all("upgrade"), ["SPDY/3.1"])
        self.assertEqual(self.upstream.requests[0].all(b":protocol"), [b"SPDY/3.1"])

    async def test_answers(self) -> None:
        """The upstream's refusal goes to the client as it is."""
        await self.start(lambda request: request.answer(b"no", 403, (b"x-a", b"b")))
        self.client.send(asked())
        response = await self.client.response()
        self.assertEqual((response.status, response.body, response.all("x-a")), (403, b"no", ["b"]))
        found = await self.http2.answer(self.http2.connect_to())
        self.assertEqual((found.status, bytes(found.body), found.ended), (403, b"no", True))
        await self.gone()

    async def test_reset(self) -> None:
        """An upstream that resets it: 502; one that has not looked at it is asked again."""

        def change_of_mind(request: HTTP2Request) -> None:
            if len(self.upstream.requests) == 1:
                request.reset(ErrorCodes.REFUSED_STREAM)
            else:
                agree(request)

        await self.start(change_of_mind)
        await self.upgraded()
        self.assertEqual(len(self.upstream.requests), 2)
        self.upstream.on_head = lambda request: request.reset()
        self.assertEqual((await self.http2.answer(self.http2.connect_to())).status, 502)

    async def test_no_answer(self) -> None:
        """504, and the upstream hears that nobody waits any more."""
        await self.start(lambda request: None, response_timeout=0.1)
        self.client.send(asked())
        self.assertEqual((await self.client.response()).status, 504)
        await until(lambda: self.upstream.requests[0].was_reset is not None)
        await self.gone()

    async def test_given_up(self) -> None:
        """A client that gives up before the answer takes its request along."""
        await self.start(lambda request: None)
        stream = self.http2.connect_to()
        request = await self.upstream.request()
        self.http2.reset(stream)
        await until(lambda: request.was_reset is not None)
        await self.gone()

    async def test_retry(self) -> None:
        """A rule may have it tried again."""

        def busy(request: HTTP2Request) -> None:
            if len(self.upstream.requests) == 1:
                request.answer(b"", 503)
            else:
                agree(request)

        retry = Retry(codes=frozenset({503}), backoff=0.01)
        await self.start(busy, RouteRule(filters=Filters(retry=retry, timeouts=Timeouts(backend_request=5.0))))
        await self.upgraded()
        self.assertEqual(len(self.upstream.requests), 2)


class NegotiatedTests(UpstreamCase):
    """Where ALPN decides."""

    def context(self, choose: Any) -> tuple[Authority, SSL.Context]:
        pki = Authority()
        context = server_context(pki.issue(dns=["app.internal"], usages=SERVER))
        context.set_alpn_select_callback(choose)
        return pki, context

    async def test_http2(self) -> None:
        """An upstream that takes extended CONNECT is asked by it."""
        pki, context = self.context(lambda connection, offered: b"h2")
        self.upstream = start_http2_upstream(self, answer_others, context=context, settings=ALLOWED)
        self.upstream.on_head = agree
        model = secured(self.upstream.model, pki, hostname="app.internal")
        await self.serve(evolve(model, http_version=HTTPVersion.AUTO))
        request = await self.upgraded()
        self.assertEqual((request.all(b":method"), request.all(b":scheme")), ([b"CONNECT"], [b"https"]))

    async def test_not_offered(self) -> None:
        """One that does not, on a connection of HTTP/1.1; other requests stay on the one of HTTP/2."""
        offered: list[list[bytes]] = []

        def choose(connection: Any, protocols: list[bytes]) -> bytes:
            offered.append(protocols)
            return protocols[0]

        pki, context = self.context(choose)
        old = start_tls_upstream(self, context, agreed)
        new = start_http2_upstream(self, lambda request: request.answer(b"ok"), context=context)

        def build(address: object) -> Any:
            # As the handshake will decide: the first protocol of the client's, which is not known before.
            return _Either(new, old, offered)

        new.buildProtocol = build  # type: ignore[method-assign]
        model = secured(new.model, pki, hostname="app.internal")
        self.upstream = new
        await self.serve(evolve(model, http_version=HTTPVersion.AUTO, limits=UpstreamLimits(max_connections=2)))
        self.assertEqual(bytes((await self.http2.get()).body), b"ok")
        self.client.send(asked())
        self.assertEqual((await self.head()).status, 101)
        self.assertEqual(offered, [[b"h2", b"http/1.1"], [b"http/1.1"]])
        (request,) = old.requests
        self.assertEqual((request.line, request.all(b"upgrade")), (b"GET /chat HTTP/1.1", [b"websocket"]))
        old.on_data = lambda talk, data: talk.transport.write(data)
        self.client.send(b"echo")
        await self.client.heard(b"echo")
        self.assertEqual((self.metrics.connections, self.metrics.idle), (2, 1))
        self.assertEqual(bytes((await self.http2.get()).body), b"ok")
        self.assertEqual((len(new.requests), len(offered)), (2, 2))
        self.client.transport.loseConnection()
        await until(lambda: self.metrics.connections == 1)
        old.on_data = None
        stream = self.http2.connect_to("/chat")
        self.assertEqual((await self.http2.head(stream)).status, 200)
        self.http2.reset(stream)
        await until(lambda: self.metrics.connections == 1 and not self.counts.in_progress)

    async def test_http1(self) -> None:
        """One that speaks HTTP/1.1 only."""
        pki, context = self.context(lambda connection, offered: b"http/1.1")
        old = start_tls_upstream(self, context, agreed)
        model = secured(old.model, pki, hostname="app.internal")
        await self.serve(evolve(model, http_version=HTTPVersion.AUTO))
        self.client.send(asked())
        self.assertEqual((await self.head()).status, 101)


class _Either:
    """Speaks what the handshake has decided, once something comes."""

    def __init__(self, new: HTTP2Upstream, old: Any, offered: list[list[bytes]]) -> None:
        self._new = new
        self._old = old
        self._offered = offered

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        from .gateway import UpstreamTalk
        from .http2_upstreams import HTTP2Talk

        speaks_http2 = self._offered[-1][0] == b"h2"
        speaker: Any = HTTP2Talk(self._new) if speaks_http2 else UpstreamTalk(self._old)
        self.dataReceived = speaker.dataReceived  # type: ignore[method-assign]
        self.connectionLost = speaker.connectionLost  # type: ignore[method-assign]
        speaker.makeConnection(self.transport)
        speaker.dataReceived(data)

    def connectionLost(self, reason: Any) -> None:
        pass
