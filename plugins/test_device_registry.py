"""Whom device_registry lets in."""
from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from device_registry import DeviceRegistry
from twisted.trial.unittest import TestCase

from edgegw.api import Accept, Reject, Verdict
from edgegw.testing import (
    Authority,
    ConfigError,
    FakeEnvironment,
    build,
    check_plugin_later,
    handshake,
    judge_later,
    options,
    peer,
)


class DeviceRegistryTests(TestCase):
    """The policy, with a database in a file."""

    def setUp(self) -> None:
        """Make a registry with two devices, one of them blocked."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.env = FakeEnvironment(folder)
        self.good, self.blocked = peer(common_name="good"), peer(common_name="blocked")
        self.change("CREATE TABLE devices (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, active INTEGER NOT NULL)")
        self.change("INSERT INTO devices VALUES (?, 'pump 7', 1)", self.good.sha256)
        self.change("INSERT INTO devices VALUES (?, 'pump 8', 0)", self.blocked.sha256)

    def change(self, statement: str, *values: str) -> None:
        """Write to the database, as another program does."""
        with sqlite3.connect(Path(self.env.directory) / "devices.db") as connection:
            connection.execute(statement, values)
        connection.close()

    def policy(self, **more: str) -> Any:
        """Build the policy until the end of the test."""
        policy: Any = build(DeviceRegistry, {"database": "devices.db", **more}, self.env)
        self.addCleanup(policy.close)
        return policy

    def refused(self, verdict: Verdict, code: str) -> None:
        """See that a verdict is a refusal."""
        assert isinstance(verdict, Reject), verdict
        self.assertEqual(str(verdict.code), code)

    async def test_listed(self) -> None:
        """A device comes in under its name, and one that is blocked does not."""
        policy = self.policy()
        self.assertEqual(await judge_later(policy, None, self.good), Accept({"device": "pump 7"}))
        self.refused(await judge_later(policy, None, self.blocked), "device_blocked")
        self.refused(await judge_later(policy, None, peer(common_name="other")), "not_listed")

    async def test_changes_hold_at_once(self) -> None:
        """What another program writes decides about the next connection."""
        policy = self.policy()
        await judge_later(policy, None, self.good)
        self.change("UPDATE devices SET active = 0 WHERE sha256 = ?", self.good.sha256)
        self.refused(await judge_later(policy, None, self.good), "device_blocked")
        self.change("DELETE FROM devices")
        self.refused(await judge_later(policy, None, self.good), "not_listed")

    async def test_active_is_a_number(self) -> None:
        """A text where 0 or 1 should stand, "false" for example, lets nobody in."""
        policy = self.policy()
        for value in ("false", "no", "2"):
            self.change("UPDATE devices SET active = ? WHERE sha256 = ?", value, self.good.sha256)
            self.refused(await judge_later(policy, None, self.good), "check_unavailable")

    async def test_database_that_fails(self) -> None:
        """A database that has gone bad lets nobody in."""
        policy = self.policy()
        self.change("DROP TABLE devices")
        self.refused(await judge_later(policy, None, self.good), "check_unavailable")

    async def test_it_only_reads(self) -> None:
        """A query that would write fails, and the database stays as it is."""
        self.assertRaises(ValueError, self.policy, query="DELETE FROM devices WHERE sha256 <> ?")
        self.assertIsInstance(await judge_later(self.policy(), None, self.good), Accept)

    async def test_own_query(self) -> None:
        """A registry of another layout is asked with another query."""
        self.change("CREATE TABLE assets (fingerprint TEXT, label TEXT)")
        self.change("INSERT INTO assets VALUES (?, 'till 3')", self.good.sha256)
        policy = self.policy(query="SELECT label, 1 FROM assets WHERE fingerprint = ?")
        self.assertEqual(await judge_later(policy, None, self.good), Accept({"device": "till 3"}))

    async def test_two_rows(self) -> None:
        """A certificate that is there twice is nobody's."""
        policy = self.policy(query="SELECT name, 1 FROM devices WHERE ? <> ''")
        self.refused(await judge_later(policy, None, self.good), "not_listed")

    def test_faults(self) -> None:
        """A missing database, one without the table and a query without its ? are faults of the configuration."""
        self.assertRaises(ValueError, build, DeviceRegistry, {"database": "missing.db"}, self.env)
        self.assertRaises(ValueError, self.policy, query="SELECT name, active FROM other WHERE sha256 = ?")
        self.assertRaises(ConfigError, options, DeviceRegistry, {"database": "x", "query": "SELECT 1, 1"})

    async def test_close(self) -> None:
        """The threads end when it is closed; closing twice, or what was never asked, is fine."""
        policy = self.policy()
        policy.close()
        await judge_later(policy, None, self.good)
        pool = policy.policy.pool
        policy.close()
        policy.close()
        self.assertFalse(pool.running)

    async def test_handshake(self) -> None:
        """A client whose device is listed gets its answer; one that is blocked is closed before it can ask."""
        client = Authority().issue("till")
        self.change("INSERT INTO devices VALUES (?, 'till 3', 1)", peer(client).sha256)
        policies = [(DeviceRegistry, {"database": "devices.db"})]
        outcome = await handshake(policies, client, env=self.env)
        self.assertEqual((outcome.accepted, outcome.attributes), (True, {"device": "till 3"}))
        self.change("UPDATE devices SET active = 0")
        outcome = await handshake(policies, client, env=self.env)
        self.assertEqual((outcome.accepted, outcome.code, outcome.status), (False, "device_blocked", None))

    async def test_contract(self) -> None:
        """It keeps to what a plugin promises."""
        await check_plugin_later(DeviceRegistry, {"database": "devices.db"}, env=self.env)
