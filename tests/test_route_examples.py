"""Each row of Gateway API's tables for routes, written in the native configuration and seen by a client.

Other modules try the corners; here a whole document is loaded, served and asked for each feature once.
"""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

from attrs import evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from edgegw.config import ConfigError, load

from .gateway import (
    SERVER,
    Authority,
    RecordedRequest,
    answer,
    files,
    in_thread,
    start_gateway,
    start_upstream,
    until,
)
from .http_service import reply, start_service
from .raw_client import Response, connect
from .test_proxy_exchange import free_port

reactor: Any = global_reactor


class ExampleCase(TestCase):
    """Rules in YAML before three upstreams ``a``, ``b`` and ``c`` that answer with their name.

    ``{down}`` in them is an upstream of which no endpoint can be used.
    """

    def setUp(self) -> None:
        self.upstreams = {name: start_upstream(self, answer(name.encode()), name) for name in "abc"}
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def load(self, routes: str, upstreams: str = "") -> Any:
        """Give the model of a document; ``routes`` and ``upstreams`` are lists in block style."""
        known = "".join(
            f"  - {{name: {name}, endpoints: ['127.0.0.1:{one.port}']}}\n" for name, one in self.upstreams.items()
        )
        path = self.directory / "edgegw.yaml"
        path.write_text(
            "admin: disabled\n"
            "listeners: [{name: plain, address: 127.0.0.1, port: 1, protocol: HTTP}]\n"
            f"routes:\n{routes}upstreams:\n{known}"
            f"  - {{name: down, endpoints: ['127.0.0.1:{free_port()}']}}\n{upstreams}"
        )
        loaded = load(str(path), {}).gateway
        return evolve(loaded, listeners=tuple(evolve(one, port=0) for one in loaded.listeners))

    async def serve(self, *rules: str, upstreams: str = "") -> None:
        """Serve rules of one route; each is YAML in block style."""
        listed = "".join(f"      - {indent(dedent(rule).strip(), ' ' * 8).lstrip()}\n" for rule in rules)
        await self.serve_routes(f"  - name: r\n    rules:\n{listed}", upstreams)

    async def serve_routes(self, routes: str, upstreams: str = "") -> None:
        """Serve whole routes."""
        self.running = await start_gateway(self, self.load(routes, upstreams))

    async def ask(
        self, path: str = "/", *lines: str, method: str = "GET", host: str = "x.example", body: str = ""
    ) -> Response:
        """Send a request on a connection of its own, and give the answer."""
        client = await connect(self, self.running.address())
        length = [f"content-length: {len(body)}"] if body else []
        client.send("\r\n".join([f"{method} {path} HTTP/1.1", f"host: {host}", *lines, *length, "", body]).encode())
        response = await client.response(method == "HEAD")
        client.transport.loseConnection()
        return response

    async def who(self, *args: Any, **options: Any) -> str:
        """Give the name of the upstream that answers, or the status of the gateway's own answer."""
        response = await self.ask(*args, **options)
        return response.body.decode() if response.status == 200 else str(response.status)

    async def assert_who(self, *cases: tuple[str, Any]) -> None:
        """Each case is the expected answer, and what is asked: a path, or a path and header lines."""
        for expected, asked in cases:
            arguments = (asked,) if isinstance(asked, str) else asked
            self.assertEqual(await self.who(*arguments), expected, asked)

    def got(self, name: str) -> Sequence[RecordedRequest]:
        """Give what an upstream was asked."""
        return self.upstreams[name].requests


class MatchingTests(ExampleCase):
    """§5.2."""

    async def test_path_exact_and_prefix(self) -> None:
        """Exact with case and slash; a prefix by elements; anything else is 404."""
        await self.serve(
            "{matches: [{path: {type: Exact, value: /one}}], backends: [{upstream: a}]}",
            "{matches: [{path: {type: PathPrefix, value: /v2/}}], backends: [{upstream: b}]}",
        )
        await self.assert_who(
            ("a", "/one"), ("404", "/one/"), ("404", "/One"), ("404", "/one/x"),
            ("b", "/v2"), ("b", "/v2/"), ("b", "/v2/x"), ("404", "/v2example"), ("404", "/"),
        )

    async def test_default_path(self) -> None:
        """Without matches everything matches."""
        await self.serve("{backends: [{upstream: a}]}")
        await self.assert_who(("a", "/"), ("a", "/x/y?z"))

    async def test_path_regular_expression(self) -> None:
        """The whole path."""
        await self.serve(
            "{matches: [{path: {type: RegularExpression, value: '/v[0-9]+/.*'}}], backends: [{upstream: a}]}"
        )
        await self.assert_who(("a", "/v1/x"), ("a", "/v22/"), ("404", "/v/x"), ("404", "/x/v1/x"))

    async def test_headers(self) -> None:
        """All of them; names of any case; of a name that is given twice the first entry."""
        await self.serve(
            "{matches: [{headers: [{name: Version, value: two}, {name: version, value: three}]}],"
            " backends: [{upstream: a}]}",
            "{matches: [{headers: [{name: color, value: blue}, {name: size, type: Present}]}],"
            " backends: [{upstream: b}]}",
            "{matches: [{headers: [{name: color, type: RegularExpression, value: 'g.+'}]}], backends: [{upstream: c}]}",
        )
        await self.assert_who(
            ("a", ("/", "VERSION: two")), ("404", ("/", "version: three")), ("404", ("/", "color: blue")),
            ("b", ("/", "color: blue", "size: 1")), ("c", ("/", "color: green")), ("404", ("/", "color: Blue")),
        )

    async def test_method(self) -> None:
        """One method alone."""
        await self.serve(
            "{matches: [{method: POST}], backends: [{upstream: a}]}",
            "{matches: [{method: GET, path: {value: /g}}], backends: [{upstream: b}]}",
        )
        self.assertEqual(await self.who("/", method="POST"), "a")
        self.assertEqual(await self.who("/g/x"), "b")
        self.assertEqual(await self.who("/"), "404")
        self.assertEqual(await self.who("/g", method="PUT"), "404")

    async def test_query_params(self) -> None:
        """Names and values with their case; the first value of a name."""
        await self.serve("{matches: [{query_params: [{name: animal, value: whale}]}], backends: [{upstream: a}]}")
        await self.assert_who(
            ("a", "/?animal=whale"), ("a", "/?x=1&animal=whale&animal=cow"), ("404", "/?animal=cow&animal=whale"),
            ("404", "/?Animal=whale"), ("404", "/?animal=Whale"), ("404", "/"),
        )

    async def test_order(self) -> None:
        """Host name, exact path, longest prefix, method, headers, query, place: across rules and routes."""
        def rule(match: str, upstream: str) -> str:
            return f"      - {{matches: [{{{match}}}], backends: [{{upstream: {upstream}}}]}}\n"

        prefix = "path: {value: /p}"
        await self.serve_routes(
            "  - name: any\n    rules:\n" + rule("path: {type: Exact, value: /h}", "c")
            + "  - name: wild\n    hostnames: ['*.example']\n    rules:\n" + rule("path: {value: /h/h/h}", "b")
            + "  - name: exact\n    hostnames: [x.example]\n    rules:\n" + rule("path: {value: /h}", "a")
            # Each is the better one of the two before it.
            + rule("path: {value: /e}", "c") + rule("path: {type: Exact, value: /e}", "a")
            + rule("path: {value: /l}", "c") + rule("path: {value: /l/l}", "a")
            + rule(prefix + ", headers: [{name: h, value: v}, {name: i, value: v}]", "c")
            + rule(prefix + ", method: PUT", "a")
            + rule(prefix + ", headers: [{name: h, value: v}], query_params: [{name: q, value: v}]", "b")
            + rule(prefix + ", query_params: [{name: q, value: v}, {name: r, value: v}]", "a")
            + rule("path: {value: /f}", "a") + rule("path: {value: /f}", "c")
        )
        await self.assert_who(
            ("a", "/h"), ("a", "/h/h/h"), ("a", "/e"), ("a", "/l/l/x"), ("c", "/l/x"), ("a", "/f"),
            ("c", ("/p", "h: v", "i: v")), ("b", ("/p?q=v&r=v", "h: v")), ("a", "/p?q=v&r=v"),
        )
        self.assertEqual(await self.who("/p", "h: v", "i: v", method="PUT"), "a")
        self.assertEqual(await self.who("/h/h/h", host="y.example"), "b")
        self.assertEqual(await self.who("/h", host="other.test"), "c")

    def test_limits(self) -> None:
        """64 matches, and 16 headers or parameters in one of them."""
        def count(matches: int, headers: int) -> str:
            listed = ", ".join(f"{{name: h{number}, value: v}}" for number in range(headers))
            return (
                "  - name: r\n    rules:\n      - backends: [{upstream: a}]\n        matches:\n"
                + f"          - {{headers: [{listed}]}}\n" * matches
            )

        self.load(count(64, 16))
        for matches, headers in ((65, 1), (1, 17)):
            with self.assertRaises(ConfigError):
                self.load(count(matches, headers))


class FilterTests(ExampleCase):
    """§5.3."""

    async def test_request_headers(self) -> None:
        """Set, add and remove at a rule and at a backend, with weights."""
        await self.serve("""
            request_headers: {set: {X-Set: s}, add: {x-add: two}, remove: [x-remove]}
            backends:
              - {upstream: a, request_headers: {set: {x-who: first}}}
              - {upstream: b, request_headers: {set: {x-who: second}}}
        """)
        for _ in range(2):
            await self.ask("/", "x-set: c", "X-Add: one", "x-REMOVE: r", "x-who: c")
        for name, who in (("a", b"first"), ("b", b"second")):
            (got,) = self.got(name)
            self.assertEqual(
                [got.all(header) for header in (b"x-set", b"x-add", b"x-remove", b"x-who")],
                [[b"s"], [b"one,two"], [], [who]],
            )

    async def test_response_headers(self) -> None:
        """The same for responses, together with those of requests."""
        self.upstreams["a"].script = answer(b"", headers=b"x-set: u\r\nx-add: one\r\nx-remove: r\r\n")
        await self.serve("""
            request_headers: {set: {x-asked: q}}
            response_headers: {set: {x-set: s}, add: {x-add: two}, remove: [X-Remove]}
            backends: [{upstream: a, response_headers: {set: {x-backend: b}}}]
        """)
        response = await self.ask()
        self.assertEqual(
            [response.all(name) for name in ("x-set", "x-add", "x-remove", "x-backend", "x-asked")],
            [["s"], ["one,two"], [], ["b"], []],
        )
        self.assertEqual(self.got("a")[0].all(b"x-asked"), [b"q"])

    async def test_redirect_host_and_status(self) -> None:
        """302 unless another status is given."""
        await self.serve(
            "{matches: [{path: {value: /default}}], redirect: {hostname: y.example}}",
            *(
                f"{{matches: [{{path: {{value: /{status}}}}}], redirect: {{hostname: y.example, status: {status}}}}}"
                for status in (301, 302, 303, 307, 308)
            ),
            "{matches: [{path: {value: /backend}}], backends: [{upstream: a, redirect: {hostname: z.example}}]}",
        )
        port = self.running.address()[1]
        for path, status, host in [
            ("default", 302, "y"), *((str(status), status, "y") for status in (301, 302, 303, 307, 308)),
            ("backend", 302, "z"),
        ]:
            response = await self.ask(f"/{path}/x?q=1")
            self.assertEqual(
                (response.status, response.all("location")),
                (status, [f"http://{host}.example:{port}/{path}/x?q=1"]),
            )
        self.assertFalse(self.got("a"))

    async def test_redirect_scheme_port_path(self) -> None:
        """The port is the given one, or the given scheme's, or the listener's; a scheme's own is not written."""
        redirects = {
            "{scheme: https}": "https://x.example/r0/x", "{scheme: http}": "http://x.example/r1/x",
            "{port: 8083}": "http://x.example:8083/r2/x", "{port: 80}": "http://x.example/r3/x",
            "{scheme: https, port: 443}": "https://x.example/r4/x",
            "{scheme: https, port: 8443}": "https://x.example:8443/r5/x",
            "{port: 80, path: {type: ReplaceFullPath, value: /full}}": "http://x.example/full",
            "{port: 80, path: {type: ReplacePrefixMatch, value: /new}}": "http://x.example/new/x",
        }
        await self.serve(*(
            f"{{matches: [{{path: {{value: /r{number}}}}}], redirect: {redirect}}}"
            for number, redirect in enumerate(redirects)
        ))
        for number, location in enumerate(redirects.values()):
            self.assertEqual((await self.ask(f"/r{number}/x")).all("location"), [location])

    async def test_rewrite(self) -> None:
        """Host and path, at a rule and at a backend."""
        await self.serve(
            "{matches: [{path: {value: /foo}}], rewrite: {path: {type: ReplacePrefixMatch, value: /xyz}},"
            " backends: [{upstream: a}]}",
            "{matches: [{path: {value: /strip}}], rewrite: {path: {type: ReplacePrefixMatch, value: /}},"
            " backends: [{upstream: a}]}",
            "{matches: [{path: {value: /full}}],"
            " rewrite: {hostname: y.example, path: {type: ReplaceFullPath, value: /one}}, backends: [{upstream: a}]}",
            "{matches: [{path: {value: /backend}}], backends: [{upstream: a, rewrite: {hostname: z.example}}]}",
        )
        for path, want, host in [
            ("/foo", "/xyz", "x"), ("/foo/", "/xyz/", "x"), ("/foo/bar?q", "/xyz/bar?q", "x"), ("/strip", "/", "x"),
            ("/strip/bar", "/bar", "x"), ("/full/x?q", "/one?q", "y"), ("/backend/x", "/backend/x", "z"),
        ]:
            await self.ask(path)
            got = self.got("a")[-1]
            self.assertEqual(got.line, f"GET {want} HTTP/1.1".encode())
            self.assertEqual(got.all(b"host"), [f"{host}.example".encode()])

    def test_incompatible(self) -> None:
        """A rule cannot both redirect and rewrite, or redirect and have backends; unknown words are faults."""
        for rule in (
            "{redirect: {hostname: y.example}, rewrite: {hostname: z.example}}",
            "{redirect: {hostname: y.example}, backends: [{upstream: a}]}",
            "{redirect: {hostname: y.example, status: 305}}",
            "{backends: [{upstream: a}], rewrite: {path: {type: ReplaceAll, value: /}}}",
            "{backends: [{upstream: a}], extension_ref: {name: x}}",
            "{matches: [{}, {}], backends: [{upstream: a}], rewrite: {path: {type: ReplacePrefixMatch, value: /}}}",
        ):
            with self.assertRaises(ConfigError):
                self.load(f"  - name: r\n    rules:\n      - {rule}\n")

    async def test_mirrors(self) -> None:
        """Each mirror gets one copy, or none of its share, and nobody waits for it."""
        self.upstreams["b"].script = lambda request: None
        await self.serve(
            "{matches: [{path: {value: /all}}], backends: [{upstream: a}],"
            " mirrors: [{upstream: b}, {upstream: c}, {upstream: down}]}",
            "{matches: [{path: {value: /none}}], backends: [{upstream: a}],"
            " mirrors: [{upstream: b, percent: 0}, {upstream: c, fraction: {numerator: 5, denominator: 5}}]}",
            "{matches: [{path: {value: /backend}}], backends: [{upstream: a, mirrors: [{upstream: c}]}]}",
        )
        for path, of_b, of_c in (("/all/x?q=1", 1, 1), ("/none", 1, 2), ("/backend", 1, 3)):
            self.assertEqual(await self.who(path), "a")
            await until(lambda number=of_c: len(self.got("c")) == number)  # type: ignore[misc]  # a default of a lambda
            self.assertEqual((self.got("c")[-1].line, len(self.got("b"))), (f"GET {path} HTTP/1.1".encode(), of_b))

    async def test_cors(self) -> None:
        """Preflights are the gateway's; other origins get nothing, and their simple requests go on."""
        await self.serve("""
            matches: [{path: {value: /c}}]
            cors:
              allow_origins: ["https://www.foo.example", "https://*.bar.example"]
              allow_methods: [PUT]
              allow_headers: [x-one]
              expose_headers: [x-two]
              allow_credentials: true
            backends: [{upstream: a}]
        """, """
            matches: [{path: {value: /any}}]
            cors: {allow_origins: ["*"], allow_methods: ["*"], allow_headers: ["*"], max_age: 10m}
            backends: [{upstream: a}]
        """)
        asked = ("access-control-request-method: PUT", "access-control-request-headers: x-one")
        for origin in ("https://www.foo.example", "https://a.b.bar.example"):
            response = await self.ask("/c", f"origin: {origin}", *asked, method="OPTIONS")
            self.assertEqual(
                [
                    response.status,
                    *(response.all(f"access-control-{name}") for name in (
                        "allow-origin", "allow-methods", "allow-headers", "allow-credentials", "max-age",
                    )),
                ],
                [204, [origin], ["PUT"], ["x-one"], ["true"], ["5"]],
            )
        self.assertFalse(self.got("a"))
        response = await self.ask("/c", "origin: https://bar.example", *asked, method="OPTIONS")
        self.assertEqual((response.status, response.all("access-control-allow-origin")), (403, []))
        response = await self.ask("/c", "origin: https://www.foo.example")
        self.assertEqual(response.all("access-control-allow-origin"), ["https://www.foo.example"])
        self.assertEqual(response.all("access-control-expose-headers"), ["x-two"])
        response = await self.ask("/c", "origin: https://other.example")
        self.assertEqual((response.body, response.all("access-control-allow-origin")), (b"a", []))
        response = await self.ask("/any", "origin: https://other.example", *asked, method="OPTIONS")
        self.assertEqual(
            [response.all(f"access-control-{name}") for name in ("allow-origin", "max-age", "allow-credentials")],
            [["*"], ["600"], []],
        )

    async def test_external_auth(self) -> None:
        """200 lets a request pass, anything else does not, and nobody to ask is a refusal."""
        service = start_service(
            self, lambda asked: reply(status="200 OK" if asked.headers.get("authorization") == "good" else "401 No")
        )
        await self.serve(
            f"{{matches: [{{path: {{value: /s}}}}], external_auth: {{url: '{service.url}'}},"
            " backends: [{upstream: a}]}",
            f"{{matches: [{{path: {{value: /n}}}}], external_auth: {{url: 'http://127.0.0.1:{free_port()}/'}},"
            " backends: [{upstream: a}]}",
        )
        await self.assert_who(
            ("a", ("/s", "authorization: good")), ("401", ("/s", "authorization: bad")), ("401", "/s"), ("403", "/n")
        )


class BackendTests(ExampleCase):
    """§5.4."""

    async def test_weights(self) -> None:
        """Shares as the weights are; a weight of 0 gets nothing."""
        await self.serve(
            "backends: [{upstream: a, weight: 7}, {upstream: b, weight: 3}, {upstream: c, weight: 0}]"
        )
        for _ in range(50):
            await self.ask()
        self.assertEqual([len(self.got(name)) for name in "abc"], [35, 15, 0])

    async def test_nobody(self) -> None:
        """500 without a backend or with no weight, 503 where no endpoint can be used."""
        await self.serve(
            "{matches: [{path: {value: /empty}}], backends: []}",
            "{matches: [{path: {value: /zero}}], backends: [{upstream: a, weight: 0}, {upstream: b, weight: 0}]}",
            "{matches: [{path: {value: /down}}], backends: [{upstream: down}]}",
            "{matches: [{path: {value: /unknown}}], backends: [{upstream: unknown}]}",
            upstreams="  - {name: unknown, endpoints: ['srv:_http._tcp.nobody.invalid'],"
            f" resolution: {{servers: ['127.0.0.1:{free_port()}']}}}}\n",
        )
        await self.assert_who(("500", "/empty"), ("500", "/zero"), ("503", "/down"), ("503", "/unknown"))

    def test_no_such_upstream(self) -> None:
        """It is a fault at once, not the answer to a share of the requests."""
        with self.assertRaises(ConfigError) as caught:
            self.load("  - {name: r, rules: [{backends: [{upstream: a}, {upstream: nobody}]}]}\n")
        self.assertIn("there is no upstream nobody", str(caught.exception))

    async def test_timeouts(self) -> None:
        """504 past the request's time, and past the backend's; 0s is none."""
        self.upstreams["a"].script = lambda request: None
        self.upstreams["b"].script = self.later
        await self.serve(
            "{matches: [{path: {value: /request}}], timeouts: {request: 100ms}, backends: [{upstream: a}]}",
            "{matches: [{path: {value: /backend}}], timeouts: {request: 1m, backend_request: 100ms},"
            " backends: [{upstream: a}]}",
            "{matches: [{path: {value: /none}}], timeouts: {request: 0s}, backends: [{upstream: b}]}",
        )
        await self.assert_who(("504", "/request"), ("504", "/backend"), ("late", "/none"))

    def later(self, request: RecordedRequest) -> None:
        """Answer a little later."""
        deferLater(reactor, 0.3, request.talk.transport.write, answer(b"late"))

    async def test_retry(self) -> None:
        """Of a status, of a time-out and of a failure to connect; then the backend's own status, 504 and 503."""
        tries: list[int] = []

        def script(request: RecordedRequest) -> bytes | None:
            tries.append(len(tries))
            if b"/timeout" in request.line:
                return answer(b"a") if len(tries) == 3 else None
            return answer(b"a") if len(tries) == 3 else answer(b"no", b"%b X" % request.line[5:8])

        self.upstreams["a"].script = script
        codes = (500, 502, 503, 504)
        await self.serve(
            *(
                f"{{matches: [{{path: {{value: /{code}}}}}], retry: {{codes: [{code}], attempts: 2, backoff: 10ms}},"
                " backends: [{upstream: a}]}"
                for code in codes
            ),
            "{matches: [{path: {value: /501}}], retry: {codes: [500, 502], attempts: 2}, backends: [{upstream: a}]}",
            "{matches: [{path: {value: /timeout}}], retry: {attempts: 2, backoff: 10ms},"
            " timeouts: {backend_request: 300ms}, backends: [{upstream: a}]}",
            "{matches: [{path: {value: /down}}], retry: {attempts: 2, backoff: 10ms}, backends: [{upstream: down}]}",
        )
        for path in (*map(str, codes), "timeout"):
            tries.clear()
            self.assertEqual((await self.who(f"/{path}"), len(tries)), ("a", 3), path)
            # From the fourth on it is never well.
            self.assertEqual((await self.who(f"/{path}"), len(tries)), ("504" if path == "timeout" else path, 6))
        tries.clear()
        self.assertEqual((await self.who("/501"), len(tries)), ("501", 1))
        self.assertEqual(await self.who("/down"), "503")
        self.assertEqual(self.running.metrics.upstreams["down"].connect_failures["refused"], 3)

    async def test_session_persistence(self) -> None:
        """By cookie, for as long as the browser runs or longer, and by header."""
        endpoints = ", ".join(f"'127.0.0.1:{self.upstreams[name].port}'" for name in "abc")
        kinds = {
            "session": "{session_name: s}",
            "permanent": "{session_name: s, lifetime: Permanent, absolute_timeout: 1h, path: /permanent}",
            "header": "{type: Header, session_name: x-s}",
        }
        await self.serve(
            *(f"{{matches: [{{path: {{value: /{kind}}}}}], backends: [{{upstream: {kind}}}]}}" for kind in kinds),
            upstreams="".join(
                f"  - {{name: {kind}, endpoints: [{endpoints}], session_persistence: {said}}}\n"
                for kind, said in kinds.items()
            ),
        )
        for kind in kinds:
            first = await self.ask(f"/{kind}")
            if kind == "header":
                line = f"x-s: {first.all('x-s')[0]}"
            else:
                (cookie,) = first.all("set-cookie")
                line = f"cookie: {cookie.partition(';')[0]}"
                self.assertEqual("max-age=3600" in cookie.lower(), kind == "permanent", cookie)
                self.assertIn("path=/permanent" if kind == "permanent" else "path=/", cookie.lower())
            again = [(await self.ask(f"/{kind}", line)).body for _ in range(6)]
            self.assertEqual(again, [first.body] * 6)
            self.assertEqual(len({(await self.ask(f"/{kind}")).body for _ in range(6)}), 3)

    async def test_tls(self) -> None:
        """TLS to a backend, whose certificate must be of the CA and for the name."""
        authority = Authority()
        service = start_service(self, reply(b"tls"), authority.issue("y", dns=["y.example"], usages=SERVER))
        anchor, _ = await in_thread(files, self, authority, "ca")
        rules = "{{matches: [{{path: {{value: /{0}}}}}], backends: [{{upstream: {0}}}]}}"
        tls = "  - {{name: {}, endpoints: ['127.0.0.1:{}'], tls: {{ca_certificates: ['{}'], {}}}}}\n"
        kinds = {
            "good": "hostname: y.example", "bad": "hostname: z.example",
            "san": "hostname: z.example, subject_alt_names: [{dns: y.example}]",
        }
        await self.serve(
            *(rules.format(kind) for kind in kinds),
            upstreams="".join(tls.format(kind, service.port, anchor, said) for kind, said in kinds.items()),
        )
        await self.assert_who(("tls", "/good"), ("503", "/bad"), ("tls", "/san"))
