"""``crl``: nobody comes in with a certificate that its issuer has revoked."""
# option() makes a field, whatever the type beside it
from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime
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
    Size,
    Verdict,
    option,
    policy,
)
from edgegw.der import DERError
from edgegw.policies.allowed_urls import AllowedURLs, plain_url
from edgegw.policies.checked_chain import Checked, to_be_checked
from edgegw.policies.crl_fetching import ListFetcher
from edgegw.policies.crl_files import ListFiles
from edgegw.policies.crl_table import CLOCK_SKEW, ListTable
from edgegw.policies.details import shown
from edgegw.policies.distribution_points import EVERYTHING, Scope, points_of
from edgegw.policies.revocation_list import RevocationList

__all__ = ["CRL", "Config"]

_ACCEPT = Accept()
#: Distribution points of one certificate that are asked.
_MOST_POINTS: Final = 4

Answer = Literal["refuse", "accept"]
Finding = Literal["", "missing", "revoked", "stale"]


def _check_urls(urls: Sequence[str]) -> None:
    for url in urls:
        plain_url(url)


def _check_allowed(entries: Sequence[str]) -> None:
    AllowedURLs(entries)


@frozen
class Config:
    """Options of ``crl``."""

    files: tuple[FilePath, ...] = option(
        "Files with CRLs, followed as they change: PEM with any number of them, where other blocks, such as a CA "
        "bundle's certificates, are passed over; or one in DER.",
        default=(),
    )
    directories: tuple[FilePath, ...] = option(
        "Directories of such files, followed as files come, change and go; names that begin with a dot are passed "
        "over.",
        default=(),
    )
    urls: tuple[str, ...] = option(
        "http and https URLs of CRLs, fetched as soon as the configuration is in use, and again when half of the "
        "time until nextUpdate is over.",
        default=(),
        check=_check_urls,
    )
    distribution_points: bool = option(
        "Whether CRLs are also fetched from the URLs that stand in the certificates (cRLDistributionPoints), as far as "
        "allowed_urls names them.  The policy then runs after the handshake, so that a client can wait for its list.",
        default=False,
    )
    allowed_urls: tuple[str, ...] = option(
        "Hosts, such as pki.example.com or pki.example.com:8080, and beginnings of URLs, such as "
        "http://pki.example.com/crl/, that may be fetched from for distribution_points.",
        default=(),
        check=_check_allowed,
    )
    check: Checked = option(
        "Which certificates must not be revoked: those of the chain, or the client's own alone.  A trust anchor needs "
        "no CRL.",
        default="chain",
    )
    on_missing: Answer = option(
        "What becomes of a client if there is no usable CRL of an issuer in its chain.", default="refuse"
    )
    on_stale: Answer = option(
        "What becomes of a client that is on no list if one of them is past its nextUpdate, or has none.",
        default="refuse",
    )
    strict: bool = option(
        "Whether lists are refused that break one of the rules of RFC 5280 §5 which others let pass, such as the one "
        "that a CRL has a number, or that are signed with SHA-1.",
        default=False,
    )
    refresh: Duration = option(
        "How long after a list was fetched it is fetched again at the latest.", default=3600.0, minimum=1
    )
    timeout: Duration = option("How long fetching a list may take.", default=30.0, minimum=0.001)
    max_size: Size = option(
        "Bytes that a file or a fetched list may have; a million entries take about 45 MB.",
        default=268_435_456,
        minimum=1,
    )
    ca_certificates: FilePath | None = option(
        "A PEM file with the CAs of https servers that lists are fetched from; without it the system's.", default=None
    )
    warn_before: Duration | None = option(
        "How long before its nextUpdate a list that nobody has renewed is warned of; without it when a fifth of its "
        "time is left, a day at most.",
        default=None,
    )

    def __attrs_post_init__(self) -> None:
        if not (self.files or self.directories or self.urls or self.distribution_points):
            raise ValueError("names no CRL; give files, directories or urls, or distribution_points: true")
        if self.distribution_points and not self.allowed_urls:
            raise ValueError(
                "distribution_points without allowed_urls would fetch whatever a certificate names; list the hosts"
            )
        if self.allowed_urls and not self.distribution_points:
            raise ValueError("allowed_urls is for distribution_points; set it to true or leave both out")


@policy("crl", Config, needs_chain=True)
class CRL:
    """Refuse certificates that are on their issuer's certificate revocation list (CRL).

    Fail closed: without a CRL of each issuer in the chain, or with one that is past its ``nextUpdate``, nobody comes
    in, unless ``on_missing: accept`` or ``on_stale: accept`` is written out.  A certificate that is on a stale list is
    refused whatever ``on_stale`` says.  What was let in so is told by the attribute ``crl``: ``missing`` or ``stale``.

    A list counts only if the issuer's key has signed it, and the issuer's ``keyUsage``, if there is one, has
    ``cRLSign``.  Of several lists for the same certificates the newest that is valid already counts.  A list for a part
    of its issuer's certificates (``issuingDistributionPoint``) counts for that part alone.  Delta CRLs, indirect ones,
    those for some reasons only and those with a critical extension that is not known are refused where they are read.

    A new list is in use within seconds, without a restart, and empties what was cached; with
    ``recheck_established: true`` it also closes connections.  A file that cannot be used leaves the last one in use;
    a file that is gone from a directory takes its lists with it.  In a directory, files that cannot be used are
    logged; the clients they would have been for are refused.

    Until a list of ``urls`` has been fetched for the first time its clients are refused; a reload begins with the lists
    that are in use.  A fetched list is replaced neither by an older one nor by one that the same issuer has not signed.

    A URL in a certificate is what a client, or who issued for it, has written: without ``allowed_urls`` whoever
    gets a certificate could have the gateway ask any host that it reaches.  Redirects are not followed.  The first
    client of an issuer waits for its list; it is refused if there is none in time.

    Looking a certificate up takes some microseconds however long the list is.  A list of a million entries takes about
    three seconds to read, beside the traffic, and 90 MB.  The gauge ``next_update_seconds`` shows when the list that is
    renewed first is to be renewed.

    Example::

        policies:
          - crl:
              files: [root.crl, devices.crl]
              urls: ["http://pki.example.com/devices.crl"]
    """

    def __init__(self, config: Config, env: IEnvironment) -> None:
        #: A client can wait for a list only when the handshake is done.
        self.waits = config.distribution_points
        self._config = config
        self._allowed = AllowedURLs(config.allowed_urls)
        files = ListFiles(config.files, config.directories, config.max_size, config.strict, env)
        self._fetcher: ListFetcher | None = None
        if config.urls or config.distribution_points:
            client = env.http(config.ca_certificates)
            self._fetcher = ListFetcher(
                config.urls, client, env, config.refresh, config.timeout, config.max_size, config.strict
            )
        self._table = ListTable(files, self._fetcher, env, config.warn_before, config.on_stale == "refuse")

    def check(self, peer: Peer) -> Verdict | Awaitable[Verdict]:
        """Decide about a client."""
        return self._check_later(peer) if self.waits else self._judge(peer)

    async def _check_later(self, peer: Peer) -> Verdict:
        """Decide about a client, having fetched the lists that are missing for the first time."""
        fetcher = self._fetcher
        if fetcher is not None and peer.verified:
            for url in self._named(peer.certificates):
                point = fetcher.named(url)
                if point is not None and point.fetched is None:
                    await fetcher.fetch(point)
        return self._judge(peer)

    def _named(self, chain: Sequence[Certificate]) -> list[str]:
        """Give the URLs that the certificates of a verified chain name and that may be asked."""
        found: list[str] = []
        for certificate, _ in to_be_checked(chain, self._config.check):
            try:
                urls = points_of(certificate).urls
            except DERError:
                continue
            found += [url for url in urls if self._may_be_asked(url)][:_MOST_POINTS]
        return found

    def _may_be_asked(self, url: str) -> bool:
        try:
            return self._allowed.allows(plain_url(url))
        except ValueError:
            return False

    def _judge(self, peer: Peer) -> Verdict:
        chain = peer.certificates
        if not peer.verified or not chain:
            # Anybody may have made up the certificates above the client's own.
            return self._without("missing", "the chain is not verified, so that no CRL can be told to be its issuer's")
        noted = ""
        refusal: Verdict = _ACCEPT
        for certificate, issuer in to_be_checked(chain, self._config.check):
            finding, detail = self._look_up(certificate, issuer, peer.now)
            if finding == "revoked":
                return Reject(Reason.CERTIFICATE_REVOKED, detail)
            if finding:
                verdict = self._without(finding, detail)
                if type(verdict) is Reject:
                    refusal = refusal if type(refusal) is Reject else verdict
                else:
                    noted = noted or finding
        if type(refusal) is Reject or not noted:
            return refusal
        return Accept({"crl": noted})

    def _without(self, finding: Finding, detail: str) -> Verdict:
        """Decide about a client whose certificate could not be told to be good."""
        if finding == "missing":
            refused, reason = self._config.on_missing == "refuse", Reason.CRL_MISSING
        else:
            refused, reason = self._config.on_stale == "refuse", Reason.CRL_STALE
        return Reject(reason, detail) if refused else Accept({"crl": finding})

    def _look_up(self, certificate: Certificate, issuer: Certificate | None, now: datetime) -> tuple[Finding, str]:
        """Say of one certificate whether it is ``revoked``, its list ``stale`` or ``missing``; empty for none of it."""
        if issuer is None:
            return "missing", f"no CRL of {shown(certificate.issuer)}: its certificate is not in the chain"
        try:
            return self._look_into(self._table.lists_of(issuer), certificate, issuer, now)
        except (DERError, ValueError) as error:
            return "missing", f"no CRL can be told to be for {shown(certificate.subject)}: {shown(str(error))}"

    def _look_into(
        self, lists: Sequence[RevocationList], certificate: Certificate, issuer: Certificate, now: datetime
    ) -> tuple[Finding, str]:
        serial = int(certificate.serial, 16)
        fresh, stale = False, ""
        problem = ""
        done: list[Scope] = []
        for one in lists:
            scope = one.scope
            if scope in done:
                continue
            if one.this_update > now + CLOCK_SKEW:
                problem = f": the one there is holds only from {one.this_update:%Y-%m-%dT%H:%M:%SZ} on"
                continue
            if scope is not EVERYTHING and not _is_covered(scope, certificate):
                problem = problem or ": those there are do not cover it"
                continue
            if not one.is_signed_by(issuer):
                problem = ": the one there is was not signed by its key, or it must sign none"
                continue
            done.append(scope)
            revocation = one.revoked.get(serial)
            if revocation is not None:
                what = shown(certificate.subject) or "the certificate"
                return "revoked", f"{what}, serial {certificate.serial[:48]}, was revoked {revocation}"
            if not one.is_stale(now):
                fresh = True
            else:
                until = one.next_update
                stale = "holds for no time" if until is None else f"was to be renewed by {until:%Y-%m-%dT%H:%M:%SZ}"
        if fresh:
            return "", ""
        if stale:
            return "stale", f"the CRL of {shown(one.issuer)} {stale}"
        return "missing", f"no CRL of {shown(certificate.issuer)}{problem}"


def _is_covered(scope: Scope, certificate: Certificate) -> bool:
    """Whether a list for a part of its issuer's certificates is known to be for this one, too."""
    try:
        return scope.covers(points_of(certificate))
    except DERError:
        # Where its lists are cannot be read; the list for all certificates still speaks of it.
        return False
