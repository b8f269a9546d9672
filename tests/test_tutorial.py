"""Every command of the tutorial does what the tutorial says, in an empty folder, with the real curl."""
from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.test_guide import free_ports
from tests.test_packaging import ROOT, new_folder

TUTORIAL = ROOT / "docs" / "tutorial.rst"
#: Seconds that one command may take.
PATIENCE = 90.0
#: Commands that only look at what another process writes: they are repeated until it has.
LOOKING = ("tail ", "grep ", "edgegw handshakes")

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n((?: +:\w+: .*\n)*)\n((?:    .*\n|\n)+)", re.MULTILINE)


@frozen
class File:
    """A file that the reader writes."""

    path: str
    text: str


@frozen
class Command:
    """A line that the reader types in, and what is shown behind it."""

    line: str
    shown: str

    @property
    def fails(self) -> bool:
        """Whether it is shown to fail."""
        return any(text in self.shown for text in ("curl: (", "is no known key", "REFUSED:"))

    def matches(self, printed: str) -> bool:
        """Whether what was printed is what is shown: ``...`` stands for anything."""
        if not self.shown:
            return True
        parts = [r"\s+".join(map(re.escape, part.split())) for part in self.shown.split("...")]
        return re.fullmatch(r"\s*" + r".*?".join(rf"\s*{part}\s*" for part in parts), printed, re.DOTALL) is not None


def steps(text: str) -> Iterator[File | Command]:
    """Give what the reader does, in its order."""
    for language, options, body in _BLOCK.findall(text):
        body = dedent(body).strip("\n") + "\n"
        caption = re.search(r":caption: (\S+)", options)
        if caption is not None:
            yield File(caption[1], body)
        elif language == "console":
            for typed in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                line, _, shown = typed.partition("\n")
                yield Command(line, shown.strip())


class Shell:
    """A shell that commands are typed into, one after the other."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._count = 0
        self._unread = b""

    def run(self, line: str) -> tuple[int, str]:
        """Run a command; gives its status and what it printed.

        :raises AssertionError: it takes too long, or ends the shell.
        """
        self._count += 1
        mark = f"--- {self._count} of {os.getpid()}".encode()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"{ %s\n} < /dev/null 2>&1; echo \"\n%s $?\"\n" % (line.encode(), mark))
        self._process.stdin.flush()
        deadline = time.monotonic() + PATIENCE
        wanted = re.compile(rb"(.*?)\n" + mark + rb" (\d+)\n", re.DOTALL)
        while (found := wanted.match(self._unread)) is None:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._process.stdout.fileno(), 65_536) if ready else b""
            if not data:
                raise AssertionError(f"{line!r} did not end; it printed {self._unread!r}")
            self._unread += data
        self._unread = self._unread[found.end() :]
        return int(found[2]), found[1].decode()

    def end(self) -> None:
        """End it and all that it has started and not put into the background by itself."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class TutorialTests(SynchronousTestCase):
    """The tutorial, from its first command to the last.

    :cvar page: what is followed.
    :cvar ports_of_page: the ports that stand in it.
    :cvar least: steps that it has at least.
    """

    page = TUTORIAL
    ports_of_page: tuple[str, ...] = ("8443", "8081", "9901")
    least = 40

    def setUp(self) -> None:
        """Find free ports in place of the tutorial's, and an environment with edgegw in it."""
        for command in ("bash", "curl", "openssl"):
            self.assertIsNotNone(shutil.which(command), f"{command} is not installed; the test needs it")
        self.folder = new_folder(self)
        free = map(str, free_ports(len(self.ports_of_page)))
        self.ports = dict(zip(self.ports_of_page, free, strict=True))
        commands = self.folder / "bin"
        commands.mkdir()
        for name, arguments in {
            "edgegw": "-m edgegw",
            "twistd": "-c 'from twisted.scripts.twistd import run; run()'",
            "python3": "",
        }.items():
            (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
            (commands / name).chmod(0o755)
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
        work = self.folder / "work"
        work.mkdir()
        self.shell = Shell(work, environment)
        self.addCleanup(self.shell.end)
        self.addCleanup(self.end_gateway)

    def end_gateway(self) -> None:
        """End what twistd has put into the background, if it is still there."""
        for file in self.folder.rglob("*.pid"):
            os.kill(int(file.read_text()), signal.SIGKILL)

    def here(self, text: str) -> str:
        """Give a text with the ports of this test."""
        for port, free in self.ports.items():
            text = text.replace(port, free)
        return text

    def do(self, step: File | Command) -> None:
        """Do what the tutorial says, and see that what comes out is what it shows."""
        if isinstance(step, File):
            status, folder = self.shell.run("pwd")
            (Path(folder.strip()) / step.path).write_text(self.here(step.text))
            return
        deadline = time.monotonic() + 30.0
        line, shown = self.here(step.line), Command(step.line, self.here(step.shown))
        status, printed = self.shell.run(line)
        while not shown.matches(printed) and line.startswith(LOOKING) and time.monotonic() < deadline:
            time.sleep(0.05)
            status, printed = self.shell.run(line)
        self.assertTrue(shown.matches(printed), f"{line}\nprinted\n{printed}\nand not\n{shown.shown}")
        self.assertEqual(status != 0, step.fails, f"{line}\nended with {status}\n{printed}")

    def test_every_command(self) -> None:
        """Each step goes as it is written."""
        done = 0
        for step in steps(self.page.read_text()):
            self.do(step)
            done += 1
        self.assertGreater(done, self.least)
        deadline = time.monotonic() + 30.0
        while list(self.folder.rglob("*.pid")):
            self.assertLess(time.monotonic(), deadline, "the gateway does not end")
            time.sleep(0.05)


class ReadingTests(SynchronousTestCase):
    """How the tutorial is read."""

    def test_steps(self) -> None:
        """Files, commands and what they show are found; other blocks are left alone."""
        text = dedent("""
            .. code-block:: yaml
                :caption: a.yaml

                a:
                  - b

            .. code-block:: python

                left_alone()

            .. code-block:: console

                $ one
                $ two
                out ... put
                more
            """)
        found = list(steps(text))
        self.assertEqual(
            found, [File("a.yaml", "a:\n  - b\n"), Command("one", ""), Command("two", "out ... put\nmore")]
        )

    def test_matching(self) -> None:
        """Dots stand for anything, white space for white space, and everything else for itself."""
        command = Command("x", "a (...) c\n...\nd")
        for printed in ("a (b) c\n\nd\n", "a  (1\n2) c x\ny\nd"):
            self.assertTrue(command.matches(printed), printed)
        for printed in ("", "a b c\nd", "a (b) c", "x a (b) c d", "a (b) c d e"):
            self.assertFalse(command.matches(printed), printed)

    def test_blocks_that_nobody_reads(self) -> None:
        """Nothing of the tutorial that looks like a step is passed over."""
        text = TUTORIAL.read_text()
        found = list(steps(text))
        self.assertEqual(text.count("    $ "), sum(isinstance(step, Command) for step in found))
        self.assertEqual(text.count(":caption:"), sum(isinstance(step, File) for step in found))
