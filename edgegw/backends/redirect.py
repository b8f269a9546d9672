"""``redirect``: an upstream that sends every client somewhere else."""
from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from edgegw.api import BackendRequest, BackendResponse, backend, option

__all__ = ["Config"]

#: A URL with a host, or a path that no browser takes for one: visible ASCII only, which is what a header can carry.
_URL: Final = re.compile(r"https?://[A-Za-z0-9.\-_~%:\[\]]+(?:[/?#][\x21-\x7e]*)?")
_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x7e]*")


def _check_target(text: str) -> None:
    if not _URL.fullmatch(text) and not _PATH.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is no http URL or path; write https://www.example/ or /somewhere")


def _check_status(status: int) -> None:
    if status not in (301, 302, 303, 307, 308):
        raise ValueError(f"{status} sends nobody anywhere; write 301, 302, 303, 307 or 308")


@frozen(kw_only=True)
class Config:
    """Options of ``redirect``."""

    to: str = option("Where to: a URL with http or https, or a path of the same host.", check=_check_target)
    status: int = option(
        "301 and 308 are for good, 302, 303 and 307 for now; 307 and 308 keep method and body.",
        default=302, check=_check_status,
    )  # fmt: skip
    keep_path: bool = option("Whether the path and query that were asked for stand behind it.", default=False)

    def __attrs_post_init__(self) -> None:
        if self.keep_path and (self.to == "/" or "?" in self.to or "#" in self.to):
            raise ValueError(
                f"no path can stand behind {self.to}; with keep_path give one without ? and #, and not / alone"
            )


@backend("redirect", Config)
def redirect(config: Config, request: BackendRequest) -> BackendResponse:
    """Send every client somewhere else.

    The body of a request is not read: a client that sends one has its connection closed after the answer.

    Example::

        upstreams:
          - name: moved
            backend:
              redirect: {to: "https://www.example", status: 308, keep_path: true}
    """
    location = config.to
    if config.keep_path:
        location = location.rstrip("/") + ("/" if request.target == "*" else request.target)
    headers = {"location": location, "content-type": "text/plain; charset=utf-8"}
    return BackendResponse(config.status, headers, b"See the Location header.\n")
