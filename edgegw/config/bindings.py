"""Addresses and ports of listeners, named where something is said that holds for all of a port's listeners."""
from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from edgegw.config.addresses import parse_address
from edgegw.config.document_terms import PORT
from edgegw.config.faults import Report
from edgegw.config.scalars import Parsed
from edgegw.config.shapes import Section
from edgegw.model import Listener, Protocol

__all__ = ["ADDRESS", "Binding", "check_binding", "find_bindings"]

#: An address and a port, as :class:`~edgegw.model.Listener` has them.
Binding = tuple[str | None, int]

ADDRESS: Final = Parsed(
    "an IP address, or unix: and a path",
    parse_address,
    {"pattern": r"^([0-9.]+|[0-9A-Fa-f:.]+(%[^\s]+)?|unix:[^\u0000]+)$"},
)


def check_binding(section: Section, report: Report) -> None:
    """Find a section that names no port, or one beside a Unix socket."""
    node = section.node
    unix = section.get("address", "").startswith("unix:")
    if unix and "port" in node.values:
        report.fault(section.at("port"), "a Unix socket has no port", "leave port out")
    if not unix and "port" not in node.values and ("address" in section or "address" not in node.values):
        report.fault(node, "has no port", f"give port: {PORT.wanted}")


def find_bindings(
    section: Section, listeners: Iterable[Listener], protocols: AbstractSet[Protocol], directory: Path, report: Report
) -> tuple[Binding, ...]:
    """Give the addresses and ports of listeners that a section is for, without an address all with its port.

    :param protocols: of the listeners that are meant; that there is none is a fault.
    """
    given = section.node.values
    if any(key in given and key not in section for key in ("address", "port")):
        return ()
    address: str | None = section.get("address")
    if address is not None and address.startswith("unix:"):
        address = f"unix:{directory / address.removeprefix('unix:')}"
    elif "port" not in section:
        return ()
    port = section.get("port", 0)
    found = {
        (listener.address, listener.port): None
        for listener in listeners
        if listener.protocol in protocols
        and listener.port == port
        and (listener.address == address if address is not None else not (listener.address or "").startswith("unix:"))
    }
    if not found:
        what = f"the address {section.get('address')}" if "address" in section else f"the port {port}"
        both = f"{what} and the port {port}" if "address" in section and "port" in section else what
        kinds = "" if protocols == set(Protocol) else " or ".join(sorted(each.value for each in protocols)) + " "
        place = section.at("address" if "address" in section else "port")
        report.fault(place, f"no {kinds}listener has {both}", "give those of a listener")
    return tuple(found)
