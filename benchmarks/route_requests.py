"""What a request costs in whole gateways: the CPU time of their processes for kept-alive requests over plain HTTP.

One core is the gateways', which take turns.  On another one this process sends the requests and is the upstream.  It
never sleeps while it measures, or much of what a gateway's process is seen to take would be the waking of who waits.
"""
from __future__ import annotations

import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Gateway", "Load", "Request", "free_port"]

CONNECTIONS = 8
ROUND = 2000
#: Rounds that open connections to upstreams and ask for each of 10,000 hosts once.
WARM_UP = 5
_BODY = b"x" * 120
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 120\r\n\r\n" + _BODY
_ROOT = Path(__file__).resolve().parent.parent

#: Gives host and path of the request of a number.
Request = Callable[[int], tuple[str, str]]


def free_port() -> int:
    """Give a port that nobody uses just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _pin(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


class Gateway:
    """A gateway in a process of its own, and connections to it.

    :param config: a configuration that listens on ``port``.
    """

    def __init__(self, config: Path, port: int) -> None:
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._log = config.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgegw", "run", "--config", str(config)], stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": path}, preexec_fn=lambda: _pin(0),
            )  # fmt: skip
        self.connections = [self._connect(port) for _ in range(CONNECTIONS)]

    def _connect(self, port: int) -> socket.socket:
        deadline = time.monotonic() + 120
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), 10)
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    sys.exit(f"no gateway on port {port}:\n{self._log.read_text(errors='replace')[-3000:]}")
                time.sleep(0.05)
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection

    def cpu(self) -> int:
        """Give the nanoseconds that its threads have been on a core."""
        stats = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Load:
    """Sends requests to gateways, and is their upstream.

    :ivar port: the upstream's.
    """

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._server.getsockname()[1])
        self._selector.register(self._server, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        connection, _ = self._server.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._answer(connection))

    def _answer(self, connection: socket.socket) -> None:
        """Answer requests, none of which has a body, with the same bytes."""
        data = connection.recv(65536)
        if data:
            connection.sendall(_ANSWER * data.count(b"\r\n\r\n"))
        else:
            self._selector.unregister(connection)
            connection.close()

    def cost(self, gateway: Gateway, first: int, request: Request) -> float:
        """Give the microseconds of CPU time that a request takes in a gateway.

        :param first: the number of the first one.
        """
        waiting = []
        for number in range(first, first + ROUND):
            host, path = request(number)
            waiting.append(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: benchmark/1.0\r\nAccept: */*\r\n"
                "Accept-Encoding: gzip, deflate\r\n\r\n".encode()
            )
        clients = [_Client(connection, waiting) for connection in gateway.connections]
        before = gateway.cpu()
        for client in clients:
            self._selector.register(client.connection, selectors.EVENT_READ, client.read)
            client.send()
        while any(client.busy for client in clients):
            for key, _ in self._selector.select(0):
                key.data()
        spent = gateway.cpu() - before
        for client in clients:
            self._selector.unregister(client.connection)
        return spent / ROUND / 1000

    def measure(self, kinds: dict[str, tuple[Gateway, Request]], rounds: int) -> dict[str, tuple[float, float]]:
        """Give by kind the median cost of a request, and the median of its ratio to the first kind's in the same round.

        In each round the kinds take turns in another order, so that none always comes after the same one.

        :param kinds: a gateway and its requests for each.
        """
        _pin(1)
        spent: dict[str, list[float]] = {kind: [] for kind in kinds}
        order = list(kinds)
        for turn in range(WARM_UP + rounds):
            random.shuffle(order)
            for kind in order:
                cost = self.cost(kinds[kind][0], turn * ROUND, kinds[kind][1])
                if turn >= WARM_UP:
                    spent[kind].append(cost)
        base = next(iter(spent.values()))
        return {
            kind: (statistics.median(costs), statistics.median(cost / of for cost, of in zip(costs, base, strict=True)))
            for kind, costs in spent.items()
        }


class _Client:
    """Sends one request after the other on a connection, as long as there are any."""

    def __init__(self, connection: socket.socket, waiting: list[bytes]) -> None:
        self.connection = connection
        self.busy = True
        self._waiting = waiting
        self._received = b""

    def send(self) -> None:
        if self._waiting:
            self.connection.sendall(self._waiting.pop())
        else:
            self.busy = False

    def read(self) -> None:
        more = self.connection.recv(65536)
        data = self._received = self._received + more
        if not more or not data.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"a gateway answered {data[:300]!r}")
        if data.partition(b"\r\n\r\n")[2] == _BODY:
            self._received = b""
            self.send()
