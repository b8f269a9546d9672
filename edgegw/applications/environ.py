"""Who is calling, as WSGI applications are told: the variables of Apache's ``mod_ssl``, by the same names."""
from __future__ import annotations

from datetime import datetime

from edgegw.identity import CertificateStatus, ConnectionInfo, fact

__all__ = ["environ_of"]

_VERIFY = {CertificateStatus.VERIFIED: "SUCCESS", CertificateStatus.UNVERIFIED: "FAILED", CertificateStatus.NONE:
"NONE"}


def environ_of(info: ConnectionInfo) -> dict[str, object]:
    """Give the variables for a client's connection.

    Always there is ``edgegw.connection``, the :class:`~edgegw.identity.ConnectionInfo`; with TLS also ``HTTPS``,
    ``SSL_PROTOCOL``, ``SSL_CIPHER``, ``SSL_TLS_SNI`` where the client named a server, and ``SSL_CLIENT_VERIFY``,
    which is ``SUCCESS``, ``FAILED`` or ``NONE``.  Only for a certificate that was verified: ``SSL_CLIENT_S_DN``,
    ``SSL_CLIENT_I_DN`` (RFC 2253), ``SSL_CLIENT_S_DN_CN``, ``SSL_CLIENT_M_SERIAL`` (hexadecimal),
    ``SSL_CLIENT_V_START``, ``SSL_CLIENT_V_END``, ``SSL_CLIENT_CERT`` (PEM), ``SSL_CLIENT_SAN_DNS_0`` and further
    numbers, as for ``_URI_``, ``_Email_`` and ``_IP_``, and ``SSL_CLIENT_SHA256``.
    """
    environ: dict[str, object] = {"edgegw.connection": info}
    if info.tls_version is None:
        return environ
    environ["HTTPS"] = "on"
    environ["SSL_PROTOCOL"] = info.tls_version
    environ["SSL_CIPHER"] = info.cipher or ""
    if info.server_name is not None:
        environ["SSL_TLS_SNI"] = info.server_name
    environ["SSL_CLIENT_VERIFY"] = _VERIFY[info.identity.status]
    certificate = info.identity.verified
    if certificate is None:
        return environ
    # As facts are written: PEP 3333 has no room for characters beyond ISO 8859-1.
    environ["SSL_CLIENT_S_DN"] = fact(info, "subject")
    environ["SSL_CLIENT_I_DN"] = fact(info, "issuer")
    environ["SSL_CLIENT_S_DN_CN"] = fact(info, "common_name")
    environ["SSL_CLIENT_M_SERIAL"] = certificate.serial
    environ["SSL_CLIENT_V_START"] = _moment(certificate.not_before)
    environ["SSL_CLIENT_V_END"] = _moment(certificate.not_after)
    environ["SSL_CLIENT_CERT"] = certificate.pem
    environ["SSL_CLIENT_SHA256"] = certificate.sha256
    for kind, names in (
        ("DNS", certificate.dns_names), ("URI", certificate.uris), ("Email", certificate.emails),
        ("IP", certificate.ip_addresses),
    ):  # fmt: skip
        for number, name in enumerate(names):
            environ[f"SSL_CLIENT_SAN_{kind}_{number}"] = name
    return environ


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%b %e %H:%M:%S %Y GMT")
