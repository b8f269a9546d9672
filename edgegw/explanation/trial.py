"""A gateway that judges one client and serves nobody: its own code, with what it decides looked on.

What is added to :class:`~edgegw.proxy.generation.Generation` is the time to judge by, and that it is remembered which
rule a request led to and what that rule's policies said.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from attrs import field, frozen
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from edgegw.environment import Environments
from edgegw.explanation.dynamic import find_context, is_asked
from edgegw.explanation.routing import Way, ask_router, way_of_name
from edgegw.identity import Certificate, CertificateStatus, ConnectionInfo, certificate
from edgegw.interfaces import IHeaderInjector
from edgegw.model import Gateway, Listener, Route, RouteRule, SNIRouterUse
from edgegw.observe.metrics import Metrics
from edgegw.peer import Peer
from edgegw.policy_chain import PolicyChain
from edgegw.policy_step import Limit
from edgegw.proxy.access import RuleAccess
from edgegw.proxy.gate import RequestGate
from edgegw.proxy.generation import Generation
from edgegw.proxy.listeners import ListenerBuilder
from edgegw.proxy.policing import chain_of
from edgegw.proxy.routed import RoutedDestination
from edgegw.proxy.site import Site, Target
from edgegw.proxy.sites import SiteBuilder, rule_label
from edgegw.tls.listener import TLSListener
from edgegw.tls.profile import PlainListener, PortProfile
from edgegw.tls.rehearsal import ClientSide, Rehearsed, rehearse
from edgegw.verdict import Reject, Ruling, Verdict
from edgegw.wire.http1 import RequestHead

__all__ = ["Answer", "FoundRule", "PassiveEnvironments", "Trial", "TrialGateway", "try_client", "try_request"]


class PassiveEnvironments(Environments):
    """What plugins use, where nothing goes on by itself.

    :ivar calls: what plugins want to have called again and again.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.calls: list[tuple[Callable[[], Awaitable[None]], Callable[[Any], None]]] = []

    def repeat(self, seconds: float, call: Callable[[], Awaitable[None]], failed: Callable[[Any], None]) -> None:
        """See :class:`~edgegw.environment.Environments`: nothing is called by itself."""
        self.calls.append((call, failed))

    async def call_once(self) -> None:
        """Call each of :attr:`calls`, all at the same time, and wait for them; what fails is logged."""
        running = []
        for call, failed in self.calls:
            running.append(Deferred.fromCoroutine(_called(call)).addErrback(failed))
        for one in running:
            await one


async def _called(call: Callable[[], Awaitable[None]]) -> None:
    await call()


@frozen
class FoundRule:
    """A route's rule.

    :ivar number: its place in the route, from 0.
    """

    route: Route
    number: int
    rule: RouteRule


class _HeardChain:
    """The policies of a rule, whose answers are kept.

    :ivar rulings: what each said of the last request.
    :ivar not_asked: whether those that wait were left out.
    """

    def __init__(self, chain: PolicyChain, ask_waiting: bool) -> None:
        self.rulings: list[Ruling] = []
        self.not_asked = False
        self.needs_chain = chain.needs_chain
        self._chain = chain
        self._ask_waiting = ask_waiting

    @property
    def waits(self) -> bool:
        """Whether :meth:`check_later` is to be asked."""
        return self._chain.waits and self._ask_waiting

    def check(self, peer: Peer, rulings: list[Ruling]) -> Verdict:
        """See :class:`~edgegw.policy_chain.PolicyChain`."""
        self.rulings = rulings
        verdict = self._chain.check(peer, rulings)
        self.not_asked = self._chain.waits and not self._ask_waiting and not isinstance(verdict, Reject)
        return verdict

    async def check_later(self, peer: Peer, rulings: list[Ruling], limit: Limit) -> Verdict:
        """See :class:`~edgegw.policy_chain.PolicyChain`."""
        return await self._chain.check_later(peer, rulings, limit)

    def refused_by(self, refusal: Reject, rulings: Sequence[Ruling]) -> str:
        """See :class:`~edgegw.policy_chain.PolicyChain`."""
        return self._chain.refused_by(refusal, rulings)


class _HeardAccess(RuleAccess):
    """What a rule demands, with what it answered kept.

    :ivar verdict: about the last request.
    :ivar heard: its policies; ``None`` without any.
    """

    verdict: Verdict | None = None
    heard: _HeardChain | None = None

    def judge(
        self, info: ConnectionInfo, head: RequestHead, host: str | None, rulings: list[Ruling]
    ) -> Verdict | Deferred[Verdict]:
        """See :class:`~edgegw.proxy.access.RuleAccess`."""
        verdict = super().judge(info, head, host, rulings)
        if isinstance(verdict, Deferred):
            return verdict.addCallback(self._keep)
        return self._keep(verdict)

    def _keep(self, verdict: Verdict) -> Verdict:
        self.verdict = verdict
        return verdict


class _HeardSites(SiteBuilder):
    """The sites of a gateway for one client: which rule a target belongs to, and what it demanded, can be told."""

    def __init__(self, owner: TrialGateway) -> None:
        self._owner = owner
        super().__init__(
            owner._reactor, owner.gateway, owner.own_metrics, owner._deadlines, owner._count_error, owner._clock
        )

    def build_target(self, listener: Listener, route: Route, number: int, rule: RouteRule) -> Target:
        """See :class:`~edgegw.proxy.sites.SiteBuilder`."""
        target = super().build_target(listener, route, number, rule)
        self._owner.rules[target] = FoundRule(route, number, rule)
        return target

    def build_access(self, listener: Listener, route: Route, number: int, rule: RouteRule) -> RuleAccess | None:
        """See :class:`~edgegw.proxy.sites.SiteBuilder`."""
        if super().build_access(listener, route, number, rule) is None:
            return None
        heard: Any = None
        name = rule_label(route, number)
        chain = chain_of(rule.policies, self._owner.own_metrics, listener.name, f"{name}.")
        if chain is not None:
            heard = _HeardChain(chain, self._owner.online)
        access = _HeardAccess(
            rule.client, heard, rule.policy_timeout, rule.explain_to_client, name,
            self._owner.own_metrics.requests(listener.name, route.name, ""), self._reactor, self._clock,
        )
        access.heard = heard
        return access


class TrialGateway(Generation):
    """A gateway for one client.

    :ivar at: aware; the time to judge by.
    :ivar present: whether that is now.
    :ivar online: whether policies that wait are asked; then there must be a reactor that runs.
    :ivar rules: the rule behind each target of a listener's routes.
    :ivar own_metrics: which nobody reads.
    :ivar by_name: what a listener on a port with an SNI router serves for the names that this has sent there.
    """

    def __init__(self, reactor: Any, gateway: Gateway, at: datetime, present: bool, online: bool) -> None:
        """:param present: whether ``at`` is now; otherwise OpenSSL, too, has to be told the time."""
        self.at = at
        self.online = online
        self.present = present
        self.rules: dict[Target, FoundRule] = {}
        self.by_name: dict[str, Site] = {}
        self.own_metrics = Metrics()
        super().__init__(reactor, gateway, self.own_metrics, clock=lambda: at)
        if not present:
            for judge in self._tls_listeners():
                for table in filter(None, (judge.certificates, judge._probes)):
                    for context in table.contexts:
                        _set_time(context, at)

    def profile_of(self, listener: TLSListener) -> PortProfile:
        """Give what a listener's port serves."""
        return self._profiles[(listener.model.address, listener.model.port)]

    def router_of(self, listener: TLSListener) -> SNIRouterUse | None:
        """Give the SNI router of a listener's port; ``None`` without one."""
        key = (listener.model.address, listener.model.port)
        return next((use for use in self.gateway.sni_routers if key in use.bindings), None)

    def _build_sites(self) -> SiteBuilder:
        return _HeardSites(self)

    def _build_listener(
        self,
        builder: ListenerBuilder,
        listener: Listener,
        site: Site,
        injectors: Sequence[IHeaderInjector],
        by_name: Site | None,
    ) -> TLSListener | PlainListener:
        built = super()._build_listener(builder, listener, site, injectors, by_name)
        if by_name is not None:
            self.by_name[listener.name] = by_name
        return built


def _set_time(context: SSL.Context, at: datetime) -> None:
    store = context.get_cert_store()
    assert store is not None
    store.set_time(at)


# --- the client -------------------------------------------------------------------------------


@frozen
class Trial:
    """What came of a client's handshake.

    :ivar asked: the listener that was named.
    :ivar judge: the listener that the client's name led to.
    :ivar context: what the client's name led to there; ``None`` where it is refused.
    :ivar way: where the port's SNI router sends the client.
    :ivar source_asked: whether the listener's source of certificates was asked for the name; ``None`` where none is
        there for it.
    :ivar at: the time that was judged by.
    :ivar online: whether policies that wait were asked.
    """

    asked: TLSListener
    judge: TLSListener
    context: SSL.Context | None
    client: ClientSide
    rehearsed: Rehearsed
    at: datetime
    online: bool
    way: Way | None = None
    source_asked: bool | None = None

    @property
    def unrouted(self) -> bool:
        """Whether the port's SNI router, which might have sent the client elsewhere, was not asked."""
        return self.way is not None and not self.way.asked

    @property
    def verified_chain(self) -> tuple[Certificate, ...] | None:
        """The chain that was found good, the client's own certificate first; ``None`` without one.

        It is not the one that OpenSSL built where that has faults and a policy has others tried.
        """
        rehearsed = self.rehearsed
        leaf, others = rehearsed.certificate, self.judge.verification._alternatives
        if leaf is None or rehearsed.status is not CertificateStatus.VERIFIED:
            return None
        if not rehearsed.errors:
            return rehearsed.chain
        above = [certificate(one.public_bytes(Encoding.DER)) for one in self.client.chain]
        return None if others is None else others.find(leaf, above, rehearsed.errors, self.at)


async def try_client(gateway: TrialGateway, listener: str, client: ClientSide) -> Trial:
    """Have a listener judge a client.

    :raises KeyError: there is no such listener, or it has no TLS.
    :raises OpenSSL.SSL.Error: OpenSSL does not take the client's certificate, or something else goes wrong before the
        gateway has seen anything; so may ``ValueError``, ``TypeError`` and what ``cryptography`` raises.
    """
    asked = judge = gateway.tls_listener(listener)
    profile = gateway.profile_of(asked)
    way = None
    use = gateway.router_of(asked)
    if use is not None and profile.router is not None:
        way = await ask_router(use, profile.router, client, gateway.online)
        if way.ends:
            return Trial(asked, asked, None, client, way.as_rehearsed(), gateway.at, gateway.online, way)
    if way is not None and (way.listener is not None or not way.asked):
        judge = gateway.tls_listener(way.listener or listener)
        routed = True
    else:
        taken = way_of_name(profile, client.server_name)
        if isinstance(taken, Way):
            return Trial(asked, asked, None, client, taken.as_rehearsed(), gateway.at, gateway.online, taken)
        judge = taken
        routed = False
    found = await find_context(judge, client.server_name, routed, gateway.online)
    source_asked = is_asked(judge, client.server_name, routed, gateway.online)
    context = None if isinstance(found, Reject) else found
    if context is not None and not gateway.present:
        _set_time(context, gateway.at)
    rehearsed = await rehearse(judge, found, client, gateway.online)
    return Trial(asked, judge, context, client, rehearsed, gateway.at, gateway.online, way, source_asked)


# --- its request ------------------------------------------------------------------------------


@frozen
class Answer:
    """What becomes of a request.

    :ivar status: of the gateway's own answer; 0 if the request goes to a backend.
    :ivar host: the name that was asked for, in canonical form.
    :ivar rule: that took it; ``None`` if none did.
    :ivar verdict: of that rule; ``None`` where it demands nothing, and where it was not asked.
    :ivar rulings: what its policies said.
    :ivar not_asked: whether policies that wait were left out.
    """

    status: int
    host: str | None
    rule: FoundRule | None = None
    verdict: Verdict | None = None
    rulings: tuple[Ruling, ...] = ()
    not_asked: bool = False


@frozen(eq=False)
class _Outcome:
    """Stands in for the connection that the request came on."""

    handshake_id = ""
    done: Deferred[tuple[int, Target | None, RuleAccess | None]] = field(factory=Deferred)

    def forward(self, head: RequestHead, target: Target) -> None:
        """See :class:`~edgegw.proxy.gate.Gated`."""
        self.done.callback((0, target, target.access))

    def own_answer(self, status: int, reason: str = "", close: bool = False) -> None:
        """See :class:`~edgegw.proxy.gate.Gated`."""
        self.done.callback((status, None, None))

    def count_refused(self, access: RuleAccess, code: str, request_id: bytes) -> None:
        """See :class:`~edgegw.proxy.gate.Gated`."""
        self.done.callback((403, None, access))

    def cut(self) -> None:
        """See :class:`~edgegw.proxy.gate.Gated`."""
        self.done.cancel()


async def try_request(
    gateway: TrialGateway, trial: Trial, info: ConnectionInfo, refusal: Reject | None, head: RequestHead
) -> Answer:
    """Have a listener judge a request.

    :param trial: of the client that sends it.
    :param info: what is known of the connection that it comes on.
    :param refusal: why the connection was refused, where it is answered all the same.
    """
    outcome = _Outcome()
    site: Site = trial.judge.site
    gate = RequestGate(site, info, refusal)
    by_name = gateway.by_name.get(trial.judge.model.name)
    if by_name is not None and trial.way is not None:
        gate.destination = RoutedDestination(site, by_name, info, trial.way.listener is not None)
    gate.look_at(outcome, site, head)
    status, target, access = await outcome.done
    host = gate.destination.host_name
    if target is None:
        target = next((one for one in gateway.rules if access is not None and one.access is access), None)
    if target is None:
        return Answer(status, host)
    rule = gateway.rules[target]
    if not isinstance(access, _HeardAccess) or access.heard is None:
        return Answer(status, host, rule, access.verdict if isinstance(access, _HeardAccess) else None)
    return Answer(status, host, rule, access.verdict, tuple(access.heard.rulings), access.heard.not_asked)
