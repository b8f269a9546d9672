"""Where the fingerprints of ClientHellos are taken, and where they can be seen and used."""
from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, ClientHelloFacts, Peer, Reason, Reject, Verdict, policy, sni_router
from edgegw.config import load
from edgegw.model import (
    BackendRef,
    Balancing,
    BalancingPolicy,
    ExternalAuth,
    FieldHeaders,
    Filters,
    HashKey,
    HashSource,
    IdentityMatch,
    PolicyAny,
    PolicyNot,
    PolicyUse,
    Route,
    RouteMatch,
    RouteRule,
    SNIRouterUse,
    TLSSettings,
)
from edgegw.observe.handshake_table import describe
from edgegw.policies.tls_fingerprint import TLSFingerprint
from edgegw.proxy.fingerprinting import needs_fingerprints
from edgegw.testing import FakeEnvironment, build
from edgegw.tls import routing
from edgegw.wire.client_hello import parse_client_hello
from edgegw.wire.fingerprints import fingerprints
from tests.client_hellos import captured
from tests.gateway import (
    SERVER,
    Authority,
    Finished,
    RunningGateway,
    answer,
    client_context,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    run,
    start_gateway,
    start_upstream,
    talk,
    validation,
)
from tests.tls_peers import TLS1_2, TLS1_3, Outcome, connect, try_tls

FINGERPRINTS = TLSSettings((), fingerprints=True)


def judged_by(*allow: str, **document: Any) -> PolicyUse:
    """Put ``tls_fingerprint`` to use."""
    given = {"allow": list(allow)} if allow else document
    return PolicyUse(TLSFingerprint, build(TLSFingerprint, given))


@policy("asks", without_certificate=True, needs_fingerprints=True)
def asks(peer: Peer) -> Verdict:
    """Say what it was told."""
    return Accept({"told": f"{peer.ja3} {peer.ja4}"})


@policy("does_not_ask", without_certificate=True)
def does_not_ask(peer: Peer) -> Verdict:
    """Say what it was told."""
    return Accept({"told": f"{peer.ja3} {peer.ja4}"})


def use(kind: Any) -> PolicyUse:
    """Put a kind without options to use."""
    return PolicyUse(kind, kind.build(None, FakeEnvironment()))


class InUseCase(TestCase):
    """A gateway with one upstream."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example", "b.example"], usages=SERVER)
        self.client = self.pki.issue("client", dns=["client.example"])
        self.upstream = start_upstream(self, answer(b"ok"))

    async def start(self, *listeners: Any, **options: Any) -> RunningGateway:
        """Serve listeners."""
        return await start_gateway(self, gateway(listeners, self.upstream, **options))

    async def curl(self, running: RunningGateway, *options: str, name: str = "a.example") -> Finished:
        """Ask with curl, whose fingerprints are known."""
        port = running.address()[1]
        return await run(
            "curl", "-sk", "--resolve", f"{name}:{port}:127.0.0.1", *options, f"https://{name}:{port}/"
        )

    async def visit(self, running: RunningGateway, name: str | None = None, **options: Any) -> Outcome:
        """Ask with pyOpenSSL's client."""
        return await in_thread(try_tls, running.address(name), data=get(), **options)  # type: ignore[no-any-return]

    def entry(self, running: RunningGateway) -> dict[str, Any]:
        """Give the record's last entry."""
        return running.record.entries(1)[0][0]

    def takes(self, running: RunningGateway) -> list[bool]:
        """Whether each port takes fingerprints; then its ClientHellos are looked at."""
        profiles = list(running.generation._profiles.values())
        for profile in profiles:
            self.assertFalse(profile.fingerprints and profile.only is not None)
        return [profile.fingerprints for profile in profiles]


class SeenTests(InUseCase):
    """Where they can be seen."""

    async def ours(self) -> tuple[str, str]:
        """The fingerprints of this machine's curl, read by this test itself."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]

            def read() -> bytes:
                connection, _ = server.accept()
                with connection:
                    data = b""
                    while parse_client_hello(data, 16_384) is None:
                        data += connection.recv(65_536)
                    return data

            reading = in_thread(read)
            await run("curl", "-sk", "--resolve", f"a.example:{port}:127.0.0.1", f"https://a.example:{port}/")
            hello = parse_client_hello(await reading, 16_384)
            assert hello is not None
            return fingerprints(hello.message)

    async def test_record(self) -> None:
        """The handshake record has them, of clients that come in and of others, as JSON and as text."""
        expected = await self.ours()
        running = await self.start(https_listener([self.server], validation(self.pki, required=False),
                                                  tls=FINGERPRINTS))
        self.assertEqual((await self.curl(running)).stdout, b"ok")
        entry = self.entry(running)
        self.assertEqual((entry["result"], entry["ja3"], entry["ja4"]), ("accepted", *expected))
        self.assertIn(f"  JA3          {expected[0]}\n  JA4          {expected[1]}\n", describe(entry, None))
        self.assertEqual((await self.curl(running, "--tls-max", "1.1")).exit, 35)
        self.assertTrue((await self.visit(running, certificate=Authority().issue("x"))).alert)
        entry = self.entry(running)
        self.assertEqual((entry["result"], entry["reason"]), ("refused", Reason.UNKNOWN_CA))
        self.assertTrue(entry["ja4"].startswith("t13d"))
        json.dumps(entry)

    async def test_log(self) -> None:
        """The line about a refused connection has them, where they were taken."""
        events: list[Any] = []

        def note(event: Any) -> None:
            if event.get("log_namespace") == "edgegw.tls" and event["log_level"] >= LogLevel.info:
                events.append(event)

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        for tls in (FINGERPRINTS, TLSSettings(())):
            running = await self.start(https_listener([self.server], validation(self.pki), tls=tls))
            await self.visit(running)
            await running.idle()
        with_them, without = events
        entry_ja4 = with_them["ja4"]
        self.assertRegex(
            formatEvent(with_them),
            rf"^refused 127\.0\.0\.1 on edge: no_certificate \(sni a\.example, handshake [0-9a-f-]+, "
            rf"ja3 [0-9a-f]{{32}}, ja4 {entry_ja4}\) ",
        )
        self.assertNotIn("ja3", formatEvent(without))
        self.assertNotIn("ja4", without)

    async def test_exemplars(self) -> None:
        """The exemplars of the handshakes' metric have them beside the handshake's id, within OpenMetrics' bounds."""
        running = await self.start(https_listener([self.server], validation(self.pki), tls=FINGERPRINTS))
        await self.visit(running, certificate=self.client)
        await self.visit(running)
        await running.idle()
        text = generate_openmetrics(running.metrics.registry).decode()
        found = {
            sample.labels["reason"]: sample.exemplar.labels
            for family in parse_openmetrics(text)
            if family.name == "edgegw_tls_handshakes"
            for sample in family.samples
            if sample.exemplar is not None
        }
        self.assertEqual(set(found), {"", "no_certificate"})
        for labels in found.values():
            entry = running.record.find(labels["handshake_id"])
            assert entry is not None
            self.assertEqual((labels["ja3"], labels["ja4"]), (entry["ja3"], entry["ja4"]))
            longest = {**labels, "handshake_id": f"{'f' * 8}-{'f' * 15}"}
            self.assertLessEqual(sum(len(name) + len(value) for name, value in longest.items()), 128)

    async def test_exemplars_afterwards(self) -> None:
        """When none are taken any more, the exemplars have none."""
        taking = gateway([https_listener([self.server], tls=FINGERPRINTS)], self.upstream)
        running = await start_gateway(self, taking)
        await self.visit(running)
        self.assertIn("ja4=", generate_openmetrics(running.metrics.registry).decode())
        running.reload(gateway([https_listener([self.server])], self.upstream))
        await self.visit(running)
        self.assertIn("handshake_id=", generate_openmetrics(running.metrics.registry).decode())
        self.assertNotIn("ja4=", generate_openmetrics(running.metrics.registry).decode())
        self.assertIsNone(self.entry(running)["ja4"])

    async def test_headers(self) -> None:
        """Templates may name them; a client's own headers of that name do not get through."""
        expected = await self.ours()
        injection = (FieldHeaders((("x-ja4", "{ja4}"), ("x-both", "{ja3}/{ja4}"))),)
        running = await self.start(https_listener([self.server], header_injection=injection))
        self.assertEqual(self.takes(running), [True])
        await self.curl(running, "-H", "x-ja4: t13d")
        request = await self.upstream.request()
        self.assertEqual(request.all(b"x-ja4"), [expected[1].encode()])
        self.assertEqual(request.all(b"x-both"), [f"{expected[0]}/{expected[1]}".encode()])

    async def test_plain_listener(self) -> None:
        """Without TLS there are none, and a header of them alone is not sent."""
        injection = (FieldHeaders((("x-ja4", "{ja4}"),)),)
        running = await self.start(http_listener(header_injection=injection))
        self.assertIn(b"200 OK", await in_thread(talk, running.address(), get()))
        self.assertEqual((await self.upstream.request()).all(b"x-ja4"), [])


class PolicyTests(InUseCase):
    """Policies that judge by them."""

    async def test_without_certificates(self) -> None:
        """A listener that asks nobody for a certificate lets curl in, and not Python."""
        running = await self.start(https_listener([self.server], policies=(judged_by("t13d31*"),)))
        self.assertEqual((await self.curl(running)).stdout, b"ok")
        for version in (TLS1_2, TLS1_3):
            outcome = await self.visit(running, version=version)
            self.assertFalse(outcome.ok)
            entry = self.entry(running)
            self.assertEqual((entry["reason"], entry["result"]), (Reason.TLS_FINGERPRINT, "refused"))
            self.assertIn(f"{entry['ja4']} (JA3 {entry['ja3']}) is none of the 1 allowed", entry["detail"])

    async def test_with_certificates(self) -> None:
        """Beside a client's certificate it is judged in the handshake, and on resumed sessions."""
        policies = (judged_by(deny=["t12*"]),)
        running = await self.start(https_listener([self.server], validation(self.pki), policies=policies))
        context = client_context(None, self.client)
        self.assertIn(b"200 OK", await in_thread(talk, running.address(), get(), context, "a.example"))
        outcome = await self.visit(running, certificate=self.client, version=TLS1_2)
        self.assertEqual((outcome.alert, self.entry(running)["reason"]), (46, Reason.TLS_FINGERPRINT))

    async def test_resumed(self) -> None:
        """A session that was begun with one fingerprint is resumed with another: that one is judged."""
        told: list[tuple[str | None, bool]] = []

        @policy("noting", without_certificate=True, needs_fingerprints=True)
        def noting(peer: Peer) -> Verdict:
            """Note what it is told."""
            told.append((peer.ja4, peer.resumed))
            return Accept()

        running = await self.start(https_listener([self.server], validation(self.pki), policies=(use(noting),)))
        first = await self.visit(running, certificate=self.client)
        self.assertIsNotNone(first.session)
        await self.visit(running, certificate=self.client, session=first.session, alpn=("http/1.1",))
        (ja4, resumed), (other, again) = told
        self.assertEqual((resumed, again), (False, True))
        assert ja4 is not None and other is not None
        self.assertEqual((ja4[8:10], other[8:10]), ("00", "h1"))

    async def test_at_a_rule(self) -> None:
        """At a route's rule it refuses requests."""
        rules = (
            RouteRule((RouteMatch(),), (BackendRef("upstream"),), policies=(judged_by(deny=["t13*"]),)),
        )
        running = await self.start(https_listener([self.server]), routes=[Route("all", rules=rules)])
        self.assertEqual(self.takes(running), [True])
        done = await self.curl(running, "-w", "%{http_code}")
        self.assertEqual(done.stdout[-3:], b"403")
        done = await self.curl(running, "-w", "%{http_code}", "--tls-max", "1.2")
        self.assertEqual(done.stdout, b"ok200")

    async def test_without_tls(self) -> None:
        """On a listener without TLS the rule lets nobody in."""
        rules = (RouteRule((RouteMatch(),), (BackendRef("upstream"),), policies=(judged_by(deny=["t13*"]),)),)
        running = await self.start(http_listener(), routes=[Route("all", rules=rules)])
        self.assertIn(b" 403 ", await in_thread(talk, running.address(), get()))

    async def test_told(self) -> None:
        """A policy is told where it says that it asks, or something else does; otherwise there are none."""
        for policies, tls, known in (
            ((use(asks),), None, True),
            ((use(does_not_ask),), None, False),
            ((use(does_not_ask),), FINGERPRINTS, True),
            ((PolicyAny((use(does_not_ask), PolicyNot(use(asks)))),), None, True),
        ):
            running = await self.start(https_listener([self.server], policies=policies, tls=tls))
            self.assertEqual(self.takes(running), [known])
            await self.visit(running)
            entry = self.entry(running)
            self.assertEqual(entry["ja4"] is not None, known)
            self.assertIn(f"told={entry['ja3']} {entry['ja4']}", entry["policies"][0]["detail"])
            await running.stop()


class AskedForTests(InUseCase):
    """What makes a listener take them."""

    async def test_shared_port(self) -> None:
        """One listener of a port that asks is enough for all of it, and none of another port's."""
        asking = https_listener([self.server], name="asking", hostname="a.example", tls=FINGERPRINTS)
        other = https_listener([self.server], name="other", hostname="b.example")
        elsewhere = https_listener([self.server], name="elsewhere", address="127.0.0.2")
        running = await self.start(asking, other, elsewhere)
        self.assertEqual(self.takes(running), [True, False])
        self.assertIsNotNone(running.generation._profiles["127.0.0.2", 0].only)
        self.assertEqual((await self.curl(running, name="b.example")).stdout, b"ok")
        entry = self.entry(running)
        self.assertEqual((entry["listener"], entry["ja4"] is None), ("other", False))
        await self.visit(running, "elsewhere")
        self.assertIsNone(self.entry(running)["ja4"])

    async def test_matches(self) -> None:
        """A route's match by them is one."""
        rules = (
            RouteRule(
                (RouteMatch(identity=(IdentityMatch("ja4", await self.ja4()),)),),
                (BackendRef("upstream"),),
            ),
        )
        running = await self.start(https_listener([self.server]), routes=[Route("all", rules=rules)])
        self.assertEqual(self.takes(running), [True])
        self.assertEqual((await self.curl(running)).stdout, b"ok")
        done = await self.curl(running, "-w", "%{http_code}", "--tls-max", "1.2")
        self.assertEqual(done.stdout[-3:], b"404")

    async def ja4(self) -> str:
        """Give this machine's curl's JA4."""
        running = await self.start(https_listener([self.server], tls=FINGERPRINTS))
        await self.curl(running)
        ja4: str = self.entry(running)["ja4"]
        await running.stop()
        return ja4

    def test_models(self) -> None:
        """So are hash keys, what an authorisation service is told, and nothing else."""
        plain = https_listener([self.server])
        hashing = evolve(
            self.upstream.model,
            balancing=Balancing(BalancingPolicy.CONSISTENT_HASH, (HashKey(HashSource.IDENTITY, "ja3"),)),
        )
        named_so = evolve(
            self.upstream.model,
            balancing=Balancing(BalancingPolicy.CONSISTENT_HASH, (HashKey(HashSource.HEADER, "ja3"),)),
        )
        backend = BackendRef("upstream")
        auth = Filters(external_auth=ExternalAuth("upstream", facts=(("x-ja4", "{ja4}"),)))
        telling = RouteRule(backends=(backend,), filters=auth)
        routes = (Route("all", rules=(RouteRule(backends=(backend,)),)),)
        elsewhere = (Route("all", rules=(telling,), listeners=("another",)),)
        for upstream, some, expected in (
            (self.upstream.model, routes, False),
            (hashing, routes, True),
            (hashing, (), False),
            (named_so, routes, False),
            (self.upstream.model, (Route("all", rules=(telling,)),), True),
            (self.upstream.model, elsewhere, False),
        ):
            model = gateway([plain], upstream, routes=some)
            self.assertIs(needs_fingerprints(model, plain), expected)
        model = gateway([http_listener()], self.upstream, routes=[Route("all", rules=(telling,))])
        self.assertFalse(needs_fingerprints(model, model.listeners[0]))

    async def test_configuration(self) -> None:
        """A configuration says it with a key of tls, which is off by default."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "server.pem").write_bytes(self.server.chain_pem)
        (directory / "server.key").write_bytes(self.server.key_pem)
        (directory / "server.key").chmod(0o600)
        for line, expected in (("", False), ("fingerprints: true", True), ("fingerprints: false", False)):
            (directory / "edgegw.yaml").write_text(
                "listeners:\n  - name: edge\n    port: 443\n    tls:\n"
                f"      certificates: [{{certificate: server.pem, private_key: server.key}}]\n      {line}\n"
            )
            (listener,) = load(str(directory / "edgegw.yaml")).gateway.listeners
            assert listener.tls is not None
            self.assertIs(listener.tls.fingerprints, expected)


class RouterTests(InUseCase):
    """SNI routers."""

    def router(self, decide: Any) -> SNIRouterUse:
        """Make one of a function."""

        def asked(hello: ClientHelloFacts, address: str) -> Any:
            """Ask the test's function."""
            return decide(hello)

        kind = sni_router("made")(asked)
        environment = FakeEnvironment()
        return SNIRouterUse("past", (("127.0.0.1", 0),), kind, kind.build(None, environment), environment, 5.0)

    async def refusals(self, running: RunningGateway, data: bytes) -> tuple[bytes, dict[str, Any]]:
        """Send a ClientHello; give what comes and the record's entry."""
        def exchange() -> bytes:
            with connect(running.address()) as plain:
                plain.sendall(data)
                return plain.recv(7)

        got: bytes = await in_thread(exchange)
        await running.idle()
        return got, self.entry(running)

    async def test_asked(self) -> None:
        """A router may decide by them; one that does not ask has none made."""
        seen: list[Sequence[str | None]] = []
        made: list[bytes] = []

        def counting(message: bytes) -> Any:
            made.append(message)
            return fingerprints(message)

        self.patch(routing, "fingerprints", counting)

        def by_fingerprint(hello: ClientHelloFacts) -> Any:
            seen.append((hello.ja3, hello.ja4, hello.ja3))
            return Reject("made", "a script") if hello.ja4 == captured("python-ssl").ja4 else None

        asking = await self.start(https_listener([self.server]), sni_routers=(self.router(by_fingerprint),))
        got, entry = await self.refusals(asking, captured("python-ssl").data)
        self.assertEqual((got, entry["reason"]), (b"\x15\x03\x03\x00\x02\x02\x70", "made"))
        self.assertEqual(len(made), 1)
        self.assertEqual((await self.curl(asking)).stdout, b"ok")
        one = captured("python-ssl")
        self.assertEqual(seen[0], (one.ja3, one.ja4, one.ja3))
        await asking.stop()
        made.clear()
        silent = await self.start(https_listener([self.server]), sni_routers=(self.router(lambda hello: None),))
        self.assertEqual((await self.curl(silent)).stdout, b"ok")
        self.assertEqual(made, [])

    async def test_unreadable(self) -> None:
        """A ClientHello of which none can be made is refused when the router asks, as the client's own fault."""
        data = captured("openssl").data
        at = data.index(b"\x00\x0a\x00")
        broken = data[: at + 4] + b"\x00\x01" + data[at + 6 :]
        running = await self.start(
            https_listener([self.server]), sni_routers=(self.router(lambda hello: hello.ja3 and None),)
        )
        got, entry = await self.refusals(running, broken)
        self.assertEqual((got, entry["reason"]), (b"\x15\x03\x03\x00\x02\x02\x32", Reason.BAD_CLIENT_HELLO))
