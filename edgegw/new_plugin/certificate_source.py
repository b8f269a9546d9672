"""A certificate source to begin with: its file, and the test beside it."""
from __future__ import annotations

from typing import Final

__all__ = ["CERTIFICATE_SOURCE"]

CERTIFICATE_SOURCE: Final = (
    '''"""${name}: the gateway's certificate and its key, out of one PEM file."""
from __future__ import annotations

from attrs import frozen
from edgegw.api import CertificateAndKey, FilePath, IEnvironment, certificate_source, option


@frozen
class Config:
    """The options; a configuration writes them under the source's name."""

    file: FilePath = option("A PEM file with the certificate, what is above it, and the key.")


@certificate_source("${name}", Config)
class ${camel}:
    """Take certificate and key out of one PEM file, and again whenever it changes.

    Example::

        tls:
          certificates:
            - source: {${name}: {file: bundle.pem}}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._path = config.file
        # env.changed() is called after each change: the gateway then asks load() again.
        try:
            self._bundle = env.follow(config.file, bytes, 1_048_576)
        except OSError as error:
            raise ValueError(f"{config.file} cannot be read: {error.strerror}; give a PEM file") from error

    def load(self) -> CertificateAndKey:
        """See :class:`edgegw.api.ICertificateSource`."""
        begin = b"-----BEGIN "
        blocks = [begin + block for block in self._bundle.value.split(begin)[1:]]
        keys = [block for block in blocks if b"PRIVATE KEY-----" in block]
        if len(keys) != 1:
            raise ValueError(f"{self._path} has {len(keys)} private keys; put one into it")
        certificates = b"".join(block for block in blocks if block.startswith(b"-----BEGIN CERTIFICATE-----"))
        return CertificateAndKey(certificates, keys[0], self._path)
''',
    '''"""What ${name} yields."""
from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from edgegw.testing import SERVER, Authority, FakeEnvironment, Issued, check_plugin, configure, load_source
from twisted.trial.unittest import SynchronousTestCase

from ${name} import ${camel}

#: As a configuration writes them.
OPTIONS = {"file": "bundle.pem"}


class ${camel}Tests(SynchronousTestCase):
    """The source, with a file that the test writes."""

    def setUp(self) -> None:
        """Issue a certificate over an intermediate authority, and write the file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = folder / "bundle.pem"
        self.env = FakeEnvironment(folder)
        self.authority = Authority("intermediate", issuer=Authority())
        self.write(self.authority.issue("one", dns=["one.example"], usages=SERVER))

    def write(self, issued: Issued) -> None:
        """Write the file as an administrator does, the key in the middle."""
        self.issued = issued
        self.file.write_bytes(issued.pem + issued.key_pem + issued.chain[0].public_bytes(Encoding.PEM))

    def test_load(self) -> None:
        """The certificate comes with its chain and its key."""
        loaded = load_source(${camel}, OPTIONS, self.env)
        self.assertEqual(loaded.certificate, self.issued.chain_pem)
        self.assertEqual(loaded.private_key, self.issued.key_pem)

    def test_change(self) -> None:
        """A new file is told to the gateway, which finds the new certificate."""
        source = configure(${camel}, OPTIONS, self.env)
        self.write(self.authority.issue("two", dns=["two.example"], usages=SERVER))
        self.env.reread()
        self.assertEqual(self.env.changes, 1)
        self.assertEqual(source.load().certificate, self.issued.chain_pem)

    def test_faults(self) -> None:
        """A file that is not there, or has no key in it, yields nothing."""
        self.file.write_bytes(self.issued.pem)
        self.assertRaises(ValueError, load_source, ${camel}, OPTIONS, self.env)
        self.file.unlink()
        self.assertRaises(ValueError, load_source, ${camel}, OPTIONS, self.env)

    def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        check_plugin(${camel}, OPTIONS, env=self.env)
''',
)
