"""``rate_limit``: how often a client may connect."""
from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from attrs import frozen

from edgegw.api import Accept, IEnvironment, Peer, Reason, Reject, Verdict, option, policy
from edgegw.policies.client_keys import UNIX, ClientKeys, unmapped
from edgegw.policies.details import shown
from edgegw.policies.token_buckets import TokenBuckets

__all__ = ["Config", "RateLimit", "parse_rate"]

_ACCEPT: Final = Accept()
_RATE = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,4})?(s|m|h|d)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_rate(text: str) -> tuple[int, float]:
    """Give the number and the seconds of a rate: ``10/s``, ``100/m``, ``1/30s``.

    :raises ValueError: it is none.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no rate; write connections per time, such as 10/s, 100/m or 1/30s")
    return int(match[1]), int(match[2] or 1) * _SECONDS[match[3]]


def _check_rate(text: str) -> None:
    parse_rate(text)


@frozen(kw_only=True)
class Config:
    """Options of ``rate_limit``."""

    per: Literal["identity", "address", "listener"] = option(
        "Whose connections are counted together: those of one verified identity, of one address, or of the listener."
    )
    rate: str = option("Connections per second (s), minute (m), hour (h) or day (d): 10/s, 100/m, 1/30s.",
                       check=_check_rate)
    burst: int | None = option(
        "Connections that may come at once after a pause; by default the number in rate.",
        default=None,
        minimum=1,
        maximum=1_000_000_000,
    )
    ipv4_prefix: int = option("Bits of an IPv4 address that make one client.", default=32, minimum=8, maximum=32)
    ipv6_prefix: int = option(
        "Bits of an IPv6 address that make one client; 64 are one network, all of whose addresses a host may use.",
        default=64,
        minimum=16,
        maximum=128,
    )
    max_entries: int = option(
        "Clients that are counted each for itself; about 250 bytes for each.", default=100_000, minimum=1,
        maximum=10_000_000,
    )  # fmt: skip


@policy("rate_limit", Config, without_certificate=True)
class RateLimit:
    """Refuse clients that connect more often than allowed.

    Each client has a bucket of ``burst`` tokens, which fills at ``rate``; a connection takes one, and is refused with
    ``rate_limited`` where there is none.  So no more than ``burst`` and ``rate`` times the time come in, over any
    time.  Refused connections take nothing.  At a route's rule it counts requests, not connections.

    ``per: address`` counts addresses, of IPv6 whole networks of 64 bits.  ``per: identity`` counts verified
    certificates with the same issuer, subject and alternative names together, so that a renewed certificate brings
    nothing; clients without a verified one are counted by address, as they can be whoever they like.  ``per:
    listener`` counts all of them together.

    ``per: address`` is judged in the handshake, the others when it is done and the client has proved that it has the
    certificate's key: nobody uses up the tokens of another with a copy of his certificate.

    Where it stands in the list matters: policies before it keep refused clients from taking tokens, and those behind
    it run only for clients that have one; all that are judged in the handshake come before those that are judged when
    it is done.

    Memory is bounded: buckets that have filled up are forgotten, since they say nothing.  Where more than
    ``max_entries`` clients are not full, further ones share 1024 buckets of the same size, those of one IPv4 /16 or
    IPv6 /32 the same one.  Nobody gets a fresh bucket by driving out an old one; but an attacker with that many
    addresses can have strangers refused whose address is near his own.  ``shared`` among the plugin's metrics counts
    connections that were judged so.

    Every place where it stands, and every worker process, counts for itself; a reload of the configuration fills all
    buckets.

    Example::

        policies:
          - rate_limit: {per: address, rate: 20/s, burst: 100}
          - rate_limit: {per: identity, rate: 600/h}
    """

    #: Being judged again takes no token: it is no new connection.
    recheck = False

    def __init__(self, config: Config, env: IEnvironment) -> None:
        number, seconds = parse_rate(config.rate)
        burst = number if config.burst is None else config.burst
        shared = env.counter("shared", "Connections judged by a shared bucket, as there were too many clients.")
        self._buckets = TokenBuckets(number / seconds, burst, config.max_entries, shared)
        self._seconds = env.seconds
        self._per = config.per
        # In the handshake the client has not shown yet that the certificate is its own: who has a copy of it could
        # use up its owner's tokens.
        self.waits = config.per != "address"
        self._prefixes = {4: config.ipv4_prefix, 6: config.ipv6_prefix}
        self._keys = ClientKeys(config.ipv4_prefix, config.ipv6_prefix)
        self._allowed = f"{config.rate} and {burst} at once"

    def check(self, peer: Peer) -> Verdict:
        """Take a token."""
        address = None
        if self._per == "listener":
            key = coarse = b""
        elif self._per == "identity" and peer.verified and peer.certificate is not None:
            key = coarse = self._keys.identity(peer.certificate)
        else:
            address = unmapped(peer.ip)
            key, coarse = self._keys.address(address)
        wait = self._buckets.take(key, coarse, self._seconds())
        if wait <= 0:
            return _ACCEPT
        who = self._who(peer, key, address)
        return Reject(Reason.RATE_LIMITED, f"{who} connects more often than {self._allowed}; next in {wait:.3g} s")

    def _who(self, peer: Peer, key: bytes, address: IPv4Address | IPv6Address | None) -> str:
        if not key:
            return f"everyone on {shown(peer.listener)}"
        if key is UNIX:
            return "the Unix socket"
        if address is None:
            return f"the identity {shown(peer.subject or peer.sha256)}"
        bits = self._prefixes[address.version]
        return str(address) if bits == address.max_prefixlen else f"{address} (its /{bits})"

