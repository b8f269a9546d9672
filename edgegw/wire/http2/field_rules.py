"""Fields of HTTP/2 messages to heads, strictly (RFC 9113 §8.2 and §8.3).

The heads are those of HTTP/1.1, so that whatever works on those works on these: ``:authority`` stands among the
fields as ``host``, cookie crumbs are joined, and each field has its line.  Nothing that could not stand in an
HTTP/1.1 head gets into one.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

from edgegw.wire import http1
from edgegw.wire.http1 import CHUNKED, MAX_METHOD, UNTIL_CLOSE, Field

from .hpack_decoder import Entry
from .limits import Limits

__all__ = [
    "FORBIDDEN", "MalformedMessage", "RequestHead", "ResponseHead", "TooManyFields", "judge", "read_request",
    "read_response", "read_trailers",
]

#: What says something of an HTTP/1.1 connection, and must not be in an HTTP/2 message (RFC 9113 §8.2.2).
FORBIDDEN = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

# What a field is.  Every pseudo-header is above the regular ones.
_MALFORMED = -1
_PLAIN, _LENGTH, _HOST, _COOKIE, _EXPECT, _TE = range(6)
_METHOD, _SCHEME, _AUTHORITY, _PATH, _PROTOCOL, _STATUS = range(10, 16)

_KINDS = {
    b":method": _METHOD, b":scheme": _SCHEME, b":authority": _AUTHORITY, b":path": _PATH, b":protocol": _PROTOCOL,
    b":status": _STATUS, b"content-length": _LENGTH, b"host": _HOST, b"cookie": _COOKIE, b"expect": _EXPECT,
    b"te": _TE, **dict.fromkeys(FORBIDDEN, _MALFORMED),
}
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_DIGITS = re.compile(rb"[0-9]{1,15}")
#: What the value of a pseudo-header, and of ``host``, looks like.
_SHAPES = {
    _METHOD: _TOKEN,
    _SCHEME: re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*"),
    # Without user information (RFC 9113 §8.3.1); whether it is a name is found out where it is looked up.
    _AUTHORITY: re.compile(rb"[!$-.0-;=A-\[\]_a-z~]+"),
    _HOST: re.compile(rb"[!$-.0-;=A-\[\]_a-z~]+"),
    _PATH: re.compile(rb"/[!\x22$-~]*|\*"),
    # As in Upgrade (RFC 9110 §7.8): a name, perhaps with a version.
    _PROTOCOL: re.compile(_TOKEN.pattern + rb"(?:/" + _TOKEN.pattern + rb")?"),
    _STATUS: re.compile(rb"[1-9][0-9]{2}"),
    _LENGTH: _DIGITS,
}
_DETAILS = "a field name or value outside the grammar, or a field of HTTP/1.1 connections"


class MalformedMessage(ValueError):
    """A message that RFC 9113 §8.1.1 calls malformed."""


class TooManyFields(ValueError):
    """More fields or cookie crumbs than the limits allow."""


class RequestHead(http1.RequestHead):
    """A request's head as HTTP/1.1 has it, and what only HTTP/2 has.

    ``fields`` begin with ``host``; ``block`` is made of their lines, and is the same object as the one of the
    head before if the fields are equal.  ``length`` is ``CHUNKED`` where a body follows without ``content-length``;
    ``block`` says so as it would over HTTP/1.1, so that requests whose framing differs never have the same.

    :ivar scheme: as it was sent; empty for plain CONNECT.
    :ivar protocol: ``:protocol`` of an extended CONNECT (RFC 8441), otherwise empty.
    """

    __slots__ = ("expects_other", "protocol", "scheme")

    def __init__(self, method: bytes, target: bytes, fields: list[Field], block: bytes, size: int) -> None:
        super().__init__(method, target, 2, fields, block, size)
        self.expects_other = False
        self.scheme = b""
        self.protocol = b""


class ResponseHead(http1.ResponseHead):
    """A response's head as HTTP/1.1 has it, without a reason phrase; ``raw`` is empty."""

    __slots__ = ()


def judge(name: bytes, value: bytes) -> int:
    """Say what a field is by its name, and whether its value can be one."""
    kind = _KINDS.get(name)
    if kind is None:
        if _NAME.fullmatch(name) is None:
            return _MALFORMED
        kind = _PLAIN
    shape = _SHAPES.get(kind)
    if shape is not None:
        return kind if shape.fullmatch(value) is not None else _MALFORMED
    if value and (_VALUE.fullmatch(value) is None or value[0] in b" \t" or value[-1] in b" \t"):
        return _MALFORMED
    return kind


def read_request(entries: Sequence[Entry], ended: bool, limits: Limits, previous: RequestHead | None) -> RequestHead:
    """Make a request's head of its fields.

    :param previous: a head of the same connection: mostly all but the path is as in that one.
    :raises MalformedMessage:
    :raises TooManyFields:
    """
    method = scheme = path = authority = protocol = host = b""
    fields: list[Field] = []
    lines: list[bytes] = []
    crumbs: list[bytes] | None = None
    length = UNTIL_CLOSE
    expects = expects_other = regular = False
    size = 0
    for one, kind, bytes_ in entries:
        size += bytes_
        if kind == _PLAIN:
            regular = True
            fields.append(one)
            lines.append(one[2])
        elif kind >= _METHOD:
            if regular:
                raise MalformedMessage("a pseudo-header after a regular one")
            value = one[1]
            if kind == _METHOD and not method:
                method = value
            elif kind == _PATH and not path:
                path = value
            elif kind == _AUTHORITY and not authority:
                authority = value
            elif kind == _SCHEME and not scheme:
                scheme = value
            elif kind == _PROTOCOL and not protocol and limits.extended_connect:
                protocol = value
            else:
                raise MalformedMessage("a pseudo-header twice, or one that is none of a request")
        elif kind == _MALFORMED:
            raise MalformedMessage(_DETAILS)
        else:
            regular = True
            value = one[1]
            if kind == _COOKIE:
                if crumbs is None:
                    crumbs = []
                crumbs.append(value)
                continue
            if kind == _HOST:
                if host:
                    raise MalformedMessage("two Host headers")
                host = value
                continue
            if kind == _LENGTH:
                if length != UNTIL_CLOSE:
                    raise MalformedMessage("more than one Content-Length")
                length = int(value)
            elif kind == _EXPECT:
                if value.lower() == b"100-continue":
                    expects = True
                else:
                    expects_other = True
            elif value.lower() != b"trailers":
                raise MalformedMessage("a TE other than trailers")
            fields.append(one)
            lines.append(one[2])
    if not authority:
        authority = host
    elif host and host.lower() != authority.lower():
        raise MalformedMessage(":authority and Host differ")
    _check_request_line(method, scheme, path, authority, protocol)
    if crumbs is not None:
        if len(crumbs) > limits.max_cookie_crumbs:
            raise TooManyFields(f"{len(crumbs)} cookie crumbs")
        value = b"; ".join(crumbs)
        line = b"cookie: %b\r\n" % value
        fields.append((b"cookie", value, line))
        lines.append(line)
    if len(fields) > limits.max_fields:
        raise TooManyFields(f"{len(fields)} fields")
    if ended and length > 0:
        raise MalformedMessage("a Content-Length where no body is")
    line = b"host: %b\r\n" % authority
    if not ended and length == UNTIL_CLOSE:
        length = CHUNKED
        lines.append(b"transfer-encoding: chunked\r\n")
    block = b"%b%b\r\n" % (line, b"".join(lines))
    if previous is not None and previous.block == block:
        fields, block = previous.fields, previous.block
    else:
        fields.insert(0, (b"host", authority, line))
    head = RequestHead(method, path, fields, block, size)
    head.host = authority
    head.scheme = scheme
    head.protocol = protocol
    head.length = 0 if ended else length
    # RFC 9110 §10.1.1: where there is no body there is nothing to wait for.
    head.expects_continue = expects and head.length != 0
    head.expects_other = expects_other
    return head


def _check_request_line(method: bytes, scheme: bytes, path: bytes, authority: bytes, protocol: bytes) -> None:
    if not method or len(method) > MAX_METHOD:
        raise MalformedMessage("no :method, or a long one")
    if method == b"CONNECT":
        # RFC 9113 §8.5, RFC 8441 §4
        if not authority or bool(scheme or path) != bool(protocol) or (protocol and not (scheme and path)):
            raise MalformedMessage("a CONNECT without :authority, or with the pseudo-headers of another form of it")
        if protocol and path == b"*":
            raise MalformedMessage("an extended CONNECT to *")
        return
    if protocol:
        raise MalformedMessage(":protocol without CONNECT")
    if not scheme or not path or not authority:
        raise MalformedMessage("no :scheme, :path or :authority")
    if path == b"*" and method != b"OPTIONS":
        raise MalformedMessage("the path * without OPTIONS")


def read_response(entries: Sequence[Entry], limits: Limits) -> ResponseHead:
    """Make a response's head of its fields.

    :raises MalformedMessage:
    :raises TooManyFields:
    """
    status = 0
    fields: list[Field] = []
    length = UNTIL_CLOSE
    for one, kind, _ in entries:
        if kind >= _METHOD:
            if fields or status or kind != _STATUS:
                raise MalformedMessage("a pseudo-header that is none of a response, twice, or after a regular one")
            status = int(one[1])
            continue
        if kind == _MALFORMED:
            raise MalformedMessage(_DETAILS)
        if kind == _LENGTH:
            if length != UNTIL_CLOSE:
                raise MalformedMessage("more than one Content-Length")
            length = int(one[1])
        fields.append(one)
    if not status or status == 101:
        raise MalformedMessage("no :status, or 101")
    if len(fields) > limits.max_fields + limits.max_cookie_crumbs:
        raise TooManyFields(f"{len(fields)} fields")
    head = ResponseHead(status, b"", 2, fields, b"")
    head.length = length
    return head


def read_trailers(entries: Sequence[Entry], limits: Limits) -> list[Field]:
    """Give the fields of trailers.

    :raises MalformedMessage:
    :raises TooManyFields:
    """
    if any(kind >= _METHOD or kind == _MALFORMED for _, kind, _ in entries):
        raise MalformedMessage("a pseudo-header in trailers, or " + _DETAILS)
    if len(entries) > limits.max_fields:
        raise TooManyFields(f"{len(entries)} trailers")
    return [one for one, _, _ in entries]
