"""TLS contexts: one immutable context for each set of certificates that a name leads to.

A context is chosen before its connection exists, never switched in a callback: switching keeps
the first context's verification, versions and sessions.  Each context has its own ticket keys and
session id, so that a session made under one listener, one set of certificates or one generation of
the configuration is never resumed under another.
"""
from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from edgegw.model import ClientValidation, ServerCertificate, TLSSettings, TLSVersion
from edgegw.names import canonical_name
from edgegw.tls import openssl

__all__ = ["CertificateTable", "ContextError", "make_context", "set_parameters", "use_certificate"]

_VERSIONS = {TLSVersion.TLS1_2: SSL.TLS1_2_VERSION, TLSVersion.TLS1_3: SSL.TLS1_3_VERSION}
#: The security level below which OpenSSL's own signature algorithms are not all strong.
_WEAK_BELOW = 1
#: OpenSSL's own, without those over SHA-1 and SHA-224 and DSA.
_STRONG_ALGORITHMS = (
    "ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512", "ed25519", "ed448",
    "rsa_pss_pss_sha256", "rsa_pss_pss_sha384", "rsa_pss_pss_sha512", "rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512", "rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512",
)
_OP_NO_RENEGOTIATION = getattr(SSL, "OP_NO_RENEGOTIATION", 1 << 30)


#: Gives the OCSP response to show on a connection, DER; empty for none.
Staple = Callable[[SSL.Connection, object], bytes]


class ContextError(ValueError):
    """OpenSSL does not take a setting, a certificate or a key."""


def make_context(
    settings: TLSSettings,
    certificates: Sequence[ServerCertificate],
    issue_tickets: bool,
    demand: bool = True,
    staple: Staple | None = None,
) -> SSL.Context:
    """Build the context that shows ``certificates``, at most one of each key type.

    :param issue_tickets: whether sessions may be resumed at all.
    :param demand: whether clients without a certificate are refused where the validation says so.
    :param staple: gives the OCSP response to show to a client that asks for one.
    :raises ContextError: naming what OpenSSL did not take.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(openssl.NO_AUTO_CHAIN)
    algorithms = settings.signature_algorithms
    if not algorithms and settings.security_level < _WEAK_BELOW:
        # The level is for certificates: a handshake signed over SHA-1 nobody needs (RFC 9155).
        algorithms = _STRONG_ALGORITHMS
    set_parameters(context, settings, settings.security_level, algorithms)
    for certificate in certificates:
        use_certificate(context, certificate)
    _set_sessions(context, settings, issue_tickets)
    if settings.alpn:
        # pyOpenSSL takes the sentinel too, whatever its annotation says.
        context.set_alpn_select_callback(_alpn_selector(settings.alpn))  # type: ignore[arg-type]
    if staple is not None and (settings.ocsp_stapling or any(one.ocsp_response is not None for one in certificates)):
        context.set_ocsp_server_callback(staple)
    if settings.client_validation is not None:
        _set_client_validation(context, settings.client_validation, demand)
    return context


class Parameters(Protocol):
    """What both ends of TLS can be told; see :class:`edgegw.model.TLSSettings`."""

    @property
    def min_version(self) -> TLSVersion: ...

    @property
    def max_version(self) -> TLSVersion: ...

    @property
    def tls12_ciphers(self) -> tuple[str, ...]: ...

    @property
    def tls13_ciphers(self) -> tuple[str, ...]: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


def set_parameters(
    context: SSL.Context, parameters: Parameters, security_level: int, signature_algorithms: tuple[str, ...] = ()
) -> None:
    """Set versions, suites and groups, and what holds for every context: no compression, no renegotiation.

    :param signature_algorithms: empty leaves OpenSSL's own.
    :raises ContextError: naming what OpenSSL did not take.
    """
    context.set_min_proto_version(_VERSIONS[parameters.min_version])
    context.set_max_proto_version(_VERSIONS[parameters.max_version])
    context.set_options(SSL.OP_NO_COMPRESSION | _OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS | openssl.WRITE_MODES)
    try:
        # The level is a word of OpenSSL's list of suites; without it, it would be whatever OpenSSL was built with.
        suites = parameters.tls12_ciphers or ("DEFAULT",)
        context.set_cipher_list(":".join((*suites, f"@SECLEVEL={security_level}")).encode())
        if parameters.tls13_ciphers:
            context.set_tls13_ciphersuites(":".join(parameters.tls13_ciphers).encode())
    except SSL.Error as error:
        raise ContextError("OpenSSL does not know one of the cipher suites") from error
    try:
        if parameters.groups:
            openssl.set_groups(context, parameters.groups)
        if signature_algorithms:
            openssl.set_signature_algorithms(context, signature_algorithms)
    except ValueError as error:
        raise ContextError(str(error)) from error


def use_certificate(context: SSL.Context, certificate: ServerCertificate) -> None:
    """Let a context show a certificate with its chain.

    :raises ContextError: OpenSSL does not take it.
    """
    try:
        # OpenSSL keeps a chain for each key type only if it reads the file itself.
        fd = os.memfd_create("edgegw-certificate", os.MFD_CLOEXEC)
        try:
            os.write(fd, certificate.chain)
            context.use_certificate_chain_file(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        # Whoever read the key has judged it.  To judge an RSA key anew would hold up connections for 60 ms.
        key = load_pem_private_key(certificate.private_key, None, unsafe_skip_rsa_key_validation=True)
        context.use_privatekey(key)  # type: ignore[arg-type]  # every key type that a certificate can have
        context.check_privatekey()
    except (SSL.Error, ValueError, TypeError) as error:
        raise ContextError(f"{certificate.name}: the certificate or its key is not usable: {error}") from error


def _set_sessions(context: SSL.Context, settings: TLSSettings, issue_tickets: bool) -> None:
    # Sessions live in tickets alone: a cache in this process would grow with its clients.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(secrets.token_bytes(32))
    if issue_tickets:
        context.set_timeout(max(1, int(settings.session_lifetime)))
    else:
        context.set_options(SSL.OP_NO_TICKET)


def _alpn_selector(
    supported: Sequence[str],
) -> Callable[[SSL.Connection, list[bytes]], bytes | object]:
    preference = [name.encode("ascii") for name in supported]

    def select(connection: SSL.Connection, offered: list[bytes]) -> bytes | object:
        for name in preference:
            if name in offered:
                return name
        # No overlap goes on without ALPN, as nginx and Envoy do: such a client gets HTTP/1.1.
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return select


def _set_client_validation(context: SSL.Context, validation: ClientValidation, demand: bool) -> None:
    store = context.get_cert_store()
    assert store is not None
    for anchor in validation.trust_anchors:
        try:
            certificate = x509.load_pem_x509_certificate(anchor.pem)
            store.add_cert(crypto.X509.from_cryptography(certificate))
            context.add_client_ca(certificate)
        except (ValueError, crypto.Error, SSL.Error) as error:
            raise ContextError(f"{anchor.name}: not usable as a trust anchor: {error}") from error
    # A trust anchor may be an intermediate or a leaf, as with Envoy.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    # OpenSSL counts the certificates between the leaf and the anchor.
    context.set_verify_depth(validation.max_depth - 1)
    openssl.ask_about_certificates(context, demand and validation.demands_certificate)


class CertificateTable:
    """Which context a listener answers a name with.

    Built for the listener's certificates: exact SANs first, then ``*.`` SANs of one label (RFC 9525
    §6.3), then the default.  For one name the first certificate of each key type is in the context, so
    that OpenSSL chooses by what the client can verify.

    :ivar default: the context for no name and unknown names; ``None`` where only dynamic certificates are shown.
    :ivar varies: whether any name leads to another context than the default.
    """

    def __init__(
        self,
        settings: TLSSettings,
        issue_tickets: bool,
        demand: bool = True,
        made: Mapping[frozenset[ServerCertificate], SSL.Context] | None = None,
        staple: Staple | None = None,
    ) -> None:
        """
        :param issue_tickets: see :func:`make_context`, as for ``demand`` and ``staple``.
        :param made: contexts that were made with the same settings, by their certificates.
        """
        self._demand = demand
        self._staple = staple
        self._settings = settings
        self._tickets = issue_tickets
        self._made = made or {}
        self._contexts: dict[frozenset[ServerCertificate], SSL.Context] = {}
        self._by_name: dict[str, SSL.Context] = {}
        self.default = None
        if settings.certificates or settings.dynamic_certificates is None:
            self.default = self._context_for(settings.certificates)
        patterns: dict[str, list[ServerCertificate]] = {}
        for certificate in settings.certificates:
            for name in certificate.dns_names:
                patterns.setdefault(name, []).append(certificate)
        for name, certificates in patterns.items():
            if not name.startswith("*."):
                # An exact name may also be on the other key type's wildcard.
                wildcard = "*." + name.partition(".")[2]
                certificates = certificates + patterns.get(wildcard, [])
            self._by_name[name] = self._context_for(certificates)
        self.varies = settings.strict_sni or any(
            context is not self.default for context in self._by_name.values()
        )
        self._made = {}

    def _context_for(self, certificates: Sequence[ServerCertificate]) -> SSL.Context:
        chosen: dict[str, ServerCertificate] = {}
        for certificate in certificates:
            chosen.setdefault(certificate.key_type, certificate)
        key = frozenset(chosen.values())
        context = self._contexts.get(key)
        if context is None:
            context = self._made.get(key) or make_context(
                self._settings, list(chosen.values()), self._tickets, self._demand, self._staple
            )
            self._contexts[key] = context
        return context

    def with_certificates(self, certificates: Iterable[ServerCertificate]) -> CertificateTable:
        """Make the table for other certificates under the same settings; may be called on any thread.

        Where a name's certificates stay, so does its context, and its sessions are resumed as before.

        :raises ContextError: OpenSSL does not take one of them.
        """
        settings = evolve(self._settings, certificates=tuple(certificates))
        return CertificateTable(settings, self._tickets, self._demand, self._contexts, self._staple)

    def find(self, server_name: str | None) -> SSL.Context | None:
        """Give the context for a canonical name; ``None`` where ``strict_sni`` refuses it."""
        if server_name is not None:
            context = self.named(server_name)
            if context is not None:
                return context
        return None if self._settings.strict_sni else self.default

    def named(self, server_name: str) -> SSL.Context | None:
        """Give the context for a canonical name; ``None`` if the name is on no certificate."""
        context = self._by_name.get(server_name)
        if context is None:
            context = self._by_name.get("*." + server_name.partition(".")[2])
        return context

    @property
    def certificates(self) -> tuple[ServerCertificate, ...]:
        """What is shown."""
        return self._settings.certificates

    @property
    def contexts(self) -> tuple[SSL.Context, ...]:
        """Every context of the table, once each."""
        return tuple(self._contexts.values())


def canonical_server_name(connection: SSL.Connection) -> str | None:
    """Give the SNI of a connection in canonical form; ``None`` without one, or with none that is a name."""
    name = connection.get_servername()
    return None if name is None else canonical_name(name.decode("ascii", "replace"))
