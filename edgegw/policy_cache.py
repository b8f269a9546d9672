"""Answers of costly policies, kept by certificate for as long as the policy says."""
from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Final

from edgegw.certificate import Certificate
from edgegw.verdict import Accept, Verdict

__all__ = ["VerdictCache"]

#: Certificates whose answers one policy remembers; the one that was not used for longest is forgotten.
MOST: Final = 10_000
#: Characters of an answer that is remembered; clients may have a say in how long they are.
MOST_TEXT: Final = 4_096


class VerdictCache:
    """What one policy said, by the SHA-256 of the certificate and whether its chain was verified.

    Anybody can send another's certificate without the chain above it, and is no verified client then: what is said of
    the one is not said of the other.

    :param seconds: how long an answer is used again.
    :ivar state: another object whenever everything was forgotten.
    """

    __slots__ = ("_answers", "_seconds", "state")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answers: OrderedDict[tuple[str, bool], tuple[float, Verdict]] = OrderedDict()
        self.state = object()

    def get(self, certificate: Certificate | None, verified: bool) -> Verdict | None:
        """Give the answer about a certificate, if there is one that still holds; none without a certificate."""
        if certificate is None:
            return None
        key = (certificate.sha256, verified)
        found = self._answers.get(key)
        if found is None:
            return None
        if found[0] < monotonic():
            del self._answers[key]
            return None
        self._answers.move_to_end(key)
        return found[1]

    def put(self, certificate: Certificate | None, verified: bool, verdict: Verdict, state: object) -> None:
        """Remember an answer; one about a client without a certificate is not, nor one of very many words.

        :param state: as it was when the question was put: what was forgotten since is no answer any more.
        """
        if certificate is None or state is not self.state or _length(verdict) > MOST_TEXT:
            return
        key = (certificate.sha256, verified)
        self._answers[key] = (monotonic() + self._seconds, verdict)
        self._answers.move_to_end(key)
        if len(self._answers) > MOST:
            self._answers.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
        self.state = object()


def _length(verdict: Verdict) -> int:
    if isinstance(verdict, Accept):
        return sum(len(name) + len(value) for name, value in verdict.attributes.items())
    return len(verdict.detail)
