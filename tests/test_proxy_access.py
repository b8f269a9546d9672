"""Rules that demand something of the client, health checks without a certificate, and refusals with a response."""
from __future__ import annotations

import re
import socket
import struct
import threading
from ipaddress import ip_network
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import provider

from edgegw.api import Accept, Peer, Reject, Verdict, policy
from edgegw.model import (
    AmbiguousPaths,
    BackendRef,
    ClientRequirement,
    HealthCheck,
    HTTPSettings,
    PathMatch,
    PathMatchType,
    PolicyAny,
    PolicyNot,
    RefuseWith,
    Route,
    RouteMatch,
    RouteRule,
    ValidationMode,
)
from edgegw.proxy.access import is_ambiguous
from tests.gateway import (
    SERVER,
    Authority,
    RunningGateway,
    answer,
    client_context,
    gateway,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from tests.test_tls_policies import FALLBACK, anyone, later, named, use
from tests.tls_peers import try_tls

reactor: Any = global_reactor
STRICT = ValidationMode.ALLOW_VALID_ONLY


def get(path: str, headers: bytes = b"", close: bool = False) -> bytes:
    """Make a request."""
    end = b"connection: close\r\n" if close else b""
    return b"GET %b HTTP/1.1\r\nhost: a.example\r\n%b%b\r\n" % (path.encode(), headers, end)


def rule(path: str, **settings: Any) -> RouteRule:
    """Make a rule for a prefix."""
    return RouteRule((RouteMatch(PathMatch(PathMatchType.PATH_PREFIX, path)),), (BackendRef("app"),), **settings)


@policy("asks")
def asks(peer: Peer) -> Verdict:
    """Look at the request."""
    request = peer.request
    assert request is not None
    if request.header("x-Token") == "secret" and request.method == "GET" and request.host == "a.example":
        return Accept()
    return Reject("asks", request.path)


class AccessCase(TestCase):
    """A gateway whose rules demand something."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("server", dns=["a.example"], usages=SERVER)
        self.events: list[LogEvent] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_namespace") == "edgegw.http":
                self.events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    async def start(self, *rules: RouteRule, http: HTTPSettings | None = None, **settings: Any) -> RunningGateway:
        """Start a gateway that lets everyone in and has these rules."""
        self.upstream = start_upstream(self, answer(b"from upstream"))
        listener_settings = {key: settings.pop(key) for key in ("health_check",) if key in settings}
        wanted = evolve(validation(self.root), **{"mode": FALLBACK, **settings})
        listener = https_listener(
            [self.server], wanted, **({"http": http} if http is not None else {}), **listener_settings
        )
        model = gateway([listener], self.upstream)
        name = model.upstreams[0].name
        routes = tuple(
            evolve(one, backends=tuple(evolve(ref, upstream=name) for ref in one.backends)) for one in rules
        )
        return await start_gateway(self, evolve(model, routes=(Route("app", rules=routes),)))

    async def ask(self, running: RunningGateway, client: Any, *requests: bytes) -> list[bytes]:
        """Send requests on one connection and give the status lines."""
        got = await in_thread(
            talk, running.address(), b"".join(requests), client_context(self.root, client), "a.example"
        )
        return re.findall(rb"HTTP/1\.1 [0-9]{3} [A-Za-z ]+", got)


class RuleTests(AccessCase):
    """403 for some, while the connection goes on."""

    async def test_requirements(self) -> None:
        """Who needs what, and that the connection goes on after a 403."""
        running = await self.start(
            rule("/", client=ClientRequirement.NONE), rule("/any", client=ClientRequirement.ANY),
            rule("/admin", client=ClientRequirement.VERIFIED),
        )
        requests = (get("/"), get("/any"), get("/admin"), get("/", close=True))
        ok, no = b"HTTP/1.1 200 OK", b"HTTP/1.1 403 Forbidden"
        for client, expected in (
            (None, [ok, no, no, ok]),
            (Authority("stranger").issue("good"), [ok, ok, no, ok]),
            (self.root.issue("good"), [ok, ok, ok, ok]),
        ):
            self.assertEqual(await self.ask(running, client, *requests), expected)
        refused = running.metrics.requests("edge", "app", "").refused
        self.assertEqual(refused, {"no_certificate": 2, "client_unverified": 1})

    async def test_policies(self) -> None:
        """A rule's policies are asked about the connection's client, those that wait too, at every request."""
        running = await self.start(
            rule("/"), rule("/named", policies=(use(named),), client=ClientRequirement.VERIFIED),
            rule("/later", policies=(use(later),), client=ClientRequirement.VERIFIED),
            rule("/not", policies=(PolicyNot(use(named)),), client=ClientRequirement.VERIFIED),
            rule("/none", policies=(), client=ClientRequirement.VERIFIED),
        )
        requests = [get(path) for path in ("/named", "/later", "/not", "/none", "/later/x")] + [get("/", close=True)]
        statuses = [line[9:12] for line in await self.ask(running, self.root.issue("good"), *requests)]
        self.assertEqual(statuses, [b"200", b"200", b"403", b"403", b"200", b"200"])
        statuses = [line[9:12] for line in await self.ask(running, self.root.issue("bad"), *requests)]
        self.assertEqual(statuses, [b"403", b"403", b"200", b"403", b"403", b"200"])
        refused = running.metrics.requests("edge", "app", "").refused
        self.assertEqual(refused, {"named": 1, "later": 2, "excluded": 1, "no_policy": 2})

    async def test_what_they_see_of_the_request(self) -> None:
        """Method, path, host and headers; a header that comes twice is none."""
        running = await self.start(rule("/", policies=(use(asks),)))
        token = b"X-Token: secret\r\n"
        requests = (
            get("/a", token), get("/a"), get("/a", token + token), get("/b?x=/a", token, close=True),
        )
        statuses = [line[9:12] for line in await self.ask(running, None, *requests)]
        self.assertEqual(statuses, [b"403"] * 4)
        statuses = [line[9:12] for line in await self.ask(running, self.root.issue("good"), *requests)]
        self.assertEqual(statuses, [b"200", b"403", b"403", b"200"])

    async def test_body_while_deciding(self) -> None:
        """A request's body waits until its policies have decided, and goes on whole."""
        gate: list[Deferred[None]] = []

        @policy("gated")
        async def gated(peer: Peer) -> Verdict:
            """Wait for the test."""
            gate.append(Deferred())
            await gate[-1]
            return Accept()

        running = await self.start(
            rule("/", policies=(use(gated),), client=ClientRequirement.VERIFIED, policy_timeout=30.0)
        )
        body = b"x" * 300_000
        request = b"POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
            len(body), body,
        )
        asking = Deferred.fromCoroutine(self.ask(running, self.root.issue("good"), request))
        await until(lambda: bool(gate))
        self.assertEqual(self.upstream.requests, [])
        gate[0].callback(None)
        self.assertEqual(await asking, [b"HTTP/1.1 200 OK"])
        self.assertEqual(self.upstream.requests[0].body, body)

    async def test_client_leaves_while_deciding(self) -> None:
        """Then the policy is cancelled and nothing reaches the upstream."""
        ends: list[str] = []

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Never decide."""
            try:
                await Deferred()
            finally:
                ends.append("cancelled")
            return Accept()

        running = await self.start(
            rule("/", policies=(use(slow),), client=ClientRequirement.VERIFIED, policy_timeout=30.0)
        )

        left = threading.Event()

        def leave() -> None:
            context = client_context(self.root, self.root.issue("good"))
            with socket.create_connection(running.address()) as plain, context.wrap_socket(
                plain, server_hostname="a.example"
            ) as tls:
                tls.sendall(get("/"))
                left.wait(10)
                # Closing resets: nothing half-closed is left to answer.
                tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        leaving = in_thread(leave)
        await until(lambda: running.counts().bytes_received > 0)
        left.set()
        await leaving
        await until(lambda: ends == ["cancelled"])
        self.assertEqual(self.upstream.requests, [])

    async def test_too_late(self) -> None:
        """A policy of a rule has its own time limit."""

        @policy("slow")
        async def slow(peer: Peer) -> Verdict:
            """Never decide."""
            await Deferred()
            return Accept()

        running = await self.start(rule("/", policies=(use(slow),), policy_timeout=0.01))
        self.assertEqual(
            await self.ask(running, self.root.issue("good"), get("/", close=True)), [b"HTTP/1.1 403 Forbidden"]
        )
        self.assertEqual(running.metrics.requests("edge", "app", "").refused, {"policy_timeout": 1})

    async def test_the_chain(self) -> None:
        """A policy of a rule can read the chain that the handshake verified."""

        @policy("chained", needs_chain=True)
        def chained(peer: Peer) -> Verdict:
            """Count certificates."""
            return Accept() if len(peer.chain) == 3 else Reject("chained", str(len(peer.chain)))

        running = await self.start(rule("/", policies=(use(chained),), client=ClientRequirement.VERIFIED))
        inter = Authority("inter", self.root)
        for _ in range(2):
            self.assertEqual(
                await self.ask(running, inter.issue("good"), get("/", close=True)), [b"HTTP/1.1 200 OK"]
            )

    async def test_explained(self) -> None:
        """The client is told the reason code only where that is wanted."""
        running = await self.start(
            rule("/quiet", policies=(use(named),)), rule("/told", policies=(use(named),), explain_to_client=True)
        )

        def body(path: str, accept: bytes = b"") -> Deferred[bytes]:
            return in_thread(
                talk, running.address(), get(path, headers=accept, close=True),
                client_context(self.root, self.root.issue("bad")), "a.example",
            )

        self.assertNotIn(b"named", await body("/quiet"))
        self.assertIn(b"reason: named", await body("/told"))
        self.assertIn(b'"reason": "named"', await body("/told", b"accept: application/json\r\n"))

    async def test_logged(self) -> None:
        """A refusal's line has all that it takes to find the request, the rule, the policy and the handshake."""
        no = PolicyNot(use(named))
        running = await self.start(
            rule("/named", policies=(use(named),)), rule("/group", policies=(use(anyone), PolicyAny((no, no)))),
            rule("/not", policies=(no,)), rule("/later", policies=(use(anyone), use(later)), explain_to_client=True),
            rule("/client", client=ClientRequirement.VERIFIED), rule("/none", policies=()),
        )
        good, bad = self.root.issue("good"), self.root.issue("bad")
        for path, client, by, reason in (
            ("/named", bad, "app.rules[0].named", "named"),
            ("/group", good, "app.rules[1].[1].any", "excluded"),
            ("/not", good, "app.rules[2].not", "excluded"),
            ("/later", bad, "app.rules[3].[1].later", "later"),
            ("/client", None, "app.rules[4].client", "no_certificate"),
            ("/none", good, "app.rules[5].policies", "no_policy"),
        ):
            self.events.clear()
            got = await in_thread(
                talk, running.address(), get(f"{path}?secret", close=True), client_context(self.root, client),
                "a.example",
            )
            (event,) = [one for one in self.events if one["log_format"].startswith("403")]
            digest = "-" if client is None else client.certificate.fingerprint(SHA256()).hex()
            status = "none" if client is None else "verified"
            (request_id,) = re.findall(rb"x-request-id: (.*)\r\n", got)
            handshake_id = running.record.entries(1)[0][0]["id"]
            self.assertEqual(
                formatEvent(event).partition(")")[0],
                f"403 to 127.0.0.1 on edge: {reason} by {by} (GET {path}, certificate {digest} {status}, "
                f"handshake {handshake_id}, request {request_id.decode()}",
            )

    async def test_long_paths_are_logged_in_short(self) -> None:
        """What a client sends makes no line as long as it likes."""
        running = await self.start(rule("/", client=ClientRequirement.VERIFIED))
        await self.ask(running, None, get("/" + "x" * 5000, close=True))
        (event,) = [one for one in self.events if one["log_format"].startswith("403")]
        self.assertEqual((len(event["path"]), event["path"][-21:]), (256, "... (5001 characters)"))

    async def test_paths_that_could_be_others(self) -> None:
        """Where rules demand something, no spelling of a path gets around them."""
        odd = ("/x/../admin", "/%61dmin", "//admin", "/./admin", "/x/%2e%2e/admin", "/a%2fdmin", "/admin;x=1", "/a\\b")
        strict = await self.start(rule("/"), rule("/admin", client=ClientRequirement.VERIFIED))
        for path in odd:
            self.assertEqual(await self.ask(strict, None, get(path, close=True)), [b"HTTP/1.1 400 Bad Request"], path)
        for path in ("/a.b/c", "/a%20b", "/a/..b", "/", "/%C3%A9"):
            self.assertEqual(await self.ask(strict, None, get(path, close=True)), [b"HTTP/1.1 200 OK"], path)

    async def test_paths_that_are_passed(self) -> None:
        """A listener can be told to forward such paths all the same."""
        http = HTTPSettings(ambiguous_paths=AmbiguousPaths.PASS)
        passing = await self.start(rule("/"), rule("/admin", client=ClientRequirement.VERIFIED), http=http)
        self.assertEqual(await self.ask(passing, None, get("/x/../admin", close=True)), [b"HTTP/1.1 200 OK"])

    async def test_paths_where_nothing_is_demanded(self) -> None:
        """Where no rule demands anything they are forwarded."""
        free = await self.start(rule("/"))
        self.assertEqual(await self.ask(free, None, get("/x/../admin", close=True)), [b"HTTP/1.1 200 OK"])


class HealthCheckTests(AccessCase):
    """``health_check``: an answer for load balancers, while everything else stays strict."""

    async def alert(self, running: RunningGateway, client: Any) -> int | None:
        """Give the alert that a client gets."""
        outcome = await in_thread(try_tls, running.address(), certificate=client)
        return outcome.alert

    CHECK = HealthCheck("/healthz", (ip_network("127.0.0.0/8"),))

    async def test_without_a_certificate(self) -> None:
        """From its sources it is answered without one; any other request of such a client gets 403."""
        running = await self.start(rule("/"), mode=STRICT, health_check=self.CHECK)
        self.assertEqual(await self.ask(running, None, get("/healthz"), get("/", close=True)), [
            b"HTTP/1.1 200 OK", b"HTTP/1.1 403 Forbidden"
        ])
        self.assertEqual(self.upstream.requests, [])
        self.assertEqual(
            await self.ask(running, self.root.issue("good"), get("/healthz"), get("/", close=True)),
            [b"HTTP/1.1 200 OK"] * 2,
        )
        self.assertEqual((running.counts().handshake_failures, running.counts().handshakes), ({}, 2))

    async def test_from_elsewhere(self) -> None:
        """From any other address there is no such way in."""
        elsewhere = HealthCheck("/healthz", (ip_network("192.0.2.0/24"),))
        running = await self.start(rule("/"), mode=STRICT, health_check=elsewhere)
        self.assertEqual(await self.alert(running, None), 116)
        self.assertEqual(running.counts().handshake_failures, {"no_certificate": 1})
        self.assertEqual(
            await self.ask(running, self.root.issue("good"), get("/healthz", close=True)), [b"HTTP/1.1 200 OK"]
        )
        self.assertEqual(len(self.upstream.requests), 1)

    async def test_bad_certificate(self) -> None:
        """A certificate that is no good is refused from there too."""
        running = await self.start(rule("/"), mode=STRICT, health_check=self.CHECK)
        self.assertEqual(await self.alert(running, Authority("stranger").issue("x")), 48)
        self.assertEqual(running.counts().handshake_failures, {"unknown_ca": 1})


class ResponseTests(AccessCase):
    """``refuse_with: response``."""

    async def test_refused_after_the_handshake(self) -> None:
        """Every request of a refused client gets 403 and the connection ends; nothing reaches an upstream."""
        running = await self.start(
            rule("/"), mode=STRICT, policies=(use(later),), refuse_with=RefuseWith.RESPONSE, explain_to_client=True
        )
        got = await in_thread(
            talk, running.address(), get("/") + get("/"), client_context(self.root, self.root.issue("bad")), "a.example"
        )
        self.assertEqual(got.count(b"HTTP/1.1 403"), 1)
        self.assertIn(b"reason: later", got)
        self.assertEqual(self.upstream.requests, [])
        self.assertEqual(
            await self.ask(running, self.root.issue("good"), get("/", close=True)), [b"HTTP/1.1 200 OK"]
        )
        self.assertEqual(running.counts().handshake_failures, {"later": 1})


class AmbiguityTests(SynchronousTestCase):
    """Which paths could be others."""

    @given(st.lists(st.text("abc-._~!$&'()*+,=:@", min_size=1), max_size=5))
    def test_plain_ones(self, segments: list[str]) -> None:
        """Segments of ordinary characters are only what they are, unless they are dots."""
        path = "/" + "/".join(segments)
        expected = any(segment in (".", "..") for segment in segments)
        self.assertEqual(is_ambiguous(path.encode()), expected)

    @given(st.integers(0, 255))
    def test_percent_encodings(self, byte: int) -> None:
        """What needs no encoding, and what separates, is not to be encoded."""
        unreserved = chr(byte) in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
        separates = chr(byte) in "/\\;\0"
        for form in (b"/%%%02x", b"/%%%02X"):
            self.assertEqual(is_ambiguous(form % byte), unreserved or separates, chr(byte))
            self.assertEqual(is_ambiguous(form.replace(b"%%", b"%%25") % byte), chr(byte) in "./\\;", chr(byte))
