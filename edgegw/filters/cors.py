"""Cross-origin resource sharing (Fetch standard, Gateway API ``HTTPCORSFilter``)."""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from edgegw.filters.header_changes import Field, field
from edgegw.model import CORS

__all__ = ["CORSRules", "Origin"]

_ORIGIN = re.compile(rb"([a-z][a-z0-9+.-]*)://([^/@?#:\[\]]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_PORTS: Final = {b"http": b"80", b"https": b"443"}
_TOKENS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_VARY = field(b"vary", b"Origin")
_VARY_PREFLIGHT = field(b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_PREFIX = b"access-control-"
#: An origin's scheme, host and port.
Origin = tuple[bytes, bytes, bytes]


def _read(origin: bytes) -> Origin | None:
    match = _ORIGIN.fullmatch(origin.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, port or _PORTS.get(scheme, b"")


class CORSRules:
    """The rules, ready for the data path."""

    def __init__(self, cors: CORS) -> None:
        self._everyone = "*" in cors.allow_origins
        self._exact: set[Origin] = set()
        self._suffixes: list[Origin] = []
        for text in cors.allow_origins:
            origin = _read(text.encode("ascii"))
            if origin is None:
                continue
            if origin[1].startswith(b"*"):
                self._suffixes.append((origin[0], origin[1][1:], origin[2]))
            else:
                self._exact.add(origin)
        self._credentials = cors.allow_credentials
        # GET, HEAD and POST need no permission (Fetch, "CORS-safelisted method"): they are listed where they are given.
        self._methods = _listed(one.encode("ascii") for one in cors.allow_methods)
        self._headers = _listed(one.encode("ascii") for one in cors.allow_headers)
        self._expose = _listed(one.encode("ascii") for one in cors.expose_headers)
        self._max_age = b"%d" % cors.max_age

    def allows(self, origin: bytes) -> bool:
        """Whether pages of an origin may use responses."""
        if self._everyone:
            return bool(origin)
        read = _read(origin)
        if read is None:
            return False
        if read in self._exact:
            return True
        scheme, host, port = read
        return any(
            scheme == wanted and port == wanted_port and host.endswith(suffix) and len(host) > len(suffix)
            for wanted, suffix, wanted_port in self._suffixes
        )

    @staticmethod
    def is_preflight(method: bytes, asked: list[bytes]) -> bool:
        """Whether a request with an ``Origin`` asks whether another one may be sent.

        :param asked: the values of ``Access-Control-Request-Method``.
        """
        return method == b"OPTIONS" and bool(asked)

    def preflight(self, origin: bytes, method: bytes, headers: list[bytes]) -> list[Field]:
        """Give the header lines of an answer to a preflight from an origin that is allowed.

        :param headers: the values of ``Access-Control-Request-Headers``.
        """
        lines = self._begin(origin)
        methods, names = self._methods, b", ".join(headers)
        if b"*" in methods.split(b", ") and self._credentials:
            # With credentials the asterisk would be a method of that name.
            methods = method if _TOKENS.fullmatch(method) else b""
        elif b"*" in methods.split(b", "):
            methods = b"*"
        allowed = self._headers
        if b"*" in allowed.split(b", "):
            allowed = b"*" if not self._credentials else names if _TOKENS.fullmatch(names) else b""
        if methods:
            lines.append(field(b"access-control-allow-methods", methods))
        if allowed:
            lines.append(field(b"access-control-allow-headers", allowed))
        lines += self._exposed()
        lines.append(field(b"access-control-max-age", self._max_age))
        lines.append(_VARY_PREFLIGHT)
        return lines

    def refused(self) -> list[Field]:
        """Give the header lines of an answer to a preflight from an origin that is not allowed."""
        return [_VARY_PREFLIGHT]

    def response(self, origin: bytes | None) -> list[Field]:
        """Give the header lines for a response; ``None`` for a request without an origin."""
        if self._everyone and not self._credentials:
            # The answer is the same for every origin.
            return [] if origin is None else [*self._begin(origin), *self._exposed()]
        if origin is None or not self.allows(origin):
            return [_VARY]
        return [*self._begin(origin), *self._exposed(), _VARY]

    @staticmethod
    def without(fields: Iterable[Field]) -> list[Field]:
        """Give the header lines of an upstream's response without what it says of this itself."""
        return [one for one in fields if not one[0].startswith(_PREFIX)]

    def _begin(self, origin: bytes) -> list[Field]:
        same = b"*" if self._everyone and not self._credentials else origin
        lines = [field(b"access-control-allow-origin", same)]
        if self._credentials:
            lines.append(field(b"access-control-allow-credentials", b"true"))
        return lines

    def _exposed(self) -> list[Field]:
        # With credentials the asterisk would be a header of that name; nothing tells which ones there are.
        if not self._expose or (self._credentials and self._expose == b"*"):
            return []
        return [field(b"access-control-expose-headers", self._expose)]


def _listed(values: Iterable[bytes]) -> bytes:
    return b", ".join(dict.fromkeys(values))
