"""A policy that says that something has changed is heard by everyone who asks it."""
from __future__ import annotations

from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Peer, Reject, Verdict, policy
from edgegw.model import PolicyUse, Route, RouteRule
from tests.gateway import (
    SERVER,
    Authority,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    talk,
)
from tests.gateway import validation as client_validation


class Environment:
    """As much of a policy's environment as the gateway sets."""

    on_change = None


class ChangeTests(TestCase):
    """One policy that two listeners, or a rule of two listeners, share."""

    async def ask(self, name: str, path: str = "/") -> bytes:
        """Give the first line of an answer."""
        context = client_context(None, self.client)
        try:
            received = await in_thread(talk, self.running.address(name), get(path), context, "a.example")
        except OSError:
            return b""
        return bytes(received.partition(b"\r\n")[0])

    async def test_every_listener(self) -> None:
        """Earlier answers are forgotten on each listener and at each rule where the policy stands."""
        good = [True]

        @policy("changing", cache_seconds=3600)
        def changing(peer: Peer) -> Verdict:
            """Say what holds now."""
            return Accept() if good[0] else Reject("changing")

        pki = Authority()
        self.client = pki.issue("client")
        environment = Environment()
        used = PolicyUse(changing, changing.build(None, environment), environment)  # type: ignore[arg-type]
        server = [pki.issue("server", dns=["a.example"], usages=SERVER)]
        strict = client_validation(pki, policies=(used,))
        listeners = [
            https_listener(server, strict, name="a"),
            https_listener(server, strict, name="b", address="127.0.0.2"),
            https_listener(server, client_validation(pki), name="c", address="127.0.0.3"),
            https_listener(server, client_validation(pki), name="d", address="127.0.0.4"),
        ]
        routes = [Route("r", rules=(RouteRule(policies=(used,)),), listeners=("c", "d"))]
        self.running = await start_gateway(self, gateway(listeners, routes=routes))
        for name, status in (("a", b"404"), ("b", b"404"), ("c", b"500"), ("d", b"500")):
            self.assertIn(status, await self.ask(name))
        good[0] = False
        for name, status in (("a", b"404"), ("b", b"404"), ("c", b"500"), ("d", b"500")):
            self.assertIn(status, await self.ask(name))
        assert environment.on_change is not None
        environment.on_change()
        for name, status in (("a", b""), ("b", b""), ("c", b"403"), ("d", b"403")):
            self.assertEqual((name, (await self.ask(name)).partition(b" ")[2][:3]), (name, status))


