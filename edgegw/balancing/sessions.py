"""Sessions that stay with an endpoint: what a client is given to bring along, and what that says.

A token names an endpoint by a keyed hash (HMAC-SHA-256) of the upstream's name and its address: nobody without the
secret can tell the address, and nobody can make a token of their own.  Where a session ends at a time, the
token has that time in it and a second hash over both.  Whatever is wrong with a token, it is as if it was not there.
"""
from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final, Generic

from edgegw.balancing.keys import cookie_reader, header_reader
from edgegw.balancing.members import M, Request
from edgegw.model import CookieLifetime, SessionPersistence, SessionType

__all__ = ["Sessions"]

#: Bytes of each hash.
_SIZE: Final = 15
_TIME_SIZE: Final = 6
#: Endpoints that are told apart; what came before is forgotten.
_MOST_KNOWN: Final = 65_536


class Sessions(Generic[M]):
    """The sessions of one upstream.

    :param secret: what the hashes are keyed with; whoever has it can make tokens, and try addresses.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self, persistence: SessionPersistence, upstream: str, secret: bytes, clock: Callable[[], float]
    ) -> None:
        self._persistence = persistence
        self._upstream = upstream.encode("utf-8")
        self._secret = secret
        self._clock = clock
        self._members: dict[bytes, M] = {}
        self._names: dict[bytes, bytes] = {}
        by_header = persistence.type is SessionType.HEADER
        self._read = (header_reader if by_header else cookie_reader)(persistence.session_name)
        self._timeout = persistence.absolute_timeout

    def use_members(self, members: list[M]) -> None:
        """Take over which members there are."""
        self._members = {self._name(member): member for member in members}

    def _name(self, member: M) -> bytes:
        name = self._names.get(member.identity)
        if name is None:
            if len(self._names) >= _MOST_KNOWN:
                self._names.clear()
            name = self._hash(b"endpoint", member.identity)
            self._names[member.identity] = name
        return name

    def _hash(self, what: bytes, data: bytes) -> bytes:
        message = b"%b\0%b\0%b" % (what, self._upstream, data)
        return hmac.digest(self._secret, message, "sha256")[:_SIZE]

    def member(self, request: Request) -> M | None:
        """Give the member that a request's token names; ``None`` without a token that holds."""
        token = self._read(request)
        if token is None or len(token) > 64:
            return None
        try:
            data = urlsafe_b64decode(token)
        except ValueError:
            return None
        if self._timeout is None:
            return self._members.get(data)
        body, seal = data[:-_SIZE], data[-_SIZE:]
        if len(body) != _SIZE + _TIME_SIZE or not hmac.compare_digest(self._hash(b"session", body), seal):
            return None
        if int.from_bytes(body[_SIZE:], "big") < self._clock():
            return None
        return self._members.get(body[:_SIZE])

    def token(self, member: M) -> bytes:
        """Make the token for a session that begins now."""
        body = self._name(member)
        if self._timeout is not None:
            body += int(self._clock() + self._timeout).to_bytes(_TIME_SIZE, "big")
            body += self._hash(b"session", body)
        return urlsafe_b64encode(body)

    def field(self, member: M, secure: bool) -> tuple[bytes, bytes]:
        """Give the header, by its lower-case name and value, that tells a client its token.

        :param secure: whether the client came by TLS: then it is to send a cookie by nothing else.
        """
        persistence = self._persistence
        name = persistence.session_name.encode("ascii")
        token = self.token(member)
        if persistence.type is SessionType.HEADER:
            return name.lower(), token
        cookie = b"%b=%b; Path=%b; HttpOnly; SameSite=%b" % (
            name, token, persistence.path.encode("ascii"), persistence.same_site.value.encode("ascii"),
        )
        if persistence.lifetime is CookieLifetime.PERMANENT and self._timeout is not None:
            cookie += b"; Max-Age=%d" % self._timeout
        return b"set-cookie", cookie + b"; Secure" if secure else cookie
