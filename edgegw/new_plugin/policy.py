"""A policy to begin with: its file, and the test beside it."""
from __future__ import annotations

from typing import Final

__all__ = ["PLAIN", "WAITING"]

PLAIN: Final = (
    '''"""${name}: which clients come in by the endings of their DNS names."""
from __future__ import annotations

from attrs import frozen
from edgegw.api import Accept, Peer, Reject, Verdict, option, policy


@frozen
class Config:
    """The options; a configuration writes them under the policy's name."""

    suffixes: tuple[str, ...] = option("Endings: each DNS name of the certificate must have one.", min_items=1)


@policy("${name}", Config)
def ${name}(config: Config, peer: Peer) -> Verdict:
    """Let clients in whose certificate has DNS names, all with one of some endings.

    Letters are compared without regard to case.  The first label of the first name becomes the attribute ``team``.

    Example::

        policies:
          - ${name}: {suffixes: [.corp.example]}
    """
    if not peer.dns_names:
        return Reject("${name}", "the certificate has no DNS name")
    for dns_name in peer.dns_names:
        if not dns_name.lower().endswith(config.suffixes):
            return Reject("${name}", f"{dns_name[:100]} ends in none of {', '.join(config.suffixes)}")
    return Accept({"team": peer.dns_names[0].partition(".")[0].lower()})
''',
    '''"""What ${name} lets in and what it refuses."""
from __future__ import annotations

from edgegw.testing import Authority, assert_accepts, assert_rejects, check_plugin, handshake, peer
from twisted.trial.unittest import SynchronousTestCase, TestCase

from ${name} import Config, ${name}

OURS = Config((".corp.example",))


class ${camel}Tests(SynchronousTestCase):
    """The policy, asked about one client after the other."""

    def test_ours(self) -> None:
        """A name with the ending comes in, and says whose it is."""
        assert_accepts(${name}, OURS, peer(dns=["Billing.corp.example"]), team="billing")

    def test_others(self) -> None:
        """A name without it does not, not even beside one that has it."""
        assert_rejects(${name}, OURS, peer(dns=["mtls.com"]), "${name}")
        assert_rejects(${name}, OURS, peer(dns=["billing.corp.example", "mtls.com"]), "${name}")

    def test_no_name(self) -> None:
        """Neither does a certificate without DNS names."""
        assert_rejects(${name}, OURS, peer(common_name="billing.corp.example"), "${name}")

    def test_contract(self) -> None:
        """It keeps to what a plugin promises, whatever a client sends."""
        check_plugin(${name}, OURS, {"suffixes": [".corp.example", ".lab.example"]})


class ${camel}HandshakeTests(TestCase):
    """The policy in the gateway, asked by a real client."""

    async def test_handshake(self) -> None:
        """One client gets its answer, the other one an alert in the handshake."""
        authority = Authority()
        ours = await handshake([(${name}, OURS)], authority.issue(dns=["billing.corp.example"]))
        self.assertEqual((ours.accepted, ours.status), (True, 200))
        other = await handshake([(${name}, OURS)], authority.issue(dns=["mtls.com"]))
        self.assertEqual((other.accepted, other.code), (False, "${name}"))
''',
)

WAITING: Final = (
    '''"""${name}: which clients come in, as a service says."""
from __future__ import annotations

from attrs import frozen
from edgegw.api import Accept, Duration, HTTPUnavailable, IEnvironment, Peer, Reason, Reject, Verdict, option, policy


@frozen
class Config:
    """The options; a configuration writes them under the policy's name."""

    url: str = option("What is asked, with ``/`` and the certificate's SHA-256 in hexadecimal behind it.")
    timeout: Duration = option(
        "How long an answer may take; less than policy_timeout.", default=1.0, minimum=0.001, maximum=60.0
    )
    cache: Duration = option("How long an answer is used again for the same certificate.", default=30.0, minimum=0.0)


@policy("${name}", Config)
class ${camel}:
    """Ask a service whether it knows the certificate.

    200 lets the client in, 404 refuses it; anything else, and no answer, refuses too.

    Example::

        policies:
          - ${name}: {url: "https://inventory.example/devices", timeout: 500ms}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._url = config.url.rstrip("/")
        self._timeout = config.timeout
        self._http = env.http()
        self.cache_seconds = config.cache

    async def check(self, peer: Peer) -> Verdict:
        """See :class:`edgegw.api.IPolicy`."""
        try:
            answer = await self._http.request("GET", f"{self._url}/{peer.sha256}", timeout=self._timeout)
        except HTTPUnavailable as error:
            return Reject(Reason.CHECK_UNAVAILABLE, str(error))
        if answer.status == 200:
            return Accept()
        if answer.status == 404:
            return Reject("${name}", "the service does not know the certificate")
        return Reject(Reason.CHECK_UNAVAILABLE, f"the service answered {answer.status}")
''',
    '''"""What ${name} lets in and what it refuses."""
from __future__ import annotations

from edgegw.api import HTTPAnswer, HTTPUnavailable
from edgegw.testing import FakeEnvironment, HTTPRequest, assert_accepts, assert_rejects, check_plugin, peer
from twisted.trial.unittest import SynchronousTestCase

from ${name} import Config, ${camel}

ASKED = Config("https://inventory.example/devices/")


def service(status: int) -> FakeEnvironment:
    """Give an environment in which the service gives one answer to everything."""
    return FakeEnvironment(http=lambda request: HTTPAnswer(status, {}, b""))


class ${camel}Tests(SynchronousTestCase):
    """The policy, with a service that the test plays."""

    def test_known(self) -> None:
        """The service is asked about the certificate, and what it knows comes in."""
        env, client = service(200), peer(dns=["client.example"])
        assert_accepts(${camel}, ASKED, client, env=env)
        self.assertEqual(env.requests[0].url, f"https://inventory.example/devices/{client.sha256}")
        self.assertEqual(env.requests[0].timeout, ASKED.timeout)

    def test_unknown(self) -> None:
        """What it does not know is refused."""
        assert_rejects(${camel}, ASKED, peer(), "${name}", env=service(404))

    def test_other_answers(self) -> None:
        """An answer that says neither is none."""
        for status in (204, 302, 401, 500):
            assert_rejects(${camel}, ASKED, peer(), "check_unavailable", env=service(status))

    def test_no_answer(self) -> None:
        """A service that is away lets nobody in."""

        def away(request: HTTPRequest) -> HTTPAnswer:
            raise HTTPUnavailable("connection refused")

        assert_rejects(${camel}, ASKED, peer(), "check_unavailable", env=FakeEnvironment(http=away))

    def test_contract(self) -> None:
        """It keeps to what a plugin promises, whatever a client sends."""
        check_plugin(${camel}, ASKED, {"url": "https://a.example", "timeout": "2s"}, env=service(404))
''',
)
