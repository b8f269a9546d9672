"""The suite's echo servers, all pods in one process: ``python -m tests.conformance.echo FILE``.

The file has a list of pods as JSON: ``name``, ``namespace``, ``deployment``, ``address``, ``mode`` (``http`` or
``tcp_echo``), ``ports`` by what is spoken there, and for TLS ``certificate``, ``private_key`` and maybe ``client_ca``
as PEM.  A line ``ready`` on standard output says that all listen; a line ``NAMESPACE/NAME TARGET`` for each request
that was echoed follows.
"""
from __future__ import annotations

import asyncio
import json
import re
import ssl
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h2.config
import h2.connection
import h2.events
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as WebSocketRequest
from websockets.server import ServerProtocol

Headers = list[tuple[str, str]]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _seconds(text: str) -> float:
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m)", text))


class _Reset(Exception):
    """The connection is to end with RST."""


class Pod:
    """One server.

    :ivar attempts: of ``/retry``, by ``uuid``.
    """

    def __init__(self, pod: Mapping[str, Any]) -> None:
        self.pod = pod
        self.attempts: dict[str, int] = {}
        self.lock = asyncio.Lock()
        self.names: dict[int, str | None] = {}

    # --- answers ------------------------------------------------------------

    async def answer(
        self, method: str, target: str, protocol: str, headers: Headers, body: bytes, tls: Mapping[str, Any] | None
    ) -> tuple[int, Headers, bytes]:
        """Answer one request."""
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query))
        if "delay" in query:
            await asyncio.sleep(_seconds(query["delay"]))
        if parts.path == "/health":
            return 200, [], b"OK"
        if parts.path.startswith("/status/"):
            return int(parts.path.rpartition("/")[2]), [], b""
        if parts.path.startswith("/retry"):
            status = await self._retry(query)
            if status is not None:
                return status, [], b""
        print(f"{self.pod['namespace']}/{self.pod['name']} {target}", flush=True)
        found: dict[str, list[str]] = {}
        for name, value in headers:
            if not name.startswith(":") and name.lower() != "host":
                found.setdefault("-".join(word.capitalize() for word in name.split("-")), []).append(value)
        host = next((value for name, value in headers if name.lower() in ("host", ":authority")), "")
        echoed = {
            "path": target, "host": host, "method": method, "proto": protocol, "headers": found,
            "httpPort": "3000", "namespace": self.pod["namespace"], "ingress": "", "service": "",
            "pod": self.pod["name"],
        }  # fmt: skip
        if tls is not None:
            echoed["tls"] = dict(tls)
        wanted = [("content-type", "application/json"), ("x-content-type-options", "nosniff")]
        for item in ",".join(found.get("X-Echo-Set-Header", [])).split(","):
            name, colon, value = item.partition(":")
            if colon:
                wanted.append((name.strip(), value.strip()))
        return 200, wanted, json.dumps(echoed).encode()

    async def _retry(self, query: Mapping[str, str]) -> int | None:
        async with self.lock:
            uuid = query["uuid"]
            if self.attempts.get(uuid, 0) >= int(query["succeedAfter"]):
                return None
            self.attempts[uuid] = self.attempts.get(uuid, 0) + 1
            if "delayRetry" in query:
                await asyncio.sleep(_seconds(query["delayRetry"]))
            if "responseCode" not in query:
                raise _Reset
            return int(query["responseCode"])

    # --- protocols ----------------------------------------------------------

    def _tls(self, writer: asyncio.StreamWriter) -> dict[str, Any] | None:
        tls = writer.get_extra_info("ssl_object")
        if tls is None:
            return None
        der = tls.getpeercert(True)
        return {
            "version": tls.version(), "serverName": self.names.pop(id(tls), None) or "",
            "negotiatedProtocol": tls.selected_alpn_protocol() or "", "cipherSuite": tls.cipher()[0],
            "peerCertificates": [ssl.DER_cert_to_PEM_cert(der)] if der else [],
        }  # fmt: skip

    async def https(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak the version of HTTP that was agreed upon."""
        protocol = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        await (self.http2 if protocol == "h2" else self.http1)(reader, writer)

    async def http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak HTTP/1.1 and WebSocket."""
        tls = self._tls(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *lines = head[:-4].decode("latin-1").split("\r\n")
                method, target, protocol = line.split(" ")
                headers = [(name, value.strip()) for name, _, value in (one.partition(":") for one in lines)]
                lower = {name.lower(): value for name, value in headers}
                if lower.get("upgrade", "").lower() == "websocket":
                    await self._websocket(head, reader, writer)
                    return
                body = await self._body(lower, reader)
                status, wanted, answer = await self.answer(method, target, protocol, headers, body, tls)
                text = "".join(f"{name}: {value}\r\n" for name, value in wanted)
                writer.write(f"HTTP/1.1 {status} X\r\n{text}content-length: {len(answer)}\r\n\r\n".encode() + answer)
                await writer.drain()
        except _Reset:
            writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _body(self, headers: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        body = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        return body

    async def _websocket(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = ServerProtocol()
        server.receive_data(head)
        while True:
            for event in server.events_received():
                if isinstance(event, WebSocketRequest):
                    server.send_response(server.accept(event))
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    server.send_text(event.data)
                elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                    server.send_binary(event.data)
            for data in server.data_to_send():
                writer.write(data)
            await writer.drain()
            if server.close_expected():
                return
            data = await reader.read(65_536)
            if not data:
                return
            server.receive_data(data)

    async def http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak HTTP/2."""
        tls = self._tls(writer)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        requests: dict[int, tuple[Headers, bytearray]] = {}
        tasks = set()

        async def respond(stream: int, headers: Headers, body: bytes) -> None:
            values = dict(headers)
            try:
                status, wanted, answer = await self.answer(
                    values[":method"], values[":path"], "HTTP/2.0", headers, body, tls
                )
            except _Reset:
                writer.transport.abort()
                return
            connection.send_headers(stream, [(":status", str(status)), *((n.lower(), v) for n, v in wanted)])
            connection.send_data(stream, answer, end_stream=True)
            writer.write(connection.data_to_send())

        try:
            while True:
                writer.write(connection.data_to_send())
                await writer.drain()
                data = await reader.read(65_536)
                if not data:
                    return
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        decoded = [(_text(name), _text(value)) for name, value in event.headers]
                        requests[event.stream_id] = decoded, bytearray()
                    elif isinstance(event, h2.events.DataReceived):
                        requests[event.stream_id][1].extend(event.data)
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        headers, body = requests.pop(event.stream_id)
                        task = asyncio.ensure_future(respond(event.stream_id, headers, bytes(body)))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass
        finally:
            writer.close()

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak the suite's own line protocol."""
        tls = self._tls(writer)
        try:
            writer.write(b"Gateway API Test TCP Server\n")
            while line := await reader.readline():
                command = line.strip()
                if command == b"PING":
                    writer.write(b"PONG\n")
                elif command == b"IS_TLS":
                    writer.write(b"true\n" if tls is not None else b"false\n")
                elif command == b"TEST":
                    told = {"namespace": self.pod["namespace"], "pod": self.pod["name"], "isTLS": tls is not None}
                    if tls is not None:
                        told["tls"] = tls
                    writer.write(json.dumps(told).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def context(self) -> ssl.SSLContext:
        """Make the TLS settings."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.pod["private_key"] + self.pod["certificate"])
            file.flush()
            context.load_cert_chain(file.name)
        if self.pod.get("client_ca"):
            context.load_verify_locations(cadata=self.pod["client_ca"])
            context.verify_mode = ssl.CERT_OPTIONAL

        def note_name(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            self.names[id(tls)] = name

        context.sni_callback = note_name
        if self.pod["mode"] == "http":
            context.set_alpn_protocols(["h2", "http/1.1"])
        return context


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


async def _serve(pods: list[Mapping[str, Any]]) -> None:
    for one in pods:
        pod = Pod(one)
        speak = {"http": pod.http1, "https": pod.https, "h2c": pod.http2, "tcp": pod.tcp, "tls": pod.tcp}
        for spoken, port in one["ports"].items():
            context = pod.context() if spoken in ("https", "tls") else None
            await asyncio.start_server(speak[spoken], one["address"], port, ssl=context)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
