"""How requests are shared out among priorities as endpoints fail, and when failing ones are used all the same."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import frozen

__all__ = ["OVERPROVISIONING", "Level", "Share", "shares"]

#: A priority takes all of its requests until fewer than 1/1.4 = 71 % of it can be used (Envoy's default).
OVERPROVISIONING: Final = 1.4


@frozen
class Level:
    """One priority's endpoints, by their weights.

    :ivar usable: the weight of those that can be used.
    :ivar weight: of all.
    """

    usable: float
    weight: float


@frozen
class Share:
    """What a priority gets.

    :ivar part: of the requests, from 0 to 1.
    :ivar panics: use all of its endpoints, whatever is known of them.
    """

    part: float
    panics: bool = False


def shares(levels: Sequence[Level], panic_threshold: float = 0.0) -> list[Share]:
    """Share requests out.

    The first priority takes everything for as long as 1.4 times its usable part is all of it; what it cannot take
    goes to the next one, and so on.  Where all of them together cannot take everything, each one that can do anything
    gets its part of it, and each of which less than ``panic_threshold`` is usable uses all of its endpoints.  Where
    nothing is usable the parts are 0, unless there is a threshold: then the first priority takes everything.

    :param levels: the first priority first; those without endpoints are no levels.
    :param panic_threshold: from 0, which is never, to 1.
    """
    left = 1.0
    parts = []
    for level in levels:
        able = min(1.0, OVERPROVISIONING * level.usable / level.weight)
        part = min(able, left)
        parts.append(part)
        left -= part
    total = sum(parts)
    if left <= 1e-9:
        return [Share(part) for part in parts]
    panics = [level.usable / level.weight < panic_threshold for level in levels]
    if total:
        return [Share(part / total, panic) for part, panic in zip(parts, panics, strict=True)]
    first = 1.0 if panics and panics[0] else 0.0
    return [Share(first if not place else 0.0, panic) for place, panic in enumerate(panics)]
