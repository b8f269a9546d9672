"""Backends as plugins: what an author writes and tests, the one that comes with the gateway, and configurations."""
from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from edgegw.api import (
    BackendRequest,
    BackendResponse,
    ConnectionInfo,
    IBackend,
    IBackendKind,
    IEnvironment,
    RequestTooLarge,
    backend,
    option,
)
from edgegw.backend import header_fields
from edgegw.backends import respond
from edgegw.backends.respond import Respond
from edgegw.config import describe
from edgegw.config.native import schema
from edgegw.identity import CertificateStatus, Identity
from edgegw.interfaces import API_VERSION
from edgegw.model import BackendUse, Upstream
from edgegw.registry import Found, Registry, check_kind
from edgegw.testing import FakeEnvironment
from edgegw.testing.waiting import result_of
from edgegw.wire.http1 import parse_response_head
from tests.config_documents import LISTENERS, NOW, ConfigTestCase, Kinds
from tests.gateway import gateway, http_listener, start_gateway
from tests.raw_client import connect


@frozen
class Config:
    """Options of the backends here."""

    greeting: str = option("What is said.", default="hello")


@backend("greet", Config, version="2")
async def greet(config: Config, request: BackendRequest) -> BackendResponse:
    """Say hello.

    Example::

        upstreams:
          - name: polite
            backend: {greet: {greeting: hi}}
    """
    return BackendResponse(headers={"x-path": request.path}, body=config.greeting.encode() + await request.read())


@backend("silent")
class Silent:
    """Say nothing."""

    def __init__(self, env: IEnvironment) -> None:
        self.env = env

    def answer(self, request: BackendRequest) -> BackendResponse:
        """Give 204."""
        return BackendResponse(204)


@implementer(IBackendKind)
@frozen
class ByHand:
    """A kind without any decorator, which makes what it is told to."""

    made: Any
    name: str = "by_hand"
    api: int = API_VERSION
    config_type: type[Any] | None = None
    description: str = "Made by hand."
    version: str = ""

    def build(self, config: Any, env: IEnvironment) -> Any:
        """Make it."""
        return self.made


class DecoratorTests(SynchronousTestCase):
    """What an author writes, and what becomes of mistakes in it."""

    def test_kinds(self) -> None:
        """What the decorator makes keeps to the interface, and still is the function or class."""
        for kind in (greet, Silent, ByHand(None), Respond):
            check_kind(kind, IBackendKind)
        response = result_of(greet(Config(), BackendRequest("POST", "/a?b", body=b" you")))
        self.assertEqual((response.body, response.headers), (b"hello you", {"x-path": "/a"}))
        self.assertEqual((greet.description.partition("\n")[0], greet.version), ("Say hello.", "2"))

    def test_built(self) -> None:
        """A configured backend answers with its options."""
        built = greet.build(Config("hi"), FakeEnvironment())
        verifyObject(IBackend, built)
        self.assertEqual(result_of(built.answer(BackendRequest("GET", "/"))).body, b"hi")
        environment = FakeEnvironment()
        silent: Any = Silent.build(None, environment)
        self.assertIs(silent.env, environment)
        self.assertEqual(silent.answer(BackendRequest("GET", "/")).status, 204)

    def test_mistakes(self) -> None:
        """Whatever could not work is refused where it stands, with words."""

        def documented(request: Any) -> Any:
            """Say something."""

        def silent(request: Any) -> Any:
            return None

        class Nothing:
            """Have no method."""

            def __init__(self, env: Any) -> None: ...

        class Short:
            """Have a method that takes too little."""

            def __init__(self, env: Any) -> None: ...

            def answer(self) -> Any: ...

        for target, options, part in (
            (documented, {"config": Config}, r"must take \(config, request\)"),
            (documented, {"config": int}, "must be an attrs class"),
            (silent, {}, "has no docstring"),
            (Nothing, {}, r"no method answer\(self, request\)"),
            (Short, {}, r"must take \(self, request\)"),
        ):
            with self.assertRaisesRegex(TypeError, part):
                backend("some_name", **options)(target)  # type: ignore[arg-type]  # mistaken on purpose
        for name in ("Team", "all", "", "a-b"):
            self.assertRaises(ValueError, backend, name)
        self.assertRaisesRegex(TypeError, "@backend", backend, documented)

    def test_comes_with_the_gateway(self) -> None:
        """``respond`` is found among the gateway's own plugins."""
        found = Registry().find("backend", "respond")
        assert found is not None
        self.assertEqual((found.kind, found.built_in), (Respond, True))


class RequestTests(SynchronousTestCase):
    """A request in an author's test."""

    def test_defaults(self) -> None:
        """Method and target are enough."""
        request = BackendRequest("GET", "/a?b?c")
        self.assertEqual((request.path, request.query, request.host, request.headers), ("/a", "b?c", "", ()))
        self.assertEqual((request.content_length, request.identity.status), (0, CertificateStatus.NONE))
        self.assertEqual(result_of(request.read()), b"")
        self.assertEqual(repr(request), "<BackendRequest GET /a?b?c>")

    def test_headers(self) -> None:
        """A header has one value, or none that could be meant."""
        request = BackendRequest(
            "GET", "/", headers=[("a", "1"), ("b", "2"), ("b", "3")], connection=ConnectionInfo("x", Identity(), "::1")
        )
        self.assertEqual([request.header(name) for name in ("A", "b", "c")], ["1", None, None])
        self.assertEqual((request.values("B"), request.values("c"), request.connection.peer), (["2", "3"], [], "::1"))

    def test_body(self) -> None:
        """A body is read once, whole or in pieces, and no further than a limit."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"cd"

        async def collect(request: BackendRequest) -> list[bytes]:
            return [piece async for piece in request]

        self.assertEqual(result_of(collect(BackendRequest("POST", "/", body=pieces()))), [b"ab", b"cd"])
        self.assertEqual(result_of(collect(BackendRequest("POST", "/", body=b"ab"))), [b"ab"])
        request = BackendRequest("POST", "/", body=pieces())
        self.assertIsNone(request.content_length)
        self.assertEqual((result_of(request.read(4)), result_of(request.read(4))), (b"abcd", b""))
        for body, length in ((pieces(), None), (pieces(), 4), (b"abcd", None)):
            request = BackendRequest("POST", "/", body=body, content_length=length)
            self.assertRaises(RequestTooLarge, result_of, request.read(3))


class HeaderTests(SynchronousTestCase):
    """Headers of answers."""

    def test_framing(self) -> None:
        """What frames a message is left out in every spelling."""
        names = (
            "Content-Length", "TRANSFER-ENCODING", "connection", "Keep-Alive", "upgrade", "TE", "Trailer",
            "proxy-connection", "x-kept",
        )
        given_ = dict.fromkeys(names, "x")
        self.assertEqual(header_fields(given_), [(b"x-kept", b"x", b"x-kept: x\r\n")])
        self.assertEqual(header_fields(()), [])

    @given(st.one_of(
        st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4),
        st.lists(st.tuples(st.text("aZ-_:\r\n é", max_size=5), st.text("a\t \r\n\x00é€", max_size=5)), max_size=4),
    ))
    def test_anything(self, headers: Mapping[str, str] | Sequence[tuple[str, str]]) -> None:
        """Whatever is taken reads as the same headers and nothing more; the rest is refused."""
        try:
            fields = header_fields(headers)
        except ValueError:
            return
        lines = b"".join(line for _, _, line in fields)
        head = parse_response_head(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n", 1 << 20, 99)
        assert head is not None
        self.assertEqual(head.fields, fields)


class RespondTests(TestCase):
    """``respond`` before real clients."""

    async def start(self, **options: Any) -> None:
        """Serve with it alone."""
        environment = FakeEnvironment()
        self.environment = environment
        built = Respond.build(respond.Config(**options), environment)
        use = BackendUse(Respond, built, environment)
        self.running = await start_gateway(self, gateway([http_listener()], Upstream("closed", (), backend=use)))

    async def test_answers(self) -> None:
        """Every method and path gets the same answer, HEAD without the body."""
        await self.start(status=503, headers={"Retry-After": "60", "content-type": "text/plain"}, body="später\n")
        client = await connect(self, self.running.address())
        for request in (
            b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"DELETE /x?y HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nab",
        ):
            client.send(request)
            response = await client.response()
            self.assertEqual((response.status, response.body), (503, "später\n".encode()))
            self.assertEqual(response.all("retry-after"), ["60"])
        client.send(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertEqual((await client.response(True)).all("content-length"), ["8"])

    async def test_defaults(self) -> None:
        """Without options it answers 200 with an empty body."""
        await self.start()
        client = await connect(self, self.running.address())
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        response = await client.response()
        self.assertEqual((response.status, response.body, response.all("content-length")), (200, b"", ["0"]))

    async def test_a_file(self) -> None:
        """A body from a file changes with it; when it is gone the last one is still sent."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(b"first")
        await self.start(body_file=str(path))
        client = await connect(self, self.running.address())

        async def body() -> bytes:
            client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            return (await client.response()).body

        self.assertEqual(await body(), b"first")
        path.write_bytes(b"second")
        self.environment.reread()
        self.assertEqual(await body(), b"second")
        path.unlink()
        self.environment.reread()
        self.assertEqual(await body(), b"second")


class ConfigurationTests(ConfigTestCase):
    """``backend`` of upstreams in a document."""

    def document(self, *upstreams: str) -> str:
        """Give a document with these upstreams; they begin in line 4, column 5."""
        return LISTENERS + "upstreams:\n" + "".join(f"  - {line}\n" for line in upstreams)

    def options(self, *kinds: Any) -> dict[str, Any]:
        """Give what makes the loader find these kinds and no others."""
        return {
            "find_plugins": lambda path: Kinds("backend", *(kinds or (greet, Silent, Respond))),
            "make_environment": lambda kind, place: FakeEnvironment(str(self.directory)),
        }

    def test_loads(self) -> None:
        """A backend stands in place of endpoints, with options or by its name alone, and is shown."""
        document = self.document(
            "{name: polite, backend: {greet: {greeting: hi}}, response_timeout: 5s, idle_timeout: 7s}",
            "{name: silent, backend: silent}", '{name: plain, endpoints: ["h:1"]}',
        )
        gateway_ = self.load(document, **self.options()).gateway
        polite, silent, plain = gateway_.upstreams
        assert polite.backend is not None and silent.backend is not None
        self.assertEqual((polite.endpoints, polite.response_timeout, polite.idle_timeout), ((), 5.0, 7.0))
        self.assertEqual(result_of(polite.backend.backend.answer(BackendRequest("GET", "/"))).body, b"hi")
        self.assertEqual((silent.backend.kind, plain.backend), (Silent, None))
        shown = describe(gateway_, NOW)
        self.assertIn("  polite: backend greet\n  silent: backend silent\n  plain: h:1\n", shown)

    def test_faults(self) -> None:
        """What is wrong is said where it stands."""
        for line, column, path, part in (
            ("{name: a}", 5, "", "has no endpoints; give endpoints, or a backend in their place"),
            ('{name: a, backend: silent, endpoints: ["h:1"]}', 15, ".backend", "does not go with endpoints"),
            ("{name: a, backend: silent, max_idle: 3}", 32, ".max_idle", "does nothing beside backend"),
            ("{name: a, backend: silent, connect_timeout: 3s}", 32, ".connect_timeout", "does nothing beside backend"),
            ("{name: a, backend: silent, keep_alive_timeout: 3s}", 32, ".keep_alive_timeout", "does nothing"),
            ("{name: a, backend: silen}", 24, ".backend", "did you mean silent?"),
            ("{name: a, backend: [silent]}", 24, ".backend", "is a list"),
            ("{name: a, backend: {greet: {greting: x}}}", 33, ".backend.greet.greting", "did you mean greeting?"),
            ("{name: a, backend: {respond: {status: 101}}}", 43, ".backend.respond.status", "from 200 to 599"),
            ('{name: a, backend: {respond: {headers: {Connection: x}}}}', 44, ".backend.respond.headers",
             "Connection is the gateway's own to send; leave it out"),
            ('{name: a, backend: {respond: {headers: {"x": "€"}}}}', 44, ".backend.respond.headers",
             "characters that no header may have"),
            ("{name: a, backend: {respond: {body: x, body_file: y}}}", 34, ".backend.respond", "give one of the two"),
            ("{name: a, backend: {respond: {status: 304, body: x}}}", 34, ".backend.respond", "304 has no body"),
            ("{name: a, backend: {respond: {body_file: y}}}", 25, ".backend.respond", "No such file"),
        ):
            with self.subTest(line):
                self.assert_faults(self.document(line), (4, column, f"upstreams[0]{path}", part), **self.options())

    def test_kinds_that_make_something_else(self) -> None:
        """A kind that makes no backend is a fault of the configuration, not of a request."""
        self.assert_faults(
            self.document("{name: a, backend: by_hand}"),
            (4, 24, "upstreams[0].backend", "its kind made a NoneType, which has no answer()"),
            **self.options(ByHand(None)),
        )

    def test_examples(self) -> None:
        """What the docstrings show works as it stands."""
        for kind in (greet, Respond):
            _, _, example = kind.description.partition("Example::")
            document = yaml.safe_load(LISTENERS) | yaml.safe_load(example)
            loaded = self.load(yaml.safe_dump(document), **self.options())
            (upstream,) = loaded.gateway.upstreams
            assert upstream.backend is not None
            answered = upstream.backend.backend.answer(BackendRequest("GET", "/"))
            response = answered if isinstance(answered, BackendResponse) else result_of(answered)
            self.assertIn(response.status, (200, 503))

    def test_schema(self) -> None:
        """The JSON Schema demands endpoints or a backend, and has the options of the backends that are known."""
        document = schema([Found(kind, "backend", "here", "") for kind in (greet, Respond)])
        Draft202012Validator.check_schema(document)
        validator = Draft202012Validator({"$ref": "#/$defs/upstream", "$defs": document["$defs"]})
        for right in (
            {"name": "a", "backend": "greet"}, {"name": "a", "backend": {"other": {"x": 1}}},
            {"name": "a", "endpoints": ["h:1"]}, {"name": "a", "backend": {"respond": {"status": 404}}},
        ):
            self.assertEqual(list(validator.iter_errors(right)), [], right)
        for wrong in (
            {"name": "a"}, {"name": "a", "backend": "greet", "endpoints": ["h:1"]},
            {"name": "a", "backend": {"greet": {"x": 1}}}, {"name": "a", "backend": {"respond": {"status": 7}}},
        ):
            self.assertNotEqual(list(validator.iter_errors(wrong)), [], wrong)
