"""A gateway in a process of its own, an attacker in another, and a well-behaved client that goes on meanwhile.

::

    with AttackedGateway(folder) as attacked:
        (result,) = attacked.attack(["rapid_reset"])
        assert not result.failed and result.slowest < 1.0
"""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final

from attrs import frozen

from edgegw.testing import SERVER, Authority
from edgegw.wire.http2 import (
    ClientConnection,
    ConnectionFault,
    DataReceived,
    Event,
    Limits,
    ResponseReceived,
    StreamReset,
)
from tests.http2_attacks import ATTACKS, Outcome
from tests.test_guide import free_ports
from tests.upstream_process import UpstreamProcess

__all__ = ["AttackedGateway", "Result", "report"]

_ROOT: Final = Path(__file__).resolve().parent.parent
_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

#: Requests of the well-behaved client that an attack is judged by.
_FEWEST: Final = 3
#: Time-outs are short, so that tests need not wait; all else is as it is by default.
_CONFIGURATION: Final = """
admin: {{address: 127.0.0.1, port: {admin}}}
http: {{head_timeout: 1s, body_idle_timeout: 1s, write_timeout: 800ms}}
http2: {{ping_interval: 500ms, ping_timeout: 1s}}
upstreams:
  - {{name: app, endpoints: ["127.0.0.1:{upstream}"], response_timeout: 30s}}
routes:
  - {{name: all, rules: [{{backends: [{{upstream: app}}]}}]}}
listeners:
  - {{name: clear, address: 127.0.0.1, port: {clear}, protocol: HTTP}}
  - name: secure
    address: 127.0.0.1
    port: {secure}
    protocol: HTTPS
    tls: {{certificates: [{{certificate: server.pem, private_key: server.key}}]}}
"""


@frozen
class Result:
    """What some attacks, at the same time, came to.

    :ivar outcomes: of each.
    :ivar counted: connections that the gateway says it ended, by reason.
    :ivar requests: of the well-behaved client while it was attacked.
    :ivar failed: those of them that were not answered with 200.
    :ivar middle: seconds of the median one.
    :ivar slowest: seconds.
    :ivar grown: bytes that the gateway's resident memory had more than before, at most.
    :ivar cpu: seconds of the gateway's.
    """

    outcomes: list[Outcome]
    counted: dict[str, int]
    requests: int
    failed: list[str]
    middle: float
    slowest: float
    grown: int
    cpu: float


class Client:
    """An HTTP/2 client that does everything right; one request at a time, or many; blocks."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, 10)
        self._codec = ClientConnection(Limits(), monotonic)
        self._flush()

    def get(self, path: str, count: int = 1, method: bytes = b"GET", body: bytes = b"") -> int:
        """Ask ``count`` times at once; gives how many were answered with 200.

        :raises OSError: the connection has ended.
        """
        fields = (
            (b":method", method), (b":scheme", b"http"), (b":authority", b"localhost"), (b":path", path.encode()),
        )
        waiting = set()
        for _ in range(count):
            stream = self._codec.send_request(fields, not body)
            if body:
                self._codec.send_data(stream, body, True)
            waiting.add(stream)
        self._flush()
        good = 0
        while waiting:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("closed")
            for event in self._codec.receive(data):
                good += self._take(event, waiting)
            self._flush()
        return good

    def _take(self, event: Event, waiting: set[int]) -> bool:
        if isinstance(event, ConnectionFault):
            raise ConnectionError(event.detail)
        if isinstance(event, StreamReset):
            waiting.discard(event.stream)
        elif isinstance(event, DataReceived):
            self._codec.acknowledge(event.stream, event.size)
            if event.ended:
                waiting.discard(event.stream)
        elif isinstance(event, ResponseReceived):
            if event.ended:
                waiting.discard(event.stream)
            return event.head.status == 200
        return False

    def _flush(self) -> None:
        self._socket.sendall(self._codec.take_output())
        self._codec.output_read()

    def close(self) -> None:
        """Leave."""
        self._socket.close()


class _Probe(threading.Thread):
    """Asks again and again: on a connection that it keeps, and every tenth time on a new one."""

    def __init__(self, address: tuple[str, int], pid: int) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._pid = pid
        self._stopped = threading.Event()
        self.ready = threading.Event()
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self.most = 0

    def run(self) -> None:
        client = Client(self._address)
        self.ready.set()
        # What is short is asked for afterwards too: the gateway may still be busy with it.
        while not self._stopped.is_set() or len(self.seconds) < _FEWEST:
            began = monotonic()
            try:
                if len(self.seconds) % 10 == 9:
                    client.close()
                    client = Client(self._address)
                if client.get("/probe") != 1:
                    self.failed.append("no 200")
            except OSError as error:
                self.failed.append(repr(error))
                client = Client(self._address)
            self.seconds.append(monotonic() - began)
            self.most = max(self.most, resident(self._pid))
            self._stopped.wait(0.005)
        client.close()

    def stop(self) -> None:
        """End it."""
        self._stopped.set()
        self.join()


def resident(pid: int) -> int:
    """Give the bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def cpu_seconds(pid: int) -> float:
    """Give the CPU time that a process has used."""
    found = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(found[11]) + int(found[12])) / _TICK


class AttackedGateway:
    """All of it; within ``with``.

    :param folder: where its files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "edgegw.log"
        self._upstream = UpstreamProcess("app")
        self._processes: list[subprocess.Popen[str]] = []
        self.pid = 0

    def __enter__(self) -> AttackedGateway:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self) -> None:
        clear, secure, self._admin = free_ports(3)
        self._address = ("127.0.0.1", clear)
        self._upstream.start()
        issued = Authority().issue("localhost", dns=["localhost"], usages=SERVER)
        (self._folder / "server.pem").write_bytes(issued.chain_pem)
        key = self._folder / "server.key"
        key.write_bytes(issued.key_pem)
        key.chmod(0o600)
        configuration = self._folder / "edgegw.yaml"
        configuration.write_text(_CONFIGURATION.format(
            admin=self._admin, clear=clear, secure=secure, upstream=self._upstream.port
        ))
        with self._log.open("w") as log:
            gateway = self._spawn(log, "edgegw", "run", "--config", str(configuration))
        self._attacker = self._spawn(subprocess.PIPE, "tests.http2_attacks", str(clear), str(secure))
        self.pid = gateway.pid
        deadline = monotonic() + 30
        while True:
            try:
                socket.create_connection(self._address, 5).close()
                break
            except OSError:
                if gateway.poll() is not None or monotonic() > deadline:
                    raise AssertionError("the gateway does not start") from None
                sleep(0.02)
        self._warm_up()

    def _spawn(self, output: Any, *command: str) -> subprocess.Popen[str]:
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=self._folder, env={**os.environ, "PYTHONPATH": path}, text=True,
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT if output != subprocess.PIPE else None,
        )
        self._processes.append(process)
        return process

    @property
    def memory(self) -> int:
        """Bytes of the gateway's resident memory."""
        return resident(self.pid)

    def _warm_up(self) -> None:
        """Let honest clients do what attackers do: many requests at a time, and much in both directions."""
        clients = [Client(self._address) for _ in range(3)]
        for client in clients:
            client.get("/", 100)
            client.get("/", 100, b"POST", b"x" * 60_000)
        for client in clients[:2]:
            client.get("/big", 100)
        for client in clients:
            client.close()

    def _stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self._upstream.kill()

    def attack(self, names: Sequence[str]) -> Result:
        """Attack by all of them at the same time."""
        counted = self._counted()
        memory, cpu = resident(self.pid), cpu_seconds(self.pid)
        probe = _Probe(self._address, self.pid)
        probe.start()
        probe.ready.wait(10)
        assert self._attacker.stdin is not None and self._attacker.stdout is not None
        try:
            self._attacker.stdin.write(" ".join(names) + "\n")
            self._attacker.stdin.flush()
            outcomes = [Outcome(**one) for one in json.loads(self._attacker.stdout.readline())]
        finally:
            probe.stop()
        counts = {reason: count - counted.get(reason, 0) for reason, count in self._counted().items()}
        return Result(
            outcomes,
            {reason: count for reason, count in counts.items() if count},
            len(probe.seconds),
            probe.failed,
            median(probe.seconds),
            max(probe.seconds),
            probe.most - memory,
            cpu_seconds(self.pid) - cpu,
        )

    @property
    def log(self) -> str:
        """What the gateway has logged."""
        return self._log.read_text()

    def _counted(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}/metrics", timeout=10) as answer:
            for text in answer.read().decode().splitlines():
                if text.startswith("edgegw_http2_connections_ended_total{"):
                    reason = text.partition('reason="')[2].partition('"')[0]
                    counted[reason] = counted.get(reason, 0) + int(float(text.rpartition(" ")[2]))
        return counted


def report(names: Sequence[str]) -> None:
    """Print what each attack came to."""
    print(f"{'attack':<34}{'ended by':<30}{'counted as':<24}{'frames':>8}{'seconds':>9}"
          f"{'probes':>8}{'failed':>8}{'median':>9}{'slowest':>9}{'memory':>10}{'CPU':>7}")
    with tempfile.TemporaryDirectory() as folder, AttackedGateway(Path(folder)) as attacked:
        for name in names or ATTACKS:
            result = attacked.attack([name])
            (outcome,) = result.outcomes
            counted = " ".join(f"{reason}*{count}" if count > 1 else reason for reason, count in result.counted.items())
            print(f"{name:<34}{outcome.error:<30}{counted:<24}{outcome.frames:>8}{outcome.seconds:>9.2f}"
                  f"{result.requests:>8}{len(result.failed):>8}{result.middle * 1000:>6.1f} ms"
                  f"{result.slowest * 1000:>6.0f} ms{result.grown / 1024:>6.0f} KiB{result.cpu:>7.2f}", flush=True)
