"""Which URLs that stand in certificates the gateway may ask.

A URL in a client's certificate is the client's data, even where a CA has signed it: who gets one
certified can have the gateway send requests to any host that it reaches (server-side request forgery).
So such a URL is compared with what the operator has named, after it was taken apart more strictly than
any HTTP client takes it: whatever two parsers could read differently is no URL here.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from attrs import frozen

__all__ = ["AllowedURLs", "PlainURL", "is_public", "plain_url"]

#: What a certificate's URL may have at most, in characters.
LONGEST = 1024

# RFC 3986 without user information, fragments, empty ports and registered names that are no host names.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:[a-z0-9\-._~!$&'()*+,;=:@/]|%[0-9a-f]{2})*)?"
    r"(?P<query>\?(?:[a-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9a-f]{2})*)?",
    re.IGNORECASE | re.ASCII,
)
_PORTS = {"http": 80, "https": 443}
#: Segments of dots, also for servers that split at encoded slashes or leave parameters out, and what they split at.
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?=[/;]|%3b|\Z)|%2f|%5c|%00", re.IGNORECASE)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.\-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE | re.ASCII)


@frozen
class PlainURL:
    """A URL's parts.

    :ivar scheme: ``http`` or ``https``.
    :ivar host: in lower case; an IPv6 address in brackets.
    :ivar path: from its ``/``, without the query.
    """

    scheme: str
    host: str
    port: int
    path: str


def plain_url(url: str) -> PlainURL:
    """Take an ``http`` or ``https`` URL apart.

    :raises ValueError: it is none, is longer than 1024 characters, or has something in it that HTTP clients read
        in more than one way: user information, a fragment, ``.`` and ``..`` as segments, also with parameters, slashes,
        backslashes and NULs that are percent-encoded, backslashes, spaces.
    """
    match = _URL.fullmatch(url) if len(url) <= LONGEST else None
    if match is None:
        raise ValueError(f"{url[:100]!r} is no plain http or https URL; such as http://pki.example.com/ca")
    scheme, path = match["scheme"].lower(), match["path"] or "/"
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    if not 0 < port < 65_536 or _DOTS.search(path):
        raise ValueError(f"{url[:100]!r} is no plain http or https URL; a port of 1 to 65535, no .. or %2F in its path")
    return PlainURL(scheme, match["host"].lower(), port, path)


def is_public(url: PlainURL) -> bool:
    """Whether a URL's host is neither this machine by name nor an IP address that is not public.

    What a name leads to is not looked at.
    """
    host = url.host.strip("[]")
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return ip_address(host).is_global
    except ValueError:
        # The last label of a host name has a letter in it: inet_aton takes 127.1 and 0x7f000001 for addresses.
        return not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2])


class AllowedURLs:
    """A list of hosts and of beginnings of URLs.

    ``pki.example.com`` allows ``http`` and ``https`` to that host on their usual ports, ``pki.example.com:8080`` on
    that one; ``https://pki.example.com/crl/`` allows what begins with it.  The end of a path's beginning
    is the end of a segment: ``/crl`` allows ``/crl/a`` and not ``/crl2``.

    :raises ValueError: an entry is neither.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._hosts: set[tuple[str, int]] = set()
        self._beginnings: list[PlainURL] = []
        for entry in entries:
            if "/" in entry:
                if "?" in entry:
                    raise ValueError(f"{entry!r} has a query; give the beginning of the path")
                self._beginnings.append(plain_url(entry))
            elif _HOST.fullmatch(entry):
                url = plain_url(f"http://{entry}")
                named = re.search(r":[0-9]+\Z", entry) is not None
                self._hosts |= {(url.host, port) for port in ((url.port,) if named else _PORTS.values())}
            else:
                raise ValueError(f"{entry!r} is no host and no URL; such as pki.example.com or http://pki.example.com/")

    def __bool__(self) -> bool:
        return bool(self._hosts or self._beginnings)

    def allows(self, url: PlainURL) -> bool:
        """Whether a URL is one of them."""
        if (url.host, url.port) in self._hosts:
            return True
        for one in self._beginnings:
            if (url.scheme, url.host, url.port) == (one.scheme, one.host, one.port):
                path = one.path
                if url.path == path or url.path.startswith(path if path.endswith("/") else path + "/"):
                    return True
        return False
