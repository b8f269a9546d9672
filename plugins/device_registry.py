"""device_registry: clients come in whose certificates are in a SQLite database, and not blocked there."""
from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.enterprise.adbapi import ConnectionPool

from edgegw.api import Accept, Explanation, FilePath, IEnvironment, Peer, Reason, Reject, Verdict, option, policy

#: Threads that ask the database, each with a connection of its own.
THREADS = 4
#: Seconds that a query waits for another process that writes.
PATIENCE = 1.0


@frozen
class Config:
    """The options."""

    database: FilePath = option("The SQLite file; it is opened for reading only.")
    query: str = option(
        "Asks about one certificate, whose SHA-256 in lower-case hexadecimal stands for ``?``.  It gives at most one "
        "row: the device's name, and whether it is active.",
        default="SELECT name, active FROM devices WHERE sha256 = ?",
    )

    def __attrs_post_init__(self) -> None:
        if self.query.count("?") != 1:
            raise ValueError("the query must have one ? in it; the certificate's SHA-256 stands for it")


@policy(
    "device_registry",
    Config,
    codes={
        "device_blocked": Explanation(
            "The device is in the registry, and blocked there.",
            "It was lost, replaced or taken out of service.",
            "Set active to 1 in the registry if it is to come in again.",
        ),
    },
)
class DeviceRegistry:
    """Let clients in whose certificates are in a device registry.

    The registry is a SQLite database that other programs write to; what they change holds from the next connection
    on.  The device's name becomes the attribute ``device``.  A database that cannot be asked lets nobody in.

    ::

        CREATE TABLE devices (sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, active INTEGER NOT NULL DEFAULT 1)

    Example::

        policies:
          - device_registry: {database: devices.db}

    :ivar pool: threads with connections; ``None`` before the first client and after the end.
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._uri = Path(config.database).as_uri() + "?mode=ro"
        self._query = config.query
        self.pool: ConnectionPool | None = None
        try:
            connection = sqlite3.connect(self._uri, uri=True, timeout=PATIENCE)
            try:
                connection.execute(self._query, ("",)).fetchone()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise ValueError(f"{config.database} cannot be asked: {error}; correct the database or query") from error

    async def check(self, peer: Peer) -> Verdict:
        """See :class:`edgegw.api.IPolicy`."""
        if self.pool is None:
            # Not in __init__: the pool belongs to the reactor, and that may not be touched there.
            self.pool = ConnectionPool(
                "sqlite3", self._uri, uri=True, timeout=PATIENCE, check_same_thread=False,
                cp_min=1, cp_max=THREADS, cp_noisy=False,
            )  # fmt: skip
        try:
            rows: Any = await self.pool.runQuery(self._query, (peer.sha256,))
        except sqlite3.Error as error:
            return Reject(Reason.CHECK_UNAVAILABLE, f"the registry cannot be asked: {error}")
        if len(rows) != 1:
            return Reject(Reason.NOT_LISTED, f"{peer.sha256} has {len(rows)} rows in the registry")
        name, active = rows[0]
        # SQLite's columns hold what was put there: the text "false" would be true.
        if active not in (0, 1, None):
            return Reject(Reason.CHECK_UNAVAILABLE, f"active is {ascii(active)[:40]}, neither 0 nor 1")
        if not active:
            return Reject("device_blocked", f"{name} is blocked in the registry")
        return Accept({"device": str(name)})

    def close(self) -> None:
        """Close the database; called when the configuration is no longer in use."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None
