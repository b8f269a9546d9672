"""A service that decides about requests: that allows, refuses, fails, hangs and lies."""
from __future__ import annotations

import gc
from typing import Any

from attrs import evolve

from edgegw.model import (
    CORS,
    BackendRef,
    ExternalAuth,
    Filters,
    HeaderModifier,
    Mirror,
    OnFailure,
    PathModifier,
    PathModifierType,
    Rewrite,
    Route,
    RouteRule,
    Timeouts,
    ValidationMode,
)
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.filtering import FilteredRequest

from .filtered import GET, POST, FilterTestCase, request
from .gateway import (
    CLIENT,
    SERVER,
    Authority,
    answer,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
    until,
    validation,
)
from .http_service import Service, reply, start_service


class ExternalAuthTests(FilterTestCase):
    """``external_auth``."""

    async def start(self, script: Any = b"", filters: Filters | None = None, **settings: Any) -> Service:
        self.upstream = start_upstream(self, lambda got: answer(got.body or b"ok"))
        self.service = start_service(self, script)
        auth = ExternalAuth(self.service.url + "decide", **settings)
        await self.serve(evolve(filters or Filters(), external_auth=auth), self.upstream)
        return self.service

    async def test_allowed(self) -> None:
        """The service is told what is asked for; the upstream is told what the service says, and nobody else."""
        service = await self.start(
            reply(b"", X_User="alice", X_Other="no"),
            Filters(rewrite=Rewrite(path=PathModifier(PathModifierType.REPLACE_FULL_PATH, "/all"))),
            upstream_headers=("x-user", "x-role"),
            request_headers=("authorization", "x-tenant"),
        )
        response = await self.ask(
            request(
                "/a?b=c", "PUT", "authorization: Bearer t", "cookie: a=b", "X-User: root", "x-role: admin",
                "x-tenant: 1", "X-Tenant: 2", "x-forwarded-uri: /evil", "x-client-status: verified",
            )
        )
        self.assertEqual(response.body, b"ok")
        (asked,) = service.requests
        self.assertEqual(asked.line, "GET /decide HTTP/1.1")
        told = {
            name: asked.headers.get(name)
            for name in (
                "authorization", "cookie", "x-tenant", "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host",
                "x-forwarded-proto", "x-forwarded-for", "x-client-status", "x-client-subject",
            )
        }
        self.assertEqual(
            told,
            {
                "authorization": "Bearer t", "cookie": None, "x-tenant": "1, 2", "x-forwarded-method": "PUT",
                "x-forwarded-uri": "/a?b=c", "x-forwarded-host": "a.example", "x-forwarded-proto": "http",
                "x-forwarded-for": "127.0.0.1", "x-client-status": "none", "x-client-subject": None,
            },
        )
        (got,) = self.upstream.requests
        self.assertEqual(got.line, b"PUT /all?b=c HTTP/1.1")
        self.assertEqual(
            [got.all(name) for name in (b"x-user", b"x-role", b"x-other")], [[b"alice"], [], []]
        )

    async def test_path(self) -> None:
        """The service may be asked for what the client asks for; where it cannot be, nobody passes."""
        service = await self.start(reply(), append_path=True)
        self.assertEqual((await self.ask(request("/a%20b?c=/d", "PUT"))).status, 200)
        self.assertEqual(service.requests[0].line, "GET /decide/a%20b?c=/d HTTP/1.1")
        self.assertEqual((await self.ask(request("*", "OPTIONS"))).status, 403)
        self.assertEqual(len(service.requests), 1)

    async def test_path_that_cannot_be_asked_for(self) -> None:
        """Clients do not get round the service by what it cannot be asked for, though its failures let them pass."""
        service = await self.start(reply(), append_path=True, on_failure=OnFailure.ALLOW)
        self.assertEqual((await self.ask(request("*", "OPTIONS"))).status, 403)
        self.assertEqual((service.requests, self.upstream.requests), ([], []))

    async def test_identity(self) -> None:
        """The facts are those of the client's verified certificate."""
        pki = Authority()
        upstream = start_upstream(self, answer(b"ok"))
        service = start_service(self, reply())
        listener = https_listener(
            [pki.issue("a", dns=["a.example"], usages=SERVER)],
            validation(pki, mode=ValidationMode.ALLOW_INSECURE_FALLBACK),
        )
        filters = Filters(
            external_auth=ExternalAuth(
                service.url, facts=(("x-id", "{spiffe_id}"), ("x-status", "{status}"), ("x-client-cert", "{sha256}"))
            )
        )
        rule = RouteRule(backends=(BackendRef("upstream"),), filters=filters)
        model = gateway([listener], upstream, routes=[Route("r", rules=(rule,))])
        self.running = await start_gateway(self, model)
        one = pki.issue("one", uris=["spiffe://a.example/one"], usages=CLIENT)
        for certificate in (one, None):
            got = await in_thread(talk, self.running.address(), get(), client_context(pki, certificate), "a.example")
            self.assertIn(b" 200 ", got.partition(b"\r\n")[0])
        told = [(one.headers.get("x-id"), one.headers["x-status"]) for one in service.requests]
        self.assertEqual(told, [("spiffe://a.example/one", "verified"), (None, "none")])

    async def test_refused(self) -> None:
        """The client gets the service's status, body and some of its headers; the upstream gets nothing."""
        await self.start(
            b"HTTP/1.1 302 Found\r\nlocation: https://login.example/\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
            b"x-secret: 1\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nlogin"
        )
        client = await self.connect()
        for method in ("GET", "HEAD"):
            client.send(request("/", method))
            response = await client.response(method == "HEAD")
            self.assertEqual((response.status, response.body), (302, b"login" if method == "GET" else b""))
            self.assertEqual(response.all("content-length"), ["5"])
            self.assertEqual(
                [response.all(name) for name in ("location", "set-cookie", "x-secret", "content-type")],
                [["https://login.example/"], ["a=1", "b=2"], [], ["text/html"]],
            )
        self.assertEqual(self.upstream.requests, [])
        self.assertEqual(self.running.metrics.requests("plain", "r", "").refused, {"check_refused": 2})
        self.assertEqual(self.running.metrics.requests("plain", "r", "").responses[3], 2)

    async def test_no_decision(self) -> None:
        """A service that fails, that is not there, or whose answer is none: 403, unless the rule says otherwise."""
        service = await self.start(timeout=0.3)
        for script in (
            reply(b"", "500 No"), reply(b"", "204 No Content"), reply(b"", "201 Created"), b"nonsense\r\n\r\n", None,
            reply(b"x" * 100_000), reply(b"", content_encoding="gzip"),
        ):
            service.script = script
            self.assertEqual((await self.ask()).status, 403, script)
        self.assertEqual(self.upstream.requests, [])
        self.assertEqual(self.running.metrics.requests("plain", "r", "").refused, {"check_unavailable": 7})
        service = await self.start(reply(b"", "500 No"), timeout=0.3, status=503)
        self.assertEqual((await self.ask()).status, 503)
        await self.start(None, timeout=0.2, on_failure=OnFailure.ALLOW, upstream_headers=("x-user",))
        self.assertEqual((await self.ask(request("/", "GET", "x-user: root"))).status, 200)
        self.assertEqual(self.upstream.requests[0].all(b"x-user"), [])

    async def test_unreachable(self) -> None:
        """So is a service that nobody answers for."""
        service = await self.start()
        await service.stop()
        self.assertEqual((await self.ask()).status, 403)

    async def test_body(self) -> None:
        """A body waits until the service has spoken, and reaches the upstream whole."""
        service = await self.start(lambda asked: None, timeout=20.0)
        for head, pieces in [
            (b"content-length: 400000\r\n\r\n", [b"x" * 200_000] * 2),
            (b"transfer-encoding: chunked\r\n\r\n", [b"30d40\r\n" + b"x" * 200_000 + b"\r\n"] * 2 + [b"0\r\n\r\n"]),
        ]:
            count = len(service.requests)
            client = await self.connect()
            client.send(POST + head + pieces[0])
            asked = await service.request(count + 1)
            self.assertEqual(len(self.upstream.requests), count)
            for piece in pieces[1:]:
                client.send(piece)
            asked.talk.transport.write(reply())
            self.assertEqual(len((await client.response()).body), 400_000)
        await self.quiet()

    async def test_trailers(self) -> None:
        """What the service alone says is none as a trailer."""
        await self.start(reply(), upstream_headers=("x-user",))
        await self.ask(
            POST + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-user: root\r\nx-sum: 1\r\n\r\n"
        )
        self.assertTrue(self.upstream.requests[0].raw.endswith(b"0\r\nx-sum: 1\r\n\r\n"))

    async def test_refused_with_a_body(self) -> None:
        """A body that has come goes nowhere; the connection goes on only if it was whole."""
        await self.start(reply(b"no", "403 Forbidden"))
        client = await self.connect()
        client.send(POST + b"content-length: 5\r\n\r\nhello" + GET)
        for _ in range(2):
            response = await client.response()
            self.assertEqual((response.status, response.body), (403, b"no"))
        client.send(POST + b"content-length: 50\r\n\r\nhello")
        response = await client.response()
        self.assertEqual((response.status, response.all("connection")), (403, ["close"]))
        await client.closed()
        self.assertEqual(self.upstream.requests, [])

    async def test_client_leaves(self) -> None:
        """The service is not asked any longer when the client has left."""
        service = await self.start(lambda asked: None, timeout=60.0)
        for data in (GET, POST + b"content-length: 10\r\n\r\nhello"):
            client = await self.connect()
            client.send(data)
            asked = await service.request(len(service.requests) + 1)
            client.transport.abortConnection()
            await until(lambda asked=asked: asked.talk.lost is not None)  # type: ignore[misc]  # bound now
        await self.quiet()
        self.assertEqual(self.upstream.requests, [])

    async def test_nothing_waits_for_the_collector(self) -> None:
        """A connection whose client has left while the service was asked is gone at once."""
        service = await self.start(lambda asked: None, timeout=20.0)
        gc.collect()
        gc.disable()
        try:
            for number, data in enumerate((GET, POST + b"content-length: 10\r\n\r\nhello"), 1):
                client = await self.connect()
                client.send(data)
                asked = await service.request(number)
                client.transport.abortConnection()
                await until(lambda asked=asked: asked.talk.lost is not None)  # type: ignore[misc]  # bound now
            await self.quiet()
            left = [one for one in gc.get_objects() if isinstance(one, (FilteredRequest, HTTPConnection))]
        finally:
            gc.enable()
        self.assertEqual(left, [])

    async def test_within_the_request(self) -> None:
        """The time for the whole holds for the service too."""
        await self.start(lambda asked: None, Filters(timeouts=Timeouts(0.2, 0.0)), timeout=20.0)
        self.assertEqual((await self.ask()).status, 504)
        self.assertEqual((await self.ask(POST + b"content-length: 10\r\n\r\nhello")).status, 504)
        await self.quiet()

    async def test_others_go_on(self) -> None:
        """While one request waits for the service, others are answered."""
        hanging: list[Any] = []

        def script(asked: Any) -> bytes | None:
            if asked.headers["x-forwarded-uri"] == "/slow":
                hanging.append(asked)
                return None
            return reply()

        await self.start(script, timeout=20.0)
        slow = await self.connect()
        slow.send(request("/slow") + request("/quick"))
        await until(lambda: hanging)
        self.assertEqual((await self.ask()).status, 200)
        hanging[0].talk.transport.write(reply())
        self.assertEqual([(await slow.response()).status for _ in range(2)], [200, 200])

    async def test_odd_headers(self) -> None:
        """A header that cannot be told as it is: 400, and the upstream does not hear of it."""
        service = await self.start(reply())
        self.assertEqual((await self.ask(request("/", "GET", "cookie: a=b").replace(b"a=b", b"a=\xff"))).status, 400)
        self.assertEqual(service.requests, [])
        self.assertEqual((await self.ask(request("/", "GET", "cookie: a=ü"))).status, 200)

    async def test_ambiguous_paths(self) -> None:
        """A path that the upstream may read as another one than the service was asked about: 400."""
        service = await self.start(reply())
        self.assertEqual((await self.ask(request("/a/../b"))).status, 400)
        self.assertEqual(service.requests, [])

    async def test_with_others(self) -> None:
        """Changes to headers come after the service's word, and so do mirrors; CORS covers what it refuses."""
        mirror = start_upstream(self, b"", "mirror")
        self.upstream = start_upstream(self, answer(b"ok"))
        self.service = start_service(self, reply(b"", X_User="alice"))
        filters = Filters(
            external_auth=ExternalAuth(self.service.url, upstream_headers=("x-user",)),
            request_headers=HeaderModifier(add=(("x-user", "edge"),)),
            mirrors=(Mirror("mirror"),),
            cors=CORS(("*",)),
        )
        await self.serve(filters, self.upstream, more=(mirror,))
        self.assertEqual((await self.ask()).status, 200)
        self.assertEqual(self.upstream.requests[0].all(b"x-user"), [b"alice,edge"])
        self.assertEqual((await mirror.request()).raw, self.upstream.requests[0].raw)
        self.service.script = reply(b"", "401 Unauthorized", www_authenticate="Bearer")
        response = await self.ask(request("/", "GET", "origin: https://a.example"))
        self.assertEqual(
            (response.status, response.all("www-authenticate"), response.all("access-control-allow-origin")),
            (401, ["Bearer"], ["*"]),
        )
        preflight = request("/", "OPTIONS", "origin: https://a.example", "access-control-request-method: PUT")
        self.assertEqual((await self.ask(preflight)).status, 204)
        self.assertEqual(len(self.service.requests), 2)
