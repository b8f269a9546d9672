"""Host names in one canonical form, used by TLS and HTTP alike.

One function makes every name that is compared: SNI, Host, ``:authority``, configured host
names and DNS SANs.  Two spellings of one name that were canonicalised apart would let a client
pass one check under one name and the next under another.
"""
from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address

__all__ = ["canonical_authority", "canonical_name", "covers", "intersection", "is_hostname"]

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_AUTHORITY = 261
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,255})(?::([0-9]{1,5}))?")


def canonical_name(name: str) -> str | None:
    """Give a DNS name in lower case without its one trailing dot, or ``None`` if it is none.

    International names must come as A-labels (RFC 5890); nothing is converted here, because what
    a client sends is ASCII by then, and what an operator wrote is converted by the configuration.
    """
    # Beyond ASCII there are characters that become ASCII letters in lower case (U+212A, the Kelvin sign).
    if not name.isascii():
        return None
    return _known_name(name) if len(name) < 255 else None


def _canonical(name: str) -> str | None:
    name = name.lower()
    if name.endswith("."):
        name = name[:-1]
    return name if len(name) <= 253 and _NAME.fullmatch(name) else None


# As many as a gateway may well serve: with more names in turn than fit, each costs more than without a cache.
_known_name = lru_cache(maxsize=16_384)(_canonical)


def is_hostname(name: str) -> bool:
    """Whether a canonical name may stand in a configuration: a name, or ``*.`` and a name."""
    return canonical_name(name.removeprefix("*.")) == name.removeprefix("*.")


def canonical_authority(authority: bytes) -> str | None:
    """Give the host of ``host[:port]`` (RFC 3986 §3.2, without user information) in canonical form.

    An IPv6 address comes back without its brackets, in its shortest form.  ``None``: not a valid
    authority, and a request that carries it deserves 400.
    """
    return _known_authority(authority) if len(authority) <= _LONGEST_AUTHORITY else None


@lru_cache(maxsize=16_384)
def _known_authority(authority: bytes) -> str | None:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[2] is not None and int(match[2]) > 65535):
        return None
    host = match[1].decode("ascii")
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1]))
        except ValueError:
            return None
    return _canonical(host)


def covers(pattern: str, name: str) -> bool:
    """Whether a listener's or route's host name takes a name; both canonical.

    ``*.example.com`` takes any number of labels, never ``example.com`` itself (Gateway API
    ``Hostname``); that is wider than a wildcard in a certificate.
    """
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
    return pattern == name


def intersection(hostnames: tuple[str, ...], listener: str | None) -> tuple[str, ...] | None:
    """Give the host names of a route that a listener takes; ``None`` where it takes none of them.

    The more specific of two that overlap (Gateway API, HTTPRouteSpec.hostnames).

    :param hostnames: empty is every name.
    :param listener: ``None`` is every name.
    """
    if listener is None:
        return hostnames
    if not hostnames:
        return (listener,)
    taken = []
    for hostname in hostnames:
        if hostname == listener or covers(listener, hostname):
            taken.append(hostname)
        elif hostname.startswith("*.") and covers(hostname, listener.removeprefix("*.")):
            taken.append(listener)
    return tuple(taken) or None
