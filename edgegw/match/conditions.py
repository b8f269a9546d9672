"""What a match demands beyond host name and path: method, headers, query and the client's identity."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from edgegw.expressions import compile_expression
from edgegw.identity import CertificateStatus, ConnectionInfo, fact
from edgegw.model import HeaderMatch, IdentityMatch, QueryParamMatch, RouteMatch, ValueMatchType

__all__ = ["Conditions", "RequestHead", "RequestParts", "conditions_of"]

#: Lower-case name, value, and the whole line.
Field = tuple[bytes, bytes, bytes]
Test = Callable[[bytes], bool]

_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_ATTRIBUTE: Final = "attribute:"
#: Facts that are several names: one of them is enough.
_LISTS: Final = frozenset({"uris", "dns_names", "emails", "ip_addresses"})


class RequestHead(Protocol):
    """What is read of a request; :class:`edgegw.wire.http1.RequestHead`."""

    @property
    def method(self) -> bytes:
        """As it was sent."""

    @property
    def target(self) -> bytes:
        """The path with the query."""

    @property
    def fields(self) -> Sequence[Field]:
        """Every header line."""


class RequestParts:
    """A request taken apart as far as conditions ask, each part once.

    :param info: what is known of the client; ``None`` meets no condition on the identity.
    """

    __slots__ = ("_headers", "_info", "_query", "_target", "fields", "method")

    def __init__(self, head: RequestHead, info: ConnectionInfo | None) -> None:
        self.method = head.method
        self.fields = head.fields
        self._target = head.target
        self._info = info
        self._headers: dict[bytes, list[bytes]] | None = None
        self._query: dict[bytes, bytes] | None = None

    @property
    def headers(self) -> dict[bytes, list[bytes]]:
        """The values of each header by its lower-case name, line by line."""
        headers = self._headers
        if headers is None:
            headers = self._headers = {}
            for name, value, _ in self.fields:
                headers.setdefault(name, []).append(value)
        return headers

    @property
    def query(self) -> dict[bytes, bytes]:
        """The first value of each parameter, decoded as HTML forms are: ``+`` is a space.

        A parameter without ``=`` has an empty value.  What is no percent-encoding stands for itself.
        """
        query = self._query
        if query is None:
            query = self._query = {}
            for pair in self._target.partition(b"?")[2].split(b"&"):
                name, _, value = pair.partition(b"=")
                if pair:
                    query.setdefault(_decoded(name), _decoded(value))
        return query

    def identity(self, name: str) -> Sequence[str]:
        """Give what a fact says of the client; nothing where it is empty."""
        info = self._info
        if info is None:
            return ()
        if name.startswith(_ATTRIBUTE):
            # What policies said of a client that is not verified was said of a claim.
            verified = info.identity.status is CertificateStatus.VERIFIED
            value = info.attributes.get(name.removeprefix(_ATTRIBUTE), "") if verified else ""
            return (value,) if value else ()
        value = fact(info, name)
        if name == "dns_names":
            value = value.lower()
        return () if not value else value.split(",") if name in _LISTS else (value,)


def _decoded(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return _ENCODED.sub(_byte, text) if b"%" in text else text


def _byte(encoded: re.Match[bytes]) -> bytes:
    return bytes((int(encoded[1], 16),))


class Conditions:
    """The conditions of one match beyond its path.

    :ivar rank: orders those of one path, the lowest first (Gateway API, HTTPRouteRule.matches): with a method, then the
        most headers, the most query parameters and the most facts of the identity.
    """

    __slots__ = ("_headers", "_identity", "_method", "_query", "rank")

    def __init__(self, match: RouteMatch) -> None:
        self._method = None if match.method is None else match.method.encode("ascii")
        # Of several for one name the first alone counts (Gateway API, HTTPRouteMatch).
        self._headers = _first_of_each((one.name.encode("ascii"), _test(one)) for one in match.headers)
        self._query = _first_of_each((one.name.encode("utf-8"), _test(one)) for one in match.query_params)
        self._identity = [(one.fact, _test(one)) for one in match.identity]
        self.rank = (self._method is None, -len(self._headers), -len(self._query), -len(self._identity))

    def hold(self, request: RequestParts) -> bool:
        """Whether a request meets all of them."""
        if self._method is not None and request.method != self._method:
            return False
        if self._headers:
            headers = request.headers
            for name, test in self._headers:
                if not any(map(test, headers.get(name, ()))):
                    return False
        if self._query:
            query = request.query
            for name, test in self._query:
                value = query.get(name)
                if value is None or not test(value):
                    return False
        return all(
            any(test(value.encode("utf-8", "backslashreplace")) for value in request.identity(fact))
            for fact, test in self._identity
        )


def conditions_of(match: RouteMatch) -> Conditions | None:
    """Give what a match demands beyond host name and path; ``None`` where that is nothing."""
    if match.method is None and not (match.headers or match.query_params or match.identity):
        return None
    return Conditions(match)


def _first_of_each(named: Iterable[tuple[bytes, Test]]) -> list[tuple[bytes, Test]]:
    found: dict[bytes, Test] = {}
    for name, test in named:
        found.setdefault(name, test)
    return list(found.items())


def _test(match: HeaderMatch | QueryParamMatch | IdentityMatch) -> Test:
    if match.type is ValueMatchType.PRESENT or match.value is None:
        return _anything
    if match.type is ValueMatchType.EXACT:
        value = match.value
        if isinstance(match, IdentityMatch) and match.fact == "dns_names":
            value = value.lower()
        return value.encode("utf-8").__eq__
    fullmatch: Any = compile_expression(match.value).fullmatch
    return lambda value: fullmatch(value) is not None


def _anything(value: bytes) -> bool:
    return True
