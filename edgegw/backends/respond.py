"""``respond``: an upstream that answers every request with the same response."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import Factory, frozen

from edgegw.api import BackendRequest, BackendResponse, FilePath, IEnvironment, backend, option
from edgegw.backend import FRAMING_HEADERS, header_fields

__all__ = ["Config"]

#: Bytes that a body may have: it is held in memory.
MAX_BODY: Final = 16_777_216


def _check_headers(headers: Mapping[str, str]) -> None:
    header_fields(headers)
    for name in headers:
        if name.lower() in FRAMING_HEADERS:
            raise ValueError(f"{name} is the gateway's own to send; leave it out")


@frozen(kw_only=True)
class Config:
    """Options of ``respond``."""

    status: int = option("The status.", default=200, minimum=200, maximum=599)
    headers: Mapping[str, str] = option(
        "Headers of the response, such as content-type.", default=Factory(dict), check=_check_headers
    )
    body: str = option("The response's body, a line sent as UTF-8.", default="")
    body_file: FilePath | None = option(
        "A file that has the body, in place of body; followed as it changes.", default=None
    )

    def __attrs_post_init__(self) -> None:
        if self.body and self.body_file is not None:
            raise ValueError("has body and body_file; give one of the two")
        if self.status in (204, 304) and (self.body or self.body_file is not None):
            raise ValueError(f"status {self.status} has no body; leave it out")


@backend("respond", Config)
class Respond:
    """Answer every request with one status, the same headers and the same body.

    For a page that says that something is closed, for ``/robots.txt``, for an upstream that is not there yet, and for
    trying out who comes in before anything stands behind it.  Nothing of the request is looked at, and its body is not
    read: a client that sends one has its connection closed after the answer.  HEAD gets the same without the body.

    A body has no type by itself: say it in ``headers``.  One of several lines comes from a file, with ``body_file``;
    when that cannot be read any more, or grows past 16 MiB, the last good one stays in use.

    Example::

        upstreams:
          - name: closed
            backend:
              respond:
                status: 503
                headers: {content-type: text/plain, retry-after: "3600"}
                body: "Back at noon."
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._config = config
        self._headers = dict(config.headers)
        self._response = BackendResponse(config.status, self._headers, config.body.encode("utf-8"))
        self._file = None
        if config.body_file is not None:
            self._file = env.follow(config.body_file, self._with_body, MAX_BODY)

    def _with_body(self, body: bytes) -> BackendResponse:
        return BackendResponse(self._config.status, self._headers, body)

    def answer(self, request: BackendRequest) -> BackendResponse:
        """Give the response."""
        if self._file is not None:
            response: BackendResponse = self._file.value
            return response
        return self._response
