"""docs/reasons.rst says what the code says, and the alerts in it are those that clients get."""
from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from edgegw.reason_explanations import EXPLANATIONS
from edgegw.reasons import ALERT_NAMES, ERROR_ALERTS, alert, reasons_text
from edgegw.tls import openssl, store_context
from edgegw.tls.failure import error_for_refusal
from edgegw.verdict import Reason
from tests.gateway import Authority, Issued

PAGE = Path(__file__).parent.parent / "docs" / "reasons.rst"


class PageTests(SynchronousTestCase):
    """The page."""

    def test_up_to_date(self) -> None:
        """It is what ``python -m edgegw.reasons`` prints."""
        self.assertEqual(PAGE.read_text("utf-8"), reasons_text())

    def test_complete(self) -> None:
        """Every reason has a sentence, a cause and something to do, and stands there once."""
        text = reasons_text()
        for reason in Reason:
            explanation = EXPLANATIONS[reason]
            for part in (explanation.sentence, explanation.cause, explanation.remedy):
                self.assertTrue(part.endswith("."), f"{reason}: {part}")
            self.assertEqual(text.count(f"\n``{reason}``\n"), 1, reason)
        self.assertEqual(set(EXPLANATIONS), set(Reason))

    def test_groups(self) -> None:
        """Reasons stand under what they belong to."""
        text = reasons_text()
        places = [text.index(part) for part in (
            "\nThe client's certificate\n===", "``no_certificate``", "\nPolicies\n===", "``subject_alt_name``",
            "\nA request's rule\n===", "``client_unverified``", "\nThe handshake\n===", "``not_tls``",
            "\nLimits, and the gateway itself\n===", "``max_connections``", "``internal_error``",
        )]  # fmt: skip
        self.assertEqual(places, sorted(places))

    def test_no_line_is_long(self) -> None:
        """Like every page it can be read as it is."""
        self.assertEqual([line for line in reasons_text().splitlines() if len(line) > 120], [])


def _context(method: int, issued: Issued, trusted: Authority) -> SSL.Context:
    context = SSL.Context(method)
    context.use_certificate(issued.certificate)
    context.use_privatekey(issued.key)
    store = context.get_cert_store()
    assert store is not None
    store.add_cert(crypto.X509.from_cryptography(trusted.certificate))
    return context


class AlertTests(SynchronousTestCase):
    """What clients are told of a policy's refusal."""

    def setUp(self) -> None:
        self.root = Authority()
        self.server = self.root.issue("a.example", dns=["a.example"])
        self.client = self.root.issue("client")

    def refused_with(self, error: int, version: int) -> list[int]:
        """Shake hands with a server that refuses the client's certificate with an error; gives the alerts it got."""

        def ask(ok: bool, store: Any) -> bool:
            if store_context.depth(store) == 0:
                store_context.set_error(store, error)
                return False
            return ok

        alerts: list[int] = []

        def info(connection: SSL.Connection, where: int, value: int) -> None:
            if where & SSL.SSL_CB_READ_ALERT == SSL.SSL_CB_READ_ALERT:
                alerts.append(value & 0xFF)

        accepting = _context(SSL.TLS_SERVER_METHOD, self.server, self.root)
        openssl.ask_about_certificates(accepting, required=True)
        connecting = _context(SSL.TLS_CLIENT_METHOD, self.client, self.root)
        connecting.set_info_callback(info)
        connecting.set_min_proto_version(version)
        connecting.set_max_proto_version(version)
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            far.setblocking(False)
            server = openssl.accept(accepting, near)
            client = SSL.Connection(connecting, far)
            client.set_connect_state()
            for _ in range(10):
                for step in (client.do_handshake, lambda: openssl.do_handshake(server, ask), lambda: client.recv(1)):
                    try:
                        step()
                    except SSL.Error:
                        pass
        return alerts

    def test_errors(self) -> None:
        """Each error with which a policy refuses gives the alert that the page says, in both versions."""
        for error, number in ERROR_ALERTS.items():
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                self.assertEqual((error, self.refused_with(error, version)), (error, [number]))

    def test_every_policy_error_is_known(self) -> None:
        """Whatever code a policy refuses with, a plugin's among them, its alert has a name."""
        for code in (*Reason, "no_badge"):
            self.assertIn(ERROR_ALERTS[error_for_refusal(code)], ALERT_NAMES)

    def test_words(self) -> None:
        """Alerts are told by name and number."""
        self.assertEqual(alert(Reason.SUBJECT_ALT_NAME, True), "certificate_unknown (46)")
        self.assertEqual(alert(Reason.UNKNOWN_CA, False), "unknown_ca (48)")
        self.assertEqual(alert(Reason.INTERNAL_ERROR, False), "")
