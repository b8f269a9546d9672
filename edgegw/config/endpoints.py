"""Endpoints of upstreams, and DNS servers, as an operator writes them."""
from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final

from edgegw.config.addresses import MAX_SOCKET_PATH, parse_endpoint
from edgegw.config.scalars import Parsed, Unparsable
from edgegw.model import Endpoint, EndpointKind

__all__ = ["SERVER", "parse_server", "parse_upstream_endpoint"]

#: The name of SRV records (RFC 2782): underscores begin the first labels.
_SRV = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_\-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_\-]{0,62}))*\.?")
_DNS_PORT: Final = 53
#: No path has a NUL, none should have other control characters, and half a surrogate pair is no character.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def parse_upstream_endpoint(text: str) -> Endpoint:
    """Give an endpoint: as :func:`~edgegw.config.addresses.parse_endpoint`, ``srv:NAME`` or ``unix:/PATH``.

    :raises Unparsable: it is none of them.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or path.endswith("/") or _UNUSABLE.search(path):
            raise Unparsable("names no Unix socket", "write unix: and an absolute path: unix:/run/app/app.sock")
        if len(path.encode("utf-8")) > MAX_SOCKET_PATH:
            raise Unparsable("is too long for a Unix socket", f"write a path of {MAX_SOCKET_PATH} bytes or fewer")
        return Endpoint(path, 0, kind=EndpointKind.UNIX)
    if text.startswith("srv:"):
        name = text.removeprefix("srv:")
        if not _SRV.fullmatch(name):
            raise Unparsable("names no SRV records", "write srv:_http._tcp.app.internal")
        return Endpoint(name.lower().removesuffix("."), 0, kind=EndpointKind.SRV)
    return parse_endpoint(text)


def parse_server(text: str) -> Endpoint:
    """Give a DNS server: an IP address, and a port other than 53 if it has one.

    :raises Unparsable: it is none.
    """
    try:
        return Endpoint(str(ip_address(text.strip("[]"))), _DNS_PORT)
    except ValueError:
        endpoint = parse_endpoint(text)
    try:
        ip_address(endpoint.host)
    except ValueError:
        raise Unparsable("is not an IP address", "write 10.0.0.2 or 127.0.0.1:8600") from None
    return endpoint


SERVER: Final = Parsed(
    "an IP address, and a port if it is not 53, such as 127.0.0.1:8600",
    parse_server,
    {"pattern": r"^(\[?[0-9A-Fa-f:.]+\]?)(:[0-9]{1,5})?$"},
)
