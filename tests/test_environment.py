"""What plugins may use of the gateway: files that change, repeated calls, services, counters, and their end."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import current_thread
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from edgegw import following
from edgegw.environment import Environment, Environments
from edgegw.following import FileFollower
from edgegw.interfaces import HTTPUnavailable, IEnvironment, IFollowed
from edgegw.observe.plugin_counters import PluginCounters
from edgegw.testing.certificates import Authority
from tests.http_service import reply, start_service, until


class Threads:
    """A thread pool whose work is done when a test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], function: Callable[..., Any], *args: Any, **options: Any
    ) -> None:
        def work() -> None:
            try:
                result = function(*args, **options)
            except BaseException:
                done(False, Failure())
            else:
                done(True, result)

        self.waiting.append(work)

    def work(self) -> None:
        """Do what waits, and what comes of it."""
        while self.waiting:
            self.waiting.pop(0)()


class Reactor(Clock):
    """A clock with threads."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = Threads()

    def getThreadPool(self) -> Threads:
        return self.threads

    def callFromThread(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        function(*args, **options)


class EnvironmentTestCase(SynchronousTestCase):
    """Has an environment on a clock, and a file."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.counters = PluginCounters()
        self.environments = Environments(self.reactor, str(self.directory), self.counters, self.reactor.seconds)
        self.environment = self.environments.make("lists", "listeners[0].policies[1]")
        self.changes = 0
        self.environment.on_change = self.count_change
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def count_change(self) -> None:
        """Take note that answers no longer hold."""
        self.changes += 1

    def errors(self) -> list[str]:
        """Give what was logged as errors."""
        return [formatEvent(event) for event in self.events if event["log_level"].name == "error"]


def letters(data: bytes) -> str:
    """Make something of a file: text of letters only."""
    text = data.decode()
    if not text.isalpha():
        raise ValueError(f"{text!r} is not made of letters")
    return text


class FollowTests(EnvironmentTestCase):
    """Files are read again when they change."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "list"
        self.write("old", 1000)
        self.reads: list[bytes] = []

    def write(self, text: str, when: float) -> None:
        """Write the file in place, with a time long ago."""
        self.path.write_text(text)
        os.utime(self.path, (when, when))

    def read(self, data: bytes) -> str:
        """Read as :func:`letters`, and take note."""
        self.reads.append(data)
        return letters(data)

    def follow(self, **options: Any) -> IFollowed:
        """Follow the file, and settle: a file that was written a moment ago is looked at twice."""
        followed = self.environment.follow("list", self.read, **options)
        self.environments.start()
        self.pass_second()
        self.reads.clear()
        return followed

    def pass_second(self) -> None:
        """Let a second pass, and the threads do their work."""
        self.reactor.advance(1.0)
        self.reactor.threads.work()

    def test_read_at_once(self) -> None:
        """The value is there before anything runs, by a path that begins at the configuration's directory."""
        verifyObject(IEnvironment, self.environment)
        followed = self.environment.follow("list", self.read)
        verifyObject(IFollowed, followed)
        self.assertEqual((followed.value, followed.error), ("old", ""))
        self.assertEqual(self.environment.follow(str(self.path), letters).value, "old")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_faults_at_once(self) -> None:
        """What cannot be read when a configuration is built is its fault, with the file's name."""
        with self.assertRaises(FileNotFoundError):
            self.environment.follow("missing", letters)
        self.assertIn(str(self.path), str(self.assertRaises(ValueError, self.environment.follow, "list", letters, 2)))
        self.write("1", 1000)
        problem = self.assertRaises(ValueError, self.environment.follow, "list", letters)
        self.assertEqual(str(problem), f"{self.path}: '1' is not made of letters")
        self.assertRaises(OSError, self.environment.follow, ".", letters)

    def test_pipe(self) -> None:
        """A pipe, for whose writer one would wait, is no file to follow."""
        os.mkfifo(self.directory / "pipe")
        problem = self.assertRaises(OSError, self.environment.follow, "pipe", letters)
        self.assertIn("no regular file", str(problem))

    def test_written_in_place(self) -> None:
        """A file that is written anew is read within a second, on another thread, and its plugin is told."""
        followed = self.follow()
        self.write("new", 2000)
        self.reactor.advance(1.0)
        self.assertEqual((self.reads, followed.value), ([], "old"))
        self.reactor.threads.work()
        self.assertEqual((self.reads, followed.value, self.changes), ([b"new"], "new", 1))

    def test_renamed_over(self) -> None:
        """A file that takes another's place is noticed, of the same size and time as it may be."""
        followed = self.follow()
        other = self.directory / "other"
        other.write_text("new")
        os.utime(other, (1000, 1000))
        other.replace(self.path)
        self.pass_second()
        self.assertEqual(followed.value, "new")

    def test_links_turned_over(self) -> None:
        """A directory behind a symbolic link that is replaced, as Kubernetes does, is a change of its files."""
        for name, text in (("v1", "old"), ("v2", "new")):
            (self.directory / name).mkdir()
            (self.directory / name / "file").write_text(text)
        (self.directory / "..data").symlink_to("v1")
        (self.directory / "mounted").symlink_to("..data/file")
        followed = self.environment.follow("mounted", letters)
        self.environments.start()
        (self.directory / "..tmp").symlink_to("v2")
        (self.directory / "..tmp").replace(self.directory / "..data")
        self.pass_second()
        self.assertEqual(followed.value, "new")

    def test_same_size_and_time(self) -> None:
        """A file whose time was put back after it was written is noticed all the same."""
        followed = self.follow()
        self.write("new", 1000)
        self.pass_second()
        self.assertEqual(followed.value, "new")

    def test_written_again_within_a_tick(self) -> None:
        """A file that is written twice before the file system's clock ticks is read twice."""
        self.patch(following, "_signature", lambda found: (0, 0, 0, 2**62, 2**62))
        followed = self.environment.follow("list", self.read)
        self.environments.start()
        self.path.write_text("new")
        self.pass_second()
        self.assertEqual((followed.value, self.changes), ("new", 1))
        for _ in range(3):
            self.pass_second()
        self.assertEqual(self.reads, [b"old", b"new"])

    def test_touched(self) -> None:
        """A file with the same content and a new time is nothing new."""
        self.follow()
        os.utime(self.path, (3000, 3000))
        self.pass_second()
        self.assertEqual((self.reads, self.changes), ([], 0))

    def test_unchanged(self) -> None:
        """A file that does not change is not opened again."""
        self.follow()
        self.patch(os, "open", lambda *arguments: self.fail("it was opened"))
        for _ in range(5):
            self.pass_second()
        self.assertEqual(self.errors(), [])

    def test_removed(self) -> None:
        """A file that is gone leaves its last value, is missed once, and may come back."""
        followed = self.follow()
        self.path.unlink()
        for _ in range(3):
            self.pass_second()
        self.assertEqual((followed.value, followed.error), ("old", f"{self.path}: No such file or directory"))
        self.assertEqual(self.counters.errors("lists", "read"), 1)
        (said,) = self.errors()
        self.assertEqual(
            said, f"listeners[0].policies[1]: the last good one stays in use: {self.path}: No such file or directory"
        )
        self.assertEqual(self.events[-1]["log_namespace"], "edgegw.plugin.lists")
        self.write("old", 4000)
        self.pass_second()
        self.assertEqual((followed.value, followed.error, self.changes), ("old", "", 0))

    def test_not_readable(self) -> None:
        """A file that cannot be opened is tried again every second: who mends that may leave no trace on it."""
        followed = self.follow()
        real = os.open

        def denied(path: Any, *arguments: Any, **options: Any) -> int:
            raise PermissionError(13, "Permission denied", path)

        self.write("new", 2000)
        patched = self.patch(os, "open", denied)
        for _ in range(3):
            self.pass_second()
        self.assertEqual((followed.value, followed.error), ("old", f"{self.path}: Permission denied"))
        self.assertEqual(self.counters.errors("lists", "read"), 1)
        patched.restore()
        self.assertIs(os.open, real)
        self.pass_second()
        self.assertEqual((followed.value, followed.error, self.changes), ("new", "", 1))

    def test_no_longer_good(self) -> None:
        """A content that cannot be used leaves the last value in use, and is tried once."""
        followed = self.follow()
        self.write("n3w", 2000)
        for _ in range(4):
            self.pass_second()
        self.assertEqual((followed.value, followed.error), ("old", f"{self.path}: 'n3w' is not made of letters"))
        self.assertEqual((self.counters.errors("lists", "read"), len(self.errors()), self.changes), (1, 1, 0))
        # A file that was written a moment ago is looked at once more.
        self.assertLessEqual(len(self.reads), 2)
        self.write("new", 3000)
        self.pass_second()
        self.assertEqual((followed.value, followed.error, self.changes), ("new", "", 1))

    def test_too_long(self) -> None:
        """A file that has grown past its limit leaves the last value in use."""
        followed = self.follow(limit=5)
        self.write("longer", 2000)
        self.pass_second()
        self.assertEqual((followed.value, followed.error), ("old", f"{self.path}: has 6 bytes; 5 are allowed"))

    def test_plugin_that_fails(self) -> None:
        """Whatever a plugin raises is logged with its traceback, and changes nothing."""
        for error in (KeyError("x"), RecursionError(), SystemExit(1)):
            self.write("old", 1000)
            answers = iter(["old", "old"])

            def read(data: bytes, answers: Any = answers, error: BaseException = error) -> str:
                if data == b"old":
                    return next(answers)
                raise error

            environments = Environments(self.reactor, str(self.directory), self.counters)
            followed = environments.make("broken", "x").follow("list", read)
            environments.start()
            self.write("new", 2000)
            self.pass_second()
            self.assertEqual(followed.value, "old")
            self.assertNotEqual(followed.error, "")
            environments.stop()
            self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.counters.errors("broken", "read"), 3)

    def test_one_reading_at_a_time(self) -> None:
        """While a file is being read nobody else reads it, and what has changed meanwhile is read next."""
        followed = self.follow()
        self.write("new", 2000)
        self.reactor.advance(1.0)
        self.reactor.threads.waiting.pop(0)()
        (reading,) = self.reactor.threads.waiting
        self.reactor.threads.waiting.clear()
        for _ in range(5):
            self.pass_second()
        self.assertEqual(self.reads, [])
        reading()
        self.assertEqual(followed.value, "new")
        self.write("newer", 3000)
        self.pass_second()
        self.assertEqual((followed.value, self.reads), ("newer", [b"new", b"newer"]))

    def test_slow_file_holds_up_no_other(self) -> None:
        """While one file is being read the others are followed."""
        other = self.directory / "other"
        other.write_text("old")
        second = self.environment.follow("other", letters)
        self.follow()
        self.write("new", 2000)
        self.reactor.advance(1.0)
        self.reactor.threads.waiting.pop(0)()
        self.reactor.threads.waiting.clear()
        other.write_text("newer")
        self.pass_second()
        self.assertEqual(second.value, "newer")

    def test_changed_while_made_use_of(self) -> None:
        """A file that changes while its plugin reads it is read again."""
        def read(data: bytes) -> str:
            self.read(data)
            if data == b"new":
                self.write("newest", 3000)
            return data.decode()

        followed = self.environment.follow("list", read)
        self.environments.start()
        self.pass_second()
        self.write("new", 2000)
        self.pass_second()
        self.pass_second()
        self.assertEqual(followed.value, "newest")

    def test_written_while_it_is_read(self) -> None:
        """What changes under the reading is not used, and read once it stands still."""
        followed = self.follow()
        real, turns = following._signature, iter(range(1000))

        def restless(found: os.stat_result) -> following.Signature:
            return (*real(found)[:4], next(turns))

        patched = self.patch(following, "_signature", restless)
        self.write("new", 2000)
        self.pass_second()
        self.pass_second()
        self.assertEqual((followed.value, followed.error), ("old", f"{self.path} is written while it is read"))
        self.assertEqual(self.counters.errors("lists", "read"), 1)
        patched.restore()
        self.pass_second()
        self.assertEqual((followed.value, followed.error), ("new", ""))

    def test_stopped(self) -> None:
        """After the end nothing is looked at, and what a thread still brings is dropped."""
        followed = self.follow()
        self.write("new", 2000)
        self.reactor.advance(1.0)
        self.reactor.threads.waiting.pop(0)()
        self.environments.stop()
        self.environments.stop()
        self.reactor.threads.work()
        self.assertEqual((followed.value, self.changes), ("old", 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.environment.follow("list", letters).value, "new")
        self.environments.start()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped_while_looking(self) -> None:
        """The same while the files are being looked at."""
        self.follow()
        self.write("new", 2000)
        self.reactor.advance(1.0)
        self.environments.stop()
        self.reactor.threads.work()
        self.assertEqual((self.changes, self.reactor.getDelayedCalls()), (0, []))

    def test_followed_while_in_use(self) -> None:
        """A file that a plugin begins to follow later is followed like the others."""
        self.environments.start()
        self.pass_second()
        followed = self.environment.follow("list", letters)
        self.write("new", 2000)
        self.pass_second()
        self.assertEqual(followed.value, "new")


class ThreadTests(TestCase):
    """Following with the reactor's own threads."""

    async def test_real_reactor(self) -> None:
        """A change is read on one of the reactor's threads and comes into use on the reactor's."""
        path = Path(self.mktemp()).absolute()
        path.write_text("old")
        follower = FileFollower(reactor, 0.01)
        self.addCleanup(follower.stop)
        threads = []

        def read(data: bytes) -> str:
            threads.append(current_thread())
            return data.decode()

        changed: Deferred[Any] = Deferred()
        followed = follower.follow(str(path), read, 100, lambda: changed.callback(current_thread()), print)
        follower.start()
        path.write_text("newer")
        self.assertIs(await changed, current_thread())
        self.assertEqual(followed.value, "newer")
        self.assertIs(threads[0], current_thread())
        self.assertIsNot(threads[-1], current_thread())


class ChangeTests(EnvironmentTestCase):
    """Telling that answers no longer hold."""

    def test_nobody_listens(self) -> None:
        """A change that nobody wants to know of is none."""
        self.environment.on_change = None
        self.environment.changed()

    def test_listener_that_fails(self) -> None:
        """An error of who is told is logged and counted."""
        self.environment.on_change = lambda: 1 // 0
        self.environment.changed()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.counters.errors("lists", "change"), 1)

    def test_stopped(self) -> None:
        """A configuration that is out of use tells nobody anything."""
        self.environment.changed()
        self.environments.stop()
        self.environment.changed()
        self.assertEqual(self.changes, 1)

    def test_seconds(self) -> None:
        """Time for measuring is the gateway's, and by default never goes back."""
        self.reactor.advance(3)
        self.assertEqual(self.environment.seconds(), 3)
        steady = Environments(self.reactor, ".", self.counters).make("x", "y")
        self.assertLessEqual(steady.seconds(), steady.seconds())


class EveryTests(EnvironmentTestCase):
    """Functions that are called again and again."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[Deferred[None]] = []

    async def call(self) -> None:
        """Wait until the test lets it go."""
        waiting: Deferred[None] = Deferred()
        self.calls.append(waiting)
        await waiting

    def begin(self, environment: Environment | None = None) -> None:
        """Have it called every ten seconds, and begin."""
        (environment or self.environment).every(10.0, self.call)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.environments.start()
        self.reactor.advance(0)

    def test_first_and_next(self) -> None:
        """It is called at the start, and again ten seconds, give or take one, after the end of the call."""
        self.begin()
        self.assertEqual(len(self.calls), 1)
        self.reactor.advance(100)
        self.assertEqual(len(self.calls), 1)
        for number in range(2, 30):
            self.calls[-1].callback(None)
            self.reactor.advance(8.99)
            self.assertEqual(len(self.calls), number - 1)
            self.reactor.advance(2.02)
            self.assertEqual(len(self.calls), number)

    def test_failing(self) -> None:
        """An error is logged with the plugin's place and counted, and the calls go on."""
        self.begin()
        self.calls[0].errback(KeyError("x"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.errors(), ["listeners[0].policies[1]: a repeated call failed"])
        self.assertEqual(self.counters.errors("lists", "call"), 1)
        self.reactor.advance(11)
        self.assertEqual(len(self.calls), 2)

    def test_not_async(self) -> None:
        """A function that is not async, or raises at once, is such an error too."""
        self.environment.every(10, lambda: None)  # type: ignore[arg-type,return-value]
        self.environment.every(10, lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        self.environments.start()
        self.reactor.advance(0)
        self.assertEqual(len(self.flushLoggedErrors()), 2)

    def test_deferreds(self) -> None:
        """A function may give a Deferred as well."""
        done: list[int] = []
        waiting: Deferred[None] = Deferred()
        self.environment.every(10, lambda: done.append(1) or waiting)  # type: ignore[func-returns-value]
        self.environments.start()
        self.reactor.advance(50)
        self.assertEqual(done, [1])
        waiting.callback(None)
        self.reactor.advance(11)
        self.assertEqual(done, [1, 1])

    def test_not_positive(self) -> None:
        """Calls without time between them are refused."""
        for seconds in (0, -1, float("nan")):
            self.assertRaises(ValueError, self.environment.every, seconds, self.call)

    def test_stopped_between_calls(self) -> None:
        """After the end there are no more."""
        self.begin()
        self.calls[0].callback(None)
        self.environments.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.environment.every(10, self.call)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stopped_in_a_call(self) -> None:
        """The end cancels a call that waits, without a word in the log."""
        ended: list[BaseException] = []

        async def call() -> None:
            try:
                await Deferred()
            except CancelledError as error:
                ended.append(error)
                raise

        self.environment.every(10, call)
        self.environments.start()
        self.reactor.advance(0)
        self.environments.stop()
        self.assertEqual((len(ended), self.reactor.getDelayedCalls(), self.errors()), (1, [], []))

    def test_while_in_use(self) -> None:
        """A function that is given later is called at once."""
        self.environments.start()
        self.environment.every(10, self.call)
        self.reactor.advance(0)
        self.assertEqual(len(self.calls), 1)


class LogTests(EnvironmentTestCase):
    """A plugin's own words in the log."""

    def test_names_the_plugin(self) -> None:
        """Every event has the plugin's name and its place in the configuration."""
        self.environment.log.info("{n} entries", n=3)
        (event,) = self.events
        self.assertEqual((event["log_namespace"], event["place"]), ("edgegw.plugin.lists", "listeners[0].policies[1]"))
        self.assertEqual(formatEvent(event), "3 entries")


class CounterTests(EnvironmentTestCase):
    """A plugin's own numbers."""

    def samples(self) -> dict[str, float]:
        """Give what ``/metrics`` would show, by name and labels."""
        return {
            sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in self.counters.collect()
            for sample in family.samples
        }

    def test_counter(self) -> None:
        """A counter is shown under the kind's name from the beginning, and only goes up."""
        add = self.environment.counter("looked_up", "Look-ups.")
        self.assertEqual(self.samples(), {"edgegw_plugin_lists_looked_up_total": 0})
        add(2)
        add(3)
        self.assertRaises(ValueError, add, -1)
        self.assertEqual(self.samples(), {"edgegw_plugin_lists_looked_up_total": 5})

    def test_outlives_the_configuration(self) -> None:
        """After a reload it goes on from where it was, and several objects of a kind share it."""
        self.environment.counter("looked_up", "Look-ups.")(2)
        self.environments.stop()
        next_one = Environments(self.reactor, ".", self.counters)
        next_one.make("lists", "a").counter("looked_up", "Look-ups, told better.")(3)
        next_one.make("lists", "b").counter("looked_up", "Look-ups, told better.")(4)
        self.assertEqual(self.samples(), {"edgegw_plugin_lists_looked_up_total": 9})

    def test_names(self) -> None:
        """Names that Prometheus could not tell apart, or would not take, are refused."""
        for name in ("", "Up", "a-b", "1", "a_total", "a_created", "é"):
            self.assertRaises(ValueError, self.environment.counter, name, "x")
            self.assertRaises(ValueError, self.environment.gauge, name, "x")
        self.environment.counter("a_b", "x")
        self.assertRaises(ValueError, self.environments.make("lists_a", "x").counter, "b", "x")
        self.assertRaises(ValueError, self.environment.gauge, "a_b", "x")

    def test_gauge(self) -> None:
        """A gauge is shown with its object's place, once it is set, while its configuration is in use."""
        early, late = self.environment.gauge("entries", "x"), self.environment.gauge("never_set", "x")
        early(4)
        self.assertEqual(self.samples(), {})
        self.environments.start()
        self.environments.make("lists", "other").gauge("entries", "x")(5)
        self.assertEqual(self.samples(), {
            "edgegw_plugin_lists_entries place=listeners[0].policies[1]": 4,
            "edgegw_plugin_lists_entries place=other": 5,
        })
        self.environments.stop()
        late(1)
        self.assertEqual(self.samples(), {})

    def test_gauge_of_two_configurations(self) -> None:
        """While an old configuration drains, the new one's number is shown."""
        self.environment.gauge("entries", "x")(4)
        self.environments.start()
        successor = Environments(self.reactor, ".", self.counters)
        successor.make("lists", "listeners[0].policies[1]").gauge("entries", "x")(6)
        successor.start()
        self.assertEqual(list(self.samples().values()), [6])
        self.environments.stop()
        self.assertEqual(list(self.samples().values()), [6])
        successor.stop()

    def test_errors(self) -> None:
        """Errors outside decisions are counted by kind and operation."""
        self.environment.on_change = lambda: 1 // 0
        self.environment.changed()
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(self.samples(), {"edgegw_plugin_errors_total kind=lists operation=change": 1})


class HTTPTests(TestCase):
    """Asking services; :mod:`tests.test_http_client` has the rest."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.environments = Environments(reactor, str(self.directory), PluginCounters())
        self.addCleanup(self.environments.stop)
        self.environment = self.environments.make("asks", "x")

    async def test_asks_until_stopped(self) -> None:
        """A client works while its configuration is in use, and is closed with it."""
        service = start_service(self, reply(b"yes"))
        client = self.environment.http()
        self.environments.start()
        self.assertEqual((await client.request("GET", service.url)).body, b"yes")
        self.environments.stop()
        await until(lambda: service.talks[0].lost is not None)
        for one in (client, self.environment.http()):
            with self.assertRaises(HTTPUnavailable):
                await one.request("GET", service.url)

    async def test_stopped_in_a_request(self) -> None:
        """A repeated call that waits for a service ends quietly with its configuration."""
        service = start_service(self, lambda asked: None)
        client = self.environment.http()

        async def call() -> None:
            await client.request("GET", service.url)

        self.environment.every(60, call)
        self.environments.start()
        await service.request()
        self.environments.stop()
        await until(lambda: service.talks[0].lost is not None)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_certificates(self) -> None:
        """A file of CA certificates is read from the configuration's directory, and decides who is asked."""
        authority = Authority()
        (self.directory / "ca.pem").write_bytes(authority.pem)
        (self.directory / "other.pem").write_bytes(Authority().pem)
        issued = authority.issue("service", ips=["127.0.0.1"], usages=[ExtendedKeyUsageOID.SERVER_AUTH])
        service = start_service(self, reply(b"yes"), issued)
        got = await self.environment.http("ca.pem").request("GET", service.url)
        self.assertEqual(got.body, b"yes")
        with self.assertRaises(HTTPUnavailable):
            await self.environment.http("other.pem").request("GET", service.url)

    def test_faults(self) -> None:
        """A file that is missing or has no certificate in it is a fault of the configuration."""
        self.assertRaises(OSError, self.environment.http, "missing.pem")
        (self.directory / "empty.pem").write_bytes(b"nothing")
        problem = self.assertRaises(ValueError, self.environment.http, "empty.pem")
        self.assertIn("empty.pem has no CA certificates in it", str(problem))
