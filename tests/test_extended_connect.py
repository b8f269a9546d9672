"""WebSocket over HTTP/2, by extended CONNECT (RFC 8441): clients that ask for it, before upstreams of HTTP/1.1."""
from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from attrs import evolve
from h2.errors import ErrorCodes
from twisted.internet.defer import succeed
from twisted.trial.unittest import TestCase
from websockets.frames import Frame, Opcode

from edgegw.backend import BackendResponse
from edgegw.model import (
    BackendRef,
    BackendUse,
    ClientRequirement,
    ExternalAuth,
    Filters,
    FixedResponse,
    HeaderMatch,
    HeaderModifier,
    HealthCheck,
    HTTPSettings,
    Redirect,
    Retry,
    Route,
    RouteMatch,
    RouteRule,
    Timeouts,
    Upstream,
)
from edgegw.observe.metrics import RequestMetrics
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.wire.upgrades import Handshake

from .gateway import (
    RecordedRequest,
    RunningGateway,
    ScriptedUpstream,
    UpstreamTalk,
    answer,
    gateway,
    http_listener,
    start_gateway,
    start_upstream,
    until,
)
from .http2_client import HTTP2Client, connect_http2
from .test_upgrades import HalfOpen
from .test_websocket import Served

#: SETTINGS_ENABLE_CONNECT_PROTOCOL.
CONNECT_PROTOCOL = 8


def agreed(request: RecordedRequest, *lines: bytes) -> bytes:
    """Agree to a WebSocket handshake."""
    (key,) = request.all(b"sec-websocket-key")
    return b"\r\n".join([
        b"HTTP/1.1 101 Switching Protocols", b"upgrade: websocket", b"connection: upgrade",
        b"sec-websocket-accept: %b" % Handshake(b"websocket", key).accept, *lines, b"", b"",
    ])


def message(data: bytes) -> bytes:
    """Give a client's message."""
    return Frame(Opcode.BINARY, data).serialize(mask=True)


class ConnectCase(TestCase):
    """One gateway in front of one upstream, which agrees unless it is told otherwise."""

    running: RunningGateway
    upstream: ScriptedUpstream
    client: HTTP2Client

    async def start(
        self, rule: RouteRule | None = None, script: Any = agreed, http: HTTPSettings | None = None,
        health_check: HealthCheck | None = None, **options: Any,
    ) -> None:
        self.upstream = start_upstream(self, script, **options)
        await self.serve(self.upstream.model, rule, http=http or HTTPSettings(), health_check=health_check)

    async def serve(self, upstream: Any, rule: RouteRule | None = None, **options: Any) -> None:
        rule = evolve(rule or RouteRule(), backends=(BackendRef("upstream"),))
        listener = http_listener(**options)
        self.running = await start_gateway(self, gateway([listener], upstream, routes=[Route("all", rules=(rule,))]))
        self.client = await connect_http2(self, self.running.address())

    async def stop(self) -> None:
        """Make room for another gateway."""
        self.client.transport.loseConnection()
        await self.running.stop()

    async def opened(self, *fields: tuple[str, str]) -> tuple[int, UpstreamTalk]:
        """Open a tunnel; the upstream's connection records bytes from now on."""
        before = len(self.upstream.requests)
        stream = self.client.connect_to("/chat", *fields)
        self.assertEqual((await self.client.head(stream)).status, 200)
        talk = self.upstream.requests[before].talk
        talk.received.clear()
        self.upstream.on_data = lambda talk, data: None
        return stream, talk

    async def status(self, *fields: tuple[str, str], **options: Any) -> int:
        """Give the status that an extended CONNECT is answered with, which is to end the stream."""
        found = await self.client.answer(self.client.connect_to("/chat", *fields, **options))
        self.assertTrue(found.ended)
        return found.status

    def counts(self) -> RequestMetrics:
        return self.running.metrics.requests("plain", "all", "upstream")

    def near(self) -> HTTP2Connection:
        """Give the gateway's end of the client's connection."""
        (profile,) = self.running.generation._profiles.values()
        (transport,) = profile.transports
        assert isinstance(transport.protocol, HTTP2Connection)
        return transport.protocol

    async def gone(self) -> None:
        """Nothing is left of any tunnel, and the client's connection is as good as it was."""
        await until(lambda: not self.running.metrics.upstreams["upstream"].connections)
        await until(lambda: not self.near().streams)
        self.assertEqual((self.counts().in_progress, self.near().queued), (0, 0))
        self.assertIsNone(self.client.lost)


class TunnelTests(ConnectCase):
    """Once the upstream has agreed."""

    async def test_both_ways(self) -> None:
        """The upstream sees an upgrade of HTTP/1.1 with a key of the gateway's; the client 200, and nothing of that."""
        await self.start(script=lambda request: agreed(request, b"sec-websocket-protocol: chat"))
        self.assertEqual(self.client.h2.remote_settings[CONNECT_PROTOCOL], 1)
        stream, talk = await self.opened(("sec-websocket-protocol", "chat"), ("x-a", "b"))
        answered = self.client.answers[stream]
        self.assertEqual(answered.all("sec-websocket-protocol"), ["chat"])
        names = {name for name, _ in answered.fields}
        self.assertFalse(names & {"sec-websocket-accept", "upgrade", "connection", "content-length"})
        request = self.upstream.requests[0]
        self.assertEqual(request.line, b"GET /chat HTTP/1.1")
        self.assertEqual(
            [request.all(name) for name in (b"upgrade", b"connection", b"content-length", b"transfer-encoding", b"x-a",
                                            b"sec-websocket-version", b"x-forwarded-for")],
            [[b"websocket"], [b"upgrade"], [], [], [b"b"], [b"13"], [b"127.0.0.1"]],
        )
        self.client.send(stream, b"ping \x00\r\n\r\n")
        await until(lambda: bytes(talk.received) == b"ping \x00\r\n\r\n")
        talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await self.client.heard(stream, b"HTTP/1.1 200 OK\r\n\r\n")
        counts = self.counts()
        self.assertEqual((counts.in_progress, counts.request_bytes, counts.response_bytes), (1, 10, 19))
        self.assertEqual(counts.responses[1], 1)
        talk.transport.loseConnection()
        await self.client.answer(stream)
        self.client.send(stream, b"", end=True)
        await self.gone()

    async def test_library(self) -> None:
        """A server of WebSocket talks over it, with large messages both ways, on two streams at a time."""
        served = Served(self, compression=None)
        await self.serve(evolve(served.upstream(), name="upstream"))
        large = message(b"m" * 1_000_000)
        streams = [self.client.connect_to("/chat", ("sec-websocket-protocol", "chat")) for _ in range(2)]
        for stream in streams:
            self.assertEqual((await self.client.head(stream)).all("sec-websocket-protocol"), ["chat"])
        for stream in streams:
            self.client.send_all(stream, large)
        for stream in streams:
            # A head of ten bytes, without a mask.
            await until(lambda stream=stream: len(self.client.answers[stream].body) == 1_000_010)  # type: ignore[misc]
            self.client.send(stream, Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
            self.assertTrue((await self.client.answer(stream)).ended)
            self.client.reset(stream)
        await self.gone()

    async def test_before_the_answer(self) -> None:
        """What the client sends before the upstream has agreed waits, and is bounded by the stream's window."""
        await self.start(script=lambda request: None)
        stream = self.client.connect_to("/chat")
        left = self.client.upload(stream, 200_000, end=False)
        request = await self.upstream.request()
        await until(lambda: left() == 200_000 - 65_536)
        talk = request.talk
        size = len(talk.received)
        self.upstream.on_data = lambda talk, data: None
        talk.transport.write(agreed(request) + b"hello")
        await self.client.heard(stream, b"hello")
        await until(lambda: len(talk.received) == size + 200_000)

    async def test_end_in_the_head(self) -> None:
        """A client may say with its CONNECT that it sends nothing."""
        self.upstream = start_upstream(self, agreed)
        self.upstream.buildProtocol = lambda address: HalfOpen(self.upstream)  # type: ignore[method-assign]
        await self.serve(self.upstream.model)
        stream = self.client.connect_to("/chat", end=True)
        talk = (await self.upstream.request()).talk
        assert isinstance(talk, HalfOpen)
        await until(lambda: talk.ended)
        talk.transport.write(b"heard")
        talk.transport.loseConnection()
        found = await self.client.answer(stream)
        self.assertEqual((found.status, bytes(found.body), found.ended), (200, b"heard", True))
        await self.gone()

    async def test_slow_upstream(self) -> None:
        """A client is made as slow as an upstream that does not read; another stream goes on meanwhile."""
        await self.start()
        stream, talk = await self.opened()
        talk.transport.pauseProducing()
        left = self.client.upload(stream, 30_000_000, end=False)
        (near,) = self.near().streams.values()
        await until(lambda: near._paused)
        self.upstream.on_data = None
        other, fast = await self.opened()
        for number in range(10):
            self.client.send(other, b"%d" % number)
            await until(lambda number=number: fast.received.endswith(b"%d" % number))  # type: ignore[misc]
        self.assertGreater(left(), 10_000_000)
        talk.transport.resumeProducing()
        self.client.reset(stream)
        await talk.lost

    async def test_slow_client(self) -> None:
        """An upstream is made as slow as a client that does not read one stream; the others go on."""
        await self.start()
        slow, talk = await self.opened()
        self.client.reads = lambda stream: stream != slow
        self.client.h2.increment_flow_control_window(1 << 20)
        self.client.flush()
        data = b"x" * 5_000_000
        talk.transport.write(data)
        (near,) = self.near().streams.values()
        await until(lambda: near._producer is not None)
        self.assertLess(near._queued, 600_000)
        self.upstream.on_data = None
        other, fast = await self.opened()
        fast.transport.write(data)
        await until(lambda: len(self.client.answers[other].body) == len(data))
        self.assertEqual(len(self.client.answers[slow].body), 65_535)
        self.client.reads = lambda stream: True
        self.client.read(slow)
        self.client.flush()
        await until(lambda: len(self.client.answers[slow].body) == len(data))

    async def test_half_close(self) -> None:
        """END_STREAM ends one direction only."""
        self.upstream = start_upstream(self, agreed)
        self.upstream.buildProtocol = lambda address: HalfOpen(self.upstream)  # type: ignore[method-assign]
        await self.serve(self.upstream.model)
        stream, talk = await self.opened()
        assert isinstance(talk, HalfOpen)
        self.client.send(stream, b"all of it", end=True)
        await until(lambda: talk.received == b"all of it" and talk.ended)
        talk.transport.write(b"heard")
        talk.transport.loseConnection()
        found = await self.client.answer(stream)
        self.assertEqual((bytes(found.body), found.ended, found.code), (b"heard", True, None))
        await self.gone()

    async def test_upstream_closes(self) -> None:
        """The upstream's end comes behind its last bytes; the client may still answer."""
        await self.start()
        stream, talk = await self.opened()
        talk.transport.write(b"last words")
        talk.transport.loseConnection()
        found = await self.client.answer(stream)
        self.assertEqual((bytes(found.body), found.ended, found.code), (b"last words", True, None))
        self.client.send(stream, b"", end=True)
        await self.gone()

    async def test_resets(self) -> None:
        """An end that is reset resets the other, and the connection goes on."""
        await self.start()
        stream, talk = await self.opened()
        talk.transport.abortConnection()
        found = await self.client.answer(stream)
        self.assertEqual((found.ended, found.code), (False, ErrorCodes.CANCEL))
        await self.gone()
        self.upstream.on_data = None
        stream, talk = await self.opened()
        self.client.reset(stream)
        await talk.lost
        await self.gone()
        self.upstream.on_data = None
        await self.opened()

    async def test_connection_lost(self) -> None:
        """With the client's connection all of its tunnels end."""
        await self.start()
        first = await self.opened()
        self.upstream.on_data = None
        second = await self.opened()
        self.client.transport.abortConnection()
        await first[1].lost
        await second[1].lost
        await self.running.idle()
        self.assertEqual(self.counts().in_progress, 0)

    async def test_trailers(self) -> None:
        """On a tunnel there is only data."""
        await self.start()
        stream, talk = await self.opened()
        self.client.send_trailers(stream, ("x-a", "b"))
        self.assertEqual((await self.client.answer(stream)).code, ErrorCodes.PROTOCOL_ERROR)
        await talk.lost
        await self.gone()

    async def test_silence(self) -> None:
        """Silence ends it, whatever the other time-outs are; the connection goes on."""
        http = HTTPSettings(body_idle_timeout=0.1, write_timeout=0.1, upgrade_idle_timeout=60.0)
        rule = RouteRule(filters=Filters(timeouts=Timeouts(0.2, 0.2)), upgrade_idle_timeout=0.5)
        await self.start(rule, http=http, response_timeout=0.2, idle_timeout=0.2)
        seconds = self.running.generation._reactor.seconds
        before = seconds()
        stream, talk = await self.opened()
        found = await self.client.answer(stream)
        self.assertGreater(seconds() - before, 0.4)
        self.assertTrue(found.ended)
        await talk.lost
        await self.gone()

    async def test_silence_of_one_that_takes_nothing(self) -> None:
        """What a client leaves in the gateway for so long is given up."""
        await self.start(RouteRule(upgrade_idle_timeout=0.2))
        self.client.reads = lambda stream: False
        stream, talk = await self.opened()
        talk.transport.write(b"x" * 1_000_000)
        self.assertEqual((await self.client.answer(stream)).code, ErrorCodes.CANCEL)
        await talk.lost
        await self.gone()

    async def test_reload(self) -> None:
        """A reload leaves tunnels alone but for GOAWAY; what is left when draining is over is cut."""
        await self.start()
        stream, talk = await self.opened()
        before = self.running.generation
        self.running.reload(before.gateway)
        await until(lambda: bool(self.client.goaways))
        self.client.send(stream, b"still here")
        await until(lambda: bytes(talk.received) == b"still here")
        talk.transport.write(b"so am I")
        await self.client.heard(stream, b"so am I")
        before.abort()
        await self.client.closed()
        await talk.lost

    async def test_drained(self) -> None:
        """The connection closes with its last tunnel."""
        await self.start()
        stream, talk = await self.opened()
        self.running.reload(self.running.generation.gateway)
        await until(lambda: len(self.client.goaways) == 2)
        talk.transport.loseConnection()
        await self.client.answer(stream)
        self.client.send(stream, b"", end=True)
        await self.client.closed()


class RefusalTests(ConnectCase):
    """What does not become a tunnel."""

    async def test_malformed(self) -> None:
        """Half an extended CONNECT is none, and plain CONNECT stays refused; the connection goes on."""
        await self.start()
        for options in ({"path": ""}, {"scheme": ""}):
            found = await self.client.answer(self.client.connect_to(**options))  # type: ignore[arg-type]
            self.assertEqual(found.code, ErrorCodes.PROTOCOL_ERROR, options)
        found = await self.client.get("/", (":protocol", "websocket"))
        self.assertEqual(found.code, ErrorCodes.PROTOCOL_ERROR)
        self.assertEqual((await self.client.get(method="CONNECT", host="a.example:80")).status, 405)
        self.assertEqual(self.upstream.requests, [])

    async def test_not_in_order(self) -> None:
        """A handshake that is not in order goes nowhere."""
        await self.start()
        found = await self.client.answer(self.client.connect_to("/chat", ("sec-websocket-version", "777")))
        self.assertEqual((found.status, found.all("sec-websocket-version"), found.all("upgrade")), (400, ["13"], []))
        self.assertEqual(await self.status(("content-length", "3")), 400)
        self.assertEqual(self.upstream.requests, [])

    async def test_key_of_the_clients(self) -> None:
        """A key that the client has sent is not the upstream's to answer."""
        await self.start()
        await self.opened(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="))
        self.assertNotEqual(self.upstream.requests[0].all(b"sec-websocket-key"), [b"dGhlIHNhbXBsZSBub25jZQ=="])

    async def test_other_protocols(self) -> None:
        """Whatever is not let through gets 501, and never becomes a request of another kind."""
        await self.start()
        self.assertEqual(await self.status(protocol="connect-udp"), 501)
        # What gRPC is told of a failure is a success to whoever asks for a tunnel.
        self.assertEqual(await self.status(("content-type", "application/grpc"), protocol="connect-udp"), 501)
        self.assertEqual(self.upstream.requests, [])

    async def test_trailers(self) -> None:
        """What comes behind a refusal does not matter, and ends the stream in order."""
        await self.start()
        stream = self.client.connect_to("/chat", protocol="connect-udp")
        self.assertEqual((await self.client.answer(stream)).status, 501)
        self.client.send_trailers(stream, ("x-a", "b"))
        await until(lambda: not self.near().streams)
        self.assertEqual(self.running.metrics.listener("plain").http2_resets, {})

    async def test_others_that_are_let_through(self) -> None:
        """A listener may let others through."""
        reply = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\n\r\nhello"
        await self.start(http=HTTPSettings(upgrades=("SPDY/3.1",)), script=reply)
        stream = self.client.connect_to("/chat", protocol="spdy/3.1")
        await self.client.heard(stream, b"hello")
        self.assertEqual(self.client.answers[stream].status, 200)
        request = self.upstream.requests[0]
        self.assertEqual((request.all(b"upgrade"), request.all(b"sec-websocket-key")), ([b"SPDY/3.1"], []))

    async def test_none_at_all(self) -> None:
        """Where no rule lets any through it is not announced, and using it all the same is malformed."""
        await self.start(http=HTTPSettings(upgrades=()))
        self.assertEqual(self.client.h2.remote_settings[CONNECT_PROTOCOL], 0)
        found = await self.client.answer(self.client.connect_to("/chat"))
        self.assertEqual(found.code, ErrorCodes.PROTOCOL_ERROR)

    async def test_answers(self) -> None:
        """The upstream's refusal goes to the client as it is; what is no answer to the handshake is 502."""
        replies = {
            answer(b"no", b"403 Forbidden"): 403,
            answer(b"moved", b"302 Found", b"location: /other\r\n"): 302,
            answer(b"a page"): 502,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n": 502,
            answer(b"", b"204 No Content"): 502,
            b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n": 502,
            b"HTTP/1.1 101 Switching\r\nupgrade: other\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n": 502,
        }
        await self.start()
        for reply, status in replies.items():
            self.upstream.script = reply
            stream = self.client.connect_to("/chat")
            found = await self.client.answer(stream)
            self.assertEqual((found.status, found.ended), (status, True), reply)
            if status == 403:
                self.assertEqual(bytes(found.body), b"no")
        counts = self.counts()
        self.assertEqual((counts.in_progress, counts.responses[5], counts.responses[2]), (0, 5, 0))
        self.assertEqual((await self.client.get()).status, 502)

    async def test_unreachable(self) -> None:
        """No upstream: 503."""
        await self.start()
        await self.upstream.stop()
        self.assertEqual(await self.status(), 503)

    async def test_given_up(self) -> None:
        """A client that gives up before the answer takes its request along."""
        await self.start(script=lambda request: None)
        stream = self.client.connect_to("/chat")
        talk = (await self.upstream.request()).talk
        self.client.reset(stream)
        await talk.lost
        await self.gone()


class RuleTests(ConnectCase):
    """It is a request as the upgrade over HTTP/1.1 is: all that rules do with requests is done with it."""

    async def test_matches(self) -> None:
        """Rules see GET, and the headers of an upgrade."""
        match = RouteMatch(method="GET", headers=(HeaderMatch("upgrade", "websocket"),))
        await self.start(RouteRule((match,)))
        await self.opened()
        self.assertEqual((await self.client.get()).status, 404)

    async def test_demands(self) -> None:
        """Who is refused by a rule gets 403, and the upstream hears nothing."""
        await self.start(RouteRule(client=ClientRequirement.VERIFIED))
        self.assertEqual(await self.status(), 403)
        self.assertEqual(self.upstream.requests, [])

    async def test_headers(self) -> None:
        """Changes to headers hold for the request and for the 200."""
        filters = Filters(
            request_headers=HeaderModifier(set=(("x-edge", "1"),)),
            response_headers=HeaderModifier(set=(("x-seen", "2"),)),
        )
        await self.start(RouteRule(filters=filters))
        stream, talk = await self.opened()
        self.assertEqual(self.client.answers[stream].all("x-seen"), ["2"])
        self.assertEqual(self.upstream.requests[0].all(b"x-edge"), [b"1"])
        talk.transport.write(b"hello")
        await self.client.heard(stream, b"hello")
        self.client.reset(stream)
        await talk.lost
        await self.gone()

    async def test_service_that_decides(self) -> None:
        """What the client sends while a service is asked is not lost."""
        asked = start_upstream(self, lambda request: None, "auth")
        rule = RouteRule(filters=Filters(external_auth=ExternalAuth(f"http://127.0.0.1:{asked.port}/")))
        await self.start(rule)
        stream = self.client.connect_to("/chat")
        self.client.send(stream, b"early")
        (await asked.request()).talk.transport.write(answer())
        self.assertEqual((await self.client.head(stream)).status, 200)
        await until(lambda: self.upstream.talks[0].received.endswith(b"early"))

    async def test_answers_of_the_rule(self) -> None:
        """A redirect is a redirect; what would be a success is none of the protocol: 501."""
        await self.start(RouteRule(filters=Filters(redirect=Redirect(hostname="b.example"))))
        self.assertEqual(await self.status(), 302)
        await self.stop()
        await self.start(RouteRule(filters=Filters(fixed_response=FixedResponse(200, (), b"a page"))))
        self.assertEqual(await self.status(), 501)
        await self.stop()
        await self.start(health_check=HealthCheck("/chat", (ip_network("127.0.0.0/8"),)))
        self.assertEqual(await self.status(), 501)

    async def test_time(self) -> None:
        """The rule's time is over before the upstream has answered: 504."""
        await self.start(RouteRule(filters=Filters(timeouts=Timeouts(request=0.1))), script=lambda request: None)
        self.assertEqual(await self.status(), 504)
        await self.gone()

    async def test_retry(self) -> None:
        """A handshake may be tried again."""
        replies: list[Any] = [lambda request: answer(b"", b"503 Busy"), agreed]
        rule = RouteRule(filters=Filters(retry=Retry(codes=frozenset({503}), backoff=0.01)))
        await self.start(rule, script=lambda request: replies.pop(0)(request))
        stream = self.client.connect_to("/chat")
        self.assertEqual((await self.client.head(stream)).status, 200)
        self.assertEqual(self.running.metrics.upstreams["upstream"].retries, 1)

    async def test_plugin_backend(self) -> None:
        """What a backend that is a plugin answers is no tunnel."""
        class Kind:
            name = "told"

        class Backend:
            def answer(self, request: Any) -> Any:
                return succeed(BackendResponse(200, {}, b"a page"))

        await self.serve(Upstream("upstream", (), backend=BackendUse(Kind(), Backend())))
        self.assertEqual(await self.status(), 502)
