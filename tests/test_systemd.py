"""Notifications as systemd receives them, on a real socket."""
from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import edgegw
from edgegw.model import Gateway
from edgegw.systemd import Notifier

UNIT = Path(edgegw.__file__).parent.parent / "conf" / "edgegw.service"


class NotifierTests(SynchronousTestCase):
    """What arrives at NOTIFY_SOCKET."""

    def receiver(self, address: str) -> socket.socket:
        """A socket such as the service manager has."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        receiver.setblocking(False)
        return receiver

    def test_states(self) -> None:
        """Each state is one datagram in the form of sd_notify(3)."""
        path = f"/tmp/edgegw-{os.getpid()}-{id(self):x}.sock"
        receiver = self.receiver(path)
        self.addCleanup(os.unlink, path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.ready("Serving 2\nlisteners")
        self.assertEqual(receiver.recv(4096), b"READY=1\nSTATUS=Serving 2 listeners")
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.reloading()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        state, monotonic, status = receiver.recv(4096).decode().split("\n")
        self.assertEqual((state, status), ("RELOADING=1", "STATUS=Reloading"))
        self.assertTrue(before <= int(monotonic.removeprefix("MONOTONIC_USEC=")) <= after)
        notifier.stopping("Draining", 30)
        self.assertEqual(receiver.recv(4096), b"STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\nSTATUS=Draining")

    def test_abstract(self) -> None:
        """An address with @ is in the abstract namespace."""
        name = f"edgegw-{os.getpid()}-{id(self):x}"
        receiver = self.receiver("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready("up")
        self.assertEqual(receiver.recv(4096), b"READY=1\nSTATUS=up")

    def test_no_systemd(self) -> None:
        """Without systemd nothing happens."""
        notifier = Notifier({})
        notifier.ready("up")
        notifier.reloading()
        notifier.stopping("down", 1)
        self.assertIsNone(notifier.address)

    def test_nobody_listens(self) -> None:
        """A service manager that is gone does no harm."""
        notifier = Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"})
        notifier.ready("up")
        notifier.ready("up")

    def test_full(self) -> None:
        """Nor does one that reads nothing: no notification waits."""
        name = f"edgegw-full-{os.getpid()}-{id(self):x}"
        self.receiver("\0" + name)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        for _ in range(5000):
            notifier.ready("x" * 1000)

    def test_strange_address(self) -> None:
        """An address of another kind is left alone."""
        self.assertIsNone(Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).address)


class UnitTests(SynchronousTestCase):
    """conf/edgegw.service fits the gateway."""

    def setUp(self) -> None:
        lines = UNIT.read_text("utf-8").splitlines()
        self.settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))

    def test_notifications(self) -> None:
        """It waits for what the gateway sends, and reloads by the signal that it takes."""
        self.assertEqual(self.settings["Type"], "notify")
        self.assertEqual(self.settings["ExecReload"], "/bin/kill -HUP $MAINPID")

    def test_stop(self) -> None:
        """It does not kill a gateway that drains as long as it may by default."""
        self.assertGreater(float(self.settings["TimeoutStopSec"]), Gateway(()).drain_timeout)

    def test_callbacks_work(self) -> None:
        """It does not forbid the memory that OpenSSL's callbacks are made in."""
        self.assertNotIn("MemoryDenyWriteExecute", self.settings)

    def test_own_user(self) -> None:
        """It is not root, and keeps of root's capabilities only the one for low ports."""
        self.assertEqual(self.settings["User"], "edgegw")
        self.assertEqual(self.settings["CapabilityBoundingSet"], "CAP_NET_BIND_SERVICE")
        self.assertEqual(self.settings["NoNewPrivileges"], "yes")
