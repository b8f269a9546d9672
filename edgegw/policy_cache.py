"""Answers of costly policies, kept by certificate for as long as the policy says."""
from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Final

from edgegw.certificate import Certificate
from edgegw.verdict import Verdict

__all__ = ["VerdictCache"]

#: Certificates whose answers one policy remembers; the one that was not used for longest is forgotten.
MOST: Final = 10_000


class VerdictCache:
    """What one policy said, by the SHA-256 of the certificate.

    :param seconds: how long an answer is used again.
    """

    __slots__ = ("_answers", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answers: OrderedDict[str, tuple[float, Verdict]] = OrderedDict()

    def get(self, certificate: Certificate | None) -> Verdict | None:
        """Give the answer about a certificate, if there is one that still holds; none without a certificate."""
        if certificate is None:
            return None
        found = self._answers.get(certificate.sha256)
        if found is None:
            return None
        if found[0] < monotonic():
            del self._answers[certificate.sha256]
            return None
        self._answers.move_to_end(certificate.sha256)
        return found[1]

    def put(self, certificate: Certificate | None, verdict: Verdict) -> None:
        """Remember an answer; one about a client without a certificate is not."""
        if certificate is None:
            return
        self._answers[certificate.sha256] = (monotonic() + self._seconds, verdict)
        self._answers.move_to_end(certificate.sha256)
        if len(self._answers) > MOST:
            self._answers.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._answers.clear()
