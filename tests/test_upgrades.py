"""Upgrades through a gateway: what is let through, what is refused, and what becomes of the bytes."""
from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from edgegw.backend import BackendResponse
from edgegw.model import (
    BackendRef,
    BackendUse,
    ClientRequirement,
    Filters,
    HeaderModifier,
    HTTPSettings,
    Mirror,
    OutlierDetection,
    Redirect,
    Retry,
    Route,
    RouteRule,
    SessionPersistence,
    Timeouts,
    Upstream,
    UpstreamLimits,
)
from edgegw.observe.metrics import RequestMetrics
from edgegw.proxy.upgraded_tunnel import UpgradedTunnel

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
from .raw_client import Client, Response, connect
from .test_wire_upgrades import ACCEPT, KEY

AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: chat\r\n\r\n" % ACCEPT
)


def asked(*lines: bytes, method: bytes = b"GET", path: bytes = b"/chat", version: bytes = b"13") -> bytes:
    """Give a WebSocket handshake."""
    return b"\r\n".join([
        b"%b %b HTTP/1.1" % (method, path), b"host: a.example", b"connection: keep-alive, Upgrade",
        b"upgrade: websocket", b"sec-websocket-version: %b" % version, b"sec-websocket-key: %b" % KEY, *lines, b"", b"",
    ])


@implementer(IHalfCloseableProtocol)
class HalfOpen(UpstreamTalk):
    """An upstream's end that goes on when the gateway sends no more.

    :ivar ended: whether that is so.
    """

    ended = False

    def readConnectionLost(self) -> None:
        self.ended = True

    def writeConnectionLost(self) -> None:
        pass


class UpgradeCase(TestCase):
    """One gateway in front of one upstream, which agrees unless it is told otherwise."""

    running: RunningGateway
    upstream: ScriptedUpstream
    client: Client

    async def start(
        self, rule: RouteRule | None = None, script: Any = AGREED, http: HTTPSettings | None = None, **options: Any
    ) -> None:
        self.upstream = start_upstream(self, script, **options)
        rule = evolve(rule or RouteRule(), backends=(BackendRef("upstream"),))
        listener = http_listener(http=http or HTTPSettings())
        model = gateway([listener], self.upstream, routes=[Route("all", rules=(rule,))])
        self.running = await start_gateway(self, model)
        self.client = await connect(self, self.running.address())

    async def head(self, client: Client | None = None) -> Response:
        """Give the head of a 101, and leave what follows."""
        client = client or self.client
        await until(lambda: b"\r\n\r\n" in client.received or client.reason is not None)
        head, _, rest = client.received.partition(b"\r\n\r\n")
        client.received = head + b"\r\n\r\n"
        response = await client.response()
        client.received = rest
        return response

    async def upgraded(self, *lines: bytes) -> UpstreamTalk:
        """Have the upstream agree; gives its connection, which records bytes from now on."""
        self.client.send(asked(*lines))
        self.assertEqual((await self.head()).status, 101)
        talk = self.upstream.talks[-1]
        talk.received.clear()
        self.upstream.on_data = lambda talk, data: None
        return talk

    def counts(self, upstream: str = "upstream") -> RequestMetrics:
        return self.running.metrics.requests("plain", "all", upstream)

    async def gone(self) -> None:
        """Nothing is left of it, at either end or in the gauges."""
        await self.running.idle()
        await until(lambda: not self.running.metrics.upstreams["upstream"].connections)
        self.assertEqual(self.counts().in_progress, 0)


class TunnelTests(UpgradeCase):
    """Once both have agreed."""

    async def test_both_ways(self) -> None:
        """Bytes go both ways; hop-by-hop headers are the gateway's own, everything else goes on."""
        await self.start()
        self.client.send(asked(b"sec-websocket-protocol: chat", b"http2-settings: AAAA", b"x-a: b"))
        response = await self.head()
        self.assertEqual((response.status, response.all("upgrade"), response.all("connection")),
                         (101, ["websocket"], ["upgrade"]))
        self.assertEqual(response.all("sec-websocket-accept"), [ACCEPT.decode()])
        self.assertEqual(response.all("sec-websocket-protocol"), ["chat"])
        request = await self.upstream.request()
        self.assertEqual(
            [request.all(name) for name in (b"upgrade", b"connection", b"http2-settings", b"content-length", b"x-a",
                                            b"sec-websocket-key", b"x-forwarded-for")],
            [[b"websocket"], [b"upgrade"], [], [], [b"b"], [KEY], [b"127.0.0.1"]],
        )
        talk = request.talk
        talk.received.clear()
        self.upstream.on_data = lambda talk, data: None
        self.client.send(b"ping \x00\r\n\r\n")
        await until(lambda: bytes(talk.received) == b"ping \x00\r\n\r\n")
        talk.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await self.client.heard(b"HTTP/1.1 200 OK\r\n\r\n")
        counts = self.counts()
        self.assertEqual((counts.in_progress, counts.request_bytes, counts.response_bytes), (1, 10, 19))
        self.assertEqual(counts.responses[1], 1)
        self.client.transport.loseConnection()
        await talk.lost
        await self.gone()

    async def test_with_the_heads(self) -> None:
        """What came behind the heads, on either side, is not lost."""
        await self.start(script=AGREED + b"first of the upstream")
        self.client.send(asked() + b"first of the client")
        self.assertEqual((await self.head()).status, 101)
        await self.client.heard(b"first of the upstream")
        await until(lambda: self.upstream.talks[0].received.endswith(b"\r\n\r\nfirst of the client"))
        self.assertEqual(self.counts().request_bytes, 19)

    async def test_before_the_answer(self) -> None:
        """Before the 101 the upstream gets no byte, and the gateway takes a bounded number."""
        await self.start(script=lambda request: None)
        self.client.send(asked())
        request = await self.upstream.request()
        size = len(request.talk.received)
        data = b"early" * 1_000_000
        self.client.send(data)
        (transport,) = next(iter(self.running.generation._profiles.values())).transports
        await until(lambda: len(transport.protocol._buffer) > 65_536)
        self.assertLess(len(transport.protocol._buffer), 65_536 + transport.LARGEST_READ)
        self.assertEqual(len(request.talk.received), size)
        request.talk.transport.write(AGREED)
        await until(lambda: len(request.talk.received) == size + len(data))
        self.assertEqual(bytes(request.talk.received[size:]), data)

    async def test_slow_upstream(self) -> None:
        """A client is made as slow as an upstream that does not read."""
        await self.start()
        talk = await self.upgraded()
        talk.transport.pauseProducing()
        data = b"x" * 12_000_000
        self.client.send(data)
        far = self.tunnel()._far
        await until(lambda: far.producerPaused)
        self.assertLess(far.unsent, 65_536 + 2 * far.LARGEST_READ)
        talk.transport.resumeProducing()
        await until(lambda: len(talk.received) == len(data))

    async def test_slow_client(self) -> None:
        """And an upstream as slow as a client."""
        await self.start()
        talk = await self.upgraded()
        self.client.transport.pauseProducing()
        data = b"x" * 12_000_000
        talk.transport.write(data)
        near = self.tunnel().transport
        await until(lambda: near.producerPaused)
        self.assertLess(near.unsent, 65_536 + 2 * near.LARGEST_READ)
        self.client.transport.resumeProducing()
        await until(lambda: self.client.total >= len(data))
        self.assertEqual(self.client.received[-10:], b"x" * 10)

    def tunnel(self) -> UpgradedTunnel:
        (transport,) = next(iter(self.running.generation._profiles.values())).transports
        assert isinstance(transport.protocol, UpgradedTunnel)
        return transport.protocol

    async def test_upstream_closes(self) -> None:
        """The upstream's end comes behind its last bytes."""
        await self.start()
        talk = await self.upgraded()
        talk.transport.write(b"last words")
        talk.transport.loseConnection()
        self.assertEqual(await self.client.closed(), b"last words")
        self.assertTrue(self.client.ended_cleanly)
        await self.gone()

    async def test_half_close(self) -> None:
        """A client that sends no more still hears the rest."""
        await self.start()
        self.half_open()
        talk = await self.upgraded()
        self.client.send(b"all of it")
        self.client.transport.loseWriteConnection()
        await self.heard_to_the_end(talk)

    async def test_early_half_close(self) -> None:
        """Also where it has ended before the 101."""
        await self.start(script=lambda request: None)
        self.half_open()
        self.client.send(asked() + b"all of it")
        self.client.transport.loseWriteConnection()
        talk = (await self.upstream.request()).talk
        talk.transport.write(AGREED)
        self.assertEqual((await self.head()).status, 101)
        await self.heard_to_the_end(talk)

    def half_open(self) -> None:
        self.upstream.buildProtocol = lambda address: HalfOpen(self.upstream)  # type: ignore[method-assign]

    async def heard_to_the_end(self, talk: UpstreamTalk) -> None:
        assert isinstance(talk, HalfOpen)
        await until(lambda: talk.received.endswith(b"all of it") and talk.ended)
        talk.transport.write(b"heard")
        talk.transport.loseConnection()
        self.assertEqual(await self.client.closed(), b"heard")
        await self.gone()

    async def test_resets(self) -> None:
        """An end that is reset resets the other."""
        await self.start()
        talk = await self.upgraded()
        talk.transport.abortConnection()
        await self.client.closed()
        self.assertFalse(self.client.ended_cleanly)
        await self.gone()

    async def test_client_resets(self) -> None:
        """In the other direction."""
        await self.start()
        talk = await self.upgraded()
        self.client.transport.abortConnection()
        await talk.lost
        await self.gone()

    async def test_silence(self) -> None:
        """Whatever the other time-outs are, silence alone ends it; the rule says how long that may be."""
        http = HTTPSettings(keep_alive_timeout=0.1, body_idle_timeout=0.1, write_timeout=0.1, upgrade_idle_timeout=60.0)
        rule = RouteRule(filters=Filters(timeouts=Timeouts(0.4, 0.4)), upgrade_idle_timeout=1.5)
        await self.start(rule, http=http, response_timeout=0.3, idle_timeout=0.3)
        before = self.running.generation._reactor.seconds()
        await self.upgraded()
        await self.client.closed()
        self.assertGreater(self.running.generation._reactor.seconds() - before, 1.4)
        self.assertTrue(self.client.ended_cleanly)
        await self.gone()

    async def test_reload(self) -> None:
        """A reload leaves it alone; what is left when draining is over is cut."""
        await self.start()
        talk = await self.upgraded()
        before = self.running.generation
        self.running.reload(self.running.generation.gateway)
        self.client.send(b"still here")
        await until(lambda: bytes(talk.received) == b"still here")
        before.abort()
        await self.client.closed()
        await talk.lost
        await self.gone()

    async def test_switched_while_draining(self) -> None:
        """A handshake that was under way at the reload comes to its end as well."""
        await self.start(script=lambda request: None)
        self.client.send(asked())
        request = await self.upstream.request()
        self.running.reload(self.running.generation.gateway)
        request.talk.transport.write(AGREED + b"hello")
        self.assertEqual((await self.head()).status, 101)
        await self.client.heard(b"hello")

    async def test_never_used_again(self) -> None:
        """The upstream's connection counts against its limits, and carries no other request."""
        await self.start(limits=UpstreamLimits(max_requests=1, max_pending=0))
        talk = await self.upgraded()
        self.upstream.on_data = None
        other = await connect(self, self.running.address())
        other.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.assertEqual((await other.response()).status, 503)
        self.client.transport.loseConnection()
        await talk.lost
        await until(lambda: not self.running.metrics.upstreams["upstream"].connections)
        self.upstream.script = answer(b"ok")
        other.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.assertEqual((await other.response()).body, b"ok")
        self.assertEqual(len(self.upstream.talks), 2)

    async def test_on_a_used_connection(self) -> None:
        """A kept connection, at either end, can be upgraded; one that has closed meanwhile is replaced."""
        await self.start(script=answer(b"ok"))
        self.client.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.assertEqual((await self.client.response()).body, b"ok")

        def script(request: RecordedRequest) -> bytes | None:
            if request.talk is self.upstream.talks[0]:
                request.talk.transport.loseConnection()
                return None
            return AGREED

        self.upstream.script = script
        talk = await self.upgraded()
        self.assertEqual(len(self.upstream.talks), 2)
        talk.transport.write(b"hello")
        await self.client.heard(b"hello")


class RefusalTests(UpgradeCase):
    """What does not become a tunnel."""

    async def test_not_in_order(self) -> None:
        """A handshake that is not in order goes nowhere, and nothing behind it is believed."""
        await self.start()
        for data, status in (
            (asked(version=b"777"), 426),
            (asked(b"upgrade: h2c"), 400),
            (asked(b"upgrade: websocket"), 400),
            (asked(method=b"POST"), 400),
            (asked(b"content-length: 3") + b"abc", 400),
            (asked(b"transfer-encoding: chunked") + b"0\r\n\r\n", 400),
            (asked(b"sec-websocket-key: %b" % KEY), 400),
        ):
            client = await connect(self, self.running.address())
            client.send(data + b"GET /smuggled HTTP/1.1\r\nhost: a.example\r\n\r\n")
            response = await client.response()
            self.assertEqual((response.status, response.all("connection")[-1]), (status, "close"), data)
            if status == 426:
                self.assertEqual(response.all("sec-websocket-version"), ["13"])
                self.assertEqual(response.all("upgrade"), ["websocket"])
            self.assertEqual(await client.closed(), b"")
        self.assertEqual(self.upstream.requests, [])

    async def test_upstream_does_not_agree(self) -> None:
        """Its answer goes to the client as it is, and what the client has sent meanwhile is no request."""
        await self.start(script=answer(b"who are you?", b"401 Unauthorized", b"www-authenticate: Basic\r\n"))
        self.client.send(asked() + b"GET /smuggled HTTP/1.1\r\nhost: a.example\r\n\r\n")
        response = await self.client.response()
        self.assertEqual((response.status, response.body), (401, b"who are you?"))
        self.assertEqual((response.all("www-authenticate"), response.all("connection")), (["Basic"], ["close"]))
        self.assertEqual(await self.client.closed(), b"")
        self.assertEqual(len(self.upstream.requests), 1)
        self.assertEqual((self.counts().in_progress, self.counts().responses[4]), (0, 1))

    async def test_200(self) -> None:
        """Not even a success is a tunnel: the upstream goes on to speak HTTP."""
        await self.start(script=answer(b"a page"))
        self.client.send(asked())
        self.assertEqual((await self.client.response()).body, b"a page")
        self.client.send(b"GET /smuggled HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.assertEqual(await self.client.closed(), b"")
        self.assertEqual(len(self.upstream.requests), 1)

    async def test_bad_101(self) -> None:
        """A 101 that answers something else is 502."""
        await self.start()
        for reply in (
            AGREED.replace(b"websocket\r\n", b"h2c\r\n"),
            AGREED.replace(ACCEPT, b"c3BvaWxlZA=="),
            AGREED.replace(b"Connection: Upgrade\r\n", b""),
            AGREED.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ):
            self.upstream.script = reply
            client = await connect(self, self.running.address())
            client.send(asked())
            self.assertEqual((await client.response()).status, 502, reply)
            await self.upstream.talks[-1].lost
        self.assertEqual(self.running.metrics.upstreams["upstream"].response_failures["bad_response"], 4)
        self.assertEqual(self.counts().in_progress, 0)

    async def test_101_for_no_handshake(self) -> None:
        """Nor may it answer a request that asked for nothing, on a connection that has carried a handshake."""
        await self.start(script=answer(b"no"))
        self.client.send(asked())
        await self.client.response()
        self.upstream.script = AGREED
        client = await connect(self, self.running.address())
        client.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.assertEqual((await client.response()).status, 502)
        self.assertEqual(len(self.upstream.talks), 1)

    async def test_upstream_closes(self) -> None:
        """502 where it closes without an answer, 503 where there is nobody, 504 where it says nothing."""

        def closes(request: RecordedRequest) -> None:
            request.talk.transport.loseConnection()

        await self.start(script=closes, response_timeout=0.3)
        self.client.send(asked() + b"early")
        self.assertEqual((await self.client.response()).status, 502)
        await self.client.closed()
        self.upstream.script = lambda request: b"HTTP/1.1 101 Swi"
        client = await connect(self, self.running.address())
        client.send(asked())
        self.assertEqual((await client.response()).status, 504)
        await self.upstream.stop()
        client = await connect(self, self.running.address())
        client.send(asked())
        self.assertEqual((await client.response()).status, 503)
        await self.gone()

    async def test_client_leaves(self) -> None:
        """A client that leaves before the answer takes the upstream's connection with it."""
        await self.start(script=lambda request: None)
        self.client.send(asked())
        request = await self.upstream.request()
        self.client.transport.abortConnection()
        await request.talk.lost
        await self.gone()

    async def test_not_let_through(self) -> None:
        """What is not let through is a request like any other, without its Upgrade, and the connection goes on."""
        await self.start(script=answer(b"ok"))
        h2c = (
            b"GET /%d HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
            b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
        )
        self.client.send(h2c % 1 + h2c % 2)
        self.client.send(asked(path=b"/3").replace(b", Upgrade", b""))
        for number in (1, 2, 3):
            self.assertEqual((await self.client.response()).body, b"ok")
            request = await self.upstream.request(number)
            self.assertEqual(request.line, b"GET /%d HTTP/1.1" % number)
            for name in (b"upgrade", b"connection", b"http2-settings"):
                self.assertEqual(request.all(name), [], name)

    async def test_configured(self) -> None:
        """A rule may let none through."""
        await self.start(RouteRule(upgrades=()), script=answer(b"ok"))
        self.client.send(asked(b"sec-websocket-version: 777") * 2)
        for _ in range(2):
            self.assertEqual((await self.client.response()).body, b"ok")

    async def test_others(self) -> None:
        """A listener says which others its rules let through."""
        agreed = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: SPDY/3.1\r\n\r\nhello"
        await self.start(http=HTTPSettings(upgrades=("SPDY/3.1",)), script=agreed)
        self.client.send(b"POST /exec HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: spdy/3.1\r\n\r\n")
        response = await self.head()
        self.assertEqual((response.status, response.all("upgrade")), (101, ["SPDY/3.1"]))
        await self.client.heard(b"hello")


class RuleTests(UpgradeCase):
    """A handshake is a request: all that rules do with requests is done with it."""

    async def test_demands(self) -> None:
        """Who is refused by a rule gets 403, and the upstream hears nothing."""
        await self.start(RouteRule(client=ClientRequirement.VERIFIED))
        self.client.send(asked())
        self.assertEqual((await self.client.response()).status, 403)
        self.assertEqual(self.upstream.requests, [])

    async def test_headers(self) -> None:
        """Changes to headers hold for the request and the 101; mirrors get no copy."""
        filters = Filters(
            request_headers=HeaderModifier(set=(("x-edge", "1"),)),
            response_headers=HeaderModifier(set=(("x-seen", "2"),), remove=("sec-websocket-protocol",)),
            mirrors=(Mirror("upstream"),),
        )
        await self.start(RouteRule(filters=filters))
        self.client.send(asked())
        response = await self.head()
        self.assertEqual((response.status, response.all("x-seen"), response.all("sec-websocket-protocol")),
                         (101, ["2"], []))
        self.assertEqual((response.all("upgrade"), response.all("connection")), (["websocket"], ["upgrade"]))
        request = await self.upstream.request()
        self.assertEqual((request.all(b"x-edge"), request.all(b"upgrade")), ([b"1"], [b"websocket"]))
        request.talk.transport.write(b"hello")
        await self.client.heard(b"hello")
        self.assertEqual(len(self.upstream.requests), 1)
        self.client.transport.loseConnection()
        await self.gone()

    async def test_answers_of_the_rule(self) -> None:
        """A redirect answers a handshake too."""
        await self.start(RouteRule(filters=Filters(redirect=Redirect(hostname="b.example"))))
        self.client.send(asked())
        self.assertEqual((await self.client.response()).status, 302)

    async def test_time(self) -> None:
        """The rule's time is over before the upstream has answered: 504."""
        await self.start(RouteRule(filters=Filters(timeouts=Timeouts(request=0.2))), script=lambda request: None)
        self.client.send(asked())
        self.assertEqual((await self.client.response()).status, 504)
        await self.gone()

    async def test_retry(self) -> None:
        """A handshake may be tried again; the time of a try ends with it."""
        replies = [answer(b"", b"503 Busy"), AGREED]
        rule = RouteRule(filters=Filters(retry=Retry(codes=frozenset({503})), timeouts=Timeouts(0.0, 0.4)))
        await self.start(rule, script=lambda request: replies.pop(0))
        talk = await self.upgraded()
        self.assertEqual(self.running.metrics.upstreams["upstream"].retries, 1)
        seconds = self.running.generation._reactor.seconds
        until_then = seconds() + 0.7
        await until(lambda: seconds() > until_then)
        talk.transport.write(b"still here")
        await self.client.heard(b"still here")

    async def test_sessions_and_health(self) -> None:
        """A 101 is a good answer, and takes the session's cookie along."""
        await self.start(
            session_persistence=SessionPersistence(session_name="sticky"),
            outlier_detection=OutlierDetection(consecutive_5xx=1),
        )
        self.client.send(asked())
        response = await self.head()
        self.assertEqual(response.status, 101)
        self.assertRegex(response.all("set-cookie")[0], "^sticky=")

    async def test_plugin_backend(self) -> None:
        """A backend that is a plugin gets a request like any other."""
        seen: list[Any] = []

        class Kind:
            name = "told"

        class Backend:
            def answer(self, request: Any) -> Any:
                seen.append(request)
                return succeed(BackendResponse(200, {}, b"a page"))

        model = Upstream("upstream", (), backend=BackendUse(Kind(), Backend()))
        running = await start_gateway(self, gateway([http_listener()], model))
        client = await connect(self, running.address())
        client.send(asked())
        self.assertEqual((await client.response()).body, b"a page")
        self.assertEqual(len(seen), 1)


