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

from edgegw.identity import CertificateStatus
from edgegw.verdict import Reason

__all__ = [
    "CONNECT_FAILURES",
    "HANDSHAKE_SECONDS",
    "MAX_TLS_PARAMETERS",
    "REQUEST_SECONDS",
    "RESPONSE_FAILURES",
    "STATUS_CLASSES",
    "Histogram",
    "ListenerMetrics",
    "RequestMetrics",
    "UpstreamMetrics",
]

#: Upper bounds in seconds of the handshake histogram's buckets.
HANDSHAKE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Upper bounds in seconds of the request histogram's buckets.
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Labels of :attr:`RequestMetrics.responses`, by its index; ``none`` is a request whose client
#: was gone before a response began.
STATUS_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
#: Why an upstream could not be connected to.
CONNECT_FAILURES = ("refused", "timeout", "unreachable", "resolve", "other")
#: Why a connected upstream gave no whole response.
RESPONSE_FAILURES = ("closed", "bad_response", "timeout", "reset")
#: Combinations of version, cipher and group that one listener tells apart; the rest is ``other``.
MAX_TLS_PARAMETERS = 64

_OTHER = "other"

#: Version, cipher, group, whether resumed, what became of the client certificate.
TLSKey = tuple[str, str, str | None, bool, CertificateStatus]


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


class ListenerMetrics:
    """What happened to the connections of a listener.

    :ivar connections_total: accepted, refused ones included.
    :ivar connections: open now.
    :ivar handshakes_in_progress: TLS handshakes that have begun and not ended.
    :ivar bytes_received: application bytes from clients, without TLS's own.
    :ivar bytes_sent: application bytes to clients.
    :ivar refused: connections that a limit turned away before anything else was done with them.
    :ivar tls: connections whose handshake succeeded, by its parameters.
    :ivar handshake_failures: handshakes that failed, by reason.
    :ivar handshake_seconds: from accept to the handshake's end, good or bad.
    """

    __slots__ = (
        "_parameters",
        "bytes_received",
        "bytes_sent",
        "connections",
        "connections_total",
        "handshake_failures",
        "handshake_seconds",
        "handshakes_in_progress",
        "refused",
        "tls",
    )

    def __init__(self) -> None:
        self.connections_total = 0
        self.connections = 0
        self.handshakes_in_progress = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.refused: dict[Reason, int] = {}
        self.tls: dict[TLSKey, int] = {}
        self.handshake_failures: dict[Reason, int] = {}
        self.handshake_seconds = Histogram(HANDSHAKE_SECONDS)
        self._parameters: set[tuple[str, str, str | None]] = set()

    def refuse(self, reason: Reason) -> None:
        """Count a connection that was turned away."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def handshake_done(
        self,
        seconds: float,
        version: str,
        cipher: str,
        group: str | None,
        resumed: bool,
        certificate: CertificateStatus,
    ) -> None:
        """Count a handshake that succeeded.

        :param version: as OpenSSL names it, like ``TLSv1.3``.
        :param cipher: as OpenSSL names it.
        :param group: as OpenSSL names it; ``None`` where it does not say.
        """
        self.handshake_seconds.observe(seconds)
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
                key = (_OTHER, _OTHER, _OTHER, resumed, certificate)
        self.tls[key] = self.tls.get(key, 0) + 1

    def handshake_failed(self, reason: Reason, seconds: float) -> None:
        """Count a handshake that failed, before or after the client named a server."""
        self.handshake_seconds.observe(seconds)
        self.handshake_failures[reason] = self.handshake_failures.get(reason, 0) + 1

    @property
    def handshakes(self) -> int:
        """Handshakes that succeeded."""
        return sum(self.tls.values())


class RequestMetrics:
    """What happened to the requests of one listener, route and upstream.

    :ivar in_progress: requests whose head was read and whose response is not finished.
    :ivar responses: finished requests, by index into :data:`STATUS_CLASSES`.
    :ivar request_bytes: of request bodies, without chunked framing.
    :ivar response_bytes: of response bodies, without chunked framing.
    :ivar seconds: from the end of the request's head to the end of its response.
    """

    __slots__ = ("in_progress", "request_bytes", "response_bytes", "responses", "seconds")

    def __init__(self) -> None:
        self.in_progress = 0
        self.responses = [0] * len(STATUS_CLASSES)
        self.request_bytes = 0
        self.response_bytes = 0
        self.seconds = Histogram(REQUEST_SECONDS)

    def done(self, status: int, seconds: float) -> None:
        """Count a finished request.

        :param status: what the client was answered, or 0 if it got no answer.  Anything from 600 up
            counts as ``5xx`` (RFC 9110 §15).
        """
        self.responses[min(status // 100, 5)] += 1
        self.seconds.observe(seconds)


class UpstreamMetrics:
    """What happened between the gateway and an upstream.

    :ivar connects: connections made.
    :ivar reused: requests that found a kept connection.
    :ivar connections: open now, kept ones included.
    :ivar idle: kept for a later request now.
    :ivar retries: requests that were sent again after a kept connection turned out to be closed.
    :ivar connect_failures: by :data:`CONNECT_FAILURES`, all present.
    :ivar response_failures: by :data:`RESPONSE_FAILURES`, all present.
    """

    __slots__ = ("connect_failures", "connections", "connects", "idle", "response_failures", "retries", "reused")

    def __init__(self) -> None:
        self.connects = 0
        self.reused = 0
        self.connections = 0
        self.idle = 0
        self.retries = 0
        self.connect_failures = dict.fromkeys(CONNECT_FAILURES, 0)
        self.response_failures = dict.fromkeys(RESPONSE_FAILURES, 0)
