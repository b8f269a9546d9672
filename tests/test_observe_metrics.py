"""What /metrics tells of what the data path counted."""
from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.trial.unittest import SynchronousTestCase

from edgegw.identity import CertificateStatus
from edgegw.model import (
    ClientValidation,
    Gateway,
    Listener,
    Protocol,
    ServerCertificate,
    TLSSettings,
    TrustAnchor,
    Upstream,
    UpstreamTLS,
    ValidationMode,
)
from edgegw.observe.counters import HANDSHAKE_SECONDS, MAX_CODES, MAX_TLS_PARAMETERS, Histogram
from edgegw.observe.metrics import Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.verdict import Reason

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "metrics.rst"


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    """What a scrape would find under a name and exactly these labels."""
    return metrics.registry.get_sample_value(name, labels)


def used() -> Metrics:
    """Metrics in which every family has a sample."""
    metrics = Metrics()
    listener = metrics.listener("web")
    listener.refuse(Reason.MAX_CONNECTIONS)
    listener.dynamic_certificates().kept += 1
    listener.recheck_closed(Reason.CERTIFICATE_REVOKED)
    listener.http2_ended("ping_flood")
    listener.http2_reset("client", "CANCEL")
    listener.handshake_done(0.002, "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", False, CertificateStatus.VERIFIED)
    listener.handshake_failed(Reason.NO_CERTIFICATE, 0.003)
    metrics.requests("web", "api", "app").done(200, 0.02)
    metrics.requests("web", "api", "").refuse(Reason.CLIENT_UNVERIFIED)
    metrics.mirror("web", "api", "app").answered += 1
    metrics.tunnel("tls", "database", "app").bytes_sent += 1
    metrics.policy("web", "spiffe").accepted += 1
    metrics.upstream("app").state.take("127.0.0.1:8000", "app.internal:8000")
    metrics.upstream("app").tls["TLSv1.3", False] = 1
    plugins = PluginCounters()
    plugins.count_error("geofence", "read")
    metrics.plugin_families.append(plugins.collect)
    metrics.use_gateway(gateway(datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)))
    return metrics


def gateway(server: datetime, *anchors: datetime) -> Gateway:
    """A gateway with one TLS listener whose certificate and trust anchors expire at these times."""
    certificate = ServerCertificate("web.pem", b"", b"", (), (), "EC", server)
    validation = ClientValidation(
        ValidationMode.ALLOW_VALID_ONLY, tuple(TrustAnchor("ca.pem", b"", anchor) for anchor in anchors)
    )
    tls = TLSSettings((certificate,), validation)
    upstream = Upstream("app", (), tls=UpstreamTLS(client_certificate=certificate))
    listeners = Listener("web", 443, tls=tls), Listener("plain", 80, Protocol.HTTP)
    return Gateway(listeners, upstreams=(upstream,))


class ListenerTests(SynchronousTestCase):
    """Connections and handshakes."""

    def test_handshakes_by_result(self) -> None:
        """Good handshakes count as success without a reason, bad ones under their reason."""
        metrics = Metrics()
        listener = metrics.listener("web")
        for resumed in (False, True):
            listener.handshake_done(0.002, "TLSv1.3", "AES", "X25519", resumed, CertificateStatus.VERIFIED)
        listener.handshake_failed(Reason.UNKNOWN_CA, 0.001)
        total = "edgegw_tls_handshakes_total"
        self.assertEqual(value(metrics, total, listener="web", result="success", reason=""), 2)
        self.assertEqual(value(metrics, total, listener="web", result="failure", reason="unknown_ca"), 1)
        self.assertEqual(value(metrics, "edgegw_tls_handshake_duration_seconds_count", listener="web"), 3)
    def test_plugins_codes(self) -> None:
        """A plugin's reason code is a label like one of the gateway's, also where both mean the same word."""
        metrics = Metrics()
        listener = metrics.listener("web")
        for reason in ("no_badge", Reason.SERIAL, "serial"):
            listener.handshake_failed(reason, 0.001)
            listener.refuse(reason)
            listener.recheck_closed(reason)
        for code, expected in (("no_badge", 1), ("serial", 2)):
            labels = {"listener": "web", "reason": code}
            self.assertEqual(value(metrics, "edgegw_tls_handshakes_total", result="failure", **labels), expected)
            self.assertEqual(value(metrics, "edgegw_connections_refused_total", **labels), expected)
            self.assertEqual(value(metrics, "edgegw_connections_recheck_closed_total", **labels), expected)

    def test_codes_are_bounded(self) -> None:
        """However many codes there are, the series are bounded and no refusal is lost."""
        metrics = Metrics()
        listener = metrics.listener("web")
        requests = metrics.requests("web", "api", "")
        policy = metrics.policy("web", "custom")
        for number in range(MAX_CODES * 2):
            for _ in range(2):
                listener.handshake_failed(f"code_{number}", 0.001, f"id-{number}")
                listener.refuse(f"code_{number}")
                requests.refuse(f"code_{number}")
            policy.refused[f"code_{number}"] = 2
        for counts in (listener.handshake_failures, listener.refused, requests.refused):
            self.assertEqual((len(counts), sum(counts.values())), (MAX_CODES + 1, MAX_CODES * 4))
            self.assertEqual(counts["other"], MAX_CODES * 2)
        self.assertLessEqual(len(listener.last_ids), MAX_CODES)
        told = [
            sample
            for family in metrics.registry.collect()
            if family.name == "edgegw_policy_verdicts"
            for sample in family.samples
            if sample.labels["verdict"] == "reject"
        ]
        self.assertEqual((len(told), sum(sample.value for sample in told)), (MAX_CODES + 1, MAX_CODES * 4))

    def test_exemplars(self) -> None:
        """OpenMetrics shows the last handshake of each result and reason; the plain format does not try to."""
        metrics = Metrics()
        listener = metrics.listener("web")
        for handshake in ("a-001", "a-002"):
            listener.handshake_done(0.1, "TLSv1.3", "AES", "X25519", False, CertificateStatus.NONE, handshake)
        listener.handshake_failed(Reason.SERIAL, 0.1, "a-003")
        listener.handshake_failed("no_badge", 0.1)
        found = {
            sample.labels["reason"]: sample.exemplar and sample.exemplar.labels
            for family in parse_openmetrics(generate_openmetrics(metrics.registry).decode())
            if family.name == "edgegw_tls_handshakes"
            for sample in family.samples
        }
        self.assertEqual(
            found, {"": {"handshake_id": "a-002"}, "serial": {"handshake_id": "a-003"}, "no_badge": None}
        )
        plain = generate_latest(metrics.registry).decode()
        self.assertNotIn("a-00", plain)
        self.assertIn('edgegw_tls_handshakes_total{listener="web",reason="",result="success"} 2.0', plain)

    def test_negotiated_parameters(self) -> None:
        """Version, cipher, group, resumption and client certificate are told apart."""
        metrics = Metrics()
        listener = metrics.listener("web")
        listener.handshake_done(0.002, "TLSv1.3", "AES", "X25519", False, CertificateStatus.VERIFIED)
        listener.handshake_done(0.002, "TLSv1.3", "AES", "X25519", False, CertificateStatus.VERIFIED)
        listener.handshake_done(0.002, "TLSv1.2", "AES", None, True, CertificateStatus.NONE)
        labels = {"listener": "web", "version": "TLSv1.3", "cipher": "AES", "group": "X25519",
                  "resumed": "false", "client_certificate": "verified"}
        self.assertEqual(value(metrics, "edgegw_tls_connections_total", **labels), 2)
        labels |= {"version": "TLSv1.2", "group": "", "resumed": "true", "client_certificate": "none"}
        self.assertEqual(value(metrics, "edgegw_tls_connections_total", **labels), 1)

    def test_parameters_are_bounded(self) -> None:
        """However many combinations are negotiated, the series are bounded and none is lost."""
        metrics = Metrics()
        listener = metrics.listener("web")
        for number in range(MAX_TLS_PARAMETERS * 3):
            for _ in range(2):
                listener.handshake_done(0.1, "TLSv1.3", f"c{number}", "g", False, CertificateStatus.VERIFIED)
        self.assertEqual(len(listener.tls), MAX_TLS_PARAMETERS + 1)
        self.assertEqual(listener.handshakes, MAX_TLS_PARAMETERS * 3 * 2)
        labels = {"listener": "web", "version": "other", "cipher": "other", "group": "other",
                  "resumed": "false", "client_certificate": "verified"}
        self.assertEqual(value(metrics, "edgegw_tls_connections_total", **labels), MAX_TLS_PARAMETERS * 2 * 2)

    def test_gauges_and_bytes(self) -> None:
        """What the data path adds to the attributes is what a scrape shows."""
        metrics = Metrics()
        listener = metrics.listener("web")
        listener.connections_total += 3
        listener.connections += 3
        listener.connections -= 1
        listener.handshakes_in_progress += 1
        listener.bytes_received += 10
        listener.bytes_sent += 20
        for name, expected in (
            ("edgegw_connections_total", 3),
            ("edgegw_connections_open", 2),
            ("edgegw_tls_handshakes_in_progress", 1),
            ("edgegw_received_bytes_total", 10),
            ("edgegw_sent_bytes_total", 20),
        ):
            self.assertEqual(value(metrics, name, listener="web"), expected, name)

    def test_kept(self) -> None:
        """A listener's counters are the same object whenever they are asked for."""
        metrics = Metrics()
        self.assertIs(metrics.listener("web"), metrics.listener("web"))
        self.assertIs(metrics.requests("web", "r", "u"), metrics.requests("web", "r", "u"))
        self.assertIs(metrics.upstream("u"), metrics.upstream("u"))
        self.assertIs(metrics.policy("web", "spiffe"), metrics.policy("web", "spiffe"))


class PolicyTests(SynchronousTestCase):
    """Verdicts."""

    def test_verdicts(self) -> None:
        """Acceptances, and refusals by their code, each with how many of them were special."""
        metrics = Metrics()
        policy = metrics.policy("web", "any[1].spiffe")
        policy.accepted += 3
        policy.refused[Reason.SPIFFE_ID] = 2
        policy.refused["no_badge"] = 1
        policy.refused[Reason.POLICY_ERROR] = 1
        policy.errors += 1
        policy.slow += 1
        policy.cached += 2
        policy.seconds += 0.25
        labels = {"listener": "web", "policy": "any[1].spiffe"}
        for verdict, code, expected in (
            ("accept", "", 3), ("reject", "spiffe_id", 2), ("reject", "no_badge", 1), ("reject", "policy_error", 1),
        ):  # fmt: skip
            name = "edgegw_policy_verdicts_total"
            self.assertEqual(value(metrics, name, verdict=verdict, code=code, **labels), expected)
        for name, expected in (("errors_total", 1), ("slow_total", 1), ("cached_total", 2)):
            self.assertEqual(value(metrics, f"edgegw_policy_{name}", **labels), expected)
        self.assertEqual(value(metrics, "edgegw_policy_duration_seconds_count", **labels), 5)
        self.assertEqual(value(metrics, "edgegw_policy_duration_seconds_sum", **labels), 0.25)

    def test_plugins_families(self) -> None:
        """What plugins count is there; one that fails takes nothing of the others with it."""

        def broken() -> Iterator[Metric]:
            yield CounterMetricFamily("edgegw_plugin_half", "Half.", value=1)
            raise ValueError("no more")

        metrics = Metrics()
        plugins = PluginCounters()
        plugins.counter("geofence", "lookups", "Look-ups.")(3)
        metrics.plugin_families += [broken, plugins.collect]
        self.assertEqual(value(metrics, "edgegw_plugin_geofence_lookups_total"), 3)
        self.assertNotIn(b"edgegw_plugin_half", generate_latest(metrics.registry))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)


class RequestTests(SynchronousTestCase):
    """Requests."""

    def test_status_classes(self) -> None:
        """Each answer counts under its class; no answer at all and nonsense statuses have theirs."""
        metrics = Metrics()
        requests = metrics.requests("web", "api", "app")
        for status in (0, 101, 200, 204, 302, 404, 503, 999):
            requests.done(status, 0.1)
        found = {
            status_class: value(metrics, "edgegw_requests_total", listener="web", route="api", upstream="app",
                                status_class=status_class)
            for status_class in ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
        }
        self.assertEqual(found, {"none": 1, "1xx": 1, "2xx": 2, "3xx": 1, "4xx": 1, "5xx": 2})

    def test_refused(self) -> None:
        """Refusals by a route's rules are one number, however many upstreams the rule has."""
        metrics = Metrics()
        for upstream in ("", "app", "other"):
            metrics.requests("web", "api", upstream).refuse(Reason.CLIENT_UNVERIFIED)
        metrics.requests("web", "api", "app").refuse("no_badge")
        metrics.requests("web", "admin", "").refuse(Reason.CLIENT_UNVERIFIED)
        for route, reason, expected in (
            ("api", "client_unverified", 3), ("api", "no_badge", 1), ("admin", "client_unverified", 1),
        ):  # fmt: skip
            found = value(metrics, "edgegw_requests_refused_total", listener="web", route=route, reason=reason)
            self.assertEqual(found, expected)

    @given(st.lists(st.floats(0, 100)))
    def test_histogram(self, durations: list[float]) -> None:
        """Every bucket counts what is not above its bound, the last one everything."""
        histogram = Histogram(HANDSHAKE_SECONDS)
        for seconds in durations:
            histogram.observe(seconds)
        cumulative = dict(histogram.cumulative())
        for bound in HANDSHAKE_SECONDS:
            self.assertEqual(cumulative[str(bound)], sum(seconds <= bound for seconds in durations))
        self.assertEqual(cumulative["+Inf"], len(durations))


class ConfigurationTests(SynchronousTestCase):
    """What is told of the configuration."""

    def test_expiry(self) -> None:
        """Certificates and trust anchors tell when they expire; of several in one file the first to."""
        metrics = Metrics()
        metrics.use_gateway(
            gateway(*(datetime(year, 1, 1, tzinfo=UTC) for year in (2030, 2035, 2031)))
        )
        name = "edgegw_certificate_expiry_timestamp_seconds"
        server = value(metrics, name, kind="server", name="web.pem", listener="web")
        anchor = value(metrics, name, kind="trust_anchor", name="ca.pem", listener="web")
        self.assertEqual(server, datetime(2030, 1, 1, tzinfo=UTC).timestamp())
        self.assertEqual(anchor, datetime(2031, 1, 1, tzinfo=UTC).timestamp())

    def test_expiry_follows_reload(self) -> None:
        """After a reload only the certificates in use are told of."""
        metrics = used()
        metrics.use_gateway(Gateway((Listener("plain", 80, Protocol.HTTP),)))
        self.assertNotIn(b"edgegw_certificate_expiry_timestamp_seconds{", generate_latest(metrics.registry))
        self.assertEqual(value(metrics, "edgegw_config_objects", kind="listener"), 1)

    def test_reloads(self) -> None:
        """A failed reload is seen at once, and no longer after one that succeeded."""
        metrics = Metrics()
        self.assertEqual(value(metrics, "edgegw_config_last_reload_successful"), 1)
        metrics.reload_failed()
        self.assertEqual(value(metrics, "edgegw_config_last_reload_successful"), 0)
        metrics.reload_succeeded()
        self.assertEqual(value(metrics, "edgegw_config_last_reload_successful"), 1)
        self.assertEqual(value(metrics, "edgegw_config_reloads_total", result="success"), 1)
        self.assertEqual(value(metrics, "edgegw_config_reloads_total", result="failure"), 1)


class ExpositionTests(SynchronousTestCase):
    """The text that Prometheus reads."""

    def test_formats(self) -> None:
        """Prometheus' own parsers read both formats, with no name used for two families."""
        registry = used().registry
        plain = list(parse(generate_latest(registry).decode()))
        strict = list(parse_openmetrics(generate_openmetrics(registry).decode()))
        for families in (plain, strict):
            names = [family.name for family in families]
            self.assertEqual(len(names), len(set(names)))
            self.assertTrue(all(family.documentation for family in families))

    def test_every_family_has_a_sample(self) -> None:
        """A family that is announced is filled."""
        for family in used().registry.collect():
            self.assertTrue(family.samples, family.name)

    def test_documented(self) -> None:
        """Every family is explained in docs/metrics.rst, under the name a query would use."""
        text = DOCUMENTATION.read_text("utf-8")
        for family in used().registry.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            self.assertIn(f"``{name}``", text)

    def test_no_undocumented_names(self) -> None:
        """Every metric that docs/metrics.rst explains exists."""
        names = {
            f"{family.name}_total" if family.type == "counter" else family.name for family in used().registry.collect()
        }
        for line in DOCUMENTATION.read_text("utf-8").splitlines():
            if line.startswith(("``edgegw_", "``process_", "``python_")):
                self.assertIn(line.strip("`"), names)

    def test_own_registry(self) -> None:
        """Two gateways in one process count apart."""
        one, other = Metrics(), Metrics()
        one.listener("web").connections_total += 1
        self.assertIsInstance(one.registry, CollectorRegistry)
        self.assertIsNone(value(other, "edgegw_connections_total", listener="web"))

    def test_dropped_log_lines(self) -> None:
        """Whoever writes logs is asked at scrape time how many lines were lost."""
        metrics = Metrics()
        metrics.dropped_log_lines = lambda: 7
        self.assertEqual(value(metrics, "edgegw_log_lines_dropped_total"), 7)
