"""What resolv.conf(5) says: which servers to ask, and what to add to short names."""
from __future__ import annotations

from attrs import frozen

__all__ = ["ResolvConf", "candidates", "parse_resolv_conf"]

_DNS_PORT = 53
#: As resolv.conf(5) and glibc have it.
_MOST_SERVERS = 3
_MOST_DOTS = 15


@frozen
class ResolvConf:
    """:ivar servers: addresses and ports; :ivar ndots: a name of so many dots is tried as it stands first."""

    servers: tuple[tuple[str, int], ...] = (("127.0.0.1", _DNS_PORT),)
    search: tuple[str, ...] = ()
    ndots: int = 1


def parse_resolv_conf(text: str) -> ResolvConf:
    """Read the file's text; what is not understood is passed over, as the system's resolver does."""
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append((words[1], _DNS_PORT))
        elif words[0] in ("search", "domain"):
            search = tuple(word.strip(".") for word in words[1:] if word.strip("."))
        elif words[0] == "options":
            for word in words[1:]:
                name, _, value = word.partition(":")
                if name == "ndots" and value.isascii() and value.isdecimal():
                    ndots = min(int(value), _MOST_DOTS)
    return ResolvConf(tuple(servers[:_MOST_SERVERS]) or ResolvConf().servers, search, ndots)


def candidates(name: str, conf: ResolvConf) -> list[str]:
    """Give the names to ask for, one after the other, until one is there."""
    longer = [f"{name}.{domain}" for domain in conf.search]
    return [name, *longer] if name.count(".") >= conf.ndots else [*longer, name]
