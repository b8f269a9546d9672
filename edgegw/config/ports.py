"""What holds for ports as a whole, from the native document."""
from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from attrs import evolve

from edgegw.config.addresses import parse_network
from edgegw.config.bindings import ADDRESS, Binding, check_binding, find_bindings
from edgegw.config.document_terms import NAME, PORT, setting
from edgegw.config.faults import Report
from edgegw.config.scalars import Choice, Duration, Parsed, Size
from edgegw.config.shapes import REQUIRED, Field, Item, ListOf, OrWord, Record, Section, did_you_mean
from edgegw.model import Listener, PortSettings, Protocol, ProxyHeaderMode, ProxyHeaders, UnmatchedName

__all__ = ["PORT_SETTINGS", "translate_ports"]

_TLS: Final = frozenset({Protocol.HTTPS, Protocol.TLS})

#: Stands among networks for whoever connects to a Unix socket.
_UNIX: Final = "unix"
_headers = ProxyHeaders()
PROXY_PROTOCOL: Final = Record(
    (
        setting(
            _headers,
            "mode",
            Choice(ProxyHeaderMode),
            "required refuses connections without a header, and all that do not come from trusted proxies; optional "
            "serves them as if the port knew no headers.",
        ),
        Field(
            "trusted",
            ListOf(
                OrWord(
                    _UNIX,
                    Parsed("a network such as 10.0.0.0/8", parse_network, {"pattern": "^[0-9A-Fa-f.:]+(/[0-9]+)?$"}),
                    _UNIX,
                ),
                1,
                distinct=True,
            ),
            "Addresses and networks of the proxies whose headers are believed; unix for a Unix socket's clients.",
            REQUIRED,
        ),
        setting(_headers, "timeout", Duration(maximum=60.0), "For the whole header, from accepting the connection."),
        setting(_headers, "max_size", Size(256, 64 * 1024), "Of a header of version 2.", "max_bytes"),
    ),
    name="port_proxy_protocol",
    description="HAProxy's PROXY protocol, versions 1 and 2: whom connections through a proxy are for.",
)

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
        Field(
            "proxy_protocol",
            PROXY_PROTOCOL,
            "Read a PROXY header from the beginning of connections, which says whose they are.  Default: none is read.",
        ),
        Field(
            "plaintext_listener",
            NAME,
            "The listener, with the protocol HTTP or TCP and this address and port, that gets the connections to TLS "
            "listeners which do not begin with TLS.  Default: they are refused.",
            attribute="plaintext_listener",
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
        of_port = [one for one in listeners if (one.address, one.port) in bindings]
        _check_plaintext(section, settings, of_port, listeners, report)
        _check(section, settings, of_port, report)
        ports.append(evolve(settings, proxy_protocol=_proxy_headers(section.get("proxy_protocol"), bindings, report)))
    return tuple(ports)


def _proxy_headers(section: Section | None, bindings: Sequence[Binding], report: Report) -> ProxyHeaders | None:
    if section is None:
        return None
    networks: list[IPv4Network | IPv6Network] = []
    unix = False
    # With no address a section is for ports alone.
    on_unix_socket = any((address or "").startswith("unix:") for address, _ in bindings)
    for item in section.items("trusted"):
        if item.value == _UNIX:
            unix = True
            if bindings and not on_unix_socket:
                report.fault(item.node, "is for Unix sockets, and the port is none", "name the proxies' addresses")
        else:
            networks.append(item.value)
            if on_unix_socket:
                report.fault(item.node, "is a network, and who connects to a Unix socket has no address", "write unix")
            elif item.value.prefixlen == 0:
                report.warn(item.node, "lets everyone say who they are", "name the proxies' addresses")
    return PROXY_PROTOCOL.settings(section, ProxyHeaders(tuple(networks), unix))


def _check_plaintext(
    section: Section,
    settings: PortSettings,
    of_port: Sequence[Listener],
    listeners: Sequence[Listener],
    report: Report,
) -> None:
    """Find a listener without TLS that cannot stand beside those with TLS."""
    name = settings.plaintext_listener
    if name is None or not of_port:
        return
    place = section.at("plaintext_listener")
    listener = next((one for one in of_port if one.name == name), None)
    if listener is None:
        names = [one.name for one in of_port if one.protocol not in _TLS]
        if any(one.name == name for one in listeners):
            report.fault(place, f"the listener {name} has another address or port", "give it those of this entry")
        else:
            report.fault(place, f"there is no listener {name}", did_you_mean(name, names))
    elif listener.protocol in _TLS:
        report.fault(place, f"the listener {name} speaks TLS", "name one with the protocol HTTP or TCP")
    elif listener.hostname is not None:
        report.fault(place, f"the listener {name} takes {listener.hostname} alone", "let it take every name")
    elif not any(one.protocol in _TLS for one in of_port):
        report.fault(place, "no listener of the port speaks TLS", "leave it out")


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
