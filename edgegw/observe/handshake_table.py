"""Handshakes as text for a terminal: a table with a line for each, or one with all that is known of it.

What is given here came over the network as JSON, so nothing is taken for granted: a member that is missing is
shown as ``-``, and whatever a terminal would obey is escaped.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any, Final

from edgegw.observe.handshake_entry import visible
from edgegw.verdict import Explanation

__all__ = ["HandshakeTable", "describe"]

#: Titles of the columns and how wide each may grow; the last one may be as wide as it likes.
_COLUMNS: Final = (
    ("TIME", 24), ("ID", 20), ("PEER", 47), ("LISTENER", 24), ("SNI", 32), ("TLS", 15), ("CERTIFICATE", 44),
    ("RESULT", 0),
)  # fmt: skip
_NAME_KINDS: Final = (
    ("URI", "uris"), ("DNS", "dns_names"), ("email", "emails"), ("IP", "ip_addresses"), ("bad", "malformed_names"),
)  # fmt: skip
_TEXT_WIDTH: Final = 110

Entry = Mapping[str, Any]


class HandshakeTable:
    """A table whose columns are as wide as what it has shown so far needs."""

    def __init__(self) -> None:
        self._widths = [len(title) for title, _ in _COLUMNS]

    def fit(self, entries: Iterable[Entry]) -> None:
        """Make the columns wide enough for entries, as far as each may grow."""
        for entry in entries:
            self._fit(_cells(entry))

    def header(self) -> str:
        """Give the line of the titles."""
        return self._line([title for title, _ in _COLUMNS])

    def row(self, entry: Entry) -> str:
        """Give an entry's line; a column that is too narrow for it is wider from here on."""
        cells = _cells(entry)
        self._fit(cells)
        return self._line(cells)

    def _fit(self, cells: list[str]) -> None:
        for at, ((_, most), cell) in enumerate(zip(_COLUMNS, cells, strict=True)):
            self._widths[at] = max(self._widths[at], min(most, len(cell)))

    def _line(self, cells: list[str]) -> str:
        *padded, last = (
            _cut(cell, most).ljust(width) if most else cell
            for (_, most), width, cell in zip(_COLUMNS, self._widths, cells, strict=True)
        )
        return "  ".join([*padded, last]).rstrip()


def _cells(entry: Entry) -> list[str]:
    return [
        _text(entry.get("time")),
        _text(entry.get("id")),
        _peer(entry),
        _text(entry.get("listener")),
        _text(entry.get("server_name")),
        f"{_text(entry.get('version'))}{' resumed' if entry.get('resumed') else ''}",
        _certificate(entry),
        _result(entry),
    ]


def describe(entry: Entry, explanation: Explanation | None) -> str:
    """Give all that is known of a handshake, on several lines without a last line's end."""
    return "\n".join(_lines(entry, explanation))


def _lines(entry: Entry, explanation: Explanation | None) -> Iterator[str]:
    yield f"handshake {_text(entry.get('id'))}"
    yield _named("result", _result(entry))
    if entry.get("detail"):
        yield _named("detail", _text(entry["detail"]))
    yield _named("time", _text(entry.get("time")))
    if _count(entry) > 1:
        yield _named("", f"{_count(entry)} times, the last at {_text(entry.get('last'))}")
    yield _named("took", _milliseconds(entry.get("seconds")))
    yield _named("peer", _peer(entry))
    yield from _proxied_lines(entry)
    yield _named("listener", _text(entry.get("listener")))
    yield _named("SNI", _text(entry.get("server_name")))
    parameters = [_text(entry[name]) for name in ("version", "cipher", "group") if entry.get(name)]
    yield _named("TLS", ", ".join([*parameters, *(["resumed"] if entry.get("resumed") else [])]) or "-")
    for name in ("ja3", "ja4"):
        if entry.get(name):
            yield _named(name.upper(), _text(entry[name]))
    yield from _certificate_lines(entry)
    yield from _policy_lines(entry)
    if explanation is not None:
        yield ""
        for title, text in (
            ("", explanation.sentence), ("Usual cause: ", explanation.cause), ("What to do: ", explanation.remedy),
        ):  # fmt: skip
            if text:
                yield from wrap(title + visible(text), _TEXT_WIDTH, initial_indent="  ", subsequent_indent="  ")


def _proxied_lines(entry: Entry) -> Iterator[str]:
    """Say what a proxy in front said, and that it is only that."""
    said = entry.get("proxied")
    if not isinstance(said, Mapping):
        return
    kind = "its own connection" if said.get("local") else "its word for the client"
    yield _named("proxy", f"{_peer(said)} (PROXY v{_text(said.get('version'))}, {kind})")
    destination = said.get("destination")
    if isinstance(destination, Mapping):
        yield _named("  to", _peer({"peer": destination.get("address"), "port": destination.get("port")}))
    for title, name in (("  SNI", "authority"), ("  ALPN", "alpn"), ("  id", "unique_id")):
        if said.get(name):
            yield _named(title, _text(said[name]))
    tls = said.get("tls")
    if not isinstance(tls, Mapping):
        return
    yield _named("  TLS", ", ".join([_text(tls[name]) for name in ("version", "cipher") if tls.get(name)]) or "-")
    if tls.get("certificate") or tls.get("session_certificate"):
        result = "verified" if tls.get("verify") == 0 else f"not verified ({_text(tls.get('verify'))})"
        yield _named("  certificate", f"{result}, common name {_text(tls.get('common_name'))}")


def _certificate_lines(entry: Entry) -> Iterator[str]:
    yield _named("certificate", _text(entry.get("status")))
    certificate = entry.get("certificate")
    if not isinstance(certificate, Mapping):
        return
    for name in ("subject", "issuer", "serial", "sha256"):
        yield _named(f"  {name}", _text(certificate.get(name)))
    yield _named("  valid", f"{_text(certificate.get('not_before'))} to {_text(certificate.get('not_after'))}")
    title = "  names"
    for kind, member in _NAME_KINDS:
        for name in _items(certificate.get(member)):
            # A malformed name says itself of what kind it is.
            yield _named(title, f"{kind} {_text(name)}")
            title = ""
    if certificate.get("names_left_out"):
        yield _named(title, f"and {_text(certificate['names_left_out'])} more, for which there was no room")
    if certificate.get("parse_error"):
        yield _named("  problem", _text(certificate["parse_error"]))


def _policy_lines(entry: Entry) -> Iterator[str]:
    title = "policies"
    policies = [policy for policy in _items(entry.get("policies")) if isinstance(policy, Mapping)]
    width = max((len(_text(policy.get("policy"))) for policy in policies), default=0)
    for policy in policies:
        said = " ".join([_text(policy[name]) for name in ("verdict", "code") if policy.get(name)])
        took = "an earlier answer" if policy.get("cached") else _milliseconds(policy.get("seconds"))
        detail = f": {_text(policy['detail'])}" if policy.get("detail") else ""
        yield _named(title, f"{_text(policy.get('policy')).ljust(width)}  {said} ({took}){detail}")
        title = ""
    if entry.get("policies_left_out"):
        yield _named(title, f"and {_text(entry['policies_left_out'])} more before the last, which were not kept")


def _named(title: str, text: str) -> str:
    return f"  {title:<12} {text}"


def _certificate(entry: Entry) -> str:
    """Give the shortest thing by which an operator knows a certificate."""
    certificate = entry.get("certificate")
    if not isinstance(certificate, Mapping):
        return "-"
    names = [name for kind in ("uris", "dns_names") for name in _items(certificate.get(kind))]
    known = certificate.get("subject") or f"sha256:{str(certificate.get('sha256'))[:16]}"
    mark = "" if entry.get("status") == "verified" else "unverified "
    return mark + _text(names[0] if names else known)


def _result(entry: Entry) -> str:
    repeats = f" x{_count(entry)}" if _count(entry) > 1 else ""
    reason = entry.get("reason")
    return f"{_text(entry.get('result'))}{f' {_text(reason)}' if reason else ''}{repeats}"


def _count(entry: Entry) -> int:
    count = entry.get("count")
    return count if isinstance(count, int) else 1


def _peer(entry: Entry) -> str:
    peer = _text(entry.get("peer"))
    port = entry.get("port")
    if not port or peer == "-":
        return peer
    return f"[{peer}]:{_text(port)}" if ":" in peer else f"{peer}:{_text(port)}"


def _milliseconds(seconds: object) -> str:
    return f"{seconds * 1000:.3f} ms" if isinstance(seconds, int | float) else "-"


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return "-" if value is None or value == "" else visible(str(value))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
