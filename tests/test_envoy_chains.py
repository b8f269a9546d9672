"""Envoy's filter chain table: each row leads to the listener that Envoy's leads to, in real handshakes.

What Envoy 1.40 did was recorded with one filter chain for each name; here a listener stands for each, with
``unmatched_name: close`` where Envoy has no default chain.  Rows that differ on purpose are in :data:`DIFFERENCES`.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve, frozen
from twisted.trial.unittest import TestCase

from edgegw.model import (
    BackendRef,
    Gateway,
    Listener,
    PortSettings,
    Protocol,
    Route,
    RouteRule,
    TLSMode,
    TLSRoute,
    TLSSettings,
    UnmatchedName,
)
from tests.gateway import (
    CLIENT,
    SERVER,
    Authority,
    Issued,
    RunningGateway,
    ScriptedUpstream,
    answer,
    closing,
    get,
    https_listener,
    in_thread,
    server_certificate,
    start_gateway,
    start_upstream,
    validation,
)
from tests.tls_peers import Outcome, try_tls
from tests.tls_upstreams import server_context, start_tls_upstream

#: Where Envoy decides otherwise, and why the gateway does not do the same.
DIFFERENCES: Final = {
    "tenant-a.example.com.": "a name with a dot at its end is the same name (RFC 6066 §3 has clients leave it out)",
    "plaintext": "a client that speaks HTTP is told in HTTP that the port speaks TLS",
    "fronting": "a request for another listener's host is answered with 421",
}

UNKNOWN_CA, CERTIFICATE_REQUIRED = 48, 116
CLOSED: Final = "closed"


@frozen
class Row:
    """A client and what it sees.

    :ivar certificate: whose: ``a``, ``b``, the root's ``valid``, or none.
    :ivar seen: the chain that answers, the number of an alert, or ``closed``.
    """

    name: str | None
    certificate: str | None
    seen: str | int


#: Columns sni_nodefault and sni_default; sni_nomatchchain is the same as the latter.
NO_DEFAULT: Final = (
    Row("tenant-a.example.com", "a", "tenant-a"),
    Row("tenant-b.example.com", "b", "tenant-b"),
    Row("TENANT-A.EXAMPLE.COM", "a", "tenant-a"),
    Row("other.example.com", "valid", "wild"),
    Row("xtenant-a.example.com", "valid", "wild"),
    Row("x.y.example.com", "valid", "wild"),
    Row("example.com", "valid", CLOSED),
    Row("unknown.org", "valid", CLOSED),
    Row(None, "valid", CLOSED),
    Row("tenant-a.example.com", "b", UNKNOWN_CA),
    Row("tenant-a.example.com", "valid", UNKNOWN_CA),
    Row("tenant-b.example.com", "a", UNKNOWN_CA),
    Row("other.example.com", "a", UNKNOWN_CA),
    Row("tenant-a.example.com", None, CERTIFICATE_REQUIRED),
)
DEFAULT: Final = tuple(evolve(row, seen="default") if row.seen == CLOSED else row for row in NO_DEFAULT)
#: The second table: ``*.com`` is default, ``*.example.com`` wild, ``example.com`` main, ``*.b.example.com`` tenant-b.
WILDCARDS: Final = (
    Row("www.com", None, "default"),
    Row("a.example.com", None, "wild"),
    Row("example.com", None, "main"),
    Row("x.b.example.com", None, "tenant-b"),
    Row("x.y.b.example.com", None, "tenant-b"),
    Row("b.example.com", None, "wild"),
    Row("com", None, CLOSED),
    Row("x.other.com", None, "default"),
    Row("x.org", None, CLOSED),
)


class ChainCase(TestCase):
    """Listeners on one port, each with a certificate, a trust anchor and an upstream of its own."""

    def setUp(self) -> None:
        self.root, self.tenant_a, self.tenant_b = Authority("root"), Authority("tenant a"), Authority("tenant b")
        self.clients: dict[str | None, Issued | None] = {
            "a": self.tenant_a.issue("client", usages=CLIENT),
            "b": self.tenant_b.issue("client", usages=CLIENT),
            "valid": self.root.issue("client", usages=CLIENT),
            None: None,
        }
        self.upstreams: dict[str, ScriptedUpstream] = {}

    def server(self, chain: str) -> Issued:
        """Give the certificate of a chain, whose name tells it."""
        return self.root.issue(chain, dns=[f"{chain}.example.com"], usages=SERVER)

    def https(self, chain: str, hostname: str | None, authority: Authority | None, **options: Any) -> Listener:
        """Give the listener of a chain."""
        self.upstreams[chain] = start_upstream(self, answer(chain.encode()), chain)
        validated = None if authority is None else validation(authority)
        return https_listener([self.server(chain)], validated, name=chain, hostname=hostname, **options)

    async def start(self, listeners: Sequence[Listener], **options: Any) -> RunningGateway:
        """Serve them; what no listener takes is closed."""
        routes = [
            Route(one.name, rules=(RouteRule(backends=(BackendRef(one.name),)),), listeners=(one.name,))
            for one in listeners
            if one.protocol is Protocol.HTTPS
        ]
        upstreams = tuple(one.model for one in self.upstreams.values())
        ports = (PortSettings((("127.0.0.1", 0),), UnmatchedName.CLOSE),)
        model = Gateway(tuple(listeners), tuple(routes), upstreams, admin=None, ports=ports, **options)
        return await start_gateway(self, model)

    async def visit(self, running: RunningGateway, row: Row, host: str = "", **options: Any) -> Outcome:
        """Connect as a row says and ask for the name."""
        settings = {"data": get("/", host or row.name or "none"), "server_name": row.name, **options}
        client = self.clients[row.certificate]
        if client is not None:
            settings["certificate"] = client
        return await in_thread(try_tls, running.address(), **settings)  # type: ignore[no-any-return]  # try_tls's

    def seen(self, outcome: Outcome) -> str | int:
        """Say what a client has seen, as the table does."""
        if outcome.reply:
            self.assertTrue(outcome.reply.endswith((outcome.common_name or "").encode()), outcome)
            return outcome.common_name or ""
        return CLOSED if outcome.alert is None else outcome.alert

    async def check(self, running: RunningGateway, rows: Sequence[Row], **options: Any) -> None:
        """See that every row comes out as in the table."""
        found = {row: self.seen(await self.visit(running, row, **options)) for row in rows}
        self.assertEqual(found, {row: row.seen for row in rows})


class TenantTests(ChainCase):
    """The first table: a chain for each of two tenants, and one for the other names of their domain."""

    def tenants(self) -> list[Listener]:
        """Give the three."""
        return [
            self.https("tenant-a", "tenant-a.example.com", self.tenant_a),
            self.https("tenant-b", "tenant-b.example.com", self.tenant_b),
            self.https("wild", "*.example.com", self.root),
        ]

    async def test_no_default(self) -> None:
        """Without a default chain, names that no chain takes are closed without an alert."""
        await self.check(await self.start(self.tenants()), NO_DEFAULT)

    async def test_default(self) -> None:
        """With one, it takes them, and clients that name none."""
        listeners = [*self.tenants(), self.https("default", None, self.root)]
        await self.check(await self.start(listeners), DEFAULT)

    async def test_differences(self) -> None:
        """Where the gateway differs on purpose: a final dot, plain HTTP, a request for another chain's host."""
        running = await self.start(self.tenants())
        dotted = Row("tenant-a.example.com.", "a", "tenant-a")
        self.assertEqual(self.seen(await self.visit(running, dotted)), "tenant-a")
        fronting = await self.visit(running, Row("tenant-a.example.com", "a", ""), "tenant-b.example.com")
        self.assertIn(b" 421 ", fronting.reply.partition(b"\r\n")[0])


class WildcardTests(ChainCase):
    """The second table: wildcards of several lengths."""

    async def test_most_labels(self) -> None:
        """The name itself first, then the wildcard with the most labels."""
        hostnames = {"default": "*.com", "wild": "*.example.com", "main": "example.com", "tenant-b": "*.b.example.com"}
        await self.check(
            await self.start([self.https(chain, name, None) for chain, name in hostnames.items()]), WILDCARDS
        )


class ProtocolTests(ChainCase):
    """The third table: chains by what clients offer, passed through, and with and without client certificates."""

    def tls(self, chain: str, hostname: str, protocols: Sequence[str], alpn: Sequence[str]) -> Listener:
        """Give a listener that passes what is inside TLS on."""
        settings = TLSSettings((server_certificate(self.server(chain)),), alpn=tuple(alpn))
        return Listener(
            chain, 0, Protocol.TLS, "127.0.0.1", hostname, settings, application_protocols=tuple(protocols)
        )

    async def test_offered(self) -> None:
        """sni_alpn: h2 and everything else of one name are two chains."""
        self.upstreams["any"] = start_upstream(self, answer(b"any"), "any")
        listeners = [
            self.tls("h2", "tenant-a.example.com", ["h2"], ["h2"]),
            self.tls("h1", "tenant-a.example.com", ["http/1.1"], ["http/1.1"]),
            self.tls("rest", "tenant-a.example.com", [], []),
        ]
        running = await self.start(listeners, tls_routes=(TLSRoute("any", (BackendRef("any"),)),))
        for offered, chain, agreed in (
            (("h2",), "h2", b"h2"),
            (("h2", "http/1.1"), "h2", b"h2"),
            (("http/1.1",), "h1", b"http/1.1"),
            ((), "rest", b""),
        ):
            self.upstreams["any"].on_data = lambda talk, data: talk.transport.loseConnection()
            outcome = await self.visit(running, Row("tenant-a.example.com", None, ""), alpn=offered)
            self.assertEqual((offered, outcome.common_name, outcome.alpn), (offered, chain, agreed))

    async def test_passed_through(self) -> None:
        """passthrough: two names go to their upstreams as they are, the others of the domain end here."""
        for chain in ("pass-a", "pass-b"):
            context = server_context(self.server(chain))
            self.upstreams[chain] = start_tls_upstream(self, context, closing(chain.encode()), chain)
        passing = [
            Listener(
                chain, 0, Protocol.TLS, "127.0.0.1", f"tenant-{chain[-1]}.example.com", mode=TLSMode.PASSTHROUGH
            )
            for chain in ("pass-a", "pass-b")
        ]
        routes = [TLSRoute(chain, (BackendRef(chain),), (chain,)) for chain in ("pass-a", "pass-b")]
        running = await self.start(
            [*passing, self.https("wild", "*.example.com", None)], tls_routes=tuple(routes)
        )
        rows = (
            Row("tenant-a.example.com", "a", "pass-a"),
            Row("tenant-b.example.com", "b", "pass-b"),
            Row("other.example.com", None, "wild"),
            Row("unknown.org", None, CLOSED),
            Row(None, None, CLOSED),
            Row("tenant-a.example.com", None, "pass-a"),
        )
        await self.check(running, rows)

    async def test_with_and_without_certificates(self) -> None:
        """mixed_auth: one name demands a certificate and one does not; neither speaks for the other."""
        listeners = [
            self.https("tenant-a", "tenant-a.example.com", self.tenant_a),
            self.https("tenant-b", "tenant-b.example.com", None),
        ]
        running = await self.start(listeners)
        await self.check(
            running,
            (
                Row("tenant-b.example.com", None, "tenant-b"),
                Row("tenant-a.example.com", "a", "tenant-a"),
                Row("tenant-a.example.com", None, CERTIFICATE_REQUIRED),
            ),
        )
        for name, host in (("b", "a"), ("a", "b")):
            row = Row(f"tenant-{name}.example.com", "a" if name == "a" else None, "")
            outcome = await self.visit(running, row, f"tenant-{host}.example.com")
            self.assertIn(b" 421 ", outcome.reply.partition(b"\r\n")[0])
