"""One configuration, built and ready: TLS contexts, tables, pools.

A generation is built completely beside the one that serves.  When it takes over, the ports' profiles
are swapped; the old generation's connections keep what they were accepted under and are retired.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from edgegw.deadlines import Deadlines
from edgegw.garbage import no_garbage_collection
from edgegw.headers.injection import build_injectors
from edgegw.headers.plugin import PluginInjector
from edgegw.interfaces import IHeaderInjector
from edgegw.model import Gateway, Listener, PortSettings, SNIRouterUse
from edgegw.model import Protocol as ListenerProtocol
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.policy_chain import PolicyChain
from edgegw.proxy.connection import HTTPConnection
from edgegw.proxy.fingerprinting import needs_fingerprints
from edgegw.proxy.handing_over import hand_over
from edgegw.proxy.http2 import HTTP2Connection
from edgegw.proxy.listeners import AnyListener, GenerationError, ListenerBuilder
from edgegw.proxy.passthrough import PassthroughListener, TCPListener
from edgegw.proxy.plaintext import begin_plain
from edgegw.proxy.policing import with_its_policies
from edgegw.proxy.site import Site
from edgegw.proxy.sites import SiteBuilder
from edgegw.tls.context import ContextError
from edgegw.tls.listener import TLSListener
from edgegw.tls.port import ListeningPort, PortKey, listen
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.recheck import Recheck
from edgegw.tls.sources import renewals
from edgegw.tls.stapled import StapledCertificates
from edgegw.tls.stapling import Stapler
from edgegw.tls.transport import TLSServer
from edgegw.tls.turns import HandshakeTurns
from edgegw.tls.verification import Clock, now

__all__ = ["Generation", "GenerationError"]


class Running(Protocol):
    """What the plugins of one configuration use; :class:`edgegw.environment.Environments`."""

    counters: PluginCounters

    def start(self) -> None:
        """The configuration is in use."""

    def stop(self) -> None:
        """It is not any more."""


class Generation:
    """A gateway that is ready to serve.

    :raises GenerationError: OpenSSL does not take a setting or a certificate, or two injectors own one header.
    """

    def __init__(
        self,
        reactor: Any,
        gateway: Gateway,
        metrics: Metrics,
        record: HandshakeRecord | None = None,
        environments: Running | None = None,
        clock: Clock = now,
        stapler: Stapler | None = None,
    ) -> None:
        """
        :param record: takes every handshake; without one each generation has its own.
        :param environments: what its plugins use, to be started and stopped with it.
        :param clock: gives the time to judge certificates by.
        :param stapler: looks after the certificates' OCSP responses, of one generation after the other.
        """
        self._environments = environments
        count_error = (PluginCounters() if environments is None else environments.counters).count_error
        self._count_error = count_error
        self._clock = clock
        self._stapler = stapler
        gateway = self.gateway = evolve(gateway, listeners=tuple(map(with_its_policies, gateway.listeners)))
        self._record = HandshakeRecord() if record is None else record
        self._reactor = reactor
        self._metrics = metrics
        self._deadlines = Deadlines(reactor)
        self._turns = HandshakeTurns(reactor)
        self._waiting: list[Deferred[None]] = []
        self._replaced: tuple[Generation, ...] = ()
        with no_garbage_collection():
            try:
                sites = self._sites = self._build_sites()
            except ContextError as error:
                raise GenerationError(str(error)) from error
            try:
                self._build(sites)
            except BaseException:
                sites.close_upstreams()
                raise

    # --- building ---------------------------------------------------------------------------

    def _build(self, sites: SiteBuilder) -> None:
        gateway, count_error = self.gateway, self._count_error
        routers: dict[PortKey, SNIRouterUse] = {key: use for use in gateway.sni_routers for key in use.bindings}
        try:
            injectors = {one.name: build_injectors(one.header_injection) for one in gateway.listeners}
        except ValueError as error:
            raise GenerationError(str(error)) from error
        every_injector = [one for some in injectors.values() for one in some]
        for injector in every_injector:
            if isinstance(injector, PluginInjector):
                injector.count_error = count_error
        owned = frozenset(name for one in every_injector for name in one.owned)
        sites.never_index(owned)
        settings = {key: ports for ports in gateway.ports for key in ports.bindings}
        builder = self._make_builder(
            self._reactor, gateway, sites, self._metrics, self._record, self._deadlines, self._stapler, self._clock,
            count_error,
        )
        by_port: dict[PortKey, list[AnyListener]] = {}
        for listener in gateway.listeners:
            key = (listener.address, listener.port)
            if listener.protocol in (ListenerProtocol.TLS, ListenerProtocol.TCP):
                by_port.setdefault(key, []).append(builder.build_tunnels(listener))
                continue
            site = sites.build(listener, injectors[listener.name], owned)
            by_name = None
            if key in routers and listener.tls is not None:
                by_name = site if listener.hostname is None else sites.build(
                    evolve(listener, hostname=None), injectors[listener.name], owned
                )
            by_port.setdefault(key, []).append(
                self._build_listener(builder, listener, site, injectors[listener.name], by_name)
            )
        self._listeners = by_port
        self._profiles: dict[PortKey, PortProfile] = {}
        for key, listeners in by_port.items():
            plain = _take_plaintext(listeners, settings.get(key))
            router = None if key not in routers else builder.build_router(routers[key], listeners)
            # Of one kind on one port: the configuration has checked it.
            fingerprints = any(needs_fingerprints(gateway, one.model) for one in listeners)
            profile = PortProfile(
                listeners, self._deadlines, self._turns, self._connection_gone, router,  # type: ignore[arg-type]
                settings.get(key), fingerprints,
            )
            profile.key = key
            self._profiles[key] = profile
            if plain is not None:
                profile.plain = partial(begin_plain, profile, plain)
                profile.look_at_every_hello()
            for one in (*listeners, *([] if plain is None else [plain])):
                if isinstance(one, (PassthroughListener, TCPListener)):
                    one.profile = profile
                elif one.site is not None and one is not plain and profile.tells_names_apart:
                    one.site.profile = profile

        self._by_name = {listener.model.name: listener for listener in self._tls_listeners()}
        self._rechecks = self._build_rechecks()
        self._renewals = renewals(self._reactor, self._profiles.values(), self._metrics, count_error)

    def _build_sites(self) -> SiteBuilder:
        return SiteBuilder(
            self._reactor, self.gateway, self._metrics, self._deadlines, self._count_error, self._clock
        )

    def _make_builder(self, *arguments: Any) -> ListenerBuilder:
        """Make what makes the listeners, of the arguments that :class:`ListenerBuilder` has."""
        return ListenerBuilder(*arguments)

    def _build_listener(
        self,
        builder: ListenerBuilder,
        listener: Listener,
        site: Site,
        injectors: Sequence[IHeaderInjector],
        by_name: Site | None,
    ) -> TLSListener | PlainListener:
        return builder.build(listener, site, injectors, by_name)

    # --- policies -----------------------------------------------------------------------------

    def _build_rechecks(self) -> dict[str, Recheck]:
        """Let each policy that says that something has changed empty its list, and have open connections judged."""
        # One policy may stand in the lists of several listeners: all of them are to hear of it.
        calls: dict[Any, list[Callable[[], None]]] = {}
        for of_rule in self._sites.chains:
            _on_change(of_rule, of_rule.forget, calls)
        rechecks = {}
        for listener in self._tls_listeners():
            chain = listener.verification.policies
            validation = listener.model.tls.client_validation if listener.model.tls is not None else None
            recheck = None
            if validation is not None and validation.recheck_established:
                recheck = Recheck(self._reactor, listener, partial(self._open_on, listener), self._judge_of)
                rechecks[listener.model.name] = recheck
            if chain is not None:
                _on_change(chain, partial(_changed, chain, recheck), calls)
        return rechecks

    def _tls_listeners(self) -> Iterator[TLSListener]:
        for listeners in self._listeners.values():
            for listener in listeners:
                if isinstance(listener, TLSListener):
                    yield listener

    def tls_listener(self, name: str) -> TLSListener:
        """Give a listener by its name.

        :raises KeyError: there is none, or it has no TLS.
        """
        return self._by_name[name]

    def _judge_of(self, transport: TLSServer) -> Any:
        """Give the listener that would have a connection now; ``None`` where there is no such listener any more.

        A name may have gone to another listener of the port, or the listener have another name.
        """
        before = transport.judge
        if not isinstance(before, TLSListener):
            return before
        profile = self._profiles.get(transport.owner.key)  # type: ignore[attr-defined]  # PortProfile
        if transport.owner is profile:
            return before
        same = self._by_name.get(before.model.name)
        if profile is None or not profile.secure or transport.routed:
            return same
        name = transport.server_name if transport.info is None else transport.info.server_name
        return profile.listener_for(name, None if same is None else same.model) or same

    def _open_on(self, listener: TLSListener) -> list[TLSServer]:
        """Give a listener's connections, of this generation and of those that it has replaced.

        Those of which it is not known yet for which listener they are, are among them.
        """
        return [
            transport
            for generation in (self, *self._replaced)
            for profile in generation._profiles.values()
            for transport in profile.transports
            if isinstance(transport, TLSServer) and self._judge_of(transport) in (None, listener)
        ]

    def replace(self, generations: Iterable[Generation]) -> None:
        """Judge the connections of the generations that it replaces, where its listeners want that.

        :param generations: those that still have connections.
        """
        self._replaced = tuple(generations)
        judges = tuple(recheck.judge for recheck in self._rechecks.values())
        for generation in self._replaced:
            for profile in generation._profiles.values():
                # Connections whose PROXY header is still to come begin there.
                profile.when_open = judges
        for recheck in self._rechecks.values():
            recheck.begin()

    # --- serving ----------------------------------------------------------------------------

    def start(self) -> None:
        """Let its plugins begin: it is in use now."""
        if self._environments is not None:
            self._environments.start()
        for upstream in self._sites.upstreams.values():
            upstream.start()
        if self._stapler is not None:
            stapled = StapledCertificates(self._stapler, self._tls_listeners())
            stapled.use()
            for listener in self._tls_listeners():
                listener.renewed = stapled.use

    def stop(self) -> None:
        """Let its plugins end: nobody asks them any more."""
        self._replaced = ()
        self._sites.close()
        if self.connections:
            self._deadlines.stop()
        else:
            # A client may have left whose last words its upstream has not taken yet.
            self._deadlines.run_out()
        for renewal in self._renewals:
            renewal.stop()
        for listener in self._tls_listeners():
            listener.stop()
        if self._environments is not None:
            self._environments.stop()

    @property
    def port_keys(self) -> frozenset[PortKey]:
        """The addresses and ports that it serves."""
        return frozenset(self._profiles)

    @property
    def upstreams(self) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
        """The names of its upstreams in their order, each with what tells of the upstream's endpoints."""
        for name, upstream in sorted(self._sites.upstreams.items()):
            yield name, upstream.describe

    @property
    def untrusting(self) -> frozenset[str]:
        """Names of the listeners that refuse every connection, because no trust anchor of theirs is usable."""
        return frozenset(
            one.name
            for one in self.gateway.listeners
            if one.tls is not None and one.tls.client_validation is not None
            and one.tls.client_validation.refuses_everyone
        )

    def listen(self, key: PortKey) -> ListeningPort:
        """Bind a port now and serve it.

        :raises CannotListenError: it cannot be bound.
        """
        return listen(self._reactor, key, self._profiles[key])

    def adopt(self, port: ListeningPort) -> None:
        """Serve, from the next connection on, a port that a previous generation has opened."""
        port.use(self._profiles[port.key])

    @property
    def connections(self) -> int:
        """Open client connections that belong to it, those in their handshake included."""
        return sum(len(profile.transports) for profile in self._profiles.values())

    # --- ending -----------------------------------------------------------------------------

    def hand_over(self, after: Generation) -> None:
        """Give idle connections to the generation that serves their ports now, where it has the same listeners."""
        for key, profile in self._profiles.items():
            its = after._profiles.get(key)
            if its is None or profile.unmatched is not its.unmatched:
                continue
            if _settings_of(self.gateway, key) == _settings_of(after.gateway, key):
                hand_over(profile, its, after._judge_of)

    def retire(self) -> None:
        """Close idle connections now and the others after the response that they are sending."""
        for renewal in self._renewals:
            renewal.stop()
        for site in self._sites.sites:
            site.retired = True
        for profile in self._profiles.values():
            for transport in tuple(profile.transports):
                if isinstance(transport.protocol, (HTTPConnection, HTTP2Connection)):
                    transport.protocol.retire()
        self._sites.close_upstreams()

    def when_idle(self) -> Deferred[None]:
        """Give a Deferred that fires when no connection is left."""
        if not self.connections:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def abort(self) -> None:
        """Cut what is left."""
        self._sites.close()
        for profile in self._profiles.values():
            for transport in tuple(profile.transports):
                transport.abortConnection()

    def _connection_gone(self) -> None:
        if self._waiting and not self.connections:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)


def _on_change(chain: PolicyChain, call: Callable[[], None], calls: dict[Any, list[Callable[[], None]]]) -> None:
    for environment in chain.environments:
        told = calls.setdefault(environment, [])
        told.append(call)
        environment.on_change = partial(_call_all, told)


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()


def _changed(chain: PolicyChain, recheck: Recheck | None) -> None:
    chain.forget()
    if recheck is not None:
        recheck.begin()


def _take_plaintext(listeners: list[AnyListener], settings: PortSettings | None) -> PlainListener | None:
    """Take the listener out that gets what is not TLS on a TLS port."""
    name = None if settings is None else settings.plaintext_listener
    for listener in listeners:
        if name is not None and listener.model.name == name and isinstance(listener, PlainListener):
            listeners.remove(listener)
            return listener
    return None


def _settings_of(gateway: Gateway, key: PortKey) -> tuple[Any, ...]:
    """Give what holds for a port as a whole: whom its PROXY headers are taken from, its plain text, its SNI router."""
    settings = next((one for one in gateway.ports if key in one.bindings), PortSettings(()))
    routers = [one for one in gateway.sni_routers if key in one.bindings]
    return settings.proxy_protocol, settings.plaintext_listener, routers
