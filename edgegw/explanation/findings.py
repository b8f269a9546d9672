"""What came of a client's handshake as a document of plain values.

It is what ``edgegw explain --json`` prints, and its text is made of it.  Facts of certificates are bounded, so that a
hostile certificate gives no more than a page.  What policies say need not be printable: whoever shows the document
escapes it.
"""
from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from edgegw.certificate import Certificate, certificate
from edgegw.config.description import describe_validation
from edgegw.explanation.policy_findings import listed_policies, policy_findings, verdict_findings
from edgegw.explanation.remedies import Anchor, Case, remedies
from edgegw.explanation.trial import Trial
from edgegw.identity import CertificateStatus
from edgegw.model import ClientValidation, RefuseWith, ServerCertificate, TLSSettings, TLSVersion
from edgegw.observe.certificate_summary import shorten
from edgegw.proxy.policing import policies_of
from edgegw.reasons import ALERT_NAMES, alert
from edgegw.tls.store_context import verify_error_text
from edgegw.verdict import Accept, Reason, Reject

__all__ = ["Document", "case_of", "certificate_findings", "connection_findings", "moment"]

Document = dict[str, Any]

#: Characters of a subject, an issuer and any other single text; names that are shown of a certificate.
_MOST_TEXT: Final = 1_000
_MOST_NAMES: Final = 50
_NAME_KINDS: Final = ("uris", "dns_names", "emails", "ip_addresses", "malformed_names")


def connection_findings(trial: Trial, present: bool) -> Document:
    """Give what came of a client's handshake.

    :param present: whether the time that was judged by is now.
    """
    rehearsed, model, tls = trial.rehearsed, trial.judge.model, _settings(trial)
    verdict = rehearsed.verdict
    case = case_of(trial)
    listed = listed_policies(policies_of(model))
    kinds = [one.kind for one in listed]
    if trial.way is not None and trial.way.kind is not None:
        kinds.append(trial.way.kind)
    unasked = isinstance(verdict, Reject) and not rehearsed.rulings and verdict.code != Reason.NO_POLICY
    document: Document = {
        "listener": model.name,
        "asked_for": trial.asked.model.name,
        "client_validation": describe_validation(tls.client_validation),
        "server_name": trial.client.server_name,
        "unmatched": trial.way is not None and trial.way.kind is None,
        "router": None if trial.way is None else str(trial.way),
        "shown": None if trial.context is None else [_shown(one) for one in _certificates(trial)],
        "by_name": None if trial.judge.dynamic is None else trial.judge.dynamic.use.kind.name,
        "time": moment(trial.at),
        "present": present,
        "address": trial.client.address,
        "tls_version": None if rehearsed.info is None else rehearsed.info.tls_version,
        "has_key": trial.client.key is not None,
        "certificate": certificate_findings(case.sent[0]) if case.sent else None,
        "sent": rehearsed.certificate is not None,
        "chain": list(_chain(case, case.chain)),
        "other_chain": list(_chain(case, trial.verified_chain or ())) if rehearsed.errors else [],
        "not_in_chain": [
            shorten(one.subject, _MOST_TEXT) for one in case.sent[1:] if case.chain and one not in case.chain
        ],
        "errors": [
            {"code": code, "text": verify_error_text(code), "depth": depth} for code, depth in rehearsed.errors
        ],
        "policies": policy_findings(
            listed, rehearsed.rulings, rehearsed.not_asked, "the client was refused before that" if unasked else "",
            rehearsed.certificate is None,
        ),
        "not_asked": rehearsed.not_asked or trial.unrouted,
        "alert": rehearsed.alert,
        **verdict_findings(verdict, rehearsed.status, kinds),
        "notes": list(_notes(trial, case)),
    }
    if trial.way is not None and trial.way.upstream is not None:
        document |= {"result": "passed through", "upstream": trial.way.upstream, "notes": []}
    if isinstance(verdict, Reject):
        document["remedies"] = list(remedies(case, verdict.code))
        document["client_sees"] = _seen(trial, verdict.code)
    return document


def case_of(trial: Trial) -> Case:
    """Give what remedies are made of."""
    offered = trial.client.certificate
    sent = () if offered is None else (offered, *trial.client.chain)
    tls = _settings(trial)
    return Case(
        at=trial.at,
        sent=tuple(certificate(one.public_bytes(Encoding.DER)) for one in sent),
        chain=trial.rehearsed.chain,
        errors=trial.rehearsed.errors,
        anchors=_anchors(tls.client_validation),
        tls=tls,
        server_name=trial.client.server_name,
        online=trial.online,
    )


def _settings(trial: Trial) -> TLSSettings:
    assert trial.judge.model.tls is not None
    return trial.judge.model.tls


def _anchors(validation: ClientValidation | None) -> tuple[Anchor, ...]:
    if validation is None:
        return ()
    return tuple(
        Anchor(one.name, certificate(x509.load_pem_x509_certificate(one.pem).public_bytes(Encoding.DER)))
        for one in validation.trust_anchors
    )


# --- certificates -----------------------------------------------------------------------------


def moment(when: datetime | None) -> str | None:
    """Write a time in UTC as ISO 8601 has it."""
    return None if when is None else when.isoformat(timespec="seconds").replace("+00:00", "Z")


def certificate_findings(one: Certificate) -> Document:
    """Give the facts of a certificate."""
    facts: Document = {
        "subject": shorten(one.subject, _MOST_TEXT),
        "issuer": shorten(one.issuer, _MOST_TEXT),
        "serial": shorten(one.serial, 100),
        "sha256": one.sha256,
        "not_before": moment(one.not_before),
        "not_after": moment(one.not_after),
        **{kind: [] for kind in _NAME_KINDS},
    }
    names = [(kind, name) for kind in _NAME_KINDS for name in getattr(one, kind)]
    for kind, name in names[:_MOST_NAMES]:
        facts[kind].append(shorten(name, _MOST_TEXT))
    facts["names_left_out"] = max(0, len(names) - _MOST_NAMES)
    facts["parse_error"] = shorten(one.parse_error, _MOST_TEXT) if one.parse_error else None
    return facts


def _chain(case: Case, chain: tuple[Certificate, ...]) -> Iterator[Document]:
    anchors = {one.certificate: one.name for one in case.anchors}
    for number, one in enumerate(chain):
        if one in anchors:
            source = f"trust anchor {anchors[one]}"
        else:
            source = "sent by the client" if number else "the client's own"
        yield {
            "subject": shorten(one.subject, _MOST_TEXT),
            "sha256": one.sha256,
            "not_before": moment(one.not_before),
            "not_after": moment(one.not_after),
            "source": source,
        }


def _certificates(trial: Trial) -> list[ServerCertificate]:
    """Give the certificates that a name leads to, one of each type of key."""
    table, dynamic, name = trial.judge.certificates, trial.judge.dynamic, trial.client.server_name
    if trial.source_asked is not None:
        given = dynamic.certificate_for(name) if trial.source_asked and dynamic and name else None
        return [] if given is None else [given]
    chosen = next((some for some, context in table._contexts.items() if context is trial.context), frozenset())
    return sorted(chosen, key=lambda one: (one.key_type, one.name))


def _shown(one: ServerCertificate) -> Document:
    names = [shorten(name, _MOST_TEXT) for name in (*one.dns_names, *one.uris)]
    return {"name": one.name, "key_type": one.key_type, "names": names[:_MOST_NAMES]}


# --- what to know of it -----------------------------------------------------------------------


def _seen(trial: Trial, code: str) -> str:
    """Say what the client sees of a refusal."""
    number, tls = trial.rehearsed.alert, _settings(trial)
    if number is not None:
        name = f"{ALERT_NAMES[number]} ({number})" if number in ALERT_NAMES else str(number)
        newest = tls.max_version is TLSVersion.TLS1_3 and trial.client.version in (None, SSL.TLS1_3_VERSION)
        when = ", when it first reads: under TLS 1.3 its own part of the handshake is done by then" if newest else ""
        return f"the alert {name}{when}"
    if trial.way is not None and trial.way.kind is None:
        return "no alert: the connection is closed"
    if code == Reason.UNRECOGNIZED_NAME:
        return f"the alert {ALERT_NAMES[112]} (112)"
    if code in (Reason.CERTIFICATE_UNAVAILABLE, Reason.NO_TRUST_ANCHOR):
        return f"the alert {alert(Reason(code), False)}"
    validation = tls.client_validation
    if validation is not None and validation.refuse_with is RefuseWith.RESPONSE:
        told = f", which names {code}" if validation.explain_to_client else ""
        return f"its first request is answered with 403{told}"
    return "no alert: the handshake is done by then, and the connection is closed"


def _notes(trial: Trial, case: Case) -> Iterator[str]:
    """Say what is remarkable although it did not decide, or is otherwise easily missed."""
    rehearsed, judge = trial.rehearsed, trial.judge
    validation = _settings(trial).client_validation
    if judge is not trial.asked and trial.way is None:
        yield f"The name leads to the listener {judge.model.name} of the same port, which judges the client."
    if trial.source_asked is False and judge.dynamic is not None:
        kind = judge.dynamic.use.kind.name
        yield f"{kind} is not asked for a certificate: it may ask others over the network; --online does."
    if isinstance(rehearsed.verdict, Accept):
        yield from _notes_of_acceptance(trial, case, validation)
    elif rehearsed.verdict.code == Reason.NO_CERTIFICATE and judge.is_probe(trial.client.address):
        assert judge.model.health_check is not None
        yield f"Requests for {judge.model.health_check.path} from this address are answered: they are health checks."
    leaf = rehearsed.certificate
    if leaf is None or rehearsed.status is not CertificateStatus.VERIFIED:
        return
    if rehearsed.errors:
        yield "The chain that OpenSSL built is not good; another one is, which alternative_chains has let be found."
    elif leaf.not_after is not None and leaf.not_after < case.at:
        yield "The certificate has expired, which a policy of the listener forgives as far as the chain goes."
    elif leaf.not_before is not None and leaf.not_before > case.at:
        yield "The certificate is not valid yet, which a policy of the listener forgives as far as the chain goes."


def _notes_of_acceptance(trial: Trial, case: Case, validation: ClientValidation | None) -> Iterator[str]:
    rehearsed = trial.rehearsed
    if case.sent and validation is None:
        yield "The listener asks for no certificate: the client's is not sent."
    elif case.sent and rehearsed.certificate is None:
        yield "The client did not send its certificate: its key fits no signature algorithm that the listener takes."
    elif case.sent and trial.client.key is None:
        yield "That the client has the certificate's private key is taken for granted; --key proves it."
    refused = bool(rehearsed.rulings) and isinstance(rehearsed.rulings[-1].verdict, Reject)
    if refused and validation is not None and validation.envoy_compatible:
        yield "A policy refused the client, which comes in all the same, unverified: envoy_compatible is on."
