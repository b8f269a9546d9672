"""The gateway as a Twisted service: start, reload, drain.

A start and a reload do the same thing: a new generation of the configuration is built completely
beside what runs, everything that it needs and that is not open yet is opened, and only then does it
take over.  Whatever fails on the way is undone and told, and what ran before runs on.

SIGHUP reloads.  The first SIGTERM or SIGINT stops accepting and lets what is in flight finish, for
``drain_timeout`` seconds at most; the second one ends that at once.
"""
from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from edgegw.config import ConfigError, Loaded
from edgegw.descriptors import allow_most
from edgegw.gateway_api.status_items import StatusItems
from edgegw.http_client import HTTPClient
from edgegw.model import Admin, Gateway
from edgegw.observe.admin import AdminSite, explanation
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.logs import StandardOutputLog
from edgegw.observe.metrics import Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.opening import CannotOpen, OpenPort, close_port, log_failure, names_at, open_ports
from edgegw.proxy.generation import Generation, GenerationError
from edgegw.proxy.policing import explanations_of
from edgegw.signals import Signals
from edgegw.systemd import Notifier
from edgegw.tls.port import ListeningPort, PortKey, cannot_listen_text, port_text
from edgegw.tls.stapling import Stapler
from edgegw.verdict import Explanation
from edgegw.watching import Watch, Watched

__all__ = ["CannotStart", "GatewayService"]

_log = Logger(namespace="edgegw.service")

#: Seconds that the end of a drain may take on top of ``drain_timeout``.
_CLOSING_SECONDS = 5.0
#: Requests at a time about the gateway's own certificates.
_OCSP_REQUESTS = 16

#: Makes a generation; see :class:`~edgegw.proxy.generation.Generation` for what it is called with.
Build = Callable[..., Generation]


class CannotStart(Exception):
    """The configuration cannot be used, or an address cannot be listened on.

    :ivar faults: one line of text each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@frozen(eq=False)
class _Serving:
    """A configuration in use, and what is open for it."""

    gateway: Gateway
    generation: Generation
    ports: Mapping[PortKey, ListeningPort]
    admin: OpenPort | None


class GatewayService(Service):
    """Serves one configuration, and after each reload another.

    :param reactor: provides ``IReactorCore``, ``IReactorTCP``, ``IReactorTime`` and ``IReactorThreads``.
    :param load: reads the configuration; raises :class:`~edgegw.config.ConfigError`.  At a reload it is
        called on another thread.
    :param build: makes a generation of a configuration.
    :param initial: the configuration to start with, if it was read already.
    :param counters: of the plugins that ``load`` builds, to be shown among the metrics.
    :param output: the log whose format and level the configuration sets; ``None`` leaves logging alone.
    :param take_signals: handle SIGHUP, SIGTERM and SIGINT while running.  An application that embeds
        the service and has signals of its own says no, and calls :meth:`reload` and
        :meth:`stopService`.
    :param watched: files and directories after whose changes the configuration is read again; ``load`` notes what it
        reads of them.
    :ivar metrics: this service's metrics, which outlive reloads.
    :ivar handshakes: the last handshakes, which outlive reloads too.
    :ivar ready: whether new connections are taken; what ``/readyz`` tells.
    """

    def __init__(
        self,
        reactor: Any,
        load: Callable[[], Loaded],
        *,
        build: Build = Generation,
        initial: Loaded | None = None,
        counters: PluginCounters | None = None,
        output: StandardOutputLog | None = None,
        notifier: Notifier | None = None,
        take_signals: bool = True,
        watched: Watched | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.ready = False
        self._reactor = reactor
        self._load = load
        self._build = build
        self._initial = initial
        self._output = output
        self._notifier = Notifier() if notifier is None else notifier
        self._take_signals = take_signals
        self.handshakes = HandshakeRecord()
        self._ocsp_client = HTTPClient(reactor, None, _OCSP_REQUESTS)
        self._stapler = Stapler(reactor, self._ocsp_client)
        if counters is not None:
            self.metrics.plugin_families.append(counters.collect)
        self._admin_site = AdminSite(
            reactor, self.metrics.registry, lambda: self.ready, self.handshakes, self._explain, self._upstreams,
            self._shown_statuses,
        )  # fmt: skip
        self._serving: _Serving | None = None
        self._statuses: StatusItems | None = None
        self._faults: list[str] = []
        self._explanations: dict[str, Explanation] = {}
        self._draining: set[Generation] = set()
        self._reloads = DeferredLock()
        self._stopping: Deferred[None] | None = None
        self._terminations = 0
        self._end_drain: Deferred[str] | None = None
        self._signals = Signals(reactor, self._hang_up, self._terminate)
        self._watch = None if watched is None else Watch(reactor, watched, self.reload)
        if output is not None:
            self.metrics.dropped_log_lines = lambda: output.writer.dropped

    def _explain(self, code: str) -> Explanation | None:
        """Say what a reason code means, one of a plugin's in use among them."""
        return explanation(code) or self._explanations.get(code)

    def _upstreams(self) -> Iterable[tuple[str, Callable[[], dict[str, Any]]]]:
        return () if self._serving is None else self._serving.generation.upstreams

    def _shown_statuses(self) -> dict[str, Any] | None:
        return None if self._statuses is None else {"items": self._statuses.items, "faults": self._faults}

    # --- what is open -------------------------------------------------------------------------

    @property
    def ports(self) -> Mapping[PortKey, ListeningPort]:
        """The open ports, by the addresses and ports that were configured; ``getHost()`` tells the real ones."""
        return {} if self._serving is None else self._serving.ports

    @property
    def admin_port(self) -> OpenPort | None:
        """The admin site's port, if there is one."""
        return None if self._serving is None else self._serving.admin

    # --- start --------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Open every port, with the privileges that the process was started with.

        :raises CannotStart: the configuration cannot be used, or a port cannot be opened; nothing is
            left open then.
        """
        self._open()

    def startService(self) -> None:
        """Open every port, unless :meth:`privilegedStartService` did, and serve once the reactor runs.

        :raises CannotStart: as :meth:`privilegedStartService` does.
        """
        self._open()
        super().startService()
        self._reactor.callWhenRunning(self._announce)

    def _open(self) -> None:
        if self._serving is not None:
            return
        allow_most()
        try:
            loaded = self._load() if self._initial is None else self._initial
            self._initial = None
            self._take_over(loaded, self._bring_up(loaded, None))
        except (ConfigError, GenerationError, CannotOpen) as error:
            raise CannotStart(str(error).splitlines()) from error

    def _announce(self) -> None:
        if not self.running or self._serving is None:
            return
        if self._take_signals:
            self._signals.take()
        if self._watch is not None:
            self._watch.startService()
        self.ready = True
        self._notifier.ready(self._summary())
        _log.info("Ready: {summary}", summary=self._summary())

    def _summary(self) -> str:
        assert self._serving is not None
        return f"Listeners: {len(self._serving.gateway.listeners)}, ports: {len(self._serving.ports)}"

    def _bring_up(self, loaded: Loaded, before: _Serving | None) -> _Serving:
        """Build a generation and open what it needs beyond what is open; undo all of it if a part fails.

        :raises GenerationError: as building does.
        :raises CannotOpen: a port cannot be opened, or a listener would lose all of its trust anchors.
        """
        gateway = loaded.gateway
        with ExitStack() as undo:
            if loaded.environments is not None:
                undo.callback(loaded.environments.stop)
            generation = self._build(
                self._reactor, gateway, self.metrics, self.handshakes, loaded.environments, stapler=self._stapler
            )
            undo.callback(generation.stop)
            undo.callback(generation.abort)
            undo.callback(generation.retire)
            lost = generation.untrusting - before.generation.untrusting if before is not None else None
            if lost:
                # A start can only refuse everyone there; a reload has something better to go on with.
                raise CannotOpen(f"no usable trust anchor is left for {', '.join(sorted(lost))}")
            kept = {} if before is None else {k: p for k, p in before.ports.items() if k in generation.port_keys}
            faults: list[str] = []
            opened = open_ports(generation, gateway, kept.keys(), undo, faults)
            admin = None if before is None else before.admin
            if before is None or before.gateway.admin != gateway.admin:
                try:
                    admin = self._listen_admin(gateway.admin)
                except CannotListenError as error:
                    assert gateway.admin is not None
                    faults.append(cannot_listen_text((gateway.admin.address, gateway.admin.port), "admin", error))
                else:
                    undo.callback(close_port, admin)
            if faults:
                raise CannotOpen("\n".join(faults))
            for port in kept.values():
                if before is not None:
                    undo.callback(before.generation.adopt, port)
                generation.adopt(port)
            undo.pop_all()
        return _Serving(gateway, generation, {**kept, **opened}, admin)

    def _listen_admin(self, admin: Admin | None) -> OpenPort | None:
        if admin is None:
            return None
        port: OpenPort = self._reactor.listenTCP(admin.port, self._admin_site, interface=admin.address)
        return port

    def _take_over(self, loaded: Loaded, serving: _Serving) -> None:
        """Make a generation that was brought up the one that serves."""
        before = self._serving
        self._serving = serving
        serving.generation.start()
        self._explanations = explanations_of(serving.gateway)
        self.handshakes.resize(serving.gateway.handshake_record)
        if self._output is not None:
            self._output.use(serving.gateway.logging)
        self.metrics.use_gateway(serving.gateway)
        self._see_statuses(loaded)
        for warning in loaded.warnings:
            # An event with a field called "warning" is one of the warnings module's to Twisted.
            _log.warn("{text}", text=str(warning))
        for key, port in serving.ports.items():
            if before is None or key not in before.ports:
                _log.info("Listening on {address} for {listeners}", address=port_text(port),
                          listeners=names_at(serving.gateway, key))
        if serving.admin is not None and (before is None or before.admin is not serving.admin):
            _log.info("Metrics and health on {address}", address=port_text(serving.admin))

    def _see_statuses(self, loaded: Loaded) -> None:
        self._faults = []
        if loaded.statuses is None:
            self._statuses = None
        else:
            self._statuses = StatusItems() if self._statuses is None else self._statuses
            self._statuses.see(loaded.statuses, datetime.now(UTC))

    # --- reload -------------------------------------------------------------------------------

    def reload(self) -> Deferred[bool]:
        """Read the configuration again and serve it, or go on with the old one and log why not.

        Reloads run one after the other.

        :returns: fires with whether the new configuration is in use; it does not fail.
        """
        return self._reloads.run(lambda: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> bool:
        before = self._serving
        if before is None or not self.running:
            return False
        _log.info("Reloading")
        self._notifier.reloading()
        try:
            loaded = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._load)
            if not self.running:
                if loaded.environments is not None:
                    loaded.environments.stop()
                return False
            after = self._bring_up(loaded, before)
        except (ConfigError, GenerationError, CannotOpen) as error:
            faults = str(error).splitlines()
            for fault in faults:
                _log.error("Reload failed: {fault}", fault=fault)
            self._keep_old(faults)
            return False
        except Exception as error:
            _log.failure("Reload failed, which is a fault of the gateway")
            self._keep_old([repr(error)])
            return False
        self._take_over(loaded, after)
        for key in before.ports.keys() - after.ports.keys():
            _log.info("No longer listening on {address}", address=port_text(before.ports[key]))
            close_port(before.ports[key])
        if before.admin is not after.admin:
            close_port(before.admin)
        before.generation.hand_over(after.generation)
        self._let_drain(before.generation)
        after.generation.replace(self._draining)
        self.metrics.reload_succeeded()
        self._notifier.ready(self._summary())
        _log.info("Reloaded: {summary}", summary=self._summary())
        return True

    def _keep_old(self, faults: list[str]) -> None:
        self._faults = faults
        self.metrics.reload_failed()
        _log.error("The previous configuration stays in use")
        if self.running:
            self._notifier.ready(f"{self._summary()}; the last reload failed: {faults[0]}")

    def _let_drain(self, generation: Generation) -> None:
        """Let a replaced generation finish what it has begun, however long that takes."""

        def idle(_: object) -> None:
            self._draining.discard(generation)
            generation.stop()
            self.metrics.generations_draining = len(self._draining)

        self._draining.add(generation)
        self.metrics.generations_draining = len(self._draining)
        retired = maybeDeferred(generation.retire)
        retired.addCallback(lambda _: generation.when_idle()).addCallback(idle)
        retired.addErrback(log_failure, "A replaced configuration did not end")

    # --- stop ---------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Stop accepting and wait for what is in flight, ``drain_timeout`` seconds at most.

        :returns: fires when everything is closed.
        """
        if self._stopping is None:
            super().stopService()
            if self._watch is not None:
                self._watch.stopService()
            self._stopping = Deferred.fromCoroutine(self._stop()).addErrback(log_failure, "The end was not clean")
        stopped: Deferred[None] = Deferred()

        def pass_on(result: None) -> None:
            stopped.callback(None)

        self._stopping.addCallback(pass_on)
        return stopped

    async def _stop(self) -> None:
        self.ready = False
        serving = self._serving
        if serving is None:
            return
        timeout = serving.gateway.drain_timeout
        self._notifier.stopping("Draining", timeout + _CLOSING_SECONDS)
        generations = [*self._draining, serving.generation]
        closed = [close_port(port) for port in serving.ports.values()]
        serving.generation.retire()
        _log.info("Stopping; connections open: {connections}, drain_timeout: {timeout} s",
                  connections=_connections(generations), timeout=timeout)
        idle = DeferredList([*closed, *(g.when_idle() for g in generations)], consumeErrors=True)
        why = await self._first(idle, 0.0 if self._terminations > 1 else timeout)
        if why:
            _log.warn("Connections cut: {connections}, because {why}", connections=_connections(generations), why=why)
        for generation in generations:
            generation.abort()
            generation.stop()
        self._stapler.stop()
        self._ocsp_client.close()
        if serving.admin is not None:
            await close_port(serving.admin)
        self._signals.give_back()
        self._serving = None
        _log.info("Stopped")

    def _first(self, idle: Deferred[Any], timeout: float) -> Deferred[str]:
        """Fire when nothing is left (``""``), or with why that is waited for no longer."""
        over: Deferred[str] = Deferred()

        def finish(why: str) -> None:
            self._end_drain = None
            if timer.active():
                timer.cancel()
            if not over.called:
                over.callback(why)

        timer = self._reactor.callLater(timeout, finish, f"drain_timeout of {timeout:g} s is over")
        self._end_drain = Deferred()
        self._end_drain.addCallback(finish)
        idle.addCallback(lambda _: finish(""))
        return over

    # --- signals ------------------------------------------------------------------------------

    def _hang_up(self) -> None:
        # One that waits already will read what this one would.
        if not self._reloads.waiting:
            self.reload().addErrback(log_failure, "A reload failed")

    def _terminate(self, number: int) -> None:
        _log.info("Received {name}", name=signal.Signals(number).name)
        self._terminations += 1
        if self._terminations == 1 and self._stopping is None:
            # Twisted's own handler would do the same and note the signal, and twistd would then end
            # by it instead of with status 0.
            try:
                self._reactor.stop()
            except ReactorNotRunning:
                return
        elif self._end_drain is not None:
            self._end_drain.callback("a second signal came")


def _connections(generations: Sequence[Generation]) -> int:
    return sum(generation.connections for generation in generations)
