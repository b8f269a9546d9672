"""Where an SNI router sends connections."""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from inspect import isawaitable
from typing import Any, Final

from edgegw.interfaces import IEnvironment
from edgegw.sni import ClientHelloFacts, PassThrough, RouterAnswer, ToListener
from edgegw.testing.assertions import is_declared
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.options import configure
from edgegw.testing.waiting import result_of
from edgegw.verdict import Reject

__all__ = ["route", "router_faults"]

_VERSIONS: Final = ("TLSv1.3", "TLSv1.2")
#: ClientHellos that are odd in one thing each: names are in canonical form whatever the client sent.
_ODD: Final = (
    ClientHelloFacts("a.example", ("h2", "http/1.1"), _VERSIONS),
    ClientHelloFacts(None, (), _VERSIONS),
    ClientHelloFacts("localhost"),
    ClientHelloFacts("a." * 120 + "example", ("http/1.1",), _VERSIONS),
    ClientHelloFacts("xn--nxasmq6b.example", ("http/1.1",), _VERSIONS),
    ClientHelloFacts("a.example", tuple("\x00\xff" * number for number in range(1, 60)), ("SSLv3",)),
    ClientHelloFacts("a.example", ("",), ()),
)
_ADDRESSES: Final = ("192.0.2.7", "2001:db8::1", "fe80::1%eth0", "unix:")


def route(
    kind: Any,
    config: Any,
    server_name: str | None,
    *,
    alpn: Sequence[str] = ("http/1.1",),
    tls_versions: Sequence[str] = _VERSIONS,
    address: str = "192.0.2.7",
    ja3: str = "",
    ja4: str = "",
    env: IEnvironment | None = None,
) -> RouterAnswer:
    """Ask an SNI router about a connection; one that is ``async`` is run to its end without a reactor.

    :param kind: a kind of SNI router.
    :param config: its options, as for :func:`edgegw.testing.build`.
    :param server_name: the name that the client asks for, in lower case; ``None`` for none.
    :param ja3: the fingerprint that it is told when it asks, as for ``ja4``.
    :raises AssertionError: its answer is none, refuses with a code that it has not declared, or waits for something.
        What it raises comes out as it is.
    """
    made = configure(kind, config, FakeEnvironment() if env is None else env)
    hello = ClientHelloFacts(server_name, tuple(alpn), tuple(tls_versions), lambda: (ja3, ja4))
    asked = made.route(hello, address)
    answer: RouterAnswer = result_of(asked) if isawaitable(asked) else asked
    for fault in _answer_faults(kind, answer):
        raise AssertionError(fault)
    return answer


def _answer_faults(kind: Any, answer: object) -> Iterable[str]:
    if isinstance(answer, Reject):
        if not is_declared(kind, answer.code):
            yield f"refused with {answer.code!r}, which is no reason's code and was not declared: codes={{...}} does"
    elif answer is not None and not isinstance(answer, (ToListener, PassThrough)):
        yield f"answered {answer!r}, which is no ToListener, PassThrough, Reject or None: that refuses everybody"


async def router_faults(kind: Any, made: Any, env: IEnvironment) -> AsyncIterator[str]:
    """Give what is wrong with what a configured router says of odd clients."""
    if not callable(getattr(made, "route", None)):
        yield f"makes a {type(made).__name__}, which has no method route(self, hello, address)"
        return
    told: set[str] = set()
    for hello in _ODD:
        for address in _ADDRESSES:
            async for fault in _faults(kind, made, hello, address):
                if fault not in told:
                    told.add(fault)
                    yield f"{hello.server_name} from {address}: {fault}"


async def _faults(kind: Any, made: Any, hello: ClientHelloFacts, address: str) -> AsyncIterator[str]:
    try:
        asked = made.route(hello, address)
        answer = await asked if isawaitable(asked) else asked
    except Exception as error:
        yield f"raised {type(error).__name__}: {error}"
        return
    for fault in _answer_faults(kind, answer):
        yield fault
