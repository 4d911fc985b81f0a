import io
import os
import socket
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fitwell.data.decode import MAX_PIXELS, decode_image
from fitwell.errors import DataError


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def empty_png(width, height):
    """A PNG that announces a size and holds no pixels: a bomb without its load."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pixel(image, x=0, y=0):
    assert image.mode == "RGB"
    return image.getpixel((x, y))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_each_allowed_format_gives_its_colour(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    image = decode_image(encoded(Image.new("RGB", (8, 8), (255, 0, 0)), kind, **options))
    assert image.size == (8, 8)
    assert np.abs(np.subtract(pixel(image, 4, 4), (255, 0, 0))).max() <= 2


def test_a_path_and_its_bytes_give_the_same_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    expected = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(np.asarray(decode_image(path)), expected)
    assert np.array_equal(np.asarray(decode_image(path.read_bytes())), expected)


def test_the_content_decides_the_format_and_not_the_name(tmp_path):
    path = tmp_path / "really-a-bmp.jpg"
    path.write_bytes(encoded(Image.new("RGB", (2, 2), (1, 2, 3)), "BMP"))
    assert pixel(decode_image(path)) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_6_is_turned_upright(kind):
    # Orientation 6: the stored picture must be turned 90 degrees clockwise, so its left column becomes the top row.
    stored = Image.new("RGB", (64, 32), "white")
    stored.paste((0, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encoded(stored, kind, exif=exif))
    assert image.size == (32, 64)
    assert max(pixel(image, 16, 8)) < 20
    assert min(pixel(image, 16, 56)) > 235


def test_alpha_lies_over_white():
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 51))  # a fifth of black over white: 255 * 4 / 5 = 204
    decoded = decode_image(encoded(image))
    assert [pixel(decoded, x) for x in range(3)] == [(255, 0, 0), (255, 255, 255), (204, 204, 204)]


def test_grey_with_alpha_lies_over_white():
    assert pixel(decode_image(encoded(Image.new("LA", (1, 1), (0, 0))))) == (255, 255, 255)


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image, transparency=0))
    assert [pixel(decoded, x) for x in range(2)] == [(255, 255, 255), (200, 100, 50)]


def test_a_palette_without_transparency_gives_its_colours():
    image = Image.new("P", (1, 1))
    image.putpalette([10, 20, 30])
    assert pixel(decode_image(encoded(image))) == (10, 20, 30)


def test_one_bit_pictures_become_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image))
    assert [pixel(decoded, x) for x in range(2)] == [(0, 0, 0), (255, 255, 255)]


def test_cmyk_becomes_rgb():
    assert pixel(decode_image(encoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"))) == (255, 0, 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_rescaled_and_not_clipped(kind):
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(ramp), kind)))
    assert np.array_equal(decoded[..., 0].ravel(), np.arange(256))
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_32_bit_integers_within_16_bits_are_rescaled():
    values = np.array([[0, 32896, 65535]], dtype=np.int32)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), "TIFF")))
    assert decoded[0, :, 0].tolist() == [0, 128, 255]


def test_floats_between_0_and_1_are_rescaled():
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), "TIFF")))
    assert decoded[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        (np.array([[-1, 7]], dtype=np.int32), "holds values from -1 to 7 in pixel type I", "from 0 to 65535"),
        (np.array([[0, 70000]], dtype=np.int32), "holds values from 0 to 70000 in pixel type I", "from 0 to 65535"),
        (np.array([[0, 300]], dtype=np.float32), "holds values from 0 to 300 in pixel type F", "from 0 to 1"),
        (np.array([[0, np.nan]], dtype=np.float32), "holds values from nan to nan in pixel type F", "from 0 to 1"),
    ],
)
def test_values_without_an_agreed_range_are_refused(values, found, expected):
    with pytest.raises(DataError) as caught:
        decode_image(encoded(Image.fromarray(values), "TIFF"))
    assert found in caught.value.found
    assert expected in caught.value.expected
    assert caught.value.fix == "convert it to 8 or 16 bits with one scale for the whole dataset."


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(decode_image(content)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 20000)])
def test_narrow_pictures_are_decoded(size):
    assert decode_image(encoded(Image.new("RGB", size))).size == size


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def damaged_png():
    content = bytearray(encoded(NOISE))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify image file"),
        (b"not an image", "cannot identify image file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "cannot identify image file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot identify image file"),
        (encoded(NOISE, "JPEG")[:2000], "truncated"),
        (encoded(NOISE)[:6000], "truncated"),
        (damaged_png(), "broken data stream"),
    ],
)
def test_what_is_no_whole_image_is_refused(content, reason, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode_image(path)
    assert caught.value.found.startswith(f"{path} cannot be read as an image (")
    assert reason in caught.value.found
    assert caught.value.expected == "an undamaged file of one of the formats JPEG, PNG, WEBP, BMP, TIFF, GIF."
    assert caught.value.fix == "replace the file, convert it to PNG or JPEG, or take it out of the dataset."


def test_bytes_are_named_by_their_number():
    with pytest.raises(DataError, match="an image of 12 bytes cannot be read"):
        decode_image(b"not an image")


@pytest.mark.parametrize("side", [7072, 10_000, 20_000])  # above our cap, above Pillow's warning, above its error
def test_a_picture_above_the_pixel_cap_is_refused_before_its_pixels_are_read(side):
    assert side * side > MAX_PIXELS
    with pytest.raises(DataError) as caught:
        decode_image(empty_png(side, side))
    assert "is too large: " in caught.value.found
    assert caught.value.expected == "at most 50,000,000 pixels."
    assert caught.value.fix == "make it smaller, or take it out of the dataset."


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png cannot be read as an image \(No such file or directory\)"):
        decode_image(tmp_path / "gone.png")


def test_a_pipe_a_socket_and_a_folder_are_refused_without_waiting(tmp_path):
    pipe, folder = tmp_path / "pipe.png", tmp_path / "folder.png"
    os.mkfifo(pipe)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.png"))
        for path in (pipe, folder, tmp_path / "s.png"):
            with pytest.raises(DataError) as caught:
                decode_image(path)
            assert caught.value.found == f"{path} is not a regular file."
            assert caught.value.expected == "a file that holds an image, no folder, pipe or device."
            assert caught.value.fix == "take it out of the dataset."


def test_running_out_of_memory_is_not_blamed_on_the_file():

    class Exhausted:
        def stat(self):
            raise MemoryError

    with pytest.raises(MemoryError):
        decode_image(Exhausted())
