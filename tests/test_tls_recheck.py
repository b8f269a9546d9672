"""Open connections are judged again when what they were judged by has changed."""
from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Peer, Reject, Verdict, policy
from edgegw.kinds.policy import PolicyKind
from edgegw.model import Gateway, PolicyUse, PortSettings, ProxyHeaders
from edgegw.tls.recheck import PER_TURN
from tests.gateway import (
    SERVER,
    Authority,
    Issued,
    RunningGateway,
    answer,
    client_context,
    gateway,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    until,
    validation,
)

reactor: Any = global_reactor


class Environment:
    """What a policy says that something has changed with."""

    on_change: Callable[[], None] | None = None

    def changed(self) -> None:
        assert self.on_change is not None
        self.on_change()


class RecheckCase(TestCase):
    """A gateway with a policy whose list changes, and clients that stay."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER)
        self.upstream = start_upstream(self, answer(b"hello"))
        self.refused: set[str] = set()
        self.environment = Environment()

        @policy("listed")
        def listed(peer: Peer) -> Verdict:
            """Refuse those on the list."""
            return Reject("listed") if peer.common_name in self.refused else Accept()

        @policy("listed")
        async def listed_later(peer: Peer) -> Verdict:
            """Refuse those on the list, after a while."""
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0.005, waiting.callback, None)
            await waiting
            return Reject("listed") if peer.common_name in self.refused else Accept()

        self.listed, self.listed_later = listed, listed_later

    def model(self, kind: PolicyKind | None, *anchors: Authority, recheck: bool = True) -> Gateway:
        """Give a gateway with this policy."""
        use = None if kind is None else (PolicyUse(kind, kind.build(None, self.environment), self.environment),)  # type: ignore[arg-type]
        wanted = evolve(validation(*(anchors or (self.root,))), policies=use, recheck_established=recheck)
        return gateway([https_listener([self.server], wanted)], self.upstream)

    async def start(self, kind: PolicyKind | None, **settings: Any) -> RunningGateway:
        """Serve it."""
        return await start_gateway(self, self.model(kind, **settings))

    async def connect(self, running: RunningGateway, client: Issued | None = None, name: str = "good") -> Any:
        """Make a connection, ask for something and keep it open."""
        context = client_context(self.root, client or self.root.issue(name))

        def begin() -> Any:
            tls = context.wrap_socket(socket.create_connection(running.address(), 20), server_hostname="a.example")
            self.ask(tls)
            return tls

        tls = await in_thread(begin)
        self.addCleanup(tls.close)
        return tls

    @staticmethod
    def ask(tls: Any) -> bytes:
        """Ask for something; empty if the connection has ended."""
        try:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
            got: bytes = tls.recv(65_536)
        except OSError:
            return b""
        return got

    async def alive(self, tls: Any) -> bool:
        """Whether a connection still answers."""
        return bool(await in_thread(self.ask, tls))


class RecheckTests(RecheckCase):
    """``recheck_established``."""

    async def test_when_a_policy_says_so(self) -> None:
        """Who would be refused now is cut off, everyone else goes on; policies that wait decide so too."""
        for kind in (self.listed, self.listed_later):
            running = await self.start(kind)
            good, bad = await self.connect(running), await self.connect(running, name="bad")
            self.refused.add("bad")
            self.environment.changed()
            await until(lambda running=running: running.counts().connections == 1)  # type: ignore[misc]  # bound now
            self.assertEqual((await self.alive(good), await self.alive(bad)), (True, False))
            self.assertEqual(running.counts().rechecked, {"listed": 1})
            self.refused.clear()
            await in_thread(good.close)
            await running.stop()

    async def test_resumed_sessions(self) -> None:
        """They have no chain; while what it was verified by holds, only the policy decides about them."""
        below = Authority("below", issuer=self.root)
        client = below.issue("good")
        running = await self.start(self.listed)
        context = client_context(self.root, client, version=ssl.TLSVersion.TLSv1_2)

        def begin(session: Any = None) -> Any:
            plain = socket.create_connection(running.address(), 20)
            tls = context.wrap_socket(plain, server_hostname="a.example", session=session)
            self.ask(tls)
            return tls

        first = await in_thread(begin)
        second = await in_thread(begin, first.session)
        self.addCleanup(second.close)
        await in_thread(first.close)
        await until(lambda: running.counts().connections == 1)
        self.assertTrue(second.session_reused)
        self.environment.changed()
        self.assertTrue(await self.alive(second))
        self.refused.add("good")
        self.environment.changed()
        await until(lambda: running.counts().connections == 0)
        self.assertEqual(running.counts().rechecked, {"listed": 1})

    async def test_not_unless_wanted(self) -> None:
        """Without it what is open stays open, and only new connections are refused."""
        running = await self.start(self.listed, recheck=False)
        bad = await self.connect(running, name="bad")
        self.refused.add("bad")
        self.environment.changed()
        self.assertTrue(await self.alive(bad))

    async def test_many(self) -> None:
        """More connections than one turn judges are all judged."""
        running = await self.start(self.listed)
        client = self.root.issue("bad")
        for _ in range(PER_TURN + 6):
            await self.connect(running, client)
        self.refused.add("bad")
        self.environment.changed()
        await until(lambda: running.counts().connections == 0)

    async def test_once_only(self) -> None:
        """A policy that counts connections is not asked about those that are counted already."""
        asked = []

        @policy("counts")
        class Counts:
            """Let the first one in."""

            recheck = False

            def __init__(self, env: object) -> None:
                """Take nothing."""

            def check(self, peer: Peer) -> Verdict:
                """Count."""
                asked.append(peer)
                return Accept() if len(asked) == 1 else Reject("counts")

        running = await self.start(Counts)
        good = await self.connect(running)
        self.environment.changed()
        self.assertTrue(await self.alive(good))
        self.assertEqual(len(asked), 1)

    async def test_failing_policy(self) -> None:
        """One that fails closes the connection: nobody vouches for it any more."""
        fails = []

        @policy("fails")
        def fails_later(peer: Peer) -> Verdict:
            """Fail when told to."""
            if fails:
                raise RuntimeError("oops")
            return Accept()

        running = await self.start(fails_later)
        await self.connect(running)
        fails.append(True)
        self.environment.changed()
        await until(lambda: running.counts().connections == 0)
        self.flushLoggedErrors()

    async def test_at_a_reload(self) -> None:
        """A connection in the middle of an answer is cut when the new configuration would not let its client in."""
        self.upstream.script = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"
        other = Authority("other")
        for model, ends in (
            (self.model(None), False),
            (self.model(None, self.root, other), False),
            (self.model(None, other, recheck=False), False),
            (self.model(None, other), True),
            (self.model(self.listed), True),
        ):
            running = await self.start(None)
            await self.connect(running)
            self.refused.add("good")
            running.reload(model)
            if ends:
                await until(lambda running=running: running.counts().connections == 0)  # type: ignore[misc]  # bound now
            else:
                turn: Deferred[None] = Deferred()
                reactor.callLater(0, turn.callback, None)
                await turn
                self.assertEqual(running.counts().connections, 1)
            self.refused.clear()
            await running.stop()

    async def test_behind_a_proxy(self) -> None:
        """So is one of which the new configuration has nothing but the beginning of a PROXY header."""
        header = b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 8443\r\n"
        ports = (PortSettings((("127.0.0.1", 0),), proxy_protocol=ProxyHeaders((ip_network("127.0.0.0/8"),))),)
        running = await start_gateway(self, evolve(self.model(None), ports=ports))
        plain = socket.create_connection(running.address(), 20)
        self.addCleanup(plain.close)
        plain.sendall(header[:10])
        await until(lambda: running.generation.connections == 1)
        before = running.generation
        running.reload(evolve(self.model(None, Authority("other")), ports=ports))
        context = client_context(self.root, self.root.issue("good"))

        def go_on() -> bytes:
            plain.sendall(header[10:])
            with context.wrap_socket(plain, server_hostname="a.example") as tls:
                return self.ask(tls)

        self.assertEqual(await in_thread(go_on), b"")
        await until(lambda: before.connections == 0)
