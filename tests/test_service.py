"""Start, reload and drain, with real ports and a generation that only greets its clients."""
from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any

from attrs import asdict, evolve
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import provider

from edgegw.config import ConfigError, Loaded
from edgegw.environment import Environments
from edgegw.model import Admin, Gateway, Listener, Logging, PolicyAny, Route, RouteRule
from edgegw.model import Protocol as ListenerProtocol
from edgegw.observe.logs import LineWriter, StandardOutputLog
from edgegw.observe.metrics import Metrics
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.proxy.generation import GenerationError
from edgegw.proxy.policing import explanations_by
from edgegw.service import CannotStart, GatewayService
from edgegw.systemd import Notifier
from tests.test_observe_admin import fetch
from tests.test_observe_handshakes import REFUSED
from tests.test_tls_policies import later, named, use

reactor: Any = global_reactor


class Greeting(Protocol):
    """One connection of a fake generation: says its name, and is busy until it is told to finish."""

    def __init__(self, generation: FakeGeneration) -> None:
        self.generation = generation

    def connectionMade(self) -> None:
        self.generation.open.add(self)
        self.transport.write(self.generation.name.encode() + b"\n")  # type: ignore[union-attr]  # it is connected

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.generation.open.discard(self)
        self.generation.check_idle()


class FakePort:
    """A listening port that gives its connections to the generation that has it now."""

    def __init__(self, key: tuple[str | None, int], generation: FakeGeneration) -> None:
        self.key = key
        self.generation = generation
        factory = Factory.forProtocol(lambda: Greeting(self.generation))
        factory.noisy = False
        self.port = reactor.listenTCP(key[1], factory, interface=key[0] or "")

    def getHost(self) -> Any:
        return self.port.getHost()

    def stopListening(self) -> Any:
        return self.port.stopListening()


class FakeGeneration:
    """Keeps to the contract of a generation; its connections are busy until :meth:`finish`."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.name = gateway.listeners[0].name
        self.port_keys = frozenset((listener.address, listener.port) for listener in gateway.listeners)
        self.open: set[Greeting] = set()
        self.waiting: list[Deferred[None]] = []
        self.retired = False
        self.aborted = False
        self.plugins = "built"
        self.replaced: list[FakeGeneration] = []
        self.refuse_adoption = False
        self.untrusting: frozenset[str] = frozenset()

    @property
    def connections(self) -> int:
        return len(self.open)

    def listen(self, key: tuple[str | None, int]) -> FakePort:
        return FakePort(key, self)

    def adopt(self, port: FakePort) -> None:
        if self.refuse_adoption:
            raise RuntimeError("a bug")
        port.generation = self

    def start(self) -> None:
        self.plugins = "started"

    def stop(self) -> None:
        self.plugins = "stopped"

    def hand_over(self, after: FakeGeneration) -> None:
        """It is done with what is busy here."""

    def replace(self, generations: Iterable[FakeGeneration]) -> None:
        self.replaced = list(generations)

    def retire(self) -> None:
        self.retired = True

    def when_idle(self) -> Deferred[None]:
        idle: Deferred[None] = Deferred()
        self.waiting.append(idle)
        self.check_idle()
        return idle

    def check_idle(self) -> None:
        if not self.open:
            waiting, self.waiting = self.waiting, []
            for idle in waiting:
                idle.callback(None)

    def finish(self) -> None:
        for greeting in list(self.open):
            greeting.transport.loseConnection()  # type: ignore[union-attr]  # it is connected

    def abort(self) -> None:
        self.aborted = True
        for greeting in list(self.open):
            greeting.transport.abortConnection()  # type: ignore[union-attr]  # it is connected


class Client(Protocol):
    """Reads the greeting, and notices the end of the connection."""

    def __init__(self) -> None:
        self.greeted: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(b"\n"):
            self.greeted.callback(self.received.decode().strip())

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.ended.callback(None)


def gateway(*names: str, **settings: Any) -> Gateway:
    """A gateway with a listener for each ``name`` or ``name@address``, on a port that the system chooses."""
    listeners = []
    for name in names:
        name, _, address = name.partition("@")
        listeners.append(Listener(name, 0, ListenerProtocol.HTTP, address=address or "127.0.0.1"))
    settings.setdefault("admin", Admin(port=0))
    return Gateway(tuple(listeners), **settings)


class FakeReactor:
    """The reactor, except that stopping it only stops the service, as its shutdown would."""

    def __init__(self) -> None:
        self.service: GatewayService | None = None
        self.stopped: Deferred[None] = Deferred()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def stop(self) -> None:
        assert self.service is not None
        self.service.stopService().chainDeferred(self.stopped)


class ServiceCase(TestCase):
    """A service whose configuration is :attr:`loaded`."""

    def setUp(self) -> None:
        self.generations: list[FakeGeneration] = []
        self.spoil: Callable[[FakeGeneration], None] = lambda generation: None
        self.loaded: Loaded | Exception = Loaded(gateway("first"), ())
        self.events: list[LogEvent] = []

        @provider(ILogObserver)
        def observer(event: LogEvent) -> None:
            self.events.append(event)

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        name = f"edgegw-service-{os.getpid()}-{id(self):x}"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind("\0" + name)
        self.manager.setblocking(False)
        self.notifier = Notifier({"NOTIFY_SOCKET": "@" + name})
        self.reactor = FakeReactor()
        self.service = self.make()

    def make(self, **settings: Any) -> GatewayService:
        """Make a service; it is stopped after the test."""
        settings.setdefault("take_signals", False)
        service = GatewayService(
            self.reactor, self.load, build=self.build, notifier=self.notifier, **settings  # type: ignore[arg-type]  # a fake
        )
        self.reactor.service = service

        def stop() -> Deferred[None] | None:
            for generation in self.generations:
                generation.finish()
            return service.stopService() if service.running else None

        self.addCleanup(stop)
        return service

    def load(self) -> Loaded:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded

    def build(
        self, reactor: Any, gateway: Gateway, metrics: Metrics, record: Any = None, environments: Any = None,
        stapler: Any = None,
    ) -> FakeGeneration:
        generation = FakeGeneration(gateway)
        self.spoil(generation)
        self.generations.append(generation)
        return generation

    async def start(self, *names: str, **settings: Any) -> FakeGeneration:
        """Start with a gateway, wait until it is announced, and give its generation."""
        self.loaded = Loaded(gateway(*(names or ("first",)), **settings), ())
        self.service.startService()
        # Trial may call a test before it runs the reactor.
        running: Deferred[None] = Deferred()
        reactor.callWhenRunning(running.callback, None)
        await running
        return self.generations[-1]

    def number(self, address: str = "127.0.0.1") -> int:
        """The port that was chosen for an address."""
        found: int = self.service.ports[(address, 0)].getHost().port
        return found

    async def connect(self, port: int, address: str = "127.0.0.1") -> Client:
        """Connect, and wait for the greeting in ``client.greeted``."""
        client: Client = await connectProtocol(TCP4ClientEndpoint(reactor, address, port), Client())
        return client

    async def greeting(self, port: int, address: str = "127.0.0.1") -> str:
        """Who greets a client that connects now."""
        client = await self.connect(port, address)
        name = await client.greeted
        client.transport.loseConnection()  # type: ignore[union-attr]  # it is connected
        await client.ended
        return name

    async def status(self, path: str) -> int:
        """The admin site's answer."""
        assert self.service.admin_port is not None
        return (await fetch(self.service.admin_port.getHost().port, path)).status

    def notified(self) -> list[str]:
        """States that the service manager was told since it was last asked."""
        states = []
        while True:
            try:
                states.append(self.manager.recv(4096).decode().split("\n")[0])
            except BlockingIOError:
                return states

    def logged(self, level: str) -> list[str]:
        """Messages of a level."""
        return [
            event["log_format"].format(**event) for event in self.events
            if event.get("log_namespace") == "edgegw.service" and event["log_level"].name == level
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """A metric."""
        return self.service.metrics.registry.get_sample_value(name, labels)


class StartTests(ServiceCase):
    """All or nothing."""

    async def test_serves(self) -> None:
        """After the start clients are served and systemd knows."""
        await self.start("first")
        self.assertEqual(await self.greeting(self.number()), "first")
        self.assertEqual(await self.status("/readyz"), 200)
        self.assertEqual(self.notified(), ["READY=1"])
        self.assertEqual(self.value("edgegw_config_objects", kind="listener"), 1)

    async def test_explains_what_plugins_refuse_with(self) -> None:
        """The record says of a refusal with a policy's own name what ``edgegw explain`` says of it."""
        rules = (RouteRule(policies=(PolicyAny((use(named), use(later))),)),)
        await self.start("first", routes=(Route("all", rules=rules),))
        assert self.service.admin_port is not None
        said = explanations_by([named, later])
        for code in ("named", "later"):
            added = evolve(REFUSED, reason=code).add(self.service.handshakes)
            answer = await fetch(self.service.admin_port.getHost().port, f"/handshakes/{added}")
            self.assertEqual(json.loads(answer.body)["explanation"], asdict(said[code]))
        self.assertEqual(said["later"].remedy, "Read what it wants: edgegw plugins later.")

    def test_given_configuration(self) -> None:
        """A configuration that was read already is not read again."""
        self.loaded = AssertionError("it is read")
        service = self.make(initial=Loaded(gateway("first"), ()))
        service.startService()
        self.assertEqual(len(service.ports), 1)

    def test_warnings(self) -> None:
        """The configuration's warnings are in the log."""
        self.loaded = Loaded(gateway("first"), ("edgegw.yaml:3:1: warning: it expires",))  # type: ignore[arg-type]  # text will do
        self.service.startService()
        self.assertEqual(self.logged("warn"), ["edgegw.yaml:3:1: warning: it expires"])

    def test_privileged(self) -> None:
        """Ports are opened while the process has its first privileges, and once."""
        self.service.privilegedStartService()
        ports = dict(self.service.ports)
        self.service.startService()
        self.assertEqual(dict(self.service.ports), ports)
        self.assertEqual(len(self.generations), 1)

    async def test_port_in_use(self) -> None:
        """An address that is in use ends the start, is named with every other such one, and nothing is left open."""
        taken = []
        for address in ("127.0.0.2", "127.0.0.3"):
            listening = socket.create_server((address, 0))
            self.addCleanup(listening.close)
            taken.append(listening.getsockname())
        listeners = (
            Listener("good", 0, ListenerProtocol.HTTP, address="127.0.0.1"),
            *(Listener(f"bad{n}", port, ListenerProtocol.HTTP, address=a) for n, (a, port) in enumerate(taken)),
        )
        self.loaded = Loaded(Gateway(listeners, admin=None), ())
        opened: list[FakePort] = []

        def spoil(generation: FakeGeneration) -> None:
            listen = generation.listen

            def remember(key: tuple[str | None, int]) -> FakePort:
                opened.append(listen(key))
                return opened[-1]

            generation.listen = remember  # type: ignore[method-assign]  # watched

        self.spoil = spoil
        error = self.assertRaises(CannotStart, self.service.startService)
        self.assertEqual(
            error.faults,
            tuple(
                f"cannot listen on {address} port {port} (bad{number}): Address already in use"
                for number, (address, port) in enumerate(taken)
            ),
        )
        self.assertEqual(len(opened), 1)
        with self.assertRaises(Refused):
            await self.connect(opened[0].getHost().port)
        self.assertFalse(self.service.running)
        self.assertEqual(self.notified(), [])
        self.assertTrue(self.generations[0].aborted)

    def test_admin_port_in_use(self) -> None:
        """So does the admin site's."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        self.loaded = Loaded(gateway("first", admin=Admin(port=port)), ())
        error = self.assertRaises(CannotStart, self.service.startService)
        self.assertEqual(error.faults, (f"cannot listen on 127.0.0.1 port {port} (admin): Address already in use",))

    def test_unusable(self) -> None:
        """A configuration from which nothing can be built ends the start with its faults."""

        def spoil(generation: FakeGeneration) -> None:
            raise GenerationError("no such cipher")

        self.spoil = spoil
        error = self.assertRaises(CannotStart, self.service.startService)
        self.assertEqual(error.faults, ("no such cipher",))

    async def test_no_admin(self) -> None:
        """The admin site may be left out."""
        await self.start("first", admin=None)
        self.assertIsNone(self.service.admin_port)


class ReloadTests(ServiceCase):
    """A new configuration beside the old one."""

    async def test_swap(self) -> None:
        """Common ports stay open, new ones open, old ones close, and begun connections finish as they began."""
        first = await self.start("first", "gone@127.0.0.2")
        kept, closed = self.number(), self.number("127.0.0.2")
        old = await self.connect(kept)
        self.assertEqual(await old.greeted, "first")
        self.loaded = Loaded(gateway("second", "new@127.0.0.3"), ())
        self.assertTrue(await self.service.reload())
        self.assertEqual(self.number(), kept)
        self.assertEqual(await self.greeting(kept), "second")
        self.assertEqual(await self.greeting(self.number("127.0.0.3"), "127.0.0.3"), "second")
        with self.assertRaises(Refused):
            await self.connect(closed, "127.0.0.2")
        self.assertTrue(first.retired)
        self.assertEqual((first.connections, first.aborted), (1, False))
        self.assertEqual(self.value("edgegw_config_generations_draining"), 1)
        first.finish()
        await old.ended
        self.assertEqual(self.value("edgegw_config_generations_draining"), 0)
        self.assertEqual(self.notified(), ["READY=1", "RELOADING=1", "READY=1"])
        self.assertEqual(self.value("edgegw_config_reloads_total", result="success"), 1)

    async def assert_old_one_goes_on(self, *faults: str) -> None:
        """The reload fails for these reasons, which are told, and the first configuration serves as before."""
        before = dict(self.service.ports)
        self.assertFalse(await self.service.reload())
        self.assertEqual(dict(self.service.ports), before)
        self.assertEqual(await self.greeting(self.number()), "first")
        self.assertFalse(self.generations[0].retired)
        self.assertEqual(
            self.logged("error"),
            [*(f"Reload failed: {fault}" for fault in faults), "The previous configuration stays in use"],
        )
        self.assertEqual(self.value("edgegw_config_last_reload_successful"), 0)
        self.assertEqual(self.value("edgegw_config_reloads_total", result="failure"), 1)
        self.assertEqual(self.notified(), ["READY=1", "RELOADING=1", "READY=1"])
        self.assertEqual(await self.status("/readyz"), 200)

    async def test_faulty_configuration(self) -> None:
        """A configuration with faults changes nothing, and each fault is told."""
        await self.start()
        self.loaded = ConfigError(["edgegw.yaml:1:1: one", "edgegw.yaml:2:1: two"])  # type: ignore[list-item]  # text will do
        await self.assert_old_one_goes_on("edgegw.yaml:1:1: one", "edgegw.yaml:2:1: two")

    async def test_nothing_can_be_built(self) -> None:
        """Nor does one from which nothing can be built."""
        await self.start()

        def spoil(generation: FakeGeneration) -> None:
            raise GenerationError("no such cipher")

        self.spoil = spoil
        await self.assert_old_one_goes_on("no such cipher")

    async def test_trust_is_lost(self) -> None:
        """Nor does one in which a listener has lost its last usable trust anchor, and would refuse everyone."""
        await self.start()

        def spoil(generation: FakeGeneration) -> None:
            generation.untrusting = frozenset({"first"})

        self.spoil = spoil
        await self.assert_old_one_goes_on("no usable trust anchor is left for first")

    async def test_port_in_use(self) -> None:
        """Nor does one whose address is in use; the other new ports are closed again."""
        listening = socket.create_server(("127.0.0.9", 0))
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        await self.start()
        good = gateway("second", "new@127.0.0.3")
        bad = Listener("bad", port, ListenerProtocol.HTTP, address="127.0.0.9")
        self.loaded = Loaded(Gateway((*good.listeners, bad), admin=good.admin), ())
        await self.assert_old_one_goes_on(f"cannot listen on 127.0.0.9 port {port} (bad): Address already in use")
        self.assertTrue(self.generations[1].retired and self.generations[1].aborted)

    async def test_admin_port_in_use(self) -> None:
        """Nor does one whose admin address is in use."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        port = listening.getsockname()[1]
        await self.start()
        self.loaded = Loaded(gateway("second", admin=Admin(port=port)), ())
        await self.assert_old_one_goes_on(f"cannot listen on 127.0.0.1 port {port} (admin): Address already in use")

    async def test_bug(self) -> None:
        """An exception that nobody foresaw changes nothing either, whichever port it came at."""
        await self.start("first", "other@127.0.0.2")
        self.loaded = Loaded(gateway("second", "other@127.0.0.2", "new@127.0.0.3"), ())

        def spoil(generation: FakeGeneration) -> None:
            adopt = generation.adopt

            def once(port: FakePort) -> None:
                adopt(port)
                generation.refuse_adoption = True

            generation.adopt = once  # type: ignore[method-assign]  # breaks at the second port

        self.spoil = spoil
        await self.assert_old_one_goes_on()
        self.assertEqual(await self.greeting(self.number("127.0.0.2"), "127.0.0.2"), "first")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_listening_bug(self) -> None:
        """Nor does one that comes while a port is opened."""
        await self.start()
        self.loaded = Loaded(gateway("second", "a@127.0.0.2"), ())

        def spoil(generation: FakeGeneration) -> None:
            def listen(key: object) -> FakePort:
                raise OverflowError("port must be 0-65535")

            generation.listen = listen  # type: ignore[method-assign]  # broken

        self.spoil = spoil
        await self.assert_old_one_goes_on()
        self.assertEqual(len(self.flushLoggedErrors(OverflowError)), 1)

    async def test_recovers(self) -> None:
        """After a failed reload the next one may succeed."""
        await self.start()
        self.loaded = ConfigError(["bad"])  # type: ignore[list-item]  # text will do
        self.assertFalse(await self.service.reload())
        self.loaded = Loaded(gateway("second"), ())
        self.assertTrue(await self.service.reload())
        self.assertEqual(await self.greeting(self.number()), "second")
        self.assertEqual(self.value("edgegw_config_last_reload_successful"), 1)

    async def test_admin_moves(self) -> None:
        """The admin site moves to its new address and is gone from the old one."""
        await self.start()
        before = self.service.admin_port
        assert before is not None
        self.loaded = Loaded(gateway("second", admin=Admin("127.0.0.2", 0)), ())
        await self.service.reload()
        after = self.service.admin_port
        assert after is not None
        self.assertEqual(after.getHost().host, "127.0.0.2")
        with self.assertRaises(Refused):
            await self.connect(before.getHost().port)
        self.loaded = Loaded(gateway("third", admin=None), ())
        await self.service.reload()
        self.assertIsNone(self.service.admin_port)

    async def test_logging(self) -> None:
        """Format and level of the log follow the configuration, and lost lines are counted."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        output = StandardOutputLog(Logging(), LineWriter(writing))
        self.service = self.make(output=output)
        await self.start("first", logging=Logging("text", "error"))
        output({"log_format": "not this"})
        self.loaded = Loaded(gateway("second", logging=Logging("json", "info")), ())
        await self.service.reload()
        output({"log_format": "this"})
        self.assertIn(b'"message": "this"', os.read(reading, 4096))
        output.writer.dropped = 3
        self.assertEqual(self.value("edgegw_log_lines_dropped_total"), 3)

    async def test_one_after_the_other(self) -> None:
        """Reloads that overlap happen one after the other, and the last one's configuration stays."""
        await self.start()
        names = iter(("second", "third"))
        reading: list[int] = []

        def load() -> Loaded:
            reading.append(len(self.generations))
            return Loaded(gateway(next(names)), ())

        self.load = load  # type: ignore[method-assign]  # another configuration each time
        self.service = self.make(initial=Loaded(gateway("first"), ()))
        self.service.startService()
        count = len(self.generations)
        self.assertEqual(await gatherResults([self.service.reload(), self.service.reload()]), [True, True])
        # The second was not read before the first was built.
        self.assertEqual(reading, [count, count + 1])
        self.assertEqual(await self.greeting(self.number()), "third")

    async def test_not_running(self) -> None:
        """A service that does not run reloads nothing."""
        self.assertFalse(await self.service.reload())
        await self.start()
        stopped = self.service.stopService()
        self.assertFalse(await self.service.reload())
        await stopped

    async def test_stopped_while_reading(self) -> None:
        """A configuration that was read too late is not served, and its plugins are told that they are not needed."""
        await self.start()
        environments = Environments(reactor, ".", PluginCounters())
        closed: list[bool] = []
        environments.closing.append(lambda: closed.append(True))
        self.loaded = Loaded(gateway("second"), (), environments)
        reload = self.service.reload()
        await self.service.stopService()
        self.assertFalse(await reload)
        self.assertEqual((len(self.generations), closed), (1, [True]))


class StopTests(ServiceCase):
    """What is in flight finishes, within bounds."""

    async def test_drain(self) -> None:
        """New clients are refused and begun ones finish, while the admin site says that it is not ready."""
        generation = await self.start(drain_timeout=60.0)
        port = self.number()
        client = await self.connect(port)
        await client.greeted
        stopped = self.service.stopService()
        self.assertEqual(self.notified(), ["READY=1", "STOPPING=1"])
        self.assertEqual(await self.status("/readyz"), 503)
        self.assertEqual(await self.status("/healthz"), 200)
        with self.assertRaises(Refused):
            await self.connect(port)
        self.assertTrue(generation.retired)
        self.assertFalse(stopped.called or client.ended.called)
        assert self.service.admin_port is not None
        admin = self.service.admin_port.getHost().port
        generation.finish()
        await stopped
        await client.ended
        self.assertEqual(self.logged("warn"), [])
        with self.assertRaises(Refused):
            await self.connect(admin)

    async def test_idle(self) -> None:
        """With nothing in flight the end is at once."""
        await self.start(drain_timeout=3600.0)
        await self.service.stopService()

    async def test_timeout(self) -> None:
        """What has not finished after drain_timeout is cut."""
        generation = await self.start(drain_timeout=0.01)
        client = await self.connect(self.number())
        await client.greeted
        await self.service.stopService()
        await client.ended
        self.assertTrue(generation.aborted)
        self.assertEqual(self.logged("warn"), ["Connections cut: 1, because drain_timeout of 0.01 s is over"])

    async def test_replaced_generations(self) -> None:
        """Connections of replaced configurations are waited for, and cut, like the others."""
        first = await self.start(drain_timeout=0.01)
        client = await self.connect(self.number())
        await client.greeted
        self.loaded = Loaded(gateway("second", drain_timeout=0.01), ())
        await self.service.reload()
        await self.service.stopService()
        await client.ended
        self.assertTrue(first.aborted)

    async def test_twice(self) -> None:
        """Asked to stop twice it stops once, and both askers are told the end."""
        generation = await self.start(drain_timeout=60.0)
        client = await self.connect(self.number())
        await client.greeted
        both = gatherResults([self.service.stopService(), self.service.stopService()])
        generation.finish()
        await both

    async def test_never_started(self) -> None:
        """A service that was never started stops."""
        await self.service.stopService()


class SignalTests(ServiceCase):
    """The signals of a daemon, sent to this process."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for a coroutine
        super().setUp()
        # The reactor installs its handlers when it starts, which must be over.
        await deferLater(reactor, 0)
        self.numbers = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
        before = [signal.getsignal(number) for number in self.numbers]

        def restore() -> None:
            for number, handler in zip(self.numbers, before, strict=True):
                signal.signal(number, handler)

        self.addCleanup(restore)
        for number in self.numbers:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.service = self.make(take_signals=True)

    def happens(self, text: str) -> Deferred[None]:
        """Fire when the log says so."""
        happened: Deferred[None] = Deferred()

        @provider(ILogObserver)
        def observer(event: LogEvent) -> None:
            if not happened.called and text in event.get("log_format", ""):
                happened.callback(None)

        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        return happened

    async def test_hangup(self) -> None:
        """SIGHUP reloads."""
        await self.start()
        self.loaded = Loaded(gateway("second"), ())
        reloaded = self.happens("Reloaded")
        os.kill(os.getpid(), signal.SIGHUP)
        await reloaded
        self.assertEqual(await self.greeting(self.number()), "second")

    async def test_terminate(self) -> None:
        """SIGTERM and SIGINT stop the reactor, and what the handlers were before they are again."""
        await self.start()
        handlers = [signal.getsignal(number) for number in self.numbers]
        self.assertNotIn(signal.SIG_DFL, handlers)
        os.kill(os.getpid(), signal.SIGTERM)
        await self.reactor.stopped
        handlers = [signal.getsignal(number) for number in self.numbers]
        self.assertEqual(handlers, [signal.SIG_DFL, signal.SIG_DFL, signal.default_int_handler])

    async def test_second_signal(self) -> None:
        """A second signal during the drain cuts what is left."""
        generation = await self.start(drain_timeout=3600.0)
        client = await self.connect(self.number())
        await client.greeted
        stopping = self.happens("Stopping")
        os.kill(os.getpid(), signal.SIGINT)
        await stopping
        self.assertFalse(generation.aborted)
        os.kill(os.getpid(), signal.SIGTERM)
        await self.reactor.stopped
        await client.ended
        self.assertTrue(generation.aborted)
        self.assertEqual(self.logged("warn"), ["Connections cut: 1, because a second signal came"])

    async def test_ignored_interrupt(self) -> None:
        """An ignored SIGINT, as in a shell's background job, stays ignored."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        await self.start()
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)


