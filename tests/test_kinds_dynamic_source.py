"""``@dynamic_certificate_source``, the contract of its kinds, and ``dynamic_certificates`` in a document."""
from __future__ import annotations

from typing import Any

import yaml
from attrs import evolve, frozen
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from edgegw.api import (
    CertificateAndKey,
    IDynamicCertificateSource,
    IDynamicCertificateSourceKind,
    IEnvironment,
    dynamic_certificate_source,
    option,
)
from edgegw.config import describe
from edgegw.config.native import schema
from edgegw.registry import Registry, check_kind
from edgegw.sources.dynamic_ca import DynamicCA
from edgegw.testing import SERVER, Authority, FakeEnvironment, certificate_for, check_plugin
from tests.config_documents import CA, NOW, ConfigTestCase, Kinds

AUTHORITY = Authority()


@frozen
class Config:
    """Options of a source."""

    only: str = option("The one name that there is.", default="a.example")


@dynamic_certificate_source("by_function", Config, version="2")
def by_function(config: Config, name: str) -> CertificateAndKey | None:
    """Give the certificate for one name.

    Example::

        tls:
          dynamic_certificates:
            source: {by_function: {only: b.example}}
    """
    if name != config.only:
        return None
    issued = AUTHORITY.issue("one", dns=[name], usages=SERVER)
    return CertificateAndKey(issued.chain_pem, issued.key_pem)


@dynamic_certificate_source("later")
class Later:
    """Give the same for everyone, later."""

    def __init__(self, env: IEnvironment) -> None:
        self.env = env

    async def certificate_for(self, name: str) -> CertificateAndKey | None:
        """Give it."""
        return by_function(Config(name), name)  # type: ignore[no-any-return]  # a kind's call gives anything


@implementer(IDynamicCertificateSourceKind)
class Mistaken:
    """A kind by hand whose objects are none."""

    name, api, config_type, description, version = "mistaken", 1, None, "Make a number.", ""

    def build(self, config: Any, env: IEnvironment) -> Any:
        """Make it."""
        return 1


class DecoratorTests(SynchronousTestCase):
    """What makes a kind."""

    def test_kinds(self) -> None:
        """Functions and classes become kinds, and stay what they are."""
        for kind in (by_function, Later):
            check_kind(kind, IDynamicCertificateSourceKind)
        verifyObject(IDynamicCertificateSource, by_function.build(Config(), FakeEnvironment()))
        self.assertIsInstance(Later.build(None, FakeEnvironment()), Later.target)
        self.assertEqual((by_function.name, by_function.version), ("by_function", "2"))
        self.assertIsNone(by_function(Config(), "b.example"))

    def test_waiting_function(self) -> None:
        """A function that is ``async`` is asked on the reactor's thread, as a class's method is."""
        import inspect

        @dynamic_certificate_source("waiting")
        async def waiting(name: str) -> None:
            """Give nothing, later."""

        for kind, wanted in ((waiting, True), (Later, True), (by_function, False)):
            config = Config() if kind.config_type else None
            source = kind.build(config, FakeEnvironment())
            self.assertEqual(inspect.iscoroutinefunction(source.certificate_for), wanted)
        self.assertIsNone(certificate_for(waiting, None, "a.example"))

    def test_mistakes(self) -> None:
        """What cannot be asked is found where it is written."""

        class Without:
            """Has no method."""

            def __init__(self, env: IEnvironment) -> None:
                """Take it."""

        def undocumented(name):  # type: ignore[no-untyped-def]
            pass

        def nothing() -> None:
            """Take no name."""

        for target in (Without, undocumented, nothing):
            with self.assertRaises(TypeError):
                dynamic_certificate_source("some_name")(target)
        self.assertRaises(ValueError, dynamic_certificate_source, "No Name")
        self.assertRaisesRegex(TypeError, "@dynamic_certificate_source", dynamic_certificate_source, nothing)
        self.assertRaises(TypeError, dynamic_certificate_source, "some_name", int)

    def test_found(self) -> None:
        """The one that comes with the gateway is found by its name."""
        found = Registry().find("dynamic_certificate_source", "dynamic_ca")
        assert found is not None
        self.assertIs(found.kind, DynamicCA)
        self.assertTrue(found.built_in)


class ContractTests(SynchronousTestCase):
    """``edgegw.testing`` for such plugins."""

    def tried(self, given: Any) -> Any:
        """Make a kind that gives something."""

        @dynamic_certificate_source("tried")
        def source(name: str) -> Any:
            """Give what the test wants."""
            if isinstance(given, Exception):
                raise given
            return given

        return source

    def test_good(self) -> None:
        """What keeps to the contract passes."""
        check_plugin(by_function, Config())
        check_plugin(Later)
        check_plugin(self.tried(None))
        self.assertIsNotNone(certificate_for(Later, None, "a.example"))

    def test_bad(self) -> None:
        """What does not is told."""
        issued = AUTHORITY.issue("other", dns=["other.example"], usages=SERVER)
        nameless = AUTHORITY.issue("nameless", usages=SERVER)
        for given, wanted in (
            (1, "which is no CertificateAndKey"),
            (CertificateAndKey(b"", b""), "not in PEM"),
            (CertificateAndKey(issued.chain_pem, issued.key_pem), "gave a certificate that is for"),
            (CertificateAndKey(nameless.chain_pem, nameless.key_pem), "gave a certificate that is for"),
            (OSError("away"), "raised OSError: away"),
        ):
            error = self.assertRaises(AssertionError, check_plugin, self.tried(given))
            self.assertIn(wanted, str(error))
        self.assertRaises(OSError, certificate_for, self.tried(OSError("away")), None, "a.example")
        self.assertIn("no method certificate_for", str(self.assertRaises(AssertionError, check_plugin, Mistaken())))


class ConfigurationTests(ConfigTestCase):
    """``dynamic_certificates`` in a document."""

    path = "listeners[0].tls"

    def document(self, tls: str, more: str = "") -> str:
        """Give a document with one listener whose TLS begins in line 3, column 6."""
        return f"listeners:\n  - {{name: web, port: 8443{more}, tls:\n     {{{tls}}}}}\n"

    def options(self) -> dict[str, Any]:
        """Give what makes the loader find the kinds here."""
        self.write("ca.key", CA.key_pem)
        return {
            "find_plugins": lambda path: Kinds("dynamic_certificate_source", by_function, Later, Mistaken(), DynamicCA),
            "make_environment": lambda kind, place: FakeEnvironment(self.directory),
        }

    def test_loads(self) -> None:
        """Everything that is set arrives, and the rest is as documented; no other certificate is needed."""
        document = self.document(
            "dynamic_certificates: {source: {by_function: {only: b.example}}, timeout: 500ms, capacity: 7, ttl: 1m, "
            "concurrency: 3}"
        )
        loaded = self.load(document, **self.options())
        tls = loaded.gateway.listeners[0].tls
        assert tls is not None and tls.dynamic_certificates is not None
        use = tls.dynamic_certificates
        self.assertIs(use.kind, by_function)
        self.assertEqual((use.timeout, use.capacity, use.ttl, use.concurrency), (0.5, 7, 60.0, 3))
        self.assertIsNotNone(use.source.certificate_for("b.example"))
        self.assertEqual((tls.certificates, loaded.warnings), ((), ()))
        self.assertIn("    certificates for names by by_function, 7 kept for 1m\n", describe(loaded.gateway, NOW))
        given = self.load(self.document("dynamic_certificates: {source: later}"), **self.options()).gateway
        assert given.listeners[0].tls is not None
        other = given.listeners[0].tls.dynamic_certificates
        assert other is not None
        self.assertEqual(evolve(other, kind=None, source=None, environment=None), type(other)(None, None))

    def test_beside_certificates(self) -> None:
        """Both may be given, and no certificate has to have the listener's name."""
        document = self.document(
            "certificates: [{certificate: server.pem, private_key: server.key}], "
            "dynamic_certificates: {source: later}", ", hostname: '*.other.org'",
        )  # fmt: skip
        loaded = self.load(document, **self.options())
        self.assertEqual(loaded.warnings, ())
        self.assertIn("certificates for other names by later", describe(loaded.gateway, NOW))

    def test_faults(self) -> None:
        """What is missing, too much or of the wrong kind."""
        for tls, path, part in (
            ("min_version: '1.2'", "", "has no certificates; give certificates: a list; or dynamic_certificates"),
            ("dynamic_certificates: {}", ".dynamic_certificates", "has no source"),
            ("dynamic_certificates: {source: latr}", ".dynamic_certificates.source", "did you mean later?"),
            ("dynamic_certificates: {source: mistaken}", ".dynamic_certificates.source",
             "made a int, which has no certificate_for()"),
            ("dynamic_certificates: {source: later, capacity: 0}", ".dynamic_certificates.capacity", "0"),
            ("dynamic_certificates: {source: later, timeout: 2m}", ".dynamic_certificates.timeout", "2m"),
            ("dynamic_certificates: {source: later}, ocsp_stapling: true", ".ocsp_stapling",
             "is not done for dynamic_certificates; give certificates as well, or leave it out"),
            ("dynamic_certificates: {source: {dynamic_ca: {certificate: server.pem, private_key: server.key}}}",
             ".dynamic_certificates.source.dynamic_ca", "is not valid before 2030-05-22"),
        ):
            with self.subTest(tls=tls):
                error = self.refusal(self.document(tls), **self.options())
                self.assertIn(f"{self.path}{path}: ", str(error))
                self.assertIn(part, str(error))

    def test_schema(self) -> None:
        """Editors know the same."""
        described = schema(found for found in Registry().all() if found.what == "dynamic_certificate_source")
        Draft202012Validator.check_schema(described)
        validator = Draft202012Validator({"$ref": "#/$defs/tls", "$defs": described["$defs"]})
        for document, good in (
            ("dynamic_certificates: {source: {dynamic_ca: {certificate: a, private_key: b}}, ttl: 1h}", True),
            ("dynamic_certificates: {source: other}", True),
            ("dynamic_certificates: {source: {dynamic_ca: {certificate: a}}}", False),
            ("dynamic_certificates: {}", False),
            ("min_version: '1.2'", False),
        ):
            self.assertEqual(validator.is_valid(yaml.safe_load(document)), good, document)
