"""Time limits and further tries of rules, with upstreams and clients that fail in every way."""
from __future__ import annotations

import os
import zlib
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater

from edgegw.api import BackendRequest, BackendResponse
from edgegw.model import Compression, Endpoint, Filters, HeaderModifier, OutlierDetection, Retry, Timeouts, Upstream

from .filtered import GET, POST, FilterTestCase, request
from .gateway import RecordedRequest, ScriptedUpstream, UpstreamTalk, answer, start_upstream, until
from .test_proxy_backend import upstream as plugin_upstream
from .test_proxy_exchange import free_port

reactor: Any = global_reactor
QUICK = Retry(frozenset({503}), 2, 0.001, 0.002)
BROKEN = answer(b"broken", b"503 Broken")


def in_turn(*replies: Any) -> Any:
    """Give a script that answers with one after the other, the last one for ever; ``None`` is no answer."""
    left = list(replies)

    def script(got: RecordedRequest) -> bytes | None:
        reply = left.pop(0) if len(left) > 1 else left[0]
        if reply in ("close", "abort"):
            end = got.talk.transport.loseConnection if reply == "close" else got.talk.transport.abortConnection
            end()
            return None
        if callable(reply):
            reply = reply(got)
        return reply  # type: ignore[no-any-return]  # one of the above

    return script


class TimeoutTests(FilterTestCase):
    """``timeouts``."""

    async def test_request(self) -> None:
        """504 where the whole takes too long, with or without a try's own limit, and the connection goes on."""
        upstream = start_upstream(self, in_turn(None, answer(b"ok")))
        await self.serve(Filters(timeouts=Timeouts(0.1, 0.0)), upstream)
        client = await self.connect()
        client.send(GET)
        self.assertEqual((await client.response()).status, 504)
        await upstream.talks[0].lost
        client.send(GET)
        self.assertEqual((await client.response()).body, b"ok")
        await self.quiet()

    async def test_backend_request(self) -> None:
        """504 where a try takes too long."""
        upstream = start_upstream(self, in_turn(None, answer(b"ok")))
        await self.serve(Filters(timeouts=Timeouts(0.0, 0.1)), upstream)
        self.assertEqual((await self.ask()).status, 504)
        self.assertEqual((await self.ask()).status, 200)
        self.assertEqual(self.running.metrics.upstreams["upstream"].response_failures["timeout"], 1)
        await self.quiet()

    async def test_precedence(self) -> None:
        """The upstream's own limit says nothing where the rule has one; kept connections have it again later."""
        late: list[Any] = []

        def script(got: RecordedRequest) -> None:
            late.append(reactor.callLater(0.9, got.talk.transport.write, answer(b"late")))

        upstream = start_upstream(self, script, response_timeout=0.1)
        await self.serve(Filters(timeouts=Timeouts(5.0, 0.0)), upstream)
        self.assertEqual((await self.ask()).body, b"late")
        (pool,) = self.running.generation._sites.upstreams["upstream"].endpoints
        await until(lambda: pool._idle)
        self.assertEqual(pool._idle[0]._response_timeout, 0.1)

    async def test_seen_by_outlier_detection(self) -> None:
        """An endpoint that is too slow for a rule is left out as one that is too slow for its upstream."""
        for timeouts in (Timeouts(0.3, 0.0), Timeouts(0.0, 0.3)):
            silent, good = start_upstream(self, in_turn(None), "a"), start_upstream(self, answer(b"ok"), "b")
            both = Upstream(
                "both", tuple(one.model.endpoints[0] for one in (silent, good)), outlier_detection=OutlierDetection(2)
            )
            await self.serve(Filters(timeouts=timeouts), both)
            statuses = [(await self.ask()).status for _ in range(8)]
            self.assertEqual((statuses.count(504), statuses.count(200)), (2, 6), timeouts)
            # Who sends half of a request is the one that is slow.
            await self.serve(Filters(timeouts=timeouts), evolve(both, outlier_detection=OutlierDetection(1, 1)))
            for _ in range(4):
                await self.ask(POST + b"content-length: 10\r\n\r\nhello")
            states = self.running.metrics.upstreams["both"].state.endpoints.values()
            self.assertEqual([one.ejections for one in states], [0, 0])

    async def test_the_upstreams_own(self) -> None:
        """It holds where a rule has no time limits."""
        upstream = start_upstream(self, in_turn(None), response_timeout=0.1)
        await self.serve(Filters(retry=evolve(QUICK, attempts=1)), upstream)
        self.assertEqual((await self.ask()).status, 504)
        self.assertEqual(len(upstream.requests), 2)

    async def test_in_the_middle(self) -> None:
        """A response that has begun is cut, so that it does not look whole."""
        upstream = start_upstream(self, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        for timeouts in (Timeouts(0.2, 0.0), Timeouts(0.0, 0.2)):
            await self.serve(Filters(timeouts=timeouts, retry=QUICK), upstream)
            client = await self.connect()
            client.send(GET)
            self.assertTrue((await client.closed()).endswith(b"hello"))
            self.assertFalse(client.ended_cleanly)
            await self.quiet()
        self.assertEqual(len(upstream.requests), 2)

    async def test_upload(self) -> None:
        """A body that takes too long ends in 504 and the connection's end."""
        upstream = start_upstream(self)
        await self.serve(Filters(timeouts=Timeouts(0.2, 0.0)), upstream)
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        self.assertEqual((await client.response()).status, 504)
        await client.closed()
        await self.quiet()

    async def test_connecting(self) -> None:
        """The time of connecting counts."""
        # Nobody answers there (RFC 5737), or the system says so at once.
        await self.serve(
            Filters(timeouts=Timeouts(0.0, 0.1)), Upstream("away", (Endpoint("192.0.2.1", 9),), connect_timeout=60.0)
        )
        self.assertIn((await self.ask()).status, (503, 504))

    async def test_in_time(self) -> None:
        """Requests that are in time share a connection, and leave no timer behind."""
        upstream = start_upstream(self, lambda got: answer(got.body))
        await self.serve(Filters(timeouts=Timeouts(30.0, 20.0), retry=QUICK), upstream)
        client = await self.connect()
        for _ in range(3):
            client.send(POST + b"content-length: 5\r\n\r\nhello")
            self.assertEqual((await client.response()).body, b"hello")
        self.assertEqual(len(upstream.talks), 1)


class RetryTests(FilterTestCase):
    """``retry``."""

    def retries(self, name: str = "upstream") -> int:
        count: int = self.running.metrics.upstreams[name].retries
        return count

    async def test_codes(self) -> None:
        """A status of the list is tried again, up to the number; then the client gets the backend's own answer."""
        upstream = start_upstream(self, in_turn(BROKEN, BROKEN, answer(b"ok"), BROKEN))
        await self.serve(Filters(retry=QUICK), upstream)
        self.assertEqual((await self.ask()).body, b"ok")
        response = await self.ask()
        self.assertEqual((response.status, response.body, response.all("server")), (503, b"broken", []))
        self.assertEqual((len(upstream.requests), self.retries()), (6, 4))
        self.assertEqual(self.running.metrics.requests("plain", "r", "upstream").responses[2:], [1, 0, 0, 1])
        await self.quiet()

    async def test_other_codes(self) -> None:
        """Others are not."""
        upstream = start_upstream(self, answer(b"", b"500 No"))
        await self.serve(Filters(retry=QUICK), upstream)
        self.assertEqual((await self.ask()).status, 500)
        self.assertEqual(len(upstream.requests), 1)

    async def test_unfinished_answers(self) -> None:
        """A long or endless answer that is not wanted is not waited for."""
        upstream = start_upstream(
            self,
            in_turn(
                b"HTTP/1.1 503 B\r\ncontent-length: 100000\r\n\r\n", b"HTTP/1.1 503 B\r\n\r\nfor ever", answer(b"ok")
            ),
        )
        await self.serve(Filters(retry=QUICK), upstream)
        self.assertEqual((await self.ask()).body, b"ok")
        await upstream.talks[0].lost
        await upstream.talks[1].lost

    async def test_failures(self) -> None:
        """So is a connection that ends without an answer, and an answer that is none."""
        for failure in ("close", "abort", b"nonsense\r\n\r\n"):
            upstream = start_upstream(self, in_turn(failure, answer(b"ok")))
            await self.serve(Filters(retry=QUICK), upstream)
            self.assertEqual((await self.ask()).body, b"ok", failure)
            self.assertEqual(len(upstream.requests), 2)

    async def test_to_the_end(self) -> None:
        """After the last try: 504 where it took too long, 502 for a bad answer, 503 where connections fail or end."""
        upstream = start_upstream(self, in_turn(None))
        await self.serve(Filters(retry=QUICK, timeouts=Timeouts(0.0, 0.05)), upstream)
        self.assertEqual((await self.ask()).status, 504)
        self.assertEqual(len(upstream.requests), 3)
        for failure, status in ("close", 503), ("abort", 503), (b"nonsense\r\n\r\n", 502):
            upstream.script = in_turn(failure)
            self.assertEqual((await self.ask()).status, status, failure)
        await self.serve(Filters(retry=QUICK), Upstream("down", (Endpoint("127.0.0.1", free_port()),)))
        self.assertEqual((await self.ask(POST + b"content-length: 2\r\n\r\nhi")).status, 503)
        self.assertEqual(self.retries("down"), 2)
        self.assertEqual(self.running.metrics.upstreams["down"].connect_failures["refused"], 3)

    async def test_kept_connections(self) -> None:
        """A try upon a connection that was kept idle counts, unless the rule does not try again what is asked."""
        replies = answer(b"ok"), *["abort"] * 3, answer(b"late")
        upstream = start_upstream(self, in_turn(*replies))
        await self.serve(Filters(retry=QUICK), upstream)
        self.assertEqual((await self.ask()).body, b"ok")
        self.assertEqual((await self.ask()).status, 503)
        self.assertEqual((len(upstream.requests), self.retries()), (4, 2))
        upstream.script = in_turn(answer(b"ok"), "abort", answer(b"late"))
        await self.serve(Filters(retry=evolve(QUICK, methods=frozenset({"POST"}))), upstream)
        self.assertEqual([(await self.ask()).body for _ in range(2)], [b"ok", b"late"])

    async def test_in_the_middle(self) -> None:
        """A response that has begun is not tried again: it is cut."""
        upstream = start_upstream(self, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        await self.serve(Filters(retry=QUICK), upstream)
        client = await self.connect()
        client.send(GET)
        await client.heard(b"hello")
        upstream.talks[0].transport.abortConnection()
        await client.closed()
        self.assertFalse(client.ended_cleanly)
        self.assertEqual(len(upstream.requests), 1)

    async def test_another_endpoint(self) -> None:
        """The next try goes to another endpoint."""
        upstreams = [start_upstream(self, BROKEN, "a"), start_upstream(self, answer(b"ok"), "b")]
        both = Upstream("both", tuple(one.model.endpoints[0] for one in upstreams))
        await self.serve(Filters(retry=evolve(QUICK, attempts=1)), both)
        for _ in range(6):
            self.assertEqual((await self.ask()).body, b"ok")

    async def test_methods(self) -> None:
        """Only idempotent methods, unless the rule names others; nothing was done where nothing was sent."""
        upstream = start_upstream(self, in_turn(BROKEN, answer(b"ok")))
        await self.serve(Filters(retry=QUICK), upstream)
        post = POST + b"content-length: 2\r\n\r\nhi"
        self.assertEqual((await self.ask(post)).status, 503)
        upstream.script = in_turn("close", answer(b"ok"))
        self.assertEqual((await self.ask(post)).status, 502)
        await self.serve(Filters(retry=evolve(QUICK, methods=frozenset({"POST"}))), upstream)
        upstream.script = in_turn(BROKEN, answer(b"ok"))
        self.assertEqual((await self.ask(post)).status, 200)
        upstream.script = in_turn(BROKEN, answer(b"ok"))
        self.assertEqual((await self.ask(GET)).status, 503)

    async def test_connecting_later(self) -> None:
        """An upstream that comes up between two tries gets the request, whatever its method is."""
        port = free_port()
        await self.serve(
            Filters(retry=Retry(attempts=50, backoff=0.02, max_backoff=0.02)),
            Upstream("up", (Endpoint("127.0.0.1", port),)),
        )
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        await until(lambda: self.retries("up") > 2)
        late = ScriptedUpstream(lambda got: answer(got.body))
        self.addCleanup(late.listening.stopListening)
        more = reactor.listenTCP(port, late, interface="127.0.0.1")
        self.addCleanup(more.stopListening)
        client.send(b"world")
        self.assertEqual((await client.response()).body, b"helloworld")
        await self.running.stop()

    async def test_body(self) -> None:
        """A body is sent again as it was, in one framing or the other, whether it was complete or not."""
        seen: list[bytes] = []

        def script(got: RecordedRequest) -> bytes:
            seen.append(got.body)
            return answer(got.body) if len(seen) % 2 == 0 else BROKEN

        upstream = start_upstream(self, script)
        await self.serve(Filters(retry=evolve(QUICK, methods=frozenset({"POST"}))), upstream)
        for head, pieces in [
            (b"content-length: 10\r\n\r\n", [b"hello", b"world"]),
            (b"transfer-encoding: chunked\r\n\r\n", [b"5\r\nhello\r\n", b"5\r\nworld\r\n0\r\n\r\n"]),
        ]:
            client = await self.connect()
            client.send(POST + head)
            for piece in pieces:
                await deferLater(reactor, 0.01, lambda: None)
                client.send(piece)
            self.assertEqual((await client.response()).body, b"helloworld")
        self.assertEqual(seen, [b"helloworld"] * 4)

    async def test_early_answer(self) -> None:
        """So is a body of which the upstream has not seen the end when it gave the answer that is not wanted."""
        tried: list[UpstreamTalk] = []

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            if talk not in tried:
                tried.append(talk)
            if talk is tried[0]:
                talk.transport.write(BROKEN)
            elif talk.received.endswith(b"world"):
                talk.transport.write(answer(bytes(talk.received[-10:])))

        upstream = start_upstream(self)
        upstream.on_data = on_data
        await self.serve(Filters(retry=evolve(QUICK, methods=frozenset({"POST"}))), upstream)
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        await until(lambda: len(tried) == 2)
        client.send(b"world")
        self.assertEqual((await client.response()).body, b"helloworld")
        await self.quiet()

    async def test_large_body(self) -> None:
        """A body that is larger than what is kept is sent once."""
        upstream = start_upstream(self, in_turn(BROKEN, answer(b"ok")))
        await self.serve(Filters(retry=evolve(QUICK, methods=frozenset({"POST"}), max_body=1000)), upstream)
        client = await self.connect()
        client.send(POST + b"content-length: 300000\r\n\r\n" + b"x" * 300_000)
        self.assertEqual((await client.response()).status, 503)
        self.assertEqual(len(upstream.requests), 1)
        await self.quiet()

    async def test_expect(self) -> None:
        """A client that waits for 100 gets it once, and its body reaches the second try."""
        heard: list[bytes] = []

        def on_data(talk: UpstreamTalk, data: bytes) -> None:
            heard.append(data)
            if len(heard) == 1:
                talk.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif talk.received.endswith(b"hello"):
                talk.transport.write(BROKEN if len(heard) == 2 else answer(b"done"))

        upstream = start_upstream(self)
        upstream.on_data = on_data
        await self.serve(Filters(retry=evolve(QUICK, methods=frozenset({"POST"}))), upstream)
        client = await self.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        self.assertEqual((await client.response()).status, 100)
        client.send(b"hello")
        self.assertEqual((await client.response()).body, b"done")

    async def test_client_leaves(self) -> None:
        """The client's leaving ends everything, also while nothing is under way."""
        upstream = start_upstream(self, BROKEN)
        await self.serve(Filters(retry=Retry(frozenset({503}), 5, 30.0, 30.0), timeouts=Timeouts(60.0, 0.0)), upstream)
        client = await self.connect()
        client.send(GET)
        await until(lambda: self.retries() == 1)
        client.transport.abortConnection()
        await self.quiet()
        self.assertEqual(len(upstream.requests), 1)

    async def test_within_the_request(self) -> None:
        """Tries end with the time for the whole."""
        upstream = start_upstream(self, BROKEN)
        await self.serve(Filters(retry=Retry(frozenset({503}), 100, 0.03, 0.03), timeouts=Timeouts(0.3, 0.0)), upstream)
        self.assertEqual((await self.ask(request("/", "PUT"))).status, 504)
        self.assertLess(len(upstream.requests), 12)
        self.assertGreater(len(upstream.requests), 2)

    async def test_stale_connection(self) -> None:
        """A kept connection that turns out to be closed costs a try: no more are made than the rule says."""
        upstream = start_upstream(self, in_turn(answer(b"1"), "close", BROKEN, answer(b"2")))
        await self.serve(Filters(retry=QUICK), upstream)
        self.assertEqual((await self.ask()).body, b"1")
        self.assertEqual((await self.ask()).body, b"2")
        self.assertEqual((len(upstream.requests), self.retries()), (4, 2))


class PluginTests(FilterTestCase):
    """Filters before a backend that is written in Python."""

    async def test_tries(self) -> None:
        """Its answers are tried again like any other's, whole or streamed, and its time limit is the rule's."""
        asked: list[bytes] = []

        async def pieces() -> Any:
            yield b"not "
            await deferLater(reactor, 0.01, lambda: None)
            yield b"now"

        async def function(got: BackendRequest) -> BackendResponse:
            asked.append(await got.read())
            if len(asked) == 1:
                return BackendResponse(503, {}, pieces())
            if len(asked) == 2:
                return BackendResponse(503, {}, b"not now")
            if len(asked) == 3:
                raise ValueError("by mistake")
            await deferLater(reactor, 0.7, lambda: None)
            return BackendResponse(200, {"server": "x"}, b"ok")

        await self.serve(
            Filters(
                retry=evolve(QUICK, attempts=3),
                timeouts=Timeouts(10.0, 5.0),
                response_headers=HeaderModifier(remove=("server",)),
            ),
            plugin_upstream(function, response_timeout=0.1),
        )
        response = await self.ask(b"PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        self.assertEqual((response.status, response.body, response.all("server")), (200, b"ok", []))
        self.assertEqual(asked, [b"hello"] * 4)
        self.flushLoggedErrors(ValueError)
        await self.quiet()

    async def test_compressed(self) -> None:
        """A whole body of a backend's, however large, comes in its turns; a streamed one as it comes."""
        body = os.urandom(400_000).hex().encode()

        async def pieces() -> Any:
            for start in range(0, len(body), 10_000):
                yield body[start : start + 10_000]

        async def function(got: BackendRequest) -> BackendResponse:
            return BackendResponse(200, {"content-type": "text/plain"}, body if got.target == "/whole" else pieces())

        await self.serve(Filters(compression=Compression()), plugin_upstream(function))
        for path in ("/whole", "/pieces"):
            response = await self.ask(request(path, "GET", "accept-encoding: gzip"))
            self.assertEqual(zlib.decompress(response.body, 31), body)
