"""Why a handshake failed, in the words of :class:`edgegw.verdict.Reason`.

OpenSSL says it twice: the verification result, where the client's chain was bad, and the error
queue for everything else.
"""
from __future__ import annotations

from collections.abc import Mapping

from OpenSSL import SSL

from edgegw.tls.store_context import verify_error_text
from edgegw.verdict import Reason, Reject

__all__ = ["error_for_refusal", "is_alert", "reason_for_error", "reason_for_verify_result"]

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
    34: Reason.CRITICAL_EXTENSION,
    47: Reason.NAME_CONSTRAINT,  # permitted subtree
    48: Reason.NAME_CONSTRAINT,  # excluded subtree
    51: Reason.NAME_CONSTRAINT,  # a kind of constraint that is not supported
    52: Reason.NAME_CONSTRAINT,
    53: Reason.NAME_CONSTRAINT,
    27: Reason.UNKNOWN_CA,  # untrusted
    66: Reason.CERTIFICATE_WEAK,  # key too small
    67: Reason.CERTIFICATE_WEAK,  # CA key too small
    68: Reason.CERTIFICATE_WEAK,  # signature digest too weak
    79: Reason.UNKNOWN_CA,  # invalid CA certificate
}

#: The X509_V_ERR_… whose alert says best why a policy refused (OpenSSL's ssl_x509err2alert): there is no way to
#: name an alert itself.  What is not here is certificate_unknown (46), as Envoy has it for a name that does not match.
_POLICY_ERRORS: Mapping[str, int] = {
    Reason.CERTIFICATE_EXPIRED: 10,  # certificate_expired
    Reason.CRL_STALE: 12,  # certificate_expired
    Reason.CERTIFICATE_REVOKED: 23,  # certificate_revoked
    Reason.CRL_MISSING: 3,  # unknown_ca
    Reason.SPIFFE_TRUST_DOMAIN: 20,  # unknown_ca
    Reason.ISSUER: 20,  # unknown_ca
    Reason.EXTENDED_KEY_USAGE: 26,  # unsupported_certificate
    Reason.CERTIFICATE_NOT_YET_VALID: 28,  # bad_certificate, as are the next ones
    Reason.CERTIFICATE_HASH: 28,
    Reason.SPKI_HASH: 28,
    Reason.CERTIFICATE_WEAK: 28,
    Reason.CERTIFICATE_LIFETIME: 28,
    Reason.CERTIFICATE_EXPIRES_SOON: 28,
    Reason.RFC5280: 28,
    Reason.RATE_LIMITED: 50,  # handshake_failure
    Reason.NO_POLICY: 50,
    Reason.POLICY_ERROR: 1,  # internal_error
    Reason.INTERNAL_ERROR: 1,
}
#: ``X509_V_ERR_SUBTREE_MINMAX``: nothing else of that name goes on here, and its alert is certificate_unknown.
_CERTIFICATE_UNKNOWN = 49

_ERROR_REASONS = {
    "peer did not return a certificate": Reason.NO_CERTIFICATE,
    "no shared cipher": Reason.NO_SHARED_CIPHER,
    "no suitable key share": Reason.NO_SHARED_GROUP,
    "no shared groups": Reason.NO_SHARED_GROUP,
    "no suitable groups": Reason.NO_SHARED_GROUP,
    "wrong curve": Reason.NO_SHARED_GROUP,  # TLS 1.2: a client's key on a curve that is not among the groups
    "no suitable signature algorithm": Reason.NO_SHARED_CIPHER,
    "no shared signature algorithms": Reason.NO_SHARED_CIPHER,
    "unsupported protocol": Reason.PROTOCOL_VERSION,
    "version too low": Reason.PROTOCOL_VERSION,
    "wrong version number": Reason.NOT_TLS,
    "http request": Reason.PLAIN_HTTP,
    "https proxy request": Reason.PLAIN_HTTP,
    "packet length too long": Reason.NOT_TLS,
    "unknown protocol": Reason.NOT_TLS,
    "no application protocol": Reason.NO_APPLICATION_PROTOCOL,
    "unexpected eof while reading": Reason.CLIENT_CLOSED,
}


#: What OpenSSL calls alerts without saying that they are some (ssl_err.c).
_ALERTS = frozenset({
    "tlsv1 bad certificate hash value",
    "tlsv1 bad certificate status response",
    "tlsv1 certificate unobtainable",
    "tlsv1 unrecognized name",
    "tlsv1 unsupported extension",
})


def is_alert(words: str) -> bool:
    """Whether OpenSSL's words for an error are those of an alert that the other side has sent."""
    return "alert" in words or words in _ALERTS


def error_for_refusal(code: str) -> int:
    """Give the ``X509_V_ERR_…`` to refuse a certificate with, for its alert.

    :param code: a reason code, a policy's own among them.
    """
    return _POLICY_ERRORS.get(code, _CERTIFICATE_UNKNOWN)


def reason_for_verify_result(result: int) -> Reason:
    """Give the reason for an ``X509_V_ERR_…`` code other than 0."""
    return _VERIFY_REASONS.get(result, Reason.CERTIFICATE_INVALID)


def reason_for_error(error: Exception, verify_result: int, refusal: Reject | None) -> Reject:
    """Give the reason for what ``do_handshake`` raised, with OpenSSL's words as its detail.

    :param refusal: of the client's certificate, if there was one: it is the reason where OpenSSL says that
        verification failed.
    """
    if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)):
        return Reject(Reason.CLIENT_CLOSED, str(error))
    entries = error.args[0] if isinstance(error, SSL.Error) and error.args else ()
    words = [str(entry[-1]) for entry in entries]
    detail = "; ".join(words) or repr(error)
    if refusal is not None and "certificate verify failed" in words:
        return refusal
    for text in words:
        known = _ERROR_REASONS.get(text)
        if known is not None:
            return Reject(known, detail)
        if is_alert(text):
            # "tlsv1 alert unknown ca", "ssl/tls alert bad certificate": what the client sent us.
            return Reject(Reason.CLIENT_ALERT, detail)
    if verify_result:
        return Reject(reason_for_verify_result(verify_result), verify_error_text(verify_result))
    return Reject(Reason.TLS_ERROR, detail)
