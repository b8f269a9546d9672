"""Certificates that are renewed while they are shown: their sources are asked anew, and the contexts swapped.

Asking a source, judging what it gave and building the contexts happen on the reactor's thread pool; the swap is one
assignment on the reactor's thread.  Whatever goes wrong before it leaves everything as it was.  A handshake keeps the
context that it began with.
"""
from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.config.certificates import covered_by
from edgegw.config.faults import Severity
from edgegw.config.server_certificates import Finding, judge_yielded
from edgegw.model import CertificateSourceUse, ServerCertificate
from edgegw.observe.metrics import Metrics
from edgegw.tls.context import CertificateTable, ContextError
from edgegw.tls.listener import TLSListener
from edgegw.tls.profile import PortProfile

__all__ = ["CertificateRenewal", "CountError", "renewals"]

#: Called with the name of a kind and ``"load"`` whenever its source has not given a certificate that can be used.
CountError = Callable[[str, str], None]

#: Seconds between a change and the question for it: what is renewed in two steps is then asked about once.
SETTLE: Final = 0.5
#: Seconds after which a source that has failed is asked again: at first, and at most.
FIRST_RETRY: Final = 2.0
LONGEST_RETRY: Final = 300.0
_JITTER: Final = 0.1
#: Seconds after which a source that has not answered is told of.
OVERDUE: Final = 60.0
_MOST_PROBLEM: Final = 2000

_log = Logger(namespace="edgegw.tls")


@frozen(eq=False)
class _Answer:
    """What came of asking a source.

    :ivar certificate: ``None`` if it cannot be used, as ``findings`` say.
    :ivar failure: what the source raised.
    """

    certificate: ServerCertificate | None
    findings: tuple[Finding, ...] = ()
    failure: Failure | None = None


def _ask(use: CertificateSourceUse, now: datetime) -> _Answer:
    """Ask a source and judge what it gives; called on another thread, raises nothing."""
    try:
        return _Answer(*judge_yielded(use, use.source.load(), now))
    except BaseException as error:
        # A plugin's SystemExit would otherwise be the thread's.
        return _Answer(None, failure=Failure(error))


class _Source:
    """One certificate of a listener that has a source.

    :ivar place: among the listener's certificates.
    :ivar asking: whether it is being asked; ``again``: whether it has changed meanwhile.
    :ivar problem: why what it gave last is not in use; empty if it is.
    """

    def __init__(self, place: int, use: CertificateSourceUse) -> None:
        self.place = place
        self.use = use
        self.kind: str = use.kind.name
        self.log: Any = _log if use.environment is None else use.environment.log
        self.timer: IDelayedCall | None = None
        self.overdue: IDelayedCall | None = None
        self.asking = False
        self.again = False
        self.failures = 0
        self.problem = ""


class CertificateRenewal:
    """Keeps the certificates of one listener as new as their sources have them.

    :param profile: that the listener is served by.
    :param metrics: are told when the new certificates expire.
    :param now: the time of day, aware.
    :ivar certificates: those that are shown.
    """

    def __init__(
        self,
        reactor: Any,
        listener: TLSListener,
        profile: PortProfile,
        metrics: Metrics,
        count_error: CountError,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        assert listener.model.tls is not None
        self.certificates = listener.model.tls.certificates
        self._reactor = reactor
        self._listener = listener
        self._profile = profile
        self._metrics = metrics
        self._count_error = count_error
        self._now = now
        self._stopped = False
        self._building = DeferredLock()
        self._sources = [
            _Source(place, one.source) for place, one in enumerate(self.certificates) if one.source is not None
        ]
        for source in self._sources:
            if source.use.environment is not None:
                source.use.environment.on_change = partial(self._changed, source)

    def stop(self) -> None:
        """Ask no source any more; what one that is being asked will give is dropped.  May be called again."""
        self._stopped = True
        for source in self._sources:
            _cancel(source.timer)
            _cancel(source.overdue)

    # --- asking -----------------------------------------------------------------------------------

    def _changed(self, source: _Source) -> None:
        """A source says that it would give something else."""
        if source.asking:
            source.again = True
        else:
            source.failures = 0
            self._wait(source, SETTLE)

    def _wait(self, source: _Source, seconds: float) -> None:
        """Ask in some seconds, or when that had been going to happen sooner anyway."""
        if self._stopped:
            return
        timer = source.timer
        if timer is not None and timer.active():
            if timer.getTime() - self._reactor.seconds() <= seconds:
                return
            _cancel(timer)
        source.timer = self._reactor.callLater(seconds, self._begin, source)

    def _begin(self, source: _Source) -> None:
        source.asking = True
        source.again = False
        source.overdue = self._reactor.callLater(OVERDUE, self._is_overdue, source)
        asking = Deferred.fromCoroutine(self._renew(source))
        asking.addErrback(self._broke, source)
        asking.addBoth(lambda _: self._done(source))

    def _is_overdue(self, source: _Source) -> None:
        self._fail(source, f"{source.kind} has not answered for {OVERDUE:g} seconds")

    def _broke(self, failure: Failure, source: _Source) -> None:
        self._fail(source, f"the gateway failed to renew it: {failure.value!r}", failure)

    def _done(self, source: _Source) -> None:
        _cancel(source.overdue)
        source.asking = False
        if source.again:
            source.failures = 0
            self._wait(source, SETTLE)
        elif source.failures:
            seconds = min(FIRST_RETRY * 2.0 ** (source.failures - 1), LONGEST_RETRY)
            self._wait(source, seconds * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def _renew(self, source: _Source) -> None:
        answer: _Answer = await self._in_thread(_ask, source.use, self._now())
        _cancel(source.overdue)
        if self._stopped:
            return
        problem = self._problem_with(source, answer)
        if problem:
            self._fail(source, problem, answer.failure)
        elif answer.certificate == self.certificates[source.place]:
            self._settled(source, "the certificate in use is the newest again")
        else:
            assert answer.certificate is not None
            show = partial(self._show, source, answer.certificate, answer.findings)
            await self._building.run(lambda: Deferred.fromCoroutine(show()))

    def _problem_with(self, source: _Source, answer: _Answer) -> str:
        """Say why what a source gave is not to be shown; empty if it is."""
        if answer.failure is not None:
            error = answer.failure.value
            return f"{source.kind} gave none: {type(error).__name__}: {_text(error)}"
        for finding in answer.findings:
            if finding.severity is Severity.FAULT:
                return finding.problem
            # Whoever reads a configuration gets what there is; here there is something better.
            if finding.of_dates and self.certificates[source.place].not_after > self._now():
                return finding.problem
        return ""

    def _fail(self, source: _Source, problem: str, failure: Failure | None = None) -> None:
        """Leave the certificate as it is, and say why unless that has been said before."""
        source.failures += 1
        self._count_error(source.kind, "load")
        problem = problem[:_MOST_PROBLEM]
        if problem == source.problem:
            return
        source.problem = problem
        text = "{listener}: the certificate {certificate} stays in use: {problem}"
        fields = {
            "listener": self._listener.model.name,
            "certificate": self.certificates[source.place].name,
            "problem": problem,
        }
        if failure is None or failure.check(OSError, ValueError):
            source.log.error(text, **fields)
        else:
            source.log.failure(text, failure, **fields)

    def _settled(self, source: _Source, text: str) -> None:
        source.failures = 0
        if source.problem:
            source.problem = ""
            source.log.info("{listener}: " + text, listener=self._listener.model.name)

    # --- showing ----------------------------------------------------------------------------------

    async def _show(self, source: _Source, certificate: ServerCertificate, findings: tuple[Finding, ...]) -> None:
        """Build the contexts and swap them in; one such call at a time."""
        before = self.certificates
        after = (*before[: source.place], certificate, *before[source.place + 1 :])
        try:
            tables = await self._in_thread(self._listener.with_certificates, after)
        except ContextError as error:
            self._fail(source, str(error))
            return
        if self._stopped:
            return
        self._swap(after, tables)
        source.failures = 0
        source.problem = ""
        name = self._listener.model.name
        source.log.info(
            "{listener} shows a new certificate, {certificate}, which expires on {not_after}",
            listener=name, certificate=certificate.name, not_after=f"{certificate.not_after:%Y-%m-%d %H:%M:%S} UTC",
        )  # fmt: skip
        hostname = self._listener.model.hostname
        problems = [finding.problem for finding in findings]
        if hostname is not None and not any(covered_by(hostname, one) for one in after):
            problems.append(f"no certificate has {hostname} in subjectAltName")
        for problem in problems:
            source.log.warn("{listener}: {problem}", listener=name, problem=problem)

    def _swap(
        self, certificates: tuple[ServerCertificate, ...], tables: tuple[CertificateTable, CertificateTable | None]
    ) -> None:
        listener, profile = self._listener, self._profile
        listener.show(tables)
        if profile.only is not None:
            profile.only = None if tables[0].varies else (tables[0].default, listener)
        self.certificates = certificates
        self._metrics.use_certificates(listener.model.name, certificates)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()


def _text(error: object) -> str:
    try:
        return str(error)
    except Exception:
        return "its text cannot be had"


def renewals(
    reactor: Any, profiles: Iterable[PortProfile], metrics: Metrics, count_error: CountError
) -> list[CertificateRenewal]:
    """Begin to listen to the sources of every listener of some ports."""
    return [
        CertificateRenewal(reactor, listener, profile, metrics, count_error)
        for profile in profiles
        for listener in profile.listeners
        if isinstance(listener, TLSListener) and listener.model.tls is not None
        and any(one.source is not None for one in listener.model.tls.certificates)
    ]
