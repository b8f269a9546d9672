"""HTTP/2 to upstreams: requests and responses as they are with HTTP/1.1, many on one connection, none lost."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

from attrs import evolve
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.trial.unittest import TestCase

from edgegw.model import (
    XFCC,
    ActiveHealthCheck,
    BackendRef,
    Endpoint,
    Filters,
    HTTPVersion,
    OutlierDetection,
    Retry,
    Route,
    RouteRule,
    SessionPersistence,
    Upstream,
    UpstreamLimits,
)
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.upstream.http2_stream import RequestStream
from edgegw.wire.http2.frames import SETTING

from .gateway import (
    CLIENT,
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
    talk,
    until,
    validation,
)
from .http2_frames import block, frame, headers, string
from .http2_upstreams import HTTP2Request, HTTP2Upstream, start_http2_upstream
from .raw_client import Client, connect, read_response
from .tls_upstreams import secured, server_context, start_nginx, start_tls_upstream

reactor: Any = global_reactor
GET = b"GET /path?q=1 HTTP/1.1\r\nhost: a.example\r\n\r\n"


class HTTP2Tests(TestCase):
    """A plain listener before one upstream."""

    running: RunningGateway

    async def start(self, script: Any = lambda request: request.answer(b"hello"), **options: Any) -> HTTP2Upstream:
        """Start both."""
        upstream = start_http2_upstream(self, script, **options)
        await self.serve(upstream.model)
        return upstream

    async def serve(self, model: Any) -> None:
        """Serve a model."""
        self.running = await start_gateway(self, gateway([http_listener()], model))

    @property
    def metrics(self) -> UpstreamMetrics:
        """The upstream's counters."""
        return self.running.metrics.upstream("app")

    async def client(self, data: bytes = b"") -> Client:
        """Connect a client that sends something."""
        client = await connect(self, self.running.address())
        client.send(data)
        return client

    async def clients(self, number: int, data: bytes = GET) -> list[Client]:
        """Connect clients that all send the same."""
        made = await gatherResults([Deferred.fromCoroutine(self.client()) for _ in range(number)])
        for one in made:
            one.send(data)
        return made

    async def all_get(self, clients: list[Client], status: int = 200) -> None:
        """Wait until each has its response."""
        for one in clients:
            self.assertEqual((await one.response()).status, status)


class MessageTests(HTTP2Tests):
    """What is asked and answered."""

    async def test_get(self) -> None:
        """A request's line and header lines become fields, without those of HTTP/1.1; the response comes back."""
        upstream = await self.start()
        client = await self.client(
            b"GET /path?q=1 HTTP/1.1\r\nHost: a.example\r\nX-Some: thing\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
            b"TE: trailers\r\nCookie: a=b\r\n\r\n"
        )
        response = await client.response()
        self.assertEqual((response.status, response.body), (200, b"hello"))
        fields = dict(upstream.requests[0].fields)
        self.assertEqual([name for name, _ in upstream.requests[0].fields[:4]], [
            b":method", b":scheme", b":authority", b":path",
        ])
        self.assertEqual(
            (fields[b":method"], fields[b":scheme"], fields[b":authority"], fields[b":path"]),
            (b"GET", b"http", b"a.example", b"/path?q=1"),
        )
        self.assertEqual((fields[b"x-some"], fields[b"te"], fields[b"cookie"]), (b"thing", b"trailers", b"a=b"))
        self.assertIn(b"x-request-id", fields)
        self.assertFalse({b"host", b"connection", b"x-hop"} & set(fields))
        self.assertIn(b"cookie", upstream.requests[0].never_indexed)

    async def test_reason_phrase(self) -> None:
        """A client of HTTP/1.1 gets a reason phrase."""
        await self.start(lambda request: request.answer(b"", 404))
        client = await self.client(GET)
        await client.heard(b"HTTP/1.1 404 Not Found\r\n")

    async def test_bodies(self) -> None:
        """Bodies of known and unknown length go both ways, small and large, as they are."""
        upstream = await self.start(
            lambda request: request.answer(hashlib.sha256(request.body).hexdigest().encode() + bytes(request.body))
        )
        for size in (1, 70_000, 5_000_000):
            body = b"0123456789abcdef" * (size // 16 + 1)
            for framing, wire in (
                (b"content-length: %d" % len(body), body),
                (b"transfer-encoding: chunked", b"".join(
                    b"%x\r\n%b\r\n" % (len(body[at : at + 30_000]), body[at : at + 30_000])
                    for at in range(0, len(body), 30_000)
                ) + b"0\r\n\r\n"),
            ):
                client = await self.client(b"POST / HTTP/1.1\r\nhost: a.example\r\n%b\r\n\r\n%b" % (framing, wire))
                response = await client.response()
                self.assertEqual(response.body, hashlib.sha256(body).hexdigest().encode() + body)
                lengths = upstream.requests[-1].all(b"content-length")
                self.assertEqual(lengths, [b"%d" % len(body)] if b"length" in framing else [])
                self.assertEqual(upstream.requests[-1].all(b"transfer-encoding"), [])
        self.assertEqual((self.metrics.connects, upstream.faults), (1, 0))

    async def test_unknown_length_and_trailers(self) -> None:
        """A response without a length goes in chunks; trailers go both ways."""
        def script(request: HTTP2Request) -> None:
            request.head(200, (b"trailer", b"grpc-status"))
            request.data(b"abc")
            request.data(b"def", trailers=[(b"grpc-status", b"0"), (b"x-got", b"%d" % len(request.trailers))])

        upstream = await self.start(script)
        client = await self.client(
            b"POST / HTTP/1.1\r\nhost: a.example\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n"
            b"3\r\nxyz\r\n0\r\nx-sum: 7\r\n\r\n"
        )
        response = await client.response()
        self.assertEqual(response.body, b"abcdef")
        self.assertEqual([one[:2] for one in response.trailers], [(b"grpc-status", b"0"), (b"x-got", b"1")])
        self.assertEqual(upstream.requests[0].trailers, [(b"x-sum", b"7")])

    async def test_trailers_only(self) -> None:
        """A response that is nothing but a head with END_STREAM is whole."""
        await self.start(lambda request: request.head(200, (b"grpc-status", b"12"), ended=True))
        client = await self.client(GET)
        response = await client.response()
        self.assertEqual((response.status, response.body, response.all("grpc-status")), (200, b"", ["12"]))

    async def test_without_bodies(self) -> None:
        """HEAD, 204 and 304 have none, whatever they announce, and the connection goes on."""
        def script(request: HTTP2Request) -> None:
            status = int(request.all(b"x-status")[0])
            request.head(status, *([] if status == 204 else [(b"content-length", b"5")]))
            request.data(b"", True)

        await self.start(script)
        client = await self.client()
        for method, status in ((b"HEAD", 200), (b"GET", 204), (b"GET", 304)):
            client.send(b"%b / HTTP/1.1\r\nhost: a.example\r\nx-status: %d\r\n\r\n" % (method, status))
            response = await client.response(method == b"HEAD")
            self.assertEqual((response.status, response.body), (status, b""))
        self.assertEqual(self.metrics.connects, 1)

    async def test_interim(self) -> None:
        """Interim responses pass; a body that waits for 100 comes after it."""
        upstream = await self.start(lambda request: request.answer(bytes(request.body)))
        def on_head(request: HTTP2Request) -> None:
            request.talk.h2.send_headers(request.stream, [(b":status", b"103"), (b"link", b"</x>")])
            request.talk.h2.send_headers(request.stream, [(b":status", b"100")])
            request.talk.flush()
        upstream.on_head = on_head
        client = await self.client(
            b"POST / HTTP/1.1\r\nhost: a.example\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n"
        )
        self.assertEqual((await client.response()).status, 103)
        self.assertEqual((await client.response()).status, 100)
        client.send(b"body")
        self.assertEqual((await client.response()).body, b"body")

    async def test_too_many_interim(self) -> None:
        """A flood of interim responses is no answer."""
        def script(request: HTTP2Request) -> None:
            for _ in range(20):
                request.talk.h2.send_headers(request.stream, [(b":status", b"103")])
            request.talk.flush()

        await self.start(script)
        client = await self.client(GET)
        await until(lambda: b" 502 " in client.received)
        self.assertEqual(self.metrics.response_failures["bad_response"], 1)

    async def test_early_answer(self) -> None:
        """A response that does not wait for the request's body ends the exchange, not the connection."""
        upstream = await self.start(None)
        upstream.on_head = lambda request: request.answer(b"no", 413)
        client = await self.client(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 9\r\n\r\nabc")
        self.assertEqual((await client.response()).status, 413)
        await until(lambda: upstream.requests[0].was_reset is not None)
        upstream.script, upstream.on_head = lambda request: request.answer(b"yes"), None
        client = await self.client(GET)
        self.assertEqual((await client.response()).body, b"yes")
        self.assertEqual(self.metrics.connects, 1)


class ConnectionTests(HTTP2Tests):
    """Many requests on few connections."""

    async def test_one_connection(self) -> None:
        """Requests that come together share a connection; the counters tell of it."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append)
        clients = await self.clients(50)
        await until(lambda: len(held) == 50)
        self.assertEqual((len(upstream.talks), self.metrics.connects, self.metrics.reused), (1, 1, 49))
        self.assertEqual((self.metrics.connections, self.metrics.idle, self.metrics.sharing), (1, 0, 49))
        for one in reversed(held):
            one.answer(b"ok")
        await self.all_get(clients)
        self.assertEqual((self.metrics.connections, self.metrics.idle, self.metrics.sharing), (1, 1, 0))

    async def test_peer_allows_one(self) -> None:
        """An upstream that takes one request at a time gets as many connections as it takes."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        clients = await self.clients(5)
        await until(lambda: len(held) == 5)
        self.assertEqual(len(upstream.talks), 5)
        for one in held:
            one.answer(b"ok")
        await self.all_get(clients)
        self.assertEqual(upstream.faults, 0)

    async def test_own_limit(self) -> None:
        """There are no more requests on a connection than the configuration says."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append, limits=UpstreamLimits(max_concurrent_streams=2))
        clients = await self.clients(6)
        await until(lambda: len(held) == 6)
        self.assertEqual(sorted(len(talk.requests) for talk in upstream.talks), [2, 2, 2])
        for one in held:
            one.answer(b"ok")
        await self.all_get(clients)

    async def test_max_connections(self) -> None:
        """Beyond the connections requests wait for a place on one, and get it in their order."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append, limits=UpstreamLimits(max_connections=1, max_concurrent_streams=2))
        clients = await self.clients(7)
        for left in (7, 5, 3, 1):
            await until(lambda left=left: len(held) == min(left, 2))
            for one in held[:]:
                one.answer(b"ok")
            held.clear()
        await self.all_get(clients)
        self.assertEqual((len(upstream.talks), self.metrics.waiting, self.metrics.sharing), (1, 0, 0))

    async def test_max_requests(self) -> None:
        """Requests on one connection count each."""
        held: list[HTTP2Request] = []
        await self.start(held.append, limits=UpstreamLimits(max_requests=3))
        clients = await self.clients(3)
        await until(lambda: len(held) == 3)
        late = await self.client(GET)
        self.assertEqual((await late.response()).status, 503)
        for one in held:
            one.answer()
        await self.all_get(clients)

    async def test_max_requests_per_connection(self) -> None:
        """After so many requests a connection is closed in good order."""
        upstream = await self.start(limits=UpstreamLimits(max_requests_per_connection=3))
        client = await self.client()
        for _ in range(7):
            client.send(GET)
            self.assertEqual((await client.response()).status, 200)
        self.assertEqual([len(talk.requests) for talk in upstream.talks], [3, 3, 1])
        await until(lambda: upstream.talks[1].reason is not None)
        self.assertEqual(upstream.talks[0].goaways, [0])

    async def test_idle(self) -> None:
        """A connection without requests is closed after a while."""
        upstream = await self.start(keep_alive_timeout=0.2)
        client = await self.client(GET)
        await client.response()
        await until(lambda: upstream.talks[0].reason is not None)
        await until(lambda: not self.metrics.connections)
        self.assertEqual((self.metrics.idle, upstream.talks[0].goaways), (0, [0]))

    async def test_reload(self) -> None:
        """What is on a connection when the configuration is replaced is answered on it; then it closes."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append)
        clients = await self.clients(3)
        await until(lambda: len(held) == 3)
        self.running.reload(self.running.generation.gateway)
        late = await self.client(GET)
        await until(lambda: len(held) == 4)
        self.assertEqual(len(upstream.talks), 2)
        for one in held:
            one.answer(b"ok")
        await self.all_get([*clients, late])
        await until(lambda: upstream.talks[0].reason is not None)
        self.assertIsNone(upstream.talks[1].reason)

    async def test_abandoned(self) -> None:
        """A client that leaves ends its stream and no other."""
        held: list[HTTP2Request] = []
        await self.start(held.append)
        first, second = await self.clients(2)
        await until(lambda: len(held) == 2)
        first.transport.abortConnection()
        await until(lambda: any(one.was_reset == ErrorCodes.CANCEL for one in held))
        for one in held:
            if one.was_reset is None:
                one.answer(b"ok")
        self.assertEqual((await second.response()).status, 200)
        await until(lambda: self.metrics.idle == 1)


class FailureTests(HTTP2Tests):
    """What upstreams do wrong, or rightly refuse."""

    async def test_refused_stream(self) -> None:
        """A refused request is sent again, whatever its method is; not for ever."""
        refusals = [2]

        def script(request: HTTP2Request) -> None:
            if refusals[0]:
                refusals[0] -= 1
                request.reset(ErrorCodes.REFUSED_STREAM)
            else:
                request.answer(bytes(request.body))

        await self.start(script)
        post = b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 4\r\n\r\nbody"
        client = await self.client(post)
        self.assertEqual((await client.response()).body, b"body")
        self.assertEqual((self.metrics.retries, self.metrics.connects), (2, 1))
        refusals[0] = 1000
        client = await self.client(post)
        self.assertEqual((await client.response()).status, 503)
        self.assertEqual(refusals[0], 995)

    async def test_goaway(self) -> None:
        """Requests that GOAWAY leaves out are sent again on another connection, the others are answered on this one."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append)
        posts = await self.clients(6, b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 1\r\n\r\nx")
        await until(lambda: len(held) == 6)
        first = upstream.talks[0]
        first.go_away(5)
        await until(lambda: len(held) == 9)
        self.assertEqual(len(upstream.talks), 2)
        for one in held:
            if one.talk is not first or one.stream <= 5:
                one.answer(b"ok")
        await self.all_get(posts)
        await until(lambda: first.reason is not None)
        self.assertEqual(self.metrics.response_failures["reset"], 0)

    async def test_goaway_after_the_head(self) -> None:
        """A response that has begun is cut and not begun again, even if GOAWAY says that nothing was done."""
        upstream = await self.start(None)
        client = await self.client(GET)
        request = await upstream.request(1)
        request.head(200)
        request.data(b"part")
        await client.heard(b"part")
        request.talk.go_away(0)
        await client.closed()
        self.assertEqual((len(upstream.requests), self.metrics.response_failures["reset"]), (1, 1))

    async def test_goaway_under_load(self) -> None:
        """An upstream that replaces its connections again and again loses no request."""
        closings: list[IDelayedCall] = []

        def script(request: HTTP2Request) -> None:
            talk = request.talk
            if talk.h2.state_machine.state is ConnectionState.CLOSED:
                return  # the gateway has said farewell in the same breath, and sends the request again
            request.answer(b"ok")
            if len(talk.requests) == 20:
                talk.go_away()
                closings.append(reactor.callLater(0.05, talk.transport.loseConnection))

        upstream = await self.start(script)

        async def ask(client: Client) -> None:
            for _ in range(25):
                client.send(GET)
                self.assertEqual((await client.response()).body, b"ok")

        clients = await gatherResults([Deferred.fromCoroutine(self.client()) for _ in range(12)])
        await gatherResults([Deferred.fromCoroutine(ask(one)) for one in clients])
        self.assertGreater(len(upstream.talks), 5)
        self.assertEqual(sum(self.metrics.connect_failures.values()), 0)
        await until(lambda: not any(call.active() for call in closings))

    async def test_reset(self) -> None:
        """A stream that is reset is 502, or cuts the response; the other streams go on."""
        held: list[HTTP2Request] = []
        await self.start(held.append)
        first, second, third = await self.clients(3)
        await until(lambda: len(held) == 3)
        held[0].reset()
        held[1].head(200)
        held[1].data(b"part")
        held[1].reset()
        held[2].answer(b"ok")
        await until(lambda: sum(b" 502 " in one.received for one in (first, second, third)) == 1)
        await until(lambda: sum(one.reason is not None for one in (first, second, third)) >= 1)
        await until(lambda: sum(one.received.endswith(b"ok") for one in (first, second, third)) == 1)
        self.assertEqual((self.metrics.response_failures["reset"], self.metrics.connections), (2, 1))

    async def test_closed_connection(self) -> None:
        """Where the connection goes what may be sent again is."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append)
        warm = await self.client(GET)
        (await upstream.request(1)).answer()
        await warm.response()
        held.clear()
        clients = await self.clients(4)
        await until(lambda: len(held) == 4)
        upstream.talks[0].transport.loseConnection()
        await until(lambda: len(held) == 8)
        for one in held[4:]:
            one.answer(b"ok")
        await self.all_get(clients)
        self.assertEqual((len(upstream.talks), self.metrics.retries), (2, 4))

    async def test_wrong_length(self) -> None:
        """A body of another length than announced is cut, not passed on as whole."""
        def script(request: HTTP2Request) -> None:
            request.head(200, (b"content-length", b"10"))
            request.data(b"short", True)

        await self.start(script)
        client = await self.client(GET)
        await client.closed()
        self.assertEqual(self.metrics.response_failures["bad_response"], 1)

    async def test_not_http2(self) -> None:
        """An upstream that speaks something else is one that cannot be connected to."""
        upstream = await self.start()
        for said in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
            def say(self_: Any, said: bytes = said) -> None:
                self_.upstream.talks.append(self_)
                self_.transport.write(said)
                self_.transport.loseConnection()

            self.patch(type(upstream).buildProtocol(upstream, None).__class__, "connectionMade", say)
            client = await self.client(GET)
            self.assertEqual((await client.response()).status, 503)
        await until(lambda: not self.metrics.connections and not self.metrics.connecting)
        self.assertEqual(self.metrics.connect_failures["other"], 2)

    async def test_silent(self) -> None:
        """One that says nothing is given up in time, and all that have waited for it hear of it."""
        upstream = await self.start(connect_timeout=0.3)
        upstream.silent = True
        clients = await self.clients(3)
        await self.all_get(clients, 503)
        self.assertEqual(self.metrics.connect_failures["timeout"], 1)
        await until(lambda: not self.metrics.connections and not self.metrics.connecting)

    async def test_response_timeout(self) -> None:
        """A request that gets no answer in time is 504 and reset; the connection that answers PING stays."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append, response_timeout=0.3)
        client = await self.client(GET)
        self.assertEqual((await client.response()).status, 504)
        await until(lambda: held[0].was_reset == ErrorCodes.CANCEL and upstream.talks[0].pings == 1)
        await until(lambda: self.metrics.idle == 1)
        upstream.script = lambda request: request.answer()
        client = await self.client(GET)
        self.assertEqual((await client.response()).status, 200)
        self.assertEqual(self.metrics.connects, 1)

    async def test_dead_connection(self) -> None:
        """A connection on which nothing comes any more is replaced."""
        held: list[HTTP2Request] = []
        upstream = await self.start(held.append, response_timeout=0.3, connect_timeout=0.3)
        client = await self.client(GET)
        await until(lambda: held)
        upstream.silent = True
        self.assertEqual((await client.response()).status, 504)
        upstream.silent = False
        upstream.talks[0].transport.pauseProducing()
        upstream.script = lambda request: request.answer()
        client = await self.client(GET)
        self.assertEqual((await client.response()).status, 200)
        upstream.talks[0].transport.resumeProducing()
        await until(lambda: self.metrics.connections == 1)
        self.assertEqual(len(upstream.talks), 2)

    async def test_floods(self) -> None:
        """An upstream that attacks the gateway loses that connection; requests on others go on."""
        status = block([(b":status", b"200")])
        entry = b"\x40\x01x" + string(b"y" * 3900)
        floods = {
            "pings": frame(6, 0, 0, bytes(8)) * 5000,
            "settings": frame(4, 0, 0, b"") * 5000,
            "settings that are long": frame(4, 0, 0, SETTING.pack(1, 100) * 2000) * 200,
            "continuations": frame(1, 0, 1, status) + frame(9, 0, 1, b"") * 5000,
            "continuations that are long": frame(1, 0, 1, status) + frame(9, 0, 1, bytes(16_384)) * 100,
            "interim responses": headers(1, [(b":status", b"103")], 4) * 5000,
            "a bomb": frame(1, 4, 1, status + entry + b"\xbe" * 16_000),
            "literals": frame(1, 4, 1, status + b"\0\1x\0" * 4000),
            "empty data": headers(1, [(b":status", b"200")], 4) + frame(0, 0, 1, b"") * 5000,
            "unknown frames": frame(99, 0, 0, b"") * 5000,
            "windows": frame(8, 0, 0, b"\0\0\0\1") * 5000,
            "priorities": frame(2, 0, 3, bytes(5)) * 5000,
        }
        held: list[HTTP2Request] = []

        def script(request: HTTP2Request) -> None:
            if dict(request.fields)[b":path"] == b"/held":
                held.append(request)
            else:
                request.talk.transport.write(next(attacks))

        await self.start(script, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        others = await self.client(b"GET /held HTTP/1.1\r\nhost: a.example\r\n\r\n")
        await until(lambda: held)
        attacks = iter(floods.values())
        for name in floods:
            client = await self.client(GET)
            # Half of a response, where it had begun.
            await until(lambda client=client: b" 502 " in client.received or client.reason is not None)
            await until(lambda: self.metrics.connections == 1)
            self.assertTrue(b" 502 " in client.received or name == "empty data", (name, client.received[:100]))
        self.assertEqual(self.metrics.response_failures["bad_response"], len(floods))
        held[0].answer(b"whole")
        self.assertEqual((await others.response()).body, b"whole")

    async def test_refused_before_the_body(self) -> None:
        """A request whose body has not begun to come is sent again as well."""
        upstream = await self.start(lambda request: request.answer(bytes(request.body)))

        def refuse(request: HTTP2Request) -> None:
            upstream.on_head = None
            request.reset(ErrorCodes.REFUSED_STREAM)

        upstream.on_head = refuse
        client = await self.client(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 4\r\n\r\n")
        await upstream.request(2)
        client.send(b"body")
        self.assertEqual((await client.response()).body, b"body")

    async def test_closed_for_good(self) -> None:
        """An upstream that closes whatever it is asked is not asked for ever."""
        def script(request: HTTP2Request) -> None:
            request.talk.transport.loseConnection()

        upstream = await self.start(script)
        await self.all_get(await self.clients(3), 502)
        self.assertLess(len(upstream.requests), 16)

    async def test_raised_inside(self) -> None:
        """What goes wrong with one response ends that one only."""
        held: list[HTTP2Request] = []
        await self.start(held.append)
        clients = await self.clients(2)
        await until(lambda: len(held) == 2)
        stream = RequestStream.head_received
        self.patch(RequestStream, "head_received", lambda *arguments: 1 / 0)
        held[0].answer(b"bad")
        await until(lambda: any(b" 502 " in one.received for one in clients))
        self.patch(RequestStream, "head_received", stream)
        held[1].answer(b"good")
        await until(lambda: any(one.received.endswith(b"good") for one in clients))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ChaosTests(HTTP2Tests):
    """An upstream that does anything."""

    async def test_counters(self) -> None:
        """Each request has one answer or end, and in the end nothing is counted that is not there."""
        chance = Random(9113)
        closings: list[IDelayedCall] = []
        self.addCleanup(lambda: [one.cancel() for one in closings if one.active()])

        def script(request: HTTP2Request) -> None:
            what = chance.randrange(12)
            if what == 0:
                request.reset(ErrorCodes.REFUSED_STREAM)
            elif what == 1:
                request.reset()
            elif what == 2:
                request.talk.go_away(max(0, request.stream - 2 * chance.randrange(3)))
                closings.append(reactor.callLater(0.02, request.talk.transport.loseConnection))
            elif what == 3:
                request.talk.transport.loseConnection()
            elif what == 4:
                request.talk.transport.abortConnection()
            elif what == 5:
                request.head(200)
                request.data(b"part")
                reactor.callLater(0, request.reset)
            elif what == 6:
                request.talk.transport.write(b"\0\0\1\0\0\0\0\0\0x")
            else:
                request.answer(b"x" * chance.randrange(100_000))

        def carry_on(request: HTTP2Request) -> None:
            try:
                script(request)
            except ProtocolError:
                request.talk.transport.loseConnection()  # the gateway has said GOAWAY to what was wrong

        await self.start(
            carry_on, response_timeout=2.0, limits=UpstreamLimits(max_connections=3, max_concurrent_streams=4)
        )
        ends: list[int] = []

        async def ask() -> None:
            for number in range(20):
                client = await self.client(GET if number % 3 else GET.replace(b"GET", b"DELETE"))
                if number % 7 == 6:
                    client.transport.loseConnection()
                    continue
                await until(lambda client=client: client.reason is not None or (
                    (read := read_response(client.received)) is not None and read[0].complete
                ))
                ends.append(int(client.received[9:12] or 0))
                client.transport.loseConnection()

        await gatherResults([Deferred.fromCoroutine(ask()) for _ in range(15)])
        self.assertEqual(set(ends) - {200, 502, 503, 504}, set())
        self.assertGreater(ends.count(200), len(ends) // 5)
        metrics = self.metrics
        await until(lambda: metrics.connections == metrics.idle and not metrics.connecting and not metrics.waiting)
        self.assertEqual(metrics.sharing, 0)
        (endpoint,) = self.running.generation._sites.upstreams["app"].endpoints  # type: ignore[union-attr]
        self.assertEqual((endpoint.in_flight, endpoint.connections), (0, metrics.connections))
        self.running.reload(self.running.generation.gateway)
        await until(lambda: not metrics.connections and not metrics.idle)


class TogetherTests(HTTP2Tests):
    """With what else an upstream has."""

    async def test_health_checks(self) -> None:
        """Endpoints are checked in HTTP/2."""
        def script(request: HTTP2Request) -> None:
            request.answer(b"", 500 if request.all(b":path") == [b"/healthz"] else 200)

        check = ActiveHealthCheck(path="/healthz", interval=0.1, unhealthy_threshold=1)
        upstream = await self.start(script, health_check=check)
        await until(lambda: self.metrics.checks["failure"] >= 2)
        self.assertEqual(upstream.requests[0].all(b":path"), [b"/healthz"])
        self.assertEqual((await (await self.client(GET)).response()).status, 503)
        upstream.script = lambda request: request.answer()
        await until(lambda: self.metrics.checks["success"] >= 2)
        self.assertEqual((await (await self.client(GET)).response()).status, 200)
        self.assertEqual(self.metrics.connections, 1)

    async def test_health_check_without_a_request(self) -> None:
        """A check that only opens a connection waits for SETTINGS, and closes it."""
        check = ActiveHealthCheck(path=None, interval=0.1, timeout=0.3, unhealthy_threshold=1)
        upstream = await self.start(health_check=check)
        await until(lambda: self.metrics.checks["success"] >= 2)
        await until(lambda: upstream.talks[0].reason is not None)
        upstream.silent = True
        await until(lambda: self.metrics.checks["failure"] >= 2)
        self.assertEqual(upstream.requests, [])

    async def test_outliers(self) -> None:
        """Streams that fail count against their endpoint; refused ones do not."""
        good = start_http2_upstream(self, lambda request: request.answer(b"good"))
        bad = start_http2_upstream(self, lambda request: request.reset())
        detection = OutlierDetection(consecutive_5xx=2, consecutive_gateway_errors=None, max_ejected=50)
        await self.serve(evolve(
            good.model, endpoints=(*good.model.endpoints, *bad.model.endpoints), outlier_detection=detection
        ))
        statuses = []
        for _ in range(12):
            client = await self.client(GET)
            statuses.append((await client.response()).status)
        self.assertEqual((statuses.count(502), statuses[-4:]), (2, [200] * 4))

    async def test_sessions(self) -> None:
        """Clients get what they stay with an endpoint by."""
        await self.start(session_persistence=SessionPersistence())
        response = await (await self.client(GET)).response()
        self.assertEqual(len(response.all("set-cookie")), 1)

    async def test_rule_retries(self) -> None:
        """A rule's retries and time limits hold for streams."""
        statuses = [503, 200]
        upstream = start_http2_upstream(self, lambda request: request.answer(b"ok", statuses.pop(0)))
        rule = RouteRule(backends=(BackendRef("app"),), filters=Filters(retry=Retry(frozenset({503}))))
        self.running = await start_gateway(
            self, gateway([http_listener()], upstream.model, routes=[Route("all", rules=(rule,))])
        )
        self.assertEqual((await (await self.client(GET)).response()).status, 200)

    async def test_no_waiting_allowed(self) -> None:
        """Where nothing may wait, a place on the only connection is still found."""
        held: list[HTTP2Request] = []
        await self.start(held.append, limits=UpstreamLimits(max_connections=1, max_pending=0))
        first = await self.client(GET)
        await until(lambda: held)
        second = await self.client(GET)
        await until(lambda: len(held) == 2)
        for one in held:
            one.answer()
        await self.all_get([first, second])

    async def test_identity_is_never_indexed(self) -> None:
        """Headers that tell who a client is go as literals that no table may keep (RFC 9440 §3)."""
        pki = Authority()
        upstream = start_http2_upstream(self)
        listener = https_listener(
            [pki.issue("a.example", dns=["a.example"], usages=SERVER)], validation(pki),
            header_injection=(XFCC(),),
        )
        self.running = await start_gateway(self, gateway([listener], upstream.model))
        context = client_context(pki, pki.issue("someone", usages=CLIENT))
        for _ in range(3):
            await in_thread(talk, self.running.address(), get("/"), context, "a.example")
        for request in upstream.requests:
            self.assertEqual(len(request.all(b"x-forwarded-client-cert")), 1)
            self.assertIn(b"x-forwarded-client-cert", request.never_indexed)
            self.assertNotIn(b"x-forwarded-for", request.never_indexed)

    async def test_nginx(self) -> None:
        """nginx takes it by prior knowledge; it replaces connections as often as it likes, and no request is lost."""
        (port,), folder = await start_nginx(
            self,
            "server { listen 127.0.0.1:{0} http2; root {folder}; keepalive_requests 25; client_max_body_size 0;\n"
            "http2_max_concurrent_streams 4; location /echo { return 200 $content_length; } }",
        )
        body = b"0123456789abcdef" * 200_000
        (folder / "large").write_bytes(body)
        await self.serve(Upstream("app", (Endpoint("127.0.0.1", port),), http_version=HTTPVersion.HTTP_2))

        async def ask(client: Client) -> None:
            for _ in range(30):
                client.send(b"GET /echo HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\n\r\nabc")
                response = await client.response()
                self.assertEqual((response.status, response.body), (200, b"3"))

        clients = await gatherResults([Deferred.fromCoroutine(self.client()) for _ in range(10)])
        await gatherResults([Deferred.fromCoroutine(ask(one)) for one in clients])
        self.assertGreater(self.metrics.connects, 10)
        client = await self.client(b"GET /large HTTP/1.1\r\nhost: a.example\r\n\r\n")
        self.assertEqual((await client.response()).body, body)
        self.assertEqual(sum(self.metrics.connect_failures.values()), 0)


class FlowTests(HTTP2Tests):
    """Windows."""

    async def test_slow_client(self) -> None:
        """A client that takes nothing stops its own response and no other; it gets all of it in the end."""
        body = bytes(range(256)) * 40_000
        def script(request: HTTP2Request) -> None:
            request.answer(body if request.all(b":path") == [b"/big"] else b"small")

        upstream = await self.start(script)
        slow = await self.client(b"GET /big HTTP/1.1\r\nhost: a.example\r\n\r\n")
        slow.transport.pauseProducing()
        await upstream.request(1)
        quick = await self.client()
        for _ in range(20):
            quick.send(GET)
            self.assertEqual((await quick.response()).body, b"small")
        stuck = upstream.requests[0]
        await until(lambda: stuck._unsent and not stuck.talk.h2.local_flow_control_window(stuck.stream))
        self.assertGreater(len(stuck._unsent), 1_000_000)
        slow.transport.resumeProducing()
        self.assertEqual((await slow.response()).body, body)

    async def test_slow_upstream(self) -> None:
        """An upstream that reads no body pauses the client that sends it, not the others."""
        upstream = await self.start(lambda request: request.answer(b"%d" % len(request.body)))
        upstream.reads = False
        body = b"x" * 8_000_000
        sender = await self.client(b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: %d\r\n\r\n" % len(body))
        sender.send(body)
        request = await upstream.request(1)
        await until(lambda: len(request.body) == 65_535)
        quick = await self.client(GET)
        self.assertEqual((await quick.response()).body, b"0")
        sent = self.running.counts().bytes_received
        self.assertLess(sent, 4_000_000)
        upstream.reads = True
        h2 = request.talk.h2
        h2.acknowledge_received_data(65_535, request.stream)
        request.talk.flush()
        self.assertEqual((await sender.response()).body, b"%d" % len(body))


class NegotiationTests(HTTP2Tests):
    """TLS, and what ALPN says."""

    async def test_alpn_h2(self) -> None:
        """An upstream that speaks HTTP/2 gets it, with the scheme that belongs to TLS."""
        pki = Authority()
        context = server_context(pki.issue(dns=["app.internal"], usages=SERVER))
        context.set_alpn_select_callback(lambda connection, offered: b"h2" if b"h2" in offered else b"")
        upstream = start_http2_upstream(self, lambda request: request.answer(b"two"), context=context)
        for version in (HTTPVersion.AUTO, HTTPVersion.HTTP_2):
            model = secured(upstream.model, pki, hostname="app.internal")
            await self.serve(evolve(model, http_version=version))
            clients = await self.clients(4)
            for one in clients:
                self.assertEqual((await one.response()).body, b"two")
            self.assertEqual((upstream.requests[-1].all(b":scheme"), self.metrics.connects), ([b"https"], 1))
            await self.running.stop()

    async def test_client_certificate(self) -> None:
        """An upstream that wants a certificate which the gateway has not, is one that cannot be connected to."""
        pki = Authority()
        context = server_context(pki.issue(dns=["app.internal"], usages=SERVER), pki.certificate)
        context.set_alpn_select_callback(lambda connection, offered: b"h2")
        upstream = start_http2_upstream(self, context=context)
        await self.serve(secured(upstream.model, pki, hostname="app.internal"))
        await self.all_get(await self.clients(3), 503)
        self.assertEqual((self.metrics.connect_failures["alert"], self.metrics.connect_failures["other"]), (1, 0))
        await until(lambda: not self.metrics.connections)

    async def test_alpn_http1(self) -> None:
        """One that does not is spoken to in HTTP/1.1, with as many connections as that takes."""
        pki = Authority()
        context = server_context(pki.issue(dns=["app.internal"], usages=SERVER))
        held: list[Any] = []
        upstream = start_tls_upstream(self, context, lambda request: held.append(request), name="app")
        model = secured(upstream.model, pki, hostname="app.internal")
        await self.serve(evolve(model, http_version=HTTPVersion.AUTO))
        for number in (4, 4):
            clients = await self.clients(number)
            await until(lambda number=number: len(held) == number)
            for one in held:
                one.talk.transport.write(answer(b"one"))
            held.clear()
            for one in clients:
                self.assertEqual((await one.response()).body, b"one")
        self.assertEqual((self.metrics.connects, self.metrics.reused), (4, 4))
