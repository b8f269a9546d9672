"""``validity``: how long certificates may be valid, how much of that must be left, and whether expired ones come in."""
from __future__ import annotations

from datetime import timedelta

from attrs import frozen

from edgegw.api import Accept, Duration, IEnvironment, Peer, Reason, Reject, Verdict, option, policy

__all__ = ["Config", "Validity"]

_ACCEPT = Accept()
_DAY = 86_400.0
#: The most that a duration can say in hours.
_LONGEST = 99_999 * 3600.0
_ZERO = timedelta(0)


@frozen(kw_only=True)
class Config:
    """Options of ``validity``; one at least.  The longest duration is 99999h, more than eleven years."""

    max_lifetime: Duration | None = option(
        "The longest time from the certificate's beginning to its end, such as 2160h for 90 days.",
        default=None,
        minimum=0.001,
        maximum=_LONGEST,
    )
    min_remaining: Duration | None = option(
        "The least time that must be left until its end.", default=None, minimum=0.001, maximum=_LONGEST
    )
    allow_expired: bool = option("Whether a certificate that has expired is let in all the same.", default=False)
    max_expired: Duration | None = option(
        "With allow_expired, the longest time since its end.", default=None, minimum=0.001, maximum=_LONGEST
    )
    allow_not_yet_valid: bool = option(
        "Whether a certificate that is not valid yet is let in all the same.", default=False
    )
    max_not_yet_valid: Duration | None = option(
        "With allow_not_yet_valid, the longest time until its beginning.", default=None, minimum=0.001, maximum=_LONGEST
    )

    def __attrs_post_init__(self) -> None:
        if (self.max_lifetime, self.min_remaining) == (None, None) and not (
            self.allow_expired or self.allow_not_yet_valid
        ):
            raise ValueError("says nothing about validity; give max_lifetime, min_remaining or allow_expired: true")
        if self.max_expired is not None and not self.allow_expired:
            raise ValueError("has max_expired, which means nothing by itself; write allow_expired: true")
        if self.max_not_yet_valid is not None and not self.allow_not_yet_valid:
            raise ValueError("has max_not_yet_valid, which means nothing by itself; write allow_not_yet_valid: true")
        if self.min_remaining is not None and self.allow_expired:
            raise ValueError("demands time left and allows that none is; leave out min_remaining or allow_expired")


@policy("validity", Config)
class Validity:
    """Let in the certificates that are valid for a time that fits.

    ``max_lifetime`` keeps certificates of years out where clients are to renew theirs by themselves; it is
    measured from ``notBefore`` to ``notAfter``.  ``min_remaining`` makes a renewal that has failed known while the
    certificate is still good.  Ninety days are ``2160h``.

    ``allow_expired: true`` lets clients in whose own certificate has expired, as Envoy's
    ``allow_expired_certificate`` does for expired and not yet valid ones: without ``max_expired`` for ever.  The
    rest of the chain must be valid.  It is for devices that have been off for too long to renew, on a listener where
    they can do no more than that.  ``allow_not_yet_valid`` is for clocks that differ.

    It counts only in the list of policies itself or under ``all``: ``any`` and ``not`` decide among certificates that
    are valid.

    Example::

        policies:
          - validity:
              max_lifetime: 2160h
              allow_expired: true
              max_expired: 72h
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        #: Whether TLS must let this policy judge the dates of the client's own certificate.
        self.allows_expired = config.allow_expired or config.allow_not_yet_valid
        self._max_lifetime = _delta(config.max_lifetime)
        self._min_remaining = _delta(config.min_remaining)
        # How long ago it may have ended: None is for ever.
        self._max_expired = _delta(config.max_expired) if config.allow_expired else _ZERO
        self._max_early = _delta(config.max_not_yet_valid) if config.allow_not_yet_valid else _ZERO

    def check(self, peer: Peer) -> Verdict:
        """Compare the dates with ``peer.now``."""
        certificate = peer.certificate
        if certificate is None:
            return Reject(Reason.NO_CERTIFICATE)
        begin, end = certificate.not_before, certificate.not_after
        if begin is None or end is None:
            return Reject(Reason.CERTIFICATE_INVALID, "its validity cannot be read")
        if end < begin:
            return Reject(Reason.CERTIFICATE_INVALID, f"it ends {end:%Y-%m-%d}, before it begins {begin:%Y-%m-%d}")
        remaining = end - peer.now
        if self._max_expired is not None and -remaining > self._max_expired:
            limit = f", more than {_shown(self._max_expired)} ago" if self._max_expired else ""
            return Reject(Reason.CERTIFICATE_EXPIRED, f"it ended {end.isoformat()}{limit}")
        early = begin - peer.now
        if self._max_early is not None and early > self._max_early:
            limit = f", in more than {_shown(self._max_early)}" if self._max_early else ""
            return Reject(Reason.CERTIFICATE_NOT_YET_VALID, f"it begins {begin.isoformat()}{limit}")
        if self._max_lifetime is not None and end - begin > self._max_lifetime:
            return Reject(
                Reason.CERTIFICATE_LIFETIME,
                f"it is valid for {_shown(end - begin)}, longer than {_shown(self._max_lifetime)}",
            )
        if self._min_remaining is not None and remaining < self._min_remaining:
            return Reject(
                Reason.CERTIFICATE_EXPIRES_SOON,
                f"it ends in {_shown(remaining)}, less than {_shown(self._min_remaining)}",
            )
        return _ACCEPT


def _delta(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _shown(time: timedelta) -> str:
    seconds = time.total_seconds()
    if seconds >= 2 * _DAY:
        return f"{seconds / _DAY:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 7200 else f"{seconds:.0f} seconds"
