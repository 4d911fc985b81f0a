import io
import struct

import pytest
from PIL import Image

from fitwell.data.file_format import SIGNATURES, format_of, has_end

KINDS = tuple(SIGNATURES)


def encoded(kind, **options):
    file = io.BytesIO()
    Image.effect_noise((16, 16), 50).save(file, kind, **options)
    return file.getvalue()


def ends(kind, content):
    return has_end(kind, io.BytesIO(content))


@pytest.mark.parametrize("kind", KINDS)
def test_each_format_is_known_by_its_first_12_bytes(kind):
    assert format_of(encoded(kind)[:12]) == kind


@pytest.mark.parametrize("head", [b"", b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"II*", b"GIF88a", b"%PDF-1.7", b"\0" * 12])
def test_other_bytes_are_of_no_format(head):
    assert format_of(head) is None


@pytest.mark.parametrize("head", [b"II+\0", b"MM\0+", b"MM\0*"])
def test_every_kind_of_tiff_is_known(head):
    assert format_of(head + bytes(8)) == "TIFF"


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_has_its_end_and_half_of_it_has_not(kind):
    content = encoded(kind)
    assert ends(kind, content)
    if kind != "TIFF":  # whose directory stands first; its pixels are Pillow's to count
        assert not ends(kind, content[: len(content) // 2])
    assert not ends(kind, content[:20])


def test_bytes_behind_the_end_do_no_harm_where_the_end_is_a_mark():
    for kind in ("PNG", "JPEG"):
        assert ends(kind, encoded(kind) + bytes(100_000))


def test_the_end_of_a_preview_is_not_the_end_of_the_jpeg():
    content = encoded("JPEG")
    preview = b"\xff\xe1" + struct.pack(">H", 2 + len(content)) + content
    assert ends("JPEG", content[:2] + preview + content[2:])
    assert not ends("JPEG", content[:2] + preview + content[2:-2])


def test_fill_bytes_before_a_marker_are_passed_over():
    content = encoded("JPEG")
    assert ends("JPEG", content[:2] + b"\xff\xff\xff" + content[2:])


def test_an_end_across_two_reads_is_seen():
    head = b"\xff\xd8\xff\xda"
    assert ends("JPEG", head + bytes((1 << 16) + 1) + b"\xff\xd9")


def test_a_tiff_goes_on_as_far_as_its_directory_points():
    # One entry: tag 273, type 4 (4 bytes each), 3 values at byte 100.
    content = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 273, 4, 3, 100, 0)
    assert not ends("TIFF", content.ljust(111, b"\0"))
    assert ends("TIFF", content.ljust(112, b"\0"))
    assert not ends("TIFF", b"MM\0*" + struct.pack(">IH", 8, 2) + bytes(20))  # two entries need 24 bytes, and a link
    assert ends("TIFF", b"II+\0" + bytes(8))  # a BigTIFF is not followed
