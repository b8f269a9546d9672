"""What holds for ports as a whole, in the native document."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from edgegw.model import PortSettings, ProxyHeaderMode, ProxyHeaders

from .config_documents import LISTENERS, ConfigTestCase

UNIX = "listeners: [{name: a, address: 'unix:a.sock', protocol: HTTP}]\n"


class ProxyProtocolTests(ConfigTestCase):
    """``proxy_protocol`` of ``ports``."""

    def test_least(self) -> None:
        """Whom to trust has no default; the rest has."""
        (port,) = self.load(LISTENERS + "ports: [{port: 8443, proxy_protocol: {trusted: [10.0.0.0/8]}}]").gateway.ports
        self.assertEqual(port, PortSettings(((None, 8443),), None, ProxyHeaders((ip_network("10.0.0.0/8"),))))
        text = LISTENERS + "ports: [{port: 8443, proxy_protocol: {}}]"
        self.assert_faults(text, (3, 38, "ports[0].proxy_protocol", "has no trusted"))

    def test_every_setting(self) -> None:
        """What is given arrives in the model."""
        text = "{mode: optional, trusted: [10.0.0.5, 'fd00::/8'], timeout: 250ms, max_size: 512}"
        (port,) = self.load(f"{LISTENERS}ports: [{{port: 8443, proxy_protocol: {text}}}]").gateway.ports
        networks = (ip_network("10.0.0.5"), ip_network("fd00::/8"))
        self.assertEqual(port.proxy_protocol, ProxyHeaders(networks, False, ProxyHeaderMode.OPTIONAL, 0.25, 512))

    def test_unix_socket(self) -> None:
        """A Unix socket's clients are trusted by a word, and by it alone."""
        text = UNIX + "ports: [{address: 'unix:a.sock', proxy_protocol: {trusted: [%s]}}]"
        (port,) = self.load(text % "unix").gateway.ports
        self.assertEqual(port.proxy_protocol, ProxyHeaders((), True))
        ((address, number),) = port.bindings
        self.assertEqual((address, number), (f"unix:{Path(self.directory, 'a.sock')}", 0))
        place = "ports[0].proxy_protocol.trusted[0]"
        self.assert_faults(text % "10.0.0.0/8", (2, 61, place, "who connects to a Unix socket has no address"))
        text = LISTENERS + "ports: [{port: 8443, proxy_protocol: {trusted: [unix]}}]"
        self.assert_faults(text, (3, 49, place, "is for Unix sockets, and the port is none"))

    def test_faults(self) -> None:
        """Each where it stands."""
        text = "{mode: strict, trusted: [], timeout: 0s, max_size: 1, version: 2}"
        place = "ports[0].proxy_protocol"
        self.assert_faults(
            f"{LISTENERS}ports: [{{port: 8443, proxy_protocol: {text}}}]",
            (3, 45, f"{place}.mode", "required"),
            (3, 62, f"{place}.trusted", "is an empty list"),
            (3, 75, f"{place}.timeout", "is out of range; write a duration from 1ms to 1m"),
            (3, 89, f"{place}.max_size", "is out of range"),
            (3, 92, f"{place}.version", "is no known key"),
        )
        text = LISTENERS + "ports: [{port: 8443, proxy_protocol: {trusted: [everyone, 10.0.0.1, 10.0.0.1]}}]"
        self.assert_faults(
            text, (3, 49, f"{place}.trusted[0]", "is not a network"), (3, 69, f"{place}.trusted[2]", "repeats")
        )

    def test_everyone(self) -> None:
        """To trust every address is possible, and worth a warning."""
        text = LISTENERS + "ports: [{port: 8443, proxy_protocol: {trusted: [0.0.0.0/0]}}]"
        self.assert_warnings(text, (3, 49, "ports[0].proxy_protocol.trusted[0]", "lets everyone say who they are"))
