"""The gateway's own answers: short, and silent about what is behind it."""
from __future__ import annotations

import json
from http import HTTPStatus
from random import getrandbits

from edgegw.headers.response import http_date
from edgegw.wire.http1 import RequestHead

__all__ = ["answer_body", "answer_text", "new_request_id", "phrase", "render_answer"]

#: What a client is told of each status; the details are the log's.
_TEXTS = {
    400: "The request is malformed.",
    200: "ok",
    403: "The client is not allowed to do this.",
    404: "No route takes this request.",
    405: "This method is not allowed.",
    408: "The request took too long to arrive.",
    413: "The request's body is too large.",
    414: "The request's target is too long.",
    417: "The expectation cannot be met.",
    421: "This connection is not for the host that was asked for.",
    426: "This version of the protocol is not supported.",
    429: "There are too many requests.",
    431: "The request's header is too large.",
    500: "The gateway failed.",
    502: "The upstream gave no valid answer.",
    503: "The upstream is not available.",
    504: "The upstream took too long.",
    505: "This version of HTTP is not supported.",
}


def phrase(status: int) -> bytes:
    """Give the reason phrase of a status; empty where it has none."""
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


def new_request_id() -> bytes:
    """Give 32 hexadecimal digits that no other request has."""
    return b"%032x" % getrandbits(128)


def answer_body(status: int, head: RequestHead | None, reason: str, request_id: bytes) -> tuple[bytes, bytes]:
    """Give the media type and the text of an answer, in the form that the client prefers.

    :param head: the request; ``None`` where it could not be read.
    :param reason: the reason code, where the client may know it.
    """
    text = _TEXTS.get(status, "")
    title = phrase(status).decode("ascii")
    accept = b",".join(head.values(b"accept")).lower() if head is not None else b""
    if b"json" in accept:
        # RFC 9457
        problem = {"status": status, "title": title, "detail": text, "instance": request_id.decode("ascii")}
        if reason:
            problem["reason"] = reason
        return b"application/problem+json", json.dumps(problem).encode("ascii") + b"\n"
    told = f"reason: {reason}\n" if reason else ""
    return b"text/plain; charset=utf-8", f"{status} {title}\n{text}\n{told}".encode("ascii")


def answer_text(status: int) -> str:
    """Give what a client is told of a status in one sentence; empty where there is nothing to say."""
    return _TEXTS.get(status, "")


def render_answer(
    status: int, head: RequestHead | None, keep_alive: bool, extra: bytes = b"", reason: str = "",
    request_id: bytes = b"",
) -> bytes:
    """Give a whole HTTP/1.1 response.

    :param head: the request; ``None`` where it could not be read.
    :param extra: more header lines, each with its CRLF.
    :param reason: the reason code, where the client may know it.
    :param request_id: what the log calls the request; a new one without it.
    """
    request_id = request_id or new_request_id()
    kind, body = answer_body(status, head, reason, request_id)
    if not keep_alive:
        extra += b"connection: close\r\n"
    elif head is not None and head.version == 0:
        extra += b"connection: keep-alive\r\n"
    return b"HTTP/1.1 %d %b\r\nserver: edgegw\r\ndate: %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (
        status, phrase(status), http_date(), kind, len(body),
    ) + b"x-request-id: %b\r\n%b\r\n%b" % (
        request_id, extra, b"" if head is not None and head.method == b"HEAD" else body,
    )
