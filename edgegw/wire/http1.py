"""HTTP/1.1 heads and bodies: bytes to values, strictly (RFC 9112).

A head is taken as a whole by one regular expression that spells out the grammar, with possessive
repetitions so that nothing a peer sends makes it look twice.  What the grammar does not contain
does not pass: bare LF and CR, NUL, folded lines, spaces in names or before the colon.  Nothing is
repaired: two parsers that repair differently are how requests are smuggled.

Contract of the parsers: a value, ``None`` for "more bytes are needed", or :class:`HTTPFault`.
"""
from __future__ import annotations

import re
from functools import lru_cache

from edgegw.names import canonical_authority

__all__ = [
    "CHUNKED",
    "EMPTY_LINES",
    "Field",
    "HTTPFault",
    "RequestHead",
    "ResponseHead",
    "UNTIL_CLOSE",
    "parse_request_head",
    "parse_response_head",
    "read_fields",
]

#: A header line: lower-case name, value without surrounding white space, the line as it came with its CRLF.
Field = tuple[bytes, bytes, bytes]

#: Bytes of a method; the longest that is registered has 17.
MAX_METHOD = 64

#: Body lengths that are not a number of bytes.
CHUNKED = -1
UNTIL_CLOSE = -2

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]"
_FIELDS = rb"((?:" + _TOKEN + rb"++:" + _VALUE + rb"*+\r\n)*+)\r\n"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"++) ([\x21-\x7e]++) HTTP/1\.([01])\r\n")
_REQUEST_LINE_AND_HOST = re.compile(_REQUEST_LINE.pattern + rb"([Hh]ost:[ \t]*+([!-~]++)\r\n)")
_REQUEST = re.compile(_REQUEST_LINE.pattern + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + _VALUE + rb"*+))?\r\n" + _FIELDS)
#: What a client may send before a request line (RFC 9112 §2.2).
EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
# Finds the header lines of a block that has matched the grammar: ``(line, name, value)``.
_FIELD = re.compile(rb"(([^:]++):[ \t]*+([^\r]*+)\r\n)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]+)([/?].*)?", re.IGNORECASE)

# Headers that this module reads itself; everything else only passes through.
_HOST, _CONTENT_LENGTH, _TRANSFER_ENCODING, _CONNECTION, _EXPECT = range(5)
_READ = {
    b"host": _HOST,
    b"content-length": _CONTENT_LENGTH,
    b"transfer-encoding": _TRANSFER_ENCODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
}


class HTTPFault(Exception):
    """A message that is not taken.

    :ivar status: what a request with this fault is answered with; for a response it means nothing.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class RequestHead:
    """A request's line and headers.

    :ivar target: origin-form (``/path?query``) or ``*``.
    :ivar host: the authority that was asked for, as it was written; empty only in HTTP/1.0.
    :ivar version: 0 for HTTP/1.0, 1 for HTTP/1.1, 2 for HTTP/2.
    :ivar fields: every header line, in order, those of framing included.
    :ivar options: what ``Connection`` names, lower-case.
    :ivar length: bytes of the body, or :data:`CHUNKED`; 0 for none.
    :ivar keep_alive: whether the client wants to send another request afterwards.
    :ivar expects_continue: whether it waits for 100 before it sends the body.
    :ivar expects_other: whether it expects anything else (417); only HTTP/2 gives such heads out.
    :ivar size: bytes of the head.
    :ivar block: the header lines as they came, with the empty line that ends them; empty where ``host``
        is not from them.
    :ivar rest: what of them comes behind ``Host``, if that is the first one; otherwise empty.
    """

    __slots__ = (
        "block", "expects_continue", "fields", "host", "keep_alive", "length", "method", "options", "rest", "size",
        "target", "version",
    )

    expects_other = False

    def __init__(
        self, method: bytes, target: bytes, version: int, fields: list[Field], block: bytes, size: int
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.block = block
        self.rest = b""
        self.size = size
        self.host = b""
        self.options: frozenset[bytes] = _NO_OPTIONS
        self.length = 0
        self.keep_alive = version > 0
        self.expects_continue = False

    def again(self, method: bytes, target: bytes, size: int) -> RequestHead:
        """Give the head of a request with the same header lines but another request line."""
        head = RequestHead.__new__(RequestHead)
        head.method = method
        head.target = target
        head.size = size
        head.version = self.version
        head.fields = self.fields
        head.block = self.block
        head.rest = self.rest
        head.host = self.host
        head.options = self.options
        head.length = self.length
        head.keep_alive = self.keep_alive
        head.expects_continue = self.expects_continue
        return head

    def values(self, name: bytes) -> list[bytes]:
        """Give the values of a header by its lower-case name, in order."""
        return [value for field, value, _ in self.fields if field == name]


_NO_OPTIONS: frozenset[bytes] = frozenset()


def parse_request_head(
    data: bytes, max_bytes: int, max_fields: int, max_target: int, previous: RequestHead | None = None, seen: int = 0
) -> RequestHead | None:
    """Read a request's head from the beginning of ``data``.

    :param previous: a head that came before it, from whomever.  Clients mostly repeat header lines byte
        for byte, and then nothing of them has to be read again.
    :param seen: how many of the first bytes ``None`` was given for before; they are not looked at again.
    :raises HTTPFault: with 400 for anything out of the grammar or with doubtful framing, 414, 431,
        417 for an unknown expectation, 505 for another version than HTTP/1.x.
    """
    end = data.find(b"\r\n\r\n", seen - 3 if seen > 3 else 0) + 4
    if end == 3:
        _judge_incomplete(data, max_bytes, max_target, seen)
        return None
    if end > max_bytes:
        raise _too_long(data, end, max_target)
    if previous is not None and data.endswith(previous.block, 0, end):
        # The block is all of what follows the request line, if that is one whole line.
        match = _REQUEST_LINE.match(data)
        if match is not None and match.end() == end - len(previous.block):
            method, target, minor = match.groups()
            if target[0] == 47 and b"#" not in target and len(target) <= max_target and (
                previous.version == (minor == b"1") and len(method) <= MAX_METHOD
            ):
                return previous.again(method, target, end)
    if previous is not None and previous.rest and data.endswith(previous.rest, 0, end):
        head = _with_another_host(data, end, max_target, previous)
        if head is not None:
            return head
    match = _REQUEST.match(data)
    if match is None or match.end() != end:
        raise _explain(data[:end])
    method, target, minor, block = match.groups()
    if len(target) > max_target:
        raise HTTPFault(414, f"a request target of {len(target)} bytes")
    if len(method) > MAX_METHOD:
        raise HTTPFault(400, f"a method of {len(method)} bytes")
    fields = read_fields(block)
    if len(fields) > max_fields:
        raise HTTPFault(431, f"{len(fields)} header lines")
    head = RequestHead(method, target, 1 if minor == b"1" else 0, fields, block + b"\r\n", end)
    hosts = 0
    lengths: list[bytes] | None = None
    encodings: list[bytes] | None = None
    for name, value, _ in fields:
        kind = _READ.get(name)
        if kind is None:
            continue
        if kind == _HOST:
            hosts += 1
            head.host = value
        elif kind == _CONTENT_LENGTH:
            lengths = [*(lengths or ()), value]
        elif kind == _TRANSFER_ENCODING:
            encodings = [*(encodings or ()), value]
        elif kind == _CONNECTION:
            options = _options(value)
            head.options = head.options | options if head.options else options
        elif value.lower() != b"100-continue":
            raise HTTPFault(417, "an expectation other than 100-continue")
        elif head.version:
            head.expects_continue = True
    if hosts != 1 and (hosts or head.version):
        raise HTTPFault(400, f"{hosts} Host headers")
    if hosts and not head.host:
        raise HTTPFault(400, "an empty Host")
    if hosts and fields[0][0] == b"host":
        head.rest = head.block[len(fields[0][2]) :]
    if not target.startswith(b"/"):
        _set_target(head)
    elif b"#" in target:
        raise HTTPFault(400, "a fragment in the request target")
    if lengths is not None or encodings is not None:
        head.length = _request_length(head, lengths, encodings)
    if head.options:
        head.keep_alive = b"close" not in head.options and (head.keep_alive or b"keep-alive" in head.options)
    return head


def _with_another_host(data: bytes, end: int, max_target: int, previous: RequestHead) -> RequestHead | None:
    """Give the head of a request whose header lines but the first, which is ``Host``, are those of the one before.

    Clients with one connection for many hosts send such requests, and so do many clients of one kind.

    :param end: of the head in ``data``.
    """
    match = _REQUEST_LINE_AND_HOST.match(data)
    if match is None or match.end() != end - len(previous.rest):
        return None
    method, target, minor, line, host = match.groups()
    if target[0] != 47 or b"#" in target or len(target) > max_target or len(method) > MAX_METHOD or (
        previous.version != (minor == b"1")
    ):
        return None
    head = previous.again(method, target, end)
    head.host = host
    head.fields = [(b"host", host, line), *previous.fields[1:]]
    head.block = line + previous.rest
    return head


def read_fields(block: bytes) -> list[Field]:
    """Take header or trailer lines apart that have matched the grammar."""
    return [(name.lower(), value.rstrip(b" \t"), line) for line, name, value in _FIELD.findall(block)]


def _options(value: bytes) -> frozenset[bytes]:
    # Nearly always one of a few short values; long ones are not kept.
    return _known_options(value) if len(value) <= 64 else _read_options(value)


@lru_cache(maxsize=256)
def _known_options(value: bytes) -> frozenset[bytes]:
    return _read_options(value)


def _read_options(value: bytes) -> frozenset[bytes]:
    return frozenset(option.strip(b" \t").lower() for option in value.split(b",")) - {b""}


def _request_length(head: RequestHead, lengths: list[bytes] | None, encodings: list[bytes] | None) -> int:
    """Give the body's length by RFC 9112 §6.3, or refuse what could be read in two ways."""
    if encodings is not None:
        if lengths is not None:
            raise HTTPFault(400, "Content-Length beside Transfer-Encoding")
        if head.version == 0:
            raise HTTPFault(400, "Transfer-Encoding in HTTP/1.0")
        if len(encodings) != 1 or encodings[0].lower() != b"chunked":
            raise HTTPFault(400, "a Transfer-Encoding other than chunked")
        return CHUNKED
    assert lengths is not None
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
        raise HTTPFault(400, "not one plain Content-Length")
    return int(lengths[0])


def _set_target(head: RequestHead) -> None:
    """Bring absolute-form to origin-form; it must name the host that Host names (RFC 9112 §3.2)."""
    if head.target == b"*":
        if head.method != b"OPTIONS":
            raise HTTPFault(400, "the target * without OPTIONS")
        return
    if head.method == b"CONNECT":
        return
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None or b"#" in head.target:
        raise HTTPFault(400, "a request target that is neither a path nor an http URI")
    authority = match[2]
    if canonical_authority(authority) is None or (head.host and head.host.lower() != authority.lower()):
        raise HTTPFault(400, "a request target that names another host or port than Host")
    if not head.host:
        head.host = authority
        head.block = b""  # the host is not in the header lines: they say nothing of another request
    rest = match[3] or (b"*" if head.method == b"OPTIONS" else b"/")
    if rest == b"*":
        head.target = rest  # RFC 9112 §3.2.4
        return
    head.target = rest if rest.startswith(b"/") else b"/" + rest


def _judge_incomplete(data: bytes, max_bytes: int, max_target: int, seen: int) -> None:
    """Refuse early what can no longer become a head that is taken."""
    if len(data) > max_target + _LINE_BESIDES and b"\r\n" not in data:
        raise HTTPFault(414, "a request line without an end")
    if len(data) > max_bytes:
        raise _too_long(data, len(data), max_target)
    if seen:
        data = data[seen - 1 if data[seen - 1] == 13 else seen :]
    if _has_bare(data):
        raise HTTPFault(400, "a bare CR or LF, or a NUL")


#: Bytes of a request line beside its target: the method, the version and two spaces.
_LINE_BESIDES = 64


def _too_long(data: bytes, size: int, max_target: int) -> HTTPFault:
    if data.find(b"\r\n", 0, max_target + _LINE_BESIDES + 2) < 0:
        return HTTPFault(414, "a request line without an end")
    return HTTPFault(431, f"a request head of {size} bytes or more")


def _has_bare(data: bytes) -> bool:
    """Whether there is a CR without LF, a LF without CR, or a NUL; a CR at the end may yet get its LF."""
    pairs = data.count(b"\r\n")
    return data.count(b"\n") != pairs or data.count(b"\r") - data.endswith(b"\r") != pairs or b"\x00" in data


_LINE = re.compile(rb"([^ ]*) ([^ ]*) (HTTP/[^ ]*)")


def _explain(head: bytes) -> HTTPFault:
    """Say what is wrong with a head that does not match the grammar."""
    line, _, rest = head.partition(b"\r\n")
    if _has_bare(head):
        return HTTPFault(400, "a bare CR or LF, or a NUL")
    match = _LINE.fullmatch(line)
    if match is None:
        return HTTPFault(400, "a request line that is not method, target and version with one space between")
    if match[3] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return HTTPFault(505, "a version other than HTTP/1.1 and HTTP/1.0")
    if rest.startswith((b" ", b"\t")) or b"\r\n " in rest or b"\r\n\t" in rest:
        return HTTPFault(400, "a folded header line")
    return HTTPFault(400, "a header line or request line outside the grammar")


class ResponseHead:
    """A response's status line and headers.

    :ivar version: 0 for HTTP/1.0, 1 for HTTP/1.1, 2 for HTTP/2.
    :ivar length: bytes of the body as the headers frame it, :data:`CHUNKED` or :data:`UNTIL_CLOSE`.
        Whether there is a body at all depends on the request and the status too.
    :ivar keep_alive: whether the connection can carry another exchange.
    :ivar raw: the whole head as it came.
    :ivar forward: a place for whoever makes the client's header lines of it to keep them, with whose rules
        made them.
    :ivar pairs: the same for HTTP/2: whose rules made them, what they say of the length, and the fields.
    """

    __slots__ = ("fields", "forward", "keep_alive", "length", "options", "pairs", "raw", "reason", "status", "version")

    def __init__(self, status: int, reason: bytes, version: int, fields: list[Field], raw: bytes) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.fields = fields
        self.raw = raw
        self.forward: tuple[object, bytes] | None = None
        self.pairs: tuple[object, int, tuple[tuple[bytes, bytes], ...]] | None = None
        self.options: frozenset[bytes] = _NO_OPTIONS
        self.length = UNTIL_CLOSE
        self.keep_alive = version > 0


def parse_response_head(
    data: bytes, max_bytes: int, max_fields: int, previous: ResponseHead | None = None
) -> ResponseHead | None:
    """Read an upstream's response head from the beginning of ``data``.

    :param previous: the head before it on the same connection; it is given back where the same bytes
        came again.
    :raises HTTPFault: the upstream does not speak HTTP/1.x, or its framing is doubtful.
    """
    if previous is not None and data.startswith(previous.raw):
        return previous
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        if len(data) > max_bytes:
            raise HTTPFault(502, "no end of the response head")
        if not b"HTTP/1.".startswith(data[:7]):
            raise HTTPFault(502, "not an HTTP/1.x response")
        return None
    match = _RESPONSE.match(data)
    if match is None or match.end() != end or end > max_bytes:
        raise HTTPFault(502, "a response head outside the grammar or too long")
    minor, status, reason, block = match.groups()
    fields = read_fields(block)
    if len(fields) > max_fields:
        raise HTTPFault(502, f"{len(fields)} header lines")
    head = ResponseHead(int(status), reason or b"", 1 if minor == b"1" else 0, fields, data[:end])
    length: bytes | None = None
    encoding: bytes | None = None
    for name, value, _ in fields:
        kind = _READ.get(name)
        if kind is None:
            continue
        if kind == _CONTENT_LENGTH:
            if length is not None or not _LENGTH.fullmatch(value):
                raise HTTPFault(502, "not one plain Content-Length")
            length = value
        elif kind == _TRANSFER_ENCODING:
            if encoding is not None or value.lower() != b"chunked" or not head.version:
                raise HTTPFault(502, "a Transfer-Encoding other than chunked, or in HTTP/1.0")
            encoding = value
        elif kind == _CONNECTION:
            options = _options(value)
            head.options = head.options | options if head.options else options
    if encoding is not None:
        if length is not None:
            raise HTTPFault(502, "Content-Length beside Transfer-Encoding")
        head.length = CHUNKED
    elif length is not None:
        head.length = int(length)
    if head.options:
        head.keep_alive = b"close" not in head.options and (head.keep_alive or b"keep-alive" in head.options)
    return head
