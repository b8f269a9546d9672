"""Which certificates of a configuration a stapler looks after, and the responses that come from files."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from twisted.logger import Logger

from edgegw.model import ServerCertificate
from edgegw.tls.listener import TLSListener
from edgegw.tls.staples import Stapling, read_staple
from edgegw.tls.stapling import Stapler

__all__ = ["StapledCertificates"]

_log = Logger("edgegw.tls.stapling")


class StapledCertificates:
    """The certificates that some listeners show with an OCSP response (RFC 6066 §8)."""

    def __init__(self, stapler: Stapler, listeners: Iterable[TLSListener]) -> None:
        self._stapler = stapler
        self._listeners = tuple(listeners)
        self._issuers: tuple[bytes, ...] = ()

    def use(self) -> None:
        """Have the stapler look after them from now on; also when some were renewed."""
        validations = [one.model.tls.client_validation for one in self._listeners if one.model.tls is not None]
        self._issuers = tuple(
            {anchor.pem for validation in validations if validation is not None for anchor in validation.trust_anchors}
        )
        certificates = list(self._certificates())
        self._stapler.use([stapling for _, stapling in certificates], self._issuers)
        for certificate, _ in certificates:
            if certificate.ocsp_response is not None:
                self._give(certificate)

    def _certificates(self) -> Iterator[tuple[ServerCertificate, Stapling]]:
        for listener in self._listeners:
            settings = listener.model.tls
            assert settings is not None
            for certificate in listener.certificates.certificates:
                if certificate.ocsp_response is not None:
                    yield certificate, Stapling(certificate, fetch=False)
                elif settings.ocsp_stapling:
                    yield certificate, Stapling(certificate, True, settings.ocsp_responder)

    def _give(self, certificate: ServerCertificate) -> None:
        """Show what a file has, now and whenever it changes."""
        response = certificate.ocsp_response
        assert response is not None
        response.environment.on_change = partial(self._give, certificate)
        try:
            self._stapler.give(certificate, read_staple(certificate, response.followed.value, self._issuers))
        except ValueError as error:
            _log.error(
                "{certificate}: the OCSP response in {path} cannot be shown: {problem}",
                certificate=certificate.name, path=response.path, problem=str(error),
            )
