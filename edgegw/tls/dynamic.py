"""Certificates for names as clients ask for them: a source is asked once about a name, and the context is kept.

Asking a plain source, judging what any source gave and building the context happen on the reactor's thread pool,
since they take longer than a handshake; an ``async`` source is asked on the reactor's thread.  Whatever goes wrong
refuses the name, for some seconds without asking again.  What clients can make the gateway do and keep is bounded:
names that are asked about at a time, certificates, refusals, and lines in the log.
"""
from __future__ import annotations

import inspect
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, Union
from weakref import WeakKeyDictionary

from attrs import define
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from edgegw.config.certificates import covered_by
from edgegw.config.faults import Severity
from edgegw.config.server_certificates import judge_given
from edgegw.interfaces import CertificateAndKey
from edgegw.model import DynamicCertificates, ServerCertificate, TLSSettings
from edgegw.observe.counters import DynamicCertificateMetrics
from edgegw.tls.context import ContextError, make_context
from edgegw.verdict import Reason, Reject

__all__ = ["CountError", "DynamicContexts", "count_nothing"]

#: Called with the name of a kind and ``"certificate"`` whenever its source has given nothing that can be used.
CountError = Callable[[str, str], None]

#: Threads that a plain source may hold of the pool, which is everybody's.  It is asked on one at a time, since what
#: computes on several takes the interpreter from the reactor again and again; the others are there in place of those
#: that have not come back in time.
THREADS: Final = 4
#: Seconds in which a name that was refused is not asked about again.
REFUSED: Final = 5.0
#: The part of what is left of a certificate's validity in which it is shown.
_SHOWN: Final = 0.9
#: Seconds between two lines about a failing source.
_QUIET: Final = 5.0
_MOST_PROBLEM: Final = 1000
_LATE: Final = "gave no answer within {:g} s"

_log = Logger(namespace="edgegw.tls")


@define(eq=False)
class _Kept:
    """A context that is kept.

    :ivar until: when it is not used any more, as ``monotonic`` counts.
    :ivar for_probe: the same for clients that need no certificate; made when one comes.
    """

    context: SSL.Context
    certificate: ServerCertificate
    until: float = 0.0
    for_probe: SSL.Context | None = None


class _Unusable(Exception):
    """What a source has given cannot be shown; the text says why."""


class _Question:
    """A name that a source is asked about.

    :ivar waiting: for the answer.
    :ivar overdue: whether those that had been waiting were refused.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: dict[Deferred[Any], None] = {}
        self.task: Deferred[Any] | None = None
        self.timer: IDelayedCall | None = None
        self.overdue = False

    def wait(self) -> Deferred[Any]:
        """Give a Deferred for the answer; cancelling it leaves the question as it is."""
        waiting: Deferred[Any] = Deferred(lambda waiting: self.waiting.pop(waiting, None))
        self.waiting[waiting] = None
        return waiting

    def tell(self, answer: SSL.Context | Reject) -> None:
        """Answer everyone who waits."""
        waiting, self.waiting = self.waiting, {}
        for one in waiting:
            one.callback(answer)


class DynamicContexts:
    """The contexts of one listener for names that are on none of its own certificates.

    :param settings: the listener's; what they say of clients holds for these contexts as well.
    :param issue_tickets: see :func:`edgegw.tls.context.make_context`.
    :param listener: its name.
    :param reactor: provides ``IReactorTime`` and ``IReactorThreads``.
    :param now: the time of day, aware.
    :param seconds: the time for measuring.
    :ivar waits: whether the source is ``async``.
    """

    def __init__(
        self,
        settings: TLSSettings,
        use: DynamicCertificates,
        issue_tickets: bool,
        listener: str,
        metrics: DynamicCertificateMetrics,
        reactor: Any,
        count_error: CountError,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self.use = use
        self.waits = inspect.iscoroutinefunction(use.source.certificate_for)
        self._settings = settings
        self._tickets = issue_tickets
        self._listener = listener
        self._metrics = metrics
        self._reactor = reactor
        self._count_error = count_error
        self._now = now
        self._seconds = seconds
        self._log: Any = _log if use.environment is None else use.environment.log
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._refused: OrderedDict[str, tuple[float, Reject]] = OrderedDict()
        self._uris: WeakKeyDictionary[SSL.Context, tuple[str, ...]] = WeakKeyDictionary()
        self._asked: dict[str, _Question] = {}
        self._open: set[_Question] = set()
        self._queue: deque[_Question] = deque()
        self._busy: set[_Question] = set()
        self._making = DeferredLock()
        self._quiet_until = 0.0
        self._untold = 0
        self._stopped = False
        if use.environment is not None:
            use.environment.on_change = self.forget

    # --- what is there ----------------------------------------------------------------------------

    def find(self, name: str) -> SSL.Context | Reject | Deferred[Union[SSL.Context, Reject]]:
        """Give the context for a canonical name, or why it is refused; later, if the source has to be asked."""
        lookups = self._metrics.lookups
        kept = self._kept.get(name)
        if kept is not None:
            if self._seconds() < kept.until:
                self._kept.move_to_end(name)
                lookups["kept"] += 1
                return kept.context
            self._drop(name)
        refused = self._refused.get(name)
        if refused is not None:
            if self._seconds() < refused[0]:
                lookups["refused"] += 1
                return refused[1]
            del self._refused[name]
        question = self._asked.get(name)
        if question is None and len(self._open) < self.use.concurrency and not self._stopped:
            lookups["asked"] += 1
            return self._ask(name)
        if question is None:
            lookups["limit"] += 1
            number = len(self._open)
            return self._unavailable(f"is being asked for {number} {'name' if number == 1 else 'names'} already")
        if question.overdue:
            lookups["refused"] += 1
            return self._unavailable(_LATE.format(self.use.timeout))
        lookups["asked"] += 1
        return question.wait()

    def for_probe(self, name: str) -> SSL.Context | None:
        """Give the context for a name where no certificate is demanded; ``None`` if its certificate is not kept.

        It is built at once: those who may have it are few and the operator's own.
        """
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept.for_probe is None:
            kept.for_probe = self._context(kept.certificate, demand=False)
        return kept.for_probe

    def uris_of(self, context: SSL.Context) -> tuple[str, ...] | None:
        """Give the URIs in the certificate that a context shows; ``None`` if it is not from here."""
        return self._uris.get(context)

    def certificate_for(self, name: str) -> ServerCertificate | None:
        """Give the certificate that is kept for a name."""
        kept = self._kept.get(name)
        return None if kept is None else kept.certificate

    def forget(self) -> None:
        """Keep nothing of what was answered so far, nor what is going to be answered to earlier questions."""
        for name in tuple(self._kept):
            self._drop(name)
        self._refused.clear()
        self._asked.clear()

    def stop(self) -> None:
        """Keep nothing and ask nothing any more; who waits is refused.  May be called again."""
        self._stopped = True
        self.forget()
        self._queue.clear()
        for question in tuple(self._open):
            _cancel(question.timer)
            if question.task is not None and self.waits:
                question.task.cancel()
            question.tell(self._unavailable("is not in use any more"))

    def _drop(self, name: str) -> None:
        if self._kept.pop(name, None) is not None:
            self._metrics.kept -= 1

    # --- asking -----------------------------------------------------------------------------------

    def ask_now(self, name: str) -> SSL.Context | Reject:
        """Ask a plain source and wait for its answer on this thread, where no reactor runs; however long it takes."""
        return self._now_by(self._made_by_plain, name)

    def show_now(self, name: str, given: CertificateAndKey) -> SSL.Context | Reject:
        """Give the context for a name as if the source had given a certificate."""
        return self._now_by(self._made_of, name, given)

    def _now_by(self, make: Callable[..., _Kept | None], name: str, *arguments: Any) -> SSL.Context | Reject:
        question = self._asked[name] = _Question(name)
        self._open.add(question)
        self._drop(name)
        try:
            made: Any = make(name, *arguments)
        except Exception:
            made = Failure()
        return self._answered(made, question)

    def _ask(self, name: str) -> Deferred[Any]:
        question = self._asked[name] = _Question(name)
        waiting = question.wait()
        self._open.add(question)
        question.timer = self._reactor.callLater(self.use.timeout, self._late, question)
        self._queue.append(question)
        self._begin_next()
        return waiting

    def _begin_next(self) -> None:
        """Begin with what waits for its turn, as far as there is room."""
        busy = self._busy
        while self._queue and (self.waits or (len(busy) < THREADS and all(one.overdue for one in busy))):
            self._begin(self._queue.popleft())

    def _begin(self, question: _Question) -> None:
        self._busy.add(question)
        if self.waits:
            question.task = Deferred.fromCoroutine(self._made_by_waiting(question.name))
        else:
            question.task = self._in_thread(self._made_by_plain, question.name)
        question.task.addBoth(self._answered, question)

    async def _made_by_waiting(self, name: str) -> _Kept | None:
        given = await self.use.source.certificate_for(name)
        if given is None:
            return None
        made: _Kept = await self._making.run(self._in_thread, self._made_of, name, given)
        return made

    def _made_by_plain(self, name: str) -> _Kept | None:
        try:
            return self._made_of(name, self.use.source.certificate_for(name))
        except Exception:
            raise
        except BaseException as error:
            # A plugin's SystemExit would otherwise be the thread's.
            raise _Unusable(f"raised {type(error).__name__}") from error

    def _made_of(self, name: str, given: Any) -> _Kept | None:
        """Make what is kept of what the source gave; on any thread.

        :raises _Unusable: it cannot be shown, as :class:`ContextError` says too.
        """
        if given is None:
            return None
        certificate, findings = judge_given(self.use.kind.name, given, self._now())
        for finding in findings:
            if finding.severity is Severity.FAULT or finding.of_dates:
                raise _Unusable(finding.problem)
        assert certificate is not None
        if not covered_by(name, certificate):
            raise _Unusable("gave a certificate that does not have the name in subjectAltName")
        return _Kept(self._context(certificate), certificate)

    def _context(self, certificate: ServerCertificate, demand: bool = True) -> SSL.Context:
        return make_context(self._settings, [certificate], self._tickets, demand)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    # --- answers ----------------------------------------------------------------------------------

    def _late(self, question: _Question) -> None:
        """Refuse those who wait; a thread goes on, and counts as a question until it ends."""
        question.overdue = True
        self._metrics.answers["timeout"] += 1
        refusal = self._fail(_LATE.format(self.use.timeout), None)
        self._refuse(question, refusal)
        if question in self._queue:
            self._queue.remove(question)
            self._close(question)
        elif self.waits and question.task is not None:
            question.task.cancel()
        question.tell(refusal)
        self._begin_next()

    def _answered(self, made: Any, question: _Question) -> SSL.Context | Reject:
        """Take what came of asking; fails never."""
        current = self._asked.get(question.name) is question
        self._busy.discard(question)
        self._close(question)
        answer: SSL.Context | Reject
        if self._stopped:
            answer = self._unavailable("is not in use any more")
        elif isinstance(made, _Kept):
            answer = made.context
            self._uris[made.context] = made.certificate.uris
            if current:
                self._keep(question.name, made)
        elif question.overdue:
            answer = self._unavailable(_LATE.format(self.use.timeout))
        elif made is None:
            self._metrics.answers["none"] += 1
            answer = Reject(Reason.UNRECOGNIZED_NAME, f"{self.use.kind.name} has none for {question.name}")
        else:
            self._metrics.answers["error"] += 1
            answer = self._fail(_problem(made.value), made)
        if isinstance(answer, Reject) and current and not question.overdue:
            self._refuse(question, answer)
        if not question.overdue and isinstance(made, _Kept):
            self._metrics.answers["given"] += 1
        question.tell(answer)
        self._begin_next()
        return answer

    def _close(self, question: _Question) -> None:
        _cancel(question.timer)
        self._open.discard(question)
        if self._asked.get(question.name) is question:
            del self._asked[question.name]

    def _keep(self, name: str, made: _Kept) -> None:
        left = (made.certificate.not_after - self._now()).total_seconds()
        made.until = self._seconds() + min(self.use.ttl, left * _SHOWN)
        self._refused.pop(name, None)
        self._kept[name] = made
        self._metrics.kept += 1
        if len(self._kept) > self.use.capacity:
            self._drop(next(iter(self._kept)))

    def _refuse(self, question: _Question, refusal: Reject) -> None:
        self._refused[question.name] = (self._seconds() + REFUSED, refusal)
        self._refused.move_to_end(question.name)
        if len(self._refused) > self.use.capacity:
            self._refused.popitem(last=False)

    def _unavailable(self, problem: str) -> Reject:
        return Reject(Reason.CERTIFICATE_UNAVAILABLE, f"{self.use.kind.name} {problem}")

    def _fail(self, problem: str, failure: Failure | None) -> Reject:
        """Count a failure, and tell of it unless something was told a moment ago: every refusal has its own line."""
        self._count_error(self.use.kind.name, "certificate")
        problem = problem[:_MOST_PROBLEM]
        if self._seconds() < self._quiet_until:
            self._untold += 1
            return self._unavailable(problem)
        self._quiet_until = self._seconds() + _QUIET
        untold, self._untold = self._untold, 0
        text = "{listener}: there is no certificate for a name, which refuses the client: {kind} {problem}"
        text += "; so it was {untold} times before" if untold else ""
        fields = {"listener": self._listener, "kind": self.use.kind.name, "problem": problem, "untold": untold}
        if failure is None or failure.check(OSError, ValueError, _Unusable, CancelledError):
            self._log.error(text, **fields)
        else:
            self._log.failure(text, failure, **fields)
        return self._unavailable(problem)


def _problem(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:
        text = "its text cannot be had"
    if isinstance(error, (_Unusable, ContextError)):
        return text
    return f"raised {type(error).__name__}: {text}"


def _cancel(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()


def count_nothing(kind: str, operation: str) -> None:
    """Count no failure."""
