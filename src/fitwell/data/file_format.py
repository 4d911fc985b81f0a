"""Which image format the bytes of a file are of, and whether the file goes on to its end.

Pillow tells neither a cut file from a damaged one nor a PNG without its end from a whole one. Imports nothing of ours.
"""

from __future__ import annotations

import os
import re
import struct
from typing import IO

SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "TIFF": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "GIF": rb"GIF8[79]a",
}
MAX_PIXELS = 50_000_000  # of any format, 150 MB as RGB; a 2.5 kB PNG can ask for 100 megapixels
FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
}
JPEG_END = b"\xff\xd9"
JPEG_SCAN = 0xDA  # the marker before the pixels
TIFF_VALUE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)  # of field types 0 to 12
CHUNK_BYTES = 1 << 16


def format_of(head: bytes) -> str | None:
    """Return the format that the first 12 bytes announce, or None."""
    matches = (name for name, signature in SIGNATURES.items() if re.match(signature, head, re.DOTALL))
    return next(matches, None)


def has_end(format_name: str, file: IO[bytes]) -> bool:
    """Say whether a file of that format goes on to where it says it ends; moves the file's position.

    For a BMP, WebP or TIFF that is the size or the places in its header; else a mark.
    """
    if format_name == "PNG":
        return _png_has_end(file)
    if format_name == "JPEG":
        return _jpeg_has_end(file)
    size = file.seek(0, os.SEEK_END)
    if format_name == "GIF":
        file.seek(size - 1)
        return file.read(1) == b";"
    file.seek(0)
    if format_name == "TIFF":
        return _tiff_end(file) <= size
    head = file.read(8)
    announced = (
        8 + int.from_bytes(head[4:8], "little") if format_name == "WEBP" else int.from_bytes(head[2:6], "little")
    )
    return announced <= size


def _png_has_end(file: IO[bytes]) -> bool:
    """Walk from chunk to chunk: length, name, body, checksum."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        if head[4:] == b"IEND":
            return True
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def _jpeg_has_end(file: IO[bytes]) -> bool:
    """Look for the end behind the start of the pixels: a preview inside the header has an end of its own."""
    file.seek(2)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != JPEG_SCAN:
        is_fill = head[1] == 0xFF  # any number of these may stand before a marker
        file.seek(-3 if is_fill else int.from_bytes(head[2:], "big") - 2, os.SEEK_CUR)
    start = file.tell()
    if file.seek(0, os.SEEK_END) >= start + 2:
        file.seek(-2, os.SEEK_CUR)
        if file.read(2) == JPEG_END:
            return True
    file.seek(start)
    last = b""
    while chunk := file.read(CHUNK_BYTES):
        if JPEG_END in last + chunk:
            return True
        last = chunk[-1:]
    return False


def _tiff_end(file: IO[bytes]) -> int:
    """Return the smallest size that holds the first directory and what it points to; strips are not followed."""
    head = file.read(8)
    order = "<" if head.startswith(b"I") else ">"
    if len(head) < 8 or struct.unpack(order + "H", head[2:4]) != (42,):
        return len(head)  # a BigTIFF, which Pillow checks by itself
    (start,) = struct.unpack(order + "I", head[4:])
    file.seek(start)
    count = struct.unpack(order + "H", file.read(2).ljust(2, b"\0"))[0]
    entries = file.read(12 * count)
    end = start + 2 + 12 * count + 4
    for _, kind, length, place in struct.iter_unpack(order + "HHII", entries[: len(entries) // 12 * 12]):
        num_bytes = length * (TIFF_VALUE_BYTES[kind] if kind < len(TIFF_VALUE_BYTES) else 0)
        if num_bytes > 4:  # a shorter value stands in its place
            end = max(end, place + num_bytes)
    return int(end)
