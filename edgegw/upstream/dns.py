"""Looking names up: addresses and SRV records, with how long they live.

``/etc/hosts`` comes first, then the name servers, and at last what else the system knows names by (NSS), which does not
say how long.  Where servers are given, they alone are asked.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from socket import AF_INET6, inet_ntop
from typing import Any, Final

from attrs import field, frozen
from twisted.internet import base, udp
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.interfaces import IResolutionReceiver
from twisted.names import client, dns, hosts
from twisted.names.error import DNSNameError
from twisted.python.filepath import FilePath
from zope.interface import implementer

from edgegw.model import Endpoint
from edgegw.upstream.resolv_conf import ResolvConf, candidates, parse_resolv_conf

__all__ = ["Answer", "Lookup", "LookupFailed", "Service"]

_HOSTS: Final = "/etc/hosts"
_RESOLV_CONF: Final = "/etc/resolv.conf"
#: Seconds that what does not say how long it lives is taken for.
_LOCAL_TTL: Final = 10.0
#: Seconds that each server has, the first time and the second.
_TIMEOUTS: Final = (1, 2)
_MOST_ALIASES: Final = 8
_NOTHING: Final = "it has no address"
#: What a host may be called.  A label of DNS may have any byte in it; these end up in Host, in SNI and in the log.
_HOST_NAME: Final = re.compile(rb"(?=.{1,253}$)[a-z0-9_][a-z0-9_\-]{0,62}(\.[a-z0-9_][a-z0-9_\-]{0,62})*", re.I)
#: Names that are looked up at a time, of all upstreams: each takes two sockets.
_turns: Final = DeferredSemaphore(32)


class LookupFailed(Exception):
    """There is no answer; the text says why."""


@frozen
class Answer:
    """What addresses a name has.

    :ivar addresses: of IP.
    :ivar ttl: seconds that the answer lives.
    :ivar unknown: families, 4 or 6, of which nobody has said whether the name has addresses of them.
    """

    addresses: tuple[str, ...]
    ttl: float
    unknown: frozenset[int] = frozenset()


@frozen
class Service:
    """An SRV record (RFC 2782)."""

    target: str
    port: int
    priority: int
    weight: int
    ttl: float


@frozen
class _Records:
    """:ivar problem: why there are none; empty where that is the answer."""

    records: Sequence[Any] = ()
    problem: str = ""

    def of_type(self, kind: int) -> list[Any]:
        return [record for record in self.records if record.type == kind]


class _QuietPort(udp.Port):
    """Twisted's, without two lines of log for each question."""

    def _bindSocket(self) -> None:
        bound = self.createInternetSocket()
        bound.bind((self.interface, self.port))
        self._realPortNumber = bound.getsockname()[1]
        self.connected = 1
        self.socket = bound
        self.fileno = bound.fileno  # type: ignore[method-assign]  # as Twisted's does

    def connectionLost(self, reason: Any = None) -> None:
        """Called by the reactor."""
        self._realPortNumber = None
        self.maxThroughput = -1
        base.BasePort.connectionLost(self, reason)
        self.protocol.doStop()
        self.socket.close()
        del self.socket, self.fileno


class _Resolver(client.Resolver):
    """A resolver that can be stopped: nothing of it is left in the reactor then."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._open: set[Any] = set()

    def _connectedProtocol(self, interface: str = "") -> Any:
        asking = dns.DNSDatagramProtocol(self, reactor=self._reactor)
        asking.noisy = False
        # Port 0: the kernel's choice is as hard to guess as anybody's (RFC 5452 §9.2).
        _QuietPort(0, asking, interface, reactor=self._reactor).startListening()
        self._open.add(asking)
        return asking

    def messageReceived(self, message: Any, protocol: Any, address: Any = None) -> None:
        """Leave an answer alone that nobody waits for."""

    def stop(self) -> None:
        for one in [*self._open, *self.connections]:
            messages, one.liveMessages = dict(one.liveMessages or {}), {}
            for waiting, timer in messages.values():
                timer.cancel()
                waiting.errback(CancelledError())
        for one in self.connections:
            one.transport.loseConnection()
        self._open.clear()


class Lookup:
    """Looks names up for one upstream.

    :param servers: IP addresses and ports; none for those of the system.
    """

    def __init__(self, reactor: Any, servers: Sequence[Endpoint]) -> None:
        self._reactor = reactor
        self._servers = tuple((server.host, server.port) for server in servers)
        self._running: set[_Resolver] = set()
        self._stopped = False

    def stop(self) -> None:
        """Give up what is being looked up; it fails with ``CancelledError``."""
        self._stopped = True
        for resolver in tuple(self._running):
            resolver.stop()

    def _conf(self) -> ResolvConf:
        if self._servers:
            return ResolvConf(self._servers)
        try:
            return parse_resolv_conf(Path(_RESOLV_CONF).read_text("utf-8", "replace"))
        except OSError:
            return ResolvConf()

    async def addresses(self, name: str) -> Answer:
        """Give every address of a name, of both families.

        :raises LookupFailed: it has none, or nobody answers.
        """
        if self._servers:
            return await self._asked(name)
        found = hosts.searchFileForAll(FilePath(_HOSTS), name.encode("ascii"))
        if found:
            return Answer(tuple(dict.fromkeys(found)), _LOCAL_TTL)
        try:
            return await self._asked(name)
        except LookupFailed:
            known = await _by_system(self._reactor, name)
            if not known:
                raise
            return Answer(known, _LOCAL_TTL)

    async def _asked(self, name: str) -> Answer:
        conf = self._conf()
        problem = _NOTHING
        resolver = await self._begin(conf)
        try:
            for candidate in candidates(name, conf):
                try:
                    return await _both_families(resolver, candidate, _MOST_ALIASES)
                except LookupFailed as error:
                    problem = str(error)
        finally:
            self._end(resolver)
        raise LookupFailed(problem)

    async def _begin(self, conf: ResolvConf) -> _Resolver:
        await _turns.acquire()
        if self._stopped:
            _turns.release()
            raise CancelledError
        resolver = _Resolver(servers=list(conf.servers), timeout=_TIMEOUTS, reactor=self._reactor)
        self._running.add(resolver)
        return resolver

    def _end(self, resolver: _Resolver) -> None:
        self._running.discard(resolver)
        resolver.stop()
        _turns.release()

    async def services(self, name: str) -> list[Service]:
        """Give the SRV records of a name; none where it says that the service is not available (a target of ``.``).

        :raises LookupFailed: it has none, or nobody answers.
        """
        conf = self._conf()
        problem = ""
        resolver = await self._begin(conf)
        try:
            for candidate in candidates(name, conf):
                answer = await _records(resolver.lookupService(candidate), candidate)
                records = answer.of_type(dns.SRV)
                found = [one for one in map(_service, records) if one is not None]
                if found:
                    return [service for service in found if service.target]
                if records:
                    raise LookupFailed("its targets are no host names")
                problem = answer.problem or problem
        finally:
            self._end(resolver)
        raise LookupFailed(problem or "it has no SRV record")


async def _both_families(resolver: Any, name: str, most_aliases: int) -> Answer:
    four, six = await gatherResults([
        Deferred.fromCoroutine(_records(resolver.lookupAddress(name), name)),
        Deferred.fromCoroutine(_records(resolver.lookupIPV6Address(name), name)),
    ], consumeErrors=True)
    found = [
        *((record.payload.dottedQuad(), record.ttl) for record in four.of_type(dns.A)),
        *((inet_ntop(AF_INET6, record.payload.address), record.ttl) for record in six.of_type(dns.AAAA)),
    ]
    aliases = [*four.of_type(dns.CNAME), *six.of_type(dns.CNAME)]
    if not found:
        problem = four.problem or six.problem
        alias = _host_name(aliases[0].payload.name) if aliases else None
        if alias and most_aliases:
            # A server that does not follow them itself.
            return await _both_families(resolver, alias, most_aliases - 1)
        raise LookupFailed(problem or _NOTHING)
    unknown = frozenset(family for family, answer in ((4, four), (6, six)) if answer.problem)
    ttl = min(float(ttl) for ttl in [*(ttl for _, ttl in found), *(record.ttl for record in aliases)])
    return Answer(tuple(dict.fromkeys(address for address, _ in found)), ttl, unknown)


async def _records(asked: Deferred[Any], name: str) -> _Records:
    try:
        answers, _, _ = await asked
    except CancelledError:
        raise
    except DNSNameError:
        return _Records()
    except Exception as error:
        # Whatever a server sends: none of it is more than no answer.
        return _Records(problem=f"the name servers gave no answer ({type(error).__name__})")
    return _Records(_of_name(answers, name.encode("ascii")))


def _of_name(answers: Sequence[Any], name: bytes) -> list[Any]:
    """Give the records of a name and of its aliases: what an answer says of others nobody has asked for."""
    names = {name.lower()}
    aliases = [(one.name.name.lower(), one.payload.name.name.lower()) for one in answers if one.type == dns.CNAME]
    for _ in range(min(len(aliases), _MOST_ALIASES)):
        names.update(target for alias, target in aliases if alias in names)
    return [one for one in answers if one.name.name.lower() in names]


def _host_name(name: dns.Name) -> str | None:
    """Give a name without the dot at its end, empty for the root; ``None`` where no host can be called so."""
    text = name.name.removesuffix(b".").lower()
    return text.decode("ascii") if not text or _HOST_NAME.fullmatch(text) else None


def _service(record: Any) -> Service | None:
    payload = record.payload
    target = _host_name(payload.target)
    if target is None:
        return None
    return Service(target, payload.port, payload.priority, payload.weight, float(record.ttl))


@implementer(IResolutionReceiver)
@frozen(eq=False)
class _Receiver:
    """Collects what the system knows."""

    complete: Deferred[tuple[str, ...]] = field(factory=Deferred)
    found: list[str] = field(factory=list)

    def resolutionBegan(self, resolution: object) -> None:
        pass

    def addressResolved(self, address: Any) -> None:
        self.found.append(address.host)

    def resolutionComplete(self) -> None:
        self.complete.callback(tuple(dict.fromkeys(self.found)))


def _by_system(reactor: Any, name: str) -> Deferred[tuple[str, ...]]:
    receiver = _Receiver()
    reactor.nameResolver.resolveHostName(receiver, name)
    return receiver.complete


def sorted_addresses(addresses: Iterable[str]) -> list[str]:
    """Give addresses in an order that does not change with every answer."""
    return sorted(addresses, key=lambda address: (":" in address, address))
