"""The TCP transports: writing at once, closing without losing the last words."""
from __future__ import annotations

import errno
import socket
from time import thread_time
from typing import Any

from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from edgegw import tcp
from edgegw.tcp import LINGER_BYTES, Server, connect_tcp
from tests.gateway import http_listener, in_thread, until
from tests.tls_peers import BarePort, Talk, connect, start_port

reactor: Any = global_reactor


def read_all(sock: socket.socket) -> bytes:
    """Read to the end and close; blocks."""
    got = []
    with sock:
        while data := sock.recv(65_536):
            got.append(data)
    return b"".join(got)


class ServerCase(TestCase):
    """A port without TLS."""

    async def open(self, make: Any = Talk) -> tuple[BarePort, socket.socket, Any]:
        """Connect; gives the port, the client and the protocol."""
        port = start_port(self, http_listener(), make)
        client = connect(port.address)
        return port, client, await port.talk()


class WriteTests(ServerCase):
    """Writing."""

    async def test_at_once(self) -> None:
        """What the socket takes is with the peer before the reactor has turned."""
        port, client, talk = await self.open()
        talk.transport.write(b"now")
        self.assertEqual(client.recv(10, socket.MSG_DONTWAIT), b"now")
        self.assertEqual(talk.transport.unsent, 0)
        client.close()
        await port.idle()

    async def test_queued(self) -> None:
        """What it does not take is queued and sent in order, together with what is written later."""
        port, client, talk = await self.open()
        pieces = [bytes([number % 251]) * 100_000 for number in range(100)]
        for piece in pieces:
            talk.transport.write(piece)
        self.assertGreater(talk.transport.unsent, 0)
        talk.transport.loseConnection()
        self.assertEqual(await in_thread(read_all, client), b"".join(pieces))
        await port.idle()
        self.assertIsInstance(talk.reason.value, ConnectionDone)

    async def test_producer_is_resumed(self) -> None:
        """A producer is paused when too much is queued, resumed when it is sent, and a new one begins anew."""

        class Producer:
            def __init__(self) -> None:
                self.events: list[str] = []

            def pauseProducing(self) -> None:
                self.events.append("pause")

            def resumeProducing(self) -> None:
                self.events.append("resume")

            def stopProducing(self) -> None:
                self.events.append("stop")

        port, client, talk = await self.open()
        producer = Producer()
        talk.transport.registerProducer(producer, True)
        while "pause" not in producer.events:
            talk.transport.write(bytes(100_000))
        self.assertGreater(talk.transport.unsent, 0)
        reading = in_thread(read_all, client)
        await until(lambda: "resume" in producer.events)
        talk.transport.unregisterProducer()
        self.assertFalse(talk.transport.producerPaused)
        talk.transport.loseConnection()
        await reading
        await port.idle()
        self.assertEqual(producer.events, ["pause", "resume"])

    async def test_unregistered_while_paused(self) -> None:
        """A producer that goes while it is paused leaves nothing behind that would hold the next one up."""

        class Producer:
            paused = False

            def pauseProducing(self) -> None:
                self.paused = True

            def resumeProducing(self) -> None:
                self.paused = False

            def stopProducing(self) -> None:
                pass

        port, client, talk = await self.open()
        first, second = Producer(), Producer()
        talk.transport.registerProducer(first, True)
        while not first.paused:
            talk.transport.write(bytes(100_000))
        talk.transport.unregisterProducer()
        talk.transport.registerProducer(second, True)
        talk.transport.write(b"x")
        self.assertTrue(second.paused)
        reading = in_thread(read_all, client)
        await until(lambda: not second.paused)
        talk.transport.unregisterProducer()
        talk.transport.loseConnection()
        await reading
        await port.idle()

    async def test_broken_while_writing(self) -> None:
        """A connection that breaks under a write is lost in a later turn, never inside the write."""
        _, client, talk = await self.open()
        talk.transport.pauseProducing()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        talk.transport.write(b"one")
        talk.transport.write(b"two")
        self.assertIsNone(talk.reason)
        await until(lambda: talk.reason is not None)
        self.assertIsInstance(talk.reason.value, ConnectionLost)

    async def test_reads_that_make_much_work(self) -> None:
        """Where the work on a large read takes long, the next ones are small: others have their turns in between."""
        sizes: list[int] = []

        class Slow(Talk):
            def dataReceived(self, data: bytes) -> None:
                sizes.append(len(data))
                end = thread_time() + (1.5 * tcp.LONGEST_TURN if len(data) > 16_384 else 0.0)
                while thread_time() < end:
                    pass

        port, client, _ = await self.open(Slow)
        total = 4_000_000
        sent = in_thread(client.sendall, b"x" * total)
        await until(lambda: sum(sizes) == total)
        await sent
        large = [number for number, size in enumerate(sizes) if size > 16_384]
        self.assertEqual(len(large), 1)
        client.close()
        await port.idle()

    async def test_reads_grow_and_shrink(self) -> None:
        """A peer that sends much is read in larger pieces, and one that no longer does in small ones again."""
        port, client, talk = await self.open()
        data = bytes(4_000_000)
        await in_thread(client.sendall, data)
        await until(lambda: len(talk.received) == len(data))
        self.assertGreater(talk.transport.read_size, 16_384)
        self.assertLessEqual(talk.transport.read_size, talk.transport.LARGEST_READ)
        for number in range(4):
            await in_thread(client.sendall, b"x")
            await until(lambda number=number: len(talk.received) == len(data) + number + 1)  # type: ignore[misc]  # bound
        self.assertEqual(talk.transport.read_size, 16_384)
        client.close()
        await port.idle()


class CloseTests(ServerCase):
    """Closing."""

    async def test_finish_at_once(self) -> None:
        """``finish`` needs no turn of the reactor where nothing is queued."""
        port, client, talk = await self.open()
        talk.transport.write(b"bye")
        talk.transport.finish()
        self.assertIsInstance(talk.reason.value, ConnectionDone)
        self.assertEqual(await in_thread(read_all, client), b"bye")
        talk.transport.finish()
        await port.idle()

    async def test_finish_when_all_is_sent(self) -> None:
        """Otherwise it closes when everything is sent."""
        port, client, talk = await self.open()
        talk.transport.write(bytes(20_000_000))
        talk.transport.finish()
        self.assertIsNone(talk.reason)
        self.assertEqual(len(await in_thread(read_all, client)), 20_000_000)
        await port.idle()

    async def test_lingering(self) -> None:
        """A peer that is still sending gets the last answer, whole, and no reset in its place."""
        port, client, talk = await self.open()
        await in_thread(client.sendall, b"begin")
        await until(lambda: talk.received)
        talk.transport.pauseProducing()
        await in_thread(client.sendall, bytes(100_000))
        talk.transport.write(b"no")
        talk.transport.lose_connection_lingering()

        def more() -> bytes:
            client.sendall(bytes(100_000))
            return read_all(client)

        self.assertEqual(await in_thread(more), b"no")
        await port.idle()

    async def test_lingering_is_bounded_in_bytes(self) -> None:
        """Who goes on sending is cut off after a while."""
        port, client, talk = await self.open()
        talk.transport.lose_connection_lingering()

        def send() -> int:
            sent = 0
            with client:
                try:
                    while sent < 100 * LINGER_BYTES:
                        sent += client.send(bytes(65_536))
                except OSError as error:
                    self.assertIn(error.errno, (errno.EPIPE, errno.ECONNRESET))
            return sent

        self.assertLess(await in_thread(send), 100 * LINGER_BYTES)
        await port.idle()

    async def test_lingering_is_bounded_in_time(self) -> None:
        """So is who neither sends nor closes."""
        self.patch(tcp, "LINGER_SECONDS", 0.05)
        port, client, talk = await self.open()
        talk.transport.write(b"no")
        talk.transport.lose_connection_lingering()
        await port.idle()
        self.assertEqual(await in_thread(client.recv, 10), b"no")
        client.close()

    async def test_write_while_lingering(self) -> None:
        """Nothing that is written after the last answer disturbs it."""
        port, client, talk = await self.open()
        talk.transport.write(b"no")
        talk.transport.lose_connection_lingering()
        talk.transport.write(b"what?")
        self.assertEqual(await in_thread(client.recv, 10), b"no")
        self.assertEqual(await in_thread(client.recv, 10), b"")
        self.assertTrue(port.transports)
        client.close()
        await port.idle()

    async def test_peer_closes(self) -> None:
        """The end of what the peer sends is the end of the connection, cleanly."""
        port, client, talk = await self.open()
        await in_thread(client.sendall, b"last words")
        client.close()
        await until(lambda: talk.reason is not None)
        self.assertEqual(bytes(talk.received), b"last words")
        self.assertIsInstance(talk.reason.value, ConnectionDone)
        await port.idle()

    async def test_abort(self) -> None:
        """``abortConnection`` resets the connection."""
        port, client, talk = await self.open()
        talk.transport.write(bytes(20_000_000))
        talk.transport.abortConnection()
        self.assertIsNone(talk.reason)
        await port.idle()
        self.assertIsInstance(talk.reason.value, ConnectionAborted)

        def read() -> bytes:
            return read_all(client)

        await self.assertFailure(in_thread(read), ConnectionResetError)

    async def test_lost_once(self) -> None:
        """The owner is told once, however often the connection is closed."""
        told: list[Server] = []
        port, client, talk = await self.open()
        real = port.profile.lost

        def lost(transport: Server) -> None:
            told.append(transport)
            real(transport)

        self.patch(port.profile, "lost", lost)
        transport = talk.transport
        transport.loseConnection()
        transport.abortConnection()
        transport.finish()
        client.close()
        await port.idle()
        transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(told, [transport])


class ClientTests(TestCase):
    """Connections to upstreams."""

    async def test_connect(self) -> None:
        """A connection is made, writes at once, and ends as Twisted's do."""
        port = start_port(self, http_listener())
        made: list[Any] = []

        class Asking(protocol.Protocol):
            transport: Any
            received = b""
            reason: Failure | None = None

            def connectionMade(self) -> None:
                made.append(self)
                self.transport.write(b"anybody?")

            def dataReceived(self, data: bytes) -> None:
                self.received += data

            def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
                self.reason = reason

        factory = protocol.ClientFactory.forProtocol(Asking)
        factory.noisy = False
        host, number = port.address
        connect_tcp(reactor, host, number, factory, 10.0)
        await until(lambda: made and made[0].reason)
        self.assertEqual(made[0].received, b"hello")
        self.assertIsInstance(made[0].reason.value, ConnectionDone)

    async def test_refused(self) -> None:
        """A connection that cannot be made fails with the reason."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
        failures: list[Failure] = []

        class Failing(protocol.ClientFactory):
            noisy = False

            def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
                failures.append(reason)

        connect_tcp(reactor, address[0], address[1], Failing(), 10.0)
        await until(lambda: failures)
        self.assertIsInstance(failures[0].value, Refused)
