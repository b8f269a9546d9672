"""The admin site: ``/metrics``, ``/healthz``, ``/readyz``, ``/handshakes``, ``/upstreams``, ``/gateway-api/status``.

It is for the operator's own network: it speaks plain HTTP, asks nobody who they are, and shows who connected:
addresses and what their certificates say, no keys and nothing that would let anybody in.  It changes nothing.
Requests to it are not logged.

``/healthz`` answers 200 for as long as the process works; ``/readyz`` answers 200 while new
connections are taken, and 503 before that and during the drain, so that a load balancer goes
elsewhere.

``/handshakes`` gives JSON with three members: ``handshakes``, the oldest first; ``next``, what to ask for as
``since`` to get those that follow; and ``explanations``, a sentence, the usual cause and what to do for each
reason code among them.  The query may have ``refused=1`` (only those that did not come in), ``listener``,
``reason``, ``peer``, ``since`` (an id, or an earlier answer's ``next``; ``0`` is before all) and ``limit``, 100
at most, since formatting more would hold up connections.  Without ``since`` the answer has the last ones.
``/handshakes/ID`` is one of them, with its ``explanation``; 404 where the record does not have it any more.

``/upstreams`` gives JSON with two members: ``upstreams``, each with what is known of its endpoints, in the order of
their names, and as many as have 1000 endpoints together; ``next``, what to ask for as ``from`` to get those that
follow, or ``null``.  ``name`` in the query asks for one of them; 404 where there is none.

``/gateway-api/status`` gives JSON with two members: ``items``, the objects of the manifests that are in use with the
status that a cluster would show; ``faults``, a line each of what is wrong with those that would be in use otherwise.
404 where the configuration is not of manifests.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from io import BytesIO
from typing import Any, Final
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import BAD_REQUEST, NOT_ALLOWED, NOT_FOUND, OK, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from edgegw.observe.handshakes import HandshakeRecord
from edgegw.reason_explanations import EXPLANATIONS
from edgegw.verdict import Explanation, Reason, is_code

__all__ = ["MAX_ENDPOINTS", "MAX_HANDSHAKES", "AdminSite", "Statuses", "Upstreams", "explanation"]

#: Handshakes in one answer.
MAX_HANDSHAKES: Final = 100
#: Upstreams and endpoints in one answer.
MAX_ENDPOINTS: Final = 1000

_PLAIN = b"text/plain; charset=utf-8"
_JSON = b"application/json"
#: Every Prometheus reads this; the newer formats of the same media type bring nothing here.
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_ONE_HANDSHAKE = b"/handshakes/"
_PARAMETERS = frozenset({"refused", "listener", "reason", "peer", "since", "limit"})

#: What is told of one upstream.
Description = dict[str, Any]
#: Gives the upstreams by their names, in the names' order, each with what tells of it.
Upstreams = Callable[[], Iterable[tuple[str, Callable[[], Description]]]]
#: Gives what ``/gateway-api/status`` shows; ``None`` where there is nothing of the kind.
Statuses = Callable[[], Mapping[str, Any] | None]
#: Status, media type and body of an answer.
_Answer = tuple[int, bytes, bytes]
_Page = Callable[[Request], _Answer]
#: What a reason code means, if somebody knows.
Explain = Callable[[str], Explanation | None]


def explanation(code: str) -> Explanation | None:
    """Give what one of the gateway's own reason codes means; ``None`` for a plugin's."""
    try:
        return EXPLANATIONS.get(Reason(code))
    except ValueError:
        return None


class AdminSite(Site):
    """The site of one gateway.

    :param registry: what ``/metrics`` shows.
    :param is_ready: asked at each ``/readyz``.
    :param record: what ``/handshakes`` shows; without one there is no such page.
    :param upstreams: gives what ``/upstreams`` shows; without it there is no such page.
    :param explain: says what a reason code means; the gateway's own codes if not given.
    :param statuses: gives what ``/gateway-api/status`` shows; without it there is no such page.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        registry: CollectorRegistry,
        is_ready: Callable[[], bool],
        record: HandshakeRecord | None = None,
        explain: Explain = explanation,
        upstreams: Upstreams | None = None,
        statuses: Statuses | None = None,
    ) -> None:
        def metrics(request: Request) -> _Answer:
            accept = request.getHeader(b"accept") or b""
            if b"application/openmetrics-text" in accept:
                return OK, _OPENMETRICS, openmetrics.generate_latest(registry)
            return OK, _PROMETHEUS, generate_latest(registry)

        def healthz(request: Request) -> _Answer:
            return OK, _PLAIN, b"ok\n"

        def readyz(request: Request) -> _Answer:
            return (OK, _PLAIN, b"ready\n") if is_ready() else (SERVICE_UNAVAILABLE, _PLAIN, b"not ready\n")

        pages: dict[bytes, _Page] = {b"/metrics": metrics, b"/healthz": healthz, b"/readyz": readyz}
        if record is not None:
            handshakes = _Handshakes(record, explain)
            pages[b"/handshakes"] = handshakes.several
            pages[_ONE_HANDSHAKE] = handshakes.one
        if upstreams is not None:
            pages[b"/upstreams"] = _Upstreams(upstreams).page
        if statuses is not None:
            pages[b"/gateway-api/status"] = partial(_status_page, statuses)
        super().__init__(
            _Pages(pages), requestFactory=_AdminRequest, reactor=reactor, parsePOSTFormSubmission=False
        )

    def getContentFile(self, length: int | None) -> BytesIO:
        """Give where a request's body goes: nowhere, no page here takes one."""
        return _Nowhere()

    def startFactory(self) -> None:
        """Begin without the access log and its clock, which would tick every second."""

    def stopFactory(self) -> None:
        """End; there is no access log to close."""

    def log(self, request: object) -> None:
        """Leave requests to this site out of every log."""


class _AdminRequest(Request):
    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a response header; ``Server`` does not say which Twisted this is."""
        super().setHeader(name, b"edgegw" if name.lower() == b"server" else value)


class _Nowhere(BytesIO):
    def write(self, data: object) -> int:
        return len(data) if isinstance(data, bytes) else 0


def _status_page(statuses: Statuses, request: Request) -> _Answer:
    shown = statuses()
    if shown is None:
        return NOT_FOUND, _PLAIN, b"the configuration is not of Gateway API manifests\n"
    return OK, _JSON, _json(shown)


class _Upstreams:
    """The page that shows the upstreams."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    def page(self, request: Request) -> _Answer:
        """Give them; 400 and a line that says why if the query cannot be understood, 404 for a name that none has."""
        try:
            query = _query(request, frozenset({"name", "from"}))
        except ValueError as error:
            return BAD_REQUEST, _PLAIN, f"{str(error)[:200]}\n".encode()
        wanted, begin = query.get("name"), query.get("from", "")
        found: list[Description] = []
        endpoints = 0
        for name, describe in self._upstreams():
            if (wanted is not None and name != wanted) or name < begin:
                continue
            if endpoints >= MAX_ENDPOINTS:
                return OK, _JSON, _json({"upstreams": found, "next": name})
            found.append(describe())
            endpoints += 1 + len(found[-1].get("endpoints", ()))
        if wanted is not None and not found:
            return NOT_FOUND, _PLAIN, b"there is no such upstream\n"
        return OK, _JSON, _json({"upstreams": found, "next": None})


class _Handshakes:
    """The pages that show the record."""

    def __init__(self, record: HandshakeRecord, explain: Explain) -> None:
        self._record = record
        self._explain = explain

    def several(self, request: Request) -> _Answer:
        """Give those that the query asks for; 400 and a line that says why if it cannot be understood."""
        try:
            query = _query(request)
            limit = _limit(query.get("limit", str(MAX_HANDSHAKES)))
            refused = _yes_or_no(query.get("refused", "0"))
            reason = query.get("reason")
            if reason is not None and not is_code(reason):
                raise ValueError(f"{reason[:80]!r} is no reason code")
            entries, after = self._record.entries(
                limit,
                query.get("since"),
                refused=refused,
                reason=reason,
                listener=query.get("listener"),
                peer=query.get("peer"),
            )
        except ValueError as error:
            return BAD_REQUEST, _PLAIN, f"{str(error)[:200]}\n".encode()
        explanations: dict[str, object] = {}
        for entry in entries:
            code = str(entry["reason"])
            if code and code not in explanations:
                explanations[code] = self._explained(code)
        return OK, _JSON, _json({"handshakes": entries, "explanations": explanations, "next": after})

    def one(self, request: Request) -> _Answer:
        """Give the one whose id is the rest of the path; 404 if it is not in the record."""
        id_text = request.path[len(_ONE_HANDSHAKE) :].decode("ascii", "replace")
        entry = self._record.find(id_text)
        if entry is None:
            return NOT_FOUND, _PLAIN, b"not in the record\n"
        code = str(entry["reason"])
        return OK, _JSON, _json({**entry, "explanation": self._explained(code) if code else None})

    def _explained(self, code: str) -> dict[str, str] | None:
        found = self._explain(code)
        if found is None:
            return None
        return {"sentence": found.sentence, "cause": found.cause, "remedy": found.remedy}


def _query(request: Request, parameters: frozenset[str] = _PARAMETERS) -> dict[str, str]:
    """Give a query's parameters.

    :raises ValueError: an unknown one, one that is there twice, one without a value, or one that is no UTF-8.
    """
    # Twisted's own reading of it leaves out what it does not understand.
    query = request.uri.partition(b"?")[2].decode("ascii")
    if not query:
        return {}
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict"):
        if name not in parameters:
            raise ValueError(f"{name[:80]!r} is no parameter of this page: {', '.join(sorted(parameters))}")
        if name in found:
            raise ValueError(f"{name} is there more than once")
        found[name] = value
    return found


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= MAX_HANDSHAKES):
        raise ValueError(f"limit is {text[:80]!r}; it must be a number from 1 to {MAX_HANDSHAKES}")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"refused is {text[:80]!r}; it must be 0 or 1")
    return text == "1"


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


class _Pages(Resource):
    """Answers by the exact path: no directory, no name below a page but that of one handshake."""

    isLeaf = True

    def __init__(self, pages: Mapping[bytes, _Page]) -> None:
        super().__init__()
        self._pages = pages

    def render(self, request: Request) -> bytes:
        """Answer with a page, 404 for a path that has none, 405 for a method other than GET and HEAD."""
        path = _ONE_HANDSHAKE if request.path.startswith(_ONE_HANDSHAKE) else request.path
        page = self._pages.get(path)
        if page is None:
            status, media_type, body = NOT_FOUND, _PLAIN, b"not found\n"
        elif request.method not in (b"GET", b"HEAD"):
            request.setHeader(b"Allow", b"GET, HEAD")
            status, media_type, body = NOT_ALLOWED, _PLAIN, b"method not allowed\n"
        else:
            status, media_type, body = page(request)
        request.setResponseCode(status)
        request.setHeader(b"Content-Type", media_type)
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return b"" if request.method == b"HEAD" else body
