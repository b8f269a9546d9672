"""The chunked transfer coding: what it holds, in whatever pieces, and nothing beside the grammar."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.chunked import LAST_CHUNK, MAX_TRAILER_BYTES, ChunkedDecoder, encode_chunk, encode_trailers
from edgegw.wire.http1 import HTTPFault

from .hostile_requests import BROKEN_BODIES


def decode(pieces: list[bytes]) -> tuple[bytes, ChunkedDecoder]:
    """Give the payload of pieces that come one after the other, and the decoder; stops when it is done."""
    decoder = ChunkedDecoder()
    payload = b""
    for number, piece in enumerate(pieces):
        payload += decoder.feed(piece)
        if decoder.done:
            decoder.rest += b"".join(pieces[number + 1 :])
            break
    return payload, decoder


def outcome(pieces: list[bytes]) -> Any:
    """Give everything that pieces mean, or ``None`` for a fault."""
    try:
        payload, decoder = decode(pieces)
    except HTTPFault:
        return None
    return payload, decoder.done, decoder.trailers, decoder.rest if decoder.done else b""


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


EXTENSION = st.sampled_from([b"", b";a", b" ; a = b", b';a="q\\"x";b', b";a=" + b"b" * 80])
CHUNKS = st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSION, st.booleans()), max_size=6)
TRAILERS = st.lists(st.sampled_from([b"x-a: 1\r\n", b"x-b:\r\n", b"X-C: \xe9 \r\n"]), max_size=3)


@st.composite
def bodies(draw: Any) -> tuple[bytes, bytes, bytes]:
    """A body in the chunked coding, its payload, and what comes behind it."""
    wire = b""
    payload = b""
    for data, extension, upper in draw(CHUNKS):
        size = b"%x" % len(data)
        wire += (size.upper() if upper else b"00" + size) + extension + b"\r\n" + data + b"\r\n"
        payload += data
    rest = draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n", b"0\r\n\r\n"]))
    return wire + b"0" + draw(EXTENSION) + b"\r\n" + b"".join(draw(TRAILERS)) + b"\r\n" + rest, payload, rest


class ChunkedTests(SynchronousTestCase):
    """Decoding and encoding."""

    @given(bodies(), st.integers(1, 50))
    @settings(max_examples=200, deadline=None)
    def test_pieces(self, body: tuple[bytes, bytes, bytes], size: int) -> None:
        """The payload, and what comes behind, are the same however the bytes are cut up."""
        wire, payload, rest = body
        for pieces in ([wire], cut(wire, size), cut(wire, 1)):
            got, decoder = decode(pieces)
            self.assertEqual((got, decoder.done, decoder.rest), (payload, True, rest))

    def test_trailers(self) -> None:
        """Trailers come out as header lines do."""
        _, decoder = decode([b"0\r\nX-A:  1 \r\nx-b:\r\n\r\n"])
        self.assertEqual(decoder.trailers, [(b"x-a", b"1", b"X-A:  1 \r\n"), (b"x-b", b"", b"x-b:\r\n")])

    def test_refused(self) -> None:
        """Whatever is beside the grammar is refused, in one piece or byte by byte."""
        for name, data in BROKEN_BODIES.items():
            for size in (len(data), 5, 1):
                self.assertIsNone(outcome(cut(data, size)), (name, size))

    def test_limits(self) -> None:
        """A size line of 256 bytes and trailers of 16 KiB are the most, however they come."""
        for filler, taken in [(256 - 6, True), (256 - 5, False)]:
            line = b"2;a=" + b"b" * filler + b"\r\nhi\r\n" + LAST_CHUNK
            for size in (len(line), 100, 1):
                self.assertIs(outcome(cut(line, size)) is not None, taken, (filler, size))
        for length, taken in [(MAX_TRAILER_BYTES, True), (MAX_TRAILER_BYTES + 1, False)]:
            wire = b"0\r\nx:" + b"v" * (length - 6) + b"\r\n\r\n"
            for size in (len(wire), 1000, 7):
                self.assertIs(outcome(cut(wire, size)) is not None, taken, (length, size))

    @given(st.one_of(st.binary(max_size=120), bodies().map(lambda body: body[0])), st.data())
    @settings(max_examples=400, deadline=None)
    def test_mutated(self, wire: bytes, data: st.DataObject) -> None:
        """Bytes that were tampered with are understood or refused alike in one piece and in many."""
        raw = bytearray(wire)
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(raw)))
            raw[at : at + data.draw(st.integers(0, 2))] = data.draw(
                st.sampled_from([b"\r", b"\n", b"\r\n", b"0", b";", b"f", b"\x00", b'"'])
            )
        whole, single = outcome([bytes(raw)]), outcome(cut(bytes(raw), 1))
        # What is not complete may show its fault only when more of it has come.
        self.assertTrue(whole == single or whole is None or single is None)
        if whole is not None and whole[1]:
            self.assertEqual(whole, single)

    @given(st.lists(st.binary(min_size=1, max_size=50), max_size=5))
    @settings(max_examples=100, deadline=None)
    def test_round_trip(self, chunks: list[bytes]) -> None:
        """What is encoded comes out again."""
        trailers = [(b"x-a", b"1", b"X-A: 1\r\n")]
        for end in (LAST_CHUNK, encode_trailers(trailers)):
            payload, decoder = decode([b"".join(map(encode_chunk, chunks)) + end])
            self.assertEqual((payload, decoder.done), (b"".join(chunks), True))
        self.assertEqual(decoder.trailers, trailers)

    def test_after_the_end(self) -> None:
        """Nothing is taken once a body is complete."""
        _, decoder = decode([LAST_CHUNK])
        with self.assertRaises(HTTPFault):
            decoder.feed(b"0\r\n\r\n")

    def test_holds_little(self) -> None:
        """Of what has come no more is kept than an unfinished line."""
        decoder = ChunkedDecoder()
        decoder.feed(b"fffffff\r\n" + b"a" * 1_000_000)
        self.assertLess(len(decoder._held), 256)
