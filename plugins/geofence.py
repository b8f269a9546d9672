"""geofence: clients come in from some countries, by a file of networks that is followed as it changes."""
from __future__ import annotations

import re
from bisect import bisect_right
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Literal

from attrs import frozen

from edgegw.api import Accept, Explanation, FilePath, IEnvironment, Peer, Reject, Verdict, option, policy

Network = IPv4Network | IPv6Network
_COUNTRY = re.compile(r"[A-Z]{2}")


def countries(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Read country codes of two letters (ISO 3166-1), of either case."""
    upper = tuple(code.upper() for code in codes)
    for code in upper:
        if not _COUNTRY.fullmatch(code):
            raise ValueError(f"{code!r} is no country; write the two letters of ISO 3166-1, such as DE")
    return upper


class Networks:
    """Which country each address of one family is in; made once, asked often.

    Networks that lie in one another are cut into ranges that do not, so that the longest prefix is found by
    looking for one number among sorted ones.
    """

    def __init__(self, networks: dict[Network, str]) -> None:
        self._starts: list[int] = []
        self._countries: list[str | None] = []
        around: list[tuple[int, str]] = []
        for network in sorted(networks, key=lambda one: (int(one.network_address), one.prefixlen)):
            first, country = int(network.network_address), networks[network]
            self._leave(around, first)
            self._from(first, country)
            around.append((int(network.broadcast_address), country))
        self._leave(around, None)

    def _leave(self, around: list[tuple[int, str]], until: int | None) -> None:
        """End the networks that end before an address; behind each the one around it goes on."""
        while around and (until is None or around[-1][0] < until):
            last, _ = around.pop()
            self._from(last + 1, around[-1][1] if around else None)

    def _from(self, start: int, country: str | None) -> None:
        if self._starts and self._starts[-1] == start:
            self._countries[-1] = country
        else:
            self._starts.append(start)
            self._countries.append(country)

    def country(self, address: int) -> str | None:
        """Give the country of the longest prefix that has an address; ``None`` if none has it."""
        at = bisect_right(self._starts, address) - 1
        return self._countries[at] if at >= 0 else None


class Atlas:
    """The networks of a file, both families.

    :param content: lines of ``network,country``.  Empty ones, those that begin with ``#``, and a first one of
        column names are passed over, and so are further columns.
    :raises ValueError: naming the line that is none.
    """

    def __init__(self, content: bytes) -> None:
        found: dict[int, dict[Network, str]] = {4: {}, 6: {}}
        for number, line in enumerate(content.decode("utf-8-sig").splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#") or (number == 1 and text.lower().startswith("network,")):
                continue
            cells = [cell.strip().strip('"') for cell in text.split(",")]
            try:
                network = ip_network(cells[0])
                (country,) = countries(tuple(cells[1:2]))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if found[network.version].setdefault(network, country) != country:
                raise ValueError(f"line {number}: {network} is in another country already")
        if not any(found.values()):
            raise ValueError("there is no network in it")
        self._by_version = {version: Networks(networks) for version, networks in found.items()}

    def country(self, address: IPv4Address | IPv6Address) -> str | None:
        """Give the country of an address; ``None`` if it is in no network."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return self._by_version[address.version].country(int(address))


@frozen
class Config:
    """The options."""

    file: FilePath = option("A CSV file of networks and countries, such as ``192.0.2.0/24,DE``.")
    allow: tuple[str, ...] = option("Countries that come in, by two letters; all if there are none.", default=(),
                                    convert=countries)
    deny: tuple[str, ...] = option("Countries that do not.", default=(), convert=countries)
    unknown: Literal["refuse", "accept"] = option(
        "What becomes of an address that is in no network.", default="refuse"
    )

    def __attrs_post_init__(self) -> None:
        if not self.allow and not self.deny:
            raise ValueError("names no country; give allow or deny")
        both = sorted(set(self.allow) & set(self.deny))
        if both:
            raise ValueError(f"{', '.join(both)} stand in both lists; leave them in one")


@policy(
    "geofence",
    Config,
    without_certificate=True,
    codes={
        "geofence_unknown": Explanation(
            "The client's address is in no network of the geofence's file.",
            "The file is old, or the address is a private one.",
            "Renew the file, add the network, or say unknown: accept.",
        ),
    },
)
class Geofence:
    """Let clients in by the country of their address.

    The longest prefix that has the address decides.  The file is followed as it changes; while it cannot be read the
    last one that could be is used.  The country becomes the attribute ``country``.  An address tells where the
    last hop is: it is no proof of anything, and a second policy is to look at the certificate.

    Example::

        policies:
          - geofence: {file: networks.csv, allow: [DE, AT, CH]}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._allow = frozenset(config.allow)
        self._deny = frozenset(config.deny)
        self._accept_unknown = config.unknown == "accept"
        try:
            self._atlas = env.follow(config.file, Atlas)
        except OSError as error:
            raise ValueError(f"{config.file} cannot be read: {error.strerror}; give a CSV file") from error

    def check(self, peer: Peer) -> Verdict:
        """See :class:`edgegw.api.IPolicy`."""
        address = peer.ip
        country = None if address is None else self._atlas.value.country(address)
        if country is None:
            if self._accept_unknown:
                return Accept()
            return Reject("geofence_unknown", f"{peer.address} is in no network of the file")
        if country in self._deny or (self._allow and country not in self._allow):
            return Reject("geofence", f"{peer.address} is in {country}")
        return Accept({"country": country})
