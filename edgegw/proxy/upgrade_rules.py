"""Which other protocols the requests of a rule may ask for."""
from __future__ import annotations

from functools import lru_cache

from attrs import field, frozen

from edgegw.wire.http1 import RequestHead
from edgegw.wire.upgrades import Handshake, read_handshake

__all__ = ["NO_UPGRADES", "UpgradeRules", "upgrade_rules"]


@frozen
class UpgradeRules:
    """What one rule lets through on one listener.

    :ivar idle_timeout: seconds without a byte of the other protocol, either way.
    """

    names: tuple[str, ...]
    idle_timeout: float
    _allowed: dict[bytes, bytes] = field(init=False, eq=False, repr=False)

    @_allowed.default
    def _by_name(self) -> dict[bytes, bytes]:
        return {name.lower().encode("ascii"): name.encode("ascii") for name in self.names}

    def handshake(self, head: RequestHead) -> Handshake | None:
        """Read what a request asks for; see :func:`~edgegw.wire.upgrades.read_handshake`."""
        return read_handshake(head, self._allowed) if self._allowed else None


NO_UPGRADES = UpgradeRules((), 0.0)


@lru_cache(maxsize=256)
def upgrade_rules(names: tuple[str, ...], idle_timeout: float) -> UpgradeRules:
    """Give the rules; the many rules of a configuration that say the same share them."""
    return UpgradeRules(names, idle_timeout)
