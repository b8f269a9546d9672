"""``edgegw handshakes``: what an operator sees in the terminal, asked of a real admin site."""
from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import blockingCallFromThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from edgegw.handshakes_command import run_handshakes
from edgegw.observe.admin import MAX_HANDSHAKES, AdminSite
from edgegw.observe.handshake_table import HandshakeTable, describe
from edgegw.observe.handshakes import HandshakeRecord
from edgegw.observe.metrics import Metrics
from edgegw.reason_explanations import EXPLANATIONS
from edgegw.verdict import Accept, Explanation, Reason, Reject, Ruling
from tests.gateway import in_thread
from tests.test_observe_handshakes import ACCEPTED, NOBODY, REFUSED, STRANGER, Clock

reactor: Any = global_reactor

RULINGS = (
    Ruling("[0].spiffe", Accept({"team": "red"}), 0.000_012),
    Ruling("[1].subject_alt_names", Reject(Reason.SUBJECT_ALT_NAME, "has client.example"), 0.5, True),
)


@frozen
class Printed:
    """What a command printed, and its exit status."""

    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        """The lines of stdout."""
        return self.output.splitlines()


def run(*arguments: str, wait: Callable[[float], None] | None = None) -> Printed:
    """Run the command and catch what it prints; blocks."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            status = run_handshakes(arguments) if wait is None else run_handshakes(arguments, wait)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Printed(status, output.getvalue(), errors.getvalue())


def stop(seconds: float) -> None:
    """Press Ctrl-C instead of waiting."""
    raise KeyboardInterrupt


class CommandCase(TestCase):
    """An admin site with a record."""

    def setUp(self) -> None:
        self.record = HandshakeRecord(clock=Clock())
        self.listening = self.listen(AdminSite(reactor, Metrics().registry, lambda: True, self.record))
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The site's port."""
        number: int = self.listening.getHost().port
        return number

    def listen(self, site: Site, port: int = 0) -> Any:
        """Serve a site until the test is over."""
        listening = reactor.listenTCP(port, site, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return listening

    async def run_command(self, *arguments: str, **options: Any) -> Printed:
        """Run the command beside the reactor."""
        printed: Printed = await in_thread(run, "--admin", self.url, *arguments, **options)
        return printed


class TableTests(CommandCase):
    """One line for each."""

    async def test_table(self) -> None:
        """Titles, then the handshakes, oldest first, with everything at its place."""
        given = [one.add(self.record) for one in (ACCEPTED, evolve(REFUSED, resumed=True), STRANGER, NOBODY, NOBODY)]
        printed = await self.run_command()
        self.assertEqual((printed.status, printed.errors), (0, ""))
        rows = [re.split("  +", line) for line in printed.lines]
        time, peer = "2027-01-15T08:00:00.000Z", "192.0.2.7:50000"
        self.assertEqual(rows, [
            ["TIME", "ID", "PEER", "LISTENER", "SNI", "TLS", "CERTIFICATE", "RESULT"],
            [time, given[0], peer, "web", "a.example", "TLSv1.3", "client.example", "accepted"],
            [time, given[1], peer, "web", "a.example", "TLSv1.3 resumed", "client.example",
             "refused subject_alt_name"],
            [time, given[2], peer, "web", "a.example", "TLSv1.3", "unverified client.example", "refused unknown_ca"],
            [time, given[3], peer, "web", "-", "-", "-", "failed not_tls x2"],
        ])  # fmt: skip
        positions = {line.index("web") for line in printed.lines[1:]}
        self.assertEqual(len(positions), 1)

    async def test_choices(self) -> None:
        """The options choose as they say."""
        for one in (ACCEPTED, REFUSED, NOBODY, evolve(ACCEPTED, listener="other", peer="2001:db8::1")):
            one.add(self.record)
        for arguments, expected in (
            (["--refused"], ["refused subject_alt_name", "failed not_tls"]),
            (["--reason", "not_tls"], ["failed not_tls"]),
            (["--listener", "other"], ["accepted"]),
            (["--peer", "2001:db8::1"], ["accepted"]),
            (["--refused", "--limit", "1"], ["failed not_tls"]),
        ):
            printed = await self.run_command(*arguments)
            self.assertEqual([re.split("  +", line)[-1] for line in printed.lines[1:]], expected, arguments)

    async def test_more_than_one_answer(self) -> None:
        """As many as are asked for, be they more than one answer has."""
        given = [ACCEPTED.add(self.record) for _ in range(MAX_HANDSHAKES * 2 + 50)]
        for limit in (MAX_HANDSHAKES, MAX_HANDSHAKES * 2, 100_000):
            printed = await self.run_command("--json", "--limit", str(limit))
            self.assertEqual([json.loads(line)["id"] for line in printed.lines], given[-limit:])

    async def test_json(self) -> None:
        """One object a line, with all that the gateway tells."""
        REFUSED.add(self.record)
        printed = await self.run_command("--json")
        self.assertEqual([json.loads(line) for line in printed.lines], self.record.entries(10)[0])


class WholeTests(CommandCase):
    """All that is known of a handshake."""

    async def test_one(self) -> None:
        """Who, where, every policy, and what the reason means."""
        given = evolve(REFUSED, rulings=RULINGS).add(self.record)
        printed = await self.run_command(given)
        self.assertEqual((printed.status, printed.errors), (0, ""))
        meant = EXPLANATIONS[Reason.SUBJECT_ALT_NAME]
        text = re.sub(r"\s+", " ", printed.output)
        for part in (
            f"handshake {given} result refused subject_alt_name detail has client.example",
            "took 2.000 ms peer 192.0.2.7:50000 listener web SNI a.example",
            "TLS TLSv1.3, TLS_AES_128_GCM_SHA256, X25519 certificate verified subject CN=client",
            "valid 2025-01-01T00:00:00Z to 2045-01-01T00:00:00Z names DNS client.example policies",
            "policies [0].spiffe accept (0.012 ms): team=red [1].subject_alt_names reject",
            "reject subject_alt_name (an earlier answer): has client.example",
            f"{meant.sentence} Usual cause: {meant.cause} What to do: {meant.remedy}",
        ):
            self.assertIn(part, text)

    async def test_verbose(self) -> None:
        """The same of each of them."""
        for one in (ACCEPTED, REFUSED):
            one.add(self.record)
        printed = await self.run_command("--verbose")
        self.assertEqual(printed.output.count("handshake "), 2)
        self.assertIn(EXPLANATIONS[Reason.SUBJECT_ALT_NAME].sentence, printed.output)

    async def test_json(self) -> None:
        """The same as one line of JSON, the explanation with it."""
        given = REFUSED.add(self.record)
        document = json.loads((await self.run_command("--json", given)).output)
        self.assertEqual(document["id"], given)
        self.assertEqual(document["explanation"]["remedy"], EXPLANATIONS[Reason.SUBJECT_ALT_NAME].remedy)

    async def test_unknown(self) -> None:
        """One that is not there is one line, and the status is 1."""
        for unknown in ("abcdef01-001", "../metrics", "\x1b[2J"):
            printed = await self.run_command(unknown)
            self.assertEqual((printed.status, printed.output), (1, ""))
            self.assertRegex(printed.errors, r"\Aedgegw handshakes: [ -~]+ is not in the record: [ -~]+\n\Z")


class FollowTests(CommandCase):
    """New ones as they come."""

    def script(self, *steps: Callable[[], object]) -> Callable[[float], None]:
        """Do something of the gateway's side at each wait, and press Ctrl-C at the last."""
        left = list(steps)

        def wait(seconds: float) -> None:
            if not left:
                raise KeyboardInterrupt
            blockingCallFromThread(reactor, left.pop(0))

        return wait

    async def test_follow(self) -> None:
        """What was there, then what comes, each once, until Ctrl-C; the status is 0."""
        def come(*ones: Any) -> Callable[[], object]:
            return lambda: [one.add(self.record) for one in ones]

        come(ACCEPTED, REFUSED)()
        wait = self.script(come(NOBODY), come(), come(STRANGER, ACCEPTED))
        printed = await self.run_command("--follow", "--refused", wait=wait)
        results = [re.split("  +", line)[-1] for line in printed.lines]
        self.assertEqual(
            results, ["RESULT", "refused subject_alt_name", "failed not_tls", "refused unknown_ca"]
        )
        self.assertEqual((printed.status, printed.errors), (0, ""))

    async def test_many_at_once(self) -> None:
        """More than one answer has come out without a wait between."""
        given: list[str] = []
        wait = self.script(
            lambda: given.extend(ACCEPTED.add(self.record) for _ in range(MAX_HANDSHAKES * 2 + 1))
        )
        printed = await self.run_command("--follow", "--json", wait=wait)
        self.assertEqual([json.loads(line)["id"] for line in printed.lines], given)

    async def test_restart(self) -> None:
        """A gateway that is started again is followed again, from its first handshake on, and told of once."""
        port = self.port
        again = HandshakeRecord()
        site = AdminSite(reactor, Metrics().registry, lambda: True, again)
        before, after = ACCEPTED.add(self.record), REFUSED.add(again)
        wait = self.script(lambda: self.listening.stopListening(), lambda: None, lambda: self.listen(site, port))
        printed = await self.run_command("--follow", "--json", wait=wait)
        self.assertEqual([json.loads(line)["id"] for line in printed.lines], [before, after])
        self.assertEqual(printed.status, 0)
        refused = f"edgegw handshakes: {self.url} cannot be asked: Connection refused; trying again\n"
        self.assertEqual(printed.errors, refused)


class _Raw(Resource):
    """Answers everything with the same bytes."""

    isLeaf = True

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body

    def render_GET(self, request: Any) -> bytes:
        return self.body


class FailureTests(CommandCase):
    """No answer, or a wrong one: one line and status 1."""

    async def check_complaint(self, pattern: str, *arguments: str) -> None:
        """See that the command complains so, and prints nothing else."""
        printed = await self.run_command(*arguments)
        self.assertEqual((printed.status, printed.output), (1, ""))
        self.assertRegex(printed.errors, rf"\Aedgegw handshakes: {pattern}\n\Z")

    async def test_nobody_there(self) -> None:
        """An admin interface that cannot be reached."""
        await self.listening.stopListening()
        for arguments in ((), ("--follow",), ("abcdef01-001",), ("--json",)):
            await self.check_complaint(f"{re.escape(self.url)} cannot be asked: Connection refused", *arguments)
        for url in ("http://127.0.0.1:99999", "http://[x", "http://a b/", "http://127.0.0.1:x"):
            self.url = url
            await self.check_complaint("[ -~]+ cannot be asked: [ -~]+")

    async def test_somebody_else(self) -> None:
        """What answers is no gateway."""
        for body in (b"<html>", b"[]", b"{}", b'{"handshakes": [1], "explanations": {}, "next": "x"}', b"\xff",
                     b'{"handshakes": [], "explanations": [], "next": "x"}'):
            self.listening = self.listen(Site(_Raw(body)))
            self.url = f"http://127.0.0.1:{self.port}"
            await self.check_complaint("[ -~]+ does not answer as the admin interface of a gateway does")

    async def test_no_such_page(self) -> None:
        """A gateway that has no record says so."""
        self.listening = self.listen(AdminSite(reactor, Metrics().registry, lambda: True))
        self.url = f"http://127.0.0.1:{self.port}"
        await self.check_complaint("[ -~]+ answers with 404: not found")

    async def test_refused_query(self) -> None:
        """The gateway's own words about a bad option, whatever is in it, do the terminal no harm."""
        await self.check_complaint(r"[ -~]+ answers with 400: '\\x1b\[2J' is no reason code", "--reason", "\x1b[2J")

    async def test_proxy_in_the_environment(self) -> None:
        """A proxy for the web is not asked."""
        with patch.dict(os.environ, {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}):
            self.assertEqual((await self.run_command()).status, 0)

    async def test_reader_gone(self) -> None:
        """``edgegw handshakes | head -1`` ends without a complaint."""
        for _ in range(200):
            ACCEPTED.add(self.record)

        def into_closed_pipe() -> int:
            reading, writing = os.pipe()
            os.close(reading)
            with open(writing, "w", encoding="utf-8") as output, patch.object(sys, "stdout", output):
                return run_handshakes(["--admin", self.url, "--follow"], stop)

        self.assertEqual(await in_thread(into_closed_pipe), 0)


class ConfigurationTests(CommandCase):
    """Where to ask, from the configuration."""

    async def configured(self, text: str) -> Printed:
        """Run the command with a configuration."""
        path = Path(self.mktemp())
        path.write_text(text)
        printed: Printed = await in_thread(run, "--config", str(path))
        return evolve(printed, errors=printed.errors.replace(str(path), "FILE"))

    async def test_asked(self) -> None:
        """The admin interface that it names, whatever else is wrong with it or cannot be read."""
        for address in ("127.0.0.1", "0.0.0.0"):
            admin = f"admin: {{address: {address}, port: {self.port}}}\n"
            printed = await self.configured(f"{admin}listeners: [{{name: '${{NOT_SET}}', tls: nonsense}}]\n")
            self.assertEqual((printed.status, printed.errors), (0, ""))
            self.assertTrue(printed.output.startswith("TIME"))

    async def test_default(self) -> None:
        """Without a word on it, the port is the usual one."""
        asked: list[str] = []

        class Opener:
            def open(self, url: str, timeout: float) -> None:
                asked.append(url)
                raise TimeoutError("timed out")

        with patch("edgegw.handshakes_command.build_opener", lambda *given: Opener()):
            for text in ("{}", "", "# nothing\n", "listeners: []\n", "admin: {address: '::'}", "admin: {port: 1}"):
                self.assertEqual((await self.configured(text)).status, 1)
        found = [re.fullmatch(r"http://(.+)/handshakes\?limit=\d+", url) for url in asked]
        self.assertEqual([match and match[1] for match in found],
                         ["127.0.0.1:9901"] * 4 + ["[::1]:9901", "127.0.0.1:1"])

    async def test_faults(self) -> None:
        """A configuration that names none: one line for each fault, and the status is 1."""
        for text, expected in (
            ("admin: disabled\n", "FILE: there is nobody to ask, since admin is disabled\n"),
            ("admin: {port: 0}\n", "FILE: the system chose the admin port; name it with --admin, the log has it\n"),
        ):
            self.assertEqual(await self.configured(text), Printed(1, "", expected))
        for text in ("admin: {port: x}\n", "admin: {port: 1, colour: red}\n", "admin: 5\n", "a: [\n"):
            printed = await self.configured(text)
            self.assertEqual((printed.status, printed.output), (1, ""))
            self.assertRegex(printed.errors, r"\AFILE:\d+:\d+: .+\n\Z")
        printed = await in_thread(run, "--config", self.mktemp())
        self.assertEqual(printed.status, 1)
        self.assertIn("cannot be read", printed.errors)


class UsageTests(SynchronousTestCase):
    """The command line."""

    def test_help(self) -> None:
        """It says what there is."""
        printed = run("--help")
        self.assertEqual(printed.status, 0)
        for option in ("--refused", "--follow", "--listener", "--reason", "--limit", "--json", "--admin", "--config"):
            self.assertIn(option, printed.output)

    def test_not_understood(self) -> None:
        """What cannot be understood is status 2."""
        for arguments in (("--limit", "0"), ("--limit", "x"), ("--admin", "x", "--config", "y"), ("a", "b"),
                          ("an-id", "--follow"), ("an-id", "--refused"), ("--admin", "127.0.0.1:1"),
                          ("--admin", "file:///etc/passwd"), ("--ref",)):  # fmt: skip
            printed = run(*arguments)
            self.assertEqual((printed.status, printed.output), (2, ""), arguments)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda members: st.lists(members, max_size=3) | st.dictionaries(st.text(), members, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    ["id", "time", "count", "last", "listener", "peer", "port", "server_name", "version", "cipher", "group", "resumed",
     "status", "result", "reason", "detail", "policies", "policies_left_out", "seconds", "certificate",
     "proxied"]
)  # fmt: skip


class TextTests(SynchronousTestCase):
    """What is made of whatever comes over the network."""

    @given(st.dictionaries(MEMBERS, JSON_VALUES), st.text())
    def test_anything(self, entry: dict[str, Any], words: str) -> None:
        """Any JSON gives text that a terminal obeys nothing of; a row is one line."""
        for explained in (None, Explanation(words, words, words)):
            for line in describe(entry, explained).split("\n"):
                self.assertTrue(line.isascii() and (line.isprintable() or not line), line)
        row = HandshakeTable().row(entry)
        self.assertTrue(row.isascii() and row.isprintable(), row)

    def test_columns(self) -> None:
        """A table grows wider with what it shows, and no column beyond its bounds."""
        table = HandshakeTable()
        narrow = table.header()
        table.fit([{"listener": "a-listener", "server_name": "x" * 500}])
        wide = table.header()
        self.assertGreater(len(wide), len(narrow))
        row = table.row({"listener": "other", "server_name": "y" * 500, "result": "accepted"})
        self.assertIn("y... ", row)
        self.assertEqual(row.index("accepted"), wide.index("RESULT"))

    def test_names_of_certificates(self) -> None:
        """A certificate is known by its URI, its DNS name, its subject, or its hash."""
        for certificate, known in (
            ({"uris": ["spiffe://a/b"], "dns_names": ["c"], "subject": "CN=d"}, "spiffe://a/b"),
            ({"uris": [], "dns_names": ["c"], "subject": "CN=d"}, "c"),
            ({"subject": "CN=d", "sha256": "0" * 64}, "CN=d"),
            ({"subject": "", "sha256": "0" * 64}, "sha256:" + "0" * 16),
            (None, "-"),
        ):
            row = HandshakeTable().row({"certificate": certificate, "status": "verified", "result": "accepted"})
            self.assertEqual(row.split()[-2], known)

    def test_proxied(self) -> None:
        """What a proxy has said is told as its word; whatever is missing is not."""
        tls = {"version": "TLSv1.3", "cipher": "X", "certificate": True, "verify": 0, "common_name": "billing"}
        said = {
            "peer": "10.0.0.5", "port": 4711, "version": 2, "local": False, "authority": "a.example", "alpn": "h2",
            "unique_id": "id-7", "destination": {"address": "2001:db8::1", "port": 443}, "tls": tls,
        }
        text = describe({"proxied": said}, None)
        for line in (
            "  proxy        10.0.0.5:4711 (PROXY v2, its word for the client)", "    to         [2001:db8::1]:443",
            "    SNI        a.example", "    ALPN       h2", "    id         id-7", "    TLS        TLSv1.3, X",
            "    certificate verified, common name billing",
        ):
            self.assertIn(line, text.split("\n"))
        text = describe({"proxied": {"peer": "unix:", "local": True, "tls": {"certificate": True, "verify": 20}}}, None)
        self.assertIn("unix: (PROXY v-, its own connection)", text)
        self.assertIn("not verified (20), common name -", text)
        self.assertNotIn("proxy ", describe({"proxied": None}, None))

    def test_left_out(self) -> None:
        """What the record had no room for is told as left out."""
        text = describe(
            {"certificate": {"names_left_out": 7, "parse_error": "odd"}, "policies": [], "policies_left_out": 3,
             "count": 4, "last": "later"}, None,
        )  # fmt: skip
        for part in ("and 7 more, for which there was no room", "problem    odd", "and 3 more before the last",
                     "4 times, the last at later"):
            self.assertIn(part, text)
