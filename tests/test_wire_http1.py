"""HTTP/1.1 heads: what is taken, what is refused with which status, and that nothing else can come out."""

from __future__ import annotations

from typing import Any

import httptools
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http1 import (
    CHUNKED,
    UNTIL_CLOSE,
    HTTPFault,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)

from .hostile_requests import BROKEN_HEADS

LIMITS = (65_536, 100, 16_384)


def parse(data: bytes, previous: RequestHead | None = None) -> RequestHead:
    head = parse_request_head(data, *LIMITS, previous)
    assert head is not None, "it is not complete"
    return head


def parse_response(data: bytes, previous: ResponseHead | None = None) -> ResponseHead:
    head = parse_response_head(data, 65_536, 256, previous)
    assert head is not None, "it is not complete"
    return head


def facts(head: RequestHead) -> tuple[Any, ...]:
    """Everything that is said of a request."""
    return (
        head.method,
        head.target,
        head.version,
        head.fields,
        head.host,
        head.options,
        head.length,
        head.keep_alive,
        head.expects_continue,
        head.size,
    )


def outcome(data: bytes, pieces: int) -> Any:
    """Give what comes of ``data`` if it arrives in so many pieces."""
    size = max(1, -(-len(data) // pieces))
    seen = 0
    for end in [*range(size, len(data), size), len(data)]:
        try:
            head = parse_request_head(data[:end], *LIMITS, seen=seen)
        except HTTPFault as fault:
            return fault.status
        if head is not None:
            return facts(head)
        seen = end
    return None


# --- generated messages ---------------------------------------------------------------------

TOKEN = st.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.binary(max_size=24).map(lambda raw: bytes(byte for byte in raw if byte in b"\t" or 32 <= byte != 127))
FRAMING = st.sampled_from(
    [
        b"Content-Length: 5",
        b"content-length:0",
        b"Transfer-Encoding: chunked",
        b"TRANSFER-ENCODING:\tChunked ",
        b"Connection: close",
        b"connection: keep-alive, x-a",
        b"Expect: 100-continue",
        b"Content-Length: 5, 5",
        b"Transfer-Encoding: gzip",
        b"Content-Length: +5",
        b"Host: b.example",
        b"Transfer-Encoding : chunked",
    ]
)
FIELD_LINE = st.one_of(
    FRAMING,
    st.builds(lambda name, gap, value: name + b":" + gap + value, TOKEN, st.sampled_from([b"", b" ", b"\t"]), VALUE),
)
TARGET = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(lambda text: b"/" + text.encode()),
    st.sampled_from([b"*", b"http://a.example/x?y", b"HTTP://a.example", b"a.example:80", b""]),
)
METHOD = st.one_of(st.sampled_from([b"GET", b"POST", b"OPTIONS", b"HEAD", b"CONNECT"]), TOKEN)


def _request(method: bytes, target: bytes, version: bytes, fields: list[bytes], host: bool) -> bytes:
    lines = [method + b" " + target + b" HTTP/" + version, *([b"Host: a.example"] if host else []), *fields]
    return b"\r\n".join([*lines, b"", b""])


REQUEST = st.builds(
    _request,
    METHOD,
    TARGET,
    st.sampled_from([b"1.1", b"1.1", b"1.1", b"1.0", b"2.0"]),
    st.lists(FIELD_LINE, max_size=6),
    st.booleans(),
)
RESPONSE = st.builds(
    lambda status, reason, fields: b"\r\n".join([b"HTTP/1.1 " + status + reason, *fields, b"", b""]),
    st.sampled_from([b"200", b"204", b"100", b"304", b"999", b"099", b"2000"]),
    st.sampled_from([b"", b" ", b" OK", b" \xe9", b"OK"]),
    st.lists(FIELD_LINE, max_size=6),
)


@st.composite
def mutated(draw: Any, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with some bytes replaced, removed or put in."""
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        piece = draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"\x00"]))
        )
        data[at : at + draw(st.integers(0, 2))] = piece
    return bytes(data)


class RequestHeadTests(SynchronousTestCase):
    """What is taken, and how it is understood."""

    def test_plain(self) -> None:
        """A request's line, host and headers are told as they came."""
        head = parse(b"GET /a/b?c=d HTTP/1.1\r\nHost: A.example:81\r\nX-A:  b \t\r\nx-empty:\r\n\r\nrest")
        self.assertEqual((head.method, head.target, head.host, head.version), (b"GET", b"/a/b?c=d", b"A.example:81", 1))
        self.assertEqual(head.fields[1], (b"x-a", b"b", b"X-A:  b \t\r\n"))
        self.assertEqual(head.fields[2], (b"x-empty", b"", b"x-empty:\r\n"))
        self.assertEqual((head.length, head.keep_alive, head.expects_continue), (0, True, False))
        self.assertEqual(
            head.size, len(b"GET /a/b?c=d HTTP/1.1\r\nHost: A.example:81\r\nX-A:  b \t\r\nx-empty:\r\n\r\n")
        )

    def test_lengths(self) -> None:
        """A body is framed by one plain Content-Length or by exactly ``chunked``."""
        for line, length in [
            (b"content-length: 0", 0),
            (b"Content-Length: 17", 17),
            (b"content-length:\t007 ", 7),
            (b"content-length: 999999999999999", 999_999_999_999_999),
            (b"Transfer-Encoding: Chunked ", CHUNKED),
        ]:
            self.assertEqual(parse(b"POST / HTTP/1.1\r\nhost: a\r\n" + line + b"\r\n\r\n").length, length, line)

    def test_keep_alive(self) -> None:
        """``Connection`` and the version decide whether another request follows."""
        for version, option, expected in [
            (b"1.1", b"", True),
            (b"1.1", b"connection: close\r\n", False),
            (b"1.1", b"connection: x, CLOSE\r\n", False),
            (b"1.1", b"connection: x\r\nconnection: close\r\n", False),
            (b"1.0", b"", False),
            (b"1.0", b"connection: Keep-Alive\r\n", True),
            (b"1.0", b"connection: keep-alive, close\r\n", False),
            (b"1.1", b"connection: closed\r\n", True),
        ]:
            head = parse(b"GET / HTTP/" + version + b"\r\nhost: a\r\n" + option + b"\r\n")
            self.assertIs(head.keep_alive, expected, (version, option))

    def test_targets(self) -> None:
        """Absolute-form becomes origin-form, ``*`` stays, and HTTP/1.0 needs no Host."""
        for target, expected in [
            (b"http://a.example/x?y", b"/x?y"),
            (b"HTTPS://A.EXAMPLE", b"/"),
            (b"http://a.example?y", b"/?y"),
            (b"/", b"/"),
            (b"//b.example/x", b"//b.example/x"),
        ]:
            head = parse(b"GET " + target + b" HTTP/1.1\r\nhost: a.example\r\n\r\n")
            self.assertEqual((head.target, head.host), (expected, b"a.example"))
        for target in (b"*", b"http://a.example"):
            self.assertEqual(parse(b"OPTIONS " + target + b" HTTP/1.1\r\nhost: a.example\r\n\r\n").target, b"*")
        self.assertEqual(parse(b"GET / HTTP/1.0\r\n\r\n").host, b"")
        self.assertEqual(parse(b"GET http://a.example:81/x HTTP/1.0\r\n\r\n").host, b"a.example:81")

    def test_expect(self) -> None:
        """HTTP/1.1 clients may wait for 100; HTTP/1.0 knows nothing of it."""
        line = b"expect: 100-Continue\r\ncontent-length: 1\r\n\r\n"
        self.assertTrue(parse(b"PUT / HTTP/1.1\r\nhost: a\r\n" + line).expects_continue)
        self.assertFalse(parse(b"PUT / HTTP/1.0\r\nhost: a\r\n" + line).expects_continue)

    def test_refused(self) -> None:
        """Whatever two parsers could read in two ways is refused, with its status, in one piece or byte by byte."""
        elsewhere = {"CONNECT", "CONNECT with a path", "TRACE"}
        for name, (data, status) in BROKEN_HEADS.items():
            if name in elsewhere or ((status == 400 and "Host" in name) or "brackets" in name):
                continue  # the connection refuses these
            for pieces in (1, 7, 501):
                self.assertEqual(outcome(data, pieces), status, (name, pieces))

    def test_limits(self) -> None:
        """Up to each limit a request is taken, past it it is not."""
        head = b"GET /%b HTTP/1.1\r\nhost: a\r\n%b\r\n"
        self.assertEqual(len(parse(head % (b"a" * 16_383, b"")).target), 16_384)
        self.assertEqual(outcome(head % (b"a" * 16_384, b""), 1), 414)
        self.assertEqual(len(parse(head % (b"", b"x: y\r\n" * 99)).fields), 100)
        self.assertEqual(outcome(head % (b"", b"x: y\r\n" * 100), 1), 431)
        fill = 65_536 - len(head % (b"", b"x: \r\n"))
        self.assertEqual(parse(head % (b"", b"x: %b\r\n" % (b"v" * fill))).size, 65_536)
        self.assertEqual(outcome(head % (b"", b"x: %b\r\n" % (b"v" * (fill + 1))), 1), 431)

    def test_never_complete(self) -> None:
        """What can no longer become a request is refused before its end comes."""
        for data, status in [
            (b"G" * 17_000, 414),
            (b"GET / HTTP/1.1\r\nx: " + b"a" * 66_000, 431),
            (b"GET / HTTP/1.1\n", 400),
            (b"GET / HTTP/1.1\r\nx: \x00", 400),
            (b"GET / HTTP/1.1\rx", 400),
            (b"\x16\x03\x01\x00", 400),
        ]:
            with self.assertRaises(HTTPFault) as raised:
                parse_request_head(data, *LIMITS)
            self.assertEqual(raised.exception.status, status, data[:20])

    @given(mutated(REQUEST))
    @example(b"GET / HTTP/1.1\r\nhost: a\r\n\r")
    @settings(max_examples=300, deadline=None)
    def test_pieces(self, data: bytes) -> None:
        """However a request is cut up, the same comes of it."""
        expected = outcome(data, 1)
        for pieces in (2, 3, len(data) or 1):
            found = outcome(data, pieces)
            # Something that is refused when it is complete may be refused earlier, for a reason that came first.
            self.assertTrue(
                found == expected or (isinstance(found, int) and not isinstance(expected, tuple)), (expected, found)
            )

    @given(st.one_of(st.binary(max_size=200), mutated(REQUEST)), st.integers(0, 200))
    @settings(max_examples=400, deadline=None)
    def test_arbitrary_bytes(self, data: bytes, seen: int) -> None:
        """Arbitrary bytes give a head, ``None`` or ``HTTPFault`` with an error status."""
        try:
            head = parse_request_head(data, *LIMITS, seen=min(seen, len(data)))
        except HTTPFault as fault:
            self.assertIn(fault.status, (400, 414, 417, 431, 505))
        else:
            self.assertTrue(head is None or head.size <= len(data))

    @given(mutated(REQUEST))
    @settings(max_examples=400, deadline=None)
    def test_forwarded_means_the_same(self, data: bytes) -> None:
        """What goes to the upstream is read there as it was read here."""
        try:
            head = parse_request_head(data, *LIMITS)
        except HTTPFault:
            return
        assume(head is not None and head.target != b"" and head.method != b"CONNECT")
        assert head is not None
        lines = b"".join(line for name, _, line in head.fields if name != b"host")
        host = b"host: %b\r\n" % head.host if head.host else b""
        again = parse(b"%b %b HTTP/1.%d\r\n%b%b\r\n" % (head.method, head.target, head.version, host, lines))
        self.assertEqual(
            (again.method, again.target, again.host, again.length), (head.method, head.target, head.host, head.length)
        )
        self.assertEqual(
            [one for one in again.fields if one[0] != b"host"], [one for one in head.fields if one[0] != b"host"]
        )

    @given(mutated(REQUEST))
    @settings(max_examples=600, deadline=None)
    def test_another_parser_agrees(self, data: bytes) -> None:
        """A request that is taken has the same method, target, headers and framing for llhttp."""
        try:
            head = parse_request_head(data, *LIMITS)
        except HTTPFault:
            return
        assume(head is not None)
        assert head is not None
        # llhttp knows a fixed list of methods, and judges targets by its own rules.
        assume(
            head.method in (b"GET", b"POST", b"OPTIONS", b"HEAD") and data.split(b" ", 2)[1].startswith((b"/", b"*"))
        )
        other = OtherParser()
        body = {CHUNKED: b"3\r\nabc\r\n0\r\n\r\n"}.get(head.length, b"x" * min(head.length, 64))
        other.feed(data[: head.size] + body)
        self.assertEqual(other.url, head.target)
        self.assertEqual(other.method, head.method)
        self.assertEqual(
            [(name.lower(), value.strip(b" \t")) for name, value in other.headers], [(n, v) for n, v, _ in head.fields]
        )
        expected = b"abc" if head.length == CHUNKED else body
        self.assertEqual(other.body, expected)
        self.assertEqual(other.done, head.length == len(expected) or head.length == CHUNKED)


class OtherParser:
    """What llhttp makes of a request."""

    def __init__(self) -> None:
        self.parser: Any = httptools.HttpRequestParser(self)
        self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.done = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done = True

    @property
    def method(self) -> bytes:
        return bytes(self.parser.get_method())

    def feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # it is asked for nothing but the head then, and Upgrade is not passed on


class RepeatedHeadTests(SynchronousTestCase):
    """A head whose header lines are those of the one before is not read again, and means the same."""

    def test_same_lines(self) -> None:
        """Everything but the request line is taken over."""
        first = parse(b"POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\n")
        data = b"PUT /b?c HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"
        second = parse(data, first)
        self.assertIs(second.fields, first.fields)
        self.assertEqual(facts(second), facts(parse(data)))

    def test_lines_inside_others(self) -> None:
        """Header lines that merely end in the same bytes are read."""
        first = parse(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        data = b"POST /b HTTP/1.1\r\ncontent-length: 3\r\nhost: a\r\n\r\n"
        self.assertEqual(facts(parse(data, first)), facts(parse(data)))
        data = b"GET /b HTTP/1.1\r\nx-host: a\r\nhost: a\r\n\r\n"
        self.assertEqual(facts(parse(data, first)), facts(parse(data)))

    def test_another_host(self) -> None:
        """Of the same lines behind another Host nothing but Host is read."""
        rest = b"content-length: 3\r\nconnection: close, x-a\r\nx-a: 1\r\n\r\n"
        first = parse(b"POST /a HTTP/1.1\r\nHost: a\r\n" + rest)
        for line in (b"host: b:8080\r\n", b"Host:\t c \r\n", b"HOST: d\r\n"):
            data = b"PUT /b?c HTTP/1.1\r\n" + line + rest + b"abc"
            second = parse(data, first)
            self.assertEqual(facts(second), facts(parse(data)))
            self.assertEqual((second.block, second.rest), (line + rest, rest))
            # What was taken over is taken over again.
            again = b"GET /d HTTP/1.1\r\n" + line + rest
            self.assertEqual(facts(parse(again, second)), facts(parse(again)))

    def test_not_another_host(self) -> None:
        """What stands before the same lines is one line with one good Host, or is read like anything else."""
        first = parse(b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n")
        for lines, status in {
            b"host: b\r\nhost: c\r\n": 400,
            b"host: b\r\nx-b: 2\r\n": None,
            b"x-b: 2\r\nhost: b\r\n": None,
            b"x-host: b\r\n": 400,
            b"host: \r\n": 400,
            b"host : b\r\n": 400,
            b"host: b\r\n c\r\n": 400,
            b"": 400,
        }.items():
            data = b"GET / HTTP/1.1\r\n" + lines + b"x-a: 1\r\n\r\n"
            if status is None:
                self.assertEqual(facts(parse(data, first)), facts(parse(data)), lines)
            else:
                fault = self.assertRaises(HTTPFault, parse, data, first)
                self.assertEqual(fault.status, status, lines)

    def test_version(self) -> None:
        """The same lines mean something else in another version."""
        first = parse(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        for host in (b"a", b"b"):
            self.assertFalse(parse(b"GET /a HTTP/1.0\r\nhost: %b\r\n\r\n" % host, first).keep_alive)

    def test_host_in_the_target(self) -> None:
        """A host that stood in the target only does not stick to the lines."""
        first = parse(b"GET http://a.example/ HTTP/1.0\r\nx-a: 1\r\n\r\n")
        self.assertEqual(parse(b"GET / HTTP/1.0\r\nx-a: 1\r\n\r\n", first).host, b"")

    @given(st.lists(mutated(REQUEST), min_size=2, max_size=4), st.integers(0, 2))
    @settings(max_examples=400, deadline=None)
    def test_any(self, messages: list[bytes], own: int) -> None:
        """With or without the head before it, a request is understood or refused alike.

        :param own: how many lines each message keeps; the others are those of the first one.
        """
        if own:
            rest = b"\r\n".join(messages[0].split(b"\r\n")[own:])
            messages = [b"\r\n".join([*one.split(b"\r\n")[:own], rest]) for one in messages]
        previous: RequestHead | None = None
        for data in messages:
            results: list[Any] = []
            for before in (None, previous):
                try:
                    head = parse_request_head(data, *LIMITS, before)
                except HTTPFault as fault:
                    results.append(fault.status)
                else:
                    results.append(None if head is None else facts(head))
                    if before is None and head is not None:
                        last = head
            self.assertEqual(results[0], results[1])
            if isinstance(results[0], tuple):
                previous = last


class ResponseHeadTests(SynchronousTestCase):
    """What upstreams may say."""

    def test_plain(self) -> None:
        """Status, reason and headers are told as they came; the reason may be missing."""
        head = parse_response(b"HTTP/1.1 404 Not Found \xe9\r\nX-A: b \r\n\r\nrest")
        self.assertEqual((head.status, head.reason, head.length), (404, b"Not Found \xe9", UNTIL_CLOSE))
        self.assertEqual(head.fields, [(b"x-a", b"b", b"X-A: b \r\n")])
        for line in (b"HTTP/1.1 200", b"HTTP/1.1 200 "):
            self.assertEqual(parse_response(line + b"\r\n\r\n").reason, b"")

    def test_framing(self) -> None:
        """The length and whether the connection may be used again."""
        for start, fields, length, keep_alive in [
            (b"HTTP/1.1 200 OK", b"content-length: 5", 5, True),
            (b"HTTP/1.1 200 OK", b"transfer-encoding: chunked", CHUNKED, True),
            (b"HTTP/1.1 200 OK", b"connection: close", UNTIL_CLOSE, False),
            (b"HTTP/1.0 200 OK", b"content-length: 5", 5, False),
            (b"HTTP/1.0 200 OK", b"content-length: 5\r\nconnection: keep-alive", 5, True),
        ]:
            head = parse_response(start + b"\r\n" + fields + b"\r\n\r\n")
            self.assertEqual((head.length, head.keep_alive), (length, keep_alive), fields)

    def test_refused(self) -> None:
        """Doubtful framing and what is not HTTP/1.x is refused."""
        for data in [
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx-a : b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\n\r\n",
            b"HTTP/1.1 200 OK\nx-a: b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx-a: \x00\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: \r\r\n\r\n",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
            b"hello\r\n\r\n",
            b"<html>",
            b"HTTP/1.1 200 OK\r\nx: " + b"a" * 66_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"x: a\r\n" * 257 + b"\r\n",
            b"HTTP/1.1 200 OK\r\nx: " + b"a" * 66_000,
        ]:
            with self.assertRaises(HTTPFault, msg=data[:60]):
                parse_response_head(data, 65_536, 256)

    def test_same_again(self) -> None:
        """The same bytes as before give the same head, other bytes do not."""
        first = parse_response(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        self.assertIs(parse_response(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworld", first), first)
        self.assertEqual(parse_response(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", first).length, 6)

    @given(st.one_of(st.binary(max_size=200), mutated(RESPONSE)))
    @settings(max_examples=400, deadline=None)
    def test_arbitrary_bytes(self, data: bytes) -> None:
        """Arbitrary bytes give a head, ``None`` or ``HTTPFault``, also in pieces."""
        results = []
        for ends in ([len(data)], range(1, len(data) + 1)):
            result: Any = None
            try:
                for end in ends:
                    head = parse_response_head(data[:end], 65_536, 256)
                    if head is not None:
                        result = (head.status, head.length, head.keep_alive, head.fields)
                        break
            except HTTPFault:
                result = "refused"
            results.append(result)
        self.assertTrue(results[0] == results[1] or results == [None, "refused"], results)


class CostTests(SynchronousTestCase):
    """Nothing takes time that grows with the square of what was sent."""

    def test_steps(self) -> None:
        """A head that comes byte by byte is looked at once, not once for each byte."""
        counted = CountedBytes(b"GET / HTTP/1.1\r\nhost: a\r\nx-a: " + b"a" * 20_000)
        for end in range(1, len(counted), 1):
            self.assertIsNone(parse_request_head(counted.first(end), *LIMITS, seen=end - 1))
        self.assertLess(counted.copied, 100_000)


class CountedBytes(bytes):
    """Bytes that count how many of them were copied out."""

    copied = 0

    def first(self, end: int) -> bytes:
        """Give the beginning, counting what is copied from it."""
        whole = self

        class Part(bytes):
            def __getitem__(self, key: Any) -> Any:
                found = super().__getitem__(key)
                if isinstance(key, slice):
                    whole.copied += len(found)
                return found

        return Part(self[:end])
