"""Every metric of one process, in Prometheus' words.

:class:`Metrics` is the root: the data path gets its counters from it once, by configured names,
and :attr:`Metrics.registry` yields all families at scrape time.  It is a registry of its own: an
application that embeds the gateway keeps ``prometheus_client``'s global one for itself.

Label values are names from the configuration or words from closed lists: reason codes are the gateway's
or declared by a plugin.  Nothing that a client sends becomes one.  docs/metrics.rst explains every family.
"""
from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

import cryptography
from OpenSSL import SSL
from OpenSSL.version import __version__ as pyopenssl_version
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from twisted.copyright import version as twisted_version
from twisted.logger import Logger

import edgegw
from edgegw.model import Gateway, ServerCertificate
from edgegw.observe.counters import (
    MAX_CODES,
    OTHER,
    STATUS_CLASSES,
    DynamicCertificateMetrics,
    Histogram,
    ListenerMetrics,
    MirrorMetrics,
    PolicyMetrics,
    RequestMetrics,
    UpstreamMetrics,
)
from edgegw.observe.families import counter as _counter
from edgegw.observe.families import gauge as _gauge
from edgegw.observe.http2_families import http2_families
from edgegw.observe.tunnel_counters import AdmissionCounts, TunnelMetrics
from edgegw.observe.tunnel_families import bytes_by_listener, tunnel_families
from edgegw.observe.upstream_families import endpoint_families

__all__ = [
    "ListenerMetrics", "Metrics", "MirrorMetrics", "PolicyMetrics", "RequestMetrics", "UpstreamMetrics", "versions",
]

_log = Logger(namespace="edgegw.metrics")

#: Listener, route and upstream.
RequestKey = tuple[str, str, str]
#: Listener, the policy's place and name.
PolicyKey = tuple[str, str]
#: ``server`` or ``trust_anchor``, the certificate's name, the listener's; ``client`` or ``trust_anchor``, the
#: certificate's, the upstream's.
ExpiryKey = tuple[str, str, str]


def versions() -> dict[str, str]:
    """Give the versions of the gateway and of what it stands on, by name."""
    return {
        "edgegw": edgegw.__version__,
        "python": platform.python_version(),
        "twisted": twisted_version,
        "pyopenssl": pyopenssl_version,
        "cryptography": cryptography.__version__,
        "openssl": SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode("ascii", "replace"),
    }


class Metrics:
    """The counters of one process; they live as long as it does, across reloads.

    :ivar registry: yields every family when it is collected, on the reactor's thread.
    :ivar generations_draining: configurations that were replaced and still have connections.
    :ivar dropped_log_lines: asked at scrape time for the log lines that could not be written.
    :ivar plugin_families: each is called at scrape time and yields families of its own; what one that fails had
        to say is missing from that scrape, and nothing else.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.generations_draining = 0
        self.dropped_log_lines: Callable[[], int] = _none_dropped
        self.listeners: dict[str, ListenerMetrics] = {}
        self.routes: dict[RequestKey, RequestMetrics] = {}
        self.upstreams: dict[str, UpstreamMetrics] = {}
        self.mirrors: dict[RequestKey, MirrorMetrics] = {}
        self.tunnels: dict[RequestKey, TunnelMetrics] = {}
        self.tunnel_routes: dict[tuple[str, str], AdmissionCounts] = {}
        self.policies: dict[PolicyKey, PolicyMetrics] = {}
        self.plugin_families: list[Callable[[], Iterable[Metric]]] = []
        self.expiry: dict[ExpiryKey, float] = {}
        self.upstream_expiry: dict[ExpiryKey, float] = {}
        self.upstream_verification: dict[str, str] = {}
        self.objects = {"listener": 0, "route": 0, "upstream": 0}
        self.reloads = {"success": 0, "failure": 0}
        self.last_reload_successful = True
        self.config_loaded_at = 0.0
        self.registry.register(_Families(self))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def listener(self, name: str) -> ListenerMetrics:
        """Give a listener's counters, the same object at every call."""
        return self.listeners.setdefault(name, ListenerMetrics())

    def requests(self, listener: str, route: str, upstream: str) -> RequestMetrics:
        """Give the counters of what one listener sends by one route to one upstream.

        :param route: ``""`` where the gateway answered before a route was found.
        :param upstream: ``""`` where the gateway answered itself.
        """
        key = (listener, route, upstream)
        # Not by setdefault: every rule asks, and nearly always it is there.
        metrics = self.routes.get(key)
        if metrics is None:
            metrics = self.routes[key] = RequestMetrics()
        return metrics

    def mirror(self, listener: str, route: str, upstream: str) -> MirrorMetrics:
        """Give the counters of the copies that an upstream gets, the same object at every call."""
        return self.mirrors.setdefault((listener, route, upstream), MirrorMetrics())

    def tunnel(self, listener: str, route: str, upstream: str) -> TunnelMetrics:
        """Give the counters of the connections that a route sends to an upstream, the same object at every call."""
        return self.tunnels.setdefault((listener, route, upstream), TunnelMetrics())

    def tunnel_route(self, route: str, protocol: str = "TLS") -> AdmissionCounts:
        """Give what the limits of a route of connections are judged by, the same object at every call.

        :param protocol: of its listeners: a TLS and a TCP route may have one name.
        """
        return self.tunnel_routes.setdefault((protocol, route), AdmissionCounts())

    def upstream(self, name: str) -> UpstreamMetrics:
        """Give an upstream's counters, the same object at every call."""
        return self.upstreams.setdefault(name, UpstreamMetrics())

    def policy(self, listener: str, policy: str) -> PolicyMetrics:
        """Give the counters of one policy of one listener, the same object at every call.

        :param policy: its place in the list and its name, such as ``any[1].spiffe``.
        """
        return self.policies.setdefault((listener, policy), PolicyMetrics())

    def use_gateway(self, gateway: Gateway) -> None:
        """Take over what is told of the configuration: its size, and when its certificates expire.

        Certificates of one name on one listener (a file with several trust anchors) are one
        series, which tells the earliest expiry.
        """
        expiry: dict[ExpiryKey, float] = {}
        for listener in gateway.listeners:
            if listener.tls is None:
                continue
            validation = listener.tls.client_validation
            dates = [(("server", c.name, listener.name), c.not_after) for c in listener.tls.certificates]
            if validation is not None:
                dates += [(("trust_anchor", a.name, listener.name), a.not_after) for a in validation.trust_anchors]
            _note_earliest(expiry, dates)
        self.expiry = expiry
        self._use_upstreams(gateway)
        self.objects = {
            "listener": len(gateway.listeners),
            "route": len(gateway.routes),
            "upstream": len(gateway.upstreams),
        }
        self.config_loaded_at = time.time()

    def _use_upstreams(self, gateway: Gateway) -> None:
        expiry: dict[ExpiryKey, float] = {}
        verification = {}
        for upstream in gateway.upstreams:
            tls = upstream.tls
            if tls is None:
                continue
            verification[upstream.name] = tls.verify.value
            dates = [(("trust_anchor", a.name, upstream.name), a.not_after) for a in tls.trust_anchors]
            if tls.client_certificate is not None:
                shown = tls.client_certificate
                dates.append((("client", shown.name, upstream.name), shown.not_after))
            _note_earliest(expiry, dates)
        self.upstream_expiry = expiry
        self.upstream_verification = verification

    def use_certificates(self, listener: str, certificates: Iterable[ServerCertificate]) -> None:
        """Take over when the certificates expire that a listener shows by now."""
        expiry = {key: end for key, end in self.expiry.items() if key[0] != "server" or key[2] != listener}
        _note_earliest(expiry, [(("server", one.name, listener), one.not_after) for one in certificates])
        self.expiry = expiry

    def reload_succeeded(self) -> None:
        """Count a reload whose configuration is in use now."""
        self.reloads["success"] += 1
        self.last_reload_successful = True

    def reload_failed(self) -> None:
        """Count a reload that left the old configuration in use."""
        self.reloads["failure"] += 1
        self.last_reload_successful = False


def _none_dropped() -> int:
    return 0


def _note_earliest(expiry: dict[ExpiryKey, float], dates: Iterable[tuple[ExpiryKey, datetime]]) -> None:
    for key, not_after in dates:
        seconds = _epoch(not_after)
        expiry[key] = min(seconds, expiry.get(key, seconds))


def _epoch(moment: datetime) -> float:
    """Seconds since the epoch; certificates' dates without a zone are UTC (RFC 5280 §4.1.2.5)."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


class _Families(Collector):
    """Makes Prometheus' families of the counters."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._versions = versions()

    def collect(self) -> Iterator[Metric]:
        yield from self._of_listeners()
        yield from self._of_policies()
        yield from self._of_requests()
        yield from tunnel_families(sorted(self._metrics.tunnels.items()))
        yield from self._of_upstreams()
        yield from self._of_configuration()
        for families in self._metrics.plugin_families:
            try:
                # All of it at once: half a plugin's families would look like the whole.
                yield from list(families())
            except Exception:
                _log.failure("the metrics of a plugin cannot be had")

    def _of_listeners(self) -> Iterator[Metric]:
        listeners = sorted(self._metrics.listeners.items())
        passed = bytes_by_listener(self._metrics.tunnels)
        yield _counter("edgegw_connections_total", "Connections accepted.", ("listener",),
                       (((name,), m.connections_total) for name, m in listeners))
        yield _gauge("edgegw_connections_open", "Connections open.", ("listener",),
                     (((name,), m.connections) for name, m in listeners))
        yield _counter("edgegw_connections_refused_total", "Connections turned away by a limit.",
                       ("listener", "reason"),
                       (((name, code), n) for name, m in listeners for code, n in _by_code(m.refused)))
        yield _counter("edgegw_connections_recheck_closed_total",
                       "Established connections closed because their certificate no longer passes.",
                       ("listener", "reason"),
                       (((name, code), n) for name, m in listeners for code, n in _by_code(m.rechecked)))
        yield _counter("edgegw_received_bytes_total", "Application bytes received from clients.", ("listener",),
                       (((name,), m.bytes_received + passed.get(name, (0, 0))[0]) for name, m in listeners))
        yield _counter("edgegw_sent_bytes_total", "Application bytes sent to clients.", ("listener",),
                       (((name,), m.bytes_sent + passed.get(name, (0, 0))[1]) for name, m in listeners))
        yield _gauge("edgegw_tls_handshakes_in_progress", "TLS handshakes begun and not ended.", ("listener",),
                     (((name,), m.handshakes_in_progress) for name, m in listeners))
        yield _handshakes(listeners)
        yield _histogram("edgegw_tls_handshake_duration_seconds", "From accept to the end of the TLS handshake.",
                         ("listener",), (((name,), m.handshake_seconds) for name, m in listeners))
        yield _counter("edgegw_tls_connections_total", "TLS handshakes that succeeded, by what was negotiated.",
                       ("listener", "version", "cipher", "group", "resumed", "client_certificate"),
                       (((name, version, cipher, group or "", "true" if resumed else "false", certificate.value), n)
                        for name, m in listeners
                        for (version, cipher, group, resumed, certificate), n in m.tls.items()))

        yield from http2_families(listeners)
        yield from _dynamic_certificates([(name, m.dynamic) for name, m in listeners if m.dynamic is not None])

    def _of_policies(self) -> Iterator[Metric]:
        labels = ("listener", "policy")
        policies = sorted(self._metrics.policies.items())
        yield _counter("edgegw_policy_verdicts_total", "Verdicts of policies.", (*labels, "verdict", "code"),
                       (row for key, m in policies for row in _verdicts(key, m)))
        for attribute, documentation in (
            ("errors", "Refusals because the policy failed or did not decide in time."),
            ("slow", "Verdicts that held up other connections for too long."),
            ("cached", "Verdicts that were earlier answers."),
        ):
            yield _counter(f"edgegw_policy_{attribute}_total", documentation, labels,
                           ((key, getattr(m, attribute)) for key, m in policies))
        durations = SummaryMetricFamily(
            "edgegw_policy_duration_seconds", "What verdicts took that were no earlier answers.", labels=labels
        )
        for key, m in policies:
            durations.add_metric(key, m.asked, m.seconds)
        yield durations

    def _of_requests(self) -> Iterator[Metric]:
        labels = ("listener", "route", "upstream")
        requests = sorted(self._metrics.routes.items())
        yield _counter("edgegw_requests_total", "Requests finished.", (*labels, "status_class"),
                       (((*key, status_class), n) for key, m in requests
                        for status_class, n in zip(STATUS_CLASSES, m.responses, strict=True)))
        yield _gauge("edgegw_requests_in_progress", "Requests begun and not finished.", labels,
                     ((key, m.in_progress) for key, m in requests))
        yield _histogram("edgegw_request_duration_seconds",
                         "From the end of a request's head to the end of its response.", labels,
                         ((key, m.seconds) for key, m in requests))
        yield _counter("edgegw_request_bytes_total", "Bytes of request bodies.", labels,
                       ((key, m.request_bytes) for key, m in requests))
        yield _counter("edgegw_response_bytes_total", "Bytes of response bodies.", labels,
                       ((key, m.response_bytes) for key, m in requests))
        # A rule refuses before it chooses among its upstreams.
        refused: dict[tuple[str, ...], int] = {}
        for (listener, route, _), m in requests:
            for code, number in _by_code(m.refused):
                refused[listener, route, code] = refused.get((listener, route, code), 0) + number
        yield _counter("edgegw_requests_refused_total", "Requests that a rule refused because of who sent them.",
                       ("listener", "route", "reason"), refused.items())

        yield _counter("edgegw_mirrored_requests_total", "Copies of requests for mirrors.", (*labels, "outcome"),
                       (((*key, outcome), getattr(m, outcome)) for key, m in sorted(self._metrics.mirrors.items())
                        for outcome in ("answered", "failed", "dropped")))

    def _of_upstreams(self) -> Iterator[Metric]:
        upstreams = sorted(self._metrics.upstreams.items())
        yield _counter("edgegw_upstream_connects_total", "Connections made to upstreams.", ("upstream",),
                       (((name,), m.connects) for name, m in upstreams))
        yield _counter("edgegw_upstream_reused_total", "Requests sent on a kept connection.", ("upstream",),
                       (((name,), m.reused) for name, m in upstreams))
        yield _gauge("edgegw_upstream_connections_open", "Connections open to upstreams.", ("upstream",),
                     (((name,), m.connections) for name, m in upstreams))
        yield _gauge("edgegw_upstream_connections_idle", "Connections kept for a later request.", ("upstream",),
                     (((name,), m.idle) for name, m in upstreams))
        yield _counter("edgegw_upstream_retries_total",
                       "Requests sent again: because a kept connection was closed, or by a rule.", ("upstream",),
                       (((name,), m.retries) for name, m in upstreams))
        yield _counter("edgegw_upstream_connect_failures_total", "Connections to upstreams that failed.",
                       ("upstream", "reason"),
                       (((name, reason), n) for name, m in upstreams for reason, n in m.connect_failures.items()))
        yield _counter("edgegw_upstream_response_failures_total", "Responses of upstreams that failed.",
                       ("upstream", "reason"),
                       (((name, reason), n) for name, m in upstreams for reason, n in m.response_failures.items()))
        yield from endpoint_families(upstreams)
        yield _counter("edgegw_upstream_tls_handshakes_total", "TLS handshakes with upstreams that succeeded.",
                       ("upstream", "version", "resumed"),
                       (((name, version, "true" if resumed else "false"), n)
                        for name, m in upstreams for (version, resumed), n in m.tls.items()))

    def _of_configuration(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield _gauge("edgegw_certificate_expiry_timestamp_seconds", "When a certificate expires.",
                     ("kind", "name", "listener"), sorted(metrics.expiry.items()))
        yield _gauge("edgegw_upstream_certificate_expiry_timestamp_seconds",
                     "When a certificate for TLS with an upstream expires.",
                     ("kind", "name", "upstream"), sorted(metrics.upstream_expiry.items()))
        yield _gauge("edgegw_upstream_tls_verification", "How an upstream's certificate is verified, with the value 1.",
                     ("upstream", "verify"), ((key, 1) for key in sorted(metrics.upstream_verification.items())))
        yield _gauge("edgegw_config_objects", "What the configuration consists of.", ("kind",),
                     (((kind,), n) for kind, n in metrics.objects.items()))
        yield _gauge("edgegw_config_load_timestamp_seconds", "When the configuration in use was taken over.", (),
                     [((), metrics.config_loaded_at)])
        yield _counter("edgegw_config_reloads_total", "Reloads of the configuration.", ("result",),
                       (((result,), n) for result, n in metrics.reloads.items()))
        yield _gauge("edgegw_config_last_reload_successful", "1 unless the last reload failed.", (),
                     [((), int(metrics.last_reload_successful))])
        yield _gauge("edgegw_config_generations_draining", "Replaced configurations that still have connections.", (),
                     [((), metrics.generations_draining)])
        yield _counter("edgegw_log_lines_dropped_total", "Log lines that could not be written.", (),
                       [((), metrics.dropped_log_lines())])
        yield _gauge("edgegw_build_info", "Versions, with the value 1.", tuple(self._versions),
                     [(tuple(self._versions.values()), 1)])


def _by_code(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Give counts by the code's text; what is beyond the codes that one place may have is one row."""
    rows = [(str(code), number) for code, number in counts.items()]
    if len(rows) <= MAX_CODES + 1:
        return rows
    told = [row for row in rows[:MAX_CODES] if row[0] != OTHER]
    return [*told, (OTHER, sum(counts.values()) - sum(number for _, number in told))]


def _verdicts(key: PolicyKey, metrics: PolicyMetrics) -> Iterator[tuple[tuple[str, ...], float]]:
    yield (*key, "accept", ""), metrics.accepted
    for code, number in _by_code(metrics.refused):
        yield (*key, "reject", code), number


def _handshakes(listeners: Iterable[tuple[str, ListenerMetrics]]) -> Metric:
    """Handshakes, each with the last one's id as an exemplar, which only OpenMetrics shows."""
    family = CounterMetricFamily(
        "edgegw_tls_handshakes_total", "TLS handshakes ended.", labels=("listener", "result", "reason")
    )
    for name, metrics in listeners:
        for code, number in [("", metrics.handshakes), *_by_code(metrics.handshake_failures)]:
            last = metrics.last_ids.get(code)
            exemplar = None
            if last is not None:
                # Together they have some 110 of the 128 characters that OpenMetrics gives the labels of an exemplar.
                found = metrics.last_fingerprints.get(code)
                told = {} if found is None else {"ja3": found[0], "ja4": found[1]}
                exemplar = Exemplar({"handshake_id": last, **told}, 1.0)
            family.add_metric((name, "failure" if code else "success", code), number, exemplar=exemplar)
    return family


def _dynamic_certificates(listeners: list[tuple[str, DynamicCertificateMetrics]]) -> Iterator[Metric]:
    yield _gauge("edgegw_dynamic_certificates", "Certificates by name that are kept.", ("listener",),
                 (((name,), m.kept) for name, m in listeners))
    yield _counter("edgegw_dynamic_certificate_lookups_total", "Handshakes that a certificate by name was for.",
                   ("listener", "result"),
                   (((name, result), n) for name, m in listeners for result, n in m.lookups.items()))
    yield _counter("edgegw_dynamic_certificate_answers_total", "Answers of sources that were asked for a name.",
                   ("listener", "result"),
                   (((name, result), n) for name, m in listeners for result, n in m.answers.items()))


def _histogram(
    name: str, documentation: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], Histogram]]
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for values, histogram in rows:
        family.add_metric(values, list(histogram.cumulative()), histogram.sum)
    return family
