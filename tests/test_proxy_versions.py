"""HTTP/1.0, HTTP/1.1 and HTTP/2 on both sides of the gateway: what is told of versions, and what is the same in all."""
from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from twisted.trial.unittest import TestCase

from edgegw.model import Forwarding, HTTPSettings, HTTPVersion, Listener
from edgegw.wire.http2 import Limits, RequestReceived
from tests.gateway import (
    RecordedRequest,
    RunningGateway,
    ScriptedUpstream,
    answer,
    gateway,
    http_listener,
    run,
    start_gateway,
    start_upstream,
    until,
)
from tests.http2_client import connect_http2
from tests.http2_frames import POST, headers, server
from tests.http2_upstreams import HTTP2Request, HTTP2Upstream, start_http2_upstream
from tests.raw_client import connect

EXPECT = ("expect", "100-continue")


class VersionTests(TestCase):
    """A listener without TLS before an upstream of either version."""

    running: RunningGateway

    async def start(self, upstream: ScriptedUpstream | HTTP2Upstream, listener: Listener | None = None) -> None:
        self.running = await start_gateway(self, gateway([listener or http_listener()], upstream.model))


#: What its upstream is told.
SENT = [b"1.1 first, %b edge" % version for version in (b"1.0", b"1.1", b"1.1", b"2.0", b"2.0", b"1.1", b"1.1")]


class ViaTests(VersionTests):
    """``Via`` tells the version in which each message was received."""

    async def ask(self) -> list[list[str]]:
        """Give what the client is told, over HTTP/1.0, HTTP/1.1, HTTP/2 and HTTP/1.1 again."""
        told = []
        for version in (b"1.0", b"1.1", b"2", b"1.1"):
            if version == b"2":
                client = await connect_http2(self, self.running.address())
                # The second time the lines are kept.
                for _ in range(2):
                    found = await client.get("/", ("via", "1.1 first"))
                told.append(found.all("via"))
            else:
                raw = await connect(self, self.running.address())
                for _ in range(1 if version == b"1.0" else 2):
                    raw.send(b"GET / HTTP/%b\r\nhost: a.example\r\nvia: 1.1 first\r\n\r\n" % version)
                    response = await raw.response()
                told.append(response.all("via"))
        return told

    async def test_http1_upstream(self) -> None:
        """Before an upstream that speaks HTTP/1.1, and one that speaks HTTP/1.0."""
        listener = http_listener(forwarding=Forwarding(via="edge"))
        upstream = start_upstream(self, answer(b"ok", headers=b"via: 1.1 up\r\n"))
        await self.start(upstream, listener)
        self.assertEqual(await self.ask(), [["1.1 up, 1.1 edge"]] * 4)
        self.assertEqual([b", ".join(one.all(b"via")) for one in upstream.requests], SENT)
        upstream.script = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"
        self.assertEqual(await self.ask(), [["1.0 edge"]] * 4)

    async def test_http2_upstream(self) -> None:
        """Before an upstream that speaks HTTP/2."""
        upstream = start_http2_upstream(self, lambda request: request.answer(b"ok"))
        await self.start(upstream, http_listener(forwarding=Forwarding(via="edge")))
        self.assertEqual(await self.ask(), [["2.0 edge"]] * 4)
        self.assertEqual([b", ".join(one.all(b"via")) for one in upstream.requests], SENT)


class ExpectTests(VersionTests):
    """``Expect: 100-continue`` over HTTP/2 is what it is over HTTP/1.1 (RFC 9110 §10.1.1)."""

    async def test_continue(self) -> None:
        """The upstream's 100 is what the client waits for, also where the upstream speaks HTTP/2."""
        upstream = start_http2_upstream(self, lambda request: request.answer(bytes(request.body)))

        def on_head(request: HTTP2Request) -> None:
            request.talk.h2.send_headers(request.stream, [(b":status", b"100")])

        upstream.on_head = on_head
        await self.start(upstream)
        client = await connect_http2(self, self.running.address())
        for fields in ([EXPECT], [EXPECT, ("content-length", "4")], [("expect", "100-Continue"), EXPECT]):
            stream = client.ask("/", *fields, method="PUT", end=False)
            await until(lambda one=stream: client.answers[one].interim == [100])
            client.send(stream, b"body", end=True)
            self.assertEqual(bytes((await client.answer(stream)).body), b"body")
        self.assertEqual(upstream.requests[0].all(b"expect"), [b"100-continue"])

    async def test_final_answer(self) -> None:
        """An upstream that does not want the body says so at once; its other requests go on."""
        upstream = start_upstream(self)

        def on_data(talk: Any, data: bytes) -> None:
            if b"expect: 100-continue" in data:
                talk.transport.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
            else:
                talk.transport.write(answer(b"ok"))

        upstream.on_data = on_data
        await self.start(upstream)
        client = await connect_http2(self, self.running.address())
        for fields in ([EXPECT], [EXPECT, ("content-length", "4")]):
            stream = client.ask("/", *fields, method="PUT", end=False)
            found = await client.answer(stream)
            self.assertEqual((found.status, bytes(found.body), found.interim), (403, b"no", []))
            await until(lambda one=found: one.code is not None)
            self.assertEqual(found.code, ErrorCodes.NO_ERROR)
        self.assertEqual((await client.get()).status, 200)

    async def test_not_waited_for(self) -> None:
        """A client may send the body without having been asked for it."""
        upstream = start_upstream(self, lambda request: answer(request.body))
        await self.start(upstream)
        client = await connect_http2(self, self.running.address())
        self.assertEqual(bytes((await client.get("/", EXPECT, method="PUT", body=b"body")).body), b"body")

    async def test_too_large(self) -> None:
        """The gateway's own refusal comes without 100, and before any body."""
        upstream = start_upstream(self)
        await self.start(upstream, http_listener(http=HTTPSettings(max_body_bytes=10)))
        client = await connect_http2(self, self.running.address())
        found = await client.answer(client.ask("/", EXPECT, ("content-length", "11"), method="PUT", end=False))
        self.assertEqual((found.status, found.interim, upstream.requests), (413, [], []))

    async def test_without_body(self) -> None:
        """Where there is no body there is nothing to wait for."""
        upstream = start_upstream(self)
        await self.start(upstream)
        client = await connect_http2(self, self.running.address())
        self.assertEqual((await client.get("/", EXPECT)).status, 200)
        stream = client.ask("/", EXPECT, ("content-length", "0"), method="PUT", end=False)
        client.send(stream, b"", end=True)
        self.assertEqual((await client.answer(stream)).status, 200)
        self.assertEqual([one.all(b"expect") for one in upstream.requests], [[], []])

    async def test_other_expectations(self) -> None:
        """Another expectation is 417, with a body and without; the other streams do not notice."""
        upstream = start_upstream(self, lambda request: None)
        await self.start(upstream)
        client = await connect_http2(self, self.running.address())
        under_way = client.ask("/")
        await until(lambda: len(upstream.requests) == 1)
        for fields in ([("expect", "gold")], [EXPECT, ("expect", "gold")], [("expect", "100-continue, gold")]):
            for body in (None, b"body"):
                self.assertEqual((await client.get("/", *fields, method="PUT", body=body)).status, 417)
        upstream.requests[0].talk.transport.write(answer(b"ok"))
        self.assertEqual((await client.answer(under_way)).status, 200)
        raw = await connect(self, self.running.address())
        raw.send(b"PUT / HTTP/1.1\r\nhost: a.example\r\nexpect: gold\r\ncontent-length: 4\r\n\r\n")
        self.assertEqual((await raw.response()).status, 417)
        self.assertEqual(len(upstream.requests), 1)

    async def test_curl(self) -> None:
        """The real client waits, hears 100 and sends, in both versions."""
        upstream = start_upstream(self)

        def on_data(talk: Any, data: bytes) -> None:
            if b"expect: 100-continue" in data:
                talk.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if data.endswith((b"the body", b"0\r\n\r\n")):
                talk.transport.write(answer(b"ok"))

        upstream.on_data = on_data
        await self.start(upstream)
        host, port = self.running.address()
        for option, line in (("--http2-prior-knowledge", "< HTTP/2 100"), ("--http1.1", "< HTTP/1.1 100 Continue")):
            done = await run(
                "curl", "-sv", option, "--expect100-timeout", "20", "-H", "Expect: 100-continue", "-d", "the body",
                f"http://{host}:{port}/",
            )
            self.assertEqual((done.exit, done.stdout), (0, b"ok"), done.text)
            self.assertIn(line, done.text)


class FramingTests(VersionTests):
    """What is kept of header lines is kept for requests of one framing."""

    def test_block(self) -> None:
        """The same fields with and without a body are two blocks, and each is the one that it was the next time."""
        one = server(Limits())
        blocks = []
        for stream, flags in ((1, 4), (3, 5), (5, 5), (7, 4), (9, 4)):
            event = one.receive(headers(stream, POST, flags))[0]
            assert isinstance(event, RequestReceived)
            blocks.append(event.head.block)
            self.assertEqual(b"transfer-encoding: chunked\r\n" in event.head.block, flags == 4)
        self.assertIs(blocks[1], blocks[2])
        self.assertIs(blocks[0], blocks[3])
        self.assertIs(blocks[3], blocks[4])

    async def test_by_turns(self) -> None:
        """Bodies of every framing by turns, on one connection, with lines that are otherwise the same."""
        upstream = start_upstream(self)
        await self.start(upstream)
        client = await connect_http2(self, self.running.address())
        kinds: list[tuple[list[tuple[str, str]], bytes | None]] = [
            ([], None), ([], b"1234"), ([], b""), ([EXPECT], b"1234"), ([EXPECT], None),
            ([("content-length", "4")], b"1234"), ([("content-length", "0")], b""), ([("content-length", "0")], None),
        ]
        for fields, body in [*kinds, *kinds, *reversed(kinds)]:
            self.assertEqual((await client.get("/", *fields, method="PUT", body=body)).status, 200)
            request: RecordedRequest = upstream.requests[-1]
            chunked = body is not None and ("content-length", str(len(body))) not in fields
            self.assertEqual(
                (request.body, request.all(b"content-length"), request.all(b"transfer-encoding")),
                (body or b"", [value.encode() for name, value in fields if name != "expect"],
                 [b"chunked"] if chunked else []),
            )
            self.assertEqual(request.all(b"expect"), [b"100-continue"] if EXPECT in fields and body else [])


class UpgradeToHTTP2Tests(VersionTests):
    """Asking for HTTP/2 by ``Upgrade`` is obsolete (RFC 9113 §3.1): the answer is an ordinary one."""

    async def test_curl(self) -> None:
        """Curl asks, and is content with HTTP/1.1; the upstream hears nothing of it, whatever it speaks."""
        second = start_http2_upstream(self, lambda request: request.answer(b"ok"))
        for upstream in (start_upstream(self, answer(b"ok")), second):
            await self.start(upstream)
            host, port = self.running.address()
            for more in ((), ("-d", "body")):
                done = await run(
                    "curl", "-sv", "--http2", "-w", "|%{http_version}", *more, f"http://{host}:{port}/"
                )
                self.assertIn("> Upgrade: h2c", done.text)
                self.assertEqual((done.exit, done.stdout), (0, b"ok|1.1"), done.text)
            for request in upstream.requests:
                for name in (b"upgrade", b"http2-settings", b"connection"):
                    self.assertEqual(request.all(name), [])
            await self.running.stop()

    async def test_same_over_http2(self) -> None:
        """By prior knowledge it gets HTTP/2, from either upstream; large bodies go both ways."""
        data = b"0123456789" * 20_000
        for upstream in (
            start_upstream(self, lambda request: answer(request.body)),
            start_http2_upstream(self, lambda request: request.answer(bytes(request.body))),
        ):
            self.assertIn(upstream.model.http_version, (HTTPVersion.HTTP_1_1, HTTPVersion.HTTP_2))
            await self.start(upstream)
            host, port = self.running.address()
            done = await run(
                "curl", "-s", "--http2-prior-knowledge", "-w", "|%{http_version}", "--data-binary", "@-",
                f"http://{host}:{port}/", stdin=data,
            )
            self.assertEqual((done.exit, done.stdout), (0, data + b"|2"))
            await self.running.stop()
