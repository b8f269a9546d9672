"""gRPC's own server and client, by ``grpcio``, with bytes for messages.

::

    service = start_grpc_service(self)
    running = await start_gateway(self, gateway([http_listener()], service.model))
    calls = open_channel(self, running.address())
    got = await in_thread(calls.unary("Echo"), b"hello")
"""
from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from twisted.trial.unittest import TestCase

from edgegw.model import Endpoint, HTTPVersion, Upstream
from tests.gateway import Address, Authority, Issued, in_thread

__all__ = ["Calls", "Service", "failure", "open_channel", "start_grpc_service"]

#: Bytes of a message of ``Flood``, and how many there are.
FLOOD_MESSAGE, FLOOD_MESSAGES = 262_144, 80


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """One method of each kind, and some that do odd things.

    :ivar model: the upstream that it is.
    :ivar metadata: of the last call of ``Metadata``.
    :ivar peers_gone: set when a call of ``Wait`` has ended otherwise than by itself.
    :ivar flooded: messages of ``Flood`` that have been given to gRPC.
    :ivar drunk: messages that ``Drink`` has taken; it goes on while ``thirsty`` is set.
    """

    model: Upstream

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.waiting = threading.Event()
        self.peers_gone = threading.Event()
        self.thirsty = threading.Event()
        self.flooded = self.drunk = 0
        self._methods = {
            "/x.S/Echo": grpc.unary_unary_rpc_method_handler(lambda one, context: one),
            "/x.S/Collect": grpc.stream_unary_rpc_method_handler(lambda all_, context: b",".join(all_)),
            "/x.S/Spread": grpc.unary_stream_rpc_method_handler(
                lambda one, context: (one[at : at + 1] for at in range(len(one)))
            ),
            "/x.S/Both": grpc.stream_stream_rpc_method_handler(lambda all_, context: (one.upper() for one in all_)),
            "/x.S/Metadata": grpc.unary_unary_rpc_method_handler(self._metadata),
            "/x.S/Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "/x.S/FailLate": grpc.unary_stream_rpc_method_handler(self._fail_late),
            "/x.S/Remaining": grpc.unary_unary_rpc_method_handler(
                lambda one, context: b"%d" % (context.time_remaining() or 0)
            ),
            "/x.S/Wait": grpc.unary_stream_rpc_method_handler(self._wait),
            "/x.S/Flood": grpc.unary_stream_rpc_method_handler(self._flood),
            "/x.S/Drink": grpc.stream_unary_rpc_method_handler(self._drink),
        }

    def service(self, handler_call_details: Any) -> Any:
        """See grpcio."""
        return self._methods.get(handler_call_details.method)

    def _metadata(self, one: bytes, context: Any) -> bytes:
        self.metadata = {pair.key: pair.value for pair in context.invocation_metadata()}
        context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\0\xff\n")))
        context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", bytes(range(256)))))
        return one

    @staticmethod
    def _fail(one: bytes, context: Any) -> bytes:
        code = next(code for code in grpc.StatusCode if code.value[0] == int(one))
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05"),))
        context.abort(code, f"no: {code.name}, 100 %, ü\n")
        return b""

    @staticmethod
    def _fail_late(one: bytes, context: Any) -> Iterator[bytes]:
        yield one
        context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    def _wait(self, one: bytes, context: Any) -> Iterator[bytes]:
        over = threading.Event()

        def ended() -> None:
            over.set()
            self.peers_gone.set()

        context.add_callback(ended)
        yield one
        self.waiting.set()
        over.wait(20)

    def _flood(self, one: bytes, context: Any) -> Iterator[bytes]:
        for _ in range(FLOOD_MESSAGES):
            self.flooded += 1
            yield bytes(FLOOD_MESSAGE)

    def _drink(self, all_: Iterator[bytes], context: Any) -> bytes:
        for _ in all_:
            self.drunk += 1
            self.thirsty.wait(20)
        return b"%d" % self.drunk


def start_grpc_service(case: TestCase, credentials: Any = None, **options: Any) -> Service:
    """Serve until the test has ended; ``options`` are the upstream's.

    :param credentials: for TLS.
    """
    service = Service()
    server = grpc.server(ThreadPoolExecutor(8), handlers=[service], options=[("grpc.max_receive_message_length", -1)])
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    case.addCleanup(lambda: in_thread(lambda: server.stop(0).wait(10)))
    service.model = Upstream("app", (Endpoint("127.0.0.1", port),), http_version=HTTPVersion.HTTP_2, **options)
    return service


class Calls:
    """Makes calls, which block: use them in a thread."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def unary(self, method: str) -> Any:
        """Call with one message for one."""
        return self._channel.unary_unary(f"/x.S/{method}")

    def collect(self, method: str) -> Any:
        """Call with many for one."""
        return self._channel.stream_unary(f"/x.S/{method}")

    def spread(self, method: str) -> Any:
        """Call with one for many."""
        return self._channel.unary_stream(f"/x.S/{method}")

    def both(self, method: str) -> Any:
        """Call with many for many."""
        return self._channel.stream_stream(f"/x.S/{method}")


def open_channel(
    case: TestCase, address: Address, trust: Authority | None = None, certificate: Issued | None = None,
    name: str = "a.example",
) -> Calls:
    """Open a connection of its own until the test has ended.

    :param trust: speaks TLS, and trusts this authority; otherwise HTTP/2 by prior knowledge.
    :param name: which is asked for.
    """
    options = [
        ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0), ("grpc.http2.bdp_probe", 0),
    ]
    target = f"{address[0]}:{address[1]}"
    if trust is None:
        channel = grpc.insecure_channel(target, options=[*options, ("grpc.default_authority", name)])
    else:
        own = (None, None) if certificate is None else (certificate.key_pem, certificate.chain_pem)
        credentials = grpc.ssl_channel_credentials(trust.pem, *own)
        channel = grpc.secure_channel(target, credentials, options=[*options, ("grpc.ssl_target_name_override", name)])
    case.addCleanup(lambda: in_thread(channel.close))
    return Calls(channel)


async def failure(call: Any, *args: Any, **options: Any) -> Any:
    """Make a call that fails, whose messages are all read; gives the error.

    :raises AssertionError: it did not fail.
    """

    def make() -> Any:
        try:
            got = call(*args, **{"timeout": 20, **options})
            if not isinstance(got, bytes):
                list(got)
        except grpc.RpcError as error:
            return error
        raise AssertionError(f"it did not fail but gave {got!r}")

    return await in_thread(make)
