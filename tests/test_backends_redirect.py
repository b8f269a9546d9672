"""``redirect``: where clients are sent."""
from __future__ import annotations

from attrs import evolve

from edgegw.backends.redirect import Config, redirect
from tests.backend_requests import BackendRequests


class RedirectTests(BackendRequests):
    """Real clients."""

    async def test_one_place(self) -> None:
        """Whatever is asked for, the answer is the same place."""
        await self.start(redirect, Config(to="https://www.example/new?a=b", status=308))
        for line in ("GET /", "DELETE /x?y=z", "HEAD //evil.example/"):
            found = await self.ask(line)
            self.assertEqual((found.status, found.all("location")), (308, ["https://www.example/new?a=b"]))

    async def test_with_the_path(self) -> None:
        """The path and query can be kept, byte by byte; they cannot change the host."""
        await self.start(redirect, Config(to="https://www.example/", keep_path=True))
        for target, location in (
            ("/a%20b/?c=d&e", "https://www.example/a%20b/?c=d&e"), ("//evil.example/", "https://www.example//evil.example/"),
            ("/@evil.example", "https://www.example/@evil.example"), ("/", "https://www.example/"),
        ):  # fmt: skip
            found = await self.ask(f"GET {target}")
            self.assertEqual((found.status, found.all("location")), (302, [location]))
        self.assertEqual((await self.ask("OPTIONS *")).all("location"), ["https://www.example/"])

    async def test_a_path_before_the_path(self) -> None:
        """A path of the same host stays one."""
        await self.start(redirect, Config(to="/new", keep_path=True, status=301))
        self.assertEqual((await self.ask("GET //evil.example/")).all("location"), ["/new//evil.example/"])

    def test_faults(self) -> None:
        """What could lead elsewhere, or nowhere, is a fault of the configuration."""
        for to in (
            "www.example", "ftp://a/", "//evil.example/", "/\\evil.example", "", "https://", "https://a b/", "/\n",
        ):
            self.assertRaisesRegex(ValueError, "no http URL or path", Config, to=to)
        config = Config(to="/")
        self.assertRaisesRegex(ValueError, "write 301, 302", evolve, config, status=304)
        for to in ("/", "https://a/?b", "https://a/#b"):
            self.assertRaisesRegex(ValueError, "no path can stand behind", Config, to=to, keep_path=True)
