"""SNI routers as plugins: what an author writes, and what a configuration says of them."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import yaml
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from edgegw.api import (
    ClientHelloFacts,
    Explanation,
    IEnvironment,
    ISNIRouter,
    ISNIRouterKind,
    PassThrough,
    Reject,
    ToListener,
    option,
    sni_router,
)
from edgegw.config import describe
from edgegw.config.native import schema
from edgegw.interfaces import API_VERSION
from edgegw.model import ROUTER_TIMEOUT
from edgegw.registry import Found, Registry, check_kind
from edgegw.testing import FakeEnvironment
from edgegw.tls.routing import hello_facts
from edgegw.wire.client_hello import BadClientHello, ClientHello, parse_client_hello
from tests.config_documents import NOW, ConfigTestCase, Kinds
from tests.test_client_hello import extension, handmade

LIMIT = 16_384


@frozen
class Config:
    """Options of the routers here."""

    tenants: Mapping[str, str] = option("The upstream of each name.")


@sni_router("by_tenant", Config, codes={"unknown_tenant": "The name is nobody's."}, version="2")
def by_tenant(config: Config, hello: ClientHelloFacts, address: str) -> Any:
    """Pass each tenant's name through to the tenant's own upstream.

    Example::

        sni_routers:
          - port: 8443
            router: {by_tenant: {tenants: {a.example: app}}}
    """
    if hello.server_name is None:
        return ToListener("edge")
    upstream = config.tenants.get(hello.server_name)
    return PassThrough(upstream) if upstream else Reject("unknown_tenant", hello.server_name)


@sni_router("later")
class Later:
    """Leave everything to the listeners, after a while."""

    def __init__(self, env: IEnvironment) -> None:
        self.env = env

    async def route(self, hello: ClientHelloFacts, address: str) -> None:
        """Say nothing."""


@implementer(ISNIRouterKind)
@frozen
class ByHand:
    """A kind without any decorator, which makes what it is told to."""

    made: Any
    name: str = "by_hand"
    api: int = API_VERSION
    config_type: type[Any] | None = None
    description: str = "Made by hand."
    version: str = ""
    codes: Mapping[str, Explanation] = {}

    def build(self, config: Any, env: IEnvironment) -> Any:
        """Make it."""
        return self.made


class DecoratorTests(SynchronousTestCase):
    """What an author writes, and what becomes of mistakes in it."""

    def test_kinds(self) -> None:
        """What the decorator makes keeps to the interface, and still is the function or class."""
        for kind in (by_tenant, Later, ByHand(None)):
            check_kind(kind, ISNIRouterKind)
        config = Config({"a.example": "app"})
        self.assertEqual(by_tenant(config, ClientHelloFacts("a.example"), "192.0.2.1"), PassThrough("app"))
        self.assertEqual(by_tenant(config, ClientHelloFacts(None), "192.0.2.1"), ToListener("edge"))
        self.assertEqual(by_tenant.description.partition("\n")[0],
                         "Pass each tenant's name through to the tenant's own upstream.")
        self.assertEqual(by_tenant.version, "2")
        self.assertEqual(by_tenant.codes["unknown_tenant"].sentence, "The name is nobody's.")

    def test_built(self) -> None:
        """A configured router answers with its options."""
        built = by_tenant.build(Config({"a.example": "app"}), FakeEnvironment())
        verifyObject(ISNIRouter, built)
        self.assertEqual(built.route(ClientHelloFacts("b.example"), ""), Reject("unknown_tenant", "b.example"))
        environment = FakeEnvironment()
        later: Any = Later.build(None, environment)
        self.assertIs(later.env, environment)
        later.route(ClientHelloFacts(None), "").close()

    def test_mistakes(self) -> None:
        """Whatever could not work is refused where it stands, with words."""

        def documented(hello: Any, address: Any) -> Any:
            """Say something."""

        def silent(hello: Any, address: Any) -> Any:
            return None

        class Nothing:
            """Have no method."""

            def __init__(self, env: Any) -> None: ...

        class Short:
            """Have a method that takes too little."""

            def __init__(self, env: Any) -> None: ...

            def route(self, hello: Any) -> Any: ...

        class Poor:
            """Take no environment."""

            def route(self, hello: Any, address: Any) -> Any: ...

        for target, options, error, part in (
            (documented, {"config": Config}, TypeError, r"must take \(config, hello, address\)"),
            (documented, {"config": int}, TypeError, "must be an attrs class"),
            (documented, {"codes": {"Bad Code": "x"}}, ValueError, "cannot be a reason code"),
            (silent, {}, TypeError, "has no docstring"),
            (Nothing, {}, TypeError, r"no method route\(self, hello, address\)"),
            (Short, {}, TypeError, r"must take \(self, hello, address\)"),
            (Poor, {}, TypeError, r"must take \(env\)"),
        ):
            with self.assertRaisesRegex(error, part):
                sni_router("some_name", **options)(target)  # type: ignore[arg-type]  # mistaken on purpose
        for name in ("Team", "all", "", "a-b", "x" * 64):
            self.assertRaises(ValueError, sni_router, name)
        self.assertRaisesRegex(TypeError, "@sni_router", sni_router, documented)

    def test_in_a_file(self) -> None:
        """A router in a file of a plugin directory is found."""
        folder = Path(mkdtemp(prefix="edgegw-"))
        self.addCleanup(rmtree, folder)
        file = folder / "mine.py"
        file.write_text(
            "from edgegw.api import sni_router\n\n@sni_router('mine')\ndef mine(hello, address):\n"
            "    \"\"\"Do nothing.\"\"\"\n"
        )
        file.chmod(0o644)
        registry = Registry([str(folder)])
        found = registry.find("sni_router", "mine")
        assert found is not None
        self.assertEqual((found.origin, found.kind.description), (str(file), "Do nothing."))


class FactsTests(SynchronousTestCase):
    """What a ClientHello tells."""

    def test_versions(self) -> None:
        """Versions come by name in the client's order; GREASE and unknown ones are left out."""
        hello = ClientHello(None, (b"h2", b"\xff\n"), 9, (0x0A0A, 0x0304, 0x0303, 0x7F1C, 0x0301, 0x0300, 0x0302))
        self.assertEqual(
            hello_facts(hello),
            ClientHelloFacts(None, ("h2", "\xff\n"), ("TLSv1.3", "TLSv1.2", "TLSv1.0", "SSLv3", "TLSv1.1")),
        )

    def test_list_of_versions(self) -> None:
        """The list in the hello counts, or where there is none its own version."""
        listed = parse_client_hello(handmade(extension(43, b"\x04\x03\x04\x7a\x7a")), LIMIT)
        without = parse_client_hello(handmade(None), LIMIT)
        assert listed is not None and without is not None
        self.assertEqual((listed.versions, without.versions), ((0x0304, 0x7A7A), (0x0303,)))

    @given(st.binary(max_size=300))
    def test_any_list_of_versions(self, body: bytes) -> None:
        """A list of versions is read, or the hello is refused; nothing else comes of it."""
        try:
            hello = parse_client_hello(handmade(extension(43, body)), LIMIT)
        except BadClientHello:
            return
        assert hello is not None
        self.assertEqual(len(hello.versions) * 2 + 1, len(body))


class ConfigurationTests(ConfigTestCase):
    """``sni_routers`` in a document."""

    def document(self, *lines: str, listeners: str = "") -> str:
        """Give a document with these entries; they begin in line 4 and more listeners, column 5."""
        tls = "tls: {certificates: [{certificate: server.pem, private_key: server.key}]}"
        return (
            f"listeners:\n  - {{name: edge, port: 8443, {tls}}}\n{listeners}sni_routers:\n"
            + "".join(f"  - {line}\n" for line in lines)
        )

    def options(self, *kinds: Any) -> dict[str, Any]:
        """Give what makes the loader find these kinds and no others."""
        return {
            "find_plugins": lambda path: Kinds("sni_router", *(kinds or (by_tenant, Later))),
            "make_environment": lambda kind, place: FakeEnvironment(self.directory),
        }

    def more(self, *listeners: str) -> str:
        """Give further HTTPS listeners."""
        tls = "tls: {certificates: [{certificate: server.pem, private_key: server.key}]}"
        return "".join(f"  - {{{one}, {tls}}}\n" for one in listeners)

    def test_loads(self) -> None:
        """A router stands beside the listeners, with options or by its name alone, and is shown."""
        document = self.document(
            "{port: 8443, router: {by_tenant: {tenants: {a.example: app}}}}",
            "{port: 9443, address: 127.0.0.2, name: two, router: later, timeout: 250ms}",
            "{address: 'unix:edge.sock', router: later}",
            listeners=self.more(
                "name: two-a, port: 9443, address: 127.0.0.2, hostname: a.example",
                "name: two-b, port: 9443, address: 127.0.0.2",
                "name: two-c, port: 9443, address: 127.0.0.3",
                "name: unix, address: 'unix:edge.sock'",
            ),
        )
        gateway = self.load(document, **self.options()).gateway
        first, second, third = gateway.sni_routers
        self.assertEqual((first.name, first.bindings, first.timeout), (
            "passthrough-8443", ((None, 8443),), ROUTER_TIMEOUT))
        self.assertEqual(first.router.route(ClientHelloFacts("a.example"), ""), PassThrough("app"))
        self.assertEqual((second.name, second.bindings, second.timeout), ("two", (("127.0.0.2", 9443),), 0.25))
        self.assertEqual((third.name, third.bindings), ("passthrough-unix", ((f"unix:{self.directory}/edge.sock", 0),)))
        shown = describe(gateway, NOW)
        self.assertIn(
            "SNI routers: 3\n  passthrough-8443: by_tenant on *:8443, within 1s if it waits\n"
            "  two: later on 127.0.0.2:9443, within 250ms if it waits\n", shown,
        )
        self.assertNotIn("SNI routers", describe(self.load(self.document().replace("sni_routers:\n", "")).gateway, NOW))

    def test_every_address_of_a_port(self) -> None:
        """Without an address a router decides for every address of its port."""
        document = self.document(
            "{port: 9443, router: later}",
            listeners=self.more("name: a, port: 9443, address: 127.0.0.2", "name: b, port: 9443, address: '::1'"),
        )
        (router,) = self.load(document, **self.options()).gateway.sni_routers
        self.assertEqual(router.bindings, (("127.0.0.2", 9443), ("::1", 9443)))

    def test_faults(self) -> None:
        """What is wrong is said where it stands."""
        plain = "  - {name: plain, port: 8080, protocol: HTTP}\n"
        for line, column, path, part in (
            ("{port: 8443}", 5, "", "has no router; give router: the name of a sni_router"),
            ("{router: later}", 5, "", "has no port; give port"),
            ("{port: 1, router: later}", 12, ".port", "no HTTPS or TLS listener has the port 1"),
            ("{port: 8080, router: later}", 12, ".port", "no HTTPS or TLS listener has the port 8080"),
            ("{port: 8443, address: 127.0.0.9, router: later}", 27, ".address",
             "no HTTPS or TLS listener has the address 127.0.0.9 and the port 8443"),
            ("{address: 'unix:x', router: later}", 15, ".address", "no HTTPS or TLS listener has the address unix:x"),
            ("{port: 8443, name: edge, router: later}", 24, ".name", "is given to another in line 2"),
            ("{port: 8443, router: by_tenant}", 26, ".router", "has no tenants"),
            ("{port: 8443, router: {later: {x: 1}}}", 34, ".router.later", "takes no options"),
            ("{port: 8443, router: {later: {}, by_tenant: {}}}", 26, ".router", "has 2 keys"),
            ("{port: 8443, router: latter}", 26, ".router", "did you mean later?"),
            ("{port: 8443, router: [later]}", 26, ".router", "is a list"),
            ("{port: 8443, router: later, timeout: 2m}", 42, ".timeout", "is out of range"),
            ("{port: 8443, router: later, retries: 2}", 33, ".retries", "is no known key"),
        ):
            with self.subTest(line):
                document = self.document(line, listeners=plain)
                self.assert_faults(document, (5, column, f"sni_routers[0]{path}", part), **self.options())

    def test_two_on_a_port(self) -> None:
        """A port has one router."""
        self.assert_faults(
            self.document("{port: 8443, router: later}", "{port: 8443, name: b, router: later}"),
            (5, 12, "sni_routers[1].port", "has a router already, in line 4"),
            **self.options(),
        )
        self.assert_faults(
            self.document("{port: 8443, name: a, router: later}", "{port: 9443, name: a, router: later}",
                          listeners=self.more("name: b, port: 9443")),
            (6, 24, "sni_routers[1].name", "the name a is given to another in line 5"),
            **self.options(),
        )

    def test_kinds_that_make_something_else(self) -> None:
        """A kind that makes no router is a fault of the configuration, not of a connection."""
        for made in (None, object(), {"route": 1}):
            self.assert_faults(
                self.document("{port: 8443, router: by_hand}"),
                (4, 26, "sni_routers[0].router", "which has no route()"),
                **self.options(ByHand(made)),
            )

    def test_without_plugins(self) -> None:
        """Where no plugins are looked for there are no routers."""
        document = self.document("{port: 8443, router: later}")
        self.assert_faults(document, (4, 26, "sni_routers[0].router", "there is no sni_router later"))

    def test_schema(self) -> None:
        """The JSON Schema has the entries, and the options of the routers that are known."""
        document = schema([Found(kind, "sni_router", "here", "") for kind in (by_tenant, Later)])
        Draft202012Validator.check_schema(document)
        _, _, example = by_tenant.description.partition("Example::")
        (entry,) = yaml.safe_load(example)["sni_routers"]
        validator = Draft202012Validator({"$ref": "#/$defs/sni_router_use", "$defs": document["$defs"]})
        self.assertEqual(list(validator.iter_errors(entry)), [])
        self.assertEqual(list(validator.iter_errors({"port": 1, "router": "later"})), [])
        for wrong in ({"port": 1}, {"port": 1, "router": {"by_tenant": {}}}, {"port": "x", "router": "later"}, []):
            self.assertNotEqual(list(validator.iter_errors(wrong)), [], wrong)
