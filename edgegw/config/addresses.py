"""Host names, addresses, networks and endpoints as an operator writes them, in the model's form.

Every function raises :class:`~edgegw.config.scalars.Unparsable` for what it cannot take.
"""
from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import PurePosixPath
from typing import Final

import idna

from edgegw.config.scalars import Unparsable
from edgegw.model import Endpoint
from edgegw.names import canonical_name

__all__ = [
    "HOSTNAME_PATTERN",
    "MAX_SOCKET_PATH",
    "overlap",
    "parse_address",
    "parse_endpoint",
    "parse_hostname",
    "parse_ip_address",
    "parse_network",
]

#: Bytes that Linux has for the path of a Unix socket, its final NUL not counted (unix(7)).
MAX_SOCKET_PATH: Final = 107
#: What a host name looks like; IDNA, lengths and the form of labels are left to :func:`parse_hostname`.
HOSTNAME_PATTERN: Final = r"(\*\.)?[^*\s:/\[\]]+"
_ENDPOINT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")


def parse_hostname(text: str) -> str:
    """Give a listener's or route's host name in canonical form, an international one as A-labels.

    A name, or ``*.`` and a name (Gateway API ``Hostname``); never an IP address.
    """
    wildcard, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    if "*" in name:
        raise Unparsable(
            "has a wildcard in the wrong place", 'let the wildcard be the whole first label: "*.example.com"'
        )
    if _is_ip_address(name.strip("[]")):
        raise Unparsable("is an IP address", "write a host name, or leave hostname out to take every name")
    return wildcard + _dns_name(name)


def _dns_name(name: str) -> str:
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            problem = f"is no international host name ({error})"
            raise Unparsable(problem, "correct it, or write it as A-labels") from error
    canonical = canonical_name(name)
    if canonical is None:
        raise Unparsable("is not a host name", "write labels of letters, digits and hyphens, joined by dots, no port")
    return canonical


def _is_ip_address(text: str) -> bool:
    if ":" not in text and not text[-1:].isdigit():
        return False
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def parse_ip_address(text: str) -> str:
    """Give an IP address in its shortest spelling."""
    try:
        address = ip_address(text)
    except ValueError:
        raise Unparsable("is not an IP address", "write an IPv4 or IPv6 address, without brackets and port") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise Unparsable("is an IPv4 address mapped into IPv6", f"write {address.ipv4_mapped}")
    return str(address)


def parse_address(text: str) -> str:
    """Give a listener's address: an IP address, or ``unix:`` and an absolute or relative path."""
    if not text.startswith("unix:"):
        try:
            return parse_ip_address(text)
        except Unparsable as error:
            if error.remedy.startswith("write an"):
                error.remedy += ", or unix: and a path; leave address out for all addresses"
            raise
    path = text.removeprefix("unix:")
    if not path or path.endswith("/") or "\0" in path or not PurePosixPath(path).name:
        raise Unparsable("names no Unix socket", "write unix: and the path of a file: unix:/run/edgegw/edgegw.sock")
    return text


def overlap(one: str | None, other: str | None) -> bool:
    """Whether two listeners' addresses cannot both be bound to one port.

    ``None`` is all of IPv4 and IPv6; ``0.0.0.0`` and ``::`` are all of their own family.
    """
    if one == other:
        return True
    if (one or "").startswith("unix:") or (other or "").startswith("unix:"):
        return False
    if one is None or other is None:
        return True
    first, second = ip_address(one), ip_address(other)
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Give a network in CIDR notation; an address alone is a network of one."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise Unparsable("is not a network", "write an address or a network: 10.0.0.0/8, 2001:db8::/32") from None
    raise Unparsable("has bits beyond its prefix", f"write {network}")


def parse_endpoint(text: str) -> Endpoint:
    """Give an upstream's endpoint: ``127.0.0.1:8000``, ``[::1]:8000`` or ``app.internal:8000``."""
    remedy = "write 127.0.0.1:8000, [::1]:8000 or app.internal:8000"
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise Unparsable("is not a host and a port", remedy)
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise Unparsable(f"has the port {port}", "write a port from 1 to 65535")
    if match["v6"] is not None:
        try:
            return Endpoint(str(IPv6Address(match["v6"])), port)
        except ValueError:
            raise Unparsable("has no IPv6 address in its brackets", remedy) from None
    if _is_ip_address(match["host"]):
        return Endpoint(match["host"], port)
    if re.fullmatch(r"[0-9.]+", match["host"]):
        raise Unparsable("has no valid IPv4 address", remedy)
    return Endpoint(_dns_name(match["host"]), port)
