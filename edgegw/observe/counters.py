"""The numbers that the data path counts up, as plain attributes.

An ``int`` in a slot costs a tenth of a ``prometheus_client`` child, so the data path touches
nothing else: it gets one of these objects once, by configured names, and adds to its
attributes.  :mod:`edgegw.observe.metrics` reads them when somebody asks for ``/metrics``.

Gauges (``connections``, ``handshakes_in_progress``, ``in_progress``, ``idle``) are counted up
*and* down by the data path; no method here does it.  Everything runs on the reactor's thread.
"""
from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf

from edgegw.identity import CertificateStatus
from edgegw.observe.endpoints import UpstreamState

__all__ = [
    "CONNECT_FAILURES",
    "HANDSHAKE_SECONDS",
    "MAX_CODES",
    "MAX_TLS_PARAMETERS",
    "OTHER",
    "REQUEST_SECONDS",
    "RESPONSE_FAILURES",
    "STATUS_CLASSES",
    "UPSTREAM_LIMITS",
    "TLS_FAILURES",
    "DynamicCertificateMetrics",
    "Histogram",
    "ListenerMetrics",
    "MirrorMetrics",
    "PolicyMetrics",
    "RequestMetrics",
    "UpstreamMetrics",
    "count_code",
]

#: Upper bounds in seconds of the handshake histogram's buckets.
HANDSHAKE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Upper bounds in seconds of the request histogram's buckets.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Labels of :attr:`RequestMetrics.responses`, by its index; ``none`` is a request whose client
#: was gone before a response began.
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_CLASSES = len(STATUS_CLASSES)
#: Why an upstream could not be connected to.
CONNECT_FAILURES = ("refused", "timeout", "unreachable", "resolve", "other")
#: Why TLS with an upstream failed, where it speaks TLS.
TLS_FAILURES = (
    "certificate_expired", "certificate_not_yet_valid", "unknown_ca", "name_mismatch", "certificate_purpose",
    "certificate_weak", "certificate_invalid", "protocol_version", "alert", "not_tls", "tls_closed", "tls_error",
)
#: Why a connected upstream gave no whole response.
RESPONSE_FAILURES = ("closed", "bad_response", "timeout", "reset", "refused")
#: What kept a request, or a retry, from an upstream.
UPSTREAM_LIMITS = ("no_endpoint", "max_requests", "max_pending", "retry_budget")
#: What became of a handshake whose name a source of certificates is there for: the certificate, or a refusal, was kept;
#: the source is asked; it is asked about too many names already.
LOOKUPS = ("kept", "refused", "asked", "limit")
#: What came of asking it: a certificate, that there is none, nothing that can be used, nothing in time.
ANSWERS = ("given", "none", "error", "timeout")
#: Combinations of version, cipher and group that one listener tells apart; the rest is ``other``.
MAX_TLS_PARAMETERS = 64
#: Reason codes that are told apart in one place.  They come from closed lists, those of the gateway and of its
#: plugins; whatever goes wrong there, the series are bounded.
MAX_CODES = 200
#: What is counted beyond that.
OTHER = "other"

#: Version, cipher, group, whether resumed, what became of the client certificate.
TLSKey = tuple[str, str, str | None, bool, CertificateStatus]


def count_code(counts: dict[str, int], code: str) -> None:
    """Count one of a reason code; beyond :data:`MAX_CODES` different ones it is :data:`OTHER`."""
    try:
        counts[code] += 1
    except KeyError:
        if len(counts) >= MAX_CODES:
            code = OTHER
        counts[code] = counts.get(code, 0) + 1


class Histogram:
    """Counts of durations by upper bound.

    :param bounds: upper bounds in ascending order, without the infinite one.
    :ivar counts: one for each bound, each without those of the bounds below it, and one for what
        is above all of them.
    :ivar sum: seconds, of all that was observed.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration; one equal to a bound belongs to it."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Give ``(le, count)`` as Prometheus counts: each bound with all below it, ``+Inf`` last."""
        total = 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            total += count
            yield bound, total


class DynamicCertificateMetrics:
    """What happened to the certificates that a listener is given by name.

    :ivar kept: certificates that are kept now.
    :ivar lookups: by :data:`LOOKUPS`.
    :ivar answers: by :data:`ANSWERS`.
    """

    __slots__ = ("answers", "kept", "lookups")

    def __init__(self) -> None:
        self.kept = 0
        self.lookups = dict.fromkeys(LOOKUPS, 0)
        self.answers = dict.fromkeys(ANSWERS, 0)


class ListenerMetrics:
    """What happened to the connections of a listener.

    :ivar connections_total: accepted, refused ones included.
    :ivar connections: open now.
    :ivar full_at: see :class:`AdmissionCounts`.
    :ivar handshakes_in_progress: TLS handshakes that have begun and not ended.
    :ivar bytes_received: application bytes from clients, without TLS's own.
    :ivar bytes_sent: application bytes to clients.
    :ivar dynamic: certificates by name; ``None`` where nobody has asked for any.
    :ivar refused: connections that a limit turned away before anything else was done with them, by reason code.
    :ivar rechecked: established connections that were closed because their certificate no longer passes, by reason
        code.
    :ivar http2_endings: HTTP/2 connections that were ended because of what the client did, by
        :class:`edgegw.wire.http2.Reason`.
    :ivar http2_resets: streams of HTTP/2 that were reset, by who did it and the error code's name.
    :ivar tls: connections whose handshake succeeded, by its parameters.
    :ivar handshake_failures: handshakes that failed or were refused, by reason code.
    :ivar handshake_seconds: from accept to the handshake's end, good or bad.
    :ivar last_ids: the id in the handshake record of the last handshake by reason code, ``""`` for the last one that
        succeeded.
    :ivar last_fingerprints: JA3 and JA4 of the same handshakes, as far as they were taken.
    """

    __slots__ = (
        "_parameters",
        "bytes_received",
        "bytes_sent",
        "connections",
        "connections_total",
        "full_at",
        "dynamic",
        "handshake_failures",
        "handshake_seconds",
        "handshakes_in_progress",
        "http2_endings",
        "http2_resets",
        "last_fingerprints",
        "last_ids",
        "rechecked",
        "refused",
        "tls",
    )

    def __init__(self) -> None:
        self.connections_total = 0
        self.connections = 0
        self.full_at = -inf
        self.handshakes_in_progress = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.dynamic: DynamicCertificateMetrics | None = None
        self.refused: dict[str, int] = {}
        self.rechecked: dict[str, int] = {}
        self.http2_endings: dict[str, int] = {}
        self.http2_resets: dict[tuple[str, str], int] = {}
        self.tls: dict[TLSKey, int] = {}
        self.handshake_failures: dict[str, int] = {}
        self.handshake_seconds = Histogram(HANDSHAKE_SECONDS)
        self.last_ids: dict[str, str] = {}
        self.last_fingerprints: dict[str, tuple[str, str]] = {}
        self._parameters: set[tuple[str, str, str | None]] = set()

    def dynamic_certificates(self) -> DynamicCertificateMetrics:
        """Give the counters of certificates by name, the same object at every call."""
        if self.dynamic is None:
            self.dynamic = DynamicCertificateMetrics()
        return self.dynamic

    def refuse(self, reason: str) -> None:
        """Count a connection that was turned away."""
        count_code(self.refused, reason)

    def http2_ended(self, reason: str) -> None:
        """Count an HTTP/2 connection that was ended because of what the client did."""
        self.http2_endings[reason] = self.http2_endings.get(reason, 0) + 1

    def http2_reset(self, by: str, code: str) -> None:
        """Count a stream that ``client`` or ``gateway`` reset."""
        key = by, code
        self.http2_resets[key] = self.http2_resets.get(key, 0) + 1

    def recheck_closed(self, reason: str) -> None:
        """Count an established connection that was closed because its certificate no longer passes."""
        count_code(self.rechecked, reason)

    def handshake_done(
        self,
        seconds: float,
        version: str,
        cipher: str,
        group: str | None,
        resumed: bool,
        certificate: CertificateStatus,
        handshake_id: str = "",
        fingerprints: tuple[str, str] | None = None,
    ) -> None:
        """Count a handshake that succeeded.

        :param version: as OpenSSL names it, like ``TLSv1.3``.
        :param cipher: as OpenSSL names it.
        :param group: as OpenSSL names it; ``None`` where it does not say.
        :param handshake_id: its id in the handshake record, if it is there.
        :param fingerprints: its JA3 and JA4, if they were taken.
        """
        self.handshake_seconds.observe(seconds)
        if handshake_id:
            self.last_ids[""] = handshake_id
            if fingerprints is not None or self.last_fingerprints:
                self._last_fingerprints("", fingerprints)
        key = (version, cipher, group, resumed, certificate)
        try:
            self.tls[key] += 1
        except KeyError:
            self._count_first(key)

    def _count_first(self, key: TLSKey) -> None:
        version, cipher, group, resumed, certificate = key
        parameters = (version, cipher, group)
        if parameters not in self._parameters:
            if len(self._parameters) < MAX_TLS_PARAMETERS:
                self._parameters.add(parameters)
            else:
                key = (OTHER, OTHER, OTHER, resumed, certificate)
        self.tls[key] = self.tls.get(key, 0) + 1

    def _last_fingerprints(self, reason: str, fingerprints: tuple[str, str] | None) -> None:
        if fingerprints is None:
            self.last_fingerprints.pop(reason, None)
        else:
            self.last_fingerprints[reason] = fingerprints

    def handshake_failed(
        self, reason: str, seconds: float, handshake_id: str = "", fingerprints: tuple[str, str] | None = None
    ) -> None:
        """Count a handshake that failed or was refused, before or after the client named a server.

        :param handshake_id: as of :meth:`handshake_done`; so are ``fingerprints``.
        """
        self.handshake_seconds.observe(seconds)
        count_code(self.handshake_failures, reason)
        if handshake_id and (reason in self.last_ids or len(self.last_ids) < MAX_CODES):
            self.last_ids[reason] = handshake_id
            if fingerprints is not None or self.last_fingerprints:
                self._last_fingerprints(reason, fingerprints)

    @property
    def handshakes(self) -> int:
        """Handshakes that succeeded."""
        return sum(self.tls.values())


class PolicyMetrics:
    """What one policy said of the clients of one listener.

    Every verdict counts once, in ``accepted`` or in ``refused``; the others tell of how many of them it was so.

    :ivar refused: by reason code.
    :ivar errors: refusals because the policy failed or did not decide in time.
    :ivar seconds: spent, waiting included; earlier answers cost none.
    :ivar slow: verdicts that held up every other connection for too long.
    :ivar cached: verdicts that were earlier answers.
    """

    __slots__ = ("accepted", "cached", "errors", "refused", "seconds", "slow")

    def __init__(self) -> None:
        self.accepted = 0
        self.refused: dict[str, int] = {}
        self.errors = 0
        self.seconds = 0.0
        self.slow = 0
        self.cached = 0

    @property
    def asked(self) -> int:
        """Verdicts that were no earlier answers."""
        return self.accepted + sum(self.refused.values()) - self.cached


class RequestMetrics:
    """What happened to the requests of one listener, route and upstream.

    :ivar in_progress: requests whose head was read and whose response is not finished.
    :ivar responses: finished requests, by index into :data:`STATUS_CLASSES`.
    :ivar request_bytes: of request bodies, without chunked framing.
    :ivar response_bytes: of response bodies, without chunked framing.
    :ivar seconds: from the end of the request's head to the end of its response.
    :ivar refused: requests whose client a rule does not let in, by reason code; they count as finished too.
    """

    __slots__ = ("_counts", "_sum", "in_progress", "refused", "request_bytes", "response_bytes")

    def __init__(self) -> None:
        self.in_progress = 0
        # With many routes these are in nobody's cache, and every object that a request has to touch is waited for:
        # so the classes and, behind them, the histogram's buckets are in one list.
        self._counts = [0] * (_CLASSES + len(REQUEST_SECONDS) + 1)
        self._sum = 0.0
        self.request_bytes = 0
        self.response_bytes = 0
        self.refused: dict[str, int] = {}

    @property
    def responses(self) -> list[int]:
        """A new list; see the class."""
        return self._counts[:_CLASSES]

    @property
    def seconds(self) -> Histogram:
        """A new histogram; see the class."""
        seconds = Histogram(REQUEST_SECONDS)
        seconds.counts = self._counts[_CLASSES:]
        seconds.sum = self._sum
        return seconds

    def refuse(self, reason: str) -> None:
        """Count a request that a rule refused because of who sent it."""
        count_code(self.refused, reason)

    def done(self, status: int, seconds: float) -> None:
        """Count a finished request.

        :param status: what the client was answered, or 0 if it got no answer.  Anything from 600 up
            counts as ``5xx`` (RFC 9110 §15).
        """
        counts = self._counts
        counts[status // 100 if status < 600 else 5] += 1
        counts[bisect_left(REQUEST_SECONDS, seconds) + _CLASSES] += 1
        self._sum += seconds


class MirrorMetrics:
    """What became of the copies of requests of one listener and route for one upstream.

    :ivar answered: that got a response.
    :ivar failed: for which the upstream could not be reached, or gave no whole response.
    :ivar dropped: that were given up: the mirror was behind, too many were under way, or the client had left.
    """

    __slots__ = ("answered", "dropped", "failed")

    def __init__(self) -> None:
        self.answered = 0
        self.failed = 0
        self.dropped = 0


class UpstreamMetrics:
    """What happened between the gateway and an upstream.

    :ivar connects: connections made.
    :ivar reused: requests that found a kept connection.
    :ivar connections: open now, kept ones included.
    :ivar idle: kept for a later request now.
    :ivar retries: requests that were sent again: after a kept connection turned out to be closed, or because a rule
        says so.
    :ivar connect_failures: by :data:`CONNECT_FAILURES`, all present; with TLS by :data:`TLS_FAILURES` too.
    :ivar response_failures: by :data:`RESPONSE_FAILURES`, all present.
    :ivar limited: requests and retries that a limit refused, by :data:`UPSTREAM_LIMITS`, all present.
    :ivar connecting: connections that are being opened now.
    :ivar sharing: requests beyond one for each connection that is busy or being opened: what HTTP/2 carries more.
    :ivar waiting: requests that wait for a connection now, because there may be no more of them.
    :ivar resolutions: look-ups of names by their result, ``success`` and ``failure``.
    :ivar checks: health checks by their result, the same.
    :ivar state: what is known of the endpoints.
    :ivar tls: TLS handshakes that succeeded, by the version and whether a session was resumed.
    """

    __slots__ = (
        "checks", "connect_failures", "connecting", "connections", "connects", "idle", "limited", "resolutions",
        "response_failures", "retries", "reused", "sharing", "state", "tls", "waiting",
    )

    def __init__(self) -> None:
        self.connects = 0
        self.reused = 0
        self.connections = 0
        self.idle = 0
        self.retries = 0
        self.connect_failures = dict.fromkeys(CONNECT_FAILURES, 0)
        self.response_failures = dict.fromkeys(RESPONSE_FAILURES, 0)
        self.limited = dict.fromkeys(UPSTREAM_LIMITS, 0)
        self.connecting = 0
        self.waiting = 0
        self.sharing = 0
        self.resolutions = {"success": 0, "failure": 0}
        self.checks = {"success": 0, "failure": 0}
        self.state = UpstreamState()
        self.tls: dict[tuple[str, bool], int] = {}
