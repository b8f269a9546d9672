"""TLSRoutes and TCPRoutes in the native language: where connections go as the bytes that they are."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import define, field

from edgegw.gateway_api.attachment import hostnames_of
from edgegw.gateway_api.backends import Backend, Backends
from edgegw.gateway_api.findings import RouteFindings
from edgegw.gateway_api.listener_state import GatewayState, ListenerState
from edgegw.gateway_api.objects import Object
from edgegw.gateway_api.upstreams import CLOSING, Upstreams
from edgegw.names import intersection

__all__ = ["Claims", "TunnelTranslation"]


@define(eq=False)
class TunnelTranslation:
    """Makes the shares of one route's connections.

    :ivar gateway: whose certificate backends are shown; ``None`` shows none.
    :ivar terminated: whether TLS with the client ends at the gateway, or there is none.
    :ivar used: backends that were found.
    """

    route: Object
    findings: RouteFindings
    gateway: GatewayState | None
    terminated: bool
    _backends: Backends
    _upstreams: Upstreams
    used: list[Backend] = field(factory=list)

    def shares(self) -> list[dict[str, Any]]:
        """Give them; a backend that is not there has its share of the connections closed.

        None is given where nothing can be connected to at all: such connections are refused before anything else.
        """
        shares = []
        for number, rule in enumerate(self.route.spec.get("rules") or ()):
            for index, ref in enumerate(rule.get("backendRefs") or ()):
                place = f"rules[{number}].backendRefs[{index}]"
                backend = self._backends.find(self.route, ref, place, self.findings)
                upstream = self._upstream(backend)
                shares.append({"upstream": upstream, "weight": ref.get("weight", 1)})
            # Nothing tells the connections of one rule from those of another.
            break
        if all(not share["weight"] or share["upstream"] == CLOSING for share in shares):
            return []
        return [share if share["weight"] != 1 else {"upstream": share["upstream"]} for share in shares]

    def _upstream(self, backend: Backend | None) -> str:
        if backend is None:
            return self._upstreams.closing(self.route)
        self.used.append(backend)
        return self._upstreams.tunnel(self.route, backend, self.gateway, self.terminated)


@define(eq=False)
class Claims:
    """Which route has which names of which listeners: of two with the same ones the older is served."""

    _taken: dict[tuple[int, str | None], Object] = field(factory=dict)

    def split(
        self, route: Object, listeners: Iterable[ListenerState], findings: RouteFindings
    ) -> list[tuple[tuple[str, ...], list[ListenerState]]]:
        """Give the names of a route that are its own, and the listeners on which they are.

        Names are given as they were written: no names is every name.
        """
        hostnames = hostnames_of(route) if route.kind == "TLSRoute" else ()
        by_names: dict[tuple[str, ...], list[ListenerState]] = {}
        for listener in listeners:
            own = []
            for name in hostnames or (None,):
                if name is not None and intersection((name,), listener.hostname) is None:
                    continue
                other = self._taken.setdefault((id(listener), name), route)
                if other is route:
                    own.append(name)
                else:
                    shown = name or "every name"
                    findings.warn(f"{shown} of the listener {listener.name} is the older {other}'s")
            if own:
                by_names.setdefault(tuple(name for name in own if name is not None), []).append(listener)
        return list(by_names.items())
