"""What a header injector tells upstreams of a client, as the gateway has it do so."""
from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

from edgegw.headers.injection import build_injector
from edgegw.headers.plugin import InjectorFailed
from edgegw.headers.value import ValueTooLargeError
from edgegw.interfaces import IEnvironment, IHeaderInjector
from edgegw.model import InjectorUse
from edgegw.peer import Peer
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.odd_peers import odd_peers
from edgegw.testing.options import configure

__all__ = ["inject", "injector_faults"]

#: What clients may send under a name that is an injector's.
_SENT: Final = (
    (), (b"",), (b"admin",), (b"a", b"b"), (b"\xff\x80", b"x" * 4096), (b'By=x;Hash=y;Subject="CN=\\"admin\\""',),
)  # fmt: skip


def inject(
    kind: Any,
    config: Any,
    client: Peer,
    received: Iterable[tuple[str, str]] = (),
    *,
    env: IEnvironment | None = None,
) -> list[tuple[str, str]]:
    """Give the headers that an injector adds to a client's request.

    ::

        client = peer(dns=["billing.corp.example"], attributes={"team": "billing"})
        assert inject(team_header, None, client) == [("x-team", "billing")]

    :param kind: a kind of header injector.
    :param config: its options, as for :func:`edgegw.testing.build`.
    :param client: its ``attributes`` are what policies have said of it.
    :param received: headers that the client sent, by name; those that are not the injector's are not shown to it.
    :returns: names in lower case with their values.
    :raises AssertionError: it gave what may not go to an upstream, or failed: the request would get 500.
    """
    env = FakeEnvironment() if env is None else env
    injector = _as_gateway_has_it(kind, configure(kind, config, env), env)
    sent: dict[bytes, list[bytes]] = {}
    for name, value in received:
        sent.setdefault(name.lower().encode("latin-1"), []).append(value.encode("latin-1"))
    try:
        lines = injector.inject(client.connection, sent if injector.per_request else {})
    except (InjectorFailed, ValueTooLargeError) as error:
        raise AssertionError(str(error)) from error
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]


def _as_gateway_has_it(kind: Any, made: Any, env: IEnvironment) -> IHeaderInjector:
    try:
        return build_injector(InjectorUse(kind, made, env))
    except ValueError as error:
        raise AssertionError(str(error)) from error


async def injector_faults(kind: Any, made: Any, env: IEnvironment) -> AsyncIterator[str]:
    """Give what is wrong with what a configured injector tells of odd clients."""
    try:
        injector = _as_gateway_has_it(kind, made, env)
    except AssertionError as error:
        yield str(error)
        return
    told: set[str] = set()
    for what, client in odd_peers():
        for values in _SENT if injector.per_request else _SENT[:1]:
            received: Mapping[bytes, Sequence[bytes]] = dict.fromkeys(injector.owned, values) if values else {}
            try:
                injector.inject(client.connection, received)
            except ValueTooLargeError:
                # The request is refused, and nothing wrong is said.
                continue
            except InjectorFailed as error:
                if str(error) not in told:
                    told.add(str(error))
                    yield f"{what}: {error}"
