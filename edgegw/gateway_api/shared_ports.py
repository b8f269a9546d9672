"""Which listener gets a port, where Gateways name the same ones, and the native listeners that come of it."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from attrs import field, frozen

from edgegw.config.addresses import overlap
from edgegw.gateway_api.distinct_listeners import FAMILIES, covered
from edgegw.gateway_api.listener_state import ListenerState
from edgegw.gateway_api.native_listeners import not_programmed

__all__ = ["Candidate", "SharedPorts", "stand_in", "unmatched_names"]

#: Stands for a listener that is not served, so that its clients do not come in by a less specific one.
_REFUSES: Final[dict[str, dict[str, Any]]] = {
    "HTTP": {"protocol": "HTTP"},
    "TLS": {"protocol": "TLS", "tls": {"mode": "Passthrough"}},
}


@frozen(eq=False)
class Candidate:
    """A listener that would be served if nobody else had its port.

    :ivar addresses: of its Gateway; ``None`` is all.
    :ivar entry: its native form without name and address; ``None`` if it is not to be served.
    """

    listener: ListenerState
    addresses: list[str | None]
    entry: dict[str, Any] | None


@frozen
class _Binding:
    """The listeners that are served on one address and port, all of one family of protocols, by their host names."""

    family: str
    by_hostname: dict[str | None, ListenerState] = field(factory=dict)


class SharedPorts:
    """Gives ports to listeners, first come, first served.

    :ivar listeners: native ones.
    :ivar owners: the listener that each is made of, by its name.
    """

    def __init__(self) -> None:
        self.listeners: list[dict[str, Any]] = []
        self.owners: dict[str, ListenerState] = {}
        self._by_port: dict[int, dict[str | None, _Binding]] = {}
        self._broken: list[tuple[ListenerState, str | None, str]] = []

    def add(self, candidate: Candidate) -> None:
        """Give a listener its port on each of its Gateway's addresses, or say what keeps it from it."""
        listener = candidate.listener
        if listener.protocol not in FAMILIES:
            return
        if not listener.conditions.is_false("Accepted"):
            problems = list(filter(None, (self._taken(listener, address) for address in candidate.addresses)))
            if problems:
                listener.conditions.false("Accepted", "PortUnavailable", problems[0])
                not_programmed(listener, problems[0])
                self.refuse(candidate)
                return
        if candidate.entry is None:
            self.refuse(candidate)
            return
        for address in candidate.addresses:
            name = _native_name(listener, address, len(candidate.addresses) > 1)
            place = {} if address is None else {"address": address}
            self.listeners.append({"name": name, **place, **candidate.entry})
            self.owners[name] = listener
            listener.native.append(name)
            on_port = self._by_port.setdefault(listener.port, {})
            on_port.setdefault(address, _Binding(FAMILIES[listener.protocol])).by_hostname[listener.hostname] = listener

    def refuse(self, candidate: Candidate) -> None:
        """Leave a listener out on all of its Gateway's addresses; see :meth:`refuse_broken`."""
        listener = candidate.listener
        if listener.protocol not in FAMILIES:
            return
        several = len(candidate.addresses) > 1
        for address in candidate.addresses:
            self._broken.append((listener, address, _native_name(listener, address, several)))

    def _taken(self, listener: ListenerState, address: str | None) -> str:
        """Say which listener of another Gateway has what this one wants; empty if none has."""
        for bound, binding in _overlapping(self._by_port.get(listener.port, {}), address):
            others = [one for one in binding.by_hostname.values() if one.gateway is not listener.gateway]
            if not others:
                continue
            where = f"port {listener.port}" + (f" of {bound}" if bound is not None else "")
            if bound != address or FAMILIES[listener.protocol] != binding.family or binding.family == "TCP":
                return f"{where} is used by {_told(others[0])} already"
            other = binding.by_hostname.get(listener.hostname)
            if other is not None and other.gateway is not listener.gateway:
                return f"{listener.hostname or 'every name'} on {where} is used by {_told(other)} already"
        return ""

    def refuse_broken(self) -> None:
        """Keep what is for listeners that are not served from others that take their names as well.

        Whoever asks for the name gets 404 or, with TLS, no connection: what the listener would have demanded of
        clients is not to be had around.
        """
        refused = set()
        for listener, address, name in self._broken:
            family, hostname = FAMILIES[listener.protocol], listener.hostname
            binding = self._by_port.get(listener.port, {}).get(address)
            key = (listener.port, address, hostname)
            if binding is None or binding.family != family or hostname in binding.by_hostname or key in refused:
                continue
            if any(covered(hostname, other) for other in binding.by_hostname):
                refused.add(key)
                place = {} if address is None else {"address": address}
                self.listeners.append(
                    {"name": name, **place, "port": listener.port, "hostname": hostname, **_REFUSES[family]}
                )
                self.owners[name] = listener


def stand_in(entry: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Give what refuses the clients of a native listener that cannot be had; ``None`` if no other would get them.

    :param others: native listeners that are served.
    """
    family, hostname = FAMILIES[entry["protocol"]], entry.get("hostname")
    place = {key: entry[key] for key in ("name", "address", "port") if key in entry}
    for other in others:
        same = all(other.get(key) == entry.get(key) for key in ("address", "port"))
        if same and FAMILIES[other["protocol"]] == family and covered(hostname, other.get("hostname")):
            return {**place, "hostname": hostname, **_REFUSES[family]}
    return None


def unmatched_names(
    listeners: Iterable[Mapping[str, Any]], owners: Mapping[str, ListenerState]
) -> list[dict[str, Any]]:
    """Give ``ports`` of the native document: clients without a name find what they would without names being refused.

    What stands in passes TLS through, and where that is done names that no listener takes are turned away.

    :param listeners: native ones, and what stands in for others.
    :param owners: the listener that each is made of, by its name.
    """
    by_place: dict[tuple[str | None, int], list[Mapping[str, Any]]] = {}
    for one in listeners:
        if "tls" in one:
            by_place.setdefault((one.get("address"), one["port"]), []).append(one)
    found = []
    for (address, port), group in by_place.items():
        served = [one for one in group if one["name"] in owners[one["name"]].native]
        if served and len(served) < len(group) and all(one.get("hostname") and not _passes(one) for one in served):
            place = {} if address is None else {"address": address}
            found.append({**place, "port": port, "unmatched_name": "default_certificate"})
    return found


def _passes(entry: Mapping[str, Any]) -> bool:
    return bool(entry["tls"].get("mode") == "Passthrough")


def _overlapping(on_port: dict[str | None, _Binding], address: str | None) -> Iterator[tuple[str | None, _Binding]]:
    """Give the bindings that take in an address, or are taken in by it."""
    # Most addresses are single ones, of which there may be many.
    wide = address is None or ip_address(address).is_unspecified
    for bound in on_port if wide else (address, None, "0.0.0.0", "::"):
        if bound in on_port and overlap(address, bound):
            yield bound, on_port[bound]


def _told(listener: ListenerState) -> str:
    return f"the listener {listener.name} of {listener.gateway}"


def _native_name(listener: ListenerState, address: str | None, several: bool) -> str:
    """Give a name for logs, metrics and routes: ``infra/public/https``, and the address where there are several."""
    name = f"{listener.gateway.namespace}/{listener.gateway.name}/{listener.name}"
    if not several or address is None:
        return name
    # No name ends in a colon.
    address = address.replace("%", ".")
    return f"{name}/{address}0" if address.endswith(":") else f"{name}/{address}"
