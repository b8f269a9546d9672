"""The route table: from host name, path and what else a request says to whatever stands behind a rule.

Order (Gateway API, HTTPRouteRule.matches): the most specific host name first; then an exact path, the longest
regular expression, the longest prefix; then the conditions beyond the path, as
:class:`~edgegw.match.conditions.Conditions` ranks them; then the order in the configuration.  A match of which not
all conditions are met hides nothing that is less specific.
"""
from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from edgegw.expressions import compile_expression
from edgegw.identity import ConnectionInfo
from edgegw.match.conditions import Conditions, RequestHead, RequestParts, conditions_of
from edgegw.model import PathMatch, PathMatchType, RouteMatch
from edgegw.names import canonical_name

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


class _Candidates(Generic[T]):
    """The targets of one path where one of them at least has conditions.

    :ivar conditional: in order of precedence.
    :ivar otherwise: the first one without conditions, which any condition precedes.
    """

    __slots__ = ("conditional", "otherwise")

    def __init__(self, otherwise: T | None) -> None:
        self.conditional: list[tuple[Conditions, T]] = []
        self.otherwise = otherwise

    def add(self, conditions: Conditions, target: T) -> None:
        insort(self.conditional, (conditions, target), key=_rank)

    def find(self, request: RequestParts) -> T | None:
        for conditions, target in self.conditional:
            if conditions.hold(request):
                return target
        return self.otherwise


def _rank(entry: tuple[Conditions, Any]) -> tuple[bool, int, int, int]:
    return entry[0].rank


def _add(table: dict[Any, Any], key: Any, conditions: Conditions | None, target: Any) -> None:
    """Enter a target under a path; alone it stands there as it is."""
    there = table.get(key)
    if conditions is None:
        if there is None:
            table[key] = target
        elif there.__class__ is _Candidates and there.otherwise is None:
            there.otherwise = target
        return
    if there.__class__ is not _Candidates:
        there = table[key] = _Candidates(there)
    there.add(conditions, target)


#: Nothing is ever put into it.
_EMPTY: Final[dict[Any, Any]] = {}


class _Paths(Generic[T]):
    """The rules of one host name."""

    __slots__ = ("_expressions", "_longest", "_patterns", "exact", "prefixes")

    def __init__(self) -> None:
        # What is empty is mostly empty everywhere: one object for all is in the processor's cache, where thousands
        # of them would not be.
        self.exact: dict[bytes, T | _Candidates[T]] = _EMPTY
        #: Without their last slash: the empty one takes every path.
        self.prefixes: dict[bytes, T | _Candidates[T]] = _EMPTY
        self._longest = 0
        self._patterns: dict[str, T | _Candidates[T]] = _EMPTY
        #: ``(fullmatch, pattern)``, the longest pattern first.
        self._expressions: tuple[tuple[Any, str], ...] = ()

    def add(self, match: PathMatch, conditions: Conditions | None, target: T, known: dict[bytes, bytes]) -> None:
        """:param known: paths of other host names too: of equal ones there is one object."""
        if match.type is PathMatchType.PATH_PREFIX:
            prefix = _comparable(match.value.encode("utf-8")).rstrip(b"/")
            prefix = known.setdefault(prefix, prefix)
            if self.prefixes is _EMPTY:
                self.prefixes = {}
            _add(self.prefixes, prefix, conditions, target)
            if len(prefix) > self._longest:
                self._longest = len(prefix)
        elif match.type is PathMatchType.EXACT:
            if self.exact is _EMPTY:
                self.exact = {}
            path = _comparable(match.value.encode("utf-8"))
            _add(self.exact, known.setdefault(path, path), conditions, target)
        else:
            if self._patterns is _EMPTY:
                self._patterns = {}
            if match.value not in self._patterns:
                entry = (compile_expression(match.value).fullmatch, match.value)
                self._expressions = tuple(sorted((*self._expressions, entry), key=lambda each: -len(each[1])))
            _add(self._patterns, match.value, conditions, target)

    def find(self, path: bytes) -> T | _Candidates[T] | None:
        """Give the first of what :meth:`find_all` gives."""
        if self.exact:
            target = self.exact.get(path)
            if target is not None:
                return target
        if self._expressions:
            for fullmatch, pattern in self._expressions:
                if fullmatch(path) is not None:
                    return self._patterns[pattern]
        prefixes, longest = self.prefixes, self._longest
        if longest:
            # Whole elements only: cut the path at its slashes, from the right.
            # What is longer than every prefix is cut at once: a client chooses how many slashes there are.
            end = len(path)
            while end > longest:
                end = path.rfind(b"/", 0, min(end, longest + 1))
            while end > 0:
                target = prefixes.get(path[:end])
                if target is not None:
                    return target
                end = path.rfind(b"/", 0, end)
        return prefixes.get(b"")

    def find_all(self, path: bytes) -> Iterator[T | _Candidates[T] | None]:
        """Give what takes a path, the most specific first; ``None`` among it means nothing."""
        yield self.exact.get(path)
        for fullmatch, pattern in self._expressions:
            if fullmatch(path) is not None:
                yield self._patterns[pattern]
        end = len(path)
        while end > self._longest:
            end = path.rfind(b"/", 0, min(end, self._longest + 1))
        while end > 0:
            yield self.prefixes.get(path[:end])
            end = path.rfind(b"/", 0, end)
        yield self.prefixes.get(b"")


class RouteTable(Generic[T]):
    """Finds the target of a request; built once for a listener.

    :param entries: ``(host names, match, target)`` in the configuration's order; no host names means every one.
    :ivar names: the host names of routes, wildcards aside, by their bytes, which is how clients nearly always write
        them; what is found here needs not be brought to its canonical form.  No client has a say in what it holds.
    """

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], RouteMatch, T]]) -> None:
        self._exact: dict[str, _Paths[T]] = {}
        self._wildcard: dict[str, _Paths[T]] = {}
        self._every = _Paths[T]()
        known: dict[bytes, bytes] = {}
        for hostnames, match, target in entries:
            conditions = conditions_of(match)
            for hostname in hostnames:
                self._paths_of(hostname).add(match.path, conditions, target, known)
            if not hostnames:
                self._every.add(match.path, conditions, target, known)
        # The same objects that are the keys there: those are found without a look at what they say.
        self.names: dict[bytes, str] = {
            name.encode("ascii"): name for name in self._exact if canonical_name(name) == name
        }

    def _paths_of(self, hostname: str) -> _Paths[T]:
        table, name = (self._wildcard, hostname[1:]) if hostname.startswith("*.") else (self._exact, hostname)
        paths = table.get(name)
        if paths is None:
            paths = table[name] = _Paths()
        return paths

    def find(
        self, host: str | None, path: bytes, head: RequestHead | None = None, info: ConnectionInfo | None = None
    ) -> T | None:
        """Give the target for a canonical host name, a path without its query, and whatever else conditions ask for.

        However percent-encodings are written in the path, and in the rules' paths, does not matter; those of letters,
        digits, ``-._~`` and of what separates segments are taken as they stand.

        :param host: ``None`` for a request that names none: only routes for every name take it.
        :param head: without it only rules that have no conditions beyond the path take the request.
        """
        if b"%" in path:
            path = _comparable(path)
        found: T | _Candidates[T] | None = None
        if host is not None:
            if self._exact:
                paths = self._exact.get(host)
                if paths is not None:
                    found = paths.find(path)
            if found is None and self._wildcard:
                found = self._find_by_wildcard(host, path)
        if found is None:
            found = self._every.find(path)
        # Nearly always it is the target itself.
        if found.__class__ is not _Candidates:
            return found  # type: ignore[return-value]  # mypy does not follow the comparison of classes
        return self._find_conditional(host, path, None if head is None else RequestParts(head, info))

    def _find_by_wildcard(self, host: str, path: bytes) -> T | _Candidates[T] | None:
        dot = host.find(".")
        while dot >= 0:
            paths = self._wildcard.get(host[dot:])
            if paths is not None:
                target = paths.find(path)
                if target is not None:
                    return target
            dot = host.find(".", dot + 1)
        return None

    def _find_conditional(self, host: str | None, path: bytes, request: RequestParts | None) -> T | None:
        for paths in self._for_host(host):
            for found in paths.find_all(path):
                target = found
                if isinstance(found, _Candidates):
                    target = found.otherwise if request is None else found.find(request)
                if target is not None:
                    return target  # type: ignore[return-value]  # T is none of the candidates
        return None

    def _for_host(self, host: str | None) -> Iterator[_Paths[T]]:
        """Give the rules of every host name that takes a host, the most specific first."""
        if host is not None:
            paths = self._exact.get(host)
            if paths is not None:
                yield paths
            dot = host.find(".")
            while dot >= 0:
                paths = self._wildcard.get(host[dot:])
                if paths is not None:
                    yield paths
                dot = host.find(".", dot + 1)
        yield self._every
