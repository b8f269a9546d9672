"""An SNI router to begin with: its file, and the test beside it."""
from __future__ import annotations

from typing import Final

__all__ = ["SNI_ROUTER"]

SNI_ROUTER: Final = (
    '''"""${name}: where TLS connections go by the name that the client asks for."""
from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from edgegw.api import ClientHelloFacts, PassThrough, Reject, option, sni_router


@frozen
class Config:
    """The options; a configuration writes them under the router's name."""

    upstreams: Mapping[str, str] = option("Upstreams that speak TLS themselves, by the host names that lead to them.")
    refused: tuple[str, ...] = option("Host names that nobody is to come in by.", default=())


@sni_router("${name}", Config)
def ${name}(config: Config, hello: ClientHelloFacts, address: str) -> PassThrough | Reject | None:
    """Pass connections for some host names through to upstreams, untouched, and refuse some others.

    All that are left go to the listener with the name.

    Example::

        sni_routers:
          - port: 443
            router:
              ${name}:
                upstreams: {legacy.example: legacy}
                refused: [old.example]
    """
    if hello.server_name in config.refused:
        return Reject("${name}", f"{hello.server_name} is refused")
    upstream = config.upstreams.get(hello.server_name or "")
    return None if upstream is None else PassThrough(upstream)
''',
    '''"""Where ${name} sends whom."""
from __future__ import annotations

from edgegw.api import PassThrough, Reject
from edgegw.testing import check_plugin, route
from twisted.trial.unittest import SynchronousTestCase

from ${name} import Config, ${name}

CONFIG = Config({"legacy.example": "legacy"}, ("old.example",))


class ${camel}Tests(SynchronousTestCase):
    """The router, asked about one name after the other."""

    def test_passed_through(self) -> None:
        """A name of the list leads to its upstream."""
        self.assertEqual(route(${name}, CONFIG, "legacy.example"), PassThrough("legacy"))

    def test_refused(self) -> None:
        """One that is refused leads nowhere, with a reason."""
        answer = route(${name}, CONFIG, "old.example")
        self.assertEqual(answer, Reject("${name}", "old.example is refused"))

    def test_others(self) -> None:
        """All others, and clients that name no server, are left to the listeners."""
        self.assertIsNone(route(${name}, CONFIG, "new.example"))
        self.assertIsNone(route(${name}, CONFIG, None))

    def test_contract(self) -> None:
        """It keeps to what a plugin promises, whatever a client sends."""
        check_plugin(${name}, CONFIG, {"upstreams": {"a.example": "a"}})
''',
)
