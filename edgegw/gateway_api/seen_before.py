"""What a running gateway remembers of manifests: files have no generations, and addresses must not move."""
from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network

from attrs import define, evolve, field

from edgegw.gateway_api.objects import KeyOfObject, Objects

__all__ = ["SeenBefore"]


@define(eq=False)
class SeenBefore:
    """Objects as they were when they were last read, and the addresses that Gateways were given."""

    _specs: dict[KeyOfObject, tuple[bytes, int]] = field(factory=dict)
    _addresses: dict[tuple[str, str], str] = field(factory=dict)

    def with_generations(self, objects: Objects) -> Objects:
        """Count changes of specifications: a manifest's own ``metadata.generation`` stands, others rise from 1."""
        specs: dict[KeyOfObject, tuple[bytes, int]] = {}
        numbered = []
        for one in objects:
            digest = sha256(json.dumps(one.spec, sort_keys=True).encode()).digest()
            before = self._specs.get(one.key)
            generation = one.generation
            if before is not None:
                generation = max(generation, before[1] if before[0] == digest else before[1] + 1)
            specs[one.key] = digest, generation
            numbered.append(one if generation == one.generation else evolve(one, generation=generation))
        self._specs = specs
        return Objects(numbered)

    def addresses(
        self, pool: IPv4Network | IPv6Network, wanting: Iterable[tuple[str, str]], named: Collection[str] = ()
    ) -> Mapping[tuple[str, str], str]:
        """Give each Gateway an address of a pool: the one it had before, or the first that is free.

        Those that come after the pool is used up have none.

        :param named: addresses of other Gateways, which nobody is given.
        """
        names = list(wanting)
        kept = {name: self._addresses[name] for name in names if name in self._addresses}
        taken = {*kept.values(), *named}
        free = (str(address) for address in pool.hosts() if str(address) not in taken)
        for name in names:
            if name not in kept and (address := next(free, None)) is not None:
                kept[name] = address
        self._addresses = kept
        return kept
