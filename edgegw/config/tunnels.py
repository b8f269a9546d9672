"""Routes of connections, from the native document."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TypeVar

from attrs import evolve

from edgegw.config.document_http import connection_rate
from edgegw.config.document_tunnels import TCP_ROUTE, TLS_ROUTE, TUNNEL_BACKEND
from edgegw.config.faults import Report
from edgegw.config.shapes import Item, Record, Section, did_you_mean
from edgegw.model import BackendRef, Listener, Protocol, TCPRoute, TLSRoute, Upstream
from edgegw.names import covers

__all__ = ["translate_tcp_routes", "translate_tls_routes"]

_R = TypeVar("_R", bound=TCPRoute)


def translate_tls_routes(
    items: Iterable[Item[Section]],
    listeners: Mapping[str, Listener],
    upstreams: Mapping[str, Upstream],
    report: Report,
) -> tuple[TLSRoute, ...]:
    """Make the routes of TLS listeners, and find what they name and what two of them must not share."""
    routes = []
    taken: dict[tuple[str, str | None], Section] = {}
    for item in items:
        section: Section = item.value
        attached = _attached(section, listeners, Protocol.TLS, report)
        route = TLSRoute(section.get("name", ""), hostnames=tuple(one.value for one in section.items("hostnames")))
        routes.append(_translate(TLS_ROUTE, section, route, upstreams, report))
        _check_hostnames(section, attached, report)
        for listener in attached:
            names = section.items("hostnames")
            for name, place in [(one.value, one.node) for one in names] or [(None, section.at("name"))]:
                other = taken.setdefault((listener.name, name), section)
                if other is not section:
                    report.fault(
                        place,
                        f"{name or 'every name'} of {listener.name} is the route {other.get('name')}'s already",
                        "let one route have it, with more backends if need be",
                    )
    return tuple(routes)


def translate_tcp_routes(
    items: Iterable[Item[Section]],
    listeners: Mapping[str, Listener],
    upstreams: Mapping[str, Upstream],
    report: Report,
) -> tuple[TCPRoute, ...]:
    """Make the routes of TCP listeners, and find what they name and what two of them must not share."""
    routes = []
    taken: dict[str, Section] = {}
    for item in items:
        section: Section = item.value
        routes.append(_translate(TCP_ROUTE, section, TCPRoute(section.get("name", "")), upstreams, report))
        for listener in _attached(section, listeners, Protocol.TCP, report):
            other = taken.setdefault(listener.name, section)
            if other is not section:
                report.fault(
                    section.at("name"),
                    f"{listener.name} has the route {other.get('name')} already",
                    "let one route have it, with more backends if need be",
                )
    return tuple(routes)


def _translate(record: Record, section: Section, route: _R, upstreams: Mapping[str, Upstream], report: Report) -> _R:
    """Give a route with what every kind of it has."""
    backends = tuple(_backend(item.value, upstreams, report) for item in section.items("backends"))
    if "backends" in section and not any(backend.weight for backend in backends):
        problem = "every weight is 0" if backends else "is an empty list"
        report.warn(section.at("backends"), f"{problem}: connections are closed", "give one or more")
    listeners = tuple(item.value for item in section.items("listeners"))
    rate = connection_rate(section.get("connection_rate"))
    return record.settings(section, evolve(route, backends=backends, listeners=listeners, connection_rate=rate))


def _backend(section: Section, upstreams: Mapping[str, Upstream], report: Report) -> BackendRef:
    name = section.get("upstream")
    upstream = upstreams.get(name)
    if name is not None and upstream is None:
        problem = f"there is no upstream {name}"
        report.fault(section.at("upstream"), problem, did_you_mean(name, list(upstreams)))
    elif upstream is not None and upstream.backend is not None:
        report.fault(
            section.at("upstream"),
            f"{name} answers requests, and takes no connections",
            "name an upstream that has endpoints",
        )
    return TUNNEL_BACKEND.settings(section, BackendRef(name or ""))


def _attached(
    section: Section, listeners: Mapping[str, Listener], protocol: Protocol, report: Report
) -> list[Listener]:
    """Give the listeners of a route, and report those that it names and cannot have."""
    fitting = [listener for listener in listeners.values() if listener.protocol is protocol]
    if "listeners" not in section:
        if not fitting and "listeners" not in section.node.values:
            report.fault(section.node, f"no listener has the protocol {protocol.value}", "add one, or remove the route")
        return fitting
    attached = []
    for item in section.items("listeners"):
        listener = listeners.get(item.value)
        if listener is None:
            report.fault(item.node, f"there is no listener {item.value}", did_you_mean(item.value, list(listeners)))
        elif listener.protocol is not protocol:
            report.fault(
                item.node,
                f"the listener {item.value} has the protocol {listener.protocol.value}, and not {protocol.value}",
                f"name listeners with the protocol {protocol.value}",
            )
        else:
            attached.append(listener)
    return attached


def _check_hostnames(section: Section, listeners: Iterable[Listener], report: Report) -> None:
    """Warn of names that no listener of a route takes: no connection would ever match."""
    names: AbstractSet[str | None] = {listener.hostname for listener in listeners}
    if None in names or not names:
        return
    for item in section.items("hostnames"):
        if not any(_meet(item.value, name) for name in names if name is not None):
            report.warn(
                item.node,
                f"no listener of the route takes {item.value}: it never matches",
                f"use a name under {', '.join(sorted(filter(None, names))[:3])}",
            )


def _meet(one: str, other: str) -> bool:
    return one == other or covers(one, other) or covers(other, one)
