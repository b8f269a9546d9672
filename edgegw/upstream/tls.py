"""TLS to one endpoint: what it is asked for, how its certificate is judged, and the session that is resumed.

A certificate is judged in the handshake, the name with the chain: what is wrong is told to the upstream with the alert
that belongs to it, and an upstream that is not the one that was meant sees neither the gateway's certificate (TLS 1.3)
nor a byte of a request.

On a resumed session nothing is judged again.  It is one that was made with the same endpoint under the same settings,
and it is not used past the time at which any certificate of the chain expires by which the upstream was verified.
"""
from __future__ import annotations

import socket
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

from OpenSSL import SSL

from edgegw.certificate import certificate
from edgegw.model import UpstreamTLS, UpstreamVerification
from edgegw.observe.counters import TLS_FAILURES
from edgegw.observe.metrics import UpstreamMetrics
from edgegw.tls import openssl, store_context
from edgegw.tls.failure import reason_for_verify_result
from edgegw.upstream.certificate_names import IsFor, is_ip_address, name_check, names_shown
from edgegw.upstream.failure import NAME_MISMATCH, TLSFailure, failure_of
from edgegw.upstream.tls_context import ClientContext
from edgegw.verdict import Reject

__all__ = ["EndpointTLS", "UpstreamHandshake"]

#: ``X509_V_ERR_HOSTNAME_MISMATCH``: its alert is ``bad_certificate``.
_HOSTNAME_MISMATCH: Final = 62


class EndpointTLS:
    """How connections to one endpoint are secured.

    :param host: the endpoint's, a name or an IP address.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        tls: UpstreamTLS,
        context: ClientContext,
        host: str,
        metrics: UpstreamMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        name = tls.hostname or host
        asked_for = tls.sni or name
        self.metrics = metrics
        self.clock = clock
        self.verifies = tls.verify is not UpstreamVerification.NONE
        #: ``None`` where any name will do.
        self.is_for: IsFor | None = None
        self.wanted = ""
        if tls.verify is UpstreamVerification.FULL:
            self.is_for, self.wanted = name_check(name, tls.subject_alt_names)
        self._context = context
        self._server_name = None if is_ip_address(asked_for) else asked_for.encode("ascii")
        self._resumes = tls.session_resumption
        self._session: SSL.Session | None = None
        self._session_ends = inf
        for word in TLS_FAILURES:
            metrics.connect_failures.setdefault(word, 0)

    def begin(self, sock: socket.socket) -> UpstreamHandshake:
        """Begin a handshake on a connected socket."""
        connection = openssl.begin_client(self._context.context, sock, self._server_name)
        session = self._session
        ends = inf
        if session is not None:
            if self.clock() < self._session_ends:
                connection.set_session(session)
                ends = self._session_ends
            else:
                self.forget()
        return UpstreamHandshake(self, connection, ends)

    def remember(self, session: SSL.Session | None, ends: float) -> None:
        """Keep a session for the next connection."""
        if session is not None and self._resumes:
            self._session = session
            self._session_ends = ends

    def forget(self) -> None:
        """Make the next connection without a session."""
        self._session = None


class UpstreamHandshake:
    """One handshake, and what was found in it.

    :ivar connection: OpenSSL's end.
    """

    __slots__ = ("_endpoint", "_refusal", "_session_ends", "_verified", "connection")

    def __init__(self, endpoint: EndpointTLS, connection: SSL.Connection, session_ends: float) -> None:
        self.connection = connection
        self._endpoint = endpoint
        self._session_ends = session_ends
        self._verified = False
        self._refusal: Reject | None = None

    def step(self) -> object | None:
        """Go on: ``None`` when it is done, else what it waits for; see :func:`edgegw.tls.openssl.do_handshake`.

        :raises TLSFailure: it failed.
        """
        endpoint, connection = self._endpoint, self.connection
        try:
            wanted = openssl.do_handshake(connection, self._ask)
        except Exception as error:
            endpoint.forget()
            raise failure_of(error, openssl.verify_result(connection), self._refusal) from None
        if wanted is not None:
            return wanted
        resumed = openssl.was_resumed(connection)
        if endpoint.verifies and not self._verified and not resumed:
            # OpenSSL was to ask about the certificate and did not: whatever the cause, nobody has vouched for it.
            raise TLSFailure("tls_error", "the certificate was not judged")
        version, _, _ = openssl.negotiated(connection)
        key = (version or "", resumed)
        handshakes = endpoint.metrics.tls
        handshakes[key] = handshakes.get(key, 0) + 1
        return None

    def keep_session(self) -> None:
        """Keep its session: called once the upstream has sent something, which a TLS 1.3 session comes before."""
        self._endpoint.remember(self.connection.get_session(), self._session_ends)

    # --- the upstream's certificate ----------------------------------------------------------

    def _ask(self, good: bool, store: Any) -> bool:
        """See :data:`edgegw.tls.openssl.Asked`; what is raised here refuses too."""
        if not good:
            code, depth = store_context.error(store), store_context.depth(store)
            above = f", of certificate {depth + 1} in the chain" if depth else ""
            self._refusal = Reject(reason_for_verify_result(code), store_context.verify_error_text(code) + above)
            return False
        endpoint = self._endpoint
        leaf = certificate(store_context.client_certificate(store))
        if endpoint.is_for is not None and not endpoint.is_for(leaf):
            self._refusal = Reject(NAME_MISMATCH, f"wanted {endpoint.wanted}; it is for {names_shown(leaf)}")
            store_context.set_error(store, _HOSTNAME_MISMATCH)
            return False
        ends = [certificate(der).not_after for der in store_context.verified_chain(store)]
        self._session_ends = min((one.timestamp() for one in ends if one is not None), default=0.0)
        self._verified = True
        return True
