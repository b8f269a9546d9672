"""Several listeners on one port, routes and weights, and what upstreams are told, over real connections."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any
from unittest.mock import patch

from attrs import frozen
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import (
    XFCC,
    BackendRef,
    FieldHeaders,
    Forwarding,
    PathMatch,
    PathMatchType,
    Route,
    RouteMatch,
    RouteRule,
    UnderscoreAction,
    XFCCMode,
)
from edgegw.proxy import generation

from .gateway import (
    CLIENT,
    SERVER,
    Authority,
    RecordedRequest,
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
    validation,
)
from .raw_client import Response, connect, read_response


def understood(data: bytes) -> Response:
    read = read_response(data, closed=True)
    assert read is not None, data
    return read[0]


def route(
    upstream: str, path: str = "/", *hostnames: str, kind: PathMatchType = PathMatchType.PATH_PREFIX, **more: Any
) -> Route:
    return Route(
        f"{upstream} {path} {hostnames}",
        tuple(hostnames),
        (RouteRule((RouteMatch(PathMatch(kind, path)),), (BackendRef(upstream),)),),
        **more,
    )


def two_requests(first: str, second: str) -> bytes:
    return get("/1", first).replace(b"connection: close\r\n", b"") + get("/2", second)


class MisdirectedTests(TestCase):
    """Two TLS listeners on one port, one of which demands a certificate."""

    async def start(self) -> None:
        self.pki = Authority()
        self.upstream = start_upstream(self, answer(b"ok"))
        server = [self.pki.issue("any", dns=["open.example", "closed.example", "*.wild.example"], usages=SERVER)]
        listeners = [
            https_listener(server, name="open", hostname="open.example"),
            https_listener(server, validation(self.pki), name="closed", hostname="closed.example"),
            https_listener(server, validation(self.pki), name="wild", hostname="*.wild.example"),
        ]
        self.running = await start_gateway(self, gateway(listeners, self.upstream))

    async def ask(self, server_name: str, data: bytes, certificate: bool = False) -> list[int]:
        """Give the statuses of all answers on one connection."""
        issued = self.pki.issue("client", usages=CLIENT) if certificate else None
        context = client_context(self.pki, issued)
        context.check_hostname = False
        received = await in_thread(talk, self.running.address(), data, context, server_name)
        statuses = []
        while received:
            response, received = read_response(received, closed=True) or self.fail(received)
            statuses.append(response.status)
        return statuses

    async def test_another_listener(self) -> None:
        """A connection that was let in for one name gets 421 for another listener's, whatever it sent before."""
        await self.start()
        self.assertEqual(await self.ask("open.example", get("/", "open.example")), [200])
        self.assertEqual(await self.ask("open.example", get("/", "closed.example")), [421])
        self.assertEqual(await self.ask("open.example", get("/", "OPEN.example.:443")), [200])
        for host in ("CLOSED.example", "closed.example.", "closed.example:8443", "a.wild.example"):
            self.assertEqual(await self.ask("open.example", get("/", host)), [421], host)
            self.assertEqual(await self.ask("open.example", two_requests("open.example", host)), [200, 421], host)
            self.assertEqual(await self.ask("open.example", two_requests(host, "open.example")), [421, 200], host)
        absolute = get("http://closed.example/", "closed.example")
        self.assertEqual(await self.ask("open.example", absolute), [421])
        hosts = {one.all(b"host")[0].lower() for one in self.upstream.requests}
        self.assertEqual(hosts, {b"open.example", b"open.example.:443"})

    async def test_more_trusted_listener(self) -> None:
        """Nor does a certificate for one name speak on a connection for another."""
        await self.start()
        self.assertEqual(await self.ask("closed.example", get("/", "closed.example"), True), [200])
        self.assertEqual(await self.ask("closed.example", get("/", "open.example"), True), [421])
        self.assertEqual(
            await self.ask("a.wild.example", two_requests("b.wild.example", "closed.example"), True), [200, 421]
        )

    async def test_no_listener(self) -> None:
        """A host that no listener of the port has is unknown, as is none at all."""
        await self.start()
        for host in ("other.example", "wild.example", "127.0.0.1"):
            self.assertEqual(await self.ask("open.example", get("/", host)), [404], host)
        self.assertEqual(await self.ask("open.example", b"GET / HTTP/1.0\r\n\r\n"), [404])
        self.assertEqual(self.upstream.requests, [])

    async def test_no_name(self) -> None:
        """A client without SNI is the first listener's, and asks for that one's host only."""
        await self.start()
        context = client_context(self.pki)
        context.check_hostname = False
        self.assertIsInstance(context, ssl.SSLContext)
        for host, status in [("open.example", 200), ("closed.example", 421)]:
            received = await in_thread(talk, self.running.address(), get("/", host), context, None)
            self.assertEqual(understood(received).status, status)


class PlainSitesTests(TestCase):
    """Plain listeners on one port."""

    async def test_host_chooses(self) -> None:
        """Without TLS the host alone chooses the listener, at every request anew, with its own rules."""
        upstream = start_upstream(
            self, lambda request: answer(request.all(b"x-site")[0] if request.all(b"x-site") else b"none")
        )
        model = gateway(
            [
                http_listener(name="a", hostname="a.example", header_injection=(FieldHeaders((("x-site", "a"),)),)),
                http_listener(
                    name="b",
                    hostname="*.b.example",
                    header_injection=(FieldHeaders((("x-site", "b"),)),),
                    forwarding=Forwarding(underscores=UnderscoreAction.REFUSE),
                ),
                http_listener(name="c", hostname="c.example"),
            ],
            upstream,
        )
        running = await start_gateway(self, model)
        client = await connect(self, running.address())
        spoof = "X-Site: evil"
        for host, body in [
            ("a.example", b"a"),
            ("x.b.example", b"b"),
            ("a.example", b"a"),
            ("c.example", b"none"),
            ("c.example", b"none"),
            ("x.b.example", b"b"),
            ("y.b.example", b"b"),
        ]:
            client.send(get("/", host, spoof).replace(b"connection: close\r\n", b""))
            response = await client.response()
            self.assertEqual((response.status, response.body), (200, body), host)
        client.send(get("/", "a.example", "x_y: 1").replace(b"connection: close\r\n", b""))
        self.assertEqual((await client.response()).status, 200)
        client.send(get("/", "nobody.example").replace(b"connection: close\r\n", b""))
        self.assertEqual((await client.response()).status, 404)
        client.send(get("/", "x.b.example", "x_y: 1"))
        self.assertEqual((await client.response()).status, 400)

    async def test_routes(self) -> None:
        """The table's order decides, and what no rule takes is unknown; listeners have only their own routes."""
        upstreams = {
            name: start_upstream(self, answer(name.encode()), name)
            for name in ("exact", "long", "short", "host", "other")
        }
        routes = [
            route("short", "/v2"),
            route("long", "/v2/items"),
            route("exact", "/v2/items", kind=PathMatchType.EXACT),
            route("host", "/", "h.example"),
            route("other", "/other", listeners=("elsewhere",)),
        ]
        running = await start_gateway(self, gateway([http_listener()], *upstreams.values(), routes=routes))
        client = await connect(self, running.address())
        for path, host, expected in [
            ("/v2", "a", b"short"),
            ("/v2/items", "a", b"exact"),
            ("/v2/items/", "a", b"long"),
            ("/v2/items?q=/x", "a", b"exact"),
            ("/v2/itemsx", "a", b"short"),
            ("/v2x", "a", None),
            ("/", "a", None),
            ("/v2", "h.example", b"host"),
            ("/other", "a", None),
            ("/other", "h.example", b"host"),
        ]:
            client.send(get(path, host).replace(b"connection: close\r\n", b""))
            response = await client.response()
            self.assertEqual(response.body if response.status == 200 else None, expected, path)

    async def test_weights(self) -> None:
        """Requests are shared by weight; a rule without a backend that may be asked gets 500."""
        heavy, light = start_upstream(self, answer(b"heavy"), "heavy"), start_upstream(self, answer(b"light"), "light")
        shares = (BackendRef("heavy", 3), BackendRef("light", 1))
        none = RouteRule((RouteMatch(PathMatch(value="/none")),), (BackendRef("heavy", 0),))
        empty = RouteRule((RouteMatch(PathMatch(value="/empty")),), ())
        model = gateway(
            [http_listener()], heavy, light, routes=[Route("r", (), (RouteRule(backends=shares), none, empty))]
        )
        running = await start_gateway(self, model)
        client = await connect(self, running.address())
        got = []
        for _ in range(8):
            client.send(get().replace(b"connection: close\r\n", b""))
            got.append((await client.response()).body)
        self.assertEqual((got.count(b"heavy"), got.count(b"light")), (6, 2))
        self.assertIn(b"light", got[:4])
        for path in ("/none", "/empty"):
            client.send(get(path).replace(b"connection: close\r\n", b""))
            self.assertEqual((await client.response()).status, 500)


class ToldTests(TestCase):
    """What an upstream is told, on the wire."""

    async def ask(
        self, *lines: str, listener: dict[str, Any] | None = None, host: str = "a.example"
    ) -> RecordedRequest:
        upstream = start_upstream(self, answer(b"ok", headers=b"via: 1.1 up\r\n"))
        running = await start_gateway(self, gateway([http_listener(**(listener or {}))], upstream))
        client = await connect(self, running.address())
        client.send(get("/", host, *lines))
        self.response = await client.response()
        self.assertEqual(self.response.status, 200)
        return upstream.requests[0]

    async def test_plain(self) -> None:
        """A stranger's claims are replaced by what the gateway knows, once each."""
        request = await self.ask(
            "X-Forwarded-For: 1.1.1.1",
            "x-forwarded-proto: https",
            "Forwarded: for=1.1.1.1",
            "X-Real-IP: 1.1.1.1",
            "X-Request-Id: mine",
            "X-Forwarded-Client-Cert: Hash=1",
            "x_forwarded_client_cert: Hash=1",
            "Client-Cert: :AA:",
            "X-SSL-Client-Verify: SUCCESS",
            "Connection: x-forwarded-client-cert",
            "Accept: */*",
        )
        self.assertEqual(len(request.all(b"x-request-id")[0]), 32)
        self.assertEqual(
            [one for one in request.headers if one[0] != b"x-request-id"],
            [
                (b"host", b"a.example"),
                (b"accept", b"*/*"),
                (b"x-forwarded-for", b"127.0.0.1"),
                (b"x-forwarded-proto", b"http"),
                (b"x-forwarded-host", b"a.example"),
            ],
        )

    async def test_trusted(self) -> None:
        """A trusted proxy's claims go on, and every request's own id with them."""
        trusting = Forwarding(trusted_proxies=(ip_network("127.0.0.0/8"),), via="edge", preserve_host=False)
        request = await self.ask(
            "X-Forwarded-For: 1.1.1.1", "X-Request-Id: mine", "Via: 1.0 a", listener={"forwarding": trusting}
        )
        self.assertEqual(request.all(b"x-forwarded-for"), [b"1.1.1.1, 127.0.0.1"])
        self.assertEqual(request.all(b"x-request-id"), [b"mine"])
        self.assertEqual(request.all(b"via"), [b"1.0 a, 1.1 edge"])
        self.assertEqual(request.all(b"x-forwarded-host"), [b"a.example"])
        self.assertTrue(request.all(b"host")[0].startswith(b"127.0.0.1:"))
        self.assertEqual(self.response.all("via"), ["1.1 up, 1.1 edge"])

    async def test_underscores_refused(self) -> None:
        """A listener may refuse underscores; nothing of the request goes out."""
        upstream = start_upstream(self)
        model = gateway([http_listener(forwarding=Forwarding(underscores=UnderscoreAction.REFUSE))], upstream)
        running = await start_gateway(self, model)
        client = await connect(self, running.address())
        client.send(get("/", "a.example", "x_a: 1"))
        self.assertEqual((await client.response()).status, 400)
        self.assertEqual(upstream.talks, [])

    async def test_names_of_other_listeners(self) -> None:
        """A header that any listener's injector owns is no client's to send to any listener."""
        upstream = start_upstream(self)
        injecting = http_listener(
            name="other", address="127.0.0.2", header_injection=(FieldHeaders((("x-who", "me"),)),)
        )
        running = await start_gateway(self, gateway([http_listener(), injecting], upstream))
        client = await connect(self, running.address())
        client.send(get("/", "a.example", "X-Who: evil"))
        await client.response()
        self.assertEqual(upstream.requests[0].all(b"x-who"), [])

    async def test_forwarding_modes(self) -> None:
        """A mode that lets the client's own element pass is asked at every request."""
        upstream = start_upstream(self)
        model = gateway([http_listener(header_injection=(XFCC(XFCCMode.ALWAYS_FORWARD_ONLY),))], upstream)
        running = await start_gateway(self, model)
        client = await connect(self, running.address())
        for value in ("Hash=1", "Hash=2", "Hash=2"):
            client.send(
                get("/", "a.example", f"x-forwarded-client-cert: {value}").replace(b"connection: close\r\n", b"")
            )
            await client.response()
        self.assertEqual(
            [one.all(b"x-forwarded-client-cert") for one in upstream.requests], [[b"Hash=1"], [b"Hash=2"], [b"Hash=2"]]
        )


@implementer(IHeaderInjector)
@frozen
class Fickle:
    """Works at the first request and fails at the second, though both are the same."""

    calls: list[int]
    owned: frozenset[bytes] = frozenset({b"x-who"})
    owned_responses: frozenset[bytes] = frozenset()
    needs_chain: bool = False
    per_request: bool = True

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        self.calls.append(1)
        if len(self.calls) > 1:
            raise RuntimeError("a bug")
        return [(b"x-who", b"%d" % len(self.calls))]


class InjectorFailureTests(TestCase):
    """Injectors that fail."""

    async def test_fails(self) -> None:
        """An injector is asked at each request; when it fails the client gets 500 and the upstream nothing."""
        upstream = start_upstream(self)
        injector = Fickle([])
        model = gateway([http_listener(header_injection=(FieldHeaders((("x-who", "me"),)),))], upstream)
        with patch.object(generation, "build_injectors", lambda settings: (injector,)):
            running = await start_gateway(self, model)
        client = await connect(self, running.address())
        client.send(get("/", "a.example").replace(b"connection: close\r\n", b"") * 2)
        self.assertEqual((await client.response()).status, 200)
        response = await client.response()
        self.assertEqual((response.status, response.body), (500, b"500 Internal Server Error\nThe gateway failed.\n"))
        await client.closed()
        self.assertEqual([one.all(b"x-who") for one in upstream.requests], [[b"1"]])
        self.assertEqual(len(injector.calls), 2)
