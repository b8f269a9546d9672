"""Gateway API's order of routes and every kind of match, with real requests through a real gateway."""
from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Peer, Verdict, policy
from edgegw.backends.respond import Config, Respond
from edgegw.model import (
    BackendRef,
    BackendUse,
    Gateway,
    HeaderMatch,
    IdentityMatch,
    Listener,
    PathMatch,
    PathMatchType,
    PolicyUse,
    QueryParamMatch,
    Route,
    RouteMatch,
    RouteRule,
    Upstream,
    ValidationMode,
    ValueMatchType,
)

from .gateway import (
    SERVER,
    Authority,
    client_context,
    gateway,
    get,
    http_listener,
    https_listener,
    in_thread,
    start_gateway,
    talk,
    validation,
)
from .raw_client import read_response
from .test_tls_policies import use

EXACT, PREFIX, REGEX = PathMatchType.EXACT, PathMatchType.PATH_PREFIX, PathMatchType.REGULAR_EXPRESSION
PRESENT = ValueMatchType.PRESENT


def on(path: str, kind: PathMatchType = PREFIX, **conditions: Any) -> RouteMatch:
    return RouteMatch(PathMatch(kind, path), **conditions)


def route(name: str, *matches: RouteMatch, host: str | None = None, **options: Any) -> Route:
    """Give a route of one rule whose requests are answered with its name."""
    rule = RouteRule(matches or (RouteMatch(),), (BackendRef(name),))
    return Route(name, () if host is None else (host,), (rule,), **options)


def model(listeners: list[Listener], routes: tuple[Route, ...]) -> Gateway:
    answers = [
        Upstream(one.name, (), backend=BackendUse(Respond, Respond.build(Config(body=one.name), None)))
        for one in routes
    ]
    return gateway(listeners, *answers, routes=routes)


class MatchCase(TestCase):
    """A gateway whose routes say which of them has taken a request."""

    async def start(self, *routes: Route, listeners: list[Listener] | None = None) -> None:
        self.running = await start_gateway(self, model(listeners or [http_listener()], routes))

    async def ask(self, path: str, host: str = "a.example", *headers: str, method: str = "GET") -> str:
        """Give the name of the route that answers, or the status of the gateway's own answer."""
        request = get(path, host, *headers).replace(b"GET", method.encode(), 1)
        return self.taken(await in_thread(talk, self.running.address(), request))

    def taken(self, received: bytes) -> str:
        response, _ = read_response(received, closed=True) or self.fail(received)
        return response.body.decode() if response.status == 200 else str(response.status)

    async def assert_taken(self, *cases: tuple[Any, ...]) -> None:
        """Each case is the route that takes it, and what :meth:`ask` wants."""
        for expected, *asked in cases:
            self.assertEqual(await self.ask(*asked), expected, asked)


class OrderTests(MatchCase):
    """Which of several matches wins, row by row; the winner stands last in the file wherever it can."""

    async def test_hostname(self) -> None:
        """Most characters in a name without wildcard, then in a name; above everything else."""
        await self.start(
            route("none", on("/x", EXACT, method="GET", headers=(HeaderMatch("a", "1"),))),
            route("wide", on("/x", EXACT), host="*.example"),
            route("narrow", on("/x"), host="*.a.example"),
            route("exact", on("/"), host="b.a.example"),
        )
        await self.assert_taken(
            ("exact", "/x", "b.a.example", "a: 1"), ("narrow", "/x", "c.a.example", "a: 1"),
            ("wide", "/x", "a.example", "a: 1"), ("none", "/x", "example", "a: 1"), ("404", "/x", "example"),
        )

    async def test_path(self) -> None:
        """Exact, then expressions by their length, then prefixes by theirs; above every other condition."""
        every = {"method": "GET", "headers": (HeaderMatch("a", "1"),), "query_params": (QueryParamMatch("q", "1"),)}
        await self.start(
            route("short", on("/x", **every)), route("long", on("/x/y", **every)),
            route("expression", on("/x/y/[a-z]", REGEX, **every)),
            route("longer expression", on("/x/y/[a-z][a-z]?", REGEX, **every)),
            route("exact", on("/x/y/z", EXACT)),
        )
        await self.assert_taken(
            ("exact", "/x/y/z?q=1", "h", "a: 1"), ("longer expression", "/x/y/a?q=1", "h", "a: 1"),
            ("longer expression", "/x/y/ab?q=1", "h", "a: 1"), ("long", "/x/y/abc?q=1", "h", "a: 1"),
            ("short", "/x/yz?q=1", "h", "a: 1"), ("404", "/x/y/a", "h"),
        )

    async def test_conditions(self) -> None:
        """A method, then the most headers, then the most parameters, then the first in the file."""
        a, b = HeaderMatch("a", "1"), HeaderMatch("b", "1")
        p, q = QueryParamMatch("p", "1"), QueryParamMatch("q", "1")
        await self.start(
            route("nothing"), route("nothing either"),
            route("one parameter", on("/", query_params=(p,))), route("two", on("/", query_params=(p, q))),
            route("one header", on("/", headers=(a,))), route("two headers", on("/", headers=(a, b))),
            route("method", on("/", method="PUT")), route("method again", on("/", method="PUT")),
        )
        for expected, path, headers, method in [
            ("method", "/?p=1&q=1", ("a: 1", "b: 1"), "PUT"), ("two headers", "/?p=1&q=1", ("a: 1", "b: 1"), "GET"),
            ("one header", "/?p=1&q=1", ("a: 1",), "GET"), ("two", "/?p=1&q=1", (), "GET"),
            ("one parameter", "/?p=1&q=2", ("a: 2",), "GET"), ("nothing", "/", (), "GET"),
        ]:
            self.assertEqual(await self.ask(path, "h", *headers, method=method), expected)

    async def test_across_rules_and_matches(self) -> None:
        """A route's rules and a rule's matches are ordered as if each stood alone."""
        rules = (
            RouteRule((on("/a"), on("/b/c", EXACT)), (BackendRef("one"),)),
            RouteRule((on("/b"), on("/a/c", EXACT)), (BackendRef("two"),)),
        )
        one, two = route("one"), route("two")
        both = model([http_listener()], (one, two))
        self.running = await start_gateway(
            self, gateway(both.listeners, *both.upstreams, routes=[Route("both", rules=rules)])
        )
        await self.assert_taken(
            ("one", "/a"), ("two", "/a/c"), ("one", "/a/d"), ("two", "/b"), ("one", "/b/c"), ("404", "/c")
        )

    async def test_listeners_are_isolated(self) -> None:
        """What a more specific listener is for is never served by the routes of a less specific one."""
        listeners = [
            http_listener(name="any"), http_listener(name="wild", hostname="*.example"),
            http_listener(name="one", hostname="a.example"),
        ]
        await self.start(
            route("of any", listeners=("any",)), route("of wild", listeners=("wild",)),
            route("of one", on("/x", method="POST"), listeners=("one",)), listeners=listeners,
        )
        await self.assert_taken(
            ("of any", "/", "b.other"), ("of wild", "/", "b.example"), ("404", "/", "a.example"),
            ("404", "/x", "a.example"),
        )
        self.assertEqual(await self.ask("/x", "a.example", method="POST"), "of one")


class MatchTests(MatchCase):
    """What each match takes."""

    async def test_paths(self) -> None:
        """Exact with its case and slash, prefixes by whole elements, the slash at their end left aside."""
        await self.start(
            route("exact", on("/Two", EXACT)), route("prefix", on("/v2")), route("slash", on("/v3/")),
            route("expression", on("/n/[0-9]+", REGEX)),
        )
        await self.assert_taken(
            ("exact", "/Two"), ("404", "/Two/"), ("404", "/two"), ("prefix", "/v2"), ("prefix", "/v2/"),
            ("prefix", "/v2/x"), ("404", "/v2example"), ("slash", "/v3"), ("slash", "/v3/x"), ("exact", "/Two?x"),
            ("expression", "/n/12"), ("404", "/n/12/"), ("404", "/n/a"), ("expression", "/n/1?a"),
        )

    async def test_headers(self) -> None:
        """Names of any case, whole values, one of several lines; present is present with no value, too."""
        await self.start(
            route("three", on("/", headers=(
                HeaderMatch("version", "two"), HeaderMatch("color", "b.*", ValueMatchType.REGULAR_EXPRESSION),
                HeaderMatch("here", None, PRESENT),
            ))),
            route("version", on("/", headers=(HeaderMatch("version", "two"),))),
        )  # fmt: skip
        await self.assert_taken(
            ("three", "/", "h", "VERSION: two", "Color: blue", "HERE:"), ("version", "/", "h", "version:  two  "),
            ("version", "/", "h", "version: one", "version: two", "color: red", "here: 1"),
            ("404", "/", "h", "version: Two"), ("404", "/", "h", "version: two, one"), ("404", "/", "h"),
            ("version", "/", "h", "version: two", "color: blue"),
        )

    async def test_methods(self) -> None:
        """As it is sent, case included."""
        await self.start(route("post", on("/", method="POST")), route("other", on("/", method="PROPFIND")))
        for method, expected in [("POST", "post"), ("post", "404"), ("PROPFIND", "other"), ("HEAD", "404")]:
            request = get("/").replace(b"GET", method.encode(), 1)
            received = await in_thread(talk, self.running.address(), request)
            wanted = b"404" if expected == "404" else b"200"
            self.assertEqual(received[9:12], wanted, method)

    async def test_query(self) -> None:
        """Decoded, with case, the first of a name, and whatever else stands beside it."""
        await self.start(
            route("animal", on("/", query_params=(QueryParamMatch("animal", "blue whale"),))),
            route("number", on("/", query_params=(QueryParamMatch("n", "[0-9]+", ValueMatchType.REGULAR_EXPRESSION),))),
            route("debug", on("/", query_params=(QueryParamMatch("é", None, PRESENT),))),
        )
        await self.assert_taken(
            ("animal", "/?animal=blue+whale"), ("animal", "/?x=1&%61nimal=blue%20whale&animal=dolphin"),
            ("404", "/?animal=dolphin&animal=blue+whale"), ("404", "/?Animal=blue+whale"),
            ("404", "/?animal=Blue+whale"),
            ("number", "/?n=12"), ("404", "/?n=12a"), ("404", "/?n="), ("debug", "/?%C3%A9"), ("debug", "/?%c3%a9=1"),
            ("404", "/"), ("404", "/?"), ("404", "/animal=blue+whale"),
        )

    async def test_pipelined(self) -> None:
        """Requests with the same header lines are matched each by itself."""
        await self.start(
            route("get", on("/", method="GET")),
            route("q", on("/", method="GET", query_params=(QueryParamMatch("q", "1"),))),
        )
        first = get("/?q=1").replace(b"connection: close\r\n", b"")
        received = await in_thread(talk, self.running.address(), first + first.replace(b"q=1", b"q=2") + get("/?q=1"))
        taken = []
        while received:
            response, received = read_response(received, closed=True) or self.fail(received)
            taken.append(response.body)
        self.assertEqual(taken, [b"q", b"get", b"q"])


class IdentityTests(MatchCase):
    """Matches by who the client is."""

    async def begin(self, mode: ValidationMode, *routes: Route, **options: Any) -> None:
        self.root = Authority()
        server = self.root.issue("server", dns=["a.example"], usages=SERVER)
        listener = https_listener([server], validation(self.root, mode=mode, **options))
        await self.start(*routes, listeners=[listener])

    async def ask_as(self, client: Any, path: str = "/") -> str:
        context = client_context(self.root, client)
        return self.taken(await in_thread(talk, self.running.address(), get(path), context, "a.example"))

    async def test_verified_and_not(self) -> None:
        """Only a verified certificate's facts count; status and the like count for everyone."""
        team = IdentityMatch("spiffe_id", "spiffe://example/(a|b)/.*", ValueMatchType.REGULAR_EXPRESSION)
        await self.begin(
            ValidationMode.ALLOW_INSECURE_FALLBACK,
            route("others"), route("unverified", on("/", identity=(IdentityMatch("status", "unverified"),))),
            route("team", on("/", identity=(team,))),
            route("one", on("/", identity=(team, IdentityMatch("dns_names", "two.example")))),
        )
        member = {"uris": ["spiffe://example/a/x"]}
        for expected, client in [
            ("team", self.root.issue("x", **member)), ("others", self.root.issue("x", uris=["spiffe://example/c/x"])),
            ("one", self.root.issue("x", dns=["one.example", "Two.example"], **member)),
            ("unverified", Authority("stranger").issue("x", **member)), ("others", None),
        ]:
            self.assertEqual(await self.ask_as(client), expected)
        # Whoever is not of the team must not get past its match by an odd path.
        self.assertEqual(await self.ask_as(None, "/x/../y"), "400")

    async def test_attributes(self) -> None:
        """What policies said of the client chooses a rule."""
        await self.begin(
            ValidationMode.ALLOW_VALID_ONLY,
            route("others"), route("red", on("/", identity=(IdentityMatch("attribute:team", "red"),))),
            policies=(self.of_team(),),
        )
        self.assertEqual(await self.ask_as(self.root.issue("red")), "red")
        self.assertEqual(await self.ask_as(self.root.issue("blue")), "others")

    def of_team(self) -> PolicyUse:
        @policy("team")
        def team(peer: Peer) -> Verdict:
            """Say that the common name is the team."""
            return Accept({"team": peer.common_name})

        return use(team)
