"""Certificates with their keys that Gateways refer to: those of listeners, and the one that upstreams are shown."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from attrs import frozen

from edgegw.config.faults import Severity
from edgegw.config.pem_text import named_pem
from edgegw.config.server_certificates import Finding, judge_pair
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.object_data import data_of, is_core
from edgegw.gateway_api.objects import CORE, Object, Objects

__all__ = ["CertificateReferences", "UnresolvedCertificate"]

#: Findings about dates are of no concern here, and are left to whoever loads the document.
_SOME_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)


@frozen
class UnresolvedCertificate:
    """Why a reference gives no certificate.

    :ivar not_permitted: whether it is for want of a ReferenceGrant.
    """

    problem: str
    not_permitted: bool = False


class CertificateReferences:
    """Looks up certificates, each Secret once."""

    def __init__(self, objects: Objects, grants: Grants) -> None:
        self._objects = objects
        self._grants = grants
        self._read: dict[tuple[str, str], dict[str, str] | UnresolvedCertificate] = {}

    def resolve(self, gateway: Object, reference: Mapping[str, Any]) -> dict[str, str] | UnresolvedCertificate:
        """Give ``certificate`` and ``private_key`` of the native document, PEM with the Secret's name before it.

        :param reference: a ``SecretObjectReference``, defaults filled in.
        """
        group, kind = reference.get("group", CORE), reference.get("kind", "Secret")
        namespace, name = reference.get("namespace") or gateway.namespace, reference["name"]
        if not is_core(group) or kind != "Secret":
            what = f"{kind} of the group {group}" if group else kind
            return UnresolvedCertificate(f"a {what} holds no certificate; refer to a Secret")
        if not self._grants.allow(gateway, CORE, kind, namespace, name):
            problem = (
                f"Secret {namespace}/{name} is in another namespace, and no ReferenceGrant there lets a Gateway of "
                f"{gateway.namespace} refer to it"
            )
            return UnresolvedCertificate(problem, not_permitted=True)
        key = (namespace, name)
        if key not in self._read:
            self._read[key] = self._certificate(*key)
        return self._read[key]

    def _certificate(self, namespace: str, name: str) -> dict[str, str] | UnresolvedCertificate:
        secret = self._objects.get(CORE, "Secret", namespace, name)
        if secret is None:
            return UnresolvedCertificate(f"there is no Secret {namespace}/{name}")
        try:
            chain, private_key = data_of(secret, "tls.crt"), data_of(secret, "tls.key")
        except ValueError as error:
            return UnresolvedCertificate(str(error))
        missing = [key for key, value in (("tls.crt", chain), ("tls.key", private_key)) if value is None]
        if chain is None or private_key is None:
            return UnresolvedCertificate(f"{secret} has no {' and no '.join(missing)}")
        found: list[Finding] = []
        what = f"tls.crt of {secret}", f"tls.key of {secret}"
        judged = judge_pair(*what, lambda: chain, lambda: (private_key, None), _SOME_TIME, found)
        if judged is None:
            return UnresolvedCertificate(_told(found))
        return {
            "certificate": named_pem(str(secret), judged.chain),
            "private_key": named_pem(str(secret), judged.private_key),
        }


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(
        f"{one.problem}: {one.remedy}" if one.remedy else one.problem
        for one in findings
        if one.severity is Severity.FAULT
    )
