"""A backend to begin with: its file, and the test beside it."""
from __future__ import annotations

from typing import Final

__all__ = ["BACKEND"]

BACKEND: Final = (
    '''"""${name}: an upstream in Python that tells clients who they are."""
from __future__ import annotations

import json

from attrs import frozen
from edgegw.api import BackendRequest, BackendResponse, backend, option


@frozen
class Config:
    """The options; a configuration writes them under the backend's name."""

    greeting: str = option("What a client is greeted with.", default="hello")


@backend("${name}", Config)
async def ${name}(config: Config, request: BackendRequest) -> BackendResponse:
    """Answer every request with what is known of the client, as JSON.

    Example::

        upstreams:
          - name: whoami
            backend: {${name}: {greeting: welcome}}
    """
    if request.method not in ("GET", "HEAD"):
        return BackendResponse(405, {"allow": "GET, HEAD"})
    certificate = request.identity.verified
    told = {
        "greeting": config.greeting,
        "subject": None if certificate is None else certificate.subject,
        "dns_names": [] if certificate is None else certificate.dns_names,
        "attributes": dict(request.connection.attributes),
    }
    return BackendResponse(200, {"content-type": "application/json"}, json.dumps(told).encode() + b"\\n")
''',
    '''"""What ${name} answers."""
from __future__ import annotations

import json
from typing import Any

from edgegw.api import BackendRequest, ConnectionInfo
from edgegw.testing import anonymous_peer, answer, check_plugin, peer
from twisted.trial.unittest import SynchronousTestCase

from ${name} import Config, ${name}

CONFIG = Config()


def ask(connection: ConnectionInfo) -> Any:
    """Ask on a connection, and give the JSON that comes back."""
    response = answer(${name}, CONFIG, BackendRequest("GET", "/", connection=connection))
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


class ${camel}Tests(SynchronousTestCase):
    """The backend, asked by one client after the other."""

    def test_verified(self) -> None:
        """A client is told its names, and what policies have said of it."""
        client = peer(common_name="billing", dns=["billing.example"], attributes={"team": "billing"})
        self.assertEqual(
            ask(client.connection),
            {
                "greeting": "hello", "subject": "CN=billing", "dns_names": ["billing.example"],
                "attributes": {"team": "billing"},
            },
        )  # fmt: skip

    def test_others(self) -> None:
        """A client that was not verified is nobody, whatever its certificate claims."""
        for client in (anonymous_peer(), peer(dns=["billing.example"], verified=False)):
            self.assertIsNone(ask(client.connection)["subject"])

    def test_methods(self) -> None:
        """It can only be read from."""
        self.assertEqual(answer(${name}, CONFIG, BackendRequest("DELETE", "/")).status, 405)

    def test_contract(self) -> None:
        """It keeps to what a plugin promises, whatever a client sends."""
        check_plugin(${name}, CONFIG, {"greeting": "welcome"})
''',
)
