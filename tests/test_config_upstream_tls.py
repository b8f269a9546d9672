"""``tls`` and ``proxy_protocol`` of an upstream, as they are written."""

from __future__ import annotations

from pathlib import Path

import certifi
from prometheus_client import generate_latest

from edgegw.config.description import describe
from edgegw.config.upstream_tls import system_certificates
from edgegw.model import (
    ProxyProtocol,
    SubjectAltName,
    SubjectAltNameType,
    TLSVersion,
    Upstream,
    UpstreamTLS,
)
from edgegw.observe.metrics import Metrics
from edgegw.tls.names import check_tls

from .config_documents import CA, LISTENERS, NOW, ConfigTestCase, issue


def document(tls: str, endpoint: str = "app.internal:8443", more: str = "") -> str:
    return f'{LISTENERS}upstreams:\n  - {{name: u, endpoints: ["{endpoint}"], {more}\n     tls: {tls}}}\n'


class UpstreamTLSConfiguration(ConfigTestCase):
    """What is made of it, and what is wrong with it."""

    def setUp(self) -> None:
        super().setUp()
        client = issue("gateway", CA)
        self.write("gateway.pem", client.pem)
        self.write("gateway.key", client.key_pem)

    def upstream(self, text: str) -> Upstream:
        return self.load(text, check_tls=check_tls).gateway.upstreams[0]

    def tls(self, text: str) -> UpstreamTLS:
        tls = self.upstream(text).tls
        assert tls is not None
        return tls

    def test_defaults(self) -> None:
        """An empty section verifies everything, by the platform's CAs and the endpoint's name."""
        self.assertEqual(self.tls(document("{}")), UpstreamTLS(system_trust=system_certificates()))
        self.assertEqual(
            self.tls(document("{ca_certificates: system}")), UpstreamTLS(system_trust=system_certificates())
        )
        self.assertEqual(self.load(document("{}")).warnings, ())

    def test_every_setting_arrives(self) -> None:
        """All of them at once."""
        tls = self.tls(document(
            """{verify: full, ca_certificates: [ca.pem], hostname: App.Internal., sni: front.example,
              subject_alt_names: [{dns: "*.App.internal"}, {uri: "spiffe://example.org/app"}],
              client_certificate: {certificate: gateway.pem, private_key: gateway.key},
              min_version: "1.3", max_version: "1.3", cipher_suites: [TLS_AES_256_GCM_SHA384], groups: [x25519],
              session_resumption: false}""",
        ))
        self.assertEqual([anchor.name for anchor in tls.trust_anchors], ["ca.pem"])
        self.assertEqual((tls.system_trust, tls.hostname, tls.sni), (None, "app.internal", "front.example"))
        self.assertEqual(tls.subject_alt_names, (
            SubjectAltName(SubjectAltNameType.DNS, "*.app.internal"),
            SubjectAltName(SubjectAltNameType.URI, "spiffe://example.org/app"),
        ))
        assert tls.client_certificate is not None
        self.assertEqual(tls.client_certificate.name, "gateway.pem")
        self.assertEqual((tls.min_version, tls.max_version), (TLSVersion.TLS1_3, TLSVersion.TLS1_3))
        self.assertEqual((tls.tls13_ciphers, tls.groups), (("TLS_AES_256_GCM_SHA384",), ("X25519",)))
        self.assertFalse(tls.session_resumption)

    def test_client_certificate_without_names(self) -> None:
        """A client's certificate needs no name, and is not warned of for having none."""
        text = document("{client_certificate: {certificate: gateway.pem, private_key: gateway.key}}")
        self.assertEqual(self.load(text).warnings, ())

    def test_addresses(self) -> None:
        """An address has to be told what its certificate is for, where that is verified."""
        self.assert_faults(document("{}", "10.0.0.1:8443"), (5, 11, "upstreams[0].tls", "10.0.0.1:8443 is an address"))
        text = document("{sni: a.example}", "[::1]:1")
        self.assert_faults(text, (5, 11, "upstreams[0].tls", "[::1]:1 is an address"))
        for enough in ("hostname: a.example", "hostname: 10.0.0.1", "subject_alt_names: [{uri: 'spiffe://a/b'}]"):
            self.tls(document(f"{{{enough}}}", "10.0.0.1:8443"))
        self.tls(document("{verify: chain_only, ca_certificates: [ca.pem]}", "10.0.0.1:8443"))
        self.tls(document("{verify: none}", "10.0.0.1:8443"))

    def test_ca_certificates(self) -> None:
        """A file of CA certificates that cannot be used is a fault, not a reason to trust somebody else."""
        self.write("empty.pem", "")
        self.write("broken.pem", CA.pem[:-40])
        problems = {"no.pem": "cannot be read", "empty.pem": "is empty", "broken.pem": "without its end"}
        for name, problem in problems.items():
            self.assert_faults(
                document(f"{{ca_certificates: [ca.pem, {name}]}}"),
                (5, 38, "upstreams[0].tls.ca_certificates[1]", problem),
            )
        self.assert_faults(
            document("{ca_certificates: []}"), (5, 29, "upstreams[0].tls.ca_certificates", "is an empty list")
        )
        self.assert_faults(
            document("{ca_certificates: ca.pem}"), (5, 29, "upstreams[0].tls.ca_certificates", "is text")
        )

    def test_client_certificate(self) -> None:
        """It is read and judged as a listener's is."""
        other = issue("other", CA)
        self.write("other.key", other.key_pem)
        place = "upstreams[0].tls.client_certificate"
        self.assert_faults(
            document("{client_certificate: {certificate: gateway.pem, private_key: other.key}}"),
            (5, 72, f"{place}.private_key", "is not the private key of the certificate"),
        )
        self.assert_faults(
            document("{client_certificate: {certificate: no.pem, private_key: no.key}}"),
            (5, 46, f"{place}.certificate", "cannot be read"), (5, 67, f"{place}.private_key", "cannot be read"),
        )
        self.assert_faults(
            document("{client_certificate: {certificate: gateway.pem}}"), (5, 32, place, "has no private_key")
        )
        old = issue("old", CA, days=(-20, -10))
        self.write("old.pem", old.pem)
        self.write("old.key", old.key_pem)
        self.assert_warnings(
            document("{client_certificate: {certificate: old.pem, private_key: old.key}}"),
            (5, 46, f"{place}.certificate", "old.pem expired on"),
        )

    def test_without_effect(self) -> None:
        """What would do nothing is a fault: somebody relies on it."""
        self.assert_faults(
            document("{verify: none, ca_certificates: [ca.pem]}"),
            (5, 26, "upstreams[0].tls.ca_certificates", "has no effect with verify: none"),
        )
        self.assert_faults(
            document("{verify: chain_only, ca_certificates: [ca.pem], subject_alt_names: [{dns: a.example}]}"),
            (5, 59, "upstreams[0].tls.subject_alt_names", "has no effect with verify: chain_only"),
        )

    def test_lenient(self) -> None:
        """Whoever verifies less than everything is told what that means."""
        self.assert_warnings(
            document("{verify: none}"), (5, 20, "upstreams[0].tls.verify", "anybody on the way can be the upstream")
        )
        self.assert_warnings(
            document("{verify: chain_only}"), (5, 20, "upstreams[0].tls.verify", "certificate of any public CA")
        )
        self.assert_warnings(document("{verify: chain_only, ca_certificates: [ca.pem]}"))

    def test_values(self) -> None:
        """Names, versions and modes that are none."""
        for text, column, key, problem in (
            ("{verify: off}", 20, "verify", ""),
            ("{hostname: '*.a.example'}", 22, "hostname", "wildcard"),
            ("{sni: 10.0.0.1}", 17, "sni", "is an IP address"),
            ("{min_version: '1.1'}", 25, "min_version", ""),
            ("{subject_alt_names: [{dns: a, uri: 'b:c'}]}", 32, "subject_alt_names[0]", "has 2 keys"),
            ("{subject_alt_names: [{uri: nothing}]}", 38, "subject_alt_names[0].uri", ""),
            ("{groups: [nothing_at_all]}", 21, "groups[0]", "does not have it"),
        ):
            self.assert_faults(
                document(text), (5, column, f"upstreams[0].tls.{key}", problem), check_tls=check_tls
            )
        self.assert_faults(
            document("{min_version: '1.3', max_version: '1.2'}"),
            (5, 25, "upstreams[0].tls.min_version", "is higher than max_version"),
        )
        self.assert_faults(document("{verifi: none}"), (5, 12, "upstreams[0].tls.verifi", "did you mean verify?"))

    def test_proxy_protocol(self) -> None:
        """One of two versions."""
        for word, version in (("v1", ProxyProtocol.V1), ("v2", ProxyProtocol.V2)):
            self.assertEqual(self.upstream(document("{}", more=f"proxy_protocol: {word},")).proxy_protocol, version)
        self.assertIsNone(self.upstream(document("{}")).proxy_protocol)
        self.refusal(document("{}", more="proxy_protocol: v3,"))

    def test_system_certificates(self) -> None:
        """The platform's file, another that is named, or certifi's."""
        here = str(self.directory / "ca.pem")
        self.assertEqual(system_certificates({}, ["/nowhere/ca.pem", here]), here)
        self.assertEqual(system_certificates({"SSL_CERT_FILE": "/x"}, [here]), "/x")
        self.assertEqual(system_certificates({}, ["/nowhere/ca.pem"]), certifi.where())
        self.assertTrue(Path(system_certificates()).is_file())

    def test_described(self) -> None:
        """``edgegw check`` says how an upstream is verified, and loudly where it is not."""
        for tls, expected in (
            ("{verify: none}", "    TLS: its certificate is NOT VERIFIED\n"),
            ("{verify: chain_only, ca_certificates: [ca.pem]}", "    TLS: any certificate of ca.pem\n"),
            ("{ca_certificates: [ca.pem]}", "    TLS: a certificate of ca.pem for the name of each endpoint\n"),
            ("{hostname: a.example}", " for a.example\n"),
            ("{subject_alt_names: [{uri: 'spiffe://a/b'}]}", " for uri spiffe://a/b\n"),
            ("{client_certificate: {certificate: gateway.pem, private_key: gateway.key}}",
             "    client certificate gateway.pem, expires on "),
        ):
            self.assertIn(expected, describe(self.load(document(tls)).gateway, NOW))
        text = describe(self.load(document("{}", more="proxy_protocol: v2,")).gateway, NOW)
        self.assertIn("    PROXY protocol v2: a connection serves one client\n", text)

    def test_metrics(self) -> None:
        """The metrics tell how an upstream is verified, and when its certificates expire."""
        metrics = Metrics()
        metrics.use_gateway(self.load(document(
            "{ca_certificates: [ca.pem], client_certificate: {certificate: gateway.pem, private_key: gateway.key}}"
        )).gateway)
        expires = CA.certificate.not_valid_after_utc.timestamp()
        name = "edgegw_upstream_certificate_expiry_timestamp_seconds"
        for kind, file in (("trust_anchor", "ca.pem"), ("client", "gateway.pem")):
            labels = {"kind": kind, "name": file, "upstream": "u"}
            self.assertEqual(metrics.registry.get_sample_value(name, labels), expires)
        name = "edgegw_upstream_tls_verification"
        self.assertEqual(metrics.registry.get_sample_value(name, {"upstream": "u", "verify": "full"}), 1)
        metrics.use_gateway(self.load(document("{verify: none}")).gateway)
        line = b'edgegw_upstream_tls_verification{upstream="u",verify="none"} 1.0'
        self.assertIn(line, generate_latest(metrics.registry))
