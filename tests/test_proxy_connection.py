"""A client's connection: keep-alive, pipelining, HTTP/1.0, own answers, deadlines, and its ends."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import BackendRef, HTTPSettings, PathMatch, Route, RouteMatch, RouteRule
from edgegw.proxy.connection import MAX_PIPELINED

from .gateway import (
    RecordedRequest,
    ScriptedUpstream,
    answer,
    gateway,
    http_listener,
    start_gateway,
    start_upstream,
    until,
)
from .raw_client import Client, connect

reactor: Any = global_reactor
GET = b"GET /%d HTTP/1.1\r\nhost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: a.example\r\n"


def echo_path(request: RecordedRequest) -> bytes:
    return answer(request.line.split(b" ")[1])


class ConnectionTests(TestCase):
    """A plain listener before one upstream."""

    async def start(
        self, script: Any = b"", routes: Any = None, upstream: dict[str, Any] | None = None, **http: Any
    ) -> ScriptedUpstream:
        self.upstream = start_upstream(self, script or answer(b"ok"), **(upstream or {}))
        model = gateway([http_listener(http=HTTPSettings(**http))], self.upstream, routes=routes)
        self.running = await start_gateway(self, model)
        return self.upstream

    async def connect(self) -> Client:
        return await connect(self, self.running.address())

    def protocols(self) -> list[Any]:
        """The gateway's side of the open connections."""
        (profile,) = self.running.generation._profiles.values()
        return [one.protocol for one in profile.transports]

    def count(self, status: int) -> int:
        """Requests that were counted with this status' class, over all routes."""
        return sum(one.responses[status // 100] for one in self.running.metrics.routes.values())

    async def quiet(self) -> None:
        """Wait for the end of all connections, and see that nothing is counted as open."""
        await self.running.idle()
        await until(lambda: all(one.in_progress == 0 for one in self.running.metrics.routes.values()))
        await until(lambda: all(one.connections == one.idle for one in self.running.metrics.upstreams.values()))
        self.assertEqual(self.running.in_progress(), 0)

    # --- several requests on one connection ---

    async def test_keep_alive(self) -> None:
        """Requests follow one another on one connection, on the upstream's side too, and are counted once each."""
        upstream = await self.start(echo_path)
        client = await self.connect()
        for number in range(20):
            client.send(GET % number)
            response = await client.response()
            self.assertEqual((response.status, response.body), (200, b"/%d" % number))
            self.assertEqual(response.all("connection"), [])
        self.assertEqual(len(upstream.talks), 1)
        metrics = self.running.metrics.upstreams["upstream"]
        self.assertEqual((metrics.connects, metrics.reused, metrics.idle), (1, 19, 1))
        client.transport.loseConnection()
        await self.quiet()
        self.assertEqual(self.count(200), 20)
        self.assertEqual(self.running.counts().bytes_received, sum(len(GET % number) for number in range(20)))
        self.assertEqual(self.running.counts().bytes_sent, client.total)

    async def test_many_hosts(self) -> None:
        """Hosts may change from request to request while the other lines stay: upstreams are told the right one."""
        upstream = await self.start()
        client = await self.connect()
        asked = [b"a.example", b"b.example:81", b"b.example:81", b"a.example", b"C.example"]
        for host in asked:
            client.send(b"GET / HTTP/1.1\r\nhost: %b\r\nx-one: 1\r\nx-forwarded-host: evil\r\n\r\n" % host)
            self.assertEqual((await client.response()).status, 200)
        got = upstream.requests
        self.assertEqual([one.all(b"host") for one in got], [[host] for host in asked])
        self.assertEqual([one.all(b"x-forwarded-host") for one in got], [[host] for host in asked])
        self.assertEqual([one.all(b"x-one") for one in got], [[b"1"]] * len(asked))
        self.assertEqual(len({one.all(b"x-request-id")[0] for one in got}), len(asked))

    async def test_close(self) -> None:
        """``Connection: close`` ends it after the answer."""
        await self.start()
        client = await self.connect()
        client.send(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n" + GET % 2)
        self.assertEqual((await client.response()).all("connection"), ["close"])
        self.assertEqual(await client.closed(), b"")
        self.assertTrue(client.ended_cleanly)
        self.assertEqual(len(self.upstream.requests), 1)

    async def test_most_requests(self) -> None:
        """A connection ends after as many requests as the listener allows."""
        await self.start(max_requests=2)
        client = await self.connect()
        client.send(GET % 1 + GET % 2 + GET % 3)
        self.assertEqual([(await client.response()).all("connection") for _ in range(2)], [[], ["close"]])
        self.assertEqual(await client.closed(), b"")

    async def test_pipelining(self) -> None:
        """Pipelined requests are answered in order, whoever answers and however fast."""
        routes = [
            Route("a", rules=(RouteRule((RouteMatch(PathMatch(value="/up")),), (BackendRef("upstream"),)),)),
        ]
        waiting: list[RecordedRequest] = []
        upstream = await self.start(lambda request: waiting.append(request), routes)
        client = await self.connect()
        paths = [b"/up/1", b"/no/2", b"/up/3", b"/no/4", b"/no/5", b"/up/6"]
        client.send(b"".join(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path for path in paths))
        statuses = []
        for path in paths:
            if path.startswith(b"/up"):
                await until(lambda: waiting)
                request = waiting.pop()
                self.assertEqual(request.line.split(b" ")[1], path)
                self.assertEqual(client.received, b"")
                request.talk.transport.write(answer(path))
            response = await client.response()
            statuses.append(response.status)
            if path.startswith(b"/up"):
                self.assertEqual(response.body, path)
        self.assertEqual(statuses, [200, 404, 200, 404, 404, 200])
        self.assertEqual(len(upstream.talks), 1)

    async def test_pipelined_bodies(self) -> None:
        """Bodies and requests may lie behind one another in one piece."""
        upstream = await self.start(lambda request: answer(request.body))
        client = await self.connect()
        client.send(
            (POST + b"content-length: 3\r\n\r\nabc" + POST + b"transfer-encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n")
            * 5
        )
        for _ in range(5):
            self.assertEqual((await client.response()).body, b"abc")
            self.assertEqual((await client.response()).body, b"def")
        self.assertEqual(len(upstream.requests), 10)

    async def test_thousands_of_own_answers(self) -> None:
        """Thousands of pipelined requests that the gateway answers itself all get their answer."""
        self.running = await start_gateway(self, gateway([http_listener()], routes=[]))
        client = await self.connect()
        client.send(b"".join(GET % number for number in range(5000)))
        got = b""

        def complete() -> bool:
            nonlocal got
            got += client.received
            client.received = b""
            return got.count(b"HTTP/1.1 404 ") == 5000

        await until(complete, 60)
        client.transport.loseConnection()
        await self.quiet()
        self.assertEqual(self.count(404), 5000)

    async def test_others_have_their_turn(self) -> None:
        """A client that pipelines without end does not keep others waiting until all of it is answered."""
        self.running = await start_gateway(self, gateway([http_listener()], routes=[]))
        greedy, modest = await self.connect(), await self.connect()
        # One read of it; without turns all of it would be answered before anything else happens.
        first = next(one for one in self.protocols() if one.info.peer_port == greedy.transport.getHost().port)
        flood = b"".join(GET % number for number in range(2000))
        first.dataReceived(flood)
        self.assertLess(first._requests, 2000)
        modest.send(GET % 1)
        await modest.response()
        greedy.transport.abortConnection()

    async def test_pipelined_bytes_are_bounded(self) -> None:
        """Of what is pipelined behind a slow answer only so much is read, and it stays so after each answer."""
        waiting: list[RecordedRequest] = []
        await self.start(lambda request: waiting.append(request))
        client = await self.connect()
        client.send(GET % 1 * 200_000)  # 7 MB
        (connection,) = self.protocols()
        for _ in range(20):
            await until(lambda: waiting)
            await until(lambda: connection._full)
            self.assertLess(len(connection._buffer), MAX_PIPELINED + 262_144 + 1)
            waiting.pop().talk.transport.write(answer())
            await client.response()

    async def test_answers_that_nobody_takes(self) -> None:
        """A client that asks on and on and reads nothing is not asked what else it wants."""
        self.running = await start_gateway(self, gateway([http_listener()], routes=[]))
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(GET % 1 * 200_000)  # 7 MB, for 50 MB of answers
        (connection,) = self.protocols()
        most = 0

        def blocked() -> bool:
            nonlocal most
            most = max(most, connection.transport.unsent)
            return bool(connection._full)

        await until(blocked)
        self.assertLess(most, 200_000)
        self.assertLess(len(connection._buffer), MAX_PIPELINED + 262_144 + 1)
        client.transport.resumeProducing()
        before = connection._requests
        await until(lambda: connection._requests > before + 10_000, 60)
        client.transport.abortConnection()

    # --- HTTP/1.0, HEAD, interim responses ---

    async def test_http_1_0(self) -> None:
        """HTTP/1.0 clients get no chunks, and keep the connection where they ask for it and the length is known."""
        upstream = await self.start()
        chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n"
        for request, reply, option, closes in [
            (b"", answer(b"ok"), ["close"], True),
            (b"connection: keep-alive\r\n", answer(b"ok"), ["keep-alive"], False),
            (b"connection: keep-alive\r\n", chunked, ["close"], True),
        ]:
            upstream.script = reply
            client = await self.connect()
            client.send(b"GET / HTTP/1.0\r\n" + request + b"\r\n")
            await client.heard(b"ok")
            if closes:
                await client.closed()
                self.assertTrue(client.ended_cleanly)
            response = await client.response()
            self.assertEqual((response.body, response.all("connection")), (b"ok", option))
            self.assertEqual(response.all("transfer-encoding"), [])
        self.assertEqual(upstream.requests[0].line, b"GET / HTTP/1.1")
        self.assertEqual(upstream.requests[0].all(b"host"), [f"127.0.0.1:{upstream.port}".encode()])

    async def test_no_body(self) -> None:
        """HEAD, 204 and 304 have no body, whatever their headers say, and the connection goes on."""
        upstream = await self.start()
        client = await self.connect()
        for method, reply, length in [
            (b"HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", ["5"]),
            (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", []),
            (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n", []),
            (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", []),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n", ["7"]),
            (b"GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", []),
        ]:
            upstream.script = reply
            client.send(method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
            response = await client.response(method == b"HEAD")
            self.assertEqual((response.all("content-length"), response.all("transfer-encoding")), (length, []), reply)
        upstream.script = answer(b"next")
        client.send(GET % 1)
        self.assertEqual((await client.response()).body, b"next")
        self.assertEqual(len(upstream.talks), 1)

    async def test_same_response_to_another_request(self) -> None:
        """A response head that came before, byte for byte, is framed for the request that it answers now."""
        upstream = await self.start(b"HTTP/1.1 200 OK\r\ndate: x\r\ncontent-length: 2\r\n\r\n")
        for method, version, body in [
            (b"HEAD", 1, b""),
            (b"GET", 1, b"ok"),
            (b"HEAD", 1, b""),
            (b"GET", 0, b"ok"),
            (b"GET", 1, b"ok"),
        ]:
            upstream.script = b"HTTP/1.1 200 OK\r\ndate: x\r\ncontent-length: 2\r\n\r\n" + body
            client = await self.connect()
            client.send(method + b" / HTTP/1.%d\r\nhost: a\r\n\r\n" % version)
            response = await client.response(method == b"HEAD")
            self.assertEqual((response.body, response.all("connection")), (body, [] if version else ["close"]))
        self.assertEqual(len(upstream.talks), 1)

    async def test_interim(self) -> None:
        """1xx responses are passed on, not to HTTP/1.0 clients."""
        upstream = await self.start(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x\r\n\r\n" + answer(b"ok"))
        client = await self.connect()
        client.send(GET % 1)
        early = await client.response()
        self.assertEqual((early.status, early.all("link"), early.all("connection")), (103, ["</a>"], []))
        self.assertEqual((await client.response()).body, b"ok")
        old = await self.connect()
        old.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertEqual((await old.response()).status, 200)
        self.assertEqual(len(upstream.talks), 1)

    async def test_expect(self) -> None:
        """The expectation goes to the upstream and its 100 comes back, then the body, then the response."""
        upstream = await self.start()
        upstream.on_data = lambda talk, data: talk.transport.write(
            answer(b"got it") if data.endswith(b"hello") else b"HTTP/1.1 100 Continue\r\n\r\n"
        )
        client = await self.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        self.assertEqual((await client.response()).status, 100)
        self.assertIn(b"\r\nexpect: 100-continue\r\n", upstream.talks[0].received)
        client.send(b"hello")
        self.assertEqual((await client.response()).body, b"got it")

    async def test_expect_refused(self) -> None:
        """A final response instead of 100 reaches the client, and the connection closes: a body may come or not."""
        upstream = await self.start()
        upstream.on_data = lambda talk, data: talk.transport.write(answer(b"no", b"403 Forbidden"))
        client = await self.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        response = await client.response()
        self.assertEqual((response.status, response.all("connection")), (403, ["close"]))
        await client.closed()
        await upstream.talks[0].lost

    async def test_expect_without_waiting(self) -> None:
        """A client that does not wait for 100 is served as well."""
        await self.start(lambda request: b"HTTP/1.1 100 Continue\r\n\r\n" + answer(request.body))
        client = await self.connect()
        client.send(POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\nhello")
        self.assertEqual((await client.response()).status, 100)
        self.assertEqual((await client.response()).body, b"hello")

    # --- the gateway's own answers ---

    async def test_own_answers(self) -> None:
        """The gateway's own answers are short, say who they are from, and nothing of what is behind."""
        await self.start(routes=[])
        client = await self.connect()
        client.send(GET % 1)
        response = await client.response()
        self.assertEqual(
            (response.status, response.all("server"), response.all("content-type")),
            (404, ["edgegw"], ["text/plain; charset=utf-8"]),
        )
        (request_id,) = response.all("x-request-id")
        self.assertEqual(len(request_id), 32)
        self.assertEqual(len(response.all("date")), 1)
        self.assertEqual(response.body, b"404 Not Found\nNo route takes this request.\n")
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\nAccept: text/html, application/problem+json\r\n\r\n")
        response = await client.response()
        self.assertEqual(response.all("content-type"), ["application/problem+json"])
        problem = json.loads(response.body)
        self.assertEqual(
            (problem["status"], problem["title"], [problem["instance"]]),
            (404, "Not Found", response.all("x-request-id")),
        )
        client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n" + GET % 2)
        self.assertEqual((await client.response(True)).body, b"")
        self.assertEqual((await client.response()).status, 404)
        client.send(b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n")
        response = await client.response()
        self.assertEqual((response.status, "GET" in response.all("allow")[0]), (405, True))

    # --- deadlines ---

    async def test_slow_head(self) -> None:
        """A head must be complete in time; no byte of it gives more time."""
        upstream = await self.start(head_timeout=0.6)
        client = await self.connect()
        client.send(b"GET / HTTP/1.1\r\n")
        dripping = LoopingCall(client.send, b"x")
        dripping.start(0.05)
        self.addCleanup(dripping.stop)
        response = await client.response()
        self.assertEqual((response.status, response.all("connection")), (408, ["close"]))
        await client.closed()
        self.assertEqual((upstream.talks, self.count(408)), ([], 1))

    async def test_silent_client(self) -> None:
        """A connection without a request is closed without a word, before the first one or after some."""
        await self.start(keep_alive_timeout=0.3)
        client = await self.connect()
        self.assertEqual(await client.closed(), b"")
        client = await self.connect()
        client.send(GET % 1)
        await client.response()
        self.assertEqual(await client.closed(), b"")
        self.assertTrue(client.ended_cleanly)

    async def test_stopped_body(self) -> None:
        """A body that stops gets 408, its upstream connection is cut, and it is counted once."""
        upstream = await self.start(body_idle_timeout=0.4)
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        response = await client.response()
        self.assertEqual((response.status, response.all("connection")), (408, ["close"]))
        await client.closed()
        await upstream.talks[0].lost
        await self.quiet()
        self.assertEqual((self.count(408), self.count(0)), (1, 0))

    async def test_body_that_goes_on(self) -> None:
        """A body that goes on is not cut off, however long the upstream has to wait for all of it."""
        await self.start(lambda request: answer(request.body), upstream={"response_timeout": 0.3}, body_idle_timeout=5)
        client = await self.connect()
        client.send(POST + b"content-length: 4\r\n\r\n")
        for _ in range(4):
            await deferLater(reactor, 0.4)
            client.send(b"x")
        self.assertEqual((await client.response()).body, b"xxxx")

    async def test_client_that_reads_nothing(self) -> None:
        """A client that takes nothing of its response is given up, and the upstream's connection with it."""
        upstream = await self.start(answer(b"x" * 20_000_000), write_timeout=0.4)
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(GET % 1)
        await until(lambda: upstream.talks)
        await self.quiet()
        client.transport.resumeProducing()
        await client.closed()
        self.assertFalse(client.ended_cleanly)
        await upstream.talks[0].lost

    async def test_last_answer_that_nobody_reads(self) -> None:
        """The same holds for what is queued behind a complete response."""
        await self.start(answer(b"x" * 4_000_000), write_timeout=0.4)
        client = await self.connect()
        client.transport.pauseProducing()
        client.send(GET % 1 + GET % 2)
        await until(lambda: self.running.counts().bytes_sent > 0)
        await self.quiet()

    # --- ends ---

    async def test_client_gone_before_the_answer(self) -> None:
        """A client that leaves before its answer ends the upstream's work, and is counted without a status."""
        waiting: list[RecordedRequest] = []
        await self.start(lambda request: waiting.append(request))
        client = await self.connect()
        client.send(GET % 1)
        await until(lambda: waiting)
        client.transport.abortConnection()
        await waiting[0].talk.lost
        await self.quiet()
        self.assertEqual(
            [one.responses for one in self.running.metrics.routes.values() if any(one.responses)], [[1, 0, 0, 0, 0, 0]]
        )

    async def test_client_gone_in_the_middle(self) -> None:
        """A client that leaves in the middle of its answer or of its body ends the upstream's connection."""
        upstream = await self.start(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello")
        client = await self.connect()
        client.send(GET % 1)
        await client.heard(b"hello")
        client.transport.abortConnection()
        await upstream.talks[0].lost
        client = await self.connect()
        client.send(POST + b"content-length: 10\r\n\r\nhello")
        await until(lambda: len(upstream.talks) == 2 and upstream.talks[1].received.endswith(b"hello"))
        client.transport.abortConnection()
        await upstream.talks[1].lost
        await self.quiet()

    async def test_half_close(self) -> None:
        """A client that has said everything still gets its answers, also those to requests that it pipelined."""
        await self.start(echo_path)
        client = await self.connect()
        client.send(GET % 1 + GET % 2 + GET % 3)
        client.transport.loseWriteConnection()
        for number in (1, 2, 3):
            self.assertEqual((await client.response()).body, b"/%d" % number)
        await client.closed()
        self.assertTrue(client.ended_cleanly)
        await self.quiet()

    async def test_half_close_in_a_request(self) -> None:
        """A client that closes in the middle of a head or a body gets no answer, and its upstream no request."""
        upstream = await self.start()
        for data in (b"", b"GET / HTTP/1.1\r\n", POST + b"content-length: 10\r\n\r\nhello"):
            client = await self.connect()
            client.send(data)
            client.transport.loseWriteConnection()
            self.assertEqual(await client.closed(), b"")
        await self.quiet()
        self.assertEqual(upstream.requests, [])

    async def test_retire(self) -> None:
        """A new configuration closes idle connections, and others after the response that is under way."""
        waiting: list[RecordedRequest] = []
        await self.start(lambda request: waiting.append(request))
        idle, busy = await self.connect(), await self.connect()
        busy.send(GET % 1 + GET % 2)
        await until(lambda: waiting)
        self.running.reload(self.running.generation.gateway)
        self.assertEqual(await idle.closed(), b"")
        waiting[0].talk.transport.write(answer(b"ok"))
        self.assertEqual((await busy.response()).all("connection"), ["close"])
        self.assertEqual(await busy.closed(), b"")
        self.assertEqual(len(waiting), 1)


class OneProtocolForAll(TestCase):
    """What is kept of one client's headers for others."""

    async def test_same_lines_on_other_connections(self) -> None:
        """Clients that send the same bytes are told apart all the same."""
        upstream = start_upstream(self, lambda request: answer(request.all(b"x-forwarded-for")[0]))
        running = await start_gateway(self, gateway([http_listener()], upstream))
        ids = set()
        for _ in range(3):
            client = await connect(self, running.address())
            for _ in range(2):
                client.send(GET % 1)
                self.assertEqual((await client.response()).body, b"127.0.0.1")
        for request in upstream.requests:
            (one,) = request.all(b"x-request-id")
            ids.add(one)
        self.assertEqual(len(ids), 6)
