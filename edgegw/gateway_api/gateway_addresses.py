"""Where a Gateway listens (``spec.addresses``)."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from attrs import define, field

from edgegw.config.addresses import overlap, parse_hostname, parse_ip_address
from edgegw.config.scalars import Unparsable
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects

__all__ = ["IP_ADDRESS", "named_addresses", "resolve_addresses", "wants_address"]

IP_ADDRESS: Final = "IPAddress"
_HOSTNAME: Final = "Hostname"
#: The most that the CRD lets stand in ``status.addresses``.
_MOST_SHOWN: Final = 16


def named_addresses(objects: Objects) -> tuple[frozenset[str], frozenset[str]]:
    """Give the IP addresses and the host names that Gateways name.

    Whether the former can be bound and what the latter stand for is for :class:`Surroundings` to say.
    """
    found: dict[str, set[str]] = {IP_ADDRESS: set(), _HOSTNAME: set()}
    for gateway in objects.of_kind(GATEWAY_API, "Gateway"):
        for entry in gateway.spec.get("addresses") or ():
            found.setdefault(entry.get("type") or IP_ADDRESS, set()).add(entry.get("value") or "")
    return frozenset(found[IP_ADDRESS] - {""}), frozenset(found[_HOSTNAME] - {""})


def wants_address(gateway: Object) -> bool:
    """Whether a Gateway leaves it to others which IP address it has."""
    entries = gateway.spec.get("addresses") or ()
    empty = any((one.get("type") or IP_ADDRESS) == IP_ADDRESS and not one.get("value") for one in entries)
    return empty or not entries


@define
class _Bound:
    """What is bound, and what the status shows; ``bound`` of ``None`` is every address."""

    bound: list[str | None] = field(factory=list)
    shown: list[dict[str, Any]] = field(factory=list)

    def add(self, address: str | None) -> None:
        """Bind an address, unless another one takes it in; 0.0.0.0 and :: take in all of their family."""
        if any(overlap(address, other) and not _wider(address, other) for other in self.bound):
            return
        self.bound = [other for other in self.bound if not overlap(address, other)]
        self.bound.append(address)


def _wider(address: str | None, other: str | None) -> bool:
    """Whether an address takes in another one that is not itself."""
    if address == other or other is None:
        return False
    return address is None or ip_address(address).is_unspecified


def resolve_addresses(
    gateway: Object, surroundings: Surroundings, conditions: Conditions
) -> tuple[list[str | None], list[dict[str, Any]]]:
    """Give what a Gateway's listeners are bound to, ``None`` for every address, and its ``status.addresses``.

    :param conditions: of the Gateway: takes UnsupportedAddress, AddressNotUsable and AddressNotAssigned.
    """
    assigned = surroundings.gateway_addresses.get((gateway.namespace, gateway.name))
    entries = list(gateway.spec.get("addresses") or ())
    result = _Bound()
    if not entries:
        entries = [{"type": IP_ADDRESS}]
    for entry in entries:
        kind, value = entry.get("type") or IP_ADDRESS, entry.get("value")
        if kind not in (IP_ADDRESS, _HOSTNAME):
            conditions.false(
                "Accepted", "UnsupportedAddress", f"addresses of the type {kind} mean nothing here; use {IP_ADDRESS}"
            )
        elif value:
            _add(kind, value, surroundings, conditions, result)
        elif kind == _HOSTNAME:
            conditions.false("Programmed", "AddressNotAssigned", "no host name can be assigned; give a value")
        elif assigned == "":
            conditions.false("Programmed", "AddressNotAssigned", "no address is left to assign; give a value")
        elif assigned is not None:
            _add(IP_ADDRESS, assigned, surroundings, conditions, result)
        elif len(entries) > 1:
            conditions.false(
                "Programmed", "AddressNotAssigned", "there is no address to assign beside the others; give a value"
            )
        else:
            result.add(None)
            result.shown += [{"type": IP_ADDRESS, "value": address} for address in surroundings.host_addresses]
    return result.bound, result.shown[:_MOST_SHOWN]


def _add(kind: str, value: str, surroundings: Surroundings, conditions: Conditions, result: _Bound) -> None:
    usable = False
    for address, problem in _usable(kind, value, surroundings):
        if address is None or problem:
            conditions.false("Programmed", "AddressNotUsable", f"{value} cannot be listened on: {problem}")
        else:
            result.add(address)
            usable = True
    shown = {"type": kind, "value": value}
    if usable and shown not in result.shown:
        result.shown.append(shown)


def _usable(kind: str, value: str, surroundings: Surroundings) -> Iterator[tuple[str | None, str]]:
    """Give each address that a value stands for, and what keeps it from being used."""
    try:
        if kind == _HOSTNAME:
            given: Mapping[str, tuple[str, ...]] = surroundings.host_names
            found = given.get(value) or given.get(parse_hostname(value)) or ()
            addresses = [parse_ip_address(each) for each in found]
        else:
            addresses = [parse_ip_address(value)]
    except Unparsable as error:
        yield None, f"it {error}"
        return
    if not addresses:
        yield None, "the name has no address that is known"
    for address in addresses:
        yield address, surroundings.unusable_addresses.get(address, "")
