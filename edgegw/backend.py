"""What a backend is asked, and what it answers: an upstream that is written in Python.

Both can be made in a test: ``await backend.answer(BackendRequest("GET", "/"))``.
"""
from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from typing import Final, Union

from attrs import frozen

from edgegw.identity import ConnectionInfo, Identity

__all__ = ["FRAMING_HEADERS", "BackendRequest", "BackendResponse", "Headers", "RequestTooLarge", "header_fields"]

#: Header lines as authors write them: text by text, or pairs where a name comes more than once.
Headers = Union[Mapping[str, str], Sequence[tuple[str, str]]]

#: What only this hop's connection and framing are made of (RFC 9110 §7.6.1): never a backend's to say.
FRAMING_HEADERS: Final = frozenset({
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
#: A response's head has no more lines and bytes than that of any other upstream may have.
MAX_FIELDS: Final = 256
MAX_HEAD_BYTES: Final = 65_536
#: Bytes of a body that :meth:`BackendRequest.read` takes, if it is not told otherwise.
READ_LIMIT: Final = 1_048_576


class RequestTooLarge(Exception):
    """A request's body is longer than the backend wanted to read; not caught, it is answered with 413."""


class BackendRequest:
    """A request as an upstream would get it: sanitised, and with the identity headers of its listener.

    :ivar method: as it was sent: ``GET``.
    :ivar target: path and query as they were sent, percent-encoding included; ``*`` for OPTIONS of the whole server.
    :ivar host: the authority that was asked for, as it was written.
    :ivar headers: every header line but Host and framing, in order: ``(lower-case name, value)``.  Bytes beyond
        ASCII stand as the characters of the same number (ISO 8859-1).
    :ivar connection: what is known of the client and its connection, the verified identity among it.
    :ivar content_length: bytes of the body, 0 for none; ``None`` where only its end will tell.
    """

    __slots__ = ("_body", "connection", "content_length", "headers", "host", "method", "target")

    def __init__(
        self,
        method: str,
        target: str,
        *,
        host: str = "",
        headers: Iterable[tuple[str, str]] = (),
        connection: ConnectionInfo | None = None,
        body: bytes | AsyncIterator[bytes] = b"",
        content_length: int | None = None,
    ) -> None:
        """:param body: all of it, or what gives its pieces; the length of ``bytes`` is known."""
        self.method = method
        self.target = target
        self.host = host
        self.headers = tuple(headers)
        self.connection = ConnectionInfo("", Identity(), "") if connection is None else connection
        self.content_length = len(body) if isinstance(body, bytes) else content_length
        self._body = _whole(body) if isinstance(body, bytes) else body

    def __repr__(self) -> str:
        return f"<BackendRequest {self.method} {self.target}>"

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What comes after the first ``?``, as it was sent; empty without one."""
        return self.target.partition("?")[2]

    @property
    def identity(self) -> Identity:
        """Who is calling."""
        return self.connection.identity

    def header(self, name: str) -> str | None:
        """Give a header's value; ``None`` if it was not sent, or more than once.

        :param name: of any case.
        """
        values = self.values(name)
        return values[0] if len(values) == 1 else None

    def values(self, name: str) -> list[str]:
        """Give every value of a header, in order.

        :param name: of any case.
        """
        lower = name.lower()
        return [value for found, value in self.headers if found == lower]

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the body piece by piece, as it comes; the client sends no faster than pieces are taken.

        The body comes once: what was taken is not given again.  A backend that answers without reading it ends the
        client's connection after the answer.
        """
        return self._body

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """Read the whole body, or what is left of it.

        :param limit: bytes that it may have.
        :raises RequestTooLarge: it has more.
        """
        if self.content_length is not None and self.content_length > limit:
            raise RequestTooLarge(f"a body of {self.content_length} bytes, and {limit} are taken")
        size = 0
        pieces = []
        async for piece in self._body:
            size += len(piece)
            if size > limit:
                raise RequestTooLarge(f"a body of more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


@frozen
class BackendResponse:
    """An answer.

    :ivar status: 200 to 599.
    :ivar headers: text by text, or pairs of text.  Characters are ISO 8859-1, without controls.  Framing
        (``Content-Length``, ``Transfer-Encoding``, ``Connection`` and the like) is the gateway's own: such lines are
        left out.
    :ivar body: all of it, or what gives its pieces, such as an async generator; pieces are asked for as fast as the
        client takes them.  Not sent in answer to HEAD and with 204 and 304.
    :ivar length: bytes of a body that comes in pieces, if they are known; a body that turns out to have
        another length is cut.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes | AsyncIterable[bytes] = b""
    length: int | None = None


def header_fields(headers: object) -> list[tuple[bytes, bytes, bytes]]:
    """Give header lines as they go on the wire: lower-case name, value, the line with its CRLF; without framing.

    :param headers: what an author wrote as :data:`Headers`.
    :raises ValueError: it is something else, or a name or value cannot stand in a header; the text says which.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    if not isinstance(pairs, Iterable) or isinstance(pairs, (str, bytes)):
        raise ValueError("the headers are neither a mapping nor pairs")
    fields = []
    size = 0
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise ValueError(f"{repr(pair)[:100]} is no pair of a header's name and value")
        name, value = pair
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r} cannot be a header's name")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of {name[:100]} has characters that no header may have")
        lower = name.lower()
        if lower in FRAMING_HEADERS:
            continue
        value = value.strip(" \t")
        line = f"{name}: {value}\r\n".encode("latin-1")
        size += len(line)
        fields.append((lower.encode("ascii"), value.encode("latin-1"), line))
        if len(fields) > MAX_FIELDS or size > MAX_HEAD_BYTES:
            raise ValueError(f"the head has more than {MAX_FIELDS} lines or {MAX_HEAD_BYTES} bytes")
    return fields
