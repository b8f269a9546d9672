"""CORS and rate limits of rules, over real connections."""
from __future__ import annotations

from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater

from edgegw.identity import Identity
from edgegw.model import (
    CORS,
    BackendRef,
    Filters,
    HeaderModifier,
    RateLimit,
    RateLimitKey,
    Redirect,
    Route,
    RouteRule,
    ValidationMode,
)

from .filtered import FilterTestCase, request
from .gateway import (
    CLIENT,
    SERVER,
    Authority,
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

reactor: Any = global_reactor
ORIGIN = "origin: https://a.example"


class CORSTests(FilterTestCase):
    """``cors``."""

    async def test_preflight(self) -> None:
        """The gateway answers it, for origins that are allowed and for others; the upstream hears nothing."""
        upstream = start_upstream(self, answer(b"ok"))
        await self.serve(Filters(cors=CORS(("https://a.example",), ("PUT",), max_age=60.0)), upstream)
        client = await self.connect()
        for origin, status, allowed in [
            ("https://a.example", 204, ["https://a.example"]), ("https://b.example", 403, []),
        ]:
            client.send(request("/", "OPTIONS", f"origin: {origin}", "access-control-request-method: PUT"))
            response = await client.response()
            self.assertEqual(
                (response.status, response.all("access-control-allow-origin")), (status, allowed)
            )
            self.assertTrue(response.all("vary")[0].startswith("Origin"))
        self.assertEqual(upstream.requests, [])
        client.send(request("/", "OPTIONS", ORIGIN))
        self.assertEqual((await client.response()).body, b"ok")
        client.send(request("/", "OPTIONS", ORIGIN, ORIGIN, "access-control-request-method: PUT"))
        self.assertEqual((await client.response()).status, 403)

    async def test_simple(self) -> None:
        """Other requests go to the backend; what it says of origins itself does not come back."""
        upstream = start_upstream(
            self, answer(b"ok", headers=b"Access-Control-Allow-Origin: *\r\naccess-control-allow-methods: x\r\n")
        )
        await self.serve(
            Filters(
                cors=CORS(("https://*.example",), expose_headers=("x-a",)),
                response_headers=HeaderModifier(set=(("x-a", "1"),)),
            ),
            upstream,
        )
        for origin, allowed in [
            ("https://a.example", ["https://a.example"]), ("https://a.evil", []), ("null", []), ("", []),
        ]:
            response = await self.ask(request("/", "GET", *([f"origin: {origin}"] if origin else [])))
            self.assertEqual((response.status, response.body, response.all("x-a")), (200, b"ok", ["1"]))
            self.assertEqual(response.all("access-control-allow-origin"), allowed)
            self.assertEqual(response.all("access-control-allow-methods"), [])
            self.assertEqual(response.all("vary"), ["Origin"])

    async def test_own_answers(self) -> None:
        """A page can read the gateway's own answers too."""
        upstream = start_upstream(self, b"nonsense\r\n\r\n")
        cors = CORS(("*",))
        await self.serve(Filters(cors=cors), upstream)
        response = await self.ask(request("/", "GET", ORIGIN))
        self.assertEqual((response.status, response.all("access-control-allow-origin")), (502, ["*"]))
        await self.serve(Filters(cors=cors, redirect=Redirect("https")))
        response = await self.ask(request("/", "GET", ORIGIN))
        self.assertEqual((response.status, response.all("access-control-allow-origin")), (302, ["*"]))

    async def test_of_a_backend(self) -> None:
        """A backend's rules stand in place of the rule's."""
        upstream = start_upstream(self, answer(b"ok"))
        await self.serve(
            Filters(cors=CORS(("https://b.example",))), upstream, of_backend=Filters(cors=CORS(("https://a.example",)))
        )
        response = await self.ask(request("/", "GET", ORIGIN))
        self.assertEqual(response.all("access-control-allow-origin"), ["https://a.example"])


class RateLimitTests(FilterTestCase):
    """``rate_limit``."""

    async def test_rule(self) -> None:
        """429 past the burst, with when to come again; others of the connection's requests go on."""
        upstream = start_upstream(self, answer(b"ok"))
        await self.serve(Filters(rate_limit=RateLimit(2, 60.0, 3)), upstream)
        client = await self.connect()
        for number in range(5):
            client.send(request())
            response = await client.response()
            self.assertEqual(response.status, 200 if number < 3 else 429)
        self.assertEqual(response.all("retry-after"), ["30"])
        self.assertEqual(response.all("ratelimit"), ['"rule";r=0;t=30'])
        self.assertEqual(response.all("ratelimit-policy"), ['"rule";q=2;w=60'])
        self.assertEqual(len(upstream.requests), 3)
        self.assertEqual(self.running.metrics.requests("plain", "r", "").refused, {"rate_limited": 2})

    async def test_tokens_come_back(self) -> None:
        """Requests are taken again when there are tokens."""
        upstream = start_upstream(self, answer(b"ok"))
        await self.serve(Filters(rate_limit=RateLimit(20, 1.0, 1)), upstream)
        self.assertEqual((await self.ask()).status, 200)
        self.assertEqual((await self.ask()).status, 429)
        await deferLater(reactor, 0.06, lambda: None)
        self.assertEqual((await self.ask()).status, 200)

    async def test_one_rule_on_two_listeners(self) -> None:
        """A rule has one limit, and each rule its own."""
        upstream = start_upstream(self, answer(b"ok"))
        limited = RouteRule(backends=(BackendRef("upstream"),), filters=Filters(rate_limit=RateLimit(1, 60.0, 1)))
        model = gateway(
            [http_listener(name="a"), http_listener(name="b", address="127.0.0.2")],
            upstream,
            routes=[Route("one", ("one.example",), (limited,)), Route("two", ("two.example",), (limited,))],
        )
        self.running = await start_gateway(self, model)
        for host, first in (("one.example", b" 200 "), ("two.example", b" 200 ")):
            for name, wanted in (("a", first), ("b", b" 429 ")):
                got = await in_thread(talk, self.running.address(name), get("/", host))
                self.assertIn(wanted, got.partition(b"\r\n")[0], (host, name))

    async def test_by_address(self) -> None:
        """Each address has its own."""
        upstream = start_upstream(self, answer(b"ok"))
        await self.serve(
            Filters(rate_limit=RateLimit(1, 60.0, 1, RateLimitKey.ADDRESS)), upstream, listener={"address": "127.0.0.1"}
        )
        (site,) = self.running.generation._sites.sites
        limiter = site.routes.find("a.example", b"/").filters.limiter
        client = await self.connect()
        client.send(request())
        await client.response()
        (profile,) = self.running.generation._profiles.values()
        (info,) = [one.protocol.info for one in profile.transports]
        self.assertEqual(info.identity, Identity())
        self.assertGreater(limiter.take(info), 0)
        self.assertEqual(limiter.take(info._replace(peer="127.0.0.2")), 0)
        self.assertEqual(limiter.take(info._replace(peer="2001:db8::1")), 0)
        self.assertGreater(limiter.take(info._replace(peer="2001:db8::2")), 0)
        self.assertGreater(limiter.take(info._replace(peer="::ffff:127.0.0.2")), 0)
        self.assertEqual(limiter.take(info._replace(peer="unix:")), 0)

    async def test_by_identity(self) -> None:
        """Each verified identity has its own, and who has none is counted by address."""
        pki = Authority()
        upstream = start_upstream(self, answer(b"ok"))
        listener = https_listener(
            [pki.issue("a", dns=["a.example"], usages=SERVER)],
            validation(pki, mode=ValidationMode.ALLOW_INSECURE_FALLBACK),
        )
        rule = RouteRule(
            backends=(BackendRef("upstream"),),
            filters=Filters(rate_limit=RateLimit(1, 60.0, 1, RateLimitKey.IDENTITY)),
        )
        self.running = await start_gateway(self, gateway([listener], upstream, routes=[Route("r", rules=(rule,))]))
        one, two = (pki.issue(name, dns=[name], usages=CLIENT) for name in ("one.example", "two.example"))
        for certificate, wanted in [(one, 200), (two, 200), (one, 429), (None, 200), (None, 429)]:
            got = await in_thread(
                talk, self.running.address(), get(), client_context(pki, certificate), "a.example"
            )
            self.assertIn(b" %d " % wanted, got.partition(b"\r\n")[0])

    async def test_before_the_body(self) -> None:
        """A body is not read."""
        await self.serve(Filters(rate_limit=RateLimit(1, 60.0, 1), redirect=Redirect("https")))
        await self.ask()
        response = await self.ask(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nx")
        self.assertEqual((response.status, response.all("connection")), (429, ["close"]))
