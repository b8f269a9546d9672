"""The guide for mutual TLS with the Gateway API can be followed with its own manifests; ``guide_manifests.sh`` does."""
from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.test_guide import HERE, free_ports
from tests.test_packaging import new_folder

GUIDES_PORTS = (8443, 8444)


def pool_and_ports() -> tuple[str, list[int]]:
    """Give a network of the loopback interface where nobody listens on the guide's ports.

    Others if those are taken at all addresses of this machine.
    """
    for _ in range(20):
        network = f"127.{random.randrange(16, 250)}.{random.randrange(256)}"
        try:
            for port in GUIDES_PORTS:
                socket.create_server((f"{network}.1", port)).close()
        except OSError:
            continue
        return f"{network}.0/24", list(GUIDES_PORTS)
    return f"{network}.0/24", free_ports(2)


class GuideManifestsTests(SynchronousTestCase):
    """The guide, from its first openssl command to its clean-up."""

    def test_from_the_checkout(self) -> None:
        """Every manifest of it, as printed, comes to what the guide says, seen by the real curl."""
        for command in ("bash", "curl", "openssl"):
            self.assertIsNotNone(shutil.which(command), f"{command} is not installed; the test needs it")
        folder = new_folder(self)
        pool, ports = pool_and_ports()
        sources = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
        given = {
            "POOL": pool, "PORT_8443": str(ports[0]), "PORT_8444": str(ports[1]), "PORT_ADMIN": str(free_ports(1)[0]),
            "PYTHON": sys.executable, "PYTHONPATH": sources,
        }  # fmt: skip
        done = subprocess.run(
            ["bash", HERE / "guide_manifests.sh", folder],
            cwd=folder,
            env={**os.environ, **given},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        lines = done.stdout.splitlines()
        self.assertIn(f"1..{sum(line.startswith('ok ') for line in lines)}", lines, done.stdout)
