"""CA certificates that Gateways and policies refer to: ConfigMaps, and Secrets, with ``ca.crt``."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgegw.config import pem
from edgegw.config.pem_text import named_pem
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.object_data import data_of, is_core
from edgegw.gateway_api.objects import CORE, Object, Objects

__all__ = ["CAReferences", "CAs"]

_KINDS: Final = ("ConfigMap", "Secret")
_KEY: Final = "ca.crt"
#: Stands for all CRLs: whoever loads the document warns that they are not used.
_CRL: Final = b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"


@frozen
class CAs:
    """What a reference gives.

    :ivar pem: for ``ca_certificates`` of the native document, with the object's name before it; ``None`` without any
        certificate that can be used.
    :ivar problem: what is wrong with the reference or with some of its certificates.
    :ivar reason: of ``ResolvedRefs`` being false; empty where nothing is wrong.
    """

    pem: str | None = None
    problem: str = ""
    reason: str = ""


class CAReferences:
    """Looks up CA certificates, each object once.

    :param unknown_kind: the reason for references to other kinds.
    """

    def __init__(self, objects: Objects, grants: Grants, unknown_kind: str = "InvalidCACertificateKind") -> None:
        self._objects = objects
        self._grants = grants
        self._unknown_kind = unknown_kind
        self._read: dict[tuple[str, str, str], CAs] = {}

    def resolve(self, referrer: Object, reference: Mapping[str, Any]) -> CAs:
        """Give the certificates of an ``ObjectReference``; one without a namespace is for the referrer's own."""
        group, kind = reference.get("group", CORE), reference.get("kind", "ConfigMap")
        namespace, name = reference.get("namespace") or referrer.namespace, reference["name"]
        if not is_core(group) or kind not in _KINDS:
            what = f"{kind} of the group {group}" if group else kind
            return CAs(None, f"a {what} holds no CA certificates; refer to a ConfigMap or a Secret", self._unknown_kind)
        if not self._grants.allow(referrer, CORE, kind, namespace, name):
            problem = (
                f"{kind} {namespace}/{name} is in another namespace, and no ReferenceGrant there lets a "
                f"{referrer.kind} of {referrer.namespace} refer to it"
            )
            return CAs(None, problem, "RefNotPermitted")
        key = (kind, namespace, name)
        if key not in self._read:
            self._read[key] = self._certificates(*key)
        return self._read[key]

    def _certificates(self, kind: str, namespace: str, name: str) -> CAs:
        reason = "InvalidCACertificateRef"
        holder = self._objects.get(CORE, kind, namespace, name)
        if holder is None:
            return CAs(None, f"there is no {kind} {namespace}/{name}", reason)
        try:
            content = data_of(holder, _KEY)
        except ValueError as error:
            return CAs(None, str(error), reason)
        if content is None:
            return CAs(None, f"{holder} has no {_KEY}", reason)
        what = f"{_KEY} of {holder}"
        good, problems = [], []
        blocks = pem.certificates(content)
        for number, block in enumerate(blocks, start=1):
            try:
                good.append(x509.load_pem_x509_certificate(block).public_bytes(Encoding.PEM))
            except pem.PARSE_ERRORS as error:
                problems.append(f"certificate {number} of {what} is not valid: {error}")
        if pem.is_cut_off(content):
            problems.append(f"{what} {pem.CUT_OFF}")
        elif not blocks:
            problems.append(f"{what} {pem.without(content)}")
        if good and any(label == b"X509 CRL" for label, _ in pem.blocks(content)):
            good.append(_CRL)
        return CAs(
            named_pem(str(holder), b"".join(good)) if good else None,
            "; ".join(problems),
            reason if problems else "",
        )
