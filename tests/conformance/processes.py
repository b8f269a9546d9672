"""The processes that cases need, on loopback addresses that nobody else has."""
from __future__ import annotations

import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Lock, Thread
from typing import Any

__all__ = ["Backends", "Failed", "Gateway", "Networks", "wait_until"]

#: Seconds that a process may take to start or to read its configuration again.
_PATIENCE = 30.0
_PAUSE = 0.01


class Failed(Exception):
    """A case did not go as it must."""


def wait_until(what: str, fault: Callable[[], str], patience: float = _PATIENCE, pause: float = _PAUSE) -> None:
    """Try until nothing is wrong.

    :raises Failed: something still was after that many seconds.
    """
    deadline = time.monotonic() + patience
    while found := fault():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: {found}")
        time.sleep(pause)


class Networks:
    """Two networks of the loopback interface, for Gateways and for pods.

    Cases name ports; so that several runs can be at work at once, each has addresses of its own, and holds a port of
    them for as long as it lasts.

    :raises OSError: the first port that cases listen on cannot be had at any address, as where only the
        administrator may have it.
    """

    def __init__(self, stack: ExitStack) -> None:
        for number in random.sample(range(16, 250), 20):
            try:
                held = socket.create_server((f"127.{number}.255.254", 80))
            except OSError as error:
                problem = error
                continue
            stack.enter_context(closing(held))
            self._number = number
            return
        raise problem

    @property
    def pool(self) -> str:
        """The addresses of Gateways."""
        return f"127.{self._number}.0.0/17"

    @property
    def usable(self) -> str:
        """An address that a Gateway may name."""
        return f"127.{self._number}.254.1"

    def pod(self, deployment: int, replica: int) -> str:
        """Give the address of a pod."""
        return f"127.{self._number}.{128 + deployment}.{replica}"


def _started(stack: ExitStack, command: Sequence[str], output: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stdout=output, stderr=None if output is subprocess.PIPE else output)

    def end() -> None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


class Backends:
    """Pods, those that are started together in one process.

    :ivar echoed: a line for each request that one has echoed; see :mod:`tests.conformance.echo`.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.echoed: list[str] = []
        self._directory = directory
        self._stack = stack
        self._count = 0

    def start(self, pods: Iterable[Mapping[str, Any]]) -> Callable[[], None]:
        """Start pods; what is given waits until they listen."""
        self._count += 1
        file = self._directory / f"pods-{self._count}.json"
        file.write_text(json.dumps(list(pods)), "utf-8")
        process = _started(self._stack, [sys.executable, "-m", "tests.conformance.echo", str(file)], subprocess.PIPE)
        output = process.stdout
        assert output is not None

        def note() -> None:
            for line in output:
                self.echoed.append(line.decode())

        def wait() -> None:
            if output.readline() != b"ready\n":
                raise Failed("the backends did not start")
            Thread(target=note, daemon=True).start()

        return wait


class Gateway:
    """A gateway in a process of its own, on a directory of manifests.

    :param log: a file that it may write to.
    :param admin: the port of its admin site, as the manifests have it.
    """

    def __init__(self, manifests: Path, log: Path, pool: str, admin: int, stack: ExitStack) -> None:
        self._log = log
        self._stack = stack
        self._admin = http.client.HTTPConnection("127.0.0.1", admin, timeout=10)
        self._lock = Lock()
        stack.callback(self._admin.close)
        self._command = [sys.executable, "-m", "edgegw", "run", "--config", str(manifests), "--address-pool", pool]
        self._start()

    def _start(self) -> None:
        self._process = _started(self._stack, self._command, self._stack.enter_context(self._log.open("wb")))

    def revive(self) -> None:
        """Start it again if it has ended, which only the case is to blame for that brought it about."""
        if self._process.poll() is not None:
            self._start()
            self.wait()

    def wait(self) -> None:
        """Wait until it takes connections."""
        wait_until("the gateway starts", lambda: "" if "Ready: " in self._logged(0) else "it is not ready")

    def _logged(self, since: int) -> str:
        """Give what it has logged after so many bytes."""
        with self._log.open("rb") as file:
            file.seek(since)
            text = file.read().decode("utf-8", "replace")
        if self._process.poll() is not None:
            raise Failed(f"the gateway has ended:\n{text[-3000:]}")
        return text

    def reload(self) -> None:
        """Have it read its manifests again, and wait until they are in use.

        :raises Failed: they cannot be used.
        """
        before = self._log.stat().st_size
        self._process.send_signal(signal.SIGHUP)

        def fault() -> str:
            # What another change has begun before may end meanwhile.
            told = self._logged(before).partition("#info] Reloading\n")[2]
            if "The previous configuration stays in use" in told:
                raise Failed(f"the manifests are refused:\n{told}")
            return "" if "Reloaded: " in told else "it does not read its manifests again"

        wait_until("the gateway reads its manifests", fault)

    def items(self) -> list[dict[str, Any]]:
        """Give what it says of its objects."""
        with self._lock:
            for last in (False, True):
                try:
                    self._admin.request("GET", "/gateway-api/status")
                    answer: dict[str, Any] = json.load(self._admin.getresponse())
                except (OSError, http.client.HTTPException) as error:
                    # A connection that is kept may have ended meanwhile.
                    self._admin.close()
                    if last:
                        raise Failed(f"the gateway does not tell statuses: {error!r}") from error
                else:
                    break
        found: list[dict[str, Any]] = answer["items"]
        return found
