"""canary: a stable share of the clients is marked, for a new version to be tried with."""
from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Literal

from attrs import frozen

from edgegw.api import Accept, Peer, Verdict, option, policy

By = Literal["spiffe_id", "dns_name", "email", "subject", "sha256"]

#: What a client is known by.  All but ``sha256`` stay when its certificate is renewed.
_IDENTITIES: dict[str, Callable[[Peer], str]] = {
    "spiffe_id": lambda peer: peer.spiffe_id or "",
    "dns_name": lambda peer: peer.dns_names[0].lower() if peer.dns_names else "",
    "email": lambda peer: peer.emails[0] if peer.emails else "",
    "subject": lambda peer: peer.subject,
    "sha256": lambda peer: peer.sha256,
}


def share(identity: str, experiment: str) -> float:
    """Give where an identity stands between 0 and 1, the same wherever it is asked."""
    digest = blake2b(f"{experiment}\0{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@frozen
class Config:
    """The options."""

    percent: float = option("How many of a hundred clients are marked.", minimum=0.0, maximum=100.0)
    by: tuple[By, ...] = option(
        "What a client is known by: the first of these that its certificate has.",
        default=("spiffe_id", "dns_name", "subject", "sha256"), min_items=1,
    )  # fmt: skip
    experiment: str = option("Another name marks other clients.", default="")
    always: tuple[str, ...] = option("Identities that are marked in any case.", default=())
    never: tuple[str, ...] = option("Identities that are not in any case.", default=())

    def __attrs_post_init__(self) -> None:
        both = sorted(set(self.always) & set(self.never))
        if both:
            raise ValueError(f"{both[0]!r} stands in both always and never; leave it in one")


@policy("canary", Config)
class Canary:
    """Mark a stable share of the clients with the attribute ``canary``; refuse nobody.

    It is ``"true"`` for those that are chosen and ``"false"`` for the others; ``{attribute:canary}`` in a template of
    ``header_injection`` tells upstreams.  The choice comes from a hash of the client's identity: it is the same on
    every gateway and after every restart, a larger share keeps those that were chosen before, and a client cannot
    change it without another identity.  A certificate that has none of what it could be known by is not chosen.

    Example::

        policies:
          - canary: {percent: 5, experiment: checkout-v2, always: ["spiffe://corp.example/team/checkout/dev"]}
    """

    def __init__(self, config: Config, env: object) -> None:
        self._identities = [_IDENTITIES[name] for name in config.by]
        self._share = config.percent / 100
        self._experiment = config.experiment
        self._fixed = dict.fromkeys(config.always, _TRUE) | dict.fromkeys(config.never, _FALSE)

    def check(self, peer: Peer) -> Verdict:
        """See :class:`edgegw.api.IPolicy`."""
        for read in self._identities:
            identity = read(peer)
            if identity:
                fixed = self._fixed.get(identity)
                if fixed is not None:
                    return fixed
                return _TRUE if share(identity, self._experiment) < self._share else _FALSE
        return _FALSE


_TRUE = Accept({"canary": "true"})
_FALSE = Accept({"canary": "false"})
