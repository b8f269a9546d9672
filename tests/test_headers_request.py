"""What of a client's headers reaches an upstream, and what the gateway says of the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from edgegw.headers.request import ConnectionHeaders, HeaderRefusal, RequestHeaders
from edgegw.headers.value import ValueTooLargeError
from edgegw.identity import ConnectionInfo, Identity
from edgegw.interfaces import IHeaderInjector
from edgegw.model import Forwarding, UnderscoreAction

TRUSTING = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
#: What a stranger must never get through, whatever the listener's injectors are.
IDENTITY = [
    "x-forwarded-client-cert",
    "X-Forwarded-Client-Cert",
    "X-FORWARDED-CLIENT-CERT",
    "client-cert",
    "Client-Cert-Chain",
    "x-client-cert",
    "X-SSL-Client-Verify",
    "x-ssl-client-s-dn",
    "SSL-Client-Cert",
    "X-Who",
]
UNDERSCORED = [
    "x_forwarded_client_cert",
    "X-Forwarded_Client-Cert",
    "client_cert",
    "x_who",
    "x_anything",
    "_x",
    "content_length",
]


@implementer(IHeaderInjector)
@frozen
class Injector:
    """Sends what it is told to, or raises it."""

    headers: Any = ((b"x-who", b"me"),)
    owned: frozenset[bytes] = frozenset({b"x-who"})
    per_request: bool = False
    owned_responses: frozenset[bytes] = frozenset()
    needs_chain: bool = False
    received: list[Mapping[bytes, Sequence[bytes]]] = field(factory=list)

    def inject(
        self, connection: ConnectionInfo, received: Mapping[bytes, Sequence[bytes]]
    ) -> Sequence[tuple[bytes, bytes]]:
        self.received.append(received)
        if isinstance(self.headers, Exception):
            raise self.headers
        return self.headers  # type: ignore[no-any-return]  # a test may return what it should not


def rules(
    *injectors: Injector,
    peer: str = "192.0.2.1",
    owned: Sequence[bytes] = (),
    scheme: bytes = b"https",
    **forwarding: Any,
) -> ConnectionHeaders:
    info = ConnectionInfo("edge", Identity(), peer)
    return RequestHeaders(Forwarding(**forwarding), injectors, owned, scheme).for_connection(info)


def send(
    headers: ConnectionHeaders, *lines: str, options: str = "", host: bytes = b"a.example"
) -> list[tuple[str, str]]:
    """Give what goes upstream as ``(name, value)``, without the request id."""
    fields = []
    for line in lines:
        name, _, value = line.partition(":")
        fields.append((name.lower().encode(), value.strip().encode("latin-1"), line.encode("latin-1") + b"\r\n"))
    block, _ = headers.block(fields, frozenset(options.encode().split()), host)
    assert block == b"" or block.endswith(b"\r\n")
    pairs = [line.partition(": ") for line in block.decode("latin-1").split("\r\n")[:-1]]
    return [(name.lower(), value) for name, _, value in pairs]


WAY = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a.example")]


class SanitisingTests(SynchronousTestCase):
    """Nobody speaks for the gateway."""

    def test_identity_headers(self) -> None:
        """Identity headers of strangers are removed on every listener, with injectors or without."""
        for injectors in ((), (Injector(),)):
            headers = rules(*injectors, owned=[b"x-who"])
            got = send(headers, *[f"{name}: evil" for name in IDENTITY], "accept: */*")
            own = [("x-who", "me")] if injectors else []
            self.assertEqual(got, [("accept", "*/*"), *own, *WAY])

    def test_underscores(self) -> None:
        """Names with underscores are dropped, or the request is refused."""
        headers = rules(Injector())
        self.assertEqual(send(headers, *[f"{name}: evil" for name in UNDERSCORED]), [("x-who", "me"), *WAY])
        refusing = rules(underscores=UnderscoreAction.REFUSE)
        for name in UNDERSCORED:
            with self.assertRaises(HeaderRefusal) as raised:
                send(refusing, f"{name}: evil")
            self.assertEqual(raised.exception.status, 400)

    def test_dashed_spelling_of_an_owned_name(self) -> None:
        """An injector that owns ``x_who`` owns ``X-Who`` as well: many upstreams read them as one."""
        injector = Injector(((b"x_who", b"me"),), frozenset({b"x_who"}))
        self.assertEqual(send(rules(injector), "X-Who: evil", "X_Who: evil"), [("x_who", "me"), *WAY])

    def test_named_by_connection(self) -> None:
        """What ``Connection`` names is removed, but never what the gateway adds."""
        got = send(
            rules(Injector()),
            "Connection: x-a, x-who, x-forwarded-for, x-forwarded-proto, host, content-length",
            "x-a: 1",
            "x-b: 2",
            options="x-a x-who x-forwarded-for x-forwarded-proto host content-length",
        )
        self.assertEqual(got, [("x-b", "2"), ("x-who", "me"), *WAY])

    def test_hop_by_hop(self) -> None:
        """Headers of one hop end here; of ``TE`` only ``trailers`` goes on."""
        got = send(
            rules(),
            "Connection: close",
            "Keep-Alive: 5",
            "Proxy-Connection: x",
            "Upgrade: h2c",
            "HTTP2-Settings: AAA",
            "Proxy-Authorization: Basic x",
            "Transfer-Encoding: chunked",
            "Content-Length: 5",
            "Expect: 100-continue",
            "Host: a.example",
            "TE: gzip, trailers;q=0.5",
            "Trailer: x-t",
            options="close",
        )
        self.assertEqual(got, [("trailer", "x-t"), *WAY])
        for options in ("", "te"):
            self.assertEqual(send(rules(), "TE: deflate, Trailers", options=options), [("te", "trailers"), *WAY])

    def test_others_stay(self) -> None:
        """Everything else goes on byte for byte, in its order, as often as it came."""
        lines = ["Cookie: a=1", "X-A:  spaced  out", "Cookie: b=2", "authorization: Bearer x", "x-caf: \xe9"]
        block, _ = rules().block(
            [(line.split(":")[0].lower().encode(), b"", line.encode("latin-1") + b"\r\n") for line in lines],
            frozenset(),
            b"",
        )
        self.assertTrue(block.startswith("".join(f"{line}\r\n" for line in lines).encode("latin-1")))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([*IDENTITY, *UNDERSCORED, "x-forwarded-for", "forwarded", "x-real-ip", "x-request-id"]),
                st.lists(st.booleans(), min_size=30, max_size=30),
                st.sampled_from(["-", "_"]),
            ),
            max_size=8,
        )
    )
    @settings(max_examples=200, deadline=None)
    def test_any_spelling(self, names: list[tuple[str, list[bool], str]]) -> None:
        """No spelling of any of them brings a stranger's word to an upstream."""
        lines = []
        for name, upper, dash in names:
            spelled = "".join(c.upper() if up else c.lower() for c, up in zip(name, upper, strict=False)) + name[30:]
            lines.append(f"{spelled.replace('-', dash)}: evil")
        self.assertNotIn("evil", str(send(rules(Injector(), owned=[b"x-who"]), *lines)))

    def test_trailers(self) -> None:
        """Trailers can say nothing of weight, and nothing of who the client is."""
        names = [
            *IDENTITY,
            *UNDERSCORED,
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x-forwarded-proto",
            "forwarded",
            "x-real-ip",
            "x-request-id",
            "via",
            "te",
            "trailer",
            "expect",
            "content-type",
            "content-encoding",
            "proxy-authorization",
        ]
        fields = [(name.lower().encode(), b"evil", name.encode() + b": evil\r\n") for name in names]
        good = (b"x-checksum", b"1", b"X-Checksum: 1\r\n")
        self.assertEqual(rules(Injector(), owned=[b"x-who"]).trailers([*fields, good]), [good])


class WayTests(SynchronousTestCase):
    """The way a request came."""

    CLAIMS = (
        "X-Forwarded-For: 1.1.1.1",
        "X-Forwarded-For: 2.2.2.2",
        "X-Forwarded-Proto: ftp",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "Forwarded: for=1.1.1.1",
        "X-Real-IP: 1.1.1.1",
        "X-Request-ID: abc",
    )

    def test_stranger(self) -> None:
        """A stranger's claims are replaced."""
        self.assertEqual(send(rules(), *self.CLAIMS), WAY)

    def test_trusted_proxy(self) -> None:
        """A trusted proxy's are kept and added to."""
        for peer in ("10.1.2.3", "fd00::1"):
            self.assertEqual(
                send(rules(peer=peer, trusted_proxies=TRUSTING), *self.CLAIMS),
                [
                    ("x-forwarded-for", f"1.1.1.1, 2.2.2.2, {peer}"),
                    ("x-forwarded-proto", "ftp"),
                    ("x-forwarded-host", "evil.example"),
                    ("x-forwarded-port", "1"),
                    ("forwarded", "for=1.1.1.1"),
                    ("x-real-ip", "1.1.1.1"),
                    ("x-request-id", "abc"),
                ],
            )

    def test_trusted_identity(self) -> None:
        """A trusted proxy's identity headers go on, except those that this listener sets."""
        headers = rules(Injector(), peer="10.0.0.1", trusted_proxies=TRUSTING, owned=[b"x-who"])
        got = send(headers, "X-Forwarded-Client-Cert: Hash=1", "X-Who: evil", "x_who: evil")
        self.assertEqual(got[:2], [("x-forwarded-client-cert", "Hash=1"), ("x-who", "me")])

    def test_other_peers(self) -> None:
        """Who is in none of the networks is trusted in nothing; a Unix socket's peer has no address."""
        for peer in ("192.0.2.1", "2001:db8::1", "unix:"):
            got = send(rules(peer=peer, trusted_proxies=TRUSTING, scheme=b"http"), *self.CLAIMS)
            hops = [] if peer == "unix:" else [("x-forwarded-for", peer)]
            self.assertEqual(got, [*hops, ("x-forwarded-proto", "http"), ("x-forwarded-host", "a.example")])

    def test_request_id(self) -> None:
        """Only one well-formed id of a trusted proxy is kept; otherwise the gateway has to make one."""
        trusting = rules(peer="10.0.0.1", trusted_proxies=TRUSTING)
        for values, needed in [
            ([], True),
            ([b"abc"], False),
            ([b"a", b"b"], True),
            ([b"a b"], True),
            ([b"a" * 129], True),
            ([b""], True),
        ]:
            fields = [(b"x-request-id", value, b"x-request-id: %b\r\n" % value) for value in values]
            block, needs_id = trusting.block(fields, frozenset(), b"a.example")
            self.assertEqual((needs_id, b"x-request-id" in block), (needed, not needed), values)

    def test_via(self) -> None:
        """``Via`` is passed on, and added to where a pseudonym is configured."""
        self.assertIn(("via", "1.0 a, 1.1 b"), send(rules(), "Via: 1.0 a", "Via: 1.1 b"))
        self.assertIn(("via", "1.0 a, 1.1 edge"), send(rules(via="edge"), "Via: 1.0 a"))
        self.assertNotIn("via", dict(send(rules())))

    def test_no_host(self) -> None:
        """Where no host was named none is told."""
        self.assertEqual(send(rules(), host=b""), WAY[:2])


class InjectorTests(SynchronousTestCase):
    """Who is calling, and injectors that fail."""

    def test_once_or_always(self) -> None:
        """An injector is asked once for a connection, or at each request with what the client had sent."""
        once, always = Injector(), Injector(((b"x-b", b"1"),), frozenset({b"x-b"}), True)
        headers = rules(once, always)
        for _ in range(2):
            self.assertEqual(send(headers, "X-B: was", "x-b: there")[:2], [("x-who", "me"), ("x-b", "1")])
        self.assertEqual(once.received, [{}])
        self.assertEqual(always.received, [{b"x-b": [b"was", b"there"]}] * 2)
        self.assertEqual(headers.per_request, (always,))

    def test_failures(self) -> None:
        """An injector that raises, or gives what it must not, refuses the request with 500."""
        bad: list[Any] = [
            RuntimeError("a bug"),
            ValueTooLargeError(b"x-who", 99_999),
            ((b"x-other", b"me"),),
            ((b"host", b"me"),),
            ((b"X-Who", b"me"),),
            ((b"x-who", b"a\r\nx-admin: yes"),),
            ((b"x-who", b"a\x00"),),
            ((b"x-who", "text"),),
            None,
            ((b"x-who",),),
        ]
        for headers in bad:
            with self.assertRaises(HeaderRefusal) as raised:
                rules(Injector(headers))
            self.assertEqual(raised.exception.status, 500, headers)
            with self.assertRaises(HeaderRefusal) as raised:
                send(rules(Injector(headers, per_request=True)))
            self.assertEqual(raised.exception.status, 500, headers)

    def test_too_large_by_the_client(self) -> None:
        """Where the client's own headers made an injected one too large it is told so."""
        injector = Injector(ValueTooLargeError(b"x-who", 99_999), per_request=True)
        with self.assertRaises(HeaderRefusal) as raised:
            send(rules(injector), "x-who: " + "a" * 99)
        self.assertEqual(raised.exception.status, 431)
