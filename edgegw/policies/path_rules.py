"""SPIFFE IDs (SPIFFE-ID §2), and patterns for their paths."""
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

__all__ = ["MAX_SPIFFE_ID", "PathPatterns", "SpiffeID", "is_trust_domain", "parse_spiffe_id", "pattern_fault"]

#: The most characters of a SPIFFE ID (SPIFFE-ID §2.3).
MAX_SPIFFE_ID: Final = 2048

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


class SpiffeID(NamedTuple):
    """A SPIFFE ID; ``path`` begins with a slash, or is empty for the ID of a trust domain."""

    trust_domain: str
    path: str


def is_trust_domain(name: str) -> bool:
    """Whether a text is the name of a trust domain (SPIFFE-ID §2.1)."""
    return _TRUST_DOMAIN.fullmatch(name) is not None


def parse_spiffe_id(uri: str) -> SpiffeID:
    """Take a SPIFFE ID apart.

    :raises ValueError: it is none; the text says why, without the URI.
    """
    if not uri.startswith(_SCHEME):
        raise ValueError("its scheme is not spiffe")
    if len(uri) > MAX_SPIFFE_ID:
        raise ValueError(f"it has {len(uri)} characters, where {MAX_SPIFFE_ID} are allowed")
    trust_domain, slash, path = uri[len(_SCHEME):].partition("/")
    if not is_trust_domain(trust_domain):
        raise ValueError("its trust domain is not 1 to 255 of lower-case letters, digits, dots, hyphens, underscores")
    for segment in path.split("/") if slash else ():
        if segment in ("", ".", ".."):
            raise ValueError("its path has a segment that is empty or dots")
        if not _SEGMENT.fullmatch(segment):
            raise ValueError("its path has characters other than letters, digits, dots, hyphens and underscores")
    return SpiffeID(trust_domain, slash + path)


def pattern_fault(pattern: str) -> str | None:
    """Say why a text is no pattern for paths: what is wrong; what would be right."""
    if not pattern.startswith("/"):
        return f"{pattern!r} is no path; it begins with a slash, such as /ns/prod/sa/*"
    segments = pattern[1:].split("/")
    for place, segment in enumerate(segments):
        if segment == "**":
            if place != len(segments) - 1:
                return f"{pattern!r} has ** before its end; ** stands for the rest of a path, * for one segment"
        elif segment in ("", ".", ".."):
            return f"{pattern!r} has a segment that is empty or dots, which no SPIFFE ID has; leave it out"
        elif segment.count("*") > 1:
            return f"{pattern!r} has two asterisks in one segment; write one"
        elif segment != "*" and not _SEGMENT.fullmatch(segment.replace("*", "")):
            return f"{pattern!r} has characters that no SPIFFE ID has; letters, digits, dots, hyphens and underscores"
    return None


class PathPatterns:
    """A set of patterns, compiled.

    A pattern is a path whose segments are compared as they stand, with regard to case.  ``*`` is one segment
    of any text, or any text in a part of one (``web-*``); ``**`` at the end is one or more segments.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """:raises ValueError: one of them is none, see :func:`pattern_fault`."""
        self.patterns = tuple(patterns)
        exact: set[str] = set()
        expressions: list[str] = []
        for pattern in self.patterns:
            fault = pattern_fault(pattern)
            if fault is not None:
                raise ValueError(fault)
            if "*" in pattern:
                expressions.append(_expression(pattern))
            else:
                exact.add(pattern)
        self._exact = frozenset(exact)
        # Segments end at slashes and none has two asterisks: there is one way to try, whatever the path.
        self._expression = re.compile("|".join(expressions)) if expressions else None

    def match(self, path: str) -> bool:
        """Whether a path, which must be a SPIFFE ID's, fits one of the patterns."""
        if path in self._exact:
            return True
        return self._expression is not None and self._expression.fullmatch(path) is not None


def _expression(pattern: str) -> str:
    parts = []
    for segment in pattern[1:].split("/"):
        if segment == "**":
            parts.append("/.+")
        elif segment == "*":
            parts.append("/[^/]+")
        else:
            parts.append("/" + "[^/]*".join(map(re.escape, segment.split("*"))))
    return "".join(parts)
