"""Which responses are compressed, how, and what comes out of it."""
from __future__ import annotations

import zlib
from typing import Any

import brotli  # type: ignore[import-untyped]  # has no annotations
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from edgegw.filters.compressors import compressor
from edgegw.filters.content_coding import CompressionRules, accepted
from edgegw.filters.header_changes import field
from edgegw.model import Compression, Encoding

ALL = (Encoding.ZSTD, Encoding.BROTLI, Encoding.GZIP)
HTML = field(b"content-type", b"text/html; charset=utf-8")


def unpacked(encoding: Encoding, data: bytes) -> bytes:
    """Decompress a whole body."""
    if encoding is Encoding.GZIP:
        stream = zlib.decompressobj(31)
        out = stream.decompress(data)
        assert stream.eof and not stream.unused_data
        return out
    if encoding is Encoding.BROTLI:
        whole: bytes = brotli.decompress(data)
        return whole
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


class AcceptTests(SynchronousTestCase):
    """``Accept-Encoding``."""

    def test_choice(self) -> None:
        """The best of what the client takes; the gateway's order where it likes several as much."""
        for values, wanted in [
            ([], None),
            ([b""], None),
            ([b"gzip"], Encoding.GZIP),
            ([b"GZip, deflate, br"], Encoding.BROTLI),
            ([b"gzip, br, zstd"], Encoding.ZSTD),
            ([b"gzip;q=1.0, br;q=0.5"], Encoding.GZIP),
            ([b"gzip", b"zstd; q=0.9"], Encoding.GZIP),
            ([b"gzip;q=0"], None),
            ([b"*"], Encoding.ZSTD),
            ([b"zstd;q=0, *"], Encoding.BROTLI),
            ([b"*;q=0"], None),
            ([b"*;q=0, gzip;q=0.001"], Encoding.GZIP),
            ([b"identity"], None),
            ([b"identity, gzip;q=0.5"], None),
            ([b"identity;q=0.5, gzip;q=0.5"], Encoding.GZIP),
            ([b"identity;q=0.5, gzip;q=1"], Encoding.GZIP),
            ([b"identity;q=0"], None),
            ([b"deflate, x-gzip, compress"], None),
            ([b"gzip;q=nan, br;q=-1, zstd;level=3"], None),
            ([b"gzip;q=9"], None),
            ([b","  * 1000 + b"gzip"], None),
        ]:
            self.assertEqual(accepted(values, ALL), wanted, values)
        self.assertEqual(accepted([b"gzip, br"], (Encoding.GZIP, Encoding.BROTLI)), Encoding.GZIP)

    @given(st.lists(st.binary(max_size=40), max_size=4))
    def test_anything(self, values: list[bytes]) -> None:
        """Nothing that a client sends raises."""
        accepted(values, ALL)


class RuleTests(SynchronousTestCase):
    """Which responses could be compressed."""

    def could(self, *fields: Any, request: Any = (), status: int = 200, length: int = 5000, **more: Any) -> bool:
        return CompressionRules(Compression(**more)).could(list(request), status, list(fields), length)

    def test_types_and_lengths(self) -> None:
        """Listed types, from a length on, or of a length that nobody knows."""
        self.assertTrue(self.could(HTML))
        self.assertTrue(self.could(HTML, length=1024))
        self.assertTrue(self.could(HTML, length=-1))
        self.assertFalse(self.could(HTML, length=1023))
        self.assertFalse(self.could(HTML, length=0, min_length=0))
        self.assertFalse(self.could())
        self.assertFalse(self.could(field(b"content-type", b"image/png")))
        self.assertTrue(self.could(field(b"content-type", b"Image/PNG"), content_types=("image/png",)))

    def test_left_alone(self) -> None:
        """What is encoded, partial, without a body or not to be changed."""
        for status in (204, 205, 206, 301, 304):
            self.assertFalse(self.could(HTML, status=status))
        self.assertTrue(self.could(HTML, status=404))
        for name, value in [
            (b"content-encoding", b"gzip"), (b"content-encoding", b"identity"), (b"cache-control", b"a, No-Transform"),
            (b"content-range", b"x"), (b"content-digest", b"x"), (b"set-cookie", b"a=b"),
        ]:
            self.assertFalse(self.could(HTML, field(name, value)), name)
        for name in (b"range", b"cookie", b"authorization"):
            self.assertFalse(self.could(HTML, request=[field(name, b"x")]), name)
        self.assertFalse(self.could(HTML, request=[field(b"cache-control", b"no-transform")]))

    def test_with_credentials(self) -> None:
        """Only where that is asked for."""
        for name in (b"cookie", b"authorization"):
            self.assertTrue(self.could(HTML, request=[field(name, b"x")], with_credentials=True))
        self.assertTrue(self.could(HTML, field(b"set-cookie", b"a=b"), with_credentials=True))

    def test_headers(self) -> None:
        """Coding, Vary and a weak ETag; no ranges of bytes."""
        fields = [field(b"etag", b'"x"'), field(b"accept-ranges", b"bytes"), field(b"vary", b"origin")]
        self.assertEqual(
            [line for _, _, line in CompressionRules.fields(fields, Encoding.BROTLI)],
            [
                b'etag: W/"x"\r\n', b"vary: origin\r\n", b"content-encoding: br\r\n", b"vary: Accept-Encoding\r\n",
            ],
        )
        self.assertEqual(CompressionRules.fields(fields, None), [*fields, field(b"vary", b"Accept-Encoding")])
        for value in (b"*", b"a, accept-ENCODING"):
            self.assertEqual(CompressionRules.fields([field(b"vary", value)], None), [field(b"vary", value)])
        weak = field(b"etag", b'W/"x"')
        self.assertIn(weak, CompressionRules.fields([weak], Encoding.GZIP))


class CompressorTests(SynchronousTestCase):
    """What comes out."""

    @given(st.sampled_from(ALL), st.lists(st.binary(min_size=1, max_size=3000), max_size=6))
    def test_whole(self, encoding: Encoding, pieces: list[bytes]) -> None:
        """What went in."""
        stream = compressor(encoding)
        out = b"".join(stream.compress(piece) for piece in pieces) + stream.finish()
        self.assertEqual(unpacked(encoding, out), b"".join(pieces))

    def test_at_once(self) -> None:
        """Each piece can be read before the next one has come."""
        for encoding in ALL:
            stream = compressor(encoding)
            reader: Any = {
                Encoding.GZIP: lambda: zlib.decompressobj(31).decompress,
                Encoding.BROTLI: lambda: brotli.Decompressor().process,
                Encoding.ZSTD: lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
            }[encoding]()
            for number in range(5):
                piece = b"data: %d\n\n" % number
                self.assertEqual(reader(stream.compress(piece)), piece)
