"""Which listeners of one Gateway can be told apart, and which only just (Gateway API, ``Gateway.spec.listeners``)."""
from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Final

from edgegw.gateway_api.listener_state import ListenerState
from edgegw.names import covers

__all__ = ["FAMILIES", "covered", "find_conflicts", "find_overlaps"]

#: Protocols with the same word share a port.
FAMILIES: Final = {"HTTP": "HTTP", "HTTPS": "TLS", "TLS": "TLS", "TCP": "TCP"}


def find_conflicts(listeners: Iterable[ListenerState]) -> None:
    """Say of listeners that cannot be told apart that they are in conflict: all of them, none wins."""
    by_port: dict[int, list[ListenerState]] = {}
    for listener in listeners:
        # One that is not accepted, such as for a host name that is none, keeps nothing from the others.
        if listener.protocol in FAMILIES and not listener.conditions.is_false("Accepted"):
            by_port.setdefault(listener.port, []).append(listener)
    for port, group in by_port.items():
        for listener in group:
            _judge(listener, [other for other in group if other is not listener], port)


def _judge(listener: ListenerState, others: list[ListenerState], port: int) -> None:
    family = FAMILIES[listener.protocol]
    differing = [other for other in others if FAMILIES[other.protocol] != family]
    same = [
        other
        for other in others
        if FAMILIES[other.protocol] == family and (family == "TCP" or other.hostname == listener.hostname)
    ]
    if differing:
        protocols = ", ".join(f"{other.name} with {other.protocol}" for other in differing)
        reason, problem = "ProtocolConflict", f"port {port} cannot be shared with {protocols}"
    elif same and family == "TCP":
        reason, problem = "ProtocolConflict", f"port {port} is that of {_names(same)} too, and TCP names no host"
    elif same:
        taken = listener.hostname or "every name"
        reason, problem = "HostnameConflict", f"{taken} on port {port} is what {_names(same)} takes too"
    else:
        listener.conditions.replace("Conflicted", "False", "NoConflicts")
        return
    listener.conditions.replace("Conflicted", "True", reason, problem)
    listener.conditions.false("Accepted", reason, problem)


def find_overlaps(listeners: Iterable[ListenerState]) -> None:
    """Say of listeners with TLS on one port that one takes names of the other (GEP-3567)."""
    ended = [
        one for one in listeners
        if one.protocol in ("HTTPS", "TLS") and not one.passthrough
        and (not one.conditions.is_false("Accepted") or one.conditions.is_true("Conflicted"))
    ]  # fmt: skip
    found: dict[ListenerState, list[ListenerState]] = {}
    for first, second in combinations(ended, 2):
        if first.port == second.port and first.hostname != second.hostname and _overlap(first, second):
            found.setdefault(first, []).append(second)
            found.setdefault(second, []).append(first)
    for listener, others in found.items():
        listener.conditions.true(
            "OverlappingTLSConfig",
            "OverlappingHostnames",
            f"{_names(others)} on port {listener.port} takes some of the same names; a client that reuses a "
            "connection for a name of another listener gets 421",
        )


def _overlap(first: ListenerState, second: ListenerState) -> bool:
    return covered(first.hostname, second.hostname) or covered(second.hostname, first.hostname)


def covered(hostname: str | None, by: str | None) -> bool:
    """Whether every name that a listener takes is one that another, less specific one would take."""
    if by is None or hostname is None:
        return by is None and hostname is not None
    return by != hostname and covers(by, hostname.removeprefix("*."))


def _names(listeners: Iterable[ListenerState]) -> str:
    return ", ".join(one.name for one in listeners)
