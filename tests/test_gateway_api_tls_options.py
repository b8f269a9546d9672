"""tls.options of listeners: kgateway's keys, and edgegw's own."""
from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config.faults import Report
from edgegw.config.native import load_document
from edgegw.config.plain_data import nodes_of
from edgegw.environment import Environments
from edgegw.gateway_api.compiled import Surroundings
from edgegw.gateway_api.gateway_status import gateway_status
from edgegw.gateway_api.gateways import CompiledGateways, compile_gateways
from edgegw.gateway_api.grants import Grants
from edgegw.gateway_api.objects import GATEWAY_API, Object, Objects
from edgegw.gateway_api.tls_options import read_options
from edgegw.model import Listener, PolicyUse, ValidationMode
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.registry import Registry
from edgegw.tls.names import check_tls
from tests.gateway_objects import config_map, secret, standing

HASH = "46:DB:0D:C2:E1:4F:0A:05:8C:4F:05:8D:77:B1:8D:7C:1A:BE:18:4F:AF:81:BF:E2:B1:CD:03:43:7F:D8:65:4B"
PLAIN_HASH = HASH.replace(":", "").lower()


def gateway(options: dict[str, str], mode: str | None = "AllowValidOnly", protocol: str = "HTTPS") -> Object:
    """Make a Gateway with one listener.

    :param mode: of its client validation; ``None`` asks for no certificate.
    """
    references = [{"group": "", "kind": "ConfigMap", "name": "ca"}]
    validation = None if mode is None else {"mode": mode, "caCertificateRefs": references}
    listener = {
        "name": "https",
        "port": 8443,
        "protocol": protocol,
        "allowedRoutes": {"namespaces": {"from": "All"}},
        "tls": {
            "mode": "Terminate",
            "certificateRefs": [{"group": "", "kind": "Secret", "name": "cert"}],
            "options": options,
        },
    }
    spec: dict[str, Any] = {"gatewayClassName": "kgateway", "listeners": [listener]}
    if validation is not None:
        spec["tls"] = {"frontend": {"default": {"validation": validation}}}
    content = {"metadata": {"name": "mtls", "namespace": "default"}, "spec": spec}
    return Object(f"{GATEWAY_API}/v1", "Gateway", "default", "mtls", content)


class OptionTestCase(SynchronousTestCase):
    """Compiles a Gateway with options."""

    def compiled(self, options: dict[str, str], **more: Any) -> CompiledGateways:
        """Compile it beside what it refers to."""
        objects = Objects([gateway(options, **more), secret("cert"), config_map("ca")])
        return compile_gateways(objects, Grants(objects), Surroundings())

    def listener(self, options: dict[str, str], **more: Any) -> Listener:
        """Give the listener that comes of it, as the native language has it."""
        result = self.compiled(options, **more)
        status = gateway_status(result.states[0]).status["listeners"][0]
        self.assertEqual(
            standing(status["conditions"])["Programmed"], ("True", "Programmed"), status["conditions"]
        )
        report = Report("")
        loaded = load_document(
            nodes_of({"listeners": result.listeners}), "/nowhere/x.yaml", report, check_tls=check_tls,
            find_plugins=Registry, make_environment=Environments(Clock(), "/nowhere", PluginCounters()).make,
        )
        return loaded.gateway.listeners[0]

    def problem(self, options: dict[str, str], **more: Any) -> str:
        """Give what is said of options that keep a listener from being served."""
        result = self.compiled(options, **more)
        self.assertEqual(result.listeners, [])
        (status,) = gateway_status(result.states[0]).status["listeners"]
        found = {one["type"]: one for one in status["conditions"]}
        self.assertEqual((found["Programmed"]["status"], found["Programmed"]["reason"]), ("False", "Invalid"))
        return str(found["Programmed"]["message"])

    def kgateway_problem(self, key: str, value: str, **more: Any) -> str:
        """Give what is said of one of kgateway's options; the same under ``edgegw.io/``."""
        told = self.problem({f"kgateway.dev/{key}": value}, **more)
        result = self.compiled({f"edgegw.io/{key}": value}, **more)
        (status,) = gateway_status(result.states[0]).status["listeners"]
        self.assertEqual(standing(status["conditions"])["ResolvedRefs"], ("False", "InvalidCertificateRef"))
        return told


class TLSTests(OptionTestCase):
    """kgateway's options for TLS itself."""

    def test_none(self) -> None:
        """Without options everything is as by default, and those of other domains do not count."""
        plain, other = self.listener({}), self.listener({"example.com/min-tls-version": "7"})
        self.assertEqual(plain, other)

    def test_versions(self) -> None:
        """Versions are the four that there are, exactly as they are written."""
        tls = self.listener({"kgateway.dev/min-tls-version": "1.3"}).tls
        assert tls is not None
        self.assertEqual((tls.min_version.value, tls.max_version.value), ("1.3", "1.3"))
        tls = self.listener({"edgegw.io/max-tls-version": "1.2"}).tls
        assert tls is not None
        self.assertEqual((tls.min_version.value, tls.max_version.value), ("1.2", "1.2"))
        for bad in ("TLSv1.2", " 1.2", "", "1.4"):
            told = self.kgateway_problem("min-tls-version", bad)
            self.assertIn(f"invalid minimum tls version: {bad}", told)
        self.assertIn("invalid maximum tls version: 2", self.kgateway_problem("max-tls-version", "2"))

    def test_old_versions(self) -> None:
        """Versions that are no longer spoken are refused, and not raised in silence."""
        for version in ("1.0", "1.1"):
            self.assertIn(f"TLS {version} is not spoken", self.kgateway_problem("min-tls-version", version))

    def test_versions_the_wrong_way_round(self) -> None:
        """The highest must not be below the lowest; kgateway's words say which is which."""
        told = self.problem({"kgateway.dev/min-tls-version": "1.2", "kgateway.dev/max-tls-version": "1.1"})
        self.assertIn("maximum tls version TLSv1_1 is less than minimum tls version TLSv1_2", told)
        told = self.problem({"kgateway.dev/min-tls-version": "1.3", "kgateway.dev/max-tls-version": "1.2"})
        self.assertIn("maximum tls version TLSv1_2 is less than minimum tls version TLSv1_3", told)

    def test_cipher_suites(self) -> None:
        """Suites have IANA's or OpenSSL's names; weak ones are refused."""
        names = "ECDHE-RSA-AES128-GCM-SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 , TLS_AES_128_GCM_SHA256"
        tls = self.listener({"kgateway.dev/cipher-suites": names}).tls
        assert tls is not None
        self.assertEqual(tls.tls12_ciphers, ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"))
        self.assertEqual(tls.tls13_ciphers, ("TLS_AES_128_GCM_SHA256",))
        self.assertIn('"AES128-SHA" is no ECDHE suite', self.kgateway_problem("cipher-suites", "AES128-SHA"))
        good = "ECDHE-RSA-AES128-GCM-SHA256"
        self.assertIn('"NOPE" is not a cipher', self.kgateway_problem("cipher-suites", f"{good},NOPE"))
        self.assertIn('"" is not a cipher', self.kgateway_problem("cipher-suites", f"{good},"))

    def test_curves_and_signatures(self) -> None:
        """Curves keep their order; a draft that is gone is no group."""
        tls = self.listener({"kgateway.dev/ecdh-curves": "P-256,X25519,X25519"}).tls
        assert tls is not None
        self.assertEqual(tls.groups, ("P-256", "X25519"))
        self.assertIn("use X25519MLKEM768", self.kgateway_problem("ecdh-curves", "X25519Kyber768Draft00"))
        names = "ecdsa_secp256r1_sha256,rsa_pss_rsae_sha256"
        tls = self.listener({"kgateway.dev/signature-algorithms": names}).tls
        assert tls is not None
        self.assertEqual(tls.signature_algorithms, tuple(names.split(",")))
        self.assertIn("RFC 9155", self.kgateway_problem("signature-algorithms", "rsa_pkcs1_sha1"))

    def test_application_protocols(self) -> None:
        """allow-empty alone sends none; HTTPS speaks what it can, TLS whatever is asked for."""
        for value, expected in (("h2", ("h2",)), ("http/1.1 , h2", ("http/1.1", "h2")), ("allow-empty", ())):
            tls = self.listener({"kgateway.dev/alpn-protocols": value}).tls
            assert tls is not None
            self.assertEqual(tls.alpn, expected)
        for bad in ("h3", "h2,allow-empty", "h2,"):
            self.assertIn("is not spoken here", self.kgateway_problem("alpn-protocols", bad))
        tls = self.listener({"kgateway.dev/alpn-protocols": "postgresql"}, mode=None, protocol="TLS").tls
        assert tls is not None
        self.assertEqual(tls.alpn, ("postgresql",))
        self.assertIn("ALPN name", self.kgateway_problem("alpn-protocols", "a b", mode=None, protocol="TLS"))

    def test_unknown(self) -> None:
        """Unknown keys of either prefix are errors, and all errors are told at once."""
        told = self.problem({
            "kgateway.dev/min-tls-versions": "1.2", "edgegw.io/polices": "[]", "kgateway.dev/policies": "[]",
            "kgateway.dev/max-tls-version": "x",
        })
        self.assertIn("unknown tls option: kgateway.dev/min-tls-versions; did you mean min-tls-version?", told)
        self.assertIn("unknown tls option: edgegw.io/polices; did you mean policies?", told)
        self.assertIn("unknown tls option: kgateway.dev/policies", told)
        self.assertIn("invalid maximum tls version: x", told)

    def test_twice(self) -> None:
        """The same under both prefixes is an error."""
        told = self.problem({"kgateway.dev/min-tls-version": "1.2", "edgegw.io/min-tls-version": "1.3"})
        self.assertIn("edgegw.io/min-tls-version says again what kgateway.dev/min-tls-version says", told)

    def test_passthrough(self) -> None:
        """Where TLS is passed through, options would do nothing, which is said."""
        one = gateway({"kgateway.dev/min-tls-version": "1.2"}, None, "TLS")
        one.spec["listeners"][0]["tls"].update(mode="Passthrough", certificateRefs=[])
        objects = Objects([one])
        result = compile_gateways(objects, Grants(objects), Surroundings())
        self.assertEqual(result.listeners, [])
        gateway_status(result.states[0])
        condition = result.states[0].listeners[0].conditions.get("Programmed")
        assert condition is not None
        self.assertIn("mean nothing with Passthrough", condition.message)


class PinTests(OptionTestCase):
    """verify-subject-alt-names and verify-certificate-hash."""

    def policies(self, options: dict[str, str], **more: Any) -> list[PolicyUse]:
        """Give the policies of the listener's client validation."""
        tls = self.listener(options, **more).tls
        assert tls is not None
        assert tls.client_validation is not None
        assert tls.client_validation.policies is not None
        found = [rule for rule in tls.client_validation.policies if isinstance(rule, PolicyUse)]
        self.assertEqual(len(found), len(tls.client_validation.policies))
        return found

    def test_as_printed(self) -> None:
        """The guide's last Gateway: one name, one hash, both have to fit."""
        options = {"kgateway.dev/verify-subject-alt-names": "example.com", "kgateway.dev/verify-certificate-hash": HASH}
        names = [rule.kind.name for rule in self.policies(options)]
        self.assertEqual(names, ["subject_alt_names", "certificate_hash"])
        tls = self.listener(options).tls
        assert tls is not None
        assert tls.client_validation is not None
        self.assertEqual(tls.client_validation.mode, ValidationMode.ALLOW_VALID_ONLY)
        self.assertTrue(tls.client_validation.demands_certificate)

    def test_hashes(self) -> None:
        """Hashes are given with colons or without, apart by commas or hyphens, on several lines."""
        for text in (
            HASH, PLAIN_HASH, PLAIN_HASH.upper(), f"{'0' * 64}, {HASH}", f"- {HASH}\n- {'0' * 64}\n", f",,{HASH},",
        ):
            options = read_options({"kgateway.dev/verify-certificate-hash": text}, "HTTPS")
            self.assertEqual(options.problems, [])
            self.assertIn(PLAIN_HASH, options.certificate_hashes)
        for bad in ("", "x", f"{HASH},abc", HASH[:-1], "-"):
            self.assertIn("invalid certificate hash", self.kgateway_problem("verify-certificate-hash", bad))

    def test_hash_without_ca(self) -> None:
        """A hash needs no CA: the certificate is demanded, and the hash alone decides."""
        tls = self.listener({"kgateway.dev/verify-certificate-hash": HASH}, mode=None).tls
        assert tls is not None
        validation = tls.client_validation
        assert validation is not None
        self.assertTrue(validation.policies_alone)
        self.assertTrue(validation.demands_certificate)
        self.assertFalse(validation.refuses_everyone)

    def test_names_without_ca(self) -> None:
        """Names mean nothing that no CA vouches for."""
        told = self.kgateway_problem("verify-subject-alt-names", "example.com", mode=None)
        self.assertIn("verify-subject-alt-names annotation requires a trusted CA to be configured", told)

    def test_names(self) -> None:
        """Names are compared as Envoy does: a wildcard in the option stands for itself."""
        options = read_options({"kgateway.dev/verify-subject-alt-names": "Example.com, *.a.example,,"}, "HTTPS")
        self.assertEqual(options.problems, [])
        self.assertEqual(
            options.subject_alt_names,
            [{"exact": "Example.com"}, {"regex": r"\*\.a\.example", "ignore_case": True}],
        )
        (rule,) = self.policies({"kgateway.dev/verify-subject-alt-names": "example.com,*.a.example"})
        self.assertEqual(rule.kind.name, "subject_alt_names")
        for bad in ("", ",", "a b.example"):
            self.assertIn("verify-subject-alt-names", self.kgateway_problem("verify-subject-alt-names", bad))

    def test_fallback(self) -> None:
        """Pins hold in AllowInsecureFallback, too, and a name has to be vouched for; unless Envoy is to be followed."""
        fallback = "AllowInsecureFallback"
        tls = self.listener({"kgateway.dev/verify-certificate-hash": HASH}, mode=fallback).tls
        assert tls is not None
        assert tls.client_validation is not None
        self.assertEqual(tls.client_validation.mode, ValidationMode.ALLOW_INSECURE_FALLBACK)
        self.assertTrue(tls.client_validation.demands_certificate)
        options = {"kgateway.dev/verify-subject-alt-names": "example.com"}
        tls = self.listener(options, mode=fallback).tls
        assert tls is not None
        assert tls.client_validation is not None
        self.assertEqual(tls.client_validation.mode, ValidationMode.ALLOW_VALID_ONLY)
        tls = self.listener({**options, "edgegw.io/envoy-compatible": "true"}, mode=fallback).tls
        assert tls is not None
        assert tls.client_validation is not None
        self.assertEqual(tls.client_validation.mode, ValidationMode.ALLOW_INSECURE_FALLBACK)
        self.assertFalse(tls.client_validation.demands_certificate)


class OwnTests(OptionTestCase):
    """What only edgegw.io/ has, in the native language's words."""

    def test_values(self) -> None:
        """Values are YAML, of one line or several."""
        listener = self.listener({
            "edgegw.io/policies": "- key_strength: {min_rsa_bits: 3072}\n- validity: {max_lifetime: 720h}\n",
            "edgegw.io/header-injection": "[client_cert: {chain: true}]",
            "edgegw.io/limits": "{max_connections: 7}",
            "edgegw.io/http": "max_body_size: 1MiB",
            "edgegw.io/recheck-established": "true",
            "edgegw.io/session-lifetime": "1h",
            "edgegw.io/strict-sni": "true",
        })
        self.assertEqual(listener.limits.max_connections, 7)
        self.assertEqual(listener.http.max_body_bytes, 1024**2)
        self.assertEqual(len(listener.header_injection), 1)
        tls = listener.tls
        assert tls is not None
        self.assertTrue(tls.strict_sni)
        self.assertEqual(tls.session_lifetime, 3600)
        validation = tls.client_validation
        assert validation is not None
        self.assertTrue(validation.recheck_established)
        self.assertEqual(len(validation.policies or ()), 2)

    def test_policies_of_everyone(self) -> None:
        """Where no certificate is asked for, policies are the listener's."""
        policies = "[rate_limit: {rate: 10/s, burst: 20, per: address}]"
        listener = self.listener({"edgegw.io/policies": policies}, mode=None)
        self.assertEqual(len(listener.policies or ()), 1)

    def test_faults(self) -> None:
        """What the native language finds wrong is said with the option's name and the place in it."""
        for key, value, part in (
            ("limits", "{max_connection: 7}", "edgegw.io/limits: max_connection: is no known key; did you mean"),
            ("limits", "{max_connections: many}", "edgegw.io/limits: max_connections:"),
            ("limits", "{", "not valid YAML"),
            ("limits", "", "has nothing in it"),
            ("policies", "[]", "is an empty list"),
            ("policies", "spiffe", "write a list of policies"),
            ("session-lifetime", "3600", "has no unit"),
            ("http", "max_body_size: ${HOME}", "there are no variables here"),
            ("on-missing", "accept", "client_validation.on_missing"),
        ):
            self.assertIn(part, self.problem({f"edgegw.io/{key}": value}))

    def test_needless(self) -> None:
        """What is about client certificates needs some that are asked for."""
        told = self.problem({"edgegw.io/recheck-established": "true"}, mode=None)
        self.assertIn("edgegw.io/recheck-established: no client is asked for a certificate", told)
