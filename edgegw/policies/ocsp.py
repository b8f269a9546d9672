"""``ocsp``: nobody comes in whose certificate's responder does not say that it is good."""
# option() makes a field, whatever the type beside it
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

from attrs import frozen

from edgegw.api import (
    Accept,
    Certificate,
    Duration,
    FilePath,
    IEnvironment,
    Peer,
    Reason,
    Reject,
    Verdict,
    option,
    policy,
)
from edgegw.policies.allowed_urls import AllowedURLs, is_public, plain_url
from edgegw.policies.checked_chain import Checked, to_be_checked
from edgegw.policies.details import listed, shown
from edgegw.policies.ocsp_answers import GOOD, REVOKED, UNKNOWN, Answer, Rules, UnusableAnswer
from edgegw.policies.ocsp_asking import Asker
from edgegw.policies.ocsp_questions import IDHash, Question, ask_about, responder_urls

__all__ = ["OCSP", "Config"]

#: Certificates whose answers are remembered.
_MOST: Final = 10_000
#: Seconds for which a question without an answer is not asked again.
_PAUSE: Final = 5.0

#: A certificate and its issuer, by their SHA-256.
Key = tuple[str, str]


def _check_responder(url: str | None) -> None:
    if url is not None:
        plain_url(url)


def _check_allowed(entries: Sequence[str]) -> None:
    AllowedURLs(entries)


@frozen
class Config:
    """Options of ``ocsp``."""

    responder: str | None = option(
        "The http or https URL of the responder that is asked about every certificate, in place of those named in the "
        "certificates.",
        default=None,
        check=_check_responder,
    )
    responders: tuple[str, ...] = option(
        "Hosts, such as ocsp.example.com or ocsp.example.com:8080, and beginnings of URLs, such as "
        "http://pki.example.com/ocsp/, that may be asked where a certificate names them.  Without it every public host "
        "may, but no private IP address.",
        default=(),
        check=_check_allowed,
    )
    check: Checked = option(
        "Which certificates are asked about: the client's own, or those of the chain, the trust anchor left out.",
        default="leaf",
    )
    nonce: Literal["send", "require", "none"] = option(
        "Whether a random number is sent, so that no old answer can be given again: send takes answers without it, "
        "too, but none with another; require takes only answers that repeat it; none lets caches on the way answer.",
        default="send",
    )
    certificate_id: IDHash = option(
        "The hash of the issuer's name and key that tells a responder which CA's certificate is meant.  It protects "
        "nothing; some responders know sha1 only.",
        default="sha1",
    )
    responder_without_nocheck: Literal["refuse", "accept"] = option(
        "Whether answers count of a responder that speaks for the CA and whose own certificate could be revoked, since "
        "it lacks id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1).",
        default="refuse",
    )
    soft_fail: bool = option(
        "Whether a client comes in, with the attribute ocsp: unavailable, if there is no valid answer about its "
        "certificate.",
        default=False,
    )
    timeout: Duration = option(
        "How long all responders of a certificate have to answer; less than the listener's policy_timeout.",
        default=4.0,
        minimum=0.001,
    )
    clock_skew: Duration = option(
        "By how much the clocks of responder and gateway may differ.", default=60.0, maximum=86400
    )
    max_cache: Duration | None = option(
        "How long an answer is used at most; without it until its nextUpdate.", default=None
    )
    concurrency: int = option("Requests at a time.", default=16, minimum=1, maximum=1024)
    ca_certificates: FilePath | None = option(
        "A PEM file with the CAs of https responders; without it the system's.", default=None
    )

    def __attrs_post_init__(self) -> None:
        if self.responder is not None and self.responders:
            raise ValueError("responder is asked about every certificate, so that responders would do nothing")


@policy("ocsp", Config, needs_chain=True)
class OCSP:
    """Ask the OCSP responder of a certificate's issuer whether it has been revoked.

    Fail closed: without a valid answer nobody comes in, unless ``soft_fail: true`` is written out; it does not help
    a certificate that the responder calls revoked or does not know.  The attribute ``ocsp`` tells which it was:
    ``good`` or ``unavailable``.

    An answer is valid if the certificate's issuer has signed it, or a responder whose certificate the issuer has issued
    for that purpose (``OCSPSigning``) and which is exempt from revocation, if it is about this certificate, and if it
    holds now.  Signatures with SHA-1 and MD5 are none.  A client whose chain is not verified is asked about nobody.

    An answer is kept until its ``nextUpdate``, for the 10,000 certificates that were seen last; clients that
    come with one certificate at the same time wait for one request.  What could not be answered is asked again after
    five seconds.  The policy runs after the handshake.

    A responder named in a certificate is what its issuer has written, or has let the client write: the gateway sends
    a request to that host.  Without ``responders`` the host may be any name and any public address, so that a name
    which leads into your network is asked; list the responders of your CAs wherever other CAs are trusted, too.
    Redirects are not followed.

    Example::

        policies:
          - ocsp:
              responders: [ocsp.example.com]
              timeout: 2s
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        self._config = config
        self._env = env
        self._allowed = AllowedURLs(config.responders)
        rules = Rules(
            timedelta(seconds=config.clock_skew),
            nonce_required=config.nonce == "require",
            nocheck_required=config.responder_without_nocheck == "refuse",
        )
        client = env.http(config.ca_certificates, config.concurrency)
        self._asker = Asker(client, env.seconds, config.timeout, rules)
        self._answers = _Answers(config.max_cache, rules.clock_skew)
        self._failures: OrderedDict[Key, tuple[float, str]] = OrderedDict()
        self._asked: dict[Key, Question] = {}
        self._requests = env.counter("questions", "Questions to OCSP responders.")
        self._unavailable = env.counter("unanswered", "Questions to OCSP responders that got no valid answer.")

    async def check(self, peer: Peer) -> Verdict:
        """Decide about a client."""
        chain = peer.certificates
        if not peer.verified or not chain:
            return self._without("the chain is not verified, so that nobody is asked about it")
        verdict: Verdict = Accept({"ocsp": GOOD})
        for certificate, issuer in to_be_checked(chain, self._config.check):
            what = f"{shown(certificate.subject) or 'the certificate'}, serial {certificate.serial[:48]}"
            try:
                answer = await self._answer(certificate, issuer, peer.now)
            except UnusableAnswer as error:
                verdict = self._without(f"{what}: {error}"[:1000])
                if isinstance(verdict, Reject):
                    return verdict
                continue
            if answer.status == REVOKED:
                return Reject(Reason.CERTIFICATE_REVOKED, f"{what}, was revoked {answer.revoked}")
            if answer.status == UNKNOWN:
                return Reject(Reason.OCSP_UNKNOWN, f"the responder does not know {what}")
        return verdict

    def _without(self, detail: str) -> Verdict:
        return Accept({"ocsp": "unavailable"}) if self._config.soft_fail else Reject(Reason.OCSP_UNAVAILABLE, detail)

    # --- answers ----------------------------------------------------------------------------

    async def _answer(self, certificate: Certificate, issuer: Certificate | None, now: datetime) -> Answer:
        """Give what is known of a certificate.

        :raises UnusableAnswer: nothing is.
        """
        if issuer is None:
            raise UnusableAnswer("its issuer's certificate is not in the chain")
        key = (certificate.sha256, issuer.sha256)
        known = self._answers.get(key, now, self._env.seconds())
        if known is not None:
            return known
        failed = self._failures.get(key)
        if failed is not None and failed[0] > self._env.seconds():
            raise UnusableAnswer(failed[1])
        question = self._asked.get(key)
        try:
            urls = self._urls(certificate)
            if question is None:
                question = ask_about(certificate, issuer, self._config.certificate_id, self._config.nonce != "none")
        except UnusableAnswer:
            raise
        except ValueError as error:
            raise UnusableAnswer(shown(str(error))) from None
        # Whoever asks meanwhile sends the very same request, nonce included, which is sent once.
        self._asked[key] = question
        self._requests(1)
        try:
            answer, _ = await self._asker.ask(question, urls, now)
        except UnusableAnswer as error:
            self._unavailable(1)
            self._failures[key] = (self._env.seconds() + _PAUSE, str(error))
            self._failures.move_to_end(key)
            if len(self._failures) > _MOST:
                self._failures.popitem(last=False)
            raise
        finally:
            if self._asked.get(key) is question:
                del self._asked[key]
        self._failures.pop(key, None)
        if self._answers.put(key, answer, self._env.seconds()):
            # Connections that are open with the certificate are to be judged again.
            self._env.changed()
        return answer

    def _urls(self, certificate: Certificate) -> list[str]:
        """Give the responders that may be asked about a certificate.

        :raises ValueError: there is none.
        """
        if self._config.responder is not None:
            return [self._config.responder]
        named = responder_urls(certificate)
        if not named:
            raise UnusableAnswer("it names no OCSP responder")
        allowed = [url for url in named if self._may_be_asked(url)]
        if not allowed:
            raise UnusableAnswer(f"the responders that it names must not be asked: {listed(named)}")
        return allowed

    def _may_be_asked(self, text: str) -> bool:
        try:
            url = plain_url(text)
        except ValueError:
            return False
        return self._allowed.allows(url) if self._allowed else is_public(url)


class _Answers:
    """Answers that hold, by certificate and issuer.

    :param most_seconds: how long one is used; ``None`` for until its nextUpdate.
    """

    def __init__(self, most_seconds: float | None, clock_skew: timedelta) -> None:
        self._most_seconds = most_seconds
        self._clock_skew = clock_skew
        self._entries: OrderedDict[Key, tuple[Answer, float]] = OrderedDict()

    def get(self, key: Key, now: datetime, seconds: float) -> Answer | None:
        """Give an answer that holds at a time."""
        found = self._entries.get(key)
        if found is None:
            return None
        answer, end = found
        if answer.next_update is None or seconds >= end:
            return None
        if not answer.this_update - self._clock_skew <= now < answer.next_update:
            return None
        self._entries.move_to_end(key)
        return answer

    def put(self, key: Key, answer: Answer, seconds: float) -> bool:
        """Remember an answer; whether it says of a certificate that it is not good any more."""
        before = self._entries.get(key)
        end = float("inf") if self._most_seconds is None else seconds + self._most_seconds
        self._entries[key] = (answer, end)
        self._entries.move_to_end(key)
        if len(self._entries) > _MOST:
            self._entries.popitem(last=False)
        return before is not None and before[0].status == GOOD and answer.status != GOOD
