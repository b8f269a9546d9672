"""Logs to standard output: one event, one line, as text or JSON.

A log must not be able to stop the traffic.  :class:`LineWriter` asks the kernel first whether a
write would block, takes every error for a line lost, and counts those; it neither raises nor waits,
nor does it make the descriptor non-blocking, which would do the same to whoever shares it.

Names and values in events come from clients and certificates too: whatever could end a line or
move a terminal's cursor is escaped.
"""
from __future__ import annotations

import json
import os
import re
import select
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from edgegw.model import Logging

__all__ = ["LineWriter", "StandardOutputLog", "json_line", "text_line"]

#: What one event may take, in characters; the rest of it is cut off.
MAX_EVENT = 32_768
#: A pipe that polls as writable takes this many bytes without blocking (POSIX ``PIPE_BUF``).
_CHUNK = 4096

# Control characters, line separators, what turns the direction of writing, lone surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warn": LogLevel.warn, "error": LogLevel.error}


@implementer(ILogObserver)
class StandardOutputLog:
    """A log observer whose format and level may change while it runs.

    :param writer: where lines go; standard output if not given.
    """

    def __init__(self, settings: Logging, writer: LineWriter | None = None) -> None:
        self.writer = LineWriter() if writer is None else writer
        self.use(settings)

    def use(self, settings: Logging) -> None:
        """Write in another format or from another level on."""
        self._level = _LEVELS[settings.level]
        self._line = json_line if settings.format == "json" else text_line
        self.writer.notice = self._notice

    def _notice(self, text: str) -> str:
        return self._line({
            "log_time": time(), "log_level": LogLevel.warn, "log_namespace": "edgegw.log", "log_format": "{text}",
            "text": text,
        })

    def __call__(self, event: LogEvent) -> None:
        """Write an event, if its level is high enough."""
        if event.get("log_level", LogLevel.info) >= self._level:
            self.writer.write(self._line(event))


class LineWriter:
    """Writes lines to a descriptor without ever blocking or raising.

    :ivar dropped: lines that were lost, as yet.
    :ivar notice: makes the line that says how many were lost.
    """

    def __init__(self, fd: int = 1) -> None:
        self.dropped = 0
        self.notice: Callable[[str], str] = str
        self._fd = fd
        self._told = 0
        self._rest = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, line: str) -> None:
        """Write a line, which has no newline in it, or count it as dropped.

        A line that could only be begun is finished before the next one.  The first line after some
        were dropped comes behind one that says how many.
        """
        self._send()
        if self._rest:
            self.dropped += 1
            return
        lost = self.dropped - self._told
        self._rest = data = line.encode("utf-8", "backslashreplace") + b"\n"
        if lost:
            notice = self.notice(f"{lost} log lines were dropped").encode("utf-8", "backslashreplace")
            self._rest = data = notice + b"\n" + data
        self._send()
        if len(self._rest) == len(data):
            self._rest = b""
            self.dropped += 1
        else:
            self._told += lost

    def _send(self) -> None:
        try:
            while self._rest and self._writable():
                self._rest = self._rest[os.write(self._fd, self._rest[:_CHUNK]) :]
        except OSError:
            # Nobody reads, or the disk is full: the count of dropped lines is the only place to tell it.
            pass

    def _writable(self) -> bool:
        return any(events & select.POLLOUT for _, events in self._poll.poll(0))


def text_line(event: LogEvent) -> str:
    """Give an event as ``time [namespace#level] message``, with a failure's traceback behind it."""
    level = event.get("log_level", LogLevel.info)
    message = formatEvent(event)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        message = f"{message}: {failure.getTraceback().rstrip()}"
    line = f"{_time(event)} [{event.get('log_namespace', '-')}#{level.name}] {message}"
    return _CONTROL.sub(_escape, line[:MAX_EVENT])


def json_line(event: LogEvent) -> str:
    """Give an event as a JSON object.

    ``time`` (RFC 3339), ``level``, ``namespace`` and ``message`` are always in it, ``failure`` with a
    traceback where there is one, and the event's own fields that are numbers, text or ``None``, under
    ``fields``.
    """
    level = event.get("log_level", LogLevel.info)
    record: dict[str, Any] = {
        "time": _time(event),
        "level": level.name,
        "namespace": str(event.get("log_namespace", "-")),
        "message": formatEvent(event)[:MAX_EVENT],
    }
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        record["failure"] = failure.getTraceback().rstrip()[:MAX_EVENT]
    fields = _fields(event)
    if fields:
        record["fields"] = fields
    return json.dumps(record, ensure_ascii=True, allow_nan=False)


def _fields(event: Mapping[str, Any]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in event.items():
        if name.startswith("log_"):
            continue
        if isinstance(value, str):
            fields[name] = value[:MAX_EVENT]
        elif value is None or isinstance(value, bool | int):
            fields[name] = value
        elif isinstance(value, float):
            fields[name] = value if abs(value) != float("inf") and value == value else str(value)
    return fields


def _time(event: LogEvent) -> str:
    seconds = event.get("log_time")
    if not isinstance(seconds, float | int):
        return "-"
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT.get(character) or f"\\u{ord(character):04x}"
