"""A small HTTP/1.1 server in a process of its own, for tests that kill, stop and restart it.

``python -m tests.upstream_process PORT NAME`` says ``ready`` and the port once it listens.  ``/slow`` is answered after
200 ms, everything else after 2 ms, with the name.  ``/big`` is 256 KiB, and ``/hang`` is not answered at all.
"""
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["UpstreamProcess"]

_BIG = b"big upstream body " * 14_563


async def _talk(name: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" /hang" in head:
                await reader.read()
                break
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
            if length:
                await reader.readexactly(int(length))
            await asyncio.sleep(0.2 if b" /slow" in head else 0.002)
            body = _BIG if b" /big" in head else name
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def _serve(port: int, name: bytes) -> None:
    server = await asyncio.start_server(
        lambda *ends: _talk(name, *ends), "127.0.0.1", port, reuse_address=True, limit=1 << 20
    )
    print("ready", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class UpstreamProcess:
    """One server; its port stays the same however often it is started."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens; blocks."""
        command = [sys.executable, "-m", "tests.upstream_process", str(self.port), self.name]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
        assert self._process.stdout is not None
        word, port = self._process.stdout.readline().split()
        assert word == b"ready"
        self.port = int(port)
        self.starts += 1

    def kill(self) -> None:
        """End it at once; it is gone when this returns."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def pause(self) -> None:
        """Let it do nothing any more, with its port and its connections open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        """Let it work again."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2].encode()))
