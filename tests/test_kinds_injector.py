"""Header injectors as plugins: from a function to what an upstream got, and what a configuration says of them."""
from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from attrs import evolve, frozen
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from edgegw.api import (
    Accept,
    ConnectionInfo,
    IEnvironment,
    IHeaderInjector,
    IHeaderInjectorKind,
    Peer,
    Verdict,
    header_injector,
    option,
    policy,
)
from edgegw.config import describe
from edgegw.config.native import schema
from edgegw.identity import Identity
from edgegw.interfaces import API_VERSION
from edgegw.model import (
    XFCC,
    BackendRef,
    FieldHeaders,
    Forwarding,
    InjectorUse,
    PolicyUse,
    Route,
    RouteRule,
    UnderscoreAction,
)
from edgegw.registry import Found, check_kind
from edgegw.testing import FakeEnvironment
from tests.config_documents import NOW, ConfigTestCase, Kinds
from tests.gateway import (
    SERVER,
    Authority,
    client_context,
    gateway,
    get,
    https_listener,
    in_thread,
    start_gateway,
    start_upstream,
    talk,
    validation,
)

ANONYMOUS = ConnectionInfo("edge", Identity(), "192.0.2.1")


@frozen
class Config:
    """Options of the injectors here."""

    header: str = option("Which header.")
    default: str = option("What is said of clients without a team.", default="none")


@header_injector("team", Config, headers=lambda config: [config.header])
def team(config: Config, connection: ConnectionInfo) -> Mapping[str, str]:
    """Tell upstreams the client's team.

    Example::

        header_injection:
          - team: {header: x-team}
    """
    return {config.header: connection.attributes.get("team", config.default)}


@header_injector("claims", headers=("x-claim", "x-claims"), per_request=True)
def claims(connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]) -> list[tuple[str | bytes, bytes]]:
    """Tell upstreams what the client claimed."""
    values = received.get(b"x-claim", ())
    return [("X-Claims", b"%d" % len(values)), *((b"x-claim", b"unproven " + value) for value in values)]


@header_injector("bare", headers=("x-bare",), needs_chain=True, owned_responses=["x-bare"], version="3")
class Bare:
    """Tell upstreams nothing but that it was asked."""

    def __init__(self, env: IEnvironment) -> None:
        self.env = env

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        """Give the header."""
        return [(b"x-bare", b"yes")]


@implementer(IHeaderInjectorKind)
@frozen
class ByHand:
    """A kind without any decorator, whose injector has what it is told to have."""

    owned: Any = frozenset({b"x-by-hand"})
    name: str = "by_hand"
    api: int = API_VERSION
    config_type: type[Any] | None = None
    description: str = "Made by hand."
    version: str = ""

    def build(self, config: Any, env: IEnvironment) -> Any:
        """Make an injector, whatever it may be."""
        return _ByHand(self.owned)


@implementer(IHeaderInjector)
@frozen
class _ByHand:
    owned: Any
    owned_responses: frozenset[bytes] = frozenset()
    needs_chain: bool = False
    per_request: bool = False

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        return [(name, b"yes") for name in self.owned]


def use(kind: Any, config: Any = None) -> InjectorUse:
    """Put a kind to use."""
    environment = FakeEnvironment()
    return InjectorUse(kind, kind.build(config, environment), environment)


class DecoratorTests(SynchronousTestCase):
    """What an author writes, and what becomes of mistakes in it."""

    def test_kinds(self) -> None:
        """What the decorator makes keeps to the interface, and still is the function or class."""
        for kind in (team, claims, Bare, ByHand()):
            check_kind(kind, IHeaderInjectorKind)
        self.assertEqual(team(Config("x-a"), ANONYMOUS), {"x-a": "none"})
        self.assertEqual(team.description.partition("\n")[0], "Tell upstreams the client's team.")
        self.assertEqual((Bare.version, team.version), ("3", ""))

    def test_built(self) -> None:
        """Names come from the decorator, or from the options; what is given comes out as the interface says."""
        built = team.build(Config("x-team"), FakeEnvironment())
        verifyObject(IHeaderInjector, built)
        self.assertEqual((built.owned, built.per_request, built.needs_chain), ({b"x-team"}, False, False))
        self.assertEqual(built.inject(ANONYMOUS._replace(attributes={"team": "red"}), {}), [(b"x-team", b"red")])
        built = claims.build(None, FakeEnvironment())
        self.assertEqual((built.owned, built.per_request), ({b"x-claim", b"x-claims"}, True))
        self.assertEqual(
            built.inject(ANONYMOUS, {b"x-claim": [b"a"]}), [(b"x-claims", b"1"), (b"x-claim", b"unproven a")]
        )
        built = Bare.build(None, FakeEnvironment())
        verifyObject(IHeaderInjector, built)
        self.assertEqual((built.owned, built.owned_responses, built.needs_chain), ({b"x-bare"}, {b"x-bare"}, True))

    def test_what_a_class_says(self) -> None:
        """Attributes of a class's objects count more than what the decorator says."""

        @header_injector("own", Config)
        class Own:
            """Choose the header by itself."""

            needs_chain = True

            def __init__(self, config: Config, env: IEnvironment) -> None:
                self.owned = frozenset({config.header.encode()})

            def inject(self, connection: ConnectionInfo, received: Any) -> list[tuple[bytes, bytes]]:
                """Give nothing."""
                return []

        built = Own.build(Config("x-own"), FakeEnvironment())
        self.assertEqual((built.owned, built.needs_chain, built.per_request), ({b"x-own"}, True, False))

    def test_mistakes(self) -> None:
        """Whatever could not work is refused where it stands, with words."""

        def documented(connection: Any) -> Any:
            """Say something."""

        def silent(connection: Any) -> Any:
            return {}

        async def late(connection: Any) -> Any:
            """Say something later."""

        class Nothing:
            """Have no method."""

            def __init__(self, env: Any) -> None: ...

        class Short:
            """Have a method that takes too little."""

            def __init__(self, env: Any) -> None: ...

            def inject(self, connection: Any) -> Any: ...

        for target, options, error, part in (
            (documented, {}, TypeError, r'does not say which headers it sets: headers=\("x-some-name",\)'),
            (documented, {"headers": "x-a"}, TypeError, "is one name"),
            (documented, {"headers": ["x-a"], "owned_responses": "x-a"}, TypeError, "is one name"),
            (documented, {"headers": ["x-a"], "config": Config}, TypeError, r"must take \(config, connection\)"),
            (documented, {"headers": ["x-a"], "per_request": True}, TypeError, r"must take \(connection, received\)"),
            (documented, {"headers": ["x-a"], "config": int}, TypeError, "must be an attrs class"),
            (silent, {"headers": ["x-a"]}, TypeError, "has no docstring"),
            (late, {"headers": ["x-a"]}, TypeError, "is async"),
            (Nothing, {"headers": ["x-a"]}, TypeError, "no method inject"),
            (Short, {"headers": ["x-a"]}, TypeError, r"must take \(self, connection, received\)"),
        ):
            with self.assertRaisesRegex(error, part):
                header_injector("some_name", **options)(target)  # type: ignore[arg-type]  # mistaken on purpose
        for name in ("xfcc", "client_cert", "pem", "fields", "Team", "all", ""):
            self.assertRaises(ValueError, header_injector, name)
        self.assertRaisesRegex(TypeError, "@header_injector", header_injector, documented)

    def test_mistakes_of_options(self) -> None:
        """Names that the options give are judged when it is built."""

        @header_injector("one_name", Config, headers=lambda config: config.header)
        def one_name(config: Config, connection: ConnectionInfo) -> Mapping[str, str]:
            """Give the name where a list of them should be."""
            return {}

        self.assertRaises(ValueError, one_name.build, Config("x-a"), FakeEnvironment())
        self.assertRaises(ValueError, team.build, Config("x-é"), FakeEnvironment())


class ConfigurationTests(ConfigTestCase):
    """``header_injection`` with plugins in it."""

    def injection(self, *lines: str) -> str:
        """Give a document with these injectors; they begin in line 6, column 5."""
        head = "listeners:\n- name: a\n  port: 1\n  protocol: HTTP\n  header_injection:\n"
        return head + "".join(f"  - {line}\n" for line in lines)

    def options(self, *kinds: Any, problems: Sequence[str] = ()) -> dict[str, Any]:
        """Give what makes the loader find these kinds and no others."""
        return {
            "find_plugins": lambda path: Kinds("header_injector", *(kinds or (team, claims, Bare)), problems=problems),
            "make_environment": lambda kind, place: FakeEnvironment(self.directory),
        }

    def test_loads(self) -> None:
        """Plugins stand among the gateway's own injectors, with options or by their name alone."""
        document = self.injection("xfcc: {}", "team: {header: x-team}", "bare", "claims: {}")
        gateway = self.load(document, **self.options()).gateway
        first, second, third, fourth = gateway.listeners[0].header_injection
        self.assertEqual(first, XFCC())
        assert isinstance(second, InjectorUse) and isinstance(third, InjectorUse) and isinstance(fourth, InjectorUse)
        self.assertEqual((second.kind, second.injector.owned), (team, {b"x-team"}))
        self.assertEqual((third.kind, fourth.kind), (Bare, claims))
        self.assertIn(
            "in: x-forwarded-client-cert (sanitize_set), x-team (from team), x-bare (from bare), "
            "x-claim, x-claims (from claims)\n",
            describe(gateway, NOW),
        )

    def test_one_owner(self) -> None:
        """A header has one owner, be it a plugin or not."""
        path = "listeners[0].header_injection"
        self.assert_faults(
            self.injection("team: {header: x-a}", "pem: {header: x-a}", "team: {header: x-forwarded-client-cert}",
                           "xfcc: {}", "team: {header: x-a}"),
            (7, 19, f"{path}[1].pem.header", f"x-a is set by {path}[0].team already"),
            (9, 5, f"{path}[3]", f"x-forwarded-client-cert is set by {path}[2].team already"),
            (10, 5, f"{path}[4].team", f"x-a is set by {path}[0].team already"),
            **self.options(),
        )

    def test_names(self) -> None:
        """A plugin cannot own what belongs to the gateway or a connection, or what upstreams may read as another."""
        for name, part in (
            ("host", "which is set by the gateway itself; let it use another name"),
            ("x-forwarded-for", "is set by the gateway itself"),
            ("connection", "belongs to the connection"),
            ("transfer-encoding", "belongs to the connection"),
            ("x_team", "has an underscore, and many upstreams read it as a hyphen; let it write x-team"),
            ("X-Team", "is not in lower case"),
            ("x team", "is not a header's name"),
        ):
            document = self.injection(f"team: {{header: {name}}}")
            self.assert_faults(document, (6, 5, "listeners[0].header_injection[0].team", part), **self.options())

    def test_unknown(self) -> None:
        """A name that nobody has leads to those that there are, the gateway's own among them."""
        path = "listeners[0].header_injection"
        self.assert_faults(
            self.injection("xfc: {}", "teams: {header: x-a}", "zzz", "other:thing"),
            (6, 5, f"{path}[0].xfc", "there is no header_injector xfc; did you mean xfcc?"),
            (7, 5, f"{path}[1].teams", "did you mean team?"),
            (8, 5, f"{path}[2]", "there is no header_injector zzz; use one of xfcc, client_cert, pem, fields, bare, "),
            (9, 5, f"{path}[3]", "there is no header_injector other:thing"),
            **self.options(),
        )
        self.assert_faults(
            self.injection("zzz"),
            (6, 5, f"{path}[0]", "zzz, unless it is in what could not be loaded: /x.py; correct that, or name another"),
            **self.options(team, problems=["SyntaxError"]),
        )
        self.assert_faults(self.injection("zzz"), (6, 5, f"{path}[0]", "use one of xfcc, client_cert, pem, fields"))

    def test_shape(self) -> None:
        """One name for each element, with a plugin's options checked as everything is."""
        path = "listeners[0].header_injection"
        self.assert_faults(
            self.injection("{team: {header: x-a}, bare: {}}", "{team: {header: x-a}, xfcc: {}}", "1", "[bare]",
                           "team", "team: {heather: x-a}", "bare: {header: x-a}"),
            (6, 5, f"{path}[0]", "has 2 keys"),
            (7, 6, f"{path}[1].team", "is no known key"),
            (8, 5, f"{path}[2]", "is a whole number; write the name of a header_injector"),
            (9, 5, f"{path}[3]", "is a list"),
            (10, 5, f"{path}[4]", "has no header"),
            (11, 11, f"{path}[5].team", "has no header"),
            (11, 12, f"{path}[5].team.heather", "did you mean header?"),
            (12, 11, f"{path}[6].bare", "takes no options"),
            **self.options(),
        )

    def test_broken_kinds(self) -> None:
        """What a hand-made kind builds must be an injector that owns something."""
        path = "listeners[0].header_injection[0]"
        for owned, part in (
            (frozenset(), "does not say which headers it sets"),
            (["x-a"], "makes no header injector"),
            ({"x-a"}, "makes no header injector"),
            (None, "makes no header injector"),
            ({b"\xff"}, "is not a header's name"),
        ):
            self.assert_faults(self.injection("by_hand"), (6, 5, path, part), **self.options(ByHand(owned)))
        built = evolve(ByHand())
        with_nothing = type("Nothing", (ByHand,), {"build": lambda *_: object()})()
        self.assertEqual(len(self.load(self.injection("by_hand"), **self.options(built)).warnings), 0)
        self.assert_faults(self.injection("by_hand"), (6, 5, path, "makes no header"), **self.options(with_nothing))

    def test_tickets(self) -> None:
        """Who wants tickets is told that a plugin which needs the chain keeps them from being issued."""
        document = (
            "listeners:\n  - {name: web, port: 8443, header_injection: [bare],\n"
            "     tls: {session_tickets: true, certificates: [{certificate: server.pem, private_key: server.key}]}}\n"
        )
        self.assert_warnings(
            document, (3, 29, "listeners[0].tls.session_tickets", "no tickets are issued"), **self.options()
        )

    def test_attributes_in_templates(self) -> None:
        """Templates may name what policies have said."""
        path = "listeners[0].header_injection[0].fields.headers.x-a"
        gateway = self.load(self.injection("fields: {headers: {x-a: 'team {attribute:team.a-B_9}'}}")).gateway
        (injector,) = gateway.listeners[0].header_injection
        self.assertEqual(injector, FieldHeaders((("x-a", "team {attribute:team.a-B_9}"),)))
        for name, part in (
            ("attribute:", "cannot be one"),
            ("attribute:a b", "cannot be one"),
            (f"attribute:{'a' * 65}", "cannot be one"),
            ("attribut:team", "unknown fact"),
        ):
            document = self.injection(f"fields: {{headers: {{x-a: '{{{name}}}'}}}}")
            self.assert_faults(document, (6, 29, path, part))

    def test_schema(self) -> None:
        """Editors know the gateway's injectors and the plugins' options, and let other plugins pass."""
        described = schema([Found(team, "header_injector", "here", "")])
        Draft202012Validator.check_schema(described)
        validator = Draft202012Validator(described)
        for text, wanted in (
            ("xfcc: {}", True),
            ("xfcc: {mode: sanitise}", False),
            ("team: {header: x-a}", True),
            ("team: {heather: x-a}", False),
            ("team: {}", False),
            ("unheard_of: {a: 1}", True),
            ("unheard_of", True),
            ("module.part:name: {a: 1}", True),
            ("xfcc", False),
            ("{}", False),
            ("{team: {header: x-a}, other: {}}", False),
            ("{team: {header: x-a}, xfcc: {}}", False),
            ("1", False),
            ("fields: {headers: {x-a: '{attribute:team}'}}", True),
            ("fields: {headers: {x-a: '{attribute:te am}'}}", False),
            ("fields: {headers: {x-a: '{attribute:}'}}", False),
        ):
            document = yaml.safe_load(self.injection(text))
            self.assertEqual((text, validator.is_valid(document)), (text, wanted))


@frozen
class Gone(BaseException):
    """Something that is no Exception."""


@policy("tags", without_certificate=True)
def tags(peer: Peer) -> Verdict:
    """Say something odd of everyone."""
    return Accept({"team": "red\r\nx-admin: yes", "empty": "", "umlaut": " grün\\"})


@header_injector("nasty", Config, headers=["x-nasty"], per_request=True)
def nasty(config: Config, connection: ConnectionInfo, received: Any) -> Any:
    """Do what it is told to do."""
    kind = config.header
    if kind == "exit":
        raise SystemExit(3)
    if kind == "gone":
        raise Gone
    if kind == "none":
        return None
    if kind == "line":
        return {"x-nasty": "a\r\nx-admin: yes"}
    if kind == "other":
        return {"x-other": "a"}
    if kind == "wide":
        return {"x-nasty": "ü"}
    return {"x-nasty": "fine"}


class UpstreamTests(TestCase):
    """What upstreams get, through a real gateway."""

    def setUp(self) -> None:
        self.pki = Authority()
        self.server = self.pki.issue("a.example", dns=["a.example"], usages=SERVER)
        self.client = client_context(self.pki, self.pki.issue("client"))

    async def status(self, running: Any, request: bytes, listener: str | None = None) -> int:
        """Send a request; gives the answer's status."""
        got: bytes = await in_thread(talk, running.address(listener), request, self.client, "a.example")
        return int(got.split(b" ", 2)[1])

    async def test_told(self) -> None:
        """The upstream gets what the plugin makes of what policies said, and nothing of the client's own claim."""
        upstream = start_upstream(self)
        listener = https_listener(
            [self.server],
            evolve(validation(self.pki), policies=(PolicyUse(plain_tags, plain_tags.build(None, FakeEnvironment())),)),
            header_injection=(use(team, Config("x-team")),),
        )
        running = await start_gateway(self, gateway([listener], upstream))
        spoofs = ("x-team: admin", "X-TEAM: admin", "X_Team: admin", "connection: x-team, close", "x-team : admin")
        for spoof in spoofs[:-1]:
            self.assertEqual(await self.status(running, get("/", "a.example", spoof)), 200)
        self.assertEqual(await self.status(running, get("/", "a.example", spoofs[-1])), 400)
        self.assertEqual([one.all(b"x-team") for one in upstream.requests], [[b"red"]] * 4)
        self.assertEqual([one.all(b"x_team") for one in upstream.requests], [[]] * 4)

    async def test_trailers(self) -> None:
        """Nor can a client say it in a trailer."""
        upstream = start_upstream(self)
        listener = https_listener([self.server], validation(self.pki), header_injection=(use(Bare),))
        running = await start_gateway(self, gateway([listener], upstream))
        request = (
            b"POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\nconnection: close\r\n"
            b"trailer: x-bare\r\n\r\n1\r\na\r\n0\r\nx-bare: admin\r\nx-sum: 1\r\n\r\n"
        )
        self.assertEqual(await self.status(running, request), 200)
        self.assertEqual(upstream.requests[0].all(b"x-bare"), [b"yes"])
        self.assertIn(b"x-sum", upstream.requests[0].raw)
        self.assertNotIn(b"admin", upstream.requests[0].raw)

    async def test_every_listener(self) -> None:
        """A plugin's header passes on no listener, whether the plugin stands there or not, and underscores may be
        refused outright."""
        upstream = start_upstream(self)
        refusing = Forwarding(underscores=UnderscoreAction.REFUSE)
        listeners = [
            https_listener([self.server], validation(self.pki), header_injection=(use(Bare),)),
            https_listener([self.server], validation(self.pki), name="other", address="127.0.0.2",
                           forwarding=refusing),
        ]  # fmt: skip
        running = await start_gateway(self, gateway(listeners, upstream))
        self.assertEqual(await self.status(running, get("/", "a.example", "x-bare: admin"), "other"), 200)
        self.assertEqual(await self.status(running, get("/", "a.example", "x_bare: admin"), "other"), 400)
        self.assertEqual([one.all(b"x-bare") for one in upstream.requests], [[]])

    async def test_per_request(self) -> None:
        """A plugin that wants it sees what the client sent under its names, at each request, and nothing else."""
        upstream = start_upstream(self)
        injection = (use(claims), use(Bare))
        listener = https_listener([self.server], validation(self.pki), header_injection=injection)
        running = await start_gateway(self, gateway([listener], upstream))
        first = get("/", "a.example", "x-claim: a", "x-claim: b", "x-claims: 7").replace(b"connection: close\r\n", b"")
        self.assertEqual(await self.status(running, first + get("/", "a.example")), 200)
        told = [(one.all(b"x-claims"), one.all(b"x-claim")) for one in upstream.requests]
        self.assertEqual(told, [([b"2"], [b"unproven a", b"unproven b"]), ([b"0"], [])])

    async def test_attributes_in_templates(self) -> None:
        """Templates write what policies said in printable ASCII, and nothing where there is nothing."""
        upstream = start_upstream(self)
        templates = FieldHeaders((
            ("x-team", "{attribute:team}"), ("x-empty", "{attribute:empty}"), ("x-none", "{attribute:none}"),
            ("x-umlaut", "<{attribute:umlaut}>"), ("x-both", "{attribute:none}{listener}"),
        ))  # fmt: skip
        listener = https_listener(
            [self.server],
            evolve(validation(self.pki), policies=(PolicyUse(tags, tags.build(None, FakeEnvironment())),)),
            header_injection=(templates,),
        )
        running = await start_gateway(self, gateway([listener], upstream))
        self.assertEqual(await self.status(running, get("/", "a.example", "x-none: admin", "x-empty: admin")), 200)
        request = upstream.requests[0]
        self.assertEqual(request.all(b"x-team"), [b"red\\0D\\0Ax-admin: yes"])
        self.assertEqual(request.all(b"x-umlaut"), [b"<\\20gr\\C3\\BCn\\5C>"])
        self.assertEqual(request.all(b"x-both"), [b"edge"])
        self.assertEqual((request.all(b"x-empty"), request.all(b"x-none"), request.all(b"x-admin")), ([], [], []))

    async def test_nasty(self) -> None:
        """Whatever a plugin does wrong, the client gets 500, the upstream nothing, and the next one is served."""
        upstream = start_upstream(self)
        listener = https_listener([self.server], validation(self.pki))
        running = await start_gateway(self, gateway([listener], upstream))
        for what in ("exit", "gone", "none", "line", "other", "wide"):
            injection = use(nasty, Config(what))
            running.reload(gateway([evolve(listener, header_injection=(injection,))], upstream))
            for _ in range(3):
                self.assertEqual((what, await self.status(running, get("/"))), (what, 500))
            # One traceback, however often it happens.
            self.assertEqual(len(injection.environment.messages), 1)
            self.assertIn("the header injector nasty failed", injection.environment.messages[0])
            running.reload(gateway([evolve(listener, header_injection=(use(nasty, Config("")),))], upstream))
            self.assertEqual(await self.status(running, get("/")), 200)
            self.assertEqual(upstream.requests.pop().all(b"x-nasty"), [b"fine"])
            self.assertEqual(upstream.requests, [])

    async def test_resumed(self) -> None:
        """A plugin that needs the chain keeps a listener from resuming sessions, one that does not does not."""
        upstream = start_upstream(self)
        listeners = [
            https_listener([self.server], validation(self.pki), header_injection=(use(kind),), name=name, address=name)
            for kind, name in ((Bare, "127.0.0.1"), (claims, "127.0.0.2"))
        ]
        running = await start_gateway(self, gateway(listeners, upstream))
        for name, resumes in (("127.0.0.1", False), ("127.0.0.2", True)):
            session = await in_thread(session_after, running.address(name), self.client)
            self.assertEqual((name, session is not None and session.has_ticket), (name, resumes))

    async def test_routes_stay(self) -> None:
        """A plugin by hand works as one with a decorator does, with several routes behind it."""
        upstream = start_upstream(self)
        listener = https_listener([self.server], validation(self.pki), header_injection=(use(ByHand()),))
        routes = [Route("r", rules=(RouteRule(backends=(BackendRef(upstream.model.name),)),))]
        running = await start_gateway(self, gateway([listener], upstream, routes=routes))
        self.assertEqual(await self.status(running, get("/")), 200)
        self.assertEqual(upstream.requests[0].all(b"x-by-hand"), [b"yes"])


@policy("plain_tags")
def plain_tags(peer: Peer) -> Verdict:
    """Say that everyone is of the red team."""
    return Accept({"team": "red"})


def session_after(address: tuple[str, int], context: ssl.SSLContext) -> ssl.SSLSession | None:
    """Make a request over TLS 1.2, where the handshake brings the ticket; gives the session."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(address, 20) as plain, context.wrap_socket(plain, server_hostname="a.example") as tls:
        tls.sendall(get("/"))
        while tls.recv(65_536):
            pass
        return tls.session


