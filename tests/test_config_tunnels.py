"""Listeners that pass bytes on, their routes, and what holds for their ports, in the native document."""
from __future__ import annotations

from edgegw.model import (
    BackendRef,
    ConnectionRate,
    PortSettings,
    Protocol,
    TCPRoute,
    TLSMode,
    TLSRoute,
    UnmatchedName,
)

from .config_documents import ConfigTestCase

CERTIFICATE = "certificates: [{certificate: server.pem, private_key: server.key}]"
UPSTREAM = 'upstreams: [{name: u, endpoints: ["127.0.0.1:1"]}]\n'


class ListenerTests(ConfigTestCase):
    """Protocols, modes, and what goes with them."""

    def test_modes(self) -> None:
        """Each protocol and mode arrives; with TLS no application protocol is answered unless it is named."""
        gateway = self.load(
            f"""\
            listeners:
              - {{name: a, port: 1, protocol: TLS, hostname: bücher.example, tls: {{mode: Passthrough}}}}
              - {{name: b, port: 1, protocol: TLS, hostname: "*.Example.", tls: {{{CERTIFICATE}}}}}
              - {{name: c, port: 1, hostname: c.example, application_protocols: [http/1.1], tls: {{{CERTIFICATE}}}}}
              - {{name: d, port: 1, protocol: TLS, hostname: c.example, tls: {{alpn: [x], {CERTIFICATE}}}}}
              - {{name: e, port: 2, protocol: TCP}}
            """
        ).gateway
        found = [
            (one.protocol, one.mode, one.hostname, one.application_protocols, one.tls and one.tls.alpn)
            for one in gateway.listeners
        ]
        terminate, through = TLSMode.TERMINATE, TLSMode.PASSTHROUGH
        self.assertEqual(
            found,
            [
                (Protocol.TLS, through, "xn--bcher-kva.example", (), None),
                (Protocol.TLS, terminate, "*.example", (), ()),
                (Protocol.HTTPS, terminate, "c.example", ("http/1.1",), gateway.listeners[2].tls.alpn),  # type: ignore[union-attr]  # it has
                (Protocol.TLS, terminate, "c.example", (), ("x",)),
                (Protocol.TCP, terminate, None, (), None),
            ],
        )

    def test_faults(self) -> None:
        """What does nothing, or goes with another protocol, is a fault."""
        self.assert_faults(
            f"""\
            listeners:
              - {{name: a, port: 1, tls: {{mode: Passthrough}}}}
              - {{name: b, port: 2, protocol: TLS, tls: {{mode: Passthrough, {CERTIFICATE}}}}}
              - {{name: c, port: 3, protocol: TLS}}
              - {{name: d, port: 4, protocol: TCP, hostname: d.example, http: {{}}, tls: {{}}}}
              - {{name: e, port: 5, protocol: TLS, header_injection: [], tls: {{mode: Passthrough}}}}
              - {{name: f, port: 6, protocol: HTTP, application_protocols: [h2]}}
            """,
            (2, 36, "listeners[0].tls.mode", "does not go with the protocol HTTPS"),
            (3, 64, "listeners[1].tls.certificates", "TLS ends at the upstream"),
            (4, 5, "listeners[2]", "has no tls, but its protocol is TLS"),
            (5, 39, "listeners[3].hostname", "nothing in TCP names a host"),
            (5, 60, "listeners[3].http", "is about HTTP"),
            (5, 70, "listeners[3].tls", "does not go with the protocol TCP"),
            (5, 75, "listeners[3].tls", "has no certificates"),
            (6, 39, "listeners[4].header_injection", "is about HTTP"),
            (7, 40, "listeners[5].application_protocols", "needs TLS"),
        )

    def test_conflicts(self) -> None:
        """Listeners that could not be told from each other (Gateway API, distinctness), and protocols apart."""
        self.assert_faults(
            f"""\
            listeners:
              - {{name: a, port: 1, hostname: x.example, tls: {{{CERTIFICATE}}}}}
              - {{name: b, port: 1, protocol: TLS, hostname: X.example, tls: {{mode: Passthrough}}}}
              - {{name: c, port: 1, protocol: HTTP, hostname: y.example}}
              - {{name: d, port: 1, protocol: TCP}}
              - {{name: e, port: 2, protocol: TCP}}
              - {{name: f, port: 2, protocol: TCP}}
            """,
            (3, 49, "listeners[1].hostname", "port 1 is used by a for x.example already"),
            (4, 34, "listeners[2].protocol", "port 1 is used by a with the protocol HTTPS already"),
            (5, 34, "listeners[3].protocol", "port 1 is used by a with the protocol HTTPS already"),
            (7, 21, "listeners[5].port", "port 2 is used by e for all of it already"),
        )


class RouteTests(ConfigTestCase):
    """``tls_routes`` and ``tcp_routes``."""

    LISTENERS = (
        "listeners:\n"
        "  - {name: t, port: 1, protocol: TLS, hostname: '*.example', tls: {mode: Passthrough}}\n"
        "  - {name: c, port: 2, protocol: TCP}\n" + UPSTREAM
    )

    def test_every_setting(self) -> None:
        """What is given arrives in the model."""
        settings = "idle_timeout: 10m, max_duration: 24h, max_connections: 5"
        settings += ", connection_rate: {connections: 3, unit: minute}"
        gateway = self.load(
            self.LISTENERS
            + f"tls_routes: [{{name: a, listeners: [t], hostnames: [A.example], {settings}, "
            + "backends: [{upstream: u, weight: 3}]}]\n"
            + "tcp_routes: [{name: b, backends: [{upstream: u}], max_connections: unlimited}]\n"
        ).gateway
        (tls,), (tcp,) = gateway.tls_routes, gateway.tcp_routes
        rate = ConnectionRate(3, 60.0, 3)
        self.assertEqual(
            tls, TLSRoute("a", (BackendRef("u", 3),), ("t",), 600.0, 86_400.0, 5, rate, hostnames=("a.example",))
        )
        self.assertEqual(tcp, TCPRoute("b", (BackendRef("u"),)))

    def test_faults(self) -> None:
        """What they name and cannot have."""
        self.assert_faults(
            self.LISTENERS
            + "tls_routes:\n"
            + "  - {name: a, listeners: [c, x], backends: [{upstream: u}]}\n"
            + "  - {name: a, hostnames: [q.example], backends: [{upstream: v}]}\n"
            + "  - {name: d, hostnames: [q.example], backends: [{upstream: u}]}\n"
            + "tcp_routes: [{name: e, backends: [{upstream: u}]}, {name: f, backends: [{upstream: u}]}]\n",
            (6, 27, "tls_routes[0].listeners[0]", "has the protocol TCP, and not TLS"),
            (6, 30, "tls_routes[0].listeners[1]", "there is no listener x"),
            (7, 12, "tls_routes[1].name", "the name a is given to another"),
            (7, 61, "tls_routes[1].backends[0].upstream", "there is no upstream v"),
            (8, 27, "tls_routes[2].hostnames[0]", "q.example of t is the route a's already"),
            (9, 59, "tcp_routes[1].name", "c has the route e already"),
        )

    def test_warnings(self) -> None:
        """What never happens, and what closes everything."""
        loaded = self.load(
            self.LISTENERS
            + "tls_routes: [{name: a, hostnames: [a.test], backends: [{upstream: u, weight: 0}]}]\n"
            + "tcp_routes: [{name: b, backends: []}]\n"
        )
        texts = [str(one) for one in loaded.warnings]
        for part in ("it never matches", "every weight is 0", "is an empty list: connections are closed"):
            self.assertTrue(any(part in text for text in texts), (part, texts))


class PortTests(ConfigTestCase):
    """``unmatched_name`` and ``plaintext_listener`` of ``ports``."""

    def test_settings(self) -> None:
        """What is given arrives; the listener without TLS may share the port then."""
        (port,) = self.load(
            f"""\
            listeners:
              - {{name: a, port: 1, hostname: x.example, tls: {{{CERTIFICATE}}}}}
              - {{name: b, port: 1, protocol: HTTP}}
            ports: [{{port: 1, unmatched_name: unrecognized_name, plaintext_listener: b}}]
            """
        ).gateway.ports
        self.assertEqual(
            port, PortSettings(((None, 1),), UnmatchedName.UNRECOGNIZED_NAME, plaintext_listener="b")
        )

    def test_faults(self) -> None:
        """What does nothing on the port, or cannot be."""
        self.assert_faults(
            f"""\
            listeners:
              - {{name: a, port: 1, tls: {{{CERTIFICATE}}}}}
              - {{name: b, port: 2, protocol: TLS, hostname: b.example, tls: {{mode: Passthrough}}}}
              - {{name: c, port: 3, protocol: HTTP}}
              - {{name: d, port: 3, protocol: HTTP, hostname: d.example}}
            ports:
              - {{port: 1, unmatched_name: close, plaintext_listener: c}}
              - {{port: 2, unmatched_name: default_certificate, plaintext_listener: b}}
              - {{port: 3, unmatched_name: close, plaintext_listener: c}}
              - {{port: 3}}
              - {{port: 4}}
            """,
            (7, 31, "ports[0].unmatched_name", "a listener of the port takes every name"),
            (7, 58, "ports[0].plaintext_listener", "the listener c has another address or port"),
            (8, 31, "ports[1].unmatched_name", "no listener of the port has a certificate to show"),
            (8, 72, "ports[1].plaintext_listener", "the listener b speaks TLS"),
            (9, 31, "ports[2].unmatched_name", "is about TLS"),
            (9, 58, "ports[2].plaintext_listener", "no listener of the port speaks TLS"),
            (10, 12, "ports[3].port", "has settings already, in line 9"),
            (11, 12, "ports[4].port", "no listener has the port 4"),
        )
