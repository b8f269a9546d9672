"""A gateway in a process of its own, with plugins of every sort in ``plugins/``, and real clients at its ports."""
from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.gateway import (
    SERVER,
    Authority,
    Finished,
    Issued,
    client_context,
    get,
    in_thread,
    run,
    start_upstream,
    until,
)
from tests.test_cli import EDGEGW, ROOT, Daemon
from tests.test_guide import free_ports
from tests.test_observe_admin import fetch

reactor: Any = global_reactor

#: Ten lines, as the tutorial has them.
TEAM = '''\
from attrs import frozen
from edgegw.api import Accept, Reject, option, policy

@frozen
class Config:
    suffixes: tuple[str, ...] = option("Endings of DNS names.")

@policy("team", Config)
def team(config, peer):
    """Let clients in that have a DNS name with one of some endings."""
    if any(name.endswith(config.suffixes) for name in peer.dns_names):
        return Accept({"team": "ours"})
    return Reject("team", f"no name of {', '.join(peer.dns_names)} is ours")
'''

#: Everything that a policy must not do, each with what the record says of it.
NASTY = '''\
import sys
from twisted.internet.defer import Deferred
from edgegw.api import Accept, policy

@policy("raises")
def raises(peer):
    """Fail."""
    raise RuntimeError("out of order")

@policy("exits")
def exits(peer):
    """End the process."""
    sys.exit(3)

@policy("interrupts")
def interrupts(peer):
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt

@policy("deep")
def deep(peer):
    """Never come back."""
    return deep(peer)

@policy("says_yes")
def says_yes(peer):
    """Give what is no verdict."""
    return True

@policy("exits_later")
async def exits_later(peer):
    """End the process after the handshake."""
    sys.exit(3)

@policy("never")
async def never(peer):
    """Never answer."""
    await Deferred()
    return Accept()
'''
#: Policies that decide in the handshake and fail there, and what the detail of the refusal has in it.
FAIL_AT_ONCE: Mapping[str, str] = {
    "raises": "RuntimeError: out of order", "exits": "SystemExit: 3", "interrupts": "KeyboardInterrupt",
    "deep": "RecursionError", "says_yes": "neither Accept nor Reject",
}  # fmt: skip
#: Those that fail when it is done: the reason, and what its detail has in it.
FAIL_LATER: Mapping[str, tuple[str, str]] = {
    "exits_later": ("policy_error", "SystemExit: 3"),
    "never": ("policy_timeout", "did not decide in time"),
}

#: At the time of its import, from a function.
BROKEN = '''\
def read_table():
    return {}["the table"]

TABLE = read_table()
'''


class ServiceCase(TestCase):
    """A folder with a configuration, certificates and plugins."""

    async def setUp(self) -> None:
        self.root = Authority()
        self.right = self.root.issue("right", dns=["billing.corp.example"])
        self.wrong = self.root.issue("wrong", dns=["mtls.com"])
        self.upstream = start_upstream(self)
        self.folder = Path(self.mktemp()).absolute()
        self.plugins = self.folder / "plugins"
        self.plugins.mkdir(parents=True)
        self.config = self.folder / "edgegw.yaml"
        (self.folder / "ca.pem").write_bytes(self.root.pem)
        self.save("server", self.root.issue("a.example", dns=["a.example"], usages=SERVER))
        self.save("right", self.right)
        self.save("wrong", self.wrong)
        (self.plugins / "team.py").write_text(TEAM)
        self.listeners: list[str] = []

    def save(self, name: str, issued: Issued) -> None:
        """Write a certificate and its key."""
        (self.folder / f"{name}.pem").write_bytes(issued.chain_pem)
        key = self.folder / f"{name}-key.pem"
        key.touch(0o600)
        key.write_bytes(issued.key_pem)

    def write(self, listeners: Sequence[tuple[str, str]], top: str = "", port: int = 0, admin: int = 0) -> None:
        """Write the configuration.

        :param listeners: the name of each, and its client validation beside the CA, as YAML in one line.  Each has a
            loopback address of its own, so that each has a port of its own.
        :param top: more lines at the top.
        """
        self.listeners = [name for name, _ in listeners]
        lines = [
            f"admin: {{address: 127.0.0.1, port: {admin}}}", "logging: {format: json}", *top.splitlines(), "listeners:",
        ]
        for at, (name, validation) in enumerate(listeners, 1):
            rest = f", {validation}" if validation else ""
            lines += [
                f"  - name: {name}", f"    address: 127.0.0.{at}", f"    port: {port}", "    tls:",
                "      certificates: [{certificate: server.pem, private_key: server-key.pem}]",
                f"      client_validation: {{ca_certificates: [ca.pem]{rest}}}",
            ]
        lines += [
            "routes: [{name: all, rules: [{backends: [{upstream: up}]}]}]",
            f'upstreams: [{{name: up, endpoints: ["127.0.0.1:{self.upstream.port}"]}}]',
        ]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self, stdout: int | None = None) -> Daemon:
        """Run ``edgegw run``; what is left of it is killed after the test.

        :param stdout: a descriptor in place of a pipe.
        """
        daemon = Daemon()
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""}
        descriptors = {0: "w", 1: "r" if stdout is None else stdout, 2: "r"}
        reactor.spawnProcess(
            daemon, EDGEGW[0], [*EDGEGW, "--config", str(self.config)], environ, str(self.folder), childFDs=descriptors
        )

        def kill() -> Deferred[int] | None:
            if daemon.ended.called:
                return None
            daemon.signal(signal.SIGKILL)
            return daemon.ended

        self.addCleanup(kill)
        return daemon

    async def found(self, daemon: Daemon) -> None:
        """Wait until it serves, and remember where."""
        await daemon.says("Ready")
        self.admin = await daemon.port("Metrics and health")
        self.ports = {
            record["fields"]["listeners"]: record["fields"]["address"].split()
            for record in daemon.records if record["message"].startswith("Listening on")
        }  # fmt: skip

    def address(self, listener: str) -> tuple[str, int]:
        """Give where a listener is reached."""
        return f"127.0.0.{self.listeners.index(listener) + 1}", int(self.ports[listener][-1])

    async def curl(self, listener: str, client: str | None, *options: str) -> Finished:
        """Ask once, with the certificate of ``right`` or ``wrong``, or none."""
        path = f"{self.folder}/{client}"
        own = () if client is None else ("--cert", f"{path}.pem", "--key", f"{path}-key.pem")
        url = "https://{}:{}/".format(*self.address(listener))
        return await run(
            "curl", "-sSk", "--max-time", "20", "-o", os.devnull, "-w", "%{http_code}", *own, *options, url
        )

    async def comes_in(self, listener: str, client: str | None) -> None:
        """See that a client gets its answer."""
        done = await self.curl(listener, client)
        self.assertEqual((listener, done.exit, done.stdout), (listener, 0, b"200"), done.text)

    async def kept_out(self, listener: str, client: str | None, alert: str = "") -> None:
        """See that a client gets nothing but an alert."""
        done = await self.curl(listener, client)
        self.assertEqual((listener, done.stdout), (listener, b"000"), done.text)
        self.assertNotEqual(done.exit, 0)
        self.assertIn(f"alert {alert}" if alert else "", done.text)

    async def metric(self, name: str, **labels: str) -> float:
        """Give the sum of a metric's samples that have some labels."""
        text = (await fetch(self.admin, "/metrics")).body.decode()
        total = 0.0
        for found, value in re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE):
            if all(f'{label}="{wanted}"' in found for label, wanted in labels.items()):
                total += float(value)
        return total

    async def handshakes(self, **query: str) -> list[dict[str, Any]]:
        """Give what ``/handshakes`` has."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        answer = await fetch(self.admin, f"/handshakes?{text}")
        self.assertEqual(answer.status, 200)
        listed: list[dict[str, Any]] = json.loads(answer.body)["handshakes"]
        return listed

    async def reload(self, daemon: Daemon) -> tuple[bool, list[str]]:
        """Send SIGHUP; gives whether the configuration was taken, and what was logged until then."""
        mark = len(daemon.records)
        daemon.signal(signal.SIGHUP)

        def said() -> list[str]:
            return [record["message"] for record in daemon.records[mark:]]

        ends = ("Reloaded", "The previous configuration stays in use")
        await until(lambda: any(message.startswith(ends) for message in said()))
        return any(message.startswith("Reloaded") for message in said()), said()


class NastyPluginTests(ServiceCase):
    """Plugins that do what they must not."""

    async def test_the_process_survives_all_of_them(self) -> None:
        """Each lets nobody in and is explained everywhere, the others go on, and SIGTERM ends it cleanly."""
        (self.plugins / "nasty.py").write_text(NASTY)
        names = [*FAIL_AT_ONCE, *FAIL_LATER]
        limits = "policies: [{}], policy_timeout: 100ms"
        self.write(
            [
                ("team", "policies: [{team: {suffixes: [.corp.example]}}]"),
                *((name, limits.format(name)) for name in names),
                ("waits", "policies: [{team: {suffixes: [.corp.example]}}, never], policy_timeout: 60s"),
            ],
            "drain_timeout: 300ms",
        )
        daemon = self.start()
        await self.found(daemon)

        for name, text in FAIL_AT_ONCE.items():
            for client in ("right", "wrong"):
                await self.kept_out(name, client, "internal error")
            await self.kept_out(name, None, "certificate required")
            await self.told(name, "policy_error", text, 2)
        for name, (code, text) in FAIL_LATER.items():
            for client in ("right", "wrong"):
                await self.kept_out(name, client)
            await self.kept_out(name, None, "certificate required")
            await self.told(name, code, text, 2)
        await self.comes_in("team", "right")
        await self.kept_out("team", "wrong", "certificate unknown")
        await self.kept_out("team", None, "certificate required")
        await self.told("team", "team", "no name of mtls.com is ours", 1)

        errors = [record["message"] for record in daemon.records if record["level"] == "error"]
        self.assertEqual(len(errors), 2 * len(names), errors)
        for name in names:
            self.assertIn(f"the policy {name} of {name} failed, which refuses the client", "".join(errors))
        self.assertIn("Traceback", "".join(errors))
        # That of an endless recursion, too, which any client can bring about.
        self.assertLess(max(map(len, errors)), 8_200)

        await self.end_while_one_waits(daemon)

    async def told(self, listener: str, code: str, text: str, number: int) -> None:
        """See that a listener's refusals are counted by their reason, and that the record has the rulings."""
        counted = await self.metric("edgegw_tls_handshakes_total", listener=listener, reason=code)
        self.assertEqual((listener, counted), (listener, number))
        counted = await self.metric("edgegw_tls_handshakes_total", listener=listener, reason="no_certificate")
        self.assertEqual((listener, counted), (listener, 1))
        counted = await self.metric("edgegw_policy_verdicts_total", listener=listener, policy=listener, code=code)
        self.assertEqual((listener, counted), (listener, number))
        entries = await self.handshakes(listener=listener, refused="1", reason=code)
        self.assertEqual(len(entries), number)
        for entry in entries:
            self.assertIn(text, entry["detail"])
            (ruling,) = entry["policies"]
            self.assertEqual((ruling["policy"], ruling["verdict"], ruling["code"]), (listener, "reject", code))
            self.assertIn(text, ruling["detail"])
            self.assertIn(entry["certificate"]["subject"], ("CN=right", "CN=wrong"))

    async def end_while_one_waits(self, daemon: Daemon) -> None:
        """Send SIGTERM while a policy has not answered."""
        asked = Deferred.fromCoroutine(self.curl("waits", "right"))
        labels = {"listener": "waits", "policy": "[0].team", "verdict": "accept"}
        while not await self.metric("edgegw_policy_verdicts_total", **labels):
            pass
        mark = len(daemon.records)
        daemon.signal(signal.SIGTERM)
        done = await asked
        self.assertEqual((done.stdout, done.exit == 0), (b"000", False))
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(daemon.errors, b"")
        told = [record["message"] for record in daemon.records[mark:]]
        self.assertIn("Stopped", told)
        self.assertTrue(any(text.startswith("Connections cut: 1, because drain_timeout") for text in told), told)
        self.assertNotIn("Traceback", "".join(told))


class ReloadTests(ServiceCase):
    """What is changed while it runs."""

    async def test_plugins_that_cannot_be_used(self) -> None:
        """A reload that cannot load its plugins changes nothing, and says which file it is and why."""
        team = ("edge", "policies: [{team: {suffixes: [.corp.example]}}]")
        listed = (
            "listed", "policies: [{allow_list: {file: devices.csv, by: common_name}}], recheck_established: true"
        )
        self.devices("right", "wrong")
        self.write([team, listed])
        daemon = self.start()
        await self.found(daemon)
        await self.unchanged()

        broken = self.plugins / "broken.py"
        broken.write_text(BROKEN)
        self.write([("edge", "policies: [table]"), listed])
        taken, said = await self.reload(daemon)
        self.assertFalse(taken)
        faults = "\n".join(said)
        self.assertIn(f"{broken}:4 in <module> > {broken}:2 in read_table > KeyError: 'the table'", faults)
        self.assertRegex(faults, r"edgegw\.yaml:9:\d+: listeners\[0\]\S* there is no policy table, unless ")
        await self.unchanged()
        broken.unlink()

        self.write([team, listed])
        self.plugins.chmod(0o777)
        taken, said = await self.reload(daemon)
        self.assertFalse(taken)
        self.assertIn(f"{self.plugins} may be written by everyone", "\n".join(said))
        await self.unchanged()
        self.assertEqual(await self.metric("edgegw_config_last_reload_successful"), 0)
        self.plugins.chmod(0o755)

        taken, said = await self.reload(daemon)
        self.assertTrue(taken, said)
        await self.unchanged()
        self.assertEqual(await self.metric("edgegw_config_last_reload_successful"), 1)

        await self.follow_a_list()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(daemon.errors, b"")

    async def unchanged(self) -> None:
        """See that the policy in use decides as it did."""
        await self.comes_in("edge", "right")
        await self.kept_out("edge", "wrong", "certificate unknown")

    def devices(self, *names: str) -> None:
        """Put a new list of devices into the place of the old one."""
        new = self.folder / "devices.csv.new"
        new.write_text("\n".join(["common_name", *names]) + "\n")
        new.rename(self.folder / "devices.csv")

    async def follow_a_list(self) -> None:
        """Take a device off the list: its open connection is closed, another's is not."""
        stays, goes = [await in_thread(self.open, client) for client in (self.right, self.wrong)]
        self.addCleanup(stays.close)
        self.addCleanup(goes.close)
        for connection in (stays, goes):
            self.assertTrue((await in_thread(self.ask, connection)).startswith(b"HTTP/1.1 200 "))
        self.devices("right")
        self.assertEqual(await in_thread(self.wait_for_the_end, goes), b"")
        self.assertTrue((await in_thread(self.ask, stays)).startswith(b"HTTP/1.1 200 "))
        await self.comes_in("listed", "right")
        await self.kept_out("listed", "wrong", "certificate unknown")
        self.assertEqual(await self.metric("edgegw_connections_recheck_closed_total", reason="not_listed"), 1)
        (entry,) = await self.handshakes(listener="listed", refused="1")
        self.assertEqual((entry["reason"], entry["certificate"]["subject"]), ("not_listed", "CN=wrong"))
        self.assertEqual((entry["policies"][0]["policy"], entry["policies"][0]["code"]), ("allow_list", "not_listed"))

    def open(self, client: Issued) -> ssl.SSLSocket:
        """Connect; blocks."""
        plain = socket.create_connection(self.address("listed"), 20)
        return client_context(self.root, client).wrap_socket(plain, server_hostname="a.example")

    def ask(self, connection: ssl.SSLSocket) -> bytes:
        """Send a request that does not end the connection, and give what comes; blocks."""
        connection.sendall(get().replace(b"connection: close\r\n", b""))
        return connection.recv(65_536)

    def wait_for_the_end(self, connection: ssl.SSLSocket) -> bytes:
        """Give what comes on a connection that nothing is asked on; empty when it is closed or cut; blocks."""
        try:
            return connection.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return b""


class FullDiskTests(ServiceCase):
    """A log that cannot be written."""

    async def test_everything_else_goes_on(self) -> None:
        """With a full disk behind stdout clients come in and are refused as ever, reloads work, and it ends cleanly."""
        port, self.admin = free_ports(2)
        self.write([("team", "policies: [{team: {suffixes: [.corp.example]}}]")], port=port, admin=self.admin)
        self.ports = {"team": [str(port)]}
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            daemon = self.start(full)
        finally:
            os.close(full)
        await until(lambda: daemon.ended.called or _answers(self.admin))
        await self.comes_in("team", "right")
        await self.kept_out("team", "wrong", "certificate unknown")
        daemon.signal(signal.SIGHUP)
        while not await self.metric("edgegw_config_reloads_total", result="success"):
            pass
        await self.comes_in("team", "right")
        await self.kept_out("team", "wrong", "certificate unknown")
        (first, second) = await self.handshakes(listener="team", refused="1")
        self.assertEqual((first["reason"], second["reason"]), ("team", "team"))
        self.assertGreater(await self.metric("edgegw_log_lines_dropped_total"), 3)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(await daemon.ended, 0)
        self.assertEqual(daemon.errors, b"")


def _answers(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0
