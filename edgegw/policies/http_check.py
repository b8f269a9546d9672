"""``http_check``: asks an HTTP service whether a client may come in."""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from secrets import token_hex
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from attrs import Factory, frozen

from edgegw.api import (
    Accept,
    Certificate,
    Duration,
    FilePath,
    HTTPAnswer,
    HTTPUnavailable,
    IEnvironment,
    Peer,
    Reason,
    Reject,
    Verdict,
    option,
    policy,
)
from edgegw.policies.details import shown

__all__ = ["Config", "HTTPCheck"]

#: Bytes that the body of an answer may have.
_LIMIT: Final = 65_536
_MOST_ATTRIBUTES: Final = 16
_MOST_CHARACTERS: Final = 256

_ACCEPT: Final = Accept()
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
#: What the client writes itself, or what would say how the message ends (RFC 9110 §7.6.1).
_RESERVED: Final = frozenset({
    "host", "content-length", "content-type", "transfer-encoding", "connection", "te", "trailer", "upgrade",
    "accept-encoding", "idempotency-key",
})


def _check_url(url: str) -> None:
    problem = f"{url!r} is no http or https URL; write it as https://policy.example/check"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", url):
        raise ValueError(problem)
    if "@" in parts.netloc:
        raise ValueError("has a user or password in it; send them in headers, such as Authorization")


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            raise ValueError(f"{shown(name)!r} is no header's name")
        if name.lower() in _RESERVED:
            raise ValueError(f"{name} is written by the gateway itself")
        if not _VALUE.fullmatch(value):
            # The value may be a secret.
            raise ValueError(f"the value of {name} has characters in it that no header may have")


@frozen(kw_only=True)
class Config:
    """Options of ``http_check``."""

    url: str = option("Where to ask: http or https.", check=_check_url)
    timeout: Duration = option(
        "How long one answer may take, waiting for a free place included; shorter than the listener's policy_timeout.",
        default=Duration(2.0),
        minimum=0.001,
        maximum=60.0,
    )
    facts: Literal["certificate", "connection"] = option(
        "What the service is told: of the certificate only, so that answers may be kept, or of the connection, too.",
        default="connection",
    )
    cache: Duration = option(
        "How long an answer about a certificate is used again; 0s asks every time.  Wants facts: certificate.",
        default=Duration(0.0),
        minimum=0.0,
    )
    concurrency: int = option("Requests at a time; more wait.", default=16, minimum=1, maximum=1024)
    headers: Mapping[str, str] = option(
        "Headers to send along, such as Authorization: Bearer ${TOKEN}.", default=Factory(dict), check=_check_headers
    )
    ca_certificates: FilePath | None = option(
        "A PEM file with what the service's chain ends in; by default what the system trusts.", default=None
    )
    send_pem: bool = option("Send the certificate itself along, as PEM.", default=False)

    def __attrs_post_init__(self) -> None:
        if self.cache > 0 and self.facts != "certificate":
            raise ValueError("keeps answers that depend on the connection; write facts: certificate, or no cache")


@policy("http_check", Config)
class HTTPCheck:
    """Ask an HTTP service whether a client may come in.

    The service is sent a POST with JSON.  With ``facts: certificate`` it is::

        {"certificate": {"verified": true, "sha256": "...", "subject": "CN=client,O=Acme", "issuer": "...",
                         "serial": "4f8a", "common_name": "client", "dns_names": [], "uris": [], "emails": [],
                         "ip_addresses": [], "spiffe_id": null, "not_before": "2026-01-01T00:00:00+00:00",
                         "not_after": "2026-04-01T00:00:00+00:00"}}

    and ``pem`` in it with ``send_pem``.  With ``facts: connection``, which is the default, there is also::

        "connection": {"listener": "edge", "address": "192.0.2.7", "server_name": "api.example.com",
                       "tls_version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "group": "X25519MLKEM768",
                       "resumed": false},
        "attributes": {"team": "payments"},
        "request": {"method": "GET", "path": "/admin", "host": "api.example.com"}

    ``attributes`` is what earlier policies have said; ``request`` is null but at a route's rule.

    200 lets the client in.  If its body is JSON by its content type, it must be an object, and what it has under
    ``attributes`` becomes attributes of the client: 16 texts at most, of 256 characters at most.  403 refuses it with
    ``check_refused``; the detail is the body's ``reason`` if it is JSON, or its text if it is text/plain.  Everything
    else refuses with ``check_unavailable``: other statuses, redirects among them, bodies that cannot be used or have
    more than 64 KiB, and no answer in time.

    ``cache`` keeps what the service said of a certificate; that it could not be asked is not kept.  Then, too, clients
    with one certificate that come at the same time are asked about once.  A question that went out on a connection
    which the service had just closed is asked again, with the same ``Idempotency-Key``.

    Example::

        policies:
          - http_check:
              url: https://policy.internal.example/check
              timeout: 1s
              facts: certificate
              cache: 5m
              headers: {Authorization: "Bearer ${POLICY_TOKEN:-none}"}
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self.cache_seconds = float(config.cache)
        self._config = config
        self._client = env.http(config.ca_certificates, config.concurrency)
        self._host = urlsplit(config.url).netloc
        self._headers = {"accept": "application/json", **config.headers, "content-type": "application/json"}
        # The key of each question that may be shared and is on its way, and how many wait for its answer.
        self._asked: dict[bytes, tuple[str, int]] = {}

    async def check(self, peer: Peer) -> Verdict:
        """Ask the service."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        question = json.dumps(self._facts(peer, certificate), separators=(",", ":")).encode("ascii")
        try:
            answer = await self._ask(question)
        except HTTPUnavailable as error:
            return Reject(Reason.CHECK_UNAVAILABLE, shown(str(error), 400))
        if answer.status == 200:
            return self._accepted(answer)
        if answer.status == 403:
            said = _reason(answer)
            return Reject(Reason.CHECK_REFUSED, f"{self._host} refused" + (f": {said}" if said else ""))
        return self._unusable(f"answered with the status {answer.status}")

    # --- the question -----------------------------------------------------------------------

    def _facts(self, peer: Peer, certificate: Certificate) -> dict[str, Any]:
        facts: dict[str, Any] = {"certificate": _certificate_facts(certificate, peer.verified, self._config.send_pem)}
        if self._config.facts == "connection":
            facts["connection"] = {
                "listener": peer.listener,
                "address": peer.address,
                "server_name": peer.server_name,
                "tls_version": peer.tls_version,
                "cipher": peer.cipher,
                "group": peer.group,
                "resumed": peer.resumed,
            }
            facts["attributes"] = dict(peer.attributes)
            request = peer.request
            facts["request"] = None if request is None else {
                "method": request.method, "path": request.path, "host": request.host,
            }  # fmt: skip
        return facts

    async def _ask(self, question: bytes) -> HTTPAnswer:
        if not self.cache_seconds:
            return await self._post(question, token_hex(16))
        key, waiting = self._asked.get(question, ("", 0))
        key = key or token_hex(16)
        self._asked[question] = (key, waiting + 1)
        try:
            return await self._post(question, key)
        finally:
            known, waiting = self._asked[question]
            if waiting > 1:
                self._asked[question] = (known, waiting - 1)
            else:
                del self._asked[question]

    async def _post(self, question: bytes, key: str) -> HTTPAnswer:
        config = self._config
        # Equal questions with one key are sent once.
        headers = {**self._headers, "idempotency-key": key}
        return await self._client.request(
            "POST", config.url, headers=headers, body=question, timeout=config.timeout, limit=_LIMIT
        )

    # --- the answer -------------------------------------------------------------------------

    def _accepted(self, answer: HTTPAnswer) -> Verdict:
        if not answer.body or not _is_json(answer):
            return _ACCEPT
        document = _document(answer)
        if document is None:
            return self._unusable("answered 200 with a body that is no JSON object")
        attributes = document.get("attributes")
        if attributes is None:
            return _ACCEPT
        problem = _attributes_problem(attributes)
        return self._unusable(f"answered 200 with {problem}") if problem else Accept(attributes)

    def _unusable(self, problem: str) -> Reject:
        return Reject(Reason.CHECK_UNAVAILABLE, f"{self._host} {problem}")


def _certificate_facts(certificate: Certificate, verified: bool, with_pem: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "verified": verified,
        "sha256": certificate.sha256,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial,
        "common_name": certificate.common_name,
        "dns_names": certificate.dns_names,
        "uris": certificate.uris,
        "emails": certificate.emails,
        "ip_addresses": certificate.ip_addresses,
        "spiffe_id": certificate.spiffe_id,
        "not_before": _moment(certificate.not_before),
        "not_after": _moment(certificate.not_after),
    }
    if with_pem:
        facts["pem"] = certificate.pem
    return facts


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _is_json(answer: HTTPAnswer) -> bool:
    return _JSON.fullmatch(answer.headers.get("content-type", "").strip()) is not None


def _document(answer: HTTPAnswer) -> dict[str, Any] | None:
    """Give the JSON object of a body; ``None`` if it is none."""
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _attributes_problem(attributes: object) -> str:
    if not isinstance(attributes, dict):
        return "attributes that are no object"
    if len(attributes) > _MOST_ATTRIBUTES:
        return f"{len(attributes)} attributes, and {_MOST_ATTRIBUTES} are allowed"
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            return f"an attribute called {shown(name, 40)!r}"
        if not isinstance(value, str) or len(value) > _MOST_CHARACTERS or not value.isprintable():
            return f"an attribute {name} that is no text of {_MOST_CHARACTERS} characters at most"
    return ""


def _reason(answer: HTTPAnswer) -> str:
    """Give the service's words, in printable ASCII and not too many of them."""
    if _is_json(answer):
        document = _document(answer) or {}
        said = document.get("reason")
        text = said if isinstance(said, str) else ""
    elif answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain":
        text = answer.body[:4 * _MOST_CHARACTERS].decode("utf-8", "replace")
    else:
        text = ""
    return shown(" ".join(text.split()), _MOST_CHARACTERS)
