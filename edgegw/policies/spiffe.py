"""The policy ``spiffe``: X.509-SVIDs of trust domains, each with authorities of its own."""
from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final

from attrs import frozen
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgegw.api import (
    Accept,
    Certificate,
    FilePath,
    IEnvironment,
    IFollowed,
    Peer,
    Reason,
    Reject,
    Verdict,
    option,
    policy,
)
from edgegw.der import DERError
from edgegw.policies.certificate_parts import x509_extensions
from edgegw.policies.details import listed, shown
from edgegw.policies.path_rules import PathPatterns, SpiffeID, is_trust_domain, parse_spiffe_id, pattern_fault
from edgegw.policies.spiffe_bundle import read_bundle

__all__ = ["Config", "Spiffe", "TrustDomain", "svid_fault"]

#: Bytes that a bundle's file may have.
_MOST_BYTES: Final = 16_777_216


def _check_paths(patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        fault = pattern_fault(pattern)
        if fault is not None:
            raise ValueError(fault)


@frozen
class TrustDomain:
    """What is trusted of a trust domain."""

    bundle: FilePath = option(
        "A file with the certificates of its authorities: PEM, or a SPIFFE bundle (JSON) as SPIRE writes it.  It is "
        "read again when it changes; a SPIFFE bundle without keys says that none is valid any more, and lets nobody in."
    )
    paths: tuple[str, ...] = option(
        "Paths of its workloads that may come in.  * is one segment or a part of one, ** at the end one or more "
        "segments, everything else is compared as it stands.",
        default=("/**",),
        check=_check_paths,
        min_items=1,
    )


@frozen
class Config:
    """The options of ``spiffe``."""

    trust_domains: Mapping[str, TrustDomain] = option(
        "Trust domains by their names, such as example.com, without spiffe://.", min_items=1
    )
    allow_more_uris: bool = option(
        "Whether other URIs may stand behind the SPIFFE ID, as with Envoy; the specification forbids them.",
        default=False,
    )
    strict: bool = option(
        "Whether to insist on what the specification demands of those who issue SVIDs, too, and not only on what it "
        "has validators check.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        """:raises ValueError: a trust domain's name is none."""
        for name in self.trust_domains:
            if not is_trust_domain(name):
                raise ValueError(
                    f"{name!r} is no trust domain; lower-case letters, digits, dots, hyphens and underscores, without "
                    "spiffe://"
                )


# --- what an SVID must be ---------------------------------------------------------------------------


@frozen
class _Profile:
    """What of a certificate decides whether it is an SVID; ``None`` for an extension that it has not."""

    ca: bool
    usage: x509.KeyUsage | None
    usage_critical: bool
    purposes: frozenset[x509.ObjectIdentifier] | None
    names_critical: bool
    subject: bool


def _profile(certificate: Certificate) -> _Profile:
    """Read a certificate.

    :raises DERError: it cannot be read.
    """
    ca, usage, usage_critical, purposes, names_critical = False, None, False, None, False
    for extension in x509_extensions(certificate):
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            ca = value.ca
        elif isinstance(value, x509.KeyUsage):
            usage, usage_critical = value, extension.critical
        elif isinstance(value, x509.ExtendedKeyUsage):
            purposes = frozenset(value)
        elif isinstance(value, x509.SubjectAlternativeName):
            names_critical = extension.critical
    return _Profile(ca, usage, usage_critical, purposes, names_critical, bool(certificate.subject))


def svid_fault(certificate: Certificate, strict: bool = False) -> str | None:
    """Say what keeps a certificate from being a workload's, its SPIFFE ID aside (X509-SVID §4, §5.2).

    :param strict: whether to look at what only issuers are told, too.
    :raises DERError: it cannot be read.
    """
    profile = _profile(certificate)
    usage, purposes = profile.usage, profile.purposes
    if profile.ca:
        return "it is a CA's"
    if usage is not None:
        if usage.key_cert_sign or usage.crl_sign:
            return f"its keyUsage has {'keyCertSign' if usage.key_cert_sign else 'cRLSign'}"
        if not usage.digital_signature:
            return "its keyUsage lacks digitalSignature"
    if purposes is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        return "its extendedKeyUsage lacks clientAuth"
    if strict:
        if usage is None or not profile.usage_critical:
            return "it has no keyUsage" if usage is None else "its keyUsage is not critical"
        if purposes is not None and ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
            return "its extendedKeyUsage lacks serverAuth"
        if not profile.subject and not profile.names_critical:
            return "its subject is empty and its subjectAltName not critical"
    return None


@lru_cache(maxsize=256)
def _signing_fault(certificate: Certificate, strict: bool) -> str | None:
    """Say what keeps a certificate from being a signing one (X509-SVID §3.2, §4)."""
    try:
        profile = _profile(certificate)
    except DERError as error:
        return f"it cannot be read: {shown(str(error))}"
    usage = profile.usage
    if not profile.ca:
        return "it is no CA's"
    if usage is not None and not usage.key_cert_sign:
        return "its keyUsage lacks keyCertSign"
    if strict and (usage is None or not profile.usage_critical):
        return "it has no keyUsage" if usage is None else "its keyUsage is not critical"
    for uri in certificate.uris:
        if uri.startswith("spiffe://"):
            try:
                path = parse_spiffe_id(uri).path
            except ValueError as error:
                return f"it has a SPIFFE ID that is none: {error}"
            if path:
                return f"it has the SPIFFE ID of a workload, {shown(uri)}"
    return None


# --- the policy -------------------------------------------------------------------------------------


@frozen
class _Trusted:
    bundle: IFollowed
    paths: PathPatterns


@policy("spiffe", Config, needs_chain=True)
class Spiffe:
    """Let workloads in by their SPIFFE IDs, each trust domain by its own authorities.

    A client comes in whose certificate is an X.509-SVID of one of the trust domains, whose path fits one of the
    domain's ``paths``, and whose chain ends in the domain's ``bundle``: one domain's authorities never speak for
    another's workloads.  The listener's ``ca_certificates`` must have the authorities of all, as PEM, since the
    chain is verified with these first.

    Of the certificate the specification is held to: exactly one URI, which is the SPIFFE ID of a workload; no CA;
    ``keyUsage``, if it is there, with ``digitalSignature`` and without ``keyCertSign`` and ``cRLSign``;
    ``extendedKeyUsage``, if it is there, with ``clientAuth``.  A CA between may have the SPIFFE ID of a trust
    domain, never one with a path.  ``strict: true`` adds what only issuers are told: ``keyUsage`` is there and
    critical, ``extendedKeyUsage`` names ``serverAuth`` too, and without a subject the URI's extension is critical.
    ``allow_more_uris: true`` takes the first URI for the SPIFFE ID whatever other URIs follow, as Envoy does.

    Paths are compared by segment: ``/ns/prod/sa/web`` is itself alone, ``/ns/*/sa/web`` has any one segment in that
    place, ``/ns/prod/sa/web-*`` any text in that part of one, and ``/ns/prod/**`` is everything below ``/ns/prod``.

    What it found out is kept as ``spiffe_id``, ``trust_domain`` and ``path``.  Where clients with an unverified
    certificate may come in, these are refused.

    Example::

        policies:
          - spiffe:
              trust_domains:
                example.com: {bundle: spire/bundle.pem, paths: [/ns/prod/sa/*, /ops/**]}
                partner.example: {bundle: partner/bundle.json, paths: [/billing/export]}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._allow_more_uris = config.allow_more_uris
        self._strict = config.strict
        self._domains: dict[str, _Trusted] = {}
        for name, domain in config.trust_domains.items():
            bundle = env.follow(domain.bundle, partial(read_bundle, trust_domain=name), _MOST_BYTES)
            self._domains[name] = _Trusted(bundle, PathPatterns(domain.paths))

    def check(self, peer: Peer) -> Verdict:
        """Judge the certificate, then the chain, then the path."""
        certificate = peer.certificate
        if certificate is None or not peer.verified:
            return Reject(Reason.SPIFFE_TRUST_DOMAIN, "there is no verified chain")
        uri = self._uri(certificate)
        if isinstance(uri, Reject):
            return uri
        try:
            spiffe_id = parse_spiffe_id(uri)
        except ValueError as error:
            return Reject(Reason.SPIFFE_ID, f"{shown(uri)} is no SPIFFE ID: {error}")
        if not spiffe_id.path:
            return Reject(Reason.SPIFFE_ID, f"{shown(uri)} is the ID of a trust domain, not of a workload")
        try:
            fault = svid_fault(certificate, self._strict)
        except DERError as error:
            return Reject(
                Reason.CERTIFICATE_INVALID, f"the certificate of {shown(uri)}: it cannot be read: {shown(str(error))}"
            )
        if fault is not None:
            return Reject(Reason.SPIFFE_ID, f"the certificate of {shown(uri)} is no SVID: {fault}")
        trusted = self._domains.get(spiffe_id.trust_domain)
        if trusted is None:
            return Reject(Reason.SPIFFE_TRUST_DOMAIN, f"{shown(uri)} is of a trust domain that is not configured")
        return self._in_domain(peer, uri, spiffe_id, trusted)

    def _uri(self, certificate: Certificate) -> str | Reject:
        uris = certificate.uris
        if any(name.startswith("URI:") for name in certificate.malformed_names):
            return Reject(Reason.SPIFFE_ID, "a URI of the certificate has characters that no URI has")
        if not uris:
            return Reject(Reason.SPIFFE_ID, "the certificate has no URI")
        if len(uris) > 1 and not self._allow_more_uris:
            return Reject(Reason.SPIFFE_ID, f"the certificate has {len(uris)} URIs, not one: {listed(uris)}")
        return uris[0]

    def _in_domain(self, peer: Peer, uri: str, spiffe_id: SpiffeID, trusted: _Trusted) -> Verdict:
        chain = peer.certificates
        for one in chain[1:]:
            fault = _signing_fault(one, self._strict)
            if fault is not None:
                return Reject(
                    Reason.SPIFFE_TRUST_DOMAIN,
                    f"{shown(one.subject) or 'a certificate without a subject'} cannot sign SVIDs: {fault}",
                )
        if not chain or not trusted.bundle.value.anchors(chain, peer.now):
            return Reject(
                Reason.SPIFFE_TRUST_DOMAIN,
                f"the chain of {shown(uri)} does not end in the bundle of {spiffe_id.trust_domain}, but in "
                f"{shown(chain[-1].subject) if chain else 'nothing'}",
            )
        if not trusted.paths.match(spiffe_id.path):
            return Reject(
                Reason.SPIFFE_ID,
                f"{shown(spiffe_id.path)} is no path of {spiffe_id.trust_domain} that is let in: "
                f"{listed(trusted.paths.patterns)}",
            )
        return Accept({"spiffe_id": uri, "trust_domain": spiffe_id.trust_domain, "path": spiffe_id.path})
