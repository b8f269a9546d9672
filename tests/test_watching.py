"""The files of a configuration, watched for changes."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase

from edgegw.watching import Watch, Watched, look


class _AtOnce(ThreadPool):
    """Does on the spot what it is given."""

    def callInThreadWithCallback(self, onResult: Any, func: Any, *args: Any, **kw: Any) -> None:
        onResult(True, func(*args, **kw))


class _Reactor(Clock):
    def getThreadPool(self) -> _AtOnce:
        return _AtOnce()

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


class LookTests(SynchronousTestCase):
    """What is seen."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        (self.directory / "inner").mkdir(parents=True)

    def write(self, name: str, text: str = "x") -> Path:
        path = self.directory / name
        path.write_text(text, "utf-8")
        return path

    def seen(self) -> list[str]:
        return [os.path.relpath(path, self.directory) for path, *_ in look([str(self.directory)])]

    def test_files_below_but_for_hidden_ones_and_backups(self) -> None:
        for name in ("b.yaml", "a.yaml", ".hidden.yaml", "a.yaml~", "inner/c.json"):
            self.write(name)
        (self.directory / ".git").mkdir()
        self.write(".git/config")
        self.assertEqual(self.seen(), ["a.yaml", "b.yaml", "inner/c.json"])

    def test_a_file_by_its_own_name_even_when_hidden_and_nothing_where_nothing_is(self) -> None:
        path = self.write(".hidden.yaml")
        self.assertEqual([one[0] for one in look([str(path), str(self.directory / "missing")])], [str(path)])

    def test_a_link_that_is_turned_over(self) -> None:
        for version in ("one", "two"):
            (self.directory / f"..{version}").mkdir()
            self.write(f"..{version}/tls.yaml", version)
        link = self.directory / "..data"
        link.symlink_to("..one")
        (self.directory / "tls.yaml").symlink_to("..data/tls.yaml")
        before = look([str(self.directory)])
        other = self.directory / "..new"
        other.symlink_to("..two")
        other.rename(link)
        self.assertNotEqual(look([str(self.directory)]), before)


class WatchTests(SynchronousTestCase):
    """When a change is told."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.reactor = _Reactor()
        self.calls: list[None] = []
        self.answer: Deferred[Any] = succeed(None)
        self.watched = Watched([str(self.directory)])
        self.watched.note()
        self.watch = Watch(self.reactor, self.watched, self.changed)
        self.watch.startService()
        self.addCleanup(self.watch.stopService)

    def changed(self) -> Deferred[Any]:
        self.calls.append(None)
        self.watched.note()
        return self.answer

    def test_nothing_changes(self) -> None:
        self.reactor.pump([1.0] * 5)
        self.assertEqual(self.calls, [])

    def test_a_change_is_told_once_it_rests(self) -> None:
        (self.directory / "a.yaml").write_text("1", "utf-8")
        self.reactor.advance(1.0)
        (self.directory / "b.yaml").write_text("2", "utf-8")
        self.reactor.advance(1.0)
        self.assertEqual(self.calls, [])
        self.reactor.pump([1.0] * 5)
        self.assertEqual(len(self.calls), 1)

    def test_a_change_that_is_taken_back_is_none(self) -> None:
        path = self.directory / "a.yaml"
        path.write_text("1", "utf-8")
        self.reactor.advance(1.0)
        path.unlink()
        self.reactor.pump([1.0] * 5)
        self.assertEqual(self.calls, [])

    def test_no_look_while_the_last_change_is_taken_over(self) -> None:
        self.answer = Deferred()
        (self.directory / "a.yaml").write_text("1", "utf-8")
        self.reactor.pump([1.0] * 2)
        self.assertEqual(len(self.calls), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        (self.directory / "a.yaml").write_text("12", "utf-8")
        self.answer.callback(None)
        self.reactor.pump([1.0] * 3)
        self.assertEqual(len(self.calls), 2)

    def test_what_is_read_for_another_reason_is_not_told_again(self) -> None:
        (self.directory / "a.yaml").write_text("1", "utf-8")
        self.watched.note()
        self.reactor.pump([1.0] * 5)
        self.assertEqual(self.calls, [])
        (self.directory / "a.yaml").write_text("12", "utf-8")
        self.reactor.pump([1.0] * 5)
        self.assertEqual(len(self.calls), 1)

    def test_stopped(self) -> None:
        self.watch.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
