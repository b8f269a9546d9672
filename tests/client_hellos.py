"""ClientHellos as they were captured from programs; ``data/client_hellos/index.json`` says from which."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import field, frozen

__all__ = ["CAPTURED", "Captured", "captured"]

_DIRECTORY = Path(__file__).parent / "data" / "client_hellos"


@frozen
class Captured:
    """One of them.

    :ivar data: what the client sent first, record headers included.
    :ivar source: program and version.
    :ivar versions: without GREASE.
    :ivar ja3: what the gateway made of it when it was added; Envoy's TLS inspector made the same, but for Chromium's:
        it leaves GREASE in groups and signature algorithms.
    """

    name: str
    source: str
    data: bytes = field(repr=False)
    server_name: str | None
    alpn: tuple[bytes, ...]
    versions: tuple[int, ...]
    ja3: str
    ja4: str


def _read() -> dict[str, Captured]:
    rows: list[dict[str, Any]] = json.loads((_DIRECTORY / "index.json").read_text())
    return {
        row["file"].removesuffix(".bin"): Captured(
            row["file"].removesuffix(".bin"),
            row["from"],
            (_DIRECTORY / row["file"]).read_bytes(),
            row["server_name"],
            tuple(one.encode() for one in row["alpn"]),
            tuple(int(one, 16) for one in row["versions"]),
            row["ja3"],
            row["ja4"],
        )
        for row in rows
    }


_BY_NAME = _read()
#: All of them.
CAPTURED = tuple(_BY_NAME.values())


def captured(name: str) -> Captured:
    """Give one by its file's name without ``.bin``."""
    return _BY_NAME[name]
