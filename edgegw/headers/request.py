"""What of a request's headers goes to the upstream, and what the gateway adds.

The order is the security of it: first everything is taken out that only the gateway may say, in
every spelling and whatever ``Connection`` names, then the gateway's own is added.  It is the same on
every listener, with client certificates or without.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from edgegw.identity import ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import Forwarding, UnderscoreAction

from .plugin import InjectorFailed
from .value import ValueTooLargeError
from .via import via_line

__all__ = ["ConnectionHeaders", "HeaderRefusal", "IDENTITY_HEADERS", "RequestHeaders", "forwarded_host"]

#: A header line: lower-case name, value, the line as it came.
Field = tuple[bytes, bytes, bytes]

#: Headers in which gateways tell who the client is: never a client's to send, whatever injectors there are.
IDENTITY_HEADERS = frozenset({b"x-forwarded-client-cert", b"client-cert", b"client-cert-chain", b"x-client-cert"})
_IDENTITY_PREFIXES = (b"x-ssl-client-", b"ssl-client-")

#: RFC 9110 §7.6.1, and what only this hop's framing and authentication are made of.
_HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings",
    b"proxy-authorization", b"proxy-authenticate", b"content-length", b"host", b"expect",
})
#: Claims about the way a request came; a trusted proxy's are kept.
_WAY = frozenset({b"forwarded", b"x-real-ip", b"x-request-id", b"via"})
_WAY_PREFIX = b"x-forwarded-"

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class HeaderRefusal(Exception):
    """A request that is answered instead of forwarded.

    :ivar status: 400 or 431 for the client's fault, 500 for an injector's.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class RequestHeaders:
    """The header rules of one listener.

    :param owned_anywhere: the names that injectors of any listener own: an upstream may be reached
        through several listeners, and believes such a header whichever it came through.
    """

    def __init__(
        self,
        forwarding: Forwarding,
        injectors: Sequence[IHeaderInjector],
        owned_anywhere: Iterable[bytes],
        scheme: bytes,
    ) -> None:
        self.forwarding = forwarding
        self.injectors = tuple(injectors)
        self.scheme = scheme
        self.owned = frozenset(name for injector in injectors for name in injector.owned)
        names = IDENTITY_HEADERS | frozenset(owned_anywhere) | self.owned
        # An injector may own x_client: many upstreams read X-Client as the same.
        self.identity = names | {name.replace(b"_", b"-") for name in names}
        self.refuse_underscores = forwarding.underscores is UnderscoreAction.REFUSE
        self.via = None if forwarding.via is None else forwarding.via.encode("ascii")

    def trusts(self, peer: str) -> bool:
        """Whether what this peer says of the way a request came is believed."""
        networks = self.forwarding.trusted_proxies
        if not networks:
            return False
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in networks)

    def for_connection(self, info: ConnectionInfo) -> ConnectionHeaders:
        """Give the rules for one connection's requests.

        :raises HeaderRefusal: an injector failed; every request of the connection deserves it.
        """
        return ConnectionHeaders(self, info)


class ConnectionHeaders:
    """The header rules for the requests of one connection; what does not change is made once.

    :ivar per_request: injectors that are asked at every request: their lines are not to be kept.
    """

    __slots__ = ("_constant", "_info", "_peer", "_rules", "_trusted", "per_request")

    def __init__(self, rules: RequestHeaders, info: ConnectionInfo) -> None:
        self._rules = rules
        self._info = info
        self._trusted = rules.trusts(info.peer)
        self._peer = info.peer.encode("ascii") if not info.peer.startswith("unix:") else b""
        self._constant = b"".join(self._inject(one, {}) for one in rules.injectors if not one.per_request)
        self.per_request = tuple(one for one in rules.injectors if one.per_request)

    def _inject(self, injector: IHeaderInjector, received: Mapping[bytes, Sequence[bytes]]) -> bytes:
        try:
            headers = injector.inject(self._info, received)
            lines = []
            for name, value in headers:
                if name not in injector.owned or _VALUE.fullmatch(value) is None:
                    raise ValueError(f"{name!r} is not the injector's, or its value not one of a header")
                lines.append(b"%b: %b\r\n" % (name, value))
            return b"".join(lines)
        except ValueTooLargeError as error:
            raise HeaderRefusal(431 if received else 500, str(error)) from error
        except InjectorFailed as error:
            raise HeaderRefusal(500, str(error)) from error
        except Exception as error:
            # Whatever an injector raises: a request without its identity must not go on.
            raise HeaderRefusal(500, f"{injector!r}: {error!r}") from error

    def block(
        self, fields: Sequence[Field], options: frozenset[bytes], host: bytes, version: int = 1
    ) -> tuple[bytes, bool]:
        """Give the header lines for the upstream, without Host and framing, each with its CRLF.

        :param options: what ``Connection`` names.
        :param version: in which the request came, as its head says it.
        :returns: the lines, and whether an ``x-request-id`` has still to be added.
        :raises HeaderRefusal: an underscore that is refused, or an injector that failed.
        """
        lines, needs_host, needs_id = self.for_any_host(fields, options, version)
        return lines + forwarded_host(host) if needs_host else lines, needs_id

    def for_any_host(
        self, fields: Sequence[Field], options: frozenset[bytes], version: int
    ) -> tuple[bytes, bool, bool]:
        """Give what of :meth:`block` is the same whichever host was asked for.

        :returns: the lines, whether :func:`forwarded_host` is to be added, and whether an ``x-request-id`` is.
        :raises HeaderRefusal: see :meth:`block`.
        """
        rules = self._rules
        trusted = self._trusted
        identity = rules.identity
        kept: list[bytes] = []
        received: dict[bytes, list[bytes]] = {}
        way: dict[bytes, list[bytes]] = {}
        for name, value, line in fields:
            if name in _HOP_BY_HOP or name in options:
                if name == b"te" and b"trailers" in _tokens(value):
                    kept.append(b"te: trailers\r\n")
                continue
            if b"_" in name:
                if rules.refuse_underscores:
                    raise HeaderRefusal(400, "a header name with an underscore")
                continue
            if name in identity or name.startswith(_IDENTITY_PREFIXES):
                if name in rules.owned:
                    received.setdefault(name, []).append(value)
                elif trusted:
                    kept.append(line)
                continue
            if name == b"te":
                if b"trailers" in _tokens(value):
                    kept.append(b"te: trailers\r\n")
                continue
            if name in _WAY or name.startswith(_WAY_PREFIX):
                way.setdefault(name, []).append(value)
                continue
            kept.append(line)
        kept.append(self._constant)
        for injector in self.per_request:
            kept.append(self._inject(injector, received))
        kept.append(via_line(way.pop(b"via", ()), version, rules.via))
        needs_host, needs_id = self._add_way(kept, way)
        return b"".join(kept), needs_host, needs_id

    def _add_way(self, kept: list[bytes], way: dict[bytes, list[bytes]]) -> tuple[bool, bool]:
        """Add the headers that tell the way; give whether the host and a request id are missing."""
        if not self._trusted:
            way.clear()
        before = way.pop(b"x-forwarded-for", [])
        hops = [*before, self._peer] if self._peer else before
        if hops:
            kept.append(b"x-forwarded-for: %b\r\n" % b", ".join(hops))
        # The nearest proxy's word about the client's side of it; nobody's, then our own.
        proto = way.pop(b"x-forwarded-proto", None)
        kept.append(b"x-forwarded-proto: %b\r\n" % (proto[-1] if proto else self._rules.scheme))
        hosts = way.pop(b"x-forwarded-host", None)
        if hosts:
            kept.append(forwarded_host(hosts[-1]))
        ids = way.pop(b"x-request-id", None)
        for name, values in way.items():
            kept.extend(b"%b: %b\r\n" % (name, value) for value in values)
        if ids is not None and len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]):
            kept.append(b"x-request-id: %b\r\n" % ids[0])
            return not hosts, False
        return not hosts, True

    def trailers(self, fields: Sequence[Field]) -> list[Field]:
        """Give the trailers that go on to the upstream: none that could pass for a header of weight."""
        rules = self._rules
        return [
            field for field in fields
            if field[0] not in _NEVER_TRAILERS and field[0] not in _HOP_BY_HOP and field[0] not in rules.identity
            and field[0] not in _WAY and b"_" not in field[0]
            and not field[0].startswith((_WAY_PREFIX, *_IDENTITY_PREFIXES))
        ]


def forwarded_host(host: bytes) -> bytes:
    """Give the line that tells upstreams which host was asked for; empty where none was."""
    return b"x-forwarded-host: %b\r\n" % host if host else b""


#: Framing, routing, authentication and content: not a trailer's to say (RFC 9110 §6.5.1).
_NEVER_TRAILERS = frozenset({
    b"authorization", b"cookie", b"set-cookie", b"te", b"trailer", b"content-encoding", b"content-type",
    b"content-range", b"cache-control", b"max-forwards", b"range", b"www-authenticate", b"age", b"date", b"expires",
    b"location", b"retry-after", b"vary", b"warning", b"if-match", b"if-none-match", b"if-modified-since",
    b"if-unmodified-since", b"if-range",
})


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip(b" \t").lower() for token in value.split(b",")]


