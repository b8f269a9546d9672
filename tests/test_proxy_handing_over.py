"""Idle connections at a reload: which go on with the new configuration, and which have to come again."""
from __future__ import annotations

import socket
import ssl
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Peer, Verdict, policy
from edgegw.model import Gateway, IdentityMatch, PolicyNot, PolicyUse, PortSettings, RouteMatch, UnmatchedName
from edgegw.policies.hashes import CertificateHash, CertificateHashConfig
from edgegw.proxy.generation import Generation
from edgegw.testing import FakeEnvironment
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    RunningGateway,
    answer,
    client_context,
    gateway,
    http_listener,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    until,
)
from tests.gateway import validation as client_validation
from tests.raw_client import Client, connect

REQUEST = b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"


@policy("anyone")
def anyone(peer: Peer) -> Verdict:
    """Let everyone in."""
    return Accept()


@policy("reader", needs_chain=True)
def reader(peer: Peer) -> Verdict:
    """Let in whose chain is known."""
    assert peer.certificates
    return Accept()


def pinned(*hashes: str) -> PolicyUse:
    """Make a policy of hashes, as a configuration is read anew each time."""
    environment: Any = FakeEnvironment()
    built = CertificateHash.build(  # type: ignore[attr-defined]  # the decorator makes a kind of it
        CertificateHashConfig(hashes=hashes), environment
    )
    return PolicyUse(CertificateHash, built, environment)


class HandingOverTests(TestCase):
    """A connection that waits for its next request, and a new configuration."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = [self.pki.issue("server", dns=["a.example", "b.example"], usages=SERVER)]
        self.own = self.pki.issue("client", usages=CLIENT)
        self.hash = self.own.certificate.fingerprint(SHA256()).hex()
        self.upstream = start_upstream(self, answer(b"old"))
        self.later = start_upstream(self, answer(b"new"), "later")

    def model(self, *rules: Any, **options: Any) -> Gateway:
        """Give a gateway whose clients have to pass policies."""
        strict = client_validation(self.pki, policies=rules or None)
        return gateway([https_listener(self.server, strict, **options)], self.upstream)

    def moved(self, model: Gateway) -> Gateway:
        """Give the same gateway with another upstream."""
        return evolve(model, upstreams=(evolve(self.later.model, name=self.upstream.model.name),))

    def reload(self, running: RunningGateway, model: Gateway) -> Generation:
        """Swap a configuration in, as the service does."""
        before = running.generation
        retire = before.retire

        def hand_over_first() -> None:
            before.hand_over(running.generation)
            retire()

        before.retire = hand_over_first  # type: ignore[method-assign]
        return running.reload(model)

    async def tls_client(self, running: RunningGateway) -> ssl.SSLSocket:
        """Connect with TLS and ask once."""

        def begin() -> ssl.SSLSocket:
            plain = socket.create_connection(running.address(), 10)
            context = client_context(self.pki, self.own, alpn=["http/1.1"])
            return context.wrap_socket(plain, server_hostname="a.example")

        client: ssl.SSLSocket = await in_thread(begin)
        self.addCleanup(client.close)
        self.assertIn(b"old", await self.ask(client))
        return client

    def ask(self, client: ssl.SSLSocket) -> Deferred[bytes]:
        """Ask; gives what comes, nothing where the connection has ended."""

        def talk() -> bytes:
            try:
                client.sendall(REQUEST)
                return client.recv(65_536)
            except OSError:
                return b""

        return in_thread(talk)

    async def goes_on(self, before: Gateway, after: Gateway) -> bytes:
        """Reload between two requests of a client; gives what it hears then."""
        running = await start_gateway(self, before)
        client = await self.tls_client(running)
        self.reload(running, after)
        heard = await self.ask(client)
        self.assertEqual(sum(one.connections for one in running.generations), int(bool(heard)))
        client.close()
        await running.idle()
        await until(lambda: not running.counts().connections)
        await running.stop()
        return heard

    async def test_same_listener(self) -> None:
        """It asks the new routes."""
        model = self.model()
        self.assertIn(b"new", await self.goes_on(model, self.moved(model)))

    async def test_pins(self) -> None:
        """What a listener's own names and hashes decide stays decided as long as they stay the same."""
        old, other = self.hash, "00" * 32
        self.assertIn(b"new", await self.goes_on(self.model(pinned(old)), self.moved(self.model(pinned(old)))))
        self.assertIn(
            b"new",
            await self.goes_on(self.model(PolicyNot(pinned(other))), self.moved(self.model(PolicyNot(pinned(other))))),
        )
        self.assertEqual(await self.goes_on(self.model(pinned(old)), self.moved(self.model(pinned(old, other)))), b"")

    async def test_other_policies(self) -> None:
        """What a policy judges by may have changed."""
        rules = [PolicyUse(anyone, anyone.build(None, None), None) for _ in range(2)]  # type: ignore[arg-type]
        self.assertEqual(await self.goes_on(self.model(rules[0]), self.moved(self.model(rules[1]))), b"")

    async def test_other_listener(self) -> None:
        """Another trust, another setting of the listener, or another listener for its name."""
        model = self.model()
        (listener,) = model.listeners
        strange = https_listener(self.server, client_validation(Authority("x")))
        named = https_listener(self.server, client_validation(self.pki), name="more", hostname="a.example")
        for listeners in (
            (strange,), (evolve(listener, http=evolve(listener.http, max_headers=7)),), (listener, named),
            (evolve(listener, name="renamed"),),
        ):
            routes = tuple(evolve(one, listeners=tuple(each.name for each in listeners)) for one in model.routes)
            after = evolve(self.moved(model), listeners=listeners, routes=routes)
            self.assertEqual(await self.goes_on(model, after), b"", listeners)

    async def test_settings_of_the_port(self) -> None:
        """What holds for a whole port is a part of what a client was judged by."""
        model = self.model()
        key = model.listeners[0].address, model.listeners[0].port
        after = evolve(self.moved(model), ports=(PortSettings((key,), UnmatchedName.CLOSE),))
        self.assertEqual(await self.goes_on(model, after), b"")

    async def test_clients_that_are_not_known_enough(self) -> None:
        """New rules that read what was not kept of a client get it from a new handshake."""
        model = self.model()
        (route,) = model.routes
        (rule,) = route.rules
        asking = PolicyUse(reader, reader.build(None, None), None)  # type: ignore[arg-type]
        matches = (RouteMatch(identity=(IdentityMatch("ja4", "none"),)),)
        for more in (evolve(rule, policies=(asking,)), evolve(rule, matches=matches)):
            routes = (evolve(route, rules=(rule, more)),)
            after = evolve(self.moved(model), routes=routes)
            self.assertEqual(await self.goes_on(model, after), b"")
            self.assertIn(b"new", await self.goes_on(evolve(model, routes=routes), after))

    async def test_busy(self) -> None:
        """Who has begun with a request has it answered by what it began with, and comes again; others go on."""
        model = gateway([http_listener()], self.upstream)
        running = await start_gateway(self, model)
        busy, idle = [await connect(self, running.address()) for _ in range(2)]
        self.assertEqual(await self.body(idle), b"old")
        busy.send(REQUEST[:20])
        await until(lambda: running.counts().bytes_received == len(REQUEST) + 20)
        self.reload(running, self.moved(model))
        self.assertEqual(await self.body(idle), b"new")
        busy.send(REQUEST[20:])
        response = await busy.response()
        self.assertEqual((response.body, response.all("connection")), (b"old", ["close"]))
        await busy.closed()
        self.assertEqual(await self.body(idle), b"new")

    async def body(self, client: Client) -> bytes:
        """Ask on a connection that stays."""
        client.send(REQUEST)
        return (await client.response()).body
