"""PROXY headers in front of connections that are passed on: TLS, ended here or not, and TCP."""
from __future__ import annotations

import socket
from typing import Any

from attrs import evolve

from edgegw.model import (
    BackendRef,
    ConnectionLimits,
    Listener,
    PortSettings,
    Protocol,
    ProxyHeaderMode,
    ProxyHeaders,
    ProxyProtocol,
    TCPRoute,
)
from edgegw.verdict import Reason
from edgegw.wire.proxy_protocol import encode_v1, encode_v2
from tests import test_tls_modes as modes
from tests.gateway import RunningGateway, answer, client_context, get, in_thread, until
from tests.raw_client import connect
from tests.test_tls_proxy_headers import FOUR, HEADERS, LOCALHOST, call, call_tls


def on(listener: Listener, **settings: Any) -> tuple[PortSettings, ...]:
    """Read headers on a listener's port."""
    headers = ProxyHeaders(**{"trusted": LOCALHOST, **settings})
    return (PortSettings(((listener.address, listener.port),), None, headers),)


class TLSTests(modes.ModeCase):
    """Listeners with the protocol TLS, and HTTPS beside them."""

    async def test_every_mode(self) -> None:
        """Whatever becomes of the TLS behind a header, all of it is there."""
        listeners = modes.MixedTests.listeners(self)  # type: ignore[arg-type]  # it needs what is here too
        running = await self.start(*listeners, tls_routes=modes.MixedTests.ROUTES, ports=on(listeners[0]))
        for header, client in HEADERS:
            for name in ("here.example", "ended.example", "through.example"):
                for pieces in ([header], [bytes([byte]) for byte in header]):
                    got = await in_thread(self.talk, running.address(), pieces, name)
                    self.assertIn(b"200 OK", got, (name, header))
            self.assertEqual(self.plain.requests[-3].all(b"x-forwarded-for"), [client.encode()])
        await running.idle()

    def talk(self, address: Any, pieces: list[bytes], name: str) -> bytes:
        with socket.create_connection(address, 20) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces[:-1]:
                plain.sendall(piece)
            return call_tls(plain, pieces[-1], client_context(self.pki), get("/", name), name)

    async def test_refusals(self) -> None:
        """They are recorded and counted where TLS is only passed through, too."""
        through = modes.tls_listener("through.example", "through")
        running = await self.start(through, tls_routes=modes.MixedTests.ROUTES[1:], ports=on(through))
        got = await in_thread(modes.exchange, running.address(), b"\x16\x03\x01\x00\x05hello")
        self.assertEqual(got, b"")
        bad = encode_v2(FOUR, None, "who.example") + b"\x16\x03\x01\x00\x01\x02"
        await in_thread(modes.exchange, running.address(), bad)
        await until(lambda: len(running.record) == 2)
        first, second = running.record.entries(2)[0]
        self.assertEqual((first["reason"], first["peer"]), ("proxy_header_missing", "127.0.0.1"))
        self.assertEqual((second["reason"], second["peer"]), ("bad_client_hello", "192.0.2.1"))
        self.assertEqual(second["proxied"]["authority"], "who.example")  # type: ignore[index]  # it is JSON
        self.assertEqual(running.counts().refused, {Reason.PROXY_HEADER_MISSING: 1})


class TCPTests(modes.ModeCase):
    """Listeners with the protocol TCP."""

    async def tcp(self, **settings: Any) -> RunningGateway:
        """Serve one."""
        listener = Listener("tcp", 0, Protocol.TCP, "127.0.0.1", limits=ConnectionLimits(max_connections_per_peer=1))
        route = TCPRoute("tcp", (BackendRef("plain"),), ("tcp",))
        return await self.start(listener, tcp_routes=(route,), ports=on(listener, **settings))

    async def test_bytes(self) -> None:
        """The upstream gets what is behind the header."""
        for mode in ProxyHeaderMode:
            running = await self.tcp(mode=mode)
            for header, _ in HEADERS:
                for pieces in ([header], [bytes([byte]) for byte in header]):
                    self.plain.requests.clear()
                    got = await in_thread(call, running.address(), pieces)
                    self.assertTrue(got.endswith(b"plain"), (header, got))
                    self.assertEqual(self.plain.requests[0].raw, get())
                    await running.idle()
            await running.stop()

    async def test_without(self) -> None:
        """What does not come from a trusted proxy goes on as it came, where that is allowed."""
        received: list[bytes] = []
        self.plain.on_data = lambda one, data: (received.append(data), one.transport.write(answer(b"ok")))
        for settings in ({"trusted": ()}, {}):
            running = await self.tcp(mode=ProxyHeaderMode.OPTIONAL, **settings)
            client = await connect(self, running.address())
            client.send(b"PRO")
            client.send(b"GRAM\r\n")
            await client.heard(b"ok")
            client.transport.abortConnection()
            await running.stop()
        self.assertEqual(b"".join(received), b"PROGRAM\r\n" * 2)

    async def test_told_on(self) -> None:
        """Limits count for the client, and an upstream that wants to know is told of it."""
        self.plain.model = evolve(self.plain.model, proxy_protocol=ProxyProtocol.V2)
        received: list[bytes] = []
        self.plain.on_data = lambda one, data: (received.append(data), one.transport.write(b"ok"))
        running = await self.tcp()
        first = await connect(self, running.address())
        first.send(encode_v1(FOUR) + b"hello")
        await first.heard(b"ok")
        await until(lambda: b"".join(received) == encode_v2(FOUR) + b"hello")
        second = await connect(self, running.address())
        second.send(encode_v1(FOUR) + b"hello")
        self.assertEqual(await second.closed(), b"")
        self.assertEqual(running.counts().refused, {Reason.MAX_CONNECTIONS_PER_PEER: 1})
        first.transport.abortConnection()
