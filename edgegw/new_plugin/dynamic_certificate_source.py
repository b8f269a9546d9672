"""A source of certificates by name to begin with: its file, and the test beside it."""
from __future__ import annotations

from typing import Final

__all__ = ["DYNAMIC_CERTIFICATE_SOURCE"]

DYNAMIC_CERTIFICATE_SOURCE: Final = (
    '''"""${name}: certificates for the names that clients ask for, out of a directory."""
from __future__ import annotations

import os

from attrs import frozen
from edgegw.api import CertificateAndKey, FilePath, IEnvironment, dynamic_certificate_source, option


@frozen
class Config:
    """The options; a configuration writes them under the source's name."""

    directory: FilePath = option("Where NAME.pem and NAME.key are, for each host name.")


@dynamic_certificate_source("${name}", Config)
class ${camel}:
    """Take the certificate for a name, and its key, out of a directory when a client first asks for the name.

    Example::

        tls:
          dynamic_certificates:
            source: {${name}: {directory: tenants}}
            ttl: 10m
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        if not os.path.isdir(config.directory):
            raise ValueError(f"{config.directory} is no directory; give one")
        self._directory = config.directory

    def certificate_for(self, name: str) -> CertificateAndKey | None:
        """See :class:`edgegw.api.IDynamicCertificateSource`; asked on a thread of its own, so it may block."""
        # A name has letters, digits, hyphens, underscores and dots between these: it leads nowhere else.
        path = os.path.join(self._directory, name)
        try:
            with open(f"{path}.pem", "rb") as certificate, open(f"{path}.key", "rb") as key:
                return CertificateAndKey(certificate.read(), key.read(), f"{path}.pem")
        except FileNotFoundError:
            return None
''',
    '''"""What ${name} gives for which name."""
from __future__ import annotations

from pathlib import Path

from edgegw.testing import SERVER, Authority, FakeEnvironment, certificate_for, check_plugin
from twisted.trial.unittest import SynchronousTestCase

from ${name} import ${camel}

#: As a configuration writes them.
OPTIONS = {"directory": "tenants"}


class ${camel}Tests(SynchronousTestCase):
    """The source, with a directory that the test fills."""

    def setUp(self) -> None:
        """Issue a certificate and put it where the source looks."""
        folder = Path(self.mktemp())
        (folder / "tenants").mkdir(parents=True)
        self.env = FakeEnvironment(folder)
        self.issued = Authority().issue("a", dns=["a.example"], usages=SERVER)
        (folder / "tenants" / "a.example.pem").write_bytes(self.issued.chain_pem)
        (folder / "tenants" / "a.example.key").write_bytes(self.issued.key_pem)

    def test_given(self) -> None:
        """A name that is there has its certificate and key."""
        given = certificate_for(${camel}, OPTIONS, "a.example", self.env)
        self.assertIsNotNone(given)
        self.assertEqual((given.certificate, given.private_key), (self.issued.chain_pem, self.issued.key_pem))

    def test_none(self) -> None:
        """One that is not there has none, which refuses the client."""
        self.assertIsNone(certificate_for(${camel}, OPTIONS, "b.example", self.env))

    def test_faults(self) -> None:
        """What is no directory is a fault of the configuration."""
        self.assertRaises(ValueError, certificate_for, ${camel}, {"directory": "nowhere"}, "a.example", self.env)

    def test_contract(self) -> None:
        """It keeps to what a plugin promises, whatever clients ask for."""
        check_plugin(${camel}, OPTIONS, env=self.env)
''',
)
