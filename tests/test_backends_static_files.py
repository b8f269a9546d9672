"""``static_files``: what is sent, in whole and in part, and what never is."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.api import BackendRequest
from edgegw.backends.conditional import Unsatisfiable, Validators, byte_range, precondition
from edgegw.backends.file_paths import NotThere, location_of, segments_of
from edgegw.backends.static_files import PIECE, Config, StaticFiles
from tests.backend_requests import BackendRequests
from tests.gateway import until

NOW = Validators('"1"', 784_111_777)  # Sun, 06 Nov 1994 08:49:37 GMT


def open_at(path: Path) -> bool:
    """Whether this process has a file open."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return any(os.readlink(link) == str(path) for link in links if link.is_symlink())


def asked(*headers: tuple[str, str], method: str = "GET") -> BackendRequest:
    """Give a request."""
    return BackendRequest(method, "/", headers=headers)


class ConditionTests(SynchronousTestCase):
    """Conditional requests (RFC 9110 §13)."""

    def test_preconditions(self) -> None:
        """Each condition does what the RFC says, tags before dates."""
        then, before, after = (
            "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:36 GMT", "Sun Nov  6 08:49:38 1994"
        )
        for headers, status in (
            ([], 0),
            ([("if-none-match", '"1"')], 304),
            ([("if-none-match", 'W/"1"')], 304),
            ([("if-none-match", '"2", "1"')], 304),
            ([("if-none-match", '"2"'), ("if-none-match", '"1"')], 304),
            ([("if-none-match", "*")], 304),
            ([("if-none-match", '"2"')], 0),
            ([("if-none-match", '"2"'), ("if-modified-since", after)], 0),
            ([("if-none-match", "1")], 0),
            ([("if-modified-since", then)], 304),
            ([("if-modified-since", after)], 304),
            ([("if-modified-since", before)], 0),
            ([("if-modified-since", "yesterday")], 0),
            ([("if-match", '"1"')], 0),
            ([("if-match", "*")], 0),
            ([("if-match", 'W/"1"')], 412),
            ([("if-match", '"2"')], 412),
            ([("if-unmodified-since", then)], 0),
            ([("if-unmodified-since", before)], 412),
            ([("if-match", '"1"'), ("if-unmodified-since", before)], 0),
            ([("if-match", '"1"'), ("if-none-match", '"1"')], 304),
        ):
            with self.subTest(headers):
                self.assertEqual(precondition(asked(*headers), NOW), status)

    def test_ranges(self) -> None:
        """One range is given; what cannot be understood is as good as none."""
        for value, expected in (
            ("bytes=0-0", (0, 1)), ("bytes=0-", (0, 10)), ("bytes=3-5", (3, 3)), ("bytes=3-99", (3, 7)),
            ("bytes=-3", (7, 3)), ("bytes=-99", (0, 10)), ("Bytes=1-1", (1, 1)), ("bytes=5-3", None),
            ("bytes=0-1,3-4", None), ("lines=0-1", None), ("bytes=a-b", None), ("bytes=-", None), ("", None),
        ):
            with self.subTest(value):
                self.assertEqual(byte_range(asked(("range", value)), NOW, 10), expected)
        for value in ("bytes=10-", "bytes=-0", "bytes=10-12"):
            self.assertRaises(Unsatisfiable, byte_range, asked(("range", value)), NOW, 10)
        self.assertRaises(Unsatisfiable, byte_range, asked(("range", "bytes=-1")), NOW, 0)
        self.assertIsNone(byte_range(asked(("range", "bytes=0-0"), method="HEAD"), NOW, 10))

    def test_if_range(self) -> None:
        """A range of another version is not given."""
        for value, holds in (
            ('"1"', True), ('"2"', False), ('W/"1"', False), ("Sun, 06 Nov 1994 08:49:37 GMT", True),
            ("Sun, 06 Nov 1994 08:49:38 GMT", False), ("soon", False),
        ):
            request = asked(("range", "bytes=0-0"), ("if-range", value))
            self.assertEqual(byte_range(request, NOW, 10) is not None, holds, value)

    @settings(max_examples=40, deadline=None)
    @given(st.text(max_size=30), st.sampled_from(["if-match", "if-none-match", "if-modified-since", "if-range"]))
    def test_anything(self, value: str, name: str) -> None:
        """Whatever a client sends, the answer is one of those that there are."""
        request = asked((name, value), ("range", value))
        self.assertIn(precondition(request, NOW), (0, 304, 412))
        try:
            found = byte_range(request, NOW, 10)
        except Unsatisfiable:
            return
        if found is not None:
            self.assertTrue(found[0] >= 0 and found[1] > 0 and sum(found) <= 10)


class PathTests(SynchronousTestCase):
    """Paths of requests."""

    def test_names(self) -> None:
        """A path's names are decoded; what would lead elsewhere leads nowhere."""
        self.assertEqual(segments_of("/a/b%20c/%C3%BC"), (b"a", b"b c", "ü".encode()))
        self.assertEqual((segments_of("/"), segments_of("/a/")), ((b"",), (b"a", b"")))
        self.assertEqual(segments_of("/.well-known", True), (b".well-known",))
        for path in ("", "a", "//", "//a", "/a//b", "/..", "/../a", "/a/..", "/%2e%2e/a", "/.", "/a/%2E/b", "/a%2fb",
                     "/%00", "/.git/config", "/" + "a" * 20_000):
            with self.subTest(path[:20]):
                self.assertRaises(NotThere, segments_of, path)

    @given(st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=4))
    def test_there_and_back(self, names: list[bytes]) -> None:
        """A path that is made of names reads as these names, and begins with one slash."""
        location = location_of(names)
        self.assertRegex(location, r"\A/[^/\\]")
        try:
            self.assertEqual(segments_of(location, True), tuple(names))
        except NotThere:
            self.assertTrue({b".", b".."} & set(names) or any(b"/" in one or b"\0" in one for one in names))


class FileTests(BackendRequests):
    """Real files for real clients."""

    async def serve(self, **options: Any) -> Path:
        """Serve a directory; gives where it is."""
        base = Path(self.mktemp()).absolute()
        root = base / "site"
        (root / "sub").mkdir(parents=True)
        (root / "index.html").write_text("<p>home")
        (root / "sub" / "a.txt").write_text("hello")
        (base / "secret.txt").write_text("secret")
        await self.start(StaticFiles, Config(directory=str(root), **options))
        return root

    async def test_a_file(self) -> None:
        """GET gives it with its type and validators, HEAD the same without it; nothing else is allowed."""
        await self.serve(cache_control="max-age=60")
        found = await self.ask("GET /sub/a.txt?v=1")
        self.assertEqual((found.status, found.body), (200, b"hello"))
        self.assertEqual(found.all("content-type"), ["text/plain; charset=utf-8"])
        self.assertEqual(found.all("cache-control"), ["max-age=60"])
        self.assertEqual(found.all("x-content-type-options"), ["nosniff"])
        self.assertEqual((found.all("accept-ranges"), found.all("content-length")), (["bytes"], ["5"]))
        head = await self.ask("HEAD /sub/a.txt")
        self.assertEqual((head.status, head.all("content-length"), head.all("etag")), (200, ["5"], found.all("etag")))
        refused = await self.ask("POST /sub/a.txt", body=b"x")
        self.assertEqual((refused.status, refused.all("allow")), (405, ["GET, HEAD"]))

    async def test_directories(self) -> None:
        """The index stands for a directory, which has a slash at its end; nothing is listed."""
        await self.serve()
        self.assertEqual((await self.ask("GET /")).body, b"<p>home")
        moved = await self.ask("GET /sub?x=1")
        self.assertEqual((moved.status, moved.all("location")), (301, ["/sub/?x=1"]))
        for path in ("/sub/", "/sub/a.txt/", "/none", "/none/"):
            self.assertEqual((await self.ask(f"GET {path}")).status, 404, path)

    async def test_listing(self) -> None:
        """A listing is of what may be sent, and safe to look at."""
        root = await self.serve(listing=True)
        (root / "sub" / "<b>&.txt").write_text("")
        (root / "sub" / ".hidden").write_text("")
        (root / "sub" / "javascript:x").write_text("")
        page = (await self.ask("GET /sub/")).body.decode()
        self.assertIn('<a href="./%3Cb%3E%26.txt">&lt;b&gt;&amp;.txt</a>', page)
        self.assertIn('<a href="./a.txt">', page)
        self.assertIn('<a href="./javascript%3Ax">', page)
        self.assertNotIn("hidden", page)

    async def test_prefix(self) -> None:
        """The prefix stands for the directory, and redirects have it in front."""
        await self.serve(prefix="/static/")
        self.assertEqual((await self.ask("GET /static/sub/a.txt")).body, b"hello")
        self.assertEqual((await self.ask("GET /static")).all("location"), ["/static/"])
        self.assertEqual((await self.ask("GET /static/sub")).all("location"), ["/static/sub/"])
        for path in ("/sub/a.txt", "/staticsub/a.txt", "/"):
            self.assertEqual((await self.ask(f"GET {path}")).status, 404, path)

    async def test_nothing_outside(self) -> None:
        """No path and no link leads out, and what is no file is not opened for anybody."""
        root = await self.serve()
        (root / "out.txt").symlink_to(root.parent / "secret.txt")
        (root / "up").symlink_to(root.parent)
        (root / "inside.txt").symlink_to(root / "sub" / "a.txt")
        (root / ".env").write_text("secret")
        os.mkfifo(root / "pipe")
        (root / "private").write_text("secret")
        (root / "private").chmod(0)
        private = () if os.geteuid() == 0 else ("/private",)
        for path in (
            "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/sub/../../secret.txt", "/out.txt",
            "/up/secret.txt", "/up/site/sub/../../secret.txt", "/up/", "/.env", "/pipe", "//etc/passwd",
            "/%2fetc/passwd", "/a%00", *private,
        ):  # fmt: skip
            found = await self.ask(f"GET {path}")
            self.assertIn(found.status, (400, 404), path)
            self.assertNotIn(b"secret", found.body)
        self.assertEqual((await self.ask("GET /inside.txt")).body, b"hello")
        # The way through the link outside ends inside, where it may be.
        self.assertEqual((await self.ask("GET /up/site/sub/a.txt")).body, b"hello")

    async def test_links_if_wanted(self) -> None:
        """``follow_symlinks`` lets links lead out."""
        root = await self.serve(follow_symlinks=True)
        (root / "out.txt").symlink_to(root.parent / "secret.txt")
        self.assertEqual((await self.ask("GET /out.txt")).body, b"secret")

    async def test_a_directory_that_is_a_link(self) -> None:
        """What it leads to may change at any time."""
        base = Path(self.mktemp()).absolute()
        root, other, current = base / "v1", base / "v2", base / "current"
        (root / "sub").mkdir(parents=True)
        other.mkdir()
        (root / "sub" / "a.txt").write_text("hello")
        (other / "index.html").write_text("v2")
        current.symlink_to(root)
        await self.start(StaticFiles, Config(directory=str(current)))
        self.assertEqual((await self.ask("GET /sub/a.txt")).body, b"hello")
        current.unlink()
        current.symlink_to(other)
        self.assertEqual((await self.ask()).body, b"v2")

    async def test_types(self) -> None:
        """Types are the operator's, then the known ones, then none."""
        root = await self.serve(content_types={".TXT": "text/plain", ".weird": "application/x-weird"})
        for name, expected in (
            ("a.txt", "text/plain"), ("b.Weird", "application/x-weird"), ("c.js", "text/javascript; charset=utf-8"),
            ("d.png", "image/png"), ("e.tar.gz", "application/gzip"), ("f", "application/octet-stream"),
            ("g.css", "text/css; charset=utf-8"), ("h.woff2", "font/woff2"), ("i.wasm", "application/wasm"),
        ):
            (root / name).write_text("x")
            self.assertEqual((await self.ask(f"GET /{name}")).all("content-type"), [expected])

    async def test_conditions_and_ranges(self) -> None:
        """What a client has already is not sent again, and a part is sent where it wants one."""
        root = await self.serve()
        etag = (await self.ask("GET /sub/a.txt")).all("etag")[0]
        unchanged = await self.ask("GET /sub/a.txt", f"if-none-match: {etag}")
        self.assertEqual((unchanged.status, unchanged.body, unchanged.all("etag")), (304, b"", [etag]))
        part = await self.ask("GET /sub/a.txt", "range: bytes=1-3", f"if-range: {etag}")
        self.assertEqual((part.status, part.body, part.all("content-range")), (206, b"ell", ["bytes 1-3/5"]))
        beyond = await self.ask("GET /sub/a.txt", "range: bytes=9-")
        self.assertEqual((beyond.status, beyond.all("content-range")), (416, ["bytes */5"]))
        (root / "sub" / "a.txt").write_text("changed")
        changed = await self.ask("GET /sub/a.txt", f"if-none-match: {etag}")
        self.assertEqual((changed.status, changed.body), (200, b"changed"))
        stale = await self.ask("GET /sub/a.txt", "range: bytes=1-3", f"if-range: {etag}")
        self.assertEqual((stale.status, stale.body), (200, b"changed"))
        self.assertEqual((await self.ask("GET /sub/a.txt", f"if-match: {etag}")).status, 412)

    async def test_large(self) -> None:
        """A large file comes whole, and so does the end of it."""
        root = await self.serve()
        content = os.urandom(3 * PIECE + 17)
        (root / "large").write_bytes(content)
        self.assertEqual((await self.ask("GET /large")).body, content)
        part = await self.ask("GET /large", f"range: bytes={PIECE - 5}-{2 * PIECE + 5}")
        self.assertEqual(part.body, content[PIECE - 5 : 2 * PIECE + 6])
        await self.quiet()
        self.assertEqual((await self.ask("HEAD /large")).all("content-length"), [str(len(content))])
        await until(lambda: not open_at(root / "large"))

    async def test_a_slow_reader(self) -> None:
        """Who does not read is sent no more than there is room for; when it leaves, the file is closed."""
        root = await self.serve()
        with (root / "huge").open("wb") as huge:
            huge.truncate(1 << 32)
        reads: list[int] = []
        real = self.built._env.in_thread

        async def counted(function: Any, *arguments: Any) -> Any:
            if arguments and isinstance(arguments[0], int):
                reads.append(arguments[0])
            return await real(function, *arguments)

        self.built._env.in_thread = counted
        client = await self.client()
        client.transport.pauseProducing()
        client.send(b"GET /huge HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: len(reads) > 2)
        others = [await self.ask("GET /sub/a.txt") for _ in range(5)]
        self.assertEqual([one.body for one in others], [b"hello"] * 5)
        self.assertLess(sum(reads), 64 << 20)
        client.transport.abortConnection()
        await self.quiet()
        await until(lambda: not open_at(root / "huge"))

    async def test_a_file_that_shrinks(self) -> None:
        """A file that becomes shorter while it is sent ends in a cut connection, not in a wrong body."""
        root = await self.serve()
        (root / "log").write_bytes(bytes(64 << 20))
        client = await self.client()
        client.transport.pauseProducing()
        client.send(b"GET /log HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: any(one.response_bytes for one in self.running.metrics.routes.values()))
        os.truncate(root / "log", 1000)
        client.transport.resumeProducing()
        await client.closed()
        self.assertLess(client.total, 64 << 20)
        self.assertEqual(self.failures(), {"bad_response": 1})

    async def test_no_directory(self) -> None:
        """A directory that is not there is a fault of the configuration."""
        config = Config(directory="/nonexistent/site")
        with self.assertRaisesRegex(ValueError, "/nonexistent/site cannot be read: No such file or directory; name a"):
            StaticFiles.build(config, None)  # type: ignore[arg-type]  # nothing of it is used
        self.assertRaisesRegex(ValueError, "no path; begin with /", evolve, config, prefix="static")
        self.assertRaisesRegex(ValueError, "no name of a file", evolve, config, index=("a/b",))
        types = {"txt": "a/b"}
        self.assertRaisesRegex(ValueError, "no ending of a name; write .txt", evolve, config, content_types=types)
        self.assertRaisesRegex(ValueError, "no header may have", evolve, config, cache_control="a\nb")
