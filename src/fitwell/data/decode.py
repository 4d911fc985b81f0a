"""The one way in which a file becomes pixels.

Training, evaluation, checking and serving all call this file, so a picture looks the same to each of them.
Everybody above `errors` may import it; it needs Pillow and numpy only, and pydicom for DICOM.

Rules: the bytes decide the format, not the name. EXIF orientation is applied. The first frame of an animation
counts. Transparency lies over white. 16-bit grey (and 32-bit integers that fit into 16 bits) is divided by 257;
floating point in [0, 1] is multiplied by 255. Whatever has no agreed range is refused, never stretched by guess.
A JPEG that will be scaled down a lot anyway may be decoded at a half, a quarter or an eighth of its size.
"""

from __future__ import annotations

import errno
import hashlib
import io
import stat
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fitwell.data.dicom import HEAD_BYTES, is_dicom, read_dicom
from fitwell.data.file_format import FORMAT_OF_SUFFIX, MAX_PIXELS, SIGNATURES, format_of, has_end
from fitwell.data.finding import codes
from fitwell.errors import DataError

ALLOWED_FORMATS = tuple(SIGNATURES)
WHOLE_IMAGE = f"a whole image of one of the formats {', '.join(ALLOWED_FORMATS)}, DICOM."
MAX_RUN_LENGTH_PIXELS = 4_000_000  # of a BMP that Pillow decodes in Python: 181 bytes that ask for more took 8 s
DECODE_VERSION = 1  # raised when the same bytes become other pixels, so that no cache holds pixels of the old rules
REDUCED_SPARE = 1.75  # times each side wanted is kept of a reduced JPEG: the picture stays within 43 dB; 1.46: 40
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Note = tuple[str, str]  # (code, detail)


@dataclass(frozen=True)
class Decoded:
    """A picture and what was noticed while it was read.

    Attributes:
        image: upright RGB.
        format: what the bytes are, such as "PNG" or "DICOM".
        mode: Pillow's name of the stored pixel type, such as "RGBA".
        notes: codes of findings that do not keep the picture from being used, each with a detail or "".
    """

    image: Image.Image
    format: str
    mode: str
    notes: tuple[Note, ...]


def decode_image(source: Path | bytes, at_least: int | None = None, *, sha256: str | None = None) -> Image.Image:
    """Return the picture in a file, or in the bytes of one, as upright 8-bit RGB; raises as `read_image`."""
    return read_image(source, at_least, sha256=sha256).image


def read_image(source: Path | bytes, at_least: int | None = None, *, sha256: str | None = None) -> Decoded:
    """Return the picture in a file, or in the bytes of one, and what there is to know about the file.

    Args:
        at_least: pixels that the shorter side will be scaled down to. A JPEG far larger is decoded at a half,
            a quarter or an eighth of its size that still has `REDUCED_SPARE` times as many; None decodes all of it.
        sha256: of the bytes, when they must be those that were seen before.

    Raises:
        DataError: with the code of the reason: DATA101 empty, 102 of no allowed format, 103 cut short, 104 damaged,
            105 above `MAX_PIXELS`, 106 of a pixel type without an agreed range, 107 no regular file, 108 missing,
            109 not to be opened. Without a code when the bytes do not have the `sha256`.
        UsageError: for DICOM, when the extra `dicom` is not installed.
    """
    name = f"an image of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        with _open(source) as file:
            content = file if sha256 is None else _require_unchanged(file, sha256)
            return _read(content, "" if isinstance(source, bytes) else source.suffix.lower(), at_least)
    except DataError as error:
        raise DataError(
            found=f"{name} {error.found}", expected=error.expected, fix=error.fix, code=error.code
        ) from error.__cause__


def _open(source: Path | bytes) -> AbstractContextManager[IO[bytes]]:
    if isinstance(source, bytes):
        return nullcontext(io.BytesIO(source))
    try:
        if stat.S_ISREG(source.stat().st_mode):
            return source.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a path with NUL
        is_absent = isinstance(error, ValueError) or error.errno in ABSENT
        code = "DATA108" if is_absent else "DATA109"
        raise _fault(code, f"cannot be opened ({_one_line(error)}).", "a file that can be opened.") from error
    # Opening a pipe would wait for its writer for ever.
    raise _fault("DATA107", "is not a regular file.", "a file that holds an image, no folder, pipe or device.")


def _require_unchanged(file: IO[bytes], sha256: str) -> IO[bytes]:
    """Return the bytes of the file, read once: those that are compared are those that are decoded."""
    content = file.read()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(
            found="was changed since the images were checked.",
            expected="the bytes that the split was made with.",
            fix="start the run anew: it checks and splits the images as they are now.",
        )
    return io.BytesIO(content)


def _read(file: IO[bytes], suffix: str, at_least: int | None) -> Decoded:
    head = file.read(HEAD_BYTES)
    if not head:
        raise _fault("DATA101", "is empty.")
    file.seek(0)
    if is_dicom(head):
        image, mode, notes = read_dicom(file)
        return Decoded(image, "DICOM", mode, (*notes, *_note_suffix("DICOM", suffix)))
    kind = format_of(head)
    if kind is None:
        raise _fault("DATA102", "begins like no image.")
    try:
        image, mode, notes = _read_pixels(file, kind, at_least)
    except (DataError, MemoryError):  # running out of memory says nothing about the file
        raise
    except Exception as error:  # on damaged bytes the decoders raise OSError, SyntaxError, ValueError, struct.error...
        raise _broken(file, kind, error) from error
    if kind in ("PNG", "JPEG") and not has_end(kind, file):
        notes = (*notes, ("DATA114", ""))
    return Decoded(image, kind, mode, (*notes, *_note_suffix(kind, suffix)))


def _read_pixels(file: IO[bytes], kind: str, at_least: int | None) -> tuple[Image.Image, str, tuple[Note, ...]]:
    try:
        opened = Image.open(file, formats=(kind,))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(_one_line(error), MAX_PIXELS) from error
    limit = MAX_RUN_LENGTH_PIXELS if any(tile.codec_name == "bmp_rle" for tile in opened.tile) else MAX_PIXELS
    if opened.width * opened.height > limit:
        raise _too_large(f"{opened.width} x {opened.height} pixels", limit)
    image: Image.Image = opened
    mode = image.mode
    rules = {  # seen before loading, which changes the mode of a GIF and turns a TIFF
        "DATA116": getattr(image, "is_animated", False),
        "DATA117": mode.startswith("I"),
        "DATA118": mode == "CMYK",
        "DATA119": mode.startswith("P"),
        "DATA121": image.getexif().get(ExifTags.Base.Orientation) in range(2, 9),
    }
    if at_least is not None:
        image.draft(None, _reduced_size(image.size, REDUCED_SPARE * at_least))  # only a JPEG does what it asks
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image, rules["DATA120"] = _to_rgb(image)
    return image, mode, tuple((code, "") for code, holds in rules.items() if holds)


def _reduced_size(size: tuple[int, int], shorter: float) -> tuple[int, int]:
    """Return the smallest of the size, its half, quarter and eighth whose shorter side is at least `shorter`.

    Only what divides both sides: a part of a pixel at the border would move the whole picture (26 dB of 43).
    """
    divisors = (divisor for divisor in (8, 4, 2) if not (size[0] % divisor or size[1] % divisor))
    divisor = next((divisor for divisor in divisors if min(size) >= shorter * divisor), 1)
    return size[0] // divisor, size[1] // divisor


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return the image as RGB, and whether some of it was transparent."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _wide_grey_to_rgb(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB"), False  # to convert RGB to RGB is a copy
    layers = image.convert("RGBA")
    if layers.getchannel("A").getextrema() == (255, 255):
        return layers.convert("RGB"), False
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB"), True


def _wide_grey_to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Rescale; Pillow's own conversion clips, so that 99.6 % of a 16-bit ramp would become white."""
    values: np.ndarray[Any, Any] = np.asarray(image, dtype=np.float32)  # (H, W); holds 16 bits exactly
    low, high = values.min(), values.max()
    top = 1.0 if image.mode == "F" else 65535.0
    if not (low >= 0 and high <= top):  # written so that NaN fails too
        found = f"holds values from {low:g} to {high:g} in pixel type {image.mode}."
        raise _fault("DATA106", found, f"values from 0 to {top:g}.")
    grey = np.rint(values * np.float32(255.0 / top)).astype(np.uint8)
    clear = values == image.info.get("transparency", -1)  # the one value that a PNG may call transparent
    grey[clear] = 255
    return Image.fromarray(grey).convert("RGB"), bool(clear.any())


def _note_suffix(kind: str, suffix: str) -> tuple[Note, ...]:
    return (("DATA115", f"holds {kind}"),) if FORMAT_OF_SUFFIX.get(suffix, kind) != kind else ()


def _broken(file: IO[bytes], kind: str, error: Exception) -> DataError:
    """Return why a file that begins as `kind` does not decode."""
    reason = _one_line(error)
    if isinstance(error, OSError) and error.errno:  # Pillow's own have no number
        return _fault("DATA109", f"cannot be read ({reason}).", "a file that can be read.")
    if not has_end(kind, file) or (kind == "TIFF" and "truncated" in reason):
        return _fault("DATA103", f"is a {kind} cut short ({reason}).")
    return _fault("DATA104", f"is a damaged {kind} ({reason}).")


def _too_large(size: str, limit: int) -> DataError:
    return _fault("DATA105", f"is too large: {size}.", f"at most {limit:,} pixels.")


def _fault(code: str, found: str, expected: str = WHOLE_IMAGE) -> DataError:
    return DataError(found=found, expected=expected, fix=codes()[code].fix, code=code)


def _one_line(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header is not understood"  # Pillow's own words name an object in memory
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
