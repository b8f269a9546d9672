"""A request of the client: which rule takes it, and what that says, as plain values.

See :mod:`edgegw.explanation.findings`.
"""
from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from edgegw.config.description import describe_rule
from edgegw.explanation.findings import Document, case_of
from edgegw.explanation.policy_findings import listed_policies, policy_findings, verdict_findings
from edgegw.explanation.remedies import remedies
from edgegw.explanation.trial import Answer, FoundRule, Trial, TrialGateway, try_request
from edgegw.identity import ConnectionInfo, Identity
from edgegw.model import ClientRequirement, RefuseWith
from edgegw.names import canonical_authority
from edgegw.verdict import Accept, Reason, Reject, Verdict
from edgegw.wire.http1 import HTTPFault, parse_request_head

__all__ = ["Wanted", "request_findings"]


@frozen
class Wanted:
    """A request's line and headers.

    :ivar path: with a query, if there is one.
    :ivar host: ``None`` for the name that the client asked for in its handshake.
    :ivar headers: lines without their ends, Host not among them.
    """

    method: str
    path: str
    host: str | None = None
    headers: tuple[str, ...] = ()


async def request_findings(gateway: TrialGateway, trial: Trial, wanted: Wanted) -> Document:
    """Give what becomes of a request on the connection that was tried."""
    host = wanted.host or trial.client.server_name or _any_name(trial)
    document: Document = {
        "method": wanted.method, "path": wanted.path, "host": host, "not_asked": trial.unrouted,
    }  # fmt: skip
    if trial.way is not None and trial.way.upstream is not None:
        return {**document, "result": "passed through", "why": "the gateway sees no requests of the connection"}
    verdict = trial.rehearsed.verdict
    refusal = verdict if isinstance(verdict, Reject) else None
    if refusal is not None and not _is_answered(trial, refusal):
        return {**document, "result": "not sent", "why": "the connection is refused before any request"}
    if trial.judge.site is None:
        why = f"what is inside TLS on the listener {trial.judge.model.name} is not looked into"
        return {**document, "result": "passed through", "why": why}
    http = trial.judge.model.http
    lines = [f"{wanted.method} {wanted.path} HTTP/1.1", f"host: {host}", *wanted.headers, "", ""]
    sent = "\r\n".join(lines).encode("latin-1", "replace")
    try:
        head = parse_request_head(sent, http.max_head_bytes, http.max_headers, http.max_uri_bytes)
        assert head is not None
    except HTTPFault as fault:
        return {**document, "http_status": fault.status, "result": "refused", "why": f"{fault.detail}"}
    answer = await try_request(gateway, trial, _info(trial), refusal, head)
    document["http_status"] = answer.status
    if answer.rule is None:
        return {
            **document,
            "rule": None,
            "result": "accepted" if answer.status == 200 else "refused",
            "why": _own_answer(gateway, trial, answer.status, head.host),
        }
    return {**document, **_of_rule(trial, answer, answer.rule)}


def _any_name(trial: Trial) -> str:
    """Give a name that the listener is for: a client that sends no SNI asks for some host all the same."""
    hostname = trial.judge.model.hostname
    if hostname is not None and not hostname.startswith("*."):
        return hostname
    tls = trial.judge.model.tls
    names = [] if tls is None else [name for one in tls.certificates for name in one.dns_names]
    return next((name for name in names if not name.startswith("*.")), "localhost")


def _is_answered(trial: Trial, refusal: Reject) -> bool:
    """Whether a client that is refused may send a request, to be told so or to check health."""
    tls = trial.judge.model.tls
    validation = None if tls is None else tls.client_validation
    if trial.rehearsed.alert is not None:
        return False
    if refusal.code == Reason.NO_CERTIFICATE and trial.judge.is_probe(trial.client.address):
        return True
    return (
        validation is not None
        and validation.refuse_with is RefuseWith.RESPONSE
        and refusal.code not in (Reason.UNRECOGNIZED_NAME, Reason.CERTIFICATE_UNAVAILABLE, Reason.NO_TRUST_ANCHOR)
    )


def _info(trial: Trial) -> ConnectionInfo:
    """Give what rules are told of the connection."""
    rehearsed = trial.rehearsed
    verdict = rehearsed.verdict
    if isinstance(verdict, Reject):
        identity = Identity()
    else:
        identity = Identity(rehearsed.status, rehearsed.certificate, (), trial.verified_chain)
    info = rehearsed.info or ConnectionInfo(
        trial.judge.model.name, identity, trial.client.address, server_name=trial.client.server_name
    )
    attributes = verdict.attributes if isinstance(verdict, Accept) else {}
    return info._replace(identity=identity, attributes=attributes)


def _own_answer(gateway: TrialGateway, trial: Trial, status: int, host: bytes) -> str:
    """Say why the gateway answers a request by itself."""
    if status == 200:
        return "the gateway answers by itself: it is the listener's health check"
    if status == 403:
        return "the client was let in only to be told that it is refused (refuse_with: response)"
    if status == 421:
        if trial.way is not None:
            return "the SNI router was asked about another name: the client has to connect for this one"
        other = gateway.profile_of(trial.judge).listener_for(canonical_authority(host)).model.name
        return f"the host belongs to the listener {other} of the same port: the client has to connect for that name"
    if status == 404:
        return "no rule takes it"
    return "the host is no name, or an upstream could read the path as another one (see ambiguous_paths)"


def _of_rule(trial: Trial, answer: Answer, found: FoundRule) -> Document:
    rule, rehearsed = found.rule, trial.rehearsed
    verdict: Verdict = answer.verdict or Accept()
    listed = listed_policies(rule.policies)
    unasked = isinstance(verdict, Reject) and not answer.rulings and verdict.code != Reason.NO_POLICY
    document = {
        "rule": {
            "route": found.route.name,
            "number": found.number,
            **({} if rule.name is None else {"name": rule.name}),
            "summary": describe_rule(rule),
            "client": rule.client.value,
        },
        "policies": policy_findings(
            listed, answer.rulings, answer.not_asked, "the rule needs another client" if unasked else "",
            rehearsed.certificate is None,
        ),
        "not_asked": answer.not_asked or trial.unrouted,
        **verdict_findings(verdict, rehearsed.status, [one.kind for one in listed]),
    }
    if isinstance(verdict, Reject):
        told = f", which names {verdict.code}" if rule.explain_to_client else ""
        document["remedies"] = list(_remedies(trial, rule.client, verdict))
        document["client_sees"] = f"403{told}; the connection goes on"
    return document


def _remedies(trial: Trial, client: ClientRequirement, verdict: Reject) -> Iterator[str]:
    if verdict.code == Reason.NO_CERTIFICATE and client is not ClientRequirement.NONE:
        yield f"The rule has client: {client.value}; client: none would let everyone ask."
    else:
        yield from remedies(case_of(trial), verdict.code)
