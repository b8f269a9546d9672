"""A listener in the words of the native document, as far as its own Gateway decides about it."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgegw.config.document import LISTENER
from edgegw.config.faults import Report, Severity
from edgegw.config.plain_data import nodes_of
from edgegw.gateway_api.frontend_validation import FALLBACK, FrontendValidation, PortValidation
from edgegw.gateway_api.listener_certificates import CertificateReferences, UnresolvedCertificate
from edgegw.gateway_api.listener_state import ListenerState
from edgegw.gateway_api.tls_options import TLSOptions, read_options

__all__ = ["native_listener", "not_programmed"]


def not_programmed(listener: ListenerState, problem: str, reason: str = "Invalid") -> None:
    """Say that a listener is not served."""
    listener.conditions.false("Programmed", reason, problem)


def native_listener(
    listener: ListenerState, certificates: CertificateReferences, frontend: FrontendValidation
) -> dict[str, Any] | None:
    """Give a listener's entry without name and address; ``None`` where it cannot be served, as its conditions say."""
    entry: dict[str, Any] = {"port": listener.port, "protocol": listener.protocol}
    if listener.hostname is not None:
        entry["hostname"] = listener.hostname
    if listener.protocol in ("HTTPS", "TLS"):
        tls = listener.spec.get("tls") or {}
        options = read_options(tls.get("options") or {}, listener.protocol)
        if listener.passthrough:
            if options.given or options.problems:
                options.problems.append("tls.options mean nothing with Passthrough, whose TLS ends at a backend")
            entry["tls"] = {"mode": "Passthrough"}
        else:
            entry.update(_terminated(listener, tls, options, certificates, frontend))
        for problem in options.problems:
            # kgateway gives this reason, whatever in a listener's TLS is wrong.
            listener.conditions.false("ResolvedRefs", "InvalidCertificateRef", problem)
            not_programmed(listener, problem)
    if not (listener.kinds or listener.conditions.is_false("Accepted")):
        not_programmed(listener, "there is no kind of route that it may carry")
    if listener.conditions.is_false("Accepted") or listener.conditions.is_false("Programmed"):
        return None
    return entry if _is_understood(listener, entry) else None


def _terminated(
    listener: ListenerState,
    tls: Mapping[str, Any],
    options: TLSOptions,
    certificates: CertificateReferences,
    frontend: FrontendValidation,
) -> dict[str, Any]:
    """Give what a listener that ends TLS has beside its place."""
    settings: dict[str, Any] = {}
    found = _certificates(listener, tls, certificates)
    if found:
        settings["certificates"] = found
    elif "dynamic_certificates" not in options.tls and not listener.conditions.is_false("ResolvedRefs"):
        problem = "there is no certificate to show; give certificateRefs"
        listener.conditions.false("ResolvedRefs", "InvalidCertificateRef", problem)
        not_programmed(listener, problem)
    settings.update(options.tls)
    # Only HTTPS is what spec.tls.frontend is about.
    port = frontend.of(listener.port) if listener.protocol == "HTTPS" else None
    if port is not None and not port.tell(listener.conditions):
        not_programmed(listener, "no client could be verified, so that nobody is let in")
    listener_settings = dict(options.listener)
    validation = _validation(port, options)
    if validation is not None:
        settings["client_validation"] = validation
    elif options.policies:
        listener_settings["policies"] = options.policies
    return {"tls": settings, **listener_settings}


def _certificates(
    listener: ListenerState, tls: Mapping[str, Any], certificates: CertificateReferences
) -> list[dict[str, str]]:
    good = []
    problems: list[UnresolvedCertificate] = []
    for reference in tls.get("certificateRefs") or ():
        found = certificates.resolve(listener.gateway, reference)
        if isinstance(found, UnresolvedCertificate):
            problems.append(found)
        elif found not in good:
            good.append(found)
    # That a reference is not permitted goes before all that may be wrong with what it refers to.
    for problem in sorted(problems, key=lambda one: not one.not_permitted):
        reason = "RefNotPermitted" if problem.not_permitted else "InvalidCertificateRef"
        listener.conditions.false("ResolvedRefs", reason, problem.problem)
        not_programmed(listener, problem.problem)
    return good


def _validation(port: PortValidation | None, options: TLSOptions) -> dict[str, Any] | None:
    """Give ``client_validation`` of a listener, with its pins; ``None`` where no client is asked for a certificate."""
    pins: list[Any] = []
    if options.subject_alt_names:
        if port is None or not port.ca_certificates:
            options.problems.append(
                "verify-subject-alt-names annotation requires a trusted CA to be configured; give caCertificateRefs "
                "in spec.tls.frontend"
            )
        pins.append({"subject_alt_names": {"dns": options.subject_alt_names}})
    if options.certificate_hashes:
        pins.append({"certificate_hash": {"hashes": options.certificate_hashes}})
    policies = [*pins, *options.policies]
    if port is not None:
        validation: dict[str, Any] = {"mode": port.mode, "ca_certificates": port.ca_certificates}
        lets_everyone_in = options.validation.get("envoy_compatible") is True
        if port.mode == FALLBACK and options.subject_alt_names and not lets_everyone_in:
            # A name that no CA vouches for anybody can write into a certificate.
            validation["mode"] = "AllowValidOnly"
    elif options.certificate_hashes:
        # The pin alone decides, as with Envoy: whose certificate it is needs no CA to say.
        validation = {"mode": FALLBACK}
    else:
        if options.validation:
            keys = ", ".join(f"edgegw.io/{key.replace('_', '-')}" for key in options.validation)
            options.problems.append(f"{keys}: no client is asked for a certificate; give spec.tls.frontend")
        return None
    validation.update(options.validation)
    if policies:
        validation["policies"] = policies
    return validation


_UNNAMED: Final = {"name": "listener"}


def _is_understood(listener: ListenerState, entry: dict[str, Any]) -> bool:
    """Whether the native language takes an entry, as far as it can tell without files and plugins."""
    report = Report("")
    LISTENER.read(nodes_of({**_UNNAMED, **entry}), report)
    for fault in report.findings:
        if fault.severity is Severity.FAULT:
            told = f"{fault.path}: {fault.problem}" + (f"; {fault.remedy}" if fault.remedy else "")
            not_programmed(listener, told)
    return not report.failed
