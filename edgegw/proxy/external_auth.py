"""An HTTP service that decides about each request of a rule.

It is asked with GET for what the request is and who sent it; 200 lets the request pass.
"""
from __future__ import annotations

import re
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from edgegw.filters.header_changes import Field, HeaderChange, field
from edgegw.headers.fields import parse_template
from edgegw.http_client import HTTPClient, trust_of
from edgegw.identity import ConnectionInfo
from edgegw.interfaces import HTTPAnswer, HTTPUnavailable
from edgegw.model import ExternalAuth, HeaderModifier, OnFailure
from edgegw.verdict import Reason
from edgegw.wire.http1 import RequestHead

__all__ = ["Allowed", "AuthService", "Refused"]

#: Bytes of the service's answer.
MAX_ANSWER: Final = 65_536
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SEPARATORS: Final = {b"cookie": "; "}

_log = Logger(namespace="edgegw.http")


@frozen
class Allowed:
    """The request may pass.

    :ivar change: what the upstream is told by the service, in place of whatever the client says of it.
    """

    change: HeaderChange


@frozen
class Refused:
    """The request may not pass.

    :ivar code: why.
    :ivar fields: header lines and ``body``: of the service's answer; ``None`` for the gateway's own.
    """

    status: int
    code: Reason
    fields: list[Field] | None = None
    body: bytes = b""


def _behind(url: str, target: bytes) -> str | None:
    """Put a request's path and query behind a URL; ``None`` if the service could not be asked for just that."""
    # What is behind a "#" is not sent, and "*" is no path.
    if not target.startswith(b"/") or not target.isascii() or b"#" in target:
        return None
    return url.rstrip("/") + target.decode("ascii")


class AuthService:
    """The service of one rule.

    Making one does nothing with the reactor.
    """

    def __init__(self, reactor: Any, model: ExternalAuth) -> None:
        self._model = model
        trust = None if model.ca_certificates is None else trust_of(model.ca_certificates)
        self._client = HTTPClient(reactor, trust, model.concurrency)
        self._facts = [(name, parse_template(template)) for name, template in model.facts]
        self._request_headers = [name.encode("ascii") for name in model.request_headers]
        self._client_headers = frozenset(model.client_headers)
        # What the client says under these names reaches no upstream, whatever the service says.
        self._silence = HeaderChange(HeaderModifier(remove=model.upstream_headers))

    @property
    def told(self) -> HeaderChange:
        """What takes the headers that the service sets out of what clients send."""
        return self._silence

    def close(self) -> None:
        """End every request to it."""
        self._client.close()

    def ask(self, info: ConnectionInfo, head: RequestHead, scheme: bytes) -> Deferred[Allowed | Refused]:
        """Ask about a request; the Deferred does not fail but when it is cancelled."""
        return Deferred.fromCoroutine(self._ask(info, head, scheme))

    async def _ask(self, info: ConnectionInfo, head: RequestHead, scheme: bytes) -> Allowed | Refused:
        model = self._model
        try:
            headers = self._headers(info, head, scheme)
        except UnicodeDecodeError:
            # It could not be told what the upstream would be told.
            return Refused(400, Reason.CHECK_REFUSED)
        url = _behind(model.url, head.target) if model.append_path else model.url
        if url is None:
            # That is the client's doing and no failure of the service: on_failure has no say in it.
            return Refused(model.status, Reason.CHECK_REFUSED)
        try:
            answer = await self._client.request(
                "GET", url, headers=headers, timeout=model.timeout, limit=MAX_ANSWER
            )
            return self._judge(answer)
        except HTTPUnavailable as problem:
            _log.warn(
                "no decision about a request of {peer} on {listener}: {problem}",
                peer=info.peer, listener=info.listener, problem=str(problem),
            )
        if model.on_failure is OnFailure.ALLOW:
            return Allowed(self._silence)
        return Refused(model.status, Reason.CHECK_UNAVAILABLE)

    def _headers(self, info: ConnectionInfo, head: RequestHead, scheme: bytes) -> dict[str, str]:
        """Give what the service is told.

        :raises UnicodeDecodeError: a header of the client's is no text.
        """
        headers: dict[str, str] = {}
        for name in self._request_headers:
            values = [value.decode("utf-8") for value in head.values(name)]
            if values:
                headers[name.decode("ascii")] = _SEPARATORS.get(name, ", ").join(values)
        for fact, template in self._facts:
            told = template.fill(info)
            if told:
                headers[fact] = told
        headers["x-forwarded-method"] = head.method.decode("ascii")
        headers["x-forwarded-proto"] = scheme.decode("ascii")
        headers["x-forwarded-host"] = head.host.decode("ascii")
        headers["x-forwarded-uri"] = head.target.decode("ascii")
        headers["x-forwarded-for"] = info.peer
        return headers

    def _judge(self, answer: HTTPAnswer) -> Allowed | Refused:
        """Read an answer.

        :raises HTTPUnavailable: it is no decision.
        """
        status = answer.status
        for _, value in answer.fields:
            if not _VALUE.fullmatch(value):
                raise HTTPUnavailable("the service's answer has a header that cannot be sent")
        if status == 200:
            wanted = self._model.upstream_headers
            given = tuple((name, answer.headers[name]) for name in wanted if name in answer.headers)
            missing = tuple(name for name in wanted if name not in answer.headers)
            return Allowed(HeaderChange(HeaderModifier(set=given, remove=missing)))
        if not 300 <= status <= 499:
            raise HTTPUnavailable(f"the service answered with the status {status}")
        fields = [
            field(name.encode("ascii"), value.encode("latin-1"))
            for name, value in answer.fields
            if name in self._client_headers
        ]
        return Refused(status, Reason.CHECK_REFUSED, fields, answer.body)
