"""Requests whose framing is in doubt are refused, their connection is closed, and no upstream sees any of them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from edgegw.model import HTTP2Settings, HTTPSettings

from .gateway import ScriptedUpstream, answer, gateway, http_listener, start_gateway, start_upstream, until
from .hostile_requests import BROKEN_BODIES, BROKEN_HEADS, CHUNKED_HEAD
from .raw_client import Client, connect

GOOD = b"GET /good HTTP/1.1\r\nhost: a.example\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a.example\r\n\r\n"


class FramingTests(TestCase):
    """A gateway with one upstream that would answer anything."""

    async def start(self, script: Any = b"", **http: Any) -> ScriptedUpstream:
        upstream = start_upstream(self, script or answer(b"ok"))
        # With prior knowledge the preface of HTTP/2 would be no broken head.
        listener = http_listener(http=HTTPSettings(**http), http2=HTTP2Settings(prior_knowledge=False))
        self.running = await start_gateway(self, gateway([listener], upstream))
        return upstream

    async def connect(self) -> Client:
        return await connect(self, self.running.address())

    async def test_heads(self) -> None:
        """Each broken head is answered with its status, nothing behind it is looked at, and the connection closes."""
        upstream = await self.start()
        for name, (data, status) in BROKEN_HEADS.items():
            client = await self.connect()
            client.send(data + SMUGGLED)
            response = await client.response()
            self.assertEqual(response.status, status, name)
            self.assertEqual(response.all("connection"), ["close"], name)
            self.assertEqual(await client.closed(), b"", name)
            self.assertTrue(client.ended_cleanly, name)
        self.assertEqual((upstream.requests, upstream.talks), ([], []))

    async def test_heads_behind_a_good_request(self) -> None:
        """On a connection that is in use, too: what is kept of earlier header lines excuses nothing."""
        upstream = await self.start()
        for name, (data, status) in BROKEN_HEADS.items():
            client = await self.connect()
            client.send(GOOD)
            self.assertEqual((await client.response()).status, 200)
            client.send(data + SMUGGLED)
            self.assertEqual((await client.response()).status, status, name)
            self.assertEqual(await client.closed(), b"", name)
        self.assertEqual({one.line for one in upstream.requests}, {b"GET /good HTTP/1.1"})

    async def test_heads_byte_by_byte(self) -> None:
        """However the bytes come."""
        upstream = await self.start()
        for name, (data, status) in BROKEN_HEADS.items():
            if len(data) > 2000:
                continue
            client = await self.connect()
            for at in range(0, len(data), 5):
                client.send(data[at : at + 5])
            client.send(SMUGGLED)
            self.assertEqual((await client.response()).status, status, name)
            self.assertEqual(await client.closed(), b"", name)
        self.assertEqual(upstream.talks, [])

    async def test_chunks(self) -> None:
        """A body with broken chunks that comes with its head is refused before anything goes out."""
        upstream = await self.start()
        for name, body in BROKEN_BODIES.items():
            if len(body) > 10_000:
                continue  # more than is read at once
            client = await self.connect()
            client.send(CHUNKED_HEAD + body + SMUGGLED)
            self.assertEqual((await client.response()).status, 400, name)
            self.assertEqual(await client.closed(), b"", name)
        self.assertEqual(upstream.talks, [])

    async def test_chunks_later(self) -> None:
        """Chunks that break after the upstream has begun to get the body end both connections."""
        upstream = await self.start()
        for number, (name, body) in enumerate(BROKEN_BODIES.items()):
            client = await self.connect()
            client.send(CHUNKED_HEAD + b"5\r\nhello\r\n")
            await self.until_upstream_has(upstream, number, b"5\r\nhello\r\n")
            client.send(body + SMUGGLED)
            self.assertEqual((await client.response()).status, 400, name)
            self.assertEqual(await client.closed(), b"", name)
            await upstream.talks[number].lost
            self.assertNotIn(b"smuggled", upstream.talks[number].received, name)
            self.assertFalse(bytes(upstream.talks[number].received).endswith(b"0\r\n\r\n"), name)
        self.assertEqual(upstream.requests, [])

    async def until_upstream_has(self, upstream: ScriptedUpstream, number: int, data: bytes) -> None:
        await until(lambda: len(upstream.talks) > number and upstream.talks[number].received.endswith(data))

    async def test_good_ones(self) -> None:
        """What looks odd and is right passes, and arrives in the one form that all upstreams read alike."""
        upstream = await self.start()
        for data, line, body in [
            (b"GET http://a.example/x?q HTTP/1.1\r\nHOST: A.example\r\n\r\n", b"GET /x?q HTTP/1.1", b""),
            (b"\r\n\r\nGET /%2e%2e//x HTTP/1.1\r\nhost: a.example:81\r\n\r\n", b"GET /%2e%2e//x HTTP/1.1", b""),
            (b"custom /p HTTP/1.1\r\nhost: [::1]:80\r\n\r\n", b"custom /p HTTP/1.1", b""),
            (b"OPTIONS * HTTP/1.1\r\nhost: a.example.\r\n\r\n", b"OPTIONS * HTTP/1.1", b""),
            (b"GET /b HTTP/1.1\r\nhost: a.example\r\ncontent-length: 2\r\n\r\nhi", b"GET /b HTTP/1.1", b"hi"),
            (
                b'GET /c HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: Chunked\r\n\r\n02;x="y"\r\nhi\r\n0\r\n\r\n',
                b"GET /c HTTP/1.1",
                b"hi",
            ),
            (b"POST /z HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", b"POST /z HTTP/1.1", b""),
        ]:
            upstream.requests.clear()
            client = await self.connect()
            client.send(data)
            self.assertEqual((await client.response()).status, 200, data)
            request = upstream.requests[0]
            self.assertEqual((request.line, request.body), (line, body))
            self.assertEqual(len(request.all(b"host")), 1)
            self.assertLessEqual(len(request.all(b"content-length") + request.all(b"transfer-encoding")), 1)
        self.assertEqual(request.all(b"content-length"), [b"0"])

    async def test_body_is_no_request(self) -> None:
        """A body that looks like a request stays a body."""
        upstream = await self.start()
        client = await self.connect()
        for head, body in [
            (b"content-length: %d" % len(SMUGGLED), SMUGGLED),
            (b"transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        ]:
            for method in (b"GET", b"POST", b"OPTIONS"):
                client.send(method + b" /p HTTP/1.1\r\nhost: a.example\r\n" + head + b"\r\n\r\n" + body + GOOD)
                for _ in range(2):
                    self.assertEqual((await client.response()).status, 200)
        lines = {one.line for one in upstream.requests}
        self.assertEqual(
            lines, {b"GET /p HTTP/1.1", b"POST /p HTTP/1.1", b"OPTIONS /p HTTP/1.1", b"GET /good HTTP/1.1"}
        )

    async def test_refused_without_route(self) -> None:
        """The body of a request that is answered before it is read is no next request."""
        self.running = await start_gateway(self, gateway([http_listener()], routes=[]))
        client = await self.connect()
        client.send(b"POST /p HTTP/1.1\r\nhost: a.example\r\ncontent-length: 100\r\n\r\n" + SMUGGLED)
        self.assertEqual((await client.response()).status, 404)
        self.assertEqual(await client.closed(), b"")

    async def test_limits(self) -> None:
        """Sizes are the listener's to set."""
        await self.start(max_head_bytes=300, max_headers=5, max_uri_bytes=50)
        for data, status in [
            (b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % (b"a" * 49), 200),
            (b"GET /%b HTTP/1.1\r\nhost: a\r\n\r\n" % (b"a" * 50), 414),
            (b"GET / HTTP/1.1\r\nhost: a\r\n%b\r\n" % (b"x: 1\r\n" * 4), 200),
            (b"GET / HTTP/1.1\r\nhost: a\r\n%b\r\n" % (b"x: 1\r\n" * 5), 431),
            (b"GET / HTTP/1.1\r\nhost: a\r\nx: %b\r\n\r\n" % (b"v" * 300), 431),
        ]:
            client = await self.connect()
            client.send(data)
            self.assertEqual((await client.response()).status, status, data)

    async def test_body_limits(self) -> None:
        """A declared body that is too large is refused at once, a chunked one when it becomes too large."""
        upstream = await self.start(max_body_bytes=10)
        head = b"POST /p HTTP/1.1\r\nhost: a.example\r\n"
        for data, status in [
            (b"content-length: 10\r\n\r\n0123456789", 200),
            (b"content-length: 11\r\n\r\n0123456789x", 413),
            (b"content-length: 11\r\nexpect: 100-continue\r\n\r\n", 413),
            (b"transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", 200),
            (b"transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n6\r\n56789x\r\n0\r\n\r\n", 413),
        ]:
            client = await self.connect()
            client.send(head + data)
            self.assertEqual((await client.response()).status, status, data)
            if status != 200:
                await client.closed()
        self.assertEqual([one.body for one in upstream.requests], [b"0123456789"] * 2)
        before = len(upstream.talks)
        client = await self.connect()
        client.send(head + b"transfer-encoding: chunked\r\n\r\n5\r\n01234\r\n")
        await self.until_upstream_has(upstream, before - 1, b"5\r\n01234\r\n")
        client.send(b"6\r\n56789x\r\n")
        self.assertEqual((await client.response()).status, 413)
        await client.closed()
        await upstream.talks[before - 1].lost
        self.assertNotIn(b"56789x", upstream.talks[before - 1].received)
