"""OpenSSL's own configuration file: it is named in the environment, and OpenSSL takes it."""
from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from edgegw.openssl_conf import CONFIGURATION, use_configuration

#: Counts the records of the server's last flight, each of which is a ticket (RFC 8446 §4.6.1).
_HANDSHAKE = """
import trustme
from OpenSSL import SSL

server, client = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_CLIENT_METHOD)
trustme.CA().issue_cert("a.example").configure_cert(server)
server.set_session_id(b"x")
near, far = SSL.Connection(server), SSL.Connection(client)
near.set_accept_state()
far.set_connect_state()


def step(one, other):
    try:
        one.do_handshake()
    except SSL.WantReadError:
        pass
    try:
        flight = one.bio_read(65536)
    except SSL.WantReadError:
        return b""
    other.bio_write(flight)
    return flight


step(far, near), step(near, far), step(far, near)
last, count = step(near, far), 0
while last:
    last = last[5 + int.from_bytes(last[3:5], "big"):]
    count += 1
print(count)
"""


class OpenSSLConfigurationTests(SynchronousTestCase):
    """``edgegw run`` gives OpenSSL a file."""

    def test_named(self) -> None:
        """The file is named where no other is, and it is there."""
        environ: dict[str, str] = {}
        use_configuration(environ)
        self.assertEqual(environ, {"OPENSSL_CONF": str(CONFIGURATION)})
        self.assertTrue(CONFIGURATION.is_file())

    def test_operators_own(self) -> None:
        """What the operator has named stays."""
        environ = {"OPENSSL_CONF": "/etc/ssl/fips.cnf"}
        use_configuration(environ)
        self.assertEqual(environ, {"OPENSSL_CONF": "/etc/ssl/fips.cnf"})

    def test_one_ticket(self) -> None:
        """A full TLS 1.3 handshake in a process that has it makes one session ticket."""
        done = subprocess.run(
            [sys.executable, "-c", _HANDSHAKE],
            env={**os.environ, "OPENSSL_CONF": str(CONFIGURATION)}, capture_output=True, text=True, check=False,
        )
        self.assertEqual((done.stdout, done.stderr), ("1\n", ""))
