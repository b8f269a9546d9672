"""ClientHellos of real programs: read as they are, cut off, cut into records, and damaged."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.client_hello import BadClientHello, ClientHello, parse_client_hello
from edgegw.wire.fingerprints import fingerprints, read_offer
from tests.client_hellos import CAPTURED, Captured, captured
from tests.test_client_hello import LIMIT, in_records

ECH = 0xFE0D
X25519MLKEM768 = 0x11EC
Damage = list[tuple[int, int]]

CASES = st.sampled_from(CAPTURED)


def read(data: bytes) -> ClientHello:
    """Read one that is complete."""
    hello = parse_client_hello(data, LIMIT)
    assert hello is not None
    return hello


def without_grease(versions: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out what RFC 8701 reserves."""
    return tuple(one for one in versions if one & 0x0F0F != 0x0A0A)


class CorpusTests(SynchronousTestCase):
    """What is read of them."""

    def test_facts(self) -> None:
        """Name, protocols, versions and fingerprints of each are those in the index."""
        self.assertGreater(len(CAPTURED), 20)
        for one in CAPTURED:
            hello = read(one.data)
            found = fingerprints(hello.message)
            self.assertEqual(
                (one.name, hello.server_name, hello.alpn, without_grease(hello.versions), found.ja3, found.ja4),
                (one.name, one.server_name, one.alpn, one.versions, one.ja3, one.ja4),
            )

    def test_truncated(self) -> None:
        """Before its last byte each is incomplete, and nothing else."""
        for one in CAPTURED:
            for cut in range(len(one.data)):
                self.assertIsNone(parse_client_hello(one.data[:cut], LIMIT), (one.name, cut))

    def test_truncated_messages(self) -> None:
        """A message whose length says that it ends earlier is refused, or was complete without its end."""
        for one in CAPTURED:
            body = read(one.data).message[4:]
            for cut in range(len(body)):
                message = b"\x01" + cut.to_bytes(3, "big") + body[:cut]
                for step in (lambda made=message: read(in_records(made, [])), lambda made=message: read_offer(made)):
                    try:
                        step()
                    except BadClientHello:
                        continue
                    # It ends before the extensions then, as those of SSL 3.0 did.
                    self.assertEqual(read_offer(message).extensions, [], (one.name, cut))

    def test_encrypted_hello(self) -> None:
        """The name beside an encrypted ClientHello, which Chromium always pretends to have, is the one that counts."""
        for name in ("chromium", "chromium-again"):
            hello = read(captured(name).data)
            self.assertIn(ECH, read_offer(hello.message).extensions)
            self.assertEqual(hello.server_name, "a.example")
            self.assertNotEqual(without_grease(hello.versions), hello.versions, "there is GREASE in it")

    def test_post_quantum(self) -> None:
        """Those with post-quantum key shares do not fit into a segment."""
        found = [one.name for one in CAPTURED if X25519MLKEM768 in read_offer(read(one.data).message).groups]
        self.assertEqual(found, ["chromium-again", "chromium", "pyopenssl"])
        for name in found:
            self.assertGreater(len(captured(name).data), 1460)

    def test_over_records(self) -> None:
        """One of OpenSSL's comes in five records."""
        data = captured("openssl-five-records").data
        at = records = 0
        while at < len(data):
            at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
            records += 1
        self.assertEqual((records, read(data).server_name), (5, "a.example"))

    @given(CASES, st.lists(st.integers(1, 900), min_size=1, max_size=12), st.data())
    def test_any_records(self, one: Captured, sizes: list[int], draw: st.DataObject) -> None:
        """However a hello is cut into records, it is the same, and incomplete before its end."""
        message = read(one.data).message
        split = in_records(message, sizes)
        self.assertEqual(read(split).message, message)
        self.assertIsNone(parse_client_hello(split[: draw.draw(st.integers(0, len(split) - 1))], LIMIT))


class DamageTests(SynchronousTestCase):
    """What becomes of damaged ones: a value, ``None`` or a refusal, and nothing else."""

    def look(self, data: bytes) -> None:
        """Do with bytes all that the gateway does."""
        try:
            hello = parse_client_hello(data, LIMIT)
            if hello is not None:
                fingerprints(hello.message)
        except BadClientHello:
            pass

    @given(CASES, st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), max_size=8))
    def test_bytes(self, one: Captured, damage: Damage) -> None:
        """Some bytes are others."""
        broken = bytearray(one.data)
        for at, value in damage:
            broken[at % len(broken)] = value
        self.look(bytes(broken))

    @given(CASES, st.integers(0, 2999), st.integers(0, 400), st.binary(max_size=40))
    def test_pieces(self, one: Captured, at: int, length: int, put: bytes) -> None:
        """A piece is missing, or another is in its place; the lengths of record and message are right again."""
        body = read(one.data).message[4:]
        at %= len(body)
        body = body[:at] + put + body[at + length :]
        self.look(in_records(b"\x01" + len(body).to_bytes(3, "big") + body, []))

    @given(CASES, CASES, st.integers(0, 2999), st.integers(0, 2999))
    def test_crossed(self, one: Captured, other: Captured, end: int, start: int) -> None:
        """It begins as one and ends as another."""
        self.look(one.data[: end % len(one.data)] + other.data[start % len(other.data) :])

    @given(st.binary(max_size=400))
    def test_fingerprints_of_anything(self, message: bytes) -> None:
        """So it is where the message was not read before."""
        try:
            fingerprints(message)
        except BadClientHello:
            pass
