"""A policy in a real handshake, in one line: the gateway's own listener on a free port, and a client of its own.

::

    class DNSSuffixTests(TestCase):
        async def test_refused(self) -> None:
            client = Authority().issue(dns=["mtls.com"])
            outcome = await handshake([(dns_suffix, Config((".corp.example",)))], client)
            self.assertEqual((outcome.accepted, outcome.code), (False, "dns_suffix"))

Everything runs on the reactor of a test of ``twisted.trial`` and is gone when the outcome is there.
"""
from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet.task import deferLater

from edgegw.identity import CertificateStatus
from edgegw.interfaces import IEnvironment, IHeaderInjectorKind, IPolicyKind
from edgegw.model import (
    XFCC,
    BackendRef,
    ClientRequirement,
    ClientValidation,
    Gateway,
    InjectorUse,
    Listener,
    PolicyAll,
    PolicyAny,
    PolicyNot,
    PolicyRule,
    PolicyUse,
    Protocol,
    Route,
    RouteRule,
    ServerCertificate,
    TLSSettings,
    TrustAnchor,
    ValidationMode,
)
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.proxy.generation import Generation
from edgegw.testing.assertions import BuiltPolicy, build
from edgegw.testing.certificates import SERVER, Authority, Issued
from edgegw.testing.client import ClientFactory, ClientSession, Seen, Wanted
from edgegw.testing.environment import FakeEnvironment
from edgegw.testing.options import configure
from edgegw.testing.peers import default_authority, utc
from edgegw.testing.upstream import HelloUpstream, StoppableTimers
from edgegw.tls.verification import Clock
from edgegw.tls.verification import now as present
from edgegw.verdict import Accept, Ruling

__all__ = ["Outcome", "ServedGateway", "handshake", "policy_rules", "serve"]

#: The name that the gateway in a test has a certificate for.
SERVER_NAME: Final = "edge.example"
#: Seconds after which a client that got no answer gives up: something is wrong with the gateway itself.
_PATIENCE: Final = 30.0
#: Turns of the reactor in which what was closed is gone.
_TURNS: Final = 1000
#: Where a response names the reason code.
_TOLD: Final = re.compile(rb"^reason: ([a-z0-9_]+)$", re.MULTILINE)


@frozen
class Outcome:
    """What came of a handshake, and of the request behind it.

    :ivar accepted: whether the client got its answer, with the status 200.
    :ivar code: the reason why it was refused, at the connection or by the rule; empty if it was not.
    :ivar detail: what the handshake record says beside it.
    :ivar rulings: what each policy of the connection said.
    :ivar status_of_client: what became of the request for a certificate.
    :ivar alert: the number of the fatal alert that the client got (RFC 8446 §6): 116 is
        ``certificate_required``; ``None`` without one.
    :ivar error: what the client's own OpenSSL said; ``None`` if nothing went wrong.
    :ivar status: of the HTTP response; ``None`` if there was none.
    :ivar body: of the response.
    :ivar headers: what the upstream got, by lower-case name; those that came more than once joined with a comma.
    :ivar resumed: whether the session that the client offered was resumed.
    :ivar session: what the client may offer the next time.
    """

    accepted: bool
    code: str
    detail: str
    rulings: tuple[Ruling, ...]
    status_of_client: CertificateStatus
    alert: int | None
    error: str | None
    status: int | None
    body: bytes
    headers: Mapping[str, str]
    tls_version: str | None
    resumed: bool
    session: ClientSession | None

    @property
    def attributes(self) -> dict[str, str]:
        """What the policies that accepted have said of the client; what was said first stays."""
        said: dict[str, str] = {}
        for ruling in self.rulings:
            if isinstance(ruling.verdict, Accept):
                said = {**ruling.verdict.attributes, **said}
        return said


class _Record(HandshakeRecord):
    """Keeps the last handshake as it was told."""

    def __init__(self) -> None:
        super().__init__(8)
        self.last: tuple[Any, ...] | None = None

    def add(self, *told: Any, **more: Any) -> str:
        self.last = told
        return super().add(*told, **more)


class ServedGateway:
    """A gateway that serves on a free port; see :func:`serve`."""

    def __init__(
        self, reactor: Any, validation: ClientValidation, rule: RouteRule, listener: Listener, clock: Clock
    ) -> None:
        """:param clock: the time that policies judge by."""
        self._reactor = reactor
        self._timers = StoppableTimers(reactor)
        self._record = _Record()
        self._metrics = Metrics()
        self._upstream = HelloUpstream(reactor)
        shown = default_authority().issue("edge", dns=[SERVER_NAME, f"*.{SERVER_NAME}"], usages=SERVER)
        tls = evolve(
            listener.tls or TLSSettings(()),
            certificates=(_server_certificate(shown),),
            client_validation=validation,
        )
        route = Route("all", rules=(evolve(rule, backends=(BackendRef("upstream"),)),))
        model = Gateway((evolve(listener, tls=tls),), (route,), (self._upstream.model,), admin=None)
        try:
            self._generation = Generation(self._timers, model, self._metrics, self._record, clock=clock)
            (key,) = self._generation.port_keys
            self._port = self._generation.listen(key)
        except Exception:
            self._upstream.close()
            raise

    async def handshake(
        self,
        client: Issued | None = None,
        *,
        sni: str | None = SERVER_NAME,
        tls_version: str | None = None,
        session: ClientSession | None = None,
        address: str = "127.0.0.1",
        method: str = "GET",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Connect, shake hands, ask for something and give what came of it.

        :param client: the client's certificate.
        :param sni: the name that it asks for; ``None`` for none.
        :param tls_version: ``"TLSv1.2"`` or ``"TLSv1.3"``: the only one that it speaks.
        :param session: of an earlier outcome, to resume; the client's certificate and version are that one's.
        :param address: where it comes from: any address of ``127.0.0.0/8``.
        :param headers: further ones of the request.
        """
        lines = [f"{method} {path} HTTP/1.1", f"host: {sni or SERVER_NAME}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        request = "\r\n".join([*lines, "", ""]).encode("latin-1")
        factory = ClientFactory(Wanted(client, sni, tls_version, session, request))
        self._record.last = None
        self._upstream.headers = {}
        self._reactor.connectTCP(
            "127.0.0.1", self._port.getHost().port, factory, timeout=_PATIENCE, bindAddress=(address, 0)
        )
        giving_up = self._timers.callLater(_PATIENCE, lambda: factory.client.transport.abortConnection())
        seen = await factory.client.done
        giving_up.cancel()
        await self._generation.when_idle()
        return self._outcome(seen)

    def _outcome(self, seen: Seen) -> Outcome:
        if self._record.last is None:
            raise AssertionError(f"the gateway has recorded no handshake; the client saw {seen}")
        resumed, client, _, code, detail, rulings = self._record.last[7:13]
        head, _, body = seen.reply.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.1 ") else None
        told = _TOLD.search(body) if status == 403 and not code else None
        if told is not None:
            code = told[1].decode("ascii")
        return Outcome(
            accepted=not code and status == 200,
            code=str(code),
            detail=detail,
            rulings=tuple(rulings),
            status_of_client=client,
            alert=seen.alert,
            error=seen.error,
            status=status,
            body=body,
            headers=self._upstream.headers,
            tls_version=seen.tls_version,
            resumed=resumed,
            session=seen.session,
        )

    async def stop(self) -> None:
        """Close everything and wait until it is gone."""
        await self._port.stopListening()
        self._generation.retire()
        self._generation.abort()
        await self._generation.when_idle()
        await self._upstream.stop()
        for _ in range(_TURNS):
            await deferLater(self._reactor, 0, lambda: None)
            if not any(one.connections for one in self._metrics.upstreams.values()):
                break
        self._timers.stop_timers()


@asynccontextmanager
async def serve(
    policies: Sequence[Any] | None = None,
    *,
    trust: Sequence[Authority | Issued] = (),
    mode: ValidationMode = ValidationMode.ALLOW_VALID_ONLY,
    rule: Sequence[Any] | RouteRule | None = None,
    injectors: Sequence[Any] = (XFCC(),),
    listener: Listener | None = None,
    env: IEnvironment | None = None,
    now: datetime | Clock | None = None,
    **validation: Any,
) -> AsyncIterator[ServedGateway]:
    """Serve a gateway for several handshakes::

        async with serve([(dns_suffix, config)], trust=[authority]) as edge:
            first = await edge.handshake(client)
            again = await edge.handshake(client, session=first.session)

    :param policies: those of the connection: kinds, kinds with their options as ``(kind, config)``, what
        :func:`~edgegw.testing.build` has made, or the model's ``PolicyAny`` and so on.  ``None`` for no policies; an
        empty list refuses everybody.
    :param trust: the authorities of the clients' certificates; that of :func:`~edgegw.testing.peer` always is one.
    :param rule: policies of the route's rule, or the whole rule; its backends are replaced.
    :param injectors: what tells the upstream who is calling: kinds of header injectors, kinds with their options, or
        the model's ``FieldHeaders`` and so on.  ``x-forwarded-client-cert`` without it.
    :param listener: other settings of the listener; its TLS certificate, client validation and header injection are
        replaced.
    :param env: what plugins are built with.
    :param now: the time to judge by, which policies find in ``peer.now``, aware; or a function that gives it, for one
        that goes on from handshake to handshake.  The present without it, by which OpenSSL judges chains in any case.
    :param validation: further fields of ``edgegw.model.ClientValidation``.
    :raises ValueError: ``now`` has no time zone.
    """
    from twisted.internet import reactor

    anchors = tuple(_trust_anchor(one.root if isinstance(one, Authority) else _root(one)) for one in trust)
    built: list[BuiltPolicy] = []
    own = None if policies is None else policy_rules(policies, env, built)
    if not isinstance(rule, RouteRule):
        of_rule = None if rule is None else policy_rules(rule, env, built)
        needed = ClientRequirement.NONE if of_rule is None else ClientRequirement.VERIFIED
        rule = RouteRule(policies=of_rule, client=needed, explain_to_client=True)
    served = ServedGateway(
        reactor,
        ClientValidation(mode, (_trust_anchor(default_authority().certificate), *anchors), policies=own, **validation),
        rule,
        evolve(
            listener or Listener("edge", 0, Protocol.HTTPS, "127.0.0.1"),
            header_injection=tuple(_injection(one, env) for one in injectors),
        ),
        _clock(now),
    )
    try:
        yield served
    finally:
        await served.stop()
        for one in built:
            one.close()


async def handshake(
    policies: Sequence[Any] | None = None,
    client: Issued | None = None,
    *,
    sni: str | None = SERVER_NAME,
    tls_version: str | None = None,
    address: str = "127.0.0.1",
    method: str = "GET",
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    trust: Sequence[Authority | Issued] = (),
    **options: Any,
) -> Outcome:
    """Have one client shake hands with a gateway that has some policies, and give what came of it.

    :param policies: see :func:`serve`, as are ``trust`` and the ``options``; the authority of the client's certificate
        is trusted without being named, unless others are.
    :param client: see :meth:`ServedGateway.handshake`, as are all the others.
    """
    if not trust and client is not None and client.root is not None:
        trust = (client,)
    async with serve(policies, trust=trust, **options) as served:
        return await served.handshake(
            client, sni=sni, tls_version=tls_version, address=address, method=method, path=path, headers=headers
        )


def policy_rules(
    policies: Sequence[Any], env: IEnvironment | None = None, built: list[BuiltPolicy] | None = None
) -> tuple[PolicyRule, ...]:
    """Make the model of some policies; see :func:`serve`.

    :param built: takes what was built here, to be closed.
    :raises TypeError: one is none.
    """
    made: list[PolicyRule] = []
    for one in policies:
        if isinstance(one, (PolicyUse, PolicyAny, PolicyAll, PolicyNot)):
            made.append(one)
            continue
        environment = env or FakeEnvironment()
        if isinstance(one, BuiltPolicy):
            policy = one
        elif IPolicyKind.providedBy(one):
            policy = build(one, None if one.config_type is None else {}, environment)
        elif isinstance(one, tuple) and len(one) == 2:
            policy = build(*one, environment)
        else:
            raise TypeError(f"{one!r} is no policy: give a kind, or a kind and its options as (kind, config)")
        if built is not None and policy is not one:
            built.append(policy)
        made.append(PolicyUse(policy.kind, policy.policy, policy.env))
    return tuple(made)


def _clock(now: datetime | Clock | None) -> Clock:
    if now is None:
        return present
    if callable(now):
        return lambda: utc(now())
    moment = utc(now)
    return lambda: moment


def _injection(injector: Any, env: IEnvironment | None) -> Any:
    kind, config = injector if isinstance(injector, tuple) else (injector, None)
    if not IHeaderInjectorKind.providedBy(kind):
        return injector
    environment = env or FakeEnvironment()
    if config is None and kind.config_type is not None:
        config = {}
    return InjectorUse(kind, configure(kind, config, environment), environment)


def _root(issued: Issued) -> x509.Certificate:
    return issued.certificate if issued.root is None else issued.root


def _trust_anchor(certificate: x509.Certificate) -> TrustAnchor:
    name = certificate.subject.rfc4514_string()
    return TrustAnchor(name, certificate.public_bytes(Encoding.PEM), certificate.not_valid_after_utc)


def _server_certificate(issued: Issued) -> ServerCertificate:
    return ServerCertificate(
        "edge", issued.chain_pem, issued.key_pem, (SERVER_NAME, f"*.{SERVER_NAME}"), (), "EC",
        issued.certificate.not_valid_after_utc,
    )  # fmt: skip
