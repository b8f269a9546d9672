"""What the log and the record tell of clients that are refused: the name that they asked for, and what was agreed."""
from __future__ import annotations

from typing import Any

from edgegw.model import RefuseWith, TLSSettings, TLSVersion
from edgegw.verdict import Reason
from tests.gateway import client_context, https_listener, in_thread, until, validation
from tests.test_tls_judging import EventsCase, never
from tests.test_tls_policies import later, named, use
from tests.tls_peers import TLS1_2, TLS1_3, BarePort, connect, start_port, try_tls

NAMES = {TLS1_2: "TLSv1.2", TLS1_3: "TLSv1.3"}


class RefusedCase(EventsCase):
    """Ports with one listener, where a client's name makes no difference and nobody looks at it beforehand."""

    def start(self, tls: TLSSettings | None = None, **settings: Any) -> BarePort:
        """Start one whose client validation has some settings."""
        return start_port(self, https_listener([self.server], validation(self.root, **settings), tls=tls))

    async def refused(self, port: BarePort, version: int, common_name: str | None = "bad") -> dict[str, Any]:
        """Have a client refused; gives its entry."""
        client = None if common_name is None else self.root.issue(common_name)
        await in_thread(try_tls, port.address, certificate=client, version=version)
        await until(lambda: port.record.entries(1, refused=True)[0])
        await port.idle()
        return port.record.entries(1, refused=True)[0][0]


class NameTests(RefusedCase):
    """SNI is there whenever and however the client is refused."""

    async def test_by_policies(self) -> None:
        """In the handshake, and by policies that wait, whatever comes of their refusal."""
        for settings in (
            {"policies": (use(named),)},
            {"policies": (use(later),)},
            {"policies": (use(later),), "refuse_with": RefuseWith.RESPONSE},
        ):
            port = self.start(**settings)
            for version, name in NAMES.items():
                entry = await self.refused(port, version)
                self.assertEqual((entry["server_name"], entry["version"]), ("a.example", name), settings)
        told = {event["sni"] for event in self.events if event.get("sni", self) is not self}
        self.assertEqual(told, {"a.example"})

    async def test_by_leaving(self) -> None:
        """And where the client leaves before a policy has decided."""
        port = self.start(policies=(use(never),), policy_timeout=30.0)

        def leave() -> None:
            context = client_context(self.root, self.client)
            with connect(port.address) as plain, context.wrap_socket(plain, server_hostname="a.example"):
                plain.close()

        await in_thread(leave)
        await until(lambda: port.failures)
        await port.idle()
        entry = port.record.entries(1)[0][0]
        self.assertEqual((entry["reason"], entry["server_name"]), (Reason.CLIENT_CLOSED, "a.example"))


class AgreedTests(RefusedCase):
    """Version, cipher suite and group, as far as the handshake had come."""

    async def test_in_the_handshake(self) -> None:
        """A certificate is refused when the version and the group are known; TLS 1.3 has its cipher suite as well."""
        for common_name in ("bad", None):
            for version, name in NAMES.items():
                entry = await self.refused(self.start(policies=(use(named),)), version, common_name)
                self.assertEqual((entry["version"], entry["cipher"] is None), (name, version == TLS1_2))
                self.assertTrue(entry["group"])

    async def test_no_version(self) -> None:
        """Where no version was agreed on none is told, whatever OpenSSL calls the connection."""
        for client, only in ((TLS1_2, TLSVersion.TLS1_3), (TLS1_3, TLSVersion.TLS1_2)):
            port = self.start(TLSSettings((), min_version=only, max_version=only))
            entry = await self.refused(port, client)
            self.assertEqual((entry["reason"], entry["version"]), (Reason.PROTOCOL_VERSION, None))
