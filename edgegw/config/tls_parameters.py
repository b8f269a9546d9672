"""Cipher suites and what else OpenSSL may not have, the same for listeners and upstreams."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from attrs import evolve

from edgegw.config.faults import Place, Report, shown
from edgegw.config.nodes import Sequence as SequenceNode
from edgegw.config.shapes import Section
from edgegw.config.suites import is_tls13
from edgegw.model import TLSSettings, TLSVersion, UpstreamTLS

__all__ = ["CheckTLS", "report_unknown", "with_suites"]

#: Says what this OpenSSL does not have: ``(attribute of TLSSettings, name, problem)`` for each.
CheckTLS = Callable[[TLSSettings], Sequence[tuple[str, str, str]]]

_KEYS: Final = {"tls12_ciphers": "cipher_suites", "tls13_ciphers": "cipher_suites"}
S = TypeVar("S", TLSSettings, UpstreamTLS)


def with_suites(section: Section, settings: S, report: Report, speaker: str = "the listener") -> S:
    """Give settings with the suites of ``cipher_suites``; a version of which none is named keeps its own.

    :param speaker: whose versions they are, for messages.
    """
    names = [item.value for item in section.items("cipher_suites")]
    tls13 = tuple(name for name in names if is_tls13(name))
    tls12 = tuple(name for name in names if not is_tls13(name))
    unreachable = None
    if tls12 and not tls13 and settings.min_version is TLSVersion.TLS1_3:
        unreachable = TLSVersion.TLS1_2
    elif tls13 and not tls12 and settings.max_version is TLSVersion.TLS1_2:
        unreachable = TLSVersion.TLS1_3
    if unreachable is not None:
        report.warn(
            section.at("cipher_suites"),
            f"only suites of TLS {unreachable.value} are named, which {speaker} does not speak",
            "name suites of the versions from min_version to max_version",
        )
    return evolve(
        settings,
        tls12_ciphers=tls12 or settings.tls12_ciphers,
        tls13_ciphers=tls13 or settings.tls13_ciphers,
    )


def report_unknown(section: Section, problems: Sequence[tuple[str, str, str]], report: Report) -> None:
    """Report what this OpenSSL does not have, of what ``CheckTLS`` has found."""
    for setting, name, problem in problems:
        key = _KEYS.get(setting, setting)
        place: Place = section.at(key)
        if isinstance(place, SequenceNode):
            place = next((item.node for item in section.items(key) if item.value == name), place)
        if key in section:
            default, remedy = "", "use another" if name else ""
        else:
            default, remedy = f"the default {key}: ", f"give {key}"
        report.fault(place, f"{default}{shown(name)} {problem}" if name else f"{default}{problem}", remedy)
