"""``edgegw demo`` does what it prints: its curl lines, run as they stand, show what they say."""
from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import IO

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from edgegw.demo.pki import CLIENT_URI, make_pki
from edgegw.demo.tour import Ports, describe, steps
from tests.test_guide import free_ports

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0


def environment() -> dict[str, str]:
    """Give an environment in which another process imports this edgegw."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run a module of the project; it is killed after :data:`PATIENCE` seconds and at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    guard = Timer(PATIENCE, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        yield process, process.stdout
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def demo_arguments(ports: Ports) -> list[str]:
    """Give the command line of a demonstration on free ports."""
    names = ("--port", "--fallback-port", "--admin-port")
    values = (ports.strict, ports.fallback, ports.admin)
    return ["edgegw", "demo", *(word for name, port in zip(names, values, strict=True) for word in (name, str(port)))]


def introduction(output: IO[str]) -> str:
    """Read what a demonstration prints until it serves."""
    lines = []
    for line in output:
        lines.append(line)
        if line.startswith("Serving"):
            return "".join(lines)
    raise AssertionError("it does not serve:\n" + "".join(lines))


class PKITests(SynchronousTestCase):
    """The certificates, as openssl judges them."""

    def setUp(self) -> None:
        """Make them."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        make_pki(self.folder)

    def verify(self, name: str, purpose: str) -> str:
        """Give what ``openssl verify`` says of a certificate."""
        self.assertIsNotNone(shutil.which("openssl"), "openssl is not installed; the test needs it")
        done = subprocess.run(
            ["openssl", "verify", "-CAfile", "ca-cert.pem", "-purpose", purpose, f"{name}-cert.pem"],
            cwd=self.folder, capture_output=True, text=True, check=False,
        )
        return done.stdout + done.stderr

    def test_verdicts(self) -> None:
        """Server and client are good for their purposes; stranger and expired fail for their own reasons."""
        self.assertIn("server-cert.pem: OK", self.verify("server", "sslserver"))
        self.assertIn("client-cert.pem: OK", self.verify("client", "sslclient"))
        self.assertIn("unable to get local issuer certificate", self.verify("stranger", "sslclient"))
        self.assertIn("certificate has expired", self.verify("expired", "sslclient"))

    def test_names(self) -> None:
        """The server is known by every name that the demonstration is reached by, the client by two."""
        def names(name: str) -> list[str]:
            certificate = x509.load_pem_x509_certificate((self.folder / f"{name}-cert.pem").read_bytes())
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            return [str(entry.value) for entry in extension.value]

        self.assertEqual(names("server"), ["localhost", "example.com", "*.example.com", "127.0.0.1", "::1"])
        self.assertEqual(names("client"), ["client.example.com", CLIENT_URI])

    def test_keys_are_private(self) -> None:
        """Nobody else can read a key, even one that lay there readable."""
        (self.folder / "server-key.pem").chmod(0o644)
        make_pki(self.folder)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.folder.iterdir()}
        self.assertEqual(set(modes.values()), {0o600}, modes)


class UpstreamTests(SynchronousTestCase):
    """The echo."""

    def test_echo(self) -> None:
        """It says what arrived: method, target, each header line, length of the body."""
        with running("edgegw.demo.upstream") as (_, output):
            connection = http.client.HTTPConnection("127.0.0.1", int(output.readline()), timeout=PATIENCE)
            connection.putrequest("PUT", "/a%20b?c=d", skip_accept_encoding=True)
            for name, value in (("X-Two", "1"), ("X-Two", "2"), ("X_Three", "3"), ("Content-Length", "5")):
                connection.putheader(name, value)
            connection.endheaders(b"12345")
            response = connection.getresponse()
            echo = json.load(response)
            connection.close()
        self.assertEqual((response.status, response.getheader("content-type")), (200, "application/json"))
        self.assertEqual((echo["method"], echo["path"], echo["body_length"]), ("PUT", "/a%20b?c=d", 5))
        self.assertEqual([pair for pair in echo["headers"] if pair[0] == "x-two"], [["x-two", "1"], ["x-two", "2"]])
        self.assertIn(["x_three", "3"], echo["headers"])


class TourTests(SynchronousTestCase):
    """The printed text."""

    def test_commands_survive_any_path(self) -> None:
        """A command can be pasted whatever the directory is called."""
        tour = steps(Path("/tmp/it's here"), Ports(1, 2, 3))
        self.assertIn("""'/tmp/it'"'"'s here/ca-cert.pem'""", tour[0].command)
        for step in tour:
            self.assertIn(f"\n    {step.command}\n", describe(tour))


class DemoTests(SynchronousTestCase):
    """The command."""

    def setUp(self) -> None:
        """Find ports."""
        self.assertIsNotNone(shutil.which("curl"), "curl is not installed; the test needs it")
        self.ports = Ports(*free_ports(3))

    def try_out(self, command: str) -> tuple[str, list[str] | None]:
        """Run a printed command.

        :returns: what it printed, and the ``x-forwarded-client-cert`` that the upstream got, or ``None``
            where no echo came back.
        """
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE, check=False)
        head, _, body = done.stdout.partition("\n\n")
        if not head.startswith(("HTTP/1.1 200 ", "HTTP/2 200 ")):
            return done.stdout + done.stderr, None
        echo = json.loads(body)
        return done.stdout, [value for name, value in echo["headers"] if name == "x-forwarded-client-cert"]

    def test_tour(self) -> None:
        """Every printed command shows what is printed beside it."""
        with running(*demo_arguments(self.ports)) as (process, output):
            text = introduction(output)
            commands = re.findall(r"^    (curl .*)$", text, re.MULTILINE)
            self.assertEqual(len(commands), 10, text)
            shown = [self.try_out(command) for command in commands]
            good, none, stranger, expired, spoofed = shown[:5]
            fallback_none, fallback_stranger, fallback_spoofed, fallback_good, metrics = shown[5:]
            process.send_signal(signal.SIGTERM)
            rest = output.read()
            self.assertEqual(process.wait(PATIENCE), 0, rest)

        for printed, xfcc in (good, spoofed, fallback_good):
            assert xfcc is not None, printed
            self.assertEqual(len(xfcc), 1)
            self.assertIn(f"URI={CLIENT_URI};DNS=client.example.com", xfcc[0])
            self.assertNotIn("admin", printed)
        for (printed, xfcc), alert in (
            (none, "certificate required"),
            (stranger, "unknown ca"),
            (expired, "certificate expired"),
        ):
            self.assertIsNone(xfcc)
            self.assertIn(f"alert {alert}", printed)
        self.assertEqual([fallback_none[1], fallback_stranger[1], fallback_spoofed[1]], [[], [], []])
        self.assertRegex(metrics[0], r'edgegw_tls_handshakes_total\{listener="strict",.*reason="no_certificate".*\} 1')
        self.assertNotIn("Traceback", rest)

    def test_temporary_directory_is_removed(self) -> None:
        """Ctrl-C ends it with status 0, and the keys are gone."""
        with running(*demo_arguments(self.ports)) as (process, output):
            found = re.search(r"are in (\S+) until", introduction(output))
            assert found is not None
            folder = Path(found[1])
            self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
            process.send_signal(signal.SIGINT)
            rest = output.read()
            self.assertEqual(process.wait(PATIENCE), 0, rest)
        self.assertFalse(folder.exists())

    def test_named_directory_is_kept_and_taken_again(self) -> None:
        """--dir leaves everything there, for its owner alone, and the next start accepts it."""
        folder = Path(self.mktemp()).resolve()
        for _ in range(2):
            with running(*demo_arguments(self.ports), "--dir", str(folder)) as (process, output):
                introduction(output)
                process.send_signal(signal.SIGTERM)
                rest = output.read()
                self.assertEqual(process.wait(PATIENCE), 0, rest)
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        self.assertTrue((folder / "edgegw.yaml").exists())

    def test_directory_of_something_else(self) -> None:
        """A directory with other things in it is left alone."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir(mode=0o755)
        (folder / "server-key.pem").write_text("precious")
        with running(*demo_arguments(self.ports), "--dir", str(folder)) as (process, output):
            said = output.read()
            self.assertEqual(process.wait(PATIENCE), 1)
        self.assertEqual(said.splitlines(), [f"edgegw demo: {folder} is not empty; name a new directory"])
        self.assertEqual((folder / "server-key.pem").read_text(), "precious")
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o755)

    def test_busy_port(self) -> None:
        """A port that is taken is one clear line and status 1."""
        taken = socket.create_server(("127.0.0.1", self.ports.fallback))
        self.addCleanup(taken.close)
        with running(*demo_arguments(self.ports)) as (process, output):
            said = output.read()
            self.assertEqual(process.wait(PATIENCE), 1)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn(f"cannot listen on 127.0.0.1 port {self.ports.fallback}", said)
