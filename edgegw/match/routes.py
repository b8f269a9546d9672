"""The route table: from host name and path to whatever stands behind a rule.

Order (Gateway API, HTTPRouteRule.matches): the most specific host name first, then an exact path,
then the longest prefix, then the order in the configuration.  A host name without a rule for the path
does not hide a less specific one that has one.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

from edgegw.model import PathMatch, PathMatchType

__all__ = ["RouteTable"]

T = TypeVar("T")

_ENCODED: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
#: What may stand in a path as it is beside letters, digits and ``-._~`` (RFC 3986 §3.3), and what clients leave as it
#: is all the same.
_PLAIN: Final = frozenset(b"!$&'()*+,;=:@\"<>[]^`{|}")


def _comparable(path: bytes) -> bytes:
    """Write a path in one way of the several that upstreams take for the same (RFC 3986 §6.2.2.1)."""
    return _ENCODED.sub(_one_way, path) if b"%" in path else path


def _one_way(encoded: re.Match[bytes]) -> bytes:
    byte = int(encoded[0][1:], 16)
    return bytes((byte,)) if byte in _PLAIN else encoded[0].upper()


class _Paths(Generic[T]):
    """The rules of one host name."""

    def __init__(self) -> None:
        self.exact: dict[bytes, T] = {}
        self.prefixes: dict[bytes, T] = {}
        self.any: T | None = None
        self._longest = 0

    def add(self, match: PathMatch, target: T) -> None:
        path = _comparable(match.value.encode("utf-8"))
        if match.type is PathMatchType.EXACT:
            self.exact.setdefault(path, target)
            return
        prefix = path.rstrip(b"/")
        if prefix:
            self.prefixes.setdefault(prefix, target)
            self._longest = max(self._longest, len(prefix))
        elif self.any is None:
            self.any = target

    def find(self, path: bytes) -> T | None:
        if self.exact:
            target = self.exact.get(path)
            if target is not None:
                return target
        if self.prefixes:
            # Whole elements only: cut the path at its slashes, from the right.
            # What is longer than every prefix is cut at once: a client chooses how many slashes there are.
            end = len(path)
            while end > self._longest:
                end = path.rfind(b"/", 0, min(end, self._longest + 1))
            while end > 0:
                target = self.prefixes.get(path[:end])
                if target is not None:
                    return target
                end = path.rfind(b"/", 0, end)
        return self.any


class RouteTable(Generic[T]):
    """Finds the target of a request; built once for a listener.

    :param entries: ``(host names, condition, target)`` in the configuration's order; no host names
        means every one.
    """

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], PathMatch, T]]) -> None:
        self._exact: dict[str, _Paths[T]] = {}
        self._wildcard: dict[str, _Paths[T]] = {}
        self._every = _Paths[T]()
        for hostnames, match, target in entries:
            for hostname in hostnames:
                if hostname.startswith("*."):
                    self._wildcard.setdefault(hostname[1:], _Paths()).add(match, target)
                else:
                    self._exact.setdefault(hostname, _Paths()).add(match, target)
            if not hostnames:
                self._every.add(match, target)

    def find(self, host: str | None, path: bytes) -> T | None:
        """Give the target for a canonical host name and a path without its query.

        However percent-encodings are written in it, and in the rules, does not matter; those of letters, digits,
        ``-._~`` and of what separates segments are taken as they stand.

        :param host: ``None`` for a request that names none: only routes for every name take it.
        """
        path = _comparable(path)
        if host is not None:
            if self._exact:
                paths = self._exact.get(host)
                if paths is not None:
                    target = paths.find(path)
                    if target is not None:
                        return target
            if self._wildcard:
                dot = host.find(".")
                while dot >= 0:
                    paths = self._wildcard.get(host[dot:])
                    if paths is not None:
                        target = paths.find(path)
                        if target is not None:
                            return target
                    dot = host.find(".", dot + 1)
        return self._every.find(path)
