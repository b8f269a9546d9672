"""Upstreams in the native document: what is taken, and what is wrong with the rest."""
from __future__ import annotations

from datetime import UTC, datetime

from edgegw.config import describe
from edgegw.config.faults import Fault, Severity
from edgegw.model import (
    ActiveHealthCheck,
    Balancing,
    BalancingPolicy,
    Endpoint,
    EndpointKind,
    HTTPVersion,
    OutlierDetection,
    RetryBudget,
    SessionPersistence,
    SessionType,
    Upstream,
)
from tests.config_documents import LISTENERS, ConfigTestCase

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class UpstreamTests(ConfigTestCase):
    """``upstreams``."""

    def upstream(self, text: str) -> Upstream:
        """Load one upstream."""
        (found,) = self.load(f"{LISTENERS}upstreams: [{{name: app, {text}}}]\n").gateway.upstreams
        return found

    def faults(self, text: str) -> list[Fault]:
        """Give the faults of a document."""
        return [fault for fault in self.refusal(text).faults if fault.severity is Severity.FAULT]

    def assert_fault(self, text: str, path: str, *parts: str) -> None:
        """Compare the one fault of an upstream."""
        fault = self.faults(f"{LISTENERS}upstreams:\n  - {{name: app, {text}}}\n")
        self.assertEqual(len(fault), 1, fault)
        self.assertEqual(fault[0].path, f"upstreams[0]{path}")
        for part in parts:
            self.assertIn(part, str(fault[0]))

    def test_endpoints(self) -> None:
        """Every way to write one."""
        found = self.upstream(
            'endpoints: ["h:1", {address: "127.0.0.1:2"}, {address: "unix:/a/b", weight: 3}, '
            '{address: "srv:_A._tcp.b", priority: 4}]'
        )
        self.assertEqual(found.endpoints, (
            Endpoint("h", 1), Endpoint("127.0.0.1", 2), Endpoint("/a/b", 0, 3, kind=EndpointKind.UNIX),
            Endpoint("_a._tcp.b", 0, 1, 4, EndpointKind.SRV),
        ))
        self.assertEqual([str(one) for one in found.endpoints], ["h:1", "127.0.0.1:2", "unix:/a/b", "srv:_a._tcp.b"])

    def test_http_version(self) -> None:
        """What is spoken with an upstream, and what does not go with it."""
        self.assertIs(self.upstream('endpoints: ["h:1"]').http_version, HTTPVersion.HTTP_1_1)
        found = self.upstream('endpoints: ["h:1"], http_version: "2", limits: {max_concurrent_streams: 7}')
        self.assertIs(found.http_version, HTTPVersion.HTTP_2)
        self.assertEqual(found.limits.max_concurrent_streams, 7)
        found = self.upstream('endpoints: ["h:1"], http_version: auto, tls: {verify: none}')
        self.assertIs(found.http_version, HTTPVersion.AUTO)
        self.assert_fault('endpoints: ["h:1"], http_version: auto', ".http_version", "without TLS", "give tls")
        self.assert_fault('endpoints: ["h:1"], http_version: "3"', ".http_version", "use one of 1.1, 2, auto")
        self.assert_fault(
            'endpoints: ["h:1"], http_version: "2", proxy_protocol: v2', ".proxy_protocol", "one client only"
        )

    def test_wrong_endpoints(self) -> None:
        """What cannot be one."""
        for text, problem in [
            ('"unix:a"', "absolute path"), ('"unix:/a\\0b"', "absolute path"), ('"unix:/a\\nb"', "absolute path"),
            (f'"unix:/{"a" * 120}"', "too long"), ('"srv:a b"', "SRV records"),
            ("{weight: 1}", "has no address"), ('{address: "h:1", weight: 0}', "out of range"),
            ('{address: "h:1", wait: 0}', "weight"), ('{address: "h"}', "not a host and a port"), ("[]", "is a list"),
        ]:
            (fault,) = self.faults(f"{LISTENERS}upstreams:\n  - {{name: app, endpoints: [{text}]}}\n")
            self.assertTrue(fault.path.startswith("upstreams[0].endpoints[0]"), fault)
            self.assertIn(problem, str(fault))
        self.assert_fault('endpoints: ["h:1", {address: "h:1", weight: 2}]', ".endpoints[1]", "repeats", "endpoints[0]")

    def test_balancing(self) -> None:
        """A hash needs something to hash, and nothing else does."""
        found = self.upstream('endpoints: ["h:1"], balancing: {policy: random}')
        self.assertEqual(found.balancing, Balancing(BalancingPolicy.RANDOM))
        for text, path, part in [
            ("{policy: consistent_hash}", "", "has no hash_on"),
            ("{hash_on: [address]}", ".hash_on", "does nothing"),
            ("{policy: consistent_hash, hash_on: [{header: 'a b'}]}", ".hash_on[0].header", "token"),
            ("{policy: consistent_hash, hash_on: [{identity: sha255}]}", ".hash_on[0].identity", "sha256"),
            ("{policy: consistent_hash, hash_on: [adress]}", ".hash_on[0]", "address"),
            ("{policy: consistent_hash, hash_on: [{header: a, cookie: b}]}", ".hash_on[0]", "exactly one"),
            ("{policy: least_requests}", ".policy", "least_request?"),
        ]:
            self.assert_fault(f'endpoints: ["h:1"], balancing: {text}', f".balancing{path}", part)

    def test_sessions(self) -> None:
        """A cookie that stays needs an end; a header has nothing of a cookie."""
        found = self.upstream('endpoints: ["h:1"], session_persistence: {}')
        self.assertEqual(found.session_persistence, SessionPersistence())
        found = self.upstream('endpoints: ["h:1"], session_persistence: {type: Header, session_name: x-at}')
        self.assertEqual(found.session_persistence, SessionPersistence(SessionType.HEADER, "x-at"))
        for text, path, part in [
            ("{lifetime: Permanent}", ".lifetime", "absolute_timeout"),
            ("{type: Header, path: /a}", ".path", "is for cookies"),
            ("{secret: short}", ".secret", "16 characters"),
            ("{path: 'a;b'}", ".path", "begin with /"),
        ]:
            self.assert_fault(f'endpoints: ["h:1"], session_persistence: {text}', f".session_persistence{path}", part)

    def test_health(self) -> None:
        """Checks by HTTP and TCP, and what belongs to which."""
        found = self.upstream('endpoints: ["h:1"], health_check: {type: TCP}, outlier_detection: {}, retry_budget: {}')
        self.assertEqual(found.health_check, ActiveHealthCheck(path=None))
        self.assertEqual((found.outlier_detection, found.retry_budget), (OutlierDetection(), RetryBudget()))
        self.assertEqual(self.upstream('endpoints: ["h:1"], health_check: {}').health_check, ActiveHealthCheck())
        for text, path, part in [
            ("health_check: {type: TCP, path: /}", ".health_check.path", "is for HTTP"),
            ("health_check: {statuses: ['299-200']}", ".health_check.statuses[0]", "no range"),
            ("health_check: {path: 'a b'}", ".health_check.path", "begin with /"),
            ("health_check: {path: \"/a\\r\\nx: y\"}", ".health_check.path", "begin with /"),
            ("health_check: {interval: 0s}", ".health_check.interval", "from 50ms"),
            ("panic_threshold: 101", ".panic_threshold", "from 0 to 100"),
            ("outlier_detection: {base_ejection_time: 10m}", ".outlier_detection", "longer than max_ejection_time"),
            ("resolution: {min_interval: 10m}", ".resolution", "longer than max_interval"),
            ("resolution: {servers: [dns.example]}", ".resolution.servers[0]", "host and a port"),
            ("resolution: {servers: ['dns.example:53']}", ".resolution.servers[0]", "not an IP address"),
            ("limits: {max_connections: 0}", ".limits.max_connections", "from 1"),
        ]:
            self.assert_fault(f'endpoints: ["h:1"], {text}', path, part)

    def test_beside_a_backend(self) -> None:
        """What is for endpoints does nothing where there are none."""
        faults = self.faults(
            f"{LISTENERS}upstreams:\n  - {{name: app, backend: {{nobody: {{}}}}, limits: {{}}, health_check: {{}}}}\n"
        )
        self.assertEqual(
            {one.path for one in faults if "does nothing beside backend" in str(one)},
            {"upstreams[0].limits", "upstreams[0].health_check"},
        )

    def test_told(self) -> None:
        """``edgegw check`` says where requests go and how that is decided."""
        text = (
            'endpoints: ["h:1", {address: "unix:/a", weight: 2}], session_persistence: {}, outlier_detection: {}, '
            "balancing: {policy: consistent_hash, hash_on: [{header: x-user}, address]}, health_check: {path: /h}"
        )
        loaded = self.load(f"{LISTENERS}upstreams: [{{name: app, {text}}}]\n")
        self.assertIn(
            "  app: h:1 (weight 1, priority 0), unix:/a (weight 2, priority 0); "
            "consistent_hash of header x-user or address; sessions by cookie; "
            "health check GET /h every 10s; outlier detection\n",
            describe(loaded.gateway, NOW),
        )
