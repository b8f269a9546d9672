"""The commands as processes of their own: ``edgegw`` and ``twistd edgegw``."""
from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has none
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import DatagramProtocol, Factory, ProcessProtocol, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

import edgegw
from edgegw.cli import main
from edgegw.demo.pki import make_pki
from edgegw.proxy import generation
from tests.test_observe_admin import fetch, send

reactor: Any = global_reactor
ROOT = Path(edgegw.__file__).parent.parent
EDGEGW = (sys.executable, "-m", "edgegw", "run")
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "edgegw")

CONFIG = """\
admin: {address: 127.0.0.1, port: 0}
logging: {format: json}
drain_timeout: 1h
listeners:
  - {name: plain, address: 127.0.0.1, port: 0, protocol: HTTP}
upstreams:
  - {name: slow, endpoints: ["127.0.0.1:%d"]}
routes:
  - {name: all, rules: [{backends: [{upstream: slow}]}]}
"""


class Daemon(ProcessProtocol):
    """A gateway in a process of its own, whose log is read as it comes."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.errors = b""
        self.ended: Deferred[int] = Deferred()
        self._rest = b""
        self._waiting: list[tuple[Callable[[dict[str, Any]], bool], Deferred[dict[str, Any]]]] = []

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            record = json.loads(line)
            self.records.append(record)
            for waiting in list(self._waiting):
                if waiting[0](record):
                    self._waiting.remove(waiting)
                    waiting[1].callback(record)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        status = 0 if reason.check(ProcessDone) else reason.value.exitCode  # type: ignore[union-attr]  # ProcessTerminated
        if status is None:
            status = -reason.value.signal  # type: ignore[union-attr]  # ProcessTerminated
        for _, waiting in self._waiting:
            waiting.errback(Failure(AssertionError(f"it ended with {status}: {self.errors.decode()} {self.records}")))
        self._waiting.clear()
        self.ended.callback(status)

    def says(self, text: str) -> Deferred[dict[str, Any]]:
        """Fire with the first record, past or future, whose message has a text in it."""
        said: Deferred[dict[str, Any]] = Deferred()
        for record in self.records:
            if text in record["message"]:
                said.callback(record)
                return said
        self._waiting.append((lambda record: text in record["message"], said))
        return said

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.transport.signalProcess(number)  # type: ignore[union-attr]  # it runs

    async def port(self, what: str) -> int:
        """The port of ``Listening on`` or ``Metrics and health on``."""
        record = await self.says(what)
        return int(record["fields"]["address"].split()[-1])


class Upstream(Protocol):
    """Keeps a request until it is told to answer."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.asked.callback(self)

    def answer(self) -> None:
        """Answer the request."""
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nwaited")  # type: ignore[union-attr]  # it is connected


class DaemonCase(TestCase):
    """Runs a gateway from a file."""

    def setUp(self) -> None:
        factory: Any = Factory.forProtocol(Upstream)
        factory.asked = Deferred()
        self.factory = factory
        upstream = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(upstream.stopListening)
        self.file = Path(self.mktemp())
        self.file.write_text(CONFIG % upstream.getHost().port)

    def spawn(self, command: Sequence[str], *, config: bool = True, **environment: str) -> Daemon:
        """Start a command; what is left of it is killed after the test."""
        daemon = Daemon()
        arguments = [*command, *(["--config", str(self.file.absolute())] if config else [])]
        cwd = self.mktemp()
        os.mkdir(cwd)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "", **environment}
        reactor.spawnProcess(daemon, arguments[0], arguments, environ, cwd)

        def kill() -> Deferred[int] | None:
            if daemon.ended.called:
                return None
            daemon.signal(signal.SIGKILL)
            return daemon.ended

        self.addCleanup(kill)
        return daemon


class EdgegwTests(DaemonCase):
    """``edgegw run``."""

    command: tuple[str, ...] = EDGEGW

    async def test_run(self) -> None:
        """It serves until SIGTERM, and its status is 0 then."""
        daemon = self.spawn(self.command)
        await daemon.says("Ready")
        admin = await daemon.port("Metrics and health")
        self.assertEqual((await fetch(admin, "/readyz")).status, 200)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(daemon.errors, b"")

    async def test_interrupt(self) -> None:
        """SIGINT ends it as well."""
        daemon = self.spawn(self.command)
        await daemon.says("Ready")
        daemon.signal(signal.SIGINT)
        self.assertEqual(await daemon.ended, 0)

    async def test_drain(self) -> None:
        """A request that is in flight at SIGTERM gets its whole answer; a new client gets none."""
        daemon = self.spawn(self.command)
        port = await daemon.port("Listening on")
        answer = Deferred.fromCoroutine(fetch(port, "/"))
        upstream = await self.factory.asked
        daemon.signal(signal.SIGTERM)
        await daemon.says("Stopping")
        admin = await daemon.port("Metrics and health")
        self.assertEqual((await fetch(admin, "/readyz")).status, 503)
        upstream.answer()
        received = await answer
        self.assertEqual((received.status, received.body), (200, b"waited"))
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual([record for record in daemon.records if record["level"] != "info"], [])

    async def test_second_signal(self) -> None:
        """A second SIGTERM does not wait for what is in flight."""
        daemon = self.spawn(self.command)
        port = await daemon.port("Listening on")
        answer = Deferred.fromCoroutine(send(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        answer.addErrback(lambda _: None)
        await self.factory.asked
        daemon.signal(signal.SIGTERM)
        await daemon.says("Stopping")
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        await answer

    async def test_reload(self) -> None:
        """SIGHUP takes a good configuration, and a bad one changes nothing."""
        daemon = self.spawn(self.command)
        await daemon.says("Ready")
        admin = await daemon.port("Metrics and health")
        good = self.file.read_text()
        self.file.write_text(good + "unknown: 1\nalso_unknown: 2\n")
        daemon.signal(signal.SIGHUP)
        await daemon.says("The previous configuration stays in use")
        faults = [record["message"] for record in daemon.records if record["message"].startswith("Reload failed: ")]
        self.assertEqual(len(faults), 2)
        self.assertIn(f"{self.file.absolute()}:10:1: ", faults[0])
        self.assertIn(b"edgegw_config_last_reload_successful 0.0", (await fetch(admin, "/metrics")).body)
        self.file.write_text(good.replace("plain", "renamed"))
        daemon.signal(signal.SIGHUP)
        await daemon.says("Reloaded")
        self.assertIn(b"edgegw_config_last_reload_successful 1.0", (await fetch(admin, "/metrics")).body)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)

    async def test_faults(self) -> None:
        """Every fault of the configuration is a line on stderr, and the status is 1."""
        self.file.write_text(self.file.read_text() + "unknown: 1\nalso_unknown: 2\n")
        daemon = self.spawn(self.command)
        self.assertEqual(await daemon.ended, 1)
        lines = daemon.errors.decode().splitlines()
        self.assertEqual(len(lines), 2)
        for number, line in enumerate(lines):
            self.assertTrue(line.startswith(f"{self.file.absolute()}:{10 + number}:1: "), line)

    async def test_port_in_use(self) -> None:
        """An address that is in use is named, and the status is 1."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        self.file.write_text(self.file.read_text().replace("port: 0, protocol", f"port: {port}, protocol"))
        daemon = self.spawn(self.command)
        self.assertEqual(await daemon.ended, 1)
        told = daemon.errors.decode() + "".join(record["message"] for record in daemon.records)
        self.assertIn(f"cannot listen on 127.0.0.1 port {port} (plain): Address already in use", told)
        self.assertNotIn("Traceback", told)

    async def test_systemd(self) -> None:
        """The service manager is told of the start, a reload and the end."""
        name = f"\0edgegw-cli-{os.getpid()}-{id(self):x}"
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(name)
        manager.setblocking(False)
        daemon = self.spawn(self.command, NOTIFY_SOCKET="@" + name[1:])
        await daemon.says("Ready")
        self.assertEqual(manager.recv(4096), b"READY=1\nSTATUS=Listeners: 1, ports: 1")
        daemon.signal(signal.SIGHUP)
        await daemon.says("Reloaded")
        self.assertEqual(manager.recv(4096).split(b"\n")[0], b"RELOADING=1")
        self.assertEqual(manager.recv(4096).split(b"\n")[0], b"READY=1")
        daemon.signal(signal.SIGTERM)
        await daemon.ended
        states = manager.recv(4096).split(b"\n")
        self.assertEqual(states[0], b"STOPPING=1")
        # drain_timeout, and what closing takes
        self.assertEqual(states[1], b"EXTEND_TIMEOUT_USEC=3605000000")

    async def test_log_nobody_reads(self) -> None:
        """It goes on when its log's reader is gone."""
        daemon = self.spawn(self.command)
        await daemon.says("Ready")
        admin = await daemon.port("Metrics and health")
        daemon.transport.closeStdout()  # type: ignore[union-attr]  # it runs
        daemon.signal(signal.SIGHUP)
        dropped = None
        while not dropped:
            body = (await fetch(admin, "/metrics")).body.decode()
            dropped = re.search(r"edgegw_log_lines_dropped_total [1-9]", body)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)


class TwistdTests(EdgegwTests):
    """``twistd -n edgegw`` does the same."""

    command = TWISTD

    async def test_own_log(self) -> None:
        """Where twistd is told to log, it logs, and not to stdout."""
        daemon = self.spawn((*TWISTD[:-1], "--logfile=twistd.log", "edgegw"), NOTIFY_SOCKET=self.manager())
        await self.ready
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(daemon.records, [])

    def manager(self) -> str:
        """The address of a service manager that fires :attr:`ready` at the first notification."""
        self.ready: Deferred[None] = Deferred()
        name = f"edgegw-manager-{os.getpid()}-{id(self):x}"
        port = reactor.listenUNIXDatagram("\0" + name, _Manager(self.ready))
        self.addCleanup(port.stopListening)
        return "@" + name


class _Manager(DatagramProtocol):
    def __init__(self, notified: Deferred[None]) -> None:
        self.notified = notified

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self.notified.called:
            self.notified.callback(None)


class MainTests(SynchronousTestCase):
    """The commands that only print."""

    def run_main(self, *arguments: str) -> tuple[int, str, str]:
        """Status, stdout and stderr of a command."""
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            try:
                status = main(arguments)
            except SystemExit as ended:
                status = int(ended.code or 0)
        return status, output.getvalue(), errors.getvalue()

    def write(self, text: str) -> str:
        """Write a configuration."""
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)

    def test_check(self) -> None:
        """A good configuration is described, and the status is 0."""
        status, output, errors = self.run_main("check", self.write(CONFIG % 8000))
        self.assertEqual((status, errors), (0, ""))
        for name in ("plain", "slow", "127.0.0.1:8000", "all"):
            self.assertIn(name, output)

    def test_check_faults(self) -> None:
        """A bad one is not: its faults are on stderr, and the status is 1."""
        path = self.write(CONFIG % 8000 + "unknown: 1\n")
        status, output, errors = self.run_main("check", path)
        self.assertEqual((status, output), (1, ""))
        self.assertTrue(errors.startswith(f"{path}:10:1: "), errors)
        self.assertEqual(self.run_main("check", path + "-not-there")[0], 1)

    def test_check_what_would_not_start(self) -> None:
        """What is refused only when the gateway is built is refused by ``check`` as well."""

        def refuse(settings: object) -> None:
            raise ValueError("no such thing here")

        self.patch(generation, "build_injectors", refuse)
        path = self.write(CONFIG % 8000)
        self.assertEqual(self.run_main("check", path), (1, "", f"{path}:1:1: no such thing here\n"))

    def test_encoding(self) -> None:
        """What is printed is UTF-8 whatever the locale: a good configuration stays one, the schema stays JSON."""
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
        for arguments, text in ((("check", self.write(CONFIG % 8000)), "\u2192 slow"), (("schema",), "\u00a7")):
            command = (sys.executable, "-m", "edgegw", *arguments)
            printed = subprocess.run(command, stdout=subprocess.PIPE, env=environ, check=True).stdout
            self.assertIn(text, printed.decode())

    def test_closed_pipe(self) -> None:
        """Whoever reads the output may leave before its end: nothing is said of it, and the status is what it was."""
        config = Path(self.write(CONFIG % 8000))
        route = "  - {name: more-%d, rules: [{backends: [{upstream: slow}]}]}\n"
        large = config.with_name("large.yaml")
        large.write_text(config.read_text() + "".join(route % number for number in range(2000)))
        plugins = config.with_name("plugins")
        plugins.mkdir()
        (plugins / "broken.py").write_text("raise RuntimeError\n")
        for arguments, status, words in (
            (("check", str(large)), 0, b""), (("schema", "--plugins", str(plugins)), 1, b"broken.py"),
            (("new-plugin", "piped", "--directory", str(config.with_name("new"))), 0, b""), (("--help",), 0, b""),
            (("explain", "--help"), 0, b""), (("check", str(config) + "-not-there"), 1, b"not-there"),
        ):
            reading, writing = os.pipe()
            os.close(reading)
            try:
                ended = subprocess.run(
                    (sys.executable, "-m", "edgegw", *arguments), stdout=writing, stderr=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
                )
            finally:
                os.close(writing)
            self.assertEqual((ended.returncode, arguments), (status, arguments))
            self.assertIn(words, ended.stderr)
            if not words:
                self.assertEqual((ended.stderr, arguments), (b"", arguments))

    def test_standard_descriptors(self) -> None:
        """Started without stdin and stdout, the process gives their numbers to no socket: logs would go there."""
        ask = "import os, sys, edgegw.cli as c; c.main(['version']); sys.stderr.write(str(min(os.pipe()) > 2))"
        shell = ("sh", "-c", 'exec "$@" <&- >&-', "sh")
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run((*shell, sys.executable, "-c", ask), stderr=subprocess.PIPE, env=environ, check=True)
        self.assertEqual(ended.stderr.decode(), "True")

    def test_check_strict(self) -> None:
        """Warnings are told and change nothing, unless they are taken for faults."""
        directory = Path(self.mktemp())
        directory.mkdir()
        make_pki(directory)
        (directory / "server-key.pem").chmod(0o644)
        config = directory / "edgegw.yaml"
        config.write_text(
            "listeners:\n"
            "  - name: web\n"
            "    port: 443\n"
            "    tls: {certificates: [{certificate: server-cert.pem, private_key: server-key.pem}]}\n"
        )
        status, output, errors = self.run_main("check", str(config))
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("warning: ", output)
        status, output, errors = self.run_main("check", "--strict", str(config))
        self.assertEqual((status, output), (1, ""))
        self.assertIn("warning: ", errors)

    def test_schema(self) -> None:
        """The schema is one, and takes what ``check`` takes."""
        status, output, _ = self.run_main("schema")
        self.assertEqual(status, 0)
        Draft202012Validator.check_schema(json.loads(output))

    def test_version(self) -> None:
        """The versions of everything that matters in a report."""
        status, output, _ = self.run_main("version")
        self.assertEqual(status, 0)
        self.assertIn(f"edgegw {edgegw.__version__}\n", output)
        self.assertIn("OpenSSL", output)

    def test_usage(self) -> None:
        """What cannot be understood is status 2."""
        for arguments in (
            (), ("run", "--confg", "x"), ("check",), ("check", "a", "--resolve", "b"), ("version", "--x"), ("serve",),
        ):
            self.assertEqual(self.run_main(*arguments)[0], 2, arguments)

    def test_demo_help(self) -> None:
        """The demonstration has options of its own."""
        status, output, _ = self.run_main("demo", "--help")
        self.assertEqual(status, 0)
        self.assertIn("--dir", output)
