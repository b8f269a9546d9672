"""``edgegw handshakes``: who came in lately, who did not, and why not.

It asks the admin interface of a gateway that runs, and blocks while it does.  The exit status is 0 when it
got an answer, 1 when it did not or the handshake that was asked for is not in the record, 2 when the command
line cannot be understood.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

from attrs import frozen

from edgegw.config import ConfigError
from edgegw.config.document import ADMIN
from edgegw.config.faults import Report
from edgegw.config.nodes import Mapping as MappingNode
from edgegw.config.reader import read_file
from edgegw.config.shapes import OrWord
from edgegw.descriptors import reader_may_leave
from edgegw.model import Admin
from edgegw.observe.admin import MAX_HANDSHAKES, explanation
from edgegw.observe.handshake_entry import visible
from edgegw.observe.handshake_table import HandshakeTable, describe
from edgegw.verdict import Explanation

__all__ = ["run_handshakes"]

_DEFAULT_ADMIN: Final = "http://127.0.0.1:9901"
#: Seconds between two questions of ``--follow``.
_PAUSE: Final = 1.0
#: Seconds and bytes that an answer may take.
_TIMEOUT: Final = 10.0
_MAX_ANSWER: Final = 16 * 1024 * 1024

_Entry = Mapping[str, Any]


class _NoAnswer(Exception):
    """The admin interface did not give what was asked for; the text says why, on one line."""


class _NotFound(_NoAnswer):
    """There is no such page."""


class _NoAdmin(Exception):
    """A configuration whose admin interface cannot be found out; the text says why, a line for each reason."""


@frozen
class _Page:
    """One answer of ``/handshakes``."""

    entries: list[_Entry]
    explanations: Mapping[str, object]
    after: str


def run_handshakes(arguments: Sequence[str], wait: Callable[[float], None] = time.sleep) -> int:
    """Show what the handshake record of a running gateway has; gives the exit status.

    :param arguments: those behind ``edgegw handshakes``.
    :param wait: lets some seconds pass between two questions of ``--follow``.
    :raises SystemExit: argparse's, after ``--help`` and after arguments that it does not understand.
    """
    options = _parse(arguments)
    try:
        admin = _AdminSite(options.admin if options.config is None else _configured(options.config))
        if options.id is not None:
            return _show_one(admin, options)
        with reader_may_leave():
            _show(admin, options, wait)
    except _NoAdmin as error:
        print(error, file=sys.stderr)
        return 1
    except _NoAnswer as error:
        _complain(error)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="edgegw handshakes",
        description="Show the last handshakes of a running gateway: who came in, who did not, and why not.",
        allow_abbrev=False,
    )
    parser.add_argument("id", nargs="?", metavar="ID", help="show all that is known of one handshake")
    parser.add_argument("--refused", action="store_true", help="only those that did not come in")
    parser.add_argument("--listener", metavar="NAME", help="only those of a listener")
    parser.add_argument("--reason", metavar="CODE", help="only those with a reason code, such as unknown_ca")
    parser.add_argument("--peer", metavar="ADDRESS", help="only those from an IP address")
    parser.add_argument("--limit", type=int, default=MAX_HANDSHAKES, metavar="N",
                        help=f"the last N of them (default: {MAX_HANDSHAKES})")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new ones as they come, until Ctrl-C")
    parser.add_argument("-v", "--verbose", action="store_true", help="all that is known of each")
    parser.add_argument("--json", action="store_true", help="one JSON object on a line for each")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--admin", default=_DEFAULT_ADMIN, metavar="URL",
                       help=f"the gateway's admin interface (default: {_DEFAULT_ADMIN})")
    where.add_argument("-c", "--config", metavar="FILE", help="ask the admin interface that a configuration names")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error("--limit must be 1 or more")
    if options.id is not None and (options.follow or options.refused or options.listener or options.reason
                                   or options.peer):
        parser.error("one handshake is shown by its ID; nothing else chooses among them then")
    if not options.admin.startswith(("http://", "https://")):
        parser.error(f"--admin must be a URL such as {_DEFAULT_ADMIN}")
    return options


# --- where to ask -----------------------------------------------------------------------------


def _configured(path: str) -> str:
    """Give the URL of the admin interface that a configuration names.

    Nothing else of it is read, so that neither its keys must be readable nor its other parts be right.

    :raises _NoAdmin: it has none, or its port is known to the gateway alone.
    """
    report = Report(path)
    try:
        root = read_file(path, os.environ, report)
        node = root.values.get("admin") if isinstance(root, MappingNode) else None
        section = None
        if node is not None:
            section = OrWord("disabled", ADMIN).read(node, report)
            faults = [fault for fault in report.findings if fault.path.startswith("admin")]
            if faults:
                raise ConfigError(faults)
    except ConfigError as error:
        raise _NoAdmin(str(error)) from error
    if node is not None and section is None:
        raise _NoAdmin(f"{path}: there is nobody to ask, since admin is disabled")
    admin = ADMIN.settings(section, Admin())
    if not admin.port:
        raise _NoAdmin(f"{path}: the system chose the admin port; name it with --admin, the log has it")
    # Where it listens on every address, this machine's own is one of them.
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.address, admin.address)
    host = f"[{address.replace('%', '%25')}]" if ":" in address else address
    return f"http://{host}:{admin.port}"


class _AdminSite:
    """The admin interface of a gateway.

    :param url: of its root.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        # A proxy for the web has no business between the operator and the gateway.
        self._opener = build_opener(ProxyHandler({}))

    def page(self, query: Mapping[str, str]) -> _Page:
        """Ask for handshakes.

        :raises _NoAnswer: there is none, or it is none of a gateway's.
        """
        document = self._get(f"/handshakes?{urlencode(query)}")
        entries, explanations, after = (document.get(name) for name in ("handshakes", "explanations", "next"))
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
                and isinstance(explanations, dict) and isinstance(after, str)):
            raise self._not_a_gateway()
        return _Page(entries, explanations, after)

    def one(self, id: str) -> _Entry:
        """Ask for one handshake.

        :raises _NotFound: it is not in the record.
        :raises _NoAnswer: as :meth:`page`.
        """
        return self._get(f"/handshakes/{quote(id, safe='')}")

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with self._opener.open(self._url + path, timeout=_TIMEOUT) as response:
                body = response.read(_MAX_ANSWER + 1)
        except HTTPError as error:
            with error:
                said = visible(error.read(500).decode("utf-8", "replace").strip())
            kind = _NotFound if error.code == 404 else _NoAnswer
            raise kind(f"{self._url} answers with {error.code}: {said}") from error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise _NoAnswer(f"{self._url} cannot be asked: {visible(str(words))}") from error
        try:
            document = json.loads(body)
        except ValueError as error:
            raise self._not_a_gateway() from error
        if len(body) > _MAX_ANSWER or not isinstance(document, dict):
            raise self._not_a_gateway()
        return document

    def _not_a_gateway(self) -> _NoAnswer:
        return _NoAnswer(f"{self._url} does not answer as the admin interface of a gateway does")


# --- what to show -----------------------------------------------------------------------------


def _show_one(admin: _AdminSite, options: argparse.Namespace) -> int:
    try:
        entry = admin.one(options.id)
    except _NotFound:
        _complain(f"{visible(options.id)} is not in the record: too long ago, another gateway's or an earlier run's")
        return 1
    with reader_may_leave():
        print(json.dumps(entry) if options.json else describe(entry, _explained(entry.get("explanation"), entry)))
    return 0


def _show(admin: _AdminSite, options: argparse.Namespace, wait: Callable[[float], None]) -> None:
    query = {name: getattr(options, name) for name in ("listener", "reason", "peer") if getattr(options, name)}
    if options.refused:
        query["refused"] = "1"
    show = _json_lines if options.json else _whole if options.verbose else _Table().show
    page = _latest(admin, query, options.limit)
    show(page)
    told = False
    backlog = False
    while options.follow:
        if not backlog:
            wait(_PAUSE)
        backlog = False
        try:
            page = admin.page({**query, "since": page.after})
        except _NoAnswer as error:
            # It may be starting again; what it has then is all after this.
            if not told:
                _complain(f"{error}; trying again")
            told = True
            continue
        told = False
        backlog = len(page.entries) == MAX_HANDSHAKES
        if page.entries:
            show(page)


def _latest(admin: _AdminSite, query: Mapping[str, str], limit: int) -> _Page:
    """Give the last ones, be they more than one answer has."""
    if limit <= MAX_HANDSHAKES:
        return admin.page({**query, "limit": str(limit)})
    entries: deque[_Entry] = deque(maxlen=limit)
    explanations: dict[str, object] = {}
    after = "0"
    while True:
        page = admin.page({**query, "since": after})
        entries += page.entries
        explanations |= page.explanations
        after = page.after
        if len(page.entries) < MAX_HANDSHAKES:
            return _Page(list(entries), explanations, after)


def _json_lines(page: _Page) -> None:
    _print(json.dumps(entry) for entry in page.entries)


def _whole(page: _Page) -> None:
    _print(
        describe(entry, _explained(page.explanations.get(str(entry.get("reason"))), entry)) + "\n"
        for entry in page.entries
    )


class _Table:
    """Prints a table that goes on with every page."""

    def __init__(self) -> None:
        self._table = HandshakeTable()
        self._begun = False

    def show(self, page: _Page) -> None:
        """Print a page's entries, after the titles if they are the first."""
        self._table.fit(page.entries)
        if not self._begun:
            self._begun = True
            _print([self._table.header()])
        _print(map(self._table.row, page.entries))


def _explained(given: object, entry: _Entry) -> Explanation | None:
    """Give what the gateway says of a reason code, which may be a plugin's, or else what is known here."""
    if isinstance(given, Mapping):
        return Explanation(*(str(given.get(name, "")) for name in ("sentence", "cause", "remedy")))
    return explanation(str(entry.get("reason", "")))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def _complain(problem: object) -> None:
    print(f"edgegw handshakes: {problem}", file=sys.stderr)
