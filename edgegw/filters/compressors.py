"""Compressors of bodies that come piece by piece: what was put in comes out at once, in bounded memory."""
from __future__ import annotations

import zlib
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped]  # has no annotations
import zstandard

from edgegw.model import Encoding

__all__ = ["Compressor", "compressor"]

#: Levels at which 64 KiB take about a millisecond or two, and windows that bound what a stream holds.
_GZIP_LEVEL = 4
_BROTLI_QUALITY = 4
_BROTLI_WINDOW = 18
_ZSTD = zstandard.ZstdCompressionParameters.from_level(1, window_log=18)
#: zlib's sign for a gzip header around a window of 32 KiB.
_GZIP_WINDOW = 31


class Compressor(Protocol):
    """One body."""

    def compress(self, data: bytes) -> bytes:
        """Give what a client needs to have all of ``data``, which is not empty."""

    def finish(self) -> bytes:
        """Give the end."""


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def compress(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Brotli:
    def __init__(self) -> None:
        self._stream: Any = brotli.Compressor(quality=_BROTLI_QUALITY, lgwin=_BROTLI_WINDOW)

    def compress(self, data: bytes) -> bytes:
        piece: bytes = self._stream.process(data) + self._stream.flush()
        return piece

    def finish(self) -> bytes:
        end: bytes = self._stream.finish()
        return end


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(compression_params=_ZSTD).compressobj()

    def compress(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


_MAKERS: dict[Encoding, type[_Gzip] | type[_Brotli] | type[_Zstd]] = {
    Encoding.GZIP: _Gzip,
    Encoding.BROTLI: _Brotli,
    Encoding.ZSTD: _Zstd,
}


def compressor(encoding: Encoding) -> Compressor:
    """Give a compressor for one body."""
    return _MAKERS[encoding]()
