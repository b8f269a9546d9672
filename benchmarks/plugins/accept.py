"""A policy without work of its own, to measure what the gateway adds to one."""
from __future__ import annotations

from edgegw.api import Accept, Peer, Verdict, policy

__all__ = ["accept"]

_ACCEPT = Accept()


@policy("accept")
def accept(peer: Peer) -> Verdict:
    """Let everyone in."""
    return _ACCEPT
