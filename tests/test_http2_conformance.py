"""A conformance suite that others have written, h2spec, run from outside: RFC 9113 and HPACK, strict tests included.

It is looked for in ``$H2SPEC``, then on the path.
"""
from __future__ import annotations

import os
import re
import shutil

from twisted.trial.unittest import SkipTest, TestCase

from edgegw.testing import SERVER, Authority
from tests.gateway import answer, gateway, http_listener, https_listener, run, start_gateway, start_upstream

H2SPEC = shutil.which(os.environ.get("H2SPEC", "h2spec"))


class ConformanceTests(TestCase):
    """All of its cases."""

    timeout = 120

    def setUp(self) -> None:
        if H2SPEC is None:
            raise SkipTest("h2spec is not installed, and $H2SPEC does not name it")
        self.upstream = start_upstream(self, lambda _: answer(b"a body of several bytes"))

    async def find(self, address: tuple[str, int], *options: str) -> list[str]:
        """Give what it finds fault with."""
        assert H2SPEC is not None
        host, port = address
        finished = await run(H2SPEC, "--strict", "--host", host, "--port", str(port), *options)
        counted = re.search(r"(\d+) tests, \d+ passed, (\d+) skipped, (\d+) failed", finished.text)
        assert counted is not None, finished.text
        self.assertGreater(int(counted[1]), 140)
        self.assertEqual(counted[2], "0")
        found = re.findall(r"× \d+: (.*)", finished.text[finished.text.find("\nFailures:"):])
        self.assertEqual(len(found), int(counted[3]))
        return found

    async def test_tls(self) -> None:
        """Chosen by ALPN, it has no fault."""
        server = Authority().issue("server", dns=["localhost"], usages=SERVER)
        running = await start_gateway(self, gateway([https_listener([server])], self.upstream))
        self.assertEqual(await self.find(running.address(), "--tls", "--insecure"), [])

    async def test_prior_knowledge(self) -> None:
        """Where HTTP/1.1 is spoken too, who does not begin with the preface gets its 400, in place of GOAWAY."""
        running = await start_gateway(self, gateway([http_listener()], self.upstream))
        self.assertEqual(await self.find(running.address()), ["Sends invalid connection preface"])
