"""Why a handshake failed, in the words of :class:`edgegw.verdict.Reason`.

OpenSSL says it twice: the verification result, where the client's chain was bad, and the error
queue for everything else.
"""
from __future__ import annotations

from OpenSSL import SSL

from edgegw.tls.openssl import verify_error_text
from edgegw.verdict import Reason

__all__ = ["reason_for_error", "reason_for_verify_result"]

# X509_V_ERR_… (x509_vfy.h), which are stable across OpenSSL's releases.
_VERIFY_REASONS = {
    2: Reason.UNKNOWN_CA,  # unable to get issuer certificate
    7: Reason.CERTIFICATE_SIGNATURE,
    8: Reason.CERTIFICATE_SIGNATURE,  # CRL signature
    9: Reason.CERTIFICATE_NOT_YET_VALID,
    10: Reason.CERTIFICATE_EXPIRED,
    18: Reason.UNKNOWN_CA,  # self-signed leaf
    19: Reason.UNKNOWN_CA,  # self-signed in chain
    20: Reason.UNKNOWN_CA,  # unable to get local issuer
    21: Reason.UNKNOWN_CA,  # unable to verify leaf signature
    22: Reason.CHAIN_TOO_LONG,
    23: Reason.CERTIFICATE_REVOKED,
    25: Reason.CHAIN_TOO_LONG,  # path length exceeded
    26: Reason.CERTIFICATE_PURPOSE,
    27: Reason.UNKNOWN_CA,  # untrusted
    66: Reason.CERTIFICATE_WEAK,  # key too small
    67: Reason.CERTIFICATE_WEAK,  # CA key too small
    68: Reason.CERTIFICATE_WEAK,  # signature digest too weak
    79: Reason.UNKNOWN_CA,  # invalid CA certificate
}

_ERROR_REASONS = {
    "peer did not return a certificate": Reason.NO_CERTIFICATE,
    "no shared cipher": Reason.NO_SHARED_CIPHER,
    "no suitable key share": Reason.NO_SHARED_GROUP,
    "no shared groups": Reason.NO_SHARED_GROUP,
    "no suitable groups": Reason.NO_SHARED_GROUP,
    "no suitable signature algorithm": Reason.NO_SHARED_CIPHER,
    "no shared signature algorithms": Reason.NO_SHARED_CIPHER,
    "unsupported protocol": Reason.PROTOCOL_VERSION,
    "version too low": Reason.PROTOCOL_VERSION,
    "wrong version number": Reason.NOT_TLS,
    "http request": Reason.NOT_TLS,
    "https proxy request": Reason.NOT_TLS,
    "packet length too long": Reason.NOT_TLS,
    "unknown protocol": Reason.NOT_TLS,
    "no application protocol": Reason.NO_APPLICATION_PROTOCOL,
    "unexpected eof while reading": Reason.CLIENT_CLOSED,
}


def reason_for_verify_result(result: int) -> Reason:
    """Give the reason for an ``X509_V_ERR_…`` code other than 0."""
    return _VERIFY_REASONS.get(result, Reason.CERTIFICATE_INVALID)


def reason_for_error(error: Exception, verify_result: int) -> tuple[Reason, str]:
    """Give the reason for what ``do_handshake`` raised, and OpenSSL's words for the log."""
    if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)):
        return Reason.CLIENT_CLOSED, str(error)
    entries = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    words = [str(entry[-1]) for entry in entries]
    detail = "; ".join(words) or repr(error)
    for text in words:
        known = _ERROR_REASONS.get(text)
        if known is not None:
            return known, detail
        if "alert" in text:
            # "tlsv1 alert unknown ca", "ssl/tls alert bad certificate": what the client sent us.
            return Reason.CLIENT_ALERT, detail
    if verify_result:
        return reason_for_verify_result(verify_result), verify_error_text(verify_result)
    return Reason.TLS_ERROR, detail
