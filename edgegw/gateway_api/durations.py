"""Durations and shares of the Gateway API, within the native language's bounds."""
from __future__ import annotations

from collections.abc import Mapping
from math import gcd
from typing import Any, Final

from edgegw.config.scalars import format_duration, parse_duration
from edgegw.gateway_api.findings import RuleError

__all__ = ["duration", "seconds_of", "share"]

_GREATEST: Final = 1_000_000


def seconds_of(text: str) -> float:
    """Give the seconds of a duration.

    :raises RuleError: it is none.
    """
    try:
        return parse_duration(text)
    except ValueError:
        raise RuleError(f"{text} is not a duration such as 500ms, 30s or 1h30m") from None


def duration(seconds: float, most: float = 7 * 24 * 3600.0) -> str:
    """Write a duration for the native language, ``most`` seconds at most."""
    return format_duration(min(seconds, most))


def share(mirror: Mapping[str, Any]) -> dict[str, Any]:
    """Give the share of the requests that a mirror gets (HTTPRequestMirrorFilter), all of them without any."""
    fraction = mirror.get("fraction")
    if fraction is None:
        return {} if mirror.get("percent") is None else {"percent": mirror["percent"]}
    numerator, denominator = fraction.get("numerator", 0), fraction.get("denominator") or 100
    common = gcd(numerator, denominator)
    numerator, denominator = numerator // common, denominator // common
    if denominator > _GREATEST:
        numerator, denominator = round(numerator * _GREATEST / denominator), _GREATEST
    return {"fraction": {"numerator": min(numerator, denominator), "denominator": denominator}}
