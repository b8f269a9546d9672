"""A port's SNI router: asked with the ClientHello alone, and followed.

Whatever a router does that it should not refuses the connection with ``router_error``: an exception, an answer that is
none, one that comes too late, a listener or an upstream that there is not.
"""
from __future__ import annotations

import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.model import SNIRouterUse
from edgegw.observe.metrics import ListenerMetrics
from edgegw.policy_step import TooLate
from edgegw.proxied import ProxyFacts
from edgegw.sni import ClientHelloFacts, PassThrough, RouterAnswer, ToListener
from edgegw.tcp import Owner, Why
from edgegw.tls.hello import ALERT_DECODE_ERROR, ALERT_INTERNAL_ERROR, ALERT_UNRECOGNIZED_NAME
from edgegw.tls.listener import TLSListener
from edgegw.tls.profile import PortProfile
from edgegw.tls.transport import TLSServer
from edgegw.tls.waiting import time_limit
from edgegw.verdict import Reason, Reject
from edgegw.wire.client_hello import BadClientHello, ClientHello
from edgegw.wire.fingerprints import fingerprints

__all__ = ["Passage", "PassageOwner", "PassesThrough", "PortRouter", "hello_facts"]

#: RFC 8446 §4.2.1, RFC 5246, RFC 4346, RFC 2246, RFC 6101.
_VERSIONS: Final = {0x0304: "TLSv1.3", 0x0303: "TLSv1.2", 0x0302: "TLSv1.1", 0x0301: "TLSv1.0", 0x0300: "SSLv3"}
#: Refusals that no router has decided for.
_FAILURES: Final = frozenset({Reason.ROUTER_ERROR, Reason.INTERNAL_ERROR})

_log = Logger(namespace="edgegw.tls")


def hello_facts(hello: ClientHello) -> ClientHelloFacts:
    """Give a ClientHello as routers are told of it."""
    return ClientHelloFacts(
        hello.server_name,
        tuple([name.decode("latin-1") for name in hello.alpn]),
        tuple([_VERSIONS[version] for version in hello.versions if version in _VERSIONS]),
        cache(partial(fingerprints, hello.message)) if hello.message else None,
    )


class PassageOwner(Owner, Protocol):
    """Who keeps count of a connection that is passed through.

    :ivar transports: has it among its elements while it is open.
    """

    transports: set[Any]


class PassesThrough(Protocol):
    """Passes connections through to one upstream; :class:`edgegw.proxy.tunnels.Tunnels`."""

    def pass_through(
        self,
        sock: Any,
        client: tuple[Any, ...],
        owner: PassageOwner,
        server_name: str | None = None,
        before: Any = None,
        proxied: ProxyFacts | None = None,
    ) -> None:
        """Connect a client's socket with the upstream, from the first byte that it has not given yet."""


class Passage:
    """Keeps count of the connections of a TLS port on which nobody speaks TLS here; provides :class:`PassageOwner`.

    :param metrics: what such connections are counted under; whoever copies their bytes counts those.
    """

    def __init__(self, profile: PortProfile, metrics: ListenerMetrics) -> None:
        self.deadlines = profile.deadlines
        self.transports: set[Any] = profile.transports
        self._profile = profile
        self._metrics = metrics

    def begin(self, transport: TLSServer, way: PassesThrough) -> None:
        """Pass a connection's bytes through, from the first one on.

        :param transport: one that is still in its ``HELLO``; it ends without anybody being told.
        """
        sock = transport.give_away()
        self.transports.discard(transport)
        self._metrics.connections_total += 1
        self._metrics.connections += 1
        way.pass_through(sock, transport.client, self, transport.server_name, transport, transport.proxied)

    def accept(
        self, sock: socket.socket, client: tuple[Any, ...], proxied: ProxyFacts | None, way: PassesThrough
    ) -> None:
        """Pass a connection through that has only been accepted."""
        self._metrics.connections_total += 1
        self._metrics.connections += 1
        way.pass_through(sock, client, self, proxied=proxied)

    def lost(self, transport: Any) -> None:
        """See ``Owner``."""
        self._metrics.connections -= 1
        self._profile.gone(transport)


class PortRouter:
    """The router of one port, in one generation of the configuration; provides ``edgegw.tls.owner.Router``.

    :param listeners: the port's.
    :param tunnels: what passes connections through to an upstream, by the upstream's name.
    :param metrics: what connections that are passed through are counted under.
    :param count_error: called with the name of the kind and ``"route"`` at each failure.
    """

    def __init__(
        self,
        use: SNIRouterUse,
        listeners: Sequence[TLSListener],
        tunnels: Mapping[str, PassesThrough],
        metrics: ListenerMetrics,
        reactor: Any,
        count_error: Callable[[str, str], None],
    ) -> None:
        self._count_error = count_error
        self._label = use.kind.name
        self._name = use.name
        self._route = use.router.route
        self._codes = frozenset({*map(str, Reason), use.kind.name, *use.kind.codes})
        self._listeners = {listener.model.name: listener for listener in listeners}
        self._tunnels = tunnels
        self._metrics = metrics
        self._limit = time_limit(reactor, use.timeout)

    # --- asking -----------------------------------------------------------------------------

    def route(self, hello: ClientHello, address: str) -> RouterAnswer | Deferred[RouterAnswer]:
        """Ask; what comes of it can be followed, and never fails.

        :param address: the client's, as text.
        """
        try:
            answer = self._route(hello_facts(hello), address)
            if not hasattr(answer, "__await__"):
                return self._judged(answer)
            waited: Deferred[Any] = self._limit(answer)
        except BaseException as error:
            return self._error(error)
        return waited.addCallback(self._judged).addErrback(self._failed)

    def _judged(self, answer: Any) -> RouterAnswer:
        """Give an answer that can be followed; one that cannot becomes a refusal."""
        if answer is None:
            return None
        if type(answer) is ToListener:
            if _is_one_of(answer.listener, self._listeners):
                return answer
            return self._fault(f"chose {_bounded(answer.listener)}, which is no listener of the port")
        if type(answer) is PassThrough:
            if _is_one_of(answer.upstream, self._tunnels):
                return answer
            return self._fault(f"chose {_bounded(answer.upstream)}, which is no upstream that has endpoints")
        if type(answer) is not Reject:
            return self._fault(
                f"returned {_bounded(answer)}, which is neither ToListener, PassThrough, Reject nor None"
            )
        if type(answer.detail) is not str or not isinstance(answer.code, str):
            return self._fault("refused with a code or a detail that is no text")
        if answer.code not in self._codes:
            return self._fault(
                f"refused with the code {_bounded(answer.code)}, which it does not declare (codes={{...}}); "
                f"its detail was {_bounded(answer.detail)}"
            )
        return answer

    def _failed(self, failure: Failure) -> Reject:
        assert failure.value is not None
        return self._error(failure.value)

    def _error(self, error: BaseException) -> Reject:
        if isinstance(error, TooLate):
            return self._fault(f"gave {error}")
        if isinstance(error, BadClientHello):
            # Raised by what it was told: the client's fault.
            return Reject(Reason.BAD_CLIENT_HELLO, str(error))
        text = f"{type(error).__name__}: {_bounded(error)}"
        if not isinstance(error, CancelledError):
            # It is cancelled whenever a client leaves.
            self._tell("".join(traceback.format_exception(error)))
        return Reject(Reason.ROUTER_ERROR, f"{self._label}: {text}")

    def _fault(self, problem: str) -> Reject:
        self._tell(problem)
        return Reject(Reason.ROUTER_ERROR, f"{self._label} {problem}")

    def _tell(self, text: str) -> None:
        self._count_error(self._label, "route")
        _log.error(
            "the SNI router {router} of {name} failed, which refuses the connection: {text}",
            router=self._label, name=self._name, text=text,
        )

    # --- following --------------------------------------------------------------------------

    def follow(self, transport: TLSServer, way: RouterAnswer) -> Why:
        """Do what was decided.

        A refusal is told with the alert ``unrecognized_name``, a failure with ``internal_error``, a ClientHello that
        cannot be read with ``decode_error``.
        """
        if isinstance(way, Reject):
            alert = ALERT_INTERNAL_ERROR if way.code in _FAILURES else ALERT_UNRECOGNIZED_NAME
            if way.code == Reason.BAD_CLIENT_HELLO:
                alert = ALERT_DECODE_ERROR
            return transport.refuse(way.code, way.detail, alert)
        profile: PortProfile = transport.owner  # type: ignore[assignment]  # it has this router
        if isinstance(way, PassThrough):
            Passage(profile, self._metrics).begin(transport, self._tunnels[way.upstream])
            return None
        if way is None:
            return profile.lead(transport)
        transport.routed = True
        return self._listeners[way.listener].take(transport)


def _is_one_of(name: Any, names: Mapping[str, Any]) -> bool:
    # A plugin's: it may be anything, also something that cannot be looked up.
    return isinstance(name, str) and name in names


def _bounded(value: object) -> str:
    try:
        return str(value)[:200] if isinstance(value, BaseException) else repr(value)[:200]
    except Exception:
        return f"a {type(value).__name__}"
