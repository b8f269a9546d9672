"""Clients that are being judged: those that leave before it is done, and those that show another's certificate."""
from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import provider

from edgegw.api import Accept, Peer, Reason, Verdict, policy
from edgegw.kinds.policy import PolicyKind
from edgegw.model import BackendRef, PolicyRule, Route, RouteRule
from edgegw.observe.metrics import Metrics
from edgegw.policy_chain import build_chain
from edgegw.testing import peer
from edgegw.tls.deciding import decide_later
from edgegw.tls.waiting import time_limit
from edgegw.verdict import Ruling
from tests.gateway import (
    SERVER,
    Authority,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    until,
    validation,
)
from tests.test_tls_policies import named, use
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, connect, start_port


@policy("never")
async def never(peer: Peer) -> Verdict:
    """Never decide."""
    await Deferred()
    return Accept()


@policy("stubborn")
async def stubborn(peer: Peer) -> Verdict:
    """Decide when it is told to stop."""
    try:
        await Deferred()
    except CancelledError:
        pass
    return Accept()


@policy("stops")
async def stops(peer: Peer) -> Verdict:
    """Stop what it waits for by itself."""
    waiting: Deferred[None] = Deferred()
    waiting.cancel()
    await waiting
    return Accept()


class LeavingTests(SynchronousTestCase):
    """Nobody waits for the verdict any more."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rulings: list[Ruling] = []
        self.failed: list[str] = []
        self.metrics = Metrics()

    def decide(self, *kinds: PolicyKind) -> Deferred[Verdict]:
        """Ask."""
        rules = tuple(map(use, kinds))
        chain = build_chain(
            rules, lambda label: self.metrics.policy("edge", label), lambda label, text: self.failed.append(text)
        )
        return decide_later(chain, peer(), self.rulings, time_limit(self.clock, 5.0))

    def check_nothing_was_said(self, *labels: str) -> None:
        """See that no policy has anything to its account, and that nothing is waited for."""
        self.assertEqual((self.failed, self.clock.getDelayedCalls()), ([], []))
        for label in labels:
            counts = self.metrics.policy("edge", label)
            self.assertEqual((label, counts.errors, counts.refused), (label, 0, {}))

    def test_leaving_is_no_fault_of_the_policy(self) -> None:
        """The policy ends, and is neither counted nor logged as failed."""
        deciding = self.decide(never)
        deciding.cancel()
        self.failureResultOf(deciding, CancelledError)
        self.check_nothing_was_said("never")
        self.assertEqual(self.rulings, [])

    def test_those_behind_it_are_not_waited_for(self) -> None:
        """One that decides all the same keeps nobody busy with the next one."""
        deciding = self.decide(stubborn, never)
        deciding.cancel()
        self.failureResultOf(deciding, CancelledError)
        self.check_nothing_was_said("[0].stubborn", "[1].never")

    def test_cancelling_itself_is_a_failure(self) -> None:
        """What a policy cancels by itself refuses, and is told."""
        verdict = self.successResultOf(self.decide(stops))
        self.assertEqual(verdict.code, Reason.POLICY_ERROR)  # type: ignore[union-attr]  # a Reject
        self.assertIn("CancelledError", self.failed[0])

    def test_too_late(self) -> None:
        """Who waits is told of a policy that does not decide in time."""
        deciding = self.decide(never)
        self.clock.advance(6.0)
        self.assertEqual(self.successResultOf(deciding).code, Reason.POLICY_TIMEOUT)  # type: ignore[union-attr]


class EventsCase(TestCase):
    """Looks at what is logged."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER)
        self.client = self.root.issue("good")
        self.events: list[LogEvent] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if str(event.get("log_namespace")).startswith("edgegw."):
                self.events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)


class LeavingClientTests(EventsCase):
    """Real clients."""

    async def test_during_the_handshake(self) -> None:
        """A client that leaves while a policy decides is one that left, and no error is logged."""
        port = start_port(self, https_listener(
            [self.server], validation(self.root, policies=(use(never),), policy_timeout=30.0)
        ))  # fmt: skip

        def leave() -> None:
            context = client_context(self.root, self.client)
            with connect(port.address) as plain, context.wrap_socket(plain, server_hostname="a.example"):
                plain.close()

        await in_thread(leave)
        await until(lambda: port.failures)
        await port.idle()
        self.assertEqual(port.failures, {Reason.CLIENT_CLOSED: 1})
        self.assertEqual(port.observed.policy("edge", "never").errors, 0)
        self.assertEqual([event for event in self.events if event["log_level"].name != "debug"], [])

    async def test_during_a_request(self) -> None:
        """A client that leaves while a rule's policy decides is refused nothing, and no error is logged."""
        upstream = start_upstream(self)
        rule = RouteRule(backends=(BackendRef("upstream"),), policies=(use(never),), policy_timeout=30.0)
        listener = https_listener([self.server], validation(self.root))
        running = await start_gateway(self, gateway([listener], upstream, routes=[Route("app", rules=(rule,))]))
        asked = threading.Event()

        def leave() -> None:
            with socket.create_connection(running.address()) as plain, client_context(
                self.root, self.client
            ).wrap_socket(plain, server_hostname="a.example") as tls:
                tls.sendall(get("/"))
                asked.wait(20)
                # Closing resets: nothing half-closed is left to answer.
                tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        leaving = in_thread(leave)
        await until(lambda: running.counts().bytes_received > 0)
        asked.set()
        await leaving
        await running.idle()
        counts = running.metrics.policy("edge", "app.rules[0].never")
        self.assertEqual((counts.errors, counts.refused), (0, {}))
        self.assertEqual(running.metrics.requests("edge", "app", "").refused, {})
        self.assertEqual([event for event in self.events if event["log_level"].name != "debug"], [])


class PossessionTests(EventsCase):
    """Certificates are no secret: whoever shows one has still to have its key."""

    async def show(self, port: BarePort, version: int) -> dict[str, Any]:
        """Show the client's certificate without having its key; gives the entry of the record."""

        def show() -> None:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
            context.use_certificate(self.client.certificate)
            public = self.client.certificate.public_key()
            context.use_privatekey(crypto.PKey.from_cryptography_key(public))  # type: ignore[arg-type]  # it is public
            with connect(port.address) as plain:
                client = SSL.Connection(context, plain)
                client.set_connect_state()
                # OpenSSL sends the certificate before it finds that it cannot sign.
                self.assertRaises(SSL.Error, client.do_handshake)

        await in_thread(show)
        await port.idle()
        return port.record.entries(1)[0][0]

    async def check(self, policies: Sequence[PolicyRule] | None) -> None:
        """See that the record knows the certificate, and does not say that it was the client's."""
        rules = None if policies is None else tuple(policies)
        port = start_port(self, https_listener([self.server], validation(self.root, policies=rules)))
        for number, version in enumerate((TLS1_2, TLS1_3), 1):
            entry = await self.show(port, version)
            self.assertEqual(entry["certificate"]["subject"], "CN=good")
            self.assertEqual((entry["result"], entry["status"]), ("failed", "unverified"))
            self.assertEqual((port.talks, sum(port.failures.values())), ([], number))

    async def test_without_policies(self) -> None:
        """Where any certificate of the CA is good."""
        await self.check(None)

    async def test_accepted_by_policies(self) -> None:
        """Where policies have accepted the certificate already."""
        await self.check([use(named)])
