"""What holds for ports as a whole, from the native document."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgegw.config.bindings import ADDRESS, Binding, check_binding, find_bindings
from edgegw.config.document_terms import PORT
from edgegw.config.faults import Report
from edgegw.config.scalars import Choice
from edgegw.config.shapes import Field, Item, Record, Section
from edgegw.model import Listener, PortSettings, Protocol, UnmatchedName

__all__ = ["PORT_SETTINGS", "translate_ports"]

_TLS: Final = frozenset({Protocol.HTTPS, Protocol.TLS})

PORT_SETTINGS: Final = Record(
    (
        Field("address", ADDRESS, "The address of listeners, written as theirs is.  Default: every one with the port."),
        Field("port", PORT, "The port of listeners."),
        Field(
            "unmatched_name",
            Choice(UnmatchedName),
            "What becomes of TLS clients whose name no listener takes, and of those that name none: close without an "
            "alert, the alert unrecognized_name, or the first listener's default_certificate.  Default: close where a "
            "listener of the port passes TLS through, default_certificate elsewhere.",
            attribute="unmatched_name",
        ),
    ),
    name="port_settings",
    description="What holds for all listeners of a port.",
    check=check_binding,
)


def translate_ports(
    items: Sequence[Item[Section]], listeners: Sequence[Listener], directory: Path, report: Report
) -> tuple[PortSettings, ...]:
    """Make the settings of ports, and find the listeners that they are for."""
    taken: dict[Binding, Section] = {}
    ports = []
    for item in items:
        section: Section = item.value
        bindings = find_bindings(section, listeners, frozenset(Protocol), directory, report)
        for binding in bindings:
            if taken.setdefault(binding, section) is not section:
                place = section.at("port" if "port" in section else "address")
                report.fault(place, f"has settings already, in line {taken[binding].node.line}", "keep one of the two")
                break
        settings = PORT_SETTINGS.settings(section, PortSettings(bindings))
        _check(section, settings, [one for one in listeners if (one.address, one.port) in bindings], report)
        ports.append(settings)
    return tuple(ports)


def _check(section: Section, settings: PortSettings, listeners: Sequence[Listener], report: Report) -> None:
    """Find settings that do nothing on the listeners that they are for, or cannot be followed there."""
    if settings.unmatched_name is None or not listeners:
        return
    place = section.at("unmatched_name")
    secure = [one for one in listeners if one.protocol in _TLS]
    if not secure:
        report.fault(place, "is about TLS, and no listener of the port speaks it", "leave it out")
    elif settings.unmatched_name is UnmatchedName.DEFAULT_CERTIFICATE and all(one.tls is None for one in secure):
        report.fault(
            place, "no listener of the port has a certificate to show", "use close or unrecognized_name"
        )
    elif any(one.hostname is None and not one.application_protocols for one in secure):
        report.fault(place, "a listener of the port takes every name", "leave it out, or give that listener a hostname")
