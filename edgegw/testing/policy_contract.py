"""What a policy must keep to, whatever client it is asked about."""
from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable
from inspect import isawaitable
from typing import Any, Final

from edgegw.interfaces import IEnvironment
from edgegw.peer import Peer
from edgegw.policy_step import attribute_fault
from edgegw.testing.assertions import BuiltPolicy, is_declared
from edgegw.testing.odd_peers import odd_peers
from edgegw.verdict import Accept, Reject

__all__ = ["policy_faults"]

#: Characters that a detail may have: it stands in a log line and in a table's column.
MAX_DETAIL: Final = 4096


async def policy_faults(kind: Any, policy: Any, env: IEnvironment) -> AsyncIterator[str]:
    """Give what is wrong with what a configured policy says of odd clients."""
    built = BuiltPolicy(kind, policy, env)
    check = getattr(built.policy, "check", None)
    if not callable(check):
        yield f"makes a {type(built.policy).__name__}, which has no method check(self, peer)"
        return
    try:
        inspect.signature(check).bind("peer")
    except TypeError as error:
        yield f"check must take (peer): {error}"
        return
    told: set[str] = set()
    for what, peer in odd_peers():
        if peer.certificate is None and not built.without_certificate:
            continue
        async for fault in _peer_faults(built, peer):
            # One mistake shows with many clients: the first of them is enough.
            if fault not in told:
                told.add(fault)
                yield f"{what}: {fault}"


async def _peer_faults(built: BuiltPolicy, peer: Peer) -> AsyncIterator[str]:
    try:
        verdict = await _ask(built, peer)
        if built.cache_seconds > 0 and await _ask(built, _elsewhere(peer)) != verdict:
            yield "says otherwise on another connection with the same certificate: without cache_seconds it may"
    except Exception as error:
        yield f"raised {type(error).__name__}: {error}"
        return
    for fault in _verdict_faults(built.kind, verdict):
        yield fault


async def _ask(built: BuiltPolicy, peer: Peer) -> object:
    asked = built.check(peer)
    waits = isawaitable(asked)
    verdict: object = await asked if waits else asked
    if waits and not built.waits:
        raise TypeError("check returned something to await: write it with async def")
    return verdict


def _elsewhere(peer: Peer) -> Peer:
    """Give the same certificate on another connection."""
    other = peer.connection._replace(
        listener="other", peer="203.0.113.9", peer_port=1, server_name="other.example",
        tls_version="TLSv1.2", cipher="ECDHE-ECDSA-AES128-GCM-SHA256", group="prime256v1", resumed=True,
    )  # fmt: skip
    return Peer(other, peer.now, peer._chain, {"other": "yes"})


def _verdict_faults(kind: Any, verdict: object) -> Iterable[str]:
    if type(verdict) is Accept:
        fault = attribute_fault(verdict.attributes)
        if fault:
            yield fault
    elif type(verdict) is Reject:
        if not is_declared(kind, verdict.code):
            yield f"refused with {verdict.code!r}, which is no reason's code and was not declared: codes={{...}} does"
        detail: object = verdict.detail
        if not isinstance(detail, str):
            yield f"gave the detail {detail!r}, which is no text"
        elif len(detail) > MAX_DETAIL:
            yield f"gave a detail of more than {MAX_DETAIL} characters: a certificate may have thousands of names"
        elif any(character < " " or "\x7f" <= character < "\xa0" for character in detail):
            yield "gave a detail with control characters in it: write a common name with repr() or !r"
    else:
        yield f"answered {verdict!r}, which is neither Accept nor Reject: that refuses everybody"
