"""What a backend answers."""
from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from inspect import isawaitable
from typing import Any, Final

from attrs import evolve

from edgegw.backend import BackendRequest, BackendResponse, RequestTooLarge, header_fields
from edgegw.interfaces import IEnvironment
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.odd_peers import odd_peers
from edgegw.testing.options import configure
from edgegw.testing.peers import anonymous_peer, peer
from edgegw.testing.waiting import result_of

__all__ = ["answer", "backend_faults"]

#: Clients that it is asked by.
_CLIENTS: Final = 40


class _Unfit(AssertionError):
    """A response cannot be sent."""


def answer(
    kind: Any, config: Any, request: BackendRequest, *, env: IEnvironment | None = None
) -> BackendResponse:
    """Have a backend answer a request, without a reactor; the body of what it gives is ``bytes``.

    ::

        request = BackendRequest("GET", "/", connection=peer(common_name="billing").connection)
        assert answer(whoami, None, request).body == b"CN=billing\\n"

    :param kind: a kind of backend.
    :param config: its options, as for :func:`edgegw.testing.build`.
    :raises AssertionError: it gave nothing that can be sent, or waits for something.  What it raises comes out as it
        is.
    """
    made = configure(kind, config, FakeEnvironment() if env is None else env)
    response: BackendResponse = result_of(_whole(made, request))
    return response


async def _whole(made: Any, request: BackendRequest) -> BackendResponse:
    asked = made.answer(request)
    response: object = await asked if isawaitable(asked) else asked
    for fault in _head_faults(response):
        raise _Unfit(fault)
    assert isinstance(response, BackendResponse)
    body = response.body
    if isinstance(body, AsyncIterable):
        pieces = [piece async for piece in body]
        if not all(isinstance(piece, bytes) for piece in pieces):
            raise _Unfit("the body has pieces that are no bytes")
        body = b"".join(pieces)
    if not isinstance(body, bytes):
        raise _Unfit(f"the body is a {type(body).__name__}, and neither bytes nor what gives them")
    if response.length is not None and response.length != len(body):
        raise _Unfit(f"the body has {len(body)} bytes, and not the {response.length} that were announced")
    return evolve(response, body=body)


def _head_faults(response: object) -> Iterable[str]:
    if not isinstance(response, BackendResponse):
        yield f"answered {response!r}, which is no BackendResponse: that is a 502 for everybody"
        return
    if type(response.status) is not int or not 200 <= response.status <= 599:
        yield f"the status {response.status!r} is none of 200 to 599"
    try:
        header_fields(response.headers)
    except ValueError as error:
        yield str(error)


def _requests() -> Iterable[tuple[str, BackendRequest]]:
    """Give odd requests, each with what is odd about it."""
    usual = peer(dns=["a.example"]).connection

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield bytes(8192)

    for method, target in (
        ("GET", "/"), ("HEAD", "/"), ("OPTIONS", "*"), ("PROPFIND", "/x"), ("GET", "/" + "a" * 8000),
        ("GET", "/%00%ff/..%2f..%2fetc/passwd?x=%0d%0a&x=y&=&&"), ("GET", "//evil.example/\\x?"),
    ):  # fmt: skip
        yield f"{method} {target[:60]}", BackendRequest(method, target, host="a.example", connection=usual)
    yield "no certificate", BackendRequest("GET", "/", connection=anonymous_peer().connection)
    yield "a body", BackendRequest("POST", "/", body=b"\x00\xff" * 500, connection=usual)
    yield "a body of megabytes in pieces", BackendRequest("POST", "/", body=pieces(), connection=usual)
    headers = [("accept", "\xff\x80"), ("accept", ""), ("cookie", "a" * 8000), ("content-type", "}{")]
    yield "odd headers", BackendRequest("POST", "/", headers=headers, body=b"{", connection=usual)
    for what, client in list(odd_peers())[::4][:_CLIENTS]:
        yield what, BackendRequest("GET", "/", connection=client.connection)


async def backend_faults(kind: Any, made: Any, env: IEnvironment) -> AsyncIterator[str]:
    """Give what is wrong with what a configured backend answers to odd requests."""
    if not callable(getattr(made, "answer", None)):
        yield f"makes a {type(made).__name__}, which has no method answer(self, request)"
        return
    told: set[str] = set()
    for what, request in _requests():
        fault = ""
        try:
            await _whole(made, request)
        except RequestTooLarge:
            # The gateway answers 413.
            continue
        except _Unfit as error:
            fault = str(error)
        except Exception as error:
            fault = f"raised {type(error).__name__}: {error}"
        if fault and fault not in told:
            told.add(fault)
            yield f"{what}: {fault}"
