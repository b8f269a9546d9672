"""Header injectors, certificate sources, SNI routers and backends, as their authors test them."""
from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from edgegw.api import (
    BackendRequest,
    BackendResponse,
    CertificateAndKey,
    ClientHelloFacts,
    ConnectionInfo,
    PassThrough,
    Reject,
    RequestTooLarge,
    ToListener,
    backend,
    certificate_source,
    header_injector,
    option,
    sni_router,
)
from edgegw.config import ConfigError
from edgegw.testing import (
    SERVER,
    Authority,
    answer,
    check_plugin,
    handshake,
    inject,
    load_source,
    peer,
    route,
)


@frozen
class Config:
    """The options."""

    header: str = option("A name.", default="x-team")


@header_injector("team_header", Config, headers=lambda config: [config.header])
def team_header(config: Config, connection: ConnectionInfo) -> dict[str, str]:
    """Tell the team."""
    team = connection.attributes.get("team")
    return {config.header: team} if team and connection.identity.verified else {}


@header_injector("appending", headers=["x-seen"], per_request=True)
def appending(
    connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
) -> list[tuple[bytes, bytes]]:
    """Tell what the client sent, and more."""
    return [*((name, value) for name, values in received.items() for value in values), (b"x-seen", b"end")]


AUTHORITY = Authority()
SHOWN = AUTHORITY.issue("edge", dns=["edge.example"], usages=SERVER)


def fails(case: SynchronousTestCase, wanted: str, call: Any, *args: Any, **options: Any) -> None:
    """See that an assertion fails with a text."""
    case.assertIn(wanted, str(case.assertRaises(AssertionError, call, *args, **options)))


class InjectorTests(TestCase):
    """Header injectors."""

    def tried(self, function: Any, **more: Any) -> Any:
        """Make a kind of a function."""
        function.__doc__ = "An injector of a test."
        return header_injector("tried", headers=["x-tried"], **more)(function)

    def test_inject(self) -> None:
        """The headers are those that the gateway would send."""
        client = peer(attributes={"team": "billing"})
        self.assertEqual(inject(team_header, {}, client), [("x-team", "billing")])
        self.assertEqual(inject(team_header, Config("x-other"), client), [("x-other", "billing")])
        self.assertEqual(inject(team_header, {}, peer(attributes={"team": "billing"}, verified=False)), [])
        self.assertRaises(ConfigError, inject, team_header, {"x": 1}, client)
        self.assertRaises(TypeError, inject, lambda connection: {}, None, client)

    def test_received(self) -> None:
        """An injector that is asked at each request sees what the client sent under its name, and nothing else."""
        received = [("X-Seen", "one"), ("cookie", "secret"), ("x-seen", "two")]
        self.assertEqual(
            inject(appending, None, peer(), received), [("x-seen", "one"), ("x-seen", "two"), ("x-seen", "end")]
        )

    def test_unfit(self) -> None:
        """What could not go to an upstream fails."""
        for function, wanted in (
            (lambda connection: {"x-other": "1"}, "none of its headers"),
            (lambda connection: {"x-tried": "a\r\nb"}, "failed"),
            (lambda connection: {"x-tried": "é"}, "failed"),
            (lambda connection: 1 / 0, "ZeroDivisionError"),
        ):
            fails(self, wanted, inject, self.tried(function), None, peer())
        reserved = header_injector("tried", headers=["host"])(self.tried(lambda connection: {}).target)
        fails(self, "host", inject, reserved, None, peer())

    def test_contract(self) -> None:
        """The contract holds for injectors too."""
        check_plugin(team_header, {}, Config("x-other"))
        check_plugin(appending)
        fails(
            self, "AttributeError", check_plugin,
            self.tried(lambda connection: {"x-tried": connection.identity.certificate.sha256}),
        )  # fmt: skip
        fails(
            self, "none of its headers", check_plugin, self.tried(lambda connection: {"x-o": connection.peer})
        )
        check_plugin(self.tried(lambda connection: {"x-tried": "yes" if connection.identity.verified else "no"}))

    async def test_handshake(self) -> None:
        """In a real request the upstream gets them, and nothing that the client sent under their names."""
        client = AUTHORITY.issue()
        outcome = await handshake(client=client, injectors=[appending, team_header], headers={"X-Team": "admin"})
        self.assertEqual(outcome.headers["x-seen"], "end")
        self.assertNotIn("x-team", outcome.headers)


class SourceTests(SynchronousTestCase):
    """Certificate sources."""

    def tried(self, given: Any) -> Any:
        """Make a kind that yields something."""

        def source() -> Any:
            """Yield what the test wants."""
            if isinstance(given, Exception):
                raise given
            return given

        return certificate_source("tried")(source)

    def test_load(self) -> None:
        """What can be shown comes out; all else fails."""
        good = CertificateAndKey(SHOWN.chain_pem, SHOWN.key_pem)
        self.assertEqual(load_source(self.tried(good)), good)
        check_plugin(self.tried(good))
        other = AUTHORITY.issue()
        for given, wanted in (
            (None, "no CertificateAndKey"),
            (CertificateAndKey(b"", SHOWN.key_pem), "not in PEM"),
            (CertificateAndKey(SHOWN.pem, b"x"), "not in PEM"),
            (CertificateAndKey(SHOWN.pem, other.key_pem), "a key that is not the certificate's"),
            (CertificateAndKey(SHOWN.pem + other.pem, SHOWN.key_pem), "did not issue"),
        ):
            fails(self, wanted, load_source, self.tried(given))
            fails(self, wanted, check_plugin, self.tried(given))
        self.assertRaises(OSError, load_source, self.tried(OSError("away")))
        fails(self, "raised OSError: away", check_plugin, self.tried(OSError("away")))


class RouterTests(SynchronousTestCase):
    """SNI routers."""

    def tried(self, function: Any) -> Any:
        """Make a kind of a function."""
        function.__doc__ = "A router of a test."
        return sni_router("tried", codes={"no_name": "There is no name."})(function)

    def test_route(self) -> None:
        """The answer comes out as it is, of an async router too."""

        async def by_name(hello: ClientHelloFacts, address: str) -> Any:
            """Judge by the name."""
            if hello.server_name is None:
                return Reject("no_name")
            return ToListener(hello.server_name) if "h2" in hello.alpn else PassThrough(address)

        kind = sni_router("tried", codes={"no_name": "There is no name."})(by_name)
        self.assertEqual(route(kind, None, "a.example", alpn=["h2"]), ToListener("a.example"))
        self.assertEqual(route(kind, None, "a.example", address="192.0.2.9"), PassThrough("192.0.2.9"))
        self.assertEqual(route(kind, None, None), Reject("no_name"))
        self.assertIsNone(route(self.tried(lambda hello, address: None), None, "a.example"))
        check_plugin(kind)

    def test_unfit(self) -> None:
        """Other answers, undeclared codes, exceptions and endless waits fail."""
        for function, wanted in (
            (lambda hello, address: True, "answered True"),
            (lambda hello, address: "listener", "answered 'listener'"),
            (lambda hello, address: Reject("other"), "not declared"),
        ):
            fails(self, wanted, route, self.tried(function), None, "a.example")
            fails(self, wanted, check_plugin, self.tried(function))
        fails(
            self, "None from 192.0.2.7: raised AttributeError", check_plugin,
            self.tried(lambda hello, address: PassThrough(hello.server_name.partition(".")[0])),
        )  # fmt: skip
        fails(self, "it waits", route, self.tried(lambda hello, address: Deferred()), None, "a.example")


class BackendTests(SynchronousTestCase):
    """Backends."""

    def tried(self, function: Any) -> Any:
        """Make a kind of a function."""
        function.__doc__ = "A backend of a test."
        return backend("tried")(function)

    def test_answer(self) -> None:
        """The answer comes out with its whole body, however it came."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        async def echo(request: BackendRequest) -> BackendResponse:
            """Give back what came."""
            return BackendResponse(201, {"x-method": request.method}, await request.read())

        response = answer(self.tried(echo), None, BackendRequest("POST", "/", body=b"body"))
        self.assertEqual((response.status, response.body), (201, b"body"))
        response = answer(self.tried(lambda request: BackendResponse(body=pieces(), length=2)), None, _REQUEST)
        self.assertEqual(response.body, b"ab")
        check_plugin(self.tried(echo))

    def test_unfit(self) -> None:
        """What could not be sent fails."""

        async def pieces() -> AsyncIterator[Any]:
            yield "text"

        for function, wanted in (
            (lambda request: None, "no BackendResponse"),
            (lambda request: BackendResponse(99), "the status 99"),
            (lambda request: BackendResponse(True), "the status True"),
            (lambda request: BackendResponse(200, {"a b": "c"}), "cannot be a header's name"),
            (lambda request: BackendResponse(200, {"a": "b\r\nc"}), "that no header may have"),
            (lambda request: BackendResponse(200, {}, "text"), "the body is a str"),
            (lambda request: BackendResponse(200, {}, pieces()), "no bytes"),
            (lambda request: BackendResponse(200, {}, b"abc", 2), "has 3 bytes"),
        ):
            fails(self, wanted, answer, self.tried(function), None, _REQUEST)
            fails(self, wanted, check_plugin, self.tried(function))
        fails(self, "it waits", answer, self.tried(lambda request: Deferred()), None, _REQUEST)

    def test_odd_requests(self) -> None:
        """Those that nobody expects are shown to a backend; a body that is too long for it is no fault of it."""

        async def first(request: BackendRequest) -> BackendResponse:
            """Take the first piece."""
            async for piece in request:
                return BackendResponse(body=piece[:1])
            return BackendResponse(200, {"x-accept": request.values("accept")[0]})

        fails(self, "raised IndexError", check_plugin, self.tried(first))

        async def careless(request: BackendRequest) -> BackendResponse:
            """Look for what may not be there."""
            assert request.identity.verified is not None
            return BackendResponse(200)

        fails(self, "no certificate", check_plugin, self.tried(careless))

        async def small(request: BackendRequest) -> BackendResponse:
            """Take little."""
            return BackendResponse(body=await request.read(limit=10))

        check_plugin(self.tried(small))
        with self.assertRaises(RequestTooLarge):
            answer(self.tried(small), None, BackendRequest("POST", "/", body=bytes(11)))


_REQUEST = BackendRequest("GET", "/")
