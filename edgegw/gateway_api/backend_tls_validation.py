"""What a BackendTLSPolicy says of a backend's certificate and of TLS with it, in the native language's words."""
from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import define, field
from cryptography import x509

from edgegw.config import pem
from edgegw.config.document_upstream_tls import UPSTREAM_TLS
from edgegw.gateway_api.native_nodes import faults_of, said
from edgegw.gateway_api.objects import CORE, Object, Objects

__all__ = ["Validation", "validation_of"]

_KEY: Final = "ca.crt"
_DOMAINS: Final = ("kgateway.dev/", "edgegw.io/")
#: Groups that every OpenSSL has with which the gateway runs.
_GROUPS: Final = ("X25519", "P-256", "P-384", "P-521", "X25519MLKEM768")
_KEYS: Final = {
    "min-tls-version": "min_version",
    "max-tls-version": "max_version",
    "cipher-suites": "cipher_suites",
    "ecdh-curves": "groups",
}
_VERSIONS: Final = {("h2",): "2", ("http/1.1",): "1.1", ("h2", "http/1.1"): "auto", ("http/1.1", "h2"): "auto"}


@define(eq=False)
class Validation:
    """What comes of a policy.

    :ivar tls: an upstream's ``tls``; ``None`` where nobody could be verified by it: the backend is not spoken with.
    :ivar http_version: an upstream's, where the policy says it.
    :ivar references: reasons of ``ResolvedRefs`` being false, and messages.
    :ivar rejection: reason and message of ``Accepted`` being false.
    """

    tls: dict[str, Any] | None = None
    http_version: str | None = None
    references: list[tuple[str, str]] = field(factory=list)
    rejection: tuple[str, str] | None = None


def validation_of(policy: Object, objects: Objects) -> Validation:
    """Judge a policy."""
    found = Validation()
    wanted: Mapping[str, Any] = policy.spec.get("validation") or {}
    tls: dict[str, Any] = {"sni": wanted.get("hostname", "")}
    known, refs = wanted.get("wellKnownCACertificates"), wanted.get("caCertificateRefs") or ()
    if known == "System":
        tls["ca_certificates"] = "system"
    elif known:
        found.rejection = ("Invalid", f"wellKnownCACertificates: {known} is not known; use System")
    else:
        trusted = [text for ref in refs for text in _certificates(policy, ref, objects, found)]
        if not trusted:
            found.rejection = ("NoValidCACertificate", "none of its caCertificateRefs leads to a CA certificate")
        tls["ca_certificates"] = list(dict.fromkeys(trusted))
    names = [
        {"uri": one["uri"]} if one.get("type") == "URI" else {"dns": one.get("hostname")}
        for one in wanted.get("subjectAltNames") or ()
    ]
    _take_options(policy.spec.get("options") or {}, tls, names, found)
    if names:
        tls["subject_alt_names"] = [one for number, one in enumerate(names) if one not in names[:number]]
    else:
        tls["hostname"] = tls.pop("sni")
    if found.rejection is None:
        # Of the certificates it is known already that they are some.
        faults = faults_of(UPSTREAM_TLS, {**tls, "ca_certificates": "system"})
        if faults:
            found.rejection = ("Invalid", "; ".join(map(said, faults)))
        else:
            found.tls = tls
    return found


# --- CA certificates ------------------------------------------------------------------------


def _certificates(policy: Object, ref: Mapping[str, Any], objects: Objects, found: Validation) -> Iterator[str]:
    group, kind, name = ref.get("group") or CORE, ref.get("kind"), ref["name"]
    if (group, kind) not in ((CORE, "ConfigMap"), (CORE, "Secret")):
        shown = f"{group}/{kind}" if group else str(kind)
        found.references.append(("InvalidKind", f"{shown} holds no CA certificates; use a ConfigMap"))
        return
    holder = objects.get(CORE, str(kind), policy.namespace, name)
    if holder is None:
        problem = f"there is no {kind} {policy.namespace}/{name}"
        found.references.append(("InvalidCACertificateRef", problem))
        return
    text = _value(holder)
    if text is None:
        found.references.append(("InvalidCACertificateRef", f"{holder} has no {_KEY}"))
        return
    blocks = [block for block in pem.certificates(text) if _is_certificate(block)]
    if not blocks:
        found.references.append(("InvalidCACertificateRef", f"{_KEY} of {holder} has no certificate in it"))
    if blocks:
        # Where it is from is what messages call it.
        yield f"{holder}\n" + "".join(block.decode("ascii") + "\n" for block in blocks)


def _value(holder: Object) -> bytes | None:
    """Give what a ConfigMap or Secret has under the key of CA certificates."""
    content = holder.content
    plain = content.get("stringData" if holder.kind == "Secret" else "data") or {}
    if plain.get(_KEY) is not None:
        return str(plain[_KEY]).encode("utf-8")
    encoded = (content.get("data" if holder.kind == "Secret" else "binaryData") or {}).get(_KEY)
    if encoded is None:
        return None
    try:
        return base64.b64decode(str(encoded), validate=False)
    except (binascii.Error, ValueError):
        return b""


def _is_certificate(block: bytes) -> bool:
    if not block.isascii():
        return False
    try:
        # What is in its extensions is looked at when it is used, and then too.
        _ = x509.load_pem_x509_certificate(block).extensions
    except pem.PARSE_ERRORS:
        return False
    return True


# --- options --------------------------------------------------------------------------------


def _take_options(
    options: Mapping[str, str], tls: dict[str, Any], names: list[dict[str, Any]], found: Validation
) -> None:
    """Take the options that listeners have too; those of other domains are somebody else's."""
    for key, text in options.items():
        name = next((key.removeprefix(domain) for domain in _DOMAINS if key.startswith(domain)), None)
        if name is None:
            continue
        items = [item.strip() for item in text.split(",")]
        if name == "verify-subject-alt-names":
            names.extend({"dns": item} for item in items)
        elif name == "alpn-protocols" and tuple(items) in _VERSIONS:
            found.http_version = _VERSIONS[tuple(items)]
        elif name in ("cipher-suites", "ecdh-curves"):
            unknown = [item for item in items if name == "ecdh-curves" and item not in _GROUPS]
            tls[_KEYS[name]] = items
            if unknown:
                found.rejection = ("Invalid", f"{key}: {unknown[0]} is no curve; use some of {', '.join(_GROUPS)}")
        elif name in _KEYS:
            tls[_KEYS[name]] = text
        else:
            found.rejection = ("Invalid", f"{key}: {text} is not supported for backends")
