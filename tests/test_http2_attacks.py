"""Nobody notices that others attack the gateway by HTTP/2: seen from outside, by processes of their own.

``python -m tests.http2_attacks --report`` prints what each attack comes to.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.attacked_gateway import AttackedGateway, Result
from tests.http2_attacks import ATTACKS

#: Bytes that an attack may make the gateway's resident memory grow by.
MOST_GROWN: Final = 8 * 1024 * 1024
#: Seconds that a request of a well-behaved client may take meanwhile.
MOST_SECONDS: Final = 1.0


def faults(names: Sequence[str], result: Result) -> Iterator[str]:
    """Give what is not as it has to be."""
    for outcome in result.outcomes:
        expected = ATTACKS[outcome.name]
        if outcome.error != expected.error:
            yield f"{outcome.name}: ended by {outcome.error}, not by {expected.error}"
        if outcome.told and outcome.told not in expected.reason.split("|"):
            yield f"{outcome.name}: told {outcome.told}, not {expected.reason}"
    told = (outcome.told or ATTACKS[outcome.name].reason for outcome in result.outcomes)
    reasons = sorted(reason for reason in told if reason)
    counted = sorted(reason for reason, count in result.counted.items() for _ in range(count))
    if counted != reasons:
        yield f"{names}: counted as {counted}, not {reasons}"
    if result.failed:
        yield f"{names}: of {result.requests} requests failed {result.failed}"
    if result.slowest >= MOST_SECONDS:
        yield f"{names}: a request took {result.slowest:.3f} s"
    if result.grown >= MOST_GROWN:
        yield f"{names}: {result.grown} bytes of memory"


class AttackTests(SynchronousTestCase):
    """Each attack ends its own connection, or its own streams, and nothing else."""

    def test_attacks(self) -> None:
        """All of them, on one gateway; what goes wrong because the machine is busy does so once."""
        together = [
            ["hpack_bomb_hold", "window_dribble", "slow_headers", "no_pong"], ["zero_window", "half_a_block"],
            ["never_reads", "no_acknowledgement"], ["half_open_streams"],
        ]
        # Those that wait for a time-out need not wait one after the other.
        self.assertEqual(
            {name for names in together for name in names}, {name for name, one in ATTACKS.items() if one.holds}
        )
        alone = [[name] for name, one in ATTACKS.items() if not one.holds]
        folder = Path(self.mktemp())
        folder.mkdir()
        found: list[str] = []
        with AttackedGateway(folder.resolve()) as attacked:
            before = attacked.memory
            for names in alone + together:
                for _ in range(3):
                    wrong = list(faults(names, attacked.attack(names)))
                    if not wrong:
                        break
                found += wrong
            grown = attacked.memory - before
        self.assertEqual(found, [])
        self.assertLess(grown, MOST_GROWN)
        self.assertNotIn("Traceback", attacked.log)
        self.assertIn("HTTP/2 connection of 127.0.0.1 on secure: reset_flood: ", attacked.log)
