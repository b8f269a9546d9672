"""JA3 and JA4: published values, the rules of both, and another way to the same end."""
from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import md5, sha256
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.client_hello import BadClientHello, parse_client_hello
from edgegw.wire.fingerprints import MOST_NUMBERS, Offer, fingerprints, ja3_text, ja4, read_offer
from tests.client_hellos import CAPTURED, captured
from tests.test_client_hello import extension, handmade, server_name

GREASE = [0x0A0A, 0x1A1A, 0xDADA, 0xFAFA]
SUITES = [0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x9C, 0x9D, 0x2F,
          0x35]
EXTENSIONS = [0x1B, 0x00, 0x33, 0x10, 0x4469, 0x17, 0x2D, 0x0D, 0x05, 0x23, 0x12, 0x2B, 0xFF01, 0x0B, 0x0A, 0x15]
ALGORITHMS = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]


def offer(
    version: int = 0x0303,
    suites: Sequence[int] = (),
    extensions: Sequence[int] = (),
    groups: Sequence[int] = (),
    formats: Sequence[int] = (),
    algorithms: Sequence[int] = (),
    versions: Sequence[int] | None = None,
    protocols: Sequence[bytes] = (),
) -> Offer:
    """Give what a client offers."""
    return Offer(
        version, list(suites), list(extensions), list(groups), list(formats), list(algorithms),
        None if versions is None else list(versions), list(protocols),
    )


def numbers(values: Sequence[int]) -> bytes:
    """Write 16-bit numbers."""
    return struct.pack(f">{len(values)}H", *values)


def message(suites: Sequence[int], *extensions: tuple[int, bytes], version: int = 0x0303) -> bytes:
    """Write a ClientHello."""
    written = b"".join(extension(kind, body) for kind, body in extensions)
    body = struct.pack(">H", version) + bytes(32) + b"\x00" + struct.pack(">H", 2 * len(suites)) + numbers(suites)
    body += b"\x01\x00" + struct.pack(">H", len(written)) + written
    return b"\x01" + len(body).to_bytes(3, "big") + body


def long_list(data: bytes) -> bytes:
    """Put a list's length before it, in two bytes."""
    return struct.pack(">H", len(data)) + data


class JA3Tests(SynchronousTestCase):
    """JA3."""

    def test_published(self) -> None:
        """The two examples of its authors."""
        for text, digest, made in (
            (
                "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0",
                "ada70206e40642a3e4461f35503241d5",
                offer(0x0301, [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4], [0, 10, 11], [23, 24, 25],
                      [0]),
            ),
            (
                "769,4-5-10-9-100-98-3-6-19-18-99,,,",
                "de350869b8c85de67a350c8d186f11e6",
                offer(0x0301, [4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99]),
            ),
        ):
            self.assertEqual(ja3_text(made), text)
            self.assertEqual(md5(text.encode(), usedforsecurity=False).hexdigest(), digest)

    def test_whole(self) -> None:
        """It is made of the message: GREASE is left out, and the order counts."""
        made = message(
            [0x1A1A, 0x1301, 0xC02F],
            (0xFAFA, b""), (10, long_list(numbers([0x0A0A, 29, 23]))), (11, b"\x02\x00\x01"), (0xDADA, b"\x00"),
        )
        text = "771,4865-49199,10-11,29-23,0-1"
        self.assertEqual(fingerprints(made).ja3, md5(text.encode(), usedforsecurity=False).hexdigest())


class JA4Tests(SynchronousTestCase):
    """JA4."""

    def test_published(self) -> None:
        """The example of its specification, a browser's."""
        made = offer(
            suites=SUITES, extensions=EXTENSIONS, algorithms=ALGORITHMS, versions=[0x0304, 0x0303],
            protocols=[b"h2", b"http/1.1"],
        )
        self.assertEqual(ja4(made), "t13d1516h2_8daaf6152771_e5627efa2ab1")

    def test_by_hand(self) -> None:
        """The parts of one that was captured, counted and sorted by hand."""
        listed = "000a,000d,0016,0017,0023,002b,002d,0033,000b"
        suites = sha256(b"00ff,1301,1302,1303").hexdigest()[:12]
        algorithms = "0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,0601"
        extensions = sha256(f"{','.join(sorted(listed.split(',')))}_{algorithms}".encode()).hexdigest()[:12]
        self.assertEqual(captured("openssl-tls13").ja4, f"t13d041000_{suites}_{extensions}")

    def test_shuffled(self) -> None:
        """Two connections of a browser that shuffles its extensions have one JA4, and a JA3 each."""
        one, other = captured("chromium"), captured("chromium-again")
        self.assertEqual(one.ja4, other.ja4)
        self.assertNotEqual(one.ja3, other.ja3)

    def test_versions(self) -> None:
        """The highest of the list counts, without GREASE; without a list the older field."""
        for version, versions, text in (
            (0x0303, [0x0303, 0x0304], "13"), (0x0303, [0x0302, 0x0301], "11"), (0x0303, None, "12"),
            (0x0302, None, "11"), (0x0301, None, "10"), (0x0300, None, "s3"), (0x0002, None, "s2"),
            (0x0305, None, "00"), (0x0303, [], "00"), (0x0303, [0x7F1C], "00"),
        ):
            self.assertEqual(ja4(offer(version, versions=versions))[1:3], text, (version, versions))
        greased = message([0x1301], (43, b"\x04\xfa\xfa\x03\x03"))
        self.assertEqual(fingerprints(greased).ja4[1:3], "12")

    def test_counts(self) -> None:
        """Cipher suites and extensions are counted up to 99, SNI and ALPN among them."""
        self.assertEqual(ja4(offer())[3:8], "i0000")
        self.assertEqual(ja4(offer(suites=range(100, 107), extensions=[0, 16]))[3:8], "d0702")
        self.assertEqual(ja4(offer(suites=range(99), extensions=range(100)))[3:8], "d9999")
        self.assertEqual(ja4(offer(suites=range(1, 2000), extensions=range(1, 2000)))[3:8], "i9999")

    def test_protocols(self) -> None:
        """The first and the last character of the first protocol; of its hexadecimal form where one is odd."""
        for protocols, text in (
            ([], "00"), ([b"h2"], "h2"), ([b"http/1.1", b"h2"], "h1"), ([b"a"], "aa"), ([b"H3"], "H3"),
            ([b"\xab"], "ab"), ([b"\xab\xcd"], "ad"), ([b"\x30\xab"], "3b"), ([b"\x30\x31\xab\xcd"], "3d"),
            ([b"\x30\xab\xcd\x31"], "01"), ([b"h-"], "6d"), ([b" h2"], "22"),
        ):
            self.assertEqual(ja4(offer(protocols=protocols))[8:10], text, protocols)
        greased = message([0x1301], (16, long_list(b"\x02\x8a\x8a\x02\x0a\x0a\x02h2")))
        self.assertEqual(fingerprints(greased).ja4[8:10], "h2", "0x8a8a is GREASE's, too")

    def test_nothing(self) -> None:
        """Zeros stand for empty lists; SNI and ALPN alone leave the extensions empty."""
        self.assertEqual(ja4(offer()), "t12i000000_000000000000_000000000000")
        self.assertEqual(ja4(offer(extensions=[0, 16])), "t12d000200_000000000000_000000000000")

    def test_algorithms(self) -> None:
        """They count in their order, without GREASE; without any there is no underscore."""
        plain, other, none = (
            ja4(offer(extensions=[13], algorithms=algorithms)).rpartition("_")[2]
            for algorithms in ([0x0403, 0x0804], [0x0804, 0x0403], [])
        )
        self.assertEqual(plain, sha256(b"000d_0403,0804").hexdigest()[:12])
        self.assertEqual(other, sha256(b"000d_0804,0403").hexdigest()[:12])
        self.assertEqual(none, sha256(b"000d").hexdigest()[:12])
        greased = message([0x1301], (13, long_list(numbers([0xAAAA, 0x0403, 0x0804]))))
        self.assertEqual(fingerprints(greased).ja4.rpartition("_")[2], plain)


class ReadingTests(SynchronousTestCase):
    """What the fingerprints are made of."""

    def test_faults(self) -> None:
        """Lists that do not end where they must are refused."""
        for kind, body in (
            (10, b""), (10, b"\x00\x03\x00\x1d\x00"), (10, b"\x00\x04\x00\x1d"), (11, b""), (11, b"\x02\x00"),
            (13, b"\x00"), (13, b"\x00\x01\x04"), (16, b"\x00\x03\x05h2"), (16, b"\x00\x01\x00"), (43, b""),
            (43, b"\x03\x03\x04"), (43, b"\x03\x03\x04\x03"),
        ):
            self.assertRaises(BadClientHello, fingerprints, message([0x1301], (kind, body)))
        odd = bytearray(message([0x1301, 0x1302]))
        odd[39:41] = b"\x00\x03"
        self.assertRaises(BadClientHello, fingerprints, bytes(odd))

    def test_too_many(self) -> None:
        """Nobody offers thousands of anything; whoever does has no fingerprint."""
        fingerprints(message(range(MOST_NUMBERS)))
        thousands = long_list(bytes(4_000))
        for many in (
            message(range(MOST_NUMBERS + 1)), message([0x1301], *[(kind, b"") for kind in range(100, 1_200)]),
            message([0x1301], (10, thousands)), message([0x1301], (13, thousands)),
            message([0x1301], (16, long_list(b"\x01a" * 8_000))),
        ):
            self.assertRaises(BadClientHello, fingerprints, many)

    def test_remembered(self) -> None:
        """A client's fingerprints are its own, however many others have been there meanwhile."""
        once = {one.name: fingerprints(message_of(one.data)) for one in CAPTURED}
        for number in range(300):
            fingerprints(message([number]))
        for one in CAPTURED:
            self.assertEqual(fingerprints(message_of(one.data)), once[one.name])

    def test_without_extensions(self) -> None:
        """A hello as old as SSL 3.0 has fingerprints, too."""
        hello = parse_client_hello(handmade(None), 16_384)
        assert hello is not None
        self.assertEqual(fingerprints(hello.message).ja4, f"t12i010000_{sha256(b'1301').hexdigest()[:12]}_{'0' * 12}")

    @given(
        st.lists(st.one_of(st.sampled_from(GREASE), st.integers(0, 0xFFFF)), max_size=120),
        st.lists(st.one_of(st.sampled_from(GREASE), st.integers(100, 0xFFFF)), max_size=110),
        st.lists(st.one_of(st.sampled_from(GREASE), st.integers(0, 0xFFFF)), max_size=20),
        st.lists(st.one_of(st.sampled_from(GREASE), st.integers(0, 0xFFFF)), min_size=1, max_size=20),
        st.booleans(),
        st.lists(st.binary(min_size=1, max_size=9), max_size=3),
        st.randoms(),
    )
    def test_another_way(
        self, suites: list[int], kinds: list[int], groups: list[int], algorithms: list[int], named: bool,
        protocols: list[bytes], random: Random,
    ) -> None:
        """Whatever is offered, in whatever order, both are what the text of their rules gives, word for word."""
        bodies: list[tuple[int, bytes]] = [(kind, b"xy") for kind in kinds]
        bodies += [(10, long_list(numbers(groups))), (13, long_list(numbers(algorithms))), (11, b"\x01\x00")]
        if named:
            bodies.append((0, server_name(b"a.example")[4:]))
        if protocols:
            bodies.append((16, long_list(b"".join(bytes([len(one)]) + one for one in protocols))))
        random.shuffle(bodies)
        found = fingerprints(message(suites, *bodies))

        def kept(values: list[int]) -> list[int]:
            return [one for one in values if not (one >> 8 == one & 0xFF and one & 0x0F == 0x0A)]

        order = kept([kind for kind, _ in bodies])
        text = ",".join(["771", *("-".join(map(str, one)) for one in (kept(suites), order, kept(groups), [0]))])
        self.assertEqual(found.ja3, md5(text.encode(), usedforsecurity=False).hexdigest())
        first = next((one for one in protocols if not reserved(one)), None)
        a = f"t12{'d' if named else 'i'}{min(99, len(kept(suites))):02d}{min(99, len(order)):02d}{ends(first)}"
        b = ",".join(sorted(f"{one:04x}" for one in kept(suites)))
        c = ",".join(sorted(f"{one:04x}" for one in order if one not in (0, 16)))
        if kept(algorithms):
            c += "_" + ",".join(f"{one:04x}" for one in kept(algorithms))
        digest_b = sha256(b.encode()).hexdigest()[:12] if b else "000000000000"
        self.assertEqual(found.ja4, f"{a}_{digest_b}_{sha256(c.encode()).hexdigest()[:12]}")

    def test_offer(self) -> None:
        """What a client offers can be had as numbers."""
        found = read_offer(message_of(captured("chromium").data))
        self.assertEqual(found.cipher_suites, SUITES)
        self.assertEqual((found.versions, found.point_formats), ([0x0304, 0x0303], [0]))
        self.assertEqual((found.groups, found.protocols), ([0x11EC, 29, 23, 24], [b"h2", b"http/1.1"]))


def reserved(name: bytes) -> bool:
    """Whether a protocol is one of GREASE's."""
    return len(name) == 2 and name[0] == name[1] and name[0] & 0x0F == 0x0A


def ends(name: bytes | None) -> str:
    """Give the first and last character, by the rule's own words."""
    if name is None:
        return "00"
    first, last = chr(name[0]), chr(name[-1])
    if first.isascii() and first.isalnum() and last.isascii() and last.isalnum():
        return first + last
    return f"{name[0]:02x}"[0] + f"{name[-1]:02x}"[1]


def message_of(data: bytes) -> bytes:
    """Give the handshake message of what a client sent first."""
    hello = parse_client_hello(data, 16_384)
    assert hello is not None
    return hello.message
