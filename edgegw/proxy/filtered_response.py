"""What filters make of an upstream's response: its header lines, what tells pages of other origins, its compression."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from edgegw.filters.compressors import compressor
from edgegw.filters.content_coding import CompressionRules
from edgegw.filters.header_changes import Field
from edgegw.proxy.compressing import PIECE, CompressedBody
from edgegw.proxy.rule_filters import RuleFilters, Treatment
from edgegw.wire.http1 import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead

__all__ = ["FilteredResponse"]


class Client(Protocol):
    """Who is sent the response."""

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        """Begin the response."""

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """Go on with the response."""


class FilteredResponse:
    """The response to one request.

    :param request: what was asked.
    :param over: called before the last of it is sent.
    :ivar origin: that the request came from; ``None`` where it names none, or it does not matter.
    :ivar begun: whether it has begun.
    :ivar compressed: the body on its way through a compressor; ``None`` where it goes on as it is.
    """

    __slots__ = ("_client", "_over", "_request", "_rules", "_treatment", "begun", "compressed", "origin")

    def __init__(
        self, client: Client, request: RequestHead, rules: RuleFilters, treatment: Treatment, over: Callable[[], None]
    ) -> None:
        self._client = client
        self._request = request
        self._rules = rules
        self._treatment = treatment
        self._over = over
        self.origin = None if treatment.cors is None else _origin(request)
        self.begun = False
        self.compressed: CompressedBody | None = None

    def cors_fields(self) -> list[Field]:
        """Give what lets pages of the request's origin use a response."""
        cors = self._treatment.cors
        return [] if cors is None else cors.response(self.origin)

    def respond(self, head: ResponseHead, length: int, data: bytes, ended: bool, upstream: Any) -> None:
        """Begin it; see ``Downstream``.

        :param upstream: the producer of the rest.
        """
        self.begun = True
        head = self.changed(head)
        rules = self._rules.compression
        told = head.length if self._request.method == b"HEAD" else length
        if rules is not None and rules.could(self._request.fields, head.status, head.fields, told):
            self._compress(rules, head, length, data, ended, upstream)
        else:
            self._begin(head, length, data, ended)

    def changed(self, head: ResponseHead) -> ResponseHead:
        """Give a head with the header lines that the client gets."""
        change, cors = self._treatment.response, self._treatment.cors
        if change is None and cors is None:
            return head
        fields = _end_to_end(head)
        if cors is not None:
            fields = [*cors.without(fields), *self.cors_fields()]
        return _with_fields(head, fields if change is None else change.apply(fields))

    def _begin(self, head: ResponseHead, length: int, data: bytes, ended: bool) -> None:
        if ended:
            self._over()
        self._client.respond(head, length, data, ended)

    def respond_more(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        """Go on with it; see ``Downstream``."""
        if trailers and self._treatment.response is not None:
            trailers = self._treatment.response.trailers(trailers)
        if self.compressed is not None:
            self.compressed.take(data, ended, trailers)
        else:
            self._give(data, ended, trailers)

    def _give(self, data: bytes, ended: bool, trailers: list[Field]) -> None:
        if ended:
            self._over()
        self._client.respond_more(data, ended, trailers)

    def _compress(
        self, rules: CompressionRules, head: ResponseHead, length: int, data: bytes, ended: bool, upstream: Any
    ) -> None:
        """Begin a response that is compressed if the client takes it so."""
        encoding = rules.choose(self._request.fields)
        changed = _with_fields(head, rules.fields(_end_to_end(head), encoding))
        if encoding is None:
            self._begin(changed, length, data, ended)
        elif self._request.method == b"HEAD":
            # Nobody knows how long it would be.
            changed.length = UNTIL_CLOSE
            self._begin(changed, 0, b"", ended)
        elif ended and len(data) <= PIECE:
            stream = compressor(encoding)
            body = stream.compress(data) + stream.finish()
            self._begin(changed, len(body), body, True)
        else:
            body_of = CompressedBody(self._rules.reactor, compressor(encoding), None if ended else upstream, self._give)
            self.compressed = body_of
            self._client.respond(changed, CHUNKED, b"", False)
            if self.compressed is body_of:
                body_of.take(data, ended, [])

    def stop(self) -> None:
        """Nobody wants the rest, or there is none."""
        self._over = _nothing  # who is told keeps this
        compressed, self.compressed = self.compressed, None
        if compressed is not None:
            compressed.stop()


def _nothing() -> None:
    """Be told of nothing."""


def _origin(head: RequestHead) -> bytes | None:
    origins = head.values(b"origin")
    # Several are none that could be allowed.
    return origins[0] if len(origins) == 1 else b"" if origins else None


def _end_to_end(head: ResponseHead) -> list[Field]:
    """Give the header lines but those that belong to the upstream's connection."""
    return [one for one in head.fields if one[0] not in head.options and one[0] != b"connection"]


def _with_fields(head: ResponseHead, fields: list[Field]) -> ResponseHead:
    """Give a head with other header lines; their framing is the one that was read."""
    changed = ResponseHead(head.status, head.reason, head.version, fields, b"")
    changed.length = head.length
    changed.keep_alive = head.keep_alive
    return changed
