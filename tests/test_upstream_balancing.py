"""Requests among endpoints, as clients see it: shares, keys, sessions, Unix sockets, who is passed over."""
from __future__ import annotations

import errno
import os
import re
import socket
import tempfile
from collections import Counter
from collections.abc import Sequence
from time import process_time
from typing import Any

from attrs import evolve
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from edgegw.model import (
    Balancing,
    BalancingPolicy,
    Endpoint,
    EndpointKind,
    HashKey,
    HashSource,
    Listener,
    SessionPersistence,
    SessionType,
    Upstream,
)
from edgegw.tcp import UnixClient, connect_unix
from tests.test_guide import free_ports

from .gateway import (
    SERVER,
    Authority,
    RecordedRequest,
    RunningGateway,
    ScriptedUpstream,
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
)
from .raw_client import Client, Response, connect

reactor: Any = global_reactor


def nobody() -> Endpoint:
    """Give an endpoint where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", sock.getsockname()[1])


class BalancingCase(TestCase):
    """A plain listener before several upstream servers, each of which answers with its number."""

    running: RunningGateway

    def servers(self, count: int) -> list[ScriptedUpstream]:
        """Start servers."""
        return [start_upstream(self, answer(b"%d" % number)) for number in range(count)]

    async def serve(
        self, endpoints: Sequence[ScriptedUpstream | Endpoint], listener: Listener | None = None, **options: Any
    ) -> None:
        """Serve them as one upstream."""
        found = tuple(one if isinstance(one, Endpoint) else one.model.endpoints[0] for one in endpoints)
        self.running = await start_gateway(
            self, gateway([listener or http_listener()], Upstream("app", found, **options))
        )
        self.metrics = self.running.metrics.upstream("app")

    async def connect(self) -> Client:
        """Connect a client."""
        return await connect(self, self.running.address())

    async def ask(self, client: Client, *headers: bytes) -> Response:
        """Send a request and give the response."""
        client.send(b"\r\n".join([b"GET / HTTP/1.1", b"host: a.example", *headers, b"", b""]))
        return await client.response()

    async def bodies(self, number: int, *headers: bytes) -> Counter[bytes]:
        """Count which server answers how many requests."""
        client = await self.connect()
        return Counter([(await self.ask(client, *headers)).body for _ in range(number)])


class ChoiceTests(BalancingCase):
    """Which endpoint gets a request."""

    async def test_weights(self) -> None:
        """Requests are shared out by weight."""
        first, second = self.servers(2)
        await self.serve([evolve(first.model.endpoints[0], weight=3), second])
        self.assertEqual(await self.bodies(40), {b"0": 30, b"1": 10})

    async def test_priorities(self) -> None:
        """The second priority gets nothing while the first one works."""
        first, second = self.servers(2)
        await self.serve([evolve(first.model.endpoints[0], priority=1), second])
        self.assertEqual(await self.bodies(20), {b"1": 20})

    async def test_another_priority_when_nobody_is_there(self) -> None:
        """Who cannot be reached is passed over, also for the endpoints of another priority."""
        (spare,) = self.servers(1)
        await self.serve([nobody(), nobody(), evolve(spare.model.endpoints[0], priority=1)])
        self.assertEqual(await self.bodies(5), {b"0": 5})

    async def test_nobody_of_many(self) -> None:
        """503, and little work, where none of a thousand endpoints can be reached."""
        (port,) = free_ports(1)
        many = [Endpoint(f"127.{number >> 8}.{number & 255}.1", port) for number in range(1, 1001)]
        await self.serve(many, balancing=Balancing(BalancingPolicy.LEAST_REQUEST))
        client = await self.connect()
        began = process_time()
        self.assertEqual((await self.ask(client)).status, 503)
        self.assertLess(process_time() - began, 2.5)
        self.assertEqual(self.metrics.connect_failures["refused"], 1000)

    async def test_least_request(self) -> None:
        """Who has unanswered requests gets no more of them while others have none."""
        held: list[RecordedRequest] = []
        busy = start_upstream(self, lambda request: held.append(request))
        (idle,) = self.servers(1)
        await self.serve([busy, idle], balancing=Balancing(BalancingPolicy.LEAST_REQUEST))
        waiting = await self.connect()
        while not held:
            waiting.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
            await until(lambda: held or waiting.received)
            waiting.received = b""
        self.assertEqual(await self.bodies(20), {b"0": 20})
        held[0].talk.transport.write(answer())

    async def test_random(self) -> None:
        """Everyone has some of them."""
        await self.serve(self.servers(2), balancing=Balancing(BalancingPolicy.RANDOM))
        self.assertEqual(set(await self.bodies(40)), {b"0", b"1"})

    async def test_a_header_decides(self) -> None:
        """One value of the header, one endpoint, on whatever connection; one that is gone is replaced by one."""
        hashed = Balancing(BalancingPolicy.CONSISTENT_HASH, (HashKey(HashSource.HEADER, "x-user"),))
        await self.serve([*self.servers(3), nobody()], balancing=hashed)
        seen = set()
        for user in range(12):
            header = b"X-User: %d" % user
            got = await self.bodies(3, header)
            self.assertEqual(got + await self.bodies(2, header), {next(iter(got)): 5})
            seen |= set(got)
        self.assertEqual(seen, {b"0", b"1", b"2"})
        self.assertEqual(len(await self.bodies(60)), 3)

    async def test_the_address_decides(self) -> None:
        """Clients of one address have one endpoint."""
        hashed = Balancing(BalancingPolicy.CONSISTENT_HASH, (HashKey(HashSource.ADDRESS),))
        await self.serve(self.servers(3), balancing=hashed)
        self.assertEqual(len(await self.bodies(5) + await self.bodies(5)), 1)

    async def test_picks_are_counted(self) -> None:
        """What each endpoint was chosen for is known."""
        await self.serve(self.servers(2))
        await self.bodies(10)
        self.assertEqual([state.picks for state in self.metrics.state.endpoints.values()], [5, 5])

    async def test_unix_socket(self) -> None:
        """An upstream behind a Unix socket: kept connections, and a name of the gateway's own for Host."""
        directory = tempfile.mkdtemp()  # mktemp()'s are too long for the path of a socket
        self.addCleanup(os.rmdir, directory)
        path = f"{directory}/app.sock"
        server = start_upstream(self, answer(b"here"))
        listening = reactor.listenUNIX(path, _NoTCP(server))
        self.addCleanup(listening.stopListening)
        listener = http_listener()
        listener = evolve(listener, forwarding=evolve(listener.forwarding, preserve_host=False))
        await self.serve([Endpoint(path, 0, kind=EndpointKind.UNIX)], listener)
        self.assertEqual(await self.bodies(5), {b"here": 5})
        self.assertEqual(self.metrics.connects, 1)
        self.assertEqual(server.requests[0].all(b"host"), [b"localhost"])

    async def test_no_descriptor(self) -> None:
        """Where no socket can be made the next endpoint is tried, in the reactor's next turn."""
        path = self.mktemp()
        (tcp,) = self.servers(1)
        unix_endpoints = [Endpoint(f"{path}{number}", 0, kind=EndpointKind.UNIX) for number in range(3)]

        def fail(self: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(UnixClient, "createInternetSocket", fail)
        await self.serve([*unix_endpoints, evolve(tcp.model.endpoints[0], priority=1)])
        self.assertEqual(await self.bodies(4), {b"0": 4})
        # Never from within the call, for which nobody is ready.
        failed: list[object] = []
        factory = protocol.ClientFactory()
        factory.noisy = False
        self.patch(factory, "clientConnectionFailed", lambda connector, reason: failed.append(connector))
        connector = connect_unix(reactor, path, factory, 5.0)
        self.assertEqual(failed, [])
        connector.disconnect()
        await until(lambda: failed)
        self.assertEqual(failed, [connector])

    async def test_no_unix_socket(self) -> None:
        """503 where there is none."""
        await self.serve([Endpoint("/nonexistent/app.sock", 0, kind=EndpointKind.UNIX)])
        self.assertEqual((await self.ask(await self.connect())).status, 503)


class _NoTCP(protocol.Factory):
    """A scripted upstream on another transport than TCP."""

    noisy = False

    def __init__(self, server: ScriptedUpstream) -> None:
        self._server = server

    def buildProtocol(self, addr: object) -> Any:
        return self._server.buildProtocol(addr)


class SessionTests(BalancingCase):
    """Clients that stay with an endpoint."""

    def cookie(self, response: Response) -> bytes:
        """Give the session's cookie as a client sends it back."""
        (cookie,) = response.all("set-cookie")
        self.assertRegex(cookie, r"^edgegw-session=[\w-]+; Path=/; HttpOnly; SameSite=Lax$")
        return b"cookie: " + cookie.partition(";")[0].encode()

    async def test_cookie(self) -> None:
        """Who brings the cookie gets the endpoint that answered first, and no other cookie."""
        await self.serve(self.servers(3), session_persistence=SessionPersistence())
        client = await self.connect()
        seen = set()
        for _ in range(3):
            first = await self.ask(client)
            cookie = self.cookie(first)
            seen.add(first.body)
            for _ in range(4):
                again = await self.ask(client, b"accept: */*", cookie)
                self.assertEqual((again.body, again.all("set-cookie")), (first.body, []))
        self.assertEqual(seen, {b"0", b"1", b"2"})

    async def test_cookies_stay_their_clients(self) -> None:
        """A response that many get alike is remembered without anybody's cookie."""
        await self.serve(self.servers(1), session_persistence=SessionPersistence())
        one, other = await self.connect(), await self.connect()
        cookie = self.cookie(await self.ask(one))
        self.assertEqual((await self.ask(one, cookie)).all("set-cookie"), [])
        self.cookie(await self.ask(other))
        self.assertEqual((await self.ask(one, cookie)).all("set-cookie"), [])

    async def test_an_endpoint_that_is_gone(self) -> None:
        """The session goes to another endpoint, and the client is told."""
        servers = self.servers(2)
        await self.serve(servers, session_persistence=SessionPersistence())
        client = await self.connect()
        first = await self.ask(client)
        await servers[int(first.body)].stop()
        second = await self.ask(client, self.cookie(first))
        self.assertNotEqual(second.body, first.body)
        self.assertNotEqual(self.cookie(second), self.cookie(first))

    async def test_a_forged_cookie(self) -> None:
        """It is as if there was none."""
        await self.serve(self.servers(2), session_persistence=SessionPersistence())
        client = await self.connect()
        got = [await self.ask(client, b"cookie: edgegw-session=AAAAAAAAAAAAAAAAAAAA") for _ in range(4)]
        self.assertEqual(Counter(one.body for one in got), {b"0": 2, b"1": 2})
        for one in got:
            self.cookie(one)

    async def test_header(self) -> None:
        """The session can be in a header, which other processes of the same secret understand."""
        persistence = SessionPersistence(SessionType.HEADER, "x-at", secret="sixteen characters")
        servers = self.servers(3)
        await self.serve(servers, session_persistence=persistence)
        first = await self.ask(await self.connect())
        (token,) = first.all("x-at")
        await self.running.stop()
        await self.serve(servers, session_persistence=persistence)
        self.assertEqual(await self.bodies(5, b"X-At: " + token.encode()), {first.body: 5})

    async def test_reload(self) -> None:
        """Sessions outlive a reload."""
        await self.serve(self.servers(3), session_persistence=SessionPersistence())
        first = await self.ask(await self.connect())
        self.running.reload(self.running.generation.gateway)
        self.assertEqual(await self.bodies(5, self.cookie(first)), {first.body: 5})

    async def test_secure(self) -> None:
        """A client that came by TLS is to send it by nothing else."""
        pki = Authority()
        listener = https_listener([pki.issue("a.example", dns=["a.example"], usages=SERVER)])
        await self.serve(self.servers(2), listener, session_persistence=SessionPersistence())
        got = await in_thread(talk, self.running.address(), get("/"), client_context(pki), "a.example")
        self.assertTrue(re.search(rb"(?im)^set-cookie: edgegw-session=[^\r]*; Secure\r$", got), got)
