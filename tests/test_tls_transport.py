"""The TLS transport with real OpenSSL peers on real sockets: bytes, pressure, and every way to end."""
from __future__ import annotations

import ctypes
import ctypes.util
import gc
import hashlib
import socket
import ssl
import time
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.tls import openssl
from edgegw.tls.transport import TLSServer
from edgegw.verdict import Reason
from tests.gateway import SERVER, Authority, client_context, https_listener, in_thread, open_files, run, until
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, Talk, connect, start_port, visit

reactor: Any = global_reactor
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Echo(Talk):
    """Sends back what comes, at the pace at which it is taken."""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        super().connectionLost(reason)


@implementer(IHalfCloseableProtocol)
class HalfClosing(Talk):
    """Answers when the client has sent everything."""

    def __init__(self, info: ConnectionInfo) -> None:
        super().__init__(info)
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        self.halves.append("read")
        self.transport.write(b"%d bytes" % len(self.received))
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.halves.append("write")


class Source(Talk):
    """A producer that writes pieces until it has written enough, and notes how often it was paused."""

    size = 24_000_000
    piece = b"0123456789abcdef" * 2048

    def connectionMade(self) -> None:
        self.sent = 0
        self.pauses = 0
        self.most_unsent = 0
        self.paused = False
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        self.paused = False
        while not self.paused and self.sent < self.size:
            self.sent += len(self.piece)
            self.transport.write(self.piece)
            self.most_unsent = max(self.most_unsent, self.transport.unsent)
        if self.sent >= self.size:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self.paused = True
        self.pauses += 1

    def stopProducing(self) -> None:
        self.paused = True


class TransportCase(TestCase):
    """A port and clients of it."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)

    def start(self, make: Any = Talk, **options: Any) -> BarePort:
        """Serve a protocol."""
        return start_port(self, https_listener([self.server], **options), make)

    async def ended(self, talk: Talk) -> None:
        """Wait until a connection has ended."""
        await until(lambda: talk.reason is not None)

    def wrap(self, port: BarePort, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        """Connect and shake hands; blocks."""
        plain = connect(port.address)
        return client_context(self.pki, version=version).wrap_socket(plain, server_hostname="a.example")


class ByteTests(TransportCase):
    """Everything arrives, in order, whatever its size."""

    async def test_echo_of_many_sizes(self) -> None:
        """Bytes of every awkward size come back as they were sent, in both versions."""
        port = self.start(Echo)
        sizes = (1, 2047, 2048, 2049, 16_383, 16_384, 16_385, openssl.READ_BUFFER_SIZE, openssl.READ_BUFFER_SIZE + 1)

        def client(version: ssl.TLSVersion) -> None:
            with self.wrap(port, version) as secure:
                for size in sizes:
                    data = bytes(i % 251 for i in range(size))
                    secure.sendall(data)
                    got = b""
                    while len(got) < size:
                        got += secure.recv(65_536)
                    self.assertEqual(got, data)

        for version in VERSIONS:
            await in_thread(client, version)
        await port.idle()

    async def test_burst_larger_than_the_buffer(self) -> None:
        """A burst that waits in the socket is read to its last byte without another packet coming."""
        port = self.start(Talk)
        data = bytes(range(256)) * 2000  # 512 000 bytes

        def client() -> Any:
            secure = self.wrap(port)
            secure.sendall(data)
            return secure

        secure = await in_thread(client)
        talk = await port.talk()
        await until(lambda: len(talk.received) >= len(data))
        self.assertEqual(bytes(talk.received), data)
        secure.close()
        await port.idle()

    async def test_many_small_writes(self) -> None:
        """Small writes of a protocol keep their order when the socket is full in between."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        expected = hashlib.sha256()
        for number in range(20_000):
            data = b"%d," % number * (number % 97)
            expected.update(data)
            talk.transport.write(data)
        self.assertGreater(talk.transport.unsent, 0)
        talk.transport.loseConnection()

        def read() -> bytes:
            got = hashlib.sha256()
            while data := client.recv(65_536):
                got.update(data)
            client.close()
            return got.digest()

        self.assertEqual(await in_thread(read), expected.digest())
        await port.idle()
        self.assertIsInstance(talk.reason.value, ConnectionDone)

    async def test_write_sequence(self) -> None:
        """``writeSequence`` sends its pieces as one."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        talk.transport.writeSequence([b"a", b"", b"bc"])
        talk.transport.write(b"")
        self.assertEqual(await in_thread(client.recv, 10), b"abc")
        client.close()
        await port.idle()


class PressureTests(TransportCase):
    """Who is too fast is made to wait."""

    async def test_slow_client(self) -> None:
        """A producer is paused while the client does not read, so that memory stays bounded, and resumed."""
        port = self.start(Source)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        await until(lambda: talk.paused)
        sent = talk.sent
        self.assertLess(sent, Source.size)
        self.assertLessEqual(talk.transport.unsent, talk.transport.bufferSize + len(Source.piece))

        def read() -> int:
            total = 0
            while data := client.recv(65_536):
                total += len(data)
            client.close()
            return total

        self.assertGreaterEqual(await in_thread(read), Source.size)
        self.assertGreaterEqual(talk.pauses, 1)
        self.assertLessEqual(talk.most_unsent, talk.transport.bufferSize + len(Source.piece))
        await port.idle()

    async def test_slow_protocol(self) -> None:
        """A client cannot send on while the protocol has paused its transport, and nothing is lost."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        talk.transport.pauseProducing()
        client.setblocking(False)
        sent = 0

        def fill() -> bool:
            nonlocal sent
            try:
                while True:
                    sent += client.send(bytes(16_384))
            except ssl.SSLWantWriteError:
                return True

        await in_thread(fill)
        before = len(talk.received)
        self.assertLess(before, sent)
        talk.transport.resumeProducing()
        await until(lambda: len(talk.received) >= sent)
        client.close()
        await port.idle()

    async def test_paused_from_the_start(self) -> None:
        """A protocol that pauses its transport when it is made gets nothing before it resumes it."""

        class Paused(Talk):
            def connectionMade(self) -> None:
                self.transport.pauseProducing()

        def client() -> socket.socket:
            # The first bytes come in one segment with the client's last flight.
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = client_context(self.pki).wrap_bio(incoming, outgoing, server_hostname="a.example")
            plain = connect(port.address)
            while True:
                try:
                    secure.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65_536))
            secure.write(b"early")
            plain.sendall(outgoing.read())
            return plain

        port = self.start(Paused)
        plain = await in_thread(client)
        talk = await port.talk()
        self.assertEqual(bytes(talk.received), b"")
        talk.transport.resumeProducing()
        await until(lambda: talk.received == b"early")
        plain.close()
        await port.idle()

    async def test_echo_under_pressure(self) -> None:
        """Both directions at once, more than every buffer holds, come through complete."""
        port = self.start(Echo)
        size = 6_000_000

        def client() -> int:
            with self.wrap(port) as secure:
                secure.setblocking(False)
                sent = got = 0
                data = bytes(65_536)
                deadline = time.monotonic() + 30
                while got < size and time.monotonic() < deadline:
                    if sent < size:
                        try:
                            sent += secure.send(data[: size - sent])
                        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                            pass
                    try:
                        got += len(secure.recv(65_536))
                    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        pass
                return got

        self.assertEqual(await in_thread(client), size)
        await port.idle()


class CloseTests(TransportCase):
    """Ends: clean, cut short, half, aborted."""

    async def test_client_says_goodbye(self) -> None:
        """A close_notify is a clean end, and is answered with one."""
        for version in (TLS1_2, TLS1_3):
            port = self.start(Talk)

            def client(port: BarePort = port, version: int = version) -> int:
                context = SSL.Context(SSL.TLS_CLIENT_METHOD)
                context.set_max_proto_version(version)
                with connect(port.address) as plain:
                    secure = SSL.Connection(context, plain)
                    secure.set_connect_state()
                    secure.send(b"x")
                    secure.shutdown()
                    try:
                        while True:
                            secure.recv(100)
                    except SSL.ZeroReturnError:
                        return 1

            self.assertEqual(await in_thread(client), 1)
            talk = await port.talk()
            await self.ended(talk)
            self.assertIsInstance(talk.reason.value, ConnectionDone)
            self.assertEqual(bytes(talk.received), b"x")

    async def test_truncation(self) -> None:
        """A connection that ends without close_notify is lost, not done: what came may be cut short."""
        for version in VERSIONS:
            port = self.start(Talk)
            client = await in_thread(self.wrap, port, version)
            await in_thread(client.sendall, b"half of it")
            client.close()
            talk = await port.talk()
            await self.ended(talk)
            self.assertIsInstance(talk.reason.value, ConnectionLost)
            self.assertEqual(bytes(talk.received), b"half of it")

    async def test_large_then_goodbye(self) -> None:
        """What came right before a close_notify is given to the protocol first."""
        port = self.start(HalfClosing)
        data = bytes(300_000)

        def client() -> bytes:
            secure = self.wrap(port)
            secure.sendall(data)
            secure.setblocking(True)
            secure.unwrap()
            return b""

        try:
            await in_thread(client)
        except (ssl.SSLError, OSError):
            pass  # Python's client gives up because an answer comes in place of the close_notify
        talk = await port.talk()
        await until(lambda: talk.reason is not None)
        self.assertEqual((len(talk.received), talk.halves), (len(data), ["read"]))

    async def test_half_close_by_the_client(self) -> None:
        """A protocol that knows half-close answers after the client's close_notify."""
        port = self.start(HalfClosing)

        def client() -> bytes:
            with connect(port.address) as plain:
                secure = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
                secure.set_connect_state()
                secure.send(b"four")
                secure.shutdown()
                got = b""
                try:
                    while True:
                        got += secure.recv(100)
                except SSL.ZeroReturnError:
                    return got

        self.assertEqual(await in_thread(client), b"4 bytes")
        talk = await port.talk()
        await until(lambda: talk.reason is not None)
        self.assertIsInstance(talk.reason.value, ConnectionDone)

    async def test_half_close_by_the_protocol(self) -> None:
        """``loseWriteConnection`` sends close_notify and the client can still send."""
        port = self.start(HalfClosing)
        client = await in_thread(self.wrap, port, VERSIONS[1])
        talk = await port.talk()
        talk.transport.write(b"bye")
        talk.transport.loseWriteConnection()
        self.assertEqual(await in_thread(client.recv, 10), b"bye")
        self.assertEqual(await in_thread(client.recv, 10), b"")
        await in_thread(client.sendall, b"still here")
        await until(lambda: talk.received == b"still here")
        self.assertEqual(talk.halves, ["write"])
        client.close()
        await port.idle()

    async def test_goodbye_waits_for_room(self) -> None:
        """When the client's window is full at the end, the close_notify comes once there is room."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        transport = talk.transport
        total = 0
        while not transport.unsent:
            transport.write(bytes(4096))
            total += 4096
        # What is queued now is dropped into the socket by hand, so that it is as full as it can be.
        shutdown = transport.tls.shutdown
        calls: list[int] = []

        class Full:
            """Stands for a socket that takes nothing at the first attempts."""

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def shutdown(self) -> Any:
                calls.append(1)
                if len(calls) < 3:
                    raise SSL.WantWriteError
                return shutdown()

        real = transport.tls
        closing = Full()
        write = openssl.write
        self.patch(openssl, "write", lambda connection, data: write(real, data))
        read = openssl.read
        self.patch(openssl, "read", lambda connection: read(real))
        transport.tls = closing
        transport.loseConnection()

        def drain() -> int:
            got = 0
            while data := client.recv(65_536):
                got += len(data)
            client.close()
            return got

        # Without the close_notify the client would raise: ssl tells truncation from an end.
        client.suppress_ragged_eofs = False
        self.assertEqual(await in_thread(drain), total)
        await port.idle()
        self.assertEqual(len(calls), 3)

    async def test_abort(self) -> None:
        """``abortConnection`` ends at once and says so to the protocol."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        talk.transport.write(bytes(10_000_000))
        talk.transport.abortConnection()
        talk.transport.abortConnection()
        await until(lambda: talk.reason is not None)
        self.assertIsInstance(talk.reason.value, ConnectionAborted)
        client.close()

    async def test_abort_in_the_handshake(self) -> None:
        """A handshake can be cut; no protocol is made, and it is counted once, as our doing."""
        port = self.start(Talk)
        with connect(port.address) as plain:
            plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")
            await until(lambda: port.counts.handshakes_in_progress == 1)
            for transport in port.transports:
                transport.abortConnection()
            await port.idle()
        self.assertEqual((port.talks, port.failures), ([], {Reason.DRAINING: 1}))

    async def test_client_resets(self) -> None:
        """A reset is a lost connection, while it is read and while it is written to."""
        port = self.start(Source)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        await until(lambda: talk.reason is not None)
        self.assertIsInstance(talk.reason.value, ConnectionLost)

    async def test_write_after_the_end(self) -> None:
        """Writing to a connection that has ended, or is ending, does nothing and raises nothing."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        transport = talk.transport
        transport.lose_connection_lingering()
        transport.write(b"too late")
        client.close()
        await port.idle()
        transport.write(b"later still")
        transport.loseConnection()
        transport.abortConnection()

    async def test_a_protocol_that_raises(self) -> None:
        """An exception in the protocol ends its connection, and is logged."""

        class Broken(Talk):
            def dataReceived(self, data: bytes) -> None:
                raise RuntimeError("broken")

        port = self.start(Broken)
        outcome = await visit(port)
        self.assertFalse(outcome.closed)
        await port.idle()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_a_protocol_that_cannot_be_made(self) -> None:
        """So does one in what makes the protocol: nobody comes in, and it is counted once."""

        def make(info: ConnectionInfo) -> Any:
            raise RuntimeError("broken")

        port = self.start(make)
        outcome = await visit(port)
        self.assertEqual(outcome.reply, b"")
        await port.idle()
        self.assertEqual(port.failures, {Reason.INTERNAL_ERROR: 1})
        self.assertEqual(port.counts.handshakes, 0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class ProtocolTests(TransportCase):
    """What TLS allows after the handshake and we do not."""

    async def test_renegotiation(self) -> None:
        """A TLS 1.2 client that asks for a new handshake is turned down."""
        port = self.start(Talk)
        done = await run(
            "sh", "-c",
            'printf "R\\n" | openssl s_client -connect {}:{} -tls1_2 -servername a.example 2>&1'.format(*port.address),
        )  # fmt: skip
        self.assertIn("RENEGOTIATING", done.text)
        self.assertIn("no renegotiation", done.text)
        await port.idle()
        self.assertEqual(port.counts.handshakes, 1)

    async def test_no_compression_no_early_data(self) -> None:
        """Neither compression nor 0-RTT is offered."""
        port = self.start(Talk)
        done = await run("openssl", "s_client", "-connect", "{}:{}".format(*port.address), "-tls1_3")
        self.assertIn("Compression: NONE", done.text)
        self.assertNotIn("Max Early Data: 1", done.text)

    async def test_key_updates_do_not_hold_the_reactor(self) -> None:
        """A client that sends nothing but key updates gives the reactor back after each."""
        lib = _system_libssl()
        port = self.start(Talk)
        number = 300

        def client() -> tuple[Any, Any, Any]:
            plain = connect(port.address)
            context = lib.SSL_CTX_new(lib.TLS_client_method())
            connection = lib.SSL_new(context)
            lib.SSL_set_fd(connection, plain.fileno())
            self.assertEqual(lib.SSL_connect(connection), 1)
            self.assertEqual(lib.SSL_write(connection, b"hello", 5), 5)
            return plain, context, connection

        def update(connection: Any) -> None:
            for _ in range(number):
                self.assertEqual(lib.SSL_key_update(connection, 0), 1)
                self.assertEqual(lib.SSL_do_handshake(connection), 1)
            lib.SSL_write(connection, b"end", 3)

        plain, context, connection = await in_thread(client)
        talk = await port.talk()
        await until(lambda: talk.received == b"hello")
        talk.transport.pauseProducing()
        await in_thread(update, connection)
        reads = 0
        real = openssl.read

        def read(tls: SSL.Connection) -> Any:
            nonlocal reads
            reads += 1
            return real(tls)

        self.patch(openssl, "read", read)
        talk.transport.resumeProducing()
        await until(lambda: talk.received == b"helloend")
        self.assertGreaterEqual(reads, number)
        plain.close()
        lib.SSL_free(connection)
        lib.SSL_CTX_free(context)
        await port.idle()

    async def test_negotiated(self) -> None:
        """The transport tells what Twisted's TLS transports tell."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        transport = talk.transport
        self.assertIsNone(transport.negotiatedProtocol)
        self.assertIsNone(transport.getPeerCertificate())
        self.assertEqual(transport.getPeer().host, "127.0.0.1")
        self.assertEqual(transport.getHost().port, port.address[1])
        client.close()
        await port.idle()
        self.assertIsNone(transport.negotiatedProtocol)


def _system_libssl() -> Any:
    """Give the system's OpenSSL, which has calls that the bindings lack."""
    name = ctypes.util.find_library("ssl")
    if name is None:
        raise SkipTest("there is no OpenSSL library on this system")
    lib = ctypes.CDLL(name)
    if not hasattr(lib, "SSL_key_update"):
        raise SkipTest("the system's OpenSSL has no key updates")
    for made in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(lib, made).restype = ctypes.c_void_p
    for name, types in {
        "SSL_CTX_new": [ctypes.c_void_p],
        "SSL_new": [ctypes.c_void_p],
        "SSL_set_fd": [ctypes.c_void_p, ctypes.c_int],
        "SSL_connect": [ctypes.c_void_p],
        "SSL_write": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int],
        "SSL_key_update": [ctypes.c_void_p, ctypes.c_int],
        "SSL_do_handshake": [ctypes.c_void_p],
        "SSL_free": [ctypes.c_void_p],
        "SSL_CTX_free": [ctypes.c_void_p],
    }.items():
        getattr(lib, name).argtypes = types
    return lib


class LeakTests(TransportCase):
    """Nothing is left of a connection that has ended."""

    async def test_hundreds_of_connections(self) -> None:
        """After hundreds of connections that ended in every way no file descriptor and no object is left."""
        port = self.start(Talk)

        def good() -> None:
            with self.wrap(port) as secure:
                secure.sendall(b"x")
                secure.unwrap()

        def cut() -> None:
            self.wrap(port).close()

        def plain_text() -> None:
            with connect(port.address) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while plain.recv(100):
                    pass

        def gone() -> None:
            connect(port.address).close()

        def half() -> None:
            with connect(port.address) as plain:
                plain.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")

        async def all_of(rounds: int) -> None:
            for _ in range(rounds):
                await gatherResults([in_thread(way) for way in (good, cut, plain_text, gone, half)])
            await port.idle()
            port.talks.clear()

        await all_of(4)
        await until(lambda: port.counts.handshakes >= 4)
        gc.collect()
        files_before = open_files()
        objects_before = self.count_objects()
        await all_of(100)
        gc.collect()
        self.assertLessEqual(open_files(), files_before)
        self.assertEqual(self.count_objects(), objects_before)
        self.assertEqual(port.counts.connections, 0)

    def count_objects(self) -> dict[str, int]:
        """Count the objects of connections that are alive."""
        kinds = (TLSServer, SSL.Connection, Talk)
        found = gc.get_objects()
        return {kind.__name__: sum(isinstance(one, kind) for one in found) for kind in kinds}

    async def test_freed_without_the_collector(self) -> None:
        """A connection's objects are freed when it ends, not when the garbage collector comes."""
        port = self.start(Talk)
        client = await in_thread(self.wrap, port)
        talk = await port.talk()
        transport, tls = weakref.ref(talk.transport), weakref.ref(talk.transport.tls)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        client.close()
        await port.idle()
        port.talks.clear()
        del talk
        await until(lambda: transport() is None and tls() is None)
