"""Ports behind a proxy that tells with a PROXY header whose connections they are."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from shutil import which
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SkipTest, TestCase

from edgegw.api import Accept, Peer, Reject, Verdict, policy
from edgegw.kinds.policy import PolicyKind
from edgegw.model import (
    BackendRef,
    ConnectionLimits,
    Forwarding,
    Listener,
    OnMissing,
    PolicyUse,
    PortSettings,
    ProxyHeaderMode,
    ProxyHeaders,
    ProxyProtocol,
    Route,
    RouteRule,
)
from edgegw.proxied import ProxiedTLS, ProxyFacts
from edgegw.tcp import Server
from edgegw.tls.proxy_headers import _HeaderReader
from edgegw.verdict import Reason
from edgegw.wire.proxy_protocol import SIGNATURE, ClientTLS, Endpoints, encode_v1, encode_v2, encode_v2_local

from .gateway import (
    SERVER,
    Authority,
    Issued,
    RunningGateway,
    answer,
    client_context,
    files,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    run,
    start_gateway,
    start_upstream,
    until,
    validation,
)
from .raw_client import connect
from .test_wire_proxy_header import entry, v2, with_checksum

reactor: Any = global_reactor
LOCALHOST = (ip_network("127.0.0.0/8"),)
REQUIRED, OPTIONAL = ProxyHeaderMode.REQUIRED, ProxyHeaderMode.OPTIONAL
FOUR = Endpoints(("192.0.2.1", 40_000), ("198.51.100.7", 8443))
SIX = Endpoints(("2001:db8::1", 40_000), ("2001:db8::2", 8443))
#: A complete header of each kind, and whom it is from.
HEADERS = (
    (encode_v1(FOUR), "192.0.2.1"),
    (encode_v1(SIX), "2001:db8::1"),
    (encode_v2(FOUR), "192.0.2.1"),
    (encode_v2(SIX), "2001:db8::1"),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 40000 8443\r\n", "192.0.2.1"),
    (encode_v1(None), "127.0.0.1"),
    (encode_v2(None), "127.0.0.1"),
    (encode_v2_local(), "127.0.0.1"),
    (v2(bytes(216), family=0x31), "127.0.0.1"),
)


def use(kind: PolicyKind) -> PolicyUse:
    """Put a kind without options to use."""
    return PolicyUse(kind, kind.build(None, None))  # type: ignore[arg-type]  # these look at no environment


def call(
    address: Any, pieces: Sequence[bytes], context: ssl.SSLContext | None = None, data: bytes = get()
) -> bytes:
    """Connect, send pieces and then a request, and give everything that comes; blocks.

    The last piece and what follows it, be it a ClientHello or a request, are sent at once.

    :param address: a path is a Unix socket's.
    """
    plain = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    with plain:
        plain.settimeout(20.0)
        plain.connect(address)
        if not isinstance(address, str):
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces[:-1]:
            plain.sendall(piece)
        last = pieces[-1] if pieces else b""
        if context is None:
            try:
                plain.sendall(last + data)
            except OSError:
                pass  # it has been refused before it has said anything
            return read_all(plain)
        return call_tls(plain, last, context, data)


def call_tls(
    plain: socket.socket, last: bytes, context: ssl.SSLContext, data: bytes, name: str = "a.example"
) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    received = b""
    written = False
    while True:
        try:
            if not written:
                tls.do_handshake()
                tls.write(data)
                written = True
            while got := tls.read(65_536):
                received += got
            return received
        except ssl.SSLWantReadError:
            say, last = last + outgoing.read(), b""
            if say:
                plain.sendall(say)
            more = plain.recv(65_536)
            if not more:
                return received
            incoming.write(more)


def read_all(plain: socket.socket) -> bytes:
    received = b""
    try:
        while got := plain.recv(65_536):
            received += got
    except ConnectionResetError:
        pass
    return received


class HeaderCase(TestCase):
    """A gateway whose port reads PROXY headers, from this machine."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)
        self.upstream = start_upstream(self, answer(b"ok"))

    async def start(self, listener: Listener | None = None, routes: Any = None, **settings: Any) -> RunningGateway:
        """Serve a listener, HTTP without another one."""
        return await start_gateway(self, self.model(listener, routes, **settings))

    def model(self, listener: Listener | None = None, routes: Any = None, **settings: Any) -> Any:
        """Give such a gateway."""
        listener = http_listener() if listener is None else listener
        headers = ProxyHeaders(**{"trusted": LOCALHOST, **settings})
        ports = (PortSettings(((listener.address, listener.port),), None, headers),)
        return gateway([listener], self.upstream, routes=routes, ports=ports)

    def https(self, **options: Any) -> Listener:
        """Give a listener with TLS."""
        return https_listener([self.server], **options)

    def forwarded_for(self) -> list[str]:
        """Say who the clients were, as the upstream was told."""
        return [request.all(b"x-forwarded-for")[0].decode() for request in self.upstream.requests]

    async def refused(self, running: RunningGateway, data: bytes, reason: Reason, address: Any = None) -> None:
        """Something gets no answer, and is counted."""
        before = running.counts().refused.get(reason, 0)
        got = await in_thread(call, address or running.address(), [data], None, b"")
        self.assertEqual(got, b"")
        await until(lambda: running.counts().refused.get(reason, 0) == before + 1)
        await running.idle()

    def logged(self) -> list[Any]:
        """Collect what is logged at the default level from now on."""
        events: list[Any] = []

        def note(event: Any) -> None:
            if event["log_level"] >= LogLevel.info and event["log_namespace"].startswith("edgegw"):
                events.append(event)

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        return events


class ClientTests(HeaderCase):
    """Whose a connection is."""

    async def test_http(self) -> None:
        """Every kind of header, with the request in the same segment and byte by byte."""
        for mode in (REQUIRED, OPTIONAL):
            running = await self.start(mode=mode)
            for header, client in HEADERS:
                self.upstream.requests.clear()
                one_by_one = [bytes([byte]) for byte in header]
                for pieces in ([header], one_by_one, [*one_by_one, b""]):
                    got = await in_thread(call, running.address(), pieces)
                    self.assertTrue(got.endswith(b"ok"), (header, got))
                self.assertEqual(self.forwarded_for(), [client] * 3)
            await running.stop()

    async def test_https(self) -> None:
        """The same with a ClientHello, on a port with one certificate and on one whose names matter."""
        other = self.pki.issue("b.example", dns=["b.example"], usages=SERVER)
        for listener in (self.https(), https_listener([self.server, other]), self.https(hostname="a.example")):
            running = await self.start(listener)
            for header, client in HEADERS:
                self.upstream.requests.clear()
                one_by_one = [bytes([byte]) for byte in header]
                for pieces in ([header], one_by_one, [*one_by_one, b""]):
                    got = await in_thread(call, running.address(), pieces, client_context(self.pki))
                    self.assertTrue(got.endswith(b"ok"), (header, got))
                self.assertEqual(self.forwarded_for(), [client] * 3)
                entries, _ = running.record.entries(3)
                self.assertEqual({one["peer"] for one in entries}, {client})
                self.assertEqual({one["result"] for one in entries}, {"accepted"})
            await running.stop()

    async def test_unix_socket(self) -> None:
        """Who connects to a Unix socket may be trusted, too."""
        address = f"unix:{self.mktemp()}"
        for listener in (http_listener(address=address), self.https(address=address)):
            context = None if listener.tls is None else client_context(self.pki)
            for mode in (REQUIRED, OPTIONAL):
                running = await self.start(listener, trusted=(), unix=True, mode=mode)
                self.upstream.requests.clear()
                for header, _ in HEADERS[:4]:
                    for pieces in ([header], [bytes([byte]) for byte in header]):
                        got = await in_thread(call, address.removeprefix("unix:"), pieces, context)
                        self.assertTrue(got.endswith(b"ok"), (header, got))
                self.assertEqual(self.forwarded_for(), [client for _, client in HEADERS[:4] for _ in range(2)])
                await running.stop()
            running = await self.start(listener)
            await self.refused(running, HEADERS[0][0], Reason.UNTRUSTED_PROXY, address.removeprefix("unix:"))
            await running.stop()

    async def test_addresses(self) -> None:
        """A protocol's transport has the client's addresses, both of them."""
        running = await self.start()
        for header, peer, host in (
            (encode_v1(FOUR), IPv4Address("TCP", "192.0.2.1", 40_000), IPv4Address("TCP", "198.51.100.7", 8443)),
            (encode_v2(SIX), IPv6Address("TCP", "2001:db8::1", 40_000), IPv6Address("TCP", "2001:db8::2", 8443)),
        ):
            client = await connect(self, running.address())
            client.send(header + b"GET")
            await until(lambda: running.counts().connections == 1)
            (profile,) = running.generation._profiles.values()
            (transport,) = profile.transports
            self.assertEqual((transport.getPeer(), transport.getHost()), (peer, host))
            client.transport.abortConnection()
            await running.idle()

    async def test_told_on(self) -> None:
        """An upstream that wants to know is told of the client, not of the proxy."""
        received: list[bytes] = []
        upstream = start_upstream(self, name="far", proxy_protocol=ProxyProtocol.V1)

        def on_data(one: Any, data: bytes) -> None:
            received.append(data)
            one.transport.write(answer(b"ok"))

        upstream.on_data = on_data
        self.upstream = upstream
        running = await self.start()
        await in_thread(call, running.address(), [encode_v2(FOUR)])
        self.assertTrue(b"".join(received).startswith(encode_v1(FOUR)), received)

    async def test_forwarding(self) -> None:
        """It is the client that has to be trusted with x-forwarded-for: that the proxy is makes no difference."""
        data = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-forwarded-for: 203.0.113.9\r\n\r\n"
        for trusted, expected in ((LOCALHOST, "192.0.2.1"), ((ip_network("192.0.2.0/24"),), "203.0.113.9, 192.0.2.1")):
            running = await self.start(http_listener(forwarding=Forwarding(trusted)))
            self.upstream.requests.clear()
            await in_thread(call, running.address(), [encode_v1(FOUR)], None, data)
            self.assertEqual(self.forwarded_for(), [expected])
            await running.stop()

    async def test_policies(self) -> None:
        """Policies see what the proxy has said, and no identity of it."""
        seen: list[Any] = []

        @policy("watch", without_certificate=True)
        def watch(peer: Peer) -> Verdict:
            """Look at what a proxy has said."""
            seen.append((peer.address, peer.proxied, peer.verified, peer.common_name, peer.server_name))
            if peer.proxied is not None and peer.proxied.authority == "good.example":
                return Accept()
            return Reject("watch", "it is not for good.example")

        said = ClientTLS("TLSv1.3", "X", True, False, True, "billing")
        header = encode_v2(FOUR, said, "good.example", b"h2")
        facts = ProxyFacts(
            "127.0.0.1", 0, 2, False, ("198.51.100.7", 8443), "good.example", "h2", "",
            ProxiedTLS("TLSv1.3", "X", True, True, 0, "billing"),
        )
        wanted = validation(self.pki, policies=(use(watch),), required=False, on_missing=OnMissing.ACCEPT)
        of_rule = Route("all", rules=(RouteRule(backends=(BackendRef("upstream"),), policies=(use(watch),)),))
        for listener, routes, server_name in (
            (http_listener(), [of_rule], None), (self.https(client_validation=wanted), None, "a.example"),
        ):
            running = await self.start(listener, routes)
            context = None if listener.tls is None else client_context(self.pki)
            seen.clear()
            self.assertTrue((await in_thread(call, running.address(), [header], context)).endswith(b"ok"))
            ((address, proxied, *identity),) = seen
            self.assertEqual(evolve(proxied, peer_port=0), facts)
            self.assertEqual((address, identity), ("192.0.2.1", [False, "", server_name]))
            try:
                got = await in_thread(call, running.address(), [encode_v2(FOUR, None, "bad.example")], context)
            except ssl.SSLError:
                got = b""
            self.assertFalse(got.endswith(b"ok"))
            await running.stop()

    async def test_record(self) -> None:
        """The record has what the proxy has said, of those that come in and of those that do not."""
        events = self.logged()
        running = await self.start(self.https(client_validation=validation(self.pki)))
        header = with_checksum(v2(FOUR_BYTES + entry(2, b"a.example") + entry(5, b"id-7") + entry(3, bytes(4))))
        good = client_context(self.pki, self.pki.issue("good"))
        self.assertTrue((await in_thread(call, running.address(), [header], good)).endswith(b"ok"))
        try:
            await in_thread(call, running.address(), [header], client_context(self.pki))
        except ssl.SSLError:
            pass
        await running.idle()
        entries, _ = running.record.entries(2)
        self.assertEqual([(one["peer"], one["port"]) for one in entries], [("192.0.2.1", 40_000)] * 2)
        self.assertEqual([one["reason"] for one in entries], ["", "no_certificate"])
        for one in entries:
            proxied = one["proxied"]
            assert isinstance(proxied, dict)
            self.assertEqual((proxied["peer"], proxied["version"]), ("127.0.0.1", 2))
            self.assertEqual((proxied["authority"], proxied["unique_id"]), ("a.example", "id-7"))
            self.assertEqual(proxied["destination"], {"address": "198.51.100.7", "port": 8443})
        (event,) = events
        self.assertEqual(event["peer"], "192.0.2.1")
        self.assertIn("PROXY v2 from 127.0.0.1, authority a.example, id id-7", event["through"])

    async def test_limits(self) -> None:
        """Connections count for the client and not for the proxy, and in all from the first moment."""
        limits = ConnectionLimits(max_connections=3, max_connections_per_peer=1)
        for listener in (http_listener(limits=limits), self.https(limits=limits)):
            running = await self.start(listener)
            (profile,) = running.generation._profiles.values()
            first = await connect(self, running.address())
            first.send(encode_v1(FOUR))
            second = await connect(self, running.address())
            second.send(encode_v2(SIX))
            await until(lambda held=profile.held: held.peers == {"192.0.2.1": 1, "2001:db8::1": 1})
            third = await connect(self, running.address())
            third.send(encode_v2(FOUR))
            await third.closed()
            self.assertEqual(running.counts().refused, {Reason.MAX_CONNECTIONS_PER_PEER: 1})
            if listener.tls is not None:
                entries, _ = running.record.entries(1)
                self.assertEqual((entries[0]["peer"], entries[0]["proxied"]["peer"]), ("192.0.2.1", "127.0.0.1"))
            silent = await connect(self, running.address())
            await until(lambda held=profile.held: held.total == 3)
            more = await connect(self, running.address())
            await more.closed()
            self.assertEqual(running.counts().refused.get(Reason.MAX_CONNECTIONS), 1)
            silent.send(encode_v1(None) + b"GET")
            await until(lambda held=profile.held: held.peers.get("127.0.0.1") == 1)
            self.assertEqual(profile.held.total, 3)
            for one in (first, second, silent):
                one.transport.abortConnection()
            await running.idle()
            self.assertEqual((profile.held.total, profile.held.peers), (0, {}))
            await running.stop()


FOUR_BYTES = encode_v2(FOUR)[16:]


class RefusalTests(HeaderCase):
    """What is no header, and who may not send one."""

    async def test_missing(self) -> None:
        """Where one is required nobody is served without."""
        for listener in (http_listener(), self.https()):
            running = await self.start(listener)
            for data in (get(), b"\x16\x03\x01\x00\x05hello", b"P0ST", b"\r\n\r\nx"):
                await self.refused(running, data, Reason.PROXY_HEADER_MISSING)
            self.assertEqual(running.counts().connections, 0)
            if listener.tls is not None:
                entries, _ = running.record.entries(1)
                self.assertIn("it begins with", str(entries[0]["detail"]))
            await running.stop()

    async def test_bad(self) -> None:
        """Malformed and overlong ones are refused in either mode, also where nobody waits for their end."""
        for mode in (REQUIRED, OPTIONAL):
            running = await self.start(mode=mode, max_bytes=256)
            for data in (
                b"PROXY TCP4 evil<script> 5.6.7.8 1 443\r\n", b"PROXY " + bytes(200), b"PROXY TCP4\n",
                SIGNATURE + b"\x31\x11\x00\x0c", SIGNATURE + b"\x21\x11\x00\xf1", v2(FOUR_BYTES + b"\x02\xff"),
                with_checksum(v2(FOUR_BYTES + entry(3, bytes(4))))[:-1] + b"x",
            ):
                await self.refused(running, data, Reason.BAD_PROXY_HEADER)
            got = await in_thread(call, running.address(), [v2(FOUR_BYTES + entry(4, bytes(225)))])
            self.assertTrue(got.endswith(b"ok"))
            await running.stop()

    async def test_time(self) -> None:
        """Who does not send the whole of it in time is refused, however busily it sends."""
        events = self.logged()
        for mode in (REQUIRED, OPTIONAL):
            running = await self.start(mode=mode, timeout=0.1)
            for data in (b"", b"P", b"PROXY TCP4 1.2.3.4", SIGNATURE[:5], encode_v2(FOUR)[:-1]):
                before = running.counts().refused.get(Reason.PROXY_HEADER_TIMEOUT, 0)
                client = await connect(self, running.address())
                client.send(data)
                self.assertEqual(await client.closed(), b"")
                self.assertEqual(running.counts().refused, {Reason.PROXY_HEADER_TIMEOUT: before + 1})
                await running.idle()
            await running.stop()
        self.assertEqual(events, [])

    async def test_no_spinning(self) -> None:
        """What has come and may be anything is looked at a few times, not all the time."""
        running = await self.start(mode=OPTIONAL, timeout=0.5)
        looks: list[int] = []
        read = _HeaderReader.doRead

        def look(reader: _HeaderReader) -> Any:
            looks.append(1)
            return read(reader)

        self.patch(_HeaderReader, "doRead", look)
        client = await connect(self, running.address())
        client.send(b"PROX")
        await client.closed()
        self.assertTrue(0 < len(looks) < 12, len(looks))

    async def test_closed(self) -> None:
        """Health checks that connect and close, and clients that leave, are no news."""
        events = self.logged()
        for listener in (http_listener(), self.https()):
            running = await self.start(listener)
            for data in (b"", b"PROXY TCP", encode_v2_local(), encode_v1(FOUR)):
                client = await connect(self, running.address())
                client.send(data)
                client.transport.loseConnection()
                await client.closed()
                await running.idle()
            self.assertEqual(running.counts().refused, {Reason.CLIENT_CLOSED: 2})
            await running.stop()
        self.assertEqual(events, [])

    async def test_untrusted(self) -> None:
        """Where headers are required others get nothing; where they are optional theirs are not read."""
        elsewhere = (ip_network("10.0.0.0/8"), ip_network("::/0"))
        events = self.logged()
        running = await self.start(trusted=elsewhere)
        for data in (encode_v1(FOUR), get(), b""):
            await self.refused(running, data, Reason.UNTRUSTED_PROXY)
        self.assertEqual(events, [])
        await running.stop()
        running = await self.start(trusted=elsewhere, mode=OPTIONAL)
        for header, _ in HEADERS:
            got = await in_thread(call, running.address(), [header])
            self.assertTrue(got.startswith(b"HTTP/1.1 400 ") or not got, got)
        self.assertEqual(self.upstream.requests, [])
        self.assertTrue((await in_thread(call, running.address(), [])).endswith(b"ok"))
        self.assertEqual(self.forwarded_for(), ["127.0.0.1"])
        await running.stop()
        running = await self.start(self.https(), trusted=elsewhere, mode=OPTIONAL)
        with self.assertRaises(OSError):
            got = await in_thread(call, running.address(), [encode_v1(FOUR)], client_context(self.pki))
            raise OSError(got)
        got = await in_thread(call, running.address(), [], client_context(self.pki))
        self.assertTrue(got.endswith(b"ok"))
        self.assertEqual(self.forwarded_for(), ["127.0.0.1"] * 2)

    async def test_optional(self) -> None:
        """Without a header the proxy is the client, and not a byte is lost."""
        data = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi"
        running = await self.start(mode=OPTIONAL)
        for pieces in ([], [b"P"], [b"P", b"O", b"S"], [b"\r\n"]):
            rest = data if pieces == [b"\r\n"] else data[len(b"".join(pieces)) :]
            got = await in_thread(call, running.address(), pieces, None, rest)
            self.assertTrue(got.endswith(b"ok"), got)
        client = await connect(self, running.address())
        client.send(data[:1])
        await until(lambda: running.generation.connections == 1)
        client.send(data[1:])
        self.assertEqual((await client.response()).body, b"ok")
        self.assertEqual(self.forwarded_for(), ["127.0.0.1"] * 5)
        self.assertEqual({request.body for request in self.upstream.requests}, {b"hi"})
        await running.stop()
        running = await self.start(self.https(), mode=OPTIONAL)
        got = await in_thread(call, running.address(), [], client_context(self.pki))
        self.assertTrue(got.endswith(b"ok"))


class LifeTests(HeaderCase):
    """Reloads, and the end of the gateway."""

    async def test_reload(self) -> None:
        """A connection whose header is being read is served by the configuration that has accepted it."""
        running = await self.start()
        client = await connect(self, running.address())
        client.send(encode_v1(FOUR)[:10])
        await until(lambda: running.generation.connections == 1)
        before = running.generation
        running.reload(self.model(trusted=(ip_network("10.0.0.0/8"),)))
        await self.refused_now(running)
        client.send(encode_v1(FOUR)[10:] + get())
        self.assertEqual((await client.response()).body, b"ok")
        await until(lambda: before.connections == 0)
        self.assertEqual(self.forwarded_for(), ["192.0.2.1"])

    async def refused_now(self, running: RunningGateway) -> None:
        other = await connect(self, running.address())
        self.assertEqual(await other.closed(), b"")
        self.assertEqual(running.counts().refused, {Reason.UNTRUSTED_PROXY: 1})

    async def test_abort(self) -> None:
        """Nothing is left of those whose header has not come."""
        for mode in (REQUIRED, OPTIONAL):
            running = await self.start(mode=mode)
            clients = []
            for data in (b"", b"P", SIGNATURE):
                client = await connect(self, running.address())
                client.send(data)
                clients.append(client)
            (profile,) = running.generation._profiles.values()
            await until(lambda held=profile.held: held.total == 3)
            await running.stop()
            for client in clients:
                await client.closed()
            self.assertEqual((profile.held.total, profile.held.peers), (0, {}))
            self.assertEqual(running.counts().refused, {Reason.DRAINING: 3})

    async def test_what_fails(self) -> None:
        """A fault of the gateway's own costs one connection and not the port."""
        running = await self.start()

        def fail(*_: Any) -> None:
            raise ZeroDivisionError

        self.patch(_HeaderReader, "_take", fail)
        (profile,) = running.generation._profiles.values()
        for at_once in (True, False):
            # The port accepts when the reactor goes on, and then the header is there, or is not.
            with socket.create_connection(running.address()) as plain:
                if not at_once:
                    await until(lambda: profile.held.total == 1)
                plain.sendall(encode_v1(FOUR))
                await until(lambda end=2 - at_once: running.counts().refused.get(Reason.CLIENT_CLOSED) == end)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            await running.idle()
            self.assertEqual(profile.held.total, 0)
            self.assertFalse([one for one in reactor.getReaders() if isinstance(one, _HeaderReader)])

    async def test_costs_nothing_elsewhere(self) -> None:
        """A port that reads no headers takes what begins like one for what its protocol takes it for."""
        running = await start_gateway(self, gateway([http_listener()], self.upstream))
        got = await in_thread(call, running.address(), [encode_v1(FOUR)])
        self.assertTrue(got.startswith(b"HTTP/1.1 400 "), got)
        client = await connect(self, running.address())
        await until(lambda: running.generation.connections == 1)
        (profile,) = running.generation._profiles.values()
        (transport,) = profile.transports
        self.assertIsNone(profile.proxy_headers)
        self.assertIs(type(transport), Server)
        client.transport.abortConnection()


class OtherImplementationTests(HeaderCase):
    """Proxies and clients that others have made."""

    async def test_curl(self) -> None:
        """curl says that it is its own proxy."""
        running = await self.start(self.https())
        certificate, _ = files(self, self.pki)
        host, port = running.address()
        done = await run(
            "curl", "--silent", "--show-error", "--haproxy-protocol", "--cacert", certificate,
            "--connect-to", f"a.example:443:{host}:{port}", "https://a.example/",
        )
        self.assertEqual((done.exit, done.text), (0, "ok"))
        entries, _ = running.record.entries(1)
        proxied = entries[0]["proxied"]
        assert isinstance(proxied, dict)
        self.assertEqual((proxied["version"], entries[0]["peer"]), (1, "127.0.0.1"))
        self.assertEqual((proxied["port"], proxied["destination"]["port"]), (entries[0]["port"], port))

    async def test_haproxy(self) -> None:
        """HAProxy tells of its clients, and its health checks make no noise."""
        if which("haproxy") is None:
            raise SkipTest("there is no haproxy")
        events = self.logged()
        seen: list[ProxyFacts | None] = []

        @policy("watch", without_certificate=True)
        def watch(peer: Peer) -> Verdict:
            """Look at what a proxy has said."""
            seen.append(peer.proxied)
            return Accept()

        rule = RouteRule(backends=(BackendRef("upstream"),), policies=(use(watch),))
        running = await self.start(routes=[Route("all", rules=(rule,))])
        plain, secure = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.start_haproxy(running, plain, secure)
        got = await in_thread(call, plain.getsockname(), [])
        self.assertTrue(got.endswith(b"ok"), got)
        for client in (self.pki.issue("billing"), None):
            context = client_context(self.pki, client, alpn=["http/1.1"])
            got = await in_thread(call, secure.getsockname(), [], context)
            self.assertTrue(got.endswith(b"ok"), got)
        first, second, third = seen
        assert first is not None and second is not None and third is not None
        self.assertEqual((first.version, first.destination), (1, plain.getsockname()))
        self.assertEqual((second.version, second.destination), (2, secure.getsockname()))
        self.assertEqual((second.authority, second.alpn, second.unique_id), ("a.example", "http/1.1", "id-127.0.0.1"))
        assert second.tls is not None and third.tls is not None
        self.assertEqual((second.tls.version, second.tls.common_name), ("TLSv1.3", "billing"))
        self.assertTrue(second.tls.verified)
        self.assertFalse(third.tls.verified or third.tls.common_name)
        # Two checks at least, each of a connection that is closed at once.
        await until(lambda: running.counts().connections_total >= 3 + 4)
        self.assertEqual([event["log_format"] for event in events], [])
        self.assertLessEqual(set(running.counts().refused), {Reason.CLIENT_CLOSED})

    def start_haproxy(self, running: RunningGateway, plain: socket.socket, secure: socket.socket) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        shown: Issued = self.server
        (directory / "server.pem").write_bytes(shown.chain_pem + shown.key_pem)
        (directory / "ca.pem").write_bytes(self.pki.pem)
        host, port = running.address()
        (directory / "haproxy.cfg").write_text(f"""\
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    unique-id-format id-%ci
listen plain
    bind fd@{plain.fileno()}
    server gateway {host}:{port} send-proxy check inter 100ms
listen secure
    bind fd@{secure.fileno()} ssl crt {directory}/server.pem ca-file {directory}/ca.pem verify optional alpn http/1.1
    server gateway {host}:{port} send-proxy-v2-ssl-cn proxy-v2-options authority,unique-id,crc32c check inter 100ms
""")
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")],
            pass_fds=(plain.fileno(), secure.fileno()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

        def end() -> None:
            process.kill()
            process.wait()
            plain.close()
            secure.close()

        self.addCleanup(end)
