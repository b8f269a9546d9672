"""``x-forwarded-client-cert``, byte for byte against what Envoy 1.40 sent for the same certificates."""
from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from edgegw.headers.injection import build_injector
from edgegw.headers.value import MAX_VALUE_BYTES, ValueTooLargeError
from edgegw.identity import Certificate, CertificateStatus, ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import XFCC, XFCCDetail, XFCCMode

from .client_certificates import GATEWAY, Recorded, connection, general_names, handmade, recorded

HEADER = b"x-forwarded-client-cert"
SPOOF = b"By=spiffe://evil/gw;Hash=00;URI=spiffe://example.com/admin"
TWO_LINES = [b"Hash=aa;URI=one", b"Hash=bb;URI=two"]
DNS, URI = 0x82, 0x86
ALL = frozenset(XFCCDetail)


def sent(
    info: ConnectionInfo,
    mode: XFCCMode = XFCCMode.SANITIZE_SET,
    details: frozenset[XFCCDetail] = frozenset(),
    received: list[bytes] | None = None,
) -> bytes | None:
    """Give the value that the upstream gets, or ``None`` if it gets none."""
    injector = build_injector(XFCC(mode, details))
    headers = injector.inject(info, {} if received is None else {HEADER: received})
    if not headers:
        return None
    ((name, value),) = headers
    assert name == HEADER
    return value


def connected(row: Recorded) -> ConnectionInfo:
    """Make the connection on which the recorded certificates were sent."""
    return connection(row.chain[0], chain=row.chain[1:])


SPECIAL = recorded()["c-special"].chain[0]

#: Where Envoy's bytes are unsafe: what it sent after ``Hash``, and what is sent here.
DEVIATIONS = {
    "c-specialsan": (
        ('Subject="CN=specialsan";URI=spiffe://example.com/a;b,c=d"e"\\f;'
         'URI=https://example.com/q?x=1&y=%22z%22#frag;DNS=we;ird,dns="x".internal.corp'),
        ('Subject="CN=specialsan";URI="spiffe://example.com/a;b,c=d\\"e\\"\\\\f";'
         'URI="https://example.com/q?x=1&y=%22z%22#frag";DNS="we;ird,dns=\\"x\\".internal.corp"'),
    ),
    "san-nuldns": ('Subject="CN=x";URI=;DNS=ab\0d.corp;DNS=z.corp', 'Subject="CN=x";URI=;DNS=z.corp'),
    "san-8dns": ('Subject="CN=x";URI=;DNS=abéd.corp;DNS=z.corp', 'Subject="CN=x";URI=;DNS=z.corp'),
    "san-nluri": ('Subject="CN=x";URI=ab\nd:corp;DNS=z.corp', 'Subject="CN=x";URI=;DNS=z.corp'),
    "san-emptydns": ('Subject="CN=x";URI=;DNS=', 'Subject="CN=x";URI='),
    "san-spacedns": ('Subject="CN=x";URI= x ;DNS= a b ', 'Subject="CN=x";URI='),
}


class ParseError(Exception):
    """Not what the grammar of the header allows."""


def parse(value: str) -> list[list[tuple[str, str]]]:
    """Read the header strictly, element by element, without anything of the code under test.

    A value is quoted, with ``\\`` before a quote or a backslash that is part of it, or has none of
    ``, ; = "`` nor a backslash nor a space in it.
    """
    elements: list[list[tuple[str, str]]] = [[]]
    at = 0
    while True:
        key = re.compile(r"(By|Hash|Cert|Chain|Subject|URI|DNS)=").match(value, at)
        if key is None:
            raise ParseError(f"no key at {at} of {value!r}")
        at = key.end()
        if value[at:at + 1] == '"':
            text, at = "", at + 1
            while value[at:at + 1] != '"':
                if at >= len(value):
                    raise ParseError(f"an open quotation in {value!r}")
                at += value[at] == "\\"
                text += value[at]
                at += 1
            at += 1
        else:
            plain = re.compile(r'[^,;="\\ ]*').match(value, at)
            assert plain is not None
            text, at = plain[0], plain.end()
        elements[-1].append((key[1], text))
        if at == len(value):
            return elements
        if value[at] == ",":
            elements.append([])
        elif value[at] != ";":
            raise ParseError(f"{value[at]!r} after a value in {value!r}")
        at += 1


class RecordedTests(SynchronousTestCase):
    """The certificates of every row of the recording."""

    def test_rows(self) -> None:
        """Subject, URI and DNS are Envoy's bytes, unless they are unsafe."""
        details = frozenset({XFCCDetail.SUBJECT, XFCCDetail.URI, XFCCDetail.DNS})
        for name, row in recorded().items():
            expected = row.xfcc
            if name in DEVIATIONS:
                envoys, ours = DEVIATIONS[name]
                self.assertEqual(expected.partition(row.chain[0].sha256 + ";")[2], envoys)
                expected = expected.replace(envoys, ours)
            self.assertEqual(sent(connected(row), details=details), expected.encode("ascii"), name)

    def test_certificates(self) -> None:
        """Cert and Chain are Envoy's bytes: the chain as it was sent, the leaf first, the root too."""
        compared = 0
        for name, row in recorded().items():
            if row.xfcc_all is not None:
                self.assertEqual(sent(connected(row), details=ALL), row.xfcc_all.encode("ascii"), name)
                compared += 1
        self.assertEqual(compared, 4)

    def test_details(self) -> None:
        """Each detail adds its elements, in Envoy's order whatever the configuration's."""
        info = connected(recorded()["c-valid"])
        client = info.identity.certificate
        assert client is not None
        own = f"By={GATEWAY};Hash={client.sha256}"
        pem = client.url_encoded_pem
        parts = {
            XFCCDetail.CERT: f';Cert="{pem}"',
            XFCCDetail.CHAIN: f';Chain="{pem}"',
            XFCCDetail.SUBJECT: ';Subject="CN=client1,OU=Clients,O=Edge Test,C=US"',
            XFCCDetail.URI: ";URI=spiffe://example.com/ns/prod/sa/client1",
            XFCCDetail.DNS: ";DNS=client1.internal.corp;DNS=client1-alt.internal.corp",
        }
        self.assertEqual(sent(info), own.encode())
        for detail, part in parts.items():
            self.assertEqual(sent(info, details=frozenset({detail})), (own + part).encode())
        self.assertEqual(sent(info, details=ALL), (own + "".join(parts.values())).encode())

    def test_by(self) -> None:
        """``By`` stands there for each URI of the server's certificate, quoted if it has to be, or not at all."""
        row = recorded()["c-valid"]
        uris = ("spiffe://example.com/gw-1", "https://gw.example.com/a?b=c;d")
        self.assertEqual(
            sent(connection(row.chain[0], server_uris=uris)),
            # Envoy: By=https://gw.example.com/a?b=c;d, which reads as a pair of its own.
            f'By=spiffe://example.com/gw-1;By="https://gw.example.com/a?b=c;d";Hash={row.chain[0].sha256}'.encode(),
        )
        self.assertEqual(
            sent(connection(row.chain[0], server_uris=())), f"Hash={row.chain[0].sha256}".encode()
        )


class ModeTests(SynchronousTestCase):
    """The five modes, with what a client sent of its own."""

    def setUp(self) -> None:
        """Take a valid certificate, and what is sent of it without details."""
        self.client = recorded()["c-valid"].chain[0]
        self.own = f"By={GATEWAY};Hash={self.client.sha256}".encode()

    def check(self, mode: XFCCMode, info: ConnectionInfo, *expected: bytes | None) -> None:
        """Check what is sent when nothing, a spoofed line, two lines and an empty one were received."""
        cases: list[list[bytes] | None] = [None, [SPOOF], TWO_LINES, [b""]]
        self.assertEqual(tuple(sent(info, mode, received=received) for received in cases), expected)

    def test_verified(self) -> None:
        """With a verified certificate each mode does what Envoy's does."""
        info = connection(self.client)
        both = b",".join(TWO_LINES)
        own = self.own
        self.check(XFCCMode.SANITIZE, info, None, None, None, None)
        self.check(XFCCMode.FORWARD_ONLY, info, None, SPOOF, both, b"")
        self.check(XFCCMode.APPEND_FORWARD, info, own, SPOOF + b"," + own, both + b"," + own, own)
        self.check(XFCCMode.SANITIZE_SET, info, own, own, own, own)
        self.check(XFCCMode.ALWAYS_FORWARD_ONLY, info, None, SPOOF, both, b"")

    def test_without_certificate(self) -> None:
        """Without a certificate, on TLS and without, only always_forward_only forwards."""
        both = b",".join(TWO_LINES)
        for info in (connection(None), ConnectionInfo("plain", connection(None).identity, "192.0.2.1")):
            for mode in set(XFCCMode) - {XFCCMode.ALWAYS_FORWARD_ONLY}:
                self.check(mode, info, None, None, None, None)
            self.check(XFCCMode.ALWAYS_FORWARD_ONLY, info, None, SPOOF, both, b"")

    def test_unverified(self) -> None:
        """An unverified certificate is as good as none (Envoy reports it like a verified one)."""
        info = connection(self.client, CertificateStatus.UNVERIFIED)
        for mode in set(XFCCMode) - {XFCCMode.ALWAYS_FORWARD_ONLY}:
            self.check(mode, info, None, None, None, None)
        self.check(XFCCMode.ALWAYS_FORWARD_ONLY, info, None, SPOOF, b",".join(TWO_LINES), b"")

    def test_open_quotation(self) -> None:
        """What would swallow the gateway's own element is not appended to."""
        info = connection(self.client)
        for value in (b'Hash=00;Subject="', b'Subject="a\\"', b"URI=a\\", b'URI=a\\"', b'Subject="a"b"', b'"' * 30_001):
            self.assertEqual(sent(info, XFCCMode.APPEND_FORWARD, received=[value]), self.own, value)
        for value in (b'Subject="a\\"b\\\\"', b'URI=a"b"\\f', b'Subject="a,b";URI='):
            self.assertEqual(
                sent(info, XFCCMode.APPEND_FORWARD, received=[value]), value + b"," + self.own, value
            )

    def test_control_characters(self) -> None:
        """A received line with a control character is not forwarded."""
        info = connection(self.client)
        for character in (b"\0", b"\n", b"\r", b"\t", b"\x7f"):
            received = [b"Hash=" + character, b"Hash=bb"]
            self.assertEqual(sent(info, XFCCMode.FORWARD_ONLY, received=received), b"Hash=bb")
            self.assertEqual(sent(info, XFCCMode.FORWARD_ONLY, received=received[:1]), None)

    def test_declarations(self) -> None:
        """What an injector says of itself is what the gateway needs to know of it."""
        for mode in XFCCMode:
            injector = build_injector(XFCC(mode, ALL))
            verifyObject(IHeaderInjector, injector)
            self.assertEqual(injector.owned, {HEADER})
            self.assertEqual(injector.owned_responses, frozenset())
            self.assertEqual(injector.per_request, "forward" in mode.value)
            self.assertEqual(injector.needs_chain, mode in (XFCCMode.SANITIZE_SET, XFCCMode.APPEND_FORWARD))
        self.assertFalse(build_injector(XFCC()).needs_chain)


class SafetyTests(SynchronousTestCase):
    """No certificate can say more than one thing of itself."""

    @given(
        st.lists(st.tuples(st.sampled_from([URI, DNS]), st.text(max_size=30).map(str.encode) | st.binary(max_size=30))),
        st.lists(st.text("ab,;=\"\\ :é\n", max_size=8), max_size=2),
    )
    def test_injection(self, names: list[tuple[int, bytes]], server_uris: list[str]) -> None:
        """A strict parser reads exactly one element with exactly the names of the certificate."""
        client = handmade(extensions=[general_names(*names)])
        info = connection(client, server_uris=server_uris)
        value = sent(info, details=frozenset({XFCCDetail.SUBJECT, XFCCDetail.URI, XFCCDetail.DNS}))
        assert value is not None
        plain = [(tag, name.decode()) for tag, name in names if re.fullmatch(rb"[\x21-\x7e]+", name)]
        self.assertEqual(parse(value.decode("ascii")), [[
            *[("By", uri) for uri in server_uris if re.fullmatch(r"[\x21-\x7e]+", uri)],
            ("Hash", client.sha256),
            ("Subject", ""),
            *([("URI", name) for tag, name in plain if tag == URI] or [("URI", "")]),
            *[("DNS", name) for tag, name in plain if tag == DNS],
        ]])

    @given(st.text(',;="\\ab ', max_size=20).map(str.encode))
    def test_appended(self, received: bytes) -> None:
        """The last element is always the gateway's own, whatever the client put before it."""
        info = connection(SPECIAL)
        value = sent(info, XFCCMode.APPEND_FORWARD, ALL, [received])
        own = sent(info, details=ALL)
        assert value is not None and own is not None
        self.assertTrue(value.endswith(own))
        depth = 0
        for byte in re.sub(rb"\\.", b"", value[:len(value) - len(own)]):
            depth ^= byte == ord('"')
        self.assertEqual(depth, 0)

    def test_subjects(self) -> None:
        """A quotation mark or backslash in a subject leaves its quotation closed."""
        for name, row in recorded().items():
            value = sent(connected(row), details=ALL)
            assert value is not None
            keys = [key for key, _ in parse(value.decode("ascii"))[0]]
            self.assertEqual(keys[:5], ["By", "Hash", "Cert", "Chain", "Subject"], name)

    def test_too_large(self) -> None:
        """What does not fit is refused, not shortened."""
        client = handmade(extensions=[general_names(*[(DNS, b"n%d.example" % n) for n in range(20_000)])])
        fault = self.assertRaises(ValueTooLargeError, sent, connection(client), details=ALL)
        self.assertEqual(fault.name, HEADER)
        self.assertGreater(fault.size, MAX_VALUE_BYTES)
        self.assertRaises(
            ValueTooLargeError, sent, connection(None), XFCCMode.ALWAYS_FORWARD_ONLY, received=[b"a" * 20_000] * 2
        )

    def test_unreadable(self) -> None:
        """A certificate that cannot be read has its hash, and nothing else is claimed of it."""
        client = Certificate(b"junk")
        self.assertEqual(
            sent(connection(client), details=ALL - {XFCCDetail.CERT, XFCCDetail.CHAIN}),
            f'By={GATEWAY};Hash={client.sha256};Subject="";URI='.encode(),
        )

