"""For whoever tests plugins: real certificates and clients in one line, assertions, and real handshakes.

::

    from edgegw.testing import assert_accepts, assert_rejects, peer

    class DNSSuffixTests(SynchronousTestCase):
        def test_ours(self) -> None:
            assert_accepts(dns_suffix, Config((".corp.example",)), peer(dns=["a.corp.example"]), team="a")

        def test_others(self) -> None:
            assert_rejects(dns_suffix, Config((".corp.example",)), peer(dns=["mtls.com"]), "dns_suffix")

        def test_contract(self) -> None:
            check_plugin(dns_suffix, Config((".corp.example",)))

    class DNSSuffixHandshakeTests(TestCase):
        async def test_handshake(self) -> None:
            client = Authority().issue(dns=["a.corp.example"])
            outcome = await handshake([(dns_suffix, Config((".corp.example",)))], client)
            self.assertTrue(outcome.accepted)

These names are kept as :mod:`edgegw.interfaces` promises for the interfaces.
"""
from __future__ import annotations

from edgegw.config import ConfigError
from edgegw.testing.assertions import BuiltPolicy, assert_accepts, assert_rejects, build, judge, judge_later
from edgegw.testing.backends import answer
from edgegw.testing.certificates import (
    ANY_USAGE,
    BOTH,
    CLIENT,
    CODE_SIGNING,
    NO_USAGE,
    SERVER,
    Authority,
    Issued,
    make_key,
)
from edgegw.testing.contract import check_plugin, check_plugin_later
from edgegw.testing.dynamic_sources import certificate_for
from edgegw.testing.environment import FakeEnvironment, HTTPRequest
from edgegw.testing.handshakes import Outcome, ServedGateway, handshake, serve
from edgegw.testing.injectors import inject
from edgegw.testing.odd_peers import odd_certificates, odd_peers
from edgegw.testing.options import configure, document_of, examples_of, options
from edgegw.testing.peers import Request, anonymous_peer, default_authority, peer
from edgegw.testing.routers import route
from edgegw.testing.sources import load_source
from edgegw.testing.waiting import result_of

__all__ = [
    "ANY_USAGE",
    "BOTH",
    "CLIENT",
    "CODE_SIGNING",
    "NO_USAGE",
    "SERVER",
    "Authority",
    "BuiltPolicy",
    "ConfigError",
    "FakeEnvironment",
    "HTTPRequest",
    "Issued",
    "Outcome",
    "Request",
    "ServedGateway",
    "anonymous_peer",
    "answer",
    "assert_accepts",
    "assert_rejects",
    "build",
    "certificate_for",
    "check_plugin",
    "check_plugin_later",
    "configure",
    "default_authority",
    "document_of",
    "examples_of",
    "handshake",
    "inject",
    "judge",
    "judge_later",
    "load_source",
    "make_key",
    "odd_certificates",
    "odd_peers",
    "options",
    "peer",
    "result_of",
    "route",
    "serve",
]
