"""A guide for mutual TLS can be followed with curl and openssl; ``guide.sh`` does it."""
from __future__ import annotations

import random
import shutil
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.test_packaging import clean_environment, install, make_environment, new_folder, wheel

HERE = Path(__file__).resolve().parent


def free_ports(count: int) -> list[int]:
    """Give TCP ports that nobody listens on now, all different.

    They lie below those that the system gives to clients: what other tests connect with meanwhile takes none of them.
    """
    ports: list[int] = []
    for port in random.sample(range(12_000, 32_000), 1_000):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError("there are no free ports")


class GuideTests(SynchronousTestCase):
    """The guide, from its first openssl command to SIGTERM, over HTTP/1.1 and HTTP/2."""

    def follow(self, python: Path | str, environment: dict[str, str]) -> None:
        """Follow it with the edgegw of an interpreter."""
        for command in ("bash", "curl", "openssl"):
            self.assertIsNotNone(shutil.which(command), f"{command} is not installed; the test needs it")
        folder = new_folder(self)
        names = ("PORT_8443", "PORT_8444", "PORT_ADMIN")
        ports = {name: str(port) for name, port in zip(names, free_ports(3), strict=True)}
        done = subprocess.run(
            ["bash", HERE / "guide.sh", folder],
            cwd=folder,
            env={**environment, **ports, "PYTHON": str(python)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        lines = done.stdout.splitlines()
        self.assertIn(f"1..{sum(line.startswith('ok ') for line in lines)}", lines, done.stdout)

    def test_from_the_wheel(self) -> None:
        """Every step goes as the guide says, seen by the real curl, with nothing of the checkout but its wheel."""
        folder = new_folder(self)
        bin_ = make_environment(folder / "environment")
        install(bin_, [wheel()], folder)
        self.follow(bin_ / "python", clean_environment())
