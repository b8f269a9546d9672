"""SNI routers, and upstreams' backends, from the native document."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgegw.config.bindings import ADDRESS, Binding, check_binding, find_bindings
from edgegw.config.document_terms import NAME, PORT
from edgegw.config.faults import Report
from edgegw.config.policies import PLUGIN, PluginTranslation
from edgegw.config.scalars import Duration
from edgegw.config.shapes import REQUIRED, Field, Item, Record, Section
from edgegw.model import ROUTER_TIMEOUT, BackendUse, Listener, Protocol, SNIRouterUse

__all__ = ["SNI_ROUTER", "check_upstream", "translate_backend", "translate_sni_routers"]


_TLS: Final = frozenset({Protocol.HTTPS, Protocol.TLS})

SNI_ROUTER: Final = Record(
    (
        Field("name", NAME, "What connections that it passes through are counted under.  Default: passthrough-PORT."),
        Field(
            "address", ADDRESS, "The address of listeners, written as theirs is.  Default: every one with the port."
        ),
        Field("port", PORT, "The port of listeners with the protocol HTTPS or TLS."),
        Field("router", PLUGIN("sni_router"), "What decides about each connection, by its ClientHello.", REQUIRED),
        Field(
            "timeout",
            Duration(maximum=60.0),
            "For the answer of a router that waits; past it the connection is refused.",
            ROUTER_TIMEOUT,
        ),
    ),
    name="sni_router_use",
    description="Code that decides where the TLS connections of a port go.",
    check=check_binding,
)


def translate_sni_routers(
    items: Sequence[Item[Section]],
    listeners: Sequence[tuple[Section, Listener]],
    plugins: PluginTranslation,
    directory: Path,
    report: Report,
) -> tuple[SNIRouterUse, ...]:
    """Make the routers, and find the listeners whose connections they decide about."""
    names = {listener.name: section for section, listener in listeners}
    taken: dict[Binding, Section] = {}
    routers = []
    for item in items:
        section = item.value
        bindings = find_bindings(section, [listener for _, listener in listeners], _TLS, directory, report)
        for binding in bindings:
            if taken.setdefault(binding, section) is not section:
                place = section.at("port" if "port" in section else "address")
                line = taken[binding].node.line
                report.fault(place, f"has a router already, in line {line}", "keep one of the two")
                break
        name = section.get("name") or f"passthrough-{section.get('port', 'unix')}"
        other = names.setdefault(name, section)
        if other is not section:
            problem = f"the name {name} is given to another in line {other.node.line}"
            report.fault(section.at("name"), problem, "give it a name of its own")
        used = _use("sni_router", "router", "route", section, plugins, report)
        if used is not None:
            routers.append(SNIRouterUse(name, bindings, *used, section.get("timeout", ROUTER_TIMEOUT)))
    return tuple(routers)


# --- backends -------------------------------------------------------------------------------

#: Settings of connections, which a backend has none of.
_OF_CONNECTIONS: Final = (
    "connect_timeout", "keep_alive_timeout", "max_idle", "balancing", "session_persistence", "resolution",
    "health_check", "outlier_detection", "panic_threshold", "slow_start", "limits", "retry_budget", "tls",
    "proxy_protocol", "http_version",
)


def check_upstream(section: Section, report: Report) -> None:
    """Find an upstream that has endpoints and a backend, or neither."""
    given = section.node.values
    if "backend" not in given:
        if "endpoints" not in given:
            report.fault(section.node, "has no endpoints", "give endpoints, or a backend in their place")
        return
    if "endpoints" in given:
        report.fault(section.node.key("backend"), "does not go with endpoints", "keep one of the two")
    for key in _OF_CONNECTIONS:
        if key in given:
            report.fault(section.node.key(key), "does nothing beside backend", "leave it out")


def translate_backend(section: Section, plugins: PluginTranslation, report: Report) -> BackendUse | None:
    """Make the backend of an upstream; ``None`` without one."""
    used = _use("backend", "backend", "answer", section, plugins, report)
    return None if used is None else BackendUse(*used)


def _use(
    what: str, key: str, method: str, section: Section, plugins: PluginTranslation, report: Report
) -> tuple[Any, Any, Any] | None:
    """Give a kind, what it has built, and its environment; ``None`` without one, and after a fault."""
    node = section.get(key)
    used = None if node is None else plugins.use(what, node)
    if used is not None and not callable(getattr(used[1], method, None)):
        report.fault(section.at(key), f"its kind made a {type(used[1]).__name__}, which has no {method}()")
        return None
    return used
