"""Names of endpoints: all of their addresses, as long as they live; SRV records; what happens when nobody answers."""
from __future__ import annotations

import socket
from time import monotonic
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import protocol
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import LoopingCall
from twisted.names import dns, error, server
from twisted.names.common import ResolverBase
from twisted.trial.unittest import SynchronousTestCase

from edgegw.model import Endpoint, EndpointKind, Listener, Resolution, UpstreamLimits
from edgegw.upstream import dns as lookups
from edgegw.upstream.dns import Lookup, LookupFailed
from edgegw.upstream.resolv_conf import ResolvConf, candidates, parse_resolv_conf
from tests.test_guide import free_ports

from .gateway import answer, http_listener, start_upstream, until
from .test_upstream_balancing import BalancingCase, nobody

reactor: Any = global_reactor


class Zone(ResolverBase):
    """What a name server knows; may be changed at any time.

    :ivar records: by name and type; a missing name does not exist, and ``None`` gets no answer.
    :ivar asked: names and types, in their order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[tuple[str, int], list[Any] | None] = {}
        self.ttl = 1
        self.asked: list[tuple[str, int]] = []

    def _lookup(self, name: Any, cls: Any, kind: Any, timeout: Any) -> Deferred[Any]:
        text = name.decode() if isinstance(name, bytes) else str(name)
        self.asked.append((text, kind))
        if not any(one == text for one, _ in self.records):
            return fail(error.DomainError(text))
        found = self.records.get((text, kind), [])
        if found is None:
            return Deferred()
        aliases = self.records.get((text, dns.CNAME)) or []
        headers = [dns.RRHeader(text, one.TYPE, ttl=self.ttl, payload=one, auth=True) for one in [*found, *aliases]]
        return succeed((headers, [], []))

    def use(self, name: str, *addresses: str) -> None:
        """Give a name addresses of either family."""
        four = [dns.Record_A(address) for address in addresses if ":" not in address]
        six = [dns.Record_AAAA(address) for address in addresses if ":" in address]
        self.records[name, dns.A], self.records[name, dns.AAAA] = four, six


class NamesCase(BalancingCase):
    """A gateway that asks a name server of the test's."""

    def setUp(self) -> None:
        """Start the name server, for UDP and TCP."""
        self.zone = Zone()
        factory = server.DNSServerFactory(clients=[self.zone])
        factory.noisy = False
        talk = dns.DNSDatagramProtocol(factory)
        talk.noisy = False
        # Below the ports that clients are given, one of which may be another test's for TCP.
        (port,) = free_ports(1)
        self.addCleanup(reactor.listenUDP(port, talk, interface="127.0.0.1").stopListening)
        self.addCleanup(reactor.listenTCP(port, factory, interface="127.0.0.1").stopListening)
        self.name_server = Endpoint("127.0.0.1", port)
        self.resolution = Resolution((self.name_server,), 0.1, 0.4)

    def servers_at(self, *addresses: str) -> int:
        """Start servers on one port of several addresses, each of which answers with its address; gives the port."""
        first, *others = addresses
        port = 0
        for address in (first, *others):
            upstream = start_upstream(self, answer(address.encode()))
            listening = reactor.listenTCP(port, _As(upstream), interface=address)
            self.addCleanup(listening.stopListening)
            port = listening.getHost().port
        return port

    async def serve_names(self, *endpoints: Endpoint, listener: Listener | None = None, **options: Any) -> None:
        """Serve the endpoints as one upstream."""
        options.setdefault("resolution", self.resolution)
        await self.serve(endpoints, listener, **options)

    async def found(self, *addresses: str) -> None:
        """Wait until the upstream has exactly these addresses."""
        pool = self.running.generation._sites.upstreams["app"]
        await until(lambda: sorted(one.endpoint.host for one in pool.endpoints) == sorted(addresses))


class _As(protocol.Factory):
    """A scripted upstream at another address."""

    noisy = False

    def __init__(self, upstream: Any) -> None:
        self._upstream = upstream

    def buildProtocol(self, addr: object) -> Any:
        return self._upstream.buildProtocol(addr)


class AddressTests(NamesCase):
    """Host names."""

    async def test_every_address(self) -> None:
        """Requests go to all addresses of a name, and follow it when it changes."""
        port = self.servers_at("127.0.0.1", "127.0.0.2", "127.0.0.3")
        self.zone.use("app.test", "127.0.0.1", "127.0.0.2")
        await self.serve_names(Endpoint("app.test", port))
        await self.found("127.0.0.1", "127.0.0.2")
        self.assertEqual(await self.bodies(6), {b"127.0.0.1": 3, b"127.0.0.2": 3})
        self.zone.use("app.test", "127.0.0.2", "127.0.0.3")
        await self.found("127.0.0.2", "127.0.0.3")
        self.assertEqual(await self.bodies(6), {b"127.0.0.2": 3, b"127.0.0.3": 3})
        # The address that stayed has kept its connection.
        self.assertEqual(self.metrics.connects, 3)
        self.assertEqual(set(self.metrics.state.endpoints), {f"127.0.0.2:{port}", f"127.0.0.3:{port}"})
        self.assertEqual({one.origin for one in self.metrics.state.endpoints.values()}, {f"app.test:{port}"})

    async def test_as_long_as_it_lives(self) -> None:
        """A name is looked up again when its answer's time is over, within the bounds."""
        self.zone.use("app.test", "127.0.0.1")
        self.zone.ttl = 3600
        await self.serve_names(Endpoint("app.test", 80), resolution=evolve(self.resolution, max_interval=600.0))
        await self.found("127.0.0.1")
        (timer,) = self.running.generation._sites.upstreams["app"]._resolving._timers.values()
        self.assertTrue(500 < timer.getTime() - reactor.seconds() <= 600)
        self.assertEqual(len(self.zone.asked), 2)
        await self.running.stop()
        self.zone.ttl = 0
        await self.serve_names(Endpoint("app.test", 80), resolution=evolve(self.resolution, max_interval=600.0))
        await until(lambda: len(self.zone.asked) >= 8)

    async def test_a_failure_keeps_the_last_answer(self) -> None:
        """When names cannot be looked up any more, requests go on to where they went."""
        port = self.servers_at("127.0.0.1")
        self.zone.use("app.test", "127.0.0.1")
        await self.serve_names(Endpoint("app.test", port))
        await self.found("127.0.0.1")
        self.zone.records.clear()
        await until(lambda: self.metrics.resolutions["failure"])
        self.assertEqual(await self.bodies(3), {b"127.0.0.1": 3})
        self.running.reload(self.running.generation.gateway)
        await until(lambda: self.metrics.resolutions["failure"] >= 2)
        self.assertEqual(await self.bodies(3), {b"127.0.0.1": 3})

    async def test_not_there_yet(self) -> None:
        """A gateway whose name does not resolve starts, answers 503, and goes on once the name is there."""
        port = self.servers_at("127.0.0.1")
        await self.serve_names(Endpoint("app.test", port))
        await self.found()
        client = await self.connect()
        self.assertEqual((await self.ask(client)).status, 503)
        self.assertEqual(self.metrics.limited["no_endpoint"], 1)
        self.zone.use("app.test", "127.0.0.1")
        await self.found("127.0.0.1")
        self.assertEqual((await self.ask(client)).status, 200)

    async def test_half_an_answer(self) -> None:
        """Where one family is not answered its addresses stay as they were."""
        port = self.servers_at("127.0.0.1", "::1")
        self.zone.use("app.test", "127.0.0.1", "::1")
        self.patch(lookups, "_TIMEOUTS", (0.2,))
        await self.serve_names(Endpoint("app.test", port))
        await self.found("127.0.0.1", "::1")
        self.zone.use("app.test", "127.0.0.2", "::1")
        self.zone.records["app.test", dns.AAAA] = None
        await self.found("127.0.0.2", "::1")
        self.zone.records["app.test", dns.AAAA] = []
        await self.found("127.0.0.2")

    async def test_alias(self) -> None:
        """A name that is another's alias has its addresses."""
        self.zone.records["app.test", dns.CNAME] = [dns.Record_CNAME("real.test")]
        self.zone.use("real.test", "127.0.0.9")
        await self.serve_names(Endpoint("app.test", 80))
        await self.found("127.0.0.9")
        self.zone.records["loop.test", dns.CNAME] = [dns.Record_CNAME("loop.test")]
        lookup = Lookup(reactor, [self.name_server])
        error = await self.assertFailure(Deferred.fromCoroutine(lookup.addresses("loop.test")), LookupFailed)
        self.assertEqual(str(error), "it has no address")

    async def test_records_of_others(self) -> None:
        """What an answer says of a name that was not asked for, and is no alias's, is of no account."""
        def header(name: str, payload: Any) -> Any:
            return dns.RRHeader(name, payload.TYPE, ttl=1, payload=payload)

        real = [
            header("REAL.test", dns.Record_A("127.0.0.3")),
            header("other.test", dns.Record_A("127.0.0.4")),
            header("second.test", dns.Record_CNAME("real.TEST")),
            header("app.test", dns.Record_CNAME("second.test")),
        ]
        self.zone.asked = []
        self.patch(self.zone, "_lookup", lambda name, cls, kind, timeout: succeed((real, [], [])))
        lookup = Lookup(reactor, [self.name_server])
        self.assertEqual((await lookup.addresses("app.test")).addresses, ("127.0.0.3",))
        await self.assertFailure(Deferred.fromCoroutine(lookup.addresses("third.test")), LookupFailed)

    async def test_many(self) -> None:
        """An answer that is too long for a datagram is asked for by TCP; there is a bound to what is used of it."""
        self.zone.use("app.test", *(f"127.0.{number >> 8}.{number & 255}" for number in range(1, 300)))
        await self.serve_names(Endpoint("app.test", 80))
        pool = self.running.generation._sites.upstreams["app"]
        await until(lambda: len(pool.endpoints) == 128)

    async def test_host_header(self) -> None:
        """Where the client's Host is not kept, upstreams get the name."""
        upstream = start_upstream(self, answer(b"ok"))
        self.zone.use("app.test", "127.0.0.1")
        listener = http_listener()
        listener = evolve(listener, forwarding=evolve(listener.forwarding, preserve_host=False))
        await self.serve_names(Endpoint("app.test", upstream.port), listener=listener)
        await self.found("127.0.0.1")
        await self.bodies(1)
        self.assertEqual(upstream.requests[0].all(b"host"), [b"app.test:%d" % upstream.port])

    async def test_both_families(self) -> None:
        """Where one family's address does not answer, the other's soon gets the request (RFC 8305)."""
        port = self.servers_at("127.0.0.1")
        with _black_hole("::1", port):
            self.zone.use("app.test", "127.0.0.1", "::1")
            await self.serve_names(Endpoint("app.test", port), connect_timeout=60.0)
            await self.found("127.0.0.1", "::1")
            began = reactor.seconds()
            clients = [await self.connect() for _ in range(4)]
            for client in clients:
                self.assertEqual((await self.ask(client)).body, b"127.0.0.1")
            self.assertLess(reactor.seconds() - began, 10)
            states = {one.address: one.word(monotonic()) for one in self.metrics.state.endpoints.values()}
            self.assertEqual(states, {f"127.0.0.1:{port}": "ready", f"[::1]:{port}": "ejected"})
            # That it is slow is remembered.
            await self.bodies(10)
            self.assertLessEqual(self.metrics.connecting, 4)

    async def test_one_family_refuses(self) -> None:
        """Who serves one family alone is not asked by the other again and again."""
        port = self.servers_at("127.0.0.1")
        self.zone.use("app.test", "127.0.0.1", "::1")
        await self.serve_names(Endpoint("app.test", port))
        await self.found("127.0.0.1", "::1")
        self.assertEqual(await self.bodies(20), {b"127.0.0.1": 20})
        self.assertEqual((self.metrics.connect_failures["refused"], self.metrics.connects), (1, 1))

    async def test_the_other_family_afterwards(self) -> None:
        """When the family that answered is gone, the one that did not before gets its chance again at once."""
        port = self.servers_at("127.0.0.1")
        self.zone.use("app.test", "127.0.0.1", "::1")
        await self.serve_names(Endpoint("app.test", port))
        await self.found("127.0.0.1", "::1")
        self.assertEqual(await self.bodies(4), {b"127.0.0.1": 4})
        self.running.reload(self.running.generation.gateway)
        states = {one.address: one for one in self.metrics.state.endpoints.values()}
        # As it is after the minute in which nobody was asked by IPv6, with IPv4 left out.
        states[f"127.0.0.1:{port}"].outrun_until = monotonic() + 60
        states[f"[::1]:{port}"].outrun_until = 0
        self.metrics.state.version += 1
        self.assertEqual(await self.bodies(4), {b"127.0.0.1": 4})
        self.assertEqual(states[f"127.0.0.1:{port}"].word(monotonic()), "ready")

    async def test_a_rival_that_is_down(self) -> None:
        """No rival is one whose health checks fail, though it takes connections, and the slow one stays in use."""
        port = self.servers_at("127.0.0.1")
        with _black_hole("::1", port):
            self.zone.use("app.test", "127.0.0.1", "::1")
            await self.serve_names(Endpoint("app.test", port), connect_timeout=0.6)
            await self.found("127.0.0.1", "::1")
            states = {one.address: one for one in self.metrics.state.endpoints.values()}
            states[f"127.0.0.1:{port}"].failing = True
            self.metrics.state.version += 1
            self.assertEqual((await self.ask(await self.connect())).status, 503)
            self.assertTrue(states[f"[::1]:{port}"].is_usable(monotonic()))
            self.assertEqual(self.metrics.connects, 0)

    async def test_the_faster_one_goes_down(self) -> None:
        """An address that was outrun gets requests again as soon as the one that was faster cannot have them."""
        port = self.servers_at("127.0.0.1")
        self.zone.use("app.test", "127.0.0.1", "::1")
        await self.serve_names(Endpoint("app.test", port))
        await self.found("127.0.0.1", "::1")
        self.assertEqual(await self.bodies(20), {b"127.0.0.1": 20})
        six = _As(start_upstream(self, answer(b"::1")))
        self.addCleanup(reactor.listenTCP(port, six, interface="::1").stopListening)
        states = {one.address: one for one in self.metrics.state.endpoints.values()}
        states[f"127.0.0.1:{port}"].failing = True
        self.metrics.state.version += 1
        self.assertEqual(await self.bodies(4), {b"::1": 4})
        states[f"127.0.0.1:{port}"].failing = False
        self.metrics.state.version += 1
        self.assertEqual(await self.bodies(4), {b"127.0.0.1": 4})

    async def test_rivals_and_limits(self) -> None:
        """Two attempts for one request are no more connections than there may be."""
        port = self.servers_at("127.0.0.1")
        with _black_hole("::1", port):
            self.zone.use("app.test", "127.0.0.1", "::1")
            limits = UpstreamLimits(max_connections=1)
            await self.serve_names(Endpoint("app.test", port), connect_timeout=0.6, limits=limits)
            await self.found("127.0.0.1", "::1")
            most = 0

            def look() -> None:
                nonlocal most
                most = max(most, self.metrics.connections + self.metrics.connecting)

            watch = LoopingCall(look)
            watch.start(0.01)
            self.addCleanup(watch.stop)
            self.assertEqual(await self.bodies(4), {b"127.0.0.1": 4})
            self.assertEqual(most, 1)

    async def test_nobody_of_either_family(self) -> None:
        """503 where both refuse."""
        self.zone.use("app.test", "127.0.0.1", "::1")
        await self.serve_names(Endpoint("app.test", nobody().port))
        await self.found("127.0.0.1", "::1")
        client = await self.connect()
        self.assertEqual((await self.ask(client)).status, 503)

    async def test_stop_in_the_middle(self) -> None:
        """A configuration that ends while a name is looked up leaves nothing behind."""
        self.zone.records["app.test", dns.A] = self.zone.records["app.test", dns.AAAA] = None
        await self.serve_names(Endpoint("app.test", 80))
        await until(lambda: len(self.zone.asked) == 2)

    async def test_the_system(self) -> None:
        """Without servers of its own, what /etc/hosts says is found."""
        port = self.servers_at("127.0.0.1")
        await self.serve_names(Endpoint("localhost", port), resolution=Resolution())
        await until(lambda: self.metrics.resolutions["success"])
        self.assertEqual(set(await self.bodies(4)), {b"127.0.0.1"})


class _black_hole:
    """A port that takes no connection and refuses none: its queue is full."""

    def __init__(self, address: str, port: int) -> None:
        self._sockets = [socket.socket(socket.AF_INET6)]
        self._sockets[0].bind((address, port))
        self._sockets[0].listen(0)
        for _ in range(4):
            waiting = socket.socket(socket.AF_INET6)
            waiting.setblocking(False)
            waiting.connect_ex((address, port))
            self._sockets.append(waiting)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *why: object) -> None:
        for one in self._sockets:
            one.close()


class ServiceTests(NamesCase):
    """SRV records."""

    def record(self, port: int, priority: int = 0, weight: int = 1, target: str = "one.test") -> Any:
        """Give an SRV record."""
        return dns.Record_SRV(priority, weight, port, target)

    async def serve_service(self, *records: Any) -> None:
        """Serve what a name of SRV records stands for."""
        self.zone.records["_http._tcp.test", dns.SRV] = list(records)
        self.zone.use("one.test", "127.0.0.1")
        await self.serve_names(Endpoint("_http._tcp.test", 0, kind=EndpointKind.SRV))

    async def ports(self, *ports: int) -> None:
        """Wait until the upstream has exactly these ports."""
        pool = self.running.generation._sites.upstreams["app"]
        await until(lambda: sorted(one.endpoint.port for one in pool.endpoints) == sorted(ports))

    async def test_weights_and_priorities(self) -> None:
        """Requests are shared out by the records' weights, among those of the lowest priority."""
        a, b, spare = (one.port for one in self.servers(3))
        await self.serve_service(self.record(a, 10, 3), self.record(b, 10, 1), self.record(spare, 20))
        await self.ports(a, b, spare)
        self.assertEqual(await self.bodies(40), {b"0": 30, b"1": 10})
        self.zone.records["_http._tcp.test", dns.SRV] = [self.record(a, 20), self.record(spare, 10)]
        await self.ports(a, spare)
        self.assertEqual(await self.bodies(4), {b"2": 4})

    async def test_a_weight_that_changes(self) -> None:
        """Endpoints keep their connections when only their weights change."""
        a, b = (one.port for one in self.servers(2))
        await self.serve_service(self.record(a), self.record(b))
        await self.ports(a, b)
        self.assertEqual(await self.bodies(4), {b"0": 2, b"1": 2})
        self.zone.records["_http._tcp.test", dns.SRV] = [self.record(a, 0, 3), self.record(b)]
        pool = self.running.generation._sites.upstreams["app"]
        await until(lambda: {one.weight for one in pool.endpoints} == {1, 3})
        self.assertEqual(await self.bodies(8), {b"0": 6, b"1": 2})
        self.assertEqual(self.metrics.connects, 2)

    async def test_no_service(self) -> None:
        """A target of "." says that there is none, and no record that there is none yet."""
        await self.serve_service(self.record(0, target=""))
        await until(lambda: self.metrics.resolutions["success"])
        self.assertEqual((await self.ask(await self.connect())).status, 503)
        self.zone.records["_http._tcp.test", dns.SRV] = []
        await until(lambda: self.metrics.resolutions["failure"])
        self.assertEqual((await self.ask(await self.connect())).status, 503)

    async def test_a_target_without_an_address(self) -> None:
        """The others are used."""
        (a,) = (one.port for one in self.servers(1))
        await self.serve_service(self.record(a), self.record(a, target="none.test"))
        await self.ports(a)
        self.assertEqual(await self.bodies(2), {b"0": 2})

    async def test_targets_that_are_no_names(self) -> None:
        """What no host can be called is left out: it gets into no Host, and ends no look-ups."""
        (a,) = (one.port for one in self.servers(1))
        strange = (b"x\r\ny", b"\xc3\xa4.test", b"a b", b"a:1", b"-")
        for name in strange:
            self.zone.use(name.decode("utf-8"), "127.0.0.1")
        await self.serve_service(self.record(a), *(self.record(a + number, target=name)
                                                   for number, name in enumerate(strange, 1)))
        await until(lambda: self.metrics.resolutions["success"] >= 2)
        await self.ports(a)
        self.assertEqual(await self.bodies(2), {b"0": 2})
        self.assertEqual(self.metrics.resolutions["failure"], 0)

    async def test_another_name_of_the_same_address(self) -> None:
        """When a service moves to another name, it is asked by that, although the address is the same."""
        upstream = start_upstream(self, answer(b"ok"))
        self.zone.use("two.test", "127.0.0.1")
        self.zone.records["_http._tcp.test", dns.SRV] = [self.record(upstream.port)]
        self.zone.use("one.test", "127.0.0.1")
        listener = http_listener()
        listener = evolve(listener, forwarding=evolve(listener.forwarding, preserve_host=False))
        await self.serve_names(Endpoint("_http._tcp.test", 0, kind=EndpointKind.SRV), listener=listener)
        await self.ports(upstream.port)
        await self.bodies(1)
        # Both: the one that it had stays.
        self.zone.records["_http._tcp.test", dns.SRV] = [
            self.record(upstream.port, target="two.test"), self.record(upstream.port)
        ]
        asked = len(self.zone.asked)
        await until(lambda: len(self.zone.asked) > asked + 8)
        await self.bodies(1)
        self.assertEqual(len(upstream.talks), 1)
        self.zone.records["_http._tcp.test", dns.SRV] = [self.record(upstream.port, target="two.test")]
        pool = self.running.generation._sites.upstreams["app"]
        await until(lambda: [one.name for one in pool.endpoints] == ["two.test"])
        await self.bodies(1)
        hosts = [request.all(b"host")[0].partition(b":")[0] for request in upstream.requests]
        self.assertEqual(hosts, [b"one.test", b"one.test", b"two.test"])
        await until(lambda: self.metrics.connections == 1)

    async def test_one_address_twice(self) -> None:
        """Two records that come to the same are one endpoint, of which nothing is left after a reload."""
        (a,) = (one.port for one in self.servers(1))
        self.zone.use("two.test", "127.0.0.1")
        await self.serve_service(self.record(a), self.record(a, 1), self.record(a, target="two.test"))
        await self.ports(a)
        self.running.reload(self.running.generation.gateway)
        await self.ports(a)
        self.assertEqual(await self.bodies(2), {b"0": 2})
        self.zone.records["_http._tcp.test", dns.SRV] = [self.record(nobody().port)]
        await until(lambda: f"127.0.0.1:{a}" not in self.metrics.state.endpoints)
        await until(lambda: self.metrics.connections == 0)

    async def test_an_endpoint_of_its_own_beside(self) -> None:
        """Records and addresses can stand side by side; one that refuses is passed over."""
        (a,) = (one.port for one in self.servers(1))
        self.zone.records["_http._tcp.test", dns.SRV] = [self.record(a)]
        self.zone.use("one.test", "127.0.0.1")
        await self.serve_names(nobody(), Endpoint("_http._tcp.test", 0, kind=EndpointKind.SRV))
        pool = self.running.generation._sites.upstreams["app"]
        await until(lambda: len(pool.endpoints) == 2)
        self.assertEqual(await self.bodies(6), {b"0": 6})


class ResolvConfTests(SynchronousTestCase):
    """resolv.conf(5)."""

    def test_all_of_it(self) -> None:
        """Servers, the search list and ndots; the last search counts."""
        text = "# x\nnameserver 10.0.0.2 # y\nnameserver ::1\nsearch a.test\ndomain b.test.\noptions edns0 ndots:5\n"
        self.assertEqual(
            parse_resolv_conf(text), ResolvConf((("10.0.0.2", 53), ("::1", 53)), ("b.test",), 5)
        )
        self.assertEqual(parse_resolv_conf(""), ResolvConf((("127.0.0.1", 53),)))

    @given(st.text(max_size=200))
    def test_anything(self, text: str) -> None:
        """No text is too strange."""
        self.assertTrue(parse_resolv_conf(text).servers)
        self.assertTrue(parse_resolv_conf(f"nameserver {text}\noptions ndots:{text}").servers)

    def test_candidates(self) -> None:
        """Short names are looked for under the search list first, long ones as they stand."""
        conf = ResolvConf(search=("ns.svc.test", "svc.test"), ndots=2)
        self.assertEqual(candidates("app", conf), ["app.ns.svc.test", "app.svc.test", "app"])
        self.assertEqual(candidates("a.b.c", conf), ["a.b.c", "a.b.c.ns.svc.test", "a.b.c.svc.test"])
        self.assertEqual(candidates("app", ResolvConf()), ["app"])
