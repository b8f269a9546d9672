"""One event is one line, and no log sink can stop the gateway."""
from __future__ import annotations

import json
import os
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from edgegw.model import Logging
from edgegw.observe.logs import LineWriter, StandardOutputLog, json_line, text_line


class Lines:
    """Collects what would be written."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.dropped = 0

    def write(self, line: str) -> None:
        """Take a line."""
        self.lines.append(line)


def logged(settings: Logging) -> tuple[Logger, list[str], StandardOutputLog]:
    """A logger, the lines that come of it, and the observer between."""
    lines = Lines()
    observer = StandardOutputLog(settings, lines)  # type: ignore[arg-type]  # as much of a LineWriter as it needs
    return Logger(namespace="edgegw.test", observer=LogPublisher(observer)), lines.lines, observer


class TextTests(SynchronousTestCase):
    """Lines for people."""

    def test_line(self) -> None:
        """Time, namespace and level stand before the message."""
        line = text_line({"log_format": "hello {name}", "name": "you", "log_level": LogLevel.warn,
                          "log_namespace": "edgegw.x", "log_time": 0.0})
        self.assertEqual(line, "1970-01-01T00:00:00.000+00:00 [edgegw.x#warn] hello you")

    def test_traceback(self) -> None:
        """A failure's traceback is part of its line."""
        log, lines, _ = logged(Logging())
        try:
            raise ValueError("no\ngood")
        except ValueError:
            log.failure("it broke")
        self.assertEqual(len(lines), 1)
        self.assertIn("it broke: Traceback", lines[0])
        self.assertIn("no\\ngood", lines[0])
        self.assertNotIn("\n", lines[0])

    @given(st.text())
    def test_nothing_escapes(self, value: str) -> None:
        """Whatever a value holds, the line stays one line and moves no cursor."""
        line = text_line({"log_format": "got {value}", "value": value})
        bad = [character for character in line if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")]
        self.assertEqual(bad, [])
        line.encode("utf-8")

    def test_bounded(self) -> None:
        """An endless value does not make an endless line."""
        line = text_line({"log_format": "got {value}", "value": "x" * 10_000_000})
        self.assertLess(len(line), 100_000)


class JSONTests(SynchronousTestCase):
    """Lines for programs."""

    def test_line(self) -> None:
        """The message, and the values that it was made of."""
        log, lines, _ = logged(Logging("json"))
        log.info("{listener} refused {peer}", listener="web", peer="10.0.0.1", port=443, tls=True, rate=1.5, why=None)
        record = json.loads(lines[0])
        self.assertEqual(record["level"], "info")
        self.assertEqual(record["namespace"], "edgegw.test")
        self.assertEqual(record["message"], "web refused 10.0.0.1")
        self.assertEqual(record["fields"], {"listener": "web", "peer": "10.0.0.1", "port": 443, "tls": True,
                                            "rate": 1.5, "why": None})

    def test_failure(self) -> None:
        """A traceback has a field of its own."""
        log, lines, _ = logged(Logging("json"))
        try:
            raise ValueError("no good")
        except ValueError:
            log.failure("it broke")
        record = json.loads(lines[0])
        self.assertEqual((record["level"], record["message"]), ("critical", "it broke"))
        self.assertIn("ValueError: no good", record["failure"])

    @given(st.text() | st.floats() | st.integers() | st.binary() | st.none())
    def test_any_value(self, value: object) -> None:
        """Every value gives one line of strict JSON."""
        line = json_line({"log_format": "got {value}", "value": value, "object": object()})
        self.assertNotIn("\n", line)
        self.assertTrue(line.isascii())

        def refuse(constant: str) -> None:
            self.fail(f"{constant} is no JSON")

        json.loads(line, parse_constant=refuse)


class LevelTests(SynchronousTestCase):
    """What is written at all."""

    def test_level(self) -> None:
        """Only events of the level and above are written."""
        for level, expected in (("debug", 4), ("info", 3), ("warn", 2), ("error", 1)):
            log, lines, _ = logged(Logging(level=level))
            for method in (log.debug, log.info, log.warn, log.error):
                method("x")
            self.assertEqual(len(lines), expected, level)

    def test_change(self) -> None:
        """Format and level change while it runs."""
        log, lines, observer = logged(Logging("text", "error"))
        log.info("not this")
        observer.use(Logging("json", "info"))
        log.info("but this")
        self.assertEqual([json.loads(line)["message"] for line in lines], ["but this"])


class WriterTests(SynchronousTestCase):
    """Writing to sinks that fail."""

    def pipe(self) -> tuple[int, int]:
        """A pipe that is closed after the test."""
        ends = os.pipe()

        def close(end: int) -> None:
            try:
                os.close(end)
            except OSError:
                pass

        for end in ends:
            self.addCleanup(close, end)
        return ends

    def test_written(self) -> None:
        """Lines arrive in order."""
        reading, writing = self.pipe()
        writer = LineWriter(writing)
        writer.write("één")
        writer.write("two")
        self.assertEqual(os.read(reading, 100).decode(), "één\ntwo\n")
        self.assertEqual(writer.dropped, 0)

    def test_nobody_reads(self) -> None:
        """A full pipe loses lines instead of waiting; afterwards it is told how many."""
        reading, writing = self.pipe()
        writer = LineWriter(writing)
        lines = 200
        for number in range(lines):
            writer.write(f"{number} {'x' * 1000}")
        lost = writer.dropped
        self.assertGreater(lost, 0)
        os.set_blocking(reading, False)
        before = os.read(reading, 1_000_000)
        writer.write("after")
        text = (before + os.read(reading, 1_000_000)).decode()
        self.assertTrue(text.endswith(f"{lost} log lines were dropped\nafter\n"))
        # No line is torn, and none is missing that was not counted.
        whole = text.splitlines()[:-2]
        self.assertEqual(whole, [f"{number} {'x' * 1000}" for number in range(lines - lost)])

    def test_notice_in_json(self) -> None:
        """Where lines are JSON, the one that tells of lost ones is too."""
        reading, writing = self.pipe()
        writer = LineWriter(writing)
        StandardOutputLog(Logging("json"), writer)
        while not writer.dropped:
            writer.write("x" * 1000)
        os.set_blocking(reading, False)
        os.read(reading, 1_000_000)
        writer.write("{}")
        notice = json.loads(os.read(reading, 1_000_000).splitlines()[-2])
        self.assertIn("log lines were dropped", notice["message"])

    def test_long_line(self) -> None:
        """A line longer than the pipe is finished when there is room again."""
        reading, writing = self.pipe()
        os.set_blocking(reading, False)
        writer = LineWriter(writing)
        line = "y" * 300_000
        writer.write(line)
        received = b""
        while not received.endswith(b"\n"):
            received += os.read(reading, 1_000_000)
            writer.write("z")
        self.assertEqual(received.decode().splitlines()[0], line)

    def test_reader_gone(self) -> None:
        """A closed pipe raises nothing."""
        reading, writing = self.pipe()
        os.close(reading)
        writer = LineWriter(writing)
        writer.write("x")
        self.assertEqual(writer.dropped, 1)

    def test_closed(self) -> None:
        """Nor does a closed descriptor."""
        _, writing = self.pipe()
        writer = LineWriter(writing)
        os.close(writing)
        writer.write("x")
        self.assertEqual(writer.dropped, 1)

    def test_disk_full(self) -> None:
        """Nor does a full disk."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        writer = LineWriter(full)
        writer.write("x")
        self.assertEqual(writer.dropped, 1)

    def test_lone_surrogate(self) -> None:
        """Nor does text that UTF-8 has no form for."""
        reading, writing = self.pipe()
        LineWriter(writing).write("\ud800")
        self.assertEqual(os.read(reading, 100), b"\\ud800\n")

    def test_descriptor_stays_blocking(self) -> None:
        """The descriptor, which the shell shares, keeps its flags."""
        _, writing = self.pipe()
        LineWriter(writing).write("x")
        self.assertTrue(os.get_blocking(writing))


