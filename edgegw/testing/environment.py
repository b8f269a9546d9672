"""The gateway as a policy sees it, under a test's control: time, files, services and counters."""
from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any

from attrs import frozen
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from zope.interface import implementer

from edgegw.interfaces import HTTPAnswer, HTTPUnavailable, IEnvironment, IFollowed, IHTTPClient
from edgegw.testing.waiting import result_of

__all__ = ["FakeEnvironment", "HTTPRequest"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@frozen
class HTTPRequest:
    """What a policy asked of a service.

    :ivar headers: by lower-case name.
    :ivar timeout: seconds.
    :ivar limit: bytes that the body of the answer may have.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: float
    limit: int


@implementer(IFollowed)
class _Followed:
    def __init__(self, path: str, read: Callable[[bytes], Any], limit: int) -> None:
        self._path = path
        self._read = read
        self._limit = limit
        self._seen = self._bytes()
        self.value: Any = read(self._seen)
        self.error = ""

    def _bytes(self) -> bytes:
        with open(self._path, "rb") as file:
            content = file.read(self._limit + 1)
        if len(content) > self._limit:
            raise ValueError(f"{self._path} is longer than {self._limit} bytes")
        return content

    def reread(self) -> bool:
        """Read it again; tells whether there is a new value."""
        try:
            content = self._bytes()
            if content == self._seen and not self.error:
                return False
            value = self._read(content)
        except Exception as error:
            self.error = str(error) or type(error).__name__
            return False
        self._seen, self.value, self.error = content, value, ""
        return True


@implementer(IHTTPClient)
class _HTTPClient:
    def __init__(self, answer: Callable[[HTTPRequest], Any] | None, requests: list[HTTPRequest]) -> None:
        self._answer = answer
        self._requests = requests

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 5.0,
        limit: int = 1_048_576,
    ) -> HTTPAnswer:
        """See :class:`~edgegw.interfaces.IHTTPClient`."""
        lower = {name.lower(): value for name, value in (headers or {}).items()}
        asked = HTTPRequest(method, url, lower, body, timeout, limit)
        self._requests.append(asked)
        if self._answer is None:
            raise AssertionError(f"{method} {url}: the environment was made without http=, a function that answers")
        answer = self._answer(asked)
        if isawaitable(answer):
            answer = await answer
        if not isinstance(answer, HTTPAnswer):
            raise AssertionError(f"the test answered {method} {url} with {answer!r}, which is no HTTPAnswer")
        if len(answer.body) > limit:
            raise HTTPUnavailable(f"the answer is longer than {limit} bytes")
        return answer


@implementer(ILogObserver)
class _Recorder:
    def __init__(self, events: list[LogEvent]) -> None:
        self._events = events

    def __call__(self, event: LogEvent) -> None:
        self._events.append(event)


class _Repeated:
    def __init__(self, seconds: float, call: Callable[[], Awaitable[None]], due: float) -> None:
        self.seconds = seconds
        self.call = call
        self.due = due


@implementer(IEnvironment)
class FakeEnvironment:
    """An :class:`~edgegw.interfaces.IEnvironment` for tests, in which nothing happens by itself.

    ::

        env = FakeEnvironment(http=lambda request: HTTPAnswer(200, {}, b"yes"))
        policy = build(my_kind, my_config, env)
        env.advance(60)
        env.run_due()
        assert env.changes == 1

    :param directory: where relative paths begin; the current directory without it.
    :param http: answers the requests of :meth:`http`'s clients: given an :class:`HTTPRequest` it returns an
        :class:`~edgegw.interfaces.HTTPAnswer`, or something to await one from, or raises
        :class:`~edgegw.interfaces.HTTPUnavailable`.
    :ivar changes: how often :meth:`changed` was called.
    :ivar on_change: called then; a gateway in a test sets it.
    :ivar requests: all that was asked of services.
    :ivar counters: what each counter has come to, by name.
    :ivar gauges: what each gauge was last set to, by name.
    :ivar events: what was logged, as ``twisted.logger`` has it.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, http: Callable[[HTTPRequest], Any] | None = None
    ) -> None:
        self.directory: str = os.path.abspath(directory or os.curdir)
        self.changes = 0
        self.on_change: Callable[[], None] | None = None
        self.requests: list[HTTPRequest] = []
        self.held: list[object] = []
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, float] = {}
        self.events: list[LogEvent] = []
        self.log = Logger("plugin under test", observer=_Recorder(self.events))
        self._http = http
        self._now = 0.0
        self._followed: list[_Followed] = []
        self._repeated: list[_Repeated] = []

    # --- for the test ---------------------------------------------------------------------

    @property
    def messages(self) -> list[str]:
        """What was logged, as text."""
        return [formatEvent(event) for event in self.events]

    def advance(self, seconds: float) -> None:
        """Let time pass; it runs nothing."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._now += seconds

    def reread(self) -> bool:
        """Have followed files looked at again, as the gateway does once a second; tells whether one had a new value.

        :meth:`changed` is called for each that had.
        """
        news = [followed for followed in self._followed if followed.reread()]
        for _ in news:
            self.changed()
        return bool(news)

    def run_due(self) -> int:
        """Run the functions of :meth:`every` whose time has come; gives their number.

        :raises AssertionError: one waits for something.  What one raises comes out as it is.
        """
        due = [repeated for repeated in self._repeated if repeated.due <= self._now]
        for repeated in due:
            try:
                result_of(repeated.call())
            finally:
                repeated.due = self._now + repeated.seconds
        return len(due)

    # --- for the policy -------------------------------------------------------------------

    def seconds(self) -> float:
        """See :class:`~edgegw.interfaces.IEnvironment`; it begins at 0."""
        return self._now

    def changed(self) -> None:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        self.changes += 1
        if self.on_change is not None:
            self.on_change()

    def follow(self, path: str, read: Callable[[bytes], Any], limit: int = 268_435_456) -> IFollowed:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        followed = _Followed(os.path.join(self.directory, path), read, limit)
        self._followed.append(followed)
        return followed

    def every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        """See :class:`~edgegw.interfaces.IEnvironment`.

        :raises ValueError: ``seconds`` is not positive.
        """
        if not seconds > 0:
            raise ValueError(f"{seconds} seconds cannot lie between two calls")
        self._repeated.append(_Repeated(seconds, call, self._now))

    def http(self, ca_certificates: str | None = None, concurrency: int = 16) -> IHTTPClient:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        if ca_certificates is not None:
            with open(os.path.join(self.directory, ca_certificates), "rb") as file:
                if b"-----BEGIN CERTIFICATE-----" not in file.read():
                    raise ValueError(f"{ca_certificates} has no certificate in it")
        return _HTTPClient(self._http, self.requests)

    def holds(self, built: object) -> None:
        """Take note of what was built with it, as the gateway does; here whoever built it closes it."""
        self.held.append(built)

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """See :class:`~edgegw.interfaces.IEnvironment`: at once, on this thread."""
        return function(*arguments)

    def counter(self, name: str, documentation: str) -> Callable[[int], None]:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        _check_name(name)
        self.counters.setdefault(name, 0)

        def add(amount: int) -> None:
            self.counters[name] += amount

        return add

    def gauge(self, name: str, documentation: str) -> Callable[[float], None]:
        """See :class:`~edgegw.interfaces.IEnvironment`."""
        _check_name(name)

        def set_to(value: float) -> None:
            self.gauges[name] = value

        return set_to


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a metric's name: lower-case letters, digits and _")
