"""The ClientHello is looked at before OpenSSL sees it, on ports where names matter."""
from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from edgegw.model import ConnectionLimits, Listener, TLSSettings
from edgegw.tls.hello import HANDSHAKE, HELLO
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reason
from tests.gateway import SERVER, Authority, https_listener, in_thread, run, until
from tests.test_client_hello import from_pyopenssl, in_records, message_of
from tests.tls_peers import TLS1_2, BarePort, connect, start_port, try_tls, visit

reactor: Any = global_reactor

DECODE_ERROR = b"\x15\x03\x03\x00\x02\x02\x32"
UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
SHORT = ConnectionLimits(handshake_timeout=0.3)


class HelloCase(TestCase):
    """A port with two listeners, so that the name has to be read first."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.certificates = {
            name: self.pki.issue(name, dns=[name], usages=SERVER) for name in ("a.example", "b.example", "*.c.example")
        }
        self.reads = 0
        real = TLSServer.doRead

        def counted(transport: TLSServer) -> Any:
            self.reads += 1
            return real(transport)

        self.patch(TLSServer, "doRead", counted)

    def listeners(self, address: str | None = "127.0.0.1", **options: Any) -> list[Listener]:
        """Give one listener for each name."""
        return [
            https_listener([issued], name=name, hostname=name, address=address, **options)
            for name, issued in self.certificates.items()
        ]

    def start(self, **options: Any) -> BarePort:
        """Serve them."""
        return start_port(self, self.listeners(**options))

    async def dialogue(self, port: BarePort, *pieces: bytes, close: bool = False) -> bytes:
        """Send pieces, each when the gateway has seen the one before; give what comes until the end."""
        plain = connect(port.address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            reads = self.reads
            plain.sendall(piece)
            if number < len(pieces) - 1:
                await until(lambda reads=reads: self.reads > reads)  # type: ignore[misc]  # bound now
        if close:
            plain.shutdown(socket.SHUT_WR)

        def rest() -> bytes:
            got = b""
            try:
                while data := plain.recv(1000):
                    got += data
            except ConnectionResetError:
                pass
            plain.close()
            return got

        return await in_thread(rest)  # type: ignore[no-any-return]  # what rest() gives


class ChoiceTests(HelloCase):
    """Which listener a name leads to."""

    async def test_names(self) -> None:
        """Exact names, wildcards and names in capitals lead to their listener and its certificate."""
        port = self.start()
        for name, listener in {
            "a.example": "a.example",
            "B.Example": "b.example",
            "x.c.example": "*.c.example",
            "x.y.c.example": "*.c.example",
            "unknown.example": "a.example",
            None: "a.example",
        }.items():
            outcome = await visit(port, server_name=name)
            self.assertTrue(outcome.ok, name)
            self.assertEqual((name, port.talks[-1].info.listener), (name, listener))
            self.assertEqual(outcome.common_name, listener)

    async def test_strict(self) -> None:
        """Where names are strict an unknown name and none at all get the alert unrecognized_name."""
        port = start_port(self, https_listener([self.certificates["a.example"]], tls=TLSSettings((), strict_sni=True)))
        self.assertTrue((await visit(port)).ok)
        for name in ("unknown.example", None):
            outcome = await visit(port, server_name=name)
            self.assertEqual((outcome.alert, outcome.reply), (112, b""))
        self.assertEqual(port.failures, {Reason.UNRECOGNIZED_NAME: 2})

    async def test_each_listener_counts_its_own(self) -> None:
        """A connection and its handshake are counted for the listener that its name leads to."""
        port = self.start()
        await gatherResults([visit(port, server_name=name) for name in ("a.example", "b.example", "b.example")])
        await port.idle()
        counts = {name: (one.handshakes, one.connections_total) for name, one in port.metrics.items()}
        self.assertEqual(counts, {"a.example": (1, 1), "b.example": (2, 2), "*.c.example": (0, 0)})


class PieceTests(HelloCase):
    """Hellos that come in pieces."""

    async def test_in_segments(self) -> None:
        """A hello over several TCP segments is waited for, with one read for each and no spinning."""
        port = self.start()
        hello = from_pyopenssl("b.example")
        pieces = [hello[at : at + 200] for at in range(0, len(hello), 200)]
        dialogue = self.dialogue(port, *pieces, close=True)
        await dialogue
        await port.idle()
        # One for each piece, one or two for the handshake, and those of the end.
        self.assertLessEqual(self.reads, len(pieces) + 4)
        self.assertEqual(port.metrics["b.example"].handshake_failures, {Reason.CLIENT_CLOSED: 1})

    async def test_incomplete_hello_does_not_spin(self) -> None:
        """While a client waits in the middle of its hello the gateway reads nothing, and then goes on."""
        port = self.start()
        hello = from_pyopenssl("b.example")
        plain = connect(port.address)
        plain.sendall(hello[:300])
        await until(lambda: self.reads == 1)
        await in_thread(self.wait_a_while)
        self.assertEqual(self.reads, 1)
        (transport,) = port.transports
        self.assertEqual(transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT), 301)
        plain.sendall(hello[300:])
        await until(lambda: transport.state == HANDSHAKE)
        self.assertEqual(transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT), 1)
        self.assertEqual((transport.judge.model.name, transport.server_name), ("b.example", "b.example"))
        self.assertEqual(self.reads, 2)
        plain.close()
        await port.idle()

    def wait_a_while(self) -> None:
        """Give a spinning reactor time to show it."""
        connect_again = socket.socketpair()
        connect_again[0].settimeout(0.1)
        try:
            connect_again[0].recv(1)
        except TimeoutError:
            pass
        for one in connect_again:
            one.close()

    async def test_half_closed_hello(self) -> None:
        """A client that closes its half in the middle of its hello is let go at once, without spinning."""
        port = self.start()
        self.assertEqual(await self.dialogue(port, from_pyopenssl("b.example")[:300], b"\x00", close=True), b"")
        await port.idle()
        self.assertLessEqual(self.reads, 4)
        self.assertEqual(port.failures, {Reason.CLIENT_CLOSED: 1})

    async def test_incomplete_on_a_unix_socket(self) -> None:
        """A Unix socket has no low-water mark; there an incomplete hello is looked at now and then."""
        path = f"{Path(self.mktemp()).absolute()}"
        if len(path) > 90:
            path = f"/tmp/edgegw-{id(self)}.sock"
        port = start_port(self, self.listeners(address=f"unix:{path}"))
        hello = from_pyopenssl("b.example")
        plain = connect(path)
        plain.sendall(hello[:300])
        await until(lambda: self.reads >= 1)
        await in_thread(self.wait_a_while)
        self.assertLess(self.reads, 20)
        plain.sendall(hello[300:])
        await until(lambda: port.transports[0].state == HANDSHAKE)
        plain.close()
        await port.idle()
        self.assertTrue((await in_thread(try_tls, path, server_name="b.example")).ok)
        self.assertEqual(port.talks[-1].info.peer, "unix:")
        self.assertEqual((port.talks[-1].info.peer_port, port.talks[-1].info.local_port), (0, 0))

    async def test_over_records(self) -> None:
        """A hello over several records leads to its listener; OpenSSL then reads the same bytes."""
        port = self.start()
        split = in_records(message_of(from_pyopenssl("b.example")), [100, 1, 700])
        plain = connect(port.address)
        plain.sendall(split)
        first = await in_thread(plain.recv, 5)
        self.assertEqual(first[0], 22)  # a handshake record: ServerHello
        plain.close()
        await port.idle()
        self.assertEqual(port.metrics["b.example"].connections_total, 1)

    async def test_dripping_client(self) -> None:
        """No byte that a client sends puts the end of its time off."""
        port = self.start(limits=SHORT)
        hello = from_pyopenssl("b.example")

        def drip() -> int:
            with connect(port.address) as plain:
                for number in range(len(hello) - 1):
                    try:
                        plain.sendall(hello[number : number + 1])
                        plain.settimeout(0.02)
                        if not plain.recv(1):
                            return number
                    except TimeoutError:
                        continue
                    except OSError:
                        return number
            raise AssertionError("it was listened to to the end")

        self.assertLess(await in_thread(drip), 200)
        await port.idle()
        self.assertEqual(port.failures, {Reason.HANDSHAKE_TIMEOUT: 1})

    async def test_silent_client(self) -> None:
        """A client that says nothing is let go, whether names matter or not."""
        ports = [self.start(limits=SHORT), start_port(self, self.plain_choice(SHORT))]
        for port in ports:
            self.assertEqual(await self.dialogue(port), b"")
            await port.idle()
            self.assertEqual(port.failures, {Reason.HANDSHAKE_TIMEOUT: 1})

    def plain_choice(self, limits: ConnectionLimits | None = None) -> Listener:
        """Give a listener where names make no difference."""
        return https_listener([self.certificates["a.example"]], limits=limits)

    async def test_slow_handshake(self) -> None:
        """The time limit holds for the whole handshake, also for a client that stops after its hello."""
        port = start_port(self, self.plain_choice(SHORT))
        await self.dialogue(port, from_pyopenssl("a.example"))
        await port.idle()
        self.assertEqual(port.failures, {Reason.HANDSHAKE_TIMEOUT: 1})

    async def test_time_is_not_limited_afterwards(self) -> None:
        """A connection that is open may take as long as its protocol lets it."""
        port = start_port(self, self.plain_choice(SHORT), _Silent)

        def client() -> bytes:


            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(connect(port.address)) as secure:
                self.wait_a_while()
                for _ in range(6):
                    self.wait_a_while()
                secure.sendall(b"ping")
                return secure.recv(10)

        self.assertEqual(await in_thread(client), b"pong")
        await port.idle()


class GarbageTests(HelloCase):
    """What is not TLS, or not readable."""

    async def test_refusals(self) -> None:
        """Each kind is refused once, with an alert where it is TLS at all, and with both kinds of ports."""
        cases: dict[bytes, tuple[Reason, bytes]] = {
            b"\x80\x2e\x01\x00\x02" + bytes(41): (Reason.NOT_TLS, b""),
            b"\x00" * 100: (Reason.NOT_TLS, b""),
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00": (Reason.BAD_CLIENT_HELLO, DECODE_ERROR),
            b"\x16\x03\x01\x00\x09\x01\x00\x00\x05hello": (Reason.BAD_CLIENT_HELLO, DECODE_ERROR),
            b"\x16\x03\x01\x40\x00\x01\x00\xff\xff": (Reason.BAD_CLIENT_HELLO, DECODE_ERROR),
            b"": (Reason.CLIENT_CLOSED, b""),
            b"\x16": (Reason.CLIENT_CLOSED, b""),
        }
        for data, (reason, alert) in cases.items():
            port = self.start()
            self.assertEqual((data, await self.dialogue(port, data, close=True)), (data, alert))
            await port.idle()
            self.assertEqual((data, port.failures), (data, {reason: 1}))

    async def test_refusals_by_openssl(self) -> None:
        """Where names make no difference OpenSSL finds the same out; nothing is left or logged as an error."""
        for data, reason in {
            b"\x80\x2e\x01\x00\x02" + bytes(41): Reason.NOT_TLS,
            b"\x00" * 100: Reason.NOT_TLS,
            b"": Reason.CLIENT_CLOSED,
            b"\x16": Reason.CLIENT_CLOSED,
        }.items():
            port = start_port(self, https_listener([self.certificates["a.example"]]))
            await self.dialogue(port, data, close=True)
            await port.idle()
            self.assertEqual((data, port.failures), (data, {reason: 1}))

    async def test_endless_hello(self) -> None:
        """A client that never ends its hello is refused when it is too long; what it sends on is bounded."""
        port = self.start()
        long = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xf0" + bytes(16_380)
        self.assertEqual(await self.dialogue(port, long, long, close=True), DECODE_ERROR)
        await port.idle()
        self.assertEqual(port.failures, {Reason.BAD_CLIENT_HELLO: 1})

    async def test_old_versions(self) -> None:
        """A client that speaks nothing newer than TLS 1.1 is told protocol_version."""
        for port in (self.start(), start_port(self, https_listener([self.certificates["a.example"]]))):
            done = await run(
                "openssl", "s_client", "-connect", "{}:{}".format(*port.address), "-tls1_1",
                "-cipher", "ALL:@SECLEVEL=0", "-servername", "a.example",
            )  # fmt: skip
            self.assertIn("SSL alert number 70", done.text)
            await port.idle()
            self.assertEqual(port.failures, {Reason.PROTOCOL_VERSION: 1})

    async def test_client_refuses(self) -> None:
        """A client that does not trust the gateway's certificate is counted as one that sent an alert."""
        port = self.start()
        for version in ("--tlsv1.2", "--tlsv1.3"):
            done = await run(
                "curl", "-sS", version, "--tls-max", version[-3:], "--resolve",
                f"a.example:{port.address[1]}:127.0.0.1", f"https://a.example:{port.address[1]}/",
            )  # fmt: skip
            self.assertEqual(done.exit, 60)
        await port.idle()
        self.assertEqual(port.failures, {Reason.CLIENT_ALERT: 2})

    async def test_hello_state(self) -> None:
        """Before a byte has come a connection is counted with the port, not with a listener."""
        port = self.start()
        plain = connect(port.address)
        await until(lambda: port.transports)
        self.assertEqual((port.transports[0].state, port.counts.connections), (HELLO, 0))
        plain.close()
        await port.idle()
        self.assertEqual((await visit(port, version=TLS1_2)).ok, True)


class _Silent:
    """Says nothing until it is asked."""

    transport: Any

    def __init__(self, info: object) -> None:
        self.info = info

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"pong")
        self.transport.loseConnection()

    def connectionLost(self, reason: object) -> None:
        pass
