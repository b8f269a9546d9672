"""Asks OCSP responders over HTTP (RFC 6960 §A, RFC 5019 §5)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

from edgegw.interfaces import HTTPAnswer, HTTPUnavailable, IHTTPClient
from edgegw.policies.details import shown
from edgegw.policies.ocsp_answers import Answer, Rules, UnusableAnswer, read_answer
from edgegw.policies.ocsp_questions import Question

__all__ = ["Asker"]

#: Bytes that an answer may have: a signature, a certificate or two, and not much else.
_LIMIT: Final = 65_536


class Asker:
    """Asks responders one after the other until one gives an answer that can be used.

    :param seconds: the time for measuring.
    :param timeout: seconds for all of them together.
    """

    def __init__(self, client: IHTTPClient, seconds: Callable[[], float], timeout: float, rules: Rules) -> None:
        self._client = client
        self._seconds = seconds
        self._timeout = timeout
        self._rules = rules

    async def ask(self, question: Question, urls: Sequence[str], now: datetime) -> tuple[Answer, bytes]:
        """Give the first usable answer, read and as DER.

        The same question that is on its way already is not sent again.

        :param urls: what may be asked, in this order.
        :raises UnusableAnswer: there is none; the text has what each responder came to.
        """
        end = self._seconds() + self._timeout
        problems: list[str] = []
        for url in urls:
            left = end - self._seconds()
            if left <= 0:
                problems.append(f"no time is left for {shown(url)}")
                break
            try:
                answer = await self._send(question, url, left)
                return read_answer(_body(answer), question, now, self._rules), answer.body
            except HTTPUnavailable as error:
                problems.append(shown(str(error), 300))
            except UnusableAnswer as error:
                problems.append(f"{shown(url)}: {error}")
        raise UnusableAnswer("; ".join(problems) or "there is no responder to ask")

    async def _send(self, question: Question, url: str, timeout: float) -> HTTPAnswer:
        headers = {
            "accept": "application/ocsp-response",
            # Requests with the same key that are on their way are sent once.
            "idempotency-key": sha256(question.request).hexdigest(),
        }
        get = question.get_url(url)
        if get is not None:
            return await self._client.request("GET", get, headers=headers, timeout=timeout, limit=_LIMIT)
        headers["content-type"] = "application/ocsp-request"
        return await self._client.request(
            "POST", url, headers=headers, body=question.request, timeout=timeout, limit=_LIMIT
        )


def _body(answer: HTTPAnswer) -> bytes:
    if answer.status != 200:
        raise UnusableAnswer(f"the server answers {answer.status}")
    return answer.body
