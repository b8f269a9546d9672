"""Certificate sources as plugins: what authors write, what a configuration says, and the ones that come with it."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from edgegw.api import (
    CertificateAndKey,
    Duration,
    ICertificateSource,
    ICertificateSourceKind,
    IEnvironment,
    certificate_source,
    option,
)
from edgegw.config import describe
from edgegw.config.native import schema
from edgegw.kinds.source import CertificateSourceKind
from edgegw.model import CertificateSourceUse, ServerCertificate
from edgegw.registry import Registry, check_kind
from edgegw.sources.directory import PAIRS, Directory, DirectoryConfig
from edgegw.sources.files import Files, FilesConfig
from edgegw.testing import FakeEnvironment
from tests.config_documents import CA, NOW, SERVER, ConfigTestCase, Kinds, issue

PAIR = CertificateAndKey(SERVER.pem + CA.pem, SERVER.key_pem)


@frozen
class Config:
    """Options of the sources here."""

    every: Duration = option("How often it is asked.", default=0.0)


@certificate_source("fixed", Config, refresh_seconds="every", version="2")
def fixed(config: Config) -> CertificateAndKey:
    """Yield the same certificate whenever it is asked."""
    return PAIR


@frozen
class Given:
    """Options of the one that is mistaken."""

    what: str = option("Which mistake.")


@certificate_source("mistaken", Given)
class Mistaken:
    """Make a mistake."""

    def __init__(self, config: Given, env: IEnvironment) -> None:
        if config.what == "build":
            raise ValueError("is not to be built; build another")
        self._what = config.what

    def load(self) -> Any:
        """Give what is no certificate."""
        if self._what == "raise":
            raise ValueError("the vault is sealed; unseal it")
        if self._what == "break":
            raise KeyError("certificate")
        others: dict[str, Any] = {
            "nothing": None,
            "pair": (SERVER.pem, SERVER.key_pem),
            "text": CertificateAndKey(SERVER.pem.decode(), SERVER.key_pem),  # type: ignore[arg-type]  # mistaken
            "key_text": CertificateAndKey(SERVER.pem, None),  # type: ignore[arg-type]  # mistaken on purpose
            "empty": CertificateAndKey(b"", b""),
            "other_key": CertificateAndKey(SERVER.pem, CA.key_pem),
            "cut_off": CertificateAndKey(SERVER.pem[:-30], SERVER.key_pem),
            "huge": CertificateAndKey(b" " * (8 * 1024 * 1024 + 1), SERVER.key_pem),
            "name": CertificateAndKey(SERVER.pem, SERVER.key_pem, "a\nb"),
            "no_name": CertificateAndKey(SERVER.pem, SERVER.key_pem, None),  # type: ignore[arg-type]  # mistaken
            "unordered": CertificateAndKey(SERVER.pem + SERVER.pem, SERVER.key_pem, "vault/web"),
        }
        return others[self._what]


class DecoratorTests(SynchronousTestCase):
    """What an author writes, and what becomes of mistakes in it."""

    def test_kinds(self) -> None:
        """What the decorator makes keeps to the interface, and still is the function or class."""
        for kind in (fixed, Mistaken, Files, Directory):
            check_kind(kind, ICertificateSourceKind)
            self.assertIsInstance(kind, CertificateSourceKind)
        self.assertIs(fixed(Config()), PAIR)
        self.assertEqual((fixed.version, fixed.description[:9]), ("2", "Yield the"))
        built = fixed.build(Config(), FakeEnvironment())
        self.assertTrue(ICertificateSource.providedBy(built))
        self.assertIs(built.load(), PAIR)

    def test_refresh(self) -> None:
        """A source that is to be asked again and again is, by its option or a number."""

        @certificate_source("often", refresh_seconds=60)
        def often() -> CertificateAndKey:
            """Yield something."""
            return PAIR

        for kind, config in ((fixed, Config(60.0)), (often, None)):
            env = FakeEnvironment()
            kind.build(config, env)
            env.run_due()
            env.advance(59)
            env.run_due()
            self.assertEqual(env.changes, 1)
            env.advance(1)
            env.run_due()
            self.assertEqual(env.changes, 2)
        env = FakeEnvironment()
        fixed.build(Config(), env)
        env.advance(3600)
        self.assertEqual(env.run_due(), 0)

    def test_secret(self) -> None:
        """A key does not get into a log by way of what yields it."""
        self.assertNotIn("PRIVATE", repr(PAIR))

    def test_mistakes(self) -> None:
        """Whatever could not work is refused where it stands, with words."""

        def documented() -> Any:
            """Yield something."""

        def silent() -> Any: ...

        async def late() -> Any:
            """Yield something later."""

        class Nothing:
            """Have no method."""

            def __init__(self, env: Any) -> None: ...

        class Long:
            """Have a method that takes too much."""

            def __init__(self, env: Any) -> None: ...

            def load(self, when: Any) -> Any: ...

        for target, config, part in (
            (documented, Config, r"must take \(config\)"),
            (documented, int, "must be an attrs class"),
            (silent, None, "has no docstring"),
            (late, None, "is async"),
            (Nothing, None, "no method load"),
            (Long, None, r"must take \(self\)"),
        ):
            with self.assertRaisesRegex(TypeError, part):
                certificate_source("some_name", config)(target)
        for name in ("Vault", "all", ""):
            self.assertRaises(ValueError, certificate_source, name)
        self.assertRaises(ValueError, certificate_source, "vault", refresh_seconds=-1)
        self.assertRaisesRegex(TypeError, "@certificate_source", certificate_source, documented)


class ConfigurationTests(ConfigTestCase):
    """``source`` in place of a certificate's files."""

    path = "listeners[0].tls.certificates[0]"

    def document(self, certificate: str, more: str = "") -> str:
        """Give a document with one certificate, which begins in line 3, column 25."""
        return f"listeners:\n  - {{name: web, port: 8443{more}, tls:\n     {{certificates: [   {certificate}]}}}}\n"

    def options(self) -> dict[str, Any]:
        """Give what makes the loader find the kinds here."""
        return {
            "find_plugins": lambda path: Kinds("certificate_source", fixed, Mistaken, Files, Directory),
            "make_environment": lambda kind, place: FakeEnvironment(self.directory),
        }

    def certificates(self, certificate: str) -> tuple[ServerCertificate, ...]:
        """Give what a listener shows."""
        tls = self.load(self.document(certificate), **self.options()).gateway.listeners[0].tls
        assert tls is not None
        return tls.certificates

    def test_loads(self) -> None:
        """What a source yields is read as files are, and says where it came from."""
        (certificate,) = self.certificates("{source: fixed}")
        self.assertEqual(
            (certificate.name, certificate.chain, certificate.dns_names, certificate.key_type),
            ("fixed", SERVER.pem + CA.pem, ("example.com", "*.example.com"), "EC"),
        )
        assert isinstance(certificate.source, CertificateSourceUse)
        self.assertIs(certificate.source.kind, fixed)
        # The same from files is the same to whoever compares: contexts stay.
        (from_files,) = self.certificates("{certificate: server.pem, private_key: server.key}")
        self.assertEqual(from_files.chain, certificate.chain)
        self.assertIsNone(from_files.source)
        self.assertNotIn("PRIVATE", repr(certificate))

    def test_described(self) -> None:
        """``edgegw check`` shows when it expires and what follows it."""
        gateway = self.load(
            self.document("{source: {files: {certificate: server.pem, private_key: server.key}}}"), **self.options()
        ).gateway
        path = self.directory / "server.pem"
        self.assertIn(
            f"    certificate {path} (EC) for example.com, *.example.com, spiffe://example.com/edge, expires on "
            "2030-09-09 (in 100 days), followed by files\n",
            describe(gateway, NOW),
        )

    def test_warnings(self) -> None:
        """An expired certificate, a wrong name and a chain in disorder are warned of where the source stands."""
        self.write("old.pem", issue("old", CA, dns=["example.com"], key=SERVER.key, days=(-9, -1)).pem)
        files = "{source: {files: {certificate: old.pem, private_key: server.key}}}"
        self.assert_warnings(
            self.document(files, ", hostname: other.org"),
            (3, 21, "listeners[0].tls.certificates", "no certificate has other.org in subjectAltName"),
            (3, 34, f"{self.path}.source", "old.pem expired on 2030-05-31"),
            **self.options(),
        )
        self.assert_warnings(
            self.document("{source: {mistaken: {what: unordered}}}"),
            (3, 34, f"{self.path}.source", "certificate 2 of vault/web is not the issuer of the one before it"),
            **self.options(),
        )

    def test_faults(self) -> None:
        """What a source yields and cannot be used is a fault of the configuration, at the source."""
        for what, part in (
            ("raise", "the vault is sealed; unseal it"),
            ("break", "KeyError: 'certificate'"),
            ("nothing", "mistaken yielded a NoneType, which is no CertificateAndKey"),
            ("pair", "mistaken yielded a tuple"),
            ("text", "mistaken yielded a certificate of type str; let it be PEM as bytes"),
            ("key_text", "mistaken yielded a private key of type NoneType"),
            ("other_key", "mistaken (key) is not the private key of the certificate in mistaken"),
            ("cut_off", "mistaken has a PEM block without its end"),
            ("huge", "mistaken yielded a certificate of 8388609 bytes"),
            ("name", "name is no printable text"),
            ("no_name", "name is no printable text"),
        ):
            document = self.document(f"{{source: {{mistaken: {{what: {what}}}}}}}")
            self.assert_faults(document, (3, 34, f"{self.path}.source", part), **self.options())
        self.assert_faults(
            self.document("{source: {mistaken: {what: empty}}}"),
            (3, 34, f"{self.path}.source", "mistaken is empty"),
            (3, 34, f"{self.path}.source", "mistaken (key) is empty"),
            **self.options(),
        )
        self.assert_faults(
            self.document("{source: {mistaken: {what: build}}}"),
            (3, 35, f"{self.path}.source.mistaken", "is not to be built; build another"), **self.options(),
        )  # fmt: skip

    def test_files(self) -> None:
        """A file that is not there, or belongs to another certificate, is named."""
        self.write("other.key", issue("other").key_pem)
        for files, part in (
            ("{certificate: no.pem, private_key: server.key}", "no.pem cannot be read: No such file or directory"),
            ("{certificate: server.pem, private_key: no.key}", "no.key cannot be read: No such file or directory"),
            ("{certificate: server.pem}", "has no private_key"),
            ("{path: server.pem}", "no known key"),
        ):
            self.assertIn(part, str(self.refusal(self.document(f"{{source: {{files: {files}}}}}"), **self.options())))
        wrong = "{source: {files: {certificate: server.pem, private_key: other.key}}}"
        self.assertIn("is not the private key of the", str(self.refusal(self.document(wrong), **self.options())))

    def test_shape(self) -> None:
        """A source goes with neither file; without a source both are needed."""
        both = f"{self.path}.certificate"
        self.assert_faults(
            self.document("{source: fixed, certificate: server.pem}"),
            (3, 41, both, "does not go with source"), **self.options(),
        )  # fmt: skip
        self.assert_faults(
            self.document("{}"),
            (3, 25, self.path, "no certificate; give certificate: the path of a PEM file, or PEM; or a source of both"),
            (3, 25, self.path, "has no private_key"),
            **self.options(),
        )
        self.assert_faults(
            self.document("{certificate: server.pem}"), (3, 25, self.path, "has no private_key"), **self.options()
        )
        self.assert_faults(
            self.document("{source: fixd}"),
            (3, 34, f"{self.path}.source", "there is no certificate_source fixd; did you mean fixed?"),
            **self.options(),
        )
        self.assert_faults(
            self.document("{source: fixed}"), (3, 34, f"{self.path}.source", "there is no certificate_source fixed")
        )

    def test_schema(self) -> None:
        """Editors know the same."""
        described = schema(found for found in Registry().all() if found.what == "certificate_source")
        Draft202012Validator.check_schema(described)
        validator = Draft202012Validator(described)
        for text, wanted in (
            ("{certificate: a, private_key: b}", True),
            ("{certificate: a}", False),
            ("{}", False),
            ("{source: {files: {certificate: a, private_key: b}}}", True),
            ("{source: {files: {certificate: a}}}", False),
            ("{source: {directory: {path: a}}}", True),
            ("{source: unheard_of}", True),
            ("{source: {unheard_of: {a: 1}}}", True),
            ("{source: fixed, private_key: b}", False),
            ("{source: null}", False),
        ):
            document = yaml.safe_load(self.document(text))
            self.assertEqual((text, validator.is_valid(document)), (text, wanted))


class FollowedTests(ConfigTestCase):
    """``files`` and ``directory``, with files that change."""

    def test_files(self) -> None:
        """What is in the files now is yielded, and that they have changed is told."""
        env = FakeEnvironment(self.directory)
        source = Files.build(FilesConfig("server.pem", "server.key"), env)
        self.assertEqual(source.load(), CertificateAndKey(SERVER.pem + CA.pem, SERVER.key_pem, "server.pem"))
        newer = issue("newer", CA, dns=["example.com"])
        self.write("server.pem", newer.pem)
        self.assertTrue(env.reread())
        self.assertEqual((env.changes, source.load().certificate), (1, newer.pem))
        self.write("server.key", newer.key_pem)
        self.assertTrue(env.reread())
        self.assertEqual((env.changes, source.load().private_key), (2, newer.key_pem))

    def test_gone(self) -> None:
        """A file that is gone for a moment leaves what was in it."""
        env = FakeEnvironment(self.directory)
        source = Files.build(FilesConfig("server.pem", "server.key"), env)
        (self.directory / "server.key").unlink()
        env.reread()
        self.assertEqual(source.load().private_key, SERVER.key_pem)

    def test_directory(self) -> None:
        """A directory's pair is found by the names that tools give, the first of them that is whole."""
        for number, (certificate, private_key) in enumerate(PAIRS):
            folder = self.directory / str(number)
            folder.mkdir()
            self.write(f"{number}/{certificate}", SERVER.pem)
            env = FakeEnvironment(self.directory)
            with self.assertRaisesRegex(ValueError, "has no certificate with a key in it; it takes tls.crt and tls.k"):
                Directory.build(DirectoryConfig(str(folder)), env)
            self.write(f"{number}/{private_key}", SERVER.key_pem)
            source = Directory.build(DirectoryConfig(str(folder)), env)
            self.assertEqual(
                source.load(), CertificateAndKey(SERVER.pem, SERVER.key_pem, str(folder / certificate))
            )

    def test_turned_over(self) -> None:
        """Kubernetes turns a link over that both files are behind: that is a change of both."""
        links = self.directory / "secret"
        links.mkdir()
        newer = issue("newer", CA, dns=["example.com"])
        for version, issued in (("..1", SERVER), ("..2", newer)):
            (links / version).mkdir()
            self.write(f"secret/{version}/tls.crt", issued.pem)
            self.write(f"secret/{version}/tls.key", issued.key_pem)
        for name in ("tls.crt", "tls.key"):
            (links / name).symlink_to(Path("..data") / name)
        (links / "..data").symlink_to("..1")
        env = FakeEnvironment(self.directory)
        source = Directory.build(DirectoryConfig(str(links)), env)
        (links / "..new").symlink_to("..2")
        (links / "..new").replace(links / "..data")
        self.assertTrue(env.reread())
        self.assertEqual(source.load().certificate, newer.pem)
        self.assertEqual(source.load().private_key, newer.key_pem)

    def test_examples(self) -> None:
        """The documentation's examples are configurations."""
        for kind in (Files, Directory):
            _, _, example = kind.description.partition("Example::")
            document = yaml.safe_load("\n".join(line.removeprefix("    ") for line in example.splitlines()))
            self.assertTrue(Draft202012Validator(schema(Registry().all())).is_valid(document), kind.name)
