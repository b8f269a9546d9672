"""Bounds on connections and handshakes, and ports that go on whatever happens to one connection."""
from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import gatherResults
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from edgegw.model import ConnectionLimits, Listener
from edgegw.tls import port as port_module
from edgegw.tls.turns import HandshakeTurns
from edgegw.verdict import Reason
from tests.gateway import (
    SERVER,
    Authority,
    client_context,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    open_files,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.tls_peers import BarePort, Greeter, Talk, connect, start_port, try_tls, visit

reactor: Any = global_reactor


class LimitCase(TestCase):
    """Ports with limits."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)

    def listener(self, address: str | None = "127.0.0.1", **limits: Any) -> Listener:
        """Give a listener with these limits."""
        return https_listener([self.server], address=address, limits=ConnectionLimits(**limits))

    def start(self, make: Any = Talk, **limits: Any) -> BarePort:
        """Serve it."""
        return start_port(self, self.listener(**limits), make)

    async def end(self, sockets: Sequence[socket.socket], port: BarePort) -> None:
        """Close clients and wait until the port has noticed."""
        for one in sockets:
            one.close()
        await port.idle()


class LimitTests(LimitCase):
    """Past a limit clients are turned away early and counted; below it they are served again."""

    async def test_connections(self) -> None:
        """No more connections than the listener may have."""
        port = self.start(max_connections=2)
        held = [connect(port.address) for _ in range(2)]
        await until(lambda: len(port.transports) == 2)
        self.assertFalse((await visit(port)).ok)
        self.assertEqual((port.failures, port.counts.connections_total), ({Reason.MAX_CONNECTIONS: 1}, 1))
        await self.end(held, port)
        port._make = Greeter
        self.assertTrue((await visit(port)).ok)

    async def test_connections_over_generations(self) -> None:
        """Connections that a configuration before this one has accepted count too."""
        limits = ConnectionLimits(max_connections=2)
        running = await start_gateway(self, gateway([http_listener(limits=limits)]))
        held = [connect(running.address()) for _ in range(2)]
        await until(lambda: running.in_progress() == 2)
        for one in held:
            # Idle connections close when their configuration is replaced; these have begun a request.
            one.sendall(b"GET / HTTP/1.1\r\n")
        await until(lambda: running.counts().bytes_received >= 2 * 16)
        running.reload(gateway([http_listener(limits=limits)]))

        def turned_away() -> bool:
            with connect(running.address()) as third:
                return third.recv(1) == b""

        self.assertTrue(await in_thread(turned_away))
        self.assertEqual(running.counts().refused, {Reason.MAX_CONNECTIONS: 1})
        for one in held:
            one.close()
        await running.idle()

    async def test_connections_of_one_peer(self) -> None:
        """No more connections of one address than it may have; another address is served."""
        port = self.start(max_connections_per_peer=2, make=Greeter)
        held = [connect(port.address) for _ in range(2)]
        await until(lambda: len(port.transports) == 2)
        self.assertFalse((await visit(port)).ok)
        self.assertEqual(port.failures, {Reason.MAX_CONNECTIONS_PER_PEER: 1})

        def from_elsewhere() -> bytes:
            with socket.socket() as plain:
                plain.settimeout(10)
                plain.bind(("127.0.0.9", 0))
                plain.connect(port.address)
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return plain.recv(100)

        await in_thread(from_elsewhere)
        await until(lambda: port.failures.get(Reason.PLAIN_HTTP) == 1)
        await self.end(held, port)
        self.assertTrue((await visit(port)).ok)

    async def test_handshakes(self) -> None:
        """No more handshakes at a time than there may be; open connections do not count."""
        port = self.start(max_handshakes=1)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
        first = connect(port.address)
        first.sendall(hello)
        await until(lambda: port.counts.handshakes_in_progress == 1)
        self.assertFalse((await visit(port)).ok)
        self.assertEqual(port.failures, {Reason.MAX_HANDSHAKES: 1})
        await self.end([first], port)
        self.assertEqual(port.failures, {Reason.MAX_HANDSHAKES: 1, Reason.CLIENT_CLOSED: 1})
        port._make = Greeter
        outcomes = [await visit(port) for _ in range(3)]
        self.assertEqual([outcome.ok for outcome in outcomes], [True] * 3)

    async def test_burst(self) -> None:
        """A burst of clients, many more than have a turn at a time, is served to the last one."""
        port = self.start(make=Greeter)
        outcomes = await gatherResults([in_thread(_several, port.address, 10) for _ in range(8)])
        self.assertEqual(sum(map(sum, outcomes)), 80)
        await port.idle()
        self.assertEqual((port.counts.handshakes, port.failures), (80, {}))

    async def test_plain_port(self) -> None:
        """The limits hold on ports without TLS too."""
        port = start_port(self, http_listener(limits=ConnectionLimits(max_connections=1)), Talk)
        held = connect(port.address)
        await port.talk()
        second = connect(port.address)
        self.assertEqual(await in_thread(second.recv, 10), b"")
        self.assertEqual(port.failures, {Reason.MAX_CONNECTIONS: 1})
        self.assertEqual(port.counts.connections, 1)
        await self.end([held, second], port)

    async def test_swapped_profile_keeps_the_peers(self) -> None:
        """A new configuration does not forget how many connections an address has."""
        listener = self.listener(max_connections_per_peer=1)
        port = start_port(self, listener, Talk)
        held = connect(port.address)
        await until(lambda: port.transports)
        port.use([listener])
        self.assertFalse((await visit(port)).ok)
        self.assertEqual(port.failures, {Reason.MAX_CONNECTIONS_PER_PEER: 1})
        await self.end([held], port)


def _several(address: Any, number: int) -> list[bool]:
    return [try_tls(address).ok for _ in range(number)]


class AcceptTests(LimitCase):
    """Accepting goes on."""

    async def test_out_of_file_descriptors(self) -> None:
        """When no connection can be accepted the port rests instead of spinning, and then goes on."""
        self.patch(port_module, "ACCEPT_PAUSE", 0.05)
        port = self.start(Greeter)
        real = port.port.socket
        calls = 0

        class Exhausted:
            """A listening socket of a process that has no file descriptor left."""

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def accept(self) -> Any:
                nonlocal calls
                calls += 1
                if calls <= 3:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                return real.accept()

        port.port.socket = Exhausted()
        self.assertTrue((await visit(port)).ok)
        # Three that failed, one that did not, and one that found nothing more for each turn.
        self.assertLess(calls, 10)
        await port.idle()
        port.port.socket = real

    async def test_aborted_in_the_queue(self) -> None:
        """A client that is gone before it was accepted costs nobody else anything."""
        port = self.start(Greeter)
        real = port.port.socket
        errors = [errno.ECONNABORTED, errno.EPROTO]

        class Aborted:
            """A listening socket with dead clients in its queue."""

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def accept(self) -> Any:
                if errors:
                    raise OSError(errors.pop(), "gone")
                return real.accept()

        port.port.socket = Aborted()
        self.assertTrue((await visit(port)).ok)
        self.assertEqual(errors, [])
        await port.idle()
        port.port.socket = real

    async def test_connection_that_cannot_be_watched(self) -> None:
        """When the reactor cannot take a connection on, that one is closed and the port stays open."""
        port = self.start(Greeter)
        self.assertTrue((await visit(port)).ok)
        await port.idle()
        real = reactor.addReader
        refused: list[Any] = []

        def add_reader(reader: Any) -> None:
            if type(reader).__name__ == "TLSServer" and not refused:
                refused.append(reader)
                raise OSError(errno.ENOSPC, "no more watches")
            real(reader)

        self.patch(reactor, "addReader", add_reader)
        before = open_files()
        self.assertFalse((await visit(port)).ok)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertTrue((await visit(port)).ok)
        await port.idle()
        refused.clear()
        gc.collect()
        self.assertLessEqual(open_files(), before)

    async def test_plain_protocol_that_cannot_be_made(self) -> None:
        """A fault in what makes a plain connection's protocol does not close the port."""
        faults = [RuntimeError("broken")]

        def make(info: Any) -> Any:
            if faults:
                raise faults.pop()
            return Greeter(info)

        port = start_port(self, http_listener(), make)
        first = connect(port.address)
        try:
            self.assertEqual(await in_thread(first.recv, 10), b"")
        except ConnectionResetError:
            pass
        first.close()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(await in_thread(talk, port.address, b"x"), b"hello")
        await port.idle()


class AddressTests(LimitCase):
    """Where a port listens, and what it says of its peers."""

    async def facts(self, port: BarePort, address: Any) -> tuple[Any, Any, Any]:
        """Connect; what is known of the peer, by our word and by Twisted's."""
        seen: list[Any] = []

        class Asking(Talk):
            def dataReceived(self, data: bytes) -> None:
                seen.extend([self.info.peer, self.transport.getPeer(), self.transport.getHost()])
                self.transport.write(b"hello")
                self.transport.loseConnection()

        port._make = Asking
        self.assertTrue((await in_thread(try_tls, address)).ok)
        await port.idle()
        return seen[0], seen[1], seen[2]

    async def test_ipv4(self) -> None:
        """An IPv4 port."""
        port = self.start()
        peer, theirs, ours = await self.facts(port, port.address)
        self.assertEqual((peer, type(theirs), theirs.host), ("127.0.0.1", IPv4Address, peer))
        self.assertEqual(ours.port, port.address[1])

    async def test_all_addresses(self) -> None:
        """A port on all addresses takes IPv6 and IPv4, whose peers are IPv4 addresses."""
        if not socket.has_ipv6:
            raise SkipTest("no IPv6")
        port = start_port(self, self.listener(address=None))
        number = port.port.getHost().port
        peer, theirs, ours = await self.facts(port, ("127.0.0.1", number))
        self.assertEqual((peer, type(theirs), type(ours)), ("127.0.0.1", IPv4Address, IPv4Address))
        self.assertEqual(ours.host, "127.0.0.1")
        try:
            peer, theirs, ours = await self.facts(port, ("::1", number))
        except OSError as error:
            raise SkipTest("no IPv6 loopback") from error
        self.assertEqual((peer, type(theirs), type(ours), ours.host), ("::1", IPv6Address, IPv6Address, "::1"))
        self.assertEqual(port.talks[-1].info.local_port, number)

    async def test_ipv6_only(self) -> None:
        """A port on an IPv6 address."""
        try:
            port = start_port(self, self.listener(address="::1"))
        except CannotListenError as error:
            raise SkipTest("no IPv6 loopback") from error
        peer, theirs, _ = await self.facts(port, ("::1", port.port.getHost().port))
        self.assertEqual((peer, type(theirs)), ("::1", IPv6Address))

    async def test_unix_socket(self) -> None:
        """A Unix socket has peers without a name; a socket file that a killed process left is replaced."""
        path = self.short_path()
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        port = start_port(self, self.listener(address=f"unix:{path}"))
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
        peer, theirs, ours = await self.facts(port, path)
        self.assertEqual((peer, type(theirs), type(ours)), ("unix:", UNIXAddress, UNIXAddress))
        self.assertEqual(ours.name, os.fsencode(path))

    async def test_unix_socket_in_use(self) -> None:
        """A socket that somebody listens on is left to them, and so is a file that is none."""
        path = self.short_path()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen()
            self.assertRaises(CannotListenError, BarePort, [self.listener(address=f"unix:{path}")], Talk)
        os.unlink(path)
        Path(path).write_text("mine")
        self.assertRaises(CannotListenError, BarePort, [self.listener(address=f"unix:{path}")], Talk)
        self.assertEqual(Path(path).read_text(), "mine")
        os.unlink(path)

    def short_path(self) -> str:
        """Give a path that is short enough for a socket."""
        path: str = os.path.relpath(self.mktemp())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    async def test_port_in_use(self) -> None:
        """A port that is taken cannot be listened on."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = https_listener([self.server])
            number = other.getsockname()[1]
            self.assertRaises(CannotListenError, BarePort, [evolve(taken, port=number)], Talk)


class TurnTests(SynchronousTestCase):
    """Who takes a step in which turn of the reactor."""

    class Waiting:
        """A transport that wants steps."""

        connected = True

        def __init__(self, name: str = "") -> None:
            self.name = name
            self.reading = True

        def stopReading(self) -> None:
            self.reading = False

        def startReading(self) -> None:
            self.reading = True

    class Turning:
        """A reactor whose turns are taken by hand."""

        def __init__(self) -> None:
            self.calls: list[Any] = []

        def callLater(self, delay: float, call: Any) -> None:
            self.calls.append(call)

        def advance(self) -> None:
            calls, self.calls = self.calls, []
            for call in calls:
                call()

    def setUp(self) -> None:
        self.clock = self.Turning()
        self.turns = HandshakeTurns(self.clock, steps=3)

    def take(self, *transports: Any) -> list[bool]:
        """Let transports that read ask for a step."""
        return [self.turns.take(one) for one in transports if one.reading]

    def test_bounded(self) -> None:
        """In one turn no more steps are taken than there are; the others stop reading."""
        burst = [self.Waiting() for _ in range(8)]
        self.assertEqual(self.take(*burst), [True] * 3 + [False] * 5)
        self.assertEqual([one.reading for one in burst], [True] * 3 + [False] * 5)

    def test_everybody_comes_to_his_turn(self) -> None:
        """Those that wait are let on in their order, a few in each turn."""
        burst = [self.Waiting() for _ in range(8)]
        self.take(*burst)
        self.clock.advance()
        self.assertEqual([one.reading for one in burst], [True] * 6 + [False] * 2)
        self.assertEqual(self.take(*burst[3:]), [True] * 3)
        self.clock.advance()
        self.assertEqual(self.take(*burst[6:]), [True] * 2)

    def test_newcomers_do_not_overtake(self) -> None:
        """Who has waited gets its step although newcomers are looked at first."""
        burst = [self.Waiting() for _ in range(5)]
        self.take(*burst)
        self.clock.advance()
        newcomers = [self.Waiting() for _ in range(4)]
        self.assertEqual(self.take(*newcomers), [True, False, False, False])
        self.assertEqual(self.take(*burst[3:]), [True, True])

    def test_gone_while_waiting(self) -> None:
        """One that was closed while it waited takes nobody's step."""
        burst = [self.Waiting() for _ in range(6)]
        self.take(*burst)
        burst[3].connected = False
        self.clock.advance()
        self.assertEqual([one.reading for one in burst[3:]], [False, True, True])
        self.assertEqual(self.take(*burst[4:], self.Waiting()), [True, True, True])

    def test_granted_and_gone(self) -> None:
        """A step that was promised to one that is gone is not lost for ever, nor is the one kept alive."""
        burst = [self.Waiting() for _ in range(6)]
        self.take(*burst)
        for _ in range(4):
            self.clock.advance()
        self.assertEqual(self.clock.calls, [])
        self.assertEqual(self.take(*(self.Waiting() for _ in range(4))), [True, True, True, False])

    def test_reactor_that_counts_its_turns(self) -> None:
        """With a reactor that counts them no timer is needed until somebody has to wait."""
        self.clock.turn = 1  # type: ignore[attr-defined]  # the gateway's own reactor has it
        self.turns = HandshakeTurns(self.clock, steps=3)
        self.assertEqual(self.take(*(self.Waiting() for _ in range(3))), [True] * 3)
        self.assertEqual(self.clock.calls, [])
        self.clock.turn = 2  # type: ignore[attr-defined]  # see above
        burst = [self.Waiting() for _ in range(5)]
        self.assertEqual(self.take(*burst), [True] * 3 + [False] * 2)
        self.clock.turn = 3  # type: ignore[attr-defined]  # see above
        self.clock.advance()
        newcomers = [self.Waiting() for _ in range(2)]
        self.assertEqual(self.take(*newcomers), [True, False])
        self.assertEqual(self.take(*burst[3:]), [True, True])

    def test_no_timer_when_nobody_asks(self) -> None:
        """Nothing is asked of the reactor when there are no handshakes."""
        self.take(self.Waiting())
        self.clock.advance()
        self.assertEqual(self.clock.calls, [])


class GatewayTests(LimitCase):
    """The whole gateway: nothing is counted as open at the end."""

    async def test_counts_return_to_nothing(self) -> None:
        """After good requests, refusals and rubbish every gauge is back at 0 and every refusal was counted once."""
        upstream = start_upstream(self)
        listener = https_listener([self.server], validation(self.pki))
        running = await start_gateway(self, gateway([listener], upstream))
        certificates = [self.pki.issue("client"), None, Authority("x").issue("x"), self.pki.issue_expired()]
        for certificate in certificates:
            await in_thread(try_tls, running.address(), certificate=certificate, data=get())
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x01\x01"):
            plain = connect(running.address())
            plain.sendall(data)
            plain.shutdown(socket.SHUT_WR)
            await in_thread(_to_the_end, plain)
        await running.idle()
        counts = running.counts()
        self.assertEqual(running.in_progress(), 0)
        self.assertEqual(
            counts.handshake_failures,
            {
                Reason.NO_CERTIFICATE: 1,
                Reason.UNKNOWN_CA: 1,
                Reason.CERTIFICATE_EXPIRED: 1,
                Reason.CLIENT_CLOSED: 2,
                Reason.PLAIN_HTTP: 1,
            },
        )
        self.assertEqual((counts.handshakes, counts.connections_total), (1, 7))

    async def test_reload(self) -> None:
        """Connections keep what they were accepted under; the next ones get the new configuration."""
        upstream = start_upstream(self)
        old = https_listener([self.server])
        running = await start_gateway(self, gateway([old], upstream))
        answered = await in_thread(talk, running.address(), get(), client_context(None))
        self.assertTrue(answered.startswith(b"HTTP/1.1 200"))
        running.reload(gateway([https_listener([self.server], validation(self.pki))], upstream))
        self.assertEqual((await in_thread(try_tls, running.address())).alert, 116)
        await running.idle()
        self.assertEqual(running.in_progress(), 0)


def _to_the_end(plain: socket.socket) -> None:
    try:
        while plain.recv(1000):
            pass
    except ConnectionResetError:
        pass
    plain.close()
