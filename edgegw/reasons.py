"""``docs/reasons.rst``: every reason code with what it means, what to do, and what the client sees.

``python -m edgegw.reasons > docs/reasons.rst`` makes it anew after a change of
:mod:`edgegw.reason_explanations` or of the
alerts in :mod:`edgegw.tls.failure`; a test says when that was forgotten.
"""
from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Final

from edgegw.reason_explanations import EXPLANATIONS
from edgegw.tls.failure import error_for_refusal
from edgegw.verdict import Reason

__all__ = ["ALERT_NAMES", "ERROR_ALERTS", "alert", "reasons_text"]

#: Names of alerts by their number (RFC 8446 §6).
ALERT_NAMES: Final[Mapping[int, str]] = {
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    48: "unknown_ca",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    80: "internal_error",
    112: "unrecognized_name",
    116: "certificate_required",
}
#: The alert that OpenSSL sends for each ``X509_V_ERR_…`` with which a policy's refusal ends the handshake.
ERROR_ALERTS: Final[Mapping[int, int]] = {
    1: 80, 3: 48, 10: 45, 12: 45, 20: 48, 23: 44, 26: 43, 28: 42, 49: 46, 50: 40,
}  # fmt: skip

_NO_ALERT: Final = "none; the connection is closed"

#: What the client sees, where it is not a policy's refusal.
_ALERTS: Final[Mapping[Reason, int | str]] = {
    Reason.NO_CERTIFICATE: "certificate_required (116); handshake_failure (40) under TLS 1.2",
    Reason.UNKNOWN_CA: 48,
    Reason.CERTIFICATE_EXPIRED: 45,
    Reason.CERTIFICATE_NOT_YET_VALID: 42,
    Reason.CERTIFICATE_REVOKED: 44,
    Reason.CERTIFICATE_PURPOSE: 43,
    Reason.CERTIFICATE_SIGNATURE: 51,
    Reason.CERTIFICATE_WEAK: 42,
    Reason.CHAIN_TOO_LONG: 48,
    Reason.NAME_CONSTRAINT: 46,
    Reason.CRITICAL_EXTENSION: 46,
    Reason.CERTIFICATE_INVALID: "certificate_unknown (46), or what OpenSSL has for the fault",
    Reason.NO_TRUST_ANCHOR: 40,
    Reason.CERTIFICATE_UNAVAILABLE: 80,
    Reason.ROUTER_REFUSED: 112,
    Reason.ROUTER_ERROR: 80,
    # Policies that wait.
    Reason.OCSP_UNAVAILABLE: _NO_ALERT,
    Reason.OCSP_UNKNOWN: _NO_ALERT,
    Reason.CHECK_REFUSED: _NO_ALERT,
    Reason.CHECK_UNAVAILABLE: _NO_ALERT,
    Reason.POLICY_TIMEOUT: _NO_ALERT,
    Reason.CLIENT_UNVERIFIED: "none; the request is answered with 403",
    Reason.PLAIN_HTTP: "none; an answer in plain text, 400",
    Reason.BAD_CLIENT_HELLO: "decode_error (50), or what OpenSSL has for the fault",
    Reason.UNRECOGNIZED_NAME: "unrecognized_name (112), or none where unmatched_name is close",
    Reason.NO_ROUTE: "unrecognized_name (112) where TLS ends here; else none, and the connection is closed",
    Reason.NO_BACKEND: "unrecognized_name (112) where TLS ends here; else none, and the connection is closed",
    Reason.PROTOCOL_VERSION: 70,
    Reason.NO_SHARED_CIPHER: 40,
    Reason.NO_SHARED_GROUP: 40,
    Reason.CLIENT_ALERT: "none; the alert was the client's",
    Reason.CLIENT_CLOSED: _NO_ALERT,
    Reason.HANDSHAKE_TIMEOUT: _NO_ALERT,
    Reason.TLS_ERROR: "what OpenSSL has for the fault",
    Reason.PROXY_HEADER_MISSING: _NO_ALERT,
    Reason.BAD_PROXY_HEADER: _NO_ALERT,
    Reason.PROXY_HEADER_TIMEOUT: _NO_ALERT,
    Reason.UNTRUSTED_PROXY: _NO_ALERT,
    Reason.MAX_CONNECTIONS: _NO_ALERT,
    Reason.MAX_CONNECTIONS_PER_PEER: _NO_ALERT,
    Reason.MAX_HANDSHAKES: _NO_ALERT,
    Reason.CONNECTION_RATE: _NO_ALERT,
    Reason.DRAINING: _NO_ALERT,
}
#: Where a group begins in the order of :class:`Reason`, and whether its reasons are those of policies.
_GROUPS: Final[Mapping[Reason, tuple[str, bool]]] = {
    Reason.NO_CERTIFICATE: ("The client's certificate", False),
    Reason.SUBJECT_ALT_NAME: ("Policies", True),
    Reason.CLIENT_UNVERIFIED: ("A request's rule", False),
    Reason.NOT_TLS: ("The handshake", False),
    Reason.PROXY_HEADER_MISSING: ("The PROXY header", False),
    Reason.MAX_CONNECTIONS: ("Limits, and the gateway itself", False),
}

_INTRODUCTION: Final = """\
.. Made by "python -m edgegw.reasons"; what it says is in edgegw/reason_explanations.py and edgegw/tls/failure.py.

=======
Reasons
=======

Every connection, handshake and request that the gateway refuses, and every handshake that fails, has one reason.  Its
code is the same word in the log, in the ``reason`` and ``code`` labels of the metrics, in the handshake record
(``edgegw handshakes``) and in what ``edgegw explain`` prints.  A policy that is no part of the gateway may have codes
of its own; ``edgegw plugins`` lists them.

The client learns no more than a TLS alert, whose name and number stand below.  It is sent where the handshake is what
fails: for the certificate's chain, and for the policies that need not wait.  A client that resumes a session, or is
refused by a policy that waits, has its handshake done by then: the connection is closed without an alert, or answered
with 403 where the listener says ``refuse_with: response``.  A policy at a route's rule refuses requests, with 403.
"""
_WIDTH: Final = 120


def alert(reason: Reason, of_policy: bool) -> str:
    """Give what the client sees of a refusal; empty where that differs from case to case.

    :param of_policy: whether a policy gives the reason, in the handshake.
    """
    known = _ALERTS.get(reason)
    if known is None and of_policy:
        known = ERROR_ALERTS[error_for_refusal(reason)]
    return f"{ALERT_NAMES[known]} ({known})" if isinstance(known, int) else known or ""


def reasons_text() -> str:
    """Give the page, reStructuredText, ending with a newline."""
    return "\n".join((_INTRODUCTION, *_reasons()))


def _reasons() -> Iterator[str]:
    of_policy = False
    for reason in Reason:
        if reason in _GROUPS:
            title, of_policy = _GROUPS[reason]
            yield from (title, "=" * len(title), "")
        explanation = EXPLANATIONS[reason]
        yield f"``{reason}``"
        yield from _wrapped("    ", explanation.sentence)
        yield ""
        for name, text in (
            ("Usual cause", explanation.cause),
            ("What to do", explanation.remedy),
            ("Alert", alert(reason, of_policy)),
        ):
            if text:
                yield from _wrapped("    ", f":{name}: {text}", "      ")
        yield ""


def _wrapped(indent: str, text: str, further: str = "") -> list[str]:
    return wrap(
        text.replace("\\", "\\\\").replace("*", "\\*"),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=further or indent,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    sys.stdout.write(reasons_text())
