"""Client certificates of a Gateway's HTTPS listeners (``spec.tls.frontend``, GEP-91)."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from edgegw.gateway_api.ca_references import CAReferences
from edgegw.gateway_api.conditions import Conditions
from edgegw.gateway_api.objects import Object

__all__ = ["FrontendValidation", "PortValidation", "say_insecure"]

FALLBACK: Final = "AllowInsecureFallback"


@frozen
class PortValidation:
    """What holds for the HTTPS listeners of a port.

    :ivar mode: ``AllowValidOnly`` or ``AllowInsecureFallback``.
    :ivar ca_certificates: PEM of all that can be used.
    :ivar problems: reasons of ``ResolvedRefs`` being false and messages.
    """

    mode: str
    ca_certificates: list[str] = field(factory=list)
    problems: list[tuple[str, str]] = field(factory=list)

    def tell(self, conditions: Conditions) -> bool:
        """Say in a listener's conditions what is wrong; give whether clients can be verified at all."""
        for reason, problem in self.problems:
            conditions.false("ResolvedRefs", reason, problem)
        if not self.ca_certificates:
            said = "; ".join(problem for _, problem in self.problems)
            conditions.false("Accepted", "NoValidCACertificate", f"no CA certificate can be used: {said}")
        return bool(self.ca_certificates)


class FrontendValidation:
    """What a Gateway says about client certificates, by port: an entry of ``perPort`` replaces the default."""

    def __init__(self, gateway: Object, references: CAReferences) -> None:
        self._gateway = gateway
        self._references = references
        frontend = (gateway.spec.get("tls") or {}).get("frontend") or {}
        self._default = (frontend.get("default") or {}).get("validation")
        self._per_port: dict[int, Mapping[str, Any] | None] = {
            int(entry["port"]): (entry.get("tls") or {}).get("validation") for entry in frontend.get("perPort") or ()
        }
        self._resolved: dict[int | None, PortValidation | None] = {}

    def of(self, port: int) -> PortValidation | None:
        """Give what holds for HTTPS on a port; ``None`` where nobody is asked for a certificate."""
        key = port if port in self._per_port else None
        if key not in self._resolved:
            self._resolved[key] = self._resolve(self._default if key is None else self._per_port[key])
        return self._resolved[key]

    def _resolve(self, validation: Mapping[str, Any] | None) -> PortValidation | None:
        if validation is None:
            return None
        result = PortValidation(validation.get("mode") or "AllowValidOnly")
        for reference in validation.get("caCertificateRefs") or ():
            found = self._references.resolve(self._gateway, reference)
            if found.pem is not None and found.pem not in result.ca_certificates:
                result.ca_certificates.append(found.pem)
            if found.reason:
                result.problems.append((found.reason, found.problem))
        return result

    @property
    def insecure(self) -> list[str]:
        """Where ``AllowInsecureFallback`` is asked for: ``the default``, ``port 8444``."""
        found = ["the default"] if (self._default or {}).get("mode") == FALLBACK else []
        return found + [
            f"port {port}" for port, entry in self._per_port.items() if (entry or {}).get("mode") == FALLBACK
        ]


def say_insecure(frontend: FrontendValidation, conditions: Conditions) -> None:
    """Say in a Gateway's conditions that clients without a valid certificate may come in."""
    where = frontend.insecure
    if where:
        conditions.true(
            "InsecureFrontendValidationMode",
            "ConfigurationChanged",
            f"{FALLBACK} of {' and '.join(where)} lets clients in that have no valid certificate",
        )
