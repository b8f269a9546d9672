"""Requests that must never reach an upstream, with the status that each gets before its connection is closed.

The classes are those by which requests are smuggled: framing that two parsers could read in two ways,
white space and control characters where none belong, targets and hosts that disagree.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BROKEN_BODIES", "BROKEN_HEADS", "CHUNKED_HEAD"]

_CHUNKED = b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


def _post(headers: bytes, body: bytes = b"hi") -> bytes:
    return b"POST /p HTTP/1.1\r\nhost: a.example\r\n" + headers + b"\r\n\r\n" + body


def _line(line: bytes, host: bytes = b"host: a.example\r\n") -> bytes:
    return line + b"\r\n" + host + b"\r\n"


def _field(line: bytes) -> bytes:
    return b"GET /p HTTP/1.1\r\nhost: a.example\r\n" + line + b"\r\n\r\n"


#: ``name: (bytes, status)``
BROKEN_HEADS: Final[dict[str, tuple[bytes, int]]] = {
    # two lengths
    "length and chunked": (_post(b"content-length: 2\r\ntransfer-encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n"), 400),
    "chunked and length": (_post(b"transfer-encoding: chunked\r\ncontent-length: 2", b"2\r\nhi\r\n0\r\n\r\n"), 400),
    "length and identity": (_post(b"content-length: 2\r\ntransfer-encoding: identity"), 400),
    "two lengths": (_post(b"content-length: 2\r\ncontent-length: 3"), 400),
    "the same length twice": (_post(b"content-length: 2\r\ncontent-length: 2"), 400),
    "a list of lengths": (_post(b"content-length: 2, 2"), 400),
    # Transfer-Encoding that is not exactly chunked
    "gzip, chunked": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: gzip, chunked" + _CHUNKED, 400),
    "chunked twice": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked, chunked" + _CHUNKED, 400),
    "two chunked lines": (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked" + _CHUNKED,
        400,
    ),
    "xchunked": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: xchunked" + _CHUNKED, 400),
    "comma chunked": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: ,chunked" + _CHUNKED, 400),
    "chunked comma": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked," + _CHUNKED, 400),
    "chunked with a parameter": (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked;a=b" + _CHUNKED,
        400,
    ),
    "quoted chunked": (b'POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: "chunked"' + _CHUNKED, 400),
    "vertical tab before chunked": (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: \x0bchunked" + _CHUNKED,
        400,
    ),
    "form feed after chunked": (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\x0c" + _CHUNKED,
        400,
    ),
    "no-break space before chunked": (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding:\xa0chunked" + _CHUNKED,
        400,
    ),
    "NUL after chunked": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\x00" + _CHUNKED, 400),
    "identity": (_post(b"transfer-encoding: identity"), 400),
    "an empty Transfer-Encoding": (_post(b"transfer-encoding:"), 400),
    "chunked, folded": (b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding:\r\n chunked" + _CHUNKED, 400),
    "chunked in HTTP/1.0": (b"POST /p HTTP/1.0\r\nhost: a.example\r\ntransfer-encoding: chunked" + _CHUNKED, 400),
    "space before the colon of chunked": (
        b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding : chunked" + _CHUNKED,
        400,
    ),
    # odd lengths
    "length with plus": (_post(b"content-length: +2"), 400),
    "length with minus": (_post(b"content-length: -2"), 400),
    "minus no length": (_post(b"content-length: -0"), 400),
    "length in hexadecimal": (_post(b"content-length: 0x2"), 400),
    "length with underscore": (_post(b"content-length: 1_0"), 400),
    "length with a point": (_post(b"content-length: 2.0"), 400),
    "length with exponent": (_post(b"content-length: 2e0"), 400),
    "an empty length": (_post(b"content-length:"), 400),
    "length beyond 2**63": (_post(b"content-length: 9223372036854775808"), 400),
    "length beyond 2**64": (_post(b"content-length: 18446744073709551618"), 400),
    "length with a space inside": (_post(b"content-length: 1 2"), 400),
    "length in other digits": (_post(b"content-length: \xd9\xa2"), 400),
    "quoted length": (_post(b'content-length: "2"'), 400),
    # line ends and control characters
    "bare LF after the request line": (b"GET /p HTTP/1.1\nhost: a.example\r\n\r\n", 400),
    "bare LF after a header": (_field(b"x-a: 1\nx-b: 2"), 400),
    "bare LF throughout": (b"GET /p HTTP/1.1\nhost: a.example\n\n", 400),
    "bare CR in a value": (_field(b"x-a: a\rb"), 400),
    "bare CR as line end": (b"GET /p HTTP/1.1\rhost: a.example\r\r", 400),
    "bare CR before the empty line": (_field(b"x-a: a\r"), 400),
    "NUL in a value": (_field(b"x-a: a\x00b"), 400),
    "NUL in a name": (_field(b"x-\x00a: b"), 400),
    "NUL at the beginning": (b"\x00GET /p HTTP/1.1\r\nhost: a.example\r\n\r\n", 400),
    "a control character in a value": (_field(b"x-a: a\x01b"), 400),
    "DEL in a value": (_field(b"x-a: a\x7fb"), 400),
    "a folded value": (_field(b"x-a: a\r\n b"), 400),
    "a value folded by a tab": (_field(b"x-a: a\r\n\tb"), 400),
    "a space before the first header": (b"GET /p HTTP/1.1\r\n host: a.example\r\nhost: a.example\r\n\r\n", 400),
    # header names
    "space before the colon": (_field(b"x-a : 1"), 400),
    "tab before the colon": (_field(b"x-a\t: 1"), 400),
    "a space in a name": (_field(b"x a: 1"), 400),
    "no name": (_field(b": 1"), 400),
    "no colon": (_field(b"x-a"), 400),
    "a parenthesis in a name": (_field(b"x(a): 1"), 400),
    "a name beyond ASCII": (_field(b"x-\xe9: 1"), 400),
    "a quotation mark in a name": (_field(b'x-"a": 1'), 400),
    # the request line
    "two spaces": (_line(b"GET  /p HTTP/1.1"), 400),
    "a tab": (_line(b"GET\t/p HTTP/1.1"), 400),
    "a trailing space": (_line(b"GET /p HTTP/1.1 "), 400),
    "a leading space": (_line(b" GET /p HTTP/1.1"), 400),
    "a space in the path": (_line(b"GET /a b HTTP/1.1"), 400),
    "a path beyond ASCII": (_line(b"GET /\xe9 HTTP/1.1"), 400),
    "a control character in the path": (_line(b"GET /\x01 HTTP/1.1"), 400),
    "a fragment": (_line(b"GET /p#x HTTP/1.1"), 400),
    "a fragment in an absolute target": (_line(b"GET http://a.example/p#x HTTP/1.1"), 400),
    "a target without slash": (_line(b"GET p HTTP/1.1"), 400),
    "an authority as target": (_line(b"GET a.example:80 HTTP/1.1"), 400),
    "a star without OPTIONS": (_line(b"GET * HTTP/1.1"), 400),
    "HTTP/0.9": (b"GET /p\r\n\r\n", 400),
    "HTTP/0.9 by number": (_line(b"GET /p HTTP/0.9"), 505),
    "HTTP/1.2": (_line(b"GET /p HTTP/1.2"), 505),
    "HTTP/2.0": (_line(b"GET /p HTTP/2.0"), 505),
    "HTTP/1.10": (_line(b"GET /p HTTP/1.10"), 505),
    "HTTP/01.1": (_line(b"GET /p HTTP/01.1"), 505),
    "a version in lower case": (_line(b"GET /p http/1.1"), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "an empty method": (_line(b" /p HTTP/1.1"), 400),
    "a method that is too long": (_line(b"G" * 65 + b" /p HTTP/1.1"), 400),
    "a method that is no token": (_line(b"G(T /p HTTP/1.1"), 400),
    "CONNECT": (_line(b"CONNECT a.example:443 HTTP/1.1"), 405),
    "CONNECT with a path": (_line(b"CONNECT / HTTP/1.1"), 405),
    "TRACE": (_line(b"TRACE /p HTTP/1.1"), 405),
    "TLS to a plain port": (bytes.fromhex("16030100c8010000c40303") + bytes(190), 400),
    # hosts
    "no Host": (b"GET /p HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (_line(b"GET /p HTTP/1.1", b"host: a.example\r\nhost: b.example\r\n"), 400),
    "the same Host twice": (_line(b"GET /p HTTP/1.1", b"host: a.example\r\nhost: a.example\r\n"), 400),
    "two Hosts in HTTP/1.0": (_line(b"GET /p HTTP/1.0", b"host: a.example\r\nhost: b.example\r\n"), 400),
    "an empty Host": (_line(b"GET /p HTTP/1.1", b"host:\r\n"), 400),
    "a list of Hosts": (_line(b"GET /p HTTP/1.1", b"host: a.example, b.example\r\n"), 400),
    "a user in Host": (_line(b"GET /p HTTP/1.1", b"host: u:p@a.example\r\n"), 400),
    "a path in Host": (_line(b"GET /p HTTP/1.1", b"host: a.example/x\r\n"), 400),
    "a port that is none in Host": (_line(b"GET /p HTTP/1.1", b"host: a.example:http\r\n"), 400),
    "a port too large in Host": (_line(b"GET /p HTTP/1.1", b"host: a.example:65536\r\n"), 400),
    "percent in Host": (_line(b"GET /p HTTP/1.1", b"host: a%2eexample\r\n"), 400),
    "empty label in Host": (_line(b"GET /p HTTP/1.1", b"host: a..example\r\n"), 400),
    "IPv4 in brackets": (_line(b"GET /p HTTP/1.1", b"host: [127.0.0.1]\r\n"), 400),
    "no IPv6 in brackets": (_line(b"GET /p HTTP/1.1", b"host: [::g]\r\n"), 400),
    "a target of another host": (_line(b"GET http://b.example/ HTTP/1.1"), 400),
    "a target of another port": (_line(b"GET http://a.example:81/ HTTP/1.1"), 400),
    "a target with a user": (_line(b"GET http://u@a.example/ HTTP/1.1"), 400),
    "a target of another scheme": (_line(b"GET ftp://a.example/ HTTP/1.1"), 400),
    "an absolute target and no Host": (b"GET http://a.example/ HTTP/1.1\r\n\r\n", 400),
    "an absolute target and an empty Host": (_line(b"GET http://a.example/ HTTP/1.1", b"host:\r\n"), 400),
    # sizes
    "too long a target": (_line(b"GET /" + b"a" * 16_384 + b" HTTP/1.1"), 414),
    "a target longer than a head": (_line(b"GET /" + b"a" * 80_000 + b" HTTP/1.1"), 414),
    "too large a head": (_field(b"x-a: " + b"a" * 65_536), 431),
    "too many headers": (_field(b"\r\n".join([b"x-a: 1"] * 100)), 431),
    # expectations
    "another expectation": (_post(b"expect: 200-ok\r\ncontent-length: 2"), 417),
    "more than one expectation": (_post(b"expect: 100-continue, x\r\ncontent-length: 2"), 417),
}

CHUNKED_HEAD: Final = b"POST /p HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n"

#: Bodies in the chunked coding that are refused with 400, each with a good end behind the fault.
BROKEN_BODIES: Final[dict[str, bytes]] = {
    "size in another notation": b"0x2\r\nhi\r\n0\r\n\r\n",
    "size with plus": b"+2\r\nhi\r\n0\r\n\r\n",
    "size with minus": b"-2\r\nhi\r\n0\r\n\r\n",
    "size with underscore": b"1_0\r\nhi\r\n0\r\n\r\n",
    "no size": b"\r\nhi\r\n0\r\n\r\n",
    "size that is none": b"zz\r\nhi\r\n0\r\n\r\n",
    "size beyond 60 bits": b"1000000000000002\r\nhi\r\n0\r\n\r\n",
    "size beyond 64 bits": b"10000000000000002\r\nhi\r\n0\r\n\r\n",
    "space before the size": b" 2\r\nhi\r\n0\r\n\r\n",
    "space after the size": b"2 \r\nhi\r\n0\r\n\r\n",
    "bare LF after the size": b"2\nhi\r\n0\r\n\r\n",
    "bare CR after the size": b"2\rhi\r\n0\r\n\r\n",
    "bare LF after the data": b"2\r\nhi\n0\r\n\r\n",
    "data longer than the size": b"2\r\nhix\r\n0\r\n\r\n",
    "data shorter than the size": b"3\r\nhi\r\n0\r\n\r\n",
    "bare LF in an extension": b"2;a\nb\r\nhi\r\n0\r\n\r\n",
    "bare CR in an extension": b"2;a=\rb\r\nhi\r\n0\r\n\r\n",
    "bare LF in a quoted extension": b'2;a="\n"\r\nhi\r\n0\r\n\r\n',
    "an open quotation in an extension": b'2;a="b\r\nhi\r\n0\r\n\r\n',
    "NUL in an extension": b"2;a\x00\r\nhi\r\n0\r\n\r\n",
    "an extension without a name": b"2;=a\r\nhi\r\n0\r\n\r\n",
    "an endless extension": b"2;a=" + b"b" * 300 + b"\r\nhi\r\n0\r\n\r\n",
    "a terminator by extension": b"0;\n\r\n\r\n",
    "bare LF at the end": b"0\n\n\r\n\r\n",
    "bare LF in a trailer": b"0\r\nx-a: 1\nx-b: 2\r\n\r\n",
    "a folded trailer": b"0\r\nx-a: 1\r\n b\r\n\r\n",
    "a trailer without colon": b"0\r\nx-a\r\n\r\n",
    "space before a trailer's colon": b"0\r\nx-a : 1\r\n\r\n",
    "NUL in a trailer": b"0\r\nx-a: \x00\r\n\r\n",
    "trailers without end": b"0\r\n" + b"x-a: 1\r\n" * 3000 + b"\r\n",
}
