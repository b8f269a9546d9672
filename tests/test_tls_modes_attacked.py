"""What several modes on one port must withstand: limits that are got round, names that lead past what was judged."""
from __future__ import annotations

import socket
import ssl
from typing import Any

from attrs import evolve

from edgegw.model import BackendRef, ConnectionRate, Listener, Protocol, TCPRoute, TLSRoute
from edgegw.observe.tunnel_counters import AdmissionCounts
from edgegw.tls import admission
from edgegw.tls.admission import Admission
from edgegw.verdict import Reason
from tests.gateway import (
    client_context,
    closing,
    get,
    https_listener,
    in_thread,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.test_client_hello import from_pyopenssl
from tests.test_tls_modes import ModeCase, exchange, tls_listener


def begun(address: Any, context: ssl.SSLContext, name: str) -> tuple[Any, Any, Any]:
    """Begin with a handshake of TLS 1.3 up to the server's part of it; give what it is finished with."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    plain = socket.create_connection(address, 10)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    plain.sendall(outgoing.read())
    while True:
        incoming.write(plain.recv(65_536))
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            continue
        return plain, tls, outgoing


class LimitTests(ModeCase):
    """Limits of tenants."""

    async def test_handshakes_at_a_time(self) -> None:
        """A route has no more connections than it may have, however many handshakes end at one time."""
        route = TLSRoute("plain", (BackendRef("plain"),), max_connections=2)
        running = await self.start(
            tls_listener("ended.example", "ended", self.settings("ended.example")), routes=(), tls_routes=(route,)
        )
        context = client_context(self.pki)
        held = [await in_thread(begun, running.address(), context, "ended.example") for _ in range(5)]
        for plain, _, outgoing in held:
            self.addCleanup(plain.close)
            plain.sendall(outgoing.read())
        counts = running.counts("ended")
        await until(lambda: counts.handshakes_in_progress == 0)
        self.assertEqual(running.metrics.tunnel_route("plain").connections, 2)
        await until(lambda: counts.connections == 2)

    async def test_limits_before_the_handshake(self) -> None:
        """A route's limit is no wrong name: the connection is closed at once, without an alert."""
        rate = ConnectionRate(1, 3600.0, 1)
        running = await self.start(
            tls_listener("ended.example", "ended", self.settings("ended.example")), routes=(),
            tls_routes=(TLSRoute("plain", (BackendRef("plain"),), connection_rate=rate),),
        )
        self.assertTrue((await self.ask(running, "ended.example", "ended.example")).endswith(b"plain"))
        got = await in_thread(exchange, running.address(), from_pyopenssl("ended.example"))
        self.assertEqual(got, b"")
        self.assertEqual(running.counts("ended").refused, {Reason.CONNECTION_RATE: 1})

    def test_smaller_bucket(self) -> None:
        """A reload that makes a rate or a burst smaller locks nobody out for longer than the new rate says."""
        counts = AdmissionCounts()
        large = Admission(counts, None, ConnectionRate(1, 1.0, 10_000))
        now = 1_000.0
        self.patch(admission, "monotonic", lambda: now)
        while large.refuse() is None:
            pass
        small = Admission(counts, None, ConnectionRate(1, 1.0, 1))
        self.assertEqual(small.refuse(), Reason.CONNECTION_RATE)
        now += 1.0
        self.assertIsNone(small.refuse())
        self.assertEqual(small.refuse(), Reason.CONNECTION_RATE)

    async def test_one_name_for_two_kinds(self) -> None:
        """A TLS route and a TCP route of one name are two tenants."""
        running = await self.start(
            tls_listener("through.example", "through"),
            Listener("tcp", 0, Protocol.TCP, "127.0.0.2"),
            routes=(),
            tls_routes=(TLSRoute("one", (BackendRef("far"),), max_connections=1),),
            tcp_routes=(TCPRoute("one", (BackendRef("plain"),), max_connections=1),),
        )
        with socket.create_connection(running.address("through")) as held:
            held.sendall(from_pyopenssl("through.example"))
            await until(lambda: running.counts("through").connections == 1)
            got = await in_thread(exchange, running.address("tcp"), get("/", "x"), True)
            self.assertTrue(got.endswith(b"plain"), got)


class NameTests(ModeCase):
    """Names that lead somewhere else."""

    async def test_protocols_of_the_default(self) -> None:
        """Who does not offer what a listener is for does not get there as if its name were unknown."""
        ended = tls_listener(
            "ended.example", "ended", self.settings("ended.example"), application_protocols=("special",)
        )
        here = https_listener(
            [self.issued["here.example"]], name="here", hostname="here.example", application_protocols=("special",)
        )
        running = await self.start(ended, here, tls_routes=(TLSRoute("r", (BackendRef("plain"),)),))
        for name in ("here.example", "ended.example"):
            context = client_context(self.pki)
            context.check_hostname = False
            try:
                got = await in_thread(talk, running.address("ended"), get("/", name), context, name)
            except OSError:
                got = b""
            self.assertNotIn(b"200", got.partition(b"\r\n")[0], name)

    async def test_most_specific_route(self) -> None:
        """The route that says more of a name comes first, also where a listener takes no other name."""
        other = start_upstream(self, closing(b"other"), "other")
        running = await self.start(
            tls_listener("ended.example", "ended", self.settings("ended.example")),
            upstreams=(self.plain.model, other.model), routes=(),
            tls_routes=(
                TLSRoute("every", (BackendRef("other"),)),
                TLSRoute("wild", (BackendRef("other"),), hostnames=("*.example",)),
                TLSRoute("exact", (BackendRef("plain"),), hostnames=("ended.example",)),
            ),
        )
        got = await self.ask(running, "ended.example", "ended.example")
        self.assertTrue(got.endswith(b"plain"), got)


class ReloadTests(ModeCase):
    """Connections that last, and a configuration that gives their name to another listener."""

    async def test_rechecked_by_whom_the_name_is_given_to(self) -> None:
        """A tunnel is judged by the listener that has its name now, whatever that is called."""
        strict = self.settings("ended.example", client_validation=validation(self.pki, recheck_established=True))
        lax = tls_listener("ended.example", "ended", self.settings("ended.example"))
        route = TLSRoute("plain", (BackendRef("plain"),))
        for after, ends in (
            ((tls_listener("ended.example", "renamed", strict),), True),
            ((evolve(lax, hostname="here.example"), tls_listener("*.example", "other", strict)), True),
            ((tls_listener("here.example", "other", strict), evolve(lax, name="renamed")), False),
            ((tls_listener("ended.example", "renamed"),), False),
        ):
            running = await self.start(lax, routes=(), tls_routes=(route,))
            held = await in_thread(self.hold, running.address())
            self.addCleanup(held.close)
            await until(lambda running=running: running.metrics.tunnel_route("plain").connections == 1)  # type: ignore[misc]
            running.reload(evolve(running.generation.gateway, listeners=after))
            before = running.generations[0]
            if ends:
                await until(lambda before=before: before.connections == 0)  # type: ignore[misc]  # bound now
            else:
                got = await in_thread(self.ask_again, held)
                self.assertTrue(got.endswith(b"plain"), got)
            await running.stop()

    def hold(self, address: Any) -> ssl.SSLSocket:
        """Give a connection that stays."""
        plain = socket.create_connection(address, 10)
        return client_context(self.pki).wrap_socket(plain, server_hostname="ended.example")

    @staticmethod
    def ask_again(held: ssl.SSLSocket) -> bytes:
        """Ask for something on it."""
        held.sendall(get("/", "ended.example"))
        got = b""
        while piece := held.recv(65_536):
            got += piece
        return got
