"""HPACK against another implementation, in both directions, and against itself."""

from __future__ import annotations

from time import process_time

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.wire.http2.hpack_decoder import Decoder, HPACKFault
from edgegw.wire.http2.hpack_encoder import Encoder
from edgegw.wire.http2.huffman import HuffmanFault, decode_huffman, encode_huffman

NAMES = st.sampled_from([b":path", b"accept", b"x-a", b"x-b", b"cookie", b"date", b":status", b"set-cookie"])
VALUES = st.one_of(st.sampled_from([b"", b"1", b"200", b"a" * 300]), st.binary(max_size=40))
PAIRS = st.tuples(NAMES, VALUES)
LISTS = st.lists(st.lists(PAIRS, max_size=12), max_size=12)


def decoder(most: int = 1_000_000) -> Decoder:
    return Decoder(lambda name, value: 0, most)


def pairs(one: Decoder, block: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for (name, value, _), _, _ in one.decode(block)]


class HPACKTests(SynchronousTestCase):
    """Both halves of the compression."""

    @given(LISTS, st.lists(st.sampled_from([0, 40, 100, 4096]), max_size=4))
    def test_another_decodes(self, lists: list[list[tuple[bytes, bytes]]], sizes: list[int]) -> None:
        """What is encoded another implementation decodes, through changes of the table's size too."""
        encoder, other, own = Encoder(), hpack.Decoder(), decoder()
        for number, fields in enumerate(lists):
            if number < len(sizes):
                encoder.allow(sizes[number])
            block = encoder.encode(tuple(fields))
            self.assertEqual([tuple(field) for field in other.decode(block, raw=True)], fields)
            self.assertEqual(pairs(own, block), fields)

    @given(LISTS, st.booleans())
    def test_another_encodes(self, lists: list[list[tuple[bytes, bytes]]], huffman: bool) -> None:
        """What another implementation encodes is decoded."""
        encoder, own = hpack.Encoder(), decoder()
        for fields in lists:
            self.assertEqual(pairs(own, encoder.encode(fields, huffman=huffman)), fields)

    @settings(max_examples=500)
    @given(st.lists(st.binary(max_size=60), max_size=5))
    def test_anything(self, blocks: list[bytes]) -> None:
        """Any bytes are decoded or refused."""
        one = decoder(2000)
        for block in blocks:
            try:
                one.decode(block)
            except HPACKFault:
                return

    @given(st.binary(max_size=100))
    def test_huffman(self, text: bytes) -> None:
        """Every text comes back; its code is the other implementation's."""
        code = encode_huffman(text)
        self.assertEqual(decode_huffman(code), text)
        self.assertEqual(pairs(decoder(), hpack.Encoder().encode([(b"x", text)])), [(b"x", text)])

    @given(st.binary(max_size=60))
    def test_one_code_each(self, code: bytes) -> None:
        """No other bytes than its code decode to a text."""
        try:
            text = decode_huffman(code)
        except HuffmanFault:
            return
        self.assertEqual(encode_huffman(text), code)

    def test_never_indexed(self) -> None:
        """Identity and credentials are literals that nobody may keep, each time; other fields are kept."""
        encoder = Encoder()
        never = frozenset({b"client-cert", b"accept-encoding"})
        fields = (
            (b"client-cert", b":abc:"), (b"authorization", b"Basic x"), (b"cookie", b"a=b"), (b"x", b"y"),
            (b"accept-encoding", b"gzip, deflate"),
        )
        for _ in range(4):
            block = encoder.encode(fields, never)
        other = hpack.Decoder().decode(Encoder().encode(fields, never), raw=True)
        self.assertEqual([field.indexable for field in other], [False, False, False, True, False])
        self.assertIn(b"\x10\x0bclient-cert\x05:abc:", block)
        self.assertIn(b"\xbe", block)

    def test_what_repeats_is_indexed(self) -> None:
        """From its third time on a head takes a byte for each field; what is new each time evicts nothing."""
        encoder = Encoder()
        for number in range(500):
            block = encoder.encode([(b":status", b"200"), (b"server", b"edgegw"), (b"x-id", b"%d" % number)])
        self.assertEqual(block[:2], b"\x88\xbe")

    def test_bombs_take_no_time(self) -> None:
        """The worst block within the limits is decoded in a fraction of a second."""
        for block in (
            b"\x82" * 131_072, b"\x00\x00\x00" * 43_000, b"\x40\x00\x00" * 43_000, (b"\x20\x3f\xe1\x1f") * 30_000,
            b"\x00\x00\x7f\x80\xfc\x07" + b"\x00" * 131_000, b"\x00\x00\xff\x80\xfc\x07" + b"\x00" * 131_000,
        ):
            one = decoder(65_536)
            before = process_time()
            try:
                one.decode(block)
            except HPACKFault:
                pass
            self.assertLess(process_time() - before, 0.5)
