"""The PROXY header that upstreams get, and that no client's connection serves another."""

from __future__ import annotations

import struct
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from edgegw.api import PassThrough, sni_router
from edgegw.model import ActiveHealthCheck, ProxyProtocol, SNIRouterUse, ValidationMode
from edgegw.testing import FakeEnvironment
from edgegw.wire.proxy_protocol import SIGNATURE

from .gateway import (
    SERVER,
    Authority,
    UpstreamTalk,
    answer,
    client_context,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from .raw_client import connect
from .test_wire_proxy_protocol import entries
from .tls_upstreams import secured, server_context, start_tls_upstream

reactor: Any = global_reactor
GET = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"


class ProxyProtocolTests(TestCase):
    """An upstream that looks at what comes first."""

    def watch(self, version: ProxyProtocol) -> Any:
        """Start an upstream that takes the header off and answers whatever comes behind it."""
        upstream = start_upstream(self, proxy_protocol=version)
        self.headers: list[bytes] = []
        seen: dict[UpstreamTalk, bytes] = {}

        def on_data(one: UpstreamTalk, data: bytes) -> None:
            data = seen.get(one, b"") + data
            seen[one] = data
            if not data.endswith(b"\r\n\r\n") or data == SIGNATURE[:4]:
                return
            if data.startswith(SIGNATURE):
                end = 16 + struct.unpack_from("!H", data, 14)[0]
            else:
                end = data.index(b"\r\n") + 2
            if one not in [talk for talk, _ in self.by_talk]:
                self.by_talk.append((one, data[:end]))
                self.headers.append(data[:end])
            seen[one] = b""
            one.transport.write(answer(b"ok"))

        self.by_talk: list[tuple[UpstreamTalk, bytes]] = []
        upstream.on_data = on_data
        return upstream

    async def test_version_1(self) -> None:
        """Each connection says whose it is."""
        upstream = self.watch(ProxyProtocol.V1)
        running = await start_gateway(self, gateway([http_listener()], upstream.model))
        client = await connect(self, running.address())
        client.send(GET)
        self.assertEqual((await client.response()).body, b"ok")
        own = client.transport.getHost()
        expected = f"PROXY TCP4 127.0.0.1 127.0.0.1 {own.port} {running.address()[1]}\r\n"
        self.assertEqual(self.headers, [expected.encode()])

    async def test_health_checks(self) -> None:
        """A connection for nobody says so in version 2, and in version 1, which cannot, gives its own addresses."""
        for version in ProxyProtocol:
            upstream = self.watch(version)
            upstream.model = evolve(upstream.model, health_check=ActiveHealthCheck("/health", interval=60.0))
            ports: list[int] = []
            upstream.on_connect = lambda one, ports=ports: ports.append(one.transport.getPeer().port)
            running = await start_gateway(self, gateway([http_listener()], upstream.model))
            await until(lambda: self.headers)
            line = f"PROXY TCP4 127.0.0.1 127.0.0.1 {ports[0]} {upstream.model.endpoints[0].port}\r\n".encode()
            expected = line if version is ProxyProtocol.V1 else SIGNATURE + bytes.fromhex("20 00 0000")
            self.assertEqual(self.headers, [expected])
            await running.stop()

    async def test_never_shared(self) -> None:
        """No connection serves two clients, nor waits for one."""
        upstream = self.watch(ProxyProtocol.V1)
        running = await start_gateway(self, gateway([http_listener()], upstream.model))
        wanted = []
        for _ in range(3):
            client = await connect(self, running.address())
            client.send(GET)
            await client.response()
            wanted.append(client.transport.getHost().port)
        self.assertEqual([int(header.split()[4]) for header in self.headers], wanted)
        metrics = running.metrics.upstream("upstream")
        await until(lambda: (metrics.connections, metrics.idle, metrics.reused) == (0, 0, 0))

    async def test_a_client_that_left_while_connecting(self) -> None:
        """A connection that opens for nobody is not kept for others."""
        upstream = self.watch(ProxyProtocol.V2)
        running = await start_gateway(self, gateway([http_listener()], upstream.model))
        metrics = running.metrics.upstream("upstream")
        for _ in range(5):
            client = await connect(self, running.address())
            client.send(GET)
            client.transport.abortConnection()
        await running.idle()
        await until(lambda: metrics.connections == 0)
        self.assertEqual(metrics.idle, 0)

    async def test_unix_client(self) -> None:
        """A client on a Unix socket has no address."""
        for version, expected in (
            (ProxyProtocol.V1, b"PROXY UNKNOWN\r\n"), (ProxyProtocol.V2, SIGNATURE + b"\x21\0\0\0")
        ):
            upstream = self.watch(version)
            address = f"unix:{self.mktemp()}"
            running = await start_gateway(self, gateway([http_listener(address=address)], upstream.model))
            await in_thread(talk, address.removeprefix("unix:"), get())
            self.assertEqual(self.headers, [expected])
            await running.stop()

    async def header_of(self, mode: ValidationMode, client: Any) -> dict[int, bytes]:
        """Give what is told of a client by TLS, in version 2."""
        pki, clients = Authority(), Authority("clients")
        upstream = self.watch(ProxyProtocol.V2)
        listener = https_listener([pki.issue("a", dns=["a.example"], usages=SERVER)], validation(clients, mode=mode))
        running = await start_gateway(self, gateway([listener], upstream.model))
        issuer = {"good": clients, "stranger": Authority("x")}.get(client)
        shown = None if issuer is None else issuer.issue("billing")
        context = client_context(pki, shown, alpn=["http/1.1"])
        await in_thread(talk, running.address(), get(), context, "a.example")
        (header,) = self.headers
        self.assertEqual(header[:14], SIGNATURE + b"\x21\x11")
        await running.stop()
        return entries(header[28:])

    async def test_verified_client(self) -> None:
        """Name, protocol, version, suite and common name of a client that was verified."""
        found = await self.header_of(ValidationMode.ALLOW_VALID_ONLY, "good")
        self.assertEqual((found[1], found[2]), (b"http/1.1", b"a.example"))
        self.assertEqual(found[0x20][:5], bytes.fromhex("07 00000000"))
        more = entries(found[0x20][5:])
        self.assertEqual((more[0x21], more[0x22]), (b"TLSv1.3", b"billing"))
        self.assertTrue(more[0x23].startswith(b"TLS_"))

    async def test_unverified_client(self) -> None:
        """What a client only claims is not told as if it were so."""
        for client, flags in (("stranger", 7), ("none", 1)):
            found = await self.header_of(ValidationMode.ALLOW_INSECURE_FALLBACK, client)
            self.assertEqual(found[0x20][:5], bytes([flags]) + bytes.fromhex("00000001"))
            self.assertNotIn(0x22, entries(found[0x20][5:]))

    async def test_before_tls(self) -> None:
        """The header is in the clear, and TLS begins behind it."""
        pki = Authority()
        secret = start_tls_upstream(
            self, server_context(pki.issue("app", dns=["app.internal"], usages=SERVER)), answer(b"secret")
        )
        front = start_upstream(self)
        received: list[bytes] = []
        front.on_data = lambda one, data: received.append(data)
        model = evolve(secured(secret.model, pki, hostname="app.internal"), endpoints=front.model.endpoints,
                       proxy_protocol=ProxyProtocol.V1, connect_timeout=0.5)
        running = await start_gateway(self, gateway([http_listener()], model))
        client = await connect(self, running.address())
        client.send(GET)
        self.assertEqual((await client.response()).status, 503)
        line, _, rest = b"".join(received).partition(b"\r\n")
        self.assertTrue(line.startswith(b"PROXY TCP4 127.0.0.1 "))
        self.assertEqual(rest[:2], b"\x16\x03")

    async def test_passed_through(self) -> None:
        """A connection that is passed through begins with a header too, which tells the name that was asked for."""
        pki = Authority()
        far = start_upstream(self, name="far", proxy_protocol=ProxyProtocol.V2)
        received: list[bytes] = []

        def on_data(one: UpstreamTalk, data: bytes) -> None:
            received.append(data)
            if len(b"".join(received)) > 200:
                one.transport.loseConnection()

        far.on_data = on_data

        @sni_router(name="pass_everything")
        def pass_everything(hello: Any, address: str) -> PassThrough:
            """Pass everything on."""
            return PassThrough("far")

        listener = https_listener([pki.issue("a", dns=["a.example"], usages=SERVER)])
        router = SNIRouterUse("pass", ((listener.address, listener.port),), pass_everything,
                              pass_everything.build({}, FakeEnvironment()))
        running = await start_gateway(self, gateway([listener], far.model, sni_routers=(router,)))
        try:
            await in_thread(talk, running.address(), get(), client_context(pki), "A.example")
        except OSError:
            pass
        data = b"".join(received)
        self.assertEqual(data[:14], SIGNATURE + b"\x21\x11")
        size = struct.unpack_from("!H", data, 14)[0]
        self.assertEqual(entries(data[28 : 16 + size]), {2: b"a.example"})
        self.assertEqual(data[16 + size : 18 + size], b"\x16\x03")
