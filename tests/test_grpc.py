"""gRPC from end to end: its own client before the gateway, its own server behind it, HTTP/2 on both sides."""
from __future__ import annotations

import threading
from typing import Any

import grpc
from h2.errors import ErrorCodes
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.model import XFCC, Listener
from tests.gateway import (
    BOTH,
    SERVER,
    Authority,
    RunningGateway,
    gateway,
    http_listener,
    https_listener,
    in_thread,
    server_certificate,
    start_gateway,
    until,
    validation,
)
from tests.grpc_peers import FLOOD_MESSAGES, Calls, Service, failure, open_channel, start_grpc_service
from tests.http2_upstreams import HTTP2Request, HTTP2Upstream, start_http2_upstream
from tests.tls_upstreams import secured

reactor: Any = global_reactor
LARGE = bytes(range(256)) * 16_384


async def still(value: Any) -> int:
    """Wait until a count has stopped growing; gives it."""
    before, same = -1, 0
    while same < 12:
        now: int = value()
        same = same + 1 if now == before else 0
        before = now
        await deferLater(reactor, 0.01, lambda: None)
    return before


class EndToEndTests(TestCase):
    """Without TLS, by prior knowledge on both sides."""

    running: RunningGateway
    service: Service
    calls: Calls

    async def setUp(self) -> None:
        self.service = start_grpc_service(self)
        self.running = await start_gateway(self, gateway([self.listener()], self.service.model))
        self.calls = self.open()

    def listener(self) -> Listener:
        """Give what is connected to."""
        return http_listener()

    def open(self) -> Calls:
        """Connect to it."""
        return open_channel(self, self.running.address())

    async def test_kinds(self) -> None:
        """Unary, client-, server- and bidirectional streaming, with no messages and empty ones too."""
        calls = self.calls
        for message in (b"abc", b""):
            self.assertEqual(await in_thread(calls.unary("Echo"), message, timeout=20), message)
        for sent, got in (([b"a", b"", b"c"], b"a,,c"), ([], b"")):
            self.assertEqual(await in_thread(calls.collect("Collect"), iter(sent), timeout=20), got)
        for one, several in ((b"abc", [b"a", b"b", b"c"]), (b"", [])):
            self.assertEqual(await in_thread(lambda it=one: list(calls.spread("Spread")(it, timeout=20))), several)
        for sent in ([b"a", b"bc", b""], []):
            got = await in_thread(lambda it=sent: list(calls.both("Both")(iter(it), timeout=20)))
            self.assertEqual(got, [one.upper() for one in sent])
        self.assertEqual(self.running.metrics.upstream("app").connects, 1)

    async def test_conversation(self) -> None:
        """Each message of a conversation comes before the next one is said."""

        def converse() -> list[bytes]:
            answered = threading.Event()

            def says() -> Any:
                for number in range(20):
                    yield b"m%d" % number
                    self.assertTrue(answered.wait(20))
                    answered.clear()

            heard = []
            for one in self.calls.both("Both")(says(), timeout=20):
                heard.append(one)
                answered.set()
            return heard

        self.assertEqual(await in_thread(converse), [b"M%d" % number for number in range(20)])

    async def test_metadata(self) -> None:
        """Metadata goes both ways, binary too, before the messages and behind them."""

        def call() -> Any:
            sent = (("x-text", "a, b"), ("x-data-bin", bytes(range(256))), ("authorization", "Bearer t"))
            return self.calls.unary("Metadata").with_call(b"x", metadata=sent, timeout=20)

        got, call_ = await in_thread(call)
        self.assertEqual(got, b"x")
        came = self.service.metadata
        self.assertEqual(
            (came["x-text"], came["x-data-bin"], came["authorization"]), ("a, b", bytes(range(256)), "Bearer t")
        )
        self.assertIn("grpc-python", came["user-agent"])
        first, last = dict(call_.initial_metadata()), dict(call_.trailing_metadata())
        self.assertEqual((first["x-first"], first["x-first-bin"]), ("1", b"\0\xff\n"))
        self.assertEqual((last["x-last"], last["x-last-bin"]), ("2", bytes(range(256))))

    async def test_statuses(self) -> None:
        """Every status passes with its words and details, without a message before it and with one."""
        for code in grpc.StatusCode:
            if code is grpc.StatusCode.OK:
                continue
            error = await failure(self.calls.unary("Fail"), b"%d" % code.value[0])
            self.assertEqual((error.code(), error.details()), (code, f"no: {code.name}, 100 %, ü\n"))
            self.assertEqual(dict(error.trailing_metadata())["grpc-status-details-bin"], b"\x08\x05")
        call = self.calls.spread("FailLate")(b"x", timeout=20)
        self.assertEqual(await in_thread(next, call), b"x")
        error = await failure(lambda **_: call)
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.DATA_LOSS, "gone"))
        error = await failure(self.calls.unary("Nothing"), b"x")
        self.assertEqual(error.code(), grpc.StatusCode.UNIMPLEMENTED)

    async def test_deadline(self) -> None:
        """The server is told of the client's deadline."""
        remaining = int(await in_thread(self.calls.unary("Remaining"), b"x", timeout=90))
        self.assertTrue(80 <= remaining <= 90, remaining)

    async def test_cancelled(self) -> None:
        """The server hears that the client has given a call up, and other calls of both connections go on."""
        call = self.calls.spread("Wait")(b"x", timeout=20)
        self.assertEqual(await in_thread(next, call), b"x")
        self.assertTrue(await in_thread(self.service.waiting.wait, 20))
        call.cancel()
        self.assertTrue(await in_thread(self.service.peers_gone.wait, 20))
        self.assertEqual(await in_thread(self.calls.unary("Echo"), b"x", timeout=20), b"x")
        self.assertEqual(self.running.metrics.upstream("app").connects, 1)

    async def test_large(self) -> None:
        """A message of 4 MB goes both ways, and several do at once."""
        futures = [self.calls.unary("Echo").future(LARGE, timeout=60) for _ in range(3)]
        for future in futures:
            self.assertEqual(await in_thread(future.result), LARGE)

    async def test_slow_client(self) -> None:
        """A server that sends more than its client reads has to wait; other calls do not."""
        call = self.calls.spread("Flood")(b"x", timeout=60)
        self.assertEqual(len(await in_thread(next, call)), 262_144)
        stopped = await still(lambda: self.service.flooded)
        self.assertTrue(stopped < 40, stopped)
        self.assertEqual(await in_thread(self.open().unary("Echo"), b"x", timeout=20), b"x")
        self.assertEqual(len(await in_thread(list, call)), FLOOD_MESSAGES - 1)

    async def test_slow_server(self) -> None:
        """A client that sends more than the server reads has to wait; other calls do not."""
        sent = []

        def messages() -> Any:
            for number in range(FLOOD_MESSAGES):
                sent.append(number)
                yield bytes(262_144)

        call = self.calls.collect("Drink").future(messages(), timeout=60)
        stopped = await still(lambda: len(sent))
        self.assertTrue(0 < stopped < 40, stopped)
        self.assertEqual(await in_thread(self.open().unary("Echo"), b"x", timeout=20), b"x")
        self.service.thirsty.set()
        self.assertEqual(await in_thread(call.result), b"%d" % FLOOD_MESSAGES)


class MutualTLSTests(EndToEndTests):
    """The same for a client with a certificate, by gRPC's own TLS."""

    def listener(self) -> Listener:
        """Give what is connected to."""
        self.pki = Authority()
        server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)
        self.own = self.pki.issue("client", uris=["spiffe://example/client"], usages=BOTH)
        return https_listener([server], validation(self.pki), header_injection=(XFCC(),))

    def open(self) -> Calls:
        """Connect to it."""
        return open_channel(self, self.running.address(), self.pki, self.own)

    async def test_identity(self) -> None:
        """The server is told who calls, and no client can say it is another."""
        forged = (("x-forwarded-client-cert", "URI=spiffe://example/admin"),)
        await in_thread(self.calls.unary("Metadata"), b"x", metadata=forged, timeout=20)
        told = str(self.service.metadata["x-forwarded-client-cert"])
        self.assertIn("URI=spiffe://example/client", told)
        self.assertNotIn("admin", told)

    async def test_no_certificate(self) -> None:
        """Who has none does not come in."""
        for certificate in (None, Authority("Another").issue("client", usages=BOTH)):
            calls = open_channel(self, self.running.address(), self.pki, certificate)
            error = await failure(calls.unary("Echo"), b"x")
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(self.running.metrics.upstream("app").connects, 0)


class TLSUpstreamTests(TestCase):
    """A server with TLS that wants a certificate of the gateway."""

    async def test_mutual_tls(self) -> None:
        """TLS with certificates on both sides of the gateway."""
        pki = Authority()
        server = pki.issue("app.internal", dns=["app.internal"], usages=SERVER)
        credentials = grpc.ssl_server_credentials([(server.key_pem, server.chain_pem)], pki.pem, True)
        service = start_grpc_service(self, credentials)
        own = pki.issue("gateway", usages=BOTH)
        model = secured(service.model, pki, hostname="app.internal", client_certificate=server_certificate(own))
        listener = https_listener([pki.issue("a.example", dns=["a.example"], usages=SERVER)], validation(pki))
        running = await start_gateway(self, gateway([listener], model))
        calls = open_channel(self, running.address(), pki, pki.issue("client", usages=BOTH))
        self.assertEqual(await in_thread(calls.unary("Echo"), LARGE, timeout=60), LARGE)


class LeftTests(TestCase):
    """What an upstream hears of a client that has left, seen frame by frame."""

    async def start(self, **options: Any) -> tuple[HTTP2Upstream, Calls]:
        """Serve an upstream that says nothing by itself."""
        upstream = start_http2_upstream(self, None, **options)
        running = await start_gateway(self, gateway([http_listener()], upstream.model))
        return upstream, open_channel(self, running.address())

    async def left(self, request: HTTP2Request) -> None:
        """Wait until a request is cancelled."""
        await until(lambda: request.was_reset is not None)
        self.assertEqual(request.was_reset, ErrorCodes.CANCEL)

    async def test_deadline(self) -> None:
        """A client whose deadline is over cancels the call at the upstream, before a response and within one."""
        upstream, calls = await self.start()
        for number in (1, 2):
            waiting = Deferred.fromCoroutine(failure(calls.unary("Echo"), b"x", timeout=0.15))
            request = await upstream.request(number)
            self.assertTrue(request.all(b"grpc-timeout")[0].endswith(b"m"), request.fields)
            if number == 2:
                request.head(200, (b"content-type", b"application/grpc"))
            self.assertEqual((await waiting).code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            await self.left(request)
        self.assertEqual(len(upstream.talks), 1)

    async def test_cancelled(self) -> None:
        """So does one that cancels."""
        upstream, calls = await self.start()
        call = calls.unary("Echo").future(b"x", timeout=20)
        request = await upstream.request()
        call.cancel()
        await self.left(request)
