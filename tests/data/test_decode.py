import hashlib
import io
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitwell.data.decode import decode_image, read_image
from fitwell.data.file_format import MAX_PIXELS
from fitwell.data.finding import codes
from fitwell.errors import DataError

WHOLE_IMAGE = "a whole image of one of the formats JPEG, PNG, WEBP, BMP, TIFF, GIF, DICOM."


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, *chunks, depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def notes(content):
    return dict(read_image(content).notes)


def refused(source):
    with pytest.raises(DataError) as caught:
        read_image(source)
    assert caught.value.fix == codes()[caught.value.code].fix
    return caught.value


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
        (np.array([[-1, 7]], dtype=np.int32), "holds values from -1 to 7 in pixel type I.", "values from 0 to 65535."),
        (
            np.array([[0, 70000]], dtype=np.int32),
            "holds values from 0 to 70000 in pixel type I.",
            "values from 0 to 65535.",
        ),
        (np.array([[0, 300]], dtype=np.float32), "holds values from 0 to 300 in pixel type F.", "values from 0 to 1."),
        (
            np.array([[0, np.nan]], dtype=np.float32),
            "holds values from nan to nan in pixel type F.",
            "values from 0 to 1.",
        ),
    ],
)
def test_values_without_an_agreed_range_are_refused(values, found, expected):
    error = refused(encoded(Image.fromarray(values), "TIFF"))
    assert error.code == "DATA106"
    assert error.found.endswith(found)
    assert error.expected == expected


def test_the_value_that_16_bit_grey_calls_transparent_is_white():
    row = zlib.compress(b"\0" + struct.pack(">HH", 300, 600))
    content = png(2, 1, chunk(b"tRNS", struct.pack(">H", 300)), chunk(b"IDAT", row), depth=16, colour=0)
    assert np.asarray(decode_image(content))[0, :, 0].tolist() == [255, round(600 / 257)]
    assert notes(content) == {"DATA117": "", "DATA120": ""}


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
    ("content", "code", "found"),
    [
        (b"", "DATA101", "is empty."),
        (b"not an image", "DATA102", "begins like no image."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "DATA102", "begins like no image."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "DATA102", "begins like no image."),
        (b"%PDF-1.7\n", "DATA102", "begins like no image."),
        (encoded(NOISE, "JPEG")[:2000], "DATA103", "is a JPEG cut short (image file is truncated ("),
        (encoded(NOISE)[:6000], "DATA103", "is a PNG cut short (image file is truncated)."),
        (damaged_png(), "DATA104", "is a damaged PNG (broken data stream when reading image file)."),
        (b"GIF89a" + bytes(60) + b";", "DATA104", "is a damaged GIF (its header is not understood)."),
    ],
)
def test_what_is_no_whole_image_is_refused_with_its_reason(content, code, found, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    error = refused(path)
    assert error.code == code
    assert error.found.startswith(f"{path} {found}")
    assert error.expected == WHOLE_IMAGE


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("GIF", {}),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of Pillow, about a TIFF whose directory is cut
def test_a_file_cut_anywhere_is_said_to_be_cut_short_or_to_lack_its_end(kind, options):
    content = encoded(NOISE.crop((0, 0, 20, 20)), kind, **options)
    end = {"PNG": len(content) - 4, "GIF": len(content) - 1}.get(kind, len(content))  # what follows can be missed
    for size in range(12, end, 7):
        try:
            assert "DATA114" in notes(content[:size])
        except DataError as error:
            assert error.code == "DATA103"  # noqa: PT017 - some cuts are only a note
    assert notes(content).keys() <= {"DATA119"}


def test_a_png_without_its_end_is_used_and_noted():
    content = encoded(NOISE)[:-12]
    assert notes(content) == {"DATA114": ""}
    assert np.array_equal(np.asarray(decode_image(content)), np.asarray(NOISE))


def test_a_jpeg_whose_end_was_overwritten_is_used_and_noted():
    whole = encoded(NOISE, "JPEG")
    content = whole[:-2] + bytes(100)
    assert notes(content) == {"DATA114": ""}
    assert np.array_equal(np.asarray(decode_image(content)), np.asarray(decode_image(whole)))


@pytest.mark.parametrize("damage", ["header", "pixels"])
def test_a_changed_byte_is_damage_and_not_a_cut(damage):
    content = bytearray(encoded(NOISE, "GIF"))
    content[4 if damage == "header" else 789] = 0xFF
    error = refused(bytes(content))
    assert error.code == ("DATA102" if damage == "header" else "DATA104")


def test_bytes_are_named_by_their_number():
    assert refused(b"not an image").found == "an image of 12 bytes begins like no image."


@pytest.mark.parametrize("side", [7072, 10_000, 20_000])  # above our cap, above Pillow's warning, above its error
def test_a_picture_above_the_pixel_cap_is_refused_before_its_pixels_are_read(side):
    assert side * side > MAX_PIXELS
    error = refused(png(side, side, chunk(b"IDAT", zlib.compress(b""))))  # announces a size and holds no pixels
    assert error.code == "DATA105"
    assert "is too large: " in error.found
    assert error.expected == "at most 50,000,000 pixels."


def run_length_bmp(width, height, rows):
    """An 8-bit BMP with a grey palette and compression 1."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    palette = b"".join(bytes([grey] * 3 + [0]) for grey in range(256))
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


def test_a_run_length_bmp_is_decoded_up_to_a_lower_cap_because_that_is_slow():
    rows = b"\x02\x50\x01\xa0\x00\x00" + b"\x03\x07\x00\x01"  # bottom up: 80 80 160, then 7 7 7
    assert np.asarray(decode_image(run_length_bmp(3, 2, rows)))[..., 0].tolist() == [[7, 7, 7], [80, 80, 160]]
    error = refused(run_length_bmp(4_000_001, 1, rows))
    assert (error.code, error.expected) == ("DATA105", "at most 4,000,000 pixels.")
    assert error.found.endswith("is too large: 4000001 x 1 pixels.")


LARGEST_WEBP = bytes.fromhex("524946461a000000574542505650384c0e0000002ffebfff0f071011fd0f4444ff03")  # 16383 x 16383
BOMB_TEST = """
import resource, sys
from fitwell.data.decode import read_image
from fitwell.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_image(open(path, "rb").read())
    except DataError as error:
        print(error.code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_of_20000_by_20000_pixels_take_less_than_20_megabytes(tmp_path):
    squeeze = zlib.compressobj(1)
    rows = b"".join(squeeze.compress(bytes(2501)) for _ in range(20_000)) + squeeze.flush()  # one bit a pixel
    (tmp_path / "bomb.png").write_bytes(png(20_000, 20_000, chunk(b"IDAT", rows), depth=1, colour=0))
    frame = b"," + struct.pack("<HHHHB", 0, 0, 20_000, 20_000, 0) + b"\x02\x00;"
    (tmp_path / "frame.gif").write_bytes(b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + frame)
    (tmp_path / "bomb.webp").write_bytes(LARGEST_WEBP)
    names = ["bomb.png", "frame.gif", "bomb.webp"]
    command = [sys.executable, "-c", BOMB_TEST, *(str(tmp_path / name) for name in names)]
    *found, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert found == ["DATA105"] * 3
    assert int(megabytes) < 20


def test_a_missing_file_says_so(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    reasons = {"gone.png": "No such file or directory", "loop.png": "Too many levels of symbolic links"}
    for name, reason in {**reasons, "a\0b.png": "embedded null byte"}.items():
        error = refused(tmp_path / name)
        assert error.code == "DATA108"
        assert error.found == f"{tmp_path / name} cannot be opened ({reason})."
        assert error.expected == "a file that can be opened."


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_file_without_permission_says_so(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(NOISE))
    path.chmod(0)
    assert refused(path).code == "DATA109"


def test_a_name_that_the_system_refuses_is_no_missing_file(tmp_path):
    error = refused(tmp_path / ("x" * 300))
    assert error.code == "DATA109"
    assert error.found.endswith("cannot be opened (File name too long).")


def test_a_disk_that_fails_while_reading_is_not_blamed_on_the_bytes():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 200:
                raise OSError(5, "Input/output error")
            return super().read(size)

    class Disk(type(Path())):
        def stat(self):
            return Path(__file__).stat()

        def open(self, mode):
            return Failing(encoded(NOISE))

    error = refused(Disk("a.png"))
    assert error.code == "DATA109"
    assert error.found == "a.png cannot be read (Input/output error)."
    assert error.expected == "a file that can be read."


def test_a_pipe_a_socket_and_a_folder_are_refused_without_waiting(tmp_path):
    pipe, folder = tmp_path / "pipe.png", tmp_path / "folder.png"
    os.mkfifo(pipe)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.png"))
        for path in (pipe, folder, tmp_path / "s.png"):
            error = refused(path)
            assert error.code == "DATA107"
            assert error.found == f"{path} is not a regular file."
            assert error.expected == "a file that holds an image, no folder, pipe or device."


def test_running_out_of_memory_is_not_blamed_on_the_file():
    class Exhausted(type(Path())):
        def stat(self):
            raise MemoryError

    with pytest.raises(MemoryError):
        decode_image(Exhausted("a.png"))


def test_format_and_pixel_type_are_those_of_the_bytes(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.new("L", (2, 2)), "BMP"))
    decoded = read_image(path)
    assert (decoded.format, decoded.mode) == ("BMP", "L")
    assert dict(decoded.notes) == {"DATA115": "holds BMP"}


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a", "a.data"])
def test_a_name_that_does_not_lie_is_not_noted(name, tmp_path):
    (tmp_path / name).write_bytes(encoded(NOISE))
    assert read_image(tmp_path / name).notes == ()


TWO_FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "blue")]}
CLEAR = Image.new("RGBA", (4, 4), (255, 0, 0, 0))


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (encoded(NOISE), "RGB", {}),
        (encoded(Image.new("RGB", (4, 4), "red"), "WEBP", **TWO_FRAMES), "RGB", {"DATA116": ""}),
        (encoded(Image.new("RGB", (4, 4), "red"), "TIFF", **TWO_FRAMES), "RGB", {"DATA116": ""}),
        (encoded(Image.new("RGB", (4, 4), "red"), "PNG", **TWO_FRAMES), "RGB", {"DATA116": ""}),
        (encoded(Image.new("RGB", (4, 4), "red"), "MPO", **TWO_FRAMES), "RGB", {"DATA116": ""}),
        (encoded(Image.fromarray(np.zeros((2, 2), np.uint16))), "I;16", {"DATA117": ""}),
        (encoded(Image.new("CMYK", (4, 4)), "JPEG"), "CMYK", {"DATA118": ""}),
        (encoded(Image.new("P", (4, 4))), "P", {"DATA119": ""}),
        (encoded(CLEAR), "RGBA", {"DATA120": ""}),
        (encoded(Image.new("RGBA", (4, 4), "red")), "RGBA", {}),  # transparent nowhere
        (encoded(Image.new("P", (4, 4), 1), transparency=0), "P", {"DATA119": ""}),  # nowhere, too
    ],
)
def test_what_was_decided_for_the_user_is_noted(content, mode, expected):
    decoded = read_image(content)
    assert decoded.mode == mode
    assert dict(decoded.notes) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied_once_and_noted(kind, orientation):
    # Independent of Pillow: 2 mirrors, 3 turns by 180 degrees, 6 clockwise and 8 anticlockwise; 4, 5 and 7 combine.
    stored = np.kron(np.array([[0, 80, 160], [240, 200, 40]], np.uint8), np.ones((16, 16), np.uint8))
    upright = [
        stored,
        stored[:, ::-1],
        stored[::-1, ::-1],
        stored[::-1],
        stored.T,
        stored.T[:, ::-1],
        stored.T[::-1, ::-1],
        stored.T[::-1],
    ][orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = read_image(encoded(Image.fromarray(stored), kind, exif=exif))
    shown = np.asarray(decoded.image)[8::16, 8::16, 0].astype(int)
    assert np.abs(shown - upright[8::16, 8::16]).max() <= 3
    assert dict(decoded.notes) == ({} if orientation == 1 else {"DATA121": ""})


def test_dicom_is_known_by_its_bytes_whatever_the_name(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 1, 2, 1, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.PhotometricInterpretation, image.PixelData = "MONOCHROME2", bytes([0, 255])
    image.save_as(tmp_path / "a.png", enforce_file_format=True)
    decoded = read_image(tmp_path / "a.png")
    assert (decoded.format, pixel(decoded.image), pixel(decoded.image, 1)) == ("DICOM", (0, 0, 0), (255, 255, 255))
    assert dict(decoded.notes)["DATA115"] == "holds DICOM"


@pytest.mark.slow
def test_ten_minutes_of_damaged_bytes_bring_only_errors_with_codes(tmp_path):
    pytest.importorskip("atheris")
    script = Path(__file__).with_name("fuzz_decode.py")
    command = [sys.executable, str(script), "600"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert result.returncode == 0, result.stderr[-3000:]


def photograph(width, height):
    """Detail at every scale, as in a photograph: blocks of random colours, each four times as large as the last."""
    random, pixels = np.random.default_rng(0), np.zeros((height, width, 3))
    for side, strength in ((2, 12), (8, 20), (32, 30), (128, 40)):
        blocks = random.normal(0, strength, (-(-height // side), -(-width // side), 3))
        pixels += blocks.repeat(side, 0).repeat(side, 1)[:height, :width]
    return Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))


def psnr(image, reference):
    difference = np.asarray(image, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return 10 * np.log10(255**2 / np.mean(difference**2))


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [
        ((800, 640), None, (800, 640)),
        ((800, 640), 366, (800, 640)),  # a half would have 320, less than 1.75 x 183
        ((800, 640), 182, (400, 320)),
        ((800, 640), 91, (200, 160)),
        ((640, 800), 45, (80, 100)),
        ((800, 640), 1, (100, 80)),
        ((804, 644), 20, (201, 161)),  # an eighth would cut a pixel of the small picture
        ((801, 640), 20, (801, 640)),
        ((80, 60), 224, (80, 60)),
    ],
)
def test_a_large_jpeg_is_decoded_at_the_part_of_its_size_that_is_wanted(size, at_least, expected):
    assert decode_image(encoded(Image.new("RGB", size), "JPEG"), at_least).size == expected


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_other_formats_are_always_decoded_whole(kind):
    content = encoded(photograph(160, 160), kind)
    assert decode_image(content, 10).tobytes() == decode_image(content).tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_a_reduced_jpeg_is_the_same_picture_scaled_down(mode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photograph(640, 480).convert(mode), "JPEG", quality=90, exif=exif)
    whole, reduced = read_image(content), read_image(content, 120)
    assert (reduced.mode, reduced.notes) == (whole.mode, whole.notes)
    assert reduced.image.size == (whole.image.width // 2, whole.image.height // 2)
    side = (120, 120)
    assert psnr(reduced.image.resize(side, 3), whole.image.resize(side, 3)) > 40


@pytest.mark.parametrize("progressive", [True, False])
def test_a_reduced_jpeg_that_is_cut_short_is_still_refused(progressive):
    content = encoded(photograph(640, 480), "JPEG", progressive=progressive)
    with pytest.raises(DataError) as caught:
        decode_image(content[: len(content) // 2], 50)
    assert caught.value.code == "DATA103"


def test_bytes_are_refused_that_are_not_those_that_were_seen_before(tmp_path):
    path = tmp_path / "a.png"
    content = encoded(Image.new("RGB", (2, 2), (1, 2, 3)))
    path.write_bytes(content)
    assert pixel(decode_image(path, sha256=hashlib.sha256(content).hexdigest())) == (1, 2, 3)
    with pytest.raises(DataError) as caught:
        decode_image(path, sha256="0" * 64)
    assert caught.value.found == f"{path} was changed since the images were checked."
    assert caught.value.expected == "the bytes that the split was made with."
    assert caught.value.fix == "start the run anew: it checks and splits the images as they are now."
