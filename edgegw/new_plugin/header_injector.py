"""A header injector to begin with: its file, and the test beside it."""
from __future__ import annotations

from typing import Final

__all__ = ["HEADER_INJECTOR"]

HEADER_INJECTOR: Final = (
    '''"""${name}: tells upstreams the caller in one header."""
from __future__ import annotations

from attrs import frozen
from edgegw.api import ConnectionInfo, header_injector, option


@frozen
class Config:
    """The options; a configuration writes them under the injector's name."""

    header: str = option("The header's name, in lower case.", default="x-client")
    prefix: str = option("What stands before the name of a client.", default="cert:")


@header_injector("${name}", Config, headers=lambda config: [config.header])
def ${name}(config: Config, connection: ConnectionInfo) -> dict[str, str]:
    """Tell upstreams the first DNS name of a client's certificate, or its SHA-256 if it has none.

    A client whose certificate was not verified has no header: whatever it sent under the name is removed.

    Example::

        header_injection:
          - ${name}: {header: x-client, prefix: "cert:"}
    """
    certificate = connection.identity.verified
    if certificate is None:
        return {}
    name = certificate.dns_names[0] if certificate.dns_names else certificate.sha256
    return {config.header: f"{config.prefix}{name}"}
''',
    '''"""What ${name} tells upstreams."""
from __future__ import annotations

from edgegw.testing import Authority, anonymous_peer, check_plugin, handshake, inject, peer
from twisted.trial.unittest import SynchronousTestCase, TestCase

from ${name} import Config, ${name}

CONFIG = Config()


class ${camel}Tests(SynchronousTestCase):
    """The injector, asked about one client after the other."""

    def test_verified(self) -> None:
        """A client whose certificate was verified is named."""
        client = peer(dns=["billing.example"])
        self.assertEqual(inject(${name}, CONFIG, client), [("x-client", "cert:billing.example")])
        client = peer()
        self.assertEqual(inject(${name}, CONFIG, client), [("x-client", f"cert:{client.sha256}")])

    def test_others(self) -> None:
        """Nobody else is, whatever a certificate claims."""
        self.assertEqual(inject(${name}, CONFIG, peer(dns=["billing.example"], verified=False)), [])
        self.assertEqual(inject(${name}, CONFIG, anonymous_peer()), [])

    def test_contract(self) -> None:
        """It keeps to what a plugin promises, whatever a client sends."""
        check_plugin(${name}, CONFIG, {"header": "x-caller", "prefix": "c="})


class ${camel}HandshakeTests(TestCase):
    """The injector in the gateway, with a real client."""

    async def test_request(self) -> None:
        """The upstream gets the header, and not what the client sent under its name."""
        client = Authority().issue(dns=["billing.example"])
        forged = {"X-Client": "cert:admin"}
        outcome = await handshake(client=client, injectors=[(${name}, CONFIG)], headers=forged)
        self.assertEqual(outcome.headers["x-client"], "cert:billing.example")
''',
)
