"""What would have to change for one client to come in, as far as what it sent and what is trusted tell.

Each gives whole sentences, beside the general words of :data:`edgegw.reason_explanations.EXPLANATIONS`.
"""
from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgegw.certificate import Certificate
from edgegw.model import TLSSettings
from edgegw.observe.certificate_summary import shorten
from edgegw.tls.failure import reason_for_verify_result
from edgegw.verdict import Reason

__all__ = ["Anchor", "Case", "remedies"]

#: Characters of a name, and names in one sentence.
_MOST_TEXT: Final = 300
_MOST_NAMES: Final = 12


@frozen
class Anchor:
    """A trust anchor.

    :ivar name: of its file.
    """

    name: str
    certificate: Certificate


@frozen
class Case:
    """What is known of a client that was judged.

    :ivar at: aware; the time that was judged by.
    :ivar sent: what the client had to send, its own certificate first; empty without one.
    :ivar chain: as far as it was built, the client's own certificate first; empty if none was.
    :ivar errors: ``X509_V_ERR_…`` and the distance from the client's certificate.
    :ivar tls: of the listener.
    :ivar online: whether what others are asked for was asked for.
    """

    at: datetime
    sent: tuple[Certificate, ...]
    chain: tuple[Certificate, ...]
    errors: tuple[tuple[int, int], ...]
    anchors: tuple[Anchor, ...]
    tls: TLSSettings
    server_name: str | None
    online: bool

    @property
    def leaf(self) -> Certificate | None:
        """The client's own certificate."""
        return self.sent[0] if self.sent else None

    @property
    def faulty(self) -> Certificate | None:
        """The certificate that OpenSSL's first complaint is about; without one the client's own."""
        depth = self.errors[0][1] if self.errors else 0
        return self.chain[depth] if depth < len(self.chain) else self.leaf

    def name_of(self, one: Certificate) -> str:
        """Give words for a certificate of the chain."""
        if one == self.leaf:
            return "the client's certificate"
        anchor = next((anchor.name for anchor in self.anchors if anchor.certificate == one), None)
        subject = _text(one.subject) or "without a subject"
        return f"the certificate {subject}" + (f", trust anchor {anchor}," if anchor else " above it")


def remedies(case: Case, code: str) -> Iterator[str]:
    """Give what can be said for a reason code; nothing for most that a plugin gives."""
    find = _FINDERS.get(code)
    if find is not None:
        yield from find(case)


# --- the chain --------------------------------------------------------------------------------


def _unknown_ca(case: Case) -> Iterator[str]:
    last = case.chain[-1] if case.chain else case.leaf
    if last is None:
        return
    anchors = [one for one in case.anchors if one.certificate == last]
    if anchors:
        yield (f"The chain ends in the trust anchor {anchors[0].name}, yet one of its certificates is none of a CA: "
               "extension basicConstraints.")
        return
    subject, issuer = _text(last.subject) or "(empty)", _text(last.issuer) or "(empty)"
    if last.subject == last.issuer:
        yield (f"The chain ends in {subject}, which is self-signed and no trust anchor: add it to ca_certificates, if "
               "whoever has its key is to be trusted.")
    else:
        yield (f"The issuer {issuer} of {subject} is missing: the client did not send its certificate, and no trust "
               "anchor has that subject.  Let the client send it, or add it or its root to ca_certificates.")
    for anchor in case.anchors:
        if anchor.certificate.subject == last.issuer:
            yield (f"The trust anchor {anchor.name} has that subject, but another key than the one that signed: the CA "
                   "was renewed with a new key, or somebody else uses its name.")
    if case.anchors:
        names = _listed(f"{_text(one.certificate.subject)} ({one.name})" for one in case.anchors)
        yield f"Trusted are: {names}."


def _expired(case: Case) -> Iterator[str]:
    for one in case.chain or case.sent[:1]:
        if one.not_after is not None and one.not_after < case.at:
            yield (f"{_capital(case.name_of(one))} was valid until {_day(one.not_after)}, which is "
                   f"{_span(case.at - one.not_after)} before the time that is judged by.")


def _not_yet_valid(case: Case) -> Iterator[str]:
    for one in case.chain or case.sent[:1]:
        if one.not_before is not None and one.not_before > case.at:
            yield (f"{_capital(case.name_of(one))} is valid from {_day(one.not_before)} on, which is "
                   f"{_span(one.not_before - case.at)} after the time that is judged by.")


def _too_long(case: Case) -> Iterator[str]:
    above = len(case.chain) - 1
    validation = case.tls.client_validation
    if validation is not None and any(code == 22 for code, _ in case.errors):
        yield f"max_depth is {validation.max_depth}; there are {above} or more certificates above the client's."
    elif case.faulty is not None:
        yield (f"{_capital(case.name_of(case.faulty))} has a path length constraint that the chain of "
               f"{above} certificates above the client's does not keep.")


def _signature(case: Case) -> Iterator[str]:
    depth = case.errors[0][1] if case.errors else 0
    if depth + 1 < len(case.chain):
        issuer = case.chain[depth + 1]
        yield (f"The key of {_text(issuer.subject)} has not signed {case.name_of(case.chain[depth])}; compare the "
               f"issuer's certificate, SHA-256 {issuer.sha256}, with the one at the CA.")


# --- what stands in a certificate -------------------------------------------------------------


def _purpose(case: Case) -> Iterator[str]:
    one = case.faulty
    if one is None:
        return
    usages = _usages(one)
    if usages is None or "clientAuth" in usages:
        yield f"It is keyUsage or basicConstraints of {case.name_of(one)} that forbid it, not extendedKeyUsage."
    else:
        yield f"{_capital(case.name_of(one))} is for {_listed(usages)}; clientAuth is needed."


def _usages(one: Certificate) -> list[str] | None:
    try:
        found = one.x509.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return [usage._name if usage._name != "Unknown OID" else usage.dotted_string for usage in found]
    except Exception:
        return None


def _weak(case: Case) -> Iterator[str]:
    one = case.faulty
    if one is None:
        return
    try:
        key = one.x509.public_key()
        signed = one.x509.signature_hash_algorithm
    except Exception:
        return
    if isinstance(key, rsa.RSAPublicKey):
        kind = f"an RSA key of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind = f"a key on the curve {key.curve.name}"
    else:
        kind = f"a key of the type {type(key).__name__.removesuffix('PublicKey')}"
    digest = "" if signed is None else f", and is signed with {signed.name}"
    yield f"{_capital(case.name_of(one))} has {kind}{digest}."


def _critical(case: Case) -> Iterator[str]:
    one = case.faulty
    if one is None:
        return
    try:
        unknown = [
            extension.oid.dotted_string
            for extension in one.x509.extensions
            if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension)
        ]
    except Exception:
        return
    if unknown:
        yield f"{_capital(case.name_of(one))} has the critical extension {_listed(unknown)}."


def _names(case: Case) -> Iterator[str]:
    leaf = case.leaf
    if leaf is None:
        return
    names = [
        f"{kind} {_text(name)}"
        for kind, some in (
            ("URI", leaf.uris), ("DNS", leaf.dns_names), ("email", leaf.emails), ("IP", leaf.ip_addresses),
        )
        for name in some
    ]  # fmt: skip
    yield f"The certificate has {_listed(names)}." if names else "The certificate has no alternative name that is read."
    if leaf.malformed_names:
        yield f"It has malformed ones, which count for nothing: {_listed(map(_text, leaf.malformed_names))}."


def _subject(case: Case) -> Iterator[str]:
    if case.leaf is not None:
        yield f"The certificate's subject is {_text(case.leaf.subject) or 'empty'}."


def _issuer(case: Case) -> Iterator[str]:
    if case.leaf is not None:
        yield f"The certificate's issuer is {_text(case.leaf.issuer) or 'empty'}."


def _serial(case: Case) -> Iterator[str]:
    if case.leaf is not None:
        yield f"The certificate's serial number is {_text(case.leaf.serial)}."


def _hash(case: Case) -> Iterator[str]:
    if case.leaf is not None:
        yield f"The certificate's SHA-256 is {case.leaf.sha256}."


def _spki(case: Case) -> Iterator[str]:
    if case.leaf is None:
        return
    try:
        spki = case.leaf.x509.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:
        return
    yield f"The SHA-256 of the certificate's public key is {b64encode(sha256(spki).digest()).decode('ascii')}."


def _lifetime(case: Case) -> Iterator[str]:
    leaf = case.leaf
    if leaf is not None and leaf.not_before is not None and leaf.not_after is not None:
        left = leaf.not_after - case.at
        rest = f"; {_span(left)} are left." if left > timedelta() else "."
        yield (f"The certificate is valid from {_day(leaf.not_before)} to {_day(leaf.not_after)}, which are "
               f"{_span(leaf.not_after - leaf.not_before)}{rest}")


def _leaf_usages(case: Case) -> Iterator[str]:
    usages = None if case.leaf is None else _usages(case.leaf)
    if usages is None:
        yield "The certificate has no extended key usage."
    else:
        yield f"The certificate is for {_listed(usages)}."


# --- the rest ---------------------------------------------------------------------------------


def _no_certificate(case: Case) -> Iterator[str]:
    if case.sent:
        yield ("The client has a certificate and did not send it: its key fits no signature algorithm that the "
               "listener takes.  Widen signature_algorithms, or issue it for a key of another type.")
    validation = case.tls.client_validation
    if validation is not None and validation.policies is not None and not validation.required:
        yield "required: false is given, and policies demand a certificate all the same: see on_missing."


def _unverified(case: Case) -> Iterator[str]:
    if case.errors:
        yield from remedies(case, reason_for_verify_result(case.errors[0][0]))


def _unrecognized_name(case: Case) -> Iterator[str]:
    names = dict.fromkeys(name for one in case.tls.certificates for name in one.dns_names)
    asked = "no name" if case.server_name is None else case.server_name
    dynamic = case.tls.dynamic_certificates
    others = "" if dynamic is None else f", and {dynamic.kind.name} gives others by name"
    yield f"The client asks for {asked}; the listener's certificates are for {_listed(names) or 'no name'}{others}."


def _version(case: Case) -> Iterator[str]:
    yield f"The listener speaks TLS {case.tls.min_version.value} to {case.tls.max_version.value}."


def _not_fetched(case: Case) -> Iterator[str]:
    if not case.online:
        yield "Lists that come from a URL are fetched only with --online."


_FINDERS: Final[Mapping[str, Callable[[Case], Iterator[str]]]] = {
    Reason.UNKNOWN_CA: _unknown_ca,
    Reason.CERTIFICATE_EXPIRED: _expired,
    Reason.CERTIFICATE_NOT_YET_VALID: _not_yet_valid,
    Reason.CERTIFICATE_PURPOSE: _purpose,
    Reason.CERTIFICATE_SIGNATURE: _signature,
    Reason.CERTIFICATE_WEAK: _weak,
    Reason.CHAIN_TOO_LONG: _too_long,
    Reason.CRITICAL_EXTENSION: _critical,
    Reason.NAME_CONSTRAINT: _names,
    Reason.SUBJECT_ALT_NAME: _names,
    Reason.SPIFFE_ID: _names,
    Reason.SPIFFE_TRUST_DOMAIN: _names,
    Reason.SUBJECT: _subject,
    Reason.ISSUER: _issuer,
    Reason.SERIAL: _serial,
    Reason.CERTIFICATE_HASH: _hash,
    Reason.SPKI_HASH: _spki,
    Reason.CERTIFICATE_LIFETIME: _lifetime,
    Reason.CERTIFICATE_EXPIRES_SOON: _lifetime,
    Reason.EXTENDED_KEY_USAGE: _leaf_usages,
    Reason.NO_CERTIFICATE: _no_certificate,
    Reason.CLIENT_UNVERIFIED: _unverified,
    Reason.UNRECOGNIZED_NAME: _unrecognized_name,
    Reason.PROTOCOL_VERSION: _version,
    Reason.CRL_MISSING: _not_fetched,
    Reason.CRL_STALE: _not_fetched,
}


# --- words ------------------------------------------------------------------------------------


def _text(text: str) -> str:
    return shorten(text, _MOST_TEXT)


def _listed(words: Iterable[str]) -> str:
    some = list(words)
    more = f" and {len(some) - _MOST_NAMES} more" if len(some) > _MOST_NAMES else ""
    return ", ".join(some[:_MOST_NAMES]) + more


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _span(span: timedelta) -> str:
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(span.total_seconds() // seconds)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{int(span.total_seconds())} seconds"
