"""Requests as they stand on an HTTP/1.1 wire, taken apart for HTTP/2."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.upstream.http2_fields import RequestFields
from edgegw.wire.http1 import HTTPFault
from edgegw.wire.http2 import FORBIDDEN

NAMES = st.sampled_from([
    b"accept", b"X-Some", b"te", b"cookie", b"x-forwarded-for", b"expect", b"content-length", b"Connection", b"Upgrade",
    b"X-Request-Id", b"x-ssl-client-dn",
])
VALUES = st.text(st.characters(codec="latin-1", exclude_categories=("Cc",)), max_size=20).map(
    lambda text: text.encode("latin-1").strip(b" \t\x85\xa0")
)
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=6)


def wire(lines: list[tuple[bytes, bytes]], body: bytes = b"", target: bytes = b"/x") -> bytes:
    """Give a request as an exchange does."""
    return b"GET %b HTTP/1.1\r\nhost: a.example\r\n%b\r\n%b" % (
        target, b"".join(b"%b: %b\r\n" % line for line in lines), body,
    )


class FieldsTests(SynchronousTestCase):
    """Fields, their order, and what is left of a body."""

    @given(st.lists(st.tuples(LINES, st.binary(max_size=10)), min_size=1, max_size=4))
    def test_any(self, requests: list[tuple[list[tuple[bytes, bytes]], bytes]]) -> None:
        """Whatever came before, a request is what it is."""
        reader = RequestFields(b"https")
        for lines, body in [*requests, *requests]:
            fields, chunked, rest = reader.read(wire(lines, body))
            self.assertEqual(fields[:4], [
                (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.example"), (b":path", b"/x"),
            ])
            self.assertEqual(
                fields[4:], [(name.lower(), value) for name, value in lines if name.lower() not in FORBIDDEN]
            )
            self.assertEqual((chunked, rest), (False, body))
            if any(name == b"x-ssl-client-dn" for name, _ in lines):
                self.assertIn(b"x-ssl-client-dn", reader.never_indexed)

    def test_chunked(self) -> None:
        """The framing of HTTP/1.1 is told, and gets into no field, wherever its line stands."""
        reader = RequestFields(b"http")
        for lines in (
            [(b"transfer-encoding", b"chunked")], [(b"transfer-encoding", b"chunked"), (b"x-request-id", b"1")],
        ):
            fields, chunked, rest = reader.read(wire(lines, b"3\r\nabc\r\n"))
            self.assertEqual((chunked, rest), (True, b"3\r\nabc\r\n"))
            self.assertNotIn(b"transfer-encoding", dict(fields))

    def test_taken_apart_once(self) -> None:
        """Fields of lines that come again are the same objects, and what is remembered is bounded."""
        reader = RequestFields(b"http")
        first = reader.read(wire([(b"accept", b"*/*"), (b"x-request-id", b"1")]))[0]
        second = reader.read(wire([(b"accept", b"*/*"), (b"x-request-id", b"2")]))[0]
        self.assertIs(first[4], second[4])
        for number in range(1000):
            reader.read(wire([(b"x-ssl-client-%d" % number, b"%d" % number), (b"accept", b"*")]))
        self.assertLessEqual(len(reader._kept), 128)
        self.assertLess(len(reader.never_indexed), 100)

    def test_no_head(self) -> None:
        """What is none is refused."""
        for data in (b"", b"GET / HTTP/1.1\r\n", b"GET /\r\nhost: a\r\n\r\n"):
            self.assertRaises(HTTPFault, RequestFields(b"http").read, data)
