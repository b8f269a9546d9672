"""Documents and certificates for the tests of the configuration."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from textwrap import dedent
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from edgegw.config import ConfigError, Loaded, Severity, load
from edgegw.registry import Found, Problem

NOW = datetime(2030, 6, 1, tzinfo=UTC)


@frozen
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def issue(
    name: str,
    issuer: Issued | None = None,
    dns: Sequence[str] = (),
    uris: Sequence[str] = (),
    ca: bool = False,
    key: Any = None,
    days: tuple[int, int] = (-10, 100),
) -> Issued:
    """Make a certificate that is valid from and until so many days from :data:`NOW`."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    names = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uris)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer = key if issuer is None else issuer.key
    return Issued(builder.sign(signer, SHA256()), key)


CA = issue("Test CA", ca=True)
SERVER = issue("server", CA, dns=["example.com", "*.example.com"], uris=["spiffe://example.com/edge"])

#: What every document needs, two lines; a test's own text follows.
LISTENERS = """\
listeners:
  - {name: web, port: 8443, tls: &tls {certificates: [{certificate: server.pem, private_key: server.key}]}}
"""


class Kinds:
    """Finds kinds of one sort of plugin, as the registry does.

    :param what: the sort: ``backend``, ``sni_router`` and so on.
    """

    def __init__(self, what: str, *kinds: Any, problems: Sequence[str] = ()) -> None:
        self.problems = [Problem("/x.py", problem) for problem in problems]
        self.changed: list[str] = []
        self._what = what
        self._kinds = {kind.name: kind for kind in kinds}

    def find(self, what: str, name: str) -> Found | None:
        """Give a kind."""
        kind = self._kinds.get(name) if what == self._what else None
        return None if kind is None else Found(kind, what, "here", "")

    def names(self, what: str) -> list[str]:
        """Give every name."""
        return sorted(self._kinds)


class ConfigTestCase(SynchronousTestCase):
    """Loads documents from a directory that has ``server.pem``, ``server.key`` and ``ca.pem``."""

    def setUp(self) -> None:
        # Not under trial's own: the paths of Unix sockets have 107 bytes, and a checkout may lie deep.
        self.directory = Path(mkdtemp(prefix="edgegw-"))
        self.addCleanup(rmtree, self.directory)
        self.write("server.pem", SERVER.pem + CA.pem)
        self.write("server.key", SERVER.key_pem)
        self.write("ca.pem", CA.pem)

    def write(self, name: str, content: bytes | str, mode: int = 0o600) -> Path:
        """Write a file beside the document."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
        path.chmod(mode)
        return path

    def load(self, text: bytes | str, environ: Mapping[str, str] | None = None, **options: Any) -> Loaded:
        """Load a document at :data:`NOW`."""
        path = self.write("edgegw.yaml", text)
        return load(str(path), environ or {}, now=NOW, **options)

    def refusal(self, text: bytes | str, **options: Any) -> ConfigError:
        """Load a document that is at fault."""
        error: ConfigError = self.assertRaises(ConfigError, self.load, text, **options)
        return error

    def assert_faults(self, text: bytes | str, *expected: tuple[int, int, str, str], **options: Any) -> None:
        """Check that the faults are these: ``(line, column, path, part of the text)`` and no others."""
        faults = [fault for fault in self.refusal(text, **options).faults if fault.severity is Severity.FAULT]
        self.assertEqual(
            [(fault.line, fault.column, fault.path) for fault in faults],
            [(line, column, path) for line, column, path, _ in expected],
            "\n".join(map(str, faults)),
        )
        for fault, (_, _, _, part) in zip(faults, expected, strict=True):
            self.assertIn(part, str(fault))

    def assert_warnings(self, text: bytes | str, *expected: tuple[int, int, str, str], **options: Any) -> Loaded:
        """Check that a document loads with these warnings and no others."""
        loaded = self.load(text, **options)
        self.assertEqual(
            [(found.line, found.column, found.path) for found in loaded.warnings],
            [(line, column, path) for line, column, path, _ in expected],
            "\n".join(map(str, loaded.warnings)),
        )
        for found, (_, _, _, part) in zip(loaded.warnings, expected, strict=True):
            self.assertIn(part, str(found))
            self.assertIn(": warning: ", str(found))
        return loaded
