"""What of a request's path lies behind a resource, byte by byte as the client sent it."""
from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote_to_bytes

__all__ = ["Unmappable", "path_below"]


class Unmappable(ValueError):
    """The request's target is no path."""


def path_below(path: bytes, remaining: Sequence[bytes]) -> bytes:
    """Give the rest of a path; empty, or beginning with a slash.

    :param path: the whole one, percent-encoded.
    :param remaining: the names that no resource has taken yet, decoded: twisted.web's ``postpath``.
    :raises Unmappable: it does not begin with a slash.
    """
    if not path.startswith(b"/"):
        raise Unmappable
    if not remaining:
        return b""
    tail = path[1:].split(b"/")[-len(remaining) :]
    if [unquote_to_bytes(name) for name in tail] != list(remaining):
        # A resource above has put other names in their place.
        tail = [quote(name, safe="").encode("ascii") for name in remaining]
    return b"/" + b"/".join(tail)
