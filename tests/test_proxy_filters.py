"""Headers, redirects, rewrites and fixed responses of rules, over real connections."""
from __future__ import annotations

from ipaddress import ip_network

from edgegw.model import (
    NO_FILTERS,
    BackendRef,
    Filters,
    FixedResponse,
    Forwarding,
    HeaderModifier,
    PathModifier,
    PathModifierType,
    Redirect,
    Rewrite,
    Route,
    RouteRule,
)

from .filtered import GET, POST, FilterTestCase, prefix, request
from .gateway import answer, gateway, http_listener, start_gateway, start_upstream

FULL, PREFIX = PathModifierType.REPLACE_FULL_PATH, PathModifierType.REPLACE_PREFIX_MATCH


class HeaderTests(FilterTestCase):
    """Request and response header modifiers."""

    async def test_request(self) -> None:
        """Set, add and remove, whatever case the client writes them in; the backend's after the rule's."""
        upstream = start_upstream(self)
        await self.serve(
            Filters(
                request_headers=HeaderModifier((("x-set", "1"),), (("x-add", "b"), ("x-new", "n")), ("x-gone",))
            ),
            upstream,
            of_backend=Filters(request_headers=HeaderModifier(add=(("x-set", "2"),))),
        )
        await self.ask(request("/", "GET", "X-SET: 0", "X-Set: 00", "X-Add: a", "x-GONE: 1", "x-other: o"))
        (got,) = upstream.requests
        self.assertEqual(
            [got.all(name) for name in (b"x-set", b"x-add", b"x-new", b"x-gone", b"x-other")],
            [[b"1,2"], [b"a,b"], [b"n"], [], [b"o"]],
        )
        self.assertEqual(got.all(b"host"), [b"a.example"])
        self.assertEqual(got.all(b"x-forwarded-host"), [b"a.example"])

    async def test_connection_cannot_take_it_out(self) -> None:
        """A header that is set reaches the upstream also where the client's Connection names it."""
        upstream = start_upstream(self)
        await self.serve(Filters(request_headers=HeaderModifier(set=(("x-set", "1"),))), upstream)
        await self.ask(request("/", "GET", "connection: x-set, keep-alive"))
        self.assertEqual(upstream.requests[0].all(b"x-set"), [b"1"])

    async def test_body_and_trailers(self) -> None:
        """Bodies are framed as without filters, and a header that is taken out is none as a trailer."""
        upstream = start_upstream(self, lambda got: answer(got.body))
        await self.serve(
            Filters(request_headers=HeaderModifier(set=(("x-set", "1"),), remove=("x-gone",))), upstream
        )
        response = await self.ask(
            POST + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-gone: 1\r\nx-set: 2\r\nx-sum: 3\r\n\r\n"
        )
        self.assertEqual(response.body, b"hi")
        self.assertTrue(upstream.requests[0].raw.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 3\r\n\r\n"))
        self.assertEqual((await self.ask(POST + b"content-length: 5\r\n\r\nhello")).body, b"hello")
        self.assertEqual(upstream.requests[1].all(b"content-length"), [b"5"])

    async def test_response(self) -> None:
        """The same for responses; what the upstream's Connection names is not the rule's."""
        upstream = start_upstream(
            self,
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nServer: secret\r\nX-Set: 0\r\nset-cookie: a=1\r\n"
            b"connection: x-set\r\n\r\n2\r\nok\r\n0\r\nserver: secret\r\nx-sum: 1\r\n\r\n",
        )
        await self.serve(
            Filters(
                response_headers=HeaderModifier(
                    (("x-set", "1"), ("strict-transport-security", "max-age=1")), (("set-cookie", "b=2"),), ("server",)
                )
            ),
            upstream,
        )
        client = await self.connect()
        for _ in range(2):
            client.send(GET)
            response = await client.response()
            self.assertEqual(response.body, b"ok")
            self.assertEqual(
                [response.all(name) for name in ("x-set", "strict-transport-security", "set-cookie", "server")],
                [["1"], ["max-age=1"], ["a=1", "b=2"], []],
            )
            self.assertEqual([name for name, _, _ in response.trailers], [b"x-sum"])

    async def test_head_and_interim(self) -> None:
        """The length that HEAD tells stays, and interim responses are left alone."""
        upstream = start_upstream(
            self,
            b"HTTP/1.1 103 Early Hints\r\nserver: s\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nserver: s\r\n\r\n",
        )
        await self.serve(Filters(response_headers=HeaderModifier(remove=("server",))), upstream)
        client = await self.connect()
        for _ in range(2):
            client.send(request("/", "HEAD"))
            self.assertEqual((await client.response(True)).all("server"), ["s"])
            response = await client.response(True)
            self.assertEqual((response.all("server"), response.all("content-length")), ([], ["7"]))

    async def test_other_rules_are_not_touched(self) -> None:
        """Two rules that share an upstream's connection do not share what is made of its responses."""
        upstream = start_upstream(self, answer(b"ok", headers=b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\nserver: s\r\n"))
        filters = Filters(response_headers=HeaderModifier(remove=("server",)))
        backend = (BackendRef("upstream"),)
        rules = (RouteRule(prefix("/a"), backend, filters=filters), RouteRule(prefix("/b"), backend))
        self.running = await start_gateway(
            self, gateway([http_listener()], upstream, routes=[Route("r", rules=rules)])
        )
        client = await self.connect()
        for path, want in (("/a", []), ("/b", ["s"]), ("/a", []), ("/b", ["s"])):
            client.send(request(path))
            self.assertEqual((await client.response()).all("server"), want)
        self.assertEqual(len(upstream.talks), 1)


class RedirectTests(FilterTestCase):
    """Redirects and fixed responses."""

    async def test_redirect(self) -> None:
        """Status and Location, and the connection goes on."""
        await self.serve(
            Filters(redirect=Redirect("https", "b.example", None, PathModifier(PREFIX, "/new"), 308)),
            matches=prefix("/old"),
        )
        client = await self.connect()
        for method in ("GET", "HEAD", "OPTIONS"):
            client.send(request("/old/x?a=1", method))
            response = await client.response(method == "HEAD")
            self.assertEqual(
                (response.status, response.all("location"), response.body),
                (308, ["https://b.example/new/x?a=1"], b""),
            )
            self.assertEqual(response.all("content-length"), ["0"])

    async def test_listener_port(self) -> None:
        """Without scheme and port, the listener's."""
        await self.serve(Filters(redirect=Redirect(hostname="b.example")))
        port = self.running.address()[1]
        self.assertEqual((await self.ask()).all("location"), [f"http://b.example:{port}/"])

    async def test_body(self) -> None:
        """A body is not waited for; the client learns that the connection ends."""
        await self.serve(Filters(redirect=Redirect(hostname="b.example", status=307)))
        client = await self.connect()
        client.send(POST + b"content-length: 1000\r\n\r\nhello")
        response = await client.response()
        self.assertEqual((response.status, response.all("connection")), (307, ["close"]))
        await client.closed()

    async def test_without_host(self) -> None:
        """There is nowhere to send a client to that named no host."""
        await self.serve(Filters(redirect=Redirect("https")))
        client = await self.connect()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        self.assertIn(b" 400 ", await client.closed())

    async def test_of_a_backend(self) -> None:
        """A backend of a rule may be a redirect, by its weight."""
        upstream = start_upstream(self, answer(b"ok"))
        rule = RouteRule(
            backends=(
                BackendRef("upstream", 1),
                BackendRef("upstream", 1, Filters(redirect=Redirect(hostname="b.example", status=302))),
            )
        )
        self.running = await start_gateway(
            self, gateway([http_listener()], upstream, routes=[Route("r", rules=(rule,))])
        )
        self.assertEqual(sorted([(await self.ask()).status for _ in range(4)]), [200, 200, 302, 302])

    async def test_fixed(self) -> None:
        """A fixed response, with its headers; HEAD has its length only."""
        await self.serve(Filters(fixed_response=FixedResponse(503, (("retry-after", "120"),), "Schließt.".encode())))
        client = await self.connect()
        client.send(GET + request("/", "HEAD"))
        for head in (False, True):
            response = await client.response(head)
            self.assertEqual((response.status, response.all("retry-after")), (503, ["120"]))
            self.assertEqual(response.body.decode(), "" if head else "Schließt.")
            self.assertEqual(response.all("content-length"), ["10"])
            self.assertEqual(response.all("content-type"), ["text/plain; charset=utf-8"])
        self.assertEqual(self.running.metrics.requests("plain", "r", "").responses[5], 2)

    async def test_fixed_without_body(self) -> None:
        """204 has neither body nor length."""
        await self.serve(Filters(fixed_response=FixedResponse(204)))
        client = await self.connect()
        client.send(GET * 2)
        for _ in range(2):
            response = await client.response()
            self.assertEqual((response.status, response.all("content-length")), (204, []))


class RewriteTests(FilterTestCase):
    """What upstreams are asked for."""

    async def test_host_and_prefix(self) -> None:
        """Host and path are the rule's, the way that the request came is told as ever."""
        upstream = start_upstream(self)
        await self.serve(
            Filters(rewrite=Rewrite("b.example", None, PathModifier(PREFIX, "/new"))), upstream, matches=prefix("/old")
        )
        await self.ask(request("/old/x?a=%2F"))
        (got,) = upstream.requests
        self.assertEqual(got.line, b"GET /new/x?a=%2F HTTP/1.1")
        self.assertEqual((got.all(b"host"), got.all(b"x-forwarded-host")), ([b"b.example"], [b"a.example"]))

    async def test_trusted_proxy(self) -> None:
        """What a trusted proxy says of the host stays too."""
        upstream = start_upstream(self)
        await self.serve(
            Filters(rewrite=Rewrite("b.example")), upstream,
            listener={"forwarding": Forwarding(trusted_proxies=(ip_network("127.0.0.1"),))},
        )
        await self.ask(request("/", "GET", "x-forwarded-host: c.example"))
        self.assertEqual(upstream.requests[0].all(b"x-forwarded-host"), [b"c.example"])

    async def test_full_path_of_a_backend(self) -> None:
        """A backend's rewrite stands in place of the rule's."""
        upstream = start_upstream(self)
        await self.serve(
            Filters(rewrite=Rewrite("b.example")), upstream,
            of_backend=Filters(rewrite=Rewrite(path=PathModifier(FULL, "/all"))),
        )
        await self.ask(request("/old/x?a"))
        (got,) = upstream.requests
        self.assertEqual((got.line, got.all(b"host")), (b"GET /all?a HTTP/1.1", [b"a.example"]))

    async def test_without_preserved_host(self) -> None:
        """Where the client's Host is not kept the upstream gets its own, unless the rule says which."""
        upstream = start_upstream(self)
        await self.serve(
            Filters(rewrite=Rewrite(path=PathModifier(FULL, "/"))), upstream,
            listener={"forwarding": Forwarding(preserve_host=False)},
        )
        await self.ask()
        self.assertEqual(upstream.requests[0].all(b"host"), [b"127.0.0.1:%d" % upstream.port])

    async def test_asterisk(self) -> None:
        """A target that is no path is not rewritten."""
        upstream = start_upstream(self)
        await self.serve(
            Filters(rewrite=Rewrite(path=PathModifier(PREFIX, "/x"))), upstream, matches=prefix("/")
        )
        self.assertEqual((await self.ask(b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")).status, 200)
        self.assertEqual(upstream.requests[0].line, b"OPTIONS * HTTP/1.1")


class LimitTests(FilterTestCase):
    """The size of bodies, and rules without backends."""

    async def test_body_size(self) -> None:
        """413 past the rule's limit, which stands in place of the listener's."""
        upstream = start_upstream(self, lambda got: answer(got.body))
        await self.serve(Filters(max_body=10), upstream, max_body_bytes=5)
        self.assertEqual((await self.ask(POST + b"content-length: 10\r\n\r\n0123456789")).status, 200)
        self.assertEqual((await self.ask(POST + b"content-length: 11\r\n\r\n")).status, 413)
        chunked = POST + b"transfer-encoding: chunked\r\n\r\n6\r\n012345\r\n%b\r\n0\r\n\r\n"
        self.assertEqual((await self.ask(chunked % b"4\r\n6789")).body, b"0123456789")
        self.assertEqual((await self.ask(chunked % b"5\r\n6789a")).status, 413)
        self.assertEqual(len(upstream.requests), 2)
        # Each is counted once, those that were refused before anything was sent too.
        counted = [one.responses for one in self.running.metrics.routes.values()]
        self.assertEqual([sum(one[status] for one in counted) for status in range(6)], [0, 0, 2, 0, 2, 0])
        await self.quiet()

    async def test_no_backend(self) -> None:
        """500 where a rule with filters has no backend, or none with a weight."""
        upstream = start_upstream(self)
        filters = Filters(request_headers=HeaderModifier(remove=("x",)))
        await self.serve(filters)
        self.assertEqual((await self.ask()).status, 500)
        await self.running.stop()
        rule = RouteRule(backends=(BackendRef("upstream", 0), BackendRef("upstream", 0)), filters=filters)
        self.running = await start_gateway(
            self, gateway([http_listener()], upstream, routes=[Route("r", rules=(rule,))])
        )
        self.assertEqual((await self.ask()).status, 500)

    async def test_weights(self) -> None:
        """Over 10,000 requests each backend's share is within two points of its weight."""
        upstreams = [start_upstream(self, name=name) for name in "abc"]
        rule = RouteRule(backends=(BackendRef("a", 70), BackendRef("b", 30), BackendRef("c", 0)))
        self.running = await start_gateway(
            self, gateway([http_listener()], *upstreams, routes=[Route("r", rules=(rule,))])
        )
        (site,) = self.running.generation._sites.sites
        target = site.routes.find("a.example", b"/")
        assert target is not None
        chosen = [backend.upstream.model.name for backend in (target.choose() for _ in range(10_000)) if backend]
        self.assertEqual(len(chosen), 10_000)
        self.assertLess(abs(chosen.count("a") - 7000), 200)
        self.assertLess(abs(chosen.count("b") - 3000), 200)
        client = await self.connect()
        for _ in range(20):
            client.send(request())
            await client.response()
        self.assertEqual([len(one.requests) for one in upstreams], [14, 6, 0])

    async def test_no_filters_is_the_short_way(self) -> None:
        """A rule that says nothing of requests has no filters at all."""
        upstream = start_upstream(self)
        await self.serve(NO_FILTERS, upstream)
        (site,) = self.running.generation._sites.sites
        target = site.routes.find("a.example", b"/")
        assert target is not None
        self.assertIsNone(target.filters)

    async def test_pipelined(self) -> None:
        """Requests in one piece are answered in their order, whichever filters answer them."""
        upstream = start_upstream(self, lambda got: answer(got.line))
        redirect = RouteRule(prefix("/r"), filters=Filters(redirect=Redirect("https")))
        headers = RouteRule(
            prefix("/h"), (BackendRef("upstream"),),
            filters=Filters(response_headers=HeaderModifier(set=(("x-a", "1"),))),
        )
        plain = RouteRule(backends=(BackendRef("upstream"),))
        self.running = await start_gateway(
            self, gateway([http_listener()], upstream, routes=[Route("r", rules=(redirect, headers, plain))])
        )
        client = await self.connect()
        client.send(b"".join(request(path) for path in ("/r", "/h", "/", "/r", "/h")))
        got = [await client.response() for _ in range(5)]
        self.assertEqual([one.status for one in got], [302, 200, 200, 302, 200])
        self.assertEqual([one.all("x-a") for one in got], [[], ["1"], [], [], ["1"]])
        self.assertEqual(got[2].body, b"GET / HTTP/1.1")

