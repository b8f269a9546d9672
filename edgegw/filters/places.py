"""Where a redirect leads, and what a rewritten request asks for."""
from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from edgegw.model import PathModifier, PathModifierType, Redirect, Rewrite

__all__ = ["Asked", "location", "rewritten_host", "rewritten_target"]

_WELL_KNOWN: Final = {"http": 80, "https": 443}


@frozen
class Asked:
    """What a request asks for.

    :ivar scheme: ``http`` or ``https``.
    :ivar hostname: canonical, IPv6 addresses without brackets; ``None`` where no host was named.
    :ivar listener_port: 0 where there is none.
    :ivar target: path and query.
    """

    scheme: str
    hostname: str | None
    listener_port: int
    target: bytes


def location(redirect: Redirect, asked: Asked, prefix: str | None) -> bytes | None:
    """Give the URI that a client is sent to; ``None`` where there is no host to send it to, or no path.

    The port (Gateway API, HTTPRequestRedirectFilter.port): the redirect's, else the well-known one of its scheme, else
    the listener's; not written where it is the scheme's own.  The query is kept.

    :param prefix: that the rule matches.
    """
    hostname = redirect.hostname or asked.hostname
    target = rewritten_target(redirect.path, asked.target, prefix)
    if hostname is None or target is None or not target.startswith(b"/"):
        return None
    scheme = redirect.scheme or asked.scheme
    port = redirect.port
    if port is None:
        port = _WELL_KNOWN[scheme] if redirect.scheme else asked.listener_port
    return f"{scheme}://{_authority(hostname, 0 if port == _WELL_KNOWN[scheme] else port)}".encode("ascii") + target


def rewritten_host(rewrite: Rewrite, host: bytes, hostname: str | None) -> bytes | None:
    """Give the value of ``Host`` for the upstream; ``None`` where the client's stays.

    :param host: the client's, as it was written.
    :param hostname: its name alone, canonical.
    """
    if rewrite.hostname is None and rewrite.port is None:
        return None
    name = rewrite.hostname or hostname
    if name is None:
        return None
    return _authority(name, rewrite.port or 0).encode("ascii")


def rewritten_target(path: PathModifier | None, target: bytes, prefix: str | None) -> bytes | None:
    """Give path and query with the path replaced; ``None`` where it does not begin with the prefix.

    :param prefix: that the rule matches, for ``ReplacePrefixMatch``: by whole elements, however they are encoded.
    """
    if path is None or target == b"*":
        return target  # of the whole server, not of a path of it (RFC 9110 §9.3.7)
    before, mark, query = target.partition(b"?")
    value = path.value.encode("ascii")
    if path.type is PathModifierType.REPLACE_FULL_PATH:
        return (value or b"/") + mark + query
    rest = _behind(before, (prefix or "/").encode("utf-8").rstrip(b"/"))
    if rest is None:
        return None
    return (value.rstrip(b"/") + rest if rest else value or b"/") + mark + query


def _behind(path: bytes, prefix: bytes) -> bytes | None:
    """Give what of a path is behind as many elements as a prefix has."""
    end = 0
    for _ in range(prefix.count(b"/")):
        end = path.find(b"/", end + 1)
        if end < 0:
            end = len(path)
            break
    # A slash is never decoded when elements are counted, so "%2F" does not end one.
    if path[:end].count(b"/") != prefix.count(b"/") or unquote_to_bytes(path[:end]) != unquote_to_bytes(prefix):
        return None
    return path[end:]


def _authority(hostname: str, port: int) -> str:
    host = f"[{hostname}]" if ":" in hostname else hostname
    return f"{host}:{port}" if port else host
