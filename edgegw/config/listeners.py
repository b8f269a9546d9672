"""Listeners, from the native document, and what two of them must not share."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from attrs import fields_dict, frozen

from edgegw.config.addresses import MAX_SOCKET_PATH, overlap
from edgegw.config.document import LISTENER
from edgegw.config.document_http import FORWARDING, HTTP, HTTP2
from edgegw.config.document_http import limits as translate_limits
from edgegw.config.faults import Place, Report
from edgegw.config.injection import DEFAULT_INJECTION, translate_injection
from edgegw.config.policies import PluginTranslation
from edgegw.config.shapes import Item, Section
from edgegw.config.tls import TLSTranslation
from edgegw.model import (
    XFCC,
    Admin,
    ClientCertificateField,
    ClientValidation,
    ConnectionLimits,
    Forwarding,
    HeaderInjection,
    HealthCheck,
    HTTP2Settings,
    HTTPSettings,
    InjectorUse,
    Listener,
    PolicyAll,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    Protocol,
    TLSMode,
    XFCCDetail,
)

__all__ = ["Validations", "check_bindings", "translate_listener", "translate_validations"]


@frozen
class Validations:
    """The client validation of listeners that terminate TLS, by port (Gateway API ``tls.frontend``)."""

    default: ClientValidation | None
    per_port: dict[int, ClientValidation | None]

    def of(self, port: int) -> ClientValidation | None:
        """Give what holds for a port: its own entry as a whole, else the default."""
        return self.per_port.get(port, self.default)


def translate_validations(
    section: Section | None, listeners: tuple[Item[Section], ...], tls: TLSTranslation, report: Report
) -> Validations:
    """Read ``client_validation`` at the top of the document."""
    if section is None:
        return Validations(None, {})
    terminating = {item.value.get("port") for item in listeners if _terminates(item.value)}
    per_port: dict[int, ClientValidation | None] = {}
    for item in section.items("per_port"):
        entry: Section = item.value
        port = entry.get("port")
        # Without a readable value nothing is put in its place: the document has a fault.
        validation = tls.client_validation(entry.get("validation"))
        if port is None:
            continue
        if port in per_port:
            report.fault(entry.at("port"), f"the port {port} has an entry already", "keep one of the two")
        elif port not in terminating:
            report.fault(
                entry.at("port"),
                f"no listener that terminates TLS has the port {port}",
                "give the port of a listener, or remove it",
            )
        per_port.setdefault(port, validation)
    return Validations(tls.client_validation(section.get("default")), per_port)


def _terminates(section: Section) -> bool:
    tls: Section | None = section.get("tls")
    secure = section.get("protocol", Protocol.HTTPS) in (Protocol.HTTPS, Protocol.TLS)
    return secure and (tls is None or tls.get("mode") is not TLSMode.PASSTHROUGH)


def translate_listener(
    section: Section,
    defaults: tuple[ConnectionLimits, HTTPSettings, Forwarding, HTTP2Settings],
    validations: Validations,
    tls: TLSTranslation,
    plugins: PluginTranslation,
    directory: Path,
    report: Report,
) -> Listener:
    """Make a listener; where the document is at fault, one that is never used.

    :param defaults: from the top of the document.
    """
    limits, http, forwarding, http2 = defaults
    port = section.get("port", 0)
    settings = None
    tls_section: Section | None = section.get("tls")
    hostname = section.get("hostname")
    protocol = section.get("protocol", Protocol.HTTPS)
    if tls_section is not None:
        settings = tls.tls(tls_section, validations.of(port), hostname, protocol)
    if "header_injection" in section:
        injection = translate_injection(section.items("header_injection"), plugins, report)
    else:
        asks = settings is not None and settings.client_validation is not None and protocol is Protocol.HTTPS
        injection = DEFAULT_INJECTION if asks else ()
    if tls_section is not None and tls_section.get("session_tickets") and any(map(_sends_chain, injection)):
        report.warn(
            tls_section.at("session_tickets"),
            "no tickets are issued, because the chain that upstreams are to be told is in none",
            "leave it out or false, or do without chain in header_injection",
        )
    listener = Listener(
        name=section.get("name", ""),
        port=port,
        address=_address(section, directory, report),
        hostname=hostname,
        tls=settings,
        mode=TLSMode.TERMINATE if tls_section is None else tls_section.get("mode", TLSMode.TERMINATE),
        application_protocols=tuple(item.value for item in section.items("application_protocols")),
        header_injection=injection,
        limits=translate_limits(section.get("limits"), limits),
        http=HTTP.settings(section.get("http"), http),
        http2=HTTP2.settings(section.get("http2"), http2),
        forwarding=FORWARDING.settings(section.get("forwarding"), forwarding),
        policies=plugins.policies(section.get("policies")),
        health_check=_health_check(section.get("health_check")),
    )
    if listener.policies is not None and settings is not None and settings.client_validation is None:
        _check_anonymous(section, listener.policies, report)
    return LISTENER.settings(section, listener)


def _check_anonymous(section: Section, policies: tuple[PolicyRule, ...], report: Report) -> None:
    """Find policies that would refuse everyone where nobody is asked for a certificate."""
    if not all(map(_judges_everyone, policies)):
        report.fault(
            section.at("policies"),
            "no certificate is asked for here, and not all of these judge clients without one",
            "give the listener client_validation",
        )


def _judges_everyone(rule: PolicyRule) -> bool:
    if isinstance(rule, PolicyUse):
        return bool(getattr(rule.policy, "without_certificate", getattr(rule.kind, "without_certificate", False)))
    if isinstance(rule, PolicyAll):
        return all(map(_judges_everyone, rule.members))
    members = (rule.member,) if isinstance(rule, PolicyNot) else rule.members
    return any(map(_judges_everyone, members))


def _health_check(section: Section | None) -> HealthCheck | None:
    if section is None or "path" not in section or "sources" not in section:
        return None
    return HealthCheck(section.get("path"), tuple(item.value for item in section.items("sources")))


def _sends_chain(injection: HeaderInjection) -> bool:
    if isinstance(injection, XFCC):
        return XFCCDetail.CHAIN in injection.details
    if isinstance(injection, InjectorUse):
        return bool(injection.injector.needs_chain)
    return isinstance(injection, ClientCertificateField) and injection.chain


def _address(section: Section, directory: Path, report: Report) -> str | None:
    address: str | None = section.get("address")
    if address is None or not address.startswith("unix:"):
        return address
    path = str(directory / address.removeprefix("unix:"))
    if len(path.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH:
        report.fault(
            section.at("address"),
            f"the path {path} is longer than {MAX_SOCKET_PATH} bytes",
            "use a shorter one, such as unix:/run/edgegw.sock",
        )
    return f"unix:{path}"


@frozen
class _Binding:
    """The listeners on one address and port.

    :ivar first: the one that the others must agree with.
    :ivar by_name: each by the name that it takes, and the protocol that its clients offer.
    """

    first: Listener
    by_name: dict[tuple[str | None, str | None], Listener]


#: Which protocols may share a port: TLS tells by its ClientHello which listener a client is for.
_SHARE: Final = {
    Protocol.HTTP: frozenset({Protocol.HTTP}),
    Protocol.HTTPS: frozenset({Protocol.HTTPS, Protocol.TLS}),
    Protocol.TLS: frozenset({Protocol.HTTPS, Protocol.TLS}),
    Protocol.TCP: frozenset({Protocol.TCP}),
}


class _Bindings:
    """What is bound already, as the document is gone through."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._by_port: dict[int, dict[str | None, _Binding]] = {}

    def add(self, section: Section, listener: Listener) -> None:
        """Add a listener, or report what it shares with another and must not."""
        on_port = self._by_port.setdefault(listener.port, {})
        place = section.at("port" if "port" in section else "address")
        what = listener.address if listener.port == 0 else f"port {listener.port}"
        for address, other in on_port.items():
            if address != listener.address and overlap(address, listener.address):
                self._report.fault(
                    section.at("address") if "address" in section else place,
                    f"{listener.address or 'every address'} and {address or 'every address'} of "
                    f"{other.first.name} overlap on {what}",
                    "give both the same address, or use another port",
                )
                return
        binding = on_port.setdefault(listener.address, _Binding(listener, {}))
        if listener.protocol not in _SHARE[binding.first.protocol]:
            self._report.fault(
                section.at("protocol") if "protocol" in section else place,
                f"{what} is used by {binding.first.name} with the protocol {binding.first.protocol.value} already",
                "use one protocol on a port, or HTTPS and TLS",
            )
        elif self._is_new(section, listener, binding, what, place) and listener is not binding.first:
            self._warn_of_shared(section, binding.first, listener, what)

    def _is_new(
        self, section: Section, listener: Listener, binding: _Binding, what: str | None, place: Place
    ) -> bool:
        """Whether no other listener takes the same clients, which is reported."""
        for offered in listener.application_protocols or (None,):
            other = binding.by_name.setdefault((listener.hostname, offered), listener)
            if other is listener:
                continue
            clients = "" if offered is None else f" and clients that offer {offered}"
            taken = "all of it" if listener.protocol is Protocol.TCP else (listener.hostname or "every name") + clients
            self._report.fault(
                section.at("hostname") if "hostname" in section else place,
                f"{what} is used by {other.name} for {taken} already",
                "use another port" if listener.protocol is Protocol.TCP
                else "give each listener on a port another hostname",
            )
            return False
        return True

    def _warn_of_shared(self, section: Section, first: Listener, listener: Listener, what: str | None) -> None:
        """Warn of settings that hold before it is known which of a port's listeners a client is for."""
        remedy = "give every listener on the port the same"
        for key, attribute, rule in _of_port(listener.protocol):
            part, _, name = key.partition(".")
            if getattr(getattr(first, part), attribute) == getattr(getattr(listener, part), attribute):
                continue
            own: Section | None = section.get(part)
            place = own.at(name) if own is not None else section.node
            problem = f"{key} is not the same as that of {first.name}, and on {what} {rule} for all listeners"
            self._report.warn(place, problem, remedy)


def _of_port(protocol: Protocol) -> Iterator[tuple[str, str, str]]:
    """Give the settings that the listeners of a port share: path, attribute of the model's, and which one holds."""
    highest, first = "the highest holds", "the first listener's holds"
    yield "limits.max_connections_per_peer", "max_connections_per_peer", highest
    if protocol in (Protocol.HTTPS, Protocol.TLS):
        yield "limits.handshake_timeout", "handshake_timeout", highest
        return
    # Without TLS only the head of a request says which listener it is for.
    yield "limits.max_connections", "max_connections", "the sum holds"
    yield "limits.connection_rate", "connection_rate", first
    yield "http.max_head_size", "max_head_bytes", first
    yield "http.max_headers", "max_headers", first
    yield "http.max_uri_size", "max_uri_bytes", first
    yield "http.head_timeout", "head_timeout", first
    for name in fields_dict(HTTP2Settings):
        yield f"http2.{_HTTP2_KEYS.get(name, name)}", name, first


_HTTP2_KEYS: Final = {"header_table": "header_table_size", "max_open_heads": "max_open_heads_size"}


#: Without one of these, what a listener is for is not known.
_TELL_APART: Final = ("address", "port", "protocol", "hostname", "application_protocols")


def check_bindings(
    listeners: Iterable[tuple[Section, Listener]], beside_tls: AbstractSet[str], admin: Admin | None, report: Report
) -> None:
    """Find listeners that cannot be bound, or told from each other or from the admin listener.

    :param beside_tls: names of listeners that share a port with those that speak TLS, although they do not.
    """
    bindings = _Bindings(report)
    for section, listener in listeners:
        given = section.node.values
        if any(key in given and key not in section for key in _TELL_APART):
            continue
        unix = listener.address is not None and listener.address.startswith("unix:")
        if not unix and listener.port == 0:
            # Each gets a port of its own, or has none and was reported for it.
            continue
        if listener.name not in beside_tls:
            bindings.add(section, listener)
        if admin is not None and admin.port == listener.port and overlap(admin.address, listener.address):
            report.fault(
                section.at("port"),
                f"the port {admin.port} is the admin listener's",
                "use another port here or there, or admin: disabled",
            )
