"""``Client-Cert``, URL-encoded PEM and headers by template; and what may stand on one listener."""
from __future__ import annotations

import re
from base64 import b64decode
from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from edgegw.config.injection import parse_header_name
from edgegw.config.injection import parse_template as parse_configured_template
from edgegw.config.scalars import Unparsable
from edgegw.headers.fields import parse_template
from edgegw.headers.injection import RESERVED, build_injector, build_injectors
from edgegw.headers.value import ValueTooLargeError, header_value
from edgegw.identity import FACTS, Certificate, CertificateStatus, ConnectionInfo
from edgegw.interfaces import IHeaderInjector
from edgegw.model import XFCC, ClientCertificateField, FieldHeaders, HeaderInjection, PEMHeader

from .client_certificates import DATA, connection, general_names, handmade, recorded, tlv

#: The field value of RFC 9440 appendix A, which the RFC breaks into lines for display.
APPENDIX_A = b"""\
:MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVy\
bWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0D\
AQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYD\
VR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIw\
HQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCO\
OB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:"""


def injected(settings: HeaderInjection, info: ConnectionInfo) -> list[tuple[bytes, bytes]]:
    """Give what an injector of ``settings`` sends."""
    return list(build_injector(settings).inject(info, {}))


def appendix_a() -> tuple[list[Certificate], list[bytes]]:
    """Give the certificates of RFC 9440 appendix A, and the base64 in its PEM blocks."""
    pem = (DATA / "rfc9440_appendix_a.pem").read_bytes()
    blocks = re.findall(rb"-----BEGIN CERTIFICATE-----\n(.*?)-----END", pem, re.S)
    texts = [block.replace(b"\n", b"") for block in blocks]
    return [Certificate(b64decode(text)) for text in texts], texts


class ClientCertTests(SynchronousTestCase):
    """RFC 9440."""

    def test_appendix_a(self) -> None:
        """The certificates of the RFC's example give the RFC's fields; the chain is without the leaf."""
        (client, *chain), texts = appendix_a()
        self.assertEqual(
            injected(ClientCertificateField(chain=True), connection(client, chain=chain)),
            [(b"client-cert", APPENDIX_A), (b"client-cert-chain", b":%s:, :%s:" % (texts[1], texts[2]))],
        )
        self.assertEqual(
            injected(ClientCertificateField(), connection(client, chain=chain)), [(b"client-cert", APPENDIX_A)]
        )

    def test_without_chain(self) -> None:
        """Where the client sent no chain there is no field for it."""
        (client, *_), _ = appendix_a()
        self.assertEqual(
            injected(ClientCertificateField(chain=True), connection(client)), [(b"client-cert", APPENDIX_A)]
        )

    def test_unverified(self) -> None:
        """Neither without a certificate nor with an unverified one is anything sent."""
        (client, *chain), _ = appendix_a()
        settings = ClientCertificateField(chain=True)
        self.assertEqual(injected(settings, connection(None)), [])
        self.assertEqual(injected(settings, connection(client, CertificateStatus.UNVERIFIED, chain)), [])

    def test_declarations(self) -> None:
        """Both names are the gateway's alone in requests, and make responses that depend on them private."""
        both = {b"client-cert", b"client-cert-chain"}
        for chain in (False, True):
            injector = build_injector(ClientCertificateField(chain))
            verifyObject(IHeaderInjector, injector)
            self.assertEqual((injector.owned, injector.owned_responses), (both, both))
            self.assertEqual((injector.needs_chain, injector.per_request), (chain, False))

    def test_too_large(self) -> None:
        """A chain that does not fit is refused, not shortened."""
        links = [Certificate(bytes(5000))] * 5
        self.assertRaises(
            ValueTooLargeError, injected, ClientCertificateField(chain=True), connection(links[0], chain=links)
        )


class PEMTests(SynchronousTestCase):
    """URL-encoded PEM."""

    def test_value(self) -> None:
        """It is the PEM, percent-encoded but for RFC 3986's unreserved characters."""
        for row in recorded().values():
            ((name, value),) = injected(PEMHeader("x-client-cert"), connection(row.chain[0]))
            self.assertEqual(name, b"x-client-cert")
            self.assertEqual(value.decode("ascii"), quote(row.chain[0].pem, safe=""))
            self.assertEqual(unquote(value.decode("ascii")), row.chain[0].pem)

    def test_unverified(self) -> None:
        """Neither without a certificate nor with an unverified one is anything sent."""
        client = recorded()["c-valid"].chain[0]
        self.assertEqual(injected(PEMHeader("x-client-cert"), connection(None)), [])
        self.assertEqual(
            injected(PEMHeader("x-client-cert"), connection(client, CertificateStatus.UNVERIFIED)), []
        )

    def test_declarations(self) -> None:
        """The header it was given is its own."""
        injector = build_injector(PEMHeader("x-client-cert"))
        verifyObject(IHeaderInjector, injector)
        self.assertEqual((injector.owned, injector.owned_responses), ({b"x-client-cert"}, frozenset()))
        self.assertEqual((injector.needs_chain, injector.per_request), (False, False))


class FieldsTests(SynchronousTestCase):
    """Headers by template."""

    def fields(self, info: ConnectionInfo, **templates: str) -> dict[bytes, bytes]:
        """Give what is sent for templates, by the names of the headers."""
        settings = FieldHeaders(tuple((name.replace("_", "-"), text) for name, text in templates.items()))
        return dict(injected(settings, info))

    def test_values(self) -> None:
        """Facts take their places in the text of the templates."""
        info = connection(recorded()["c-valid"].chain[0])
        self.assertEqual(
            self.fields(
                info, x_a="{subject}", x_b="{{{serial}}} on {listener}", x_c="{uris}", x_d="{dns_names}",
                x_e="{not_before}", x_f="{status}", x_g="constant",
            ),
            {
                b"x-a": b"CN=client1,OU=Clients,O=Edge Test,C=US",
                b"x-b": b"{1011} on edge",
                b"x-c": b"spiffe://example.com/ns/prod/sa/client1",
                b"x-d": b"client1.internal.corp,client1-alt.internal.corp",
                b"x-e": b"2025-01-01T00:00:00.000Z",
                b"x-f": b"verified",
                b"x-g": b"constant",
            },
        )

    def test_empty(self) -> None:
        """A header without any of its facts is not sent; with one of them it is, without outer spaces."""
        info = connection(recorded()["c-nosan"].chain[0])
        self.assertEqual(
            self.fields(info, x_a="{uris}", x_b="uri={uris} dns={dns_names}", x_c="{serial} {uris}"), {b"x-c": b"1020"}
        )

    def test_unverified(self) -> None:
        """An unverified certificate has a status and nothing more."""
        client = recorded()["c-valid"].chain[0]
        templates = {f"x-{name.replace('_', '-')}": f"{{{name}}}" for name in FACTS}
        given_without = self.fields(connection(None), **templates)
        unverified = self.fields(connection(client, CertificateStatus.UNVERIFIED), **templates)
        self.assertEqual(unverified, {**given_without, b"x-status": b"unverified"})
        self.assertNotIn(b"x-sha256", unverified)

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_safe(self, text: bytes, name: bytes) -> None:
        """Whatever a certificate holds, values are printable ASCII without outer spaces."""
        client = handmade(
            tlv(0x31, tlv(0x30, tlv(6, b"\x55\x04\x03"), tlv(0x14, text))), [general_names((0x82, name), (0x86, name))]
        )
        settings = FieldHeaders(tuple((f"x-{name.replace('_', '-')}", f"{{{name}}}") for name in FACTS))
        for _, value in injected(settings, connection(client)):
            self.assertTrue(re.fullmatch(rb"[!-~](?:[ -~]*[!-~])?", value), value)

    def test_faulty_templates(self) -> None:
        """A template that cannot be meant is refused when it is read."""
        for text in ("", " {subject}", "{subject} ", "{shoe_size}", "{}", "{subject", "subject}", "{subject!r}",
                     "{subject:>8}", "é", "a\nb", "{{subject}"):
            self.assertRaises(ValueError, parse_template, text)
            self.assertRaises(ValueError, build_injector, FieldHeaders((("x-a", text),)))

    def test_declarations(self) -> None:
        """All of its headers are its own."""
        injector = build_injector(FieldHeaders((("x-a", "{subject}"), ("x-b", "{serial}"))))
        verifyObject(IHeaderInjector, injector)
        self.assertEqual((injector.owned, injector.owned_responses), ({b"x-a", b"x-b"}, frozenset()))
        self.assertEqual((injector.needs_chain, injector.per_request), (False, False))

    def test_too_large(self) -> None:
        """Names that do not fit are refused, not shortened."""
        client = handmade(extensions=[general_names(*[(0x82, b"n%d.example" % n) for n in range(20_000)])])
        self.assertRaises(ValueTooLargeError, self.fields, connection(client), x_a="{dns_names}")


class BuildTests(SynchronousTestCase):
    """Which injectors may stand together."""

    def test_order(self) -> None:
        """They come in the order of the configuration."""
        injectors = build_injectors([
            PEMHeader("x-client-cert"), XFCC(), ClientCertificateField(), FieldHeaders((("x-a", "{subject}"),)),
        ])
        self.assertEqual(
            [min(injector.owned) for injector in injectors],
            [b"x-client-cert", b"x-forwarded-client-cert", b"client-cert", b"x-a"],
        )

    def test_owned_twice(self) -> None:
        """Two that set the same header, or two spellings of one, are refused."""
        for pair in (
            (XFCC(), XFCC()),
            (PEMHeader("x-a"), FieldHeaders((("x-a", "{subject}"),))),
            (PEMHeader("x-a-b"), PEMHeader("x-a_b")),
            (PEMHeader("client-cert-chain"), ClientCertificateField()),
        ):
            self.assertRaisesRegex(ValueError, "two header injectors set", build_injectors, pair)

    def test_faulty_names(self) -> None:
        """No name that is not one, stands twice, or is needed for HTTP itself."""
        for name in ("", "X-A", "x a", "x:a", "x\r\na", "é", "host", "content-length", "transfer_encoding", "via",
                     "x-forwarded-for", "connection"):
            self.assertRaises(ValueError, build_injector, PEMHeader(name))
            self.assertRaises(ValueError, build_injector, FieldHeaders(((name, "{subject}"),)))
        self.assertRaises(ValueError, build_injector, FieldHeaders((("x-a", "{subject}"), ("x-a", "{serial}"))))

    def test_configured_names(self) -> None:
        """What the configuration takes for a header's name is not refused when the gateway starts."""
        for name in RESERVED:
            self.assertRaises(Unparsable, parse_header_name, name)

    @given(st.text(st.sampled_from("ab {}é\t\n") | st.characters(), max_size=12) | st.just("{{{subject}}}"))
    def test_configured_templates(self, text: str) -> None:
        """Nor is what it takes for a template."""
        try:
            parse_configured_template(text)
        except Unparsable:
            return
        parse_template(text)

    def test_control_characters(self) -> None:
        """The last line of defence refuses what no injector should have made."""
        for value in ("a\r\nb", "a\0", "é", "\x7f"):
            self.assertRaises(ValueError, header_value, b"x-a", value)
        self.assertEqual(header_value(b"x-a", b"caf\xe9"), b"caf\xe9")
