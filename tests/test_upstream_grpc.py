"""A gRPC server as upstream: what gRPC needs of HTTP/2 comes through."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from twisted.trial.unittest import TestCase

from edgegw.model import Endpoint, HTTPVersion, Upstream

from .gateway import gateway, http_listener, in_thread, start_gateway
from .raw_client import Response, connect


def message(data: bytes) -> bytes:
    """Give a message as it stands in a body."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def messages(body: bytes) -> list[bytes]:
    """Take a body apart."""
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return found


class _Methods(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """One method of each kind."""

    def service(self, handler_call_details: Any) -> Any:
        """See grpcio."""
        return {
            "/x.S/Unary": grpc.unary_unary_rpc_method_handler(lambda one, context: one[::-1]),
            "/x.S/Collect": grpc.stream_unary_rpc_method_handler(lambda all_, context: b",".join(all_)),
            "/x.S/Spread": grpc.unary_stream_rpc_method_handler(
                lambda one, context: (one[at : at + 1] for at in range(len(one)))
            ),
            "/x.S/Both": grpc.stream_stream_rpc_method_handler(self._both),
            "/x.S/Remaining": grpc.unary_unary_rpc_method_handler(
                lambda one, context: b"%d" % (context.time_remaining() or 0)
            ),
            "/x.S/Fail": grpc.unary_unary_rpc_method_handler(self._fail),
        }.get(handler_call_details.method)

    @staticmethod
    def _both(all_: Iterator[bytes], context: Any) -> Iterator[bytes]:
        context.set_trailing_metadata((("x-sum", "7"),))
        for one in all_:
            yield one.upper()

    @staticmethod
    def _fail(one: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b""


class GRPCTests(TestCase):
    """A client that frames gRPC's messages in HTTP/1.1 itself, before a server that is gRPC's own."""

    async def setUp(self) -> None:
        server = grpc.server(ThreadPoolExecutor(4), handlers=[_Methods()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(lambda: in_thread(lambda: server.stop(0).wait(10)))
        model = Upstream("app", (Endpoint("127.0.0.1", port),), http_version=HTTPVersion.HTTP_2)
        self.running = await start_gateway(self, gateway([http_listener()], model))

    async def call(self, method: bytes, *sent: bytes, lines: bytes = b"") -> tuple[list[bytes], dict[bytes, bytes]]:
        """Call a method; gives the messages, and the trailers with the head's fields."""
        client = await connect(self, self.running.address())
        client.send(
            b"POST /x.S/%b HTTP/1.1\r\nhost: a.example\r\ncontent-type: application/grpc\r\nte: trailers\r\n"
            b"%btransfer-encoding: chunked\r\n\r\n" % (method, lines)
        )
        for one in sent:
            wire = message(one)
            client.send(b"%x\r\n%b\r\n" % (len(wire), wire))
        client.send(b"0\r\n\r\n")
        response: Response = await client.response()
        self.assertEqual(response.status, 200)
        told = {name: value for name, value, _ in (*response.fields, *response.trailers)}
        return messages(response.body), told

    async def test_kinds(self) -> None:
        """Unary, client-, server- and bidirectional streaming."""
        for method, sent, wanted in (
            (b"Unary", [b"abc"], [b"cba"]),
            (b"Collect", [b"a", b"b", b"c"], [b"a,b,c"]),
            (b"Spread", [b"abc"], [b"a", b"b", b"c"]),
            (b"Both", [b"a", b"bc"], [b"A", b"BC"]),
        ):
            got, told = await self.call(method, *sent)
            self.assertEqual((got, told[b"grpc-status"]), (wanted, b"0"))
        self.assertEqual(told[b"x-sum"], b"7")
        self.assertEqual(self.running.metrics.upstream("app").connects, 1)

    async def test_large(self) -> None:
        """Messages larger than any window."""
        data = b"0123456789" * 200_000
        got, told = await self.call(b"Unary", data)
        self.assertEqual((got, told[b"grpc-status"]), ([data[::-1]], b"0"))

    async def test_status(self) -> None:
        """A status that is no success, with its message; and of a method that there is not."""
        got, told = await self.call(b"Fail", b"x")
        self.assertEqual((got, told[b"grpc-status"], told[b"grpc-message"]), ([], b"5", b"no such thing"))
        got, told = await self.call(b"Nothing", b"x")
        self.assertEqual(told[b"grpc-status"], b"12")

    async def test_deadline(self) -> None:
        """The server learns of the client's deadline, and ends the call when it is over."""
        got, _ = await self.call(b"Remaining", b"x", lines=b"grpc-timeout: 90S\r\n")
        self.assertTrue(80 <= int(got[0]) <= 90, got)
