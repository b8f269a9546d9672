"""Why TLS to an upstream failed, in a word for metrics and in words for the log."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twisted.internet.error import ConnectError, ConnectionLost

from edgegw.observe.counters import TLS_FAILURES
from edgegw.tls.failure import reason_for_error
from edgegw.verdict import Reason, Reject

__all__ = ["NAME_MISMATCH", "TLSAlert", "TLSFailure", "failure_of"]

#: The word for a certificate that is not for the name.
NAME_MISMATCH: Final = "name_mismatch"

#: Reasons are worded for clients that come in; here the other end is an upstream.
_WORDS: Final[Mapping[str, str]] = {
    Reason.CLIENT_ALERT: "alert",
    Reason.CLIENT_CLOSED: "tls_closed",
    Reason.PLAIN_HTTP: "not_tls",
    Reason.CERTIFICATE_SIGNATURE: "certificate_invalid",
    Reason.CHAIN_TOO_LONG: "certificate_invalid",
    Reason.CRITICAL_EXTENSION: "certificate_invalid",
    Reason.NAME_CONSTRAINT: "certificate_invalid",
}


class TLSFailure(ConnectError):
    """A handshake failed.

    :ivar word: one of :data:`edgegw.observe.counters.TLS_FAILURES`, or ``timeout``.
    """

    def __init__(self, word: str, detail: str) -> None:
        super().__init__(string=detail)
        self.word = word

    def __str__(self) -> str:
        return str(self.args[0])


class TLSAlert(ConnectionLost):
    """The upstream ended a connection with an alert.

    In TLS 1.3 it judges the gateway's certificate when the handshake is done for the gateway: an alert is its answer
    then, in place of one to the first request, which it has not looked at.
    """


def failure_of(error: Exception, verify_result: int, refusal: Reject | None) -> TLSFailure:
    """Give the failure for what the handshake raised.

    :param verify_result: OpenSSL's, for the upstream's chain.
    :param refusal: of the upstream's certificate, if there was one.
    """
    reason = reason_for_error(error, verify_result, refusal)
    code = str(reason.code)
    word = _WORDS.get(code, code)
    return TLSFailure(word if word in TLS_FAILURES else "tls_error", reason.detail or word)
